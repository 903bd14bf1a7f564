// SPDX-License-Identifier: GPL-2.0

//! Routes out of this host.
//!
//! C headers: [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/ip6_route.h`](srctree/include/net/ip6_route.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr::NonNull;
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
};

/// What a route is looked up for.
pub(super) struct Flow {
    /// Unspecified lets the route choose.
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// Zero for any.
    pub(super) ifindex: u32,
    pub(super) protocol: u8,
    /// For a multipath hash over ports.
    pub(super) ports: (u16, u16),
    pub(super) mark: u32,
}

/// A reference to a route, `struct dst_entry`.
///
/// # Invariants
///
/// Owns one reference.
pub(super) struct Dst(NonNull<bindings::dst_entry>);

impl Dst {
    /// Looks up the route of `flow`, and the source address that goes with it. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the addresses are of different families, and the error of the route.
    pub(super) fn lookup(net: Net, flow: &Flow) -> Result<(Self, IpAddr)> {
        match (flow.from, flow.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Self::lookup4(net, flow, from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => Self::lookup6(net, flow, from, to),
            _ => Err(EINVAL),
        }
    }

    fn common(flow: &Flow) -> bindings::flowi_common {
        bindings::flowi_common {
            flowic_oif: flow.ifindex as i32,
            flowic_mark: flow.mark,
            flowic_proto: flow.protocol,
            ..Default::default()
        }
    }

    fn ports(flow: &Flow) -> bindings::flowi_uli {
        bindings::flowi_uli {
            ports: bindings::flowi_uli__bindgen_ty_1 {
                sport: flow.ports.0.to_be(),
                dport: flow.ports.1.to_be(),
            },
        }
    }

    fn lookup4(net: Net, flow: &Flow, from: Ipv4Addr, to: Ipv4Addr) -> Result<(Self, IpAddr)> {
        let mut common = Self::common(flow);
        if !from.is_unspecified() {
            // A service address need not be on a device yet: do not insist on it.
            common.flowic_flags = bindings::FLOWI_FLAG_ANYSRC as u8;
        }
        let mut fl4 = bindings::flowi4 {
            __fl_common: common,
            saddr: u32::from_ne_bytes(from.octets()),
            daddr: u32::from_ne_bytes(to.octets()),
            uli: Self::ports(flow),
        };
        fail::at(Site::Route)?;
        // SAFETY: Living namespace. `fl4` is valid; a null socket is allowed.
        let rt =
            unsafe { bindings::ip_route_output_flow(net.as_ptr(), &mut fl4, core::ptr::null()) };
        let rt = from_err_ptr(rt)?;
        // SAFETY: Our reference. The lookup gave it to us.
        let dst = unsafe { bindings::sttcp_rtable_dst(rt) };
        // INVARIANT: The lookup gave us the reference.
        let dst = Self(NonNull::new(dst).ok_or_else(super::compat::enetunreach)?);
        Ok((dst, Ipv4Addr::from(fl4.saddr.to_ne_bytes()).into()))
    }

    fn lookup6(net: Net, flow: &Flow, from: Ipv6Addr, to: Ipv6Addr) -> Result<(Self, IpAddr)> {
        let mut fl6 = bindings::flowi6 {
            __fl_common: Self::common(flow),
            saddr: in6_addr(from),
            daddr: in6_addr(to),
            uli: Self::ports(flow),
            ..Default::default()
        };
        fail::at(Site::Route)?;
        if from.is_unspecified() {
            // SAFETY: Living namespace. `fl6` is valid; null is allowed for the socket and the
            // final destination.
            let dst = unsafe {
                bindings::ip6_dst_lookup_flow(
                    net.as_ptr(),
                    core::ptr::null(),
                    &mut fl6,
                    core::ptr::null(),
                )
            };
            let dst = from_err_ptr(dst)?;
            // INVARIANT: The lookup gave us the reference.
            let dst = Self(NonNull::new(dst).ok_or_else(super::compat::enetunreach)?);
            // SAFETY: Plain bytes. All views of the union are the same sixteen.
            let from = unsafe { fl6.saddr.in6_u.u6_addr8 };
            return Ok((dst, Ipv6Addr::from(from).into()));
        }
        // SAFETY: Living namespace. `fl6` is valid; a null socket is allowed.
        let dst = unsafe {
            bindings::ip6_route_output_flags(net.as_ptr(), core::ptr::null(), &mut fl6, 0)
        };
        // INVARIANT: The lookup gave us the reference; it gives one on errors too.
        let dst = Self(NonNull::new(dst).ok_or_else(super::compat::enetunreach)?);
        // SAFETY: Our reference. The lookup gave it to us.
        to_result(unsafe { bindings::sttcp_dst_error(dst.as_ptr()) })?;
        Ok((dst, from.into()))
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::dst_entry {
        self.0.as_ptr()
    }

    /// Gives the reference to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::dst_entry {
        core::mem::ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Dst {
    fn drop(&mut self) {
        // SAFETY: Our reference. By the type invariant.
        unsafe { bindings::dst_release(self.0.as_ptr()) };
    }
}

/// The address that this host sends from to `to`, by its routes. Any context.
///
/// # Errors
///
/// Of the route.
pub(crate) fn source(net: Net, to: IpAddr) -> Result<IpAddr> {
    let flow = Flow {
        from: match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        to,
        ifindex: 0,
        protocol: 0,
        ports: (0, 0),
        mark: 0,
    };
    Dst::lookup(net, &flow).map(|(_, from)| from)
}

/// The C form of an address.
pub(super) fn in6_addr(address: Ipv6Addr) -> bindings::in6_addr {
    bindings::in6_addr {
        in6_u: bindings::in6_addr__bindgen_ty_1 {
            u6_addr8: address.octets(),
        },
    }
}

/// The address inside a C address.
pub(super) fn from_in6_addr(address: &bindings::in6_addr) -> Ipv6Addr {
    // SAFETY: Plain bytes. All views of the union are the same sixteen.
    Ipv6Addr::from(unsafe { address.in6_u.u6_addr8 })
}
