// SPDX-License-Identifier: GPL-2.0

//! The bytes of the peer channel.

mod common;
mod script;

use proptest::{collection::vec, prelude::*};
use script::{plain_open, seq, ID};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use sttcp::{
    digest::{Difference, Mark, Word},
    keyring::KeyId,
    message::{
        records, split_tag, BadMessage, Batch, Bytes, Close, Gone, Header, Kind, Open, Progress,
        Record, Span, HEADER_LEN, MAX_BODY, MAX_BYTES, MAX_DATAGRAM, MAX_RECORD, TAG_LEN, VERSION,
    },
    node::Role,
    primary::ConnectionId,
    wire::{Endpoint, Flow},
};

const HEADER: Header = Header {
    kind: Kind::Heartbeat,
    role: Role::Backup,
    eager: true,
    joined: true,
    leased: true,
    unlinked: true,
    epoch: 0x0102_0304,
    session: 0x1112_1314_1516_1718,
    peer_session: 0x2122_2324_2526_2728,
    sequence: 0x3132_3334_3536_3738,
    sent: 0x4142_4344_4546_4748,
    echo: 0x5152_5354_5556_5758,
    patience: Duration::from_micros(0x6162_6364),
    deaf: Duration::from_micros(0x7172_7374),
    key: KeyId(0x8182_8384),
    seed: 0x9192_9394,
};

fn datagram(header: &Header, body: &[u8]) -> Vec<u8> {
    [&header.emit()[..], body, &[0xee; TAG_LEN]].concat()
}

fn bytes(record: &Record) -> Vec<u8> {
    let (bytes, len) = record.emit();
    bytes[..len].to_vec()
}

fn read(body: &[u8]) -> Vec<Result<Record, BadMessage>> {
    records(body).collect()
}

#[test]
fn header_byte_for_byte() {
    assert_eq!(
        HEADER.emit()[..],
        [
            &[VERSION, 1, 2, 15][..],
            &[1, 2, 3, 4],
            &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
            &[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28],
            &[0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38],
            &[0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48],
            &[0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58],
            &[0x61, 0x62, 0x63, 0x64],
            &[0x71, 0x72, 0x73, 0x74],
            &[0x81, 0x82, 0x83, 0x84],
            &[0x91, 0x92, 0x93, 0x94],
        ]
        .concat()
    );
}

#[test]
fn times_beyond_their_fields() {
    let header = Header {
        patience: Duration::from_secs(6000),
        deaf: Duration::from_secs(7000),
        ..HEADER
    };
    let datagram = datagram(&header, &[]);
    let header = Header::parse(&datagram).unwrap().0;
    let longest = Duration::from_micros(u32::MAX.into());
    assert_eq!((header.patience, header.deaf), (longest, longest));
}

#[test]
fn header_leaves_the_body_without_the_tag() {
    let datagram = datagram(&HEADER, b"body");
    assert_eq!(Header::parse(&datagram), Ok((HEADER, &b"body"[..])));
    let (signed, tag) = split_tag(&datagram).unwrap();
    assert_eq!(signed.len(), HEADER_LEN + 4);
    assert_eq!(tag, [0xee; TAG_LEN]);
}

#[test]
fn header_refused() {
    for (at, byte, why) in [
        (0, 0, BadMessage::Version),
        (0, VERSION + 1, BadMessage::Version),
        (1, 0, BadMessage::Content),
        (1, 6, BadMessage::Content),
        (2, 0, BadMessage::Content),
        (2, 3, BadMessage::Content),
    ] {
        let mut datagram = datagram(&HEADER, &[]);
        datagram[at] = byte;
        assert_eq!(Header::parse(&datagram), Err(why), "byte {at} = {byte}");
    }
}

#[test]
fn shortest_and_longest_datagram() {
    let longest = datagram(&HEADER, &[0; MAX_BODY]);
    assert_eq!(longest.len(), MAX_DATAGRAM);
    assert_eq!(Header::parse(&longest).unwrap().1.len(), MAX_BODY);
    let too_long = datagram(&HEADER, &[0; MAX_BODY + 1]);
    assert_eq!(Header::parse(&too_long), Err(BadMessage::Length));
    assert_eq!(split_tag(&too_long), Err(BadMessage::Length));

    let shortest = datagram(&HEADER, &[]);
    assert_eq!(Header::parse(&shortest).unwrap().1, &[0; 0]);
    for len in 0..shortest.len() {
        assert_eq!(Header::parse(&shortest[..len]), Err(BadMessage::Length));
    }
}

#[test]
fn records_byte_for_byte() {
    let id = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    let progress = Progress {
        id: ID,
        rcv_nxt: seq(0x0a0b_0c0d),
        snd_nxt: seq(0xfafb_fcfd),
        edge: seq(0x0a0c_0000),
        fin: true,
    };
    let missing = Span {
        start: seq(9),
        end: seq(0x0a0b_0c0d),
    };
    for (record, kind, rest) in [
        (Record::Close(ID, Close::Ended), 2, &[1][..]),
        (Record::Close(ID, Close::Unprotected), 2, &[2]),
        (
            Record::Query(ID, seq(0x0a0b_0c0d)),
            3,
            &[0x0a, 0x0b, 0x0c, 0x0d],
        ),
        (
            Record::Progress(progress),
            4,
            &[
                0x0a, 0x0b, 0x0c, 0x0d, 0xfa, 0xfb, 0xfc, 0xfd, 0x0a, 0x0c, 0, 0, 1,
            ],
        ),
        (Record::Gone(ID, Gone::Refused), 5, &[1]),
        (Record::Gone(ID, Gone::Options), 5, &[2]),
        (Record::Gone(ID, Gone::NoMemory), 5, &[3]),
        (Record::Gone(ID, Gone::Ended), 5, &[4]),
        (Record::Acked(ID, seq(9)), 7, &[0, 0, 0, 9]),
        (Record::Move(ID), 10, &[]),
        (Record::Moved(ID), 11, &[]),
        (
            Record::Compare(ID, Word::None),
            8,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            Record::Compare(
                ID,
                Word::So(Mark {
                    at: seq(9),
                    sum: 0x0102_0304,
                }),
            ),
            8,
            &[1, 0, 0, 0, 9, 1, 2, 3, 4],
        ),
        (
            Record::Compared(
                ID,
                Word::Diverged(Difference {
                    from: seq(9),
                    to: seq(0x0a0b_0c0d),
                }),
            ),
            9,
            &[2, 0, 0, 0, 9, 0x0a, 0x0b, 0x0c, 0x0d],
        ),
        (
            Record::Missing(ID, missing),
            6,
            &[0, 0, 0, 9, 0x0a, 0x0b, 0x0c, 0x0d],
        ),
    ] {
        assert_eq!(bytes(&record), [&[kind][..], &id, rest].concat());
    }
}

#[test]
fn bytes_of_a_client_byte_for_byte() {
    let bytes = Bytes {
        id: ID,
        seq: seq(0x0a0b_0c0d),
        fin: true,
        payload: b"payload",
    };
    let mut body = [&bytes.emit()[..], bytes.payload].concat();
    assert_eq!(
        body,
        [
            &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef][..],
            &[0x0a, 0x0b, 0x0c, 0x0d],
            &[1],
            b"payload",
        ]
        .concat()
    );
    assert_eq!(Bytes::parse(&body), Ok(bytes));
    assert_eq!(Bytes::parse(&body[..12]), Err(BadMessage::Length));
    assert_eq!(Bytes::parse(&body[..13]).unwrap().payload, b"");
    body[12] = 2;
    assert_eq!(Bytes::parse(&body), Err(BadMessage::Content));
    assert_eq!(body.len() - bytes.payload.len() + MAX_BYTES, MAX_BODY);
}

#[test]
fn open_byte_for_byte() {
    let open = Open {
        mss: 1460,
        window: 0xfaf0,
        window_scale: Some((7, 14)),
        sack: true,
        timestamps: Some((0x0102_0304, 0x0506_0708)),
        ..plain_open()
    };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(
        bytes(&Record::Open(open)),
        [
            &[1, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef][..],
            &mapped,
            &[10, 0, 0, 9, 0x9c, 0x40],
            &mapped,
            &[10, 0, 0, 1, 0, 80],
            &[0, 0, 0x03, 0xe8, 0xff, 0xff, 0xff, 0xce],
            &[0x05, 0xb4, 0xfa, 0xf0],
            &[1 | 2 | 8, 7, 14],
            &[1, 2, 3, 4, 5, 6, 7, 8],
        ]
        .concat()
    );
}

#[test]
fn open_refused() {
    let good = bytes(&Record::Open(Open {
        window_scale: Some((14, 14)),
        ..plain_open()
    }));
    assert!(read(&good)[0].is_ok());
    // A scale above 14, and an IPv6 client of an IPv4 service.
    for (at, byte) in [(58, 15), (59, 15), (9, 0xfd)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(read(&bad), [Err(BadMessage::Content)], "byte {at}");
    }
}

#[test]
fn record_types_and_reasons_that_mean_nothing() {
    for (kind, reason) in [(0, 1), (6, 1), (0xff, 1), (2, 0), (2, 3), (5, 0), (5, 5)] {
        let mut bad = bytes(&Record::Close(ID, Close::Ended));
        (bad[0], bad[9]) = (kind, reason);
        assert_eq!(read(&bad), [Err(BadMessage::Content)], "{kind} {reason}");
    }
}

#[test]
fn reading_stops_at_the_first_bad_record() {
    let good = Record::Query(ID, seq(1));
    let body = [&bytes(&good)[..], &[9; 9], &bytes(&good)].concat();
    assert_eq!(read(&body), [Ok(good), Err(BadMessage::Content)]);
    assert_eq!(read(&[]), []);
}

#[test]
fn batch_takes_records_until_it_is_full() {
    let mut batch = Batch::default();
    assert!(batch.is_empty());
    let mut count = 0;
    while batch.push(&Record::Query(ConnectionId(count), seq(1))) {
        count += 1;
    }
    assert_eq!(count as usize, MAX_BODY / 13);
    assert!(!batch.is_empty());
    // What was refused has left no trace.
    let read = read(batch.as_bytes());
    assert_eq!(read.len() as u64, count);
    assert_eq!(
        read.last(),
        Some(&Ok(Record::Query(ConnectionId(count - 1), seq(1))))
    );

    batch.clear();
    assert!(batch.is_empty());
    assert_eq!(batch.as_bytes(), []);
    assert!(batch.push(&Record::Open(plain_open())));
}

fn endpoints() -> impl Strategy<Value = Flow> {
    let v4 = |(addr, port): (u32, u16)| Endpoint {
        addr: Ipv4Addr::from(addr).to_ipv6_mapped(),
        port,
    };
    let v6 = |(addr, port): (u128, u16)| Endpoint {
        addr: Ipv6Addr::from(addr | (0xfd << 120)),
        port,
    };
    prop_oneof![
        any::<[(u32, u16); 2]>().prop_map(move |ends| ends.map(v4)),
        any::<[(u128, u16); 2]>().prop_map(move |ends| ends.map(v6)),
    ]
    .prop_map(|[client, service]| Flow { client, service })
}

fn open() -> impl Strategy<Value = Open> {
    (
        endpoints(),
        any::<(u64, u32, u32, u16, u16, bool, bool)>(),
        prop::option::of((0_u8..=14, 0_u8..=14)),
        any::<Option<(u32, u32)>>(),
    )
        .prop_map(
            |(flow, (id, client, primary, mss, window, sack, ecn), window_scale, timestamps)| {
                Open {
                    id: ConnectionId(id),
                    flow,
                    client_isn: seq(client),
                    primary_isn: seq(primary),
                    mss,
                    window,
                    window_scale,
                    sack,
                    ecn,
                    timestamps,
                }
            },
        )
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        Just(Word::None),
        any::<(u32, u32)>().prop_map(|(at, sum)| Word::So(Mark { at: seq(at), sum })),
        any::<(u32, u32)>().prop_map(|(from, to)| Word::Diverged(Difference {
            from: seq(from),
            to: seq(to)
        })),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let id = || any::<u64>().prop_map(ConnectionId);
    let close = prop_oneof![Just(Close::Ended), Just(Close::Unprotected)];
    let gone = prop_oneof![
        Just(Gone::Refused),
        Just(Gone::Options),
        Just(Gone::NoMemory),
        Just(Gone::Ended)
    ];
    prop_oneof![
        open().prop_map(Record::Open),
        (id(), close).prop_map(|(id, why)| Record::Close(id, why)),
        (id(), any::<u32>()).prop_map(|(id, acked)| Record::Query(id, seq(acked))),
        (id(), any::<u32>()).prop_map(|(id, acked)| Record::Acked(id, seq(acked))),
        (id(), any::<(u32, u32, u32, bool)>()).prop_map(|(id, (rcv, snd, edge, fin))| {
            Record::Progress(Progress {
                id,
                rcv_nxt: seq(rcv),
                snd_nxt: seq(snd),
                edge: seq(edge),
                fin,
            })
        }),
        (id(), gone).prop_map(|(id, why)| Record::Gone(id, why)),
        id().prop_map(Record::Move),
        id().prop_map(Record::Moved),
        (id(), any::<bool>(), word()).prop_map(|(id, asks, word)| match asks {
            true => Record::Compare(id, word),
            false => Record::Compared(id, word),
        }),
        (id(), any::<(u32, u32)>()).prop_map(|(id, (start, end))| {
            let (start, end) = (seq(start), seq(end));
            Record::Missing(id, Span { start, end })
        }),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let kind = prop_oneof![
        Just(Kind::Heartbeat),
        Just(Kind::Records),
        Just(Kind::Leave),
        Just(Kind::Goodbye),
        Just(Kind::Bytes)
    ];
    let role = prop_oneof![Just(Role::Primary), Just(Role::Backup)];
    type Fields = ([bool; 4], u32, [u64; 5], [u32; 2]);
    (kind, role, any::<Fields>()).prop_map(
        |(kind, role, ([eager, joined, leased, unlinked], epoch, numbers, [patience, deaf]))| {
            Header {
                kind,
                role,
                eager,
                joined,
                leased,
                unlinked,
                epoch,
                session: numbers[0],
                peer_session: numbers[1],
                sequence: numbers[2],
                sent: numbers[3],
                echo: numbers[4],
                patience: Duration::from_micros(patience.into()),
                deaf: Duration::from_micros(deaf.into()),
                key: KeyId(patience.rotate_left(7)),
                seed: deaf.rotate_left(7),
            }
        },
    )
}

proptest! {
    #![proptest_config(common::config(256))]

    #[test]
    fn header_reads_back(header in header(), body in vec(any::<u8>(), 0..=common::up_to(MAX_BODY))) {
        let datagram = datagram(&header, &body);
        prop_assert_eq!(Header::parse(&datagram), Ok((header, &body[..])));
    }

    #[test]
    fn records_read_back(list in vec(record(), 0..common::up_to(100))) {
        let mut batch = Batch::new();
        let sent: Vec<_> = list.into_iter().take_while(|record| batch.push(record)).collect();
        prop_assert!(batch.as_bytes().len() <= MAX_BODY);
        let seen: Vec<_> = records(batch.as_bytes()).map(Result::unwrap).collect();
        prop_assert_eq!(seen, sent);
    }

    #[test]
    fn record_fits_its_limit_and_needs_all_its_bytes(record in record()) {
        let bytes = bytes(&record);
        prop_assert!(bytes.len() <= MAX_RECORD);
        prop_assert_eq!(read(&bytes), [Ok(record)]);
        for len in 1..bytes.len() {
            prop_assert_eq!(read(&bytes[..len]), [Err(BadMessage::Content)]);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..=common::up_to(MAX_DATAGRAM + 8)), kind in 0_u8..8) {
        let _ = split_tag(&bytes);
        let _ = Header::parse(&bytes);
        let mut body = bytes;
        if let Some(first) = body.first_mut() {
            *first = kind;
        }
        let seen = read(&body);
        prop_assert!(seen.len() <= body.len());
        for record in seen.into_iter().flatten() {
            // Bits without a meaning may be lost, the meaning not.
            prop_assert_eq!(read(&self::bytes(&record)), [Ok(record)]);
        }
    }

    #[test]
    fn one_changed_byte_is_read_or_refused(
        header in header(),
        list in vec(record(), 0..16),
        at in any::<prop::sample::Index>(),
        to: u8,
    ) {
        let mut batch = Batch::new();
        let _ = list.iter().all(|record| batch.push(record));
        let mut datagram = datagram(&header, batch.as_bytes());
        let at = at.index(datagram.len());
        datagram[at] = to;
        if let Ok((_, body)) = Header::parse(&datagram) {
            let _ = read(body);
        }
    }
}
