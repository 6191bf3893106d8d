//! Text from outside, made harmless for the log and the terminal.

use std::borrow::Cow;

/// A character that takes one place and does nothing to a terminal.
#[must_use]
pub fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        // Marks that reorder text or take no place would make the line lie about what is in it.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        other => other,
    }
}

/// A text from outside, on one line and harmless to a terminal: the name of a process, what
/// somebody answers, the path of a file. Otherwise it could pass for a line of drainit's own.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| visible(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(visible).collect())
}

/// The same for a text of several lines, which they stay.
#[must_use]
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    let keep = |c| if c == '\n' { c } else { visible(c) };
    if text.chars().all(|c| keep(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(keep).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_harmless() {
        for (text, shown) in [
            ("plain — übrig", "plain — übrig"),
            ("a\nb\r\tc", "a␊b␍ c"),
            ("\u{1b}[31m\u{7}\0\u{7f}", "␛[31m␇␀␡"),
            ("\u{9b}31m\u{202e}\u{2028}", "\u{fffd}31m\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(harmless(text), shown);
            assert_eq!(harmless(shown), shown);
        }
        assert_eq!(harmless_lines("a\n  b\u{1b}"), "a\n  b␛");
    }
}
