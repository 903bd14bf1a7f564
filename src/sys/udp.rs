// SPDX-License-Identifier: GPL-2.0

//! UDP sockets of the kernel's own.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/linux/udp.h`](srctree/include/linux/udp.h)

use super::{
    bindings, clock,
    fail::{self, Site},
    net::Net,
    route::{from_in6_addr, in6_addr, Dst, Flow},
    skb::SkBuff,
};
use core::{
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    ptr::{self, NonNull},
};
use kernel::{error::to_result, ffi::c_int, prelude::*, sync::Arc};

/// The longest payload that [`Socket::send_to`] takes, in bytes. It does not heed the path MTU:
/// what the path cannot carry whole is fragmented.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;

const UDP_HEADER: usize = 8;

/// Where the checksum is in it.
const CHECKSUM_AT: usize = 6;

/// The longest IP header made here and the UDP header.
const HEADERS: usize = 40 + UDP_HEADER;

pub(crate) use super::skb::Link;

/// What takes datagrams in.
pub(crate) trait Receive: Send + Sync + 'static {
    /// A datagram came, its checksum right, and by which link if that is known. Softirq, under the RCU
    /// read lock.
    fn received(&self, from: SocketAddr, payload: &[u8], link: Option<Link>);

    /// A datagram came that cannot be read, for want of memory. Softirq, under the RCU read lock.
    fn unreadable(&self);
}

/// What `sk_user_data` points to. Aligned, as the low bits of that pointer are flags.
#[repr(align(8))]
struct Target<H>(Arc<H>);

/// A bound socket; the kernel calls [`Receive`] for what comes in.
///
/// It does not keep the namespace alive, so it must be part of the namespace's state.
///
/// # Invariants
///
/// `socket` is a UDP socket that we own. Its `sk_user_data` points to `target`.
pub(crate) struct Socket<H: Receive> {
    socket: NonNull<bindings::socket>,
    /// From `KBox::into_raw`.
    target: NonNull<Target<H>>,
    net: Net,
    local: SocketAddr,
}

// SAFETY: Any CPU. Sockets lock for themselves; `H` is `Send + Sync`.
unsafe impl<H: Receive> Send for Socket<H> {}

// SAFETY: Any CPU. As for `Send`; sending uses nothing of the socket but its address.
unsafe impl<H: Receive> Sync for Socket<H> {}

impl<H: Receive> Socket<H> {
    /// Makes a socket and binds it; port zero takes any. An IPv6 socket takes IPv6 only. Datagrams
    /// may reach `handler` before this returns. Process context.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`, `EADDRNOTAVAIL` and so on, as for `bind(2)`.
    pub(crate) fn bind(net: Net, local: SocketAddr, handler: Arc<H>) -> Result<Self> {
        let family = match local {
            SocketAddr::V4(_) => bindings::AF_INET,
            SocketAddr::V6(_) => bindings::AF_INET6,
        };
        fail::at(Site::Socket)?;
        let target = KBox::new(Target(handler), GFP_KERNEL)?;
        let mut socket = ptr::null_mut();
        fail::at(Site::Socket)?;
        // SAFETY: Living namespace. `socket` can be written.
        to_result(unsafe {
            bindings::sock_create_kern(
                net.as_ptr(),
                family as c_int,
                bindings::SOCK_DGRAM as c_int,
                bindings::IPPROTO_UDP as c_int,
                &mut socket,
            )
        })?;
        let socket = NonNull::new(socket).ok_or(ENOMEM)?;
        let target = NonNull::from(KBox::leak(target));
        // INVARIANT: The socket is ours, and gets its user data next. From here on `Drop` cleans
        // up.
        let mut this = Self {
            socket,
            target,
            net,
            local,
        };
        let sk = this.sk();
        // SAFETY: Our socket. The target lives until a grace period after it was taken out again.
        unsafe { bindings::sttcp_set_sk_user_data(sk, target.as_ptr().cast()) };
        if local.is_ipv6() {
            // SAFETY: Our socket. Nobody else knows of it yet.
            unsafe { bindings::sttcp_set_ipv6only(sk) };
        }
        this.bind_to(local)?;
        this.local = this.name()?;
        // SAFETY: Our socket. It is a UDP socket, and its user data is set.
        unsafe { bindings::sttcp_udp_encap(sk, Some(receive::<H>)) };
        Ok(this)
    }

    fn sk(&self) -> *mut bindings::sock {
        // SAFETY: Our socket.
        unsafe { bindings::sttcp_socket_sk(self.socket.as_ptr()) }
    }

    fn bind_to(&self, local: SocketAddr) -> Result {
        let socket = self.socket.as_ptr();
        fail::at(Site::Socket)?;
        to_result(match local {
            SocketAddr::V4(local) => {
                let mut name = bindings::sockaddr_in {
                    sin_family: bindings::AF_INET as u16,
                    sin_port: local.port().to_be(),
                    sin_addr: bindings::in_addr {
                        s_addr: u32::from_ne_bytes(local.ip().octets()),
                    },
                    ..Default::default()
                };
                let len = size_of::<bindings::sockaddr_in>() as c_int;
                // SAFETY: Our socket. `name` has `len` bytes.
                unsafe { bindings::kernel_bind(socket, (&raw mut name).cast(), len) }
            }
            SocketAddr::V6(local) => {
                let mut name = bindings::sockaddr_in6 {
                    sin6_family: bindings::AF_INET6 as u16,
                    sin6_port: local.port().to_be(),
                    sin6_addr: in6_addr(*local.ip()),
                    sin6_scope_id: local.scope_id(),
                    ..Default::default()
                };
                let len = size_of::<bindings::sockaddr_in6>() as c_int;
                // SAFETY: Our socket. `name` has `len` bytes.
                unsafe { bindings::kernel_bind(socket, (&raw mut name).cast(), len) }
            }
        })
    }

    /// The address that the socket got.
    fn name(&self) -> Result<SocketAddr> {
        // The larger of the two that can come back.
        let mut name = bindings::sockaddr_in6::default();
        // SAFETY: Our socket. There is room for an address of its family.
        let len =
            unsafe { bindings::kernel_getsockname(self.socket.as_ptr(), (&raw mut name).cast()) };
        if len < 0 {
            return Err(Error::from_errno(len));
        }
        // The port is at the same place in both.
        let port = u16::from_be(name.sin6_port);
        Ok(match self.local {
            SocketAddr::V4(local) => SocketAddr::new((*local.ip()).into(), port),
            SocketAddr::V6(local) => SocketAddr::V6(SocketAddrV6::new(
                from_in6_addr(&name.sin6_addr),
                port,
                0,
                local.scope_id(),
            )),
        })
    }

    /// Sends a datagram. The headers are made here, not by the socket layer: that may sleep (in
    /// a security module) or ask for the socket's lock, which a softirq cannot. The payload is in
    /// three parts. Any context.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` above [`MAX_PAYLOAD`], `EINVAL` if `to` is of the other family, `ENOMEM`,
    /// `ENOBUFS`, and errors of the route.
    pub(crate) fn send_to(&self, to: SocketAddr, [a, b, c]: &[&[u8]; 3]) -> Result {
        let len = a.len() + b.len() + c.len();
        if len > MAX_PAYLOAD {
            return Err(EMSGSIZE);
        }
        let scope = match (self.local, to) {
            (SocketAddr::V6(local), SocketAddr::V6(to)) => to.scope_id().max(local.scope_id()),
            _ => 0,
        };
        let flow = Flow {
            from: self.local.ip(),
            to: to.ip(),
            ifindex: scope,
            protocol: bindings::IPPROTO_UDP as u8,
            ports: (self.local.port(), to.port()),
            mark: 0,
        };
        let (dst, from) = Dst::lookup(self.net, &flow)?;
        let (headers, ip_len) = self.headers(from, to, len, None).ok_or(EINVAL)?;
        let headers = headers.get(..ip_len + UDP_HEADER).unwrap_or(&[]);
        let mut skb = SkBuff::alloc(&[headers, a, b, c], Site::Datagram)?;
        // The device sums up the payload, or the stack does on its way there.
        skb.sum_later(ip_len, CHECKSUM_AT)?;
        skb.local_out(self.net, dst)
    }

    /// Sends a datagram that fits into `frame` back by the link that one came by, see
    /// [`SkBuff::transmit_last`]. For a kernel that dies.
    ///
    /// # Errors
    ///
    /// Those of [`SkBuff::transmit_last`], and `EINVAL` if there is no such way.
    pub(crate) fn send_last(
        &self,
        to: SocketAddr,
        payload: &[&[u8]; 2],
        frame: Frame,
        link: &Link,
    ) -> Result {
        let Frame(mut skb) = frame;
        let [a, b] = payload;
        let headers = self.headers(self.local.ip(), to, a.len() + b.len(), Some(payload));
        let (headers, ip_len) = headers.ok_or(EINVAL)?;
        let headers = headers.get(..ip_len + UDP_HEADER).unwrap_or(&[]);
        skb.fill(&[headers, a, b])?;
        skb.transmit_last(self.net, link)
    }

    /// The IP and UDP headers before a payload of `len` bytes, and how long the first is; nothing if
    /// the two addresses are of different families. The checksum is that of the whole datagram if the
    /// payload is given, in parts of which the first has an even length. Otherwise it is the sum of the
    /// pseudo header, to which someone else adds the rest.
    fn headers(
        &self,
        from: IpAddr,
        to: SocketAddr,
        len: usize,
        payload: Option<&[&[u8]; 2]>,
    ) -> Option<([u8; HEADERS], usize)> {
        const PROTOCOL: u8 = bindings::IPPROTO_UDP as u8;

        let udp_len = (UDP_HEADER + len) as u16;
        let mut udp = [0u8; UDP_HEADER];
        put(&mut udp, 0, &self.local.port().to_be_bytes());
        put(&mut udp, 2, &to.port().to_be_bytes());
        put(&mut udp, 4, &udp_len.to_be_bytes());
        let len = udp_len.to_be_bytes();
        let mut sum = |from: &[u8], to: &[u8]| {
            let sum = match payload {
                Some([a, b]) => checksum(&[from, to, &[0, PROTOCOL], &len, &udp, a, b]),
                None => !checksum(&[from, to, &[0, PROTOCOL], &len]),
            };
            put(&mut udp, CHECKSUM_AT, &sum.to_be_bytes());
        };
        let mut headers = [0; HEADERS];
        let ip_len = match (from, to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                sum(&from.octets(), &to.octets());
                let ip = ipv4_header(from, to, udp_len);
                put(&mut headers, 0, &ip);
                ip.len()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                sum(&from.octets(), &to.octets());
                let ip = ipv6_header(from, to, udp_len);
                put(&mut headers, 0, &ip);
                ip.len()
            }
            _ => return None,
        };
        put(&mut headers, ip_len, &udp);
        Some((headers, ip_len))
    }
}

/// A packet that waits for its bytes: memory for the last datagram of a kernel that dies.
pub(crate) struct Frame(SkBuff);

impl Frame {
    /// Room for a payload of `len` bytes. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(len: usize) -> Result<Self> {
        Ok(Self(SkBuff::reserve(HEADERS + len, Site::Node)?))
    }
}

impl<H: Receive> Drop for Socket<H> {
    /// Returns when [`Receive::received`] runs no more. Process context.
    fn drop(&mut self) {
        // SAFETY: Our socket.
        unsafe { bindings::sttcp_set_sk_user_data(self.sk(), ptr::null_mut()) };
        // SAFETY: Our socket. It is used no more.
        unsafe { bindings::sock_release(self.socket.as_ptr()) };
        // SAFETY: No requirement. Process context.
        unsafe { bindings::synchronize_rcu() };
        // SAFETY: Our box. From `KBox::leak`. Who read the pointer before it was cleared did so
        // under the RCU read lock, and is done.
        drop(unsafe { KBox::from_raw(self.target.as_ptr()) });
    }
}

/// The function that the kernel calls for a datagram (`encap_rcv`), with `data` at the UDP header
/// and the checksum verified. Zero says that the packet is consumed.
///
/// # Safety
///
/// `sk` must be the socket of a [`Socket<H>`], and the RCU read lock be held.
unsafe extern "C" fn receive<H: Receive>(
    sk: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
) -> c_int {
    // SAFETY: Caller's promise. The socket is ours, and the RCU read lock held.
    let target = unsafe { bindings::sttcp_sk_user_data(sk) }.cast::<Target<H>>();
    let Some(skb) = NonNull::new(skb) else {
        return 0;
    };
    // SAFETY: Kernel's promise. The packet is ours once we return zero.
    let mut skb = unsafe { SkBuff::from_raw(skb) };
    // SAFETY: Under RCU. The pointer is null, or to the target, which is freed a grace period after
    // it was cleared.
    if let Some(target) = unsafe { target.cast_const().as_ref() } {
        let (ifindex, link) = (skb.ifindex(), skb.link());
        match skb
            .linear()
            .and_then(|(header, datagram)| parse(header, datagram, ifindex))
        {
            Some((from, payload)) => target.0.received(from, payload, link),
            None => target.0.unreadable(),
        }
    }
    0
}

/// The sender and the payload.
fn parse<'a>(header: &[u8], datagram: &'a [u8], ifindex: u32) -> Option<(SocketAddr, &'a [u8])> {
    let port = u16::from_be_bytes(*datagram.first_chunk::<2>()?);
    let payload = datagram.get(UDP_HEADER..)?;
    let from = match header.first()? >> 4 {
        4 => {
            let ip = Ipv4Addr::from(*header.get(12..16)?.first_chunk::<4>()?);
            SocketAddr::new(ip.into(), port)
        }
        6 => {
            let ip = Ipv6Addr::from(*header.get(8..24)?.first_chunk::<16>()?);
            let scope = if ip.is_unicast_link_local() {
                ifindex
            } else {
                0
            };
            SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
        }
        _ => return None,
    };
    Some((from, payload))
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in to.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// RFC 1071, over parts of which all but the last have an even length. Never zero, which in UDP
/// says "none".
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        let (pairs, odd) = part.as_chunks_2();
        for pair in pairs {
            sum += u32::from(u16::from_be_bytes(*pair));
        }
        if let Some(odd) = odd {
            sum += u32::from(*odd) << 8;
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        sum => sum,
    }
}

/// `<[u8]>::as_chunks::<2>`, which Rust 1.85 does not have yet.
trait Pairs {
    fn as_chunks_2(&self) -> (impl Iterator<Item = &[u8; 2]>, Option<&u8>);
}

impl Pairs for [u8] {
    fn as_chunks_2(&self) -> (impl Iterator<Item = &[u8; 2]>, Option<&u8>) {
        let pairs = self.chunks_exact(2);
        let odd = pairs.remainder().first();
        (pairs.filter_map(|pair| pair.first_chunk::<2>()), odd)
    }
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, udp_len: u16) -> [u8; 20] {
    let mut ip = [0u8; 20];
    put(&mut ip, 0, &[0x45, 0xc0]); // Version, length; DSCP CS6, as routing protocols have it.
    put(&mut ip, 2, &(20 + udp_len).to_be_bytes());
    // No "don't fragment", so an identification that does not repeat soon (RFC 6864).
    put(&mut ip, 4, &(clock::random_u32() as u16).to_be_bytes());
    put(&mut ip, 8, &[64, bindings::IPPROTO_UDP as u8]);
    put(&mut ip, 12, &from.octets());
    put(&mut ip, 16, &to.octets());
    let sum = checksum(&[&ip]);
    put(&mut ip, 10, &sum.to_be_bytes());
    ip
}

fn ipv6_header(from: Ipv6Addr, to: Ipv6Addr, udp_len: u16) -> [u8; 40] {
    let mut ip = [0u8; 40];
    put(&mut ip, 0, &[0x6c, 0x00]); // Version; DSCP CS6.
    put(&mut ip, 4, &udp_len.to_be_bytes());
    put(&mut ip, 6, &[bindings::IPPROTO_UDP as u8, 64]);
    put(&mut ip, 8, &from.octets());
    put(&mut ip, 24, &to.octets());
    ip
}
