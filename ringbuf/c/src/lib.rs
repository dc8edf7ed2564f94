//! The C interface of the ring, as `libtollgate_ring.so` and `libtollgate_ring.a`.
//!
//! `include/tollgate_ring.h` is generated from these files by a test, so what is documented here is what C programmers
//! read. A switch uses a session ([`session`]); [`client`] is the bare connection below it; [`layout`] holds the numbers
//! for those who implement the ring themselves.
//!
//! Rules for all of it: a handle is opaque, belongs to one thread at a time, and is ended by its `close`. Times are
//! nanoseconds of `CLOCK_MONOTONIC`. A null or impossible argument is answered by a status. A panic is caught, answered by
//! a status, and its handle answers so from then on.

// The names are those that C sees.
#![allow(non_camel_case_types)]

pub mod client;
pub mod layout;
pub mod session;

use std::ffi::{CStr, OsStr, c_char};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ring::{Closed, REQUEST_WORDS_MAX, SendError};

/// Version of this interface. It changes when a function or a structure does. Give it to `tg_ring_check`.
pub const TG_RING_C_VERSION: u32 = 1;

/// Bytes that always suffice for an error text with its final NUL.
pub const TG_RING_ERROR_BYTES: u32 = 512;

/// Longest path or name looked at.
const TEXT_BYTES_MAX: usize = 4096;

/// What a call came to. From -5 downwards the connection or the handle has ended; otherwise it is well. The values stay as
/// they are; later versions may add some.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tg_ring_status {
    /// Done.
    Ok = 0,
    /// There is nothing yet; not an error.
    Nothing = 1,
    /// No room: take answers and try again, or decide without the server.
    Busy = 2,
    /// An argument is null, misaligned or impossible.
    BadArgument = -1,
    /// The payload does not fit in a slot.
    TooLong = -2,
    /// The program was built against another version of this library.
    WrongVersion = -3,
    /// No connection could be made; the error text says why.
    NotConnected = -4,
    /// The server has gone or has closed the connection.
    ServerGone = -5,
    /// The server has put this client in quarantine.
    Quarantined = -6,
    /// The server's memory holds impossible values.
    Corrupt = -7,
    /// The library failed within, now or earlier on this handle. Close the handle.
    Panicked = -8,
}

use tg_ring_status as Status;

/// The status in words, in English. Never null; static, not to be freed. Any number may be asked about.
#[unsafe(no_mangle)]
pub extern "C" fn tg_ring_status_text(status: i32) -> *const c_char {
    let known = [
        (Status::Ok, c"done"),
        (Status::Nothing, c"nothing yet: try again later"),
        (Status::Busy, c"busy: take answers and try again, or decide without the server"),
        (Status::BadArgument, c"an argument is null, misaligned or impossible: see the header"),
        (Status::TooLong, c"the payload does not fit in a slot: use a larger slot size on both ends"),
        (Status::WrongVersion, c"built against another version of this library: build again with its header"),
        (Status::NotConnected, c"not connected: see the error text"),
        (Status::ServerGone, c"the server has gone or closed the connection: connect again"),
        (Status::Quarantined, c"the server has put this client in quarantine: see the server's log"),
        (
            Status::Corrupt,
            c"the server's memory holds impossible values: connect again and report its version",
        ),
        (Status::Panicked, c"the library failed within: close the handle and report it"),
    ];
    let found = known.into_iter().find(|(known, _)| *known as i32 == status);
    found.map_or(c"not a status of this library", |(_, text)| text).as_ptr()
}

/// Whether this library is the one the program was built for. Call it once, with `TG_RING_C_VERSION` and
/// `TG_RING_LAYOUT_HASH` of the header; anything but OK: build again with the library's own header.
#[unsafe(no_mangle)]
pub extern "C" fn tg_ring_check(c_version: u32, layout_hash: u64) -> tg_ring_status {
    if c_version == TG_RING_C_VERSION && layout_hash == layout::TG_RING_LAYOUT_HASH {
        Status::Ok
    } else {
        Status::WrongVersion
    }
}

/// The clock of this interface: `CLOCK_MONOTONIC` in nanoseconds.
#[unsafe(no_mangle)]
pub extern "C" fn tg_ring_monotonic_ns() -> u64 {
    ring::monotonic_ns()
}

/// A time given by the caller; 0 asks this library to read the clock.
fn time_or_now(now_ns: u64) -> u64 {
    if now_ns == 0 { ring::monotonic_ns() } else { now_ns }
}

/// What a handle points to. Once a call has panicked, none of the others is tried.
pub(crate) struct Guarded<T> {
    inner: T,
    failed: bool,
}

impl<T> Guarded<T> {
    fn new(inner: T) -> Guarded<T> {
        Guarded { inner, failed: false }
    }

    fn call(&mut self, body: impl FnOnce(&mut T) -> Status) -> Status {
        if self.failed {
            return Status::Panicked;
        }
        let status = guard(|| body(&mut self.inner));
        self.failed = status == Status::Panicked;
        status
    }
}

/// Keeps a panic on this side.
fn guard(body: impl FnOnce() -> Status) -> Status {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Status::Panicked)
}

/// Makes a handle. It is null until it is there; `error` says why it is not, and is empty otherwise.
///
/// # Safety
/// `to` and `error` are null or may be written, `error` for `error_bytes` bytes.
unsafe fn open<H>(
    to: *mut *mut H,
    error: *mut c_char,
    error_bytes: usize,
    body: impl FnOnce() -> Result<H, (Status, String)>,
) -> Status {
    // SAFETY: the caller's promise.
    let Some(to) = (unsafe { writable(to) }) else { return Status::BadArgument };
    let to = to.write(std::ptr::null_mut());
    guard(|| {
        let (opened, status, message) = match body() {
            Ok(opened) => (Box::into_raw(Box::new(opened)), Status::Ok, String::new()),
            Err((status, message)) => (std::ptr::null_mut(), status, message),
        };
        *to = opened;
        // SAFETY: the caller's promise.
        unsafe { copy_text(&message, error, error_bytes) };
        status
    })
}

/// Ends a handle; null is fine.
///
/// # Safety
/// A pointer that is not null must be a handle of [`open`], and is given up.
unsafe fn close<H>(handle: *mut H) {
    if !handle.is_null() {
        guard(|| {
            // SAFETY: made by `Box::into_raw` in `open`; the rest is the caller's promise.
            drop(unsafe { Box::from_raw(handle) });
            Status::Ok
        });
    }
}

impl From<Closed> for Status {
    fn from(closed: Closed) -> Status {
        match closed {
            Closed::ServerGone => Status::ServerGone,
            Closed::Quarantined => Status::Quarantined,
            Closed::Corrupt => Status::Corrupt,
        }
    }
}

impl From<SendError> for Status {
    fn from(error: SendError) -> Status {
        match error {
            SendError::Busy => Status::Busy,
            SendError::TooLong { .. } => Status::TooLong,
            SendError::Closed(closed) => closed.into(),
        }
    }
}

/// Where a value goes, if the pointer can be one. A null or misaligned pointer is a bad argument.
///
/// # Safety
/// A pointer that is neither must be valid for writes of a `T` for as long as the result lives.
unsafe fn writable<'a, T>(pointer: *mut T) -> Option<&'a mut std::mem::MaybeUninit<T>> {
    let pointer = pointer.cast::<std::mem::MaybeUninit<T>>();
    // SAFETY: not null and aligned; the rest is the caller's promise.
    if pointer.is_aligned() { unsafe { pointer.as_mut() } } else { None }
}

/// A value given by pointer.
///
/// # Safety
/// A pointer that is neither null nor misaligned must be valid for reads of a `T`, and no one may write it meanwhile.
unsafe fn readable<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: not null and aligned; the rest is the caller's promise.
    if pointer.is_aligned() { unsafe { pointer.as_ref() } } else { None }
}

/// A handle given by pointer.
///
/// # Safety
/// A pointer that is not null must be a handle that is not closed and that no other thread uses.
unsafe fn handle<'a, T>(pointer: *mut T) -> Option<&'a mut T> {
    // SAFETY: not null and aligned; the rest is the caller's promise.
    if pointer.is_aligned() { unsafe { pointer.as_mut() } } else { None }
}

/// The words of a payload; null is fine for none.
///
/// # Safety
/// Unless `count` is 0 or too large, or `words` is null or misaligned, there are `count` words to read.
unsafe fn payload<'a>(words: *const u64, count: usize) -> Result<&'a [u64], Status> {
    match count {
        0 => Ok(&[]),
        _ if count > REQUEST_WORDS_MAX => Err(Status::TooLong),
        _ if words.is_null() || !words.is_aligned() => Err(Status::BadArgument),
        // SAFETY: not null and aligned, and the number is small; the rest is the caller's promise.
        _ => Ok(unsafe { std::slice::from_raw_parts(words, count) }),
    }
}

/// A NUL-terminated text of bounded length; null is the empty one. None: it does not end.
///
/// # Safety
/// A pointer that is not null must be to a NUL-terminated string.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return Some(b"");
    }
    // SAFETY: reads up to the NUL, or less.
    let length = unsafe { libc::strnlen(text, TEXT_BYTES_MAX) };
    if length == TEXT_BYTES_MAX {
        return None;
    }
    // SAFETY: `strnlen` has just read a NUL behind these bytes.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A path and a name out of options.
///
/// # Safety
/// Each is null or to a NUL-terminated string.
unsafe fn path_and_name(path: *const c_char, name: *const c_char) -> Result<(PathBuf, String), &'static str> {
    // SAFETY: the caller's promise.
    let (Some(path), Some(name)) = (unsafe { (text(path), text(name)) }) else {
        return Err("path or name does not end: use NUL-terminated texts below 4096 bytes");
    };
    Ok((OsStr::from_bytes(path).into(), String::from_utf8_lossy(name).into_owned()))
}

/// Looks at the fields that all options have.
fn check_options(size: usize, struct_bytes: u32, durable: u32, reserved: u32) -> Result<(), &'static str> {
    if struct_bytes as usize != size {
        return Err("struct_bytes is wrong: call the init function of this library's header");
    }
    if durable > 1 || reserved != 0 {
        return Err("durable must be 0 or 1, and reserved 0");
    }
    Ok(())
}

/// Copies a text out, cut to fit with its NUL, at a character's edge.
///
/// # Safety
/// `to` is null, or may be written for `bytes` bytes.
unsafe fn copy_text(message: &dyn Display, to: *mut c_char, bytes: usize) {
    if to.is_null() || bytes == 0 {
        return;
    }
    let message = message.to_string();
    let length = message.floor_char_boundary(bytes - 1);
    // SAFETY: `length` is less than `bytes`, which the caller owns, so that the NUL fits too.
    unsafe {
        to.cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), length);
        to.add(length).write(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_words_and_other_numbers_too() {
        let text = |status| {
            // SAFETY: a static NUL-terminated text.
            unsafe { CStr::from_ptr(tg_ring_status_text(status)) }.to_str().unwrap()
        };
        let unknown = text(i32::MAX);
        for status in -8..=2 {
            assert_ne!(text(status), unknown, "{status}");
        }
        for status in [i32::MIN, -9, 3] {
            assert_eq!(text(status), unknown);
        }
    }

    #[test]
    fn a_panic_is_a_status_and_ends_the_handle() {
        let mut handle = Guarded::new(());
        assert_eq!(handle.call(|()| Status::Busy), Status::Busy);
        assert_eq!(handle.call(|()| panic!("expected, by the test")), Status::Panicked);
        assert_eq!(handle.call(|()| Status::Ok), Status::Panicked);
    }

    #[test]
    fn texts_are_cut_to_fit() {
        let mut buffer = [1 as c_char; 8];
        // SAFETY: of the length given.
        unsafe { copy_text(&"ab\u{e9}d", buffer.as_mut_ptr(), 4) };
        assert_eq!(buffer, [b'a' as c_char, b'b' as c_char, 0, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn another_version_or_layout_is_told() {
        assert_eq!(tg_ring_check(TG_RING_C_VERSION, ring::layout::LAYOUT_HASH), Status::Ok);
        assert_eq!(tg_ring_check(TG_RING_C_VERSION + 1, ring::layout::LAYOUT_HASH), Status::WrongVersion);
        assert_eq!(tg_ring_check(TG_RING_C_VERSION, 0), Status::WrongVersion);
    }
}
