//! Shared-memory rings between a client that asks and a server that answers.
//!
//! # What it is
//!
//! Each client has two memory files, split by who writes them, so that page tables and not good manners keep the
//! two processes apart. The client writes **C** (request slots, its verdict cursor, its heartbeat) and the server maps
//! C read-only; the server writes **S** (verdict slots, its request cursor, heartbeat, doorbell) and the client maps S
//! read-only. Both files are made by the server, sized once, and sealed. Nothing is left in the file system: the
//! files live as long as the processes that hold them, and the only name is the socket used to say hello.
//!
//! The crate knows nothing of what is asked. A request is up to [`REQUEST_WORDS_MAX`] words of 64 bits, a verdict is
//! four. [`layout`] gives every offset, so that other languages can follow it.
//!
//! # Who trusts whom
//!
//! The server trusts nothing it reads from C. Geometry is kept in private memory and never read again from a shared
//! page; a slot is copied to private memory first and judged after, and only the copy is used. A sequence number,
//! length or cursor that cannot be right is a [`Quarantine`] of that client alone. The client checks the server's
//! cursors and sequence numbers too, so that a broken server is an error and not a wrong answer.
//!
//! # Memory ordering
//!
//! A producer writes the payload as relaxed 8-byte atomics, then `seq` with Release. A consumer loads `seq` relaxed
//! and then issues an Acquire fence: a relaxed load is all that Rust promises on a read-only mapping. `seq` is the
//! running index plus one. A slot not yet written on this lap still holds the number of the lap before, and the server
//! fills every slot that way before anyone sees it, so "empty" is one comparison, also when the index wraps.
//!
//! # Flow
//!
//! Every request gets exactly one verdict. The client keeps requests in flight (sent, verdict not yet received) at or
//! below the verdict capacity, so an answer always has a slot to go to; the server checks it against the client's
//! verdict cursor and stops reading a client that has no credit. A full ring is [`SendError::Busy`] in the client: what
//! to do then, and by when, is the client's decision, or that of its [`Session`].
//!
//! # Waiting
//!
//! Polling is the default and makes no system call. Either side may park, always for a bounded time. The sleeper
//! announces itself in memory it owns, fences SeqCst, looks once more and sleeps on a word that only its waker writes;
//! the waker publishes, fences SeqCst, looks for the announcement, and only then bumps that word and wakes. As the
//! sleeper read the word before announcing, a wake that comes between the last look and the sleep changes the word and
//! the sleep returns at once. A futex word cannot block its waker, as a full eventfd can. A client that sleeps is woken at
//! most 2 000 times a second, so that pretending to sleep costs the server no system call for each verdict: who wants
//! every verdict at once polls.
//!
//! # The life of a connection
//!
//! [`Listener`] (cold thread) shakes hands and yields a [`Connection`], owned by the engine thread. [`Watcher`] (cold
//! thread) marks connections whose peer is gone. [`Client`] is the other end; [`Client::split`] gives a [`Sender`]
//! and a [`Receiver`] for two threads. A client that has to have an answer in time, whatever becomes of the server, uses a
//! [`Session`]: it owns a client, the deadline, the verdict declared for silence, and what to send again after a
//! reconnection.
//!
//! # The server's loop
//!
//! ```no_run
//! use std::time::Duration;
//! use tollgate_ring::{Connection, Parker, Request, Verdict};
//!
//! /// `gone` takes what is finished with to a cold thread: dropping a connection unmaps memory.
//! fn serve(mut connections: Vec<Connection>, mut parker: Parker, gone: std::sync::mpsc::Sender<Connection>) {
//!     let mut request = Request::new();
//!     let mut idle_rounds = 0;
//!     loop {
//!         let mut work = 0;
//!         for connection in &mut connections {
//!             // A bounded burst for each, so that a busy client does not starve the next.
//!             let mut burst = 0;
//!             while burst < 16 && matches!(connection.poll(&mut request), Ok(true)) {
//!                 let verdict = Verdict { req_id: request.req_id, ..Verdict::default() };
//!                 connection.reply(&verdict).expect("one verdict for each request taken");
//!                 burst += 1;
//!             }
//!             connection.publish();
//!             work += burst;
//!         }
//!         for connection in connections.extract_if(.., |c| c.hung_up() || c.quarantined().is_some()) {
//!             let _ = gone.send(connection);
//!         }
//!         idle_rounds = if work > 0 { 0 } else { idle_rounds + 1 };
//!         if idle_rounds > 10_000 {
//!             parker.park(connections.iter(), Duration::from_millis(50));
//!             idle_rounds = 0;
//!         }
//!     }
//! }
//! ```
//!
//! Each half of a client belongs to one thread at a time, and the compiler says so:
//!
//! ```compile_fail,E0277
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<tollgate_ring::Sender>();
//! ```
//! ```compile_fail,E0277
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<tollgate_ring::Receiver>();
//! ```
//! ```compile_fail,E0277
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<tollgate_ring::Session>();
//! ```
//!
//! # What is deliberately absent
//!
//! No meaning: what a late answer is worth, and what silence decides, is declared by whoever opens a [`Session`], and a
//! bare [`Client`] has no deadline and never connects again. No memory of requests over the death of the *client*. No
//! variable-length messages and no messages over several slots. No big-endian hosts.

#[cfg(target_endian = "big")]
compile_error!("the ring's layout is little-endian; big-endian hosts are not supported");
#[cfg(not(target_os = "linux"))]
compile_error!("the ring needs Linux: memfd seals, futexes and pidfds");

pub mod layout;

mod client;
mod connect;
mod ends;
mod error;
mod file;
mod handshake;
mod listener;
mod memory;
#[cfg(test)]
mod model;
mod order;
mod server;
mod session;
mod sync;
mod wait;
mod watch;

pub use client::{Client, Receiver, Sender};
pub use connect::{ClientOptions, ConnectError, Connecting};
pub use error::{Closed, Quarantine, ReplyError, SendError};
pub use handshake::Refusal;
pub use layout::{Geometry, GeometryError, REQUEST_WORDS_MAX, Request, VERDICT_WORDS, Verdict};
pub use listener::{AcceptError, BindError, Listener, ListenerCounts, ServerOptions};
pub use server::{Connection, Principal};
pub use session::{
    Answer, Fallback, Session, SessionCounts, SessionError, SessionOptions, Silence, Source, SubmitError,
};
pub use wait::{Bell, Parked, Parker, monotonic_ns};
pub use watch::{Lifeline, Watcher};

/// Ownership may move between threads.
const _: () = {
    const fn can_move<T: Send>() {}
    can_move::<Client>();
    can_move::<Sender>();
    can_move::<Receiver>();
    can_move::<Connecting>();
    can_move::<Session>();
    can_move::<Connection>();
    can_move::<Parker>();
};
