// SPDX-License-Identifier: GPL-2.0

//! Files in `/proc/net` of a namespace.
//!
//! C headers: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h),
//! [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{
    ffi::{c_int, c_void},
    prelude::*,
    seq_file::SeqFile,
    sync::Arc,
};

/// What a file shows. `ID` tells the files of one type apart. Process context.
pub(crate) trait Report<const ID: u64 = 0>: Send + Sync + 'static {
    /// How many positions there are; it may change. The text is made position by position, as the
    /// reader goes on, so that a big table needs a small buffer.
    fn positions(&self) -> usize;

    /// Prints one position, with [`seq_print!`](kernel::seq_print); nothing at all is fine. Called
    /// again for the same position if the text did not fit.
    fn show(&self, position: usize, out: &SeqFile);
}

struct Ops<R, const ID: u64>(PhantomData<R>);

impl<R: Report<ID>, const ID: u64> Ops<R, ID> {
    const TABLE: bindings::seq_operations = bindings::seq_operations {
        start: Some(Self::start),
        stop: Some(Self::stop),
        next: Some(Self::next),
        show: Some(Self::show),
    };

    /// The report that a file belongs to.
    ///
    /// # Safety
    ///
    /// `m` must be an open file made by [`File::create`], in one of its operations.
    unsafe fn report<'a>(m: *mut bindings::seq_file) -> &'a R {
        // SAFETY: Caller's promise. `m` is an open file of ours.
        let report = unsafe { bindings::sttcp_seq_pde_data(m) }.cast::<R>();
        // SAFETY: Registered. The pointer is into the `Arc<R>` of the `File`, which removes the
        // entry, and so waits for operations that run, before it drops that.
        unsafe { &*report.cast_const() }
    }

    /// The token for a position: one more, as null means the end.
    fn token(report: &R, position: bindings::loff_t) -> *mut c_void {
        match usize::try_from(position) {
            Ok(position) if position < report.positions() => {
                ptr::without_provenance_mut(position + 1)
            }
            _ => ptr::null_mut(),
        }
    }

    /// Begins, or goes on, at a position.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as `seq_operations::start` of a file made by [`File::create`].
    unsafe extern "C" fn start(
        m: *mut bindings::seq_file,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: Kernel's promise. It passes a file of ours.
        let report = unsafe { Self::report(m) };
        // SAFETY: Kernel's promise. It passes a valid pointer.
        Self::token(report, unsafe { *position })
    }

    /// Goes to the next position.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as `seq_operations::next` of a file made by [`File::create`].
    unsafe extern "C" fn next(
        m: *mut bindings::seq_file,
        _token: *mut c_void,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: Kernel's promise. It passes a valid pointer.
        let position = unsafe { &mut *position };
        *position += 1;
        // SAFETY: Kernel's promise. It passes a file of ours.
        Self::token(unsafe { Self::report(m) }, *position)
    }

    /// Ends a piece of the output.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as `seq_operations::stop` of a file made by [`File::create`].
    unsafe extern "C" fn stop(_m: *mut bindings::seq_file, _token: *mut c_void) {}

    /// Prints the position of a token.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as `seq_operations::show` of a file made by [`File::create`].
    unsafe extern "C" fn show(m: *mut bindings::seq_file, token: *mut c_void) -> c_int {
        // SAFETY: Kernel's promise. It passes a file of ours.
        let report = unsafe { Self::report(m) };
        // SAFETY: Kernel's promise. The file is valid, and its lock keeps other threads away during
        // the call.
        let out = unsafe { SeqFile::from_raw(m.cast()) };
        report.show(token.addr().wrapping_sub(1), out);
        0
    }
}

/// A file, there for as long as the value lives.
///
/// # Invariants
///
/// `entry` is in `/proc`, and its data points into `report`.
pub(crate) struct File<R: Report<ID>, const ID: u64 = 0> {
    entry: NonNull<bindings::proc_dir_entry>,
    _report: Arc<R>,
}

// SAFETY: Any CPU. The kernel locks for itself.
unsafe impl<R: Report<ID>, const ID: u64> Send for File<R, ID> {}

// SAFETY: Any CPU. There is nothing to do with a shared reference.
unsafe impl<R: Report<ID>, const ID: u64> Sync for File<R, ID> {}

impl<R: Report<ID>, const ID: u64> File<R, ID> {
    /// Makes the file `name` in `/proc/net`, with permissions such as `0o444`. Process context.
    pub(crate) fn create(net: Net, name: &'static CStr, mode: u16, report: Arc<R>) -> Result<Self> {
        fail::at(Site::Proc)?;
        // SAFETY: Living namespace. Its directory in `/proc` stays until after our exit.
        let parent = unsafe { bindings::sttcp_proc_net(net.as_ptr()) };
        // SAFETY: Registered. The name is copied, the operations are static, and the data lives
        // until after the entry was removed.
        let entry = unsafe {
            bindings::proc_create_seq_private(
                name.as_char_ptr(),
                mode,
                parent,
                &Ops::<R, ID>::TABLE,
                0,
                Arc::as_ptr(&report).cast_mut().cast(),
            )
        };
        // INVARIANT: Just made.
        Ok(Self {
            entry: NonNull::new(entry).ok_or(ENOMEM)?,
            _report: report,
        })
    }
}

impl<R: Report<ID>, const ID: u64> Drop for File<R, ID> {
    /// Returns when no one reads the file any more. Process context.
    fn drop(&mut self) {
        // SAFETY: Registered. By the type invariant.
        unsafe { bindings::proc_remove(self.entry.as_ptr()) };
    }
}
