//! Entries of lists, as they are written in policies, in files and in orders.

use super::check::literals;
use super::suggest::nearest;
use crate::engine::program::{ListOf, PrefixPlan, TEXT_FIELD_BYTES_MAX};
use crate::engine::units::codes::{BIN_DIGITS_MAX, Country};
use crate::engine::units::entries::Entry;
use crate::engine::units::entries::has_card_number;
use crate::engine::units::{CURRENCIES, Currency};
use crate::token::Tokenizer;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::net::{IpAddr, Ipv6Addr};

/// The longest entry, owner or reason, in bytes.
pub const SAID_BYTES_MAX: usize = 256;

/// What stands before a key that is written as its token, in hexadecimal.
pub const TOKEN: &str = "token:";

/// Why something is not an entry: what is wrong, and what to do.
pub type Wrong = (String, String);

fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err((message.into(), help.into()))
}

/// An entry of a list of this. `kind` is the entity kind of a list of keys.
pub fn read(of: ListOf, kind: &str, text: &str, tokenizer: &Tokenizer) -> Result<Entry, Wrong> {
    if text.is_empty() {
        return wrong("an entry of a list cannot be empty", "remove it");
    }
    if text.len() > SAID_BYTES_MAX {
        return wrong(format!("an entry has at most {SAID_BYTES_MAX} bytes"), "this is no entry");
    }
    if has_card_number(text) && !text.starts_with(TOKEN) {
        return wrong(
            "an entry of a list cannot be a raw card number",
            "card numbers never enter a policy; write the token that stands for the card",
        );
    }
    let number = |number: u64| Entry::new(0, &[number]);
    match of {
        ListOf::Entity(_) if text.starts_with(TOKEN) => match token(&text[TOKEN.len()..]) {
            Some(key) => Ok(Entry::new(0, &key)),
            None => wrong(
                format!("behind `{TOKEN}` there are not 32 hexadecimal digits"),
                "write the sixteen bytes of the token, as they are on the wire",
            ),
        },
        ListOf::Entity(_) => match tokenizer.key(kind, text) {
            Ok(key) => Ok(Entry::new(0, &key.0)),
            Err(_) => wrong(
                "an entry of a list cannot be a raw card number",
                "card numbers never enter a policy; write the token that stands for the card",
            ),
        },
        ListOf::Text => Ok(Entry::new(0, &words_of_text(text)?)),
        ListOf::Ip => {
            let prefix = prefix(text)?;
            if prefix.bits == 0 {
                return wrong("this is every address", "leave it out, and the condition with it");
            }
            Ok(Entry::new(prefix.bits, &prefix.address))
        }
        ListOf::Int => match text.parse::<i64>() {
            Ok(value) => Ok(number(value as u64)),
            Err(_) => wrong(format!("`{}` is not a whole number", short(text)), "write its digits, as in 42"),
        },
        ListOf::Country => match Country::from_alpha(text) {
            Some(country) => Ok(number(u64::from(country.0))),
            None => wrong(
                format!("there is no country `{}`", short(text)),
                "write its two letters by ISO 3166-1 in capitals, such as DE, US or CN",
            ),
        },
        ListOf::Currency => match Currency::from_alpha(text) {
            Some(currency) => Ok(number(u64::from(currency.0))),
            None => {
                let near = nearest(&text.to_ascii_uppercase(), CURRENCIES.iter().map(|currency| currency.0));
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write its ISO 4217 code in capitals, such as USD, EUR or CNY".to_owned(),
                };
                wrong(format!("there is no currency `{}`", short(text)), help)
            }
        },
        ListOf::Mcc => match literals::mcc(text) {
            Some(category) => Ok(number(category as u64)),
            None => wrong(
                format!("`{}` is not a merchant category", short(text)),
                "a merchant category has four digits, as in 5411 or 0742",
            ),
        },
        ListOf::Bin => {
            let digits = text.len() as u32;
            let all = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse::<u64>() {
                Ok(number) if all && digits <= BIN_DIGITS_MAX => Ok(Entry::leading(digits, number)),
                _ => wrong(
                    "these are not leading digits of a card",
                    "write 1 to 8 digits; those of all cards that begin with them are in the list",
                ),
            }
        }
    }
}

/// Sixteen bytes in hexadecimal, as the two words that they are on the wire.
fn token(digits: &str) -> Option<[u64; 2]> {
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let word = |digits: &str| u64::from_str_radix(digits, 16).ok().map(u64::swap_bytes);
    Some([word(&digits[..16])?, word(&digits[16..])?])
}

/// The instant of a text: `2026-12-31`, its midnight in UTC; `2026-12-31T08:30`, in UTC; or with an offset, `2026-12-31T08:30:00Z`.
/// In microseconds since 1970.
#[must_use]
pub fn instant(text: &str) -> Option<i64> {
    let utc = |local: DateTime| local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let at: Option<jiff::Timestamp> = text.parse().ok();
    let at = at.or_else(|| text.parse::<DateTime>().ok().and_then(utc));
    let at = at.or_else(|| text.parse::<Date>().ok().and_then(|date| utc(date.at(0, 0, 0, 0))));
    at.map(jiff::Timestamp::as_microsecond)
}

/// The beginning of a text that is told in a message.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A text as the wire has it.
pub fn words_of_text(text: &str) -> Result<Vec<u64>, Wrong> {
    if text.is_empty() {
        return wrong("this text is empty", "a field without a text is absent: ask whether it `is missing`");
    }
    if text.len() > TEXT_FIELD_BYTES_MAX {
        return wrong(
            format!("a text has at most {TEXT_FIELD_BYTES_MAX} bytes; this has {}", text.len()),
            "no field can hold it",
        );
    }
    if text.chars().any(char::is_control) {
        return wrong("a text has no control characters", "no field can hold it");
    }
    if has_card_number(text) {
        return wrong("this text holds what could be a raw card number", "card numbers never enter a policy");
    }
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok(text.as_bytes().chunks(8).map(word).collect())
}

/// An address, or a prefix of addresses: `10.0.0.0/8`, `2001:db8::/32`, `10.1.2.3`.
pub fn prefix(text: &str) -> Result<PrefixPlan, Wrong> {
    const HELP: &str = "write it as in 10.0.0.0/8, 2001:db8::/32 or 10.1.2.3";
    let not = || (format!("`{}` is neither an address nor a prefix", short(text)), HELP.to_owned());
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| not())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| not())?;
    let (mapped, most) = match address {
        IpAddr::V4(address) => (address.to_ipv6_mapped(), 32),
        IpAddr::V6(address) => (address, 128),
    };
    let bits = bits.unwrap_or(most);
    if bits > most {
        return wrong(format!("an address has {most} bits, not {bits}"), HELP);
    }
    let (address, bits) = (words_of_address(mapped), 128 - most + bits);
    let kept = crate::engine::units::entries::masked(address, bits);
    if kept != address {
        let whole = u128::from(kept[0]) << 64 | u128::from(kept[1]);
        let kept = Ipv6Addr::from(whole);
        let kept = kept.to_ipv4_mapped().map_or_else(|| kept.to_string(), |address| address.to_string());
        let written = text.split_once('/').map_or("", |(_, bits)| bits);
        let help = format!("write the first address of the prefix: {kept}/{written}");
        return wrong("this address has bits behind its prefix", help);
    }
    Ok(PrefixPlan { address, bits })
}

/// An address as the wire has it.
#[must_use]
pub fn words_of_address(address: Ipv6Addr) -> [u64; 2] {
    let whole = u128::from(address);
    [(whole >> 64) as u64, whole as u64]
}

/// An address as it is written.
#[must_use]
pub fn address_text(words: [u64; 2]) -> String {
    let address = Ipv6Addr::from(u128::from(words[0]) << 64 | u128::from(words[1]));
    address.to_ipv4_mapped().map_or_else(|| address.to_string(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(of: ListOf, text: &str) -> Result<Entry, Wrong> {
        read(of, "device", text, &Tokenizer::default())
    }

    #[test]
    fn entries_are_those_of_their_type() {
        for (of, text, width, words) in [
            (ListOf::Int, "-42", 0, vec![(-42_i64) as u64]),
            (ListOf::Country, "CN", 0, vec![0x434e]),
            (ListOf::Currency, "USD", 0, vec![840]),
            (ListOf::Mcc, "0742", 0, vec![742]),
            (ListOf::Bin, "4", 1, vec![4]),
            (ListOf::Bin, "00001234", 8, vec![1234]),
            (ListOf::Ip, "10.0.0.0/8", 104, vec![0, 0xffff_0a00_0000]),
            (ListOf::Ip, "10.1.2.3", 128, vec![0, 0xffff_0a01_0203]),
            (ListOf::Ip, "2001:db8::/32", 32, vec![0x2001_0db8_0000_0000, 0]),
            (
                ListOf::Entity(0),
                "token:0123456789abcdef00000000000000ff",
                0,
                vec![0xefcd_ab89_6745_2301, 0xff00_0000_0000_0000],
            ),
            (ListOf::Text, "abcdefghi", 0, vec![u64::from_le_bytes(*b"abcdefgh"), u64::from(b'i')]),
        ] {
            assert_eq!(entry(of, text), Ok(Entry::new(width, &words)), "{text}");
        }
        for (of, text) in [
            (ListOf::Entity(0), "4111111111111111"),
            (ListOf::Entity(0), "card 4111-1111-1111-1111"),
            (ListOf::Entity(0), ""),
            (ListOf::Entity(0), "token:0123"),
            (ListOf::Text, "4111 1111 1111 1111"),
            (ListOf::Text, "tab\there"),
            (ListOf::Int, "1.5"),
            (ListOf::Country, "cn"),
            (ListOf::Currency, "USX"),
            (ListOf::Mcc, "742"),
            (ListOf::Bin, "411111111"),
            (ListOf::Bin, "+4"),
            (ListOf::Ip, "10.0.0.1/8"),
            (ListOf::Ip, "10.0.0.0/33"),
            (ListOf::Ip, "0.0.0.0.0"),
            (ListOf::Ip, "::/0"),
        ] {
            assert!(entry(of, text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_written_as_they_were_read() {
        for text in ["10.1.2.3", "2001:db8::1", "::"] {
            assert_eq!(address_text(prefix(text).unwrap().address), text);
        }
    }
}
