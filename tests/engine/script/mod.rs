// SPDX-License-Identifier: GPL-2.0

//! Words for segment scripts: `seg(seq, ack).data(10)` is a segment, `ms(30)` a moment.

// Each test file uses its own part of this.
#![allow(dead_code)]

use sttcp::{
    message::Open,
    primary::ConnectionId,
    seq::SeqNumber,
    time::Instant,
    wire::{Endpoint, Flags, Flow, Options, Segment, Timestamps},
};

/// What the client begins with, and the primary, and the shadow. The last two are close to the wrap.
pub const CLIENT: u32 = 1000;
pub const PRIMARY: u32 = u32::MAX - 49;
pub const SHADOW: u32 = 7_000_000;

pub const ID: ConnectionId = ConnectionId(0x0123_4567_89ab_cdef);

pub const fn seq(raw: u32) -> SeqNumber {
    SeqNumber::new(raw)
}

/// The number of the client's byte `at`, the first one being 0.
pub fn c(at: u32) -> SeqNumber {
    seq(CLIENT) + 1 + at
}

/// The number of the server's byte `at`, as the primary and the client count.
pub fn p(at: u32) -> SeqNumber {
    seq(PRIMARY) + 1 + at
}

/// The number of the server's byte `at`, as the shadow counts.
pub fn s(at: u32) -> SeqNumber {
    seq(SHADOW) + 1 + at
}

/// The moment `millis` after the start.
pub fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

pub fn endpoint(addr: &str) -> Endpoint {
    addr.parse::<std::net::SocketAddr>().unwrap().into()
}

pub fn flow() -> Flow {
    Flow {
        client: endpoint("10.0.0.9:40000"),
        service: endpoint("10.0.0.1:80"),
    }
}

/// A bare acknowledgement.
pub fn seg(seq: SeqNumber, ack: SeqNumber) -> Segment {
    Segment {
        seq,
        ack,
        flags: Flags::ACK,
        window: 500,
        ..Segment::default()
    }
}

/// A SYN without options.
pub fn syn(isn: u32) -> Segment {
    Segment {
        seq: seq(isn),
        flags: Flags::SYN,
        window: 64240,
        ..Segment::default()
    }
}

/// A SYN-ACK without options.
pub fn syn_ack(isn: u32) -> Segment {
    Segment {
        ack: c(0),
        flags: Flags::SYN | Flags::ACK,
        ..syn(isn)
    }
}

/// Options as Linux sends them in a SYN.
pub fn linux(tsval: u32, tsecr: u32, window_scale: u8) -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(window_scale),
        sack_permitted: true,
        timestamps: Some(Timestamps { tsval, tsecr }),
        ..Options::default()
    }
}

/// The primary's word for a connection without options.
pub fn plain_open() -> Open {
    Open {
        id: ID,
        flow: flow(),
        client_isn: seq(CLIENT),
        primary_isn: seq(PRIMARY),
        mss: 0,
        window: 64240,
        window_scale: None,
        sack: false,
        ecn: false,
        timestamps: None,
    }
}

pub trait Script: Sized {
    fn flag(self, flags: Flags) -> Self;
    fn data(self, len: u32) -> Self;
    fn window(self, window: u16) -> Self;
    fn timestamps(self, tsval: u32, tsecr: u32) -> Self;
    fn options(self, options: Options) -> Self;

    fn fin(self) -> Self {
        self.flag(Flags::FIN)
    }

    fn rst(self) -> Self {
        self.flag(Flags::RST)
    }
}

impl Script for Segment {
    fn flag(mut self, flags: Flags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    fn data(mut self, len: u32) -> Self {
        self.payload_len = len;
        self
    }

    fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    fn timestamps(mut self, tsval: u32, tsecr: u32) -> Self {
        self.options.timestamps = Some(Timestamps { tsval, tsecr });
        self
    }

    fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
}
