// SPDX-License-Identifier: GPL-2.0

//! The last word of a host that goes down, or loses the module: its backup need not wait until it is missed.

use crate::engine::message::{Kind as Datagram, HEADER_LEN, TAG_LEN};
use crate::engine::node::Peer;
use crate::node::Node;
use crate::sys::clock;
use crate::sys::notifier::{Notify, Panic, Reboot};
use crate::sys::show::Show;
use crate::sys::udp::{Frame, Link};
use core::mem;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;

/// What a kernel that dies needs to have ready: it allocates nothing any more, and asks nobody for the way.
pub(crate) struct LastWord {
    frame: Option<Frame>,
    link: Option<Link>,
}

impl LastWord {
    /// Process context.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            frame: Some(Frame::new(HEADER_LEN + TAG_LEN)?),
            link: None,
        })
    }
}

impl Node {
    /// The peer's heartbeat came this way, and this way its answer gets there. Softirq.
    pub(crate) fn note_way(&self, link: Option<Link>) {
        self.last_word.lock().link = link;
    }

    /// This node ends for good: a primary that has a backup hands over to it, and a backup leaves. Process context.
    pub(crate) fn resign(&self) {
        // No heartbeat follows, by which the node would join again.
        self.stopping.store(true, Relaxed);
        let Some(goodbye) = self.engine.lock().resign(clock::random_u64()) else {
            if !self.speaks() {
                self.send(Datagram::Leave, &[]);
            }
            return;
        };
        // What this host says from here on would be in its successor's way.
        self.set_speaks(false);
        self.set_peer_state(Peer::Absent);
        self.send_goodbye(&goodbye);
        pr_warn!(
            "going down: backup {} takes over, silent for the service\n",
            Show(self.peer)
        );
        self.leave_behind();
    }
}

impl Notify<Reboot> for Node {
    /// The machine reboots, halts or is switched off. Process context.
    fn notified(&self) {
        self.resign();
    }
}

impl Notify<Panic> for Node {
    /// The kernel dies. Every other CPU has stopped, whatever it holds stays locked, and interrupts are off.
    fn notified(&self) {
        let mut locks = (
            self.engine.try_lock(),
            self.outbox.try_lock(),
            self.last_word.try_lock(),
        );
        if let (Some(engine), Some(outbox), Some(last)) = &mut locks {
            if let (Some(goodbye), Some(frame)) = (engine.last_word(), last.frame.take()) {
                self.send_last(outbox.socket.as_ref(), &goodbye, frame, last.link);
            }
        }
        // Unlocking would run softirqs.
        mem::forget(locks);
    }
}
