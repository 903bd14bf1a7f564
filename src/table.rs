// SPDX-License-Identifier: GPL-2.0

//! The connections of a node.
//!
//! A hash table of fixed size with a lock for each bucket, so that no packet waits for one of another connection. The hash is keyed with a
//! random number, and a backup takes over its primary's: a connection's name carries its hash, and finds it on either host.
//!
//! Each bucket knows when the first of its connections wants to be called, and each group of buckets when the first of those does. So whoever calls them looks at
//! the groups, and at the buckets of those that are due: how many connections wait for nothing is of no matter.

use crate::engine::primary::ConnectionId;
use crate::engine::side::Side;
use crate::engine::time::Instant;
use crate::engine::wire::Flow;
use crate::retention::Retained;
use crate::sys::bh::{new_bh_lock, BhGuard, BhLock};
use crate::sys::fail::{self, Site};
use crate::sys::skb::SkbQueue;
use crate::sys::slab::{Cached, SlabBox, Slot as Cache};
use core::mem;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed};

/// How many buckets a table has; a power of two.
pub(crate) const BUCKETS: usize = 16384;

/// How many groups they form, and the buckets in each.
const GROUPS: usize = 128;
const GROUP: usize = BUCKETS / GROUPS;

/// In how many slices the table is visited, when all connections are visited one after the other.
pub(crate) const SLICES: u32 = 32;
const SLICE: usize = BUCKETS / SLICES as usize;

/// No connection wants to be called.
const NEVER: u64 = u64::MAX;

/// How many half-open or pending connections a bucket keeps. So a flood of SYNs, or of segments that belong nowhere, costs
/// bounded memory and pushes out its own kind.
pub(crate) const MAX_EMBRYONIC: usize = 2;

/// One connection.
pub(crate) struct Entry {
    pub(crate) side: Side,
    /// Client segments until the shadow is ready, then held output.
    pub(crate) queue: SkbQueue,
    /// On a primary, client segments that the backup may have missed.
    pub(crate) retained: Retained,
    /// The device that the client's packets come from.
    pub(crate) ifindex: u32,
    /// The number of its bucket.
    place: u32,
    next: Option<SlabBox<Entry>>,
}

// Eight to a page.
const _: () = assert!(size_of::<Entry>() <= 512);

static ENTRIES: Cache = Cache::new();

impl Cached for Entry {
    const NAME: &'static CStr = c"sttcp_connection";

    fn slot() -> &'static Cache {
        &ENTRIES
    }
}

/// The connections whose hashes end alike.
pub(crate) struct Bucket {
    head: Option<SlabBox<Entry>>,
    /// Its number.
    place: u32,
}

impl Bucket {
    /// The connection between these endpoints.
    pub(crate) fn find(&mut self, flow: &Flow) -> Option<&mut Entry> {
        self.find_by(|entry| entry.side.flow() == flow)
    }

    /// The connection of this name.
    pub(crate) fn find_id(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        self.find_by(|entry| entry.side.id() == Some(id))
    }

    fn find_by(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<&mut Entry> {
        let mut at = self.head.as_deref_mut();
        while let Some(entry) = at {
            if wanted(entry) {
                return Some(entry);
            }
            at = entry.next.as_deref_mut();
        }
        None
    }

    /// Adds a connection; its flow must not be there. `None` if there is no memory. The second value says whether an embryonic one had to go.
    ///
    /// This allocates on the packet path: once for each connection, never for each packet.
    pub(crate) fn insert(&mut self, side: Side, ifindex: u32) -> Option<(&mut Entry, bool)> {
        fail::at(match side {
            Side::Primary(_) => Site::Connection,
            Side::Shadow(_) => Site::Shadow,
            Side::Pending(_) => Site::Pending,
        })
        .ok()?;
        let entry = SlabBox::new(Entry {
            side,
            queue: SkbQueue::new(),
            retained: Retained::new(),
            ifindex,
            place: self.place,
            next: None,
        })
        .ok()?;
        let evicted = entry.side.is_embryonic() && self.evict();
        self.push(entry);
        self.head.as_deref_mut().map(|entry| (entry, evicted))
    }

    fn push(&mut self, mut entry: SlabBox<Entry>) {
        entry.place = self.place;
        entry.next = self.head.take();
        self.head = Some(entry);
    }

    /// Removes the oldest embryonic connection if there are too many.
    fn evict(&mut self) -> bool {
        let mut count = 0;
        self.retain(|entry| {
            count += usize::from(entry.side.is_embryonic());
            // New ones are put in front: the last ones are the oldest.
            !entry.side.is_embryonic() || count < MAX_EMBRYONIC
        });
        count >= MAX_EMBRYONIC
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, flow: &Flow) -> Option<SlabBox<Entry>> {
        let mut at = &mut self.head;
        while at.as_ref().is_some_and(|entry| entry.side.flow() != flow) {
            at = &mut at.as_mut()?.next;
        }
        let mut entry = at.take()?;
        *at = entry.next.take();
        Some(entry)
    }

    /// Whether `test` is true of each connection; it is asked of all.
    pub(crate) fn all(&mut self, mut test: impl FnMut(&mut Entry) -> bool) -> bool {
        let mut all = true;
        let mut at = self.head.as_deref_mut();
        while let Some(entry) = at {
            all &= test(entry);
            at = entry.next.as_deref_mut();
        }
        all
    }

    /// Visits every connection, and drops those for which `keep` says no.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        let mut rest = self.head.take();
        let mut at = &mut self.head;
        while let Some(mut entry) = rest {
            rest = entry.next.take();
            if keep(&mut entry) {
                at = &mut at.insert(entry).next;
            }
        }
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // One by one: a chain that drops its rest would recurse.
        self.retain(|_| false);
    }
}

/// A bucket and its lock.
#[pin_data]
struct Slot {
    #[pin]
    bucket: BhLock<Bucket>,
    /// 1 if there is a connection in it: whoever visits the whole table passes by the empty ones, which are most.
    occupied: Atomic<u32>,
    /// When the first of its connections wants to be called, in ns; it may have changed its mind. Written under the lock.
    due: Atomic<u64>,
}

/// The evidence that a bucket is locked.
pub(crate) struct Locked<'a> {
    bucket: BhGuard<'a, Bucket>,
    occupied: &'a Atomic<u32>,
}

impl Deref for Locked<'_> {
    type Target = Bucket;

    fn deref(&self) -> &Bucket {
        &self.bucket
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Bucket {
        &mut self.bucket
    }
}

impl Locked<'_> {
    /// Lets the visits to the whole table see whether there is something in it. Afterwards, the caller sees what their caller stored before
    /// them, or they see the bucket.
    pub(crate) fn publish(&self) {
        let occupied = u32::from(self.bucket.head.is_some());
        if self.occupied.load(Relaxed) != occupied {
            self.occupied.xchg(occupied, Full);
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Still locked.
        self.publish();
    }
}

impl Slot {
    fn lock(&self) -> Locked<'_> {
        Locked {
            bucket: self.bucket.lock(),
            occupied: &self.occupied,
        }
    }

    /// Visits its connections, and finds out when the first of them wants to be called next.
    fn visit(&self, mut keep: impl FnMut(&mut Entry) -> bool) {
        let mut bucket = self.lock();
        let mut due = NEVER;
        bucket.retain(|entry| {
            let keep = keep(entry);
            if let (true, Some(at)) = (keep, entry.side.poll_at()) {
                due = due.min(at.as_nanos());
            }
            keep
        });
        self.due.store(due, Relaxed);
    }
}

/// Makes a time no later than `at`; whether it was later.
fn lower(time: &Atomic<u64>, at: u64) -> bool {
    let mut before = time.load(Relaxed);
    while at < before {
        match time.cmpxchg(before, at, Full) {
            Ok(_) => return true,
            Err(found) => before = found,
        }
    }
    false
}

/// The table.
#[pin_data]
pub(crate) struct Table {
    #[pin]
    slots: [Slot; BUCKETS],
    /// When the first bucket of each group is due, in ns.
    groups: [Atomic<u64>; GROUPS],
    seed: Atomic<u32>,
    serial: Atomic<u32>,
}

impl Table {
    /// An empty table; `seed` keys its hash; a random number. `serial` is a random number: the other host names connections too, and may have told of an
    /// earlier one between the same endpoints.
    pub(crate) fn new(seed: u32, serial: u32) -> Result<Pin<KVBox<Self>>> {
        fail::at(Site::Table)?;
        KVBox::pin_init(
            pin_init!(Self {
                slots <- pin_init::pin_init_array_from_fn(|at| pin_init!(Slot {
                    bucket <- new_bh_lock!(Bucket { head: None, place: at as u32 }, "sttcp_bucket"),
                    occupied: Atomic::new(0),
                    due: Atomic::new(NEVER),
                })),
                groups: [const { Atomic::new(NEVER) }; GROUPS],
                seed: Atomic::new(seed),
                serial: Atomic::new(serial),
            }),
            GFP_KERNEL,
        )
    }

    fn at(&self, hash: u32) -> Option<&Slot> {
        self.slots.get(hash as usize & (BUCKETS - 1))
    }

    /// Locks the bucket of a flow. Any context. `None` never happens.
    pub(crate) fn lock(&self, flow: &Flow) -> Option<Locked<'_>> {
        loop {
            let seed = self.seed.load(Relaxed);
            let locked = self.at(flow.hash(seed))?.lock();
            // Else `rekey` has come between: the connection may be in another bucket by now.
            if self.seed.load(Relaxed) == seed {
                return Some(locked);
            }
        }
    }

    /// Locks the bucket of a name. Any context.
    pub(crate) fn lock_id(&self, id: ConnectionId) -> Option<Locked<'_>> {
        Some(self.at((id.0 >> 32) as u32)?.lock())
    }

    /// Locks bucket number `index`. Any context.
    pub(crate) fn lock_index(&self, index: usize) -> Option<Locked<'_>> {
        Some(self.slots.get(index)?.lock())
    }

    /// Makes a name for a new connection.
    pub(crate) fn name(&self, flow: &Flow) -> ConnectionId {
        let serial = self.serial.fetch_add(1, Relaxed);
        ConnectionId(u64::from(flow.hash(self.seed.load(Relaxed))) << 32 | u64::from(serial))
    }

    /// Keys the hash with another number. Softirq, nothing locked. A connection is in no bucket for a moment, which harms none that a silent host has.
    pub(crate) fn rekey(&self, seed: u32) {
        if self.seed.xchg(seed, Full) == seed {
            return;
        }
        for slot in &self.slots {
            let mut moved = mem::take(&mut slot.lock().head);
            while let Some(mut entry) = moved {
                moved = entry.next.take();
                if let Some(mut bucket) = self.lock(entry.side.flow()) {
                    let at = entry.side.poll_at();
                    bucket.push(entry);
                    if let Some(at) = at {
                        let _ = self.remind(bucket.place, at);
                    }
                }
            }
        }
    }

    /// Notes that a connection in the bucket of this number, which is locked, wants to be called at `at`. Whether nobody was to look at its group by then:
    /// the caller sees to that. Any context.
    fn remind(&self, place: u32, at: Instant) -> bool {
        let (place, at) = (place as usize, at.as_nanos());
        let Some((slot, group)) = self.slots.get(place).zip(self.groups.get(place / GROUP)) else {
            return false;
        };
        if slot.due.load(Relaxed) <= at {
            return false;
        }
        slot.due.store(at, Relaxed);
        lower(group, at)
    }

    /// The same for a connection, if it wants to be called; when, if it is for the caller to see to that.
    pub(crate) fn attend(&self, entry: &Entry) -> Option<Instant> {
        let at = entry.side.poll_at()?;
        self.remind(entry.place, at).then_some(at)
    }

    /// Visits the connections of each bucket that is due, and drops those for which `keep` says no. When the next one is due, if ever. One caller at a time.
    /// Softirq.
    pub(crate) fn visit_due(
        &self,
        now: Instant,
        mut keep: impl FnMut(&mut Entry) -> bool,
    ) -> Option<Instant> {
        let now = now.as_nanos();
        let mut next = NEVER;
        for (group, slots) in self.groups.iter().zip(self.slots.chunks(GROUP)) {
            if group.load(Relaxed) <= now {
                // Whoever reminds from here on finds it so, or is found below.
                group.xchg(NEVER, Full);
                let mut earliest = NEVER;
                for slot in slots {
                    if slot.due.load(Relaxed) <= now {
                        slot.visit(&mut keep);
                    }
                    earliest = earliest.min(slot.due.load(Relaxed));
                }
                lower(group, earliest);
            }
            next = next.min(group.load(Relaxed));
        }
        (next != NEVER).then(|| Instant::from_nanos(next))
    }

    /// Visits the connections of the buckets from number `place` on, until a slice of the table is through or `most` were visited, and drops those for which
    /// `keep` says no. The bucket to go on with. Softirq.
    pub(crate) fn visit_slice(
        &self,
        place: usize,
        most: usize,
        mut keep: impl FnMut(&mut Entry) -> bool,
    ) -> usize {
        let mut visited = 0;
        let rest = self.slots.get(place..).unwrap_or(&[]);
        for (slot, at) in rest.iter().zip(place..).take(SLICE) {
            if visited >= most {
                return at;
            }
            if slot.occupied.load(Acquire) != 0 {
                slot.lock().retain(|entry| {
                    visited += 1;
                    keep(entry)
                });
            }
        }
        place.saturating_add(SLICE) % BUCKETS
    }

    /// Visits every bucket in which there is a connection. Any context.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&mut Bucket)) {
        for slot in &self.slots {
            if slot.occupied.load(Acquire) != 0 {
                visit(&mut slot.lock());
            }
        }
    }

    /// Visits every connection, bucket by bucket, and drops those for which `keep` says no. Any context.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&mut Entry) -> bool) {
        self.visit(|bucket| bucket.retain(&mut keep));
    }
}
