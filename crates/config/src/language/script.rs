//! Finds the script of a shell, and the programs that the script runs for certain.

/// After these words, only the shell knows which commands run, and which programs they are.
const STOPS: &[&str] = &[
    ".", "alias", "case", "do", "eval", "exit", "for", "function", "if", "return", "select",
    "source", "trap", "until", "while", "{",
];

/// Words that are commands of the shell itself, and that do not change the meaning of the commands
/// behind them.
const BUILTINS: &[&str] = &[
    ":", "[", "[[", "bg", "builtin", "cd", "command", "declare", "disown", "echo", "enable",
    "export", "false", "fg", "getopts", "hash", "jobs", "kill", "let", "local", "mapfile", "popd",
    "printf", "pushd", "pwd", "read", "readonly", "set", "shift", "shopt", "test", "time", "times",
    "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait",
];

pub fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh")
}

/// The place of the script in the command line of a shell: behind `-c`. Other flags may be combined
/// with `c`, as in `-ec`.
pub fn place<'a>(command: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    let is_flag =
        |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let words = command.into_iter().enumerate();
    words.skip_while(|(_, word)| !is_flag(word)).nth(1).map(|(place, _)| place)
}

/// The programs that a script runs for certain, in the order of the script. A command is not
/// certain after `&&`, on either side of `||`, or if the shell could change its first word.
pub fn programs(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_certain = true;
    for (command, end) in commands(script) {
        let mut words = command.split_whitespace().peekable();
        words.next_if_eq(&"exec");
        let Some(first) = words.next() else { continue };
        let is_unclear = STOPS.contains(&first) || first.contains('(') || end == "<<";
        if is_unclear || command.contains("PATH=") {
            break;
        }
        let is_plain = first.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-".contains(c));
        let is_found = first.starts_with('/') || !first.contains('/');
        let has_other = end == "||";
        if is_certain && !has_other && is_plain && is_found && !BUILTINS.contains(&first) {
            found.push(first);
        }
        is_certain = !matches!(end, "||" | "&&");
    }
    found
}

/// The commands of a script, each with the operator behind it. The first command with a
/// here-document and everything after it count as one command, with the operator `<<`.
pub fn commands(script: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut start, mut quote, mut is_escaped, mut at_word) = (0, None, false, true);
    let mut skip_to = 0;
    for (at, c) in script.char_indices() {
        let rest = &script[at..];
        if at < skip_to || std::mem::take(&mut is_escaped) {
            continue;
        }
        match (quote, c) {
            (Some('\''), _) if c != '\'' => continue,
            (_, '\\') => is_escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => continue,
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '#') if at_word => {
                found.push((&script[start..at], "\n"));
                skip_to = at + rest.find('\n').unwrap_or(rest.len());
                start = skip_to;
            }
            (None, '<') if rest.starts_with("<<") => {
                found.push((&script[start..], "<<"));
                return found;
            }
            // `2>&1` and `&>file` are redirections.
            (None, '&') if script[..at].ends_with(['>', '<']) || rest.starts_with("&>") => {}
            (None, ';' | '\n' | '&' | '|') => {
                let both = rest.len() > 1 && rest[1..].starts_with(c) && c != '\n';
                let length = if both { 2 } else { 1 };
                found.push((&script[start..at], &rest[..length]));
                (start, skip_to) = (at + length, at + length);
            }
            _ => {}
        }
        at_word = c.is_whitespace() || matches!(c, ';' | '&' | '|');
    }
    found.push((&script[start..], ""));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_that_run_for_certain_are_found() {
        for (script, found) in [
            ("curl -f localhost", "curl"),
            ("sleep 5; /bin/quit 'a; b' \"c | d\" \\; e & wait", "sleep /bin/quit"),
            ("exec nginx -s quit 2>&1 | tee /log", "nginx tee"),
            ("a && b; c || d; e", "a e"),
            ("a || b && c\nd", "d"),
            ("a &>/dev/null # b; c\nd", "a d"),
            ("a b#c; d", "a d"),
            ("cat <<END\nb\nEND", ""),
            ("$A x; \"b\" c; D=1 e; ./f; a/b; g", "g"),
            ("a; if b; then c; fi; d", "a"),
            ("a; f() { b; }; f", "a"),
            ("a; . /env; b", "a"),
            ("a; export PATH=/x; b", "a"),
            ("a; exit 0; b", "a"),
            ("echo ü; [ -f x ]; command -v y; a", "a"),
            ("a `b; c` $(d; e); f", "a f"),
            ("'a", ""),
            (">x", ""),
            ("", ""),
        ] {
            assert_eq!(programs(script).join(" "), found, "{script}");
        }
    }
}
