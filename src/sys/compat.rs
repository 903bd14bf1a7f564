// SPDX-License-Identifier: GPL-2.0

//! What differs between the kernels that this module builds for.
//!
//! Code that suits all of them is better, and may stand anywhere. Where there is none, Kbuild looks
//! at the kernel's tree and sets a `cfg`, which nothing but this file reads. `docs/kernel-notes.md`
//! lists the differences.

use kernel::{
    bindings::{self, hrtimer_restart},
    error::Error,
};

/// What a timer's callback returns when the timer is not to run again.
#[cfg(sttcp_hrtimer_restart_is_newtype)]
pub(super) const NORESTART: hrtimer_restart = hrtimer_restart::HRTIMER_NORESTART;

/// What a timer's callback returns when the timer is not to run again.
#[cfg(not(sttcp_hrtimer_restart_is_newtype))]
pub(super) const NORESTART: hrtimer_restart = bindings::hrtimer_restart_HRTIMER_NORESTART;

/// `ENETUNREACH`, which the kernel crate names since 7.3.
pub(super) fn enetunreach() -> Error {
    Error::from_errno(-(bindings::ENETUNREACH as i32))
}

/// `ENOBUFS`, which the kernel crate names since 7.3.
pub(super) fn enobufs() -> Error {
    Error::from_errno(-(bindings::ENOBUFS as i32))
}

/// `ECANCELED`, which the kernel crate names since 7.3.
pub(super) fn ecanceled() -> Error {
    Error::from_errno(-(bindings::ECANCELED as i32))
}
