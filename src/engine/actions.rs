// SPDX-License-Identifier: GPL-2.0

//! What is to be done about a connection after an event.

use super::counters::Counter;
use super::digest::Difference;
use super::message::{Record, Span};
use super::program::Failure;
use super::seq::SeqNumber;
use super::wire::Segment;

/// What to carry out, in this order.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Actions {
    /// Count this.
    pub count: Option<Counter>,
    /// And this.
    pub also: Option<Counter>,
    /// Keep a copy of the client's segment that this is about.
    pub retain: bool,
    /// Tell the peer.
    pub record: Option<Record>,
    /// Free the copies that end here or before, in the client's numbers.
    pub release_retained: Option<SeqNumber>,
    /// Send the peer these bytes of the client, as far as there are copies, and then what [`Side::resend_next`](super::side::Side::resend_next) names.
    pub resend: Option<Span>,
    /// Free what is queued.
    pub clear_queue: bool,
    /// Give this to the local stack as the client's. [`Side::not_injected`](super::side::Side::not_injected) hears of it if there is no memory for it.
    pub inject: Option<Segment>,
    /// Give the queued client segments to the local stack.
    pub release_queue: bool,
    /// Free held segments up to this sequence number of the primary.
    pub release_held: Option<SeqNumber>,
    /// Send the held segments to the client, changed by [`Side::outward_held`](super::side::Side::outward_held).
    pub flush_held: bool,
    /// Send this from the service to the client. [`Side::not_sent`](super::side::Side::not_sent) hears of it if there is no memory for it.
    pub send: Option<Segment>,
    /// Forget the connection.
    pub remove: bool,
    /// The server's program here has failed, and the backup's has not: the whole node should go over to that.
    pub failed: Option<Failure>,
    /// The same, and the backup is to go on with the connection alone.
    pub moves: Option<Failure>,
    /// The two hosts' servers have said different things.
    pub diverged: Option<Difference>,
    /// Ask the kernel for the connection's socket, and call [`Side::on_socket`](super::side::Side::on_socket).
    pub check_socket: bool,
}

impl Actions {
    /// Forget the connection.
    pub(super) fn remove() -> Self {
        Self {
            remove: true,
            ..Self::default()
        }
    }

    /// Tell the peer.
    pub(super) fn tell(record: Option<Record>) -> Self {
        Self {
            record,
            ..Self::default()
        }
    }

    /// And free what is queued.
    pub(super) fn clear_queue(self) -> Self {
        Self {
            clear_queue: true,
            ..self
        }
    }
}
