//! Splits the script of a shell into commands, and finds the programs that the script certainly
//! runs.

use std::mem;

/// After these words, only the shell knows which commands run, and which programs they are.
const STOPS: &[&str] = &[".", "alias", "eval", "exit", "function", "return", "source", "trap"];

/// Words that are commands of the shell itself, and that do not change the meaning of the commands
/// behind them.
const BUILTINS: &[&str] = &[
    ":", "[", "[[", "bg", "builtin", "cd", "command", "declare", "disown", "echo", "enable",
    "export", "false", "fg", "getopts", "hash", "jobs", "kill", "let", "local", "mapfile", "popd",
    "printf", "pushd", "pwd", "read", "readonly", "set", "shift", "shopt", "test", "time", "times",
    "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait",
];

/// Words of the shell that begin a group of commands, and words that end a group.
const BEGINS: &[&str] = &["case", "for", "if", "select", "until", "while", "{"];
const ENDS: &[&str] = &["done", "esac", "fi", "}"];

/// Words of the shell that may stand before the program of a command.
const LEADS: &[&str] = &[
    "!", "builtin", "command", "do", "done", "elif", "else", "esac", "exec", "fi", "if", "then",
    "time", "until", "while", "{", "}",
];

pub fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh")
}

pub fn is_builtin(program: &str) -> bool {
    BUILTINS.contains(&program)
}

/// Whether only the shell itself can run a command that begins with this word.
pub fn is_of_shell(word: &str) -> bool {
    [STOPS, BUILTINS, BEGINS, ENDS, LEADS].iter().any(|it| it.contains(&word))
}

/// The place of the script in the command line of a shell: behind `-c` and the flags that follow it.
/// Other flags may be combined with `c`, as in `-ec`.
pub fn place<'a>(command: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    let is_flag =
        |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let words = command.into_iter().enumerate();
    let behind = words.skip_while(|(_, word)| !is_flag(word)).skip(1);
    behind.skip_while(|(_, word)| word.starts_with('-')).map(|(place, _)| place).next()
}

/// The script of a command, if the command is a shell with a script.
pub fn of(command: &[String]) -> Option<&str> {
    let place = place(command.iter().map(String::as_str))?;
    is_shell(&command[0]).then_some(&*command[place])
}

/// The programs that a script certainly runs, in the order of the script. Commands of the shell
/// itself and programs with a relative path are left out. A command is uncertain after `&&`, on
/// either side of `||`, and if the shell could change its first word. The search ends at a word of
/// `STOPS` or `BEGINS`, at a change of `PATH`, and at a `(`.
pub fn programs(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_certain = true;
    for Command { words, end, .. } in commands(script) {
        let sets_path = words.iter().any(|word| word.contains("PATH="));
        let mut words = words.into_iter().skip_while(|word| word == "exec");
        let Some(first) = words.next() else { continue };
        if sets_path || end == "(" || [STOPS, BEGINS].iter().any(|it| it.contains(&&*first)) {
            break;
        }
        let is_plain = first.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-".contains(c));
        let is_found = first.starts_with('/') || !first.contains('/');
        if is_certain && end != "||" && is_plain && is_found && !is_builtin(&first) {
            found.push(first);
        }
        is_certain = !matches!(end, "||" | "&&");
    }
    found
}

/// A command of a script.
pub struct Command<'a> {
    /// The words without their quotes, at least one. Redirections and their files are left out.
    pub words: Vec<String>,
    /// The operator behind the command.
    pub end: &'a str,
    /// Whether a copy of the shell runs the command, because it is in parentheses, in a pipe or in
    /// the background.
    pub is_copy: bool,
}

/// The program of a command, which stands behind words such as `then` and `exec`. Empty if there is
/// none.
pub fn program<'a>(words: impl IntoIterator<Item = &'a str> + Clone) -> &'a str {
    let place = place_of_program(words.clone());
    place.and_then(|place| words.into_iter().nth(place)).unwrap_or_default()
}

/// The place of the program among the words of a command.
pub fn place_of_program<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    words.into_iter().position(|word| !LEADS.contains(&word) && !word.contains('='))
}

/// The names of the functions that these commands define, as `NAME()` or `function NAME`.
pub fn functions<'a>(commands: &'a [Command<'_>]) -> Vec<&'a str> {
    let defined = commands.iter().filter(|it| it.end == "(" || it.words[0] == "function");
    let name = |it: &'a Command<'_>| it.words.iter().find(|word| *word != "function");
    defined.filter_map(name).map(String::as_str).collect()
}

/// Whether a bash that runs this script replaces itself by the last command, as if `exec` stood
/// before that command. A bash before 5.1 does so only if the script is a single command.
pub fn ends_as_last(script: &str) -> bool {
    let others = ["trap", "time", "if", "for", "while", "until", "case", "select", "function"];
    let is_simple = !script.replace("&&", "").contains(['<', '>', '&', '|', '(', '{', '!']);
    is_simple && !commands(script).iter().any(|it| others.contains(&&*it.words[0]))
}

/// The last command of a script, if the shell stays as the parent of this command and `exec` before
/// the command would change nothing else. `None` if that is not certain. If the script has quotes
/// or redirections in the command, returns only the program and `…`.
pub fn child_of_shell(shell: &str, script: &str) -> Option<Vec<String>> {
    let mut all = commands(script);
    let is_unsure = |it: &Command<'_>| {
        let is_first = |of: &&[&str]| of.contains(&&*it.words[0]);
        it.is_copy
            || ["||", "("].contains(&it.end)
            || [STOPS, BEGINS, ENDS, LEADS].iter().any(is_first)
    };
    if all.iter().any(is_unsure) || shell.ends_with("bash") && ends_as_last(script) {
        return None;
    }
    let mut words = all.pop()?.words;
    let program = words.first()?;
    let is_plain = program.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-".contains(c));
    if !is_plain || is_builtin(program) {
        return None;
    }
    let is_whole = script.trim_end_matches([' ', ';', '\n']).ends_with(&words.join(" "));
    if !is_whole {
        words.splice(1.., ["…".to_owned()]);
    }
    Some(words)
}

/// Splits a script into its commands. `$(…)` with everything in it is a part of a word.
pub fn commands(script: &str) -> Vec<Command<'_>> {
    let bytes = script.as_bytes();
    let mut all = Commands::default();
    // The characters that close the open quotes and brackets.
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(&c) = bytes.get(at) {
        let (start, last) = (at, open.last().copied().unwrap_or_default());
        at += 1;
        let next = bytes.get(at).copied().unwrap_or_default();
        match c {
            _ if c == last => drop(open.pop()),
            b'\\' if last != b'\'' => {
                at += 1;
                if !matches!(next, 0 | b'\n') {
                    all.word().push(next);
                }
            }
            b'$' | b'`' if last != b'\'' => {
                all.word().push(c);
                open.push(match (c, next) {
                    (b'`', _) => c,
                    (_, b'(') => b')',
                    (_, b'{') => b'}',
                    _ => continue,
                });
                at += usize::from(c == b'$');
            }
            _ if matches!(last, b'\'' | b'"') => all.word().push(c),
            b'\'' | b'"' => {
                all.word();
                open.push(c);
            }
            // A `(` within another bracket, or before the list of words in `NAME=(…)`.
            b'(' if last != 0 || start > 0 && bytes[start - 1] == b'=' => open.push(b')'),
            _ if last != 0 => {}
            b'#' if all.word.is_none() => {
                at += bytes[at..].iter().take_while(|c| **c != b'\n').count();
            }
            // `<(…)` is a word whose value only the shell knows, as `$(…)` is.
            b'<' | b'>' if next == b'(' => {
                all.word().push(b'$');
                open.push(b')');
                at += 1;
            }
            _ if matches!(c, b'<' | b'>') || c == b'&' && next == b'>' => {
                at += bytes[at..].iter().take_while(|c| b"<>&|".contains(c)).count();
                let is_document = &script[start..at] == "<<";
                at += usize::from(is_document && bytes.get(at) == Some(&b'-'));
                // The number in `2>` is not a word.
                all.word.take_if(|word| word.iter().all(u8::is_ascii_digit));
                all.end_word();
                all.is_document = Some(is_document);
            }
            b';' | b'\n' | b'&' | b'|' | b'(' | b')' => {
                at += usize::from(c == next && b";&|".contains(&c));
                all.end(&script[start..at]);
                if c == b'\n' {
                    for end in mem::take(&mut all.documents) {
                        for line in script[at..].split_inclusive('\n') {
                            at += line.len();
                            if line.trim_matches(['\t', '\n']) == end {
                                break;
                            }
                        }
                    }
                }
            }
            b' ' | b'\t' | b'\r' => all.end_word(),
            _ => all.word().push(c),
        }
    }
    all.end("");
    all.found
}

/// The commands that are found so far, and the command that is being read.
#[derive(Default)]
struct Commands<'a> {
    found: Vec<Command<'a>>,
    words: Vec<String>,
    word: Option<Vec<u8>>,
    /// If the next word belongs to a redirection: whether the redirection is a here-document.
    /// `None` if the next word belongs to no redirection.
    is_document: Option<bool>,
    /// For each here-document that begins on the next line: the line that ends it.
    documents: Vec<String>,
    /// The part of a pipe that is being read. The number counts the commands before this part. The
    /// flag says whether this part reads the output of the part before it.
    part: (usize, bool),
    /// The outer parts: each contains a group, such as `{ …; }`, whose end has not been read yet.
    groups: Vec<(usize, bool)>,
    /// Whether a group in parentheses has just ended.
    is_ended: bool,
    /// Whether the next words are a pattern of `case`.
    is_pattern: bool,
}

impl<'a> Commands<'a> {
    fn word(&mut self) -> &mut Vec<u8> {
        self.word.get_or_insert_default()
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        let word = String::from_utf8_lossy(&word).into_owned();
        match self.is_document.take() {
            Some(true) => self.documents.push(word),
            Some(false) => {}
            None => self.words.push(word),
        }
    }

    fn begin_group(&mut self) {
        self.groups.push(self.part);
        self.part = (self.found.len(), false);
    }

    fn end_group(&mut self) {
        self.part = self.groups.pop().unwrap_or(self.part);
        self.is_ended = true;
    }

    /// Marks the commands of the current part as commands that a copy of the shell runs.
    fn mark(&mut self) {
        for command in &mut self.found[self.part.0..] {
            command.is_copy = true;
        }
    }

    /// Ends the command at an operator.
    fn end(&mut self, end: &'a str) {
        self.end_word();
        let mut words = mem::take(&mut self.words);
        self.is_pattern &= words.first().is_none_or(|first| first != "esac");
        if self.is_pattern {
            words.clear();
        }
        let mut is_command = false;
        for word in words.iter().map(String::as_str) {
            if BEGINS.contains(&word) {
                self.begin_group();
            } else if ENDS.contains(&word) {
                self.end_group();
            }
            if !LEADS.contains(&word) {
                is_command = true;
                self.is_pattern = word == "case";
                break;
            }
        }
        if is_command {
            self.found.push(Command { words, end, is_copy: false });
        }
        if self.is_pattern {
            self.is_pattern = end != ")";
            return;
        }
        // A line break behind an operator ends no part.
        if mem::take(&mut self.is_ended) | is_command {
            if self.part.1 || matches!(end, "|" | "&") {
                self.mark();
            }
            self.part = (self.found.len(), end == "|");
        }
        match end {
            "(" => self.begin_group(),
            ")" => {
                self.end_group();
                self.mark();
            }
            _ => self.is_pattern = end == ";;",
        }
    }
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
            ("cat <<END\nb\nEND\nc", "cat c"),
            ("$A x; \"b\" c; D=1 e; ./f; a/b; g", "b g"),
            ("a; if b; then c; fi; d", "a"),
            ("a; f() { b; }; f", "a"),
            ("a; . /env; b", "a"),
            ("a; export PATH=/x; b", "a"),
            ("a; exit 0; b", "a"),
            ("echo ü; [ -f x ]; command -v y; a", "a"),
            ("a `b; c` $(d; e); f", "a f"),
            (">x", ""),
            ("", ""),
        ] {
            assert_eq!(programs(script).join(" "), found, "{script}");
        }
    }

    /// The commands of a script, with `|` between the words, each with the operator behind it. A
    /// `*` stands before a command that a copy of the shell runs.
    fn split(script: &str) -> String {
        let shown = |it: &Command<'_>| {
            format!("{}{} {}", if it.is_copy { "*" } else { "" }, it.words.join("|"), it.end)
        };
        commands(script).iter().map(shown).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    #[test]
    fn a_script_is_split_as_by_a_shell() {
        for (script, found) in [
            ("a b;c&&d\n\ne||f", "a|b ; c && d \n e || f"),
            ("a 'b c' \"d 'e'\" f\\ g \"h\\\"\" ''", "a|b c|d 'e'|f g|h\"|"),
            ("a \\\n b\\\nc # d; e\nf#g", "a|bc \n f#g"),
            ("a 2>&1 >b 3< c &>d >|e f", "a|f"),
            ("a $(b; c \")\" (d)) \"${e:-f;g}\" `h; i` <(j; k)", "a|$)|$|`|$"),
            ("A=(b; c) d; e $((1|2))", "A=|d ; e|$"),
            ("a <<B c\nd; e\nB\nf <<-'G' <<H; i\n\tG\nj\nH\nk <<<l m", "a|c \n f ; i \n k|m"),
            ("case a in b|c) d;; (e) f ;;\n*) g\nesac; h", "case|a|in|b | d ;; f ;; g \n h"),
            ("for a in b c; do d; done", "for|a|in|b|c ; do|d ;"),
            ("f() { a; }; g", "f ( {|a ; g"),
            ("( ) } fi 'a", "}|fi|a"),
        ] {
            assert_eq!(split(script), found, "{script}");
        }
    }

    // holds: C713
    #[test]
    fn a_command_that_should_replace_the_shell_is_found() {
        for (script, found) in [
            ("prepare && celery worker", "celery worker"),
            ("set -e\n cd /srv; ./app --port $PORT\n", "./app --port $PORT"),
            ("node app.js", "node app.js"),
            ("a; b 'c d' 2>&1", "b …"),
            ("a && exec b", ""),
            ("a; true", ""),
            ("a | b", ""),
            ("a & b", ""),
            ("(a; b)", ""),
            ("a || b", ""),
            ("trap x TERM; a", ""),
            ("f() { a; }; f", ""),
            ("if a; then b; fi", ""),
            ("while a; do b; c; done", ""),
            ("$APP x", ""),
            ("A=1 b", ""),
            ("", ""),
        ] {
            let child = |shell| child_of_shell(shell, script).unwrap_or_default().join(" ");
            assert_eq!(child("sh"), found, "{script}");
            assert_eq!(child("/bin/bash").is_empty(), ends_as_last(script) || found.is_empty());
        }
    }

    #[test]
    fn commands_that_a_copy_of_the_shell_runs_are_found() {
        for (script, found) in [
            ("a; b | c |\n d; e & f", "a ; *b | *c | *d ; *e & f"),
            ("a && b || c & d", "a && b || *c & d"),
            ("{ a; b; } | c; d", "*{|a ; *b ; *c ; d"),
            ("{ a; b; }; { c; } & d", "{|a ; b ; *{|c ; d"),
            ("a | { b; { c; }; }; d", "*a | *{|b ; *{|c ; d"),
            ("if a; then b; else c; fi 2>&1 | d", "*if|a ; *then|b ; *else|c ; *d"),
            ("while a; do b | c; done; d", "while|a ; *do|b | *c ; d"),
            ("case a in b) c ;; esac |& d", "*case|a|in|b ) *c ;; *d"),
            ("(a; b) && c; (d) | e; f", "*a ; *b ) c ; *d ) *e ; f"),
        ] {
            assert_eq!(split(script), found, "{script}");
        }
    }
}
