// SPDX-License-Identifier: GPL-2.0

//! Which of two keys counts, while a new one comes to both hosts.
//!
//! An operator gives the new key to one host and then to the other, and in between they must understand each other. So a host that has a new key goes on
//! signing with the old one, and says in each datagram which key is the newest that it has; when the other says the same, both sign with that. When a
//! datagram signed with it has come, the old one is of no more use, and is given up as soon as nothing signed with it can be under way.

use super::time::Instant;
use core::time::Duration;

/// For how long the old key still counts after the peer has been heard with the new one.
pub const GRACE: Duration = Duration::from_secs(1);

/// Names a key without telling anything of it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyId(pub u32);

/// One of the keys of a host.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// The one that it was given last.
    Newest,
    /// The one before, until the peer has the newest.
    Older,
}

/// What becomes of the keys when another is given.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is the one that there is.
    None,
    /// The newest becomes the older one, and this is the newest.
    Follows,
    /// It takes the newest one's place, which the peer never had.
    Replaces,
    /// It is the older one, which is the only one again: the newest, which the peer never had, is taken back.
    Reverts,
}

/// The keys of a host, by their names.
#[derive(Copy, Clone, Debug)]
pub struct Keyring {
    newest: KeyId,
    older: Option<KeyId>,
    /// Whether the peer has the newest.
    known: bool,
    /// When the older one is given up.
    until: Option<Instant>,
}

impl Keyring {
    /// One key.
    pub fn new(id: KeyId) -> Self {
        Self {
            newest: id,
            older: None,
            known: true,
            until: None,
        }
    }

    /// The newest key, for the header.
    pub fn newest(&self) -> KeyId {
        self.newest
    }

    /// Which key signs.
    pub fn signs(&self) -> Which {
        match self.older {
            Some(_) if !self.known => Which::Older,
            _ => Which::Newest,
        }
    }

    /// Another key is given.
    pub fn change(&mut self, id: KeyId) -> Change {
        if id == self.newest {
            return Change::None;
        }
        let change = match (self.signs(), self.older) {
            (Which::Older, Some(older)) if older == id => Change::Reverts,
            (Which::Older, _) => Change::Replaces,
            (Which::Newest, _) => Change::Follows,
        };
        match change {
            Change::Follows => self.older = Some(self.newest),
            Change::Reverts => self.older = None,
            Change::Replaces | Change::None => {}
        }
        self.newest = id;
        self.known = change == Change::Reverts;
        self.until = None;
        change
    }

    /// A datagram of the present sessions, signed by `which`, says that the peer's newest key is this. Returns whether it is the first to say that the
    /// peer has ours.
    pub fn on_heard(&mut self, which: Which, newest: KeyId, now: Instant) -> bool {
        let first = !self.known && (which == Which::Newest || newest == self.newest);
        self.known |= first;
        if which == Which::Newest && self.older.is_some() {
            self.until.get_or_insert(now.after(GRACE));
        }
        first
    }

    /// Returns whether the older key is given up now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let over = self.until.take_if(|at| now >= *at).is_some();
        if over {
            self.older = None;
        }
        over
    }
}
