// SPDX-License-Identifier: GPL-2.0

//! Scripts for a shadow: what the client sends, what the local stack answers, and what becomes of either, before and after a takeover.

mod common;
mod script;

use script::{
    c, flow, linux, ms, p, plain_open, s, seg, syn, syn_ack, Script, CLIENT, ID, PRIMARY, SHADOW,
};
use std::time::Duration;
use sttcp::{
    actions::Actions,
    counters::Counter,
    message::{Bytes, Close, Gone, Open, Progress, Record, Span},
    node::{Peer, Predecessor},
    primary::{Connection, ConnectionId, Socket, Terms},
    rewrite::{Rewrite, SackRewrite},
    seq::{Delta, SeqNumber},
    shadow::Shadow,
    time::Instant,
    verdict::{Inbound, Outbound},
    wire::{Flags, Options, Segment, Timestamps},
};

const DELTA: Delta = Delta::of(PRIMARY, SHADOW);

/// The client's and the primary's clock in the handshake, and the shadow's.
const CLIENT_CLOCK: u32 = 500;
const PRIMARY_CLOCK: u32 = 9000;
const SHADOW_CLOCK: u32 = 4_000_000;

fn linux_open() -> Open {
    Open {
        mss: 1460,
        window_scale: Some((7, 7)),
        sack: true,
        timestamps: Some((CLIENT_CLOCK, PRIMARY_CLOCK)),
        ..plain_open()
    }
}

fn established() -> Shadow {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    let (outbound, actions) = shadow.on_output(&syn_ack(SHADOW), ms(0));
    assert_eq!(outbound, Outbound::Swallow);
    assert!(actions.release_queue);
    assert!(shadow.is_ready());
    shadow
}

/// A shadow with Linux's options, its own window scale being `scale`.
fn with_options(scale: u8) -> Shadow {
    let (mut shadow, _) = Shadow::open(&linux_open(), ms(0));
    let answer = syn_ack(SHADOW).options(linux(SHADOW_CLOCK, CLIENT_CLOCK, scale));
    shadow.on_output(&answer, ms(0));
    assert!(shadow.is_ready());
    shadow
}

fn speaking() -> Shadow {
    let mut shadow = established();
    let actions = shadow.take_over(ms(1), Predecessor::default());
    assert_eq!(actions.count, Some(Counter::TakeoverContinued));
    assert!(shadow.is_speaking());
    shadow
}

/// What the shadow says when it has advertised nothing since its SYN-ACK.
fn progress(rcv: u32, snd: u32) -> Option<Record> {
    progress_with(rcv, snd, 64240)
}

fn progress_with(rcv: u32, snd: u32, edge: u32) -> Option<Record> {
    Some(Record::Progress(Progress {
        id: ID,
        rcv_nxt: c(rcv),
        snd_nxt: p(snd),
        edge: c(edge),
        fin: false,
    }))
}

/// The client's segment reaches the stack with this acknowledgement, the rest as it was.
fn passed(result: (Inbound, Actions), ack: SeqNumber) -> Actions {
    let rewrite = Rewrite {
        ack: Some(ack),
        sack: SackRewrite::Back(DELTA),
        ..Rewrite::default()
    };
    assert_eq!(result.0, Inbound::Pass(rewrite));
    result.1
}

fn held(result: (Outbound, Actions), from: u32, to: u32) -> Actions {
    assert_eq!(result.0, Outbound::Hold(p(from), p(to)));
    assert_eq!(result.1.count, Some(Counter::SegmentsHeld));
    result.1
}

fn sent(result: (Outbound, Actions)) -> Rewrite {
    match result.0 {
        Outbound::Send(rewrite) => rewrite,
        other => panic!("{other:?}"),
    }
}

/// What the timer says when it next wants to be called, and when that is.
fn next(shadow: &mut Shadow) -> (Instant, Actions) {
    let now = shadow.poll_at().unwrap();
    (now, shadow.poll(now))
}

#[test]
fn opens_with_the_clients_syn() {
    let open = Open {
        window_scale: Some((9, 7)),
        ecn: true,
        ..linux_open()
    };
    let (shadow, injected) = Shadow::open(&open, ms(0));
    let expected = syn(CLIENT)
        .flag(Flags::ECE | Flags::CWR)
        .options(linux(CLIENT_CLOCK, 0, 9));
    assert_eq!(injected, expected);
    assert!(!shadow.is_ready());
    assert_eq!((shadow.id(), shadow.flow()), (ID, &flow()));
    let (_, injected) = Shadow::open(&plain_open(), ms(0));
    assert_eq!(injected, syn(CLIENT));
}

#[test]
fn handshake() {
    let (mut shadow, syn) = Shadow::open(&plain_open(), ms(0));
    let (inbound, actions) = shadow.on_client(&syn, ms(0));
    assert_eq!(
        (inbound, actions),
        (Inbound::Pass(Rewrite::default()), Actions::default())
    );

    let (outbound, actions) = shadow.on_output(&syn_ack(SHADOW), ms(1));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.inject, Some(seg(c(0), p(0)).window(64240)));
    assert_eq!(actions.record, progress(0, 0));
    assert_eq!(actions.count, Some(Counter::ShadowsEstablished));
    assert!(actions.release_queue);
    assert_eq!(shadow.poll_at(), Some(ms(201)));
    assert_eq!(shadow.state_name(), "shadow");

    // What was injected is in the client's view, and is translated as the client's own.
    passed(shadow.on_client(&actions.inject.unwrap(), ms(1)), s(0));
}

#[test]
fn client_segments_wait_for_the_handshake() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    // A bare acknowledgement says what the handshake says too; a reset is said once.
    for (segment, inbound) in [
        (seg(c(0), p(0)), Inbound::Ignore),
        (seg(c(0), p(0)).data(10), Inbound::Queue),
        (seg(c(0), p(0)).rst(), Inbound::Queue),
    ] {
        assert_eq!(
            shadow.on_client(&segment, ms(0)),
            (inbound, Actions::default())
        );
    }
}

#[test]
fn stray_syns_are_dropped() {
    let stray = (Inbound::Drop(Counter::StrayIn), Actions::default());
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    assert_eq!(shadow.on_client(&syn(CLIENT + 1), ms(0)), stray);
    assert_eq!(established().on_client(&syn(CLIENT), ms(0)), stray);
}

#[test]
fn syn_is_repeated_and_given_up() {
    let (mut shadow, syn) = Shadow::open(&plain_open(), ms(0));
    for tries in 1..150 {
        let (now, actions) = next(&mut shadow);
        assert_eq!((now, actions.inject), (ms(200 * tries), Some(syn)));
        assert!(!actions.remove);
    }
    let (_, actions) = next(&mut shadow);
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Refused)));
    assert!(actions.remove);
    // The primary's word, that it waits no longer, ends it at once; that the connection has ended, after a second.
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    next(&mut shadow);
    shadow.on_close(Close::Ended, ms(201));
    let last = std::iter::from_fn(|| Some(next(&mut shadow))).find(|(_, actions)| actions.remove);
    assert!(last.unwrap().0.since(ms(201)).as_millis() <= 1100);
}

#[test]
fn shadow_for_which_there_was_no_memory_was_not_refused() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    shadow.starve();
    let mut actions = next(&mut shadow).1;
    while !actions.remove {
        actions = next(&mut shadow).1;
    }
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::NoMemory)));
}

#[test]
fn repeated_syn_ack_gets_its_third_segment_again() {
    let mut shadow = established();
    passed(shadow.on_client(&seg(c(0), p(0)).data(10), ms(1)), s(0));
    let (outbound, actions) = shadow.on_output(&syn_ack(SHADOW), ms(2));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.inject, Some(seg(c(0), p(0))));
    assert!(!actions.release_queue);
}

#[test]
fn refused_by_the_local_server() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    let (outbound, actions) = shadow.on_output(&seg(s(0), c(0)).rst(), ms(1));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Refused)));
    assert!(actions.remove);
}

#[test]
fn hosts_whose_options_differ_make_no_shadow() {
    let full = linux(SHADOW_CLOCK, CLIENT_CLOCK, 7);
    for options in [
        Options::default(),
        Options {
            sack_permitted: false,
            ..full
        },
        Options {
            timestamps: None,
            ..full
        },
        Options {
            window_scale: None,
            ..full
        },
    ] {
        let (mut shadow, _) = Shadow::open(&linux_open(), ms(0));
        let (outbound, actions) = shadow.on_output(&syn_ack(SHADOW).options(options), ms(1));
        assert_eq!(outbound, Outbound::Swallow);
        assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Options)));
        let reset = actions.inject.unwrap();
        assert!(reset.flags.contains(Flags::RST));
        assert_eq!((reset.seq, reset.ack), (c(0), p(0)));
        assert!(!actions.release_queue);
        // A takeover does not make it speak, but the client must not wait for ever.
        let actions = shadow.take_over(ms(2), Predecessor::default());
        let reset = actions.send.unwrap();
        assert!(reset.flags.contains(Flags::RST));
        assert_eq!((reset.seq, reset.ack), (p(0), c(0)));
        assert_eq!(actions.count, Some(Counter::TakeoverReset));
        assert!(!shadow.is_speaking());
    }
}

#[test]
fn client_segment_is_translated() {
    let mut shadow = established();
    held(shadow.on_output(&seg(s(0), c(0)).data(70), ms(1)), 0, 70);
    let actions = passed(shadow.on_client(&seg(c(0), p(40)).data(10), ms(2)), s(40));
    assert_eq!(actions.release_held, Some(p(40)));
    // The numbers of the primary wrap between its bytes 40 and 70; the shadow's do not.
    let actions = passed(shadow.on_client(&seg(c(10), p(70)), ms(3)), s(70));
    assert_eq!(actions.release_held, Some(p(70)));
    let actions = passed(shadow.on_client(&seg(c(10), p(60)), ms(4)), s(60));
    assert_eq!(actions.release_held, None);
}

/// What the shadow believes of the client, as the segment shows that it would inject.
fn belief(shadow: &mut Shadow) -> Segment {
    shadow.doom(ms(9)).inject.unwrap()
}

#[test]
fn what_the_stack_drops_is_no_news() {
    let before = belief(&mut with_options(7));
    // Anyone who knows the endpoints can send these: the stack wants an acknowledgement, and a number between what it acknowledged
    // and the end of its window.
    let anywhere = seg(c(0), p(900))
        .window(9)
        .data(10)
        .timestamps(80_000, 70_000);
    let mut unacknowledged = anywhere;
    unacknowledged.flags = Flags::PSH | Flags::FIN;
    for forged in [
        unacknowledged,
        Segment {
            seq: c(64_241),
            ..anywhere
        },
        Segment {
            seq: c(0) - 11,
            ..anywhere
        },
        Segment {
            ack: p(0) - (65_535 << 7) - 1,
            ..anywhere
        },
    ] {
        let mut shadow = with_options(7);
        let (inbound, actions) = shadow.on_client(&forged, ms(1));
        assert!(matches!(inbound, Inbound::Pass(_)));
        assert_eq!(actions.release_held, None);
        assert_eq!((shadow.lag_in(), shadow.lag_out()), (0, 0));
        assert_eq!(belief(&mut shadow), before, "{forged:?}");
    }
    for heard in [
        anywhere,
        Segment {
            seq: c(64_240),
            ..anywhere
        },
        Segment {
            seq: c(0) - 10,
            ..anywhere
        },
    ] {
        let mut shadow = with_options(7);
        let actions = shadow.on_client(&heard, ms(1)).1;
        assert_eq!(actions.release_held, Some(p(900)));
        let after = belief(&mut shadow);
        assert_eq!((after.ack, after.window), (p(900), 9));
        assert_eq!(after.options.timestamps.unwrap().tsval, 80_000);
    }
}

#[test]
fn window_that_is_accepted_follows_the_stack() {
    for (seq, heard) in [
        (c(98), None),
        (c(99), Some(p(7))),
        (c(100 + (600 << 7)), Some(p(7))),
        (c(101 + (600 << 7)), None),
    ] {
        let mut shadow = with_options(7);
        // It acknowledges 100 bytes, and takes 600 units more.
        shadow.on_output(&seg(s(0), c(100)).window(600), ms(1));
        let actions = shadow.on_client(&seg(seq, p(7)).data(1), ms(2)).1;
        assert_eq!(actions.release_held, heard, "{seq:?}");
    }
    // A FIN is taken with no room left, and what the client says after it counts.
    let mut shadow = established();
    shadow.on_output(&seg(s(0), c(100)).window(0), ms(1));
    let edge = 65535;
    shadow.on_client(&seg(c(100), p(0)).data(edge - 100).fin(), ms(2));
    shadow.on_output(&seg(s(0), c(edge + 1)).window(0), ms(2));
    let actions = shadow.on_client(&seg(c(edge + 1), p(7)), ms(3)).1;
    assert_eq!(actions.release_held, Some(p(7)));
}

#[test]
fn acknowledgement_ahead_of_the_shadow_is_clamped() {
    let mut shadow = established();
    held(shadow.on_output(&seg(s(0), c(0)).data(30), ms(1)), 0, 30);
    let (inbound, actions) = shadow.on_client(&seg(c(0), p(100)).data(10), ms(2));
    let clamped = Rewrite {
        ack: Some(s(30)),
        // The right edge stays.
        window: Some(570),
        sack: SackRewrite::Blank,
        ..Rewrite::default()
    };
    assert_eq!(inbound, Inbound::Pass(clamped));
    assert_eq!(actions.count, Some(Counter::AcksClamped));
    assert_eq!(actions.release_held, Some(p(100)));
    assert_eq!(shadow.lag_out(), 70);
}

#[test]
fn clamped_window_is_scaled_and_fits() {
    let mut shadow = with_options(7);
    for (ack, window, expected) in [(1280, 500, 510), (1281, 500, 511), (1280, 65530, 65535)] {
        let (inbound, _) = shadow.on_client(&seg(c(0), p(ack)).window(window), ms(1));
        match inbound {
            Inbound::Pass(rewrite) => assert_eq!(rewrite.window, Some(expected)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn shadow_hears_at_once_that_the_client_has_its_output() {
    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(100)), ms(1));
    let (outbound, actions) = shadow.on_output(&seg(s(0), c(0)).data(60), ms(2));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.count, Some(Counter::AcksInjected));
    // Injected in the client's view: the acknowledgement of byte 100 is clamped again on its way in.
    let injected = actions.inject.unwrap();
    assert_eq!(injected, seg(c(0), p(100)));
    match shadow.on_client(&injected, ms(2)).0 {
        Inbound::Pass(rewrite) => assert_eq!(rewrite.ack, Some(s(60))),
        other => panic!("{other:?}"),
    }
    // Of this one the client has a part.
    let actions = held(shadow.on_output(&seg(s(60), c(0)).data(60), ms(3)), 60, 120);
    assert_eq!(actions.inject, None);
}

#[test]
fn retransmission_of_what_is_held_is_swallowed() {
    let mut shadow = established();
    held(shadow.on_output(&seg(s(0), c(0)).data(60), ms(1)), 0, 60);
    let again = shadow.on_output(&seg(s(0), c(0)).data(60), ms(2));
    assert_eq!(again.0, Outbound::Swallow);
    assert_eq!(again.1.count, Some(Counter::OutputSwallowed));
    assert_eq!(
        shadow.on_output(&seg(s(20), c(0)).data(30), ms(2)).0,
        Outbound::Swallow
    );
    held(shadow.on_output(&seg(s(20), c(0)).data(60), ms(3)), 20, 80);
    held(shadow.on_output(&seg(s(80), c(0)).fin(), ms(4)), 80, 81);
}

#[test]
fn what_could_not_be_held_is_held_when_it_is_repeated() {
    let mut shadow = established();
    held(shadow.on_output(&seg(s(0), c(0)).data(60), ms(1)), 0, 60);
    held(shadow.on_output(&seg(s(60), c(0)).data(40), ms(2)), 60, 100);
    assert_eq!(shadow.not_held(p(60)), Counter::NoMemory);
    let again = shadow.on_output(&seg(s(0), c(0)).data(60), ms(3));
    assert_eq!(again.0, Outbound::Swallow);
    held(shadow.on_output(&seg(s(60), c(0)).data(40), ms(3)), 60, 100);
    let again = shadow.on_output(&seg(s(60), c(0)).data(40), ms(4));
    assert_eq!(again.0, Outbound::Swallow);
}

#[test]
fn progress_is_reported_when_it_moved() {
    let mut shadow = established();
    let told = progress_with(10_000, 0, 64240);
    assert_eq!(shadow.on_delivered(c(10_000), ms(1)), told);
    assert_eq!(shadow.on_delivered(c(10_000), ms(2)), None);
    assert_eq!(shadow.on_delivered(c(9_000), ms(2)), None);
    // By the tracepoint or by the stack's own acknowledgement, whichever is first.
    let output = seg(s(0), c(10_000)).window(54240);
    let (outbound, actions) = shadow.on_output(&output, ms(3));
    assert_eq!((outbound, actions.record), (Outbound::Swallow, None));
    let output = seg(s(0), c(15_000)).data(20).window(49240);
    let actions = held(shadow.on_output(&output, ms(4)), 0, 20);
    assert_eq!(actions.record, progress(15_000, 20));
    assert_eq!(shadow.on_delivered(c(15_000), ms(5)), None);
}

#[test]
fn query_is_answered_even_without_news() {
    let (mut opening, _) = Shadow::open(&plain_open(), ms(0));
    assert_eq!(opening.on_query(), None);
    assert_eq!(opening.on_delivered(c(10), ms(0)), None);
    let mut shadow = established();
    assert_eq!(shadow.on_query(), progress(0, 0));
    assert_eq!(shadow.on_query(), progress(0, 0));
    shadow.on_delivered(c(10), ms(1));
    assert_eq!(shadow.on_query(), progress(10, 0));
}

#[test]
fn repeated_open_is_recognised() {
    let shadow = established();
    assert!(shadow.is_for(&plain_open()));
    let other = Open {
        id: ConnectionId(1),
        ..plain_open()
    };
    assert!(!shadow.is_for(&other));
}

#[test]
fn lag_is_what_came_by_and_was_not_taken() {
    let (opening, _) = Shadow::open(&plain_open(), ms(0));
    assert_eq!((opening.lag_in(), opening.lag_out()), (0, 0));
    let mut shadow = established();
    shadow.on_client(&seg(c(40), p(25)).data(60), ms(1));
    assert_eq!((shadow.lag_in(), shadow.lag_out()), (100, 25));
    shadow.on_delivered(c(100), ms(2));
    shadow.on_output(&seg(s(0), c(100)).data(25), ms(2));
    assert_eq!((shadow.lag_in(), shadow.lag_out()), (0, 0));
}

#[test]
fn timestamps_are_translated_from_the_first_packet_on() {
    let (mut shadow, _) = Shadow::open(&linux_open(), ms(0));
    let answer = syn_ack(SHADOW).options(linux(SHADOW_CLOCK, CLIENT_CLOCK, 7));
    // The stack answered 5 ms later; the primary's clock has moved on as well.
    let (_, actions) = shadow.on_output(&answer, ms(5));
    let third = actions.inject.unwrap();
    let echo = Timestamps {
        tsval: CLIENT_CLOCK,
        tsecr: PRIMARY_CLOCK + 5,
    };
    assert_eq!(third.options.timestamps, Some(echo));
    match shadow.on_client(&third, ms(5)).0 {
        Inbound::Pass(rewrite) => {
            // Exactly what the SYN-ACK said (tcp_check_req).
            assert_eq!(rewrite.tsecr, Some(SHADOW_CLOCK));
            assert_eq!(rewrite.tsval, None);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn takeover_acknowledges_recent_client_data() {
    let mut quiet = established();
    assert_eq!(quiet.take_over(ms(9), Predecessor::default()).send, None);

    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(0)).data(100), ms(1));
    shadow.on_delivered(c(100), ms(1));
    shadow.on_output(&seg(s(0), c(100)), ms(2));
    let actions = shadow.take_over(ms(3), Predecessor::default());
    assert_eq!(actions.send, Some(seg(p(0), c(100))));
    assert_eq!(shadow.state_name(), "migrated");

    // What goes out now says so too; not so what has gone out from the other host.
    for (heard, send) in [(29, None), (30, Some(seg(p(30), c(100))))] {
        let mut holds = established();
        holds.on_client(&seg(c(0), p(0)).data(100), ms(1));
        holds.on_delivered(c(100), ms(1));
        held(holds.on_output(&seg(s(0), c(100)).data(30), ms(2)), 0, 30);
        holds.on_client(&seg(c(100), p(heard)), ms(2));
        let actions = holds.take_over(ms(3), Predecessor::default());
        assert_eq!(actions.send, send);
    }

    // It would have repeated them, and then it is acknowledged however late.
    let sent = |times: u64, at| {
        let mut old = established();
        for time in 1..=times {
            old.on_client(&seg(c(0), p(0)).data(100), ms(time));
        }
        old.on_delivered(c(100), ms(times));
        old.on_output(&seg(s(0), c(100)), ms(times));
        old.take_over(at, silent_by(1_000, false)).send
    };
    assert!(sent(1, ms(4_001)).is_some());
    assert_eq!(sent(1, ms(4_002)), None);
    assert!(sent(2, ms(300_002)).is_some());
    assert_eq!(sent(2, ms(300_003)), None);
}

#[test]
fn taken_over_once_it_is_not_taken_over_again() {
    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(0)).data(100), ms(1));
    shadow.on_delivered(c(100), ms(1));
    assert!(shadow.take_over(ms(2), silent(1_000)).send.is_some());
    let before = format!("{shadow:?}");
    let again = shadow.take_over(ms(3), silent(1_000));
    assert_eq!(again, Actions::default());
    assert!(!shadow.take_over_at_rest(ms(9_000), Predecessor::default()));
    assert_eq!(format!("{shadow:?}"), before);
}

#[test]
fn takeover_of_a_connection_at_rest_does_nothing_else() {
    let default = Predecessor::default();
    let strict = Predecessor {
        strict: true,
        ..default
    };
    type Case = (&'static str, fn() -> Shadow, Predecessor, bool);
    let long_ago = || {
        let mut shadow = established();
        shadow.on_client(&seg(c(0), p(0)).data(100), ms(1));
        shadow.on_delivered(c(100), ms(1));
        shadow.on_output(&seg(s(0), c(100)), ms(2));
        shadow
    };
    let holds = || {
        let mut shadow = established();
        held(shadow.on_output(&seg(s(0), c(0)).data(30), ms(2)), 0, 30);
        shadow
    };
    let opening = || Shadow::open(&plain_open(), ms(0)).0;
    let carried = || {
        let mut shadow = established();
        shadow.carry(ms(1), Predecessor::default());
        shadow
    };
    let cases: [Case; 7] = [
        ("nothing was said", established, default, true),
        ("it was long ago", long_ago, default, true),
        ("output is held", holds, default, false),
        ("it has no socket yet", opening, default, false),
        ("it speaks already", carried, default, false),
        ("the primary was eager", established, silent(1_000), false),
        ("servers are compared", established, strict, false),
    ];
    for (text, make, before, rests) in cases {
        let (mut one, mut other) = (make(), make());
        let untouched = format!("{one:?}");
        assert_eq!(one.take_over_at_rest(ms(9_000), before), rests, "{text}");
        if rests {
            let actions = other.take_over(ms(9_000), before);
            let continued = Actions {
                count: Some(Counter::TakeoverContinued),
                ..Actions::default()
            };
            assert_eq!(actions, continued, "{text}");
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{text}");
        } else {
            assert_eq!(format!("{one:?}"), untouched, "{text}");
        }
    }
}

#[test]
fn acknowledgement_at_takeover_is_never_below_what_the_client_has() {
    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(500)).data(100), ms(1));
    // The shadow has sent nothing yet. A number below the client's window would be old news to it.
    let ack = shadow
        .take_over(ms(2), Predecessor::default())
        .send
        .unwrap();
    assert_eq!((ack.seq, ack.ack), (p(500), c(0)));
}

#[test]
fn held_segments_go_out_up_to_date() {
    let mut shadow = established();
    let segment = seg(s(0), c(0)).data(60);
    held(shadow.on_output(&segment, ms(1)), 0, 60);
    shadow.on_output(&seg(s(60), c(100)).window(321), ms(2));
    shadow.take_over(ms(3), Predecessor::default());
    let expected = Rewrite {
        seq: Some(p(0)),
        ack: Some(c(100)),
        window: Some(321),
        ..Rewrite::default()
    };
    assert_eq!(shadow.outward_held(&segment, ms(4)), expected);
}

#[test]
fn window_at_takeover_is_the_stacks() {
    // These bytes are taken, and the stack has not acknowledged them yet: its window has become narrower by as much.
    let taken = |shadow: &mut Shadow| {
        shadow.on_client(&seg(c(0), p(0)).data(100), ms(2));
        shadow.on_delivered(c(100), ms(2));
        shadow.take_over(ms(3), Predecessor::default()).send
    };
    let mut shadow = established();
    shadow.on_output(&seg(s(0), c(0)).window(64_240), ms(1));
    let ack = taken(&mut shadow).unwrap();
    assert_eq!((ack.ack, ack.window), (c(100), 64_140));

    let mut holds = established();
    let segment = seg(s(0), c(0)).data(60).window(64_240);
    held(holds.on_output(&segment, ms(1)), 0, 60);
    assert_eq!(taken(&mut holds), None);
    let rewrite = holds.outward_held(&segment, ms(3));
    assert_eq!((rewrite.ack, rewrite.window), (Some(c(100)), Some(64_140)));
}

#[test]
fn output_is_translated_after_the_takeover() {
    let mut shadow = speaking();
    let rewrite = sent(shadow.on_output(&seg(s(0), c(0)).data(60), ms(2)));
    assert_eq!((rewrite.seq, rewrite.ack), (Some(p(0)), None));
    // Past the primary's wrap, a bare acknowledgement, a FIN, a reset.
    for segment in [
        seg(s(60), c(9)),
        seg(s(60), c(9)).fin(),
        seg(s(61), c(9)).rst(),
    ] {
        let rewrite = sent(shadow.on_output(&segment, ms(3)));
        assert_eq!(rewrite.seq, Some(segment.seq + DELTA));
        assert_eq!(rewrite.sack, SackRewrite::Keep);
    }
    assert_eq!(shadow.on_delivered(c(50), ms(4)), None);
}

#[test]
fn output_that_the_client_has_is_not_repeated_after_the_takeover() {
    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(100)), ms(1));
    shadow.take_over(ms(2), Predecessor::default());
    let (outbound, actions) = shadow.on_output(&seg(s(0), c(0)).data(100), ms(3));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.inject, Some(seg(c(0), p(100))));
    sent(shadow.on_output(&seg(s(100), c(0)).data(10), ms(4)));
}

#[test]
fn takeover_in_the_middle_of_the_handshake() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    let actions = shadow.take_over(ms(1), Predecessor::default());
    assert_eq!(
        (actions.send, actions.count),
        (None, Some(Counter::TakeoverContinued))
    );
    // There is no socket yet, and still the SYN that is played again opens no other connection.
    assert!(shadow.is_opened_by(&syn(CLIENT)) && !shadow.is_opened_by(&syn(CLIENT + 1)));
    let (outbound, actions) = shadow.on_output(&syn_ack(SHADOW), ms(2));
    assert_eq!(outbound, Outbound::Swallow);
    assert!(actions.inject.is_some() && actions.release_queue);
    assert!(!shadow.is_opened_by(&syn(CLIENT)));
    let rewrite = sent(shadow.on_output(&seg(s(0), c(0)).data(5), ms(3)));
    assert_eq!(rewrite.seq, Some(p(0)));
}

#[test]
fn takeover_in_the_middle_of_a_handshake_that_comes_to_nothing() {
    // The local server refuses, its stack never answers, or its options are others: the client waits for nobody.
    let opening = || {
        let mut shadow = Shadow::open(&linux_open(), ms(0)).0;
        shadow.take_over(ms(1), Predecessor::default());
        shadow
    };
    let mut refused = opening();
    let (outbound, actions) = refused.on_output(&seg(s(0), c(0)).rst(), ms(2));
    assert_eq!((outbound, actions.remove), (Outbound::Swallow, true));
    let mut silent = opening();
    let mut given_up = next(&mut silent).1;
    while !given_up.remove {
        given_up = next(&mut silent).1;
    }
    let mut differs = opening();
    let differing = differs.on_output(&syn_ack(SHADOW), ms(2)).1;
    assert!(differing.inject.unwrap().flags.contains(Flags::RST));
    for actions in [actions, given_up, differing] {
        let reset = actions.send.unwrap();
        assert!(reset.flags.contains(Flags::RST));
        assert_eq!((reset.seq, actions.record), (p(0), None));
        assert_eq!(actions.count, Some(Counter::TakeoverReset));
    }
}

#[test]
fn third_segment_is_repeated_until_there_is_a_socket() {
    // Under SYN cookies a stack whose accept queue is full forgets it, and the client waits for the server's first word.
    let cookies = || {
        let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
        shadow.on_output(&syn_ack(SHADOW), ms(0));
        shadow
    };
    let third = Some(seg(c(0), p(0)).window(64240));
    let mut shadow = cookies();
    for at in [200, 400] {
        let (now, actions) = next(&mut shadow);
        assert_eq!((now, actions.check_socket), (ms(at), true));
        let actions = shadow.on_socket(Socket::Gone, now);
        assert_eq!((actions.inject, actions.remove), (third, false));
    }
    // There it is, and its end is an end.
    shadow.on_delivered(c(0), ms(500));
    assert_eq!(shadow.poll_at(), None);
    assert!(shadow.on_socket(Socket::Gone, ms(600)).remove);
    // A stack that resets what it knows nothing of is not asked again.
    let mut shadow = cookies();
    let (now, _) = next(&mut shadow);
    shadow.on_socket(Socket::Gone, now);
    shadow.on_output(&seg(s(0), c(0)).rst(), now);
    let (now, actions) = next(&mut shadow);
    assert_eq!((now, actions.check_socket), (ms(210), true));
    let over = shadow.on_socket(Socket::Gone, now);
    let gone = Some(Record::Gone(ID, Gone::Ended));
    assert_eq!((over.record, over.remove, over.inject), (gone, true, None));
    // A client that nobody else serves does not wait for ever.
    let mut shadow = cookies();
    shadow.take_over(ms(1), Predecessor::default());
    let reset = loop {
        let (now, actions) = next(&mut shadow);
        assert!(actions.check_socket);
        let actions = shadow.on_socket(Socket::Gone, now);
        if actions.remove {
            assert!(now <= ms(1000));
            break actions.send.unwrap();
        }
    };
    assert!(reset.flags.contains(Flags::RST));
}

#[test]
fn what_waits_for_a_server_is_no_hole() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    shadow.take_over(ms(1), silent(0));
    // The stack's accept queue is full: it takes neither the third segment nor what comes after it.
    shadow.on_output(&syn_ack(SHADOW), ms(2));
    shadow.on_client(&seg(c(0), p(0)).data(100), ms(3));
    let mut knocks = 0;
    while shadow.poll_at().is_some_and(|at| at < ms(800)) {
        let (now, actions) = next(&mut shadow);
        assert_eq!((actions.count, actions.remove), (None, false), "{now:?}");
        if actions.check_socket {
            let actions = shadow.on_socket(Socket::Request, now);
            knocks += u32::from(actions.inject.is_some());
        }
    }
    assert_eq!(knocks, 3);
    shadow.on_delivered(c(100), ms(800));
    assert!(shadow.is_speaking());
}

#[test]
fn hole_before_the_first_byte_is_one() {
    let mut shadow = established();
    shadow.take_over(ms(10), silent(0));
    // The socket is there and has nothing to say, as all that came is behind the gap.
    assert_eq!(shadow.on_socket(Socket::Live, ms(11)), Actions::default());
    shadow.on_client(&seg(c(8), p(0)), ms(12));
    let actions = loop {
        let (_, actions) = next(&mut shadow);
        if actions.count.is_some() {
            break actions;
        }
        assert_eq!(actions.send.unwrap().seq, p(0) - 1);
    };
    gave_up(&shadow, &actions, 0);
}

#[test]
fn server_has_a_second_from_the_takeover_on() {
    let tries = |takeover: Option<u64>| {
        let mut shadow = Shadow::open(&plain_open(), ms(0)).0;
        let mut tries = 0;
        loop {
            let now = shadow.poll_at().unwrap();
            if takeover.is_some_and(|at| now > ms(at)) && !shadow.is_speaking() {
                shadow.take_over(now, Predecessor::default());
            }
            let actions = shadow.poll(now);
            if actions.remove {
                break tries;
            }
            tries += 1;
        }
    };
    assert_eq!((tries(None), tries(Some(700))), (149, 3 + 4));
}

#[test]
fn window_is_scaled_again() {
    // The primary told the client 7; the shadow's stack chose another.
    for (scale, field, expected) in [
        (7, 500, 500),
        (9, 500, 2000),
        (5, 500, 125),
        (14, 5000, 65535),
    ] {
        let mut shadow = with_options(scale);
        shadow.take_over(ms(1), Predecessor::default());
        let rewrite = sent(shadow.on_output(&seg(s(0), c(0)).data(1).window(field), ms(2)));
        assert_eq!(rewrite.window, Some(expected), "{scale}");
    }
}

#[test]
fn clock_is_the_primarys_and_never_goes_back() {
    let mut shadow = with_options(7);
    shadow.take_over(ms(1), Predecessor::default());
    let output = |at| seg(s(0), c(0)).data(1).timestamps(SHADOW_CLOCK + at, 0);
    let rewrite = sent(shadow.on_output(&output(10), ms(10)));
    assert_eq!(
        (rewrite.tsval, rewrite.tsecr),
        (Some(PRIMARY_CLOCK + 10), None)
    );
    // The primary's clock ran ahead by 40: the client has seen 9060, and would drop anything older (PAWS).
    let echo = seg(c(0), p(0)).timestamps(CLIENT_CLOCK + 20, PRIMARY_CLOCK + 60);
    shadow.on_client(&echo, ms(20));
    let rewrite = sent(shadow.on_output(&output(20), ms(20)));
    assert_eq!(rewrite.tsval, Some(PRIMARY_CLOCK + 60));
    let rewrite = sent(shadow.on_output(&output(25), ms(25)));
    assert_eq!(rewrite.tsval, Some(PRIMARY_CLOCK + 65));
}

#[test]
fn output_held_for_long_does_not_move_the_clock() {
    let mut shadow = with_options(7);
    let old = seg(s(0), c(0)).data(1).timestamps(SHADOW_CLOCK + 10, 0);
    shadow.on_output(&old, ms(10));
    // The primary has fallen silent in words, not in acknowledgements: the client has echoed clocks since.
    let echo = seg(c(0), p(0)).timestamps(CLIENT_CLOCK + 20, PRIMARY_CLOCK + 29_000);
    shadow.on_client(&echo, ms(29_000));
    shadow.take_over(ms(30_000), Predecessor::default());
    let rewrite = shadow.outward_held(&old, ms(30_000));
    assert_eq!(rewrite.tsval, Some(PRIMARY_CLOCK + 30_000));
    let next = seg(s(1), c(0)).data(1).timestamps(SHADOW_CLOCK + 30_001, 0);
    let rewrite = sent(shadow.on_output(&next, ms(30_001)));
    assert_eq!(rewrite.tsval, Some(PRIMARY_CLOCK + 30_001));
}

#[test]
fn connection_that_ended_ends_the_shadow() {
    let mut shadow = established();
    let actions = shadow.on_close(Close::Ended, ms(5));
    assert_eq!((actions.inject, actions.remove), (None, false));
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Ended)));
    assert_eq!(shadow.state_name(), "ending");
    let (now, actions) = next(&mut shadow);
    assert_eq!((now, actions.check_socket), (ms(15), true));
    // Its server does not end: three seconds later it is reset.
    let (now, actions) = next(&mut shadow);
    assert_eq!(now, ms(3005));
    assert_eq!(actions.count, Some(Counter::ShadowsOverdue));
    assert!(actions.inject.unwrap().flags.contains(Flags::RST));
    assert_eq!(shadow.state_name(), "doomed");
    let gone = shadow.on_socket(Socket::Gone, ms(20));
    assert_eq!((gone.record, gone.remove), (None, true));
}

#[test]
fn shadow_that_does_not_move_says_where_it_stands() {
    // The primary's `Close` was lost, and so were the client's last segments: it would stay as long as its server does.
    let mut shadow = established();
    assert_eq!(shadow.sweep(ms(29_999)).record, None);
    let actions = shadow.sweep(ms(30_000));
    assert_eq!(
        (actions.record, actions.check_socket),
        (progress(0, 0), true)
    );
    assert_eq!(shadow.sweep(ms(59_999)).record, None);
    assert_eq!(shadow.sweep(ms(60_000)).record, progress(0, 0));
    // Neither one that is ending nor one that speaks has anything to say.
    shadow.on_close(Close::Ended, ms(60_000));
    assert_eq!(shadow.sweep(ms(90_000)).record, None);
    assert_eq!(speaking().sweep(ms(90_000)).record, None);
}

#[test]
fn ending_shadow_is_not_continued() {
    let mut shadow = established();
    shadow.on_close(Close::Ended, ms(5));
    assert_eq!(
        shadow.take_over(ms(6), Predecessor::default()),
        Actions::default()
    );
    assert!(!shadow.is_speaking());
}

#[test]
fn unprotected_connection_dooms_its_shadow() {
    let mut shadow = established();
    shadow.on_delivered(c(30), ms(1));
    let actions = shadow.on_close(Close::Unprotected, ms(5));
    // At the very place where the stack expects it (RFC 5961, section 3.2).
    assert_eq!(actions.inject, Some(seg(c(30), p(0)).rst().window(64240)));
    assert_eq!(actions.count, Some(Counter::ShadowsAbandoned));
    // The primary waits for this word, and asks again if it is lost.
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Ended)));
    let actions = shadow.on_close(Close::Unprotected, ms(5));
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Ended)));
    assert_eq!((actions.inject, actions.count), (None, None));
    // Until the socket is gone, the reset is repeated.
    for at in [15, 215, 415] {
        let (now, actions) = next(&mut shadow);
        assert_eq!((now, actions.check_socket), (ms(at), true));
        assert_eq!(actions.inject, Some(seg(c(30), p(0)).rst().window(64240)));
    }
    assert_eq!(
        shadow.on_output(&seg(s(0), c(30)).rst(), ms(500)).0,
        Outbound::Swallow
    );
}

#[test]
fn shadow_not_yet_there_is_just_dropped() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    let actions = shadow.on_close(Close::Unprotected, ms(1));
    assert!(actions.remove);
    assert_eq!(actions.inject, None);
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Ended)));
}

#[test]
fn primarys_word_means_nothing_after_the_takeover() {
    let mut shadow = speaking();
    assert_eq!(
        shadow.on_close(Close::Unprotected, ms(2)),
        Actions::default()
    );
    assert_eq!(shadow.on_close(Close::Ended, ms(2)), Actions::default());
    assert!(shadow.is_speaking());
    assert_eq!(shadow.state_name(), "migrated");
}

#[test]
fn reset_of_the_client_is_for_the_stack_to_judge() {
    let mut shadow = established();
    shadow.on_delivered(c(0), ms(1));
    let reset = Segment {
        flags: Flags::RST,
        ..seg(c(0), p(0))
    };
    let (inbound, _) = shadow.on_client(&reset, ms(5));
    assert_eq!(inbound, Inbound::Pass(Rewrite::default()));
    let (now, actions) = next(&mut shadow);
    assert_eq!((now, actions.check_socket), (ms(15), true));
    // The stack did believe it.
    let gone = Some(Record::Gone(ID, Gone::Ended));
    let actions = shadow.on_socket(Socket::Gone, ms(20));
    assert_eq!((actions.record, actions.remove), (gone, true));
    assert_eq!(actions.count, Some(Counter::ShadowsFinished));
}

#[test]
fn reset_of_the_shadow_does_not_leave_the_host() {
    let mut shadow = established();
    assert_eq!(
        shadow.on_output(&seg(s(0), c(0)).rst(), ms(5)).0,
        Outbound::Swallow
    );
    let (now, actions) = next(&mut shadow);
    assert_eq!((now, actions.check_socket), (ms(15), true));
}

#[test]
fn end_of_a_migrated_connection_is_no_news_for_the_peer() {
    let mut shadow = speaking();
    shadow.on_delivered(c(0), ms(2));
    let actions = shadow.on_socket(Socket::Gone, ms(20));
    assert_eq!((actions.record, actions.remove), (None, true));
    // Its answers out of TIME-WAIT need translation; those of a silent shadow nobody gets.
    assert!(!shadow.on_socket(Socket::TimeWait, ms(20)).remove);
    assert!(established().on_socket(Socket::TimeWait, ms(20)).remove);
}

#[test]
fn host_that_steps_down_resets_its_sockets() {
    // Of a connection that was migrated here,
    let mut shadow = speaking();
    sent(shadow.on_output(&seg(s(0), c(100)).data(30), ms(2)));
    let actions = shadow.step_down(ms(3));
    assert!(!shadow.is_speaking());
    let reset = actions.inject.unwrap();
    assert_eq!((reset.seq, reset.flags), (c(100), Flags::RST | Flags::ACK));
    assert!(matches!(
        shadow.on_client(&reset, ms(3)).0,
        Inbound::Pass(_)
    ));
    let (_, actions) = next(&mut shadow);
    assert!(actions.check_socket && actions.inject == Some(reset));

    // and of one that began here. What its socket says, until it believes the reset, nobody hears, and it tells where to put the next.
    let mut connection =
        Connection::from_syn(ID, flow(), &syn(CLIENT), Terms::default(), ms(0)).unwrap();
    assert!(connection.step_down(ms(0)).is_none());
    connection.on_syn_ack(&syn_ack(PRIMARY), ms(0));
    connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    connection.on_server(&seg(p(0), c(40)).data(7), ms(1));
    let (mut shadow, actions) = connection.step_down(ms(2)).unwrap();
    assert_eq!(actions.inject.unwrap().seq, c(40));
    let (outbound, actions) = shadow.on_output(&seg(p(7), c(50)), ms(3));
    assert_eq!((outbound, actions.record), (Outbound::Swallow, None));
    let (_, actions) = next(&mut shadow);
    assert_eq!(actions.inject.unwrap().seq, c(50));
    assert!(shadow.on_socket(Socket::Gone, ms(20)).remove);
}

#[test]
fn doomed_shadow_is_no_shadow() {
    let mut shadow = established();
    shadow.on_close(Close::Unprotected, ms(1));
    // Whatever the primary asks: it must not take the connection for protected.
    assert_eq!(shadow.on_query(), Some(Record::Gone(ID, Gone::Ended)));
    assert_eq!(shadow.on_delivered(c(10), ms(2)), None);
    assert_eq!(shadow.on_output(&seg(s(0), c(20)), ms(2)).1.record, None);
}

#[test]
fn reset_of_a_migrated_connection_is_the_clients_kind() {
    let mut shadow = speaking();
    sent(shadow.on_output(&seg(s(0), c(100)).data(30), ms(2)));
    let reset = shadow.reset(ms(3));
    assert_eq!(reset, seg(p(30), c(100)).rst());
}

#[test]
fn socket_of_an_earlier_connection_makes_room() {
    let (mut shadow, syn) = Shadow::open(&plain_open(), ms(0));
    // It does not know the SYN, and says what it expects.
    let (outbound, actions) = shadow.on_output(&seg(s(500), c(77)), ms(1));
    assert_eq!(outbound, Outbound::Swallow);
    let reset = actions.inject.unwrap();
    assert_eq!((reset.seq, reset.flags), (c(77), Flags::RST));
    let (inbound, _) = shadow.on_client(&reset, ms(1));
    assert_eq!(inbound, Inbound::Pass(Rewrite::default()));
    // A reset at any other place is not ours, and waits like every segment of the client.
    let other = Segment {
        seq: c(78),
        ..reset
    };
    assert_eq!(shadow.on_client(&other, ms(1)).0, Inbound::Queue);
    // The way is free for the SYN.
    let (now, actions) = next(&mut shadow);
    assert_eq!((now, actions.inject), (ms(11), Some(syn)));
    assert!(!shadow.is_ready());
}

#[test]
fn request_of_an_earlier_connection_makes_room_too() {
    let (mut shadow, syn) = Shadow::open(&plain_open(), ms(0));
    // Nobody has answered the SYN of another connection between the same endpoints, and the kernel says once more what it said to that.
    let other = Segment {
        ack: c(77),
        ..syn_ack(SHADOW)
    };
    let (outbound, actions) = shadow.on_output(&other, ms(1));
    assert_eq!((outbound, actions.record), (Outbound::Swallow, None));
    let reset = actions.inject.unwrap();
    assert_eq!((reset.seq, reset.flags), (c(77), Flags::RST));
    assert!(!shadow.is_ready());
    let (now, actions) = next(&mut shadow);
    assert_eq!((now, actions.inject), (ms(11), Some(syn)));
    shadow.on_output(&syn_ack(SHADOW), ms(12));
    assert!(shadow.is_ready());
}

#[test]
fn acknowledgement_of_a_shadow_that_is_behind_is_put_where_the_client_takes_it() {
    let mut shadow = speaking();
    // The client has 1000 bytes of the primary, of which the shadow has sent 300.
    sent(shadow.on_output(&seg(s(0), c(0)).data(300), ms(2)));
    shadow.on_client(&seg(c(0), p(1000)).data(10), ms(3));
    let rewrite = sent(shadow.on_output(&seg(s(300), c(10)), ms(4)));
    assert_eq!((rewrite.seq, rewrite.ack), (Some(p(1000)), None));
    // Data that the client has is not sent; what it acknowledges is, if it is news.
    let (outbound, actions) = shadow.on_output(&seg(s(300), c(10)).data(200), ms(5));
    assert_eq!((outbound, actions.send), (Outbound::Swallow, None));
    let (outbound, actions) = shadow.on_output(&seg(s(500), c(20)).data(200), ms(6));
    assert_eq!(outbound, Outbound::Swallow);
    assert_eq!(actions.send, Some(seg(p(1000), c(20))));
    // Data that reaches beyond goes out as it is.
    let rewrite = sent(shadow.on_output(&seg(s(700), c(20)).data(500), ms(7)));
    assert_eq!(rewrite.seq, Some(p(700)));
    // In step again: a keep-alive probe stays a byte behind, or nobody would answer it.
    shadow.on_client(&seg(c(20), p(1200)), ms(8));
    let rewrite = sent(shadow.on_output(&seg(s(1199), c(20)), ms(9)));
    assert_eq!(rewrite.seq, Some(p(1199)));
}

#[test]
fn reset_of_a_shadow_that_is_behind_is_one_that_the_client_believes() {
    let mut shadow = speaking();
    shadow.on_client(&seg(c(0), p(1000)), ms(3));
    let rewrite = sent(shadow.on_output(&seg(s(0), c(0)).rst(), ms(4)));
    assert_eq!(rewrite.seq, Some(p(1000)));
}

#[test]
fn acknowledgement_far_ahead_is_believed_only_where_nobody_guesses() {
    // The tap lost segments: the client has 140,000 bytes more than is known here, two windows and some.
    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(0)).data(100), ms(1));
    shadow.on_delivered(c(100), ms(1));
    // Whoever guessed a place in the window could put bytes there that the primary's stack drops.
    for at in [90, 110] {
        let doubted = shadow.on_client(&seg(c(at), p(140_000)).data(20), ms(2));
        let dropped = Inbound::Drop(Counter::AcksDoubted);
        assert_eq!(doubted, (dropped, Actions::default()));
    }
    assert_eq!((shadow.lag_in(), shadow.lag_out()), (0, 0));
    // The very byte that comes next.
    let (_, actions) = shadow.on_client(&seg(c(100), p(140_000)).data(20), ms(3));
    assert_eq!(actions.count, Some(Counter::AcksClamped));
    assert_eq!(actions.release_held, Some(p(140_000)));
    assert_eq!(shadow.lag_out(), 140_000);
    // From then on the next ones are, whatever their place.
    let (inbound, _) = shadow.on_client(&seg(c(200), p(141_000)).data(20), ms(4));
    assert!(matches!(inbound, Inbound::Pass(_)));
}

#[test]
fn acknowledgement_is_believed_as_far_as_the_window_goes_and_not_as_far_as_its_scale_allows() {
    let mut shadow = with_options(7);
    let says = |at: u32, ack: u32, window: u16| seg(c(at), p(ack)).data(10).window(window);
    shadow.on_client(&says(0, 0, 500), ms(1));
    shadow.on_delivered(c(10), ms(1));
    // 64,240 bytes, those of the SYN, and as many again should the tap have lost what the client said since.
    let (inbound, _) = shadow.on_client(&says(20, 128_481, 500), ms(2));
    assert_eq!(inbound, Inbound::Drop(Counter::AcksDoubted));
    assert_eq!(shadow.lag_out(), 0);
    let (inbound, _) = shadow.on_client(&says(20, 128_480, 500), ms(3));
    assert!(matches!(inbound, Inbound::Pass(_)));
    assert_eq!(shadow.lag_out(), 128_480);
    // The window is 64,000 bytes now, then 640,000.
    let (inbound, _) = shadow.on_client(&says(30, 256_481, 500), ms(4));
    assert_eq!(inbound, Inbound::Drop(Counter::AcksDoubted));
    shadow.on_client(&says(30, 128_480, 5000), ms(5));
    let (inbound, _) = shadow.on_client(&says(40, 128_480 + 1_280_000, 5000), ms(6));
    assert!(matches!(inbound, Inbound::Pass(_)));
}

#[test]
fn shadow_too_far_behind_is_given_up() {
    let mut shadow = established();
    let (mut at, mut acked) = (0, 0);
    // A whole window each time; an interpreter has no patience for so many.
    let step = if cfg!(miri) { 1 << 20 } else { 65_535 };
    let actions = loop {
        at += 1;
        acked += step;
        let (_, actions) = shadow.on_client(&seg(c(0), p(acked)), ms(at));
        if actions.inject.is_some() {
            break actions;
        }
    };
    assert!(acked > 1 << 30 && acked <= (1 << 30) + step, "{acked}");
    assert_eq!(actions.count, Some(Counter::ShadowsBehind));
    assert_eq!(actions.record, Some(Record::Gone(ID, Gone::Ended)));
    let reset = actions.inject.unwrap();
    assert!(reset.flags.contains(Flags::RST));
    // The reset passes, and once is enough.
    let (inbound, actions) = shadow.on_client(&reset, ms(at));
    assert!(matches!(inbound, Inbound::Pass(_)));
    assert_eq!(actions.inject, None);
}

#[test]
fn window_of_the_shadow_is_told_when_it_opens() {
    let mut shadow = established();
    // Its server has not read: the edge stays where the SYN-ACK put it.
    let (_, actions) = shadow.on_output(&seg(s(0), c(30_000)).window(34_240), ms(2));
    assert_eq!(actions.record, progress(30_000, 0));
    let (_, actions) = shadow.on_output(&seg(s(0), c(30_000)).window(35_000), ms(3));
    assert_eq!(actions.record, None);
    // It has read.
    let (_, actions) = shadow.on_output(&seg(s(0), c(30_000)).window(64_000), ms(4));
    assert_eq!(actions.record, progress_with(30_000, 0, 94_000));
}

fn bytes(at: u32, payload: &[u8], fin: bool) -> Bytes<'_> {
    Bytes {
        id: ID,
        seq: c(at),
        fin,
        payload,
    }
}

#[test]
fn gap_in_what_the_tap_shows_is_asked_for() {
    let mut shadow = established();
    let record = |shadow: &mut Shadow, segment| shadow.on_client(&segment, ms(1)).1.record;
    assert_eq!(record(&mut shadow, seg(c(0), p(0)).data(100)), None);
    // The socket's owner may be at work: that it has not taken the first says nothing.
    assert_eq!(record(&mut shadow, seg(c(100), p(0)).data(100)), None);
    let missing = |from, to| {
        let (start, end) = (c(from), c(to));
        Some(Record::Missing(ID, Span { start, end }))
    };
    assert_eq!(
        record(&mut shadow, seg(c(300), p(0)).data(100)),
        missing(200, 300)
    );
    // Once: the primary repeats what does not arrive.
    assert_eq!(record(&mut shadow, seg(c(400), p(0)).data(100)), None);
    assert_eq!(record(&mut shadow, seg(c(250), p(0)).data(50)), None);
    // A bare acknowledgement shows a gap too.
    assert_eq!(record(&mut shadow, seg(c(600), p(0))), missing(500, 600));
}

#[test]
fn bytes_of_the_primary_are_injected_as_the_clients() {
    let mut shadow = established();
    shadow.on_client(&seg(c(300), p(0)).data(100), ms(1));
    let (segment, answer) = shadow.on_bytes(&bytes(0, &[7; 300], false));
    let segment = segment.unwrap();
    assert_eq!((segment.seq, segment.end(), answer), (c(0), c(300), None));
    assert!(matches!(
        shadow.on_client(&segment, ms(2)),
        (Inbound::Pass(_), Actions { record: None, .. })
    ));
    assert_eq!(shadow.on_delivered(c(400), ms(2)), None);
    let told = shadow.poll(ms(3)).record;
    assert!(matches!(told, Some(Record::Progress(progress)) if progress.rcv_nxt == c(400)));
    // What it has is answered and not played again.
    let (segment, answer) = shadow.on_bytes(&bytes(0, &[7; 300], false));
    assert_eq!(segment, None);
    assert!(matches!(answer, Some(Record::Progress(progress)) if progress.rcv_nxt == c(400)));
    let (segment, _) = shadow.on_bytes(&bytes(400, &[], true));
    assert_eq!(segment.map(|segment| segment.end()), Some(c(401)));
}

#[test]
fn bytes_of_the_primary_come_too_early_or_too_late() {
    let (mut shadow, _) = Shadow::open(&plain_open(), ms(0));
    assert_eq!(shadow.on_bytes(&bytes(0, &[7], false)), (None, None));
    let mut shadow = established();
    shadow.take_over(ms(5), Predecessor::default());
    assert_eq!(shadow.on_bytes(&bytes(0, &[7], false)), (None, None));
    let mut shadow = established();
    shadow.doom(ms(5));
    let (segment, answer) = shadow.on_bytes(&bytes(0, &[7], false));
    assert_eq!(segment, None);
    assert_eq!(answer, Some(Record::Gone(ID, Gone::Ended)));
}

/// An eager primary that has not been heard for so many ms.
fn silent(millis: u64) -> Predecessor {
    silent_by(millis, true)
}

fn silent_by(millis: u64, eager: bool) -> Predecessor {
    Predecessor {
        silence: Duration::from_millis(millis),
        eager,
        ..Predecessor::default()
    }
}

/// A shadow that has taken 100 bytes.
fn fed() -> Shadow {
    let mut shadow = established();
    shadow.on_client(&seg(c(0), p(0)).data(100), ms(1));
    shadow.on_delivered(c(100), ms(1));
    shadow
}

/// It gives up: the client and the socket are reset.
fn gave_up(shadow: &Shadow, actions: &Actions, ack: u32) {
    assert_eq!(actions.count, Some(Counter::TakeoverHoles));
    let reset = actions.send.unwrap();
    assert_eq!((reset.seq, reset.ack), (p(0), c(ack)));
    assert!(reset.flags.contains(Flags::RST));
    assert!(actions.inject.unwrap().flags.contains(Flags::RST));
    assert_eq!(
        (shadow.state_name(), shadow.is_speaking()),
        ("doomed", false)
    );
}

#[test]
fn hole_that_the_primary_told_of_ends_the_connection_at_once() {
    let mut shadow = fed();
    shadow.on_acked(c(300));
    let actions = shadow.take_over(ms(10), silent(0));
    assert_eq!(actions.count, Some(Counter::TakeoverContinued));
    let (at, actions) = next(&mut shadow);
    assert_eq!(at, ms(15));
    gave_up(&shadow, &actions, 100);
}

#[test]
fn what_the_stack_is_still_busy_with_is_no_hole() {
    let mut shadow = fed();
    shadow.on_acked(c(300));
    shadow.take_over(ms(10), silent(1));
    shadow.on_client(&seg(c(100), p(0)).data(200), ms(11));
    shadow.on_delivered(c(300), ms(11));
    while shadow.poll_at().is_some() {
        let (at, actions) = next(&mut shadow);
        assert_eq!(actions.count, None);
        shadow.on_client(&seg(c(300), p(0)), at);
    }
    assert!(shadow.is_speaking());
}

#[test]
fn client_tells_of_a_hole_that_the_primary_did_not_tell_of() {
    let mut shadow = fed();
    shadow.take_over(ms(10), silent(500));
    // The probe is below what the client expects, so it answers.
    let (at, actions) = next(&mut shadow);
    assert_eq!(at, ms(15));
    let probe = actions.send.unwrap();
    assert_eq!((probe.seq, probe.ack), (p(0) - 1, c(100)));
    shadow.on_client(&seg(c(250), p(0)), ms(16));
    // It may still have the bytes, and repeat them.
    let actions = loop {
        let (at, actions) = next(&mut shadow);
        if actions.count.is_some() {
            assert_eq!(at, ms(2516));
            break actions;
        }
        assert_eq!(actions.send.unwrap().seq, p(0) - 1);
    };
    gave_up(&shadow, &actions, 100);
}

#[test]
fn client_behind_a_hole_is_heard_wherever_it_stands() {
    // The primary has answered what is not here, with more than a window; or has taken more than there is room for here.
    for (seq, ack) in [(250, 500_000), (400_000, 0)] {
        let mut shadow = with_options(7);
        shadow.on_client(&seg(c(0), p(0)).data(100), ms(1));
        shadow.on_delivered(c(100), ms(1));
        shadow.take_over(ms(10), silent(500));
        shadow.on_client(&seg(c(seq), p(ack)), ms(16));
        let actions = loop {
            let (_, actions) = next(&mut shadow);
            if actions.count.is_some() {
                break actions;
            }
        };
        gave_up(&shadow, &actions, 100);
    }
}

#[test]
fn client_that_repeats_has_no_hole() {
    let mut shadow = fed();
    shadow.take_over(ms(10), silent(500));
    next(&mut shadow);
    shadow.on_client(&seg(c(250), p(0)), ms(16));
    shadow.on_client(&seg(c(100), p(0)).data(150), ms(700));
    shadow.on_delivered(c(250), ms(700));
    assert_eq!(shadow.poll_at(), None);
    assert!(shadow.is_speaking());
    // What comes at once may have been sent before; and an acknowledgement from there may be a keep-alive probe, behind a hole of one byte.
    let mut shadow = fed();
    shadow.take_over(ms(10), silent(500));
    shadow.on_output(&seg(s(0), c(100)).data(30), ms(11));
    shadow.on_client(&seg(c(100), p(20)).data(1), ms(12));
    assert_eq!(next(&mut shadow).0, ms(15));
    shadow.on_client(&seg(c(100), p(30)), ms(16));
    assert!(shadow.poll_at().is_some());
    shadow.on_client(&seg(c(100), p(30)).data(1), ms(17));
    assert_eq!(shadow.poll_at(), None);
}

#[test]
fn primary_that_lives_may_acknowledge_after_the_takeover() {
    let mut shadow = fed();
    shadow.take_over(ms(10), silent(0));
    next(&mut shadow);
    shadow.on_client(&seg(c(100), p(0)).data(50), ms(20));
    shadow.on_delivered(c(150), ms(20));
    // It has gone on, and then the other host took what did not come by here.
    shadow.on_client(&seg(c(250), p(0)), ms(30));
    let (end, actions) = loop {
        let (at, actions) = next(&mut shadow);
        if actions.count.is_some() {
            break (at, actions);
        }
    };
    gave_up(&shadow, &actions, 150);
    assert!(end >= ms(2615) && end < ms(3500), "{end:?}");
}

#[test]
fn client_that_has_sent_nothing_more_has_no_hole() {
    let mut shadow = fed();
    shadow.take_over(ms(10), silent(0));
    let mut end = ms(0);
    while shadow.poll_at().is_some() {
        let (at, actions) = next(&mut shadow);
        assert_eq!(actions.count, None);
        shadow.on_client(&seg(c(100), p(0)), at);
        end = at;
    }
    assert_eq!(end, ms(2010));
    // One that is cut off for longer is asked again when it can answer.
    let mut shadow = fed();
    shadow.take_over(ms(10), silent(0));
    let mut probes = 0;
    while shadow.poll_at().is_some_and(|at| at < ms(60_000)) {
        let (_, actions) = next(&mut shadow);
        assert!(actions.send.is_some() && actions.count.is_none());
        probes += 1;
    }
    assert!((8..16).contains(&probes), "{probes}");
    shadow.on_client(&seg(c(200), p(0)), ms(60_000));
    let mut actions = Actions::default();
    while actions.count.is_none() {
        actions = next(&mut shadow).1;
    }
    gave_up(&shadow, &actions, 100);
}

#[test]
fn gated_primary_leaves_no_doubt() {
    let mut shadow = established();
    shadow.on_delivered(c(0), ms(1));
    shadow.on_client(&seg(c(500), p(0)).data(100), ms(1));
    shadow.take_over(ms(10), Predecessor::default());
    assert_eq!(shadow.poll_at(), None);
    // One that was eager a moment ago does.
    let mut shadow = established();
    shadow.on_acked(c(10));
    shadow.take_over(ms(10), silent(0));
    let (_, actions) = next(&mut shadow);
    gave_up(&shadow, &actions, 0);
}

#[test]
fn long_stream_has_no_hole() {
    let mut shadow = established();
    for step in 1..=7_u32 {
        let end = c(0) + (step << 29);
        shadow.on_delivered(end, ms(1));
    }
    shadow.take_over(ms(10), Predecessor::default());
    assert_eq!(shadow.poll_at(), None);
}
