//! The semantic pass over an archived program: after it, the engine trusts every index.

use super::program::{ArchivedProgram, SEMANTICS_VERSION};

/// The most of anything that is numbered with 16 bits.
pub const COUNT_MAX: usize = 16_384;
/// The most instructions.
pub const CODE_MAX: usize = 1 << 20;
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest text for people, in bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// The most changes of offset of one time zone.
pub const ZONE_STARTS_MAX: usize = 4_096;
/// How deep an expression may be nested, definitions included.
pub const DEPTH_MAX: usize = 512;
/// Words before the first group of a record: the key and the greatest event time.
pub const RECORD_HEADER_WORDS: usize = 3;
/// The most words of one record.
pub const RECORD_WORDS_MAX: usize = 1_024;
/// The most rows of a group kept in the record.
pub const INLINE_ROWS_MAX: usize = 64;

/// Checks everything on which the engine relies. The error says what is wrong and where.
pub fn validate(program: &ArchivedProgram) -> Result<(), String> {
    let semantics = program.semantics.to_native();
    if semantics != SEMANTICS_VERSION {
        return Err(format!("the program has semantics version {semantics}, this build {SEMANTICS_VERSION}"));
    }
    Ok(())
}
