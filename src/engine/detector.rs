// SPDX-License-Identifier: GPL-2.0

//! The failure detector: is the peer alive?
//!
//! The peer is suspected once `misses` heartbeat intervals passed without an authenticated datagram from it. A detector that was itself
//! asleep (its poll came more than one interval late) knows nothing about the peer in that time: the peer's heartbeats may lie unread
//! in a queue behind the very poll that asks. It then waits one more interval before it judges.

use super::time::{earliest, Instant};
use core::time::Duration;

/// How often heartbeats are due, and how many must be missed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Time between two heartbeats; sysctl `heartbeat_interval_ms`.
    pub interval: Duration,
    /// Intervals of silence after which the peer is suspected; sysctl `heartbeat_misses`.
    pub misses: u32,
}

impl Timing {
    /// The silence after which the peer is suspected.
    pub fn timeout(&self) -> Duration {
        self.interval.saturating_mul(self.misses)
    }
}

/// What the detector says of the peer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// Nothing new: the peer is alive, or was never heard.
    None,
    /// The peer was alive and has been silent for the timeout.
    Lost {
        /// How long it has been silent.
        silence: Duration,
    },
    /// This host was not running when it should have judged; it judges an interval later.
    Asleep,
}

/// Hears the peer and judges its silence.
#[derive(Debug, Default)]
pub struct Detector {
    last_heard: Option<Instant>,
    not_before: Option<Instant>,
    expected_poll: Option<Instant>,
    promised: Duration,
}

impl Detector {
    /// An authenticated datagram of the peer's present session came in.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = Some(now);
        self.not_before = None;
    }

    /// Forgets the peer: until it is heard again it is not suspected either.
    pub fn forget(&mut self) {
        *self = Self {
            promised: self.promised,
            ..Self::default()
        };
    }

    /// The peer relies on not being suspected before so much silence, whatever the timing. Zero takes that back.
    pub fn promise(&mut self, patience: Duration) {
        self.promised = patience;
    }

    /// The silence after which the peer is suspected.
    pub fn patience(&self, timing: &Timing) -> Duration {
        timing.timeout().max(self.promised)
    }

    /// Whether the peer is held to be alive.
    pub fn is_alive(&self) -> bool {
        self.last_heard.is_some()
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// When the peer will be suspected unless it is heard; `None` if it is not alive.
    pub fn deadline(&self, timing: &Timing) -> Option<Instant> {
        let silent = self.last_heard?.after(self.patience(timing));
        Some(self.not_before.map_or(silent, |at| at.max(silent)))
    }

    /// Judges the peer. The caller promises to poll again at `next_poll` or earlier; coming later than that shows that it was asleep.
    pub fn poll(&mut self, now: Instant, timing: &Timing) -> Suspicion {
        let asleep = self
            .expected_poll
            .is_some_and(|at| now.since(at) > timing.interval);
        self.expected_poll = None;
        let Some(last_heard) = self.last_heard else {
            return Suspicion::None;
        };
        if asleep {
            self.not_before = Some(now.after(timing.interval));
        }
        if self
            .deadline(timing)
            .is_some_and(|deadline| now >= deadline)
        {
            self.forget();
            return Suspicion::Lost {
                silence: now.since(last_heard),
            };
        }
        if asleep {
            Suspicion::Asleep
        } else {
            Suspicion::None
        }
    }

    /// Notes when the caller will poll next, at most `other` or the deadline.
    pub fn schedule(&mut self, other: Instant, timing: &Timing) -> Instant {
        let at = earliest(Some(other), self.deadline(timing)).unwrap_or(other);
        self.expected_poll = Some(at);
        at
    }
}
