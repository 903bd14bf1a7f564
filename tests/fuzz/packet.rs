// SPDX-License-Identifier: GPL-2.0

//! Packets checked without the code under test.

// Each target uses its own part of this.
#![allow(dead_code)]

#[path = "../engine/common/checksum.rs"]
mod checksum;

/// The checksum that belongs into the segment behind the `ip_header_len` bytes of IP headers.
pub fn tcp_checksum(packet: &[u8], ip_header_len: usize) -> u16 {
    let (ip, tcp) = packet.split_at(ip_header_len);
    checksum::tcp_checksum(ip, tcp)
}

/// The checksum that belongs into an IPv4 header without options.
pub fn ipv4_checksum(header: &[u8]) -> u16 {
    checksum::internet_checksum(&[&header[..10], &header[12..20]].concat())
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
