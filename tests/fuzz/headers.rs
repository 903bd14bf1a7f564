// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a packet: what is read is what is there, and reads the same once it is written again.

#![no_main]

mod packet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packet::{ipv4_checksum, options, tcp_checksum, word};
use std::net::Ipv6Addr;
use sttcp::{
    emit::{emit_header, EmitError, MAX_PACKET},
    wire::{arp, ndisc, peek, Flags, Malformed, Options, Packet, Peek, Sack, Segment, Timestamps},
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// How much longer the packet is than what is looked at.
    beyond: u16,
    syn: bool,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let Input { beyond, syn, bytes } = input;
    neighbours(bytes);
    assert_eq!(Options::parse(bytes, syn), by_kernel(bytes, syn));
    let read = Peek::parse(bytes);
    assert_eq!(peek(bytes), read.ok());
    let Ok(ip) = read else {
        assert_eq!(
            Packet::parse(bytes, bytes.len()).err(),
            read.err(),
            "a segment without IP"
        );
        return;
    };
    assert_eq!(ip.version, bytes[0] >> 4);
    assert!(ip.l4_offset <= bytes.len());
    let len = bytes.len() + usize::from(beyond);
    match Packet::parse(bytes, len) {
        Ok(packet) => segment(bytes, len, &ip, &packet),
        Err(Malformed::Fragment) => assert!(ip.fragment),
        Err(Malformed::NotTcp) => assert_ne!(ip.protocol, 6),
        Err(Malformed::BadVersion) => panic!("{ip:?}"),
        Err(Malformed::Truncated | Malformed::BadHeaderLength) => {}
    }
});

/// ARP and neighbour discovery claim what stands in their fields.
fn neighbours(bytes: &[u8]) {
    if let Some(sender) = arp::sender(bytes) {
        let at = 8 + usize::from(bytes[4]);
        assert_eq!(
            sender.to_ipv4_mapped().unwrap().octets(),
            bytes[at..at + 4],
            "not the sender's address"
        );
    }
    for source in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
        if let Some(target) = ndisc::claimed(source, bytes) {
            assert_eq!(target.octets(), bytes[8..24]);
            assert!(bytes[0] == 136 || bytes[0] == 135 && source.is_unspecified());
        }
    }
}

fn segment(bytes: &[u8], len: usize, ip: &Peek, packet: &Packet) {
    let at = packet.ip_header_len;
    assert_eq!((at, ip.protocol, ip.fragment), (ip.l4_offset, 6, false));
    assert!(packet.header_len() <= bytes.len());
    assert_eq!(
        packet.header_len() + packet.segment.payload_len as usize,
        len
    );
    assert_eq!(
        ip.ports(bytes),
        Some((word(bytes, at), word(bytes, at + 2)))
    );
    assert_eq!(packet.source.port, word(bytes, at));
    assert_eq!(packet.destination.port, word(bytes, at + 2));
    assert_eq!(packet.segment.window, word(bytes, at + 14));

    let mut buffer = [0; MAX_PACKET];
    let (source, destination) = (packet.source, packet.destination);
    let payload = vec![0xa5; packet.segment.payload_len.min(70_000) as usize];
    match emit_header(&mut buffer, source, destination, &packet.segment, &payload) {
        Ok(header) => written(packet, &[&buffer[..header], &payload].concat()),
        Err(EmitError::MixedVersions) => assert_ne!(source.is_ipv4(), destination.is_ipv4()),
        Err(EmitError::TooLong) => assert!(payload.len() > 65_535 - 20 - 60 - 40),
    }
}

/// What was read of a packet and written again reads the same.
fn written(packet: &Packet, bytes: &[u8]) {
    let again = Packet::parse(bytes, bytes.len()).unwrap();
    assert_eq!(
        (again.source, again.destination),
        (packet.source, packet.destination)
    );
    assert_eq!(
        word(bytes, again.ip_header_len + 16),
        tcp_checksum(bytes, again.ip_header_len)
    );
    if bytes[0] >> 4 == 4 {
        assert_eq!(word(bytes, 10), ipv4_checksum(bytes));
    }
    let expected = Segment {
        options: Options {
            // Written are those that have a value; of the blocks as many as find room.
            fast_open: false,
            mptcp: false,
            md5: false,
            ao: false,
            sack: again.segment.options.sack,
            ..packet.segment.options
        },
        ..packet.segment
    };
    assert_eq!(again.segment, expected);
    let before: Vec<_> = packet.segment.options.sack.iter().collect();
    let after: Vec<_> = again.segment.options.sack.iter().collect();
    assert!(before.starts_with(&after));
    let syn = packet.segment.flags.contains(Flags::SYN);
    assert!(syn || before.len() == after.len() || packet.segment.options.timestamps.is_some());
}

/// The options as the kernel's `tcp_parse_options` takes them.
fn by_kernel(bytes: &[u8], syn: bool) -> Options {
    let mut read = Options::default();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    for option in options(bytes) {
        let body = option.body;
        match (option.kind, body.len()) {
            (2, 2) if syn => {
                let mss = u16::from_be_bytes([body[0], body[1]]);
                read.mss = if mss > 0 { Some(mss) } else { read.mss };
            }
            (3, 1) if syn => read.window_scale = Some(body[0].min(14)),
            (4, 0) if syn => read.sack_permitted = true,
            (8, 8) => {
                read.timestamps = Some(Timestamps {
                    tsval: number(&body[..4]),
                    tsecr: number(&body[4..]),
                });
            }
            (5, len) if len >= 8 && len % 8 == 0 => {
                read.sack = Sack::default();
                for block in body.chunks(8) {
                    let edge = |bytes| sttcp::seq::SeqNumber::new(number(bytes));
                    read.sack.push(edge(&block[..4]), edge(&block[4..]));
                }
            }
            (19, _) => read.md5 = true,
            (29, _) => read.ao = true,
            (30, _) => read.mptcp = true,
            (34, _) => read.fast_open = true,
            (254, _) if body.starts_with(&[0xf9, 0x89]) => read.fast_open = true,
            _ => {}
        }
    }
    read
}
