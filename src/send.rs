// SPDX-License-Identifier: GPL-2.0

//! The way out: what happens to a server's segment, in packet order, and what a backup keeps to itself.

use crate::engine::counters::Counter;
use crate::engine::time::Instant;
use crate::engine::verdict::Outbound;
use crate::engine::wire::ip::PROTOCOL_ICMPV6;
use crate::engine::wire::{arp, ndisc, peek, Packet};
use crate::node::{now, Node};
use crate::receive::{rewrite, Seen, HEADERS};
use crate::sys::netfilter::{Handler, Verdict};
use crate::sys::skb::{SkBuff, Tag};
use crate::table::Entry;

impl Handler for Node {
    fn pre_routing(&self, skb: SkBuff) -> Verdict {
        self.receive_frame(skb)
    }

    fn local_in(&self, skb: SkBuff) -> Verdict {
        self.receive(skb)
    }

    /// Softirq or process. A packet that the local stack sends.
    fn local_out(&self, mut skb: SkBuff) -> Verdict {
        match &self.see(&mut skb, false) {
            Seen::Segment(packet) => self.send_segment(skb, packet),
            Seen::Other if self.may_speak() => Verdict::Accept(skb),
            Seen::Other if self.claims_service(&skb) => self.mute(skb, Counter::NeighbourMuted),
            Seen::Other => Verdict::Accept(skb),
            Seen::Bad(malformed) if self.may_speak() => {
                self.count_malformed(*malformed);
                Verdict::Accept(skb)
            }
            Seen::Address if self.may_speak() => Verdict::Accept(skb),
            Seen::Address if self.claims_service(&skb) => self.mute(skb, Counter::NeighbourMuted),
            Seen::Address | Seen::Bad(_) => self.mute(skb, Counter::OutputMuted),
        }
    }

    /// Softirq or process. Whoever is silent does not say in ARP that it has the service address (RFC 826), nor use it to ask.
    fn arp_out(&self, skb: SkBuff) -> Verdict {
        let names_service = !self.may_speak()
            && skb
                .header(HEADERS)
                .and_then(arp::sender)
                .is_some_and(|addr| self.services.has_address(&addr));
        if names_service {
            return self.mute(skb, Counter::ArpMuted);
        }
        Verdict::Accept(skb)
    }
}

impl Node {
    /// Frees a packet. To its sender it was sent: `NF_DROP` would tell it EPERM.
    fn mute(&self, skb: SkBuff, counter: Counter) -> Verdict {
        drop(skb);
        self.count(counter);
        Verdict::Stolen
    }

    /// Whether a packet says in neighbour discovery that this host has the service address, or asks in its name (RFC 4861): a backup does not.
    fn claims_service(&self, skb: &SkBuff) -> bool {
        skb.header(HEADERS).is_some_and(|header| {
            peek(header)
                .filter(|peek| peek.protocol == PROTOCOL_ICMPV6)
                .and_then(|peek| ndisc::claimed(peek.source_addr, header.get(peek.l4_offset..)?))
                .is_some_and(|addr| self.services.has_address(&addr))
        })
    }

    /// A segment of a protected service.
    fn send_segment(&self, skb: SkBuff, packet: &Packet) -> Verdict {
        self.count(Counter::SegmentsOut);
        let flow = packet.flow_to_client();
        let Some(mut bucket) = self.table.lock(&flow) else {
            return Verdict::Accept(skb);
        };
        let now = now();
        match bucket.find(&flow) {
            Some(entry) => {
                self.digest(&skb, entry, packet, now);
                if entry.side.speaks() && !self.may_speak_on(&entry.side) {
                    // It may have been succeeded, or has just stepped down, and has not come to this connection yet.
                    entry.side.on_muted(&packet.segment, now);
                    self.attend(entry);
                    return self.mute(skb, Counter::OutputIsolated);
                }
                let (verdict, keep) = self.send_known(skb, entry, packet, now);
                if !keep {
                    bucket.remove(&flow);
                }
                verdict
            }
            None if self.may_speak() => Verdict::Accept(skb),
            None => self.mute(skb, Counter::OutputMuted),
        }
    }

    /// Sums up what the server says, to be compared with what the other host's says. Softirq or process, bucket locked.
    fn digest(&self, skb: &SkBuff, entry: &mut Entry, packet: &Packet, now: Instant) {
        let headers = packet.ip_header_len.saturating_add(packet.tcp_header_len);
        let sum = |sum, offset: u32, len: u32| {
            skb.crc32c(headers.saturating_add(offset as usize), len as usize, sum)
        };
        if let Some(actions) = entry.side.digest(self.digests(), &packet.segment, sum, now) {
            // A difference ends no connection.
            let _ = self.carry_out(entry, actions);
        }
    }

    /// A segment of a known connection; also says whether to keep the connection.
    fn send_known(
        &self,
        mut skb: SkBuff,
        entry: &mut Entry,
        packet: &Packet,
        now: Instant,
    ) -> (Verdict, bool) {
        let (outbound, mut actions) = entry.side.on_output(&packet.segment, now);
        let mut sent = true;
        let verdict = match outbound {
            Outbound::Send(change) if rewrite(&mut skb, &change) => Verdict::Accept(skb),
            Outbound::Send(_) => {
                sent = false;
                self.unchanged(skb)
            }
            Outbound::SendAnyway(change) => {
                sent = rewrite(&mut skb, &change);
                Verdict::Accept(skb)
            }
            Outbound::Hold(start, end) => {
                if skb.prepare_hold().is_ok() {
                    let (start, end) = (start.raw(), end.raw());
                    entry.queue.push_back(skb, Tag { start, end });
                } else {
                    entry.side.not_held(start, &mut actions, now);
                }
                Verdict::Stolen
            }
            Outbound::Swallow => {
                drop(skb);
                Verdict::Stolen
            }
        };
        let keep = self.carry_out(entry, actions) && (sent || self.not_sent(entry));
        (verdict, keep)
    }

    /// A packet that could not be changed does not go out with wrong numbers. It is lost, and its socket sends it again.
    fn unchanged(&self, skb: SkBuff) -> Verdict {
        self.mute(skb, Counter::NoMemory)
    }
}
