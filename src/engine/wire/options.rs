// SPDX-License-Identifier: GPL-2.0

//! TCP options (RFC 9293, section 3.2).
//!
//! They are read the way Linux does (`tcp_parse_options`): up to the first that makes no sense,
//! which ends the list without an error. What the host's own TCP would not see, nobody here sees.

use super::super::seq::SeqNumber;

/// Most bytes of options that fit into a header.
pub const MAX_OPTIONS: usize = 40;

/// Largest shift of a window; a larger one counts as this one (RFC 7323, section 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// Option kinds, from the IANA registry.
pub(in super::super) mod kind {
    pub(in super::super::super) const END: u8 = 0;
    pub(in super::super::super) const NOP: u8 = 1;
    pub(in super::super::super) const MSS: u8 = 2;
    pub(in super::super::super) const WINDOW_SCALE: u8 = 3;
    pub(in super::super::super) const SACK_PERMITTED: u8 = 4;
    pub(in super::super::super) const SACK: u8 = 5;
    pub(in super::super::super) const TIMESTAMPS: u8 = 8;
    pub(in super::super::super) const MD5: u8 = 19;
    pub(in super::super::super) const AO: u8 = 29;
    pub(in super::super::super) const MPTCP: u8 = 30;
    pub(in super::super::super) const FAST_OPEN: u8 = 34;
    pub(in super::super::super) const EXPERIMENT: u8 = 254;
}

/// What an experimental option begins with if it is Fast Open (RFC 7413, appendix A; RFC 6994).
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

/// Length of a timestamps option (RFC 7323, section 3.2).
pub(in super::super) const TIMESTAMPS_LEN: usize = 10;

/// The same, as it lies there.
const ALIGNED_LEN: u8 = TIMESTAMPS_LEN as u8;

/// Length of one SACK block.
pub(in super::super) const SACK_BLOCK_LEN: usize = 8;

/// One option as it lies in a header, NOPs left out.
pub(in super::super) struct Found {
    pub(in super::super) kind: u8,
    /// Where its kind byte is.
    pub(in super::super) at: usize,
    /// With kind and length byte: at least 2, and within the options.
    pub(in super::super) len: usize,
}

impl Found {
    /// What follows kind and length.
    fn body<'a>(&self, options: &'a [u8]) -> &'a [u8] {
        options.get(self.body_at()..self.end()).unwrap_or_default()
    }

    /// Where [`Found::body`] begins.
    pub(in super::super) const fn body_at(&self) -> usize {
        self.at.saturating_add(2)
    }

    /// Where the option after this one begins.
    pub(in super::super) const fn end(&self) -> usize {
        self.at.saturating_add(self.len)
    }

    /// Whether this is a SACK option that a receiver would look at (RFC 2018, section 3).
    pub(in super::super) const fn is_sack(&self) -> bool {
        self.kind == kind::SACK && self.len > 2 && self.len.wrapping_sub(2) % SACK_BLOCK_LEN == 0
    }

    /// Whether this is a well-formed timestamps option.
    pub(in super::super) const fn is_timestamps(&self) -> bool {
        self.kind == kind::TIMESTAMPS && self.len == TIMESTAMPS_LEN
    }

    /// Whether this asks for, or carries, a Fast Open cookie.
    pub(in super::super) fn is_fast_open(&self, options: &[u8]) -> bool {
        self.kind == kind::FAST_OPEN
            || self.kind == kind::EXPERIMENT && self.body(options).starts_with(&FAST_OPEN_MAGIC)
    }
}

/// A walk over the options of a header. It borrows nothing between two steps, so they may be
/// changed meanwhile.
#[derive(Default)]
pub(in super::super) struct Walk {
    at: usize,
}

impl Walk {
    /// The next option, or `None` at the end of the list or of its sense.
    pub(in super::super) fn next(&mut self, options: &[u8]) -> Option<Found> {
        loop {
            let at = self.at;
            match *options.get(at)? {
                kind::END => return None,
                kind::NOP => self.at = at.saturating_add(1),
                kind => {
                    let len = usize::from(*options.get(at.saturating_add(1))?);
                    let end = at.saturating_add(len);
                    if len < 2 || end > options.len() {
                        return None;
                    }
                    self.at = end;
                    return Some(Found { kind, at, len });
                }
            }
        }
    }
}

/// The timestamps option (RFC 7323, section 3.2).
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Timestamps {
    /// The sender's clock.
    pub tsval: u32,
    /// The receiver's clock, as last heard by the sender.
    pub tsecr: u32,
}

/// Blocks of a SACK option (RFC 2018): `(left, right)` edges in the number space of the data that
/// is acknowledged, first the block that came last.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Sack {
    // Those from `len` on are 0, for the derived `PartialEq`.
    blocks: [(SeqNumber, SeqNumber); Self::MAX],
    len: u8,
}

impl Sack {
    /// As many blocks as fit into a header.
    pub const MAX: usize = 4;

    /// Adds the block of `left` up to, without, `right`. Returns whether there was room.
    pub fn push(&mut self, left: SeqNumber, right: SeqNumber) -> bool {
        match self.blocks.get_mut(usize::from(self.len)) {
            Some(block) => {
                *block = (left, right);
                self.len = self.len.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// The blocks, in the option's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SeqNumber, SeqNumber)> + '_ {
        self.blocks.iter().copied().take(self.len())
    }

    /// How many blocks there are.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no block.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The options that matter to a protected connection.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Maximum segment size in bytes, not 0. Only of a SYN.
    pub mss: Option<u16>,
    /// Window scale, at most [`MAX_WINDOW_SCALE`]. Only of a SYN.
    pub window_scale: Option<u8>,
    /// Whether the sender understands SACK. Only of a SYN.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Selective acknowledgements.
    pub sack: Sack,
    /// Whether there is a Fast Open option (RFC 7413), experimental or final.
    pub fast_open: bool,
    /// Whether there is a Multipath TCP option (RFC 8684).
    pub mptcp: bool,
    /// Whether there is an MD5 signature (RFC 2385).
    pub md5: bool,
    /// Whether there is an authentication option (RFC 5925).
    pub ao: bool,
}

impl Options {
    /// Reads what lies between the fixed header and the payload. `syn` says whether the segment is
    /// one: some options count only there.
    ///
    /// Of two well-formed options of one kind the later counts.
    pub fn parse(bytes: &[u8], syn: bool) -> Self {
        let mut options = Self::default();
        // Those of nearly every segment (Linux: `tcp_parse_aligned_timestamp`).
        if let &[kind::NOP, kind::NOP, kind::TIMESTAMPS, ALIGNED_LEN, v0, v1, v2, v3, e0, e1, e2, e3] =
            bytes
        {
            options.timestamps = Some(Timestamps {
                tsval: u32::from_be_bytes([v0, v1, v2, v3]),
                tsecr: u32::from_be_bytes([e0, e1, e2, e3]),
            });
            return options;
        }
        let mut walk = Walk::default();
        while let Some(found) = walk.next(bytes) {
            match (found.kind, found.body(bytes)) {
                (kind::MSS, &[high, low]) if syn => match u16::from_be_bytes([high, low]) {
                    0 => (),
                    mss => options.mss = Some(mss),
                },
                (kind::WINDOW_SCALE, &[shift]) if syn => {
                    options.window_scale = Some(shift.min(MAX_WINDOW_SCALE));
                }
                (kind::SACK_PERMITTED, []) if syn => options.sack_permitted = true,
                (kind::TIMESTAMPS, &[v0, v1, v2, v3, e0, e1, e2, e3]) => {
                    options.timestamps = Some(Timestamps {
                        tsval: u32::from_be_bytes([v0, v1, v2, v3]),
                        tsecr: u32::from_be_bytes([e0, e1, e2, e3]),
                    });
                }
                (kind::SACK, mut blocks) if found.is_sack() => {
                    options.sack = Sack::default();
                    while let Some((&[l0, l1, l2, l3, r0, r1, r2, r3], rest)) =
                        blocks.split_first_chunk()
                    {
                        options.sack.push(
                            SeqNumber::new(u32::from_be_bytes([l0, l1, l2, l3])),
                            SeqNumber::new(u32::from_be_bytes([r0, r1, r2, r3])),
                        );
                        blocks = rest;
                    }
                }
                (kind::MD5, _) => options.md5 = true,
                (kind::AO, _) => options.ao = true,
                (kind::MPTCP, _) => options.mptcp = true,
                _ if found.is_fast_open(bytes) => options.fast_open = true,
                _ => (),
            }
        }
        options
    }

    /// Writes the options and returns how many bytes they take, a multiple of four.
    ///
    /// They are laid out as Linux does (`tcp_options_write`), so that its fast path
    /// (`tcp_parse_aligned_timestamp`) takes them. Those of a SYN are left out unless `syn`, SACK
    /// blocks that find no room are left out, and what only has a `bool` saying that it was seen is
    /// never written.
    pub(in super::super) fn emit(&self, bytes: &mut [u8; MAX_OPTIONS], syn: bool) -> usize {
        let mut writer = Writer { bytes, len: 0 };
        if let (Some(mss), true) = (self.mss, syn) {
            writer.put(&[kind::MSS, 4]);
            writer.put(&mss.to_be_bytes());
        }

        let sack_permitted = self.sack_permitted && syn;
        if sack_permitted {
            if self.timestamps.is_none() {
                writer.put(&[kind::NOP, kind::NOP]);
            }
            writer.put(&[kind::SACK_PERMITTED, 2]);
        }
        if let Some(Timestamps { tsval, tsecr }) = self.timestamps {
            if !sack_permitted {
                writer.put(&[kind::NOP, kind::NOP]);
            }
            writer.put(&[kind::TIMESTAMPS, TIMESTAMPS_LEN as u8]);
            writer.put(&tsval.to_be_bytes());
            writer.put(&tsecr.to_be_bytes());
        }

        if let (Some(shift), true) = (self.window_scale, syn) {
            writer.put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }

        let room = writer.room().saturating_sub(4) / SACK_BLOCK_LEN;
        let blocks = self.sack.len().min(room);
        if blocks != 0 {
            let len = blocks.wrapping_mul(SACK_BLOCK_LEN).wrapping_add(2);
            writer.put(&[kind::NOP, kind::NOP, kind::SACK, len as u8]);
            for (left, right) in self.sack.iter().take(blocks) {
                writer.put(&left.raw().to_be_bytes());
                writer.put(&right.raw().to_be_bytes());
            }
        }
        writer.len
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8; MAX_OPTIONS],
    len: usize,
}

impl Writer<'_> {
    fn room(&self) -> usize {
        MAX_OPTIONS.saturating_sub(self.len)
    }

    /// Appends `piece`. The caller sees to it that there is room.
    fn put(&mut self, piece: &[u8]) {
        let rest = self.bytes.get_mut(self.len..).unwrap_or_default();
        if let Some(to) = rest.get_mut(..piece.len()) {
            to.copy_from_slice(piece);
            self.len = self.len.saturating_add(piece.len());
        }
    }
}
