//! Checks the probes of a container. Can drainit answer them? Does the liveness probe kill the
//! container while the container drains? Does the readiness probe show that the container drains?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use regex_lite::Regex;

use ProbedServer::{Admin, Control, Other};

use crate::check::undrained::listens;
use crate::keys::{Address, Drain, DrainMethod};
use crate::kubernetes::Context;
use crate::kubernetes::commands::commands;
use crate::kubernetes::entry::script;
use crate::kubernetes::manifest::{
    Word, base, is_drainit, is_named, is_true, items, seconds, text, words,
};
use crate::kubernetes::termination::NAME;
use crate::language::diagnostics::rule::Rule;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};
use crate::load::Severity;
use crate::pattern;
use crate::types::human;

/// The kubelet's defaults for the period and the failure threshold of a probe.
const PERIOD: Duration = Duration::from_secs(10);
const THRESHOLD: u32 = 3;

/// One probe of the container.
struct PodProbe {
    node: Rc<Node>,
    /// The longest time from a fault until the kubelet considers the probe failed.
    fails_after: Duration,
    /// Who is asked. `None` if nobody knows.
    server: Option<ProbedServer>,
    /// The port to which the kubelet connects, and its place; `None` for a command.
    port: Option<(u16, Span)>,
    /// The path that a probe requests by HTTP, without the query. `None` for other probes.
    path: Option<Word>,
    /// The script of a command that reads the answer, and not only the status of its exit.
    reads: Option<String>,
}

impl PodProbe {
    /// The server, and the path; empty for a probe without a path.
    fn asks(&self) -> (Option<ProbedServer>, &str) {
        (self.server, self.path.as_ref().map(|path| path.text.as_str()).unwrap_or_default())
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
    let node = &ctx.container.node;
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = get(node, &[name]).map(|it| read(ctx, it)) else { continue };
        // The advice for a liveness probe never names `/readyz`, because the kubelet would then
        // kill a container that starts slowly.
        let path = if name == "livenessProbe" { "/livez" } else { "/readyz" };
        answered(ctx, &probe, path);
        if name == "readinessProbe" {
            readiness(ctx, &probe);
            notices(ctx, &probe);
        } else {
            own_grace_period(ctx, &probe.node);
            kills(ctx, &probe, name == "livenessProbe");
        }
    }
    if get(node, &["readinessProbe"]).is_none() && !ctx.container.is_sidecar && gets_requests(ctx) {
        let name = &ctx.container.name;
        let message = format!(
            "`{name}` has no readiness probe: it gets requests before its processes are ready"
        );
        ctx.warning(
            Rule::NoReadinessProbe,
            ctx.container.span,
            message,
            how_to_probe(ctx, "/readyz"),
        );
    }
}

/// Whether the pod may get requests: it is not a job, and it has a port, a Service or a server.
fn gets_requests(ctx: &Context<'_>) -> bool {
    let containers = items(&ctx.workload.pod, &["containers"]).iter();
    let has_port = containers.into_iter().any(|it| !items(it, &["ports"]).is_empty());
    let is_counted =
        |drain: &Drain| matches!(drain.method, DrainMethod::Envoy(_) | DrainMethod::Connections(_));
    let mut processes = ctx.loaded.config.processes.iter();
    let is_server = ctx.drains().any(is_counted) || processes.any(|it| listens(it).is_some());
    !ctx.workload.is_job() && (has_port || !ctx.workload.served.is_empty() || is_server)
}

fn read(ctx: &mut Context<'_>, node: &Rc<Node>) -> PodProbe {
    let period = seconds(node, &["periodSeconds"]).map_or(PERIOD, |(period, _)| period);
    let threshold = text(node, &["failureThreshold"]).and_then(|word| word.text.parse().ok());
    let fails_after = period.saturating_mul(threshold.unwrap_or(THRESHOLD));
    let port = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|how| text(node, &[how, "port"]));
    let path = get(node, &["httpGet"]).map(|get| {
        let otherwise = Word { text: "/".to_owned(), span: get.span };
        let word = text(get, &["path"]).unwrap_or(otherwise);
        let word = Word { text: without_query(&word.text), ..word };
        with_slash(ctx, word)
    });
    let port = port.and_then(|port| {
        let number = number(&ctx.container.node, &port.text);
        if number.is_none() {
            let message = format!("this probe never succeeds: it has no port `{}`", port.text);
            let help = "write the number, or the name of one of the container's `ports`";
            ctx.error(Rule::ProbeNeverSucceeds, port.span, message, help);
        }
        Some((number?, port.span))
    });
    let owner_of = |(port, _)| owner(ctx, &Address::Tcp((Ipv4Addr::LOCALHOST, port).into()));
    let reads = reads_answer(node);
    let asked = asked_by_command(ctx, node, reads.as_deref());
    PodProbe {
        node: Rc::clone(node),
        fails_after,
        server: asked.as_ref().map(|(server, _)| *server).or(port.map(owner_of)),
        port,
        path: path.or(asked.map(|(_, text)| Word { text, span: node.span })),
        reads,
    }
}

/// Reports a path without its slash, and returns the path with it. The kubelet sends the path as it
/// is (`formatURL` in pkg/kubelet/prober, and Go's `RequestURI`).
fn with_slash(ctx: &mut Context<'_>, word: Word) -> Word {
    if word.text.is_empty() || word.text.starts_with('/') || word.text.contains("://") {
        return word;
    }
    let path = format!("/{}", word.text);
    let message = format!(
        "the kubelet sends `GET {}`, without a slash: most servers answer with 400",
        word.text
    );
    ctx.error(Rule::ProbeNeverSucceeds, word.span, message, format!("write `path: {path}`"));
    Word { text: path, ..word }
}

/// The script of a probe that reads an answer: that passes it to another program, compares it, or
/// looks at the status of HTTP. `None` for a command whose own exit code decides.
fn reads_answer(node: &Node) -> Option<String> {
    static READS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?s)[^|]\|[^|]|http_code|response_code|(\[|\btest\b|\bcase\b).*(\$\(|`)|=\s*[\x22']?(\$\(|`)",
        )
    });
    let line = words(node, &["exec", "command"]);
    let script = script(&line)?.text.clone();
    READS.is_match(&script).then_some(script)
}

fn without_query(path: &str) -> String {
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// The server and the path that the command of a probe asks by HTTP, as in `curl -f URL` or
/// `drainit health`. `None` if the command does not fail at a status of 503, or asks another machine.
/// `reads` is the script of a command that reads the answer, which may ask within `$(…)`.
fn asked_by_command(
    ctx: &Context<'_>,
    node: &Node,
    reads: Option<&str>,
) -> Option<(ProbedServer, String)> {
    let command = commands(words(node, &["exec", "command"])).concat();
    let texts: Vec<_> = match reads {
        Some(script) => {
            script.split([' ', '\t', '\n', '"', '\'', '`', '(', ')', ';', '|', '<', '>']).collect()
        }
        None => command.iter().map(|word| &*word.text).collect(),
    };
    let has = |option: &str| texts.iter().any(|word| word.starts_with(option));
    let is_short = |it: &&str| it.starts_with('-') && !it.starts_with("--") && it.contains('f');
    let is_curl = texts.iter().any(|word| base(word) == "curl");
    if is_curl && reads.is_none() && !has("--fail") && !texts.iter().any(is_short) {
        return None;
    }
    // `drainit health` adds the path to the address of a drainit.
    let own = if has("--live") { "/livez" } else { "/readyz" }.to_owned();
    let is_health = |pair: &[&str]| is_drainit(pair[0]) && pair[1] == "health";
    if texts.windows(2).any(is_health) && !has("--url") {
        return Some((Control, own));
    }
    let is_status = |pair: &[&str]| is_drainit(pair[0]) && pair[1] == "status";
    if reads.is_some() && texts.windows(2).any(is_status) {
        return Some((Control, "/status".to_owned()));
    }
    let socket = texts.iter().skip_while(|word| **word != "--unix-socket").nth(1);
    texts.iter().find_map(|word| {
        let url = word.strip_prefix("--url=").unwrap_or(word);
        let rest = url.strip_prefix("http://");
        let at = rest.unwrap_or(url);
        let (at, path) = at.split_at(at.find('/').unwrap_or(at.len()));
        let (address, path) = match (url.strip_prefix("unix:"), socket) {
            (Some(socket), _) => (Address::Unix(socket.into()), ""),
            // The host of a request to a Unix socket means nothing.
            (None, Some(socket)) => (Address::Unix(rest.map(|_| socket)?.into()), path),
            (None, None) => (Address::Tcp(own_address(at)?), path),
        };
        let server = owner(ctx, &address);
        let is_base = server == Control && matches!(path, "" | "/") && !is_curl;
        Some((server, if is_base { own.clone() } else { without_query(path) }))
    })
}

/// The address `HOST:PORT`, if it is one of the pod. A variable may stand for the pod's address.
fn own_address(at: &str) -> Option<SocketAddr> {
    let (host, port) = at.rsplit_once(':')?;
    let is_own = host.starts_with('$') || host == "0.0.0.0" || is_loopback(host);
    Some((Ipv4Addr::LOCALHOST, port.parse().ok().filter(|_| is_own)?).into())
}

/// Warns of a probe whose own grace period is shorter than the shutdown. The kubelet gives this
/// time to a container that it stops because of the probe.
fn own_grace_period(ctx: &mut Context<'_>, probe: &Node) {
    let needed = ctx.plan.longest().max(ctx.plan.window());
    if let Some((given, span)) = seconds(probe, &[NAME]).filter(|(given, _)| *given < needed) {
        let (given, needed) = (human(given), human(needed));
        let message = format!(
            "after a failure of this probe the kubelet kills after {given}, and the shutdown takes up to {needed}"
        );
        let help = format!("remove `{NAME}` from the probe: it then has that of the pod");
        ctx.warning(Rule::ProbeKills, span, message, help);
    }
}

/// The number of a port. The manifest has the number itself, or the name of one of the container's
/// ports.
pub(super) fn number(container: &Node, port: &str) -> Option<u16> {
    let named = items(container, &["ports"]).iter().find(|it| is_named(it, port));
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
        return Control;
    }
    let mut admins = ctx.drains().filter_map(|drain| match &drain.method {
        DrainMethod::Envoy(envoy) if is_at(&envoy.admin) => Some(envoy.fail_healthcheck),
        _ => None,
    });
    admins.next().map_or(Other, |fails| Admin { fails })
}

/// Checks that a probe of drainit's port gets an answer, and that a probe for a path of drainit
/// goes to drainit's port. `path` is the path for which the probe should ask.
fn answered(ctx: &mut Context<'_>, probe: &PodProbe, path: &str) {
    let Some((port, span)) = probe.port else { return };
    let ((server, asked), node) = (probe.asks(), &probe.node);
    let listen = ctx.loaded.config.control.listen;
    let is_of_host = is_true(&ctx.workload.pod, &["hostNetwork"]);
    let how = how_to_probe(ctx, path);
    let mut never = |span: Span, why: String, help: &str| {
        ctx.error(
            Rule::ProbeNeverSucceeds,
            span,
            format!("this probe never succeeds: {why}"),
            help,
        );
    };
    if server != Some(Other) && get(node, &["grpc"]).is_some() {
        never(span, format!("port {port} speaks HTTP/1, and not gRPC"), &how);
    }
    if server != Some(Control) {
        if matches!(asked, "/livez" | "/readyz") {
            ctx.warning(
                Rule::ProbeNeverSucceeds,
                span,
                format!("drainit does not answer `{asked}` at port {port}"),
                how,
            );
        }
        return;
    }
    let host = ["httpGet", "tcpSocket"].iter().find_map(|how| text(node, &[how, "host"]));
    if let Some(at) = listen.filter(|at| host.is_none() && at.ip().is_loopback()) {
        let why =
            format!("the kubelet connects to the address of the pod, and `control.listen` is {at}");
        let help = format!(
            "write `control: {{listen: 0.0.0.0:{port}}}` in the config; it accepts no drain"
        );
        never(span, why, &help);
    }
    if let Some(scheme) = text(node, &["httpGet", "scheme"]).filter(|it| it.text == "HTTPS") {
        never(scheme.span, "drainit does not speak TLS".to_owned(), &how);
    }
    if let Some(host) = host.filter(|host| !is_of_host && is_loopback(&host.text)) {
        let why = "the kubelet connects to this address of its node, and not of the pod";
        never(host.span, why.to_owned(), &how);
    }
    if !["", "/livez", "/readyz", "/status", "/metrics"].contains(&asked) {
        never(span, format!("drainit answers `{asked}` with 404"), &how);
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Reports a liveness or startup probe by which the kubelet kills a container that starts or drains.
fn kills(ctx: &mut Context<'_>, probe: &PodProbe, is_liveness: bool) {
    let (asks, delay) = match probe.asks() {
        (Some(Control), "/readyz") => ("`/readyz`", ctx.loaded.config.shutdown.unready_delay),
        (Some(Admin { fails }), "/ready") if fails || !is_liveness => {
            ("Envoy's `/ready`", Duration::ZERO)
        }
        (server, path) if is_liveness && probe.reads.is_some() => {
            return reads_state(ctx, probe, server, path);
        }
        _ => return,
    };
    let first = seconds(&probe.node, &["initialDelaySeconds"]).filter(|_| !is_liveness);
    let gives_up = probe.fails_after.saturating_add(first.map_or(Duration::ZERO, |it| it.0));
    let after = human(gives_up);
    if is_liveness {
        let lasts = ctx.plan.needed().saturating_sub(delay);
        let whole = human(lasts);
        let message = format!(
            "this liveness probe asks {asks}, which is 503 until the processes are ready, and for up to {whole} of a shutdown: the kubelet kills after {after}"
        );
        let help = how_to_probe(ctx, "/livez");
        // The kubelet stops liveness probes when it deletes a pod, but not for `drainit drain` or an
        // exit of a process.
        let has_startup = get(&ctx.container.node, &["startupProbe"]).is_some();
        let is_late = has_startup && probe.fails_after >= lasts;
        let severity = if is_late { Severity::Warning } else { Severity::Error };
        return ctx.problems.push(Rule::ProbeKills, severity, probe.node.span, message).help(help);
    }
    let processes = ctx.loaded.config.processes.iter();
    let timeouts = processes.filter_map(|it| Some(it.readiness.as_ref()?.timeout));
    let Some(longest) = timeouts.max().filter(|longest| *longest > gives_up) else { return };
    let timeout = ctx.of_exec_or("`DRAINIT_READINESS`", "the `timeout` of a `readiness`");
    let longest = human(longest);
    let message = format!(
        "the kubelet kills a container that is not ready after {after}, and {timeout} is {longest}"
    );
    ctx.warning(
        Rule::ProbeKills,
        probe.node.span,
        message,
        "raise `failureThreshold`, or shorten the timeout",
    );
}

/// Reports a liveness probe that reads an answer which changes while the container drains: the state
/// of drainit or of an Envoy, or a word such as `ready` that the script looks for.
fn reads_state(ctx: &mut Context<'_>, probe: &PodProbe, server: Option<ProbedServer>, path: &str) {
    static READY: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i)(\b|_)(un|not|is)?_?(ready|readyz|readiness|draining|serving)\b")
    });
    let script = probe.reads.as_deref().unwrap_or_default();
    let (what, severity) = match (server, path) {
        (Some(Control), "/status") => ("the state of drainit", Severity::Error),
        (Some(Admin { fails: true }), "/server_info") => ("the state of Envoy", Severity::Error),
        (Some(Control | Admin { .. }), _) => return,
        _ if READY.is_match(script) => ("whether a server is ready", Severity::Warning),
        _ => return,
    };
    let (lasts, after) = (human(ctx.plan.needed()), human(probe.fails_after));
    let message = format!(
        "this liveness probe reads {what}, which changes for up to {lasts} of a shutdown: the kubelet kills after {after}"
    );
    let help = how_to_probe(ctx, "/livez");
    ctx.problems.push(Rule::ProbeKills, severity, probe.node.span, message).help(help);
}

/// Warns of a readiness probe that is too slow for a shutdown that begins because a process has
/// ended. In such a shutdown, each drain lasts only for its `min`, and the probe would fail only
/// after the drain.
fn notices(ctx: &mut Context<'_>, probe: &PodProbe) {
    let min = ctx.drains().map(|drain| drain.min).max();
    let Some(min) = min.filter(|min| probe.fails_after > *min) else { return };
    let (min, after) = (human(min), human(probe.fails_after));
    let message = format!(
        "after the end of a process the pod drains for {min}, and this readiness probe fails only after {after}"
    );
    let help = "set `periodSeconds: 1` and `failureThreshold: 1` here, or raise `min` of the drain in the config";
    ctx.warning(Rule::SlowProbe, probe.node.span, message, help);
}

/// Warns of a readiness probe that still succeeds while the container drains. Gives no warning if
/// the probe sends a request to a process or runs an unknown command, because such a probe may fail
/// during the drain.
fn readiness(ctx: &mut Context<'_>, probe: &PodProbe) {
    let has_drain = !ctx.plan.after_signal.drained_at().is_zero();
    let why = match probe.asks() {
        // Nobody knows how a script uses an answer.
        _ if !has_drain || get(&probe.node, &["grpc"]).is_some() || probe.reads.is_some() => return,
        (Some(_), _) if probe.path.is_none() => "connections are accepted until the end",
        (Some(Admin { fails: false }), "/ready") => "with `fail_healthcheck: false` it stays 200",
        (Some(Admin { .. }), "/ready" | "/livez" | "/readyz") => return,
        (Some(Admin { .. }), _) => "of Envoy's admin, only `/ready` does",
        (Some(Control), "/livez" | "/status" | "/metrics") => "it stays 200",
        _ => return,
    };
    let span = probe.path.as_ref().map_or(probe.node.span, |path| path.span);
    let message = format!("this readiness probe does not show the drain: {why}");
    ctx.warning(Rule::ProbeBlindToDrain, span, message, how_to_probe(ctx, "/readyz"));
}

fn how_to_probe(ctx: &Context<'_>, path: &str) -> String {
    let live = if path == "/livez" { ", --live" } else { "" };
    match ctx.loaded.config.control.listen.map(|listen| listen.port()) {
        Some(port) => format!("probe with `httpGet: {{path: {path}, port: {port}}}`"),
        None => format!("probe with `exec: {{command: [drainit, health{live}]}}`"),
    }
}
