//! The appliance where its memory file system is full: it says so and ends, and is not killed by a page that is not there.

mod rig;

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use rig::{Oracle, POLICY, Rig, ask};
use tollgate::engine::wire::Admission;

/// Gives the command a tmpfs of this size as its runtime directory, which only it and its children can see.
fn with_tmpfs(rig: &Rig, mut command: Command, bytes: u64) -> Command {
    std::fs::create_dir_all(rig.runtime()).unwrap();
    let directory = CString::new(rig.runtime().as_os_str().as_bytes()).unwrap();
    let options = CString::new(format!("size={bytes},mode=0700")).unwrap();
    let in_child = move || {
        let done = |result: libc::c_int| match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        let nothing = std::ptr::null();
        // SAFETY: system calls on strings made before the fork, which live as long as the closure.
        unsafe {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            done(libc::mount(nothing, c"/".as_ptr(), nothing, private, std::ptr::null()))?;
            let tmpfs = c"tmpfs".as_ptr();
            done(libc::mount(tmpfs, directory.as_ptr(), tmpfs, 0, options.as_ptr().cast()))
        }
    };
    // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(in_child) };
    command
}

/// What became of a start there. None: this process may not mount, and says so.
fn start(rig: &Rig, bytes: u64) -> Option<Output> {
    match with_tmpfs(rig, rig.command(), bytes).output() {
        Ok(output) => Some(output),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) => {
            println!(
                "SKIPPED: a full tmpfs: mounting one in a namespace of its own is not permitted ({error})"
            );
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_full_tmpfs_is_an_error_that_names_the_file() {
    let rig = Rig::new(POLICY);
    // Nothing fits, less than the ring fits, all but the last page fits: the ring is 1 MiB and a header.
    for bytes in [4096, 64 << 10, 1 << 20] {
        let Some(output) = start(&rig, bytes) else { return };
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{bytes} bytes: {}, {said}", output.status);
        assert!(output.stdout.is_empty(), "it was not ready");
        let file = rig.runtime().join("journal.ring");
        assert!(said.contains(file.to_str().unwrap()), "{bytes} bytes: {said}");
        assert!(said.contains("make the tmpfs larger, or ring_bytes smaller"), "{bytes} bytes: {said}");
    }
    // The refusals have left the journal as it was: with room it starts and decides.
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let event = oracle.payment(1, 1, 100);
    let outcome = ask(&mut running.connect(&oracle), &event, 0);
    assert_eq!(outcome, oracle.decide(&event, Admission::Normal));
    running.stop();
}
