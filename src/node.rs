// SPDX-License-Identifier: GPL-2.0

//! A running node: the engine's state with the kernel's things around it.

use crate::engine::actions::Actions;
use crate::engine::config::{Command, Ends, Services};
use crate::engine::counters::Counter;
use crate::engine::detector::Timing;
use crate::engine::digest::Divergence;
use crate::engine::emit::{emit, emit_echo, emit_header, MAX_PACKET};
use crate::engine::lease::Isolation;
use crate::engine::message::{Kind as Datagram, Record};
use crate::engine::node::{Event, Node as Engine, Peer, Role, State};
use crate::engine::primary::{self, Policy, Terms};
use crate::engine::program::{Failure, Scope, Watch};
use crate::engine::seq::SeqNumber;
use crate::engine::side::Side;
use crate::engine::time::Instant;
use crate::engine::wire::{Endpoint, Flags, Flow, Segment};
use crate::goodbye::LastWord;
use crate::peer::{Keys, Outbox};
use crate::retention::Budget;
use crate::sweep::{Sweep, RELINKED, SLICE};
use crate::sys::bh::{new_bh_lock, BhLock};
use crate::sys::fail::{self, Site};
use crate::sys::helper::Helper;
use crate::sys::hmac::Key;
use crate::sys::net::Net;
use crate::sys::notifier::{Devices, Notify};
use crate::sys::show::Show;
use crate::sys::skb::SkBuff;
use crate::sys::timer::{Fire, Timer};
use crate::sys::work::{Context, Run, Work};
use crate::sys::{announce, clock, netdev, route, socket};
use crate::table::{Entry, Table};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::Pin;
use core::time::Duration;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::Arc;

/// The shortest time between two looks at the table.
const TICK: Duration = Duration::from_millis(1);

/// What may happen on each connection is in the log no more than once in this time; a counter has them all.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// When something was said last.
struct Seldom(Atomic<u64>);

impl Seldom {
    fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Whether to say it now. Any context.
    fn is_due(&self) -> bool {
        let now = now().as_nanos();
        let due = now >= self.0.load(Relaxed);
        if due {
            let next = now.saturating_add(SAY_EVERY.as_nanos() as u64);
            self.0.store(next, Relaxed);
        }
        due
    }
}

/// The identifier of echo requests, `ST`.
const PROBE_IDENT: u16 = 0x5354;

/// The counters of a namespace.
pub(crate) struct Counters([Atomic<u64>; Counter::ALL.len()]);

impl Counters {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self([const { Atomic::new(0) }; Counter::ALL.len()])
    }

    /// Adds one. Any context.
    pub(crate) fn add(&self, counter: Counter) {
        self.add_many(counter, 1);
    }

    /// Adds so many. Any context.
    pub(crate) fn add_many(&self, counter: Counter, many: u64) {
        if let Some(value) = self.0.get(counter.index()) {
            value.fetch_add(many, Relaxed);
        }
    }

    /// Reads one. Any context.
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.0
            .get(counter.index())
            .map_or(0, |value| value.load(Relaxed))
    }
}

/// The heartbeat timer of a node.
pub(crate) const HEARTBEAT: u64 = 0;
/// The timer for what connections wait for.
pub(crate) const HOUSEKEEPING: u64 = 1;

/// A running node. Hooks, timers and the peer channel call it.
#[pin_data]
pub(crate) struct Node {
    pub(crate) net: Net,
    pub(crate) services: Services,
    pub(crate) peer: Ends,
    /// Who is asked whether the service's link works.
    probe: Option<Ipv6Addr>,
    #[pin]
    pub(crate) keys: BhLock<Keys>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) table: Pin<KVBox<Table>>,
    /// How long a shadow may make no progress with what it lacks, in ms.
    pub(crate) stall_ms: Atomic<u32>,
    pub(crate) budget: Arc<Budget>,
    eager: Atomic<bool>,
    /// Whether what the servers say is summed up and compared.
    digests: Atomic<bool>,
    /// How the server's programs are watched, in ms.
    hold_ms: Atomic<u32>,
    lag_ms: Atomic<u32>,
    lag_bytes: Atomic<u32>,
    moves_node: Atomic<bool>,
    /// Protocol state of the node; held for a few instructions, for each datagram and each timer tick.
    #[pin]
    pub(crate) engine: BhLock<Engine>,
    #[pin]
    pub(crate) outbox: BhLock<Outbox>,
    /// What hooks need of `engine`, so that no packet takes its lock.
    speaks: Atomic<u32>,
    joined: Atomic<bool>,
    /// From when on a primary must be silent, in ns; `u64::MAX` is never.
    silent_from: Atomic<u64>,
    /// Until when a lost backup may not know that it is none, in ns; 0 if it does.
    unaware_until: Atomic<u64>,
    stopping: Atomic<bool>,
    tap: Atomic<u32>,
    /// Whether the link to the clients is up; and for how many passes of the sweep more it counts as just come up.
    linked: Atomic<bool>,
    pub(crate) relinked: Atomic<u32>,
    /// When a packet to the service came in last, in ns.
    clients_at: Atomic<u64>,
    #[pin]
    pub(crate) last_word: BhLock<LastWord>,
    #[pin]
    pub(crate) sweep: BhLock<Sweep>,
    /// When its next slice is due, in ns.
    next_slice: Atomic<u64>,
    says_diverged: Seldom,
    says_moves: Seldom,
    #[pin]
    heartbeat: Timer,
    #[pin]
    housekeeping: Timer,
    #[pin]
    flush: Work,
    #[pin]
    pub(crate) fence_command: BhLock<Option<Command>>,
    #[pin]
    pub(crate) helper: Helper,
    #[pin]
    pub(crate) fence: Work,
    #[pin]
    pub(crate) hand_over: Work,
}

/// What [`Node::new`] is made from.
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) epoch: u32,
    pub(crate) services: Services,
    pub(crate) peer: Ends,
    pub(crate) probe: Option<Ipv6Addr>,
    pub(crate) key: Key,
    pub(crate) timing: Timing,
    pub(crate) stall_ms: u32,
    pub(crate) budget: Budget,
    pub(crate) policy: Policy,
    pub(crate) watch: Watch,
    pub(crate) divergence: Divergence,
    pub(crate) safety: Safety,
}

/// How it is made sure that only one host speaks.
#[derive(Clone, Copy)]
pub(crate) struct Safety {
    pub(crate) isolation: Isolation,
    pub(crate) fence_command: Option<Command>,
    pub(crate) fence_timeout: Duration,
}

impl Safety {
    fn tell(&self, engine: &mut Engine) {
        engine.set_isolation(self.isolation);
        engine.set_fencing(self.fence_command.map(|_| self.fence_timeout));
    }
}

/// The monotonic clock. Any context.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(clock::monotonic_ns())
}

impl Node {
    /// A node that does nothing yet. Process context.
    pub(crate) fn new(net: Net, settings: Settings, counters: Arc<Counters>) -> Result<Arc<Self>> {
        let Settings {
            role,
            epoch,
            services,
            peer,
            probe,
            key,
            timing,
            stall_ms,
            budget,
            policy,
            watch,
            divergence,
            safety,
        } = settings;
        let seed = clock::random_u64() as u32;
        let table = Table::new(seed, clock::random_u64() as u32)?;
        fail::at(Site::Node)?;
        let budget = Arc::new(budget, GFP_KERNEL)?;
        fail::at(Site::Node)?;
        fail::at(Site::Node)?;
        let keys = Keys::new(Arc::new(key, GFP_KERNEL)?);
        let mut engine = Engine::new(role, epoch, timing, clock::random_u64(), now());
        engine.set_key(keys.newest());
        engine.set_seed(seed);
        engine.set_eager(policy == Policy::Eager);
        engine.set_strict(divergence == Divergence::Reset);
        engine.set_paths(peer.count());
        if probe.is_some() {
            engine.set_probing(now());
        }
        safety.tell(&mut engine);
        let silent_from = engine.silent_from().map_or(u64::MAX, Instant::as_nanos);
        let last_word = LastWord::new()?;
        Arc::pin_init(
            pin_init!(Self {
                net,
                services,
                peer,
                probe,
                keys <- new_bh_lock!(keys, "sttcp_keys"),
                counters,
                table,
                stall_ms: Atomic::new(stall_ms),
                budget,
                eager: Atomic::new(policy == Policy::Eager),
                digests: Atomic::new(divergence != Divergence::Ignore),
                hold_ms: Atomic::new(watch.hold_ms),
                lag_ms: Atomic::new(watch.lag_ms),
                lag_bytes: Atomic::new(watch.lag_bytes),
                moves_node: Atomic::new(watch.scope == Scope::Node),
                engine <- new_bh_lock!(engine, "sttcp_engine"),
                outbox <- new_bh_lock!(Outbox::new(), "sttcp_outbox"),
                speaks: Atomic::new(u32::from(role == Role::Primary)),
                joined: Atomic::new(false),
                silent_from: Atomic::new(silent_from),
                unaware_until: Atomic::new(0),
                stopping: Atomic::new(false),
                tap: Atomic::new(0),
                linked: Atomic::new(true),
                relinked: Atomic::new(0),
                clients_at: Atomic::new(0),
                last_word <- new_bh_lock!(last_word, "sttcp_last_word"),
                sweep <- new_bh_lock!(Sweep::new(now()), "sttcp_sweep"),
                next_slice: Atomic::new(0),
                says_diverged: Seldom::new(),
                says_moves: Seldom::new(),
                heartbeat <- Timer::new(),
                housekeeping <- Timer::new(),
                flush <- Work::new(Context::Softirq),
                fence_command <- new_bh_lock!(safety.fence_command, "sttcp_fence_command"),
                helper <- Helper::new(),
                fence <- Work::new(Context::Process),
                hand_over <- Work::new(Context::Process),
            }),
            GFP_KERNEL,
        )
    }

    /// Asks the engine something after which this host may have to be silent, or not any longer. Any context.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&mut Engine) -> T) -> T {
        let mut engine = self.engine.lock();
        let answer = ask(&mut engine);
        let silent_from = engine.silent_from().map_or(u64::MAX, Instant::as_nanos);
        self.silent_from.store(silent_from, Relaxed);
        answer
    }

    /// Other precautions hold from now on. Process context.
    pub(crate) fn set_safety(&self, safety: &Safety) {
        *self.fence_command.lock() = safety.fence_command;
        self.ask(|engine| safety.tell(engine));
    }

    /// Whether a segment may leave: this node speaks for the service, and no other does by now. Any context.
    pub(crate) fn may_speak(&self) -> bool {
        self.speaks()
            && match self.silent_from.load(Relaxed) {
                u64::MAX => true,
                at => now().as_nanos() < at,
            }
    }

    /// The same on this connection, which may have moved here before the node.
    pub(crate) fn may_speak_on(&self, side: &Side) -> bool {
        self.may_speak() || side.is_carried()
    }

    /// Starts the timers, once they are registered.
    pub(crate) fn start(&self) {
        self.heartbeat.arm(now().as_nanos());
        self.housekeeping.arm(now().after(SLICE).as_nanos());
    }

    /// Whether this node speaks for the service. Any context.
    pub(crate) fn speaks(&self) -> bool {
        self.speaks.load(Acquire) != 0
    }

    /// Whether the peer is there. Any context.
    pub(crate) fn joined(&self) -> bool {
        self.joined.load(Acquire)
    }

    /// A visit to the table that follows finds every connection, but for those whose maker sees the change.
    pub(crate) fn set_speaks(&self, speaks: bool) {
        self.speaks.xchg(u32::from(speaks), Full);
    }

    /// What is known of the peer. Any context.
    pub(crate) fn peer_state(&self) -> Peer {
        match self.unaware_until.load(Relaxed) {
            _ if self.joined() => Peer::Joined,
            0 => Peer::Absent,
            until => Peer::Unaware(Instant::from_nanos(until)),
        }
    }

    pub(crate) fn set_peer_state(&self, peer: Peer) {
        let until = match peer {
            Peer::Unaware(until) => until.as_nanos(),
            Peer::Joined | Peer::Absent => 0,
        };
        self.unaware_until.store(until, Relaxed);
        self.joined.store(peer == Peer::Joined, Release);
    }

    /// What holds for connections now. Any context.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            policy: if self.eager.load(Relaxed) {
                Policy::Eager
            } else {
                Policy::Gated
            },
            retain: self.budget.each(),
            watch: Watch {
                scope: match self.moves_node.load(Relaxed) {
                    true => Scope::Node,
                    false => Scope::Connection,
                },
                hold_ms: self.hold_ms.load(Relaxed),
                lag_ms: self.lag_ms.load(Relaxed),
                lag_bytes: self.lag_bytes.load(Relaxed),
            },
        }
    }

    /// Other limits and another policy hold from now on, also for the connections that there are. Process context.
    pub(crate) fn set_terms(&self, each_kb: u32, total_mb: u32, policy: Policy, watch: Watch) {
        self.budget.set(each_kb, total_mb);
        self.hold_ms.store(watch.hold_ms, Relaxed);
        self.lag_ms.store(watch.lag_ms, Relaxed);
        self.lag_bytes.store(watch.lag_bytes, Relaxed);
        self.moves_node.store(watch.scope == Scope::Node, Relaxed);
        self.eager.store(policy == Policy::Eager, Relaxed);
        self.engine.lock().set_eager(policy == Policy::Eager);
        let (terms, now) = (self.terms(), now());
        // A connection that is made meanwhile has these terms, or is found here: its maker and this visit lock its bucket one after the other.
        self.table.retain(|entry| {
            let actions = entry.side.set_terms(terms, now);
            self.carry_out(entry, actions)
        });
    }

    /// Something else is to be done from now on where the two servers say different things. Process context.
    pub(crate) fn set_divergence(&self, divergence: Divergence) {
        self.digests
            .store(divergence != Divergence::Ignore, Relaxed);
        self.engine
            .lock()
            .set_strict(divergence == Divergence::Reset);
    }

    /// Whether what the servers say is summed up. Any context.
    pub(crate) fn digests(&self) -> bool {
        self.digests.load(Relaxed)
    }

    /// The two servers have said different things. Any context, bucket locked.
    fn on_divergence(&self, entry: &Entry) {
        self.count(Counter::Diverged);
        if !self.says_diverged.is_due() {
            return;
        }
        let (from, to) = entry.side.difference().unwrap_or_default();
        pr_warn!(
            "the two servers differ on {} to {}: the same for {from} bytes, not for {to}\n",
            Show(entry.side.flow().service.to_socket_addr()),
            Show(entry.side.flow().client.to_socket_addr())
        );
    }

    /// The server has failed here on a connection, and the backup is to go on with it. Any context, bucket locked.
    fn on_move(&self, flow: &Flow, failure: Failure) {
        if self.says_moves.is_due() {
            pr_warn!(
                "the server {} on {} to {}, and the backup's does not: that goes on with the connection\n",
                Show(failure),
                Show(flow.service.to_socket_addr()),
                Show(flow.client.to_socket_addr())
            );
        }
    }

    /// The device that packets to the service came in by last; 0 if none did.
    pub(crate) fn tap(&self) -> u32 {
        self.tap.load(Relaxed)
    }

    /// A packet to the service came in. Softirq.
    pub(crate) fn note_clients(&self) {
        let now = now();
        // All CPUs read this for each packet, and it is written a hundred times a second.
        if now.since(self.clients_at()) >= Duration::from_millis(10) {
            self.clients_at.store(now.as_nanos(), Relaxed);
        }
    }

    /// When one did last. Any context.
    pub(crate) fn clients_at(&self) -> Instant {
        Instant::from_nanos(self.clients_at.load(Relaxed))
    }

    /// Whether a packet that came by this device is from the probed address, and tells that the service's link works. Any context.
    pub(crate) fn is_probed(&self, source: Ipv6Addr, ifindex: u32) -> bool {
        self.probe == Some(source) && [0, ifindex].contains(&self.tap())
    }

    /// Asks the probed address for an answer. Softirq.
    fn ask_probed(&self, to: Ipv6Addr) {
        let mut packet = [0; MAX_PACKET];
        let asked = route::source(self.net, to.to_canonical())
            .and_then(|from| {
                let from = Endpoint::new(from, 0).addr;
                let sequence = self.counters.get(Counter::ProbesSent) as u16;
                emit_echo(&mut packet, from, to, PROBE_IDENT, sequence).map_err(|_| EINVAL)
            })
            .and_then(|len| SkBuff::alloc(&[packet.get(..len).unwrap_or(&[])], Site::Send))
            .and_then(|skb| skb.transmit(self.net));
        self.count(match asked {
            Ok(()) => Counter::ProbesSent,
            Err(_) => Counter::ProbesFailed,
        });
    }

    pub(crate) fn set_tap(&self, ifindex: u32) {
        if self.tap() != ifindex {
            self.tap.store(ifindex, Relaxed);
        }
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.counters.add(counter);
    }

    /// Sends a segment without payload. Whether there was memory for it. Any context.
    fn transmit(&self, flow: &Flow, segment: &Segment) -> bool {
        let mut packet = [0; MAX_PACKET];
        let sent = emit(&mut packet, flow.service, flow.client, segment)
            .map_err(|_| EINVAL)
            .and_then(|len| SkBuff::alloc(&[packet.get(..len).unwrap_or(&[])], Site::Send))
            .and_then(|skb| skb.transmit(self.net));
        self.emitted(sent)
    }

    /// Hands a segment without payload to the stack, as the client's. Whether there was memory for it. Any context.
    pub(crate) fn inject(&self, flow: &Flow, segment: &Segment, ifindex: u32) -> bool {
        if segment.flags.contains(Flags::RST) {
            self.count(Counter::ResetsInjected);
        }
        self.inject_bytes(flow, segment, &[], ifindex)
    }

    /// The same with a payload, of `segment.payload_len` bytes.
    pub(crate) fn inject_bytes(
        &self,
        flow: &Flow,
        segment: &Segment,
        payload: &[u8],
        ifindex: u32,
    ) -> bool {
        let mut packet = [0; MAX_PACKET];
        let done = emit_header(&mut packet, flow.client, flow.service, segment, payload)
            .map_err(|_| EINVAL)
            .and_then(|len| {
                let header = packet.get(..len).unwrap_or(&[]);
                SkBuff::alloc(&[header, payload], Site::Inject)
            })
            .and_then(|skb| skb.inject(self.net, ifindex));
        self.emitted(done)
    }

    fn emitted(&self, result: Result) -> bool {
        if result.is_err() {
            self.count(Counter::EmitFailed);
        }
        result != Err(ENOMEM)
    }

    /// Carries out what the engine wants of a connection; `false` if the connection is over. Any context, bucket locked.
    pub(crate) fn carry_out(&self, entry: &mut Entry, actions: Actions) -> bool {
        for counter in [actions.count, actions.also].into_iter().flatten() {
            self.count(counter);
        }
        if let Some(record) = &actions.record {
            self.tell(record);
        }
        if let Some(end) = actions.release_retained {
            entry.retained.release(end);
        }
        if !entry.side.retains() && entry.retained.bytes() > 0 {
            entry.retained.clear();
        }
        let mut resend = actions.resend;
        while let (Some(id), Some(span)) = (entry.side.id(), &resend) {
            self.resend(&entry.retained, id, span);
            resend = entry.side.resend_next();
        }
        if actions.clear_queue {
            entry.queue.clear();
        }
        if let Some(segment) = &actions.inject {
            if !self.inject(entry.side.flow(), segment, entry.ifindex) {
                entry.side.not_injected();
            }
        }
        if actions.release_queue {
            while let Some((skb, _)) = entry.queue.pop_front() {
                if skb.inject(self.net, entry.ifindex).is_err() {
                    self.count(Counter::EmitFailed);
                }
            }
        }
        if let Some(acked) = actions.release_held {
            entry.queue.retain(|tag| {
                let keep = SeqNumber::new(tag.end) > acked;
                if !keep {
                    self.count(Counter::HeldReleased);
                }
                keep
            });
        }
        if actions.flush_held {
            self.flush_held(entry);
        }
        if let Some(segment) = &actions.send {
            if !self.may_speak_on(&entry.side) {
                entry.side.on_silence(now());
                self.count(Counter::OutputIsolated);
            } else if !self.transmit(entry.side.flow(), segment) && !self.not_sent(entry) {
                return false;
            }
        }
        if actions.diverged.is_some() {
            self.on_divergence(entry);
        }
        if let Some(failure) = actions.moves {
            self.on_move(entry.side.flow(), failure);
        }
        if let Some(failure) = actions.failed {
            self.on_failure(entry.side.flow(), failure);
        }
        if actions.remove {
            return false;
        }
        self.attend(entry);
        !actions.check_socket || {
            let socket = self.socket(entry.side.flow(), entry.ifindex);
            let actions = entry.side.on_socket(socket, now());
            self.carry_out(entry, actions)
        }
    }

    /// Memory for a segment of a connection was short; `false` if the connection is over. Any context, bucket locked.
    pub(crate) fn not_sent(&self, entry: &mut Entry) -> bool {
        let actions = entry.side.not_sent(now());
        self.carry_out(entry, actions)
    }

    /// What the kernel has for a connection. Any context.
    pub(crate) fn socket(&self, flow: &Flow, ifindex: u32) -> primary::Socket {
        let (local, remote) = (flow.service.to_socket_addr(), flow.client.to_socket_addr());
        match socket::lookup(self.net, local, remote, ifindex) {
            None | Some(socket::State::Closed) => primary::Socket::Gone,
            Some(socket::State::TimeWait) => primary::Socket::TimeWait,
            Some(socket::State::SynReceived) => primary::Socket::Request,
            Some(_) => primary::Socket::Live,
        }
    }

    /// Has the link-layer address of the way to the client resolved: the first packet after a takeover must not wait for that.
    pub(crate) fn warm(&self, flow: &Flow) {
        let (from, to) = (flow.service.to_socket_addr(), flow.client.to_socket_addr());
        // Without a route there is nothing to resolve, and the takeover will count what it cannot send.
        let _ = announce::warm(self.net, from.ip(), to.ip());
    }

    /// Has a connection called when it wants to be, a tick later at the earliest. Any context, bucket locked.
    pub(crate) fn attend(&self, entry: &Entry) {
        if let Some(at) = self.table.attend(entry) {
            self.housekeeping
                .arm_before(at.max(now().after(TICK)).as_nanos());
        }
    }

    /// Asks for the outbox to be sent when this round of packets is through. Any context.
    pub(crate) fn flush_soon(&self) {
        self.flush.schedule();
    }

    /// Acts on news of the peer. Any context, nothing locked.
    pub(crate) fn on_event(&self, event: Event) {
        let (state, epoch, known, seed) = {
            let engine = self.engine.lock();
            (engine.state(), engine.epoch(), engine.peer(), engine.seed())
        };
        self.set_peer_state(known);
        let peer = Show(self.end(0));
        match event {
            Event::Joined => {
                self.table.rekey(seed);
                self.housekeeping.arm_before(now().after(TICK).as_nanos());
                pr_info!("peer {peer} joined: {}, epoch {epoch}\n", state.name());
                self.end_session(known);
            }
            Event::BackupLost(silence) => {
                self.count(Counter::PeerLost);
                self.end_session(known);
                let ms = silence.as_millis();
                if state == State::Isolated {
                    self.count(Counter::Isolated);
                    pr_warn!("backup {peer} silent for {ms} ms: isolated, silent for the service until it is heard; takeover=1 goes on alone\n");
                } else {
                    pr_warn!(
                        "backup {peer} silent for {ms} ms: solo, connections go on unprotected\n"
                    );
                }
            }
            Event::Fence(silence) => self.begin_fence(silence),
            Event::FenceOverdue => self.helper.kill(),
            Event::PrimaryBack => {
                pr_warn!(
                    "primary {peer} is heard again before it was switched off: {}\n",
                    state.name()
                );
            }
            Event::PathLost(path) => {
                self.count(Counter::PathsLost);
                pr_warn!(
                    "nothing comes from {} any more; the peer is heard by the other path\n",
                    Show(self.end(path))
                );
            }
            Event::PathBack(path) => pr_info!("{} is heard again\n", Show(self.end(path))),
            Event::Unlinked => {
                if self.hand_over.schedule() {
                    self.count(Counter::CutOff);
                    pr_warn!("the link to the clients is down, and the backup's is not\n");
                }
            }
            Event::CutOff(silence) => {
                if self.hand_over.schedule() {
                    self.count(Counter::CutOff);
                    pr_warn!(
                        "the backup has heard clients{} for {} ms that are not heard here\n",
                        if self.probe.is_some() {
                            " or the probed address"
                        } else {
                            ""
                        },
                        silence.as_millis()
                    );
                }
            }
            Event::PrimaryFenced(silence) => {
                self.count(Counter::PeerLost);
                self.count(Counter::TakeoversFenced);
                let done = self.take_over(silence);
                pr_warn!("primary {peer} is switched off: taking over, epoch {epoch}\n");
                done.tell();
            }
            Event::PeerAlone => {
                self.count(Counter::PeerAlone);
                pr_warn!(
                    "primary {peer} has missed this host and goes on alone: {}\n",
                    state.name()
                );
                self.end_session(known);
            }
            Event::PeerLeft => {
                pr_info!("peer {peer} left: {}\n", state.name());
                self.end_session(known);
            }
            Event::PrimaryLost(silence) => {
                self.count(Counter::PeerLost);
                self.count(Counter::TakeoversLost);
                let done = self.take_over(silence);
                pr_warn!(
                    "primary {peer} silent for {} ms: taking over, epoch {epoch}\n",
                    silence.as_millis()
                );
                done.tell();
            }
            Event::PrimaryGoes(silence) => {
                self.count(Counter::TakeoversGoodbye);
                let done = self.take_over(silence);
                pr_warn!("primary {peer} says goodbye: taking over, epoch {epoch}\n");
                done.tell();
            }
            Event::SteppedDown => {
                self.set_speaks(false);
                self.count(Counter::SteppedDown);
                self.leave_behind();
                pr_warn!(
                    "peer {peer} leads epoch {epoch}: stepping down, silent for the service\n"
                );
            }
        }
    }

    /// The peer's end of a path, for the log.
    pub(crate) fn end(&self, path: usize) -> SocketAddr {
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        self.peer.get(path).unwrap_or(nowhere)
    }

    /// Another host carries the connections. Their sockets here end: they would answer the clients, should this node speak again.
    pub(crate) fn leave_behind(&self) {
        let now = now();
        self.table.retain(|entry| {
            let actions = entry.side.step_down(now);
            self.carry_out(entry, actions)
        });
    }

    /// What an earlier session left is void.
    fn end_session(&self, peer: Peer) {
        let now = now();
        self.table.retain(|entry| {
            let actions = entry
                .side
                .end_session(Counter::UnprotectedBackupLost, peer, now);
            self.carry_out(entry, actions)
        });
    }

    /// Sends the farewell, and resets the connections that live only by translation. Process context; hooks still run.
    pub(crate) fn leave(&self) {
        self.stopping.store(true, Relaxed);
        let farewell = self.engine.lock().header(Datagram::Leave, now());
        self.send_farewell(&farewell);
        let now = now();
        let mut resets = 0;
        self.table.retain(|entry| {
            resets += u32::from(entry.side.is_migrated());
            let actions = entry.side.leave(now);
            let _ = self.carry_out(entry, actions);
            true
        });
        if resets > 0 {
            pr_warn!(
                "{resets} migrated connections reset: they cannot go on without translation\n"
            );
        }
    }

    /// The peer was last heard at `heard`.
    pub(crate) fn poll_entry(
        &self,
        entry: &mut Entry,
        now: Instant,
        heard: Option<Instant>,
    ) -> bool {
        let stall = Duration::from_millis(u64::from(self.stall_ms.load(Relaxed)));
        let due = entry.side.poll(now, stall, heard);
        due.is_none_or(|actions| self.carry_out(entry, actions))
    }

    /// Adds a record for the peer. Any context.
    pub(crate) fn tell(&self, record: &Record) {
        if !self.push(record) {
            self.count(Counter::OutboxOverflow);
        }
        self.flush_soon();
    }
}

impl Fire<HEARTBEAT> for Node {
    fn timer(&self) -> &Timer {
        &self.heartbeat
    }

    /// Sends a heartbeat and judges the peer's. Softirq.
    fn fire(&self) -> Option<u64> {
        if self.stopping.load(Relaxed) {
            return None;
        }
        let linked = self.tap() == 0 || netdev::is_linked(self.net, self.tap());
        if !self.linked.xchg(linked, Relaxed) && linked {
            self.relinked.store(RELINKED, Relaxed);
        }
        let poll = self.ask(|engine| {
            let now = now();
            engine.set_linked(linked, now);
            engine.heard_clients(self.clients_at());
            engine.poll(now, clock::random_u64())
        });
        self.retire_key();
        if poll.heartbeat {
            self.beat();
        }
        if let Some(to) = self.probe.filter(|_| poll.probe) {
            self.ask_probed(to);
        }
        if poll.asleep {
            self.count(Counter::DetectorAsleep);
        }
        if let Some(event) = poll.event {
            self.on_event(event);
        }
        Some(poll.next.as_nanos())
    }
}

impl Notify<Devices> for Node {
    /// The device that clients come by may have lost its carrier: that is looked at now and not with the next heartbeat. Process context, RTNL held.
    fn notified(&self) {
        self.heartbeat.arm_before(now().as_nanos());
    }
}

impl Fire<HOUSEKEEPING> for Node {
    fn timer(&self) -> &Timer {
        &self.housekeeping
    }

    /// Calls the connections whose time has come, and compares a slice of all with the kernel's sockets. Softirq.
    fn fire(&self) -> Option<u64> {
        let now = now();
        let heard = self.engine.lock().last_heard();
        let due = self
            .table
            .visit_due(now, |entry| self.poll_entry(entry, now, heard));
        if now.as_nanos() >= self.next_slice.load(Relaxed) {
            self.next_slice.store(now.after(SLICE).as_nanos(), Relaxed);
            self.sweep_slice(now, heard);
        }
        let next = self.next_slice.load(Relaxed);
        let next = due.map_or(next, |due| due.as_nanos().min(next));
        Some(next.max(now.after(TICK).as_nanos()))
    }
}

impl Run for Node {
    fn work(&self) -> &Work {
        &self.flush
    }

    /// Sends what the outbox holds. Softirq.
    fn run(&self) {
        self.flush();
    }
}
