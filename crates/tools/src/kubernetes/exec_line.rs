//! Parses the options of `drainit exec` in a manifest with the parser of `drainit exec` itself. If
//! the parser refuses a word, the word is reported and replaced, so that the parser then finds the
//! next mistake.

use std::error::Error as _;
use std::sync::LazyLock;

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, CommandFactory as _};
use drainit_commands::exec::ExecArgs;
use drainit_commands::value::UNKNOWN;
use drainit_commands::{Cli, Command, parse};

use crate::kubernetes::env::PodEnv;
use crate::kubernetes::manifest::Word;
use crate::language::diagnostics::problems::Problems;
use crate::language::span::Span;
use crate::types::suggest::nearest;

/// The words behind `drainit exec`. A value that is not known is [`UNKNOWN`].
pub(super) struct ExecLine {
    words: Vec<Word>,
    /// The place of the word `exec`.
    span: Span,
    /// Whether the image may add a command.
    is_open: bool,
    /// Whether the manifest has no command.
    pub(super) has_no_command: bool,
}

impl ExecLine {
    pub(super) fn new(exec: &Word, words: &[Word], env: &PodEnv) -> Self {
        let text = |word: &Word| {
            let option = word.text.split_once('=').filter(|(name, _)| name.starts_with("--"));
            let value = option.and_then(|(name, value)| {
                let name = env.substitute(name)?;
                Some(format!("{name}={}", env.substitute(value).unwrap_or(UNKNOWN.to_owned())))
            });
            let text = value.or_else(|| env.substitute(&word.text));
            Word { text: text.unwrap_or(UNKNOWN.to_owned()), span: word.span }
        };
        let all = words.iter().map(text).collect();
        Self { words: all, span: exec.span, is_open: words.is_empty(), has_no_command: false }
    }

    /// Parses the options, and reports each word that the parser refuses. `None` if nothing else
    /// can be checked.
    pub(super) fn parse(&mut self, problems: &mut Problems) -> Option<ExecArgs> {
        // Each round removes or replaces a word, or adds one of at most two.
        for _ in 0..2 * self.words.len() + 4 {
            let words = self.words.iter().map(|word| word.text.as_str());
            let line = ["drainit", "exec"].into_iter().chain(words).map(Into::into).collect();
            match parse(line) {
                Ok(Cli { command: Command::Exec(args) }) => return Some(*args),
                Ok(_) => return None,
                Err(error) => self.repair(problems, &error)?,
            }
        }
        None
    }

    /// Reports what the parser refuses, and replaces it. `None` if that is not possible.
    fn repair(&mut self, problems: &mut Problems, error: &clap::Error) -> Option<()> {
        let of = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
        let option = |text: String| text.split([' ', '=']).next().unwrap_or_default().to_owned();
        let (name, value) = (option(of(ContextKind::InvalidArg)), of(ContextKind::InvalidValue));
        let other = option(of(ContextKind::PriorArg));
        let all: Vec<_> = (0..).map_while(|skip| self.find(&name, skip)).collect();
        let at = match error.kind() {
            ErrorKind::ValueValidation => {
                let is_it = |at: &&usize| self.value(**at) == Some(&*value);
                all.iter().find(is_it)
            }
            ErrorKind::InvalidValue => {
                let is_last = |at: &&usize| {
                    self.words.get(**at + 1).is_none_or(|it| it.text.starts_with('-'))
                };
                all.iter().find(is_last)
            }
            ErrorKind::ArgumentConflict if name == other => all.get(1).or(all.first()),
            _ => all.first(),
        };
        let at = at.copied();
        let span = at.map_or(self.span, |at| self.words[at].span);
        let (why, help) = match error.kind() {
            ErrorKind::UnknownArgument => {
                no_option(problems, span, &name);
                self.words.remove(at?);
                return Some(());
            }
            ErrorKind::MissingRequiredArgument if self.is_open => (String::new(), ""),
            ErrorKind::MissingRequiredArgument => {
                ("there is no command".to_owned(), "write the command and its arguments after `--`")
            }
            ErrorKind::ValueValidation => {
                let why = error.source().map(ToString::to_string).unwrap_or_default();
                (format!("`{name}` is `{value}`: {why}"), "correct it")
            }
            ErrorKind::ArgumentConflict if name == other => {
                (format!("`{name}` is given twice"), "remove one of the two")
            }
            ErrorKind::ArgumentConflict => {
                (format!("`{name}` cannot be used with `{other}`"), "remove one of the two")
            }
            ErrorKind::TooManyValues => {
                (format!("`{name}` has no value"), "remove the `=` and what follows")
            }
            ErrorKind::InvalidValue => (format!("`{name}` needs a value"), "write one behind it"),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                ("it would only print a text".to_owned(), "remove `--help` and `--version`")
            }
            _ => (error.to_string().lines().next().unwrap_or_default().to_owned(), "correct it"),
        };
        if !why.is_empty() {
            problems.error(span, format!("drainit would not start: {why}")).help(help);
        }
        match error.kind() {
            ErrorKind::ValueValidation => self.forget(at?),
            ErrorKind::ArgumentConflict => self.remove(at?, &name),
            ErrorKind::TooManyValues => self.words[at?].text = name,
            ErrorKind::InvalidValue => {
                let at = at?;
                self.words.insert(at + 1, Word { text: UNKNOWN.to_owned(), span });
            }
            ErrorKind::MissingRequiredArgument => {
                self.has_no_command = true;
                let has_end = self.words.last().is_some_and(|word| word.text == "--");
                let end = ["--", UNKNOWN].into_iter().skip(usize::from(has_end));
                self.words.extend(end.map(|text| Word { text: text.to_owned(), span }));
            }
            _ => return None,
        }
        Some(())
    }

    /// The place of an option, without the first `skip` of its places.
    fn find(&self, name: &str, skip: usize) -> Option<usize> {
        let long = name
            .strip_prefix("--")
            .and_then(|long| EXEC.get_arguments().find(|it| it.get_long() == Some(long)));
        let letter = match name.strip_prefix("--") {
            Some(_) => long.and_then(Arg::get_short),
            None => name.chars().nth(1),
        };
        let is_it = |word: &Word| {
            let is_long = !name.is_empty() && word.text.split('=').next() == Some(name);
            is_long || letter.is_some_and(|letter| letters(&word.text).0.contains(&letter))
        };
        let all = self.words.iter().enumerate().filter(|(_, word)| is_it(word));
        all.map(|(at, _)| at).nth(skip)
    }

    /// The place of the last occurrence of an option.
    pub(super) fn span(&self, name: &str) -> Span {
        let last = (0..).map_while(|skip| self.find(name, skip)).last();
        last.map_or(self.span, |at| self.words[at].span)
    }

    /// Where the value of the option at this place begins: the place of its word, and the byte.
    fn value_at(&self, at: usize) -> (usize, usize) {
        let text = &self.words[at].text;
        let begins = match text.starts_with("--") {
            true => text.find('=').map(|at| at + 1),
            false => letters(text).1.filter(|begins| *begins < text.len()),
        };
        begins.map_or((at + 1, 0), |begins| (at, begins))
    }

    fn value(&self, at: usize) -> Option<&str> {
        let (word, begins) = self.value_at(at);
        self.words.get(word)?.text.get(begins..)
    }

    /// Replaces the value of the option at this place by one that is not known.
    fn forget(&mut self, at: usize) {
        let (word, begins) = self.value_at(at);
        if let Some(word) = self.words.get_mut(word) {
            word.text.truncate(begins);
            word.text.push_str(UNKNOWN);
        }
    }

    /// Forgets all values of an option.
    pub(super) fn forget_all(&mut self, name: &str) {
        let all: Vec<_> = (0..).map_while(|skip| self.find(name, skip)).collect();
        all.into_iter().for_each(|at| self.forget(at));
    }

    /// Removes an option everywhere, with its values.
    pub(super) fn remove_all(&mut self, name: &str) {
        while let Some(at) = self.find(name, 0) {
            self.remove(at, name);
        }
    }

    fn remove(&mut self, at: usize, name: &str) {
        let (word, _) = self.value_at(at);
        let takes_value = EXEC.get_arguments().any(|option| {
            option.get_long() == name.strip_prefix("--") && option.get_action().takes_values()
        });
        if takes_value && word > at && word < self.words.len() {
            self.words.remove(word);
        }
        let text = &mut self.words[at].text;
        let letter = EXEC
            .get_arguments()
            .find(|it| it.get_long() == name.strip_prefix("--"))
            .and_then(Arg::get_short);
        let place =
            letter.filter(|_| !takes_value && !text.starts_with("--")).and_then(|it| text.find(it));
        match place {
            Some(place) if text.len() > 2 => drop(text.remove(place)),
            _ => drop(self.words.remove(at)),
        }
    }

    /// Whether the command of this length may be an option: its first word is not known, and no
    /// `--` precedes it.
    pub(super) fn may_be_option(&self, count: usize) -> bool {
        let at = self.words.len().saturating_sub(count);
        let is_behind_end = at.checked_sub(1).is_some_and(|before| self.words[before].text == "--");
        !is_behind_end && self.words.get(at).is_some_and(|word| word.text.contains(UNKNOWN))
    }
}

static EXEC: LazyLock<clap::Command> = LazyLock::new(|| {
    let drainit = Cli::command();
    drainit.find_subcommand("exec").cloned().unwrap_or_default()
});

/// The letters of short options in a word such as `-ve143`, and the byte at which the value of the
/// last of these options begins.
fn letters(text: &str) -> (Vec<char>, Option<usize>) {
    let mut letters = Vec::new();
    if text.starts_with('-') && !text.starts_with("--") {
        for (at, letter) in text.char_indices().skip(1) {
            letters.push(letter);
            let is_it = |option: &&Arg| option.get_short() == Some(letter);
            if EXEC.get_arguments().find(is_it).is_some_and(|it| it.get_action().takes_values()) {
                let begins = at + letter.len_utf8();
                let sign = usize::from(text[begins..].starts_with('='));
                return (letters, Some(begins + sign));
            }
        }
    }
    (letters, None)
}

fn no_option(problems: &mut Problems, span: Span, name: &str) {
    let longs: Vec<_> =
        EXEC.get_arguments().filter_map(Arg::get_long).map(|it| format!("--{it}")).collect();
    let meant = nearest(name, longs.iter().map(|long| &**long));
    let meant = meant.map(|known| format!("did you mean `{known}`? The"));
    let help = format!(
        "{} command and its arguments come after `--`",
        meant.as_deref().unwrap_or("correct it; the")
    );
    problems
        .error(span, format!("drainit would not start: `drainit exec` has no option `{name}`"))
        .help(help);
}
