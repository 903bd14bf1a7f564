// SPDX-License-Identifier: GPL-2.0

//! Faults on purpose: the proof that the debug kernel finds such ones.
//!
//! Only in a module built with `PLANT=uaf`, `PLANT=inversion` or `PLANT=leak`. `scripts/run-plants.sh`
//! builds and runs each, and wants the report that belongs to it. Each is made with what the module
//! itself is made with, a `KBox` or a `BhLock`, so that it shows these to be watched.

use super::bh::{new_bh_lock, BhLock};
use core::pin::Pin;
use kernel::prelude::*;

/// Does what the build asked for. Process context.
pub(crate) fn spring() -> Result {
    if cfg!(sttcp_plant = "uaf") {
        use_after_free()?;
    }
    if cfg!(sttcp_plant = "inversion") {
        inversion()?;
    }
    if cfg!(sttcp_plant = "leak") {
        leak()?;
    }
    Ok(())
}

/// Reads a byte of memory that was freed.
#[inline(never)]
fn use_after_free() -> Result {
    let freed = KBox::into_raw(KBox::new([1u8; 64], GFP_KERNEL)?);
    // SAFETY: Our box. It is freed here.
    drop(unsafe { KBox::from_raw(freed) });
    // SAFETY: Fault on purpose. The memory is gone.
    let _ = unsafe { freed.cast::<u8>().read_volatile() };
    Ok(())
}

#[pin_data]
struct Pair {
    #[pin]
    left: BhLock<u32>,
    #[pin]
    right: BhLock<u32>,
}

/// Takes two locks in one order, then in the other. Nothing hangs, as nobody else takes them.
#[inline(never)]
fn inversion() -> Result {
    let pair: Pin<KBox<Pair>> = KBox::pin_init(
        pin_init!(Pair {
            left <- new_bh_lock!(0, "sttcp_plant_left"),
            right <- new_bh_lock!(0, "sttcp_plant_right"),
        }),
        GFP_KERNEL,
    )?;
    {
        let _left = pair.left.lock();
        let _right = pair.right.lock();
    }
    let _right = pair.right.lock();
    let _left = pair.left.lock();
    Ok(())
}

/// Forgets memory, several times over: a stale pointer on a stack may make one piece look used. So may the allocator's own arrays of free objects (`slab_sheaf`), which
/// keep what they have handed out until something else is put there; hence the turnover.
#[inline(never)]
fn leak() -> Result {
    for _ in 0..8 {
        core::mem::forget(KBox::new([1u8; 64], GFP_KERNEL)?);
    }
    for _ in 0..1024 {
        KBox::new([0u8; 64], GFP_KERNEL)?;
    }
    Ok(())
}
