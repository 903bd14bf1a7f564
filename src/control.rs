// SPDX-License-Identifier: GPL-2.0

//! The controls of a namespace: `net.sttcp.*`, and the node that they start and stop.

use crate::engine::config::{self, Command, Ends, KeyBytes, Refusal, Services};
use crate::engine::counters::Counter;
use crate::engine::detector::Timing;
use crate::engine::digest::Divergence;
use crate::engine::lease::Isolation;
use crate::engine::node::Role;
use crate::engine::primary::{Policy, Terms, STALL_TIMEOUT};
use crate::engine::program::{Scope, Watch};
use crate::engine::wire::Endpoint;
use crate::fence::FENCE;
use crate::goodbye::{Stays, HAND_OVER};
use crate::node::{now, Counters, Node, Safety, Settings, HEARTBEAT, HOUSEKEEPING};
use crate::report::{CONNECTIONS, COUNTERS};
use crate::retention::Budget;
use crate::sys::fail::{self, Site};
use crate::sys::helper;
use crate::sys::hmac::Key;
use crate::sys::net::Net;
use crate::sys::netfilter::Hooks;
use crate::sys::notifier::{self, Devices, Panic, Reboot};
use crate::sys::pernet::{PerNet, Slot};
use crate::sys::rcu::RcuSlot;
use crate::sys::sysctl::{Control, Entry, Table};
use crate::sys::tracepoint::Probe;
use crate::sys::{proc, timer, work};
use core::fmt::Write;
use core::mem;
use core::net::{Ipv6Addr, SocketAddr};
use core::pin::Pin;
use core::time::Duration;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::{new_mutex, rcu, Arc, Mutex};

macro_rules! controls {
    ($($id:ident = $number:literal, $name:literal, $mode:literal;)*) => {
        $(const $id: u32 = $number;)*
        const ENTRIES: &[Entry] = &[$(Entry { name: $name, mode: $mode, id: $id },)*];
        fn name(id: u32) -> &'static CStr {
            match id {
                $($id => $name,)*
                _ => c"?",
            }
        }
    };
}

controls! {
    ROLE = 0, c"role", 0o644;
    STATE = 1, c"state", 0o444;
    EPOCH = 2, c"epoch", 0o444;
    SERVICE = 3, c"service", 0o644;
    LOCAL = 4, c"local", 0o644;
    PEER = 5, c"peer", 0o644;
    KEY = 6, c"key", 0o200;
    INTERVAL = 7, c"heartbeat_interval_ms", 0o644;
    MISSES = 8, c"heartbeat_misses", 0o644;
    TAP = 9, c"tap", 0o644;
    TAKEOVER = 10, c"takeover", 0o200;
    RETAIN_KB = 11, c"retain_kb", 0o644;
    RETAIN_TOTAL_MB = 12, c"retain_total_mb", 0o644;
    ACK_POLICY = 13, c"ack_policy", 0o644;
    STALL = 14, c"backup_stall_ms", 0o644;
    SWITCHOVER = 15, c"switchover", 0o200;
    ISOLATION = 16, c"isolation", 0o644;
    FENCE_COMMAND = 17, c"fence_command", 0o600;
    FENCE_TIMEOUT = 18, c"fence_timeout_ms", 0o644;
    APP_FAILURE = 19, c"app_failure", 0o644;
    FIN_HOLD = 20, c"fin_hold_ms", 0o644;
    APP_LAG = 21, c"app_lag_ms", 0o644;
    PROBE = 22, c"probe", 0o644;
    APP_LAG_BYTES = 23, c"app_lag_bytes", 0o644;
    DIVERGENCE = 24, c"divergence", 0o644;
}

/// How long the end of a server's stream waits for the backup's, and how long one server may be silent while the other is not, unless told, in ms.
const FIN_HOLD_DEFAULT: u32 = 500;
const APP_LAG_DEFAULT: u32 = 2000;

/// How long fencing may take, unless told.
const FENCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// A node with everything that calls it. Dropped from the top: the callers go first.
struct Running {
    _devices: notifier::Registration<Node, Devices>,
    _reboot: notifier::Registration<Node, Reboot>,
    _panic: notifier::Registration<Node, Panic>,
    _hooks: Hooks<Node>,
    _probe: Probe<Node>,
    _heartbeat: timer::Registration<Node, HEARTBEAT>,
    _housekeeping: timer::Registration<Node, HOUSEKEEPING>,
    _flush: work::Registration<Node>,
    _fence: work::Registration<Node, FENCE>,
    _hand_over: work::Registration<Node, HAND_OVER>,
    node: Arc<Node>,
}

impl Running {
    fn start(net: Net, settings: Settings, local: Ends, counters: Arc<Counters>) -> Result<Self> {
        let node = Node::new(net, settings, counters)?;
        let running = Self {
            _devices: notifier::Registration::new(Devices(net), node.clone())?,
            _reboot: notifier::Registration::new(Reboot, node.clone())?,
            _panic: notifier::Registration::new(Panic, node.clone())?,
            _hooks: Hooks::register(net, node.clone())?,
            _probe: Probe::register(net, node.clone())?,
            _heartbeat: timer::Registration::new(node.clone())?,
            _housekeeping: timer::Registration::new(node.clone())?,
            _flush: work::Registration::new(node.clone())?,
            _fence: work::Registration::new(node.clone())?,
            _hand_over: work::Registration::new(node.clone())?,
            node,
        };
        running.node.listen(&local)?;
        running.node.start();
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.node.leave();
        self.node.helper.close();
        // The channel holds the node and the node holds the channel.
        self.node.hang_up();
    }
}

struct Plan {
    services: Option<Services>,
    local: Option<Ends>,
    peer: Option<Ends>,
    probe: Option<Ipv6Addr>,
    key: Option<KeyBytes>,
    interval_ms: u32,
    misses: u32,
    stall_ms: u32,
    retain_kb: u32,
    retain_total_mb: u32,
    policy: Policy,
    /// What a failure of the server's program moves, if anything, and what tells of one, in ms and bytes.
    app_failure: Option<Scope>,
    hold_ms: u32,
    lag_ms: u32,
    lag_bytes: u32,
    divergence: Divergence,
    safety: Safety,
    /// Whether it was said that there is no fencing.
    told_unfenced: bool,
    epoch: u32,
    running: Option<Running>,
}

impl Plan {
    fn timing(&self) -> Timing {
        Timing {
            interval: Duration::from_millis(u64::from(self.interval_ms)),
            misses: self.misses,
        }
    }

    fn watch(&self) -> Watch {
        match self.app_failure {
            None => Watch::OFF,
            Some(scope) => Watch {
                scope,
                hold_ms: self.hold_ms,
                lag_ms: self.lag_ms,
                lag_bytes: self.lag_bytes,
            },
        }
    }
}

/// What the files of a namespace are about.
#[pin_data]
pub(crate) struct Shared {
    net: Net,
    pub(crate) counters: Arc<Counters>,
    #[pin]
    plan: Mutex<Plan>,
    /// The running node, for callers that cannot wait for the mutex.
    node: RcuSlot<Node>,
}

/// Why a value was refused, for the log.
enum Why {
    Value(Refusal),
    Running,
    NotRunning,
    Permission,
    Incomplete(&'static str),
    Family,
    Paths,
    LocalIsService,
    Start(Error),
    Stays(Stays),
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        Why::Value(refusal)
    }
}

impl Shared {
    /// The running node. Any context.
    pub(crate) fn node<'rcu>(&'rcu self, rcu: &'rcu rcu::Guard) -> Option<&'rcu Node> {
        self.node.get(rcu)
    }

    fn stop(&self, plan: &mut Plan) {
        self.node.set(None);
        if let Some(running) = plan.running.take() {
            plan.epoch = running.node.engine.lock().epoch();
            drop(running);
            pr_info!("role off\n");
        }
    }

    fn set_role(&self, plan: &mut Plan, role: Option<Role>) -> Result<(), Why> {
        let Some(role) = role else {
            self.stop(plan);
            return Ok(());
        };
        if let Some(running) = &plan.running {
            let same = running.node.engine.lock().role() == role;
            return if same { Ok(()) } else { Err(Why::Running) };
        }
        let services = plan.services.ok_or(Why::Incomplete("service"))?;
        let local = plan.local.ok_or(Why::Incomplete("local"))?;
        let peer = plan.peer.ok_or(Why::Incomplete("peer"))?;
        let key = plan.key.as_ref().ok_or(Why::Incomplete("key"))?;
        if local.count() != peer.count() {
            return Err(Why::Paths);
        }
        if local
            .iter()
            .zip(peer.iter())
            .any(|(local, peer)| local.is_ipv4() != peer.is_ipv4())
        {
            return Err(Why::Family);
        }
        // A backup is silent for the service address, and so would be its heartbeats.
        let is_service = |end: SocketAddr| services.has_address(&Endpoint::from(end).addr);
        if local.iter().any(is_service) {
            return Err(Why::LocalIsService);
        }
        let settings = Settings {
            role,
            epoch: plan.epoch.max(1),
            services,
            peer,
            probe: plan.probe,
            key: Key::new(key.as_bytes()),
            timing: plan.timing(),
            stall_ms: plan.stall_ms,
            budget: Budget::new(plan.retain_kb, plan.retain_total_mb),
            policy: plan.policy,
            watch: plan.watch(),
            divergence: plan.divergence,
            safety: plan.safety,
        };
        #[cfg(sttcp_plant)]
        crate::sys::plant::spring().map_err(Why::Start)?;
        let running =
            Running::start(self.net, settings, local, self.counters.clone()).map_err(Why::Start)?;
        self.node.set(Some(running.node.clone()));
        pr_info!("role {}\n", role_name(Some(role)));
        if plan.safety.fence_command.is_none() && !mem::replace(&mut plan.told_unfenced, true) {
            pr_info!("no fence_command: a primary that falls silent is not switched off\n");
        }
        plan.running = Some(running);
        Ok(())
    }

    fn set(&self, id: u32, text: &str) -> Result<(), Why> {
        let mut plan = self.plan.lock();
        let stopped = if plan.running.is_some() {
            Err(Why::Running)
        } else {
            Ok(())
        };
        match id {
            ROLE => {
                let role = match text {
                    "off" => None,
                    "primary" => Some(Role::Primary),
                    "backup" => Some(Role::Backup),
                    _ => return Err(Refusal::UnknownWord.into()),
                };
                self.set_role(&mut plan, role)?;
            }
            SERVICE => {
                let services = text.parse()?;
                stopped?;
                plan.services = Some(services);
            }
            LOCAL => {
                let local = text.parse()?;
                stopped?;
                plan.local = Some(local);
            }
            PEER => {
                let peer = text.parse()?;
                stopped?;
                plan.peer = Some(peer);
            }
            PROBE => {
                let probe = match text {
                    "" => None,
                    text => Some(config::address(text)?),
                };
                stopped?;
                plan.probe = probe;
            }
            KEY => {
                let key = KeyBytes::parse(text)?;
                if let Some(running) = &plan.running {
                    let key = Key::new(key.as_bytes());
                    running.node.change_key(key).map_err(Why::Start)?;
                }
                plan.key = Some(key);
            }
            INTERVAL => {
                plan.interval_ms = config::number(text, 1, 60_000)?;
                self.retime(&plan);
            }
            MISSES => {
                plan.misses = config::number(text, 2, 100)?;
                self.retime(&plan);
            }
            RETAIN_KB => {
                plan.retain_kb = config::number(text, 0, 1 << 20)?;
                self.agree(&plan);
            }
            RETAIN_TOTAL_MB => {
                plan.retain_total_mb = config::number(text, 0, 1 << 20)?;
                self.agree(&plan);
            }
            ACK_POLICY => {
                plan.policy = Policy::parse(text)?;
                self.agree(&plan);
            }
            STALL => {
                plan.stall_ms = config::number(text, 1, 600_000)?;
                self.agree(&plan);
            }
            ISOLATION => {
                plan.safety.isolation = Isolation::parse(text)?;
                self.secure(&plan);
            }
            FENCE_COMMAND => {
                // It runs as root of the machine, whose namespace this is or not.
                if !helper::may_run_programs() {
                    return Err(Why::Permission);
                }
                plan.safety.fence_command = match text {
                    "" => None,
                    text => Some(Command::parse(text)?),
                };
                self.secure(&plan);
            }
            FENCE_TIMEOUT => {
                let ms = config::number(text, 1, 600_000)?;
                plan.safety.fence_timeout = Duration::from_millis(ms.into());
                self.secure(&plan);
            }
            APP_FAILURE => {
                plan.app_failure = match text {
                    "off" => None,
                    "connection" => Some(Scope::Connection),
                    "node" => Some(Scope::Node),
                    _ => return Err(Refusal::UnknownWord.into()),
                };
                self.agree(&plan);
            }
            FIN_HOLD => {
                plan.hold_ms = config::number(text, 0, 60_000)?;
                self.agree(&plan);
            }
            APP_LAG => {
                plan.lag_ms = config::number(text, 0, 600_000)?;
                self.agree(&plan);
            }
            APP_LAG_BYTES => {
                plan.lag_bytes = config::number(text, 0, 1 << 30)?;
                self.agree(&plan);
            }
            DIVERGENCE => {
                plan.divergence = Divergence::parse(text)?;
                if let Some(running) = &plan.running {
                    running.node.set_divergence(plan.divergence);
                }
            }
            TAP if text == "l2" => {}
            TAP => return Err(Refusal::UnknownWord.into()),
            TAKEOVER => {
                config::number(text, 1, 1)?;
                let running = plan.running.as_ref().ok_or(Why::NotRunning)?;
                if !running.node.take_over_on_request() {
                    return Err(Why::NotRunning);
                }
            }
            SWITCHOVER => {
                let force = config::number(text, 1, 2)? == 2;
                let running = plan.running.as_ref().ok_or(Why::Stays(Stays::NoBackup))?;
                let node = &running.node;
                node.set_terms(
                    plan.retain_kb,
                    plan.retain_total_mb,
                    Policy::Gated,
                    plan.watch(),
                );
                let done = node.switch_over(force);
                self.agree(&plan);
                done.map_err(Why::Stays)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn agree(&self, plan: &Plan) {
        if let Some(running) = &plan.running {
            let node = &running.node;
            node.stall_ms.store(plan.stall_ms, Relaxed);
            node.set_terms(
                plan.retain_kb,
                plan.retain_total_mb,
                plan.policy,
                plan.watch(),
            );
        }
    }

    fn secure(&self, plan: &Plan) {
        if let Some(running) = &plan.running {
            running.node.set_safety(&plan.safety);
        }
    }

    fn retime(&self, plan: &Plan) {
        if let Some(running) = &plan.running {
            running.node.engine.lock().set_timing(plan.timing(), now());
            running.node.start();
        }
    }
}

fn role_name(role: Option<Role>) -> &'static str {
    match role {
        None => "off",
        Some(Role::Primary) => "primary",
        Some(Role::Backup) => "backup",
    }
}

impl Control for Shared {
    fn read(&self, id: u32, out: &mut dyn Write) -> Result {
        let plan = self.plan.lock();
        let node = plan
            .running
            .as_ref()
            .map(|running| running.node.engine.lock());
        let written = match id {
            ROLE => out.write_str(role_name(node.as_ref().map(|node| node.role()))),
            STATE => out.write_str(node.as_ref().map_or("off", |node| node.state().name())),
            EPOCH => write!(
                out,
                "{}",
                node.as_ref().map_or(plan.epoch, |node| node.epoch())
            ),
            SERVICE => plan
                .services
                .as_ref()
                .map_or(Ok(()), |services| write!(out, "{services}")),
            LOCAL => plan
                .local
                .as_ref()
                .map_or(Ok(()), |local| write!(out, "{local}")),
            PEER => plan
                .peer
                .as_ref()
                .map_or(Ok(()), |peer| write!(out, "{peer}")),
            PROBE => plan
                .probe
                .map_or(Ok(()), |probe| write!(out, "{}", probe.to_canonical())),
            INTERVAL => write!(out, "{}", plan.interval_ms),
            MISSES => write!(out, "{}", plan.misses),
            TAP => out.write_str("l2"),
            RETAIN_KB => write!(out, "{}", plan.retain_kb),
            RETAIN_TOTAL_MB => write!(out, "{}", plan.retain_total_mb),
            ACK_POLICY => out.write_str(plan.policy.name()),
            STALL => write!(out, "{}", plan.stall_ms),
            ISOLATION => out.write_str(plan.safety.isolation.name()),
            FENCE_COMMAND => plan
                .safety
                .fence_command
                .as_ref()
                .map_or(Ok(()), |command| write!(out, "{command}")),
            APP_FAILURE => out.write_str(match plan.app_failure {
                None => "off",
                Some(Scope::Connection) => "connection",
                Some(Scope::Node) => "node",
            }),
            FIN_HOLD => write!(out, "{}", plan.hold_ms),
            APP_LAG => write!(out, "{}", plan.lag_ms),
            APP_LAG_BYTES => write!(out, "{}", plan.lag_bytes),
            DIVERGENCE => out.write_str(plan.divergence.name()),
            FENCE_TIMEOUT => write!(out, "{}", plan.safety.fence_timeout.as_millis()),
            _ => Ok(()),
        };
        written.map_err(|_| EINVAL)
    }

    fn write(&self, id: u32, text: &str) -> Result {
        let Err(why) = self.set(id, text) else {
            return Ok(());
        };
        self.counters.add(Counter::ControlRefused);
        let name = name(id).to_str().unwrap_or("?");
        match why {
            Why::Value(refusal) => pr_err!("{name} refused: {}\n", crate::sys::show::Show(refusal)),
            Why::Running => pr_err!("{name} refused: it can only change while the role is off\n"),
            Why::Permission => {
                pr_err!("{name} refused: it takes CAP_SYS_ADMIN outside of all containers\n");
                return Err(EPERM);
            }
            Why::NotRunning => {
                pr_err!("{name} refused: this node is neither a backup nor isolated\n")
            }
            Why::Incomplete(missing) => pr_err!("{name} refused: {missing} is not set\n"),
            Why::Paths => {
                pr_err!("{name} refused: local and peer name different numbers of addresses\n")
            }
            Why::Family => pr_err!("{name} refused: local and peer are of different IP versions\n"),
            Why::LocalIsService => pr_err!("{name} refused: local must not be a service address\n"),
            Why::Stays(Stays::NoBackup) => {
                pr_err!("{name} refused: this node is not a primary with a backup\n");
            }
            Why::Stays(Stays::Unprotected(count)) => {
                pr_err!("{name} refused: {count} connections are not protected, or differ (divergence=reset); 2 resets them\n");
            }
            Why::Stays(Stays::Behind) => {
                pr_err!("{name} refused: the backup lacks what clients were told had arrived\n");
            }
            Why::Start(ENOMEM) => pr_err!("{name} refused: no memory for the node\n"),
            Why::Start(error) => {
                pr_err!("{name} refused: the node could not start, error {}: is local an address of this host, its port free?\n", error.to_errno());
            }
        }
        Err(EINVAL)
    }
}

/// The module's state in a network namespace.
pub(crate) struct Namespace {
    _connections: proc::File<Shared, CONNECTIONS>,
    _counters: proc::File<Shared, COUNTERS>,
    _controls: Table<Shared>,
    shared: Arc<Shared>,
}

static SLOT: Slot = Slot::new();

impl PerNet for Namespace {
    fn slot() -> &'static Slot {
        &SLOT
    }

    fn init(net: Net) -> Result<Pin<KBox<Self>>> {
        let terms = Terms::default();
        let plan = Plan {
            services: None,
            local: None,
            peer: None,
            probe: None,
            key: None,
            interval_ms: 50,
            misses: 3,
            stall_ms: STALL_TIMEOUT.as_millis() as u32,
            retain_kb: terms.retain >> 10,
            retain_total_mb: 256,
            policy: terms.policy,
            app_failure: None,
            hold_ms: FIN_HOLD_DEFAULT,
            lag_ms: APP_LAG_DEFAULT,
            lag_bytes: 0,
            divergence: Divergence::default(),
            safety: Safety {
                isolation: Isolation::default(),
                fence_command: None,
                fence_timeout: FENCE_TIMEOUT_DEFAULT,
            },
            told_unfenced: false,
            epoch: 0,
            running: None,
        };
        fail::at(Site::Namespace)?;
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;
        fail::at(Site::Namespace)?;
        let shared = Arc::pin_init(
            pin_init!(Shared {
                net,
                counters,
                plan <- new_mutex!(plan, "sttcp_plan"),
                node: RcuSlot::new(),
            }),
            GFP_KERNEL,
        )?;
        fail::at(Site::Namespace)?;
        let namespace = KBox::new(
            Self {
                _connections: proc::File::create(net, c"sttcp", 0o444, shared.clone())?,
                _counters: proc::File::create(net, c"sttcp_stat", 0o444, shared.clone())?,
                _controls: Table::register(net, c"net/sttcp", ENTRIES, shared.clone())?,
                shared,
            },
            GFP_KERNEL,
        )?;
        Ok(KBox::into_pin(namespace))
    }

    fn stop(&self) {
        let mut plan = self.shared.plan.lock();
        if let Some(running) = &plan.running {
            running.node.hand_over("going down");
        }
        self.shared.stop(&mut plan);
    }
}
