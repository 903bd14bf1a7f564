// SPDX-License-Identifier: GPL-2.0

//! The tracepoint `sk_data_ready`: data was queued on a socket.
//!
//! C header: [`include/trace/events/sock.h`](srctree/include/trace/events/sock.h)

use super::{bindings, net::Net, route::from_in6_addr};
use core::{
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*,
    sync::atomic::{Atomic, Full, Release},
};

/// What is told.
pub(crate) trait DataReady: 'static {
    /// In-order data was queued on a connected TCP socket, up to sequence number `rcv_nxt`. It is
    /// not called for less than the socket's `SO_RCVLOWAT`, nor while the socket's owner drains it
    /// (`tcp_data_ready`). Addresses that are IPv4 mapped into IPv6 come as IPv4. Softirq or
    /// process, with the socket locked; no RCU read lock is held.
    fn data_ready(net: Net, local: SocketAddr, remote: SocketAddr, rcv_nxt: u32);
}

/// The states in which a peer's data may come, or just came.
const STATES: u32 = 1 << bindings::TCP_ESTABLISHED
    | 1 << bindings::TCP_FIN_WAIT1
    | 1 << bindings::TCP_FIN_WAIT2
    | 1 << bindings::TCP_CLOSE_WAIT
    | 1 << bindings::TCP_CLOSING
    | 1 << bindings::TCP_LAST_ACK;

/// The function that the tracepoint calls, for every socket of the system.
///
/// # Safety
///
/// `sk` must be a socket that is being told of data.
unsafe extern "C" fn probe<H: DataReady>(_data: *mut c_void, sk: *const bindings::sock) {
    // SAFETY: A `struct sock` begins with a `struct sock_common`, and the caller keeps it alive.
    // Its owner may change it only while it holds the lock, which the caller does.
    let common = unsafe { &*sk.cast::<bindings::sock_common>() };
    let family = u32::from(common.skc_family);
    if family != bindings::AF_INET && family != bindings::AF_INET6 {
        return;
    }
    if STATES & 1u32.wrapping_shl(u32::from(common.skc_state)) == 0 {
        return;
    }
    // The state does not tell protocols apart: a connected UDP socket is "established" too.
    // SAFETY: The socket is alive.
    if !unsafe { bindings::sttcp_sk_is_tcp(sk) } {
        return;
    }
    // SAFETY: The socket keeps its namespace alive, or is the namespace's own; either way it
    // is there during the call.
    let Some(net) = (unsafe { Net::from_raw(common.skc_net.net) }) else {
        return;
    };
    // SAFETY: It is a full TCP socket, by protocol and state.
    let rcv_nxt = unsafe { bindings::sttcp_tcp_rcv_nxt(sk) };
    let (local, remote) = addresses(common);
    H::data_ready(net, local, remote, rcv_nxt);
}

fn addresses(common: &bindings::sock_common) -> (SocketAddr, SocketAddr) {
    // SAFETY: All views of these unions are plain integers.
    let (remote_ip4, local_ip4, remote_port, local_port) = unsafe {
        let addresses = &common.__bindgen_anon_1.__bindgen_anon_1;
        let ports = &common.__bindgen_anon_3.__bindgen_anon_1;
        (
            addresses.skc_daddr,
            addresses.skc_rcv_saddr,
            u16::from_be(ports.skc_dport),
            ports.skc_num,
        )
    };
    let (local, remote): (IpAddr, IpAddr) = if u32::from(common.skc_family) == bindings::AF_INET {
        (
            Ipv4Addr::from(local_ip4.to_ne_bytes()).into(),
            Ipv4Addr::from(remote_ip4.to_ne_bytes()).into(),
        )
    } else {
        (
            IpAddr::from(from_in6_addr(&common.skc_v6_rcv_saddr)).to_canonical(),
            IpAddr::from(from_in6_addr(&common.skc_v6_daddr)).to_canonical(),
        )
    };
    (
        SocketAddr::new(local, local_port),
        SocketAddr::new(remote, remote_port),
    )
}

/// Whether a probe is registered; there is one for the whole module.
static TAKEN: Atomic<bool> = Atomic::new(false);

/// The probe, attached for as long as the value lives.
///
/// # Invariants
///
/// `probe::<H>` is registered.
pub(crate) struct DataReadyProbe<H: DataReady>(PhantomData<fn(H)>);

impl<H: DataReady> DataReadyProbe<H> {
    /// Attaches the probe. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one already.
    pub(crate) fn register() -> Result<Self> {
        if TAKEN.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }
        // SAFETY: The function has the tracepoint's signature, and stays until `Drop` has detached
        // it.
        let error = unsafe { bindings::sttcp_register_trace_sk_data_ready(Some(probe::<H>)) };
        if let Err(error) = to_result(error) {
            TAKEN.store(false, Release);
            return Err(error);
        }
        // INVARIANT: Just registered.
        Ok(Self(PhantomData))
    }
}

impl<H: DataReady> Drop for DataReadyProbe<H> {
    /// Returns when no call of the probe runs any more. Process context.
    fn drop(&mut self) {
        // SAFETY: Registered, by the type invariant.
        unsafe { bindings::sttcp_unregister_trace_sk_data_ready(Some(probe::<H>)) };
        TAKEN.store(false, Release);
    }
}
