// SPDX-License-Identifier: GPL-2.0

//! One host's side of a connection: which of what happens concerns it, and in which way.
//!
//! A host keeps a [`Side`] for each flow that it knows of, with a queue of packets beside it, and calls it in the order of events: a segment of the client or
//! the server, a record of the peer, a time, a change of role. It carries out the [`Actions`] that come back, from the first field to the last.

use super::actions::Actions;
use super::counters::Counter;
use super::early::Early;
use super::message::{Bytes, Close, Gone, Open, Record, Span};
use super::node::{Peer, Predecessor};
use super::primary::{self, Connection, ConnectionId, Moves, Socket, Terms};
use super::rewrite::Rewrite;
use super::seq::SeqNumber;
use super::shadow::Shadow;
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
            count: Some(Counter::ShadowsOpened),
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

/// What a primary's connection sends of its own are acknowledgements that were held back.
fn released(mut actions: Actions) -> Actions {
    actions.also = actions.send.map(|_| Counter::AcksReleased);
    actions
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

    /// The connection's addresses.
    pub fn flow(&self) -> &Flow {
        match self {
            Side::Primary(connection) => connection.flow(),
            Side::Shadow(shadow) => shadow.flow(),
            Side::Pending(early) => early.flow(),
        }
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
            Side::Primary(connection) => released(connection.set_terms(terms, now)),
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
                (Inbound::Pass(Rewrite::default()), released(actions))
            }
            Side::Shadow(shadow) => shadow.on_client(segment, now),
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
    ) -> Option<Actions> {
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
                (outbound, released(actions))
            }
            Side::Shadow(shadow) => shadow.on_output(segment, now),
            Side::Pending(_) => {
                let actions = Actions {
                    count: Some(Counter::OutputMuted),
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
            Side::Primary(connection) => released(connection.starve(now)),
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
            Side::Shadow(shadow) => actions.count = Some(shadow.not_held(start)),
            Side::Primary(connection) => *actions = released(connection.starve(now)),
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
                let actions = shadow.on_close(*why, now);
                match why {
                    Close::Unprotected => actions.clear_queue(),
                    Close::Ended => actions,
                }
            }
            (Record::Query(_, acked), Side::Shadow(shadow)) => {
                shadow.on_acked(*acked);
                Actions::tell(shadow.on_query())
            }
            (Record::Compare(_, word), Side::Shadow(shadow)) => shadow.on_compare(*word),
            (Record::Compared(_, word), Side::Primary(connection)) => {
                released(connection.on_compared(*word, now))
            }
            (Record::Acked(_, acked), Side::Shadow(shadow)) => {
                shadow.on_acked(*acked);
                Actions::default()
            }
            (Record::Query(id, _) | Record::Move(id), _) => {
                Actions::tell(Some(Record::Gone(*id, Gone::Ended)))
            }
            (Record::Progress(progress), Side::Primary(connection)) => {
                released(connection.on_progress(progress, now))
            }
            (Record::Moved(_), side @ Side::Primary(_)) => side.moved(now),
            (Record::Gone(_, why), Side::Shadow(shadow)) if shadow.is_over(*why) => {
                Actions::remove()
            }
            (Record::Missing(_, span), Side::Primary(connection)) => {
                released(connection.on_missing(span))
            }
            (Record::Gone(_, why), Side::Primary(connection)) => {
                released(connection.on_gone(*why, now))
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
            count: Some(Counter::ConnectionsMoved),
            ..actions.clear_queue()
        }
    }

    /// The primary's server has failed on the connection, and this host is to go on with it.
    pub fn carry(&mut self, id: ConnectionId, now: Instant, before: Predecessor) -> Actions {
        match self {
            Side::Shadow(shadow) => {
                let carried = shadow.is_carried();
                let actions = shadow.carry(now, before);
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
            Side::Primary(connection) => released(connection.poll(now, stall)),
            Side::Shadow(shadow) => shadow.poll(now),
            Side::Pending(early) if !early.waits(heard, now) => match early.ask_again(now) {
                Some(question) => Actions {
                    send: Some(question),
                    ..Actions::default()
                },
                None => Actions {
                    count: Some(Counter::PendingExpired),
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
            Side::Primary(connection) => released(connection.sweep(now)),
            Side::Shadow(shadow) => shadow.sweep(now),
            Side::Pending(_) => Actions::default(),
        }
    }

    /// What the kernel has for the connection.
    pub fn on_socket(&mut self, socket: Socket, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => released(connection.on_socket(socket, now)),
            Side::Shadow(shadow) => shadow.on_socket(socket, now),
            Side::Pending(_) => Actions::default(),
        }
    }

    /// What an earlier session left is void: a primary's connection goes on alone (`why`), a backup's shadow ends, and what it has noted is of no use.
    pub fn end_session(&mut self, why: Counter, peer: Peer, now: Instant) -> Actions {
        match self {
            Side::Primary(connection) => released(connection.unprotect(why, peer, now)),
            // Who carried it is gone. The client must not wait for what never comes.
            Side::Shadow(shadow) if shadow.is_moved() => Actions {
                send: Some(shadow.reset(now)),
                count: Some(Counter::MovedReset),
                ..Actions::remove()
            },
            Side::Shadow(shadow) if !shadow.is_speaking() => shadow.abandon(now).clear_queue(),
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
                    actions.clear_queue()
                }
                None => Actions::remove(),
            },
            Side::Shadow(shadow) => shadow.step_down(now).clear_queue(),
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
                let actions = shadow.take_over(now, before);
                let speaks = shadow.is_speaking();
                let acknowledges = actions.send.filter(|_| speaks);
                Actions {
                    also: acknowledges.map(|_| Counter::TakeoverAcks),
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
                        count: Some(Counter::TakeoverAsked),
                        send: Some(question),
                        ..Actions::default()
                    },
                    None => Actions::remove(),
                }
            }
        }
    }

    /// The same for a connection with nothing held, if nothing more is to be done for it, and else nothing. Whether it was so.
    pub fn take_over_at_rest(&mut self, now: Instant, before: Predecessor) -> bool {
        match self {
            Side::Shadow(shadow) => shadow.take_over_at_rest(now, before),
            Side::Primary(_) | Side::Pending(_) => false,
        }
    }

    /// Goes on with a connection that the primary has not told of, as its client tells.
    fn go_on(&mut self, open: &Open, now: Instant, before: Predecessor) -> Actions {
        let (mut shadow, syn) = Shadow::guessed(open, now);
        let actions = shadow.take_over(now, before);
        *self = Side::Shadow(shadow);
        Actions {
            also: Some(Counter::TakeoverGuessed),
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
            count: reset.map(|_| Counter::MigratedReset),
            send: reset,
            ..shadow.doom(now)
        }
    }
}
