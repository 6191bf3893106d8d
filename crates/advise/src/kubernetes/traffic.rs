//! Checks how traffic reaches and leaves the pod. Do nodes or a load balancer still send requests
//! to the pod? Does an application send its own requests through a sidecar?

use std::sync::Arc;

use crate::keys::{DrainMethod, Process};
use crate::kubernetes::Context;
use crate::kubernetes::manifest::{items, text};
use crate::kubernetes::probes::number;
use crate::kubernetes::termination::PreStop;
use crate::language::diagnostics::rule::Rule;

/// Warns of what stops before the pod's endpoint is removed: for about a second after the pod is
/// deleted, the nodes still send new connections. A process with `min: 0s` stops as soon as it is
/// drained, and one without a drain at once. There is no warning if the config says how the traffic
/// leaves, if a `preStop` hook comes before, or if the check of the config has already warned of a
/// process that listens.
pub(super) fn endpoint(ctx: &mut Context<'_>, before: &PreStop) {
    if before.span.is_some() || !is_served(ctx) {
        return;
    }
    let config = &ctx.loaded.config;
    let stops_early =
        |process: &&Arc<Process>| process.drained().is_some_and(|drain| drain.min.is_zero());
    let is_delayed = !config.shutdown.readiness_delay.is_zero();
    let (what, help) = match config.processes.iter().find(stops_early).filter(|_| !is_delayed) {
        Some(process) => (
            format!("`{}` is stopped as soon as it is drained, and loses", process.name),
            "set `min: 5s` in its `drain` (`DRAINIT_DRAIN_MIN`), or in a config `shutdown: {readiness_delay: 5s}`",
        ),
        None if ctx.loaded.says_how_traffic_leaves => return,
        None => (
            format!("the processes of `{}` are stopped at once, and lose", ctx.container.name),
            "write `shutdown: {readiness_delay: 5s}` in the config, or `drain: connections` for each server; `readiness_delay: 0s` if no requests arrive from outside",
        ),
    };
    let message = format!("{what} the requests that arrive before the pod's endpoint is removed");
    ctx.warning(Rule::UndrainedServer, ctx.container.span, message, help);
}

/// Whether the container has a port that serves requests: a port of the container or of a Service,
/// but not that of `control`.
fn is_served(ctx: &Context<'_>) -> bool {
    let (node, control) = (&ctx.container.node, ctx.loaded.config.control.listen);
    let ports = items(node, &["ports"]).iter().filter_map(|port| text(port, &["containerPort"]));
    let ports = ports.filter_map(|port| port.text.parse().ok());
    let of_services = ctx.workload.served.iter().filter_map(|port| number(node, &port.text));
    ports.chain(of_services).any(|port: u16| Some(port) != control.map(|it| it.port()))
}

/// Warns if a Service with the traffic policy `Local` selects the pod. With
/// `externalTrafficPolicy`, the load balancer of the Service sends requests to a node until the
/// load balancer's own health check of the node fails. With `internalTrafficPolicy`, the clients on
/// a node can use only the pods of that node. kube-proxy passes the requests on to a terminating
/// pod only while that pod is ready (KEP-1669).
pub(super) fn local(ctx: &mut Context<'_>) {
    let shutdown = &ctx.loaded.config.shutdown;
    let longest = ctx.drains().map(|drain| drain.min).max();
    let (Some(local), Some(min)) = (ctx.workload.local, longest) else { return };
    const BALANCED: &str = "the time that the load balancer's health check takes, such as 10s, `min` of the drain \
         (`--drain-min`) to twice this time, and the time of the drain to a longer one";
    let delay = shutdown.unready_delay;
    let (why, time) = match (local.is_external, delay.is_zero()) {
        (true, false) if min <= delay => (
            "the load balancer needs time after `unready_delay`, and without a longer `min` everything may stop as soon as drainit turns unready",
            BALANCED,
        ),
        (_, false) => return,
        (true, true) => (
            "the load balancer sends requests to a node until its own health check fails, and a pod that is not ready, as drainit is at once, loses them",
            BALANCED,
        ),
        (false, true) => (
            "the clients on a node have only the pods of this node, and a pod that is not ready, as drainit is at once, loses their requests",
            "5s",
        ),
    };
    let key =
        ctx.of_exec_or("`DRAINIT_UNREADY_DELAY` (`--unready-delay`)", "`shutdown.unready_delay`");
    // `unready_delay` and `readiness_delay` exclude each other.
    let is_delayed = !shutdown.readiness_delay.is_zero();
    let more = if is_delayed { "; remove `readiness_delay`" } else { "" };
    let help = format!("set {key} to {time}{more}");
    ctx.warning(Rule::LocalTrafficPolicy, local.span, format!("with `Local` {why}"), help);
}

/// Warns of a sidecar whose drain has no `direction`. A drain without `direction` also closes the
/// listeners through which the application sends its own requests.
pub(super) fn egress(ctx: &mut Context<'_>) {
    let is_undecided = |process: &&Arc<Process>| {
        let method = process.drained().map(|drain| &drain.method);
        matches!(method, Some(DrainMethod::Envoy(envoy)) if envoy.direction.is_none())
    };
    let undecided = ctx.loaded.config.processes.iter().find(is_undecided);
    let Some(process) = undecided.filter(|_| ctx.container.is_sidecar) else { return };
    let name = &process.name;
    let message = format!(
        "the drain of `{name}` closes all of its listeners: if the application goes out through this sidecar, it is cut off \
         before it ends"
    );
    let help = "set `direction: inbound` in its `drain.envoy` (`DRAINIT_DRAIN_DIRECTION`), or `all` if nothing goes out through it";
    ctx.warning(Rule::DrainWithoutDirection, ctx.container.span, message, help);
}
