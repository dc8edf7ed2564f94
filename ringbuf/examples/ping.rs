//! Round trips between this process and an echo server in a child process, one at a time, both polling.
//!
//! `cargo run --release -p tollgate-ring --example ping [round trips] [slot bytes]`
//!
//! This is a closed loop: it shows what one message costs, not what happens under load, and its tail is that of the
//! machine it runs on. The clock is read twice per round trip, and its own cost is printed beside the result.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tollgate_ring::*;

const WARM_UP: usize = 100_000;
/// Polls before a yield; where cores are scarce, a peer that is not running cannot answer.
const SPINS_MAX: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path, slot_bytes] = &arguments[..]
        && role == "serve"
    {
        return serve(Path::new(path), slot_bytes.parse()?);
    }
    let count: usize = arguments.first().map_or(Ok(1_000_000), |a| a.parse())?;
    let slot_bytes: u32 = arguments.get(1).map_or(Ok(128), |a| a.parse())?;
    let path = std::env::temp_dir().join(format!("tollgate-ping-{}", std::process::id()));
    let mut server = std::process::Command::new(std::env::current_exe()?)
        .args(["serve".as_ref(), path.as_os_str(), slot_bytes.to_string().as_ref()])
        .spawn()?;
    let result = ping(&path, count, slot_bytes);
    // The server ends by itself when we hang up; not if we never got to it.
    if result.is_err() {
        server.kill()?;
    }
    server.wait()?;
    result
}

fn ping(path: &Path, count: usize, slot_bytes: u32) -> Result<(), Box<dyn Error>> {
    let options = ClientOptions {
        schema_hash: [0; 32],
        slot_bytes,
        name: "ping".into(),
        timeout: Duration::from_secs(5),
        durable: false,
    };
    let mut client = loop {
        match Client::connect(path, options.clone()) {
            Err(ConnectError::NotListening { .. }) => std::thread::sleep(Duration::from_millis(5)),
            result => break result?,
        }
    };
    let payload = vec![1; client.geometry().request_words()];
    let mut nanoseconds = Vec::with_capacity(count);
    for n in 0..count + WARM_UP {
        let start = monotonic_ns();
        client.send(1, n as u64, start, &payload)?;
        let mut spins = 0_u32;
        let verdict = loop {
            if let Some(verdict) = client.recv()? {
                break verdict;
            }
            spins += 1;
            if spins.is_multiple_of(SPINS_MAX) && !client.is_alive() {
                return Err("the server died".into());
            }
            pause(spins);
        };
        if n >= WARM_UP {
            nanoseconds.push(monotonic_ns() - verdict.t_intended);
        }
    }
    let clock_start = monotonic_ns();
    for _ in 0..1000 {
        std::hint::black_box(monotonic_ns());
    }
    let clock = (monotonic_ns() - clock_start) / 1000;
    nanoseconds.sort_unstable();
    let at = |per_million: usize| nanoseconds[(nanoseconds.len() - 1) * per_million / 1_000_000];
    println!("{count} round trips, closed loop, {slot_bytes}-byte slots, clock read {clock} ns");
    for (name, per_million) in
        [("p50", 500_000), ("p90", 900_000), ("p99", 990_000), ("p99.9", 999_000), ("max", 1_000_000)]
    {
        println!("{name:>6} {:>10} ns", at(per_million));
    }
    Ok(())
}

fn pause(spins: u32) {
    if spins.is_multiple_of(SPINS_MAX) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

fn serve(path: &Path, slot_bytes: u32) -> Result<(), Box<dyn Error>> {
    let options = ServerOptions {
        geometry: Geometry { slot_bytes, request_capacity: 1024, verdict_capacity: 1024 },
        schema_hash: [0; 32],
        allowed_uids: Vec::new(),
        clients_max: 1,
        handshake_timeout: Duration::from_secs(5),
        durable: false,
    };
    let listener = Listener::bind(path, options)?;
    let watcher = listener.watcher();
    let mut connection = loop {
        if let Some(connection) = listener.accept()? {
            break connection;
        }
    };
    let lifeline = connection.lifeline();
    std::thread::spawn(move || {
        while !lifeline.hung_up() {
            watcher.poll(Duration::from_millis(100));
        }
    });
    let mut request = Request::new();
    let mut spins = 0_u32;
    while !connection.hung_up() {
        if connection.poll(&mut request)? {
            let Request { kind, flags, req_id, t_intended, .. } = request;
            connection.reply(&Verdict { kind, flags, req_id, t_intended, payload: [0; 4] })?;
            connection.publish();
            spins = 0;
        } else {
            spins += 1;
            pause(spins);
        }
    }
    Ok(())
}
