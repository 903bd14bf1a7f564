// SPDX-License-Identifier: GPL-2.0

//! Two hosts, clients, the links between them, and what must hold whatever happens.
//!
//! ```text
//!              ┌── to_host[0] ──▶ ┌────────┐ ◀── peer[0] ──┐
//!  ┌─────────┐ │ ◀─ to_client[0] ─│ host 0 │               │
//!  │ clients ├─┤                  └────────┘ ── peer[1] ─┐ │
//!  └─────────┘ │ ── to_host[1] ──▶ ┌────────┐ ◀──────────┘ │
//!              └ ◀─ to_client[1] ──│ host 1 │ ─────────────┘
//!                                  └────────┘
//! ```
//!
//! A link passes everything on at once, keeps it to be delivered in any order, or loses it.

mod end;
mod forge;
mod laws;

use crate::frame::{Frame, Origin, Short};
use crate::host::{Host, Sent, FLOWS};
use crate::step::{Aim, HabitsOf, Line, Mode, Setting, Step};
use crate::tcp::{State as Stack, Tcp, MSS};
use std::{collections::VecDeque, time::Duration};
use sttcp::{
    detector::Timing,
    node::{Role, State},
    paths::MAX_PATHS,
    primary,
    seq::SeqNumber,
    side::Side,
    time::Instant,
    wire::{Flags, Flow, Options, Sack, Segment, Timestamps},
};

const TIMING: Timing = Timing {
    interval: Duration::from_millis(50),
    misses: 3,
};

/// How often lively ends send again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// How long a host remembers a connection whose socket is gone (`engine/primary.rs`): a client's first four timeouts.
const LINGER: Duration = Duration::from_secs(3);

/// Datagrams that may be repeated much later.
const RECORDED: usize = 32;

#[derive(Debug)]
struct Link<T> {
    mode: Mode,
    queue: VecDeque<T>,
}

impl<T: Clone> Link<T> {
    fn new() -> Self {
        Self {
            mode: Mode::Pass,
            queue: VecDeque::new(),
        }
    }

    fn push(&mut self, item: T) {
        // A sender that nobody answers does not send for ever.
        if !matches!(self.mode, Mode::Lose) && self.queue.len() < 512 {
            self.queue.push_back(item);
        }
    }

    fn next(&mut self) -> Option<T> {
        match self.mode {
            Mode::Pass => self.queue.pop_front(),
            Mode::Keep | Mode::Lose => None,
        }
    }

    /// Takes the `nth` of what is kept, or a copy of it.
    fn take(&mut self, nth: u8, keep: bool) -> Option<T> {
        let at = usize::from(nth).checked_rem(self.queue.len())?;
        if keep {
            self.queue.get(at).cloned()
        } else {
            self.queue.remove(at)
        }
    }

    fn lose(&mut self, nth: u8) {
        let _ = self.take(nth, false);
    }
}

/// What is true of a connection, whatever the hosts believe.
#[derive(Debug, Default)]
struct Truth {
    /// Which host carries it.
    owner: Option<usize>,
    /// Its primary has gone on without the backup.
    plain: bool,
    /// It had to end: the host that carried it is gone, and no other had it.
    lost: bool,
    /// Its host has reset it, on purpose.
    ended: bool,
    /// The client has reset it, and will not do so again should that be lost.
    reset: bool,
    /// When its host last heard the client.
    heard: Option<Instant>,
    /// The furthest that each host's TCP has taken of the client's bytes, and of which connection.
    taken: [Option<(SeqNumber, SeqNumber)>; 2],
    /// The right edge that a host's TCP told the client, and of which connection.
    edge: Option<(usize, SeqNumber, SeqNumber)>,
}

pub struct World {
    now: Instant,
    flows: [Flow; FLOWS],
    clients: [Tcp; FLOWS],
    hosts: [Host; 2],
    alive: [bool; 2],
    frozen: [bool; 2],
    to_host: [Link<(usize, Frame)>; 2],
    to_client: [Link<(usize, Frame)>; 2],
    /// By path, then by the host at its end.
    peer: [[Link<Vec<u8>>; 2]; MAX_PATHS],
    recorded: [VecDeque<(usize, Vec<u8>)>; 2],
    truth: [Truth; FLOWS],
    stream: u32,
    closing: bool,
    /// Both hosts spoke at once: nothing is promised (README, Limits).
    split: bool,
    /// An operator has said that the other host is dead, or made a second primary: only he makes two speakers where primaries speak by lease.
    meddled: bool,
    yields: bool,
    /// Nothing was lost, delayed, stopped or taken over.
    clean: bool,
}

impl World {
    pub fn new(setting: &Setting) -> Self {
        let flow = |number: u16| {
            let (client, service) = if setting.ipv6 {
                ("fd00::10", "fd00::100")
            } else {
                ("10.0.0.10", "10.0.0.100")
            };
            let end = |addr: &str, port| sttcp::wire::Endpoint::new(addr.parse().unwrap(), port);
            Flow {
                client: end(client, 40_000 + number),
                service: end(service, 80),
            }
        };
        let flows = [flow(0), flow(1)];
        let client = setting.client.habits();
        let [a, mut b] = setting.hosts.map(HabitsOf::habits);
        // That two hosts choose the same numbers is not what is looked for.
        b.isn = !a.isn ^ (b.isn >> 8);
        // The options of the two hosts should be the same (README, step 3).
        let suits = a.suits(&b);
        let mut world = Self {
            now: Instant::from_nanos(1_000_000_000),
            flows,
            clients: [Tcp::new(client), Tcp::new(client)],
            hosts: [
                Host::new(flows, a, suits, setting, setting.random[0]),
                Host::new(
                    flows,
                    b,
                    suits,
                    setting,
                    !setting.random[0] ^ (setting.random[1] >> 8),
                ),
            ],
            alive: [true; 2],
            frozen: [false; 2],
            to_host: [Link::new(), Link::new()],
            to_client: [Link::new(), Link::new()],
            peer: [(); MAX_PATHS].map(|()| [Link::new(), Link::new()]),
            recorded: [VecDeque::new(), VecDeque::new()],
            truth: [Truth::default(), Truth::default()],
            stream: u32::from(setting.stream),
            closing: false,
            split: false,
            meddled: false,
            yields: setting.yields,
            clean: suits,
        };
        world.hosts[0].start(Role::Primary, 1, TIMING, world.now);
        world.hosts[1].start(Role::Backup, 1, TIMING, world.now);
        world.pass_time(200);
        assert_eq!(world.hosts[0].state(), Some(State::Protected));
        assert_eq!(world.hosts[1].state(), Some(State::Shadowing));
        world
    }

    pub fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Open { flow, gap } => self.open(usize::from(flow), gap),
            Step::Send { flow, len } => {
                self.clients[usize::from(flow)].send(len.into(), u32::MAX, false, now);
            }
            Step::SendAgain { flow, len } => {
                self.clients[usize::from(flow)].send_again(len.into(), now);
            }
            Step::Ack { flow } => self.clients[usize::from(flow)].send_ack(now),
            Step::Fin { flow } => self.clients[usize::from(flow)].send(0, 0, true, now),
            Step::Reset { flow } => {
                self.clients[usize::from(flow)].abort();
                self.truth[usize::from(flow)].reset = true;
            }
            Step::Read { who, flow, reads } => {
                let at = usize::from(flow);
                self.clean = false;
                match who % 3 {
                    2 => self.clients[at].reads = reads,
                    host => self.hosts[usize::from(host)].stacks[at].reads = reads,
                }
            }
            Step::Serve { host, flow, len } => self.serve(host, flow, len.into(), false),
            Step::ServeAgain { host, flow } => {
                if let Some(stack) = self.stack(host, flow) {
                    stack.send_again(u32::MAX, now);
                }
            }
            Step::ServerAck { host, flow } => {
                if let Some(stack) = self.stack(host, flow) {
                    stack.send_ack(now);
                }
            }
            Step::Close { host, flow } => self.serve(host, flow, 0, true),
            Step::Abort { host, flow } => self.abort(host, flow),
            Step::Link { line, mode } => self.set_link(line, mode),
            Step::Deliver { line, nth, keep } => self.deliver(line, nth, keep),
            Step::Lost { line, nth } => {
                self.clean = false;
                match line {
                    Line::ToHost(host) => self.to_host[usize::from(host)].lose(nth),
                    Line::ToClient(host) => self.to_client[usize::from(host)].lose(nth),
                    Line::Peer(host) => self.peer[0][usize::from(host)].lose(nth),
                    Line::Path(host) => self.peer[1][usize::from(host)].lose(nth),
                }
            }
            Step::Replay { host, nth } => {
                let host = usize::from(host);
                let recorded = self.recorded[host].get(usize::from(nth)).cloned();
                if let Some((path, datagram)) = recorded {
                    if self.runs(host) {
                        self.hosts[host].hear(path, &datagram, now);
                    }
                }
            }
            Step::Tick { millis, lively } => {
                let end = now.after(Duration::from_millis(u64::from(millis % 4096)));
                while lively && self.now.after(RETRANSMISSION) < end {
                    self.pass_time(RETRANSMISSION.as_millis() as u16);
                    self.retransmit();
                }
                self.clean &= lively || millis % 4096 < 1000;
                self.pass_time(end.since(self.now).as_millis() as u16);
            }
            Step::Freeze { host } => {
                self.frozen[usize::from(host)] = true;
                self.clean = false;
            }
            Step::Thaw { host } => {
                let frozen = std::mem::take(&mut self.frozen);
                // Before it hears of the other one it may speak, and that may have spoken, though it is frozen now.
                self.look();
                self.frozen[usize::from(!host)] = frozen[usize::from(!host)];
            }
            Step::Kill { host } => self.kill(usize::from(host)),
            Step::Start { host, primary } => self.start(usize::from(host), primary),
            Step::Stop { host } => {
                let host = usize::from(host);
                self.clean = false;
                if self.runs(host) && self.hosts[host].node.is_some() {
                    for truth in &mut self.truth {
                        truth.ended |= truth.owner == Some(host);
                    }
                    self.orphan(host);
                    self.hosts[host].leave(now);
                    self.settle_host(host);
                    self.hosts[host].off();
                }
            }
            Step::TakeOver { host } => {
                self.clean = false;
                self.meddled = true;
                if self.runs(usize::from(host)) {
                    self.hosts[usize::from(host)].take_over_on_request(now);
                }
            }
            Step::SwitchOver { host, force } => {
                self.clean = false;
                if self.runs(usize::from(host)) {
                    self.hosts[usize::from(host)].switch_over(force, now);
                }
            }
            Step::GoDown { host, panics } => {
                let host = usize::from(host);
                if self.runs(host) {
                    if panics {
                        self.hosts[host].panic(now);
                    } else {
                        self.hosts[host].shut_down(now);
                    }
                    self.settle_host(host);
                    self.kill(host);
                }
            }
            Step::Carrier { host, up } => {
                self.clean = false;
                self.hosts[usize::from(host)].linked = up;
            }
            Step::Starve { host, times } => {
                self.clean = false;
                self.hosts[usize::from(host)].short = times;
            }
            Step::Forge { .. } => self.forge(step),
        }
        self.pump();
    }

    // What the ends do.

    fn open(&mut self, at: usize, gap: u16) {
        let client = &mut self.clients[at];
        match client.state {
            Stack::SynSent => client.send_syn(self.now),
            Stack::Closed | Stack::TimeWait => {
                // Nothing of the connection before is on its way any longer.
                for host in 0..2 {
                    self.to_host[host].queue.retain(|(flow, _)| *flow != at);
                    self.to_client[host].queue.retain(|(flow, _)| *flow != at);
                }
                client.connect(gap, self.now);
                self.truth[at] = Truth::default();
            }
            _ => {}
        }
    }

    /// The TCP of a host for a flow, if it runs.
    fn stack(&mut self, host: bool, flow: bool) -> Option<&mut Tcp> {
        let host = usize::from(host);
        self.runs(host)
            .then(|| &mut self.hosts[host].stacks[usize::from(flow)])
    }

    fn runs(&self, host: usize) -> bool {
        self.alive[host] && !self.frozen[host]
    }

    fn serve(&mut self, host: bool, flow: bool, len: u32, close: bool) {
        let (now, stream) = (self.now, self.stream);
        if let Some(stack) = self.stack(host, flow) {
            stack.send(len, stream, close, now);
        }
        self.settle_host(usize::from(host));
    }

    /// The server ends the connection at once. What the other host's copy does then is not of interest.
    fn abort(&mut self, host: bool, flow: bool) {
        self.clean = false;
        if let Some(stack) = self.stack(host, flow) {
            stack.abort();
            self.truth[usize::from(flow)].lost = true;
        }
    }

    fn start(&mut self, host: usize, primary: bool) {
        self.clean = false;
        if self.hosts[host].node.is_some() {
            return;
        }
        self.alive[host] = true;
        self.frozen[host] = false;
        // A primary that begins in the middle, and be it by mistake, has the clients' addresses but not their connections.
        let other = &self.hosts[1 - host];
        let begun = self.clients.iter().any(|it| it.state == Stack::Open);
        self.split |= primary && self.alive[1 - host] && (other.speaks || begun);
        self.meddled |= primary;
        let role = if primary { Role::Primary } else { Role::Backup };
        self.hosts[host].start(role, 1, TIMING, self.now);
        self.look();
    }

    fn kill(&mut self, host: usize) {
        self.clean = false;
        if self.alive[host] {
            self.alive[host] = false;
            self.frozen[host] = false;
            self.hosts[host].die();
            self.orphan(host);
        }
    }

    /// The connections that a host carried wait for a takeover.
    fn orphan(&mut self, host: usize) {
        for truth in &mut self.truth {
            if truth.owner == Some(host) {
                truth.owner = None;
                truth.lost |= truth.plain;
            }
        }
    }

    // Links.

    fn set_link(&mut self, line: Line, mode: Mode) {
        self.clean &= matches!(mode, Mode::Pass);
        match line {
            Line::ToHost(host) => self.to_host[usize::from(host)].mode = mode,
            Line::ToClient(host) => self.to_client[usize::from(host)].mode = mode,
            Line::Peer(host) => self.peer[0][usize::from(host)].mode = mode,
            Line::Path(host) => self.peer[1][usize::from(host)].mode = mode,
        }
    }

    /// The `nth` of what is kept arrives, out of order perhaps, and once more later if it is kept still.
    fn deliver(&mut self, line: Line, nth: u8, keep: bool) {
        match line {
            Line::ToHost(host) => {
                let host = usize::from(host);
                if self.runs(host) {
                    if let Some((at, frame)) = self.to_host[host].take(nth, keep) {
                        self.host_gets(host, at, frame);
                    }
                }
            }
            Line::ToClient(host) => {
                let host = usize::from(host);
                if let Some((at, frame)) = self.to_client[host].take(nth, keep) {
                    self.client_gets(at, &frame);
                }
            }
            Line::Peer(host) => self.deliver_datagram(0, usize::from(host), nth, keep),
            Line::Path(host) => self.deliver_datagram(1, usize::from(host), nth, keep),
        }
    }

    /// The channel does not repeat what the peer said, and refuses who does.
    fn deliver_datagram(&mut self, path: usize, host: usize, nth: u8, keep: bool) {
        if let Some(datagram) = self.peer[path][host].take(nth, keep) {
            if self.runs(host) {
                self.hosts[host].hear(path, &datagram, self.now);
            }
        }
    }

    /// Until everything that passes has arrived.
    fn pump(&mut self) {
        for round in 0.. {
            assert!(round < 50_000, "a storm between the hosts");
            for host in 0..2 {
                self.settle_host(host);
            }
            if !self.pump_once() {
                break;
            }
        }
        self.look();
    }

    fn pump_once(&mut self) -> bool {
        let mut moved = false;
        for at in 0..FLOWS {
            for (segment, origin) in std::mem::take(&mut self.clients[at].out) {
                trace!(
                    "  {} client {at} sends {}",
                    self.now.as_nanos() / 1_000_000,
                    Short(&segment)
                );
                let frame = Frame::from_client(&self.flows[at], &segment, origin);
                for host in 0..2 {
                    self.to_host[host].push((at, frame.clone()));
                }
                moved = true;
            }
        }
        for host in 0..2 {
            if !self.frozen[host] {
                for path in 0..MAX_PATHS {
                    if let Some(datagram) = self.peer[path][host].next() {
                        if self.alive[host] {
                            self.hosts[host].hear(path, &datagram, self.now);
                            // What it says to that leaves before it hears the next.
                            self.settle_host(host);
                        }
                        moved = true;
                    }
                }
                if let Some((at, frame)) = self.to_host[host].next() {
                    self.host_gets(host, at, frame);
                    moved = true;
                }
            }
            if let Some((at, frame)) = self.to_client[host].next() {
                self.client_gets(at, &frame);
                moved = true;
            }
        }
        moved
    }

    /// Lets a host come to rest, and puts what it sent on the links.
    fn settle_host(&mut self, host: usize) {
        if self.runs(host) {
            self.hosts[host].run_at(self.now);
        }
        self.note_taken(host);
        for sent in std::mem::take(&mut self.hosts[host].sent) {
            match sent {
                Sent::Frame(at, frame) => {
                    // Without the module nothing reaches the host, and it has nothing to say.
                    if self.hosts[host].node.is_some() {
                        trace!(
                            "  {} host {host} sends to {at} {}",
                            self.now.as_nanos() / 1_000_000,
                            Short(&frame.segment())
                        );
                        self.emitted(host, at, &frame);
                        self.to_client[host].push((at, frame));
                    }
                }
                Sent::Datagram(path, datagram) => {
                    let other = 1 - host;
                    if self.recorded[other].len() == RECORDED {
                        self.recorded[other].pop_front();
                    }
                    self.recorded[other].push_back((path, datagram.clone()));
                    self.peer[path][other].push(datagram);
                }
            }
        }
        self.note_takeover(host);
    }

    fn host_gets(&mut self, host: usize, at: usize, frame: Frame) {
        if self.alive[host] && self.hosts[host].node.is_some() {
            self.note_heard(host, at);
            self.hosts[host].receive(at, frame, self.now);
        }
        self.settle_host(host);
    }

    fn client_gets(&mut self, at: usize, frame: &Frame) {
        let segment = frame.segment();
        let client = &mut self.clients[at];
        let ours = self.truth[at].owner.is_some() && !self.split && !self.truth[at].lost;
        let reset = segment.flags.contains(Flags::RST);
        if client.state == Stack::Open && ours && !reset && segment.flags.contains(Flags::ACK) {
            assert!(
                segment.ack <= client.nxt,
                "acknowledges what was never sent: {segment:?}"
            );
        }
        let was = client.state;
        client.receive(frame, false, self.now);
        if was == Stack::SynSent && client.state == Stack::Open {
            let client = &self.clients[at];
            let owner = (0..2).find(|host| {
                let stack = &self.hosts[*host].stacks[at];
                self.hosts[*host].speaks
                    && stack.state != Stack::Closed
                    && (stack.name(), stack.nxt) == (client.name(), client.rcv)
            });
            self.truth[at].owner = owner;
        }
        if was == Stack::Open && self.clients[at].state == Stack::Closed && ours {
            // A host that has no memory for the last acknowledgement, and that for seconds, has nothing left at last but the stack's answer.
            let starved = self.truth[at].owner.is_some_and(|owner| {
                let host = &self.hosts[owner];
                host.starved && host.stacks[at].state == Stack::Closed
            });
            assert!(!reset || starved, "reset without a cause: {segment:?}");
        }
    }

    // Time.

    fn pass_time(&mut self, millis: u16) {
        let end = self.now.after(Duration::from_millis(millis.into()));
        for round in 0.. {
            assert!(round < 100_000, "timers that fire without end");
            let next = (0..2)
                .filter(|host| self.runs(*host))
                .filter_map(|host| Some((self.hosts[host].wakes_at()?, host)))
                .min()
                .filter(|(at, _)| *at <= end);
            let Some((at, host)) = next else { break };
            self.now = self.now.max(at);
            self.hosts[host].fire(self.now);
            self.pump();
        }
        self.now = end;
        for client in &mut self.clients {
            client.tick(end);
        }
        for host in &mut self.hosts {
            for stack in &mut host.stacks {
                stack.tick(end);
            }
        }
    }

    /// Everyone's timer of retransmission, and that of delayed acknowledgements.
    fn retransmit(&mut self) {
        let now = self.now;
        for at in 0..FLOWS {
            self.clients[at].send_again(MSS, now);
            self.clients[at].send_ack(now);
            self.pump();
            for host in 0..2 {
                if self.runs(host) {
                    self.hosts[host].stacks[at].send_again(MSS, now);
                    self.hosts[host].stacks[at].send_ack(now);
                    self.pump();
                }
            }
        }
    }
}
