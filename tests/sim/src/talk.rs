// SPDX-License-Identifier: GPL-2.0

//! What client and server say to each other, and the programs that say it.
//!
//! One form serves all patterns. The server greets, answers each request of so many bytes with so many bytes, and after the client's FIN says
//! a farewell; so what it sends follows from what it received. Echo has answers as long as requests, a download one large answer, an upload
//! one large request. Every byte is known from its connection, direction and place.

use crate::rng::Rng;
use crate::stack::{Socket, Stack};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, State};

/// When a side closes its half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Closing {
    /// When it has sent everything (the client: half close).
    Sent,
    /// When it has heard everything.
    Heard,
    /// After the other side's FIN.
    After,
}

/// The plan of one connection.
#[derive(Clone, Debug)]
pub struct Talk {
    pub number: u32,
    /// When the client connects, in us.
    pub start: u64,
    pub greeting: u32,
    pub request: u32,
    pub answer: u32,
    pub rounds: u32,
    /// Requests that may be under way at once.
    pub depth: u32,
    pub farewell: u32,
    pub client: Closing,
    pub server: Closing,
    /// The client aborts when it has heard so much.
    pub client_aborts: Option<u32>,
    /// The server aborts when it has heard so much.
    pub server_aborts: Option<u32>,
    /// On host 0 the server fails when it has heard so much.
    pub fails: Option<(u32, Fails)>,
}

/// How a program fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fails {
    /// It dies, and its socket is closed.
    Closes,
    /// It dies, and its socket is reset.
    Aborts,
    /// It does nothing any more.
    Hangs,
}

impl Talk {
    pub fn any(number: u32, rng: &mut Rng) -> Self {
        let volume = rng.magnitude(1, 60_000) as u32;
        let (request, answer, rounds) = match rng.below(6) {
            0 => (1, 1, volume.min(20_000)),
            1 => (8, volume, 1),
            2 => (volume, 8, 1),
            3 => (volume, 0, 1),
            _ => {
                let request = rng.magnitude(1, 2000) as u32;
                (request, rng.magnitude(1, 5000) as u32, volume / request + 1)
            }
        };
        let rounds = rounds.min(60_000 / answer.max(1) + 1);
        let client = rng.pick(&[
            Closing::Sent,
            Closing::Heard,
            Closing::Heard,
            Closing::After,
        ]);
        // Both wait for the other's FIN in no talk.
        let server = if client == Closing::After {
            Closing::Sent
        } else {
            rng.pick(&[Closing::After, Closing::After, Closing::Sent])
        };
        let depth = if rng.chance(500) { 1 } else { u32::MAX };
        let mut talk = Self {
            number,
            start: 0,
            greeting: if rng.chance(300) {
                rng.magnitude(1, 8000) as u32
            } else {
                0
            },
            request,
            answer,
            // One after the other they take a round trip each.
            rounds: if depth == 1 { rounds.min(100) } else { rounds },
            depth,
            farewell: if client == Closing::Sent && server == Closing::After && rng.chance(300) {
                rng.magnitude(1, 8000) as u32
            } else {
                0
            },
            client,
            server,
            client_aborts: None,
            server_aborts: None,
            fails: None,
        };
        match rng.below(20) {
            0 => talk.client_aborts = Some(rng.below(talk.server_bytes().into()) as u32),
            1 => talk.server_aborts = Some(rng.below(talk.client_bytes().into()) as u32),
            _ => {}
        }
        talk
    }

    /// Bytes of the client's stream.
    pub fn client_bytes(&self) -> u32 {
        self.request * self.rounds
    }

    /// Bytes of the server's stream.
    pub fn server_bytes(&self) -> u32 {
        self.greeting + self.answer * self.rounds + self.farewell
    }

    /// Bytes that the server has to say after it heard so much.
    fn due(&self, heard: u32, fin: bool) -> u32 {
        let rounds = heard / self.request;
        let farewell = if fin { self.farewell } else { 0 };
        self.greeting + self.answer * rounds.min(self.rounds) + farewell
    }

    /// Bytes that the client may have sent after it heard so much.
    fn allowed(&self, heard: u32) -> u32 {
        let answered = match heard.checked_sub(self.greeting) {
            Some(answers) if self.answer > 0 => answers / self.answer,
            None if self.depth == 1 => return 0,
            None => 0,
            Some(_) => self.rounds,
        };
        self.request * answered.saturating_add(self.depth).min(self.rounds)
    }

    /// The byte at `place` of one side's stream.
    fn byte(&self, server: bool, place: u32) -> u8 {
        let word = (place / 8 + 1)
            .wrapping_mul(0x9e37_79b1)
            .wrapping_add((self.number << 1) | u32::from(server))
            .wrapping_mul(0x85eb_ca6b);
        // Not 0, which is the byte of a keep-alive probe.
        ((word >> 13) as u8)
            .wrapping_add((place % 8) as u8 * 29)
            .max(1)
    }
}

/// How a program works: what it does at a time, and how long it then rests, in us.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub bytes: u32,
    pub rest: u64,
    /// It is stopped from then until then.
    pub stopped: (u64, u64),
}

impl Pace {
    pub fn is_stopped(&self, at: u64) -> bool {
        let (from, until) = self.stopped;
        (from..until).contains(&at)
    }
}

/// How a program's connection ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// Everything was said and heard.
    Finished,
    /// It aborted as it should.
    Aborted,
    /// The connection was reset, or timed out.
    Reset,
}

/// One side of a talk at work.
#[derive(Clone, Debug)]
pub struct Program {
    pub talk: Talk,
    server: bool,
    pace: Pace,
    pub socket: SocketHandle,
    pub sent: u32,
    pub heard: u32,
    pub fin: bool,
    connected: bool,
    closed: bool,
    /// It has failed ([`Talk::fails`]).
    pub failed: bool,
    next: u64,
    pub end: Option<End>,
}

impl Program {
    pub fn new(talk: &Talk, server: bool, pace: Pace, socket: SocketHandle) -> Self {
        Self {
            talk: talk.clone(),
            server,
            pace,
            socket,
            sent: 0,
            heard: 0,
            fin: false,
            connected: false,
            closed: false,
            failed: false,
            next: 0,
            end: None,
        }
    }

    /// When it wants to be run, given that it has something to do.
    pub fn at(&self, now: u64) -> u64 {
        let at = self.next.max(now);
        if self.pace.is_stopped(at) {
            self.pace.stopped.1
        } else {
            at
        }
    }

    /// Moves on. Returns whether it did something; `Err` describes a wrong byte.
    pub fn run(&mut self, now: u64, stack: &mut Stack) -> Result<bool, String> {
        if self.end.is_some() || self.at(now) > now {
            return Ok(false);
        }
        let socket = stack.socket(self.socket);
        if !self.connected {
            match socket.state() {
                State::Closed => {
                    self.end = Some(End::Reset);
                    return Ok(true);
                }
                State::SynSent | State::SynReceived => return Ok(false),
                _ => self.connected = true,
            }
        }
        if self.fail(socket) {
            return Ok(false);
        }
        let (sent, heard) = (self.sent, self.heard);
        let mut moved = self.read(socket)?;
        self.write(socket);
        moved |= self.finish(socket);
        moved |= (sent, heard) != (self.sent, self.heard);
        if moved {
            self.next = now + self.pace.rest;
        }
        Ok(moved)
    }

    /// Fails if it is time to. Returns whether it has.
    fn fail(&mut self, socket: &mut Socket) -> bool {
        let due = self.talk.fails.filter(|(at, _)| self.heard >= *at);
        let Some((_, how)) = due.filter(|_| self.server && !self.closed) else {
            return false;
        };
        self.failed = true;
        match how {
            Fails::Closes => socket.close(),
            Fails::Aborts => socket.abort(),
            Fails::Hangs => return true,
        }
        self.end = Some(End::Aborted);
        true
    }

    fn read(&mut self, socket: &mut Socket) -> Result<bool, String> {
        let mut room = self.pace.bytes as usize;
        while room > 0 {
            let (talk, server, heard) = (&self.talk, self.server, self.heard);
            let taken = socket.recv(|bytes| {
                let len = bytes.len().min(room);
                let wrong = (heard..)
                    .zip(&bytes[..len])
                    .find(|(place, byte)| talk.byte(!server, *place) != **byte);
                (len, (len, wrong.map(|(place, _)| place)))
            });
            match taken {
                Ok((_, Some(place))) => {
                    return Err(format!(
                        "{} of connection {} got a wrong byte at {place}",
                        self.name(),
                        talk.number
                    ))
                }
                Ok((0, None)) => break,
                Ok((len, None)) => {
                    self.heard += len as u32;
                    room -= len;
                }
                Err(RecvError::Finished) => {
                    let news = !self.fin;
                    self.fin = true;
                    return Ok(news);
                }
                Err(RecvError::InvalidState) => {
                    self.end = Some(End::Reset);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn write(&mut self, socket: &mut Socket) {
        let due = if self.server {
            self.talk.due(self.heard, self.fin)
        } else {
            self.talk.allowed(self.heard)
        };
        let mut room = self.pace.bytes.min(due - self.sent) as usize;
        while room > 0 && socket.can_send() && !self.closed {
            let (talk, server, sent) = (&self.talk, self.server, self.sent);
            let len = socket
                .send(|bytes| {
                    let len = bytes.len().min(room);
                    for (place, byte) in (sent..).zip(&mut bytes[..len]) {
                        *byte = talk.byte(server, place);
                    }
                    (len, len)
                })
                .unwrap_or(0);
            if len == 0 {
                break;
            }
            self.sent += len as u32;
            room -= len;
        }
    }

    /// Closes, aborts or ends if it is time to. Returns whether it did.
    fn finish(&mut self, socket: &mut Socket) -> bool {
        let talk = &self.talk;
        let (aborts, closing, to_send, to_hear) = if self.server {
            let (sends, hears) = (talk.server_bytes(), talk.client_bytes());
            (talk.server_aborts, talk.server, sends, hears)
        } else {
            let (sends, hears) = (talk.client_bytes(), talk.server_bytes());
            (talk.client_aborts, talk.client, sends, hears)
        };
        if self.end.is_some() {
            return false;
        }
        if aborts.is_some_and(|at| self.heard >= at) {
            socket.abort();
            self.end = Some(End::Aborted);
            return true;
        }
        let close = self.sent == to_send
            && match closing {
                Closing::Sent => true,
                Closing::Heard => self.heard == to_hear,
                Closing::After => self.fin,
            };
        if close && !self.closed {
            socket.close();
            self.closed = true;
            return true;
        }
        if self.closed && self.fin && self.heard == to_hear {
            self.end = Some(End::Finished);
            return true;
        }
        if socket.state() == State::Closed && socket.recv_queue() == 0 {
            self.end = Some(End::Reset);
            return true;
        }
        false
    }

    pub fn name(&self) -> &'static str {
        if self.server {
            "server"
        } else {
            "client"
        }
    }
}
