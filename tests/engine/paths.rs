// SPDX-License-Identifier: GPL-2.0

//! Two paths between the hosts, and who of the two hears the clients.

mod script;

use script::ms;
use std::time::Duration;
use sttcp::{
    detector::Timing,
    message::Kind,
    node::{Event, Node, Role, State},
    paths::{Hearing, Paths},
    time::Instant,
};

const TIMING: Timing = Timing {
    interval: Duration::from_millis(10),
    misses: 3,
};
const PATIENCE: Duration = Duration::from_millis(30);

#[test]
fn one_path_is_never_lost_alone() {
    let mut paths = Paths::new(1);
    paths.heard(0, ms(5));
    assert_eq!(paths.poll(ms(0), PATIENCE, ms(500)), None);
    assert_eq!((paths.count(), paths.best()), (1, 0));
}

#[test]
fn silent_path_is_lost_once_and_comes_back_once() {
    let mut paths = Paths::new(2);
    for at in [0, 10, 20, 30] {
        assert!(!paths.heard(1, ms(at)));
    }
    assert_eq!(paths.poll(ms(0), PATIENCE, ms(29)), None);
    assert_eq!(paths.best(), 0);
    // It was never heard: it counts from the beginning of the session.
    assert_eq!(paths.poll(ms(0), PATIENCE, ms(30)), Some(0));
    assert_eq!(paths.best(), 1);
    assert_eq!(paths.poll(ms(0), PATIENCE, ms(31)), None);
    assert!(paths.heard(0, ms(40)));
    assert!(!paths.heard(0, ms(41)));
    assert_eq!(paths.best(), 0);
    // The other, then both: then it is the peer.
    assert_eq!(paths.poll(ms(0), PATIENCE, ms(60)), Some(1));
    assert_eq!(paths.poll(ms(0), PATIENCE, ms(100)), None);
    assert_eq!(paths.best(), 0);
    paths.forget();
    assert_eq!(paths.poll(ms(100), PATIENCE, ms(120)), None);
    // A path that there is not.
    assert!(!paths.heard(2, ms(121)));
    assert_eq!(Paths::new(7).count(), 2);
}

/// What both hear, and what the peer alone hears, is said every 10 ms.
fn listen(hearing: &mut Hearing, both: &[u64], peer: &[u64], end: u64) -> Option<u64> {
    let last = |list: &[u64], now: u64| list.iter().rev().find(|at| **at <= now).copied();
    for now in (0..=end).step_by(10) {
        if let Some(at) = last(both, now) {
            hearing.heard(ms(at));
        }
        let at = last(both, now).max(last(peer, now)).unwrap_or(0);
        hearing.peer_says(Duration::from_millis(now - at), ms(now));
        if hearing.cut_off(PATIENCE, ms(now)).is_some() {
            return Some(now);
        }
    }
    None
}

#[test]
fn who_does_not_hear_what_the_other_goes_on_hearing_is_cut_off() {
    let mut hearing = Hearing::new(ms(0));
    let peer: Vec<u64> = (1000..3000).step_by(100).collect();
    assert_eq!(listen(&mut hearing, &[100, 500], &peer, 3000), Some(1500));
    // From then on the client is heard.
    hearing.heard(ms(1600));
    assert_eq!(hearing.cut_off(PATIENCE, ms(1600)), None);
    assert_eq!(hearing.deaf(ms(1700)), Duration::from_millis(100));
}

#[test]
fn one_lost_segment_is_no_cut() {
    // Nobody repeats it, or the client does after 200 ms, and that is heard.
    let mut hearing = Hearing::new(ms(0));
    assert_eq!(listen(&mut hearing, &[100], &[1000], 9000), None);
    let mut hearing = Hearing::new(ms(0));
    assert_eq!(listen(&mut hearing, &[100, 1200], &[1000], 9000), None);
    // Nor is silence.
    let mut hearing = Hearing::new(ms(0));
    assert_eq!(listen(&mut hearing, &[100], &[], 90_000), None);
}

#[test]
fn slow_detectors_wait_longer() {
    let mut hearing = Hearing::new(ms(0));
    hearing.peer_says(Duration::ZERO, ms(1000));
    hearing.peer_says(Duration::ZERO, ms(5000));
    let patience = Duration::from_secs(6);
    assert_eq!(hearing.cut_off(patience, ms(6999)), None);
    assert_eq!(hearing.cut_off(patience, ms(7000)), Some(patience));
}

fn beat(from: &mut Node, to: &mut Node, paths: &[usize], now: Instant) -> Vec<Event> {
    let mut events = vec![];
    for path in paths {
        let header = from.header(Kind::Heartbeat, now);
        let heard = to.heard(&header, || 0xdead, now);
        let back = to.heard_by(*path, now);
        events.extend(heard.unwrap().or(back));
    }
    events
}

fn pair() -> (Node, Node) {
    let mut p = Node::new(Role::Primary, 1, TIMING, 0xa1, ms(0));
    let mut b = Node::new(Role::Backup, 0, TIMING, 0xb1, ms(0));
    for node in [&mut p, &mut b] {
        node.set_paths(2);
    }
    beat(&mut p, &mut b, &[0, 1], ms(0));
    beat(&mut b, &mut p, &[0, 1], ms(0));
    beat(&mut p, &mut b, &[0, 1], ms(0));
    assert_eq!((p.state(), b.state()), (State::Protected, State::Shadowing));
    (p, b)
}

#[test]
fn records_go_by_the_path_that_works() {
    let (mut p, mut b) = pair();
    let mut events = vec![];
    for at in (10..=60).step_by(10) {
        events.extend(beat(&mut b, &mut p, &[1], ms(at)));
        events.extend(beat(&mut p, &mut b, &[1], ms(at)));
        events.extend(p.poll(ms(at), 7).event);
    }
    assert_eq!(events, [Event::PathLost(0)]);
    assert_eq!((p.path(), p.state()), (1, State::Protected));
    assert_eq!(beat(&mut b, &mut p, &[0], ms(70)), [Event::PathBack(0)]);
    assert_eq!(p.path(), 0);
    // Neither: the peer is lost.
    let mut events = (80..200)
        .step_by(10)
        .filter_map(|at| p.poll(ms(at), 7).event);
    let lost = events.find(|event| *event != Event::PathLost(1));
    assert!(matches!(lost, Some(Event::BackupLost(_))), "{lost:?}");
    assert_eq!(p.path(), 0);
}

/// The backup hears a client every 50 ms, the primary does not.
fn deafen(p: &mut Node, b: &mut Node) -> Option<(u64, Event)> {
    for at in (10..2000).step_by(10) {
        if at % 50 == 0 {
            b.heard_clients(ms(at));
        }
        beat(b, p, &[1], ms(at));
        beat(p, b, &[1], ms(at));
        assert_eq!(
            b.poll(ms(at), 9)
                .event
                .filter(|it| *it != Event::PathLost(0)),
            None
        );
        match p.poll(ms(at), 7).event {
            None | Some(Event::PathLost(_)) => {}
            Some(event) => return Some((at, event)),
        }
    }
    None
}

#[test]
fn primary_that_is_cut_off_from_the_clients_knows() {
    let (mut p, mut b) = pair();
    let (at, event) = deafen(&mut p, &mut b).unwrap();
    assert!(matches!(event, Event::CutOff(_)));
    assert!((500..600).contains(&at), "{at}");

    // Or its link is down, and it sees that.
    let (mut p, mut b) = pair();
    assert!(p.poll(ms(1), 7).heartbeat);
    p.set_linked(false, ms(10));
    // It says so at once, and waits for the same of the backup: what is between the hosts may be the cause.
    let poll = p.poll(ms(10), 7);
    assert_eq!(
        (poll.heartbeat, poll.event, poll.next),
        (true, None, ms(20))
    );
    p.set_linked(false, ms(15));
    assert_eq!(p.poll(ms(19), 7).event, None);
    assert_eq!(p.poll(ms(20), 7).event, Some(Event::Unlinked));
    // Then the backup's is no better.
    b.set_linked(false, ms(20));
    beat(&mut b, &mut p, &[1], ms(21));
    assert_eq!(p.poll(ms(22), 7).event, None);
    // A backup has nobody to hand over to.
    beat(&mut p, &mut b, &[0, 1], ms(23));
    assert_eq!(b.poll(ms(40), 7).event, None);
    // It is back.
    p.set_linked(true, ms(41));
    b.set_linked(true, ms(41));
    beat(&mut b, &mut p, &[0, 1], ms(41));
    assert_eq!(p.poll(ms(60), 7).event, None);

    // By one path that would be no news: it is the service's own.
    let (mut p, mut b) = pair();
    p.set_paths(1);
    assert_eq!(deafen(&mut p, &mut b), None);
}

#[test]
fn probed_address_is_asked_ten_times_a_second() {
    let asked = |node: &mut Node, to| {
        (200..to)
            .step_by(10)
            .filter(|at| node.poll(ms(*at), 7).probe)
            .count()
    };
    let (mut p, mut b) = pair();
    for node in [&mut p, &mut b] {
        assert!(!node.poll(ms(0), 7).probe);
        node.set_probing(ms(0));
    }
    beat(&mut p, &mut b, &[0, 1], ms(200));
    beat(&mut b, &mut p, &[0, 1], ms(200));
    let mut times = [0, 0];
    for at in (200..1200).step_by(10) {
        beat(&mut p, &mut b, &[0, 1], ms(at));
        beat(&mut b, &mut p, &[0, 1], ms(at));
        times[0] += usize::from(p.poll(ms(at), 7).probe);
        times[1] += usize::from(b.poll(ms(at), 7).probe);
    }
    assert_eq!(times, [10, 10]);
    // Without a peer there is nobody to compare with; by one path there is nothing to learn.
    let mut alone = Node::new(Role::Primary, 1, TIMING, 0xa1, ms(0));
    alone.set_paths(2);
    alone.set_probing(ms(0));
    assert_eq!(asked(&mut alone, 1000), 0);
    let (mut p, mut b) = pair();
    p.set_paths(1);
    p.set_probing(ms(0));
    beat(&mut b, &mut p, &[0], ms(190));
    assert_eq!(asked(&mut p, 220), 0);
}
