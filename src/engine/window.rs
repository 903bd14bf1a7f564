// SPDX-License-Identifier: GPL-2.0

//! The window that a client is told of.
//!
//! Where the acknowledgement of a segment is changed, its window must be too: what counts is the right edge, acknowledgement plus
//! window, and a sender must not move it back (RFC 9293, section 3.8.6).

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

    /// A segment went out unchanged with this acknowledgement and window field.
    pub fn told(&mut self, ack: SeqNumber, field: u16) {
        self.edge = self.edge.max(ack + (u32::from(field) << self.scale));
    }

    /// The field for a segment that acknowledges `ack`, when the stack takes bytes up to `edge`. It is rounded down, unless
    /// that alone would move the client's edge back.
    pub fn field(&mut self, ack: SeqNumber, edge: SeqNumber) -> u16 {
        let room = ahead(edge, ack);
        let mut field = room >> self.scale;
        if ack + (field << self.scale) < self.edge.min(edge) {
            field = field.saturating_add(1);
        }
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        self.told(ack, field);
        field
    }
}

/// How far `a` is ahead of `b`; zero if it is not.
pub(super) fn ahead(a: SeqNumber, b: SeqNumber) -> u32 {
    u32::try_from(a.since(b)).unwrap_or(0)
}
