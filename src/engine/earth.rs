//! Places on the earth, and how far apart two of them are.
//!
//! Whole numbers alone, so that every machine finds the same metre: sines, cosines and the arc tangent by CORDIC
//! (shifts and additions) with 60 bits after the point. Distances are great circles on a sphere of the mean radius,
//! by Vincenty's formula for spheres, which loses nothing where two places are close together or opposite; the error
//! is below a thousandth of a millimetre before rounding to metres.

/// A place: latitude and longitude in millionths of a degree, north and east positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    latitude: i32,
    longitude: i32,
}

/// Millionths of a degree from the equator to a pole.
const QUARTER: i64 = 90_000_000;

/// Decimetres from the centre to the surface.
const RADIUS_DM: i128 = 63_710_088;

/// Binary digits after the point.
const BITS: u32 = 60;
/// π.
const PI: i64 = 0x3243_f6a8_885a_308d;
/// What the rotations below multiply lengths by, inverted.
const SHRINK: i64 = 0x09b7_4eda_8435_e5a6;

/// The arc tangents of 2⁻ⁱ.
const ARC_TANGENTS: [i64; BITS as usize] = arc_tangents();

const fn arc_tangents() -> [i64; BITS as usize] {
    // 1 with 100 bits after the point; the series x − x³/3 + x⁵/5 − … ends where its terms do.
    const ONE: i128 = 1 << 100;
    let mut table = [PI / 4; BITS as usize];
    let mut i = 1;
    while i < BITS {
        let (mut sum, mut power, mut k) = (0_i128, ONE >> i, 0);
        while power > 0 {
            let term = power / (2 * k + 1);
            sum += if k % 2 == 0 { term } else { -term };
            power >>= 2 * i;
            k += 1;
        }
        table[i as usize] = ((sum + (1 << 39)) >> 40) as i64;
        i += 1;
    }
    table
}

impl Place {
    /// What a word on the wire says; `None` when there is no such place.
    #[inline]
    pub(super) fn from_word(word: u64) -> Option<Self> {
        let (latitude, longitude) = ((word >> 32) as u32 as i32, word as u32 as i32);
        let exists = i64::from(latitude).abs() <= QUARTER && i64::from(longitude).abs() <= 2 * QUARTER;
        exists.then_some(Self { latitude, longitude })
    }

    /// The great-circle distance in whole metres, rounded half up.
    pub(super) fn metres_to(self, other: Self) -> i64 {
        let (sin_a, cos_a) = sin_cos(i64::from(self.latitude));
        let (sin_b, cos_b) = sin_cos(i64::from(other.latitude));
        let (sin_d, cos_d) = sin_cos(i64::from(other.longitude) - i64::from(self.longitude));
        let across = times(cos_b, sin_d);
        let along = times(cos_a, sin_b) - times(times(sin_a, cos_b), cos_d);
        let x = times(sin_a, sin_b) + times(times(cos_a, cos_b), cos_d);
        let square = i128::from(across) * i128::from(across) + i128::from(along) * i128::from(along);
        let y = square.unsigned_abs().isqrt() as i64;
        let tenfold = RADIUS_DM * i128::from(angle(x, y));
        ((tenfold + (5 << BITS)) / (10 << BITS)) as i64
    }
}

#[inline]
fn times(a: i64, b: i64) -> i64 {
    let product = i128::from(a) * i128::from(b);
    ((product + (1 << (BITS - 1))) >> BITS) as i64
}

/// Sine and cosine of an angle in millionths of a degree, up to a whole turn either way.
fn sin_cos(microdegrees: i64) -> (i64, i64) {
    // Half a turn changes both signs; what is left is at most a quarter.
    let halves = (microdegrees + QUARTER).div_euclid(2 * QUARTER);
    let left = microdegrees - halves * 2 * QUARTER;
    let mut rest = (i128::from(left) * i128::from(PI) / i128::from(2 * QUARTER)) as i64;
    let (mut x, mut y) = (SHRINK, 0_i64);
    for (i, arc) in ARC_TANGENTS.iter().enumerate() {
        let (dx, dy) = (y >> i, x >> i);
        if rest >= 0 {
            (x, y, rest) = (x - dx, y + dy, rest - arc);
        } else {
            (x, y, rest) = (x + dx, y - dy, rest + arc);
        }
    }
    if halves % 2 == 0 { (y, x) } else { (-y, -x) }
}

/// The angle of the point (x, y), y ≥ 0, from the x axis: 0 to π.
fn angle(x: i64, y: i64) -> i64 {
    let (mut x, mut y, mirrored) = (x.abs(), y, x < 0);
    let mut sum = 0;
    for (i, arc) in ARC_TANGENTS.iter().enumerate() {
        let (dx, dy) = (y >> i, x >> i);
        if y > 0 {
            (x, y, sum) = (x + dx, y - dy, sum + arc);
        } else {
            (x, y, sum) = (x - dx, y + dy, sum - arc);
        }
    }
    let sum = sum.max(0);
    if mirrored { PI - sum } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::mix;

    fn place(latitude: f64, longitude: f64) -> Place {
        Place { latitude: (latitude * 1e6).round() as i32, longitude: (longitude * 1e6).round() as i32 }
    }

    #[test]
    fn known_places_are_so_far_apart() {
        let (berlin, paris) = (place(52.52, 13.405), place(48.8566, 2.3522));
        let (new_york, sydney) = (place(40.7128, -74.006), place(-33.8688, 151.2093));
        let (suva, apia) = (place(-18.1416, 178.4419), place(-13.8333, -171.7667));
        for (a, b, metres) in [
            (berlin, berlin, 0),
            (place(0.0, 0.0), place(0.0, 0.000_001), 0),
            (place(0.0, 0.0), place(0.0, 0.000_009), 1),
            (place(0.0, 0.0), place(0.0, 1.0), 111_195),
            (place(0.0, 0.0), place(1.0, 0.0), 111_195),
            (place(60.0, 0.0), place(60.0, 1.0), 55_597),
            (place(0.0, 179.5), place(0.0, -179.5), 111_195),
            (place(0.0, -180.0), place(0.0, 180.0), 0),
            (place(90.0, 13.0), place(90.0, -160.0), 0),
            (place(90.0, 0.0), place(-90.0, 0.0), 20_015_114),
            (place(0.0, 0.0), place(0.0, 180.0), 20_015_114),
            (place(45.0, 10.0), place(-45.0, -170.0), 20_015_114),
            (place(45.0, 10.0), place(-44.999_999, -170.0), 20_015_114),
            (place(45.0, 10.0), place(-44.99, -170.0), 20_014_002),
            (berlin, paris, 877_465),
            (berlin, new_york, 6_385_012),
            (new_york, sydney, 15_988_778),
            (suva, apia, 1_150_704),
        ] {
            assert_eq!(a.metres_to(b), metres, "{a:?} {b:?}");
            assert_eq!(b.metres_to(a), metres, "{b:?} {a:?}");
        }
    }

    #[test]
    fn distances_agree_with_floating_point() {
        let mut random = 3_u64;
        for round in 0..200_000_u64 {
            random = mix(random, round);
            let near = round % 3 == 0;
            let (latitude, longitude) =
                ((random % 180_000_001) as i32 - 90_000_000, (random >> 32) as i32 % 180_000_000);
            let a = Place { latitude, longitude };
            random = mix(random, !round);
            let b = if near {
                let off = |bits: u64| (bits & 2047) as i32 - 1024;
                let latitude = (latitude + off(random)).clamp(-90_000_000, 90_000_000);
                Place {
                    latitude,
                    longitude: (longitude + off(random >> 20)).clamp(-180_000_000, 180_000_000),
                }
            } else {
                let latitude = (random % 180_000_001) as i32 - 90_000_000;
                Place { latitude, longitude: (random >> 32) as i32 % 180_000_000 }
            };
            let radians = |microdegrees: i32| (f64::from(microdegrees) / 1e6).to_radians();
            let (sin_a, cos_a) = radians(a.latitude).sin_cos();
            let (sin_b, cos_b) = radians(b.latitude).sin_cos();
            let (sin_d, cos_d) = (radians(b.longitude) - radians(a.longitude)).sin_cos();
            let y = (cos_b * sin_d).hypot(cos_a * sin_b - sin_a * cos_b * cos_d);
            let exact = 6_371_008.8 * y.atan2(sin_a * sin_b + cos_a * cos_b * cos_d);
            let off = (a.metres_to(b) as f64 - exact).abs();
            assert!(off < 0.500_001, "{a:?} {b:?}: {exact}");
        }
    }

    #[test]
    fn the_table_holds_the_arc_tangents() {
        for (i, arc) in ARC_TANGENTS.iter().enumerate() {
            let exact = 0.5_f64.powi(i as i32).atan() * (1_u64 << BITS) as f64;
            assert!((*arc as f64 - exact).abs() <= exact * 1e-15 + 1.0, "{i}");
        }
    }
}
