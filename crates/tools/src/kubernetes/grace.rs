//! Checks `terminationGracePeriodSeconds` of the pod, and the variable with which the manifest
//! passes this time to the config.

use std::time::Duration;

use crate::config::Shutdown;
use crate::kubernetes::env::Value;
use crate::kubernetes::manifest::{Word, key, seconds};
use crate::kubernetes::pre_stop::{PreStop, sidecar};
use crate::kubernetes::{Context, Severity};
use crate::load::values;
use crate::types::human;

const NAME: &str = "terminationGracePeriodSeconds";

/// Compares the plan of the shutdown with the time that the kubelet gives the pod.
pub(super) fn check(ctx: &mut Context<'_>, before: &PreStop) {
    let pod = std::rc::Rc::clone(&ctx.workload.pod);
    let (given, span) = match seconds(&pod, &[NAME]) {
        Some((given, span)) => (given, span),
        None => (Shutdown::default().grace_period, key(&pod, NAME).unwrap_or(ctx.container.span)),
    };
    sidecar(ctx, before);
    let grace = ctx.plan.grace_period;
    let total = ctx.plan.longest();
    let window = ctx.plan.window();
    let fits = before.sleeps.saturating_add(total).max(window) <= given;
    let severity = if fits { Severity::Warning } else { Severity::Error };
    let by_default = if key(&pod, NAME).is_none() { " by default" } else { "" };
    let is_reported = variable(ctx, given, by_default, before, severity);
    let hook = match before.sleeps.is_zero() {
        true => String::new(),
        false => format!("after a preStop hook of {} ", human(before.sleeps)),
    };
    let needed = before.sleeps.saturating_add(grace);
    let needed = needed.as_secs() + u64::from(needed.subsec_nanos() > 0);
    if !fits && !is_reported {
        let takes = match window > given {
            true => format!("drainit's deadline is {} after the stop signal", human(window)),
            false => format!("{hook}the shutdown takes up to {}", human(total)),
        };
        let message = format!("{takes}, and the kubelet kills after {}", human(given));
        let help = match before.sleeps.is_zero() {
            true => format!("write `{NAME}: {needed}`, or a shorter `grace_period` in the config"),
            false => format!(
                "remove the hook, or write `{NAME}: {needed}` and leave the config's `grace_period` at {}",
                human(grace)
            ),
        };
        ctx.add(Severity::Error, span, message)
            .help(format!("{help}; `drainit plan` shows what takes how long"));
    } else if !is_reported && grace != given && needed != given.as_secs() {
        let message = format!(
            "the config's `grace_period` is {}, and {NAME} is {}{by_default}",
            human(grace),
            human(given)
        );
        ctx.add(Severity::Warning, span, message).help(format!(
            "write `grace_period: ${{TERMINATION_GRACE_PERIOD_SECONDS:-30}}` in the config, and pass that variable with the \
             value of `{NAME}`"
        ));
    }
    let slack = given.saturating_sub(window);
    if let (Some(span), true, true) =
        (before.span, before.is_unknown, slack <= Shutdown::default().reserve)
    {
        ctx.add(
            Severity::Warning,
            span,
            "the grace period includes the time of this hook, which is not known here",
        )
        .help("remove it if drainit does the same; else add its time to `shutdown.reserve`");
    }
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
    // One variable may be in the default of another, as in `${A:-${B}}`. If so, the first that is
    // set counts.
    let names = ctx.loaded.grace_variables.clone();
    let is_set = |word: &Word| !word.text.is_empty();
    let known =
        names.iter().find(|name| matches!(ctx.env.get(name), Value::Known(word) if is_set(word)));
    let name = known.unwrap_or(&first);
    // If a `preStop` hook sleeps, this much of the pod's time is left for drainit.
    let left = given.saturating_sub(before.sleeps).as_secs();
    let raised = ctx.plan.grace_period.saturating_add(before.sleeps).as_secs();
    let (message, span, help) = match ctx.env.get(name) {
        Value::Known(word) if is_set(word) => {
            let span = word.span;
            // The value of `grace_period` may contain other text beside the variable. The caller
            // then compares the whole value.
            let Ok(value) = values::duration(&word.text) else { return false };
            // The value may be shorter by the time for which a `preStop` hook sleeps.
            if value == given || value.saturating_add(before.sleeps) == given {
                return false;
            }
            let message =
                format!("`{name}` is {}, and {NAME} is {}{by_default}", human(value), human(given));
            let help = match value > given {
                true => format!(
                    "write `{NAME}: {raised}` if the pod needs that long, else `value: \"{left}\"` here"
                ),
                false => format!("write `value: \"{left}\"`"),
            };
            (message, span, help)
        }
        // This variable is reported elsewhere, because its value is unknown.
        Value::Unknown(_) => return true,
        // In a config, an empty variable counts as unset, so both are reported as missing.
        Value::Missing | Value::Known(_) => {
            let message = format!(
                "`{}` has no `{name}`, which the config's `grace_period` uses: a container cannot read {NAME}",
                ctx.container.name
            );
            let help = format!("write `{{name: {name}, value: \"{left}\"}}` under `env`");
            (message, ctx.container.span, help)
        }
    };
    ctx.add(severity, span, message).help(help);
    true
}
