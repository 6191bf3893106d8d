//! Checks where the traffic of the pod comes from and goes to: a load balancer that sends to whole
//! nodes, an application that goes out through a sidecar, and clients that do not leave.

use crate::config::{DrainMethod, Process};
use crate::kubernetes::manifest::{items, text};
use crate::kubernetes::probes::{Port, port_owner};
use crate::kubernetes::{Context, Severity};
use crate::load::yaml::node::get;

pub(super) fn check(ctx: &mut Context<'_>) {
    local(ctx);
    egress(ctx);
    scraper(ctx);
    websockets(ctx);
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

/// A sidecar's drain closes the egress of the application, too, unless it is told which way. An
/// ordinary container that runs nothing but Envoy beside another one is most likely a sidecar.
fn egress(ctx: &mut Context<'_>) {
    let is_envoy = |process: &Process| {
        let method = process.drain.as_ref().map(|drain| &drain.method);
        matches!(method, Some(DrainMethod::Envoy { .. }))
    };
    let is_beside = items(&ctx.workload.pod, &["containers"]).len() > 1
        && ctx.loaded.config.processes.iter().all(is_envoy);
    if !ctx.container.is_sidecar && !is_beside {
        return;
    }
    let undecided = |method: &_| matches!(method, DrainMethod::Envoy { direction: None, .. });
    let Some(name) = drained(ctx, undecided) else { return };
    let message = format!(
        "the drain of `{name}` closes all of its listeners: if the application goes out through this sidecar, it is cut off \
         before it ends"
    );
    ctx.add(Severity::Warning, ctx.container.span, message).help(
        "set `direction: inbound` in its `drain.envoy`, or `direction: all` if nothing goes out through it",
    );
}

/// A scraper keeps its connection, and asks so seldom that it may not hear Envoy's goodbye in time.
/// Where it connects is known from the annotations that the usual config of Prometheus follows.
fn scraper(ctx: &mut Context<'_>) {
    let undecided =
        |method: &_| matches!(method, DrainMethod::Envoy { ignore_listeners: None, .. });
    let Some(name) = drained(ctx, undecided) else { return };
    let Some(annotations) =
        ctx.workload.metadata.as_ref().and_then(|pod| get(pod, &["annotations"]))
    else {
        return;
    };
    let is_scraped =
        text(annotations, &["prometheus.io/scrape"]).is_some_and(|word| word.text == "true");
    let Some(word) = text(annotations, &["prometheus.io/port"]).filter(|_| is_scraped) else {
        return;
    };
    let Ok(port) = word.text.parse() else { return };
    if port_owner(ctx, port) != Port::Other || !is_of_this_container(ctx, &word.text) {
        return;
    }
    let message = format!(
        "a scraper keeps its connection to port {port}: if that is a listener of `{name}`, the drain lasts until the next \
         scrape, or until its `time` is over"
    );
    ctx.add(Severity::Warning, word.span, message).help(format!(
        "set `ignore_listeners: [\"0.0.0.0:{port}\"]` in its `drain.envoy`, with the address or name of the listener, or \
         `ignore_listeners: []` if something else listens there"
    ));
}

/// Whether a port can be one of the checked container: no other one says that it has it.
fn is_of_this_container(ctx: &Context<'_>, port: &str) -> bool {
    let has = |node| {
        let mut ports = items(node, &["ports"]).iter();
        ports.any(|of| text(of, &["containerPort"]).is_some_and(|word| word.text == port))
    };
    let all = crate::kubernetes::manifest::containers(&ctx.workload.pod);
    has(&ctx.container.node) || !all.iter().any(|container| has(&container.node))
}

/// A WebSocket hears no goodbye, and often never ends.
fn websockets(ctx: &mut Context<'_>) {
    let undecided = |method: &_| matches!(method, DrainMethod::Envoy { exit_at: None, .. });
    let (Some(span), Some(name)) = (ctx.workload.websockets, drained(ctx, undecided)) else {
        return;
    };
    let message = format!(
        "nobody asks the client of a WebSocket to leave: with one open, the drain of `{name}` lasts until its `time` is over"
    );
    ctx.add(Severity::Warning, span, message).help(
        "set `exit_at` in its `drain.envoy` to the number of connections that may be cut, or `exit_at: 0` to wait for them",
    );
}

/// The name of the first process with such a drain.
fn drained(ctx: &Context<'_>, is_such: impl Fn(&DrainMethod) -> bool) -> Option<String> {
    let is_such =
        |process: &&Process| process.drain.as_ref().is_some_and(|drain| is_such(&drain.method));
    ctx.loaded.config.processes.iter().find(is_such).map(|process| process.name.clone())
}
