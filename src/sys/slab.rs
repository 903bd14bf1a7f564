// SPDX-License-Identifier: GPL-2.0

//! A slab cache (`kmem_cache`): memory for many objects of one size, which `kmalloc` would round up to the next power of two.

use super::bindings;
use super::fail::{self, Site};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed};

/// Where the cache of a type is found. One `static` for each type.
pub(crate) struct Slot {
    /// Null while there is none.
    cache: Atomic<*mut bindings::kmem_cache>,
}

impl Slot {
    /// No cache.
    pub(crate) const fn new() -> Self {
        Self {
            cache: Atomic::new(ptr::null_mut()),
        }
    }
}

/// A type whose objects lie in a cache of their own.
pub(crate) trait Cached: Sized + 'static {
    /// Its name in `/proc/slabinfo`.
    const NAME: &'static CStr;

    /// Where the cache is found. Always the same slot, and no other type's.
    fn slot() -> &'static Slot;
}

/// The cache of a type.
pub(crate) struct Cache<T: Cached>(PhantomData<T>);

impl<T: Cached> Cache<T> {
    /// Makes the cache. Only one at a time. Process.
    pub(crate) fn new() -> Result<Self> {
        if !T::slot().cache.load(Relaxed).is_null() {
            return Err(EBUSY);
        }
        fail::at(Site::Slab)?;
        let (size, align) = (size_of::<T>() as u32, align_of::<T>() as u32);
        // SAFETY: Valid memory. The name is a string that stays.
        let cache =
            unsafe { bindings::sttcp_kmem_cache_create(T::NAME.as_char_ptr(), size, align) };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        T::slot().cache.xchg(cache, Full);
        Ok(Self(PhantomData))
    }
}

impl<T: Cached> Drop for Cache<T> {
    /// Process, and nobody makes an object meanwhile. Those that are left stay, and the kernel complains of them.
    fn drop(&mut self) {
        let cache = T::slot().cache.xchg(ptr::null_mut(), Full);
        // SAFETY: Registered. It is the cache that `new` made, and is found no more.
        unsafe { bindings::kmem_cache_destroy(cache) };
    }
}

/// An object in the cache of its type.
///
/// # Invariants
///
/// It points to an initialised `T` in an object of the cache, and owns both.
pub(crate) struct SlabBox<T: Cached>(NonNull<T>);

// SAFETY: Any CPU. It owns a `T`, as a `KBox` does, and the kernel's allocator locks for itself.
unsafe impl<T: Cached + Send> Send for SlabBox<T> {}

// SAFETY: Any CPU. A shared reference gives shared references to `T` only.
unsafe impl<T: Cached + Sync> Sync for SlabBox<T> {}

impl<T: Cached> SlabBox<T> {
    /// Puts `value` into the cache. Any context, but not while the cache is dropped.
    pub(crate) fn new(value: T) -> Result<Self> {
        let cache = T::slot().cache.load(Acquire);
        if cache.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: Registered. The cache is there, as nobody drops it meanwhile.
        let object = unsafe { bindings::sttcp_kmem_cache_alloc(cache) }.cast::<T>();
        let object = NonNull::new(object).ok_or(ENOMEM)?;
        // SAFETY: Our box. The cache was made for the size and alignment of `T`.
        unsafe { object.write(value) };
        // INVARIANT: Just written.
        Ok(Self(object))
    }
}

impl<T: Cached> Deref for SlabBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: Our box. By the type invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Cached> DerefMut for SlabBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: Our box. By the type invariant.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Cached> Drop for SlabBox<T> {
    fn drop(&mut self) {
        // SAFETY: Our box. By the type invariant, and it is not used again.
        unsafe { self.0.drop_in_place() };
        // SAFETY: Our box. `kfree` finds the cache of any object by itself.
        unsafe { bindings::kfree(self.0.as_ptr().cast()) };
    }
}
