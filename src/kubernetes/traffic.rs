//! Checks where the traffic of the pod comes from and goes to: a load balancer that sends to whole
//! nodes, and an application that goes out through a sidecar.

use crate::config::DrainMethod;
use crate::kubernetes::{Context, Severity};

pub(super) fn check(ctx: &mut Context<'_>) {
    local(ctx);
    egress(ctx);
}

/// With `externalTrafficPolicy: Local` the load balancer sends to the node until its own health
/// check fails; kube-proxy passes that on to a terminating pod only if it is ready (KEP-1669).
fn local(ctx: &mut Context<'_>) {
    let shutdown = &ctx.loaded.config.shutdown;
    let Some(span) = ctx.workload.local.filter(|_| shutdown.unready_delay.is_zero()) else {
        return;
    };
    if ctx.loaded.config.processes.iter().all(|process| process.drain.is_none()) {
        return;
    }
    let message = "with `Local` the load balancer sends to a node until its own health check fails, and a pod that is not \
                   ready meanwhile loses that: drainit turns unready as soon as it is stopped";
    ctx.add(Severity::Warning, span, message).help(
        "set `shutdown: {unready_delay: 10s}` in the config, with the time that the load balancer's health check takes, and \
         a longer `time` of the drain",
    );
}

/// A sidecar's drain closes the egress of the application, too, unless it is told which way.
fn egress(ctx: &mut Context<'_>) {
    if !ctx.container.is_sidecar {
        return;
    }
    let mut processes = ctx.loaded.config.processes.iter();
    let undecided = processes.find(|process| {
        let method = process.drain.as_ref().map(|drain| &drain.method);
        matches!(method, Some(DrainMethod::Envoy { direction: None, .. }))
    });
    let Some(name) = undecided.map(|process| process.name.clone()) else { return };
    let message = format!(
        "the drain of `{name}` closes all of its listeners: if the application goes out through this sidecar, it is cut off \
         before it ends"
    );
    ctx.add(Severity::Warning, ctx.container.span, message).help(
        "set `direction: inbound` in its `drain.envoy`, or `direction: all` if nothing goes out through it",
    );
}
