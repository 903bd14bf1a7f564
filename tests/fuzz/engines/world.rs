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

use crate::host::{Host, Sent, FLOWS};
use crate::tcp::{Frame, Habits, Origin, State as Stack, Tcp, MSS};
use arbitrary::Arbitrary;
use std::{collections::VecDeque, time::Duration};
use sttcp::{
    detector::Timing,
    node::{Role, State},
    primary,
    seq::SeqNumber,
    time::Instant,
    wire::{Flags, Flow, Options, Sack, Segment, Timestamps},
};

const TIMING: Timing = Timing {
    interval: Duration::from_millis(50),
    misses: 3,
};

/// How often lively ends send again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Datagrams that may be repeated much later.
const RECORDED: usize = 32;

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct HabitsOf {
    isn: u32,
    scale: Option<u8>,
    timestamps: bool,
    sack: bool,
    clock: u32,
    buffer: u8,
    prompt: bool,
}

impl HabitsOf {
    fn habits(self) -> Habits {
        let scale = self.scale.map(|scale| scale % 15);
        // No one scales a window so far that its buffer is less than a few units.
        let least = 4_u32 << scale.unwrap_or(0);
        Habits {
            isn: self.isn,
            window_scale: scale,
            timestamps: self.timestamps,
            sack: self.sack,
            clock: self.clock,
            buffer: (4096 << (self.buffer % 9)).max(least),
            prompt: self.prompt,
        }
    }
}

#[derive(Arbitrary, Debug)]
pub struct Setting {
    client: HabitsOf,
    hosts: [HabitsOf; 2],
    random: [u64; 2],
    ipv6: bool,
    /// How many bytes the server sends on each connection.
    stream: u16,
    /// What is tried at the end.
    takeover_at_end: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Mode {
    Pass,
    Keep,
    Lose,
}

/// A link, by its place in [`World`].
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Line {
    ToHost(bool),
    ToClient(bool),
    Peer(bool),
}

/// A number of the connection, and how far from it.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Aim {
    Expected(i16),
    Edge(i16),
    Far(u32),
}

#[derive(Arbitrary, Debug)]
pub enum Step {
    Open {
        flow: bool,
        gap: u16,
    },
    /// The client of a flow sends new bytes.
    Send {
        flow: bool,
        len: u16,
    },
    SendAgain {
        flow: bool,
        len: u16,
    },
    Ack {
        flow: bool,
    },
    Fin {
        flow: bool,
    },
    Reset {
        flow: bool,
    },
    /// A client or a server (0 to 2) stops reading, or goes on.
    Read {
        who: u8,
        flow: bool,
        reads: bool,
    },
    Serve {
        host: bool,
        flow: bool,
        len: u16,
    },
    ServeAgain {
        host: bool,
        flow: bool,
    },
    ServerAck {
        host: bool,
        flow: bool,
    },
    Close {
        host: bool,
        flow: bool,
    },
    Abort {
        host: bool,
        flow: bool,
    },
    Link {
        line: Line,
        mode: Mode,
    },
    Deliver {
        line: Line,
        nth: u8,
        keep: bool,
    },
    Lost {
        line: Line,
        nth: u8,
    },
    /// An earlier datagram comes once more.
    Replay {
        host: bool,
        nth: u8,
    },
    /// Time goes by. Lively ends send again what is not acknowledged.
    Tick {
        millis: u16,
        lively: bool,
    },
    Freeze {
        host: bool,
    },
    Thaw {
        host: bool,
    },
    Kill {
        host: bool,
    },
    Start {
        host: bool,
        primary: bool,
    },
    Stop {
        host: bool,
    },
    TakeOver {
        host: bool,
    },
    /// So many requests for memory fail.
    Starve {
        host: bool,
        times: u8,
    },
    Forge {
        hosts: u8,
        flow: bool,
        seq: Aim,
        ack: Aim,
        flags: u16,
        window: u16,
        len: u16,
        timestamps: Option<(i32, u32)>,
        sack: Option<(Aim, Aim)>,
    },
}

/// A segment in few words.
pub struct Short<'a>(pub &'a Segment);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let s = self.0;
        write!(
            f,
            "{:?} {}+{} ack {} win {}",
            s.flags, s.seq, s.payload_len, s.ack, s.window
        )?;
        if let Some(ts) = s.options.timestamps {
            write!(f, " ts {} {}", ts.tsval, ts.tsecr)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Link<T> {
    mode: Mode,
    queue: VecDeque<T>,
}

impl<T> Link<T> {
    fn new() -> Self {
        Self {
            mode: Mode::Pass,
            queue: VecDeque::new(),
        }
    }

    fn push(&mut self, item: T) {
        if !matches!(self.mode, Mode::Lose) && self.queue.len() < 512 {
            self.queue.push_back(item);
        }
    }

    fn next(&mut self) -> Option<T> {
        match self.mode {
            Mode::Pass => self.queue.pop_front(),
            _ => None,
        }
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
    peer: [Link<Vec<u8>>; 2],
    recorded: [VecDeque<Vec<u8>>; 2],
    truth: [Truth; FLOWS],
    stream: u32,
    closing: bool,
    /// Both hosts spoke at once: nothing is promised (README, Limits).
    split: bool,
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
        let mut world = Self {
            now: Instant::from_nanos(1_000_000_000),
            flows,
            clients: [Tcp::new(client), Tcp::new(client)],
            hosts: [
                Host::new(flows, a, setting.random[0]),
                Host::new(flows, b, !setting.random[0] ^ (setting.random[1] >> 8)),
            ],
            alive: [true; 2],
            frozen: [false; 2],
            to_host: [Link::new(), Link::new()],
            to_client: [Link::new(), Link::new()],
            peer: [Link::new(), Link::new()],
            recorded: [VecDeque::new(), VecDeque::new()],
            truth: [Truth::default(), Truth::default()],
            stream: u32::from(setting.stream),
            closing: false,
            split: false,
            // Hosts whose options differ do not suit each other (README, step 3).
            clean: a.suits(&b),
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
                    Line::ToHost(host) => lose(&mut self.to_host[usize::from(host)], nth),
                    Line::ToClient(host) => lose(&mut self.to_client[usize::from(host)], nth),
                    Line::Peer(host) => lose(&mut self.peer[usize::from(host)], nth),
                }
            }
            Step::Replay { host, nth } => {
                let host = usize::from(host);
                if let Some(datagram) = self.recorded[host].get(usize::from(nth)).cloned() {
                    if self.runs(host) {
                        self.hosts[host].hear(&datagram, now);
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
                self.frozen[usize::from(host)] = false;
                // Before it hears of the other one it may speak.
                self.look();
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
                if self.runs(usize::from(host)) {
                    self.hosts[usize::from(host)].take_over_on_request(now);
                }
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
        // A second primary, and be it by mistake, has the clients' addresses but not their connections.
        self.split |= primary && self.alive[1 - host] && self.hosts[1 - host].speaks;
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
            Line::Peer(host) => self.peer[usize::from(host)].mode = mode,
        }
    }

    /// The `nth` of what is kept arrives, out of order perhaps, and once more later if it is kept still.
    fn deliver(&mut self, line: Line, nth: u8, keep: bool) {
        match line {
            Line::ToHost(host) => {
                let host = usize::from(host);
                if self.runs(host) {
                    if let Some((at, frame)) = take(&mut self.to_host[host], nth, keep) {
                        self.host_gets(host, at, frame);
                    }
                }
            }
            Line::ToClient(host) => {
                let host = usize::from(host);
                if let Some((at, frame)) = take(&mut self.to_client[host], nth, keep) {
                    self.client_gets(at, &frame);
                }
            }
            Line::Peer(host) => {
                let host = usize::from(host);
                // The channel does not repeat what the peer said, and refuses who does.
                if let Some(datagram) = take(&mut self.peer[host], nth, keep) {
                    if self.runs(host) {
                        self.hosts[host].hear(&datagram, self.now);
                    }
                }
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
                if let Some(datagram) = self.peer[host].next() {
                    if self.alive[host] {
                        self.hosts[host].hear(&datagram, self.now);
                    }
                    moved = true;
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
            self.hosts[host].run();
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
                Sent::Datagram(datagram) => {
                    let other = 1 - host;
                    if self.recorded[other].len() == RECORDED {
                        self.recorded[other].pop_front();
                    }
                    self.recorded[other].push_back(datagram.clone());
                    self.peer[other].push(datagram);
                }
            }
        }
        self.note_takeover(host);
    }

    fn host_gets(&mut self, host: usize, at: usize, frame: Frame) {
        if self.alive[host] && self.hosts[host].node.is_some() {
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
            assert!(!reset, "reset without a cause: {segment:?}");
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

    // Forgeries.

    /// A segment that somebody made up who knows the endpoints. Those that any TCP would believe are left out.
    fn forge(&mut self, step: &Step) {
        let Step::Forge {
            hosts,
            flow,
            seq,
            ack,
            flags,
            window,
            len,
            timestamps,
            sack,
        } = *step
        else {
            return;
        };
        let at = usize::from(flow);
        let client = &self.clients[at];
        let stack = &self.hosts[self.truth[at].owner.unwrap_or(0)].stacks[at];
        let in_stream = |aim: Aim| match aim {
            Aim::Expected(offset) => client.nxt + i32::from(offset) as u32,
            Aim::Edge(offset) => stack.edge + i32::from(offset) as u32,
            Aim::Far(offset) => client.nxt + offset,
        };
        let in_answers = |aim: Aim| match aim {
            Aim::Expected(offset) => client.rcv + i32::from(offset) as u32,
            Aim::Edge(offset) => client.edge + i32::from(offset) as u32,
            Aim::Far(offset) => client.rcv + offset,
        };
        let mut blocks = Sack::default();
        if let Some((left, right)) = sack {
            blocks.push(in_answers(left), in_answers(right));
        }
        let segment = Segment {
            seq: in_stream(seq),
            ack: in_answers(ack),
            flags: Flags::from_bits(flags),
            window,
            payload_len: u32::from(len),
            options: Options {
                timestamps: timestamps.map(|(tsval, tsecr)| Timestamps {
                    tsval: client.clock(self.now).wrapping_add(tsval as u32),
                    tsecr,
                }),
                sack: blocks,
                ..Options::default()
            },
            ..Segment::default()
        };
        if !self.is_fair(at, &segment) {
            return;
        }
        let frame = Frame::from_client(&self.flows[at], &segment, Origin::Forged);
        for host in 0..2 {
            if hosts & (1 << host) != 0 && self.runs(host) {
                self.host_gets(host, at, frame.clone());
            }
        }
    }

    /// Whether every TCP here refuses this segment (RFC 9293, section 3.10.7.4; RFC 5961).
    fn is_fair(&self, at: usize, segment: &Segment) -> bool {
        let flags = segment.flags;
        // What comes before a socket may lie in wait for it. To guess its numbers is not fair.
        let client = &self.clients[at];
        let far = segment.seq.since(client.nxt).unsigned_abs() > 1 << 21;
        let ready = |host: &Host| host.stacks[at].state == Stack::Open;
        if !segment.is_empty()
            && !(client.state == Stack::Open && (far || self.hosts.iter().all(ready)))
        {
            return false;
        }
        self.hosts.iter().all(|host| {
            let stack = &host.stacks[at];
            if stack.state == Stack::Closed {
                return !flags.contains(Flags::SYN);
            }
            if stack.refuses_place(segment) {
                return stack.state == Stack::Open || !flags.contains(Flags::SYN);
            }
            if stack.state != Stack::Open {
                return false;
            }
            if flags.contains(Flags::RST) {
                segment.seq != stack.rcv
            } else {
                flags.contains(Flags::SYN) || !flags.contains(Flags::ACK)
            }
        })
    }

    // What must hold.

    fn note_taken(&mut self, host: usize) {
        for at in 0..FLOWS {
            let stack = &self.hosts[host].stacks[at];
            let taken = &mut self.truth[at].taken[host];
            let same = taken.is_some_and(|(name, _)| name == stack.name());
            // A socket may take the last byte and be gone.
            if same || matches!(stack.state, Stack::Open | Stack::SynReceived) {
                *taken = Some((stack.name(), stack.rcv));
            }
        }
    }

    /// A host's segment on its way to the client.
    fn emitted(&mut self, host: usize, at: usize, frame: &Frame) {
        let segment = frame.segment();
        let flags = segment.flags;
        let client = &self.clients[at];
        let stack = &self.hosts[host].stacks[at];
        let truth = &mut self.truth[at];
        assert!(self.hosts[host].speaks, "a silent host sent {segment:?}");
        let known = client.state == Stack::Open && stack.name() == client.name();
        if self.split || truth.ended || !known {
            return;
        }
        if let Origin::Stream(_, place) = frame.origin {
            assert_eq!(segment.seq, client.first() + place, "bytes out of place");
        }
        if flags.intersects(Flags::RST | Flags::SYN) || !flags.contains(Flags::ACK) {
            return;
        }
        let Some(connection) = self.hosts[host].connection(at) else {
            return;
        };
        if matches!(
            connection.state(),
            primary::State::Opening | primary::State::Protected
        ) {
            let mut safe = match truth.taken[1 - host] {
                Some((name, rcv)) if name == client.name() => rcv,
                _ => client.name() + 1,
            };
            // The FIN itself may be told of before the shadow has it, once both ends have sent theirs.
            if stack.fin_out.is_some() && stack.fin_in == Some(safe + 1) {
                safe = safe + 1;
            }
            assert!(
                segment.ack <= safe,
                "acknowledges {} bytes that the backup lacks: {segment:?}",
                segment.ack.since(safe)
            );
        }
        // The right edge stays where it was, but for what the scale rounds off.
        let edge = segment.ack + (u32::from(segment.window) << client.other_scale());
        if let Some((before, name, told)) = truth.edge {
            if before == host && name == client.name() {
                let back = told.since(edge);
                assert!(
                    back < 1 << client.other_scale(),
                    "the window shrinks by {back}: {segment:?}"
                );
                if back >= 0 {
                    return;
                }
            }
        }
        truth.edge = Some((host, client.name(), edge));
    }

    fn note_takeover(&mut self, host: usize) {
        if !std::mem::take(&mut self.hosts[host].took_over) {
            return;
        }
        for at in 0..FLOWS {
            let truth = &mut self.truth[at];
            if self.hosts[host].continued[at]
                && !truth.plain
                && self.hosts[host].stacks[at].name() == self.clients[at].name()
            {
                truth.owner = Some(host);
            } else {
                truth.lost = true;
            }
        }
    }

    /// After each step.
    fn look(&mut self) {
        for at in 0..FLOWS {
            for host in 0..2 {
                if let Some(connection) = self.hosts[host].connection(at) {
                    let plain = matches!(connection.state(), primary::State::Unprotected(_));
                    self.truth[at].plain |= plain && self.clients[at].state == Stack::Open;
                    let _ = (connection.lag_in(), connection.lag_out());
                }
                self.check_held(host, at);
                if let Some(shadow) = self.hosts[host].shadow(at) {
                    let _ = (shadow.lag_in(), shadow.lag_out(), shadow.state_name());
                }
            }
        }
        // A host that is frozen, or cut off from the clients, speaks to nobody.
        let heard = |host: usize| {
            self.hosts[host].speaks
                && !self.frozen[host]
                && !matches!(
                    (self.to_host[host].mode, self.to_client[host].mode),
                    (Mode::Lose, Mode::Lose)
                )
        };
        self.split |= heard(0) && heard(1);
        let protected = |host: usize| self.hosts[host].state() == Some(State::Protected);
        assert!(!(protected(0) && protected(1)), "two primaries in step");
    }

    /// What a silent shadow has sent is held, but for what the client has acknowledged.
    fn check_held(&self, host: usize, at: usize) {
        let (client, stack) = (&self.clients[at], &self.hosts[host].stacks[at]);
        let shadows = self.hosts[host]
            .shadow(at)
            .is_some_and(|s| s.state_name() == "shadow");
        let known = client.state == Stack::Open && stack.name() == client.name();
        let Some(entry) = &self.hosts[host].entries[at] else {
            return;
        };
        let starved = self.hosts[host].starved;
        if self.split || starved || !shadows || !known || stack.state != Stack::Open {
            return;
        }
        let mut covered = entry.released.unwrap_or(client.first());
        assert!(covered <= client.rcv, "let go what the client lacks");
        for (frame, end) in &entry.queue {
            assert!(
                *end - frame.segment().len() <= covered,
                "a hole in what is held"
            );
            covered = covered.max(*end);
        }
        let sent = client.first() + stack.sent().0;
        assert!(
            covered >= sent,
            "{} bytes are not held",
            sent.since(covered)
        );
    }

    // The end.

    /// Everything works again, and what can be finished is finished.
    pub fn finish(&mut self, setting: &Setting) {
        self.repair();
        if self.split {
            return;
        }
        self.work();
        for at in 0..FLOWS {
            self.check_finished(at);
        }
        if setting.takeover_at_end {
            self.take_over_at_end();
        }
        self.close_all();
    }

    fn repair(&mut self) {
        for host in 0..2 {
            self.hosts[host].short = 0;
            if std::mem::take(&mut self.frozen[host]) {
                // The two hosts agree on who speaks before it meets a client.
                self.to_host[host].queue.clear();
                self.to_host[host].mode = Mode::Lose;
                self.to_client[host].mode = Mode::Lose;
            }
            self.peer[host].mode = Mode::Pass;
            for stack in &mut self.hosts[host].stacks {
                stack.reads = true;
            }
        }
        for client in &mut self.clients {
            client.reads = true;
        }
        self.pump();
        self.pass_time(300);
        for host in 0..2 {
            self.to_host[host].mode = Mode::Pass;
            self.to_client[host].mode = Mode::Pass;
        }
        self.pump();
        self.pass_time(300);
    }

    /// Everyone sends, and sends again, what there is to send, until nothing has moved for longer than any time-out of the engine.
    fn work(&mut self) {
        let (mut before, mut idle) = (vec![], 0);
        while idle < 45 {
            let done =
                (0..FLOWS).all(|at| self.is_done(at) && (!self.closing || self.is_ended(at)));
            if done {
                break;
            }
            let clients = self.clients.iter();
            let stacks = self.hosts.iter().flat_map(|host| &host.stacks);
            let now: Vec<_> = clients
                .chain(stacks)
                .map(|tcp| (tcp.una, tcp.rcv))
                .collect();
            idle = if now == before { idle + 1 } else { 0 };
            before = now;
            for at in 0..FLOWS {
                let (now, closing) = (self.now, self.closing);
                let client = &mut self.clients[at];
                client.send_again(u32::MAX, now);
                if closing {
                    client.send(0, 0, true, now);
                }
                client.send_ack(now);
                self.pump();
                for host in 0..2 {
                    // What one copy of the server has done, the other does too.
                    let closed = self.closing || self.clients[at].has_taken_fin();
                    let stream = self.stream;
                    if self.alive[host] {
                        let stack = &mut self.hosts[host].stacks[at];
                        stack.send_again(u32::MAX, now);
                        stack.send(u32::MAX, stream, closed, now);
                        stack.send_ack(now);
                    }
                    self.pump();
                }
            }
            self.pass_time(100);
        }
    }

    /// The owner of a connection that has no excuse.
    fn carrier(&self, at: usize) -> Option<usize> {
        let truth = &self.truth[at];
        let owner = truth.owner?;
        let open = self.clients[at].state == Stack::Open;
        (open
            && !self.split
            && !truth.lost
            && self.alive[owner]
            && self.hosts[owner].node.is_some())
        .then_some(owner)
    }

    fn is_done(&self, at: usize) -> bool {
        let Some(owner) = self.carrier(at) else {
            return true;
        };
        let (client, stack) = (&self.clients[at], &self.hosts[owner].stacks[at]);
        let ((sent, acked), (answered, heard)) = (client.sent(), stack.sent());
        sent == acked
            && stack.taken() == sent
            && answered >= self.stream
            && answered == heard
            && client.taken() == answered
    }

    fn is_ended(&self, at: usize) -> bool {
        self.clients[at].is_over() && self.hosts.iter().all(|host| host.entries[at].is_none())
    }

    fn check_finished(&self, at: usize) {
        let Some(owner) = self.carrier(at) else {
            return;
        };
        let (client, host) = (&self.clients[at], &self.hosts[owner]);
        let stack = &host.stacks[at];
        assert_eq!(
            stack.name(),
            client.name(),
            "the host has another connection"
        );
        let (sent, acked) = client.sent();
        assert_eq!(acked, sent, "client bytes that nobody acknowledges");
        assert_eq!(stack.taken(), sent, "client bytes that did not arrive");
        let (answered, heard) = stack.sent();
        assert!(answered >= self.stream, "the server cannot send");
        assert_eq!(heard, answered, "server bytes that nobody acknowledges");
        assert_eq!(client.taken(), answered, "server bytes that did not arrive");
        if self.clean {
            let state = host.connection(at).map(primary::Connection::state);
            assert_eq!(
                state,
                Some(primary::State::Protected),
                "unprotected without a cause"
            );
        }
    }

    /// The primary dies in good order.
    fn take_over_at_end(&mut self) {
        let Some(primary) = (0..2).find(|host| self.hosts[*host].state() == Some(State::Protected))
        else {
            return;
        };
        let backup = 1 - primary;
        let protected: Vec<usize> = (0..FLOWS)
            .filter(|at| self.carrier(*at) == Some(primary))
            .filter(|at| {
                let connection = self.hosts[primary].connection(*at);
                connection.is_some_and(|c| c.state() == primary::State::Protected)
            })
            .collect();
        for at in &protected {
            let now = self.now;
            self.clients[*at].send(2000, u32::MAX, false, now);
        }
        self.pump();
        let ended = |host: &Host| host.stacks.iter().any(|stack| stack.fin_out.is_some());
        if !self.hosts.iter().any(ended) {
            self.stream += 3000;
        }
        self.kill(primary);
        self.pass_time(1000);
        assert!(self.hosts[backup].speaks, "no takeover");
        for at in &protected {
            let truth = &self.truth[*at];
            assert!(truth.owner == Some(backup) && !truth.lost, "not continued");
        }
        self.work();
        for at in protected {
            self.check_finished(at);
        }
    }

    /// Every connection ends, and leaves nothing behind.
    fn close_all(&mut self) {
        self.closing = true;
        self.work();
        self.pass_time(4000);
        self.pass_time(4000);
        if self.split {
            return;
        }
        for at in 0..FLOWS {
            let truth = &self.truth[at];
            let Some(owner) = truth.owner.filter(|_| !truth.lost) else {
                continue;
            };
            let unheard = truth.reset && !self.clean;
            if unheard || !self.alive[owner] || self.hosts[owner].node.is_none() {
                continue;
            }
            assert!(self.clients[at].is_over(), "the client waits for an end");
            for host in [owner, 1 - owner] {
                let entry = &self.hosts[host].entries[at];
                // A migrated connection lives until its TIME-WAIT is over.
                let waits = self.hosts[host].stacks[at].state == Stack::TimeWait
                    && self.hosts[host]
                        .shadow(at)
                        .is_some_and(sttcp::shadow::Shadow::is_speaking);
                assert!(entry.is_none() || waits, "left behind: {entry:?}");
            }
        }
    }
}

/// Takes the `nth` of what is kept.
fn take<T: Clone>(link: &mut Link<T>, nth: u8, keep: bool) -> Option<T> {
    let len = link.queue.len();
    let at = usize::from(nth).checked_rem(len)?;
    if keep {
        link.queue.get(at).cloned()
    } else {
        link.queue.remove(at)
    }
}

fn lose<T: Clone>(link: &mut Link<T>, nth: u8) {
    let _ = take(link, nth, false);
}
