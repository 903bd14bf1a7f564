// SPDX-License-Identifier: GPL-2.0

//! The client's half of a conversation, without I/O: it offers the bytes to send and checks the bytes received.
//!
//! Offsets in errors count from the first byte the server sent on the connection.

use std::collections::VecDeque;
use std::fmt;

use crate::pattern::{byte_at, fill, first_difference, receipt, Digest, Piece, Turn};

/// A received byte that was not the one due.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrong {
    Byte {
        offset: u64,
        turn: u64,
        want: u8,
        got: u8,
        /// What was received in the place of a line of text.
        line: Option<String>,
    },
    /// Nothing was due.
    Extra { offset: u64, turn: u64, got: u8 },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte {
                offset,
                turn,
                want,
                got,
                line,
            } => {
                write!(
                    f,
                    "wrong byte at offset {offset} (turn {turn}): want {want:#04x} got {got:#04x}"
                )?;
                match line {
                    Some(line) => write!(f, ", in {line:?}"),
                    None => Ok(()),
                }
            }
            Self::Extra { offset, turn, got } => {
                write!(
                    f,
                    "extra byte at offset {offset} (turn {turn}): got {got:#04x}, nothing was due"
                )
            }
        }
    }
}

/// A row of turns, of which one is being held.
///
/// # Invariants
///
/// `said_of_piece` and `heard_of_piece` are offsets within the first pieces of `say` and `hear`, and less than their
/// lengths: a piece that is through is taken out.
#[derive(Debug, Default)]
pub struct Script {
    say: VecDeque<Piece>,
    hear: VecDeque<Piece>,
    said_of_piece: u64,
    heard_of_piece: u64,
    /// Of the stream bytes said in this turn.
    digest: Digest,
    said: u64,
    heard: u64,
    turns: u64,
}

impl Script {
    /// Starts a turn. The turn before must be over.
    pub fn begin(&mut self, turn: Turn) {
        debug_assert!(self.turn_over());
        self.say = turn.say.into();
        self.hear = turn.hear.into();
        self.digest = Digest::default();
        self.skip_empty();
    }

    /// Writes the next bytes to send into `out` and returns their number. They count as sent only by [`Self::sent`].
    pub fn offer(&self, out: &mut [u8]) -> usize {
        let mut filled = 0;
        let mut from = self.said_of_piece;
        for piece in &self.say {
            let room = &mut out[filled..];
            let len = (length(piece) - from).min(room.len() as u64) as usize;
            let room = &mut room[..len];
            match piece {
                Piece::Text(text) => {
                    room.copy_from_slice(&text[from as usize..from as usize + len])
                }
                Piece::Stream { seed, .. } => fill(*seed, from, room),
                Piece::Receipt => {}
            }
            filled += len;
            from = 0;
            if filled == out.len() {
                break;
            }
        }
        filled
    }

    /// Tells that `bytes`, a front part of what was offered, are sent.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        self.said += bytes.len() as u64;
        while let Some(piece) = self.say.front().filter(|_| !bytes.is_empty()) {
            let left = length(piece) - self.said_of_piece;
            let (now, rest) = bytes.split_at(left.min(bytes.len() as u64) as usize);
            if matches!(piece, Piece::Stream { .. }) {
                self.digest.update(now);
            }
            self.said_of_piece += now.len() as u64;
            if now.len() as u64 == left {
                self.say.pop_front();
                self.said_of_piece = 0;
            }
            bytes = rest;
        }
        self.skip_empty();
    }

    /// Checks bytes received.
    ///
    /// # Errors
    ///
    /// The first byte that differs from what was due.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            self.skip_empty();
            let from = self.heard_of_piece;
            let Some(piece) = self.hear.front() else {
                return Err(Wrong::Extra {
                    offset: self.heard,
                    turn: self.turns,
                    got: bytes[0],
                });
            };
            let left = length(piece) - from;
            let (now, rest) = bytes.split_at(left.min(bytes.len() as u64) as usize);
            let difference = match piece {
                Piece::Text(text) => now
                    .iter()
                    .zip(&text[from as usize..])
                    .position(|(got, want)| got != want)
                    .map(|at| (at, text[from as usize + at], Some(line(bytes)))),
                Piece::Stream { seed, .. } => first_difference(*seed, from, now)
                    .map(|at| (at, byte_at(*seed, from + at as u64), None)),
                // The server spoke before the end of the upload, and a receipt cannot be due before it.
                Piece::Receipt => Some((0, b'o', Some(line(bytes)))),
            };
            if let Some((at, want, line)) = difference {
                let offset = self.heard + at as u64;
                return Err(Wrong::Byte {
                    offset,
                    turn: self.turns,
                    want,
                    got: now[at],
                    line,
                });
            }
            self.heard += now.len() as u64;
            self.heard_of_piece += now.len() as u64;
            if now.len() as u64 == left {
                self.hear.pop_front();
                self.heard_of_piece = 0;
            }
            bytes = rest;
        }
        self.skip_empty();
        Ok(())
    }

    /// Takes out pieces without length, and turns a receipt into its text once it can be known.
    fn skip_empty(&mut self) {
        while self.say.front().is_some_and(|piece| length(piece) == 0) {
            self.say.pop_front();
        }
        while let Some(piece) = self.hear.front_mut() {
            match piece {
                Piece::Receipt if self.say.is_empty() => {
                    *piece = Piece::Text(receipt(&self.digest))
                }
                Piece::Receipt => break,
                piece if length(piece) == 0 => drop(self.hear.pop_front()),
                _ => break,
            }
        }
    }

    pub fn all_said(&self) -> bool {
        self.say.is_empty()
    }

    pub fn turn_over(&self) -> bool {
        self.say.is_empty() && self.hear.is_empty()
    }

    /// Counts the turn as held.
    pub fn end_turn(&mut self) {
        debug_assert!(self.turn_over());
        self.turns += 1;
    }

    /// Gives up what is left of the turn.
    pub fn abandon(&mut self) {
        self.say.clear();
        self.hear.clear();
        self.said_of_piece = 0;
        self.heard_of_piece = 0;
    }

    /// Whether nothing is due in this turn before the last byte is sent, so that only sending shows progress.
    pub fn uploading(&self) -> bool {
        matches!(self.hear.front(), Some(Piece::Receipt))
    }

    /// Bytes sent.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Bytes received and found right.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Turns held to the end.
    pub fn turns(&self) -> u64 {
        self.turns
    }
}

fn length(piece: &Piece) -> u64 {
    match piece {
        Piece::Text(text) => text.len() as u64,
        Piece::Stream { len, .. } => *len,
        // Not known yet, and never offered.
        Piece::Receipt => u64::from(u32::MAX),
    }
}

fn line(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&b| b == b'\n')
        .unwrap_or(bytes.len())
        .min(120);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    /// Everything the script has to say now.
    fn say(script: &mut Script, step: usize) -> Vec<u8> {
        let mut all = vec![];
        let mut buffer = vec![0; step];
        loop {
            let len = script.offer(&mut buffer);
            if len == 0 {
                return all;
            }
            // Half of what is offered is taken, as a full socket does.
            let taken = len.div_ceil(2);
            script.sent(&buffer[..taken]);
            all.extend_from_slice(&buffer[..taken]);
        }
    }

    #[test]
    fn an_echo_of_what_was_said_is_right() {
        let mut script = Script::default();
        script.begin(Pattern::Echo.turn(1, 0, 1000));
        let said = say(&mut script, 64);
        assert_eq!(&said[..5], b"echo\n");
        assert!(!script.turn_over());
        for part in said[5..].chunks(77) {
            script.receive(part).unwrap();
        }
        assert!(script.turn_over());
        assert_eq!((script.said(), script.heard()), (1005, 1000));
    }

    #[test]
    fn a_wrong_byte_is_told_with_its_offset() {
        let mut script = Script::default();
        script.begin(Pattern::Echo.turn(1, 0, 10));
        let said = say(&mut script, 64);
        script.receive(&said[5..]).unwrap();
        script.end_turn();
        script.begin(Pattern::Echo.turn(1, 1, 10));
        let mut said = say(&mut script, 64);
        said[3] ^= 0x40;
        assert_eq!(
            script.receive(&said),
            Err(Wrong::Byte {
                offset: 13,
                turn: 1,
                want: said[3] ^ 0x40,
                got: said[3],
                line: None
            })
        );
    }

    #[test]
    fn a_byte_too_many_is_told() {
        let mut script = Script::default();
        script.begin(Pattern::Echo.turn(1, 0, 10));
        let mut said = say(&mut script, 64);
        said.push(b'x');
        assert_eq!(
            script.receive(&said[5..]),
            Err(Wrong::Extra {
                offset: 10,
                turn: 0,
                got: b'x'
            })
        );
    }

    #[test]
    fn a_repeated_or_lost_byte_is_told() {
        for change in [
            |v: &mut Vec<u8>| v.insert(9, v[8]),
            |v: &mut Vec<u8>| {
                v.remove(9);
            },
        ] {
            let mut script = Script::default();
            script.begin(Pattern::Echo.turn(1, 0, 100));
            let mut said = say(&mut script, 64).split_off(5);
            change(&mut said);
            assert!(script.receive(&said).is_err());
        }
    }

    #[test]
    fn an_upload_ends_with_its_receipt() {
        let mut script = Script::default();
        script.begin(Pattern::Put.turn(1, 0, 100));
        assert!(script.uploading());
        let said = say(&mut script, 64);
        assert!(!script.uploading());
        let mut digest = Digest::default();
        digest.update(&said[said.len() - 100..]);
        script.receive(&receipt(&digest)).unwrap();
        assert!(script.turn_over());
    }

    #[test]
    fn a_complaint_in_an_upload_is_told_with_its_text() {
        let mut script = Script::default();
        script.begin(Pattern::Put.turn(1, 0, 100));
        let wrong = script.receive(b"bad 17\nmore").unwrap_err();
        assert!(wrong.to_string().contains("\"bad 17\""), "{wrong}");
        // Likewise after the last byte.
        say(&mut script, 64);
        let wrong = script.receive(b"bad 17\n").unwrap_err();
        assert!(wrong.to_string().contains("\"bad 17\""), "{wrong}");
    }

    #[test]
    fn nothing_is_said_to_a_server_that_speaks_first() {
        let mut script = Script::default();
        script.begin(Pattern::Greet.turn(1, 0, 100));
        assert!(say(&mut script, 64).is_empty());
        let mut greeting = vec![0; crate::pattern::GREETING_LEN as usize];
        fill(crate::pattern::GREETING_SEED, 0, &mut greeting);
        script.receive(&greeting).unwrap();
        assert!(script.turn_over());
    }

    #[test]
    fn turns_of_no_length_are_over_at_once() {
        let mut script = Script::default();
        script.begin(Turn {
            say: vec![],
            hear: vec![Piece::Stream { seed: 1, len: 0 }],
        });
        assert!(script.turn_over());
    }
}
