// SPDX-License-Identifier: GPL-2.0

//! The protocol of ST-TCP, without I/O.
//!
//! The engine takes events and returns actions. It knows no kernel type, owns no buffer and allocates nothing, so
//! that the same source is a module of the kernel crate (Kbuild, rustc 1.85) and a library under Cargo, where it is
//! tested. Its modules therefore name each other by `super::`, never by `crate::`.
//!
//! A panic here would take a healthy server down: the lints below refuse what could panic, also on malformed input.

// Kbuild passes `no_std` on the command line, and `cfg(MODULE)` with it.
#![cfg_attr(not(MODULE), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(MODULE),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod actions;
pub mod config;
pub mod counters;
pub mod detector;
pub mod digest;
pub mod early;
pub mod emit;
pub mod keyring;
pub mod lease;
pub mod message;
pub mod node;
pub mod pace;
pub mod paths;
pub mod plant;
pub mod primary;
pub mod program;
pub mod rewrite;
pub mod seq;
pub mod shadow;
pub mod side;
pub mod time;
pub mod verdict;
pub mod window;
pub mod wire;
