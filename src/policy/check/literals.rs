//! Numbers, durations and texts as written → values.

use crate::engine::units::{Currency, DAY, HOUR, MINUTE, SECOND, Value};

/// A number: whole, or with digits after the point. The error is a message and a help line.
pub(super) fn number(text: &str) -> Result<(Value, bool), (String, String)> {
    let (mut num, fraction) = digits(text).ok_or_else(too_long)?;
    let mut fraction_left = fraction;
    while fraction_left > 0 && num % 10 == 0 {
        num /= 10;
        fraction_left -= 1;
    }
    let den = 10i64.checked_pow(fraction_left).ok_or_else(too_long)?;
    Ok((Value::ratio(num, den), fraction > 0))
}

pub(super) fn too_long() -> (String, String) {
    (
        "this number does not fit 64 bits".to_owned(),
        "a number has at most 18 digits, those after the point included".to_owned(),
    )
}

/// An amount of a currency in its minor units.
pub(super) fn money(text: &str, currency: Currency) -> Result<i64, (String, String)> {
    let exponent = currency.exponent();
    let too_large =
        || ("this amount does not fit 64 bits".to_owned(), "an amount has at most 18 digits".to_owned());
    let (num, fraction) = digits(text).ok_or_else(too_large)?;
    if fraction > exponent {
        let alpha = currency.alpha();
        let help = match exponent {
            0 => format!("write a whole number of {alpha}"),
            _ => format!("write at most {exponent} digits after the point"),
        };
        return Err((format!("{alpha} has {exponent} digits after the point, not {fraction}"), help));
    }
    num.checked_mul(10i64.pow(exponent - fraction)).ok_or_else(too_large)
}

/// All digits as one number, and how many of them are after the point; none when there are too many.
fn digits(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut num: i64 = 0;
    let mut after = 0u32;
    for byte in whole.bytes().filter(u8::is_ascii_digit) {
        num = num.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
    }
    for byte in fraction.bytes().filter(u8::is_ascii_digit) {
        num = num.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
        after = after.checked_add(1)?;
    }
    (after <= 18).then_some((num, after))
}

/// A duration in microseconds. The error is a message and a help line.
pub(super) fn duration(text: &str) -> Result<i64, (String, String)> {
    const UNITS: &str = "the units are us, ms, s, m, h, d and w, as in 500us, 30s, 24h, 7d";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_us = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err((format!("`{unit}` is not a unit of time"), UNITS.to_owned())),
    };
    if number.contains('.') {
        return Err((
            "a duration is a whole number of its unit".to_owned(),
            "use a smaller unit, as in `90m` for one and a half hours".to_owned(),
        ));
    }
    digits(number)
        .and_then(|(count, _)| count.checked_mul(unit_us))
        .ok_or_else(|| ("this duration does not fit 64 bits".to_owned(), UNITS.to_owned()))
}

/// The number of a merchant category: four digits.
pub(in crate::policy) fn mcc(text: &str) -> Option<i64> {
    let is_code = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| text.parse().ok()).flatten()
}

/// What a text in quotes says: `\"` and `\\` stand for `"` and `\`.
pub(in crate::policy) fn text(quoted: &str) -> String {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let escaped =
            (c == '\\').then(|| chars.clone().next()).flatten().filter(|next| matches!(next, '"' | '\\'));
        match escaped {
            Some(next) => {
                chars.next();
                plain.push(next);
            }
            None => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_bounded() {
        for (written, num, den, decimal) in [
            ("42", 42, 1, false),
            ("1_000_000", 1_000_000, 1, false),
            ("0.05", 5, 100, true),
            ("12.50", 125, 10, true),
            ("3.000", 3, 1, true),
        ] {
            assert_eq!(number(written), Ok((Value::ratio(num, den), decimal)), "{written}");
        }
        assert!(number("9223372036854775807").is_ok());
        assert!(number("9223372036854775808").is_err());
        assert!(number("0.0000000000000000000000001").is_err());
    }

    #[test]
    fn money_is_in_minor_units_of_its_currency() {
        let currency = |alpha| Currency::from_alpha(alpha).unwrap();
        assert_eq!(money("12.5", currency("USD")), Ok(1_250));
        assert_eq!(money("12.345", currency("KWD")), Ok(12_345));
        assert_eq!(money("500", currency("JPY")), Ok(500));
        assert!(money("12.345", currency("USD")).is_err());
        assert!(money("0.5", currency("JPY")).is_err());
        assert!(money("922337203685477580", currency("USD")).is_err());
    }

    #[test]
    fn durations_know_their_units() {
        for (written, us) in
            [("500us", 500), ("10ms", 10_000), ("30s", 30 * SECOND), ("24h", DAY), ("2w", 14 * DAY)]
        {
            assert_eq!(duration(written), Ok(us));
        }
        for wrong in ["5min", "1.5h", "9999999999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn categories_are_four_digits() {
        for (written, number) in [("5411", Some(5_411)), ("0742", Some(742)), ("742", None), ("54.1", None)] {
            assert_eq!(mcc(written), number, "{written}");
        }
    }

    #[test]
    fn quotes_and_backslashes_can_be_written() {
        assert_eq!(text(r#""a \"b\" \\ c""#), r#"a "b" \ c"#);
        assert_eq!(text(r#""a \n""#), r"a \n");
    }
}
