//! Files that are written at once: at every moment they hold the old or the new bytes, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

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
