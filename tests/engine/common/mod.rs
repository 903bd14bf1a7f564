// SPDX-License-Identifier: GPL-2.0

//! Packets for the tests, built and checked byte by byte, without the code under test.

// Each test file uses its own part of this.
#![allow(dead_code, unused_imports)]

mod checksum;

pub use checksum::{internet_checksum, tcp_checksum};

use proptest::{collection::vec, prelude::*, test_runner::FileFailurePersistence};
use sttcp::{
    seq::{Delta, SeqNumber},
    wire::Endpoint,
};

/// How long a made-up list may become: `len`, and a tenth of it in an interpreter, which takes longer to make up an
/// input than to test it.
pub const fn up_to(len: usize) -> usize {
    if cfg!(miri) {
        len.div_ceil(10)
    } else {
        len
    }
}

/// `cases` runs; an input that fails is kept beside the test file and tried first from then on.
pub fn config(cases: u32) -> ProptestConfig {
    if cfg!(miri) {
        // An interpreter: slow, and without files.
        return ProptestConfig {
            cases: 1,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
    }
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

pub fn end(addr: &str) -> Endpoint {
    addr.parse::<std::net::SocketAddr>().unwrap().into()
}

/// One TCP option, good or odd.
#[derive(Clone, Debug)]
pub enum Item {
    End,
    Nop,
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    Sack(Vec<(u32, u32)>),
    Timestamps(u32, u32),
    FastOpen(Vec<u8>),
    ExperimentalFastOpen(Vec<u8>),
    Mptcp(Vec<u8>),
    Md5,
    Ao(Vec<u8>),
    Other(u8, Vec<u8>),
}

impl Item {
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Item::End => return vec![0],
            Item::Nop => return vec![1],
            Item::Mss(mss) => (2, mss.to_be_bytes().to_vec()),
            Item::WindowScale(shift) => (3, vec![*shift]),
            Item::SackPermitted => (4, vec![]),
            Item::Sack(blocks) => (
                5,
                blocks
                    .iter()
                    .flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()].concat())
                    .collect(),
            ),
            Item::Timestamps(tsval, tsecr) => {
                (8, [tsval.to_be_bytes(), tsecr.to_be_bytes()].concat())
            }
            Item::FastOpen(cookie) => (34, cookie.clone()),
            Item::ExperimentalFastOpen(cookie) => (254, [&[0xf9, 0x89], &cookie[..]].concat()),
            Item::Mptcp(body) => (30, body.clone()),
            Item::Md5 => (19, vec![0xa5; 16]),
            Item::Ao(body) => (29, body.clone()),
            Item::Other(kind, body) => (*kind, body.clone()),
        };
        [&[kind, body.len() as u8 + 2], &body[..]].concat()
    }
}

pub fn items() -> impl Strategy<Value = Vec<Item>> {
    let body = || vec(any::<u8>(), 0..12);
    let item = prop_oneof![
        1 => Just(Item::End),
        12 => Just(Item::Nop),
        3 => any::<u16>().prop_map(Item::Mss),
        3 => any::<u8>().prop_map(Item::WindowScale),
        3 => Just(Item::SackPermitted),
        8 => vec(any::<(u32, u32)>(), 1..=4).prop_map(Item::Sack),
        8 => any::<(u32, u32)>().prop_map(|(v, e)| Item::Timestamps(v, e)),
        2 => body().prop_map(Item::FastOpen),
        2 => body().prop_map(Item::ExperimentalFastOpen),
        2 => body().prop_map(Item::Mptcp),
        1 => Just(Item::Md5),
        1 => body().prop_map(Item::Ao),
        2 => (35_u8..=253, body()).prop_map(|(kind, body)| Item::Other(kind, body)),
        // Known kinds of a length that they never have.
        1 => (2_u8..=8, vec(any::<u8>(), 11..14)).prop_map(|(kind, body)| Item::Other(kind, body)),
    ];
    vec(item, 0..12).prop_map(|mut items| {
        // What fits into 40 bytes, and timestamps only once: two different ones cannot be told
        // apart after a translation.
        let (mut room, mut timestamps) = (40, 0);
        items.retain(|item| {
            let len = item.bytes().len();
            timestamps += usize::from(matches!(item, Item::Timestamps(..)));
            let fits = len <= room && (timestamps < 2 || !matches!(item, Item::Timestamps(..)));
            room -= if fits { len } else { 0 };
            fits
        });
        items
    })
}

/// A whole TCP/IP packet in pieces.
#[derive(Clone, Debug)]
pub struct Raw {
    pub source: Endpoint,
    pub destination: Endpoint,
    /// IPv4 options, or IPv6 extension headers as kind and whole bytes.
    pub ip_options: Vec<u8>,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub seq: u32,
    pub ack: u32,
    /// Reserved bits and flags.
    pub flags: u16,
    pub window: u16,
    pub urgent: u16,
    pub items: Vec<Item>,
    pub payload: Vec<u8>,
}

impl Raw {
    pub fn new(source: &str, destination: &str) -> Self {
        Raw {
            source: end(source),
            destination: end(destination),
            ip_options: vec![],
            extensions: vec![],
            seq: 1000,
            ack: 2000,
            flags: 0x010,
            window: 512,
            urgent: 0,
            items: vec![],
            payload: vec![],
        }
    }

    pub fn ip_header_len(&self) -> usize {
        if self.source.is_ipv4() {
            20 + self.ip_options.len()
        } else {
            40 + self.extensions.iter().map(|(_, e)| e.len()).sum::<usize>()
        }
    }

    pub fn option_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.items.iter().flat_map(Item::bytes).collect();
        // The odd padding of some stacks: the list ends without an END.
        bytes.resize(bytes.len().next_multiple_of(4), 1);
        bytes
    }

    pub fn header_len(&self) -> usize {
        self.ip_header_len() + 20 + self.option_bytes().len()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let options = self.option_bytes();
        let offset_flags = (((20 + options.len() as u16) / 4) << 12) | self.flags;
        let mut tcp = [
            &self.source.port.to_be_bytes()[..],
            &self.destination.port.to_be_bytes(),
            &self.seq.to_be_bytes(),
            &self.ack.to_be_bytes(),
            &offset_flags.to_be_bytes(),
            &self.window.to_be_bytes(),
            &[0, 0],
            &self.urgent.to_be_bytes(),
            &options,
            &self.payload,
        ]
        .concat();

        let mut packet = if self.source.is_ipv4() {
            let len = (self.ip_header_len() + tcp.len()) as u16;
            let ihl = (self.ip_header_len() / 4) as u8;
            [
                &[0x40 | ihl, 0][..],
                &len.to_be_bytes(),
                &[0x12, 0x34, 0x40, 0, 64, 6, 0, 0],
                &self.source.addr.to_ipv4_mapped().unwrap().octets(),
                &self.destination.addr.to_ipv4_mapped().unwrap().octets(),
                &self.ip_options,
            ]
            .concat()
        } else {
            let len = (self.ip_header_len() - 40 + tcp.len()) as u16;
            let kinds = self.extensions.iter().map(|(kind, _)| *kind).chain([6]);
            let mut kinds = kinds.collect::<Vec<_>>().into_iter();
            let mut ip = [
                &[0x60, 0, 0, 0][..],
                &len.to_be_bytes(),
                &[kinds.next().unwrap(), 64],
                &self.source.addr.octets(),
                &self.destination.addr.octets(),
            ]
            .concat();
            for ((_, bytes), next) in self.extensions.iter().zip(kinds) {
                let start = ip.len();
                ip.extend(bytes);
                ip[start] = next;
            }
            ip
        };
        let check = tcp_checksum(&packet, &tcp);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        packet.extend(tcp);
        packet
    }
}

/// IPv4 and IPv6, with and without IP options, any TCP options at any offset, any payload.
pub fn raw() -> impl Strategy<Value = Raw> {
    let ends = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(s, d)| (s.into(), d.into())),
        any::<([u8; 15], [u8; 15])>().prop_map(|(s, d)| {
            // Any IPv6 addresses, but not the mapped ones, which are not seen on a wire.
            let addr = |tail: [u8; 15]| {
                let mut octets = [0x20; 16];
                octets[1..].copy_from_slice(&tail);
                std::net::IpAddr::from(octets)
            };
            (addr(s), addr(d))
        }),
    ];
    let extension = (
        prop_oneof![Just(0_u8), Just(43), Just(60)],
        0_u8..3,
        any::<u8>(),
    )
        .prop_map(|(kind, units, fill)| {
            let mut bytes = vec![fill; 8 * (usize::from(units) + 1)];
            bytes[1] = units;
            // No segments left of a route.
            bytes[3] = if kind == 43 { 0 } else { fill };
            (kind, bytes)
        });
    (
        (ends, any::<(u16, u16)>()),
        (0_usize..=10, vec(extension, 0..3)),
        (any::<(u32, u32)>(), 0_u16..0x1000, any::<(u16, u16)>()),
        items(),
        vec(any::<u8>(), 0..up_to(100)),
    )
        .prop_map(|(ends, ip, tcp, items, payload)| {
            let ((source, destination), ports) = ends;
            let ((seq, ack), flags, (window, urgent)) = tcp;
            Raw {
                source: Endpoint::new(source, ports.0),
                destination: Endpoint::new(destination, ports.1),
                ip_options: vec![1; ip.0 * 4],
                extensions: ip.1,
                seq,
                ack,
                flags,
                window,
                urgent,
                items,
                payload,
            }
        })
}

/// A packet after some bytes were changed and its end was cut off.
pub fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        raw(),
        changes,
        prop::option::of(any::<prop::sample::Index>()),
    )
        .prop_map(|(raw, changes, cut)| {
            let mut bytes = raw.bytes();
            for (at, byte) in changes {
                // Mostly the headers.
                let at = at.index(raw.header_len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
}

pub fn delta() -> impl Strategy<Value = Delta> {
    any::<u32>().prop_map(|raw| Delta::of(raw, 0))
}

pub fn seq() -> impl Strategy<Value = SeqNumber> {
    any::<u32>().prop_map(SeqNumber::new)
}

/// What the checksum field of `packet` holds.
pub fn check_field(packet: &[u8], ip_header_len: usize) -> u16 {
    u16::from_be_bytes(
        packet[ip_header_len + 16..ip_header_len + 18]
            .try_into()
            .unwrap(),
    )
}
