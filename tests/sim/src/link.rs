// SPDX-License-Identifier: GPL-2.0

//! The network: what becomes of a packet on one of its links.

use crate::rng::Rng;

/// The client's segments to a host: for the primary the way in, for the backup the tap.
pub const fn to_host(host: usize) -> usize {
    host
}

/// A host's segments to the client.
pub const fn to_client(host: usize) -> usize {
    2 + host
}

/// A host's datagrams to the other.
pub const fn to_peer(host: usize) -> usize {
    4 + host
}

/// The same by the second path.
pub const fn to_peer_by_second(host: usize) -> usize {
    6 + host
}

pub const LINKS: usize = 8;
const NAMES: [&str; LINKS] = [
    "client to 0",
    "client to 1",
    "0 to client",
    "1 to client",
    "0 to 1",
    "1 to 0",
    "0 to 1, second",
    "1 to 0, second",
];

/// A link in one direction. Each packet's delay is its own, so packets overtake each other.
#[derive(Clone, Debug)]
pub struct Link {
    pub name: &'static str,
    /// In us.
    delay: u64,
    jitter: u64,
    /// Of 1000 packets.
    pub loss: u32,
    repeats: u32,
    /// Nothing passes from then until then, in us.
    cuts: Vec<(u64, u64)>,
    /// From then on nothing is lost or repeated.
    heals: u64,
}

impl Link {
    /// All links, of which some have some faults until `heals`.
    pub fn any(heals: u64, rng: &mut Rng) -> [Self; LINKS] {
        let delay = rng.magnitude(20, 3000);
        let mut second = Rng::new(!heals ^ delay);
        NAMES.map(|name| {
            // What came later has its own numbers.
            let rng = if name.ends_with("second") {
                &mut second
            } else {
                &mut *rng
            };
            let peer = !name.contains("client");
            let loss = rng.pick(&[0, 0, 0, 10, 50, 200]);
            let mut cuts = vec![];
            if rng.chance(100) {
                let from = rng.below(heals);
                // Heartbeats are to survive it, if not always.
                let len = rng.magnitude(1000, if peer { 50_000 } else { 5_000_000 });
                cuts.push((from, (from + len).min(heals)));
            }
            Self {
                name,
                delay: rng.range(delay / 2 + 1, delay),
                jitter: if rng.chance(500) {
                    0
                } else {
                    rng.magnitude(1, 8000)
                },
                loss,
                repeats: rng.pick(&[0, 0, 10, 100]),
                cuts,
                heals,
            }
        })
    }

    /// Nothing passes for `len` from `from` on, in us, unless it has healed.
    pub fn cut(&mut self, from: u64, len: u64) {
        self.cuts.push((from, (from + len).min(self.heals)));
    }

    /// When the copies of a packet arrive that is sent at `now`.
    pub fn pass(&self, now: u64, rng: &mut Rng) -> Vec<u64> {
        let copies = if now >= self.heals {
            1
        } else if rng.chance(self.loss)
            || self
                .cuts
                .iter()
                .any(|(from, until)| (*from..*until).contains(&now))
        {
            0
        } else {
            1 + usize::from(rng.chance(self.repeats))
        };
        (0..copies)
            .map(|_| now + self.delay + rng.below(self.jitter + 1))
            .collect()
    }
}
