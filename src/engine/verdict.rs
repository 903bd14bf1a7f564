// SPDX-License-Identifier: GPL-2.0

//! What becomes of a segment on its way between the local stack and the client.

use super::counters::Counter;
use super::rewrite::Rewrite;
use super::seq::SeqNumber;

/// What becomes of a segment of the client.
#[derive(Clone, PartialEq, Debug)]
pub enum Inbound {
    /// It goes to the stack, changed so.
    Pass(Rewrite),
    /// It waits in the queue until the shadow is ready.
    Queue,
    /// It is dropped.
    Drop(Counter),
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
