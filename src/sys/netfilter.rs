// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
    skb::SkBuff,
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    sync::Arc,
};

/// Before conntrack (`NF_IP_PRI_CONNTRACK`, -200), so that a handler can leave a packet untracked;
/// after the defragmentation that conntrack asks for (`NF_IP_PRI_CONNTRACK_DEFRAG`, -400), so that
/// where anything is tracked the handler sees whole packets. Without conntrack it may see
/// fragments.
const PRE_ROUTING_PRIORITY: c_int = bindings::NF_IP_PRI_RAW as c_int - 1;

/// Right before TCP: after filters, NAT and mangling, one step before conntrack's confirmation
/// (`NF_IP_PRI_LAST`), so that a stolen packet leaves no conntrack entry behind.
const LOCAL_IN_PRIORITY: c_int = bindings::NF_IP_PRI_LAST as c_int - 1;

/// Right after TCP, the mirror image of [`LOCAL_IN_PRIORITY`]: the handler sees exactly the numbers
/// and addresses that the socket knows, on both ways. Conntrack, NAT, mangling and filters then see
/// what the handler made of the packet, so they agree with the client's view.
const LOCAL_OUT_PRIORITY: c_int = bindings::NF_IP_PRI_FIRST as c_int;

/// What becomes of a packet.
pub(crate) enum Verdict {
    /// It goes on. It must be the packet that the handler was given; another one is freed, and
    /// counts as [`Verdict::Stolen`].
    Accept(SkBuff),
    /// It is dropped. On the way out the sender sees `EPERM`.
    Drop(SkBuff),
    /// The handler kept it, sent it or freed it. On the way out the sender sees success.
    Stolen,
}

/// What looks at packets. All methods run under the RCU read lock.
pub(crate) trait Handler: Send + Sync + 'static {
    /// An IP packet arrived. Softirq.
    fn pre_routing(&self, skb: SkBuff) -> Verdict {
        Verdict::Accept(skb)
    }

    /// A packet, no fragment, is about to enter the local stack. `skb`'s device is the one it came
    /// in by. Softirq.
    fn local_in(&self, skb: SkBuff) -> Verdict {
        Verdict::Accept(skb)
    }

    /// The local stack sends a packet. Any context; the sending socket may be locked, so its lock
    /// must not be taken.
    fn local_out(&self, skb: SkBuff) -> Verdict {
        Verdict::Accept(skb)
    }

    /// An ARP packet is about to leave. The network header is the ARP header. Any context.
    fn arp_out(&self, skb: SkBuff) -> Verdict {
        Verdict::Accept(skb)
    }
}

/// Where a hook sits, as [`Handler`] names it.
const PRE_ROUTING: u8 = 0;
const LOCAL_IN: u8 = 1;
const LOCAL_OUT: u8 = 2;
const ARP_OUT: u8 = 3;

/// The function that netfilter calls.
///
/// # Safety
///
/// `handler` must point to an `H`, `skb` must be a packet that the caller owns.
unsafe extern "C" fn hook<H: Handler, const POINT: u8>(
    handler: *mut c_void,
    skb: *mut bindings::sk_buff,
    _state: *const bindings::nf_hook_state,
) -> c_uint {
    let Some(packet) = NonNull::new(skb) else {
        return bindings::NF_ACCEPT;
    };
    // SAFETY: Registered. `Hooks` passed the pointer inside its `Arc<H>`, and drops that only after
    // the hooks were unregistered and a grace period has passed; hooks run under the RCU read lock.
    let handler = unsafe { &*handler.cast::<H>().cast_const() };
    // SAFETY: Kernel's promise. The packet is nobody else's: IP unshares what comes in
    // (`ip_rcv_core`, `ip6_rcv_core`), and what goes out was made for it. A hook that returns
    // `NF_STOLEN` owns it; below, ownership is given back with each other verdict.
    let packet = unsafe { SkBuff::from_raw(packet) };
    let verdict = match POINT {
        PRE_ROUTING => handler.pre_routing(packet),
        LOCAL_IN => handler.local_in(packet),
        LOCAL_OUT => handler.local_out(packet),
        _ => handler.arp_out(packet),
    };
    match verdict {
        Verdict::Accept(packet) if packet.is(skb) => {
            packet.into_raw();
            bindings::NF_ACCEPT
        }
        Verdict::Drop(packet) if packet.is(skb) => {
            packet.into_raw();
            bindings::NF_DROP
        }
        // Not the packet that came: the handler has disposed of that one, and this one is freed
        // here.
        Verdict::Accept(_) | Verdict::Drop(_) | Verdict::Stolen => bindings::NF_STOLEN,
    }
}

fn op<H: Handler, const POINT: u8>(
    handler: *const H,
    family: u32,
    hooknum: u32,
    priority: c_int,
) -> bindings::nf_hook_ops {
    bindings::nf_hook_ops {
        hook: Some(hook::<H, POINT>),
        priv_: handler.cast_mut().cast(),
        pf: family as u8,
        hooknum,
        priority,
        ..Default::default()
    }
}

/// How many of the hooks wait for those that let frames through to TCP, and how many these are.
const REST: usize = 5;
const GATES: usize = 2;

/// The hooks of one namespace, registered for as long as the value lives.
///
/// # Invariants
///
/// All of `rest` and `gates` are registered in `net`, and their `priv` points into `_handler`.
pub(crate) struct Hooks<H: Handler> {
    net: Net,
    rest: KBox<[bindings::nf_hook_ops; REST]>,
    /// The hooks without which TCP sees no frame to the service's multicast address. They come last and go first, or TCP would
    /// answer what nobody filters: with a reset, where it has no socket.
    gates: KBox<[bindings::nf_hook_ops; GATES]>,
    _handler: Arc<H>,
}

// SAFETY: Any CPU. `rest` and `gates` belong to netfilter, which locks for itself; `H` is `Send + Sync`.
unsafe impl<H: Handler> Send for Hooks<H> {}

// SAFETY: Any CPU. A shared reference gives no access to them.
unsafe impl<H: Handler> Sync for Hooks<H> {}

impl<H: Handler> Hooks<H> {
    /// Registers the hooks. Packets may reach `handler` before this returns. Process context.
    pub(crate) fn register(net: Net, handler: Arc<H>) -> Result<Self> {
        use bindings::{
            NFPROTO_ARP, NFPROTO_IPV4, NFPROTO_IPV6, NF_ARP_OUT, NF_INET_LOCAL_IN,
            NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING,
        };

        fail::at(Site::Hooks)?;
        let h = Arc::as_ptr(&handler);
        let mut rest = KBox::new(
            [
                op::<H, LOCAL_IN>(h, NFPROTO_IPV4, NF_INET_LOCAL_IN, LOCAL_IN_PRIORITY),
                op::<H, LOCAL_IN>(h, NFPROTO_IPV6, NF_INET_LOCAL_IN, LOCAL_IN_PRIORITY),
                op::<H, LOCAL_OUT>(h, NFPROTO_IPV4, NF_INET_LOCAL_OUT, LOCAL_OUT_PRIORITY),
                op::<H, LOCAL_OUT>(h, NFPROTO_IPV6, NF_INET_LOCAL_OUT, LOCAL_OUT_PRIORITY),
                op::<H, ARP_OUT>(h, NFPROTO_ARP, NF_ARP_OUT, 0),
            ],
            GFP_KERNEL,
        )?;
        fail::at(Site::Hooks)?;
        let mut gates = KBox::new(
            [
                op::<H, PRE_ROUTING>(h, NFPROTO_IPV4, NF_INET_PRE_ROUTING, PRE_ROUTING_PRIORITY),
                op::<H, PRE_ROUTING>(h, NFPROTO_IPV6, NF_INET_PRE_ROUTING, PRE_ROUTING_PRIORITY),
            ],
            GFP_KERNEL,
        )?;
        // SAFETY: Registered. They stay on the heap, and `_handler` with them, until `drop` has unregistered them.
        unsafe { register(net, &mut rest[..]) }?;
        // SAFETY: Registered. As above.
        if let Err(error) = unsafe { register(net, &mut gates[..]) } {
            // SAFETY: Registered. Just above.
            unsafe { unregister(net, &mut rest[..]) };
            return Err(error);
        }
        // INVARIANT: Just registered.
        Ok(Self {
            net,
            rest,
            gates,
            _handler: handler,
        })
    }
}

/// Registers hooks, in their order, or none of them.
///
/// # Safety
///
/// What their `priv` points into must live, and they must stay at their address, until they are
/// unregistered.
unsafe fn register(net: Net, ops: &mut [bindings::nf_hook_ops]) -> Result {
    fail::at(Site::Hooks)?;
    // SAFETY: Caller's promise. If the call fails it has unregistered what it registered.
    let registered = to_result(unsafe {
        bindings::nf_register_net_hooks(net.as_ptr(), ops.as_mut_ptr(), ops.len() as c_uint)
    });
    if registered.is_err() {
        // Some of the hooks may have run, and may still be running.
        synchronize_net();
    }
    registered
}

/// Unregisters hooks, and returns when none of them runs any more.
///
/// # Safety
///
/// They must be registered in `net`.
unsafe fn unregister(net: Net, ops: &mut [bindings::nf_hook_ops]) {
    // SAFETY: Caller's promise. They are registered.
    unsafe {
        bindings::nf_unregister_net_hooks(net.as_ptr(), ops.as_mut_ptr(), ops.len() as c_uint)
    };
    // `nf_unregister_net_hook` does not wait for hooks that are running.
    synchronize_net();
}

impl<H: Handler> Drop for Hooks<H> {
    /// Returns when no hook runs any more. Process context.
    fn drop(&mut self) {
        // What the gates let through has passed the others when those go.
        // SAFETY: Registered. By the type invariant.
        unsafe { unregister(self.net, &mut self.gates[..]) };
        // SAFETY: Registered. By the type invariant.
        unsafe { unregister(self.net, &mut self.rest[..]) };
    }
}

/// Waits until all packets that were on their way through the stack have come out of it.
/// Process context.
fn synchronize_net() {
    // SAFETY: No requirement. Process context.
    unsafe { bindings::synchronize_net() };
}
