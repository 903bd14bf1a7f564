// SPDX-License-Identifier: GPL-2.0

//! Sessions over the kernel's sockets: one thread for each of the parallel connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::ends::{self, Ending};
use crate::pattern::Pattern;
use crate::report::Outcome;
use crate::run::{millis, seconds, size, Mark, Run, Talk};
use crate::session::{Closing, Failure, Plan, Session, Step};
use crate::sock;

/// Enough for the calls below; buffers are on the heap.
const STACK: usize = 256 << 10;
const BUFFER: usize = 32 << 10;
/// A thinking client looks for the end of the run so often.
const NAP: Duration = Duration::from_millis(50);
/// Pause before a tolerated failure is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// `IP_BIND_ADDRESS_NO_PORT` of include/uapi/linux/in.h, for IPv6 sockets too.
const BIND_ADDRESS_NO_PORT: i32 = 24;
/// `IP_LOCAL_PORT_RANGE` of the same, in Linux 6.3 and later: the lowest and the highest port that connect chooses from.
const LOCAL_PORT_RANGE: i32 = 51;
/// The ports of aborted handshakes and of other connections. A server whose SYN-ACK is still on its way to a client that has gone answers a new SYN
/// of the same port with a reset, as its number is within the window (RFC 9293, section 3.10.7.4): the two must not share a port.
const ABORTED_PORTS: (u16, u16) = (50_000, 60_999);
const OTHER_PORTS: (u16, u16) = (32_768, 49_999);

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Kind {
    /// The server echoes what the client says.
    Echo,
    /// A short question, a longer answer.
    #[value(alias = "interactive")]
    Ask,
    #[value(alias = "download")]
    Get,
    #[value(alias = "upload")]
    Put,
    /// The server speaks first, and echoes then (the server's --greet port).
    Greet,
    /// One question per connection, connection after connection.
    Churn,
    /// Small downloads, and then an ending of --endings.
    Ends,
}

impl Kind {
    pub fn pattern(self, talk: &Talk) -> Pattern {
        match self {
            Self::Echo => Pattern::Echo,
            Self::Ask | Self::Churn => Pattern::Ask { ask: talk.ask_size },
            Self::Get | Self::Ends => Pattern::Get,
            Self::Put => Pattern::Put,
            Self::Greet => Pattern::Greet,
        }
    }

    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().into())
    }
}

/// A failed attempt that is tried again and not counted as failed.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Tolerated {
    /// Refused, unreachable or timed out before it was established.
    Connect,
    /// Reset after it was established and before the server's first byte.
    Early,
}

/// How connections are made.
#[derive(Args, Clone, Debug)]
pub struct Dial {
    /// Local address, with or without a port. A port allows one connection at a time.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = local)]
    pub from: Option<SocketAddr>,
    /// TCP_MAXSEG.
    #[arg(long)]
    pub mss: Option<u32>,
    #[arg(long, value_parser = size)]
    pub rcvbuf: Option<u64>,
    #[arg(long, value_parser = size)]
    pub sndbuf: Option<u64>,
    /// TCP_WINDOW_CLAMP.
    #[arg(long, value_parser = size)]
    pub window_clamp: Option<u64>,
    /// Wait so long before each read, for small and zero windows.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis)]
    pub slow: Duration,
    /// Keepalive probes after so many seconds of silence, and so far apart.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub keepalive: Option<Duration>,
    /// Try such failed connections again, for as long as --timeout.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub tolerate: Vec<Tolerated>,
}

fn local(text: &str) -> Result<SocketAddr, String> {
    let whole = text.parse::<SocketAddr>();
    whole
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
        .map_err(|error| error.to_string())
}

/// All that the threads need to know.
struct Job<'a> {
    run: &'a Run,
    talk: &'a Talk,
    dial: &'a Dial,
    plan: Plan,
    /// One turn per connection, and the plan says how many connections.
    churn: bool,
    endings: &'a [Ending],
}

/// Runs `kind`, prints the result and returns whether every connection ended right.
pub fn run(talk: &Talk, dial: &Dial, kind: Kind, endings: &[Ending]) -> bool {
    let mut plan = talk.plan(kind.pattern(talk));
    let endings = match kind {
        Kind::Ends if endings.is_empty() => Ending::value_variants(),
        Kind::Ends => endings,
        _ => &[],
    };
    if kind == Kind::Ends && talk.size.is_none() {
        plan.size = 1000;
    }
    hold(talk, dial, &kind.name(), plan, kind == Kind::Churn, endings)
}

/// As [`run`], for any pattern.
pub fn hold(
    talk: &Talk,
    dial: &Dial,
    name: &str,
    plan: Plan,
    churn: bool,
    endings: &[Ending],
) -> bool {
    sock::raise_file_limit();
    let run = Run::new(talk, name);
    let job = Job {
        run: &run,
        talk,
        dial,
        plan,
        churn,
        endings,
    };
    thread::scope(|scope| {
        let (run, job) = (&run, &job);
        let lanes: Vec<_> = (0..talk.connections)
            .map(|lane| {
                let thread = thread::Builder::new().stack_size(STACK);
                thread
                    .spawn_scoped(scope, move || job.lane(lane))
                    .expect("a thread for each connection")
            })
            .collect();
        // This thread is the one that looks for files.
        while run.look() && lanes.iter().any(|lane| !lane.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    run.finish()
}

impl Job<'_> {
    /// Holds one of the parallel connections, or one after another in its place.
    fn lane(&self, lane: u64) {
        let mut mark = Mark::default();
        let mut buffer = vec![0; BUFFER];
        let (mut index, mut bytes) = (0, 0);
        let mut first_try = None;
        while self.more(index, bytes) {
            let since = *first_try.get_or_insert(self.run.now());
            let number = lane + index * self.talk.connections;
            let outcome = self.connection(number, &mut mark, &mut buffer);
            match &outcome.result {
                Err(failure)
                    if self.tolerates(&outcome, failure)
                        && self.run.now() < since + self.talk.timeout =>
                {
                    self.run.tolerate(failure);
                    thread::sleep(RETRY);
                    continue;
                }
                Ok(()) => mark.set(self.run),
                Err(_) => {}
            }
            first_try = None;
            index += 1;
            bytes += outcome.received;
            self.run.add(outcome);
        }
    }

    fn more(&self, index: u64, bytes: u64) -> bool {
        if self.churn {
            !self
                .plan
                .over(index, bytes, self.run.now(), self.run.stopped())
        } else {
            index < self.talk.repeat
        }
    }

    fn tolerates(&self, outcome: &Outcome, failure: &Failure) -> bool {
        let what = match failure {
            Failure::Refused | Failure::Unreachable(_) | Failure::Timeout { .. }
                if outcome.connected_after.is_none() =>
            {
                Tolerated::Connect
            }
            Failure::Reset { offset: 0 } => Tolerated::Early,
            _ => return false,
        };
        self.dial.tolerate.contains(&what)
    }

    fn connection(&self, number: u64, mark: &mut Mark, buffer: &mut [u8]) -> Outcome {
        let ending =
            (!self.endings.is_empty()).then(|| self.endings[number as usize % self.endings.len()]);
        let closing = if ending.is_some() {
            Closing::Leave
        } else {
            Closing::Graceful
        };
        let mut plan = self.plan.clone();
        if self.churn {
            (plan.count, plan.bytes) = (Some(1), None);
        }
        let session = Session::new(plan, number, closing, self.run.now());
        let mut connection = Connection {
            run: self.run,
            talk: self.talk,
            dial: self.dial,
            mark,
            session,
            buffer,
            port: None,
        };
        let mut tcp = None;
        let result = if ending == Some(Ending::AbortHandshake) {
            connection.socket(Some(ABORTED_PORTS)).map(|socket| {
                // Where the SYN-ACK was faster, this resets the connection instead.
                let _ = socket.set_linger(Some(Duration::ZERO));
            })
        } else {
            connection
                .open(ending.map(|_| OTHER_PORTS))
                .and_then(|socket| {
                    let result = match ending {
                        None => connection.drive(&socket, Until::Over),
                        Some(ending) => ends::hold(&mut connection, &socket, ending),
                    };
                    tcp = sock::tcp_info(&socket).ok();
                    if ending.is_some_and(Ending::by_client_reset) {
                        // A failure to set it shows at the server only.
                        let _ = socket.set_linger(Some(Duration::ZERO));
                    }
                    result
                })
        };
        let Connection {
            mut session, port, ..
        } = connection;
        let now = self.run.now();
        session.stop(now);
        Outcome {
            ending: ending.map(Ending::name),
            port,
            ..Outcome::new(number, &session, result, tcp, now)
        }
    }
}

/// How far to drive a connection.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Over,
    /// All of the turn is said.
    Said,
    /// So many bytes of the server are heard.
    Heard(u64),
}

/// A session and what it needs to run over a kernel socket.
pub struct Connection<'a> {
    pub run: &'a Run,
    talk: &'a Talk,
    dial: &'a Dial,
    mark: &'a mut Mark,
    pub session: Session,
    buffer: &'a mut [u8],
    /// Its own, once it is chosen.
    port: Option<u16>,
}

impl Connection<'_> {
    /// A socket whose handshake has begun.
    fn socket(&mut self, ports: Option<(u16, u16)>) -> Result<Socket, Failure> {
        let other = |error: io::Error| Failure::Unreachable(error.to_string());
        let socket = Socket::new(
            Domain::for_address(self.talk.to),
            Type::STREAM,
            Some(Protocol::TCP),
        )
        .map_err(other)?;
        self.prepare(&socket).map_err(other)?;
        if let Some((lowest, highest)) = ports {
            let range =
                i32::from_ne_bytes(((u32::from(highest) << 16) | u32::from(lowest)).to_ne_bytes());
            sock::set_int(&socket, libc::IPPROTO_IP, LOCAL_PORT_RANGE, range).map_err(other)?;
        }
        let connecting = socket.connect(&self.talk.to.into());
        let own = socket.local_addr().ok().and_then(|own| own.as_socket());
        self.port = own.map(|own| own.port());
        match connecting {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Failure::Refused),
            Err(error) => Err(other(error)),
            Ok(()) => Ok(socket),
        }
    }

    fn prepare(&self, socket: &Socket) -> io::Result<()> {
        let dial = self.dial;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // An upload counts as in progress while the socket takes bytes: let it take few that are not yet sent.
        socket.set_tcp_notsent_lowat(16 << 10)?;
        if let Some(mss) = dial.mss {
            socket.set_tcp_mss(mss)?;
        }
        if let Some(size) = dial.rcvbuf {
            socket.set_recv_buffer_size(size as usize)?;
        }
        if let Some(size) = dial.sndbuf {
            socket.set_send_buffer_size(size as usize)?;
        }
        if let Some(size) = dial.window_clamp {
            sock::set_int(
                socket,
                libc::IPPROTO_TCP,
                libc::TCP_WINDOW_CLAMP,
                size as i32,
            )?;
        }
        if let Some(time) = dial.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
        }
        if let Some(from) = dial.from {
            if from.port() == 0 {
                // The port is then chosen at connect, and may serve for another destination too.
                sock::set_int(socket, libc::IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)?;
            } else {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&from.into())?;
        }
        Ok(())
    }

    /// A connected socket.
    fn open(&mut self, ports: Option<(u16, u16)>) -> Result<Socket, Failure> {
        let socket = self.socket(ports)?;
        loop {
            self.session.step(self.run.now(), false)?;
            if self.wait(&socket, PollFlags::OUT)?.is_empty() {
                continue;
            }
            return match socket.take_error() {
                Ok(None) => {
                    self.session.connected(self.run.now());
                    Ok(socket)
                }
                Ok(Some(error)) | Err(error) => Err(match error.raw_os_error() {
                    Some(libc::ECONNREFUSED | libc::ECONNRESET) => Failure::Refused,
                    Some(libc::ETIMEDOUT) => self.session.timed_out(self.run.now()),
                    _ => Failure::Unreachable(error.to_string()),
                }),
            };
        }
    }

    /// Moves bytes until the session is over, or as far as `until`.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn drive(&mut self, socket: &Socket, until: Until) -> Result<(), Failure> {
        loop {
            match self.session.step(self.run.now(), self.run.stopped())? {
                Step::Over => return Ok(()),
                Step::Shutdown => {
                    // It fails only on a connection already reset, which the next read tells.
                    let _ = socket.shutdown(std::net::Shutdown::Write);
                }
                Step::Go => {}
            }
            let full = self.send(socket)?;
            self.mark.look(self.run, &mut self.session);
            let reached = match until {
                Until::Over => false,
                Until::Said => self.session.all_said(),
                Until::Heard(bytes) => self.session.heard() >= bytes,
            };
            if reached {
                return Ok(());
            }
            if self.session.ready() {
                continue;
            }
            let wanted = if full {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            };
            let events = self.wait(socket, wanted)?;
            if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                if !self.dial.slow.is_zero() {
                    thread::sleep(self.dial.slow);
                }
                self.receive(socket)?;
            }
        }
    }

    /// Sends what is to be sent now. Returns whether the socket was full.
    fn send(&mut self, socket: &Socket) -> Result<bool, Failure> {
        // A bound, so that a fast reader cannot keep this side from reading.
        for _ in 0..16 {
            let len = self.session.offer(self.buffer);
            if len == 0 {
                return Ok(false);
            }
            match send(socket, &self.buffer[..len], SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.session.sent(&self.buffer[..sent], self.run.now());
                    if sent < len {
                        return Ok(true);
                    }
                }
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return self.broken(socket).map(|()| false),
                Err(error) => return Err(self.other(error)),
            }
        }
        Ok(true)
    }

    /// A write met a reset: what came before it can still be read.
    fn broken(&mut self, socket: &Socket) -> Result<(), Failure> {
        while let Ok((_, len @ 1..)) = recv(socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
            self.session.received(&self.buffer[..len], self.run.now())?;
        }
        self.session.reset(self.run.now())
    }

    fn receive(&mut self, socket: &Socket) -> Result<(), Failure> {
        let result = recv(socket, &mut *self.buffer, RecvFlags::empty());
        let now = self.run.now();
        match result {
            Ok((_, 0)) => self.session.fin(now),
            Ok((_, len)) => self.session.received(&self.buffer[..len], now),
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::CONNRESET | Errno::PIPE) => self.session.reset(now),
            Err(error) => Err(self.other(error)),
        }
    }

    fn other(&self, error: Errno) -> Failure {
        if error == Errno::TIMEDOUT {
            return self.session.timed_out(self.run.now());
        }
        Failure::Other {
            error: io::Error::from(error).to_string(),
            offset: self.session.heard(),
        }
    }

    /// Waits for events on the socket or for the session's deadline.
    fn wait(&self, socket: &Socket, wanted: PollFlags) -> Result<PollFlags, Failure> {
        let now = self.run.now();
        let mut time = self
            .session
            .deadline()
            .map_or(NAP, |deadline| deadline.saturating_sub(now));
        if self.session.thinking() && self.talk.until_file.is_some() {
            time = time.min(NAP);
        }
        // The kernel rounds nothing down here, so no busy loop just before the deadline.
        let time = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(socket, wanted)];
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
            Err(error) => Err(self.other(error)),
        }
    }
}
