//! What fields and lists hold in several words: texts, addresses, and entries of lists.

/// The most bytes that a field of type text may have.
pub const TEXT_FIELD_BYTES_MAX: usize = 64;
/// The most words of a text, and of any entry of a list.
pub const TEXT_WORDS_MAX: usize = TEXT_FIELD_BYTES_MAX / 8;

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Bits or digits of a prefix; else 0.
    pub width: u8,
    /// The entry's words, filled up with zeros.
    pub words: [u64; TEXT_WORDS_MAX],
}

impl Entry {
    /// The entry of these words; of more than there can be, the first.
    #[must_use]
    pub fn new(width: u8, of: &[u64]) -> Self {
        let mut words = [0; TEXT_WORDS_MAX];
        words.iter_mut().zip(of).for_each(|(word, of)| *word = *of);
        Self { width, words }
    }

    /// A prefix of so many bits (1 to 128) of an address.
    #[must_use]
    pub fn address(address: [u64; 2], bits: u8) -> Self {
        Self::new(bits, &masked(address, bits))
    }

    /// Leading digits of a card: up to eight, their number.
    #[must_use]
    pub fn leading(digits: u32, number: u64) -> Self {
        Self::new(digits as u8, &[number])
    }
}

/// An address without the bits behind its first ones.
#[inline]
#[must_use]
pub fn masked(address: [u64; 2], bits: u8) -> [u64; 2] {
    let whole = u128::from(address[0]) << 64 | u128::from(address[1]);
    let kept = whole & u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    [(kept >> 64) as u64, kept as u64]
}

/// Whether a text has 13 to 19 digits that end in the check digit of a card number (ISO/IEC 7812: Luhn's): in a row, or in
/// groups between which there are spaces and dashes only.
#[must_use]
pub fn has_card_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let begins = |at: &usize| is_digit(*at) && (*at == 0 || !is_digit(at - 1));
    (0..bytes.len()).filter(begins).any(|start| {
        // The sums of the digits so far: doubled are those at even, or at odd places.
        let (mut digits, mut sums) = (0_usize, [0_u32; 2]);
        for (at, byte) in bytes.iter().enumerate().skip(start) {
            match byte {
                byte @ b'0'..=b'9' => {
                    let digit = u32::from(byte - b'0');
                    let doubled = if digit > 4 { 2 * digit - 9 } else { 2 * digit };
                    sums[digits % 2] += doubled;
                    sums[1 - digits % 2] += digit;
                    digits += 1;
                }
                b' ' | b'-' => continue,
                _ => return false,
            }
            if digits > 19 {
                return false;
            }
            if digits >= 13 && !is_digit(at + 1) && sums[digits % 2].is_multiple_of(10) {
                return true;
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_addresses_lose_the_bits_behind_them() {
        assert_eq!(masked([u64::MAX; 2], 0), [0, 0]);
        assert_eq!(masked([u64::MAX; 2], 1), [1 << 63, 0]);
        assert_eq!(masked([u64::MAX; 2], 64), [u64::MAX, 0]);
        assert_eq!(masked([u64::MAX; 2], 104), [u64::MAX, u64::MAX << 24]);
        assert_eq!(masked([u64::MAX; 2], 128), [u64::MAX; 2]);
    }

    #[test]
    fn card_numbers_are_seen_and_other_digits_are_not() {
        for text in [
            "4111111111111111",
            "pay 4111 1111-1111 1111 now",
            "x4111111111111111",
            "4222222222222",
            "6304000000000000000",
            "4111111111111111 1226",
            "4111 1111 1111 1111 12/26",
            "12 4111111111111111",
            "12-26-4111-1111-1111-1111",
        ] {
            assert!(has_card_number(text), "{text}");
        }
        for text in [
            "",
            "4111111111111112",
            "411111111111",
            "41111111111111110000",
            "4111.1111.1111.1111",
            "DE89370400440532013000",
            "+49 30 1234567",
        ] {
            assert!(!has_card_number(text), "{text}");
        }
    }
}
