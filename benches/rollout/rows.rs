//! The rows of the table. Each is measured once for every [`Mode`](crate::pod::Mode).

use std::time::Duration;

use testkit::envoy;
use testkit::load::IdleClose;

use crate::client::{Kind, Pace, Protocol, Requests};
use crate::session::{Sessions, Transport};

const SECOND: Duration = Duration::from_secs(1);
/// In a cluster new connections stop arriving about this long after SIGTERM.
const USUAL_LEARN: Duration = SECOND;
/// Phases are spread over one period, at most this long, so that every client has a connection
/// before SIGTERM.
const LONGEST_SPREAD: Duration = Duration::from_secs(5);
/// Traffic before SIGTERM, and after the pod is gone, at least.
const MARGIN: Duration = Duration::from_secs(2);

/// One kind of traffic on one Envoy.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The traffic in a few words.
    pub(crate) name: String,
    /// Envoy's version.
    pub(crate) envoy: &'static str,
    /// The traffic.
    pub(crate) traffic: Traffic,
    /// From SIGTERM until new connections go to the new pod.
    pub(crate) learn: Duration,
    /// Traffic before SIGTERM.
    pub(crate) before: Duration,
    /// Traffic after the old pod is gone.
    pub(crate) after: Duration,
    /// Envoy's `--drain-time-s`, where that is not its default, or what the mode makes of it.
    pub(crate) drain_time: Option<&'static str>,
    /// It needs the machine for itself.
    pub(crate) alone: bool,
    /// Why these clients cannot be notified in time.
    pub(crate) impolite: Option<&'static str>,
}

/// Clients that ask, or clients that stay.
#[derive(Clone, Debug)]
pub(crate) enum Traffic {
    /// Requests and their answers.
    Requests(Requests),
    /// Connections that are used as long as they last.
    Sessions(Sessions),
    /// As many requests as the machine allows.
    Wrk,
}

/// The requests per second of one connection in the matrix.
pub(crate) const RATES: [f64; 4] = [0.2, 1.0, 10.0, 40.0];
/// The protocols in the matrix.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Row {
    /// Envoy's version and the traffic.
    pub(crate) fn title(&self) -> String {
        format!("Envoy {}: {}", self.envoy, self.name)
    }

    fn new(name: &str, traffic: Traffic) -> Self {
        Self {
            name: name.to_owned(),
            envoy: envoy::DEFAULT,
            traffic,
            learn: USUAL_LEARN,
            before: MARGIN,
            after: MARGIN,
            drain_time: None,
            alone: false,
            impolite: None,
        }
    }

    fn rate(protocol: Protocol, rate: f64, envoy: &'static str) -> Self {
        let period = Duration::from_secs_f64(1.0 / rate);
        let spread = period.min(LONGEST_SPREAD);
        let plural = if rate == 1.0 { "" } else { "s" };
        let requests =
            Requests { protocol, pace: Pace::Every { period, spread }, ..Requests::default() };
        Self {
            envoy,
            before: MARGIN.max(spread + SECOND / 2),
            after: MARGIN.max(period + SECOND),
            alone: rate >= 40.0,
            ..Self::new(
                &format!("{protocol}, {rate} request{plural}/s"),
                Traffic::Requests(requests),
            )
        }
    }
}

/// The matrix for every tested Envoy, and the special kinds of traffic for the newest.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for envoy in envoy::TESTED {
        for protocol in PROTOCOLS {
            rows.extend(RATES.map(|rate| Row::rate(protocol, rate, envoy)));
        }
    }
    rows.extend(special());
    rows
}

/// One rate, one Envoy.
pub(crate) fn quick() -> Vec<Row> {
    PROTOCOLS.map(|protocol| Row::rate(protocol, 1.0, envoy::DEFAULT)).into()
}

fn special() -> Vec<Row> {
    let usual = Requests::default();
    let requests = |name: &str, requests| Row::new(name, Traffic::Requests(requests));
    let sessions = |name: &str, transport, length| {
        Row::new(name, Traffic::Sessions(Sessions { transport, length }))
    };
    let mut rows = Vec::new();
    for protocol in PROTOCOLS {
        let endless = Requests { protocol, pace: Pace::AtOnce, ..usual };
        let slow = Requests { kind: Kind::Slow(12 * SECOND), ..endless };
        rows.push(requests(&format!("{protocol}, requests of 12 s"), slow));
        let stream = Requests { kind: Kind::Stream(5 * SECOND), ..endless };
        rows.push(requests(&format!("{protocol}, streamed responses of 5 s"), stream));
    }
    let stream = Requests { pace: Pace::AtOnce, kind: Kind::Stream(10 * SECOND), ..usual };
    rows.push(Row {
        impolite: Some(
            "Envoy says goodbye in the head of a response, so a client hears it with its next stream: `time` must be twice \
             the longest stream, and is not here",
        ),
        ..requests("HTTP/1.1, streamed responses of 10 s", stream)
    });
    rows.push(Row { alone: true, ..Row::new("HTTP/1.1, at full speed (wrk)", Traffic::Wrk) });
    let fresh = Requests { clients: 20, is_fresh: true, ..usual };
    rows.push(requests("HTTP/1.1, a new connection every 50 ms", fresh));
    // Within drainit's `min`, and long after Envoy would have closed its listeners by itself.
    rows.push(Row {
        learn: 4 * SECOND,
        drain_time: Some("1"),
        ..requests("HTTP/1.1, new connections, drain time 1 s", fresh)
    });
    let looking = Requests { idle_close: IdleClose::Noticed, ..usual };
    rows.push(requests("HTTP/1.1, clients that see an idle close", looking));
    let idle = Requests { pace: Pace::Every { period: 20 * SECOND, spread: SECOND }, ..usual };
    rows.push(Row {
        after: 21 * SECOND,
        impolite: Some("HTTP/1.1 can say goodbye only in a response, and there is none in time"),
        ..requests("HTTP/1.1, a request every 20 s", idle)
    });
    for seconds in [0, 5] {
        rows.push(Row {
            learn: seconds * SECOND,
            ..requests(&format!("HTTP/1.1, endpoints learnt {seconds} s late"), usual)
        });
    }
    for (name, transport) in [("WebSocket", Transport::WebSocket), ("TCP", Transport::Tcp)] {
        let length = Some(8 * SECOND);
        rows.push(sessions(&format!("{name}, sessions of 8 s"), transport, length));
        rows.push(Row {
            impolite: Some("its protocol has no goodbye that a proxy could say, and it never ends"),
            ..sessions(&format!("{name}, without end"), transport, None)
        });
    }
    rows
}
