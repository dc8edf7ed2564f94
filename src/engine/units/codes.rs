//! Codes that fields carry in one word: countries, merchant categories, the leading digits of cards.
//!
//! Each has one number per meaning, so that equal codes are equal words, and one order in which ranges of them are
//! ranges of numbers.

/// ISO 3166-1 alpha-2 codes of countries, in order; and `XK`, which banks use for Kosovo.
pub const COUNTRIES: &[&str] = &[
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA",
    "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV",
    "BW", "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU",
    "CV", "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES",
    "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM",
    "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM", "HN", "HR", "HT", "HU", "ID", "IE",
    "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM",
    "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY",
    "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT",
    "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU",
    "NZ", "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA",
    "RE", "RO", "RS", "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM",
    "SN", "SO", "SR", "SS", "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL",
    "TM", "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE",
    "VG", "VI", "VN", "VU", "WF", "WS", "XK", "YE", "YT", "ZA", "ZM", "ZW",
];

/// A country: its two letters as one number, the first in the higher byte (`CN` is 0x434e).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(pub u16);

/// The known countries, one bit for each pair of letters.
const COUNTRY_BITS: [u32; 26] = {
    let mut bits = [0; 26];
    let mut at = 0;
    while at < COUNTRIES.len() {
        let letters = COUNTRIES[at].as_bytes();
        bits[(letters[0] - b'A') as usize] |= 1 << (letters[1] - b'A');
        at += 1;
    }
    bits
};

impl Country {
    /// The country with these two letters (capitals).
    #[must_use]
    pub fn from_alpha(code: &str) -> Option<Self> {
        let &[first, second] = code.as_bytes() else { return None };
        Self::from_number(u64::from(first) << 8 | u64::from(second))
    }

    /// The country with this number, if there is one.
    #[inline]
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let [first, second] = u16::try_from(number).ok()?.to_be_bytes();
        let bits = COUNTRY_BITS.get(usize::from(first.wrapping_sub(b'A')))?;
        let bit = second.wrapping_sub(b'A');
        (bit < 26 && bits >> bit & 1 == 1).then_some(Self(number as u16))
    }

    /// The two letters.
    #[must_use]
    pub fn alpha(self) -> &'static str {
        let letters = self.0.to_be_bytes();
        COUNTRIES.iter().find(|code| code.as_bytes() == letters).copied().unwrap_or("??")
    }
}

/// The greatest merchant category code (ISO 18245): four digits.
pub const MCC_MAX: u64 = 9_999;

/// The 6 to 8 leading digits of a card, as one number: the digits filled up to eight with zeros behind, then how many
/// there are. 411111 is 411111006, and 41111122 is 411111228.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bin(pub u32);

/// The fewest digits of a [`Bin`].
pub const BIN_DIGITS_MIN: u32 = 6;
/// The most digits of a [`Bin`].
pub const BIN_DIGITS_MAX: u32 = 8;

impl Bin {
    /// These digits, 6 to 8 of them.
    #[must_use]
    pub fn from_digits(digits: &str) -> Option<Self> {
        let count = u32::try_from(digits.len()).ok()?;
        if !(BIN_DIGITS_MIN..=BIN_DIGITS_MAX).contains(&count) || !digits.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let digits: u32 = digits.parse().ok()?;
        Some(Self(digits * 10_u32.pow(BIN_DIGITS_MAX - count) * 10 + count))
    }

    /// The digits with this number, if it stands for some.
    #[inline]
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let (filled, count) = (number / 10, (number % 10) as u32);
        let in_range = (BIN_DIGITS_MIN..=BIN_DIGITS_MAX).contains(&count) && filled < 100_000_000;
        let exact = in_range && filled.is_multiple_of(10_u64.pow(BIN_DIGITS_MAX - count));
        exact.then_some(Self(number as u32))
    }

    /// The digits.
    #[must_use]
    pub fn digits(self) -> String {
        let (filled, count) = (self.0 / 10, (self.0 % 10) as usize);
        let mut digits = format!("{filled:08}");
        digits.truncate(count);
        digits
    }

    /// The numbers of all that begin with these digits, from the first to the last: itself and what is longer.
    #[must_use]
    pub fn extensions(self) -> (Self, Self) {
        let (filled, count) = (self.0 / 10, self.0 % 10);
        let last = filled + 10_u32.pow(BIN_DIGITS_MAX - count.min(BIN_DIGITS_MAX)) - 1;
        (self, Self(last * 10 + BIN_DIGITS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_sorted_and_each_is_found_by_letters_and_number() {
        assert!(COUNTRIES.is_sorted_by(|a, b| a < b));
        assert_eq!(COUNTRIES.len(), 250);
        for code in COUNTRIES {
            let country = Country::from_alpha(code).unwrap();
            assert_eq!(country.alpha(), *code);
            assert_eq!(Country::from_number(u64::from(country.0)), Some(country));
        }
        let known = (0..=u64::from(u16::MAX) + 10).filter(|n| Country::from_number(*n).is_some()).count();
        assert_eq!(known, COUNTRIES.len());
        for wrong in ["ZZ", "cn", "C", "CNN", "", "风"] {
            assert_eq!(Country::from_alpha(wrong), None, "{wrong}");
        }
        assert_eq!(Country::from_number(u64::from(Country::from_alpha("CN").unwrap().0) + (1 << 32)), None);
    }

    #[test]
    fn a_bin_is_its_digits_and_its_range_is_what_begins_with_them() {
        for digits in ["411111", "4111112", "41111122", "000000", "99999999"] {
            let bin = Bin::from_digits(digits).unwrap();
            assert_eq!(bin.digits(), digits);
            assert_eq!(Bin::from_number(u64::from(bin.0)), Some(bin));
        }
        for wrong in ["41111", "411111111", "41111a", ""] {
            assert_eq!(Bin::from_digits(wrong), None, "{wrong}");
        }
        for wrong in [5, 411_111_016, 411_111_009, 1_000_000_008, u64::MAX] {
            assert_eq!(Bin::from_number(wrong), None, "{wrong}");
        }
        let all = ["411111", "4111110", "41111100", "4111112", "41111129", "411112", "41111", "4111119"];
        for prefix in ["411111", "4111110", "41111129"] {
            let (first, last) = Bin::from_digits(prefix).unwrap().extensions();
            for digits in all {
                let Some(bin) = Bin::from_digits(digits) else { continue };
                assert_eq!((first..=last).contains(&bin), digits.starts_with(prefix), "{prefix} {digits}");
            }
        }
    }
}
