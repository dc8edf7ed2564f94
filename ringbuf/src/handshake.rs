//! The four messages of the handshake, and descriptors over a socket.
//!
//! Every message is one SEQPACKET datagram of 128 bytes: sixteen little-endian words, unused ones zero. The first two
//! words of every message, and the whole of the refusal, stay as they are in all ABI versions, so that a refusal can
//! always be read.
//!
//! | word | all | hello (client) | welcome (server, with C and S) | mapped (client) | active (server) | refused (server) |
//! |---|---|---|---|---|---|---|
//! | 0 | `TOLLHAND` | | | | | |
//! | 1 | ABI major, minor, type | 1 | 2 | 3 | 4 | 5 |
//! | 2 | | feature bits | feature bits | epoch | epoch | code |
//! | 3 | | slot bytes, verdict slot bytes | slot bytes, verdict slot bytes | | | detail |
//! | 4 | | schema hash | capacities | | | |
//! | 5 | | schema hash | epoch | | | |
//! | 6 | | schema hash | layout hash | | | |
//! | 7 | | schema hash | client id | | | |
//! | 8 | | name | first index | | | |
//! | 9–11 | | name | | | | |
//! | 12 | | layout hash | | | | |
//!
//! The feature bits of the hello are those asked for ([`crate::layout::FEATURE_DURABLE`]), those of the welcome are
//! granted. A server refuses what it does not offer; a client that is welcomed without what it asked for leaves.
//!
//! The client maps both files between welcome and mapped. Only then can the server seal C against new writable mappings
//! and hole punching; it then allocates, populates and locks C once more, because a hole punched before the seal drops
//! even locked pages, compares the header, and answers active.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use thiserror::Error;

use crate::layout::{
    ABI_MAJOR, ABI_MINOR, FEATURE_DURABLE, LAYOUT_HASH, VERDICT_SLOT_BYTES, hash_as_words, pack_meta, pair,
    unpack_meta,
};

/// Words of every message.
pub(crate) const WIRE_WORDS: usize = 16;
const WIRE_BYTES: usize = WIRE_WORDS * 8;
const WIRE_MAGIC: u64 = u64::from_le_bytes(*b"TOLLHAND");

/// Message types, in the upper half of word 1.
pub(crate) const HELLO: u32 = 1;
pub(crate) const WELCOME: u32 = 2;
pub(crate) const MAPPED: u32 = 3;
pub(crate) const ACTIVE: u32 = 4;
pub(crate) const REFUSED: u32 = 5;

/// Bytes of a client's name that travel.
pub(crate) const NAME_BYTES: usize = 32;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) kind: u32,
    /// Words 2 to 15; index with the word's number.
    words: [u64; WIRE_WORDS],
}

impl Message {
    pub(crate) fn new(kind: u32) -> Message {
        Message { major: ABI_MAJOR, minor: ABI_MINOR, kind, words: [0; WIRE_WORDS] }
    }

    pub(crate) fn with(mut self, word: usize, value: u64) -> Message {
        self.words[word] = value;
        self
    }

    pub(crate) fn word(&self, word: usize) -> u64 {
        self.words[word]
    }

    pub(crate) fn low(&self, word: usize) -> u32 {
        self.words[word] as u32
    }

    pub(crate) fn high(&self, word: usize) -> u32 {
        (self.words[word] >> 32) as u32
    }

    pub(crate) fn hello(slot_bytes: u32, schema_hash: &[u8; 32], name: &str) -> Message {
        let mut message =
            Message::new(HELLO).with(3, pair(slot_bytes, VERDICT_SLOT_BYTES)).with(12, LAYOUT_HASH);
        message.words[4..8].copy_from_slice(&hash_as_words(schema_hash));
        let mut bytes = [0; NAME_BYTES];
        let length = name.floor_char_boundary(NAME_BYTES);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        message.words[8..12].copy_from_slice(&hash_as_words(&bytes));
        message
    }

    /// The name in a hello, with anything unprintable replaced: it ends up in logs.
    pub(crate) fn name(&self) -> String {
        let bytes: Vec<u8> = self.words[8..12].iter().flat_map(|w| w.to_le_bytes()).collect();
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }

    pub(crate) fn schema_words(&self) -> [u64; 4] {
        core::array::from_fn(|i| self.words[4 + i])
    }

    pub(crate) fn refusal(refusal: Refusal) -> Message {
        let (code, detail) = refusal.code();
        Message::new(REFUSED).with(2, code).with(3, detail)
    }

    fn encode(&self) -> [u8; WIRE_BYTES] {
        let mut words = self.words;
        words[0] = WIRE_MAGIC;
        words[1] = pack_meta(self.major, self.minor, self.kind);
        let mut bytes = [0; WIRE_BYTES];
        for (to, word) in bytes.chunks_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Message> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if chunks.len() != WIRE_WORDS || !rest.is_empty() {
            return None;
        }
        let mut words: [u64; WIRE_WORDS] = core::array::from_fn(|i| u64::from_le_bytes(chunks[i]));
        let (major, minor, kind) = unpack_meta(words[1]);
        if words[0] != WIRE_MAGIC {
            return None;
        }
        words[..2].fill(0);
        Some(Message { major, minor, kind, words })
    }
}

/// Why the server would not serve a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another major ABI version, or other offsets under the same version.
    #[error(
        "the server speaks ring ABI {major}.{minor}: build the client against that version of the ring library"
    )]
    WrongAbi {
        /// The server's major version.
        major: u16,
        /// The server's minor version.
        minor: u16,
    },
    /// Another request slot size.
    #[error("the server's request slots are {expected} bytes: connect with slot_bytes = {expected}")]
    SlotSize {
        /// The server's slot size.
        expected: u32,
    },
    /// Another meaning of the payload words.
    #[error(
        "the server has another schema (its hash begins {expected_prefix:016x}): regenerate the client's bindings from the \
         server's policy"
    )]
    SchemaHash {
        /// The first eight bytes of the server's schema hash, in order.
        expected_prefix: u64,
    },
    /// The peer's user is not allowed.
    #[error("user {uid} may not connect: add the user to the server's allowed list")]
    NotPermitted {
        /// The user as the server's kernel saw it.
        uid: u32,
    },
    /// No free client place.
    #[error("all {clients_max} client places are taken: close a client or raise the server's limit")]
    TooManyClients {
        /// The server's limit.
        clients_max: u32,
    },
    /// Not a message of this protocol, or not the one expected.
    #[error("the server did not understand a handshake message: is this the ring library on both ends?")]
    BadMessage,
    /// The client did not finish in time.
    #[error("the handshake took longer than the server allows: map and acknowledge the files without delay")]
    TimedOut,
    /// The client's file could not be sealed.
    #[error("the client's memory file could not be sealed: do not add seals to the files received")]
    SealRefused,
    /// The client's file no longer begins with its header.
    #[error("the header of the client's memory file was changed: write only below the header")]
    HeaderAltered,
    /// The server could not get memory or descriptors.
    #[error("the server has no memory or descriptors left for another client: see its log")]
    NoResources,
    /// Something was asked for that the server does not do.
    #[error("the server does not offer {}: enable it there, or connect without it", FeatureNames(*features))]
    NotOffered {
        /// The feature bits asked for and not offered.
        features: u64,
    },
    /// A refusal this version does not know.
    #[error(
        "the server refused with code {code} (detail {detail}), which this client does not know: see its log"
    )]
    Unknown {
        /// The code.
        code: u64,
        /// What came with it.
        detail: u64,
    },
}

/// Feature bits in words, for messages.
pub(crate) struct FeatureNames(pub(crate) u64);

impl fmt::Display for FeatureNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unnamed = self.0 & !FEATURE_DURABLE;
        if self.0 & FEATURE_DURABLE != 0 {
            f.write_str("release of verdicts only when durable")?;
            f.write_str(if unnamed != 0 { " and " } else { "" })?;
        }
        if unnamed != 0 { write!(f, "feature bits {unnamed:#x}") } else { Ok(()) }
    }
}

impl Refusal {
    /// One more than the largest [`Refusal::number`].
    pub const NUMBERS: usize = 12;
    /// Names of the refusals by their number, for counters.
    pub const NAMES: [&'static str; Refusal::NUMBERS] = [
        "unknown",
        "wrong_abi",
        "slot_size",
        "schema_hash",
        "not_permitted",
        "too_many_clients",
        "bad_message",
        "timed_out",
        "seal_refused",
        "header_altered",
        "no_resources",
        "not_offered",
    ];

    /// The code of this refusal in the protocol; 0 for one that this version does not know.
    pub fn number(self) -> usize {
        let (code, _) = self.code();
        usize::try_from(code).ok().filter(|&code| code < Refusal::NUMBERS).unwrap_or(0)
    }

    fn code(self) -> (u64, u64) {
        match self {
            Refusal::WrongAbi { major, minor } => (1, u64::from(major) | u64::from(minor) << 16),
            Refusal::SlotSize { expected } => (2, expected.into()),
            Refusal::SchemaHash { expected_prefix } => (3, expected_prefix),
            Refusal::NotPermitted { uid } => (4, uid.into()),
            Refusal::TooManyClients { clients_max } => (5, clients_max.into()),
            Refusal::BadMessage => (6, 0),
            Refusal::TimedOut => (7, 0),
            Refusal::SealRefused => (8, 0),
            Refusal::HeaderAltered => (9, 0),
            Refusal::NoResources => (10, 0),
            Refusal::NotOffered { features } => (11, features),
            Refusal::Unknown { code, detail } => (code, detail),
        }
    }

    pub(crate) fn from_message(message: &Message) -> Refusal {
        let (code, detail) = (message.word(2), message.word(3));
        match code {
            1 => Refusal::WrongAbi { major: detail as u16, minor: (detail >> 16) as u16 },
            2 => Refusal::SlotSize { expected: detail as u32 },
            3 => Refusal::SchemaHash { expected_prefix: detail },
            4 => Refusal::NotPermitted { uid: detail as u32 },
            5 => Refusal::TooManyClients { clients_max: detail as u32 },
            6 => Refusal::BadMessage,
            7 => Refusal::TimedOut,
            8 => Refusal::SealRefused,
            9 => Refusal::HeaderAltered,
            10 => Refusal::NoResources,
            11 => Refusal::NotOffered { features: detail },
            _ => Refusal::Unknown { code, detail },
        }
    }
}

/// Sends one message, with descriptors if any. Never blocks and raises no signal.
pub(crate) fn send(socket: &OwnedFd, message: &Message, fds: &[&OwnedFd]) -> io::Result<()> {
    let mut bytes = message.encode();
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0_u64; CONTROL_WORDS];
    // SAFETY: a zeroed msghdr is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        assert!(fds.len() <= FDS_MAX);
        let bytes = (fds.len() * size_of::<libc::c_int>()) as u32;
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: `control` is aligned and holds a header and FDS_MAX descriptors, so the first header lies inside it and
        // the descriptors fit behind it.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(bytes) as _;
            let data = libc::CMSG_DATA(first).cast::<libc::c_int>();
            for (i, fd) in fds.iter().enumerate() {
                data.add(i).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: the header names live buffers of the lengths given.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
        if sent == WIRE_BYTES as isize {
            return Ok(());
        }
        let error = if sent < 0 { io::Error::last_os_error() } else { io::ErrorKind::WriteZero.into() };
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Most descriptors in one message.
const FDS_MAX: usize = 2;
/// A control header is 16 bytes on 64-bit systems, 12 on 32-bit ones.
const CONTROL_WORDS: usize = 2 + FDS_MAX;

/// What arrived.
pub(crate) enum Incoming {
    Message(Message),
    /// Bytes that are no message of this protocol.
    Garbage,
    /// The other end is closed.
    Closed,
    /// Nothing yet.
    Nothing,
}

/// Takes one message if there is one. Descriptors go to `fds`; a receiver that expects none gives none a place, and the
/// kernel then closes whatever was sent.
pub(crate) fn receive(socket: &OwnedFd, fds: Option<&mut Vec<OwnedFd>>) -> io::Result<Incoming> {
    // One byte more than a message, so that a longer one is not taken for it.
    let mut bytes = [0_u8; WIRE_BYTES + 1];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0_u64; CONTROL_WORDS];
    // SAFETY: a zeroed msghdr is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    if fds.is_some() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
    }
    let received = loop {
        // SAFETY: the header names live buffers of the lengths given.
        let received = unsafe {
            libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC)
        };
        if received >= 0 {
            break received as usize;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(Incoming::Nothing),
            _ => return Err(error),
        }
    };
    if let Some(fds) = fds {
        // SAFETY: the kernel filled `control` and set its length; the macros walk it within that length, and every
        // descriptor found was installed for us by this call, so each is ours alone.
        unsafe {
            let mut at = libc::CMSG_FIRSTHDR(&header);
            while !at.is_null() {
                if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                    let data = libc::CMSG_DATA(at).cast::<libc::c_int>();
                    let count =
                        ((*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<libc::c_int>();
                    fds.extend((0..count).map(|i| OwnedFd::from_raw_fd(data.add(i).read_unaligned())));
                }
                at = libc::CMSG_NXTHDR(&header, at);
            }
        }
    }
    if received == 0 {
        return Ok(Incoming::Closed);
    }
    Ok(Message::decode(&bytes[..received]).map_or(Incoming::Garbage, Incoming::Message))
}

/// A Unix socket address; the path must fit with its final NUL.
pub(crate) fn address(path: &std::path::Path) -> Option<(libc::sockaddr_un, libc::socklen_t)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: a zeroed sockaddr_un is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        return None;
    }
    address.sun_family = libc::AF_UNIX as _;
    for (to, &from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from as _;
    }
    Some((address, size_of::<libc::sockaddr_un>() as _))
}

/// A SEQPACKET socket that never blocks and is not inherited.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a call without pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Connects; a Unix socket does so at once, or fails with `WouldBlock` while the listener's queue is full.
pub(crate) fn connect(socket: &OwnedFd, path: &std::path::Path) -> io::Result<()> {
    let (address, length) = address(path).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: `address` is a valid sockaddr_un of the length given.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_round_trip(major: u16, minor: u16, kind: u32, value: u64, word in 2..WIRE_WORDS) {
            let message = Message { major, minor, ..Message::new(kind).with(word, value) };
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(message) = Message::decode(&bytes) {
                let _ = (message.name(), Refusal::from_message(&message));
            }
        }

        #[test]
        fn names_are_cut_and_cleaned(name in "\\PC{0,40}") {
            let sent = Message::hello(128, &[0; 32], &name).name();
            prop_assert!(sent.len() <= NAME_BYTES && name.starts_with(&sent));
        }
    }

    #[test]
    fn features_are_named() {
        let told = |features| Refusal::NotOffered { features }.to_string();
        assert!(told(1).contains("offer release of verdicts only when durable: enable"), "{}", told(1));
        assert!(told(6).contains("offer feature bits 0x6: enable"), "{}", told(6));
        assert!(told(5).contains("when durable and feature bits 0x4: enable"), "{}", told(5));
    }

    #[test]
    fn refusals_round_trip() {
        for refusal in [
            Refusal::WrongAbi { major: 3, minor: 9 },
            Refusal::SlotSize { expected: 256 },
            Refusal::SchemaHash { expected_prefix: u64::MAX },
            Refusal::NotPermitted { uid: 1000 },
            Refusal::TooManyClients { clients_max: 4 },
            Refusal::BadMessage,
            Refusal::TimedOut,
            Refusal::SealRefused,
            Refusal::HeaderAltered,
            Refusal::NoResources,
            Refusal::NotOffered { features: u64::MAX },
            Refusal::Unknown { code: 77, detail: 1 },
        ] {
            assert_eq!(Refusal::from_message(&Message::refusal(refusal)), refusal);
        }
    }
}
