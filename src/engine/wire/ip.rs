// SPDX-License-Identifier: GPL-2.0

//! IPv4 and IPv6 headers, and the addresses in them.

use super::Malformed;
use core::{
    fmt,
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr,
        SocketAddr, //
    },
};
use zerocopy::{
    network_endian::{
        U16,
        U32, //
    },
    FromBytes as _,
};

/// Protocol number of TCP, in IPv4 and as an IPv6 next header.
pub const PROTOCOL_TCP: u8 = 6;

/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;

/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

// IPv6 extension headers, RFC 8200, section 4.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// IPv4, RFC 791, section 3.1, without options.
#[derive(
    zerocopy_derive::FromBytes,
    zerocopy_derive::IntoBytes,
    zerocopy_derive::KnownLayout,
    zerocopy_derive::Immutable,
    zerocopy_derive::Unaligned,
)]
#[repr(C)]
pub(in super::super) struct Ipv4Header {
    pub(in super::super) version_ihl: u8,
    pub(in super::super) tos: u8,
    pub(in super::super) total_len: U16,
    pub(in super::super) id: U16,
    pub(in super::super) fragment: U16,
    pub(in super::super) ttl: u8,
    pub(in super::super) protocol: u8,
    pub(in super::super) check: U16,
    pub(in super::super) source: [u8; 4],
    pub(in super::super) destination: [u8; 4],
}

impl Ipv4Header {
    pub(in super::super) const DONT_FRAGMENT: u16 = 0x4000;
    /// More Fragments, or an offset.
    const FRAGMENT_MASK: u16 = 0x3fff;
}

/// IPv6, RFC 8200, section 3.
#[derive(
    zerocopy_derive::FromBytes,
    zerocopy_derive::IntoBytes,
    zerocopy_derive::KnownLayout,
    zerocopy_derive::Immutable,
    zerocopy_derive::Unaligned,
)]
#[repr(C)]
pub(in super::super) struct Ipv6Header {
    pub(in super::super) version_class_flow: U32,
    pub(in super::super) payload_len: U16,
    pub(in super::super) next_header: u8,
    pub(in super::super) hop_limit: u8,
    pub(in super::super) source: [u8; 16],
    pub(in super::super) destination: [u8; 16],
}

/// The first eight bytes of an IPv6 extension header; no such header is shorter.
#[derive(
    zerocopy_derive::FromBytes,
    zerocopy_derive::KnownLayout,
    zerocopy_derive::Immutable,
    zerocopy_derive::Unaligned,
)]
#[repr(C)]
struct ExtensionHeader {
    next_header: u8,
    /// In units of eight bytes, without the first eight. Reserved in a fragment header, which has
    /// just eight.
    length: u8,
    /// Of a fragment header: offset and flags. Of a routing header: type, and segments left.
    detail: U16,
    rest: U32,
}

/// An address and a port: one end of a connection.
///
/// IPv4 addresses are kept as IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2), so that one
/// form serves both versions. The port is in host byte order.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// The address, IPv4 as `::ffff:a.b.c.d`.
    pub addr: Ipv6Addr,
    /// The TCP port, in host byte order.
    pub port: u16,
}

impl Endpoint {
    /// The end at `addr` and `port`.
    pub const fn new(addr: IpAddr, port: u16) -> Self {
        let addr = match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        Self { addr, port }
    }

    /// The same end in the form people write: a mapped address as the IPv4 address that it is.
    pub const fn to_socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.addr.to_canonical(), self.port)
    }

    /// Whether packets of this end are IPv4 packets.
    pub const fn is_ipv4(&self) -> bool {
        self.addr.to_ipv4_mapped().is_some()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::new(addr.ip(), addr.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_socket_addr(), f)
    }
}

/// A connection, named by its two ends. Both have the same IP version.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// The end that opened the connection.
    pub client: Endpoint,
    /// The end that primary and backup share.
    pub service: Endpoint,
}

impl Flow {
    /// A number to choose a bucket by; all 32 bits are equally good.
    ///
    /// Clients choose most of a flow, so `seed` must be random and secret lest they make collisions
    /// at will.
    pub fn hash(&self, seed: u32) -> u32 {
        let (client, service) = (self.client.addr.to_bits(), self.service.addr.to_bits());
        let ports = (u64::from(self.client.port) << 16) | u64::from(self.service.port);

        let mut hash = u64::from(seed);
        for word in [
            (client >> 64) as u64,
            client as u64,
            (service >> 64) as u64,
            service as u64,
            ports,
        ] {
            hash = mix(hash ^ word);
        }
        // The upper half has seen more multiplications.
        (hash >> 32) as u32
    }

    /// Whether the packets of this connection are IPv4 packets.
    pub const fn is_ipv4(&self) -> bool {
        self.service.is_ipv4()
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.client, self.service)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): each bit of the input changes
/// half of the output's.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the IP headers of a packet say: enough to see whether it can concern a service at all.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Peek {
    /// 4 or 6.
    pub version: u8,
    /// What follows the IP headers, [`PROTOCOL_TCP`] for one. In a fragment after the first, what
    /// the fragment header says.
    pub protocol: u8,
    /// The sender's address, IPv4 as mapped.
    pub source_addr: Ipv6Addr,
    /// The receiver's address, IPv4 as mapped.
    pub destination_addr: Ipv6Addr,
    /// Bytes from the start of the IP header to what follows the last IP header.
    pub l4_offset: usize,
    /// Whether this is a fragment, also the first one or an "atomic" one.
    pub fragment: bool,
}

impl Peek {
    /// Reads the IP headers at the start of `header`.
    ///
    /// # Errors
    ///
    /// All of [`Malformed`] but [`Malformed::Fragment`]; [`Malformed::NotTcp`] only for a packet
    /// whose source route still leads elsewhere.
    pub fn parse(header: &[u8]) -> Result<Self, Malformed> {
        match header.first().ok_or(Malformed::Truncated)? >> 4 {
            4 => Self::parse_v4(header),
            6 => Self::parse_v6(header),
            _ => Err(Malformed::BadVersion),
        }
    }

    fn parse_v4(header: &[u8]) -> Result<Self, Malformed> {
        let (ip, _) = Ipv4Header::ref_from_prefix(header).map_err(|_| Malformed::Truncated)?;
        let l4_offset = usize::from(ip.version_ihl & 0x0f).wrapping_mul(4);
        if l4_offset < size_of::<Ipv4Header>() {
            return Err(Malformed::BadHeaderLength);
        }
        if l4_offset > header.len() {
            return Err(Malformed::Truncated);
        }
        Ok(Self {
            version: 4,
            protocol: ip.protocol,
            source_addr: Ipv4Addr::from(ip.source).to_ipv6_mapped(),
            destination_addr: Ipv4Addr::from(ip.destination).to_ipv6_mapped(),
            l4_offset,
            fragment: ip.fragment.get() & Ipv4Header::FRAGMENT_MASK != 0,
        })
    }

    fn parse_v6(header: &[u8]) -> Result<Self, Malformed> {
        let (ip, mut rest) =
            Ipv6Header::ref_from_prefix(header).map_err(|_| Malformed::Truncated)?;
        let mut protocol = ip.next_header;
        let mut fragment = false;

        // Each round takes eight bytes or more off `rest`.
        while let HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS = protocol {
            let (extension, _) =
                ExtensionHeader::ref_from_prefix(rest).map_err(|_| Malformed::Truncated)?;
            let detail = extension.detail.get();
            let mut units = usize::from(extension.length);
            let mut last = false;
            match protocol {
                // The pseudo header has the last address of the route, which is not in the IP
                // header yet.
                ROUTING if detail & 0x00ff != 0 => return Err(Malformed::NotTcp),
                FRAGMENT => {
                    fragment = true;
                    units = 0;
                    // Behind a later fragment's header lies the middle of something.
                    last = detail & 0xfff8 != 0;
                }
                _ => (),
            }
            rest = rest
                .get(units.saturating_add(1).saturating_mul(8)..)
                .ok_or(Malformed::Truncated)?;
            protocol = extension.next_header;
            if last {
                break;
            }
        }
        Ok(Self {
            version: 6,
            protocol,
            source_addr: Ipv6Addr::from(ip.source),
            destination_addr: Ipv6Addr::from(ip.destination),
            l4_offset: header.len().saturating_sub(rest.len()),
            fragment,
        })
    }

    /// Source and destination port of a TCP packet, in host byte order. `header` is the one that
    /// was parsed; `None` if it ends before the ports, or if the packet is not TCP or is a
    /// fragment.
    pub fn ports(&self, header: &[u8]) -> Option<(u16, u16)> {
        if self.protocol != PROTOCOL_TCP || self.fragment {
            return None;
        }
        let [s0, s1, d0, d1] = *header.get(self.l4_offset..)?.first_chunk()?;
        Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
    }
}

/// Source and destination address of the IP packet at the start of `header`, IPv4 as mapped. Reads no further than the fixed header.
pub fn addresses(header: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    match header.first()? >> 4 {
        4 => {
            let (ip, _) = Ipv4Header::ref_from_prefix(header).ok()?;
            let mapped = |addr| Ipv4Addr::from(addr).to_ipv6_mapped();
            Some((mapped(ip.source), mapped(ip.destination)))
        }
        6 => {
            let (ip, _) = Ipv6Header::ref_from_prefix(header).ok()?;
            Some((Ipv6Addr::from(ip.source), Ipv6Addr::from(ip.destination)))
        }
        _ => None,
    }
}

/// [`Peek::parse`] for those who do not care what is wrong with a packet.
pub fn peek(header: &[u8]) -> Option<Peek> {
    Peek::parse(header).ok()
}
