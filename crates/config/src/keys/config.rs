//! The whole config: its type, its reader, and a reader of only the key `control`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use drainit_derive::Named;

use crate::keys::environment::Env;
use crate::keys::forms::Catchable;
use crate::keys::hooks::ContainerHooks;
use crate::keys::key::{At, Form, Leaf, Table};
use crate::keys::processes::Processes;
use crate::keys::reader::{Fields, Reader};
use crate::keys::{ArgRoute, Hooks, Process, Shutdown};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::expand;
use crate::language::span::Span;
use crate::language::yaml::node::{Kind, Node};
use crate::types::Signal;
use crate::types::suggest::nearest;

/// A whole config.
#[derive(Clone, Debug, Table)]
#[table(default, differing)]
pub struct Config {
    /// Defaults of variables, for `${…}` and for every process.
    // This field comes first, because all other values may use the variables. The variables are in
    // file order; those that the container's environment overrides are left out.
    #[key(form = Env, merge = Entries)]
    pub env: Vec<(String, String)>,
    /// The time for the shutdown, and the signals that begin it.
    pub shutdown: Shutdown,
    /// Addresses for status, health, metrics and drain.
    pub control: Control,
    /// The format of log lines.
    pub logging: Logging,
    /// The signal at which drainit [reads the config again](operating.md#reload), like systemd's
    /// `ReloadSignal=`. Default: none. <!-- C76 --> A stop signal or a forwarded signal is
    /// refused. <!-- C601 --> Example: `reload_signal: HUP`
    #[key(form = Catchable)]
    pub reload_signal: Option<Signal>,
    /// How drainit treats an argument of the container that no process claims. `refuse`: an error.
    /// `exec`: if this argument is the first and does not begin with `-`, drainit runs the
    /// arguments as a command, like `drainit exec`, and starts no processes. <!-- C682 --> Example:
    /// `arguments: exec`
    #[key(default = "refuse")]
    pub arguments: Arguments,
    /// Commands at the start and the end of the container.
    #[key(form = ContainerHooks)]
    pub hooks: Hooks,
    /// The processes by name, at least one. <!-- C77 -->
    // The list is in file order, and a [`ProcessId`](crate::types::ProcessId) is an index into it.
    #[key(form = Processes, merge = Entries, uncompared)]
    pub processes: Vec<Arc<Process>>,
    // The `args` of each entry with `scale: 0`, with the name of the entry. drainit accepts the
    // arguments that these entries claim, and drops them.
    #[key(skip)]
    pub unused_args: Vec<(String, ArgRoute)>,
}

/// `arguments:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Named)]
pub enum Arguments {
    #[default]
    Refuse,
    Exec,
}

/// `control:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
pub struct Control {
    /// TCP address of the HTTP endpoints. <!-- C92 --> Example: `listen: 127.0.0.1:9902`
    #[key(default = "none")]
    pub listen: Option<SocketAddr>,
    /// Unix socket of drainit's commands, in a directory that exists. Only drainit's user and root
    /// can connect (mode 0600). <!-- C93 --> drainit replaces a stale socket, and removes its own
    /// at exit. <!-- C609 --> `off`: no socket. <!-- C610 --> Default: a [private
    /// socket](operating.md#the-socket) without a path. Example: `socket: /run/drainit.sock`
    pub socket: ControlSocket,
}

/// `control.socket`: the Unix socket over which drainit's own commands ask the supervisor. The HTTP
/// endpoints are on this socket, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// An abstract socket, which needs no directory. Only drainit's own user, and root in drainit's
    /// PID namespace, can use the socket.
    #[default]
    Private,
    /// A socket in the file system.
    Path(PathBuf),
    Off,
}

impl ControlSocket {
    /// The path of a socket in the file system.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Private | Self::Off => None,
        }
    }
}

/// `logging:`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Table)]
pub struct Logging {
    /// The format of every line. <!-- C136 --> `DRAINIT_LOG_FORMAT` overrides this
    /// key. <!-- C613 --> Example: `format: json`
    #[key(default = "text")]
    pub format: LogFormat,
}

/// The format of a line of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
pub enum LogFormat {
    /// `[prefix] line`
    #[default]
    Text,
    /// `{"time":…,"process":…,"stream":…,"message":…}`
    Json,
}

pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Config {
    let at = &At::ROOT;
    let Some(fields) = reader.table(node, at, Config::KEYS) else { return Config::default() };
    let mut config = Config::read_keys(reader, &fields).unwrap_or_default();
    config.unused_args = std::mem::take(&mut reader.unused_args);
    let entries = fields.get("processes").map_or(&[][..], Node::entries);
    let is_mapping = fields.get("processes").is_none_or(|it| matches!(it.kind, Kind::Mapping(_)));
    if config.processes.is_empty() && is_mapping && !fields.has_unknown {
        let has_key = fields.entries().iter().any(|(key, _)| &*key.text == "processes");
        let span = if has_key { fields.key("processes") } else { Span::whole(node.span.file()) };
        if entries.iter().all(|(key, node)| key.text.starts_with("x-") || node.is_reset()) {
            let problem =
                reader.problems.error(Rule::EmptyConfig, span, "the config has no processes");
            problem.help("add one: `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`");
        } else {
            let message = "there is nothing to start: every `scale` is 0";
            let problem = reader.problems.warning(Rule::NothingStarts, span, message);
            problem.help("set one to 1 or more; without a process drainit exits with 0 at once");
        }
    }
    unknown_profiles(reader, node, &config);
    if let Some(format) = log_format(reader, node) {
        config.logging.format = format;
    }
    config
}

/// Warns of each enabled profile that no process of the config has, because the profile's name is
/// probably a typing error.
fn unknown_profiles(reader: &mut Reader<'_>, root: &Node, config: &Config) {
    let known: Vec<_> = config.processes.iter().flat_map(|process| &process.profiles).collect();
    for enabled in reader.variables.container().profiles() {
        if enabled == "*" || known.iter().any(|profile| *profile == enabled) {
            continue;
        }
        let message =
            format!("no process has the profile {} of `DRAINIT_PROFILES`", quote(enabled));
        let problem =
            reader.problems.warning(Rule::UnknownProfile, Span::whole(root.span.file()), message);
        problem.help(match nearest(enabled, known.iter().map(|profile| profile.as_str())) {
            Some(profile) => format!("did you mean `{profile}`?"),
            None => "remove it, or add it to the `profiles` of a process".to_owned(),
        });
    }
}

/// The log format that `DRAINIT_LOG_FORMAT` sets in the container's environment.
fn log_format(reader: &mut Reader<'_>, root: &Node) -> Option<LogFormat> {
    let wanted = reader.variables.container().get_non_empty("DRAINIT_LOG_FORMAT")?;
    let format = LogFormat::parse(wanted).map_err(|bad| {
        let span = root.find("logging.format").map(|node| node.span);
        let message = format!(
            "`DRAINIT_LOG_FORMAT` in the container's environment is {}: {}",
            quote(wanted),
            bad.why
        );
        let span = span.unwrap_or(Span::whole(root.span.file()));
        reader.problems.error(Rule::InvalidValue, span, message).help(bad.help);
    });
    format.ok()
}

/// Reads `control`, and the entries of `env` that `control` uses. Also returns the names of those
/// variables that `control` or these entries use, but that are not set.
pub(crate) fn control_alone(reader: &mut Reader<'_>, node: &Node) -> (Control, Vec<String>) {
    let fields = Fields::unchecked(node);
    let mut used = Vec::new();
    if let Some(node) = fields.get("control") {
        names(node, &mut used);
    }
    let mut defaults = Vec::new();
    if let Some(node) = fields.get("env") {
        // An entry can use the entries before it. To find all entries that are used, this loop goes
        // from the last entry to the first.
        for (key, value) in node.entries().iter().rev() {
            let is_set = reader.variables.container().is_set(&key.text);
            if !is_set && used.iter().any(|name| **name == *key.text) {
                names(value, &mut used);
                defaults.push((key.clone(), Rc::clone(value)));
            }
        }
        defaults.reverse();
        let env = Node::new(node.span, Kind::Mapping(defaults));
        Env::read(reader, &At::ROOT.inner("env"), &env);
    }
    let control = reader.key::<Control>(&fields, "control").unwrap_or_default();
    used.retain(|name| reader.variables.get_non_empty(name).is_none());
    (control, used)
}

/// Adds the names of all variables that a node and the nodes in it use.
fn names(node: &Node, out: &mut Vec<String>) {
    for name in node.scalar().map(expand::names).unwrap_or_default() {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    node.inner().for_each(|inner| names(inner, out));
}
