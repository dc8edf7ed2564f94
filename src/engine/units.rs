//! Time, money, keys and exact numbers: the types every other part counts in.
//!
//! Nothing here is a floating-point number. A value on which a decision may depend is an exact fraction of
//! two 64-bit integers ([`Value`]), compared by multiplying out in 128 bits.

pub mod codes;
pub mod entries;

use std::cmp::Ordering;

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// One second, in microseconds.
pub const SECOND: i64 = 1_000_000;
/// One minute, in microseconds.
pub const MINUTE: i64 = 60 * SECOND;
/// One hour, in microseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// One day of 24 hours, in microseconds.
pub const DAY: i64 = 24 * HOUR;

/// The earliest event time accepted (1970-01-01).
pub const TIME_MIN: Time = Time(0);
/// The first event time no longer accepted (2200-01-01): leaves room for `t + window` without overflow.
pub const TIME_END: Time = Time(7_258_118_400 * SECOND);

/// A 128-bit keyed token that stands for a card, an account, a device. Never a raw card number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u64; 2]);

/// The sender's 128-bit identity of an event, unique per principal within the duplicate horizon; among events that
/// amendments may name, unique over all senders, because an amendment may come from another sender than its event did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u64; 2]);

impl EventId {
    /// The 64-bit tag under which windows keep an event's identity beside its time.
    ///
    /// Two events of one key collide only if both their microsecond and this tag are equal (2⁻⁶⁴ per pair).
    #[must_use]
    pub fn tag(self) -> u64 {
        mix(self.0[0], self.0[1] ^ 0x9e37_79b9_7f4a_7c15)
    }
}

/// Multiplies two words to 128 bits and folds the halves: the one mixing step behind every table hash here.
///
/// The words themselves are folded in too, so that the one value of a factor that makes the product zero does not
/// make every hash equal.
#[inline]
#[must_use]
pub const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ 0xa076_1d64_78bd_642f) as u128 * (b ^ 0xe703_7ed1_a0b4_28db) as u128;
    (product >> 64) as u64 ^ product as u64 ^ a.rotate_left(32) ^ b
}

/// An ISO 4217 currency, by its numeric code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(pub u16);

/// (alphabetic code, numeric code, digits after the point) of the currencies known here, by numeric code.
pub const CURRENCIES: &[(&str, u16, u8)] = &[
    ("ARS", 32, 2),
    ("AUD", 36, 2),
    ("BHD", 48, 3),
    ("BDT", 50, 2),
    ("BWP", 72, 2),
    ("CAD", 124, 2),
    ("LKR", 144, 2),
    ("CLP", 152, 0),
    ("CNY", 156, 2),
    ("COP", 170, 2),
    ("CRC", 188, 2),
    ("CZK", 203, 2),
    ("DKK", 208, 2),
    ("DOP", 214, 2),
    ("ETB", 230, 2),
    ("HKD", 344, 2),
    ("HUF", 348, 2),
    ("ISK", 352, 0),
    ("INR", 356, 2),
    ("IDR", 360, 2),
    ("ILS", 376, 2),
    ("JMD", 388, 2),
    ("JPY", 392, 0),
    ("KZT", 398, 2),
    ("JOD", 400, 3),
    ("KES", 404, 2),
    ("KRW", 410, 0),
    ("KWD", 414, 3),
    ("LBP", 422, 2),
    ("MOP", 446, 2),
    ("MYR", 458, 2),
    ("MUR", 480, 2),
    ("MXN", 484, 2),
    ("MAD", 504, 2),
    ("OMR", 512, 3),
    ("NPR", 524, 2),
    ("NZD", 554, 2),
    ("NGN", 566, 2),
    ("NOK", 578, 2),
    ("PKR", 586, 2),
    ("PEN", 604, 2),
    ("PHP", 608, 2),
    ("QAR", 634, 2),
    ("RUB", 643, 2),
    ("SAR", 682, 2),
    ("SGD", 702, 2),
    ("VND", 704, 0),
    ("ZAR", 710, 2),
    ("SEK", 752, 2),
    ("CHF", 756, 2),
    ("THB", 764, 2),
    ("AED", 784, 2),
    ("TND", 788, 3),
    ("UGX", 800, 0),
    ("EGP", 818, 2),
    ("GBP", 826, 2),
    ("TZS", 834, 2),
    ("USD", 840, 2),
    ("UYU", 858, 2),
    ("TWD", 901, 2),
    ("GHS", 936, 2),
    ("RON", 946, 2),
    ("TRY", 949, 2),
    ("XAF", 950, 0),
    ("XOF", 952, 0),
    ("BGN", 975, 2),
    ("EUR", 978, 2),
    ("UAH", 980, 2),
    ("GEL", 981, 2),
    ("PLN", 985, 2),
    ("BRL", 986, 2),
];

impl Currency {
    /// The currency with this three-letter code.
    #[must_use]
    pub fn from_alpha(code: &str) -> Option<Self> {
        CURRENCIES.iter().find(|c| c.0 == code).map(|c| Self(c.1))
    }

    /// The currency with this ISO numeric code, if it is known here.
    #[inline]
    #[must_use]
    pub fn from_numeric(code: u64) -> Option<Self> {
        let row = CURRENCIES.binary_search_by_key(&code, |c| u64::from(c.1)).ok()?;
        Some(Self(CURRENCIES[row].1))
    }

    fn row(self) -> &'static (&'static str, u16, u8) {
        let row = CURRENCIES.binary_search_by_key(&self.0, |c| c.1).unwrap_or(0);
        &CURRENCIES[row]
    }

    /// The three-letter code.
    #[must_use]
    pub fn alpha(self) -> &'static str {
        self.row().0
    }

    /// Digits after the point: 2 for USD, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> u32 {
        u32::from(self.row().2)
    }
}

/// The fixed denominator of `decimal` fields: six digits after the point.
pub const DECIMAL_DEN: i64 = 1_000_000;

/// An exact number or truth value, or nothing: `num / den`, missing when `den == 0`.
///
/// Integers, enum ordinals and money in minor units have `den == 1`; truth is 0 or 1. An average is
/// (sum, count). `den` is never negative. `==` compares the representation; [`Value::compare`] the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Value {
    /// Numerator.
    pub num: i64,
    /// Denominator; 0 means missing (or, for a condition, unknown).
    pub den: i64,
}

impl Value {
    /// Nothing known.
    pub const MISSING: Self = Self { num: 0, den: 0 };
    /// Certainly so.
    pub const TRUE: Self = Self { num: 1, den: 1 };
    /// Certainly not so.
    pub const FALSE: Self = Self { num: 0, den: 1 };

    /// A whole number.
    #[inline]
    #[must_use]
    pub const fn int(num: i64) -> Self {
        Self { num, den: 1 }
    }

    /// A truth value.
    #[inline]
    #[must_use]
    pub const fn bool(truth: bool) -> Self {
        Self { num: truth as i64, den: 1 }
    }

    /// `num / den`; missing when `den <= 0`.
    #[inline]
    #[must_use]
    pub const fn ratio(num: i64, den: i64) -> Self {
        if den > 0 { Self { num, den } } else { Self::MISSING }
    }

    /// Whether nothing is known.
    #[inline]
    #[must_use]
    pub const fn is_missing(self) -> bool {
        self.den == 0
    }

    /// Whether this is a condition that certainly holds.
    #[inline]
    #[must_use]
    pub const fn is_true(self) -> bool {
        self.den != 0 && self.num != 0
    }

    /// Exact comparison; `None` when either side is missing.
    #[inline]
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        if self.den == 0 || other.den == 0 {
            return None;
        }
        if self.den == other.den {
            return Some(self.num.cmp(&other.num));
        }
        let (left, right) =
            (i128::from(self.num) * i128::from(other.den), i128::from(other.num) * i128::from(self.den));
        Some(left.cmp(&right))
    }

    /// Rounded half-even to denominator `den`; missing when that does not fit.
    #[inline]
    #[must_use]
    pub fn rescaled(self, den: i64) -> Self {
        if self.den == den || self.is_missing() {
            return self;
        }
        let nearest = divide_half_even(i128::from(self.num) * i128::from(den), i128::from(self.den));
        i64::try_from(nearest).map_or(Self::MISSING, |num| Self { num, den })
    }

    /// As models take it: the f64 that is nearest to the number, ties to even, as who reads it in decimals has it too. NaN when
    /// missing.
    #[inline]
    #[must_use]
    pub const fn to_f64(self) -> f64 {
        const EXACT: u64 = 1 << 53;
        if self.den == 0 {
            f64::NAN
        } else if self.num.unsigned_abs() <= EXACT && self.den <= EXACT as i64 {
            // Both are exact, and a division rounds once.
            self.num as f64 / self.den as f64
        } else {
            self.to_f64_slowly()
        }
    }

    #[cold]
    const fn to_f64_slowly(self) -> f64 {
        if self.num == 0 {
            return 0.0;
        }
        // The quotient with at least 64 bits, the last of which says whether something is left: enough to round once.
        let (num, den) = (self.num.unsigned_abs() as u128, self.den.unsigned_abs() as u128);
        let shift = num.leading_zeros();
        let (quotient, rest) = ((num << shift) / den, (num << shift) % den);
        let rounded = (quotient | (rest != 0) as u128) as f64;
        // A power of two: exact.
        let scaled = rounded / (1_u128 << shift.saturating_sub(1)) as f64 / if shift > 0 { 2.0 } else { 1.0 };
        if self.num < 0 { -scaled } else { scaled }
    }

    /// The fraction from 128-bit parts, reduced when it must be; missing when it does not fit 64 bits.
    #[must_use]
    pub fn from_wide(num: i128, den: i128) -> Self {
        if den <= 0 {
            return Self::MISSING;
        }
        if let (Ok(num), Ok(den)) = (i64::try_from(num), i64::try_from(den)) {
            return Self { num, den };
        }
        let divisor = gcd(num.unsigned_abs(), den.unsigned_abs()).max(1) as i128;
        match (i64::try_from(num / divisor), i64::try_from(den / divisor)) {
            (Ok(num), Ok(den)) => Self { num, den },
            _ => Self::MISSING,
        }
    }

    /// The nearest whole number, ties to even; `None` when missing.
    #[must_use]
    pub fn round_half_even(self) -> Option<i64> {
        match self.den {
            0 => return None,
            // Most are whole, and to divide takes long.
            1 => return Some(self.num),
            _ => {}
        }
        let (floor, rest) = (self.num.div_euclid(self.den), self.num.rem_euclid(self.den));
        let twice = i128::from(rest) * 2;
        let up = match twice.cmp(&i128::from(self.den)) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => floor & 1 == 1,
        };
        Some(floor + i64::from(up))
    }
}

/// The whole number nearest to `num / den`, ties to even. `den` must be positive, and twice it must fit.
#[inline]
#[must_use]
pub const fn divide_half_even(num: i128, den: i128) -> i128 {
    let (floor, rest) = (num.div_euclid(den), num.rem_euclid(den));
    let up = rest * 2 > den || rest * 2 == den && floor & 1 == 1;
    floor + up as i128
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What is to be done with a payment, from mildest to most severe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// No disposition: the event is not one that is judged, or it was refused.
    #[default]
    None = 0,
    /// Let it pass (放行).
    Allow = 1,
    /// Ask the payer to prove who they are (加验).
    Challenge = 2,
    /// Hold it for a person (审核).
    Review = 3,
    /// Refuse it (拦截).
    Block = 4,
}

impl Action {
    /// All actions, in order of severity.
    pub const ALL: [Self; 5] = [Self::None, Self::Allow, Self::Challenge, Self::Review, Self::Block];

    /// The action with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Allow),
            2 => Some(Self::Challenge),
            3 => Some(Self::Review),
            4 => Some(Self::Block),
            _ => None,
        }
    }

    /// The action that the policy language calls so.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Allow, Self::Challenge, Self::Review, Self::Block]
            .into_iter()
            .find(|action| action.word() == word)
    }

    /// The word the policy language uses.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Allow => "allow",
            Self::Challenge => "challenge",
            Self::Review => "review",
            Self::Block => "block",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_are_sorted_by_number_so_that_binary_search_finds_each() {
        assert!(CURRENCIES.is_sorted_by(|a, b| a.1 < b.1));
        for (alpha, numeric, digits) in CURRENCIES {
            let currency = Currency::from_alpha(alpha).unwrap();
            assert_eq!(Currency::from_numeric(u64::from(*numeric)), Some(currency));
            assert_eq!((currency.alpha(), currency.exponent()), (*alpha, u32::from(*digits)));
        }
        assert_eq!(Currency::from_numeric(999), None);
    }

    #[test]
    fn fractions_compare_exactly_at_the_edges_of_64_bits() {
        let third = Value::ratio(i64::MAX, 3);
        let bit_less = Value::ratio(i64::MAX - 1, 3);
        assert_eq!(third.compare(bit_less), Some(Ordering::Greater));
        assert_eq!(Value::ratio(i64::MIN, i64::MAX).compare(Value::int(-1)), Some(Ordering::Less));
        assert_eq!(Value::int(1).compare(Value::MISSING), None);
    }

    #[test]
    fn halves_round_to_the_even_neighbour() {
        for (num, den, rounded) in
            [(1, 2, 0), (3, 2, 2), (5, 2, 2), (-1, 2, 0), (-3, 2, -2), (7, 4, 2), (5, 4, 1)]
        {
            assert_eq!(Value::ratio(num, den).round_half_even(), Some(rounded), "{num}/{den}");
        }
    }

    #[test]
    fn too_large_fractions_are_reduced_before_they_are_given_up() {
        let big = i128::from(i64::MAX) * 4;
        let value = Value::from_wide(big, 8);
        assert_eq!(value.compare(Value::ratio(i64::MAX, 2)), Some(Ordering::Equal));
        assert!(Value::from_wide(big + 1, 1).is_missing());
    }
}
