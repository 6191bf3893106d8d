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
use crate::types::suggest::list;

pub(crate) fn readiness(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
) -> Option<Readiness> {
    let known = [PROBES, &["interval", "timeout"]].concat();
    let fields = reader.fields(node, what, &known)?;
    let interval = reader.field(&fields, "interval", values::positive_duration);
    let timeout = reader.field(&fields, "timeout", values::positive_duration);
    let mut probes = PROBES.iter().filter_map(|name| Some((*name, fields.get(name)?)));
    let Some((name, node)) = probes.next() else {
        if !fields.has_unknown {
            let message = format!("`{what}` has no probe");
            let help = format!("add one of {}", list(PROBES.iter().copied()));
            reader.problems.error(fields.span, message).help(help);
        }
        return None;
    };
    for (second, _) in probes {
        let span = fields.key(second).unwrap_or(fields.span);
        let message = format!("`{what}` can have `{name}` or `{second}`, not both");
        reader.problems.error(span, message).help("keep one of them");
    }
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
