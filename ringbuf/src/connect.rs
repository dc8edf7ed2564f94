//! The client's side of the handshake: a state machine that never blocks, and the blocking loop over it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::client::{Client, Parts};
use crate::handshake::{self, ACTIVE, Incoming, MAPPED, Message, REFUSED, Refusal, WELCOME};
use crate::layout::{FEATURE_DURABLE, Geometry, HEADER_WORDS, Header, LAYOUT_HASH, ROLE_C, ROLE_S};
use crate::memory::{self, ReadMap, SEALS_ALL, SEALS_SIZE, WriteMap};
use crate::wait::monotonic_ns;
use crate::watch::poll_fds;

/// How long to leave a server alone whose queue of callers is full; there is nothing to poll for.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// What the client takes the payload words to mean; must equal the server's.
    pub schema_hash: [u8; 32],
    /// Request slot size; must equal the server's.
    pub slot_bytes: u32,
    /// A name for the server's log; 32 bytes travel.
    pub name: String,
    /// Longest time to connect.
    pub timeout: Duration,
    /// Verdicts are to be released only when their decision is durable. Slower, and safe against a loss of power; a
    /// server that does not offer it is an error and not a silent downgrade.
    pub durable: bool,
}

impl ClientOptions {
    /// The feature bits that these options ask for.
    fn features(&self) -> u64 {
        if self.durable { FEATURE_DURABLE } else { 0 }
    }
}

/// Why a client could not connect.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The path does not fit in a socket address.
    #[error("{0} cannot be a socket's path: use 1 to 107 bytes")]
    Path(PathBuf),
    /// Nobody listens there.
    #[error("no server listens on {path} ({source}): start it, or check the path and its permissions")]
    NotListening {
        /// The path tried.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The server said no.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The server would serve, but without something that was asked for.
    #[error(
        "the server did not grant {}: use a server that offers it, or connect without it",
        handshake::FeatureNames(*features)
    )]
    NotGranted {
        /// The feature bits asked for and not granted.
        features: u64,
    },
    /// The server did not answer in time.
    #[error("the server did not finish the handshake in {0:?}: it is overloaded or stopped; try again")]
    TimedOut(Duration),
    /// The server closed the socket without a reason.
    #[error("the server closed the connection during the handshake: see its log")]
    Closed,
    /// The server's messages or files are not what the protocol says.
    #[error("the server broke the protocol ({0}): is this the ring library on both ends?")]
    Protocol(&'static str),
    /// The system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// [`Connecting::advance`] was called after it had yielded a client or an error.
    #[error("this handshake has ended already: begin another")]
    Over,
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Io { doing, source }
}

impl Client {
    /// Connects to the server at `path` and shakes hands, within the timeout. Blocks; see [`Connecting`] for a way that
    /// does not.
    pub fn connect(path: &Path, options: ClientOptions) -> Result<Client, ConnectError> {
        let mut connecting = Connecting::begin(path, options)?;
        loop {
            if let Some(client) = connecting.advance()? {
                return Ok(client);
            }
            let left = connecting.end_ns.saturating_sub(monotonic_ns());
            connecting.wait(Duration::from_nanos(left));
        }
    }
}

/// A handshake under way, for callers that must not block. Begin it, then call [`Connecting::advance`] whenever
/// [`Connecting::poll_fd`] is readable, or every now and then, until it yields a [`Client`] or an error.
///
/// No call waits for the server. The one that finds the server's welcome maps and locks two files, which takes as long
/// as their size asks for. Dropping it gives up; the server notices.
///
/// ```no_run
/// use tollgate_ring::{ClientOptions, ConnectError, Connecting};
///
/// fn connect(options: ClientOptions, mut other_work: impl FnMut()) -> Result<(), ConnectError> {
///     let mut connecting = Connecting::begin("/run/server.sock".as_ref(), options)?;
///     let mut client = loop {
///         match connecting.advance()? {
///             Some(client) => break client,
///             None => other_work(),
///         }
///     };
///     client.send(1, 1, 0, &[42]).expect("an empty ring");
///     Ok(())
/// }
/// ```
pub struct Connecting {
    path: PathBuf,
    options: ClientOptions,
    /// When to give up, `CLOCK_MONOTONIC`.
    end_ns: u64,
    /// A server that closes with our message unread resets the connection, once, ahead of its last words.
    was_reset: bool,
    step: Step,
}

/// What is waited for. An error leaves it at `Over`.
enum Step {
    /// A place in the server's queue of callers.
    Queue(OwnedFd),
    /// The welcome; hello is said.
    Welcome(OwnedFd),
    /// The activation; the files are mapped and that is said.
    Active(OwnedFd, Box<Mapped>),
    /// Nothing more.
    Over,
}

/// What the welcome brought, checked.
struct Mapped {
    header: Header,
    client_id: u32,
    c: WriteMap,
    s: ReadMap,
}

impl Connecting {
    /// Calls the server at `path`. An error here is final, and mostly says that nobody listens. The time allowed
    /// ([`ClientOptions::timeout`]) starts now.
    pub fn begin(path: &Path, options: ClientOptions) -> Result<Connecting, ConnectError> {
        Connecting::begin_at(path, options, monotonic_ns())
    }

    /// As [`Connecting::begin`], for a caller that has read the clock.
    pub(crate) fn begin_at(
        path: &Path,
        options: ClientOptions,
        now_ns: u64,
    ) -> Result<Connecting, ConnectError> {
        if handshake::address(path).is_none() {
            return Err(ConnectError::Path(path.into()));
        }
        let socket = handshake::socket().map_err(io_error("make a socket"))?;
        let timeout_ns = options.timeout.as_nanos().min(u64::MAX.into()) as u64;
        let mut connecting = Connecting {
            path: path.into(),
            options,
            end_ns: now_ns.saturating_add(timeout_ns),
            was_reset: false,
            step: Step::Over,
        };
        connecting.step = connecting.call(socket)?;
        Ok(connecting)
    }

    /// Takes whatever messages are there. None: not yet. After a client or an error it is over.
    pub fn advance(&mut self) -> Result<Option<Client>, ConnectError> {
        self.advance_at(monotonic_ns())
    }

    /// As [`Connecting::advance`], for a caller that has read the clock.
    pub(crate) fn advance_at(&mut self, now_ns: u64) -> Result<Option<Client>, ConnectError> {
        loop {
            let (step, moved) = match std::mem::replace(&mut self.step, Step::Over) {
                Step::Queue(socket) => {
                    let step = self.call(socket)?;
                    let moved = !matches!(step, Step::Queue(_));
                    (step, moved)
                }
                Step::Welcome(socket) => {
                    let mut fds = Vec::new();
                    match self.hear(&socket, WELCOME, Some(&mut fds))? {
                        Some(welcome) => (self.map(socket, &welcome, fds)?, true),
                        None => (Step::Welcome(socket), false),
                    }
                }
                Step::Active(socket, mapped) => match self.hear(&socket, ACTIVE, None)? {
                    Some(active) => return finish(socket, *mapped, &active).map(Some),
                    None => (Step::Active(socket, mapped), false),
                },
                Step::Over => return Err(ConnectError::Over),
            };
            if !moved {
                if now_ns >= self.end_ns {
                    return Err(ConnectError::TimedOut(self.options.timeout));
                }
                self.step = step;
                return Ok(None);
            }
            self.step = step;
        }
    }

    /// The descriptor that becomes readable when there is something to advance. None while the server's queue of callers
    /// is full, which nothing tells the end of (advance again after a millisecond), and when it is over.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.step {
            Step::Welcome(socket) | Step::Active(socket, _) => Some(socket.as_fd()),
            Step::Queue(_) | Step::Over => None,
        }
    }

    /// Sleeps until there may be something to advance, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        match self.poll_fd() {
            Some(fd) => {
                let fd = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                poll_fds(&mut [fd], timeout);
            }
            None => std::thread::sleep(timeout.min(QUEUE_PAUSE)),
        }
    }

    /// Tries to get into the server's queue, and says hello if it can.
    fn call(&self, socket: OwnedFd) -> Result<Step, ConnectError> {
        loop {
            match handshake::connect(&socket, &self.path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Queue(socket)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ConnectError::NotListening { path: self.path.clone(), source }),
            }
        }
        let ClientOptions { schema_hash, slot_bytes, name, .. } = &self.options;
        let hello = Message::hello(*slot_bytes, schema_hash, name).with(2, self.options.features());
        say(&socket, &hello)?;
        Ok(Step::Welcome(socket))
    }

    /// Takes the next message, which must be of this type or a refusal.
    fn hear(
        &mut self,
        socket: &OwnedFd,
        kind: u32,
        mut fds: Option<&mut Vec<OwnedFd>>,
    ) -> Result<Option<Message>, ConnectError> {
        loop {
            match handshake::receive(socket, fds.as_deref_mut()) {
                Ok(Incoming::Message(message)) if message.kind == REFUSED => {
                    return Err(Refusal::from_message(&message).into());
                }
                Ok(Incoming::Message(message)) if message.kind == kind => return Ok(Some(message)),
                Ok(Incoming::Message(_) | Incoming::Garbage) => {
                    return Err(ConnectError::Protocol("an unexpected handshake message"));
                }
                Ok(Incoming::Closed) => return Err(ConnectError::Closed),
                Ok(Incoming::Nothing) => return Ok(None),
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    if self.was_reset {
                        return Err(ConnectError::Closed);
                    }
                    self.was_reset = true;
                }
                Err(source) => return Err(ConnectError::Io { doing: "hear from the server", source }),
            }
        }
    }

    /// Judges the welcome, maps both files and says so.
    fn map(&self, socket: OwnedFd, welcome: &Message, fds: Vec<OwnedFd>) -> Result<Step, ConnectError> {
        if welcome.word(6) != LAYOUT_HASH || welcome.low(3) != self.options.slot_bytes {
            return Err(ConnectError::Protocol("it welcomed another layout than was asked for"));
        }
        let features = self.options.features() & !welcome.word(2);
        if features != 0 {
            return Err(ConnectError::NotGranted { features });
        }
        let geometry = Geometry {
            slot_bytes: welcome.low(3),
            request_capacity: welcome.low(4),
            verdict_capacity: welcome.high(4),
        };
        geometry.validate().map_err(|_| ConnectError::Protocol("it announced impossible ring sizes"))?;
        let header = Header {
            geometry,
            epoch: welcome.word(5),
            first_index: welcome.word(8),
            schema_hash: self.options.schema_hash,
            features: welcome.word(2),
        };
        let Ok([c_fd, s_fd]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(ConnectError::Protocol("it did not send two files"));
        };
        check_file(&c_fd, geometry.c_bytes(), SEALS_SIZE)?;
        check_file(&s_fd, geometry.s_bytes(), SEALS_ALL)?;
        let c = WriteMap::new(&c_fd, geometry.c_bytes()).map_err(io_error("map the request file"))?;
        let s = ReadMap::new(&s_fd, geometry.s_bytes()).map_err(io_error("map the verdict file"))?;
        let read_c: [u64; HEADER_WORDS] =
            core::array::from_fn(|i| c.word(i * 8).load(std::sync::atomic::Ordering::Relaxed));
        let read_s: [u64; HEADER_WORDS] = s.header();
        if read_c != header.words(ROLE_C) || read_s != header.words(ROLE_S) {
            return Err(ConnectError::Protocol("the headers do not say what the welcome said"));
        }
        say(&socket, &Message::new(MAPPED).with(2, header.epoch))?;
        Ok(Step::Active(socket, Box::new(Mapped { header, client_id: welcome.low(7), c, s })))
    }
}

/// The server has activated a connection: ours, if all is well.
fn finish(socket: OwnedFd, mapped: Mapped, active: &Message) -> Result<Client, ConnectError> {
    let Mapped { header, client_id, c, s } = mapped;
    if active.word(2) != header.epoch {
        return Err(ConnectError::Protocol("it activated another connection"));
    }
    let Header { geometry, first_index, .. } = header;
    Ok(Client::new(Parts { socket, c, s, geometry, first_index, client_id }))
}

/// The file is as long as announced and can never get shorter, which would kill a reader.
fn check_file(fd: &OwnedFd, bytes: usize, seals: i32) -> Result<(), ConnectError> {
    let length = memory::length_of(fd.as_fd()).map_err(io_error("examine a memory file"))?;
    let found = memory::seals_of(fd).map_err(io_error("examine a memory file"))?;
    if !memory::length_fits(length, bytes) || found & seals != seals {
        return Err(ConnectError::Protocol("a memory file is not sized or sealed as agreed"));
    }
    Ok(())
}

fn say(socket: &OwnedFd, message: &Message) -> Result<(), ConnectError> {
    match handshake::send(socket, message, &[]) {
        // The server has closed already; its refusal can still be read.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
        result => result.map_err(io_error("send to the server")),
    }
}
