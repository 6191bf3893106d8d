//! Finds the commands of a container, and checks those of drainit in its probes and hooks.

use crate::config::ControlSocket;
use crate::kubernetes::entry::{EntryPoint, at, entry, script};
use crate::kubernetes::manifest::{Container, Word, containers, is_drainit, items, text, words};
use crate::kubernetes::{Context, Severity};
use crate::language::diagnostics::problems::Problems;
use crate::language::script::{self, is_builtin};
use crate::language::span::Span;
use crate::types::suggest::nearest;

/// The subcommands of drainit.
pub const SUBCOMMANDS: [&str; 19] = [
    "run",
    "exec",
    "check",
    "plan",
    "drain",
    "shutdown",
    "health",
    "status",
    "stop",
    "start",
    "restart",
    "reload",
    "kill",
    "install",
    "import",
    "schema",
    "completions",
    "man",
    "help",
];

/// Where a container has commands, except `command` and `args`.
pub(super) const HOOKS: [&[&str]; 5] = [
    &["livenessProbe", "exec", "command"],
    &["readinessProbe", "exec", "command"],
    &["startupProbe", "exec", "command"],
    &["lifecycle", "postStart", "exec", "command"],
    &["lifecycle", "preStop", "exec", "command"],
];

/// The options and words of a subcommand.
pub struct Usage {
    pub name: &'static str,
    /// The name of each option, and whether the option has a value.
    pub options: &'static [(&'static str, bool)],
    /// The largest number of words that the subcommand takes, not counting its options.
    pub words: usize,
}

/// The subcommands of init containers, probes and hooks.
pub const USAGES: [Usage; 3] = [
    Usage { name: "install", options: &[("--force", false)], words: 1 },
    Usage {
        name: "health",
        options: &[
            ("-c", true),
            ("--config", true),
            ("--socket", true),
            ("--live", false),
            ("--url", true),
            ("--timeout", true),
            ("--wait", true),
        ],
        words: 0,
    },
    Usage {
        name: "drain",
        options: &[("-c", true), ("--config", true), ("--socket", true), ("--no-wait", false)],
        words: 0,
    },
];
/// The options that drainit itself and every subcommand have.
pub const HELP: [&str; 4] = ["-h", "--help", "-V", "--version"];

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
    let is_it = |next: &Word| SUBCOMMANDS.contains(&&*next.text);
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
    let found = |span, message: String, meant: Option<&str>| {
        let meant = meant.map(|known| format!("did you mean `{known}`?"));
        Some((span, message, meant.unwrap_or_else(|| usage.to_owned())))
    };
    let Some((name, rest)) = words.split_first() else {
        return found(program, "drainit has no subcommand, and fails".to_owned(), None);
    };
    if name.text.starts_with('$') || HELP.contains(&&*name.text) {
        return None;
    }
    if name.text.starts_with('-') {
        let message = format!("`{}` stands before the subcommand", name.text);
        return found(name.span, message, None);
    }
    if !SUBCOMMANDS.contains(&&*name.text) {
        let message = format!("drainit has no subcommand `{}`", name.text);
        return found(name.span, message, nearest(&name.text, SUBCOMMANDS));
    }
    let Usage { options, words: most, .. } = USAGES.into_iter().find(|it| it.name == name.text)?;
    let (mut rest, mut others) = (rest.iter(), 0);
    while let Some(word) = rest.next() {
        let text = &*word.text;
        if text == "--" {
            continue;
        }
        if text.contains('$') || HELP.contains(&text) {
            return None;
        }
        let option = text.split('=').next().unwrap_or_default();
        let is_it = |(it, has_value): &&(&str, bool)| {
            *it == option || *has_value && !it.starts_with("--") && text.starts_with(it)
        };
        match options.iter().find(is_it) {
            Some((it, true)) if *it == text => drop(rest.next()),
            Some(_) => {}
            None if text.starts_with('-') => {
                let message = format!("`drainit {}` has no option `{option}`", name.text);
                return found(word.span, message, nearest(option, options.iter().map(|it| it.0)));
            }
            None => others += 1,
        }
        if others > most {
            let message = format!("`drainit {}` takes no further word `{text}`", name.text);
            return Some((word.span, message, "remove it".to_owned()));
        }
    }
    None
}

/// A command of drainit in a probe or a hook.
pub(super) struct OwnCommand {
    /// Whether the command belongs to a probe, and not to a hook.
    is_probe: bool,
    pub(super) is_pre_stop: bool,
    /// The program `drainit`.
    pub(super) program: Word,
    /// The subcommand and its options.
    pub(super) words: Vec<Word>,
}

impl OwnCommand {
    /// The subcommand; empty if there is none.
    pub(super) fn name(&self) -> &str {
        self.words.first().map(|word| word.text.as_str()).unwrap_or_default()
    }

    /// Whether the command has an option of this name, also as `--name=VALUE`.
    pub(super) fn has(&self, option: &str) -> bool {
        self.words.iter().any(|word| word.text.split('=').next() == Some(option))
    }
}

/// The commands of drainit in the probes and hooks of a container.
pub(super) fn own_commands(container: &Container) -> Vec<OwnCommand> {
    let all = HOOKS.iter().flat_map(|hook| {
        commands(words(&container.node, hook)).into_iter().map(move |words| (hook, words))
    });
    let own = all.filter_map(|(hook, words)| {
        let after_exec = usize::from(words.first().is_some_and(|word| word.text == "exec"));
        let is_started = |at: usize| at == after_exec || has_subcommand(&words, at);
        let mut all = words.iter().enumerate();
        let (at, program) = all.find(|(at, word)| is_drainit(&word.text) && is_started(*at))?;
        let (is_probe, is_pre_stop) = (hook[0] != "lifecycle", hook[1] == "preStop");
        let words = words[at + 1..].to_vec();
        Some(OwnCommand { is_probe, is_pre_stop, program: program.clone(), words })
    });
    own.collect()
}

/// Reports a probe or hook whose command always fails because drainit would refuse it. Also reports
/// a probe or a `postStart` hook that drains, and other commands that do not belong in a probe or
/// hook.
pub(super) fn check(problems: &mut Problems, container: &Container) {
    for command in own_commands(container) {
        let usage = match command.is_pre_stop {
            true => "write `[drainit, drain]`",
            false => "write `[drainit, health]`",
        };
        if let Some((span, message, help)) = refused(command.program.span, &command.words, usage) {
            problems.error(span, message).shared().help(help);
        } else if !command.is_pre_stop && command.name() == "drain" {
            let (what, help) = match command.is_probe {
                true => ("probe", usage),
                false => ("hook", "move it to `preStop`"),
            };
            let message = format!(
                "this {what} drains the pod when it first runs, and nothing undoes the drain"
            );
            problems.error(command.program.span, message).shared().help(help);
        } else if SUBCOMMANDS.contains(&command.name())
            && (matches!(command.name(), "run" | "shutdown")
                || command.is_probe && !matches!(command.name(), "health" | "exec"))
        {
            let what = if command.is_probe { "probe" } else { "hook" };
            let message = format!("`drainit {}` is no command for a {what}", command.name());
            problems.warning(command.program.span, message).shared().help(usage);
        }
    }
}

/// If the containers of the pod share their PID namespace, a command may find the sockets of
/// several drainits. Reports such a command.
pub(super) fn ambiguous(ctx: &mut Context<'_>) {
    let pod = &ctx.workload.pod;
    let is_shared = text(pod, &["shareProcessNamespace"]).is_some_and(|it| it.text == "true");
    let control = &ctx.loaded.config.control;
    let is_listening = control.listen.is_some();
    if !is_shared || control.socket != ControlSocket::Private {
        return;
    }
    if containers(pod).iter().filter(|container| has_socket(container)).count() < 2 {
        return;
    }
    let asks = |command: &OwnCommand| match command.name() {
        "health" => !is_listening && !command.has("--socket") && !command.has("--url"),
        "drain" => !command.has("--socket"),
        _ => false,
    };
    let Some(command) = own_commands(ctx.container).into_iter().find(asks) else { return };
    let message = format!(
        "`drainit {}` does not know whom to ask: the pod shares its PID namespace, and has several drainits",
        command.name()
    );
    let help = match ctx.is_exec {
        true => "remove `shareProcessNamespace`",
        false => {
            "write another `control: {socket: PATH}` into each config, or remove `shareProcessNamespace`"
        }
    };
    ctx.add(Severity::Error, command.program.span, message).help(help);
}

/// Whether the container runs a drainit with a control socket: `run`, or `exec` with a drain.
pub(super) fn has_socket(container: &Container) -> bool {
    let EntryPoint::Drainit(words) = entry(container) else { return false };
    let is_drain = |word: &Word| word.text.starts_with("--drain-envoy");
    let is_variable = |it| text(it, &["name"]).is_some_and(|it| it.text == "DRAINIT_DRAIN_ENVOY");
    match words.first().map(|word| word.text.as_str()) {
        Some("run") => true,
        Some("exec") => {
            let mut variables = items(&container.node, &["env"]).iter();
            words.iter().any(is_drain) || variables.any(|it| is_variable(it))
        }
        _ => false,
    }
}

/// Reports the first command that asks the container's `drainit exec`, which has no drain and
/// therefore no control socket. Returns whether there is such a command.
pub(super) fn unanswered(problems: &mut Problems, container: &Container) -> bool {
    for command in own_commands(container) {
        let help = match command.name() {
            "health" if command.has("--url") => continue,
            "health" => {
                "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`, or let the probe ask the program itself"
            }
            "drain" => {
                "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`, or remove the hook"
            }
            _ => continue,
        };
        let message = format!(
            "`drainit {}` gets no answer: a `drainit exec` without a drain has no control socket",
            command.name()
        );
        problems.error(command.program.span, message).help(help);
        return true;
    }
    false
}
