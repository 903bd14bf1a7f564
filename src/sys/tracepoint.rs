// SPDX-License-Identifier: GPL-2.0

//! The tracepoint `sk_data_ready`: data was queued on a socket.
//!
//! C header: [`include/trace/events/sock.h`](srctree/include/trace/events/sock.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
    route::from_in6_addr,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use kernel::{error::to_result, ffi::c_void, prelude::*, sync::Arc};

/// Is told of what comes to the sockets of its namespace.
pub(crate) trait DataReady: Send + Sync + 'static {
    /// Whether it wants to be told at the moment. Any context.
    fn listens(&self) -> bool;

    /// In-order data was queued on a connected TCP socket, up to sequence number `rcv_nxt`. It is
    /// not called for less than the socket's `SO_RCVLOWAT`, nor while the socket's owner drains it
    /// (`tcp_data_ready`). Addresses that are IPv4 mapped into IPv6 come as IPv4. Any context; the
    /// socket may be locked.
    fn data_ready(&self, local: SocketAddr, remote: SocketAddr, rcv_nxt: u32);
}

/// The states in which a peer's data may come, or just came.
const STATES: u32 = 1 << bindings::TCP_ESTABLISHED
    | 1 << bindings::TCP_FIN_WAIT1
    | 1 << bindings::TCP_FIN_WAIT2
    | 1 << bindings::TCP_CLOSE_WAIT
    | 1 << bindings::TCP_CLOSING
    | 1 << bindings::TCP_LAST_ACK;

/// What the tracepoint keeps of a probe.
struct Watch<H: DataReady> {
    net: Net,
    target: Arc<H>,
}

/// The function that the tracepoint calls, for every socket of the system.
///
/// # Safety
///
/// `watch` must point to a `Watch<H>`, `sk` must be a socket that is being told of data.
unsafe extern "C" fn probe<H: DataReady>(watch: *mut c_void, sk: *const bindings::sock) {
    // SAFETY: Registered. `Probe` passed its box, and drops it only when no call runs any more.
    let watch = unsafe { &*watch.cast::<Watch<H>>().cast_const() };
    if !watch.target.listens() {
        return;
    }
    // A `struct sock` begins with one. Not for references: other CPUs change the reference count
    // and more at any time, and not every socket is locked here.
    let common = sk.cast::<bindings::sock_common>();
    // SAFETY: Caller's promise. It keeps the socket alive.
    let (net, family, state) = unsafe {
        (
            (&raw const (*common).skc_net.net).read_volatile(),
            u32::from((&raw const (*common).skc_family).read_volatile()),
            u32::from((&raw const (*common).skc_state).read_volatile()),
        )
    };
    if net != watch.net.as_ptr() || STATES & 1u32.wrapping_shl(state) == 0 {
        return;
    }
    if family != bindings::AF_INET && family != bindings::AF_INET6 {
        return;
    }
    // The state does not tell protocols apart: a connected UDP socket is "established" too.
    // SAFETY: Caller's promise. It keeps the socket alive.
    if !unsafe { bindings::sttcp_sk_is_tcp(sk) } {
        return;
    }
    // SAFETY: Caller's promise. It keeps the socket alive, which is a full TCP socket, by protocol
    // and state.
    let rcv_nxt = unsafe { bindings::sttcp_tcp_rcv_nxt(sk) };
    // SAFETY: Caller's promise. It keeps the socket alive.
    let (local, remote) = unsafe { addresses(common, family) };
    watch.target.data_ready(local, remote, rcv_nxt);
}

/// The addresses of a socket. Should the socket be disconnected meanwhile, they mean nothing.
///
/// # Safety
///
/// `common` must be valid.
unsafe fn addresses(common: *const bindings::sock_common, family: u32) -> (SocketAddr, SocketAddr) {
    // SAFETY: Caller's promise. It is valid; all views of these unions are plain integers.
    let (addresses, ports) = unsafe {
        (
            (&raw const (*common).__bindgen_anon_1.__bindgen_anon_1).read_volatile(),
            (&raw const (*common).__bindgen_anon_3.__bindgen_anon_1).read_volatile(),
        )
    };
    let (local, remote): (IpAddr, IpAddr) = if family == bindings::AF_INET {
        (
            Ipv4Addr::from(addresses.skc_rcv_saddr.to_ne_bytes()).into(),
            Ipv4Addr::from(addresses.skc_daddr.to_ne_bytes()).into(),
        )
    } else {
        // SAFETY: Caller's promise. It is valid.
        let (local, remote) = unsafe {
            (
                (&raw const (*common).skc_v6_rcv_saddr).read_volatile(),
                (&raw const (*common).skc_v6_daddr).read_volatile(),
            )
        };
        (
            IpAddr::from(from_in6_addr(&local)).to_canonical(),
            IpAddr::from(from_in6_addr(&remote)).to_canonical(),
        )
    };
    (
        SocketAddr::new(local, ports.skc_num),
        SocketAddr::new(remote, u16::from_be(ports.skc_dport)),
    )
}

/// A probe, attached for as long as the value lives.
///
/// # Invariants
///
/// `probe::<H>` is registered with a pointer to what is in `watch`.
pub(crate) struct Probe<H: DataReady> {
    watch: KBox<Watch<H>>,
}

impl<H: DataReady> Probe<H> {
    /// Attaches it. Process context; may sleep for a grace period.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn register(net: Net, target: Arc<H>) -> Result<Self> {
        fail::at(Site::Tracepoint)?;
        let watch = KBox::new(Watch { net, target }, GFP_KERNEL)?;
        fail::at(Site::Tracepoint)?;
        // SAFETY: Registered. The function has the tracepoint's signature, and it and the box stay
        // until `Drop` has detached it.
        let error =
            unsafe { bindings::sttcp_register_trace_sk_data_ready(Some(probe::<H>), data(&watch)) };
        to_result(error)?;
        // INVARIANT: Just registered.
        Ok(Self { watch })
    }
}

impl<H: DataReady> Drop for Probe<H> {
    /// Returns when no call of it runs any more. Process context; sleeps for a grace period.
    fn drop(&mut self) {
        // SAFETY: Registered. By the type invariant.
        unsafe {
            bindings::sttcp_unregister_trace_sk_data_ready(Some(probe::<H>), data(&self.watch));
        };
    }
}

/// As the tracepoint wants it.
fn data<H: DataReady>(watch: &Watch<H>) -> *mut c_void {
    (&raw const *watch).cast_mut().cast()
}
