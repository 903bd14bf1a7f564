// SPDX-License-Identifier: GPL-2.0

//! What became of the connections, as one line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::session::{Failure, Gap, Session};
use crate::sock::TcpInfo;

/// Failed connections told one by one; the rest is only counted.
const TOLD: usize = 32;

/// One connection, when it is through.
#[derive(Debug)]
pub struct Outcome {
    /// Its number within the run.
    pub connection: u64,
    /// The client's port.
    pub port: Option<u16>,
    pub ending: Option<&'static str>,
    pub result: Result<(), Failure>,
    pub sent: u64,
    pub received: u64,
    pub turns: u64,
    pub connected_after: Option<Duration>,
    pub gap: Gap,
    pub gaps: Vec<Gap>,
    pub tcp: Option<TcpInfo>,
    /// When it was through.
    pub at: Duration,
}

impl Outcome {
    pub fn new(
        connection: u64,
        session: &Session,
        result: Result<(), Failure>,
        tcp: Option<TcpInfo>,
        at: Duration,
    ) -> Self {
        Self {
            connection,
            port: None,
            ending: None,
            result,
            sent: session.said(),
            received: session.heard(),
            turns: session.turns(),
            connected_after: session.connected_after(),
            gap: session.longest_gap(),
            gaps: session.notable_gaps().to_vec(),
            tcp,
            at,
        }
    }
}

/// The result line. Times are in ms; `…_at_ms` and `began_ms` count from the start of the run, `…_unix_ms` from 1970.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub pattern: String,
    pub to: String,
    pub passed: bool,
    pub connections: u64,
    pub ok: u64,
    pub failed: u64,
    /// Failures by kind.
    pub reasons: BTreeMap<&'static str, u64>,
    /// The first failed connections.
    pub failures: Vec<Told>,
    /// Attempts that failed in a way the caller tolerates, by kind. They are not among `connections`.
    pub tolerated: BTreeMap<&'static str, u64>,
    /// Connections that ended right, by ending.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endings: BTreeMap<&'static str, u64>,
    pub bytes_sent: u64,
    /// Each of them checked.
    pub bytes_received: u64,
    pub transactions: u64,
    pub started_unix_ms: u64,
    pub elapsed_ms: u64,
    pub connect_max_ms: f64,
    /// The longest gap of all connections.
    pub gap: Option<ToldGap>,
    /// Of the connections' longest gaps.
    pub gap_median_ms: f64,
    pub gap_p99_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// Every connection, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<Each>,
    #[serde(skip)]
    pub tell_each: bool,
    #[serde(skip)]
    pub gaps: Vec<Duration>,
}

#[derive(Debug, Serialize)]
pub struct Told {
    pub connection: u64,
    /// The client's, by which a capture can be searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<&'static str>,
    pub reason: String,
    pub at_ms: u64,
    pub at_unix_ms: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct ToldGap {
    pub ms: f64,
    pub connection: u64,
    pub began_ms: f64,
    pub began_unix_ms: u64,
}

/// Sums of the client's `TCP_INFO`.
#[derive(Debug, Default, Serialize)]
pub struct Tcp {
    pub retransmits: u64,
    pub bytes_retransmitted: u64,
    pub timeouts: u64,
    pub dsacks: u64,
    pub out_of_order: u64,
}

#[derive(Debug, Serialize)]
pub struct Each {
    pub connection: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<&'static str>,
    pub result: String,
    pub sent: u64,
    pub received: u64,
    pub transactions: u64,
    pub connect_ms: Option<f64>,
    pub gap_ms: f64,
    pub gap_began_ms: f64,
    /// Of those of 5 ms or more, when each began and how long it was.
    pub gaps: Vec<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
}

/// In ms, rounded to µs.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

impl Report {
    /// An attempt failed as it may.
    pub fn tolerate(&mut self, failure: &Failure) {
        *self.tolerated.entry(failure.kind()).or_default() += 1;
    }

    pub fn add(&mut self, outcome: Outcome) {
        self.connections += 1;
        self.bytes_sent += outcome.sent;
        self.bytes_received += outcome.received;
        self.transactions += outcome.turns;
        if self.tell_each {
            self.each.push(Each {
                connection: outcome.connection,
                ending: outcome.ending,
                result: outcome
                    .result
                    .as_ref()
                    .map_or_else(Failure::to_string, |()| "ok".into()),
                sent: outcome.sent,
                received: outcome.received,
                transactions: outcome.turns,
                connect_ms: outcome.connected_after.map(ms),
                gap_ms: ms(outcome.gap.length),
                gap_began_ms: ms(outcome.gap.began),
                gaps: outcome
                    .gaps
                    .iter()
                    .map(|gap| (ms(gap.began), ms(gap.length)))
                    .collect(),
                retransmits: outcome.tcp.map(|tcp| tcp.retransmits),
            });
        }
        if let Some(after) = outcome.connected_after {
            self.connect_max_ms = self.connect_max_ms.max(ms(after));
        }
        if self.gap.is_none_or(|gap| ms(outcome.gap.length) > gap.ms) {
            self.gap = Some(ToldGap {
                ms: ms(outcome.gap.length),
                connection: outcome.connection,
                began_ms: ms(outcome.gap.began),
                began_unix_ms: self.started_unix_ms + outcome.gap.began.as_millis() as u64,
            });
        }
        self.gaps.push(outcome.gap.length);
        if let Some(info) = outcome.tcp {
            let tcp = self.tcp.get_or_insert_default();
            tcp.retransmits += info.retransmits;
            tcp.bytes_retransmitted += info.bytes_retransmitted;
            tcp.timeouts += info.timeouts;
            tcp.dsacks += info.dsacks;
            tcp.out_of_order += info.out_of_order;
        }
        match outcome.result {
            Ok(()) => {
                self.ok += 1;
                if let Some(ending) = outcome.ending {
                    *self.endings.entry(ending).or_default() += 1;
                }
            }
            Err(failure) => {
                self.failed += 1;
                *self.reasons.entry(failure.kind()).or_default() += 1;
                if self.failures.len() < TOLD {
                    self.failures.push(Told {
                        connection: outcome.connection,
                        port: outcome.port,
                        ending: outcome.ending,
                        reason: failure.to_string(),
                        at_ms: outcome.at.as_millis() as u64,
                        at_unix_ms: self.started_unix_ms + outcome.at.as_millis() as u64,
                    });
                }
            }
        }
    }

    /// Computes what only the end tells, prints the line, and returns whether every connection ended right.
    pub fn finish(mut self, elapsed: Duration) -> bool {
        self.elapsed_ms = elapsed.as_millis() as u64;
        self.passed = self.failed == 0 && self.ok > 0;
        self.gaps.sort_unstable();
        let nth = |percent| {
            self.gaps
                .get(self.gaps.len().saturating_sub(1) * percent / 100)
                .copied()
        };
        self.gap_median_ms = nth(50).map_or(0.0, ms);
        self.gap_p99_ms = nth(99).map_or(0.0, ms);
        self.each.sort_by_key(|each| each.connection);
        match serde_json::to_string(&self) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("no result line: {error}"),
        }
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(connection: u64, result: Result<(), Failure>, gap: u64) -> Outcome {
        Outcome {
            connection,
            port: None,
            ending: None,
            result,
            sent: 1,
            received: 2,
            turns: 3,
            connected_after: None,
            gap: Gap {
                length: Duration::from_millis(gap),
                began: Duration::from_millis(5),
            },
            gaps: vec![],
            tcp: None,
            at: Duration::from_millis(9),
        }
    }

    #[test]
    fn one_failed_connection_fails_the_run() {
        let mut report = Report::default();
        report.add(outcome(0, Ok(()), 3));
        report.add(outcome(1, Err(Failure::Reset { offset: 7 }), 8));
        report.add(outcome(2, Ok(()), 4));
        assert_eq!((report.ok, report.failed, report.bytes_received), (2, 1, 6));
        assert_eq!(report.failures[0].reason, "reset at offset 7");
        assert_eq!(report.gap.map(|gap| gap.connection), Some(1));
        assert!(!report.finish(Duration::ZERO));
    }

    #[test]
    fn no_connection_at_all_is_no_success() {
        assert!(!Report::default().finish(Duration::ZERO));
    }
}
