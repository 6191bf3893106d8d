//! Whether a command line needs a shell, and what it is without one.

/// A command line of a format that gives it to a shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Variables for it, and its words.
    Simple(Vec<(String, String)>, Vec<String>),
    /// One command, with something in it that a shell must do.
    Expanded,
    /// Several commands, or none.
    Script,
}

/// What only a shell understands in a single command.
const EXPANDS: [char; 7] = ['$', '`', '*', '?', '[', '~', '{'];
/// What makes more of it than a single command.
const JOINS: [char; 8] = [';', '&', '|', '<', '>', '(', ')', '\n'];

/// Reads a command line as a shell would.
pub(super) fn read(line: &str) -> Line {
    let bare = without_quoted(line);
    let starts = |word: &str| line.split_whitespace().next() == Some(word);
    if bare.contains(JOINS)
        || ["cd", "if", "for", "while", ".", "source", "set", "export"]
            .iter()
            .any(|word| starts(word))
    {
        return Line::Script;
    }
    // In double quotes a shell still expands these.
    let expands = bare.contains(EXPANDS) || line.contains(['$', '`']) && !only_single_quoted(line);
    let Some(mut words) = shlex::split(line).filter(|words| !words.is_empty()) else {
        return Line::Script;
    };
    if starts("exec") && words.len() > 1 {
        words.remove(0);
    }
    let assignments = words.iter().take_while(|word| assignment(word).is_some()).count();
    if assignments == words.len() {
        return Line::Script;
    }
    if expands {
        return if assignments == 0 { Line::Expanded } else { Line::Script };
    }
    let command = words.split_off(assignments);
    Line::Simple(words.iter().filter_map(|word| assignment(word)).collect(), command)
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named.then(|| (name.to_owned(), value.to_owned()))
}

/// The line with everything taken out that stands in quotes or behind a backslash.
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

/// Whether every `$` and backtick stands in single quotes.
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
    use super::{Line, read};

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
        ] {
            assert_eq!(read(line), meant, "{line}");
        }
        let env = vec![("A".to_owned(), "b c".to_owned())];
        assert_eq!(read("A='b c' web"), Line::Simple(env, vec!["web".to_owned()]));
    }
}
