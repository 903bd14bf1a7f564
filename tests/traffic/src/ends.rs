// SPDX-License-Identifier: GPL-2.0

//! The ways in which a TCP connection ends, each with what the client must see of it.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use rustix::io::Errno;
use rustix::net::{send, SendFlags};
use socket2::Socket;

use crate::client::{Connection, Until};
use crate::pattern::{derive, fill, Piece, Turn};
use crate::session::{End, Failure};
use crate::sock::{tcp_info, TCP_CLOSE};

/// The answer before an ending by the server, in bytes.
const ANSWER: u64 = 20_000;
/// A download over a connection that the client has half closed.
const HALF: u64 = 200_000;
/// A download that the client cuts off, and what it reads of it.
const LONG: u64 = 4 << 20;
const CUT: u64 = 64 << 10;
/// What the client says after the server's FIN, or for the server not to read.
const AFTER: usize = 1000;
/// What tells the server to go on.
const NUDGE: &str = "!";
/// The longest wait for the last acknowledgement.
const LAST_ACK: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Ending {
    /// The client closes an idle connection.
    ClientClose,
    /// The client asks, shuts down its side, then reads all of a long answer and the FIN.
    ClientHalfClose,
    /// The client resets an idle connection.
    ClientReset,
    /// The client resets in the middle of a download.
    ClientResetMid,
    /// The client closes with an answer unread, which resets.
    ClientUnread,
    /// The server closes after its answer, and the client then.
    ServerClose,
    /// The server shuts down its side after its answer, and the client goes on to speak.
    ServerHalfClose,
    /// The server resets, after the client said that it has the answer.
    ServerReset,
    /// The server resets straight after its answer, of which the client may get only a part.
    ServerAbort,
    /// The server closes with the client's bytes unread, which resets.
    ServerUnread,
    /// The client shuts down at the time at which the server closes.
    BothClose,
    /// The client closes its socket before the SYN-ACK, which then meets a reset. If the network is so fast that the
    /// handshake is through by then, the client resets at once.
    AbortHandshake,
}

impl Ending {
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientClose => "client-close",
            Self::ClientHalfClose => "client-half-close",
            Self::ClientReset => "client-reset",
            Self::ClientResetMid => "client-reset-mid",
            Self::ClientUnread => "client-unread",
            Self::ServerClose => "server-close",
            Self::ServerHalfClose => "server-half-close",
            Self::ServerReset => "server-reset",
            Self::ServerAbort => "server-abort",
            Self::ServerUnread => "server-unread",
            Self::BothClose => "both-close",
            Self::AbortHandshake => "abort-handshake",
        }
    }

    /// Whether the client's close is to reset.
    pub fn by_client_reset(self) -> bool {
        matches!(self, Self::ClientReset | Self::ClientResetMid)
    }
}

/// Holds the planned part of a connection, and then ends it by `ending`.
///
/// # Errors
///
/// The connection failed, or did not end as it should.
pub fn hold(connection: &mut Connection, socket: &Socket, ending: Ending) -> Result<(), Failure> {
    connection.drive(socket, Until::Over)?;
    let seed = derive(connection.session.seed(), u64::MAX);
    match ending {
        Ending::ClientClose | Ending::ClientReset | Ending::AbortHandshake => Ok(()),
        Ending::ClientHalfClose => {
            begin(connection, get(seed, HALF));
            connection.drive(socket, Until::Said)?;
            shut_down(connection, socket)?;
            connection.drive(socket, Until::Over)?;
            await_end(connection, socket, End::Fin)
        }
        Ending::ClientResetMid => {
            let before = connection.session.heard();
            begin(connection, get(seed, LONG));
            connection.drive(socket, Until::Heard(before + CUT))
        }
        Ending::ClientUnread => {
            let before = connection.session.heard();
            begin(connection, get(seed, LONG));
            // Having read the first bytes, the client can be sure that more will lie unread.
            connection.drive(socket, Until::Heard(before + 1))
        }
        Ending::ServerClose => {
            answer(connection, socket, "close", seed)?;
            await_end(connection, socket, End::Fin)?;
            shut_down(connection, socket)?;
            await_last_ack(connection, socket)
        }
        Ending::ServerHalfClose => {
            answer(connection, socket, "half", seed)?;
            await_end(connection, socket, End::Fin)?;
            say_more(connection, socket, derive(seed, 1))?;
            shut_down(connection, socket)?;
            await_last_ack(connection, socket)
        }
        Ending::ServerReset => {
            answer(connection, socket, "reset", seed)?;
            nudge(connection, socket)?;
            await_end(connection, socket, End::Reset)
        }
        Ending::ServerAbort => {
            begin(connection, ask_to_end("abort", seed));
            connection.session.allow_reset();
            connection.drive(socket, Until::Over)
        }
        Ending::ServerUnread => {
            answer(connection, socket, "unread", seed)?;
            let bytes = Turn {
                say: vec![Piece::Stream {
                    seed,
                    len: AFTER as u64,
                }],
                hear: vec![],
            };
            begin(connection, bytes);
            connection.drive(socket, Until::Over)?;
            await_end(connection, socket, End::Reset)
        }
        Ending::BothClose => {
            // The server closes on the nudge, and the client's FIN comes with it or just behind it.
            answer(connection, socket, "nudge", seed)?;
            nudge(connection, socket)?;
            shut_down(connection, socket)?;
            await_end(connection, socket, End::Fin)?;
            await_last_ack(connection, socket)
        }
    }
}

fn get(seed: u64, len: u64) -> Turn {
    Turn {
        say: vec![Piece::text(format!("get {seed} {len}\n"))],
        hear: vec![Piece::Stream { seed, len }],
    }
}

fn ask_to_end(mode: &str, seed: u64) -> Turn {
    let say = Piece::text(format!("end {mode} {seed} {ANSWER}\n"));
    Turn {
        say: vec![say],
        hear: vec![Piece::Stream { seed, len: ANSWER }],
    }
}

fn begin(connection: &mut Connection, turn: Turn) {
    connection.session.begin(turn, connection.run.now());
}

/// Asks the server to end by `mode`, and reads the answer before it.
fn answer(
    connection: &mut Connection,
    socket: &Socket,
    mode: &str,
    seed: u64,
) -> Result<(), Failure> {
    begin(connection, ask_to_end(mode, seed));
    connection.drive(socket, Until::Over)
}

fn nudge(connection: &mut Connection, socket: &Socket) -> Result<(), Failure> {
    begin(
        connection,
        Turn {
            say: vec![Piece::text(NUDGE)],
            hear: vec![],
        },
    );
    connection.drive(socket, Until::Over)
}

fn await_end(connection: &mut Connection, socket: &Socket, end: End) -> Result<(), Failure> {
    connection.session.await_end(end, connection.run.now());
    connection.drive(socket, Until::Over)
}

fn shut_down(connection: &Connection, socket: &Socket) -> Result<(), Failure> {
    socket
        .shutdown(Shutdown::Write)
        .map_err(|_| Failure::Reset {
            offset: connection.session.heard(),
        })
}

/// Says more after the server's FIN. So few bytes always find room in the socket.
fn say_more(connection: &Connection, socket: &Socket, seed: u64) -> Result<(), Failure> {
    let offset = connection.session.heard();
    let mut bytes = [0; AFTER];
    fill(seed, 0, &mut bytes);
    match send(socket, &bytes, SendFlags::NOSIGNAL) {
        Ok(AFTER) => Ok(()),
        Ok(_) => Err(Failure::Other {
            error: "no room in the socket".into(),
            offset,
        }),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(Failure::Reset { offset }),
        Err(error) => Err(Failure::Other {
            error: error.to_string(),
            offset,
        }),
    }
}

/// Waits until both FINs are acknowledged, which is when the kernel takes the connection away from its socket.
fn await_last_ack(connection: &Connection, socket: &Socket) -> Result<(), Failure> {
    let offset = connection.session.heard();
    let since = connection.run.now();
    loop {
        let error = |error: std::io::Error| Failure::Other {
            error: error.to_string(),
            offset,
        };
        if socket.take_error().map_err(error)?.is_some() {
            return Err(Failure::Reset { offset });
        }
        if tcp_info(socket).map_err(error)?.state == TCP_CLOSE {
            return Ok(());
        }
        let waited = connection.run.now() - since;
        if waited > LAST_ACK {
            let ms = waited.as_millis() as u64;
            return Err(Failure::Timeout {
                ms,
                doing: "waiting for the last acknowledgement",
                offset,
            });
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for &ending in Ending::value_variants() {
            assert_eq!(
                ending.to_possible_value().unwrap().get_name(),
                ending.name()
            );
        }
    }
}
