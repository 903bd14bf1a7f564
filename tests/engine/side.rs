// SPDX-License-Identifier: GPL-2.0

//! Who hears of what: events for a side that there is, for none, and for one of the other kind.

mod common;
mod script;

use script::{
    c, flow, ms, p, plain_open, s, seg, syn, syn_ack, Script, CLIENT, ID, PRIMARY, SHADOW,
};
use sttcp::{
    counters::Counter,
    message::{Close, Gone, Progress, Record},
    node::{Predecessor, Role},
    primary::{ConnectionId, Socket, Terms, STALL_TIMEOUT},
    rewrite::Rewrite,
    shadow::Inbound,
    side::{early, is_fresh, open, unknown, Actions, Opening, Outbound, Side},
    wire::{Flags, Segment},
};

fn opening() -> Side {
    let mut side = Side::from_syn(ID, flow(), &syn(CLIENT), Terms::default(), ms(0)).unwrap();
    let (outbound, _) = side.on_output(&syn_ack(PRIMARY).window(500), ms(0));
    assert_eq!(outbound, Outbound::SendAnyway(Rewrite::default()));
    assert!(side.is_embryonic());
    let (inbound, actions) = side.on_client(&seg(c(0), p(0)), true, ms(0));
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
    early(&seg(c(0), p(0)).data(1), true, ms(0)).unwrap()
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
    assert_eq!(
        unknown(&Record::Progress(progress())),
        Some(Record::Close(ID, Close::Ended))
    );
    // No answer to an answer.
    assert_eq!(unknown(&Record::Close(ID, Close::Ended)), None);
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
fn only_waiting_segments_are_inherited() {
    let earlier = |mut side: Side| {
        let mut later = plain_open();
        later.id = ConnectionId(ID.0 + 1);
        let opening = open(Some(&mut side), &later, ms(1));
        assert_eq!(opening.shadow.unwrap().id(), Some(later.id));
        assert!(opening.actions.inject.unwrap().opens());
        assert_eq!(opening.actions.counts, [Some(Counter::ShadowsOpened), None]);
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
    assert!(early(&data, false, ms(0)).is_none());
    assert!(early(&seg(c(0), p(0)), true, ms(0)).is_none());
    for flag in [Flags::SYN, Flags::RST] {
        assert!(early(&data.flag(flag), true, ms(0)).is_none());
    }
    let mut side = pending();
    assert!(side.is_embryonic());
    assert_eq!(side.id(), None);
    assert_eq!(
        side.on_client(&data, true, ms(1)),
        (Inbound::Queue, Actions::default())
    );
    let (outbound, actions) = side.on_output(&seg(s(0), c(0)), ms(1));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.counts, [Some(Counter::OutputMuted), None]);
    assert_eq!(side.poll_at(), Some(ms(1000)));
    assert_eq!(side.poll(ms(999), STALL_TIMEOUT), None);
    let expired = side.poll(ms(1000), STALL_TIMEOUT).unwrap();
    assert_eq!(expired.counts, [Some(Counter::PendingExpired), None]);
    assert!(expired.remove);
}

#[test]
fn takeover_leaves_shadows_and_nothing_else() {
    assert!(primary().take_over(ms(1), Predecessor::default()).remove);
    assert!(pending().take_over(ms(1), Predecessor::default()).remove);
    let mut side = shadow();
    side.on_client(&seg(c(0), p(0)).data(10), true, ms(1));
    let actions = side.take_over(ms(2), Predecessor::default());
    assert!(side.is_migrated() && actions.flush_held && !actions.remove);
    assert_eq!(
        actions.counts,
        [
            Some(Counter::TakeoverContinued),
            Some(Counter::TakeoverAcks)
        ]
    );
    let ack = actions.send.unwrap();
    assert_eq!((ack.seq, ack.ack), (p(0), c(0)));
}

#[test]
fn session_that_ends_leaves_the_primary_alone_and_no_shadow() {
    let why = Counter::UnprotectedBackupLost;
    let mut side = primary();
    assert_eq!(side.end_session(why, ms(2)).counts[0], Some(why));
    let mut side = shadow();
    let actions = side.end_session(why, ms(2));
    assert!(actions.clear_queue);
    assert!(actions.inject.unwrap().flags.contains(Flags::RST));
    // A shadow that speaks is the primary's now.
    let mut side = shadow();
    side.take_over(ms(1), Predecessor::default());
    assert_eq!(side.end_session(why, ms(2)), Actions::default());
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
    side.take_over(ms(1), Predecessor::default());
    let actions = side.leave(ms(2));
    assert!(reset(actions.inject) && reset(actions.send));
    assert_eq!(actions.counts, [Some(Counter::MigratedReset), None]);
}

#[test]
fn shortage_of_memory() {
    // The primary's connection goes on unprotected; a shadow's socket sends again.
    let mut side = primary();
    assert_eq!(
        side.not_sent(ms(2)).counts[0],
        Some(Counter::UnprotectedNoMemory)
    );
    assert_eq!(shadow().not_sent(ms(2)), Actions::default());
    let mut side = shadow();
    let (outbound, mut actions) = side.on_output(&seg(s(0), c(0)).data(60), ms(2));
    assert_eq!(outbound, Outbound::Hold(p(0), p(60)));
    side.not_held(p(0), &mut actions, ms(2));
    assert_eq!(actions.counts, [Some(Counter::NoMemory), None]);
    let mut side = opening();
    let (outbound, mut actions) = side.on_output(&seg(p(0), c(0)).data(60), ms(2));
    assert_eq!(outbound, Outbound::Hold(p(0), p(60)));
    side.not_held(p(0), &mut actions, ms(2));
    assert_eq!(actions.counts[0], Some(Counter::UnprotectedNoMemory));
    assert!(actions.flush_held);
}
