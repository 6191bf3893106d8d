//! Parses INI files as supervisord does, which uses Python's configparser. A file has sections and
//! `key = value` lines. A line that is indented deeper than the key before it continues the value
//! of that key. A `;` or `#` begins a comment if it comes first in a line or follows a blank. If
//! several sections have one name, the keys of the later sections are added to the first of them.

use std::sync::LazyLock;

use regex_lite::Regex;

use crate::import::input::InputFile;
use crate::language::span::Span;
use crate::load::Diagnostic;
use crate::pattern;

static COMMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(^|\s)[;#].*"));

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    /// The line with the section's name.
    pub(super) at: Span,
    pub(super) entries: Vec<(String, String)>,
}

impl Section {
    /// The value of a key. If the key is repeated, the last value counts.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Parses the text of a file, and adds its sections to those of the files before it, in file order.
pub(super) fn read(
    sections: &mut Vec<Section>,
    file: &mut InputFile,
    text: &str,
) -> Result<(), Vec<Diagnostic>> {
    let mut current = usize::MAX;
    // How far the last key is indented. `None` before the first key of a section.
    let mut key_indent = None;
    for (index, raw) in text.lines().enumerate() {
        let at = file.line(index + 1);
        let content = COMMENT.replace(raw.trim(), "");
        let content = content.trim_end();
        if content.is_empty() {
            continue;
        }
        let indent = raw.chars().take_while(|c| c.is_whitespace()).count();
        if key_indent.is_some_and(|of_key| indent > of_key)
            && let Some((_, value)) = sections.get_mut(current).and_then(|it| it.entries.last_mut())
        {
            value.push('\n');
            value.push_str(content);
        } else if let Some(header) = content.strip_prefix('[') {
            let Some((name, _)) = header.split_once(']') else {
                return Err(file.fail(at, "this section header is not closed", "add the `]`"));
            };
            let name = name.trim().to_owned();
            key_indent = None;
            let known = sections.iter().position(|section| section.name == name);
            current = known.unwrap_or(sections.len());
            if known.is_none() {
                sections.push(Section { name, at, entries: Vec::new() });
            }
        } else if let Some((key, value)) = content.split_once(['=', ':']) {
            let Some(section) = sections.get_mut(current) else {
                let help = "start with a section such as [supervisord]";
                return Err(file.fail(at, "this line is before the first section", help));
            };
            key_indent = Some(indent);
            section.entries.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        } else {
            let message = "this line is neither a section nor a key with a value";
            return Err(file.fail(at, message, "write `key=value`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, InputFile, Section};

    fn read(text: &str) -> Result<Vec<Section>, Vec<Diagnostic>> {
        let mut sections = Vec::new();
        super::read(&mut sections, &mut InputFile::new("FILE", text), text).map(|_| sections)
    }

    #[test]
    fn an_indented_bracket_continues_the_value() {
        let sections = read("[a]\nx=sh -c \"\n  [ -f /b ] && c\"\ny=1\n").unwrap();
        assert_eq!(sections.len(), 1);
        assert_eq!(sections[0].get("x"), Some("sh -c \"\n[ -f /b ] && c\""));
    }

    /// As in Python, an indented line is a new key, unless the line is indented deeper than the key
    /// before it.
    #[test]
    fn indented_keys_are_keys() {
        let sections =
            read("[a]\n  x=1\n  y = 2\n    and 3\n\tz=4\n [b]\n  x=5\nw=6\n[a]\n   v=7\n  u=8\n")
                .unwrap();
        let entries = |section: usize| -> Vec<_> {
            let entries = sections[section].entries.iter();
            entries.map(|(key, value)| (key.as_str(), value.as_str())).collect()
        };
        assert_eq!(sections.len(), 2);
        assert_eq!(entries(0), [("x", "1"), ("y", "2\nand 3"), ("z", "4"), ("v", "7"), ("u", "8")]);
        assert_eq!(entries(1), [("x", "5"), ("w", "6")]);
    }

    #[test]
    fn an_invalid_line_is_reported() {
        for (text, line) in [("x=1", 1), ("[a\n", 1), ("[a]\n\nwhat\n", 3)] {
            assert_eq!(read(text).unwrap_err()[0].line, line, "{text}");
        }
    }
}
