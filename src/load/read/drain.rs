//! `drain:` of a process.

use std::fmt::Display;

use crate::config::{Direction, Drain, DrainMethod, DrainStrategy};
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::command::COMMAND;
use crate::load::read::only_if;
use crate::load::read::only_if::condition;
use crate::load::read::places::{ProcessPlaces, Wait};
use crate::load::read::reader::{Fields, Reader};
use crate::load::values;
use crate::load::yaml::node::{Kind, Node};
use crate::plan::timeline::StepKind;
use crate::types::human;

pub(crate) static KEYS: Keys = Keys { exclusive: DRAINS, others: &[only_if::ROW] };

/// The drain methods.
pub(crate) const DRAINS: &[Key] = &[
    Key::new(
        "envoy",
        Shape::Table(&ENVOY),
        "Drained by calls to Envoy's admin, until no client is connected.",
    ),
    Key::new("http", Shape::Table(&HTTP), "Drained by a request, until it is answered with a 2xx."),
    Key::new("exec", COMMAND_OR_EXEC, "Drained by a command, until it ends with code 0."),
    Key::new("signal", Shape::Table(&SIGNAL), "Drained by a signal, until the process has ended."),
    Key::new(
        "notify",
        Shape::Table(&SIGNAL),
        "Drained by a signal, until the process sends `DRAINED=1`, or has ended.",
    ),
];

const COMMAND_OR_EXEC: Shape = Shape::Either(&[COMMAND, Shape::Table(&EXEC)]);

const TIME: Key =
    Key::new("time", Shape::Duration, "The longest wait. `0` turns draining off. Default: 15s.");
const MIN: Key = Key::new(
    "min",
    Shape::Duration,
    "The shortest wait, while load balancers remove the endpoint. Default: 5s for `envoy`, else 0s.",
);

/// The address of an admin, or a list of which the first chosen one counts.
pub(crate) const ADMIN: Shape = Shape::Either(&[Shape::Url, Shape::List(&FIRST_CHOSEN_ADMIN)]);

pub(crate) static ENVOY: Keys = Keys::new(&[
    Key::new("admin", ADMIN, "Envoy's admin address: `http://HOST:PORT` or `unix:/SOCKET`."),
    Key::new(
        "fail_healthcheck",
        Shape::Bool,
        "Also `POST /healthcheck/fail`, so that every response closes. Default: true.",
    ),
    Key::new(
        "strategy",
        Shape::Word(&values::DRAIN_STRATEGIES),
        "`gradual`: until `min` is over, Envoy spreads the closes over its --drain-time-s. Default: immediate.",
    ),
    Key::new(
        "until",
        Shape::Word(&values::DRAIN_UNTIL),
        "Drained when there are no open `connections`, or no `requests` in flight.",
    ),
    Key::new(
        "exit_at",
        Shape::Count,
        "Drained when at most this number of connections, or requests, is left. Default: 0.",
    ),
    Key::new(
        "direction",
        Shape::Word(&values::DIRECTIONS),
        "`inbound`: only listeners with `traffic_direction: INBOUND` are drained. Default: all.",
    ),
    Key::new(
        "ignore_listeners",
        Shape::List(&Shape::Path),
        "Listeners whose connections do not count, by name, address or `stat_prefix`.",
    ),
    TIME,
    MIN,
]);

/// An address of a list, with or without a condition.
const FIRST_CHOSEN_ADMIN: Shape = Shape::Either(&[Shape::Url, Shape::Table(&FIRST_CHOSEN)]);

pub(crate) static FIRST_CHOSEN: Keys = Keys {
    exclusive: &[Key::new("text", Shape::Url, "Envoy's admin address.")],
    others: &[only_if::ROW],
};

pub(crate) static HTTP: Keys = Keys::new(&[
    Key::new("url", Shape::Url, "The URL of the request."),
    Key::new("method", Shape::Word(&values::HTTP_METHODS), "The method. Default: POST."),
    TIME,
    MIN,
]);

pub(crate) static EXEC: Keys =
    Keys::new(&[Key::new("command", COMMAND, "The command that drains it."), TIME, MIN]);

pub(crate) static SIGNAL: Keys = Keys::new(&[
    Key::new(
        "signal",
        Shape::Signal(values::catchable_signal),
        "The signal that begins the drain, sent to the process and not to its group.",
    ),
    TIME,
    MIN,
]);

/// Reads `drain:`. `None` where `time` is 0, `only_if` does not hold, or a value is invalid. A
/// disabled drain is read all the same, so that its mistakes show before it is enabled.
pub(crate) fn drain(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    place: &mut ProcessPlaces,
) -> Option<Drain> {
    let what = format!("{what}.drain");
    let fields = reader.fields(node, &what, &KEYS)?;
    let holds = match fields.get(only_if::KEY) {
        Some(node) => {
            let what = format!("{what}.{}", only_if::KEY);
            condition(reader, node, &what).map(|condition| condition.holds_now())
        }
        None => Some(true),
    };
    let names: (&dyn Display, _) = (&format_args!("`{what}`"), "method");
    let (kind, node) = reader.one_of(&fields, names, "keep one of them")?;
    let what = format!("{what}.{kind}");
    let keys = match kind {
        "envoy" => &ENVOY,
        "http" => &HTTP,
        "exec" => &EXEC,
        _ => &SIGNAL,
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
    let fields = reader.fields(node, &what, keys)?;
    let time = reader.duration(&fields, "time", values::duration).unwrap_or(Drain::DEFAULT_TIME);
    let min = reader.duration(&fields, "min", values::duration);
    let method = match kind {
        "envoy" => envoy(reader, &fields, &what),
        "http" => http(reader, &fields, &what),
        "exec" => {
            let node =
                reader.required(&fields, &what, "command", "add it: `command: [/app/drain]`")?;
            reader.command(node, "command").map(DrainMethod::Exec)
        }
        _ => {
            let node = reader.required(&fields, &what, "signal", "add it: `signal: USR1`")?;
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
    // A `time` from a variable may well be shorter where it runs.
    if let (Some(written), Some(span), true) =
        (min.filter(|min| *min > time), place.min, reader.problems.is_check())
    {
        let (from, to) = (human(written), human(time));
        let message = format!("`min` is cut from {from} to {to}, which is the `time` of the drain");
        reader.problems.warning(span, message).help("write a longer `time`, or a shorter `min`");
    }
    let min = min.unwrap_or(method.default_min()).min(time);
    if let DrainMethod::Envoy { strategy: DrainStrategy::Gradual, .. } = method
        && min.is_zero()
        && let Some(span) = at("strategy")
    {
        let message = "`strategy: gradual` spreads the goodbye over `min`, which is 0";
        reader.problems.error(span, message).help("set `min`, such as `min: 5s`");
    }
    Some(Drain { method, time, min })
}

fn envoy(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str) -> Option<DrainMethod> {
    let direction = reader.field(fields, "direction", values::direction);
    // It would close the connections of egress listeners, too.
    let fail_healthcheck = reader
        .field(fields, "fail_healthcheck", values::boolean)
        .unwrap_or(direction != Some(Direction::Inbound));
    let strategy = reader.field(fields, "strategy", values::drain_strategy).unwrap_or_default();
    if let (DrainStrategy::Gradual, false, Some(node)) =
        (strategy, fail_healthcheck, fields.get("strategy"))
    {
        let message = "`strategy: gradual` says when the health check is failed, and it is not";
        let problem = reader.problems.error(node.span, message);
        problem.help("remove it: without `fail_healthcheck`, Envoy's own flags say how fast connections close");
    }
    let until = reader.field(fields, "until", values::drain_until).unwrap_or_default();
    let exit_at = reader.field(fields, "exit_at", values::number);
    let ignored = fields.get("ignore_listeners");
    let ignored = ignored.map(|node| reader.list(node, "ignore_listeners", values::listener));
    let ignore_listeners = ignored.map(|names| names.into_iter().map(|(name, _)| name).collect());
    let help = "add it: `admin: http://127.0.0.1:9901` or `admin: unix:/run/envoy-admin.sock`";
    let admin = reader.required(fields, &what, "admin", help)?;
    let admin = reader.first_chosen(admin, "admin", &FIRST_CHOSEN)?;
    let admin = reader.typed(admin, "admin", values::server)?;
    Some(DrainMethod::Envoy {
        admin,
        fail_healthcheck,
        strategy,
        until,
        exit_at,
        direction,
        ignore_listeners,
    })
}

fn http(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str) -> Option<DrainMethod> {
    let method = reader.field(fields, "method", values::http_method);
    let help = "add it: `url: http://127.0.0.1:8080/drain`";
    let url = reader.required(fields, &what, "url", help)?;
    let target = reader.typed(url, "url", values::http)?;
    Some(DrainMethod::Http { method: method.unwrap_or_default(), target })
}
