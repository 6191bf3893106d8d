//! Checks `terminationGracePeriodSeconds` of the pod, and the variable with which the manifest
//! passes this time to the config.

use std::time::Duration;

use crate::config::Shutdown;
use crate::keys::values;
use crate::kubernetes::env::PodValue;
use crate::kubernetes::manifest::{Word, key, seconds};
use crate::kubernetes::pre_stop::{PreStop, sidecar};
use crate::kubernetes::{Context, Severity};
use crate::language::span::Span;
use crate::types::human;

const NAME: &str = "terminationGracePeriodSeconds";

/// Compares the plan of the shutdown with the time that the kubelet gives the pod.
pub(super) fn check(ctx: &mut Context<'_>, before: &PreStop) {
    let pod = std::rc::Rc::clone(&ctx.workload.pod);
    let (given, span) = match seconds(&pod, &[NAME]) {
        Some((given, span)) => (given, span),
        None => (Shutdown::default().grace_period, key(&pod, NAME).unwrap_or(ctx.container.span)),
    };
    // With a short grace period, `exec` also has a shorter reserve.
    let least = if ctx.is_exec { Duration::ZERO } else { Shutdown::default().reserve };
    if given <= least {
        // A hook of unknown duration is reported at once. Otherwise, the user would first correct
        // the grace period, and only then see this second problem.
        unknown_hook(ctx, before);
        return too_short(ctx, given, span);
    }
    if ctx.is_partial {
        return;
    }
    sidecar(ctx, before);
    let grace = ctx.plan.grace_period;
    let total = ctx.plan.needed();
    let window = ctx.plan.window();
    let fits = before.sleeps.saturating_add(total).max(window) <= given;
    let severity = if fits { Severity::Warning } else { Severity::Error };
    let by_default = if key(&pod, NAME).is_none() { " by default" } else { "" };
    let is_reported = variable(ctx, given, by_default, before, severity);
    let hook = match before.sleeps.is_zero() {
        true => String::new(),
        false => format!("after a preStop hook of {} ", human(before.sleeps)),
    };
    let needed = rounded_up(before.sleeps.saturating_add(grace));
    if !fits && !is_reported {
        let takes = match window > given {
            true => format!("drainit's deadline is {} after the stop signal", human(window)),
            false => format!("{hook}the shutdown takes up to {}", human(total)),
        };
        let message = format!("{takes}, and the kubelet kills after {}", human(given));
        let help = match before.sleeps.is_zero() {
            true if ctx.is_exec => {
                format!(
                    "write `{NAME}: {needed}`, or a shorter `--grace-period` (`DRAINIT_GRACE_PERIOD`)"
                )
            }
            true => format!("write `{NAME}: {needed}`, or a shorter `grace_period` in the config"),
            false => {
                let fits_without = total.max(window) <= given;
                let removal = if fits_without { "remove the hook, or " } else { "" };
                format!(
                    "{removal}write `{NAME}: {needed}` and leave the config's `grace_period` at {}",
                    human(grace)
                )
            }
        };
        ctx.add(Severity::Error, span, message)
            .help(format!("{help}; `drainit plan` shows what takes how long"));
    } else if !is_reported && grace != given && needed != given.as_secs() {
        let what =
            ctx.of_exec_or("the grace period of `drainit exec`", "the config's `grace_period`");
        let message =
            format!("{what} is {}, and {NAME} is {}{by_default}", human(grace), human(given));
        let help = match ctx.is_exec {
            true => {
                let time = given.saturating_sub(before.sleeps).as_secs();
                format!("write `--grace-period {time}s`, or `DRAINIT_GRACE_PERIOD: {time}s`")
            }
            false => format!(
                "write `grace_period: ${{TERMINATION_GRACE_PERIOD_SECONDS:-30}}` in the config, and pass that variable with the \
                 value of `{NAME}`"
            ),
        };
        ctx.add(Severity::Warning, span, message).help(help);
    }
    if given.saturating_sub(window) <= Shutdown::default().reserve {
        unknown_hook(ctx, before);
    }
}

fn unknown_hook(ctx: &mut Context<'_>, before: &PreStop) {
    if let (Some(span), true) = (before.span, before.is_unknown) {
        let message = "the grace period includes the time of this hook, which is not known here";
        ctx.add(Severity::Warning, span, message)
            .help("remove it if drainit does the same; else add its time to `shutdown.reserve`");
    }
}

/// Rounds up to whole seconds, as a manifest has them.
pub(super) fn rounded_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The shortest time that the config accepts in this variable, among some usual times and the
/// config's own grace period. If the config accepts none of them, returns its own grace period.
fn accepted(ctx: &Context<'_>, name: &str) -> u64 {
    let default = rounded_up(ctx.plan.grace_period);
    let usual = [30, 60, 120, 300, 600, 1800, 3600].into_iter();
    let mut times: Vec<_> = usual.chain([default]).collect();
    times.sort_unstable();
    times.into_iter().find(|time| (ctx.accepts)(name, *time)).unwrap_or(default)
}

/// Reports a pod that is killed before drainit can stop anything.
fn too_short(ctx: &mut Context<'_>, given: Duration, span: Span) {
    let variables = ctx.loaded.grace_variables.first().cloned();
    let name = variables.unwrap_or_else(|| "TERMINATION_GRACE_PERIOD_SECONDS".to_owned());
    let time = match ctx.is_partial {
        true => Shutdown::default().grace_period.as_secs(),
        false if ctx.loaded.grace_variables.is_empty() => rounded_up(ctx.plan.grace_period),
        false => accepted(ctx, &name),
    };
    let message =
        format!("the kubelet kills the pod after {}: nothing is stopped in order", human(given));
    let passed = match ctx.loaded.grace_variables.is_empty() && !ctx.is_partial {
        true => String::new(),
        false => format!(", and pass the same value as `{name}`"),
    };
    ctx.add(Severity::Error, span, message).help(format!("write `{NAME}: {time}`{passed}"));
}

/// Checks the variables that the config's `grace_period` uses. Returns whether a problem is
/// reported.
fn variable(
    ctx: &mut Context<'_>,
    given: Duration,
    by_default: &str,
    before: &PreStop,
    severity: Severity,
) -> bool {
    let Some(first) = ctx.loaded.grace_variables.first().cloned() else { return false };
    // One variable may be in the default of another, as in `${A:-${B}}`. If so, the first variable
    // that is set counts.
    let names = ctx.loaded.grace_variables.clone();
    let is_set = |word: &Word| !word.text.is_empty();
    let known = names
        .iter()
        .find(|name| matches!(ctx.env.get(name), PodValue::Known(word) if is_set(word)));
    let name = known.unwrap_or(&first);
    // The time that is left for drainit if a `preStop` hook sleeps. This time is rounded down, and
    // the pod's time is rounded up, so that drainit's time fits into the pod's.
    let left = given.saturating_sub(before.sleeps).as_secs();
    let raised = rounded_up(ctx.plan.grace_period.saturating_add(before.sleeps));
    let (message, span, help) = match ctx.env.get(name) {
        PodValue::Known(word) if is_set(word) => {
            let span = word.span;
            // If the variable is only a part of `grace_period`, its value need not be a duration.
            // The caller then compares the whole `grace_period`.
            let Ok(value) = values::duration(&word.text) else { return false };
            // The value may be shorter than the pod's time, by the time for which a `preStop` hook
            // sleeps.
            let rest = given.saturating_sub(before.sleeps);
            if value == given
                || value <= rest && rest.saturating_sub(value) < Duration::from_secs(1)
            {
                return false;
            }
            let message =
                format!("`{name}` is {}, and {NAME} is {}{by_default}", human(value), human(given));
            let name = name.clone();
            let help = match value > given {
                true if !(ctx.accepts)(&name, left) => format!("write `{NAME}: {raised}`"),
                true => format!(
                    "write `{NAME}: {raised}` if the pod needs that long, else `value: \"{left}\"` here"
                ),
                false => format!("write `value: \"{left}\"`"),
            };
            (message, span, help)
        }
        // This variable is reported elsewhere, because its value is unknown.
        PodValue::Unknown(_) => return true,
        PodValue::Missing if ctx.env.may_bring(name) => {
            let message = format!("`envFrom` may bring `{name}`, whose value is not known here");
            let help = format!("give it for this check: `--env {name}=VALUE`");
            ctx.add(Severity::Warning, ctx.container.span, message).help(help);
            return true;
        }
        // In a config, an empty variable counts as unset, so it is reported as missing, too.
        PodValue::Missing | PodValue::Known(_) => {
            let message = format!(
                "`{}` has no `{name}`, which the config's `grace_period` uses: a container cannot read {NAME}",
                ctx.container.name
            );
            let under = |value: u64| format!("`{{name: {name}, value: \"{value}\"}}` under `env`");
            let help = match (ctx.accepts)(name, left) {
                true => format!("write {}", under(left)),
                false => {
                    let time = accepted(ctx, name);
                    let pod = rounded_up(before.sleeps.saturating_add(Duration::from_secs(time)));
                    format!("write `{NAME}: {pod}`, and {}", under(time))
                }
            };
            (message, ctx.container.span, help)
        }
    };
    ctx.add(severity, span, message).help(help);
    true
}
