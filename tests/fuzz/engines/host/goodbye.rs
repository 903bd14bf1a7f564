// SPDX-License-Identifier: GPL-2.0

//! Handing over, and the last word (`src/goodbye.rs`).

use super::*;

impl Host {
    /// `switchover=1`, or 2 with `force`: if the backup has what clients were told, which the module waits for.
    pub fn switch_over(&mut self, force: bool, now: Instant) {
        self.now = now;
        let mut census = Census::default();
        for entry in self.entries.iter().flatten() {
            census.count(entry.side.moves(false));
        }
        if census.is_ready(force) == Ok(true) {
            self.hand_over();
            self.run();
        }
    }

    pub(super) fn hand_over(&mut self) {
        let (fresh, now) = (self.random(), self.now);
        let node = self.node.as_mut();
        if let Some(goodbye) = node.and_then(|node| node.resign(fresh, now)) {
            trace!("    hands over");
            self.speaks = false;
            self.peer = Peer::Absent;
            self.resigned = true;
            self.send_farewell(&goodbye);
            self.leave_behind();
        }
    }

    /// The machine is switched off, and the module is told.
    pub fn shut_down(&mut self, now: Instant) {
        self.now = now;
        self.hand_over();
        self.leave(now);
    }

    /// The kernel panics: one datagram by each path, and no more.
    pub fn panic(&mut self, now: Instant) {
        let node = self.node.as_mut();
        if let Some(goodbye) = node.and_then(|node| node.last_word(now)) {
            self.send_farewell(&goodbye);
        }
    }
}
