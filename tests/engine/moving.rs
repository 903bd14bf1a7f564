// SPDX-License-Identifier: GPL-2.0

//! The server fails on one connection, and the backup goes on with that alone (`app_failure=connection`).

mod common;
mod script;

use script::{
    c, flow, ms, p, plain_open, s, seg, syn, syn_ack, Script, CLIENT, ID, PRIMARY, SHADOW,
};
use std::time::Duration;
use sttcp::{
    actions::Actions,
    counters::Counter,
    message::{Close, Gone, Progress, Record},
    node::{Peer, Predecessor},
    primary::{Moves, Policy, Socket, Terms, STALL_TIMEOUT},
    program::{Failure, Scope, Watch},
    side::{open, unknown, Side},
    verdict::{Inbound, Outbound},
    wire::{Flags, Segment},
};

const MOVE: Record = Record::Move(ID);
const MOVED: Record = Record::Moved(ID);
const GONE: Record = Record::Gone(ID, Gone::Ended);

fn primary_with(policy: Policy) -> Side {
    let terms = Terms {
        policy,
        watch: Watch {
            scope: Scope::Connection,
            hold_ms: 200,
            lag_ms: 1000,
            lag_bytes: 0,
        },
        ..Terms::default()
    };
    let mut side = Side::from_syn(ID, flow(), &syn(CLIENT), terms, ms(0)).unwrap();
    side.on_output(&syn_ack(PRIMARY).window(5000), ms(0));
    side.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    side.on_record(&progress(0, 0), ms(0));
    side
}

fn primary() -> Side {
    primary_with(Policy::Gated)
}

fn progress(rcv: u32, snd: u32) -> Record {
    Record::Progress(Progress {
        id: ID,
        rcv_nxt: c(rcv),
        snd_nxt: p(snd),
        edge: c(1 << 20),
        fin: false,
    })
}

fn shadow() -> Side {
    let mut side = open(None, &plain_open(), ms(0)).shadow.unwrap();
    side.on_output(&syn_ack(SHADOW), ms(0));
    side
}

/// The primary's server ends its stream after 10 bytes, and the shadow has sent more.
fn fails(side: &mut Side) -> Actions {
    side.on_output(&seg(p(0), c(0)).data(10), ms(1));
    let (outbound, actions) = side.on_output(&seg(p(10), c(0)).fin(), ms(2));
    assert_eq!(outbound, Outbound::Swallow);
    assert!(matches!(actions.record, Some(Record::Query(..))));
    side.on_record(&progress(0, 20), ms(3))
}

fn before() -> Predecessor {
    Predecessor {
        silence: Duration::from_nanos(1),
        ..Predecessor::default()
    }
}

fn is_silent(actions: &Actions) -> bool {
    actions.send.is_none() && !actions.flush_held
}

/// A primary's side of a connection that the backup carries.
fn moved() -> Side {
    let mut side = primary();
    fails(&mut side);
    let actions = side.on_record(&MOVED, ms(5));
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::ConnectionsMoved), None)
    );
    // The socket here ends, without a word to the client.
    assert!(actions.inject.unwrap().flags.contains(Flags::RST));
    assert!(is_silent(&actions) && actions.clear_queue && !actions.remove);
    side
}

/// And the backup's.
fn carried() -> Side {
    let mut side = shadow();
    side.on_output(&seg(s(0), c(0)).data(20), ms(1));
    let actions = side.carry(ID, ms(4), before());
    assert_eq!(actions.record, Some(MOVED));
    assert_eq!(
        (actions.count, actions.also),
        (Some(Counter::ConnectionsTaken), None)
    );
    assert!(actions.flush_held && side.is_carried() && side.is_migrated());
    side
}

#[test]
fn failure_moves_the_connection_and_not_the_node() {
    let mut side = primary();
    let actions = fails(&mut side);
    assert_eq!(actions.failed, None);
    assert_eq!(actions.moves, Some(Failure::Ended));
    assert_eq!(actions.record, Some(MOVE));
    assert_eq!(actions.count, Some(Counter::ServersEnded));
    assert!(is_silent(&actions));
    // Nothing more is said here, whatever the stack says, and the backup's answer is waited for.
    let said = [
        seg(p(11), c(0)),
        seg(p(10), c(0)).fin(),
        seg(p(11), c(0)).rst(),
        seg(p(0), c(0)).data(10),
    ];
    for segment in said {
        let (outbound, actions) = side.on_output(&segment, ms(4));
        assert_eq!(outbound, Outbound::Swallow);
        assert!(is_silent(&actions));
    }
    let (inbound, actions) = side.on_client(&seg(c(0), p(10)).data(5), Peer::Joined, ms(4));
    assert!(matches!(inbound, Inbound::Pass(_)) && is_silent(&actions));
    let mut asked = 0;
    while let Some(at) = side.poll_at().filter(|at| *at < ms(1000)) {
        let actions = side.poll(at, STALL_TIMEOUT, None).unwrap();
        assert!(is_silent(&actions));
        asked += u32::from(actions.record == Some(MOVE));
        if actions.check_socket {
            assert_eq!(side.on_socket(Socket::Gone, at), Actions::default());
        }
    }
    assert!(asked >= 10);
}

#[test]
fn hung_server_moves_its_connection_too() {
    let mut side = primary();
    side.on_record(&progress(0, 20), ms(1));
    let mut moved = None;
    for at in 0..4000 {
        let actions = side.poll(ms(at), STALL_TIMEOUT, None).unwrap_or_default();
        if matches!(actions.record, Some(Record::Query(..))) {
            side.on_record(&progress(0, 20), ms(at));
        }
        moved = moved.or(actions.moves.map(|failure| (failure, actions.record)));
    }
    assert_eq!(moved, Some((Failure::Hung, Some(MOVE))));
}

#[test]
fn eager_primary_moves_no_connection_before_the_backup_has_all() {
    let mut side = primary_with(Policy::Eager);
    let segment = seg(c(0), p(0)).data(100);
    assert!(side.on_client(&segment, Peer::Joined, ms(0)).1.retain);
    side.on_retained(&segment, 400);
    side.on_output(&seg(p(0), c(100)), ms(1));
    side.on_output(&seg(p(0), c(100)).data(10), ms(1));
    side.on_output(&seg(p(10), c(100)).fin(), ms(2));
    let actions = side.on_record(&progress(0, 20), ms(3));
    assert_eq!(actions.moves, Some(Failure::Ended));
    assert!(matches!(actions.record, Some(Record::Query(..))) && actions.resend.is_some());
    let actions = side.on_record(&progress(100, 20), ms(4));
    assert_eq!(actions.record, Some(MOVE));
}

#[test]
fn backup_goes_on_and_says_so_as_often_as_it_is_asked() {
    let mut side = carried();
    let again = side.carry(ID, ms(5), before());
    assert_eq!((again.record, is_silent(&again)), (Some(MOVED), true));
    let (outbound, _) = side.on_output(&seg(s(20), c(0)).data(5), ms(6));
    let Outbound::Send(rewrite) = outbound else {
        panic!("{outbound:?}");
    };
    assert_eq!(rewrite.seq, Some(p(20)));
    // A word of the primary that came late changes nothing.
    side.on_record(&Record::Close(ID, Close::Unprotected), ms(7));
    assert!(side.is_carried());
    // The node takes over: the connection is one of its own from then on.
    let actions = side.take_over(|| ID, ms(8), Predecessor::default());
    assert!(!side.is_carried() && side.is_migrated() && !actions.remove);
    assert_eq!((actions.count, actions.also), (None, None));
}

#[test]
fn backup_without_a_shadow_says_so_and_the_client_hears_of_the_end() {
    assert_eq!(unknown(&MOVE), Some(GONE));
    let mut doomed = shadow();
    doomed.on_record(&Record::Close(ID, Close::Unprotected), ms(1));
    assert_eq!(doomed.carry(ID, ms(2), before()).record, Some(GONE));
    let mut side = primary();
    fails(&mut side);
    let actions = side.on_record(&GONE, ms(5));
    let fin = actions.send.unwrap();
    assert_eq!((fin.seq, fin.flags), (p(10), Flags::FIN | Flags::ACK));
    assert!(!actions.remove);
}

#[test]
fn different_server_does_not_go_on_if_it_is_told_so() {
    use sttcp::digest::{Difference, Word};
    let mut side = shadow();
    let difference = Difference {
        from: p(0),
        to: p(9),
    };
    side.on_record(&Record::Compare(ID, Word::Diverged(difference)), ms(1));
    let strict = Predecessor {
        strict: true,
        ..before()
    };
    let actions = side.carry(ID, ms(2), strict);
    assert_eq!(actions.record, Some(GONE));
    assert_eq!(actions.count, Some(Counter::TakeoverDiverged));
    assert!(!side.is_carried());
}

#[test]
fn primary_keeps_quiet_about_what_the_backup_carries() {
    let mut side = moved();
    assert!(!side.is_migrated() && !side.speaks());
    let segment = seg(c(0), p(15)).data(5);
    let (inbound, actions) = side.on_client(&segment, Peer::Joined, ms(6));
    assert_eq!((inbound, actions), (Inbound::Ignore, Actions::default()));
    let (outbound, actions) = side.on_output(&seg(p(11), c(0)).rst(), ms(6));
    assert_eq!(outbound, Outbound::Swallow);
    assert!(is_silent(&actions));
    // Its own reset, and a client's, reach the socket.
    let (inbound, _) = side.on_client(&seg(c(0), p(11)).flag(Flags::RST), Peer::Joined, ms(6));
    assert!(matches!(inbound, Inbound::Pass(_)));
    // The socket is gone, the connection is not.
    assert_eq!(side.on_socket(Socket::Gone, ms(7)), Actions::default());
    assert_eq!(side.poll_at(), None);
    assert_eq!(side.moves(true), Moves::Now);
    // Once in a while the backup is asked whether it is over.
    let asked = side.sweep(ms(40_000)).record;
    assert!(matches!(asked, Some(Record::Query(..))));
    assert_eq!(
        side.on_record(&progress(5, 30), ms(40_001)),
        Actions::default()
    );
    assert!(side.on_record(&GONE, ms(40_002)).remove);
}

#[test]
fn client_is_reset_when_who_carried_its_connection_is_lost() {
    let mut side = moved();
    side.on_client(&seg(c(0), p(15)), Peer::Joined, ms(6));
    let actions = side.end_session(Counter::UnprotectedBackupLost, Peer::Absent, ms(7));
    let reset = actions.send.unwrap();
    assert!(reset.flags.contains(Flags::RST) && actions.remove);
    assert_eq!(reset.seq, p(15));
    assert_eq!(actions.count, Some(Counter::MovedReset));
}

#[test]
fn primary_is_told_when_the_connection_is_over() {
    let mut side = carried();
    let actions = side.on_socket(Socket::Gone, ms(9));
    assert_eq!((actions.record, actions.remove), (Some(GONE), true));
    // Nor does the end of the primary's session end what is carried.
    let mut side = carried();
    let actions = side.end_session(Counter::UnprotectedBackupLost, Peer::Absent, ms(9));
    assert_eq!(actions, Actions::default());
    assert!(side.is_carried());
    // That of the role does.
    let reset: Segment = side.leave(ms(10)).send.unwrap();
    assert!(reset.flags.contains(Flags::RST));
}
