//! What the tests share: an echo server, and a client written by hand against the published layout.

// Each test file is its own program and uses its own part of this.
#![allow(dead_code, unreachable_pub)]

mod wire;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tollgate_ring::*;
pub(crate) use wire::as_bytes;

/// Far longer than anything here takes, so that only a hang reaches it.
pub const LONG: Duration = Duration::from_secs(60);
pub const SCHEMA: [u8; 32] = [7; 32];

pub fn geometry(slot_bytes: u32, capacity: u32) -> Geometry {
    Geometry { slot_bytes, request_capacity: capacity, verdict_capacity: capacity }
}

pub fn server_options(geometry: Geometry) -> ServerOptions {
    ServerOptions {
        geometry,
        schema_hash: SCHEMA,
        allowed_uids: Vec::new(),
        clients_max: 8,
        handshake_timeout: Duration::from_secs(30),
        durable: true,
    }
}

pub fn client_options(geometry: Geometry) -> ClientOptions {
    ClientOptions {
        schema_hash: SCHEMA,
        slot_bytes: geometry.slot_bytes,
        name: "test".into(),
        timeout: LONG,
        durable: false,
    }
}

/// A directory and a socket path in it.
pub fn socket_path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    (directory, path)
}

/// The next connection; refusals on the way are a failure.
pub fn accept(listener: &Listener) -> Connection {
    accept_result(listener).unwrap()
}

/// What the next client comes to.
pub fn accept_result(listener: &Listener) -> Result<Connection, AcceptError> {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        if let Some(connection) = listener.accept()? {
            return Ok(connection);
        }
    }
    panic!("no client came");
}

/// A listener, and one connected pair made within this process.
pub fn pair(geometry: Geometry, first_index: u64) -> (tempfile::TempDir, Listener, Connection, Client) {
    let (directory, path) = socket_path();
    let listener = Listener::bind_from(&path, server_options(geometry), first_index).unwrap();
    let (connection, client) = join(&listener, &path, geometry);
    (directory, listener, connection, client)
}

/// One more connected pair.
pub fn join(listener: &Listener, path: &Path, geometry: Geometry) -> (Connection, Client) {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(path, client_options(geometry)).unwrap());
        (accept(listener), client.join().unwrap())
    })
}

/// Spins, yielding, until the condition holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// The word at place `i` of message `n`; different for every pair.
pub fn word(n: u64, i: usize) -> u64 {
    (n ^ (i as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

/// Writes message `n`, whose length depends on `n`, and returns its length.
pub fn fill(n: u64, words: &mut [u64]) -> usize {
    let len = (n % (words.len() as u64 + 1)) as usize;
    words[..len].iter_mut().enumerate().for_each(|(i, w)| *w = word(n, i));
    len
}

/// The verdict that the echo server gives to a request.
pub fn answer(request: &Request) -> Verdict {
    let sum = request.words().iter().fold(0_u64, |sum, &w| sum.rotate_left(1) ^ w);
    Verdict {
        kind: request.kind,
        flags: request.flags,
        req_id: request.req_id,
        t_intended: request.t_intended,
        payload: [request.len.into(), sum, !sum, request.req_id],
    }
}

/// The verdict that message `n` must get.
pub fn expected(n: u64, request_words: usize) -> Verdict {
    let mut request = Request::new();
    request.len = fill(n, &mut request.payload[..request_words]) as u16;
    request.kind = n as u16;
    request.req_id = n;
    request.t_intended = n << 3;
    answer(&request)
}

/// Serves until told to stop or until the peer is gone; returns the number served.
pub fn echo(mut connection: Connection, stop: &AtomicBool) -> u64 {
    let mut request = Request::new();
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) && !connection.hung_up() {
        let mut burst = 0;
        while burst < 16 && connection.poll(&mut request).unwrap() {
            connection.reply(&answer(&request)).unwrap();
            burst += 1;
        }
        connection.publish();
        served += burst;
        if burst == 0 {
            std::thread::yield_now();
        }
    }
    served
}

/// Sends messages `0..count` and checks every verdict, with as many in flight as there is room for.
pub fn drive(client: &mut Client, count: u64) {
    let mut words = [0; REQUEST_WORDS_MAX];
    let room = client.geometry().request_words();
    let (mut sent, mut received) = (0, 0);
    while received < count {
        let mut idle = true;
        if sent < count {
            let len = fill(sent, &mut words[..room]);
            match client.send(sent as u16, sent, sent << 3, &words[..len]) {
                Ok(()) => (sent, idle) = (sent + 1, false),
                Err(SendError::Busy) => {}
                Err(error) => panic!("{error}"),
            }
        }
        while let Some(verdict) = client.recv().unwrap() {
            assert_eq!(verdict, expected(received, room));
            (received, idle) = (received + 1, false);
        }
        if idle {
            std::thread::yield_now();
        }
    }
    assert_eq!(client.in_flight(), 0);
}

/// The emulator that runs these tests, with its arguments, where there is one: the kernel cannot start a program for
/// another processor by itself.
fn emulator() -> Option<String> {
    std::env::var("TOLLGATE_TEST_RUNNER").ok().filter(|runner| !runner.trim().is_empty())
}

/// Whether an emulator stands between the tests and the kernel. Says what is not tested if so, and why.
pub fn emulated(not_tested: &str) -> bool {
    let emulator = emulator();
    emulator.iter().for_each(|name| println!("SKIPPED in part under {name}: {not_tested}"));
    emulator.is_some()
}

/// This same program, to be run again.
fn this_program() -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let Some(emulator) = emulator() else { return std::process::Command::new(program) };
    let mut words = emulator.split_whitespace();
    let mut command = std::process::Command::new(words.next().unwrap());
    command.args(words).arg(program);
    command
}

/// Runs one test of this same program in another process, with `variable` set to `value`.
pub fn child(test: &str, variable: &str, value: &std::ffi::OsStr) -> std::process::Child {
    this_program()
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// A memory file mapped whole.
pub struct RawMap {
    pub fd: OwnedFd,
    pub base: *mut u8,
    pub bytes: usize,
}

// SAFETY: the mapping is reached only through atomics.
unsafe impl Send for RawMap {}

impl RawMap {
    pub fn new(fd: OwnedFd, protection: i32) -> RawMap {
        let bytes = std::fs::File::from(fd.try_clone().unwrap()).metadata().unwrap().len() as usize;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        RawMap { fd, base: base.cast(), bytes }
    }

    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.bytes);
        // SAFETY: inside the mapping and aligned, as asserted.
        unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref().unwrap() }
    }
}

impl Drop for RawMap {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

/// A client that speaks the protocol by the tables in the documentation and is free to break it.
pub struct RawClient {
    pub socket: OwnedFd,
}

/// The sixteen words of a correct hello.
pub fn hello(slot_bytes: u32) -> [u64; 16] {
    let mut words = wire::message(wire::HELLO);
    words[3] = u64::from(slot_bytes) | 64 << 32;
    words[4..8].fill(u64::from_le_bytes([7; 8]));
    words[12] = layout::LAYOUT_HASH;
    words
}

impl RawClient {
    pub fn connect(path: &Path) -> RawClient {
        RawClient { socket: wire::connect(path).unwrap() }
    }

    pub fn say(&self, bytes: &[u8]) {
        wire::say(&self.socket, bytes).unwrap();
    }

    /// Waits for a message. None: the server closed.
    pub fn hear(&self) -> Option<([u64; 16], Vec<OwnedFd>)> {
        wire::hear(&self.socket).unwrap()
    }

    /// The code and detail of the refusal that must come.
    pub fn refusal(&self) -> (u64, u64) {
        let (words, _) = self.hear().expect("a refusal");
        assert_eq!(words[1] >> 32, 5, "not a refusal");
        (words[2], words[3])
    }

    /// Says hello and maps both files.
    pub fn begin(&self, slot_bytes: u32) -> RawRings {
        self.say(&as_bytes(&hello(slot_bytes)));
        let (welcome, fds) = self.hear().expect("a welcome");
        assert_eq!(welcome[1] >> 32, wire::WELCOME, "not a welcome");
        let [c, s] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        let c = RawMap::new(c, libc::PROT_READ | libc::PROT_WRITE);
        let s = RawMap::new(s, libc::PROT_READ);
        RawRings { c, s, slot_bytes: slot_bytes as usize, capacity: welcome[4] as u32, epoch: welcome[5] }
    }

    pub fn say_mapped(&self, epoch: u64) {
        let mut words = wire::message(wire::MAPPED);
        words[2] = epoch;
        self.say(&as_bytes(&words));
    }
}

/// Both files of a raw client.
pub struct RawRings {
    pub c: RawMap,
    pub s: RawMap,
    pub slot_bytes: usize,
    pub capacity: u32,
    pub epoch: u64,
}

impl RawRings {
    /// Writes request number `index` with the sequence number and length given.
    pub fn put(&self, index: u64, seq: u64, len: u64) {
        let at = 4096 + (index as usize % self.capacity as usize) * self.slot_bytes;
        self.c.word(at + 8).store(1 | len << 16, Ordering::Relaxed);
        self.c.word(at + 16).store(index, Ordering::Relaxed);
        self.c.word(at + 24).store(0, Ordering::Relaxed);
        self.c.word(at).store(seq, Ordering::Release);
    }
}

/// A raw client in service, and its connection.
pub fn raw_pair(listener: &Listener, path: &Path, slot_bytes: u32) -> (Connection, RawClient, RawRings) {
    let path = path.to_path_buf();
    let client = std::thread::spawn(move || {
        let client = RawClient::connect(&path);
        let rings = client.begin(slot_bytes);
        client.say_mapped(rings.epoch);
        let (active, _) = client.hear().unwrap();
        assert_eq!(active[1] >> 32, wire::ACTIVE);
        (client, rings)
    });
    let connection = accept(listener);
    let (client, rings) = client.join().unwrap();
    (connection, client, rings)
}

/// A flag shared with a thread.
pub fn flag() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}
