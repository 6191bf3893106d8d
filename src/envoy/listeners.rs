//! The listeners and connection managers of an Envoy, by the names that their statistics have.
//!
//! `listener.<stat_prefix, or else the address with `_` for `:`>.…` counts connections,
//! `http.<stat_prefix of the connection manager>.…` requests. Only `/config_dump` has the traffic
//! direction; `/listeners` has names and addresses. Checked with Envoy 1.36.4 to 1.40.0.

use std::time::Duration;

use serde_json::Value;

use crate::http::{Client, RequestError};

/// The largest dump of listeners. One of a thousand routes has about half a megabyte.
const MAX_DUMP: usize = 8 * 1024 * 1024;
/// The largest list of listeners.
pub(crate) const MAX_LIST: usize = 1024 * 1024;

/// Every listener with its addresses.
pub(crate) const LISTENERS: &str = "/listeners";
/// The keys of listeners that [`parse`] reads; the mask keeps the dump small.
const DUMPS: [&str; 2] = [
    "/config_dump?resource=static_listeners&mask=listener.name,listener.address,\
listener.stat_prefix,listener.traffic_direction,listener.filter_chains,\
listener.default_filter_chain",
    "/config_dump?resource=dynamic_listeners&mask=active_state.listener.name,\
active_state.listener.address,active_state.listener.stat_prefix,\
active_state.listener.traffic_direction,active_state.listener.filter_chains,\
active_state.listener.default_filter_chain",
];

/// A listener of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Empty without one.
    pub(crate) name: String,
    pub(crate) is_inbound: bool,
    /// Not an internal one.
    pub(crate) serves_clients: bool,
    /// The names that its statistics may have.
    pub(crate) statistics: Vec<String>,
    /// The `stat_prefix` of its connection managers.
    pub(crate) managers: Vec<String>,
}

/// The names of the statistics that a word of `ignore_listeners` may mean.
pub(crate) fn statistics_of(word: &str, list: &str) -> Vec<String> {
    [word.to_owned(), statistic(word)].into_iter().chain(addresses(list, word)).collect()
}

/// All listeners with what only the dump knows of them. `list` is the answer of `/listeners`.
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
        let socket = &listener["address"]["socket_address"];
        let pipe = &listener["address"]["pipe"]["path"];
        let statistics = match listener["stat_prefix"].as_str() {
            Some(prefix) if !prefix.is_empty() => vec![statistic(prefix)],
            _ => {
                let mut names: Vec<_> = addresses(list, &name).collect();
                if let Some(port) = socket["port_value"].as_u64() {
                    names.push(statistic(&join(&text(&socket["address"]), port)));
                }
                names.extend(pipe.as_str().map(statistic));
                names
            }
        };
        let mut managers = Vec::new();
        for chains in [&listener["filter_chains"], &listener["default_filter_chain"]] {
            find_managers(chains, &mut managers);
        }
        let is_inbound = listener["traffic_direction"] == "INBOUND";
        let serves_clients = socket.is_object() || pipe.is_string();
        Listener { name, is_inbound, serves_clients, statistics, managers }
    };
    configs.iter().filter(|config| !config.is_null()).map(listener).collect()
}

/// The names in the statistics of the addresses that a named listener has. A line of `/listeners`
/// is `NAME::ADDRESS`.
fn addresses(list: &str, name: &str) -> impl Iterator<Item = String> {
    let of_name = move |line: &str| {
        let address = line.strip_prefix(name)?.strip_prefix("::")?;
        (!name.is_empty()).then(|| statistic(address))
    };
    list.lines().filter_map(of_name).collect::<Vec<_>>().into_iter()
}

/// For each listener that clients connect to, the names that its statistics may have, if they are
/// those of an address.
pub(crate) fn client_listeners(list: &str) -> Vec<Vec<String>> {
    let mut listeners: Vec<(&str, Vec<String>)> = Vec::new();
    for line in list.lines().filter(|line| !line.contains("::envoy://")) {
        // An IPv6 address has a `::` of its own, in brackets.
        let end = line.rfind("::[").or_else(|| line.rfind("::"));
        let Some((name, address)) = end.map(|end| (&line[..end], &line[end + 2..])) else {
            continue;
        };
        match listeners.iter_mut().find(|(known, _)| *known == name) {
            Some((_, names)) => names.push(statistic(address)),
            None => listeners.push((name, vec![statistic(address)])),
        }
    }
    listeners.into_iter().map(|(_, names)| names).collect()
}

/// An address with its port, as Envoy writes it.
fn join(address: &str, port: u64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
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

/// A name as Envoy writes it in a statistic.
pub(crate) fn statistic(name: &str) -> String {
    name.replace(':', "_")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const LIST: &str = "in::0.0.0.0:8080\nin::[::]:8080\nout::127.0.0.1:9000\nprom::[::]:9090\n";

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
            serde_json::json!({"name": "prom", "stat_prefix": "of.prom:x", "address": address}),
            serde_json::json!({"name": "inner"}),
            serde_json::json!({"address": {"pipe": {"path": "/run/a.sock"}}}),
        ];
        let configs: Vec<_> =
            listeners.into_iter().map(|it| serde_json::json!({"listener": it})).collect();
        serde_json::json!({ "configs": configs }).to_string()
    }

    #[test]
    fn a_dump_has_the_names_that_statistics_may_have() {
        let listeners = parse(&serde_json::from_str(&statics()).unwrap(), LIST);
        let names: Vec<_> = listeners.iter().map(|it| it.statistics.join(" ")).collect();
        assert_eq!(
            names,
            ["0.0.0.0_8080 [__]_8080", "127.0.0.1_9000", "[__1]_7", "of.prom_x", "", "/run/a.sock"]
        );
        let clients: Vec<_> = listeners.iter().map(|it| it.serves_clients).collect();
        assert_eq!(clients, [false, false, true, true, false, true]);
    }

    #[test]
    fn a_list_has_the_names_of_addresses() {
        let list = format!("{LIST}a::b::@x\ninner::envoy://inner/\nodd\n");
        let expected = [
            vec!["0.0.0.0_8080", "[__]_8080"],
            vec!["127.0.0.1_9000"],
            vec!["[__]_9090"],
            vec!["@x"],
        ];
        assert_eq!(client_listeners(&list), expected);
    }
}
