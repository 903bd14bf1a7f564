// SPDX-License-Identifier: GPL-2.0

//! The two copies of the server's program: has one of them failed?
//!
//! Both get the same bytes and send the same. If one ends its stream and the other does not, or one sends and the other is silent, one of
//! them is dead or hangs. What the client has heard decides nothing yet: the end of the primary's stream is kept from it until the shadow has come
//! to the same, and if that lives on, the client never hears of it.

use super::seq::SeqNumber;
use super::time::Instant;
use core::fmt;
use core::time::Duration;

/// What moves to the backup when the server's program has failed here; sysctl `app_failure`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// The connection on which it shows.
    Connection,
    /// The whole node.
    #[default]
    Node,
}

/// How the programs are watched.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// What a failure moves.
    pub scope: Scope,
    /// How long the end of the primary's stream waits for the same of the shadow, in ms; sysctl `fin_hold_ms`. 0: not at all.
    pub hold_ms: u32,
    /// After how long one program must have sent what the other has, in ms; sysctl `app_lag_ms`. 0: never.
    pub lag_ms: u32,
    /// By how many bytes one program must be ahead of the other for [`SOON`] to be long enough; sysctl `app_lag_bytes`. 0: never.
    pub lag_bytes: u32,
}

impl Watch {
    /// Not at all.
    pub const OFF: Self = Self {
        scope: Scope::Node,
        hold_ms: 0,
        lag_ms: 0,
        lag_bytes: 0,
    };

    pub(super) fn hold(self) -> Option<Duration> {
        (self.hold_ms > 0).then_some(Duration::from_millis(self.hold_ms.into()))
    }

    fn lag(self) -> Option<Duration> {
        (self.lag_ms > 0).then_some(Duration::from_millis(self.lag_ms.into()))
    }
}

/// After how long a program may be looked at that is far behind the other.
pub const SOON: Duration = Duration::from_millis(100);

/// What the primary's program has done, and the shadow's has not.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It ended the connection.
    Ended,
    /// It sends nothing, and the shadow's does.
    Hung,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Ended => "ended its stream",
            Failure::Hung => "is silent",
        })
    }
}

/// The end of the server's stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Farewell {
    /// It has not come; or there is nothing to wait for.
    #[default]
    None,
    /// The shadow has come to it, and the primary should by then.
    Owed(Instant),
    /// The primary has come to it, and the client is not told yet.
    Held(Held),
    /// The client was told, whatever the shadow does.
    Said,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    since: Instant,
    /// What follows the FIN; or the place of the reset.
    pub(super) end: SeqNumber,
    pub(super) reset: bool,
    /// How often the shadow was asked since.
    asked: u8,
}

/// How soon a shadow is asked again that has not come to the end; then after twice as long each time.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// But that often at least, so that it is not judged by what it was long ago.
const ASK_TIMES: u32 = 8;
/// More often than it is ever asked: the first waits grow to an eighth of a minute within ten.
const MOST_ASKED: u8 = 24;

impl Held {
    pub(super) fn new(end: SeqNumber, reset: bool, now: Instant) -> Self {
        Self {
            since: now,
            end,
            reset,
            asked: 0,
        }
    }

    /// By when the shadow should have come to it.
    pub(super) fn until(&self, hold: Duration) -> Instant {
        self.since.after(hold)
    }

    /// When to ask the shadow, or to judge it.
    pub(super) fn poll_at(&self, hold: Duration) -> Instant {
        let most = hold.checked_div(ASK_TIMES).unwrap_or(hold);
        let wait = |asked: u8| ASK_AGAIN.saturating_mul(1_u32 << asked).min(most);
        let waited = (0..=self.asked.min(MOST_ASKED)).map(wait);
        let ask_at = self
            .since
            .after(waited.fold(Duration::ZERO, Duration::saturating_add));
        ask_at.min(self.until(hold))
    }

    /// The shadow is asked.
    pub(super) fn asks(self) -> Self {
        Self {
            asked: self.asked.saturating_add(1),
            ..self
        }
    }

    /// It was judged, and may be so again.
    pub(super) fn again(self, now: Instant) -> Self {
        Self {
            since: now,
            asked: u8::MAX,
            ..self
        }
    }

    /// What follows a FIN at the same place. A server that closes with bytes unread resets its connection, and its copy, to which they come a
    /// moment later, has sent a FIN by then: both have ended.
    pub(super) fn fin(&self) -> SeqNumber {
        self.end + u32::from(self.reset)
    }

    /// Whether a shadow that has sent up to `shadow` has sent all that comes before the end, and so is no slower.
    pub(super) fn is_level(&self, shadow: SeqNumber) -> bool {
        shadow + u32::from(!self.reset) >= self.end
    }

    /// Whether a shadow that has sent up to `shadow`, and not a FIN at the same place, has sent more than the primary's program ever will.
    pub(super) fn is_overtaken(&self, shadow: SeqNumber) -> bool {
        match self.reset {
            true => shadow > self.end,
            false => shadow >= self.end,
        }
    }
}

/// How far the two programs are: the ends of what they have sent, of what the client has acknowledged of it, and of the window here, which opens as the program reads.
#[derive(Copy, Clone, Debug)]
pub(super) struct Places {
    pub(super) own: SeqNumber,
    pub(super) heard: SeqNumber,
    pub(super) shadow: SeqNumber,
    pub(super) edge: SeqNumber,
    /// If the client has filled that window, and the shadow's has opened by as much or more since it opened last: by how much. Else 0.
    pub(super) outread: u32,
}

/// What comes of a look at both programs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    /// Ask the backup how far the shadow is.
    Ask,
    /// The program here hangs.
    Hung,
    /// The shadow's does.
    ShadowHung,
}

/// Looks at both programs some time after one of them may have had something to say.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    next: Option<Instant>,
    /// Whether only a program is looked for that is far behind.
    far: bool,
    stage: Stage,
    /// How far the program here was when the backup was asked.
    own: SeqNumber,
    edge: SeqNumber,
    answered: bool,
    /// Whether one of the programs has had something to say since the row of looks began: what was asked for may have been too early for that.
    again: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    Ask,
    Judge,
    /// The shadow is behind; once more, as it may just be on its way.
    JudgeShadow,
}

impl Pulse {
    /// One of the programs may have something to say.
    pub(super) fn stir(&mut self, watch: Watch, now: Instant) {
        self.again = self.next.is_some();
        if self.next.is_none() {
            self.begin(watch, now);
        }
    }

    /// They are watched otherwise from now on. One of them may hang already, and no more come of either: how far the shadow is, the backup tells only when
    /// it is asked or has something else to tell.
    pub(super) fn renew(&mut self, watch: Watch, now: Instant) {
        *self = Self::default();
        self.begin(watch, now);
    }

    fn begin(&mut self, watch: Watch, now: Instant) {
        self.look(watch.lag_bytes > 0, Duration::ZERO, watch, now);
    }

    /// No program is far behind: from now on one is looked for that is behind by any byte, and the looks so far count as waiting.
    fn go_on(&mut self, watch: Watch, now: Instant) {
        let wait = self.wait(watch).unwrap_or_default();
        let gone = wait.saturating_add(wait.checked_div(2).unwrap_or_default());
        self.look(false, gone, watch, now);
    }

    /// Begins a row of looks of which so much time has gone by.
    fn look(&mut self, far: bool, gone: Duration, watch: Watch, now: Instant) {
        self.far = far;
        self.stage = Stage::Ask;
        let wait = self.wait(watch);
        self.next = wait.map(|wait| now.after(wait.saturating_sub(gone)));
    }

    fn wait(&self, watch: Watch) -> Option<Duration> {
        match self.far {
            true => Some(watch.lag().map_or(SOON, |lag| lag.min(SOON))),
            false => watch.lag(),
        }
    }

    /// The backup has told how far its shadow is.
    pub(super) fn answer(&mut self) {
        self.answered = true;
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn poll(&mut self, at: Places, watch: Watch, now: Instant) -> Option<Finding> {
        self.next.take_if(|next| now >= *next)?;
        let half = self.wait(watch)?.checked_div(2).unwrap_or_default();
        self.next = Some(now.after(half));
        let waits = self.stage != Stage::Ask && !self.answered;
        if self.stage == Stage::Ask || waits {
            (self.own, self.edge) = (at.own, at.edge);
            self.stage = Stage::Judge;
            self.answered = false;
            return Some(Finding::Ask);
        }
        // Whoever has something under way may wait for the client or the network.
        let least = if self.far { watch.lag_bytes } else { 1 };
        let behind = |slower: SeqNumber, faster: SeqNumber| {
            u32::try_from(faster.since(slower)).is_ok_and(|bytes| bytes >= least)
        };
        let idle = at.own == self.own && at.heard == self.own;
        let reads = at.edge != self.edge || at.outread < least;
        if idle && behind(self.own, at.shadow) || !reads {
            self.next = None;
            return Some(Finding::Hung);
        }
        if at.heard >= self.own && behind(at.shadow, self.own) {
            if self.stage == Stage::JudgeShadow {
                self.next = None;
                return Some(Finding::ShadowHung);
            }
            self.stage = Stage::JudgeShadow;
            self.answered = false;
            return Some(Finding::Ask);
        }
        self.next = None;
        if self.far {
            self.go_on(watch, now);
        }
        // What was under way may be all that the program ever says.
        let again = core::mem::take(&mut self.again) || at.heard < at.own;
        if self.next.is_none() && again {
            self.begin(watch, now);
        }
        None
    }
}
