// SPDX-License-Identifier: GPL-2.0

//! A program that the kernel runs in user space, as root of the machine.
//!
//! C header: [`include/linux/umh.h`](srctree/include/linux/umh.h)

use super::{
    bh::{new_bh_lock, BhLock},
    bindings,
    fail::{self, Site},
};
use core::ptr::{self, NonNull};
use kernel::{
    ffi::{c_char, c_int, c_void},
    fmt,
    prelude::*,
};

/// The most words of a program, and of its environment.
const MAX_WORDS: usize = 16;

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Exit(u8),
    /// By a signal of this number.
    Signal(u8),
    /// It did not begin.
    NotRun(Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(status) => write!(f, "exit status {status}"),
            End::Signal(number) => write!(f, "ended by signal {number}"),
            End::NotRun(error) => write!(f, "could not be run, error {}", error.to_errno()),
        }
    }
}

/// # Invariants
///
/// `pid` is a counted reference.
struct Child {
    pid: Option<NonNull<bindings::pid>>,
    killed: bool,
    closed: bool,
}

// SAFETY: Any CPU. A `struct pid` counts its references, and is the same everywhere.
unsafe impl Send for Child {}

/// Runs one program at a time.
#[pin_data]
pub(crate) struct Helper {
    #[pin]
    child: BhLock<Child>,
}

/// The child calls it when it is about to become the program.
///
/// # Safety
///
/// The data of `info` must be a [`Helper`].
unsafe extern "C" fn begin(
    info: *mut bindings::subprocess_info,
    _cred: *mut bindings::cred,
) -> c_int {
    // SAFETY: Caller's promise. `Helper::run` has set it, and waits for the child's end.
    let helper = unsafe { &*bindings::sttcp_umh_data(info).cast::<Helper>() };
    let mut child = helper.child.lock();
    if child.killed || child.closed {
        return super::compat::ecanceled().to_errno();
    }
    // SAFETY: No requirement. The running process is the child.
    // INVARIANT: The call returns a reference.
    child.pid = NonNull::new(unsafe { bindings::sttcp_get_current_pid() });
    0
}

/// Pointers to the words, and a null behind them.
fn pointers<'a>(words: impl Iterator<Item = &'a CStr>) -> [*mut c_char; MAX_WORDS + 1] {
    let mut list = [ptr::null_mut(); MAX_WORDS + 1];
    for (pointer, word) in list.iter_mut().take(MAX_WORDS).zip(words) {
        *pointer = word.as_char_ptr().cast_mut();
    }
    list
}

impl Helper {
    /// Runs none.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            child <- new_bh_lock!(Child {
                pid: None,
                killed: false,
                closed: false,
            }, "sttcp_helper"),
        })
    }

    /// Takes an earlier [`Self::kill`] back. Any context.
    pub(crate) fn prepare(&self) {
        self.child.lock().killed = false;
    }

    /// Runs a program, the first of `words` being its absolute path, and waits for its end. What `words` and `environment` have beyond 16 is left
    /// out. Process context; called by one at a time.
    pub(crate) fn run<'a>(
        &self,
        words: impl Iterator<Item = &'a CStr>,
        environment: impl Iterator<Item = &'a CStr>,
    ) -> End {
        let (mut argv, mut envp) = (pointers(words), pointers(environment));
        let path = argv.first().copied().unwrap_or(ptr::null_mut());
        if path.is_null() {
            return End::NotRun(EINVAL);
        }
        if let Err(error) = fail::at(Site::Helper) {
            return End::NotRun(error);
        }
        // SAFETY: Valid memory. Both lists end with a null; they, their words and `self` outlive the
        // child's time as this program's beginning, as the call below waits for its end.
        let info = unsafe {
            bindings::call_usermodehelper_setup(
                path,
                argv.as_mut_ptr(),
                envp.as_mut_ptr(),
                kernel::bindings::GFP_KERNEL,
                Some(begin),
                None,
                ptr::from_ref(self).cast_mut().cast::<c_void>(),
            )
        };
        if info.is_null() {
            return End::NotRun(ENOMEM);
        }
        // SAFETY: Valid memory. `info` is new, and the call frees it.
        let status =
            unsafe { bindings::call_usermodehelper_exec(info, bindings::UMH_WAIT_PROC as c_int) };
        let pid = self.child.lock().pid.take();
        if let Some(pid) = pid {
            // SAFETY: Our reference. By the invariant of `Child`, from which it was taken.
            unsafe { bindings::put_pid(pid.as_ptr()) };
        }
        match (status, status & 0x7f, status >> 8) {
            (..0, ..) => End::NotRun(Error::from_errno(status)),
            (_, 0, exit) => End::Exit(exit as u8),
            (_, signal, _) => End::Signal(signal as u8),
        }
    }

    /// Ends the program that runs, if one does. Programs of its own making live on. Any context.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock();
        child.killed = true;
        if let Some(pid) = child.pid {
            // SAFETY: Our reference. By the invariant of `Child`; the reference is dropped after it
            // was taken away under the lock.
            unsafe { bindings::kill_pid(pid.as_ptr(), bindings::SIGKILL as c_int, 1) };
        }
    }

    /// The same, and no other will run. Any context.
    pub(crate) fn close(&self) {
        self.child.lock().closed = true;
        self.kill();
    }
}

/// Whether the running process is root of the machine, and not of a container alone. Process context.
pub(crate) fn may_run_programs() -> bool {
    // SAFETY: No requirement. Process context.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
}
