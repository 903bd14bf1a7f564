// SPDX-License-Identifier: GPL-2.0

//! The way in (`src/receive.rs`).

use super::*;

impl Host {
    /// A frame of the client's.
    pub fn receive(&mut self, at: usize, frame: Frame, now: Instant) {
        self.now = now;
        self.clients_at = now;
        self.local_in(at, frame);
        self.run();
    }

    /// The time has come to this.
    pub fn run_at(&mut self, now: Instant) {
        self.now = now;
        self.run();
    }

    /// Until the stack has taken what was injected, and everything it said to that has gone its way.
    pub(super) fn run(&mut self) {
        for round in 0.. {
            assert!(round < 5000, "a storm between the stack and the module");
            if let Some(at) = (0..FLOWS).find(|at| !self.stacks[*at].out.is_empty()) {
                let (segment, origin) = self.stacks[at].out.remove(0);
                trace!("    the stack says {}", Short(&segment));
                self.local_out(at, &segment, origin);
            } else if let Some((at, frame)) = self.backlog.pop_front() {
                self.local_in(at, frame);
            } else {
                break;
            }
        }
        self.flush();
    }

    pub(super) fn local_in(&mut self, at: usize, mut frame: Frame) {
        if self.node.is_none() {
            self.stacks[at].receive(&frame, true, self.now);
            return;
        }
        let segment = frame.segment();
        if segment.opens() && self.speaks {
            return self.receive_syn(at, frame, &segment);
        }
        let now = self.now;
        let peer = self.peer;
        if self.entries[at].is_none() && !self.speaks {
            let side = side::early(&self.flows[at], &segment, peer == Peer::Joined, now);
            self.entries[at] = side.map(Entry::new);
            if self.entries[at].is_none() {
                return;
            }
        }
        let Some(entry) = &mut self.entries[at] else {
            return self.hand_up(at, &frame);
        };
        let shadow = matches!(entry.side, Side::Shadow(_));
        let (inbound, actions) = entry.side.on_client(&segment, peer, now);
        if actions.retain && self.memory() {
            if let Some(entry) = &mut self.entries[at] {
                entry.retained.push((segment, frame.origin));
                entry.side.on_retained(&segment, 2 * segment.payload_len);
            }
        }
        match inbound {
            Inbound::Pass(change) => {
                rewrite(&mut frame, &change);
                if shadow {
                    self.check_inbound(at, &segment, &frame);
                }
                // The module first carries out the actions, and then lets the packet go on its way.
                self.carry_out(at, actions);
                self.hand_up(at, &frame);
            }
            Inbound::Queue => {
                self.enqueue(at, frame, &segment);
                self.carry_out(at, actions);
            }
            Inbound::Ignore => self.carry_out(at, actions),
            Inbound::Drop(counter) => {
                self.count(counter);
                self.carry_out(at, actions);
            }
        }
    }

    /// What the shadow's stack is shown of a client's segment is what the client said, in its own numbers, but no acknowledgement of more than
    /// it has sent: it would drop the whole segment.
    fn check_inbound(&self, at: usize, said: &Segment, frame: &Frame) {
        let (shown, stack) = (frame.segment(), &self.stacks[at]);
        let flags = said.flags;
        if frame.origin == Origin::Forged
            || stack.state != Stack::Open
            || !flags.contains(Flags::ACK)
            || flags.contains(Flags::RST)
        {
            return;
        }
        // A stack that has agreed to other options than the primary's reads the window in other units: its shadow is reset as soon as there is memory.
        if self
            .shadow(at)
            .is_some_and(|shadow| shadow.state_name() == "doomed")
        {
            return;
        }
        let Some(delta) = self.delta(at) else { return };
        let scale = stack.other_scale();
        let edge = |s: &Segment| s.ack + (u32::from(s.window) << scale);
        let more = (edge(&shown) + delta).since(edge(said));
        assert!(shown.ack <= stack.nxt, "beyond what was sent: {shown:?}");
        assert!(
            (0..1 << scale).contains(&more) || shown.window == u16::MAX && more <= 0,
            "the right edge moves by {more}: {said:?} {shown:?}"
        );
        let sack = |s: &Segment| -> Vec<_> { s.options.sack.iter().collect() };
        if shown.ack + delta == said.ack {
            let back = |(left, right)| (left - delta, right - delta);
            assert_eq!(
                sack(&shown),
                sack(said).into_iter().map(back).collect::<Vec<_>>()
            );
        } else {
            assert_eq!(sack(&shown), [], "blocks for another acknowledgement");
        }
    }

    /// What leads from the shadow's numbers to the primary's.
    fn delta(&self, at: usize) -> Option<Delta> {
        let primary = self.entries[at].as_ref()?.primary_isn?;
        Some(Delta::between(primary, self.stacks[at].iss()))
    }

    fn hand_up(&mut self, at: usize, frame: &Frame) {
        trace!("    the stack gets {}", Short(&frame.segment()));
        let queued = self.stacks[at].receive(frame, true, self.now);
        if queued && !self.speaks && self.node.is_some() {
            let (rcv_nxt, now) = (self.stacks[at].rcv, self.now);
            let Some(entry) = &mut self.entries[at] else {
                return;
            };
            let told = entry.side.on_delivered(rcv_nxt, now);
            if let Some(due) = entry.side.poll_at() {
                self.wake_at(due);
            }
            if let Some(record) = &told {
                self.tell(record);
            }
        }
    }

    fn receive_syn(&mut self, at: usize, mut frame: Frame, segment: &Segment) {
        let found = self.entries[at].as_ref().map(|entry| &entry.side);
        if side::is_fresh(found, segment, || self.socket(at)) {
            self.serial = self.serial.wrapping_add(1);
            let id = ConnectionId(((at as u64) << 32) | u64::from(self.serial));
            let made = Side::from_syn(id, self.flows[at], segment, Terms::default(), self.now);
            self.entries[at] = match made {
                Ok(side) => Some(Entry::new(side)),
                Err(why) => {
                    self.count(why);
                    None
                }
            };
        }
        rewrite(&mut frame, &plain_handshake(segment).0);
        self.hand_up(at, &frame);
    }

    fn enqueue(&mut self, at: usize, frame: Frame, segment: &Segment) {
        if let Some(entry) = &mut self.entries[at] {
            if entry.queue.len() < MAX_PENDING {
                entry.queue.push((frame, segment.end()));
            }
        }
    }
}
