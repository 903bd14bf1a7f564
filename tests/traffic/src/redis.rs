// SPDX-License-Identifier: GPL-2.0

//! A Redis session as a row of turns: a counter that must count without a hole, and values that must come back as they
//! were set. Every reply is known beforehand, so RESP needs writing only.

use std::fmt::Write;

use crate::pattern::{byte_at, derive, Piece, Turn};

/// Turn `index`: `pipeline` INCRs of the session's counter, then a SET and a GET of a value of `size` bytes.
pub fn turn(seed: u64, index: u64, size: u64, pipeline: u64) -> Turn {
    let (counter, key) = (
        format!("sttcp:{seed:x}:counter"),
        format!("sttcp:{seed:x}:value"),
    );
    let (mut say, mut hear) = (String::new(), String::new());
    if index == 0 {
        command(&mut say, &["SET", &counter, "0"]);
        hear.push_str("+OK\r\n");
    }
    for i in 1..=pipeline {
        command(&mut say, &["INCR", &counter]);
        let _ = write!(hear, ":{}\r\n", index * pipeline + i);
    }
    let value = value(derive(seed, index), size);
    command(&mut say, &["SET", &key, &value]);
    hear.push_str("+OK\r\n");
    command(&mut say, &["GET", &key]);
    bulk(&mut hear, &value);
    Turn {
        say: vec![Piece::text(say)],
        hear: vec![Piece::text(hear)],
    }
}

/// Letters, so that a wrong reply can be read.
fn value(seed: u64, size: u64) -> String {
    (0..size)
        .map(|i| char::from(b'a' + byte_at(seed, i) % 26))
        .collect()
}

fn command(out: &mut String, words: &[&str]) {
    let _ = write!(out, "*{}\r\n", words.len());
    words.iter().for_each(|word| bulk(out, word));
}

fn bulk(out: &mut String, word: &str) {
    let _ = write!(out, "${}\r\n{word}\r\n", word.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[Piece]) -> String {
        match pieces {
            [Piece::Text(text)] => String::from_utf8(text.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_counter_goes_on_from_turn_to_turn() {
        let first = turn(1, 0, 3, 2);
        assert!(text(&first.say).starts_with(
            "*3\r\n$3\r\nSET\r\n$15\r\nsttcp:1:counter\r\n$1\r\n0\r\n*2\r\n$4\r\nINCR"
        ));
        assert!(text(&first.hear).starts_with("+OK\r\n:1\r\n:2\r\n+OK\r\n$3\r\n"));
        assert!(text(&turn(1, 5, 3, 2).hear).starts_with(":11\r\n:12\r\n+OK\r\n"));
    }
}
