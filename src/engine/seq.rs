// SPDX-License-Identifier: GPL-2.0

//! Sequence numbers, and the distance between two number spaces.
//!
//! The primary and the shadow chose their initial sequence numbers and timestamp clocks on their
//! own. A [`Delta`] leads from the shadow's space to the primary's, which is the one the client
//! knows, and back.

use super::plant::{
    planted,
    Plant, //
};
use core::{
    cmp::Ordering,
    fmt,
    ops::{
        Add,
        Sub, //
    },
};

/// A sequence or acknowledgement number: a byte's place in the stream, modulo 2^32 (RFC 9293,
/// section 3.4).
///
/// Host byte order. The type does not say in whose number space it is; the item that holds it does.
///
/// The order is the modular one: `a < b` if `b` is at most 2^31 - 1 bytes ahead of `a`. It holds
/// between numbers of one window, and is not transitive around the whole circle, hence no `Ord`.
/// Two numbers exactly half the circle apart have no order: each comparison of them is false.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Hash)]
pub struct SeqNumber(u32);

impl SeqNumber {
    /// The number `raw`, in host byte order.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The plain number, in host byte order.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// How many bytes `self` is ahead of `earlier`; negative if it is behind.
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// The later of the two; `self` if they have no order.
    pub fn max(self, other: Self) -> Self {
        if other > self {
            other
        } else {
            self
        }
    }

    /// The earlier of the two; `self` if they have no order.
    pub fn min(self, other: Self) -> Self {
        if other < self {
            other
        } else {
            self
        }
    }
}

impl PartialOrd for SeqNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.since(*other) {
            _ if planted(Plant::Wrap) => Some(self.0.cmp(&other.0)),
            i32::MIN => None,
            distance => Some(distance.cmp(&0)),
        }
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;

    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;

    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl Add<Delta> for SeqNumber {
    type Output = Self;

    fn add(self, delta: Delta) -> Self {
        Self(delta.shift(self.0))
    }
}

impl Sub<Delta> for SeqNumber {
    type Output = Self;

    fn sub(self, delta: Delta) -> Self {
        Self(delta.unshift(self.0))
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The offset from one number space to another, modulo 2^32: of sequence numbers in bytes, or of
/// timestamps in ticks.
///
/// Adding it leads from the space `from` to the space `to`, subtracting it leads back.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Delta(u32);

impl Delta {
    /// The offset that makes `to` out of `from`, two sequence numbers of the same byte.
    pub const fn between(to: SeqNumber, from: SeqNumber) -> Self {
        Self::of(to.0, from.0)
    }

    /// The offset that makes `to` out of `from`, two plain numbers (timestamps) of the same moment.
    pub const fn of(to: u32, from: u32) -> Self {
        Self(to.wrapping_sub(from))
    }

    /// The plain offset.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Leads `number` from the space `from` to the space `to`.
    pub const fn shift(self, number: u32) -> u32 {
        number.wrapping_add(self.0)
    }

    /// Leads `number` from the space `to` to the space `from`.
    pub const fn unshift(self, number: u32) -> u32 {
        number.wrapping_sub(self.0)
    }
}
