// SPDX-License-Identifier: GPL-2.0

//! A TCP/IP stack: smoltcp's, with queues for a device, and a clock of its own.
//!
//! It is not Linux's: it has no SYN cookies, no reuse of TIME-WAIT, no congestion control as built here; it believes any reset in its window,
//! sends at most one acknowledgement in a second to what is out of its window, and has no timer to probe a zero window, for which keep-alive
//! probes stand in. Some of its faults would stop a stream, and are made good here, below the sockets:
//!
//! - Its keep-alive probe has a byte of payload, which is a wrong one if the last byte was lost. It goes out without, and from before what is
//!   acknowledged, as Linux sends it (tcp_xmit_probe_skb).
//! - In CLOSE-WAIT and LAST-ACK any acknowledgement stops its retransmission timer. [`Line`] has another one.
//! - When it begins to send again, its bare acknowledgements go back too, and lie before the window of who has the bytes. They carry the end of what was sent
//!   (RFC 9293, section 3.10.7.4).
//! - A listening socket takes a reset without ACK for its own. Resets are given one.
//! - It drops whatever comes with an old acknowledgement. Linux answers a probe (tcp_validate_incoming), and takes bytes (tcp_ack), so the client is
//!   given the last one with these.
//! - It leaves no room for timestamps in full segments. Its MTU is a large one, and the other side is told another MSS.

use crate::check::Order;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::SocketBuffer;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpProtocol, Ipv4Packet, TcpPacket};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use sttcp::emit::{emit, MAX_PACKET};
use sttcp::rewrite::{Checksum, Rewrite};
use sttcp::seq::SeqNumber;
use sttcp::wire::{Endpoint, Flags, Packet, Segment};

pub type Socket = smoltcp::socket::tcp::Socket<'static>;

thread_local! {
    /// The timestamp clock of the stack at work: smoltcp asks a plain function for it.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

/// More than any segment takes.
const MTU: usize = 9000;

/// A stack that has sent what is not acknowledged, and then nothing for so long, in us, is made to send it again.
const IDLE: u64 = 700_000;
const TRIES: u32 = 20;

/// What a stack is like.
#[derive(Clone, Debug)]
pub struct Nature {
    pub mss: u16,
    pub receive: usize,
    pub send: usize,
    /// In us.
    pub ack_delay: Option<u64>,
    pub nagle: bool,
    pub timestamps: bool,
    /// The timestamp clock at the start.
    pub clock: u32,
    /// The initial sequence number of its first connection.
    pub isn: u32,
    /// In us.
    pub keep_alive: u64,
}

#[derive(Default)]
struct Pipe {
    inward: VecDeque<Vec<u8>>,
    outward: VecDeque<Vec<u8>>,
}

struct Inward(Vec<u8>);
struct Outward<'a>(&'a mut VecDeque<Vec<u8>>);

impl smoltcp::phy::RxToken for Inward {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl smoltcp::phy::TxToken for Outward<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Pipe {
    type RxToken<'a> = Inward;
    type TxToken<'a> = Outward<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Inward, Outward<'_>)> {
        let packet = self.inward.pop_front()?;
        Some((Inward(packet), Outward(&mut self.outward)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outward<'_>> {
        Some(Outward(&mut self.outward))
    }
}

/// The stack.
pub struct Stack {
    pub nature: Nature,
    pipe: Pipe,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// By both ports.
    lines: BTreeMap<(u16, u16), Line>,
}

/// A connection, as its packets show it.
#[derive(Default)]
struct Line {
    snd_nxt: SeqNumber,
    una: SeqNumber,
    rcv_nxt: SeqNumber,
    /// The latest segment of the other side with an acknowledgement of nothing new, and its ends.
    last: Option<(Endpoint, Endpoint, Segment)>,
    sent_at: u64,
    /// How often it was made to send again without success.
    tries: u32,
}

impl Line {
    fn is_idle(&self) -> bool {
        self.last.is_some() && self.snd_nxt.after(self.una) && self.tries < TRIES
    }

    /// Three duplicates of the last acknowledgement, at which smoltcp sends again, after two that make it count anew.
    fn duplicates(&self) -> Vec<Vec<u8>> {
        let Some((from, to, last)) = &self.last else {
            return vec![];
        };
        let mut segment = Segment {
            seq: self.rcv_nxt,
            ack: self.una,
            flags: Flags::ACK,
            ..*last
        };
        segment.options.sack = Default::default();
        let other = last.window ^ 1;
        [other, last.window, last.window, last.window, last.window]
            .into_iter()
            .map(|window| build(*from, *to, &Segment { window, ..segment }))
            .collect()
    }
}

fn build(from: Endpoint, to: Endpoint, segment: &Segment) -> Vec<u8> {
    let mut packet = [0; MAX_PACKET];
    let len = emit(&mut packet, from, to, segment).unwrap();
    packet[..len].to_vec()
}

fn instant(us: u64) -> Instant {
    Instant::from_micros(us as i64)
}

impl Stack {
    pub fn new(addr: IpAddr, nature: &Nature) -> Self {
        let mut pipe = Pipe::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed_for(nature.isn);
        let mut interface = Interface::new(config, &mut pipe, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // Everybody is a neighbour.
            addresses.push(IpCidr::new(addr.into(), 0)).unwrap();
        });
        Self {
            nature: nature.clone(),
            pipe,
            interface,
            sockets: SocketSet::new(vec![]),
            lines: BTreeMap::new(),
        }
    }

    pub fn add(&mut self) -> SocketHandle {
        let nature = &self.nature;
        let buffer = |len| SocketBuffer::new(vec![0; len]);
        let mut socket = Socket::new(buffer(nature.receive), buffer(nature.send));
        socket.set_ack_delay(nature.ack_delay.map(Duration::from_micros));
        socket.set_nagle_enabled(nature.nagle);
        socket.set_keep_alive(Some(Duration::from_micros(nature.keep_alive)));
        // As Linux would after all its repetitions.
        socket.set_timeout(Some(Duration::from_secs(30)));
        self.sockets.add(socket)
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut Socket {
        self.sockets.get_mut(handle)
    }

    pub fn listen(&mut self, handle: SocketHandle, port: u16) {
        let timestamps = self.nature.timestamps;
        let socket = self.socket(handle);
        // A SYN without timestamps switches them off for good.
        socket.set_tsval_generator(timestamps.then_some(|| CLOCK.get()));
        // It is closed, so nothing is in the way.
        socket.listen(port).unwrap();
    }

    pub fn connect(&mut self, to: (IpAddr, u16), from_port: u16) -> SocketHandle {
        let handle = self.add();
        let timestamps = self.nature.timestamps;
        let socket = self.sockets.get_mut::<Socket>(handle);
        socket.set_tsval_generator(timestamps.then_some(|| CLOCK.get()));
        let to = (IpAddress::from(to.0), to.1);
        socket
            .connect(self.interface.context(), to, from_port)
            .unwrap();
        handle
    }

    /// The timestamp clock, in ms.
    pub fn clock(&self, now: u64) -> u32 {
        self.nature.clock.wrapping_add((now / 1000) as u32)
    }

    /// Gives a packet that says something the last acknowledgement, should it come with an older one.
    pub fn renew(&self, packet: &mut [u8]) {
        let Ok(parsed) = Packet::parse(packet, packet.len()) else {
            return;
        };
        let (segment, ports) = (
            parsed.segment,
            (parsed.destination.port, parsed.source.port),
        );
        let Some(line) = self.lines.get(&ports) else {
            return;
        };
        let says_something = !segment.is_empty() || line.rcv_nxt.after(segment.seq);
        if says_something && line.una.after(segment.ack) && !segment.flags.contains(Flags::RST) {
            let change = Rewrite {
                ack: Some(line.una),
                ..Rewrite::default()
            };
            change.apply(packet, Checksum::Full).unwrap();
        }
    }

    /// Gives the stack a packet.
    pub fn feed(&mut self, mut packet: Vec<u8>) {
        if let Ok(parsed) = Packet::parse(&packet, packet.len()) {
            let (mut segment, ports) = (
                parsed.segment,
                (parsed.destination.port, parsed.source.port),
            );
            if segment.flags.contains(Flags::RST) {
                if let Some(line) = self.lines.get_mut(&ports) {
                    // Believed or not: nothing is repeated before the next word.
                    line.last = None;
                }
                segment.flags = segment.flags | Flags::ACK;
                packet = build(parsed.source, parsed.destination, &segment);
            } else if let Some(line) = self.lines.get_mut(&ports) {
                if segment.flags.contains(Flags::ACK)
                    && !line.una.after(segment.ack)
                    && !segment.ack.after(line.snd_nxt)
                {
                    if segment.ack.after(line.una) {
                        line.tries = 0;
                    }
                    line.una = segment.ack;
                    line.last = Some((parsed.source, parsed.destination, segment));
                }
            }
        }
        self.pipe.inward.push_back(packet);
    }

    /// Lets it work, and returns what it sends.
    pub fn poll(&mut self, now: u64) -> Vec<Vec<u8>> {
        for line in self.lines.values_mut() {
            if line.is_idle() && now >= line.sent_at + IDLE {
                line.sent_at = now;
                line.tries += 1;
                self.pipe.inward.extend(line.duplicates());
            }
        }
        CLOCK.set(self.clock(now));
        self.interface
            .poll(instant(now), &mut self.pipe, &mut self.sockets);
        let packets = std::mem::take(&mut self.pipe.outward);
        packets
            .into_iter()
            .map(|packet| self.mend(packet, now))
            .collect()
    }

    /// What the stack should have sent.
    fn mend(&mut self, packet: Vec<u8>, now: u64) -> Vec<u8> {
        let parsed = Packet::parse(&packet, packet.len()).unwrap();
        let (from, to, mut segment) = (parsed.source, parsed.destination, parsed.segment);
        if segment.flags.contains(Flags::RST) {
            self.lines.remove(&(from.port, to.port));
            return packet;
        }
        let line = self.lines.entry((from.port, to.port)).or_default();
        if segment.flags.contains(Flags::SYN) {
            *line = Line {
                snd_nxt: segment.end(),
                una: segment.seq,
                ..Line::default()
            };
            segment.options.mss = Some(self.nature.mss);
            return build(from, to, &segment);
        }
        line.rcv_nxt = segment.ack;
        // No byte of a talk is 0.
        if segment.payload_len == 1 && packet.ends_with(&[0]) {
            segment.seq = line.una - 1;
            return build(from, to, &segment);
        }
        line.snd_nxt = line.snd_nxt.later(segment.end());
        line.sent_at = now;
        if segment.is_pure_ack() && line.snd_nxt.after(segment.seq) {
            segment.seq = line.snd_nxt;
            return build(from, to, &segment);
        }
        packet
    }

    /// When it wants to work again. It may say "now" and have nothing to do.
    pub fn poll_at(&mut self, now: u64) -> Option<u64> {
        let idle = self.lines.values().filter(|line| line.is_idle());
        let own = self.interface.poll_at(instant(now), &self.sockets);
        let own = own.map(|at| (at.total_micros() as u64).max(now + 100));
        idle.map(|line| line.sent_at + IDLE).chain(own).min()
    }
}

/// The seed with which smoltcp's generator (a PCG, of which the upper bits choose the shift of the output) says `isn` first of all initial
/// sequence numbers. One number it takes before, for fragments.
fn seed_for(isn: u32) -> u64 {
    const M: u64 = 0xbb2e_fcec_3c39_611d;
    const A: u64 = 0x7590_ef39;
    // Newton's iteration doubles the bits of the inverse that are right, five at first: M is odd.
    let inverse = (0..4).fold(M.wrapping_mul(3) ^ 2, |x, _| {
        x.wrapping_mul(2_u64.wrapping_sub(M.wrapping_mul(x)))
    });
    let back = |state: u64| state.wrapping_sub(A).wrapping_mul(inverse);
    back(back(u64::from(isn) << 29))
}

/// Whether the checksums of a TCP packet are right, as smoltcp computes them.
pub fn is_intact(packet: &[u8]) -> bool {
    let (source, destination, segment) = if packet[0] >> 4 == 4 {
        let Ok(ip) = Ipv4Packet::new_checked(packet) else {
            return false;
        };
        if !ip.verify_checksum() || ip.next_header() != IpProtocol::Tcp {
            return false;
        }
        let ends = (IpAddress::from(ip.src_addr()), ip.dst_addr().into());
        (ends.0, ends.1, &packet[ip.header_len().into()..])
    } else {
        let Ok(ip) = smoltcp::wire::Ipv6Packet::new_checked(packet) else {
            return false;
        };
        let ends = (IpAddress::from(ip.src_addr()), ip.dst_addr().into());
        (ends.0, ends.1, &packet[40..])
    };
    TcpPacket::new_checked(segment).is_ok_and(|tcp| tcp.verify_checksum(&source, &destination))
}
