// SPDX-License-Identifier: GPL-2.0

//! A connection on the primary.
//!
//! ```text
//!  SYN           SYN-ACK, ACK            backup's first Progress
//!   │   ┌──────────┐    Open   ┌─────────┐        ┌───────────┐
//!   └──▶│ HalfOpen │──────────▶│ Opening │───────▶│ Protected │
//!       └──────────┘           └────┬────┘        └─────┬─────┘
//!                                   │ refused, timeout  │ shadow gone, stalled, backup lost
//!                                   ▼                   ▼
//!                              ┌─────────────────────────────┐
//!                              │         Unprotected         │
//!                              └─────────────────────────────┘
//! ```
//!
//! A connection that ends while the backup may have a shadow is `Ended` until the backup has heard of it. It does not end before the shadow has all that
//! the client has sent, so that both servers have read the same.
//!
//! From `Opening` on the acknowledgements to the client are *gated*: none passes what the backup has. So the client itself still
//! has every byte that the backup lacks, and will send it again to whoever speaks for the service. This is the output commit of
//! FT-TCP and of the routers' non-stop routing. A connection that leaves its shadow behind stays gated until the backup has dropped the
//! shadow: were it continued after bytes that it lacks had been acknowledged, the stream would have a hole.
//!
//! The window is gated likewise: its right edge is the lower one of the stack's and the shadow's. TCP drops what
//! goes beyond its window, and what the shadow drops the client would have to send again, one segment for each of its timeouts.
//!
//! All that is so under [`Policy::Gated`]. Under [`Policy::Eager`] a copy of the client's bytes is as good as the backup's having them, while this
//! host lives; the backup is told what was acknowledged ahead of it, so that it knows of a hole. An answer that acknowledges
//! less than two segments waits for neither, and acknowledges what the backup has.
//!
//! Sequence numbers here are the client's for what the client sends and the primary's for what the server sends: those on the wire.

use super::actions::Actions;
use super::config::Refusal;
use super::counters::Counter;
use super::digest::{Digest, Questions, Word};
use super::message::{Close, Gone, Open, Progress, Record, Span, MAX_BYTES};
use super::node::Peer;
use super::pace::MUCH;
use super::plant::{planted, unless, Plant};
use super::program::{Failure, Farewell, Finding, Held, Places, Pulse, Scope, Watch};
use super::rewrite::{Blank, Rewrite, SackRewrite};
use super::seq::SeqNumber;
use super::shadow::Shadow;
use super::time::{earliest, timestamp_ticks, Instant, ShortWait};
use super::verdict::Outbound;
use super::window::{ahead, widest, Window};
use super::wire::{Flags, Flow, Options, Segment, Timestamps};
use core::time::Duration;

/// The primary's name for a connection: the upper half finds its place in the table, the lower half is a serial number.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// Whether a primary gave this name after `other`, and no more than 2^31 others in between.
    pub fn is_later_than(self, other: Self) -> bool {
        let serial = |id: Self| id.0 as u32;
        (serial(self).wrapping_sub(serial(other)) as i32) > 0
    }
}

/// How long an `Open`, `Query` or `Close` waits for its answer before it is sent again; then twice as long each time, up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_millis(20);

/// The longest time between two tries, unless the backup takes longer on average: in [`STALL_TIMEOUT`] there must be so many that a channel
/// which loses a fifth is not taken for a backup that stands still.
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// How long the backup may take with bytes of the client before they are sent to it, in case the tap lost them, or twice as long as it takes on
/// average, if that is more; then twice as long each time, up to [`LONGEST_RETRY`].
const REPAIR_AFTER: Duration = Duration::from_millis(3);

/// No average is longer.
const SLOWEST: Duration = Duration::from_millis(100);

/// The most doublings of [`REPAIR_AFTER`] for a backup that answers only after it was told again.
const MOST_DOUBTS: u8 = 6;

/// How many bytes are sent to the backup at a time.
const REPAIR: u32 = 16 << 10;

/// How much older than the latest timestamp a segment's may be, in ticks, so that segments that overtake each other are taken (Linux:
/// `TCP_PAWS_WINDOW`).
const PAWS_WINDOW: i32 = 1;

/// What a window must open by to be worth telling: about a segment, as in silly window avoidance (RFC 9293, section 3.8.6.2).
pub(super) const WORTH: i32 = 1460;

/// The memory that a byte of a copy is taken to cost before the first, in sixteenths of a byte; and the smallest segment that tells more of it.
const COPY_COST: u32 = 4 << 4;
const TELLING: u32 = 512;

/// Room that there always is, if anything is kept, in bytes: two ordinary segments.
const LEAST_ROOM: u32 = 2 * 1460;

/// How long a shadow may stand still before an eager primary goes on without it: for want of room, as what it has no room for is all to be sent to it later, or
/// with what the client was answered.
const STANDSTILL: Duration = Duration::from_millis(50);

/// How long the backup may take to confirm that it dropped a shadow.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after a reset or a last FIN the kernel is asked whether its socket is gone.
const CHECK_AFTER: Duration = Duration::from_millis(10);

/// How long a client whose last acknowledgement came from here is answered in place of the socket that is gone: four of its timeouts, the
/// first being 200 ms and each twice the one before (RFC 6298, section 5.5; Linux: `TCP_RTO_MIN`).
const LINGER: Duration = Duration::from_secs(3);

/// How long a half-open connection may be without a request socket, as it is under SYN cookies.
const HALF_OPEN: Duration = Duration::from_secs(5);

/// How long any other new connection may be without a socket.
const YOUNG: Duration = Duration::from_secs(1);

/// How long the backup may take to have its shadow, and that to make any progress, unless told.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// When client bytes are acknowledged; sysctl `ack_policy`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Policy {
    /// When the backup has them. No crash loses one.
    Gated,
    /// When the backup has them, or copies are kept for it. What only the primary has dies with it.
    Eager,
}

impl Policy {
    /// The word in `net.sttcp.ack_policy`.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Gated => "gated",
            Policy::Eager => "eager",
        }
    }

    /// Reads that word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "gated" => Ok(Policy::Gated),
            "eager" => Ok(Policy::Eager),
            _ => Err(Refusal::UnknownWord),
        }
    }
}

/// What the operator has chosen for connections.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// When client bytes are acknowledged.
    pub policy: Policy,
    /// The memory that the copies of a connection's client segments may take, in bytes; sysctl `retain_kb`.
    pub retain: u32,
    /// How the server's programs are watched.
    pub watch: Watch,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            policy: Policy::Gated,
            retain: 16 << 20,
            watch: Watch::OFF,
        }
    }
}

/// Where a connection stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// The handshake is under way.
    HalfOpen,
    /// The backup was asked for a shadow.
    Opening,
    /// The backup has a shadow.
    Protected,
    /// The server has failed here, and the backup is to go on with the connection: nothing is said here any more.
    Moving,
    /// It is plain TCP, for this reason.
    Unprotected(Counter),
    /// It is over, and the backup is told so.
    Ended,
}

impl State {
    /// The word in `/proc/net/sttcp`.
    pub const fn name(self) -> &'static str {
        match self {
            State::HalfOpen => "half-open",
            State::Opening => "opening",
            State::Protected => "protected",
            State::Moving => "moving",
            State::Unprotected(_) => "unprotected",
            State::Ended => "ended",
        }
    }
}

/// Whether the server's words go out. Until the backup knows of the connection, or that it is none of its own, nobody could go on from what was
/// said; and it takes a client that has heard nothing for one that it can go on with (`early.rs`).
/// So it is the time until when they wait, if they do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Speech(Option<Instant>);

impl Speech {
    /// They go out.
    const FREE: Self = Self(None);
    /// They wait for the backup's word.
    const AWAITS: Self = Self(Some(Instant::END));

    /// They wait until the backup must have noticed, at `at`, that it is none.
    const fn until(at: Instant) -> Self {
        Self(Some(at))
    }

    /// The time when they need wait no longer.
    fn at(self) -> Option<Instant> {
        self.0.filter(|at| *at != Instant::END)
    }
}

/// What the kernel has for a connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Socket {
    /// A socket.
    Live,
    /// A request for one: its handshake is not through, or its server has no room for it yet.
    Request,
    /// What remains of a socket after its end (RFC 9293, section 3.3.2).
    TimeWait,
    /// Nothing.
    Gone,
}

impl Socket {
    /// Whether a SYN begins another connection between the same endpoints. A socket answers it with an acknowledgement (RFC 5961, section 4).
    pub const fn gives_way(self) -> bool {
        !matches!(self, Socket::Live | Socket::Request)
    }
}

/// What a planned switchover does to a connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Moves {
    /// It goes on at the other host; or it has yet to begin, or is over.
    Now,
    /// Its client was told of bytes that the shadow lacks.
    Later,
    /// It would be reset: it has no shadow, or one whose server says something else.
    Never,
}

/// What a planned switchover does to all connections.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    never: u32,
    later: u32,
}

impl Census {
    /// One connection more.
    pub fn count(&mut self, moves: Moves) {
        match moves {
            Moves::Now => {}
            Moves::Later => self.later = self.later.saturating_add(1),
            Moves::Never => self.never = self.never.saturating_add(1),
        }
    }

    /// Whether to hand over now, and not to count once more a little later. `Err` is how many connections would be reset, unless those are given up.
    pub fn is_ready(&self, give_up: bool) -> Result<bool, u32> {
        match self.never {
            never if never > 0 && !give_up => Err(never),
            _ => Ok(self.later == 0),
        }
    }
}

/// A connection of a protected service, seen from the primary.
#[derive(Debug)]
pub struct Connection {
    state: State,
    speech: Speech,
    terms: Terms,
    /// Its name and addresses, and what the handshake has agreed to so far; the primary's clock as its SYN-ACK showed it.
    open: Open,
    /// When the client's SYN came, and then when the latest SYN-ACK left.
    began: Instant,
    /// Whether one has.
    answered: bool,
    /// What the stack has acknowledged.
    rcv_nxt: SeqNumber,
    /// What the client has been told of it.
    acked: SeqNumber,
    /// What the backup has been told that the client was told, ahead of the shadow.
    confided: SeqNumber,
    /// What the shadow has taken.
    shadow_rcv: SeqNumber,
    shadow_snd: SeqNumber,
    /// The right edge of the shadow's window.
    shadow_edge: SeqNumber,
    /// The client's clock as of the latest segment in order, if both sides use timestamps (RFC 7323, `TS.Recent`).
    client_clock: u32,
    /// What the backup lacks and is to be sent later.
    due: Parts,
    /// The end of what there are copies of, from what the shadow has taken on without a gap; and a range of more.
    retained: SeqNumber,
    retained_apart: Span,
    /// The memory that a byte of a copy costs, in sixteenths of a byte.
    copy_cost: u32,
    /// Since when the shadow lacks what there is no copy of, and how far the client had come then.
    unkept: Option<(Instant, SeqNumber)>,
    /// The end of what the server has sent.
    snd_nxt: SeqNumber,
    /// The highest acknowledgement of the client.
    snd_una: SeqNumber,
    /// The right edge of the window, as the stack last advertised it.
    edge: SeqNumber,
    /// The same, as the client knows it.
    window: Window,
    last_timestamps: Option<Timestamps>,
    client_fin: Option<SeqNumber>,
    server_fin: Option<SeqNumber>,
    /// Whether a FIN is the last of what the shadow has sent.
    shadow_ended: bool,
    /// Where the shadow's window and the client were when the stack's window opened last.
    opened_at: (SeqNumber, SeqNumber),
    farewell: Farewell,
    pulse: Pulse,
    digest: Digest,
    questions: Questions,
    /// Whether the stack's acknowledgement of the client's FIN was withheld, so that the client hears of it from here and maybe after the
    /// socket's end.
    fin_withheld: bool,
    /// Until when this stands in for the socket that is gone.
    lingers_until: Option<Instant>,
    /// Since when the backup owes an answer: to the `Open`, for the acknowledgement or window that is held back, or to the `Close`.
    waiting_since: Option<Instant>,
    next_retry: Instant,
    retry: ShortWait,
    /// Whether it was told so again since.
    retried: bool,
    /// How long the backup takes to answer, on average.
    answers_in: ShortWait,
    /// How many answers in a row came after it was told again.
    doubts: u8,
    check_at: Option<Instant>,
}

impl Connection {
    /// A client's SYN. The second value is how the SYN must be changed before the stack sees it, `Err` why the connection cannot be protected.
    pub fn from_syn(
        id: ConnectionId,
        flow: Flow,
        syn: &Segment,
        terms: Terms,
        now: Instant,
    ) -> Result<Self, Counter> {
        let next = syn.seq + 1;
        Ok(Self {
            state: State::HalfOpen,
            speech: Speech::FREE,
            terms,
            open: Open::offered(id, flow, syn)?,
            began: now,
            answered: false,
            rcv_nxt: next,
            acked: next,
            confided: next,
            shadow_rcv: next,
            shadow_snd: SeqNumber::default(),
            shadow_edge: next,
            client_clock: 0,
            due: Parts::default(),
            retained: next,
            retained_apart: Span {
                start: next,
                end: next,
            },
            copy_cost: COPY_COST,
            unkept: None,
            snd_nxt: SeqNumber::default(),
            snd_una: SeqNumber::default(),
            edge: next,
            window: Window::new(next, 0),
            last_timestamps: None,
            client_fin: None,
            server_fin: None,
            shadow_ended: false,
            opened_at: (next, next),
            farewell: Farewell::None,
            pulse: Pulse::default(),
            digest: Digest::Void,
            questions: Questions::default(),
            fin_withheld: false,
            lingers_until: None,
            waiting_since: None,
            next_retry: now,
            retry: ShortWait::new(RETRY),
            retried: false,
            answers_in: ShortWait::default(),
            doubts: 0,
            check_at: None,
        })
    }

    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.open.id
    }

    /// Its addresses.
    pub fn flow(&self) -> &Flow {
        &self.open.flow
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Client bytes that the stack acknowledged and the shadow has not.
    pub fn lag_in(&self) -> u32 {
        ahead(self.rcv_nxt, self.shadow_rcv)
    }

    /// Server bytes that were sent here and not by the shadow.
    pub fn lag_out(&self) -> u32 {
        ahead(self.snd_nxt, self.shadow_snd)
    }

    /// Whether copies of the client's segments are of use.
    pub fn retains(&self) -> bool {
        matches!(
            self.state,
            State::Opening | State::Protected | State::Moving
        )
    }

    /// Whether the backup has a shadow, as far as is known.
    fn is_shadowed(&self) -> bool {
        matches!(self.state, State::Protected | State::Moving)
    }

    fn gated(&self) -> bool {
        match self.state {
            State::HalfOpen | State::Ended => false,
            State::Opening | State::Protected | State::Moving => !planted(Plant::Gate),
            State::Unprotected(_) => self.waiting_since.is_some(),
        }
    }

    /// Whether the client is told of less than the stack has: for the backup's sake, or as it has yet to notice that it is none and may go on with the
    /// connection as one of its own.
    fn withholds(&self) -> bool {
        let noticing = self.speech.at().is_some() && !planted(Plant::Lease);
        self.gated() || noticing && self.state != State::Ended
    }

    /// A segment of the client, other than a SYN, on its way to the stack.
    pub fn on_client(&mut self, segment: &Segment, peer: Peer, now: Instant) -> Actions {
        let mut actions = Actions::default();
        if segment.flags.contains(Flags::RST) {
            // Only the stack can tell whether it believes the reset (RFC 5961, section 3.2).
            self.check_at = Some(now.after(CHECK_AFTER));
            return actions;
        }
        if self.lingers_until.is_some() && !segment.is_empty() {
            // It has not heard that its last bytes and its FIN arrived (RFC 9293, section 3.10.7.4: so does a socket in TIME-WAIT).
            actions.send = Some(self.acknowledgement(self.rcv_nxt, self.edge));
            actions.count = Some(Counter::LastAcksRepeated);
            return actions;
        }
        if !self.is_acceptable(segment) {
            return actions;
        }
        if self.state == State::HalfOpen {
            // The third segment of the handshake, or data in its stead.
            if !self.answered || segment.ack != self.open.primary_isn + 1 {
                return actions;
            }
            if peer == Peer::Joined {
                self.state = State::Opening;
                self.speech = Speech::AWAITS;
                self.wait(now);
                actions.record = Some(Record::Open(self.open(now)));
            } else {
                self.state = State::Unprotected(Counter::UnprotectedNoBackup);
                if let Peer::Unaware(until) = peer {
                    self.speech = Speech::until(until);
                }
                actions.count = Some(Counter::UnprotectedNoBackup);
            }
        }
        self.snd_una = self.snd_una.max(segment.ack);
        if segment.flags.contains(Flags::FIN) {
            self.client_fin = Some(segment.end());
        }
        if self.server_fin.is_some_and(|fin| self.snd_una >= fin) {
            self.release(&mut actions, now);
        }
        // Urgent data would come out of the backup's copy in the stream (RFC 6093).
        actions.retain = self.is_current(segment)
            && self.retains()
            && segment.end() > self.shadow_rcv
            && !segment.is_empty()
            && !segment.flags.contains(Flags::URG);
        self.check_end(now);
        actions
    }

    /// Whether the stack takes in what a segment says (RFC 9293, section 3.10.7.4; Linux: `tcp_sequence`, `tcp_ack`). What it drops is no
    /// news: anyone who knows the endpoints can say it.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let oldest = self.snd_una - widest(self.scales().0);
        segment.flags.contains(Flags::ACK)
            && !segment.flags.contains(Flags::SYN)
            && segment.end() >= self.rcv_nxt
            // A FIN may have been taken that did not fit.
            && segment.seq <= self.edge.max(self.rcv_nxt)
            && segment.ack >= oldest
            && segment.ack <= self.snd_nxt
    }

    /// The copy of a client's segment that [`Actions::retain`] asked for is there, and takes so much memory (`truesize`).
    pub fn on_retained(&mut self, segment: &Segment, memory: u32) {
        if segment.payload_len >= TELLING {
            let cost = memory.saturating_mul(16).checked_div(segment.payload_len);
            let cost = cost.unwrap_or(COPY_COST).max(16);
            // Up at once, down slowly.
            let down = self.copy_cost.saturating_sub(cost) / 8;
            self.copy_cost = cost.max(self.copy_cost.saturating_sub(down));
        }
        let kept = Span {
            start: segment.seq,
            end: segment.end(),
        };
        for span in [kept, self.retained_apart] {
            let apart = &mut self.retained_apart;
            if span.start <= self.retained.max(self.shadow_rcv) {
                self.retained = self.retained.max(span.end);
            } else if apart.end <= self.retained {
                *apart = span;
            } else if span.start <= apart.end && span.end >= apart.start {
                apart.start = apart.start.min(span.start);
                apart.end = apart.end.max(span.end);
            }
        }
    }

    /// Whether the connection goes on at the backup if that takes over now.
    pub fn moves(&self) -> Moves {
        match self.state {
            State::Unprotected(_) => Moves::Never,
            _ if self.gated() && self.acked > self.shadow_rcv => Moves::Later,
            _ => Moves::Now,
        }
    }

    /// From now on these terms hold.
    pub fn set_terms(&mut self, terms: Terms, now: Instant) -> Actions {
        let mut actions = Actions::default();
        if terms.watch != self.terms.watch && self.state == State::Protected {
            self.pulse.renew(terms.watch, now);
        }
        self.terms = terms;
        if self.state != State::HalfOpen {
            self.release(&mut actions, now);
        }
        if terms.watch.hold().is_none() && self.state != State::Moving {
            actions.send = self.say_farewell(now).or(actions.send);
        }
        actions
    }

    /// Whether the server's words are held.
    fn is_mute(&self, now: Instant) -> bool {
        let mute = match self.speech.at() {
            Some(at) => now < at && !planted(Plant::Lease),
            None => self.speech == Speech::AWAITS,
        };
        mute && !planted(Plant::Greeting)
    }

    /// The backup is none, of this connection at least: whether what is held goes out.
    fn speak(&mut self, peer: Peer, now: Instant) -> bool {
        if self.speech != Speech::AWAITS {
            return false;
        }
        self.speech = match peer {
            Peer::Unaware(until) if now < until => Speech::until(until),
            _ => Speech::FREE,
        };
        self.speech == Speech::FREE
    }

    /// Whether the segment is none of an earlier time (RFC 7323, section 5.3; Linux: `tcp_paws_discard`). The stack drops those, and a copy of one would
    /// give the backup bytes that the primary has not taken.
    fn is_current(&mut self, segment: &Segment) -> bool {
        if self.open.timestamps.is_none() {
            return true;
        }
        let Some(timestamps) = segment.options.timestamps else {
            return false;
        };
        let age = self.client_clock.wrapping_sub(timestamps.tsval) as i32;
        if age < 0 && segment.seq <= self.rcv_nxt {
            self.client_clock = timestamps.tsval;
        }
        age <= PAWS_WINDOW
    }

    /// The server's SYN-ACK.
    pub fn on_syn_ack(&mut self, syn_ack: &Segment, now: Instant) {
        if self.state != State::HalfOpen || syn_ack.ack != self.open.client_isn + 1 {
            return;
        }
        self.open.agree(syn_ack);
        self.snd_nxt = syn_ack.end();
        self.snd_una = syn_ack.end();
        self.shadow_snd = syn_ack.end();
        self.digest.begin(syn_ack.end());
        self.client_clock = self.open.timestamps.map_or(0, |(client, _)| client);
        self.last_timestamps = syn_ack.options.timestamps;
        (self.began, self.answered) = (now, true);
        self.edge = syn_ack.ack + u32::from(syn_ack.window);
        self.shadow_edge = self.edge;
        self.window = Window::new(self.edge, self.scales().1);
    }

    /// A segment of the server, other than a SYN-ACK, on its way to the client.
    pub fn on_server(&mut self, segment: &Segment, now: Instant) -> (Outbound, Actions) {
        let mut actions = Actions::default();
        let mut rewrite = Rewrite::default();
        if self.state == State::Moving {
            self.on_muted(segment, now);
            return (Outbound::Swallow, actions);
        }
        if segment.flags.contains(Flags::RST) && self.fin_withheld && self.server_fin.is_some() {
            // It answers what the client repeated for want of an acknowledgement, the socket being gone.
            actions.count = Some(Counter::ResetsWithheld);
            return (Outbound::Swallow, actions);
        }
        if segment.flags.contains(Flags::RST) || !segment.flags.contains(Flags::ACK) {
            self.check_at = Some(now.after(CHECK_AFTER));
            let reset = segment.flags.contains(Flags::RST);
            if reset && self.parts(segment.seq, true, &mut actions, now) {
                return (Outbound::Swallow, actions);
            }
            return (Outbound::Send(rewrite), actions);
        }
        let (news, new_data) = (segment.ack > self.rcv_nxt, segment.end() > self.snd_nxt);
        let edge = segment.ack + (u32::from(segment.window) << self.scales().1);
        let opens = edge > self.edge;
        self.note(segment, edge);
        if news {
            actions.resend = self.resend_next();
        }
        if news || new_data || self.is_full() {
            self.pulse.stir(self.terms.watch, now);
        }
        if !segment.is_empty() && self.is_mute(now) {
            actions.count = new_data.then_some(Counter::OutputAwaitsShadow);
            let verdict = match new_data {
                true => Outbound::Hold(segment.seq, segment.end()),
                false => Outbound::Swallow,
            };
            return (verdict, actions);
        }
        if segment.flags.contains(Flags::FIN) && self.parts(segment.end(), false, &mut actions, now)
        {
            if segment.payload_len == 0 && segment.ack.min(self.allowed(false, now)) <= self.acked {
                self.check(now);
                return (Outbound::Swallow, actions);
            }
            rewrite.clear_fin = true;
        }
        let allowed = self.allowed(segment.is_pure_ack(), now);
        let (ack, limit) = (segment.ack.min(allowed), self.limit(edge, now));
        let withheld = segment.ack > ack;
        if self.client_fin.is_some_and(|fin| segment.ack >= fin) {
            // Together with the server's FIN it is as safe as that: the socket repeats both.
            self.fin_withheld =
                withheld || self.fin_withheld && !segment.flags.contains(Flags::FIN);
        }
        if withheld || limit < edge {
            // What was news would reach the client as a duplicate acknowledgement; three of them are a loss signal (RFC 5681, 3.2).
            let was_news = news || opens && limit <= self.window.edge();
            if segment.is_pure_ack() && !new_data && ack == self.acked && was_news {
                actions.count = Some(Counter::AcksSwallowed);
                self.check(now);
                return (Outbound::Swallow, actions);
            }
            if withheld {
                actions.count = actions.count.or(Some(Counter::AcksGated));
                rewrite.ack = Some(ack);
                if !segment.options.sack.is_empty() {
                    // Above a lower acknowledgement they would tell of losses that were none (RFC 8985), and a duplicate's block of bytes that
                    // have arrived (RFC 2883) would be one of them.
                    rewrite.sack = unless(Plant::Sack, SackRewrite::Blank);
                }
            } else {
                actions.count = actions.count.or(Some(Counter::WindowsGated));
            }
            rewrite.window = unless(Plant::RightEdge, Some(self.window.field(ack, limit)));
        } else {
            self.window.told(segment.ack, segment.window);
        }
        self.acked = self.acked.max(ack);
        actions.record = self.confide().or(actions.record);
        self.check(now);
        (Outbound::Send(rewrite), actions)
    }

    /// A segment of the server is about to leave the stack; before anything else is asked of it. See [`Digest::take`].
    pub fn digest(
        &mut self,
        segment: &Segment,
        sum: impl FnMut(u32, u32, u32) -> u32,
        now: Instant,
    ) -> Option<Actions> {
        if !self.retains() {
            return None;
        }
        if segment.payload_len > 0 && matches!(self.digest, Digest::Running(_)) {
            self.questions.stir(now);
        }
        let found = self.digest.take(segment.seq, segment, sum)?;
        self.questions.now(now);
        Some(Actions {
            diverged: Some(found),
            ..Actions::default()
        })
    }

    /// Nobody wants to know whether the servers say the same.
    pub fn stop_digest(&mut self) {
        self.digest = Digest::Void;
    }

    /// Where the two servers are known to have said different things, in bytes of the stream, modulo 2^32.
    pub fn difference(&self) -> Option<(u32, u32)> {
        let first = self.open.primary_isn + 1;
        let found = self.digest.difference()?;
        Some(found.offsets(first))
    }

    /// The backup's word of what its server has said.
    pub fn on_compared(&mut self, word: Word, now: Instant) -> Actions {
        let found = self.digest.hear(word);
        self.questions.on_answer(self.digest.word(), word);
        if found.is_some() {
            self.questions.now(now);
        }
        Actions {
            diverged: found,
            ..Actions::default()
        }
    }

    /// The server ends its stream at `end`, by a reset or a FIN: whether the client is not told, as the shadow has not come to that.
    fn parts(&mut self, end: SeqNumber, reset: bool, actions: &mut Actions, now: Instant) -> bool {
        let holds = self.terms.watch.hold().is_some() && self.state == State::Protected;
        let held = Held::new(end, reset, now);
        let agrees = |fin| fin == held.fin() || self.server_fin == Some(fin);
        if !holds || self.shadow_fin().is_some_and(agrees) {
            return false;
        }
        if matches!(self.farewell, Farewell::None | Farewell::Owed(_)) {
            self.farewell = Farewell::Held(held);
            actions.count = Some(Counter::FarewellsHeld);
            actions.record = Some(Record::Query(self.open.id, self.confided));
        }
        matches!(self.farewell, Farewell::Held(_))
    }

    /// What the client was not told of the end of the server's stream.
    fn say_farewell(&mut self, now: Instant) -> Option<Segment> {
        let Farewell::Held(held) = self.farewell else {
            return None;
        };
        self.farewell = Farewell::Said;
        let (ack, limit) = (self.allowed(false, now), self.limit(self.edge, now));
        self.acked = self.acked.max(ack);
        let (seq, flag) = match held.reset {
            true => (held.end, Flags::RST),
            false => (held.end - 1, Flags::FIN),
        };
        Some(Segment {
            seq,
            flags: Flags::ACK | flag,
            ..self.acknowledgement(ack, limit)
        })
    }

    /// What follows the shadow's FIN, if it has sent one.
    fn shadow_fin(&self) -> Option<SeqNumber> {
        self.shadow_ended.then_some(self.shadow_snd)
    }

    /// Compares the ends of both streams, when the shadow's place is known anew.
    fn compare_ends(&mut self, actions: &mut Actions, now: Instant) {
        if self.shadow_snd > self.snd_nxt && self.pulse.poll_at().is_none() {
            self.pulse.stir(self.terms.watch, now);
        }
        let level = self.shadow_fin().is_some_and(|fin| self.snd_nxt + 1 >= fin);
        if level && self.server_fin.is_none() && self.farewell == Farewell::None {
            let hold = self.terms.watch.hold();
            self.farewell = hold.map_or(Farewell::None, |hold| Farewell::Owed(now.after(hold)));
        }
        let Farewell::Held(held) = self.farewell else {
            let parted = |fin| self.shadow_fin() != Some(fin) && self.shadow_snd >= fin;
            if self.server_fin.is_some_and(parted) {
                // The client has heard of the end, and could make nothing of what the shadow has said since.
                *actions = self.leave(Counter::UnprotectedParted, now);
            }
            return;
        };
        match self.shadow_fin() {
            Some(fin) if fin == held.fin() => actions.send = self.say_farewell(now),
            _ if held.is_overtaken(self.shadow_snd) => self.fail(Failure::Ended, actions, now),
            // It is the shadow that has ended too early.
            Some(_) | None => {}
        }
    }

    /// The server's program here has failed.
    fn fail(&mut self, failure: Failure, actions: &mut Actions, now: Instant) {
        match self.terms.watch.scope {
            Scope::Node => actions.failed = Some(failure),
            Scope::Connection => self.hand_over(failure, actions, now),
        }
        actions.count = Some(match failure {
            Failure::Ended => Counter::ServersEnded,
            Failure::Hung => Counter::ServersHung,
        });
        if let Farewell::Held(held) = &mut self.farewell {
            // Should nothing come of it, it is said again.
            *held = held.again(now);
        }
    }

    /// Nothing is said here any more, and the backup is to go on, as soon as it has all that the client was told had arrived.
    fn hand_over(&mut self, failure: Failure, actions: &mut Actions, now: Instant) {
        self.state = State::Moving;
        self.waiting_since = None;
        self.retry = ShortWait::new(RETRY);
        self.wait(now);
        actions.moves = Some(failure);
        actions.record = self
            .says_move()
            .or(Some(Record::Query(self.open.id, self.confided)));
        if self.acked > self.shadow_rcv {
            actions.resend = self.repair(self.shadow_rcv, self.rcv_nxt, REPAIR);
        }
    }

    /// What the backup is told when it can go on.
    fn says_move(&self) -> Option<Record> {
        (self.acked <= self.shadow_rcv).then_some(Record::Move(self.open.id))
    }

    /// Whether the client has filled the window, but for less than a segment.
    fn is_full(&self) -> bool {
        self.edge.since(self.rcv_nxt) < WORTH
    }

    /// How much the shadow's server has read, if that is no less than what fills the window here; else 0. A window that is merely wider than this one proves nothing: two servers that
    /// both do not read may have buffers of different sizes.
    fn outread(&self) -> u32 {
        let (shadow_edge, rcv_nxt) = self.opened_at;
        let (there, here) = (
            self.shadow_edge.since(shadow_edge),
            self.edge.since(rcv_nxt),
        );
        let outread = self.is_full() && there >= here;
        if outread {
            u32::try_from(there).unwrap_or(0)
        } else {
            0
        }
    }

    /// Looks at what the programs do, if it is time.
    fn watch(&mut self, actions: &mut Actions, now: Instant) {
        if self.state != State::Protected {
            return;
        }
        let places = Places {
            own: self.snd_nxt,
            heard: self.snd_una,
            shadow: self.shadow_snd,
            edge: self.edge,
            outread: self.outread(),
        };
        match self.pulse.poll(places, self.terms.watch, now) {
            Some(Finding::Ask) => {
                actions.record = Some(Record::Query(self.open.id, self.confided));
            }
            Some(Finding::Hung) if self.server_fin.is_none() => {
                self.fail(Failure::Hung, actions, now);
            }
            Some(Finding::ShadowHung) => {
                *actions = self.leave(Counter::UnprotectedServerHung, now);
                return;
            }
            Some(Finding::Hung) | None => {}
        }
        let Some(hold) = self.terms.watch.hold() else {
            return;
        };
        match self.farewell {
            Farewell::Owed(at) if now >= at => {
                *actions = self.leave(Counter::UnprotectedServerEnded, now);
            }
            Farewell::Held(held) if now >= held.until(hold) => match held.is_level(self.shadow_snd)
            {
                true => self.fail(Failure::Ended, actions, now),
                false => {
                    actions.send = self.say_farewell(now);
                    actions.count = Some(Counter::FarewellsSaid);
                }
            },
            Farewell::Held(held) if now >= held.poll_at(hold) => {
                self.farewell = Farewell::Held(held.asks());
                actions.record = Some(Record::Query(self.open.id, self.confided));
            }
            Farewell::Held(_) | Farewell::Owed(_) | Farewell::None | Farewell::Said => {}
        }
    }

    /// What a segment of the server says of the stack, whose window ends at `edge`.
    fn note(&mut self, segment: &Segment, edge: SeqNumber) {
        self.rcv_nxt = self.rcv_nxt.max(segment.ack);
        self.snd_nxt = self.snd_nxt.max(segment.end());
        if segment.flags.contains(Flags::FIN) {
            self.server_fin = Some(segment.end());
            if matches!(self.farewell, Farewell::Owed(_)) {
                self.farewell = Farewell::None;
            }
        }
        self.last_timestamps = segment.options.timestamps;
        if edge > self.edge {
            self.edge = edge;
            self.opened_at = (self.shadow_edge, segment.ack);
        }
    }

    /// A segment of the server that does not leave, as this host must be silent.
    pub fn on_muted(&mut self, segment: &Segment, now: Instant) {
        if segment.flags.contains(Flags::SYN) {
            self.on_syn_ack(segment, now);
        } else if segment.flags.contains(Flags::RST) || !segment.flags.contains(Flags::ACK) {
            self.check_at = Some(now.after(CHECK_AFTER));
            self.on_silence(now);
        } else {
            let edge = segment.ack + (u32::from(segment.window) << self.scales().1);
            self.note(segment, edge);
            self.check(now);
        }
    }

    /// This host must be silent. A client that is answered in place of the socket asks still, and ever more seldom.
    pub fn on_silence(&mut self, now: Instant) {
        if let Some(until) = &mut self.lingers_until {
            *until = now.after(LINGER.saturating_mul(4)).max(*until);
        }
    }

    /// How a held segment is changed when it goes out at last: it carries the latest acknowledgement and window.
    pub fn outward_held(&mut self, segment: &Segment, now: Instant) -> Rewrite {
        // Without its FIN a segment that is nothing else acknowledges once more. The backup is asked by the timer.
        let clear_fin = segment.flags.contains(Flags::FIN)
            && self.parts(segment.end(), false, &mut Actions::default(), now);
        let (ack, limit) = (self.allowed(false, now), self.limit(self.edge, now));
        self.acked = self.acked.max(ack);
        self.check(now);
        Rewrite {
            ack: Some(ack),
            window: Some(self.window.field(ack, limit)),
            clear_fin,
            ..Rewrite::default()
        }
    }

    /// The shadow's progress. The first makes the connection protected.
    pub fn on_progress(&mut self, progress: &Progress, now: Instant) -> Actions {
        let mut actions = Actions::default();
        match self.state {
            State::Opening => {
                self.state = State::Protected;
                self.waiting_since = None;
                actions.count = Some(Counter::Protected);
                actions.flush_held = self.speak(Peer::Joined, now);
            }
            State::Protected | State::Moving => {}
            State::HalfOpen => return actions,
            State::Unprotected(_) => {
                actions.record = Some(Record::Close(self.open.id, Close::Unprotected));
                return actions;
            }
            State::Ended => {
                actions.record = Some(Record::Close(self.open.id, Close::Ended));
                return actions;
            }
        }
        if progress.rcv_nxt > self.shadow_rcv {
            match self.waiting_since {
                Some(since) => self.learn(since, now),
                // It is ahead of what was owed.
                None => self.doubts = 0,
            }
            self.shadow_rcv = progress.rcv_nxt;
            // Left behind by half the circle, they would seem ahead.
            self.confided = self.confided.max(self.shadow_rcv);
            self.retained = self.retained.max(self.shadow_rcv);
            self.unkept = self.unkept.filter(|(_, to)| self.shadow_rcv < *to);
            if self.retained_apart.end <= self.retained {
                self.retained_apart = Span {
                    start: self.retained,
                    end: self.retained,
                };
            }
            actions.release_retained = Some(self.shadow_rcv);
            self.waiting_since = None;
            actions.resend = self.resend_next();
        }
        if progress.edge > self.shadow_edge {
            self.shadow_edge = self.shadow_edge.max(progress.edge);
            self.waiting_since = None;
        }
        if actions.count == Some(Counter::Protected) {
            // Its first window tells of its buffer, and not of what its server reads.
            self.opened_at = (self.shadow_edge, self.rcv_nxt);
        }
        if self.waiting_since.is_none() {
            self.retry = ShortWait::new(self.patience());
        }
        self.shadow_snd = self.shadow_snd.max(progress.snd_nxt);
        self.shadow_ended |= progress.fin;
        self.pulse.answer();
        if self.state == State::Moving {
            self.wait(now);
            actions.record = self.says_move();
            return actions;
        }
        self.release(&mut actions, now);
        self.compare_ends(&mut actions, now);
        actions
    }

    /// The tap did not show these bytes to the backup.
    pub fn on_missing(&mut self, span: &Span) -> Actions {
        if !self.is_shadowed() || span.end <= self.shadow_rcv {
            return Actions::default();
        }
        let later = Span {
            start: span.start.max(self.rcv_nxt),
            end: span.end,
        };
        let has = self.shadow_rcv;
        self.due.keep(Due::Accepted, |span| span.end > has);
        let kept = later.start >= later.end || self.due.add(Due::Accepted, later);
        if !kept {
            self.due.widen(later.end);
        }
        Actions {
            resend: self.repair(span.start, span.end, REPAIR),
            count: Some(Counter::GapsRepaired),
            ..Actions::default()
        }
    }

    /// What else to send to the backup now: what it has asked for that the stack has accepted since, and what follows a part that it has taken.
    pub fn resend_next(&mut self) -> Option<Span> {
        if !self.is_shadowed() || self.due.is_empty() {
            return None;
        }
        let (has, accepted) = (self.shadow_rcv, self.rcv_nxt);
        loop {
            let asked = self.due.take(Due::Accepted, |span| span.end <= accepted);
            // A shadow that stands beyond the part has had more from the tap, so the rest was not lost.
            let span = asked.or_else(|| self.due.take(Due::Reached, |span| span.start == has))?;
            if let Some(part) = self.repair(span.start, span.end, REPAIR) {
                return Some(part);
            }
        }
    }

    /// What to send to the backup of `start` to `end`: what the stack has accepted and the shadow has not, and no more than `most` at first.
    fn repair(&mut self, start: SeqNumber, end: SeqNumber, most: u32) -> Option<Span> {
        let has = self.shadow_rcv;
        let (start, end) = (start.max(has), end.min(self.rcv_nxt));
        if start >= end {
            return None;
        }
        let split = end.min(start + most);
        self.due.keep(Due::Reached, |span| span.start >= has);
        if split < end {
            // If there is no room, the timer thinks of it.
            let _ = self.due.add(Due::Reached, Span { start: split, end });
        }
        Some(Span { start, end: split })
    }

    /// The backup has no shadow of this connection, or none any longer.
    pub fn on_gone(&mut self, why: Gone, now: Instant) -> Actions {
        self.unprotect(
            match why {
                Gone::Refused => Counter::UnprotectedRefused,
                Gone::Options => Counter::UnprotectedOptions,
                Gone::NoMemory => Counter::UnprotectedNoMemory,
                Gone::Ended => Counter::UnprotectedShadowGone,
            },
            Peer::Joined,
            now,
        )
    }

    /// Goes on as plain TCP, there being no shadow. What was held back is acknowledged at once.
    pub fn unprotect(&mut self, why: Counter, peer: Peer, now: Instant) -> Actions {
        let mut actions = Actions::default();
        if self.state == State::Ended {
            self.waiting_since = None;
            actions.remove = self.is_done(now);
            return actions;
        }
        if !self.gated() {
            return actions;
        }
        if self.retains() {
            self.state = State::Unprotected(why);
            // A shadow that ended while its connection was ending is no failure.
            let ending =
                self.client_fin.is_some() || self.server_fin.is_some() || self.check_at.is_some();
            actions.count = (!ending || why != Counter::UnprotectedShadowGone).then_some(why);
        }
        self.waiting_since = None;
        actions.flush_held = self.speak(peer, now);
        self.release(&mut actions, now);
        actions.send = self.say_farewell(now).or(actions.send);
        actions
    }

    /// Leaves the shadow behind, and asks the backup to drop it.
    fn leave(&mut self, why: Counter, now: Instant) -> Actions {
        self.state = State::Unprotected(why);
        self.waiting_since = None;
        self.retry = ShortWait::new(RETRY);
        self.wait(now);
        Actions {
            record: Some(Record::Close(self.open.id, Close::Unprotected)),
            count: Some(why),
            ..Actions::default()
        }
    }

    /// Memory for a segment of this connection was short: it goes on as plain TCP.
    pub fn starve(&mut self, now: Instant) -> Actions {
        const WHY: Counter = Counter::UnprotectedNoMemory;
        match self.state {
            State::HalfOpen => {
                self.state = State::Unprotected(WHY);
                Actions {
                    count: Some(WHY),
                    ..Actions::default()
                }
            }
            State::Opening | State::Protected => self.leave(WHY, now),
            // Of one that moves nothing is sent.
            State::Unprotected(_) | State::Moving | State::Ended => Actions::default(),
        }
    }

    /// This node speaks no longer for the service, and another one carries the connection: what is left of it here, and how that ends.
    /// `None` if there is nothing yet.
    pub fn step_down(&self, now: Instant) -> Option<(Shadow, Actions)> {
        (!matches!(self.state, State::HalfOpen | State::Ended))
            .then(|| Shadow::left_behind(&self.open(now), self.rcv_nxt, self.snd_nxt, now))
    }

    /// When [`Connection::poll`] wants to be called, if ever.
    pub fn poll_at(&self) -> Option<Instant> {
        let retry = self.waiting_since.map(|_| self.next_retry);
        let speaks = self.speech.at();
        let watch = match (self.farewell, self.terms.watch.hold()) {
            (Farewell::Held(held), Some(hold)) => Some(held.poll_at(hold)),
            (Farewell::Owed(at), Some(_)) => Some(at),
            _ => None,
        };
        let watch = earliest(watch, self.pulse.poll_at());
        let watch = earliest(watch, self.questions.poll_at());
        let watch = watch.filter(|_| self.state == State::Protected);
        earliest(earliest(retry, watch), earliest(speaks, self.check_at))
    }

    /// A time that was asked for has come. `stall` is how long the backup may take to have its shadow, and that to make any progress.
    pub fn poll(&mut self, now: Instant, stall: Duration) -> Actions {
        let mut actions = Actions::default();
        if let Some(since) = self.waiting_since.filter(|_| now >= self.next_retry) {
            let waited = now.since(since);
            let first = !core::mem::replace(&mut self.retried, true);
            let longest = LONGEST_RETRY.max(self.patience());
            self.retry = ShortWait::new(self.retry.get().saturating_mul(2).min(longest));
            self.next_retry = now.after(self.retry.get());
            actions.record = Some(match self.state {
                State::Opening if waited >= stall => {
                    return self.leave(Counter::UnprotectedOpenTimeout, now)
                }
                State::Opening => Record::Open(self.open(now)),
                State::Unprotected(why) if waited >= CLOSE_TIMEOUT => {
                    // The service comes first.
                    return Actions {
                        count: Some(Counter::CloseUnconfirmed),
                        ..self.unprotect(why, Peer::Joined, now)
                    };
                }
                State::Unprotected(_) => Record::Close(self.open.id, Close::Unprotected),
                State::Ended if waited >= CLOSE_TIMEOUT => {
                    const WHY: Counter = Counter::EndUnconfirmed;
                    return Actions {
                        count: Some(WHY),
                        ..self.unprotect(WHY, Peer::Joined, now)
                    };
                }
                State::Ended => Record::Close(self.open.id, Close::Ended),
                State::Moving if self.acked <= self.shadow_rcv => Record::Move(self.open.id),
                _ => {
                    if waited >= stall || self.is_beyond_help(now, stall) {
                        return self.leave(Counter::UnprotectedStalled, now);
                    }
                    // A backup that does not answer may have no time for more.
                    let part = if first { REPAIR } else { MAX_BYTES as u32 };
                    actions.resend = self.repair(self.shadow_rcv, self.rcv_nxt, part);
                    actions.count = actions.resend.map(|_| Counter::TailsRepaired);
                    // A shadow that stands still may be gone on without by now.
                    self.release(&mut actions, now);
                    Record::Query(self.open.id, self.confided)
                }
            });
        }
        self.watch(&mut actions, now);
        let asks = self.state == State::Protected && actions.record.is_none();
        if asks && self.questions.poll(now) {
            actions.record = Some(Record::Compare(self.open.id, self.digest.word()));
        }
        if self.check_at.is_some_and(|at| now >= at) {
            self.check_at = None;
            actions.check_socket = true;
        }
        if self.speech.at().is_some_and(|at| now >= at) {
            self.speech = Speech::FREE;
            actions.flush_held = true;
            self.release(&mut actions, now);
        }
        actions
    }

    /// Whether the shadow has lacked for too long what there is no copy of. The client repeats it, but it may do so a segment at a time, with ever
    /// longer pauses: it takes what is acknowledged in between for a sign that nothing was lost (RFC 5682).
    fn is_beyond_help(&mut self, now: Instant, stall: Duration) -> bool {
        if self.retained > self.shadow_rcv || self.rcv_nxt <= self.shadow_rcv {
            return false;
        }
        let (since, _) = self.unkept.get_or_insert((now, self.rcv_nxt));
        now.since(*since) >= stall
    }

    /// The time has come to compare the connection with the kernel's socket.
    pub fn sweep(&self, now: Instant) -> Actions {
        let patience = if self.state == State::HalfOpen {
            HALF_OPEN
        } else {
            YOUNG
        };
        Actions {
            check_socket: now.since(self.began) >= patience,
            ..Actions::default()
        }
    }

    /// What the kernel has for this connection.
    pub fn on_socket(&mut self, socket: Socket, now: Instant) -> Actions {
        let over = match socket {
            Socket::Live | Socket::Request => false,
            Socket::TimeWait => self.has_ended(),
            Socket::Gone => true,
        };
        let held = matches!(self.farewell, Farewell::Held(_)) || self.state == State::Moving;
        if !over || self.owes() || held {
            return Actions::default();
        }
        let mut actions = Actions::default();
        if self.gated() {
            self.state = State::Ended;
            self.waiting_since = None;
            self.retry = ShortWait::new(RETRY);
            self.wait(now);
            actions.record = Some(Record::Close(self.open.id, Close::Ended));
        }
        if socket == Socket::Gone && self.fin_withheld && self.has_both_fins() {
            let until = *self.lingers_until.get_or_insert(now.after(LINGER));
            self.check_at = Some(until).filter(|at| now < *at);
        }
        actions.remove = self.is_done(now);
        actions
    }

    /// Whether an ended connection can be dropped: the backup owes no answer, and no client hears from here in place of the socket.
    fn is_done(&self, now: Instant) -> bool {
        self.waiting_since.is_none() && self.lingers_until.is_none_or(|at| now >= at)
    }

    fn has_both_fins(&self) -> bool {
        self.client_fin.is_some() && self.server_fin.is_some()
    }

    /// Whether the socket may be gone too early: only we can tell the client that its last bytes and its FIN have arrived, so its repetitions must not
    /// meet a reset; and the copies here are the last of what the shadow lacks.
    fn owes(&self) -> bool {
        self.gated()
            && self.has_both_fins()
            && self.acked.min(self.shadow_rcv) < self.rcv_nxt
            && !planted(Plant::Fin)
    }

    /// Whether the client knows that all it has said has arrived. It has no use for a window then, and may be gone: what it hears later it answers with a
    /// reset, which would take from the shadow's server what that has yet to read.
    fn has_all(&self) -> bool {
        self.client_fin.is_some_and(|fin| self.acked >= fin)
    }

    /// Whether the connection has ended in both directions and both ends know it.
    fn has_ended(&self) -> bool {
        self.has_all() && self.server_fin.is_some_and(|fin| self.snd_una >= fin)
    }

    fn check_end(&mut self, now: Instant) {
        if self.has_ended() && self.lingers_until.is_none() {
            self.check_at = Some(now.after(CHECK_AFTER));
        }
    }

    /// How far the client may be told that its bytes have arrived. `alone`: by the stack, which has nothing else to say. Less than two segments an eager
    /// primary does not acknowledge with an answer before the backup has them: each word of what the client was told ahead of it is a datagram.
    fn allowed(&self, alone: bool, now: Instant) -> SeqNumber {
        if !self.withholds() {
            return self.rcv_nxt;
        }
        let few = !alone && ahead(self.rcv_nxt, self.shadow_rcv) < MUCH && !self.stands_still(now);
        let safe = match self.policy() {
            Policy::Gated => self.shadow_rcv,
            Policy::Eager if few => self.shadow_rcv,
            Policy::Eager if planted(Plant::Copies) => self.rcv_nxt,
            Policy::Eager => self.shadow_rcv.max(self.retained),
        };
        // What was told under another policy stays told.
        self.rcv_nxt.min(safe.max(self.acked))
    }

    /// The policy that holds. Of a connection that the backup does not know the client must keep everything, so that it has something to say to whoever
    /// knows nothing of it either, and hears a reset.
    fn policy(&self) -> Policy {
        match self.speech {
            Speech::FREE => self.terms.policy,
            _ => Policy::Gated,
        }
    }

    /// What the backup is to hear of what the client was told ahead of it.
    fn confide(&mut self) -> Option<Record> {
        let known = self.shadow_rcv.max(self.confided);
        if self.policy() == Policy::Gated || self.acked <= known || !self.gated() {
            return None;
        }
        self.confided = self.acked;
        Some(Record::Acked(self.open.id, self.acked))
    }

    /// How far the window may open that the stack opens up to `edge`: no further than the shadow's, nor than what can be kept until the shadow has it.
    fn limit(&self, edge: SeqNumber, now: Instant) -> SeqNumber {
        if !self.withholds() || planted(Plant::Window) {
            return edge;
        }
        let kept = self.room().map(|room| self.shadow_rcv + room);
        let stands = self.shadow_edge.since(self.shadow_rcv) < WORTH && self.stands_still(now);
        let limit = match kept {
            Some(kept) if self.policy() == Policy::Eager && stands => kept,
            Some(kept) => kept.min(self.shadow_edge),
            None => self.shadow_edge,
        };
        // What the client knows stays.
        edge.min(limit.max(self.window.edge()))
    }

    /// Whether the backup has owed its word for so long that an eager primary goes on without it.
    fn stands_still(&self, now: Instant) -> bool {
        let waits = |since| now.since(since) >= STANDSTILL;
        self.waiting_since.is_some_and(waits)
    }

    /// How many bytes can be kept, if any are.
    fn room(&self) -> Option<u32> {
        let bytes = self.terms.retain.checked_div(self.copy_cost)?;
        (bytes > 0).then(|| bytes.saturating_mul(16).max(LEAST_ROOM))
    }

    /// Sends the acknowledgement and the window that were held back, as far as they are allowed now.
    fn release(&mut self, actions: &mut Actions, now: Instant) {
        if self.state == State::Moving {
            return;
        }
        let (allowed, limit) = (self.allowed(false, now), self.limit(self.edge, now));
        let opens = limit.since(self.window.edge()) >= WORTH && !self.has_all();
        if allowed > self.acked || opens {
            self.acked = allowed;
            actions.send = unless(Plant::Release, Some(self.acknowledgement(allowed, limit)));
            actions.record = actions.record.or(self.confide());
        }
        self.check(now);
    }

    /// A bare acknowledgement as the stack would send it now, with a window up to `limit`.
    fn acknowledgement(&mut self, ack: SeqNumber, limit: SeqNumber) -> Segment {
        let seq = match self.farewell {
            // The FIN has not been said.
            Farewell::Held(held) if !held.reset => held.end - 1,
            _ => self.snd_nxt,
        };
        Segment {
            seq,
            ack,
            flags: Flags::ACK,
            window: self.window.field(ack, limit),
            options: Options {
                timestamps: self.last_timestamps,
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// Looks whether the backup owes something, and whether the connection has ended.
    fn check(&mut self, now: Instant) {
        let told = self.window.edge();
        let closed = self.edge > told && told.since(self.acked) < WORTH && !self.has_all();
        if self.gated() && (closed || self.rcv_nxt > self.shadow_rcv) {
            self.wait(now);
        }
        self.check_end(now);
    }

    /// How long the backup may take to say that it has what the primary has.
    fn patience(&self) -> Duration {
        let usual = REPAIR_AFTER.max(self.answers_in.get().saturating_mul(2));
        // One answer after a repetition is nothing to go by.
        let times = 1_u32 << self.doubts.saturating_sub(1).min(MOST_DOUBTS);
        usual.saturating_mul(times).min(LONGEST_RETRY.max(usual))
    }

    /// The backup has answered. An answer that came after it was told again says nothing about its pace, as what was told first may have been lost (Karn's
    /// algorithm, RFC 6298, section 3). One that is slow answers every time like that, and is given twice as long with each, until one answer tells.
    fn learn(&mut self, since: Instant, now: Instant) {
        if self.retried {
            self.doubts = self.doubts.saturating_add(1);
            return;
        }
        let took = now.since(since).min(SLOWEST);
        self.answers_in = match core::mem::take(&mut self.doubts) {
            0 | 1 => self.answers_in.averaged(took),
            _ => ShortWait::new(took),
        };
    }

    /// The backup owes an answer from now on, if not for longer.
    fn wait(&mut self, now: Instant) {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            self.retried = false;
            self.next_retry = now.after(self.retry.get());
        }
    }

    /// The window scales, the client's and the own one.
    fn scales(&self) -> (u8, u8) {
        self.open.window_scale.unwrap_or((0, 0))
    }

    /// The word for the backup, as of now.
    fn open(&self, now: Instant) -> Open {
        let clock = |own: u32| own.wrapping_add(timestamp_ticks(now.since(self.began)));
        let timestamps = self.open.timestamps;
        Open {
            timestamps: timestamps.map(|(client, own)| (client, clock(own))),
            ..self.open
        }
    }
}

/// When a part of the client's stream is sent to the backup.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Due {
    /// When the stack here has accepted it: the backup has asked for it.
    Accepted,
    /// When the shadow has come to it.
    Reached,
}

/// Some parts of the client's stream, no two of a kind with the same beginning. The empty ones are free.
#[derive(Debug, Default)]
struct Parts {
    spans: [Span; 8],
    /// Bit n: the n-th is [`Due::Reached`].
    reached: u8,
}

impl Parts {
    /// The bit of the part with this number, which is less than eight.
    fn bit(at: usize) -> u8 {
        1u8.wrapping_shl(at as u32)
    }

    /// Whether there is none, as nearly always.
    fn is_empty(&self) -> bool {
        self.spans.iter().all(Span::is_empty)
    }

    /// Those of a kind, and their numbers.
    fn of(&mut self, due: Due) -> impl Iterator<Item = &mut Span> {
        let reached = self.reached;
        let is = move |at: usize| (reached & Self::bit(at) != 0) == (due == Due::Reached);
        let spans = self.spans.iter_mut().enumerate();
        spans.filter_map(move |(at, span)| (!span.is_empty() && is(at)).then_some(span))
    }

    /// Remembers one more, `false` if there is no room for it.
    fn add(&mut self, due: Due, span: Span) -> bool {
        if let Some(same) = self.of(due).find(|other| other.start == span.start) {
            *same = span;
            return true;
        }
        let Some(at) = self.spans.iter().position(Span::is_empty) else {
            return false;
        };
        if let Some(free) = self.spans.get_mut(at) {
            *free = span;
        }
        let bit = Self::bit(at);
        self.reached = match due {
            Due::Accepted => self.reached & !bit,
            Due::Reached => self.reached | bit,
        };
        true
    }

    /// Makes the last of those that the backup has asked for reach up to `end`, with what lies in between.
    fn widen(&mut self, end: SeqNumber) {
        let last = self
            .of(Due::Accepted)
            .reduce(|last, span| match span.start > last.start {
                true => span,
                false => last,
            });
        if let Some(last) = last {
            last.end = last.end.max(end);
        }
    }

    /// Takes out the first that is `wanted`.
    fn take(&mut self, due: Due, wanted: impl Fn(Span) -> bool) -> Option<Span> {
        self.of(due)
            .find(|span| wanted(**span))
            .map(core::mem::take)
    }

    /// Forgets those that are not `wanted`.
    fn keep(&mut self, due: Due, wanted: impl Fn(&Span) -> bool) {
        for span in self.of(due) {
            if !wanted(span) {
                *span = Span::default();
            }
        }
    }
}

/// How a SYN or SYN-ACK of a protected service must be changed: extensions whose state a shadow could not share are never negotiated.
pub fn plain_handshake(segment: &Segment) -> (Rewrite, [Option<Counter>; 3]) {
    let options = &segment.options;
    let clear_ae = segment.flags.contains(Flags::AE);
    let rewrite = Rewrite {
        blank: Blank {
            fast_open: options.fast_open,
            mptcp: options.mptcp,
        },
        clear_ae,
        ..Rewrite::default()
    };
    (
        rewrite,
        [
            options.fast_open.then_some(Counter::FastOpenBlanked),
            options.mptcp.then_some(Counter::MptcpBlanked),
            clear_ae.then_some(Counter::AccurateEcnCleared),
        ],
    )
}
