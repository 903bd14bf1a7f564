// SPDX-License-Identifier: GPL-2.0

//! ARP packets for IPv4 (RFC 826).

use core::net::{Ipv4Addr, Ipv6Addr};

const IPV4: [u8; 2] = [0x08, 0x00];

/// The sender's protocol address in an ARP packet for IPv4, as IPv4-mapped; `None` if it is no such packet.
pub fn sender(packet: &[u8]) -> Option<Ipv6Addr> {
    let (fixed, rest) = packet.split_first_chunk::<8>()?;
    let [_, _, p0, p1, hardware_len, protocol_len, _, _] = *fixed;
    if [p0, p1] != IPV4 || protocol_len != 4 {
        return None;
    }
    let address = rest.get(usize::from(hardware_len)..)?.first_chunk::<4>()?;
    Some(Ipv4Addr::from(*address).to_ipv6_mapped())
}
