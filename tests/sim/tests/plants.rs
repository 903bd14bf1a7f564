// SPDX-License-Identifier: GPL-2.0

//! Proves that the simulation bites. A planted fault holds for the whole process, so these tests have one of their own.

use sttcp_sim::many;

#[test]
fn every_planted_fault_is_found() {
    for hunt in many::run_plants(0..10_000) {
        let Some((seed, what)) = hunt.found else {
            panic!(
                "{:?} is not found in {} schedules",
                hunt.plant, hunt.schedules
            );
        };
        println!("{:?}: SEED={seed}: {what}", hunt.plant);
    }
}
