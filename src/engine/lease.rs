// SPDX-License-Identifier: GPL-2.0

//! The lease: until when a primary knows that its backup has not taken over.
//!
//! A backup takes over when it has not heard its primary for as long as it bears ([`Header::patience`](super::message::Header::patience)). It heard nothing
//! before that was sent. So of what it says to have heard, the time of sending, and that patience on top, is a time by which it has not; and a
//! primary that is silent from then on does not speak beside its successor, however long datagrams were under way and whichever were lost.
//!
//! The two clocks need not agree, and may differ in speed by an eighth: so much is left unused. Both must go on while a host is stopped, as that of
//! a machine does whose processors wait, and that of a virtual machine does not which its hypervisor has paused.

use super::config::Refusal;
use super::time::Instant;
use core::time::Duration;

/// What a primary does that has lost its backup.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// It serves on. Should the backup live and take over, both speak until they hear each other.
    #[default]
    Serve,
    /// It speaks by lease, and is silent without.
    Yield,
}

impl Isolation {
    /// The word in `net.sttcp.isolation`.
    pub const fn name(self) -> &'static str {
        match self {
            Isolation::Serve => "serve",
            Isolation::Yield => "yield",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "serve" => Ok(Isolation::Serve),
            "yield" => Ok(Isolation::Yield),
            _ => Err(Refusal::UnknownWord),
        }
    }
}

/// The end of a lease whose holder sent at `sent` what a backup of this patience has heard.
pub fn end(sent: Instant, patience: Duration) -> Instant {
    let unused = patience.checked_div(8).unwrap_or_default();
    sent.after(patience.saturating_sub(unused))
}
