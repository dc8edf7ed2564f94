//! C programs, and one in C++, against both libraries and against a server in this process. Needs `cc`, or the compiler
//! that `TOLLGATE_TEST_CC` names; says so if there is no `g++` or `TOLLGATE_TEST_CXX`. `TOLLGATE_TEST_RUNNER` is the
//! emulator where these tests are for another processor.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ring::{Connection, Geometry, Listener, Parker, Request, ServerOptions, Verdict};

const GEOMETRY: Geometry = Geometry { slot_bytes: 128, request_capacity: 32, verdict_capacity: 64 };
/// How long a program may run, which only a hang reaches.
const LIMIT: Duration = Duration::from_secs(60);
/// The same in milliseconds, as a deadline for requests.
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

fn compiler_cpp() -> String {
    std::env::var("TOLLGATE_TEST_CXX").unwrap_or_else(|_| "g++".into())
}

/// Compiles one program, with what else the linker needs.
fn compile(source: &Path, link: &[&str], name: &str, directory: &Path) -> PathBuf {
    let program = directory.join(name);
    let (compiler, standard) = if source.extension().is_some_and(|extension| extension == "cpp") {
        (compiler_cpp(), "-std=c++11")
    } else {
        (std::env::var("TOLLGATE_TEST_CC").unwrap_or_else(|_| "cc".into()), "-std=c11")
    };
    let output = Command::new(&compiler)
        .args([standard, "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root().join("include"))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .args(link)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}, which this test needs: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn with_static_library(source: &Path, directory: &Path) -> PathBuf {
    let archive = format!("{}/libtollgate_ring.a", libraries().display());
    // Behind it, what the Rust standard library needs of the system.
    compile(source, &[&archive, "-lpthread", "-ldl", "-lm", "-lgcc_s"], "static", directory)
}

/// The program linked with the static and with the shared library.
fn both(source: &Path, directory: &Path) -> [PathBuf; 2] {
    let libraries = libraries().display();
    let (search, find) = (format!("-L{libraries}"), format!("-Wl,-rpath,{libraries}"));
    let shared = compile(source, &[&search, &find, "-ltollgate_ring"], "shared", directory);
    [with_static_library(source, directory), shared]
}

/// Runs a program that was compiled here, under the emulator if it is for another processor.
fn run(program: &Path, arguments: &[&OsStr]) -> Output {
    let runner = words_of("TOLLGATE_TEST_RUNNER");
    let mut words = runner.iter().map(OsStr::new).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    run_within(LIMIT, command.args(words).args(arguments))
}

/// Runs a command to its end; kills it and fails when that takes longer than the limit.
fn run_within(limit: Duration, command: &mut Command) -> Output {
    // Files, because a pipe that nobody reads fills up and would hold the program.
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let mut child =
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap()).spawn().unwrap();
    let end = Instant::now() + limit;
    let ended: Option<ExitStatus> = loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || Instant::now() >= end {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let [stdout, stderr] = [&mut stdout, &mut stderr].map(all_of);
    let Some(status) = ended else {
        let said = String::from_utf8_lossy(&stderr);
        panic!("{command:?} was killed: it had not ended after {limit:?}\n{said}");
    };
    Output { status, stdout, stderr }
}

fn all_of(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
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

/// Ends the server's thread however the test ends, so that a failure does not become a hang.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The next client, until all is over. Those that are refused or go away are the program's business.
fn next_client(listener: &Listener, over: &AtomicBool) -> Option<Connection> {
    while !over.load(Ordering::Relaxed) {
        if let Ok(Some(connection)) = listener.accept() {
            return Some(connection);
        }
    }
    None
}

/// Takes `takes` requests at most, and answers the first `answers` of them with their length and sum, until the client is
/// gone or all is over. The first word of each request taken.
fn serve(
    connection: &mut Connection,
    listener: &Listener,
    answers: usize,
    takes: usize,
    over: &AtomicBool,
) -> Vec<u64> {
    let mut request = Request::new();
    let mut parker = Parker::new();
    let mut taken = Vec::new();
    while taken.len() < takes && !over.load(Ordering::Relaxed) && !connection.hung_up() {
        if connection.poll(&mut request).unwrap() {
            let Request { kind, flags, req_id, t_intended, .. } = request;
            let payload = [request.len.into(), request.words().iter().sum(), 0, req_id];
            if taken.len() < answers {
                connection.reply(&Verdict { kind, flags, req_id, t_intended, payload }).unwrap();
            }
            taken.push(request.words()[0]);
        } else {
            listener.watcher().poll(Duration::ZERO);
            // Asleep now and then, so that clients have to wake it.
            parker.park([&*connection].into_iter(), Duration::from_millis(5));
        }
        connection.publish();
    }
    taken
}

/// Serves the first client to come, as [`serve`] does, and is gone.
fn serve_one(listener: Listener, answers: usize, takes: usize, over: &AtomicBool) -> Vec<u64> {
    let Some(mut connection) = next_client(&listener, over) else { return Vec::new() };
    let taken = serve(&mut connection, &listener, answers, takes, over);
    // Before the connection: a client that is told of its end finds nobody listening.
    drop(listener);
    taken
}

/// Runs a program against a server that answers all that its clients ask.
fn against_server(program: &Path, path: &Path, arguments: &[&str]) -> Output {
    let over = AtomicBool::new(false);
    let listener = listen(path);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(mut connection) = next_client(&listener, &over) {
                serve(&mut connection, &listener, usize::MAX, usize::MAX, &over);
            }
        });
        let _over = Over(&over);
        run(program, &with_path(path, arguments))
    })
}

fn with_path<'a>(path: &'a Path, arguments: &'a [&'a str]) -> Vec<&'a OsStr> {
    [path.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new)).collect()
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
        let output = against_server(&program, &path, &["1000", LONG_MS]);
        let found = answers(&output, 1000);
        assert!(found.iter().all(|(&id, &answer)| answer == decided(id)), "{found:?}");
        assert_eq!(output.status.code(), Some(0));

        // The server answers a hundred and is gone for good.
        let (listener, over) = (listen(&path), AtomicBool::new(false));
        let output = std::thread::scope(|scope| {
            scope.spawn(|| serve_one(listener, 100, 100, &over));
            let _over = Over(&over);
            run(&program, &with_path(&path, &["1000", LONG_MS]))
        });
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
fn a_session_in_c_outlives_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let call = directory.path().join("call");
    for program in both(&root().join("tests/returns.c"), directory.path()) {
        for patience in ["patient", "hasty"] {
            let over = AtomicBool::new(false);
            let [first, second] = std::thread::scope(|scope| {
                let server = scope.spawn(|| {
                    let first = serve_one(listen(&path), 40, 60, &over);
                    while !call.exists() && !over.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    [first, serve_one(listen(&path), usize::MAX, usize::MAX, &over)]
                });
                let until_over = Over(&over);
                assert_success(&run(&program, &with_path(&path, &[call.to_str().unwrap(), patience])));
                drop(until_over);
                server.join().unwrap()
            });
            // What was not answered in its first life comes again in its second, in order, then what is new.
            assert!(first.iter().copied().eq(0..60), "{first:?}");
            assert!(second.iter().copied().eq(40..=100), "{second:?}");
            std::fs::remove_file(&call).unwrap();
        }
    }
}

#[test]
fn both_headers_are_also_cpp() {
    // An emulator may say only by the status that there is no such program.
    if !Command::new(compiler_cpp()).arg("--version").output().is_ok_and(|output| output.status.success()) {
        // Not by a macro, whose words a passing test keeps to itself.
        writeln!(std::io::stderr(), "SKIPPED: both_headers_are_also_cpp needs {}", compiler_cpp()).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = with_static_library(&root().join("tests/both.cpp"), directory.path());
    assert_success(&run(&program, &[]));
}

#[test]
#[should_panic(expected = "had not ended after")]
fn a_program_that_hangs_is_killed() {
    run_within(Duration::from_millis(20), Command::new("sleep").arg("1000"));
}

#[test]
fn wrong_arguments_get_a_status_and_a_bare_client_works() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let nowhere = directory.path().join("nowhere");
    for program in both(&root().join("tests/arguments.c"), directory.path()) {
        let output = against_server(&program, &path, &[nowhere.to_str().unwrap()]);
        assert_success(&output);
    }
}

#[test]
fn a_client_without_the_library_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let program = compile(&root().join("tests/bare.c"), &[], "bare", directory.path());
    let output = against_server(&program, &path, &["5000"]);
    assert_success(&output);
    assert_eq!(output.stdout, b"exchanged 5000\n");
}

#[test]
fn the_golden_bytes_are_read_and_made_by_c() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(&root().join("tests/golden.c"), &[], "golden", directory.path());
    let output = run(&program, &[root().join("../golden").as_os_str()]);
    assert_success(&output);
}
