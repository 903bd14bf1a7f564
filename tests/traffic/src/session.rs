// SPDX-License-Identifier: GPL-2.0

//! One connection from its opening to its end, without I/O: what is to be done now, what must have happened by when,
//! and how long the client has waited. Kernel sockets and smoltcp sockets drive the same sessions.
//!
//! All times are since the start of the run.

use std::fmt;
use std::time::Duration;

use crate::pattern::{derive, Pattern, Turn};
use crate::script::{Script, Wrong};

/// Why a connection failed. Offsets count received bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    Refused,
    /// No connection could be made, for another reason.
    Unreachable(String),
    Reset {
        offset: u64,
    },
    /// Nothing moved for so many ms.
    Timeout {
        ms: u64,
        doing: &'static str,
        offset: u64,
    },
    Wrong(Wrong),
    /// The server's FIN came before all that was due.
    Short {
        offset: u64,
    },
    /// A FIN where a reset was due.
    NoReset {
        offset: u64,
    },
    Other {
        error: String,
        offset: u64,
    },
}

impl Failure {
    /// A word to count by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Reset { .. } => "reset",
            Self::Timeout { .. } => "timeout",
            Self::Wrong(_) => "wrong",
            Self::Short { .. } => "short",
            Self::NoReset { .. } => "no reset",
            Self::Other { .. } => "other",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(f, "refused"),
            Self::Unreachable(error) => write!(f, "cannot connect: {error}"),
            Self::Reset { offset } => write!(f, "reset at offset {offset}"),
            Self::Timeout { ms, doing, offset } => {
                write!(
                    f,
                    "timeout: nothing for {ms} ms while {doing}, at offset {offset}"
                )
            }
            Self::Wrong(wrong) => write!(f, "{wrong}"),
            Self::Short { offset } => {
                write!(f, "closed by the server too early, at offset {offset}")
            }
            Self::NoReset { offset } => write!(f, "FIN where a reset was due, at offset {offset}"),
            Self::Other { error, offset } => write!(f, "{error} at offset {offset}"),
        }
    }
}

/// How long a conversation goes on, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    pub pattern: Pattern,
    /// Bytes carried by a turn.
    pub size: u64,
    pub seed: u64,
    /// Turns.
    pub count: Option<u64>,
    /// Bytes carried by all turns together.
    pub bytes: Option<u64>,
    /// When to start no more turns.
    pub until: Option<Duration>,
    /// Whether the run goes on until it is told to stop.
    pub until_stopped: bool,
    /// Pause between two turns.
    pub think: Duration,
    /// The longest time without progress.
    pub timeout: Duration,
}

impl Plan {
    /// Whether `turns` held with `bytes` carried are enough.
    pub fn over(&self, turns: u64, bytes: u64, now: Duration, stopped: bool) -> bool {
        let unlimited = self.until.is_some() || self.until_stopped;
        let count = self
            .count
            .or((!unlimited && self.bytes.is_none()).then_some(1));
        stopped
            || count.is_some_and(|count| turns >= count)
            || self.bytes.is_some_and(|all| bytes >= all)
            || self.until.is_some_and(|until| now >= until)
    }

    /// The bytes the next turn carries.
    fn next_size(&self, bytes: u64) -> u64 {
        match self.bytes {
            Some(all) if self.pattern.resizable() => self.size.min(all - bytes.min(all)),
            _ => self.size,
        }
    }
}

/// The longest time without progress, and when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gap {
    pub length: Duration,
    pub began: Duration,
}

/// The shortest gap that is remembered by itself, and how many are.
const NOTABLE: Duration = Duration::from_millis(5);
const MOST: usize = 10_000;

/// Measures gaps while the client waits for something, and not while it thinks.
#[derive(Debug, Default)]
struct GapClock {
    waiting_since: Option<Duration>,
    longest: Gap,
    notable: Vec<Gap>,
}

impl GapClock {
    fn wait(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
    }

    fn progress(&mut self, now: Duration) {
        self.stop(now);
        self.waiting_since = Some(now);
    }

    fn stop(&mut self, now: Duration) {
        let Some(began) = self.waiting_since.take() else {
            return;
        };
        let length = now.saturating_sub(began);
        let gap = Gap { length, began };
        if length > self.longest.length {
            self.longest = gap;
        }
        if length >= NOTABLE && self.notable.len() < MOST {
            self.notable.push(gap);
        }
    }
}

/// What must end the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Fin,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Connecting,
    Talking,
    Thinking {
        until: Duration,
    },
    /// All is said and heard; the connection's end is due.
    Ending,
    Over,
}

/// What the driver has to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Move bytes, or wait for them, until [`Session::deadline`].
    Go,
    /// Shut the sending side down, then go on.
    Shutdown,
    /// Nothing more is due from this conversation.
    Over,
}

/// What a session does when its plan is fulfilled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Closing {
    /// Shut down, and wait for the server's FIN.
    Graceful,
    /// Leave the connection open to the driver.
    Leave,
}

#[derive(Debug)]
pub struct Session {
    script: Script,
    plan: Plan,
    closing: Closing,
    phase: Phase,
    gap: GapClock,
    /// Bytes carried by finished turns.
    carried: u64,
    /// Of the present turn.
    carrying: u64,
    /// Whether the present turn is of the plan.
    planned: bool,
    end: End,
    /// A reset may come before all is heard.
    abrupt: bool,
    connected_after: Option<Duration>,
    began: Duration,
    /// Bytes said and heard that do not count as moved.
    before: (u64, u64),
}

impl Session {
    /// A session that begins to connect now. `connection` numbers it within the run.
    pub fn new(mut plan: Plan, connection: u64, closing: Closing, now: Duration) -> Self {
        plan.seed = derive(plan.seed, connection);
        let mut gap = GapClock::default();
        gap.wait(now);
        Self {
            script: Script::default(),
            plan,
            closing,
            phase: Phase::Connecting,
            gap,
            carried: 0,
            carrying: 0,
            planned: true,
            end: End::Fin,
            abrupt: false,
            connected_after: None,
            began: now,
            before: (0, 0),
        }
    }

    pub fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// The connection is established.
    pub fn connected(&mut self, now: Duration) {
        self.connected_after = Some(now.saturating_sub(self.began));
        self.gap.progress(now);
        self.phase = Phase::Talking;
        self.next_turn();
    }

    fn next_turn(&mut self) {
        self.carrying = self.plan.next_size(self.carried);
        let turn = self
            .plan
            .pattern
            .turn(self.plan.seed, self.script.turns(), self.carrying);
        self.script.begin(turn);
    }

    /// Starts a turn outside of the plan, after the plan's are over.
    pub fn begin(&mut self, turn: Turn, now: Duration) {
        self.planned = false;
        self.phase = Phase::Talking;
        self.gap.wait(now);
        self.script.begin(turn);
    }

    /// All is said and heard: what must come now is `end`.
    pub fn await_end(&mut self, end: End, now: Duration) {
        self.script.abandon();
        self.phase = Phase::Ending;
        self.end = end;
        self.gap.wait(now);
    }

    /// A reset ends the connection well, however much of the turn was heard.
    pub fn allow_reset(&mut self) {
        self.end = End::Reset;
        self.abrupt = true;
    }

    /// Moves on as far as time alone allows.
    ///
    /// # Errors
    ///
    /// Nothing moved for too long.
    pub fn step(&mut self, now: Duration, stopped: bool) -> Result<Step, Failure> {
        match self.phase {
            Phase::Talking if self.script.turn_over() => {
                self.script.end_turn();
                if self.abrupt {
                    self.phase = Phase::Ending;
                    return Ok(Step::Go);
                }
                if !self.planned {
                    return Ok(self.over(now));
                }
                self.carried += self.carrying;
                if self
                    .plan
                    .over(self.script.turns(), self.carried, now, stopped)
                {
                    return Ok(self.talk_over(now));
                }
                if self.plan.think.is_zero() {
                    self.next_turn();
                } else {
                    self.gap.stop(now);
                    self.phase = Phase::Thinking {
                        until: now + self.plan.think,
                    };
                }
                Ok(Step::Go)
            }
            Phase::Thinking { until } => {
                if self
                    .plan
                    .over(self.script.turns(), self.carried, now, stopped)
                {
                    return Ok(self.talk_over(now));
                }
                if now >= until {
                    self.phase = Phase::Talking;
                    self.gap.wait(now);
                    self.next_turn();
                }
                Ok(Step::Go)
            }
            Phase::Over => Ok(Step::Over),
            _ => match self.gap.waiting_since {
                Some(since) if now >= since + self.plan.timeout => Err(self.timed_out(now)),
                _ => Ok(Step::Go),
            },
        }
    }

    /// The failure of having waited in vain until now.
    pub fn timed_out(&self, now: Duration) -> Failure {
        let after = now.saturating_sub(self.gap.waiting_since.unwrap_or(now));
        let doing = match self.phase {
            Phase::Connecting => "connecting",
            Phase::Ending if self.end == End::Reset => "waiting for the server's reset",
            Phase::Ending => "waiting for the server's FIN",
            _ if self.script.all_said() => "waiting for the answer",
            _ => "sending",
        };
        Failure::Timeout {
            ms: after.as_millis() as u64,
            doing,
            offset: self.heard(),
        }
    }

    fn talk_over(&mut self, now: Duration) -> Step {
        match self.closing {
            Closing::Graceful => {
                self.phase = Phase::Ending;
                self.end = End::Fin;
                self.gap.wait(now);
                Step::Shutdown
            }
            Closing::Leave => self.over(now),
        }
    }

    fn over(&mut self, now: Duration) -> Step {
        self.gap.stop(now);
        self.phase = Phase::Over;
        Step::Over
    }

    /// When [`Self::step`] has something to do even if no byte moves.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Thinking { until } => Some(self.plan.until.map_or(until, |end| until.min(end))),
            Phase::Over => None,
            _ => self
                .gap
                .waiting_since
                .map(|since| since + self.plan.timeout),
        }
    }

    /// Whether [`Self::step`] has something to do at once.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Over || self.phase == Phase::Talking && self.script.turn_over()
    }

    pub fn thinking(&self) -> bool {
        matches!(self.phase, Phase::Thinking { .. })
    }

    /// See [`Script::offer`].
    pub fn offer(&self, out: &mut [u8]) -> usize {
        match self.phase {
            Phase::Talking => self.script.offer(out),
            _ => 0,
        }
    }

    /// See [`Script::sent`].
    pub fn sent(&mut self, bytes: &[u8], now: Duration) {
        // Where an answer is due, only the answer is progress: the socket takes bytes while the server is dead.
        if self.script.uploading() {
            self.gap.progress(now);
        }
        self.script.sent(bytes);
    }

    /// Bytes came from the server.
    ///
    /// # Errors
    ///
    /// They are not the bytes due.
    pub fn received(&mut self, bytes: &[u8], now: Duration) -> Result<(), Failure> {
        self.script.receive(bytes).map_err(Failure::Wrong)?;
        self.gap.progress(now);
        Ok(())
    }

    /// The server's FIN came, after all its bytes.
    ///
    /// # Errors
    ///
    /// It came where none was due.
    pub fn fin(&mut self, now: Duration) -> Result<(), Failure> {
        let offset = self.heard();
        match (self.phase, self.end) {
            (Phase::Ending, End::Fin) => {
                self.over(now);
                Ok(())
            }
            (Phase::Ending, End::Reset) => Err(Failure::NoReset { offset }),
            _ => Err(Failure::Short { offset }),
        }
    }

    /// The connection was reset.
    ///
    /// # Errors
    ///
    /// No reset was due.
    pub fn reset(&mut self, now: Duration) -> Result<(), Failure> {
        if self.end == End::Reset && (self.abrupt || self.phase == Phase::Ending) {
            self.script.abandon();
            self.over(now);
            return Ok(());
        }
        Err(match self.phase {
            Phase::Connecting => Failure::Refused,
            _ => Failure::Reset {
                offset: self.heard(),
            },
        })
    }

    /// The connection is through, well or not: the time waited last counts too.
    pub fn stop(&mut self, now: Duration) {
        self.gap.stop(now);
        self.phase = Phase::Over;
    }

    /// Whether bytes moved, by which an uploading client means more than a socket buffer takes at once.
    pub fn moved(&self) -> bool {
        let (said, heard) = self.before;
        self.heard() > heard || self.script.uploading() && self.said() - said >= 1 << 16
    }

    /// What moved so far counts no more.
    pub fn forget_moved(&mut self) {
        self.before = (self.said(), self.heard());
    }

    /// How long the handshake took, if it came to its end.
    pub fn connected_after(&self) -> Option<Duration> {
        self.connected_after
    }

    pub fn all_said(&self) -> bool {
        self.script.all_said()
    }

    pub fn said(&self) -> u64 {
        self.script.said()
    }

    pub fn heard(&self) -> u64 {
        self.script.heard()
    }

    pub fn turns(&self) -> u64 {
        self.script.turns()
    }

    pub fn longest_gap(&self) -> Gap {
        self.gap.longest
    }

    /// Those of 5 ms or more, the first ten thousand.
    pub fn notable_gaps(&self) -> &[Gap] {
        &self.gap.notable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Piece;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn plan() -> Plan {
        Plan {
            pattern: Pattern::Echo,
            size: 8,
            seed: 1,
            count: Some(2),
            bytes: None,
            until: None,
            until_stopped: false,
            think: Duration::ZERO,
            timeout: MS(1000),
        }
    }

    fn session(plan: Plan) -> Session {
        let mut session = Session::new(plan, 0, Closing::Graceful, MS(0));
        session.connected(MS(10));
        session
    }

    /// Sends all that is offered and answers it as an echo server does.
    fn echo(session: &mut Session, sent: u64, received: u64) -> Result<(), Failure> {
        let mut buffer = [0; 64];
        let len = session.offer(&mut buffer);
        session.sent(&buffer[..len], MS(sent));
        let answer = buffer[..len]
            .strip_prefix(b"echo\n")
            .unwrap_or(&buffer[..len]);
        session.received(answer, MS(received))
    }

    #[test]
    fn a_conversation_ends_with_both_fins() {
        let mut session = session(plan());
        for (at, step) in [(20, Step::Go), (30, Step::Shutdown)] {
            echo(&mut session, at, at).unwrap();
            assert_eq!(session.step(MS(at), false), Ok(step));
        }
        assert_eq!(session.step(MS(35), false), Ok(Step::Go));
        session.fin(MS(40)).unwrap();
        assert_eq!(session.step(MS(40), false), Ok(Step::Over));
        assert_eq!(session.turns(), 2);
    }

    #[test]
    fn the_longest_gap_is_found_where_it_was() {
        let mut session = session(plan());
        echo(&mut session, 10, 20).unwrap();
        session.step(MS(20), false).unwrap();
        echo(&mut session, 20, 320).unwrap();
        session.step(MS(320), false).unwrap();
        session.fin(MS(330)).unwrap();
        assert_eq!(
            session.longest_gap(),
            Gap {
                length: MS(300),
                began: MS(20)
            }
        );
        let notable: Vec<_> = session
            .notable_gaps()
            .iter()
            .map(|gap| (gap.began, gap.length))
            .collect();
        assert_eq!(
            notable,
            [
                (MS(0), MS(10)),
                (MS(10), MS(10)),
                (MS(20), MS(300)),
                (MS(320), MS(10))
            ]
        );
    }

    #[test]
    fn what_moved_may_be_forgotten() {
        let mut session = session(plan());
        assert!(!session.moved());
        echo(&mut session, 20, 20).unwrap();
        assert!(session.moved());
        session.forget_moved();
        assert!(!session.moved());
        session.step(MS(20), false).unwrap();
        echo(&mut session, 30, 30).unwrap();
        assert!(session.moved());
    }

    #[test]
    fn thinking_is_no_gap() {
        let mut session = session(Plan {
            think: MS(500),
            ..plan()
        });
        echo(&mut session, 10, 20).unwrap();
        assert_eq!(session.step(MS(20), false), Ok(Step::Go));
        assert!(session.thinking());
        assert_eq!(session.deadline(), Some(MS(520)));
        session.step(MS(530), false).unwrap();
        echo(&mut session, 530, 560).unwrap();
        session.step(MS(560), false).unwrap();
        session.fin(MS(561)).unwrap();
        assert_eq!(
            session.longest_gap(),
            Gap {
                length: MS(30),
                began: MS(530)
            }
        );
    }

    #[test]
    fn silence_is_a_timeout() {
        let mut session = session(plan());
        assert_eq!(session.step(MS(1009), false), Ok(Step::Go));
        assert_eq!(session.deadline(), Some(MS(1010)));
        assert_eq!(session.step(MS(1010), false).unwrap_err().kind(), "timeout");
        session.stop(MS(1010));
        assert_eq!(session.longest_gap().length, MS(1000));
    }

    #[test]
    fn a_reset_is_told_by_the_phase_it_meets() {
        let mut connecting = Session::new(plan(), 0, Closing::Graceful, MS(0));
        assert_eq!(connecting.reset(MS(1)), Err(Failure::Refused));
        let mut talking = session(plan());
        echo(&mut talking, 1, 2).unwrap();
        assert_eq!(talking.reset(MS(3)), Err(Failure::Reset { offset: 8 }));
    }

    #[test]
    fn an_early_fin_is_a_failure() {
        let mut session = session(plan());
        assert_eq!(session.fin(MS(20)), Err(Failure::Short { offset: 0 }));
    }

    #[test]
    fn a_due_reset_is_no_failure_and_a_fin_in_its_place_is() {
        let mut session = Session::new(plan(), 0, Closing::Leave, MS(0));
        session.connected(MS(1));
        session.await_end(End::Reset, MS(2));
        assert_eq!(session.fin(MS(3)), Err(Failure::NoReset { offset: 0 }));
        assert_eq!(session.reset(MS(3)), Ok(()));
        assert_eq!(session.step(MS(3), false), Ok(Step::Over));
    }

    #[test]
    fn an_abrupt_reset_may_cut_the_answer_but_not_change_it() {
        let due = Turn {
            say: vec![],
            hear: vec![Piece::text("abcdef")],
        };
        let mut session = Session::new(plan(), 0, Closing::Leave, MS(0));
        session.connected(MS(1));
        session.script.abandon();
        session.begin(due, MS(2));
        session.allow_reset();
        session.received(b"abc", MS(3)).unwrap();
        assert_eq!(session.received(b"x", MS(3)).unwrap_err().kind(), "wrong");
        assert_eq!(session.reset(MS(4)), Ok(()));
    }

    #[test]
    fn a_plan_without_limits_is_one_turn() {
        let plan = Plan {
            count: None,
            ..plan()
        };
        assert!(!plan.over(0, 0, MS(0), false) && plan.over(1, 8, MS(0), false));
        let timed = Plan {
            until: Some(MS(100)),
            ..plan.clone()
        };
        assert!(!timed.over(99, 0, MS(99), false) && timed.over(1, 0, MS(100), false));
        let told = Plan {
            until_stopped: true,
            ..plan.clone()
        };
        assert!(!told.over(99, 0, MS(99), false) && told.over(1, 0, MS(1), true));
        let sized = Plan {
            bytes: Some(20),
            ..plan
        };
        assert!(!sized.over(2, 16, MS(0), false) && sized.over(3, 20, MS(0), false));
        assert_eq!(sized.next_size(16), 4);
    }
}
