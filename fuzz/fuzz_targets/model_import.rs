//! Any bytes as the file of a training library: refused, or a model that is valid and that every kernel scores alike.
//!
//! The first byte says whose file it is. The files of `model/tests/golden` with such a byte before them are seeds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_model::archive;
use tollgate_model::import::{Format, Options, import};
use tollgate_model::kernel::Kernel;
use tollgate_model::scorer::Scorer;
use tollgate_model::walk;

fuzz_target!(|input: &[u8]| {
    let Some((format, bytes)) = input.split_first() else { return };
    let format = Format::ALL[usize::from(*format) % Format::ALL.len()];
    let Ok(model) = import(format, bytes, &Options::default()) else { return };
    let opened = archive::open(&archive::seal(&model)).expect("what is imported is valid");
    let numbers = [f64::NAN, 0.0, -0.5, 1e-35, 3.0, 64.0, 1e9, f64::INFINITY, f64::NEG_INFINITY];
    let from_file = bytes.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight bytes")));
    let row: Vec<f64> = numbers.into_iter().chain(from_file).cycle().take(model.inputs.len()).collect();
    let walked = walk::margin(&opened, &row);
    for kernel in Kernel::available() {
        let margin = Scorer::with_kernel(&opened, kernel).margin(&opened, &row);
        assert!(margin.to_bits() == walked.to_bits() || margin.is_nan() && walked.is_nan(), "{}", kernel.name());
    }
});
