// SPDX-License-Identifier: GPL-2.0

//! The two copies of the server's program: one ends its stream, or falls silent, and the other does not.

mod common;
mod script;

use script::{c, flow, ms, p, plain_open, seg, syn, syn_ack, Script, CLIENT, ID, PRIMARY};
use sttcp::{
    actions::Actions,
    counters::Counter,
    message::{Close, Gone, Progress, Record},
    node::Peer,
    primary::{Connection, Socket, State, Terms, STALL_TIMEOUT},
    program::{Failure, Scope, Watch},
    rewrite::Rewrite,
    time::Instant,
    verdict::Outbound,
    wire::{Flags, Segment},
};

const WATCH: Watch = Watch {
    scope: Scope::Node,
    hold_ms: 200,
    lag_ms: 1000,
    lag_bytes: 0,
};

/// Who is behind by 300 bytes is given 100 ms.
const FAR: Watch = Watch {
    lag_bytes: 300,
    ..WATCH
};

fn protected_by(watch: Watch) -> Connection {
    let terms = Terms {
        watch,
        ..Terms::default()
    };
    let mut connection = Connection::from_syn(ID, flow(), &syn(CLIENT), terms, ms(0)).unwrap();
    connection.on_syn_ack(&syn_ack(PRIMARY).window(5000), ms(0));
    let actions = connection.on_client(&seg(c(0), p(0)), Peer::Joined, ms(0));
    assert_eq!(actions.record, Some(Record::Open(plain_open())));
    connection.on_progress(&progress(0, 0), ms(1));
    assert_eq!(connection.state(), State::Protected);
    connection
}

fn protected() -> Connection {
    protected_by(Watch { lag_ms: 0, ..WATCH })
}

fn progress(rcv: u32, snd: u32) -> Progress {
    Progress {
        id: ID,
        rcv_nxt: c(rcv),
        snd_nxt: p(snd),
        edge: c(1 << 20),
        fin: false,
    }
}

/// The shadow's FIN is the last of what it has sent.
fn ended(rcv: u32, snd: u32) -> Progress {
    Progress {
        fin: true,
        ..progress(rcv, snd)
    }
}

const QUERY: Option<Record> = Some(Record::Query(ID, sttcp::seq::SeqNumber::new(CLIENT + 1)));

fn swallowed(sent: (Outbound, Actions)) -> Actions {
    assert_eq!(sent.0, Outbound::Swallow);
    sent.1
}

/// What is sent to the client is the server's FIN behind so many bytes.
fn says_fin(actions: &Actions, at: u32) {
    let fin = actions.send.expect("a FIN");
    assert_eq!(fin.flags, Flags::FIN | Flags::ACK);
    assert_eq!((fin.seq, fin.payload_len), (p(at), 0));
}

fn says_reset(actions: &Actions, at: u32) {
    let reset = actions.send.expect("a reset");
    assert_eq!(reset.flags, Flags::RST | Flags::ACK);
    assert_eq!(reset.seq, p(at));
}

/// Everything that is due until then, with its time; nothing else is said.
fn until(connection: &mut Connection, end: Instant) -> Vec<(Instant, Actions)> {
    let mut all = vec![];
    while let Some(at) = connection.poll_at().filter(|at| *at <= end) {
        all.push((at, connection.poll(at, STALL_TIMEOUT)));
        assert!(all.len() < 100, "polled without end");
    }
    all
}

#[test]
fn nothing_is_held_unless_asked_for() {
    let mut connection = protected_by(Watch::OFF);
    let (outbound, actions) = connection.on_server(&seg(p(0), c(0)).fin(), ms(5));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
    assert_eq!(actions, Actions::default());
    let (outbound, _) = connection.on_server(&seg(p(1), c(0)).rst(), ms(6));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
    let mut connection = protected_by(Watch::OFF);
    connection.on_progress(&ended(0, 1), ms(5));
    connection.on_server(&seg(p(0), c(0)).data(7), ms(6));
    assert_eq!(until(&mut connection, ms(100_000)), []);
}

#[test]
fn fin_goes_out_with_the_shadows() {
    let mut connection = protected();
    let actions = swallowed(connection.on_server(&seg(p(0), c(0)).fin(), ms(5)));
    assert_eq!(actions.count, Some(Counter::FarewellsHeld));
    assert_eq!(actions.record, QUERY);
    // Again, by its timer.
    let again = swallowed(connection.on_server(&seg(p(0), c(0)).fin(), ms(100)));
    assert_eq!(again, Actions::default());
    let actions = connection.on_progress(&ended(0, 1), ms(101));
    says_fin(&actions, 0);
    assert_eq!(actions.failed, None);
    // From here on it is TCP's own affair.
    let (outbound, _) = connection.on_server(&seg(p(0), c(0)).fin(), ms(300));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
    assert!(until(&mut connection, ms(10_000))
        .iter()
        .all(|(_, actions)| actions.failed.is_none() && actions.send.is_none()));
}

#[test]
fn shadow_may_be_first() {
    let mut connection = protected();
    connection.on_progress(&ended(0, 1), ms(5));
    let (outbound, actions) = connection.on_server(&seg(p(0), c(0)).fin(), ms(6));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
    assert_eq!(actions, Actions::default());
    assert_eq!(until(&mut connection, ms(500)), []);
}

#[test]
fn bytes_before_the_fin_are_not_held() {
    let mut connection = protected();
    let (outbound, actions) = connection.on_server(&seg(p(0), c(0)).data(70).fin(), ms(5));
    let without = Rewrite {
        clear_fin: true,
        ..Rewrite::default()
    };
    assert_eq!(outbound, Outbound::Send(without));
    assert_eq!(actions.count, Some(Counter::FarewellsHeld));
    // The client acknowledges what it has got.
    connection.on_client(&seg(c(0), p(70)), Peer::Joined, ms(6));
    says_fin(&connection.on_progress(&ended(0, 71), ms(7)), 70);
}

#[test]
fn shadow_that_lives_on_is_found() {
    // It says so in time, and no more than the primary.
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).fin(), ms(5));
    assert_eq!(connection.on_progress(&progress(0, 70), ms(6)).failed, None);
    let said = until(&mut connection, ms(205));
    let asked = said.iter().filter(|(_, actions)| actions.record == QUERY);
    let asked: Vec<_> = asked.map(|(at, _)| *at).collect();
    // Ever more seldom, but eight times in the time it has.
    assert_eq!(asked, [15, 35, 60, 85, 110, 135, 160, 185].map(ms));
    let (at, last) = said.last().unwrap();
    assert_eq!((*at, last.failed), (ms(205), Some(Failure::Ended)));
    assert_eq!(last.count, Some(Counter::ServersEnded));
    assert_eq!(last.send, None);
    // Where nothing comes of it, it is said again.
    let (at, last) = *until(&mut connection, ms(405)).last().unwrap();
    assert_eq!((at, last.failed), (ms(405), Some(Failure::Ended)));
    // The client sends to a socket that is none any longer, and hears nothing of that.
    connection.on_client(&seg(c(0), p(70)).data(9), Peer::Joined, ms(410));
    swallowed(connection.on_server(&seg(p(71), c(0)).rst(), ms(410)));
    let gone = connection.on_socket(Socket::Gone, ms(420));
    assert_eq!(gone, Actions::default());
    assert_eq!(connection.state(), State::Protected);
}

#[test]
fn shadow_that_has_said_more_lives() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).fin(), ms(5));
    // A byte in the place of the FIN.
    let actions = connection.on_progress(&progress(0, 71), ms(6));
    assert_eq!(actions.failed, Some(Failure::Ended));
    assert_eq!(actions.send, None);
}

#[test]
fn shadow_that_is_slower_decides_nothing() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).fin(), ms(5));
    connection.on_progress(&progress(0, 30), ms(6));
    let said = until(&mut connection, ms(205));
    says_fin(&said.last().unwrap().1, 70);
    let (outbound, _) = connection.on_server(&seg(p(70), c(0)).fin(), ms(300));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
}

#[test]
fn shadow_that_goes_on_behind_the_end_is_left() {
    // The client was told, as the shadow was slower; or nothing was held.
    for watch in [WATCH, Watch::OFF] {
        let mut connection = protected_by(watch);
        connection.on_server(&seg(p(0), c(0)).data(70).window(5000).fin(), ms(5));
        connection.on_progress(&progress(0, 30), ms(6));
        until(&mut connection, ms(205));
        let actions = connection.on_progress(&progress(0, 70), ms(206));
        assert_eq!(connection.state(), State::Protected);
        assert_eq!(actions.failed, None);
        let actions = connection.on_progress(&progress(0, 71), ms(207));
        assert_eq!(actions.count, Some(Counter::UnprotectedParted));
    }
    let mut connection = protected_by(Watch::OFF);
    connection.on_server(&seg(p(0), c(0)).data(70).window(5000).fin(), ms(5));
    connection.on_progress(&ended(0, 71), ms(6));
    assert_eq!(connection.state(), State::Protected);
}

#[test]
fn both_end_at_different_places() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).fin(), ms(5));
    // The shadow's program had more to say.
    let actions = connection.on_progress(&ended(0, 90), ms(6));
    assert_eq!((actions.failed, actions.send), (Some(Failure::Ended), None));

    // It had less: the client hears when the time is over.
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).fin(), ms(5));
    let actions = connection.on_progress(&ended(0, 31), ms(6));
    assert_eq!((actions.failed, actions.send), (None, None));
    let said = until(&mut connection, ms(205));
    says_fin(&said.last().unwrap().1, 70);
}

#[test]
fn reset_goes_out_when_the_shadow_is_gone() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70), ms(5));
    let actions = swallowed(connection.on_server(&seg(p(70), c(0)).rst(), ms(6)));
    assert_eq!(actions.count, Some(Counter::FarewellsHeld));
    // Its socket is gone, and the connection is not over.
    assert_eq!(
        connection.on_socket(Socket::Gone, ms(16)),
        Actions::default()
    );
    let actions = connection.on_gone(Gone::Ended, ms(20));
    says_reset(&actions, 70);
    assert!(connection.on_socket(Socket::Gone, ms(30)).remove);

    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70), ms(5));
    connection.on_server(&seg(p(70), c(0)).rst(), ms(6));
    connection.on_progress(&progress(0, 70), ms(7));
    let (at, last) = *until(&mut connection, ms(206)).last().unwrap();
    assert_eq!((at, last.failed), (ms(206), Some(Failure::Ended)));
}

#[test]
fn reset_and_fin_at_one_place_are_one_end() {
    // The server here closes with a request unread; the other has read nothing of it yet.
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).window(5000), ms(5));
    swallowed(connection.on_server(&seg(p(70), c(0)).rst(), ms(6)));
    let actions = connection.on_progress(&ended(0, 71), ms(7));
    assert_eq!(actions.failed, None);
    says_reset(&actions, 70);
    // The other may be first.
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).window(5000), ms(5));
    connection.on_progress(&ended(0, 71), ms(6));
    let (outbound, _) = connection.on_server(&seg(p(70), c(0)).rst(), ms(7));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
    // One that ends later has had more to say.
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70).window(5000), ms(5));
    swallowed(connection.on_server(&seg(p(70), c(0)).rst(), ms(6)));
    let actions = connection.on_progress(&ended(0, 90), ms(7));
    assert_eq!(actions.failed, Some(Failure::Ended));
}

#[test]
fn reset_after_both_have_ended_is_not_held() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).fin(), ms(5));
    connection.on_progress(&ended(0, 1), ms(6));
    let (outbound, _) = connection.on_server(&seg(p(1), c(0)).rst(), ms(7));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
}

#[test]
fn client_hears_when_the_backup_is_lost() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).fin(), ms(5));
    let why = Counter::UnprotectedBackupLost;
    says_fin(&connection.unprotect(why, Peer::Absent, ms(50)), 0);
    // Told once.
    let again = connection.unprotect(why, Peer::Absent, ms(51));
    assert_eq!(again.send, None);
}

#[test]
fn client_hears_when_nothing_is_to_be_held_any_longer() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).fin(), ms(5));
    says_fin(&connection.set_terms(Terms::default(), ms(6)), 0);
    let (outbound, _) = connection.on_server(&seg(p(0), c(0)).fin(), ms(300));
    assert_eq!(outbound, Outbound::Send(Rewrite::default()));
}

#[test]
fn backups_server_ends_alone() {
    let mut connection = protected();
    connection.on_server(&seg(p(0), c(0)).data(70), ms(5));
    connection.on_progress(&ended(0, 71), ms(10));
    let (at, last) = *until(&mut connection, ms(210)).last().unwrap();
    assert_eq!(at, ms(210));
    assert_eq!(last.count, Some(Counter::UnprotectedServerEnded));
    let close = Record::Close(ID, Close::Unprotected);
    assert_eq!(last.record, Some(close));
}

/// The client's request has come in, and the stack says so; and has the client's acknowledgement of `sent` bytes of the server.
fn request(connection: &mut Connection, sent: u32, now: Instant) {
    connection.on_client(&seg(c(0), p(sent)).data(10), Peer::Joined, now);
    connection.on_server(&seg(p(sent), c(10)).window(5000), now);
}

fn asks(actions: &Actions) -> bool {
    matches!(actions.record, Some(Record::Query(..)))
}

#[test]
fn server_that_hangs_is_found() {
    let mut connection = protected_by(WATCH);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    let said = until(&mut connection, ms(1010));
    assert_eq!(said.len(), 1);
    assert!(said[0].0 == ms(1010) && asks(&said[0].1));
    // The other has answered.
    connection.on_progress(&progress(10, 300), ms(1012));
    let said = until(&mut connection, ms(1510));
    assert_eq!(
        (said.len(), said[0].0, said[0].1.failed),
        (1, ms(1510), Some(Failure::Hung))
    );
    assert_eq!(said[0].1.count, Some(Counter::ServersHung));
}

#[test]
fn server_that_does_not_read_is_found() {
    /// The client has filled the window here, and the shadow's ends so much further on than in the beginning.
    fn filled(opened: u32) -> Connection {
        let mut connection = protected_by(WATCH);
        connection.on_client(&seg(c(0), p(0)).data(5000), Peer::Joined, ms(10));
        connection.on_server(&seg(p(0), c(5000)).window(0), ms(11));
        let progress = Progress {
            edge: c((1 << 20) + opened),
            ..progress(5000, 0)
        };
        connection.on_progress(&progress, ms(12));
        until(&mut connection, ms(1011));
        connection.on_progress(&progress, ms(1012));
        connection
    }
    let mut connection = filled(5000);
    let (at, last) = *until(&mut connection, ms(1511)).last().unwrap();
    assert_eq!((at, last.failed), (ms(1511), Some(Failure::Hung)));

    // Neither reads, and the shadow's buffer is larger.
    let mut connection = filled(999);
    let said = until(&mut connection, ms(9000));
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));

    // One that reads in time.
    let mut connection = filled(5000);
    connection.on_server(&seg(p(0), c(5000)).window(5000), ms(1400));
    let said = until(&mut connection, ms(9000));
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));
}

#[test]
fn server_that_has_nothing_to_say_does_not_hang() {
    let mut connection = protected_by(WATCH);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    until(&mut connection, ms(1010));
    connection.on_progress(&progress(10, 0), ms(1012));
    let said = until(&mut connection, ms(100_000));
    assert_eq!(said, [(ms(1510), Actions::default())]);
}

#[test]
fn server_that_answers_late_does_not_hang() {
    let mut connection = protected_by(WATCH);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    until(&mut connection, ms(1010));
    connection.on_progress(&progress(10, 300), ms(1012));
    connection.on_server(&seg(p(0), c(10)).data(300).window(5000), ms(1400));
    let said = until(&mut connection, ms(1510));
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));
}

#[test]
fn server_that_waits_for_the_client_does_not_hang() {
    let mut connection = protected_by(WATCH);
    // 100 bytes are under way, and it may send no more.
    connection.on_server(&seg(p(0), c(0)).data(100).window(5000), ms(5));
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    until(&mut connection, ms(1010));
    connection.on_progress(&progress(10, 300), ms(1012));
    let said = until(&mut connection, ms(1510));
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));
}

#[test]
fn server_that_hangs_as_the_other_is_asked_is_found() {
    let mut connection = protected_by(WATCH);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 100), ms(11));
    connection.on_server(&seg(p(0), c(10)).data(100).window(5000), ms(12));
    // The next request comes just before the backup is asked how far its shadow is, which has not answered by then.
    let next = seg(c(10), p(100)).data(10);
    connection.on_client(&next, Peer::Joined, ms(1009));
    connection.on_server(&seg(p(100), c(20)).window(5000), ms(1009));
    until(&mut connection, ms(1010));
    connection.on_progress(&progress(20, 100), ms(1011));
    let said = until(&mut connection, ms(1510));
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));
    // Once more, then.
    let said = until(&mut connection, ms(2510));
    assert!(said.len() == 1 && asks(&said[0].1), "{said:?}");
    connection.on_progress(&progress(20, 200), ms(2511));
    let said = until(&mut connection, ms(3010));
    assert_eq!(said.last().unwrap().1.failed, Some(Failure::Hung));
}

#[test]
fn lost_answer_is_asked_for_again() {
    let mut connection = protected_by(WATCH);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    let said = until(&mut connection, ms(3010));
    assert!(said.iter().all(|(_, actions)| asks(actions)), "{said:?}");
    assert_eq!(said.len(), 5);
}

#[test]
fn backups_server_that_hangs_is_left() {
    let mut connection = protected_by(WATCH);
    connection.on_server(&seg(p(0), c(0)).data(100).window(5000), ms(10));
    connection.on_client(&seg(c(0), p(100)), Peer::Joined, ms(12));
    // Asked, and asked again: twice it has sent nothing.
    for at in [1010, 1510] {
        let said = until(&mut connection, ms(at));
        assert!(said.len() == 1 && asks(&said[0].1), "{said:?}");
        connection.on_progress(&progress(0, 0), ms(at + 2));
    }
    let said = until(&mut connection, ms(2010));
    assert_eq!(said[0].1.count, Some(Counter::UnprotectedServerHung));
    assert!(matches!(connection.state(), State::Unprotected(_)));

    // One that comes after does not.
    let mut connection = protected_by(WATCH);
    connection.on_server(&seg(p(0), c(0)).data(100).window(5000), ms(10));
    connection.on_client(&seg(c(0), p(100)), Peer::Joined, ms(12));
    until(&mut connection, ms(1010));
    connection.on_progress(&progress(0, 0), ms(1012));
    until(&mut connection, ms(1510));
    connection.on_progress(&progress(0, 100), ms(1512));
    until(&mut connection, ms(9000));
    assert_eq!(connection.state(), State::Protected);
}

/// What is done until 150 ms after a request if the shadow has answered so much, and when.
fn far_behind(answer: u32, watch: Watch) -> (Connection, Vec<(Instant, Actions)>) {
    let mut connection = protected_by(watch);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    let asked = until(&mut connection, ms(110));
    assert!(asked.len() == 1 && asked[0].0 == ms(110) && asks(&asked[0].1));
    connection.on_progress(&progress(10, answer), ms(112));
    let said = until(&mut connection, ms(160));
    (connection, said)
}

#[test]
fn server_that_is_far_behind_is_found_soon() {
    let (_, said) = far_behind(300, FAR);
    let (at, last) = *said.last().unwrap();
    assert_eq!((at, last.failed), (ms(160), Some(Failure::Hung)));
    // The other measure is not needed for that.
    let (_, said) = far_behind(300, Watch { lag_ms: 0, ..FAR });
    assert_eq!(said.last().unwrap().1.failed, Some(Failure::Hung));
}

#[test]
fn server_that_is_little_behind_is_given_its_time() {
    let (mut connection, said) = far_behind(299, FAR);
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));
    // As long as without the other measure, from when it had something to say.
    let said = until(&mut connection, ms(1010));
    assert!(said.len() == 1 && said[0].0 == ms(1010) && asks(&said[0].1));
    connection.on_progress(&progress(10, 299), ms(1012));
    let said = until(&mut connection, ms(1510));
    assert_eq!(said[0].1.failed, Some(Failure::Hung));
    // Or for ever.
    let (mut connection, _) = far_behind(299, Watch { lag_ms: 0, ..FAR });
    assert_eq!(until(&mut connection, ms(100_000)), []);
}

#[test]
fn what_is_far_may_change() {
    let mut connection = protected_by(FAR);
    request(&mut connection, 0, ms(10));
    connection.on_progress(&progress(10, 0), ms(11));
    until(&mut connection, ms(110));
    connection.on_progress(&progress(10, 300), ms(112));
    let terms = Terms {
        watch: WATCH,
        ..Terms::default()
    };
    connection.set_terms(terms, ms(120));
    let said = until(&mut connection, ms(1009));
    assert!(
        said.iter().all(|(_, it)| *it == Actions::default()),
        "{said:?}"
    );
    connection.set_terms(Terms::default(), ms(1009));
    assert!(until(&mut connection, ms(9000))
        .iter()
        .all(|(_, it)| *it == Actions::default()));
}

#[test]
fn server_that_hangs_is_found_by_what_is_far_from_now_on() {
    // Nothing more comes from either of the two: the window of the shadow is full. The row of looks that has begun by the old measure ends after 1 s; and how far the
    // shadow has come since it took the request nobody may have been told.
    for (before, told) in [(WATCH, 300), (Watch { lag_ms: 0, ..WATCH }, 0)] {
        let mut connection = protected_by(before);
        request(&mut connection, 0, ms(10));
        connection.on_progress(&progress(10, told), ms(12));
        let terms = Terms {
            watch: Watch { lag_ms: 0, ..FAR },
            ..Terms::default()
        };
        connection.set_terms(terms, ms(20));
        let said = until(&mut connection, ms(120));
        assert!(said.len() == 1 && asks(&said[0].1), "{said:?}");
        connection.on_progress(&progress(10, 300), ms(122));
        let said = until(&mut connection, ms(170));
        assert_eq!(said.last().unwrap().1.failed, Some(Failure::Hung));
    }
}

#[test]
fn server_that_hangs_with_its_last_bytes_under_way_is_found() {
    // The client's acknowledgement is late, as for a segment that was lost on the way.
    let mut connection = protected_by(Watch { lag_ms: 0, ..FAR });
    connection.on_server(&seg(p(0), c(0)).data(100).window(5000), ms(5));
    request(&mut connection, 0, ms(10));
    until(&mut connection, ms(105));
    connection.on_progress(&progress(10, 400), ms(106));
    let said = until(&mut connection, ms(160));
    assert!(said.iter().all(|(_, actions)| actions.failed.is_none()));
    connection.on_client(&seg(c(10), p(100)), Peer::Joined, ms(170));
    let said = until(&mut connection, ms(255));
    assert!(said.len() == 1 && asks(&said[0].1), "{said:?}");
    connection.on_progress(&progress(10, 400), ms(257));
    let said = until(&mut connection, ms(310));
    assert_eq!(said.last().unwrap().1.failed, Some(Failure::Hung));
}

#[test]
fn backups_server_that_is_far_behind_is_left_soon() {
    let mut connection = protected_by(FAR);
    connection.on_server(&seg(p(0), c(0)).data(300).window(5000), ms(10));
    connection.on_client(&seg(c(0), p(300)), Peer::Joined, ms(12));
    for at in [110, 160] {
        let said = until(&mut connection, ms(at));
        assert!(said.len() == 1 && asks(&said[0].1), "{said:?}");
        connection.on_progress(&progress(0, 0), ms(at + 2));
    }
    let said = until(&mut connection, ms(210));
    assert_eq!(said[0].1.count, Some(Counter::UnprotectedServerHung));
}

#[test]
fn numbers_of_a_farewell() {
    // A FIN that is said in the stack's place has the stack's numbers, and moves no right edge back.
    let mut connection = protected();
    connection.on_client(&seg(c(0), p(0)).data(10), Peer::Joined, ms(2));
    connection.on_progress(&progress(10, 0), ms(3));
    connection.on_server(&seg(p(0), c(10)).window(4900).fin(), ms(5));
    let fin: Segment = connection.on_progress(&ended(10, 1), ms(6)).send.unwrap();
    assert_eq!((fin.seq, fin.ack, fin.window), (p(0), c(10), 4990));
}
