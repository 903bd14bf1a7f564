// SPDX-License-Identifier: GPL-2.0

//! What an operator reads: `/proc/net/sttcp` and `/proc/net/sttcp_stat`.

use crate::control::Shared;
use crate::engine::counters::Counter;
use crate::engine::primary::State;
use crate::engine::side::Side;
use crate::sys::proc::Report;
use crate::sys::show::Show;
use crate::table::BUCKETS;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::rcu;

/// `/proc/net/sttcp`.
pub(crate) const CONNECTIONS: u64 = 0;
/// `/proc/net/sttcp_stat`.
pub(crate) const COUNTERS: u64 = 1;

impl Report<CONNECTIONS> for Shared {
    fn positions(&self) -> usize {
        BUCKETS
    }

    fn show(&self, position: usize, out: &SeqFile) {
        let rcu = rcu::read_lock();
        let Some(node) = self.node(&rcu) else {
            return;
        };
        let Some(mut bucket) = node.table.lock_index(position) else {
            return;
        };
        bucket.retain(|entry| {
            let mut reason = None;
            let (state, lag_in, lag_out, held) = match &entry.side {
                Side::Primary(connection) => match connection.state() {
                    // The handshake may never end: no connection yet.
                    State::HalfOpen => return true,
                    state @ State::Unprotected(why) => {
                        reason = Some(why);
                        (state.name(), 0, 0, 0)
                    }
                    state => (state.name(), connection.lag_in(), connection.lag_out(), 0),
                },
                Side::Shadow(shadow) => (
                    shadow.state_name(),
                    shadow.lag_in(),
                    shadow.lag_out(),
                    entry.queue.len(),
                ),
                Side::Pending(_) => ("pending", 0, 0, entry.queue.len()),
            };
            let (client, service) = (
                Show(entry.side.flow().client),
                Show(entry.side.flow().service),
            );
            seq_print!(
                out,
                "{client} {service} {state} lag_in={lag_in} lag_out={lag_out} held={held}"
            );
            if entry.retained.bytes() > 0 {
                seq_print!(out, " retained={}", entry.retained.bytes());
            }
            if let Some((from, to)) = entry.side.difference() {
                seq_print!(out, " diverged={from}-{to}");
            }
            if let Some(why) = reason {
                seq_print!(out, " reason={}", why.name());
            }
            seq_print!(out, "\n");
            true
        });
    }
}

impl Report<COUNTERS> for Shared {
    fn positions(&self) -> usize {
        Counter::ALL.len()
    }

    fn show(&self, position: usize, out: &SeqFile) {
        if let Some(counter) = Counter::ALL.get(position) {
            seq_print!(out, "{} {}\n", counter.name(), self.counters.get(*counter));
        }
    }
}
