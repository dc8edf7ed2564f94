//! The control socket: one JSON object a line, answered in order. For the appliance's own user and root.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Desk, Request};
use crate::log::Log;
use crate::os::peer;

/// The longest line: the texts of a policy, with every character escaped, and its models in Base64.
const LINE_BYTES_MAX: u64 = 100 << 20;
/// How long a peer may take to send a line or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The listening end. Its file is gone when it is dropped.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds; what is left of an appliance that was killed is replaced, as the caller holds the lock of its directory.
    pub(crate) fn bind(path: &Path) -> std::io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves one peer after the other until told to stop.
    pub(crate) fn run(&self, mut desk: Desk, stop: &Arc<AtomicBool>, log: Log) {
        while !stop.load(Ordering::Acquire) {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = serve(&stream, &mut desk, stop) {
                        log.debug(format_args!("a peer of the control socket left: {error}"));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK_EVERY),
                Err(error) => {
                    log.error(format_args!("the control socket cannot be listened on: {error}"));
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(stream: &UnixStream, desk: &mut Desk, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let by = peer::user(stream)?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while !stop.load(Ordering::Acquire) {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_whole = line.last() == Some(&b'\n');
        let mut answer = if by != 0 && by != peer::own_user() {
            refusal("only the appliance's own user and root may ask here", "run it as that user")
        } else if !is_whole {
            refusal(&format!("a line of {} bytes has no end", line.len()), "end each object with a line feed")
        } else {
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => desk.handle(request, by),
                Err(error) => refusal(
                    &format!("this is no request: {error}"),
                    "docs/OPERATING.md lists what can be asked",
                ),
            }
        }
        .to_string();
        answer.push('\n');
        let mut out = stream;
        out.write_all(answer.as_bytes())?;
        if !is_whole {
            return Ok(());
        }
    }
    Ok(())
}

fn refusal(error: &str, help: &str) -> Value {
    json!({ "ok": false, "error": error, "help": help })
}
