//! Parses an `env_file` as Compose does: `NAME=VALUE`, comments, quotes, and a leading `export`.

use crate::language::environment::Variables;
use crate::language::expand::{check_syntax, expand};
use crate::language::invalid::Invalid;
use crate::language::text::Text;

/// An entry of an `env_file`. The entry sets a variable, or passes on a variable of the container.
pub(crate) struct Assignment<'t> {
    /// The number of the first line, from 1.
    pub(crate) line: usize,
    content: Result<(&'t str, Assigned), Invalid>,
}

#[derive(Debug, PartialEq, Eq)]
enum Assigned {
    /// A `NAME` without `=`: the process gets the variable of this name from the container.
    PassedOn,
    /// Text in single quotes, in which no variables are expanded.
    Literal(String),
    /// Text in which variables are expanded.
    Template(String),
}

/// The entries of a file. A value in quotes may have several lines.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = Assignment<'_>> {
    let (mut rest, mut line) = (text, 1);
    std::iter::from_fn(move || {
        loop {
            let start = rest.trim_start();
            line += line_ends(&rest[..rest.len() - start.len()]);
            rest = start;
            match start.chars().next()? {
                '#' => rest = after_line(start),
                _ => break,
            }
        }
        let (content, after) = entry(rest);
        let found = Assignment { line, content };
        line += line_ends(&rest[..rest.len() - after.len()]);
        rest = after;
        Some(found)
    })
}

fn line_ends(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The text behind the first line, beginning with the `\n` of this line. Empty if there is no `\n`.
fn after_line(text: &str) -> &str {
    &text[text.find('\n').unwrap_or(text.len())..]
}

type Content<'t> = Result<(&'t str, Assigned), Invalid>;

/// Reads the entry at the start of `text`. Returns the entry and the text behind the entry.
fn entry(text: &str) -> (Content<'_>, &str) {
    let after = after_line(text);
    let line = &text[..text.len() - after.len()];
    let start = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => line.len() - rest.trim_start().len(),
        _ => 0,
    };
    let line = &line[start..];
    let Some(separator) = line.find(['=', ':']) else {
        let name = without_comment(line);
        return (check_name(name).map(|()| (name, Assigned::PassedOn)), after);
    };
    let name = line[..separator].trim_end();
    if let Err(bad) = check_name(name) {
        return (Err(bad), after);
    }
    let value = line[separator + 1..].trim_start();
    let quote = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => quote,
        _ => return (Ok((name, Assigned::Template(without_comment(value).to_owned()))), after),
    };
    let inside = start + separator + 1 + (line.len() - separator - 1 - value.len()) + 1;
    match read_quoted(&text[inside..], quote) {
        Err(bad) => (Err(bad), after),
        Ok((value, rest)) => {
            let after = after_line(rest);
            let last = &rest[..rest.len() - after.len()];
            let value =
                if quote == '"' { Assigned::Template(value) } else { Assigned::Literal(value) };
            (check_rest(last).map(|()| (name, value)), after)
        }
    }
}

/// Checks the name of a variable.
fn check_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')) {
        // The message must not quote the line, which may contain a secret.
        return Err(Invalid::new(
            "this line of an `env_file` has no name before its `=`",
            "write `NAME=VALUE`",
        ));
    }
    Ok(())
}

impl<'t> Assignment<'t> {
    /// The name and the value, in which variables are expanded. `None` for a `NAME` without `=` if
    /// the container does not have this variable. An error never quotes a value, because values may
    /// be secrets.
    pub(crate) fn variable(
        self,
        variables: &mut Variables<'_>,
    ) -> Result<Option<(&'t str, Text)>, Invalid> {
        let (name, value) = self.content?;
        let value = match value {
            Assigned::PassedOn => variables.container().get(name).map(Text::from),
            Assigned::Literal(value) => Some(value.into()),
            Assigned::Template(template) => {
                variables.is_secret = true;
                let value = expand_value(&template, variables);
                variables.is_secret = false;
                Some(value?)
            }
        };
        Ok(value.map(|value| (name, value)))
    }
}

fn expand_value(template: &str, variables: &Variables<'_>) -> Result<Text, Invalid> {
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

/// Reads a value to its closing quote, and replaces the escapes that Compose knows. In single
/// quotes, a backslash escapes only a `'`.
fn read_quoted(text: &str, quote: char) -> Result<(String, &str), Invalid> {
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().ok_or_else(unclosed_quote)? {
            c if c == quote => return Ok((out, chars.as_str())),
            '\\' => match (chars.next().ok_or_else(unclosed_quote)?, quote) {
                ('\'', '\'') => out.push('\''),
                (c, '\'') => out.extend(['\\', c]),
                ('a', _) => out.push('\u{7}'),
                ('b', _) => out.push('\u{8}'),
                ('f', _) => out.push('\u{c}'),
                ('n', _) => out.push('\n'),
                ('r', _) => out.push('\r'),
                ('t', _) => out.push('\t'),
                ('v', _) => out.push('\u{b}'),
                ('$', _) => out.push_str("$$"),
                (c @ ('\\' | '"'), _) => out.push(c),
                ('0', _) => match octal(chars.as_str()) {
                    Some(c) => {
                        out.push(c);
                        chars.nth(2);
                    }
                    None => out.push_str("\\0"),
                },
                (c, _) => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
}

/// The character with the octal code of three digits at the start of `text`. `None` if no such code
/// is there, and for a NUL, which no variable can have.
fn octal(text: &str) -> Option<char> {
    let digits = text.get(..3).filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))?;
    u8::from_str_radix(digits, 8).ok().filter(|code| *code > 0).map(char::from)
}

fn check_rest(rest: &str) -> Result<(), Invalid> {
    match without_comment(rest).is_empty() {
        true => Ok(()),
        false => {
            Err(Invalid::new("text follows the closing quote", "put the whole value into quotes"))
        }
    }
}

fn unclosed_quote() -> Invalid {
    Invalid::new(
        "a quote is not closed",
        "close it; a quote inside of the value needs a `\\` before it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C263, C264
    #[test]
    fn lines_are_read_as_by_compose() {
        let template = |text: &str| Assigned::Template(text.to_owned());
        let literal = |text: &str| Assigned::Literal(text.to_owned());
        for (line, name, value) in [
            ("A=1", "A", template("1")),
            ("  A = b c  ", "A", template("b c")),
            ("export A=1 # why", "A", template("1")),
            ("A=1#2", "A", template("1#2")),
            ("A=", "A", template("")),
            ("A=#", "A", template("")),
            ("A", "A", Assigned::PassedOn),
            ("A # why", "A", Assigned::PassedOn),
            ("A='${B} # x' # y", "A", literal("${B} # x")),
            (r#"A="a\n\"${B}\" \$ \\ \d" # y"#, "A", template("a\n\"${B}\" $$ \\ \\d")),
            ("exported=1", "exported", template("1")),
            ("A==b", "A", template("=b")),
            ("A: b=c", "A", template("b=c")),
            (r"A='it\'s' # y", "A", literal("it's")),
            (r"A='\n\\'", "A", literal(r"\n\\")),
            (
                r#"A="\0101\a\b\f\v\09\0777\0000""#,
                "A",
                template("A\u{7}\u{8}\u{c}\u{b}\\09\\0777\\0000"),
            ),
            ("A='-----\n# x\nB=1\n'\t# y\n#z", "A", literal("-----\n# x\nB=1\n")),
            ("export A=\"a\n\n${B}\"\n", "A", template("a\n\n${B}")),
        ] {
            let found: Vec<_> = parse(line).map(|entry| entry.content.unwrap()).collect();
            assert_eq!(found, [(name, value)], "{line}");
        }
        for line in ["=1", "a b=1", "A='x", "A=\"x", "A=\"x\\", "A='x'y", "\"A\"=1", "export =1"] {
            assert!(parse(line).next().unwrap().content.is_err(), "{line}");
        }
    }

    // holds: C263
    #[test]
    fn entries_have_line_numbers() {
        let lines: Vec<_> =
            parse("# a\n\nA=1\r\n  # b\nB=2\nC='\n\n'\nD='\nE=1").map(|entry| entry.line).collect();
        assert_eq!(lines, [3, 5, 6, 9, 10]);
    }
}
