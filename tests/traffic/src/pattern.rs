// SPDX-License-Identifier: GPL-2.0

//! What travels: bytes that are a function of a seed and an offset, and the turns of a conversation made of them.
//!
//! A conversation is a row of [`Turn`]s. In each the client says some pieces and must hear some pieces, and both are
//! known beforehand, so a client can check every byte at the offset at which it arrives.

use crate::redis;

/// The seed of what the server says first on a greeting port.
pub const GREETING_SEED: u64 = 0x6772_6565_7469_6e67;
/// How much it says, in bytes.
pub const GREETING_LEN: u64 = 2048;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const WORD: usize = 8;

/// SplitMix64's finalizer.
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A seed for part `part` of what `seed` governs. Each turn of each connection has its own, so that bytes of one that
/// turn up in another are wrong bytes.
pub fn derive(seed: u64, part: u64) -> u64 {
    mix(seed.wrapping_add(GOLDEN).rotate_left(17) ^ mix(part.wrapping_add(GOLDEN)))
}

fn word(seed: u64, index: u64) -> [u8; WORD] {
    mix(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN))).to_le_bytes()
}

/// The byte at `offset` of the stream of `seed`.
pub fn byte_at(seed: u64, offset: u64) -> u8 {
    word(seed, offset / WORD as u64)[(offset % WORD as u64) as usize]
}

/// Fills `out` with the stream of `seed` from `offset` on.
pub fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    // Bytes up to the next word boundary, then whole words, then what is left.
    let head = ((WORD as u64 - offset % WORD as u64) % WORD as u64) as usize;
    let (head, body) = out.split_at_mut(head.min(out.len()));
    for (i, byte) in head.iter_mut().enumerate() {
        *byte = byte_at(seed, offset + i as u64);
    }
    let first = (offset + head.len() as u64) / WORD as u64;
    for (index, chunk) in (first..).zip(body.chunks_mut(WORD)) {
        chunk.copy_from_slice(&word(seed, index)[..chunk.len()]);
    }
}

/// The place in `bytes` where they first differ from the stream of `seed` from `offset` on.
pub fn first_difference(seed: u64, offset: u64, bytes: &[u8]) -> Option<usize> {
    let mut expected = [0; 512];
    for (i, part) in bytes.chunks(expected.len()).enumerate() {
        let at = i * expected.len();
        let expected = &mut expected[..part.len()];
        fill(seed, offset + at as u64, expected);
        if expected != part {
            let within = part.iter().zip(expected.iter()).position(|(a, b)| a != b)?;
            return Some(at + within);
        }
    }
    None
}

/// A digest of a byte stream that does not depend on how the stream was cut into pieces. It is no cryptographic one.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    state: u64,
    pending: [u8; WORD],
    len: u64,
}

impl Digest {
    pub fn update(&mut self, mut bytes: &[u8]) {
        let filled = (self.len % WORD as u64) as usize;
        self.len += bytes.len() as u64;
        if filled != 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(WORD - filled));
            self.pending[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < WORD {
                return;
            }
            self.absorb(u64::from_le_bytes(self.pending));
            bytes = tail;
        }
        let (words, rest) = bytes.split_at(bytes.len() - bytes.len() % WORD);
        for chunk in words.chunks_exact(WORD) {
            let mut word = [0; WORD];
            word.copy_from_slice(chunk);
            self.absorb(u64::from_le_bytes(word));
        }
        self.pending[..rest.len()].copy_from_slice(rest);
    }

    fn absorb(&mut self, word: u64) {
        self.state = (self.state ^ word).wrapping_mul(GOLDEN).rotate_left(29);
    }

    pub fn value(&self) -> u64 {
        let mut last = [0; WORD];
        let filled = (self.len % WORD as u64) as usize;
        last[..filled].copy_from_slice(&self.pending[..filled]);
        mix(self.state ^ u64::from_le_bytes(last)) ^ mix(self.len)
    }
}

/// The seed of the answer to `ask`.
pub fn answer_seed(ask: &[u8]) -> u64 {
    let mut digest = Digest::default();
    digest.update(ask);
    digest.value()
}

/// What the server says once it has read an upload and found every byte right.
pub fn receipt(digest: &Digest) -> Vec<u8> {
    format!("ok {} {:016x}\n", digest.len, digest.value()).into_bytes()
}

/// A part of what one side says.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(Vec<u8>),
    /// The first `len` bytes of the stream of `seed`.
    Stream {
        seed: u64,
        len: u64,
    },
    /// The [`receipt`] for every stream byte said in this turn.
    Receipt,
}

impl Piece {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into().into_bytes())
    }
}

/// One exchange: all of `hear` is due once all of `say` is said, or earlier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    pub say: Vec<Piece>,
    pub hear: Vec<Piece>,
}

/// What a client talks about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    Echo,
    /// A question of `ask` bytes; the answer is a function of it.
    Ask {
        ask: u64,
    },
    Get,
    Put,
    /// The server speaks first, then echoes. The greeting is turn 0.
    Greet,
    /// `pipeline` commands in one turn.
    Redis {
        pipeline: u64,
    },
}

impl Pattern {
    /// Turn `index` of the conversation of `seed`, with `size` bytes to be carried.
    pub fn turn(&self, seed: u64, index: u64, size: u64) -> Turn {
        let stream_seed = derive(seed, index);
        let stream = Piece::Stream {
            seed: stream_seed,
            len: size,
        };
        let first = |command: String| (index == 0).then(|| Piece::text(command));
        match *self {
            Self::Greet if index == 0 => Turn {
                say: vec![],
                hear: vec![Piece::Stream {
                    seed: GREETING_SEED,
                    len: GREETING_LEN,
                }],
            },
            Self::Echo | Self::Greet => Turn {
                say: first("echo\n".into())
                    .into_iter()
                    .chain([stream.clone()])
                    .collect(),
                hear: vec![stream],
            },
            Self::Ask { ask } => {
                let mut question = vec![0; ask as usize];
                fill(stream_seed, 0, &mut question);
                let answer = Piece::Stream {
                    seed: answer_seed(&question),
                    len: size,
                };
                Turn {
                    say: first(format!("ask {ask} {size}\n"))
                        .into_iter()
                        .chain([Piece::Text(question)])
                        .collect(),
                    hear: vec![answer],
                }
            }
            Self::Get => Turn {
                say: vec![Piece::text(format!("get {stream_seed} {size}\n"))],
                hear: vec![stream],
            },
            Self::Put => Turn {
                say: vec![Piece::text(format!("put {stream_seed} {size}\n")), stream],
                hear: vec![Piece::Receipt],
            },
            Self::Redis { pipeline } => redis::turn(seed, index, size, pipeline),
        }
    }

    /// Whether the length of a turn may differ from that of the turn before.
    pub fn resizable(&self) -> bool {
        !matches!(self, Self::Ask { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let mut whole = [0; 1000];
        fill(7, 0, &mut whole);
        for start in 0..40 {
            for len in 0..40 {
                let mut part = vec![0; len];
                fill(7, start as u64, &mut part);
                assert_eq!(part, whole[start..start + len]);
            }
        }
        assert!(whole
            .iter()
            .enumerate()
            .all(|(i, &b)| b == byte_at(7, i as u64)));
    }

    #[test]
    fn seeds_and_offsets_matter() {
        let mut a = [0; 64];
        let mut b = [0; 64];
        fill(1, 0, &mut a);
        fill(2, 0, &mut b);
        assert_ne!(a, b);
        fill(1, 8, &mut b);
        assert_ne!(a, b);
        assert_ne!(derive(1, 2), derive(2, 1));
    }

    #[test]
    fn the_first_difference_is_found() {
        let mut bytes = [0; 3000];
        fill(9, 5, &mut bytes);
        assert_eq!(first_difference(9, 5, &bytes), None);
        for at in [0, 1, 511, 512, 1500, 2999] {
            bytes[at] ^= 1;
            assert_eq!(first_difference(9, 5, &bytes), Some(at));
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn a_digest_does_not_depend_on_the_cuts() {
        let mut bytes = [0; 100];
        fill(3, 0, &mut bytes);
        let mut whole = Digest::default();
        whole.update(&bytes);
        for step in 1..30 {
            let mut cut = Digest::default();
            bytes.chunks(step).for_each(|part| cut.update(part));
            assert_eq!(cut.value(), whole.value());
        }
        let mut other = Digest::default();
        other.update(&bytes[..99]);
        assert_ne!(other.value(), whole.value());
    }

    #[test]
    fn the_command_is_said_once_where_the_server_stays_in_it() {
        let says_text = |pattern: Pattern, index| {
            pattern
                .turn(1, index, 10)
                .say
                .iter()
                .any(|p| matches!(p, Piece::Text(t) if t.ends_with(b"\n")))
        };
        assert!(says_text(Pattern::Echo, 0) && !says_text(Pattern::Echo, 1));
        assert!(says_text(Pattern::Get, 0) && says_text(Pattern::Get, 1));
        assert!(!says_text(Pattern::Greet, 0) && !says_text(Pattern::Greet, 1));
    }
}
