// SPDX-License-Identifier: GPL-2.0

//! Sessions over a TCP that is not Linux's: smoltcp's, behind a tun device. One thread drives all connections.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{wait, ChecksumCapabilities, Device, Medium, RxToken, TunTapInterface, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpCidr, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber,
};

use crate::client;
use crate::pattern::{mix, Pattern};
use crate::report::Outcome;
use crate::run::{millis, size, Mark, Run, Talk};
use crate::session::{Closing, Failure, Plan, Session, Step};

/// The loop looks at its clock at least so often.
const NAP: Duration = Duration::from_millis(50);
/// A closed connection is kept so long, to acknowledge the server's FIN again.
const LINGER: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Kind {
    Echo,
    #[value(alias = "interactive")]
    Ask,
    #[value(alias = "download")]
    Get,
    #[value(alias = "upload")]
    Put,
    Greet,
    /// One question per connection, connection after connection.
    Churn,
    /// As the command redis.
    Redis,
    /// --count SYNs, each from another port, and never another packet except for --reset.
    Syn,
}

/// Where the foreign host is.
#[derive(Args, Clone, Debug)]
pub struct Tunnel {
    /// The tun device.
    #[arg(long, value_name = "NAME")]
    tun: String,
    /// The foreign host's own address.
    #[arg(long, value_name = "ADDR/LEN", value_parser = cidr)]
    address: Vec<IpCidr>,
    /// The router's address, which is this host's on the tun device.
    #[arg(long, value_name = "ADDR")]
    gateway: Vec<IpAddr>,
    /// Make the device, give it the gateway's address, and remove it at the end.
    #[arg(long)]
    make: bool,
    /// The MTU of the device made.
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Bytes of each socket's buffers.
    #[arg(long, default_value = "64K", value_parser = size)]
    buffer: u64,
    /// Use TCP timestamps.
    #[arg(long)]
    timestamps: bool,
    /// Delay acknowledgements by so much at most.
    #[arg(long, value_name = "MS", default_value = "10", value_parser = millis)]
    ack_delay: Duration,
    /// The first local port [default: another one in each run].
    #[arg(long)]
    local_port: Option<u16>,
    /// With syn, answer each SYN-ACK with a reset.
    #[arg(long)]
    reset: bool,
}

fn cidr(text: &str) -> Result<IpCidr, String> {
    text.parse()
        .map_err(|()| "not an address with the length of its prefix".into())
}

/// A tun device that lives as long as this value.
struct Made<'a>(&'a str);

impl<'a> Made<'a> {
    fn new(tunnel: &'a Tunnel) -> io::Result<Self> {
        let name = &tunnel.tun;
        ip(&["tuntap", "add", "mode", "tun", "name", name])?;
        let made = Self(name);
        ip(&["link", "set", name, "mtu", &tunnel.mtu.to_string(), "up"])?;
        for gateway in &tunnel.gateway {
            let same_family = |own: &&IpCidr| matches!(own, IpCidr::Ipv4(_)) == gateway.is_ipv4();
            let len = tunnel
                .address
                .iter()
                .find(same_family)
                .map_or(32, IpCidr::prefix_len);
            let mut words = vec!["addr", "add"];
            let address = format!("{gateway}/{len}");
            words.extend([address.as_str(), "dev", name]);
            if gateway.is_ipv6() {
                words.push("nodad");
            }
            ip(&words)?;
        }
        Ok(made)
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = ip(&["tuntap", "del", "mode", "tun", "name", self.0]);
    }
}

/// Waits until the device carries packets. That comes a while after a program attached to it, and the kernel drops what
/// it has for the device until then, which would look like a pause.
fn await_carrier(name: &str) {
    for _ in 0..200 {
        let shown = Command::new("ip")
            .args(["-o", "link", "show", "dev", name])
            .output();
        // Without ip(8) or the device there is nothing to wait for.
        if !shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains(" state DOWN "))
        {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn ip(words: &[&str]) -> io::Result<()> {
    let status = Command::new("ip").args(words).status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "ip {}: {status}",
        words.join(" ")
    )))
}

/// Runs `kind`, prints the result and returns whether every connection ended right.
///
/// # Errors
///
/// The device cannot be used.
pub fn run(talk: &Talk, tunnel: &Tunnel, kind: Kind) -> io::Result<bool> {
    let _made = tunnel.make.then(|| Made::new(tunnel)).transpose()?;
    let device = TunTapInterface::new(&tunnel.tun, Medium::Ip)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", tunnel.tun)))?;
    await_carrier(&tunnel.tun);
    let (kind, pattern) = match kind {
        Kind::Syn => return send_syns(talk, tunnel, device),
        Kind::Redis => ("redis".into(), Pattern::Redis { pipeline: 1 }),
        Kind::Echo => plain(client::Kind::Echo, talk),
        Kind::Ask => plain(client::Kind::Ask, talk),
        Kind::Get => plain(client::Kind::Get, talk),
        Kind::Put => plain(client::Kind::Put, talk),
        Kind::Greet => plain(client::Kind::Greet, talk),
        Kind::Churn => plain(client::Kind::Churn, talk),
    };
    let run = Run::new(talk, &format!("foreign {kind}"));
    let churn = kind == "churn";
    let mut host = Host::new(&run, talk, tunnel, device, talk.plan(pattern), churn);
    host.hold()?;
    Ok(run.finish())
}

fn plain(kind: client::Kind, talk: &Talk) -> (String, Pattern) {
    (kind.name(), kind.pattern(talk))
}

/// A number that differs from run to run, for ports and initial sequence numbers. The bytes carried do not depend on it.
fn moment() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    mix(since_1970.map_or(1, |time| time.as_nanos() as u64))
}

fn smol(duration: Duration) -> SmolDuration {
    SmolDuration::from_micros(duration.as_micros() as u64)
}

/// Milliseconds, as RFC 7323 wants between 1 ms and 1 s.
fn timestamp() -> u32 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.map_or(0, |time| time.as_millis() as u32)
}

/// The foreign host.
struct Host<'a> {
    run: &'a Run,
    talk: &'a Talk,
    tunnel: &'a Tunnel,
    plan: Plan,
    churn: bool,
    device: TunTapInterface,
    interface: Interface,
    sockets: SocketSet<'static>,
    lanes: Vec<Lane>,
    /// Closed sockets, and when to forget them.
    closed: Vec<(Duration, SocketHandle)>,
    next_port: u16,
}

/// One of the parallel connections, or one after another in its place.
#[derive(Default)]
struct Lane {
    lane: u64,
    index: u64,
    bytes: u64,
    mark: Mark,
    open: Option<Open>,
    done: bool,
}

struct Open {
    number: u64,
    handle: SocketHandle,
    session: Session,
    connected: bool,
}

impl<'a> Host<'a> {
    fn new(
        run: &'a Run,
        talk: &'a Talk,
        tunnel: &'a Tunnel,
        mut device: TunTapInterface,
        plan: Plan,
        churn: bool,
    ) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = moment();
        let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for &address in &tunnel.address {
                if addresses.push(address).is_err() {
                    eprintln!("too many addresses: {address} is left out");
                }
            }
        });
        for &gateway in &tunnel.gateway {
            // There are more places for routes than families.
            let _ = match gateway {
                IpAddr::V4(gateway) => interface.routes_mut().add_default_ipv4_route(gateway),
                IpAddr::V6(gateway) => interface.routes_mut().add_default_ipv6_route(gateway),
            };
        }
        let lanes = (0..talk.connections)
            .map(|lane| Lane {
                lane,
                ..Lane::default()
            })
            .collect();
        Self {
            run,
            talk,
            tunnel,
            plan,
            churn,
            device,
            interface,
            sockets: SocketSet::new(vec![]),
            lanes,
            closed: vec![],
            next_port: tunnel.local_port.unwrap_or(0xc000 | (moment() as u16 >> 2)),
        }
    }

    /// Holds all connections to their ends.
    fn hold(&mut self) -> io::Result<()> {
        let mut looked = Duration::ZERO;
        loop {
            let now = self.poll();
            if now >= looked + NAP {
                looked = now;
                self.run.look();
            }
            let mut busy = false;
            let mut lanes = std::mem::take(&mut self.lanes);
            for lane in &mut lanes {
                busy |= self.serve(lane, now);
            }
            let done = lanes.iter().all(|lane| lane.done);
            self.lanes = lanes;
            self.forget(now);
            if done && self.closed.is_empty() {
                return Ok(());
            }
            if !busy {
                self.wait(now)?;
            }
        }
    }

    fn poll(&mut self) -> Duration {
        let now = self.run.now();
        let moment = SmolInstant::from_micros(now.as_micros() as i64);
        self.interface
            .poll(moment, &mut self.device, &mut self.sockets);
        now
    }

    fn wait(&mut self, now: Duration) -> io::Result<()> {
        let moment = SmolInstant::from_micros(now.as_micros() as i64);
        let mut time = smol(NAP);
        if let Some(delay) = self.interface.poll_delay(moment, &self.sockets) {
            time = time.min(delay);
        }
        for deadline in self
            .lanes
            .iter()
            .filter_map(|lane| lane.open.as_ref()?.session.deadline())
        {
            time = time.min(smol(deadline.saturating_sub(now)));
        }
        match wait(self.device.as_raw_fd(), Some(time)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn forget(&mut self, now: Duration) {
        let sockets = &mut self.sockets;
        self.closed.retain(|&(when, handle)| {
            if when <= now {
                sockets.remove(handle);
            }
            when > now
        });
    }

    /// Moves one lane on. Returns whether it has packets to send.
    fn serve(&mut self, lane: &mut Lane, now: Duration) -> bool {
        if lane.done {
            return false;
        }
        let Some(open) = &mut lane.open else {
            let more = if self.churn {
                !self
                    .plan
                    .over(lane.index, lane.bytes, now, self.run.stopped())
            } else {
                lane.index < self.talk.repeat
            };
            if more {
                lane.open = Some(self.open(lane.lane + lane.index * self.talk.connections, now));
            } else {
                lane.done = true;
            }
            return more;
        };
        let socket = self.sockets.get_mut::<Socket>(open.handle);
        let mut busy = false;
        let result = open.serve(socket, now, self.run.stopped(), &mut busy);
        lane.mark.look(self.run, &mut open.session);
        let result = match result {
            Ok(false) => return busy,
            Ok(true) => {
                lane.mark.set(self.run);
                Ok(())
            }
            Err(failure) => {
                socket.abort();
                Err(failure)
            }
        };
        open.session.stop(now);
        self.closed.push((now + LINGER, open.handle));
        lane.index += 1;
        lane.bytes += open.session.heard();
        self.run
            .add(Outcome::new(open.number, &open.session, result, None, now));
        lane.open = None;
        true
    }

    fn open(&mut self, number: u64, now: Duration) -> Open {
        let mut plan = self.plan.clone();
        if self.churn {
            (plan.count, plan.bytes) = (Some(1), None);
        }
        let buffer = || SocketBuffer::new(vec![0; self.tunnel.buffer as usize]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(smol(self.tunnel.ack_delay)));
        if self.tunnel.timestamps {
            socket.set_tsval_generator(Some(timestamp));
        }
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(0xc000);
        // It fails for want of an own address only, and then the socket stays closed, which counts as refused.
        if let Err(error) = socket.connect(self.interface.context(), self.talk.to, port) {
            eprintln!("connect to {}: {error}", self.talk.to);
        }
        Open {
            number,
            handle: self.sockets.add(socket),
            session: Session::new(plan, number, Closing::Graceful, now),
            connected: false,
        }
    }
}

impl Open {
    /// Moves what can be moved. Returns whether the session is over.
    fn serve(
        &mut self,
        socket: &mut Socket,
        now: Duration,
        stopped: bool,
        busy: &mut bool,
    ) -> Result<bool, Failure> {
        let session = &mut self.session;
        if !self.connected {
            match socket.state() {
                State::Closed => session.reset(now)?,
                State::SynSent | State::SynReceived => {}
                _ => {
                    self.connected = true;
                    session.connected(now);
                }
            }
        }
        loop {
            match session.step(now, stopped)? {
                Step::Over => return Ok(true),
                Step::Shutdown => {
                    socket.close();
                    *busy = true;
                }
                Step::Go => {}
            }
            while socket.can_send() {
                let sent = socket.send(|room| {
                    let len = session.offer(room);
                    session.sent(&room[..len], now);
                    (len, len)
                });
                if !matches!(sent, Ok(1..)) {
                    break;
                }
                *busy = true;
            }
            while socket.can_recv() {
                let received = socket.recv(|bytes| (bytes.len(), session.received(bytes, now)));
                // Reading may open the window, which is worth a packet.
                *busy = true;
                if let Ok(result) = received {
                    result?;
                }
            }
            if !session.ready() {
                break;
            }
        }
        if self.connected {
            match socket.state() {
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                    session.fin(now)?
                }
                State::Closed => session.reset(now)?,
                _ => {}
            }
        }
        Ok(session.ready() && session.step(now, stopped)? == Step::Over)
    }
}

/// Sends --count SYNs, each from another port, and tells how many SYN-ACKs and resets came back until --timeout after the
/// last of them. A SYN-ACK stays unanswered, or is answered with a reset.
fn send_syns(talk: &Talk, tunnel: &Tunnel, device: TunTapInterface) -> io::Result<bool> {
    let run = Run::new(talk, "foreign syn");
    let to = IpAddress::from(talk.to.ip());
    let mut own = tunnel.address.iter().map(IpCidr::address);
    let own = own.find(|own| own.version() == to.version());
    let own = own.ok_or_else(|| io::Error::other("no --address of the server's family"))?;
    let mut raw = Raw {
        device,
        own,
        to,
        port: talk.to.port(),
    };
    let count = talk.count.unwrap_or(1);
    let first = moment();
    let (mut sent, mut syn_acks, mut resets) = (0, 0, 0);
    let mut until = run.now() + talk.timeout;
    while run.now() < until {
        if sent < count {
            let port = 1024 + (first.wrapping_add(sent) % 64000) as u16;
            raw.send(
                port,
                TcpControl::Syn,
                TcpSeqNumber(mix(first ^ sent) as i32),
            );
            sent += 1;
            until = run.now() + talk.timeout;
        } else {
            wait(raw.device.as_raw_fd(), Some(smol(NAP)))?;
        }
        while let Some(answer) = raw.receive() {
            match answer {
                Some(Answer::SynAck { port, ack }) => {
                    syn_acks += 1;
                    if tunnel.reset {
                        raw.send(port, TcpControl::Rst, ack);
                    }
                }
                Some(Answer::Reset) => resets += 1,
                None => {}
            }
        }
    }
    let line = json!({
        "pattern": "foreign syn", "passed": true, "sent": sent, "syn_acks": syn_acks, "resets": resets
    });
    println!("{line}");
    Ok(true)
}

/// A host without a TCP.
struct Raw {
    device: TunTapInterface,
    own: IpAddress,
    to: IpAddress,
    port: u16,
}

enum Answer {
    /// To our port `port`, with the sequence number that a segment of ours must have now.
    SynAck {
        port: u16,
        ack: TcpSeqNumber,
    },
    Reset,
}

impl Raw {
    fn send(&mut self, src_port: u16, control: TcpControl, seq_number: TcpSeqNumber) {
        let syn = control == TcpControl::Syn;
        let tcp = TcpRepr {
            src_port,
            dst_port: self.port,
            control,
            seq_number,
            ack_number: None,
            window_len: 64240,
            window_scale: syn.then_some(7),
            max_seg_size: syn.then_some(1220),
            sack_permitted: syn,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let caps = ChecksumCapabilities::default();
        let ip = IpRepr::new(self.own, self.to, IpProtocol::Tcp, tcp.buffer_len(), 64);
        let Some(token) = self.device.transmit(SmolInstant::ZERO) else {
            return;
        };
        token.consume(ip.buffer_len(), |buffer| {
            ip.emit(&mut *buffer, &caps);
            let mut segment = TcpPacket::new_unchecked(&mut buffer[ip.header_len()..]);
            tcp.emit(&mut segment, &self.own, &self.to, &caps);
        });
    }

    /// The next packet, if there is one: what it says, if it is an answer to us.
    fn receive(&mut self) -> Option<Option<Answer>> {
        let (token, _) = self.device.receive(SmolInstant::ZERO)?;
        Some(token.consume(Answer::parse))
    }
}

impl Answer {
    fn parse(packet: &[u8]) -> Option<Self> {
        let segment = match packet.first()? >> 4 {
            4 => {
                let packet = Ipv4Packet::new_checked(packet).ok()?;
                (packet.next_header() == IpProtocol::Tcp).then(|| packet.payload())?
            }
            _ => {
                let packet = Ipv6Packet::new_checked(packet).ok()?;
                (packet.next_header() == IpProtocol::Tcp).then(|| packet.payload())?
            }
        };
        let segment = TcpPacket::new_checked(segment).ok()?;
        if segment.rst() {
            return Some(Self::Reset);
        }
        let syn_ack = Self::SynAck {
            port: segment.dst_port(),
            ack: segment.ack_number(),
        };
        (segment.syn() && segment.ack()).then_some(syn_ack)
    }
}
