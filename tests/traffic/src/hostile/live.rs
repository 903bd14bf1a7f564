// SPDX-License-Identifier: GPL-2.0

//! What the connections that are up say: the numbers that a borderline segment is aimed at.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::packet::{FIN, MTU, RST, SYN, TCP};

/// The numbers of one connection, those of the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sighting {
    pub client: SocketAddr,
    pub service: SocketAddr,
    /// The end of what the client has sent.
    pub nxt: u32,
    /// How far the service has acknowledged that.
    pub una: u32,
    /// The end of what the service has sent.
    pub answered: u32,
    /// The field of the client's last segment.
    pub window: u16,
    /// The client's last timestamp and what it echoed.
    pub stamps: Option<(u32, u32)>,
}

/// Segments of the clients that are kept.
const KEPT: usize = 256;

/// A segment that a client has sent.
pub struct Kept {
    pub packet: Vec<u8>,
    /// Where its TCP header begins, and its payload.
    pub tcp: usize,
    pub payload: usize,
}

/// Looks on.
pub struct Watch {
    live: BTreeMap<SocketAddr, Option<Sighting>>,
    kept: VecDeque<Kept>,
}

impl Watch {
    /// Looks for the connections with these clients' ends.
    pub fn new(live: &[SocketAddr]) -> Self {
        Self {
            live: live.iter().map(|client| (*client, None)).collect(),
            kept: VecDeque::new(),
        }
    }

    /// One of the connections seen.
    pub fn pick(&self, random: u64) -> Option<Sighting> {
        let seen: Vec<_> = self.live.values().flatten().collect();
        let at = random.checked_rem(seen.len() as u64)?;
        seen.get(at as usize).map(|sighting| **sighting)
    }

    /// One of the segments that the clients have sent.
    pub fn said(&self, random: u64) -> Option<&Kept> {
        let at = random.checked_rem(self.kept.len() as u64)?;
        self.kept.get(at as usize)
    }

    /// Takes note of a packet, of which at least the headers are there.
    pub fn look(&mut self, packet: &[u8]) {
        let Some(said) = Said::read(packet) else {
            return;
        };
        if let Some(sighting) = self.live.get_mut(&said.from) {
            let (una, answered) = sighting.map_or((said.seq, said.ack), |s| (s.una, s.answered));
            *sighting = Some(Sighting {
                client: said.from,
                service: said.to,
                nxt: sighting.map_or(said.end, |s| later(s.nxt, said.end)),
                una,
                answered: later(answered, said.ack),
                window: said.window,
                stamps: said.stamps,
            });
            // What the device is to cut has more than fits a frame.
            if said.len <= packet.len().min(MTU) && !said.fin {
                if self.kept.len() == KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back(Kept {
                    packet: packet[..said.len].to_vec(),
                    tcp: said.tcp,
                    payload: said.payload,
                });
            }
        } else if let Some(Some(sighting)) = self.live.get_mut(&said.to) {
            sighting.una = later(sighting.una, said.ack);
            sighting.answered = later(sighting.answered, said.end);
        }
    }
}

/// The later of two sequence numbers.
fn later(a: u32, b: u32) -> u32 {
    if (b.wrapping_sub(a) as i32) > 0 {
        b
    } else {
        a
    }
}

/// A segment of an open connection.
struct Said {
    from: SocketAddr,
    to: SocketAddr,
    seq: u32,
    /// The number after its last byte.
    end: u32,
    ack: u32,
    window: u16,
    stamps: Option<(u32, u32)>,
    fin: bool,
    /// Bytes of the packet, and where in it the TCP header and the payload begin.
    len: usize,
    tcp: usize,
    payload: usize,
}

impl Said {
    fn read(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
        let v4 = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(long(at)?)));
        let v6 = |at: usize| {
            let octets: [u8; 16] = *packet.get(at..)?.first_chunk()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        };
        let first = *packet.first()?;
        let (tcp, len, protocol, from, to) = match first >> 4 {
            4 => {
                let tcp = usize::from(first & 15) * 4;
                (tcp, word(2)?, *packet.get(9)?, v4(12)?, v4(16)?)
            }
            _ => (
                40,
                word(4)?.checked_add(40)?,
                *packet.get(6)?,
                v6(8)?,
                v6(24)?,
            ),
        };
        let offset = usize::from(*packet.get(tcp + 12)? >> 4) * 4;
        let flags = *packet.get(tcp + 13)?;
        if protocol != TCP || flags & (SYN | RST) != 0 {
            return None;
        }
        let seq = long(tcp + 4)?;
        let len = usize::from(len);
        let payload = len.checked_sub(tcp + offset)?;
        // Linux's own timestamps are alone, behind two NOPs, or behind nothing at all if SACK blocks follow.
        let stamps = match packet.get(tcp + 20..tcp + 24)? {
            [1, 1, 8, 10] if offset >= 32 => Some((long(tcp + 24)?, long(tcp + 28)?)),
            _ => None,
        };
        Some(Self {
            from: SocketAddr::new(from, word(tcp)?),
            to: SocketAddr::new(to, word(tcp + 2)?),
            seq,
            end: seq.wrapping_add(payload as u32 + u32::from(flags & FIN)),
            ack: long(tcp + 8)?,
            window: word(tcp + 14)?,
            stamps,
            fin: flags & FIN != 0,
            len,
            tcp,
            payload: tcp + offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::true_segment;
    use super::*;

    #[test]
    fn numbers_are_those_of_the_wire() {
        for (client, service) in [
            ("10.0.0.10:4000", "10.0.0.100:7000"),
            ("[fd00::10]:4000", "[fd00::100]:7000"),
        ] {
            let [client, service]: [SocketAddr; 2] = [client, service].map(|s| s.parse().unwrap());
            let mut watch = Watch::new(&[client]);
            assert_eq!(watch.pick(7), None);
            watch.look(&true_segment(service, client));
            assert_eq!(watch.pick(7), None);
            watch.look(&true_segment(client, service));
            watch.look(&true_segment(service, client));
            let expected = Sighting {
                client,
                service,
                nxt: 5100,
                una: 5000,
                answered: 5100,
                window: 500,
                stamps: Some((7, 9)),
            };
            assert_eq!(watch.pick(7), Some(expected));
        }
    }
}
