//! Checks the termination of a container: `lifecycle` with the stop signal and the `preStop` hook,
//! which runs before drainit gets the stop signal, `terminationGracePeriodSeconds` of the pod, and
//! the variable with which the manifest passes this time to the config.

use std::time::Duration;

use crate::keys::{Shutdown, values};
use crate::kubernetes::Context;
use crate::kubernetes::commands::{PRE_STOP, commands, is_subcommand, own_commands};
use crate::kubernetes::entry::script;
use crate::kubernetes::manifest::{
    Container, Word, at, base, is_drainit, key, one_word, seconds, text, words,
};
use crate::language::diagnostics::rule::Rule;
use crate::language::script;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};
use crate::types::{Signal, human};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreStop {
    pub(super) span: Option<Span>,
    /// How long the hook sleeps before drainit gets the stop signal.
    pub(super) sleeps: Duration,
    /// Whether the hook runs `drainit drain`. If it does, drainit's own time limit begins with the
    /// hook, so the hook's time is not subtracted from the grace period.
    pub(super) drains: bool,
    /// Whether the hook also does something that takes an unknown time.
    pub(super) is_unknown: bool,
    /// How long the hook certainly holds back the stop signal; `None` if that is not known.
    pub(super) waits: Option<Duration>,
}

pub(super) const NAME: &str = "terminationGracePeriodSeconds";

/// The grace period of a pod.
pub(super) fn grace_of(pod: &Node) -> Duration {
    seconds(pod, &[NAME]).map_or(Shutdown::default().grace_period, |(given, _)| given)
}

/// Reads the hook of a container.
pub(super) fn pre_stop(container: &Container) -> PreStop {
    let hook = get(&container.node, &["lifecycle", "preStop"]);
    let drains = own_commands(container).iter().any(|it| it.is_pre_stop && it.name() == "drain");
    let slept = seconds(&container.node, &["lifecycle", "preStop", "sleep", "seconds"]);
    let command = words(&container.node, PRE_STOP);
    // The time of each step; `None` if it is not known.
    let (span, times): (_, Vec<_>) = match (slept, command.first().map(|first| first.span)) {
        (Some((time, span)), _) => (Some(span), vec![Some(time)]),
        (None, None) => (hook.map(|hook| hook.span), hook.iter().map(|_| None).collect()),
        (None, first) => {
            (first, commands(command.clone()).iter().map(|words| sleeps(words)).collect())
        }
    };
    let is_unknown = times.contains(&None);
    let sleeps = times.into_iter().flatten().fold(Duration::ZERO, Duration::saturating_add);
    let waits = match slept {
        Some((time, _)) => Some(time),
        // No program has a name such as `sleep 10`, so the hook fails.
        None if one_word(&container.node, PRE_STOP).is_some() => Some(Duration::ZERO),
        None if is_unknown || drains => None,
        None => waits(&command),
    };
    PreStop { span, sleeps, drains, is_unknown, waits }
}

/// How long a command of the hook certainly waits, if the time of each of its parts is known. A
/// `sleep` behind `||` may not run, and nobody waits for one in the background.
fn waits(command: &[Word]) -> Option<Duration> {
    let Some(script) = script(command) else { return sleeps(command) };
    let (mut sum, mut before) = (Duration::ZERO, "");
    for one in script::commands(&script.text) {
        let is_exit = one.words.first().is_some_and(|word| word == "exit");
        let time = sleeps(&at(one.words, script.span))?;
        if is_exit {
            break;
        }
        match (before, one.end) {
            _ if time.is_zero() => {}
            (_, "&") => {}
            ("||" | "|", _) | (_, "|" | "(") => return None,
            _ if one.is_copy => return None,
            _ => sum = sum.saturating_add(time),
        }
        before = one.end;
    }
    Some(sum)
}

/// Checks `lifecycle.stopSignal`, which the kubelet sends in place of the image's STOPSIGNAL. If
/// there is neither, the kubelet sends SIGTERM.
pub(super) fn stop_signal(ctx: &mut Context<'_>) {
    let signals = &ctx.loaded.config.shutdown.signals;
    let given = text(&ctx.container.node, &["lifecycle", "stopSignal"]);
    let is_stop = |word: &Word| Signal::parse(&word.text).is_some_and(|it| signals.contains(&it));
    let list = ctx.of_exec_or("`--stop-signal`", "the config's `shutdown.signals`");
    let help = format!("write one of {list} as `lifecycle.stopSignal`, or add this one there");
    if let Some(word) = given.as_ref().filter(|word| !is_stop(word)) {
        ctx.error(
            Rule::StopSignalIgnored,
            word.span,
            format!("`{}` does not stop drainit", word.text),
            help,
        );
    } else if given.is_none() && !signals.contains(&Signal::TERM) {
        let message = "the kubelet sends SIGTERM, unless the image has another STOPSIGNAL, and SIGTERM does not stop drainit";
        ctx.warning(Rule::StopSignalIgnored, ctx.container.span, message, help);
    }
}

/// How long a command of the hook takes; `None` if that is not known. [`pre_stop`] finds
/// `drainit drain`, and `commands::check` reports a misspelt command.
fn sleeps(words: &[Word]) -> Option<Duration> {
    let words: Vec<_> = words.iter().map(|word| &*word.text).collect();
    let is_other = |it: &&str| *it != "drain" && is_subcommand(it);
    let is_short = match words.strip_prefix(&["exec"]).unwrap_or(&words) {
        [program, time] if base(program) == "sleep" => return values::duration(time).ok(),
        [program, rest @ ..] if is_drainit(program) => !rest.iter().any(is_other),
        [program, ..] => matches!(base(program), "true" | ":" | "echo" | "exit"),
        [] => true,
    };
    is_short.then_some(Duration::ZERO)
}

/// Warns of a sidecar that has no `preStop` hook with `drainit drain`. A sidecar gets SIGTERM only
/// after the main containers have exited, but its `preStop` hook runs at once.
pub(super) fn of_sidecar(ctx: &mut Context<'_>, before: &PreStop) {
    if ctx.container.is_sidecar && !before.drains {
        let span = key(&ctx.container.node, "lifecycle").unwrap_or(ctx.container.span);
        let message = "a sidecar gets its stop signal only after the main containers have exited, and drainit counts `grace_period` from then";
        let help = "add `lifecycle: {preStop: {exec: {command: [drainit, drain]}}}`: then the drain, and drainit's count, begin with the termination of the pod";
        ctx.warning(Rule::SidecarStop, span, message, help);
    }
}

/// Compares the plan of the shutdown with the time that the kubelet gives the pod.
pub(super) fn grace_period(ctx: &mut Context<'_>, before: &PreStop) {
    let (pod, defaults) = (&ctx.workload.pod, Shutdown::default());
    let given = grace_of(pod);
    let span = seconds(pod, &[NAME]).map(|(_, span)| span).or_else(|| key(pod, NAME));
    let span = span.unwrap_or(ctx.container.span);
    let (grace, window, total) = (ctx.plan.grace_period, ctx.plan.window(), ctx.plan.needed());
    let is_close = given.saturating_sub(window) <= defaults.reserve;
    if let (Some(span), true) = (before.span, before.is_unknown && is_close) {
        let message = "the grace period includes the time of this hook, which is not known here";
        let help = "remove it if drainit does the same; else add its time to `shutdown.reserve`";
        ctx.warning(Rule::UnknownHookTime, span, message, help);
    }
    // Even a value that is not known does not fit into a time this short.
    if is_unknown(ctx) && given > defaults.reserve {
        return;
    }
    let by_default = if key(pod, NAME).is_none() { " by default" } else { "" };
    let needed = rounded_up(before.sleeps.saturating_add(grace));
    let raise = format!("write `{NAME}: {needed}`");
    if before.sleeps.saturating_add(total).max(window) > given {
        let [sleeps, killed, lasts] = [before.sleeps, given, total].map(human);
        let takes = match window > given {
            true => format!("deadline is {} after the stop signal", human(window)),
            false => format!("shutdown takes up to {lasts} after a preStop hook of {sleeps}"),
        };
        let message =
            format!("drainit's {takes}, and the kubelet kills after {killed}{by_default}");
        let is_hook = !before.sleeps.is_zero() && total.max(window) <= given;
        let removal = if is_hook { "remove the hook, or " } else { "" };
        let help = format!("{removal}{raise}, or a shorter grace period for drainit");
        ctx.error(
            Rule::GracePeriodTooShort,
            span,
            message,
            format!("{help}; `drainit plan` shows what takes how long"),
        );
    } else if grace != given && needed != given.as_secs() {
        let left = given.saturating_sub(before.sleeps).as_secs();
        let variable = known(ctx);
        let help = match (variable, ctx.loaded.grace_variables.first()) {
            _ if needed > given.as_secs() => raise,
            _ if ctx.is_exec => {
                format!("write `--grace-period {left}s`, or `DRAINIT_GRACE_PERIOD: {left}s`")
            }
            (Some(_), _) => format!("write `value: \"{left}\"`"),
            (None, Some(name)) => {
                format!("write `{{name: {name}, value: \"{left}\"}}` under `env`")
            }
            (None, None) => format!(
                "write `grace_period: ${{TERMINATION_GRACE_PERIOD_SECONDS:-30}}` in the config, and pass that variable with the value of `{NAME}`"
            ),
        };
        let what = ctx.of_exec_or("grace period of `drainit exec`", "config's `grace_period`");
        let (grace, given) = (human(grace), human(given));
        let message = format!("the {what} is {grace}, and {NAME} is {given}{by_default}");
        ctx.warning(Rule::GracePeriodMismatch, variable.unwrap_or(span), message, help);
    }
}

/// Rounds up to whole seconds, as a manifest has them.
pub(super) fn rounded_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The place of the variable from which the config has its whole `grace_period`.
fn known(ctx: &Context<'_>) -> Option<Span> {
    let mut values = ctx.loaded.grace_variables.iter().filter_map(|name| ctx.env.get(name));
    let is_whole = |text: &String| values::duration(text) == Ok(ctx.plan.grace_period);
    values.find(|value| value.text.as_ref().is_some_and(is_whole)).map(|value| value.span)
}

/// Whether the config's `grace_period` uses a variable whose value is not known. Warns of one that
/// `envFrom` may bring; `valueFrom` is reported elsewhere.
fn is_unknown(ctx: &mut Context<'_>) -> bool {
    let is_open = |name: &&String| {
        ctx.env.get(name).map_or(ctx.env.may_bring(name), |value| value.text.is_none())
    };
    let open = ctx.loaded.grace_variables.iter().find(is_open).filter(|_| known(ctx).is_none());
    if let Some(name) = open.filter(|name| ctx.env.may_bring(name)) {
        let message = format!("`envFrom` may bring `{name}`, whose value is not known here");
        let help = format!("give it for this check: `--env {name}=VALUE`");
        ctx.warning(Rule::UnknownValue, ctx.container.span, message, help);
    }
    open.is_some()
}
