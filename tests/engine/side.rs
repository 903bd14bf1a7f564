// SPDX-License-Identifier: GPL-2.0

//! Who hears of what: events for a side that there is, for none, and for one of the other kind.

mod common;
mod script;

use script::{
    c, flow, linux, ms, p, plain_open, s, seg, seq, syn, syn_ack, Script, CLIENT, ID, PRIMARY,
    SHADOW,
};
use std::time::Duration;
use sttcp::{
    actions::Actions,
    counters::Counter,
    message::{Close, Gone, Open, Progress, Record},
    node::{Peer, Predecessor, Role},
    primary::{ConnectionId, Socket, Terms, STALL_TIMEOUT},
    rewrite::Rewrite,
    side::{early, is_fresh, open, unknown, Opening, Side},
    time::Instant,
    verdict::{Inbound, Outbound},
    wire::{Flags, Options, Segment},
};

fn opening() -> Side {
    let mut side = Side::from_syn(ID, flow(), &syn(CLIENT), Terms::default(), ms(0)).unwrap();
    let (outbound, _) = side.on_output(&syn_ack(PRIMARY).window(500), ms(0));
    assert_eq!(outbound, Outbound::SendAnyway(Rewrite::default()));
    assert!(side.is_embryonic());
    let (inbound, actions) = side.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    assert_eq!(inbound, Inbound::Pass(Rewrite::default()));
    assert_eq!(actions.record, Some(Record::Open(plain_open())));
    side
}

fn primary() -> Side {
    let mut side = opening();
    side.on_record(&Record::Progress(progress()), ms(1));
    assert!(!side.is_embryonic());
    side
}

fn progress() -> Progress {
    Progress {
        id: ID,
        rcv_nxt: c(0),
        snd_nxt: p(0),
        edge: c(1 << 20),
        fin: false,
    }
}

fn opened() -> Side {
    open(None, &plain_open(), ms(0)).shadow.unwrap()
}

fn shadow() -> Side {
    let mut side = opened();
    assert!(side.on_output(&syn_ack(SHADOW), ms(0)).1.release_queue);
    side
}

fn pending() -> Side {
    early(&flow(), &seg(c(0), p(0)).data(1), true, ms(0)).unwrap()
}

fn tells(record: Record) -> Actions {
    Actions {
        record: Some(record),
        ..Actions::default()
    }
}

#[test]
fn records_go_one_way() {
    for record in [
        Record::Open(plain_open()),
        Record::Close(ID, Close::Ended),
        Record::Query(ID, c(0)),
    ] {
        assert_eq!((record.id(), record.recipient()), (ID, Role::Backup));
    }
    for record in [Record::Progress(progress()), Record::Gone(ID, Gone::Ended)] {
        assert_eq!((record.id(), record.recipient()), (ID, Role::Primary));
    }
}

#[test]
fn what_is_asked_of_no_connection_is_answered() {
    let gone = Some(Record::Gone(ID, Gone::Ended));
    assert_eq!(unknown(&Record::Query(ID, c(0))), gone);
    assert_eq!(unknown(&Record::Close(ID, Close::Unprotected)), gone);
    assert_eq!(unknown(&Record::Close(ID, Close::Ended)), gone);
    assert_eq!(
        unknown(&Record::Progress(progress())),
        Some(Record::Close(ID, Close::Ended))
    );
    // No answer to an answer.
    assert_eq!(unknown(&Record::Gone(ID, Gone::Ended)), None);
}

#[test]
fn words_for_the_other_kind_change_nothing() {
    let nothing = Actions::default();
    for record in [Record::Progress(progress()), Record::Gone(ID, Gone::Ended)] {
        assert_eq!(shadow().on_record(&record, ms(2)), nothing);
        assert_eq!(pending().on_record(&record, ms(2)), nothing);
    }
    let close = Record::Close(ID, Close::Unprotected);
    assert_eq!(primary().on_record(&close, ms(2)), nothing);
    // But a host that has no shadow says so.
    let gone = tells(Record::Gone(ID, Gone::Ended));
    assert_eq!(primary().on_record(&Record::Query(ID, c(0)), ms(2)), gone);
}

#[test]
fn shadow_is_opened_once() {
    let mut there = shadow();
    let Opening {
        shadow, actions, ..
    } = open(Some(&mut there), &plain_open(), ms(1));
    assert!(shadow.is_none());
    let Some(Record::Progress(progress)) = actions.record else {
        panic!("{actions:?}");
    };
    assert_eq!((progress.rcv_nxt, progress.snd_nxt), (c(0), p(0)));
    assert_eq!(actions, tells(Record::Progress(progress)));
}

#[test]
fn late_word_of_an_earlier_connection_takes_nothings_place() {
    let mut earlier = plain_open();
    earlier.id = ConnectionId(ID.0 - 1);
    let mut side = shadow();
    let late = open(Some(&mut side), &earlier, ms(1));
    assert!(late.shadow.is_none());
    assert_eq!(late.actions, tells(Record::Gone(earlier.id, Gone::Ended)));
    // What another primary has left is in nobody's way, whatever its name.
    side.end_session(Counter::UnprotectedBackupLost, Peer::Joined, ms(2));
    let opening = open(Some(&mut side), &earlier, ms(3));
    assert_eq!(opening.shadow.unwrap().id(), Some(earlier.id));
}

#[test]
fn only_waiting_segments_are_inherited() {
    let earlier = |mut side: Side| {
        let mut later = plain_open();
        later.id = ConnectionId(ID.0 + 1);
        let opening = open(Some(&mut side), &later, ms(1));
        assert_eq!(opening.shadow.unwrap().id(), Some(later.id));
        assert!(opening.actions.inject.unwrap().opens());
        assert_eq!(
            (opening.actions.count, opening.actions.also),
            (Some(Counter::ShadowsOpened), None)
        );
        opening.inherits
    };
    assert!(earlier(pending()));
    assert!(!earlier(shadow()));
    assert!(!earlier(primary()));
}

#[test]
fn syn_replaces_what_its_socket_gives_up() {
    let never = || panic!("nobody to ask about");
    assert!(is_fresh(None, &syn(CLIENT), never));
    assert!(is_fresh(Some(&primary()), &syn(CLIENT), || Socket::Gone));
    assert!(!is_fresh(Some(&primary()), &syn(CLIENT), || Socket::Live));
    // A shadow in the middle of its handshake, whose SYN is played again after a takeover.
    let side = opened();
    assert!(!is_fresh(Some(&side), &syn(CLIENT), never));
    assert!(is_fresh(Some(&side), &syn(CLIENT + 5), || Socket::Gone));
    assert!(is_fresh(Some(&shadow()), &syn(CLIENT), || Socket::TimeWait));
}

#[test]
fn early_segments_wait_a_second() {
    let data = seg(c(0), p(0)).data(1);
    assert!(early(&flow(), &data, false, ms(0)).is_none());
    assert!(early(&flow(), &seg(c(0), p(0)), true, ms(0)).is_none());
    for flag in [Flags::SYN, Flags::RST] {
        assert!(early(&flow(), &data.flag(flag), true, ms(0)).is_none());
    }
    let mut side = pending();
    assert!(side.is_embryonic());
    assert_eq!(side.id(), None);
    assert_eq!(
        side.on_client(&data, Peer::Joined, ms(1)),
        (Inbound::Queue, Actions::default())
    );
    assert_eq!(
        side.on_client(&seg(c(1), p(0)).rst(), Peer::Joined, ms(1))
            .0,
        Inbound::Queue
    );
    let (outbound, actions) = side.on_output(&seg(s(0), c(0)), ms(1));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::OutputMuted), None)
    );
    assert_eq!(side.poll_at(), Some(ms(1000)));
    assert_eq!(side.poll(ms(999), STALL_TIMEOUT, None), None);
    let expired = side.poll(ms(1000), STALL_TIMEOUT, None).unwrap();
    assert_eq!(
        (expired.count, expired.also),
        (Some(Counter::PendingExpired), None)
    );
    assert!(expired.remove);
}

#[test]
fn takeover_leaves_shadows_and_nothing_else() {
    assert!(
        primary()
            .take_over(|| ID, ms(1), Predecessor::default())
            .remove
    );
    assert!(
        pending()
            .take_over(|| ID, ms(1), Predecessor::default())
            .remove
    );
    let mut side = shadow();
    side.on_client(&seg(c(0), p(0)).data(10), Peer::Joined, ms(1));
    let actions = side.take_over(|| ID, ms(2), Predecessor::default());
    assert!(side.is_migrated() && actions.flush_held && !actions.remove);
    assert_eq!(
        (actions.count, actions.also),
        (
            Some(Counter::TakeoverContinued),
            Some(Counter::TakeoverAcks)
        )
    );
    let ack = actions.send.unwrap();
    assert_eq!((ack.seq, ack.ack), (p(0), c(0)));
}

/// The client's SYN and what follows it, as a backup hears them whose primary says nothing.
fn heard(segments: &[Segment]) -> Side {
    let opening = syn(CLIENT).options(linux(500, 0, 7)).window(900);
    let mut side = early(&flow(), &opening, true, ms(0)).unwrap();
    assert_eq!(
        side.on_client(&opening, Peer::Joined, ms(0)).0,
        Inbound::Drop(Counter::SynsHeard)
    );
    for segment in segments {
        assert_eq!(
            side.on_client(segment, Peer::Joined, ms(10)).0,
            Inbound::until_ready(segment)
        );
    }
    side
}

#[test]
fn client_that_waits_for_the_server_is_asked() {
    let before = Predecessor {
        silence: Duration::from_millis(300),
        ..Predecessor::default()
    };
    let mut side = heard(&[]);
    let actions = side.take_over(|| ID, ms(300), before);
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::TakeoverAsked), None)
    );
    let asked = actions.send.unwrap();
    // A client without a SYN-ACK must take it for nothing; any other has one of the two outside its window.
    assert_eq!((asked.flags, asked.ack), (Flags::ACK, c(0)));
    assert_eq!(side.poll_at(), Some(ms(900)));
    let again = side
        .poll(ms(900), Duration::ZERO, None)
        .unwrap()
        .send
        .unwrap();
    assert_eq!(again.seq.since(asked.seq), i32::MIN);
    // It says where it stands.
    let third = seg(c(0), p(0)).timestamps(510, 9000);
    let (inbound, actions) = side.on_client(&third, Peer::Absent, ms(901));
    assert_eq!(inbound, Inbound::Ignore);
    assert_eq!(
        (actions.count, actions.also),
        (
            Some(Counter::TakeoverContinued),
            Some(Counter::TakeoverGuessed)
        )
    );
    assert!(actions.inject.unwrap().opens() && side.is_migrated());
    assert_eq!(side.id(), Some(ID));
}

#[test]
fn client_is_not_asked_for_ever() {
    let mut side = heard(&[]);
    side.take_over(|| ID, ms(300), Predecessor::default());
    for at in [900, 1500] {
        assert!(side
            .poll(ms(at), Duration::ZERO, None)
            .unwrap()
            .send
            .is_some());
    }
    let over = side.poll(ms(2100), Duration::ZERO, None).unwrap();
    assert!(over.remove && over.send.is_none());
    // One that has sent what did not come by: the server may have answered that.
    let mut side = heard(&[]);
    side.take_over(|| ID, ms(300), Predecessor::default());
    side.on_client(&seg(c(7), p(0)), Peer::Absent, ms(301));
    assert!(!side.is_migrated());
    assert!(side.poll(ms(900), Duration::ZERO, None).unwrap().remove);
    // Nor one whose primary would have told of it, had it lived.
    let mut side = heard(&[]);
    assert!(
        side.take_over(|| ID, ms(1001), Predecessor::default())
            .remove
    );
}

#[test]
fn client_tells_what_a_dead_primary_did_not() {
    let third = seg(c(0), p(0)).timestamps(510, 9000);
    let mut side = heard(&[third, third.data(20)]);
    assert_eq!(side.poll_at(), Some(ms(1000)));
    let actions = side.take_over(|| ID, ms(200), Predecessor::default());
    assert!(side.is_migrated() && !side.is_embryonic());
    assert_eq!(side.id(), Some(ID));
    assert_eq!(
        (actions.count, actions.also),
        (
            Some(Counter::TakeoverContinued),
            Some(Counter::TakeoverGuessed)
        )
    );
    // This host's stack hears what the client said to the primary's.
    let asked = actions.inject.unwrap();
    let offered = linux(500, 0, 7);
    assert!(asked.opens() && !actions.flush_held && !actions.remove);
    assert_eq!((asked.seq, asked.window), (seq(CLIENT), 900));
    assert_eq!(asked.options.mss, offered.mss);
    assert_eq!(asked.options.window_scale, offered.window_scale);
    assert_eq!(asked.options.timestamps.unwrap().tsval, 500);
    assert!(asked.options.sack_permitted);
    // Its answer is swallowed; what was kept goes in, and what comes out is in the primary's numbers, clock and scale.
    let answer = syn_ack(SHADOW).options(linux(70_000, 500, 9));
    let (outbound, actions) = side.on_output(&answer, ms(201));
    assert_eq!(outbound, Outbound::Swallow);
    assert!(actions.release_queue);
    let said = seg(s(0), c(20)).data(5).window(400).timestamps(70_009, 510);
    let (outbound, _) = side.on_output(&said, ms(210));
    let Outbound::Send(change) = outbound else {
        panic!("{outbound:?}")
    };
    assert_eq!((change.seq, change.window), (Some(p(0)), Some(400)));
    // 9000 was ten milliseconds after the start, and this is 200 later.
    assert_eq!(change.tsval, Some(9000 + 200));
}

/// How long a handshake is remembered whose primary was last heard so many milliseconds before it is looked at.
fn remembered(mut side: Side, silence: u64) -> u64 {
    loop {
        let now = side.poll_at().unwrap();
        let heard = Instant::from_nanos(now.as_nanos().saturating_sub(silence * 1_000_000));
        let actions = side.poll(now, STALL_TIMEOUT, Some(heard)).unwrap();
        if actions.remove {
            assert_eq!(
                (actions.count, actions.also),
                (Some(Counter::PendingExpired), None)
            );
            return now.as_nanos() / 1_000_000;
        }
        assert_eq!(actions, Actions::default());
    }
}

#[test]
fn handshake_is_remembered_while_its_primary_is_silent() {
    let third = seg(c(0), p(0)).timestamps(510, 9000);
    // Its word would have come: the connection is over, and its end has overtaken the SYN.
    assert_eq!(remembered(heard(&[]), 5), 2000);
    assert_eq!(remembered(heard(&[third]), 5), 2000);
    // It may be dead, and this host does not know yet.
    assert_eq!(remembered(heard(&[]), 15_000), 17_000);
    assert_eq!(remembered(heard(&[third]), 15_000), 17_000);
    assert_eq!(remembered(heard(&[third]), 70_000), 60_000);
    // A client that has no answer asks again.
    let mut side = heard(&[]);
    side.on_client(&syn(CLIENT), Peer::Joined, ms(990));
    let actions = side.poll(ms(1000), STALL_TIMEOUT, Some(ms(999))).unwrap();
    assert_eq!(actions, Actions::default());
    side.on_client(&syn(CLIENT + 9), Peer::Joined, ms(1500));
    let silent = Predecessor {
        silence: Duration::from_millis(100),
        ..Predecessor::default()
    };
    assert!(side.take_over(|| ID, ms(2000), silent).send.is_some());
}

#[test]
fn guess_agrees_to_what_this_stack_does() {
    let third = seg(c(0), p(0)).timestamps(510, 9000);
    for declined in [
        Options {
            window_scale: None,
            ..linux(70_000, 500, 9)
        },
        Options {
            sack_permitted: false,
            ..linux(70_000, 500, 9)
        },
    ] {
        let mut side = heard(&[third]);
        side.take_over(|| ID, ms(200), Predecessor::default());
        let (_, actions) = side.on_output(&syn_ack(SHADOW).options(declined), ms(201));
        let scale = declined.window_scale.map_or(0, |_| 7);
        let ack = actions.inject.unwrap();
        assert_eq!((ack.flags, ack.window), (Flags::ACK, 900 >> scale));
        let said = seg(s(0), c(0)).data(5).window(400).timestamps(70_009, 510);
        let (outbound, _) = side.on_output(&said, ms(210));
        let Outbound::Send(change) = outbound else {
            panic!("{outbound:?}")
        };
        assert_eq!((change.seq, change.window), (Some(p(0)), Some(400)));
    }
    // Of timestamps the client has told already.
    let mut side = heard(&[third]);
    side.take_over(|| ID, ms(200), Predecessor::default());
    let without = Options {
        timestamps: None,
        ..linux(70_000, 500, 9)
    };
    let (_, actions) = side.on_output(&syn_ack(SHADOW).options(without), ms(201));
    assert_eq!(actions.count, Some(Counter::TakeoverReset));
}

#[test]
fn no_guess_without_the_whole_handshake() {
    let third = seg(c(0), p(0)).timestamps(510, 9000);
    // Nothing from the beginning on; a server that has spoken; data without a SYN; options that no shadow has.
    let mut gap = heard(&[seg(c(5), p(0)).timestamps(510, 9000), third]);
    let mut on = heard(&[third, seg(c(20), p(5)).timestamps(520, 9010)]);
    let mut late = pending();
    let signed = syn(CLIENT).options(Options {
        md5: true,
        ..Options::default()
    });
    let mut other = early(&flow(), &signed, true, ms(0)).unwrap();
    other.on_client(&third, Peer::Joined, ms(1));
    for side in [&mut gap, &mut on, &mut late, &mut other] {
        let actions = side.take_over(|| ID, ms(20), Predecessor::default());
        assert!(actions.remove && actions.inject.is_none(), "{side:?}");
    }
    // A primary that lived for a second more would have told.
    for (silence, guesses) in [(500, false), (2000, true)] {
        let mut side = heard(&[third]);
        let before = Predecessor {
            silence: Duration::from_millis(silence),
            ..Predecessor::default()
        };
        let actions = side.take_over(|| ID, ms(2500), before);
        assert_eq!(actions.inject.is_some(), guesses);
    }
    // The word of the primary is better; that of another connection is another connection's.
    let mut side = heard(&[third.data(5)]);
    let opening = open(Some(&mut side), &plain_open(), ms(20));
    assert!(opening.inherits && opening.shadow.is_some());
    let earlier = Open {
        client_isn: seq(CLIENT - 100),
        ..plain_open()
    };
    assert!(!open(Some(&mut side), &earlier, ms(20)).inherits);
}

#[test]
fn session_that_ends_leaves_the_primary_alone_and_no_shadow() {
    let why = Counter::UnprotectedBackupLost;
    let mut side = primary();
    assert_eq!(side.end_session(why, Peer::Absent, ms(2)).count, Some(why));
    let mut side = shadow();
    let actions = side.end_session(why, Peer::Absent, ms(2));
    assert!(actions.clear_queue);
    assert!(actions.inject.unwrap().flags.contains(Flags::RST));
    // A shadow that speaks is the primary's now.
    let mut side = shadow();
    side.take_over(|| ID, ms(1), Predecessor::default());
    assert_eq!(
        side.end_session(why, Peer::Absent, ms(2)),
        Actions::default()
    );
}

#[test]
fn who_steps_down_is_silent() {
    assert!(pending().step_down(ms(2)).remove);
    for mut side in [primary(), shadow()] {
        let actions = side.step_down(ms(2));
        assert!(matches!(side, Side::Shadow(_)) && !side.is_migrated());
        assert!(actions.clear_queue && !actions.remove && actions.send.is_none());
    }
}

#[test]
fn who_leaves_resets_what_lives_by_translation() {
    assert_eq!(primary().leave(ms(2)), Actions::default());
    let reset = |segment: Option<Segment>| segment.unwrap().flags.contains(Flags::RST);
    let mut side = shadow();
    let actions = side.leave(ms(2));
    assert!(reset(actions.inject) && actions.send.is_none());
    let mut side = shadow();
    side.take_over(|| ID, ms(1), Predecessor::default());
    let actions = side.leave(ms(2));
    assert!(reset(actions.inject) && reset(actions.send));
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::MigratedReset), None)
    );
}

#[test]
fn shortage_of_memory() {
    // The primary's connection goes on unprotected; a shadow's socket sends again.
    let mut side = primary();
    assert_eq!(
        side.not_sent(ms(2)).count,
        Some(Counter::UnprotectedNoMemory)
    );
    assert_eq!(shadow().not_sent(ms(2)), Actions::default());
    let mut side = shadow();
    let (outbound, mut actions) = side.on_output(&seg(s(0), c(0)).data(60), ms(2));
    assert_eq!(outbound, Outbound::Hold(p(0), p(60)));
    side.not_held(p(0), &mut actions, ms(2));
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::NoMemory), None)
    );
    let mut side = opening();
    let (outbound, mut actions) = side.on_output(&seg(p(0), c(0)).data(60), ms(2));
    assert_eq!(outbound, Outbound::Hold(p(0), p(60)));
    side.not_held(p(0), &mut actions, ms(2));
    assert_eq!(actions.count, Some(Counter::UnprotectedNoMemory));
    assert!(!actions.flush_held);
    let confirmed = Record::Gone(ID, Gone::Ended);
    assert!(side.on_record(&confirmed, ms(3)).flush_held);
}

#[test]
fn notes_are_void_when_the_session_ends_or_the_primary_goes_on_alone() {
    let third = seg(c(0), p(0)).timestamps(510, 9000);
    let mut side = heard(&[third]);
    let alone = Record::Close(ID, Close::Unprotected);
    assert!(side.is_void_by(&alone));
    assert!(!side.is_void_by(&Record::Close(ID, Close::Ended)));
    assert!(!shadow().is_void_by(&alone));
    let why = Counter::UnprotectedBackupLost;
    assert!(side.end_session(why, Peer::Joined, ms(11)).remove);
}
