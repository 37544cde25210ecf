//! Numbers in text from outside: digits and nothing else. The parsers of the standard library also take a
//! plus sign in front, which nobody writes who means a number. Pure.

use std::str::FromStr;

/// A number of one or more ASCII digits; `None` for anything else, and when it does not fit.
pub fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

/// The byte of an escape: exactly three octal digits.
pub fn octal(digits: &[u8]) -> Option<u8> {
    let is_octal = digits.len() == 3 && digits.iter().all(|b| (b'0'..=b'7').contains(b));
    let value = |sum: u32, digit: &u8| sum * 8 + u32::from(digit - b'0');
    is_octal.then(|| u8::try_from(digits.iter().fold(0, value)).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_9_a_number_is_digits_and_nothing_else() {
        for (text, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("255", Some(255)),
            ("256", None),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("+", None),
            (" 5", None),
            ("5\n", None),
            ("0x5", None),
            ("5_0", None),
            ("\u{0665}", None),
        ] {
            assert_eq!(number::<u8>(text), expected, "{text:?}");
        }
        assert_eq!(number(&u64::MAX.to_string()), Some(u64::MAX));
        assert_eq!(number::<u64>("18446744073709551616"), None);
    }

    #[test]
    fn law_9_an_escape_is_three_octal_digits() {
        for (text, expected) in [
            ("000", Some(0)),
            ("040", Some(b' ')),
            ("377", Some(255)),
            ("400", None),
            ("+41", None),
            ("089", None),
            ("04", None),
            ("0040", None),
        ] {
            assert_eq!(octal(text.as_bytes()), expected, "{text:?}");
        }
    }
}
