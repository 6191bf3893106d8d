//! Makes untrusted text harmless for the log and the terminal, and counts in words.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;

/// Returns a visible character in place of a character that is invisible or controls a terminal.
pub fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        // Characters that reorder text or have no width would change how the line looks.
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fffe}'
        | '\u{ffff}' => '\u{fffd}',
        other => other,
    }
}

/// Makes untrusted text (the name of a process, a response, a path) a single line without control
/// characters. Unchanged, the text could forge a line of drainit's log.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| visible(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(visible).collect())
}

/// Makes untrusted text harmless like [`harmless`], but keeps line breaks.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    let keep = |c| if c == '\n' { c } else { visible(c) };
    if text.chars().all(|c| keep(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(keep).collect())
}

/// Escapes characters such as DEL and U+009B: a JSON writer leaves them as they are, but
/// [`visible`] replaces them. In JSON, these characters occur only in strings, so the text keeps
/// its meaning.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| c >= '\u{7f}' && visible(c) != c;
    // Most text is ASCII, for which this test is fast.
    if json.bytes().all(|byte| byte < 0x7f) || !json.chars().any(is_escaped) {
        return Cow::Borrowed(json);
    }
    let escape = |c| match is_escaped(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    Cow::Owned(json.chars().map(escape).collect::<String>())
}

/// A number with the word for what is counted: `1 line`, `2 lines`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let what = if count == N::from(1) { one } else { many };
    format!("{count} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C139
    #[test]
    fn untrusted_text_is_made_harmless() {
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
        assert_eq!(harmless_lines("\u{1b}a\n  b"), "␛a\n  b");
    }

    // holds: C720
    #[test]
    fn json_has_no_raw_control_character() {
        for c in (0..=0xffff).filter_map(char::from_u32) {
            let json = serde_json::to_string(&c).unwrap();
            let escaped = escape_json(&json);
            let is_bidi_control = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!is_bidi_control || !escaped.contains(c), "{escaped}");
            assert!(escaped.chars().all(|c| visible(c) == c), "{escaped}");
            assert_eq!(serde_json::from_str::<char>(&escaped).unwrap(), c);
            assert!(escaped == json || visible(c) != c, "{escaped}");
        }
    }
}
