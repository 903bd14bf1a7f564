// SPDX-License-Identifier: GPL-2.0

//! Many schedules, on all processors.

use crate::world::{run, Report};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use sttcp::counters::Counter;
use sttcp::plant::{plant, Plant};

/// What came of them all.
#[derive(Debug, Default)]
pub struct Sum {
    pub schedules: u64,
    pub time: Duration,
    pub events: u64,
    pub finished: u64,
    pub lost: BTreeMap<String, u64>,
    pub takeovers: u64,
    pub continued: u64,
    pub splits: u64,
    pub counters: Vec<u64>,
    /// Seeds with what went wrong, the lowest first.
    pub failures: BTreeMap<u64, String>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report) {
        self.schedules += 1;
        self.events += report.events;
        self.finished += u64::from(report.finished);
        for excuse in report.lost {
            *self.lost.entry(format!("{excuse:?}")).or_default() += 1;
        }
        self.takeovers += u64::from(report.takeovers);
        self.continued += u64::from(report.continued);
        self.splits += u64::from(report.split);
        self.counters.resize(Counter::ALL.len(), 0);
        for (sum, count) in self.counters.iter_mut().zip(report.counters) {
            *sum += u64::from(count);
        }
        if let Some(failure) = report.failure {
            self.failures.insert(seed, failure);
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        let rate = self.schedules as f64 / seconds;
        writeln!(
            f,
            "{} schedules in {seconds:.1} s, {rate:.0} a second, {} events",
            self.schedules, self.events
        )?;
        writeln!(
            f,
            "{} takeovers, {} connections went on through one",
            self.takeovers, self.continued
        )?;
        writeln!(
            f,
            "{} connections ended as planned; lost: {:?}; {} schedules split",
            self.finished, self.lost, self.splits
        )?;
        for (counter, count) in Counter::ALL.iter().zip(&self.counters) {
            if *count > 0 {
                write!(f, "{}={count} ", counter.name())?;
            }
        }
        writeln!(f)?;
        writeln!(f, "{} schedules failed", self.failures.len())?;
        for (seed, failure) in self.failures.iter().take(20) {
            writeln!(f, "SEED={seed}: {failure}")?;
        }
        Ok(())
    }
}

/// Runs the schedules of these seeds; after a failure no further ones if `stop`.
pub fn run_all(seeds: Range<u64>, stop: bool) -> Sum {
    let begun = Instant::now();
    let (next, stopped, sum) = (
        AtomicU64::new(seeds.start),
        AtomicBool::new(false),
        Mutex::new(Sum::default()),
    );
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report =
                catch_unwind(AssertUnwindSafe(|| run(seed, false))).unwrap_or_else(|_| Report {
                    failure: Some("panicked".into()),
                    ..Report::default()
                });
            if stop && report.failure.is_some() {
                stopped.store(true, Ordering::Relaxed);
            }
            sum.lock().unwrap().add(seed, report);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut sum = sum.into_inner().unwrap();
    sum.time = begun.elapsed();
    sum
}

/// What came of a planted fault: the first seed that found it and how, and how many schedules that took.
pub struct Hunt {
    pub plant: Plant,
    pub found: Option<(u64, String)>,
    pub schedules: u64,
}

/// Plants each fault, and looks for a schedule among these seeds that finds it.
pub fn run_plants(seeds: Range<u64>) -> Vec<Hunt> {
    let found = Plant::ALL.iter().map(|&fault| {
        plant(Some(fault));
        let mut sum = run_all(seeds.clone(), true);
        Hunt {
            plant: fault,
            found: sum.failures.pop_first(),
            schedules: sum.schedules,
        }
    });
    let found = found.collect();
    plant(None);
    found
}
