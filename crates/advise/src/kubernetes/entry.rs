//! Checks `command` and `args` of a container.

use drainit_commands::{Command, RunArgs, parse};

use crate::kubernetes::Context;
use crate::kubernetes::commands::{own_commands, program};
use crate::kubernetes::env::SHELL_WORD;
use crate::kubernetes::manifest::{Container, Word, at, base, command_line, is_drainit};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::script::{self, is_builtin, is_shell, place};
use crate::load::args::{self, ArgsError};

/// The program that the container starts, if the manifest shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryPoint {
    /// The program is the image's `ENTRYPOINT`, with these arguments.
    Image(Vec<Word>),
    /// drainit with these arguments.
    Drainit(Vec<Word>),
    /// A shell that runs drainit, with this subcommand, as its child. The signals go to the shell
    /// and not to drainit.
    ShellChild(Word),
    /// A shell with this script, which may run drainit. Only the shell knows the script's commands.
    Unknown(Word),
    Other(Word),
}

pub(super) fn entry(container: &Container) -> EntryPoint {
    match command_line(container) {
        (line, false) => of_line(&line),
        (args, true) => match args.split_first() {
            Some((first, rest)) if is_drainit(&first.text) => EntryPoint::Drainit(rest.to_vec()),
            _ => EntryPoint::Image(args),
        },
    }
}

/// Whether the manifest shows that the container runs drainit, by its command or its `preStop`
/// hook.
pub(super) fn names_drainit(container: &Container) -> bool {
    let shown = match entry(container) {
        EntryPoint::Unknown(script) => script.text.contains("drainit"),
        found => matches!(found, EntryPoint::Drainit(_) | EntryPoint::ShellChild(_)),
    };
    shown || own_commands(container).iter().any(|it| it.is_pre_stop)
}

/// Whether the container runs `drainit exec`, whose options are its config.
pub(super) fn is_exec(container: &Container) -> bool {
    match entry(container) {
        EntryPoint::Drainit(words) => words.first().is_some_and(|it| it.text == "exec"),
        _ => false,
    }
}

/// The script in a command line, if the command line runs a shell with a script.
pub(super) fn script(line: &[Word]) -> Option<&Word> {
    let is_known = |word: &Word| is_drainit(&word.text) || is_shell(&word.text);
    let line = &line[line.iter().position(is_known)?..];
    let place = place(line.iter().map(|word| &*word.text)).filter(|_| is_shell(&line[0].text))?;
    Some(&line[place])
}

fn of_line(line: &[Word]) -> EntryPoint {
    if let Some(script) = script(line) {
        return of_script(script, line.iter().any(|word| base(&word.text) == "bash"));
    }
    match line.iter().position(|word| is_drainit(&word.text)) {
        Some(place) => EntryPoint::Drainit(line[place + 1..].to_vec()),
        None => EntryPoint::Other(line[0].clone()),
    }
}

/// Whether only the shell knows the value of a word.
fn is_expanded(word: &str) -> bool {
    word.contains(['$', '`'])
}

/// Finds drainit in a script. With `exec drainit …`, or as the last command of a bash from 5.1 on,
/// drainit replaces the shell. Otherwise the shell stays as drainit's parent. Programs that also
/// replace themselves, such as `env` and `su-exec`, may stand between `exec` and `drainit`.
fn of_script(script: &Word, is_bash: bool) -> EntryPoint {
    let mut found = EntryPoint::Other(script.clone());
    let all = script::commands(&script.text);
    let functions = script::functions(&all);
    // A trap for SIGTERM may pass the signal on to drainit.
    let is_trap =
        |words: &[String]| words[0] == "trap" && words.iter().any(|it| it.contains("TERM"));
    let has_trap = all.iter().any(|it| is_trap(&it.words));
    for (place, script::Command { words, is_copy, .. }) in all.iter().enumerate() {
        let is_last = is_bash && place + 1 == all.len() && script::ends_as_last(&script.text);
        let words = at(words.clone(), script.span);
        let program = program(&words);
        let is_before = |it: &&Word| !is_drainit(&it.text) && !is_shell(&it.text);
        let has_exec = is_last || words.iter().take_while(is_before).any(|it| it.text == "exec");
        let is_function = functions.contains(&program);
        let is_unclear = is_expanded(program)
            || is_shell(program)
            || is_function
            || matches!(program, "." | "eval" | "source");
        match of_line(&words) {
            EntryPoint::Drainit(_) if is_function => found = EntryPoint::Unknown(script.clone()),
            // The command copies drainit, prints its name, or runs a subcommand other than `run`
            // and `exec`.
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
            child @ EntryPoint::ShellChild(_) if !has_trap => return child,
            EntryPoint::Other(_) if !is_unclear => {}
            _ => found = EntryPoint::Unknown(script.clone()),
        }
    }
    found
}

/// The arguments of `drainit run`. `None` if the command is wrong, or does not show whether it runs
/// `drainit run`: the container then perhaps needs no config. Reports a wrong command.
pub(super) fn arguments(problems: &mut Problems, container: &Container) -> Option<Vec<Word>> {
    let words = match entry(container) {
        EntryPoint::ShellChild(Word { text: name, span }) => {
            let message = "the shell gets the signals, and drainit, its child, does not";
            let help = format!(
                "write `command: [drainit, {name}, --]`, or `exec drainit {name}` as the last command of the script, without `|` and `&`"
            );
            problems.error(Rule::ShellKeepsSignals, span, message).help(help);
            return None;
        }
        EntryPoint::Unknown(_) => return None,
        EntryPoint::Other(word) => {
            let message = format!("the command of `{}` does not run drainit", container.name);
            let help = "write `command: [drainit, run, --]`, or remove it: it replaces the image's ENTRYPOINT";
            problems.warning(Rule::NotDrainit, word.span, message).help(help);
            return None;
        }
        // The manifest does not show whether the image's ENTRYPOINT is `drainit` or `drainit run`,
        // so the arguments may or may not begin with `run`.
        EntryPoint::Image(words) if words.first().is_none_or(|it| it.text != "run") => {
            return Some(words);
        }
        EntryPoint::Image(words) | EntryPoint::Drainit(words) => words,
    };
    let (message, span) = match words.split_first() {
        Some((run, rest)) if run.text == "run" => return Some(rest.to_vec()),
        Some((exec, _)) if exec.text == "exec" => return Some(Vec::new()),
        Some((other, _)) => (format!("`drainit {}` does not run a config", other.text), other.span),
        None => ("drainit has no subcommand".to_owned(), container.span),
    };
    let help =
        "write `[drainit, run, --]` with a config, or `[drainit, exec, --, PROGRAM]` without one";
    problems.error(Rule::NotDrainit, span, message).help(help);
    None
}

/// Checks whether drainit would accept the arguments of `drainit run`: each argument must belong to
/// some process.
pub(super) fn route(ctx: &mut Context<'_>, words: &[Word]) {
    let texts = words.iter().map(|word| ctx.env.substitute(&word.text));
    // If the value of one argument is unknown, no argument is checked.
    let Some(texts) = texts.collect::<Option<Vec<_>>>().filter(|_| !ctx.is_exec) else { return };
    let line = ["drainit", "run"].into_iter().chain(texts.iter().map(String::as_str));
    let parsed = parse(line.map(Into::into).collect()).map(|it| it.command);
    let Ok(Command::Run(RunArgs { args: given, .. })) = parsed else { return };
    let config = &ctx.loaded.config;
    let error = args::route(config, &given).err().filter(|_| !args::is_command(config, &given));
    let Some(error) = error else { return };
    let (ArgsError::Unclaimed { arg, .. }
    | ArgsError::Refused { arg, .. }
    | ArgsError::NoOption { arg }) = &error;
    let place = given.iter().position(|text| text == arg);
    let word = place.and_then(|place| words.get(words.len() - given.len() + place));
    let span = word.map_or(ctx.container.span, |word| word.span);
    let message = format!("drainit would not start: {error}");
    ctx.error(
        Rule::RefusedArguments,
        span,
        message,
        "correct it here, or `args` of the process in the config",
    );
}
