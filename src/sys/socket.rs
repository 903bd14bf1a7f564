// SPDX-License-Identifier: GPL-2.0

//! TCP sockets that the kernel has.
//!
//! C header: [`include/net/inet_hashtables.h`](srctree/include/net/inet_hashtables.h)

use super::{bindings, net::Net, route::in6_addr};
use core::{
    net::{IpAddr, SocketAddr},
    ptr::NonNull,
};

/// The state of a TCP connection, as `include/net/tcp_states.h` counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Established,
    SynSent,
    /// Also that of a half-open connection, for which there is only a request (`TCP_NEW_SYN_RECV`).
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    CloseWait,
    LastAck,
    Closing,
    /// Closed, but still in the table.
    Closed,
}

/// A reference to a socket, a TIME-WAIT socket, or a connection request.
///
/// # Invariants
///
/// Owns one reference.
struct Sock(NonNull<bindings::sock>);

impl Sock {
    fn find(net: Net, local: SocketAddr, remote: SocketAddr, ifindex: u32) -> Option<Self> {
        let (hnum, sport) = (local.port(), remote.port().to_be());
        let sk = match (local.ip().to_canonical(), remote.ip().to_canonical()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let (remote, local) = (
                    u32::from_ne_bytes(remote.octets()),
                    u32::from_ne_bytes(local.octets()),
                );
                let _rcu = kernel::sync::rcu::read_lock();
                // SAFETY: Living namespace. The RCU read lock is held.
                unsafe {
                    bindings::__inet_lookup_established(
                        net.as_ptr(),
                        remote,
                        sport,
                        local,
                        hnum,
                        ifindex as i32,
                        0,
                    )
                }
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let (remote, local) = (in6_addr(remote), in6_addr(local));
                let _rcu = kernel::sync::rcu::read_lock();
                // SAFETY: Living namespace. As above, and the addresses are valid.
                unsafe {
                    bindings::__inet6_lookup_established(
                        net.as_ptr(),
                        &remote,
                        sport,
                        &local,
                        hnum,
                        ifindex as i32,
                        0,
                    )
                }
            }
            _ => return None,
        };
        // INVARIANT: The lookup gave us the reference.
        NonNull::new(sk).map(Self)
    }

    fn state(&self) -> State {
        // SAFETY: Our reference. All three kinds of object begin with a `struct sock_common`. The
        // state may change at any time, hence volatile.
        let state = unsafe {
            let common = self.0.as_ptr().cast::<bindings::sock_common>();
            core::ptr::read_volatile(&raw const (*common).skc_state)
        };
        match u32::from(state) {
            bindings::TCP_ESTABLISHED => State::Established,
            bindings::TCP_SYN_SENT => State::SynSent,
            bindings::TCP_SYN_RECV | bindings::TCP_NEW_SYN_RECV => State::SynReceived,
            bindings::TCP_FIN_WAIT1 => State::FinWait1,
            bindings::TCP_FIN_WAIT2 => State::FinWait2,
            bindings::TCP_TIME_WAIT => {
                // SAFETY: Our reference. In this state it is on a `struct inet_timewait_sock`: no
                // full socket in the table ever has it.
                let substate = unsafe { bindings::sttcp_tw_substate(self.0.as_ptr()) };
                // An orphan in FIN-WAIT-2 is kept in the same small form (tcp_time_wait()), and still waits for a FIN.
                if u32::from(substate) == bindings::TCP_FIN_WAIT2 {
                    State::FinWait2
                } else {
                    State::TimeWait
                }
            }
            bindings::TCP_CLOSE_WAIT => State::CloseWait,
            bindings::TCP_LAST_ACK => State::LastAck,
            bindings::TCP_CLOSING => State::Closing,
            _ => State::Closed,
        }
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        // SAFETY: Our reference. By the type invariant.
        unsafe { bindings::sock_gen_put(self.0.as_ptr()) };
    }
}

/// The state of the connection between two addresses, if the kernel has it. `ifindex` is the
/// device that packets of it come by, zero if that does not matter. Any context.
pub(crate) fn lookup(
    net: Net,
    local: SocketAddr,
    remote: SocketAddr,
    ifindex: u32,
) -> Option<State> {
    Sock::find(net, local, remote, ifindex).map(|sk| sk.state())
}
