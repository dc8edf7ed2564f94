//! The handshake's messages over its socket, by the tables of docs/RING.md and without the library: for clients that are
//! free to break the protocol. Those of these tests use it, and the hostile neighbour of `tollgate-bench`, which includes
//! this file.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Words of every message.
pub(crate) const WORDS: usize = 16;
const MESSAGE_BYTES: usize = WORDS * 8;
/// Message types.
pub(crate) const HELLO: u64 = 1;
pub(crate) const WELCOME: u64 = 2;
pub(crate) const MAPPED: u64 = 3;
pub(crate) const ACTIVE: u64 = 4;
/// Longest wait for one message.
const PATIENCE_S: libc::time_t = 60;

/// A message of this type with nothing in it.
pub(crate) fn message(kind: u64) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = u64::from_le_bytes(*b"TOLLHAND");
    words[1] = 1 | kind << 32;
    words
}

pub(crate) fn as_bytes(words: &[u64; WORDS]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A connected socket whose waits end.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    // SAFETY: a call without pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a zeroed sockaddr_un is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    address.sun_family = libc::AF_UNIX as _;
    for (to, &from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from as _;
    }
    let patience = libc::timeval { tv_sec: PATIENCE_S, tv_usec: 0 };
    let (patience_bytes, address_bytes) = (size_of_val(&patience) as _, size_of_val(&address) as _);
    // SAFETY: live values of the sizes given.
    let failed = unsafe {
        let patience = (&raw const patience).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, patience, patience_bytes) != 0
            || libc::connect(fd, (&raw const address).cast(), address_bytes) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Sends these bytes as one message, whatever they are.
pub(crate) fn say(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: a live buffer of the length given.
    let sent =
        unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if sent == bytes.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next message and the descriptors that came with it. None: the server closed.
pub(crate) fn hear(socket: &OwnedFd) -> io::Result<Option<([u64; WORDS], Vec<OwnedFd>)>> {
    let mut bytes = [0_u8; MESSAGE_BYTES];
    let mut control = [0_u64; 8];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a zeroed msghdr is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let mut receive = || {
        // SAFETY: the header names live buffers of the lengths given.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
        if received < 0 { Err(io::Error::last_os_error()) } else { Ok(received as usize) }
    };
    let received = match receive() {
        // Once, because the server closed with something unread; its last words follow.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => receive()?,
        received => received?,
    };
    match received {
        0 => return Ok(None),
        MESSAGE_BYTES => {}
        other => return Err(io::Error::other(format!("a message of {other} bytes"))),
    }
    let mut fds = Vec::new();
    // SAFETY: the kernel filled `control`; each descriptor found was installed for us by this call.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&header);
        if !first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS {
            let count = ((*first).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<libc::c_int>();
            let data = libc::CMSG_DATA(first).cast::<libc::c_int>();
            fds.extend((0..count).map(|i| OwnedFd::from_raw_fd(data.add(i).read_unaligned())));
        }
    }
    let (words, _) = bytes.as_chunks::<8>();
    Ok(Some((core::array::from_fn(|i| u64::from_le_bytes(words[i])), fds)))
}
