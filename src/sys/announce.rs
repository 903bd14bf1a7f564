// SPDX-License-Identifier: GPL-2.0

//! Telling the link who has an address, and finding out who others are.
//!
//! C headers: [`include/net/arp.h`](srctree/include/net/arp.h),
//! [`include/net/ndisc.h`](srctree/include/net/ndisc.h),
//! [`include/net/neighbour.h`](srctree/include/net/neighbour.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
    netdev::Device,
    route::{in6_addr, Dst, Flow},
};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};
use kernel::{prelude::*, sync::rcu};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn arp(dev: Device<'_>, address: Ipv4Addr) -> Result {
    let address = u32::from_ne_bytes(address.octets());
    let hardware = dev.address();
    // Some stacks learn from requests only, others from replies only (RFC 5227, section 3).
    for operation in [bindings::ARPOP_REQUEST, bindings::ARPOP_REPLY] {
        fail::at(Site::Announce)?;
        // SAFETY: Under RCU. The device is there, by its invariant, and with it its link-layer
        // address; null stands for broadcast as the destination, and for none as the target.
        unsafe {
            bindings::arp_send(
                operation as i32,
                bindings::ETH_P_ARP as i32,
                address,
                dev.as_ptr(),
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
    Ok(())
}

fn neighbour_advertisement(dev: Device<'_>, address: Ipv6Addr) -> Result {
    fail::at(Site::Announce)?;
    let (to, address) = (in6_addr(ALL_NODES), in6_addr(address));
    let dev = dev.as_ptr();
    // SAFETY: Under RCU. The device is there, by its invariant. Not a router, not solicited,
    // overriding what others know (RFC 4861, section 7.2.6), with the link-layer address.
    unsafe { bindings::ndisc_send_na(dev, &to, &address, false, false, true, true) };
    Ok(())
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
    let devices = || Device::all(net, &rcu).filter(|dev| dev.is_up());
    let mut holders = devices().filter(|dev| dev.has_address(net, address));
    let Some(first) = holders.next() else {
        return 0;
    };
    let on_link = first.resolves() || holders.any(Device::resolves);
    let mut count = 0;
    for dev in devices().filter(|dev| dev.resolves()) {
        if on_link && !dev.has_address(net, address) {
            continue;
        }
        let announced = match address {
            IpAddr::V4(address) => arp(dev, address),
            IpAddr::V6(address) => neighbour_advertisement(dev, address),
        };
        count += usize::from(announced.is_ok());
    }
    count
}

/// How long a neighbour may take to answer. The kernel asks once in a second.
const UNANSWERED_MS: u32 = 250;

/// Has the link-layer address of the next hop from `from` to `to` looked up, or confirmed if it is
/// getting old, so that a packet need not wait for that. It does not wait itself. The request that
/// goes out carries an address of the device's own choice, by `arp_announce`, not `from`.
///
/// A question that has had no answer for long is asked anew, and what waits for that answer is freed:
/// a packet from the service that has waited there since this host spoke would have it asked in the
/// service's name, which is muted. So this is for a host that is silent. Any context.
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
    fail::at(Site::Neighbour)?;
    let neighbour = match to {
        IpAddr::V4(to) => {
            let to = u32::from_ne_bytes(to.octets());
            // SAFETY: Our reference. It is on an IPv4 route, so the lookup reads four aligned
            // bytes.
            unsafe { bindings::sttcp_dst_neigh_lookup(dst.as_ptr(), (&raw const to).cast()) }
        }
        IpAddr::V6(to) => {
            let to = in6_addr(to);
            // SAFETY: Our reference. It is on an IPv6 route, so the lookup reads a `struct
            // in6_addr`.
            unsafe { bindings::sttcp_dst_neigh_lookup(dst.as_ptr(), (&raw const to).cast()) }
        }
    };
    if neighbour.is_null() {
        return Err(super::compat::enobufs());
    }
    // SAFETY: Our reference. The lookup gave it to us.
    if unsafe { bindings::sttcp_neigh_incomplete_for(neighbour, UNANSWERED_MS) } {
        // SAFETY: Our reference. As above.
        unsafe { bindings::sttcp_neigh_fail(neighbour) };
    }
    // SAFETY: Our reference. The lookup gave it to us.
    unsafe { bindings::sttcp_neigh_event_send(neighbour) };
    // SAFETY: Our reference. It is used no more.
    unsafe { bindings::sttcp_neigh_release(neighbour) };
    Ok(())
}
