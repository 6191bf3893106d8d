//! Checks `lifecycle` of a container: the stop signal, and the `preStop` hook, which runs before
//! drainit gets the stop signal.

use std::path::Path;
use std::time::Duration;

use crate::keys::ControlSocket;
use crate::keys::values;
use crate::kubernetes::Context;
use crate::kubernetes::commands::{OwnCommand, commands, is_subcommand, own_commands};
use crate::kubernetes::manifest::{Container, Word, base, is_drainit, key, seconds, text, words};
use crate::language::span::Span;
use crate::language::yaml::node::get;
use crate::types::Signal;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PreStop {
    pub(super) span: Option<Span>,
    /// How long the hook sleeps before drainit gets the stop signal.
    pub(super) sleeps: Duration,
    /// Whether the hook runs `drainit drain`. If it does, drainit's own time limit begins with the
    /// hook, so the hook's time is not subtracted from the grace period.
    pub(super) drains: bool,
    /// Whether the hook also does something that takes an unknown time.
    pub(super) is_unknown: bool,
}

/// The keys that lead to the command of the hook.
const COMMAND: [&str; 4] = ["lifecycle", "preStop", "exec", "command"];

/// Reads the hook of a container.
pub(super) fn read(container: &Container) -> PreStop {
    let hook = get(&container.node, &["lifecycle", "preStop"]);
    let drains = own_commands(container).iter().any(|it| it.is_pre_stop && it.name() == "drain");
    let mut found = PreStop { span: hook.map(|hook| hook.span), drains, ..PreStop::default() };
    let slept = seconds(&container.node, &["lifecycle", "preStop", "sleep", "seconds"]);
    let command = words(&container.node, &COMMAND);
    if let Some((time, span)) = slept {
        (found.span, found.sleeps) = (Some(span), time);
    } else if let Some(first) = command.first() {
        found.span = Some(first.span);
        for words in commands(command) {
            one_command(&words, &mut found);
        }
    } else {
        found.is_unknown = hook.is_some();
    }
    found
}

/// Checks that the stop signal stops drainit, that `drainit drain` finds the socket of drainit, and
/// that a sidecar has a hook that drains.
pub(super) fn check(ctx: &mut Context<'_>, before: &PreStop) {
    stop_signal(ctx);
    let has_port = ctx.loaded.config.control.listen.is_some();
    for command in own_commands(ctx.container) {
        match command.name() {
            "drain" => own_socket(ctx, &command, false),
            "health" if !command.has("--url") => own_socket(ctx, &command, has_port),
            _ => {}
        }
    }
    sidecar(ctx, before);
}

/// Checks `lifecycle.stopSignal`, which the kubelet sends in place of the image's STOPSIGNAL. If
/// there is neither, the kubelet sends SIGTERM.
fn stop_signal(ctx: &mut Context<'_>) {
    let signals = &ctx.loaded.config.shutdown.signals;
    let given = text(&ctx.container.node, &["lifecycle", "stopSignal"]);
    let is_stop = |word: &Word| Signal::parse(&word.text).is_some_and(|it| signals.contains(&it));
    let list = ctx.of_exec_or("`--stop-signal`", "the config's `shutdown.signals`");
    let help = format!("write one of {list} as `lifecycle.stopSignal`, or add this one there");
    if let Some(word) = given.as_ref().filter(|word| !is_stop(word)) {
        ctx.error(word.span, format!("`{}` does not stop drainit", word.text), help);
    } else if given.is_none() && !signals.contains(&Signal::TERM) {
        let message = "the kubelet sends SIGTERM, unless the image has another STOPSIGNAL, and SIGTERM does not stop drainit";
        ctx.warning(ctx.container.span, message, help);
    }
}

/// Reads one command of the hook.
fn one_command(words: &[Word], found: &mut PreStop) {
    let words: Vec<_> = words.iter().map(|word| &*word.text).collect();
    let is_other = |it: &&str| *it != "drain" && is_subcommand(it);
    match words.strip_prefix(&["exec"]).unwrap_or(&words) {
        [program, time] if base(program) == "sleep" => match values::duration(time) {
            Ok(time) => found.sleeps = found.sleeps.saturating_add(time),
            Err(_) => found.is_unknown = true,
        },
        // [`read`] finds `drainit drain`, and `commands::check` reports a misspelt command.
        [program, rest @ ..] if is_drainit(program) => {
            found.is_unknown |= rest.iter().any(is_other);
        }
        [program, ..] if !matches!(base(program), "true" | ":" | "echo" | "exit") => {
            found.is_unknown = true;
        }
        _ => {}
    }
}

/// Checks that drainit has the socket to which its own command sends its request. `has_port` says
/// whether the command can also ask the port of `control.listen`.
fn own_socket(ctx: &mut Context<'_>, command: &OwnCommand, has_port: bool) {
    let mut words = command.words.iter().map(|word| &*word.text);
    let path = match words.find(|word| word.starts_with("--socket")) {
        Some("--socket") => words.next(),
        found => found.and_then(|word| word.strip_prefix("--socket=")),
    };
    let own = &ctx.loaded.config.control.socket;
    let name = command.name();
    let (why, help) = match path {
        Some(path) if own.path() != Some(Path::new(path)) => (
            format!("at {path}"),
            format!("set `control: {{socket: {path}}}` in the config, or write its socket here"),
        ),
        None if *own == ControlSocket::Off && !has_port => (
            "from a drainit with `control: {socket: off}`".to_owned(),
            "remove `socket: off` from the config".to_owned(),
        ),
        _ => return,
    };
    ctx.error(command.program.span, format!("`drainit {name}` gets no answer {why}"), help);
}

/// Warns of a sidecar that has no `preStop` hook with `drainit drain`. A sidecar gets SIGTERM only
/// after the main containers have exited, but its `preStop` hook runs at once.
fn sidecar(ctx: &mut Context<'_>, before: &PreStop) {
    if ctx.container.is_sidecar && !before.drains {
        let span = key(&ctx.container.node, "lifecycle").unwrap_or(ctx.container.span);
        let message = "a sidecar gets its stop signal only after the main containers have exited, and drainit counts `grace_period` from then";
        let help = "add `lifecycle: {preStop: {exec: {command: [drainit, drain]}}}`: then the drain, and drainit's count, begin with the termination of the pod";
        ctx.warning(span, message, help);
    }
}
