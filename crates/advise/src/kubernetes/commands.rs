//! Finds the commands of a container, and checks those of drainit in its probes and hooks.

use std::mem;
use std::path::Path;
use std::sync::LazyLock;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ErrorKind};
use drainit_commands::value::UNKNOWN;
use drainit_commands::{Cli, parse};

use crate::keys::ControlSocket;
use crate::kubernetes::Context;
use crate::kubernetes::entry::{EntryPoint, entry, script};
use crate::kubernetes::manifest::{
    Container, Word, at, containers, is_drainit, is_true, items, one_word, text, words,
};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::script::{self, is_builtin};
use crate::language::span::Span;
use crate::misread::other_option;
use crate::types::suggest::nearest;

/// The command line of drainit.
static DRAINIT: LazyLock<clap::Command> = LazyLock::new(Cli::command);

pub(super) fn is_subcommand(name: &str) -> bool {
    name == "help" || DRAINIT.find_subcommand(name).is_some()
}

/// Where a container has commands, except `command` and `args`.
pub(super) const HOOKS: [&[&str]; 5] = [
    &["livenessProbe", "exec", "command"],
    &["readinessProbe", "exec", "command"],
    &["startupProbe", "exec", "command"],
    &["lifecycle", "postStart", "exec", "command"],
    PRE_STOP,
];

/// Where a container has the command of its `preStop` hook.
pub(super) const PRE_STOP: &[&str] = &["lifecycle", "preStop", "exec", "command"];

/// The commands of a command line: the line itself or, if the line starts a shell with a script,
/// the commands of the script.
pub(super) fn commands(line: Vec<Word>) -> Vec<Vec<Word>> {
    let Some(script) = script(&line) else { return vec![line] };
    let found = script::commands(&script.text).into_iter();
    found.flat_map(|command| commands(at(command.words, script.span))).collect()
}

/// Whether the word at `at` starts drainit, because a subcommand of drainit stands behind the word.
/// The word may stand behind another program such as `env`, but not behind `echo`.
pub(super) fn has_subcommand(words: &[Word], at: usize) -> bool {
    let is_it = |next: &Word| is_subcommand(&next.text);
    words.get(at + 1).is_some_and(is_it) && !is_builtin(program(words))
}

/// The program of a command.
pub(super) fn program(words: &[Word]) -> &str {
    script::program(words.iter().map(|word| &*word.text))
}

/// The place of a problem, the message, and the help text.
pub(super) type Found = (Span, String, String);

/// Says why drainit would refuse a command line. `words` are the subcommand and its options.
/// `usage` is the remedy if there is no better one.
pub(super) fn refused(program: Span, words: &[Word], usage: &str) -> Option<Found> {
    // A word with a variable may be any word.
    let text = |word: &Word| if word.text.contains('$') { UNKNOWN } else { &word.text }.to_owned();
    let words = Vec::from_iter(words.iter().map(|it| Word { text: text(it), span: it.span }));
    let line = ["drainit"].into_iter().chain(words.iter().map(|word| &*word.text));
    let error = parse(line.map(Into::into).collect()).err().filter(|it| it.exit_code() != 0)?;
    let (span, why, help) = refusal(&error, program, &words, usage)?;
    Some((span, format!("drainit refuses this command: {why}"), help))
}

/// Says why the parser refuses the words behind `program`. `None` if that depends on what is not
/// known.
pub(super) fn refusal(
    error: &clap::Error,
    program: Span,
    words: &[Word],
    usage: &str,
) -> Option<Found> {
    let of = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let value = of(ContextKind::InvalidValue) + &of(ContextKind::InvalidSubcommand);
    let option = of(ContextKind::InvalidArg);
    let name = option.split([' ', '=']).next().unwrap_or_default();
    let is_wrong = |word: &&Word| {
        !name.is_empty() && word.text.starts_with(name)
            || !value.is_empty() && word.text.ends_with(&*value)
    };
    let text = error.to_string();
    let why = match error.kind() {
        _ if words.is_empty() => "it has no subcommand".to_owned(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => "it only prints a text".to_owned(),
        _ => Vec::from_iter(text.lines().take_while(|it| !it.is_empty()).map(str::trim)).join(" "),
    };
    let is_known = ![&option, &value].iter().any(|text| text.contains(UNKNOWN));
    let names = DRAINIT.get_subcommands().map(clap::Command::get_name);
    let meant = match error.kind() {
        ErrorKind::UnknownArgument => other_option(name, &DRAINIT, &words.first()?.text),
        ErrorKind::InvalidSubcommand => {
            nearest(&value, names).map(|it| format!("did you mean `{it}`?"))
        }
        _ => None,
    };
    let help = meant.unwrap_or_else(|| usage.to_owned());
    let span = words.iter().find(is_wrong).or(words.first()).map_or(program, |word| word.span);
    is_known.then(|| (span, why.trim_start_matches("error: ").to_owned(), help))
}

/// A command of drainit in a probe or a hook.
pub(super) struct OwnCommand {
    /// `probe` or `hook`.
    what: &'static str,
    pub(super) is_pre_stop: bool,
    /// The place of the program `drainit`.
    pub(super) span: Span,
    /// The subcommand and its options.
    words: Vec<Word>,
}

impl OwnCommand {
    /// The subcommand; empty if there is none.
    pub(super) fn name(&self) -> &str {
        self.words.first().map(|word| word.text.as_str()).unwrap_or_default()
    }

    /// Whether the command sends a request to a control socket.
    pub(super) fn asks(&self) -> bool {
        self.name() == "drain" || self.name() == "health" && !self.has("--url")
    }

    /// Whether the command has an option of this name, also as `--name=VALUE`.
    pub(super) fn has(&self, option: &str) -> bool {
        self.words.iter().any(|word| word.text.split('=').next() == Some(option))
    }
}

/// The commands of drainit in the probes and hooks of a container.
pub(super) fn own_commands(container: &Container) -> Vec<OwnCommand> {
    let mut own = Vec::new();
    for hook in HOOKS {
        for words in commands(words(&container.node, hook)) {
            let after_exec = usize::from(words.first().is_some_and(|word| word.text == "exec"));
            let is_started = |at: usize| at == after_exec || has_subcommand(&words, at);
            let is_own = |at: &usize| is_drainit(&words[*at].text) && is_started(*at);
            let Some(at) = (0..words.len()).find(is_own) else { continue };
            let what = if hook[0] == "lifecycle" { "hook" } else { "probe" };
            let (span, words) = (words[at].span, words[at + 1..].to_vec());
            own.push(OwnCommand { what, is_pre_stop: hook[1] == "preStop", span, words });
        }
    }
    own
}

/// Reports a probe or hook whose command always fails because drainit would refuse it. Also reports
/// a probe or a `postStart` hook that drains.
pub(super) fn check(problems: &mut Problems, container: &Container) {
    for command in own_commands(container) {
        let verb = if command.is_pre_stop { "drain" } else { "health" };
        let usage = format!("write `[drainit, {verb}]`");
        if let Some((span, message, help)) = refused(command.span, &command.words, &usage) {
            problems.error(Rule::RefusedCommand, span, message).shared().help(help);
        } else if !command.is_pre_stop && command.name() == "drain" {
            let what = command.what;
            let message =
                format!("this {what} drains the pod when it first runs, and nothing undoes it");
            problems
                .error(Rule::ProbeDrains, command.span, message)
                .shared()
                .help("move it to `preStop`");
        }
    }
}

/// Finds commands that have the program and its arguments in one item, as in `[drainit drain]`.
pub(super) fn one_words(container: &Container) -> impl Iterator<Item = Found> {
    let places = [&["command"][..]].into_iter().chain(HOOKS);
    places.filter_map(|path| one_word(&container.node, path)).map(|word| {
        let message = format!("`{}` is one word: no program has this name", word.text);
        let items = word.text.split_whitespace().collect::<Vec<_>>().join(", ");
        (word.span, message, format!("write `[{items}]`"))
    })
}

/// Reports a probe or hook whose program cannot run in the image, as `why` says. Kubernetes starts the container in
/// spite of such a command.
pub(super) fn missing(
    problems: &mut Problems,
    container: &Container,
    why: impl Fn(&str) -> Option<String>,
) {
    for path in HOOKS {
        let command = words(&container.node, path);
        let of_script = script(&command).map(|it| at(script::programs(&it.text), it.span));
        let mut programs = command.iter().take(1).cloned().chain(of_script.unwrap_or_default());
        let found = |program: Word| Some((program.span, why(&program.text)?));
        let Some((span, why)) = programs.find_map(found) else { continue };
        let what = if path[0] == "lifecycle" { "hook" } else { "probe" };
        let help = "add the program to the image, or write a command that needs no other program, such as `[drainit, health]`";
        problems
            .error(Rule::ImageProgram, span, format!("this {what} cannot run: {why}"))
            .help(help);
    }
}

/// Checks that drainit has the socket to which its own command sends its request. If the containers
/// of the pod share their PID namespace, a command may find the sockets of several drainits, which
/// is reported once.
pub(super) fn sockets(ctx: &mut Context<'_>) {
    let (pod, control) = (&ctx.workload.pod, &ctx.loaded.config.control);
    let own = &control.socket;
    let has_several = containers(pod).iter().filter(|it| has_socket(it)).count() > 1;
    let mut is_unclear =
        has_several && is_true(pod, &["shareProcessNamespace"]) && *own == ControlSocket::Private;
    for command in own_commands(ctx.container).into_iter().filter(OwnCommand::asks) {
        let mut words = command.words.iter().map(|word| &*word.text);
        let path = match words.find(|word| word.starts_with("--socket")) {
            Some("--socket") => words.next(),
            found => found.and_then(|word| word.strip_prefix("--socket=")),
        };
        let name = command.name();
        let has_port = name == "health" && control.listen.is_some();
        let (why, help) = match path {
            Some(path) if own.path() != Some(Path::new(path)) => (
                format!("gets no answer at {path}"),
                format!("set `control: {{socket: {path}}}` in the config, or write its socket here"),
            ),
            None if *own == ControlSocket::Off && !has_port => (
                "gets no answer from a drainit with `control: {socket: off}`".to_owned(),
                "remove `socket: off` from the config".to_owned(),
            ),
            None if !has_port && !command.has("--socket") && mem::take(&mut is_unclear) => (
                "does not know whom to ask: the pod shares its PID namespace, and has several drainits".to_owned(),
                "write another `control: {socket: PATH}` into each config, or remove `shareProcessNamespace`".to_owned(),
            ),
            _ => continue,
        };
        ctx.error(Rule::NoControlSocket, command.span, format!("`drainit {name}` {why}"), help);
    }
}

/// Whether the container runs a drainit with a control socket: `run`, or `exec` with a drain.
pub(super) fn has_socket(container: &Container) -> bool {
    let EntryPoint::Drainit(words) = entry(container) else { return false };
    let variables = items(&container.node, &["env"]).iter().filter_map(|it| text(it, &["name"]));
    let is_drain =
        |it: Word| it.text.starts_with("--drain-envoy") || it.text == "DRAINIT_DRAIN_ENVOY";
    let is = |name| words.first().is_some_and(|it| it.text == name);
    is("run") || is("exec") && words.iter().cloned().chain(variables).any(is_drain)
}
