//! What the oracle computes over the events of a frame, each in the plainest way there is.

use super::fraction::Fraction;
use super::oracle::{Answer, Taken};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};
use std::cmp::Ordering;
use std::rc::Rc;
use tollgate::policy::typed::{Frame, Period};

/// An event in a frame.
#[derive(Clone)]
pub struct Held {
    pub event: Rc<Taken>,
    pub value: Answer,
    /// It is the judged event itself.
    pub own: bool,
}

impl Held {
    /// The order of events: by time, id tag, value (missing first), and the judged one last.
    pub fn later(&self, other: &Self) -> Ordering {
        (self.event.time, self.event.tag)
            .cmp(&(other.event.time, other.event.tag))
            .then_with(|| by_value(self.value, other.value))
            .then(self.own.cmp(&other.own))
    }
}

fn by_value(a: Answer, b: Answer) -> Ordering {
    match (a, b) {
        (Answer::Missing, Answer::Missing) => Ordering::Equal,
        (Answer::Missing, _) => Ordering::Less,
        (_, Answer::Missing) => Ordering::Greater,
        (Answer::Key(a), Answer::Key(b)) => a.cmp(&b),
        (a, b) => a.told().expect("there").compare(b.told().expect("there")),
    }
}

const HOUR: i64 = 3_600_000_000;

/// How long a frame can be.
pub fn reach(frame: &Frame) -> i64 {
    match frame {
        Frame::Last { span_us }
        | Frame::Events { span_us, .. }
        | Frame::Every { span_us }
        | Frame::Session { span_us, .. } => *span_us,
        Frame::This { period: Period::Hour, .. } => HOUR,
        Frame::This { period: Period::Day, .. } => (24 + 12) * HOUR,
        Frame::This { period: Period::Week, .. } => (7 * 24 + 12) * HOUR,
        Frame::This { period: Period::Month, .. } => (31 * 24 + 12) * HOUR,
    }
}

/// The first microsecond of the calendar period of `until`.
pub fn period_start(period: Period, zone: &str, until: i64) -> i64 {
    let zone = TimeZone::get(zone).expect("a known time zone");
    let local = Timestamp::from_microsecond(until).expect("a time in range").to_zoned(zone.clone());
    let midnight =
        |date: Date| date.to_zoned(zone.clone()).expect("a date in range").timestamp().as_microsecond();
    match period {
        Period::Hour => {
            let clock = local.time();
            let minutes = i64::from(clock.minute()) * 60 + i64::from(clock.second());
            until - minutes * 1_000_000 - i64::from(clock.subsec_nanosecond()) / 1_000
        }
        Period::Day => midnight(local.date()),
        Period::Week => {
            let mut date = local.date();
            while date.weekday() != jiff::civil::Weekday::Monday {
                date = date.yesterday().expect("a date in range");
            }
            midnight(date)
        }
        Period::Month => midnight(local.date().first_of_month()),
    }
}

/// Of the events in reach of a frame, the latest last, those in it.
pub fn cut(frame: &Frame, until: i64, mut held: Vec<Held>) -> Vec<Held> {
    match frame {
        Frame::Last { .. } | Frame::Every { .. } | Frame::This { .. } => held,
        Frame::Events { count, .. } => {
            while held.len() > *count as usize {
                held.remove(0);
            }
            held
        }
        Frame::Session { gap_us, .. } => {
            let mut session = Vec::new();
            let mut reached = until;
            while let Some(last) = held.pop() {
                if reached - last.event.time > *gap_us {
                    break;
                }
                reached = last.event.time;
                session.insert(0, last);
            }
            session
        }
    }
}

/// Those that have a value.
pub fn present(held: &[Held]) -> Vec<Held> {
    held.iter().filter(|held| held.value != Answer::Missing).cloned().collect()
}

/// All but the judged one.
pub fn others(held: Vec<Held>) -> Vec<Held> {
    held.into_iter().filter(|held| !held.own).collect()
}

/// How often each value is there.
pub fn frequencies(held: &[Held]) -> Vec<(Answer, usize)> {
    let mut found: Vec<(Answer, usize)> = Vec::new();
    let mut values: Vec<Answer> = present(held).iter().map(|held| held.value).collect();
    values.sort_by(|a, b| by_value(*a, *b));
    for value in values {
        match found.last_mut() {
            Some((known, times)) if *known == value => *times += 1,
            _ => found.push((value, 1)),
        }
    }
    found
}

pub fn share(held: &[Held]) -> Answer {
    let found = frequencies(held);
    let all: usize = found.iter().map(|(_, times)| times).sum();
    let most = found.iter().map(|(_, times)| *times).max();
    most.map_or(Answer::Missing, |most| ratio(most, all))
}

/// 0 of nothing.
pub fn ratio(part: usize, all: usize) -> Answer {
    if all == 0 { Answer::int(0) } else { Answer::number(Fraction::new(part as i128, all as i128)) }
}

pub fn percentile(mut values: Vec<Fraction>, percent: u8) -> Answer {
    values.sort_by(|a, b| a.compare(*b));
    let mut rank = 1;
    while rank * 100 < usize::from(percent) * values.len() {
        rank += 1;
    }
    Answer::number(values.get(rank - 1).copied())
}

/// The sample standard deviation, in millionths rounded down, found by bisection.
pub fn deviation(values: &[Fraction], den: i64) -> Answer {
    let n = values.len() as u128;
    let units: Vec<i128> = values.iter().map(|value| value.round_half_even(den)).collect();
    let squares = units.iter().try_fold(0_u128, |sum, x| sum.checked_add((x * x).unsigned_abs()));
    let squares = squares.and_then(|squares| squares.checked_mul(n)).filter(|squares| squares >> 127 == 0);
    let Some(squares) = squares.filter(|_| n >= 2) else { return Answer::Missing };
    let total = units.iter().sum::<i128>().unsigned_abs();
    let (over, under) = (squares - total * total, n * (n - 1));
    // r millionths are not too many when r² · under ≤ over · (10⁶ ÷ den)²: compared in two halves, the whole part of
    // the variance and the rest of it.
    let scale = (1_000_000 / den).unsigned_abs();
    let scale = u128::from(scale * scale);
    let Some(whole) = (over / under).checked_mul(scale) else { return Answer::Missing };
    let rest = over % under * scale / under;
    let Some(variance) = whole.checked_add(rest) else { return Answer::Missing };
    let (mut low, mut high) = (0_u128, 1 << 63);
    while low + 1 < high {
        let middle = u128::midpoint(low, high);
        if middle * middle <= variance { low = middle } else { high = middle }
    }
    if low + 1 == 1 << 63 && (low + 1) * (low + 1) <= variance {
        return Answer::Missing;
    }
    Answer::number(Fraction::new(low as i128, 1_000_000))
}

/// Of (age, value): the weighted sum in millionths. `den` is the denominator of the column.
pub fn decayed(weighed: impl Iterator<Item = (i64, Fraction)>, half_life: i64, den: i64) -> Answer {
    let mut sum = 0_i128;
    for (age, value) in weighed {
        let halvings = age / half_life;
        let step = i128::from(age % half_life) * 1024 / i128::from(half_life);
        let whole = (32.0 - step as f64 / 1024.0).exp2().round() as i128;
        let weight = if halvings >= 32 { 0 } else { whole >> halvings };
        sum += weight * value.round_half_even(den);
    }
    // Beyond this the result leaves 64 bits.
    if sum.unsigned_abs() >> 96 != 0 {
        return Answer::Missing;
    }
    let under = i128::from(den) << 32;
    let twice = sum * 2_000_000;
    // Nearest: the floor of the value plus a half, and one less where that was a tie upwards to an odd number.
    let up = (twice + under).div_euclid(2 * under);
    let tie = (twice + under).rem_euclid(2 * under) == 0;
    let millionths = if tie && up % 2 != 0 { up - 1 } else { up };
    match i64::try_from(millionths) {
        Ok(millionths) => Answer::number(Fraction::new(i128::from(millionths), 1_000_000)),
        Err(_) => Answer::Missing,
    }
}

/// Whether the own value is one of the others'.
pub fn seen(own: Option<(bool, Answer)>, others: &[Held]) -> Answer {
    match own {
        None | Some((_, Answer::Missing)) => Answer::Missing,
        Some((_, own)) => Answer::Truth(others.iter().any(|other| other.value == own)),
    }
}

/// Latitude and longitude of a place.
pub fn degrees(word: i64) -> (f64, f64) {
    let (latitude, longitude) = ((word >> 32) as i32, word as i32);
    (f64::from(latitude) / 1e6, f64::from(longitude) / 1e6)
}

/// The great-circle distance between two places, in floating point: closer to the truth than a millionth of a metre,
/// so that it rounds to another metre than the engine's about once in a million times.
pub fn metres(a: Fraction, b: Fraction) -> i64 {
    let radians = |place: Fraction| {
        let (latitude, longitude) = degrees(place.round_half_even(1) as i64);
        (latitude.to_radians(), longitude.to_radians())
    };
    let ((a_latitude, a_longitude), (b_latitude, b_longitude)) = (radians(a), radians(b));
    let (sin_a, cos_a) = a_latitude.sin_cos();
    let (sin_b, cos_b) = b_latitude.sin_cos();
    let (sin_d, cos_d) = (b_longitude - a_longitude).sin_cos();
    let y = (cos_b * sin_d).hypot(cos_a * sin_b - sin_a * cos_b * cos_d);
    let x = sin_a * sin_b + cos_a * cos_b * cos_d;
    (6_371_008.8 * y.atan2(x)).round() as i64
}
