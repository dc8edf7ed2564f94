//! A server at its limits: descriptors, file sizes, locked memory. Each in a process of its own, because limits are the
//! whole process's; the clients are in this one.

mod hostile_rig;
mod support;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use hostile_rig::*;
use support::*;
use tollgate_ring::*;

const SERVER_VARIABLE: &str = "TOLLGATE_RING_LIMITED_SERVER";
/// Who nobody is, on every Linux.
const NOBODY: libc::uid_t = 65_534;
const CLIENTS_MAX: u32 = 64;

fn sizes() -> Geometry {
    geometry(128, 64)
}

/// Sets the soft limit; the hard one stays, so that it can be raised again.
fn limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into and sets from a structure of ours.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut limits), 0);
        limits.rlim_cur = soft.min(limits.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limits), 0, "{}", io::Error::last_os_error());
    }
}

/// Not a test by itself: a server that limits itself as the files in its directory say, and writes down what it counts.
/// It looks for files by name, which takes no descriptor.
#[test]
fn child_server() {
    let Some(directory) = std::env::var_os(SERVER_VARIABLE) else { return };
    let directory = Path::new(&directory);
    let is_there = |name: &str| directory.join(name).exists();
    // SAFETY: ignores one signal, so that a file too large is an error and not the end.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let report = std::fs::File::create(directory.join("counts")).unwrap();
    if is_there("unlockable") {
        limit(libc::RLIMIT_MEMLOCK, 0);
        // SAFETY: calls without pointers; root's rights end here.
        let result =
            unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) | libc::setresuid(NOBODY, NOBODY, NOBODY) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
    let options = ServerOptions { clients_max: CLIENTS_MAX, ..server_options(sizes()) };
    let service = Service::start(&directory.join("ring"), options);
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(u64::MAX, |all| all.count() as u64);
    let used = descriptors();
    let switches = [
        ("few-descriptors", libc::RLIMIT_NOFILE, used + 20, 4096),
        ("small-files", libc::RLIMIT_FSIZE, 4096, u64::MAX),
    ];
    let mut limited = [false; 2];
    until("told to stop", || {
        for (is_on, (name, resource, few, many)) in limited.iter_mut().zip(switches) {
            if is_there(name) != *is_on {
                *is_on = !*is_on;
                limit(resource, if *is_on { few } else { many });
            }
        }
        let (counts, total) = (service.counts(), service.total());
        let text = format!(
            "accepted {}\nunlocked {}\nwent_away {}\nfailed {}\nno_resources {}\nrefused {}\nquarantined {}\nconnected {}\nmore_descriptors {}\nlimited {}\n",
            counts.accepted,
            counts.unlocked,
            counts.went_away,
            counts.failed,
            service.refused("no_resources"),
            counts.refused.iter().sum::<u64>(),
            total.quarantined(),
            counts.accepted - total.departed,
            // To look takes one: not while they are counted out.
            if limited[0] { u64::MAX } else { descriptors().saturating_sub(used) },
            limited.iter().filter(|&&is_on| is_on).count(),
        );
        // Always of the same length at least, so that no old digit is left.
        report.write_all_at(format!("{text:\n<400}").as_bytes(), 0).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        is_there("stop")
    });
    service.stop();
}

/// A limited server in a process of its own.
struct Limited {
    directory: tempfile::TempDir,
    process: Child,
}

impl Limited {
    fn start(switches: &[&str]) -> Limited {
        let directory = tempfile::tempdir().unwrap();
        // A server without rights has to make its socket here.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        for name in switches {
            std::fs::write(directory.path().join(name), []).unwrap();
        }
        let process = child("child_server", SERVER_VARIABLE, directory.path().as_os_str());
        Limited { directory, process }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ring")
    }

    /// Turns a limit on or off, and waits until it is so.
    fn switch(&self, name: &str, on: bool) {
        let file = self.directory.path().join(name);
        if on {
            std::fs::write(file, []).unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
        self.reaches("limited", on.into());
    }

    fn counts(&self) -> HashMap<String, u64> {
        let text = std::fs::read_to_string(self.directory.path().join("counts")).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    fn count(&self, name: &str) -> u64 {
        self.counts().get(name).copied().unwrap_or(0)
    }

    fn reaches(&self, name: &str, value: u64) {
        until(&format!("{name} reaches {value}"), || {
            std::thread::sleep(Duration::from_millis(1));
            self.count(name) == value
        });
    }

    fn connect(&self) -> Result<Client, ConnectError> {
        Client::connect(&self.path(), client_options(sizes()))
    }

    /// Waits for the server; a neighbour that is served from now on.
    fn first(&self) -> Neighbour {
        until("the server listens", || self.connect().is_ok());
        // What the first one took has to be there again, down to what the watcher still had in hand.
        self.reaches("accepted", 1);
        self.reaches("connected", 0);
        self.reaches("more_descriptors", 0);
        Neighbour::start(&self.path(), sizes())
    }

    fn stop(mut self) {
        std::fs::write(self.directory.path().join("stop"), []).unwrap();
        assert!(self.process.wait().unwrap().success(), "the server failed");
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn assert_no_resources(result: Result<Client, ConnectError>) {
    let error = result.err().expect("the server has nothing left");
    assert!(matches!(error, ConnectError::Refused(Refusal::NoResources)), "{error}");
    assert!(error.to_string().contains("no memory or descriptors left"), "{error}");
}

#[test]
fn without_descriptors_clients_are_told_and_the_others_go_on() {
    let server = Limited::start(&[]);
    let neighbour = server.first();
    server.switch("few-descriptors", true);
    let mut clients = Vec::new();
    // Every client takes two descriptors or more, of twenty.
    let refused = loop {
        assert!(clients.len() <= 20, "the limit is not felt");
        match server.connect() {
            Ok(client) => clients.push(client),
            refused => break refused,
        }
    };
    assert_no_resources(refused);
    assert!(clients.len() >= 2, "only {} were let in", clients.len());
    // It goes on telling, each of them; and it goes on serving.
    for _ in 0..10 {
        assert_no_resources(server.connect());
        neighbour.goes_on(100);
    }
    clients.iter_mut().for_each(|client| drive(client, 1000));
    server.reaches("no_resources", 11);
    // Who leaves makes room.
    let all = clients.len();
    clients.truncate(all - 2);
    until("one more is let in", || {
        clients.extend(server.connect());
        clients.len() == all - 1
    });
    clients.iter_mut().for_each(|client| drive(client, 1000));
    server.switch("few-descriptors", false);
    clients.extend((0..10).map(|_| server.connect().unwrap()));
    clients.iter_mut().for_each(|client| drive(client, 100));
    println!("{} clients beside the neighbour; {:?}", clients.len(), server.counts());
    let counts = server.counts();
    assert_eq!((counts["failed"], counts["quarantined"]), (0, 0));
    assert_eq!(counts["refused"], counts["no_resources"]);
    neighbour.finish();
    server.stop();
}

#[test]
fn without_room_for_files_clients_are_told_and_the_others_go_on() {
    let server = Limited::start(&[]);
    let neighbour = server.first();
    let mut before = server.connect().unwrap();
    server.switch("small-files", true);
    for told in 1..=10 {
        assert_no_resources(server.connect());
        server.reaches("no_resources", told);
        neighbour.goes_on(100);
    }
    drive(&mut before, 1000);
    server.switch("small-files", false);
    // No place was lost by the refusals: the neighbour, the one before, and as many as there may be.
    let others: Vec<_> = (2..CLIENTS_MAX).map(|_| server.connect().unwrap()).collect();
    let error = server.connect().err().expect("all places are taken");
    assert!(matches!(error, ConnectError::Refused(Refusal::TooManyClients { .. })), "{error}");
    server.reaches("refused", 11);
    drop(others);
    let counts = server.counts();
    assert_eq!((counts["no_resources"], counts["failed"], counts["quarantined"]), (10, 0, 0), "{counts:?}");
    neighbour.finish();
    server.stop();
}

#[test]
fn without_locked_memory_clients_are_served_and_it_is_counted() {
    // SAFETY: a call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: no locked memory at all: only root can give up its rights to lock");
        return;
    }
    let server = Limited::start(&["unlockable"]);
    let neighbour = server.first();
    let mut client = server.connect().unwrap();
    drive(&mut client, 1000);
    neighbour.goes_on(1000);
    // The server could lock none of its rings; this process, which has the rights, all of them.
    assert!(client.locked());
    until("all are counted", || server.count("accepted") >= 3);
    let counts = server.counts();
    assert_eq!((counts["unlocked"], counts["refused"], counts["failed"]), (counts["accepted"], 0, 0));
    neighbour.finish();
    server.stop();
}
