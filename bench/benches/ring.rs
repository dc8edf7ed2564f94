//! The ring's own instructions: both ends on one thread, so that no cache line travels between cores.
//!
//! `push and take/N`: a request of N bytes written by the client and copied out by the server. `reply and receive/N`: a
//! verdict the other way. What `tollgate-bench ring` shows beyond their sum is the way between two cores.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate_ring::{Client, ClientOptions, Connection, Geometry, Listener, Request, ServerOptions, Verdict};

const CAPACITY: u32 = 64;
/// Operations between two readings of the clock: fewer than the ring holds.
const BATCH: u64 = 32;

/// Both ends of one connection.
struct Pair {
    client: Client,
    connection: Connection,
    payload: Vec<u64>,
    request: Request,
    number: u64,
}

impl Pair {
    fn new(slot_bytes: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("ring.sock");
        let timeout = Duration::from_secs(5);
        let options = ServerOptions {
            geometry: Geometry { slot_bytes, request_capacity: CAPACITY, verdict_capacity: CAPACITY },
            schema_hash: [0; 32],
            allowed_uids: Vec::new(),
            clients_max: 1,
            handshake_timeout: timeout,
            durable: false,
        };
        let listener = Listener::bind(&socket, options).expect("a listener");
        let connecting = std::thread::spawn(move || {
            let options = ClientOptions {
                schema_hash: [0; 32],
                slot_bytes,
                name: "bench".into(),
                timeout,
                durable: false,
            };
            Client::connect(&socket, options)
        });
        let connection = loop {
            if let Some(connection) = listener.accept().expect("a good handshake") {
                break connection;
            }
        };
        let client = connecting.join().expect("no panic").expect("a client");
        let payload = vec![7; client.geometry().request_words()];
        Self { client, connection, payload, request: Request::new(), number: 0 }
    }

    fn push_and_take(&mut self) {
        self.number += 1;
        self.client.send(1, self.number, 0, &self.payload).expect("room");
        assert!(self.connection.poll(&mut self.request).expect("no quarantine"));
    }

    fn reply_and_receive(&mut self) {
        let verdict = Verdict { kind: 1, req_id: self.number, ..Verdict::default() };
        self.connection.reply(&verdict).expect("a request to answer");
        self.connection.publish();
        assert!(self.client.recv().expect("an open connection").is_some());
    }

    /// Times one half of `count` round trips, the other half apart.
    fn time(&mut self, count: u64, there: bool) -> Duration {
        let (mut left, mut time) = (count, Duration::ZERO);
        while left > 0 {
            let batch = left.min(BATCH);
            let start = Instant::now();
            (0..batch).for_each(|_| self.push_and_take());
            let middle = Instant::now();
            (0..batch).for_each(|_| self.reply_and_receive());
            time += if there { middle - start } else { middle.elapsed() };
            left -= batch;
        }
        time
    }
}

fn ring(c: &mut Criterion) {
    for slot_bytes in [128, 256, 512] {
        let mut pair = Pair::new(slot_bytes);
        c.bench_function(&format!("push and take/{slot_bytes}"), |b| {
            b.iter_custom(|count| pair.time(count, true));
        });
        c.bench_function(&format!("reply and receive/{slot_bytes}"), |b| {
            b.iter_custom(|count| pair.time(count, false));
        });
    }
}

criterion_group!(benches, ring);
criterion_main!(benches);
