//! A validated program, in the bytes it lies in.

use super::program::ArchivedProgram;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes that hold an archived program for as long as anyone executes it: a sealed memfd mapping, or memory.
pub trait ProgramBytes: AsRef<[u8]> + Send + Sync + 'static {}
impl<T: AsRef<[u8]> + Send + Sync + 'static> ProgramBytes for T {}

/// A validated program together with the bytes it lives in.
#[derive(Clone)]
pub struct Loaded {
    /// Points into what `owner.as_ref()` returned, once, when this was made.
    program: NonNull<ArchivedProgram>,
    owner: Arc<dyn ProgramBytes>,
    hash: [u8; 32],
}

// SAFETY: a `Loaded` gives shared access alone, to an `ArchivedProgram` (plain data, `Sync`) inside an owner that
// is `Send + Sync` itself.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Takes what `find` finds in the owner's bytes. The caller vouches that it was validated.
    ///
    /// `find` must not be able to smuggle in a reference from elsewhere that lives shorter than the bytes: its
    /// signature, for every lifetime, sees to that.
    pub(crate) fn from_owner<E>(
        owner: Arc<dyn ProgramBytes>,
        find: impl for<'a> FnOnce(&'a [u8]) -> Result<(&'a ArchivedProgram, [u8; 32]), E>,
    ) -> Result<Self, E> {
        let (program, hash) = find((*owner).as_ref())?;
        let program = NonNull::from(program);
        Ok(Self { program, owner, hash })
    }

    /// The program.
    #[inline]
    #[must_use]
    pub fn program(&self) -> &ArchivedProgram {
        // SAFETY: the pointer was made from a reference that borrowed `*owner`. The `Arc` keeps the owner at its
        // address and, as nothing here ever asks for exclusive access, shared for as long as `self` lives; so
        // that borrow could have lasted as long as the one given out.
        unsafe { self.program.as_ref() }
    }

    /// The bytes the program lives in, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }

    /// BLAKE3 of the archive.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}
