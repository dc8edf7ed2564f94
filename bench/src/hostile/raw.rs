//! A client that speaks the ring's protocol by its published tables only, and so is free to break it.

// The handshake without the library, as the ring's own tests have it.
#[path = "../../../ringbuf/tests/support/wire.rs"]
mod wire;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, ensure};
use tollgate_ring::Geometry;
use tollgate_ring::layout::{LAYOUT_HASH, VERDICT_SLOT_BYTES};

use crate::memory::Memory;
use wire::{ACTIVE, HELLO, MAPPED, WELCOME, WORDS, as_bytes, message};

/// Both files of one connection, mapped; or private memory of the same sizes, which nobody else sees.
pub(crate) struct Rings {
    c: Memory,
    s: Memory,
    /// Closing it ends the connection.
    _socket: Option<OwnedFd>,
}

impl Rings {
    /// Connects, maps both files and is in service.
    pub(crate) fn connect(path: &Path, slot_bytes: usize) -> Result<Self> {
        let socket = wire::connect(path).with_context(|| format!("connecting to {}", path.display()))?;
        let mut hello = message(HELLO);
        hello[3] = slot_bytes as u64 | u64::from(VERDICT_SLOT_BYTES) << 32;
        hello[12] = LAYOUT_HASH;
        say(&socket, &hello)?;
        let (welcome, fds) = hear(&socket, WELCOME)?;
        let [c, s] = <[OwnedFd; 2]>::try_from(fds).ok().context("a welcome with two files")?;
        let (c, s) = (Memory::open(c)?, Memory::open_to_read(s)?);
        let mut mapped = message(MAPPED);
        mapped[2] = welcome[5];
        say(&socket, &mapped)?;
        hear(&socket, ACTIVE)?;
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

/// The next message, which must be of this type, and the descriptors that came with it.
fn hear(socket: &OwnedFd, kind: u64) -> Result<([u64; WORDS], Vec<OwnedFd>)> {
    let heard = wire::hear(socket).context("the neighbour's handshake")?;
    let (words, fds) = heard.context("the server closed on the neighbour")?;
    ensure!(words[1] >> 32 == kind, "the server refused the neighbour: code {}", words[2]);
    Ok((words, fds))
}

fn say(socket: &OwnedFd, words: &[u64; WORDS]) -> Result<()> {
    wire::say(socket, &as_bytes(words)).context("the neighbour's handshake")
}
