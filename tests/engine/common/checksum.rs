// SPDX-License-Identifier: GPL-2.0

//! Checksums, without the code under test. The fuzz targets and the traffic tool use this file too.

/// RFC 1071 as its first section says it: add 16-bit words, each carry at once, complement.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    !(sum as u16)
}

/// The checksum that belongs into the segment `tcp` (whose own field counts as 0) behind the IP
/// header `ip`.
pub fn tcp_checksum(ip: &[u8], tcp: &[u8]) -> u16 {
    let addresses = if ip[0] >> 4 == 4 {
        &ip[12..20]
    } else {
        &ip[8..40]
    };
    let len = (tcp.len() as u32).to_be_bytes();
    let mut bytes = [addresses, &len, &[0, 0, 0, 6], tcp].concat();
    let check = addresses.len() + 8 + 16;
    bytes[check..check + 2].fill(0);
    internet_checksum(&bytes)
}
