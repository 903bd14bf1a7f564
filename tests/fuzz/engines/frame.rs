// SPDX-License-Identifier: GPL-2.0

//! Packets, and where their bytes come from.

use sttcp::{
    emit::{emit, MAX_PACKET},
    message::TAG_LEN,
    seq::SeqNumber,
    wire::{Flow, Packet, Segment},
};

/// Where the bytes of a frame come from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Origin {
    /// From this place of the stream that this side sends on the connection that began with this number of the client.
    Stream(SeqNumber, u32),
    /// There are none.
    Empty,
    /// From a forger.
    Forged,
}

impl Origin {
    /// That of what follows so many bytes later.
    pub fn skip(self, bytes: u32) -> Self {
        match self {
            Origin::Stream(name, place) => Origin::Stream(name, place + bytes),
            other => other,
        }
    }

    /// As the bytes of a tag, of which the model has no other use.
    pub fn emit(self) -> [u8; TAG_LEN] {
        let (kind, name, place) = match self {
            Origin::Stream(name, place) => (0, name.raw(), place),
            Origin::Empty => (1, 0, 0),
            Origin::Forged => (2, 0, 0),
        };
        let mut tag = [0; TAG_LEN];
        tag[0] = kind;
        tag[1..5].copy_from_slice(&name.to_be_bytes());
        tag[5..9].copy_from_slice(&place.to_be_bytes());
        tag
    }

    pub fn parse(tag: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes(tag[at..at + 4].try_into().unwrap());
        match tag[0] {
            0 => Origin::Stream(SeqNumber::new(number(1)), number(5)),
            1 => Origin::Empty,
            _ => Origin::Forged,
        }
    }
}

/// A packet: its headers as bytes, its payload as a number of them.
#[derive(Clone, Debug)]
pub struct Frame {
    pub header: Vec<u8>,
    pub payload: u32,
    pub origin: Origin,
}

impl Frame {
    pub fn from_client(flow: &Flow, segment: &Segment, origin: Origin) -> Self {
        Self::new(flow, segment, origin, true)
    }

    pub fn to_client(flow: &Flow, segment: &Segment, origin: Origin) -> Self {
        Self::new(flow, segment, origin, false)
    }

    fn new(flow: &Flow, segment: &Segment, origin: Origin, inbound: bool) -> Self {
        let mut buffer = [0; MAX_PACKET];
        let (source, destination) = if inbound {
            (flow.client, flow.service)
        } else {
            (flow.service, flow.client)
        };
        let len = emit(&mut buffer, source, destination, segment).unwrap();
        Self {
            header: buffer[..len].to_vec(),
            payload: segment.payload_len,
            origin,
        }
    }

    pub fn packet(&self) -> Packet {
        Packet::parse(&self.header, self.header.len() + self.payload as usize).unwrap()
    }

    pub fn segment(&self) -> Segment {
        self.packet().segment
    }
}

/// A segment in few words.
pub struct Short<'a>(pub &'a Segment);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let s = self.0;
        write!(
            f,
            "{:?} {}+{} ack {} win {}",
            s.flags, s.seq, s.payload_len, s.ack, s.window
        )?;
        if let Some(ts) = s.options.timestamps {
            write!(f, " ts {} {}", ts.tsval, ts.tsecr)?;
        }
        Ok(())
    }
}
