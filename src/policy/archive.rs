//! Program ↔ bytes: a header with magic, version and BLAKE3, then the rkyv archive.
//!
//! ```text
//! byte  0   "TOLLGATE"
//! byte  8   format version (u32, little endian)
//! byte 12   semantics version (u32)
//! byte 16   bytes of the body (u64)
//! byte 24   BLAKE3 of the body
//! byte 56   zeros
//! byte 64   the body
//! ```
//!
//! [`open`] checks all of it, once: header, hash, structure (bytecheck), meaning
//! ([`validate`](crate::engine::validate)). The body is then executed where it lies.

use crate::engine::program::{ArchivedProgram, Program, SEMANTICS_VERSION};
use crate::engine::validate::validate;
use crate::engine::{Loaded, ProgramBytes};
use rkyv::rancor;
use rkyv::util::AlignedVec;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"TOLLGATE";
/// Version of this header and of the shape of the archive. There is no migration: compile the policy again.
pub const FORMAT_VERSION: u32 = 4;
const HEADER_BYTES: usize = 64;
/// The body's alignment in memory, as for everything the engine reads often.
const ALIGNMENT: usize = 64;
/// The longest archive that is read.
const ARCHIVE_BYTES_MAX: usize = 256 << 20;

/// Why bytes are not an executable program.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ArchiveError(pub String);

fn refuse<T>(message: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError(message.into()))
}

/// Archives a program behind its header.
///
/// # Panics
///
/// When memory runs out.
#[must_use]
pub fn seal(program: &Program) -> Vec<u8> {
    // Serialising plain vectors and strings into memory has no other way to fail.
    let Ok(body) = rkyv::to_bytes::<rancor::Panic>(program);
    with_header(&body)
}

pub(super) fn with_header(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&SEMANTICS_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(blake3::hash(body).as_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend_from_slice(body);
    bytes
}

/// Checks header, hash, structure and meaning, once; what it returns is trusted.
pub fn open(bytes: impl ProgramBytes) -> Result<Loaded, ArchiveError> {
    let mut owner: Arc<dyn ProgramBytes> = Arc::new(bytes);
    // Only now is the address final: the bytes may have been inside `bytes` itself.
    let slice: &[u8] = (*owner).as_ref();
    if slice.as_ptr().align_offset(ALIGNMENT) != 0 {
        let mut aligned = AlignedVec::<ALIGNMENT>::with_capacity(slice.len());
        aligned.extend_from_slice(slice);
        owner = Arc::new(aligned);
    }
    Loaded::from_owner(owner, find)
}

/// The program in these bytes and its hash.
fn find(bytes: &[u8]) -> Result<(&ArchivedProgram, [u8; 32]), ArchiveError> {
    if bytes.len() > ARCHIVE_BYTES_MAX {
        return refuse(format!("a program of {} bytes is longer than {ARCHIVE_BYTES_MAX}", bytes.len()));
    }
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return refuse(format!("{} bytes are too few for a program: the file is cut short", bytes.len()));
    };
    if &header[..8] != MAGIC {
        return refuse("this is not a compiled policy: it does not begin with TOLLGATE");
    }
    let (format, semantics) = (word32(header, 8), word32(header, 12));
    if format != FORMAT_VERSION {
        return refuse(format!(
            "this policy was compiled to format {format}, this build reads {FORMAT_VERSION}; compile it again"
        ));
    }
    if semantics != SEMANTICS_VERSION {
        return refuse(format!(
            "this policy was compiled for semantics {semantics}, this build has {SEMANTICS_VERSION}; compile it again"
        ));
    }
    let length = u64::from(word32(header, 16)) | u64::from(word32(header, 20)) << 32;
    if length != body.len() as u64 {
        return refuse(format!("the header promises {length} bytes of program and {} are there", body.len()));
    }
    let hash = *blake3::hash(body).as_bytes();
    if header[24..56] != hash {
        return refuse("the program's hash is not the one in its header: the file is damaged");
    }
    if header[56..].iter().any(|byte| *byte != 0) {
        return refuse("the end of the program's header is not zero: the file is damaged");
    }
    let program = rkyv::access::<ArchivedProgram, rancor::Error>(body)
        .map_err(|error| ArchiveError(format!("the program's structure is damaged: {error}")))?;
    validate(program).map_err(|error| ArchiveError(format!("the program is not valid: {error}")))?;
    Ok((program, hash))
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
