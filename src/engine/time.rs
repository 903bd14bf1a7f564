// SPDX-License-Identifier: GPL-2.0

//! Points on the monotonic clock.

use core::num::NonZero;
use core::time::Duration;

/// A point in time: nanoseconds of the caller's monotonic clock (`ktime_get` in the kernel, a counter in a simulation).
///
/// One more than them is what is stored, so that an optional instant takes no more room than one: each connection has a dozen.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(NonZero<u64>);

impl Default for Instant {
    fn default() -> Self {
        Self::from_nanos(0)
    }
}

impl Instant {
    /// The end of time.
    pub const END: Self = Self(NonZero::<u64>::MAX);

    /// The instant `nanos` after the clock's zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZero::<u64>::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> u64 {
        self.0.get().wrapping_sub(1)
    }

    /// The instant `wait` later; saturates at the end of time.
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// A wait of less than 4.3 s, in the room of four bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct ShortWait {
    nanos: u32,
}

impl ShortWait {
    /// So long, or as long as there are.
    pub fn new(wait: Duration) -> Self {
        Self {
            nanos: nanos(wait).try_into().unwrap_or(u32::MAX),
        }
    }

    /// The average of such waits after one more, which counts for an eighth (RFC 6298, section 2).
    pub fn averaged(self, wait: Duration) -> Self {
        let rest = self.nanos.saturating_sub(self.nanos >> 3);
        Self {
            nanos: rest.saturating_add(Self::new(wait).nanos >> 3),
        }
    }

    /// How long it is.
    pub const fn get(self) -> Duration {
        Duration::from_nanos(self.nanos as u64)
    }
}

fn nanos(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(wait.subsec_nanos()))
}

/// Whole milliseconds of `wait`, modulo 2^32: the ticks by which a TCP timestamp clock advances (RFC 7323, 5.4; Linux: 1 ms).
pub fn timestamp_ticks(wait: Duration) -> u32 {
    (nanos(wait) / 1_000_000) as u32
}

/// The earlier of two optional instants; `None` is never.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
