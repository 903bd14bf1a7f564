// SPDX-License-Identifier: GPL-2.0

//! Values in `/proc/sys/net` of a namespace.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
};
use core::ptr::NonNull;
use kernel::{
    ffi::{c_int, c_void},
    fmt::{self, Write},
    prelude::*,
    sync::Arc,
};

/// The longest value that can be written, in bytes.
pub(crate) const MAX_WRITE: usize = 1024;

/// One file.
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// Its permissions, such as `0o644`. The owner is root of the namespace's user namespace.
    pub(crate) mode: u16,
    /// What [`Control`] knows it by.
    pub(crate) id: u32,
}

/// What reads and writes values. Process context.
pub(crate) trait Control: Send + Sync + 'static {
    /// Prints the value, without a newline at the end. A reader that takes the value in pieces
    /// causes a call for each.
    ///
    /// # Errors
    ///
    /// Goes to the reader.
    fn read(&self, id: u32, out: &mut dyn Write) -> Result;

    /// Sets the value. `text` has no white space at its ends.
    ///
    /// # Errors
    ///
    /// Goes to the writer.
    fn write(&self, id: u32, text: &str) -> Result;
}

/// Writes what falls into the window that the reader asks for.
pub(super) struct Window<'a> {
    buffer: &'a mut [u8],
    /// Bytes still to be left out.
    skip: usize,
    /// Bytes written.
    filled: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(buffer: &'a mut [u8], skip: usize) -> Self {
        Self {
            buffer,
            skip,
            filled: 0,
        }
    }

    pub(super) fn filled(&self) -> usize {
        self.filled
    }
}

impl Write for Window<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = text.as_bytes();
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let rest = bytes.get(skipped..).unwrap_or(&[]);
        let room = self.buffer.get_mut(self.filled..).unwrap_or(&mut []);
        let count = rest.len().min(room.len());
        for (to, from) in room.iter_mut().zip(rest) {
            *to = *from;
        }
        self.filled += count;
        Ok(())
    }
}

fn read<C: Control>(control: &C, id: u32, buffer: &mut [u8], position: usize) -> Result<usize> {
    let mut window = Window::new(buffer, position);
    control.read(id, &mut window)?;
    window.write_str("\n").map_err(|_| EINVAL)?;
    Ok(window.filled())
}

fn write<C: Control>(control: &C, id: u32, bytes: &[u8], position: usize) -> Result {
    // A value is written at once, or not at all.
    if position != 0 || bytes.len() > MAX_WRITE {
        return Err(EINVAL);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| EINVAL)?;
    control.write(
        id,
        text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0'),
    )
}

/// The function that the kernel calls for each read and write. Process context.
///
/// # Safety
///
/// `table` must be an entry that [`Table::register`] made for a `C`; `buffer` must be kernel memory
/// of `*len` bytes.
unsafe extern "C" fn handler<C: Control>(
    table: *const bindings::ctl_table,
    is_write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    position: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: Kernel's promise. It passes our table entry, which is registered as long as this
    // runs.
    let (control, id) = unsafe { ((*table).extra1, (*table).extra2 as usize as u32) };
    // SAFETY: Registered. `extra1` points into the `Arc<C>` of the `Table`, which unregisters, and
    // so waits for us, before it drops that.
    let control = unsafe { &*control.cast::<C>().cast_const() };
    // SAFETY: Kernel's promise. It passes pointers to two variables of its own.
    let (len, position) = unsafe { (&mut *len, &mut *position) };
    let Ok(at) = usize::try_from(*position) else {
        return EINVAL.to_errno();
    };
    let result = if buffer.is_null() || *len == 0 {
        Ok(0)
    } else if is_write != 0 {
        // SAFETY: Kernel's promise. The buffer holds `*len` bytes that the writer gave.
        let bytes = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), *len) };
        write(control, id, bytes, at).map(|()| *len)
    } else {
        // SAFETY: Kernel's promise. The buffer has room for `*len` bytes, and was zeroed when
        // allocated (`proc_sys_call_handler`).
        let bytes = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), *len) };
        read(control, id, bytes, at)
    };
    match result {
        Ok(count) => {
            *len = count;
            *position += count as bindings::loff_t;
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// A directory of values in one namespace, there for as long as the value lives.
///
/// # Invariants
///
/// `header` is the registration of `entries`, whose `extra1` point into `control`.
pub(crate) struct Table<C: Control> {
    header: NonNull<bindings::ctl_table_header>,
    _entries: KVec<bindings::ctl_table>,
    _control: Arc<C>,
}

// SAFETY: Any CPU. The kernel locks for itself; the entries are not touched after registration.
unsafe impl<C: Control> Send for Table<C> {}

// SAFETY: Any CPU. There is nothing to do with a shared reference.
unsafe impl<C: Control> Sync for Table<C> {}

impl<C: Control> Table<C> {
    /// Makes the files, in the directory `path` such as `net/sttcp`. Process context.
    pub(crate) fn register(
        net: Net,
        path: &'static CStr,
        entries: &[Entry],
        control: Arc<C>,
    ) -> Result<Self> {
        fail::at(Site::Sysctl)?;
        let mut table = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        for entry in entries {
            table
                .push_within_capacity(bindings::ctl_table {
                    procname: entry.name.as_char_ptr(),
                    maxlen: MAX_WRITE as c_int,
                    mode: entry.mode,
                    proc_handler: Some(handler::<C>),
                    extra1: Arc::as_ptr(&control).cast_mut().cast(),
                    extra2: entry.id as usize as *mut c_void,
                    ..Default::default()
                })
                .map_err(|_| ENOMEM)?;
        }
        fail::at(Site::Sysctl)?;
        // SAFETY: Registered. The path and the names are static; the table and what it points to
        // live until after it was unregistered.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net.as_ptr(),
                path.as_char_ptr(),
                table.as_mut_ptr(),
                table.len(),
            )
        };
        // INVARIANT: Just registered.
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _entries: table,
            _control: control,
        })
    }
}

impl<C: Control> Drop for Table<C> {
    /// Returns when no file is read or written any more. Process context.
    fn drop(&mut self) {
        // SAFETY: Registered. By the type invariant.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}
