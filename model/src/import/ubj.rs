//! UBJSON (Universal Binary JSON, draft 12), read into [values](super::value): what XGBoost writes, and the rest of the
//! draft but for numbers of any precision and for typed containers of anything but numbers.

use super::ImportError;
use super::value::{Builder, Value};

/// Reads one value, which is all that there may be.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ImportError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut builder = Builder::new();
    let read = reader.value(&mut builder);
    let error = |message: String| ImportError::new(format!("byte {}", reader.at), message);
    read.map_err(error)?;
    builder.finish().ok_or_else(|| error("the file ends too early: it is cut short".to_owned()))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// How a list or map that is open ends.
#[derive(Clone, Copy)]
enum End {
    /// With a mark.
    Mark,
    /// After so many values more.
    After(usize),
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or("the file ends too early: it is cut short")?;
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let rest = &self.bytes[self.at..];
        let array = rest.first_chunk().copied().ok_or("the file ends too early: it is cut short")?;
        self.at += N;
        Ok(array)
    }

    /// The next mark but for those that say nothing.
    fn mark(&mut self) -> Result<u8, String> {
        loop {
            match self.byte()? {
                b'N' => {}
                mark => return Ok(mark),
            }
        }
    }

    fn next_is(&mut self, mark: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&mark);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, builder: &mut Builder) -> Result<(), String> {
        // As many as the builder lets be open.
        let mut ends: Vec<End> = Vec::new();
        while !builder.is_done() {
            if let Some(end) = ends.last_mut() {
                let is_map = builder.is_in_map() == Some(true);
                let is_over = match end {
                    End::After(left) => {
                        let is_over = *left == 0;
                        *left = left.saturating_sub(1);
                        is_over
                    }
                    End::Mark => {
                        while self.next_is(b'N') {}
                        self.next_is(if is_map { b'}' } else { b']' })
                    }
                };
                if is_over {
                    ends.pop();
                    builder.close()?;
                    continue;
                }
                if is_map {
                    let name = self.text()?;
                    builder.name(name)?;
                }
            }
            match self.mark()? {
                b'{' => {
                    builder.open_map()?;
                    ends.push(self.end()?);
                }
                b'[' => {
                    if self.next_is(b'$') {
                        self.typed(builder)?;
                    } else {
                        builder.open_list()?;
                        ends.push(self.end()?);
                    }
                }
                mark => {
                    let value = self.plain(mark)?;
                    builder.value(value)?;
                }
            }
        }
        if self.at == self.bytes.len() { Ok(()) } else { Err("something follows the model".to_owned()) }
    }

    /// How the list or map that was opened ends.
    fn end(&mut self) -> Result<End, String> {
        if !self.next_is(b'#') {
            return Ok(End::Mark);
        }
        let count = self.count()?;
        // Each takes a byte at least.
        if count > self.bytes.len() - self.at { Err(too_long(count)) } else { Ok(End::After(count)) }
    }

    /// A list of numbers that are all of one type.
    fn typed(&mut self, builder: &mut Builder) -> Result<(), String> {
        let mark = self.byte()?;
        let width = match mark {
            b'i' | b'U' => 1,
            b'I' => 2,
            b'l' | b'd' => 4,
            b'L' | b'D' => 8,
            _ => return Err(format!("lists of the type {} are not read", mark.escape_ascii())),
        };
        if !self.next_is(b'#') {
            return Err("a list with a type has no count".to_owned());
        }
        let count = self.count()?;
        if count > (self.bytes.len() - self.at) / width {
            return Err(too_long(count));
        }
        builder.open_list()?;
        for _ in 0..count {
            let number = self.plain(mark)?;
            builder.value(number)?;
        }
        builder.close()
    }

    fn plain(&mut self, mark: u8) -> Result<Value, String> {
        Ok(match mark {
            b'Z' => Value::Null,
            b'T' => Value::Int(1),
            b'F' => Value::Int(0),
            b'd' => Value::Real(f32::from_be_bytes(self.array()?)),
            b'D' => Value::Real(f64::from_be_bytes(self.array()?) as f32),
            b'C' => Value::Text(char::from(self.byte()?).to_string()),
            b'S' => Value::Text(self.text()?),
            _ => Value::Int(self.int(mark)?),
        })
    }

    fn int(&mut self, mark: u8) -> Result<i64, String> {
        Ok(match mark {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(self.byte()?),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return Err(format!("there is no type {}", mark.escape_ascii())),
        })
    }

    fn count(&mut self) -> Result<usize, String> {
        let mark = self.byte()?;
        let count = self.int(mark)?;
        usize::try_from(count).map_err(|_| format!("a count is {count}"))
    }

    /// A text without its mark.
    fn text(&mut self) -> Result<String, String> {
        let count = self.count()?;
        let rest = &self.bytes[self.at..];
        let text = rest.get(..count).ok_or_else(|| too_long(count))?;
        self.at += count;
        String::from_utf8(text.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
    }
}

fn too_long(count: usize) -> String {
    format!("a count is {count}, which is more than the file holds: it is cut short")
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::import::value::{At, Value};

    #[test]
    fn values_are_read() {
        let bytes = b"{U\x01a[$d#i\x02\x3f\x80\0\0\xc0\0\0\0i\x01b[#U\x03i\xffI\x01\0l\0\x01\0\0i\x01c[NU\xffNL\0\0\0\0\0\0\0\x09]\
            i\x01d{#i\x01i\x01eSi\x02hii\x01f[[]{}ZTCx]i\x01g[$L#i\0}";
        let value = read(bytes).unwrap();
        let root = At::root(&value);
        assert_eq!(*root.get("a").unwrap().reals().unwrap(), [1.0, -2.0]);
        assert_eq!(root.get("b").unwrap().ints().unwrap(), [-1, 256, 65_536]);
        assert_eq!(root.get("c").unwrap().ints().unwrap(), [255, 9]);
        assert_eq!(root.get("d").unwrap().get("e").unwrap().text().unwrap(), "hi");
        assert_eq!(root.get("f").unwrap().items().unwrap().len(), 5);
        assert!(root.get("g").unwrap().ints().unwrap().is_empty());
        // Whatever is cut off, the rest is no model, and nothing worse.
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn numbers_of_64_bits_are_rounded_once() {
        let number = |x: f64| read(&[b"D".as_slice(), &x.to_be_bytes()].concat()).unwrap();
        assert_eq!(number(1.0 + f64::EPSILON), Value::Real(1.0));
        assert_eq!(number(1e300), Value::Real(f32::INFINITY));
    }
}
