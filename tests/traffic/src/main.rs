// SPDX-License-Identifier: GPL-2.0

//! Traffic whose every byte is known, to prove that a takeover loses none of it.

mod client;
mod ends;
mod foreign;
mod hostile;
mod pattern;
mod redis;
mod report;
mod run;
mod script;
mod serve;
mod session;
mod sock;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::pattern::Pattern;

/// Traffic whose every byte is known, to prove that a takeover loses none of it.
///
/// Clients check every byte they receive, print one line of JSON at the end, and exit 0 only if every connection ended
/// right.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A deterministic server.
    Serve(serve::Serve),
    /// A client on the kernel's TCP.
    Client {
        pattern: client::Kind,
        #[command(flatten)]
        talk: run::Talk,
        #[command(flatten)]
        dial: client::Dial,
        /// The endings of ends, in turn [default: all].
        #[arg(long, value_name = "ENDING", value_delimiter = ',')]
        endings: Vec<ends::Ending>,
    },
    /// A client on a TCP that is not Linux's (smoltcp), behind a tun device.
    Foreign {
        pattern: foreign::Kind,
        #[command(flatten)]
        talk: run::Talk,
        #[command(flatten)]
        tunnel: foreign::Tunnel,
    },
    /// Malformed and forged frames by the hundred thousand.
    Hostile(hostile::Hostile),
    /// A session with a Redis server: a counter and values.
    Redis {
        #[command(flatten)]
        talk: run::Talk,
        #[command(flatten)]
        dial: client::Dial,
        /// INCRs in one transaction.
        #[arg(long, default_value_t = 1)]
        pipeline: u64,
    },
}

fn main() -> ExitCode {
    let passed = match Arguments::parse().command {
        Command::Serve(serve) => serve::run(&serve).map(|()| true),
        Command::Client {
            pattern,
            talk,
            dial,
            endings,
        } => Ok(client::run(&talk, &dial, pattern, &endings)),
        Command::Foreign {
            pattern,
            talk,
            tunnel,
        } => foreign::run(&talk, &tunnel, pattern),
        Command::Hostile(hostile) => hostile::run(&hostile).map(|()| true),
        Command::Redis {
            talk,
            dial,
            pipeline,
        } => {
            let plan = talk.plan(Pattern::Redis { pipeline });
            Ok(client::hold(&talk, &dial, "redis", plan, false, &[]))
        }
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sttcp-traffic: {error}");
            ExitCode::FAILURE
        }
    }
}
