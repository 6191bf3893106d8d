//! Parses an `env_file` as Compose does: `NAME=VALUE`, comments, quotes, and a leading `export`.

use crate::load::environment::Variables;
use crate::load::expand::{check_syntax, expand};
use crate::load::values::Invalid;

/// A line of the file that sets a variable or passes a variable on.
pub(crate) struct Entry<'t> {
    /// The number of the line, from 1.
    pub(crate) line: usize,
    content: Result<(&'t str, Value), Invalid>,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// A `NAME` without `=`: the process gets the container's variable of this name.
    PassedOn,
    /// Text in single quotes, in which no variables are expanded.
    Literal(String),
    /// Text in which variables are expanded.
    Template(String),
}

pub(crate) fn parse(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().zip(1..).filter_map(|(text, line)| {
        let text = text.trim();
        let has_content = !text.is_empty() && !text.starts_with('#');
        has_content.then(|| Entry { line, content: entry(text) })
    })
}

fn entry(line: &str) -> Result<(&str, Value), Invalid> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim())),
        None => (without_comment(line), None),
    };
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')) {
        // The message must not quote the line, which may contain a secret.
        return Err(Invalid::new(
            "this line of an `env_file` has no name before its `=`",
            "write `NAME=VALUE`",
        ));
    }
    let value = match value {
        None => Value::PassedOn,
        Some(value) if value.starts_with('\'') => {
            let (inside, rest) = value[1..].split_once('\'').ok_or_else(unclosed)?;
            nothing_more(rest)?;
            Value::Literal(inside.to_owned())
        }
        Some(value) if value.starts_with('"') => Value::Template(double_quoted(&value[1..])?),
        Some(value) => Value::Template(without_comment(value).to_owned()),
    };
    Ok((name, value))
}

impl<'t> Entry<'t> {
    /// The name and the value, in which variables are expanded. `None` for a `NAME` without `=` if
    /// the container does not have this variable. An error never quotes a value, because values may
    /// be secrets.
    pub(crate) fn variable(
        self,
        variables: &mut Variables<'_>,
    ) -> Result<Option<(&'t str, String)>, Invalid> {
        let (name, value) = self.content?;
        let value = match value {
            Value::PassedOn => variables.container().get(name).map(str::to_owned),
            Value::Literal(value) => Some(value),
            Value::Template(template) => {
                variables.is_secret = true;
                let value = expanded(&template, variables);
                variables.is_secret = false;
                Some(value?)
            }
        };
        Ok(value.map(|value| (name, value)))
    }
}

fn expanded(template: &str, variables: &Variables<'_>) -> Result<String, Invalid> {
    match expand(template, variables) {
        Ok(expanded) => Ok(expanded.text),
        Err(_) if check_syntax(template).is_err() => Err(Invalid::new(
            "a `${` without the name of a variable",
            "write `${VAR}`, `${VAR:-default}` or `${VAR:?message}`; put a value that holds `${` \
             itself into single quotes",
        )),
        Err(malformed) => Err(Invalid::new(malformed.message, malformed.help)),
    }
}

/// Removes a comment, which begins with a `#` at the start of the text or after a blank.
fn without_comment(text: &str) -> &str {
    let comment = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|&at| text[..at].trim_end().len() < at || at == 0);
    comment.map_or(text, |at| &text[..at]).trim_end()
}

fn double_quoted(text: &str) -> Result<String, Invalid> {
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().ok_or_else(unclosed)? {
            '"' => break,
            '\\' => match chars.next().ok_or_else(unclosed)? {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                '$' => out.push_str("$$"),
                c @ ('\\' | '"') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
    nothing_more(chars.as_str())?;
    Ok(out)
}

fn nothing_more(rest: &str) -> Result<(), Invalid> {
    match without_comment(rest).is_empty() {
        true => Ok(()),
        false => {
            Err(Invalid::new("text follows the closing quote", "put the whole value into quotes"))
        }
    }
}

fn unclosed() -> Invalid {
    Invalid::new(
        "a quote is not closed on its line",
        "close it; for a line break write `\\n` in double quotes",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    // holds: C263, C264
    #[test]
    fn lines_are_read_as_by_compose() {
        let template = |text: &str| Value::Template(text.to_owned());
        for (line, name, value) in [
            ("A=1", "A", template("1")),
            ("  A = b c  ", "A", template("b c")),
            ("export A=1 # why", "A", template("1")),
            ("A=1#2", "A", template("1#2")),
            ("A=", "A", template("")),
            ("A=#", "A", template("")),
            ("A", "A", Value::PassedOn),
            ("A # why", "A", Value::PassedOn),
            ("A='${B} # x' # y", "A", Value::Literal("${B} # x".to_owned())),
            (r#"A="a\n\"${B}\" \$ \\ \d" # y"#, "A", template("a\n\"${B}\" $$ \\ \\d")),
            ("exported=1", "exported", template("1")),
            ("A==b", "A", template("=b")),
        ] {
            assert_eq!(entry(line.trim()).unwrap(), (name, value), "{line}");
        }
        for line in ["=1", "a b=1", "A='x", "A=\"x", "A=\"x\\", "A='x'y", "\"A\"=1", "export =1"] {
            assert!(entry(line).is_err(), "{line}");
        }
    }

    // holds: C263
    #[test]
    fn entries_have_line_numbers() {
        let lines: Vec<_> = parse("# a\n\nA=1\r\n  # b\nB=2").map(|entry| entry.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
