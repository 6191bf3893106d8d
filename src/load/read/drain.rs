//! `drain:` of a process.

use std::fmt::Display;

use crate::config::{Drain, DrainMethod};
use crate::load::overlay::DRAINS;
use crate::load::read::only_if;
use crate::load::read::only_if::condition;
use crate::load::read::places::{ProcessPlaces, Wait};
use crate::load::read::reader::{Fields, Reader};
use crate::load::values;
use crate::load::yaml::node::{Kind, Node};
use crate::plan::timeline::StepKind;

/// Reads `drain:`. `None` where `time` is 0, `only_if` does not hold, or a value is invalid. A
/// disabled drain is read all the same, so that its mistakes show before it is enabled.
pub(crate) fn drain(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    place: &mut ProcessPlaces,
) -> Option<Drain> {
    let what = format!("{what}.drain");
    let fields = reader.fields(node, &what, &[DRAINS, &[only_if::KEY]].concat())?;
    let holds = match fields.get(only_if::KEY) {
        Some(node) => {
            let what = format!("{what}.{}", only_if::KEY);
            condition(reader, node, &what).map(|condition| condition.holds_now())
        }
        None => Some(true),
    };
    let names: (&dyn Display, _) = (&format_args!("`{what}`"), "method");
    let (kind, node) = reader.one_of(&fields, DRAINS, names, "keep one of them")?;
    let what = format!("{what}.{kind}");
    let own: &[&str] = match kind {
        "envoy" => &["admin", "fail_healthcheck", "until"],
        "http" => &["url", "method"],
        "exec" => &["command"],
        _ => &["signal"],
    };
    if kind == "exec" && !matches!(node.kind, Kind::Mapping(_)) {
        // The short form: a command alone, as in a hook.
        let method = DrainMethod::Exec(reader.command(node, kind)?);
        if !holds? {
            return None;
        }
        place.drain = Some(node.span);
        let (time, min) = (Drain::DEFAULT_TIME, method.default_min());
        place.waits.push(Wait { what: StepKind::Drain, duration: time, span: node.span });
        return Some(Drain { method, time, min });
    }
    let fields = reader.fields(node, &what, &[own, &["time", "min"]].concat())?;
    let time = reader.duration(&fields, "time", values::duration).unwrap_or(Drain::DEFAULT_TIME);
    let min = reader.duration(&fields, "min", values::duration);
    let method = match kind {
        "envoy" => envoy(reader, &fields, &what),
        "http" => http(reader, &fields, &what),
        "exec" => {
            let node = required(reader, &fields, &what, "command", "[/app/drain]")?;
            reader.command(node, "command").map(DrainMethod::Exec)
        }
        _ => {
            let node = required(reader, &fields, &what, "signal", "USR1")?;
            let signal = reader.typed(node, "signal", values::catchable_signal)?;
            Some(match kind {
                "signal" => DrainMethod::Signal(signal),
                _ => DrainMethod::Notify(signal),
            })
        }
    };
    if time.is_zero() || !holds? {
        return None;
    }
    let at = |name: &str| {
        fields.get(name).filter(|node| !matches!(node.kind, Kind::Null)).map(|node| node.span)
    };
    place.drain = Some(fields.span);
    place.min = at("min");
    let span = at("time").unwrap_or(fields.span);
    place.waits.push(Wait { what: StepKind::Drain, duration: time, span });
    let method = method?;
    let min = min.unwrap_or(method.default_min()).min(time);
    Some(Drain { method, time, min })
}

fn envoy(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str) -> Option<DrainMethod> {
    let fail_healthcheck =
        reader.field(fields, "fail_healthcheck", values::boolean).unwrap_or(true);
    let until = reader.field(fields, "until", values::drain_until);
    let example = "http://127.0.0.1:9901` or `admin: unix:/run/envoy-admin.sock";
    let admin = required(reader, fields, what, "admin", example)?;
    let admin = reader.first_chosen(admin, "admin")?;
    let admin = reader.typed(admin, "admin", values::server)?;
    Some(DrainMethod::Envoy { admin, fail_healthcheck, until: until.unwrap_or_default() })
}

fn http(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str) -> Option<DrainMethod> {
    let method = reader.field(fields, "method", values::http_method);
    let url = required(reader, fields, what, "url", "http://127.0.0.1:8080/drain")?;
    let target = reader.typed(url, "url", values::http)?;
    Some(DrainMethod::Http { method: method.unwrap_or_default(), target })
}

/// A required key.
fn required<'n>(
    reader: &mut Reader<'_>,
    fields: &Fields<'n>,
    what: &str,
    name: &str,
    example: &str,
) -> Option<&'n Node> {
    let node = fields.get(name);
    if node.is_none() {
        let problem = reader.problems.error(fields.span, format!("`{what}` has no `{name}`"));
        problem.help(format!("add it: `{name}: {example}`"));
    }
    node.map(|node| &**node)
}
