//! A command written as one string: split into words as a shell would, but no shell takes part.

use crate::load::values::Bad;

const NOT_CLOSED: &str = "a quote is never closed, or a backslash ends it";

/// The words of a command line.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Bad> {
    shlex::split(text)
        .ok_or_else(|| Bad::new(NOT_CLOSED, "close the quote, or write a list of words"))
}

/// The program and its arguments where a list cannot be written: in an option of a command line. Read as in a config.
pub(crate) fn program(text: &str) -> Result<Vec<String>, Bad> {
    if let Some(operator) = shell_operator(text) {
        // Only a NUL cannot be quoted, and no option can have one.
        let shell = shlex::try_quote(text.trim()).unwrap_or_default();
        let help = format!(
            "write `sh -c {shell}` if a shell is meant, or put the `{operator}` into quotes"
        );
        return Err(Bad::new(no_shell(operator), help));
    }
    let words = shlex::split(text).ok_or_else(|| Bad::new(NOT_CLOSED, "close the quote"))?;
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err(Bad::new("names no program", "write `PROGRAM ARGUMENT …`")),
    }
}

/// Refuses a command line that was written for a shell.
pub(crate) fn without_shell(text: &str) -> Result<(), Bad> {
    let Some(operator) = shell_operator(text) else { return Ok(()) };
    let shell = text.trim().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let help = format!(
        "write `[sh, -c, \"{shell}\"]` if a shell is meant, or put the `{operator}` into quotes"
    );
    Err(Bad::new(no_shell(operator), help))
}

fn no_shell(operator: &str) -> String {
    format!("no shell reads it, so `{operator}` would be an argument like any other")
}

/// The first thing that only a shell would understand: `|`, `&`, `;`, `<`, `>` or a backtick outside quotes, or a `$(`.
fn shell_operator(text: &str) -> Option<&'static str> {
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => {
                chars.next();
            }
            (_, '`') => return Some("`"),
            (_, '$') if chars.peek() == Some(&'(') => return Some("$("),
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '|') => return Some(if chars.peek() == Some(&'|') { "||" } else { "|" }),
            (None, '&') => return Some(if chars.peek() == Some(&'&') { "&&" } else { "&" }),
            (None, ';') => return Some(";"),
            (None, '<') => return Some("<"),
            (None, '>') => return Some(">"),
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would() {
        for (text, words) in [
            ("envoy -c /etc/e.yaml", &["envoy", "-c", "/etc/e.yaml"][..]),
            ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
            ("a 'x|y' \"z;\" \\&", &["a", "x|y", "z;", "&"]),
            ("a $X", &["a", "$X"]),
            ("", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn what_needs_a_shell_says_so() {
        for (text, operator) in [
            ("a | b", "|"),
            ("a && b", "&&"),
            ("a || b", "||"),
            ("a > /b", ">"),
            ("a; b", ";"),
            ("a `b`", "`"),
            ("a \"$(b)\"", "$("),
        ] {
            assert_eq!(shell_operator(text), Some(operator), "{text}");
        }
        assert!(
            without_shell("echo \"a\" | b")
                .unwrap_err()
                .help
                .contains(r#"[sh, -c, "echo \"a\" | b"]"#)
        );
        assert!(split("echo 'a").unwrap_err().why.starts_with("a quote"));
        assert!(program("echo 'a").unwrap_err().why.starts_with("a quote"));
        assert_eq!(without_shell("echo a"), Ok(()));
    }

    #[test]
    fn an_option_is_a_command_as_well_and_told_how_to_ask_for_a_shell() {
        assert_eq!(
            program("/app/drain --reason 'a b'").unwrap(),
            ["/app/drain", "--reason", "a b"]
        );
        for empty in ["", " ", "''", "'' a"] {
            assert_eq!(program(empty).unwrap_err().why, "names no program", "{empty}");
        }
        for script in ["a | b", "a 'b' && c", "a \"$(b)\"", "a 'b' `c`; \"$D\""] {
            let help = program(script).unwrap_err().help;
            let (shell, _) = help.strip_prefix("write `").unwrap().split_once("` if a").unwrap();
            // What is proposed is taken, and a shell gets what was written.
            assert_eq!(program(shell).unwrap(), ["sh", "-c", script], "{shell}");
        }
    }
}
