//! Checks `terminationGracePeriodSeconds` of the pod, and the variable with which the manifest
//! passes this time to the config.

use std::rc::Rc;
use std::time::Duration;

use crate::keys::Shutdown;
use crate::keys::values;
use crate::kubernetes::Context;
use crate::kubernetes::manifest::{key, seconds};
use crate::kubernetes::pre_stop::PreStop;
use crate::language::span::Span;
use crate::types::human;

const NAME: &str = "terminationGracePeriodSeconds";

/// Compares the plan of the shutdown with the time that the kubelet gives the pod.
pub(super) fn check(ctx: &mut Context<'_>, before: &PreStop) {
    let pod = Rc::clone(&ctx.workload.pod);
    let defaults = Shutdown::default();
    let (given, span) = seconds(&pod, &[NAME])
        .unwrap_or_else(|| (defaults.grace_period, key(&pod, NAME).unwrap_or(ctx.container.span)));
    let (grace, window, total) = (ctx.plan.grace_period, ctx.plan.window(), ctx.plan.needed());
    let is_close = given.saturating_sub(window) <= defaults.reserve;
    if let (Some(span), true) = (before.span, before.is_unknown && is_close) {
        let message = "the grace period includes the time of this hook, which is not known here";
        let help = "remove it if drainit does the same; else add its time to `shutdown.reserve`";
        ctx.warning(span, message, help);
    }
    // Even a value that is not known does not fit into a time this short.
    if is_unknown(ctx) && given > defaults.reserve {
        return;
    }
    let by_default = if key(&pod, NAME).is_none() { " by default" } else { "" };
    let needed = rounded_up(before.sleeps.saturating_add(grace));
    let raise = format!("write `{NAME}: {needed}`");
    if before.sleeps.saturating_add(total).max(window) > given {
        let (sleeps, killed) = (human(before.sleeps), human(given));
        let takes = match window > given {
            true => format!("deadline is {} after the stop signal", human(window)),
            false => {
                format!("shutdown takes up to {} after a preStop hook of {sleeps}", human(total))
            }
        };
        let message =
            format!("drainit's {takes}, and the kubelet kills after {killed}{by_default}");
        let is_hook = !before.sleeps.is_zero() && total.max(window) <= given;
        let removal = if is_hook { "remove the hook, or " } else { "" };
        let help = format!("{removal}{raise}, or a shorter grace period for drainit");
        ctx.error(span, message, format!("{help}; `drainit plan` shows what takes how long"));
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
        ctx.warning(variable.unwrap_or(span), message, help);
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
        ctx.warning(ctx.container.span, message, help);
    }
    open.is_some()
}
