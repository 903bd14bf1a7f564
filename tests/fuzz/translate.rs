// SPDX-License-Identifier: GPL-2.0

//! Any change of any packet: only what is named changes, the checksum follows, and the change back restores every byte.

#![no_main]

mod packet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packet::{options, tcp_checksum, word};
use sttcp::{
    rewrite::{Blank, Checksum, Rewrite, SackRewrite},
    seq::{Delta, SeqNumber},
    wire::{Flags, Packet},
};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Sack {
    Keep,
    Back(u32),
    Forward(u32),
    Blank,
}

impl Sack {
    fn rewrite(self) -> SackRewrite {
        match self {
            Sack::Keep => SackRewrite::Keep,
            Sack::Back(by) => SackRewrite::Back(Delta::of(by, 0)),
            Sack::Forward(by) => SackRewrite::Forward(Delta::of(by, 0)),
            Sack::Blank => SackRewrite::Blank,
        }
    }

    fn inverse(self) -> SackRewrite {
        match self {
            Sack::Back(by) => Sack::Forward(by).rewrite(),
            Sack::Forward(by) => Sack::Back(by).rewrite(),
            other => other.rewrite(),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    seq: Option<u32>,
    ack: Option<u32>,
    window: Option<u16>,
    tsval: Option<u32>,
    tsecr: Option<u32>,
    sack: Sack,
    fast_open: bool,
    mptcp: bool,
    clear_ae: bool,
    /// The checksum is right, not just any.
    whole: bool,
    packet: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let change = Rewrite {
        seq: input.seq.map(SeqNumber::new),
        ack: input.ack.map(SeqNumber::new),
        window: input.window,
        tsval: input.tsval,
        tsecr: input.tsecr,
        sack: input.sack.rewrite(),
        blank: Blank {
            fast_open: input.fast_open,
            mptcp: input.mptcp,
        },
        clear_ae: input.clear_ae,
        // Not a choice of its own: the corpus keeps its meaning.
        clear_fin: input.clear_ae != input.fast_open,
    };
    let mut before = input.packet.to_vec();
    let Ok(packet) = Packet::parse(&before, before.len()) else {
        let refused = change.apply(&mut before, Checksum::Full);
        assert!(refused.is_err() || input.packet.is_empty());
        assert_eq!(before, input.packet, "changed what it refused");
        return;
    };
    let tcp = packet.ip_header_len;
    if input.whole {
        let check = tcp_checksum(&before, tcp);
        before[tcp + 16..tcp + 18].copy_from_slice(&check.to_be_bytes());
    }
    let check = |packet: &[u8]| (word(packet, tcp + 16), tcp_checksum(packet, tcp));
    let (was, should_be) = check(&before);

    let mut after = before.clone();
    change.apply(&mut after, Checksum::Full).unwrap();
    let (is, must_be) = check(&after);
    if was == should_be {
        assert_eq!(is, must_be, "{packet:?}");
    } else {
        // Both zeros of one's complement are right to a receiver; what is wrong stays so.
        let same = |a: u16, b: u16| a == b || a ^ b == 0xffff && matches!(a, 0 | 0xffff);
        assert_eq!(same(was, should_be), same(is, must_be), "{packet:?}");
    }

    // Hardware adds to what is there.
    let mut pseudo = before.clone();
    change.apply(&mut pseudo, Checksum::Pseudo).unwrap();
    assert_eq!(word(&pseudo, tcp + 16), word(&before, tcp + 16));
    pseudo[tcp + 16..tcp + 18].copy_from_slice(&after[tcp + 16..tcp + 18]);
    assert_eq!(pseudo, after);

    named(&change, &packet, &before, &after);
    back(&input, &change, &packet, &before, after);
});

/// Everything named has its new value, and nothing else has changed.
fn named(change: &Rewrite, packet: &Packet, before: &[u8], after: &[u8]) {
    let read = Packet::parse(after, after.len()).unwrap();
    let mut expected = *packet;
    let segment = &mut expected.segment;
    segment.seq = change.seq.unwrap_or(segment.seq);
    segment.ack = change.ack.unwrap_or(segment.ack);
    segment.window = change.window.unwrap_or(segment.window);
    if change.clear_ae {
        segment.flags = segment.flags.without(Flags::AE);
    }
    if change.clear_fin {
        segment.flags = segment.flags.without(Flags::FIN);
    }
    if let Some(timestamps) = &mut segment.options.timestamps {
        timestamps.tsval = change.tsval.unwrap_or(timestamps.tsval);
        timestamps.tsecr = change.tsecr.unwrap_or(timestamps.tsecr);
    }
    segment.options.fast_open &= !change.blank.fast_open;
    segment.options.mptcp &= !change.blank.mptcp;
    let edges = |packet: &Packet| packet.segment.options.sack.iter().collect::<Vec<_>>();
    let moved = |edge| match change.sack {
        SackRewrite::Back(delta) => edge - delta,
        SackRewrite::Forward(delta) => edge + delta,
        SackRewrite::Keep | SackRewrite::Blank => edge,
    };
    let sack = if change.sack == SackRewrite::Blank {
        vec![]
    } else {
        let both = |(left, right)| (moved(left), moved(right));
        edges(packet).into_iter().map(both).collect()
    };
    assert_eq!(edges(&read), sack);
    expected.segment.options.sack = read.segment.options.sack;
    assert_eq!(read, expected);

    let tcp = packet.ip_header_len;
    let list = tcp + 20..packet.header_len();
    assert_eq!(before[..tcp + 4], after[..tcp + 4], "IP header or ports");
    assert_eq!(before[tcp + 18..list.start], after[tcp + 18..list.start]);
    assert_eq!(before[list.end..], after[list.end..], "payload");
    // Between the options nothing changes, nor in those that are not looked at.
    let mut touched = vec![false; list.len()];
    for option in options(&before[list.clone()]) {
        let end = option.at + 2 + option.body.len();
        if matches!(option.kind, 5 | 8 | 30 | 34 | 254) {
            touched[option.at..end].fill(true);
        }
    }
    for (at, touched) in list.zip(touched) {
        assert!(touched || before[at] == after[at], "byte {at}");
    }
}

/// The change back.
fn back(input: &Input<'_>, change: &Rewrite, packet: &Packet, before: &[u8], mut after: Vec<u8>) {
    let list = &before[packet.ip_header_len + 20..packet.header_len()];
    let timestamps = options(list)
        .iter()
        .filter(|option| option.kind == 8 && option.body.len() == 8)
        .count();
    let blanked = change.sack == SackRewrite::Blank || input.fast_open || input.mptcp;
    // Of two timestamps the values before cannot be told from one of them.
    if blanked || change.clear_ae || change.clear_fin || timestamps > 1 {
        return;
    }
    let segment = &packet.segment;
    let inverse = Rewrite {
        seq: Some(segment.seq),
        ack: Some(segment.ack),
        window: Some(segment.window),
        tsval: segment.options.timestamps.map(|ts| ts.tsval),
        tsecr: segment.options.timestamps.map(|ts| ts.tsecr),
        sack: input.sack.inverse(),
        ..Rewrite::default()
    };
    inverse.apply(&mut after, Checksum::Full).unwrap();
    // The two zeros of one's complement are told apart only where the checksum was right.
    let at = packet.ip_header_len + 16;
    let zero = |check| matches!(check, 0 | 0xffff);
    if zero(word(before, at)) && zero(word(&after, at)) {
        after[at..at + 2].copy_from_slice(&before[at..at + 2]);
    }
    assert_eq!(after, before);
}
