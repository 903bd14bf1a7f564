// SPDX-License-Identifier: GPL-2.0

//! The way out (`src/send.rs`).

use super::*;

impl Host {
    pub(super) fn local_out(&mut self, at: usize, segment: &Segment, origin: Origin) {
        let mut frame = Frame::to_client(&self.flows[at], segment, origin);
        if self.node.is_none() {
            self.sent.push(Sent::Frame(at, frame));
            return;
        }
        let segment = frame.segment();
        let (now, may_speak) = (self.now, self.may_speak(self.now));
        let Some(entry) = &mut self.entries[at] else {
            if may_speak {
                self.sent.push(Sent::Frame(at, frame));
            }
            return;
        };
        // The sum of the places of all bytes: both servers say the same, so it is the same.
        let sum = |sum: u32, offset: u32, len: u32| match origin.skip(offset) {
            Origin::Stream(_, place) => {
                let inner = u64::from(len) * u64::from(len - 1) / 2;
                sum.wrapping_add(place.wrapping_mul(len))
                    .wrapping_add(inner as u32)
            }
            Origin::Empty | Origin::Forged => sum,
        };
        let found = entry.side.digest(true, &segment, sum, now);
        assert!(found.is_none(), "the servers do not differ");
        if entry.side.speaks() && !may_speak {
            return entry.side.on_muted(&segment, now);
        }
        let was_shadow = matches!(entry.side, Side::Shadow(_));
        let was_primary = matches!(entry.side, Side::Primary(_));
        let is_held = entry.queue.iter().any(|(_, end)| *end >= segment.end());
        let migrated = entry.side.is_migrated();
        let (outbound, mut actions) = entry.side.on_output(&segment, now);
        let mut sent = true;
        match outbound {
            Outbound::Send(change) => {
                assert!(!was_shadow || migrated && self.speaks, "a shadow spoke");
                sent = was_shadow || change.is_noop() || self.memory();
                if sent {
                    rewrite(&mut frame, &change);
                    self.sent.push(Sent::Frame(at, frame));
                }
            }
            Outbound::SendAnyway(change) => {
                rewrite(&mut frame, &change);
                self.sent.push(Sent::Frame(at, frame));
            }
            Outbound::Hold(start, end) => {
                let held = self.memory();
                let Some(entry) = &mut self.entries[at] else {
                    return;
                };
                if held {
                    entry.queue.push((frame, end));
                } else {
                    entry.side.not_held(start, &mut actions, now);
                }
            }
            Outbound::Swallow => assert!(
                !was_primary || segment.payload_len == 0 || is_held || self.starved,
                "bytes of the server are lost"
            ),
        }
        self.carry_out(at, actions);
        if !sent {
            self.not_sent(at);
        }
    }
}
