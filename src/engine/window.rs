// SPDX-License-Identifier: GPL-2.0

//! The window that a client is told of.
//!
//! Where the acknowledgement of a segment is changed, its window must be too: what counts is the right edge, acknowledgement plus
//! window, which is not to be moved back (RFC 9293, section 3.8.6), but for the rounding of the field.

use super::seq::SeqNumber;

/// The right edge of the receive window, as the client knows it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Window {
    edge: SeqNumber,
    /// Shift count of the field (RFC 7323, section 2.2).
    scale: u8,
}

impl Window {
    /// The client knows `edge`; fields count in units of `2^scale` bytes, `scale` being 14 at most.
    pub fn new(edge: SeqNumber, scale: u8) -> Self {
        Self { edge, scale }
    }

    /// The right edge that the client knows.
    pub fn edge(&self) -> SeqNumber {
        self.edge
    }

    /// A segment went out unchanged with this acknowledgement and window field.
    pub fn told(&mut self, ack: SeqNumber, field: u16) {
        self.edge = self.edge.max(ack + (u32::from(field) << self.scale));
    }

    /// The field for a segment that acknowledges `ack`, when bytes up to `edge` are taken. It is rounded down: TCP drops what goes
    /// beyond its window, a large segment as a whole, for a byte too many.
    pub fn field(&mut self, ack: SeqNumber, edge: SeqNumber) -> u16 {
        let field = u16::try_from(ahead(edge, ack) >> self.scale).unwrap_or(u16::MAX);
        self.told(ack, field);
        field
    }
}

/// No window of this scale is wider, in bytes.
pub(super) fn widest(scale: u8) -> u32 {
    u32::from(u16::MAX) << scale
}

/// How far `a` is ahead of `b`; zero if it is not.
pub(super) fn ahead(a: SeqNumber, b: SeqNumber) -> u32 {
    u32::try_from(a.since(b)).unwrap_or(0)
}
