//! JSON, read into [values](super::value). A number's text is rounded to f32 once; a reader that goes by f64 would round twice.

use super::value::{Builder, Value};
use super::{ImportError, shown};

/// Reads one value, which is all that there may be.
pub(super) fn read(text: &str) -> Result<Value, ImportError> {
    let mut reader = Reader { text, at: 0 };
    let mut builder = Builder::new();
    let read = reader.value(&mut builder);
    match (read, builder.finish()) {
        (Ok(()), Some(value)) => Ok(value),
        (Ok(()), None) => Err(reader.error("the file ends too early: it is cut short")),
        (Err(message), _) => Err(reader.error(message)),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> ImportError {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        ImportError::new(format!("line {line}, byte {column}"), message)
    }

    /// The next byte that is not white.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> bool {
        let is_next = self.peek() == Some(expected);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, builder: &mut Builder) -> Result<(), String> {
        while let Some(byte) = self.peek() {
            // A value, or what closes a list or map that has none yet.
            match byte {
                b'{' => {
                    self.at += 1;
                    builder.open_map()?;
                    if self.peek() != Some(b'}') {
                        self.name(builder)?;
                        continue;
                    }
                    self.close(builder)?;
                }
                b'[' => {
                    self.at += 1;
                    builder.open_list()?;
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    self.close(builder)?;
                }
                b'"' => {
                    let text = self.string()?;
                    builder.value(Value::Text(text))?;
                }
                _ => {
                    let value = self.plain()?;
                    builder.value(value)?;
                }
            }
            // What follows a value, until there is to be another.
            loop {
                match (builder.is_in_map(), self.peek()) {
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return Err("something follows the model".to_owned()),
                    (Some(is_map), Some(b',')) => {
                        self.at += 1;
                        if is_map {
                            self.name(builder)?;
                        }
                        break;
                    }
                    (Some(true), Some(b'}')) | (Some(false), Some(b']')) => self.close(builder)?,
                    (Some(_), Some(_)) => {
                        return Err("a comma or the end of a list or map has to be here".to_owned());
                    }
                    (Some(_), None) => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, builder: &mut Builder) -> Result<(), String> {
        self.at += 1;
        builder.close()
    }

    fn name(&mut self, builder: &mut Builder) -> Result<(), String> {
        if self.peek() != Some(b'"') {
            return Err("a name in quotes has to be here".to_owned());
        }
        let name = self.string()?;
        builder.name(name)?;
        if self.take(b':') { Ok(()) } else { Err("a colon has to be here".to_owned()) }
    }

    /// Null, a truth or a number.
    fn plain(&mut self) -> Result<Value, String> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
        let word = &rest[..end.unwrap_or(rest.len())];
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Int(1),
            "false" => Value::Int(0),
            // XGBoost writes these, which are no JSON.
            "NaN" => Value::Real(f32::NAN),
            "Infinity" => Value::Real(f32::INFINITY),
            "-Infinity" => Value::Real(f32::NEG_INFINITY),
            _ => number(word).ok_or_else(|| format!("a value has to be here, and not {}", shown(word)))?,
        };
        self.at += word.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(['"', '\\']) else { return Err("a text does not end".to_owned()) };
            text.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return Ok(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Result<char, String> {
        let mut rest = self.text[self.at..].chars();
        let c = rest.next().unwrap_or('\0');
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unit()?,
            _ => return Err("there is no such escape in a text".to_owned()),
        })
    }

    fn unit(&mut self) -> Result<char, String> {
        let mut hex = || {
            let digits = self.text.get(self.at..self.at + 4)?;
            self.at += 4;
            u32::from_str_radix(digits, 16).ok()
        };
        let wrong = || "an escape is no character".to_owned();
        let first = hex().ok_or_else(wrong)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(wrong);
        }
        // The second half of a character that has two.
        if !self.text[self.at..].starts_with("\\u") {
            return Err(wrong());
        }
        self.at += 2;
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(wrong)?;
        let second = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        self.at += 4;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(wrong());
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(wrong)
    }
}

/// A number as JSON writes it.
fn number(word: &str) -> Option<Value> {
    if !word.ends_with(|c: char| c.is_ascii_digit())
        || !word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    {
        return None;
    }
    if let Ok(number) = word.parse::<i64>()
        && (number != 0 || !word.starts_with('-'))
    {
        return Some(Value::Int(number));
    }
    word.parse().ok().map(Value::Real)
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::import::value::{At, Value};

    #[test]
    fn values_are_read() {
        let value = read("{\"a\" : [1, -2.5E-1, true],\n\"b\":{},\"c\":[],\"d\":\"\\u00e4\\\\\\ud83d\\ude00\\n\", \"e\":[null, [7]]}").unwrap();
        let root = At::root(&value);
        assert_eq!(*root.get("a").unwrap().reals().unwrap(), [1.0, -0.25, 1.0]);
        assert!(root.get("c").unwrap().ints().unwrap().is_empty());
        assert_eq!(root.get("d").unwrap().text().unwrap(), "ä\\😀\n");
        let items = root.get("e").unwrap().items().unwrap();
        assert_eq!(items[1].ints().unwrap(), [7]);
        assert_eq!(items[0].error("wrong").to_string(), "e[0]: wrong");
        assert_eq!(root.get("f").err().unwrap().to_string(), "the model: there has to be a map with `f`");
    }

    /// A reader that goes by f64 gets the first of these wrong: it lies just above the middle of two f32.
    #[test]
    fn numbers_are_rounded_once() {
        for (text, bits) in [
            ("1.00000017881393432617187500001", 0x3f80_0002_u32),
            ("1.00000017881393432617187499999", 0x3f80_0001),
            ("1.1754943508222875E-38", 0x0080_0000),
            ("1E-45", 1),
            ("-0", 0x8000_0000),
            ("-0E0", 0x8000_0000),
            ("3.4028235E38", 0x7f7f_ffff),
            ("1E39", 0x7f80_0000),
            ("-Infinity", 0xff80_0000),
        ] {
            let Value::Real(number) = read(text).unwrap() else { panic!("{text} is a number") };
            assert_eq!(number.to_bits(), bits, "{text}");
        }
        assert_eq!(read("9007199254740993").unwrap(), Value::Int((1 << 53) + 1));
        assert_eq!(read("99999999999999999999").unwrap(), Value::Real(1e20));
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_stands() {
        for (text, message) in [
            ("", "line 1, byte 1: the file ends too early: it is cut short"),
            ("{\"a\":[1,\n2", "line 2, byte 2: the file ends too early: it is cut short"),
            ("[1,]", "line 1, byte 4: a value has to be here, and not ``"),
            ("[1 2]", "line 1, byte 4: a comma or the end of a list or map has to be here"),
            ("[1}", "line 1, byte 3: a comma or the end"),
            ("{1:2}", "line 1, byte 2: a name in quotes has to be here"),
            ("[\"a", "line 1, byte 3: a text does not end"),
            ("[\"\\x\"]", "there is no such escape in a text"),
            ("[0x10]", "a value has to be here, and not `0x10`"),
            ("[+1]", "a value has to be here, and not `+1`"),
            ("[.5]", "a value has to be here, and not `.5`"),
            ("[inf]", "a value has to be here, and not `inf`"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(message), "{text}: {said}");
        }
    }
}
