//! Policies on disk: a file, and the files that it uses.

use crate::policy::Sources;
use crate::policy::parser::SOURCE_BYTES_MAX;
use crate::policy::sources::MODEL_BYTES_MAX;
use std::path::Path;

/// Reads the policy in this file, with all files that it uses. The error says why the file itself cannot be read; what
/// is wrong with the others is an error of the policy.
pub fn read(path: &Path) -> Result<Sources, String> {
    let bytes = bytes(path, SOURCE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut read = |file: &str| self::bytes(&folder.join(file), MODEL_BYTES_MAX);
    Ok(Sources::read(&path.display().to_string(), &text, &mut read))
}

/// A file, unless it is longer than one may be.
fn bytes(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > most as u64 {
        return Err(format!("its {length} bytes are more than {most}"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_from_the_folder_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        write("main.policy", b"policy p revision 1\nuse \"sub/a.policy\"\n");
        write("sub/a.policy", b"use \"../b.policy\"\nevent e { card: card }\n");
        write("b.policy", b"entity card\n");
        let main = folder.path().join("main.policy");
        let policy = read(&main).unwrap().check().unwrap();
        assert_eq!((policy.entities.len(), policy.events.len()), (1, 1));

        write("b.policy", b"\xff");
        let sources = read(&main).unwrap();
        let found = sources.check().unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "`b.policy` cannot be read: it is not UTF-8 text");
        assert!(sources.render(&found).contains(&format!("{}/sub/a.policy:1:5", folder.path().display())));
        assert!(read(&folder.path().join("none.policy")).is_err());
    }
}
