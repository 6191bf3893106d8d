//! Splits a command written as one string into words as a shell would; no shell runs.

use crate::load::values::Invalid;

const NOT_CLOSED: &str = "a quote is not closed, or the last character is a backslash";

const COMMENT: &str = "a `#` at the beginning of a word would drop the rest, as a comment";

/// Splits a command, in which variables are inserted.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Invalid> {
    let text = &in_one_line(text);
    if has_comment(text) {
        return Err(Invalid::new(COMMENT, "put it into quotes, or write a list of words"));
    }
    shlex::split(text)
        .ok_or_else(|| Invalid::new(NOT_CLOSED, "close the quote, or write a list of words"))
}

/// Refuses a command line that needs a shell.
pub(crate) fn without_shell(text: &str) -> Result<(), Invalid> {
    let Some(operator) = shell_operator(text) else { return without_assignment(text) };
    let shell = text.trim().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let other = match operator {
        "\n" => {
            "write one long command below `>`, all lines indented alike and none blank".to_owned()
        }
        _ => format!("put the `{operator}` into quotes"),
    };
    let help = format!("write `[sh, -c, \"{shell}\"]` if a shell is meant, or {other}");
    Err(Invalid::new(no_shell(operator), help))
}

/// Refuses a variable before the program, which only a shell would set.
fn without_assignment(text: &str) -> Result<(), Invalid> {
    let Some((name, _)) = text.trim_start().split_once('=') else { return Ok(()) };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Ok(());
    }
    let why = format!("no shell runs, so `{name}=` would begin the name of a program");
    Err(Invalid::new(why, format!("write `{name}` into `environment`, and here the program only")))
}

fn no_shell(operator: &str) -> String {
    match operator {
        "\n" => "no shell runs, so a line break would not end the command".to_owned(),
        _ => format!("no shell runs, so `{operator}` would be an ordinary argument"),
    }
}

/// Finds the first operator that only a shell understands: `|`, `&`, `;`, `<` or `>` outside
/// quotes, a backtick, or `$(`. A line break between words is one: a shell would run two commands.
fn shell_operator(text: &str) -> Option<&'static str> {
    let mut quote = None;
    // A line break before or after all words separates nothing.
    let mut chars = text.trim().chars().peekable();
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
            (None, '\n') => return Some("\n"),
            (None, '<') => return Some("<"),
            (None, '>') => return Some(">"),
            (None, _) => {}
        }
    }
    None
}

/// Removes each backslash before a line break, and the line break, as a shell does. `shlex` makes
/// an empty word of one that stands between words.
fn in_one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => {
                match chars.next() {
                    Some('\n') => {}
                    next => out.extend([c].into_iter().chain(next)),
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        out.push(c);
    }
    out
}

/// Whether a `#` begins a word outside quotes. `shlex` takes it for a comment, even where it comes
/// from a variable, which no shell does.
fn has_comment(text: &str) -> bool {
    let (mut quote, mut begins) = (None, true);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '#') if begins => return true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('"'), '\\') => drop(chars.next()),
            _ => {}
        }
        begins = quote.is_none() && c.is_ascii_whitespace();
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    // holds: C48
    #[test]
    fn words_are_split_as_a_shell_would() {
        for (text, words) in [
            ("envoy -c /etc/e.yaml", &["envoy", "-c", "/etc/e.yaml"][..]),
            ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
            ("a 'x|y' \"z;\" \\&", &["a", "x|y", "z;", "&"]),
            ("a $X", &["a", "$X"]),
            ("a \\\n  -b\\\nc 'd\\\ne' \"f\\\ng\" \\\\", &["a", "-bc", "d\\\ne", "fg", "\\"]),
            ("", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn a_comment_is_refused_and_no_other_number_sign() {
        for text in
            ["#", "a #1 --port 80", "a\t#b", "a 'b' #c", "a\n# b\nc", "a \"b\\\"\" #c", "a \\\n#b"]
        {
            assert_eq!(split(text).unwrap_err().why, COMMENT, "{text}");
        }
        let words = ["a", "b#c", "#d", "#e", "#f g", "h #i", "\" #j"];
        assert_eq!(split("a b#c '#d' \\#e \"#f g\" 'h #i' \"\\\" #j\"").unwrap(), words);
    }

    // holds: C49, C521, C527
    #[test]
    fn shell_operators_are_found() {
        for (text, operator) in [
            ("a | b", "|"),
            ("a && b", "&&"),
            ("a & b", "&"),
            ("a || b", "||"),
            ("a > /b", ">"),
            ("a < /b", "<"),
            ("a; b", ";"),
            ("a `b`", "`"),
            ("a \"$(b)\"", "$("),
            ("a\nb", "\n"),
            ("a\n\n  -b\n", "\n"),
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
        for (text, name) in
            [("FOO=bar /app", "FOO"), (" FOO='a b' BAR=c /app", "FOO"), ("_foo2=bar app", "_foo2")]
        {
            let bad = without_shell(text).unwrap_err();
            assert!(bad.why.contains(&format!("`{name}=`")), "{bad:?}");
            assert!(bad.help.contains("`environment`"), "{bad:?}");
        }
        for one in [
            "a B=c",
            "/a=b",
            "${A}=b",
            "'A=b'",
            "echo a",
            "\n a\n\n",
            "a \\\n  -b\n",
            "a 'b\nc' \"d\ne\"\n",
        ] {
            assert_eq!(without_shell(one), Ok(()), "{one}");
        }
    }
}
