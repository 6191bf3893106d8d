//! Decides whether a command line needs a shell, and splits it into words where it does not.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use crate::import::pattern;

/// A command line that the other program gives to a shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Variable assignments and words.
    Simple(Vec<(String, String)>, Vec<String>),
    /// One command with expansions by the shell.
    Expanded,
    /// Several commands or none.
    Script,
}

/// Characters that a shell expands.
const EXPANDS: [char; 7] = ['$', '`', '*', '?', '[', '~', '{'];
/// Operators of a shell.
const JOINS: [char; 8] = [';', '&', '|', '<', '>', '(', ')', '\n'];

/// Words that only a shell understands as a command.
const BUILTINS: [&str; 23] = [
    "!", ".", ":", "builtin", "case", "cd", "command", "eval", "exit", "export", "for", "if",
    "local", "read", "readonly", "set", "source", "trap", "ulimit", "umask", "unset", "until",
    "while",
];

/// What is escaped or quoted; the text in double quotes is a group.
static QUOTED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?s)\\.|'[^']*'|"((?:\\.|[^"\\])*)""#));
static ESCAPED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)\\."));
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)^([A-Za-z_]\w*)=(.*)$"));

/// Classifies a command line.
pub(super) fn read(line: &str) -> Line {
    let bare = QUOTED.replace_all(line, "");
    let words = shlex::split(line).unwrap_or_default();
    let assignments: Vec<_> = words.iter().map_while(|word| assignment(word)).collect();
    let mut command = &words[assignments.len()..];
    if let [exec, rest @ ..] = command
        && exec == "exec"
        && !rest.is_empty()
    {
        command = rest;
    }
    // An option here is one of `exec`.
    let needs_shell = |word: &String| BUILTINS.contains(&word.as_str()) || word.starts_with('-');
    if bare.contains(JOINS) || command.first().is_none_or(needs_shell) {
        return Line::Script;
    }
    let mut in_quotes = QUOTED.captures_iter(line).filter_map(|found| found.get(1));
    let expands = bare.contains(EXPANDS)
        || in_quotes.any(|text| ESCAPED.replace_all(text.as_str(), "").contains(['$', '`']));
    match (expands, assignments.is_empty()) {
        (false, _) => Line::Simple(assignments, command.to_vec()),
        (true, true) => Line::Expanded,
        (true, false) => Line::Script,
    }
}

fn assignment(word: &str) -> Option<(String, String)> {
    ASSIGNMENT.captures(word).map(|found| (found[1].to_owned(), found[2].to_owned()))
}

/// The comment for [`Line::Script`].
pub(super) const START_WITH_EXEC: &str =
    "the shell gets the signals, not its child: start its last command with `exec`";
const ONLY_VARIABLE: &str =
    "command: the variable holds a whole command line, so a shell splits it here";
const ONE_ARGUMENT: &str =
    "command: an unquoted variable is one argument here; in the original it may be several";

/// A variable of a config, whose default may have others, or an escaped `$`.
static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\$\$|\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"));
/// Stand for a variable and for a `#` while a line is split.
const MARK: &str = "\u{FFFE}";
const HASH: &str = "\u{FFFF}";

/// Splits a command line with variables of a config's form; they are not split, whatever their
/// defaults contain. Compose and supervisord expand before they split: returns a comment, too, where
/// the order may make a difference.
pub(super) fn split(line: &str) -> (Vec<String>, Option<&'static str>) {
    // The number of a copy has no spaces.
    let is_variable = |text: &str| text != "$$" && text != "${SCALE_INDEX}";
    let mark = |found: &Captures| match &found[0] {
        text if is_variable(text) => MARK.to_owned(),
        text => text.to_owned(),
    };
    // Neither of the two has comments in a command line, as shlex has.
    let marked = VARIABLE.replace_all(line, mark).replace('#', HASH);
    let Some(words) = shlex::split(&marked) else { return (vec![line.to_owned()], None) };
    let has_bare = QUOTED.replace_all(&marked, "").contains(MARK);
    if has_bare && words == [MARK] {
        let words = ["sh", "-c", &format!("exec {line}")].map(str::to_owned);
        return (words.into(), Some(ONLY_VARIABLE));
    }
    let found = VARIABLE.find_iter(line).map(|found| found.as_str());
    let mut variables = found.filter(|text| is_variable(text));
    let unmark = |word: &String| {
        let mut parts = word.split(MARK);
        let first = parts.next().unwrap_or_default().to_owned();
        let word = parts.fold(first, |word, part| word + variables.next().unwrap_or(MARK) + part);
        word.replace(HASH, "#")
    };
    (words.iter().map(unmark).collect(), has_bare.then_some(ONE_ARGUMENT))
}

#[cfg(test)]
mod tests {
    use super::{Line, ONE_ARGUMENT, ONLY_VARIABLE, read, split};

    #[test]
    fn variables_are_not_split() {
        for (line, words, note) in [
            ("a 'b c'", &["a", "b c"][..], None),
            ("a -x ${B:-c d}e", &["a", "-x", "${B:-c d}e"], Some(ONE_ARGUMENT)),
            ("a -x \"${B:-c d}e\"", &["a", "-x", "${B:-c d}e"], None),
            ("a \"${B:-${C:-d e}}\"", &["a", "${B:-${C:-d e}}"], None),
            ("a ${B}", &["a", "${B}"], Some(ONE_ARGUMENT)),
            ("a ${SCALE_INDEX} '${B}'", &["a", "${SCALE_INDEX}", "${B}"], None),
            ("${B:-a b}", &["sh", "-c", "exec ${B:-a b}"], Some(ONLY_VARIABLE)),
            ("\"${B}\"", &["${B}"], None),
            ("a $${B c}", &["a", "$${B", "c}"], None),
            ("a ${B", &["a", "${B"], None),
            ("a 'b", &["a 'b"], None),
            ("a #b '#c' d#e", &["a", "#b", "#c", "d#e"], None),
            ("a #${B}", &["a", "#${B}"], Some(ONE_ARGUMENT)),
        ] {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(split(line), (words, note), "{line}");
        }
    }

    #[test]
    fn a_shell_is_kept_only_where_it_is_needed() {
        let simple = |words: &[&str]| {
            Line::Simple(Vec::new(), words.iter().map(|w| (*w).to_owned()).collect())
        };
        for (line, meant) in [
            ("web -p 80", simple(&["web", "-p", "80"])),
            ("exec web", simple(&["web"])),
            ("nginx -g 'daemon off;'", simple(&["nginx", "-g", "daemon off;"])),
            ("awk '{print $1}'", simple(&["awk", "{print $1}"])),
            ("web -p $PORT", Line::Expanded),
            ("web -p \"$PORT\"", Line::Expanded),
            ("ls *.rb", Line::Expanded),
            ("migrate && web", Line::Script),
            ("web > log", Line::Script),
            ("cd app", Line::Script),
            ("A=1", Line::Script),
            ("A=$B web", Line::Script),
            ("'not closed", Line::Script),
            ("exec", Line::Simple(Vec::new(), vec!["exec".to_owned()])),
            ("exec -a b web", Line::Script),
            ("eval web", Line::Script),
            ("command web", Line::Script),
            ("ulimit -n 1024", Line::Script),
            ("A=1 umask $B", Line::Script),
            ("! web", Line::Script),
        ] {
            assert_eq!(read(line), meant, "{line}");
        }
        let env = vec![("A".to_owned(), "b c".to_owned())];
        let with_env = Line::Simple(env, vec!["web".to_owned()]);
        assert_eq!(read("A='b c' web"), with_env);
        assert_eq!(read("A='b c' exec web"), with_env);
    }
}
