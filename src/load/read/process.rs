//! `processes:`, entry by entry.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{
    ArgRoute, CopyOf, Hooks, LogMode, OnExit, OnlyIf, Probe, Process, ProcessKind, Readiness,
    Restart, RestartPolicy, Update, Variable,
};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::command::COMMAND;
use crate::load::read::depends_on;
use crate::load::read::depends_on::RawDependency;
use crate::load::read::drain;
use crate::load::read::drain::drain;
use crate::load::read::environment;
use crate::load::read::environment::{env_files, environment};
use crate::load::read::hooks;
use crate::load::read::hooks::hooks;
use crate::load::read::listen;
use crate::load::read::listen::listen;
use crate::load::read::liveness;
use crate::load::read::liveness::liveness;
use crate::load::read::log;
use crate::load::read::log::log;
use crate::load::read::only_if;
use crate::load::read::only_if::condition;
use crate::load::read::places::{Parts, Places, ProcessPlaces, Wait};
use crate::load::read::reader::{Fields, Reader};
use crate::load::read::readiness;
use crate::load::read::readiness::readiness;
use crate::load::read::render;
use crate::load::read::render::{check_templates, render};
use crate::load::read::scale;
use crate::load::read::scale::{Names, Scaling};
use crate::load::read::ulimits;
use crate::load::read::ulimits::ulimits;
use crate::load::read::watch;
use crate::load::read::watch::watch;
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::{self, Kind, Node};
use crate::plan::timeline::StepKind;
use crate::types::{Signal, exit_code};

/// An entry of `processes:`.
pub(crate) static KEYS: Keys = Keys::new(&[
    Key::new("command", COMMAND, "The program and its arguments."),
    Key::new(
        "type",
        Shape::Word(&KINDS),
        "A `service` runs until it is stopped, a `oneshot` must end with code 0. Default: service.",
    ),
    Key::new(
        "success_codes",
        Shape::List(&Shape::Count),
        "The exit codes that are no failure. Default: [0].",
    ),
    Key::new(
        "timeout",
        Shape::PositiveDuration,
        "A oneshot that runs longer is stopped and has failed. Unset: it may run forever.",
    ),
    only_if::ROW,
    Key::new("args", Shape::Table(&ARGS), "Which of the container's arguments it gets."),
    Key::new(
        "sockets",
        Shape::List(&Shape::Path),
        "Unix sockets that are removed before each start and after each end.",
    ),
    Key::new("listen", listen::SHAPE, "Sockets that drainit opens, holds and hands over."),
    Key::new(
        "depends_on",
        depends_on::SHAPE,
        "Processes that it needs before it starts, and that are stopped only after it has ended.",
    ),
    Key::new(
        "readiness",
        Shape::Table(&readiness::KEYS),
        "When it is ready. Without it: as soon as it runs.",
    ),
    Key::new(
        "liveness",
        Shape::Table(&liveness::KEYS),
        "How drainit sees, once it is ready, that it still works. If it does not, it is stopped.",
    ),
    Key::new(
        "stop_signal",
        Shape::Signal(values::stop_signal),
        "The signal that asks it to end. Default: TERM.",
    ),
    Key::new(
        "stop_grace_period",
        Shape::Duration,
        "The time from `stop_signal` to KILL. Unset: up to 10 s of what the deadline leaves.",
    ),
    Key::new(
        "env_file",
        Shape::Either(&[
            Shape::Path,
            Shape::Table(&environment::ENV_FILE),
            Shape::List(&Shape::Either(&[Shape::Path, Shape::Table(&environment::ENV_FILE)])),
        ]),
        "Files with variables of this process.",
    ),
    Key::new(
        "environment",
        Shape::Either(&[
            Shape::List(&Shape::Path),
            Shape::Map(&Shape::Either(&[Shape::Text, Shape::Table(&environment::FROM_FILE)])),
        ]),
        "Variables of this process.",
    ),
    Key::new(
        "render",
        Shape::List(&Shape::Table(&render::KEYS)),
        "Templates that are written to files before each start.",
    ),
    Key::new(
        "watch",
        Shape::List(&Shape::Table(&watch::KEYS)),
        "Files that restart it, or send it a signal, when they change.",
    ),
    Key::new(
        scale::KEY,
        Shape::Count,
        "How many copies there are: NAME-1, NAME-2 and so on, each with its SCALE_INDEX.",
    ),
    Key::new("working_dir", Shape::Path, "Its working directory."),
    Key::new("user", Shape::Path, "The user that it runs as: `UID:GID` or `NAME:GROUP`."),
    Key::new(
        "umask",
        Shape::Number("^(0o)?0*[0-7]{1,3}$"),
        "The permissions that the files it creates do not get, in octal.",
    ),
    Key::new("ulimits", Shape::Table(&ulimits::KEYS), "Its resource limits."),
    Key::new(
        "update",
        Shape::Word(&UPDATES),
        "How a new instance replaces the running one. Default: stop-first.",
    ),
    Key::new(
        "restart",
        Shape::Either(&[Shape::Word(&RESTART_POLICIES), Shape::Pattern("^on-failure:[0-9]+$")]),
        "Whether it is started again after an unasked end. Default: no.",
    ),
    Key::new("restart_delay", Shape::Duration, "The first pause before a restart. Default: 1s."),
    Key::new("restart_max", Shape::Count, "At most this many consecutive restarts."),
    Key::new(
        "on_exit",
        Shape::Word(&ON_EXIT),
        "What its unasked end does to the container, if it is not restarted. Default: shutdown.",
    ),
    Key::new(
        "required",
        Shape::Bool,
        "Whether the container is not ready after it has failed for good. Default: true.",
    ),
    Key::new(
        "forward_signals",
        Shape::List(&Shape::Signal(values::catchable_signal)),
        "Signals to drainit that are passed on to the process.",
    ),
    Key::new("hooks", Shape::Table(&hooks::OF_PROCESS), "Commands at its start and end."),
    Key::new("drain", Shape::Table(&drain::KEYS), "How it is drained before it is stopped."),
    Key::new("log", Shape::Table(&log::KEYS), "Where its output goes. Default: {mode: inherit}."),
]);

static ARGS: Keys = Keys::new(&[
    Key::new("prefix", Shape::Path, "An argument with this prefix goes to this process."),
    Key::new("refuse", Shape::List(&Shape::Text), "Options that are refused from outside."),
]);

const KINDS: &[(&str, ProcessKind)] =
    &[("service", ProcessKind::Service), ("oneshot", ProcessKind::Oneshot)];

const UPDATES: &[(&str, Update)] = &[
    ("stop-first", Update::StopFirst),
    ("start-first", Update::StartFirst),
    ("hot-restart", Update::HotRestart),
];

const RESTART_POLICIES: &[(&str, RestartPolicy)] = &[
    ("no", RestartPolicy::No),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
];

const ON_EXIT: &[(&str, OnExit)] = &[
    ("shutdown", OnExit::Shutdown),
    ("failure-shutdown", OnExit::FailureShutdown),
    ("ignore", OnExit::Ignore),
];

/// Reads every process, also those with errors, so that references to them can be checked. Those
/// with `scale: 0` come second.
pub(crate) fn processes(
    reader: &mut Reader<'_>,
    root: &Fields<'_>,
    env: &[(String, String)],
    places: &mut Places,
) -> (Vec<Process>, Vec<Process>) {
    let entries = match root.get("processes") {
        Some(node) => reader.entries(node, &"processes"),
        None => Some(&[][..]),
    };
    let Some(entries) = entries else { return Default::default() };
    let mut without_copies = Vec::new();
    let mut processes = Vec::with_capacity(entries.len());
    let mut wanted = Vec::with_capacity(entries.len());
    let mut scaling = Scaling::default();
    let mut keys = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        if key.text.starts_with("x-") {
            left_alone(reader, key, node);
            continue;
        }
        name(reader, &key.text, key.span);
        keys.push(key);
        let copies = match scaling.read(reader, node, processes.len()) {
            Names::One => {
                let mut place = ProcessPlaces::new(key.span);
                let (process, needs) = process(reader, &key.text, None, node, &mut place);
                check_templates(reader, env, &process, &place);
                processes.push(process);
                wanted.push(needs);
                places.processes.push(place);
                continue;
            }
            Names::Copies(copies) => copies,
        };
        let mut names = Vec::new();
        // Without any copy, the entry must be valid nevertheless.
        for index in 1..=copies.max(1) {
            let mut place = ProcessPlaces::new(key.span);
            let copy = CopyOf { process: key.text.to_string(), index };
            reader.variables.set_copy(Some(index));
            let (process, needs) = process(reader, &key.text, Some(copy), node, &mut place);
            check_templates(reader, env, &process, &place);
            if copies > 0 {
                names.push(process.name.clone());
                processes.push(process);
                wanted.push(needs);
                places.processes.push(place);
            } else {
                without_copies.push(process);
            }
        }
        reader.variables.set_copy(None);
        scaling.add(&key.text, names);
    }
    if processes.is_empty() && !root.has_unknown {
        let span = root.key("processes").unwrap_or(Span::whole(root.span.file()));
        if without_copies.is_empty() {
            let problem = reader.problems.error(span, "there is no process");
            problem.help("add one: `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`");
        } else {
            let message = "there is nothing to start: every `scale` is 0";
            let problem = reader.problems.warning(span, message);
            problem.help("set one to 1 or more; without a process drainit exits with 0 at once");
        }
    }
    scale::check_names(reader, &keys, &scaling);
    depends_on::resolve(reader, &mut processes, wanted, &mut places.processes, &scaling);
    (processes, without_copies)
}

/// Warns of an `x-` key that looks like a process, unless its value has an anchor, for others to
/// take from.
fn left_alone(reader: &mut Reader<'_>, key: &node::Key, node: &Node) {
    let source = reader.problems.source(key.span.file());
    let line = source.and_then(|source| source.line(key.span.line())).unwrap_or_default();
    let value: String = line.chars().skip(key.span.column() + key.span.len() - 1).collect();
    let has_anchor = value.trim_start_matches([':', ' ']).starts_with('&');
    if has_anchor || Fields::unchecked(node).get("command").is_none() {
        return;
    }
    let message = format!("{} is no process: names with `x-` are left alone", quote(&key.text));
    reader.problems.warning(key.span, message).help("give it another name, or remove it");
}

fn name(reader: &mut Reader<'_>, name: &str, span: Span) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(fits) {
        let problem =
            reader.problems.error(span, format!("{} cannot be the name of a process", quote(name)));
        problem.help("use letters, digits, `_`, `-` and `.`");
    } else if name == log::OWN {
        let message = format!("{} is the name on drainit's own lines", quote(name));
        reader.problems.error(span, message).help("give the process another name");
    }
}

/// `processes.NAME`
struct Place<'a>(&'a str);

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "processes.{}", self.0)
    }
}

fn process(
    reader: &mut Reader<'_>,
    key: &str,
    copy_of: Option<CopyOf>,
    node: &Node,
    place: &mut ProcessPlaces,
) -> (Process, Vec<RawDependency>) {
    let what = &Place(key);
    let name = copy_of.as_ref().map_or(key.to_owned(), |copy| scale::name_of(key, copy.index));
    // An empty value is reported as a process without a `command`.
    let fields = match node.kind {
        Kind::Null => Fields::empty(place.name),
        _ => reader.fields(node, what, &KEYS).unwrap_or_else(|| Fields::empty(place.name)),
    };
    let is_mapping = matches!(node.kind, Kind::Mapping(_) | Kind::Null);
    if fields.get("command").is_none() && is_mapping && !fields.has_unknown {
        let problem =
            reader.problems.error(place.name, format!("process {} has no `command`", quote(key)));
        problem.help("add `command: [PROGRAM, ARGUMENT, …]`");
    }
    let at = |key: &str| fields.get(key).map(|node| node.span);
    place.parts = Parts {
        command: at("command"),
        update: at("update"),
        depends_on: at("depends_on"),
        working_dir: at("working_dir"),
        user: at("user"),
        readiness: at("readiness"),
        liveness: at("liveness"),
        hooks: fields.key("hooks"),
        drain: at("drain"),
        environment: at("environment"),
        env_file: at("env_file"),
        render: at("render"),
        log: at("log"),
    };
    let command =
        fields.get("command").and_then(|node| reader.command(node, "command")).unwrap_or_default();
    let kind =
        reader.field(&fields, "type", |text| values::choice(text, KINDS)).unwrap_or_default();
    if kind == ProcessKind::Oneshot {
        for key in ["readiness", "liveness", "drain", "watch", "update"] {
            if let Some(span) = fields.key(key).filter(|_| fields.get(key).is_some()) {
                let problem = reader
                    .problems
                    .error(span, format!("a oneshot has no `{key}`: it exits by itself"));
                problem.help(format!("remove `{key}`, or `type: oneshot`"));
            }
        }
    }
    let success_codes = success_codes(reader, &fields);
    let timeout = reader.duration(&fields, "timeout", values::positive_duration);
    if let (ProcessKind::Service, Some(span), true) =
        (kind, fields.key("timeout"), timeout.is_some())
    {
        let problem = reader.problems.error(span, "only a oneshot has a `timeout`");
        problem.help(
            "add `type: oneshot`; for a service, `readiness` has a `timeout` and `stop_grace_period` limits the stop",
        );
    }
    let stop_grace_period = reader.duration(&fields, "stop_grace_period", values::duration);
    let drain = fields.get("drain").and_then(|node| drain(reader, node, what, place));
    if let (Some(duration), Some(node)) = (stop_grace_period, fields.get("stop_grace_period")) {
        place.waits.push(Wait { what: StepKind::Stop, duration, span: node.span });
    }
    let hooks = match fields.get("hooks") {
        Some(node) => {
            hooks(reader, node, &format_args!("{what}.hooks"), &hooks::OF_PROCESS, &mut place.waits)
        }
        None => Hooks::default(),
    };
    let mut environment_of_process: Vec<Variable> =
        copy_of.as_ref().map(CopyOf::variable).into_iter().collect();
    environment_of_process
        .extend(fields.get("env_file").map(|node| env_files(reader, node)).unwrap_or_default());
    environment_of_process
        .extend(fields.get("environment").map(|n| environment(reader, n)).unwrap_or_default());
    let needs =
        fields.get("depends_on").map(|node| depends_on::read(reader, node)).unwrap_or_default();
    let forwarded =
        fields.get("forward_signals").map(|node| reader.signals(node, "forward_signals"));
    let (forward_signals, spans) = forwarded.unwrap_or_default().into_iter().unzip();
    place.forward_signals = spans;
    let only_if = fields.get(only_if::KEY).and_then(|node| {
        condition(reader, node, &format_args!("{what}.{}", only_if::KEY))?.at_start()
    });
    if only_if == Some(OnlyIf::Never) {
        // The shutdown does not wait for it.
        (place.waits, place.min, place.drain) = (Vec::new(), None, None);
    }
    place.readiness = fields.get("readiness").map(|node| node.span);
    let readiness = fields
        .get("readiness")
        .and_then(|node| readiness(reader, node, &format_args!("{what}.readiness")));
    let (log, stderr_to_stdout) = match fields.get("log") {
        Some(node) => log(reader, node, &format_args!("{what}.log"), &name),
        None => (LogMode::Inherit, false),
    };
    let needs_lines = |readiness: &Readiness| matches!(readiness.probe, Probe::Log(_));
    if let (LogMode::None, true, Some(span)) =
        (&log, readiness.as_ref().is_some_and(needs_lines), fields.key("log"))
    {
        let problem = reader
            .problems
            .error(span, "`readiness: {log: …}` needs the output that `mode: none` drops");
        problem.help("remove one of the two");
    }
    let (listen, spans) =
        fields.get("listen").map(|node| listen(reader, node, what, &name)).unwrap_or_default();
    place.listen = spans;
    let mut process = Process {
        name,
        copy_of,
        command,
        kind,
        success_codes,
        timeout,
        only_if,
        args: fields.get("args").and_then(|node| args(reader, node, what, place)),
        sockets: fields.get("sockets").map(|node| sockets(reader, node, place)).unwrap_or_default(),
        listen,
        depends_on: Vec::new(),
        readiness,
        liveness: fields
            .get("liveness")
            .and_then(|node| liveness(reader, node, &format_args!("{what}.liveness"))),
        stop_signal: reader
            .field(&fields, "stop_signal", values::stop_signal)
            .unwrap_or(Signal::TERM),
        stop_grace_period,
        environment: environment_of_process,
        render: fields
            .get("render")
            .map(|node| render(reader, node, what, place))
            .unwrap_or_default(),
        watch: fields.get("watch").map(|node| watch(reader, node, what)).unwrap_or_default(),
        working_dir: reader.field(&fields, "working_dir", values::path),
        user: fields.get("user").and_then(|node| {
            let text = reader.text(node, "user")?;
            reader.accounts.find(&text.text).map_err(|bad| reader.refuse(&text, "user", bad)).ok()
        }),
        umask: reader.field(&fields, "umask", values::umask),
        ulimits: fields
            .get("ulimits")
            .map(|node| ulimits(reader, node, &format_args!("{what}.ulimits")))
            .unwrap_or_default(),
        update: reader
            .field(&fields, "update", |text| values::choice(text, UPDATES))
            .filter(|_| kind == ProcessKind::Service)
            .unwrap_or_default(),
        restart: restart(reader, &fields),
        on_exit: reader.field(&fields, "on_exit", on_exit).unwrap_or_default(),
        required: reader.field(&fields, "required", values::boolean).unwrap_or(true),
        forward_signals,
        hooks,
        drain,
        log,
        stderr_to_stdout,
    };
    scale::number_prefix(&mut process, node);
    let stops = process.on_exit != OnExit::Ignore;
    if let (false, true, Some(span)) = (process.required, stops, fields.key("required")) {
        let why = format!("`{what}` may be missing, but its exit stops the container");
        reader.problems.error(span, why).help("add `on_exit: ignore`");
    }
    (process, needs)
}

fn success_codes(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<u8> {
    let codes = fields.get("success_codes").map(|node| {
        let codes = reader.list(node, "success_codes", values::exit_code);
        let is_empty = matches!(&node.kind, Kind::Sequence(items) if items.is_empty());
        if is_empty {
            let problem = reader.problems.error(node.span, "`success_codes` is empty");
            problem.help("write the exit codes that are no failure, such as `[0, 2]`");
        }
        codes.into_iter().map(|(code, _)| code).collect::<Vec<_>>()
    });
    codes.filter(|codes| !codes.is_empty()).unwrap_or_else(|| vec![exit_code::OK])
}

fn args(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    place: &mut ProcessPlaces,
) -> Option<ArgRoute> {
    let what = format!("{what}.args");
    let fields = reader.fields(node, &what, &ARGS)?;
    let refuse =
        fields.get("refuse").map(|node| reader.list(node, "refuse", |text| Ok(text.to_owned())));
    let help = "add the prefix of its arguments: `{prefix: \"--app.\"}`";
    let node = reader.required(&fields, &what, "prefix", help)?;
    let prefix = reader.typed(node, "prefix", |text| match text {
        "" => Err(Invalid::new("every argument begins with it", "write a prefix such as `--app.`")),
        _ => Ok(text.to_owned()),
    })?;
    place.prefix = Some(node.span);
    Some(ArgRoute { prefix, refuse: refuse.into_iter().flatten().map(|(name, _)| name).collect() })
}

fn sockets(reader: &mut Reader<'_>, node: &Node, place: &mut ProcessPlaces) -> Vec<PathBuf> {
    let mut sockets: Vec<PathBuf> = Vec::new();
    for (path, span) in reader.list(node, "sockets", values::socket_path) {
        if !sockets.contains(&path) {
            sockets.push(path);
            place.sockets.push(span);
        }
    }
    sockets
}

fn restart(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Restart {
    let written = reader.field(fields, "restart", |text| match text.split_once(':') {
        Some(("on-failure", most)) => Ok((RestartPolicy::OnFailure, Some(values::number(most)?))),
        _ if text == "unless-stopped" => Err(Invalid::new(
            "not needed here, a process that was stopped by hand stays stopped",
            "write `always`",
        )),
        _ => Ok((values::choice(text, RESTART_POLICIES)?, None)),
    });
    let is_known = written.is_some() || fields.get("restart").is_none();
    let (policy, most) = written.unwrap_or_default();
    let max = reader.field(fields, "restart_max", values::number);
    if let (Some(most), Some(span), true) = (most, fields.key("restart_max"), max.is_some()) {
        let problem =
            reader.problems.error(span, format!("`restart` already sets the limit to {most}"));
        problem.help("remove one of the two");
    }
    if let (Some(0), Some(node)) = (most, fields.get("restart")) {
        let message = "`on-failure:0` never restarts: Docker's 0 means no limit, here no restart";
        let problem = reader.problems.warning(node.span, message);
        problem.help("write `on-failure` for no limit, or `no`");
    }
    let delay = reader.field(fields, "restart_delay", values::duration);
    for (key, is_set) in [("restart_delay", delay.is_some()), ("restart_max", max.is_some())] {
        let is_idle = is_known && is_set && policy == RestartPolicy::No;
        if let Some(span) = fields.key(key).filter(|_| is_idle) {
            let message = format!("`{key}` has no effect without `restart`");
            let problem = reader.problems.warning(span, message);
            problem.help("add `restart: on-failure` or `restart: always`, or remove it");
        }
    }
    Restart { policy, delay: delay.unwrap_or(Duration::from_secs(1)), max: most.or(max) }
}

fn on_exit(text: &str) -> Result<OnExit, Invalid> {
    values::choice(text, ON_EXIT)
}
