// SPDX-License-Identifier: GPL-2.0

//! The peer channel: datagrams out and in.

use crate::engine::config::Ends;
use crate::engine::counters::Counter;
use crate::engine::keyring::{Change, KeyId, Keyring, Which};
use crate::engine::message::{
    records, split_tag, BadMessage, Batch, Bytes, Gone, Header, Kind as Datagram, Open, Record,
};
use crate::engine::node::Role;
use crate::engine::paths::MAX_PATHS;
use crate::engine::side::{self, Opening};
use crate::node::{now, Node};
use crate::sys::clock;
use crate::sys::fail::{self, Site};
use crate::sys::hmac::Key;
use crate::sys::udp::{Frame, Link, Receive, Socket};
use core::mem;
use core::net::SocketAddr;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The sockets of the paths.
type Sockets = [Option<Socket<Node>>; MAX_PATHS];

/// The keys of the channel: one, or two while a new one comes to both hosts.
pub(crate) struct Keys {
    ring: Keyring,
    newest: Arc<Key>,
    older: Option<Arc<Key>>,
}

impl Keys {
    pub(crate) fn new(key: Arc<Key>) -> Self {
        Self {
            ring: Keyring::new(Self::id(&key)),
            newest: key,
            older: None,
        }
    }

    fn id(key: &Key) -> KeyId {
        let tag = key.tag(&[b"sttcp key"]);
        KeyId(
            tag.first_chunk()
                .map_or(0, |bytes| u32::from_be_bytes(*bytes)),
        )
    }

    /// The name of the newest.
    pub(crate) fn newest(&self) -> KeyId {
        self.ring.newest()
    }

    /// The one that signs.
    pub(crate) fn signing(&self) -> &Arc<Key> {
        match (self.ring.signs(), &self.older) {
            (Which::Older, Some(older)) => older,
            _ => &self.newest,
        }
    }

    fn change(&mut self, key: Arc<Key>) -> Change {
        let change = self.ring.change(Self::id(&key));
        match change {
            Change::None => {}
            Change::Follows => self.older = Some(mem::replace(&mut self.newest, key)),
            Change::Replaces => self.newest = key,
            Change::Reverts => {
                self.older = None;
                self.newest = key;
            }
        }
        change
    }

    /// Those that verify, the likelier first.
    fn verifying(&self) -> [Option<(Which, Arc<Key>)>; 2] {
        let newest = Some((Which::Newest, self.newest.clone()));
        let older = self.older.clone().map(|key| (Which::Older, key));
        match self.ring.signs() {
            Which::Newest => [newest, older],
            Which::Older => [older, newest],
        }
    }
}

/// What waits to be sent, and the sockets it goes through.
pub(crate) struct Outbox {
    batch: Batch,
    /// One for each path.
    pub(crate) sockets: Sockets,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            batch: Batch::new(),
            sockets: [const { None }; MAX_PATHS],
        }
    }
}

impl Node {
    /// Opens the channel. Process context.
    pub(crate) fn listen(self: &Arc<Self>, local: &Ends) -> Result {
        for (path, end) in local.iter().enumerate() {
            let socket = Socket::bind(self.net, end, self.clone())?;
            if let Some(place) = self.outbox.lock().sockets.get_mut(path) {
                *place = Some(socket);
            }
        }
        Ok(())
    }

    /// Closes the channel. Process context.
    pub(crate) fn hang_up(&self) {
        // Two statements: the sockets are released when the lock is not held.
        let sockets = mem::take(&mut self.outbox.lock().sockets);
        drop(sockets);
    }

    /// Adds a record to the outbox, which is sent first if it is full. Any context.
    ///
    /// The outbox is one for the whole node, so that one datagram carries the records of many connections; its lock is held while sixteen to
    /// eighty bytes are copied, or a datagram is handed to the device.
    pub(crate) fn push(&self, record: &Record) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.batch.push(record) {
            return true;
        }
        self.flush_locked(&mut outbox);
        outbox.batch.push(record)
    }

    /// Sends what waits. Any context.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox.lock();
        if !outbox.batch.is_empty() {
            self.flush_locked(&mut outbox);
        }
    }

    fn flush_locked(&self, outbox: &mut Outbox) {
        self.send_locked(&outbox.sockets, Datagram::Records, outbox.batch.as_bytes());
        outbox.batch.clear();
    }

    /// Sends one datagram, by the best path. Any context.
    pub(crate) fn send(&self, kind: Datagram, body: &[u8]) {
        let outbox = self.outbox.lock();
        self.send_locked(&outbox.sockets, kind, body);
    }

    /// Sends a heartbeat by each path. Any context.
    pub(crate) fn beat(&self) {
        let outbox = self.outbox.lock();
        for path in 0..self.peer.count() {
            let header = {
                let mut engine = self.engine.lock();
                engine.heard_clients(self.clients_at());
                engine.header(Datagram::Heartbeat, now())
            };
            self.send_header(&outbox.sockets, path, &header, &[]);
        }
    }

    /// Sends a word that counts once, by each path. Any context.
    pub(crate) fn send_farewell(&self, header: &Header) {
        let outbox = self.outbox.lock();
        for path in 0..self.peer.count() {
            self.send_header(&outbox.sockets, path, header, &[]);
        }
    }

    fn send_locked(&self, sockets: &Sockets, kind: Datagram, body: &[u8]) {
        let (header, path) = {
            let mut engine = self.engine.lock();
            engine.heard_clients(self.clients_at());
            (engine.header(kind, now()), engine.path())
        };
        self.send_header(sockets, path, &header, body);
    }

    fn send_header(&self, sockets: &Sockets, path: usize, header: &Header, body: &[u8]) {
        let key = self.keys.lock().signing().clone();
        let header = header.emit();
        let tag = key.tag(&[&header, body]);
        let socket = sockets.get(path).and_then(Option::as_ref);
        let sent = socket
            .zip(self.peer.get(path))
            .map(|(socket, end)| socket.send_to(end, &[&header, body, &tag]));
        self.count(match sent {
            Some(Ok(())) => Counter::PeerSent,
            _ => Counter::PeerSendFailed,
        });
    }

    /// Another key is to hold. Process context.
    pub(crate) fn change_key(&self, key: Key) -> Result {
        fail::at(Site::Node)?;
        let key = Arc::new(key, GFP_KERNEL)?;
        let mut keys = self.keys.lock();
        let change = keys.change(key);
        let newest = keys.newest();
        drop(keys);
        self.engine.lock().set_key(newest);
        match change {
            Change::None => pr_info!("key: this is the one that holds\n"),
            Change::Follows | Change::Replaces => {
                pr_info!("key: the new one holds when the peer has it too; until then the old one signs\n");
            }
            Change::Reverts => pr_info!("key: the old one holds again\n"),
        }
        // The peer hears of it now and not with the next heartbeat.
        self.beat();
        Ok(())
    }

    /// The peer has said in the present sessions, and `which` has signed, that its newest key is this. Softirq.
    fn note_key(&self, which: Which, newest: KeyId) {
        let mut keys = self.keys.lock();
        if keys.ring.on_heard(which, newest, now()) {
            self.count(Counter::KeysChanged);
            pr_info!("key: the peer has the new one; it holds from now on\n");
        }
    }

    /// Gives up the older key if nobody can need it any more. Softirq.
    pub(crate) fn retire_key(&self) {
        let mut keys = self.keys.lock();
        if keys.ring.poll(now()) {
            keys.older = None;
            pr_info!("key: the old one is of no more use\n");
        }
    }

    /// Sends the last word of a kernel that dies, by one path.
    pub(crate) fn send_last(
        &self,
        sockets: &Sockets,
        path: usize,
        goodbye: &Header,
        frame: Frame,
        link: Option<Link>,
        key: &Key,
    ) -> Result {
        let header = goodbye.emit();
        let tag = key.tag(&[&header]);
        let socket = sockets.get(path).and_then(Option::as_ref);
        let way = socket.zip(self.peer.get(path)).zip(link);
        let ((socket, end), link) = way.ok_or(ENODEV)?;
        socket.send_last(end, &[header.as_slice(), tag.as_slice()], frame, &link)
    }

    fn authentic<'a>(
        &self,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<(usize, Which, Header, &'a [u8]), Counter> {
        let path = self.peer.path_of(from).ok_or(Counter::PeerBadSource)?;
        let name = |bad| match bad {
            BadMessage::Length => Counter::PeerBadLength,
            BadMessage::Version => Counter::PeerBadVersion,
            BadMessage::Content => Counter::PeerBadMessage,
        };
        let (signed, tag) = split_tag(datagram).map_err(name)?;
        // Two CPUs need not wait for each other's hashing.
        let keys = self.keys.lock().verifying();
        let verifies =
            |(which, key): &(Which, Arc<Key>)| key.verify(&[signed], tag).then_some(*which);
        let which = keys.iter().flatten().find_map(verifies);
        let which = which.ok_or(Counter::PeerBadTag)?;
        let (header, body) = Header::parse(datagram).map_err(name)?;
        Ok((path, which, header, body))
    }

    /// Softirq.
    fn on_record(&self, record: &Record) {
        if (record.recipient() == Role::Primary) != self.speaks() {
            return self.count(Counter::PeerBadMessage);
        }
        if let Record::Open(open) = record {
            return self.on_open(open);
        }
        let id = record.id();
        let Some(mut bucket) = self.table.lock_id(id) else {
            return;
        };
        let Some(entry) = bucket.find_id(id) else {
            bucket.retain(|entry| !entry.side.is_void_by(record));
            if let Some(answer) = side::unknown(record) {
                self.tell(&answer);
            }
            return;
        };
        let flow = *entry.side.flow();
        let actions = match record {
            Record::Move(id) => {
                let before = self.engine.lock().mover();
                entry.side.carry(*id, now(), before)
            }
            record => entry.side.on_record(record, now()),
        };
        if !self.carry_out(entry, actions) {
            bucket.remove(&flow);
        }
    }

    /// The primary sends bytes that the tap may have lost. Softirq.
    fn on_bytes(&self, bytes: &Bytes<'_>) {
        let Some(mut bucket) = self.table.lock_id(bytes.id) else {
            return;
        };
        let Some(entry) = bucket.find_id(bytes.id) else {
            return self.tell(&side::unknown_bytes(bytes));
        };
        let (segment, answer) = entry.side.on_bytes(bytes);
        if let Some(segment) = segment {
            self.count(Counter::BytesInjected);
            if !self.inject_bytes(entry.side.flow(), &segment, bytes.payload, entry.ifindex) {
                entry.side.not_injected();
            }
        }
        if let Some(answer) = &answer {
            self.tell(answer);
        }
    }

    /// The primary has a new connection. Softirq.
    fn on_open(&self, open: &Open) {
        if !self.services.covers(&open.flow.service) {
            self.tell(&Record::Gone(open.id, Gone::Refused));
            self.count(Counter::ShadowsRefused);
            return;
        }
        let flow = open.flow;
        let Some(mut bucket) = self.table.lock(&flow) else {
            return;
        };
        let found = bucket.find(&flow).map(|entry| &mut entry.side);
        let Opening {
            shadow,
            inherits,
            actions,
        } = side::open(found, open, now());
        let Some(shadow) = shadow else {
            if let Some(entry) = bucket.find(&flow) {
                self.carry_out(entry, actions);
            }
            return;
        };
        let heritage = bucket.remove(&flow).filter(|_| inherits);
        let ifindex = heritage.as_ref().map_or(0, |entry| entry.ifindex);
        let ifindex = if ifindex == 0 { self.tap() } else { ifindex };
        let Some((entry, _)) = bucket.insert(shadow, ifindex) else {
            self.tell(&Record::Gone(open.id, Gone::NoMemory));
            return;
        };
        if let Some(mut heritage) = heritage {
            entry.queue.append(&mut heritage.queue);
        }
        let _ = self.carry_out(entry, actions);
        bucket.publish();
        if self.speaks() {
            // A takeover on another CPU may have passed the bucket by.
            self.take_over_late(&mut bucket, &flow);
        }
        drop(bucket);
        self.warm(&flow);
    }
}

impl Receive for Node {
    /// A datagram came to our port. Softirq.
    fn received(&self, from: SocketAddr, payload: &[u8], link: Option<Link>) {
        let (path, which, header, body) = match self.authentic(from, payload) {
            Ok(parts) => parts,
            Err(counter) => return self.count(counter),
        };
        let (heard, owes_heartbeat) = self.ask(|engine| {
            let now = now();
            let heard = engine.heard(&header, clock::random_u64, now);
            let back = heard.is_ok().then(|| engine.heard_by(path, now)).flatten();
            let heard = heard.map(|event| event.or(back));
            (heard, engine.owes_heartbeat(now))
        });
        if heard.is_ok() && header.peer_session != 0 {
            self.note_key(which, header.key);
        }
        if owes_heartbeat {
            self.beat();
        }
        match heard {
            Err(counter) => return self.count(counter),
            Ok(Some(event)) => self.on_event(event),
            Ok(None) => {}
        }
        self.count(Counter::PeerReceived);
        if !self.joined() {
            return;
        }
        match header.kind {
            Datagram::Records => {
                for record in records(body) {
                    match record {
                        Ok(record) => self.on_record(&record),
                        Err(_) => self.count(Counter::PeerBadMessage),
                    }
                }
            }
            Datagram::Bytes => match Bytes::parse(body) {
                Ok(bytes) if !self.speaks() => self.on_bytes(&bytes),
                _ => self.count(Counter::PeerBadMessage),
            },
            Datagram::Heartbeat => self.note_way(path, link),
            Datagram::Leave | Datagram::Goodbye => {}
        }
    }

    fn unreadable(&self) {
        self.count(Counter::PeerNoMemory);
    }
}
