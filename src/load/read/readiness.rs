//! `readiness:` of a process.

use std::fmt::Display;
use std::time::Duration;

use regex_lite::Regex;

use crate::config::{Pattern, Probe, Readiness};
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::command::COMMAND;
use crate::load::read::drain;
use crate::load::read::drain::ADMIN;
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;

pub(crate) static KEYS: Keys = Keys { exclusive: PROBES, others: PACE };

/// The probes.
pub(crate) const PROBES: &[Key] = &[
    Key::new("unix", Shape::Path, "Ready when a connection to this Unix socket is accepted."),
    Key::new("tcp", Shape::HostPort, "Ready when a TCP connection is accepted."),
    Key::new("http", Shape::Url, "Ready when a `GET` is answered with a status from 200 to 399."),
    Key::new(
        "envoy",
        ADMIN,
        "Ready when the Envoy with this admin is live, has a listener, and its control plane has \
         answered.",
    ),
    Key::new("exec", COMMAND, "Ready when the command exits with 0."),
    Key::new("file", Shape::Path, "Ready when something exists at this path."),
    Key::new(
        "log",
        Shape::Path,
        "Ready when a line of its output matches this regular expression.",
    ),
    Key::new("notify", Shape::True, "Ready when it sends `READY=1`, as sd_notify(3) does."),
];

const PACE: &[Key] = &[
    Key::new(
        "interval",
        Shape::PositiveDuration,
        "The longest pause between two attempts. Default: 100ms.",
    ),
    Key::new(
        "timeout",
        Shape::PositiveDuration,
        "The time from each start after which the start has failed. Default: 30s.",
    ),
];

pub(crate) fn readiness(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
) -> Option<Readiness> {
    let fields = reader.fields(node, what, &KEYS)?;
    let interval = reader.field(&fields, "interval", values::positive_duration);
    let timeout = reader.field(&fields, "timeout", values::positive_duration);
    let names: (&dyn Display, _) = (&format_args!("`{what}`"), "probe");
    let (name, node) = reader.one_of(&fields, names, "keep one of them")?;
    Some(Readiness {
        probe: probe(reader, name, node)?,
        interval: interval.unwrap_or(Duration::from_millis(100)),
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
    })
}

pub(crate) fn probe(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Probe> {
    match name {
        "unix" => reader.typed(node, name, values::socket_path).map(Probe::Unix),
        "tcp" => reader.typed(node, name, values::tcp).map(Probe::Tcp),
        "http" => reader.typed(node, name, values::http).map(Probe::Http),
        "envoy" => {
            let admin = reader.first_chosen(node, name, &drain::FIRST_CHOSEN)?;
            reader.typed(admin, name, values::server).map(Probe::Envoy)
        }
        "exec" => reader.command(node, name).map(Probe::Exec),
        "file" => reader.typed(node, name, values::path).map(Probe::File),
        "log" => reader.typed(node, name, regex).map(Pattern).map(Probe::Log),
        _ => reader.typed(node, name, notify).map(|()| Probe::Notify),
    }
}

fn regex(text: &str) -> Result<Regex, Invalid> {
    let help = "see https://docs.rs/regex-lite for the syntax, and put it into single quotes";
    match text {
        "" => Err(Invalid::new("it would match every line", help)),
        _ => Regex::new(text)
            .map_err(|error| Invalid::new(format!("not a regular expression: {error}"), help)),
    }
}

fn notify(text: &str) -> Result<(), Invalid> {
    match values::boolean(text)? {
        true => Ok(()),
        false => {
            Err(Invalid::new("`true` is the only value", "write `notify: true`, or remove the key"))
        }
    }
}
