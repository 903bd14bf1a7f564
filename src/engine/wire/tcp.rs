// SPDX-License-Identifier: GPL-2.0

//! TCP headers (RFC 9293, section 3.1).

use super::{
    super::seq::SeqNumber,
    ip::PROTOCOL_TCP,
    Endpoint,
    Flow,
    Malformed,
    Options,
    Peek, //
};
use core::{
    fmt,
    ops::BitOr, //
};
use zerocopy::{
    network_endian::{
        U16,
        U32, //
    },
    FromBytes as _,
};

/// The fixed part of the header.
#[derive(
    zerocopy_derive::FromBytes,
    zerocopy_derive::IntoBytes,
    zerocopy_derive::KnownLayout,
    zerocopy_derive::Immutable,
    zerocopy_derive::Unaligned,
)]
#[repr(C)]
pub(in super::super) struct TcpHeader {
    pub(in super::super) source: U16,
    pub(in super::super) destination: U16,
    pub(in super::super) seq: U32,
    pub(in super::super) ack: U32,
    /// Data offset (4 bits), reserved (3 bits), flags (9 bits).
    pub(in super::super) offset_flags: U16,
    pub(in super::super) window: U16,
    pub(in super::super) check: U16,
    pub(in super::super) urgent: U16,
}

impl TcpHeader {
    /// How many bytes of options follow the fixed part.
    pub(in super::super) fn options_len(&self) -> Result<usize, Malformed> {
        usize::from(self.offset_flags.get() >> 12)
            .wrapping_mul(4)
            .checked_sub(size_of::<Self>())
            .ok_or(Malformed::BadHeaderLength)
    }
}

/// The control bits of a TCP header.
#[derive(Copy, Clone, PartialEq, Eq, Default, Hash)]
pub struct Flags(u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The sender has no more data.
    pub const FIN: Self = Self(0x001);
    /// The sequence number is the initial one.
    pub const SYN: Self = Self(0x002);
    /// The connection is over at once.
    pub const RST: Self = Self(0x004);
    /// The receiver should not wait for more before it reads.
    pub const PSH: Self = Self(0x008);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x010);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x020);
    /// ECN echo (RFC 3168), or part of the ACE counter (RFC 9768).
    pub const ECE: Self = Self(0x040);
    /// Congestion window reduced (RFC 3168), or part of the ACE counter (RFC 9768).
    pub const CWR: Self = Self(0x080);
    /// Accurate ECN, or part of the ACE counter (RFC 9768); formerly the nonce sum.
    pub const AE: Self = Self(0x100);

    const ALL: u16 = 0x1ff;

    const NAMES: [(Self, &'static str); 9] = [
        (Self::FIN, "FIN"),
        (Self::SYN, "SYN"),
        (Self::RST, "RST"),
        (Self::PSH, "PSH"),
        (Self::ACK, "ACK"),
        (Self::URG, "URG"),
        (Self::ECE, "ECE"),
        (Self::CWR, "CWR"),
        (Self::AE, "AE"),
    ];

    /// The flags among `bits`, laid out as in the header's fourth word. Reserved bits are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL)
    }

    /// The bits as in the header.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some flag of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                write!(f, "{between}{name}")?;
                between = "|";
            }
        }
        if between.is_empty() {
            f.write_str("NONE")?;
        }
        Ok(())
    }
}

/// A TCP header in the form that the protocol works on. All numbers are those on the wire: whoever
/// holds the segment knows whose number space they are in, and the window is not scaled.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Segment {
    /// Number of the first byte, or of the SYN.
    pub seq: SeqNumber,
    /// Number of the next byte expected from the other side, if `flags` has ACK.
    pub ack: SeqNumber,
    /// The control bits.
    pub flags: Flags,
    /// The window field, unscaled.
    pub window: u16,
    /// The urgent pointer, in bytes from `seq`.
    pub urgent: u16,
    /// Bytes of payload. More than 65535 in a super packet of GRO or TSO.
    pub payload_len: u32,
    /// The options that matter here.
    pub options: Options,
}

impl Segment {
    /// How much sequence space the segment takes: its payload, SYN and FIN (RFC 9293, section 3.4).
    pub const fn len(&self) -> u32 {
        self.payload_len
            .saturating_add(self.flags.contains(Flags::SYN) as u32)
            .saturating_add(self.flags.contains(Flags::FIN) as u32)
    }

    /// Whether the segment takes no sequence space.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number after the last one that the segment takes.
    pub fn end(&self) -> SeqNumber {
        self.seq + self.len()
    }

    /// Whether a listener takes the segment for a client that opens a connection (RFC 9293, section 3.10.7.2; Linux: `tcp_rcv_state_process`).
    pub const fn opens(&self) -> bool {
        self.flags.contains(Flags::SYN)
            && !self
                .flags
                .intersects(Flags(Flags::ACK.0 | Flags::RST.0 | Flags::FIN.0))
    }

    /// Whether the segment does nothing but acknowledge (or probe).
    pub const fn is_pure_ack(&self) -> bool {
        self.is_empty() && self.flags.contains(Flags::ACK) && !self.flags.intersects(Flags::RST)
    }
}

/// Bytes of all headers at the start of `packet`, an IP packet or as much of it as holds its headers. `None` if it is no TCP packet.
pub fn headers_len(packet: &[u8]) -> Option<usize> {
    let ip = Peek::parse(packet).ok()?;
    let (tcp, _) = TcpHeader::ref_from_prefix(packet.get(ip.l4_offset..)?).ok()?;
    let tcp_len = size_of::<TcpHeader>().saturating_add(tcp.options_len().ok()?);
    (ip.protocol == PROTOCOL_TCP).then_some(ip.l4_offset.saturating_add(tcp_len))
}

/// A whole TCP/IP header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Who sent it.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
    /// The TCP part.
    pub segment: Segment,
    /// Bytes from the start of the IP header to the TCP header, extension headers included.
    pub ip_header_len: usize,
    /// Bytes of the TCP header, options included.
    pub tcp_header_len: usize,
}

impl Packet {
    /// Reads the headers of a packet of `len` bytes, of which `header` holds the first ones: all
    /// headers, and any part of the payload.
    ///
    /// `len` is the length without link-layer padding, as of an skb that IP has received. The
    /// length field of the IP header is not read: in super packets of GRO and TSO it means nothing.
    ///
    /// # Errors
    ///
    /// See [`Malformed`]. Odd options are not an error; they are passed over as Linux does.
    pub fn parse(header: &[u8], len: usize) -> Result<Self, Malformed> {
        let header = header.get(..len).unwrap_or(header);
        Self::parse_after(&Peek::parse(header)?, header, len)
    }

    /// The same for a packet whose IP headers were read already.
    ///
    /// # Errors
    ///
    /// As [`Packet::parse`].
    pub fn parse_after(ip: &Peek, header: &[u8], len: usize) -> Result<Self, Malformed> {
        let header = header.get(..len).unwrap_or(header);
        if ip.fragment {
            return Err(Malformed::Fragment);
        }
        if ip.protocol != PROTOCOL_TCP {
            return Err(Malformed::NotTcp);
        }

        let (tcp, rest) = header
            .get(ip.l4_offset..)
            .and_then(|tcp| TcpHeader::ref_from_prefix(tcp).ok())
            .ok_or(Malformed::Truncated)?;
        let options_len = tcp.options_len()?;
        let tcp_header_len = size_of::<TcpHeader>().saturating_add(options_len);
        let payload_len = len
            .checked_sub(ip.l4_offset.saturating_add(tcp_header_len))
            .ok_or(Malformed::BadHeaderLength)?;
        let options = rest.get(..options_len).ok_or(Malformed::Truncated)?;
        let flags = Flags::from_bits(tcp.offset_flags.get());

        Ok(Self {
            source: Endpoint {
                addr: ip.source_addr,
                port: tcp.source.get(),
            },
            destination: Endpoint {
                addr: ip.destination_addr,
                port: tcp.destination.get(),
            },
            segment: Segment {
                seq: SeqNumber::new(tcp.seq.get()),
                ack: SeqNumber::new(tcp.ack.get()),
                flags,
                window: tcp.window.get(),
                urgent: tcp.urgent.get(),
                payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
                options: Options::parse(options, flags.contains(Flags::SYN)),
            },
            ip_header_len: ip.l4_offset,
            tcp_header_len,
        })
    }

    /// Bytes from the start of the IP header to the payload.
    pub const fn header_len(&self) -> usize {
        self.ip_header_len.saturating_add(self.tcp_header_len)
    }

    /// The connection, if a client sent this packet.
    pub const fn flow_from_client(&self) -> Flow {
        Flow {
            client: self.source,
            service: self.destination,
        }
    }

    /// The connection, if a server sent this packet.
    pub const fn flow_to_client(&self) -> Flow {
        Flow {
            client: self.destination,
            service: self.source,
        }
    }
}
