// SPDX-License-Identifier: GPL-2.0

//! What a backup sees of a connection before the primary's word of it.
//!
//! Should that word never come, as the primary dies between its SYN-ACK and its `Open`, the client's own segments tell almost as much: its SYN what it
//! offered, and every later one, by its acknowledgement, the primary's initial number. The primary has said nothing but the SYN-ACK by then: what
//! its server says waits for the backup (`primary.rs`). What it agreed to is taken to be what this host's stack agrees to, as the two are set
//! up alike.
//!
//! Of a client that waits for the server's first word there may be nothing but its SYN. After the takeover it is asked: a segment that is not in its
//! window makes it say where it stands (RFC 9293, section 3.10.7.4), and a client that has no SYN-ACK yet says nothing.

use super::counters::Counter;
use super::message::Open;
use super::node::Predecessor;
use super::primary::ConnectionId;
use super::time::{timestamp_ticks, Instant};
use super::verdict::Inbound;
use super::wire::{Flags, Flow, Segment};
use core::time::Duration;

/// How long client segments wait for the primary's word.
const PENDING: Duration = Duration::from_secs(1);

/// How long a primary may take to tell of a connection, its first word being lost some times: after that it has ended it, or is dead. One that is
/// heard later than that will not tell: its end may have overtaken the SYN.
const WORD: Duration = Duration::from_secs(1);

/// How long a SYN is remembered whose primary is silent: as long as its failure may take to be noticed, and the client to repeat what it said.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// How often a client is asked at most, and how long it is waited for each time. Linux answers twice a second at most (`tcp_invalid_ratelimit`).
const QUESTIONS: u8 = 3;
const PATIENCE: Duration = Duration::from_millis(600);

/// This host speaks now, and asks the client.
#[derive(Debug)]
struct Question {
    id: ConnectionId,
    before: Predecessor,
    asked: u8,
}

/// A connection that the primary has not told of.
#[derive(Debug)]
pub struct Early {
    flow: Flow,
    since: Instant,
    next_poll: Instant,
    /// What the SYN said, in the form of the primary's word; its number and clock come with [`Early::answered_at`].
    open: Option<Open>,
    answered_at: Option<Instant>,
    question: Option<Question>,
}

impl Early {
    /// `segment` is the first that is seen of it; [`Early::on_client`] reads it next. `None` if it is of no use.
    pub fn new(flow: &Flow, segment: &Segment, now: Instant) -> Option<Self> {
        let open = segment.opens().then(|| offer(flow, segment));
        (open.is_some() || is_data(segment)).then_some(Self {
            flow: *flow,
            since: now,
            next_poll: now.after(PENDING),
            open: open.flatten(),
            answered_at: None,
            question: None,
        })
    }

    /// The connection's addresses.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// A segment of the client.
    pub fn on_client(&mut self, segment: &Segment, now: Instant) -> Inbound {
        if segment.opens() {
            let again = self.open.is_some_and(|open| open.client_isn == segment.seq);
            if again && self.answered_at.is_none() {
                self.since = now;
            }
            return Inbound::Drop(Counter::SynsHeard);
        }
        if segment.flags.contains(Flags::SYN) {
            return Inbound::Drop(Counter::StrayIn);
        }
        if segment.flags.contains(Flags::RST) {
            return Inbound::until_ready(segment);
        }
        let primary_isn = segment.ack - 1;
        if let Some(open) = self
            .open
            .as_mut()
            .filter(|_| segment.flags.contains(Flags::ACK))
        {
            let heard = self.answered_at.is_some();
            if !heard && segment.seq != open.client_isn + 1 {
                // What came before did not come by: the server may have answered it.
                self.open = None;
            } else if !heard {
                let clock = segment
                    .options
                    .timestamps
                    .map(|timestamps| timestamps.tsecr);
                open.primary_isn = primary_isn;
                open.timestamps = open
                    .timestamps
                    .zip(clock)
                    .map(|((client, _), own)| (client, own));
                self.answered_at = Some(now);
            } else if open.primary_isn != primary_isn {
                // The server has spoken: the connection goes on without this host.
                self.open = None;
            }
        }
        Inbound::until_ready(segment)
    }

    /// Whether what was seen is of the connection that the primary tells of.
    pub fn is_of(&self, open: &Open) -> bool {
        self.open
            .is_none_or(|seen| seen.client_isn == open.client_isn)
    }

    /// What the primary's word would have been, if the client's segments tell it. The primary has not been heard for `silence`.
    pub fn guess(&self, id: ConnectionId, silence: Duration, now: Instant) -> Option<Open> {
        let (open, answered_at) = self.open.zip(self.answered_at)?;
        let elapsed = now.since(answered_at);
        if elapsed > silence.saturating_add(WORD) {
            return None;
        }
        let elapsed = timestamp_ticks(elapsed);
        Some(Open {
            id,
            timestamps: open
                .timestamps
                .map(|(client, own)| (client, own.wrapping_add(elapsed))),
            ..open
        })
    }

    /// After a takeover: what to ask the client, if its SYN is all there is of it and not too old.
    pub fn ask(&mut self, id: ConnectionId, before: Predecessor, now: Instant) -> Option<Segment> {
        let unknown = self.open.is_some() && self.answered_at.is_none();
        let young = now.since(self.since) <= before.silence.saturating_add(WORD);
        (unknown && young).then_some(())?;
        self.question = Some(Question {
            id,
            before,
            asked: 0,
        });
        self.ask_again(now)
    }

    /// The same once more, when the time for an answer is over. `None` if it was asked often enough, or is to be forgotten anyway.
    pub fn ask_again(&mut self, now: Instant) -> Option<Segment> {
        let question = self.question.as_mut()?;
        let open = self.open.filter(|_| question.asked < QUESTIONS)?;
        question.asked = question.asked.saturating_add(1);
        self.next_poll = now.after(PATIENCE);
        // Of two numbers half the circle apart one at least is in no window.
        let far = u32::from(question.asked) << 31;
        Some(Segment {
            seq: open.client_isn + far,
            ack: open.client_isn + 1,
            flags: Flags::ACK,
            ..Segment::default()
        })
    }

    /// What the primary's word would have been, if the client has answered; and what is known of the primary.
    pub fn answer(&self, now: Instant) -> Option<(Open, Predecessor)> {
        let question = self.question.as_ref()?;
        let open = self.guess(question.id, question.before.silence, now)?;
        Some((open, question.before))
    }

    /// When it is to be looked at.
    pub fn poll_at(&self) -> Instant {
        self.next_poll
    }

    /// Whether the word of a primary that was last heard at `heard` may come yet, or be missed at a takeover.
    pub fn waits(&self, heard: Option<Instant>, now: Instant) -> bool {
        let told_by = self.answered_at.unwrap_or(self.since).after(WORD);
        let silent = heard.is_none_or(|at| at <= told_by);
        let of_use = self.open.is_some() && self.question.is_none();
        of_use && silent && now < self.since.after(HANDSHAKE)
    }

    /// Waits on.
    pub fn look_again(&mut self, now: Instant) {
        self.next_poll = now.after(WORD);
    }
}

fn is_data(segment: &Segment) -> bool {
    !segment.is_empty() && !segment.flags.intersects(Flags::SYN | Flags::RST)
}

/// What a SYN offers, as far as a shadow can agree to it. ECN is left out, which is always safe: whether the primary agreed to it no later segment tells.
fn offer(flow: &Flow, syn: &Segment) -> Option<Open> {
    let open = Open::offered(ConnectionId(0), *flow, syn).ok()?;
    Some(Open { ecn: false, ..open })
}
