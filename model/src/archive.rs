//! `.tgm` files: a header with magic, version and BLAKE3, then the rkyv archive of a [`Model`].
//!
//! ```text
//! byte  0   "TGMODEL\0"
//! byte  8   format version (u32, little endian)
//! byte 12   zeros
//! byte 16   bytes of the body (u64)
//! byte 24   BLAKE3 of the body
//! byte 56   zeros
//! byte 64   the body
//! ```

use crate::model::{ArchivedModel, FORMAT_VERSION, Model};
use crate::validate::validate;
use rkyv::rancor;
use rkyv::util::AlignedVec;

const MAGIC: &[u8; 8] = b"TGMODEL\0";
const HEADER_BYTES: usize = 64;
/// The alignment of the body in memory: that of the lines that kernels read.
pub const ALIGNMENT: usize = 64;
/// The longest file that is read.
pub const FILE_BYTES_MAX: usize = 128 << 20;

/// Why bytes are not a model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ArchiveError(pub String);

fn refuse<T>(message: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError(message.into()))
}

/// The model behind its header: what a `.tgm` file holds.
///
/// # Panics
///
/// When memory runs out.
#[must_use]
pub fn seal(model: &Model) -> Vec<u8> {
    let body = archived(model);
    let body = &*body.0;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(blake3::hash(body).as_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend_from_slice(body);
    bytes
}

/// A model that was looked at, in memory of its own.
pub struct Opened(AlignedVec<ALIGNMENT>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Opened({} bytes)", self.0.len())
    }
}

impl std::ops::Deref for Opened {
    type Target = ArchivedModel;

    fn deref(&self) -> &ArchivedModel {
        // SAFETY: `archived` has just serialised these bytes, or `open` has checked their structure; nobody writes to them.
        unsafe { rkyv::access_unchecked(&self.0) }
    }
}

impl Opened {
    /// A copy that can be changed or put into another archive.
    ///
    /// # Panics
    ///
    /// When memory runs out.
    #[must_use]
    pub fn to_model(&self) -> Model {
        let Ok(model) = rkyv::deserialize::<Model, rancor::Panic>(&**self);
        model
    }
}

/// A model as it is executed, not looked at.
///
/// # Panics
///
/// When memory runs out.
#[must_use]
pub fn archived(model: &Model) -> Opened {
    // Serialising plain vectors and strings into memory has no other way to fail.
    let Ok(bytes) = rkyv::api::high::to_bytes_in::<_, rancor::Panic>(model, AlignedVec::<ALIGNMENT>::new());
    Opened(bytes)
}

/// Checks header, hash, structure and meaning, once; what it returns is trusted.
pub fn open(bytes: &[u8]) -> Result<Opened, ArchiveError> {
    if bytes.len() > FILE_BYTES_MAX {
        return refuse(format!("a model of {} bytes is longer than {FILE_BYTES_MAX}", bytes.len()));
    }
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return refuse(format!("{} bytes are too few for a model: the file is cut short", bytes.len()));
    };
    if &header[..8] != MAGIC {
        return refuse(
            "this is not a model: it does not begin with TGMODEL; import it with `tollctl model import`",
        );
    }
    let format = word32(header, 8);
    if format != FORMAT_VERSION {
        return refuse(format!(
            "this model was imported to format {format}, this build reads {FORMAT_VERSION}; import it again"
        ));
    }
    let length = u64::from(word32(header, 16)) | u64::from(word32(header, 20)) << 32;
    if length != body.len() as u64 {
        return refuse(format!("the header promises {length} bytes of model and {} are there", body.len()));
    }
    if header[24..56] != *blake3::hash(body).as_bytes() {
        return refuse("the model's hash is not the one in its header: the file is damaged");
    }
    if header[12..16].iter().chain(&header[56..]).any(|byte| *byte != 0) {
        return refuse("what has to be zero in the model's header is not: the file is damaged");
    }
    let mut aligned = AlignedVec::<ALIGNMENT>::with_capacity(body.len());
    aligned.extend_from_slice(body);
    let model = rkyv::access::<ArchivedModel, rancor::Error>(&aligned)
        .map_err(|error| ArchiveError(format!("the model's structure is damaged: {error}")))?;
    validate(model).map_err(|error| ArchiveError(format!("the model is not valid: {error}")))?;
    Ok(Opened(aligned))
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
