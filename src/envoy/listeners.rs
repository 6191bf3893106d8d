//! Finds the listeners and connection managers of an Envoy that count for a drain, by the names in
//! their statistics.
//!
//! `listener.<name>.…` counts connections; the name is the listener's `stat_prefix`, or else its
//! address with `_` for `:`. `http.<stat_prefix of the connection manager>.…` counts requests. Only
//! `/config_dump` contains the traffic direction; `/listeners` contains names and addresses.
//! Checked with Envoy 1.36.4 to 1.40.0.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::config::Direction;
use crate::http::{Client, RequestError};

/// The largest dump of listeners, in bytes. A listener with a thousand routes takes about half a
/// megabyte.
const MAX_DUMP: usize = 8 * 1024 * 1024;
/// The largest list of listeners, in bytes.
const MAX_LIST: usize = 1024 * 1024;

/// The address of an internal listener, whose connections come from Envoy itself, begins so.
pub(crate) const INTERNAL: &str = "envoy://";
/// The path that lists every listener with its addresses.
pub(crate) const LISTENERS: &str = "/listeners";
/// The paths of the dumps of the listeners. The mask in the first path names the fields that
/// [`parse`] reads, so that the dump is small. For the second path (listeners of LDS), Envoy
/// (1.36.4 to 1.40.0) refuses such a long mask with 400, "could not be successfully used".
const DUMPS: [&str; 2] = [
    "/config_dump?resource=static_listeners&mask=listener.name,listener.address,\
listener.stat_prefix,listener.traffic_direction,listener.filter_chains,\
listener.default_filter_chain",
    "/config_dump?resource=dynamic_listeners&mask=active_state.listener",
];

/// The names of the statistics that a drain ignores, and the addresses that remain. Statistics with
/// unknown names count: a drain may then take too long, but it does not cut off a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// The names between `listener.` and `.downstream_cx_active`.
    pub(crate) listeners: Vec<String>,
    /// The names between `http.` and `.downstream_rq_active`.
    pub(crate) managers: Vec<String>,
    /// The addresses of the listeners that count; empty if not all of them are known to be of TCP.
    pub(crate) counted: Vec<SocketAddr>,
}

/// A listener of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The name of the listener; empty if the listener has no name.
    pub(crate) name: String,
    pub(crate) is_inbound: bool,
    /// The names that its statistics may have.
    pub(crate) statistics: Vec<String>,
    /// The `stat_prefix` of its connection managers.
    pub(crate) managers: Vec<String>,
}

impl Uncounted {
    /// Asks the admin, within `limit` for each request.
    ///
    /// # Errors
    /// Fails if the admin does not report what is needed. In that case, the names in `ignored` are
    /// the only names that do not count.
    pub(crate) async fn ask(
        client: &mut Client,
        direction: Direction,
        ignored: &[String],
        limit: Duration,
    ) -> (Self, Result<(), RequestError>) {
        let mut uncounted = Self { listeners: ignored.to_vec(), ..Self::default() };
        let answer = client.get(LISTENERS, limit, MAX_LIST).await;
        let list = match answer.and_then(|answer| answer.into_ok_body()) {
            Ok(list) => String::from_utf8_lossy(&list).into_owned(),
            Err(error) => return (uncounted, Err(error)),
        };
        uncounted.listeners = ignored.iter().flat_map(|name| statistics_of(name, &list)).collect();
        if direction == Direction::Inbound {
            match dump(client, &list, limit).await {
                Ok(listeners) => uncounted.only_inbound(&listeners),
                Err(error) => return (uncounted, Err(error)),
            }
        }
        uncounted.counted = uncounted.counted_in(&list).unwrap_or_default();
        (uncounted, Ok(()))
    }

    /// The addresses of the listeners that count; `None` if one of them is a Unix socket, or if two
    /// have the same address, because one of these is of UDP.
    fn counted_in(&self, list: &str) -> Option<Vec<SocketAddr>> {
        let mut counted = Vec::new();
        for line in list.lines() {
            let (_, address) = line.split_once("::")?;
            let is_ignored = self.listeners.contains(&statistic(address));
            if is_ignored || address.starts_with(INTERNAL) {
                continue;
            }
            let address = address.parse().ok().filter(|address| !counted.contains(address))?;
            counted.push(address);
        }
        Some(counted)
    }

    fn only_inbound(&mut self, listeners: &[Listener]) {
        let counts = |manager: &String| {
            listeners
                .iter()
                .any(|listener| listener.is_inbound && listener.managers.contains(manager))
        };
        for listener in listeners.iter().filter(|listener| !listener.is_inbound) {
            self.listeners.extend(listener.statistics.iter().cloned());
            self.managers.extend(listener.managers.iter().filter(|name| !counts(name)).cloned());
        }
    }
}

/// The names in statistics that a word of `ignore_listeners` may mean.
pub(crate) fn statistics_of(word: &str, list: &str) -> Vec<String> {
    [word.to_owned(), statistic(word)].into_iter().chain(addresses(list, word)).collect()
}

/// All listeners, with the details that only the dump contains. `list` is the answer of
/// `/listeners`.
pub(crate) async fn dump(
    client: &mut Client,
    list: &str,
    limit: Duration,
) -> Result<Vec<Listener>, RequestError> {
    let mut listeners = Vec::new();
    for path in DUMPS {
        let body = client.get(path, limit, MAX_DUMP).await?.into_ok_body()?;
        let dump: Value = serde_json::from_slice(&body)
            .map_err(|error| RequestError::Malformed(format!("not Envoy's config: {error}")))?;
        listeners.extend(parse(&dump, list));
    }
    Ok(listeners)
}

pub(crate) fn parse(dump: &Value, list: &str) -> Vec<Listener> {
    let configs = dump["configs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let listener = |config: &Value| {
        let listener = match &config["active_state"] {
            Value::Null => &config["listener"],
            active => &active["listener"],
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&listener["name"]);
        let mut statistics: Vec<_> = match listener["stat_prefix"].as_str() {
            Some(prefix) if !prefix.is_empty() => vec![prefix.to_owned()],
            _ => addresses(list, &name).collect(),
        };
        let socket = &listener["address"]["socket_address"];
        if let (true, Some(port)) = (statistics.is_empty(), socket["port_value"].as_u64()) {
            statistics.push(statistic(&format!("{}:{port}", text(&socket["address"]))));
        }
        let mut managers = Vec::new();
        for chains in [&listener["filter_chains"], &listener["default_filter_chain"]] {
            find_managers(chains, &mut managers);
        }
        let is_inbound = listener["traffic_direction"] == "INBOUND";
        Listener { name, is_inbound, statistics, managers }
    };
    configs.iter().filter(|config| !config.is_null()).map(listener).collect()
}

/// The addresses of the listener `name`, in the form that Envoy's statistics use. A line of
/// `/listeners` is `NAME::ADDRESS`.
fn addresses(list: &str, name: &str) -> impl Iterator<Item = String> {
    let of_name = move |line: &str| {
        let address = line.strip_prefix(name)?.strip_prefix("::")?;
        (!name.is_empty()).then(|| statistic(address))
    };
    list.lines().filter_map(of_name).collect::<Vec<_>>().into_iter()
}

/// Collects the `stat_prefix` of every connection manager below a part of a listener.
fn find_managers(part: &Value, found: &mut Vec<String>) {
    match part {
        Value::Array(items) => items.iter().for_each(|item| find_managers(item, found)),
        Value::Object(fields) => {
            let kind = fields.get("@type").and_then(Value::as_str).unwrap_or_default();
            if kind.ends_with(".HttpConnectionManager") {
                let prefix = fields.get("stat_prefix").and_then(Value::as_str);
                found.extend(prefix.map(statistic));
            } else {
                fields.values().for_each(|field| find_managers(field, found));
            }
        }
        _ => {}
    }
}

/// Converts a name or an address to the form that it has in Envoy's statistics.
fn statistic(name: &str) -> String {
    name.replace(':', "_")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::testing::http_server::Behaviour::*;
    use crate::testing::http_server::Server;

    const LIST: &str = "in::0.0.0.0:8080\nin::[::]:8080\nout::127.0.0.1:9000\nprom::[::]:9090\n";
    const LIMIT: Duration = Duration::from_secs(2);

    fn manager(prefix: &str) -> Value {
        let kind = "type.googleapis.com/x.v3.HttpConnectionManager";
        serde_json::json!([{"filters": [{"typed_config": {"@type": kind, "stat_prefix": prefix}}]}])
    }

    fn statics() -> String {
        let address = serde_json::json!({"socket_address": {"address": "::1", "port_value": 7}});
        let listeners = [
            serde_json::json!({"name": "in", "traffic_direction": "INBOUND",
                "filter_chains": manager("ingress")}),
            serde_json::json!({"name": "out", "traffic_direction": "OUTBOUND",
                "filter_chains": manager("egress")}),
            serde_json::json!({"address": address, "filter_chains": manager("ingress")}),
            serde_json::json!({"name": "prom", "stat_prefix": "of.prom"}),
        ];
        let configs: Vec<_> =
            listeners.into_iter().map(|it| serde_json::json!({"listener": it})).collect();
        serde_json::json!({ "configs": configs }).to_string()
    }

    #[test]
    fn empty_stat_prefix_is_ignored() {
        let listener = serde_json::json!({"name": "in", "stat_prefix": ""});
        let dump = serde_json::json!({"configs": [{"listener": listener}]});
        assert_eq!(parse(&dump, LIST)[0].statistics, ["0.0.0.0_8080", "[__]_8080"]);
    }

    async fn ask(direction: Direction, ignored: &[&str], answers: &[&'static str]) -> Uncounted {
        let answers: Vec<_> = answers.iter().map(|body| Answer(200, body)).collect();
        let server = Server::tcp(&answers);
        let mut client = Client::new(server.address.clone());
        let ignored: Vec<_> = ignored.iter().map(|name| (*name).to_owned()).collect();
        let (uncounted, answered) = Uncounted::ask(&mut client, direction, &ignored, LIMIT).await;
        assert!(answered.is_ok(), "{answered:?}");
        uncounted
    }

    // holds: C386, C643
    #[tokio::test]
    async fn listener_is_ignored_by_name_address_or_prefix() {
        let uncounted = ask(Direction::All, &["prom", "127.0.0.1:9000", "x"], &[LIST]).await;
        for name in ["[__]_9090", "127.0.0.1_9000", "x", "prom"] {
            assert!(uncounted.listeners.iter().any(|it| it == name), "{name}: {uncounted:?}");
        }
        assert!(!uncounted.listeners.iter().any(|it| it.contains("8080")), "{uncounted:?}");
        assert!(uncounted.managers.is_empty());
    }

    // holds: C385
    #[test]
    fn only_inbound_listeners_count() {
        let mut uncounted = Uncounted::default();
        let listeners = parse(&serde_json::from_str(&statics()).unwrap(), LIST);
        assert_eq!(listeners[0].statistics, ["0.0.0.0_8080", "[__]_8080"]);
        uncounted.only_inbound(&listeners);
        assert_eq!(uncounted.listeners, ["127.0.0.1_9000", "__1_7", "of.prom"]);
        assert_eq!(uncounted.managers, ["egress"], "ingress is inbound, too");
    }

    #[test]
    fn addresses_count_if_all_are_of_tcp() {
        let of = |list: &str, ignored: &str| {
            let uncounted =
                Uncounted { listeners: statistics_of(ignored, list), ..Uncounted::default() };
            let counted = uncounted.counted_in(list).unwrap_or_default();
            counted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(LIST, "prom"), "0.0.0.0:8080 [::]:8080 127.0.0.1:9000");
        assert_eq!(of("i::envoy://i/\nin::[::]:80\n", ""), "[::]:80");
        assert_eq!(of("uds::/run/a.sock\nin::[::]:80\n", ""), "");
        assert_eq!(of("uds::/run/a.sock\nin::[::]:80\n", "uds"), "[::]:80");
        assert_eq!(of("tcp::[::]:443\nquic::[::]:443\n", ""), "", "HTTP/3");
    }

    #[tokio::test]
    async fn listeners_count_if_the_admin_does_not_answer() {
        let server = Server::tcp(&[Answer(200, LIST), Answer(403, "")]);
        let mut client = Client::new(server.address.clone());
        let ignored = ["prom".to_owned()];
        let (uncounted, answered) =
            Uncounted::ask(&mut client, Direction::Inbound, &ignored, LIMIT).await;
        assert!(answered.is_err());
        assert_eq!(uncounted.listeners, ["prom", "prom", "[__]_9090"]);
    }
}
