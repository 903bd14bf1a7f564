// SPDX-License-Identifier: GPL-2.0

//! A host: the engine with what surrounds it in the module (`src/node.rs`, `receive.rs`, `send.rs`, `peer.rs`, `takeover.rs`), one TCP
//! for each connection, and no kernel.

use crate::tcp::{Frame, Habits, Origin, State as Stack, Tcp};
use crate::world::Short;
use std::{collections::VecDeque, time::Duration};
use sttcp::{
    counters::Counter,
    detector::Timing,
    message::{records, Batch, Close, Gone, Header, Kind as Datagram, Open, Record, TAG_LEN},
    node::{Event, Node, Role, State},
    primary::{self, plain_handshake, Connection, ConnectionId, Socket},
    rewrite::{Checksum, Rewrite},
    seq::SeqNumber,
    shadow::{self, Inbound, Outbound, Shadow},
    time::{earliest, Instant},
    wire::{Flags, Flow, Segment},
};

/// As in the module.
const SWEEP: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(5);
const PENDING: Duration = Duration::from_secs(1);
const MAX_PENDING: usize = 128;

/// How many connections there may be.
pub const FLOWS: usize = 2;

#[derive(Debug)]
pub enum Kind {
    Primary(Connection),
    Shadow(Shadow),
    Pending(Instant),
}

#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    /// Client segments until the shadow is ready, then held output with its end in the primary's numbers.
    pub queue: Vec<(Frame, SeqNumber)>,
    /// Up to where held output was let go, primary's numbers.
    pub released: Option<SeqNumber>,
}

impl Entry {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            queue: vec![],
            released: None,
        }
    }
}

/// What a host sends.
#[derive(Debug)]
pub enum Sent {
    /// To the client of a flow.
    Frame(usize, Frame),
    /// To the other host.
    Datagram(Vec<u8>),
}

pub struct Host {
    flows: [Flow; FLOWS],
    pub stacks: [Tcp; FLOWS],
    pub node: Option<Node>,
    pub speaks: bool,
    joined: bool,
    pub entries: [Option<Entry>; FLOWS],
    /// The timer of the heartbeat, and that of what connections wait for.
    heartbeat: Instant,
    housekeeping: Instant,
    next_sweep: Instant,
    serial: u32,
    random: u64,
    batch: Batch,
    /// How many requests for memory fail from now on.
    pub short: u8,
    /// Whether one has failed.
    pub starved: bool,
    /// What the module handed to the stack (`netif_rx`).
    backlog: VecDeque<(usize, Frame)>,
    pub sent: Vec<Sent>,
    /// Which connections went on here at the last takeover.
    pub continued: [bool; FLOWS],
    pub took_over: bool,
    pub counts: Vec<Counter>,
    now: Instant,
}

impl Host {
    pub fn new(flows: [Flow; FLOWS], habits: Habits, random: u64) -> Self {
        let zero = Instant::default();
        let serial = random as u32;
        Self {
            flows,
            stacks: [Tcp::new(habits), Tcp::new(habits)],
            node: None,
            speaks: false,
            joined: false,
            entries: [None, None],
            heartbeat: zero,
            housekeeping: zero,
            next_sweep: zero,
            serial,
            random,
            batch: Batch::new(),
            short: 0,
            starved: false,
            backlog: VecDeque::new(),
            sent: vec![],
            continued: [false; FLOWS],
            took_over: false,
            counts: vec![],
            now: zero,
        }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    }

    /// `role=primary` or `role=backup`.
    pub fn start(&mut self, role: Role, epoch: u32, timing: Timing, now: Instant) {
        let session = self.random();
        self.node = Some(Node::new(role, epoch, timing, session, now));
        self.speaks = role == Role::Primary;
        self.joined = false;
        self.heartbeat = now;
        self.housekeeping = now.after(SWEEP);
        self.now = now;
    }

    /// `role=off`, while the hooks are still there.
    pub fn leave(&mut self, now: Instant) {
        self.now = now;
        self.datagram(Datagram::Leave);
        for at in 0..FLOWS {
            if let Some(Kind::Shadow(shadow)) = self.entries[at].as_mut().map(|e| &mut e.kind) {
                if shadow.is_speaking() {
                    let reset = shadow.reset(now);
                    let _ = self.transmit(at, &reset);
                }
                if let Some(Kind::Shadow(shadow)) = self.entries[at].as_mut().map(|e| &mut e.kind) {
                    let doomed = shadow.doom(now);
                    self.carry_out_shadow(at, doomed);
                }
            }
        }
        self.run();
    }

    /// The hooks are gone.
    pub fn off(&mut self) {
        for at in 0..FLOWS {
            // The reset of its own socket may miss by what that had taken and not acknowledged yet. Such a socket is not of interest here.
            if self.shadow(at).is_some() {
                self.stacks[at].abort();
                self.stacks[at].out.clear();
            }
        }
        self.node = None;
        self.entries = [None, None];
        self.speaks = false;
        self.joined = false;
    }

    /// The power fails.
    pub fn die(&mut self) {
        self.node = None;
        self.entries = [None, None];
        self.speaks = false;
        self.joined = false;
        self.backlog.clear();
        self.batch.clear();
        for stack in &mut self.stacks {
            stack.abort();
            stack.out.clear();
        }
    }

    fn count(&mut self, counter: Counter) {
        if !self.counts.contains(&counter) {
            self.counts.push(counter);
        }
    }

    pub fn state(&self) -> Option<State> {
        self.node.as_ref().map(Node::state)
    }

    pub fn shadow(&self, at: usize) -> Option<&Shadow> {
        match &self.entries[at].as_ref()?.kind {
            Kind::Shadow(shadow) => Some(shadow),
            _ => None,
        }
    }

    pub fn connection(&self, at: usize) -> Option<&Connection> {
        match &self.entries[at].as_ref()?.kind {
            Kind::Primary(connection) => Some(connection),
            _ => None,
        }
    }

    // The way in.

    /// A frame of the client's.
    pub fn receive(&mut self, at: usize, frame: Frame, now: Instant) {
        self.now = now;
        self.local_in(at, frame);
        self.run();
    }

    /// Until the stack has taken what was injected, and everything it said to that has gone its way.
    pub fn run(&mut self) {
        for round in 0.. {
            assert!(round < 5000, "a storm between the stack and the module");
            if let Some(at) = (0..FLOWS).find(|at| !self.stacks[*at].out.is_empty()) {
                let (segment, origin) = self.stacks[at].out.remove(0);
                trace!("    the stack says {}", Short(&segment));
                self.local_out(at, &segment, origin);
            } else if let Some((at, frame)) = self.backlog.pop_front() {
                self.local_in(at, frame);
            } else {
                break;
            }
        }
        self.flush();
    }

    fn local_in(&mut self, at: usize, mut frame: Frame) {
        if self.node.is_none() {
            self.stacks[at].receive(&frame, true, self.now);
            return;
        }
        let segment = frame.segment();
        if segment.opens() && self.speaks {
            return self.receive_syn(at, frame, &segment);
        }
        let now = self.now;
        let joined = self.joined;
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Primary(connection)) => {
                let actions = connection.on_client(&segment, joined, now);
                self.carry_out_primary(at, actions);
                self.to_stack(at, &frame);
            }
            Some(Kind::Shadow(shadow)) => {
                let (inbound, actions) = shadow.on_client(&segment, now);
                match inbound {
                    Inbound::Pass(change) => {
                        rewrite(&mut frame, &change);
                        self.check_inbound(at, &frame);
                        // The module first carries out the actions, and then lets the packet go on its way.
                        self.carry_out_shadow(at, actions);
                        self.to_stack(at, &frame);
                    }
                    Inbound::Queue => {
                        self.enqueue(at, frame, &segment);
                        self.carry_out_shadow(at, actions);
                    }
                    Inbound::Drop(counter) => {
                        self.count(counter);
                        self.carry_out_shadow(at, actions);
                    }
                }
            }
            Some(Kind::Pending(_)) => self.enqueue(at, frame, &segment),
            None if self.speaks => self.to_stack(at, &frame),
            None => {
                let early = !segment.flags.intersects(Flags::SYN | Flags::RST)
                    && !segment.is_empty()
                    && self.joined;
                if early {
                    self.entries[at] = Some(Entry::new(Kind::Pending(now)));
                    self.enqueue(at, frame, &segment);
                }
            }
        }
    }

    /// What the shadow's stack is shown of the client's acknowledgements is never more than it has sent: it would drop the whole segment.
    fn check_inbound(&self, at: usize, frame: &Frame) {
        let segment = frame.segment();
        let stack = &self.stacks[at];
        if stack.state == Stack::Open && segment.flags.contains(Flags::ACK) {
            assert!(
                segment.ack <= stack.nxt || frame.origin == Origin::Forged,
                "beyond what the shadow has sent: {segment:?}"
            );
        }
    }

    fn to_stack(&mut self, at: usize, frame: &Frame) {
        trace!("    the stack gets {}", Short(&frame.segment()));
        let queued = self.stacks[at].receive(frame, true, self.now);
        if queued && !self.speaks && self.node.is_some() {
            let (rcv_nxt, now) = (self.stacks[at].rcv, self.now);
            if let Some(Kind::Shadow(shadow)) = self.entries[at].as_mut().map(|e| &mut e.kind) {
                if let Some(record) = shadow.on_delivered(rcv_nxt, now) {
                    self.tell(&record);
                }
            }
        }
    }

    fn receive_syn(&mut self, at: usize, mut frame: Frame, segment: &Segment) {
        let opening = |shadow: &Shadow| shadow.is_opened_by(segment);
        let fresh = !self.shadow(at).is_some_and(opening)
            && (self.entries[at].is_none() || self.socket(at).gives_way());
        if fresh {
            self.serial = self.serial.wrapping_add(1);
            let id = ConnectionId((at as u64) << 32 | u64::from(self.serial));
            let made = Connection::from_syn(id, self.flows[at], segment, self.now);
            self.entries[at] = match made {
                Ok(connection) => Some(Entry::new(Kind::Primary(connection))),
                Err(why) => {
                    self.count(why);
                    None
                }
            };
        }
        rewrite(&mut frame, &plain_handshake(segment).0);
        self.to_stack(at, &frame);
    }

    fn enqueue(&mut self, at: usize, frame: Frame, segment: &Segment) {
        if let Some(entry) = &mut self.entries[at] {
            if !segment.is_empty() && entry.queue.len() < MAX_PENDING {
                entry.queue.push((frame, segment.end()));
            }
        }
    }

    // The way out.

    fn local_out(&mut self, at: usize, segment: &Segment, origin: Origin) {
        let mut frame = Frame::to_client(&self.flows[at], segment, origin);
        if self.node.is_none() {
            self.sent.push(Sent::Frame(at, frame));
            return;
        }
        let segment = frame.segment();
        let now = self.now;
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Primary(connection)) => {
                if segment.flags.contains(Flags::SYN) {
                    connection.on_syn_ack(&segment, now);
                    rewrite(&mut frame, &plain_handshake(&segment).0);
                    self.sent.push(Sent::Frame(at, frame));
                    return;
                }
                let (decision, actions) = connection.on_server(&segment, now);
                self.carry_out_primary(at, actions);
                match decision {
                    primary::Verdict::Send(change) if change.is_noop() || self.memory() => {
                        rewrite(&mut frame, &change);
                        self.sent.push(Sent::Frame(at, frame));
                    }
                    primary::Verdict::Send(_) => self.starve(at),
                    primary::Verdict::Swallow => assert_eq!(segment.payload_len, 0),
                }
            }
            Some(Kind::Shadow(shadow)) => {
                let speaking = shadow.is_speaking();
                let (outbound, mut actions) = shadow.on_output(&segment, now);
                match outbound {
                    Outbound::Send(change) => {
                        assert!(speaking && self.speaks, "a shadow spoke");
                        rewrite(&mut frame, &change);
                        self.sent.push(Sent::Frame(at, frame));
                    }
                    Outbound::Hold(start, end) => {
                        let held = self.memory();
                        match &mut self.entries[at] {
                            Some(entry) if held => entry.queue.push((frame, end)),
                            Some(Entry {
                                kind: Kind::Shadow(shadow),
                                ..
                            }) => shadow.not_held(start, &mut actions),
                            _ => {}
                        }
                    }
                    Outbound::Swallow => {}
                }
                self.carry_out_shadow(at, actions);
            }
            Some(Kind::Pending(_)) => {}
            None if self.speaks => self.sent.push(Sent::Frame(at, frame)),
            None => {}
        }
    }

    /// Whether there is memory.
    fn memory(&mut self) -> bool {
        let enough = self.short == 0;
        self.starved |= !enough;
        self.short = self.short.saturating_sub(1);
        enough
    }

    /// Memory for a segment of a primary's connection was short.
    fn starve(&mut self, at: usize) {
        let now = self.now;
        if let Some(Kind::Primary(connection)) = self.entries[at].as_mut().map(|e| &mut e.kind) {
            let actions = connection.starve(now);
            self.carry_out_primary(at, actions);
        }
    }

    fn transmit(&mut self, at: usize, segment: &Segment) -> bool {
        assert!(self.speaks, "a silent host sent {segment:?}");
        let enough = self.memory();
        if enough {
            let frame = Frame::to_client(&self.flows[at], segment, Origin::Empty);
            self.sent.push(Sent::Frame(at, frame));
        }
        enough
    }

    fn inject(&mut self, at: usize, segment: &Segment) -> bool {
        let enough = self.memory();
        if enough {
            let frame = Frame::from_client(&self.flows[at], segment, Origin::Empty);
            self.backlog.push_back((at, frame));
        }
        enough
    }

    fn carry_out_primary(&mut self, at: usize, actions: primary::Actions) {
        if let Some(counter) = actions.count {
            self.count(counter);
        }
        if let Some(record) = &actions.record {
            self.tell(record);
        }
        if let Some(segment) = &actions.send {
            if !self.transmit(at, segment) {
                let now = self.now;
                let entry = self.entries[at].as_mut();
                if let Some(Kind::Primary(connection)) = entry.map(|entry| &mut entry.kind) {
                    let starved = primary::Actions {
                        check_socket: actions.check_socket,
                        ..connection.starve(now)
                    };
                    return self.carry_out_primary(at, starved);
                }
            }
        }
        if actions.remove {
            self.entries[at] = None;
            return;
        }
        let Some(connection) = self.connection(at) else {
            return;
        };
        let when = connection.poll_at();
        let asked = actions
            .check_socket
            .then(|| connection.on_socket(self.socket(at)));
        if let Some(when) = when {
            self.wake_at(when);
        }
        if let Some(actions) = asked {
            self.carry_out_primary(at, actions);
        }
    }

    fn carry_out_shadow(&mut self, at: usize, actions: shadow::Actions) {
        if let Some(counter) = actions.count {
            self.count(counter);
        }
        if let Some(record) = &actions.record {
            self.tell(record);
        }
        let starved = actions
            .inject
            .as_ref()
            .is_some_and(|segment| !self.inject(at, segment));
        let Some(entry) = &mut self.entries[at] else {
            return;
        };
        if let (Kind::Shadow(shadow), true) = (&mut entry.kind, starved) {
            shadow.starve();
        }
        if actions.release_queue {
            for (frame, _) in std::mem::take(&mut entry.queue) {
                self.backlog.push_back((at, frame));
            }
        }
        let Some(entry) = &mut self.entries[at] else {
            return;
        };
        if let Some(acked) = actions.release_held {
            entry.queue.retain(|(_, end)| *end > acked);
            entry.released = Some(acked);
        }
        if let Some(segment) = &actions.send {
            let _ = self.transmit(at, segment);
        }
        if actions.remove {
            self.entries[at] = None;
            return;
        }
        let Some(shadow) = self.shadow(at) else {
            return;
        };
        let when = shadow.poll_at();
        let asked = actions
            .check_socket
            .then(|| shadow.on_socket(self.socket(at)));
        if let Some(when) = when {
            self.wake_at(when);
        }
        if let Some(actions) = asked {
            self.carry_out_shadow(at, actions);
        }
    }

    fn socket(&self, at: usize) -> Socket {
        match self.stacks[at].state {
            Stack::Closed => Socket::Gone,
            Stack::TimeWait => Socket::TimeWait,
            _ => Socket::Live,
        }
    }

    // The peer channel.

    fn tell(&mut self, record: &Record) {
        trace!("    tells {record:?}");
        if !self.batch.push(record) {
            self.flush();
            assert!(self.batch.push(record));
        }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() && self.node.is_some() {
            self.datagram(Datagram::Records);
            self.batch.clear();
        }
    }

    fn datagram(&mut self, kind: Datagram) {
        let Some(node) = &mut self.node else { return };
        let header = node.header(kind).emit();
        let body = if kind == Datagram::Records {
            self.batch.as_bytes()
        } else {
            &[]
        };
        let datagram = [&header[..], body, &[0; TAG_LEN]].concat();
        self.sent.push(Sent::Datagram(datagram));
    }

    /// A datagram of the other host.
    pub fn hear(&mut self, datagram: &[u8], now: Instant) {
        self.now = now;
        let (header, body) = Header::parse(datagram).unwrap();
        let fresh = self.random();
        let Some(node) = &mut self.node else { return };
        match node.heard(&header, fresh, now) {
            Err(counter) => return self.count(counter),
            Ok(Some(event)) => self.on_event(event),
            Ok(None) => {}
        }
        if header.kind == Datagram::Records && self.joined {
            for record in records(body) {
                self.on_record(&record.unwrap());
            }
        }
        self.run();
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        (0..FLOWS).find(|at| match self.entries[*at].as_ref().map(|e| &e.kind) {
            Some(Kind::Primary(connection)) => connection.id() == id,
            Some(Kind::Shadow(shadow)) => shadow.id() == id,
            _ => false,
        })
    }

    fn on_record(&mut self, record: &Record) {
        let now = self.now;
        match (record, self.speaks) {
            (Record::Open(open), false) => self.on_open(open),
            (Record::Close(id, why), false) => {
                let Some(at) = self.find(*id) else {
                    if *why == Close::Unprotected {
                        self.tell(&Record::Gone(*id, Gone::Ended));
                    }
                    return;
                };
                let Some(entry) = &mut self.entries[at] else {
                    return;
                };
                if let Kind::Shadow(shadow) = &mut entry.kind {
                    let actions = shadow.on_close(*why, now);
                    if *why == Close::Unprotected {
                        entry.queue.clear();
                    }
                    self.carry_out_shadow(at, actions);
                }
            }
            (Record::Query(id), false) => {
                let found = self.find(*id).and_then(|at| self.entries[at].as_mut());
                let answer = match found.map(|entry| &mut entry.kind) {
                    Some(Kind::Shadow(shadow)) => shadow.on_query(),
                    _ => Some(Record::Gone(*id, Gone::Ended)),
                };
                if let Some(answer) = &answer {
                    self.tell(answer);
                }
            }
            (Record::Progress(progress), true) => self.on_answer(record, progress.id),
            (Record::Gone(id, _), true) => self.on_answer(record, *id),
            _ => self.count(Counter::PeerBadMessage),
        }
    }

    fn on_answer(&mut self, record: &Record, id: ConnectionId) {
        let now = self.now;
        let Some(at) = self.find(id) else {
            if matches!(record, Record::Progress(_)) {
                self.tell(&Record::Close(id, Close::Ended));
            }
            return;
        };
        let Some(Kind::Primary(connection)) = self.entries[at].as_mut().map(|e| &mut e.kind) else {
            return;
        };
        let actions = match record {
            Record::Progress(progress) => connection.on_progress(progress, now),
            Record::Gone(_, why) => connection.on_gone(*why, now),
            _ => return,
        };
        self.carry_out_primary(at, actions);
    }

    fn on_open(&mut self, open: &Open) {
        let Some(at) = self.flows.iter().position(|flow| *flow == open.flow) else {
            panic!("{open:?}");
        };
        let mut queue = vec![];
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Shadow(shadow)) if shadow.is_for(open) => {
                if let Some(answer) = shadow.on_query() {
                    self.tell(&answer);
                }
                return;
            }
            Some(Kind::Pending(_)) => {
                queue = self.entries[at].take().map_or(vec![], |entry| entry.queue);
            }
            Some(Kind::Shadow(_) | Kind::Primary(_)) | None => {}
        }
        let (shadow, syn) = Shadow::open(open, self.now);
        self.entries[at] = Some(Entry {
            queue,
            ..Entry::new(Kind::Shadow(shadow))
        });
        let opening = shadow::Actions {
            inject: Some(syn),
            ..shadow::Actions::default()
        };
        self.carry_out_shadow(at, opening);
    }

    // Events of the node.

    fn on_event(&mut self, event: Event) {
        trace!("    {event:?}");
        let state = self.state();
        self.joined = matches!(state, Some(State::Protected | State::Shadowing));
        match event {
            Event::Joined | Event::BackupLost(_) | Event::PeerLeft => self.end_session(),
            Event::PrimaryLost(_) => self.take_over(),
            Event::SteppedDown => {
                self.speaks = false;
                self.leave_behind();
            }
        }
    }

    fn leave_behind(&mut self) {
        let now = self.now;
        for at in 0..FLOWS {
            let Some(entry) = &mut self.entries[at] else {
                continue;
            };
            entry.queue.clear();
            let actions = match &mut entry.kind {
                Kind::Primary(connection) => match connection.step_down(now) {
                    Some((shadow, actions)) => {
                        entry.kind = Kind::Shadow(shadow);
                        actions
                    }
                    None => {
                        self.entries[at] = None;
                        continue;
                    }
                },
                Kind::Shadow(shadow) => shadow.step_down(now),
                Kind::Pending(_) => {
                    self.entries[at] = None;
                    continue;
                }
            };
            self.carry_out_shadow(at, actions);
        }
    }

    fn end_session(&mut self) {
        let now = self.now;
        for at in 0..FLOWS {
            let Some(entry) = &mut self.entries[at] else {
                continue;
            };
            match &mut entry.kind {
                Kind::Primary(connection) => {
                    let actions = connection.unprotect(Counter::UnprotectedBackupLost, now);
                    self.carry_out_primary(at, actions);
                }
                Kind::Shadow(shadow) if !shadow.is_speaking() => {
                    let actions = shadow.abandon(now);
                    entry.queue.clear();
                    self.carry_out_shadow(at, actions);
                }
                _ => {}
            }
        }
    }

    /// An operator asks for it.
    pub fn take_over_on_request(&mut self, now: Instant) {
        self.now = now;
        let fresh = self.random();
        let Some(node) = self.node.as_mut().filter(|n| n.role() == Role::Backup) else {
            return;
        };
        node.take_over(fresh);
        self.take_over();
        self.run();
    }

    fn take_over(&mut self) {
        let now = self.now;
        self.speaks = true;
        self.joined = false;
        self.took_over = true;
        self.datagram(Datagram::Heartbeat);
        for at in 0..FLOWS {
            self.continued[at] = false;
            let Some(entry) = &mut self.entries[at] else {
                continue;
            };
            let Kind::Shadow(shadow) = &mut entry.kind else {
                self.entries[at] = None;
                continue;
            };
            let ready = shadow.is_ready();
            let actions = shadow.take_over(now);
            if shadow.is_speaking() {
                self.continued[at] = true;
                if ready {
                    for (mut frame, _) in std::mem::take(&mut entry.queue) {
                        let change = shadow.outward_held(&frame.segment(), now);
                        rewrite(&mut frame, &change);
                        self.sent.push(Sent::Frame(at, frame));
                    }
                }
            }
            self.carry_out_shadow(at, actions);
        }
        if let Some(node) = &mut self.node {
            node.took_over();
        }
    }

    // Timers.

    fn wake_at(&mut self, at: Instant) {
        self.housekeeping = self.housekeeping.min(at.max(self.now.after(TICK)));
    }

    /// When a timer fires next.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.node.as_ref()?;
        earliest(Some(self.heartbeat), Some(self.housekeeping))
    }

    /// The timers that are due.
    pub fn fire(&mut self, now: Instant) {
        self.now = now;
        for stack in &mut self.stacks {
            stack.tick(now);
        }
        if now >= self.heartbeat {
            self.fire_heartbeat();
        }
        if now >= self.housekeeping && self.node.is_some() {
            self.fire_housekeeping();
        }
        self.run();
    }

    fn fire_heartbeat(&mut self) {
        let fresh = self.random();
        let now = self.now;
        let Some(node) = &mut self.node else { return };
        let poll = node.poll(now, fresh);
        self.heartbeat = poll.next.max(now.after(Duration::from_micros(1)));
        if poll.heartbeat {
            self.datagram(Datagram::Heartbeat);
        }
        if let Some(event) = poll.event {
            self.on_event(event);
        }
    }

    fn fire_housekeeping(&mut self) {
        let now = self.now;
        let sweep = now >= self.next_sweep;
        if sweep {
            self.next_sweep = now.after(SWEEP);
        }
        let mut next = Some(self.next_sweep);
        // What is armed meanwhile counts too.
        self.housekeeping = self.next_sweep.max(now.after(TICK));
        for at in 0..FLOWS {
            self.poll_entry(at);
            if sweep {
                self.sweep_entry(at);
            }
            let when = match self.entries[at].as_ref().map(|entry| &entry.kind) {
                Some(Kind::Primary(connection)) => connection.poll_at(),
                Some(Kind::Shadow(shadow)) => shadow.poll_at(),
                Some(Kind::Pending(since)) => Some(since.after(PENDING)),
                None => None,
            };
            next = earliest(next, when);
        }
        let next = next.map_or(now.after(SWEEP), |at| at.max(now.after(TICK)));
        self.housekeeping = self.housekeeping.min(next);
    }

    fn poll_entry(&mut self, at: usize) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Primary(connection)) if due(connection.poll_at()) => {
                let actions = connection.poll(now);
                self.carry_out_primary(at, actions);
            }
            Some(Kind::Shadow(shadow)) if due(shadow.poll_at()) => {
                let actions = shadow.poll(now);
                self.carry_out_shadow(at, actions);
            }
            Some(Kind::Pending(since)) if now.since(*since) >= PENDING => self.entries[at] = None,
            _ => {}
        }
    }

    fn sweep_entry(&mut self, at: usize) {
        match self.entries[at].as_ref().map(|entry| &entry.kind) {
            Some(Kind::Primary(connection)) => {
                let actions = connection.sweep(self.now);
                self.carry_out_primary(at, actions);
            }
            Some(Kind::Shadow(shadow)) => {
                let actions = shadow.sweep();
                self.carry_out_shadow(at, actions);
            }
            _ => {}
        }
    }
}

/// Changes the bytes of a packet, as a hook does.
fn rewrite(frame: &mut Frame, change: &Rewrite) {
    change.apply(&mut frame.header, Checksum::Full).unwrap();
}
