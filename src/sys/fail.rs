// SPDX-License-Identifier: GPL-2.0

//! Memory that is not to be had.
//!
//! Whoever is about to ask for memory asks [`at`] first. In an ordinary build that is nothing. In one
//! with `FAULTS=1` the module parameter `fail` takes `SITE N`: from then on every N-th request at
//! that site fails; with 0, none does. It can be set while the module is loaded and in
//! `/sys/module/sttcp/parameters/fail`, where it reads as a line for each site: its name, N, how many
//! requests failed, and of how many since N was set.

macro_rules! sites {
    ($($(#[$doc:meta])* $site:ident => $name:literal,)*) => {
        /// Where memory is asked for.
        #[derive(Clone, Copy)]
        pub(crate) enum Site {
            $($(#[$doc])* $site,)*
        }

        #[cfg(sttcp_faults)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

sites! {
    /// The cache of the connections.
    Slab => "slab",
    /// The registration in all namespaces.
    Pernet => "pernet",
    /// The probe at the tracepoint.
    Tracepoint => "tracepoint",
    /// The state of a namespace.
    Namespace => "namespace",
    /// A file in `/proc/net`.
    Proc => "proc",
    /// The controls.
    Sysctl => "sysctl",
    /// The table of connections.
    Table => "table",
    /// The node.
    Node => "node",
    /// The hooks.
    Hooks => "hooks",
    /// The socket of the peer channel.
    Socket => "socket",
    /// A connection of a primary.
    Connection => "connection",
    /// A shadow.
    Shadow => "shadow",
    /// A connection that a backup has client segments of, and no word of the primary.
    Pending => "pending",
    /// A segment that a backup makes for its own stack.
    Inject => "inject",
    /// A segment that a node makes for the client.
    Send => "send",
    /// A program that is to be run.
    Helper => "helper",
    /// A datagram to the peer.
    Datagram => "datagram",
    /// A datagram from the peer that is in pieces.
    Linear => "linear",
    /// Headers that are in pieces.
    Pull => "pull",
    /// Headers that are to be changed.
    Write => "write",
    /// A packet that is to be kept.
    Hold => "hold",
    /// A route.
    Route => "route",
    /// A neighbour.
    Neighbour => "neighbour",
    /// An announcement.
    Announce => "announce",
}

/// `ENOMEM` if the memory is not to be had. Any context.
#[cfg(not(sttcp_faults))]
#[inline(always)]
pub(crate) fn at(_: Site) -> kernel::error::Result {
    Ok(())
}

#[cfg(sttcp_faults)]
pub(crate) use knob::at;

#[cfg(sttcp_faults)]
mod knob {
    use super::{super::sysctl::Window, Site, NAMES};
    use core::slice;
    use kernel::{
        error::from_result,
        ffi::{c_char, c_int, c_void},
        fmt::Write,
        page::PAGE_SIZE,
        prelude::*,
        sync::atomic::{Atomic, Relaxed},
    };

    struct Knob {
        /// N; 0 if no request fails.
        every: Atomic<u32>,
        requests: Atomic<u32>,
        failed: Atomic<u32>,
    }

    static KNOBS: [Knob; NAMES.len()] = [const {
        Knob {
            every: Atomic::new(0),
            requests: Atomic::new(0),
            failed: Atomic::new(0),
        }
    }; NAMES.len()];

    pub(crate) fn at(site: Site) -> Result {
        let Some(knob) = KNOBS.get(site as usize) else {
            return Ok(());
        };
        let number = knob.requests.fetch_add(1, Relaxed).wrapping_add(1);
        if number.checked_rem(knob.every.load(Relaxed)) != Some(0) {
            return Ok(());
        }
        knob.failed.fetch_add(1, Relaxed);
        Err(ENOMEM)
    }

    fn set(text: &str) -> Result {
        let (name, every) = text.trim().split_once(' ').ok_or(EINVAL)?;
        let every = every.parse().map_err(|_| EINVAL)?;
        let site = NAMES.iter().position(|site| *site == name);
        let knob = site.and_then(|site| KNOBS.get(site)).ok_or(EINVAL)?;
        knob.every.store(0, Relaxed);
        knob.requests.store(0, Relaxed);
        knob.failed.store(0, Relaxed);
        knob.every.store(every, Relaxed);
        Ok(())
    }

    /// Sets the module parameter.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as `kernel_param_ops::set`.
    #[no_mangle]
    unsafe extern "C" fn sttcp_fail_set(text: *const c_char, _parameter: *const c_void) -> c_int {
        from_result(|| {
            // SAFETY: Kernel's promise. It passes a string; the parameter cannot be given without a
            // value.
            let text = unsafe { CStr::from_char_ptr(text) };
            set(text.to_str()?)?;
            Ok(0)
        })
    }

    /// Reads the module parameter.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as `kernel_param_ops::get`.
    #[no_mangle]
    unsafe extern "C" fn sttcp_fail_get(buffer: *mut c_char, _parameter: *const c_void) -> c_int {
        // SAFETY: Kernel's promise. It passes a page, zeroed when allocated (`sysfs_kf_seq_show`).
        let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE) };
        let mut out = Window::new(buffer, 0);
        for (name, knob) in NAMES.iter().zip(&KNOBS) {
            let [every, failed, requests] =
                [&knob.every, &knob.failed, &knob.requests].map(|value| value.load(Relaxed));
            let _ = writeln!(out, "{name} {every} {failed} {requests}");
        }
        out.filled() as c_int
    }
}
