//! Reads the top level of a config, and every section except `processes:`.

use std::rc::Rc;
use std::time::Duration;

use crate::config::{Config, Control, Hooks, LogFormat, Logging, Shutdown};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::expand;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::environment::env;
use crate::load::read::hooks;
use crate::load::read::hooks::hooks;
use crate::load::read::places::{Places, Wait};
use crate::load::read::process;
use crate::load::read::reader::{Fields, Reader};
use crate::load::span::Span;
use crate::load::values;
use crate::load::yaml::node::{Kind, Node};
use crate::plan::timeline::StepKind;
use crate::types::Signal;

/// The top level of a config.
pub(crate) static ROOT: Keys = Keys::new(&[
    Key::new(
        "env",
        Shape::Map(&Shape::Text),
        "Defaults of variables, for `${…}` and for every process.",
    ),
    Key::new(
        "shutdown",
        Shape::Table(&SHUTDOWN),
        "The time for the shutdown, and the signals that begin it.",
    ),
    Key::new("control", Shape::Table(&CONTROL), "Addresses for status, health, metrics and drain."),
    Key::new("logging", Shape::Table(&LOGGING), "The form of the log."),
    Key::new(
        "reload_signal",
        Shape::Signal(values::catchable_signal),
        "The signal at which drainit reads the config again, as by `drainit reload`. Default: none.",
    ),
    Key::new(
        "hooks",
        Shape::Table(&hooks::OF_CONTAINER),
        "Commands at the start and the end of the container.",
    ),
    Key::new(
        "processes",
        Shape::Processes(&Shape::Table(&process::KEYS)),
        "The processes by name.",
    ),
]);

static SHUTDOWN: Keys = Keys::new(&[
    Key::new(
        "grace_period",
        Shape::Duration,
        "The time from the stop signal until the container is killed from outside. Default: 30s.",
    ),
    Key::new(
        "reserve",
        Shape::Duration,
        "The part of `grace_period` that is kept free at the end. Default: 2s.",
    ),
    Key::new(
        "readiness_delay",
        Shape::Duration,
        "How long `/readyz` answers 503 before the drain begins. Default: 0s.",
    ),
    Key::new(
        "unready_delay",
        Shape::Duration,
        "How long `/readyz` and Envoy's health check stay good while the drain goes on. Default: 0s.",
    ),
    Key::new(
        "signals",
        Shape::List(&Shape::Signal(values::catchable_signal)),
        "The signals that stop the container. Default: [TERM, INT, QUIT].",
    ),
    Key::new("report", Shape::Path, "The file that the report is written to at the end, as JSON."),
]);

static CONTROL: Keys = Keys::new(&[
    Key::new("listen", Shape::HostPort, "TCP address of the HTTP endpoints."),
    Key::new(
        "socket",
        Shape::Path,
        "Unix socket of drainit's own commands, for its own user and root; `off` for none. \
         Default: a private one without a path.",
    ),
    Key::new(
        "drain_over_tcp",
        Shape::Bool,
        "Whether `listen` accepts `POST /drain` from loopback addresses. Default: false.",
    ),
]);

static LOGGING: Keys = Keys::new(&[
    Key::new("format", Shape::Word(&FORMATS), "The format of every line. Default: text."),
    Key::new("events", Shape::Path, "File, FIFO or `/dev/fd/N` for what happens, as JSON lines."),
]);

pub(crate) fn root(reader: &mut Reader<'_>, node: &Node) -> (Config, Places) {
    let fields = reader.fields(node, &"", &ROOT).unwrap_or_else(|| Fields::empty(node.span));
    // First, because all other values may use these variables.
    let env = fields.get("env").map(|node| env(reader, node)).unwrap_or_default();
    let mut places = Places::new(fields.key("shutdown").unwrap_or(fields.span));
    let shutdown = shutdown(reader, &fields, &mut places);
    let control = control(reader, &fields, &mut places);
    places.hooks = fields.key("hooks");
    let logging = logging(reader, &fields, &mut places);
    let reload_signal = reader.field(&fields, "reload_signal", values::catchable_signal);
    places.reload_signal = fields.get("reload_signal").map(|node| node.span);
    let hooks = match fields.get("hooks") {
        Some(node) => hooks(reader, node, &"hooks", &hooks::OF_CONTAINER, &mut places.waits),
        None => Hooks::default(),
    };
    let (processes, without_copies) = match node.kind {
        Kind::Mapping(_) => process::processes(reader, &fields, &env, &mut places),
        _ => Default::default(), // already reported
    };
    let config =
        Config { env, shutdown, control, logging, reload_signal, hooks, processes, without_copies };
    (config, places)
}

/// Reads `control` and the entries of `env` that it uses. Also returns the variables that it uses
/// and that are not set.
pub(crate) fn control_alone(reader: &mut Reader<'_>, node: &Node) -> (Control, Vec<String>) {
    let fields = Fields::unchecked(node);
    let mut used = Vec::new();
    if let Some(node) = fields.get("control") {
        names(node, &mut used);
    }
    let mut defaults = Vec::new();
    if let Some(node) = fields.get("env") {
        // In reverse, because each entry may use those before it.
        for (key, value) in Fields::unchecked(node).entries().iter().rev() {
            let is_set = reader.variables.container().get_non_empty(&key.text).is_some();
            if !is_set && used.iter().any(|name| **name == *key.text) {
                names(value, &mut used);
                defaults.push((key.clone(), Rc::clone(value)));
            }
        }
        defaults.reverse();
        env(reader, &Node::new(node.span, Kind::Mapping(defaults)));
    }
    let control = control(reader, &fields, &mut Places::new(fields.span));
    used.retain(|name| reader.variables.get_non_empty(name).is_none());
    (control, used)
}

/// Collects the variables that a subtree uses.
fn names(node: &Node, out: &mut Vec<String>) {
    match &node.kind {
        Kind::Null => {}
        Kind::Scalar { text, .. } => {
            for name in expand::names(text) {
                if !out.contains(&name) {
                    out.push(name);
                }
            }
        }
        Kind::Sequence(items) => items.iter().for_each(|item| names(item, out)),
        Kind::Mapping(entries) => entries.iter().for_each(|(_, node)| names(node, out)),
    }
}

fn shutdown(reader: &mut Reader<'_>, root: &Fields<'_>, places: &mut Places) -> Shutdown {
    let fields = root.get("shutdown").and_then(|node| reader.fields(node, &"shutdown", &SHUTDOWN));
    let fields = fields.unwrap_or_else(|| Fields::empty(root.span));
    let mut time = |name, default| {
        let duration = reader.duration(&fields, name, values::duration);
        duration.unwrap_or(default)
    };
    let (grace_period, reserve) = (
        time("grace_period", Shutdown::DEFAULT_GRACE_PERIOD),
        time("reserve", Shutdown::DEFAULT_RESERVE),
    );
    let readiness_delay = time("readiness_delay", Duration::ZERO);
    let unready_delay = time("unready_delay", Duration::ZERO);
    let at = |name: &str| fields.get(name).map(|node| node.span);
    places.unready_delay = at("unready_delay");
    if !readiness_delay.is_zero() && !unready_delay.is_zero() {
        let span = at("unready_delay").unwrap_or(fields.span);
        let message = "`readiness_delay` and `unready_delay` exclude each other: \
                       not ready before the drain, or ready during it";
        reader.problems.error(span, message).help("keep one of them");
    }
    if let Some(node) = fields.get("grace_period") {
        places.grace_period = node.span;
        places.has_grace_period = true;
        if let Kind::Scalar { text, .. } = &node.kind {
            places.grace_variables = expand::names(text);
        }
    }
    if reserve >= grace_period && reader.durations_known {
        let span = at("reserve").or(at("grace_period")).unwrap_or(fields.span);
        let (reserve, grace_period) =
            (crate::types::human(reserve), crate::types::human(grace_period));
        let message =
            format!("`reserve` ({reserve}) is not shorter than `grace_period` ({grace_period})");
        reader
            .problems
            .error(span, message)
            .help("make `reserve` shorter, or `grace_period` longer");
        reader.durations_known = false;
    }
    let window = grace_period.saturating_sub(reserve);
    if unready_delay >= window && !unready_delay.is_zero() && reader.durations_known {
        let span = at("unready_delay").unwrap_or(fields.span);
        let (delay, window) = (crate::types::human(unready_delay), crate::types::human(window));
        let message =
            format!("`unready_delay` ({delay}) leaves nothing of the {window} until the deadline");
        let problem = reader.problems.error(span, message);
        problem.help("make it shorter, or `grace_period` (and the pod's) longer");
    }
    if !readiness_delay.is_zero() {
        let span = at("readiness_delay").unwrap_or(fields.span);
        places.waits.push(Wait { what: StepKind::ReadinessDelay, duration: readiness_delay, span });
    }
    let signals = match fields.get("signals") {
        None => vec![Signal::TERM, Signal::INT, Signal::QUIT],
        Some(node) => {
            let is_list = matches!(&node.kind, Kind::Sequence(items) if items.is_empty());
            if is_list {
                let problem = reader
                    .problems
                    .error(node.span, "with no `signals` the container cannot be stopped");
                problem.help("write `[TERM, INT, QUIT]`, or remove the key");
            }
            reader.signals(node, "signals").into_iter().map(|(signal, _)| signal).collect()
        }
    };
    let report = reader.field(&fields, "report", values::path);
    Shutdown { grace_period, reserve, readiness_delay, unready_delay, signals, report }
}

fn control(reader: &mut Reader<'_>, root: &Fields<'_>, places: &mut Places) -> Control {
    let fields = root.get("control").and_then(|node| reader.fields(node, &"control", &CONTROL));
    let Some(fields) = fields else { return Control::default() };
    let place = |name| fields.get(name).map(|node| node.span);
    places.control_socket = place("socket");
    (places.listen, places.drain_over_tcp) = (place("listen"), place("drain_over_tcp"));
    Control {
        listen: reader.field(&fields, "listen", values::listen),
        socket: reader.field(&fields, "socket", values::control_socket).unwrap_or_default(),
        drain_over_tcp: reader
            .field(&fields, "drain_over_tcp", values::boolean)
            .unwrap_or_default(),
    }
}

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

fn logging(reader: &mut Reader<'_>, root: &Fields<'_>, places: &mut Places) -> Logging {
    let fields = root.get("logging").and_then(|node| reader.fields(node, &"logging", &LOGGING));
    let fields = fields.unwrap_or_else(|| Fields::empty(root.span));
    places.events = fields.get("events").map(|node| node.span);
    let events = reader.field(&fields, "events", values::path);
    let node = fields.get("format");
    let format =
        node.and_then(|node| reader.typed(node, "format", |text| values::choice(text, FORMATS)));
    let Some(wanted) = reader.variables.container().get_non_empty("DRAINIT_LOG_FORMAT") else {
        return Logging { format: format.unwrap_or_default(), events };
    };
    let format = values::choice(wanted, FORMATS).unwrap_or_else(|bad| {
        let span = node.map_or(Span::whole(root.span.file()), |node| node.span);
        let message = format!(
            "`DRAINIT_LOG_FORMAT` in the container's environment is {}: {}",
            quote(wanted),
            bad.why
        );
        reader.problems.error(span, message).help(bad.help);
        LogFormat::default()
    });
    Logging { format, events }
}
