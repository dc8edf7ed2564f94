//! Rings large enough for huge pages are made of them when the system has some, sealed like any other, and of small pages
//! when it has none.

mod support;

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use support::*;
use tollgate_ring::*;

const POOL: &str = "/proc/sys/vm/nr_hugepages";

fn exchange(huge: bool) {
    // 4096 × 512 bytes and a page: a little more than one huge page there, less than one back.
    let geometry = geometry(512, 4096);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let (connection, mut client) = join(&listener, &path, geometry);
    assert_eq!(connection.huge_pages(), Some(huge));
    let stop = flag();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| echo(connection, &stop));
        drive(&mut client, 20_000);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(server.join().unwrap(), 20_000);
    });
    let (_connection, _client, rings) = raw_pair(&listener, &path, 512);
    let fd = rings.c.fd.as_raw_fd();
    // SAFETY: calls on an open descriptor, all of them refused.
    unsafe {
        assert_eq!(libc::ftruncate(fd, 0), -1, "it could be cut");
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        assert_eq!(libc::fallocate(fd, punch, 0, 2 << 20), -1, "a hole could be punched");
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let again = libc::mmap(std::ptr::null_mut(), rings.c.bytes, writable, libc::MAP_SHARED, fd, 0);
        assert_eq!(again, libc::MAP_FAILED, "it could be mapped for writing again");
    }
}

#[test]
fn large_rings_use_huge_pages_when_there_are_any() {
    let Ok(before) = std::fs::read_to_string(POOL) else {
        println!("SKIPPED: this system has no {POOL}");
        return;
    };
    let free = || {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = memory.lines().find(|line| line.starts_with("HugePages_Free:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    if free() == 0 {
        exchange(false);
    }
    if emulated("files of huge pages (where the emulator maps them no huge page can lie: EINVAL)") {
        return;
    }
    // Two connections of two huge pages each.
    if std::fs::write(POOL, "16").is_err() || free() < 8 {
        println!("SKIPPED: huge pages cannot be reserved here");
        return;
    }
    let result = std::panic::catch_unwind(|| exchange(true));
    std::fs::write(POOL, before.trim()).unwrap();
    result.unwrap();
    if free() == 0 {
        exchange(false);
    }
}
