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

    fn find(&self, id: ConnectionId) -> Option<usize> {
        (0..FLOWS).find(|at| match self.entries[*at].as_ref().map(|e| &e.kind) {
            Some(Kind::Primary(connection)) => connection.id() == id,
            Some(Kind::Shadow(shadow)) => shadow.id() == id,
            _ => false,
        })
    }

    fn on_record(&mut self, record: &Record) {
        let now = self.now;
        match (record, self.speaks) {
            (Record::Open(open), false) => self.on_open(open),
            (Record::Close(id, why), false) => {
                let Some(at) = self.find(*id) else {
                    if *why == Close::Unprotected {
                        self.tell(&Record::Gone(*id, Gone::Ended));
                    }
                    return;
                };
                let Some(entry) = &mut self.entries[at] else {
                    return;
                };
                if let Kind::Shadow(shadow) = &mut entry.kind {
                    let actions = shadow.on_close(*why, now);
                    if *why == Close::Unprotected {
                        entry.queue.clear();
                    }
                    self.carry_out_shadow(at, actions);
                }
            }
            (Record::Query(id), false) => {
                let found = self.find(*id).and_then(|at| self.entries[at].as_mut());
                let answer = match found.map(|entry| &mut entry.kind) {
                    Some(Kind::Shadow(shadow)) => shadow.on_query(),
                    _ => Some(Record::Gone(*id, Gone::Ended)),
                };
                if let Some(answer) = &answer {
                    self.tell(answer);
                }
            }
            (Record::Progress(progress), true) => self.on_answer(record, progress.id),
            (Record::Gone(id, _), true) => self.on_answer(record, *id),
            _ => self.count(Counter::PeerBadMessage),
        }
    }

    fn on_answer(&mut self, record: &Record, id: ConnectionId) {
        let now = self.now;
        let Some(at) = self.find(id) else {
            if matches!(record, Record::Progress(_)) {
                self.tell(&Record::Close(id, Close::Ended));
            }
            return;
        };
        let Some(Kind::Primary(connection)) = self.entries[at].as_mut().map(|e| &mut e.kind) else {
            return;
        };
        let actions = match record {
            Record::Progress(progress) => connection.on_progress(progress, now),
            Record::Gone(_, why) => connection.on_gone(*why, now),
            _ => return,
        };
        self.carry_out_primary(at, actions);
    }

    fn on_open(&mut self, open: &Open) {
        let Some(at) = self.flows.iter().position(|flow| *flow == open.flow) else {
            panic!("{open:?}");
        };
        let mut queue = vec![];
        match self.entries[at].as_mut().map(|entry| &mut entry.kind) {
            Some(Kind::Shadow(shadow)) if shadow.is_for(open) => {
                if let Some(answer) = shadow.on_query() {
                    self.tell(&answer);
                }
                return;
            }
            Some(Kind::Pending(_)) => {
                queue = self.entries[at].take().map_or(vec![], |entry| entry.queue);
            }
            Some(Kind::Shadow(_) | Kind::Primary(_)) | None => {}
        }
        let (shadow, syn) = Shadow::open(open, self.now);
        self.entries[at] = Some(Entry {
            queue,
            primary_isn: Some(open.primary_isn),
            ..Entry::new(Kind::Shadow(shadow))
        });
        let opening = shadow::Actions {
            inject: Some(syn),
            ..shadow::Actions::default()
        };
        self.carry_out_shadow(at, opening);
    }
}
