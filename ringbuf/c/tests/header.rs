//! The committed header is what the code makes of itself. `TOLLGATE_RING_HEADER=write` writes it.

use std::path::Path;

#[test]
fn the_header_is_made_from_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    // The modules of lib.rs are followed; the counts of a session are the ring's own structure.
    let builder = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/lib.rs"))
        .with_src(root.join("../src/session/terms.rs"));
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    // The heading that Rust's readers expect says little in C.
    let made = String::from_utf8(made).unwrap().replace(" # Safety\n", " Pointers:\n");
    let path = root.join("include/tollgate_ring.h");
    if std::env::var_os("TOLLGATE_RING_HEADER").is_some_and(|value| value == "write") {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is not what the code says: run this test with TOLLGATE_RING_HEADER=write",
        path.display()
    );
}
