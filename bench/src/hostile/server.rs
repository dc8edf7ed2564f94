//! The serving process of `hostile`: one engine thread that serves all clients in turn, and two cold ones, for the door
//! and for noticing who has gone.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tollgate_ring::{
    AcceptError, Connection, Geometry, Listener, Quarantine, Request, ServerOptions, Verdict,
};

use crate::control::{Control, END};
use crate::machine::pin;
use crate::memory::Memory;
use crate::peer::{LISTENING, inherited};

/// What the hidden `hostile-server` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The engine thread's core.
    #[arg(long)]
    core: usize,
    /// The core of the other threads.
    #[arg(long)]
    cold_core: usize,
    /// Where to listen.
    #[arg(long)]
    socket: PathBuf,
    /// The control page, a descriptor left open by the measuring process.
    #[arg(long)]
    memory: i32,
}

/// Ring sizes of every client.
pub(crate) const GEOMETRY: Geometry =
    Geometry { slot_bytes: 256, request_capacity: 256, verdict_capacity: 256 };
/// Requests taken from one client before the next has its turn, as in the appliance.
const BURST: u64 = 16;
/// Rounds between two looks at what the cold threads have handed over.
const NEWS_EVERY: u64 = 64;
/// Longest that a cold thread waits before it looks at everything else again.
const COLD_WAIT: Duration = Duration::from_millis(5);

/// Serves until told to end; then prints its counts.
pub(crate) fn run(args: &Args) -> Result<()> {
    pin(args.cold_core)?;
    let memory = Memory::open(inherited(args.memory))?;
    let control = Control::new(&memory);
    let options = ServerOptions {
        geometry: GEOMETRY,
        schema_hash: [0; 32],
        allowed_uids: Vec::new(),
        clients_max: 64,
        handshake_timeout: Duration::from_secs(10),
        durable: false,
    };
    let listener = Listener::bind(&args.socket, options)?;
    println!("{LISTENING}");
    let (arrived, arrivals) = channel();
    let (gone, graves) = channel();
    let yields = args.core == args.cold_core;
    let quarantines = std::thread::scope(|scope| {
        let door = scope.spawn(|| attend(&listener, control, &arrived, graves));
        scope.spawn(|| {
            let watcher = listener.watcher();
            while control.turn() != END {
                watcher.poll(COLD_WAIT);
            }
        });
        let served = pin(args.core).map(|()| serve(control, &arrivals, &gone, yields));
        door.join().ok().context("the thread at the door has panicked")??;
        served
    })?;
    let counts = listener.counts();
    let [sequence, length, cursor] = quarantines;
    let refused = counts.refused.iter().sum::<u64>() + counts.went_away + counts.failed;
    println!(
        "{}",
        json!({ "accepted": counts.accepted, "unlocked": counts.unlocked, "refused": refused,
            "sequence": sequence, "length": length, "cursor": cursor })
    );
    Ok(())
}

/// The door: lets clients in, and buries those that the engine thread has finished with.
fn attend(
    listener: &Listener,
    control: Control<'_>,
    arrived: &Sender<Connection>,
    graves: Receiver<Connection>,
) -> Result<()> {
    while control.turn() != END {
        match listener.accept_within(COLD_WAIT) {
            Ok(Some(connection)) => {
                // Nobody takes it only when the engine thread has ended.
                let _ = arrived.send(connection);
            }
            Err(AcceptError::Io(error)) => return Err(error).context("the door"),
            // The others are in the listener's counts.
            Ok(None) | Err(_) => {}
        }
        graves.try_iter().for_each(drop);
    }
    Ok(())
}

/// The engine thread's loop. Returns the quarantines: by sequence number, length and cursor.
fn serve(
    control: Control<'_>,
    arrivals: &Receiver<Connection>,
    gone: &Sender<Connection>,
    yields: bool,
) -> [u64; 3] {
    let mut connections: Vec<Connection> = Vec::with_capacity(64);
    let mut request = Request::new();
    let mut quarantines = [0; 3];
    for round in 0_u64.. {
        if round.is_multiple_of(NEWS_EVERY) {
            if control.turn() == END {
                break;
            }
            connections.extend(arrivals.try_iter());
        }
        let mut idle = true;
        for connection in &mut connections {
            let mut burst = 0;
            while burst < BURST && matches!(connection.poll(&mut request), Ok(true)) {
                let verdict = Verdict {
                    kind: request.kind,
                    flags: 0,
                    req_id: request.req_id,
                    t_intended: request.t_intended,
                    payload: [request.payload[0]; 4],
                };
                if connection.reply(&verdict).is_err() {
                    break;
                }
                burst += 1;
            }
            connection.publish();
            idle &= burst == 0;
        }
        for connection in connections.extract_if(.., |c| c.hung_up() || c.quarantined().is_some()) {
            match connection.quarantined() {
                Some(Quarantine::Sequence { .. }) => quarantines[0] += 1,
                Some(Quarantine::Length { .. }) => quarantines[1] += 1,
                Some(Quarantine::VerdictCursor { .. }) => quarantines[2] += 1,
                None => {}
            }
            // Dropping unmaps memory: not here. Nobody takes it only when the door has ended.
            let _ = gone.send(connection);
        }
        if idle && yields {
            std::thread::yield_now();
        }
    }
    quarantines
}
