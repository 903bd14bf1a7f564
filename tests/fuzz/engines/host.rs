// SPDX-License-Identifier: GPL-2.0

//! A host: the engine with what surrounds it in the module (`src/node.rs`, `takeover.rs`, and those beside it here), one TCP for each
//! connection, and no kernel.

mod goodbye;
mod peer;
mod receive;
mod send;
mod timers;

use crate::frame::{Frame, Origin, Short};
use crate::step::Setting;
use crate::tcp::{Habits, State as Stack, Tcp};
use std::{collections::VecDeque, time::Duration};
use sttcp::{
    actions::Actions,
    counters::Counter,
    detector::Timing,
    lease::Isolation,
    message::{records, Batch, Bytes, Header, Kind as Datagram, Open, Record, Span, TAG_LEN},
    node::{Event, Node, Peer, Predecessor, Role, State},
    primary::{plain_handshake, Census, Connection, ConnectionId, Socket, Terms, STALL_TIMEOUT},
    rewrite::{Checksum, Rewrite},
    seq::{Delta, SeqNumber},
    shadow::Shadow,
    side::{self, Side},
    time::{earliest, Instant},
    verdict::{Inbound, Outbound},
    wire::{Flags, Flow, Segment},
};

/// As in the module.
const SWEEP: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);
const MAX_PENDING: usize = 128;

/// How many connections there may be.
pub const FLOWS: usize = 2;

#[derive(Debug)]
pub struct Entry {
    pub side: Side,
    /// Client segments until the shadow is ready, then held output with its end in the primary's numbers.
    pub queue: Vec<(Frame, SeqNumber)>,
    /// Copies of client segments that the backup may lack.
    pub retained: Vec<(Segment, Origin)>,
    /// Up to where held output was let go, primary's numbers.
    pub released: Option<SeqNumber>,
    /// The primary's initial number, of a shadow.
    primary_isn: Option<SeqNumber>,
}

impl Entry {
    fn new(side: Side) -> Self {
        Self {
            side,
            queue: vec![],
            retained: vec![],
            released: None,
            primary_isn: None,
        }
    }
}

/// What a host sends.
#[derive(Debug)]
pub enum Sent {
    /// To the client of a flow.
    Frame(usize, Frame),
    /// To the other host, by a path.
    Datagram(usize, Vec<u8>),
}

pub struct Host {
    flows: [Flow; FLOWS],
    pub stacks: [Tcp; FLOWS],
    pub node: Option<Node>,
    pub speaks: bool,
    peer: Peer,
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
    /// Whether the other host agrees to the same options.
    suits: bool,
    yields: bool,
    pub paths: usize,
    pub linked: bool,
    /// When something for the service came in last.
    clients_at: Instant,
    /// What the module handed to the stack (`netif_rx`).
    backlog: VecDeque<(usize, Frame)>,
    pub sent: Vec<Sent>,
    /// Which connections went on here at the last takeover.
    pub continued: [bool; FLOWS],
    pub took_over: bool,
    pub stepped_down: bool,
    /// It has handed over.
    pub resigned: bool,
    pub counts: Vec<Counter>,
    now: Instant,
}

impl Host {
    pub fn new(
        flows: [Flow; FLOWS],
        habits: Habits,
        suits: bool,
        setting: &Setting,
        random: u64,
    ) -> Self {
        let zero = Instant::default();
        let serial = random as u32;
        Self {
            flows,
            stacks: [Tcp::new(habits), Tcp::new(habits)],
            node: None,
            speaks: false,
            peer: Peer::Absent,
            entries: [None, None],
            heartbeat: zero,
            housekeeping: zero,
            next_sweep: zero,
            serial,
            random,
            batch: Batch::new(),
            short: 0,
            starved: false,
            suits,
            yields: setting.yields,
            paths: 1 + usize::from(setting.two_paths),
            linked: true,
            clients_at: zero,
            backlog: VecDeque::new(),
            sent: vec![],
            continued: [false; FLOWS],
            took_over: false,
            stepped_down: false,
            resigned: false,
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
        let mut node = Node::new(role, epoch, timing, session, now);
        node.set_paths(self.paths);
        if self.yields {
            node.set_isolation(Isolation::Yield);
        }
        self.node = Some(node);
        self.speaks = role == Role::Primary;
        self.peer = Peer::Absent;
        self.heartbeat = now;
        self.housekeeping = now.after(SWEEP);
        self.now = now;
    }

    /// `role=off`, while the hooks are still there.
    pub fn leave(&mut self, now: Instant) {
        self.now = now;
        if let Some(leave) = self.header(Datagram::Leave) {
            self.send_farewell(&leave);
        }
        self.each(|side| side.leave(now));
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
        self.peer = Peer::Absent;
    }

    /// The power fails.
    pub fn die(&mut self) {
        self.node = None;
        self.entries = [None, None];
        self.speaks = false;
        self.peer = Peer::Absent;
        self.backlog.clear();
        self.batch.clear();
        for stack in &mut self.stacks {
            stack.abort();
            stack.out.clear();
        }
    }

    /// Whether what it says leaves it.
    pub fn may_speak(&self, now: Instant) -> bool {
        let silent_from = self.node.as_ref().and_then(Node::silent_from);
        self.speaks && silent_from.is_none_or(|at| now < at)
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
        match &self.entries[at].as_ref()?.side {
            Side::Shadow(shadow) => Some(shadow),
            _ => None,
        }
    }

    pub fn connection(&self, at: usize) -> Option<&Connection> {
        match &self.entries[at].as_ref()?.side {
            Side::Primary(connection) => Some(connection),
            _ => None,
        }
    }

    /// Whether there is memory.
    fn memory(&mut self) -> bool {
        let enough = self.short == 0;
        self.starved |= !enough;
        self.short = self.short.saturating_sub(1);
        enough
    }

    /// Memory for a segment of a connection was short.
    fn not_sent(&mut self, at: usize) {
        let now = self.now;
        if let Some(entry) = &mut self.entries[at] {
            let actions = entry.side.not_sent(now);
            self.carry_out(at, actions);
        }
    }

    fn transmit(&mut self, at: usize, segment: &Segment) -> bool {
        assert!(self.speaks, "a silent host sent {segment:?}");
        if !self.may_speak(self.now) {
            if let Some(entry) = &mut self.entries[at] {
                entry.side.on_silence(self.now);
            }
            return true;
        }
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

    fn carry_out(&mut self, at: usize, actions: Actions) {
        let (now, may_speak) = (self.now, self.may_speak(self.now));
        for counter in [actions.count, actions.also].into_iter().flatten() {
            self.count(counter);
        }
        assert_eq!(actions.diverged, None, "the servers do not differ");
        if let Some(record) = &actions.record {
            self.tell(record);
        }
        let mut resend = actions.resend;
        while let Some(span) = &resend {
            self.resend(at, span);
            let side = self.entries[at].as_mut().map(|entry| &mut entry.side);
            resend = side.and_then(Side::resend_next);
        }
        let injected = actions
            .inject
            .is_none_or(|segment| self.inject(at, &segment));
        let Some(entry) = &mut self.entries[at] else {
            return;
        };
        if let Some(end) = actions.release_retained {
            entry.retained.retain(|(segment, _)| segment.end() > end);
        }
        if !entry.side.retains() {
            entry.retained.clear();
        }
        if actions.clear_queue {
            entry.queue.clear();
        }
        if !injected {
            entry.side.not_injected();
        }
        if actions.release_queue {
            for (frame, _) in entry.queue.drain(..) {
                self.backlog.push_back((at, frame));
            }
        }
        if let Some(acked) = actions.release_held {
            entry.queue.retain(|(_, end)| *end > acked);
            entry.released = Some(acked);
        }
        if actions.flush_held {
            for (mut frame, _) in entry.queue.drain(..) {
                if may_speak {
                    let change = entry.side.outward_held(&frame.segment(), now);
                    rewrite(&mut frame, &change.unwrap());
                    self.sent.push(Sent::Frame(at, frame));
                }
            }
        }
        if actions
            .send
            .is_some_and(|segment| !self.transmit(at, &segment))
        {
            self.not_sent(at);
        }
        if actions.remove {
            self.entries[at] = None;
        }
        let socket = self.socket(at);
        let Some(entry) = &mut self.entries[at] else {
            return;
        };
        let when = entry.side.poll_at();
        let asked = actions
            .check_socket
            .then(|| entry.side.on_socket(socket, now));
        if let Some(when) = when {
            self.wake_at(when);
        }
        if let Some(actions) = asked {
            self.carry_out(at, actions);
        }
    }

    fn socket(&self, at: usize) -> Socket {
        match self.stacks[at].state {
            Stack::Closed => Socket::Gone,
            Stack::TimeWait => Socket::TimeWait,
            _ => Socket::Live,
        }
    }

    // Events of the node.

    fn on_event(&mut self, event: Event) {
        trace!("    {event:?}");
        self.peer = self.node.as_ref().map_or(Peer::Absent, Node::peer);
        match event {
            Event::Joined | Event::BackupLost(_) | Event::PeerLeft | Event::PeerAlone => {
                self.end_session()
            }
            Event::PrimaryLost(silence)
            | Event::PrimaryGoes(silence)
            | Event::PrimaryFenced(silence) => self.take_over(silence),
            // Nothing is switched off here.
            Event::Fence(_) | Event::FenceOverdue | Event::PrimaryBack => {}
            Event::PathLost(_) | Event::PathBack(_) => {}
            // What clients were told ahead of the backup is given up.
            Event::CutOff(_) | Event::Unlinked => self.hand_over(),
            Event::SteppedDown => {
                self.speaks = false;
                self.stepped_down = true;
                self.leave_behind();
            }
        }
    }

    /// Calls each connection that there is.
    fn each(&mut self, mut call: impl FnMut(&mut Side) -> Actions) {
        for at in 0..FLOWS {
            if let Some(entry) = &mut self.entries[at] {
                let actions = call(&mut entry.side);
                self.carry_out(at, actions);
            }
        }
    }

    fn leave_behind(&mut self) {
        let now = self.now;
        self.each(|side| side.step_down(now));
    }

    fn end_session(&mut self) {
        let (now, peer) = (self.now, self.peer);
        self.each(|side| side.end_session(Counter::UnprotectedBackupLost, peer, now));
    }

    /// An operator asks for it.
    pub fn take_over_on_request(&mut self, now: Instant) {
        self.now = now;
        let fresh = self.random();
        let Some(node) = &mut self.node else { return };
        if node.go_alone() || node.role() == Role::Primary {
            return;
        }
        node.take_over(fresh);
        self.take_over(Duration::ZERO);
        self.run();
    }

    fn take_over(&mut self, silence: Duration) {
        let now = self.now;
        let before = self
            .node
            .as_ref()
            .map_or(Predecessor::default(), |node| node.predecessor(silence));
        self.speaks = true;
        self.peer = Peer::Absent;
        self.took_over = true;
        self.beat();
        for at in 0..FLOWS {
            self.continued[at] = false;
            let Some(entry) = &mut self.entries[at] else {
                continue;
            };
            self.serial = self.serial.wrapping_add(1);
            let name = ConnectionId(((at as u64) << 32) | u64::from(self.serial));
            let actions = entry.side.take_over(|| name, now, before);
            // Without memory for its SYN, or with other options, it may still come to nothing.
            self.continued[at] =
                entry.side.is_migrated() && (actions.flush_held || !self.starved && self.suits);
            self.carry_out(at, actions);
        }
        if let Some(node) = &mut self.node {
            node.took_over();
        }
    }
}

/// Changes the bytes of a packet, as a hook does.
fn rewrite(frame: &mut Frame, change: &Rewrite) {
    change.apply(&mut frame.header, Checksum::Full).unwrap();
}
