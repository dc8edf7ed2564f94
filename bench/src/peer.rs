//! The answering process of `ring`: all ways' answering ends, each when it is its turn.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result};

use crate::control::{Control, END};
use crate::exchange::bare::Bare;
use crate::exchange::rings::RingEcho;
use crate::exchange::stream::{Pair, StreamEcho};
use crate::exchange::{Echo, Way};
use crate::machine::pin;
use crate::memory::Memory;

/// What the hidden `peer` takes. Descriptors are those that the measuring process left open.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The core to answer on.
    #[arg(long)]
    core: usize,
    /// Bytes of a request.
    #[arg(long)]
    slot_bytes: usize,
    /// Where the ring's socket is to be, and whatever else needs a place.
    #[arg(long)]
    directory: PathBuf,
    /// Control page and bare slots.
    #[arg(long)]
    memory: i32,
    /// Two for each way that the kernel carries, in the order of [`Way::ALL`].
    #[arg(long, value_delimiter = ',')]
    pairs: Vec<i32>,
}

/// The number of a way's turn; 0 is nobody's.
pub(crate) fn turn(way: Way) -> u64 {
    way as u64 + 1
}

/// The ring's socket.
pub(crate) const SOCKET: &str = "ring.sock";

/// Said on standard output when every way is open at this end, or is about to let the client in.
pub(crate) const LISTENING: &str = "listening";

pub(crate) fn run(args: &Args) -> Result<()> {
    pin(args.core)?;
    let memory = Rc::new(Memory::open(inherited(args.memory))?);
    let mut pairs = args.pairs.iter().map(|&fd| inherited(fd));
    let mut echoes: Vec<(Way, Box<dyn Echo>)> = Vec::new();
    for &way in Way::ALL {
        let echo: Box<dyn Echo> = match way {
            Way::Bare => Box::new(Bare::new(Rc::clone(&memory), args.slot_bytes)),
            Way::Ring => Box::new(RingEcho::accept(&args.directory.join(SOCKET), args.slot_bytes)?),
            #[cfg(feature = "iceoryx2")]
            Way::Iceoryx2 => crate::exchange::iceoryx::echo(&args.directory, args.slot_bytes)?,
            Way::Unix | Way::UnixBlocking | Way::SeqPacket | Way::Pipe | Way::Tcp => {
                let mut next = || pairs.next().context("a descriptor for each end");
                let pair = Pair { from: next()?, to: next()? };
                Box::new(StreamEcho::new(way, pair, args.slot_bytes))
            }
        };
        echoes.push((way, echo));
    }
    let control = Control::new(&memory);
    println!("{LISTENING}");
    loop {
        let now = control.turn();
        if now == END {
            return Ok(());
        }
        control.take(now);
        match echoes.iter_mut().find(|(way, _)| turn(*way) == now) {
            Some((way, echo)) => {
                echo.serve(&control, now).with_context(|| format!("answering by {way:?}"))?;
            }
            None => std::thread::yield_now(),
        }
    }
}

/// A descriptor that the measuring process left open for this one.
pub(crate) fn inherited(fd: i32) -> OwnedFd {
    // SAFETY: the numbers come from the process that started this one, which made each for one owner here.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
