//! The rows of the table. A row is measured once for each of its [`Mode`]s.

use std::time::Duration;

use benches::load::{Plan, Protocol};
use testkit::envoy;
use testkit::load::IdleClose;

use crate::pod::{Mode, Server};

const SECOND: Duration = Duration::from_secs(1);
/// The time after SIGTERM at which new connections typically stop arriving in a cluster.
const USUAL_LEARN: Duration = SECOND;
/// The first requests of the clients are spread over at most this time, so that every client has a
/// connection before SIGTERM.
const LONGEST_SPREAD: Duration = Duration::from_secs(5);
/// The minimum time of traffic before SIGTERM and after the end of the pod.
const MARGIN: Duration = Duration::from_secs(2);

/// One kind of traffic on one Envoy.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// A short description of the traffic.
    pub(crate) name: String,
    /// The version of Envoy.
    pub(crate) envoy: &'static str,
    /// The server in place of an Envoy.
    pub(crate) server: Option<Server>,
    /// The clients.
    pub(crate) plan: Plan,
    /// Whether wrk, which sends as many requests as the machine allows, is in place of the clients.
    pub(crate) is_wrk: bool,
    /// The time from SIGTERM until new connections go to the new pod.
    pub(crate) learn: Duration,
    /// The time of traffic before SIGTERM.
    pub(crate) before: Duration,
    /// The time of traffic after the end of the old pod.
    pub(crate) after: Duration,
    /// Envoy's `--drain-time-s`, if it is neither the default nor set by the mode.
    pub(crate) drain_time: Option<&'static str>,
    pub(crate) size: Size,
    /// Whether the rollout needs the machine for itself.
    pub(crate) alone: bool,
    /// The reason why these clients cannot be notified in time; `None` if they can be notified.
    pub(crate) impolite: Option<&'static str>,
}

/// The size of each Envoy, and the share of the machine that it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// Clusters that no request uses.
    pub(crate) clusters: usize,
    /// Listeners that no client knows.
    pub(crate) listeners: usize,
    /// The share of a processor that each pod may use; `None` for all of the machine.
    pub(crate) processors: Option<f64>,
    /// Endless loops beside the pods.
    pub(crate) loops: usize,
}

/// The requests per second of one connection in the matrix.
pub(crate) const RATES: [f64; 4] = [0.2, 1.0, 10.0, 40.0];
/// The protocols in the matrix.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Row {
    /// Returns the version of Envoy and the traffic.
    pub(crate) fn title(&self) -> String {
        match self.server {
            Some(server) => format!("{}: {}", server.name(), self.name),
            None => format!("Envoy {}: {}", self.envoy, self.name),
        }
    }

    /// The ways in which the pod of this row is stopped.
    pub(crate) fn modes(&self) -> &'static [Mode] {
        if self.server.is_some() { &Mode::OF_SERVER } else { &Mode::ALL }
    }

    fn new(name: &str, plan: Plan) -> Self {
        Self {
            name: name.to_owned(),
            envoy: envoy::DEFAULT,
            server: None,
            plan,
            is_wrk: false,
            learn: USUAL_LEARN,
            before: MARGIN,
            after: MARGIN,
            drain_time: None,
            size: Size::default(),
            alone: false,
            impolite: None,
        }
    }

    fn rate(protocol: Protocol, rate: f64, envoy: &'static str) -> Self {
        let period = Duration::from_secs_f64(1.0 / rate);
        let spread = period.min(LONGEST_SPREAD);
        let plural = if rate == 1.0 { "" } else { "s" };
        let plan = Plan { protocol, period, spread, ..Plan::default() };
        Self {
            envoy,
            before: MARGIN.max(spread + SECOND / 2),
            after: MARGIN.max(period + SECOND),
            alone: rate >= 40.0,
            ..Self::new(&format!("{protocol}, {rate} request{plural}/s"), plan)
        }
    }
}

/// Returns the matrix for every tested Envoy, and the special kinds of traffic for the newest
/// Envoy.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for envoy in envoy::TESTED {
        for protocol in PROTOCOLS {
            rows.extend(RATES.map(|rate| Row::rate(protocol, rate, envoy)));
        }
    }
    rows.extend(special());
    rows.extend(sizes());
    rows.extend(servers());
    rows
}

/// Returns one row for each protocol, all with the same rate and the same Envoy.
pub(crate) fn quick() -> Vec<Row> {
    PROTOCOLS.map(|protocol| Row::rate(protocol, 1.0, envoy::DEFAULT)).into()
}

fn special() -> Vec<Row> {
    let usual = Plan::default();
    let mut rows = Vec::new();
    for protocol in PROTOCOLS {
        let endless = Plan { protocol, period: Duration::ZERO, spread: Duration::ZERO, ..usual };
        let slow = Plan { answer_time: 12 * SECOND, ..endless };
        rows.push(Row::new(&format!("{protocol}, requests of 12 s"), slow));
        let stream = Plan { answer_time: 5 * SECOND, is_streamed: true, ..endless };
        rows.push(Row::new(&format!("{protocol}, streamed responses of 5 s"), stream));
    }
    let stream =
        Plan { period: Duration::ZERO, answer_time: 10 * SECOND, is_streamed: true, ..usual };
    rows.push(Row {
        impolite: Some(
            "Envoy announces a close only at the start of a response, so a client learns of the \
             close only with its next stream. Here `time` is shorter than two streams",
        ),
        ..Row::new("HTTP/1.1, streamed responses of 10 s", stream)
    });
    rows.push(Row {
        alone: true,
        is_wrk: true,
        ..Row::new("HTTP/1.1, at full speed (wrk)", usual)
    });
    let fresh = Plan { clients: 20, is_fresh: true, ..usual };
    rows.push(Row::new("HTTP/1.1, a new connection every 50 ms", fresh));
    // New connections still reach the old pod for 4 s. This is less than the `min` of drainit, but
    // Envoy alone would have closed its listeners long before.
    rows.push(Row {
        learn: 4 * SECOND,
        drain_time: Some("1"),
        ..Row::new("HTTP/1.1, new connections, drain time 1 s", fresh)
    });
    let looking = Plan { idle_close: IdleClose::Noticed, ..usual };
    rows.push(Row::new("HTTP/1.1, clients that see an idle close", looking));
    let idle = Plan { period: 20 * SECOND, ..usual };
    rows.push(Row {
        after: 21 * SECOND,
        impolite: Some(
            "HTTP/1.1 can announce a close only in a response, and no response comes in time",
        ),
        ..Row::new("HTTP/1.1, a request every 20 s", idle)
    });
    for seconds in [0, 5] {
        rows.push(Row {
            learn: seconds * SECOND,
            ..Row::new(&format!("HTTP/1.1, endpoints learnt {seconds} s late"), usual)
        });
    }
    for protocol in [Protocol::WebSocket, Protocol::Tcp] {
        let period = SECOND / 2;
        // A client whose session was cut returns only after the switch to the new pod.
        let after_failure = 2 * SECOND;
        let endless = Plan { protocol, period, spread: period, after_failure, ..usual };
        let sessions = Plan { session: Some(8 * SECOND), ..endless };
        rows.push(Row::new(&format!("{protocol}, sessions of 8 s"), sessions));
        rows.push(Row {
            impolite: Some("the protocol cannot announce a close, and the session never ends"),
            ..Row::new(&format!("{protocol}, without end"), endless)
        });
        // The drain time is more than three times Envoy's `drain_timeout` of 5 s.
        rows.push(Row {
            drain_time: Some("16"),
            impolite: Some(
                "Envoy 1.40 closes WebSockets late in its drain, but no TCP connections",
            ),
            ..Row::new(&format!("{protocol}, without end, drain time 16 s"), endless)
        });
    }
    rows
}

/// Returns large Envoys and slow machines, which are measured alone.
fn sizes() -> Vec<Row> {
    let usual = Plan::default();
    let row = |name: &str, size| Row {
        size,
        alone: true,
        ..Row::new(&format!("HTTP/1.1, {name}"), usual)
    };
    let clusters = |clusters| Size { clusters, ..Size::default() };
    let period = 10 * SECOND;
    let many = Plan { clients: 10_000, period, spread: period, ..usual };
    vec![
        row("1,000 clusters", clusters(1000)),
        row("10,000 clusters", clusters(10_000)),
        row("1,000 listeners", Size { listeners: 1000, ..Size::default() }),
        Row {
            plan: many,
            before: period + SECOND,
            after: period + SECOND,
            ..row("10,000 connections", Size::default())
        },
        row("1,000 clusters, 0.1 cores", Size { processors: Some(0.1), ..clusters(1000) }),
        row("3,000 clusters, busy cores", Size { loops: 2, ..clusters(3000) }),
    ]
}

/// Returns the rows of servers that are not an Envoy.
fn servers() -> Vec<Row> {
    let usual = Plan::default();
    let fresh = Plan { clients: 20, is_fresh: true, ..usual };
    let long = |answer_time| Plan { period: Duration::ZERO, answer_time, ..fresh };
    let traffic = [
        ("a new connection every 50 ms", fresh),
        ("requests of 4 s, each on a new connection", long(4 * SECOND)),
        ("requests of 9 s, each on a new connection", long(9 * SECOND)),
        ("keep-alive, 1 request/s", usual),
    ];
    let rows = Server::ALL.into_iter().flat_map(|server| {
        traffic.map(|(name, plan)| Row {
            envoy: server.name(),
            server: Some(server),
            ..Row::new(name, plan)
        })
    });
    rows.collect()
}
