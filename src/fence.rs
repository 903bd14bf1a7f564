// SPDX-License-Identifier: GPL-2.0

//! Fencing: a program of the operator's switches a silent primary off, before this host speaks.

use crate::engine::counters::Counter;
use crate::engine::node::FENCE_AGAIN;
use crate::node::{now, Node};
use crate::sys::clock;
use crate::sys::fail::{self, Site};
use crate::sys::helper::End;
use crate::sys::show::Show;
use crate::sys::work::{Run, Work};
use core::time::Duration;
use kernel::prelude::*;
use kernel::str::CString;

/// The work of [`Node::fence`].
pub(crate) const FENCE: u64 = 1;

impl Node {
    /// The engine wants it. Any context.
    pub(crate) fn begin_fence(&self, silence: Duration) {
        self.count(Counter::FencesBegun);
        pr_warn!(
            "primary {} silent for {} ms: fence_command is to switch it off\n",
            Show(self.end(0)),
            silence.as_millis()
        );
        self.helper.prepare();
        self.fence.schedule();
    }

    /// Runs the program to its end. Process context.
    fn run_fence(&self) -> Result<End> {
        let command = (*self.fence_command.lock()).ok_or(ENOENT)?;
        // The term of office that is to begin.
        let epoch = self.engine.lock().epoch().wrapping_add(1);
        fail::at(Site::Helper)?;
        let peer = CString::try_from_fmt(fmt!("STTCP_PEER={}", Show(self.end(0).ip())))?;
        fail::at(Site::Helper)?;
        let epoch = CString::try_from_fmt(fmt!("STTCP_EPOCH={epoch}"))?;
        let environment: [&CStr; 4] = [
            c"HOME=/",
            c"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            &peer,
            &epoch,
        ];
        Ok(self.helper.run(command.words(), environment.into_iter()))
    }
}

impl Run<FENCE> for Node {
    fn work(&self) -> &Work {
        &self.fence
    }

    /// Process context.
    fn run(&self) {
        let end = self.run_fence().unwrap_or_else(End::NotRun);
        let done = end == End::Exit(0);
        if !done {
            self.count(Counter::FencesFailed);
            pr_err!(
                "fence_command failed, {end}: silent for the service; again in {} ms, takeover=1 takes over without\n",
                FENCE_AGAIN.as_millis()
            );
        }
        let event = self.ask(|engine| engine.fenced(done, clock::random_u64(), now()));
        if let Some(event) = event {
            self.on_event(event);
        }
        // What is due has changed.
        self.start();
    }
}
