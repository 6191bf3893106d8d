//! `drain:`: how drainit takes the traffic away from a process before it stops the process.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use drainit_derive::Named;

use crate::core::connections::answers::Awaits;
use crate::core::spec::DrainOff;
use crate::keys::command::{Command, CommandForm};
use crate::keys::forms::Verbatim;
use crate::keys::forms::{Catchable, HttpStatus, ListenerName, Port, Positive, leaf};
use crate::keys::key::{At, Form, Later, List, Shape, Table};
use crate::keys::only_if;
use crate::keys::reader::{Fields, Reader};
use crate::keys::{Address, HttpTarget};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::invalid::Invalid;
use crate::language::yaml::node::{Kind, Node};
use crate::types::{Signal, human};

/// The default of `min`. Load balancers learn late that the endpoint was removed, and may still send
/// new connections when the process has none left. A drain ends with its process, so the time costs
/// nothing if the process ends earlier.
pub const DEFAULT_MIN: Duration = Duration::from_secs(5);

/// The drain of a process, as `drain:` defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    pub method: DrainMethod,
    /// The longest time that drainit waits for the end of the drain. `None` if the config does not
    /// set it: drainit then waits for as long as the deadline allows.
    pub time: Option<Duration>,
    /// The shortest time that drainit waits, unless the process ends sooner. At most `time`.
    pub min: Duration,
}

impl Drain {
    /// Changes the drain of an Envoy so that it lasts until no client is connected. Other drains
    /// stay as they are.
    pub fn by_connections(mut self) -> Self {
        if let DrainMethod::Envoy(envoy) = &mut self.method {
            envoy.until = DrainUntil::Connections;
        }
        self
    }
}

/// The keys of `drain:`.
#[derive(Table)]
#[table(settle = Drain)]
pub(crate) struct DrainKeys {
    #[key(flatten)]
    method: DrainMethod,
    /// The process is drained only if this condition holds.
    #[key(form = only_if::Now, value = true, merge = Replace)]
    only_if: bool,
}

impl DrainKeys {
    /// If `time` is 0 or `only_if` does not hold, returns `None`, which means no drain, and leaves
    /// the reason in [`Reader::drain_off`]. The other keys are read in any case, so that their
    /// mistakes show before somebody turns the drain on.
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Drain> {
        let Self { method, only_if: holds } = self;
        if let Some(node) = fields.get(method.key()) {
            reader.warn_of_empty(node.entries(), "connections");
        }
        let DrainTimes { time, min } = *method.times();
        let off = (time == Some(Duration::ZERO)).then_some(DrainOff::Time);
        reader.drain_off = off.or((!holds).then_some(DrainOff::Condition));
        if reader.drain_off.is_some() {
            return None;
        }
        let most = time.unwrap_or(Duration::MAX);
        // Only `check` warns, because in the container a variable may shorten `time` on purpose.
        if let (Some(written), true) = (min.filter(|min| *min > most), reader.problems.is_check()) {
            let (from, to) = (human(written), human(most));
            let message =
                format!("`min` is cut from {from} to {to}, which is the `time` of the drain");
            let span = fields
                .get(method.key())
                .map_or(fields.span, |node| node.at("min").unwrap_or(node.span));
            let problem = reader.problems.warning(Rule::MinCut, span, message);
            problem.help("write a longer `time`, or a shorter `min`");
        }
        let min = min.unwrap_or(DEFAULT_MIN).min(most);
        Some(Drain { method, time, min })
    }
}

/// The way in which a process is drained.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(one = "method")]
pub enum DrainMethod {
    /// Drained by calls to Envoy's admin, until no client is connected. <!-- C361 -->
    /// Example: `envoy: {admin: "unix:/run/envoy-admin.sock"}`
    Envoy(EnvoyDrain),
    /// Drained by a request, until the head of a 2xx answer arrives. drainit then closes the
    /// connection. <!-- C362 --> Example: `http: {url: "http://127.0.0.1:8080/drain"}`
    Http(HttpDrain),
    /// Drained by a command, until it ends with code 0. <!-- C363 -->
    /// Example: `exec: [/app/drain, --wait]`
    Exec(ExecDrain),
    /// Drained by a signal, until the process has ended. <!-- C364 -->
    /// Example: `signal: {signal: USR1}`
    Signal(SignalDrain),
    /// Drained by a signal, until the process sends `DRAINED=1` to `NOTIFY_SOCKET`, or has ended.
    /// <!-- C365 --> Example: `notify: {signal: USR1}`
    Notify(SignalDrain),
    /// Drained without any call or signal: the process serves until the kernel shows that no
    /// connection owes an answer. <!-- C810 --> Example: `connections: {ports: [8080]}`
    Connections(ConnectionsDrain),
}

/// The keys that every method has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Table)]
#[table(default)]
pub struct DrainTimes {
    /// The drain lasts at most this long. `0` turns draining off. <!-- C366 --> Without this key,
    /// the drain lasts for as long as the deadline allows. <!-- C1002 --> The drain of a process that
    /// is stopped or replaced alone has no deadline, and lasts at most for `grace_period` less
    /// `reserve`. <!-- C1017 --> Example: `time: 20s`
    #[key(default = "what the deadline leaves")]
    pub time: Option<Duration>,
    /// The drain lasts at least this long, while load balancers remove the endpoint. <!-- C367 -->
    /// In a shutdown, this time counts from T0, or from the end of `readiness_delay`, for all
    /// processes. <!-- C1003 --> If the process ends, the drain ends at once. <!-- C638 --> If `min` is longer than `time`,
    /// drainit uses `time`, and `check` warns. <!-- C639 --> Example: `min: 8s`
    #[key(default = "5s, or `time` if that is shorter")]
    pub min: Option<Duration>,
}

/// `drain.envoy`: drainit drains an Envoy through its admin interface.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(settle = Self)]
pub struct EnvoyDrain {
    /// Envoy's admin address, or a list of `{text: ADDRESS, only_if: …}`, like the parts of an
    /// [argument](#commands). drainit uses the first address whose condition holds. <!-- C380 -->
    /// Example: `admin: unix:/run/envoy-admin.sock`
    #[key(
        form = Admin,
        required = "add it: `admin: http://127.0.0.1:9901` or `admin: unix:/run/envoy-admin.sock`",
        merge = Replace
    )]
    pub admin: Address,
    /// Whether drainit also sends `POST /healthcheck/fail`, so that every response closes its
    /// connection. <!-- C381 --> Example: `fail_healthcheck: true`
    #[key(default = "true")]
    pub fail_healthcheck: bool,
    /// The drain is over when no connection is open (`connections`), or no request is in flight
    /// (`requests`). <!-- C383 --> `requests` is for clients that never close their connection.
    /// With `requests`, drainit warns of a TCP proxy, because the stop cuts the proxy's
    /// connections. <!-- C790 --> Example: `until: requests`
    #[key(default = "connections")]
    pub until: DrainUntil,
    /// The drain is over when at most this many connections, or requests, are left. <!-- C384 -->
    /// The stop cuts what is left. <!-- C641 --> This key is for streams that never end. Example:
    /// `exit_at: 2`
    #[key(default = "0")]
    pub exit_at: u32,
    /// `inbound`: only listeners with `traffic_direction: INBOUND` are drained, closed and counted.
    /// [The egress of a sidecar continues](envoy.md#a-sidecar). <!-- C385 --> With `inbound`, the
    /// default of `fail_healthcheck` is `false`. <!-- C642 --> Example: `direction: inbound`
    #[key(default = "all")]
    pub direction: Option<Direction>,
    /// The connections of these listeners do not count. Without this key, a scraper would hold the
    /// drain until `time` is over. <!-- C386 --> Write the listener's `stat_prefix`, or if it has
    /// none, its address or name. <!-- C643 --> Requests to these listeners still count.
    /// <!-- C644 --> Example: `ignore_listeners: [prometheus]`
    #[key(form = List<ListenerName>, default = "none")]
    pub ignore_listeners: Vec<String>,
    #[key(flatten)]
    pub times: DrainTimes,
}

impl EnvoyDrain {
    /// The drain of an Envoy at this admin address, with the defaults of all other keys.
    pub fn at(admin: Address) -> Self {
        Self {
            admin,
            fail_healthcheck: true,
            until: DrainUntil::Connections,
            exit_at: 0,
            direction: None,
            ignore_listeners: Vec::new(),
            times: DrainTimes::default(),
        }
    }

    fn settle(mut self, _: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        if fields.get("fail_healthcheck").is_none() {
            // A failed health check would also close the connections of egress listeners, so
            // `fail_healthcheck` is off by default for `inbound`.
            self.fail_healthcheck = self.direction != Some(Direction::Inbound);
        }
        Some(self)
    }
}

/// `drain.http`: a request. A 2xx answer, at any moment within `time`, reports that the drain is
/// complete. With `until`, drainit repeats the request until the answer has this status.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(settle = Self)]
pub struct HttpDrain {
    /// The URL of the request. <!-- C389 --> Example: `url: "unix:/run/app.sock:/drain"`
    #[key(required = "add it: `url: http://127.0.0.1:8080/drain`")]
    pub url: HttpTarget,
    /// The method. The request has no body. <!-- C390 --> Example: `method: PUT`
    #[key(default = "POST")]
    pub method: HttpMethod,
    /// Header fields of the request. A value may be `{file: PATH}`: drainit then reads this file
    /// when the drain begins, and sends its content. <!-- C680 --> drainit never shows a
    /// value. <!-- C681 --> drainit itself sets `host`, `connection` and `content-length`. Example:
    /// `headers: {authorization: {file: /run/secrets/token}}`
    #[key(form = Headers, default = "none")]
    pub headers: Vec<Header>,
    /// drainit repeats the request until the answer has this status. This key is for a process that
    /// answers at once, and drains afterwards. <!-- C734 --> Unset: the first 2xx answer ends the
    /// drain, and `check` warns. <!-- C735 --> Example: `until: 204`
    #[key(form = HttpStatus, default = "none")]
    pub until: Option<u16>,
    /// The kernel says when the drain is over. See [`connections`](#connections). Example:
    /// `connections: {}`
    #[key(default = "none")]
    pub connections: Option<Counting>,
    #[key(flatten)]
    pub times: DrainTimes,
}

impl HttpDrain {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        if self.until.is_none() && fields.get("until").is_none() && reader.problems.is_check() {
            let message = "the first 2xx answer ends the drain";
            let problem =
                reader.problems.warning(Rule::DrainEndsAtOnce, fields.key("url"), message);
            problem.help(
                "if the process answers before it is drained, write `until:` with the status that it \
                 answers once it is; `until: 200` if its answer is the end",
            );
        }
        Some(self)
    }
}

/// A header field of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// The name of the field. HTTP allows this name, and drainit itself sets no field of this name.
    pub name: String,
    pub value: HeaderValue,
}

#[derive(Clone, PartialEq, Eq)]
pub enum HeaderValue {
    Text(String),
    /// The file that has the value. drainit reads the file when the drain begins.
    File(PathBuf),
}

impl HeaderValue {
    /// Whether HTTP allows the text in a header field: only printable ASCII and tabs.
    pub fn is_valid(text: &str) -> bool {
        text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
    }
}

/// The debug output has only the name, because the value may be secret.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Reads the header fields of a request from a mapping of names to values.
struct Headers;

/// The value of a header field, if a file contains it.
#[derive(Table)]
struct HeaderFile {
    /// The file with the value.
    #[key(required = "write `{file: PATH}`, or the value itself without braces")]
    file: PathBuf,
}

impl Form for Headers {
    type Out = Vec<Header>;
    const SHAPE: Shape = Shape::Map(&Shape::Either(&[Shape::Text, HeaderFile::SHAPE]));

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Vec<Header>> {
        let mut headers: Vec<Header> = Vec::new();
        let entries = reader.entries(node, at)?.into_iter();
        for (key, node) in entries.filter(|(_, node)| !matches!(node.kind, Kind::Null)) {
            let (name, of_http) = (key.text.to_ascii_lowercase(), b"!#$%&'*+-.^_`|~");
            let fits = |c: u8| c.is_ascii_alphanumeric() || of_http.contains(&c);
            let own = ["host", "connection", "content-length", "transfer-encoding"];
            let why = match &*name {
                name if name.is_empty() || !name.bytes().all(fits) => "cannot be a header field",
                name if own.contains(&name) => "is a header field that drainit sets itself",
                name if headers.iter().any(|header| header.name == name) => "is listed twice",
                _ => "",
            };
            if !why.is_empty() {
                let message = format!("{} {why}", quote(&key.text));
                reader
                    .problems
                    .error(Rule::InvalidValue, key.span, message)
                    .help("correct the name, or remove it");
            }
            let at = at.inner(&key.text);
            let value = match node.kind {
                Kind::Mapping(_) => {
                    HeaderFile::read(reader, &at, node).map(|HeaderFile { file }| {
                        HeaderValue::File(reader.resolve_path(node.span, &file))
                    })
                }
                _ => Verbatim::read(reader, &at, node).map(HeaderValue::Text),
            };
            if matches!(&value, Some(HeaderValue::Text(text)) if !HeaderValue::is_valid(text)) {
                let message = format!("the value of `{at}` has a character that HTTP forbids");
                let problem = reader.problems.error(Rule::InvalidValue, key.span, message);
                problem.help("write ASCII text without line breaks");
            }
            headers.extend(value.map(|value| Header { name, value }));
        }
        Some(headers)
    }
}

/// `drain.exec`: a command that ends with code 0 when the drain is complete.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(short = "command")]
pub struct ExecDrain {
    /// The command that drains the process. <!-- C393 --> Example:
    /// `command: [touch, /run/nginx/draining]`
    #[key(form = CommandForm, required = "add it: `command: [/app/drain]`", merge = Replace)]
    pub command: Command,
    /// The kernel says when the drain is over. See [`connections`](#connections). Example:
    /// `connections: {}`
    #[key(default = "none")]
    pub connections: Option<Counting>,
    #[key(flatten)]
    pub times: DrainTimes,
}

/// `drain.signal` and `drain.notify`: a signal that begins the drain. The drain is complete when
/// the process ends, or with `drain.notify`, when it sends `DRAINED=1` to `NOTIFY_SOCKET`.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
pub struct SignalDrain {
    /// The signal that begins the drain, sent to the process and not to its group. <!-- C397 -->
    /// Example: `signal: USR1`
    #[key(form = Catchable, required = "add it: `signal: USR1`")]
    pub signal: Signal,
    /// The kernel says when the drain is over. See [`connections`](#connections). Example:
    /// `connections: {}`
    #[key(default = "none")]
    pub connections: Option<Counting>,
    #[key(flatten)]
    pub times: DrainTimes,
}

/// `drain.connections`: the kernel counts the connections of the process.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(default)]
pub struct ConnectionsDrain {
    #[key(flatten, value = Counting::default())]
    pub counting: Counting,
    #[key(flatten, value = DrainTimes::default())]
    pub times: DrainTimes,
}

/// The connections that the kernel counts, and the count that ends a drain.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(default, shared = "counting")]
pub struct Counting {
    /// The ports whose connections count. <!-- C811 --> Example: `ports: [8080]`
    #[key(form = List<Port>, default = "all on which the process or a descendant listens")]
    pub ports: Vec<u16>,
    /// The drain is over when no connection owes an answer (`answers`), or none is open
    /// (`connections`), <!-- C812 --> or when the process has read all that clients have sent, and
    /// nothing has come for a second (`read`). <!-- C940 --> Example: `until: connections`
    #[key(default = "answers")]
    pub until: CountUntil,
    /// The longest pause within an answer. If the latest data came from the server, the connection counts
    /// until nothing has moved on it for this time. <!-- C813 --> An answer that has gone on
    /// after a pause during the drain may pause twice as long again; a pause that began before the drain
    /// teaches this only if it was shorter than `idle`. Example: `idle: 10s`
    #[key(form = Positive, default = "5s")]
    pub idle: Duration,
    /// The drain is over when at most this many connections count. <!-- C814 --> Example:
    /// `exit_at: 2`
    #[key(default = "0")]
    pub exit_at: u32,
}

/// `until:` of a drain whose connections the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
pub enum CountUntil {
    /// No connection owes an answer.
    #[default]
    Answers,
    /// No connection is open.
    Connections,
    /// The process has read everything, and owes nobody an answer: its clients are publishers.
    Read,
}

impl Counting {
    /// The event for which a drain waits on each connection.
    pub fn awaits(&self) -> Awaits {
        match self.until {
            CountUntil::Answers | CountUntil::Connections => Awaits::Answers(self.idle),
            CountUntil::Read => Awaits::Read,
        }
    }
}

leaf! {
    /// `drain: connections`: the whole drain with its defaults.
    struct OnlyConnections => Drain: Shape::Word(&["connections"]), |text| match text {
        "connections" => Ok(Drain::by_kernel()),
        _ => Err(Invalid::new("no drain", "write `connections`, or a mapping")),
    };
}

impl Drain {
    fn by_kernel() -> Self {
        let method = DrainMethod::Connections(ConnectionsDrain::default());
        Self { method, time: None, min: DEFAULT_MIN }
    }
}

impl DrainMethod {
    /// The times as the config has them: a missing `min` is `None`.
    pub(crate) fn times(&self) -> &DrainTimes {
        match self {
            Self::Envoy(envoy) => &envoy.times,
            Self::Http(http) => &http.times,
            Self::Exec(exec) => &exec.times,
            Self::Signal(signal) | Self::Notify(signal) => &signal.times,
            Self::Connections(connections) => &connections.times,
        }
    }

    /// The connections that the kernel counts, if the count ends the drain.
    pub fn counting(&self) -> Option<&Counting> {
        match self {
            Self::Envoy(_) => None,
            Self::Http(http) => http.connections.as_ref(),
            Self::Exec(exec) => exec.connections.as_ref(),
            Self::Signal(signal) | Self::Notify(signal) => signal.connections.as_ref(),
            Self::Connections(connections) => Some(&connections.counting),
        }
    }
}

/// One address, or a list of addresses with conditions. An Envoy has only one admin address: the
/// first whose condition holds. A variable in a condition can therefore select the address.
struct Admin;

impl Form for Admin {
    type Out = Address;
    const SHAPE: Shape = Shape::Either(&[Address::SHAPE, Shape::List(&AdminKeys::SHAPE)]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Address> {
        let Kind::Sequence(items) = &node.kind else { return Address::read(reader, at, node) };
        let hold = List::<AdminKeys>::read(reader, at, node)?;
        let Some((item, _)) = items.iter().zip(hold).find(|(_, holds)| *holds) else {
            let message = "no element of `admin` has a condition that holds";
            let problem = reader.problems.error(Rule::InvalidValue, node.span, message);
            problem.help("add a last element without `only_if`");
            return None;
        };
        Address::read(reader, at, item.find("text").unwrap_or(item))
    }
}

#[derive(Table)]
#[table(settle = bool, short = "text")]
struct AdminKeys {
    /// Envoy's admin address.
    #[key(form = Later<Address>, required = "write `{text: ADDRESS, only_if: …}`")]
    text: (),
    /// The address is left out if this condition does not hold.
    #[key(form = only_if::Now, value = true)]
    only_if: bool,
}

impl AdminKeys {
    /// Returns whether the condition of the address holds.
    fn settle(self, _: &mut Reader<'_>, _: &Fields<'_>) -> Option<bool> {
        let Self { text: (), only_if } = self;
        Some(only_if)
    }
}

/// `until:` of an Envoy's drain: what ends the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
pub enum DrainUntil {
    /// No client is connected.
    #[default]
    Connections,
    /// No request is in flight; for clients that never close their connections.
    Requests,
}

/// `direction:` of an Envoy's drain: which listeners are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
pub enum Direction {
    #[default]
    All,
    /// Only listeners with `traffic_direction: INBOUND`: the egress of a sidecar continues.
    Inbound,
}

/// The method of the request of `drain.http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
#[named(upper)]
pub enum HttpMethod {
    #[default]
    Post,
    Put,
    Get,
    Delete,
}
