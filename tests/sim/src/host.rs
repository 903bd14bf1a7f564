// SPDX-License-Identifier: GPL-2.0

//! A host of the pair: the engine, what the kernel module does round it, a stack and servers.
//!
//! The functions go by the names of those in `src/` that they stand for, in `receive.rs`, `send.rs`, `peer.rs`, `takeover.rs` and `node.rs`, and
//! do the same in the same order. What differs: the table is a list, without buckets and evictions; datagrams have no tag; memory is
//! never short; checksums are always whole ones; no neighbour is warmed and no address announced; the outbox goes out at the end of an event.

use crate::check::{Facts, Order};
use crate::rng::Rng;
use crate::schedule::{Safety, Schedule};
use crate::stack::{is_intact, Stack};
use crate::talk::{End, Program};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State as SocketState;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use sttcp::actions::Actions;
use sttcp::counters::Counter;
use sttcp::detector::Timing;
use sttcp::emit::{emit, emit_header, MAX_PACKET};
use sttcp::lease::Isolation;
use sttcp::message::{
    records, Batch, Bytes, Header, Kind as Datagram, Open, Record, Span, TAG_LEN,
};
use sttcp::node::{Event, Node, Peer, Role};
use sttcp::primary::{self, plain_handshake, ConnectionId, Policy, Socket, STALL_TIMEOUT};
use sttcp::rewrite::{Checksum, Rewrite};
use sttcp::seq::SeqNumber;
use sttcp::side::{self, Side};
use sttcp::time::{earliest, Instant};
use sttcp::verdict::{Inbound, Outbound};
use sttcp::wire::{Flow, Packet, Segment};

/// The service's port, and the client's port of its connection 0.
pub const PORT: u16 = 80;
pub const FIRST_PORT: u16 = 40_000;

const SWEEP: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);
const MAX_PENDING: usize = 128;

/// What leaves a host.
pub enum Out {
    /// To the client.
    Client { packet: Vec<u8>, gate: Gate },
    /// To the other host, by this path.
    Peer(usize, Vec<u8>),
}

/// Whether the backup must have what a segment acknowledges.
#[derive(Clone, Copy, PartialEq)]
pub enum Gate {
    /// The handshake is under way. smoltcp then tells of its whole window, which Linux does not (tcp_v4_reqsk_send_ack).
    Early,
    Open,
    Closed,
    /// It must, or copies are kept for it up to there.
    Copied(SeqNumber),
    /// It must as long as it has the shadow.
    Leaving,
    /// It is the backup that speaks, on this connection alone.
    Carried,
}

impl Gate {
    /// `confirmed` is what the backup said that it has.
    fn of(entry: &Entry, policy: Policy, confirmed: SeqNumber) -> Self {
        let Side::Primary(connection) = &entry.side else {
            return match entry.side.is_carried() {
                true => Gate::Carried,
                false => Gate::Open,
            };
        };
        let eager = policy == Policy::Eager;
        match connection.state() {
            // It says nothing.
            primary::State::Moving => Gate::Closed,
            primary::State::Opening | primary::State::Protected if eager => {
                Gate::Copied(entry.copied(confirmed))
            }
            primary::State::Unprotected(_) | primary::State::Ended if eager => Gate::Open,
            primary::State::Opening | primary::State::Protected => Gate::Closed,
            primary::State::Unprotected(
                Counter::UnprotectedStalled | Counter::UnprotectedOpenTimeout,
            ) => Gate::Leaving,
            primary::State::HalfOpen => Gate::Early,
            primary::State::Unprotected(_) | primary::State::Ended => Gate::Open,
        }
    }
}

/// What a host asks of the program that switches the other off.
#[derive(Clone, Copy, PartialEq)]
pub enum Fencing {
    Begin,
    Stop,
}

/// How long a program may take to switch a host off.
const FENCE_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Entry {
    pub flow: Flow,
    pub side: Side,
    queue: VecDeque<Kept>,
    /// Copies of client segments that the backup may lack.
    retained: Vec<(Segment, Vec<u8>)>,
}

/// A packet in a queue.
struct Kept {
    packet: Vec<u8>,
    end: SeqNumber,
    /// The same as the stack counts.
    own_end: SeqNumber,
    len: u32,
}

impl Entry {
    /// Keeps a copy; `false` if that is beyond the limit.
    fn retain(&mut self, segment: &Segment, packet: &[u8], limit: u32) -> bool {
        let sizes = self.retained.iter().map(|(_, packet)| truesize(packet));
        if sizes.sum::<usize>() + truesize(packet) > limit as usize {
            return false;
        }
        self.retained.push((*segment, packet.to_vec()));
        self.side.on_retained(segment, truesize(packet) as u32);
        true
    }

    /// Up to where there are copies of every byte from `end` on.
    fn copied(&self, mut end: SeqNumber) -> SeqNumber {
        let covers = |end: SeqNumber, copy: &Segment| !copy.seq.after(end) && copy.end().after(end);
        while let Some((copy, _)) = self.retained.iter().find(|(copy, _)| covers(end, copy)) {
            end = copy.end();
        }
        end
    }

    pub fn state(&self) -> &'static str {
        match &self.side {
            Side::Primary(connection) => connection.state().name(),
            Side::Shadow(shadow) => shadow.state_name(),
            Side::Pending(_) => "pending",
        }
    }
}

/// A listening socket and what becomes of it.
struct Slot {
    socket: SocketHandle,
    program: Option<Program>,
}

/// A host.
pub struct Host {
    pub index: usize,
    pub alive: bool,
    pub table: Vec<Entry>,
    pub engine: Node,
    pub speaks: bool,
    /// How long the other host had been silent when this one took over.
    pub silence: Duration,
    pub peer: Peer,
    pub stack: Stack,
    pub out: Vec<Out>,
    /// What its stack has done, by the client's port.
    pub facts: BTreeMap<u16, Facts>,
    /// How its servers ended, with the bytes heard, by the client's port.
    pub ended: BTreeMap<u16, (End, u32)>,
    pub counters: Vec<u32>,
    /// What must never be, and was.
    pub failure: Option<(Option<Flow>, String)>,
    /// What happened, if someone reads it.
    pub notes: Vec<String>,
    /// Wants the other host to be switched off, or no longer waits for that.
    pub fence: Option<Fencing>,
    /// Whether a program here has failed, and the other host's has not.
    failed: bool,
    /// When a client's segment came in last.
    clients_at: Instant,
    /// Where its connections stood when it handed over, by the client's port.
    pub left: BTreeMap<u16, primary::State>,
    /// Programs that have failed, or were found to stand still, by the client's port, and whether the backup could have taken their place.
    pub failures: BTreeMap<u16, bool>,
    schedule: Schedule,
    /// By its own clock.
    now: u64,
    rng: Rng,
    serial: u32,
    batch: Batch,
    backlog: VecDeque<Vec<u8>>,
    slots: Vec<Slot>,
    heartbeat_at: Instant,
    housekeeping_at: Instant,
    next_sweep: Instant,
}

/// The memory that a packet takes, about as Linux counts it.
fn truesize(packet: &[u8]) -> usize {
    packet.len() + 768
}

/// What a clock shows that runs so many millionths too fast.
fn local(now: u64, drift: i64) -> u64 {
    now.saturating_add_signed(now as i64 * drift / 1_000_000)
}

fn at(us: u64) -> Instant {
    Instant::from_nanos(us * 1000)
}

fn us(at: Instant) -> u64 {
    at.as_nanos().div_ceil(1000)
}

/// Changes a packet's headers.
fn rewrite(packet: &mut [u8], change: &Rewrite) {
    if !change.is_noop() {
        change.apply(packet, Checksum::Full).unwrap();
    }
}

impl Host {
    pub fn new(
        index: usize,
        role: Role,
        schedule: &Schedule,
        addr: IpAddr,
        now: u64,
        mut rng: Rng,
    ) -> Self {
        let now = local(now, schedule.drift[index]);
        let mut stack = Stack::new(addr, &schedule.natures[index]);
        let slots = (0..schedule.talks.len() + 3)
            .map(|_| Slot {
                socket: stack.add(),
                program: None,
            })
            .collect::<Vec<_>>();
        for slot in &slots {
            stack.listen(slot.socket, PORT);
        }
        let timing = Timing {
            interval: Duration::from_micros(schedule.interval),
            misses: schedule.misses,
        };
        let mut engine = Node::new(role, 1, timing, rng.next(), at(now));
        engine.set_eager(schedule.terms.policy == Policy::Eager);
        engine.set_paths(schedule.paths);
        match schedule.safety {
            Safety::None => {}
            Safety::Yield => engine.set_isolation(Isolation::Yield),
            Safety::Fence { .. } => engine.set_fencing(Some(FENCE_TIMEOUT)),
        }
        Self {
            index,
            alive: true,
            table: vec![],
            engine,
            speaks: role == Role::Primary,
            silence: Duration::ZERO,
            peer: Peer::Absent,
            stack,
            out: vec![],
            facts: BTreeMap::new(),
            ended: BTreeMap::new(),
            counters: vec![0; Counter::ALL.len()],
            failure: None,
            notes: vec![],
            fence: None,
            failed: false,
            clients_at: at(0),
            left: BTreeMap::new(),
            failures: BTreeMap::new(),
            schedule: schedule.clone(),
            now,
            serial: rng.next() as u32,
            rng,
            batch: Batch::new(),
            backlog: VecDeque::new(),
            slots,
            heartbeat_at: at(now),
            housekeeping_at: at(now).after(SWEEP),
            next_sweep: at(now),
        }
    }

    /// The host runs at `now`: timers and programs that are due, then whatever follows from `event`.
    pub fn run(&mut self, now: u64, event: impl FnOnce(&mut Self)) {
        self.now = self.local(now);
        event(self);
        if self.instant() >= self.heartbeat_at {
            self.fire_heartbeat();
        }
        if self.instant() >= self.housekeeping_at {
            self.fire_housekeeping();
        }
        self.poll_stack();
        self.settle();
        if std::mem::take(&mut self.failed) {
            self.hand_over();
        }
        if !self.batch.is_empty() {
            self.flush();
        }
        self.check();
    }

    /// When it wants to run again.
    pub fn wakes_at(&mut self) -> u64 {
        let now = self.now;
        let mut next = us(self.heartbeat_at.min(self.housekeeping_at));
        if let Some(at) = self.stack.poll_at(now) {
            next = next.min(at);
        }
        for program in self.slots.iter().filter_map(|slot| slot.program.as_ref()) {
            let at = program.at(now);
            if program.end.is_none() && at > now {
                next = next.min(at);
            }
        }
        let mut true_time =
            local(next, -self.schedule.drift[self.index]).saturating_sub(next / 1_000_000);
        while self.local(true_time) < next {
            true_time += (next - self.local(true_time)).max(1);
        }
        true_time
    }

    /// What its clock shows.
    fn local(&self, now: u64) -> u64 {
        local(now, self.schedule.drift[self.index])
    }

    /// The same, for the engine.
    pub fn instant_at(&self, now: u64) -> Instant {
        at(self.local(now))
    }

    /// Whether its primary has been silent for so long that it may have let servers speak.
    pub fn is_late(&self, now: u64) -> bool {
        let now = self.instant_at(now);
        let heard = self.engine.last_heard().unwrap_or(now);
        self.engine.predecessor(now.since(heard)).alone
    }

    /// Whether its segments would leave.
    pub fn may_speak(&self, now: u64) -> bool {
        let in_time = |from| self.instant_at(now) < from;
        self.speaks && self.engine.silent_from().is_none_or(in_time)
    }

    pub fn joined(&self) -> bool {
        self.peer == Peer::Joined
    }

    pub fn entry(&self, port: u16) -> Option<&Entry> {
        self.table
            .iter()
            .find(|entry| entry.flow.client.port == port)
    }

    pub fn counter(&self, counter: Counter) -> u32 {
        self.counters[counter.index()]
    }

    fn fail(&mut self, what: String) {
        self.failure
            .get_or_insert((None, format!("host {}: {what}", self.index)));
    }

    fn fail_at(&mut self, flow: &Flow, what: String) {
        self.failure
            .get_or_insert((Some(*flow), format!("host {}: {what}", self.index)));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.schedule.trace {
            self.notes.push(what());
        }
    }

    fn instant(&self) -> Instant {
        at(self.now)
    }

    fn facts(&mut self, flow: &Flow) -> &mut Facts {
        self.facts.entry(flow.client.port).or_default()
    }

    fn count(&mut self, counter: Counter) {
        self.counters[counter.index()] += 1;
        if !matches!(
            counter,
            Counter::SegmentsIn | Counter::SegmentsOut | Counter::PeerSent | Counter::PeerReceived
        ) {
            self.note(|| counter.name().into());
        }
    }

    // The way in, as in receive.rs.

    /// A client's segment came in by the network.
    pub fn receive(&mut self, packet: Vec<u8>) {
        self.clients_at = self.instant();
        self.backlog.push_back(packet);
        self.settle();
    }

    fn local_in(&mut self, mut packet: Vec<u8>) {
        if !is_intact(&packet) {
            return self.fail("a segment with a wrong checksum comes in".into());
        }
        let Ok(parsed) = Packet::parse(&packet, packet.len()) else {
            return self.fail("a segment that the engine cannot read comes in".into());
        };
        self.count(Counter::SegmentsIn);
        let (flow, segment) = (parsed.flow_from_client(), parsed.segment);
        if segment.opens() && self.speaks {
            self.receive_syn(&flow, &segment);
            rewrite(&mut packet, &plain_handshake(&segment).0);
            return self.give(packet);
        }
        if self.find(&flow).is_none() {
            if self.speaks {
                return self.give(packet);
            }
            let Some(side) = side::early(&flow, &segment, self.joined(), self.instant()) else {
                return;
            };
            self.insert(flow, side);
        }
        let pass = self.with(&flow, |host, entry| {
            let (inbound, actions) = entry.side.on_client(&segment, host.peer, host.instant());
            if actions.retain {
                let limit = host.schedule.terms.retain;
                if !entry.retain(&segment, &packet, limit) {
                    host.count(Counter::RetainOverflow);
                }
            }
            let pass = match inbound {
                Inbound::Pass(change) => {
                    rewrite(&mut packet, &change);
                    if let Side::Shadow(_) = entry.side {
                        host.check_translated(&flow, &packet);
                    }
                    Some(packet)
                }
                Inbound::Queue => {
                    host.enqueue(entry, packet, &segment);
                    None
                }
                Inbound::Ignore => None,
                Inbound::Drop(counter) => {
                    host.count(counter);
                    None
                }
            };
            (pass, actions)
        });
        if let Some(packet) = pass.flatten() {
            self.give(packet);
        }
    }

    fn receive_syn(&mut self, flow: &Flow, segment: &Segment) {
        let socket = self.socket(flow);
        let found = self.find(flow).map(|at| &self.table[at].side);
        if side::is_fresh(found, segment, || socket) {
            self.table.retain(|entry| entry.flow != *flow);
            let id = self.name(flow);
            match Side::from_syn(id, *flow, segment, self.schedule.terms, self.instant()) {
                Ok(side) => self.insert(*flow, side),
                Err(why) => self.count(why),
            }
        }
    }

    fn name(&mut self, flow: &Flow) -> ConnectionId {
        self.serial = self.serial.wrapping_add(1);
        ConnectionId(u64::from(self.serial) | (u64::from(flow.client.port) << 32))
    }

    fn enqueue(&mut self, entry: &mut Entry, packet: Vec<u8>, segment: &Segment) {
        if entry.queue.len() >= MAX_PENDING {
            return self.count(Counter::PendingOverflow);
        }
        self.count(Counter::PendingQueued);
        let end = segment.end();
        entry.queue.push_back(Kept {
            packet,
            end,
            own_end: end,
            len: segment.payload_len,
        });
    }

    /// The stack takes a segment, and answers.
    fn give(&mut self, packet: Vec<u8>) {
        if !is_intact(&packet) {
            return self.fail("a changed segment has a wrong checksum".into());
        }
        let Ok(parsed) = Packet::parse(&packet, packet.len()) else {
            return self.fail("a changed segment cannot be read".into());
        };
        let flow = parsed.flow_from_client();
        let live = self.socket(&flow) != Socket::Gone;
        if parsed.segment.opens() && live {
            // A listening socket of smoltcp might answer it besides the one that has the connection.
            return;
        }
        let facts = self.facts(&flow);
        facts.take(&parsed.segment);
        if live && facts.is_beyond(&parsed.segment) {
            return self.note(|| "beyond the window".into());
        }
        self.stack.feed(packet);
        self.poll_stack();
    }

    /// What Linux would not take, though smoltcp might.
    fn check_translated(&mut self, flow: &Flow, packet: &[u8]) {
        let clock = self.stack.clock(self.now);
        let server_bytes =
            self.schedule.talks[usize::from(flow.client.port - FIRST_PORT)].server_bytes();
        let Ok(parsed) = Packet::parse(packet, packet.len()) else {
            return;
        };
        if let Err(what) = self
            .facts(flow)
            .can_take(&parsed.segment, clock, server_bytes)
        {
            self.fail_at(
                flow,
                format!(
                    "the shadow's stack cannot take {:?}: {what}",
                    parsed.segment
                ),
            );
        }
    }

    /// Hears of every byte that a socket queued.
    fn data_ready(&mut self) {
        for at in 0..self.slots.len() {
            let Some(program) = &self.slots[at].program else {
                continue;
            };
            let port = FIRST_PORT + program.talk.number as u16;
            let (heard, socket) = (program.heard, self.slots[at].socket);
            let socket = self.stack.socket(socket);
            let fin = matches!(
                socket.state(),
                SocketState::CloseWait
                    | SocketState::LastAck
                    | SocketState::Closing
                    | SocketState::TimeWait
            );
            let taken = heard + socket.recv_queue() as u32;
            let facts = self.facts.entry(port).or_default();
            let news = taken > facts.taken || fin && !facts.fin;
            facts.taken = facts.taken.max(taken);
            if news {
                facts.moved_at = self.now;
            }
            facts.fin |= fin;
            let rcv_nxt = facts.rcv_nxt();
            if !news || self.speaks {
                continue;
            }
            let now = self.instant();
            let found = self
                .table
                .iter_mut()
                .find(|entry| entry.flow.client.port == port);
            let Some(entry) = found else {
                continue;
            };
            let told = entry.side.on_delivered(rcv_nxt, now);
            if let Some(at) = entry.side.poll_at() {
                self.wake_at(at);
            }
            if let Some(record) = told {
                self.tell(&record);
            }
        }
    }

    // The way out, as in send.rs.

    fn poll_stack(&mut self) {
        let packets = self.stack.poll(self.now);
        self.data_ready();
        for packet in packets {
            self.local_out(packet);
        }
    }

    /// The two servers say the same, so whatever is found is wrong.
    fn digest(&mut self, flow: &Flow, segment: &Segment, packet: &[u8]) {
        let (digests, now) = (self.schedule.digests, self.instant());
        let Some(at) = self.find(flow) else {
            return;
        };
        let payload = &packet[packet.len() - segment.payload_len as usize..];
        let sum = |sum: u32, offset: u32, len: u32| {
            let part = &payload[offset as usize..][..len as usize];
            part.iter().fold(sum, |sum, byte| {
                (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            })
        };
        let found = self.table[at].side.digest(digests, segment, sum, now);
        if let Some(actions) = found {
            self.fail_at(
                flow,
                format!("the servers do not differ: {:?}", actions.diverged),
            );
        }
    }

    fn local_out(&mut self, mut packet: Vec<u8>) {
        let Ok(parsed) = Packet::parse(&packet, packet.len()) else {
            return self.fail("the engine cannot read what the stack sends".into());
        };
        self.count(Counter::SegmentsOut);
        let (flow, segment) = (parsed.flow_to_client(), parsed.segment);
        self.facts(&flow).send(&segment);
        self.digest(&flow, &segment, &packet);
        if self.speaks && self.is_isolated() {
            self.facts(&flow).mute();
            let now = self.instant();
            if let Some(at) = self.find(&flow) {
                self.table[at].side.on_muted(&segment, now);
            }
            return self.count(Counter::OutputIsolated);
        }
        if self.find(&flow).is_none() {
            if self.speaks {
                self.transmit_packet(packet, Gate::Open);
            } else {
                self.count(Counter::OutputMuted);
            }
            return;
        }
        let sent = self.with(&flow, |host, entry| {
            let (outbound, actions) = entry.side.on_output(&segment, host.instant());
            let gate = host.gate(entry);
            let (change, gate) = match outbound {
                Outbound::Send(change) => (change, gate),
                // The handshake's.
                Outbound::SendAnyway(change) => (change, Gate::Open),
                Outbound::Hold(_, end) => {
                    entry.queue.push_back(Kept {
                        packet,
                        end,
                        own_end: segment.end(),
                        len: segment.payload_len,
                    });
                    return (None, actions);
                }
                Outbound::Swallow => return (None, actions),
            };
            rewrite(&mut packet, &change);
            (Some((packet, gate)), actions)
        });
        if let Some((packet, gate)) = sent.flatten() {
            self.transmit_packet(packet, gate);
        }
    }

    /// Whether it may have been succeeded.
    fn is_isolated(&self) -> bool {
        let silent_from = self.engine.silent_from();
        silent_from.is_some_and(|from| self.instant() >= from)
    }

    fn gate(&self, entry: &Entry) -> Gate {
        let facts = self.facts.get(&entry.flow.client.port);
        let confirmed = facts.map_or(SeqNumber::default(), Facts::confirmed);
        Gate::of(entry, self.schedule.terms.policy, confirmed)
    }

    fn transmit_packet(&mut self, packet: Vec<u8>, gate: Gate) {
        let carried = gate == Gate::Carried;
        if !self.speaks && !carried {
            self.fail("a silent host speaks".into());
        }
        if self.is_isolated() && !carried {
            if let Ok(parsed) = Packet::parse(&packet, packet.len()) {
                self.facts(&parsed.flow_to_client()).mute();
            }
            return self.count(Counter::OutputIsolated);
        }
        if let Ok(parsed) = Packet::parse(&packet, packet.len()) {
            self.facts(&parsed.flow_to_client()).tell(&parsed.segment);
        }
        self.out.push(Out::Client { packet, gate });
    }

    fn transmit(&mut self, flow: &Flow, segment: &Segment, gate: Gate) {
        let mut packet = [0; MAX_PACKET];
        match emit(&mut packet, flow.service, flow.client, segment) {
            Ok(len) => self.transmit_packet(packet[..len].to_vec(), gate),
            Err(error) => self.fail(format!("cannot emit {segment:?}: {error}")),
        }
    }

    fn inject(&mut self, flow: &Flow, segment: &Segment, payload: &[u8]) {
        let mut packet = [0; MAX_PACKET];
        match emit_header(&mut packet, flow.client, flow.service, segment, payload) {
            Ok(len) => self.backlog.push_back([&packet[..len], payload].concat()),
            Err(error) => self.fail(format!("cannot emit {segment:?}: {error}")),
        }
    }

    // The table, as in table.rs and node.rs.

    fn find(&self, flow: &Flow) -> Option<usize> {
        self.table.iter().position(|entry| entry.flow == *flow)
    }

    fn insert(&mut self, flow: Flow, side: Side) {
        self.table.push(Entry {
            flow,
            side,
            queue: VecDeque::new(),
            retained: vec![],
        });
    }

    /// Does something with a connection, and carries out what comes of it.
    fn with<T>(
        &mut self,
        flow: &Flow,
        act: impl FnOnce(&mut Self, &mut Entry) -> (T, Actions),
    ) -> Option<T> {
        let at = self.find(flow)?;
        let mut entry = self.table.remove(at);
        let (result, actions) = act(self, &mut entry);
        if self.carry_out(&mut entry, actions) {
            self.table.insert(at, entry);
        }
        Some(result)
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Self, &mut Entry) -> bool) {
        for mut entry in std::mem::take(&mut self.table) {
            if keep(self, &mut entry) {
                self.table.push(entry);
            }
        }
    }

    /// Calls each connection, and carries out what it wants.
    fn each(&mut self, call: impl Fn(&mut Side, Instant) -> Actions) {
        self.retain(|host, entry| {
            let actions = call(&mut entry.side, host.instant());
            host.carry_out(entry, actions)
        });
    }

    fn carry_out(&mut self, entry: &mut Entry, actions: Actions) -> bool {
        for counter in [actions.count, actions.also].into_iter().flatten() {
            if counter == Counter::TakeoverHoles {
                let facts = self.facts.entry(entry.flow.client.port).or_default();
                facts.gave_up_after = Some(self.now - facts.moved_at);
            }
            self.count(counter);
        }
        if let Some(record) = &actions.record {
            self.tell(record);
        }
        if let Some(end) = actions.release_retained {
            entry.retained.retain(|(segment, _)| segment.end() > end);
        }
        if !entry.side.retains() {
            entry.retained.clear();
        }
        let mut resend = actions.resend;
        while let Some(span) = &resend {
            self.resend(entry, span);
            resend = entry.side.resend_next();
        }
        if actions.clear_queue {
            entry.queue.clear();
        }
        if let Some(segment) = &actions.inject {
            self.inject(&entry.flow, segment, &[]);
        }
        if actions.release_queue {
            self.backlog
                .extend(entry.queue.drain(..).map(|kept| kept.packet));
        }
        if let Some(acked) = actions.release_held {
            entry.queue.retain(|kept| kept.end > acked);
        }
        if actions.flush_held {
            while let Some(kept) = entry.queue.pop_front() {
                self.send_held(kept.packet, entry);
            }
        }
        if let Some(segment) = &actions.send {
            if self.speaks && self.is_isolated() {
                entry.side.on_silence(self.instant());
            }
            self.transmit(&entry.flow, segment, self.gate(entry));
        }
        if let Some(found) = actions.diverged {
            self.fail_at(&entry.flow, format!("the servers do not differ: {found:?}"));
        }
        if let Some(failure) = actions.moves {
            self.note(|| format!("the server has failed, its connection moves: {failure:?}"));
            if self.schedule.paces[self.index].is_stopped(self.now) {
                self.failures.entry(entry.flow.client.port).or_insert(true);
            }
        }
        if let Some(failure) = actions.failed {
            self.note(|| format!("the server has failed: {failure:?}"));
            self.failed = true;
        }
        if actions.remove {
            return false;
        }
        if let Some(at) = entry.side.poll_at() {
            self.wake_at(at);
        }
        !actions.check_socket || {
            let protected = entry.side.retains();
            let actions = entry
                .side
                .on_socket(self.socket(&entry.flow), self.instant());
            if protected && !entry.side.retains() {
                self.check_ended(&entry.flow);
            }
            self.carry_out(entry, actions)
        }
    }

    /// A protected connection that came to its end, and not by the client's reset, does so with every byte, and the FIN, at the backup.
    fn check_ended(&mut self, flow: &Flow) {
        let finished = matches!(self.ended.get(&flow.client.port), Some((End::Finished, _)));
        let (has, of) = (self.facts(flow).confirmed(), self.facts(flow).rcv_nxt());
        if finished && !self.facts(flow).reset && of.after(has) {
            let lacks = of.since(has);
            self.fail_at(flow, format!("forgets it, and the backup lacks {lacks}"));
        }
    }

    fn socket(&mut self, flow: &Flow) -> Socket {
        for slot in &self.slots {
            let socket = self.stack.socket(slot.socket);
            let ours = socket
                .remote_endpoint()
                .is_some_and(|end| end.port == flow.client.port);
            if ours {
                return match socket.state() {
                    SocketState::TimeWait => Socket::TimeWait,
                    SocketState::Closed | SocketState::Listen => Socket::Gone,
                    SocketState::SynReceived => Socket::Request,
                    _ => Socket::Live,
                };
            }
        }
        Socket::Gone
    }

    fn wake_at(&mut self, at: Instant) {
        let at = at.max(self.instant().after(TICK));
        self.housekeeping_at = self.housekeeping_at.min(at);
    }

    // The node, as in node.rs and takeover.rs.

    fn fire_heartbeat(&mut self) {
        let fresh = self.rng.next();
        self.engine.heard_clients(self.clients_at);
        let poll = self.engine.poll(self.instant(), fresh);
        if poll.heartbeat {
            self.beat();
        }
        if poll.asleep && self.schedule.pause.is_none() {
            self.fail("the detector says that it slept".into());
        }
        if let Some(event) = poll.event {
            self.on_event(event);
        }
        self.heartbeat_at = poll.next;
    }

    fn fire_housekeeping(&mut self) {
        let now = self.instant();
        self.housekeeping_at = now.after(SWEEP);
        let sweep = now >= self.next_sweep;
        if sweep {
            self.next_sweep = now.after(SWEEP);
        }
        let heard = self.engine.last_heard();
        let mut next = Some(self.next_sweep);
        self.retain(|host, entry| {
            let due = entry.side.poll(now, STALL_TIMEOUT, heard);
            let keep = due.is_none_or(|actions| host.carry_out(entry, actions));
            next = earliest(next, entry.side.poll_at());
            keep && (!sweep || {
                if !host.speaks || host.is_isolated() {
                    entry.side.on_silence(now);
                }
                let actions = entry.side.sweep(now);
                host.carry_out(entry, actions)
            })
        });
        if let Some(at) = next {
            self.wake_at(at);
        }
    }

    fn on_event(&mut self, event: Event) {
        self.peer = self.engine.peer();
        let state = self.engine.state().name();
        self.note(|| format!("{event:?}: {state}"));
        match event {
            Event::Joined | Event::PeerLeft | Event::PeerAlone => self.end_session(),
            Event::BackupLost(_) => {
                self.count(Counter::PeerLost);
                self.end_session();
            }
            Event::Fence(_) => {
                self.count(Counter::FencesBegun);
                self.fence = Some(Fencing::Begin);
            }
            Event::FenceOverdue => self.fence = Some(Fencing::Stop),
            Event::PrimaryBack | Event::PathBack(_) => {}
            Event::PathLost(_) => self.count(Counter::PathsLost),
            Event::CutOff(_) | Event::Unlinked => {
                self.count(Counter::CutOff);
                self.failed = true;
            }
            Event::PrimaryFenced(silence) => {
                self.count(Counter::TakeoversFenced);
                self.take_over(silence);
            }
            Event::PrimaryLost(silence) => {
                self.count(Counter::PeerLost);
                self.take_over(silence);
            }
            Event::PrimaryGoes(silence) => {
                self.count(Counter::TakeoversGoodbye);
                self.take_over(silence);
            }
            Event::SteppedDown => {
                self.speaks = false;
                self.count(Counter::SteppedDown);
                self.each(Side::step_down);
            }
        }
    }

    /// An operator asks for it.
    pub fn take_over_on_request(&mut self) {
        if self.engine.role() == Role::Backup {
            let fresh = self.rng.next();
            self.engine.take_over(fresh);
            self.take_over(Duration::ZERO);
        }
    }

    /// Its servers have failed: the other host is to serve.
    fn hand_over(&mut self) {
        let (fresh, now) = (self.rng.next(), self.instant());
        let Some(goodbye) = self.engine.resign(fresh, now) else {
            return;
        };
        self.count(Counter::Switchovers);
        self.speaks = false;
        self.peer = Peer::Absent;
        self.send_farewell(&goodbye);
        for entry in &self.table {
            if let Side::Primary(connection) = &entry.side {
                self.left.insert(entry.flow.client.port, connection.state());
            }
        }
        self.each(Side::step_down);
    }

    /// An operator knows that the other host is dead.
    pub fn go_alone(&mut self) {
        if self.engine.go_alone() {
            self.note(|| "goes on alone".into());
        }
    }

    /// The program that was to switch the other host off has come to its end.
    pub fn fenced(&mut self, done: bool) {
        if !done {
            self.count(Counter::FencesFailed);
        }
        let (fresh, now) = (self.rng.next(), self.instant());
        if let Some(event) = self.engine.fenced(done, fresh, now) {
            self.on_event(event);
        }
        self.heartbeat_at = now;
    }

    /// It is going to die, and can still say so.
    pub fn say_goodbye(&mut self) {
        if let Some(goodbye) = self.engine.last_word(self.instant()) {
            self.note(|| "says goodbye".into());
            self.send_farewell(&goodbye);
        }
    }

    fn take_over(&mut self, silence: Duration) {
        self.speaks = true;
        self.silence = silence;
        self.peer = Peer::Absent;
        for facts in self.facts.values_mut() {
            facts.moved_at = self.now;
        }
        self.beat();
        let before = self.engine.predecessor(silence);
        self.retain(|host, entry| {
            if entry.queue.is_empty() && entry.side.take_over_at_rest(host.instant(), before) {
                host.count(Counter::TakeoverContinued);
                return true;
            }
            let name = host.name(&entry.flow);
            let actions = entry.side.take_over(|| name, host.instant(), before);
            host.carry_out(entry, actions)
        });
        self.engine.took_over();
    }

    fn send_held(&mut self, mut packet: Vec<u8>, entry: &mut Entry) {
        let change = Packet::parse(&packet, packet.len())
            .ok()
            .and_then(|parsed| entry.side.outward_held(&parsed.segment, self.instant()));
        let Some(change) = change else {
            return self.fail("a held segment cannot be sent".into());
        };
        rewrite(&mut packet, &change);
        self.count(Counter::HeldFlushed);
        self.transmit_packet(packet, self.gate(entry));
    }

    fn end_session(&mut self) {
        let peer = self.peer;
        self.each(|side, now| side.end_session(Counter::UnprotectedBackupLost, peer, now));
    }

    // The peer channel, as in peer.rs.

    fn tell(&mut self, record: &Record) {
        self.note(|| format!("tells {record:?}"));
        if !self.batch.push(record) {
            self.flush();
            self.batch.push(record);
        }
    }

    fn flush(&mut self) {
        let body = self.batch.as_bytes().to_vec();
        self.batch.clear();
        self.send(Datagram::Records, &body);
    }

    fn send(&mut self, kind: Datagram, body: &[u8]) {
        self.engine.heard_clients(self.clients_at);
        let header = self.engine.header(kind, self.instant());
        self.send_header(self.engine.path(), &header, body);
    }

    fn beat(&mut self) {
        for path in 0..self.schedule.paths {
            self.engine.heard_clients(self.clients_at);
            let header = self.engine.header(Datagram::Heartbeat, self.instant());
            self.send_header(path, &header, &[]);
        }
    }

    /// By each path, and heard but once.
    fn send_farewell(&mut self, header: &Header) {
        for path in 0..self.schedule.paths {
            self.send_header(path, header, &[]);
        }
    }

    fn send_header(&mut self, path: usize, header: &Header, body: &[u8]) {
        self.count(Counter::PeerSent);
        let datagram = [&header.emit()[..], body, &[0; TAG_LEN]].concat();
        self.out.push(Out::Peer(path, datagram));
    }

    /// A datagram of the peer's came in.
    pub fn received(&mut self, path: usize, datagram: &[u8]) {
        let (header, body) = match Header::parse(datagram) {
            Ok(parts) => parts,
            Err(bad) => return self.fail(format!("a datagram cannot be read: {bad:?}")),
        };
        let fresh = self.rng.next();
        let heard = self.engine.heard(&header, || fresh, self.instant());
        let back = match heard {
            Ok(_) => self.engine.heard_by(path, self.instant()),
            Err(_) => None,
        };
        let heard = heard.map(|event| event.or(back));
        if self.engine.owes_heartbeat(self.instant()) {
            self.beat();
        }
        match heard {
            Err(counter) => return self.count(counter),
            Ok(Some(event)) => self.on_event(event),
            Ok(None) => {}
        }
        self.count(Counter::PeerReceived);
        // The timer looks anew when the next heartbeat is due; the kernel's is armed for what it was.
        match header.kind {
            _ if !self.joined() => {}
            Datagram::Records => {
                for record in records(body) {
                    match record {
                        Ok(record) => self.on_record(&record),
                        Err(bad) => self.fail(format!("a record cannot be read: {bad:?}")),
                    }
                }
            }
            Datagram::Bytes => match Bytes::parse(body) {
                Ok(bytes) if !self.speaks => self.on_bytes(&bytes),
                Ok(_) => self.count(Counter::PeerBadMessage),
                Err(bad) => self.fail(format!("bytes cannot be read: {bad:?}")),
            },
            Datagram::Heartbeat | Datagram::Leave | Datagram::Goodbye => {}
        }
    }

    /// Sends the backup what it lacks, as in retention.rs.
    fn resend(&mut self, entry: &Entry, span: &Span) {
        let mut span = *span;
        while span.start < span.end {
            let mut copies = entry.retained.iter();
            let found = copies.find_map(|(copy, packet)| Some((span.piece(copy)?, copy, packet)));
            let (Some((piece, copy, packet)), Some(id)) = (found, entry.side.id()) else {
                return;
            };
            let payload = &packet[packet.len() - copy.payload_len as usize..];
            let payload = &payload[piece.offset as usize..][..piece.len as usize];
            let bytes = Bytes {
                id,
                seq: span.start,
                fin: piece.fin,
                payload,
            };
            self.note(|| format!("sends again from {}: {piece:?}", span.start));
            self.count(Counter::BytesSent);
            self.send(Datagram::Bytes, &[&bytes.emit()[..], payload].concat());
            span = piece.rest;
        }
    }

    fn on_bytes(&mut self, bytes: &Bytes<'_>) {
        let id = Some(bytes.id);
        let flow = self.table.iter().find(|entry| entry.side.id() == id);
        let Some(flow) = flow.map(|entry| entry.flow) else {
            return self.tell(&side::unknown_bytes(bytes));
        };
        self.with(&flow, |host, entry| {
            let (segment, answer) = entry.side.on_bytes(bytes);
            if let Some(segment) = segment {
                host.count(Counter::BytesInjected);
                host.inject(&flow, &segment, bytes.payload);
            }
            if let Some(answer) = &answer {
                host.tell(answer);
            }
            ((), Actions::default())
        });
    }

    fn on_record(&mut self, record: &Record) {
        self.note(|| format!("hears {record:?}"));
        if (record.recipient() == Role::Primary) != self.speaks {
            return self.count(Counter::PeerBadMessage);
        }
        if let Record::Open(open) = record {
            return self.on_open(open);
        }
        let id = Some(record.id());
        let flow = self.table.iter().find(|entry| entry.side.id() == id);
        if let Some(flow) = flow.map(|entry| entry.flow) {
            self.with(&flow, |host, entry| {
                if let (Record::Progress(progress), Side::Primary(_)) = (record, &entry.side) {
                    host.facts(&flow).progress(progress);
                }
                let actions = match record {
                    Record::Move(id) => {
                        let before = host.engine.mover();
                        entry.side.carry(*id, host.instant(), before)
                    }
                    record => entry.side.on_record(record, host.instant()),
                };
                ((), actions)
            });
        } else {
            // A bucket is a port here.
            let port = (record.id().0 >> 32) as u16;
            self.table
                .retain(|entry| entry.flow.client.port != port || !entry.side.is_void_by(record));
            if let Some(answer) = side::unknown(record) {
                self.tell(&answer);
            }
        }
    }

    fn on_open(&mut self, open: &Open) {
        let (found, now) = (self.find(&open.flow), self.instant());
        let opening = side::open(found.map(|at| &mut self.table[at].side), open, now);
        if let Some(side) = opening.shadow {
            let heritage = found.map(|at| self.table.remove(at));
            let heritage = heritage.filter(|_| opening.inherits);
            self.table.push(Entry {
                flow: open.flow,
                side,
                queue: heritage.map_or(VecDeque::new(), |entry| entry.queue),
                retained: vec![],
            });
        }
        self.with(&open.flow, |_, _| ((), opening.actions));
    }

    // Programs.

    /// Lets packets, programs and the stack work until none has anything left to do.
    fn settle(&mut self) {
        loop {
            while let Some(packet) = self.backlog.pop_front() {
                self.local_in(packet);
            }
            if !self.run_programs() && self.backlog.is_empty() {
                return;
            }
            self.poll_stack();
        }
    }

    fn run_programs(&mut self) -> bool {
        let (mut moved, mut wrong) = (false, None);
        for at in 0..self.slots.len() {
            let Slot { socket, program } = &mut self.slots[at];
            let handle = *socket;
            let socket = self.stack.socket(handle);
            let state = socket.state();
            match (program, socket.remote_endpoint()) {
                (Some(program), remote) => {
                    match program.run(self.now, &mut self.stack) {
                        Ok(ran) => moved |= ran,
                        Err(what) => wrong = Some(what),
                    }
                    if program.failed {
                        let port = FIRST_PORT + program.talk.number as u16;
                        let protected = self.table.iter().any(|entry| {
                            entry.flow.client.port == port && entry.state() == "protected"
                        });
                        self.failures.entry(port).or_insert(protected);
                    }
                    let gone = state == SocketState::Closed && remote.is_none();
                    if let Some(end) = program.end {
                        let port = FIRST_PORT + program.talk.number as u16;
                        let heard = program.heard;
                        self.ended.entry(port).or_insert((end, heard));
                        if gone {
                            self.slots[at].program = None;
                            self.stack.listen(handle, PORT);
                        }
                    }
                }
                (program, Some(remote))
                    if state != SocketState::SynReceived && state != SocketState::Closed =>
                {
                    let talk = &self.schedule.talks[usize::from(remote.port - FIRST_PORT)];
                    let mut talk = talk.clone();
                    talk.fails = talk.fails.filter(|_| self.index == 0);
                    *program = Some(Program::new(
                        &talk,
                        true,
                        self.schedule.paces[self.index],
                        handle,
                    ));
                    moved = true;
                }
                (None, None) if state == SocketState::Closed => self.stack.listen(handle, PORT),
                _ => {}
            }
        }
        if let Some(what) = wrong {
            self.fail(what);
        }
        moved
    }

    // What must be so after each event.

    fn check(&mut self) {
        let room = self.schedule.natures[self.index].send as u32;
        let mut failure = None;
        let mut fail = |flow: Flow, what: String| failure = failure.take().or(Some((flow, what)));
        for entry in &self.table {
            let (flow, port) = (entry.flow, entry.flow.client.port);
            let facts = self.facts.get(&port).cloned().unwrap_or_default();
            let (count, bytes) = (
                entry.queue.len(),
                entry.queue.iter().map(|kept| kept.len).sum::<u32>(),
            );
            match &entry.side {
                Side::Primary(connection) => {
                    let protected = connection.state() == primary::State::Protected;
                    if let Some(what) = facts.withheld_too_long().filter(|_| protected) {
                        fail(flow, what);
                    }
                }
                Side::Shadow(shadow) if shadow.is_ready() => {
                    // smoltcp repeats old bytes together with new ones, and they are held once more.
                    if bytes > 4 * room {
                        fail(
                            flow,
                            format!("{bytes} bytes held, with room for {room} in the socket"),
                        );
                    }
                    let late = entry
                        .queue
                        .iter()
                        .any(|kept| !kept.own_end.after(facts.una));
                    if late && !shadow.is_speaking() {
                        fail(
                            flow,
                            "a segment is held that the client has acknowledged".into(),
                        );
                    }
                    let kept = entry.queue.back().map(|kept| kept.own_end);
                    if shadow.state_name() == "shadow"
                        && facts.unheard().is_some_and(|end| kept != Some(end))
                    {
                        fail(
                            flow,
                            "what the shadow sent is neither held nor acknowledged".into(),
                        );
                    }
                    if shadow.is_speaking() && count > 0 {
                        fail(flow, "a segment is held after the takeover".into());
                    }
                }
                _ if count > MAX_PENDING => fail(flow, format!("{count} segments wait")),
                _ => {}
            }
        }
        if let Some((flow, what)) = failure {
            self.fail_at(&flow, what);
        }
    }
}
