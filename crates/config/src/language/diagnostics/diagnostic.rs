//! One problem with its place and its remedy, and how it is printed.

use std::fmt;
use std::path::PathBuf;

use crate::language::diagnostics::rule::Rule;
pub use crate::language::diagnostics::severity::Severity;
use crate::types::{harmless, visible};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub rule: Rule,
    pub severity: Severity,
    /// The message, which is one line.
    pub message: String,
    pub file: PathBuf,
    /// The line from 1, or 0 for the whole file.
    pub line: usize,
    /// The column in characters, from 1, or 0 for the whole file.
    pub column: usize,
    /// The text of the line, made safe for a terminal. A long line is cut around the column. The
    /// text is empty if the problem is about a whole file or a binary file, and for an `env_file`,
    /// whose lines may contain secrets.
    pub(crate) source_line: String,
    /// The start of the problem in `source_line`, in characters from 0.
    pub(crate) offset: usize,
    /// The length of the problem in characters, at least 1.
    pub len: usize,
    pub help: Option<String>,
    /// The reason of the comment that silences the problem. Only `check` keeps such problems.
    pub allowed: Option<String>,
}

impl Diagnostic {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The file, the line and the message on one line of text. For a problem of a whole file, only
    /// the message.
    pub fn in_a_line(&self) -> String {
        match self.line {
            0 => self.message.clone(),
            line => format!("{}:{line}: {}", harmless(&self.file.to_string_lossy()), self.message),
        }
    }
}

/// Formats the problem as the Rust compiler does, without a trailing newline. Shows only the line
/// that has the problem, because the lines around it may contain secrets.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.name(), self.message)?;
        let file = self.file.to_string_lossy();
        let file = harmless(&file);
        let number = if self.line == 0 { String::new() } else { self.line.to_string() };
        let margin = " ".repeat(number.len());
        match self.line {
            0 => write!(f, "\n{margin} --> {file}")?,
            line => write!(f, "\n{margin}--> {file}:{line}:{}", self.column)?,
        }
        if !self.source_line.is_empty() {
            write!(f, "\n{margin} |\n{number} | {}\n{margin} | ", self.source_line)?;
            write!(f, "{}{}", " ".repeat(self.offset), "^".repeat(self.len.max(1)))?;
            if self.help.is_some() {
                write!(f, "\n{margin} |")?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        write!(f, "\n{margin} = id: {}", self.rule.id())
    }
}

/// A line with more characters is cut to this many.
const EXCERPT: usize = 120;
/// A cut line keeps at most this many characters before the column of the problem.
const BEFORE: usize = 40;

/// Cuts `line` so that the character at `column` (from 1) stays visible. Returns the cut line, and
/// the position of that character in it.
pub(crate) fn excerpt(line: &str, column: usize) -> (String, usize) {
    let index = column.saturating_sub(1);
    let long = line.chars().nth(EXCERPT).is_some();
    let skipped = if long { index.saturating_sub(BEFORE) } else { 0 };
    let mut text = String::new();
    let mut offset = index - skipped;
    if skipped > 0 {
        text.push('…');
        offset += 1;
    }
    let mut rest = line.chars().skip(skipped);
    text.extend(rest.by_ref().take(EXCERPT).map(visible));
    if rest.next().is_some() {
        text.push('…');
    }
    let text = text.trim_end().to_owned();
    (text, offset)
}

/// Messages quote at most this many characters of a text.
const QUOTED: usize = 80;

/// Puts `text` in backticks, on one line and safe for a terminal. A long text is cut.
pub fn quote(text: &str) -> String {
    let mut out = String::from("`");
    let mut chars = text.chars();
    for c in chars.by_ref().take(QUOTED) {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            other => out.push(visible(other)),
        }
    }
    if chars.next().is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C1246
    #[test]
    fn a_problem_of_the_whole_file_shows_no_line() {
        let whole = Diagnostic {
            rule: Rule::UnknownKey,
            severity: Severity::Warning,
            message: "unknown key `comand`".to_owned(),
            file: PathBuf::from("/etc/drainit.yaml"),
            line: 0,
            column: 0,
            source_line: String::new(),
            offset: 0,
            len: 0,
            help: Some("write one".to_owned()),
            allowed: None,
        };
        let expected = "warning: unknown key `comand`\n --> /etc/drainit.yaml\n = help: write one\n \
                        = id: unknown-key";
        assert_eq!(whole.to_string(), expected);
    }

    #[test]
    fn long_lines_are_cut_around_the_column() {
        let line = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let (text, offset) = excerpt(&line, 5001);
        assert_eq!(text.chars().nth(offset), Some('X'));
        assert_eq!(text.chars().count(), EXCERPT + 2);
        assert!(text.starts_with('…') && text.ends_with('…'));
    }

    #[test]
    fn control_characters_are_made_visible() {
        let (text, offset) = excerpt("\ta\u{1b}[31m\u{202e}x", 9);
        assert_eq!(text, " a␛[31m\u{fffd}x");
        assert_eq!(offset, 8);
        assert_eq!(quote("a\nb\u{1b}"), "`a\\nb␛`");
        assert_eq!(quote(&"x".repeat(200)).chars().count(), QUOTED + 3);
    }
}
