// SPDX-License-Identifier: GPL-2.0

//! What is known of a connection from watching the packets, and what must always be so.

use sttcp::message::Progress;
use sttcp::seq::SeqNumber;
use sttcp::wire::{Flags, Segment};

/// The order of sequence numbers, but not the engine's, which may have a fault.
pub trait Order: Copy {
    fn after(self, other: Self) -> bool;

    fn later(self, other: Self) -> Self {
        if other.after(self) {
            other
        } else {
            self
        }
    }
}

impl Order for SeqNumber {
    fn after(self, other: Self) -> bool {
        self.since(other) > 0
    }
}

/// What one host's stack has done on one connection. Client's numbers are the same on both; server's are the stack's own here.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    isn: SeqNumber,
    iss: Option<SeqNumber>,
    /// The clock in its SYN-ACK.
    clock: Option<u32>,
    /// The end of what it has sent.
    snd_nxt: SeqNumber,
    /// What the client has acknowledged, as far as the stack was told.
    pub una: SeqNumber,
    /// The same, as far as any segment said so, also an old one.
    heard: SeqNumber,
    /// Client bytes, and whether its FIN, that it has taken.
    pub taken: u32,
    pub fin: bool,
    /// When that was more than before, or this host began to speak, in us.
    pub moved_at: u64,
    /// How long that had been when the connection was given up for a hole.
    pub gave_up_after: Option<u64>,
    /// Whether a reset of the client came in.
    pub reset: bool,
    /// What it has acknowledged, and the right edge of its window.
    pub acked: SeqNumber,
    pub edge: SeqNumber,
    /// That right edge as smoltcp remembers it: it forgets what it told in a keep-alive probe.
    room: SeqNumber,
    scale: u8,
    /// What the peer said that its shadow has taken.
    progress: Option<SeqNumber>,
    /// What the client was told by this host.
    told: Option<SeqNumber>,
    /// Whether it was to be told something since, and this host had to be silent.
    muted: bool,
    /// Whether it was sent a reset.
    over: bool,
}

impl Facts {
    /// The next byte that the stack expects.
    pub fn rcv_nxt(&self) -> SeqNumber {
        self.isn + 1 + self.taken + u32::from(self.fin)
    }

    /// Whether Linux would take in this segment of the client, so translated, as far as its numbers go.
    pub fn can_take(&self, segment: &Segment, clock: u32, server_bytes: u32) -> Result<(), String> {
        let Some(iss) = self.iss.filter(|_| segment.flags.contains(Flags::ACK)) else {
            return Ok(());
        };
        if segment.ack.after(self.snd_nxt) {
            return Err(format!(
                "{} is beyond {}, what it has sent",
                segment.ack, self.snd_nxt
            ));
        }
        for (left, right) in segment.options.sack.iter() {
            // Linux ignores a block of what it has not sent yet (tcp_is_sackblock_valid), so the primary may be ahead.
            let end = iss + 2 + server_bytes;
            if iss.after(left) || !right.after(left) || right.after(end) {
                return Err(format!(
                    "a SACK of {left} to {right} is none of {iss} to {end}"
                ));
            }
        }
        // Of a reset nobody looks at the timestamps (tcp_validate_incoming).
        let timestamps = segment
            .options
            .timestamps
            .filter(|_| !segment.flags.contains(Flags::RST));
        if let (Some(ts), Some(first)) = (timestamps, self.clock) {
            // The shadow's clock is taken from an Open that was some time under way; and before that the client's third segment, of a bad network.
            let (early, late) = (
                first.wrapping_sub(ts.tsecr) as i32,
                ts.tsecr.wrapping_sub(clock) as i32,
            );
            if early > 15_000 || late > 5000 {
                return Err(format!(
                    "it echoes {}, not between {first} and {clock}",
                    ts.tsecr
                ));
            }
        }
        Ok(())
    }

    /// Whether a segment has bytes beyond the window that the stack has told of: newer kernels drop it (`BeyondWindow`), and smoltcp panics.
    pub fn is_beyond(&self, segment: &Segment) -> bool {
        !segment.flags.contains(Flags::SYN)
            && segment.payload_len > 0
            && (segment.seq + segment.payload_len).after(self.room)
    }

    /// The stack takes a segment of the client.
    pub fn take(&mut self, segment: &Segment) {
        self.reset |= segment.flags.contains(Flags::RST);
        if segment.flags.contains(Flags::SYN) {
            self.isn = segment.seq;
        } else if segment.flags.contains(Flags::ACK) && !segment.ack.after(self.snd_nxt) {
            self.heard = self.heard.later(segment.ack);
            if segment.is_pure_ack() && segment.seq == self.rcv_nxt() {
                self.una = self.una.later(segment.ack);
            }
        }
    }

    /// The end of what the stack has sent, if the client has not acknowledged it.
    pub fn unheard(&self) -> Option<SeqNumber> {
        self.snd_nxt.after(self.heard).then_some(self.snd_nxt)
    }

    /// The stack sends a segment.
    pub fn send(&mut self, segment: &Segment) {
        if segment.flags.contains(Flags::RST) {
            return;
        }
        if segment.flags.contains(Flags::SYN) && self.iss != Some(segment.seq) {
            self.iss = Some(segment.seq);
            self.una = segment.seq;
            self.heard = segment.seq;
            self.snd_nxt = segment.end();
            self.clock = segment.options.timestamps.map(|ts| ts.tsval);
            self.scale = segment.options.window_scale.unwrap_or(0);
            self.acked = segment.ack;
            self.edge = segment.ack;
            self.room = segment.ack;
        }
        let probes = segment.seq + 1 == self.snd_nxt && segment.is_pure_ack();
        let scale = if segment.flags.contains(Flags::SYN) {
            0
        } else {
            self.scale
        };
        self.snd_nxt = self.snd_nxt.later(segment.end());
        self.acked = self.acked.later(segment.ack);
        let edge = segment.ack + (u32::from(segment.window) << scale);
        self.edge = self.edge.later(edge);
        if !probes {
            self.room = edge;
        }
    }

    /// The client is not sent a segment.
    pub fn mute(&mut self) {
        self.muted = true;
    }

    /// The client is sent a segment.
    pub fn tell(&mut self, segment: &Segment) {
        self.muted = false;
        self.over |= segment.flags.contains(Flags::RST);
        if segment.flags.contains(Flags::ACK) && !segment.flags.contains(Flags::RST) {
            self.told = Some(
                self.told
                    .map_or(segment.ack, |told| told.later(segment.ack)),
            );
        }
    }

    /// What the peer said that its shadow has taken.
    pub fn confirmed(&self) -> SeqNumber {
        self.progress.unwrap_or(self.isn + 1)
    }

    /// Whether the client was told of more than `other` has taken.
    pub fn told_beyond(&self, other: Option<&Facts>) -> bool {
        let taken = other.map_or(self.isn + 1, Facts::rcv_nxt);
        self.told.is_some_and(|told| told.after(taken))
    }

    pub fn progress(&mut self, progress: &Progress) {
        let before = self.progress.unwrap_or(progress.rcv_nxt);
        self.progress = Some(before.later(progress.rcv_nxt));
    }

    /// An acknowledgement that may go must have gone.
    pub fn withheld_too_long(&self) -> Option<String> {
        let (shadow, told) = (
            self.progress?,
            self.told.filter(|_| !self.muted && !self.over)?,
        );
        let allowed = if self.acked.after(shadow) {
            shadow
        } else {
            self.acked
        };
        allowed
            .after(told)
            .then(|| format!("the client was told {told}, and may be told {allowed}"))
    }
}

/// What the client was told on a connection, by whoever spoke.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub isn: SeqNumber,
    pub iss: SeqNumber,
    scale: u8,
    /// The right edge that was told in the handshake.
    first: SeqNumber,
    edge: SeqNumber,
    ready: bool,
}

/// Under what circumstances a segment leaves.
#[derive(Clone, Copy)]
pub struct Situation {
    /// The peer must have what it acknowledges.
    pub gated: bool,
    /// Or there are copies up to here.
    pub copied: Option<SeqNumber>,
    /// There was a takeover.
    pub migrated: bool,
    /// This connection went on without the primary's word.
    pub guessed: bool,
}

impl Told {
    /// An eager primary has promised a window that its backup need not have.
    pub fn forget_window(&mut self) {
        self.edge = self.first;
    }

    /// A host sends the client a segment before it knows that the client has heard the SYN-ACK.
    pub fn shake_hands(&mut self, segment: &Segment) {
        if self.ready && !segment.flags.contains(Flags::SYN) {
            let edge = segment.ack + (u32::from(segment.window) << self.scale);
            self.first = self.first.later(edge);
            self.edge = self.edge.later(edge);
        }
    }

    /// A host sends the client a segment. `own` are the host's facts, `other` those of its peer.
    pub fn send(
        &mut self,
        segment: &Segment,
        at: Situation,
        own: &Facts,
        other: Option<&Facts>,
        client_bytes: u32,
    ) -> Result<(), String> {
        if segment.flags.contains(Flags::RST) || !segment.flags.contains(Flags::ACK) {
            return Ok(());
        }
        if segment.flags.contains(Flags::SYN) {
            self.isn = segment.ack - 1;
            self.iss = segment.seq;
            self.scale = segment.options.window_scale.unwrap_or(0);
            self.first = segment.ack + u32::from(segment.window);
            self.edge = self.first;
            self.ready = true;
            return Ok(());
        }
        if !self.ready {
            return Ok(());
        }
        let bytes = |ack: SeqNumber| (ack.since(self.isn + 1).max(0) as u32).min(client_bytes);
        if bytes(segment.ack) > own.taken {
            return Err(format!(
                "acknowledges {} client bytes and has {}",
                bytes(segment.ack),
                own.taken
            ));
        }
        if at.gated && !segment.is_empty() && other.is_none() {
            return Err("the server speaks, and the backup does not know the connection".into());
        }
        let shadow = other.map_or(0, |facts| facts.taken);
        if let Some(copied) = at.copied {
            if bytes(segment.ack) > shadow.max(bytes(copied)) {
                return Err(format!(
                    "acknowledges {} client bytes; the backup has {shadow}, and copies end at {}",
                    bytes(segment.ack),
                    bytes(copied)
                ));
            }
        }
        if at.gated && bytes(segment.ack) > shadow {
            return Err(format!(
                "acknowledges {} client bytes, and the backup has {shadow}",
                bytes(segment.ack)
            ));
        }
        if at.guessed && self.scale != own.scale {
            // The two hosts are set up alike, or the client misreads the window of a connection that the primary did not tell of.
            return Ok(());
        }
        if segment.ack.after(self.isn + 1 + client_bytes) {
            // After its FIN the client has no use for a window.
            return Ok(());
        }
        let edge = segment.ack + (u32::from(segment.window) << self.scale);
        if edge.after(own.edge.later(self.first)) {
            return Err(format!(
                "opens the window up to {edge}, and its stack up to {}",
                own.edge
            ));
        }
        let shadow = other.map_or(self.first, |facts| facts.edge.later(self.first));
        if at.gated && edge.after(shadow) {
            return Err(format!(
                "opens the window up to {edge}, and the backup up to {shadow}"
            ));
        }
        // What the SYN-ACK promised, the primary promised alone.
        let promised = !at.migrated || self.edge.after(self.first);
        // smoltcp rounds its window down, where Linux rounds up (tcp_select_window), and so does the engine after it.
        if promised && self.edge.since(edge) >= 2 << self.scale {
            return Err(format!(
                "moves the right edge of the window from {} back to {edge}",
                self.edge
            ));
        }
        self.edge = if promised {
            self.edge.later(edge)
        } else {
            edge
        };
        Ok(())
    }
}
