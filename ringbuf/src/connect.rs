//! The client's side of the handshake.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::client::{Client, Parts};
use crate::handshake::{self, ACTIVE, Incoming, MAPPED, Message, REFUSED, Refusal, WELCOME};
use crate::layout::{Geometry, HEADER_WORDS, Header, LAYOUT_HASH, ROLE_C, ROLE_S};
use crate::memory::{self, ReadMap, SEALS_ALL, SEALS_SIZE, WriteMap};
use crate::watch::poll_fds;

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
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Io { doing, source }
}

impl Client {
    /// Connects to the server at `path` and shakes hands, within the timeout.
    pub fn connect(path: &Path, options: ClientOptions) -> Result<Client, ConnectError> {
        if handshake::address(path).is_none() {
            return Err(ConnectError::Path(path.into()));
        }
        let deadline = Deadline { end: Instant::now() + options.timeout, timeout: options.timeout };
        let socket = handshake::socket().map_err(io_error("make a socket"))?;
        loop {
            match handshake::connect(&socket, path) {
                Ok(()) => break,
                // The server's queue is full; there is nothing to poll for.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    deadline.left()?;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ConnectError::NotListening { path: path.into(), source }),
            }
        }
        say(&socket, &Message::hello(options.slot_bytes, &options.schema_hash, &options.name))?;
        let mut fds = Vec::new();
        let welcome = expect(&socket, WELCOME, &deadline, Some(&mut fds))?;
        if welcome.word(6) != LAYOUT_HASH || welcome.low(3) != options.slot_bytes {
            return Err(ConnectError::Protocol("it welcomed another layout than was asked for"));
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
            schema_hash: options.schema_hash,
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
        let active = expect(&socket, ACTIVE, &deadline, None)?;
        if active.word(2) != header.epoch {
            return Err(ConnectError::Protocol("it activated another connection"));
        }
        let client_id = welcome.low(7);
        Ok(Client::new(Parts { socket, c, s, geometry, first_index: header.first_index, client_id }))
    }
}

struct Deadline {
    end: Instant,
    timeout: Duration,
}

impl Deadline {
    fn left(&self) -> Result<Duration, ConnectError> {
        match self.end.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(ConnectError::TimedOut(self.timeout)),
        }
    }
}

/// The file is as long as announced and can never get shorter, which would kill a reader.
fn check_file(fd: &OwnedFd, bytes: usize, seals: i32) -> Result<(), ConnectError> {
    let length = memory::length_of(fd.as_fd()).map_err(io_error("examine a memory file"))?;
    let found = memory::seals_of(fd).map_err(io_error("examine a memory file"))?;
    if length != bytes as u64 || found & seals != seals {
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

/// Waits for the next message, which must be of this type or a refusal.
fn expect(
    socket: &OwnedFd,
    kind: u32,
    deadline: &Deadline,
    mut fds: Option<&mut Vec<OwnedFd>>,
) -> Result<Message, ConnectError> {
    let mut was_reset = false;
    loop {
        match handshake::receive(socket, fds.as_deref_mut()) {
            Ok(Incoming::Message(message)) if message.kind == REFUSED => {
                return Err(Refusal::from_message(&message).into());
            }
            Ok(Incoming::Message(message)) if message.kind == kind => return Ok(message),
            Ok(Incoming::Message(_) | Incoming::Garbage) => {
                return Err(ConnectError::Protocol("an unexpected handshake message"));
            }
            Ok(Incoming::Closed) => return Err(ConnectError::Closed),
            Ok(Incoming::Nothing) => {
                let left = deadline.left()?;
                let fd = socket.as_raw_fd();
                poll_fds(&mut [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }], left);
            }
            // A server that closes with our message unread resets the connection, once, ahead of its last words.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                if was_reset {
                    return Err(ConnectError::Closed);
                }
                was_reset = true;
            }
            Err(source) => return Err(ConnectError::Io { doing: "hear from the server", source }),
        }
    }
}
