// SPDX-License-Identifier: GPL-2.0

//! When the primary hears what a shadow has. A client asks, the server answers, and the client goes on at once, or when it is acknowledged.

mod script;

use script::{c, ms, p, plain_open, s, seg, syn_ack, Script, SHADOW};
use std::time::Duration;
use sttcp::{
    actions::Actions, message::Record, node::Predecessor, seq::SeqNumber, shadow::Shadow,
    time::Instant,
};

/// The length of an answer.
const ANSWER: u32 = 10;

/// How long the client takes from one request to the next, and how long news may wait.
const TURN: Duration = Duration::from_micros(100);
const DELAY: Duration = Duration::from_millis(1);

/// A shadow, its client and its server.
struct World {
    shadow: Shadow,
    now: Instant,
    /// Bytes of the client, and of the server.
    asked: u32,
    answered: u32,
    /// What the primary was told last, and how often it was.
    told: SeqNumber,
    records: u32,
}

impl World {
    fn new() -> Self {
        let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
        shadow.on_output(&syn_ack(SHADOW), ms(0));
        // The third segment of the handshake has done its work.
        shadow.on_delivered(c(0), ms(0));
        Self {
            shadow,
            now: ms(1),
            asked: 0,
            answered: 0,
            told: c(0),
            records: 0,
        }
    }

    fn hears(&mut self, record: Option<Record>) {
        if let Some(Record::Progress(progress)) = record {
            self.told = progress.rcv_nxt;
            self.records += 1;
        }
    }

    /// The client has heard all, and sends so many bytes; the server answers.
    fn asks(&mut self, len: u32) {
        let request = seg(c(self.asked), p(self.answered)).data(len);
        self.shadow.on_client(&request, self.now);
        self.asked += len;
        let record = self.shadow.on_delivered(c(self.asked), self.now);
        self.hears(record);
        let answer = seg(s(self.answered), c(self.asked)).data(ANSWER);
        let (_, Actions { record, .. }) = self.shadow.on_output(&answer, self.now);
        self.answered += ANSWER;
        self.hears(record);
    }

    fn passes(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(at) = self.shadow.poll_at().filter(|at| *at <= until) {
            self.now = at;
            let record = self.shadow.poll(at).record;
            self.hears(record);
        }
        self.now = until;
    }

    fn has_told_all(&self) -> bool {
        self.told == c(self.asked)
    }

    /// The client asks, and asks again when what it said is acknowledged (Nagle): how long that takes.
    fn asks_and_waits(&mut self) -> Duration {
        let began = self.now;
        self.asks(100);
        self.passes(TURN);
        while !self.has_told_all() {
            self.passes(TURN);
        }
        self.now.since(began)
    }
}

#[test]
fn news_waits_a_millisecond() {
    let mut world = World::new();
    world.asks(100);
    world.passes(DELAY - TURN);
    assert_eq!(world.records, 0);
    world.passes(TURN);
    assert!(world.has_told_all());
    world.passes(10 * DELAY);
    assert_eq!(world.records, 1);
}

#[test]
fn client_that_goes_on_costs_one_word_in_a_millisecond() {
    let mut world = World::new();
    for _ in 0..1000 {
        world.asks(100);
        world.passes(TURN);
    }
    world.passes(DELAY);
    assert!(world.has_told_all());
    // Ten requests in each, or eleven.
    assert!((90..=101).contains(&world.records), "{}", world.records);
}

#[test]
fn client_that_waits_is_seldom_kept_waiting() {
    let mut world = World::new();
    let slow = (0..10_000).filter(|_| world.asks_and_waits() > TURN);
    // Twice as seldom each time, until once in a thousand.
    assert!((10..=20).contains(&slow.count()));
    assert!(world.has_told_all());
}

#[test]
fn wait_in_vain_counts_whoever_finds_it_over() {
    let mut world = World::new();
    world.asks(100);
    // The timer is late, and the server says something first.
    world.now = world.now.after(2 * DELAY);
    let more = seg(s(world.answered), c(world.asked)).data(ANSWER);
    let (_, Actions { record, .. }) = world.shadow.on_output(&more, world.now);
    world.answered += ANSWER;
    world.hears(record);
    assert!(world.has_told_all());
    world.asks(100);
    assert!(world.has_told_all());
}

#[test]
fn client_that_is_silent_for_a_while_goes_on_as_before() {
    let mut world = World::new();
    for _ in 0..10 {
        world.asks(100);
        world.passes(100 * DELAY);
    }
    // It has said nothing more after each of the tries, and is told of at once for a while.
    let before = world.records;
    for _ in 0..100 {
        world.asks(100);
        world.passes(TURN);
    }
    assert!((15..=40).contains(&(world.records - before)));
}

#[test]
fn two_segments_are_told_at_once() {
    let mut world = World::new();
    world.asks(1460);
    assert_eq!(world.records, 0);
    world.asks(1460);
    assert!(world.has_told_all());
    world.asks(2920);
    assert!(world.has_told_all());
    world.passes(10 * DELAY);
    assert_eq!(world.records, 2);
}

#[test]
fn question_is_answered_at_once() {
    let mut world = World::new();
    world.asks(100);
    let record = world.shadow.on_query();
    world.hears(record);
    assert!(world.has_told_all());
    world.passes(10 * DELAY);
    assert_eq!(world.records, 1);
    // And so is what it may have been about.
    world.asks(100);
    assert!(world.has_told_all());
    world.asks(100);
    assert!(!world.has_told_all());
}

#[test]
fn end_of_the_servers_stream_waits_too() {
    let mut world = World::new();
    let fin = seg(s(0), c(0)).fin();
    assert_eq!(world.shadow.on_output(&fin, world.now).1.record, None);
    world.passes(DELAY);
    assert_eq!(world.records, 1);
}

#[test]
fn what_has_waited_is_of_no_use_after_a_takeover() {
    let mut world = World::new();
    world.asks(100);
    let actions = world.shadow.take_over(world.now, Predecessor::default());
    assert_eq!(actions.record, None);
    world.passes(10 * DELAY);
    assert_eq!(world.records, 0);

    let mut world = World::new();
    world.asks(100);
    let actions = world.shadow.doom(world.now);
    assert_eq!(actions.record, None);
    for _ in 0..10 {
        world.now = world.now.after(DELAY);
        assert_eq!(world.shadow.poll(world.now).record, None);
    }
}
