//! Text → tokens. Total: every byte lands in a token, and no text is refused here.

use super::syntax::SyntaxKind;

/// One token: its kind and its bytes in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: SyntaxKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Cuts the whole text into tokens.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let (kind, len) = first_token(&text[start..]);
        tokens.push(Token { kind, start, end: start + len });
        start += len;
    }
    tokens
}

/// Kind and length of the first token of a text that is not empty. The length is at least one and ends on a
/// character boundary.
fn first_token(text: &str) -> (SyntaxKind, usize) {
    use SyntaxKind as K;
    let bytes = text.as_bytes();
    let run = |from: usize, belongs: fn(&u8) -> bool| {
        from + bytes[from..].iter().position(|b| !belongs(b)).unwrap_or(bytes.len() - from)
    };
    let second = bytes.get(1).copied().unwrap_or(0);
    match bytes[0] {
        b' ' | b'\t' | b'\r' | b'\n' => {
            (K::Whitespace, run(1, |b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')))
        }
        b'#' => (K::Comment, run(1, |b| *b != b'\n')),
        b'/' if second == b'/' => (K::Comment, run(2, |b| *b != b'\n')),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => (K::Ident, run(1, is_word)),
        b'0'..=b'9' => {
            if let Some(len) = date(bytes) {
                return (K::Date, len);
            }
            let is_digit: fn(&u8) -> bool = |b| b.is_ascii_digit() || *b == b'_';
            let mut end = run(1, is_digit);
            if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
                end = run(end + 1, is_digit);
            }
            match bytes.get(end) {
                Some(letter) if letter.is_ascii_alphabetic() => (K::Duration, run(end, is_word)),
                _ => (K::Number, end),
            }
        }
        b'"' => quoted(bytes),
        b'{' => (K::LBrace, 1),
        b'}' => (K::RBrace, 1),
        b'(' => (K::LParen, 1),
        b')' => (K::RParen, 1),
        b',' => (K::Comma, 1),
        b':' => (K::Colon, 1),
        b'.' => (K::Dot, 1),
        b'?' => (K::Question, 1),
        b'=' if second == b'=' => (K::EqEq, 2),
        b'=' if second == b'>' => (K::FatArrow, 2),
        b'=' => (K::Assign, 1),
        b'!' if second == b'=' => (K::Ne, 2),
        b'<' if second == b'=' => (K::Le, 2),
        b'<' => (K::Lt, 1),
        b'>' if second == b'=' => (K::Ge, 2),
        b'>' => (K::Gt, 1),
        b'+' => (K::Plus, 1),
        b'-' if second == b'>' => (K::Arrow, 2),
        b'-' => (K::Minus, 1),
        b'*' => (K::Star, 1),
        b'/' => (K::Slash, 1),
        b'&' if second == b'&' => (K::Unknown, 2),
        b'|' if second == b'|' => (K::Unknown, 2),
        b'|' => (K::Pipe, 1),
        _ => (K::Unknown, text.chars().next().map_or(1, char::len_utf8)),
    }
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// The length of `2026-01-31` or `2026-01-31T08:30` at the start of a text, if it is there and no word goes on behind it.
fn date(bytes: &[u8]) -> Option<usize> {
    let has = |from: usize, form: &[u8]| {
        let there = bytes.get(from..from + form.len())?;
        let fits = |(byte, form): (&u8, &u8)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        };
        there.iter().zip(form).all(fits).then_some(from + form.len())
    };
    let day = has(0, b"0000-00-00")?;
    let end = has(day, b"T00:00").unwrap_or(day);
    (!bytes.get(end).is_some_and(is_word)).then_some(end)
}

/// Text up to its closing quote; without one, up to the end of the line.
fn quoted(bytes: &[u8]) -> (SyntaxKind, usize) {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return (SyntaxKind::Text, at + 1),
            b'\n' => break,
            b'\\' if bytes.get(at + 1).is_some_and(|b| matches!(b, b'"' | b'\\')) => at += 2,
            _ => at += 1,
        }
    }
    (SyntaxKind::Unknown, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(SyntaxKind, &str)]) {
        let tokens: Vec<_> = lex(text)
            .into_iter()
            .filter(|token| !token.kind.is_trivia())
            .map(|token| (token.kind, &text[token.start..token.end]))
            .collect();
        assert_eq!(tokens, expected);
    }

    #[test]
    fn numbers_durations_and_paths_are_told_apart() {
        use SyntaxKind as K;
        check(
            "1_000.50 24h 5 m",
            &[(K::Number, "1_000.50"), (K::Duration, "24h"), (K::Number, "5"), (K::Ident, "m")],
        );
        check(
            "a.b 1.x",
            &[
                (K::Ident, "a"),
                (K::Dot, "."),
                (K::Ident, "b"),
                (K::Number, "1"),
                (K::Dot, "."),
                (K::Ident, "x"),
            ],
        );
    }

    #[test]
    fn a_date_is_one_token() {
        use SyntaxKind as K;
        check(
            "2026-01-31 2026-01-31T08:30 2026-01-31T8 2026 - 1",
            &[
                (K::Date, "2026-01-31"),
                (K::Date, "2026-01-31T08:30"),
                (K::Number, "2026"),
                (K::Minus, "-"),
                (K::Number, "01"),
                (K::Minus, "-"),
                (K::Duration, "31T8"),
                (K::Number, "2026"),
                (K::Minus, "-"),
                (K::Number, "1"),
            ],
        );
    }

    #[test]
    fn text_ends_at_its_quote_or_with_the_line() {
        use SyntaxKind as K;
        check(r#""a\"b" "c\\" x"#, &[(K::Text, r#""a\"b""#), (K::Text, r#""c\\""#), (K::Ident, "x")]);
        check("\"open\nnext", &[(K::Unknown, "\"open"), (K::Ident, "next")]);
        check("\"ends in backslash\\", &[(K::Unknown, "\"ends in backslash\\")]);
    }

    #[test]
    fn comments_and_letters_outside_ascii_are_tokens_too() {
        use SyntaxKind as K;
        check(
            "a // b\n# c\n風 && -> -",
            &[(K::Ident, "a"), (K::Unknown, "風"), (K::Unknown, "&&"), (K::Arrow, "->"), (K::Minus, "-")],
        );
    }
}
