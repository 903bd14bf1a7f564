// SPDX-License-Identifier: GPL-2.0

//! A shadow: the backup's live, silent copy of a connection, and after a takeover the connection itself.
//!
//! The shadow is an ordinary socket that an ordinary handshake made, played to it by [`Shadow::open`] and [`Shadow::on_output`]. It chose its
//! own initial sequence number and timestamp clock, so every segment is translated: `delta` leads from the shadow's sequence numbers to the
//! primary's, which are those the client knows. The client's own numbers are the same on both hosts.
//!
//! Injected segments are made in the client's view, and pass [`Shadow::on_client`] like any segment of the client.

use super::actions::Actions;
use super::counters::Counter;
use super::digest::{Digest, Word};
use super::message::{Bytes, Close, Gone, Open, Progress, Record, Span};
use super::node::Predecessor;
use super::pace::Pace;
use super::plant::{planted, unless, Plant};
use super::primary::{ConnectionId, Socket, WORTH};
use super::rewrite::{Rewrite, SackRewrite};
use super::seq::{Delta, SeqNumber};
use super::time::{earliest, timestamp_ticks, Instant};
use super::verdict::{Inbound, Outbound};
use super::window::{ahead, widest, Window};
use super::wire::{Flags, Flow, Options, Segment, Timestamps};
use core::time::Duration;

/// How long the local stack may take to answer the SYN before it is injected again.
const SYN_RETRY: Duration = Duration::from_millis(200);

/// How many SYNs are injected before a shadow is given up whose client nobody else serves, or for which there is no memory.
const SYN_TRIES: u8 = 5;

/// And otherwise: half a minute. How long the backup may take is for the primary to say (`backup_stall_ms`), but its word may be lost.
const SYN_TRIES_OF_A_BACKUP: u8 = 150;

/// How long a shadow may stay without progress after its connection ended.
const GRACE: Duration = Duration::from_secs(3);

/// How often a shadow says where it stands, even if it does not move: a primary that knows its connection no longer, and whose `Close` was lost, says
/// so again.
const REMIND: Duration = Duration::from_secs(30);

/// How long after a reset the kernel is asked whether its socket is gone.
const CHECK_AFTER: Duration = Duration::from_millis(10);

/// How far the client may be ahead of a shadow in what it has from the server: well within half the circle of sequence numbers.
const MAX_LAG: i32 = 1 << 30;

/// Client data that came no longer than this before the primary fell silent is acknowledged at a takeover. What is older, and was not acknowledged, the client has repeated
/// by then: its first timeout is a second or less, unless it is very far away (RFC 6298, section 2).
const RECENT: Duration = Duration::from_secs(3);

/// And so is what it has repeated, as that shows that it waits: a timeout grows up to two minutes (Linux: `TCP_RTO_MAX`).
const REPEATED: Duration = Duration::from_secs(300);

/// How long the local stack may take at a takeover with what the tap has shown.
const SETTLE: Duration = Duration::from_millis(5);

/// How long the client of an eager primary that died may take to repeat what nobody has acknowledged, beyond the time of the primary's silence: its
/// timeout may be up to twice the time since it sent (RFC 6298, section 5.5).
const REPEAT: Duration = Duration::from_secs(2);

/// How often it is asked meanwhile what it has sent. Linux answers twice a second at most (`tcp_invalid_ratelimit`).
const PROBE: Duration = Duration::from_millis(600);

/// Where a shadow stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// The SYN is injected.
    Opening,
    /// The handshake is through.
    Established,
    /// The connection has ended; the shadow is ending.
    Ending,
    /// The shadow must not go on; a reset is injected.
    Doomed,
}

/// After a takeover: the primary may have acknowledged client bytes that are not here.
#[derive(Copy, Clone, Debug)]
struct Doubt {
    /// What the shadow expected when it was last looked at, and since when it has lacked that.
    from: SeqNumber,
    since: Instant,
    /// Since when the shadow is watched: for as long as `patience`, and longer if it lacks something, or its client has not been heard.
    begun: Instant,
    /// Whether what comes in now was sent after the takeover.
    settled: bool,
    /// Whether the client has been heard since.
    heard: bool,
    /// Whether the primary has not fallen silent: until it hears of the takeover it acknowledges what comes.
    primary_lives: bool,
    /// How long a client that still has bytes may take to repeat them.
    patience: Duration,
    next: Instant,
}

/// A shadow.
#[derive(Debug)]
pub struct Shadow {
    state: State,
    /// Whether this node speaks for the service: output goes to the client.
    speaking: bool,
    /// Whether it speaks by the primary's order, this node being a backup.
    carried: bool,
    /// If what is here is left of a primary's connection that its backup carries on, until that says that it is over: what the client has
    /// acknowledged, primary's numbers. The socket here knows nothing of that.
    moved: Option<SeqNumber>,
    /// Whether the client was sent a reset.
    resets: bool,
    /// The primary never told of it: it is taken to have agreed to what this host's stack agrees to.
    guessed: bool,
    /// Its name and addresses, and what the handshake has agreed to.
    open: Open,
    opened_at: Instant,
    syn_tries: u8,
    /// Whether a segment could not be injected for want of memory.
    starved: bool,
    /// Whether the local stack has taken the third segment of the handshake. Under SYN cookies there is no socket before that, and nobody repeats
    /// anything for a client that waits for the server's first word.
    taken: bool,
    /// From the shadow's sequence numbers to the primary's.
    delta: Delta,
    /// From the shadow's timestamp clock to the primary's.
    clock_delta: Delta,
    /// The shadow's timestamp clock, and when it showed that.
    clock: (u32, Instant),
    /// The window scale that the local stack chose.
    own_scale: u8,
    /// The end of what the shadow has sent, shadow's numbers.
    snd_nxt: SeqNumber,
    /// The end of what is held, primary's numbers.
    held_nxt: SeqNumber,
    digest: Digest,
    /// What the shadow expects next, client's numbers.
    rcv_nxt: SeqNumber,
    /// The right edge of its receive window, client's numbers.
    edge: SeqNumber,
    /// What the primary was told of the two, and of the FIN; and when it is told more.
    reported: (SeqNumber, SeqNumber, bool),
    pace: Pace,
    /// The right edge in the stack's latest segment, client's numbers.
    stack_edge: SeqNumber,
    /// What the stack acknowledged last, client's numbers: it takes no segment that ends before.
    stack_ack: SeqNumber,
    /// What the client was told, since the takeover, of its bytes that have arrived.
    acked: SeqNumber,
    /// And of the window.
    told: Option<Window>,
    /// The end of what the client sent, client's numbers.
    client_nxt: SeqNumber,
    /// What the primary said that it has acknowledged, client's numbers.
    promised: SeqNumber,
    doubt: Option<Doubt>,
    /// The highest acknowledgement of the client, primary's numbers.
    client_ack: SeqNumber,
    /// The right edge of the client's window, primary's numbers.
    client_edge: SeqNumber,
    client_window: u16,
    client_tsval: u32,
    /// The latest timestamp of the primary that the client echoed.
    client_tsecr: u32,
    /// When it last sent data, and whether they had been seen before.
    client_data_at: Option<Instant>,
    client_repeats: bool,
    client_fin: bool,
    server_fin: bool,
    /// What a socket of an earlier connection between the same endpoints expects next, client's numbers.
    stale: Option<SeqNumber>,
    progress_at: Instant,
    reminded_at: Instant,
    check_at: Option<Instant>,
}

impl Shadow {
    /// Starts a shadow on the primary's word; the second value is the SYN to inject.
    pub fn open(open: &Open, now: Instant) -> (Self, Segment) {
        let next = open.client_isn + 1;
        let shadow = Self {
            state: State::Opening,
            speaking: false,
            carried: false,
            moved: None,
            resets: false,
            guessed: false,
            open: *open,
            opened_at: now,
            syn_tries: 1,
            starved: false,
            taken: false,
            delta: Delta::default(),
            clock_delta: Delta::default(),
            clock: (0, now),
            own_scale: 0,
            snd_nxt: SeqNumber::default(),
            held_nxt: open.primary_isn + 1,
            digest: Digest::Void,
            rcv_nxt: next,
            edge: next,
            reported: (next, next, false),
            pace: Pace::default(),
            stack_edge: next,
            stack_ack: next,
            acked: next,
            told: None,
            client_nxt: next,
            promised: next,
            doubt: None,
            client_ack: open.primary_isn + 1,
            // The field of a SYN is not scaled (RFC 7323, section 2.2).
            client_edge: open.primary_isn + 1 + u32::from(open.window),
            client_window: window_field(open),
            client_tsval: open.timestamps.map_or(0, |(client, _)| client),
            client_tsecr: 0,
            client_data_at: None,
            client_repeats: false,
            client_fin: false,
            server_fin: false,
            stale: None,
            progress_at: now,
            reminded_at: now,
            check_at: Some(now.after(SYN_RETRY)),
        };
        let syn = shadow.syn();
        (shadow, syn)
    }

    /// The same without that word, by what the client's segments tell: see `early.rs`.
    pub fn guessed(open: &Open, now: Instant) -> (Self, Segment) {
        let (mut shadow, syn) = Self::open(open, now);
        shadow.guessed = true;
        (shadow, syn)
    }

    /// The socket of a connection that another host carries from now on: of no use, and in the way should this host speak again. It is
    /// in step with itself, so no number is changed. `rcv_nxt` is what it expects next, client's numbers.
    pub(super) fn left_behind(
        open: &Open,
        rcv_nxt: SeqNumber,
        snd_nxt: SeqNumber,
        now: Instant,
    ) -> (Self, Actions) {
        let (mut shadow, _) = Self::open(open, now);
        shadow.state = State::Established;
        shadow.rcv_nxt = rcv_nxt;
        shadow.snd_nxt = snd_nxt;
        let actions = shadow.doom(now);
        (shadow, actions)
    }

    /// The same, where it is the backup that carries the connection: the client is to hear nothing of what is here.
    pub(super) fn moved(mut self) -> Self {
        self.moved = Some(self.snd_nxt);
        self
    }

    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.open.id
    }

    /// The connection's addresses.
    pub fn flow(&self) -> &Flow {
        &self.open.flow
    }

    /// Whether the handshake with the local stack is through, so that the queue holds output and not input.
    pub fn is_ready(&self) -> bool {
        self.state != State::Opening
    }

    /// Whether this node speaks for the connection.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Whether it speaks though this node does not.
    pub fn is_carried(&self) -> bool {
        self.carried
    }

    /// Whether it is the backup that carries the connection.
    pub fn is_moved(&self) -> bool {
        self.moved.is_some()
    }

    /// Whether the primary never told of it, see `early.rs`.
    pub fn is_guessed(&self) -> bool {
        self.guessed
    }

    /// Whether this connection was resumed here.
    pub fn state_name(&self) -> &'static str {
        match (self.state, self.speaking) {
            (State::Opening, _) => "opening",
            (State::Established, false) => "shadow",
            (State::Established, true) => "migrated",
            (State::Ending, _) => "ending",
            (State::Doomed, _) if self.is_moved() => "moved",
            (State::Doomed, _) => "doomed",
        }
    }

    /// Client bytes that came by and that the shadow has not taken.
    pub fn lag_in(&self) -> u32 {
        ahead(self.client_nxt, self.rcv_nxt)
    }

    /// Server bytes that the client has and the shadow has not sent.
    pub fn lag_out(&self) -> u32 {
        if self.is_ready() {
            ahead(self.client_ack, self.snd_nxt + self.delta)
        } else {
            0
        }
    }

    /// Whether `open` is the primary's word for this very shadow, said again.
    pub fn is_for(&self, open: &Open) -> bool {
        self.open.id == open.id
    }

    /// Whether `open` is the primary's word for an earlier connection between the same endpoints, delivered late.
    pub fn is_later_than(&self, open: &Open) -> bool {
        // A doomed one may be another primary's.
        self.state != State::Doomed && self.open.id.is_later_than(open.id)
    }

    /// Whether this is the SYN that the local stack has yet to answer, so that there is no socket.
    pub fn is_opened_by(&self, syn: &Segment) -> bool {
        self.state == State::Opening && syn.seq == self.open.client_isn
    }

    /// A segment of the client, tapped or injected, on its way to the stack.
    pub fn on_client(&mut self, segment: &Segment, now: Instant) -> (Inbound, Actions) {
        let mut actions = Actions::default();
        let syn = segment.flags.contains(Flags::SYN);
        if syn {
            return if self.is_opened_by(segment) {
                (
                    Inbound::Pass(super::primary::plain_handshake(segment).0),
                    actions,
                )
            } else {
                (Inbound::Drop(Counter::StrayIn), actions)
            };
        }
        if self.state == State::Opening {
            let ours = segment.flags == Flags::RST && self.stale == Some(segment.seq);
            let inbound = if ours {
                Inbound::Pass(Rewrite::default())
            } else {
                Inbound::until_ready(segment)
            };
            return (inbound, actions);
        }
        if let Some(acked) = &mut self.moved {
            // Its socket here hears of its end, and of nothing else.
            let resets = segment.flags.contains(Flags::RST) && segment.ack <= self.snd_nxt;
            let inbound = match resets {
                true => Inbound::Pass(Rewrite::default()),
                false => Inbound::Ignore,
            };
            *acked = segment.ack.max(*acked);
            return (inbound, actions);
        }
        if self.resets && self.state == State::Doomed && !segment.flags.contains(Flags::RST) {
            // It has more than it was taken to have, and asks (RFC 5961, section 3.2: a challenge). The answer is that of a host without a
            // connection (RFC 9293, section 3.10.7.1), and so in place whatever it has.
            actions.send = segment.flags.contains(Flags::ACK).then_some(Segment {
                seq: segment.ack,
                flags: Flags::RST,
                ..Segment::default()
            });
            return (Inbound::Ignore, actions);
        }
        if !self.is_plausible(segment) {
            return (Inbound::Drop(Counter::StrayIn), actions);
        }
        let reset = segment.flags.contains(Flags::RST);
        let speaks = segment.flags.contains(Flags::ACK) && !reset;
        if let Some(doubt) = self.doubt.as_mut().filter(|_| speaks) {
            // A client behind a hole may have sent more than there is room for here, and heard more than this host has said.
            if self.client_nxt <= self.rcv_nxt {
                doubt.since = now;
            }
            doubt.heard |= doubt.settled;
            self.client_nxt = self.client_nxt.max(segment.end());
        }
        if speaks && !self.believes(segment) {
            return (Inbound::Drop(Counter::AcksDoubted), actions);
        }
        if reset {
            // Only the stack can tell whether it believes the reset (RFC 5961, section 3.2).
            self.check_at = Some(now.after(CHECK_AFTER));
        } else if self.is_acceptable(segment) {
            self.note(segment, &mut actions, now);
        }
        let lag = self.client_ack.since(self.snd_nxt + self.delta);
        if lag > MAX_LAG && !self.speaking && self.state == State::Established {
            actions = self.doom(now);
            actions.record = Some(Record::Gone(self.open.id, Gone::Ended));
            actions.count = Some(Counter::ShadowsBehind);
            return (Inbound::Drop(Counter::StrayIn), actions);
        }
        (Inbound::Pass(self.inward(segment, &mut actions)), actions)
    }

    /// Takes in what the client says.
    fn note(&mut self, segment: &Segment, actions: &mut Actions, now: Instant) {
        if !segment.is_empty() {
            self.client_data_at = Some(now);
            self.client_repeats = segment.end() <= self.client_nxt;
        }
        // The client sends nothing anew that it knows to have arrived. A bare acknowledgement may be a keep-alive probe.
        if !segment.is_empty() && segment.seq <= self.rcv_nxt {
            self.doubt = self
                .doubt
                .filter(|doubt| doubt.primary_lives || !doubt.settled);
        }
        if segment.seq > self.client_nxt && !self.speaking && self.state == State::Established {
            // By what was seen and not by what the socket has taken: in-order segments may lie in its backlog.
            let (start, end) = (self.client_nxt, segment.seq);
            actions.record = Some(Record::Missing(self.open.id, Span { start, end }));
        }
        if segment.end() > self.client_nxt {
            self.client_nxt = segment.end();
            self.pace.on_client(segment.ack);
        }
        self.client_fin |= segment.flags.contains(Flags::FIN);
        if let Some(timestamps) = segment.options.timestamps {
            if (timestamps.tsval.wrapping_sub(self.client_tsval) as i32) > 0 {
                self.client_tsval = timestamps.tsval;
            }
            if self.client_tsecr == 0
                || (timestamps.tsecr.wrapping_sub(self.client_tsecr) as i32) > 0
            {
                self.client_tsecr = timestamps.tsecr;
            }
        }
        let scale = self.open.window_scale.map_or(0, |(client, _)| client);
        let edge = segment.ack + (u32::from(segment.window) << scale);
        self.client_edge = self.client_edge.max(edge);
        if segment.ack >= self.client_ack {
            if segment.ack > self.client_ack {
                actions.release_held = unless(Plant::Free, Some(segment.ack));
                self.progress_at = now;
            }
            self.client_ack = segment.ack;
            self.client_window = segment.window;
        }
    }

    /// How a client's segment is changed for the stack.
    fn inward(&self, segment: &Segment, actions: &mut Actions) -> Rewrite {
        let mut rewrite = Rewrite::default();
        if !segment.flags.contains(Flags::ACK) {
            return rewrite;
        }
        rewrite.tsecr = segment
            .options
            .timestamps
            .map(|timestamps| unless(Plant::Echo, self.clock_delta).unshift(timestamps.tsecr));
        let ack = segment.ack - self.delta;
        if ack > self.snd_nxt {
            // The stack would drop the whole segment (tcp_ack): it acknowledges what was never sent. The right edge of the window stays.
            let scale = self.open.window_scale.map_or(0, |(client, _)| client);
            let lost = ahead(ack, self.snd_nxt).div_ceil(1 << scale);
            let window = u32::from(segment.window).saturating_add(lost);
            rewrite.ack = Some(self.snd_nxt + u32::from(planted(Plant::Clamp)));
            rewrite.window = Some(u16::try_from(window).unwrap_or(u16::MAX));
            rewrite.sack = SackRewrite::Blank;
            actions.count = Some(Counter::AcksClamped);
        } else {
            rewrite.ack = Some(ack);
            rewrite.sack = unless(Plant::Sack, SackRewrite::Back(self.delta));
        }
        rewrite
    }

    /// Whether the segment can be one of this connection: neither a forger's, who knows the endpoints alone, nor an old duplicate. The exact
    /// window is the primary's; none is wider than its scale allows.
    fn is_plausible(&self, segment: &Segment) -> bool {
        let (_, primary) = self.open.window_scale.unwrap_or((0, 0));
        segment.seq.since(self.rcv_nxt).unsigned_abs() <= widest(primary)
    }

    /// Whether the segment's acknowledgement can be the client's. TCP drops a segment, bytes and all, that acknowledges what was never sent (RFC
    /// 5961, section 5.2), but only the primary knows what it has sent: no more than the client's window allows. A window beyond that, as after
    /// losses of the tap, only a segment that begins with the very byte that is expected next is believed: a forger would have to guess that
    /// number. The client repeats any other from that byte on.
    fn believes(&self, segment: &Segment) -> bool {
        let allowed = self.client_edge + ahead(self.client_edge, self.client_ack);
        let sent = self.snd_nxt + self.delta;
        segment.ack <= sent.max(allowed) || segment.seq == self.rcv_nxt
    }

    /// Memory for a segment to inject was short.
    pub fn starve(&mut self) {
        self.starved = true;
    }

    /// There was no memory to hold a segment from `start` on: its repetition is to be held in its stead. This is counted and nothing else.
    pub fn not_held(&mut self, start: SeqNumber) -> Counter {
        self.held_nxt = start;
        Counter::NoMemory
    }

    /// Whether the stack takes in what a segment says (RFC 9293, section 3.10.7.4; Linux: `tcp_sequence`, `tcp_ack`). What it drops is no
    /// news: anyone who knows the endpoints can say it.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let oldest =
            self.client_ack - widest(self.open.window_scale.map_or(0, |(client, _)| client));
        segment.flags.contains(Flags::ACK)
            && segment.end() >= self.stack_ack
            // A FIN may have been taken that did not fit.
            && segment.seq <= self.edge.max(self.rcv_nxt)
            && segment.ack >= oldest
    }

    /// A segment that the shadow sends, which speaks, and that does not leave, as this host must be silent.
    pub fn on_muted(&mut self, segment: &Segment, now: Instant) {
        let tells = segment.flags.contains(Flags::ACK)
            && !segment.flags.intersects(Flags::SYN | Flags::RST)
            && self.state != State::Opening;
        if tells {
            self.advance(segment.ack, now);
            self.snd_nxt = self.snd_nxt.max(segment.end());
        }
    }

    /// A segment that the shadow sends.
    pub fn on_output(&mut self, segment: &Segment, now: Instant) -> (Outbound, Actions) {
        let mut actions = Actions::default();
        if segment.flags.contains(Flags::RST) {
            return self.on_reset(segment, now);
        }
        let answers = segment.ack == self.open.client_isn + 1;
        if segment.flags.contains(Flags::SYN) && (answers || self.state != State::Opening) {
            return (Outbound::Swallow, self.on_syn_ack(segment, now));
        }
        if !segment.flags.contains(Flags::ACK) {
            return (Outbound::Swallow, actions);
        }
        if self.state == State::Opening {
            // A socket of an earlier connection answers, or a request for one. A client in SYN-SENT resets it (RFC 9293, section 3.10.7.3), and tries again.
            self.stale = Some(segment.ack);
            self.check_at = Some(now.after(CHECK_AFTER));
            actions.inject = Some(Segment {
                seq: segment.ack,
                flags: Flags::RST,
                ..Segment::default()
            });
            return (Outbound::Swallow, actions);
        }
        self.take();
        self.advance(segment.ack, now);
        self.stack_edge = self.right_edge(segment);
        self.edge = self.edge.max(self.stack_edge);
        self.stack_ack = self.stack_ack.max(segment.ack);
        self.server_fin |= segment.flags.contains(Flags::FIN);
        if let Some(timestamps) = segment.options.timestamps {
            self.clock = (timestamps.tsval, now);
        }
        if segment.end() > self.snd_nxt {
            self.snd_nxt = segment.end();
            self.progress_at = now;
        }
        actions.record = self.report(now);
        let (start, end) = (segment.seq + self.delta, segment.end() + self.delta);
        if !segment.is_empty() && end <= self.client_ack {
            // The client has it from the primary; only the shadow has not heard that.
            actions.inject = unless(Plant::Inject, Some(self.client_segment(Flags::ACK)));
            actions.count = Some(Counter::AcksInjected);
            if self.speaking && segment.ack > self.acked {
                // What it acknowledges is news all the same.
                actions.send = Some(self.server_segment(Flags::ACK, now));
            }
            return (Outbound::Swallow, actions);
        }
        if self.speaking {
            return (Outbound::Send(self.outward(segment)), actions);
        }
        if segment.is_empty()
            || end <= self.held_nxt
            || planted(Plant::Hold)
            || matches!(self.state, State::Ending | State::Doomed) && end <= self.client_ack
        {
            // A bare acknowledgement, or a retransmission of what is held.
            actions.count = Some(Counter::OutputSwallowed);
            return (Outbound::Swallow, actions);
        }
        self.held_nxt = end;
        actions.count = Some(Counter::SegmentsHeld);
        (Outbound::Hold(start, end), actions)
    }

    /// A segment of the shadow is about to leave the stack; before anything else is asked of it. See [`Digest::take`]. What shows by it the primary hears at
    /// once: it may be about to hand over.
    pub fn digest(
        &mut self,
        segment: &Segment,
        sum: impl FnMut(u32, u32, u32) -> u32,
    ) -> Option<Actions> {
        let compares = !self.speaking && self.is_ready();
        let at = segment.seq + self.delta;
        let found = compares.then(|| self.digest.take(at, segment, sum))??;
        Some(Actions {
            record: Some(Record::Compared(self.open.id, self.digest.word())),
            diverged: Some(found),
            ..Actions::default()
        })
    }

    /// Nobody wants to know whether the servers say the same.
    pub fn stop_digest(&mut self) {
        self.digest = Digest::Void;
    }

    /// As [`Connection::difference`](super::primary::Connection::difference).
    pub fn difference(&self) -> Option<(u32, u32)> {
        let first = self.open.primary_isn + 1;
        Some(self.digest.difference()?.offsets(first))
    }

    /// The primary's word of what its server has said.
    pub fn on_compare(&mut self, word: Word) -> Actions {
        if !self.is_ready() {
            return Actions::default();
        }
        let diverged = self.digest.hear(word);
        Actions {
            record: Some(Record::Compared(self.open.id, self.digest.word())),
            diverged,
            ..Actions::default()
        }
    }

    fn on_syn_ack(&mut self, segment: &Segment, now: Instant) -> Actions {
        let mut actions = Actions::default();
        if self.state != State::Opening {
            // The stack did not take our third segment (its accept queue was full, say); once more.
            actions.inject = Some(self.client_segment(Flags::ACK));
            actions.count = Some(Counter::HandshakesInjected);
            return actions;
        }
        let options = &segment.options;
        if self.guessed {
            // Timestamps apart, of which the client's segments tell, the primary's stack declined what this one declines.
            self.open.agree_to(options);
            self.client_window = window_field(&self.open);
        }
        let agreed = options.sack_permitted == self.open.sack
            && options.timestamps.is_some() == self.open.timestamps.is_some()
            && options.window_scale.is_some() == self.open.window_scale.is_some();
        self.delta = Delta::between(self.open.primary_isn, segment.seq);
        self.snd_nxt = segment.end();
        self.digest.begin(self.open.primary_isn + 1);
        self.own_scale = options.window_scale.unwrap_or(0).min(14);
        self.edge = self.rcv_nxt + u32::from(segment.window);
        self.stack_edge = self.edge;
        if let (Some(own), Some((_, primary))) = (options.timestamps, self.open.timestamps) {
            let elapsed = timestamp_ticks(now.since(self.opened_at));
            self.clock_delta = Delta::of(primary.wrapping_add(elapsed), own.tsval);
            self.clock = (own.tsval, now);
            // What the client would have echoed of this very SYN-ACK.
            self.client_tsecr = self.clock_delta.shift(own.tsval);
        }
        self.progress_at = now;
        if !agreed {
            self.state = State::Doomed;
            self.check_at = Some(now.after(CHECK_AFTER));
            return Actions {
                inject: Some(self.client_segment(Flags::RST)),
                ..self.refuse(Gone::Options, now)
            };
        }
        self.state = State::Established;
        self.check_at = Some(now.after(SYN_RETRY));
        if let Some(doubt) = &mut self.doubt {
            doubt.next = now.after(SETTLE);
        }
        actions.inject = Some(self.client_segment(Flags::ACK));
        actions.release_queue = true;
        actions.record = Some(self.say());
        actions.count = Some(Counter::ShadowsEstablished);
        actions
    }

    fn on_reset(&mut self, segment: &Segment, now: Instant) -> (Outbound, Actions) {
        if self.state == State::Opening {
            let refused = Actions {
                remove: true,
                ..self.refuse(Gone::Refused, now)
            };
            return (Outbound::Swallow, refused);
        }
        // Also one that answers a third segment said again: there is nothing to wait for.
        self.take();
        self.check_at = Some(now.after(CHECK_AFTER));
        let outbound = if self.speaking && self.state == State::Established {
            Outbound::Send(self.outward(segment))
        } else {
            Outbound::Swallow
        };
        (outbound, Actions::default())
    }

    /// There will be no shadow. The primary is told; after a takeover it is the client that must not wait for an answer which never comes.
    fn refuse(&mut self, why: Gone, now: Instant) -> Actions {
        Actions {
            record: (!self.speaking).then_some(Record::Gone(self.open.id, why)),
            send: self.speaking.then(|| self.reset(now)),
            count: Some(if self.speaking {
                Counter::TakeoverReset
            } else {
                Counter::ShadowsRefused
            }),
            ..Actions::default()
        }
    }

    /// The socket queued client bytes: it expects `rcv_nxt` next (tracepoint `sk_data_ready`).
    pub fn on_delivered(&mut self, rcv_nxt: SeqNumber, now: Instant) -> Option<Record> {
        if self.state == State::Opening {
            return None;
        }
        self.take();
        self.advance(rcv_nxt, now);
        self.report(now)
    }

    /// There is a socket, or there will be none: the third segment has done its work.
    fn take(&mut self) {
        if !self.taken && self.state == State::Established {
            self.taken = true;
            self.check_at = None;
        }
    }

    /// The socket has taken client bytes up to `rcv_nxt`.
    fn advance(&mut self, rcv_nxt: SeqNumber, now: Instant) {
        if rcv_nxt > self.rcv_nxt {
            self.rcv_nxt = rcv_nxt;
            // Left behind by half the circle, it would seem ahead.
            self.promised = self.promised.max(rcv_nxt);
            self.progress_at = now;
        }
    }

    /// The primary has acknowledged client bytes up to here, maybe ahead of the shadow.
    pub fn on_acked(&mut self, acked: SeqNumber) {
        self.promised = self.promised.max(acked);
    }

    /// The primary asks where the shadow stands, or says `Open` again.
    pub fn on_query(&mut self) -> Option<Record> {
        match self.state {
            State::Opening => None,
            State::Established | State::Ending => {
                self.pace.asked();
                Some(self.say())
            }
            State::Doomed => Some(Record::Gone(self.open.id, Gone::Ended)),
        }
    }

    /// The primary sends bytes of the client that the tap may have lost: what to inject with them as payload, or else to answer.
    pub fn on_bytes(&mut self, bytes: &Bytes<'_>) -> (Option<Segment>, Option<Record>) {
        let fin = if bytes.fin { Flags::FIN } else { Flags::NONE };
        let segment = Segment {
            seq: bytes.seq,
            payload_len: bytes.payload.len() as u32,
            ..self.client_segment(Flags::PSH | fin)
        };
        if self.speaking || !self.is_ready() {
            // Nobody asks any more; or they will be sent again.
            return (None, None);
        }
        if self.state == State::Doomed || segment.end() <= self.rcv_nxt {
            return (None, self.on_query());
        }
        (Some(segment), None)
    }

    /// The primary says that the connection is over, or goes on alone.
    pub fn on_close(&mut self, why: Close, now: Instant) -> Actions {
        let mut actions = Actions::default();
        if self.speaking {
            return actions;
        }
        match why {
            Close::Ended => {
                if matches!(self.state, State::Opening | State::Established) {
                    if self.state == State::Established {
                        self.state = State::Ending;
                    }
                    let nearly = SYN_TRIES_OF_A_BACKUP.saturating_sub(SYN_TRIES);
                    self.syn_tries = self.syn_tries.max(nearly);
                    self.progress_at = now;
                    self.check_at = Some(now.after(CHECK_AFTER));
                }
            }
            Close::Unprotected => {
                if self.state != State::Doomed {
                    actions = self.abandon(now);
                }
            }
        }
        actions.record = Some(Record::Gone(self.open.id, Gone::Ended));
        actions
    }

    /// This node speaks no longer for the service, and another one carries the connection.
    pub fn step_down(&mut self, now: Instant) -> Actions {
        self.speaking = false;
        self.resets = false;
        self.moved = None;
        self.doom(now)
    }

    /// Ends the shadow because the primary does not protect its connection any longer.
    pub fn abandon(&mut self, now: Instant) -> Actions {
        Actions {
            count: Some(Counter::ShadowsAbandoned),
            ..self.doom(now)
        }
    }

    /// Ends the shadow now: a reset of the client's, at the place where the stack will believe it (RFC 5961, section 3.2).
    pub fn doom(&mut self, now: Instant) -> Actions {
        let mut actions = Actions::default();
        if self.state == State::Opening {
            actions.remove = true;
            return actions;
        }
        self.state = State::Doomed;
        self.check_at = Some(now.after(CHECK_AFTER));
        actions.inject = Some(self.client_segment(Flags::RST));
        actions
    }

    /// The time has come to compare the shadow with the kernel's socket, and now and then with the primary's connection.
    pub fn sweep(&mut self, now: Instant) -> Actions {
        let shadows = self.state == State::Established && !self.speaking;
        let reminds = (shadows || self.is_moved()) && now.since(self.reminded_at) >= REMIND;
        if reminds {
            self.reminded_at = now;
        }
        Actions {
            check_socket: self.is_ready(),
            record: reminds.then(|| match self.is_moved() {
                true => Record::Query(self.open.id, self.rcv_nxt),
                false => Record::Progress(self.progress()),
            }),
            ..Actions::default()
        }
    }

    /// What the kernel has for this shadow. The primary is told of an untimely end.
    pub fn on_socket(&mut self, socket: Socket, now: Instant) -> Actions {
        if !self.taken && self.state == State::Established {
            match socket {
                Socket::Gone | Socket::Request => return self.knock(now),
                // It may have nothing to say: what has come is behind a gap.
                Socket::Live | Socket::TimeWait => self.take(),
            }
        }
        let over = match socket {
            Socket::Live | Socket::Request => false,
            // Once the shadow speaks, the answers of a socket in TIME-WAIT need translation.
            Socket::TimeWait => !self.speaking,
            Socket::Gone => true,
        };
        if !over {
            return Actions::default();
        }
        if self.is_moved() {
            self.check_at = None;
            return Actions::default();
        }
        let lives = matches!(self.state, State::Opening | State::Established);
        let untimely = self.carried || !self.speaking && lives;
        Actions {
            record: untimely.then_some(Record::Gone(self.open.id, Gone::Ended)),
            remove: true,
            count: Some(Counter::ShadowsFinished),
            ..Actions::default()
        }
    }

    /// The local stack did not take the SYN, or, its accept queue being full, the third segment: once more, or the shadow is given up.
    fn knock(&mut self, now: Instant) -> Actions {
        let tries = match self.speaking || self.starved {
            true => SYN_TRIES,
            false => SYN_TRIES_OF_A_BACKUP,
        };
        if self.syn_tries >= tries {
            let why = match self.starved {
                true => Gone::NoMemory,
                false => Gone::Refused,
            };
            return Actions {
                remove: true,
                ..self.refuse(why, now)
            };
        }
        self.syn_tries = self.syn_tries.saturating_add(1);
        self.check_at = Some(now.after(SYN_RETRY));
        Actions {
            inject: Some(match self.state {
                State::Opening => self.syn(),
                _ => self.client_segment(Flags::NONE),
            }),
            count: Some(Counter::HandshakesInjected),
            ..Actions::default()
        }
    }

    /// When [`Shadow::poll`] wants to be called, if ever.
    pub fn poll_at(&self) -> Option<Instant> {
        let due = match self.state {
            State::Established => self.doubt.map(|doubt| doubt.next),
            State::Ending => Some(self.progress_at.after(GRACE)),
            State::Opening | State::Doomed => None,
        };
        earliest(earliest(self.check_at, due), self.says_at())
    }

    /// A time that was asked for has come.
    pub fn poll(&mut self, now: Instant) -> Actions {
        let mut actions = Actions::default();
        match self.state {
            State::Opening if self.check_at.is_some_and(|at| now >= at) => {
                actions = self.knock(now);
            }
            State::Ending if now.since(self.progress_at) >= GRACE => {
                actions = self.doom(now);
                actions.count = Some(Counter::ShadowsOverdue);
            }
            State::Established if self.doubt.is_some_and(|doubt| now >= doubt.next) => {
                actions = self.resolve(now);
            }
            State::Ending | State::Doomed | State::Established
                if self.check_at.is_some_and(|at| now >= at) =>
            {
                self.check_at = None;
                actions.check_socket = true;
                if self.state == State::Doomed {
                    // Should the reset have been lost or not believed, it is repeated until the socket is gone.
                    actions.inject = Some(self.client_segment(Flags::RST));
                    self.check_at = Some(now.after(SYN_RETRY));
                }
            }
            _ => {}
        }
        if actions.record.is_none() && self.says_at().is_some() && self.pace.is_over(now) {
            actions.record = Some(self.say());
        }
        actions
    }

    /// Looks for a hole: bytes that the primary acknowledged and that are not here. The client will never send them again, so nobody can go on.
    ///
    /// If the primary's word of it was lost, the client tells: a keep-alive probe makes it say what it has sent (RFC 9293, section 3.8.4), and
    /// what it can it repeats. What it says from where the shadow stands shows that there is none, see [`Shadow::note`].
    fn resolve(&mut self, now: Instant) -> Actions {
        let Some(mut doubt) = self.doubt.take() else {
            return Actions::default();
        };
        doubt.settled = true;
        // A server that has yet to take the connection lacks what waits for it, and that is no hole.
        let moved = self.rcv_nxt > doubt.from || !self.taken;
        if moved {
            doubt.from = self.rcv_nxt;
            doubt.since = now;
        }
        let lacks = self.client_nxt > self.rcv_nxt;
        if self.promised > self.rcv_nxt || lacks && now.since(doubt.since) >= doubt.patience {
            let reset = self.reset(now);
            self.speaking = false;
            return Actions {
                send: Some(reset),
                count: Some(Counter::TakeoverHoles),
                ..self.doom(now)
            };
        }
        let until = doubt.begun.after(doubt.patience);
        if !lacks && doubt.heard && now >= until {
            return Actions::default();
        }
        // A client that does not answer may be cut off, and is asked ever more seldom.
        let pause = now.since(doubt.begun).checked_div(2).unwrap_or(PROBE);
        let next = now.after(PROBE.max(pause));
        doubt.next = match (lacks, doubt.heard) {
            (true, _) => next.min(doubt.since.after(doubt.patience)),
            (false, true) => next.min(until),
            (false, false) => next,
        };
        self.doubt = Some(doubt);
        let probe = Segment {
            seq: self.client_ack - 1,
            ..self.server_segment(Flags::ACK, now)
        };
        Actions {
            send: (!moved).then_some(probe),
            ..Actions::default()
        }
    }

    /// The primary's server has failed, and this one is to go on with the connection.
    pub fn carry(&mut self, now: Instant, before: Predecessor) -> Actions {
        let gone = Some(Record::Gone(self.open.id, Gone::Ended));
        if self.carried {
            return Actions {
                record: Some(Record::Moved(self.open.id)),
                ..Actions::default()
            };
        }
        if self.speaking || self.state != State::Established {
            return Actions {
                record: gone,
                ..Actions::default()
            };
        }
        let mut actions = self.take_over(now, before);
        self.carried = self.speaking;
        (actions.record, actions.count) = match self.carried {
            true => (
                Some(Record::Moved(self.open.id)),
                Some(Counter::ConnectionsTaken),
            ),
            false => (gone, actions.count),
        };
        actions
    }

    /// The primary's word that the connection which it carries for this host is over.
    pub fn is_over(&self, why: Gone) -> bool {
        self.is_moved() && why == Gone::Ended
    }

    /// This node speaks for the service from now on.
    pub fn take_over(&mut self, now: Instant, before: Predecessor) -> Actions {
        let mut actions = Actions::default();
        if core::mem::take(&mut self.carried) {
            // It has spoken before.
            return actions;
        }
        match self.state {
            // It was at rest, or another CPU was first.
            State::Opening | State::Established if self.speaking => {}
            State::Established if before.strict && self.digest.difference().is_some() => {
                let reset = self.reset(now);
                return Actions {
                    send: Some(reset),
                    count: Some(Counter::TakeoverDiverged),
                    ..self.doom(now)
                };
            }
            State::Opening | State::Established => {
                self.speak();
                let patience = REPEAT.saturating_add(before.silence);
                self.doubt = self.is_doubtful(before).then(|| Doubt {
                    from: self.rcv_nxt,
                    since: now,
                    settled: false,
                    heard: false,
                    begun: now,
                    primary_lives: before.silence.is_zero(),
                    patience,
                    next: now.after(SETTLE),
                });
                actions.count = Some(Counter::TakeoverContinued);
                // What is held goes out now, and acknowledges as well.
                if self.state == State::Established
                    && !self.holds()
                    && self.is_waited_for(now, before)
                {
                    actions.send = Some(self.server_segment(Flags::ACK, now));
                }
            }
            // The client has ended the connection with the primary: nothing to continue.
            State::Ending => {}
            // The primary went on without us: the client must not wait for an answer that never comes.
            State::Doomed => {
                actions.send = Some(self.reset(now));
                actions.count = Some(Counter::TakeoverReset);
            }
        }
        actions
    }

    /// The same where nothing is to be sent for that and nothing to be looked after, as with most connections; else it does nothing. Whether it was so. What goes out
    /// later is for whoever holds it to look for.
    pub fn take_over_at_rest(&mut self, now: Instant, before: Predecessor) -> bool {
        let cares = self.speaking
            || before.strict
            || self.holds()
            || self.is_doubtful(before)
            || self.is_waited_for(now, before);
        let rests = self.state == State::Established && !cares;
        if rests {
            self.speak();
        }
        rests
    }

    fn speak(&mut self) {
        self.speaking = true;
        // The server has a second from now on.
        self.syn_tries = 1;
        self.acked = self.reported.0;
        self.doubt = None;
    }

    /// Whether there is output that the client has not acknowledged.
    fn holds(&self) -> bool {
        self.held_nxt > self.client_ack
    }

    /// Whether the primary may have acknowledged client bytes that are not here.
    fn is_doubtful(&self, before: Predecessor) -> bool {
        (before.eager || self.promised > self.rcv_nxt) && !planted(Plant::Hole)
    }

    /// Whether the client may wait for an acknowledgement at a takeover.
    fn is_waited_for(&self, now: Instant, before: Predecessor) -> bool {
        let most = match self.client_repeats {
            true => REPEATED,
            false => RECENT.saturating_add(before.silence),
        };
        self.client_data_at.is_some_and(|at| now.since(at) <= most)
    }

    /// Since the takeover the other host has fallen silent, or become the backup: it acknowledges nothing more.
    pub fn on_successor(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.primary_lives = false;
        }
    }

    /// How a held segment is changed when it goes out at last: it carries the latest acknowledgement, window and timestamp.
    pub fn outward_held(&mut self, segment: &Segment, now: Instant) -> Rewrite {
        // Its own clock is an old one, and would have to be raised to what the client has echoed since.
        let mut fresh = *segment;
        if let Some(timestamps) = &mut fresh.options.timestamps {
            timestamps.tsval = self.clock_at(now);
        }
        let mut rewrite = self.outward(&fresh);
        self.acked = self.acked.max(self.rcv_nxt);
        rewrite.ack = Some(self.rcv_nxt);
        rewrite.window = Some(self.outward_window(self.rcv_nxt, self.stack_edge));
        rewrite
    }

    /// The reset that ends this connection at the client.
    pub fn reset(&mut self, now: Instant) -> Segment {
        self.resets = true;
        let reset = self.server_segment(Flags::RST, now);
        Segment {
            seq: self.moved.unwrap_or(reset.seq),
            ..reset
        }
    }

    /// A shadow that is behind has sent less than the client has from the primary. What lies wholly before that the client drops,
    /// acknowledgement and all (RFC 9293, section 3.10.7.4), so an acknowledgement moves up. One of a shadow in step stays where it
    /// is: it may be a keep-alive probe, which is to be unacceptable.
    fn outward(&mut self, segment: &Segment) -> Rewrite {
        self.acked = self.acked.max(segment.ack);
        let behind = self.snd_nxt + self.delta < self.client_ack;
        Rewrite {
            seq: Some(if behind && segment.is_empty() {
                self.client_ack
            } else {
                segment.seq + self.delta
            }),
            window: Some(self.outward_window(segment.ack, self.right_edge(segment))),
            tsval: unless(Plant::Clock, segment.options.timestamps)
                .map(|ts| self.outward_clock(ts.tsval)),
            ..Rewrite::default()
        }
    }

    /// The right edge of the window in a segment of the local stack, which counts in units of its own scale.
    fn right_edge(&self, segment: &Segment) -> SeqNumber {
        segment.ack + (u32::from(segment.window) << self.own_scale)
    }

    /// The window field up to `edge`, which the client reads in units of the primary's scale.
    fn outward_window(&mut self, ack: SeqNumber, edge: SeqNumber) -> u16 {
        let scale = unless(Plant::Scale, self.open.window_scale).map_or(0, |(_, primary)| primary);
        self.told
            .get_or_insert(Window::new(ack, scale))
            .field(ack, edge)
    }

    /// The client drops a segment whose timestamp is older than one it has seen (RFC 7323, section 5). Two hosts' clocks drift apart, so
    /// the offset is raised until what leaves here is no older than what the client has echoed.
    fn outward_clock(&mut self, tsval: u32) -> u32 {
        let out = self.clock_delta.shift(tsval);
        if self.client_tsecr != 0 && (out.wrapping_sub(self.client_tsecr) as i32) < 0 {
            self.clock_delta = Delta::of(self.client_tsecr, tsval);
            return self.client_tsecr;
        }
        out
    }

    fn clock_at(&self, now: Instant) -> u32 {
        let (tsval, at) = self.clock;
        tsval.wrapping_add(timestamp_ticks(now.since(at)))
    }

    fn progress(&self) -> Progress {
        Progress {
            id: self.open.id,
            rcv_nxt: self.rcv_nxt + u32::from(planted(Plant::Progress)),
            snd_nxt: self.snd_nxt + self.delta,
            edge: self.edge,
            fin: self.server_fin,
        }
    }

    /// What the primary is to hear now of where the shadow has come to.
    fn report(&mut self, now: Instant) -> Option<Record> {
        let (rcv_nxt, edge, fin) = self.reported;
        let news =
            self.rcv_nxt > rcv_nxt || self.edge.since(edge) >= WORTH || self.server_fin && !fin;
        if self.speaking || self.state == State::Doomed || !news {
            return None;
        }
        let ahead = ahead(self.rcv_nxt, rcv_nxt).max(ahead(self.edge, edge));
        (!self.pace.waits(ahead, self.client_ack, now)).then(|| self.say())
    }

    fn say(&mut self) -> Record {
        self.pace.told();
        self.reported = (self.rcv_nxt, self.edge, self.server_fin);
        Record::Progress(self.progress())
    }

    /// When something is to be said to the primary that has waited.
    fn says_at(&self) -> Option<Instant> {
        let says = matches!(self.state, State::Established | State::Ending) && !self.speaking;
        self.pace.poll_at().filter(|_| says)
    }

    fn syn(&self) -> Segment {
        let ecn = if self.open.ecn {
            Flags::ECE | Flags::CWR
        } else {
            Flags::NONE
        };
        Segment {
            seq: self.open.client_isn,
            flags: Flags::SYN | ecn,
            window: self.open.window,
            options: Options {
                mss: (self.open.mss != 0).then_some(self.open.mss),
                window_scale: self.open.window_scale.map(|(client, _)| client),
                sack_permitted: self.open.sack,
                timestamps: self.open.timestamps.map(|(client, _)| Timestamps {
                    tsval: client,
                    tsecr: 0,
                }),
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// A segment without payload as the client would send it now.
    fn client_segment(&self, flags: Flags) -> Segment {
        Segment {
            seq: self.rcv_nxt,
            ack: self.client_ack,
            flags: flags | Flags::ACK,
            window: self.client_window,
            options: Options {
                timestamps: self.open.timestamps.map(|_| Timestamps {
                    tsval: self.client_tsval,
                    tsecr: self.client_tsecr,
                }),
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// A segment without payload as the primary would send it now.
    fn server_segment(&mut self, flags: Flags, now: Instant) -> Segment {
        // Behind a hole of ours the client would take a higher number for lost data: what it has acknowledged is always in its window.
        let seq = if self.is_ready() {
            (self.snd_nxt + self.delta).max(self.client_ack)
        } else {
            self.client_ack
        };
        self.acked = self.acked.max(self.rcv_nxt);
        let tsval = self.clock_at(now);
        let timestamps = self.open.timestamps.map(|_| Timestamps {
            tsval: self.outward_clock(tsval),
            tsecr: self.client_tsval,
        });
        Segment {
            seq,
            ack: self.rcv_nxt,
            flags: flags | Flags::ACK,
            window: self.outward_window(self.rcv_nxt, self.stack_edge),
            options: Options {
                timestamps,
                ..Options::default()
            },
            ..Segment::default()
        }
    }
}

/// The field of a client's segment that says the same window as its SYN.
fn window_field(open: &Open) -> u16 {
    open.window >> open.window_scale.map_or(0, |(client, _)| client.min(14))
}
