//! Checks `command` and `args` of a container.

use crate::kubernetes::commands::{own_commands, program};
use crate::kubernetes::env::SHELL_WORD;
use crate::kubernetes::manifest::{Container, Word, base, words};
use crate::kubernetes::{Context, Severity};
use crate::language::script::{self, is_builtin, is_shell, place};
use crate::language::span::Span;
use crate::load::args;
use crate::load::args::ArgsError;

/// The program that the container starts, if the manifest shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryPoint {
    /// The program is the image's `ENTRYPOINT`, with these arguments.
    Image(Vec<Word>),
    /// drainit with these arguments.
    Drainit(Vec<Word>),
    /// A shell that runs drainit with this subcommand as its child. The signals go to the shell and
    /// not to drainit.
    ShellChild(Word),
    /// A shell that may run drainit: only the shell knows the commands of this script.
    Unknown(Word),
    Other(Word),
}

pub(super) fn entry(container: &Container) -> EntryPoint {
    let (command, args) = (words(&container.node, &["command"]), words(&container.node, &["args"]));
    match command.is_empty() {
        true => EntryPoint::Image(args),
        false => of_line(&[command, args].concat()),
    }
}

/// Whether the manifest shows that the container starts drainit.
pub(super) fn names_drainit(container: &Container) -> bool {
    let shown = match entry(container) {
        EntryPoint::Drainit(_) | EntryPoint::ShellChild(_) => true,
        EntryPoint::Image(args) => args.first().is_some_and(|word| base(&word.text) == "drainit"),
        EntryPoint::Unknown(script) => script.text.contains("drainit"),
        EntryPoint::Other(_) => false,
    };
    shown || own_commands(container).iter().any(|it| it.is_pre_stop)
}

/// The script in a command line, if the command line runs a shell with a script.
pub(super) fn script(line: &[Word]) -> Option<&Word> {
    let is_known = |word: &Word| base(&word.text) == "drainit" || is_shell(&word.text);
    let line = &line[line.iter().position(is_known)?..];
    let place = place(line.iter().map(|word| &*word.text)).filter(|_| is_shell(&line[0].text))?;
    Some(&line[place])
}

fn of_line(line: &[Word]) -> EntryPoint {
    if let Some(script) = script(line) {
        return of_script(script);
    }
    match line.iter().position(|word| base(&word.text) == "drainit") {
        Some(place) => EntryPoint::Drainit(line[place + 1..].to_vec()),
        None => EntryPoint::Other(line[0].clone()),
    }
}

/// Words of a script at this place.
pub(super) fn at(words: Vec<String>, span: Span) -> Vec<Word> {
    words.into_iter().map(|text| Word { text, span }).collect()
}

/// Whether only the shell knows the value of a word.
fn is_expanded(word: &str) -> bool {
    word.contains(['$', '`'])
}

/// Finds drainit in a script. After `exec drainit …` drainit replaces the shell; without `exec` the
/// shell stays as drainit's parent. Other programs, such as `env` and `su-exec`, may stand between
/// `exec` and `drainit`. These programs also replace themselves by the program that they start.
fn of_script(script: &Word) -> EntryPoint {
    let mut found = EntryPoint::Other(script.clone());
    let mut has_trap = false;
    for script::Command { words, is_copy, .. } in script::commands(&script.text) {
        let words = at(words, script.span);
        let program = program(&words);
        let is_before = |it: &&Word| base(&it.text) != "drainit" && !is_shell(&it.text);
        let has_exec = words.iter().take_while(is_before).any(|word| word.text == "exec");
        // Such a trap may pass the signal on to drainit.
        has_trap |= program == "trap" && words.iter().any(|it| it.text.contains("TERM"));
        let is_unclear =
            is_expanded(program) || is_shell(program) || matches!(program, "." | "eval" | "source");
        match of_line(&words) {
            // Another command may copy the binary, or say what it does.
            EntryPoint::Drainit(rest)
                if is_builtin(program)
                    || !rest.first().is_some_and(|it| matches!(&*it.text, "run" | "exec")) => {}
            EntryPoint::Drainit(mut rest) if has_exec && !is_copy => {
                for word in rest.iter_mut().filter(|word| is_expanded(&word.text)) {
                    SHELL_WORD.clone_into(&mut word.text);
                }
                return EntryPoint::Drainit(rest);
            }
            EntryPoint::Drainit(rest) if !has_trap => {
                return EntryPoint::ShellChild(rest[0].clone());
            }
            EntryPoint::ShellChild(subcommand) if !has_trap => {
                return EntryPoint::ShellChild(subcommand);
            }
            EntryPoint::Other(_) if !is_unclear => {}
            _ => found = EntryPoint::Unknown(script.clone()),
        }
    }
    found
}

/// Checks the command. Returns whether nobody knows that it needs a config: the command is wrong,
/// or does not show whether it runs `drainit run`.
pub(super) fn check(ctx: &mut Context<'_>) -> bool {
    const HELP: &str =
        "write `[drainit, run, --]` with a config, or `[drainit, exec, --, PROGRAM]` without one";
    let span = ctx.container.span;
    let arguments = match entry(ctx.container) {
        EntryPoint::ShellChild(subcommand) => {
            let name = subcommand.text;
            ctx.add(Severity::Error, subcommand.span, "the shell gets the signals, and drainit, its child, does not")
                .help(format!(
                    "write `command: [drainit, {name}, --]`, or `exec drainit {name}` as the last command of the script, without \
                     `|` and `&`"
                ));
            return true;
        }
        EntryPoint::Unknown(_) => return true,
        EntryPoint::Other(word) => {
            let message = format!("the command of `{}` does not run drainit", ctx.container.name);
            ctx.add(Severity::Warning, word.span, message).help(
                "write `command: [drainit, run, --]`, or remove it: it replaces the image's ENTRYPOINT",
            );
            return true;
        }
        EntryPoint::Drainit(words) => words,
        // The manifest does not show whether the image's ENTRYPOINT is `drainit` or `drainit run`:
        // the arguments may or may not begin with `run`.
        EntryPoint::Image(words) => {
            let words = match words.first() {
                Some(word) if base(&word.text) == "drainit" => words[1..].to_vec(),
                _ => words,
            };
            if words.first().is_some_and(|word| word.text == "run") {
                words
            } else {
                [vec![Word { text: "run".to_owned(), span }], words].concat()
            }
        }
    };
    match arguments.split_first() {
        Some((run, rest)) if run.text == "run" => {
            route(ctx, rest);
            return false;
        }
        Some((exec, _)) if exec.text == "exec" && ctx.is_exec => return false,
        Some((other, _)) => {
            let message = format!("`drainit {}` does not run a config", other.text);
            ctx.add(Severity::Error, other.span, message).help(HELP);
        }
        None => {
            ctx.add(Severity::Error, span, "drainit has no subcommand").help(HELP);
        }
    }
    true
}

/// Checks whether drainit would accept the container's arguments: each argument must belong to some
/// process, as with `drainit run`.
fn route(ctx: &mut Context<'_>, words: &[Word]) {
    if ctx.is_partial {
        return;
    }
    let mut rest = words;
    loop {
        rest = match rest {
            [first, ..] if first.text == "--" => {
                rest = &rest[1..];
                break;
            }
            [first, _, more @ ..] if first.text == "-c" || first.text == "--config" => more,
            [first, more @ ..]
                if first.text.starts_with("-c") || first.text.starts_with("--config=") =>
            {
                more
            }
            _ => break,
        };
    }
    let texts: Vec<_> = rest.iter().map(|word| ctx.env.substitute(&word.text)).collect();
    // If the value of one argument is unknown, no argument is checked.
    let Some(texts) = texts.into_iter().collect::<Option<Vec<_>>>() else { return };
    if args::is_command(&ctx.loaded.config, &texts) {
        return;
    }
    let Err(error) = args::route(&ctx.loaded.config, &texts) else { return };
    let (ArgsError::Unclaimed { arg, .. }
    | ArgsError::Refused { arg, .. }
    | ArgsError::NoOption { arg }) = &error;
    let place = texts.iter().position(|text| text == arg);
    let span = place.and_then(|place| rest.get(place)).map_or(ctx.container.span, |word| word.span);
    ctx.add(Severity::Error, span, format!("drainit would not start: {error}"))
        .help("correct it here, or `args` of the process in the config");
}
