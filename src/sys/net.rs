// SPDX-License-Identifier: GPL-2.0

//! A network namespace.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use super::bindings;
use core::ptr::NonNull;

/// A network namespace, `struct net`.
///
/// A plain pointer without a reference count: a reference held by this module would keep the
/// namespace from ever being deleted.
///
/// # Invariants
///
/// Points to a `struct net` whose taking down does not get past our per-namespace state before the
/// last use of the value. Values come from [`PerNet::init`](super::pernet::PerNet::init), whose state
/// is dropped in that step. So keep a `Net` inside per-namespace state, nowhere else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net(NonNull<bindings::net>);

// SAFETY: Any CPU. The functions that take a `struct net` lock for themselves.
unsafe impl Send for Net {}

// SAFETY: Any CPU. As for `Send`.
unsafe impl Sync for Net {}

impl Net {
    /// Wraps a pointer that the kernel handed to a callback. `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// If not null, `net` must be as the type invariant says for as long as the value is used.
    pub(super) unsafe fn from_raw(net: *mut bindings::net) -> Option<Self> {
        // INVARIANT: The caller promises it.
        NonNull::new(net).map(Self)
    }

    /// The C pointer.
    pub(super) fn as_ptr(self) -> *mut bindings::net {
        self.0.as_ptr()
    }
}
