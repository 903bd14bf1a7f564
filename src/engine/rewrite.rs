// SPDX-License-Identifier: GPL-2.0

//! Translation of a TCP header in place, with its checksum.

use super::{
    seq::{
        Delta,
        SeqNumber, //
    },
    wire::{
        checksum::Update,
        ip::PROTOCOL_TCP,
        options::{
            kind,
            Found,
            Walk,
            SACK_BLOCK_LEN, //
        },
        tcp::TcpHeader,
        Flags,
        Malformed,
        Peek, //
    },
};
use zerocopy::FromBytes as _;

/// What the TCP checksum field of a packet holds; the caller knows from the skb.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// The checksum of the whole segment. It follows the change.
    Full,
    /// The sum of the pseudo header only, which no translation changes: hardware adds the rest
    /// (`CHECKSUM_PARTIAL`).
    Pseudo,
}

/// What becomes of SACK options.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub enum SackRewrite {
    /// They stay.
    #[default]
    Keep,
    /// All edges go back by the offset: from the client's number space to the shadow's.
    Back(Delta),
    /// All edges go forward by the offset: from the shadow's number space to the client's.
    Forward(Delta),
    /// They turn into NOPs.
    Blank,
}

/// Options that turn into NOPs.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Blank {
    /// Fast Open, kind 34, and kind 254 with the magic number of Fast Open.
    pub fast_open: bool,
    /// Multipath TCP, kind 30.
    pub mptcp: bool,
}

/// Changes to one TCP header. `None` and the defaults leave a field alone.
///
/// All numbers are new values for the wire, in host byte order.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Rewrite {
    /// Sequence number.
    pub seq: Option<SeqNumber>,
    /// Acknowledgement number.
    pub ack: Option<SeqNumber>,
    /// The window field, unscaled.
    pub window: Option<u16>,
    /// The sender's timestamp, if the segment has one.
    pub tsval: Option<u32>,
    /// The echoed timestamp, if the segment has one.
    pub tsecr: Option<u32>,
    /// SACK blocks.
    pub sack: SackRewrite,
    /// Options to take away.
    pub blank: Blank,
    /// Clears the AE flag. In a SYN that turns an offer of Accurate ECN (RFC 9768, section 3.1.1)
    /// into one of classic ECN.
    pub clear_ae: bool,
    /// Clears the FIN flag.
    pub clear_fin: bool,
}

impl Rewrite {
    /// Whether nothing is to be changed.
    pub fn is_noop(&self) -> bool {
        *self == Self::default()
    }

    /// Changes the headers at the start of `header`: an IP packet, or as much of it as holds all
    /// headers.
    ///
    /// No byte is moved, so payload, lengths and the IP header stay as they are. An option that
    /// occurs twice is changed twice: whichever the receiver believes, it gets the new value.
    ///
    /// # Errors
    ///
    /// As [`super::wire::Packet::parse`]; nothing was changed then.
    pub fn apply(&self, header: &mut [u8], checksum: Checksum) -> Result<(), Malformed> {
        let ip = Peek::parse(header)?;
        if ip.fragment {
            return Err(Malformed::Fragment);
        }
        if ip.protocol != PROTOCOL_TCP {
            return Err(Malformed::NotTcp);
        }
        let (tcp, rest) = header
            .get_mut(ip.l4_offset..)
            .and_then(|tcp| TcpHeader::mut_from_prefix(tcp).ok())
            .ok_or(Malformed::Truncated)?;
        let options = rest
            .get_mut(..tcp.options_len()?)
            .ok_or(Malformed::Truncated)?;

        let mut update = Update::new(tcp.check.get());
        self.apply_fixed(tcp, &mut update);
        self.apply_options(options, &mut update);
        if checksum == Checksum::Full {
            tcp.check.set(update.check());
        }
        Ok(())
    }

    fn apply_fixed(&self, tcp: &mut TcpHeader, update: &mut Update) {
        if let Some(seq) = self.seq {
            update.replace(0, tcp.seq.get(), seq.raw());
            tcp.seq.set(seq.raw());
        }
        if let Some(ack) = self.ack {
            update.replace(0, tcp.ack.get(), ack.raw());
            tcp.ack.set(ack.raw());
        }
        if let Some(window) = self.window {
            update.replace_word(tcp.window.get(), window);
            tcp.window.set(window);
        }
        if self.clear_ae {
            let old = tcp.offset_flags.get();
            let new = old & !Flags::AE.bits();
            update.replace_word(old, new);
            tcp.offset_flags.set(new);
        }
        if self.clear_fin {
            let old = tcp.offset_flags.get();
            let new = old & !Flags::FIN.bits();
            update.replace_word(old, new);
            tcp.offset_flags.set(new);
        }
    }

    /// The fixed header is of even length: an offset into the options is as odd as it is in the
    /// segment.
    fn apply_options(&self, options: &mut [u8], update: &mut Update) {
        let mut walk = Walk::default();
        while let Some(found) = walk.next(options) {
            if found.is_timestamps() {
                let at = found.body_at();
                change(options, at, update, |tsval| self.tsval.unwrap_or(tsval));
                change(options, at.saturating_add(4), update, |tsecr| {
                    self.tsecr.unwrap_or(tsecr)
                });
            } else if found.kind == kind::SACK {
                self.apply_sack(&found, options, update);
            } else if self.blank.mptcp && found.kind == kind::MPTCP
                || self.blank.fast_open && found.is_fast_open(options)
            {
                blank(&found, options, update);
            }
        }
    }

    fn apply_sack(&self, found: &Found, options: &mut [u8], update: &mut Update) {
        if self.sack == SackRewrite::Blank {
            return blank(found, options, update);
        }
        if !found.is_sack() {
            return;
        }
        for at in (found.body_at()..found.end()).step_by(SACK_BLOCK_LEN / 2) {
            change(options, at, update, |edge| match self.sack {
                SackRewrite::Back(delta) => delta.unshift(edge),
                SackRewrite::Forward(delta) => delta.shift(edge),
                SackRewrite::Keep | SackRewrite::Blank => edge,
            });
        }
    }
}

/// Changes the 32-bit number at `at`, which may be odd.
fn change(options: &mut [u8], at: usize, update: &mut Update, new: impl FnOnce(u32) -> u32) {
    let field = options
        .get_mut(at..)
        .and_then(|field| field.first_chunk_mut());
    if let Some(field) = field {
        let old = u32::from_be_bytes(*field);
        let new = new(old);
        update.replace(at, old, new);
        *field = new.to_be_bytes();
    }
}

/// Overwrites a whole option with NOPs.
fn blank(found: &Found, options: &mut [u8], update: &mut Update) {
    for at in found.at..found.end() {
        if let Some(byte) = options.get_mut(at) {
            update.replace_byte(at, *byte, kind::NOP);
            *byte = kind::NOP;
        }
    }
}
