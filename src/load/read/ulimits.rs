//! `ulimits:` of a process, in Compose's form.

use std::fmt::Display;

use crate::config::{Limit, Resource, Ulimit};
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::values::Invalid;
use crate::load::yaml::node::{Kind, Node};

const HELP: &str =
    "write a number such as `65535`, `unlimited`, or `max` for the hard limit that drainit has";

pub(crate) static KEYS: Keys = Keys::new(&[
    row("core", "The size of a core file, in bytes."),
    row("cpu", "The processor time, in seconds."),
    row("data", "The size of its data, in bytes."),
    row("fsize", "The size of a file that it writes, in bytes."),
    row("locks", "The number of locks. Linux ignores it."),
    row("memlock", "Locked memory, in bytes."),
    row("msgqueue", "POSIX message queues, in bytes."),
    row("nice", "The ceiling of its nice value: 20 minus this."),
    row("nofile", "The number of open files."),
    row("nproc", "The number of processes and threads of its user."),
    row("rss", "Resident memory. Linux ignores it."),
    row("rtprio", "The ceiling of its real-time priority."),
    row(
        "rttime",
        "The processor time of a real-time process without a system call, in microseconds.",
    ),
    row("sigpending", "The number of queued signals of its user."),
    row("stack", "The size of its stack, in bytes."),
]);

static BOTH: Keys = Keys::new(&[
    Key::new("soft", LIMIT, "What the kernel enforces."),
    Key::new("hard", LIMIT, "Up to where it may raise the soft limit."),
]);

const LIMIT: Shape = Shape::Number("^(max|unlimited|-1|[0-9]+)$");

const fn row(name: &'static str, meaning: &'static str) -> Key {
    const EITHER: &[Shape] = &[LIMIT, Shape::Table(&BOTH)];
    Key::new(name, Shape::Either(EITHER), meaning)
}

/// Reads `ulimits:`, a mapping of resources to a limit or to `{soft: …, hard: …}`.
pub(crate) fn ulimits(reader: &mut Reader<'_>, node: &Node, what: &dyn Display) -> Vec<Ulimit> {
    let Some(fields) = reader.fields(node, what, &KEYS) else { return Vec::new() };
    let mut limits = Vec::new();
    for (name, resource) in Resource::ALL {
        let Some(node) = fields.get(name) else { continue };
        let place = format!("{what}.{name}");
        limits.extend(ulimit(reader, node, name, &place, resource));
    }
    limits
}

fn ulimit(
    reader: &mut Reader<'_>,
    node: &Node,
    name: &str,
    place: &str,
    resource: Resource,
) -> Option<Ulimit> {
    if !matches!(node.kind, Kind::Mapping(_)) {
        let both = reader.typed(node, name, limit)?;
        return Some(Ulimit { resource, soft: both, hard: both });
    }
    let fields = reader.fields(node, &place, &BOTH)?;
    for key in ["soft", "hard"] {
        reader.required(&fields, &place, key, "write both, such as `{soft: 1024, hard: max}`");
    }
    let soft = reader.field(&fields, "soft", limit);
    let hard = reader.field(&fields, "hard", limit);
    let (soft, hard) = (soft?, hard?);
    let is_above = match (soft, hard) {
        (Limit::Number(soft), Limit::Number(hard)) => soft > hard,
        (Limit::Unlimited, Limit::Number(_)) => true,
        _ => false,
    };
    if is_above {
        let span = fields.key("soft").unwrap_or(fields.span);
        let problem = reader
            .problems
            .error(span, format!("the soft limit of `{place}` is above the hard one"));
        problem.help("make `soft` smaller, or `hard` larger");
        return None;
    }
    Some(Ulimit { resource, soft, hard })
}

fn limit(text: &str) -> Result<Limit, Invalid> {
    match text.trim() {
        "max" => Ok(Limit::Max),
        "unlimited" | "-1" => Ok(Limit::Unlimited),
        text => match text.parse() {
            // The kernel's RLIM_INFINITY.
            Ok(u64::MAX) => Ok(Limit::Unlimited),
            Ok(number) => Ok(Limit::Number(number)),
            Err(_) => Err(Invalid::new("not a limit", HELP)),
        },
    }
}
