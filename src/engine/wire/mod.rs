// SPDX-License-Identifier: GPL-2.0

//! Bytes and fields of IPv4, IPv6 and TCP headers. Nothing here knows what a connection is.
//!
//! All numbers that leave this module are in host byte order; what lies in a packet is in network byte order.

pub mod arp;
pub mod checksum;
pub mod ip;
pub mod ndisc;
pub mod options;
pub mod tcp;

pub use ip::{
    addresses,
    peek,
    Endpoint,
    Flow,
    Peek, //
};
pub use options::{
    Options,
    Sack,
    Timestamps, //
};
pub use tcp::{
    headers_len,
    Flags,
    Packet,
    Segment, //
};

use core::fmt;

/// Why a packet could not be read as a TCP segment.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Malformed {
    /// The bytes end before the headers do.
    Truncated,
    /// The IP version is neither 4 nor 6.
    BadVersion,
    /// A header says that it is shorter than its fixed part, or longer than the packet.
    BadHeaderLength,
    /// The packet is a fragment: ports and sequence numbers of the whole segment are not all in it.
    Fragment,
    /// The packet carries something else than TCP, or hides it (ESP, AH).
    NotTcp,
}

impl Malformed {
    /// All reasons, in the order of [`Malformed::index`].
    pub const ALL: [Self; 5] = [
        Self::Truncated,
        Self::BadVersion,
        Self::BadHeaderLength,
        Self::Fragment,
        Self::NotTcp,
    ];

    /// A dense number from 0, for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name under which counters and logs show the reason. It does not change between versions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::BadVersion => "bad_version",
            Self::BadHeaderLength => "bad_header_length",
            Self::Fragment => "fragment",
            Self::NotTcp => "not_tcp",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Malformed {}
