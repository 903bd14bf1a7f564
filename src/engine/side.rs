// SPDX-License-Identifier: GPL-2.0

//! One host's side of a connection: which of what happens concerns it, and in which way.
//!
//! A host keeps a [`Side`] for each flow that it knows of, with a queue of packets beside it, and calls it in the order of events: a segment of the client or
//! the server, a record of the peer, a time, a change of role. It carries out the [`Actions`] that come back, from the first field to the last.

use super::counters::Counter;
use super::digest::Difference;
use super::early::Early;
use super::message::{Bytes, Close, Gone, Open, Record, Span};
use super::node::{Peer, Predecessor};
use super::primary::{self, Connection, ConnectionId, Moves, Socket, Terms};
use super::program::Failure;
use super::rewrite::Rewrite;
use super::seq::SeqNumber;
use super::shadow::{self, Shadow};
use super::time::Instant;
use super::verdict::{Inbound, Outbound};
use super::wire::{Flags, Flow, Segment};
use core::time::Duration;

/// What a host knows of a connection.
#[derive(Debug)]
pub enum Side {
    /// The primary's view.
    Primary(Connection),
    /// The backup's view, also after it took over.
    Shadow(Shadow),
    /// A backup has client segments and no word of the primary yet. They wait in the queue.
    Pending(Early),
}

/// What to carry out, in this order.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Actions {
    /// Count these.
    pub counts: [Option<Counter>; 2],
    /// Keep a copy of the client's segment that this is about.
    pub retain: bool,
    /// Tell the peer.
    pub record: Option<Record>,
    /// Free the copies that end here or before, in the client's numbers.
    pub release_retained: Option<SeqNumber>,
    /// Send the peer these bytes of the client, as far as there are copies, and then what [`Side::resend_next`] names.
    pub resend: Option<Span>,
    /// Free what is queued.
    pub clear_queue: bool,
    /// Give this to the local stack as the client's. [`Side::not_injected`] hears of it if there is no memory for it.
    pub inject: Option<Segment>,
    /// Give the queued client segments to the local stack.
    pub release_queue: bool,
    /// Free held segments up to this sequence number of the primary.
    pub release_held: Option<SeqNumber>,
    /// Send the held segments to the client, changed by [`Side::outward_held`].
    pub flush_held: bool,
    /// Send this from the service to the client. [`Side::not_sent`] hears of it if there is no memory for it.
    pub send: Option<Segment>,
    /// Forget the connection.
    pub remove: bool,
    /// The server's program here has failed, and the backup's has not: the whole node should go over to that.
    pub failed: Option<Failure>,
    /// The same, and the backup is to go on with the connection alone.
    pub moves: Option<Failure>,
    /// The two hosts' servers have said different things.
    pub diverged: Option<Difference>,
    /// Ask the kernel for the connection's socket, and call [`Side::on_socket`].
    pub check_socket: bool,
}

impl Actions {
    fn remove() -> Self {
        Self {
            remove: true,
            ..Self::default()
        }
    }

    fn tell(record: Option<Record>) -> Self {
        Self {
            record,
            ..Self::default()
        }
    }

    fn clear_queue(self) -> Self {
        Self {
            clear_queue: true,
            ..self
        }
    }
}

impl From<primary::Actions> for Actions {
    fn from(actions: primary::Actions) -> Self {
        Self {
            counts: [actions.count, actions.send.map(|_| Counter::AcksReleased)],
            retain: actions.retain,
            record: actions.record,
            release_retained: actions.release,
            resend: actions.resend,
            flush_held: actions.flush,
            send: actions.send,
            remove: actions.remove,
            failed: actions.failed,
            moves: actions.moves,
            diverged: actions.diverged,
            check_socket: actions.check_socket,
            ..Self::default()
        }
    }
}

impl From<shadow::Actions> for Actions {
    fn from(actions: shadow::Actions) -> Self {
        Self {
            counts: [actions.count, None],
            record: actions.record,
            inject: actions.inject,
            release_queue: actions.release_queue,
            release_held: actions.release_held,
            send: actions.send,
            remove: actions.remove,
            diverged: actions.diverged,
            check_socket: actions.check_socket,
            ..Self::default()
        }
    }
}

/// What becomes of an `Open`.
#[derive(Debug)]
pub struct Opening {
    /// The shadow that is to be kept in the place of what was there; none if that is to stay.
    pub shadow: Option<Side>,
    /// Whether it gets the queue of what was there.
    pub inherits: bool,
    /// To be carried out then.
    pub actions: Actions,
}

/// The primary's `open` of a connection, where `found` is what there is between the same endpoints.
pub fn open(found: Option<&mut Side>, open: &Open, now: Instant) -> Opening {
    let inherits = match found {
        Some(Side::Shadow(shadow)) if shadow.is_for(open) => {
            return Opening {
                shadow: None,
                inherits: false,
                actions: Actions::tell(shadow.on_query()),
            };
        }
        Some(Side::Shadow(shadow)) if shadow.is_later_than(open) => {
            return Opening {
                shadow: None,
                inherits: false,
                actions: Actions::tell(Some(Record::Gone(open.id, Gone::Ended))),
            };
        }
        Some(Side::Pending(early)) => early.is_of(open),
        // An earlier connection between the same endpoints. The new shadow finds its socket, if there still is one.
        Some(Side::Shadow(_) | Side::Primary(_)) | None => false,
    };
    let (shadow, syn) = Shadow::open(open, now);
    Opening {
        shadow: Some(Side::Shadow(shadow)),
        inherits,
        actions: Actions {
            counts: [Some(Counter::ShadowsOpened), None],
            inject: Some(syn),
            ..Actions::default()
        },
    }
}

/// Whether a client's SYN, which the primary receives, begins a connection in the place of what is `found` between the same endpoints. `socket` is asked
/// when it matters.
pub fn is_fresh(found: Option<&Side>, syn: &Segment, socket: impl FnOnce() -> Socket) -> bool {
    match found {
        None => true,
        // Played again, after a takeover in the middle of the handshake.
        Some(Side::Shadow(shadow)) if shadow.is_opened_by(syn) => false,
        Some(_) => socket().gives_way(),
    }
}

/// A client's segment that reached a backup before the primary's word of its connection. `joined`: there is a primary.
/// [`Side::on_client`] reads it next.
pub fn early(flow: &Flow, segment: &Segment, joined: bool, now: Instant) -> Option<Side> {
    Early::new(flow, segment, now)
        .filter(|_| joined)
        .map(Side::Pending)
}

/// The answer to a record of the peer about a connection that there is not here.
pub fn unknown(record: &Record) -> Option<Record> {
    match record {
        Record::Close(id, _) | Record::Query(id, _) | Record::Move(id) => {
            Some(Record::Gone(*id, Gone::Ended))
        }
        Record::Progress(progress) => Some(Record::Close(progress.id, Close::Ended)),
        Record::Open(_)
        | Record::Gone(..)
        | Record::Missing(..)
        | Record::Acked(..)
        | Record::Compare(..)
        | Record::Compared(..)
        | Record::Moved(_) => None,
    }
}

/// The answer to bytes for a connection that there is not here.
pub fn unknown_bytes(bytes: &Bytes<'_>) -> Record {
    Record::Gone(bytes.id, Gone::Ended)
}

impl Side {
    /// A client's SYN of this flow, which the primary receives. The error is why the connection goes on without protection.
    pub fn from_syn(
        id: ConnectionId,
        flow: Flow,
        syn: &Segment,
        terms: Terms,
        now: Instant,
    ) -> Result<Self, Counter> {
        Connection::from_syn(id, flow, syn, terms, now).map(Side::Primary)
    }

    /// The connection's name, if it has one yet.
    pub fn id(&self) -> Option<ConnectionId> {
        match self {
            Side::Primary(connection) => Some(connection.id()),
            Side::Shadow(shadow) => Some(shadow.id()),
            Side::Pending(_) => None,
        }
    }

    /// Whether it may come to nothing, and gives way to others when there are too many.
    pub fn is_embryonic(&self) -> bool {
        match self {
            Side::Primary(connection) => connection.state() == primary::State::HalfOpen,
            Side::Shadow(_) => false,
            Side::Pending(_) => true,
        }
    }

    /// Whether this host answers the client on it.
    pub fn speaks(&self) -> bool {
        matches!(self, Side::Primary(_)) || self.is_migrated()
    }

    /// Whether it is a shadow that speaks, and lives by translation.
    pub fn is_migrated(&self) -> bool {
        matches!(self, Side::Shadow(shadow) if shadow.is_speaking())
    }

    /// Whether it is void when the peer says this of a connection that there is not here: it may be this one, which the peer carries alone.
    pub fn is_void_by(&self, record: &Record) -> bool {
        matches!(
            (self, record),
            (Side::Pending(_), Record::Close(_, Close::Unprotected))
        )
    }

    /// Whether it speaks though this host is a backup: the primary has ordered it.
    pub fn is_carried(&self) -> bool {
        matches!(self, Side::Shadow(shadow) if shadow.is_carried())
    }

    /// Whether a takeover now would go on with a connection that the primary has not told of.
    pub fn is_guessable(&self, now: Instant) -> bool {
        matches!(self, Side::Pending(early) if early.guess(ConnectionId(0), Duration::MAX, now).is_some())
    }

    /// Whether copies of the client's segments are of use.
    pub fn retains(&self) -> bool {
        matches!(self, Side::Primary(connection) if connection.retains())
    }

    /// What a planned switchover does to the connection; `strict`: see [`Predecessor::strict`].
    pub fn moves(&self, strict: bool) -> Moves {
        match self {
            Side::Primary(connection) if strict && connection.difference().is_some() => {
                Moves::Never
            }
            Side::Primary(connection) => connection.moves(),
            Side::Shadow(shadow) if shadow.is_speaking() => Moves::Never,
            Side::Shadow(_) | Side::Pending(_) => Moves::Now,
        }
    }

    /// What else to send the peer, see [`primary::Connection::resend_next`].
    pub fn resend_next(&mut self) -> Option<Span> {
        match self {
            Side::Primary(connection) => connection.resend_next(),
            Side::Shadow(_) | Side::Pending(_) => None,
        }
    }

    /// From now on these terms hold.
    pub fn set_terms(&mut self, terms: Terms, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => connection.set_terms(terms, now).into(),
            Side::Shadow(_) | Side::Pending(_) => Actions::default(),
        }
    }

    /// The copy of a client's segment that [`Actions::retain`] asked for is there.
    pub fn on_retained(&mut self, segment: &Segment, memory: u32) {
        if let Side::Primary(connection) = self {
            connection.on_retained(segment, memory);
        }
    }

    /// A client's segment, but for a SYN that the primary receives.
    pub fn on_client(&mut self, segment: &Segment, peer: Peer, now: Instant) -> (Inbound, Actions) {
        match self {
            Side::Primary(connection) => {
                let actions = connection.on_client(segment, peer, now);
                (Inbound::Pass(Rewrite::default()), actions.into())
            }
            Side::Shadow(shadow) => {
                let (inbound, actions) = shadow.on_client(segment, now);
                (inbound, actions.into())
            }
            Side::Pending(early) => {
                let inbound = early.on_client(segment, now);
                let actions = match early.answer(now) {
                    Some((open, before)) => self.go_on(&open, now, before),
                    None => Actions::default(),
                };
                (inbound, actions)
            }
        }
    }

    /// A segment of the local stack, before [`Side::on_output`] or [`Side::on_muted`]: does the server say what the other one says? `sum` is as for
    /// [`Digest::take`](super::digest::Digest::take).
    pub fn digest(
        &mut self,
        wanted: bool,
        segment: &Segment,
        sum: impl FnMut(u32, u32, u32) -> u32,
        now: Instant,
    ) -> Option<Difference> {
        match (self, wanted) {
            (Side::Primary(connection), false) => connection.stop_digest(),
            (Side::Shadow(shadow), false) => shadow.stop_digest(),
            (Side::Primary(connection), true) => return connection.digest(segment, sum, now),
            (Side::Shadow(shadow), true) => return shadow.digest(segment, sum),
            (Side::Pending(_), _) => {}
        }
        None
    }

    /// Where the two servers are known to have said different things, in bytes of the stream, modulo 2^32: up to the first place they agreed, at the second
    /// they did not.
    pub fn difference(&self) -> Option<(u32, u32)> {
        match self {
            Side::Primary(connection) => connection.difference(),
            Side::Shadow(shadow) => shadow.difference(),
            Side::Pending(_) => None,
        }
    }

    /// A segment that the local stack sends to the client. [`Side::not_sent`] hears if its change, [`Side::not_held`] if its place in the queue fails.
    pub fn on_output(&mut self, segment: &Segment, now: Instant) -> (Outbound, Actions) {
        match self {
            Side::Primary(connection) if segment.flags.contains(Flags::SYN) => {
                connection.on_syn_ack(segment, now);
                let (change, _) = primary::plain_handshake(segment);
                (Outbound::SendAnyway(change), Actions::default())
            }
            Side::Primary(connection) => {
                let (outbound, actions) = connection.on_server(segment, now);
                (outbound, actions.into())
            }
            Side::Shadow(shadow) => {
                let (outbound, actions) = shadow.on_output(segment, now);
                (outbound, actions.into())
            }
            Side::Pending(_) => {
                let actions = Actions {
                    counts: [Some(Counter::OutputMuted), None],
                    ..Actions::default()
                };
                (Outbound::Swallow, actions)
            }
        }
    }

    /// The same, while this host must be silent ([`Node::silent_from`](super::node::Node::silent_from)): the segment is freed. To its socket it was sent.
    pub fn on_muted(&mut self, segment: &Segment, now: Instant) {
        match self {
            Side::Primary(connection) => connection.on_muted(segment, now),
            Side::Shadow(shadow) => shadow.on_muted(segment, now),
            Side::Pending(_) => {}
        }
    }

    /// This host must be silent now, and nothing that [`Actions::send`] names leaves; asked each time that it does not, and with each sweep.
    pub fn on_silence(&mut self, now: Instant) {
        if let Side::Primary(connection) = self {
            connection.on_silence(now);
        }
    }

    /// A held segment is about to be sent: how to change it.
    pub fn outward_held(&mut self, segment: &Segment, now: Instant) -> Option<Rewrite> {
        match self {
            Side::Shadow(shadow) => Some(shadow.outward_held(segment, now)),
            Side::Primary(connection) => Some(connection.outward_held(segment, now)),
            Side::Pending(_) => None,
        }
    }

    /// Memory for a segment to the client, or for its change, was short.
    pub fn not_sent(&mut self, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => connection.starve(now).into(),
            // Its socket sends it again.
            Side::Shadow(_) | Side::Pending(_) => Actions::default(),
        }
    }

    /// Memory for a segment to inject was short.
    pub fn not_injected(&mut self) {
        if let Side::Shadow(shadow) = self {
            shadow.starve();
        }
    }

    /// Memory to hold a segment from `start` on was short. `actions` are those that came with it.
    pub fn not_held(&mut self, start: SeqNumber, actions: &mut Actions, now: Instant) {
        match self {
            Side::Shadow(shadow) => actions.counts = [Some(shadow.not_held(start)), None],
            Side::Primary(connection) => *actions = connection.starve(now).into(),
            Side::Pending(_) => {}
        }
    }

    /// The local stack has bytes up to `rcv_nxt` in its receive queue.
    pub fn on_delivered(&mut self, rcv_nxt: SeqNumber, now: Instant) -> Option<Record> {
        match self {
            Side::Shadow(shadow) => shadow.on_delivered(rcv_nxt, now),
            Side::Primary(_) | Side::Pending(_) => None,
        }
    }

    /// The peer's word about this connection; [`open`] reads an `Open`.
    pub fn on_record(&mut self, record: &Record, now: Instant) -> Actions {
        match (record, self) {
            (Record::Close(_, why), Side::Shadow(shadow)) => {
                let actions = Actions::from(shadow.on_close(*why, now));
                match why {
                    Close::Unprotected => actions.clear_queue(),
                    Close::Ended => actions,
                }
            }
            (Record::Query(_, acked), Side::Shadow(shadow)) => {
                shadow.on_acked(*acked);
                Actions::tell(shadow.on_query())
            }
            (Record::Compare(_, word), Side::Shadow(shadow)) => shadow.on_compare(*word).into(),
            (Record::Compared(_, word), Side::Primary(connection)) => {
                connection.on_compared(*word, now).into()
            }
            (Record::Acked(_, acked), Side::Shadow(shadow)) => {
                shadow.on_acked(*acked);
                Actions::default()
            }
            (Record::Query(id, _) | Record::Move(id), _) => {
                Actions::tell(Some(Record::Gone(*id, Gone::Ended)))
            }
            (Record::Progress(progress), Side::Primary(connection)) => {
                connection.on_progress(progress, now).into()
            }
            (Record::Moved(_), side @ Side::Primary(_)) => side.moved(now),
            (Record::Gone(_, why), Side::Shadow(shadow)) if shadow.is_over(*why) => {
                Actions::remove()
            }
            (Record::Missing(_, span), Side::Primary(connection)) => {
                connection.on_missing(span).into()
            }
            (Record::Gone(_, why), Side::Primary(connection)) => {
                connection.on_gone(*why, now).into()
            }
            _ => Actions::default(),
        }
    }

    /// The backup carries the connection on: the socket here is of no use, and the client is to hear nothing of it.
    fn moved(&mut self, now: Instant) -> Actions {
        let Side::Primary(connection) = self else {
            return Actions::default();
        };
        let Some((shadow, actions)) = connection.step_down(now) else {
            return Actions::remove();
        };
        *self = Side::Shadow(shadow.moved());
        Actions {
            counts: [Some(Counter::ConnectionsMoved), None],
            ..Actions::from(actions).clear_queue()
        }
    }

    /// The primary's server has failed on the connection, and this host is to go on with it.
    pub fn carry(&mut self, id: ConnectionId, now: Instant, before: Predecessor) -> Actions {
        match self {
            Side::Shadow(shadow) => {
                let carried = shadow.is_carried();
                let actions = Actions::from(shadow.carry(now, before));
                Actions {
                    flush_held: shadow.is_carried() && !carried,
                    ..actions
                }
            }
            Side::Primary(_) | Side::Pending(_) => {
                Actions::tell(Some(Record::Gone(id, Gone::Ended)))
            }
        }
    }

    /// The primary sends bytes of the client: what to inject with them as payload, and what to answer.
    pub fn on_bytes(&mut self, bytes: &Bytes<'_>) -> (Option<Segment>, Option<Record>) {
        match self {
            Side::Shadow(shadow) => shadow.on_bytes(bytes),
            Side::Primary(_) | Side::Pending(_) => (None, None),
        }
    }

    /// When [`Side::poll`] wants to be called, if ever.
    pub fn poll_at(&self) -> Option<Instant> {
        match self {
            Side::Primary(connection) => connection.poll_at(),
            Side::Shadow(shadow) => shadow.poll_at(),
            Side::Pending(early) => Some(early.poll_at()),
        }
    }

    /// Does what is due, if something is. `stall`: see [`Connection::poll`]; the peer was last heard at `heard`.
    pub fn poll(
        &mut self,
        now: Instant,
        stall: Duration,
        heard: Option<Instant>,
    ) -> Option<Actions> {
        self.poll_at().filter(|at| *at <= now)?;
        Some(match self {
            Side::Primary(connection) => connection.poll(now, stall).into(),
            Side::Shadow(shadow) => shadow.poll(now).into(),
            Side::Pending(early) if !early.waits(heard, now) => match early.ask_again(now) {
                Some(question) => Actions {
                    send: Some(question),
                    ..Actions::default()
                },
                None => Actions {
                    counts: [Some(Counter::PendingExpired), None],
                    ..Actions::remove()
                },
            },
            Side::Pending(early) => {
                early.look_again(now);
                Actions::default()
            }
        })
    }

    /// The time has come to compare the connection with the kernel's socket.
    pub fn sweep(&mut self, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => connection.sweep(now).into(),
            Side::Shadow(shadow) => shadow.sweep(now).into(),
            Side::Pending(_) => Actions::default(),
        }
    }

    /// What the kernel has for the connection.
    pub fn on_socket(&mut self, socket: Socket, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => connection.on_socket(socket, now).into(),
            Side::Shadow(shadow) => shadow.on_socket(socket, now).into(),
            Side::Pending(_) => Actions::default(),
        }
    }

    /// What an earlier session left is void: a primary's connection goes on alone (`why`), a backup's shadow ends, and what it has noted is of no use.
    pub fn end_session(&mut self, why: Counter, peer: Peer, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => connection.unprotect(why, peer, now).into(),
            // Who carried it is gone. The client must not wait for what never comes.
            Side::Shadow(shadow) if shadow.is_moved() => Actions {
                send: Some(shadow.reset(now)),
                counts: [Some(Counter::MovedReset), None],
                ..Actions::remove()
            },
            Side::Shadow(shadow) if !shadow.is_speaking() => {
                Actions::from(shadow.abandon(now)).clear_queue()
            }
            Side::Shadow(shadow) => {
                shadow.on_successor();
                Actions::default()
            }
            Side::Pending(_) => Actions::remove(),
        }
    }

    /// Another host carries the connection from now on. The socket here ends: it would answer the client, should this node speak again.
    pub fn step_down(&mut self, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => match connection.step_down(now) {
                Some((shadow, actions)) => {
                    *self = Side::Shadow(shadow);
                    Actions::from(actions).clear_queue()
                }
                None => Actions::remove(),
            },
            Side::Shadow(shadow) => Actions::from(shadow.step_down(now)).clear_queue(),
            Side::Pending(_) => Actions::remove(),
        }
    }

    /// This host speaks for the service from now on. `name` makes a name for a connection that has none yet.
    pub fn take_over(
        &mut self,
        name: impl FnOnce() -> ConnectionId,
        now: Instant,
        before: Predecessor,
    ) -> Actions {
        match self {
            Side::Primary(_) => Actions::remove(),
            Side::Shadow(shadow) => {
                let ready = shadow.is_ready();
                let actions = Actions::from(shadow.take_over(now, before));
                let speaks = shadow.is_speaking();
                let acknowledges = actions.send.filter(|_| speaks);
                let [count, _] = actions.counts;
                Actions {
                    counts: [count, acknowledges.map(|_| Counter::TakeoverAcks)],
                    flush_held: ready && speaks,
                    ..actions
                }
            }
            Side::Pending(_) if before.alone => Actions::remove(),
            Side::Pending(early) => {
                let id = name();
                if let Some(open) = early.guess(id, before.silence, now) {
                    return self.go_on(&open, now, before);
                }
                match early.ask(id, before, now) {
                    Some(question) => Actions {
                        counts: [Some(Counter::TakeoverAsked), None],
                        send: Some(question),
                        ..Actions::default()
                    },
                    None => Actions::remove(),
                }
            }
        }
    }

    /// Goes on with a connection that the primary has not told of, as its client tells.
    fn go_on(&mut self, open: &Open, now: Instant, before: Predecessor) -> Actions {
        let (mut shadow, syn) = Shadow::guessed(open, now);
        let actions = Actions::from(shadow.take_over(now, before));
        *self = Side::Shadow(shadow);
        let [count, _] = actions.counts;
        Actions {
            counts: [count, Some(Counter::TakeoverGuessed)],
            inject: Some(syn),
            ..actions
        }
    }

    /// This host stops. What lives by translation cannot go on.
    pub fn leave(&mut self, now: Instant) -> Actions {
        let Side::Shadow(shadow) = self else {
            return Actions::default();
        };
        let reset = shadow.is_speaking().then(|| shadow.reset(now));
        Actions {
            counts: [reset.map(|_| Counter::MigratedReset), None],
            send: reset,
            ..shadow.doom(now).into()
        }
    }
}
