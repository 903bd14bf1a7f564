// SPDX-License-Identifier: GPL-2.0

//! Translation of headers in place. The judge of every checksum is the plain one in `common`.

mod common;

use common::{check_field, tcp_checksum, Item, Raw};
use proptest::{collection::vec, prelude::*};
use sttcp::{
    rewrite::{Blank, Checksum, Rewrite, SackRewrite},
    seq::{Delta, SeqNumber},
    wire::{Malformed, Options, Packet, Timestamps},
};

fn raw(items: &[Item]) -> Raw {
    Raw {
        items: items.to_vec(),
        payload: vec![0xa5; 7],
        ..Raw::new("10.0.0.9:40000", "10.0.0.1:80")
    }
}

/// Applies `rewrite` to the packet, looks at the checksum, and returns the packet as read again.
fn apply(rewrite: &Rewrite, raw: &Raw) -> Packet {
    let mut bytes = raw.bytes();
    rewrite.apply(&mut bytes, Checksum::Full).unwrap();
    assert_right_checksum(&bytes, raw.ip_header_len());
    Packet::parse(&bytes, bytes.len()).unwrap()
}

fn assert_right_checksum(bytes: &[u8], ip_header_len: usize) {
    let (ip, tcp) = bytes.split_at(ip_header_len);
    assert_eq!(check_field(bytes, ip_header_len), tcp_checksum(ip, tcp));
}

fn delta(raw: u32) -> Delta {
    Delta::of(raw, 0)
}

#[test]
fn default_does_nothing() {
    assert!(Rewrite::default().is_noop());
    assert!(!Rewrite {
        clear_ae: true,
        ..Rewrite::default()
    }
    .is_noop());

    let before = raw(&[Item::Timestamps(1, 2)]).bytes();
    let mut after = before.clone();
    Rewrite::default()
        .apply(&mut after, Checksum::Full)
        .unwrap();
    assert_eq!(after, before);
}

#[test]
fn fixed_fields() {
    let seen = apply(
        &Rewrite {
            seq: Some(SeqNumber::new(0xffff_ffff)),
            ack: Some(SeqNumber::new(0)),
            window: Some(0xffff),
            ..Rewrite::default()
        },
        &raw(&[]),
    )
    .segment;
    assert_eq!((seen.seq.raw(), seen.ack.raw()), (0xffff_ffff, 0));
    assert_eq!(seen.window, 0xffff);
    assert_eq!(seen.payload_len, 7);
}

#[test]
fn timestamps_at_even_and_odd_offsets() {
    for nops in 0..4 {
        let items = [vec![Item::Nop; nops], vec![Item::Timestamps(1, 2)]].concat();
        let rewrite = Rewrite {
            tsval: Some(0x1234_5678),
            tsecr: Some(0xfedc_ba98),
            ..Rewrite::default()
        };
        assert_eq!(
            apply(&rewrite, &raw(&items)).segment.options.timestamps,
            Some(Timestamps {
                tsval: 0x1234_5678,
                tsecr: 0xfedc_ba98
            })
        );
    }
}

#[test]
fn one_of_two_timestamps() {
    let rewrite = Rewrite {
        tsecr: Some(77),
        ..Rewrite::default()
    };
    let seen = apply(&rewrite, &raw(&[Item::Timestamps(1, 2)]));
    assert_eq!(
        seen.segment.options.timestamps,
        Some(Timestamps {
            tsval: 1,
            tsecr: 77
        })
    );
}

#[test]
fn timestamps_that_occur_twice_change_twice() {
    let rewrite = Rewrite {
        tsval: Some(7),
        ..Rewrite::default()
    };
    let raw = raw(&[Item::Timestamps(1, 2), Item::Timestamps(3, 4)]);
    let mut bytes = raw.bytes();
    rewrite.apply(&mut bytes, Checksum::Full).unwrap();
    assert_eq!(
        bytes[40..60],
        [8, 10, 0, 0, 0, 7, 0, 0, 0, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 4]
    );
    assert_right_checksum(&bytes, 20);
}

#[test]
fn sack_blocks_there_and_back() {
    let edges = |packet: Packet| -> Vec<(u32, u32)> {
        let blocks = packet.segment.options.sack;
        blocks.iter().map(|(l, r)| (l.raw(), r.raw())).collect()
    };
    let raw = raw(&[Item::Nop, Item::Sack(vec![(5, 15), (25, 35)])]);
    let sack = |sack| Rewrite {
        sack,
        ..Rewrite::default()
    };
    assert_eq!(
        edges(apply(&sack(SackRewrite::Back(delta(10))), &raw)),
        [(0xffff_fffb, 5), (15, 25)]
    );
    assert_eq!(
        edges(apply(&sack(SackRewrite::Forward(delta(10))), &raw)),
        [(15, 25), (35, 45)]
    );
    assert_eq!(edges(apply(&sack(SackRewrite::Blank), &raw)), []);
}

#[test]
fn sack_of_wrong_length_is_left_alone() {
    let raw = raw(&[Item::Other(5, vec![9; 9])]);
    let mut bytes = raw.bytes();
    let rewrite = Rewrite {
        sack: SackRewrite::Forward(delta(1)),
        ..Rewrite::default()
    };
    rewrite.apply(&mut bytes, Checksum::Full).unwrap();
    assert_eq!(bytes, raw.bytes());
}

#[test]
fn options_are_blanked_at_even_and_odd_offsets() {
    let options = [
        Item::FastOpen(vec![3; 8]),
        Item::ExperimentalFastOpen(vec![4; 5]),
        Item::Mptcp(vec![5; 10]),
    ];
    for (item, nops) in options.iter().flat_map(|item| [(item, 0), (item, 1)]) {
        let items = [vec![Item::Nop; nops], vec![item.clone(), Item::Mss(1400)]].concat();
        let raw = Raw {
            flags: 0x002,
            ..raw(&items)
        };
        let rewrite = Rewrite {
            blank: Blank {
                fast_open: true,
                mptcp: true,
            },
            ..Rewrite::default()
        };
        let seen = apply(&rewrite, &raw).segment.options;
        assert_eq!(
            seen,
            Options {
                mss: Some(1400),
                ..Options::default()
            },
            "{item:?}"
        );
    }
}

#[test]
fn other_experiments_are_not_blanked() {
    let raw = raw(&[Item::Other(254, vec![1, 2, 3, 4])]);
    let mut bytes = raw.bytes();
    let rewrite = Rewrite {
        blank: Blank {
            fast_open: true,
            mptcp: false,
        },
        ..Rewrite::default()
    };
    rewrite.apply(&mut bytes, Checksum::Full).unwrap();
    assert_eq!(bytes, raw.bytes());
}

#[test]
fn accurate_ecn_syn_becomes_a_classic_one() {
    let raw = Raw {
        flags: 0x1c2,
        ..raw(&[])
    };
    let rewrite = Rewrite {
        clear_ae: true,
        ..Rewrite::default()
    };
    assert_eq!(apply(&rewrite, &raw).segment.flags.bits(), 0x0c2);
}

#[test]
fn refused_packets_are_not_touched() {
    let mut fragment = raw(&[]).bytes();
    fragment[6] = 0x20;
    let mut udp = raw(&[]).bytes();
    udp[9] = 17;
    let cut = raw(&[Item::Timestamps(1, 2)]).bytes()[..45].to_vec();
    let rewrite = Rewrite {
        seq: Some(SeqNumber::new(1)),
        ..Rewrite::default()
    };
    for (packet, reason) in [
        (fragment, Malformed::Fragment),
        (udp, Malformed::NotTcp),
        (cut, Malformed::Truncated),
    ] {
        let mut bytes = packet.clone();
        assert_eq!(rewrite.apply(&mut bytes, Checksum::Full), Err(reason));
        assert_eq!(bytes, packet);
    }
}

/// RFC 1624, section 4: the case that its predecessors got wrong. The field must become 0x0000, not
/// 0xffff.
#[test]
fn checksum_that_becomes_zero() {
    let mut raw = raw(&[]);
    raw.window = 0;
    raw.urgent = 0;
    let bytes = raw.bytes();
    // One's complement: the urgent pointer that brings the sum of all words to 0x5555, so that a
    // window of 0xaaaa brings the checksum to 0.
    let sum = u32::from(!tcp_checksum(&bytes[..20], &bytes[20..]));
    raw.urgent = ((0x5555 + 0xffff - sum) % 0xffff) as u16;
    let mut bytes = raw.bytes();
    assert_eq!(check_field(&bytes, 20), !0x5555);

    let rewrite = Rewrite {
        window: Some(0xaaaa),
        ..Rewrite::default()
    };
    rewrite.apply(&mut bytes, Checksum::Full).unwrap();
    assert_eq!(check_field(&bytes, 20), 0);
    assert_right_checksum(&bytes, 20);
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let sack = prop_oneof![
        Just(SackRewrite::Keep),
        common::delta().prop_map(SackRewrite::Back),
        common::delta().prop_map(SackRewrite::Forward),
        Just(SackRewrite::Blank),
    ];
    (
        prop::option::of(common::seq()),
        prop::option::of(common::seq()),
        any::<(Option<u16>, Option<u32>, Option<u32>)>(),
        sack,
        any::<(bool, bool, bool, bool)>(),
    )
        .prop_map(
            |(seq, ack, (window, tsval, tsecr), sack, (fast_open, mptcp, clear_ae, clear_fin))| {
                Rewrite {
                    seq,
                    ack,
                    window,
                    tsval,
                    tsecr,
                    sack,
                    blank: Blank { fast_open, mptcp },
                    clear_ae,
                    clear_fin,
                }
            },
        )
}

proptest! {
    #![proptest_config(common::config(1024))]

    #[test]
    fn forward_and_back_is_the_identity(raw in common::raw(), seq in common::delta(), ts in common::delta(), window: u16) {
        let before = raw.bytes();
        let segment = Packet::parse(&before, before.len()).unwrap().segment;
        let stamps = segment.options.timestamps;
        let forward = Rewrite {
            seq: Some(segment.seq + seq),
            ack: Some(segment.ack + seq),
            window: Some(window),
            tsval: stamps.map(|stamps| ts.shift(stamps.tsval)),
            tsecr: stamps.map(|stamps| ts.shift(stamps.tsecr)),
            sack: SackRewrite::Forward(seq),
            ..Rewrite::default()
        };
        let mut bytes = before.clone();
        forward.apply(&mut bytes, Checksum::Full).unwrap();

        let there = Packet::parse(&bytes, bytes.len()).unwrap().segment;
        let stamps = there.options.timestamps;
        let back = Rewrite {
            seq: Some(there.seq - seq),
            ack: Some(there.ack - seq),
            window: Some(segment.window),
            tsval: stamps.map(|stamps| ts.unshift(stamps.tsval)),
            tsecr: stamps.map(|stamps| ts.unshift(stamps.tsecr)),
            sack: SackRewrite::Back(seq),
            ..Rewrite::default()
        };
        back.apply(&mut bytes, Checksum::Full).unwrap();
        prop_assert_eq!(bytes, before);
    }

    #[test]
    fn checksum_stays_right(raw in common::raw(), rewrite in rewrite()) {
        let mut bytes = raw.bytes();
        rewrite.apply(&mut bytes, Checksum::Full).unwrap();
        let (ip, tcp) = bytes.split_at(raw.ip_header_len());
        prop_assert_eq!(check_field(&bytes, raw.ip_header_len()), tcp_checksum(ip, tcp));
    }

    #[test]
    fn pseudo_checksum_stays_as_it_is(raw in common::raw(), rewrite in rewrite()) {
        let (mut partial, mut full) = (raw.bytes(), raw.bytes());
        let before = check_field(&partial, raw.ip_header_len());
        rewrite.apply(&mut partial, Checksum::Pseudo).unwrap();
        rewrite.apply(&mut full, Checksum::Full).unwrap();
        prop_assert_eq!(check_field(&partial, raw.ip_header_len()), before);

        // But for that field, both do the same.
        let check = raw.ip_header_len() + 16;
        partial[check..check + 2].copy_from_slice(&full[check..check + 2]);
        prop_assert_eq!(partial, full);
    }

    #[test]
    fn wrong_checksum_stays_wrong(raw in common::raw(), rewrite in rewrite(), flaw in 1_u16..0xffff) {
        let mut bytes = raw.bytes();
        let check = raw.ip_header_len() + 16;
        let field = check_field(&bytes, raw.ip_header_len()).wrapping_add(flaw);
        // 0xffff is another way to write 0.
        prop_assume!(field != 0xffff);
        bytes[check..check + 2].copy_from_slice(&field.to_be_bytes());
        rewrite.apply(&mut bytes, Checksum::Full).unwrap();
        let (ip, tcp) = bytes.split_at(raw.ip_header_len());
        prop_assert_ne!(check_field(&bytes, raw.ip_header_len()), tcp_checksum(ip, tcp));
    }

    #[test]
    fn only_the_named_fields_change(raw in common::raw(), rewrite in rewrite()) {
        let before = raw.bytes();
        let mut bytes = before.clone();
        rewrite.apply(&mut bytes, Checksum::Full).unwrap();
        prop_assert_eq!(&bytes[..raw.ip_header_len() + 4], &before[..raw.ip_header_len() + 4]);
        prop_assert_eq!(&bytes[raw.header_len()..], &before[raw.header_len()..]);

        let old = Packet::parse(&before, before.len()).unwrap().segment;
        let new = Packet::parse(&bytes, bytes.len()).unwrap().segment;
        prop_assert_eq!(new.seq, rewrite.seq.unwrap_or(old.seq));
        prop_assert_eq!(new.ack, rewrite.ack.unwrap_or(old.ack));
        prop_assert_eq!(new.window, rewrite.window.unwrap_or(old.window));
        prop_assert_eq!(new.urgent, old.urgent);
        let edges = |segment: &sttcp::wire::Segment| -> Vec<_> {
            segment.options.sack.iter().flat_map(|(left, right)| [left, right]).collect()
        };
        let edges: (Vec<_>, Vec<_>) = (edges(&old), edges(&new));
        match rewrite.sack {
            SackRewrite::Keep => prop_assert_eq!(edges.0, edges.1),
            SackRewrite::Back(delta) => prop_assert_eq!(edges.0, edges.1.iter().map(|edge| *edge + delta).collect::<Vec<_>>()),
            SackRewrite::Forward(delta) => prop_assert_eq!(edges.0, edges.1.iter().map(|edge| *edge - delta).collect::<Vec<_>>()),
            SackRewrite::Blank => prop_assert_eq!(edges.1.len(), 0),
        }
        prop_assert_eq!(new.options, Options {
            timestamps: old.options.timestamps.map(|old| Timestamps {
                tsval: rewrite.tsval.unwrap_or(old.tsval),
                tsecr: rewrite.tsecr.unwrap_or(old.tsecr),
            }),
            sack: new.options.sack,
            fast_open: old.options.fast_open && !rewrite.blank.fast_open,
            mptcp: old.options.mptcp && !rewrite.blank.mptcp,
            ..old.options
        });
    }

    #[test]
    fn payload_is_not_needed(raw in common::raw(), rewrite in rewrite()) {
        let (mut whole, mut header) = (raw.bytes(), raw.bytes());
        header.truncate(raw.header_len());
        rewrite.apply(&mut whole, Checksum::Full).unwrap();
        rewrite.apply(&mut header, Checksum::Full).unwrap();
        prop_assert_eq!(&whole[..raw.header_len()], &header[..]);
    }

    #[test]
    fn damaged_packets_do_not_panic(bytes in common::mutated(), rewrite in rewrite()) {
        let mut after = bytes.clone();
        match rewrite.apply(&mut after, Checksum::Full) {
            Ok(()) => prop_assert!(Packet::parse(&after, after.len()).is_ok()),
            Err(_) => prop_assert_eq!(after, bytes),
        }
    }

    #[test]
    fn any_bytes_do_not_panic(mut bytes in vec(any::<u8>(), 0..common::up_to(200)), version in 3_u8..8, rewrite in rewrite()) {
        if let Some(first) = bytes.first_mut() {
            *first = (*first & 0x0f) | (version << 4);
        }
        let _ = rewrite.apply(&mut bytes, Checksum::Full);
    }
}
