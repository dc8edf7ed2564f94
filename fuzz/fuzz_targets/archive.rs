//! Any bytes as the body of a compiled policy, behind a good header: refused, or executed without harm.
//!
//! `tollctl policy compile` makes seeds for the corpus, less the first 64 bytes of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::engine::program::SEMANTICS_VERSION;
use tollgate::engine::units::{Time, Value};
use tollgate::engine::wire::{Admission, EVENT_WORDS_MAX, Input};
use tollgate::engine::{Engine, Limits, Rules};
use tollgate::policy::archive;

/// The header that `policy::archive` describes.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"TOLLGATE".to_vec();
    bytes.extend(archive::FORMAT_VERSION.to_le_bytes());
    bytes.extend(SEMANTICS_VERSION.to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(blake3::hash(body).as_bytes());
    bytes.resize(64, 0);
    bytes.extend(body);
    bytes
}

fuzz_target!(|body: &[u8]| {
    let Ok(loaded) = archive::open(sealed(body)) else { return };
    let mut words = [0_u64; EVENT_WORDS_MAX];
    let filled = words[4..].iter_mut().zip(body.chunks_exact(8).rev());
    filled.for_each(|(word, bytes)| *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
    let limits = Limits { keys_max: 16, spill_bytes_max: 1 << 16, dedup_entries_max: 16, ..Limits::default() };
    let mut engine = Engine::new(loaded.clone(), &limits).ok();
    for (kind, event) in loaded.program().events.iter().enumerate() {
        let words = &mut words[..usize::from(event.words.to_native())];
        for (number, presence) in [0, event.required.to_native(), event.known.to_native()].into_iter().enumerate() {
            (words[0], words[2], words[3]) = (number as u64, 1 + number as u64, presence);
            let kind = kind as u16;
            if let Some(mut rules) = Rules::new(&loaded, kind) {
                rules.features().fill([Value::MISSING, Value::int(i64::MIN), Value::ratio(1, 3)][number]);
                rules.fired(words, presence, Time(1));
            }
            if let Some(engine) = &mut engine {
                let received = Time(1);
                engine.step(&Input { principal: 0, kind, admission: Admission::Normal, received, words });
            }
        }
    }
});
