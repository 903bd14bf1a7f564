// SPDX-License-Identifier: GPL-2.0

//! The takeover: the shadows speak, then the address is announced.

use crate::engine::counters::Counter;
use crate::engine::node::{Peer, Role};
use crate::engine::side::Side;
use crate::engine::wire::{Flow, Packet};
use crate::node::{now, Node};
use crate::receive::{rewrite, HEADERS};
use crate::sys::announce::announce;
use crate::sys::{clock, skb::SkBuff};
use crate::table::{Bucket, Entry};
use core::time::Duration;
use kernel::prelude::*;

/// What a takeover has done.
#[must_use]
pub(crate) struct Done {
    took: Duration,
    continued: u64,
    reset: u64,
    flushed: u64,
    announced: usize,
}

impl Done {
    /// Tells the log.
    pub(crate) fn tell(&self) {
        let Self {
            took,
            continued,
            reset,
            flushed,
            announced,
        } = self;
        pr_warn!(
            "took over in {} us: {continued} connections, {reset} reset, {flushed} held segments sent, {announced} announcements\n",
            took.as_micros()
        );
    }
}

impl Node {
    /// An operator asks for it, and says with that that no other host speaks. Process context; `false` if this node is neither a backup nor isolated.
    pub(crate) fn take_over_on_request(&self) -> bool {
        if self.ask(|engine| engine.go_alone()) {
            self.count(Counter::TakeoversRequested);
            pr_warn!("going on alone on request\n");
            return true;
        }
        let is_backup = self.ask(|engine| {
            let is_backup = engine.role() == Role::Backup;
            if is_backup {
                engine.take_over(clock::random_u64());
            }
            is_backup
        });
        if !is_backup {
            return false;
        }
        self.count(Counter::TakeoversRequested);
        let done = self.take_over(Duration::ZERO);
        pr_warn!("taking over on request\n");
        done.tell();
        true
    }

    /// The engine is primary now; so are the connections. Any context, nothing locked. Says nothing: a line on a serial console takes milliseconds.
    pub(crate) fn take_over(&self, silence: Duration) -> Done {
        let before = self.engine.lock().predecessor(silence);
        let begun = now();
        let flushed = || self.counters.get(Counter::HeldFlushed);
        let reset = || {
            [Counter::TakeoverReset, Counter::TakeoverDiverged]
                .into_iter()
                .fold(0, |sum: u64, counter| {
                    sum.saturating_add(self.counters.get(counter))
                })
        };
        let continued = || self.counters.get(Counter::TakeoverContinued);
        let (continued_before, flushed_before, reset_before) = (continued(), flushed(), reset());
        self.set_speaks(true);
        self.set_peer_state(Peer::Absent);
        // Should the other still live, it hears of the new epoch now and not with the next heartbeat.
        self.beat();
        let mut at_rest = 0_u64;
        self.table.visit(|bucket| {
            let rests = |entry: &mut Entry| {
                let rests = entry.queue.is_empty() && entry.side.take_over_at_rest(begun, before);
                at_rest += u64::from(rests);
                rests
            };
            if !bucket.all(rests) {
                bucket.retain(|entry| {
                    let flow = *entry.side.flow();
                    let actions = entry
                        .side
                        .take_over(|| self.table.name(&flow), begun, before);
                    self.carry_out(entry, actions)
                });
            }
        });
        self.counters.add_many(Counter::TakeoverContinued, at_rest);
        let mut announced = 0;
        for addr in self.services.addresses() {
            announced += announce(self.net, addr.to_canonical());
        }
        self.engine.lock().took_over();
        Done {
            took: now().since(begun),
            continued: continued().saturating_sub(continued_before),
            reset: reset().saturating_sub(reset_before),
            flushed: flushed().saturating_sub(flushed_before),
            announced,
        }
    }

    /// A shadow that was opened while another CPU took over goes on too. Softirq.
    pub(crate) fn take_over_late(&self, bucket: &mut Bucket, flow: &Flow) {
        let Some(entry) = bucket.find(flow) else {
            return;
        };
        if !entry.side.is_migrated() {
            let before = self.engine.lock().predecessor(Duration::ZERO);
            let actions = entry
                .side
                .take_over(|| self.table.name(flow), now(), before);
            if !self.carry_out(entry, actions) {
                bucket.remove(flow);
            }
        }
    }

    /// Sends what was held, translated. Any context, bucket locked.
    pub(crate) fn flush_held(&self, entry: &mut Entry) {
        while let Some((skb, _)) = entry.queue.pop_front() {
            if !self.may_speak_on(&entry.side) {
                self.count(Counter::OutputIsolated);
                continue;
            }
            self.count(if self.send_held(skb, &mut entry.side) {
                Counter::HeldFlushed
            } else {
                Counter::EmitFailed
            });
        }
    }

    fn send_held(&self, mut skb: SkBuff, side: &mut Side) -> bool {
        let len = skb.len();
        let change = skb
            .header(HEADERS)
            .and_then(|header| Packet::parse(header, len).ok())
            .and_then(|packet| side.outward_held(&packet.segment, now()));
        change.is_some_and(|change| rewrite(&mut skb, &change)) && skb.transmit(self.net).is_ok()
    }
}
