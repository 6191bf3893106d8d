//! Checks the probes of a container. Can drainit answer them? Does the liveness probe kill the
//! container while the container drains? Does the readiness probe show that the container drains?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::check::undrained::listens;
use crate::config::{Address, DrainMethod, Process};
use crate::kubernetes::Context;
use crate::kubernetes::commands::commands;
use crate::kubernetes::manifest::{Word, base, is_drainit, items, seconds, text, words};
use crate::kubernetes::pre_stop::own_socket;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};
use crate::types::human;

/// The kubelet's defaults for the period and the failure threshold of a probe.
const PERIOD: Duration = Duration::from_secs(10);
const THRESHOLD: u32 = 3;

/// One probe of the container.
struct PodProbe {
    node: Rc<Node>,
    span: Span,
    /// The time before the first attempt, and the longest time from then until the kubelet considers
    /// the probe failed.
    gives_up: Duration,
    /// The longest time from a fault until the kubelet considers the probe failed.
    fails_after: Duration,
    /// Who owns the port to which the probe connects, and the port with its place in the manifest.
    /// `None` for a probe without a port, or with an unknown port.
    target: Option<(ProbedServer, u16, Span)>,
    /// The path that a probe requests by HTTP, without the query. `None` for other probes.
    path: Option<Word>,
    /// Whether a command asks, and not the kubelet. A command connects from within the pod.
    is_command: bool,
}

impl PodProbe {
    fn path(&self) -> &str {
        self.path.as_ref().map(|path| path.text.as_str()).unwrap_or_default()
    }

    /// Whether the probe asks drainit for `/readyz`.
    fn asks_ready(&self) -> bool {
        self.target() == Some(ProbedServer::Control) && self.path() == "/readyz"
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
    let node = Rc::clone(&ctx.container.node);
    let has_startup = get(&node, &["startupProbe"]).is_some();
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = get(&node, &[name]) else { continue };
        let probe = read(ctx, &node, probe);
        // The advice for a liveness probe never names `/readyz`, because the kubelet would then
        // kill a container that starts slowly.
        let path = if name == "livenessProbe" { "/livez" } else { "/readyz" };
        answered(ctx, &probe, path);
        if name == "readinessProbe" {
            readiness(ctx, &probe);
            notices(ctx, &probe);
            continue;
        }
        own_grace_period(ctx, &probe.node);
        match name {
            "livenessProbe" => liveness(ctx, &probe, has_startup),
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
        ctx.warning(ctx.container.span, message, help);
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

fn read(ctx: &mut Context<'_>, container: &Node, node: &Rc<Node>) -> PodProbe {
    let time = |key: &str| seconds(node, &[key]).map(|(time, _)| time);
    let threshold = text(node, &["failureThreshold"]).and_then(|word| word.text.parse().ok());
    let fails_after =
        time("periodSeconds").unwrap_or(PERIOD).saturating_mul(threshold.unwrap_or(THRESHOLD));
    let port = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|how| text(node, &[how, "port"]));
    let path = get(node, &["httpGet"]).map(|get| {
        let otherwise = Word { text: "/".to_owned(), span: get.span };
        let word = text(get, &["path"]).unwrap_or(otherwise);
        Word { text: without_query(&word.text), ..word }
    });
    if let Some(port) = &port {
        named(ctx, container, port);
    }
    let asked = asked_by_command(ctx, node);
    let by_kubelet = || {
        let port = port?;
        let number = number(container, &port.text)?;
        Some((owner(ctx, &Address::Tcp((Ipv4Addr::LOCALHOST, number).into())), number, port.span))
    };
    PodProbe {
        node: Rc::clone(node),
        span: node.span,
        gives_up: time("initialDelaySeconds").unwrap_or_default().saturating_add(fails_after),
        fails_after,
        target: asked.as_ref().map(|(server, _)| (*server, 0, node.span)).or_else(by_kubelet),
        is_command: asked.is_some(),
        path: path.or(asked.map(|(_, text)| Word { text, span: node.span })),
    }
}

fn without_query(path: &str) -> String {
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// The server and the path that the command of a probe asks by HTTP, as in `curl -f URL` or
/// `drainit health`. `None` if the command does not fail at a status of 503, or asks another machine.
fn asked_by_command(ctx: &mut Context<'_>, node: &Node) -> Option<(ProbedServer, String)> {
    let command = commands(words(node, &["exec", "command"])).concat();
    let span = command.first()?.span;
    let texts: Vec<_> = command.iter().map(|word| &*word.text).collect();
    let has = |option: &str| texts.iter().any(|word| word.starts_with(option));
    let fails = |word: &&str| {
        word.starts_with("--fail")
            || word.starts_with('-') && !word.starts_with("--") && word.contains('f')
    };
    let is_curl = texts.iter().any(|word| base(word) == "curl");
    if is_curl && !texts.iter().any(fails) {
        return None;
    }
    // `drainit health` adds the path to the address of a drainit.
    let own = if has("--live") { "/livez" } else { "/readyz" }.to_owned();
    let socket = texts.iter().skip_while(|word| **word != "--unix-socket").nth(1);
    let is_health = |pair: &[&str]| is_drainit(pair[0]) && pair[1] == "health";
    if texts.windows(2).any(is_health) && !has("--url") {
        let has_port = ctx.loaded.config.control.listen.is_some();
        own_socket(ctx, "health", &texts, span, has_port);
        return Some((ProbedServer::Control, own));
    }
    texts.iter().find_map(|word| {
        let url = word.strip_prefix("--url=").unwrap_or(word);
        let (address, path) = match url.strip_prefix("unix:") {
            Some(path) => (Address::Unix(path.into()), ""),
            None => {
                let rest = url.strip_prefix("http://").unwrap_or(url);
                let (at, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                match socket {
                    // The host of a request to a Unix socket means nothing.
                    Some(socket) => (Address::Unix(socket.into()), path),
                    None => (Address::Tcp(own_address(at)?), path),
                }
            }
        };
        let is_url = socket.is_none() || url.starts_with("http://");
        let server = owner(ctx, &address);
        let is_base = server == ProbedServer::Control && matches!(path, "" | "/") && !is_curl;
        is_url.then(|| (server, if is_base { own.clone() } else { without_query(path) }))
    })
}

/// The address `HOST:PORT`, if it is one of the pod. A variable may stand for the pod's address.
fn own_address(at: &str) -> Option<SocketAddr> {
    let (host, port) = at.rsplit_once(':')?;
    let is_own =
        host.starts_with('$') || matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0");
    Some((Ipv4Addr::LOCALHOST, port.parse().ok().filter(|_| is_own)?).into())
}

/// Warns of a probe whose own grace period is shorter than the shutdown. The kubelet gives this
/// time to a container that it stops because of the probe.
fn own_grace_period(ctx: &mut Context<'_>, probe: &Node) {
    const NAME: &str = "terminationGracePeriodSeconds";
    let Some((given, span)) = seconds(probe, &[NAME]) else { return };
    let needed = ctx.plan.longest().max(ctx.plan.window());
    if given < needed {
        let message = format!(
            "after a failure of this probe the kubelet kills after {}, and the shutdown takes up to {}",
            human(given),
            human(needed)
        );
        ctx.warning(
            span,
            message,
            format!("remove `{NAME}` from the probe: it then has that of the pod"),
        );
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

/// Who owns an address. The host of a TCP address does not count.
fn owner(ctx: &Context<'_>, asked: &Address) -> ProbedServer {
    let is_at = |own: &Address| match (own, asked) {
        (Address::Tcp(own), Address::Tcp(asked)) => own.port() == asked.port(),
        _ => own == asked,
    };
    let config = &ctx.loaded.config;
    let socket = config.control.socket.path().map(|path| Address::Unix(path.to_owned()));
    if config.control.listen.map(Address::Tcp).iter().chain(&socket).any(is_at) {
        return ProbedServer::Control;
    }
    let mut admins = ctx.drains().filter_map(|drain| match &drain.method {
        DrainMethod::Envoy(envoy) if is_at(&envoy.admin) => Some(envoy.fail_healthcheck),
        _ => None,
    });
    admins.next().map_or(ProbedServer::Other, |fails| ProbedServer::Admin { fails })
}

/// Checks that a probe of drainit's port gets an answer, and that a probe for a path of drainit
/// goes to drainit's port. `path` is the path for which the probe should ask.
fn answered(ctx: &mut Context<'_>, probe: &PodProbe, path: &str) {
    let Some((target, port, span)) = probe.target.filter(|_| !probe.is_command) else { return };
    let (node, asked) = (&probe.node, probe.path());
    let is_control = target == ProbedServer::Control;
    let listen = ctx.loaded.config.control.listen.filter(|listen| listen.ip().is_loopback());
    let at = listen.map(|at| at.to_string()).unwrap_or_default();
    let host = ["httpGet", "tcpSocket"].iter().find_map(|how| text(node, &[how, "host"]));
    let is_loopback = |host: &&Word| {
        let address = host.text.trim_matches(['[', ']']).parse::<IpAddr>();
        host.text == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    let network = text(&ctx.workload.pod, &["hostNetwork"]);
    let is_of_host = network.is_some_and(|word| word.text == "true");
    let tls = text(node, &["httpGet", "scheme"]).filter(|scheme| scheme.text == "HTTPS");
    let local = host.as_ref().filter(|host| !is_of_host && is_loopback(host));
    let is_grpc = get(node, &["grpc"]).is_some();
    let is_known = ["", "/livez", "/readyz", "/status", "/metrics"].contains(&asked);
    let how = how_to_probe(ctx, path);
    let rows = [
        (
            listen.filter(|_| is_control && host.is_none()).map(|_| span),
            format!("the kubelet cannot reach this port: it connects to the pod's address, and the config's `control.listen` is {at}"),
            format!("write `control: {{listen: 0.0.0.0:{port}}}` in the config; it accepts no drain"),
        ),
        (
            tls.filter(|_| is_control).map(|scheme| scheme.span),
            "drainit does not speak TLS: this probe never succeeds".to_owned(),
            "remove `scheme`".to_owned(),
        ),
        (
            local.filter(|_| is_control).map(|host| host.span),
            "the kubelet connects to this address of its node, and not of the pod: this probe never succeeds".to_owned(),
            "remove `host`".to_owned(),
        ),
        (
            (is_grpc && target != ProbedServer::Other).then_some(span),
            format!("a `grpc` probe gets no answer from port {port}, which speaks HTTP/1"),
            how.clone(),
        ),
        (
            (is_control && !is_known).then_some(span),
            format!("drainit answers `{asked}` with 404"),
            how.clone(),
        ),
    ];
    for (span, message, help) in rows {
        if let Some(span) = span {
            ctx.error(span, message, help);
        }
    }
    if !is_control && matches!(asked, "/livez" | "/readyz") {
        let message = format!("drainit does not answer `{asked}` at port {port}");
        ctx.warning(span, message, how);
    }
}

/// Reports a probe that names a port which the container does not have.
fn named(ctx: &mut Context<'_>, container: &Node, port: &Word) {
    if number(container, &port.text).is_none() && port.text.parse::<u64>().is_err() {
        let (name, port_name) = (&ctx.container.name, &port.text);
        let message = format!("`{name}` has no port `{port_name}`: this probe never succeeds");
        ctx.error(
            port.span,
            message,
            "write the number, or the name of one of the container's `ports`",
        );
    }
}

/// Warns of a startup probe that waits for readiness, but gives up earlier than a `readiness` of
/// the config.
fn startup(ctx: &mut Context<'_>, probe: &PodProbe) {
    let processes = ctx.loaded.config.processes.iter();
    let timeouts = processes.filter_map(|it| Some(it.readiness.as_ref()?.timeout));
    let is_ready =
        matches!(probe.target(), Some(ProbedServer::Admin { .. })) && probe.path() == "/ready";
    let Some(longest) = timeouts.max().filter(|longest| *longest > probe.gives_up) else { return };
    if !is_ready && !probe.asks_ready() {
        return;
    }
    let timeout =
        ctx.of_exec_or("`--readiness` (`DRAINIT_READINESS`)", "the `timeout` of a `readiness`");
    let message = format!(
        "the kubelet kills a container that is not ready after {}, and {timeout} is {}",
        human(probe.gives_up),
        human(longest)
    );
    ctx.warning(probe.span, message, "raise `failureThreshold`, or shorten the timeout");
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
        let when = match has_startup {
            false => "at each start that takes longer",
            true => "when a process is not ready for so long",
        };
        let message = format!(
            "this liveness probe asks {asks}, which is 503 until the processes are ready: the kubelet kills after {}, {when}",
            human(probe.fails_after)
        );
        return match has_startup {
            false => ctx.error(probe.span, message, help),
            true => ctx.warning(probe.span, message, help),
        };
    }
    let message = format!(
        "this liveness probe would kill the container during the shutdown: {why}, and fails for up to {}; the kubelet kills after {}",
        human(lasts),
        human(probe.fails_after)
    );
    ctx.error(probe.span, message, format!(
        "{help}; the kubelet stops liveness probes when it deletes a pod, but not for `drainit drain` or an exit of a process"
    ));
}

/// Warns of a readiness probe that is too slow for a shutdown that begins because a process has
/// ended. In such a shutdown, each drain lasts only for its `min`, and the probe would fail only
/// after the drain.
fn notices(ctx: &mut Context<'_>, probe: &PodProbe) {
    let Some(min) = ctx.drains().map(|drain| drain.min).max() else { return };
    if probe.fails_after <= min {
        return;
    }
    let message = format!(
        "after the end of a process the pod drains for {}, and this readiness probe fails only after {}",
        human(min),
        human(probe.fails_after)
    );
    ctx.warning(probe.span, message,
        "set `periodSeconds: 1` and `failureThreshold: 1` here, or raise `min` of the drain in the config",
    );
}

/// Warns of a readiness probe that still succeeds while the container drains. Gives no warning if
/// the probe sends a request to a process or runs an unknown command, because such a probe may fail
/// during the drain.
fn readiness(ctx: &mut Context<'_>, probe: &PodProbe) {
    if ctx.plan.after_signal.drained_at().is_zero() {
        return;
    }
    let why = match (probe.target(), probe.path.as_ref().map(|path| path.text.as_str())) {
        (Some(_), None) if get(&probe.node, &["grpc"]).is_some() => return,
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
        _ => return,
    };
    let span = probe.path.as_ref().map_or(probe.span, |path| path.span);
    let message = format!("this readiness probe does not show the drain: {why}");
    let help = how_to_probe(ctx, "/readyz");
    ctx.warning(span, message, help);
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
