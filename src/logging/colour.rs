//! Colour in a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use crate::types::Stream;

/// Escape sequences of a terminal (ECMA-48).
pub(crate) const RED: &str = "\u{1b}[31m";
pub(crate) const GREEN: &str = "\u{1b}[32m";
pub(crate) const YELLOW: &str = "\u{1b}[33m";
pub(crate) const RESET: &str = "\u{1b}[0m";

/// Whether a stream shows colour: it is a terminal that has colours, and the user has not set
/// `NO_COLOR`.
pub(crate) fn is_shown(stream: Stream) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_terminal = match stream {
        Stream::Stdout => io::stdout().is_terminal(),
        Stream::Stderr => io::stderr().is_terminal(),
    };
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// If the stream shows colour, paints the words `error:` and `warning:`. Such a word is at the
/// beginning of a line, or behind the prefix and the time of drainit's own lines, as in
/// `[drainit] TIME error:`.
pub(crate) fn on(stream: Stream, text: &str) -> Cow<'_, str> {
    if is_shown(stream) { labels(text).into() } else { text.into() }
}

/// Like [`on`] for a stream that shows colour.
pub(crate) fn labels(text: &str) -> String {
    text.split_inclusive('\n').map(labelled).collect()
}

fn labelled(line: &str) -> Cow<'_, str> {
    let own = line.strip_prefix("[drainit] ").unwrap_or(line);
    let text = match own.split_once(' ') {
        Some((time, text)) if time.len() == 24 && time.ends_with('Z') => text,
        _ => own,
    };
    let mut labels = [("error:", RED), ("warning:", YELLOW)].into_iter();
    let Some((label, colour)) = labels.find(|(label, _)| text.starts_with(label)) else {
        return line.into();
    };
    let head = &line[..line.len() - text.len()];
    format!("{head}{colour}{label}{RESET}{}", &text[label.len()..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C970
    #[test]
    fn only_labels_at_the_beginning_of_a_line_are_painted() {
        for (line, painted) in [
            ("error: a: b", "\u{1b}[31merror:\u{1b}[0m a: b"),
            ("[drainit] error: no", "[drainit] \u{1b}[31merror:\u{1b}[0m no"),
            (
                "[drainit] 2026-11-20T07:04:12.123Z warning: slow",
                "[drainit] 2026-11-20T07:04:12.123Z \u{1b}[33mwarning:\u{1b}[0m slow",
            ),
            ("[drainit] 2026-11-20T07:04:12.123Z a: error: b", ""),
            ("{\"level\":\"error\"}", ""),
            ("a Z error: b", ""),
        ] {
            let text = format!("before\n{line}\n");
            let expected =
                if painted.is_empty() { text.clone() } else { format!("before\n{painted}\n") };
            assert_eq!(labels(&text), expected);
        }
    }
}
