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
        let now = self.now;
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Primary(connection)) => {
                if segment.flags.contains(Flags::SYN) {
                    connection.on_syn_ack(&segment, now);
                    rewrite(&mut frame, &plain_handshake(&segment).0);
                    self.sent.push(Sent::Frame(at, frame));
                    return;
                }
                let (decision, actions) = connection.on_server(&segment, now);
                self.carry_out_primary(at, actions);
                match decision {
                    primary::Verdict::Send(change) if change.is_noop() || self.memory() => {
                        rewrite(&mut frame, &change);
                        self.sent.push(Sent::Frame(at, frame));
                    }
                    primary::Verdict::Send(_) => self.starve(at),
                    primary::Verdict::Swallow => assert_eq!(segment.payload_len, 0),
                }
            }
            Some(Kind::Shadow(shadow)) => {
                let speaking = shadow.is_speaking();
                let (outbound, mut actions) = shadow.on_output(&segment, now);
                match outbound {
                    Outbound::Send(change) => {
                        assert!(speaking && self.speaks, "a shadow spoke");
                        rewrite(&mut frame, &change);
                        self.sent.push(Sent::Frame(at, frame));
                    }
                    Outbound::Hold(start, end) => {
                        let held = self.memory();
                        match &mut self.entries[at] {
                            Some(entry) if held => entry.queue.push((frame, end)),
                            Some(Entry {
                                kind: Kind::Shadow(shadow),
                                ..
                            }) => shadow.not_held(start, &mut actions),
                            _ => {}
                        }
                    }
                    Outbound::Swallow => {}
                }
                self.carry_out_shadow(at, actions);
            }
            Some(Kind::Pending(_)) => {}
            None if self.speaks => self.sent.push(Sent::Frame(at, frame)),
            None => {}
        }
    }
}
