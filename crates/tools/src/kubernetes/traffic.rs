//! Checks how traffic reaches and leaves the pod: whether nodes or a load balancer still send
//! requests to it, and whether an application sends its own requests through a sidecar.

use std::sync::Arc;

use crate::config::{DrainMethod, Process};
use crate::kubernetes::manifest::{items, text};
use crate::kubernetes::pre_stop::PreStop;
use crate::kubernetes::{Context, Severity};

pub(super) fn check(ctx: &mut Context<'_>, before: &PreStop) {
    local(ctx);
    egress(ctx);
    if before.span.is_none() {
        endpoint(ctx);
    }
}

/// Warns of a process that stops as soon as it is drained. The nodes still send it new connections
/// until they learn that the pod is deleted, about a second later. For an Envoy, `min` has a
/// default, so it serves for that time. The other kinds of drain have no default `min`.
fn endpoint(ctx: &mut Context<'_>) {
    let config = &ctx.loaded.config;
    let delay = config.shutdown.readiness_delay;
    let control = config.control.listen.map(|listen| listen.port().to_string());
    let is_served = items(&ctx.container.node, &["ports"])
        .iter()
        .any(|port| text(port, &["containerPort"]).is_some_and(|port| Some(port.text) != control));
    let stops_early = |process: &&Arc<Process>| {
        process.drain.as_ref().is_some_and(|drain| drain.min.is_zero() && !drain.time.is_zero())
    };
    let Some(process) = config.processes.iter().find(stops_early) else { return };
    if !is_served || !delay.is_zero() {
        return;
    }
    let message = format!(
        "`{}` is stopped as soon as it is drained, and loses what arrives before its endpoint is removed",
        process.name
    );
    ctx.add(Severity::Warning, ctx.container.span, message)
        .help("set `min: 5s` in its `drain`, or `shutdown: {readiness_delay: 5s}`");
}

/// Warns if a Service with `externalTrafficPolicy: Local` selects the pod. Its load balancer sends
/// requests to a node until the load balancer's own health check of the node fails. kube-proxy
/// passes these requests on to a terminating pod only while that pod is ready (KEP-1669).
fn local(ctx: &mut Context<'_>) {
    let shutdown = &ctx.loaded.config.shutdown;
    let Some(span) = ctx.workload.local.filter(|_| shutdown.unready_delay.is_zero()) else {
        return;
    };
    if ctx.loaded.config.processes.iter().all(|process| process.drain.is_none()) {
        return;
    }
    let message = "with `Local` the load balancer sends requests to a node until its own health \
                   check fails, and a pod that is not ready loses them: drainit turns unready as \
                   soon as it is stopped";
    ctx.add(Severity::Warning, span, message).help(
        "set `shutdown: {unready_delay: 10s}` in the config, with the time that the load balancer's health check takes, and \
         a longer `time` of the drain",
    );
}

/// Warns of a sidecar whose drain has no `direction`. Such a drain also closes the listeners
/// through which the application sends its own requests.
fn egress(ctx: &mut Context<'_>) {
    let is_undecided = |process: &&Arc<Process>| {
        let method = process.drain.as_ref().map(|drain| &drain.method);
        matches!(method, Some(DrainMethod::Envoy(envoy)) if envoy.direction.is_none())
    };
    let undecided = ctx.loaded.config.processes.iter().find(is_undecided);
    let Some(name) = undecided.filter(|_| ctx.container.is_sidecar).map(|it| &it.name) else {
        return;
    };
    let message = format!(
        "the drain of `{name}` closes all of its listeners: if the application goes out through this sidecar, it is cut off \
         before it ends"
    );
    ctx.add(Severity::Warning, ctx.container.span, message).help(
        "set `direction: inbound` in its `drain.envoy`, or `direction: all` if nothing goes out through it",
    );
}
