//! Checks probes: whether drainit can answer them, whether liveness kills a draining container, and
//! whether readiness shows the drain.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Address, ControlSocket, DrainMethod};
use crate::kubernetes::manifest::{Word, base, items, seconds, text, words};
use crate::kubernetes::pre_stop::other_socket;
use crate::kubernetes::{Context, Severity};
use crate::load::span::Span;
use crate::load::yaml::node::{Node, get};
use crate::types::human;

/// The defaults of a probe.
const PERIOD: Duration = Duration::from_secs(10);
const THRESHOLD: u32 = 3;

/// One probe of the container.
struct Probe {
    span: Span,
    /// The time from its first failure to the failed state.
    fails_after: Duration,
    /// With its place.
    port: Option<(u16, Span)>,
    /// Of an HTTP probe, without the query.
    path: Option<Word>,
    is_tcp: bool,
    /// `HTTPS` or `gRPC`, which drainit does not support.
    protocol: Option<Word>,
    /// It goes to the kubelet's loopback address, not to the pod's.
    is_to_loopback: bool,
    /// The endpoint of drainit that its command uses, if it is recognized.
    command_endpoint: Option<&'static str>,
}

/// The owner of a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Control,
    /// The admin of an Envoy. `fails`: the drain fails its health check.
    Admin {
        fails: bool,
    },
    /// Not in the config, such as a listener of Envoy.
    Other,
}

pub(super) fn check(ctx: &mut Context<'_>) {
    let node = std::rc::Rc::clone(&ctx.container.node);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = get(&node, &[name]) else { continue };
        let Some(probe) = read(ctx, &node, probe) else { continue };
        answered(ctx, &probe);
        match name {
            "livenessProbe" => liveness(ctx, &probe),
            "readinessProbe" => {
                readiness(ctx, &probe);
                notices(ctx, &probe);
            }
            _ => {}
        }
    }
    if get(&node, &["readinessProbe"]).is_none() && !ctx.container.is_sidecar {
        let message = format!(
            "`{}` has no readiness probe: it gets requests before its processes are ready",
            ctx.container.name
        );
        let help = match ctx.loaded.config.control.listen {
            Some(listen) => format!("add `readinessProbe: {{httpGet: {{path: /readyz, port: {}}}}}`", listen.port()),
            None => "set `control: {listen: 0.0.0.0:9902}` in the config, and add `readinessProbe: {httpGet: {path: /readyz, port: 9902}}`".to_owned(),
        };
        ctx.add(Severity::Warning, ctx.container.span, message).help(help);
    }
}

fn read(ctx: &mut Context<'_>, container: &Node, node: &Node) -> Option<Probe> {
    let period = seconds(node, &["periodSeconds"]).map_or(PERIOD, |(period, _)| period);
    let threshold = text(node, &["failureThreshold"]).and_then(|word| word.text.parse().ok());
    let ports = ["httpGet", "tcpSocket", "grpc"].into_iter();
    let port = match ports.filter_map(|how| text(node, &[how, "port"])).next() {
        Some(word) => Some(port(ctx, container, &word)?),
        None => None,
    };
    let path = get(node, &["httpGet"]).map(|get| {
        let otherwise = Word { text: "/".to_owned(), span: get.span };
        let word = text(get, &["path"]).unwrap_or(otherwise);
        let path = word.text.split(['?', '#']).next().unwrap_or_default().to_owned();
        Word { text: path, ..word }
    });
    Some(Probe {
        span: node.span,
        fails_after: period.saturating_mul(threshold.unwrap_or(THRESHOLD)),
        port,
        path,
        is_tcp: get(node, &["tcpSocket"]).is_some(),
        protocol: match get(node, &["grpc"]) {
            Some(grpc) => Some(Word { text: "gRPC".to_owned(), span: grpc.span }),
            None => text(node, &["httpGet", "scheme"]).filter(|scheme| scheme.text == "HTTPS"),
        },
        is_to_loopback: ["httpGet", "tcpSocket"].iter().any(|how| {
            let host = text(node, &[how, "host"]);
            host.is_some_and(|host| {
                matches!(&*host.text, "localhost" | "127.0.0.1" | "::1" | "[::1]")
            })
        }),
        command_endpoint: command_endpoint(ctx, node),
    })
}

/// Recognizes `drainit health`, and a URL such as in `curl http://127.0.0.1:9902/readyz`.
fn command_endpoint(ctx: &mut Context<'_>, node: &Node) -> Option<&'static str> {
    let command = words(node, &["exec", "command"]);
    let span = command.first()?.span;
    let words: Vec<_> = command.iter().flat_map(|word| word.text.split_whitespace()).collect();
    let is_health = |pair: &[&str]| base(pair[0]) == "drainit" && pair[1] == "health";
    if !words.windows(2).any(is_health) {
        return ["/readyz", "/livez"]
            .into_iter()
            .find(|path| words.iter().any(|word| word.ends_with(path)));
    }
    let has = |option: &str| words.iter().any(|word| word.starts_with(option));
    if has("--url") {
        return None;
    }
    let socket = other_socket(ctx, "health", &words, span);
    let control = &ctx.loaded.config.control;
    if control.socket == ControlSocket::Off && control.listen.is_none() && socket.is_none() {
        let message = "`drainit health` gets no answer: the config has `control: {socket: off}`";
        ctx.add(Severity::Error, span, message).help("remove `socket: off` from the config");
    }
    Some(if has("--live") { "/livez" } else { "/readyz" })
}

/// A number, or the name of one of the container's ports.
fn port(ctx: &mut Context<'_>, container: &Node, word: &Word) -> Option<(u16, Span)> {
    if let Ok(number) = word.text.parse() {
        return Some((number, word.span));
    }
    let named = |port: &&std::rc::Rc<Node>| {
        text(port, &["name"]).is_some_and(|name| name.text == word.text)
    };
    let number = items(container, &["ports"]).iter().find(named);
    let number = number.and_then(|port| text(port, &["containerPort"])?.text.parse().ok());
    if number.is_none() {
        let message = format!("the container has no port named `{}`", word.text);
        ctx.add(Severity::Error, word.span, message)
            .help("add it under `ports`, or write its number here");
    }
    Some((number?, word.span))
}

pub(super) fn port_owner(ctx: &Context<'_>, port: u16) -> Port {
    let config = &ctx.loaded.config;
    if config.control.listen.is_some_and(|listen| listen.port() == port) {
        return Port::Control;
    }
    let drains = config.processes.iter().filter_map(|process| process.drain.as_ref());
    let admin = drains.filter_map(|drain| match &drain.method {
        DrainMethod::Envoy(envoy) => match envoy.admin {
            Address::Tcp(address) if address.port() == port => {
                Some(Port::Admin { fails: envoy.fail_healthcheck })
            }
            _ => None,
        },
        _ => None,
    });
    admin.into_iter().next().unwrap_or(Port::Other)
}

/// Checks that drainit answers a probe of its port or of its paths.
fn answered(ctx: &mut Context<'_>, probe: &Probe) {
    let Some((port, span)) = probe.port else { return };
    let listen = ctx.loaded.config.control.listen;
    let is_ours = |path: &&Word| matches!(&*path.text, "/livez" | "/readyz");
    match (port_owner(ctx, port), listen) {
        (Port::Control, Some(listen)) => {
            if listen.ip().is_loopback() && !(probe.is_to_loopback && is_on_host(ctx)) {
                let message = format!(
                    "the kubelet cannot reach this port: it connects to the pod's address, and the config's `control.listen` is {listen}"
                );
                ctx.add(Severity::Error, span, message).help(format!(
                    "write `control: {{listen: {}}}` in the config; it accepts no drain",
                    everywhere(listen)
                ));
            }
            if let Some(protocol) = &probe.protocol {
                let message = format!("drainit's port supports plain HTTP, not {}", protocol.text);
                ctx.add(Severity::Error, protocol.span, message)
                    .help("write `httpGet` with `path` and `port`, without `scheme`");
            }
            if let Some(path) = probe.path.as_ref().filter(|path| !is_known_to_drainit(&path.text))
            {
                let message = format!("drainit answers `{}` with 404", path.text);
                ctx.add(Severity::Error, path.span, message)
                    .help("use `/livez` for liveness, and `/readyz` for readiness");
            }
        }
        (_, listen) => {
            let Some(path) = probe.path.as_ref().filter(is_ours) else { return };
            let (message, help) = match listen {
                Some(listen) => (
                    format!(
                        "drainit answers `{}` at port {}, not at {port}",
                        path.text,
                        listen.port()
                    ),
                    format!("write `port: {}`", listen.port()),
                ),
                None => (
                    format!(
                        "drainit does not answer `{}`: the config has no `control.listen`",
                        path.text
                    ),
                    format!("write `control: {{listen: 0.0.0.0:{port}}}` in the config"),
                ),
            };
            ctx.add(Severity::Warning, span, message).help(help);
        }
    }
}

/// Whether drainit has this path.
fn is_known_to_drainit(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/status" | "/metrics")
}

/// Whether the pod uses the node's network, and so the kubelet's loopback addresses.
fn is_on_host(ctx: &Context<'_>) -> bool {
    text(&ctx.workload.pod, &["hostNetwork"]).is_some_and(|word| word.text == "true")
}

fn everywhere(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], listen.port())),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], listen.port())),
    }
}

/// Warns of a liveness probe that fails during the drain, so that the kubelet kills the container.
fn liveness(ctx: &mut Context<'_>, probe: &Probe) {
    let whole = ctx.plan.longest();
    let after_signal = &ctx.plan.after_signal;
    let after_drain = after_signal.total.saturating_sub(after_signal.drained_at());
    let path = probe.path.as_ref().map(|path| path.text.as_str()).unwrap_or_default();
    let asks_ready = probe.command_endpoint == Some("/readyz");
    let (severity, why, lasts) = match probe.port.map(|(port, _)| port_owner(ctx, port)) {
        Some(Port::Control) if path == "/readyz" => {
            (Severity::Error, "`/readyz` is 503 from the beginning of the shutdown", whole)
        }
        None if asks_ready => {
            (Severity::Error, "`/readyz` is 503 from the beginning of the shutdown", whole)
        }
        Some(Port::Admin { fails: true }) if path == "/ready" => {
            (Severity::Error, "Envoy's `/ready` turns 503 when the drain begins", whole)
        }
        Some(Port::Other) if closes(ctx) => {
            let why =
                "if this is a listener of the drained Envoy, it is closed at the end of the drain";
            (Severity::Warning, why, after_drain)
        }
        _ => return,
    };
    if probe.fails_after >= lasts {
        return;
    }
    let message = format!(
        "this liveness probe would kill the container during the shutdown: {why}, and fails for up to {}; the kubelet kills after {}",
        human(lasts),
        human(probe.fails_after)
    );
    let help = match ctx.loaded.config.control.listen {
        Some(listen) => format!("probe `/livez` at port {}", listen.port()),
        None => {
            "set `control: {listen: 0.0.0.0:9902}` in the config, and probe `/livez` at port 9902"
                .to_owned()
        }
    };
    ctx.add(severity, probe.span, message).help(format!(
        "{help}; the kubelet stops liveness probes when it deletes a pod, but not for `drainit drain` or an exit of a process"
    ));
}

/// Whether a drained process closes its listeners at the end of the drain.
fn closes(ctx: &Context<'_>) -> bool {
    let mut drains =
        ctx.loaded.config.processes.iter().filter_map(|process| process.drain.as_ref());
    drains.any(|drain| matches!(drain.method, DrainMethod::Envoy(_)))
}

/// Warns of a readiness probe that notices the drain after an unasked end too late.
fn notices(ctx: &mut Context<'_>, probe: &Probe) {
    let drains = ctx.loaded.config.processes.iter().filter_map(|process| process.drain.as_ref());
    let Some(min) = drains.map(|drain| drain.min).max() else { return };
    if probe.fails_after <= min {
        return;
    }
    let message = format!(
        "after the end of a process the pod drains for {}, and this readiness probe fails only after {}",
        human(min),
        human(probe.fails_after)
    );
    ctx.add(Severity::Warning, probe.span, message).help(
        "set `periodSeconds: 1` and `failureThreshold: 1` here, or raise `min` of the drain in the config",
    );
}

/// Warns of a readiness probe that still succeeds during the drain.
fn readiness(ctx: &mut Context<'_>, probe: &Probe) {
    if !ctx.takes_traffic_away() {
        return;
    }
    let path = probe.path.as_ref().map(|path| path.text.as_str()).unwrap_or_default();
    let asks_drainit = matches!(path, "/livez" | "/readyz");
    let why = match probe.port.map(|(port, _)| port_owner(ctx, port)) {
        Some(Port::Control) if !probe.is_tcp && path == "/readyz" => return,
        // Already reported by `answered`.
        Some(Port::Control) if probe.protocol.is_some() => return,
        Some(Port::Control) if !probe.is_tcp && !is_known_to_drainit(path) => return,
        Some(Port::Admin { .. }) if asks_drainit || probe.protocol.is_some() => return,
        Some(Port::Admin { fails: true }) if path == "/ready" => return,
        Some(Port::Admin { fails: false }) if path == "/ready" => {
            "with `fail_healthcheck: false` Envoy's `/ready` stays 200".to_owned()
        }
        Some(Port::Other) if !probe.is_tcp => return, // it may
        _ if probe.is_tcp => "connections are accepted until the end".to_owned(),
        Some(_) => format!("`{path}` stays 200"),
        None if probe.command_endpoint == Some("/livez") => "`/livez` stays 200".to_owned(),
        None => return, // a command that is not recognized may, too
    };
    let span = probe.path.as_ref().map_or(probe.span, |path| path.span);
    let message = format!("this readiness probe does not show the drain: {why}");
    let help = match ctx.loaded.config.control.listen {
        Some(listen) => format!("probe `/readyz` at port {}", listen.port()),
        None => {
            "set `control: {listen: 0.0.0.0:9902}` in the config, and probe `/readyz` at port 9902"
                .to_owned()
        }
    };
    ctx.add(Severity::Warning, span, message).help(help);
}
