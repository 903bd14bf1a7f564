// SPDX-License-Identifier: GPL-2.0

//! Work for later, in a softirq or a process.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::NonNull;
use kernel::{
    bindings,
    ffi::c_void,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed, Release},
        Arc,
    },
    types::Opaque,
};

/// Where work is done.
#[derive(Clone, Copy)]
pub(crate) enum Context {
    /// In a softirq, on the CPU that scheduled it, soon after (`system_bh_wq`).
    Softirq,
    /// In a process; it may sleep, and for long (`system_long_wq`).
    Process,
}

/// A work item inside the object whose [`Run::run`] it calls.
///
/// It does nothing until a [`Registration`] ties it to the object.
///
/// # Invariants
///
/// If `ready`, then `work` is initialised and `target` points to the object.
#[pin_data]
pub(crate) struct Work {
    #[pin]
    work: Opaque<bindings::work_struct>,
    context: Context,
    target: Atomic<*mut c_void>,
    taken: Atomic<bool>,
    ready: Atomic<bool>,
}

// SAFETY: Any CPU. A `work_struct` locks for itself.
unsafe impl Send for Work {}

// SAFETY: Any CPU. As for `Send`.
unsafe impl Sync for Work {}

impl Work {
    /// A work item that is not scheduled.
    pub(crate) fn new(context: Context) -> impl PinInit<Self> {
        pin_init!(Self {
            work: Opaque::zeroed(),
            context,
            target: Atomic::new(core::ptr::null_mut()),
            taken: Atomic::new(false),
            ready: Atomic::new(false),
        })
    }

    /// Has [`Run::run`] called once, later. Returns whether that was not going to happen anyway.
    /// Any context.
    pub(crate) fn schedule(&self) -> bool {
        if !self.ready.load(Acquire) {
            return false;
        }
        let queue = match self.context {
            // SAFETY: No requirement. A global that is set at boot.
            Context::Softirq => unsafe { bindings::system_bh_wq },
            // SAFETY: No requirement. A global that is set at boot.
            Context::Process => unsafe { bindings::system_long_wq },
        };
        // SAFETY: Registered. So the work is initialised. Where the registration is dropped at the
        // same time, the work is disabled, and the call refuses.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32,
                queue,
                self.work.get(),
            )
        }
    }
}

/// What a work item calls. `ID` tells the items of one type apart.
pub(crate) trait Run<const ID: u64 = 0>: Send + Sync + 'static {
    /// The work item: a field of `self`.
    fn work(&self) -> &Work;

    /// Does the work; never twice at a time. In the item's [`Context`].
    fn run(&self);
}

/// The function that the kernel calls.
///
/// # Safety
///
/// `work` must be the field of a registered [`Work`] of an `H`.
unsafe extern "C" fn run<H: Run<ID>, const ID: u64>(work: *mut bindings::work_struct) {
    // SAFETY: Caller's promise. `work` is inside the `Opaque` in a `Work`.
    let work = unsafe { &*kernel::container_of!(Opaque::cast_from(work), Work, work) };
    let target = work.target.load(Relaxed);
    // SAFETY: Registered. The target is an `H`, by the caller's promise, and the registration keeps
    // it until the work runs no more.
    unsafe { &*target.cast::<H>().cast_const() }.run();
}

/// Ties a work item to its object. Without it the item cannot be scheduled.
///
/// # Invariants
///
/// `work` belongs to `_target`, and is ready by this value alone.
pub(crate) struct Registration<H: Run<ID>, const ID: u64 = 0> {
    work: NonNull<Work>,
    _target: Arc<H>,
}

// SAFETY: Any CPU. `Work` and `Arc<H>` are `Send` and `Sync`.
unsafe impl<H: Run<ID>, const ID: u64> Send for Registration<H, ID> {}

// SAFETY: Any CPU. As for `Send`.
unsafe impl<H: Run<ID>, const ID: u64> Sync for Registration<H, ID> {}

impl<H: Run<ID>, const ID: u64> Registration<H, ID> {
    /// Makes `target`'s work item work. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it does, or did: an item is registered once in its life.
    pub(crate) fn new(target: Arc<H>) -> Result<Self> {
        let work = target.work();
        if work.taken.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }
        let object = Arc::as_ptr(&target).cast_mut().cast();
        work.target.store(object, Relaxed);
        // To lockdep work is a lock that is held while it runs; in a softirq it is another one.
        let class = match work.context {
            Context::Softirq => kernel::static_lock_class!(),
            Context::Process => kernel::static_lock_class!(),
        };
        // SAFETY: Registered. The work was never initialised before, and `taken` makes us the only
        // one to do it; it stays at its address, as it is pinned. The name and the key are static.
        unsafe {
            bindings::init_work_with_key(
                work.work.get(),
                Some(run::<H, ID>),
                false,
                c"sttcp::work".as_char_ptr(),
                class.as_ptr(),
            )
        };
        // INVARIANT: All is set.
        work.ready.store(true, Release);
        // INVARIANT: Just made ready.
        Ok(Self {
            work: NonNull::from(work),
            _target: target,
        })
    }
}

impl<H: Run<ID>, const ID: u64> Drop for Registration<H, ID> {
    /// Returns when [`Run::run`] runs no more, and never will. Process context.
    fn drop(&mut self) {
        // SAFETY: Registered. The work item belongs to the target, which we hold.
        let work = unsafe { self.work.as_ref() };
        work.ready.store(false, Release);
        // SAFETY: Registered. So the work is initialised. From here on it cannot be queued, not
        // even by one that has read `ready` before.
        unsafe { bindings::disable_work_sync(work.work.get()) };
    }
}
