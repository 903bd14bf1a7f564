// SPDX-License-Identifier: GPL-2.0

//! Builds packets: of TCP, and echo requests.

use super::wire::{
    checksum::{
        self,
        Sum, //
    },
    ip::{
        Ipv4Header,
        Ipv6Header,
        PROTOCOL_ICMP,
        PROTOCOL_ICMPV6,
        PROTOCOL_TCP, //
    },
    options::MAX_OPTIONS,
    tcp::TcpHeader,
    Endpoint,
    Flags,
    Segment, //
};
use core::{
    fmt,
    net::Ipv6Addr, //
};
use zerocopy::IntoBytes as _;

/// Most bytes that [`emit`] writes: an IPv6 header, a TCP header and its options.
pub const MAX_PACKET: usize = size_of::<Ipv6Header>() + size_of::<TcpHeader>() + MAX_OPTIONS;

const HOP_LIMIT: u8 = 64;

/// Why a packet could not be built.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum EmitError {
    /// One end has an IPv4 address and the other an IPv6 address.
    MixedVersions,
    /// The payload does not fit into an IP packet.
    TooLong,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MixedVersions => "mixed_versions",
            Self::TooLong => "too_long",
        })
    }
}

impl core::error::Error for EmitError {}

/// Writes a packet without payload to the start of `buf` and returns its length in bytes.
///
/// `segment.payload_len` is ignored. The packet is complete, with its checksums. Its IP header
/// says: do not fragment, 64 hops, no ECN. Which options are written, and how, see
/// [`super::wire::Options`]: those that have a value, in Linux's order; SYN options in a SYN only;
/// as many SACK blocks as there is room for.
///
/// # Errors
///
/// [`EmitError::MixedVersions`]; what is in `buf` then means nothing.
pub fn emit(
    buf: &mut [u8; MAX_PACKET],
    source: Endpoint,
    destination: Endpoint,
    segment: &Segment,
) -> Result<usize, EmitError> {
    emit_header(buf, source, destination, segment, &[])
}

/// Writes the headers of a packet whose payload is `payload`, and returns their length in bytes.
///
/// The payload goes into lengths and checksum, not into `buf`: the caller appends it.
///
/// # Errors
///
/// See [`EmitError`].
pub fn emit_header(
    buf: &mut [u8; MAX_PACKET],
    source: Endpoint,
    destination: Endpoint,
    segment: &Segment,
    payload: &[u8],
) -> Result<usize, EmitError> {
    let syn = segment.flags.contains(Flags::SYN);
    let mut options = [0; MAX_OPTIONS];
    let options_len = segment.options.emit(&mut options, syn);
    let options = options.get(..options_len).unwrap_or_default();

    let tcp_len = size_of::<TcpHeader>().saturating_add(options_len);
    let segment_len = tcp_len.saturating_add(payload.len());
    let mut tcp = TcpHeader {
        source: source.port.into(),
        destination: destination.port.into(),
        seq: segment.seq.raw().into(),
        ack: segment.ack.raw().into(),
        // The length is a multiple of 4, so its quarter moved left by 12 is the length moved left
        // by 10.
        offset_flags: (((tcp_len as u16) << 10) | segment.flags.bits()).into(),
        window: segment.window.into(),
        check: 0.into(),
        urgent: segment.urgent.into(),
    };

    let (ip_len, rest) = ip(
        buf,
        PROTOCOL_TCP,
        source.addr,
        destination.addr,
        segment_len,
    )?;

    // The header above holds the length in 16 bits.
    let sum = checksum::pseudo(
        PROTOCOL_TCP,
        source.addr,
        destination.addr,
        segment_len as u32,
    )
    .bytes(tcp.as_bytes())
    .bytes(options)
    .bytes(payload);
    tcp.check = sum.check().into();
    let rest = put(rest, tcp.as_bytes());
    put(rest, options);
    Ok(ip_len.saturating_add(tcp_len))
}

/// Bytes of an echo request without data, ICMP (RFC 792) or ICMPv6 (RFC 4443, section 4.1).
const ECHO_LEN: usize = 8;

/// Writes an echo request to the start of `buf` and returns its length in bytes. The data is empty, the identifier and the sequence number
/// are `ident` and `sequence`. IPv4 addresses are IPv4-mapped.
///
/// # Errors
///
/// [`EmitError::MixedVersions`]; what is in `buf` then means nothing.
pub fn emit_echo(
    buf: &mut [u8; MAX_PACKET],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    ident: u16,
    sequence: u16,
) -> Result<usize, EmitError> {
    let (protocol, kind, sum) = match destination.to_ipv4_mapped() {
        Some(_) => (PROTOCOL_ICMP, 8, Sum::default()),
        None => {
            let sum = checksum::pseudo(PROTOCOL_ICMPV6, source, destination, ECHO_LEN as u32);
            (PROTOCOL_ICMPV6, 128, sum)
        }
    };
    let [[a, b], [c, d]] = [ident, sequence].map(u16::to_be_bytes);
    let check = sum.bytes(&[kind, 0, 0, 0, a, b, c, d]).check();
    let [high, low] = check.to_be_bytes();
    let (ip_len, rest) = ip(buf, protocol, source, destination, ECHO_LEN)?;
    put(rest, &[kind, 0, high, low, a, b, c, d]);
    Ok(ip_len.saturating_add(ECHO_LEN))
}

/// Writes an IP header to the start of `buf`, and returns its length and what is behind it.
fn ip(
    buf: &mut [u8],
    protocol: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    payload_len: usize,
) -> Result<(usize, &mut [u8]), EmitError> {
    match (source.to_ipv4_mapped(), destination.to_ipv4_mapped()) {
        (Some(from), Some(to)) => {
            let ip = ipv4(protocol, from.octets(), to.octets(), payload_len)
                .ok_or(EmitError::TooLong)?;
            Ok((size_of::<Ipv4Header>(), put(buf, ip.as_bytes())))
        }
        (None, None) => {
            let ip = ipv6(protocol, source.octets(), destination.octets(), payload_len)
                .ok_or(EmitError::TooLong)?;
            Ok((size_of::<Ipv6Header>(), put(buf, ip.as_bytes())))
        }
        _ => Err(EmitError::MixedVersions),
    }
}

fn ipv4(
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    payload_len: usize,
) -> Option<Ipv4Header> {
    let total_len = payload_len.checked_add(size_of::<Ipv4Header>())?;
    let mut ip = Ipv4Header {
        version_ihl: 0x45,
        tos: 0,
        total_len: u16::try_from(total_len).ok()?.into(),
        id: 0.into(),
        fragment: Ipv4Header::DONT_FRAGMENT.into(),
        ttl: HOP_LIMIT,
        protocol,
        check: 0.into(),
        source,
        destination,
    };
    ip.check = Sum::default().bytes(ip.as_bytes()).check().into();
    Some(ip)
}

fn ipv6(
    protocol: u8,
    source: [u8; 16],
    destination: [u8; 16],
    payload_len: usize,
) -> Option<Ipv6Header> {
    Some(Ipv6Header {
        version_class_flow: (6 << 28).into(),
        payload_len: u16::try_from(payload_len).ok()?.into(),
        next_header: protocol,
        hop_limit: HOP_LIMIT,
        source,
        destination,
    })
}

/// Copies `bytes` to the start of `buf` and returns what is behind them.
fn put<'a>(buf: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    match buf.split_at_mut_checked(bytes.len()) {
        Some((to, behind)) => {
            to.copy_from_slice(bytes);
            behind
        }
        // The caller sees to it that there is room.
        None => &mut [],
    }
}
