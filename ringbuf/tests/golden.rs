//! The bytes of the protocol, held against `golden/*.hex`. `TOLLGATE_RING_GOLDEN=write` writes them.
//!
//! The library's client and server talk through a go-between, which sees every message and both files. What differs from
//! run to run (epoch, client id) is written as zero.

mod support;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use support::*;
use tollgate_ring::*;

/// The third request's index wraps to 0.
const FIRST: u64 = u64::MAX - 1;
const GEOMETRY: Geometry = Geometry { slot_bytes: 128, request_capacity: 4, verdict_capacity: 8 };

/// One line for each word, in the order of its bytes.
fn check(name: &str, about: &str, words: &[u64]) {
    let mut text = format!("# {about}\n# One word a line, its bytes in the order of memory.\n");
    for (i, word) in words.iter().enumerate() {
        text += &format!("{:016x} # {}\n", word.swap_bytes(), i * 8);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.hex"));
    if std::env::var_os("TOLLGATE_RING_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{} differs; found\n{text}", path.display());
}

fn masked(mut words: [u64; 16], changing: &[usize]) -> [u64; 16] {
    changing.iter().for_each(|&word| words[word] = 0);
    words
}

/// A socket that listens at `path`.
fn listening(path: &Path) -> OwnedFd {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: a call without pointers; the descriptor returned is ours.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)) };
    // SAFETY: a zeroed sockaddr_un is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    for (to, &from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = from as _;
    }
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: a valid address of the length given, and a call without pointers.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
            | libc::listen(socket.as_raw_fd(), 1)
    };
    assert_eq!(result, 0);
    socket
}

/// Passes a message on, with both files.
fn pass_files(to: &RawClient, words: &[u64; 16], fds: &[OwnedFd]) {
    let mut bytes = as_bytes(words);
    let mut control = [0_u64; 4];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a zeroed msghdr is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: `control` has room for a header and two descriptors; all buffers live until the call returns.
    let sent = unsafe {
        header.msg_controllen = libc::CMSG_SPACE(8) as _;
        let first = libc::CMSG_FIRSTHDR(&header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(8) as _;
        let data = libc::CMSG_DATA(first).cast::<libc::c_int>();
        data.write_unaligned(fds[0].as_raw_fd());
        data.add(1).write_unaligned(fds[1].as_raw_fd());
        libc::sendmsg(to.socket.as_raw_fd(), &header, 0)
    };
    assert_eq!(sent, 128);
}

fn words_of(map: &RawMap, offset: usize, count: usize) -> Vec<u64> {
    (0..count).map(|i| map.word(offset + i * 8).load(std::sync::atomic::Ordering::Acquire)).collect()
}

fn header_of(map: &RawMap) -> [u64; 16] {
    masked(words_of(map, 0, 16).try_into().unwrap(), &[5])
}

#[test]
fn the_bytes_are_as_published() {
    let (directory, path) = socket_path();
    let between = directory.path().join("between");
    let door = listening(&between);
    let listener = Listener::bind_from(&path, server_options(GEOMETRY), FIRST).unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let name = "golden".into();
            Client::connect(&between, ClientOptions { name, durable: true, ..client_options(GEOMETRY) })
                .unwrap()
        });
        let server = scope.spawn(|| accept(&listener));
        // SAFETY: no address is asked for; the descriptor returned is ours.
        let near = unsafe {
            libc::accept4(door.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        };
        // SAFETY: as above.
        let near = RawClient { socket: unsafe { OwnedFd::from_raw_fd(near) } };
        let far = RawClient::connect(&path);
        let (hello, _) = near.hear().unwrap();
        check("hello", "Hello of a client called golden that asks for durable verdicts.", &hello);
        far.say(&as_bytes(&hello));
        let (welcome, fds) = far.hear().unwrap();
        check("welcome", "Welcome; epoch (40) and client id (56) as zero.", &masked(welcome, &[5, 7]));
        pass_files(&near, &welcome, &fds);
        let (mapped, _) = near.hear().unwrap();
        check("mapped", "Mapped; epoch (16) as zero.", &masked(mapped, &[2]));
        assert_eq!(mapped[2], welcome[5]);
        far.say(&as_bytes(&mapped));
        let (active, _) = far.hear().unwrap();
        check("active", "Active; epoch (16) as zero.", &masked(active, &[2]));
        assert_eq!(active[2], welcome[5]);
        near.say(&as_bytes(&active));
        let (mut client, mut connection) = (client.join().unwrap(), server.join().unwrap());

        let [c, s] = <[OwnedFd; 2]>::try_from(fds).unwrap().map(|fd| RawMap::new(fd, libc::PROT_READ));
        check("c_header", "Header of C; epoch (40) as zero.", &header_of(&c));
        check("s_header", "Header of S; epoch (40) as zero.", &header_of(&s));
        check("c_slots", "All slots of an empty C from index 2^64 - 2.", &words_of(&c, 4096, 4 * 16));
        check("s_slots", "All slots of an empty S from index 2^64 - 2.", &words_of(&s, 4096, 8 * 8));
        client.send(0x1122, 0x0102_0304_0506_0708, 1_000_000_007, &[1, u64::MAX, 3]).unwrap();
        let about = "Slot of the first request, index 2^64 - 2, in slot 2.";
        check("request_slot", about, &words_of(&c, 4096 + 2 * 128, 16));
        let mut request = Request::new();
        assert!(connection.poll(&mut request).unwrap());
        let Request { kind, req_id, t_intended, .. } = request;
        let verdict = Verdict { kind, flags: 0x5566_7788, req_id, t_intended, payload: [9, 8, 7, 6] };
        connection.reply_when(&verdict, 1).unwrap();
        connection.release_verdicts(1);
        connection.publish();
        let about = "Slot of its verdict, index 2^64 - 2, in slot 6.";
        check("verdict_slot", about, &words_of(&s, 4096 + 6 * 64, 8));
        assert_eq!(client.recv(), Ok(Some(verdict)));
    });
    // Refused for another slot size.
    let refused = std::thread::scope(|scope| {
        let server = scope.spawn(|| accept_result(&listener).map(drop).unwrap_err());
        let client = RawClient::connect(&path);
        client.say(&as_bytes(&hello(256)));
        let (refused, _) = client.hear().unwrap();
        assert!(server.join().unwrap().to_string().contains("slot_bytes = 128"));
        refused
    });
    check("refused", "Refused: slots of 256 bytes asked for, the server's are 128.", &refused);
}
