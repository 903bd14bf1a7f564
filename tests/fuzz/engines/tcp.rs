// SPDX-License-Identifier: GPL-2.0

//! A small TCP that refuses what Linux's refuses: sequence check, PAWS, acknowledgements of what was never sent (RFC 9293, 7323, 5961).
//!
//! Bytes are not carried. A frame names the stream and the place that its bytes were taken from, and whoever takes them checks that they
//! belong where their sequence number puts them.

mod receive;

use crate::frame::{Frame, Origin};
use std::time::Duration;
use sttcp::{
    seq::SeqNumber,
    time::{timestamp_ticks, Instant},
    wire::{Flags, Options, Sack, Segment, Timestamps},
};

/// Most bytes in one segment.
pub const MSS: u32 = 1460;
/// How long TIME-WAIT lasts.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Answers to segments out of place until the next tick, as Linux limits them too (`tcp_oow_rate_limited`).
const COMPLAINTS: u8 = 3;

/// What one host's TCP is like.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub isn: u32,
    pub window_scale: Option<u8>,
    pub timestamps: bool,
    pub sack: bool,
    /// What the timestamp clock shows at the beginning.
    pub clock: u32,
    /// Bytes of the receive buffer.
    pub buffer: u32,
    /// Acknowledges at once, not when told.
    pub prompt: bool,
}

impl Habits {
    /// Whether two hosts agree to the same options.
    pub fn suits(&self, other: &Self) -> bool {
        (self.window_scale.is_some(), self.timestamps, self.sack)
            == (other.window_scale.is_some(), other.timestamps, other.sack)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum State {
    Closed,
    SynSent,
    SynReceived,
    /// ESTABLISHED and all states that follow it but the last.
    Open,
    TimeWait,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Tcp {
    habits: Habits,
    pub state: State,
    /// The client's initial number, which names the connection.
    name: SeqNumber,
    /// Whether there was no connection yet.
    is_new: bool,
    is_client: bool,
    iss: SeqNumber,
    irs: SeqNumber,
    pub una: SeqNumber,
    pub nxt: SeqNumber,
    /// The window scales, (own, the other side's), if both agreed to scale.
    scales: Option<(u8, u8)>,
    /// The other side's window: its bytes, the widest so far, and by which segment it was told.
    window: u32,
    widest: u32,
    told_by: SeqNumber,
    pub rcv: SeqNumber,
    /// The last acknowledgement sent.
    wup: SeqNumber,
    pub edge: SeqNumber,
    /// What came ahead of a gap.
    ahead: Vec<(SeqNumber, SeqNumber)>,
    /// The number after the other side's FIN, once it came.
    pub fin_in: Option<SeqNumber>,
    /// The number after our own FIN, once it was sent.
    pub fin_out: Option<SeqNumber>,
    closed_first: bool,
    timestamps: bool,
    sack: bool,
    recent: Option<u32>,
    /// Timestamps of the first and of the last SYN-ACK.
    answered: (u32, u32),
    /// Whether the application reads.
    pub reads: bool,
    unread: u32,
    complaints: u8,
    ends_at: Option<Instant>,
    /// Segments to send.
    pub out: Vec<(Segment, Origin)>,
}

impl Tcp {
    pub fn new(habits: Habits) -> Self {
        let zero = SeqNumber::default();
        Self {
            habits,
            state: State::Closed,
            name: zero,
            is_new: true,
            is_client: false,
            iss: zero,
            irs: zero,
            una: zero,
            nxt: zero,
            scales: None,
            window: 0,
            widest: 0,
            told_by: zero,
            rcv: zero,
            wup: zero,
            edge: zero,
            ahead: vec![],
            fin_in: None,
            fin_out: None,
            closed_first: false,
            timestamps: false,
            sack: false,
            recent: None,
            answered: (0, 0),
            reads: true,
            unread: 0,
            complaints: COMPLAINTS,
            ends_at: None,
            out: vec![],
        }
    }

    /// Starts over with what outlives a connection.
    fn renew(&mut self, is_client: bool, iss: SeqNumber) {
        let out = std::mem::take(&mut self.out);
        *self = Self {
            is_new: false,
            is_client,
            iss,
            una: iss,
            nxt: iss + 1,
            complaints: self.complaints,
            out,
            ..Self::new(self.habits)
        };
    }

    /// The client opens a connection, and again: each with numbers far behind those of the one before (RFC 6528).
    pub fn connect(&mut self, gap: u16, now: Instant) {
        let iss = if self.is_new {
            SeqNumber::new(self.habits.isn)
        } else {
            self.nxt + (1 << 21) + u32::from(gap)
        };
        self.renew(true, iss);
        self.name = iss;
        self.state = State::SynSent;
        self.send_syn(now);
    }

    /// The SYN, or the server's SYN-ACK, once or again.
    pub fn send_syn(&mut self, now: Instant) {
        let habits = self.habits;
        let first = self.state == State::SynSent;
        let tsval = self.clock(now);
        let free = habits.buffer.min(65_535) as u16;
        if !first {
            self.edge = self.rcv + u32::from(free);
            self.answered.1 = tsval;
        }
        let options = Options {
            mss: Some(MSS as u16),
            window_scale: if first {
                habits.window_scale
            } else {
                self.scales.map(|(own, _)| own)
            },
            sack_permitted: if first { habits.sack } else { self.sack },
            timestamps: (if first {
                habits.timestamps
            } else {
                self.timestamps
            })
            .then_some(Timestamps {
                tsval,
                tsecr: self.recent.unwrap_or(0),
            }),
            ..Options::default()
        };
        self.out.push((
            Segment {
                seq: self.iss,
                ack: if first {
                    SeqNumber::default()
                } else {
                    self.rcv
                },
                flags: if first {
                    Flags::SYN
                } else {
                    Flags::SYN | Flags::ACK
                },
                window: free,
                options,
                ..Segment::default()
            },
            Origin::Empty,
        ));
    }

    /// How many bytes this side has sent, its FIN included, and how many of them are acknowledged.
    pub fn sent(&self) -> (u32, u32) {
        let at = |number: SeqNumber| number.since(self.iss + 1).max(0) as u32;
        (at(self.nxt), at(self.una))
    }

    /// How many bytes this side has taken in order, the other's FIN included.
    pub fn taken(&self) -> u32 {
        self.rcv.since(self.irs + 1).max(0) as u32
    }

    /// Where the stream of this connection begins.
    pub fn name(&self) -> SeqNumber {
        self.name
    }

    /// This side's initial number.
    pub fn iss(&self) -> SeqNumber {
        self.iss
    }

    /// The number of the other side's first byte.
    pub fn first(&self) -> SeqNumber {
        self.irs + 1
    }

    /// By how much the other side's window is scaled.
    pub fn other_scale(&self) -> u8 {
        self.scales.map_or(0, |(_, other)| other)
    }

    /// What the timestamp clock shows.
    pub fn clock(&self, now: Instant) -> u32 {
        let ticks = timestamp_ticks(now.since(Instant::default()));
        self.habits.clock.wrapping_add(ticks)
    }

    pub fn has_taken_fin(&self) -> bool {
        self.fin_in.is_some_and(|fin| self.rcv == fin)
    }

    /// Whether both directions have ended and both sides know it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::TimeWait)
    }

    fn header(&mut self, seq: SeqNumber, flags: Flags, now: Instant) -> Segment {
        let free = if self.reads {
            self.habits.buffer
        } else {
            self.habits.buffer.saturating_sub(self.unread)
        };
        // The right edge never goes back (RFC 9293, section 3.8.6.2.1).
        let scale = self.scales.map_or(0, |(own, _)| own);
        let unit = 1_u32 << scale;
        let kept = self.edge.since(self.rcv).max(0) as u32;
        let window = kept.max(free / unit * unit).div_ceil(unit).min(65_535);
        self.edge = self.rcv + (window << scale);
        self.wup = self.rcv;
        let mut options = Options::default();
        if self.timestamps {
            options.timestamps = Some(Timestamps {
                tsval: self.clock(now),
                tsecr: self.recent.unwrap_or(0),
            });
        }
        if self.sack {
            let mut sack = Sack::default();
            for (left, right) in &self.ahead {
                sack.push(*left, *right);
            }
            options.sack = sack;
        }
        Segment {
            seq,
            ack: self.rcv,
            flags: flags | Flags::ACK,
            window: window as u16,
            options,
            ..Segment::default()
        }
    }

    pub fn send_ack(&mut self, now: Instant) {
        if matches!(self.state, State::Open | State::TimeWait) {
            let segment = self.header(self.nxt, Flags::NONE, now);
            self.out.push((segment, Origin::Empty));
        }
    }

    /// Sends up to `len` new bytes, as far as the window goes and no further than `end` bytes in all, then a FIN if `close`.
    pub fn send(&mut self, len: u32, end: u32, close: bool, now: Instant) {
        if self.state != State::Open || self.fin_out.is_some() {
            return;
        }
        let room = (self.una + self.window).since(self.nxt).max(0) as u32;
        let len = len.min(room).min(end.saturating_sub(self.sent().0));
        self.transmit(self.nxt, self.nxt + len, now);
        if close && self.sent().0 >= end {
            self.closed_first = !self.has_taken_fin();
            self.fin_out = Some(self.nxt + 1);
            self.transmit(self.nxt, self.nxt + 1, now);
        }
    }

    /// Sends again what is not acknowledged, `len` bytes of it from the first on.
    pub fn send_again(&mut self, len: u32, now: Instant) {
        match self.state {
            State::SynSent | State::SynReceived => self.send_syn(now),
            State::Open => {
                let outstanding = self.nxt.since(self.una).max(0) as u32;
                self.transmit(self.una, self.una + len.min(outstanding), now);
            }
            State::Closed | State::TimeWait => {}
        }
    }

    fn transmit(&mut self, from: SeqNumber, to: SeqNumber, now: Instant) {
        let data_end = self.fin_out.map_or(to, |fin| to.min(fin - 1));
        let mut at = from;
        while at < to {
            let len = (data_end.since(at).max(0) as u32).min(MSS);
            let fin = at + len == data_end && data_end < to;
            let mut segment = self.header(at, if fin { Flags::FIN } else { Flags::PSH }, now);
            segment.payload_len = len;
            let place = at.since(self.iss + 1) as u32;
            let origin = if len > 0 {
                Origin::Stream(self.name, place)
            } else {
                Origin::Empty
            };
            at = segment.end();
            self.out.push((segment, origin));
        }
        self.nxt = self.nxt.max(to);
    }

    /// Ends the connection at once.
    pub fn abort(&mut self) {
        if matches!(self.state, State::Open | State::SynReceived) {
            let segment = Segment {
                seq: self.nxt,
                ack: self.rcv,
                flags: Flags::RST | Flags::ACK,
                ..Segment::default()
            };
            self.out.push((segment, Origin::Empty));
        }
        self.state = State::Closed;
    }

    pub fn tick(&mut self, now: Instant) {
        self.complaints = COMPLAINTS;
        if self.ends_at.is_some_and(|at| at <= now) {
            self.state = State::Closed;
            self.ends_at = None;
        }
        if self.reads {
            self.unread = 0;
        }
    }

    fn complain(&mut self, now: Instant) {
        if self.complaints > 0 {
            self.complaints -= 1;
            self.send_ack(now);
        }
    }

    /// Answers what belongs to no connection.
    fn refuse(&mut self, segment: &Segment) {
        if segment.flags.contains(Flags::RST) {
            return;
        }
        let reset = if segment.flags.contains(Flags::ACK) {
            Segment {
                seq: segment.ack,
                flags: Flags::RST,
                ..Segment::default()
            }
        } else {
            Segment {
                ack: segment.end(),
                flags: Flags::RST | Flags::ACK,
                ..Segment::default()
            }
        };
        self.out.push((reset, Origin::Empty));
    }
}
