// SPDX-License-Identifier: GPL-2.0

//! Packets checked without the code under test.

// Each target uses its own part of this.
#![allow(dead_code)]

/// RFC 1071 as its first section says it: add 16-bit words, each carry at once, complement.
fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    !(sum as u16)
}

/// The checksum that belongs into the segment behind the `ip_header_len` bytes of IP headers.
pub fn tcp_checksum(packet: &[u8], ip_header_len: usize) -> u16 {
    let (ip, tcp) = packet.split_at(ip_header_len);
    let addresses = if ip[0] >> 4 == 4 {
        &ip[12..20]
    } else {
        &ip[8..40]
    };
    let len = (tcp.len() as u32).to_be_bytes();
    internet_checksum(&[addresses, &len, &[0, 0, 0, 6], &tcp[..16], &tcp[18..]])
}

/// The checksum that belongs into an IPv4 header without options.
pub fn ipv4_checksum(header: &[u8]) -> u16 {
    internet_checksum(&[&header[..10], &header[12..20]])
}

/// What the two bytes at `at` say.
pub fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// An option as the kernel's `tcp_parse_options` comes by it: kind, where it begins, and its body.
pub struct Opt<'a> {
    pub kind: u8,
    pub at: usize,
    pub body: &'a [u8],
}

/// The options of a header in the order of `tcp_parse_options`, which stops at the first that makes no sense.
pub fn options(bytes: &[u8]) -> Vec<Opt<'_>> {
    let mut found = vec![];
    let mut at = 0;
    while at < bytes.len() {
        let kind = bytes[at];
        match kind {
            0 => break,
            1 => at += 1,
            _ => {
                let Some(&len) = bytes.get(at + 1) else {
                    break;
                };
                let len = usize::from(len);
                if len < 2 || at + len > bytes.len() {
                    break;
                }
                found.push(Opt {
                    kind,
                    at,
                    body: &bytes[at + 2..at + len],
                });
                at += len;
            }
        }
    }
    found
}
