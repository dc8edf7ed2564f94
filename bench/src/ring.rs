//! A round trip over the ring (request slot there, 64-byte verdict slot back) against its floor.
//!
//! The floor is a ping-pong of the same bytes between the same two pinned threads: words into one of as many
//! cache-aligned blocks as the ring has slots, a sequence number last, and the same for the way back; no checks, no copies to private memory, no cursors.
//! Both run in slices of a fifth of a second, turn by turn, because the hypervisor moves the cores about: the
//! figure is the median of the slices' ratios.

use anyhow::Result;
use serde_json::json;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tollgate_ring::{
    Client, ClientOptions, Connection, Geometry, Listener, Request, ServerOptions, Verdict, monotonic_ns,
};

/// What `ring` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Bytes of a request slot: 128, 256 or 512.
    #[arg(long, default_value_t = 128)]
    slot_bytes: u32,
    /// Pairs of slices.
    #[arg(long, default_value_t = 20)]
    slices: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const SLICE_NS: u64 = 200_000_000;
/// Round trips timed together: reading the clock costs a good part of one.
const BATCH: u64 = 16;
const VERDICT_WORDS: usize = 8;

/// One direction of the ping-pong: the last word is the sequence number.
#[repr(align(128))]
struct Block([AtomicU64; 64]);

impl Block {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }

    fn write(&self, words: usize, seq: u64) {
        for word in &self.0[1..words] {
            word.store(seq, Ordering::Relaxed);
        }
        self.0[0].store(seq, Ordering::Release);
    }

    fn await_seq(&self, words: usize, seq: u64, stop: &AtomicBool) -> bool {
        while self.0[0].load(Ordering::Acquire) != seq {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            spin_loop();
        }
        let sum =
            self.0[1..words].iter().fold(0, |sum: u64, word| sum.wrapping_add(word.load(Ordering::Relaxed)));
        std::hint::black_box(sum);
        true
    }
}

/// As many blocks as the ring has slots: the line being written is then not the one being polled for the turn before.
struct Lane([Block; SLOTS]);

const SLOTS: usize = 64;

impl Lane {
    fn new() -> Self {
        Self([const { Block::new() }; SLOTS])
    }

    fn at(&self, seq: u64) -> &Block {
        &self.0[seq as usize % SLOTS]
    }
}

struct Shared {
    there: Lane,
    back: Lane,
    /// The peer thread echoes the ring if set, else the blocks.
    ring_turn: AtomicBool,
    stop: AtomicBool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("tollgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = measure(args, &directory.join("ring.sock"));
    // Best effort: a leftover directory in the temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(&directory);
    result
}

fn measure(args: &Args, socket: &std::path::Path) -> Result<()> {
    let geometry = Geometry {
        slot_bytes: args.slot_bytes,
        request_capacity: SLOTS as u32,
        verdict_capacity: SLOTS as u32,
    };
    let options = ServerOptions {
        geometry,
        schema_hash: [0; 32],
        allowed_uids: Vec::new(),
        clients_max: 1,
        handshake_timeout: Duration::from_secs(5),
    };
    let listener = Listener::bind(socket, options)?;
    let shared = Arc::new(Shared {
        there: Lane::new(),
        back: Lane::new(),
        ring_turn: AtomicBool::new(false),
        stop: AtomicBool::new(false),
    });
    let words = args.slot_bytes as usize / 8;
    let server = std::thread::spawn({
        let shared = Arc::clone(&shared);
        move || -> Result<()> {
            let connection = loop {
                if let Some(connection) = listener.accept()? {
                    break connection;
                }
            };
            crate::pin(1);
            echo(connection, &shared, words)
        }
    });
    let client_options = ClientOptions {
        schema_hash: [0; 32],
        slot_bytes: args.slot_bytes,
        name: "bench".to_owned(),
        timeout: Duration::from_secs(5),
        durable: false,
    };
    let mut client = Client::connect(socket, client_options)?;
    let core = crate::pin(0);
    let payload = vec![7; client.geometry().request_words()];
    let (mut floors, mut rings, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut seq, mut request) = (0, 0);
    for slice in 0..args.slices + 1 {
        shared.ring_turn.store(false, Ordering::SeqCst);
        let floor = slice_median(|| {
            seq += 1;
            shared.there.at(seq).write(words, seq);
            shared.back.at(seq).await_seq(VERDICT_WORDS, seq, &shared.stop);
            Ok(())
        })?;
        shared.ring_turn.store(true, Ordering::SeqCst);
        let ring = slice_median(|| {
            request += 1;
            client.send(1, request, 0, &payload)?;
            while client.recv()?.is_none() {
                spin_loop();
            }
            Ok(())
        })?;
        // The first pair warms up.
        if slice > 0 {
            floors.push(floor);
            rings.push(ring);
            ratios.push(ring / floor);
        }
    }
    shared.stop.store(true, Ordering::SeqCst);
    drop(client);
    server.join().map_err(|_| anyhow::anyhow!("the echo thread panicked"))??;
    let (floor, ring, ratio) = (median(&mut floors), median(&mut rings), median(&mut ratios));
    let name = format!("ring.rtt.{}", args.slot_bytes);
    if args.json {
        let value = json!({
            "name": name, "unit": "ns", "value": ring, "floor": floor, "ratio": ratio,
            "samples": args.slices, "core": core,
        });
        println!("{value}");
    } else {
        println!(
            "{name}: {ring:.0} ns, floor {floor:.0} ns, ratio {ratio:.2} (medians of {} slices)",
            args.slices
        );
    }
    Ok(())
}

fn echo(mut connection: Connection, shared: &Shared, words: usize) -> Result<()> {
    let mut request = Request::new();
    let mut seq = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.ring_turn.load(Ordering::Relaxed) {
            if connection.poll(&mut request)? {
                let verdict = Verdict {
                    kind: request.kind,
                    flags: 0,
                    req_id: request.req_id,
                    t_intended: request.t_intended,
                    payload: [request.payload[0]; 4],
                };
                connection.reply(&verdict)?;
                connection.publish();
            } else {
                spin_loop();
            }
        } else if shared.there.at(seq + 1).0[0].load(Ordering::Acquire) == seq + 1 {
            seq += 1;
            shared.there.at(seq).await_seq(words, seq, &shared.stop);
            shared.back.at(seq).write(VERDICT_WORDS, seq);
        } else {
            spin_loop();
        }
    }
    Ok(())
}

/// Median nanoseconds of one call, over a slice of time.
fn slice_median(mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut batches = Vec::with_capacity(1 << 17);
    let end = monotonic_ns() + SLICE_NS;
    loop {
        let start = monotonic_ns();
        for _ in 0..BATCH {
            once()?;
        }
        let now = monotonic_ns();
        batches.push((now - start) as f64 / BATCH as f64);
        if now >= end {
            return Ok(median(&mut batches));
        }
    }
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
