// SPDX-License-Identifier: GPL-2.0

//! What becomes of a segment on its way between the local stack and the client.

use super::counters::Counter;
use super::rewrite::Rewrite;
use super::seq::SeqNumber;
use super::wire::{Flags, Segment};

/// What becomes of a segment of the client.
#[derive(Clone, PartialEq, Debug)]
pub enum Inbound {
    /// It goes to the stack, changed so.
    Pass(Rewrite),
    /// It waits in the queue until the shadow is ready.
    Queue,
    /// It is freed: what it says, later ones say again.
    Ignore,
    /// It is dropped.
    Drop(Counter),
}

impl Inbound {
    /// There is no shadow yet that is ready: what the segment carries waits for it, and so does a reset.
    pub fn until_ready(segment: &Segment) -> Self {
        match segment.is_empty() && !segment.flags.contains(Flags::RST) {
            true => Inbound::Ignore,
            false => Inbound::Queue,
        }
    }
}

/// What becomes of a segment that the local stack sends.
#[derive(Clone, PartialEq, Debug)]
pub enum Outbound {
    /// It goes to the client, changed so. If it cannot be changed, it does not go.
    Send(Rewrite),
    /// The same, but it goes out in any case.
    SendAnyway(Rewrite),
    /// It is kept in the queue until an action frees or sends it; it covers these sequence numbers of the primary.
    Hold(SeqNumber, SeqNumber),
    /// It is freed. To its socket it was sent.
    Swallow,
}
