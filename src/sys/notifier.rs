// SPDX-License-Identifier: GPL-2.0

//! Word that the kernel goes down, or that a network device changes.
//!
//! C headers: [`include/linux/notifier.h`](srctree/include/linux/notifier.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/reboot.h`](srctree/include/linux/reboot.h),
//! [`include/linux/panic_notifier.h`](srctree/include/linux/panic_notifier.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
};
use core::pin::Pin;
use kernel::{
    error::to_result,
    ffi::{c_int, c_ulong, c_void},
    prelude::*,
    sync::Arc,
    types::Opaque,
};

/// A list of who wants to know.
pub(crate) trait Chain: Send + Sync + 'static {
    /// Adds a block. Process context.
    ///
    /// # Safety
    ///
    /// It must be on no list, and stay where it is until it has been taken off.
    unsafe fn add(&self, block: *mut bindings::notifier_block) -> Result;

    /// Takes a block off. Its function runs no more when this returns. Process context.
    ///
    /// # Safety
    ///
    /// It must be on this list.
    unsafe fn remove(&self, block: *mut bindings::notifier_block);
}

/// The machine reboots, halts or is switched off, by order (`kernel_restart` and its like).
pub(crate) struct Reboot;

impl Chain for Reboot {
    unsafe fn add(&self, block: *mut bindings::notifier_block) -> Result {
        fail::at(Site::Hooks)?;
        // SAFETY: Caller's promise. It stays.
        to_result(unsafe { bindings::register_reboot_notifier(block) })
    }

    unsafe fn remove(&self, block: *mut bindings::notifier_block) {
        // SAFETY: Caller's promise. It is on the list.
        unsafe { bindings::unregister_reboot_notifier(block) };
    }
}

/// The kernel dies (`panic`), and boots no crash kernel instead.
pub(crate) struct Panic;

impl Chain for Panic {
    unsafe fn add(&self, block: *mut bindings::notifier_block) -> Result {
        fail::at(Site::Hooks)?;
        // SAFETY: Caller's promise. It stays.
        to_result(unsafe { bindings::sttcp_register_panic_notifier(block) })
    }

    unsafe fn remove(&self, block: *mut bindings::notifier_block) {
        // SAFETY: Caller's promise. It is on the list.
        unsafe { bindings::sttcp_unregister_panic_notifier(block) };
    }
}

/// A device of a namespace comes, goes or changes, its carrier for one. Each is told of as coming when the block is added, and as going when it is
/// taken off.
pub(crate) struct Devices(pub(crate) Net);

impl Chain for Devices {
    unsafe fn add(&self, block: *mut bindings::notifier_block) -> Result {
        fail::at(Site::Hooks)?;
        // SAFETY: Caller's promise. It stays, and the namespace is there.
        to_result(unsafe { bindings::register_netdevice_notifier_net(self.0.as_ptr(), block) })
    }

    unsafe fn remove(&self, block: *mut bindings::notifier_block) {
        // SAFETY: Caller's promise. It is on the list.
        unsafe { bindings::unregister_netdevice_notifier_net(self.0.as_ptr(), block) };
    }
}

/// What is told.
pub(crate) trait Notify<C: Chain>: Send + Sync + 'static {
    /// It happens now. For [`Reboot`] process context; for [`Panic`] the only code that still runs,
    /// interrupts off; for [`Devices`] process context, the lock of all devices held (RTNL).
    fn notified(&self);
}

/// # Invariants
///
/// `block.notifier_call` is [`notified`] for `H`.
#[pin_data]
struct Block<H> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    target: Arc<H>,
}

/// The function that the kernel calls.
///
/// # Safety
///
/// `block` must be that of a [`Block<H>`].
unsafe extern "C" fn notified<H: Notify<C>, C: Chain>(
    block: *mut bindings::notifier_block,
    _what: c_ulong,
    _data: *mut c_void,
) -> c_int {
    const NOTIFY_DONE: c_int = 0;

    // SAFETY: Caller's promise. `block` is inside the `Opaque` in a `Block`, which lives until it
    // has been taken off the list.
    let block = unsafe { &*kernel::container_of!(Opaque::cast_from(block), Block<H>, block) };
    block.target.notified();
    NOTIFY_DONE
}

/// Has an object told; ends when dropped.
///
/// # Invariants
///
/// The block is on the chain's list.
pub(crate) struct Registration<H: Notify<C>, C: Chain> {
    block: Pin<KBox<Block<H>>>,
    chain: C,
}

// SAFETY: Any CPU. The block is the kernel's, which locks for itself, and `H` is `Send` and `Sync`.
unsafe impl<H: Notify<C>, C: Chain> Send for Registration<H, C> {}

// SAFETY: Any CPU. As for `Send`.
unsafe impl<H: Notify<C>, C: Chain> Sync for Registration<H, C> {}

impl<H: Notify<C>, C: Chain> Registration<H, C> {
    /// Registers `target`, to be told before all others. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(chain: C, target: Arc<H>) -> Result<Self> {
        fail::at(Site::Hooks)?;
        let block = bindings::notifier_block {
            notifier_call: Some(notified::<H, C>),
            priority: c_int::MAX,
            ..Default::default()
        };
        // INVARIANT: It calls `notified` for `H`.
        let block = KBox::pin_init(
            pin_init!(Block {
                block: Opaque::new(block),
                target,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Registered. The block is on no list, and stays where it is until `Drop` has taken
        // it off.
        unsafe { chain.add(block.block.get()) }?;
        // INVARIANT: Just added.
        Ok(Self { block, chain })
    }
}

impl<H: Notify<C>, C: Chain> Drop for Registration<H, C> {
    /// Returns when [`Notify::notified`] runs no more. Process context.
    fn drop(&mut self) {
        // SAFETY: Registered. By the type invariant.
        unsafe { self.chain.remove(self.block.block.get()) };
    }
}
