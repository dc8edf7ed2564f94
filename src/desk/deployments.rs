//! Which policies were deployed to a running appliance, kept beside the journal.
//!
//! Beside the archive of each policy lie its sources, and in `deployed.json` one entry for each deployment. What runs after a
//! restart is decided by the journal: if its last epoch was decided by a policy that was deployed onto the one that is
//! configured, that policy goes on. A configured policy that has changed since counts as the newer word.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::policy::Sources;

/// The entries that are kept; beyond it the oldest go.
const ENTRIES_MAX: usize = 1_000;
/// The longest file that is read back.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// One deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployed {
    /// BLAKE3 of the program, in hexadecimal.
    pub hash: String,
    /// The policy's name.
    pub policy: String,
    /// Its revision.
    pub revision: u32,
    /// The program of the configured policy at that time.
    pub configured: String,
    /// The program that it took over from and goes back to.
    pub before: Option<String>,
    /// When, as RFC 3339.
    pub at: String,
    /// User id of who deployed it.
    pub by: u32,
}

/// The texts of a policy: the first file's name, and all files by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// The first file.
    pub name: String,
    /// All files, the first included. Names of others begin as that of the first does, up to its last `/`.
    pub files: BTreeMap<String, String>,
    /// The files of its models, in Base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
}

impl Texts {
    /// Those of a policy that was read.
    #[must_use]
    pub fn of(sources: &Sources) -> Self {
        let files: Vec<(&str, &str)> = sources.files().collect();
        Self {
            name: files.first().map_or_else(String::new, |first| first.0.to_owned()),
            files: files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            models: sources
                .models()
                .map(|(name, bytes)| (name.to_owned(), BASE64_STANDARD.encode(bytes)))
                .collect(),
        }
    }

    /// Reads the policy.
    #[must_use]
    pub fn read(&self) -> Sources {
        let text = self.files.get(&self.name).map_or("", String::as_str);
        let folder = &self.name[..self.name.rfind('/').map_or(0, |slash| slash + 1)];
        Sources::read(&self.name, text, &mut |path| {
            let name = format!("{folder}{path}");
            if let Some(text) = self.files.get(&name) {
                return Ok(text.clone().into_bytes());
            }
            let model = self.models.get(&name).ok_or_else(|| "it was not sent along".to_owned())?;
            BASE64_STANDARD.decode(model).map_err(|error| format!("it was sent damaged: {error}"))
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Deployments {
    dir: PathBuf,
    entries: Vec<Deployed>,
}

fn json_error(path: &Path, error: &serde_json::Error) -> io::Error {
    io::Error::other(format!("{}: {error}; move it away to go on without it", path.display()))
}

impl Deployments {
    /// Reads what is kept in the journal's directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("deployed.json");
        let entries = match read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| json_error(&path, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { dir: dir.to_owned(), entries })
    }

    /// The newest deployment of this program.
    #[must_use]
    pub fn find(&self, hash: &str) -> Option<&Deployed> {
        self.entries.iter().rev().find(|entry| entry.hash == hash)
    }

    /// Whether nothing was ever deployed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps an entry, durably.
    pub fn add(&mut self, entry: Deployed) -> io::Result<()> {
        self.entries.push(entry);
        if self.entries.len() > ENTRIES_MAX {
            self.entries.remove(0);
        }
        let text = serde_json::to_vec_pretty(&self.entries)?;
        write(&self.dir, &self.dir.join("deployed.json"), &text)
    }

    fn texts_path(&self, hash: &str) -> PathBuf {
        self.dir.join(format!("policy-{}.json", &hash[..hash.len().min(16)]))
    }

    /// Keeps the texts of a program, durably.
    pub fn store_texts(&self, hash: &str, texts: &Texts) -> io::Result<()> {
        let path = self.texts_path(hash);
        let text = serde_json::to_vec(texts)?;
        if read(&path).is_ok_and(|stored| stored == text) {
            return Ok(());
        }
        write(&self.dir, &path, &text)
    }

    /// The texts of a program.
    pub fn texts(&self, hash: &str) -> io::Result<Texts> {
        let path = self.texts_path(hash);
        serde_json::from_slice(&read(&path)?).map_err(|error| json_error(&path, &error))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(named)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(named(io::Error::other(format!("{bytes} bytes are too many"))));
    }
    std::fs::read(path).map_err(named)
}

fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().suffix(".tmp").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hash: &str, configured: &str) -> Deployed {
        Deployed {
            hash: hash.to_owned(),
            policy: "p".to_owned(),
            revision: 2,
            configured: configured.to_owned(),
            before: None,
            at: "2026-01-31T00:00:00Z".to_owned(),
            by: 0,
        }
    }

    #[test]
    fn what_was_deployed_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut deployments = Deployments::open(dir.path()).unwrap();
        assert!(deployments.is_empty());
        deployments.add(entry("a", "c")).unwrap();
        deployments.add(Deployed { revision: 3, ..entry("a", "d") }).unwrap();
        let again = Deployments::open(dir.path()).unwrap();
        assert_eq!(again.entries, deployments.entries);
        assert_eq!(again.find("a").unwrap().revision, 3);
        assert!(again.find("b").is_none() && !again.is_empty());
        std::fs::write(dir.path().join("deployed.json"), "[{}]").unwrap();
        assert!(Deployments::open(dir.path()).unwrap_err().to_string().contains("missing field"));
    }

    #[test]
    fn texts_are_found_by_the_names_that_use_says() {
        let dir = tempfile::tempdir().unwrap();
        let deployments = Deployments::open(dir.path()).unwrap();
        let read = |path: &str| match path {
            "sub/a.policy" => Ok(b"entity card\nevent e { card: card }\n".to_vec()),
            _ => Err("none".to_owned()),
        };
        let first = "policy p revision 1\nuse \"sub/a.policy\"\n";
        let sources = Sources::read("x/y/main.policy", first, &mut { read });
        let texts = Texts::of(&sources);
        assert_eq!(texts.files.len(), 2);
        deployments.store_texts("0123456789abcdef01", &texts).unwrap();
        let back = deployments.texts("0123456789abcdef01").unwrap();
        assert_eq!(back, texts);
        assert_eq!(back.read().check().unwrap(), sources.check().unwrap());
        let alone = Texts {
            files: texts.files.into_iter().filter(|file| file.0.ends_with("main.policy")).collect(),
            ..texts
        };
        let found = alone.read().check().unwrap_err();
        assert_eq!(found[0].message, "`sub/a.policy` cannot be read: it was not sent along");
    }
}
