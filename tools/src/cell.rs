//! One value of an input file and what it may become: a key, an amount, a time, a number, a word.
//!
//! Conversions are exact. Text is read digit by digit; a floating-point number is taken for the shortest
//! decimal that stands for it. What cannot be converted is a [`Problem`] in words, never a guess.

use crate::fault::{Problem, shown};
use std::fmt::Write as _;
use tollgate::engine::program::PrefixPlan;
use tollgate::engine::units::codes::{Bin, Country, MCC_MAX};
use tollgate::engine::units::{Currency, DECIMAL_DEN, EventId, TIME_END, TIME_MIN, Time};
use tollgate::engine::wire::RATE_PART_MAX;
use tollgate::policy::entries;

/// A value as its file gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Absent: an empty CSV field, a JSON or Parquet null, NaN.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number, not NaN.
    Float(f64),
    /// A Parquet decimal: the number over ten to this power.
    Scaled(i64, u8),
    /// A Parquet timestamp or date.
    Time(Time),
    /// Text, not empty.
    Text(&'a str),
}

/// How a time column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    /// Since 1970; the number of digits of a second that one unit has.
    Digits(u8),
    /// `2018-04-01T00:00:31Z`, any offset.
    Rfc3339,
    /// A Parquet timestamp, or text without an offset (`2018-04-01 00:00:31`), taken as UTC.
    Timestamp,
}

impl TimeUnit {
    /// The words for them, in a map.
    pub(crate) const WORDS: &'static str = "s, ms, us, ns, rfc3339, timestamp";

    /// The unit with this word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "s" => Self::Digits(0),
            "ms" => Self::Digits(3),
            "us" => Self::Digits(6),
            "ns" => Self::Digits(9),
            "rfc3339" => Self::Rfc3339,
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }
}

/// `mantissa / 10^scale`, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exact {
    mantissa: i128,
    scale: u32,
}

/// Significant digits read, and digits after the point: what multiplies out in 128 bits.
const DIGITS_MAX: u32 = 30;
const SCALE_MAX: u32 = 30;

impl Exact {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (text, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let mut mantissa = 0i128;
        for byte in whole.bytes().chain(part.bytes()) {
            if !byte.is_ascii_digit() || mantissa >= 10i128.pow(DIGITS_MAX - 1) {
                return None;
            }
            mantissa = mantissa * 10 + i128::from(byte - b'0');
        }
        let mut scale = i32::try_from(part.len()).ok()?.checked_sub(exponent)?;
        while scale < 0 && mantissa != 0 {
            mantissa = mantissa.checked_mul(10).filter(|m| *m < 10i128.pow(DIGITS_MAX))?;
            scale += 1;
        }
        let scale = u32::try_from(scale.max(0)).ok()?;
        let mantissa = if negative { -mantissa } else { mantissa };
        match mantissa {
            0 => Some(Self { mantissa: 0, scale: 0 }),
            _ => (scale <= SCALE_MAX).then_some(Self { mantissa, scale }),
        }
    }

    fn of(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(number) => Some(Self { mantissa: i128::from(number), scale: 0 }),
            Cell::Scaled(number, scale) => (u32::from(scale) <= SCALE_MAX)
                .then_some(Self { mantissa: i128::from(number), scale: u32::from(scale) }),
            Cell::Float(number) => Self::parse(&format!("{number}")),
            Cell::Text(text) => Self::parse(text),
            Cell::Null | Cell::Bool(_) | Cell::Time(_) => None,
        }
    }

    /// In units of 10^-digits, half-even, and whether that is off by more than a millionth of the whole unit.
    fn rounded(self, digits: u32) -> Option<(i64, bool)> {
        if self.scale <= digits {
            let number = self.mantissa.checked_mul(10i128.pow(digits - self.scale))?;
            return Some((i64::try_from(number).ok()?, false));
        }
        let step = 10i128.pow(self.scale - digits);
        let (floor, rest) = (self.mantissa.div_euclid(step), self.mantissa.rem_euclid(step));
        let up = rest * 2 > step || (rest * 2 == step && floor & 1 == 1);
        let number = floor + i128::from(up);
        let off = (self.mantissa - number * step).abs();
        Some((i64::try_from(number).ok()?, off * 1_000_000 > 10i128.pow(self.scale)))
    }

    fn whole(self) -> Option<i64> {
        let step = 10i128.pow(self.scale);
        (self.mantissa % step == 0).then(|| i64::try_from(self.mantissa / step).ok()).flatten()
    }
}

/// Below this many minor units, a float times a power of ten is off by far less than the tolerance.
const FAST_MINOR_MAX: f64 = (1u64 << 36) as f64;

/// An amount in minor units.
pub(crate) fn money(cell: Cell<'_>, currency: Currency) -> Result<i64, Problem> {
    let digits = currency.exponent();
    if let Cell::Float(number) = cell {
        let scale = 10f64.powi(digits as i32);
        let (scaled, rounded) = (number * scale, (number * scale).round_ties_even());
        if scaled.abs() < FAST_MINOR_MAX && (scaled - rounded).abs() <= 1e-7 * scale {
            return Ok(rounded as i64);
        }
    }
    match Exact::of(cell).map(|exact| exact.rounded(digits)) {
        Some(Some((minor, false))) => Ok(minor),
        Some(Some((_, true))) => Err(Problem::new(
            format!(
                "{} is not an amount of {}, which has {digits} digits after the point",
                shown(cell),
                currency.alpha()
            ),
            "round it where it comes from, or map it to the currency it is in",
        )),
        Some(None) => Err(Problem::new(
            format!("{} as an amount does not fit 64 bits of minor units", shown(cell)),
            "correct the row",
        )),
        None => Err(Problem::new(
            format!("{} is not an amount", shown(cell)),
            "write amounts as plain numbers, such as 12.50, without currency signs or separators",
        )),
    }
}

/// A decimal in millionths, rounded half-even to six digits after the point.
pub(crate) fn decimal(cell: Cell<'_>) -> Result<i64, Problem> {
    debug_assert_eq!(DECIMAL_DEN, 1_000_000);
    Exact::of(cell)
        .and_then(|exact| exact.rounded(6))
        .map(|(number, _)| number)
        .ok_or_else(|| Problem::new(format!("{} is not a decimal number", shown(cell)), "correct the row"))
}

/// What one unit of a currency is worth in another: numerator and denominator, in lowest terms.
pub(crate) fn rate(cell: Cell<'_>) -> Result<(u64, u64), Problem> {
    fn gcd(a: u128, b: u128) -> u128 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let exact = Exact::of(cell).filter(|exact| exact.mantissa > 0);
    let parts = exact.and_then(|exact| {
        let (num, den) = (exact.mantissa.unsigned_abs(), 10_u128.pow(exact.scale));
        let divisor = gcd(num, den);
        let part = |part: u128| u64::try_from(part / divisor).ok().filter(|part| *part <= RATE_PART_MAX);
        Some((part(num)?, part(den)?))
    });
    parts.ok_or_else(|| {
        Problem::new(
            format!("{} is not a rate", shown(cell)),
            "write what one unit of `from` is worth in `to`: a decimal above 0 with at most 15 digits, such as 1.0987",
        )
    })
}

/// Degrees, in millionths, at most `most` either way.
pub(crate) fn degrees(cell: Cell<'_>, most: i32) -> Result<i32, Problem> {
    let most_micro = i64::from(most) * 1_000_000;
    let degrees = decimal(cell).ok().filter(|degrees| (-most_micro..=most_micro).contains(degrees));
    degrees.and_then(|degrees| i32::try_from(degrees).ok()).ok_or_else(|| {
        Problem::new(
            format!("{} is not a number of degrees from -{most} to {most}", shown(cell)),
            "correct the row, or check which column is the latitude and which the longitude",
        )
    })
}

/// A whole number.
pub(crate) fn int(cell: Cell<'_>) -> Result<i64, Problem> {
    Exact::of(cell).and_then(Exact::whole).ok_or_else(|| {
        Problem::new(
            format!("{} is not a whole number of 64 bits", shown(cell)),
            "declare the field `decimal` in the policy, or correct the row",
        )
    })
}

/// A truth value: true, false, 1, 0.
pub(crate) fn truth(cell: Cell<'_>) -> Result<bool, Problem> {
    let truth = match cell {
        Cell::Bool(truth) => Some(truth),
        Cell::Text("true" | "True" | "TRUE") => Some(true),
        Cell::Text("false" | "False" | "FALSE") => Some(false),
        _ => match Exact::of(cell).and_then(Exact::whole) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
    };
    truth.ok_or_else(|| {
        Problem::new(format!("{} is not a truth value", shown(cell)), "write true, false, 1 or 0")
    })
}

/// The ordinal of an enum's word.
pub(crate) fn ordinal(cell: Cell<'_>, words: &[String]) -> Result<i64, Problem> {
    let found = match cell {
        Cell::Text(text) => words.iter().position(|word| word == text),
        Cell::Int(number) => words.iter().position(|word| *word == number.to_string()),
        _ => None,
    };
    found.map(|ordinal| ordinal as i64).ok_or_else(|| {
        Problem::new(
            format!("{} is not one of the words of this field", shown(cell)),
            format!("its words are {}", words.join(", ")),
        )
    })
}

/// A currency, by its three letters or its ISO number.
pub(crate) fn currency(cell: Cell<'_>) -> Result<Currency, Problem> {
    let found = match cell {
        Cell::Text(text) => Currency::from_alpha(text).or_else(|| {
            (text.len() == 3).then(|| text.parse().ok().and_then(Currency::from_numeric)).flatten()
        }),
        Cell::Int(number) => u64::try_from(number).ok().and_then(Currency::from_numeric),
        _ => None,
    };
    found.ok_or_else(|| {
        Problem::new(
            format!("{} is not a currency known here", shown(cell)),
            "write its ISO 4217 code in capitals, such as USD",
        )
    })
}

/// A country, by its two letters.
pub(crate) fn country(cell: Cell<'_>) -> Result<i64, Problem> {
    let found = match cell {
        Cell::Text(text) => Country::from_alpha(text),
        _ => None,
    };
    found.map(|country| i64::from(country.0)).ok_or_else(|| {
        Problem::new(
            format!("{} is not a country", shown(cell)),
            "write its two letters by ISO 3166-1 in capitals, such as DE",
        )
    })
}

/// A merchant category: four digits, or a number whose leading zeros a spreadsheet took away.
pub(crate) fn mcc(cell: Cell<'_>) -> Result<i64, Problem> {
    int(cell).ok().filter(|number| (0..=MCC_MAX as i64).contains(number)).ok_or_else(|| {
        Problem::new(
            format!("{} is not a merchant category", shown(cell)),
            "write its four digits, such as 5411",
        )
    })
}

/// The 6 to 8 leading digits of a card.
pub(crate) fn bin(cell: Cell<'_>) -> Result<i64, Problem> {
    let mut digits = String::new();
    let found = name(cell, &mut digits).ok().and_then(|()| Bin::from_digits(&digits));
    found.map(|bin| i64::from(bin.0)).ok_or_else(|| {
        let help = "give 6 to 8 digits, and never the whole number";
        Problem::new("the value is not the leading digits of a card", help)
    })
}

/// A text of at most so many bytes, in words.
pub(crate) fn text(cell: Cell<'_>, bytes: usize) -> Result<Vec<u64>, Problem> {
    let mut text = String::new();
    name(cell, &mut text)?;
    if text.len() > bytes {
        let message = format!("the text has {} bytes, its field {bytes}", text.len());
        return Err(Problem::new(message, "map another column, or declare a longer text"));
    }
    entries::words_of_text(&text).map_err(|(message, help)| Problem::new(message, help))
}

/// An address, in words.
pub(crate) fn address(cell: Cell<'_>) -> Result<[u64; 2], Problem> {
    let mut text = String::new();
    name(cell, &mut text)?;
    match entries::prefix(&text) {
        Ok(prefix) if prefix.bits == PrefixPlan::ALL_BITS => Ok(prefix.address),
        Ok(_) => Err(Problem::new("the value is a prefix, not one address", "correct the row")),
        Err((message, _)) => Err(Problem::new(message, "write addresses as in 10.1.2.3 or 2001:db8::1")),
    }
}

/// A duration in microseconds, from a number of units; what is finer is rounded half-even.
pub(crate) fn duration(cell: Cell<'_>, unit_us: i64) -> Result<i64, Problem> {
    let exact = Exact::of(cell).and_then(|exact| {
        let mantissa = exact.mantissa.checked_mul(i128::from(unit_us))?;
        Exact { mantissa, ..exact }.rounded(0)
    });
    exact.map(|(us, _)| us).ok_or_else(|| {
        Problem::new(format!("{} is not a number of units of time", shown(cell)), "correct the row")
    })
}

/// A time.
pub(crate) fn time(cell: Cell<'_>, unit: TimeUnit) -> Result<Time, Problem> {
    let micros = match unit {
        TimeUnit::Digits(digits) => since_1970(cell, u32::from(digits))?,
        TimeUnit::Rfc3339 => match cell {
            Cell::Text(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond),
            _ => None,
        }
        .map(|nanos| nanos.div_euclid(1000) as i64)
        .ok_or_else(|| {
            Problem::new(
                format!("{} is not an RFC 3339 time", shown(cell)),
                "write it as 2018-04-01T00:00:31Z, with its offset; for a time without offset say unit = \"timestamp\"",
            )
        })?,
        TimeUnit::Timestamp => match cell {
            Cell::Time(time) => Some(time.0),
            Cell::Text(text) => civil(text),
            _ => None,
        }
        .ok_or_else(|| {
            Problem::new(
                format!("{} is not a timestamp", shown(cell)),
                "write it as 2018-04-01 00:00:31 (UTC); for a number say unit = \"s\", \"ms\", \"us\" or \"ns\"",
            )
        })?,
    };
    let time = Time(micros);
    if time < TIME_MIN || time >= TIME_END {
        return Err(Problem::new(
            format!("{} as a time is before 1970 or after 2199", shown(cell)),
            "check the unit of the time column in the map",
        ));
    }
    Ok(time)
}

fn civil(text: &str) -> Option<i64> {
    // With an offset it is not a civil time; jiff would drop the offset in silence.
    if text.ends_with(['Z', 'z']) || text.get(10..).is_some_and(|rest| rest.contains(['+', '-', '['])) {
        return None;
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    let nanos = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_nanosecond();
    i64::try_from(nanos.div_euclid(1000)).ok()
}

/// Microseconds from a number of 10^-digits seconds; what is finer than a microsecond is dropped.
fn since_1970(cell: Cell<'_>, digits: u32) -> Result<i64, Problem> {
    let micros = Exact::of(cell).and_then(|exact| {
        let scale = exact.scale + digits;
        let micros = if scale <= 6 {
            exact.mantissa.checked_mul(10i128.pow(6 - scale))?
        } else {
            exact.mantissa.div_euclid(10i128.pow(scale - 6))
        };
        i64::try_from(micros).ok()
    });
    micros.ok_or_else(|| {
        Problem::new(
            format!("{} is not a number that stands for a time", shown(cell)),
            "say how the column is written: unit = \"rfc3339\" or \"timestamp\" for text and Parquet timestamps",
        )
    })
}

/// The text of a key or an id: whole numbers in decimal.
pub(crate) fn name(cell: Cell<'_>, into: &mut String) -> Result<(), Problem> {
    into.clear();
    match cell {
        Cell::Text(text) => {
            into.push_str(text);
            return Ok(());
        }
        Cell::Int(_) | Cell::Float(_) | Cell::Scaled(..) => {
            if let Some(number) = Exact::of(cell).and_then(Exact::whole) {
                let _ = write!(into, "{number}");
                return Ok(());
            }
        }
        Cell::Null | Cell::Bool(_) | Cell::Time(_) => {}
    }
    Err(Problem::new(
        format!("{} cannot be a key or an id", shown(cell)),
        "keys and ids are texts or whole numbers; map another column",
    ))
}

/// An event's own id, as `tollctl journal cat` prints it: the second word first.
pub(crate) fn event_id(text: &str) -> Result<EventId, Problem> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or_else(|| {
        Problem::new(
            format!("{} is not an event's id in hexadecimal", shown(Cell::Text(text))),
            "write its 32 digits, or leave `form` out if it is a name that the id was made of",
        )
    })?;
    Ok(EventId([number as u64, (number >> 64) as u64]))
}

/// Whether a text is sixteen digits, however spaced: a raw card number.
pub(crate) fn is_raw_card_number(text: &str) -> bool {
    let digits = || text.chars().filter(|c| !matches!(c, ' ' | '-'));
    text.len() >= 16 && digits().count() == 16 && digits().all(|c| c.is_ascii_digit())
}

/// A raw card number; the value is not told.
pub(crate) fn raw_card_number() -> Problem {
    Problem::new(
        "the value is sixteen digits, which is a raw card number",
        "replace card numbers by tokens before they get here, or map another column",
    )
}

/// Whether a cell equals the value of a `when` filter; nothing equals null.
pub(crate) fn equals(cell: Cell<'_>, wanted: Cell<'_>) -> bool {
    match (cell, wanted) {
        (Cell::Null, _) => false,
        (Cell::Text(text), Cell::Text(wanted)) => text == wanted,
        (_, Cell::Bool(wanted)) => truth(cell) == Ok(wanted),
        (_, Cell::Text(_)) => false,
        _ => match (Exact::of(cell), Exact::of(wanted)) {
            (Some(cell), Some(wanted)) => cell.whole().is_some() && cell.whole() == wanted.whole(),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USD: Currency = Currency(840);
    const SECOND: i64 = 1_000_000;

    #[test]
    fn degrees_end_at_the_edges_of_the_map() {
        for (cell, most, micro) in [
            (Cell::Text("52.52"), 90, Some(52_520_000)),
            (Cell::Float(-90.0), 90, Some(-90_000_000)),
            (Cell::Text("90.000001"), 90, None),
            (Cell::Int(180), 180, Some(180_000_000)),
            (Cell::Int(-181), 180, None),
            (Cell::Int(i64::MIN), 180, None),
            (Cell::Text("north"), 90, None),
        ] {
            assert_eq!(degrees(cell, most).ok(), micro, "{cell:?}");
        }
    }

    #[test]
    fn amounts_are_rounded_from_dust_and_refused_beyond_it() {
        let jpy = Currency::from_alpha("JPY").unwrap();
        for (cell, currency, minor) in [
            (Cell::Float(1_108.850_000_000_000_1), USD, Some(110_885)),
            (Cell::Float(0.1 + 0.2), USD, Some(30)),
            (Cell::Float(57.16), USD, Some(5716)),
            (Cell::Float(-0.29), USD, Some(-29)),
            (Cell::Float(57.165), USD, None),
            (Cell::Float(57.160_01), USD, None),
            (Cell::Float(f64::INFINITY), USD, None),
            (Cell::Float(9_000_000_000.07), USD, Some(900_000_000_007)),
            (Cell::Float(1e17), USD, None),
            (Cell::Int(12), USD, Some(1200)),
            (Cell::Int(i64::MAX), USD, None),
            (Cell::Scaled(12_345, 3), USD, None),
            (Cell::Scaled(12_340, 3), USD, Some(1234)),
            (Cell::Text("12.5"), USD, Some(1250)),
            (Cell::Text("-.5"), USD, Some(-50)),
            (Cell::Text("12.500000001"), USD, Some(1250)),
            (Cell::Text("12.50001"), USD, None),
            (Cell::Text("1.25e3"), USD, Some(125_000)),
            (Cell::Text("1,250"), USD, None),
            (Cell::Text("$5"), USD, None),
            (Cell::Text("."), USD, None),
            (Cell::Text("1e999999999"), USD, None),
            (Cell::Text("0e999999999"), USD, Some(0)),
            (Cell::Text("500"), jpy, Some(500)),
            (Cell::Text("500.5"), jpy, None),
            (Cell::Bool(true), USD, None),
        ] {
            assert_eq!(money(cell, currency).ok(), minor, "{cell:?}");
        }
    }

    #[test]
    fn codes_and_durations_are_read() {
        assert_eq!(country(Cell::Text("CN")).ok(), Some(0x434e));
        assert!(country(Cell::Text("cn")).is_err() && country(Cell::Int(156)).is_err());
        for (cell, number) in [
            (Cell::Text("0742"), Some(742)),
            (Cell::Int(742), Some(742)),
            (Cell::Int(10_000), None),
            (Cell::Text("food"), None),
        ] {
            assert_eq!(mcc(cell).ok(), number, "{cell:?}");
        }
        assert_eq!(bin(Cell::Int(411_111)).ok(), Some(411_111_006));
        assert_eq!(bin(Cell::Text("41111122")).ok(), Some(411_111_228));
        let problem = bin(Cell::Text("4111111111111111")).unwrap_err();
        assert!(!format!("{problem:?}").contains("4111"), "a card number is not told");
        for (cell, unit, us) in [
            (Cell::Text("1.5"), SECOND, Some(1_500_000)),
            (Cell::Int(-3), 60 * SECOND, Some(-180_000_000)),
            (Cell::Float(0.000_000_5), SECOND, Some(0)),
            (Cell::Int(i64::MAX), SECOND, None),
            (Cell::Text("1h"), SECOND, None),
        ] {
            assert_eq!(duration(cell, unit).ok(), us, "{cell:?}");
        }
    }

    #[test]
    fn times_are_read_in_every_unit() {
        let at = Some(1_522_540_831_250_000);
        for (cell, unit, micros) in [
            (Cell::Text("1522540831.25"), "s", at),
            (Cell::Float(1_522_540_831.25), "s", at),
            (Cell::Int(1_522_540_831_250), "ms", at),
            (Cell::Int(1_522_540_831_250_000), "us", at),
            (Cell::Text("1522540831250000999"), "ns", at),
            (Cell::Text("2018-04-01T00:00:31.25Z"), "rfc3339", at),
            (Cell::Text("2018-04-01T02:00:31.25+02:00"), "rfc3339", at),
            (Cell::Text("2018-04-01 00:00:31.25"), "timestamp", at),
            (Cell::Time(Time(1_522_540_831_250_000)), "timestamp", at),
            (Cell::Text("2018-04-01 00:00:31"), "rfc3339", None),
            (Cell::Text("2018-04-01T00:00:31Z"), "timestamp", None),
            (Cell::Text("2018-04-01T00:00:31+02:00"), "timestamp", None),
            (Cell::Text("1 April"), "timestamp", None),
            (Cell::Int(1_522_540_831_250_000), "s", None),
            (Cell::Int(-1), "s", None),
        ] {
            let unit = TimeUnit::from_word(unit).unwrap();
            assert_eq!(time(cell, unit).ok().map(|time| time.0), micros, "{cell:?} {unit:?}");
        }
    }

    #[test]
    fn keys_are_texts_or_whole_numbers() {
        let mut text = String::new();
        for (cell, wanted) in [
            (Cell::Int(596), Some("596")),
            (Cell::Float(596.0), Some("596")),
            (Cell::Text("c-1"), Some("c-1")),
            (Cell::Float(596.5), None),
            (Cell::Bool(true), None),
            (Cell::Null, None),
        ] {
            assert_eq!(name(cell, &mut text).ok().map(|()| text.as_str()), wanted, "{cell:?}");
        }
        assert!(is_raw_card_number("4111 1111 1111 1111"));
        assert!(!is_raw_card_number("411111111111111"));
    }

    #[test]
    fn filters_compare_numbers_by_value_and_text_by_letters() {
        assert!(equals(Cell::Text("1"), Cell::Int(1)));
        assert!(equals(Cell::Float(1.0), Cell::Int(1)));
        assert!(equals(Cell::Int(1), Cell::Bool(true)));
        assert!(equals(Cell::Text("ecom"), Cell::Text("ecom")));
        assert!(!equals(Cell::Null, Cell::Int(0)));
        assert!(!equals(Cell::Int(2), Cell::Bool(true)));
    }
}
