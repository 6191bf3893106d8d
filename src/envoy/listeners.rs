//! Finds out which listeners and connection managers of an Envoy count for a drain, by the names in
//! their statistics.
//!
//! `listener.<name>.…` counts connections; the name is the listener's `stat_prefix`. Without a
//! `stat_prefix`, the name is the listener's address with `_` for `:`. `http.<stat_prefix of the
//! connection manager>.…` counts requests. Only `/config_dump` contains the traffic direction;
//! `/listeners` contains names and addresses. Checked with Envoy 1.36.4 to 1.40.0.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::http::{Client, HttpError, beside};
use crate::keys::Direction;

/// The largest dump of listeners, in bytes. A listener with a thousand routes takes about half a
/// megabyte.
const MAX_DUMP: usize = 8 * 1024 * 1024;
/// The largest list of listeners, in bytes.
const MAX_LIST: usize = 1024 * 1024;
/// The `drain_timeout` of a connection manager that does not set it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The beginning of the address of an internal listener, whose connections come from Envoy itself.
pub(crate) const INTERNAL: &str = "envoy://";
/// The beginning of the name of an internal listener in statistics, before the listener's name.
const INTERNAL_STATISTIC: &str = "envoy_internal_";
/// The path that lists every listener with its addresses.
pub(crate) const LISTENERS: &str = "/listeners";
/// The paths of the dumps of the listeners. The mask in the first path names the fields that
/// [`parse`] reads, so that the dump is small. For the second path (listeners of LDS), Envoy
/// (1.36.4 to 1.40.0) refuses such a long mask with 400, "could not be successfully used".
const DUMPS: [&str; 2] = [
    "/config_dump?resource=static_listeners&mask=listener.name,listener.address,\
listener.stat_prefix,listener.traffic_direction,listener.filter_chains,\
listener.default_filter_chain,listener.internal_listener",
    "/config_dump?resource=dynamic_listeners&mask=active_state.listener",
];

/// The statistics that a drain ignores, and the addresses of the listeners that it does not ignore.
/// Statistics with unknown names count, because a drain that counts too much is too long, but cuts
/// off no client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// The names between `listener.` and `.downstream_cx_active`.
    pub(crate) listeners: BTreeSet<String>,
    /// The names between `http.` and `.downstream_rq_active`.
    pub(crate) managers: BTreeSet<String>,
    /// The names of the internal listeners in statistics; `None` while they are unknown.
    pub(crate) internal: Option<BTreeSet<String>>,
    /// The addresses of the listeners that count; empty unless all of these listeners certainly use
    /// TCP.
    pub(crate) counted: Vec<SocketAddr>,
    /// The addresses of all listeners that count, except those on Unix sockets. Some may use UDP.
    pub(crate) listening: Vec<SocketAddr>,
}

/// A listener of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EnvoyListener {
    /// The name of the listener; empty if the listener has no name.
    pub(crate) name: String,
    pub(crate) is_inbound: bool,
    /// The names that the listener may have in statistics: its `stat_prefix`, and its addresses.
    pub(crate) statistics: Vec<String>,
    /// The `stat_prefix` of each connection manager of the listener.
    pub(crate) managers: Vec<String>,
    /// Whether the listener has a TCP proxy.
    pub(crate) is_tcp: bool,
    /// The longest `drain_timeout` of the listener's connection managers; `None` without a manager,
    /// and for an internal listener, which has no clients.
    pub(crate) drain_timeout: Option<Duration>,
}

impl Uncounted {
    /// Asks the admin for the listeners, and decides which of them a drain ignores. Each request
    /// has the time limit `limit`.
    ///
    /// # Errors
    /// Fails if the admin does not report the listeners. Then the drain ignores only the names in
    /// `ignored`.
    pub(crate) async fn ask(
        client: &mut Client,
        direction: Direction,
        ignored: &[String],
        limit: Duration,
    ) -> (Self, Result<(), HttpError>) {
        let listeners = ignored.iter().cloned().collect();
        let mut uncounted = Self { listeners, ..Self::default() };
        let answer = client.get(LISTENERS, limit, MAX_LIST).await;
        let list = match answer.and_then(|answer| answer.into_ok_body()) {
            Ok(list) => String::from_utf8_lossy(&list).into_owned(),
            Err(error) => return (uncounted, Err(error)),
        };
        let list = ListenerList::new(&list);
        uncounted.internal = Some(list.internal().collect());
        uncounted.listeners = ignored.iter().flat_map(|name| statistics_of(name, &list)).collect();
        let is_inbound = direction == Direction::Inbound;
        if is_inbound || ignored.iter().any(|word| !list.has(word)) {
            match dump(client, &list, limit).await {
                Ok(listeners) => uncounted.leave_out(&listeners, is_inbound),
                Err(error) if is_inbound => return (uncounted, Err(error)),
                Err(_) => {}
            }
        }
        uncounted.counted = uncounted.counted_in(&list).unwrap_or_default();
        uncounted.listening = uncounted.addresses_in(&list).flat_map(str::parse).collect();
        (uncounted, Ok(()))
    }

    /// Whether these are the statistics of an internal listener. Its connections come from Envoy
    /// itself, and may never end.
    pub(super) fn is_internal(&self, listener: &str) -> bool {
        let looks_internal = listener.starts_with(INTERNAL_STATISTIC);
        looks_internal && self.internal.as_ref().is_none_or(|known| known.contains(listener))
    }

    /// The addresses of the listeners that count. `None` if one of these listeners is on a Unix
    /// socket. Also `None` if two listeners have the same address, because one of the two then uses
    /// UDP.
    fn counted_in(&self, list: &ListenerList) -> Option<Vec<SocketAddr>> {
        let mut counted = BTreeSet::new();
        for address in self.addresses_in(list) {
            let is_new = counted.insert(address.parse().ok()?);
            is_new.then_some(())?;
        }
        Some(counted.into_iter().collect())
    }

    /// The addresses of the listeners that count, as the admin writes them.
    fn addresses_in<'a>(&self, list: &'a ListenerList) -> impl Iterator<Item = &'a str> {
        let all =
            list.0.iter().map(|line| line.split_once("::").map_or("", |(_, address)| address));
        let is_ignored = |address: &str| self.listeners.contains(&statistic(address));
        all.filter(move |address| !is_ignored(address) && !address.starts_with(INTERNAL))
    }

    /// Leaves out the listeners that are ignored by their `stat_prefix`, and if `is_inbound`, all
    /// listeners that are not inbound.
    fn leave_out(&mut self, listeners: &[EnvoyListener], is_inbound: bool) {
        let is_ignored =
            |it: &&EnvoyListener| it.statistics.iter().any(|name| self.listeners.contains(name));
        let ignored: Vec<_> = listeners.iter().filter(is_ignored).collect();
        self.listeners.extend(ignored.into_iter().flat_map(|it| it.statistics.clone()));
        if !is_inbound {
            return;
        }
        let (inbound, others): (Vec<_>, Vec<_>) =
            listeners.iter().partition(|listener| listener.is_inbound);
        let inbound: BTreeSet<_> = inbound.iter().flat_map(|listener| &listener.managers).collect();
        let managers = others.iter().flat_map(|listener| &listener.managers);
        let own: BTreeSet<_> =
            listeners.iter().filter(|it| it.is_inbound).flat_map(|it| &it.statistics).collect();
        self.managers.extend(managers.filter(|name| !inbound.contains(name)).cloned());
        // Statistics that an inbound listener shares with others count as a whole.
        let statistics = others.iter().flat_map(|listener| &listener.statistics);
        self.listeners.extend(statistics.filter(|name| !own.contains(name)).cloned());
    }
}

/// The lines of `/listeners`, sorted, so that a name is found without a look at each line. A line
/// is `NAME::ADDRESS`.
#[derive(Clone)]
pub(crate) struct ListenerList(Vec<String>);

impl ListenerList {
    /// Takes the answer of `/listeners`.
    pub(crate) fn new(text: &str) -> Self {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Self(lines)
    }

    /// Whether `word` is the name or the address of a listener.
    fn has(&self, word: &str) -> bool {
        let mut lines = self.0.iter().filter_map(|line| line.split_once("::"));
        lines.any(|(name, address)| [name, address, &statistic(address)].contains(&word))
    }

    /// The names of the internal listeners in statistics, unless they have a `stat_prefix`.
    fn internal(&self) -> impl Iterator<Item = String> {
        let lines = self.0.iter().filter_map(|line| line.split_once("::"));
        let internal = lines.filter(|(_, address)| address.starts_with(INTERNAL));
        internal.map(|(name, _)| format!("{INTERNAL_STATISTIC}{}", statistic(name)))
    }

    /// The addresses of the listener `name`, in the form that Envoy's statistics use.
    fn addresses(&self, name: &str) -> impl Iterator<Item = String> {
        let head = format!("{name}::");
        let from = self.0.partition_point(|line| *line < head);
        let lines = if name.is_empty() { &[][..] } else { &self.0[from..] };
        lines.iter().map_while(move |line| line.strip_prefix(&head).map(statistic))
    }
}

/// The names in statistics that a word of `ignore_listeners` may mean.
pub(crate) fn statistics_of(word: &str, list: &ListenerList) -> Vec<String> {
    [word.to_owned(), statistic(word)].into_iter().chain(list.addresses(word)).collect()
}

/// All listeners, with the details that only the dump contains. A dump is large, so it is read on a
/// thread of its own.
pub(crate) async fn dump(
    client: &mut Client,
    list: &ListenerList,
    limit: Duration,
) -> Result<Vec<EnvoyListener>, HttpError> {
    let mut listeners = Vec::new();
    for path in DUMPS {
        let body = client.get(path, limit, MAX_DUMP).await?.into_ok_body()?;
        let list = list.clone();
        let read = move || serde_json::from_slice(&body).map(|dump| parse(&dump, &list));
        let found = beside(limit, read).await?;
        listeners.extend(
            found.map_err(|error| HttpError::malformed(format!("not Envoy's config: {error}")))?,
        );
    }
    Ok(listeners)
}

pub(crate) fn parse(dump: &Value, list: &ListenerList) -> Vec<EnvoyListener> {
    let configs = dump["configs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let listener = |config: &Value| {
        let listener = match &config["active_state"] {
            Value::Null => &config["listener"],
            active => &active["listener"],
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&listener["name"]);
        let prefix = listener["stat_prefix"].as_str().filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(str::to_owned).into_iter();
        let mut statistics: Vec<_> = prefix.chain(list.addresses(&name)).collect();
        let socket = &listener["address"]["socket_address"];
        if let (true, Some(port)) = (statistics.is_empty(), socket["port_value"].as_u64()) {
            statistics.push(statistic(&format!("{}:{port}", text(&socket["address"]))));
        }
        let (mut managers, mut proxies) = (Vec::new(), Vec::new());
        for chains in [&listener["filter_chains"], &listener["default_filter_chain"]] {
            find_filters(".HttpConnectionManager", chains, &mut managers);
            find_filters(".TcpProxy", chains, &mut proxies);
        }
        let is_internal = !listener["internal_listener"].is_null();
        let clients = managers.iter().filter(|_| !is_internal);
        let drain_timeout = clients.map(|manager| drain_timeout(manager)).max();
        let prefix = |manager: &&Value| manager["stat_prefix"].as_str().map(statistic);
        let managers = managers.iter().filter_map(prefix).collect();
        let is_tcp = !proxies.is_empty() && !is_internal;
        let is_inbound = listener["traffic_direction"] == "INBOUND";
        EnvoyListener { name, is_inbound, statistics, managers, is_tcp, drain_timeout }
    };
    configs.iter().filter(|config| !config.is_null()).map(listener).collect()
}

/// The time that a connection manager gives its clients after GOAWAY.
fn drain_timeout(manager: &Value) -> Duration {
    let text = manager["drain_timeout"].as_str().and_then(|text| text.strip_suffix('s'));
    let seconds = text.and_then(|text| text.parse().ok());
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.unwrap_or(DRAIN_TIMEOUT)
}

/// Collects all filters of this kind that are in a part of a listener, at any depth.
fn find_filters<'dump>(kind: &str, part: &'dump Value, found: &mut Vec<&'dump Value>) {
    match part {
        Value::Array(items) => items.iter().for_each(|item| find_filters(kind, item, found)),
        Value::Object(fields) => {
            let of = fields.get("@type").and_then(Value::as_str).unwrap_or_default();
            if of.ends_with(kind) {
                found.push(part);
            } else {
                fields.values().for_each(|field| find_filters(kind, field, found));
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
mod tests {
    use super::*;
    use crate::testing::http_server::{Behaviour::*, Server};

    const LIST: &str = "in::0.0.0.0:8080\nin::[::]:8080\nout::127.0.0.1:9000\nprom::[::]:9090\n";
    const LIMIT: Duration = Duration::from_secs(2);

    fn manager(prefix: &str) -> Value {
        let kind = "type.googleapis.com/x.v3.HttpConnectionManager";
        serde_json::json!([{"filters": [{"typed_config": {"@type": kind, "stat_prefix": prefix}}]}])
    }

    fn statics() -> String {
        let address = serde_json::json!({"socket_address": {"address": "::1", "port_value": 7}});
        let listeners = [
            serde_json::json!({"name": "in", "traffic_direction": "INBOUND", "stat_prefix": "",
                "filter_chains": manager("ingress")}),
            serde_json::json!({"name": "out", "traffic_direction": "OUTBOUND",
                "default_filter_chain": manager("egress")[0]}),
            serde_json::json!({"address": address, "filter_chains": manager("ingress")}),
            serde_json::json!({"name": "prom", "stat_prefix": "of.prom"}),
        ];
        let configs: Vec<_> =
            listeners.into_iter().map(|it| serde_json::json!({"listener": it})).collect();
        serde_json::json!({ "configs": configs }).to_string()
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

    #[tokio::test]
    async fn listener_ignored_by_prefix_is_not_counted_by_the_kernel() {
        let dump = Box::leak(statics().into_boxed_str());
        let uncounted = ask(Direction::All, &["of.prom"], &[LIST, dump, "{}", "{}"]).await;
        let counted: Vec<_> = uncounted.counted.iter().map(ToString::to_string).collect();
        assert_eq!(counted, ["0.0.0.0:8080", "127.0.0.1:9000", "[::]:8080"]);
    }

    // holds: C385
    #[test]
    fn only_inbound_listeners_count() {
        let mut uncounted = Uncounted::default();
        let listeners = parse(&serde_json::from_str(&statics()).unwrap(), &ListenerList::new(LIST));
        assert_eq!(listeners[0].statistics, ["0.0.0.0_8080", "[__]_8080"]);
        uncounted.leave_out(&listeners, true);
        let left_out = ["127.0.0.1_9000", "[__]_9090", "__1_7", "of.prom"];
        assert!(uncounted.listeners.iter().eq(&left_out), "{uncounted:?}");
        assert!(uncounted.managers.iter().eq(&["egress"]), "ingress is inbound, too");
    }

    // holds: S933
    #[test]
    fn an_inbound_listener_counts_if_another_listener_has_the_same_prefix() {
        let listener = |is_inbound, address: &str| EnvoyListener {
            is_inbound,
            statistics: vec!["web".to_owned(), address.to_owned()],
            ..EnvoyListener::default()
        };
        for listeners in [
            [listener(true, "a"), listener(false, "b")],
            [listener(false, "b"), listener(true, "a")],
        ] {
            let mut uncounted = Uncounted::default();
            uncounted.leave_out(&listeners, true);
            assert!(uncounted.listeners.iter().eq(&["b"]), "{uncounted:?}");
        }
    }

    #[test]
    fn internal_listeners_are_known_by_the_list() {
        let list = ListenerList::new("in::[::]:80\ni.a::envoy://i.a/\n");
        assert!(list.internal().eq(["envoy_internal_i.a"]));
    }

    #[test]
    fn the_longest_drain_timeout_of_all_managers_counts() {
        let of = |timeouts: &[Option<&str>]| {
            let chain = |timeout: &Option<&str>| {
                let mut chain = manager("m")[0].clone();
                if let Some(time) = timeout {
                    chain["filters"][0]["typed_config"]["drain_timeout"] = (*time).into();
                }
                chain
            };
            let chains: Vec<_> = timeouts.iter().map(chain).collect();
            let listener = serde_json::json!({"name": "in", "filter_chains": chains});
            let dump = serde_json::json!({"configs": [{"listener": listener}]});
            parse(&dump, &ListenerList::new(LIST))[0].drain_timeout.map(|time| time.as_millis())
        };
        for (timeouts, longest) in [
            (&[][..], None),
            (&[Some("1s")], Some(1000)),
            (&[Some("1s"), Some("30s")], Some(30_000)),
            (&[Some("30s"), Some("1s")], Some(30_000)),
            (&[Some("0.5s"), None], Some(5000)),
            (&[None, Some("7s"), Some("0s")], Some(7000)),
        ] {
            assert_eq!(of(timeouts), longest, "{timeouts:?}");
        }
    }

    #[test]
    fn addresses_count_if_all_are_of_tcp() {
        let of = |list: &str, ignored: &str| {
            let list = ListenerList::new(list);
            let listeners = statistics_of(ignored, &list).into_iter().collect();
            let uncounted = Uncounted { listeners, ..Uncounted::default() };
            let counted = uncounted.counted_in(&list).unwrap_or_default();
            counted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(LIST, "prom"), "0.0.0.0:8080 127.0.0.1:9000 [::]:8080");
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
        assert!(uncounted.listeners.iter().eq(&["[__]_9090", "prom"]));
    }
}
