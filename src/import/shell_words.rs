//! Decides whether a command line needs a shell, and splits it into words where it does not.

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

/// Classifies a command line.
pub(super) fn read(line: &str) -> Line {
    let bare = without_quoted(line);
    if bare.contains(JOINS) {
        return Line::Script;
    }
    // A shell expands these in double quotes too.
    let expands = bare.contains(EXPANDS) || line.contains(['$', '`']) && !only_single_quoted(line);
    let Some(mut words) = shlex::split(line).filter(|words| !words.is_empty()) else {
        return Line::Script;
    };
    let assignments = words.iter().take_while(|word| assignment(word).is_some()).count();
    if words.get(assignments).is_some_and(|word| word == "exec") && words.len() > assignments + 1 {
        words.remove(assignments);
    }
    // An option here is one of `exec`.
    let needs_shell = |word: &String| BUILTINS.contains(&word.as_str()) || word.starts_with('-');
    if words.get(assignments).is_none_or(needs_shell) {
        return Line::Script;
    }
    if expands {
        return if assignments == 0 { Line::Expanded } else { Line::Script };
    }
    let command = words.split_off(assignments);
    Line::Simple(words.iter().filter_map(|word| assignment(word)).collect(), command)
}

/// The result of splitting before variables are expanded, as a config does; Compose and supervisord
/// expand first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// The order makes no difference.
    Words(Vec<String>),
    /// A word has an unquoted variable, which there may have spaces, and so becomes several words.
    Variable(Vec<String>),
    /// The whole line is an unquoted variable.
    OnlyVariable,
}

/// The comment for [`Split::OnlyVariable`].
pub(super) const ONLY_VARIABLE: &str =
    "the variable holds a whole command line, so a shell splits it here";
/// The comment for [`Split::Variable`].
pub(super) const ONE_ARGUMENT: &str =
    "command: an unquoted variable is one argument here; in the original it may be several";

/// Splits a command line with variables of a config's form; they are not split, whatever their
/// defaults contain.
pub(super) fn split(line: &str) -> Split {
    let (marked, variables) = mark_variables(line);
    // Neither of the two has comments in a command line, as shlex has.
    let marked = marked.replace('#', HASH);
    let Some(words) = shlex::split(&marked) else { return Split::Words(vec![line.to_owned()]) };
    let bare = without_quoted(&marked);
    let is_mark = |c: char| mark_index(c).is_some_and(|index| index < variables.len());
    let alone = |word: &str| {
        let mut chars = word.chars();
        chars.next().is_some_and(is_mark) && chars.next().is_none()
    };
    let spread = bare.contains(is_mark);
    if spread && words.len() == 1 && alone(&words[0]) {
        return Split::OnlyVariable;
    }
    let unmark = |c: char| match mark_index(c).and_then(|index| variables.get(index)) {
        Some(variable) => (*variable).to_owned(),
        None if HASH.starts_with(c) => "#".to_owned(),
        None => c.to_string(),
    };
    let words = words.iter().map(|word| word.chars().map(unmark).collect()).collect();
    if spread { Split::Variable(words) } else { Split::Words(words) }
}

/// The first of the private-use characters that stand for variables while a line is split.
const MARK: u32 = 0xF_0000;
/// Stands for a `#`.
const HASH: &str = "\u{FFFF}";

fn mark_index(c: char) -> Option<usize> {
    usize::try_from(u32::from(c).checked_sub(MARK)?).ok()
}

/// Replaces each `${…}` by a mark. Also returns the variables.
fn mark_variables(line: &str) -> (String, Vec<&str>) {
    let (mut out, mut variables) = (String::new(), Vec::new());
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = if rest.starts_with("${") { variable_len(rest) } else { None };
        let mark = u32::try_from(variables.len()).ok().and_then(|n| char::from_u32(MARK + n));
        if let (Some(len), Some(mark)) = (len, mark) {
            out.push(mark);
            variables.push(&rest[..len]);
            rest = &rest[len..];
        } else {
            let len = if rest.starts_with("$$") { 2 } else { 1 };
            out.push_str(&rest[..len]);
            rest = &rest[len..];
        }
    }
    (out + rest, variables)
}

/// The length of the variable at the start of a text; its default may contain others.
fn variable_len(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 1 => return Some(index + 1),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named.then(|| (name.to_owned(), value.to_owned()))
}

/// Removes quoted and escaped characters.
fn without_quoted(line: &str) -> String {
    let (mut out, mut quote) = (String::new(), None);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match quote {
            Some(end) if c == end => quote = None,
            Some('"') | None if c == '\\' => drop(rest.next()),
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None => out.push(c),
        }
    }
    out
}

/// Whether every `$` and backtick is in single quotes.
fn only_single_quoted(line: &str) -> bool {
    let (mut single, mut double) = (false, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if !single => drop(rest.next()),
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '$' | '`' if !single => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{Line, Split, read, split};

    #[test]
    fn variables_are_not_split() {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        for (line, meant) in [
            ("a 'b c'", Split::Words(owned(&["a", "b c"]))),
            ("a -x ${B:-c d}e", Split::Variable(owned(&["a", "-x", "${B:-c d}e"]))),
            ("a -x \"${B:-c d}e\"", Split::Words(owned(&["a", "-x", "${B:-c d}e"]))),
            ("a \"${B:-${C:-d e}}\"", Split::Words(owned(&["a", "${B:-${C:-d e}}"]))),
            ("a ${B}", Split::Variable(owned(&["a", "${B}"]))),
            ("${B:-a b}", Split::OnlyVariable),
            ("\"${B}\"", Split::Words(owned(&["${B}"]))),
            ("a $${B c}", Split::Words(owned(&["a", "$${B", "c}"]))),
            ("a ${B", Split::Words(owned(&["a", "${B"]))),
            ("a 'b", Split::Words(owned(&["a 'b"]))),
            ("a #b '#c' d#e", Split::Words(owned(&["a", "#b", "#c", "d#e"]))),
            ("a #${B}", Split::Variable(owned(&["a", "#${B}"]))),
        ] {
            assert_eq!(split(line), meant, "{line}");
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
