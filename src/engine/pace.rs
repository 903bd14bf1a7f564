// SPDX-License-Identifier: GPL-2.0

//! When the primary is told what a shadow has: at once, or a little later with what has followed.
//!
//! What is told lets an acknowledgement go to the client, so this is where that is delayed (RFC 9293, section 3.8.6.3), and it saves as much: a datagram on this side, a bare
//! acknowledgement on the other. But a client with Nagle's algorithm (section 3.7.4) says no more before what it has said is acknowledged, and would be kept waiting each time. So it
//! is tried: a client that hears an answer and goes on has no need of the acknowledgement. If it says nothing more, for whatever reason, what comes next is told at once, and twice as
//! much of it with each try that ends so.

use super::seq::SeqNumber;
use super::time::Instant;
use core::time::Duration;

/// How long news may wait. No client's retransmission timeout is as short, nor the time after which a primary takes what it withholds for lost.
const DELAY: Duration = Duration::from_millis(1);

/// So many bytes are told at once: two segments (RFC 9293, section 3.8.6.3, after RFC 5681, section 4.2).
pub(super) const MUCH: u32 = 2 * 1460;

/// How many news are told at once after a client has said no more, at first and at most.
const FEW: u16 = 2;
const MANY: u16 = 1024;

/// The news of one shadow.
#[derive(Copy, Clone, Debug)]
pub struct Pace {
    /// Until when they wait, if they do.
    until: Option<Instant>,
    /// What the client had acknowledged when the wait began, primary's numbers.
    heard: SeqNumber,
    /// Whether it has gone on since.
    goes_on: bool,
    /// How many are still told at once.
    prompt: u16,
    /// And how many are after the next wait in vain.
    next: u16,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            until: None,
            heard: SeqNumber::default(),
            goes_on: false,
            prompt: 0,
            next: FEW,
        }
    }
}

impl Pace {
    /// The shadow is so many bytes ahead of what was told, and the client has acknowledged up to `heard`: whether that waits. Else it is told now.
    pub fn waits(&mut self, ahead: u32, heard: SeqNumber, now: Instant) -> bool {
        if ahead >= MUCH {
            return false;
        }
        if self.until.is_some() {
            return !self.is_over(now);
        }
        if self.prompt > 0 {
            self.prompt = self.prompt.saturating_sub(1);
            return false;
        }
        (self.until, self.heard) = (Some(now.after(DELAY)), heard);
        self.goes_on = false;
        true
    }

    /// The client says something new, and acknowledges up to `ack`.
    pub fn on_client(&mut self, ack: SeqNumber) {
        self.goes_on |= ack > self.heard;
    }

    /// The primary asks, and so waits for something: what comes next is told at once.
    pub fn asked(&mut self) {
        self.prompt = self.prompt.max(1);
    }

    /// The primary is told now.
    pub fn told(&mut self) {
        self.until = None;
    }

    /// When the wait is over, if there is one.
    pub fn poll_at(&self) -> Option<Instant> {
        self.until
    }

    /// Whether a wait is over, and the primary is to be told. What the client has done meanwhile decides about the next ones.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let over = self.until.is_some_and(|until| now >= until);
        if over {
            (self.prompt, self.next) = match self.goes_on {
                true => (0, FEW),
                false => (self.next, self.next.saturating_mul(2).min(MANY)),
            };
        }
        over
    }
}
