// SPDX-License-Identifier: GPL-2.0

//! Two servers that say the same, and two that do not.

mod common;
mod script;

use proptest::{collection::vec, option, prelude::*};
use script::{
    c, flow, ms, p, plain_open, s, seg, syn, syn_ack, Script, CLIENT, ID, PRIMARY, SHADOW,
};
use sttcp::{
    actions::Actions,
    config::Refusal,
    counters::Counter,
    digest::{Difference, Divergence, Mark, Word},
    message::{Progress, Record},
    node::{Peer, Predecessor},
    primary::{Moves, Terms, STALL_TIMEOUT},
    seq::SeqNumber,
    side::{open, Side},
    time::Instant,
    verdict::Inbound,
    wire::{Flags, Segment},
};

/// One host, and the server on it.
struct Host {
    side: Side,
    /// Where the server's byte 0 is.
    first: SeqNumber,
    said: u32,
    /// The byte that is wrong.
    lie: Option<u32>,
    found: Vec<Difference>,
    /// What it has told its peer unasked.
    told: Vec<Record>,
}

fn primary() -> Host {
    let mut side = Side::from_syn(ID, flow(), &syn(CLIENT), Terms::default(), ms(0)).unwrap();
    side.on_output(&syn_ack(PRIMARY), ms(0));
    side.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    let progress = Progress {
        id: ID,
        rcv_nxt: c(0),
        snd_nxt: p(0),
        edge: c(1 << 20),
        fin: false,
    };
    side.on_record(&Record::Progress(progress), ms(0));
    host(side, p(0))
}

fn shadow() -> Host {
    let mut side = open(None, &plain_open(), ms(0)).shadow.unwrap();
    side.on_output(&syn_ack(SHADOW), ms(0));
    host(side, s(0))
}

fn host(side: Side, first: SeqNumber) -> Host {
    Host {
        side,
        first,
        said: 0,
        lie: None,
        found: vec![],
        told: vec![],
    }
}

/// What both servers say.
fn byte(at: u32) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 24) as u8
}

impl Host {
    /// The server's bytes from `from` on leave the stack.
    fn send(&mut self, from: u32, segment: Segment, now: Instant) {
        let lie = self.lie;
        let sum = |sum: u32, offset: u32, len: u32| {
            (from + offset..from + offset + len).fold(sum, |sum, at| {
                let byte = byte(at) ^ u8::from(lie == Some(at));
                (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            })
        };
        let actions = self
            .side
            .digest(true, &segment, sum, now)
            .unwrap_or_default();
        self.found.extend(actions.diverged);
        self.told.extend(actions.record);
        self.side.on_output(&segment, now);
        self.said = self.said.max(from + segment.payload_len);
    }

    /// It says `len` bytes more, and `again` bytes before them once more.
    fn say(&mut self, again: u32, len: u32, now: Instant) {
        let from = self.said.saturating_sub(again);
        let len = len + self.said - from;
        self.send(from, seg(self.first + from, c(0)).data(len), now);
    }

    fn hear(&mut self, record: &Record, now: Instant) -> Option<Record> {
        let actions = self.side.on_record(record, now);
        self.found.extend(actions.diverged);
        actions.record
    }
}

/// The primary asks, if it is time, and is answered.
fn ask(primary: &mut Host, shadow: &mut Host, arrives: (bool, bool), now: Instant) -> bool {
    let actions = primary.side.poll(now, STALL_TIMEOUT, None);
    let Some(question) = actions.and_then(|actions| actions.record) else {
        return false;
    };
    assert!(matches!(question, Record::Compare(..)));
    if arrives.0 {
        let answer = shadow.hear(&question, now).unwrap();
        if arrives.1 {
            assert_eq!(primary.hear(&answer, now), None);
        }
    }
    true
}

fn at(host: &Host) -> Option<(u32, u32)> {
    host.side.difference()
}

fn compare(word: Word) -> Record {
    Record::Compare(ID, word)
}

#[test]
fn words_of_the_control() {
    for divergence in [Divergence::Ignore, Divergence::Warn, Divergence::Reset] {
        assert_eq!(Divergence::parse(divergence.name()), Ok(divergence));
    }
    assert_eq!(Divergence::parse("Warn"), Err(Refusal::UnknownWord));
    assert_eq!(Divergence::default(), Divergence::Warn);
}

#[test]
fn shadow_behind_finds_the_difference_when_it_comes_to_the_place() {
    let (mut primary, mut shadow) = (primary(), shadow());
    shadow.lie = Some(70);
    primary.say(0, 100, ms(0));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(99)));
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(100)));
    shadow.say(0, 60, ms(110));
    assert_eq!((at(&primary), at(&shadow)), (None, None));
    shadow.say(0, 60, ms(110));
    assert_eq!(at(&shadow), Some((0, 100)));
    // It is counted once here, and once there.
    assert_eq!(shadow.found.len(), 1);
    assert_eq!(at(&primary), None);
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(200)));
    assert_eq!(at(&primary), Some((0, 100)));
    assert_eq!((primary.found.len(), shadow.found.len()), (1, 1));
    // The backup has heard that the primary knows, and that is all.
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(205)));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(10_000)));
}

#[test]
fn shadow_tells_at_once_what_it_finds() {
    let (mut primary, mut shadow) = (primary(), shadow());
    shadow.lie = Some(70);
    primary.say(0, 100, ms(0));
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(100)));
    assert_eq!(shadow.told, []);
    shadow.say(0, 120, ms(110));
    let told = shadow.told.pop().unwrap();
    assert_eq!(primary.hear(&told, ms(111)), None);
    assert_eq!(at(&primary), Some((0, 100)));
    // Whether the backup has heard that the primary knows is asked once.
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(111)));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(10_000)));
    assert_eq!((primary.found.len(), shadow.found.len()), (1, 1));
    assert_eq!((primary.told, shadow.told), (vec![], vec![]));
}

#[test]
fn primary_behind_finds_it_and_says_so_until_it_is_heard() {
    let (mut primary, mut shadow) = (primary(), shadow());
    shadow.lie = Some(150);
    shadow.say(0, 200, ms(0));
    primary.say(0, 100, ms(0));
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(100)));
    primary.say(0, 150, ms(150));
    assert_eq!(at(&primary), Some((0, 200)));
    assert_eq!(at(&shadow), None);
    assert!(ask(&mut primary, &mut shadow, (false, false), ms(150)));
    assert!(ask(&mut primary, &mut shadow, (true, false), ms(250)));
    assert_eq!(at(&shadow), Some((0, 200)));
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(450)));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(10_000)));
    assert_eq!((primary.found.len(), shadow.found.len()), (1, 1));
}

#[test]
fn what_was_the_same_is_told_with_the_difference() {
    let (mut primary, mut shadow) = (primary(), shadow());
    shadow.lie = Some(120);
    primary.say(0, 100, ms(0));
    shadow.say(0, 100, ms(0));
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(100)));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(10_000)));
    primary.say(0, 50, ms(10_000));
    shadow.say(0, 50, ms(10_000));
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(10_100)));
    assert_eq!(at(&shadow), Some((100, 150)));
    assert_eq!(at(&primary), Some((100, 150)));
}

#[test]
fn one_that_stays_behind_is_asked_ever_more_seldom() {
    let (mut primary, mut shadow) = (primary(), shadow());
    primary.say(0, 100, ms(0));
    let mut asked = vec![];
    for now in 0..20_000 {
        if ask(&mut primary, &mut shadow, (true, true), ms(now)) {
            asked.push(now);
        }
    }
    assert_eq!(
        asked,
        [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 19_200]
    );
    // The server speaks, and the next question is soon.
    primary.say(0, 1, ms(20_000));
    assert_eq!(primary.side.poll_at(), Some(ms(20_100)));
}

#[test]
fn nothing_is_compared_unless_both_hosts_do() {
    let (mut primary, mut shadow) = (primary(), shadow());
    shadow.lie = Some(1);
    primary.say(0, 10, ms(0));
    let segment = seg(s(0), c(0)).data(10);
    let sum = |_, _, _| panic!("nobody wants that");
    assert!(shadow.side.digest(false, &segment, sum, ms(0)).is_none());
    assert!(ask(&mut primary, &mut shadow, (true, true), ms(100)));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(10_000)));
    // Nor later: what was said is not known.
    primary.say(0, 10, ms(10_000));
    shadow.say(0, 20, ms(10_000));
    assert!(!ask(&mut primary, &mut shadow, (true, true), ms(20_000)));
    assert_eq!((at(&primary), at(&shadow)), (None, None));
    assert_eq!(shadow.hear(&compare(Word::None), ms(20_000)), {
        Some(Record::Compared(ID, Word::None))
    });
}

#[test]
fn bytes_that_went_by_unseen_end_the_comparison() {
    let mut shadow = shadow();
    shadow.send(10, seg(s(10), c(0)).data(10), ms(0));
    let answer = Some(Record::Compared(ID, Word::None));
    assert_eq!(shadow.hear(&compare(Word::None), ms(1)), answer);
}

#[test]
fn handshake_fin_and_reset_are_no_bytes() {
    let mut host = primary();
    host.say(0, 10, ms(0));
    host.send(10, seg(p(10), c(0)).flag(Flags::FIN), ms(0));
    host.send(11, seg(p(11), c(0)).flag(Flags::RST), ms(0));
    let asks = host.side.poll(ms(100), STALL_TIMEOUT, None).unwrap();
    let Some(Record::Compare(ID, Word::So(mark))) = asks.record else {
        panic!("{asks:?}");
    };
    assert_eq!(mark.at, p(10));
}

#[test]
fn difference_is_for_the_takeover_to_reset_if_it_is_told_so() {
    let before = |strict| Predecessor {
        strict,
        ..Predecessor::default()
    };
    let diverged = || {
        let mut host = shadow();
        host.say(0, 10, ms(0));
        host.hear(
            &compare(Word::So(Mark {
                at: p(10),
                sum: 12_345,
            })),
            ms(1),
        );
        assert_eq!(at(&host), Some((0, 10)));
        host.side
    };
    let mut side = diverged();
    let actions = side.take_over(|| ID, ms(2), before(false));
    assert_eq!(actions.count, Some(Counter::TakeoverContinued));
    assert!(side.is_migrated());

    let mut side = diverged();
    let actions = side.take_over(|| ID, ms(2), before(true));
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::TakeoverDiverged), None)
    );
    assert!(actions.send.unwrap().flags.contains(Flags::RST));
    assert!(actions.inject.unwrap().flags.contains(Flags::RST));
    assert!(!side.is_migrated() && !actions.flush_held);
    // The client has heard less than that, and challenges the reset: it gets one that it believes, as often as it asks.
    for at in [3, 7] {
        let (inbound, actions) = side.on_client(&seg(c(0), p(at)), Peer::Absent, ms(3));
        assert_eq!(inbound, Inbound::Ignore);
        let reset = actions.send.unwrap();
        assert_eq!((reset.flags, reset.seq), (Flags::RST, p(at)));
    }
    // The reset for the local socket passes.
    let reset = seg(c(0), p(0)).flag(Flags::RST);
    let (inbound, actions) = side.on_client(&reset, Peer::Absent, ms(3));
    assert!(matches!(inbound, Inbound::Pass(_)) && actions.send.is_none());

    let mut same = shadow();
    same.say(0, 10, ms(0));
    let actions = same.side.take_over(|| ID, ms(2), before(true));
    assert_eq!(actions.count, Some(Counter::TakeoverContinued));
}

#[test]
fn switchover_that_would_reset_it_is_refused() {
    let mut host = primary();
    host.say(0, 10, ms(0));
    assert_eq!(host.side.moves(true), Moves::Now);
    let difference = Difference {
        from: p(0),
        to: p(10),
    };
    let answer = Record::Compared(ID, Word::Diverged(difference));
    assert_eq!(
        host.side.on_record(&answer, ms(1)),
        Actions {
            diverged: Some(difference),
            ..Actions::default()
        }
    );
    assert_eq!(host.side.moves(true), Moves::Never);
    assert_eq!(host.side.moves(false), Moves::Now);
}

#[derive(Clone, Debug)]
enum Step {
    Primary { again: u32, len: u32 },
    Shadow { again: u32, len: u32 },
    Ask { arrives: (bool, bool) },
    Tick { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let say = || (0u32..300, 1u32..2000);
    prop_oneof![
        say().prop_map(|(again, len)| Step::Primary { again, len }),
        say().prop_map(|(again, len)| Step::Shadow { again, len }),
        any::<(bool, bool)>().prop_map(|arrives| Step::Ask { arrives }),
        (1u64..300).prop_map(|millis| Step::Tick { millis }),
    ]
}

proptest! {
    /// However the two cut what they say, and whatever is lost: a difference is found on both hosts, between the right places, and none otherwise.
    #[test]
    fn difference_is_found_and_nothing_else(
        steps in vec(step(), 0..60),
        lie in option::of(0u32..30_000),
        lies_here in any::<bool>(),
    ) {
        let (mut primary, mut shadow) = (primary(), shadow());
        (if lies_here { &mut primary } else { &mut shadow }).lie = lie;
        let mut now = 0;
        for step in steps {
            match step {
                Step::Primary { again, len } => primary.say(again, len, ms(now)),
                Step::Shadow { again, len } => shadow.say(again, len, ms(now)),
                Step::Ask { arrives } => {
                    ask(&mut primary, &mut shadow, arrives, ms(now));
                }
                Step::Tick { millis } => now += millis,
            }
            for host in [&primary, &shadow] {
                if let Some((from, to)) = at(host) {
                    prop_assert!(lie.is_some_and(|lie| (from..to).contains(&lie)));
                }
            }
        }
        // Both come to the same end.
        let end = primary.said.max(shadow.said) + 1;
        for host in [&mut primary, &mut shadow] {
            host.say(0, end - host.said, ms(now));
        }
        for _ in 0..1000 {
            now += 20;
            ask(&mut primary, &mut shadow, (true, true), ms(now));
        }
        for host in [&primary, &shadow] {
            let lied = lie.is_some_and(|lie| lie < end);
            prop_assert_eq!(at(host).is_some(), lied);
            prop_assert_eq!(host.found.len(), usize::from(lied));
        }
    }
}
