// SPDX-License-Identifier: GPL-2.0

//! A new key comes to both hosts, in any order, and no datagram is refused.

mod common;
mod script;

use proptest::{collection::vec, prelude::*};
use script::ms;
use sttcp::keyring::{Change, KeyId, Keyring, Which, GRACE};
use sttcp::time::Instant;

const OLD: KeyId = KeyId(1);
const NEW: KeyId = KeyId(2);
const THIRD: KeyId = KeyId(3);

/// A host, with its keys as the glue keeps them.
struct Host {
    ring: Keyring,
    newest: KeyId,
    older: Option<KeyId>,
}

/// What a datagram shows of its sender's keys.
#[derive(Clone, Copy)]
struct Datagram {
    signed_by: KeyId,
    newest: KeyId,
}

impl Host {
    fn new(key: KeyId) -> Self {
        Self {
            ring: Keyring::new(key),
            newest: key,
            older: None,
        }
    }

    fn change(&mut self, key: KeyId) -> Change {
        let change = self.ring.change(key);
        match change {
            Change::None => {}
            Change::Follows => self.older = Some(std::mem::replace(&mut self.newest, key)),
            Change::Replaces => self.newest = key,
            Change::Reverts => (self.newest, self.older) = (key, None),
        }
        change
    }

    fn send(&self) -> Datagram {
        let signed_by = match self.ring.signs() {
            Which::Newest => self.newest,
            Which::Older => self.older.unwrap(),
        };
        Datagram {
            signed_by,
            newest: self.ring.newest(),
        }
    }

    /// Returns whether the datagram is believed.
    fn hear(&mut self, datagram: Datagram, now: Instant) -> bool {
        let which = match datagram.signed_by {
            key if key == self.newest => Which::Newest,
            key if Some(key) == self.older => Which::Older,
            _ => return false,
        };
        self.ring.on_heard(which, datagram.newest, now);
        true
    }

    fn tick(&mut self, now: Instant) {
        if self.ring.poll(now) {
            self.older = None;
        }
    }
}

#[test]
fn new_key_signs_when_both_have_it() {
    let (mut a, mut b) = (Host::new(OLD), Host::new(OLD));
    assert_eq!(a.change(OLD), Change::None);
    assert_eq!(a.change(NEW), Change::Follows);
    assert_eq!(a.send().signed_by, OLD);
    assert!(b.hear(a.send(), ms(0)) && a.hear(b.send(), ms(0)));
    assert_eq!(a.send().signed_by, OLD);
    assert_eq!(b.change(NEW), Change::Follows);
    // The first that tells of it is still signed with the old one.
    assert_eq!(b.send().signed_by, OLD);
    assert!(a.hear(b.send(), ms(1)));
    assert_eq!(a.send().signed_by, NEW);
    assert!(b.hear(a.send(), ms(1)));
    assert_eq!(b.send().signed_by, NEW);
    assert!(a.hear(b.send(), ms(2)));
    // What was under way with the old one is still believed, for a moment.
    let late = Datagram {
        signed_by: OLD,
        newest: NEW,
    };
    let over = ms(2).after(GRACE);
    for host in [&mut a, &mut b] {
        host.tick(ms(1000));
        assert!(host.hear(late, ms(1000)));
        host.tick(over);
        assert!(!host.hear(late, over));
    }
}

#[test]
fn key_that_was_mistyped_is_taken_back_or_replaced() {
    let (mut a, mut b) = (Host::new(OLD), Host::new(OLD));
    a.change(THIRD);
    assert_eq!(a.change(OLD), Change::Reverts);
    assert!(b.hear(a.send(), ms(0)) && a.hear(b.send(), ms(0)));
    a.change(THIRD);
    assert_eq!(a.change(NEW), Change::Replaces);
    b.change(NEW);
    assert!(a.hear(b.send(), ms(1)) && b.hear(a.send(), ms(1)));
    assert_eq!((a.send().signed_by, b.send().signed_by), (NEW, NEW));
}

#[test]
fn host_that_begins_anew_with_the_new_key_is_believed() {
    let (mut a, mut b) = (Host::new(OLD), Host::new(NEW));
    a.change(NEW);
    assert!(!b.hear(a.send(), ms(0)));
    assert!(a.hear(b.send(), ms(0)));
    assert!(b.hear(a.send(), ms(0)));
}

proptest! {
    /// Whenever the keys come, and whatever is lost: no datagram that arrives soon is refused, and in the end the last key is the only one.
    #[test]
    fn no_datagram_is_refused(steps in vec((any::<bool>(), 0..6u32, 0u64..300), 0..80)) {
        let mut hosts = [Host::new(OLD), Host::new(OLD)];
        let mut now = 0;
        for (first, what, wait) in steps {
            now += wait;
            let (from, to) = if first { (0, 1) } else { (1, 0) };
            match what {
                0 => {
                    hosts[from].change(NEW);
                }
                1 => {} // lost
                _ => {
                    let datagram = hosts[from].send();
                    prop_assert!(hosts[to].hear(datagram, ms(now)));
                }
            }
            for host in &mut hosts {
                host.tick(ms(now));
            }
        }
        for host in &mut hosts {
            host.change(NEW);
        }
        for _ in 0..20 {
            now += 100;
            for (from, to) in [(0, 1), (1, 0)] {
                let datagram = hosts[from].send();
                prop_assert!(hosts[to].hear(datagram, ms(now)));
                hosts[to].tick(ms(now));
            }
        }
        for host in &hosts {
            prop_assert_eq!((host.send().signed_by, host.older), (NEW, None));
        }
    }
}
