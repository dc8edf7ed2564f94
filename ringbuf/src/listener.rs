//! The server's cold side: the socket, and handshakes driven side by side so that a silent client delays nobody.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::handshake::{self, ACTIVE, HELLO, Incoming, MAPPED, Message, Refusal, WELCOME};
use crate::layout::{
    ABI_MAJOR, ABI_MINOR, FEATURE_DURABLE, Geometry, GeometryError, HEADER_WORDS, Header, LAYOUT_HASH,
    ROLE_C, ROLE_S, SLOT_HEADER_WORDS, VERDICT_SLOT_BYTES, VERDICT_WORDS, hash_as_words, pair,
};
use crate::memory::{self, ReadMap, SEALS_ALL, SEALS_SIZE, WriteMap};
use crate::server::{Connection, Principal};
use crate::wait::monotonic_ns;
use crate::watch::{Life, Watcher, poll_fds};

/// Handshakes under way at once. Further clients wait in the socket's queue.
const PENDING_MAX: usize = 64;
/// How long [`Listener::accept`] waits before it reports that nothing happened.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// How a [`Listener`] serves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Ring sizes, the same for every client.
    pub geometry: Geometry,
    /// What the payload words mean. A client with another hash is refused.
    pub schema_hash: [u8; 32],
    /// Users that may connect. Empty: this process's own user and root.
    pub allowed_uids: Vec<u32>,
    /// Most clients at once.
    pub clients_max: u32,
    /// Longest time from connecting to being served.
    pub handshake_timeout: Duration,
    /// Whether clients may ask that verdicts be released only when what they answer is durable. The server then calls
    /// [`Connection::reply_when`] and [`Connection::release_verdicts`].
    pub durable: bool,
}

/// Why a listener could not be made.
#[derive(Debug, Error)]
pub enum BindError {
    /// Impossible ring sizes.
    #[error("ring geometry: {0}")]
    Geometry(#[from] GeometryError),
    /// The path does not fit in a socket address.
    #[error("{0} cannot be a socket's path: use 1 to 107 bytes")]
    Path(PathBuf),
    /// Another server is there.
    #[error("another server is listening on {0}: stop it, or choose another path")]
    InUse(PathBuf),
    /// Something that is not a socket is there.
    #[error("{0} exists and is not a socket: move it away, or choose another path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {path}: {source}")]
    Io {
        /// The path asked for.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why no connection came of a client, or of waiting for one.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// A client was refused and told so. The listener goes on.
    #[error("client of process {pid}, user {uid} refused: {refusal}")]
    Refused {
        /// The peer's process.
        pid: i32,
        /// The peer's user.
        uid: u32,
        /// What it was told.
        refusal: Refusal,
    },
    /// A client went away during its handshake. The listener goes on.
    #[error("client of process {pid}, user {uid} went away during its handshake")]
    WentAway {
        /// The peer's process.
        pid: i32,
        /// The peer's user.
        uid: u32,
    },
    /// The listening socket failed.
    #[error("cannot accept clients: {0}")]
    Io(#[from] io::Error),
}

/// What a [`Listener`] has counted since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// Clients taken into service.
    pub accepted: u64,
    /// Of these, those whose rings could not be locked in memory.
    pub unlocked: u64,
    /// Clients that went away during their handshake.
    pub went_away: u64,
    /// Times that the listening socket failed.
    pub failed: u64,
    /// Clients refused, by [`Refusal::number`].
    pub refused: [u64; Refusal::NUMBERS],
}

/// Listens on a Unix socket and makes [`Connection`]s. For a cold thread: it makes system calls and allocates.
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of our socket file, so that drop removes no other.
    identity: (u64, u64),
    options: ServerOptions,
    first_index: u64,
    started_ns: u64,
    places: Arc<AtomicU32>,
    clients: AtomicU32,
    pending: Mutex<Vec<Pending>>,
    watcher: Watcher,
    /// Given up for a moment when descriptors run out, so that a client can be let in and told.
    spare: Mutex<Option<OwnedFd>>,
    counts: Mutex<ListenerCounts>,
}

/// One of `clients_max` places, given back on drop.
pub(crate) struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A handshake under way.
struct Pending {
    socket: OwnedFd,
    pidfd: Option<OwnedFd>,
    pid: i32,
    uid: u32,
    deadline: Instant,
    offered: Option<Offered>,
}

/// What was made for a client that said a good hello.
struct Offered {
    header: Header,
    name: String,
    client_id: u32,
    c_fd: OwnedFd,
    c: ReadMap,
    s: WriteMap,
    place: Place,
}

/// What one look at a pending handshake came to.
enum Progress {
    Waiting,
    Done(Box<Connection>),
    Failed(Failure),
}

enum Failure {
    Refused(Refusal),
    WentAway,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

impl Listener {
    /// Listens on `path`. A socket file left by a dead server is replaced; a live server's is not. The file is removed on
    /// drop. Whoever may connect is decided by the peer's user; the file's mode is 0600 unless other users are allowed.
    pub fn bind(path: &Path, options: ServerOptions) -> Result<Listener, BindError> {
        Listener::bind_from(path, options, 0)
    }

    /// As [`Listener::bind`], with both running indices starting elsewhere than at zero, to test that they wrap.
    #[doc(hidden)]
    pub fn bind_from(path: &Path, options: ServerOptions, first_index: u64) -> Result<Listener, BindError> {
        options.geometry.validate()?;
        let Some((address, length)) = handshake::address(path) else {
            return Err(BindError::Path(path.into()));
        };
        let io_error = |source| BindError::Io { path: path.into(), source };
        let socket = handshake::socket().map_err(io_error)?;
        // SAFETY: `address` is a valid sockaddr_un of the length given.
        let bind = || match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                bind().map_err(io_error)?;
            }
            result => result.map_err(io_error)?,
        }
        let file = std::fs::symlink_metadata(path).map_err(io_error)?;
        // SAFETY: a call without arguments.
        let own_uid = unsafe { libc::geteuid() };
        let others = options.allowed_uids.iter().any(|&uid| uid != own_uid && uid != 0);
        let mode = std::fs::Permissions::from_mode(if others { 0o666 } else { 0o600 });
        std::fs::set_permissions(path, mode).map_err(io_error)?;
        // SAFETY: a call without pointers.
        if unsafe { libc::listen(socket.as_raw_fd(), PENDING_MAX as i32) } != 0 {
            return Err(io_error(io::Error::last_os_error()));
        }
        Ok(Listener {
            socket,
            path: path.into(),
            identity: (file.dev(), file.ino()),
            options,
            first_index,
            started_ns: monotonic_ns(),
            places: Arc::new(AtomicU32::new(0)),
            clients: AtomicU32::new(0),
            pending: Mutex::new(Vec::new()),
            watcher: Watcher::default(),
            spare: Mutex::new(handshake::socket().ok()),
            counts: Mutex::new(ListenerCounts::default()),
        })
    }

    /// Ring sizes of every connection.
    pub fn geometry(&self) -> Geometry {
        self.options.geometry
    }

    /// Watches the peers of every connection this listener makes.
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// Drives handshakes for at most 100 ms. `None`: nothing finished in that time; call again. An error other than
    /// [`AcceptError::Io`] concerns one client only.
    pub fn accept(&self) -> Result<Option<Connection>, AcceptError> {
        self.accept_within(ACCEPT_WAIT)
    }

    /// What has been counted so far.
    pub fn counts(&self) -> ListenerCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Listener::accept`], waiting at most `timeout`; zero drives what can be driven now and returns.
    pub fn accept_within(&self, timeout: Duration) -> Result<Option<Connection>, AcceptError> {
        let result = self.next_client(timeout);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(None) => {}
            Ok(Some(connection)) => {
                counts.accepted += 1;
                counts.unlocked += u64::from(!connection.locked());
            }
            Err(AcceptError::Refused { refusal, .. }) => counts.refused[refusal.number()] += 1,
            Err(AcceptError::WentAway { .. }) => counts.went_away += 1,
            Err(AcceptError::Io(_)) => counts.failed += 1,
        }
        result
    }

    fn next_client(&self, timeout: Duration) -> Result<Option<Connection>, AcceptError> {
        let end = Instant::now() + timeout;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.admit(&mut pending)?;
            let now = Instant::now();
            for i in 0..pending.len() {
                match self.drive(&mut pending[i], now) {
                    Progress::Waiting => {}
                    Progress::Done(connection) => {
                        pending.swap_remove(i);
                        return Ok(Some(*connection));
                    }
                    Progress::Failed(failure) => {
                        let Pending { socket, pid, uid, .. } = pending.swap_remove(i);
                        let Failure::Refused(refusal) = failure else {
                            return Err(AcceptError::WentAway { pid, uid });
                        };
                        // The client may be gone, or never read: then it is not told, and nothing waits.
                        let _ = handshake::send(&socket, &Message::refusal(refusal), &[]);
                        return Err(AcceptError::Refused { pid, uid, refusal });
                    }
                }
            }
            if now >= end {
                return Ok(None);
            }
            let next = pending.iter().map(|p| p.deadline).min().map_or(end, |deadline| deadline.min(end));
            let mut fds: Vec<_> = pending.iter().map(|p| readable(&p.socket)).collect();
            if pending.len() < PENDING_MAX {
                fds.push(readable(&self.socket));
            }
            poll_fds(&mut fds, next.saturating_duration_since(now));
        }
    }

    /// Takes every client that waits in the socket's queue.
    fn admit(&self, pending: &mut Vec<Pending>) -> Result<(), AcceptError> {
        while pending.len() < PENDING_MAX {
            let socket = match self.next_in_queue() {
                Ok(socket) => socket,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    Some(libc::EINTR | libc::ECONNABORTED) => continue,
                    Some(libc::EMFILE | libc::ENFILE) => return self.turn_away(error),
                    _ => return Err(error.into()),
                },
            };
            let (pid, uid) = peer(&socket)?;
            let pidfd = pidfd_of(&socket, pid);
            let deadline = Instant::now() + self.options.handshake_timeout;
            pending.push(Pending { socket, pidfd, pid, uid, deadline, offered: None });
        }
        Ok(())
    }

    /// The next client in the socket's queue. Does not wait.
    fn next_in_queue(&self) -> io::Result<OwnedFd> {
        let (none, flags) =
            (std::ptr::null_mut::<libc::sockaddr>(), libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        // SAFETY: no address is asked for, so both pointers may be null.
        let fd = unsafe { libc::accept4(self.socket.as_raw_fd(), none, none.cast(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just returned to us and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Out of descriptors: lets the next client in on the spare one and tells it. Without that it would wait in the socket's
    /// queue for an answer that cannot come.
    fn turn_away(&self, error: io::Error) -> Result<(), AcceptError> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        drop(spare.take());
        let Ok(socket) = self.next_in_queue() else {
            *spare = handshake::socket().ok();
            return Err(error.into());
        };
        let refusal = Refusal::NoResources;
        let _ = handshake::send(&socket, &Message::refusal(refusal), &[]);
        let (pid, uid) = peer(&socket).unwrap_or((0, u32::MAX));
        drop(socket);
        *spare = handshake::socket().ok();
        Err(AcceptError::Refused { pid, uid, refusal })
    }

    /// Takes one step of one handshake, if its next message is there.
    fn drive(&self, pending: &mut Pending, now: Instant) -> Progress {
        if pending.offered.is_none() && !self.permitted(pending.uid) {
            return Progress::Failed(Refusal::NotPermitted { uid: pending.uid }.into());
        }
        let message = match handshake::receive(&pending.socket, None) {
            Ok(Incoming::Message(message)) => message,
            Ok(Incoming::Garbage) => return Progress::Failed(Refusal::BadMessage.into()),
            Ok(Incoming::Nothing) if now < pending.deadline => return Progress::Waiting,
            Ok(Incoming::Nothing) => return Progress::Failed(Refusal::TimedOut.into()),
            Ok(Incoming::Closed) | Err(_) => return Progress::Failed(Failure::WentAway),
        };
        let result = match pending.offered.take() {
            None => self.offer(pending, &message).map(|()| Progress::Waiting),
            Some(offered) => self.activate(pending, offered, &message),
        };
        result.unwrap_or_else(Progress::Failed)
    }

    fn permitted(&self, uid: u32) -> bool {
        // SAFETY: a call without arguments.
        let own_uid = unsafe { libc::geteuid() };
        match &self.options.allowed_uids[..] {
            [] => uid == own_uid || uid == 0,
            allowed => allowed.contains(&uid),
        }
    }

    /// Judges the hello, makes both files and sends them.
    fn offer(&self, pending: &mut Pending, hello: &Message) -> Result<(), Failure> {
        let geometry = self.options.geometry;
        // The version first: under another one the other words may mean something else.
        if hello.major != ABI_MAJOR {
            return Err(Refusal::WrongAbi { major: ABI_MAJOR, minor: ABI_MINOR }.into());
        }
        if hello.kind != HELLO {
            return Err(Refusal::BadMessage.into());
        }
        if hello.word(12) != LAYOUT_HASH || hello.high(3) != VERDICT_SLOT_BYTES {
            return Err(Refusal::WrongAbi { major: ABI_MAJOR, minor: ABI_MINOR }.into());
        }
        if hello.low(3) != geometry.slot_bytes {
            return Err(Refusal::SlotSize { expected: geometry.slot_bytes }.into());
        }
        let features = hello.word(2);
        let not_offered = features & !if self.options.durable { FEATURE_DURABLE } else { 0 };
        if not_offered != 0 {
            return Err(Refusal::NotOffered { features: not_offered }.into());
        }
        let expected = hash_as_words(&self.options.schema_hash);
        if hello.schema_words() != expected {
            return Err(Refusal::SchemaHash { expected_prefix: expected[0].swap_bytes() }.into());
        }
        let place = Place(Arc::clone(&self.places));
        if self.places.fetch_add(1, Ordering::AcqRel) >= self.options.clients_max {
            return Err(Refusal::TooManyClients { clients_max: self.options.clients_max }.into());
        }
        let client_id = self.clients.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let header = Header {
            geometry,
            epoch: self.started_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(client_id.into()),
            first_index: self.first_index,
            schema_hash: self.options.schema_hash,
            features,
        };
        let (c_fd, c, s_fd, s) = make_files(&header).map_err(|_| Refusal::NoResources)?;
        let welcome = Message::new(WELCOME)
            .with(2, header.features)
            .with(3, pair(geometry.slot_bytes, VERDICT_SLOT_BYTES))
            .with(4, pair(geometry.request_capacity, geometry.verdict_capacity))
            .with(5, header.epoch)
            .with(6, LAYOUT_HASH)
            .with(7, client_id.into())
            .with(8, header.first_index);
        handshake::send(&pending.socket, &welcome, &[&c_fd, &s_fd]).map_err(|_| Failure::WentAway)?;
        pending.offered = Some(Offered { header, name: hello.name(), client_id, c_fd, c, s, place });
        Ok(())
    }

    /// The client has mapped both files: close C to new writers, repair and check it, and start.
    fn activate(&self, pending: &Pending, offered: Offered, mapped: &Message) -> Result<Progress, Failure> {
        let Offered { header, name, client_id, c_fd, mut c, s, place } = offered;
        if mapped.kind != MAPPED || mapped.word(2) != header.epoch {
            return Err(Refusal::BadMessage.into());
        }
        memory::seal(&c_fd, SEALS_ALL).map_err(|_| Refusal::SealRefused)?;
        let length = memory::length_of(c_fd.as_fd()).map_err(|_| Refusal::NoResources)?;
        memory::allocate(&c_fd, length as usize).map_err(|_| Refusal::NoResources)?;
        c.lock();
        let found: [u64; HEADER_WORDS] = c.header();
        if found != header.words(ROLE_C) {
            return Err(Refusal::HeaderAltered.into());
        }
        let duplicate = |fd: &OwnedFd| fd.try_clone().map_err(|_| Refusal::NoResources);
        let life = Arc::new(Life {
            socket: duplicate(&pending.socket)?,
            pidfd: pending.pidfd.as_ref().map(duplicate).transpose()?,
            gone: AtomicBool::new(false),
            client_id,
        });
        let principal = Principal { uid: pending.uid, pid: pending.pid, client_id };
        let connection = Connection::new(&header, c, s, principal, name, Arc::clone(&life), place);
        let active = Message::new(ACTIVE).with(2, header.epoch);
        handshake::send(&pending.socket, &active, &[]).map_err(|_| Failure::WentAway)?;
        self.watcher.add(&life);
        Ok(Progress::Done(Box::new(connection)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io_error = |source| BindError::Io { path: path.into(), source };
    let file = std::fs::symlink_metadata(path).map_err(io_error)?;
    if !file.file_type().is_socket() {
        return Err(BindError::NotASocket(path.into()));
    }
    let probe = handshake::socket().map_err(io_error)?;
    match handshake::connect(&probe, path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(io_error)
        }
        // Connected, or the queue is full, or the socket is of another type: somebody is there.
        _ => Err(BindError::InUse(path.into())),
    }
}

/// Both files of a new connection, formatted. S is sealed for good; C only in size, because the client still has to map
/// it for writing.
fn make_files(header: &Header) -> io::Result<(OwnedFd, ReadMap, OwnedFd, WriteMap)> {
    let Geometry { slot_bytes, request_capacity, verdict_capacity } = header.geometry;
    let (c_bytes, s_bytes) = (header.geometry.c_bytes(), header.geometry.s_bytes());
    let c_fd = memory::create(c"tollgate-ring-c", c_bytes)?;
    let s_fd = memory::create(c"tollgate-ring-s", s_bytes)?;
    let first = header.first_index;
    let for_client = WriteMap::new(&c_fd, c_bytes)?;
    for_client.format(&header.words(ROLE_C), first, request_capacity, slot_bytes as usize / 8);
    for_client.word(crate::layout::C_VERDICT_CURSOR).store(first, Ordering::Release);
    drop(for_client);
    let c = ReadMap::new(&c_fd, c_bytes)?;
    let s = WriteMap::new(&s_fd, s_bytes)?;
    s.format(&header.words(ROLE_S), first, verdict_capacity, SLOT_HEADER_WORDS + VERDICT_WORDS);
    s.word(crate::layout::S_REQUEST_CURSOR).store(first, Ordering::Release);
    s.word(crate::layout::S_STATE).store(crate::layout::STATE_ACTIVE, Ordering::Release);
    memory::seal(&s_fd, SEALS_ALL)?;
    memory::seal(&c_fd, SEALS_SIZE)?;
    Ok((c_fd, c, s_fd, s))
}

fn readable(socket: &OwnedFd) -> libc::pollfd {
    libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// Process and user of the peer at the time it connected.
fn peer(socket: &OwnedFd) -> io::Result<(i32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of_val(&peer) as libc::socklen_t;
    // SAFETY: `peer` is ours to write and `length` is its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut length,
        )
    };
    if result == 0 { Ok((peer.pid, peer.uid)) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor for the peer's process. The socket's own (Linux 6.5) cannot name a later process with the same number;
/// `pidfd_open` can, for a peer that died within the handshake, and then the socket's hang-up tells. None: the peer is
/// dead already or in another process namespace.
fn pidfd_of(socket: &OwnedFd, pid: i32) -> Option<OwnedFd> {
    const SO_PEERPIDFD: i32 = 77;
    let mut fd: libc::c_int = -1;
    let mut length = size_of_val(&fd) as libc::socklen_t;
    // SAFETY: `fd` is ours to write and `length` is its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &mut length,
        )
    };
    if result != 0 && pid > 0 {
        // SAFETY: a call without pointers.
        fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int;
    }
    // SAFETY: a descriptor just returned to us, owned by nobody else.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
