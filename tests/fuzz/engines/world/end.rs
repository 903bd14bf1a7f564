// SPDX-License-Identifier: GPL-2.0

//! The end: what is protected is carried on, and what is over leaves nothing behind.

use super::*;

impl World {
    /// Everything works again, and what can be finished is finished.
    pub fn finish(&mut self, setting: &Setting) {
        self.repair();
        if self.split {
            return;
        }
        self.work();
        for at in 0..FLOWS {
            self.check_finished(at);
        }
        if setting.takeover_at_end {
            self.take_over_at_end();
        }
        self.close_all();
    }

    fn repair(&mut self) {
        for host in 0..2 {
            self.hosts[host].short = 0;
            self.hosts[host].linked = true;
            if std::mem::take(&mut self.frozen[host]) {
                // The two hosts agree on who speaks before it meets a client.
                self.to_host[host].queue.clear();
                self.to_host[host].mode = Mode::Lose;
                self.to_client[host].mode = Mode::Lose;
            }
            for path in &mut self.peer {
                path[host].mode = Mode::Pass;
            }
            for stack in &mut self.hosts[host].stacks {
                stack.reads = true;
            }
        }
        for client in &mut self.clients {
            client.reads = true;
        }
        self.pump();
        self.pass_time(300);
        self.let_serve_alone();
        for host in 0..2 {
            self.to_host[host].mode = Mode::Pass;
            self.to_client[host].mode = Mode::Pass;
        }
        self.pump();
        self.pass_time(300);
    }

    /// An operator looks after a primary that waits for a dead host.
    fn let_serve_alone(&mut self) {
        for host in 0..2 {
            let isolated = self.hosts[host].state() == Some(State::Isolated);
            if isolated && self.hosts[1 - host].node.is_none() {
                self.hosts[host].take_over_on_request(self.now);
            }
        }
    }

    /// Everyone sends, and sends again, what there is to send, until nothing has moved for longer than any time-out of the engine.
    fn work(&mut self) {
        let (mut before, mut idle) = (vec![], 0);
        while idle < 45 {
            let done =
                (0..FLOWS).all(|at| self.is_done(at) && (!self.closing || self.is_ended(at)));
            if done {
                break;
            }
            let clients = self.clients.iter();
            let stacks = self.hosts.iter().flat_map(|host| &host.stacks);
            let now: Vec<_> = clients
                .chain(stacks)
                .map(|tcp| (tcp.una, tcp.rcv))
                .collect();
            idle = if now == before { idle + 1 } else { 0 };
            before = now;
            for at in 0..FLOWS {
                let (now, closing) = (self.now, self.closing);
                let client = &mut self.clients[at];
                client.send_again(u32::MAX, now);
                if closing {
                    client.send(0, 0, true, now);
                }
                client.send_ack(now);
                self.pump();
                for host in 0..2 {
                    // What one copy of the server has done, the other does too.
                    let closed = self.closing || self.clients[at].has_taken_fin();
                    let stream = self.stream;
                    if self.alive[host] {
                        let stack = &mut self.hosts[host].stacks[at];
                        stack.send_again(u32::MAX, now);
                        stack.send(u32::MAX, stream, closed, now);
                        stack.send_ack(now);
                    }
                    self.pump();
                }
            }
            self.pass_time(100);
        }
    }

    /// The owner of a connection that has no excuse.
    fn carrier(&self, at: usize) -> Option<usize> {
        let truth = &self.truth[at];
        let owner = truth.owner?;
        let open = self.clients[at].state == Stack::Open;
        (open
            && !self.split
            && !truth.lost
            && self.alive[owner]
            && self.hosts[owner].node.is_some())
        .then_some(owner)
    }

    fn is_done(&self, at: usize) -> bool {
        let Some(owner) = self.carrier(at) else {
            return true;
        };
        let (client, stack) = (&self.clients[at], &self.hosts[owner].stacks[at]);
        let ((sent, acked), (answered, heard)) = (client.sent(), stack.sent());
        sent == acked
            && stack.taken() == sent
            && answered >= self.stream
            && answered == heard
            && client.taken() == answered
    }

    fn is_ended(&self, at: usize) -> bool {
        self.clients[at].is_over() && self.hosts.iter().all(|host| host.entries[at].is_none())
    }

    fn check_finished(&self, at: usize) {
        let Some(owner) = self.carrier(at) else {
            return;
        };
        let (client, host) = (&self.clients[at], &self.hosts[owner]);
        let stack = &host.stacks[at];
        assert_eq!(
            stack.name(),
            client.name(),
            "the host has another connection"
        );
        let (sent, acked) = client.sent();
        assert_eq!(acked, sent, "client bytes that nobody acknowledges");
        assert_eq!(stack.taken(), sent, "client bytes that did not arrive");
        let (answered, heard) = stack.sent();
        assert!(answered >= self.stream, "the server cannot send");
        assert_eq!(heard, answered, "server bytes that nobody acknowledges");
        assert_eq!(client.taken(), answered, "server bytes that did not arrive");
        if self.clean {
            let state = host.connection(at).map(primary::Connection::state);
            assert_eq!(
                state,
                Some(primary::State::Protected),
                "unprotected without a cause"
            );
        }
    }

    /// The primary dies in good order.
    fn take_over_at_end(&mut self) {
        // A backup that has just handed over may not have heard yet that it is one.
        let in_step = |host: &usize| {
            let states = [*host, 1 - *host].map(|host| self.hosts[host].state());
            states == [Some(State::Protected), Some(State::Shadowing)]
        };
        let Some(primary) = (0..2).find(in_step) else {
            return;
        };
        let backup = 1 - primary;
        let protected: Vec<usize> = (0..FLOWS)
            .filter(|at| self.carrier(*at) == Some(primary))
            .filter(|at| {
                let connection = self.hosts[primary].connection(*at);
                connection.is_some_and(|c| c.state() == primary::State::Protected)
            })
            .collect();
        for at in &protected {
            let now = self.now;
            self.clients[*at].send(2000, u32::MAX, false, now);
        }
        self.pump();
        let ended = |host: &Host| host.stacks.iter().any(|stack| stack.fin_out.is_some());
        if !self.hosts.iter().any(ended) {
            self.stream += 3000;
        }
        self.kill(primary);
        self.pass_time(1000);
        assert!(self.hosts[backup].speaks, "no takeover");
        for at in &protected {
            let truth = &self.truth[*at];
            assert!(truth.owner == Some(backup) && !truth.lost, "not continued");
        }
        self.work();
        for at in protected {
            self.check_finished(at);
        }
    }

    /// Every connection ends, and leaves nothing behind.
    fn close_all(&mut self) {
        self.closing = true;
        self.work();
        // Longer than the engine's last time-out, that of a shadow whose end nobody told it of.
        self.pass_time(40_000);
        if self.split {
            return;
        }
        for at in 0..FLOWS {
            let truth = &self.truth[at];
            let Some(owner) = truth.owner.filter(|_| !truth.lost) else {
                continue;
            };
            let unheard = truth.reset && !self.clean;
            if unheard || !self.alive[owner] || self.hosts[owner].node.is_none() {
                continue;
            }
            assert!(self.clients[at].is_over(), "the client waits for an end");
            for host in [owner, 1 - owner] {
                let entry = &self.hosts[host].entries[at];
                // A migrated connection lives until its TIME-WAIT is over.
                let waits = self.hosts[host].stacks[at].state == Stack::TimeWait
                    && self.hosts[host]
                        .shadow(at)
                        .is_some_and(sttcp::shadow::Shadow::is_speaking);
                assert!(entry.is_none() || waits, "left behind: {entry:?}");
            }
        }
    }
}
