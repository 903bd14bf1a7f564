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
        let poll = node.poll(now, fresh);
        self.heartbeat = poll.next.max(now.after(Duration::from_micros(1)));
        if poll.heartbeat {
            self.datagram(Datagram::Heartbeat);
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
            let when = match self.entries[at].as_ref().map(|entry| &entry.kind) {
                Some(Kind::Primary(connection)) => connection.poll_at(),
                Some(Kind::Shadow(shadow)) => shadow.poll_at(),
                Some(Kind::Pending(since)) => Some(since.after(PENDING)),
                None => None,
            };
            next = earliest(next, when);
        }
        let next = next.map_or(now.after(SWEEP), |at| at.max(now.after(TICK)));
        self.housekeeping = self.housekeeping.min(next);
    }

    fn poll_entry(&mut self, at: usize) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Primary(connection)) if due(connection.poll_at()) => {
                let actions = connection.poll(now);
                self.carry_out_primary(at, actions);
            }
            Some(Kind::Shadow(shadow)) if due(shadow.poll_at()) => {
                let actions = shadow.poll(now);
                self.carry_out_shadow(at, actions);
            }
            Some(Kind::Pending(since)) if now.since(*since) >= PENDING => self.entries[at] = None,
            _ => {}
        }
    }

    fn sweep_entry(&mut self, at: usize) {
        let now = self.now;
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Primary(connection)) => {
                let actions = connection.sweep(now);
                self.carry_out_primary(at, actions);
            }
            Some(Kind::Shadow(shadow)) => {
                let actions = shadow.sweep(now);
                self.carry_out_shadow(at, actions);
            }
            _ => {}
        }
    }
}
