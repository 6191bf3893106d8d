//! Checks the probes of a container. Can drainit answer them? Does the liveness probe kill the
//! container while the container drains? Does the readiness probe show that the container drains?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::check::undrained::listens;
use crate::config::{Address, ControlSocket, DrainMethod, Process};
use crate::keys::values;
use crate::kubernetes::commands::commands;
use crate::kubernetes::manifest::{Word, base, is_drainit, items, seconds, text, words};
use crate::kubernetes::pre_stop::other_socket;
use crate::kubernetes::{Context, Severity};
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};
use crate::types::human;
use crate::types::suggest::list;

/// The kubelet's defaults for the period and the failure threshold of a probe.
const PERIOD: Duration = Duration::from_secs(10);
const THRESHOLD: u32 = 3;

/// One probe of the container.
struct PodProbe {
    span: Span,
    /// The time before the first attempt.
    delay: Duration,
    /// The longest time from a fault until the kubelet considers the probe failed.
    fails_after: Duration,
    /// Who owns the port to which the probe connects, and the port with its place in the manifest.
    /// `None` for a probe without a port, or with an unknown port.
    target: Option<(ProbedServer, u16, Span)>,
    /// The path that a probe requests by HTTP, without the query. `None` for other probes.
    path: Option<Word>,
    /// Whether a command asks, and not the kubelet. A command connects from within the pod.
    is_command: bool,
    /// Whether the probe is a `grpc` probe.
    is_grpc: bool,
    /// The `host` of the probe: the kubelet connects to this address, and not to that of the pod.
    host: Option<Word>,
    /// The scheme `HTTPS`, if the probe sets it.
    https: Option<Word>,
    /// The path that a `drainit health` without `--url` asks for.
    command_endpoint: Option<&'static str>,
}

impl PodProbe {
    fn path(&self) -> &str {
        self.path.as_ref().map(|path| path.text.as_str()).unwrap_or_default()
    }

    /// Whether the probe asks drainit for `/readyz`.
    fn asks_ready(&self) -> bool {
        match self.target() {
            Some(target) => target == ProbedServer::Control && self.path() == "/readyz",
            None => self.command_endpoint == Some("/readyz"),
        }
    }

    /// Who owns the port to which the probe connects.
    fn target(&self) -> Option<ProbedServer> {
        self.target.map(|(target, ..)| target)
    }
}

/// Who owns a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProbedServer {
    Control,
    /// The admin interface of an Envoy. `fails` says whether the Envoy's health check fails during
    /// the drain.
    Admin {
        fails: bool,
    },
    /// An unknown program, because the config does not have this port. An Envoy may listen there.
    Other,
}

pub(super) fn check(ctx: &mut Context<'_>) {
    let node = std::rc::Rc::clone(&ctx.container.node);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = get(&node, &[name]) else { continue };
        let probe = read(ctx, &node, probe);
        let command = words(get(&node, &[name]).unwrap_or(&node), &["exec", "command"]);
        let path = if name == "livenessProbe" { "/livez" } else { "/readyz" };
        let help = format!("add the program to the image, or {}", how_to_probe(ctx, path));
        ctx.must_run("this probe", &command, &help);
        if name != "readinessProbe" {
            own_grace_period(ctx, get(&node, &[name]));
        }
        // The advice for a liveness probe never names `/readyz`, because the kubelet would then
        // kill a container that starts slowly.
        answered(ctx, &probe, (name == "livenessProbe").then_some("/livez"));
        let has_startup = get(&node, &["startupProbe"]).is_some();
        match name {
            "livenessProbe" => liveness(ctx, &probe, has_startup),
            "readinessProbe" => {
                readiness(ctx, &probe);
                notices(ctx, &probe);
            }
            _ => startup(ctx, &probe),
        }
    }
    if get(&node, &["readinessProbe"]).is_none() && !ctx.container.is_sidecar && gets_requests(ctx)
    {
        let message = format!(
            "`{}` has no readiness probe: it gets requests before its processes are ready",
            ctx.container.name
        );
        let help = how_to_probe(ctx, "/readyz");
        ctx.add(Severity::Warning, ctx.container.span, message).help(help);
    }
}

/// Whether the pod may get requests: it is not a job, and it has a port, a Service or a server.
fn gets_requests(ctx: &Context<'_>) -> bool {
    let containers = items(&ctx.workload.pod, &["containers"]).iter();
    let has_port = containers.into_iter().any(|it| !items(it, &["ports"]).is_empty());
    let is_drained = |process: &Process| {
        let method = process.drain.as_ref().map(|drain| &drain.method);
        matches!(method, Some(DrainMethod::Envoy(_) | DrainMethod::Connections(_)))
    };
    let mut processes = ctx.loaded.config.processes.iter();
    let is_server = processes.any(|process| is_drained(process) || listens(process).is_some());
    !ctx.workload.is_job() && (has_port || !ctx.workload.served.is_empty() || is_server)
}

fn read(ctx: &mut Context<'_>, container: &Node, node: &Node) -> PodProbe {
    let period = seconds(node, &["periodSeconds"]).map_or(PERIOD, |(period, _)| period);
    let threshold = text(node, &["failureThreshold"]).and_then(|word| word.text.parse().ok());
    let ports = ["httpGet", "tcpSocket", "grpc"].into_iter();
    let port = ports.filter_map(|how| text(node, &[how, "port"])).next();
    let path = get(node, &["httpGet"]).map(|get| {
        let otherwise = Word { text: "/".to_owned(), span: get.span };
        let word = text(get, &["path"]).unwrap_or(otherwise);
        let path = word.text.split(['?', '#']).next().unwrap_or_default().to_owned();
        Word { text: path, ..word }
    });
    if let Some(port) = &port {
        named(ctx, container, port);
    }
    let asked = asked_by_command(ctx, node);
    let host = |how: &&str| text(node, &[how, "host"]);
    let scheme = text(node, &["httpGet", "scheme"]);
    PodProbe {
        span: node.span,
        delay: seconds(node, &["initialDelaySeconds"]).map_or(Duration::ZERO, |(delay, _)| delay),
        fails_after: period.saturating_mul(threshold.unwrap_or(THRESHOLD)),
        target: match &asked {
            Some((server, path)) => Some((*server, 0, path.span)),
            None => port.and_then(|port| {
                let number = number(container, &port.text)?;
                let is_at = |at: &Address| matches!(at, Address::Tcp(at) if at.port() == number);
                Some((owner(ctx, is_at), number, port.span))
            }),
        },
        is_command: asked.is_some(),
        path: path.or(asked.map(|(_, path)| path)),
        is_grpc: get(node, &["grpc"]).is_some(),
        host: ["httpGet", "tcpSocket"].iter().find_map(host),
        https: scheme.filter(|scheme| scheme.text == "HTTPS"),
        command_endpoint: command_endpoint(ctx, node),
    }
}

/// The server and the path that the command of a probe asks by HTTP, as in `curl -f URL` or
/// `drainit health --url URL`. `None` if the command does not fail at a status of 503, or asks
/// another machine.
fn asked_by_command(ctx: &Context<'_>, node: &Node) -> Option<(ProbedServer, Word)> {
    let command = commands(words(node, &["exec", "command"])).concat();
    let texts = || command.iter().map(|word| &*word.text);
    let fails = |word: &str| {
        word.starts_with("--fail")
            || word.starts_with('-') && !word.starts_with("--") && word.contains('f')
    };
    let is_curl = texts().any(|word| base(word) == "curl");
    if is_curl && !texts().any(fails) {
        return None;
    }
    let is_live = texts().any(|word| word == "--live");
    let socket = texts().skip_while(|word| *word != "--unix-socket").nth(1);
    command.iter().find_map(|word| {
        let url = word.text.strip_prefix("--url=").unwrap_or(&word.text);
        let has_scheme = url.starts_with("http://") || url.starts_with("unix:");
        let url = if has_scheme { url.to_owned() } else { format!("http://{url}") };
        let rest = url.strip_prefix("http://").unwrap_or_default();
        let (at, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (address, path) = match values::http(&url) {
            Ok(target) if has_scheme || at.contains(':') => (target.address, target.path),
            // A variable may stand for the address of the pod.
            _ if at.starts_with('$') => {
                let port = at.rsplit_once(':')?.1.parse().ok()?;
                (Address::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)), path.to_owned())
            }
            // The host of a request to a Unix socket means nothing.
            _ if socket.is_some() && has_scheme => (Address::Unix(PathBuf::new()), path.to_owned()),
            _ => return None,
        };
        let address = socket.map_or(address, |path| Address::Unix(path.into()));
        let is_at = |own: &Address| match (own, &address) {
            (Address::Tcp(own), Address::Tcp(asked)) => {
                let is_own = asked.ip().is_loopback() || asked.ip().is_unspecified();
                own.port() == asked.port() && is_own
            }
            (own, asked) => own == asked,
        };
        if let Address::Tcp(at) = address
            && !(at.ip().is_loopback() || at.ip().is_unspecified())
        {
            return None;
        }
        let server = owner(ctx, is_at);
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let path = match server {
            // `drainit health` adds the path to the address of a drainit.
            ProbedServer::Control if matches!(&*path, "" | "/") && !is_curl => {
                if is_live { "/livez" } else { "/readyz" }.to_owned()
            }
            _ => path,
        };
        Some((server, Word { text: path, span: node.span }))
    })
}

/// The path that a `drainit health` without `--url` asks for, on the control socket.
fn command_endpoint(ctx: &mut Context<'_>, node: &Node) -> Option<&'static str> {
    let command = words(node, &["exec", "command"]);
    let span = command.first()?.span;
    let command = commands(command).concat();
    let words: Vec<_> = command.iter().map(|word| &*word.text).collect();
    let is_health = |pair: &[&str]| is_drainit(pair[0]) && pair[1] == "health";
    let has = |option: &str| words.iter().any(|word| word.starts_with(option));
    if !words.windows(2).any(is_health) || has("--url") {
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

/// Warns of a probe whose own grace period is shorter than the shutdown. The kubelet gives this
/// time to a container that it stops because of the probe.
fn own_grace_period(ctx: &mut Context<'_>, probe: Option<&std::rc::Rc<Node>>) {
    const NAME: &str = "terminationGracePeriodSeconds";
    let Some((given, span)) = probe.and_then(|probe| seconds(probe, &[NAME])) else { return };
    let needed = ctx.plan.longest().max(ctx.plan.window());
    if !ctx.is_partial && given < needed {
        let message = format!(
            "after a failure of this probe the kubelet kills after {}, and the shutdown takes up to {}",
            human(given),
            human(needed)
        );
        ctx.add(Severity::Warning, span, message)
            .help(format!("remove `{NAME}` from the probe: it then has that of the pod"));
    }
}

/// The number of a port. The manifest has the number itself, or the name of one of the container's
/// ports.
pub(super) fn number(container: &Node, port: &str) -> Option<u16> {
    let is_named =
        |port: &str, node: &Node| text(node, &["name"]).is_some_and(|it| it.text == port);
    let named = items(container, &["ports"]).iter().find(|node| is_named(port, node));
    let number = named.and_then(|node| text(node, &["containerPort"]));
    number.as_ref().map_or(port, |number| &number.text).parse().ok()
}

/// Who owns the address for which `is_at` returns true.
fn owner(ctx: &Context<'_>, is_at: impl Fn(&Address) -> bool) -> ProbedServer {
    let config = &ctx.loaded.config;
    let socket = config.control.socket.path().map(|path| Address::Unix(path.to_owned()));
    if config.control.listen.map(Address::Tcp).iter().chain(&socket).any(&is_at) {
        return ProbedServer::Control;
    }
    let drains = config.processes.iter().filter_map(|process| process.drain.as_ref());
    let mut admins = drains.filter_map(|drain| match &drain.method {
        DrainMethod::Envoy(envoy) => Some((&envoy.admin, envoy.fail_healthcheck)),
        _ => None,
    });
    let admin = admins.find(|(admin, _)| is_at(admin));
    admin.map_or(ProbedServer::Other, |(_, fails)| ProbedServer::Admin { fails })
}

/// Checks that a probe of drainit's port gets an answer, and that a probe for a path of drainit
/// goes to drainit's port.
fn answered(ctx: &mut Context<'_>, probe: &PodProbe, path: Option<&str>) {
    let Some((target, port, span)) = probe.target.filter(|_| !probe.is_command) else { return };
    let listen = ctx.loaded.config.control.listen;
    if let (ProbedServer::Control, Some(listen)) = (target, listen)
        && listen.ip().is_loopback()
        && probe.host.is_none()
    {
        let message = format!(
            "the kubelet cannot reach this port: it connects to the pod's address, and the config's `control.listen` is {listen}"
        );
        ctx.add(Severity::Error, span, message).help(format!(
            "write `control: {{listen: 0.0.0.0:{port}}}` in the config; it accepts no drain"
        ));
    }
    if target == ProbedServer::Control {
        misdirected(ctx, probe);
    }
    if probe.is_grpc && target != ProbedServer::Other {
        let message =
            format!("a `grpc` probe gets no answer from port {port}, which speaks HTTP/1");
        let help = how_to_probe(ctx, path.unwrap_or("/readyz"));
        ctx.add(Severity::Error, span, message).help(help);
    }
    let known = ["", "/livez", "/readyz", "/status", "/metrics"];
    let asked = probe.path().split('?').next().unwrap_or_default();
    if target == ProbedServer::Control && !known.contains(&asked) {
        let message = format!("drainit answers `{}` with 404", probe.path());
        let help = how_to_probe(ctx, path.unwrap_or("/readyz"));
        ctx.add(Severity::Error, span, message).help(help);
    }
    if target != ProbedServer::Control && matches!(probe.path(), "/livez" | "/readyz") {
        let message = format!("drainit does not answer `{}` at port {port}", probe.path());
        let help = how_to_probe(ctx, path.unwrap_or(probe.path()));
        ctx.add(Severity::Warning, span, message).help(help);
    }
}

/// Reports a probe of drainit's port that never succeeds, because of its scheme or its host.
fn misdirected(ctx: &mut Context<'_>, probe: &PodProbe) {
    if let Some(scheme) = &probe.https {
        let message = "drainit does not speak TLS: this probe never succeeds";
        ctx.add(Severity::Error, scheme.span, message).help("remove `scheme`");
    }
    let is_loopback = |host: &&Word| {
        let address = host.text.trim_matches(['[', ']']).parse::<IpAddr>();
        host.text == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    let network = text(&ctx.workload.pod, &["hostNetwork"]);
    let is_of_host = network.is_some_and(|word| word.text == "true");
    if let Some(host) = probe.host.as_ref().filter(|host| !is_of_host && is_loopback(host)) {
        let message = format!(
            "the kubelet connects to `{}` of its node, and not of the pod: this probe never succeeds",
            host.text
        );
        ctx.add(Severity::Error, host.span, message).help("remove `host`");
    }
}

/// Reports a probe that names a port which the container does not have.
fn named(ctx: &mut Context<'_>, container: &Node, port: &Word) {
    if number(container, &port.text).is_some() || port.text.parse::<u64>().is_ok() {
        return;
    }
    let names = items(container, &["ports"]).iter().filter_map(|port| text(port, &["name"]));
    let names: Vec<_> = names.map(|name| name.text).collect();
    let help = match names.is_empty() {
        true => {
            format!("write the number, or `ports: [{{name: {}, containerPort: PORT}}]`", port.text)
        }
        false => format!(
            "write one of the container's ports: {}",
            list(names.iter().map(String::as_str))
        ),
    };
    let message =
        format!("`{}` has no port `{}`: this probe never succeeds", ctx.container.name, port.text);
    ctx.add(Severity::Error, port.span, message).help(help);
}

/// Warns of a startup probe that waits for readiness, but gives up earlier than a `readiness` of
/// the config.
fn startup(ctx: &mut Context<'_>, probe: &PodProbe) {
    let processes = ctx.loaded.config.processes.iter();
    let timeouts = processes.filter_map(|it| Some(it.readiness.as_ref()?.timeout));
    let gives_up = probe.delay.saturating_add(probe.fails_after);
    let is_ready =
        matches!(probe.target(), Some(ProbedServer::Admin { .. })) && probe.path() == "/ready";
    let Some(longest) = timeouts.max().filter(|longest| *longest > gives_up) else { return };
    if !is_ready && !probe.asks_ready() {
        return;
    }
    let timeout = if ctx.is_exec {
        "`--readiness` (`DRAINIT_READINESS`)"
    } else {
        "the `timeout` of a `readiness`"
    };
    let message = format!(
        "the kubelet kills a container that is not ready after {}, and {timeout} is {}",
        human(gives_up),
        human(longest)
    );
    ctx.add(Severity::Warning, probe.span, message)
        .help("raise `failureThreshold`, or shorten the timeout");
}

/// Reports a liveness probe that fails while the container drains, because the kubelet would then
/// kill the container. Also reports a liveness probe that asks for readiness, because such a probe
/// fails while the processes start.
fn liveness(ctx: &mut Context<'_>, probe: &PodProbe, has_startup: bool) {
    let whole = ctx.plan.needed();
    let unready_delay = ctx.loaded.config.shutdown.unready_delay;
    let asks_ready = probe.asks_ready();
    let (why, lasts) = match probe.target() {
        _ if asks_ready => {
            ("`/readyz` is 503 during the shutdown", whole.saturating_sub(unready_delay))
        }
        Some(ProbedServer::Admin { fails: true }) if probe.path() == "/ready" => {
            ("Envoy's `/ready` turns 503 when the drain begins", whole)
        }
        _ => return,
    };
    let help = how_to_probe(ctx, "/livez");
    if probe.fails_after >= lasts {
        // A liveness probe that asks for readiness also fails while the processes are starting.
        let asks = if asks_ready { "`/readyz`" } else { "Envoy's `/ready`" };
        let (severity, when) = match has_startup {
            false => (Severity::Error, "at each start that takes longer"),
            true => (Severity::Warning, "when a process is not ready for so long"),
        };
        let message = format!(
            "this liveness probe asks {asks}, which is 503 until the processes are ready: the kubelet kills after {}, {when}",
            human(probe.fails_after)
        );
        ctx.add(severity, probe.span, message).help(help);
        return;
    }
    let message = format!(
        "this liveness probe would kill the container during the shutdown: {why}, and fails for up to {}; the kubelet kills after {}",
        human(lasts),
        human(probe.fails_after)
    );
    ctx.add(Severity::Error, probe.span, message).help(format!(
        "{help}; the kubelet stops liveness probes when it deletes a pod, but not for `drainit drain` or an exit of a process"
    ));
}

/// Warns of a readiness probe that is too slow for a shutdown that begins because a process has
/// ended. In such a shutdown, each drain lasts only for its `min`, and the probe would fail only
/// after the drain.
fn notices(ctx: &mut Context<'_>, probe: &PodProbe) {
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

/// Warns of a readiness probe that still succeeds while the container drains. Gives no warning if
/// the probe sends a request to a process or runs an unknown command, because such a probe may fail
/// during the drain.
fn readiness(ctx: &mut Context<'_>, probe: &PodProbe) {
    if !ctx.takes_traffic_away {
        return;
    }
    let why = match (probe.target(), probe.path.as_ref().map(|path| path.text.as_str())) {
        (Some(_), None) if probe.is_grpc => return,
        (Some(_), None) => "connections are accepted until the end".to_owned(),
        (Some(ProbedServer::Admin { fails: true }), Some("/ready")) => return,
        (Some(ProbedServer::Admin { .. }), Some("/ready")) => {
            "with `fail_healthcheck: false` Envoy's `/ready` stays 200".to_owned()
        }
        (Some(ProbedServer::Admin { .. }), Some(path)) if !matches!(path, "/livez" | "/readyz") => {
            "of Envoy's admin, only `/ready` does".to_owned()
        }
        (Some(ProbedServer::Control), Some(path @ ("/livez" | "/status" | "/metrics"))) => {
            format!("`{path}` stays 200")
        }
        (None, _) if probe.command_endpoint == Some("/livez") => "`/livez` stays 200".to_owned(),
        _ => return,
    };
    let span = probe.path.as_ref().map_or(probe.span, |path| path.span);
    let message = format!("this readiness probe does not show the drain: {why}");
    let help = how_to_probe(ctx, "/readyz");
    ctx.add(Severity::Warning, span, message).help(help);
}

fn how_to_probe(ctx: &Context<'_>, path: &str) -> String {
    if ctx.is_exec {
        let live = if path == "/livez" { ", --live" } else { "" };
        return format!("probe with `exec: {{command: [drainit, health{live}]}}`");
    }
    let (before, port) = match ctx.loaded.config.control.listen {
        Some(listen) => ("", listen.port()),
        None => ("set `control: {listen: 0.0.0.0:9902}` in the config, and ", 9902),
    };
    format!("{before}probe with `httpGet: {{path: {path}, port: {port}}}`")
}
