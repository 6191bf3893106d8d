//! `readiness:` of a process.

use std::fmt::Display;
use std::time::Duration;

use regex_lite::Regex;

use crate::config::{Probe, Readiness};
use crate::load::overlay::PROBES;
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;

pub(crate) fn readiness(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
) -> Option<Readiness> {
    let known = [PROBES, &["interval", "timeout"]].concat();
    let fields = reader.fields(node, what, &known)?;
    let interval = reader.field(&fields, "interval", values::positive_duration);
    let timeout = reader.field(&fields, "timeout", values::positive_duration);
    let names: (&dyn Display, _) = (&format_args!("`{what}`"), "probe");
    let (name, node) = reader.one_of(&fields, PROBES, names, "keep one of them")?;
    Some(Readiness {
        probe: probe(reader, name, node)?,
        interval: interval.unwrap_or(Duration::from_millis(100)),
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
    })
}

fn probe(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Probe> {
    match name {
        "unix" => reader.typed(node, name, values::socket_path).map(Probe::Unix),
        "tcp" => reader.typed(node, name, values::tcp).map(Probe::Tcp),
        "http" => reader.typed(node, name, values::http).map(Probe::Http),
        "exec" => reader.command(node, name).map(Probe::Exec),
        "file" => reader.typed(node, name, values::path).map(Probe::File),
        "log" => reader.typed(node, name, regex).map(Probe::Log),
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
