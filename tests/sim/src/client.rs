// SPDX-License-Identifier: GPL-2.0

//! The clients' host: a stack without the module, and the programs on it.

use crate::check::Order;
use crate::host::{FIRST_PORT, PORT};
use crate::schedule::Schedule;
use crate::stack::{is_intact, Stack};
use crate::talk::{Program, Talk};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use sttcp::seq::SeqNumber;
use sttcp::wire::{Flags, Packet};

/// One connection's timestamps, as RFC 7323 wants them looked at and smoltcp does not.
#[derive(Default)]
struct Paws {
    recent: Option<u32>,
    acked: SeqNumber,
}

pub struct Client {
    stack: Stack,
    service: IpAddr,
    schedule: Schedule,
    /// The talks' programs, once started.
    pub programs: Vec<Option<Program>>,
    paws: BTreeMap<u16, Paws>,
    pub out: VecDeque<Vec<u8>>,
    pub failure: Option<String>,
    /// Segments dropped for their old timestamp.
    pub stale: u32,
    now: u64,
}

impl Client {
    pub fn new(schedule: &Schedule, addr: IpAddr, service: IpAddr) -> Self {
        Self {
            stack: Stack::new(addr, &schedule.natures[2]),
            service,
            schedule: schedule.clone(),
            programs: vec![None; schedule.talks.len()],
            paws: BTreeMap::new(),
            out: VecDeque::new(),
            failure: None,
            stale: 0,
            now: 0,
        }
    }

    /// The host runs at `now`, on this packet if there is one.
    pub fn run(&mut self, now: u64, packet: Option<Vec<u8>>) {
        self.now = now;
        if let Some(mut packet) = packet.filter(|packet| self.takes(packet)) {
            self.stack.renew(&mut packet);
            self.stack.feed(packet);
        }
        self.poll();
        while self.run_programs() {
            self.poll();
        }
    }

    /// When it wants to run again.
    pub fn wakes_at(&mut self) -> Option<u64> {
        let now = self.now;
        let mut next = self.stack.poll_at(now);
        for (program, talk) in self.programs.iter().zip(&self.schedule.talks) {
            let at = program
                .as_ref()
                .map_or(talk.start, |program| program.at(now));
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        next
    }

    pub fn is_done(&self) -> bool {
        self.programs.iter().all(|program| {
            program
                .as_ref()
                .is_some_and(|program| program.end.is_some())
        })
    }

    /// Bytes said and heard so far.
    pub fn progress(&self) -> u64 {
        let bytes = |program: &Program| u64::from(program.sent) + u64::from(program.heard);
        self.programs.iter().flatten().map(bytes).sum()
    }

    fn poll(&mut self) {
        for packet in self.stack.poll(self.now) {
            if let Ok(parsed) = Packet::parse(&packet, packet.len()) {
                let paws = self.paws.entry(parsed.source.port).or_default();
                paws.acked = parsed.segment.ack;
            }
            self.out.push_back(packet);
        }
    }

    fn run_programs(&mut self) -> bool {
        let mut moved = false;
        for at in 0..self.programs.len() {
            let talk: &Talk = &self.schedule.talks[at];
            if self.programs[at].is_none() && talk.start <= self.now {
                let port = FIRST_PORT + at as u16;
                let socket = self.stack.connect((self.service, PORT), port);
                self.programs[at] = Some(Program::new(talk, false, self.schedule.paces[2], socket));
                moved = true;
            }
            if let Some(program) = &mut self.programs[at] {
                match program.run(self.now, &mut self.stack) {
                    Ok(ran) => moved |= ran,
                    Err(what) => self.failure = self.failure.take().or(Some(what)),
                }
            }
        }
        moved
    }

    /// Whether the stack gets a packet: its checksum must be right, and its timestamp no older than one taken in (RFC 7323, section 5.3).
    fn takes(&mut self, packet: &[u8]) -> bool {
        let Ok(parsed) = Packet::parse(packet, packet.len()) else {
            self.failure = Some("the client gets what is no segment".into());
            return false;
        };
        if !is_intact(packet) {
            self.failure = Some(format!(
                "the client gets a wrong checksum: {:?}",
                parsed.segment
            ));
            return false;
        }
        let (segment, paws) = (
            &parsed.segment,
            self.paws.entry(parsed.destination.port).or_default(),
        );
        let Some(ts) = segment
            .options
            .timestamps
            .filter(|_| !segment.flags.contains(Flags::RST))
        else {
            return true;
        };
        let age = paws
            .recent
            .map_or(0, |recent| recent.wrapping_sub(ts.tsval) as i32);
        // Linux forgives one tick (tcp_paws_check).
        if age > 1 {
            self.stale += 1;
            return false;
        }
        if segment.flags.contains(Flags::SYN) || !segment.seq.after(paws.acked) && age < 0 {
            paws.recent = Some(ts.tsval);
        }
        true
    }
}
