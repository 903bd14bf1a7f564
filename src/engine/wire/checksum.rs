// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624).

use core::net::Ipv6Addr;

/// A one's complement sum of 16-bit words in network byte order, not yet folded.
#[derive(Copy, Clone, Default, Debug)]
pub struct Sum(u64);

impl Sum {
    /// Adds 32 bits. 2^16 is 1 in this arithmetic, so the two halves need not be taken apart.
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        // Wraps after 2^32 words, 16 GiB, which no packet holds.
        Self(self.0.wrapping_add(word as u64))
    }

    /// Adds bytes that begin at an even offset of what is summed up. A missing last byte counts as
    /// 0.
    #[must_use]
    pub fn bytes(mut self, mut bytes: &[u8]) -> Self {
        while let Some((word, rest)) = bytes.split_first_chunk::<4>() {
            self = self.word(u32::from_be_bytes(*word));
            bytes = rest;
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.word(u32::from_be_bytes(last))
    }

    /// The sum in 16 bits, with the carries added in.
    pub const fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        sum as u16
    }

    /// What a checksum field holds for this sum, in host byte order.
    pub const fn check(self) -> u16 {
        !self.fold()
    }
}

/// The sum of the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1) of a message of
/// `len` bytes, header and payload. Both addresses are of the same IP version, IPv4 as IPv4-mapped.
pub fn pseudo(protocol: u8, source: Ipv6Addr, destination: Ipv6Addr, len: u32) -> Sum {
    let sum = Sum::default().word(u32::from(protocol)).word(len);
    match (source.to_ipv4_mapped(), destination.to_ipv4_mapped()) {
        (Some(source), Some(destination)) => sum.word(source.to_bits()).word(destination.to_bits()),
        _ => sum.bytes(&source.octets()).bytes(&destination.octets()),
    }
}

/// An incremental change of a checksum field: equation 3 of RFC 1624, `HC' = ~(~HC + ~m + m')`.
///
/// If the field was right, the new one is to the bit what a full computation gives: a sum of terms
/// that are not all 0 never folds to 0, so the two zeros of one's complement are not mixed up. If
/// it was wrong, it stays wrong. A packet's whole sum does not change, so an skb's
/// `CHECKSUM_COMPLETE` value stays good.
pub struct Update {
    check: u16,
    sum: Sum,
    changed: bool,
}

impl Update {
    /// Starts from the field's present content, in host byte order.
    pub const fn new(check: u16) -> Self {
        Self {
            check,
            // `as` keeps the upper half 0, unlike a complement of 32 bits.
            sum: Sum(!check as u64),
            changed: false,
        }
    }

    /// Notes that the four bytes at `offset` of the segment went from `old` to `new`.
    ///
    /// Options lie at any offset. In a field at an odd one each byte takes the other half of its
    /// 16-bit word, which is the same as the sum of the field rotated by one byte (RFC 1071,
    /// section 2).
    pub const fn replace(&mut self, offset: usize, old: u32, new: u32) {
        if old == new {
            return;
        }
        let turn = if offset % 2 == 0 { 0 } else { 8 };
        self.sum = self
            .sum
            .word((!old).rotate_left(turn))
            .word(new.rotate_left(turn));
        self.changed = true;
    }

    /// The same for the two bytes at an even `offset`.
    pub const fn replace_word(&mut self, old: u16, new: u16) {
        self.replace(0, old as u32, new as u32);
    }

    /// The same for the one byte at `offset`, taken as the last of four.
    pub const fn replace_byte(&mut self, offset: usize, old: u8, new: u8) {
        self.replace(offset.wrapping_add(1), old as u32, new as u32);
    }

    /// The field's new content, in host byte order; the old one to the bit if nothing changed.
    pub const fn check(&self) -> u16 {
        if self.changed {
            self.sum.check()
        } else {
            self.check
        }
    }
}
