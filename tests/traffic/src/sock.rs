// SPDX-License-Identifier: GPL-2.0

//! The sockets and socket options that no crate wraps. All unsafe code of this program is here.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

/// Sets an option whose value is an `int`.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_int(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` outlives the call and is `len` bytes long.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The kernel's `struct tcp_info` as far as it is of interest here, for the client's side of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpInfo {
    pub state: u8,
    /// Segments.
    pub retransmits: u64,
    pub bytes_retransmitted: u64,
    /// Duplicates that the server told of.
    pub dsacks: u64,
    pub out_of_order: u64,
    /// 0 on kernels before 6.7.
    pub timeouts: u64,
}

/// `TCP_CLOSE` of include/net/tcp_states.h. A socket in TIME-WAIT shows it too.
pub const TCP_CLOSE: u8 = 7;

/// Asks for `TCP_INFO`.
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn tcp_info(socket: &impl AsFd) -> io::Result<TcpInfo> {
    let mut raw = [0u8; 512];
    let mut len = raw.len() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `raw` is `len` bytes long, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            raw.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(parse(&raw))
}

/// Offsets are those of include/uapi/linux/tcp.h. What an older kernel does not write stays 0.
fn parse(raw: &[u8; 512]) -> TcpInfo {
    let bytes = |at: usize, len: usize| {
        raw[at..at + len]
            .iter()
            .rev()
            .fold(0, |value, &byte| (value << 8) | u64::from(byte))
    };
    TcpInfo {
        state: raw[0],
        retransmits: bytes(100, 4),
        bytes_retransmitted: bytes(208, 8),
        dsacks: bytes(216, 4),
        out_of_order: bytes(224, 4),
        timeouts: bytes(240, 2),
    }
}

/// Raises the limit of open files as far as this process may.
pub fn raise_file_limit() {
    const WANTED: u64 = 1 << 20;
    let all = Rlimit {
        current: Some(WANTED),
        maximum: Some(WANTED),
    };
    if setrlimit(Resource::Nofile, all).is_err() {
        let limit = getrlimit(Resource::Nofile);
        // Without the right to raise the hard limit it is as high as it gets; a failure leaves what was.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        );
    }
}

/// Bytes of a frame's header.
const ETHERNET: usize = 14;

/// A device, to send whole frames by and to see what passes.
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Opens the device of this name.
    ///
    /// # Errors
    ///
    /// There is none, or this process may not use it.
    pub fn open(name: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        // SAFETY: `name` is a string that ends.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: No memory is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, all.into()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The descriptor is open and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // What waits is not to be of long ago.
        set_int(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 128 << 10)?;
        // SAFETY: All zero is a `sockaddr_ll`.
        let mut addr: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        addr.sll_family = libc::AF_PACKET as u16;
        addr.sll_protocol = all;
        addr.sll_ifindex = index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `addr` outlives the call and is `len` bytes long.
        let result = unsafe { libc::bind(fd, (&raw const addr).cast(), len) };
        if result == 0 {
            Ok(Self { socket })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The packet of a frame that somebody else sent or received here, as much of it as there is room for; `None` if there is none now.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((len, _)) => Ok(Some(buffer.get(ETHERNET..len).unwrap_or(&[]))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame, link-layer header and all; `false` if the device did not take it.
    ///
    /// # Errors
    ///
    /// Those of send(2).
    pub fn send(&self, frame: &[u8]) -> io::Result<bool> {
        // A queue that is full has room soon.
        for _ in 0..100 {
            match rustix::net::send(&self.socket, frame, SendFlags::empty()) {
                Ok(_) => return Ok(true),
                Err(Errno::NOBUFS | Errno::INTR) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}
