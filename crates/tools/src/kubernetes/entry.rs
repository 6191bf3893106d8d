//! Checks `command` and `args` of a container.

use crate::kubernetes::manifest::{Container, Word, base, words};
use crate::kubernetes::{Context, Severity};
use crate::language::script::{self, is_shell, place};
use crate::language::yaml::node::{Node, get};
use crate::load::args;
use crate::load::args::ArgsError;

/// The characters that end a command in a shell's script.
pub(super) const JOINS: [char; 4] = [';', '\n', '&', '|'];

/// The program that the container starts, if the manifest shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryPoint {
    /// The program is the image's `ENTRYPOINT`, with these arguments.
    Image(Vec<Word>),
    /// drainit with these arguments.
    Drainit(Vec<Word>),
    /// A shell that runs drainit as its child. The signals go to the shell and not to drainit. The
    /// text is the shell's script.
    ShellChild(Word),
    Other(Word),
}

pub(super) fn entry(container: &Container) -> EntryPoint {
    let (command, args) = (words(&container.node, &["command"]), words(&container.node, &["args"]));
    let Some(program) = command.first().cloned() else { return EntryPoint::Image(args) };
    let all: Vec<_> = command.into_iter().chain(args).collect();
    if is_shell(&program.text) {
        return script(&all).map_or(EntryPoint::Other(program), of_script);
    }
    match all.iter().position(|word| base(&word.text) == "drainit") {
        Some(place) => EntryPoint::Drainit(all[place + 1..].to_vec()),
        None => EntryPoint::Other(program),
    }
}

/// Whether the manifest shows that the container starts drainit.
pub(super) fn names_drainit(container: &Container) -> bool {
    let shown = match entry(container) {
        EntryPoint::Drainit(_) | EntryPoint::ShellChild(_) => true,
        EntryPoint::Image(args) => args.first().is_some_and(|word| base(&word.text) == "drainit"),
        EntryPoint::Other(_) => false,
    };
    let hook = words(&container.node, &["lifecycle", "preStop", "exec", "command"]);
    shown
        || hook.iter().any(|word| word.text.split_whitespace().any(|word| base(word) == "drainit"))
}

/// The script in the command line of a shell.
pub(super) fn script(command: &[Word]) -> Option<&Word> {
    place(command.iter().map(|word| &*word.text)).map(|place| &command[place])
}

/// Finds drainit in a script. After `exec drainit …` drainit replaces the shell; without `exec` the
/// shell stays as drainit's parent.
fn of_script(script: &Word) -> EntryPoint {
    let text = script.text.replace("\\\n", " ");
    // `drainit` counts only before a subcommand: a script may also have this word in another
    // command, such as one that copies the binary.
    let starts = |pair: &[&str]| base(pair[0]) == "drainit" && matches!(pair[1], "run" | "exec");
    // In other scripts, a `|` before drainit may be part of a pattern or of a substitution.
    let is_simple = !["$(", "${", "<(", "`", "case "].iter().any(|it| text.contains(it));
    let (mut before, mut is_replaced) = ("", false);
    for (command, end) in script::commands(&text) {
        let begin = std::mem::replace(&mut before, end);
        let words: Vec<_> = command.split_whitespace().collect();
        // The last one: a here-document may name drainit before.
        let Some(place) = words.windows(2).rposition(starts) else {
            let is_exec = is_replaced || words.contains(&"exec");
            is_replaced = !is_simple && end == "|" && is_exec;
            continue;
        };
        // A copy of the shell runs a command in a pipe or in the background. A `|` in `$(…)`,
        // `<(…)`, `${…}` or `>|` does not end the command.
        let is_open = [('(', ')'), ('{', '}')].map(|(a, b)| command.rfind(a) > command.rfind(b));
        let is_ended = !is_open.contains(&true) && !command.ends_with('>');
        let is_copy = is_simple && begin == "|" || is_ended && matches!(end, "|" | "&");
        // Other programs, such as `env` and `su-exec`, may stand between `exec` and `drainit`.
        // These programs also replace themselves by the program that they start.
        if is_copy || !is_replaced && !words[..place].contains(&"exec") {
            return EntryPoint::ShellChild(script.clone());
        }
        // The shell expands the arguments after the subcommand, so the manifest does not show their
        // values.
        let subcommand = Word { text: words[place + 1].to_owned(), span: script.span };
        return EntryPoint::Drainit(vec![subcommand]);
    }
    EntryPoint::Other(script.clone())
}

/// Checks the command. Returns whether it has an error: the corrected command may need no config.
pub(super) fn check(ctx: &mut Context<'_>) -> bool {
    const HELP: &str =
        "write `[drainit, run, --]` with a config, or `[drainit, exec, --, PROGRAM]` without one";
    let span = ctx.container.span;
    let is_list = |it: &&std::rc::Rc<Node>| match it.scalar() {
        Some(text) => matches!(text, "" | "~" | "null"),
        None => it.items().iter().all(|it| it.scalar().is_some()),
    };
    if let Some(command) = get(&ctx.container.node, &["command"]).filter(|it| !is_list(it)) {
        ctx.add(Severity::Error, command.span, "`command` is not a list of words").help(HELP);
        return true;
    }
    let arguments = match entry(ctx.container) {
        EntryPoint::ShellChild(script) => {
            let name = if script.text.contains("drainit exec ") { "exec" } else { "run" };
            ctx.add(Severity::Error, script.span, "the shell gets the signals, and drainit, its child, does not")
                .help(format!(
                    "write `command: [drainit, {name}, --]`, or `exec drainit {name}` as the last command of the script, without \
                     `|` and `&`"
                ));
            return true;
        }
        EntryPoint::Other(word) => {
            let message = format!("the command of `{}` does not run drainit", ctx.container.name);
            ctx.add(Severity::Warning, word.span, message).help(
                "write `command: [drainit, run, --]`, or remove it: it replaces the image's ENTRYPOINT",
            );
            return false;
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
