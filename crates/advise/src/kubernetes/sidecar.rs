//! Checks a pod in which drainit and its processes are a native sidecar in front of an application.
//! Does the application wait for the sidecar at the start? Does the application serve while the
//! sidecar drains? Beside the container of a Job, does anything end drainit?

use std::time::Duration;

use crate::kubernetes::commands::{Found, has_socket};
use crate::kubernetes::entry::{EntryPoint, entry, names_drainit};
use crate::kubernetes::manifest::{
    Container, Word, command_line, containers, items, key, text, words,
};
use crate::kubernetes::termination::{pre_stop, rounded_up};
use crate::kubernetes::{Context, exec};
use crate::language::diagnostics::rule::Rule;
use crate::language::yaml::node::get;
use crate::types::human;

pub(super) fn check(ctx: &mut Context<'_>) {
    let all = containers(&ctx.workload.pod).into_iter();
    let main = Vec::from_iter(all.filter(|it| !it.is_sidecar));
    let is_end = |word: &Word| word.text.contains("shutdown");
    let is_job = |it: &Container| !names_drainit(it) && !command_line(it).0.iter().any(is_end);
    match (ctx.workload.is_job(), ctx.container.is_sidecar) {
        (true, false) if main.iter().any(is_job) && !ctx.plan.after_signal.steps.is_empty() => {
            let message = "the Job goes on as long as this container, which nothing ends";
            let help = "make it a native sidecar, or end it by `drainit shutdown --socket PATH` at the end of the job";
            return ctx.warning(Rule::NeverEnds, ctx.container.span, message, help);
        }
        (false, true) => {}
        _ => return,
    }
    start(ctx);
    let drain = ctx.plan.longest_drain();
    if drain.is_zero() || main.iter().any(names_drainit) {
        return;
    }
    stop(ctx, &main, drain);
    readiness(ctx, &main);
}

/// Warns of a sidecar for which the application does not wait. The kubelet starts the next
/// container when the `startupProbe` has succeeded and the `postStart` hook has ended. If the
/// sidecar has neither, the kubelet starts the next container as soon as the sidecar runs. A
/// `startupProbe` that only asks whether drainit lives succeeds at once, so it does not count.
fn start(ctx: &mut Context<'_>) {
    let node = &ctx.container.node;
    let path = text(node, &["startupProbe", "httpGet", "path"]);
    let command = words(node, &["startupProbe", "exec", "command"]).into_iter();
    let is_live = |word: Word| matches!(&*word.text, "/livez" | "--live");
    let waits =
        get(node, &["startupProbe"]).is_some() && !path.into_iter().chain(command).any(is_live);
    if !waits && get(node, &["lifecycle", "postStart"]).is_none() {
        let message = "without a `startupProbe` that asks for readiness, the application starts before this sidecar is ready";
        let help = "add `startupProbe: {exec: {command: [drainit, health]}, periodSeconds: 1, failureThreshold: 60}`";
        ctx.warning(Rule::SidecarStart, ctx.container.span, message, help);
    }
}

/// Warns of an application that ends while the sidecar drains, because the kubelet stops the main
/// containers as soon as the pod is deleted. There is no warning if the `preStop` hook of at least
/// one main container lasts as long as the drain, or for an unknown time. One such container is
/// enough, because only the author of the manifest knows which container the sidecar serves.
fn stop(ctx: &mut Context<'_>, main: &[Container], drain: Duration) {
    let hooks = main.iter().map(pre_stop);
    let longest = hooks.map(|it| if it.is_unknown || it.drains { drain } else { it.sleeps }).max();
    let longest = longest.filter(|it| *it < drain);
    let (Some(slept), Some(first)) = (longest, main.first()) else { return };
    let span = key(&first.node, "lifecycle").unwrap_or(first.span);
    let (app, own) = (&first.name, &ctx.container.name);
    let (after, lasts, time) = (human(slept), human(drain), rounded_up(drain));
    let what = if slept.is_zero() { "at once".to_owned() } else { format!("after {after}") };
    let message = format!(
        "`{app}` gets SIGTERM {what}, while the sidecar `{own}` may still send requests for {lasts}"
    );
    let help = format!("give it `lifecycle: {{preStop: {{sleep: {{seconds: {time}}}}}}}`");
    ctx.warning(Rule::AppEndsFirst, span, message, help);
}

/// Warns if no main container has a readiness probe. The pod is then ready when the sidecar is.
fn readiness(ctx: &mut Context<'_>, main: &[Container]) {
    let is_probed = |it: &Container| get(&it.node, &["readinessProbe"]).is_some();
    let Some(first) = main.first().filter(|_| !main.iter().any(is_probed)) else { return };
    let name = &first.name;
    let message = format!(
        "without a `readinessProbe` of `{name}`, the pod is ready before the application serves: requests fail in a rollout"
    );
    ctx.warning(
        Rule::NoReadinessProbe,
        first.span,
        message,
        "add a `readinessProbe` that asks the application",
    );
}

/// Reports an init container that serves, and so never ends. A `drainit run` in a container without
/// ports is not reported, because its config may have only oneshots.
pub(super) fn never_ends(init: &Container) -> Option<Found> {
    let EntryPoint::Drainit(words) = entry(init) else { return None };
    let is_exec = words.first().is_some_and(|first| first.text == "exec");
    let serves = has_socket(init) && (is_exec || !items(&init.node, &["ports"]).is_empty())
        || is_exec && exec::runs_envoy(&words);
    let message = format!("`{}` never ends: no further container of the pod starts", init.name);
    let help = "write `restartPolicy: Always`, which makes it a sidecar";
    (serves && !init.is_sidecar).then(|| (init.span, message, help.to_owned()))
}
