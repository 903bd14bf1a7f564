// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a datagram of the peer, and any records as one: what is said is what is heard.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use sttcp::{
    digest::{Difference, Mark, Word},
    keyring::KeyId,
    message::{
        records, split_tag, BadMessage, Batch, Close, Gone, Header, Kind, Open, Progress, Record,
        Span, HEADER_LEN, MAX_BODY, MAX_DATAGRAM, MAX_RECORD, TAG_LEN,
    },
    node::Role,
    primary::ConnectionId,
    seq::SeqNumber,
    wire::Flow,
};

#[derive(Arbitrary, Debug)]
enum Said {
    Open {
        client: ([u8; 16], u16),
        service: ([u8; 16], u16),
        v4: bool,
        numbers: [u32; 2],
        mss: u16,
        window: u16,
        scale: Option<(u8, u8)>,
        sack: bool,
        ecn: bool,
        timestamps: Option<(u32, u32)>,
    },
    Ended,
    Unprotected,
    Query(u32),
    Acked(u32),
    Missing([u32; 2]),
    Progress([u32; 3]),
    Gone(u8),
    Compare(bool, u8, [u32; 2]),
}

impl Said {
    fn record(&self, id: u64) -> Record {
        let id = ConnectionId(id);
        match *self {
            Said::Open {
                client,
                service,
                v4,
                numbers,
                mss,
                window,
                scale,
                sack,
                ecn,
                timestamps,
            } => {
                let end = |(bytes, port): ([u8; 16], u16)| {
                    let addr = match bytes {
                        [a, b, c, d, ..] if v4 => IpAddr::from([a, b, c, d]),
                        // Not a mapped one, which no wire has.
                        _ => Ipv6Addr::from(u128::from_be_bytes(bytes) | (1 << 127)).into(),
                    };
                    SocketAddr::new(addr, port).into()
                };
                Record::Open(Open {
                    id,
                    flow: Flow {
                        client: end(client),
                        service: end(service),
                    },
                    client_isn: SeqNumber::new(numbers[0]),
                    primary_isn: SeqNumber::new(numbers[1]),
                    mss,
                    window,
                    window_scale: scale.map(|(client, primary)| (client % 15, primary % 15)),
                    sack,
                    ecn,
                    timestamps,
                })
            }
            Said::Ended => Record::Close(id, Close::Ended),
            Said::Unprotected => Record::Close(id, Close::Unprotected),
            Said::Query(acked) => Record::Query(id, SeqNumber::new(acked)),
            Said::Acked(acked) => Record::Acked(id, SeqNumber::new(acked)),
            Said::Missing([start, end]) => Record::Missing(
                id,
                Span {
                    start: SeqNumber::new(start),
                    end: SeqNumber::new(end),
                },
            ),
            Said::Progress([rcv, snd, edge]) => Record::Progress(Progress {
                id,
                rcv_nxt: SeqNumber::new(rcv),
                snd_nxt: SeqNumber::new(snd),
                edge: SeqNumber::new(edge),
                fin: edge & 1 == 1,
            }),
            Said::Compare(asks, kind, [first, second]) => {
                let (at, to) = (SeqNumber::new(first), SeqNumber::new(second));
                let word = match kind % 3 {
                    0 => Word::None,
                    1 => Word::So(Mark { at, sum: second }),
                    _ => Word::Diverged(Difference { from: at, to }),
                };
                match asks {
                    true => Record::Compare(id, word),
                    false => Record::Compared(id, word),
                }
            }
            Said::Gone(why) => Record::Gone(
                id,
                match why % 4 {
                    0 => Gone::Refused,
                    1 => Gone::Options,
                    2 => Gone::NoMemory,
                    _ => Gone::Ended,
                },
            ),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    Said {
        kind: u8,
        primary: bool,
        flags: [bool; 2],
        epoch: u32,
        sessions: [u64; 2],
        sequence: u64,
        records: Vec<(u64, Said)>,
    },
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Bytes(bytes) => hear(bytes),
    Input::Said {
        kind,
        primary,
        flags: [eager, joined],
        epoch,
        sessions: [session, peer_session],
        sequence,
        records,
    } => {
        let header = Header {
            kind: match kind % 4 {
                0 => Kind::Heartbeat,
                1 => Kind::Records,
                2 => Kind::Leave,
                _ => Kind::Goodbye,
            },
            role: if primary { Role::Primary } else { Role::Backup },
            eager,
            joined,
            leased: !joined,
            unlinked: primary,
            epoch,
            session,
            peer_session,
            sequence,
            sent: session.rotate_left(7),
            echo: peer_session.rotate_left(9),
            patience: Duration::from_micros(epoch.rotate_left(5).into()),
            deaf: Duration::from_micros(epoch.rotate_left(11).into()),
            key: KeyId(epoch.rotate_left(5)),
            seed: epoch.rotate_left(13),
        };
        let list: Vec<Record> = records.iter().map(|(id, said)| said.record(*id)).collect();
        say(&header, &list);
    }
});

/// Bytes that came in.
fn hear(bytes: &[u8]) {
    let fits = (HEADER_LEN + TAG_LEN..=MAX_DATAGRAM).contains(&bytes.len());
    assert_eq!(split_tag(bytes).is_ok(), fits);
    match Header::parse(bytes) {
        Ok((header, body)) => {
            assert_eq!(body, &bytes[HEADER_LEN..bytes.len() - TAG_LEN]);
            let emitted = header.emit();
            // Of the fourth byte two bits say something.
            assert_eq!(emitted[..3], bytes[..3]);
            assert_eq!(emitted[4..], bytes[4..HEADER_LEN]);
            read(body);
        }
        Err(BadMessage::Length) => assert!(!fits),
        Err(_) => assert!(fits),
    }
    read(bytes);
}

/// Any records that can be read are written and read again alike; reading ends at the first that cannot.
fn read(body: &[u8]) {
    let heard: Vec<_> = records(body).collect();
    if let Some((_, before)) = heard.split_last() {
        assert!(before.iter().all(Result::is_ok));
    }
    let mut len = 0;
    for record in heard.iter().flatten() {
        let (bytes, used) = record.emit();
        assert!(used <= MAX_RECORD);
        assert_eq!(
            records(&bytes[..used]).collect::<Vec<_>>(),
            [Ok(*record)],
            "{record:?}"
        );
        len += used;
    }
    assert!(len <= body.len());
    if heard.iter().all(Result::is_ok) {
        assert_eq!(len, body.len());
    }
}

/// Records in a datagram and out again.
fn say(header: &Header, list: &[Record]) {
    let mut batch = Batch::new();
    let mut said = vec![];
    for record in list {
        if !batch.push(record) {
            let (_, len) = record.emit();
            assert!(batch.as_bytes().len() + len > MAX_BODY);
            batch.clear();
            said.clear();
            assert!(batch.is_empty() && batch.push(record));
        }
        said.push(Ok(*record));
    }
    assert_eq!(batch.is_empty(), said.is_empty());
    let datagram = [&header.emit()[..], batch.as_bytes(), &[0; TAG_LEN]].concat();
    let (heard, body) = Header::parse(&datagram).unwrap();
    assert_eq!(heard, *header);
    assert_eq!(records(body).collect::<Vec<_>>(), said);
    hear(&datagram);
}
