// SPDX-License-Identifier: GPL-2.0

//! Schedules by their seeds: `SEED=7 cargo test` replays one, with a trace of what happens.

use std::env;
use sttcp_sim::{many, run};

const SCHEDULES: u64 = 10_000;

#[test]
fn every_stream_ends_right() {
    if let Ok(seed) = env::var("SEED") {
        let report = run(seed.parse().unwrap(), true);
        assert_eq!(report.failure, None);
        return;
    }
    let sum = many::run_all(0..SCHEDULES, false);
    println!("{sum}");
    assert!(sum.failures.is_empty(), "{sum}");
    // It is not for want of trying.
    assert!(sum.continued > SCHEDULES / 10, "{sum}");
    assert!(sum.finished > SCHEDULES, "{sum}");
}

#[test]
fn a_schedule_replays_exactly() {
    for seed in 0..20 {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(
            (first.events, first.counters),
            (second.events, second.counters)
        );
    }
}
