// SPDX-License-Identifier: GPL-2.0

//! The peer channel (`src/peer.rs`).

use super::*;

impl Host {
    pub(super) fn tell(&mut self, record: &Record) {
        trace!("    tells {record:?}");
        if !self.batch.push(record) {
            self.flush();
            assert!(self.batch.push(record));
        }
    }

    pub(super) fn flush(&mut self) {
        if !self.batch.is_empty() && self.node.is_some() {
            self.datagram(Datagram::Records);
            self.batch.clear();
        }
    }

    pub(super) fn datagram(&mut self, kind: Datagram) {
        let Some(node) = &mut self.node else { return };
        let header = node.header(kind).emit();
        let body = if kind == Datagram::Records {
            self.batch.as_bytes()
        } else {
            &[]
        };
        let datagram = [&header[..], body, &[0; TAG_LEN]].concat();
        self.sent.push(Sent::Datagram(datagram));
    }

    /// A datagram of the other host.
    pub fn hear(&mut self, datagram: &[u8], now: Instant) {
        self.now = now;
        let (header, body) = Header::parse(datagram).unwrap();
        let fresh = self.random();
        let Some(node) = &mut self.node else { return };
        match node.heard(&header, fresh, now) {
            Err(counter) => return self.count(counter),
            Ok(Some(event)) => self.on_event(event),
            Ok(None) => {}
        }
        if header.kind == Datagram::Records && self.joined {
            for record in records(body) {
                self.on_record(&record.unwrap());
            }
        }
        self.run();
    }

    fn on_record(&mut self, record: &Record) {
        if (record.recipient() == Role::Primary) != self.speaks {
            return self.count(Counter::PeerBadMessage);
        }
        if let Record::Open(open) = record {
            return self.on_open(open);
        }
        let (now, id) = (self.now, Some(record.id()));
        let mut found = self.entries.iter_mut().enumerate();
        let found = found.find_map(|(at, entry)| {
            let entry = entry.as_mut().filter(|entry| entry.side.id() == id)?;
            Some((at, entry.side.on_record(record, now)))
        });
        if let Some((at, actions)) = found {
            self.carry_out(at, actions);
        } else if let Some(answer) = side::unknown(record) {
            self.tell(&answer);
        }
    }

    fn on_open(&mut self, open: &Open) {
        let Some(at) = self.flows.iter().position(|flow| *flow == open.flow) else {
            panic!("{open:?}");
        };
        let found = self.entries[at].as_mut().map(|entry| &mut entry.side);
        let opening = side::open(found, open, self.now);
        if let Some(shadow) = opening.shadow {
            let heritage = self.entries[at].take().filter(|_| opening.inherits);
            self.entries[at] = Some(Entry {
                queue: heritage.map_or(vec![], |entry| entry.queue),
                primary_isn: Some(open.primary_isn),
                ..Entry::new(shadow)
            });
        }
        self.carry_out(at, opening.actions);
    }
}
