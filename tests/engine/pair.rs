// SPDX-License-Identifier: GPL-2.0

//! A primary's connection and its shadow, driven together.
//!
//! ```text
//!             ┌────────────┐   segments   ┌─────────┐
//!  client ────┤ Connection ├──────────────┤ stack   │  primary
//!         │   └─────┬──────┘              └─────────┘
//!         │         │ records, some lost
//!     tap │   ┌─────┴──────┐  translated  ┌─────────┐
//!         └───┤   Shadow   ├──────────────┤ stack   │  backup
//!             └────────────┘              └─────────┘
//! ```
//!
//! Any segment, tapped frame, record or datagram with bytes may be lost. The two stacks take bytes in order, and are ahead of each other as
//! chance has it.

mod common;
mod script;

use proptest::{collection::vec, prelude::*};
use script::{flow, ms, seg, seq, syn, Script, ID};
use std::collections::VecDeque;
use sttcp::{
    actions::Actions,
    message::{Bytes, Close, Record},
    node::{Peer, Predecessor},
    primary::{Connection, State, Terms, STALL_TIMEOUT},
    seq::SeqNumber,
    shadow::Shadow,
    time::Instant,
    verdict::{Inbound, Outbound},
    wire::{Flags, Segment},
};

/// The window that both stacks and the client keep open.
const WINDOW: u16 = 30_000;

#[derive(Clone, Debug)]
enum Step {
    /// The client sends `len` bytes from `back` bytes before its end on, but nothing acknowledged, and acknowledges what it has.
    Client {
        back: u32,
        len: u32,
        arrives: bool,
        tapped: bool,
    },
    /// The primary's stack sends `len` bytes, or an acknowledgement.
    Primary { len: u32, arrives: bool },
    /// The shadow's stack sends `len` new bytes, or an acknowledgement.
    Shadow { len: u32 },
    /// The shadow's stack sends everything that is not acknowledged again.
    Retransmit,
    /// The oldest record to the backup.
    ToBackup { arrives: bool },
    /// The oldest record to the primary.
    ToPrimary { arrives: bool },
    /// The oldest datagram with bytes.
    Bytes { arrives: bool },
    /// Time goes by.
    Tick { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![Just(0_u32), 1..3000_u32];
    let mostly = || prop::bool::weighted(0.8);
    prop_oneof![
        4 => (0..4000_u32, len(), mostly(), mostly()).prop_map(|(back, len, arrives, tapped)| {
            Step::Client { back, len, arrives, tapped }
        }),
        3 => (len(), mostly()).prop_map(|(len, arrives)| Step::Primary { len, arrives }),
        3 => len().prop_map(|len| Step::Shadow { len }),
        1 => Just(Step::Retransmit),
        2 => mostly().prop_map(|arrives| Step::ToBackup { arrives }),
        3 => mostly().prop_map(|arrives| Step::ToPrimary { arrives }),
        2 => mostly().prop_map(|arrives| Step::Bytes { arrives }),
        2 => (1..15_u64).prop_map(|millis| Step::Tick { millis }),
    ]
}

/// One end's bytes, counted from 0.
#[derive(Debug, Default)]
struct Counts {
    /// Taken in order.
    rcv: u32,
    /// Sent.
    out: u32,
    /// Acknowledged by the other side.
    una: u32,
}

#[derive(Debug)]
struct World {
    /// The first byte's number: the client's, the primary's, the shadow's.
    first: [SeqNumber; 3],
    millis: u64,
    connection: Connection,
    shadow: Option<Shadow>,
    client: Counts,
    primary: Counts,
    backup: Counts,
    /// Client bytes that the shadow's stack acknowledged.
    backup_told: u32,
    /// Server bytes that the client acknowledged: in any segment, and in a tapped one that the shadow's stack does not drop as old.
    client_ack: u32,
    tapped_ack: u32,
    /// The right edge of the window that the client was told.
    edge: Option<SeqNumber>,
    /// Client bytes that a record which arrived said the shadow has.
    reported: u32,
    to_backup: VecDeque<Record>,
    to_primary: VecDeque<Record>,
    held: Vec<Segment>,
    /// What the primary holds until there is a shadow.
    awaiting: Vec<Segment>,
    /// Copies of the client's segments on the primary, from and to.
    retained: Vec<(u32, u32)>,
    /// Those on their way to the backup.
    bytes: VecDeque<(u32, u32)>,
}

impl World {
    /// The handshake is through, and its third segment told the primary to say `Open`.
    fn new(isns: [u32; 3]) -> Self {
        let [client, primary, _] = isns;
        let mut connection =
            Connection::from_syn(ID, flow(), &syn(client), Terms::default(), ms(0)).unwrap();
        let answer = Segment {
            ack: seq(client) + 1,
            flags: Flags::SYN | Flags::ACK,
            window: WINDOW,
            ..syn(primary)
        };
        connection.on_syn_ack(&answer, ms(0));
        let mut world = Self {
            first: isns.map(|isn| seq(isn) + 1),
            millis: 0,
            connection,
            shadow: None,
            client: Counts::default(),
            primary: Counts::default(),
            backup: Counts::default(),
            backup_told: 0,
            client_ack: 0,
            tapped_ack: 0,
            edge: None,
            reported: 0,
            to_backup: VecDeque::new(),
            to_primary: VecDeque::new(),
            held: vec![],
            awaiting: vec![],
            retained: vec![],
            bytes: VecDeque::new(),
        };
        world.client_sends(0, 0, true, false);
        assert_eq!(world.connection.state(), State::Opening);
        world
    }

    fn now(&self) -> Instant {
        ms(self.millis)
    }

    fn c(&self, at: u32) -> SeqNumber {
        self.first[0] + at
    }

    fn p(&self, at: u32) -> SeqNumber {
        self.first[1] + at
    }

    fn s(&self, at: u32) -> SeqNumber {
        self.first[2] + at
    }

    fn gated(&self) -> bool {
        matches!(self.connection.state(), State::Opening | State::Protected)
    }

    fn is_speaking(&self) -> bool {
        self.shadow.as_ref().is_some_and(Shadow::is_speaking)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Client {
                back,
                len,
                arrives,
                tapped,
            } => self.client_sends(back, len, arrives && !self.is_speaking(), tapped),
            Step::Primary { .. } if self.is_speaking() => {}
            Step::Primary { len, arrives } => self.primary_sends(len, arrives),
            Step::Shadow { len } => self.shadow_sends(self.backup.out, len),
            Step::Retransmit => {
                self.shadow_sends(self.backup.una, self.backup.out - self.backup.una);
            }
            Step::ToBackup { arrives } => {
                if let Some(record) = self.to_backup.pop_front().filter(|_| arrives) {
                    self.backup_hears(&record);
                }
            }
            Step::ToPrimary { arrives } => {
                if let Some(record) = self.to_primary.pop_front().filter(|_| arrives) {
                    self.primary_hears(&record);
                }
            }
            Step::Bytes { arrives } => {
                if let Some(span) = self.bytes.pop_front().filter(|_| arrives) {
                    self.backup_takes(span);
                }
            }
            Step::Tick { millis } => self.tick(millis),
        }
    }

    /// Carries out what the primary's connection wants.
    fn obey(&mut self, actions: Actions) {
        self.to_backup.extend(actions.record);
        if let Some(end) = actions.release_retained {
            let end = end.since(self.c(0)) as u32;
            self.retained.retain(|span| span.1 > end);
        }
        let mut resend = actions.resend;
        while let Some(span) = resend {
            let (mut at, end) = (
                span.start.since(self.c(0)) as u32,
                span.end.since(self.c(0)) as u32,
            );
            assert!(end <= self.primary.rcv, "not accepted yet");
            while at < end {
                let copy = self
                    .retained
                    .iter()
                    .find(|copy| copy.0 <= at && at < copy.1);
                let to = copy.unwrap_or_else(|| panic!("no copy of {at}")).1.min(end);
                self.bytes.push_back((at, to));
                at = to;
            }
            resend = self.connection.resend_next();
        }
        if actions.flush_held {
            assert_ne!(self.connection.state(), State::Opening);
            for segment in std::mem::take(&mut self.awaiting) {
                self.primary_emits(&segment, true);
            }
        }
        if let Some(ack) = actions.send {
            assert_eq!(ack.seq, self.p(self.primary.out));
            self.client_gets(&ack);
        }
    }

    fn backup_takes(&mut self, (start, end): (u32, u32)) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        let payload = vec![0; (end - start) as usize];
        let (inject, answer) = shadow.on_bytes(&Bytes {
            id: ID,
            seq: self.first[0] + start,
            fin: false,
            payload: &payload,
        });
        self.to_primary.extend(answer);
        if let Some(segment) = inject {
            self.shadow_gets(&segment);
        }
    }

    fn client_sends(&mut self, back: u32, len: u32, arrives: bool, tapped: bool) {
        let start = self.client.out - back.min(self.client.out - self.client.una);
        let end = (start + len)
            .min(self.client.una + u32::from(WINDOW))
            .max(start);
        self.client.out = self.client.out.max(end);
        let segment = seg(self.c(start), self.p(self.client.rcv))
            .data(end - start)
            .window(WINDOW);
        self.client_ack = self.client.rcv;
        if arrives {
            let actions = self
                .connection
                .on_client(&segment, Peer::Joined, self.now());
            if actions.retain {
                self.retained.push((start, end));
            }
            self.obey(actions);
            if start <= self.primary.rcv {
                self.primary.rcv = self.primary.rcv.max(end);
            }
        }
        if tapped && self.shadow.is_some() {
            if end >= self.backup_told {
                self.tapped_ack = self.tapped_ack.max(self.client.rcv);
            }
            self.shadow_gets(&segment);
        }
    }

    /// A segment of the client, tapped or injected, passes the shadow and reaches its stack.
    fn shadow_gets(&mut self, segment: &Segment) {
        let now = self.now();
        let (inbound, actions) = self.shadow.as_mut().unwrap().on_client(segment, now);
        self.carry_out(actions);
        let Inbound::Pass(rewrite) = inbound else {
            panic!("{inbound:?}");
        };
        // A stack drops what acknowledges more than it has sent (tcp_ack), bytes and all.
        let ack = rewrite.ack.unwrap();
        assert!(ack <= self.s(self.backup.out), "{segment:?} {rewrite:?}");
        assert_eq!(rewrite.seq, None);
        self.backup.una = self
            .backup
            .una
            .max(u32::try_from(ack.since(self.s(0))).unwrap());
        if segment.seq <= self.c(self.backup.rcv) && segment.end() > self.c(self.backup.rcv) {
            self.backup.rcv = segment.end().since(self.c(0)) as u32;
            let rcv_nxt = self.c(self.backup.rcv);
            let record = self.shadow.as_mut().unwrap().on_delivered(rcv_nxt, now);
            self.to_primary.extend(record);
        }
    }

    fn primary_sends(&mut self, len: u32, arrives: bool) {
        let segment = seg(self.p(self.primary.out), self.c(self.primary.rcv))
            .data(len)
            .window(WINDOW);
        self.primary.out += len;
        self.primary_emits(&segment, arrives);
    }

    fn primary_emits(&mut self, segment: &Segment, arrives: bool) {
        let opening = self.connection.state() == State::Opening;
        let (verdict, actions) = self.connection.on_server(segment, self.now());
        self.obey(actions);
        match verdict {
            Outbound::Send(rewrite) => {
                assert_eq!(rewrite.seq, None);
                assert!(!opening || segment.is_empty(), "nobody could go on");
                let seen = Segment {
                    ack: rewrite.ack.unwrap_or(segment.ack),
                    window: rewrite.window.unwrap_or(segment.window),
                    ..*segment
                };
                if arrives {
                    self.client_gets(&seen);
                }
            }
            Outbound::Hold(start, end) => {
                assert!(opening);
                assert_eq!((start, end), (segment.seq, segment.end()));
                self.awaiting.push(*segment);
            }
            Outbound::Swallow => assert!(segment.is_empty()),
            Outbound::SendAnyway(_) => unreachable!("no SYN-ACK"),
        }
    }

    fn client_gets(&mut self, segment: &Segment) {
        // A stack drops what lies wholly before its window, acknowledgement and all (tcp_sequence).
        if segment.end() < self.p(self.client_ack) {
            return;
        }
        let acked = u32::try_from(segment.ack.since(self.c(0))).unwrap();
        if self.is_speaking() {
            assert!(acked <= self.backup.rcv);
        } else {
            if self.gated() {
                assert!(acked <= self.reported, "{acked} of {}", self.reported);
            }
            let edge = segment.ack + u32::from(segment.window);
            assert!(
                self.edge.is_none_or(|before| edge >= before),
                "shrunk: {segment:?}"
            );
            self.edge = Some(edge);
        }
        assert!(acked <= self.client.out);
        self.client.una = self.client.una.max(acked);
        if segment.seq <= self.p(self.client.rcv) && segment.end() > self.p(self.client.rcv) {
            self.client.rcv = segment.end().since(self.p(0)) as u32;
        }
    }

    fn shadow_sends(&mut self, start: u32, len: u32) {
        if self.shadow.is_none() {
            return;
        }
        let segment = seg(self.s(start), self.c(self.backup.rcv))
            .data(len)
            .window(WINDOW);
        let end = start + len;
        self.backup.out = self.backup.out.max(end);
        self.backup_told = self.backup.rcv;
        let now = self.now();
        let (outbound, actions) = self.shadow.as_mut().unwrap().on_output(&segment, now);
        match outbound {
            Outbound::Hold(from, to) => {
                assert!(!self.is_speaking());
                assert_eq!((from, to), (self.p(start), self.p(end)));
                self.held.push(segment);
            }
            Outbound::Send(rewrite) => {
                assert!(self.is_speaking());
                // The client's numbers, all of them; an acknowledgement goes where the client takes it.
                let behind = self.backup.out < self.tapped_ack;
                let at = if behind && len == 0 {
                    self.tapped_ack
                } else {
                    start
                };
                assert_eq!(rewrite.seq, Some(self.p(at)));
                assert_eq!(rewrite.ack, None);
                let seen = Segment {
                    seq: self.p(at),
                    ..segment
                };
                self.client_gets(&seen);
            }
            Outbound::SendAnyway(_) => unreachable!("no SYN-ACK"),
            Outbound::Swallow => {
                assert!(!self.is_speaking() || end <= self.tapped_ack && len > 0);
            }
        }
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Actions) {
        assert!(!actions.remove);
        self.to_primary.extend(actions.record);
        if let Some(acked) = actions.release_held {
            let shift = self.p(0).since(self.s(0)) as u32;
            self.held.retain(|segment| segment.end() + shift > acked);
        }
        if let Some(segment) = actions.inject {
            if !segment.flags.intersects(Flags::RST) {
                self.shadow_gets(&segment);
            }
        }
        if let Some(segment) = actions.send {
            self.client_gets(&segment);
        }
    }

    fn backup_hears(&mut self, record: &Record) {
        let now = self.now();
        match (record, &mut self.shadow) {
            (Record::Open(open), None) => {
                let (mut shadow, injected) = Shadow::open(open, now);
                assert!(matches!(
                    shadow.on_client(&injected, now).0,
                    Inbound::Pass(_)
                ));
                let answer = Segment {
                    seq: self.first[2] - 1,
                    ack: injected.end(),
                    flags: Flags::SYN | Flags::ACK,
                    window: WINDOW,
                    ..Segment::default()
                };
                let (outbound, actions) = shadow.on_output(&answer, now);
                assert_eq!(outbound, Outbound::Swallow);
                self.shadow = Some(shadow);
                self.carry_out(actions);
            }
            (Record::Open(_) | Record::Query(..), Some(shadow)) => {
                self.to_primary.extend(shadow.on_query());
            }
            (Record::Close(_, why), Some(shadow)) => {
                assert_eq!(*why, Close::Unprotected);
                let actions = shadow.on_close(*why, now);
                self.carry_out(actions);
            }
            (_, None) => {}
            (other, _) => panic!("{other:?}"),
        }
    }

    fn primary_hears(&mut self, record: &Record) {
        let progress = match record {
            Record::Progress(progress) => progress,
            Record::Missing(_, span) => {
                let actions = self.connection.on_missing(span);
                return self.obey(actions);
            }
            other => panic!("{other:?}"),
        };
        let rcv = u32::try_from(progress.rcv_nxt.since(self.c(0))).unwrap();
        assert!(rcv <= self.backup.rcv);
        assert!(progress.snd_nxt <= self.p(self.backup.out));
        self.reported = self.reported.max(rcv);
        let actions = self.connection.on_progress(progress, self.now());
        self.obey(actions);
    }

    fn tick(&mut self, millis: u64) {
        self.millis += millis;
        let now = self.now();
        if !self.is_speaking() && self.connection.poll_at().is_some_and(|at| at <= now) {
            let actions = self.connection.poll(now, STALL_TIMEOUT);
            self.obey(actions);
        }
        if let Some(shadow) = &mut self.shadow {
            if shadow.poll_at().is_some_and(|at| at <= now) {
                let actions = shadow.poll(now);
                self.carry_out(actions);
            }
        }
    }

    /// The primary dies; `false` if there is nothing to go on with.
    fn take_over(&mut self) -> bool {
        let now = self.now();
        if !self.gated() || self.shadow.is_none() {
            return false;
        }
        // The client still has every byte that the shadow lacks.
        assert!(self.client.una <= self.backup.rcv);
        self.to_primary.clear();
        self.to_backup.clear();
        let actions = self
            .shadow
            .as_mut()
            .unwrap()
            .take_over(now, Predecessor::default());
        assert!(self.is_speaking());

        // What is held, and only that, is what the shadow has sent and the client has not acknowledged.
        let mut covered = self.tapped_ack.min(self.backup.out);
        for segment in std::mem::take(&mut self.held) {
            let start = u32::try_from(segment.seq.since(self.s(0))).unwrap();
            let rewrite = self.shadow.as_mut().unwrap().outward_held(&segment, now);
            assert_eq!(rewrite.seq, Some(self.p(start)));
            assert_eq!(rewrite.ack, Some(self.c(self.backup.rcv)));
            assert!(start <= covered, "a hole from {covered} to {start}");
            covered = covered.max(start + segment.len());
            let seen = Segment {
                seq: self.p(start),
                ack: self.c(self.backup.rcv),
                ..segment
            };
            self.client_gets(&seen);
        }
        assert_eq!(covered, self.backup.out);
        if let Some(ack) = actions.send {
            assert_eq!(ack.ack, self.c(self.backup.rcv));
            assert_eq!(ack.seq, self.p(self.backup.out.max(self.tapped_ack)));
        }
        self.carry_out(actions);
        true
    }
}

#[test]
fn upload_across_a_takeover() {
    let mut world = World::new([1000, u32::MAX - 20, 500]);
    world.step(&Step::ToBackup { arrives: true });
    world.step(&Step::ToPrimary { arrives: true });
    assert_eq!(world.connection.state(), State::Protected);

    // The tap loses the second segment.
    for tapped in [true, false] {
        world.client_sends(0, 1000, true, tapped);
        world.primary_sends(0, true);
    }
    world.step(&Step::Tick { millis: 1 });
    world.step(&Step::ToPrimary { arrives: true });
    assert_eq!(
        (world.primary.rcv, world.backup.rcv, world.client.una),
        (2000, 1000, 1000)
    );
    assert!(world.take_over());
    assert_eq!(world.client.una, 1000);
    world.client_sends(1000, 1000, false, true);
    world.shadow_sends(0, 0);
    assert_eq!(world.client.una, 2000);
}

#[test]
fn download_across_a_takeover() {
    let mut world = World::new([1000, u32::MAX - 20, 500]);
    world.step(&Step::ToBackup { arrives: true });
    world.step(&Step::ToPrimary { arrives: true });
    // The client gets the first of three segments from the primary, and the others are lost with it.
    for (at, arrives) in [(0, true), (1, false), (2, false)] {
        world.primary_sends(1000, arrives);
        world.shadow_sends(at * 1000, 1000);
    }
    world.client_sends(0, 0, true, true);
    assert_eq!((world.client.rcv, world.held.len()), (1000, 2));
    assert!(world.take_over());
    assert_eq!(world.client.rcv, 3000);
}

#[test]
fn gap_is_filled_by_the_primary() {
    let mut world = World::new([1000, u32::MAX - 20, 500]);
    world.step(&Step::ToBackup { arrives: true });
    world.step(&Step::ToPrimary { arrives: true });
    for tapped in [true, false, true] {
        world.client_sends(0, 1000, true, tapped);
        world.primary_sends(0, true);
    }
    assert_eq!(world.backup.rcv, 1000);
    // The third segment shows that the second is missing; it is there one round trip later, and no time has gone by.
    while !world.to_primary.is_empty() || !world.bytes.is_empty() {
        world.step(&Step::ToPrimary { arrives: true });
        world.step(&Step::Bytes { arrives: true });
    }
    assert_eq!(world.backup.rcv, 2000);
}

#[test]
fn lost_tail_is_sent_after_a_tick() {
    let mut world = World::new([1000, u32::MAX - 20, 500]);
    world.step(&Step::ToBackup { arrives: true });
    world.step(&Step::ToPrimary { arrives: true });
    world.client_sends(0, 1000, true, false);
    world.primary_sends(100, true);
    assert_eq!(world.bytes.len(), 0);
    world.tick(5);
    world.step(&Step::Bytes { arrives: true });
    assert_eq!(world.backup.rcv, 1000);
}

proptest! {
    #![proptest_config(common::config(512))]

    #[test]
    fn what_the_tap_lost_is_fetched(isns: [u32; 3], before in vec(step(), 0..common::up_to(200))) {
        let mut world = World::new(isns);
        for step in &before {
            world.step(step);
        }
        // From now on the channel loses nothing, and the client says nothing more.
        for _ in 0..12 {
            world.primary_sends(0, true);
            for _ in 0..100 {
                world.step(&Step::ToBackup { arrives: true });
                world.step(&Step::ToPrimary { arrives: true });
                world.step(&Step::Bytes { arrives: true });
            }
            world.shadow_sends(world.backup.out, 0);
            world.tick(1 + u64::from(world.connection.poll_at().is_some()) * 500);
        }
        if world.gated() {
            prop_assert!(world.backup.rcv >= world.primary.rcv);
            // Only what lies behind a gap of the primary's own.
            prop_assert!(world.retained.iter().all(|copy| copy.1 > world.primary.rcv));
        }
    }

    #[test]
    fn any_traffic(isns: [u32; 3], before in vec(step(), 0..common::up_to(200)), after in vec(step(), 0..common::up_to(60))) {
        let mut world = World::new(isns);
        for step in &before {
            world.step(step);
        }
        if world.take_over() {
            for step in &after {
                world.step(step);
            }
            // The client sends again what it has no acknowledgement for, and the shadow answers: nothing is missing.
            let (out, una) = (world.client.out, world.client.una);
            world.client_sends(out - una, out - una, false, true);
            // Bytes that it has already a stack acknowledges at once (RFC 9293, section 3.10.7.4).
            world.shadow_sends(world.backup.out, 0);
            world.shadow_sends(world.backup.out, 1);
            prop_assert_eq!(world.backup.rcv, world.client.out);
            prop_assert_eq!(world.client.una, world.client.out);
        }
    }
}
