// SPDX-License-Identifier: GPL-2.0

//! A spinlock against softirqs.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use super::bindings as ours;
use kernel::{
    bindings,
    ffi::c_char,
    sync::lock::{Backend, Guard, Lock},
};

/// A lock with bottom halves disabled while it is held (`spin_lock_bh`), for data that hooks,
/// timers and process context share. Taken in any context; nothing may sleep under it.
///
/// Made by [`new_bh_lock!`](new_bh_lock), so each place that makes one is a lock class for
/// lockdep.
pub(crate) type BhLock<T> = Lock<T, BhBackend>;

/// The evidence that a [`BhLock`] is held.
pub(crate) type BhGuard<'a, T> = Guard<'a, T, BhBackend>;

/// `spin_lock_bh` and `spin_unlock_bh`.
pub(crate) struct BhBackend;

fn ours(lock: *mut bindings::spinlock_t) -> *mut ours::spinlock_t {
    lock.cast()
}

// SAFETY: Any CPU. A `spinlock_t` keeps all others out, and softirqs of this one. `relock` uses the
// default implementation, which takes the lock in the same way.
unsafe impl Backend for BhBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: Caller's promise. `ptr` is valid for writes, and `name` and `key` for reads for
        // ever.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: Caller's promise. The lock is initialised.
        unsafe { ours::sttcp_spin_lock_bh(ours(ptr)) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: Caller's promise. The lock is initialised.
        (unsafe { ours::sttcp_spin_trylock_bh(ours(ptr)) } != 0).then_some(())
    }

    unsafe fn unlock(ptr: *mut Self::State, (): &()) {
        // SAFETY: Caller's promise. It holds the lock.
        unsafe { ours::sttcp_spin_unlock_bh(ours(ptr)) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: Caller's promise. The lock is initialised.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}

/// Makes a [`BhLock`] around a value, with a lock class of its own.
macro_rules! new_bh_lock {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sys::bh::BhLock::new(
            $inner, ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub(crate) use new_bh_lock;
