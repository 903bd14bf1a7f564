// SPDX-License-Identifier: GPL-2.0

//! What all connections of a run share: options, clock, the files by which a script talks to it, and the report.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::pattern::Pattern;
use crate::report::{Outcome, Report};
use crate::session::{Failure, Plan, Session};

/// What to talk about, and for how long. Without --count, --bytes, --duration or --until-file it is one transaction.
#[derive(Args, Clone, Debug)]
pub struct Talk {
    /// The server.
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// Connections at the same time.
    #[arg(long, default_value_t = 1)]
    pub connections: u64,
    /// Connections one after another, in each of the parallel ones' place.
    #[arg(long, default_value_t = 1)]
    pub repeat: u64,
    /// Start no more transactions after so many seconds (of the run, not of the connection).
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Transactions per connection; with churn, connections in each place.
    #[arg(long)]
    pub count: Option<u64>,
    /// Bytes to carry per connection (suffix K, M or G).
    #[arg(long, value_parser = size)]
    pub bytes: Option<u64>,
    /// Bytes per transaction [default: echo and greet 1K, ask 10K, redis 32, get and put all of --bytes or else 1M].
    #[arg(long, value_parser = size)]
    pub size: Option<u64>,
    /// Bytes of a question of ask and churn.
    #[arg(long, default_value = "150", value_parser = size)]
    pub ask_size: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Pause between two transactions.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis)]
    pub think: Duration,
    /// Fail a connection on which nothing moved for so long.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub timeout: Duration,
    /// Create this file once all parallel connections are up and their first bytes have come back. If it is removed, create
    /// it again once more bytes have come back on each.
    #[arg(long, value_name = "PATH")]
    pub mark_file: Option<PathBuf>,
    /// Start no more transactions once this file exists.
    #[arg(long, value_name = "PATH")]
    pub until_file: Option<PathBuf>,
    /// Tell of each connection in the result.
    #[arg(long)]
    pub each: bool,
}

impl Talk {
    /// The plan of one connection.
    pub fn plan(&self, pattern: Pattern) -> Plan {
        let size = self.size.unwrap_or(match pattern {
            Pattern::Echo | Pattern::Greet => 1 << 10,
            Pattern::Ask { .. } => 10 << 10,
            Pattern::Get | Pattern::Put => self.bytes.unwrap_or(1 << 20),
            Pattern::Redis { .. } => 32,
        });
        Plan {
            pattern,
            size,
            seed: self.seed,
            count: self.count,
            bytes: self.bytes,
            until: self.duration,
            until_stopped: self.until_file.is_some(),
            think: self.think,
            timeout: self.timeout,
        }
    }
}

/// Parses a number of bytes.
///
/// # Errors
///
/// The text is none.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".into())
}

/// Parses a time in seconds, fractions allowed.
///
/// # Errors
///
/// The text is none.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// Parses a time in ms.
///
/// # Errors
///
/// The text is none.
pub fn millis(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|error| format!("{error}"))
}

/// A run in progress.
pub struct Run {
    start: Instant,
    until_file: Option<PathBuf>,
    stopped: AtomicBool,
    mark_file: Option<PathBuf>,
    /// Whether the mark file was created, and not yet found removed.
    marked: AtomicBool,
    /// How often it was found removed.
    round: AtomicU64,
    /// Parallel connections, and those of them that have moved no bytes in this round.
    connections: u64,
    unmarked: AtomicU64,
    report: Mutex<Report>,
}

impl Run {
    pub fn new(talk: &Talk, pattern: &str) -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            until_file: talk.until_file.clone(),
            stopped: AtomicBool::new(false),
            mark_file: talk.mark_file.clone(),
            marked: AtomicBool::new(false),
            round: AtomicU64::new(0),
            connections: talk.connections,
            unmarked: AtomicU64::new(talk.connections),
            report: Mutex::new(Report {
                pattern: pattern.into(),
                to: talk.to.to_string(),
                started_unix_ms: since_1970.as_millis() as u64,
                tell_each: talk.each,
                ..Report::default()
            }),
        }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the file that ends the run was seen.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Looks for the file that ends the run, and whether the mark file was removed. Returns whether there is anything more
    /// to look for.
    pub fn look(&self) -> bool {
        if self.stopped() {
            return false;
        }
        if let Some(path) = &self.until_file {
            self.stopped.store(path.exists(), Ordering::Relaxed);
        }
        if let Some(path) = &self.mark_file {
            if self.marked.load(Ordering::Acquire) && !path.exists() {
                self.marked.store(false, Ordering::Relaxed);
                self.unmarked.store(self.connections, Ordering::Relaxed);
                self.round.fetch_add(1, Ordering::Release);
            }
        }
        self.until_file.is_some() || self.mark_file.is_some()
    }

    /// One of the parallel connections moved bytes in this round.
    fn mark(&self) {
        if self.unmarked.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        if let Some(path) = &self.mark_file {
            match File::create(path) {
                Ok(_) => self.marked.store(true, Ordering::Release),
                Err(error) => eprintln!("{}: {error}", path.display()),
            }
        }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, outcome: Outcome) {
        self.report().add(outcome);
    }

    pub fn tolerate(&self, failure: &Failure) {
        self.report().tolerate(failure);
    }

    /// Prints the result and returns whether every connection ended right.
    pub fn finish(&self) -> bool {
        std::mem::take(&mut *self.report()).finish(self.now())
    }
}

/// The place of one of the parallel connections, which counts once in each round towards the mark file.
#[derive(Default)]
pub struct Mark {
    round: u64,
    done: bool,
}

impl Mark {
    /// Counts the place if `session`, the one that is open in it, moved bytes in this round.
    pub fn look(&mut self, run: &Run, session: &mut Session) {
        if self.new_round(run) {
            session.forget_moved();
        }
        if session.moved() {
            self.set(run);
        }
    }

    /// Counts the place: a connection in it ended right.
    pub fn set(&mut self, run: &Run) {
        self.new_round(run);
        if !std::mem::replace(&mut self.done, true) {
            run.mark();
        }
    }

    fn new_round(&mut self, run: &Run) -> bool {
        let round = run.round.load(Ordering::Acquire);
        let new = std::mem::replace(&mut self.round, round) != round;
        self.done &= !new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_parsed() {
        assert_eq!(size("10"), Ok(10));
        assert_eq!(size("2K"), Ok(2048));
        assert_eq!(size("3M"), Ok(3 << 20));
        assert!(size("").is_err() && size("x").is_err() && size("99999999999G").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("nan").is_err());
    }
}
