// SPDX-License-Identifier: GPL-2.0

//! Any sequence of events for two hosts and their clients: what the client was told holds, and what is protected survives.

#![no_main]

/// Tells what happens, if built with STTCP_TRACE set.
macro_rules! trace {
    ($($what:tt)*) => {
        if option_env!("STTCP_TRACE").is_some() {
            eprintln!($($what)*);
        }
    };
}

mod host;
mod tcp;
mod world;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use world::{Setting, Step, World};

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
