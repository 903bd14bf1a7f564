// SPDX-License-Identifier: GPL-2.0

//! Packets byte by byte.

#[path = "../../../engine/common/checksum.rs"]
mod checksum;

pub use checksum::internet_checksum;
use checksum::tcp_checksum;
use std::net::IpAddr;

/// Bytes of the longest IP packet sent, one of Ethernet's MTU.
pub const MTU: usize = 1500;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A TCP segment, right in itself.
pub struct Segment {
    pub ports: (u16, u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Segment {
    pub fn bytes(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let mut options = self.options.clone();
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 0);
        let mut bytes = [
            &self.ports.0.to_be_bytes()[..],
            &self.ports.1.to_be_bytes(),
            &self.seq.to_be_bytes(),
            &self.ack.to_be_bytes(),
            &[((20 + options.len()) as u8 / 4) << 4, self.flags],
            &self.window.to_be_bytes(),
            &[0, 0],
            &self.urgent.to_be_bytes(),
            &options,
            &self.payload,
        ]
        .concat();
        let check = checksum(from, to, TCP, &bytes);
        bytes[16..18].copy_from_slice(&check.to_be_bytes());
        bytes
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// That of a datagram of `protocol`, whose own field is 0.
pub fn checksum(from: IpAddr, to: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let len = (bytes.len() as u32).to_be_bytes();
    let from_to = [octets(from), octets(to)].concat();
    internet_checksum(&[&from_to, &len[..], &[0, 0, 0, protocol], bytes].concat())
}

/// What goes before a payload: an IPv4 header with options, or an IPv6 header with extension headers, kind and bytes.
#[derive(Default)]
pub struct Ip {
    pub options: Vec<u8>,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub id: u16,
    /// Flags and offset.
    pub fragment: u16,
}

impl Ip {
    pub fn packet(&self, from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = if from.is_ipv4() {
            let ihl = 5 + self.options.len() / 4;
            let len = (ihl * 4 + payload.len()) as u16;
            [
                &[0x40 | ihl as u8, 0][..],
                &len.to_be_bytes(),
                &self.id.to_be_bytes(),
                &self.fragment.to_be_bytes(),
                &[64, protocol, 0, 0],
                &octets(from),
                &octets(to),
                &self.options,
            ]
            .concat()
        } else {
            let extensions: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
            let mut kinds = self
                .extensions
                .iter()
                .map(|(kind, _)| *kind)
                .chain([protocol]);
            let first = kinds.next().unwrap_or(protocol);
            let mut ip = [
                &[0x60, 0, 0, 0][..],
                &((extensions + payload.len()) as u16).to_be_bytes(),
                &[first, 64],
                &octets(from),
                &octets(to),
            ]
            .concat();
            for ((_, bytes), next) in self.extensions.iter().zip(kinds) {
                let at = ip.len();
                ip.extend(bytes);
                ip[at] = next;
            }
            ip
        };
        mend(&mut ip);
        ip.extend(payload);
        ip
    }
}

/// Puts the right checksum into an IPv4 header.
pub fn mend(ip: &mut [u8]) {
    let len = usize::from(ip[0] & 15) * 4;
    if ip[0] >> 4 == 4 && (20..=ip.len()).contains(&len) {
        ip[10..12].fill(0);
        let check = internet_checksum(&ip[..len]);
        ip[10..12].copy_from_slice(&check.to_be_bytes());
    }
}

/// Puts the right checksum into a segment that begins at `tcp`.
pub fn right_checksum(packet: &mut [u8], tcp: usize) {
    let (ip, segment) = packet.split_at(tcp);
    let check = tcp_checksum(ip, segment);
    packet[tcp + 16..tcp + 18].copy_from_slice(&check.to_be_bytes());
}

/// Makes a packet right again whose segment, which begins at `tcp`, begins so many bytes later and has another length.
pub fn move_on(packet: &mut [u8], tcp: usize, bytes: u32) {
    let v4 = packet[0] >> 4 == 4;
    let (at, len) = if v4 {
        (2, packet.len())
    } else {
        (4, packet.len() - 40)
    };
    packet[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
    mend(packet);
    let seq = &mut packet[tcp + 4..tcp + 8];
    let moved = seq
        .iter()
        .fold(0, |seq, byte| (seq << 8) | u32::from(*byte))
        .wrapping_add(bytes);
    seq.copy_from_slice(&moved.to_be_bytes());
    right_checksum(packet, tcp);
}
