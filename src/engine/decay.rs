//! Weights that halve with every half-life of age, as whole numbers: the same on every machine.

/// A weight of one.
const ONE_BITS: u32 = 32;
/// Steps of the table per half-life.
const STEPS: usize = 1024;

/// 2^(32 − f/1024), rounded to the nearest whole number.
const TABLE: [u64; STEPS] = table();

const fn table() -> [u64; STEPS] {
    // roots[k] is 2^(−1/2^(k+1)) with 62 bits after the point: each is the square root of the one before.
    let mut roots = [0_u128; 10];
    let mut root = 1_u128 << 61;
    let mut k = 0;
    while k < roots.len() {
        root = (root << 62).isqrt();
        roots[k] = root;
        k += 1;
    }
    let mut table = [0; STEPS];
    let mut f = 0;
    while f < STEPS {
        let mut weight = 1_u128 << 62;
        let mut k = 0;
        while k < roots.len() {
            if f >> (roots.len() - 1 - k) & 1 == 1 {
                weight = (weight * roots[k] + (1 << 61)) >> 62;
            }
            k += 1;
        }
        table[f] = ((weight + (1 << 29)) >> 30) as u64;
        f += 1;
    }
    table
}

/// The weight of an event of this age in units of 2⁻³².
#[inline]
pub(super) fn weight(age_us: i64, half_life_us: i64) -> i64 {
    let (halvings, rest) = (age_us / half_life_us, age_us % half_life_us);
    if halvings >= i64::from(ONE_BITS) {
        return 0;
    }
    let step = i128::from(rest) * STEPS as i128 / i128::from(half_life_us);
    (TABLE[step as usize] >> halvings) as i64
}

/// A sum of weighted values with denominator `den` as millionths, half-even; `None` when it does not fit.
pub(super) fn millionths(sum: i128, den: i64) -> Option<i64> {
    let (scaled, under) = (sum.checked_mul(1_000_000)?, i128::from(den) << ONE_BITS);
    let (floor, rest) = (scaled.div_euclid(under), scaled.rem_euclid(under));
    let up = rest * 2 > under || rest * 2 == under && floor & 1 == 1;
    i64::try_from(floor + i128::from(up)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_powers_of_two() {
        for (f, weight) in TABLE.iter().enumerate() {
            let exact = (32.0 - f as f64 / 1024.0).exp2();
            assert_eq!(*weight, exact.round() as u64, "{f}");
        }
    }

    #[test]
    fn weights_halve() {
        assert_eq!(weight(0, 1000), 1 << 32);
        assert_eq!(weight(1000, 1000), 1 << 31);
        assert_eq!(weight(31_999, 1000) - (TABLE[1022] >> 31) as i64, 0);
        assert_eq!(weight(32_000, 1000), 0);
        let falling: Vec<i64> = (0..5_000).map(|age| weight(age, 100)).collect();
        assert!(falling.is_sorted_by(|a, b| a >= b));
        assert_eq!(weight(i64::MAX, 1), 0);
    }

    #[test]
    fn sums_are_rounded_half_to_even() {
        let one = 1_i128 << ONE_BITS;
        assert_eq!(millionths(one, 1), Some(1_000_000));
        assert_eq!(millionths(one, 1_000_000), Some(1));
        assert_eq!(millionths(one / 2, 1_000_000), Some(0));
        assert_eq!(millionths(one + one / 2, 1_000_000), Some(2));
        assert_eq!(millionths(-one / 2, 1_000_000), Some(0));
        assert_eq!(millionths(i128::MAX, 1), None);
        assert_eq!(millionths(i128::MAX / 1_000_000, 1), None);
    }
}
