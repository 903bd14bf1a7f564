// SPDX-License-Identifier: GPL-2.0

//! Telling the link who has an address, and finding out who others are.
//!
//! C headers: [`include/net/arp.h`](srctree/include/net/arp.h),
//! [`include/net/ndisc.h`](srctree/include/net/ndisc.h),
//! [`include/net/neighbour.h`](srctree/include/net/neighbour.h)

use super::{
    bindings,
    net::Net,
    route::{in6_addr, Dst, Flow},
};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};
use kernel::{prelude::*, sync::rcu};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The devices of a namespace that are up.
fn devices<'a>(
    net: Net,
    _rcu: &'a rcu::Guard,
) -> impl Iterator<Item = *mut bindings::net_device> + 'a {
    let mut dev = ptr::null_mut();
    core::iter::from_fn(move || {
        // SAFETY: We are in an RCU read-side critical section; `dev` is null or was found in this
        // one.
        dev = unsafe { bindings::sttcp_next_net_device_rcu(net.as_ptr(), dev) };
        (!dev.is_null()).then_some(dev)
    })
    .filter(|dev| flags(*dev) & bindings::IFF_UP != 0)
}

fn flags(dev: *mut bindings::net_device) -> u32 {
    // SAFETY: The caller found `dev` in its RCU read-side critical section.
    unsafe { bindings::sttcp_dev_flags(dev) }
}

/// Whether addresses are resolved on a device, by ARP or neighbour discovery.
fn resolves(dev: *mut bindings::net_device) -> bool {
    flags(dev) & (bindings::IFF_LOOPBACK | bindings::IFF_NOARP) == 0
}

fn has_address(net: Net, dev: *mut bindings::net_device, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let address = u32::from_ne_bytes(address.octets());
            // SAFETY: The caller found `dev` in its RCU read-side critical section.
            unsafe { bindings::sttcp_dev_has_ipv4(net.as_ptr(), dev, address) }
        }
        IpAddr::V6(address) => {
            let address = in6_addr(address);
            // SAFETY: As above. Strict: the address must be on this device.
            unsafe { bindings::ipv6_chk_addr(net.as_ptr(), &address, dev, 1) != 0 }
        }
    }
}

fn arp(dev: *mut bindings::net_device, address: Ipv4Addr) {
    let address = u32::from_ne_bytes(address.octets());
    // SAFETY: The caller found `dev` in its RCU read-side critical section.
    let hardware = unsafe { bindings::sttcp_dev_addr(dev) };
    // Some stacks learn from requests only, others from replies only (RFC 5227, section 3).
    for operation in [bindings::ARPOP_REQUEST, bindings::ARPOP_REPLY] {
        // SAFETY: As above; null for the destination is broadcast, and for the source `dev`'s own.
        unsafe {
            bindings::arp_send(
                operation as i32,
                bindings::ETH_P_ARP as i32,
                address,
                dev,
                address,
                ptr::null(),
                hardware,
                if operation == bindings::ARPOP_REPLY {
                    hardware
                } else {
                    ptr::null()
                },
            )
        };
    }
}

fn neighbour_advertisement(dev: *mut bindings::net_device, address: Ipv6Addr) {
    let (to, address) = (in6_addr(ALL_NODES), in6_addr(address));
    // SAFETY: The caller found `dev` in its RCU read-side critical section. Not a router, not
    // solicited, overriding what others know (RFC 4861, section 7.2.6), with the link-layer
    // address.
    unsafe { bindings::ndisc_send_na(dev, &to, &address, false, false, true, true) };
}

/// Tells the link of each device that has `address` that it is here now: gratuitous ARP, or an
/// unsolicited neighbour advertisement. If only devices without a link have it, such as the
/// loopback device, all others are used, for then the host answers on all. The announcements pass
/// the ARP and `LOCAL_OUT` hooks. Returns on how many devices it was done; none if the host does
/// not have the address, or it is one that no link should hear of. Any context.
pub(crate) fn announce(net: Net, address: IpAddr) -> usize {
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return 0;
    }
    let rcu = rcu::read_lock();
    let mut holders = devices(net, &rcu).filter(|dev| has_address(net, *dev, address));
    let Some(first) = holders.next() else {
        return 0;
    };
    let on_link = resolves(first) || holders.any(resolves);
    let mut count = 0;
    for dev in devices(net, &rcu).filter(|dev| resolves(*dev)) {
        if on_link && !has_address(net, dev, address) {
            continue;
        }
        match address {
            IpAddr::V4(address) => arp(dev, address),
            IpAddr::V6(address) => neighbour_advertisement(dev, address),
        }
        count += 1;
    }
    count
}

/// Has the link-layer address of the next hop from `from` to `to` looked up, or confirmed if it is
/// getting old, so that a packet need not wait for that. It does not wait itself. The request that
/// goes out carries an address of the device's own choice, by `arp_announce`, not `from`. Any
/// context.
///
/// # Errors
///
/// Of the route.
pub(crate) fn warm(net: Net, from: IpAddr, to: IpAddr) -> Result {
    let flow = Flow {
        from,
        to,
        ifindex: 0,
        protocol: bindings::IPPROTO_TCP as u8,
        ports: (0, 0),
        mark: 0,
    };
    let (dst, _) = Dst::lookup(net, &flow)?;
    let neighbour = match to {
        IpAddr::V4(to) => {
            let to = to.octets();
            // SAFETY: We hold a reference on the route, which is an IPv4 one, as `to` is.
            unsafe { bindings::sttcp_dst_neigh_lookup(dst.as_ptr(), to.as_ptr().cast()) }
        }
        IpAddr::V6(to) => {
            let to = to.octets();
            // SAFETY: We hold a reference on the route, which is an IPv6 one, as `to` is.
            unsafe { bindings::sttcp_dst_neigh_lookup(dst.as_ptr(), to.as_ptr().cast()) }
        }
    };
    if neighbour.is_null() {
        return Err(super::compat::enobufs());
    }
    // SAFETY: The lookup gave us a reference.
    unsafe { bindings::sttcp_neigh_event_send(neighbour) };
    // SAFETY: The reference is ours, and used no more.
    unsafe { bindings::sttcp_neigh_release(neighbour) };
    Ok(())
}
