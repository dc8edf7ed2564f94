//! Texts that are compared word for word, and written anew with `GOLDEN_UPDATE=1`.

use std::path::Path;

/// Whether `told` is what is written in `file`; after an update it is.
pub(crate) fn is_expected(file: &Path, told: &str) -> bool {
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        std::fs::write(file, told).unwrap();
    }
    std::fs::read_to_string(file).unwrap_or_default() == told
}
