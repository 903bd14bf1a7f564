// SPDX-License-Identifier: GPL-2.0

//! Something shared that may be taken away, and that nobody waits for who looks whether it is there.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use super::bindings;
use core::{marker::PhantomData, ptr};
use kernel::sync::{
    atomic::{Acquire, Atomic, Full},
    rcu, Arc,
};

/// A reference, or none.
///
/// # Invariants
///
/// The pointer is null or came from [`Arc::into_raw`]; the slot owns that reference.
pub(crate) struct RcuSlot<T>(Atomic<*mut T>, PhantomData<Arc<T>>);

impl<T> RcuSlot<T> {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(ptr::null_mut()), PhantomData)
    }

    /// What is there, as long as the read lock is held. Any context.
    pub(crate) fn get<'rcu>(&'rcu self, _rcu: &'rcu rcu::Guard) -> Option<&'rcu T> {
        let ptr = self.0.load(Acquire);
        // SAFETY: Under RCU. It is null, or shared by a reference that `set` gives up after a
        // grace period.
        unsafe { ptr.as_ref() }
    }

    /// Replaces what is there, and waits for those who look at it. Process context.
    pub(crate) fn set(&self, new: Option<Arc<T>>) {
        let new = new.map_or(ptr::null_mut(), |arc| Arc::into_raw(arc).cast_mut());
        // INVARIANT: The old reference is ours from here on, the new one is the slot's.
        let old = self.0.xchg(new, Full);
        if old.is_null() {
            return;
        }
        // SAFETY: No requirement. Process context.
        unsafe { bindings::synchronize_rcu() };
        // SAFETY: Our reference. It came from an `Arc`, and nobody finds it any more.
        drop(unsafe { Arc::from_raw(old) });
    }
}

impl<T> Drop for RcuSlot<T> {
    fn drop(&mut self) {
        self.set(None);
    }
}
