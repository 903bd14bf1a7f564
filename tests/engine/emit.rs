// SPDX-License-Identifier: GPL-2.0

//! Building packets.

mod common;

use common::{check_field, end, internet_checksum, tcp_checksum};
use proptest::{collection::vec, prelude::*};
use sttcp::{
    emit::{emit, emit_echo, emit_header, EmitError, MAX_PACKET},
    seq::SeqNumber,
    wire::{Endpoint, Flags, Options, Packet, Sack, Segment, Timestamps},
};

const CLIENT: &str = "10.0.0.9:40000";
const SERVICE: &str = "10.0.0.1:80";
const CLIENT6: &str = "[fd00::9]:40000";
const SERVICE6: &str = "[fd00::1]:80";

fn build(source: &str, destination: &str, segment: &Segment) -> Vec<u8> {
    let mut buf = [0xee; MAX_PACKET];
    let len = emit(&mut buf, end(source), end(destination), segment).unwrap();
    buf[..len].to_vec()
}

fn option_bytes(flags: Flags, options: Options) -> Vec<u8> {
    let segment = Segment {
        flags,
        options,
        ..Segment::default()
    };
    build(CLIENT, SERVICE, &segment)[40..].to_vec()
}

fn sack(blocks: u32) -> Sack {
    let mut sack = Sack::default();
    for i in 0..blocks {
        assert!(sack.push(SeqNumber::new(i * 2), SeqNumber::new(i * 2 + 1)));
    }
    sack
}

const STAMPS: Option<Timestamps> = Some(Timestamps {
    tsval: 0x0102_0304,
    tsecr: 0x0506_0708,
});

#[test]
fn bare_ack_over_ipv4() {
    let segment = Segment {
        seq: SeqNumber::new(0x1111_2222),
        ack: SeqNumber::new(0x3333_4444),
        flags: Flags::ACK,
        window: 0x5555,
        // Ignored: the packet has no payload.
        payload_len: 99,
        ..Segment::default()
    };
    let bytes = build(CLIENT, SERVICE, &segment);
    #[rustfmt::skip]
    assert_eq!(bytes[..10], [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    assert_eq!(internet_checksum(&bytes[..20]), 0);
    assert_eq!(bytes[12..20], [10, 0, 0, 9, 10, 0, 0, 1]);
    #[rustfmt::skip]
    assert_eq!(bytes[20..36], [
        0x9c, 0x40, 0, 80,
        0x11, 0x11, 0x22, 0x22,
        0x33, 0x33, 0x44, 0x44,
        0x50, 0x10, 0x55, 0x55,
    ]);
    assert_eq!(check_field(&bytes, 20), tcp_checksum(&bytes, &bytes[20..]));
    assert_eq!(bytes.len(), 40);
}

#[test]
fn bare_ack_over_ipv6() {
    let segment = Segment {
        flags: Flags::ACK,
        ..Segment::default()
    };
    let bytes = build(CLIENT6, SERVICE6, &segment);
    assert_eq!(bytes[..8], [0x60, 0, 0, 0, 0, 20, 6, 64]);
    assert_eq!(bytes[8..24], end(CLIENT6).addr.octets());
    assert_eq!(bytes[24..40], end(SERVICE6).addr.octets());
    assert_eq!(check_field(&bytes, 40), tcp_checksum(&bytes, &bytes[40..]));
    assert_eq!(bytes.len(), 60);
}

#[test]
fn all_flags_find_their_bits() {
    let flags = Flags::from_bits(0xffff);
    let segment = Segment {
        flags,
        ..Segment::default()
    };
    let bytes = build(CLIENT, SERVICE, &segment);
    assert_eq!(bytes[32..34], [0x51, 0xff]);
}

#[test]
fn syn_options_lie_as_linux_lays_them() {
    let options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: STAMPS,
        ..Options::default()
    };
    #[rustfmt::skip]
    assert_eq!(option_bytes(Flags::SYN, options), [
        2, 4, 0x05, 0xb4,
        4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8,
        1, 3, 3, 7,
    ]);
}

#[test]
fn syn_options_one_by_one_are_padded() {
    let none = Options::default();
    let sack_permitted = Options {
        sack_permitted: true,
        ..none
    };
    let timestamps = Options {
        timestamps: STAMPS,
        ..none
    };
    assert_eq!(option_bytes(Flags::SYN, none), []);
    assert_eq!(option_bytes(Flags::SYN, sack_permitted), [1, 1, 4, 2]);
    assert_eq!(
        option_bytes(Flags::SYN, timestamps),
        [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[test]
fn syn_options_stay_out_of_other_segments() {
    let options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        ..Options::default()
    };
    assert_eq!(option_bytes(Flags::ACK, options), []);
}

#[test]
fn timestamps_and_sack_of_an_established_connection() {
    let options = Options {
        timestamps: STAMPS,
        sack: sack(1),
        ..Options::default()
    };
    #[rustfmt::skip]
    assert_eq!(option_bytes(Flags::ACK, options), [
        1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8,
        1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 1,
    ]);
}

#[test]
fn sack_blocks_without_room_are_left_out() {
    let seen = |flags, options: Options| {
        let bytes = option_bytes(flags, options);
        Options::parse(&bytes, flags.contains(Flags::SYN))
            .sack
            .len()
    };
    let blocks = Options {
        sack: sack(4),
        ..Options::default()
    };
    let stamped = Options {
        timestamps: STAMPS,
        ..blocks
    };
    let everything = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        ..stamped
    };
    assert_eq!(seen(Flags::ACK, blocks), 4);
    assert_eq!(seen(Flags::ACK, stamped), 3);
    assert_eq!(seen(Flags::SYN, everything), 2);
    let odd_room = Options {
        mss: Some(1460),
        ..stamped
    };
    assert_eq!(seen(Flags::SYN, odd_room), 2);
}

#[test]
fn ends_of_two_versions_are_refused() {
    let mut buf = [0; MAX_PACKET];
    let segment = Segment::default();
    for (source, destination) in [(CLIENT, SERVICE6), (CLIENT6, SERVICE)] {
        assert_eq!(
            emit(&mut buf, end(source), end(destination), &segment),
            Err(EmitError::MixedVersions)
        );
    }
}

#[test]
fn longest_payload() {
    let mut buf = [0; MAX_PACKET];
    let segment = Segment::default();
    let payload = vec![0; 0x1_0000];
    for (source, destination, most) in [
        (CLIENT, SERVICE, 0xffff - 40),
        (CLIENT6, SERVICE6, 0xffff - 20),
    ] {
        let mut emit = |len| {
            emit_header(
                &mut buf,
                end(source),
                end(destination),
                &segment,
                &payload[..len],
            )
        };
        assert!(emit(most).is_ok());
        assert_eq!(emit(most + 1), Err(EmitError::TooLong));
    }
}

/// Segments that a packet can hold: SYN options in a SYN only, and as many SACK blocks as have
/// room.
fn segment() -> impl Strategy<Value = Segment> {
    let sack = vec((common::seq(), common::seq()), 0..=4);
    (
        (common::seq(), common::seq(), any::<(u16, u16, u16)>()),
        any::<(Option<u16>, Option<u8>, bool, Option<(u32, u32)>)>(),
        sack,
    )
        .prop_map(|((seq, ack, (flags, window, urgent)), options, blocks)| {
            let flags = Flags::from_bits(flags);
            let syn = flags.contains(Flags::SYN);
            let (mss, window_scale, sack_permitted, timestamps) = options;
            let mut options = Options {
                mss: mss.filter(|mss| syn && *mss != 0),
                window_scale: window_scale.filter(|_| syn).map(|shift| shift % 15),
                sack_permitted: sack_permitted && syn,
                timestamps: timestamps.map(|(tsval, tsecr)| Timestamps { tsval, tsecr }),
                ..Options::default()
            };
            let most = match (syn, timestamps) {
                (true, _) => 2,
                (false, Some(_)) => 3,
                (false, None) => 4,
            };
            for (left, right) in blocks.into_iter().take(most) {
                options.sack.push(left, right);
            }
            Segment {
                seq,
                ack,
                flags,
                window,
                urgent,
                payload_len: 0,
                options,
            }
        })
}

fn ends() -> impl Strategy<Value = (Endpoint, Endpoint)> {
    common::raw().prop_map(|raw| (raw.source, raw.destination))
}

proptest! {
    #![proptest_config(common::config(2048))]

    #[test]
    fn parse_reads_what_emit_wrote((source, destination) in ends(), segment in segment()) {
        let mut buf = [0xee; MAX_PACKET];
        let len = emit(&mut buf, source, destination, &segment).unwrap();
        let packet = Packet::parse(&buf[..len], len).unwrap();
        prop_assert_eq!(packet.source, source);
        prop_assert_eq!(packet.destination, destination);
        prop_assert_eq!(packet.segment, segment);
        prop_assert_eq!(packet.header_len(), len);

        let (ip, tcp) = buf[..len].split_at(packet.ip_header_len);
        prop_assert_eq!(check_field(&buf, packet.ip_header_len), tcp_checksum(ip, tcp));
        if source.is_ipv4() {
            prop_assert_eq!(internet_checksum(ip), 0);
        }
        // Nothing is written beyond the packet.
        prop_assert!(buf[len..].iter().all(|byte| *byte == 0xee));
    }

    #[test]
    fn header_suits_the_payload((source, destination) in ends(), segment in segment(), payload in vec(any::<u8>(), 0..common::up_to(2000))) {
        let mut buf = [0; MAX_PACKET];
        let len = emit_header(&mut buf, source, destination, &segment, &payload).unwrap();
        let bytes = [&buf[..len], &payload].concat();
        let packet = Packet::parse(&bytes, bytes.len()).unwrap();
        prop_assert_eq!(packet.header_len(), len);
        prop_assert_eq!(packet.segment, Segment { payload_len: payload.len() as u32, ..segment });
        let (ip, tcp) = bytes.split_at(packet.ip_header_len);
        prop_assert_eq!(check_field(&bytes, packet.ip_header_len), tcp_checksum(ip, tcp));
        let length = if source.is_ipv4() { &bytes[2..4] } else { &bytes[4..6] };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        prop_assert_eq!(length, bytes.len() - if source.is_ipv4() { 0 } else { 40 });
    }
}

#[test]
fn echo_requests_are_what_any_host_answers() {
    let mut buf = [0; MAX_PACKET];
    let address = |text: &str| Endpoint::new(text.parse().unwrap(), 0).addr;
    let (from, to) = (address("10.0.0.1"), address("10.0.0.254"));
    let len = emit_echo(&mut buf, from, to, 0x5354, 7).unwrap();
    assert_eq!(len, 28);
    assert_eq!(internet_checksum(&buf[..20]), 0);
    assert_eq!(buf[9], 1);
    assert_eq!((buf[20], buf[21]), (8, 0));
    assert_eq!(buf[24..28], [0x53, 0x54, 0, 7]);
    assert_eq!(internet_checksum(&buf[20..28]), 0);

    let (from, to) = (address("fd00::1"), address("fd00::254"));
    let len = emit_echo(&mut buf, from, to, 0x5354, 7).unwrap();
    assert_eq!(len, 48);
    assert_eq!((buf[6], buf[40], buf[41]), (58, 128, 0));
    // RFC 8200, section 8.1: addresses, length, next header.
    let pseudo = [&buf[8..40], &[0, 0, 0, 8, 0, 0, 0, 58], &buf[40..48]].concat();
    assert_eq!(internet_checksum(&pseudo), 0);

    let mixed = emit_echo(&mut buf, address("10.0.0.1"), to, 0, 0);
    assert_eq!(mixed, Err(EmitError::MixedVersions));
}
