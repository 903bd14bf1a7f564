// SPDX-License-Identifier: GPL-2.0

//! The simulation: client and hosts on the network, event by event in virtual time.
//!
//! ```text
//!             ┌──▶ host 0 ──┐
//!   client ───┤     ▲ │     ├──▶ client
//!             └──▶ host 1 ──┘
//! ```
//!
//! Each arrow is a link of its own. Of a schedule's seed everything follows, so it replays exactly.

use crate::check::{Situation, Told};
use crate::client::Client;
use crate::host::{Fencing, Gate, Host, Out, FIRST_PORT};
use crate::link::{to_client, to_host, to_peer, to_peer_by_second};
use crate::rng::Rng;
use crate::schedule::{Blow, Safety, Schedule, When};
use crate::talk::End;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use sttcp::counters::Counter;
use sttcp::node::{Role, State};
use sttcp::primary::{self, Policy};
use sttcp::program::Scope;
use sttcp::side::Side;
use sttcp::wire::{Flags, Packet};

/// So long after the last fault, and after the last byte, every stream must have ended, in us: two stalls, and some timeouts of TCP.
const PATIENCE: u64 = 60_000_000;

/// So long after the last stream's end no connection may be in a table: TIME-WAIT, timeouts of sockets that nobody answers, and a SYN that came late.
const TAIL: u64 = 65_000_000;

/// The same for one that cannot go on: the engine's patience, but for the silence before the takeover, and losses.
const HOLE_PATIENCE: u64 = 6_000_000;

/// So long at least a client may take to repeat what a host lacks that has taken over.
const REPEAT: u64 = 2_000_000;

/// So long after its peer's death an operator has an isolated host go on alone.
const OPERATOR: u64 = 2_000_000;

/// The client's number among the nodes.
const CLIENT: usize = 2;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A segment reaches this node.
    Segment(usize, Vec<u8>),
    /// A datagram reaches this host, by this path.
    Datagram(usize, usize, Vec<u8>),
    /// This node wanted to run.
    Wake(usize),
    /// The blow, if its time was set.
    Blow,
    /// This host comes back as backup.
    Return(usize),
    /// The program that this host runs to switch the other off comes to its end, well or not.
    Fenced(usize, bool),
    /// An operator sees to this host, whose peer is dead.
    GoAlone(usize),
}

/// How a connection may end other than finished, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Excuse {
    /// The primary died when the handshake was through on one side at most.
    HalfOpen,
    /// The primary died before the backup had heard of the connection.
    Opening,
    /// The primary had acknowledged client bytes that only it had, as it may with `ack_policy=eager`. Such a connection must not hang.
    Hole,
    /// It looked like such a one: for seconds the network let nothing through of what the client repeated to the backup.
    Unheard,
    /// The connection was unprotected when its host died.
    Unprotected,
    /// Two hosts spoke at a time: the backup took a silent primary for a dead one.
    Split,
    /// The host that had carried it on died before the one that it had succeeded heard of that, and the latter goes on with what it has.
    Forgotten,
    /// The server's program has failed, and there was no other.
    Program,
    /// It began while an operator moved the service.
    Moved,
    /// No host speaks any longer.
    Dead,
}

/// What came of a schedule.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub events: u64,
    /// Connections that ended as planned, and that did not for this reason.
    pub finished: u32,
    pub lost: Vec<Excuse>,
    /// Takeovers, and connections that went on through one.
    pub takeovers: u32,
    pub continued: u32,
    pub split: bool,
    /// Of both hosts, and of those that died.
    pub counters: Vec<u32>,
    /// What must not be, and was.
    pub failure: Option<String>,
}

struct World {
    schedule: Schedule,
    rng: Rng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    serial: u64,
    wakes: [u64; 3],
    addr: IpAddr,
    hosts: [Host; 2],
    client: Client,
    told: Vec<Told>,
    excuses: Vec<Option<Excuse>>,
    /// Which connections went on through a takeover.
    goes_on: Vec<bool>,
    /// Of these, which the primary had not told of.
    guessed: Vec<bool>,
    /// When the operator's move of the service was through.
    moved: u64,
    /// Who began to speak last.
    speaker: usize,
    /// Segments of the client that reached the primary, and since the first FIN.
    segments: u32,
    closing: Option<u32>,
    struck: bool,
    switched: bool,
    /// Programs that were run to switch a host off.
    fences: u32,
    last_fault: u64,
    /// How much the clients have said and heard, and since when.
    progress: (u64, u64),
    over_at: Option<u64>,
    report: Report,
}

/// Runs the schedule of `seed`.
pub fn run(seed: u64, trace: bool) -> Report {
    let mut schedule = Schedule::new(seed);
    schedule.trace = trace;
    if trace {
        println!("{schedule:#?}");
    }
    let mut world = World::new(schedule);
    world.run();
    world.report
}

impl World {
    fn new(schedule: Schedule) -> Self {
        let mut rng = Rng::new(!schedule.seed);
        let addr =
            |v4: &str, v6: &str| -> IpAddr { (if schedule.v6 { v6 } else { v4 }).parse().unwrap() };
        let service = addr("10.0.0.100", "fd00::100");
        let host = |index, role, rng: &mut Rng| {
            Host::new(index, role, &schedule, service, 0, Rng::new(rng.next()))
        };
        let hosts = [
            host(0, Role::Primary, &mut rng),
            host(1, Role::Backup, &mut rng),
        ];
        let client = Client::new(&schedule, addr("10.0.0.10", "fd00::10"), service);
        let talks = schedule.talks.len();
        let mut world = Self {
            last_fault: schedule
                .heals
                .max(schedule.pause.map_or(0, |(.., until)| until)),
            rng,
            now: 0,
            queue: BinaryHeap::new(),
            serial: 0,
            wakes: [u64::MAX; 3],
            addr: service,
            hosts,
            client,
            told: vec![Told::default(); talks],
            excuses: vec![None; talks],
            goes_on: vec![false; talks],
            guessed: vec![false; talks],
            moved: u64::MAX,
            speaker: 0,
            segments: 0,
            closing: None,
            struck: false,
            switched: false,
            fences: 0,
            progress: (0, 0),
            over_at: None,
            report: Report {
                counters: vec![0; Counter::ALL.len()],
                ..Report::default()
            },
            schedule,
        };
        for node in 0..3 {
            world.wake(node, 0);
        }
        if let When::At(at) = world.schedule.when {
            world.push(at, What::Blow);
        }
        world
    }

    fn push(&mut self, at: u64, what: What) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, what)));
    }

    fn wake(&mut self, node: usize, at: u64) {
        if at < self.wakes[node] {
            self.wakes[node] = at;
            self.push(at, What::Wake(node));
        }
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.schedule.trace {
            println!("{:10.3} ms  {}", self.now as f64 / 1000.0, line());
        }
    }

    fn fail(&mut self, what: String) {
        self.trace(|| format!("FAILS: {what}"));
        self.report.failure.get_or_insert(what);
    }

    fn run(&mut self) {
        while self.report.failure.is_none() {
            let Some(Reverse((at, _, what))) = self.queue.pop() else {
                break;
            };
            self.now = at;
            if let Some(until) = self.stands_still(&what) {
                if let What::Wake(node) = what {
                    self.wakes[node] = until;
                }
                self.push(until, what);
                continue;
            }
            self.report.events += 1;
            match what {
                What::Segment(CLIENT, packet) => self.run_client(Some(packet)),
                What::Segment(host, packet) => self.segment(host, packet),
                What::Datagram(host, path, datagram) => {
                    self.run_host(host, |host| host.received(path, &datagram))
                }
                What::Wake(node) => {
                    // There may be an earlier one by now.
                    if self.wakes[node] == at {
                        self.wakes[node] = u64::MAX;
                        if node == CLIENT {
                            self.run_client(None);
                        } else {
                            self.run_host(node, |_| {});
                        }
                    }
                }
                What::Blow => self.strike(),
                What::Return(host) => self.come_back(host),
                What::Fenced(host, done) => {
                    if done {
                        self.die(1 - host);
                    }
                    self.run_host(host, |host| host.fenced(done));
                }
                What::GoAlone(host) => {
                    if self.hosts[host].alive && !self.hosts[1 - host].alive {
                        self.run_host(host, Host::go_alone);
                        // It may not have missed the other yet.
                        self.push(self.now + OPERATOR, What::GoAlone(host));
                    }
                }
            }
            if self.is_over() {
                break;
            }
        }
        self.sum_up();
    }

    /// When the host goes on to which this happens, if it does not run.
    fn stands_still(&self, what: &What) -> Option<u64> {
        let host = match what {
            What::Segment(host, _) | What::Datagram(host, ..) | What::Wake(host) => *host,
            What::Fenced(host, _) | What::GoAlone(host) => *host,
            What::Blow | What::Return(_) => return None,
        };
        let (paused, from, until) = self.schedule.pause?;
        (host == paused && (from..until).contains(&self.now)).then_some(until)
    }

    /// A host is no more.
    fn die(&mut self, host: usize) {
        self.last_fault = self.last_fault.max(self.now);
        self.trace(|| format!("host {host} dies"));
        self.hosts[host].alive = false;
        if let Some(wait) = self.schedule.returns {
            self.push(self.now + wait, What::Return(host));
        }
        if self.schedule.safety == Safety::Yield {
            self.push(self.now + OPERATOR, What::GoAlone(1 - host));
        }
    }

    /// A host wants the other to be switched off.
    fn fence(&mut self, host: usize, wish: Fencing) {
        let Safety::Fence {
            takes,
            fails,
            hangs,
        } = self.schedule.safety
        else {
            return self.fail(format!(
                "host {host} has nothing to switch the other off with"
            ));
        };
        self.trace(|| format!("    {host}  fences: {}", wish == Fencing::Begin));
        match wish {
            Fencing::Begin => {
                self.fences += 1;
                let works = self.fences > fails;
                if works || !hangs {
                    self.push(self.now + takes, What::Fenced(host, works));
                }
            }
            Fencing::Stop => self.push(self.now + 1000, What::Fenced(host, false)),
        }
    }

    /// A segment of the client reaches a host.
    fn segment(&mut self, host: usize, packet: Vec<u8>) {
        let fin = Packet::parse(&packet, packet.len())
            .is_ok_and(|parsed| parsed.segment.flags.contains(Flags::FIN));
        self.trace(|| format!("-> {host}  {}", self.describe(&packet)));
        self.run_host(host, |host| host.receive(packet));
        if host == 0 && !self.struck {
            self.segments += 1;
            if fin {
                self.closing.get_or_insert(0);
            }
            self.closing = self.closing.map(|count| count + 1);
            let due = match self.schedule.when {
                When::Segments(count) => self.segments >= count,
                When::Closing(count) => self.closing.is_some_and(|closing| closing > count),
                When::At(_) => false,
            };
            if due {
                self.strike();
            }
        }
    }

    /// A host runs, and what it sends leaves.
    fn run_host(&mut self, index: usize, event: impl FnOnce(&mut Host)) {
        let host = &mut self.hosts[index];
        if !host.alive {
            return;
        }
        let spoke = host.speaks;
        host.run(self.now, event);
        for note in std::mem::take(&mut host.notes) {
            self.trace(|| format!("    {index}  {note}"));
        }
        let host = &mut self.hosts[index];
        let failure = host.failure.take();
        let out = std::mem::take(&mut host.out);
        let (speaks, wakes_at) = (host.speaks, host.wakes_at());
        let fence = host.fence.take();
        if speaks && !spoke {
            self.speaker = index;
            self.took_over(index);
        }
        let alone = index != self.speaker && speaks && !self.hosts[index].joined();
        if alone && self.switched && !self.report.split {
            // It has not heard of the operator's move, and serves on as one whose backup is lost.
            self.report.split = true;
            self.excuse_all(Excuse::Split);
        }
        if !speaks && spoke {
            self.trace(|| format!("    {index}  steps down"));
            self.moved = self.now;
            // Until now it has told clients of what only it had.
            for at in 0..self.excuses.len() {
                if self.switched && self.has_hole(1 - index, FIRST_PORT + at as u16) {
                    self.excuses[at].get_or_insert(Excuse::Hole);
                }
            }
        }
        if let Some(wish) = fence {
            self.fence(index, wish);
        }
        if let Some((flow, what)) = failure {
            let excused = flow.is_some_and(|flow| {
                self.excuse(usize::from(flow.client.port - FIRST_PORT))
                    .is_some()
            });
            if !excused {
                self.fail(what);
            }
        }
        // A crash in the middle of an event is a crash before the last of its packets left.
        let dies = !self.struck && self.dies_now(index);
        let leave = match self.schedule.blow {
            Blow::Crash { leave, .. } if dies => leave,
            _ => usize::MAX,
        };
        for out in out.into_iter().take(leave) {
            match out {
                Out::Client { packet, gate } => {
                    if index != self.speaker && gate != Gate::Carried && self.is_safe() {
                        self.speak_again(index);
                    }
                    self.judge(index, &packet, gate);
                    self.pass(to_client(index), packet, |packet| {
                        What::Segment(CLIENT, packet)
                    });
                }
                Out::Peer(path, datagram) => {
                    let link = match path {
                        0 => to_peer(index),
                        _ => to_peer_by_second(index),
                    };
                    self.pass(link, datagram, |datagram| {
                        What::Datagram(1 - index, path, datagram)
                    });
                }
            }
        }
        self.wake(index, wakes_at.max(self.now + 1));
    }

    /// Whether the blow falls at the end of the present event, and on this host.
    fn dies_now(&self, index: usize) -> bool {
        let next = match self.schedule.when {
            When::Segments(count) => self.segments + 1 >= count,
            When::Closing(count) => self.closing.is_some_and(|closing| closing + 1 > count),
            When::At(_) => false,
        };
        next && index == 0 && matches!(self.schedule.blow, Blow::Crash { host: 0, .. })
    }

    fn run_client(&mut self, packet: Option<Vec<u8>>) {
        if let Some(packet) = &packet {
            self.trace(|| format!("-> C  {}", self.describe(packet)));
        }
        self.client.run(self.now, packet);
        for packet in std::mem::take(&mut self.client.out) {
            for host in 0..2 {
                self.pass(to_host(host), packet.clone(), |packet| {
                    What::Segment(host, packet)
                });
            }
        }
        if let Some(what) = self.client.failure.take() {
            self.fail(what);
        }
        if let Some(at) = self.client.wakes_at() {
            self.wake(CLIENT, at.max(self.now + 1));
        }
    }

    fn pass(&mut self, link: usize, bytes: Vec<u8>, what: impl Fn(Vec<u8>) -> What) {
        let arrivals = self.schedule.links[link].pass(self.now, &mut self.rng);
        if arrivals.is_empty() {
            self.trace(|| {
                format!(
                    "lost {}  {}",
                    self.schedule.links[link].name,
                    self.describe(&bytes)
                )
            });
        }
        for at in arrivals {
            self.push(at, what(bytes.clone()));
        }
    }

    /// Looks at what a host sends to the client.
    fn judge(&mut self, index: usize, packet: &[u8], gate: Gate) {
        self.trace(|| format!("{index} ->  {}", self.describe(packet)));
        let Ok(parsed) = Packet::parse(packet, packet.len()) else {
            return self.fail(format!("host {index} sends what is no segment"));
        };
        let port = parsed.destination.port;
        let at = usize::from(port - FIRST_PORT);
        let Some(own) = self.hosts[index].facts.get(&port) else {
            return self.fail(format!(
                "host {index} sends a segment of a connection that it does not have"
            ));
        };
        // Whom another has succeeded may be behind that one.
        if self.report.split || self.excuse(at).is_some() || index != self.speaker {
            return;
        }
        if gate == Gate::Early {
            return self.told[at].shake_hands(&parsed.segment);
        }
        let peer = &self.hosts[1 - index];
        let other = peer.facts.get(&port);
        let guessable = peer.alive
            && peer.joined()
            && !peer.is_late(self.now)
            && peer
                .entry(port)
                .is_some_and(|entry| entry.side.is_guessable(peer.instant_at(self.now)));
        if guessable && !parsed.segment.is_empty() && !parsed.segment.flags.contains(Flags::SYN) {
            return self.fail(format!(
                "host {index}, connection {at}: the server speaks, and the backup would go on as if it had not"
            ));
        }
        let lives = || {
            peer.alive
                && peer
                    .entry(port)
                    .is_some_and(|entry| entry.state() == "shadow")
        };
        let confirmed = || self.hosts[index].counter(Counter::CloseUnconfirmed) == 0;
        let gated = gate == Gate::Closed || gate == Gate::Leaving && lives() && confirmed();
        let copied = match gate {
            Gate::Copied(end) => Some(end),
            _ => None,
        };
        let situation = Situation {
            gated,
            copied,
            migrated: self.report.takeovers > 0,
            guessed: self.guessed[at],
        };
        let client_bytes = self.schedule.talks[at].client_bytes();
        if let Err(what) = self.told[at].send(&parsed.segment, situation, own, other, client_bytes)
        {
            self.fail(format!("host {index}, connection {at}: {what}"));
        }
    }

    fn strike(&mut self) {
        self.struck = true;
        self.last_fault = self.last_fault.max(self.now);
        self.trace(|| format!("{:?}", self.schedule.blow));
        match self.schedule.blow {
            Blow::None => {}
            Blow::Crash { host, .. } => {
                if self.schedule.goodbye {
                    self.run_host(host, Host::say_goodbye);
                }
                self.die(host);
            }
            Blow::Switch => {
                if self.hosts[1].joined() {
                    self.switched = true;
                    self.run_host(1, Host::take_over_on_request);
                }
            }
        }
    }

    fn come_back(&mut self, index: usize) {
        if !self.hosts[1 - index].speaks {
            // It would wait for ever for a primary.
            return;
        }
        self.trace(|| format!("host {index} comes back"));
        self.last_fault = self.last_fault.max(self.now);
        self.add_counters(index);
        let rng = Rng::new(self.rng.next());
        let host = Host::new(
            index,
            Role::Backup,
            &self.schedule,
            self.addr,
            self.now,
            rng,
        );
        let before = std::mem::replace(&mut self.hosts[index], host);
        // What it had was acknowledged while it had it.
        self.hosts[index].facts = before.facts;
        self.wakes[index] = u64::MAX;
        self.wake(index, self.now + 1);
    }

    /// A host speaks from now on: which connections must go on, and which need not.
    fn took_over(&mut self, index: usize) {
        self.trace(|| format!("    {index}  takes over"));
        self.report.takeovers += 1;
        self.last_fault = self.last_fault.max(self.now);
        let other = 1 - index;
        let by_order = self.switched && self.report.takeovers == 1;
        if self.hosts[other].alive && self.hosts[other].may_speak(self.now) && !by_order {
            if self.is_safe() {
                self.fail(format!("host {index} takes over, and the other may speak"));
            }
            self.report.split = true;
            return self.excuse_all(Excuse::Split);
        }
        for at in 0..self.excuses.len() {
            self.guessed[at] |= self.hosts[index]
                .entry(FIRST_PORT + at as u16)
                .is_some_and(|entry| matches!(&entry.side, Side::Shadow(it) if it.is_guessed()));
            // Nobody knows what window the primary's SYN-ACK told of.
            if self.schedule.terms.policy == Policy::Eager || self.guessed[at] {
                self.told[at].forget_window();
            }
            let Some(program) = &self.client.programs[at] else {
                continue;
            };
            if program.end.is_some() {
                continue;
            }
            let port = FIRST_PORT + at as u16;
            let goes_on = self.hosts[index]
                .entry(port)
                .is_some_and(|entry| entry.side.is_migrated());
            self.report.continued += u32::from(goes_on);
            self.goes_on[at] |= goes_on;
            let before = &self.hosts[other];
            let stood = match before.entry(port).map(|entry| &entry.side) {
                Some(Side::Primary(connection)) => Some(connection.state()),
                _ => before.left.get(&port).copied(),
            };
            let excuse = match (stood, before.entry(port).map(|entry| &entry.side)) {
                (Some(state), _) => match state {
                    primary::State::HalfOpen => Some(Excuse::HalfOpen),
                    primary::State::Opening if !goes_on => Some(Excuse::Opening),
                    _ if self.has_hole(index, port) => Some(Excuse::Hole),
                    primary::State::Opening => Some(Excuse::Opening),
                    primary::State::Protected | primary::State::Moving | primary::State::Ended => {
                        None
                    }
                    // An isolated host has said nothing since.
                    primary::State::Unprotected(Counter::UnprotectedBackupLost)
                        if goes_on && before.engine.state() == State::Isolated =>
                    {
                        None
                    }
                    // What the shadow lacked was not acknowledged before the backup had dropped it.
                    primary::State::Unprotected(why)
                        if goes_on
                            && why != Counter::UnprotectedBackupLost
                            && before.counter(Counter::CloseUnconfirmed) == 0 =>
                    {
                        None
                    }
                    primary::State::Unprotected(_) => Some(Excuse::Unprotected),
                },
                // It had gone on there through a takeover, and so without protection.
                (None, Some(Side::Shadow(_))) if !goes_on => Some(Excuse::Unprotected),
                _ => None,
            };
            let excuse = match excuse {
                Some(Excuse::HalfOpen | Excuse::Opening) if goes_on => None,
                excuse => excuse,
            };
            self.trace(|| format!("       connection {at} goes on: {goes_on}, excuse: {excuse:?}"));
            self.excuses[at] = self.excuses[at].or(excuse);
        }
    }

    /// A host speaks that was succeeded.
    fn speak_again(&mut self, index: usize) {
        let successor = &self.hosts[self.speaker];
        if successor.alive && successor.speaks {
            self.fail(format!("host {index} speaks beside its successor"));
        }
        self.speaker = index;
        self.excuse_all(Excuse::Forgotten);
    }

    /// Whether two hosts must never speak: an operator may have them.
    fn is_safe(&self) -> bool {
        self.schedule.safety != Safety::None && !self.switched
    }

    /// Whether the client has been told of bytes by the other host that this one lacks.
    fn has_hole(&self, index: usize, port: u16) -> bool {
        let facts = |host: usize| self.hosts[host].facts.get(&port);
        self.schedule.terms.policy == Policy::Eager
            && facts(1 - index).is_some_and(|before| before.told_beyond(facts(index)))
    }

    fn excuse(&self, at: usize) -> Option<Excuse> {
        // What began while two hosts spoke has met both.
        let known = self.goes_on[at] && !self.guessed[at];
        let met_both = self.switched && !known && self.schedule.talks[at].start < self.moved;
        let port = FIRST_PORT + at as u16;
        let failed = self.hosts[0].failures.get(&port);
        // Or the other was lost or left behind meanwhile, or too slow to be told from one that fails as well, or has failed where the client cannot tell.
        let unclear = [
            Counter::FarewellsSaid,
            Counter::UnprotectedServerEnded,
            Counter::UnprotectedServerHung,
            Counter::UnprotectedBackupLost,
            Counter::UnprotectedStalled,
        ];
        // A connection that moved has nobody when the two lose each other.
        let stays = match self.schedule.terms.watch.scope {
            Scope::Connection => &[Counter::MovedReset][..],
            Scope::Node => &[],
        };
        let unclear = unclear
            .iter()
            .chain(stays)
            .any(|counter| self.hosts[0].counter(*counter) > 0);
        let alone = failed.is_some_and(|protected| !protected || unclear);
        self.excuses[at]
            .or(met_both.then_some(Excuse::Moved))
            .or(alone.then_some(Excuse::Program))
    }

    fn excuse_all(&mut self, excuse: Excuse) {
        for one in &mut self.excuses {
            one.get_or_insert(excuse);
        }
    }

    /// Whether there is nothing left to see; fails when there should be nothing left.
    fn is_over(&mut self) -> bool {
        let serves = |host: &Host| host.alive && (host.speaks || host.joined());
        if !self.hosts.iter().any(serves) {
            // A backup that has not heard its primary, or has heard from it that it goes on alone, does not suspect it.
            self.excuse_all(Excuse::Dead);
        }
        let dead = !self.hosts.iter().any(|host| host.alive && host.speaks)
            && self.struck
            && self.excuses.contains(&Some(Excuse::Dead));
        if dead {
            return true;
        }
        if !self.client.is_done() {
            let moved = self.client.progress();
            if moved > self.progress.0 {
                self.progress = (moved, self.now);
            }
            let waited = self
                .now
                .saturating_sub(self.last_fault.max(self.progress.1));
            let silence = self
                .hosts
                .iter()
                .map(|host| host.silence.as_micros() as u64);
            let silence = silence.max().unwrap_or(0);
            for at in 0..self.excuses.len() {
                let open = self.client.programs[at]
                    .as_ref()
                    .is_some_and(|program| program.end.is_none());
                let patience = match self.excuse(at) {
                    None => PATIENCE,
                    Some(Excuse::Hole) => HOLE_PATIENCE + silence,
                    Some(_) => u64::MAX,
                };
                if open && waited > patience {
                    self.fail(format!("connection {at} hangs"));
                }
            }
            return waited > PATIENCE;
        }
        let over_at = *self.over_at.get_or_insert(self.now);
        let left = self.hosts.iter().find_map(|host| {
            let entry = host.table.first().filter(|_| host.alive)?;
            let at = entry.flow.client.port - FIRST_PORT;
            Some(format!(
                "host {} has connection {at} left: {}",
                host.index,
                entry.state()
            ))
        });
        match left {
            Some(what) if self.now > over_at + TAIL => {
                if !self.report.split {
                    self.fail(what);
                }
                true
            }
            left => left.is_none() && (self.struck || self.now > over_at + 1_000_000),
        }
    }

    fn add_counters(&mut self, index: usize) {
        for (sum, count) in self
            .report
            .counters
            .iter_mut()
            .zip(&self.hosts[index].counters)
        {
            *sum += count;
        }
    }

    fn sum_up(&mut self) {
        for host in 0..2 {
            self.add_counters(host);
        }
        for at in 0..self.excuses.len() {
            let talk = &self.schedule.talks[at];
            let Some(program) = &self.client.programs[at] else {
                continue;
            };
            let port = FIRST_PORT + at as u16;
            let served = self.hosts.iter().find_map(|host| {
                host.ended
                    .get(&port)
                    .filter(|_| host.speaks && host.alive)
                    .copied()
            });
            let may_reset = talk.server_aborts.is_some();
            let fine = match program.end {
                Some(End::Finished) => match served {
                    // Whoever serves has got everything too.
                    Some((End::Finished, heard)) => heard == talk.client_bytes(),
                    Some((End::Reset, _)) | None => true,
                    Some((End::Aborted, _)) => may_reset || talk.fails.is_some(),
                },
                Some(End::Aborted) => true,
                // The server's socket may be gone before the client's program has looked, and a late repetition meets a reset, as in any TCP.
                // A server that dies when all is said, and resets, is not told from one that closes with bytes unread.
                Some(End::Reset) => {
                    may_reset
                        || talk.fails.is_some() && program.heard == talk.server_bytes()
                        || program.heard == talk.server_bytes()
                            && served == Some((End::Finished, talk.client_bytes()))
                }
                None => false,
            };
            if fine {
                self.report.finished += 1;
            } else if let Some(excuse) = self.excuse(at) {
                self.report.lost.push(excuse);
            } else if self.is_unheard(port) {
                self.report.lost.push(Excuse::Unheard);
            } else if self.report.failure.is_none() {
                let (end, heard, of) = (program.end, program.heard, talk.server_bytes());
                self.fail(format!("connection {at} ended as {end:?} after {heard} of {of} bytes; its server: {served:?}"));
            }
        }
    }

    /// Whether the host that speaks gave a connection of an eager primary up for a hole, after patience enough.
    fn is_unheard(&self, port: u16) -> bool {
        let facts = self.hosts[self.speaker].facts.get(&port);
        let waited = facts.and_then(|facts| facts.gave_up_after);
        self.schedule.terms.policy == Policy::Eager && waited.is_some_and(|waited| waited >= REPEAT)
    }

    /// A packet in a line, its numbers counted from the initial ones where those are known.
    fn describe(&self, packet: &[u8]) -> String {
        let Ok(parsed) = Packet::parse(packet, packet.len()) else {
            return format!("{} bytes", packet.len());
        };
        let segment = &parsed.segment;
        let inbound = parsed.destination.port == crate::host::PORT;
        let port = if inbound {
            parsed.source.port
        } else {
            parsed.destination.port
        };
        let at = usize::from(port - FIRST_PORT);
        let told = &self.told[at];
        let (seq, ack) = if inbound {
            (segment.seq.since(told.isn), segment.ack.since(told.iss))
        } else {
            (segment.seq.since(told.iss), segment.ack.since(told.isn))
        };
        let options = segment
            .options
            .timestamps
            .map_or(String::new(), |ts| format!(" ts {} {}", ts.tsval, ts.tsecr));
        let sack = segment
            .options
            .sack
            .iter()
            .map(|(left, right)| format!(" sack {left}..{right}"));
        format!(
            "{at}: {:?} {seq}+{} ack {ack} win {}{options}{}",
            segment.flags,
            segment.payload_len,
            segment.window,
            sack.collect::<String>()
        )
    }
}
