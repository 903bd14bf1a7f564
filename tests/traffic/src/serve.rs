// SPDX-License-Identifier: GPL-2.0

//! A deterministic server: what it says on a connection depends on nothing but the bytes it hears there.
//!
//! A client's line says what to do:
//!
//! | line | what follows |
//! | --- | --- |
//! | `echo` | every byte comes back, until the client's FIN |
//! | `ask A B` | for each A bytes of the client, B bytes whose seed is the digest of those; until its FIN |
//! | `get SEED LEN` | LEN bytes of the stream; then the next line |
//! | `put SEED LEN` | the client says LEN bytes of the stream, the server `ok LEN DIGEST` or `bad OFFSET`; then the next line |
//! | `end MODE SEED LEN` | LEN bytes of the stream, then the end, see [`Conversation::end`] |
//!
//! On a greeting port the server speaks first and echoes then.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Args;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::pattern::{answer_seed, derive, fill, first_difference, receipt, Digest};
use crate::pattern::{GREETING_LEN, GREETING_SEED};
use crate::run::{millis, seconds, size};
use crate::sock;

/// Enough for the calls below; buffers are on the heap.
const STACK: usize = 256 << 10;
const BACKLOG: i32 = 4096;
/// The longest question, in bytes.
const LONGEST_ASK: u64 = 1 << 20;
const LONGEST_LINE: usize = 256;

#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Serve here. Port 0 is any; the port is told on standard output.
    #[arg(long, value_name = "ADDR:PORT", required_unless_present = "greet")]
    listen: Vec<SocketAddr>,
    /// Speak first here.
    #[arg(long, value_name = "ADDR:PORT")]
    greet: Vec<SocketAddr>,
    /// Listen on an address that the host does not have yet.
    #[arg(long)]
    freebind: bool,
    #[arg(long, value_parser = size)]
    rcvbuf: Option<u64>,
    #[arg(long, value_parser = size)]
    sndbuf: Option<u64>,
    /// TCP_WINDOW_CLAMP.
    #[arg(long, value_parser = size)]
    window_clamp: Option<u64>,
    /// Keepalive probes after so many seconds of silence, and so far apart.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,
    #[command(flatten)]
    manner: Manner,
}

/// How a server speaks and hears. It changes the pace and the cuts, never the bytes, except for the lie.
#[derive(Args, Clone, Debug)]
struct Manner {
    /// Read and write so many bytes at once.
    #[arg(long, default_value = "16K", value_parser = size)]
    chunk: u64,
    /// Wait so long before each read.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis)]
    slow: Duration,
    /// Wait so long before each write.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis)]
    slow_write: Duration,
    /// Once in a connection, after so many bytes heard, wait for --stall.
    #[arg(long, value_name = "N", value_parser = size)]
    stall_at: Option<u64>,
    #[arg(long, value_name = "MS", default_value = "3000", value_parser = millis)]
    stall: Duration,
    /// Say a wrong byte at this offset of each connection.
    #[arg(long, value_name = "N", value_parser = size)]
    lie_at: Option<u64>,
}

/// Serves until the process is ended.
///
/// # Errors
///
/// An address cannot be listened on.
pub fn run(serve: &Serve) -> io::Result<()> {
    sock::raise_file_limit();
    let pool = Arc::new(Pool::default());
    let plain = serve.listen.iter().map(|address| (address, false));
    let greeting = serve.greet.iter().map(|address| (address, true));
    let mut listeners = vec![];
    for (&address, greet) in plain.chain(greeting) {
        let listener = listen(serve, address)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        println!("listening on {}", listener.local_addr()?);
        listeners.push((listener, greet));
    }
    io::stdout().flush()?;
    let manner = Arc::new(serve.manner.clone());
    thread::scope(|scope| {
        for (listener, greet) in &listeners {
            let (pool, manner) = (&pool, &manner);
            scope.spawn(move || accept(listener, *greet, pool, manner));
        }
    });
    Ok(())
}

fn listen(serve: &Serve, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if serve.freebind {
        // The IPv4 option is looked at for both families, see net/ipv6/af_inet6.c.
        socket.set_freebind_v4(true)?;
    }
    // Accepted sockets inherit all of these.
    if let Some(size) = serve.rcvbuf {
        socket.set_recv_buffer_size(size as usize)?;
    }
    if let Some(size) = serve.sndbuf {
        socket.set_send_buffer_size(size as usize)?;
    }
    if let Some(size) = serve.window_clamp {
        sock::set_int(
            &socket,
            libc::IPPROTO_TCP,
            libc::TCP_WINDOW_CLAMP,
            size as i32,
        )?;
    }
    if let Some(time) = serve.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, greet: bool, pool: &Arc<Pool>, manner: &Arc<Manner>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => pool.take(Job {
                stream,
                greet,
                manner: manner.clone(),
            }),
            Err(error) => {
                // ECONNABORTED and the like are the client's doing. Without files or memory, wait for some.
                if !matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR)) {
                    eprintln!("accept: {error}");
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
}

struct Job {
    stream: TcpStream,
    greet: bool,
    manner: Arc<Manner>,
}

/// Threads that serve one connection after another. There is one for each open connection, if the system gives it.
#[derive(Default)]
struct Pool {
    work: Mutex<Work>,
    more: Condvar,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    /// Threads that wait for jobs.
    idle: usize,
}

impl Pool {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, job: Job) {
        let mut work = self.work();
        work.jobs.push_back(job);
        if work.idle >= work.jobs.len() {
            self.more.notify_one();
            return;
        }
        drop(work);
        let pool = self.clone();
        let thread = thread::Builder::new().stack_size(STACK);
        if let Err(error) = thread.spawn(move || pool.serve()) {
            // The job stays for the next thread that comes free.
            eprintln!("no thread: {error}");
        }
    }

    fn serve(&self) {
        loop {
            let job = {
                let mut work = self.work();
                loop {
                    if let Some(job) = work.jobs.pop_front() {
                        break job;
                    }
                    work.idle += 1;
                    work = self.more.wait(work).unwrap_or_else(PoisonError::into_inner);
                    work.idle -= 1;
                }
            };
            // An error is the client's reset or the like.
            let _ = Conversation::new(&job.stream, &job.manner).hold(job.greet);
        }
    }
}

/// One connection.
struct Conversation<'a> {
    stream: &'a TcpStream,
    ear: Ear<'a>,
    mouth: Mouth<'a>,
}

impl<'a> Conversation<'a> {
    fn new(stream: &'a TcpStream, manner: &'a Manner) -> Self {
        let buffer = vec![0; (manner.chunk as usize).clamp(1, 1 << 20)];
        Self {
            stream,
            ear: Ear {
                stream,
                manner,
                buffer: buffer.clone(),
                unread: 0..0,
                heard: 0,
                stalled: false,
            },
            mouth: Mouth {
                stream,
                manner,
                buffer,
                said: 0,
            },
        }
    }

    fn hold(mut self, greet: bool) -> io::Result<()> {
        if greet {
            self.mouth.stream(GREETING_SEED, GREETING_LEN)?;
            return self.echo();
        }
        while let Some(line) = self.ear.line()? {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
            match (words.first().copied(), number(1), number(2)) {
                (Some("echo"), ..) => return self.echo(),
                (Some("ask"), Some(ask @ 1..=LONGEST_ASK), Some(answer)) => {
                    return self.ask(ask as usize, answer)
                }
                (Some("get"), Some(seed), Some(len)) => self.mouth.stream(seed, len)?,
                (Some("put"), Some(seed), Some(len)) => {
                    if !self.put(seed, len)? {
                        return Ok(());
                    }
                }
                (Some("end"), _, Some(seed)) => {
                    let Some(len) = number(3) else { break };
                    return self.end(words[1], seed, len);
                }
                _ => {
                    self.mouth.say(b"what?\n")?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn echo(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.ear.some()?;
            if bytes.is_empty() {
                return Ok(());
            }
            // The mouth's copy is the one that may lie.
            self.mouth.say(bytes)?;
            let len = bytes.len();
            self.ear.consume(len);
        }
    }

    fn ask(&mut self, ask: usize, answer: u64) -> io::Result<()> {
        let mut question = Vec::with_capacity(ask);
        loop {
            let bytes = self.ear.some()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let len = bytes.len().min(ask - question.len());
            question.extend_from_slice(&bytes[..len]);
            self.ear.consume(len);
            if question.len() == ask {
                self.mouth.stream(answer_seed(&question), answer)?;
                question.clear();
            }
        }
    }

    /// Hears an upload. Returns whether it was right.
    fn put(&mut self, seed: u64, len: u64) -> io::Result<bool> {
        let mut digest = Digest::default();
        let mut at = 0;
        while at < len {
            let bytes = self.ear.some()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let bytes = &bytes[..(bytes.len() as u64).min(len - at) as usize];
            if let Some(difference) = first_difference(seed, at, bytes) {
                let offset = at + difference as u64;
                self.complain(offset);
                self.mouth.say(format!("bad {offset}\n").as_bytes())?;
                return Ok(false);
            }
            digest.update(bytes);
            at += bytes.len() as u64;
            let len = bytes.len();
            self.ear.consume(len);
        }
        self.mouth.say(&receipt(&digest))?;
        Ok(true)
    }

    /// Says the answer, and then:
    /// - `close`: closes;
    /// - `nudge`: closes once the client said one byte more;
    /// - `reset`: resets once the client said one byte more;
    /// - `abort`: resets at once;
    /// - `half`: closes its own side, and hears the client to its end;
    /// - `unread`: closes once bytes of the client wait to be read, and leaves them there, which resets.
    fn end(&mut self, mode: &str, seed: u64, len: u64) -> io::Result<()> {
        self.mouth.stream(seed, len)?;
        match mode {
            "nudge" => {
                let len = self.ear.some()?.len();
                self.ear.consume(len);
            }
            "reset" => {
                self.ear.some()?;
                self.resets()?;
            }
            "abort" => self.resets()?,
            "half" => {
                self.stream.shutdown(Shutdown::Write)?;
                self.hear_out(derive(seed, 1))?;
            }
            "unread" => drop(self.stream.peek(&mut [0])?),
            _ => {}
        }
        Ok(())
    }

    /// Hears the stream of `seed`, of any length, to the client's FIN.
    fn hear_out(&mut self, seed: u64) -> io::Result<()> {
        let mut at = 0;
        loop {
            let bytes = self.ear.some()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let len = bytes.len();
            if let Some(difference) = first_difference(seed, at, bytes) {
                self.complain(at + difference as u64);
            }
            at += len as u64;
            self.ear.consume(len);
        }
    }

    /// Makes the coming close a reset.
    fn resets(&self) -> io::Result<()> {
        SockRef::from(self.stream).set_linger(Some(Duration::ZERO))
    }

    fn complain(&self, offset: u64) {
        match self.stream.peer_addr() {
            Ok(peer) => eprintln!("{peer}: wrong byte at offset {offset} of the upload"),
            Err(_) => eprintln!("wrong byte at offset {offset} of an upload"),
        }
    }
}

/// What is heard on a connection.
struct Ear<'a> {
    stream: &'a TcpStream,
    manner: &'a Manner,
    buffer: Vec<u8>,
    /// The part of the buffer that is read from the socket and not consumed.
    unread: std::ops::Range<usize>,
    heard: u64,
    stalled: bool,
}

impl Ear<'_> {
    /// Some bytes, or none after the client's FIN. They come again until consumed.
    fn some(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() {
            self.dawdle();
            let len = loop {
                match self.stream.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            self.unread = 0..len;
            self.heard += len as u64;
        }
        Ok(&self.buffer[self.unread.clone()])
    }

    fn consume(&mut self, len: usize) {
        self.unread.start += len;
    }

    fn dawdle(&mut self) {
        let mut time = self.manner.slow;
        if !self.stalled && self.manner.stall_at.is_some_and(|at| self.heard >= at) {
            self.stalled = true;
            time += self.manner.stall;
        }
        if !time.is_zero() {
            thread::sleep(time);
        }
    }

    /// A line, or none after the client's FIN or a line too long.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = vec![];
        loop {
            let bytes = self.some()?;
            if bytes.is_empty() || line.len() > LONGEST_LINE {
                return Ok(None);
            }
            match bytes.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    line.extend_from_slice(&bytes[..end]);
                    self.consume(end + 1);
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
                None => {
                    let len = bytes.len();
                    line.extend_from_slice(bytes);
                    self.consume(len);
                }
            }
        }
    }
}

/// What is said on a connection.
struct Mouth<'a> {
    stream: &'a TcpStream,
    manner: &'a Manner,
    buffer: Vec<u8>,
    said: u64,
}

impl Mouth<'_> {
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(self.buffer.len()) {
            self.buffer[..part.len()].copy_from_slice(part);
            self.utter(part.len())?;
        }
        Ok(())
    }

    fn stream(&mut self, seed: u64, len: u64) -> io::Result<()> {
        let mut at = 0;
        while at < len {
            let part = (len - at).min(self.buffer.len() as u64) as usize;
            fill(seed, at, &mut self.buffer[..part]);
            self.utter(part)?;
            at += part as u64;
        }
        Ok(())
    }

    /// Writes the front of the buffer.
    fn utter(&mut self, len: usize) -> io::Result<()> {
        let lie = self
            .manner
            .lie_at
            .and_then(|at| at.checked_sub(self.said))
            .filter(|&at| at < len as u64);
        if let Some(at) = lie {
            self.buffer[at as usize] ^= 0x01;
        }
        if !self.manner.slow_write.is_zero() {
            thread::sleep(self.manner.slow_write);
        }
        self.stream.write_all(&self.buffer[..len])?;
        self.said += len as u64;
        Ok(())
    }
}
