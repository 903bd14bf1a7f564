// SPDX-License-Identifier: GPL-2.0

//! Frames that nobody should send: malformed, borderline, forged by somebody who knows who talks to whom but not where they are, or said
//! before. A stream over plain TCP lives on through all of them: TCP refuses each, or has its bytes already. It believes a forged number only
//! if that hits by chance, one in 2^28 or so.
//!
//! They are a function of the seed, but for those aimed at the numbers of the connections that are up, which the device shows. They go to the
//! service by its multicast link-layer address, so to both hosts, and to each host's port of the peer channel.

mod damage;
mod live;
mod packet;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::pattern::{derive, mix};
use crate::sock::Link;
use damage::{
    bad_checksum, bad_header, bad_lengths, bad_offset, bad_options, cut, flood, handshake,
};
use live::{Sighting, Watch};
use packet::{
    checksum, internet_checksum, move_on, Ip, Segment, ACK, FIN, ICMP, ICMPV6, MTU, RST, SYN, TCP,
    UDP,
};

type Mac = [u8; 6];

/// Packets of the connections that are looked at before each attempt, at most: they may come faster than they can be read.
const GLANCE: usize = 64;

#[derive(Args, Clone, Debug)]
pub struct Hostile {
    /// The device to send by.
    #[arg(long, value_name = "NAME")]
    dev: String,
    /// A service.
    #[arg(long, value_name = "ADDR:PORT", required = true)]
    to: Vec<SocketAddr>,
    /// The link-layer address of the services.
    #[arg(long, value_name = "MAC", value_parser = mac)]
    mac: Mac,
    /// An address to send from, one of each IP version at least.
    #[arg(long, value_name = "ADDR", required = true)]
    from: Vec<IpAddr>,
    /// The client's end of a connection that is up.
    #[arg(long, value_name = "ADDR:PORT")]
    live: Vec<SocketAddr>,
    /// A host's end of the peer channel, and its link-layer address.
    #[arg(long, value_name = "ADDR:PORT=MAC", value_parser = peer)]
    peer: Vec<(SocketAddr, Mac)>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames to send.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
}

fn mac(text: &str) -> Result<Mac, String> {
    let parts: Result<Vec<u8>, _> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect();
    parts
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "not a link-layer address".into())
}

fn peer(text: &str) -> Result<(SocketAddr, Mac), String> {
    let (addr, link) = text.split_once('=').ok_or("no link-layer address")?;
    let addr = addr.parse().map_err(|error| format!("{error}"))?;
    Ok((addr, mac(link)?))
}

#[derive(Serialize)]
struct Told {
    seed: u64,
    frames: u64,
    /// Those of them that the device did not take.
    refused: u64,
    ms: u128,
    kinds: BTreeMap<&'static str, u64>,
}

/// Sends the frames and prints how many of each kind.
///
/// # Errors
///
/// The device cannot be used.
pub fn run(hostile: &Hostile) -> io::Result<()> {
    let link = Link::open(&hostile.dev)?;
    let path = format!("/sys/class/net/{}/address", hostile.dev);
    let own = mac(std::fs::read_to_string(path)?.trim()).map_err(io::Error::other)?;
    let mut watch = Watch::new(&hostile.live);
    let mut buffer = [0; 2 * MTU];
    let start = Instant::now();
    let mut kinds = BTreeMap::new();
    let mut frames = 0;
    let mut refused = 0;
    for number in 0.. {
        if frames >= hostile.count {
            break;
        }
        for _ in 0..GLANCE {
            match link.receive(&mut buffer)? {
                Some(packet) => watch.look(packet),
                None => break,
            }
        }
        let mut forger = Forger {
            hostile,
            watch: &watch,
            random: Random(derive(hostile.seed, number)),
        };
        let (kind, packets) = forger.packets();
        for (to, packet) in packets {
            let ether_type = match packet.first().map_or(4, |byte| byte >> 4) {
                6 => 0x86dd_u16,
                _ => 0x0800,
            };
            let len = packet.len().min(MTU);
            let frame = [&to[..], &own, &ether_type.to_be_bytes(), &packet[..len]].concat();
            if link.send(&frame)? {
                *kinds.entry(kind).or_insert(0) += 1;
            } else {
                refused += 1;
            }
            frames += 1;
        }
    }
    let told = Told {
        seed: hostile.seed,
        frames,
        refused,
        ms: start.elapsed().as_millis(),
        kinds,
    };
    println!(
        "{}",
        serde_json::to_string(&told).map_err(io::Error::other)?
    );
    Ok(())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A sequence number: any, or one where arithmetic may go wrong.
    fn number(&mut self) -> u32 {
        if self.once_in(8) {
            self.pick(&[0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])
        } else {
            self.next() as u32
        }
    }
}

/// Packets, each with the link-layer address that it goes to.
type Packets = Vec<(Mac, Vec<u8>)>;

/// Makes up one attempt.
struct Forger<'a> {
    hostile: &'a Hostile,
    watch: &'a Watch,
    random: Random,
}

impl Forger<'_> {
    fn packets(&mut self) -> (&'static str, Packets) {
        // Some attempts are of many frames.
        let number = self.random.below(64);
        let (kind, packets): (_, Vec<Vec<u8>>) = match number {
            0..6 => ("any flags", vec![self.whole(|_, _| {})]),
            6..10 => (
                "options",
                vec![self.whole(|random, segment| segment.options = bad_options(random))],
            ),
            10..14 => (
                "data offset",
                vec![self.damaged(|random, packet, tcp| bad_offset(random, packet, tcp))],
            ),
            14..18 => ("cut short", vec![self.damaged(cut)]),
            18..22 => (
                "TCP checksum",
                vec![self.damaged(|random, packet, tcp| bad_checksum(random, packet, tcp))],
            ),
            22..26 => ("IP lengths", vec![self.damaged(bad_lengths)]),
            26..30 => (
                "IP header",
                vec![self.damaged(|random, packet, tcp| bad_header(random, packet, tcp))],
            ),
            30..34 => ("IP options and extension headers", vec![self.decorated()]),
            34 => ("fragments", self.fragments()),
            35 | 36 => ("overlapping data", self.overlapping()),
            37..40 => ("SYN flood", vec![self.whole(flood)]),
            40..44 => ("SYN, RST and FIN", vec![self.whole(handshake)]),
            44..48 => ("ICMP errors", vec![self.icmp()]),
            48..56 => ("near misses", self.near().into_iter().collect()),
            56..60 => ("said again", self.again().into_iter().collect()),
            _ => return ("peer channel", self.datagrams()),
        };
        let to = self.hostile.mac;
        (
            kind,
            packets.into_iter().map(|packet| (to, packet)).collect(),
        )
    }

    /// Who seems to send, and to whom: mostly one of the connections that are up.
    fn ends(&mut self) -> (SocketAddr, SocketAddr) {
        let hostile = self.hostile;
        let random = &mut self.random;
        let same = |a: IpAddr, b: IpAddr| a.is_ipv4() == b.is_ipv4();
        if !hostile.live.is_empty() && !random.once_in(4) {
            let from = random.pick(&hostile.live);
            if let Some(to) = hostile.to.iter().find(|to| same(to.ip(), from.ip())) {
                return (from, *to);
            }
        }
        let mut to = random.pick(&hostile.to);
        if random.once_in(8) {
            to.set_port(random.next() as u16);
        }
        let own: Vec<IpAddr> = hostile
            .from
            .iter()
            .copied()
            .filter(|own| same(*own, to.ip()))
            .collect();
        // Now and then it comes from where nobody can be: the service itself, this very host, anywhere, or a neighbour that is not there.
        let from = match (random.below(16), to.ip()) {
            (0, service) => service,
            (1, IpAddr::V4(_)) => IpAddr::from([127, 0, 0, 1]),
            (2, IpAddr::V4(_)) => IpAddr::from((random.next() as u32).to_be_bytes()),
            (3 | 4, IpAddr::V4(_)) => IpAddr::from([10, 0, 0, 128 | random.next() as u8]),
            (1, IpAddr::V6(_)) => IpAddr::from(1_u128.to_be_bytes()),
            (2, IpAddr::V6(_)) => IpAddr::from((u128::from(random.next()) << 64).to_be_bytes()),
            _ if own.is_empty() => to.ip(),
            _ => random.pick(&own),
        };
        (SocketAddr::new(from, random.next() as u16), to)
    }

    fn segment(&mut self, from: SocketAddr, to: SocketAddr) -> Segment {
        let random = &mut self.random;
        let len = random.pick(&[0, 0, 0, 1, 8, 100, 1000, 1380]);
        Segment {
            ports: (from.port(), to.port()),
            seq: random.number(),
            ack: random.number(),
            // As a client's segment mostly has it, so that something looks at the rest.
            flags: if random.once_in(2) {
                ACK
            } else {
                random.next() as u8
            },
            window: random.pick(&[0, 1, 500, 0xffff]),
            urgent: random.pick(&[0, 0, 1, 0xffff]),
            options: if random.once_in(2) {
                let stamps = random.bytes(8);
                [&[1, 1, 8, 10][..], &stamps].concat()
            } else {
                vec![]
            },
            payload: random.bytes(len),
        }
    }

    /// A packet that is right in itself, its segment being changed so.
    fn whole(&mut self, change: impl Fn(&mut Random, &mut Segment)) -> Vec<u8> {
        let (from, to) = self.ends();
        let mut segment = self.segment(from, to);
        change(&mut self.random, &mut segment);
        Ip::default().packet(from.ip(), to.ip(), TCP, &segment.bytes(from.ip(), to.ip()))
    }

    /// A packet that was right before `damage`; the second value is where its TCP header begins.
    fn damaged(&mut self, damage: impl Fn(&mut Random, &mut Vec<u8>, usize)) -> Vec<u8> {
        let mut packet = self.whole(|_, _| {});
        let tcp = if packet[0] >> 4 == 4 { 20 } else { 40 };
        damage(&mut self.random, &mut packet, tcp);
        packet
    }

    /// IPv4 options, or IPv6 extension headers, good and bad.
    fn decorated(&mut self) -> Vec<u8> {
        let (from, to) = self.ends();
        let segment = self.segment(from, to).bytes(from.ip(), to.ip());
        let random = &mut self.random;
        let mut ip = Ip::default();
        if from.is_ipv4() {
            let len = random.below(11) * 4;
            ip.options = random.bytes(len);
            if len >= 4 && random.once_in(2) {
                // No option, end of options, record route, source routes, timestamp, router alert.
                ip.options[0] = random.pick(&[0, 1, 7, 131, 137, 68, 148]);
                ip.options[1] = random.pick(&[0, 1, 3, 4, len as u8, 255]);
            }
        } else {
            for _ in 0..1 + random.below(4) {
                let units = random.pick(&[0, 0, 1, 2, 20]);
                let mut bytes = random.bytes(8 * (units + 1));
                bytes[1] = random.pick(&[units as u8, units as u8, units as u8, 255]);
                let kind = random.pick(&[0, 43, 44, 51, 59, 60, 60, 135, 253]);
                if random.once_in(2) {
                    // A row of padding.
                    bytes[2..].fill(0);
                }
                ip.extensions.push((kind, bytes));
            }
        }
        let mut packet = ip.packet(from.ip(), to.ip(), TCP, &segment);
        packet.truncate(MTU);
        packet
    }

    /// A segment in fragments: in any order, some missing, repeated, overlapping or beyond the longest packet.
    fn fragments(&mut self) -> Vec<Vec<u8>> {
        let (from, to) = self.ends();
        let mut segment = self.segment(from, to);
        if segment.payload.len() < 64 {
            segment.payload = self.random.bytes(64);
        }
        let bytes = segment.bytes(from.ip(), to.ip());
        let random = &mut self.random;
        let id = random.next() as u32;
        let unit = random.pick(&[8, 16, 24, 256, 512]);
        let mut packets = vec![];
        for (number, piece) in bytes.chunks(unit).take(12).enumerate() {
            let mut at = number * unit;
            let last = at + piece.len() == bytes.len();
            let mut piece = piece.to_vec();
            match random.below(16) {
                0 => continue,
                1 => at = at.saturating_sub(8),
                2 => piece.extend(random.bytes(8)),
                3 => at = 65_528,
                4 => piece.truncate(piece.len() - 1),
                5 => piece.clear(),
                _ => {}
            }
            let more = !last && !random.once_in(20);
            let ip = if from.is_ipv4() {
                Ip {
                    id: id as u16,
                    fragment: (at / 8) as u16 | (u16::from(more) << 13),
                    ..Ip::default()
                }
            } else {
                let field = at as u16 & 0xfff8 | u16::from(more);
                let header = [&[0, 0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat();
                Ip {
                    extensions: vec![(44, header)],
                    ..Ip::default()
                }
            };
            packets.push(ip.packet(from.ip(), to.ip(), TCP, &piece));
        }
        if random.once_in(2) {
            packets.reverse();
        }
        if let Some(again) = packets.first().cloned() {
            packets.push(again);
        }
        packets
    }

    /// Segments over the same range with other bytes each.
    fn overlapping(&mut self) -> Vec<Vec<u8>> {
        let (from, to) = self.ends();
        let mut segment = self.segment(from, to);
        segment.flags |= ACK;
        segment.flags &= !(SYN | RST | FIN);
        let base = segment.seq;
        (0..4)
            .map(|_| {
                segment.seq = base.wrapping_add(self.random.below(200) as u32);
                let len = self.random.below(400);
                segment.payload = self.random.bytes(len);
                Ip::default().packet(from.ip(), to.ip(), TCP, &segment.bytes(from.ip(), to.ip()))
            })
            .collect()
    }

    /// A segment with the very numbers of a connection that is up, but for one thing that has TCP refuse it.
    fn near(&mut self) -> Option<Vec<u8>> {
        let random = &mut self.random;
        let Sighting {
            client,
            service,
            nxt,
            una,
            answered,
            window,
            stamps,
        } = self.watch.pick(random.next())?;
        let len = random.pick(&[1, 8, 100, 1000, 1380]);
        let mut segment = Segment {
            ports: (client.port(), service.port()),
            seq: nxt,
            ack: answered,
            flags: ACK,
            window,
            urgent: 0,
            options: vec![],
            payload: random.bytes(len),
        };
        let stamp = |(value, echo): (u32, u32)| {
            [
                &[1, 1, 8, 10][..],
                &value.to_be_bytes(),
                &echo.to_be_bytes(),
            ]
            .concat()
        };
        // In the window, but farther than the client gets until this arrives.
        let ahead = nxt.wrapping_add(30_000 + random.below(20_000) as u32);
        let mut damage = false;
        match random.below(10) {
            // Other bytes in the place of acknowledged ones; with a FIN, too (RFC 9293, section 3.10.7.4).
            0 => {
                let behind = (1 + len + random.below(20_000)) as u32;
                segment.seq = una.wrapping_sub(behind);
                segment.flags |= random.pick(&[0, FIN]);
            }
            // A reset that misses by a little (RFC 5961, section 3.2).
            1 => {
                segment.seq = random.pick(&[una.wrapping_sub(1), ahead]);
                segment.flags = random.pick(&[RST, RST | ACK]);
                segment.payload.clear();
            }
            // A SYN in the window (RFC 5961, section 4.2).
            2 => segment.flags = SYN,
            // An acknowledgement of what was never sent, with bytes that fit (RFC 5961, section 5.2).
            3 => {
                segment.seq = ahead;
                segment.ack = answered.wrapping_add(1 << 30);
            }
            // Bytes of long ago (RFC 7323, section 5).
            4 => {
                let (value, echo) = stamps?;
                segment.seq = ahead;
                segment.options = stamp((value.wrapping_sub(1 << 30), echo));
            }
            5 => damage = true,
            // An acknowledgement older than any window (RFC 5961, section 5.2).
            6 => {
                segment.seq = ahead;
                segment.ack = answered.wrapping_sub(1 << 30);
            }
            // Bytes beyond any window.
            7 => segment.seq = nxt.wrapping_add(random.pick(&[40 << 20, 1 << 28, 1 << 30])),
            // A keep-alive probe (RFC 9293, section 3.8.4).
            8 => {
                segment.seq = una.wrapping_sub(1);
                segment.payload.clear();
            }
            // Bytes without an acknowledgement.
            _ => segment.flags = random.pick(&[0, FIN]),
        }
        if let (true, Some(stamps)) = (segment.options.is_empty(), stamps) {
            segment.options = stamp(stamps);
        }
        let bytes = segment.bytes(client.ip(), service.ip());
        let mut packet = Ip::default().packet(client.ip(), service.ip(), TCP, &bytes);
        if damage {
            let tcp = packet.len() - bytes.len();
            bad_checksum(random, &mut packet, tcp);
        }
        Some(packet)
    }

    /// What the client has said a while ago, all of it or a part.
    fn again(&mut self) -> Option<Vec<u8>> {
        let random = &mut self.random;
        let said = self.watch.said(random.next())?;
        let mut packet = said.packet.clone();
        let payload = packet.len() - said.payload;
        let some = random.below(payload);
        let front = random.pick(&[0, 0, 1, some]).min(payload);
        let some = random.below(payload - front);
        let back = random.pick(&[0, 0, 1, some]).min(payload - front);
        packet.truncate(packet.len() - back);
        packet.drain(said.payload..said.payload + front);
        move_on(&mut packet, said.tcp, front as u32);
        Some(packet)
    }

    /// An error message about a connection that is up.
    fn icmp(&mut self) -> Vec<u8> {
        let (client, service) = self.ends();
        // The service is said to have sent this.
        let segment = self
            .segment(service, client)
            .bytes(service.ip(), client.ip());
        let mut quoted = Ip::default().packet(service.ip(), client.ip(), TCP, &segment);
        quoted.truncate(28 + self.random.below(100));
        let random = &mut self.random;
        let (kind, protocol) = if client.is_ipv4() {
            (random.pick(&[3, 3, 4, 11, 12]), ICMP)
        } else {
            (random.pick(&[1, 2, 3, 4]), ICMPV6)
        };
        let rest = random.pick(&[0_u32, 68, 576, 1280, 0xffff_ffff]);
        let code = random.below(16) as u8;
        let mut icmp = [&[kind, code, 0, 0][..], &rest.to_be_bytes(), &quoted].concat();
        let check = if client.is_ipv4() {
            internet_checksum(&icmp)
        } else {
            checksum(client.ip(), service.ip(), ICMPV6, &icmp)
        };
        icmp[2..4].copy_from_slice(&check.to_be_bytes());
        Ip::default().packet(client.ip(), service.ip(), protocol, &icmp)
    }

    /// Something for a host's port of the peer channel, as if from the other host or from anywhere.
    fn datagrams(&mut self) -> Packets {
        let hostile = self.hostile;
        if hostile.peer.is_empty() {
            return vec![];
        }
        let random = &mut self.random;
        let (to, link) = random.pick(&hostile.peer);
        let mut from = random.pick(&hostile.peer).0;
        if from == to || random.once_in(4) {
            let other = |addr: &IpAddr| addr.is_ipv4() == to.is_ipv4();
            let own = hostile.from.iter().copied().find(other);
            from = SocketAddr::new(own.unwrap_or(to.ip()), random.next() as u16);
        }
        let len = random.pick(&[0, 1, 31, 32, 63, 64, 65, 96, 200, 1231, 1232, 1233, 1400]);
        let mut body = random.bytes(len);
        if len >= 4 && random.once_in(2) {
            // Version, type and role as they should be.
            body[..4].copy_from_slice(&[
                1,
                1 + random.below(3) as u8,
                1 + random.below(2) as u8,
                0,
            ]);
        }
        let mut datagram = [
            &from.port().to_be_bytes()[..],
            &to.port().to_be_bytes(),
            &((8 + len) as u16).to_be_bytes(),
            &[0, 0],
            &body,
        ]
        .concat();
        match random.below(8) {
            0 => datagram[6..8].copy_from_slice(&[0x12, 0x34]),
            1 => {}
            2 => datagram[4..6]
                .copy_from_slice(&random.pick(&[0_u16, 7, 8, 9, 0xffff]).to_be_bytes()),
            _ => {
                let check = checksum(from.ip(), to.ip(), UDP, &datagram);
                datagram[6..8].copy_from_slice(&check.max(1).to_be_bytes());
            }
        }
        let packet = Ip::default().packet(from.ip(), to.ip(), UDP, &datagram);
        vec![(link, packet)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile(seed: u64) -> Hostile {
        Hostile {
            dev: String::new(),
            to: vec![
                "10.0.0.100:7000".parse().unwrap(),
                "[fd00::100]:7000".parse().unwrap(),
            ],
            mac: [3, 0, 0, 0, 0, 0x64],
            from: vec!["10.0.0.10".parse().unwrap(), "fd00::10".parse().unwrap()],
            live: vec![
                "10.0.0.10:4000".parse().unwrap(),
                "[fd00::10]:4001".parse().unwrap(),
            ],
            peer: vec![
                ("10.0.0.1:7077".parse().unwrap(), [2; 6]),
                ("10.0.0.2:7077".parse().unwrap(), [4; 6]),
            ],
            seed,
            count: 0,
        }
    }

    fn packets(seed: u64, count: u64) -> Vec<(&'static str, Packets)> {
        let hostile = hostile(seed);
        let mut watch = Watch::new(&hostile.live);
        for (client, service) in hostile.live.iter().zip(&hostile.to) {
            for (from, to) in [(client, service), (service, client)] {
                watch.look(&true_segment(*from, *to));
            }
        }
        (0..count)
            .map(|number| {
                Forger {
                    hostile: &hostile,
                    watch: &watch,
                    random: Random(derive(seed, number)),
                }
                .packets()
            })
            .collect()
    }

    /// What an end of a live connection sends: 100 bytes from 5000 on, acknowledging 4000.
    pub fn true_segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let segment = Segment {
            ports: (from.port(), to.port()),
            seq: 5000,
            ack: 4000,
            flags: ACK,
            window: 500,
            urgent: 0,
            options: vec![1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9],
            payload: vec![0; 100],
        };
        Ip::default().packet(from.ip(), to.ip(), TCP, &segment.bytes(from.ip(), to.ip()))
    }

    #[test]
    fn what_is_sent_follows_from_the_seed() {
        assert_eq!(packets(7, 500), packets(7, 500));
        assert_ne!(packets(7, 500), packets(8, 500));
    }

    #[test]
    fn every_kind_is_made_of_packets_that_fit() {
        let mut kinds = BTreeMap::new();
        for (kind, packets) in packets(1, 20_000) {
            assert!(
                packets.iter().all(|(_, packet)| packet.len() <= MTU + 40),
                "{kind}"
            );
            *kinds.entry(kind).or_insert(0) += packets.len();
        }
        assert_eq!(kinds.len(), 16, "{kinds:?}");
        assert!(kinds.values().all(|count| *count > 500), "{kinds:?}");
    }

    #[test]
    fn whole_packets_have_right_checksums() {
        for (kind, packets) in packets(3, 5000) {
            if !matches!(kind, "any flags" | "SYN flood" | "overlapping data") {
                continue;
            }
            for (_, packet) in packets {
                let v4 = packet[0] >> 4 == 4;
                let (tcp, addresses) = if v4 {
                    (20, &packet[12..20])
                } else {
                    (40, &packet[8..40])
                };
                let len = ((packet.len() - tcp) as u32).to_be_bytes();
                assert_eq!(
                    internet_checksum(&[addresses, &len, &[0, 0, 0, TCP], &packet[tcp..]].concat()),
                    0,
                    "{kind}"
                );
                assert!(!v4 || internet_checksum(&packet[..20]) == 0, "{kind}");
            }
        }
    }
}
