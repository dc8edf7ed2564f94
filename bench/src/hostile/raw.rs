//! A client that speaks the ring's protocol by its published tables only, and so is free to break it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, ensure};
use tollgate_ring::Geometry;
use tollgate_ring::layout::{LAYOUT_HASH, VERDICT_SLOT_BYTES};

use crate::memory::Memory;

/// Both files of one connection, mapped; or private memory of the same sizes, which nobody else sees.
pub(crate) struct Rings {
    c: Memory,
    s: Memory,
    /// Closing it ends the connection.
    _socket: Option<OwnedFd>,
}

/// Words of every message of the handshake.
const WORDS: usize = 16;
const MESSAGE_BYTES: usize = WORDS * 8;
const MAGIC: u64 = u64::from_le_bytes(*b"TOLLHAND");
/// Message types.
const HELLO: u64 = 1;
const WELCOME: u64 = 2;
const MAPPED: u64 = 3;
const ACTIVE: u64 = 4;
/// Longest wait for one message.
const PATIENCE_S: libc::time_t = 10;

impl Rings {
    /// Connects, maps both files and is in service.
    pub(crate) fn connect(path: &Path, slot_bytes: usize) -> Result<Self> {
        let socket = connected(path).with_context(|| format!("connecting to {}", path.display()))?;
        let mut hello = message(HELLO);
        hello[3] = slot_bytes as u64 | u64::from(VERDICT_SLOT_BYTES) << 32;
        hello[12] = LAYOUT_HASH;
        say(&socket, &hello)?;
        let (welcome, fds) = hear(&socket)?;
        ensure!(welcome[1] >> 32 == WELCOME, "the server refused the neighbour: code {}", welcome[2]);
        let [c, s] = <[OwnedFd; 2]>::try_from(fds).ok().context("a welcome with two files")?;
        let (c, s) = (Memory::open(c)?, Memory::open_to_read(s)?);
        let mut mapped = message(MAPPED);
        mapped[2] = welcome[5];
        say(&socket, &mapped)?;
        let (active, _) = hear(&socket)?;
        ensure!(active[1] >> 32 == ACTIVE, "the server refused the neighbour: code {}", active[2]);
        Ok(Self { c, s, _socket: Some(socket) })
    }

    /// Memory of these sizes and no connection.
    pub(crate) fn private(geometry: Geometry) -> Result<Self> {
        Ok(Self { c: Memory::new(geometry.c_bytes())?, s: Memory::new(geometry.s_bytes())?, _socket: None })
    }

    /// The same connection, with private memory instead of its files: the server never hears from it.
    pub(crate) fn aside(self, geometry: Geometry) -> Result<Self> {
        Ok(Self { _socket: self._socket, ..Self::private(geometry)? })
    }

    /// The client's file.
    #[inline(always)]
    pub(crate) fn c(&self) -> &[AtomicU64] {
        self.c.words()
    }

    /// The server's file, to be read only.
    #[inline(always)]
    pub(crate) fn s(&self) -> &[AtomicU64] {
        self.s.words()
    }
}

fn message(kind: u64) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = MAGIC;
    words[1] = 1 | kind << 32;
    words
}

/// A connected socket whose waits end.
fn connected(path: &Path) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: a call without pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let patience = libc::timeval { tv_sec: PATIENCE_S, tv_usec: 0 };
    // SAFETY: a live value of the size given.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of_val(&patience) as libc::socklen_t,
        )
    };
    // SAFETY: a zeroed sockaddr_un is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let bytes = path.as_os_str().as_bytes();
    if set != 0 || bytes.len() >= address.sun_path.len() {
        return Err(if set != 0 {
            io::Error::last_os_error()
        } else {
            io::ErrorKind::InvalidFilename.into()
        });
    }
    address.sun_family = libc::AF_UNIX as _;
    for (to, &from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from as _;
    }
    // SAFETY: a valid address of the length given.
    let result =
        unsafe { libc::connect(fd, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

fn say(socket: &OwnedFd, words: &[u64; WORDS]) -> Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // SAFETY: a live buffer of the length given.
    let sent =
        unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    ensure!(sent == bytes.len() as isize, "the neighbour's handshake: {}", io::Error::last_os_error());
    Ok(())
}

/// The next message and the descriptors that came with it.
fn hear(socket: &OwnedFd) -> Result<([u64; WORDS], Vec<OwnedFd>)> {
    let mut bytes = [0_u8; MESSAGE_BYTES];
    let mut control = [0_u64; 8];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a zeroed msghdr is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header names live buffers of the lengths given.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
    ensure!(
        received == MESSAGE_BYTES as isize,
        "the neighbour's handshake: {received} bytes instead of a message ({})",
        io::Error::last_os_error()
    );
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
    let (chunks, _) = bytes.as_chunks::<8>();
    Ok((core::array::from_fn(|i| u64::from_le_bytes(chunks[i])), fds))
}
