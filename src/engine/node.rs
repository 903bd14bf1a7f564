// SPDX-License-Identifier: GPL-2.0

//! The node: its role, its epoch, and what it knows of its peer.
//!
//! A *session* is one node's term of dealing with its peer: a random number, new at each start and at each loss of the peer. A datagram
//! counts only if it names both present sessions, so nothing recorded from an earlier session counts in a later one, and what one
//! host told the other in an earlier session is void in the next: the backup drops the shadows, the primary the protection.
//!
//! Silence does not tell a dead peer from one that cannot be heard. Two things make sure that never both hosts speak: the primary's [`lease`], and
//! [fencing](Fence) by the backup.

use super::counters::Counter;
use super::detector::{Detector, Suspicion, Timing};
use super::keyring::KeyId;
use super::lease::{self, Isolation};
use super::message::{Header, Kind};
use super::paths::{Hearing, Paths};
use super::plant::{planted, Plant};
use super::time::{earliest, Instant};
use core::time::Duration;

/// The role a running node has.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// It speaks for the service.
    Primary,
    /// It shadows the primary and is silent.
    Backup,
}

/// How long a node without a link to the clients waits for the peer's word that it has none either: one switch may have been the end of both.
const LINK_GRACE: Duration = Duration::from_millis(10);

/// What an operator reads in `net.sttcp.state`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// A primary without a backup.
    Solo,
    /// A primary with a backup.
    Protected,
    /// A primary that has lost its backup, and is silent as that may have taken over ([`Isolation::Yield`]).
    Isolated,
    /// A backup that hears no primary.
    Waiting,
    /// A backup that shadows its primary.
    Shadowing,
    /// A backup that has its silent primary switched off, before it takes over.
    Fencing,
    /// A backup that is becoming the primary.
    Takeover,
}

impl State {
    /// The word in `net.sttcp.state`.
    pub const fn name(self) -> &'static str {
        match self {
            State::Solo => "solo",
            State::Protected => "protected",
            State::Isolated => "isolated",
            State::Waiting => "waiting",
            State::Shadowing => "shadowing",
            State::Fencing => "fencing",
            State::Takeover => "takeover",
        }
    }
}

/// What is known at a takeover of the host that spoke before.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Predecessor {
    /// How long it had not been heard; zero if it has not fallen silent.
    pub silence: Duration,
    /// Whether it may have acknowledged client bytes that this host lacks.
    pub eager: bool,
    /// Whether it may have let servers speak on connections that it has not told of: that is after so long a silence that it knew that it was alone ([`Peer::Unaware`]).
    pub alone: bool,
    /// Whether a connection is reset on which its server has said something else than the one here (`divergence=reset`).
    pub strict: bool,
}

/// What is known of the peer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// It is there, in the other role, and so it knows.
    Joined,
    /// It is not.
    Absent,
    /// It is a backup that fell silent. If it lives it may hold itself for the backup until then: by that time it has heard from here that it is
    /// none, or taken over.
    Unaware(Instant),
}

/// Something about the peer that the rest of the node must act on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer is there, in the other role. What an earlier session left is void.
    Joined,
    /// A primary's backup fell silent: every connection goes on unprotected.
    BackupLost(Duration),
    /// A backup's primary fell silent: take over.
    PrimaryLost(Duration),
    /// A backup's primary fell silent, or is so still: have it switched off, and call [`Node::fenced`].
    Fence(Duration),
    /// That has taken longer than it may: stop it.
    FenceOverdue,
    /// A backup's primary is switched off: take over.
    PrimaryFenced(Duration),
    /// A backup's primary is heard again, before it was switched off.
    PrimaryBack,
    /// Nothing comes by this path any more, and the peer is heard by another.
    PathLost(usize),
    /// Something comes by this path again.
    PathBack(usize),
    /// For so long this primary has not heard the clients that its backup hears: hand over.
    CutOff(Duration),
    /// This primary's link to the clients is down, and its backup's is not: hand over.
    Unlinked,
    /// A backup's primary, last heard so long ago, said that it is going down: take over.
    PrimaryGoes(Duration),
    /// The peer stopped by order: a primary goes on alone, a backup drops its shadows and waits.
    PeerLeft,
    /// A backup's primary has missed it and goes on alone: what there is here of its connections is void.
    PeerAlone,
    /// The peer leads a later epoch: this primary is silent from now on and became a backup.
    SteppedDown,
}

/// The answer to a poll of the timer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Poll {
    /// Whether to send a heartbeat now.
    pub heartbeat: bool,
    /// What the detector found.
    pub event: Option<Event>,
    /// Whether to ask the probed address for an answer now.
    pub probe: bool,
    /// Whether the detector found this host to have been asleep.
    pub asleep: bool,
    /// When to poll again.
    pub next: Instant,
}

/// How often the probed address is asked at most: a few times in what makes a host cut off.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// How long to wait after a primary could not be switched off.
pub const FENCE_AGAIN: Duration = Duration::from_secs(1);

/// Having a silent primary switched off, by a command that the operator has named: until that is done the backup does not speak.
#[derive(Copy, Clone, Debug)]
struct Fence {
    /// When the primary was last heard.
    last_heard: Instant,
    /// By when the command must be through, or when it is to be run again.
    at: Instant,
    runs: bool,
    /// Whether the primary was heard meanwhile.
    heard: bool,
}

/// How many earlier sessions of the peer are remembered and refused.
const REMEMBERED: usize = 8;

/// How many sequence numbers below the highest may still come in (RFC 6479's window, of one word).
const WINDOW: u64 = 64;

#[derive(Debug, Default)]
struct PeerSession {
    /// The peer's session; 0 if none was heard.
    id: u64,
    /// Whether the peer has named our present session.
    bound: bool,
    /// The latest time of sending of what counted as a sign of life.
    sent: u64,
    highest: u64,
    /// Bit n: number `highest - n` came in.
    seen: u64,
}

impl PeerSession {
    /// Notes `sequence`; `false` if it came in before or is too old to tell.
    fn fresh(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let ahead = sequence.wrapping_sub(self.highest);
            self.seen = if ahead < WINDOW {
                self.seen << ahead
            } else {
                0
            } | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest.wrapping_sub(sequence);
        if sequence == 0 || behind >= WINDOW || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    role: Role,
    epoch: u32,
    timing: Timing,
    session: u64,
    sequence: u64,
    started: Instant,
    peer: PeerSession,
    /// The session that had named ours before the present one was heard, which has not named it yet and may be a recording.
    displaced: PeerSession,
    past: [u64; REMEMBERED],
    detector: Detector,
    paths: Paths,
    hearing: Hearing,
    /// When the probed address is asked next, if there is one.
    next_probe: Option<Instant>,
    /// Since when the link to the clients is down.
    unlinked: Option<Instant>,
    peer_unlinked: bool,
    joined: bool,
    taking_over: bool,
    eager: bool,
    peer_eager: bool,
    strict: bool,
    key: KeyId,
    seed: u32,
    unaware_until: Option<Instant>,
    isolation: Isolation,
    joined_at: Instant,
    /// Holds while it is joined.
    lease: Instant,
    isolated: bool,
    /// When the peer was last promised less patience than before.
    hastened: Option<Instant>,
    fence_timeout: Option<Duration>,
    fence: Option<Fence>,
    next_heartbeat: Instant,
}

impl Node {
    /// Starts a node; `session` is a random number.
    pub fn new(role: Role, epoch: u32, timing: Timing, session: u64, now: Instant) -> Self {
        Self {
            role,
            epoch,
            timing,
            session: session.max(1),
            sequence: 0,
            started: now,
            peer: PeerSession::default(),
            displaced: PeerSession::default(),
            past: [0; REMEMBERED],
            detector: Detector::default(),
            paths: Paths::new(1),
            hearing: Hearing::new(now),
            next_probe: None,
            unlinked: None,
            peer_unlinked: false,
            joined: false,
            taking_over: false,
            eager: false,
            peer_eager: false,
            strict: false,
            key: KeyId::default(),
            seed: 0,
            unaware_until: None,
            isolation: Isolation::Serve,
            joined_at: now,
            lease: now,
            isolated: false,
            hastened: None,
            fence_timeout: None,
            fence: None,
            next_heartbeat: now,
        }
    }

    /// The node's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The number of the current term of office.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The node's state.
    pub fn state(&self) -> State {
        if self.taking_over {
            return State::Takeover;
        }
        if self.fence.is_some() {
            return State::Fencing;
        }
        match (self.role, self.joined) {
            (Role::Primary, false) if self.isolated => State::Isolated,
            (Role::Primary, false) => State::Solo,
            (Role::Primary, true) => State::Protected,
            (Role::Backup, false) => State::Waiting,
            (Role::Backup, true) => State::Shadowing,
        }
    }

    /// What is known of the peer.
    pub fn peer(&self) -> Peer {
        match self.unaware_until {
            _ if self.joined => Peer::Joined,
            Some(until) => Peer::Unaware(until),
            None => Peer::Absent,
        }
    }

    /// How often heartbeats go, and how many may be missed.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Changes the timing; it holds from `now` on, but for a shorter patience, which the peer must have heard of.
    pub fn set_timing(&mut self, timing: Timing, now: Instant) {
        let before = self.detector.patience(&self.timing);
        if timing.timeout() < before {
            self.detector.promise(before);
            self.hastened = Some(now);
        }
        self.timing = timing;
        self.next_heartbeat = now;
    }

    /// How many paths lead to the peer.
    pub fn set_paths(&mut self, count: usize) {
        self.paths = Paths::new(count);
    }

    /// By which path records go.
    pub fn path(&self) -> usize {
        self.paths.best()
    }

    /// The peer's datagram that was heard last came by this path.
    pub fn heard_by(&mut self, path: usize, now: Instant) -> Option<Event> {
        let back = self.joined && self.paths.heard(path, now);
        back.then_some(Event::PathBack(path))
    }

    /// There is an address beyond the service's link that answers, which shows that the link works while clients are idle. It is of use where two paths
    /// lead to the peer. What comes from it is said by [`Node::heard_clients`].
    pub fn set_probing(&mut self, now: Instant) {
        self.next_probe = Some(now);
    }

    /// Something for the service came in at `at`. Said before [`Node::poll`] and [`Node::header`].
    pub fn heard_clients(&mut self, at: Instant) {
        self.hearing.heard(at);
    }

    /// Whether the link to the clients is up. Said before [`Node::poll`], which should come as soon as that changes: the peer is told at once.
    pub fn set_linked(&mut self, linked: bool, now: Instant) {
        if linked == self.unlinked.is_none() {
            return;
        }
        self.unlinked = (!linked).then_some(now);
        self.next_heartbeat = now;
    }

    /// Changes what this node does as a primary that has lost its backup. One that is silent for that goes on if it may serve.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        self.isolation = isolation;
        self.isolated &= isolation == Isolation::Yield;
    }

    /// From when on this node must be silent for the service, if ever: a backup always.
    pub fn silent_from(&self) -> Option<Instant> {
        match (self.role, self.isolation) {
            (Role::Backup, _) => Some(Instant::default()),
            (Role::Primary, _) if self.isolated => Some(Instant::default()),
            (Role::Primary, Isolation::Yield) if self.joined => Some(self.lease),
            (Role::Primary, _) => None,
        }
    }

    /// An operator says that the peer is dead: an isolated primary serves alone. Returns whether it was one.
    pub fn go_alone(&mut self) -> bool {
        core::mem::take(&mut self.isolated)
    }

    /// Changes whether a silent primary must be switched off before this node takes over, and how long that may take.
    pub fn set_fencing(&mut self, timeout: Option<Duration>) {
        self.fence_timeout = timeout;
    }

    /// Changes whether this node, as primary, may acknowledge client bytes that the peer lacks.
    pub fn set_eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    /// Names this host's newest key.
    pub fn set_key(&mut self, key: KeyId) {
        self.key = key;
    }

    /// Says what keys the hash of this host's table; a random number.
    pub fn set_seed(&mut self, seed: u32) {
        self.seed = seed;
    }

    /// What keys it now: a backup's is its primary's from [`Event::Joined`] on.
    pub fn seed(&self) -> u32 {
        self.seed
    }

    /// Changes whether a takeover resets connections on which the two servers have said different things.
    pub fn set_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// Whether it does.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// What is known of the peer that spoke for the service, and that has not been heard for `silence`.
    pub fn predecessor(&self, silence: Duration) -> Predecessor {
        // An interval less than the other waits: its last word was under way.
        let patience = self.detector.patience(&self.timing);
        Predecessor {
            silence,
            eager: self.peer_eager,
            strict: self.strict,
            alone: silence > patience.saturating_add(self.timing.interval) && !planted(Plant::Late),
        }
    }

    /// The same of a primary that hands over a single connection: it has been silent on that since it said so, and the shadow has all that its client was told of.
    pub fn mover(&self) -> Predecessor {
        Predecessor {
            // Not nothing: that would say that it speaks still.
            silence: Duration::from_nanos(1),
            strict: self.strict,
            ..Predecessor::default()
        }
    }

    /// When the peer was last heard in the present session.
    pub fn last_heard(&self) -> Option<Instant> {
        let before = self.fence.map(|fence| fence.last_heard);
        self.detector.last_heard().or(before)
    }

    /// The header of the next datagram to the peer.
    pub fn header(&mut self, kind: Kind, now: Instant) -> Header {
        self.sequence = self.sequence.wrapping_add(1);
        Header {
            kind,
            role: self.role,
            eager: self.eager,
            joined: self.joined,
            leased: self.role == Role::Primary && self.isolation == Isolation::Yield,
            unlinked: self.unlinked.is_some(),
            epoch: self.epoch,
            session: self.session,
            peer_session: self.peer.id,
            sequence: self.sequence,
            sent: now.since(self.started).as_nanos() as u64,
            echo: self.peer.sent,
            patience: self.timing.timeout(),
            deaf: self.hearing.deaf(now),
            key: self.key,
            seed: self.seed,
        }
    }

    /// Takes an authenticated datagram's header. `Err` names why the datagram must be dropped, body and all.
    /// `fresh_session` draws a random number, if a new session begins.
    pub fn heard(
        &mut self,
        header: &Header,
        fresh_session: impl FnOnce() -> u64,
        now: Instant,
    ) -> Result<Option<Event>, Counter> {
        // Our own datagram come back, or a repeated one of a session that is over.
        if header.session == self.session
            || header.session == 0
            || self.past.contains(&header.session)
        {
            return Err(Counter::PeerBadSession);
        }
        let bound = header.peer_session == self.session;
        let leads =
            header.role == Role::Primary && self.role == Role::Primary && header.epoch > self.epoch;
        let conflict = if header.role == Role::Primary && header.epoch < self.epoch {
            Some(Counter::PeerBadEpoch)
        } else if header.role == self.role && !leads {
            Some(Counter::PeerRoleConflict)
        } else {
            None
        };
        let was_joined = self.joined;
        if header.session != self.peer.id {
            // Who cannot be a peer does not displace a living one, whose silence is still to be noticed.
            if self.detector.is_alive() && (!bound || conflict.is_some()) {
                return Err(conflict
                    .filter(|_| bound)
                    .unwrap_or(Counter::PeerBadSession));
            }
            // A peer that does not know our session yet cannot be told from a recording: it is answered, not believed.
            self.adopt(header.session, bound);
        } else if bound && !self.peer.bound {
            self.peer.bound = true;
            self.refuse_displaced();
        }
        if !self.peer.fresh(header.sequence) {
            return Err(Counter::PeerReplayed);
        }
        let newest = header.sequence == self.peer.highest;
        if !bound {
            return if header.peer_session == 0 {
                Ok(None)
            } else {
                Err(Counter::PeerBadSession)
            };
        }
        if let Some(counter) = conflict {
            return Err(counter);
        }
        if leads {
            self.role = Role::Backup;
            self.epoch = header.epoch;
            self.taking_over = false;
            self.isolated = false;
            self.part(fresh_session());
            return Ok(Some(Event::SteppedDown));
        }
        if self.taking_over {
            // Whoever joined now would find shadows that do not speak yet, and are void in a new session. It says so again.
            return Ok(None);
        }
        if let Some(fence) = &mut self.fence {
            fence.heard = true;
        }
        let back = self.fence.take_if(|fence| !fence.runs);
        if header.kind == Kind::Leave {
            self.isolated = false;
            self.part(fresh_session());
            return Ok(was_joined.then_some(Event::PeerLeft));
        }
        if header.kind == Kind::Goodbye {
            if self.role == Role::Backup && self.joined && header.joined {
                let last = self.detector.last_heard().unwrap_or(now);
                self.peer_eager = header.eager;
                self.take_over(fresh_session());
                // Not nothing: that would say that it lives.
                let silence = now.since(last).max(Duration::from_nanos(1));
                return Ok(Some(Event::PrimaryGoes(silence)));
            }
            // A backup that goes down leaves, and of a primary that serves its connections alone there is nothing here.
            self.isolated = false;
            self.part(fresh_session());
            return Ok(was_joined.then_some(Event::PeerLeft));
        }
        if self.role == Role::Backup && !header.joined {
            // It serves its connections alone for as long as it has not heard this node. In the session that it has joined that is an old word come late.
            return Ok((was_joined && !self.joined).then_some(Event::PeerAlone));
        }
        self.epoch = match self.role {
            Role::Backup => header.epoch,
            // A primary that was loaded anew counts from 1; a backup that has seen a later term would refuse it for ever.
            Role::Primary => self.epoch.max(header.epoch),
        };
        self.peer_eager = header.eager;
        self.detector.heard(now);
        self.peer.sent = self.peer.sent.max(header.sent);
        if !self.joined {
            self.joined_at = now;
            self.hearing.reset(now);
        }
        let echo = match self.started.after(Duration::from_nanos(header.echo)) {
            _ if planted(Plant::Renewal) => now,
            echo => echo.min(now),
        };
        if newest {
            // The peer takes itself for a backup not before it hears from here that it is one.
            self.lease = lease::end(echo.max(self.joined_at), header.patience);
            self.hearing.peer_says(header.deaf, now);
            self.peer_unlinked = header.unlinked;
        }
        if self.hastened.is_some_and(|at| echo > at) {
            self.hastened = None;
            self.detector.promise(Duration::ZERO);
        }
        if header.leased && header.kind == Kind::Heartbeat {
            self.next_heartbeat = now;
        }
        self.isolated = false;
        if self.role == Role::Backup {
            self.seed = header.seed;
        }
        let event = if self.joined {
            back.map(|_| Event::PrimaryBack)
        } else {
            Some(Event::Joined)
        };
        self.joined = true;
        Ok(event)
    }

    /// Whether to send a heartbeat, at once. Asked after each datagram that was heard.
    pub fn owes_heartbeat(&mut self, now: Instant) -> bool {
        let owes = self.role == Role::Backup && now >= self.next_heartbeat;
        if owes {
            self.next_heartbeat = now.after(self.timing.interval);
        }
        owes
    }

    fn adopt(&mut self, session: u64, bound: bool) {
        if self.peer.bound {
            self.displaced = core::mem::take(&mut self.peer);
        }
        if self.displaced.id == session {
            // It lives, and what displaced it was a recording.
            self.peer = core::mem::take(&mut self.displaced);
        } else {
            self.peer = PeerSession {
                id: session,
                bound,
                ..PeerSession::default()
            };
            if bound {
                self.refuse_displaced();
            }
        }
        self.detector.forget();
        // The next datagram of this session raises `Joined`, and the old session's connections are void.
        self.joined = false;
    }

    /// The peer is in another session, and has proved it: what was said in the one before is void.
    fn refuse_displaced(&mut self) {
        let displaced = core::mem::take(&mut self.displaced);
        if displaced.id != 0 {
            self.past.rotate_right(1);
            if let Some(slot) = self.past.first_mut() {
                *slot = displaced.id;
            }
        }
    }

    /// Ends the present session on this side.
    fn part(&mut self, fresh_session: u64) {
        self.session = fresh_session.max(1);
        self.sequence = 0;
        self.peer.bound = false;
        self.displaced = PeerSession::default();
        self.unaware_until = None;
        self.detector.forget();
        self.paths.forget();
        self.fence = None;
        self.joined = false;
    }

    /// The timer fired. `fresh_session` is a random number, used if the peer is lost.
    pub fn poll(&mut self, now: Instant, fresh_session: u64) -> Poll {
        let heard = self.detector.last_heard().unwrap_or(now);
        let suspicion = self.detector.poll(now, &self.timing);
        let event = match suspicion {
            Suspicion::Lost { silence } => match self.role {
                Role::Primary => {
                    self.part(fresh_session);
                    // Its detector, if it was asleep, waits for an interval more; and one for the way.
                    let timeout = self.timing.timeout();
                    let spare = self.timing.interval.saturating_mul(2);
                    self.unaware_until = Some(now.after(timeout.saturating_add(spare)));
                    self.isolated = self.isolation == Isolation::Yield;
                    Some(Event::BackupLost(silence))
                }
                Role::Backup if self.fence.is_some() => {
                    // It was heard while it was being switched off, and is not any longer.
                    if let Some(fence) = &mut self.fence {
                        fence.last_heard = heard;
                        fence.heard = false;
                    }
                    None
                }
                Role::Backup => Some(self.succeed(heard, fresh_session, now)),
            },
            _ => self
                .poll_fence(fresh_session, now)
                .or_else(|| self.poll_paths(now)),
        };
        let heartbeat = now >= self.next_heartbeat;
        if heartbeat {
            self.next_heartbeat = now.after(self.timing.interval);
        }
        let compares = self.joined && self.paths.count() > 1;
        let probe = compares && self.next_probe.is_some_and(|at| now >= at);
        if probe {
            self.next_probe = Some(now.after(self.timing.interval.max(PROBE_EVERY)));
        }
        Poll {
            heartbeat,
            probe,
            event,
            asleep: suspicion == Suspicion::Asleep,
            next: self.schedule(now),
        }
    }

    fn schedule(&mut self, now: Instant) -> Instant {
        let fence = self.fence.map(|fence| fence.at);
        let others = earliest(fence, self.linkless_at().filter(|at| *at > now));
        let next = earliest(Some(self.next_heartbeat), others).unwrap_or(self.next_heartbeat);
        self.detector.schedule(next, &self.timing)
    }

    /// From when on a peer that does not say so is known to have a link where this node has none.
    fn linkless_at(&self) -> Option<Instant> {
        Some(self.unlinked?.after(LINK_GRACE))
    }

    /// The primary has been silent for too long.
    fn succeed(&mut self, last_heard: Instant, fresh_session: u64, now: Instant) -> Event {
        let silence = now.since(last_heard);
        let Some(timeout) = self.fence_timeout.filter(|_| !planted(Plant::Fence)) else {
            self.take_over(fresh_session);
            return Event::PrimaryLost(silence);
        };
        self.fence = Some(Fence {
            last_heard,
            at: now.after(timeout),
            runs: true,
            heard: false,
        });
        Event::Fence(silence)
    }

    fn poll_paths(&mut self, now: Instant) -> Option<Event> {
        if !self.joined {
            return None;
        }
        let patience = self.detector.patience(&self.timing);
        if let Some(path) = self.paths.poll(self.joined_at, patience, now) {
            return Some(Event::PathLost(path));
        }
        // By a single path that is the service's own, or fails with it, the backup finds it out by itself.
        if self.role == Role::Backup || self.paths.count() < 2 {
            return None;
        }
        let settled = self.linkless_at().is_some_and(|at| now >= at);
        if settled && !self.peer_unlinked {
            return Some(Event::Unlinked);
        }
        self.hearing.cut_off(patience, now).map(Event::CutOff)
    }

    fn poll_fence(&mut self, fresh_session: u64, now: Instant) -> Option<Event> {
        let fence = self.fence.as_mut().filter(|fence| now >= fence.at)?;
        if fence.runs {
            // Its end is waited for, whatever that is.
            fence.at = Instant::from_nanos(u64::MAX);
            return Some(Event::FenceOverdue);
        }
        let last_heard = fence.last_heard;
        Some(self.succeed(last_heard, fresh_session, now))
    }

    /// The end of what [`Event::Fence`] asked for; `done`: the primary is switched off for certain. `fresh_session` is a random number.
    pub fn fenced(&mut self, done: bool, fresh_session: u64, now: Instant) -> Option<Event> {
        let fence = self.fence.as_mut()?;
        let last_heard = fence.last_heard;
        if done {
            self.take_over(fresh_session);
            return Some(Event::PrimaryFenced(now.since(last_heard)));
        }
        fence.runs = false;
        fence.at = now.after(FENCE_AGAIN);
        let back = self.fence.take_if(|fence| fence.heard);
        back.map(|_| Event::PrimaryBack)
    }

    /// Becomes the primary of the next epoch. `fresh_session` is a random number.
    pub fn take_over(&mut self, fresh_session: u64) {
        self.role = Role::Primary;
        self.epoch = self.epoch.wrapping_add(1);
        self.taking_over = true;
        self.isolated = false;
        self.part(fresh_session);
    }

    /// A primary that has a backup hands over to it: from now on this node is silent for the service, and a backup itself. Returns the last word to
    /// the peer in this session. `fresh_session` is a random number.
    pub fn resign(&mut self, fresh_session: u64, now: Instant) -> Option<Header> {
        let goodbye = self.last_word(now);
        if goodbye.is_some() {
            self.role = Role::Backup;
            self.taking_over = false;
            self.part(fresh_session);
        }
        goodbye
    }

    /// Whether nothing has come from the peer since it was told so: the session in which it takes over would be another.
    pub fn is_unanswered(&self, goodbye: &Header) -> bool {
        self.peer.id == goodbye.peer_session
    }

    /// What a primary has to say whose kernel will run no further, if it has a backup to hear it.
    pub fn last_word(&mut self, now: Instant) -> Option<Header> {
        let heard = self.role == Role::Primary && self.joined;
        heard.then(|| self.header(Kind::Goodbye, now))
    }

    /// The takeover is through: every shadow speaks, the address is announced.
    pub fn took_over(&mut self) {
        self.taking_over = false;
    }
}
