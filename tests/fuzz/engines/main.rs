// SPDX-License-Identifier: GPL-2.0

//! Any sequence of events for two hosts and their clients: what the client was told holds, and what is protected survives.

#![no_main]

/// Whether to tell what happens.
static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("STTCP_TRACE").is_some());

macro_rules! trace {
    ($($what:tt)*) => {
        if *$crate::TRACE {
            eprintln!($($what)*);
        }
    };
}

mod frame;
mod host;
mod step;
mod tcp;
mod world;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use step::{Setting, Step};
use world::World;

#[derive(Arbitrary, Debug)]
struct Input {
    setting: Setting,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let mut world = World::new(&input.setting);
    for step in input.steps.iter().take(400) {
        trace!("{step:?}");
        world.step(step);
    }
    trace!("the end");
    world.finish(&input.setting);
});
