// SPDX-License-Identifier: GPL-2.0

//! Handing over by order, and the last word of a host that goes down: its backup need not wait until it is missed.

use crate::engine::counters::Counter;
use crate::engine::message::{HEADER_LEN, TAG_LEN};
use crate::engine::node::Peer;
use crate::engine::paths::MAX_PATHS;
use crate::engine::primary::Census;
use crate::engine::program::Failure;
use crate::engine::wire::Flow;
use crate::node::{now, Node};
use crate::sys::clock;
use crate::sys::notifier::{Notify, Panic, Reboot};
use crate::sys::show::Show;
use crate::sys::udp::{Frame, Link};
use crate::sys::work::{Run, Work};
use core::mem;
use kernel::prelude::*;

/// How long a switchover waits for the backup, in ms; and how long if the server here has failed.
const SETTLE_MS: u32 = 1000;
const SETTLE_FAILED_MS: u32 = 50;

/// A backup that has not answered a goodbye is told again after these times, in ms. A datagram may be lost, and the clients would wait until this host is missed.
const SAY_AGAIN_MS: [u32; 5] = [5, 10, 20, 40, 80];

/// The work of [`Node::hand_over`], the field.
pub(crate) const HAND_OVER: u64 = 2;

/// Why there is no switchover.
pub(crate) enum Stays {
    /// This is no primary with a backup.
    NoBackup,
    /// So many connections have no shadow, or one whose server says something else.
    Unprotected(u32),
    /// The backup lacks what clients were told had arrived.
    Behind,
}

/// What a kernel that dies needs to have ready: it allocates nothing any more, and asks nobody for the way.
pub(crate) struct LastWord {
    /// One for each path.
    frames: [Option<Frame>; MAX_PATHS],
    links: [Option<Link>; MAX_PATHS],
}

impl LastWord {
    /// Process context.
    pub(crate) fn new() -> Result<Self> {
        let frame = || Frame::new(HEADER_LEN + TAG_LEN);
        Ok(Self {
            frames: [Some(frame()?), Some(frame()?)],
            links: [None, None],
        })
    }
}

impl Node {
    /// The peer's heartbeat came this way, and this way its answer gets there. Softirq.
    pub(crate) fn note_way(&self, path: usize, link: Option<Link>) {
        if let Some(place) = self.last_word.lock().links.get_mut(path) {
            *place = link;
        }
    }

    /// Hands over to the backup, and becomes one, as soon as no client has been told of more than that has. Nothing may be acknowledged ahead of it
    /// meanwhile. `force` gives up the connections that have no shadow. Process context; sleeps a second at most.
    pub(crate) fn switch_over(&self, force: bool) -> Result<(), Stays> {
        self.settle(force, SETTLE_MS)?;
        let done = self.hand_over("switching over");
        if done {
            Ok(())
        } else {
            Err(Stays::NoBackup)
        }
    }

    /// Waits until no client has been told of more than the backup has, for so many ms at most. Process context.
    fn settle(&self, force: bool, patience: u32) -> Result<(), Stays> {
        if !self.speaks() || !self.joined() {
            return Err(Stays::NoBackup);
        }
        let strict = self.engine.lock().is_strict();
        for _ in 0..patience {
            let mut census = Census::default();
            self.table.retain(|entry| {
                census.count(entry.side.moves(strict));
                true
            });
            if census.is_ready(force).map_err(Stays::Unprotected)? {
                return Ok(());
            }
            clock::sleep_ms(1);
        }
        Err(Stays::Behind)
    }

    /// The server's program here has failed on a connection. Any context.
    pub(crate) fn on_failure(&self, flow: &Flow, failure: Failure) {
        if !self.hand_over.schedule() {
            return;
        }
        pr_warn!(
            "the server {} on {} to {}, and the backup's does not\n",
            Show(failure),
            Show(flow.service.to_socket_addr()),
            Show(flow.client.to_socket_addr())
        );
    }

    /// A primary that has a backup hands over to it; `false` if this is none. Process context; sleeps for 0.2 s at most, if the backup does not answer.
    pub(crate) fn hand_over(&self, why: &str) -> bool {
        let Some(goodbye) = self.ask(|engine| engine.resign(clock::random_u64(), now())) else {
            return false;
        };
        // What this host says from here on would be in its successor's way.
        self.set_speaks(false);
        self.set_peer_state(Peer::Absent);
        self.send_farewell(&goodbye);
        self.count(Counter::Switchovers);
        pr_warn!(
            "{why}: backup {} takes over, silent for the service\n",
            Show(self.end(0))
        );
        self.leave_behind();
        for ms in SAY_AGAIN_MS {
            clock::sleep_ms(ms);
            if !self.engine.lock().is_unanswered(&goodbye) {
                break;
            }
            self.send_farewell(&goodbye);
        }
        true
    }
}

impl Run<HAND_OVER> for Node {
    fn work(&self) -> &Work {
        &self.hand_over
    }

    /// The server has failed here, or cannot be reached. Process context.
    fn run(&self) {
        // A client that was told of more than the backup has is reset, which is less than all of them lose here.
        let _ = self.settle(true, SETTLE_FAILED_MS);
        self.hand_over("handing over");
    }
}

impl Notify<Reboot> for Node {
    /// The machine reboots, halts or is switched off. Process context.
    fn notified(&self) {
        self.hand_over("going down");
        self.leave();
    }
}

/// How the last word went, for the log.
fn tell(said: Result) {
    let why = match said {
        Ok(()) => return pr_emerg!("dying: the backup is told\n"),
        Err(EBUSY) => "another CPU was stopped with the device's lock",
        Err(EAGAIN) => "the device takes no packet",
        Err(_) => "there is no way to it",
    };
    pr_emerg!("dying, and the backup is not told: {why}\n");
}

impl Notify<Panic> for Node {
    /// The kernel dies. Every other CPU has stopped, whatever it holds stays locked, and interrupts are off.
    fn notified(&self) {
        let mut locks = (
            self.engine.try_lock(),
            self.outbox.try_lock(),
            self.last_word.try_lock(),
            self.keys.try_lock(),
        );
        if let (Some(engine), Some(outbox), Some(last), Some(keys)) = &mut locks {
            if let Some(goodbye) = engine.last_word(now()) {
                let LastWord { frames, links } = &mut **last;
                let mut said = Err(ENODEV);
                for (path, (frame, link)) in frames.iter_mut().zip(links).enumerate() {
                    if let Some(frame) = frame.take() {
                        let key = keys.signing();
                        let sent =
                            self.send_last(&outbox.sockets, path, &goodbye, frame, *link, key);
                        // One path is enough.
                        said = sent.or(said);
                    }
                }
                tell(said);
            }
        } else {
            pr_emerg!("dying, and the backup is not told: another CPU was stopped with a lock of this module\n");
        }
        // Unlocking would run softirqs.
        mem::forget(locks);
    }
}
