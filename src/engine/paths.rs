// SPDX-License-Identifier: GPL-2.0

//! The paths between the two hosts, one or two, and the service's link besides: which of them work.
//!
//! A peer is lost when it is heard by no path. That one path is silent changes nothing but whereby records go. But hosts that hear each other by a
//! second path do not notice when one is cut off from the clients. So each tells the other for how long it has heard nothing for the service: where a
//! backup goes on hearing clients that its primary does not hear, the primary is cut off.

use super::time::Instant;
use core::time::Duration;

/// The most paths.
pub const MAX_PATHS: usize = 2;

/// The shortest time in which a primary must have heard what its backup hears: a client repeats a lost segment after 200 ms, and after 400 more
/// (RFC 6298; Linux: `TCP_RTO_MIN`).
const LEAST: Duration = Duration::from_millis(500);

#[derive(Copy, Clone, Debug, Default)]
struct Path {
    last_heard: Option<Instant>,
    lost: bool,
}

/// The paths of a node.
#[derive(Debug)]
pub struct Paths {
    count: usize,
    paths: [Path; MAX_PATHS],
}

impl Paths {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self {
            count: count.clamp(1, MAX_PATHS),
            paths: [Path::default(); MAX_PATHS],
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The peer was heard by this one. Returns whether that had been lost.
    pub fn heard(&mut self, path: usize, now: Instant) -> bool {
        let Some(path) = self.paths.get_mut(path) else {
            return false;
        };
        path.last_heard = Some(now);
        core::mem::take(&mut path.lost)
    }

    /// A path by which nothing has come for so long, since `joined` at the earliest, while another brought something. Each is named once.
    pub fn poll(&mut self, joined: Instant, patience: Duration, now: Instant) -> Option<usize> {
        let silent = |path: &Path| {
            let since = path.last_heard.unwrap_or(joined).max(joined);
            now.since(since) >= patience
        };
        let used = self.paths.get_mut(..self.count).unwrap_or_default();
        if used.iter().all(silent) {
            return None;
        }
        let at = used.iter().position(|path| silent(path) && !path.lost)?;
        if let Some(path) = used.get_mut(at) {
            path.lost = true;
        }
        Some(at)
    }

    /// By which records go: the first that is not lost.
    pub fn best(&self) -> usize {
        let used = self.paths.get(..self.count).unwrap_or_default();
        used.iter().position(|path| !path.lost).unwrap_or(0)
    }

    /// Forgets what was heard, at the end of a session.
    pub fn forget(&mut self) {
        self.paths = [Path::default(); MAX_PATHS];
    }
}

/// Whether this host hears the clients that the other hears.
#[derive(Debug)]
pub struct Hearing {
    /// When something for the service last came in here.
    own: Instant,
    /// The same there, by the clock here.
    peer: Instant,
    /// Since when the peer hears what does not come in here.
    cut_since: Option<Instant>,
}

impl Hearing {
    /// As of now.
    pub fn new(now: Instant) -> Self {
        Self {
            own: now,
            peer: now,
            cut_since: None,
        }
    }

    /// Something for the service came in here at `at`.
    pub fn heard(&mut self, at: Instant) {
        if at > self.own {
            self.own = at;
            self.cut_since = None;
        }
    }

    /// For how long nothing has.
    pub fn deaf(&self, now: Instant) -> Duration {
        now.since(self.own)
    }

    /// The peer says that for so long nothing has come in there.
    pub fn peer_says(&mut self, deaf: Duration, now: Instant) {
        let at = Instant::from_nanos(now.as_nanos().saturating_sub(deaf.as_nanos() as u64));
        self.peer = self.peer.max(at);
        if self.peer > self.own {
            self.cut_since.get_or_insert(now);
        }
    }

    /// For how long the peer has gone on hearing what does not come in here, if that is too long for a chance.
    pub fn cut_off(&self, patience: Duration, now: Instant) -> Option<Duration> {
        let since = self.cut_since?;
        let limit = patience.max(LEAST);
        // One segment that nobody repeats may be lost on the way here alone.
        let goes_on = self.peer >= since.after(limit.checked_div(2).unwrap_or_default());
        let long = now.since(since);
        (goes_on && long >= limit).then_some(long)
    }

    /// Begins anew.
    pub fn reset(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}
