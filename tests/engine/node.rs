// SPDX-License-Identifier: GPL-2.0

//! Two nodes and the headers between them: sessions, epochs, the replay window, the detector, and who speaks.

mod common;
mod script;

use proptest::{collection::vec, prelude::*};
use script::ms;
use std::{collections::HashSet, time::Duration};
use sttcp::{
    counters::Counter,
    detector::{Detector, Suspicion, Timing},
    keyring::KeyId,
    message::{Header, Kind},
    node::{Event, Node, Peer, Predecessor, Role, State},
    time::Instant,
};

/// Heartbeats every 10 ms; silence of 30 ms is suspicious.
const TIMING: Timing = Timing {
    interval: Duration::from_millis(10),
    misses: 3,
};

const P1: u64 = 0xa1;
const B1: u64 = 0xb1;

fn primary(session: u64) -> Node {
    Node::new(Role::Primary, 1, TIMING, session, ms(0))
}

fn backup(session: u64) -> Node {
    Node::new(Role::Backup, 0, TIMING, session, ms(0))
}

type Heard = Result<Option<Event>, Counter>;

/// `from` sends a heartbeat and `to` hears it.
fn beat(from: &mut Node, to: &mut Node, now: Instant) -> Heard {
    to.heard(&from.header(Kind::Heartbeat, now), || 0xdead, now)
}

/// A primary and a backup that have joined at 0 ms.
fn pair() -> (Node, Node) {
    let (mut p, mut b) = (primary(P1), backup(B1));
    assert_eq!(beat(&mut p, &mut b, ms(0)), Ok(None));
    assert_eq!(beat(&mut b, &mut p, ms(0)), Ok(Some(Event::Joined)));
    assert_eq!(beat(&mut p, &mut b, ms(0)), Ok(Some(Event::Joined)));
    (p, b)
}

/// A header as the joined backup would send it.
fn from_backup(sequence: u64) -> Header {
    Header {
        kind: Kind::Heartbeat,
        role: Role::Backup,
        eager: false,
        joined: true,
        leased: false,
        unlinked: false,
        epoch: 1,
        session: B1,
        peer_session: P1,
        sequence,
        sent: 0,
        echo: 0,
        patience: TIMING.timeout(),
        deaf: Duration::ZERO,
        key: KeyId::default(),
        seed: 0,
    }
}

#[test]
fn joining_takes_three_heartbeats() {
    let (mut p, mut b) = (primary(P1), backup(B1));
    assert_eq!((p.state(), b.state()), (State::Solo, State::Waiting));

    // Of the first one the backup cannot tell whether it is a recording.
    assert_eq!(beat(&mut p, &mut b, ms(0)), Ok(None));
    assert_eq!(b.state(), State::Waiting);
    // It names the primary's session, and so proves itself to be new.
    assert_eq!(beat(&mut b, &mut p, ms(1)), Ok(Some(Event::Joined)));
    assert_eq!(p.state(), State::Protected);
    assert_eq!(beat(&mut p, &mut b, ms(2)), Ok(Some(Event::Joined)));
    assert_eq!(b.state(), State::Shadowing);

    assert_eq!(beat(&mut b, &mut p, ms(3)), Ok(None));
    assert_eq!((p.last_heard(), b.last_heard()), (Some(ms(3)), Some(ms(2))));
}

#[test]
fn states_have_names() {
    for (state, name) in [
        (State::Solo, "solo"),
        (State::Protected, "protected"),
        (State::Isolated, "isolated"),
        (State::Waiting, "waiting"),
        (State::Shadowing, "shadowing"),
        (State::Fencing, "fencing"),
        (State::Takeover, "takeover"),
    ] {
        assert_eq!(state.name(), name);
    }
}

#[test]
fn headers_are_numbered_from_one() {
    let (mut p, mut b) = (primary(P1), backup(B1));
    assert_eq!(
        p.header(Kind::Records, ms(0)),
        Header {
            kind: Kind::Records,
            role: Role::Primary,
            eager: false,
            joined: false,
            leased: false,
            unlinked: false,
            epoch: 1,
            session: P1,
            peer_session: 0,
            sequence: 1,
            sent: 0,
            echo: 0,
            patience: Duration::from_millis(30),
            deaf: Duration::ZERO,
            key: KeyId::default(),
            seed: 0,
        }
    );
    beat(&mut p, &mut b, ms(0)).unwrap();
    let header = b.header(Kind::Heartbeat, ms(0));
    assert_eq!((header.peer_session, header.sequence), (P1, 1));
    assert_eq!(b.header(Kind::Heartbeat, ms(0)).sequence, 2);
}

#[test]
fn session_zero_is_no_session() {
    let (mut p, mut b) = (primary(0), backup(B1));
    assert_ne!(p.header(Kind::Heartbeat, ms(0)).session, 0);
    let nameless = Header {
        session: 0,
        ..from_backup(1)
    };
    assert_eq!(
        b.heard(&nameless, || 1, ms(0)),
        Err(Counter::PeerBadSession)
    );
}

#[test]
fn own_datagram_come_back() {
    let (mut p, _) = pair();
    let own = p.header(Kind::Heartbeat, ms(0));
    assert_eq!(p.heard(&own, || 1, ms(1)), Err(Counter::PeerBadSession));
}

#[test]
fn datagram_counts_once() {
    let (mut p, mut b) = pair();
    let header = b.header(Kind::Records, ms(0));
    assert_eq!(p.heard(&header, || 0, ms(1)), Ok(None));
    assert_eq!(p.heard(&header, || 0, ms(1)), Err(Counter::PeerReplayed));
}

#[test]
fn datagrams_may_overtake_each_other() {
    let (mut p, _) = pair();
    for (sequence, heard) in [
        (100, Ok(None)),
        (99, Ok(None)),
        (37, Ok(None)),
        (36, Err(Counter::PeerReplayed)),
        (101, Ok(None)),
        (37, Err(Counter::PeerReplayed)),
        (38, Ok(None)),
        (38, Err(Counter::PeerReplayed)),
        (0, Err(Counter::PeerReplayed)),
        (u64::MAX, Ok(None)),
        (u64::MAX - 63, Ok(None)),
        (u64::MAX, Err(Counter::PeerReplayed)),
        (u64::MAX - 64, Err(Counter::PeerReplayed)),
    ] {
        assert_eq!(
            p.heard(&from_backup(sequence), || 0, ms(1)),
            heard,
            "{sequence}"
        );
    }
}

#[test]
fn replayed_datagram_is_no_sign_of_life() {
    let (mut p, mut b) = pair();
    let header = b.header(Kind::Heartbeat, ms(0));
    assert_eq!(p.heard(&header, || 0, ms(5)), Ok(None));
    p.heard(&header, || 0, ms(20)).unwrap_err();
    assert_eq!(p.last_heard(), Some(ms(5)));
}

#[test]
fn restarted_backup_joins_at_once_and_voids_the_old_session() {
    let (mut p, _) = pair();
    let mut b = backup(0xb2);
    // The primary still names the backup's old session: that is no proof, but says whom to answer.
    assert_eq!(beat(&mut p, &mut b, ms(1)), Err(Counter::PeerBadSession));
    assert_eq!(beat(&mut b, &mut p, ms(2)), Ok(Some(Event::Joined)));
    assert_eq!(beat(&mut p, &mut b, ms(3)), Ok(Some(Event::Joined)));
    // Nothing that the first backup ever sent counts any longer.
    assert_eq!(
        p.heard(&from_backup(500), || 0, ms(4)),
        Err(Counter::PeerBadSession)
    );
}

#[test]
fn no_session_ends_unnoticed() {
    // A backup comes back before its absence was noticed, and its first word in the new session is its last.
    let (mut p, _) = pair();
    let leave = Header {
        kind: Kind::Leave,
        session: 0xb2,
        ..from_backup(1)
    };
    assert_eq!(p.heard(&leave, || 0xa2, ms(5)), Ok(Some(Event::PeerLeft)));
    assert_eq!(p.state(), State::Solo);

    // It comes back as what cannot be a peer: the old session ends as if it had not.
    let (mut p, _) = pair();
    let conflict = Header {
        role: Role::Primary,
        session: 0xb2,
        ..from_backup(1)
    };
    assert_eq!(
        p.heard(&conflict, || 0xa2, ms(5)),
        Err(Counter::PeerRoleConflict)
    );
    assert_eq!(p.state(), State::Protected);
    p.poll(ms(20), 0xa2);
    let lost = p.poll(ms(30), 0xa2).event;
    assert!(matches!(lost, Some(Event::BackupLost(_))), "{lost:?}");
    assert_eq!(p.state(), State::Solo);
}

#[test]
fn eight_former_sessions_are_refused() {
    let (mut p, _) = pair();
    for session in 1..=8 {
        let mut next = Header {
            session,
            ..from_backup(1)
        };
        assert_eq!(p.heard(&next, || 0, ms(1)), Ok(Some(Event::Joined)));
        next.sequence += 1;
        assert_eq!(p.heard(&next, || 0, ms(1)), Ok(None));
    }
    for session in (1..=7).chain([B1]) {
        let old = Header {
            session,
            ..from_backup(99)
        };
        assert_eq!(p.heard(&old, || 0, ms(2)), Err(Counter::PeerBadSession));
    }
}

#[test]
fn stranger_without_our_session_does_not_displace_a_living_peer() {
    let (mut p, mut b) = pair();
    for peer_session in [0, 0x77] {
        let recording = Header {
            session: 0xee,
            peer_session,
            ..from_backup(9)
        };
        assert_eq!(
            p.heard(&recording, || 0, ms(1)),
            Err(Counter::PeerBadSession)
        );
    }
    assert_eq!(beat(&mut b, &mut p, ms(2)), Ok(None));
}

#[test]
fn recording_does_not_shut_out_a_peer_that_is_to_join_again() {
    let (mut p, mut b) = pair();
    // The primary misses the backup, which hears of that in the new session.
    assert!(matches!(
        p.poll(ms(100), 0xa2).event,
        Some(Event::BackupLost(_))
    ));
    assert_eq!(beat(&mut p, &mut b, ms(100)), Ok(Some(Event::PeerAlone)));
    let replayed = p.header(Kind::Heartbeat, ms(100));
    assert_eq!(b.heard(&replayed, || 0, ms(101)), Ok(None));
    // Something of a session that neither remembers, and more than once.
    for sequence in 1..=20 {
        let recording = Header {
            role: Role::Primary,
            session: 0x0c,
            peer_session: 0x0d,
            ..from_backup(sequence)
        };
        assert_eq!(
            b.heard(&recording, || 0, ms(102)),
            Err(Counter::PeerBadSession)
        );
    }
    // What the primary has said in the meantime counts, and once.
    assert_eq!(
        b.heard(&replayed, || 0, ms(103)),
        Err(Counter::PeerReplayed)
    );
    assert_eq!(beat(&mut p, &mut b, ms(104)), Ok(None));
    assert_eq!(beat(&mut b, &mut p, ms(104)), Ok(Some(Event::Joined)));
    assert_eq!(beat(&mut p, &mut b, ms(104)), Ok(Some(Event::Joined)));
    // The session before is over for good.
    let old = Header {
        role: Role::Primary,
        session: P1,
        peer_session: B1,
        ..from_backup(90)
    };
    assert_eq!(b.heard(&old, || 0, ms(105)), Err(Counter::PeerBadSession));
    assert_eq!(b.state(), State::Shadowing);
}

#[test]
fn recording_of_a_leader_moves_nobody() {
    // A recording of a later epoch, played to a primary that has no peer.
    let mut p = primary(P1);
    for peer_session in [0, 0x77] {
        let recording = Header {
            role: Role::Primary,
            eager: false,
            joined: true,
            epoch: 9,
            session: 0xee,
            peer_session,
            ..from_backup(1 + peer_session)
        };
        let _ = p.heard(&recording, || 0, ms(1));
        assert_eq!(
            (p.role(), p.epoch(), p.state()),
            (Role::Primary, 1, State::Solo)
        );
        assert_eq!(p.last_heard(), None);
    }
}

#[test]
fn heartbeats_are_due_every_interval() {
    let mut p = primary(P1);
    let poll = p.poll(ms(0), 0);
    assert!(poll.heartbeat);
    assert_eq!(poll.next, ms(10));
    let poll = p.poll(ms(4), 0);
    assert!(!poll.heartbeat);
    assert_eq!(poll.next, ms(10));
    assert!(p.poll(ms(10), 0).heartbeat);
}

#[test]
fn timing_holds_from_now_on() {
    let mut p = primary(P1);
    p.poll(ms(0), 0);
    let timing = Timing {
        interval: Duration::from_millis(2),
        misses: 5,
    };
    p.set_timing(timing, ms(3));
    assert_eq!(p.timing(), timing);
    let poll = p.poll(ms(3), 0);
    assert!(poll.heartbeat);
    assert_eq!(poll.next, ms(5));
}

#[test]
fn peer_never_heard_is_not_suspected() {
    let (mut p, mut b) = (primary(P1), backup(B1));
    for at in (0..1000).step_by(10) {
        assert_eq!(p.poll(ms(at), 0).event, None);
        assert_eq!(b.poll(ms(at), 0).event, None);
    }
    assert_eq!(b.state(), State::Waiting);
}

#[test]
fn backup_takes_over_after_three_missed_heartbeats() {
    let (_, mut b) = pair();
    for at in [0, 10, 20] {
        let poll = b.poll(ms(at), 0xb2);
        assert_eq!((poll.event, poll.next), (None, ms(at + 10)));
    }
    let lost = Event::PrimaryLost(Duration::from_millis(30));
    assert_eq!(b.poll(ms(30), 0xb2).event, Some(lost));
    assert_eq!(b.state(), State::Takeover);
    b.took_over();
    assert_eq!(
        (b.role(), b.epoch(), b.state()),
        (Role::Primary, 2, State::Solo)
    );
    let header = b.header(Kind::Heartbeat, ms(0));
    assert_eq!((header.session, header.sequence), (0xb2, 1));
    assert_eq!(b.poll(ms(40), 0xb3).event, None);
}

#[test]
fn one_heartbeat_in_time_averts_it() {
    let (mut p, mut b) = pair();
    for at in [0, 10, 20] {
        b.poll(ms(at), 0);
    }
    beat(&mut p, &mut b, ms(29)).unwrap();
    let poll = b.poll(ms(30), 0);
    assert_eq!((poll.event, poll.next), (None, ms(40)));
    b.poll(ms(40), 0);
    // The deadline lies between two heartbeats; the poll is asked for then.
    assert_eq!(b.poll(ms(50), 0).next, ms(59));
    assert!(b.poll(ms(59), 0).event.is_some());
}

#[test]
fn primary_goes_on_alone_and_the_backup_comes_back() {
    let (mut p, mut b) = pair();
    for at in [0, 10, 20] {
        p.poll(ms(at), 0xa2);
    }
    let lost = Event::BackupLost(Duration::from_millis(30));
    assert_eq!(p.poll(ms(30), 0xa2).event, Some(lost));
    assert_eq!(
        (p.role(), p.epoch(), p.state()),
        (Role::Primary, 1, State::Solo)
    );

    // What the backup still says to the old session is void; the new session begins as the first did.
    assert_eq!(beat(&mut b, &mut p, ms(31)), Err(Counter::PeerBadSession));
    // Until the primary has heard of it, it serves its connections alone; and until then the backup need not know that.
    assert_eq!(p.peer(), Peer::Unaware(ms(30 + 30 + 20)));
    // Then what it knows of them is void: it does not go on with a connection that the primary carries alone.
    assert_eq!(beat(&mut p, &mut b, ms(32)), Ok(Some(Event::PeerAlone)));
    assert_eq!((b.state(), b.peer()), (State::Waiting, Peer::Absent));
    assert_eq!(beat(&mut p, &mut b, ms(32)), Ok(None));
    assert_eq!(beat(&mut b, &mut p, ms(33)), Ok(Some(Event::Joined)));
    assert_eq!(p.peer(), Peer::Joined);
    assert_eq!(beat(&mut p, &mut b, ms(34)), Ok(Some(Event::Joined)));
    assert_eq!((p.state(), b.state()), (State::Protected, State::Shadowing));
}

#[test]
fn primary_that_has_joined_is_not_alone_for_an_old_word() {
    let (mut p, mut b) = (primary(P1), backup(B1));
    beat(&mut p, &mut b, ms(0)).unwrap();
    beat(&mut b, &mut p, ms(0)).unwrap();
    let first = p.header(Kind::Heartbeat, ms(0));
    let early = Header {
        joined: false,
        ..first
    };
    assert_eq!(beat(&mut p, &mut b, ms(1)), Ok(Some(Event::Joined)));
    assert_eq!(b.heard(&early, || 0xdead, ms(1)), Ok(None));
    assert_eq!(b.state(), State::Shadowing);
}

#[test]
fn sleeper_waits_an_interval_before_it_judges() {
    let (mut p, mut b) = pair();
    assert_eq!(b.poll(ms(0), 0).next, ms(10));
    // This host was stopped; the peer's heartbeats are in its queue.
    let poll = b.poll(ms(500), 0);
    assert_eq!((poll.asleep, poll.event), (true, None));
    beat(&mut p, &mut b, ms(501)).unwrap();
    let poll = b.poll(ms(510), 0);
    assert_eq!((poll.asleep, poll.event), (false, None));
}

#[test]
fn sleeper_judges_after_that_interval() {
    let (_, mut b) = pair();
    b.poll(ms(0), 0);
    assert!(b.poll(ms(500), 0).asleep);
    let lost = Event::PrimaryLost(Duration::from_millis(510));
    assert_eq!(b.poll(ms(510), 0).event, Some(lost));
}

#[test]
fn detector_forgets() {
    let mut detector = Detector::default();
    assert_eq!(detector.deadline(&TIMING), None);
    detector.heard(ms(5));
    assert!(detector.is_alive());
    assert_eq!(detector.deadline(&TIMING), Some(ms(35)));
    assert_eq!(detector.schedule(ms(40), &TIMING), ms(35));
    detector.forget();
    assert!(!detector.is_alive());
    assert_eq!(detector.poll(ms(900), &TIMING), Suspicion::None);
    assert_eq!(detector.schedule(ms(40), &TIMING), ms(40));
}

#[test]
fn detector_is_lost_once() {
    let mut detector = Detector::default();
    detector.heard(ms(0));
    let silence = Duration::from_millis(30);
    assert_eq!(detector.poll(ms(29), &TIMING), Suspicion::None);
    assert_eq!(detector.poll(ms(30), &TIMING), Suspicion::Lost { silence });
    assert_eq!(detector.poll(ms(60), &TIMING), Suspicion::None);
}

#[test]
fn backup_follows_the_primarys_epoch() {
    let mut p = Node::new(Role::Primary, 7, TIMING, P1, ms(0));
    let mut b = backup(B1);
    beat(&mut p, &mut b, ms(0)).unwrap();
    beat(&mut b, &mut p, ms(0)).unwrap();
    beat(&mut p, &mut b, ms(0)).unwrap();
    assert_eq!(b.epoch(), 7);
    b.take_over(0xb2);
    assert_eq!(b.epoch(), 8);
}

#[test]
fn old_primary_steps_down_when_it_hears_the_new_one() {
    let (mut old, mut new) = pair();
    new.take_over(0xb2);
    new.took_over();
    assert_eq!(
        (new.role(), new.epoch(), new.state()),
        (Role::Primary, 2, State::Solo)
    );

    // The new primary knows whom to tell: it names the old one's session.
    let header = new.header(Kind::Heartbeat, ms(0));
    assert_eq!(
        old.heard(&header, || 0xa2, ms(5)),
        Ok(Some(Event::SteppedDown))
    );
    assert_eq!(
        (old.role(), old.epoch(), old.state()),
        (Role::Backup, 2, State::Waiting)
    );

    // Then it joins as a backup like any other.
    assert_eq!(beat(&mut old, &mut new, ms(6)), Ok(Some(Event::Joined)));
    assert_eq!(beat(&mut new, &mut old, ms(7)), Ok(Some(Event::Joined)));
    assert_eq!(
        (old.state(), new.state()),
        (State::Shadowing, State::Protected)
    );
}

#[test]
fn old_primary_is_not_obeyed() {
    let (mut old, mut new) = pair();
    new.take_over(0xb2);
    new.took_over();
    // It speaks to a session that is over.
    assert_eq!(
        beat(&mut old, &mut new, ms(1)),
        Err(Counter::PeerBadSession)
    );
    // Even in the present session an older epoch leads nowhere.
    let late = Header {
        peer_session: 0xb2,
        sequence: 900,
        ..old.header(Kind::Leave, ms(2))
    };
    assert_eq!(new.heard(&late, || 0, ms(2)), Err(Counter::PeerBadEpoch));
    assert_eq!((new.role(), new.state()), (Role::Primary, State::Solo));
}

#[test]
fn backup_of_a_later_epoch_does_not_follow_an_earlier_one() {
    let (mut p, mut b) = (primary(P1), Node::new(Role::Backup, 5, TIMING, B1, ms(0)));
    beat(&mut p, &mut b, ms(0)).unwrap();
    let early = Header {
        peer_session: B1,
        ..p.header(Kind::Heartbeat, ms(0))
    };
    assert_eq!(b.heard(&early, || 0, ms(0)), Err(Counter::PeerBadEpoch));
    assert_eq!((b.epoch(), b.state()), (5, State::Waiting));
}

#[test]
fn primary_that_forgot_its_epoch_learns_it_from_the_backup() {
    let (mut p, mut b) = (primary(P1), Node::new(Role::Backup, 5, TIMING, B1, ms(0)));
    beat(&mut p, &mut b, ms(0)).unwrap();
    assert_eq!(beat(&mut b, &mut p, ms(0)), Ok(Some(Event::Joined)));
    assert_eq!((p.epoch(), p.role()), (5, Role::Primary));
    assert_eq!(beat(&mut p, &mut b, ms(0)), Ok(Some(Event::Joined)));
    assert_eq!((p.state(), b.state()), (State::Protected, State::Shadowing));
}

#[test]
fn two_nodes_of_the_same_role_do_not_join() {
    for (mut a, mut b) in [(primary(1), primary(2)), (backup(1), backup(2))] {
        let before = (a.state(), b.state());
        assert_eq!(beat(&mut a, &mut b, ms(0)), Ok(None));
        assert_eq!(beat(&mut b, &mut a, ms(0)), Err(Counter::PeerRoleConflict));
        assert_eq!(beat(&mut a, &mut b, ms(0)), Err(Counter::PeerRoleConflict));
        assert_eq!((a.state(), b.state()), before);
        assert_eq!(a.last_heard(), None);
    }
}

#[test]
fn leaving_primary_leaves_the_backup_waiting() {
    let (mut p, mut b) = pair();
    let leave = p.header(Kind::Leave, ms(0));
    assert_eq!(b.heard(&leave, || 0xb2, ms(5)), Ok(Some(Event::PeerLeft)));
    assert_eq!((b.role(), b.state()), (Role::Backup, State::Waiting));
    // Its silence is no failure, and what comes late is void.
    assert_eq!(b.poll(ms(500), 0).event, None);
    assert_eq!(beat(&mut p, &mut b, ms(500)), Err(Counter::PeerBadSession));
    assert_eq!(b.state(), State::Waiting);
}

#[test]
fn leaving_backup_leaves_the_primary_solo() {
    let (mut p, mut b) = pair();
    let leave = b.header(Kind::Leave, ms(0));
    assert_eq!(p.heard(&leave, || 0xa2, ms(5)), Ok(Some(Event::PeerLeft)));
    assert_eq!(
        (p.role(), p.epoch(), p.state()),
        (Role::Primary, 1, State::Solo)
    );
    assert_eq!(p.heard(&leave, || 0xa3, ms(6)), Err(Counter::PeerReplayed));
    assert_eq!(p.header(Kind::Heartbeat, ms(0)).session, 0xa2);
}

#[test]
fn leave_counts_only_in_the_session() {
    let (mut p, _) = pair();
    for (session, peer_session) in [(B1, 0xa0), (0xee, 0), (0xee, 0xa0)] {
        let leave = Header {
            kind: Kind::Leave,
            session,
            peer_session,
            ..from_backup(50)
        };
        assert_eq!(p.heard(&leave, || 0, ms(1)), Err(Counter::PeerBadSession));
    }
    assert_eq!(p.state(), State::Protected);
}

#[test]
fn primary_that_goes_down_hands_over() {
    let (mut p, mut b) = pair();
    assert_eq!(beat(&mut p, &mut b, ms(7)), Ok(None));
    let goodbye = p.resign(0xa2, ms(0)).unwrap();
    assert_eq!(
        (p.role(), p.epoch(), p.state()),
        (Role::Backup, 1, State::Waiting)
    );
    let goes = Event::PrimaryGoes(Duration::from_millis(2));
    assert_eq!(b.heard(&goodbye, || 0xb2, ms(9)), Ok(Some(goes)));
    assert_eq!(
        (b.role(), b.epoch(), b.state()),
        (Role::Primary, 2, State::Takeover)
    );
    assert_eq!(
        b.heard(&goodbye, || 0xb3, ms(9)),
        Err(Counter::PeerReplayed)
    );
    assert_eq!(b.poll(ms(500), 0).event, None);
    // The first that its successor says is the answer, though it is no more than that in the new session.
    assert!(p.is_unanswered(&goodbye));
    let first = b.header(Kind::Heartbeat, ms(10));
    assert!(p.heard(&first, || 0, ms(10)).is_err());
    assert!(!p.is_unanswered(&goodbye));
    // It has nothing more to say.
    assert_eq!(p.resign(0xa3, ms(0)), None);
    // The very moment of its last heartbeat tells that it is dead all the same.
    let (mut p, mut b) = pair();
    let goodbye = p.last_word(ms(0)).unwrap();
    assert_eq!(p.state(), State::Protected);
    let goes = Event::PrimaryGoes(Duration::from_nanos(1));
    assert_eq!(b.heard(&goodbye, || 0xb2, ms(0)), Ok(Some(goes)));
}

#[test]
fn goodbye_of_who_does_not_lead_the_listener_is_a_farewell() {
    // A solo primary, and a backup, have nobody to hand over to.
    assert_eq!(primary(P1).resign(0xa2, ms(0)), None);
    let (mut p, mut b) = pair();
    assert_eq!(b.resign(0xb2, ms(0)), None);
    // The primary has missed its backup and serves alone: what is here is void.
    let goodbye = p.last_word(ms(0)).unwrap();
    let alone = Header {
        joined: false,
        ..goodbye
    };
    assert_eq!(b.heard(&alone, || 0xb2, ms(1)), Ok(Some(Event::PeerLeft)));
    assert_eq!((b.role(), b.state()), (Role::Backup, State::Waiting));
    let goodbye = Header {
        kind: Kind::Goodbye,
        ..from_backup(50)
    };
    assert_eq!(p.heard(&goodbye, || 0xa2, ms(1)), Ok(Some(Event::PeerLeft)));
    assert_eq!(p.state(), State::Solo);
}

#[test]
fn goodbye_counts_only_in_the_session() {
    let (mut p, mut b) = pair();
    let goodbye = p.last_word(ms(0)).unwrap();
    for (session, peer_session) in [(P1, 0xb0), (0xee, 0), (0xee, 0xb0)] {
        let forged = Header {
            session,
            peer_session,
            sequence: 60,
            ..goodbye
        };
        assert!(!matches!(b.heard(&forged, || 0xb2, ms(1)), Ok(Some(_))));
    }
    assert_eq!(b.state(), State::Shadowing);
    // Recorded, and played again when the pair is in another session.
    let (mut p, mut b) = pair();
    let leave = p.header(Kind::Leave, ms(0));
    b.heard(&leave, || 0xb2, ms(2)).unwrap();
    assert!(b.heard(&goodbye, || 0xb3, ms(3)).is_err());
    assert_eq!(b.state(), State::Waiting);
    // A primary that was started anew has nothing to do with the shadows that are here.
    let (_, mut b) = pair();
    let anew = Header {
        session: 0xa9,
        sequence: 1,
        ..goodbye
    };
    assert_eq!(b.heard(&anew, || 0xb2, ms(1)), Ok(Some(Event::PeerLeft)));
    assert_eq!(b.state(), State::Waiting);
}

#[test]
fn leave_of_a_peer_that_had_not_joined_is_no_event() {
    let mut p = primary(P1);
    let leave = Header {
        kind: Kind::Leave,
        ..from_backup(1)
    };
    assert_eq!(p.heard(&leave, || 0xa2, ms(1)), Ok(None));
    assert_eq!(p.state(), State::Solo);
}

proptest! {
    #![proptest_config(common::config(512))]

    /// The window against a plain set of all numbers ever heard.
    #[test]
    fn replay_window(start in any::<u32>(), steps in vec(-80_i64..80, 1..common::up_to(200))) {
        let (mut p, _) = pair();
        let (mut at, mut highest, mut seen) = (u64::from(start) + 2, 1, HashSet::from([1]));
        for step in steps {
            at = at.saturating_add_signed(step);
            let new = at > 0 && at + 64 > highest && seen.insert(at);
            let heard = p.heard(&from_backup(at), || 0, ms(1));
            prop_assert_eq!(heard, if new { Ok(None) } else { Err(Counter::PeerReplayed) });
            highest = highest.max(at);
        }
    }

    /// Any headers, from any session, in any order: nobody moves to an earlier epoch, and there is no panic.
    #[test]
    fn any_headers(
        headers in vec((0_u8..4, any::<bool>(), 0_u32..4, 0_u64..4, 0_u64..4, 0_u64..100), 0..common::up_to(100)),
        is_primary: bool,
    ) {
        let role = if is_primary { Role::Primary } else { Role::Backup };
        let mut node = Node::new(role, 1, TIMING, 1, ms(0));
        let mut session = 1;
        for (at, (kind, from_primary, epoch, from, to, sequence)) in headers.into_iter().enumerate() {
            let header = Header {
                kind: [Kind::Heartbeat, Kind::Records, Kind::Leave, Kind::Goodbye][usize::from(kind)],
                role: if from_primary { Role::Primary } else { Role::Backup },
                eager: false,
                joined: true,
                leased: false,
        unlinked: false,
                epoch,
                session: from,
                peer_session: to,
                sequence,
                sent: 0,
                echo: 0,
                patience: Duration::ZERO,
                deaf: Duration::ZERO,
                key: KeyId::default(),
                seed: 0,
            };
            let before = (node.role(), node.epoch());
            let was_joined = node.peer() == Peer::Joined;
            let heard = node.heard(&header, || session + 1, ms(at as u64));
            prop_assert!(node.epoch() >= before.1);
            if to != session {
                prop_assert!(!matches!(heard, Ok(Some(_))));
            }
            if node.role() == Role::Backup && before.0 == Role::Primary {
                prop_assert_eq!(heard, Ok(Some(Event::SteppedDown)));
                prop_assert!(from_primary && epoch > before.1);
            } else if node.role() != before.0 {
                prop_assert!(matches!(heard, Ok(Some(Event::PrimaryGoes(_)))));
                prop_assert!(from_primary && header.kind == Kind::Goodbye && was_joined);
            }
            session = node.header(Kind::Heartbeat, ms(0)).session;
        }
    }
}

#[test]
fn backup_knows_how_its_primary_acknowledges() {
    let (mut p, mut b) = pair();
    assert_eq!(b.predecessor(Duration::ZERO), Predecessor::default());
    p.set_eager(true);
    beat(&mut p, &mut b, ms(30)).unwrap();
    let silence = Duration::from_millis(5);
    let expected = Predecessor {
        silence,
        eager: true,
        ..Predecessor::default()
    };
    assert_eq!(b.predecessor(silence), expected);
    b.set_strict(true);
    assert!(b.is_strict() && b.predecessor(silence).strict);
    b.set_strict(false);
    // An interval more than it bears is on the way; after that the primary knew that it was alone.
    assert!(!b.predecessor(Duration::from_millis(40)).alone);
    assert!(b.predecessor(Duration::from_millis(41)).alone);
    p.set_eager(false);
    beat(&mut p, &mut b, ms(31)).unwrap();
    assert_eq!(b.predecessor(Duration::ZERO), Predecessor::default());
}

#[test]
fn backup_takes_over_what_keys_the_table_of_its_primary() {
    let (mut p, mut b) = (primary(P1), backup(B1));
    p.set_seed(5);
    b.set_seed(6);
    assert_eq!(beat(&mut p, &mut b, ms(0)), Ok(None));
    // It may be a recording.
    assert_eq!(b.seed(), 6);
    assert_eq!(beat(&mut b, &mut p, ms(0)), Ok(Some(Event::Joined)));
    assert_eq!(beat(&mut p, &mut b, ms(0)), Ok(Some(Event::Joined)));
    assert_eq!((p.seed(), b.seed()), (5, 5));
    b.set_key(KeyId(7));
    assert_eq!(b.header(Kind::Heartbeat, ms(0)).key, KeyId(7));
}

#[test]
fn nobody_joins_while_the_shadows_do_not_speak_yet() {
    let (mut p, mut b) = pair();
    let goodbye = p.resign(0x77, ms(5)).unwrap();
    assert!(matches!(
        b.heard(&goodbye, || 0x88, ms(5)),
        Ok(Some(Event::PrimaryGoes(_)))
    ));
    // The old primary is a backup by now, and as quick as its successor, who is not through with its connections.
    for _ in 0..3 {
        assert!(!matches!(beat(&mut b, &mut p, ms(5)), Ok(Some(_))));
        assert!(!matches!(beat(&mut p, &mut b, ms(5)), Ok(Some(_))));
    }
    assert_eq!((b.state(), b.peer()), (State::Takeover, Peer::Absent));
    b.took_over();
    assert_eq!(beat(&mut p, &mut b, ms(6)), Ok(Some(Event::Joined)));
    assert_eq!(b.state(), State::Protected);
}
