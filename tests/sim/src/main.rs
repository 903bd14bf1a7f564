// SPDX-License-Identifier: GPL-2.0

//! Runs schedules: `sttcp-sim 1000` the first thousand, `sttcp-sim 5..9` those, `sttcp-sim --seed 7` one, with a trace of what happens;
//! `sttcp-sim --plants 1000` looks for each of the faults that can be planted.

use sttcp_sim::{many, run};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |word: &str| word.parse::<u64>().unwrap_or_else(|_| usage());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let failed = match words[..] {
        ["--seed", seed] => run(number(seed), true).failure.is_some(),
        ["--plants", seeds] => {
            let found = many::run_plants(0..number(seeds));
            for hunt in &found {
                match &hunt.found {
                    Some((seed, what)) => println!("{:?}: SEED={seed}: {what}", hunt.plant),
                    None => println!("{:?}: not found in {}", hunt.plant, hunt.schedules),
                }
            }
            found.iter().any(|hunt| hunt.found.is_none())
        }
        [seeds] => {
            let (from, to) = seeds.split_once("..").unwrap_or(("0", seeds));
            let sum = many::run_all(number(from)..number(to), false);
            print!("{sum}");
            !sum.failures.is_empty()
        }
        _ => usage(),
    };
    std::process::exit(failed.into());
}

fn usage() -> ! {
    eprintln!("usage: sttcp-sim COUNT | FROM..TO | --seed SEED | --plants COUNT");
    std::process::exit(2);
}
