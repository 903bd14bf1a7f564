// SPDX-License-Identifier: GPL-2.0

//! ST-TCP: TCP connections that survive the death of their server's host.

#![deny(unsafe_code)]

mod control;
// Under Cargo the engine is a library; here only a part of what it offers is used.
#[allow(dead_code, unreachable_pub, unused_imports)]
mod engine;
mod fence;
mod goodbye;
mod node;
mod peer;
mod receive;
mod report;
mod retention;
mod send;
mod sweep;
#[allow(unsafe_code)]
mod sys;
mod table;
mod takeover;

use kernel::prelude::*;

module! {
    type: Sttcp,
    name: "sttcp",
    authors: ["The ST-TCP founders"],
    description: "Server fault-tolerant TCP: connections survive the death of their server's host",
    license: "GPL",
}

struct Sttcp {
    // Dropped in this order: the namespaces' nodes, then the memory that their connections had.
    _namespaces: sys::pernet::Registration<control::Namespace>,
    _connections: sys::slab::Cache<table::Entry>,
}

impl kernel::Module for Sttcp {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let connections = sys::slab::Cache::new()?;
        let namespaces = sys::pernet::Registration::new()?;
        Ok(Self {
            _namespaces: namespaces,
            _connections: connections,
        })
    }
}
