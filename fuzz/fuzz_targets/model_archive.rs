//! Any bytes as the body of a model, behind a good header: refused, or scored by every kernel alike.
//!
//! `tollctl model import` makes seeds for the corpus, less the first 64 bytes of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_model::archive;
use tollgate_model::kernel::Kernel;
use tollgate_model::model::FORMAT_VERSION;
use tollgate_model::scorer::Scorer;
use tollgate_model::{link, walk};

/// The header that `tollgate_model::archive` describes.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"TGMODEL\0".to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(blake3::hash(body).as_bytes());
    bytes.resize(64, 0);
    bytes.extend(body);
    bytes
}

fuzz_target!(|body: &[u8]| {
    let Ok(model) = archive::open(&sealed(body)) else { return };
    let numbers = [f64::NAN, 0.0, -0.5, 1e-35, 3.0, 64.0, 1e9, f64::INFINITY, f64::NEG_INFINITY];
    let rows: Vec<f64> = numbers.into_iter().cycle().take(model.inputs.len() * 5).collect();
    for kernel in Kernel::available() {
        let mut scorer = Scorer::with_kernel(&model, kernel);
        let mut margins = [0.0; 5];
        scorer.margins(&model, &rows, &mut margins);
        for (row, margin) in rows.chunks_exact(model.inputs.len()).zip(margins) {
            let walked = walk::margin(&model, row);
            assert!(margin.to_bits() == walked.to_bits() || margin.is_nan() && walked.is_nan(), "{}", kernel.name());
            link::told(&model, margin);
        }
    }
});
