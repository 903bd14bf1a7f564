// SPDX-License-Identifier: GPL-2.0

//! A schedule: everything that a seed decides beforehand.

use crate::link::{to_host, to_peer, Link, LINKS};
use crate::rng::Rng;
use crate::stack::Nature;
use crate::talk::{Fails, Pace, Talk};
use sttcp::primary::{Policy, Terms};
use sttcp::program::{Scope, Watch};

/// What happens to the hosts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blow {
    /// Nothing.
    None,
    /// The primary, 0, or the backup, 1, dies; of what its last event made it send, so many packets leave.
    Crash { host: usize, leave: usize },
    /// An operator has the backup take over.
    Switch,
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// When so many segments of clients have reached the primary.
    Segments(u32),
    /// When so many have since the first FIN among them or among its own.
    Closing(u32),
    /// Then, in us.
    At(u64),
}

/// How it is made sure that only one host speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Safety {
    /// Not at all: the network and the hosts are such that silence mostly means death.
    None,
    /// The primary speaks by lease.
    Yield,
    /// A silent primary is switched off, which takes so long, in us, and fails so many times before; or hangs instead of failing.
    Fence { takes: u64, fails: u32, hangs: bool },
}

#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub v6: bool,
    /// Heartbeats: interval in us, and how many may be missed.
    pub interval: u64,
    pub misses: u32,
    /// When client bytes are acknowledged, and what is kept for the backup.
    pub terms: Terms,
    pub links: [Link; LINKS],
    /// The links behave from then on, in us.
    pub heals: u64,
    /// Primary, backup, client.
    pub natures: [Nature; 3],
    pub paces: [Pace; 3],
    pub talks: Vec<Talk>,
    pub blow: Blow,
    pub when: When,
    /// Whether a host that dies says so, as far as it can.
    pub goodbye: bool,
    pub safety: Safety,
    /// How much faster than they should the hosts' clocks run, in millionths.
    pub drift: [i64; 2],
    /// How many paths lead from one host to the other.
    pub paths: usize,
    /// Whether the two hosts compare what their servers say.
    pub digests: bool,
    /// This host stands still from then until then, in us.
    pub pause: Option<(usize, u64, u64)>,
    /// How long after its crash a host comes back as backup, in us.
    pub returns: Option<u64>,
    /// Whether what happens is written down.
    pub trace: bool,
}

impl Schedule {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let heals = rng.pick(&[1_000_000, 2_000_000, 6_000_000]);
        let heals = rng.range(300_000, heals);
        let blow = match rng.below(10) {
            0..=1 => Blow::None,
            2..=7 => Blow::Crash {
                host: 0,
                leave: rng.below(4) as usize,
            },
            8 => Blow::Crash { host: 1, leave: 0 },
            _ => Blow::Switch,
        };
        let when = match rng.below(5) {
            0 => When::At(rng.range(100_000, 1_500_000)),
            1..=2 => When::Closing(rng.below(10) as u32),
            _ => When::Segments(rng.magnitude(1, 400) as u32),
        };
        let mut links = Link::any(heals, rng);
        let lossy = links.iter().any(|link| link.loss > 20);
        let timestamps = rng.chance(500);
        let mss = rng.pick(&[536, 1220, 1460, 1460]);
        let mut talks: Vec<Talk> = (0..rng.pick(&[1, 1, 2, 4]))
            .map(|number| Talk {
                start: match rng.below(8) {
                    0 => rng.below(100_000),
                    1 => rng.range(200_000, 3_000_000),
                    _ => rng.range(200_000, 400_000),
                },
                ..Talk::any(number, rng)
            })
            .collect();
        let interval = rng.pick(&[20_000, 50_000, 100_000]);
        let misses = if lossy {
            rng.range(6, 10)
        } else {
            rng.range(3, 5)
        };
        if rng.chance(20) {
            // The backup does not know yet that the primary takes it for dead, and a connection begins.
            let (from, patience) = (rng.below(heals), (misses + 1) * interval);
            links[to_peer(1)].cut(from, 2 * patience);
            talks[0].start = from + patience + rng.below(2 * interval);
        }
        // What came later has its own numbers, so that a seed means what it meant before.
        let mut later = Rng::new(seed.rotate_left(32) ^ 0x5afe);
        let mut safety = match later.below(4) {
            0..=1 => Safety::None,
            2 => Safety::Yield,
            _ => Safety::Fence {
                takes: later.magnitude(1000, 800_000),
                fails: later.pick(&[0, 0, 1, 2]),
                hangs: later.chance(500),
            },
        };
        let (mut drift, mut pause) = ([0; 2], None);
        if safety != Safety::None {
            if later.chance(500) {
                drift = drift.map(|_| later.below(20_001) as i64 - 10_000);
            }
            if later.chance(300) {
                let (host, from) = (later.below(2) as usize, later.range(200_000, 1_500_000));
                pause = Some((host, from, from + later.magnitude(10_000, 3_000_000)));
            }
            if later.chance(300) {
                let (from, len) = (later.below(heals), later.magnitude(10_000, 5_000_000));
                for host in 0..2 {
                    // Both ways, or one alone.
                    if later.chance(700) {
                        links[to_peer(host)].cut(from, len);
                    }
                }
            }
        }
        // The programs are watched, and some of host 0 fail.
        let watch = match later.chance(150) {
            true => {
                let (hold_ms, lag_ms) =
                    (later.range(50, 500) as u32, later.range(200, 1500) as u32);
                Watch {
                    scope: match hold_ms % 2 {
                        0 => Scope::Connection,
                        _ => Scope::Node,
                    },
                    hold_ms,
                    lag_ms,
                    // Of no row of its own, which would make every seed another schedule.
                    lag_bytes: if hold_ms % 3 == 0 { lag_ms } else { 0 },
                }
            }
            false => Watch::OFF,
        };
        let mut blow = blow;
        if watch != Watch::OFF && later.chance(600) {
            // One failure at a time.
            (blow, safety, drift, pause) = (Blow::None, Safety::None, [0; 2], None);
            for talk in &mut talks {
                // One that aborts by itself is gone on the other host, if it is in time there.
                if later.chance(700) && talk.server_aborts.is_none() {
                    let how = later.pick(&[Fails::Closes, Fails::Aborts, Fails::Hangs]);
                    talk.fails = Some((later.below(talk.client_bytes().into()) as u32, how));
                }
            }
        }
        if safety == Safety::None && later.chance(250) {
            // Once more a backup that does not know yet.
            let (from, patience) = (later.below(heals), (misses + 1) * interval);
            links[to_peer(1)].cut(from, 2 * patience);
            talks[0].start = from + patience + later.below(2 * interval);
        }
        // Two paths; and the primary's way in, or its first path, is cut for long.
        let paths = if later.chance(200) { 2 } else { 1 };
        if paths == 2 {
            let (from, len) = (later.below(heals), later.magnitude(100_000, 5_000_000));
            match later.below(4) {
                0 => links[to_host(0)].cut(from, len),
                1 => {
                    for host in 0..2 {
                        links[to_peer(host)].cut(from, len);
                    }
                }
                _ => {}
            }
        }
        let digests = later.chance(250);
        Self {
            seed,
            v6: rng.chance(300),
            interval,
            misses: misses as u32,
            links,
            heals,
            natures: [0, 1, 2].map(|host| nature(mss, timestamps || host == 2, rng)),
            paces: [0; 3].map(|_| pace(rng)),
            talks,
            blow,
            when,
            goodbye: Rng::new(!seed).chance(250),
            safety,
            drift,
            pause,
            paths,
            digests,
            returns: rng.chance(300).then(|| rng.range(300_000, 2_000_000)),
            terms: Terms {
                policy: if rng.chance(300) {
                    Policy::Eager
                } else {
                    Policy::Gated
                },
                retain: rng.pick(&[16 << 10, 1 << 20, 4 << 20]),
                watch,
            },
            trace: false,
        }
    }
}

fn nature(mss: u16, timestamps: bool, rng: &mut Rng) -> Nature {
    // Mostly close to the wrap, as seen from a stream of some thousand bytes.
    let near_wrap = |rng: &mut Rng| {
        let near = 0_u32.wrapping_sub(rng.magnitude(1, 60_000) as u32);
        if rng.chance(700) {
            near
        } else {
            rng.next() as u32
        }
    };
    Nature {
        mss,
        receive: rng.pick(&[4000, 8000, 65_535, 65_535, 200_000, 1_000_000]) as usize,
        send: rng.pick(&[2000, 16_000, 65_535]) as usize,
        ack_delay: rng.pick(&[None, Some(10_000), Some(40_000)]),
        nagle: rng.chance(500),
        timestamps,
        clock: near_wrap(rng),
        isn: near_wrap(rng),
        keep_alive: rng.range(600_000, 1_500_000),
    }
}

fn pace(rng: &mut Rng) -> Pace {
    let from = rng.range(200_000, 1_000_000);
    let len = rng.magnitude(1000, 1_500_000);
    Pace {
        bytes: rng.magnitude(500, 100_000) as u32,
        rest: rng.pick(&[0, 100, 1000, 5000]),
        stopped: if rng.chance(250) {
            (from, from + len)
        } else {
            (0, 0)
        },
    }
}
