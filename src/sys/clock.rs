// SPDX-License-Identifier: GPL-2.0

//! Clocks and random numbers. Any context.
//!
//! C headers: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h),
//! [`include/linux/random.h`](srctree/include/linux/random.h)

use super::bindings;

/// Nanoseconds since boot, without time spent suspended (`CLOCK_MONOTONIC`).
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: No requirement.
    unsafe { bindings::ktime_get() as u64 }
}

/// Sleeps so long, or a little longer. Process context.
pub(crate) fn sleep_ms(ms: u32) {
    // SAFETY: No requirement. Process context.
    unsafe { bindings::msleep(ms) };
}

/// A number that nobody can guess.
pub(crate) fn random_u64() -> u64 {
    // SAFETY: No requirement.
    unsafe { bindings::get_random_u64() }
}

/// A number that nobody can guess.
pub(crate) fn random_u32() -> u32 {
    // SAFETY: No requirement.
    unsafe { bindings::get_random_u32() }
}
