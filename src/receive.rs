// SPDX-License-Identifier: GPL-2.0

//! The way in: what happens to a client's segment, in packet order.

use crate::engine::counters::Counter;
use crate::engine::primary::plain_handshake;
use crate::engine::rewrite::{Checksum, Rewrite};
use crate::engine::seq::SeqNumber;
use crate::engine::side::{self, Side};
use crate::engine::verdict::Inbound;
use crate::engine::wire::ip::PROTOCOL_TCP;
use crate::engine::wire::{
    addresses, headers_len, Endpoint, Flow, Malformed, Packet, Peek, Segment,
};
use crate::node::{now, Node};
use crate::sys::netfilter::Verdict;
use crate::sys::skb::{SkBuff, Tag};
use crate::sys::tracepoint::DataReady;
use crate::table::{Bucket, Entry};
use core::net::SocketAddr;

/// As much of a packet as its headers can be long: IPv6, some extension headers, TCP with all its options.
pub(crate) const HEADERS: usize = 192;

/// How many client segments wait for one shadow.
const MAX_PENDING: u32 = 128;

/// What a hook sees of a packet.
pub(crate) enum Seen {
    /// Nothing to do with the service.
    Other,
    /// To or from a service address, but no segment of a protected service.
    Address,
    /// It could not be read.
    Bad(Malformed),
    /// A segment of a protected service.
    Segment(Packet),
}

/// Changes a packet's headers; `false` if that failed.
pub(crate) fn rewrite(skb: &mut SkBuff, rewrite: &Rewrite) -> bool {
    if rewrite.is_noop() {
        return true;
    }
    let checksum = if skb.is_checksum_partial() {
        Checksum::Pseudo
    } else {
        Checksum::Full
    };
    // The headers and no more: payload is shared with the socket, and would be copied.
    skb.header(HEADERS)
        .and_then(headers_len)
        .and_then(|len| skb.header_mut(len))
        .is_some_and(|header| rewrite.apply(header, checksum).is_ok())
}

impl Node {
    /// Reads a packet that goes to (`inbound`) or comes from the service.
    pub(crate) fn see(&self, skb: &mut SkBuff, inbound: bool) -> Seen {
        let mut seen = self.read(skb, inbound);
        // In what comes in, the headers may lie in pieces.
        if matches!(seen, Seen::Bad(Malformed::Truncated)) && skb.pull(HEADERS) {
            seen = self.read(skb, inbound);
        }
        seen
    }

    fn read(&self, skb: &SkBuff, inbound: bool) -> Seen {
        let header = skb.header(HEADERS).unwrap_or(&[]);
        let Some((source, destination)) = addresses(header) else {
            return Seen::Other;
        };
        let ours = if inbound { destination } else { source };
        if !self.services.has_address(&ours) {
            return Seen::Other;
        }
        let peek = match Peek::parse(header) {
            Ok(peek) => peek,
            Err(Malformed::Truncated) => return Seen::Bad(Malformed::Truncated),
            Err(_) => return Seen::Other,
        };
        if peek.protocol != PROTOCOL_TCP {
            return Seen::Address;
        }
        match Packet::parse_after(&peek, header, skb.len()) {
            Ok(packet) => {
                let service = if inbound {
                    &packet.destination
                } else {
                    &packet.source
                };
                if self.services.covers(service) {
                    Seen::Segment(packet)
                } else {
                    Seen::Address
                }
            }
            Err(malformed) => Seen::Bad(malformed),
        }
    }

    pub(crate) fn count_malformed(&self, malformed: Malformed) {
        self.count(match malformed {
            Malformed::Fragment => Counter::Fragments,
            _ => Counter::MalformedSegments,
        });
    }

    /// Softirq. Frames to the service's multicast address are for us, and a backup's half of a conversation is not for conntrack.
    pub(crate) fn receive_frame(&self, mut skb: SkBuff) -> Verdict {
        let Some((source, destination)) = skb.header(HEADERS).and_then(addresses) else {
            return Verdict::Accept(skb);
        };
        if self.is_probed(source, skb.ifindex()) {
            self.count(Counter::ProbesHeard);
            self.note_clients();
        }
        if self.services.has_address(&destination) {
            skb.set_pkt_host();
            self.set_tap(skb.ifindex());
            self.note_clients();
            if !self.speaks() {
                skb.untrack();
            }
        }
        Verdict::Accept(skb)
    }

    /// Softirq. A packet on its way into the local stack.
    pub(crate) fn receive(&self, mut skb: SkBuff) -> Verdict {
        let seen = self.see(&mut skb, true);
        let packet = match &seen {
            Seen::Segment(packet) => packet,
            Seen::Bad(malformed) => {
                self.count_malformed(*malformed);
                return if self.speaks() {
                    Verdict::Accept(skb)
                } else {
                    Verdict::Drop(skb)
                };
            }
            Seen::Other | Seen::Address => return Verdict::Accept(skb),
        };
        self.count(Counter::SegmentsIn);
        if !skb.verify_checksum(packet.ip_header_len, PROTOCOL_TCP) {
            self.count(Counter::BadChecksum);
            return Verdict::Drop(skb);
        }
        let flow = packet.flow_from_client();
        let segment = &packet.segment;
        let Some(mut bucket) = self.table.lock(&flow) else {
            return Verdict::Accept(skb);
        };
        if segment.opens() && self.speaks() {
            return self.receive_syn(skb, &mut bucket, &flow, segment);
        }
        match bucket.find(&flow) {
            Some(entry) => {
                if skb.ifindex() != 0 {
                    entry.ifindex = skb.ifindex();
                }
                let (verdict, keep) = self.receive_segment(skb, entry, segment);
                if !keep {
                    bucket.remove(&flow);
                }
                verdict
            }
            None if self.speaks() => Verdict::Accept(skb),
            None => self.receive_early(skb, &mut bucket, &flow, segment),
        }
    }

    /// A client opens a connection with the primary.
    fn receive_syn(
        &self,
        mut skb: SkBuff,
        bucket: &mut Bucket,
        flow: &Flow,
        segment: &Segment,
    ) -> Verdict {
        let found = bucket.find(flow);
        let ifindex = found.as_ref().map_or(0, |entry| entry.ifindex);
        let found = found.map(|entry| &entry.side);
        if side::is_fresh(found, segment, || self.socket(flow, ifindex)) {
            bucket.remove(flow);
            let name = self.table.name(flow);
            match Side::from_syn(name, *flow, segment, self.terms(), now()) {
                Ok(side) => match bucket.insert(side, skb.ifindex()) {
                    Some((_, evicted)) if evicted => self.count(Counter::HalfOpenEvicted),
                    Some(_) => {}
                    None => self.count(Counter::UnprotectedNoMemory),
                },
                Err(why) => self.count(why),
            }
        }
        let (change, counters) = plain_handshake(segment);
        for counter in counters.into_iter().flatten() {
            self.count(counter);
        }
        if !rewrite(&mut skb, &change) {
            // It may negotiate what a shadow could not share.
            if let Some(entry) = bucket.find(flow) {
                self.not_sent(entry);
            }
        }
        Verdict::Accept(skb)
    }

    /// A segment of a known connection; also says whether to keep the connection.
    fn receive_segment(
        &self,
        mut skb: SkBuff,
        entry: &mut Entry,
        segment: &Segment,
    ) -> (Verdict, bool) {
        let (inbound, actions) = entry.side.on_client(segment, self.peer_state(), now());
        if actions.retain {
            self.retain(entry, &skb, segment);
        }
        let verdict = match inbound {
            Inbound::Pass(change) if rewrite(&mut skb, &change) => Verdict::Accept(skb),
            Inbound::Pass(_) => self.drop_for_memory(skb),
            Inbound::Queue => self.enqueue(skb, entry, segment),
            Inbound::Ignore => Verdict::Drop(skb),
            Inbound::Drop(counter) => {
                self.count(counter);
                Verdict::Drop(skb)
            }
        };
        (verdict, self.carry_out(entry, actions))
    }

    /// A client's segment reached the backup before the primary's word of the connection.
    fn receive_early(
        &self,
        skb: SkBuff,
        bucket: &mut Bucket,
        flow: &Flow,
        segment: &Segment,
    ) -> Verdict {
        let Some(side) = side::early(flow, segment, self.joined(), now()) else {
            return Verdict::Drop(skb);
        };
        match bucket.insert(side, skb.ifindex()) {
            Some((entry, evicted)) => {
                if evicted {
                    self.count(Counter::PendingOverflow);
                }
                self.receive_segment(skb, entry, segment).0
            }
            None => self.drop_for_memory(skb),
        }
    }

    /// The client sends it again, as the primary acknowledges nothing that the shadow lacks.
    fn drop_for_memory(&self, skb: SkBuff) -> Verdict {
        self.count(Counter::NoMemory);
        Verdict::Drop(skb)
    }

    /// Keeps a client's segment until the shadow is ready.
    fn enqueue(&self, mut skb: SkBuff, entry: &mut Entry, segment: &Segment) -> Verdict {
        if entry.queue.len() >= MAX_PENDING {
            self.count(Counter::PendingOverflow);
            return Verdict::Drop(skb);
        }
        if skb.prepare_hold().is_err() {
            return self.drop_for_memory(skb);
        }
        self.count(Counter::PendingQueued);
        entry.queue.push_back(
            skb,
            Tag {
                start: segment.seq.raw(),
                end: segment.end().raw(),
            },
        );
        Verdict::Stolen
    }
}

impl DataReady for Node {
    /// Any context.
    fn listens(&self) -> bool {
        !self.speaks()
    }

    /// Softirq or process, the socket locked. The shadow's own acknowledgement may be 40 ms away (delayed ACK); the client waits for it.
    fn data_ready(&self, local: SocketAddr, remote: SocketAddr, rcv_nxt: u32) {
        let endpoint = |addr: SocketAddr| Endpoint::new(addr.ip(), addr.port());
        let flow = Flow {
            client: endpoint(remote),
            service: endpoint(local),
        };
        if !self.services.covers(&flow.service) {
            return;
        }
        let Some(mut bucket) = self.table.lock(&flow) else {
            return;
        };
        let Some(entry) = bucket.find(&flow) else {
            return;
        };
        if let Some(record) = entry.side.on_delivered(SeqNumber::new(rcv_nxt), now()) {
            self.tell(&record);
        }
        self.attend(entry);
    }
}
