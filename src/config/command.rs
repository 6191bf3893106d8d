//! A command written as one string: split into words as a shell would, but no shell takes part.

use super::values::Bad;

/// The words of a command line.
pub(super) fn split(text: &str) -> Result<Vec<String>, Bad> {
    shlex::split(text).ok_or_else(|| {
        Bad::new(
            "a quote is never closed, or a backslash ends it",
            "close the quote, or write a list of words",
        )
    })
}

/// Refuses a command line that was written for a shell.
pub(super) fn without_shell(text: &str) -> Result<(), Bad> {
    let Some(operator) = shell_operator(text) else { return Ok(()) };
    let shell = text.trim().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let help = format!(
        "write `[sh, -c, \"{shell}\"]` if a shell is meant, or put the `{operator}` into quotes"
    );
    Err(Bad::new(
        format!("no shell reads it, so `{operator}` would be an argument like any other"),
        help,
    ))
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
        assert_eq!(without_shell("echo a"), Ok(()));
    }
}
