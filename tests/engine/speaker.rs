// SPDX-License-Identifier: GPL-2.0

//! Only one host speaks: the primary's lease, and the fencing of a silent primary.

mod common;
mod script;

use proptest::{collection::vec, prelude::*};
use script::ms;
use std::time::Duration;
use sttcp::{
    counters::Counter,
    detector::Timing,
    lease::Isolation,
    message::Kind,
    node::{Event, Node, Peer, Role, State, FENCE_AGAIN},
    time::Instant,
};

/// Heartbeats every 10 ms; silence of 80 ms is suspicious. A lease is 70 ms.
const TIMING: Timing = Timing {
    interval: Duration::from_millis(10),
    misses: 8,
};

const FENCE_TIMEOUT: Duration = Duration::from_millis(500);

fn beat(from: &mut Node, to: &mut Node, now: Instant) -> Option<Event> {
    let header = from.header(Kind::Heartbeat, now);
    to.heard(&header, || now.as_nanos() ^ 0xdead, now).unwrap()
}

/// A primary that yields and a backup, joined at 0 ms.
fn pair() -> (Node, Node) {
    let mut p = Node::new(Role::Primary, 1, TIMING, 0xa1, ms(0));
    let mut b = Node::new(Role::Backup, 0, TIMING, 0xb1, ms(0));
    p.set_isolation(Isolation::Yield);
    beat(&mut p, &mut b, ms(0));
    assert_eq!(beat(&mut b, &mut p, ms(0)), Some(Event::Joined));
    assert_eq!(beat(&mut p, &mut b, ms(0)), Some(Event::Joined));
    (p, b)
}

fn fencing_pair() -> (Node, Node) {
    let (p, mut b) = pair();
    b.set_fencing(Some(FENCE_TIMEOUT));
    (p, b)
}

/// Polls `node` each 10 ms, and returns the first event.
fn wait(node: &mut Node, from: u64, to: u64) -> Option<(u64, Event)> {
    (from..=to)
        .step_by(10)
        .find_map(|at| Some((at, node.poll(ms(at), (at << 4) | node.role() as u64).event?)))
}

#[test]
fn words() {
    for isolation in [Isolation::Serve, Isolation::Yield] {
        assert_eq!(Isolation::parse(isolation.name()), Ok(isolation));
    }
    Isolation::parse("Yield").unwrap_err();
    assert_eq!(Isolation::default(), Isolation::Serve);
}

#[test]
fn lease_is_counted_from_sending() {
    let (mut p, mut b) = pair();
    // As it joins: the backup hears no sooner that it is one.
    assert_eq!(p.silent_from(), Some(ms(70)));
    // Sent at 20, heard at 30; the answer takes until 45.
    let header = p.header(Kind::Heartbeat, ms(20));
    b.heard(&header, || 1, ms(30)).unwrap();
    let answer = b.header(Kind::Heartbeat, ms(31));
    p.heard(&answer, || 1, ms(45)).unwrap();
    assert_eq!(p.silent_from(), Some(ms(90)));
    // What the backup says again does not prolong it.
    beat(&mut b, &mut p, ms(60));
    assert_eq!(p.silent_from(), Some(ms(90)));
    // Records are as good.
    let header = p.header(Kind::Records, ms(61));
    b.heard(&header, || 1, ms(61)).unwrap();
    let answer = b.header(Kind::Records, ms(61));
    p.heard(&answer, || 1, ms(61)).unwrap();
    assert_eq!(p.silent_from(), Some(ms(131)));
}

#[test]
fn old_answer_does_not_shorten_a_lease() {
    let (mut p, mut b) = pair();
    let old = b.header(Kind::Heartbeat, ms(1));
    beat(&mut p, &mut b, ms(20));
    beat(&mut b, &mut p, ms(20));
    assert_eq!(p.silent_from(), Some(ms(90)));
    p.heard(&old, || 1, ms(21)).unwrap();
    assert_eq!(p.silent_from(), Some(ms(90)));
}

#[test]
fn echo_from_the_future() {
    let (mut p, mut b) = pair();
    let mut answer = b.header(Kind::Heartbeat, ms(5));
    answer.echo = u64::MAX;
    p.heard(&answer, || 1, ms(5)).unwrap();
    assert_eq!(p.silent_from(), Some(ms(75)));
}

#[test]
fn who_has_no_backup_needs_no_lease() {
    let mut p = Node::new(Role::Primary, 1, TIMING, 0xa1, ms(0));
    p.set_isolation(Isolation::Yield);
    assert_eq!(p.silent_from(), None);
    let (mut p, mut b) = pair();
    assert_eq!(b.silent_from(), Some(ms(0)));
    // By order the backup is none any longer.
    let leave = b.header(Kind::Leave, ms(5));
    assert_eq!(p.heard(&leave, || 0xa2, ms(5)), Ok(Some(Event::PeerLeft)));
    assert_eq!((p.state(), p.silent_from()), (State::Solo, None));
}

#[test]
fn who_serves_needs_no_lease() {
    let (mut p, _) = pair();
    p.set_isolation(Isolation::Serve);
    assert_eq!(p.silent_from(), None);
    let (at, event) = wait(&mut p, 0, 200).unwrap();
    assert_eq!((at, event), (80, Event::BackupLost(ms(80).since(ms(0)))));
    assert_eq!((p.state(), p.silent_from()), (State::Solo, None));
}

#[test]
fn primary_that_lost_its_backup_is_isolated() {
    let (mut p, _) = pair();
    assert!(matches!(
        wait(&mut p, 0, 200),
        Some((80, Event::BackupLost(_)))
    ));
    assert_eq!(p.state(), State::Isolated);
    assert_eq!(p.silent_from(), Some(ms(0)));
    assert!(matches!(p.peer(), Peer::Unaware(_)));
    // For as long as it takes, but for one of these.
    assert_eq!(wait(&mut p, 210, 100_000), None);
    assert_eq!(p.state(), State::Isolated);

    // An operator knows that the other is dead.
    assert!(p.go_alone());
    assert_eq!((p.state(), p.silent_from()), (State::Solo, None));
    assert!(!p.go_alone());

    // Or changes their mind.
    let (mut p, _) = pair();
    wait(&mut p, 0, 200).unwrap();
    p.set_isolation(Isolation::Serve);
    assert_eq!((p.state(), p.silent_from()), (State::Solo, None));

    // Or the backup is there again, as one.
    let (mut p, _) = pair();
    wait(&mut p, 0, 200).unwrap();
    let mut b = Node::new(Role::Backup, 0, TIMING, 0xb2, ms(300));
    // It is spoken to as the one before it.
    b.heard(&p.header(Kind::Heartbeat, ms(300)), || 1, ms(300))
        .unwrap_err();
    assert_eq!(p.state(), State::Isolated);
    assert_eq!(beat(&mut b, &mut p, ms(310)), Some(Event::Joined));
    assert_eq!(
        (p.state(), p.silent_from()),
        (State::Protected, Some(ms(380)))
    );

    // Or has taken over.
    let (mut p, mut b) = pair();
    wait(&mut p, 0, 200).unwrap();
    assert!(matches!(
        wait(&mut b, 0, 200),
        Some((80, Event::PrimaryLost(_)))
    ));
    b.heard(&p.header(Kind::Heartbeat, ms(210)), || 1, ms(210))
        .unwrap_err();
    assert_eq!(beat(&mut b, &mut p, ms(210)), Some(Event::SteppedDown));
    assert_eq!((p.state(), p.silent_from()), (State::Waiting, Some(ms(0))));
}

#[test]
fn leased_heartbeat_is_answered_at_once() {
    let (mut p, mut b) = pair();
    assert!(b.poll(ms(0), 0).heartbeat);
    b.owes_heartbeat(ms(0));
    beat(&mut p, &mut b, ms(3));
    assert!(b.owes_heartbeat(ms(3)));
    assert!(!b.owes_heartbeat(ms(3)));
    assert_eq!(b.poll(ms(3), 0).next, ms(13));
    // What else it says is not, nor what the backup says.
    let records = p.header(Kind::Records, ms(4));
    b.heard(&records, || 0, ms(4)).unwrap();
    assert!(!b.owes_heartbeat(ms(4)));
    beat(&mut b, &mut p, ms(5));
    assert!(!p.owes_heartbeat(ms(5)));
    // Nor a primary that needs no lease.
    p.set_isolation(Isolation::Serve);
    beat(&mut p, &mut b, ms(6));
    assert!(!b.owes_heartbeat(ms(6)));
}

#[test]
fn patience_is_kept_until_its_end_is_heard_of() {
    let (mut p, mut b) = pair();
    let hasty = Timing {
        misses: 2,
        ..TIMING
    };
    b.set_timing(hasty, ms(5));
    // The primary knows of 80 ms.
    assert_eq!(wait(&mut b, 5, 75), None);
    assert_eq!(p.silent_from(), Some(ms(70)));
    beat(&mut b, &mut p, ms(60));
    // Twenty, an eighth less, from when it joined.
    assert!(p.silent_from().unwrap() < ms(20));
    // The backup knows that it knows.
    beat(&mut p, &mut b, ms(61));
    assert!(matches!(
        wait(&mut b, 62, 102),
        Some((82, Event::PrimaryLost(_)))
    ));
}

#[test]
fn fence_before_the_takeover() {
    let (mut p, mut b) = fencing_pair();
    let heard = beat(&mut p, &mut b, ms(5));
    assert_eq!(heard, None);
    let (at, event) = wait(&mut b, 5, 200).unwrap();
    assert_eq!((at, event), (85, Event::Fence(Duration::from_millis(80))));
    assert_eq!(b.state(), State::Fencing);
    assert_eq!((b.role(), b.peer()), (Role::Backup, Peer::Joined));
    assert_eq!(b.last_heard(), Some(ms(5)));
    assert_eq!(wait(&mut b, 95, 400), None);
    let done = b.fenced(true, 0xb2, ms(405));
    assert_eq!(done, Some(Event::PrimaryFenced(Duration::from_millis(400))));
    assert_eq!((b.role(), b.epoch()), (Role::Primary, 2));
    b.took_over();
    assert_eq!(b.state(), State::Solo);
    assert_eq!(b.fenced(true, 0xb3, ms(406)), None);
}

#[test]
fn fence_that_hangs_is_stopped_and_tried_again() {
    let (_, mut b) = fencing_pair();
    assert!(matches!(wait(&mut b, 0, 100), Some((80, Event::Fence(_)))));
    assert_eq!(wait(&mut b, 90, 2000), Some((580, Event::FenceOverdue)));
    // Once; what was stopped comes to its end.
    assert_eq!(wait(&mut b, 590, 2000), None);
    assert_eq!(b.fenced(false, 0xb2, ms(2000)), None);
    assert_eq!(b.state(), State::Fencing);
    let again = 2000 + FENCE_AGAIN.as_millis() as u64;
    assert_eq!(
        wait(&mut b, 2010, 9000),
        Some((again, Event::Fence(Duration::from_millis(again))))
    );
    // The timer comes for it, however slow heartbeats are.
    let (_, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    b.fenced(false, 0xb2, ms(100));
    let slow = Timing {
        interval: Duration::from_secs(60),
        misses: 2,
    };
    b.set_timing(slow, ms(100));
    b.poll(ms(100), 0);
    assert_eq!(b.poll(ms(101), 0).next, ms(1100));
}

#[test]
fn operator_takes_over_without_fence() {
    let (_, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    b.take_over(0xb2);
    b.took_over();
    assert_eq!(b.state(), State::Solo);
    // The command comes to its end.
    assert_eq!(b.fenced(false, 0xb3, ms(200)), None);
    assert_eq!(b.state(), State::Solo);

    // Or has none any longer.
    let (_, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    b.fenced(false, 0xb2, ms(100));
    b.set_fencing(None);
    let event = wait(&mut b, 110, 2000).unwrap();
    assert_eq!(event, (1100, Event::PrimaryLost(ms(1100).since(ms(0)))));
}

#[test]
fn primary_comes_back_before_it_is_fenced() {
    // Between two tries.
    let (mut p, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    b.fenced(false, 0xb2, ms(100));
    assert_eq!(beat(&mut p, &mut b, ms(110)), Some(Event::PrimaryBack));
    assert_eq!(b.state(), State::Shadowing);
    assert_eq!(b.last_heard(), Some(ms(110)));

    // While the command runs, which then fails.
    let (mut p, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    assert_eq!(beat(&mut p, &mut b, ms(110)), None);
    assert_eq!(b.state(), State::Fencing);
    assert_eq!(b.fenced(false, 0xb2, ms(120)), Some(Event::PrimaryBack));
    assert_eq!(b.state(), State::Shadowing);

    // And then is silent again, which is noticed.
    let (mut p, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    beat(&mut p, &mut b, ms(110));
    assert_eq!(wait(&mut b, 120, 400), None);
    assert_eq!(b.fenced(false, 0xb2, ms(400)), None);
    assert_eq!(
        wait(&mut b, 410, 2000),
        Some((1400, Event::Fence(Duration::from_millis(1290))))
    );

    // Or does not: it is dead whatever it said before.
    let (mut p, mut b) = fencing_pair();
    wait(&mut b, 0, 100).unwrap();
    beat(&mut p, &mut b, ms(110));
    assert_eq!(wait(&mut b, 110, 400), None);
    assert!(matches!(
        b.fenced(true, 0xb2, ms(400)),
        Some(Event::PrimaryFenced(_))
    ));

    // It has missed this host meanwhile, and serves alone.
    for early in [true, false] {
        let (mut p, mut b) = fencing_pair();
        p.set_isolation(Isolation::Serve);
        wait(&mut p, 0, 100).unwrap();
        wait(&mut b, 0, 100).unwrap();
        if early {
            assert_eq!(beat(&mut p, &mut b, ms(110)), Some(Event::PeerAlone));
            assert_eq!(b.state(), State::Fencing);
            assert_eq!(b.fenced(false, 0xb2, ms(120)), Some(Event::PrimaryBack));
        } else {
            b.fenced(false, 0xb2, ms(105));
            assert_eq!(beat(&mut p, &mut b, ms(110)), Some(Event::PeerAlone));
        }
        assert_eq!(b.state(), State::Waiting);
    }
}

#[test]
fn who_says_goodbye_is_not_fenced() {
    let (mut p, mut b) = fencing_pair();
    let goodbye = p.last_word(ms(5)).unwrap();
    assert!(matches!(
        b.heard(&goodbye, || 0xb2, ms(6)),
        Ok(Some(Event::PrimaryGoes(_)))
    ));
    // Nor a host that was never heard.
    let mut b = Node::new(Role::Backup, 0, TIMING, 0xb1, ms(0));
    b.set_fencing(Some(FENCE_TIMEOUT));
    assert_eq!(wait(&mut b, 0, 1000), None);
}

/// A clock that runs faster or slower by so many thousandths.
#[derive(Clone, Copy, Debug)]
struct Clock(i64);

impl Clock {
    fn at(self, ms: u64) -> Instant {
        let drift = ms as i64 * 1000 * self.0;
        Instant::from_nanos((ms as i64 * 1_000_000 + drift + 1_000_000_000) as u64)
    }
}

/// What becomes of a datagram: how long it takes, in ms; or none, and it is lost.
fn fate() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        6 => (0_u64..10).prop_map(Some),
        1 => (0_u64..300).prop_map(Some),
        2 => Just(None),
    ]
}

proptest! {
    #![proptest_config(common::config(256))]

    /// Whatever becomes of the datagrams, and while one host or the other stands still: when the backup takes over, its primary has fallen silent.
    #[test]
    fn two_never_speak(
        fates in vec((fate(), fate()), 400),
        drift in (-50_i64..50, -50_i64..50),
        stills in vec((any::<bool>(), 0_u64..1000, 0_u64..300), 0..3),
        hasty in prop::option::of(0_u64..500),
    ) {
        let clocks = [Clock(drift.0), Clock(drift.1)];
        let mut nodes = [
            Node::new(Role::Primary, 1, TIMING, 0xa1, clocks[0].at(0)),
            Node::new(Role::Backup, 0, TIMING, 0xb1, clocks[1].at(0)),
        ];
        nodes[0].set_isolation(Isolation::Yield);
        let mut fates = fates.into_iter().cycle();
        let mut flying: Vec<(u64, usize, sttcp::message::Header)> = vec![];
        for now in 0..1000 {
            if hasty == Some(now) {
                nodes[1].set_timing(Timing { misses: 3, ..TIMING }, clocks[1].at(now));
            }
            for at in 0..2 {
                let still = |(first, from, len): &(bool, u64, u64)| {
                    *first == (at == 0) && (*from..from + len).contains(&now)
                };
                if stills.iter().any(still) {
                    continue;
                }
                let instant = clocks[at].at(now);
                let (here, later): (Vec<_>, Vec<_>) =
                    flying.into_iter().partition(|(due, to, _)| *due <= now && *to == at);
                flying = later;
                let mut send = vec![];
                for (_, _, header) in here {
                    let heard = nodes[at].heard(&header, || (now << 8) | 1, instant);
                    prop_assert!(!matches!(heard, Err(Counter::PeerBadEpoch)));
                    if nodes[at].owes_heartbeat(instant) {
                        send.push(nodes[at].header(Kind::Heartbeat, instant));
                    }
                }
                let poll = nodes[at].poll(instant, (now << 8) | 2);
                if poll.heartbeat {
                    send.push(nodes[at].header(Kind::Heartbeat, instant));
                }
                for header in send {
                    let (there, back) = fates.next().unwrap();
                    if let Some(wait) = if at == 0 { there } else { back } {
                        flying.push((now + wait, 1 - at, header));
                    }
                }
                if let Some(Event::PrimaryLost(_)) = poll.event {
                    let silent_from = nodes[0].silent_from();
                    prop_assert!(
                        silent_from.is_some_and(|from| clocks[0].at(now) >= from),
                        "at {now} the backup takes over, and the primary may speak until {silent_from:?}"
                    );
                    return Ok(());
                }
            }
        }
    }
}
