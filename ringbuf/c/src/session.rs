//! A client that always has an answer in time: deadline, declared fallback, reconnection. See [`ring::Session`].

use std::ffi::c_char;
use std::path::PathBuf;
use std::time::Duration;

use ring::{
    Answer, ClientOptions, Fallback, Session, SessionCounts, SessionOptions, Silence, Source, SubmitError,
};

use crate::{
    Guarded, Status, check_options, close, copy_text, guard, handle, open, path_and_name, payload, readable,
    tg_ring_status, time_or_now, writable,
};

/// Fallback mode: silence lets the request pass.
pub const TG_RING_FAIL_OPEN: u32 = 1;
/// Fallback mode: silence stops the request.
pub const TG_RING_FAIL_CLOSED: u32 = 2;

/// Source of an answer: the server.
pub const TG_RING_SOURCE_SERVER: u8 = 0;
/// Source of an answer: the fallback, and its mode is fail-open.
pub const TG_RING_SOURCE_FAIL_OPEN: u8 = 1;
/// Source of an answer: the fallback, and its mode is fail-closed.
pub const TG_RING_SOURCE_FAIL_CLOSED: u8 = 2;

/// Silence of an answer: there was none, the server answered.
pub const TG_RING_SILENCE_NONE: u8 = 0;
/// Silence of an answer: no verdict came before the deadline.
pub const TG_RING_SILENCE_DEADLINE: u8 = 1;
/// Silence of an answer: there was no server, and the grace was over.
pub const TG_RING_SILENCE_OUTAGE: u8 = 2;

/// A session. Opaque; one thread at a time.
pub struct tg_ring_session {
    guarded: Guarded<Session>,
}

/// How a session behaves. Fill it with `tg_ring_session_options_init`, then set at least `path`, `deadline_ns` and
/// `fallback_mode`. The texts are copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_ring_session_options {
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
    /// Longest time from the intended send time to an answer.
    pub deadline_ns: u64,
    /// Longest time for one attempt to connect.
    pub connect_timeout_ns: u64,
    /// How long an unanswered request may wait once the connection is known to be lost.
    pub outage_grace_ns: u64,
    /// Least time from one attempt to connect to the next.
    pub reconnect_every_ns: u64,
    /// How often the system is asked whether the server lives.
    pub life_check_every_ns: u64,
    /// Most unanswered requests, a power of two.
    pub in_flight_max: u32,
    /// What silence decides: `TG_RING_FAIL_OPEN` or `TG_RING_FAIL_CLOSED`.
    pub fallback_mode: u32,
    /// Payload of the answer that silence gets.
    pub fallback_payload: [u64; 4],
    /// 1: verdicts only once their decision is durable. 0: at once.
    pub durable: u32,
    /// Zero.
    pub reserved: u32,
}

/// The one answer to a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_ring_answer {
    /// As submitted.
    pub req_id: u64,
    /// As submitted; the time of submission if that was 0.
    pub t_intended_ns: u64,
    /// The verdict's payload, or the one declared for silence.
    pub payload: [u64; 4],
    /// The verdict's flags; 0 in a fallback.
    pub flags: u32,
    /// The verdict's kind; that of the request in a fallback.
    pub kind: u16,
    /// Who decided: `TG_RING_SOURCE_SERVER`, `_FAIL_OPEN` or `_FAIL_CLOSED`.
    pub source: u8,
    /// Why the server did not: `TG_RING_SILENCE_NONE`, `_DEADLINE` or `_OUTAGE`.
    pub silence: u8,
}

/// Fills options with what has a good default. Path, deadline and fallback mode have none.
///
/// # Safety
/// `options` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_options_init(
    options: *mut tg_ring_session_options,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(out) = (unsafe { writable(options) }) else { return Status::BadArgument };
    guard(|| {
        let client = ClientOptions {
            schema_hash: [0; 32],
            slot_bytes: 128,
            name: String::new(),
            timeout: Duration::from_secs(1),
            durable: false,
        };
        let fallback = Fallback::FailClosed { payload: [0; 4] };
        let defaults = SessionOptions::new(PathBuf::new(), client, Duration::ZERO, fallback);
        out.write(tg_ring_session_options {
            struct_bytes: size_of::<tg_ring_session_options>() as u32,
            slot_bytes: defaults.client.slot_bytes,
            path: std::ptr::null(),
            name: std::ptr::null(),
            schema_hash: [0; 32],
            deadline_ns: 0,
            connect_timeout_ns: nanoseconds(defaults.client.timeout),
            outage_grace_ns: nanoseconds(defaults.outage_grace),
            reconnect_every_ns: nanoseconds(defaults.reconnect_every),
            life_check_every_ns: nanoseconds(defaults.life_check_every),
            in_flight_max: defaults.in_flight_max,
            fallback_mode: 0,
            fallback_payload: [0; 4],
            durable: 0,
            reserved: 0,
        });
        Status::Ok
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().min(u64::MAX.into()) as u64
}

/// Opens a session and begins to connect; succeeds whether or not a server listens. On success `*session` is a handle to
/// close with `tg_ring_session_close`; otherwise it is null, and `error` (if not null, of `error_bytes` bytes) says what to
/// change. `now_ns` of 0: the library reads the clock.
///
/// # Safety
/// Each pointer is null or valid for what is said here; texts are NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_open(
    options: *const tg_ring_session_options,
    session: *mut *mut tg_ring_session,
    now_ns: u64,
    error: *mut c_char,
    error_bytes: usize,
) -> tg_ring_status {
    let opened = || {
        // SAFETY: the caller's promise.
        let options = unsafe { checked(options) }.map_err(|why| (Status::BadArgument, why.into()))?;
        let session = Session::open(options, time_or_now(now_ns));
        let session = session.map_err(|why| (Status::BadArgument, why.to_string()))?;
        Ok(tg_ring_session { guarded: Guarded::new(session) })
    };
    // SAFETY: the caller's promise.
    unsafe { open(session, error, error_bytes, opened) }
}

/// # Safety
/// The options are null or readable, and their texts null or NUL-terminated.
unsafe fn checked(given: *const tg_ring_session_options) -> Result<SessionOptions, &'static str> {
    // SAFETY: the caller's promise.
    let given = unsafe { readable(given) }.ok_or("options is null: give the address of a structure")?;
    check_options(size_of_val(given), given.struct_bytes, given.durable, given.reserved)?;
    let fallback = match given.fallback_mode {
        TG_RING_FAIL_OPEN => Fallback::FailOpen { payload: given.fallback_payload },
        TG_RING_FAIL_CLOSED => Fallback::FailClosed { payload: given.fallback_payload },
        _ => return Err("fallback_mode is not set: choose TG_RING_FAIL_OPEN or TG_RING_FAIL_CLOSED"),
    };
    // SAFETY: the caller's promise.
    let (path, name) = unsafe { path_and_name(given.path, given.name) }?;
    let &tg_ring_session_options { schema_hash, slot_bytes, connect_timeout_ns, .. } = given;
    let timeout = Duration::from_nanos(connect_timeout_ns);
    Ok(SessionOptions {
        client: ClientOptions { schema_hash, slot_bytes, name, timeout, durable: given.durable == 1 },
        path,
        in_flight_max: given.in_flight_max,
        deadline: Duration::from_nanos(given.deadline_ns),
        fallback,
        outage_grace: Duration::from_nanos(given.outage_grace_ns),
        reconnect_every: Duration::from_nanos(given.reconnect_every_ns),
        life_check_every: Duration::from_nanos(given.life_check_every_ns),
    })
}

/// Takes a request in; OK means that `tg_ring_session_poll` will give exactly one answer for it. BUSY: too many are
/// unanswered. `t_intended_ns` of 0 means now; `payload` may be null if `payload_words` is 0. `now_ns` of 0: the library
/// reads the clock.
///
/// # Safety
/// `session` is null or an open handle; `payload` has `payload_words` words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_submit(
    session: *mut tg_ring_session,
    kind: u16,
    flags: u32,
    req_id: u64,
    t_intended_ns: u64,
    payload_or_null: *const u64,
    payload_words: usize,
    now_ns: u64,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let (session, words) = unsafe { (handle(session), payload(payload_or_null, payload_words)) };
    let Some(session) = session else { return Status::BadArgument };
    let words = match words {
        Ok(words) => words,
        Err(status) => return status,
    };
    session.guarded.call(|session| {
        match session.submit(kind, flags, req_id, t_intended_ns, words, time_or_now(now_ns)) {
            Ok(()) => Status::Ok,
            Err(SubmitError::Busy) => Status::Busy,
            Err(SubmitError::TooLong { .. }) => Status::TooLong,
        }
    })
}

/// Takes the next answer. OK: `*answer` is written. NOTHING: there is none yet. Call it often: it also connects, sends what
/// waits, and notices the end of a connection. `now_ns` of 0: the library reads the clock.
///
/// # Safety
/// `session` is null or an open handle; `answer` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_poll(
    session: *mut tg_ring_session,
    answer: *mut tg_ring_answer,
    now_ns: u64,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let (session, out) = unsafe { (handle(session), writable(answer)) };
    let (Some(session), Some(out)) = (session, out) else { return Status::BadArgument };
    session.guarded.call(|session| {
        let Some(found) = session.poll(time_or_now(now_ns)) else { return Status::Nothing };
        let Answer { kind, req_id, t_intended, payload, flags, source } = found;
        let (source, silence) = match source {
            Source::Server => (TG_RING_SOURCE_SERVER, None),
            Source::FailOpen(silence) => (TG_RING_SOURCE_FAIL_OPEN, Some(silence)),
            Source::FailClosed(silence) => (TG_RING_SOURCE_FAIL_CLOSED, Some(silence)),
        };
        let silence = match silence {
            None => TG_RING_SILENCE_NONE,
            Some(Silence::Deadline) => TG_RING_SILENCE_DEADLINE,
            Some(Silence::Outage) => TG_RING_SILENCE_OUTAGE,
        };
        let t_intended_ns = t_intended;
        out.write(tg_ring_answer { req_id, t_intended_ns, payload, flags, kind, source, silence });
        Status::Ok
    })
}

/// Sleeps until there may be something to poll for, at most `timeout_ns`. May return early; poll to find out. `now_ns` of 0:
/// the library reads the clock.
///
/// # Safety
/// `session` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_wait(
    session: *mut tg_ring_session,
    timeout_ns: u64,
    now_ns: u64,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(session) = (unsafe { handle(session) }) else { return Status::BadArgument };
    session.guarded.call(|session| {
        session.wait(Duration::from_nanos(timeout_ns), time_or_now(now_ns));
        Status::Ok
    })
}

/// Ends a session; requests without an answer get none. Null is fine. The handle must not be used again.
///
/// # Safety
/// `session` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_close(session: *mut tg_ring_session) {
    // SAFETY: the caller's promise.
    unsafe { close(session) };
}

/// Writes what has happened so far to `*counts`.
///
/// # Safety
/// `session` is null or an open handle; `counts` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_read_counts(
    session: *mut tg_ring_session,
    counts: *mut SessionCounts,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let (session, out) = unsafe { (handle(session), writable(counts)) };
    let (Some(session), Some(out)) = (session, out) else { return Status::BadArgument };
    session.guarded.call(|session| {
        out.write(session.counts());
        Status::Ok
    })
}

/// Whether there is a connection, as far as is known without asking the system. False for null.
///
/// # Safety
/// `session` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_is_connected(session: *mut tg_ring_session) -> bool {
    // SAFETY: the caller's promise.
    let session = unsafe { handle(session) };
    session.is_some_and(|session| !session.guarded.failed && session.guarded.inner.is_connected())
}

/// Requests submitted that have no answer yet. 0 for null.
///
/// # Safety
/// `session` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_in_flight(session: *mut tg_ring_session) -> u32 {
    // SAFETY: the caller's promise.
    let session = unsafe { handle(session) };
    session.map_or(0, |session| session.guarded.inner.in_flight())
}

/// Requests that the server has not answered, those settled by fallback included: keep polling until it is 0 if the server
/// is to hear of everything. 0 for null.
///
/// # Safety
/// `session` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_unheard(session: *mut tg_ring_session) -> u32 {
    // SAFETY: the caller's promise.
    let session = unsafe { handle(session) };
    session.map_or(0, |session| session.guarded.inner.unheard())
}

/// Copies why the last attempt to connect failed to `error`, of `error_bytes` bytes. NOTHING: it did not; the text is then
/// empty.
///
/// # Safety
/// `session` is null or an open handle; `error` is null or may be written for `error_bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_last_error(
    session: *mut tg_ring_session,
    error: *mut c_char,
    error_bytes: usize,
) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(session) = (unsafe { handle(session) }) else { return Status::BadArgument };
    if error.is_null() || error_bytes == 0 {
        return Status::BadArgument;
    }
    session.guarded.call(|session| {
        let found = session.last_error();
        // SAFETY: not null; the caller's promise.
        unsafe {
            match found {
                Some(found) => copy_text(found, error, error_bytes),
                None => copy_text(&"", error, error_bytes),
            }
        }
        if found.is_some() { Status::Ok } else { Status::Nothing }
    })
}

/// Why the last connection ended: SERVER_GONE, QUARANTINED or CORRUPT. NOTHING: none has ended.
///
/// # Safety
/// `session` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_ring_session_last_closed(session: *mut tg_ring_session) -> tg_ring_status {
    // SAFETY: the caller's promise.
    let Some(session) = (unsafe { handle(session) }) else { return Status::BadArgument };
    session.guarded.call(|session| session.last_closed().map_or(Status::Nothing, Status::from))
}
