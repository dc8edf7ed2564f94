//! Exact fractions, written a second time: reduced after every operation, in 128 bits.

use std::cmp::Ordering;
use tollgate::engine::units::Value;

/// A reduced fraction with a positive denominator. Numerator and denominator fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    num: i128,
    den: i128,
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(*other)
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Fraction {
    /// `num / den` in lowest terms; `None` when dividing by zero or when it does not fit 64 bits.
    pub fn new(num: i128, den: i128) -> Option<Self> {
        if den == 0 {
            return None;
        }
        let divisor = gcd(num.unsigned_abs(), den.unsigned_abs()) as i128;
        let sign = if den < 0 { -1 } else { 1 };
        let (num, den) = (num / divisor * sign, den / divisor * sign);
        let fits = i64::try_from(num).is_ok() && i64::try_from(den).is_ok();
        fits.then_some(Self { num, den })
    }

    /// Numerator and denominator.
    pub fn parts(self) -> (i128, i128) {
        (self.num, self.den)
    }

    pub fn int(number: i64) -> Self {
        Self { num: i128::from(number), den: 1 }
    }

    pub fn add(self, other: Self) -> Option<Self> {
        Self::new(self.num * other.den + other.num * self.den, self.den * other.den)
    }

    pub fn sub(self, other: Self) -> Option<Self> {
        Self::new(self.num * other.den - other.num * self.den, self.den * other.den)
    }

    pub fn mul(self, other: Self) -> Option<Self> {
        Self::new(self.num * other.num, self.den * other.den)
    }

    pub fn div(self, other: Self) -> Option<Self> {
        Self::new(self.num * other.den, self.den * other.num)
    }

    /// (self − base) ÷ base.
    pub fn change_from(self, base: Self) -> Option<Self> {
        Self::new(self.num * base.den - base.num * self.den, self.den * base.num)
    }

    pub fn negate(self) -> Option<Self> {
        Self::new(-self.num, self.den)
    }

    pub fn compare(self, other: Self) -> Ordering {
        (self.num * other.den).cmp(&(other.num * self.den))
    }

    /// The nearest multiple of 1/`den`, ties to the even multiple, as a count of them.
    pub fn round_half_even(self, den: i64) -> i128 {
        let scaled = self.num * i128::from(den);
        let (floor, rest) = (scaled.div_euclid(self.den), scaled.rem_euclid(self.den));
        match (rest * 2).cmp(&self.den) {
            Ordering::Less => floor,
            Ordering::Greater => floor + 1,
            Ordering::Equal => floor + (floor & 1),
        }
    }

    /// What a 64-bit value says; `None` when it is missing.
    pub fn of(value: Value) -> Option<Self> {
        Self::new(i128::from(value.num), i128::from(value.den))
    }
}
