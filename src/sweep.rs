// SPDX-License-Identifier: GPL-2.0

//! Every connection compared with the kernel's sockets, again and again: what ends without a packet is found here.

use crate::engine::side::Side;
use crate::engine::time::Instant;
use crate::node::Node;
use crate::table::{Entry, SLICES};
use core::time::Duration;
use kernel::sync::atomic::Relaxed;

/// How often every connection is visited, a slice of the table at a time.
const PASS: Duration = Duration::from_secs(1);
pub(crate) const SLICE: Duration = Duration::from_nanos(PASS.as_nanos() as u64 / SLICES as u64);

/// The most that are visited at a time: no softirq lasts long, and 100,000 connections cost the host no more than 10,000 do, as a pass over them takes ten times as
/// long.
const MOST: usize = 10_000 / SLICES as usize;

/// How often the way to a client is warmed again.
const WARM: Duration = Duration::from_secs(8);

/// For so many passes after the link has come up every way is warmed: as long as an address of the link is tentative no neighbour is asked for in
/// IPv6 (RFC 4862, section 5.4; Linux: `ndisc_send_ns`), and a neighbour that was not found then is given up.
pub(crate) const RELINKED: u32 = 6;

/// How far the sweep is.
#[derive(Copy, Clone)]
pub(crate) struct Sweep {
    /// The bucket that is next.
    place: usize,
    /// The number of this pass, when it began, and one in how many warms the way to a connection's client.
    pass: u32,
    began: Instant,
    warm_every: u32,
}

impl Sweep {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            place: 0,
            pass: 0,
            began: now,
            warm_every: 1,
        }
    }

    /// The buckets before `place` are through; whether the pass has come to its end with that.
    fn go_on(&mut self, place: usize, now: Instant) -> bool {
        let ended = place <= self.place;
        if ended {
            let took = now.since(self.began).max(PASS);
            let passes = WARM.as_secs().checked_div(took.as_secs());
            self.warm_every = passes.unwrap_or(0).max(1) as u32;
            self.pass = self.pass.wrapping_add(1);
            self.began = now;
        }
        self.place = place;
        ended
    }

    /// Whether this pass warms the way to a client.
    fn warms(&self, name: u32) -> bool {
        (name ^ self.pass).checked_rem(self.warm_every) == Some(0)
    }
}

impl Node {
    /// Visits the next slice. Softirq, one caller at a time.
    pub(crate) fn sweep_slice(&self, now: Instant, heard: Option<Instant>) {
        let mut sweep = *self.sweep.lock();
        let relinks = self.relinked.load(Relaxed);
        let place = self.table.visit_slice(sweep.place, MOST, |entry| {
            self.poll_entry(entry, now, heard) && self.sweep_entry(entry, now, &sweep, relinks > 0)
        });
        if sweep.go_on(place, now) && relinks > 0 {
            self.relinked.store(relinks.saturating_sub(1), Relaxed);
        }
        *self.sweep.lock() = sweep;
    }

    /// With its link a host loses its neighbours: those of the shadows are asked for when it is `relinked`.
    fn sweep_entry(&self, entry: &mut Entry, now: Instant, sweep: &Sweep, relinked: bool) -> bool {
        if let (Side::Shadow(shadow), false) = (&entry.side, self.speaks()) {
            if relinked || sweep.warms(shadow.id().0 as u32) {
                self.warm(entry.side.flow());
            }
        }
        if !self.may_speak_on(&entry.side) {
            entry.side.on_silence(now);
        }
        let actions = entry.side.sweep(now);
        self.carry_out(entry, actions)
    }
}
