//! Splits a command that is written as one string into words, as a shell would. No shell runs.

use crate::language::invalid::Invalid;
use crate::language::script::is_shell;

const NOT_CLOSED: &str = "a quote is not closed, or the last character is a backslash";

const COMMENT: &str = "a `#` at the beginning of a word would drop the rest, as a comment";

/// Splits a command in which variables are expanded already.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Invalid> {
    let line = CommandLine::scan(text);
    if line.has_comment {
        return Err(Invalid::new(COMMENT, "put it into quotes, or write a list of words"));
    }
    match line.is_closed {
        true => Ok(line.words),
        false => Err(Invalid::new(NOT_CLOSED, "close the quote, or write a list of words")),
    }
}

/// Refuses a command that only a shell could run.
pub(crate) fn without_shell(text: &str) -> Result<(), Invalid> {
    // A line break before the first word or after the last word does no harm, so it is not refused.
    let operator = CommandLine::scan(text.trim()).operator;
    let Some(operator) = operator else { return without_assignment(text) };
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

/// Refuses a command with a `NAME=VALUE` before the program, which only a shell would treat as a
/// variable.
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

/// A command that was split into words, and the things in it that only a shell would understand.
struct CommandLine {
    words: Vec<String>,
    /// The first operator that only a shell understands: a backtick or `$(` outside single quotes,
    /// or `|`, `&`, `;`, `<` or `>` outside all quotes. A line break between words also counts,
    /// because it ends a command for a shell. In the quoted script of a shell, no operator counts.
    operator: Option<&'static str>,
    /// Whether a word outside quotes begins with `#`, so that a shell would skip the rest as a
    /// comment.
    has_comment: bool,
    /// Whether every quote is closed. Also false if the last character is a backslash.
    is_closed: bool,
}

impl CommandLine {
    fn scan(text: &str) -> Self {
        let (words, mut operator) = (Vec::new(), None);
        let mut line = Self { words, operator, has_comment: false, is_closed: true };
        let (mut word, mut quote) = (None::<String>, None);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let found = match (quote, c, chars.peek()) {
                (Some('\''), ..) => None,
                // If the program is a shell, it handles the operators in its quoted script itself.
                (Some(_), ..) if line.words.first().is_some_and(|it| is_shell(it)) => None,
                (_, '`', _) => Some("`"),
                (_, '$', Some('(')) => Some("$("),
                (Some(_), ..) => None,
                (_, '|', Some('|')) => Some("||"),
                (_, '&', Some('&')) => Some("&&"),
                _ => ["|", "&", ";", "<", ">", "\n"].into_iter().find(|it| it.starts_with(c)),
            };
            operator = operator.or(found);
            match (quote, c) {
                (Some(open), _) if open == c => quote = None,
                (Some('\''), _) => word.get_or_insert_default().push(c),
                // A backslash and the line break after it are both dropped.
                (_, '\\') => match chars.next() {
                    Some('\n') => {}
                    None => line.is_closed = false,
                    Some(next) => {
                        let is_kept = quote.is_some() && !matches!(next, '$' | '`' | '"' | '\\');
                        let word = word.get_or_insert_default();
                        word.extend(is_kept.then_some(c).into_iter().chain([next]));
                    }
                },
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, ' ' | '\t' | '\n') => line.words.extend(word.take()),
                (None, '#') if word.is_none() => line.has_comment = true,
                _ => word.get_or_insert_default().push(c),
            }
            if line.has_comment {
                break;
            }
        }
        line.words.extend(word);
        line.is_closed &= quote.is_none();
        Self { operator, ..line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C48
    #[test]
    fn words_are_split_as_by_a_shell() {
        for (text, words) in [
            ("envoy -c /etc/e.yaml", &["envoy", "-c", "/etc/e.yaml"][..]),
            ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
            ("a 'x|y' \"z;\" \\&", &["a", "x|y", "z;", "&"]),
            ("a $X '' \"\"", &["a", "$X", "", ""]),
            ("a \\\n  -b\\\nc 'd\\\ne' \"f\\\ng\" \\\\", &["a", "-bc", "d\\\ne", "fg", "\\"]),
            ("", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn only_a_number_sign_that_begins_a_comment_is_refused() {
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
            ("bash -c $(a)", "$("),
            ("a\nb", "\n"),
            ("a\n\n  -b\n", "\n"),
        ] {
            assert_eq!(CommandLine::scan(text.trim()).operator, Some(operator), "{text}");
        }
        let help = without_shell("echo \"a\" | b").unwrap_err().help;
        assert!(help.contains(r#"[sh, -c, "echo \"a\" | b"]"#), "{help}");
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
            "/bin/bash -lc \"echo $(a) `b`\"",
        ] {
            assert_eq!(without_shell(one), Ok(()), "{one}");
        }
    }
}
