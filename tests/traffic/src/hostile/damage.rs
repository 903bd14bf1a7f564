// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a packet or a segment.

use super::packet::{mend, right_checksum, Segment, ACK, FIN, RST, SYN};
use super::Random;

/// Options of any kind and any length, that they have or not.
pub fn bad_options(random: &mut Random) -> Vec<u8> {
    let mut options = vec![];
    while options.len() < 40 && !random.once_in(8) {
        let kind = random.pick(&[
            0, 1, 2, 3, 4, 5, 8, 8, 14, 19, 27, 28, 29, 30, 34, 69, 253, 254, 255,
        ]);
        let right = random.pick(&[2, 3, 4, 6, 8, 10, 12, 18, 26, 34]);
        let len = random.pick(&[0, 1, right, right, right, 40, 255]);
        options.extend([kind, len]);
        let body = usize::from(right).saturating_sub(2);
        options.extend(random.bytes(body));
    }
    options
}

pub fn bad_offset(random: &mut Random, packet: &mut [u8], tcp: usize) {
    packet[tcp + 12] = random.pick(&[0, 1, 4, 6, 15]) << 4;
    // Sometimes nothing else is wrong.
    if random.once_in(2) {
        right_checksum(packet, tcp);
    }
}

/// Shorter than it says, or says so.
pub fn cut(random: &mut Random, packet: &mut Vec<u8>, tcp: usize) {
    let keep = if random.once_in(2) {
        random.below(packet.len())
    } else {
        tcp + random.below(24)
    };
    packet.truncate(keep.min(packet.len()));
    if packet.len() >= tcp && random.once_in(2) {
        let v4 = packet[0] >> 4 == 4;
        let (at, len) = if v4 {
            (2, packet.len())
        } else {
            (4, packet.len() - tcp)
        };
        packet[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        mend(packet);
    }
}

pub fn bad_checksum(random: &mut Random, packet: &mut [u8], tcp: usize) {
    let bit = random.below((packet.len() - tcp) * 8);
    packet[tcp + bit / 8] ^= 1 << (bit % 8);
}

pub fn bad_lengths(random: &mut Random, packet: &mut Vec<u8>, _: usize) {
    let at = if packet[0] >> 4 == 4 { 2 } else { 4 };
    let true_len = u16::from_be_bytes([packet[at], packet[at + 1]]);
    let any = random.next() as u16;
    let len = random.pick(&[
        0,
        1,
        19,
        20,
        39,
        40,
        true_len - 1,
        true_len + 1,
        true_len + 8,
        0xffff,
        any,
    ]);
    packet[at..at + 2].copy_from_slice(&len.to_be_bytes());
    mend(packet);
    // Bytes behind the packet's end are the link's business.
    if random.once_in(4) {
        let more = random.below(40);
        packet.extend(random.bytes(more));
    }
}

pub fn bad_header(random: &mut Random, packet: &mut [u8], tcp: usize) {
    match random.below(4) {
        // Another version than the link says, or a header of another length.
        0 => packet[0] = random.next() as u8,
        1 => packet[0] = packet[0] & 0xf0 | random.below(16) as u8,
        // Any other byte of the header but the addresses.
        2 => {
            let end = if packet[0] >> 4 == 4 { 12 } else { 8 };
            let at = random.below(end);
            packet[at] ^= 1 << random.below(8);
        }
        // Reserved flags.
        _ => packet[tcp + 12] ^= 1 + random.below(15) as u8,
    }
    if random.once_in(2) {
        mend(packet);
    }
}

pub fn flood(random: &mut Random, segment: &mut Segment) {
    segment.ports.0 = random.next() as u16;
    segment.flags = SYN;
    segment.payload.clear();
    if random.once_in(2) {
        segment.options = vec![2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7];
    }
}

pub fn handshake(random: &mut Random, segment: &mut Segment) {
    segment.flags = random.pick(&[
        SYN,
        SYN,
        SYN | ACK,
        SYN | RST,
        SYN | FIN,
        RST,
        RST | ACK,
        FIN,
        FIN | ACK,
    ]);
    if random.once_in(2) {
        segment.payload.clear();
    }
}
