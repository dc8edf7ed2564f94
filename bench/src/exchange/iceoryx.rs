//! iceoryx2: a publish-subscribe service there and one back, both polled.
//!
//! Two of these have less to do for each message than one request-response service, which pairs each answer with its
//! request. Payloads are arrays of fixed size, written in place into the memory that is lent for them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    Config, FileName, LogLevel, Node, NodeBuilder, Path as IcePath, SemanticString, SignalHandlingMode, ipc,
    set_log_level,
};

use super::{ANSWER_BYTES, Caller, Echo, LOOKS, await_answer};

const ANSWER_WORDS: usize = ANSWER_BYTES / 8;
/// Messages kept for a reader: one is in flight, and fewer buffers stay nearer.
const BUFFERS: usize = 1;

/// What iceoryx2 leaves in `/dev/shm` under the directory's prefix, removed when dropped: after both ends.
pub(crate) struct Leftovers(OsString);

impl Leftovers {
    /// Of ends that keep their files below `directory`, whose name no other run has.
    pub(crate) fn of(directory: &Path) -> Self {
        Self(directory.file_name().unwrap_or_default().to_owned())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir("/dev/shm") else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(self.0.as_encoded_bytes()) {
                // Best effort: a few bytes that nobody opens any more.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// One end. `SENT` and `RECEIVED` are words.
pub(crate) struct Iceoryx<const SENT: usize, const RECEIVED: usize> {
    to: Publisher<ipc::Service, [u64; SENT], ()>,
    from: Subscriber<ipc::Service, [u64; RECEIVED], ()>,
    /// Goes last: the ports belong to it.
    _node: Node<ipc::Service>,
    number: u64,
}

/// The asking end for requests of so many bytes. What iceoryx2 keeps in files goes below `directory`.
pub(crate) fn caller(directory: &Path, slot_bytes: usize) -> Result<Box<dyn Caller>> {
    Ok(match slot_bytes {
        128 => Box::new(Iceoryx::<16, ANSWER_WORDS>::open(directory, "back", "there")?),
        256 => Box::new(Iceoryx::<32, ANSWER_WORDS>::open(directory, "back", "there")?),
        _ => Box::new(Iceoryx::<64, ANSWER_WORDS>::open(directory, "back", "there")?),
    })
}

/// The answering end.
pub(crate) fn echo(directory: &Path, slot_bytes: usize) -> Result<Box<dyn Echo>> {
    Ok(match slot_bytes {
        128 => Box::new(Iceoryx::<ANSWER_WORDS, 16>::open(directory, "there", "back")?),
        256 => Box::new(Iceoryx::<ANSWER_WORDS, 32>::open(directory, "there", "back")?),
        _ => Box::new(Iceoryx::<ANSWER_WORDS, 64>::open(directory, "there", "back")?),
    })
}

impl<const SENT: usize, const RECEIVED: usize> Iceoryx<SENT, RECEIVED> {
    fn open(directory: &Path, from: &str, to: &str) -> Result<Self> {
        set_log_level(LogLevel::Error);
        let refused = |what: &str| anyhow!("iceoryx2: {what} is not a name it takes");
        let root = directory.join("iceoryx2");
        let root = IcePath::new(root.as_os_str().as_encoded_bytes()).map_err(|_| refused("the directory"))?;
        let mut config = Config::default();
        config.global.set_root_path(&root);
        // Its shared memory has no directory: the prefix keeps it apart from that of others.
        let prefix = directory.file_name().unwrap_or_default().as_encoded_bytes();
        config.global.prefix = FileName::new(prefix).map_err(|_| refused("the prefix"))?;
        let node = NodeBuilder::new().config(&config).signal_handling_mode(SignalHandlingMode::Disabled);
        let node = node.create::<ipc::Service>().context("iceoryx2: a node")?;
        // As iceoryx2's own benchmark has it: no history, and one publisher and one subscriber each way.
        let there = node
            .service_builder(&to.try_into().map_err(|_| refused("a service"))?)
            .publish_subscribe::<[u64; SENT]>()
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .subscriber_max_buffer_size(BUFFERS)
            .open_or_create()
            .context("iceoryx2: the service there")?;
        let back = node
            .service_builder(&from.try_into().map_err(|_| refused("a service"))?)
            .publish_subscribe::<[u64; RECEIVED]>()
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .subscriber_max_buffer_size(BUFFERS)
            .open_or_create()
            .context("iceoryx2: the service back")?;
        let to = there.publisher_builder().create().context("iceoryx2: a publisher")?;
        let from = back.subscriber_builder().create().context("iceoryx2: a subscriber")?;
        Ok(Self { to, from, _node: node, number: 0 })
    }

    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let sample = self.to.loan_uninit().context("iceoryx2: a loan")?;
        sample.write_payload([number; SENT]).send().context("iceoryx2: a send")?;
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<Option<u64>> {
        let Some(sample) = self.from.receive().context("iceoryx2: a receive")? else { return Ok(None) };
        let words = sample.payload();
        std::hint::black_box(words.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)));
        Ok(Some(words[0]))
    }
}

impl<const SENT: usize, const RECEIVED: usize> Caller for Iceoryx<SENT, RECEIVED> {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<()> {
        self.number += 1;
        self.send(self.number)?;
        let mut answered = 0;
        await_answer(LOOKS, || {
            let found = self.receive()?;
            answered = found.unwrap_or(0);
            Ok(found.is_some())
        })?;
        ensure!(answered == self.number, "request {answered} was answered instead of {}", self.number);
        Ok(())
    }
}

impl<const SENT: usize, const RECEIVED: usize> Echo for Iceoryx<SENT, RECEIVED> {
    #[inline(always)]
    fn answer(&mut self) -> Result<bool> {
        let Some(number) = self.receive()? else { return Ok(false) };
        self.send(number)?;
        Ok(true)
    }
}
