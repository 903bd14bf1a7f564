// SPDX-License-Identifier: GPL-2.0

//! State for each network namespace.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
};
use core::{
    marker::PhantomData,
    pin::Pin,
    ptr::{self, NonNull},
};
use kernel::{
    error::to_result,
    ffi::c_uint,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed, Release},
    types::{ForeignOwnable, Opaque},
};

/// The index of a type's state in the tables of the namespaces. One `static` for each type.
pub(crate) struct Slot {
    /// Written by `register_pernet_subsys`, read by `net_generic`.
    id: Atomic<u32>,
    /// Whether a registration uses the slot.
    taken: Atomic<bool>,
}

impl Slot {
    /// An unused slot.
    pub(crate) const fn new() -> Self {
        Self {
            id: Atomic::new(0),
            taken: Atomic::new(false),
        }
    }
}

/// State that every network namespace has one of.
pub(crate) trait PerNet: Sized + Send + Sync + 'static {
    /// Where the state is kept. Always the same slot, and no other type's.
    fn slot() -> &'static Slot;

    /// Makes the state of a namespace, new or already there. Process context.
    fn init(net: Net) -> Result<Pin<KBox<Self>>>;

    /// The namespace, or the module, is about to go; a grace period later the state is dropped, from
    /// process context. Packets may still pass. Process context.
    fn stop(&self) {}
}

/// One entry in a namespace's `net_generic` table: the memory that `pernet_operations::size` asks
/// for. All zeroes at first.
#[repr(C)]
struct Cell {
    /// The owning pointer; null before `init` and after `exit`, which the kernel calls one after the
    /// other.
    state: Atomic<*mut kernel::ffi::c_void>,
}

/// The cell of `T` in `net`.
///
/// # Safety
///
/// `T`'s slot must be registered, and the namespace must not have freed its table yet.
unsafe fn cell<'a, T: PerNet>(net: *const bindings::net) -> Option<&'a Cell> {
    let id = T::slot().id.load(Relaxed);
    // SAFETY: Caller's promise. The slot is registered, and the namespace has its table.
    let cell = unsafe { bindings::sttcp_net_generic(net, id) }.cast::<Cell>();
    // SAFETY: Kernel's promise. It allocated `size_of::<Cell>()` bytes, zeroed, when the slot was
    // registered or the namespace made, whichever came last, and a zeroed `Cell` is valid.
    unsafe { cell.as_ref() }
}

/// Makes the state of a namespace. Its cell gets the pointer inside the `Pin<KBox<T>>`.
///
/// # Safety
///
/// For the kernel to call, as `pernet_operations::init` with `T`'s slot.
unsafe extern "C" fn init<T: PerNet>(raw: *mut bindings::net) -> kernel::ffi::c_int {
    // SAFETY: Kernel's promise. It passes a namespace, and takes it down by way of `exit`, which
    // drops the state that gets it.
    let Some(net) = (unsafe { Net::from_raw(raw) }) else {
        return EINVAL.to_errno();
    };
    // SAFETY: Kernel's promise. It calls this with the slot registered and the table allocated.
    let Some(cell) = (unsafe { cell::<T>(raw) }) else {
        return ENOMEM.to_errno();
    };
    match T::init(net) {
        Ok(state) => {
            let state: *mut kernel::ffi::c_void = state.into_foreign().cast();
            cell.state.store(state, Relaxed);
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// Tells the state of a namespace that this is about to go.
///
/// # Safety
///
/// For the kernel to call, as `pernet_operations::pre_exit` with `T`'s slot.
unsafe extern "C" fn pre_exit<T: PerNet>(raw: *mut bindings::net) {
    // SAFETY: Kernel's promise. It calls this while the slot is registered and the table allocated.
    let Some(cell) = (unsafe { cell::<T>(raw) }) else {
        return;
    };
    let state = cell.state.load(Relaxed).cast::<T>();
    // SAFETY: Kernel's promise. It is null or the state, which `exit` drops, and that is called
    // after this.
    if let Some(state) = unsafe { state.cast_const().as_ref() } {
        state.stop();
    }
}

/// Drops the state of a namespace.
///
/// # Safety
///
/// For the kernel to call, as `pernet_operations::exit` with `T`'s slot.
unsafe extern "C" fn exit<T: PerNet>(raw: *mut bindings::net) {
    // SAFETY: Kernel's promise. It calls this while the slot is registered and the table allocated.
    let Some(cell) = (unsafe { cell::<T>(raw) }) else {
        return;
    };
    let state = cell.state.xchg(ptr::null_mut(), Full);
    if !state.is_null() {
        // SAFETY: Our box. It came from `into_foreign` in `init`, and was just taken out, so this
        // happens once; `pre_exit` has returned.
        drop(unsafe { <Pin<KBox<T>> as ForeignOwnable>::from_foreign(state.cast()) });
    }
}

/// A registration of `T` in all namespaces.
///
/// # Invariants
///
/// `ops` is registered with `register_pernet_subsys`.
pub(crate) struct Registration<T: PerNet> {
    ops: NonNull<Opaque<bindings::pernet_operations>>,
    _state: PhantomData<T>,
}

// SAFETY: Any CPU. It only unregisters itself, from whichever thread drops it.
unsafe impl<T: PerNet> Send for Registration<T> {}

// SAFETY: Any CPU. There is nothing to do with a shared reference.
unsafe impl<T: PerNet> Sync for Registration<T> {}

impl<T: PerNet> Registration<T> {
    /// Makes the state in all namespaces there are, and from now on in each new one.
    /// Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if `T` is registered already, and whatever [`PerNet::init`] returns.
    pub(crate) fn new() -> Result<Self> {
        let slot = T::slot();
        if slot.taken.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }
        let ops = bindings::pernet_operations {
            init: Some(init::<T>),
            pre_exit: Some(pre_exit::<T>),
            exit: Some(exit::<T>),
            id: slot.id.as_ptr(),
            size: core::mem::size_of::<Cell>(),
            ..Default::default()
        };
        let ops = fail::at(Site::Pernet)
            .and_then(|()| Ok(KBox::new(Opaque::new(ops), GFP_KERNEL)?))
            .inspect_err(|_| slot.taken.store(false, Release))?;
        let ops = KBox::into_raw(ops);
        let registered = fail::at(Site::Pernet).and_then(|()| {
            // SAFETY: Registered. `ops` points to memory that is freed only after it was
            // unregistered.
            to_result(unsafe { bindings::register_pernet_subsys(Opaque::cast_into(ops)) })
        });
        if let Err(error) = registered {
            slot.taken.store(false, Release);
            // SAFETY: Our box. `ops` came from `KBox::into_raw`, and the kernel does not keep what
            // it failed to register.
            drop(unsafe { KBox::from_raw(ops) });
            return Err(error);
        }
        // SAFETY: Our box. `KBox::into_raw` never gives null.
        let ops = unsafe { NonNull::new_unchecked(ops) };
        // INVARIANT: Registered above.
        Ok(Self {
            ops,
            _state: PhantomData,
        })
    }
}

impl<T: PerNet> Drop for Registration<T> {
    fn drop(&mut self) {
        let slot = T::slot();
        // SAFETY: Registered. By the type invariant.
        unsafe { bindings::unregister_pernet_subsys(Opaque::cast_into(self.ops.as_ptr())) };
        slot.taken.store(false, Release);
        // SAFETY: Our box. `ops` came from `KBox::into_raw` in `new`, and is no longer registered.
        drop(unsafe { KBox::from_raw(self.ops.as_ptr()) });
    }
}

// `id` is handed to C as an `unsigned int`.
const _: () = assert!(core::mem::size_of::<Atomic<u32>>() == core::mem::size_of::<c_uint>());
