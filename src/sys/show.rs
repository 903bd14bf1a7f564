// SPDX-License-Identifier: GPL-2.0

//! Printing foreign types with the kernel's macros.

use kernel::fmt::{Display, Formatter, Result};

/// Lets `pr_info!` and `seq_print!` print what only `core` knows how to, such as an
/// [`IpAddr`](core::net::IpAddr).
pub(crate) struct Show<T>(pub(crate) T);

impl<T: core::fmt::Display> Display for Show<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.fmt(f)
    }
}
