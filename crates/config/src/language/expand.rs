//! Replaces `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in a text. Also replaces the
//! container's limits (`${memory_bytes}`, `${memory_mib:66%}`, `${cpus}`) and a process's share of
//! the deadline (`${stop_seconds}`).
//!
//! The result is not parsed as YAML, and not expanded a second time. Therefore the value of a
//! variable cannot change the structure of a config.

use crate::language::deadline_share::DeadlineShare;
use crate::language::environment::{Later, Origin, Variables};
use crate::language::text::{LimitShare, Mark, Text};
use drainit_os::limits;

/// The kernel's limit for one argument or variable (`MAX_ARG_STRLEN`, 32 pages).
pub const LONGEST: usize = 128 * 1024;
/// Defaults may be nested this deeply: a default can contain a variable that has a default.
const DEEPEST: usize = 8;

#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Variable {
        name: &'t str,
        /// The position of its `$` in the text, in bytes.
        at: usize,
        otherwise: Otherwise<'t>,
    },
}

/// The part of `${…}` after the name. This part says what happens if the variable is not set, such
/// as `:-default`, or is a percentage.
#[derive(Debug, PartialEq, Eq)]
enum Otherwise<'t> {
    Empty,
    Default(Vec<Piece<'t>>),
    Message(Vec<Piece<'t>>),
    /// `:66%` after the name of a limit of the container: this percentage of the limit.
    Share(u64),
}

/// The reason why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The message, which is one line.
    pub message: String,
    pub(crate) help: String,
    /// The position of the fault in the text, in bytes.
    pub(crate) at: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: Text,
    /// The variables whose values were inserted into the text, each with the source of its value.
    pub(crate) used: Vec<(String, Origin)>,
    /// The variables that are not set and have no default, each with the position of its `$` in
    /// bytes.
    pub unset: Vec<(String, usize)>,
}

/// Expands the variables of a value of the config.
pub fn expand(text: &str, variables: &Variables<'_>) -> Result<Expanded, Malformed> {
    let help = "make it shorter: no argument or variable can be that long";
    expand_up_to(text, variables, (LONGEST, help))
}

/// Expands the variables of a text. `limit` has two parts: the most bytes that the result may have,
/// and the help text of the error for a longer result.
pub(crate) fn expand_up_to(
    text: &str,
    variables: &Variables<'_>,
    limit: (usize, &str),
) -> Result<Expanded, Malformed> {
    if !text.contains('$') {
        return Ok(Expanded { text: text.into(), ..Expanded::default() });
    }
    let mut out = Expanded::default();
    let parts = Scanner { text, at: 0, depth: 0 }.parts()?;
    put(&parts, variables, limit, &mut out)?;
    Ok(out)
}

/// Checks the syntax of a text. Does not need the values of its variables.
pub fn check_syntax(text: &str) -> Result<(), Malformed> {
    Scanner { text, at: 0, depth: 0 }.parts().map(drop)
}

/// The variables that `text` uses, including those in defaults and messages.
pub fn names(text: &str) -> Vec<String> {
    fn collect(parts: &[Piece<'_>], out: &mut Vec<String>) {
        for part in parts {
            let Piece::Variable { name, otherwise, .. } = part else { continue };
            out.push((*name).to_owned());
            if let Otherwise::Default(parts) | Otherwise::Message(parts) = otherwise {
                collect(parts, out);
            }
        }
    }
    let mut out = Vec::new();
    collect(&Scanner { text, at: 0, depth: 0 }.parts().unwrap_or_default(), &mut out);
    out
}

/// The name in the list that equals `name`.
fn known(names: &'static [&'static str], name: &str) -> Option<&'static str> {
    names.iter().find(|known| **known == name).copied()
}

/// Finds each `$NAME` without braces, with the position of its `$` in bytes. drainit does not
/// expand such a variable; only a shell would.
pub(crate) fn shell_variables(text: &str) -> Vec<(&str, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('$')) {
        let dollar = at + found;
        let rest = text.get(dollar + 1..).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        if !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) {
            out.push((name, dollar));
        }
        // `$$` stands for a single `$`, so both characters are skipped.
        at = dollar + 1 + if rest.starts_with('$') { 1 } else { name.len() };
    }
    out
}

fn put(
    parts: &[Piece<'_>],
    variables: &Variables<'_>,
    limit: (usize, &str),
    out: &mut Expanded,
) -> Result<(), Malformed> {
    for part in parts {
        let (name, at, otherwise) = match part {
            Piece::Text(text) => {
                out.text.push_str(text);
                continue;
            }
            Piece::Variable { name, at, otherwise } => (*name, *at, otherwise),
        };
        if variables.container().is_not_text(name) {
            return Err(Malformed {
                message: format!("the value of `{name}` is not UTF-8"),
                help: format!(
                    "set {name} to UTF-8 text; a process inherits the bytes if the config does not use {name}"
                ),
                at,
            });
        }
        let percent = match otherwise {
            Otherwise::Share(percent) => *percent,
            _ => 100,
        };
        let of_container = known(&limits::NAMES, name);
        let of_deadline = known(&DeadlineShare::NAMES, name);
        match (variables.get_non_empty(name), otherwise, of_container, of_deadline) {
            (None, _, Some(name), _) | (_, Otherwise::Share(_), Some(name), _) => {
                let share = LimitShare { name, percent };
                let value = share.of(limits::first_value(name)).map_err(|message| Malformed {
                    message,
                    help: "mount /proc, which shows it, or write a number".to_owned(),
                    at,
                })?;
                match variables.later.is_marked() {
                    true => out.text.push_mark(Mark::Limit(share), value),
                    false => out.text.push_str(&value),
                }
            }
            (None, _, _, Some(name)) => put_share(name, at, variables, out)?,
            (Some((value, origin)), ..) => {
                match variables.in_file(name).filter(|_| origin == Origin::File) {
                    Some(value) => out.text.push(value),
                    None => out.text.push_str(value),
                }
                out.used.push((name.to_owned(), origin));
            }
            (None, Otherwise::Default(default), ..) => put(default, variables, limit, out)?,
            (None, Otherwise::Message(message), ..) => {
                let mut why = Expanded::default();
                put(message, variables, limit, &mut why)?;
                let is_secret = variables.is_secret || !why.used.is_empty();
                let why = match why.text.is_empty() || is_secret {
                    true => String::new(),
                    false => format!(": {}", why.text),
                };
                return Err(Malformed {
                    message: format!("`{name}` is not set{}", printable(&why)),
                    help: format!("set {name} in the container's environment, or under `env:`"),
                    at,
                });
            }
            (None, Otherwise::Empty | Otherwise::Share(_), ..) => {
                if !variables.is_defined(name) {
                    out.unset.push((name.to_owned(), at));
                }
            }
        }
        if out.text.len() > limit.0 {
            return Err(Malformed {
                message: format!("longer than {} bytes after its variables are expanded", limit.0),
                help: limit.1.to_owned(),
                at,
            });
        }
    }
    Ok(())
}

/// Puts a time of the share of the deadline, or a mark if the share is not known yet.
fn put_share(
    name: &'static str,
    at: usize,
    variables: &Variables<'_>,
    out: &mut Expanded,
) -> Result<(), Malformed> {
    if name == "stop_seconds" && variables.later.is_marked() {
        variables.uses_stop_seconds.set(true);
    }
    match variables.later {
        Later::Marked { share: None } => {
            variables.uses_share.set(true);
            let unknown = DeadlineShare::default();
            out.text.push_mark(Mark::Share(name), unknown.number(name).unwrap_or_default());
        }
        later => {
            let number = later.share().and_then(|share| share.number(name));
            out.text.push_str(&number.ok_or_else(|| {
                Malformed {
                message: format!("`{name}` is not known here"),
                help: "it is known in a process's commands, `environment`, `env_file` and `render`"
                    .to_owned(),
                at,
            }
            })?);
        }
    }
    Ok(())
}

/// Replaces control characters, including line breaks, with blanks.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Scans to the end of the text. Inside a default or a message, scans to the `}` that ends it.
    fn parts(&mut self) -> Result<Vec<Piece<'t>>, Malformed> {
        let mut parts = Vec::new();
        let mut start = self.at;
        let flush = |parts: &mut Vec<Piece<'t>>, text: &'t str| {
            if !text.is_empty() {
                parts.push(Piece::Text(text));
            }
        };
        loop {
            let rest = self.rest();
            if rest.is_empty() || (self.depth > 0 && rest.starts_with('}')) {
                flush(&mut parts, self.since(start));
                return Ok(parts);
            }
            if rest.starts_with("$$") {
                self.at += 1;
                flush(&mut parts, self.since(start));
                self.at += 1;
                start = self.at;
            } else if rest.starts_with("${") {
                flush(&mut parts, self.since(start));
                parts.push(self.variable()?);
                start = self.at;
            } else {
                self.at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
    }

    /// Scans a variable from `${` to its `}`.
    fn variable(&mut self) -> Result<Piece<'t>, Malformed> {
        let at = self.at;
        let wrong = |message: String, help: &str| Malformed { message, help: help.to_owned(), at };
        self.at += 2;
        let name_at = self.at;
        let length = self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        self.at += length.unwrap_or(self.rest().len());
        let name = self.since(name_at);
        let rest = self.rest();
        if rest.is_empty() {
            return Err(wrong(
                "`${` without its `}`".to_owned(),
                "add the `}`, or write `$$` for a `$`",
            ));
        }
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let help = "write a name of letters, digits and `_` that does not begin with a digit, or `$$` for a `$`";
            return Err(wrong("`${` without the name of a variable".to_owned(), help));
        }
        let share = rest.strip_prefix(':').and_then(|rest| rest.split_once('%'));
        let share = share.filter(|(number, _)| number.bytes().all(|digit| digit.is_ascii_digit()));
        let otherwise = if let Some((number, _)) = share {
            let of_memory = name.starts_with("memory_") && limits::NAMES.contains(&name);
            let percent =
                number.parse().ok().filter(|percent| of_memory && (1..=100).contains(percent));
            let percent = percent.ok_or_else(|| {
                let help =
                    "write 1% to 100% of `memory_bytes` or `memory_mib`: `${memory_mib:66%}`";
                wrong(format!("`:{number}%` after `${{{name}` is not supported"), help)
            })?;
            self.at += number.len() + 2;
            Otherwise::Share(percent)
        } else if rest.starts_with(":-") {
            self.at += 2;
            Otherwise::Default(self.nested_parts(at)?)
        } else if rest.starts_with(":?") {
            self.at += 2;
            Otherwise::Message(self.nested_parts(at)?)
        } else {
            Otherwise::Empty
        };
        if self.rest().starts_with('}') {
            self.at += 1;
            return Ok(Piece::Variable { name, at, otherwise });
        }
        let operator: String =
            self.rest().chars().take(2).take_while(|c| !c.is_control() && *c != '}').collect();
        if operator.is_empty() {
            let help = "add the `}` on the same line, or write `$$` for a `$`";
            return Err(wrong("`${` without its `}`".to_owned(), help));
        }
        let help = "write `${VAR}`, `${VAR:-default}` or `${VAR:?message}`";
        Err(wrong(format!("`{operator}` after `${{{name}` is not supported"), help))
    }

    fn nested_parts(&mut self, at: usize) -> Result<Vec<Piece<'t>>, Malformed> {
        if self.depth == DEEPEST {
            return Err(Malformed {
                message: format!("defaults within defaults, more than {DEEPEST} deep"),
                help: "define the inner ones under `env:`".to_owned(),
                at,
            });
        }
        self.depth += 1;
        let parts = self.parts();
        self.depth -= 1;
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::language::environment::Environment;

    fn run(text: &str) -> Result<Expanded, Malformed> {
        let environment: Environment =
            [("A", "1"), ("EMPTY", ""), ("TRICK", "${A}$$")].into_iter().collect();
        let mut variables = Variables::new(&environment);
        variables.set_default("A", "never");
        variables.set_default("D", "def");
        variables.set_default("EMPTY", "filled");
        variables.set_default("NOTHING", "");
        expand(text, &variables)
    }

    // holds: C35, C36, C38, C40, C41, C43
    #[test]
    fn variables_are_expanded() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "1"),
            ("x${A}y${D}z", "x1ydefz"),
            ("$A", "$A"),
            ("a$", "a$"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$${A}", "$1"),
            ("${NO:-fallback}", "fallback"),
            ("${NO:-}", ""),
            ("${NO:-${A}}", "1"),
            ("${NO:-a${NOT:-b${D}}c}", "abdefc"),
            ("${NO:-http://x:80/}", "http://x:80/"),
            ("${NO:-a$$}", "a$"),
            ("${A:-${NO}}", "1"),
            (&"${NO:-${A}}".repeat(9), "111111111"),
            ("${A:?needed}", "1"),
            ("${EMPTY}", "filled"),
            ("${TRICK}", "${A}$$"),
            ("ä${A}ö", "ä1ö"),
            ("}", "}"),
        ] {
            assert_eq!(&*run(text).unwrap().text, expected, "{text}");
        }
    }

    // holds: C677, C678
    #[test]
    fn limits_of_the_container_are_values() {
        let number = |text: &str| run(text).unwrap().text.parse::<u64>().unwrap();
        let bytes = number("${memory_bytes}");
        assert_eq!(Some(bytes), limits::value("memory_bytes"));
        assert_eq!(number("${memory_bytes:50%}"), bytes / 2);
        assert_eq!(number("${memory_mib:100%}"), bytes >> 20);
        assert!(number("${cpus:-no default}") >= 1);
        for text in
            ["${cpus:50%}", "${A:50%}", "${memory_mib:0%}", "${memory_mib:101%}", "${memory_mib:%}"]
        {
            assert!(run(text).unwrap_err().message.ends_with("is not supported"), "{text}");
        }
    }

    // holds: C35
    #[test]
    fn unset_variables_are_empty_and_named_and_the_origin_is_known() {
        let out = run("ä${NO}${NOTHING}").unwrap();
        assert_eq!((&*out.text, out.unset), ("ä", vec![("NO".to_owned(), 2)]));
        let used = run("${A}${D}${NO:-${A}}").unwrap().used;
        let expected = [("A", Origin::Container), ("D", Origin::Env), ("A", Origin::Container)];
        assert_eq!(used, expected.map(|(name, origin)| (name.to_owned(), origin)));
    }

    // holds: C1030
    #[test]
    fn a_value_that_is_not_text_is_an_error_and_not_unset() {
        let value = OsString::from_vec(b"a\xff".to_vec());
        let environment = Environment::of([(OsString::from("PW"), value)].into_iter());
        let mut variables = Variables::new(&environment);
        variables.set_default("PW", "default");
        for (text, at) in [("${PW}", 0), ("a${PW:-b}", 1), ("${PW:?c}", 0), ("${A:-${PW}}", 5)] {
            let error = expand(text, &variables).unwrap_err();
            assert_eq!((&*error.message, error.at), ("the value of `PW` is not UTF-8", at));
        }
        assert_eq!(&*expand("$$PW ${A:-b}", &variables).unwrap().text, "$PW b");
    }

    // holds: C37
    #[test]
    fn errors_have_their_place() {
        for (text, message, at) in [
            ("ab${", "`${` without its `}`", 2),
            ("${A", "`${` without its `}`", 0),
            ("${A:-x", "`${` without its `}`", 0),
            ("x: ${A\ny: }", "`${` without its `}`", 3),
            ("x${}", "`${` without the name of a variable", 1),
            ("${1X}", "`${` without the name of a variable", 0),
            ("${ä}", "`${` without the name of a variable", 0),
            ("${A:+x}", "`:+` after `${A` is not supported", 0),
            ("${A-x}", "`-x` after `${A` is not supported", 0),
            ("${A }", "` ` after `${A` is not supported", 0),
            ("${NO:?give ${A}}", "`NO` is not set", 0),
            ("${NO:?}", "`NO` is not set", 0),
            ("${A}${EMPTY:-}${NOTHING:?x}", "`NOTHING` is not set: x", 14),
        ] {
            let error = run(text).unwrap_err();
            assert_eq!((error.message.as_str(), error.at), (message, at), "{text}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(run(&"${A:-".repeat(100_000)).is_err());
        let environment: Environment = [("B", "b".repeat(100_000))].into_iter().collect();
        let out = expand(&"${B}".repeat(1000), &Variables::new(&environment));
        assert!(out.unwrap_err().message.starts_with("longer than 131072 bytes"));
    }
}
