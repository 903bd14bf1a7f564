// SPDX-License-Identifier: GPL-2.0

//! Client and server over the loopback device: every pattern passes, and fails when the server lies.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_sttcp-traffic");

/// A server that ends with this value.
struct Server {
    process: Child,
    plain: String,
    greeting: String,
}

impl Server {
    fn new(options: &[&str]) -> Self {
        let mut process = Command::new(TRAFFIC)
            .args(["serve", "--listen", "127.0.0.1:0", "--greet", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = || {
            lines
                .next()
                .unwrap()
                .unwrap()
                .strip_prefix("listening on ")
                .unwrap()
                .to_owned()
        };
        let (plain, greeting) = (address(), address());
        Self {
            process,
            plain,
            greeting,
        }
    }

    /// Runs a client and returns its result line, having checked that its exit status says the same.
    fn client(&self, pattern: &str, options: &[&str]) -> Value {
        let to = if pattern == "greet" {
            &self.greeting
        } else {
            &self.plain
        };
        let Output { status, stdout, .. } = Command::new(TRAFFIC)
            .args(["client", pattern, "--to", to])
            .args(options)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let result: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!(result["passed"], status.success());
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

const EACH: [(&str, &[&str]); 7] = [
    ("echo", &["--count", "50", "--connections", "3"]),
    ("ask", &["--count", "20", "--connections", "3"]),
    ("get", &["--bytes", "1M", "--connections", "3"]),
    (
        "put",
        &["--bytes", "1M", "--size", "1K", "--connections", "3"],
    ),
    ("greet", &["--count", "20", "--connections", "3"]),
    ("churn", &["--count", "20", "--connections", "3"]),
    (
        "ends",
        &["--connections", "12", "--repeat", "2", "--count", "3"],
    ),
];

#[test]
fn every_pattern_passes() {
    let server = Server::new(&[]);
    for (pattern, options) in EACH {
        let result = server.client(pattern, options);
        assert_eq!(result["passed"], true, "{result}");
    }
}

#[test]
fn the_pace_and_the_cuts_of_a_server_change_no_byte() {
    let server = Server::new(&[
        "--chunk", "77", "--slow", "1", "--rcvbuf", "4K", "--sndbuf", "4K",
    ]);
    for (pattern, options) in [
        ("echo", ["--bytes", "50K"]),
        ("ask", ["--count", "10"]),
        ("put", ["--bytes", "50K"]),
    ] {
        let result = server.client(pattern, &options);
        assert_eq!(result["passed"], true, "{result}");
    }
}

#[test]
fn every_pattern_tells_a_lie() {
    let server = Server::new(&["--lie-at", "900"]);
    for (pattern, options) in EACH {
        let result = server.client(pattern, options);
        // A handshake that the client aborts is one in which the server says nothing.
        let silent = result["endings"]["abort-handshake"].as_u64().unwrap_or(0);
        assert_eq!(result["ok"], silent, "{result}");
        assert_eq!(result["reasons"]["wrong"], result["failed"], "{result}");
        let reason = result["failures"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("wrong byte at offset 900 "), "{result}");
    }
}

#[test]
fn a_lie_in_the_last_byte_is_told() {
    let server = Server::new(&["--lie-at", "999999"]);
    let result = server.client("get", &["--bytes", "1000000"]);
    let reason = result["failures"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("wrong byte at offset 999999 "),
        "{result}"
    );
    assert_eq!(server.client("get", &["--bytes", "999999"])["passed"], true);
}

#[test]
fn a_server_that_stalls_is_a_pause_and_one_that_stays_away_a_timeout() {
    let server = Server::new(&["--stall-at", "2K", "--stall", "300"]);
    let result = server.client("echo", &["--count", "5"]);
    assert_eq!(result["passed"], true, "{result}");
    let pause = result["gap"]["ms"].as_f64().unwrap();
    assert!((290.0..2000.0).contains(&pause), "{result}");
    let result = server.client("echo", &["--count", "5", "--timeout", "0.1"]);
    assert_eq!(result["reasons"]["timeout"], 1, "{result}");
}

#[test]
fn a_removed_mark_file_comes_again_while_the_server_answers() {
    let server = Server::new(&["--stall-at", "16K", "--stall", "600"]);
    let dir = std::env::temp_dir().join(format!("sttcp-traffic-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let (mark, until) = (dir.join("mark"), dir.join("until"));
    let mut client = Command::new(TRAFFIC)
        .args(["client", "echo", "--to", &server.plain])
        .args(["--connections", "3", "--think", "1", "--mark-file"])
        .arg(&mark)
        .arg("--until-file")
        .arg(&until)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let marked = || {
        let began = Instant::now();
        while !mark.exists() && began.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(mark.exists());
        began.elapsed()
    };
    marked();
    // A round is at least one transaction, so the server stalls in one of them.
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        fs::remove_file(&mark).unwrap();
        slowest = slowest.max(marked());
    }
    fs::write(&until, "").unwrap();
    assert!(client.wait().unwrap().success());
    fs::remove_dir_all(&dir).unwrap();
    assert!(slowest > Duration::from_millis(200), "{slowest:?}");
}
