// SPDX-License-Identifier: GPL-2.0

//! Do the two servers say the same?
//!
//! Both hosts sum up what their server says on a connection, each byte once and in order, as it leaves the stack. They are at the same place by chance
//! only, and need not be: one tells the other how far it is and what the sum is there, and whoever is behind compares when it comes to that very place. So
//! nothing is kept but one place each.
//!
//! Places are the primary's sequence numbers on both hosts. The sum is what the caller makes it (the module: CRC-32C), the same on both.

use super::config::Refusal;
use super::seq::SeqNumber;
use super::time::Instant;
use super::wire::{Flags, Segment};
use core::time::Duration;

/// What becomes of connections on which the two servers said different things; sysctl `divergence`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Divergence {
    /// Nobody looks.
    Ignore,
    /// It is reported. A takeover goes on with the connection all the same.
    #[default]
    Warn,
    /// It is reported, and a takeover resets the connection: its client did not ask for what the server here would say.
    Reset,
}

impl Divergence {
    /// The word in `net.sttcp.divergence`.
    pub const fn name(self) -> &'static str {
        match self {
            Divergence::Ignore => "ignore",
            Divergence::Warn => "warn",
            Divergence::Reset => "reset",
        }
    }

    /// Reads that word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "ignore" => Ok(Divergence::Ignore),
            "warn" => Ok(Divergence::Warn),
            "reset" => Ok(Divergence::Reset),
            _ => Err(Refusal::UnknownWord),
        }
    }
}

/// The sum of all that comes before a place.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The place, primary's numbers.
    pub at: SeqNumber,
    /// The sum.
    pub sum: u32,
}

/// What one host tells the other.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// It does not sum up this connection.
    None,
    /// How far it is.
    So(Mark),
    /// The two servers have said different things.
    Diverged(Difference),
}

/// Where two servers have said different things, primary's numbers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Before this place there is none.
    pub from: SeqNumber,
    /// Before this one there is.
    pub to: SeqNumber,
}

impl Difference {
    /// The same two places as bytes of the stream whose first is at `first`, modulo 2^32.
    pub fn offsets(&self, first: SeqNumber) -> (u32, u32) {
        let offset = |at: SeqNumber| (at - first.raw()).raw();
        (offset(self.from), offset(self.to))
    }
}

/// The sum before the first byte.
const EMPTY: u32 = u32::MAX;

/// What one host knows of what the two servers say.
#[derive(Copy, Clone, Debug, Default)]
pub enum Digest {
    /// Nothing: nobody looks, or bytes went by unseen.
    #[default]
    Void,
    /// The same so far.
    Running(Running),
    /// Different things.
    Diverged(Difference),
}

/// How far one host is.
#[derive(Copy, Clone, Debug)]
pub struct Running {
    own: Mark,
    /// Up to where the two are known to agree.
    agreed: SeqNumber,
    /// Where the other is, if that is farther.
    other: Option<Mark>,
}

impl Running {
    /// Both are at the same place, and the other's sum there is this.
    fn compare(&mut self, other: u32) -> Result<(), Difference> {
        if self.own.sum != other {
            return Err(Difference {
                from: self.agreed,
                to: self.own.at,
            });
        }
        self.agreed = self.own.at;
        Ok(())
    }

    /// The bytes from here up to `end` have left, at `offset` in what `sum` reads.
    fn pass(&mut self, end: SeqNumber, offset: u32, sum: &mut impl FnMut(u32, u32, u32) -> u32) {
        let len = end.since(self.own.at).unsigned_abs();
        self.own = Mark {
            at: end,
            sum: sum(self.own.sum, offset, len),
        };
    }
}

impl Digest {
    /// The server's first byte will be at this place.
    pub fn begin(&mut self, at: SeqNumber) {
        *self = Digest::Running(Running {
            own: Mark { at, sum: EMPTY },
            agreed: at,
            other: None,
        });
    }

    /// Whether the two servers are known to have said different things, and where.
    pub fn difference(&self) -> Option<Difference> {
        match self {
            Digest::Diverged(difference) => Some(*difference),
            Digest::Void | Digest::Running(_) => None,
        }
    }

    /// A segment of the server here that begins at `at` leaves the stack. `sum(sum, offset, len)` goes on with `sum` over so many bytes of its payload.
    /// Returns a difference that shows by it.
    pub fn take(
        &mut self,
        at: SeqNumber,
        segment: &Segment,
        mut sum: impl FnMut(u32, u32, u32) -> u32,
    ) -> Option<Difference> {
        let Digest::Running(running) = self else {
            return None;
        };
        let end = at + segment.payload_len;
        if segment.flags.intersects(Flags::SYN | Flags::RST) || end <= running.own.at {
            return None;
        }
        if at > running.own.at {
            *self = Digest::Void;
            return None;
        }
        let offset = |from: SeqNumber| from.since(at).unsigned_abs();
        if let Some(other) = running.other.take_if(|other| other.at <= end) {
            running.pass(other.at, offset(running.own.at), &mut sum);
            if let Err(difference) = running.compare(other.sum) {
                *self = Digest::Diverged(difference);
                return Some(difference);
            }
        }
        if end > running.own.at {
            running.pass(end, offset(running.own.at), &mut sum);
        }
        None
    }

    /// The other host's word. Returns a difference that shows by it.
    pub fn hear(&mut self, word: Word) -> Option<Difference> {
        let Digest::Running(running) = self else {
            return None;
        };
        let found = match word {
            Word::None => {
                *self = Digest::Void;
                return None;
            }
            Word::Diverged(difference) => Some(difference),
            Word::So(other) if other.at == running.own.at => running.compare(other.sum).err(),
            Word::So(other) => {
                // The nearest: those that follow may be ever farther on.
                let nearer = running.other.is_none_or(|known| other.at < known.at);
                if nearer && other.at > running.own.at {
                    running.other = Some(other);
                }
                None
            }
        };
        if let Some(difference) = found {
            *self = Digest::Diverged(difference);
        }
        found
    }

    /// What to tell the other host.
    pub fn word(&self) -> Word {
        match self {
            Digest::Void => Word::None,
            Digest::Running(running) => Word::So(running.own),
            Digest::Diverged(difference) => Word::Diverged(*difference),
        }
    }
}

/// How soon after its server has spoken a primary asks the backup for its word; then twice as long each time that this is behind.
const ASK_AFTER: Duration = Duration::from_millis(100);

/// The longest time between two questions is so many doublings of that.
const MOST_DOUBLINGS: u32 = 6;

/// When a primary asks.
#[derive(Copy, Clone, Debug, Default)]
pub struct Questions {
    next: Option<Instant>,
    /// How often it has, since its server spoke last.
    asked: u32,
}

impl Questions {
    /// The server has spoken.
    pub fn stir(&mut self, now: Instant) {
        if self.next.is_none() || self.asked > 0 {
            let next = now.after(ASK_AFTER);
            self.next = Some(self.next.map_or(next, |at| at.min(next)));
            self.asked = 0;
        }
    }

    /// The backup is to hear of a difference.
    pub fn now(&mut self, now: Instant) {
        self.next = Some(now);
        self.asked = 0;
    }

    /// When the next one is due.
    pub fn poll_at(&self) -> Option<Instant> {
        self.next
    }

    /// Whether to ask now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| now >= next);
        if due {
            let times = 1_u32 << self.asked.min(MOST_DOUBLINGS);
            self.next = Some(now.after(ASK_AFTER.saturating_mul(times)));
            self.asked = self.asked.saturating_add(1);
        }
        due
    }

    /// The backup has answered with `other`, where the word here is `own`: whether there is more to ask.
    pub fn on_answer(&mut self, own: Word, other: Word) {
        let settled = match (own, other) {
            (Word::So(own), Word::So(other)) => other.at >= own.at,
            (Word::Diverged(_), Word::Diverged(_)) | (Word::None, _) | (_, Word::None) => true,
            (Word::Diverged(_), _) | (_, Word::Diverged(_)) => false,
        };
        // What the server has said since it was asked is yet to be asked for.
        if settled && self.asked > 0 {
            *self = Self::default();
        }
    }
}
