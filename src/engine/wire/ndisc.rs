// SPDX-License-Identifier: GPL-2.0

//! Neighbour discovery messages (RFC 4861, section 4).

use core::net::Ipv6Addr;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// The address that an ICMPv6 message claims for its sender: the target of an advertisement, or of a solicitation from the unspecified
/// address, which is duplicate address detection (RFC 4862, section 5.4). `source` is the IPv6 source address.
pub fn claimed(source: Ipv6Addr, icmp: &[u8]) -> Option<Ipv6Addr> {
    let (fixed, rest) = icmp.split_first_chunk::<8>()?;
    let claims = match *fixed.first()? {
        ADVERTISEMENT => true,
        SOLICITATION => source.is_unspecified(),
        _ => false,
    };
    let target = rest.first_chunk::<16>()?;
    claims.then(|| Ipv6Addr::from(*target))
}
