// SPDX-License-Identifier: GPL-2.0

//! What a fuzzer may choose: what the world is like, and what happens in it.

use crate::tcp::Habits;
use arbitrary::Arbitrary;

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct HabitsOf {
    isn: u32,
    scale: Option<u8>,
    timestamps: bool,
    sack: bool,
    clock: u32,
    buffer: u8,
    prompt: bool,
}

impl HabitsOf {
    pub fn habits(self) -> Habits {
        let scale = self.scale.map(|scale| scale % 15);
        // No one scales a window so far that its buffer is less than a few units.
        let least = 4_u32 << scale.unwrap_or(0);
        Habits {
            isn: self.isn,
            window_scale: scale,
            timestamps: self.timestamps,
            sack: self.sack,
            clock: self.clock,
            buffer: (4096 << (self.buffer % 9)).max(least),
            prompt: self.prompt,
        }
    }
}

#[derive(Arbitrary, Debug)]
pub struct Setting {
    pub client: HabitsOf,
    pub hosts: [HabitsOf; 2],
    pub random: [u64; 2],
    pub ipv6: bool,
    /// Primaries speak by lease (`isolation=yield`).
    pub yields: bool,
    pub two_paths: bool,
    /// How many bytes the server sends on each connection.
    pub stream: u16,
    /// What is tried at the end.
    pub takeover_at_end: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Mode {
    Pass,
    Keep,
    Lose,
}

/// A link, by its place in [`World`].
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Line {
    ToHost(bool),
    ToClient(bool),
    Peer(bool),
    /// The peer channel's second path.
    Path(bool),
}

/// A number of the connection, and how far from it.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Aim {
    Expected(i16),
    Edge(i16),
    Far(u32),
}

#[derive(Arbitrary, Debug)]
pub enum Step {
    Open {
        flow: bool,
        gap: u16,
    },
    /// The client of a flow sends new bytes.
    Send {
        flow: bool,
        len: u16,
    },
    SendAgain {
        flow: bool,
        len: u16,
    },
    Ack {
        flow: bool,
    },
    Fin {
        flow: bool,
    },
    Reset {
        flow: bool,
    },
    /// A client or a server (0 to 2) stops reading, or goes on.
    Read {
        who: u8,
        flow: bool,
        reads: bool,
    },
    Serve {
        host: bool,
        flow: bool,
        len: u16,
    },
    ServeAgain {
        host: bool,
        flow: bool,
    },
    ServerAck {
        host: bool,
        flow: bool,
    },
    Close {
        host: bool,
        flow: bool,
    },
    Abort {
        host: bool,
        flow: bool,
    },
    Link {
        line: Line,
        mode: Mode,
    },
    Deliver {
        line: Line,
        nth: u8,
        keep: bool,
    },
    Lost {
        line: Line,
        nth: u8,
    },
    /// An earlier datagram comes once more.
    Replay {
        host: bool,
        nth: u8,
    },
    /// Time goes by. Lively ends send again what is not acknowledged.
    Tick {
        millis: u16,
        lively: bool,
    },
    Freeze {
        host: bool,
    },
    Thaw {
        host: bool,
    },
    Kill {
        host: bool,
    },
    Start {
        host: bool,
        primary: bool,
    },
    Stop {
        host: bool,
    },
    TakeOver {
        host: bool,
    },
    /// `switchover=1`, or 2.
    SwitchOver {
        host: bool,
        force: bool,
    },
    /// It is switched off, or its kernel panics.
    GoDown {
        host: bool,
        panics: bool,
    },
    /// Its link to the clients goes up or down.
    Carrier {
        host: bool,
        up: bool,
    },
    /// So many requests for memory fail.
    Starve {
        host: bool,
        times: u8,
    },
    Forge {
        hosts: u8,
        flow: bool,
        seq: Aim,
        ack: Aim,
        /// Those of the lower bits, or with the highest one set just ACK, as most segments have.
        flags: u16,
        window: u16,
        len: u16,
        timestamps: Option<(i32, u32)>,
        sack: Option<(Aim, Aim)>,
    },
}
