// SPDX-License-Identifier: GPL-2.0

//! What the two hosts say to each other: the bytes of the peer channel.
//!
//! A datagram is a header of [`HEADER_LEN`] bytes, a body, and a tag of [`TAG_LEN`] bytes: the HMAC-SHA256 of all that stands before it.
//! Everything is in network byte order.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | version, [`VERSION`] |
//! | 1 | 1 | type, [`Kind`] |
//! | 2 | 1 | role of the sender, [`Role`] |
//! | 3 | 1 | flags: 1, the sender may acknowledge client bytes that the receiver lacks; 2, it has joined the receiver; 4, it speaks by lease; 8, its link to the clients is down |
//! | 4 | 4 | epoch of the sender |
//! | 8 | 8 | session of the sender |
//! | 16 | 8 | session of the receiver as the sender knows it, or 0 |
//! | 24 | 8 | sequence number, from 1 in each session |
//! | 32 | 8 | when it was sent, in ns since the sender's node began |
//! | 40 | 8 | the latest such time of the receiver, in its session, that the sender has heard of; or 0 |
//! | 48 | 4 | the silence of the receiver that the sender bears, in us |
//! | 52 | 4 | for how long nothing has come in for the service at the sender, in us |
//! | 56 | 4 | the name of the sender's newest key, [`KeyId`] |
//! | 60 | 4 | what keys the hash of the sender's table |
//!
//! The body of [`Kind::Records`] is a row of records, each a type byte and that type's fields. That of [`Kind::Bytes`] is a connection's name
//! (8 bytes), a sequence number (4), flags (1), and a client's bytes from there on. The other bodies are empty.

use super::counters::Counter;
use super::digest::{Difference, Mark, Word};
use super::keyring::KeyId;
use super::node::Role;
use super::primary::ConnectionId;
use super::seq::SeqNumber;
use super::wire::{Endpoint, Flags, Flow, Options, Segment};
use core::net::Ipv6Addr;
use core::time::Duration;

/// The version of the protocol.
pub const VERSION: u8 = 3;
/// Bytes of a datagram's header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a datagram's tag.
pub const TAG_LEN: usize = 32;
/// Bytes of the longest datagram: below the smallest IPv6 path MTU with its headers (RFC 8200, section 5).
pub const MAX_DATAGRAM: usize = 1232;
/// Bytes of the longest body.
pub const MAX_BODY: usize = MAX_DATAGRAM - HEADER_LEN - TAG_LEN;
/// Room for the longest record, its type byte included: an `Open` takes 68 bytes.
pub const MAX_RECORD: usize = 88;

/// Bytes of what stands before the client's bytes in the body of [`Kind::Bytes`].
const BYTES_HEADER: usize = 13;
/// Most bytes of a client in one datagram.
pub const MAX_BYTES: usize = MAX_BODY - BYTES_HEADER;

/// The type of a datagram.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The sender lives.
    Heartbeat,
    /// Records about connections.
    Records,
    /// The sender stops by order; it has not failed.
    Leave,
    /// A client's bytes that the backup lacks.
    Bytes,
    /// The sender is going down: it speaks for the service no more.
    Goodbye,
}

/// A datagram's header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the datagram is.
    pub kind: Kind,
    /// The role of its sender.
    pub role: Role,
    /// Whether its sender may acknowledge client bytes that the receiver lacks.
    pub eager: bool,
    /// Whether its sender has heard the receiver in the present sessions, and deals with it as its peer.
    pub joined: bool,
    /// Whether its sender speaks by [lease](super::lease): a heartbeat is to be answered at once.
    pub leased: bool,
    /// Whether its sender's link to the clients is down.
    pub unlinked: bool,
    /// The epoch of its sender.
    pub epoch: u32,
    /// The session of its sender.
    pub session: u64,
    /// The session that the sender believes to talk to; 0 if it has heard none.
    pub peer_session: u64,
    /// Its number in the sender's session.
    pub sequence: u64,
    /// When it was sent, in ns since the sender's node began.
    pub sent: u64,
    /// The latest such time of the receiver, in the session named, that the sender has heard of; 0 if it has of none.
    pub echo: u64,
    /// The silence of the receiver that the sender bears.
    pub patience: Duration,
    /// For how long nothing has come in for the service at its sender.
    pub deaf: Duration,
    /// Its sender's newest key.
    pub key: KeyId,
    /// What keys the hash of its sender's table: names of connections have a place in it, and a backup's is to be the same.
    pub seed: u32,
}

/// Why bytes are not a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum BadMessage {
    /// Too short or too long.
    Length,
    /// Another version.
    Version,
    /// A type, role or record that means nothing.
    Content,
}

const EAGER: u8 = 1;
const JOINED: u8 = 2;
const LEASED: u8 = 4;
const UNLINKED: u8 = 8;

impl Header {
    /// Writes the header.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = Writer { rest: &mut bytes };
        let kind = match self.kind {
            Kind::Heartbeat => 1,
            Kind::Records => 2,
            Kind::Leave => 3,
            Kind::Bytes => 4,
            Kind::Goodbye => 5,
        };
        let role = match self.role {
            Role::Primary => 1,
            Role::Backup => 2,
        };
        let flags = [
            (self.eager, EAGER),
            (self.joined, JOINED),
            (self.leased, LEASED),
            (self.unlinked, UNLINKED),
        ];
        let flags = flags
            .iter()
            .fold(0, |flags, (set, flag)| flags | if *set { *flag } else { 0 });
        // The longest that a field can say is less than what was asked for, and so is a lease of it.
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        out.put(&[VERSION, kind, role, flags]);
        out.put(&self.epoch.to_be_bytes());
        out.put(&self.session.to_be_bytes());
        out.put(&self.peer_session.to_be_bytes());
        out.put(&self.sequence.to_be_bytes());
        out.put(&self.sent.to_be_bytes());
        out.put(&self.echo.to_be_bytes());
        out.put(&micros(self.patience).to_be_bytes());
        out.put(&micros(self.deaf).to_be_bytes());
        out.put(&self.key.0.to_be_bytes());
        out.put(&self.seed.to_be_bytes());
        bytes
    }

    /// Reads the header of `datagram` and returns it with the body; the tag must have been verified before.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), BadMessage> {
        let (signed, _tag) = split_tag(datagram)?;
        let mut reader = Reader { rest: signed };
        let [version, kind, role, flags] = reader.take::<4>().ok_or(BadMessage::Length)?;
        if version != VERSION {
            return Err(BadMessage::Version);
        }
        let header = Self {
            kind: match kind {
                1 => Kind::Heartbeat,
                2 => Kind::Records,
                3 => Kind::Leave,
                4 => Kind::Bytes,
                5 => Kind::Goodbye,
                _ => return Err(BadMessage::Content),
            },
            role: match role {
                1 => Role::Primary,
                2 => Role::Backup,
                _ => return Err(BadMessage::Content),
            },
            eager: flags & EAGER != 0,
            joined: flags & JOINED != 0,
            leased: flags & LEASED != 0,
            unlinked: flags & UNLINKED != 0,
            epoch: reader.u32().ok_or(BadMessage::Length)?,
            session: reader.u64().ok_or(BadMessage::Length)?,
            peer_session: reader.u64().ok_or(BadMessage::Length)?,
            sequence: reader.u64().ok_or(BadMessage::Length)?,
            sent: reader.u64().ok_or(BadMessage::Length)?,
            echo: reader.u64().ok_or(BadMessage::Length)?,
            patience: Duration::from_micros(reader.u32().ok_or(BadMessage::Length)?.into()),
            deaf: Duration::from_micros(reader.u32().ok_or(BadMessage::Length)?.into()),
            key: KeyId(reader.u32().ok_or(BadMessage::Length)?),
            seed: reader.u32().ok_or(BadMessage::Length)?,
        };
        Ok((header, reader.rest))
    }
}

/// Splits a datagram into what the tag signs and the tag.
pub fn split_tag(datagram: &[u8]) -> Result<(&[u8], &[u8]), BadMessage> {
    if datagram.len() > MAX_DATAGRAM || datagram.len() < HEADER_LEN + TAG_LEN {
        return Err(BadMessage::Length);
    }
    datagram
        .split_at_checked(datagram.len().saturating_sub(TAG_LEN))
        .ok_or(BadMessage::Length)
}

/// A connection as the primary's handshake left it, for the backup to make its shadow from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// The primary's name for the connection.
    pub id: ConnectionId,
    /// Its addresses.
    pub flow: Flow,
    /// The client's initial sequence number.
    pub client_isn: SeqNumber,
    /// The primary's initial sequence number.
    pub primary_isn: SeqNumber,
    /// The MSS option of the client's SYN in bytes; 0 if it had none.
    pub mss: u16,
    /// The window field of the client's SYN (never scaled, RFC 7323, 2.2).
    pub window: u16,
    /// The window scales, (client's, primary's), if both sides agreed to scale.
    pub window_scale: Option<(u8, u8)>,
    /// Whether selective acknowledgements were agreed on.
    pub sack: bool,
    /// Whether ECN was agreed on (RFC 3168).
    pub ecn: bool,
    /// If timestamps were agreed on: the client's TSval in its SYN, and the primary's timestamp clock when this was sent.
    pub timestamps: Option<(u32, u32)>,
}

impl Open {
    /// What a SYN offers; the primary's part is to be filled in. `Err` is why such a connection cannot be protected.
    pub fn offered(id: ConnectionId, flow: Flow, syn: &Segment) -> Result<Self, Counter> {
        let options = &syn.options;
        if options.md5 {
            return Err(Counter::UnprotectedMd5);
        }
        if options.ao {
            return Err(Counter::UnprotectedAo);
        }
        Ok(Self {
            id,
            flow,
            client_isn: syn.seq,
            primary_isn: SeqNumber::default(),
            mss: options.mss.unwrap_or(0),
            window: syn.window,
            window_scale: options.window_scale.map(|scale| (scale.min(14), 0)),
            sack: options.sack_permitted,
            ecn: syn.flags.contains(Flags::ECE) && syn.flags.contains(Flags::CWR),
            timestamps: options.timestamps.map(|timestamps| (timestamps.tsval, 0)),
        })
    }

    /// What the SYN-ACK agrees to of that.
    pub fn agree(&mut self, syn_ack: &Segment) {
        let options = &syn_ack.options;
        self.primary_isn = syn_ack.seq;
        self.agree_to(options);
        self.ecn &= syn_ack.flags.contains(Flags::ECE);
        self.timestamps = self
            .timestamps
            .zip(options.timestamps)
            .map(|((client, _), primary)| (client, primary.tsval));
    }

    /// Window scaling and SACK, as far as a SYN-ACK with these options agrees to them.
    pub fn agree_to(&mut self, options: &Options) {
        self.window_scale = self
            .window_scale
            .zip(options.window_scale)
            .map(|((client, _), primary)| (client, primary.min(14)));
        self.sack &= options.sack_permitted;
    }
}

/// Why the primary closes a shadow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Close {
    /// The connection ended; the shadow will end by itself.
    Ended,
    /// The connection goes on without protection; the shadow must end now.
    Unprotected,
}

/// Why the backup has no shadow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Gone {
    /// The backup's server did not take the connection.
    Refused,
    /// The two hosts' TCP options differ.
    Options,
    /// No memory.
    NoMemory,
    /// The shadow ended, or the backup never heard of it.
    Ended,
}

/// One thing that one host tells the other about one connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Primary to backup: shadow this connection.
    Open(Open),
    /// Primary to backup: the shadow is no longer needed.
    Close(ConnectionId, Close),
    /// Primary to backup: say how far the shadow is. The number is as for `Acked`.
    Query(ConnectionId, SeqNumber),
    /// Backup to primary: the shadow's progress; also says that it lives.
    Progress(Progress),
    /// Backup to primary: there is no shadow.
    Gone(ConnectionId, Gone),
    /// Backup to primary: the tap did not show these bytes of the client.
    Missing(ConnectionId, Span),
    /// Primary to backup: the client was told that its bytes up to here have arrived, client's numbers.
    Acked(ConnectionId, SeqNumber),
    /// Primary to backup: what the server here has said; to be compared and answered.
    Compare(ConnectionId, Word),
    /// Backup to primary: the answer.
    Compared(ConnectionId, Word),
    /// Primary to backup: nothing more is said here on this connection. Go on with it.
    Move(ConnectionId),
    /// Backup to primary: the shadow speaks.
    Moved(ConnectionId),
}

/// A part of a client's stream, client's numbers. A FIN is its last byte.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Its first byte.
    pub start: SeqNumber,
    /// What follows its last byte.
    pub end: SeqNumber,
}

/// What a copy of a client's segment has of a [`Span`], from the span's start on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where in the segment's payload it begins.
    pub offset: u32,
    /// How many bytes it has, [`MAX_BYTES`] at most.
    pub len: u32,
    /// Whether the FIN follows them.
    pub fin: bool,
    /// What is left of the span.
    pub rest: Span,
}

impl Span {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What `copy` has of this span, if it has its start.
    pub fn piece(&self, copy: &Segment) -> Option<Piece> {
        if self.start < copy.seq || self.start >= copy.end() || self.start >= self.end {
            return None;
        }
        let offset = self.start.since(copy.seq) as u32;
        let len = copy
            .payload_len
            .saturating_sub(offset)
            .min(self.end.since(self.start) as u32)
            .min(MAX_BYTES as u32);
        let last = self.start + len;
        let fin = copy.flags.contains(Flags::FIN) && last < self.end && last + 1 == copy.end();
        Some(Piece {
            offset,
            len,
            fin,
            rest: Span {
                start: last + u32::from(fin),
                end: self.end,
            },
        })
        .filter(|piece| piece.rest.start > self.start)
    }
}

/// Primary to backup: bytes of a client.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Bytes<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// The first byte's place, client's numbers.
    pub seq: SeqNumber,
    /// Whether the client's FIN follows them.
    pub fin: bool,
    /// The bytes, [`MAX_BYTES`] at most.
    pub payload: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// Writes what stands before the bytes.
    pub fn emit(&self) -> [u8; BYTES_HEADER] {
        let mut bytes = [0; BYTES_HEADER];
        let mut out = Writer { rest: &mut bytes };
        out.put(&self.id.0.to_be_bytes());
        out.put(&self.seq.raw().to_be_bytes());
        out.put(&[u8::from(self.fin)]);
        bytes
    }

    /// Reads the body of a datagram of [`Kind::Bytes`].
    pub fn parse(body: &'a [u8]) -> Result<Self, BadMessage> {
        let mut reader = Reader { rest: body };
        let mut read = || Some((reader.u64()?, reader.seq()?, reader.take()?));
        let (id, seq, flags) = read().ok_or(BadMessage::Length)?;
        let fin = match flags {
            [0] => false,
            [1] => true,
            _ => return Err(BadMessage::Content),
        };
        Ok(Self {
            id: ConnectionId(id),
            seq,
            fin,
            payload: reader.rest,
        })
    }
}

impl Record {
    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        match self {
            Record::Open(open) => open.id,
            Record::Progress(progress) => progress.id,
            Record::Close(id, _)
            | Record::Query(id, _)
            | Record::Gone(id, _)
            | Record::Missing(id, _)
            | Record::Acked(id, _)
            | Record::Compare(id, _)
            | Record::Compared(id, _)
            | Record::Move(id)
            | Record::Moved(id) => *id,
        }
    }

    /// The role of the host that it is for.
    pub fn recipient(&self) -> Role {
        match self {
            Record::Open(_)
            | Record::Close(..)
            | Record::Query(..)
            | Record::Acked(..)
            | Record::Compare(..)
            | Record::Move(_) => Role::Backup,
            Record::Progress(_)
            | Record::Gone(..)
            | Record::Missing(..)
            | Record::Compared(..)
            | Record::Moved(_) => Role::Primary,
        }
    }
}

/// How far a shadow is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The connection.
    pub id: ConnectionId,
    /// The next byte that the shadow expects, client's numbers.
    pub rcv_nxt: SeqNumber,
    /// The next byte that the shadow will send, primary's numbers.
    pub snd_nxt: SeqNumber,
    /// The right edge of the shadow's receive window, client's numbers.
    pub edge: SeqNumber,
    /// Whether the shadow has sent its FIN, which is the last before `snd_nxt`.
    pub fin: bool,
}

const OPEN: u8 = 1;
const CLOSE: u8 = 2;
const QUERY: u8 = 3;
const PROGRESS: u8 = 4;
const GONE: u8 = 5;
const MISSING: u8 = 6;
const ACKED: u8 = 7;
const COMPARE: u8 = 8;
const COMPARED: u8 = 9;
const MOVE: u8 = 10;
const MOVED: u8 = 11;

const HAS_WINDOW_SCALE: u8 = 1;
const HAS_SACK: u8 = 2;
const HAS_ECN: u8 = 4;
const HAS_TIMESTAMPS: u8 = 8;

impl Record {
    /// Writes the record; returns its bytes, of which the first `.1` count.
    pub fn emit(&self) -> ([u8; MAX_RECORD], usize) {
        let mut bytes = [0; MAX_RECORD];
        let mut out = Writer { rest: &mut bytes };
        match self {
            Record::Open(open) => {
                out.put(&[OPEN]);
                out.put(&open.id.0.to_be_bytes());
                out.endpoint(&open.flow.client);
                out.endpoint(&open.flow.service);
                out.put(&open.client_isn.raw().to_be_bytes());
                out.put(&open.primary_isn.raw().to_be_bytes());
                out.put(&open.mss.to_be_bytes());
                out.put(&open.window.to_be_bytes());
                let (client_scale, primary_scale) = open.window_scale.unwrap_or((0, 0));
                let (tsval, clock) = open.timestamps.unwrap_or((0, 0));
                let mut flags = 0;
                for (flag, set) in [
                    (HAS_WINDOW_SCALE, open.window_scale.is_some()),
                    (HAS_SACK, open.sack),
                    (HAS_ECN, open.ecn),
                    (HAS_TIMESTAMPS, open.timestamps.is_some()),
                ] {
                    flags |= if set { flag } else { 0 };
                }
                out.put(&[flags, client_scale, primary_scale]);
                out.put(&tsval.to_be_bytes());
                out.put(&clock.to_be_bytes());
            }
            Record::Close(id, why) => {
                out.put(&[CLOSE]);
                out.put(&id.0.to_be_bytes());
                out.put(&[match why {
                    Close::Ended => 1,
                    Close::Unprotected => 2,
                }]);
            }
            Record::Query(id, acked) | Record::Acked(id, acked) => {
                let asks = matches!(self, Record::Query(..));
                out.put(&[if asks { QUERY } else { ACKED }]);
                out.put(&id.0.to_be_bytes());
                out.put(&acked.raw().to_be_bytes());
            }
            Record::Progress(progress) => {
                out.put(&[PROGRESS]);
                out.put(&progress.id.0.to_be_bytes());
                out.put(&progress.rcv_nxt.raw().to_be_bytes());
                out.put(&progress.snd_nxt.raw().to_be_bytes());
                out.put(&progress.edge.raw().to_be_bytes());
                out.put(&[u8::from(progress.fin)]);
            }
            Record::Gone(id, why) => {
                out.put(&[GONE]);
                out.put(&id.0.to_be_bytes());
                out.put(&[match why {
                    Gone::Refused => 1,
                    Gone::Options => 2,
                    Gone::NoMemory => 3,
                    Gone::Ended => 4,
                }]);
            }
            Record::Missing(id, span) => {
                out.put(&[MISSING]);
                out.put(&id.0.to_be_bytes());
                out.put(&span.start.raw().to_be_bytes());
                out.put(&span.end.raw().to_be_bytes());
            }
            Record::Move(id) | Record::Moved(id) => {
                let asks = matches!(self, Record::Move(_));
                out.put(&[if asks { MOVE } else { MOVED }]);
                out.put(&id.0.to_be_bytes());
            }
            Record::Compare(id, word) | Record::Compared(id, word) => {
                let asks = matches!(self, Record::Compare(..));
                out.put(&[if asks { COMPARE } else { COMPARED }]);
                out.put(&id.0.to_be_bytes());
                let (kind, first, second) = match word {
                    Word::None => (0, 0, 0),
                    Word::So(mark) => (1, mark.at.raw(), mark.sum),
                    Word::Diverged(place) => (2, place.from.raw(), place.to.raw()),
                };
                out.put(&[kind]);
                out.put(&first.to_be_bytes());
                out.put(&second.to_be_bytes());
            }
        }
        let left = out.rest.len();
        (bytes, MAX_RECORD.saturating_sub(left))
    }

    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let [kind] = reader.take()?;
        let id = ConnectionId(reader.u64()?);
        Some(match kind {
            OPEN => {
                let client = reader.endpoint()?;
                let service = reader.endpoint()?;
                let client_isn = reader.seq()?;
                let primary_isn = reader.seq()?;
                let mss = reader.u16()?;
                let window = reader.u16()?;
                let [flags, client_scale, primary_scale] = reader.take()?;
                let tsval = reader.u32()?;
                let clock = reader.u32()?;
                let flow = Flow { client, service };
                // A scale above 14 is not to be used (RFC 7323, 2.3).
                if client_scale > 14 || primary_scale > 14 || client.is_ipv4() != service.is_ipv4()
                {
                    return None;
                }
                Record::Open(Open {
                    id,
                    flow,
                    client_isn,
                    primary_isn,
                    mss,
                    window,
                    window_scale: (flags & HAS_WINDOW_SCALE != 0)
                        .then_some((client_scale, primary_scale)),
                    sack: flags & HAS_SACK != 0,
                    ecn: flags & HAS_ECN != 0,
                    timestamps: (flags & HAS_TIMESTAMPS != 0).then_some((tsval, clock)),
                })
            }
            CLOSE => Record::Close(
                id,
                match reader.take()? {
                    [1] => Close::Ended,
                    [2] => Close::Unprotected,
                    _ => return None,
                },
            ),
            QUERY => Record::Query(id, reader.seq()?),
            ACKED => Record::Acked(id, reader.seq()?),
            COMPARE => Record::Compare(id, reader.word()?),
            COMPARED => Record::Compared(id, reader.word()?),
            MOVE => Record::Move(id),
            MOVED => Record::Moved(id),
            PROGRESS => Record::Progress(Progress {
                id,
                rcv_nxt: reader.seq()?,
                snd_nxt: reader.seq()?,
                edge: reader.seq()?,
                fin: match reader.take()? {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                },
            }),
            GONE => Record::Gone(
                id,
                match reader.take()? {
                    [1] => Gone::Refused,
                    [2] => Gone::Options,
                    [3] => Gone::NoMemory,
                    [4] => Gone::Ended,
                    _ => return None,
                },
            ),
            MISSING => Record::Missing(
                id,
                Span {
                    start: reader.seq()?,
                    end: reader.seq()?,
                },
            ),
            _ => return None,
        })
    }
}

/// Reads the records of a body; stops after the first that cannot be read.
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<Record, BadMessage>> + '_ {
    let mut reader = Some(Reader { rest: body });
    core::iter::from_fn(move || {
        let at = reader.as_mut().filter(|r| !r.rest.is_empty())?;
        match Record::parse(at) {
            Some(record) => Some(Ok(record)),
            None => {
                reader = None;
                Some(Err(BadMessage::Content))
            }
        }
    })
}

/// Records on their way to one datagram.
pub struct Batch {
    bytes: [u8; MAX_BODY],
    len: usize,
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self {
            bytes: [0; MAX_BODY],
            len: 0,
        }
    }

    /// Adds a record; `false` if there is no room for it.
    pub fn push(&mut self, record: &Record) -> bool {
        let (bytes, len) = record.emit();
        let rest = self.bytes.get_mut(self.len..).unwrap_or_default();
        // Two slices that even the compiler sees to be of one length: it leaves out the panic.
        match (rest.get_mut(..len), bytes.get(..len)) {
            (Some(to), Some(from)) => {
                to.copy_from_slice(from);
                self.len = self.len.saturating_add(len);
                true
            }
            _ => false,
        }
    }

    /// The body so far.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes to the front of a buffer that is known to be long enough; what does not fit is left out.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some((to, rest)) = core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())
        {
            to.copy_from_slice(bytes);
            self.rest = rest;
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        self.put(&endpoint.addr.octets());
        self.put(&endpoint.port.to_be_bytes());
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn seq(&mut self) -> Option<SeqNumber> {
        self.u32().map(SeqNumber::new)
    }

    fn word(&mut self) -> Option<Word> {
        let [kind] = self.take()?;
        let (at, next) = (self.seq()?, self.u32()?);
        Some(match kind {
            0 => Word::None,
            1 => Word::So(Mark { at, sum: next }),
            2 => Word::Diverged(Difference {
                from: at,
                to: SeqNumber::new(next),
            }),
            _ => return None,
        })
    }

    fn endpoint(&mut self) -> Option<Endpoint> {
        let addr = Ipv6Addr::from(self.take::<16>()?);
        let port = self.u16()?;
        Some(Endpoint { addr, port })
    }
}
