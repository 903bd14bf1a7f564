// SPDX-License-Identifier: GPL-2.0

//! Scripts for a connection on the primary: what the client and the server send, what the backup says, and what reaches the client.

mod common;
mod script;

use script::{c, flow, linux, ms, p, plain_open, seg, syn, syn_ack, Script, CLIENT, ID, PRIMARY};
use std::time::Duration;
use sttcp::{
    actions::Actions,
    counters::Counter,
    message::{Close, Gone, Open, Progress, Record, Span, MAX_BYTES},
    node::Peer,
    primary::{
        plain_handshake, Census, Connection, Moves, Policy, Socket, State, Terms, STALL_TIMEOUT,
    },
    program::Watch,
    rewrite::{Blank, Rewrite, SackRewrite},
    seq::SeqNumber,
    verdict::Outbound,
    wire::{Flags, Options, Segment, Timestamps},
};

const CLOSE: Option<Record> = Some(Record::Close(ID, Close::Unprotected));

fn half_open() -> Connection {
    let mut connection =
        Connection::from_syn(ID, flow(), &syn(CLIENT), Terms::default(), ms(0)).unwrap();
    connection.on_syn_ack(&syn_ack(PRIMARY).window(500), ms(0));
    connection
}

fn opening() -> Connection {
    let mut connection = half_open();
    let actions = connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    assert_eq!(actions.record, Some(Record::Open(plain_open())));
    connection
}

/// The shadow's window is wide.
fn progress(rcv: u32, snd: u32) -> Progress {
    Progress {
        id: ID,
        rcv_nxt: c(rcv),
        snd_nxt: p(snd),
        edge: c(1 << 20),
        fin: false,
    }
}

/// The same of one whose FIN is the last that it has sent.
fn finished(rcv: u32, snd: u32) -> Progress {
    Progress {
        fin: true,
        ..progress(rcv, snd)
    }
}

fn protected() -> Connection {
    let mut connection = opening();
    let actions = connection.on_progress(&progress(0, 0), ms(1));
    assert_eq!(actions.count, Some(Counter::Protected));
    assert_eq!(connection.state(), State::Protected);
    connection
}

/// The handshake with these options; the primary's word of it.
fn word(syn: Segment, syn_ack: Segment) -> Open {
    let mut connection = Connection::from_syn(ID, flow(), &syn, Terms::default(), ms(0)).unwrap();
    connection.on_syn_ack(&syn_ack, ms(100));
    let ack = seg(c(0), syn_ack.seq + 1);
    match connection.on_client(&ack, Peer::Joined, ms(130)).record {
        Some(Record::Open(open)) => open,
        other => panic!("{other:?}"),
    }
}

/// The segment goes out unchanged.
fn unchanged(sent: (Outbound, Actions)) {
    assert_eq!(
        sent,
        (Outbound::Send(Rewrite::default()), Actions::default())
    );
}

/// The segment goes out with this acknowledgement and window.
fn gated(sent: (Outbound, Actions), ack: SeqNumber, window: u16) {
    let rewrite = Rewrite {
        ack: Some(ack),
        window: Some(window),
        ..Rewrite::default()
    };
    assert_eq!(sent.0, Outbound::Send(rewrite));
    assert_eq!(sent.1.count, Some(Counter::AcksGated));
}

fn swallowed(sent: (Outbound, Actions)) {
    assert_eq!(sent.0, Outbound::Swallow);
    assert_eq!(sent.1.count, Some(Counter::AcksSwallowed));
}

#[test]
fn backup_is_told_when_the_handshake_is_through() {
    let mut connection = half_open();
    assert_eq!(connection.state(), State::HalfOpen);
    assert_eq!(connection.poll_at(), None);
    let actions = connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    assert_eq!(actions.record, Some(Record::Open(plain_open())));
    assert_eq!(connection.state(), State::Opening);
    // Once is enough: the rest is up to the timer.
    let kept = Actions {
        retain: true,
        ..Actions::default()
    };
    assert_eq!(
        connection.on_client(&seg(c(0), p(0)).data(9), Peer::Joined, ms(1)),
        kept
    );
}

#[test]
fn data_in_place_of_the_third_segment() {
    let mut connection = half_open();
    let actions = connection.on_client(&seg(c(0), p(0)).data(100), Peer::Joined, ms(0));
    assert!(matches!(actions.record, Some(Record::Open(_))));
}

#[test]
fn third_segment_must_acknowledge_the_syn_ack() {
    let mut connection = half_open();
    for ack in [p(0) - 1, p(1)] {
        assert_eq!(
            connection.on_client(&seg(c(0), ack), Peer::Joined, ms(0)),
            Actions::default()
        );
    }
    let mut early =
        Connection::from_syn(ID, flow(), &syn(CLIENT), Terms::default(), ms(0)).unwrap();
    assert_eq!(
        early.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0)),
        Actions::default()
    );
    assert_eq!(early.state(), State::HalfOpen);
}

#[test]
fn repeated_syn_ack_changes_nothing() {
    let mut connection = half_open();
    connection.on_syn_ack(&syn_ack(PRIMARY).window(500), ms(900));
    let actions = connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(901));
    assert_eq!(actions.record, Some(Record::Open(plain_open())));
    connection.on_syn_ack(&syn_ack(77), ms(902));
    connection.on_progress(&progress(0, 0), ms(903));
    unchanged(connection.on_server(&seg(p(0), c(0)).data(5), ms(903)));
}

#[test]
fn open_names_what_both_sides_agreed_on() {
    let open = word(
        syn(CLIENT).options(linux(500, 0, 7)),
        syn_ack(PRIMARY).options(linux(9000, 500, 10)),
    );
    assert_eq!(
        open,
        Open {
            mss: 1460,
            window_scale: Some((7, 10)),
            sack: true,
            // The primary's clock went on by 30 ms since its SYN-ACK.
            timestamps: Some((500, 9030)),
            ..plain_open()
        }
    );
}

#[test]
fn open_leaves_out_what_one_side_did_not_offer() {
    let mss = Options {
        mss: Some(1460),
        ..Options::default()
    };
    let full = linux(500, 0, 7);
    let expected = Open {
        mss: 1460,
        ..plain_open()
    };
    assert_eq!(
        word(syn(CLIENT).options(full), syn_ack(PRIMARY).options(mss)),
        expected
    );
    assert_eq!(
        word(syn(CLIENT).options(mss), syn_ack(PRIMARY).options(full)),
        expected
    );
}

#[test]
fn ecn_takes_both_sides() {
    let offer = syn(CLIENT).flag(Flags::ECE | Flags::CWR);
    let accept = syn_ack(PRIMARY).flag(Flags::ECE);
    assert!(word(offer, accept).ecn);
    assert!(!word(offer, syn_ack(PRIMARY)).ecn);
    assert!(!word(syn(CLIENT), accept).ecn);
    assert!(!word(syn(CLIENT).flag(Flags::ECE), accept).ecn);
}

#[test]
fn signed_connections_are_refused() {
    let md5 = Options {
        md5: true,
        ..Options::default()
    };
    let ao = Options {
        ao: true,
        ..Options::default()
    };
    for (options, why) in [(md5, Counter::UnprotectedMd5), (ao, Counter::UnprotectedAo)] {
        let refused = Connection::from_syn(
            ID,
            flow(),
            &syn(CLIENT).options(options),
            Terms::default(),
            ms(0),
        );
        assert_eq!(refused.err(), Some(why));
    }
}

#[test]
fn handshake_is_made_plain() {
    let all = Options {
        fast_open: true,
        mptcp: true,
        ..linux(1, 0, 7)
    };
    let (rewrite, counters) = plain_handshake(&syn(CLIENT).flag(Flags::AE).options(all));
    assert_eq!(
        rewrite,
        Rewrite {
            blank: Blank {
                fast_open: true,
                mptcp: true
            },
            clear_ae: true,
            ..Rewrite::default()
        }
    );
    assert_eq!(
        counters.map(Option::unwrap),
        [
            Counter::FastOpenBlanked,
            Counter::MptcpBlanked,
            Counter::AccurateEcnCleared
        ]
    );
    let (rewrite, counters) = plain_handshake(&syn(CLIENT).options(linux(1, 0, 7)));
    assert!(rewrite.is_noop());
    assert_eq!(counters, [None; 3]);
}

#[test]
fn without_a_backup_it_is_plain_tcp() {
    let mut connection = half_open();
    let actions = connection.on_client(&seg(c(0), p(0)).data(100), Peer::Absent, ms(0));
    assert_eq!(actions.record, None);
    assert_eq!(actions.count, Some(Counter::UnprotectedNoBackup));
    unchanged(connection.on_server(&seg(p(0), c(100)), ms(1)));
    unchanged(connection.on_server(&seg(p(0), c(100)).data(50), ms(1)));
    assert_eq!(connection.on_socket(Socket::Gone, ms(20)).record, None);
}

#[test]
fn server_waits_for_the_shadow_with_what_it_says() {
    let greets = |connection: &mut Connection| {
        let held = connection.on_server(&seg(p(0), c(0)).data(20), ms(1));
        assert_eq!(held.0, Outbound::Hold(p(0), p(20)));
        assert_eq!(held.1.count, Some(Counter::OutputAwaitsShadow));
        // One copy is enough; a bare acknowledgement says nothing.
        let again = connection.on_server(&seg(p(0), c(0)).data(20), ms(200));
        assert_eq!(again, (Outbound::Swallow, Actions::default()));
        unchanged(connection.on_server(&seg(p(20), c(0)).window(500), ms(201)));
    };
    let mut connection = opening();
    greets(&mut connection);
    // When there is a shadow it is as if the server said it only now.
    swallowed(connection.on_server(&seg(p(20), c(100)).window(500), ms(202)));
    assert!(connection.on_progress(&progress(0, 0), ms(203)).flush_held);
    gated(
        connection.on_server(&seg(p(0), c(100)).data(20).window(500), ms(203)),
        c(0),
        600,
    );
    assert!(
        !connection
            .on_progress(&progress(100, 0), ms(204))
            .flush_held
    );
    assert!(
        !connection
            .unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(205))
            .flush_held
    );

    let mut refused = opening();
    greets(&mut refused);
    assert!(refused.on_gone(Gone::Refused, ms(202)).flush_held);
    unchanged(refused.on_server(&seg(p(0), c(0)).data(20), ms(203)));
    let mut forgotten = opening();
    greets(&mut forgotten);
    let mut now = ms(202);
    while !forgotten.poll(now, STALL_TIMEOUT).flush_held {
        now = forgotten.poll_at().unwrap();
    }
    assert_eq!(
        forgotten.state(),
        State::Unprotected(Counter::UnprotectedOpenTimeout)
    );
    let mut starved = opening();
    greets(&mut starved);
    assert!(!starved.starve(ms(202)).flush_held);
    assert!(starved.on_gone(Gone::Ended, ms(203)).flush_held);
}

#[test]
fn server_waits_until_a_lost_backup_must_know() {
    let unaware = Peer::Unaware(ms(500));
    let greeting = seg(p(0), c(0)).data(10);
    let hold = Outbound::Hold(p(0), p(10));
    // One that was opening when the backup fell silent, and one that came then.
    let mut old = opening();
    assert_eq!(old.on_server(&greeting, ms(1)).0, hold);
    assert!(
        !old.unprotect(Counter::UnprotectedBackupLost, unaware, ms(2))
            .flush_held
    );
    let mut new = half_open();
    new.on_client(&seg(c(0), p(0)), unaware, ms(2));
    assert_eq!(new.on_server(&greeting, ms(3)).0, hold);
    for connection in [&mut old, &mut new] {
        // Acknowledgements wait too: the backup may have missed what the client would never send again.
        swallowed(connection.on_server(&seg(p(10), c(20)), ms(4)));
        assert_eq!(connection.poll_at(), Some(ms(500)));
        let actions = connection.poll(ms(500), STALL_TIMEOUT);
        assert!(actions.flush_held);
        assert_eq!(actions.send.map(|ack| ack.ack), Some(c(20)));
        assert_eq!(connection.poll_at(), None);
        // It goes out as of now.
        let change = connection.outward_held(&seg(p(0), c(0)).data(70), ms(500));
        assert_eq!((change.ack, change.window), (Some(c(20)), Some(500)));
        unchanged(connection.on_server(&seg(p(10), c(20)).data(5), ms(501)));
    }
    // A backup that is none, and one that must know by now.
    for peer in [Peer::Absent, Peer::Unaware(ms(2))] {
        let mut old = opening();
        assert_eq!(old.on_server(&greeting, ms(1)).0, hold);
        assert!(
            old.unprotect(Counter::UnprotectedBackupLost, peer, ms(2))
                .flush_held
        );
    }
}

#[test]
fn open_is_repeated_and_given_up() {
    let mut connection = opening();
    connection.on_client(&seg(c(0), p(0)).data(100), Peer::Joined, ms(1));
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(1)));

    let mut tries = 0;
    let end = loop {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        if actions.record == CLOSE {
            assert_eq!(actions.count, Some(Counter::UnprotectedOpenTimeout));
            break now;
        }
        assert!(matches!(actions.record, Some(Record::Open(_))));
        tries += 1;
    };
    assert!(tries >= 5, "{tries}");
    assert!(end >= ms(2000) && end < ms(4000), "{end:?}");
    // There may be a shadow by now. What was held back goes out when there is none.
    let actions = connection.on_gone(Gone::Ended, end);
    assert_eq!(
        actions.send.map(|ack| (ack.seq, ack.ack)),
        Some((p(0), c(100)))
    );
    assert_eq!(connection.poll_at(), None);
    unchanged(connection.on_server(&seg(p(0), c(200)), end));
}

#[test]
fn first_retries_come_after_20_and_60_ms() {
    let mut connection = opening();
    assert_eq!(connection.poll_at(), Some(ms(20)));
    assert_eq!(connection.poll(ms(19), STALL_TIMEOUT), Actions::default());
    assert!(connection.poll(ms(20), STALL_TIMEOUT).record.is_some());
    assert_eq!(connection.poll_at(), Some(ms(60)));
}

#[test]
fn acknowledgement_waits_for_the_backup() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(100), Peer::Joined, ms(2));
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(2)));
    assert_eq!(connection.lag_in(), 100);

    let actions = connection.on_progress(&progress(100, 0), ms(3));
    let ack = Segment {
        window: 500,
        ..seg(p(0), c(100))
    };
    assert_eq!(actions.send, Some(ack));
    assert_eq!(connection.lag_in(), 0);
    // Once.
    assert_eq!(
        connection.on_progress(&progress(100, 0), ms(4)),
        Actions::default()
    );
    unchanged(connection.on_server(&seg(p(0), c(100)).data(10), ms(5)));
}

#[test]
fn shadow_ahead_of_the_primary_changes_nothing() {
    let mut connection = protected();
    let released = Actions {
        release_retained: Some(c(100)),
        ..Actions::default()
    };
    assert_eq!(connection.on_progress(&progress(100, 0), ms(2)), released);
    unchanged(connection.on_server(&seg(p(0), c(100)), ms(3)));
    assert_eq!(connection.lag_in(), 0);
}

#[test]
fn response_is_not_delayed_only_its_acknowledgement() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(100), Peer::Joined, ms(2));
    let response = seg(p(0), c(100)).data(70).window(400);
    gated(connection.on_server(&response, ms(2)), c(0), 500);
    assert_eq!(connection.lag_out(), 70);
    let actions = connection.on_progress(&progress(100, 70), ms(3));
    assert_eq!(actions.send, Some(seg(p(70), c(100)).window(400)));
    assert_eq!(connection.lag_out(), 0);
}

#[test]
fn part_of_it_is_released() {
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(2)));
    let actions = connection.on_progress(&progress(60, 0), ms(3));
    assert_eq!(actions.send, Some(seg(p(0), c(60)).window(540)));
    // The next one is no duplicate for the client, but says nothing new.
    swallowed(connection.on_server(&seg(p(0), c(200)), ms(4)));
    let actions = connection.on_progress(&progress(200, 0), ms(5));
    assert_eq!(actions.send, Some(seg(p(0), c(200)).window(500)));
}

#[test]
fn progress_that_comes_late_takes_nothing_back() {
    let mut connection = protected();
    connection.on_progress(&progress(100, 50), ms(2));
    assert_eq!(
        connection.on_progress(&progress(40, 20), ms(3)),
        Actions::default()
    );
    unchanged(connection.on_server(&seg(p(0), c(100)), ms(4)));
}

#[test]
fn true_duplicates_reach_the_client() {
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(2)));
    // A hole behind byte 100: the stack asks for it.
    for _ in 0..3 {
        gated(connection.on_server(&seg(p(0), c(100)), ms(3)), c(0), 600);
    }
}

#[test]
fn right_edge_of_the_window_stays() {
    let scaled = syn_ack(PRIMARY).options(linux(1, 1, 7));
    let mut connection = Connection::from_syn(
        ID,
        flow(),
        &syn(CLIENT).options(linux(1, 0, 7)),
        Terms {
            retain: 64 << 20,
            ..Terms::default()
        },
        ms(0),
    )
    .unwrap();
    connection.on_syn_ack(&scaled, ms(0));
    connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    let wide = Progress {
        edge: c(64 << 20),
        ..progress(0, 0)
    };
    connection.on_progress(&wide, ms(0));
    let response = seg(p(0), c(1280)).data(1).window(100);
    gated(connection.on_server(&response, ms(1)), c(0), 110);
    // A window that does not fit into the field is as wide as the field.
    let response = seg(p(1), c(1280)).data(1).window(65535);
    gated(connection.on_server(&response, ms(1)), c(0), 65535);
}

#[test]
fn released_acknowledgement_has_the_latest_timestamp() {
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)).timestamps(70, 30), ms(2)));
    let actions = connection.on_progress(&progress(100, 0), ms(3));
    assert_eq!(
        actions.send.unwrap().options.timestamps,
        Some(Timestamps {
            tsval: 70,
            tsecr: 30
        })
    );
}

#[test]
fn backup_is_asked_while_an_acknowledgement_is_held() {
    let mut connection = protected();
    assert_eq!(connection.poll_at(), None);
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(1000)));
    assert_eq!(connection.poll_at(), Some(ms(1003)));
    let actions = connection.poll(ms(1003), STALL_TIMEOUT);
    assert_eq!(actions.record, Some(Record::Query(ID, c(0))));
    assert_eq!(connection.poll_at(), Some(ms(1009)));
    connection.on_progress(&progress(100, 0), ms(1006));
    assert_eq!(connection.poll_at(), None);
}

#[test]
fn bytes_of_an_earlier_time_are_not_kept() {
    let mut connection = Connection::from_syn(
        ID,
        flow(),
        &syn(CLIENT).options(linux(500, 0, 7)),
        Terms::default(),
        ms(0),
    )
    .unwrap();
    connection.on_syn_ack(&syn_ack(PRIMARY).options(linux(9000, 500, 7)), ms(0));
    let mut keeps = |at: u32, clock: u32| {
        let segment = seg(c(at), p(0)).data(10).timestamps(clock, 9000);
        connection.on_client(&segment, Peer::Joined, ms(1)).retain
    };
    assert!(keeps(0, 510));
    assert!(keeps(0, 510));
    // The stack drops it (PAWS), whoever sent it, but for what was overtaken within a tick.
    assert!(keeps(0, 509));
    assert!(!keeps(0, 508));
    // What is ahead says nothing of what comes in between.
    assert!(keeps(20, 530));
    assert!(keeps(10, 520));
    let silent = seg(c(0), p(0)).data(10);
    assert!(!connection.on_client(&silent, Peer::Joined, ms(1)).retain);
}

fn span(start: u32, end: u32) -> Option<Span> {
    Some(Span {
        start: c(start),
        end: c(end),
    })
}

#[test]
fn client_bytes_are_kept_until_the_shadow_has_them() {
    let mut connection = protected();
    let mut keeps = |segment: Segment| connection.on_client(&segment, Peer::Joined, ms(2)).retain;
    assert!(keeps(seg(c(0), p(0)).data(100)));
    assert!(keeps(seg(c(100), p(0)).fin()));
    // Out of order too: it may be what the tap loses.
    assert!(keeps(seg(c(200), p(0)).data(100)));
    assert!(!keeps(seg(c(100), p(0))));
    assert!(!keeps(seg(c(0), p(0)).data(100).flag(Flags::URG)));
    assert_eq!(
        connection
            .on_progress(&progress(100, 0), ms(3))
            .release_retained,
        Some(c(100))
    );
    assert_eq!(
        connection
            .on_progress(&progress(100, 0), ms(3))
            .release_retained,
        None
    );
    // What it has is not kept again.
    let repeated = seg(c(0), p(0)).data(100);
    assert!(!connection.on_client(&repeated, Peer::Joined, ms(4)).retain);
}

#[test]
fn plain_tcp_keeps_nothing() {
    let mut connection = half_open();
    let data = seg(c(0), p(0)).data(100);
    assert!(!connection.on_client(&data, Peer::Absent, ms(0)).retain);
    let mut connection = protected();
    connection.unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(2));
    assert!(!connection.on_client(&data, Peer::Joined, ms(3)).retain && !connection.retains());
}

#[test]
fn shadow_gets_what_it_misses_as_far_as_it_is_accepted() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(3000), Peer::Joined, ms(2));
    connection.on_server(&seg(p(0), c(2000)), ms(2));
    let missing = |from, to| span(from, to).unwrap();
    let actions = connection.on_missing(&missing(1000, 3000));
    assert_eq!(actions.resend, span(1000, 2000));
    assert_eq!(actions.count, Some(Counter::GapsRepaired));
    // Neither what it says it has, nor what nobody has.
    connection.on_progress(&progress(1500, 0), ms(3));
    let actions = connection.on_missing(&missing(1000, 1600));
    assert_eq!(actions.resend, span(1500, 1600));
    for (from, to) in [(0, 1000), (1600, 1500)] {
        assert_eq!(
            connection.on_missing(&missing(from, to)),
            Actions::default()
        );
    }
    let actions = connection.on_missing(&missing(2000, 3000));
    assert_eq!(actions.resend, None);
    assert_eq!(actions.count, Some(Counter::GapsRepaired));
    // That follows once it is accepted, and no more than once.
    let (_, actions) = connection.on_server(&seg(p(0), c(2500)), ms(4));
    assert_eq!(actions.resend, None);
    let (_, actions) = connection.on_server(&seg(p(0), c(3000)), ms(4));
    assert_eq!(actions.resend, span(2000, 3000));
    let (_, actions) = connection.on_server(&seg(p(0), c(3000)), ms(4));
    assert_eq!(actions.resend, None);
    // Nor if there is no shadow by then.
    connection.on_client(&seg(c(3000), p(0)).data(500), Peer::Joined, ms(5));
    connection.on_missing(&missing(3000, 3500));
    connection.on_gone(Gone::Ended, ms(5));
    let (_, actions) = connection.on_server(&seg(p(0), c(3500)), ms(5));
    assert_eq!(actions.resend, None);
}

#[test]
fn gaps_are_all_filled_when_they_are_accepted() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(60_000), Peer::Joined, ms(2));
    // More than are remembered one by one: the last reaches over what lies between them.
    for at in 0..10 {
        let gap = span(3000 * at, 3000 * at + 1000).unwrap();
        assert_eq!(connection.on_missing(&gap).resend, None);
    }
    let (_, actions) = connection.on_server(&seg(p(0), c(60_000)), ms(2));
    let mut sent = vec![actions.resend];
    while let Some(more) = connection.resend_next() {
        sent.push(Some(more));
    }
    let mut gaps: Vec<_> = (0..8).map(|at| span(3000 * at, 3000 * at + 1000)).collect();
    gaps[7] = span(21_000, 28_000);
    assert_eq!(sent, gaps);
    // A gap of which the shadow has taken the beginning.
    connection.on_client(&seg(c(60_000), p(0)).data(3000), Peer::Joined, ms(3));
    connection.on_missing(&span(60_000, 62_000).unwrap());
    connection.on_progress(&progress(61_000, 0), ms(4));
    connection.on_missing(&span(62_500, 63_000).unwrap());
    let (_, actions) = connection.on_server(&seg(p(0), c(63_000)), ms(4));
    assert_eq!(actions.resend, span(61_000, 62_000));
    assert_eq!(connection.resend_next(), span(62_500, 63_000));
    assert_eq!(connection.resend_next(), None);
}

#[test]
fn slow_shadow_is_not_sent_what_it_has() {
    const PART: u32 = 16 << 10;
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(60_000), Peer::Joined, ms(2));
    connection.on_server(&seg(p(0), c(60_000)), ms(2));
    assert_eq!(connection.poll(ms(7), STALL_TIMEOUT).resend, span(0, PART));
    // It had more than it was sent: the tail was not lost.
    for has in [PART + 1, 2 * PART, 40_000] {
        let actions = connection.on_progress(&progress(has, 0), ms(8));
        assert_eq!(actions.resend, None, "{has}");
    }
    let asked = connection.poll_at().unwrap();
    let actions = connection.poll(asked, STALL_TIMEOUT);
    assert_eq!(actions.resend, span(40_000, 40_000 + PART));
}

#[test]
fn large_gaps_wait_in_any_order() {
    const PART: u32 = 16 << 10;
    let mut connection = protected();
    for at in 0..5 {
        let start = 65_000 * at;
        connection.on_client(&seg(c(start), p(0)).data(65_000), Peer::Joined, ms(2));
        connection.on_server(&seg(p(0), c(start + 65_000)), ms(2));
    }
    // More than are remembered.
    for at in 0..9 {
        let gap = span(30_000 * at, 30_000 * at + 20_000).unwrap();
        let sent = connection.on_missing(&gap).resend;
        assert_eq!(sent, span(30_000 * at, 30_000 * at + PART));
    }
    for at in 0..9 {
        let has = 30_000 * at + PART;
        let actions = connection.on_progress(&progress(has, 0), ms(3));
        let rest = span(has, 30_000 * at + 20_000).filter(|_| at < 8);
        assert_eq!(actions.resend, rest, "{at}");
    }
    // Of the others the timer thinks.
    let actions = connection.poll(connection.poll_at().unwrap(), STALL_TIMEOUT);
    assert_eq!(actions.resend, span(240_000 + PART, 240_000 + 2 * PART));
}

#[test]
fn lost_tail_is_sent_in_parts() {
    const PART: u32 = 16 << 10;
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(40_000), Peer::Joined, ms(2));
    connection.on_server(&seg(p(0), c(40_000)), ms(2));
    assert_eq!(connection.poll_at(), Some(ms(5)));
    let actions = connection.poll(ms(5), STALL_TIMEOUT);
    assert_eq!(actions.resend, span(0, PART));
    assert_eq!(actions.count, Some(Counter::TailsRepaired));
    assert_eq!(connection.poll_at(), Some(ms(11)));
    // Not before all of the part has arrived.
    let actions = connection.on_progress(&progress(PART - 1, 0), ms(8));
    assert_eq!(actions.resend, None);
    let actions = connection.on_progress(&progress(PART, 0), ms(8));
    assert_eq!(actions.resend, span(PART, 2 * PART));
    let actions = connection.on_progress(&progress(2 * PART, 0), ms(9));
    assert_eq!(actions.resend, span(2 * PART, 40_000));
    let actions = connection.on_progress(&progress(40_000, 0), ms(10));
    assert_eq!(
        (actions.resend, actions.release_retained),
        (None, Some(c(40_000)))
    );
}

#[test]
fn lossy_channel_is_no_stalled_backup() {
    // Of a question, its bytes and the answer one may be lost each time.
    let tries = |connection: &mut Connection| {
        let mut tries = 0;
        while connection.state() != State::Unprotected(Counter::UnprotectedStalled)
            && connection.state() != State::Unprotected(Counter::UnprotectedOpenTimeout)
        {
            let at = connection.poll_at().unwrap();
            let actions = connection.poll(at, STALL_TIMEOUT);
            if let Some(span) = actions.resend {
                // The first time it may be all of a tail that was lost; a host that is slow has no use for more of it each time.
                let most = if tries == 0 {
                    16 << 10
                } else {
                    MAX_BYTES as u32
                };
                assert_eq!(Some(span), self::span(0, most));
            }
            tries += 1;
        }
        tries - 1
    };
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(60_000), Peer::Joined, ms(2));
    connection.on_server(&seg(p(0), c(60_000)), ms(2));
    assert_eq!(tries(&mut connection), 24);
    assert_eq!(tries(&mut opening()), 21);
}

#[test]
fn later_gap_does_not_hold_up_an_earlier_one() {
    const PART: u32 = 16 << 10;
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(65_000), Peer::Joined, ms(2));
    connection.on_client(&seg(c(65_000), p(0)).data(65_000), Peer::Joined, ms(2));
    connection.on_server(&seg(p(0), c(130_000)), ms(2));
    let missing = |from, to| span(from, to).unwrap();
    let actions = connection.on_missing(&missing(0, 20_000));
    assert_eq!(actions.resend, span(0, PART));
    let actions = connection.on_missing(&missing(90_000, 130_000));
    assert_eq!(actions.resend, span(90_000, 90_000 + PART));
    // No more of it than it lacks.
    let actions = connection.on_progress(&progress(PART, 0), ms(3));
    assert_eq!(actions.resend, span(PART, 20_000));
    for has in [20_000, 50_000, 90_000] {
        let actions = connection.on_progress(&progress(has, 0), ms(3));
        assert_eq!(actions.resend, None);
    }
    let actions = connection.on_progress(&progress(90_000 + PART, 0), ms(3));
    assert_eq!(actions.resend, span(90_000 + PART, 90_000 + 2 * PART));
}

#[test]
fn stalled_shadow_is_left_behind() {
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(1000)));
    let (end, actions) = loop {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        if actions.record != Some(Record::Query(ID, c(0))) {
            break (now, actions);
        }
        // The backup lives, but its server does not read.
        connection.on_progress(&progress(0, 0), now);
    };
    assert!(end >= ms(3000) && end < ms(5000), "{end:?}");
    assert_eq!(actions.record, CLOSE);
    assert_eq!(actions.count, Some(Counter::UnprotectedStalled));
    assert_eq!(
        connection.state(),
        State::Unprotected(Counter::UnprotectedStalled)
    );
    // The backup may still have the shadow: nothing more is acknowledged until it says that it has not.
    assert_eq!(actions.send, None);
    swallowed(connection.on_server(&seg(p(0), c(200)), end));
    let actions = connection.on_gone(Gone::Ended, end);
    assert_eq!((actions.record, actions.count), (None, None));
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(200)));
    assert_eq!(connection.poll_at(), None);
}

#[test]
fn shadow_left_behind_is_asked_after_until_the_backup_dropped_it() {
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(1000)));
    let (mut closes, mut first) = (0, None);
    let (end, actions) = loop {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        match actions.record {
            Some(Record::Query(..)) => {}
            CLOSE => {
                closes += 1;
                first.get_or_insert(now);
            }
            _ => break (now, actions),
        }
    };
    // A backup that never answers holds the connection up for two seconds more, no longer.
    assert!(closes >= 6, "{closes}");
    let waited = end.since(first.unwrap());
    assert!(waited.as_millis() >= 2000 && waited.as_millis() < 4000);
    assert_eq!(actions.count, Some(Counter::CloseUnconfirmed));
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(100)));
    assert_eq!(connection.poll_at(), None);
    unchanged(connection.on_server(&seg(p(0), c(300)), end));
}

#[test]
fn loss_of_the_backup_ends_every_wait() {
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(1000)));
    while connection.state() == State::Protected {
        let now = connection.poll_at().unwrap();
        connection.poll(now, STALL_TIMEOUT);
    }
    let actions = connection.unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(5000));
    assert_eq!(actions.count, None);
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(100)));
    assert_eq!(connection.poll_at(), None);
    // The reason is the first one.
    assert_eq!(
        connection.state(),
        State::Unprotected(Counter::UnprotectedStalled)
    );
}

#[test]
fn what_the_stack_drops_is_no_news() {
    let fin = seg(c(0), p(0)).fin();
    let gate_after = |said: Segment| {
        let mut connection = protected();
        connection.on_client(&said, Peer::Joined, ms(2));
        connection.on_server(&seg(p(0), c(0)).data(50).fin(), ms(3));
        connection.on_client(&seg(c(1), p(51)), Peer::Joined, ms(3));
        connection.on_server(&seg(p(51), c(100)).data(1), ms(4))
    };
    // Anyone who knows the endpoints can send these. The connection is gated as before.
    let oldest = p(0) - u32::from(u16::MAX);
    for forged in [
        Segment {
            flags: Flags::FIN,
            ..fin
        },
        fin.flag(Flags::SYN),
        Segment {
            seq: c(0) - 2,
            ..fin
        },
        Segment { seq: c(501), ..fin },
        Segment { ack: p(1), ..fin },
        Segment {
            ack: oldest - 1,
            ..fin
        },
    ] {
        gated(gate_after(forged), c(0), 600);
    }
    // Of a FIN that the stack takes the shadow is to have the copy.
    for heard in [fin, Segment { ack: oldest, ..fin }] {
        let mut connection = protected();
        let actions = connection.on_client(&heard, Peer::Joined, ms(2));
        assert!(actions.retain);
    }
}

#[test]
fn right_edge_of_the_window_is_the_stacks_but_for_rounding() {
    let options = |scale| Options {
        window_scale: Some(scale),
        ..Options::default()
    };
    let mut opened = syn(CLIENT);
    opened.options = options(7);
    let mut answer = syn_ack(PRIMARY);
    answer.options = options(7);
    answer.window = 64_000;
    let mut connection =
        Connection::from_syn(ID, flow(), &opened, Terms::default(), ms(0)).unwrap();
    connection.on_syn_ack(&answer, ms(0));
    connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    connection.on_progress(&progress(0, 0), ms(1));
    let told = |ack: SeqNumber, field: u16| ack + (u32::from(field) << 7);
    let (mut edge, mut stack) = (c(64_000), c(64_000));
    for step in 1..200_u32 {
        // The server takes odd amounts and frees none; like Linux, its TCP rounds up rather than move the edge back.
        let taken = step * 13;
        let field = (stack.since(c(taken)) as u32).div_ceil(1 << 7) as u16;
        stack = told(c(taken), field);
        let segment = seg(p(step), c(taken)).window(field).data(1);
        let Outbound::Send(rewrite) = connection.on_server(&segment, ms(2)).0 else {
            panic!("swallowed")
        };
        let sent = told(rewrite.ack.unwrap(), rewrite.window.unwrap());
        let released = connection.on_progress(&progress(taken - 7, 0), ms(2)).send;
        let released = released.map_or(sent, |ack| told(ack.ack, ack.window));
        // Never beyond, where TCP would drop it, and never more than the field's unit behind.
        for told in [sent, released] {
            assert!(
                told <= stack && stack < told + (1 << 7),
                "{told:?} {stack:?}"
            );
            assert!(edge < told + (1 << 7), "{edge:?} {told:?}");
        }
        edge = released;
    }
}

#[test]
fn window_opens_no_wider_than_the_shadows() {
    let at = |rcv: u32, edge: u32| Progress {
        edge: c(edge),
        ..progress(rcv, 0)
    };
    let mut connection = opening();
    connection.on_progress(&at(0, 20_000), ms(1));
    // The stack takes 60,000 bytes, the shadow 20,000.
    let (verdict, actions) = connection.on_server(&seg(p(0), c(0)).data(1).window(60_000), ms(2));
    let Outbound::Send(rewrite) = verdict else {
        panic!("swallowed")
    };
    assert_eq!((rewrite.ack, rewrite.window), (None, Some(20_000)));
    assert_eq!(actions.count, Some(Counter::WindowsGated));
    // A wider window of the stack is no news for the client as long as the shadow's stays.
    swallowed(connection.on_server(&seg(p(1), c(0)).window(65_000), ms(3)));
    // The shadow's opens.
    let actions = connection.on_progress(&at(0, 30_000), ms(4));
    assert_eq!(actions.send, Some(seg(p(1), c(0)).window(30_000)));
    assert_eq!(connection.poll_at(), None);

    // The client fills it. The stack has room, the shadow has not: it is asked.
    swallowed(connection.on_server(&seg(p(1), c(30_000)).window(60_000), ms(5)));
    let actions = connection.on_progress(&at(30_000, 30_000), ms(6));
    assert_eq!(actions.send, Some(seg(p(1), c(30_000)).window(0)));
    let asked = connection.poll_at().unwrap();
    assert_eq!(
        connection.poll(asked, STALL_TIMEOUT).record,
        Some(Record::Query(ID, c(30_000)))
    );
    let actions = connection.on_progress(&at(30_000, 50_000), asked);
    assert_eq!(actions.send, Some(seg(p(1), c(30_000)).window(20_000)));
    assert_eq!(connection.poll_at(), None);
    // Without the shadow the stack's window counts.
    let actions = connection.on_gone(Gone::Ended, asked);
    assert_eq!(actions.send, Some(seg(p(1), c(30_000)).window(60_000)));
}

#[test]
fn shadow_that_is_gone_leaves_plain_tcp() {
    for (gone, why) in [
        (Gone::Refused, Counter::UnprotectedRefused),
        (Gone::Options, Counter::UnprotectedOptions),
        (Gone::NoMemory, Counter::UnprotectedNoMemory),
        (Gone::Ended, Counter::UnprotectedShadowGone),
    ] {
        let mut connection = opening();
        swallowed(connection.on_server(&seg(p(0), c(100)), ms(2)));
        let actions = connection.on_gone(gone, ms(3));
        assert_eq!((actions.record, actions.count), (None, Some(why)));
        assert_eq!(actions.send.map(|ack| ack.ack), Some(c(100)));
        assert_eq!(connection.state(), State::Unprotected(why));
        unchanged(connection.on_server(&seg(p(0), c(300)), ms(4)));
        // It is over: no second word, but a backup that did not hear the first is told again.
        assert_eq!(connection.on_gone(gone, ms(5)), Actions::default());
        assert_eq!(connection.on_progress(&progress(0, 0), ms(6)).record, CLOSE);
    }
}

#[test]
fn want_of_memory_leaves_plain_tcp() {
    let why = Counter::UnprotectedNoMemory;
    let mut connection = protected();
    swallowed(connection.on_server(&seg(p(0), c(100)), ms(2)));
    let actions = connection.starve(ms(3));
    assert_eq!((actions.record, actions.count), (CLOSE, Some(why)));
    assert_eq!(connection.state(), State::Unprotected(why));
    assert_eq!(connection.starve(ms(4)), Actions::default());
    connection.on_gone(Gone::Ended, ms(5));
    unchanged(connection.on_server(&seg(p(0), c(300)), ms(6)));

    // In the handshake there is nobody to tell yet.
    let mut connection = half_open();
    let actions = connection.starve(ms(1));
    assert_eq!((actions.record, actions.count), (None, Some(why)));
    let third = connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(2));
    assert_eq!(third, Actions::default());
    unchanged(connection.on_server(&seg(p(0), c(300)), ms(3)));
}

#[test]
fn half_open_connection_has_no_shadow() {
    let mut connection = half_open();
    assert_eq!(
        connection.on_progress(&progress(0, 0), ms(1)),
        Actions::default()
    );
    assert_eq!(
        connection.unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(1)),
        Actions::default()
    );
    // Under SYN cookies there is no request socket: no reason to forget it at once.
    assert!(!connection.sweep(ms(4999)).check_socket);
    assert!(connection.sweep(ms(5000)).check_socket);
    let gone = connection.on_socket(Socket::Gone, ms(20));
    assert_eq!((gone.record, gone.remove), (None, true));
    assert_eq!(connection.state(), State::HalfOpen);
}

/// Both sides have closed, the shadow lacks the client's bytes, and so the stack's acknowledgement of the FIN was withheld. The socket is gone.
fn last_ack_withheld() -> Connection {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(5).fin(), Peer::Joined, ms(2));
    gated(
        connection.on_server(&seg(p(0), c(6)).fin(), ms(3)),
        c(0),
        506,
    );
    connection.on_client(&seg(c(6), p(1)), Peer::Joined, ms(4));
    connection
}

/// What the stack answers when there is no socket.
fn answered_by_reset(connection: &mut Connection, at: u64) {
    let (verdict, actions) = connection.on_server(&seg(p(1), c(6)).rst(), ms(at));
    assert_eq!(verdict, Outbound::Swallow);
    assert_eq!(actions.count, Some(Counter::ResetsWithheld));
}

#[test]
fn last_ack_is_owed_until_the_shadow_has_every_byte() {
    let mut connection = last_ack_withheld();
    assert_eq!(
        connection.on_socket(Socket::Gone, ms(5)),
        Actions::default()
    );
    // The socket is gone; what the client repeats must not meet its reset.
    answered_by_reset(&mut connection, 5);
    // The FIN is owed as well: were it acknowledged and the shadow never to have it, its server would not hear of the end.
    let actions = connection.on_progress(&finished(5, 1), ms(6));
    assert_eq!(actions.send, Some(seg(p(1), c(5)).window(501)));
    assert_eq!(
        connection.on_socket(Socket::Gone, ms(6)),
        Actions::default()
    );
    let actions = connection.on_progress(&finished(6, 1), ms(7));
    assert_eq!(actions.send, Some(seg(p(1), c(6))));
    ends(&mut connection, Socket::TimeWait, 16);
    confirmed(&mut connection, 17);
}

/// The kernel has no socket any more, and the backup is told.
fn ends(connection: &mut Connection, socket: Socket, at: u64) {
    let over = connection.on_socket(socket, ms(at));
    assert_eq!(over.record, Some(Record::Close(ID, Close::Ended)));
    assert!(!over.remove);
    assert_eq!(connection.state(), State::Ended);
}

/// The backup has heard of the end.
fn confirmed(connection: &mut Connection, at: u64) {
    let over = connection.on_gone(Gone::Ended, ms(at));
    assert_eq!((over.record, over.remove, over.count), (None, true, None));
}

#[test]
fn eager_connection_does_not_end_before_its_shadow_has_every_byte() {
    let mut connection = eager();
    connection.on_progress(&progress(0, 0), ms(1));
    let last = seg(c(0), p(0)).data(5).fin();
    assert!(connection.on_client(&last, Peer::Joined, ms(2)).retain);
    connection.on_retained(&last, 2048);
    let (verdict, actions) = connection.on_server(&seg(p(0), c(6)), ms(3));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
    assert_eq!(actions.record, Some(Record::Acked(ID, c(6))));
    let (verdict, _) = connection.on_server(&seg(p(0), c(6)).fin(), ms(3));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
    connection.on_client(&seg(c(6), p(1)), Peer::Joined, ms(4));
    // The client and this host are through, but the copy is the last of what the shadow lacks.
    assert_eq!(
        connection.on_socket(Socket::Gone, ms(14)),
        Actions::default()
    );
    assert!(connection.retains());
    let actions = connection.poll(ms(14), STALL_TIMEOUT);
    assert_eq!(actions.resend, span(0, 6));
    connection.on_progress(&finished(6, 1), ms(16));
    ends(&mut connection, Socket::Gone, 26);
    assert!(!connection.retains());
    confirmed(&mut connection, 27);
}

#[test]
fn end_is_told_until_the_backup_has_heard_of_it() {
    let ended = || {
        let mut connection = protected();
        connection.on_client(&seg(c(0), p(0)).rst(), Peer::Joined, ms(2));
        assert!(connection.poll(ms(12), STALL_TIMEOUT).check_socket);
        ends(&mut connection, Socket::Gone, 12);
        connection
    };
    let close = Some(Record::Close(ID, Close::Ended));
    let mut connection = ended();
    let mut told = 0;
    let last = loop {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        if actions.remove {
            break actions;
        }
        assert_eq!(actions.record, close);
        told += 1;
    };
    assert_eq!((told, last.count), (21, Some(Counter::EndUnconfirmed)));
    // A shadow that has not heard of it says so.
    let mut connection = ended();
    assert_eq!(
        connection.on_progress(&progress(0, 0), ms(13)).record,
        close
    );
    // Nor is there anything to say when there is no backup, or this host is none that speaks.
    assert!(connection.step_down(ms(13)).is_none());
    let lost = connection.unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(14));
    assert_eq!((lost.count, lost.remove), (None, true));
}

#[test]
fn last_ack_is_said_again_for_the_socket_that_is_gone() {
    let mut connection = last_ack_withheld();
    connection.on_progress(&finished(6, 1), ms(6));
    // It crosses what the client repeats.
    answered_by_reset(&mut connection, 7);
    ends(&mut connection, Socket::Gone, 16);
    assert!(!connection.on_gone(Gone::Ended, ms(17)).remove);
    // Or it was lost.
    for at in [216, 616] {
        let repeated = seg(c(0), p(1)).data(5).fin();
        let actions = connection.on_client(&repeated, Peer::Joined, ms(at));
        assert_eq!(actions.send, Some(seg(p(1), c(6))));
        assert_eq!(actions.count, Some(Counter::LastAcksRepeated));
        answered_by_reset(&mut connection, at);
    }
    assert_eq!(
        connection.on_client(&seg(c(6), p(1)), Peer::Joined, ms(700)),
        Actions::default()
    );
    assert_eq!(
        connection.on_socket(Socket::Gone, ms(1000)),
        Actions::default()
    );
    assert_eq!(connection.poll_at(), Some(ms(3016)));
    assert!(connection.poll(ms(3016), STALL_TIMEOUT).check_socket);
    let over = connection.on_socket(Socket::Gone, ms(3016));
    assert_eq!((over.record, over.remove), (None, true));
}

#[test]
fn last_ack_is_not_forgotten_while_this_host_is_silent() {
    let mut connection = last_ack_withheld();
    // The backup is lost, and this host may not speak; its socket is gone.
    connection.unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(6));
    let kept = connection.on_socket(Socket::Gone, ms(16));
    assert_eq!(kept, Actions::default());
    for at in [216, 1016, 2616, 5816] {
        let repeated = seg(c(0), p(1)).data(5).fin();
        let actions = connection.on_client(&repeated, Peer::Absent, ms(at));
        assert_eq!(actions.send, Some(seg(p(1), c(6))));
        connection.on_muted(&seg(p(1), c(0)).rst(), ms(at));
        assert!(connection.poll(ms(at + 10), STALL_TIMEOUT).check_socket);
        let kept = connection.on_socket(Socket::Gone, ms(at + 10));
        assert_eq!(kept, Actions::default());
    }
    let at = connection.poll_at().unwrap();
    assert_eq!(at, ms(5816 + 12_000));
    assert!(connection.poll(at, STALL_TIMEOUT).check_socket);
    assert!(connection.on_socket(Socket::Gone, at).remove);
}

#[test]
fn client_that_asks_late_finds_a_host_that_was_silent() {
    let mut connection = last_ack_withheld();
    // The backup is lost, so the acknowledgement is due; and this host may not speak for long.
    let actions = connection.unprotect(Counter::UnprotectedBackupLost, Peer::Absent, ms(6));
    assert_eq!(actions.send, Some(seg(p(1), c(6))));
    connection.on_silence(ms(6));
    let kept = connection.on_socket(Socket::Gone, ms(16));
    assert_eq!(kept, Actions::default());
    for at in (1000..30_000).step_by(1000) {
        connection.on_silence(ms(at));
        assert_eq!(connection.on_socket(Socket::Gone, ms(at)), kept);
    }
    let repeated = seg(c(0), p(1)).data(5).fin();
    let actions = connection.on_client(&repeated, Peer::Absent, ms(40_000));
    assert_eq!(actions.send, Some(seg(p(1), c(6))));
}

#[test]
fn silence_does_not_answer_for_a_socket_that_is_there() {
    let mut connection = last_ack_withheld();
    connection.on_silence(ms(6));
    let repeated = seg(c(0), p(1)).data(5).fin();
    let actions = connection.on_client(&repeated, Peer::Joined, ms(7));
    assert!(actions.send.is_none() && actions.retain);
}

#[test]
fn close_from_both_sides() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).fin(), Peer::Joined, ms(2));
    swallowed(connection.on_server(&seg(p(0), c(1)), ms(2)));
    // The shadow lacks the client's FIN. Were it acknowledged, and the server's FIN lost, the shadow would wait for the one and the client for the other.
    gated(
        connection.on_server(&seg(p(0), c(1)).fin(), ms(3)),
        c(0),
        501,
    );
    // Nor when the client has the server's FIN. The shadow is sent the client's.
    let actions = connection.on_client(&seg(c(1), p(1)), Peer::Joined, ms(4));
    assert_eq!(actions.send, None);
    assert_eq!(connection.poll_at(), Some(ms(5)));
    assert_eq!(connection.poll(ms(5), STALL_TIMEOUT).resend, span(0, 1));
    let actions = connection.on_progress(&finished(1, 1), ms(8));
    assert_eq!(actions.send, Some(seg(p(1), c(1))));
    assert_eq!(connection.poll_at(), Some(ms(18)));
    assert!(connection.poll(ms(18), STALL_TIMEOUT).check_socket);
    assert_eq!(
        connection.on_socket(Socket::Live, ms(20)),
        Actions::default()
    );
    // Should that acknowledgement be lost, a socket in TIME-WAIT says it again; if there is none, we do.
    ends(&mut connection, Socket::TimeWait, 20);
    let mut actions = connection.on_socket(Socket::Gone, ms(20));
    assert_eq!((actions.record, actions.remove), (None, false));
    actions = connection.on_gone(Gone::Ended, ms(21));
    assert!(!actions.remove);
}

#[test]
fn half_close_is_no_end() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).fin(), Peer::Joined, ms(2));
    connection.on_progress(&progress(1, 0), ms(2));
    unchanged(connection.on_server(&seg(p(0), c(1)), ms(3)));
    unchanged(connection.on_server(&seg(p(0), c(1)).data(900), ms(4)));
    connection.on_client(&seg(c(1), p(900)), Peer::Joined, ms(5));
    assert!(!connection.on_socket(Socket::TimeWait, ms(20)).remove);
    assert_eq!(connection.poll_at(), None);
}

#[test]
fn shadow_that_ends_with_its_connection_is_no_failure() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).fin(), Peer::Joined, ms(2));
    let actions = connection.on_gone(Gone::Ended, ms(3));
    assert_eq!((actions.record, actions.count), (None, None));
}

#[test]
fn reset_makes_the_kernel_be_asked() {
    let resets: [fn(&mut Connection); 2] = [
        |x| {
            assert_eq!(
                x.on_client(&seg(c(0), p(0)).rst(), Peer::Joined, ms(5)),
                Actions::default()
            )
        },
        |x| unchanged(x.on_server(&seg(p(0), c(0)).rst(), ms(5))),
    ];
    for reset in resets {
        let mut connection = protected();
        reset(&mut connection);
        assert_eq!(connection.poll_at(), Some(ms(15)));
        assert_eq!(connection.poll(ms(14), STALL_TIMEOUT), Actions::default());
        assert!(connection.poll(ms(15), STALL_TIMEOUT).check_socket);
        // The stack did not believe it: the connection goes on.
        assert_eq!(connection.state(), State::Protected);
        assert_eq!(connection.poll_at(), None);
    }
}

#[test]
fn who_gives_way_to_a_new_syn() {
    // Only what the stack itself would replace: a connection in any other state answers the SYN, and its numbers are still needed.
    assert!(!Socket::Live.gives_way());
    assert!(Socket::TimeWait.gives_way() && Socket::Gone.gives_way());
    // And only what a listener would take.
    assert!(
        syn(CLIENT).opens()
            && syn(CLIENT)
                .flag(Flags::ECE | Flags::CWR | Flags::AE)
                .opens()
    );
    for flags in [Flags::ACK, Flags::RST, Flags::FIN] {
        assert!(!syn(CLIENT).flag(flags).opens());
    }
    assert!(!seg(c(0), p(0)).opens());
}

#[test]
fn numbers_wrap() {
    let isn = u32::MAX - 10;
    let mut connection =
        Connection::from_syn(ID, flow(), &syn(isn), Terms::default(), ms(0)).unwrap();
    let mut answer = syn_ack(PRIMARY);
    answer.ack = script::seq(isn) + 1;
    connection.on_syn_ack(&answer, ms(0));
    connection.on_client(&seg(answer.ack, p(0)), Peer::Joined, ms(0));
    swallowed(connection.on_server(&seg(p(0), answer.ack + 100), ms(1)));
    let past_zero = Progress {
        rcv_nxt: answer.ack + 50,
        ..progress(0, 0)
    };
    let actions = connection.on_progress(&past_zero, ms(2));
    assert_eq!(actions.send.map(|ack| ack.ack.raw()), Some(40));
}

#[test]
fn names_of_the_states() {
    assert_eq!(half_open().state().name(), "half-open");
    assert_eq!(opening().state().name(), "opening");
    assert_eq!(protected().state().name(), "protected");
    assert_eq!(State::Ended.name(), "ended");
    let unprotected = State::Unprotected(Counter::UnprotectedMd5);
    assert_eq!(unprotected.name(), "unprotected");
}

#[test]
fn switchover_weighs_all_connections() {
    let census = |moves: &[Moves]| {
        let mut census = Census::default();
        moves.iter().for_each(|moves| census.count(*moves));
        census
    };
    let none = census(&[]);
    assert_eq!(
        (none.is_ready(false), none.is_ready(true)),
        (Ok(true), Ok(true))
    );
    let all = census(&[Moves::Now, Moves::Now]);
    assert_eq!(all.is_ready(false), Ok(true));
    let later = census(&[Moves::Now, Moves::Later]);
    assert_eq!(
        (later.is_ready(false), later.is_ready(true)),
        (Ok(false), Ok(false))
    );
    let never = census(&[Moves::Never, Moves::Now, Moves::Never]);
    assert_eq!(
        (never.is_ready(false), never.is_ready(true)),
        (Err(2), Ok(true))
    );
    let both = census(&[Moves::Never, Moves::Later]);
    assert_eq!(
        (both.is_ready(false), both.is_ready(true)),
        (Err(1), Ok(false))
    );
}

const EAGER: Terms = Terms {
    policy: Policy::Eager,
    retain: 400_000,
    watch: Watch::OFF,
};

fn eager() -> Connection {
    let mut connection = Connection::from_syn(ID, flow(), &syn(CLIENT), EAGER, ms(0)).unwrap();
    connection.on_syn_ack(&syn_ack(PRIMARY).window(500), ms(0));
    let actions = connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    assert_eq!(actions.record, Some(Record::Open(plain_open())));
    connection
}

/// A client's segment of which a copy is kept.
fn kept(connection: &mut Connection, from: u32, len: u32) {
    let segment = seg(c(from), p(0)).data(len);
    assert!(connection.on_client(&segment, Peer::Joined, ms(1)).retain);
    connection.on_retained(&segment, 4 * segment.payload_len);
}

fn acked(ack: u32) -> Option<Record> {
    Some(Record::Acked(ID, c(ack)))
}

#[test]
fn eager_acknowledges_what_copies_cover_and_tells_the_backup() {
    let mut connection = eager();
    connection.on_progress(&progress(0, 0), ms(1));
    kept(&mut connection, 0, 100);
    let (verdict, actions) = connection.on_server(&seg(p(0), c(100)), ms(1));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
    assert_eq!(actions.record, acked(100));
    // Once for each acknowledgement.
    let (_, actions) = connection.on_server(&seg(p(0), c(100)).data(10), ms(1));
    assert_eq!(actions.record, None);
    // And again with the question.
    let actions = connection.poll(connection.poll_at().unwrap(), STALL_TIMEOUT);
    assert_eq!(actions.record, Some(Record::Query(ID, c(100))));
    // What the backup has it need not be told.
    connection.on_progress(&progress(300, 0), ms(9));
    kept(&mut connection, 100, 300);
    let (_, actions) = connection.on_server(&seg(p(10), c(300)), ms(9));
    assert_eq!(actions.record, None);
}

#[test]
fn switchover_waits_for_what_the_client_was_told_and_leaves_the_unprotected() {
    // Nothing of a connection that has yet to begin is at the primary alone.
    assert_eq!(
        (half_open().moves(), opening().moves()),
        (Moves::Now, Moves::Now)
    );
    let mut connection = eager();
    connection.on_progress(&progress(0, 0), ms(1));
    assert_eq!(connection.moves(), Moves::Now);
    kept(&mut connection, 0, 1000);
    connection.on_server(&seg(p(0), c(1000)), ms(2));
    assert_eq!(connection.moves(), Moves::Later);
    connection.on_progress(&progress(1000, 0), ms(3));
    assert_eq!(connection.moves(), Moves::Now);
    // Withheld, so the client still has it.
    connection.set_terms(Terms::default(), ms(3));
    connection.on_client(&seg(c(1000), p(0)).data(1000), Peer::Joined, ms(4));
    connection.on_server(&seg(p(0), c(2000)), ms(4));
    assert_eq!(connection.moves(), Moves::Now);
    connection.unprotect(Counter::UnprotectedStalled, Peer::Joined, ms(5));
    assert_eq!(connection.moves(), Moves::Never);
}

#[test]
fn eager_acknowledges_up_to_the_first_gap_of_the_copies() {
    let mut connection = eager();
    connection.on_progress(&progress(0, 0), ms(1));
    kept(&mut connection, 0, 100);
    // For 100 to 200 there was no memory.
    connection.on_client(&seg(c(100), p(0)).data(100), Peer::Joined, ms(1));
    kept(&mut connection, 200, 100);
    gated(connection.on_server(&seg(p(0), c(300)), ms(1)), c(100), 700);
    // With the gap the rest counts too, however the shadow comes by it.
    let actions = connection.on_progress(&progress(200, 0), ms(2));
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(200)));
    kept(&mut connection, 200, 100);
    let (_, actions) = connection.on_server(&seg(p(0), c(300)), ms(2));
    assert_eq!(actions.record, acked(300));
}

#[test]
fn eager_answer_acknowledges_what_the_backup_has() {
    let mut connection = eager();
    connection.on_progress(&progress(0, 0), ms(1));
    kept(&mut connection, 0, 100);
    let (verdict, actions) = connection.on_server(&seg(p(0), c(100)).data(10), ms(2));
    assert!(matches!(verdict, Outbound::Send(change) if change.ack == Some(c(0))));
    assert_eq!(actions.record, None);
    // The backup has it: neither side needs to be told more.
    let actions = connection.on_progress(&progress(100, 10), ms(3));
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(100)));
    assert_eq!(actions.record, None);

    // It says nothing, for 50 ms.
    kept(&mut connection, 100, 100);
    connection.on_server(&seg(p(10), c(200)).data(10), ms(4));
    let mut send = None;
    while send.is_none() {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        assert!(now < ms(204));
        assert_eq!(actions.send.is_some(), now >= ms(54));
        send = actions.send;
    }
    assert_eq!(send.map(|ack| ack.ack), Some(c(200)));

    // More than two segments are a stream, which waits for nobody.
    kept(&mut connection, 200, 3000);
    let answer = seg(p(20), c(3200)).data(10);
    let (verdict, actions) = connection.on_server(&answer, ms(205));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
    assert_eq!(actions.record, acked(3200));
}

#[test]
fn eager_copies_may_come_in_any_order() {
    let mut connection = eager();
    connection.on_progress(&progress(0, 0), ms(1));
    for (from, len) in [(200, 100), (100, 150), (300, 50), (0, 120)] {
        kept(&mut connection, from, len);
    }
    let (verdict, actions) = connection.on_server(&seg(p(0), c(350)), ms(1));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
    assert_eq!(actions.record, acked(350));
}

#[test]
fn eager_server_waits_for_the_shadow_as_any_does() {
    let mut connection = eager();
    assert_eq!(connection.state(), State::Opening);
    let (verdict, _) = connection.on_server(&seg(p(0), c(0)).data(10), ms(1));
    assert_eq!(verdict, Outbound::Hold(p(0), p(10)));
    // Nor is anything acknowledged before.
    kept(&mut connection, 0, 3000);
    swallowed(connection.on_server(&seg(p(10), c(3000)), ms(1)));
    let actions = connection.on_progress(&progress(0, 0), ms(2));
    assert!(actions.flush_held);
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(3000)));
    assert_eq!(actions.record, acked(3000));
}

#[test]
fn eager_window_opens_as_far_as_copies_may_go_when_the_shadow_stands_still() {
    let few = Terms {
        retain: 40_000,
        ..EAGER
    };
    let mut connection = Connection::from_syn(ID, flow(), &syn(CLIENT), few, ms(0)).unwrap();
    connection.on_syn_ack(&syn_ack(PRIMARY).window(500), ms(0));
    connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    let full = Progress {
        edge: c(1000),
        ..progress(1000, 0)
    };
    connection.on_progress(&full, ms(1));
    let wide = seg(p(0), c(1000)).window(50_000);
    let (verdict, _) = connection.on_server(&wide, ms(1));
    let shut = Rewrite {
        window: Some(0),
        ..Rewrite::default()
    };
    assert_eq!(verdict, Outbound::Send(shut));
    // Its server may be a little slower.
    let (opened, now) = loop {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        assert_eq!(actions.record, Some(Record::Query(ID, c(1000))));
        if let Some(ack) = actions.send {
            break (ack, now);
        }
    };
    assert_eq!((opened.ack, opened.window), (c(1000), 10_000));
    assert!(now >= ms(51) && now < ms(100), "{now:?}");
    // What was opened stays open when it has room again, and no more is.
    let roomy = Progress {
        edge: c(9000),
        ..progress(1000, 0)
    };
    assert_eq!(connection.on_progress(&roomy, ms(101)).send, None);
    kept(&mut connection, 1000, 1000);
    let (verdict, _) = connection.on_server(&seg(p(0), c(2000)).window(50_000), ms(102));
    let rewrite = Rewrite {
        window: Some(9_000),
        ..Rewrite::default()
    };
    assert_eq!(verdict, Outbound::Send(rewrite));
}

#[test]
fn client_whose_end_is_acknowledged_hears_of_no_window() {
    let mut connection = opening();
    let narrow = Progress {
        edge: c(1001),
        ..progress(0, 0)
    };
    connection.on_progress(&narrow, ms(1));
    connection.on_server(&seg(p(0), c(0)).window(2000), ms(2));
    let last = seg(c(0), p(0)).data(1000).flag(Flags::FIN);
    connection.on_client(&last, Peer::Joined, ms(2));
    swallowed(connection.on_server(&seg(p(0), c(1001)).window(60_000), ms(2)));
    let room = |edge| Progress {
        edge: c(edge),
        ..progress(1001, 0)
    };
    let ack = connection.on_progress(&room(1001), ms(3)).send.unwrap();
    assert_eq!(ack.ack, c(1001));
    // The shadow's server reads on. The client may be gone, and would answer with a reset.
    assert_eq!(connection.on_progress(&room(60_000), ms(4)).send, None);
    // Nor does the backup owe a window any longer.
    assert_eq!(connection.poll_at(), None);
}

#[test]
fn window_opens_no_further_than_what_can_be_kept() {
    let wide = Progress {
        edge: c(60_000),
        ..progress(0, 0)
    };
    // A shadow with room may be fed by the tap, whichever the policy.
    for (policy, retain, window) in [
        (Policy::Gated, 400_000, 60_000),
        (Policy::Gated, 40_000, 10_000),
        (Policy::Eager, 400_000, 60_000),
        (Policy::Eager, 40_000, 10_000),
        // Not to keep anything is a choice, and to keep next to nothing none to stand still.
        (Policy::Gated, 0, 60_000),
        (Policy::Gated, 1000, 2920),
    ] {
        let terms = Terms {
            policy,
            retain,
            watch: Watch::OFF,
        };
        let mut connection = Connection::from_syn(ID, flow(), &syn(CLIENT), terms, ms(0)).unwrap();
        connection.on_syn_ack(&syn_ack(PRIMARY).window(500), ms(0));
        connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
        connection.on_progress(&wide, ms(1));
        let (verdict, _) = connection.on_server(&seg(p(0), c(0)).window(u16::MAX), ms(1));
        let rewrite = Rewrite {
            window: Some(window),
            ..Rewrite::default()
        };
        assert_eq!(verdict, Outbound::Send(rewrite), "{policy:?} {retain}");
    }
    // Copies that cost less leave more room.
    let mut connection = eager();
    let few = Terms {
        retain: 40_000,
        ..EAGER
    };
    connection.set_terms(few, ms(1));
    connection.on_progress(&wide, ms(1));
    connection.on_server(&seg(p(0), c(0)).window(u16::MAX), ms(1));
    for _ in 0..40 {
        connection.on_retained(&seg(c(0), p(0)).data(1000), 1000);
    }
    let opened = connection.on_progress(&progress(0, 0), ms(2)).send.unwrap();
    assert_eq!(opened.window, 40_000 / 23 * 16);
}

#[test]
fn shadow_that_lacks_what_nobody_kept_is_left_although_the_client_repeats_it_bit_by_bit() {
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(50_000), Peer::Joined, ms(0));
    connection.on_server(&seg(p(0), c(50_000)), ms(0));
    let mut rcv = 0;
    let end = loop {
        let now = connection.poll_at().unwrap();
        let actions = connection.poll(now, STALL_TIMEOUT);
        if actions.count == Some(Counter::UnprotectedStalled) {
            break now;
        }
        if now > ms(500 * u64::from(rcv / 1000 + 1)) {
            rcv += 1000;
            connection.on_progress(&progress(rcv, 0), now);
        }
    };
    assert!(
        rcv >= 3000 && end >= ms(2000) && end < ms(3000),
        "{rcv} {end:?}"
    );
}

#[test]
fn policy_changes_while_a_connection_lives() {
    let mut connection = protected();
    kept(&mut connection, 0, 3000);
    swallowed(connection.on_server(&seg(p(0), c(3000)), ms(1)));
    let actions = connection.set_terms(EAGER, ms(2));
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(3000)));
    assert_eq!(actions.record, acked(3000));
    // What was told stays told.
    let actions = connection.set_terms(Terms::default(), ms(3));
    assert_eq!(actions, Actions::default());
    kept(&mut connection, 3000, 100);
    swallowed(connection.on_server(&seg(p(0), c(3100)), ms(3)));
    let actions = connection.on_progress(&progress(3100, 0), ms(4));
    assert_eq!(actions.send.map(|ack| ack.ack), Some(c(3100)));
}

#[test]
fn policy_changes_in_a_long_stream() {
    let mut connection = protected();
    let mut end = c(0);
    for step in 1..=7_u32 {
        end = c(0) + (step << 29);
        // There was no room for copies.
        connection.on_server(&seg(p(0), end), ms(1));
        let progress = Progress {
            rcv_nxt: end,
            edge: end + (1 << 20),
            fin: false,
            ..progress(0, 0)
        };
        connection.on_progress(&progress, ms(1));
    }
    connection.set_terms(EAGER, ms(2));
    let kept = seg(end, p(0)).data(100);
    assert!(connection.on_client(&kept, Peer::Joined, ms(2)).retain);
    connection.on_retained(&kept, 2048);
    let (verdict, actions) = connection.on_server(&seg(p(0), end + 100), ms(2));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
    assert_eq!(actions.record, Some(Record::Acked(ID, end + 100)));
    // What has no copy waits.
    let (verdict, _) = connection.on_server(&seg(p(0), end + 200).data(1), ms(2));
    let Outbound::Send(change) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(change.ack, Some(end + 100));
}

#[test]
fn blocks_above_a_lower_acknowledgement_are_left_out() {
    let mut connection = protected();
    let mut answer = seg(p(0), c(100)).data(10);
    assert!(answer.options.sack.push(c(200), c(300)));
    let (verdict, _) = connection.on_server(&answer, ms(1));
    let Outbound::Send(change) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!((change.ack, change.sack), (Some(c(0)), SackRewrite::Blank));
    // With an acknowledgement that stays they stay.
    connection.on_progress(&progress(100, 0), ms(2));
    let (verdict, _) = connection.on_server(&answer, ms(3));
    assert_eq!(verdict, Outbound::Send(Rewrite::default()));
}

#[test]
fn slow_backup_is_given_time() {
    let mut connection = protected();
    let mut now = ms(10);
    let mut patience = vec![];
    for step in 0..40_u32 {
        connection.on_client(&seg(c(step * 100), p(0)).data(100), Peer::Joined, now);
        connection.on_server(&seg(p(0), c((step + 1) * 100)), now);
        patience.push(connection.poll_at().unwrap().since(now));
        now = now.after(Duration::from_millis(20));
        connection.on_progress(&progress((step + 1) * 100, 0), now);
    }
    assert_eq!(patience[0], Duration::from_millis(3));
    // Twice what it takes.
    let last = patience[39].as_millis();
    assert!((36..=40).contains(&last), "{last}");
}

/// How long a backup is given after forty times 100 bytes of the client, which it has `takes` ms after they came, but for every `lost`th that it has
/// as soon as it is sent them.
fn patience_after(takes: u64, lost: u32) -> u128 {
    let mut connection = protected();
    let (mut now, mut patience) = (10, 0);
    for step in 0..40_u32 {
        let end = (step + 1) * 100;
        connection.on_client(&seg(c(step * 100), p(0)).data(100), Peer::Joined, ms(now));
        connection.on_server(&seg(p(0), c(end)), ms(now));
        patience = connection.poll_at().unwrap().since(ms(now)).as_millis();
        let has = if step % lost == 0 {
            connection.poll_at().unwrap()
        } else {
            ms(now + takes)
        };
        while let Some(at) = connection.poll_at().filter(|at| *at <= has) {
            connection.poll(at, STALL_TIMEOUT);
        }
        connection.on_progress(&progress(end, 0), has);
        now += 100;
    }
    patience
}

#[test]
fn what_was_lost_is_no_slowness() {
    assert_eq!(patience_after(0, 5), 3);
    // Nor if a backup is quicker than the stack here, so that it owes an answer only of what was lost.
    let mut connection = protected();
    for step in 0..40_u32 {
        let (end, now) = ((step + 1) * 100, u64::from(10 + step * 100));
        connection.on_client(&seg(c(step * 100), p(0)).data(100), Peer::Joined, ms(now));
        let lost = step % 5 == 0;
        if !lost {
            connection.on_progress(&progress(end, 0), ms(now));
        }
        connection.on_server(&seg(p(0), c(end)), ms(now));
        if lost {
            assert_eq!(connection.poll_at(), Some(ms(now + 3)), "{step}");
            connection.poll(ms(now + 3), STALL_TIMEOUT);
            connection.on_progress(&progress(end, 0), ms(now + 3));
        }
    }
    // Asked again before it could answer, a slow one is given time all the same.
    let last = patience_after(20, u32::MAX);
    assert!((36..=40).contains(&last), "{last}");
}
