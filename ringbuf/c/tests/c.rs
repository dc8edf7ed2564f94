//! C programs against both libraries and against a server in this process. Needs `cc`, or the compiler that
//! `TOLLGATE_TEST_CC` names. `TOLLGATE_TEST_RUNNER` is the emulator where these tests are for another processor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ring::{Connection, Geometry, Listener, Parker, Request, ServerOptions, Verdict};

const GEOMETRY: Geometry = Geometry { slot_bytes: 128, request_capacity: 32, verdict_capacity: 64 };
/// Milliseconds that only a hang reaches.
const LONG_MS: &str = "60000";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The words of a variable: none if it is not set.
fn words_of(variable: &str) -> Vec<String> {
    std::env::var(variable).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The two libraries, built once: a test does not build them by itself, as no Rust program can link to them.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "tollgate-ring-c"]).current_dir(root());
        if words_of("TOLLGATE_TEST_RUNNER").is_empty() {
            build.arg("--target-dir").arg(target);
        } else {
            // Built for another processor, these tests lie in a directory that has its name.
            let (directory, processor) = (target.parent().unwrap(), target.file_name().unwrap());
            build.arg("--target-dir").arg(directory).arg("--target").arg(processor);
        }
        assert!(build.status().unwrap().success(), "the libraries do not build");
        target.join("debug")
    })
}

/// Compiles one program, with what else the linker needs.
fn compile(source: &Path, link: &[&str], name: &str, directory: &Path) -> PathBuf {
    let program = directory.join(name);
    let compiler = std::env::var("TOLLGATE_TEST_CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(&compiler)
        .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root().join("include"))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .args(link)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}, which these tests need: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// The program linked with the static and with the shared library.
fn both(source: &Path, directory: &Path) -> [PathBuf; 2] {
    let libraries = libraries().display();
    let archive = format!("{libraries}/libtollgate_ring.a");
    let (search, find) = (format!("-L{libraries}"), format!("-Wl,-rpath,{libraries}"));
    // What the Rust standard library needs of the system.
    let system = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];
    [
        compile(source, &[&[archive.as_str()], &system[..]].concat(), "static", directory),
        compile(source, &[&search, &find, "-ltollgate_ring"], "shared", directory),
    ]
}

fn run(program: &Path, arguments: &[&std::ffi::OsStr]) -> Output {
    let runner = words_of("TOLLGATE_TEST_RUNNER");
    let mut command = runner.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]);
    Command::new(command.next().unwrap()).args(command).args(arguments).output().unwrap()
}

fn listen(path: &Path) -> Listener {
    let options = ServerOptions {
        geometry: GEOMETRY,
        schema_hash: [7; 32],
        allowed_uids: Vec::new(),
        clients_max: 4,
        handshake_timeout: Duration::from_secs(30),
        durable: false,
    };
    // Near the end of the indices, so that they wrap.
    Listener::bind_from(path, options, u64::MAX - 50).unwrap()
}

/// Answers `count` requests at most with their length and sum, until the client is gone or all is over.
fn serve(connection: &mut Connection, listener: &Listener, count: u64, over: &AtomicBool) -> u64 {
    let mut request = Request::new();
    let mut parker = Parker::new();
    let mut served = 0;
    while served < count && !over.load(Ordering::Relaxed) && !connection.hung_up() {
        if connection.poll(&mut request).unwrap() {
            let Request { kind, flags, req_id, t_intended, .. } = request;
            let payload = [request.len.into(), request.words().iter().sum(), 0, req_id];
            connection.reply(&Verdict { kind, flags, req_id, t_intended, payload }).unwrap();
            served += 1;
        } else {
            listener.watcher().poll(Duration::ZERO);
            // Asleep now and then, so that clients have to wake it.
            parker.park([&*connection].into_iter(), Duration::from_millis(5));
        }
        connection.publish();
    }
    served
}

/// Runs a program against a server that answers `count` requests of each client and then drops it and, if `dies`, itself.
fn against_server(program: &Path, path: &Path, count: u64, dies: bool, arguments: &[&str]) -> Output {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut listener = Some(listen(path));
        let over = &over;
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Some(listening) = &listener else { return };
                // Clients that are refused or go away are the program's business.
                if let Ok(Some(mut connection)) = listening.accept() {
                    serve(&mut connection, listening, count, over);
                    if dies {
                        listener = None;
                    }
                }
            }
        });
        let mut all = vec![path.as_os_str()];
        all.extend(arguments.iter().map(std::ffi::OsStr::new));
        let output = run(program, &all);
        over.store(true, Ordering::Relaxed);
        output
    })
}

/// Every answer that a switch printed, by request: source and payload. Each request has one.
fn answers(output: &Output, count: u64) -> BTreeMap<u64, (u64, [u64; 4])> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("answer ")) {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [id, source, _silence, a, b, c, d] = numbers[..] else { panic!("{line}") };
        assert_eq!(found.insert(id, (source, [a, b, c, d])), None, "request {id} was answered twice");
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(found.keys().copied().eq(0..count), "{} answers\n{stderr}", found.len());
    found
}

fn decided(id: u64) -> (u64, [u64; 4]) {
    (0, [3, id + id * 100 + 978, 0, id])
}

const FALLBACK: (u64, [u64; 4]) = (1, [4242, 0, 0, 0]);

#[test]
fn a_switch_in_c_has_every_answer_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    for program in both(&root().join("../examples/switch.c"), directory.path()) {
        let output = against_server(&program, &path, u64::MAX, false, &["1000", LONG_MS]);
        let found = answers(&output, 1000);
        assert!(found.iter().all(|(&id, &answer)| answer == decided(id)), "{found:?}");
        assert_eq!(output.status.code(), Some(0));

        // The server answers a hundred and is gone for good.
        let output = against_server(&program, &path, 100, true, &["1000", LONG_MS]);
        let found = answers(&output, 1000);
        let (by_server, by_fallback): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, (source, _))| *source == 0);
        assert_eq!((by_server.len(), by_fallback.len()), (100, 900));
        assert!(by_server.iter().all(|&(id, answer)| answer == decided(id)));
        assert!(by_fallback.iter().all(|&(_, answer)| answer == FALLBACK));
        assert_eq!(output.status.code(), Some(3));

        // No server at all.
        let nowhere = directory.path().join("nowhere");
        let output = run(&program, &[nowhere.as_os_str(), "50".as_ref(), LONG_MS.as_ref()]);
        assert!(answers(&output, 50).values().all(|&answer| answer == FALLBACK));
        assert_eq!(output.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&output.stderr).contains("no server listens on"));
    }
}

#[test]
fn wrong_arguments_get_a_status_and_a_bare_client_works() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let nowhere = directory.path().join("nowhere");
    for program in both(&root().join("tests/arguments.c"), directory.path()) {
        let output = against_server(&program, &path, u64::MAX, false, &[nowhere.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_client_without_the_library_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let program = compile(&root().join("tests/bare.c"), &[], "bare", directory.path());
    let output = against_server(&program, &path, u64::MAX, false, &["5000"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"exchanged 5000\n");
}

#[test]
fn the_golden_bytes_are_read_and_made_by_c() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(&root().join("tests/golden.c"), &[], "golden", directory.path());
    let output = run(&program, &[root().join("../golden").as_os_str()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
