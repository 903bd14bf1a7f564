// SPDX-License-Identifier: GPL-2.0

//! What must hold, whatever happens.

use super::*;

impl World {
    pub(super) fn note_taken(&mut self, host: usize) {
        for at in 0..FLOWS {
            let stack = &self.hosts[host].stacks[at];
            let taken = &mut self.truth[at].taken[host];
            let same = taken.is_some_and(|(name, _)| name == stack.name());
            // A socket may take the last byte and be gone.
            if same || matches!(stack.state, Stack::Open | Stack::SynReceived) {
                *taken = Some((stack.name(), stack.rcv));
            }
        }
    }

    /// A client that lost the last acknowledgement asks again; one that lets the time for it go by is reset.
    pub(super) fn note_heard(&mut self, host: usize, at: usize) {
        let (truth, it) = (&mut self.truth[at], &self.hosts[host]);
        if truth.owner != Some(host) {
            return;
        }
        let late = truth.heard.is_some_and(|at| self.now.since(at) >= LINGER);
        let gone = it.stacks[at].state == Stack::Closed && it.entries[at].is_none();
        truth.lost |= late && gone;
        truth.heard = Some(self.now);
    }

    /// A host's segment on its way to the client.
    pub(super) fn emitted(&mut self, host: usize, at: usize, frame: &Frame) {
        let segment = frame.segment();
        let flags = segment.flags;
        let client = &self.clients[at];
        let stack = &self.hosts[host].stacks[at];
        let truth = &mut self.truth[at];
        assert!(
            self.hosts[host].may_speak(self.now),
            "a silent host sent {segment:?}"
        );
        let known = client.state == Stack::Open && stack.name() == client.name();
        if self.split || truth.ended || !known {
            return;
        }
        if let Origin::Stream(_, place) = frame.origin {
            assert_eq!(segment.seq, client.first() + place, "bytes out of place");
        }
        if flags.intersects(Flags::RST | Flags::SYN) || !flags.contains(Flags::ACK) {
            return;
        }
        let Some(connection) = self.hosts[host].connection(at) else {
            return;
        };
        if matches!(
            connection.state(),
            primary::State::Opening | primary::State::Protected
        ) {
            let safe = match truth.taken[1 - host] {
                Some((name, rcv)) if name == client.name() => rcv,
                _ => client.name() + 1,
            };
            assert!(
                segment.ack <= safe,
                "acknowledges {} bytes that the backup lacks: {segment:?}",
                segment.ack.since(safe)
            );
        }
        // The right edge stays where it was, but for what the scale rounds off.
        let edge = segment.ack + (u32::from(segment.window) << client.other_scale());
        if let Some((before, name, told)) = truth.edge {
            if before == host && name == client.name() {
                let back = told.since(edge);
                assert!(
                    back < 1 << client.other_scale(),
                    "the window shrinks by {back}: {segment:?}"
                );
                if back >= 0 {
                    return;
                }
            }
        }
        truth.edge = Some((host, client.name(), edge));
    }

    pub(super) fn note_takeover(&mut self, host: usize) {
        if std::mem::take(&mut self.hosts[host].resigned) {
            self.clean = false;
            self.orphan(host);
        }
        // Nobody carries on what a host took that was primary no longer, and did not know that yet.
        if std::mem::take(&mut self.hosts[host].stepped_down) {
            for truth in &mut self.truth {
                truth.lost |= truth.owner == Some(host);
            }
        }
        if !std::mem::take(&mut self.hosts[host].took_over) {
            return;
        }
        for at in 0..FLOWS {
            let truth = &mut self.truth[at];
            if self.hosts[host].continued[at]
                && !truth.plain
                && self.hosts[host].stacks[at].name() == self.clients[at].name()
            {
                truth.owner = Some(host);
            } else {
                truth.lost = true;
            }
        }
    }

    /// After each step.
    pub(super) fn look(&mut self) {
        for at in 0..FLOWS {
            for host in 0..2 {
                if let Some(connection) = self.hosts[host].connection(at) {
                    let plain = matches!(connection.state(), primary::State::Unprotected(_));
                    self.truth[at].plain |= plain && self.clients[at].state == Stack::Open;
                    let _ = (connection.lag_in(), connection.lag_out());
                }
                self.check_held(host, at);
                if let Some(shadow) = self.hosts[host].shadow(at) {
                    let _ = (shadow.lag_in(), shadow.lag_out(), shadow.state_name());
                }
            }
        }
        // A host that is frozen, or cut off from the clients, speaks to nobody.
        let heard = |host: usize| {
            self.hosts[host].may_speak(self.now)
                && !self.frozen[host]
                && !matches!(
                    (self.to_host[host].mode, self.to_client[host].mode),
                    (Mode::Lose, Mode::Lose)
                )
        };
        let both = heard(0) && heard(1);
        assert!(
            !both || !self.yields || self.meddled || self.split,
            "two speakers"
        );
        self.split |= both;
        let protected = |host: usize| self.hosts[host].state() == Some(State::Protected);
        assert!(!(protected(0) && protected(1)), "two primaries in step");
    }

    /// What a silent shadow has sent is held, but for what the client has acknowledged.
    fn check_held(&self, host: usize, at: usize) {
        let (client, stack) = (&self.clients[at], &self.hosts[host].stacks[at]);
        let shadows = self.hosts[host]
            .shadow(at)
            .is_some_and(|s| s.state_name() == "shadow");
        let known = client.state == Stack::Open && stack.name() == client.name();
        let Some(entry) = &self.hosts[host].entries[at] else {
            return;
        };
        let starved = self.hosts[host].starved;
        if self.split || starved || !shadows || !known || stack.state != Stack::Open {
            return;
        }
        let mut covered = entry.released.unwrap_or(client.first());
        assert!(covered <= client.rcv, "let go what the client lacks");
        for (frame, end) in &entry.queue {
            assert!(
                *end - frame.segment().len() <= covered,
                "a hole in what is held"
            );
            covered = covered.max(*end);
        }
        let sent = client.first() + stack.sent().0;
        assert!(
            covered >= sent,
            "{} bytes are not held",
            sent.since(covered)
        );
    }
}
