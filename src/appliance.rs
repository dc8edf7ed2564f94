//! Starting and stopping the appliance: policy, engine, journal, rings and the threads that serve them.
//!
//! [`start`] does everything that can fail before the first client is let in: it compiles and validates the policy, takes
//! the locks, replays the journal into the engine and proves it, opens a new segment, binds the socket. [`Appliance::stop`]
//! undoes it in the order that loses nothing: no new clients, the rings emptied and answered, the journal flushed to disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, bounded};
use tollgate_ring::{Bell, BindError, Listener, Parker, ServerOptions};

use crate::asks;
use crate::clients::{Clients, Departure};
use crate::config::{Backend, Config, JournalPlace};
use crate::control::{Control, bury};
use crate::desk::deployments::{Deployments, Texts};
use crate::desk::socket::ControlSocket;
use crate::desk::{self, Desk, Place, StandingOrders};
use crate::engine::budget::{Budget, tell_bytes};
use crate::engine::program::{ArchivedProgram, SEMANTICS_VERSION};
use crate::engine::units::Time;
use crate::engine::{Engine, LimitError, Limits, Loaded};
use crate::hot_loop::{Fault, HotLoop};
use crate::journal::{
    self, Epoch, FlushError, Flusher, Journal, JournalOptions, Record, RecoverError, Recovered,
};
use crate::log::Log;
use crate::os::lock::{LockError, RuntimeLock, is_on_tmpfs};
use crate::os::memfd::SealedMemfd;
use crate::os::{affinity, clock, memory};
use crate::policy::Sources;
use crate::policy::archive::{self, ArchiveError};
use crate::policy_files;
use crate::replay::{Replay, ReplayError, abbreviated};
use crate::stats::{Counts, Shared};
use crate::token::Tokenizer;

/// The demonstration policy that is built in.
pub const DEMO_POLICY: &str = include_str!("../config/policies/demo.policy");

/// The demonstration policy.
#[must_use]
pub fn demo_policy() -> Sources {
    Sources::single("config/policies/demo.policy (built in)", DEMO_POLICY)
}

/// Reads a policy with the files that it uses.
pub fn read_policy(path: &Path) -> Result<Sources, StartError> {
    policy_files::read(path).map_err(|reason| StartError::PolicyFile { path: path.into(), reason })
}

/// Why the appliance does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy cannot be read.
    #[error("cannot read the policy {path}: {reason}")]
    PolicyFile {
        /// Its file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The policy is wrong.
    #[error("the policy is refused:\n{0}")]
    Policy(String),
    /// The compiled policy did not pass its own validation.
    #[error("the compiled policy is not valid: {0}")]
    Archive(#[from] ArchiveError),
    /// Something about memory.
    #[error("cannot hold the policy in memory: {0}")]
    Memory(io::Error),
    /// The policy's largest event does not fit in a request slot.
    #[error(
        "event {event} needs {words} words, and a request slot of {slot_bytes} bytes holds {fits}; set [listen] \
         slot_bytes = {needed}"
    )]
    SlotTooSmall {
        /// The event.
        event: String,
        /// Its words.
        words: usize,
        /// The slot configured.
        slot_bytes: u32,
        /// The words that fit it.
        fits: usize,
        /// The slot size that would do.
        needed: u32,
    },
    /// Policy and limits ask for more memory than the engine may take.
    #[error("{0}")]
    OverBudget(String),
    /// There is not enough memory for what is touched at start.
    #[error(
        "the engine takes {}, and {reason}: lower its limits (`tollctl policy plan` tells what takes how much), or start with \
         [engine] touch_memory = false and be killed when it is used",
        tell_bytes(*bytes)
    )]
    TooLittleMemory {
        /// What it takes.
        bytes: u64,
        /// What there is.
        reason: String,
    },
    /// The engine refuses its limits.
    #[error("the engine cannot be made with these limits: {}", .0.message)]
    Limits(LimitError),
    /// The runtime directory is not to be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be recovered.
    #[error("the journal cannot be recovered: {0}")]
    Recover(#[from] RecoverError),
    /// The journal cannot be gone on from.
    #[error("the journal cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    /// What was deployed cannot be read or kept.
    #[error("what was deployed cannot be read or kept beside the journal: {0}")]
    Deployed(io::Error),
    /// The socket cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The control socket cannot be listened on.
    #[error("cannot listen on {path} ([control] socket): {error}")]
    ControlSocket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The engine thread cannot be pinned.
    #[error("[engine] core: {0}")]
    Core(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Why the appliance did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The engine thread could not go on.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A thread panicked; its message is on standard error.
    #[error("the {0} thread panicked; what was published is in the journal")]
    Panicked(&'static str),
    /// What is in the journal ring could not be written to disk. The ring still holds it, until the machine goes down.
    #[error("the journal could not be written to disk: {0}")]
    Flush(#[from] FlushError),
}

/// How the appliance came up: the line that says it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The socket it listens on.
    pub socket: PathBuf,
    /// The policy's name.
    pub policy: String,
    /// The policy's revision.
    pub revision: u32,
    /// BLAKE3 of the compiled policy.
    pub policy_hash: [u8; 32],
    /// Hash of the event layouts: what a client must name to connect.
    pub layout_hash: [u8; 32],
    /// Last decision in the journal.
    pub recovered_seq: u64,
    /// Rolling digest after it.
    pub digest: u64,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { socket, policy, revision, policy_hash, recovered_seq, digest, .. } = self;
        let (socket, hash) = (socket.display(), abbreviated(policy_hash));
        write!(f, "ready socket={socket} policy={policy} revision={revision} hash={hash} ")?;
        write!(f, "recovered_seq={recovered_seq} digest={digest:016x}")
    }
}

/// A running appliance. Dropping it without [`stop`](Self::stop) stops it too, without saying how that went.
pub struct Appliance {
    ready: Ready,
    stop_control: Arc<AtomicBool>,
    stop_engine: Arc<AtomicBool>,
    bell: Bell,
    shared: Arc<Shared>,
    departures: Receiver<Departure>,
    log: Log,
    loaded: Loaded,
    threads: Option<Threads>,
}

struct Threads {
    control: JoinHandle<()>,
    desk: JoinHandle<()>,
    engine: JoinHandle<Result<(), Fault>>,
    flusher: Flusher,
    /// Held until all else is down.
    _lock: RuntimeLock,
}

/// Compiles a policy for execution: text → program → sealed memory → validated.
pub fn load(policy: &Sources) -> Result<(Loaded, Vec<u8>), StartError> {
    let program = policy
        .compile(&Tokenizer::default())
        .map_err(|diagnostics| StartError::Policy(policy.render(&diagnostics)))?;
    let sealed = archive::seal(&program);
    let memory = SealedMemfd::copy_of("tollgate-policy", &sealed).map_err(StartError::Memory)?;
    let loaded = archive::open(memory)?;
    Ok((loaded, sealed))
}

/// Starts the appliance. When this returns, clients are let in.
pub fn start(config: &Config, policy: &Sources) -> Result<Appliance, StartError> {
    let log = Log::new(config.log.level);
    let (configured, sealed) = load(policy)?;
    for warning in policy.warnings() {
        log.warn(format_args!("{warning}"));
    }
    check_slots(configured.program(), config)?;
    let mut budget = check_memory(configured.program(), config, log)?;
    if let Some(core) = config.engine.core {
        affinity::try_pin(core).map_err(StartError::Core)?;
    }

    let lock = RuntimeLock::take(&config.journal.runtime_dir, !config.listen.allowed_uids.is_empty())?;
    let runtime_dir = &config.journal.runtime_dir;
    if !is_on_tmpfs(runtime_dir) {
        log.warn(format_args!(
            "the runtime directory {} is not on tmpfs: verdicts may wait for the disk; choose a [journal] runtime_dir \
             under /run or /dev/shm",
            runtime_dir.display()
        ));
    }
    let recovered = Journal::recover(&journal_options(&config.journal))?;
    let deployments = Deployments::open(&config.journal.dir).map_err(StartError::Deployed)?;
    journal::store_policy(&config.journal.dir, &configured.hash(), &sealed)?;
    let configured_hash = desk::hex(&configured.hash());
    deployments.store_texts(&configured_hash, &Texts::of(policy)).map_err(StartError::Deployed)?;
    let mut loaded = configured;
    if let Some(deployed) = resume(&recovered, &deployments, config, &configured_hash, log)? {
        budget = check_memory(deployed.program(), config, log)?;
        loaded = deployed;
    }
    let program = loaded.program();
    let tables = budget.tables.into_iter().map(|table| table.name).collect();
    let limits = Limits { hash_seed: recovered.hash_seed()?, ..config.engine.limits };
    let mut engine = Engine::new(loaded.clone(), &limits).map_err(StartError::Limits)?;
    // Before anything is kept, which would then be in small pages.
    match memory::prefer_huge_pages() {
        Ok(0) => {
            log.info(format_args!("no large pages: the system gives none (transparent_hugepage/enabled)"));
        }
        Ok(bytes) => log.info(format_args!("asked for large pages for {} MiB", bytes >> 20)),
        Err(error) => log.warn(format_args!("cannot ask for large pages: {error}")),
    }
    // Before the replay, which would have pages placed where this thread happens to run.
    if config.engine.touch_memory {
        touch_memory(&mut engine, config.engine.core, log)?;
    }
    let mut replay = Replay::new(&mut engine, limits);
    let mut orders = StandingOrders::default();
    recovered.for_each(|record| {
        if let Record::Order(ordered) = &record {
            orders.remember(ordered);
        }
        replay.take(&record).map_err(StartError::from)
    })?;
    let replayed = replay.done();
    engine.wake(None);
    for note in recovered.notes() {
        log.warn(format_args!("journal: {note}"));
    }
    if replayed.epochs == 0 {
        log.info(format_args!("a new journal begins in {}", config.journal.dir.display()));
    } else {
        log.info(format_args!(
            "replayed the journal: {} decisions decided anew and found equal, {} of other policies or limits taken in, {} starts",
            replayed.proved, replayed.adopted, replayed.epochs
        ));
    }
    let ready = Ready {
        socket: config.listen.socket.clone(),
        policy: program.name.as_str().into(),
        revision: program.revision.to_native(),
        policy_hash: loaded.hash(),
        layout_hash: program.layout_hash,
        recovered_seq: engine.next_seq() - 1,
        digest: engine.digest(),
    };
    let epoch = Epoch {
        semantics: SEMANTICS_VERSION,
        policy_hash: ready.policy_hash,
        layout_hash: ready.layout_hash,
        limits,
        started: Time(clock::realtime_us()),
        took_over: false,
    };
    let (writer, flusher) = recovered.start(epoch)?;
    let written = flusher.status();
    log.info(format_args!("the journal is written with {}", written.backend()));
    if let Some(reason) = written.fallback() {
        log.warn(format_args!("io_uring is not used for the journal: {reason}"));
    }

    let parker = Parker::new();
    let bell = parker.bell();
    let clients_max = config.listen.clients_max as usize;
    let (arrivals_in, arrivals) = bounded(clients_max);
    let (departures_in, departures) = bounded(clients_max);
    let clients = Clients::new(config.listen.clients_max, config.admission, arrivals, departures_in, parker);
    let stop_control = Arc::new(AtomicBool::new(false));
    let stop_engine = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared::default());
    let (asking, asked) = asks::channel(bell.clone());
    let place = Place {
        journal_dir: config.journal.dir.clone(),
        limits,
        memory_bytes_max: config.engine.memory_bytes_max,
        touch_memory: config.engine.touch_memory,
        configured: configured_hash,
    };
    let desk = Desk::new(place, asking, deployments, loaded.clone(), orders, log);
    let control_socket = ControlSocket::bind(&config.control_socket)
        .map_err(|error| StartError::ControlSocket { path: config.control_socket.clone(), error })?;
    let hot_loop = HotLoop::new(
        engine,
        writer,
        clients,
        config.engine.burst,
        config.engine.idle,
        (Arc::clone(&stop_engine), asked),
        Arc::clone(&shared),
    );
    if config.engine.lock_memory
        && let Err(error) = memory::lock()
    {
        log.warn(format_args!(
            "memory is not locked ({error}): raise LimitMEMLOCK to keep it from being swapped"
        ));
    }
    let listener = Listener::bind(
        &config.listen.socket,
        ServerOptions {
            geometry: config.listen.geometry,
            schema_hash: ready.layout_hash,
            allowed_uids: config.listen.allowed_uids.clone(),
            clients_max: config.listen.clients_max,
            handshake_timeout: config.listen.handshake_timeout,
            durable: true,
        },
    )?;
    let engine = start_engine(hot_loop, config.engine.core)?;
    let control = Control {
        listener,
        arrivals: arrivals_in,
        departures: departures.clone(),
        flush: Arc::clone(flusher.status()),
        bell: bell.clone(),
        stop: Arc::clone(&stop_control),
        shared: Arc::clone(&shared),
        metrics_interval: config.log.metrics_interval,
        tables,
        log,
    };
    let control = match std::thread::Builder::new().name("tg-control".into()).spawn(move || control.run()) {
        Ok(control) => control,
        Err(error) => {
            // It must not go on serving behind a lock that is given back.
            stop_engine.store(true, Ordering::Release);
            bell.ring();
            let _ = engine.join();
            return Err(StartError::Thread(error));
        }
    };
    let stop_desk = Arc::clone(&stop_control);
    let desk = std::thread::Builder::new()
        .name("tg-desk".into())
        .spawn(move || control_socket.run(desk, &stop_desk, log));
    let desk = match desk {
        Ok(desk) => desk,
        Err(error) => {
            stop_control.store(true, Ordering::Release);
            let _ = control.join();
            stop_engine.store(true, Ordering::Release);
            bell.ring();
            let _ = engine.join();
            return Err(StartError::Thread(error));
        }
    };
    let threads = Some(Threads { control, desk, engine, flusher, _lock: lock });
    Ok(Appliance { ready, stop_control, stop_engine, bell, shared, departures, log, loaded, threads })
}

/// The program that was deployed onto the configured one and still ran when the journal ends.
fn resume(
    recovered: &Recovered,
    deployments: &Deployments,
    config: &Config,
    configured: &str,
    log: Log,
) -> Result<Option<Loaded>, StartError> {
    if deployments.is_empty() {
        return Ok(None);
    }
    let mut last = None;
    recovered.for_each(|record| {
        if let Record::Epoch(epoch) = record {
            last = Some(epoch);
        }
        Ok::<(), StartError>(())
    })?;
    match desk::resume(deployments, &config.journal.dir, configured, last.as_ref()) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => {
            let memory = SealedMemfd::copy_of("tollgate-policy", &bytes).map_err(StartError::Memory)?;
            let loaded = archive::open(memory)?;
            log.info(format_args!(
                "policy {} revision {} goes on, which was deployed onto the configured one",
                loaded.program().name,
                loaded.program().revision
            ));
            Ok(Some(loaded))
        }
        Err(why) => {
            log.warn(why);
            Ok(None)
        }
    }
}

impl Appliance {
    /// How it came up.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The policy being executed, for building events and reading reasons.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// What it has done so far, at most some 60 ms old.
    #[must_use]
    pub fn stats(&self) -> Counts {
        self.shared.read()
    }

    /// Whether the engine thread is at work. False after a fault: stop, to learn which.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.as_ref().is_some_and(|threads| !threads.engine.is_finished())
    }

    /// Ends in good order: lets no new clients in, answers what is in the rings, writes the journal to disk. Returns the
    /// last counts.
    pub fn stop(mut self) -> Result<Counts, StopError> {
        self.shut_down()?;
        Ok(self.shared.read())
    }

    fn shut_down(&mut self) -> Result<(), StopError> {
        let Some(Threads { control, desk, engine, flusher, _lock }) = self.threads.take() else {
            return Ok(());
        };
        self.stop_control.store(true, Ordering::Release);
        let control = control.join().map_err(|_| StopError::Panicked("control"));
        let desk = desk.join().map_err(|_| StopError::Panicked("desk"));
        self.stop_engine.store(true, Ordering::Release);
        self.bell.ring();
        let engine = engine.join().map_err(|_| StopError::Panicked("engine"));
        bury(&self.departures, self.log);
        // Whatever the threads came to: what is committed goes to disk.
        flusher.shutdown()?;
        engine??;
        control.and(desk)
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            self.log.error(error);
        }
    }
}

/// Starts the engine thread and waits until it is where it should be.
fn start_engine(
    mut hot_loop: HotLoop,
    core: Option<usize>,
) -> Result<JoinHandle<Result<(), Fault>>, StartError> {
    let (placed_in, placed) = bounded(1);
    let thread = std::thread::Builder::new()
        .name("tg-engine".into())
        .spawn(move || {
            let place = core.map_or(Ok(()), affinity::pin_to);
            let failed = place.is_err();
            let _ = placed_in.send(place);
            if failed { Ok(()) } else { hot_loop.run() }
        })
        .map_err(StartError::Thread)?;
    match placed.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(reason)) => Err(StartError::Core(reason)),
        Err(_) => Err(StartError::Thread(io::Error::other("the engine thread ended at once"))),
    }
}

fn check_slots(program: &ArchivedProgram, config: &Config) -> Result<(), StartError> {
    let geometry = config.listen.geometry;
    let fits = geometry.request_words();
    let Some(event) = program.events.iter().max_by_key(|event| event.words.to_native()) else {
        return Ok(());
    };
    let words = usize::from(event.words.to_native());
    if words <= fits {
        return Ok(());
    }
    let needed = if words <= 28 { 256 } else { 512 };
    let event = event.name.as_str().into();
    Err(StartError::SlotTooSmall { event, words, slot_bytes: geometry.slot_bytes, fits, needed })
}

/// Refuses what is over the bound that was set; where it is not touched at start, says so when what will be reserved is more
/// than the machine has, which goes well for as long as it is not used.
fn check_memory(program: &ArchivedProgram, config: &Config, log: Log) -> Result<Budget, StartError> {
    let budget = Budget::new(program, &config.engine.limits).map_err(StartError::Limits)?;
    if let Some(refusal) = config.engine.memory_bytes_max.and_then(|max| budget.refusal(max)) {
        return Err(StartError::OverBudget(refusal));
    }
    let total = budget.total_bytes();
    let machine = memory::of_machine().filter(|&machine| total > machine && !config.engine.touch_memory);
    if let Some(machine) = machine {
        log.warn(format_args!(
            "the engine reserves {} and the machine has {}: lower its limits (`tollctl policy plan` tells what takes how \
             much), or it may be killed when they are used",
            tell_bytes(total),
            tell_bytes(machine)
        ));
    }
    Ok(budget)
}

fn journal_options(place: &JournalPlace) -> JournalOptions {
    let backend = match place.backend {
        Backend::Auto => journal::Backend::Auto,
        Backend::IoUring => journal::Backend::IoUring,
        Backend::Plain => journal::Backend::Pwrite,
    };
    let mut options = JournalOptions::new(&place.dir, &place.runtime_dir);
    options.ring_bytes = place.ring_bytes;
    options.segment_bytes = place.segment_bytes;
    options.batch_bytes_max = options.batch_bytes_max.min(place.segment_bytes / 2);
    options.flush_interval = place.flush_interval;
    options.backend = backend;
    options
}

/// Backs all memory of the engine with pages, from the core that it will be used from, and says where they are.
fn touch_memory(engine: &mut Engine, core: Option<usize>, log: Log) -> Result<(), StartError> {
    let bytes = engine.footprint().reserved_bytes;
    // The system kills somebody when it has no more pages, rather than refuse them.
    if let Some(available) = memory::available().filter(|&available| bytes > available) {
        return Err(StartError::TooLittleMemory {
            bytes,
            reason: format!("{} are free", tell_bytes(available)),
        });
    }
    let large_before = memory::in_large_pages();
    let node = std::thread::scope(|scope| {
        let touch = || {
            core.map_or(Ok(()), affinity::pin_to).map_err(StartError::Core)?;
            let touched = engine.each_block(memory::touch);
            touched.map_err(|error| StartError::TooLittleMemory { bytes, reason: error.to_string() })?;
            Ok(affinity::node())
        };
        let touching = std::thread::Builder::new().name("tg-touch".into()).spawn_scoped(scope, touch);
        let touched = touching.map_err(StartError::Thread)?.join();
        touched.unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("touching memory panicked"))))
    })?;
    let place = match (affinity::nodes(), node, core) {
        (Some(1), ..) => "the only NUMA node".into(),
        (Some(nodes), Some(node), Some(core)) => format!("NUMA node {node} of {nodes}, that of core {core}"),
        (Some(nodes), Some(node), None) => {
            format!("NUMA node {node} of {nodes}; without [engine] core the engine may run on another")
        }
        _ => "a NUMA node that the system does not tell".into(),
    };
    let large = memory::in_large_pages().zip(large_before).map(|(now, before)| now.saturating_sub(before));
    let large = large.map_or_else(|| "an unknown part".into(), tell_bytes);
    log.info(format_args!("touched {} of the engine, {large} in large pages, on {place}", tell_bytes(bytes)));
    Ok(())
}
