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
        if self.batch.is_empty() {
            return;
        }
        if let Some(header) = self.header(Datagram::Records) {
            let body = self.batch.as_bytes().to_vec();
            self.send(self.path(), &header, &body, [0; TAG_LEN]);
            self.batch.clear();
        }
    }

    /// That of the next datagram, if there is a node.
    pub(super) fn header(&mut self, kind: Datagram) -> Option<Header> {
        let node = self.node.as_mut()?;
        node.heard_clients(self.clients_at);
        Some(node.header(kind, self.now))
    }

    /// By which path records go.
    fn path(&self) -> usize {
        self.node.as_ref().map_or(0, Node::path)
    }

    fn send(&mut self, path: usize, header: &Header, body: &[u8], tag: [u8; TAG_LEN]) {
        let datagram = [&header.emit()[..], body, &tag].concat();
        self.sent.push(Sent::Datagram(path, datagram));
    }

    /// A heartbeat by each path.
    pub(super) fn beat(&mut self) {
        for path in 0..self.paths {
            if let Some(header) = self.header(Datagram::Heartbeat) {
                self.send(path, &header, &[], [0; TAG_LEN]);
            }
        }
    }

    /// A word that counts once, by each path.
    pub(super) fn send_farewell(&mut self, header: &Header) {
        for path in 0..self.paths {
            self.send(path, header, &[], [0; TAG_LEN]);
        }
    }

    /// Sends the backup what it lacks, as far as there are copies (`src/retention.rs`).
    pub(super) fn resend(&mut self, at: usize, span: &Span) {
        let mut span = *span;
        while span.start < span.end {
            let Some(entry) = &self.entries[at] else {
                return;
            };
            let Some(id) = entry.side.id() else { return };
            let mut copies = entry.retained.iter();
            let Some((piece, origin)) =
                copies.find_map(|(copy, origin)| Some((span.piece(copy)?, origin)))
            else {
                return;
            };
            let bytes = Bytes {
                id,
                seq: span.start,
                fin: piece.fin,
                payload: &[],
            };
            let payload = vec![0; piece.len as usize];
            let body = [&bytes.emit()[..], &payload].concat();
            // Bytes are not carried, and where they come from has room in the tag.
            let tag = origin.skip(piece.offset).emit();
            let Some(header) = self.header(Datagram::Bytes) else {
                return;
            };
            trace!("    sends again from {}: {piece:?}", span.start);
            self.send(self.path(), &header, &body, tag);
            span = piece.rest;
        }
    }

    fn on_bytes(&mut self, bytes: &Bytes<'_>, origin: Origin) {
        let at = (0..FLOWS).find(|at| {
            let entry = self.entries[*at].as_ref();
            entry.is_some_and(|entry| entry.side.id() == Some(bytes.id))
        });
        let Some((at, entry)) = at.and_then(|at| Some((at, self.entries[at].as_mut()?))) else {
            return self.tell(&side::unknown_bytes(bytes));
        };
        let (segment, answer) = entry.side.on_bytes(bytes);
        if let Some(segment) = segment {
            if self.memory() {
                let frame = Frame::from_client(&self.flows[at], &segment, origin);
                self.backlog.push_back((at, frame));
            } else if let Some(entry) = &mut self.entries[at] {
                entry.side.not_injected();
            }
        }
        if let Some(answer) = &answer {
            self.tell(answer);
        }
    }

    /// A datagram of the other host, by a path.
    pub fn hear(&mut self, path: usize, datagram: &[u8], now: Instant) {
        self.now = now;
        let (header, body) = Header::parse(datagram).unwrap();
        let fresh = self.random();
        let Some(node) = &mut self.node else { return };
        let heard = node.heard(&header, || fresh, now);
        let back = heard.is_ok().then(|| node.heard_by(path, now)).flatten();
        if node.owes_heartbeat(now) {
            self.beat();
        }
        match heard.map(|event| event.or(back)) {
            Err(counter) => return self.count(counter),
            Ok(Some(event)) => self.on_event(event),
            Ok(None) => {}
        }
        match header.kind {
            _ if self.peer != Peer::Joined => {}
            Datagram::Records => {
                for record in records(body) {
                    self.on_record(&record.unwrap());
                }
            }
            Datagram::Bytes if self.speaks => self.count(Counter::PeerBadMessage),
            Datagram::Bytes => {
                let (_, tag) = datagram.split_at(datagram.len() - TAG_LEN);
                self.on_bytes(&Bytes::parse(body).unwrap(), Origin::parse(tag));
            }
            Datagram::Heartbeat | Datagram::Leave | Datagram::Goodbye => {}
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
        } else {
            // The upper half of a name is its place.
            let at = (record.id().0 >> 32) as usize % FLOWS;
            self.entries[at].take_if(|entry| entry.side.is_void_by(record));
            if let Some(answer) = side::unknown(record) {
                self.tell(&answer);
            }
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
