// SPDX-License-Identifier: GPL-2.0

//! One-shot timers that can be armed again.
//!
//! High-resolution timers in soft mode: they fire in a softirq at the end of a clock
//! interrupt, and processes, however many, do not hold them up.
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use super::bh::{new_bh_lock, BhLock};
use core::ptr::NonNull;
use kernel::{bindings, prelude::*, sync::Arc, types::Opaque};

/// `CLOCK_MONOTONIC`, as [`clock::monotonic_ns`](super::clock::monotonic_ns) counts.
const CLOCK: i32 = bindings::CLOCK_MONOTONIC as i32;
const MODE: bindings::hrtimer_mode = bindings::hrtimer_mode_HRTIMER_MODE_ABS_SOFT;

struct State {
    /// Whether there is, or was, a [`Registration`].
    taken: bool,
    /// Whether a [`Registration`] exists; only then may the timer run.
    registered: bool,
    /// When the timer is set to fire, if it is.
    deadline: Option<u64>,
}

/// A timer inside the object whose [`Fire::fire`] it calls.
///
/// It does nothing until a [`Registration`] ties it to the object.
///
/// # Invariants
///
/// If `state.registered`, then `timer` is initialised and `target` points to the object.
#[pin_data]
pub(crate) struct Timer {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    /// The object, an `H` in the `Arc` of the registration.
    target: kernel::sync::atomic::Atomic<*mut kernel::ffi::c_void>,
    #[pin]
    state: BhLock<State>,
}

// SAFETY: Any CPU. An `hrtimer` locks for itself.
unsafe impl Send for Timer {}

// SAFETY: Any CPU. As for `Send`; and it is set up under the lock.
unsafe impl Sync for Timer {}

impl Timer {
    /// A timer that is not armed.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timer: Opaque::zeroed(),
            target: kernel::sync::atomic::Atomic::new(core::ptr::null_mut()),
            state <- new_bh_lock!(State {
                taken: false,
                registered: false,
                deadline: None,
            }, "sttcp::timer"),
        })
    }

    fn start(&self, state: &mut State, at_ns: u64) {
        if !state.registered {
            return;
        }
        state.deadline = Some(at_ns);
        let at = at_ns.min(i64::MAX as u64) as i64;
        // SAFETY: Registered. So the timer is set up; the registration holds the target, and
        // cancels the timer before it lets go.
        unsafe { bindings::hrtimer_start_range_ns(self.timer.get(), at, 0, MODE) };
    }

    /// Sets the timer to fire at `at_ns` on the monotonic clock, and at no other time. Any context.
    pub(crate) fn arm(&self, at_ns: u64) {
        self.start(&mut self.state.lock(), at_ns);
    }

    /// Sets the timer to fire at `at_ns`, unless it is to fire earlier anyway. Any context.
    pub(crate) fn arm_before(&self, at_ns: u64) {
        let mut state = self.state.lock();
        if state.deadline.is_none_or(|deadline| at_ns < deadline) {
            self.start(&mut state, at_ns);
        }
    }
}

/// What a timer calls. `ID` tells the timers of one type apart.
pub(crate) trait Fire<const ID: u64 = 0>: Send + Sync + 'static {
    /// The timer: a field of `self`.
    fn timer(&self) -> &Timer;

    /// The time has come. Returns when to come next, on the monotonic clock, if at all; an
    /// earlier time that someone set with [`Timer::arm_before`] meanwhile stands. Softirq.
    fn fire(&self) -> Option<u64>;
}

/// The function that the kernel calls.
///
/// # Safety
///
/// `timer` must be the field of a registered [`Timer`] of an `H`.
unsafe extern "C" fn run<H: Fire<ID>, const ID: u64>(
    timer: *mut bindings::hrtimer,
) -> bindings::hrtimer_restart {
    // SAFETY: Caller's promise. `timer` is inside the `Opaque` in a `Timer`.
    let timer = unsafe { &*kernel::container_of!(Opaque::cast_from(timer), Timer, timer) };
    let target = timer.target.load(kernel::sync::atomic::Relaxed);
    // SAFETY: Registered. The target is an `H`, by the caller's promise, and the registration keeps
    // it until no callback runs any more.
    let target = unsafe { &*target.cast::<H>().cast_const() };
    timer.state.lock().deadline = None;
    if let Some(next) = target.fire() {
        timer.arm_before(next);
    }
    // Re-armed by `hrtimer_start_range_ns` if at all: another CPU may have done that already.
    super::compat::NORESTART
}

/// Ties a timer to its object. Without it the timer cannot be armed.
///
/// # Invariants
///
/// `timer` belongs to `_target`, and is registered by this value alone.
pub(crate) struct Registration<H: Fire<ID>, const ID: u64 = 0> {
    timer: NonNull<Timer>,
    _target: Arc<H>,
}

// SAFETY: Any CPU. `Timer` and `Arc<H>` are `Send` and `Sync`.
unsafe impl<H: Fire<ID>, const ID: u64> Send for Registration<H, ID> {}

// SAFETY: Any CPU. As for `Send`.
unsafe impl<H: Fire<ID>, const ID: u64> Sync for Registration<H, ID> {}

impl<H: Fire<ID>, const ID: u64> Registration<H, ID> {
    /// Makes `target`'s timer work. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it does, or did: a timer is registered once in its life.
    pub(crate) fn new(target: Arc<H>) -> Result<Self> {
        let timer = target.timer();
        {
            let mut state = timer.state.lock();
            if state.taken {
                return Err(EBUSY);
            }
            let object = Arc::as_ptr(&target).cast_mut().cast();
            timer.target.store(object, kernel::sync::atomic::Relaxed);
            // SAFETY: Registered. The timer was never set up before, and no one else touches it
            // under the lock; it stays at its address, as it is pinned.
            unsafe { bindings::hrtimer_setup(timer.timer.get(), Some(run::<H, ID>), CLOCK, MODE) };
            // INVARIANT: Both fields are set.
            state.taken = true;
            state.registered = true;
        }
        // INVARIANT: Just registered.
        Ok(Self {
            timer: NonNull::from(timer),
            _target: target,
        })
    }
}

impl<H: Fire<ID>, const ID: u64> Drop for Registration<H, ID> {
    /// Returns when [`Fire::fire`] runs no more, and never will. Process context.
    fn drop(&mut self) {
        // SAFETY: Registered. The timer belongs to the target, which we hold.
        let timer = unsafe { self.timer.as_ref() };
        timer.state.lock().registered = false;
        // SAFETY: Registered. The timer was set up in `new`. Nobody arms it from here on; a
        // callback that runs finishes, as we do not hold the lock.
        unsafe { bindings::hrtimer_cancel(timer.timer.get()) };
    }
}
