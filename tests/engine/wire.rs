// SPDX-License-Identifier: GPL-2.0

//! Reading packets: good ones, odd ones, and garbage.

mod common;

use common::{end, Item, Raw};
use proptest::{collection::vec, prelude::*};
use std::{
    collections::HashSet,
    mem::size_of,
    net::{Ipv4Addr, Ipv6Addr},
};
use sttcp::{
    seq::SeqNumber,
    wire::{
        addresses, headers_len, peek, Endpoint, Flags, Flow, Malformed, Options, Packet, Peek,
        Sack, Segment, Timestamps,
    },
};

const CLIENT: &str = "10.0.0.9:40000";
const SERVICE: &str = "10.0.0.1:80";
const CLIENT6: &str = "[fd00::9]:40000";
const SERVICE6: &str = "[fd00::1]:80";

fn v4() -> Raw {
    Raw::new(CLIENT, SERVICE)
}

fn v6() -> Raw {
    Raw::new(CLIENT6, SERVICE6)
}

fn parse(raw: &Raw) -> Packet {
    let bytes = raw.bytes();
    Packet::parse(&bytes, bytes.len()).unwrap()
}

fn options(syn: bool, items: &[Item]) -> Options {
    let bytes: Vec<u8> = items.iter().flat_map(Item::bytes).collect();
    Options::parse(&bytes, syn)
}

// Endpoints and flows.

#[test]
fn endpoint_is_small_and_shows_as_people_write_it() {
    assert_eq!(size_of::<Endpoint>(), 18);
    assert_eq!(end(CLIENT).to_string(), CLIENT);
    assert_eq!(end(CLIENT6).to_string(), CLIENT6);
    assert!(end(CLIENT).is_ipv4());
    assert!(!end(CLIENT6).is_ipv4());
    assert_eq!(end(SERVICE).to_socket_addr(), SERVICE.parse().unwrap());
}

#[test]
fn mapped_and_plain_ipv4_are_the_same_endpoint() {
    assert_eq!(end("[::ffff:10.0.0.1]:80"), end(SERVICE));
}

#[test]
fn flow_knows_its_version_and_direction() {
    let packet = parse(&v4());
    let flow = packet.flow_from_client();
    assert_eq!((flow.client, flow.service), (end(CLIENT), end(SERVICE)));
    assert_eq!(packet.flow_to_client().client, flow.service);
    assert!(flow.is_ipv4());
    assert_eq!(flow.to_string(), "10.0.0.9:40000 -> 10.0.0.1:80");
}

#[test]
fn hash_spreads_neighbours_and_depends_on_the_seed() {
    // One client's ports, and one port of neighbouring clients, into 256 buckets; in an interpreter,
    // which is slow, into 2.
    let buckets: usize = if cfg!(miri) { 2 } else { 256 };
    for v6 in [false, true] {
        let mut ports = vec![0; buckets];
        let mut hosts = vec![0; buckets];
        let client = end(if v6 { CLIENT6 } else { CLIENT });
        let service = end(if v6 { SERVICE6 } else { SERVICE });
        let hash = |client| Flow { client, service }.hash(1) as usize;
        for i in (0..buckets * 256).map(|i| i as u16) {
            let addr = if v6 {
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, i)
            } else {
                let [high, low] = i.to_be_bytes();
                Ipv4Addr::new(10, 0, high, low).to_ipv6_mapped()
            };
            ports[hash(Endpoint { port: i, ..client }) % buckets] += 1;
            hosts[hash(Endpoint { addr, ..client }) >> (32 - buckets.ilog2())] += 1;
        }
        // 256 on average, 16 standard deviation.
        for count in ports.iter().chain(&hosts) {
            assert!((176..336).contains(count), "{count} in a bucket");
        }
    }
    let flow = parse(&v4()).flow_from_client();
    let hashes: HashSet<u32> = (0..1000).map(|seed| flow.hash(seed)).collect();
    assert!(hashes.len() > 998);
}

// Whole packets.

#[test]
fn data_segment_over_ipv4() {
    let packet = parse(&Raw {
        seq: 7,
        ack: 8,
        flags: 0x018,
        window: 99,
        urgent: 3,
        items: vec![Item::Nop, Item::Nop, Item::Timestamps(5, 6)],
        payload: vec![0; 11],
        ..v4()
    });
    assert_eq!((packet.ip_header_len, packet.tcp_header_len), (20, 32));
    assert_eq!(packet.header_len(), 52);
    assert_eq!(
        packet.segment,
        Segment {
            seq: SeqNumber::new(7),
            ack: SeqNumber::new(8),
            flags: Flags::ACK | Flags::PSH,
            window: 99,
            urgent: 3,
            payload_len: 11,
            options: Options {
                timestamps: Some(Timestamps { tsval: 5, tsecr: 6 }),
                ..Options::default()
            },
        }
    );
}

#[test]
fn syn_over_ipv6_with_extension_headers() {
    let packet = parse(&Raw {
        flags: 0x002,
        extensions: vec![
            (0, vec![0; 8]),
            (43, vec![0, 2, 4, 0].into_iter().chain([7; 20]).collect()),
            (60, vec![0, 1].into_iter().chain([0; 14]).collect()),
        ],
        ..v6()
    });
    assert_eq!(packet.ip_header_len, 40 + 8 + 24 + 16);
    assert_eq!(packet.segment.flags, Flags::SYN);
    assert_eq!(packet.segment.payload_len, 0);
    assert_eq!(packet.segment.len(), 1);
}

#[test]
fn sequence_space_of_syn_fin_and_payload() {
    let segment = |flags, payload_len| Segment {
        seq: SeqNumber::new(u32::MAX),
        flags,
        payload_len,
        ..Segment::default()
    };
    assert_eq!(segment(Flags::ACK, 0).len(), 0);
    assert_eq!(segment(Flags::SYN, 0).end(), SeqNumber::new(0));
    assert_eq!(segment(Flags::FIN | Flags::ACK, 10).end().raw(), 10);
}

#[test]
fn pure_acks_are_told_from_other_segments() {
    let pure = |flags: Flags, payload_len| {
        Segment {
            flags,
            payload_len,
            ..Segment::default()
        }
        .is_pure_ack()
    };
    assert!(pure(Flags::ACK, 0));
    assert!(pure(Flags::ACK | Flags::PSH | Flags::ECE, 0));
    assert!(!pure(Flags::ACK, 1));
    assert!(!pure(Flags::NONE, 0));
    for flag in [Flags::SYN, Flags::FIN, Flags::RST] {
        assert!(!pure(Flags::ACK | flag, 0));
    }
}

#[test]
fn flags_show_by_name_and_drop_reserved_bits() {
    assert_eq!(format!("{:?}", Flags::SYN | Flags::ACK), "SYN|ACK");
    assert_eq!(format!("{:?}", Flags::NONE), "NONE");
    assert_eq!(Flags::from_bits(0xffff).bits(), 0x1ff);
    assert_eq!((Flags::SYN | Flags::AE).without(Flags::AE), Flags::SYN);
}

#[test]
fn super_packet_is_longer_than_its_length_field_can_say() {
    let mut bytes = v4().bytes();
    bytes[2..4].fill(0);
    let packet = Packet::parse(&bytes, 40 + 180_000).unwrap();
    assert_eq!(packet.segment.payload_len, 180_000);
}

#[test]
fn payload_need_not_be_there() {
    let raw = Raw {
        items: vec![Item::Timestamps(1, 2)],
        payload: vec![1; 50],
        ..v6()
    };
    let bytes = raw.bytes();
    let header = &bytes[..raw.header_len()];
    assert_eq!(
        Packet::parse(header, bytes.len()),
        Packet::parse(&bytes, bytes.len())
    );
}

// What is refused, and why.

fn refused(bytes: &[u8]) -> Malformed {
    Packet::parse(bytes, bytes.len()).unwrap_err()
}

#[test]
fn header_that_ends_early_is_truncated() {
    for raw in [v4(), v6()] {
        let raw = Raw {
            items: vec![Item::Timestamps(1, 2)],
            ..raw
        };
        let bytes = raw.bytes();
        for cut in 0..raw.header_len() {
            assert_eq!(
                Packet::parse(&bytes[..cut], bytes.len()),
                Err(Malformed::Truncated),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn bytes_beyond_the_packet_do_not_count() {
    let bytes = v4().bytes();
    assert_eq!(Packet::parse(&bytes, 39), Err(Malformed::Truncated));
}

#[test]
fn unknown_version() {
    let mut bytes = v4().bytes();
    bytes[0] = 0x55;
    assert_eq!(refused(&bytes), Malformed::BadVersion);
}

#[test]
fn header_lengths_that_cannot_be() {
    let mut short_ip = v4().bytes();
    short_ip[0] = 0x44;
    assert_eq!(refused(&short_ip), Malformed::BadHeaderLength);

    let mut short_tcp = v4().bytes();
    short_tcp[20 + 12] = 0x40;
    assert_eq!(refused(&short_tcp), Malformed::BadHeaderLength);

    let mut beyond_packet = v4().bytes();
    beyond_packet[20 + 12] = 0xf0;
    assert_eq!(refused(&beyond_packet), Malformed::BadHeaderLength);
}

#[test]
fn other_protocols() {
    let mut udp = v4().bytes();
    udp[9] = 17;
    assert_eq!(refused(&udp), Malformed::NotTcp);

    let mut esp = v6().bytes();
    esp[6] = 50;
    assert_eq!(refused(&esp), Malformed::NotTcp);
}

#[test]
fn source_route_that_leads_elsewhere() {
    let raw = Raw {
        extensions: vec![(43, vec![0, 0, 4, 1, 0, 0, 0, 0])],
        ..v6()
    };
    assert_eq!(refused(&raw.bytes()), Malformed::NotTcp);
}

#[test]
fn fragments_over_ipv4() {
    for (field, fragment) in [
        (0x0000_u16, false),
        (0x4000, false),
        (0x2000, true),
        (0x0001, true),
        (0x3fff, true),
    ] {
        let mut bytes = v4().bytes();
        bytes[6..8].copy_from_slice(&field.to_be_bytes());
        assert_eq!(peek(&bytes).unwrap().fragment, fragment);
        assert_eq!(peek(&bytes).unwrap().ports(&bytes).is_none(), fragment);
        assert_eq!(
            Packet::parse(&bytes, bytes.len()).err(),
            fragment.then_some(Malformed::Fragment)
        );
    }
}

#[test]
fn fragments_over_ipv6() {
    // First, later, and atomic (RFC 6946). The second byte is reserved, not a length.
    for detail in [[0x00, 0x01], [0x05, 0x01], [0x00, 0x00]] {
        let header = [&[0, 0xff][..], &detail, &[1, 2, 3, 4]].concat();
        let bytes = Raw {
            extensions: vec![(44, header)],
            ..v6()
        }
        .bytes();
        let seen = peek(&bytes).unwrap();
        assert!(seen.fragment);
        assert_eq!((seen.protocol, seen.l4_offset), (6, 48));
        assert_eq!(refused(&bytes), Malformed::Fragment);
    }
}

#[test]
fn reasons_have_distinct_stable_names() {
    let names: Vec<_> = Malformed::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(
        names,
        [
            "truncated",
            "bad_version",
            "bad_header_length",
            "fragment",
            "not_tcp"
        ]
    );
    for (index, reason) in Malformed::ALL.iter().enumerate() {
        assert_eq!(reason.index(), index);
    }
}

// A glance at a packet.

#[test]
fn peek_sees_addresses_protocol_and_ports() {
    for (raw, version) in [(v4(), 4), (v6(), 6)] {
        let bytes = raw.bytes();
        let seen = peek(&bytes).unwrap();
        assert_eq!(
            seen,
            Peek {
                version,
                protocol: 6,
                source_addr: raw.source.addr,
                destination_addr: raw.destination.addr,
                l4_offset: raw.ip_header_len(),
                fragment: false,
            }
        );
        assert_eq!(seen.ports(&bytes), Some((40000, 80)));
        assert_eq!(seen.ports(&bytes[..raw.ip_header_len() + 3]), None);
    }
}

#[test]
fn peek_sees_other_protocols_too() {
    let mut bytes = v4().bytes();
    bytes[9] = 1;
    let seen = peek(&bytes).unwrap();
    assert_eq!(seen.protocol, 1);
    assert_eq!(seen.ports(&bytes), None);
    assert_eq!(peek(&[]), None);
}

#[test]
fn addresses_need_the_fixed_header_only() {
    for (raw, fixed) in [(v4(), 20), (v6(), 40)] {
        let bytes = raw.bytes();
        let ends = Some((raw.source.addr, raw.destination.addr));
        assert_eq!(addresses(&bytes), ends);
        assert_eq!(addresses(&bytes[..fixed]), ends);
        assert_eq!(addresses(&bytes[..fixed - 1]), None);
    }
    assert_eq!(addresses(&[]), None);
    assert_eq!(addresses(&[0x50; 40]), None);
}

#[test]
fn length_of_headers_needs_the_fixed_headers_only() {
    for raw in [v4(), v6()] {
        let raw = Raw {
            items: vec![Item::Timestamps(1, 2)],
            payload: vec![0; 9],
            ..raw
        };
        let bytes = raw.bytes();
        let fixed = raw.ip_header_len() + 20;
        assert_eq!(headers_len(&bytes), Some(raw.header_len()));
        assert_eq!(headers_len(&bytes[..fixed]), Some(raw.header_len()));
        assert_eq!(headers_len(&bytes[..fixed - 1]), None);
    }
    let mut other = v4().bytes();
    other[9] = 17;
    assert_eq!(headers_len(&other), None);
}

// Options, read as Linux reads them.

#[test]
fn options_of_a_linux_syn() {
    let seen = options(
        true,
        &[
            Item::Mss(1460),
            Item::SackPermitted,
            Item::Timestamps(1, 0),
            Item::Nop,
            Item::WindowScale(7),
        ],
    );
    assert_eq!(
        seen,
        Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
            ..Options::default()
        }
    );
}

#[test]
fn syn_options_count_in_a_syn_only() {
    let items = [Item::Mss(1460), Item::SackPermitted, Item::WindowScale(7)];
    assert_eq!(options(false, &items), Options::default());
}

#[test]
fn window_scale_is_at_most_14() {
    let seen = options(true, &[Item::WindowScale(200)]);
    assert_eq!(seen.window_scale, Some(14));
}

#[test]
fn mss_of_zero_is_no_mss() {
    assert_eq!(options(true, &[Item::Mss(0)]).mss, None);
}

#[test]
fn four_sack_blocks_fit() {
    let blocks = vec![(1, 2), (3, 4), (5, 6), (7, 8)];
    let seen = options(false, &[Item::Nop, Item::Nop, Item::Sack(blocks.clone())]);
    let raw: Vec<_> = seen.sack.iter().map(|(l, r)| (l.raw(), r.raw())).collect();
    assert_eq!(raw, blocks);

    let mut full = seen.sack;
    assert!(!full.push(SeqNumber::new(9), SeqNumber::new(10)));
    assert_eq!(full, seen.sack);
}

#[test]
fn fast_open_in_both_forms_and_other_experiments() {
    assert!(options(true, &[Item::FastOpen(vec![])]).fast_open);
    assert!(options(true, &[Item::ExperimentalFastOpen(vec![1; 8])]).fast_open);
    assert!(!options(true, &[Item::Other(254, vec![0xf9, 0x88])]).fast_open);
    assert!(!options(true, &[Item::Other(254, vec![0xf9])]).fast_open);
}

#[test]
fn options_that_a_service_refuses() {
    assert!(options(true, &[Item::Mptcp(vec![1; 10])]).mptcp);
    assert!(options(true, &[Item::Md5]).md5);
    assert!(options(true, &[Item::Ao(vec![1; 14])]).ao);
}

#[test]
fn known_option_of_wrong_length_is_passed_over() {
    for kind in [2, 3, 4, 5, 8] {
        let seen = options(
            true,
            &[Item::Other(kind, vec![0; 11]), Item::Timestamps(1, 2)],
        );
        assert_eq!(
            seen,
            Options {
                timestamps: Some(Timestamps { tsval: 1, tsecr: 2 }),
                ..Options::default()
            }
        );
    }
}

#[test]
fn list_ends_at_the_first_option_without_sense() {
    let timestamps = Item::Timestamps(1, 2).bytes();
    for nonsense in [&[0][..], &[99, 0], &[99, 1], &[99, 40], &[2]] {
        let mut bytes = timestamps.clone();
        bytes.extend(nonsense);
        if nonsense.len() > 1 || nonsense == [0] {
            bytes.extend(Item::Mss(536).bytes());
        }
        let seen = Options::parse(&bytes, true);
        assert!(seen.timestamps.is_some(), "{nonsense:?}");
        assert_eq!(seen.mss, None, "{nonsense:?}");
    }
}

#[test]
fn option_that_ends_beyond_the_header_is_not_seen() {
    for kind in [19, 29, 30, 34] {
        assert_eq!(Options::parse(&[1, kind, 4, 0], true), Options::default());
    }
}

/// What [`Options::parse`] should make of `items`.
fn expected(items: &[Item], syn: bool) -> Options {
    let mut options = Options::default();
    for item in items {
        match item {
            Item::End => break,
            Item::Mss(mss) if syn && *mss != 0 => options.mss = Some(*mss),
            Item::WindowScale(shift) if syn => options.window_scale = Some(14.min(*shift)),
            Item::SackPermitted if syn => options.sack_permitted = true,
            Item::Sack(blocks) => {
                options.sack = Sack::default();
                for (left, right) in blocks {
                    assert!(options
                        .sack
                        .push(SeqNumber::new(*left), SeqNumber::new(*right)));
                }
            }
            &Item::Timestamps(tsval, tsecr) => {
                options.timestamps = Some(Timestamps { tsval, tsecr });
            }
            Item::FastOpen(_) | Item::ExperimentalFastOpen(_) => options.fast_open = true,
            Item::Mptcp(_) => options.mptcp = true,
            Item::Md5 => options.md5 = true,
            Item::Ao(_) => options.ao = true,
            _ => (),
        }
    }
    options
}

proptest! {
    #![proptest_config(common::config(2048))]

    #[test]
    fn parse_sees_what_was_built(raw in common::raw()) {
        let packet = parse(&raw);
        let flags = Flags::from_bits(raw.flags);
        prop_assert_eq!(packet.source, raw.source);
        prop_assert_eq!(packet.destination, raw.destination);
        prop_assert_eq!(packet.ip_header_len, raw.ip_header_len());
        prop_assert_eq!(packet.header_len(), raw.header_len());
        prop_assert_eq!(packet.segment, Segment {
            seq: SeqNumber::new(raw.seq),
            ack: SeqNumber::new(raw.ack),
            flags,
            window: raw.window,
            urgent: raw.urgent,
            payload_len: raw.payload.len() as u32,
            options: expected(&raw.items, flags.contains(Flags::SYN)),
        });
    }

    #[test]
    fn peek_agrees_with_parse(raw in common::raw()) {
        let (packet, bytes) = (parse(&raw), raw.bytes());
        let seen = peek(&bytes).unwrap();
        prop_assert_eq!(seen.source_addr, packet.source.addr);
        prop_assert_eq!(seen.destination_addr, packet.destination.addr);
        prop_assert_eq!(seen.l4_offset, packet.ip_header_len);
        prop_assert_eq!(addresses(&bytes), Some((seen.source_addr, seen.destination_addr)));
        prop_assert_eq!(headers_len(&bytes), Some(packet.header_len()));
        prop_assert_eq!(seen.ports(&bytes), Some((raw.source.port, raw.destination.port)));
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut bytes in vec(any::<u8>(), 0..common::up_to(200)), version in 3_u8..8, len: usize) {
        if let Some(first) = bytes.first_mut() {
            *first = (*first & 0x0f) | (version << 4);
        }
        let _ = Packet::parse(&bytes, len);
        let _ = Packet::parse(&bytes, bytes.len());
        let _ = (addresses(&bytes), headers_len(&bytes));
        if let Some(seen) = peek(&bytes) {
            let _ = seen.ports(&bytes);
            prop_assert!(seen.l4_offset <= bytes.len());
        }
    }

    #[test]
    fn damaged_packets_are_read_without_panic(bytes in common::mutated(), len in 0_usize..300) {
        let _ = peek(&bytes);
        for len in [len, bytes.len()] {
            if let Ok(packet) = Packet::parse(&bytes, len) {
                prop_assert!(packet.header_len() <= len.min(bytes.len()));
                prop_assert_eq!(packet.header_len() + packet.segment.payload_len as usize, len);
            }
        }
    }

    #[test]
    fn mapped_addresses_survive_text(v4: [u8; 4], v6: [u8; 16], port: u16) {
        for addr in [std::net::IpAddr::from(v4), std::net::IpAddr::from(v6)] {
            let end = Endpoint::new(addr, port);
            prop_assert_eq!(common::end(&end.to_string()), end);
            prop_assert_eq!(end.is_ipv4(), addr.to_canonical().is_ipv4());
        }
    }
}
