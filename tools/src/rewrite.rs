//! Files that are written at once: at every moment they hold the old or the new bytes, whole.
//!
//! [`write()`] is for bytes that are there, [`Beside`] for those that are yet to come.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Writes the file, or replaces it: then mode and owner stay, and a link stays one. The bytes are on the disk when this
/// returns.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link is followed. What is not there yet is made where it is named.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let before = match fs::metadata(&file) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = || -> io::Result<()> {
        let mode = if before.is_some() { 0o600 } else { 0o666 };
        let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        new.write_all(bytes)?;
        if let Some(before) = &before {
            let made = new.metadata()?;
            if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
                fchown(&new, Some(before.uid()), Some(before.gid()))?;
            }
            // After the owner, as a change of owner may take bits of the mode away.
            new.set_permissions(before.permissions())?;
        }
        new.sync_all()?;
        fs::rename(&beside, &file)?;
        File::open(folder)?.sync_all()
    };
    written().inspect_err(|_| {
        // What went wrong is reported; the new file may not even be there.
        let _ = fs::remove_file(&beside);
    })
}

/// A file that is written beside its target, under another name, and takes the target's when it is complete. Dropped before
/// that, it leaves nothing behind.
pub(crate) struct Beside {
    target: PathBuf,
    temporary: PathBuf,
    finished: bool,
}

impl Beside {
    /// Begins the file.
    pub(crate) fn create(target: &Path) -> io::Result<(Self, File)> {
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary)?;
        Ok((Self { target: target.to_owned(), temporary, finished: false }, file))
    }

    /// The name that it will have.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.target)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing to be done about it if it cannot be removed: it has a name of its own.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
