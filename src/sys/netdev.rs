// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{bindings, net::Net, route::in6_addr, skb::SkBuff};
use core::{
    iter,
    marker::PhantomData,
    net::IpAddr,
    ptr::{self, NonNull},
};
use kernel::prelude::*;
use kernel::sync::rcu;

/// A network device, `struct net_device`.
///
/// # Invariants
///
/// Was found under the RCU read lock that `'rcu` stands for, and so is there as long as that is
/// held.
#[derive(Clone, Copy)]
pub(super) struct Device<'rcu>(NonNull<bindings::net_device>, PhantomData<&'rcu rcu::Guard>);

impl<'rcu> Device<'rcu> {
    /// The device with an index. Any context.
    pub(super) fn by_index(net: Net, ifindex: u32, _rcu: &'rcu rcu::Guard) -> Option<Self> {
        // SAFETY: Under RCU. The guard says so, and the namespace is there.
        let dev = unsafe { bindings::dev_get_by_index_rcu(net.as_ptr(), ifindex as i32) };
        // INVARIANT: Just found.
        NonNull::new(dev).map(|dev| Self(dev, PhantomData))
    }

    /// All devices of a namespace. Any context.
    pub(super) fn all(net: Net, _rcu: &'rcu rcu::Guard) -> impl Iterator<Item = Self> + 'rcu {
        let mut dev = ptr::null_mut();
        iter::from_fn(move || {
            // SAFETY: Under RCU. The guard says so; `dev` is null, or was found under it.
            dev = unsafe { bindings::sttcp_next_net_device_rcu(net.as_ptr(), dev) };
            // INVARIANT: Just found.
            NonNull::new(dev).map(|dev| Self(dev, PhantomData))
        })
        // After the last comes the first again.
        .fuse()
    }

    pub(super) fn as_ptr(self) -> *mut bindings::net_device {
        self.0.as_ptr()
    }

    fn flags(self) -> u32 {
        // SAFETY: Under RCU. The device is there, by the type invariant.
        unsafe { bindings::sttcp_dev_flags(self.as_ptr()) }
    }

    /// Whether it is up.
    pub(super) fn is_up(self) -> bool {
        self.flags() & bindings::IFF_UP != 0
    }

    /// Whether it is up and has a carrier: a cable, and something at its other end.
    fn is_linked(self) -> bool {
        // SAFETY: Under RCU. The device is there, by the type invariant.
        unsafe { bindings::sttcp_dev_is_linked(self.as_ptr()) }
    }

    /// Whether addresses are resolved on it, by ARP or neighbour discovery.
    pub(super) fn resolves(self) -> bool {
        self.flags() & (bindings::IFF_LOOPBACK | bindings::IFF_NOARP) == 0
    }

    /// Most bytes of a link-layer header.
    pub(super) fn hard_header_len(self) -> usize {
        // SAFETY: Under RCU. The device is there, by the type invariant.
        unsafe { bindings::sttcp_dev_hard_header_len(self.as_ptr()) as usize }
    }

    /// Its link-layer address.
    pub(super) fn address(self) -> *const u8 {
        // SAFETY: Under RCU. The device is there, by the type invariant.
        unsafe { bindings::sttcp_dev_addr(self.as_ptr()) }
    }

    /// Whether it has an IP address.
    pub(super) fn has_address(self, net: Net, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let address = u32::from_ne_bytes(address.octets());
                // SAFETY: Under RCU. The device is there, and the lock held, by the type invariant.
                unsafe { bindings::sttcp_dev_has_ipv4(net.as_ptr(), self.as_ptr(), address) }
            }
            IpAddr::V6(address) => {
                let address = in6_addr(address);
                // SAFETY: Under RCU. The device is there, by the type invariant. Strict: the
                // address must be on this device.
                unsafe { bindings::ipv6_chk_addr(net.as_ptr(), &address, self.as_ptr(), 1) != 0 }
            }
        }
    }

    /// Whether it hands its packets to other devices: a bond, a bridge, a VLAN.
    pub(super) fn is_stacked(self) -> bool {
        // SAFETY: Under RCU. The device is there, by the type invariant.
        unsafe { bindings::sttcp_dev_is_stacked(self.as_ptr()) }
    }

    /// Gives the device a packet, past what waits for it, by the first of its queues whose lock nobody holds and that takes it. One that it does not take is not
    /// freed.
    ///
    /// # Errors
    ///
    /// `EBUSY` if every queue is locked, `EAGAIN` if the device refuses.
    pub(super) fn start_xmit(self, skb: SkBuff) -> Result {
        let skb = skb.into_raw();
        let mut why = EBUSY;
        // SAFETY: Under RCU. The device is there, by the type invariant.
        for queue in 0..unsafe { bindings::sttcp_tx_queues(self.as_ptr()) } {
            // SAFETY: Under RCU. The device is there, and has this queue.
            if !unsafe { bindings::sttcp_tx_trylock(self.as_ptr(), queue) } {
                continue;
            }
            // SAFETY: Our packet. It has a link header and its device, whose lock is held; a device that
            // takes it consumes it.
            let taken = unsafe { bindings::sttcp_start_xmit(skb.as_ptr(), self.as_ptr(), queue) };
            // SAFETY: Under RCU. The device is there, and the lock was taken just now.
            unsafe { bindings::sttcp_tx_unlock(self.as_ptr(), queue) };
            if taken {
                return Ok(());
            }
            why = EAGAIN;
        }
        Err(why)
    }
}

/// Whether the device with this index is there, up, and has a carrier. Any context.
pub(crate) fn is_linked(net: Net, ifindex: u32) -> bool {
    let rcu = rcu::read_lock();
    Device::by_index(net, ifindex, &rcu).is_some_and(Device::is_linked)
}
