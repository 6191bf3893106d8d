//! One problem in a config, with its place and its mend, and how a person gets to see it.

use std::fmt;
use std::path::PathBuf;

use crate::types::{harmless, visible};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Nothing is started.
    Error,
    /// It works, but probably not as meant.
    Warning,
}

/// One problem, with everything that is needed to find and mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// Error or warning.
    pub(crate) severity: Severity,
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// The file it is in.
    pub(crate) file: PathBuf,
    /// Its line, from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// Its column in characters, from 1; 0 where the whole file is meant.
    pub(crate) column: usize,
    /// The line itself, made safe for a terminal and, where it is long, cut around the column. Empty where showing
    /// it would help nobody (binary files) or could give a secret away (`env_file`).
    pub(crate) source_line: String,
    /// Where in `source_line` the problem begins, in characters from 0.
    pub(crate) offset: usize,
    /// How many characters of `source_line` are meant; at least 1.
    pub(crate) len: usize,
    /// How to mend it.
    pub(crate) help: Option<String>,
}

impl Diagnostic {
    /// Whether it keeps the config from being used.
    #[must_use]
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// What is wrong and where, for those who have one line only. What is wrong with a whole file names it.
    #[must_use]
    pub(crate) fn in_a_line(&self) -> String {
        match self.line {
            0 => self.message.clone(),
            line => format!("{}:{line}: {}", harmless(&self.file.to_string_lossy()), self.message),
        }
    }
}

/// As the Rust compiler writes it, without a trailing newline. Only the offending line is shown, never its
/// neighbours: they may hold secrets.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
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
        Ok(())
    }
}

/// The longest part of a line that is shown, in characters.
const EXCERPT: usize = 120;
/// How much of it stands before the column where a line is cut.
const BEFORE: usize = 40;

/// The part of `line` around `column` (in characters, from 1) that is shown, and the place of the column in it.
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

/// The longest text that is repeated in a message, in characters.
const QUOTED: usize = 80;

/// `text` between backticks, on one line, harmless to a terminal, and cut where it is long.
pub(crate) fn quote(text: &str) -> String {
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

    fn diagnostic(line: &str, column: usize, len: usize, help: Option<&str>) -> Diagnostic {
        let (source_line, offset) = excerpt(line, column);
        Diagnostic {
            severity: Severity::Error,
            message: "unknown key `comand`".to_owned(),
            file: PathBuf::from("/etc/drainit.yaml"),
            line: 12,
            column,
            source_line,
            offset,
            len,
            help: help.map(str::to_owned),
        }
    }

    #[test]
    fn it_looks_like_the_compiler() {
        let text =
            diagnostic("    comand: [envoy]", 5, 6, Some("did you mean `command`?")).to_string();
        let expected = "\
error: unknown key `comand`
  --> /etc/drainit.yaml:12:5
   |
12 |     comand: [envoy]
   |     ^^^^^^
   |
   = help: did you mean `command`?";
        assert_eq!(text, expected);
    }

    #[test]
    fn without_help_it_ends_at_the_caret() {
        assert!(diagnostic("a: b", 4, 1, None).to_string().ends_with("12 | a: b\n   |    ^"));
    }

    #[test]
    fn a_problem_of_the_whole_file_shows_no_line() {
        let mut whole = diagnostic("", 0, 0, Some("write one"));
        (whole.line, whole.severity) = (0, Severity::Warning);
        let expected = "warning: unknown key `comand`\n --> /etc/drainit.yaml\n = help: write one";
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
    fn nothing_reaches_the_terminal_unseen() {
        let (text, offset) = excerpt("\ta\u{1b}[31m\u{202e}x", 9);
        assert_eq!(text, " a␛[31m\u{fffd}x");
        assert_eq!(offset, 8);
        assert_eq!(quote("a\nb\u{1b}"), "`a\\nb␛`");
        assert_eq!(quote(&"x".repeat(200)).chars().count(), QUOTED + 3);
    }
}
