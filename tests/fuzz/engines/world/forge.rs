// SPDX-License-Identifier: GPL-2.0

//! Forgeries.

use super::*;

impl World {
    /// A segment that somebody made up who knows the endpoints. Those that any TCP would believe are left out.
    pub(super) fn forge(&mut self, step: &Step) {
        let Step::Forge {
            hosts,
            flow,
            seq,
            ack,
            flags,
            window,
            len,
            timestamps,
            sack,
        } = *step
        else {
            return;
        };
        let at = usize::from(flow);
        let client = &self.clients[at];
        let stack = &self.hosts[self.truth[at].owner.unwrap_or(0)].stacks[at];
        let in_stream = |aim: Aim| match aim {
            Aim::Expected(offset) => client.nxt + i32::from(offset) as u32,
            Aim::Edge(offset) => stack.edge + i32::from(offset) as u32,
            Aim::Far(offset) => client.nxt + offset,
        };
        let in_answers = |aim: Aim| match aim {
            Aim::Expected(offset) => client.rcv + i32::from(offset) as u32,
            Aim::Edge(offset) => client.edge + i32::from(offset) as u32,
            Aim::Far(offset) => client.rcv + offset,
        };
        let mut blocks = Sack::default();
        if let Some((left, right)) = sack {
            blocks.push(in_answers(left), in_answers(right));
        }
        let segment = Segment {
            seq: in_stream(seq),
            ack: in_answers(ack),
            flags: if flags >> 15 == 0 {
                Flags::from_bits(flags)
            } else {
                Flags::ACK
            },
            window,
            payload_len: u32::from(len),
            options: Options {
                timestamps: timestamps.map(|(tsval, tsecr)| Timestamps {
                    tsval: client.clock(self.now).wrapping_add(tsval as u32),
                    tsecr,
                }),
                sack: blocks,
                ..Options::default()
            },
            ..Segment::default()
        };
        if !self.is_fair(at, &segment) {
            return;
        }
        let frame = Frame::from_client(&self.flows[at], &segment, Origin::Forged);
        for host in 0..2 {
            if hosts & (1 << host) != 0 && self.runs(host) {
                self.host_gets(host, at, frame.clone());
            }
        }
    }

    /// Whether every TCP here refuses this segment (RFC 9293, section 3.10.7.4; RFC 5961).
    fn is_fair(&self, at: usize, segment: &Segment) -> bool {
        let flags = segment.flags;
        // What comes before a socket may lie in wait for it. To guess its numbers is not fair.
        let client = &self.clients[at];
        let far = segment.seq.since(client.nxt).unsigned_abs() > 1 << 21;
        // Farther ahead than the widest window: nobody has sent what it acknowledges.
        let boasts = segment.ack.since(client.rcv) > (1 << 30) + (1 << 22);
        // A backup whose primary is dead has nothing but the third segment of the handshake to go by.
        if client.state != Stack::Open && segment.seq == client.nxt {
            return false;
        }
        // That an earlier connection's socket is there says nothing of the shadow that is to come.
        let ready = |host: &Host| {
            let side = host.entries[at].as_ref().map(|entry| &entry.side);
            host.stacks[at].state == Stack::Open
                && match side {
                    Some(Side::Shadow(shadow)) => shadow.is_ready(),
                    Some(Side::Pending(_)) => false,
                    Some(Side::Primary(_)) | None => host.speaks,
                }
        };
        if !segment.is_empty()
            && !(client.state == Stack::Open && (far || self.hosts.iter().all(ready)))
        {
            return false;
        }
        self.hosts.iter().all(|host| {
            let stack = &host.stacks[at];
            if stack.state == Stack::Closed {
                return !flags.contains(Flags::SYN);
            }
            if !stack.in_window(segment) {
                return stack.state == Stack::Open || !flags.contains(Flags::SYN);
            }
            if stack.state != Stack::Open {
                return false;
            }
            if flags.contains(Flags::RST) {
                segment.seq != stack.rcv
            } else {
                flags.contains(Flags::SYN)
                    || !flags.contains(Flags::ACK)
                    || boasts && segment.seq > stack.rcv
            }
        })
    }
}
