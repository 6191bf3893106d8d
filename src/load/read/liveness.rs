//! `liveness:` of a process.

use std::fmt::Display;
use std::time::Duration;

use crate::config::Liveness;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::command::COMMAND;
use crate::load::read::drain::ADMIN;
use crate::load::read::reader::Reader;
use crate::load::read::readiness::probe;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;

pub(crate) static KEYS: Keys = Keys { exclusive: CHECKS, others: PACE };

/// The checks.
pub(crate) const CHECKS: &[Key] = &[
    Key::new("unix", Shape::Path, "Alive while this Unix socket accepts connections."),
    Key::new("tcp", Shape::HostPort, "Alive while a TCP connection is accepted."),
    Key::new("http", Shape::Url, "Alive while a `GET` is answered with a status from 200 to 399."),
    Key::new("envoy", ADMIN, "Alive while the admin of this Envoy answers, whatever it says."),
    Key::new("exec", COMMAND, "Alive while the command exits with 0."),
    Key::new(
        "notify",
        Shape::PositiveDuration,
        "Alive while it sends `WATCHDOG=1` at least this often, as sd_watchdog_enabled(3) says.",
    ),
];

/// The keys of a check that drainit makes.
const PACE: &[Key] = &[
    Key::new("interval", Shape::PositiveDuration, "The pause before each probe. Default: 10s."),
    Key::new("timeout", Shape::PositiveDuration, "The limit of one probe. Default: 1s."),
    Key::new(
        "retries",
        Shape::Count,
        "After this many failures in a row the process is stopped. Default: 3.",
    ),
    Key::new(
        "start_period",
        Shape::Duration,
        "No probe for this long after the process became ready. Default: 0.",
    ),
];

pub(crate) fn liveness(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
) -> Option<Liveness> {
    let fields = reader.fields(node, what, &KEYS)?;
    let interval = reader.field(&fields, "interval", values::positive_duration);
    let timeout = reader.field(&fields, "timeout", values::positive_duration);
    let retries = reader.field(&fields, "retries", positive_number);
    let start_period = reader.field(&fields, "start_period", values::duration);
    let names: (&dyn Display, _) = (&format_args!("`{what}`"), "check");
    let (name, node) = reader.one_of(&fields, names, "keep one of them")?;
    if name == "notify" {
        for Key { name: key, .. } in PACE {
            if let Some(span) = fields.key(key) {
                let message = format!("`{key}` has no effect with `notify`: drainit does not ask");
                let help =
                    "remove it; the value of `notify` is the longest time between two messages";
                reader.problems.warning(span, message).help(help);
            }
        }
        return reader.typed(node, name, values::positive_duration).map(Liveness::Notify);
    }
    Some(Liveness::Probe {
        probe: probe(reader, name, node)?,
        interval: interval.unwrap_or(Duration::from_secs(10)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        retries: retries.unwrap_or(3),
        start_period: start_period.unwrap_or_default(),
    })
}

fn positive_number(text: &str) -> Result<u32, Invalid> {
    match values::number(text)? {
        0 => Err(Invalid::new("0 is too few", "write at least 1")),
        number => Ok(number),
    }
}
