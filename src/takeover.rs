// SPDX-License-Identifier: GPL-2.0

//! The takeover: the shadows speak, then the address is announced.

use crate::engine::counters::Counter;
use crate::engine::message::Kind as Datagram;
use crate::engine::wire::{Flow, Packet};
use crate::node::{now, Node};
use crate::receive::{rewrite, HEADERS};
use crate::sys::announce::announce;
use crate::sys::{clock, skb::SkBuff};
use crate::table::{Bucket, Entry, Kind};
use kernel::prelude::*;

impl Node {
    /// An operator asks for it. Process context; `false` if this node is no backup.
    pub(crate) fn take_over_on_request(&self) -> bool {
        {
            let mut engine = self.engine.lock();
            if engine.role() != crate::engine::node::Role::Backup {
                return false;
            }
            engine.take_over(clock::random_u64());
        }
        self.count(Counter::TakeoversRequested);
        pr_warn!("taking over on request\n");
        self.take_over();
        true
    }

    /// The engine is primary now; so are the connections. Any context, nothing locked.
    pub(crate) fn take_over(&self) {
        let begun = now();
        let (mut continued, mut flushed) = (0u32, 0u32);
        self.set_speaks(true);
        self.set_joined(false);
        // Should the other still live, it hears of the new epoch now and not with the next heartbeat.
        self.send(Datagram::Heartbeat, &[]);
        self.table.retain(|entry| {
            let Kind::Shadow(shadow) = &mut entry.kind else {
                return false;
            };
            let ready = shadow.is_ready();
            let actions = shadow.take_over(begun);
            if shadow.is_speaking() {
                continued += 1;
                if actions.send.is_some() {
                    self.count(Counter::TakeoverAcks);
                }
                if ready {
                    flushed += self.flush_held(entry);
                }
            }
            self.carry_out_shadow(entry, actions)
        });
        let mut announced = 0;
        for addr in self.services.addresses() {
            announced += announce(self.net, addr.to_canonical());
        }
        self.engine.lock().took_over();
        pr_warn!(
            "took over in {} us: {continued} connections, {flushed} held segments sent, {announced} announcements\n",
            now().since(begun).as_micros()
        );
    }

    /// A shadow that was opened while another CPU took over goes on too. Softirq.
    pub(crate) fn take_over_late(&self, bucket: &mut Bucket, flow: &Flow) {
        let Some(entry) = bucket.find(flow) else {
            return;
        };
        let Kind::Shadow(shadow) = &mut entry.kind else {
            return;
        };
        if !shadow.is_speaking() {
            let actions = shadow.take_over(now());
            if !self.carry_out_shadow(entry, actions) {
                bucket.remove(flow);
            }
        }
    }

    /// Sends what was held, translated.
    fn flush_held(&self, entry: &mut Entry) -> u32 {
        let mut flushed = 0;
        while let Some((skb, _)) = entry.queue.pop_front() {
            let Kind::Shadow(shadow) = &mut entry.kind else {
                break;
            };
            if self.send_held(skb, shadow) {
                self.count(Counter::HeldFlushed);
                flushed += 1;
            } else {
                self.count(Counter::EmitFailed);
            }
        }
        flushed
    }

    fn send_held(&self, mut skb: SkBuff, shadow: &mut crate::engine::shadow::Shadow) -> bool {
        let len = skb.len();
        let Some(packet) = skb
            .header(HEADERS)
            .and_then(|header| Packet::parse(header, len).ok())
        else {
            return false;
        };
        let change = shadow.outward_held(&packet.segment, now());
        rewrite(&mut skb, &change) && skb.transmit(self.net).is_ok()
    }
}
