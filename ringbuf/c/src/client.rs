//! The bare connection: no deadline, no fallback, no second connection. See [`ring::Client`].

use std::ffi::c_char;
use std::path::PathBuf;
use std::time::Duration;

use ring::{Client, ClientOptions, Geometry, Receiver, Sender, Verdict};

use crate::{
    Guarded, Status, check_options, close, handle, open, path_and_name, payload, readable, tg_ring_status,
    writable,
};

/// One connection. Opaque; one thread at a time.
pub struct tg_ring_client {
    guarded: Guarded<Ends>,
    client_id: u32,
    geometry: Geometry,
}

struct Ends {
    sender: Sender,
    receiver: Receiver,
}

/// What a connection asks for. Fill it with `tg_ring_client_options_init`, then set `path`. The texts are copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_ring_client_options {
    /// Size of this structure, set by init.
    pub struct_bytes: u32,
    /// Request slot size, as the server's: 128, 256 or 512.
    pub slot_bytes: u32,
    /// The server's socket, 1 to 107 bytes.
    pub path: *const c_char,
    /// A name for the server's log, or null; 32 bytes travel.
    pub name: *const c_char,
    /// What the payload words mean; must equal the server's.
    pub schema_hash: [u8; 32],
    /// Longest time to connect.
    pub timeout_ns: u64,
    /// 1: verdicts only once their decision is durable. 0: at once.
    pub durable: u32,
    /// Zero.
    pub reserved: u32,
}

/// A verdict.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_ring_verdict {
    /// The request it answers.
    pub req_id: u64,
    /// The request's intended send time.
    pub t_intended_ns: u64,
    /// What was decided.
    pub payload: [u64; 4],
    /// Flags.
    pub flags: u32,
    /// Kind.
    pub kind: u16,
    /// Zero.
    pub reserved: u16,
}

/// Fills options with what has a good default. The path has none.
///
/// # Safety
/// `options` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_options_init(options: *mut tg_ring_client_options) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(out) = (unsafe { writable(options) }) else { return Status::BadArgument };
    out.write(tg_ring_client_options {
        struct_bytes: size_of::<tg_ring_client_options>() as u32,
        slot_bytes: 128,
        path: std::ptr::null(),
        name: std::ptr::null(),
        schema_hash: [0; 32],
        timeout_ns: 1_000_000_000,
        durable: 0,
        reserved: 0,
    });
    Status::Ok
}

/// Connects; blocks for `timeout_ns` of the options at most. On success `*client` is a handle to close with
/// `tg_ring_client_close`; otherwise it is null, and `error` (if not null, of `error_bytes` bytes) says why.
///
/// # Safety
/// Each pointer is null or valid for what is said here; texts are NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_connect(
    options: *const tg_ring_client_options,
    client: *mut *mut tg_ring_client,
    error: *mut c_char,
    error_bytes: usize,
) -> tg_ring_status {
    let connect = || {
        // SAFETY: the caller's promise.
        let (path, asked) = unsafe { checked(options) }.map_err(|why| (Status::BadArgument, why.into()))?;
        let client = Client::connect(&path, asked).map_err(|why| (Status::NotConnected, why.to_string()))?;
        let (client_id, geometry) = (client.client_id(), client.geometry());
        let (sender, receiver) = client.split();
        Ok(tg_ring_client { guarded: Guarded::new(Ends { sender, receiver }), client_id, geometry })
    };
    // SAFETY: the caller's promise.
    unsafe { open(client, error, error_bytes, connect) }
}

/// # Safety
/// The options are null or readable, and their texts null or NUL-terminated.
unsafe fn checked(given: *const tg_ring_client_options) -> Result<(PathBuf, ClientOptions), &'static str> {
    // SAFETY: the caller's promise.
    let given = unsafe { readable(given) }.ok_or("options is null: give the address of a structure")?;
    check_options(size_of_val(given), given.struct_bytes, given.durable, given.reserved)?;
    // SAFETY: the caller's promise.
    let (path, name) = unsafe { path_and_name(given.path, given.name) }?;
    let &tg_ring_client_options { schema_hash, slot_bytes, timeout_ns, .. } = given;
    let timeout = Duration::from_nanos(timeout_ns);
    Ok((path, ClientOptions { schema_hash, slot_bytes, name, timeout, durable: given.durable == 1 }))
}

/// Sends one request. BUSY: the ring is full, or as many requests are in flight as the server has verdict slots.
/// `payload` may be null if `payload_words` is 0.
///
/// # Safety
/// `client` is null or an open handle; `payload` has `payload_words` words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_send(
    client: *mut tg_ring_client,
    kind: u16,
    flags: u32,
    req_id: u64,
    t_intended_ns: u64,
    payload_or_null: *const u64,
    payload_words: usize,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let (client, words) = unsafe { (handle(client), payload(payload_or_null, payload_words)) };
    let Some(client) = client else { return Status::BadArgument };
    let words = match words {
        Ok(words) => words,
        Err(status) => return status,
    };
    client.guarded.call(|ends| {
        let sent = ends.sender.send_with_flags(kind, flags, req_id, t_intended_ns, words);
        sent.map_or_else(Status::from, |()| Status::Ok)
    })
}

/// Takes the next verdict. OK: `*verdict` is written. NOTHING: there is none yet. Makes no system call, so it does not
/// notice a server that died without a word; `tg_ring_client_wait` and `tg_ring_client_is_alive` do.
///
/// # Safety
/// `client` is null or an open handle; `verdict` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_recv(
    client: *mut tg_ring_client,
    verdict: *mut tg_ring_verdict,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let (client, out) = unsafe { (handle(client), writable(verdict)) };
    let (Some(client), Some(out)) = (client, out) else { return Status::BadArgument };
    client.guarded.call(|ends| match ends.receiver.recv() {
        Ok(Some(Verdict { kind, flags, req_id, t_intended, payload })) => {
            let t_intended_ns = t_intended;
            out.write(tg_ring_verdict { req_id, t_intended_ns, payload, flags, kind, reserved: 0 });
            Status::Ok
        }
        Ok(None) => Status::Nothing,
        Err(closed) => closed.into(),
    })
}

/// Sleeps until there is a verdict to receive, at most `timeout_ns`. OK: receive. NOTHING: the time is over. Notices the
/// server's death within 50 ms.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_wait(client: *mut tg_ring_client, timeout_ns: u64) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(client) = (unsafe { handle(client) }) else { return Status::BadArgument };
    client.guarded.call(|ends| match ends.receiver.wait(Duration::from_nanos(timeout_ns)) {
        Ok(true) => Status::Ok,
        Ok(false) => Status::Nothing,
        Err(closed) => closed.into(),
    })
}

/// Requests sent whose verdict has not been received. 0 for null.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_in_flight(client: *mut tg_ring_client) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { handle(client) }.map_or(0, |client| client.guarded.inner.sender.in_flight())
}

/// Asks the system whether the server is still there. One system call. False for null.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_is_alive(client: *mut tg_ring_client) -> bool {
    // SAFETY: the caller's promise.
    let Some(client) = (unsafe { handle(client) }) else { return false };
    let alive = |ends: &mut Ends| if ends.sender.is_alive() { Status::Ok } else { Status::ServerGone };
    client.guarded.call(alive) == Status::Ok
}

/// Tells the server that this client is at work.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_heartbeat(
    client: *mut tg_ring_client,
    now_ns: u64,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(client) = (unsafe { handle(client) }) else { return Status::BadArgument };
    client.guarded.call(|ends| {
        ends.sender.heartbeat(crate::time_or_now(now_ns));
        Status::Ok
    })
}

/// The number the server knows this client by. 0 for null.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_id(client: *mut tg_ring_client) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { handle(client) }.map_or(0, |client| client.client_id)
}

/// Verdict slots: the most requests in flight. 0 for null.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_in_flight_max(client: *mut tg_ring_client) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { handle(client) }.map_or(0, |client| client.geometry.verdict_capacity)
}

/// Ends a connection. Null is fine. The handle must not be used again.
///
/// # Safety
/// `client` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_client_close(client: *mut tg_ring_client) {
    // SAFETY: the caller's promise.
    unsafe { close(client) };
}
