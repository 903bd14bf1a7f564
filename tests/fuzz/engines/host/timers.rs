// SPDX-License-Identifier: GPL-2.0

//! The timers (`src/node.rs`).

use super::*;

impl Host {
    pub(super) fn wake_at(&mut self, at: Instant) {
        self.housekeeping = self.housekeeping.min(at.max(self.now.after(TICK)));
    }

    /// When a timer fires next.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.node.as_ref()?;
        earliest(Some(self.heartbeat), Some(self.housekeeping))
    }

    /// The timers that are due.
    pub fn fire(&mut self, now: Instant) {
        self.now = now;
        for stack in &mut self.stacks {
            stack.tick(now);
        }
        if now >= self.heartbeat {
            self.fire_heartbeat();
        }
        if now >= self.housekeeping && self.node.is_some() {
            self.fire_housekeeping();
        }
        self.run();
    }

    fn fire_heartbeat(&mut self) {
        let fresh = self.random();
        let now = self.now;
        let Some(node) = &mut self.node else { return };
        node.set_linked(self.linked, now);
        node.heard_clients(self.clients_at);
        let poll = node.poll(now, fresh);
        self.heartbeat = poll.next.max(now.after(Duration::from_micros(1)));
        if poll.heartbeat {
            self.beat();
        }
        if let Some(event) = poll.event {
            self.on_event(event);
        }
    }

    fn fire_housekeeping(&mut self) {
        let now = self.now;
        let sweep = now >= self.next_sweep;
        if sweep {
            self.next_sweep = now.after(SWEEP);
        }
        let mut next = Some(self.next_sweep);
        // What is armed meanwhile counts too.
        self.housekeeping = self.next_sweep.max(now.after(TICK));
        for at in 0..FLOWS {
            self.poll_entry(at);
            if sweep {
                self.sweep_entry(at);
            }
            let entry = self.entries[at].as_ref();
            next = earliest(next, entry.and_then(|entry| entry.side.poll_at()));
        }
        let next = next.map_or(now.after(SWEEP), |at| at.max(now.after(TICK)));
        self.housekeeping = self.housekeeping.min(next);
    }

    fn poll_entry(&mut self, at: usize) {
        let now = self.now;
        let heard = self.node.as_ref().and_then(Node::last_heard);
        let due = self.entries[at]
            .as_mut()
            .and_then(|entry| entry.side.poll(now, STALL_TIMEOUT, heard));
        if let Some(actions) = due {
            self.carry_out(at, actions);
        }
    }

    fn sweep_entry(&mut self, at: usize) {
        let (now, may_speak) = (self.now, self.may_speak(self.now));
        if let Some(entry) = &mut self.entries[at] {
            if !may_speak {
                entry.side.on_silence(now);
            }
            let actions = entry.side.sweep(now);
            self.carry_out(at, actions);
        }
    }
}
