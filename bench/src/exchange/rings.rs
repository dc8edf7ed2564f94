//! The ring itself, used as any client and server would.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tollgate_ring::{
    Client, ClientOptions, ConnectError, Connection, Geometry, Listener, Request, ServerOptions, Verdict,
};

use super::{Caller, Echo, LOOKS, SLOTS, await_answer};

/// Longest time for the two processes to find each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// The asking end.
pub(crate) struct RingCaller {
    client: Client,
    payload: Vec<u64>,
    number: u64,
}

impl RingCaller {
    /// Connects to the server of [`RingEcho::accept`], which must be listening.
    pub(crate) fn connect(socket: &Path, slot_bytes: usize) -> Result<Self, ConnectError> {
        let options = ClientOptions {
            schema_hash: [0; 32],
            slot_bytes: slot_bytes as u32,
            name: "bench".to_owned(),
            timeout: PATIENCE,
            durable: false,
        };
        let client = Client::connect(socket, options)?;
        let payload = vec![7; client.geometry().request_words()];
        Ok(Self { client, payload, number: 0 })
    }
}

impl Caller for RingCaller {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<()> {
        self.number += 1;
        self.payload[0] = self.number;
        self.client.send(1, self.number, 0, &self.payload)?;
        let mut verdict = Verdict::default();
        await_answer(LOOKS, || {
            let found = self.client.recv()?;
            verdict = found.unwrap_or(verdict);
            Ok(found.is_some())
        })?;
        ensure!(verdict.payload == [self.number; 4], "the ring answered another request than the last one");
        Ok(())
    }
}

/// The answering end.
pub(crate) struct RingEcho {
    connection: Connection,
    request: Request,
}

impl RingEcho {
    /// Listens, and lets one client in. The socket file is gone afterwards.
    pub(crate) fn accept(socket: &Path, slot_bytes: usize) -> Result<Self> {
        let geometry = Geometry {
            slot_bytes: slot_bytes as u32,
            request_capacity: SLOTS as u32,
            verdict_capacity: SLOTS as u32,
        };
        let options = ServerOptions {
            geometry,
            schema_hash: [0; 32],
            allowed_uids: Vec::new(),
            clients_max: 1,
            handshake_timeout: PATIENCE,
            durable: false,
        };
        let listener = Listener::bind(socket, options)?;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(connection) = listener.accept()? {
                return Ok(Self { connection, request: Request::new() });
            }
            ensure!(Instant::now() < end, "no client came to {}", socket.display());
        }
    }
}

impl Echo for RingEcho {
    #[inline(always)]
    fn answer(&mut self) -> Result<bool> {
        let Self { connection, request } = self;
        if !connection.poll(request)? {
            return Ok(false);
        }
        let verdict = Verdict {
            kind: request.kind,
            flags: 0,
            req_id: request.req_id,
            t_intended: request.t_intended,
            payload: [request.payload[0]; 4],
        };
        connection.reply(&verdict)?;
        connection.publish();
        Ok(true)
    }
}
