//! What the kernel carries: Unix sockets, pipes, and TCP with a length before each message.
//!
//! The polled ones never sleep: both ends read without blocking until something is there, as the ring's ends do. Messages
//! have the sizes that both ends know; only TCP, as it would be used between machines, says them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{ANSWER_BYTES, Caller, Echo, Way, await_answer};

/// Looks between two readings of the clock where each is a system call.
const LOOKS: u32 = 1 << 14;
/// Longest sleep of the blocking way's answering end: so often it looks whether its turn is over.
const BLOCKING_REST: Duration = Duration::from_millis(5);
/// Longest sleep of its asking end.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the length before a message.
const LENGTH_BYTES: usize = 4;

/// Two descriptors, to read from and to write to, which a socket has in one.
pub(crate) struct Pair {
    pub(crate) from: OwnedFd,
    pub(crate) to: OwnedFd,
}

impl Pair {
    fn of_socket(socket: OwnedFd) -> Result<Self> {
        Ok(Self { from: socket.try_clone()?, to: socket })
    }
}

/// Makes both ends of a way that the kernel carries; `None` for the other ways.
pub(crate) fn ends(way: Way) -> Result<Option<(Pair, Pair)>> {
    let (here, there) = match way {
        Way::Unix => {
            let (here, there) = UnixStream::pair()?;
            (Pair::of_socket(here.into())?, Pair::of_socket(there.into())?)
        }
        Way::UnixBlocking => {
            let (here, there) = UnixStream::pair()?;
            here.set_read_timeout(Some(BLOCKING_PATIENCE))?;
            there.set_read_timeout(Some(BLOCKING_REST))?;
            return Ok(Some((Pair::of_socket(here.into())?, Pair::of_socket(there.into())?)));
        }
        Way::SeqPacket => {
            let (here, there) = seqpacket()?;
            (Pair::of_socket(here)?, Pair::of_socket(there)?)
        }
        Way::Pipe => {
            let (there_from, to) = std::io::pipe()?;
            let (from, there_to) = std::io::pipe()?;
            let there = Pair { from: there_from.into(), to: there_to.into() };
            (Pair { from: from.into(), to: to.into() }, there)
        }
        Way::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").context("TCP over loopback")?;
            let here = TcpStream::connect(listener.local_addr()?).context("TCP over loopback")?;
            let (there, _) = listener.accept()?;
            here.set_nodelay(true)?;
            there.set_nodelay(true)?;
            (Pair::of_socket(here.into())?, Pair::of_socket(there.into())?)
        }
        _ => return Ok(None),
    };
    for fd in [&here.from, &here.to, &there.from, &there.to] {
        do_not_block(fd)?;
    }
    Ok(Some((here, there)))
}

fn seqpacket() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for the two descriptors.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    ensure!(made == 0, "cannot make a pair of sockets: {}", std::io::Error::last_os_error());
    // SAFETY: both were just made and are owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

fn do_not_block(fd: &OwnedFd) -> Result<()> {
    // SAFETY: plain calls on an open descriptor.
    let set = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    ensure!(set == 0, "cannot poll a descriptor: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Messages over two descriptors.
struct Messages {
    from: File,
    to: File,
    /// Whether a length goes before each message.
    framed: bool,
    out: Vec<u8>,
    /// What has come of the message being received.
    inside: Vec<u8>,
    have: usize,
}

impl Messages {
    fn new(way: Way, pair: Pair, sent_bytes: usize, received_bytes: usize) -> Self {
        let framed = way == Way::Tcp;
        let head = if framed { LENGTH_BYTES } else { 0 };
        let mut out = vec![0; head + sent_bytes];
        out[..head].copy_from_slice(&(sent_bytes as u32).to_le_bytes()[..head]);
        Self {
            from: pair.from.into(),
            to: pair.to.into(),
            framed,
            out,
            inside: vec![0; head + received_bytes],
            have: 0,
        }
    }

    fn head(&self) -> usize {
        if self.framed { LENGTH_BYTES } else { 0 }
    }

    /// Sends a message whose every word is `number`.
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let head = self.head();
        for word in self.out[head..].chunks_exact_mut(8) {
            word.copy_from_slice(&number.to_le_bytes());
        }
        let mut left = &self.out[..];
        while !left.is_empty() {
            match self.to.write(left) {
                Ok(written) => left = &left[written..],
                // One message in flight fits every buffer, so that this is over soon.
                Err(error) if error.kind() == ErrorKind::WouldBlock => crate::interrupt::check()?,
                Err(error) => return Err(error).context("cannot send"),
            }
        }
        Ok(())
    }

    /// The first word of the message that has come, if it is complete by now. All of its words are read.
    #[inline(always)]
    fn receive(&mut self) -> Result<Option<u64>> {
        match self.from.read(&mut self.inside[self.have..]) {
            Ok(0) => bail!("the other end is closed"),
            Ok(read) => self.have += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot receive"),
        }
        if self.have < self.inside.len() {
            return Ok(None);
        }
        self.have = 0;
        let (length, body) = self.inside.split_at(self.head());
        if self.framed && length != (body.len() as u32).to_le_bytes() {
            bail!("a message of another length than {} came", body.len());
        }
        let (mut first, mut sum) = (None, 0_u64);
        for word in body.as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*word);
            first.get_or_insert(word);
            sum = sum.wrapping_add(word);
        }
        std::hint::black_box(sum);
        Ok(first)
    }
}

/// The asking end.
pub(crate) struct StreamCaller {
    messages: Messages,
    looks: u32,
    number: u64,
}

impl StreamCaller {
    pub(crate) fn new(way: Way, pair: Pair, slot_bytes: usize) -> Self {
        // A look that may sleep for a second is reason enough to read the clock.
        let looks = if way == Way::UnixBlocking { 1 } else { LOOKS };
        Self { messages: Messages::new(way, pair, slot_bytes, ANSWER_BYTES), looks, number: 0 }
    }
}

impl Caller for StreamCaller {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<()> {
        self.number += 1;
        self.messages.send(self.number)?;
        let mut answered = 0;
        await_answer(self.looks, || {
            let found = self.messages.receive()?;
            answered = found.unwrap_or(0);
            Ok(found.is_some())
        })?;
        ensure!(answered == self.number, "request {answered} was answered instead of {}", self.number);
        Ok(())
    }
}

/// The answering end.
pub(crate) struct StreamEcho {
    messages: Messages,
}

impl StreamEcho {
    pub(crate) fn new(way: Way, pair: Pair, slot_bytes: usize) -> Self {
        Self { messages: Messages::new(way, pair, ANSWER_BYTES, slot_bytes) }
    }
}

impl Echo for StreamEcho {
    #[inline(always)]
    fn answer(&mut self) -> Result<bool> {
        let Some(number) = self.messages.receive()? else { return Ok(false) };
        self.messages.send(number)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: [Way; 5] = [Way::Unix, Way::SeqPacket, Way::Pipe, Way::Tcp, Way::UnixBlocking];

    #[test]
    fn every_way_carries_requests_and_answers() {
        for way in STREAMS {
            for slot_bytes in [128, 512] {
                let (here, there) = ends(way).unwrap().unwrap();
                let mut caller = StreamCaller::new(way, here, slot_bytes);
                let mut echo = StreamEcho::new(way, there, slot_bytes);
                let answering = std::thread::spawn(move || {
                    let mut answered = 0;
                    while answered < 100 {
                        answered += u32::from(echo.answer().unwrap());
                    }
                });
                (0..100).for_each(|_| caller.round_trip().unwrap());
                answering.join().unwrap();
            }
        }
        assert!(ends(Way::Ring).unwrap().is_none());
    }

    /// The answering end of a TCP way, with the raw other end of it.
    fn framed() -> (Messages, File) {
        let (here, there) = ends(Way::Tcp).unwrap().unwrap();
        (Messages::new(Way::Tcp, there, ANSWER_BYTES, 16), here.to.into())
    }

    /// Everything that comes after some bytes, waiting for them to have arrived.
    fn received_after(messages: &mut Messages, raw: &mut File, bytes: &[u8]) -> Vec<Result<u64>> {
        raw.write_all(bytes).unwrap();
        let end = messages.have + bytes.len();
        let mut found = Vec::new();
        while messages.have < end && found.is_empty() {
            found.extend(messages.receive().transpose());
        }
        found
    }

    #[test]
    fn a_frame_may_come_in_pieces() {
        let (mut messages, mut raw) = framed();
        let mut frame = 16_u32.to_le_bytes().to_vec();
        frame.extend(5_u64.to_le_bytes());
        frame.extend(6_u64.to_le_bytes());
        assert!(received_after(&mut messages, &mut raw, &frame[..3]).is_empty());
        assert!(received_after(&mut messages, &mut raw, &frame[3..11]).is_empty());
        let found = received_after(&mut messages, &mut raw, &frame[11..]);
        assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [5]);
        assert_eq!(messages.have, 0);
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let (mut messages, mut raw) = framed();
        let mut frame = 15_u32.to_le_bytes().to_vec();
        frame.extend([0; 16]);
        let found = received_after(&mut messages, &mut raw, &frame);
        assert!(found[0].as_ref().unwrap_err().to_string().contains("another length"));
    }

    #[test]
    fn a_closed_end_is_an_error() {
        for way in STREAMS {
            let (here, there) = ends(way).unwrap().unwrap();
            drop(here);
            let mut echo = StreamEcho::new(way, there, 128);
            assert!(echo.answer().is_err(), "{way:?}");
        }
    }
}
