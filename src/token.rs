//! Keyed tokens: how a name in clear text becomes a 128-bit key.
//!
//! A switch tokenises at its edge with a secret the appliance never sees; the appliance's own tools (replay, the
//! demo, lists) use this one. A token depends on the secret, the key version, the entity kind and the text.

use crate::engine::units::{EventId, Key};

/// Turns names into keys with one secret.
#[derive(Clone)]
pub struct Tokenizer {
    secret: [u8; 32],
}

/// The text is sixteen digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "this value is sixteen digits, which is a raw card number; replace it by a token before it gets here"
)]
pub struct RawCardNumber;

impl Tokenizer {
    /// With this secret and key version.
    #[must_use]
    pub fn new(secret: &[u8], version: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tollgate 2026 key tokens");
        hasher.update(&version.to_le_bytes());
        hasher.update(secret);
        Self { secret: *hasher.finalize().as_bytes() }
    }

    /// The key of `text` among the keys of `kind`.
    pub fn key(&self, kind: &str, text: &str) -> Result<Key, RawCardNumber> {
        if is_raw_card_number(text) {
            return Err(RawCardNumber);
        }
        Ok(Key(self.words(kind, text)))
    }

    /// A 128-bit event id from the sender's own.
    #[must_use]
    pub fn event_id(&self, kind: &str, text: &str) -> EventId {
        EventId(self.words(kind, text))
    }

    fn words(&self, kind: &str, text: &str) -> [u64; 2] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&(kind.len() as u64).to_le_bytes());
        hasher.update(kind.as_bytes());
        hasher.update(text.as_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let (low, high) = bytes.split_at(8);
        let word = |half: &[u8]| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        [word(low), word(high)]
    }
}

impl Default for Tokenizer {
    /// For replays and demonstrations, where the names are not secret.
    fn default() -> Self {
        Self::new(b"not secret", 1)
    }
}

fn is_raw_card_number(text: &str) -> bool {
    let digits = || text.chars().filter(|c| !matches!(c, ' ' | '-'));
    digits().count() == 16 && digits().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_depends_on_secret_version_kind_and_text() {
        let tokens = [
            Tokenizer::new(b"a", 1).key("card", "c1"),
            Tokenizer::new(b"b", 1).key("card", "c1"),
            Tokenizer::new(b"a", 2).key("card", "c1"),
            Tokenizer::new(b"a", 1).key("device", "c1"),
            Tokenizer::new(b"a", 1).key("card", "c2"),
        ];
        for (i, token) in tokens.iter().enumerate() {
            assert!(tokens[..i].iter().all(|other| other != token));
        }
        assert_eq!(tokens[0], Tokenizer::new(b"a", 1).key("card", "c1"));
    }

    #[test]
    fn raw_card_numbers_are_refused_however_they_are_spaced() {
        for text in ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"] {
            assert_eq!(Tokenizer::default().key("card", text), Err(RawCardNumber));
        }
        assert!(Tokenizer::default().key("card", "411111111111111").is_ok());
    }
}
