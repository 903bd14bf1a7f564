// SPDX-License-Identifier: GPL-2.0

//! The kernel, made safe.
//!
//! Everything `unsafe` of this module lives here. A file wraps one kernel interface, keeps its
//! C names, and says for each entry point in which context it may be called:
//!
//! - *softirq*: with bottom halves disabled, never sleeping;
//! - *process*: may sleep, so never under a [`bh::BhLock`];
//! - *any*: softirq or process.
//!
//! A resource is a value, and gives itself back in `Drop`.

pub(crate) mod announce;
pub(crate) mod bh;
mod bindings;
pub(crate) mod clock;
mod compat;
pub(crate) mod fail;
pub(crate) mod helper;
pub(crate) mod hmac;
pub(crate) mod net;
pub(crate) mod netdev;
pub(crate) mod netfilter;
pub(crate) mod notifier;
pub(crate) mod pernet;
#[cfg(sttcp_plant)]
pub(crate) mod plant;
pub(crate) mod proc;
pub(crate) mod rcu;
pub(crate) mod route;
pub(crate) mod show;
pub(crate) mod skb;
pub(crate) mod slab;
pub(crate) mod socket;
pub(crate) mod sysctl;
pub(crate) mod timer;
pub(crate) mod tracepoint;
pub(crate) mod udp;
pub(crate) mod work;
