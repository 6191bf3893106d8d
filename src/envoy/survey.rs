//! Compares the listeners and connection managers that count for a drain with the statistics that
//! Envoy has. One without statistics, because `stats_config` excludes them, would look like one
//! without connections.
//!
//! A listener whose statistics are under no address of `/listeners` has a `stat_prefix` or port 0,
//! which only `/config_dump` knows; so does it which connection managers a listener has. It is read
//! only where one of these matters.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::{Direction, DrainUntil};
use crate::envoy::listeners::{Listener, client_listeners, dump, statistic, statistics_of};
use crate::envoy::stats;
use crate::http::{Client, RequestError};

/// What the end of a drain needs of each listener, as [`stats::Sample`] sums it.
const OF_LISTENER: [&str; 3] =
    ["downstream_cx_active", "downstream_cx_total", "downstream_pre_cx_active"];
/// What it needs of each connection manager, with `until: requests`.
const OF_MANAGER: [&str; 3] =
    ["downstream_rq_active", "downstream_rq_total", "downstream_cx_tx_bytes_buffered"];

/// What a drain waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) direction: Direction,
    /// Words of `ignore_listeners`.
    pub(crate) ignored: Vec<String>,
    pub(crate) until: DrainUntil,
}

/// The names of statistics that do not count. What is unknown counts: a drain then takes too long,
/// and cuts nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// Between `listener.` and `.downstream_cx_active`.
    pub(crate) listeners: Vec<String>,
    /// Between `http.` and `.downstream_rq_active`.
    pub(crate) managers: Vec<String>,
    /// A listener that counts lacks a statistic, so that the sums of all are unknown.
    pub(crate) hides_connections: bool,
    /// The same of a connection manager.
    pub(crate) hides_requests: bool,
}

/// The listeners of an Envoy and the names of its statistics.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    /// With `_` for `:`. Envoy 1.36 keeps a `:` of the `stat_prefix` of a connection manager.
    statistics: HashSet<String>,
    /// The answer of `/listeners`.
    list: &'a str,
    /// `None` if it was not needed, or the admin does not tell.
    pub(crate) listeners: Option<Vec<Listener>>,
}

impl<'a> Survey<'a> {
    /// Of the answers of `/stats` and `/listeners`.
    pub(crate) fn new(stats: &[u8], list: &'a str) -> Self {
        Self { statistics: names(stats), list, listeners: None }
    }

    /// Reads the dump, if it is needed, within `limit` a request.
    ///
    /// # Errors
    /// When the admin does not tell; then everything counts but what is ignored by the name of its
    /// statistics.
    pub(crate) async fn complete(
        &mut self,
        client: &mut Client,
        scope: &Scope,
        limit: Duration,
    ) -> Result<(), RequestError> {
        if self.needs_dump(scope) {
            self.listeners = Some(dump(client, self.list, limit).await?);
        }
        Ok(())
    }

    /// Takes a later answer of `/stats`.
    pub(crate) fn update(&mut self, stats: &[u8]) {
        self.statistics = names(stats);
    }

    fn needs_dump(&self, scope: &Scope) -> bool {
        scope.direction == Direction::Inbound
            || scope.until == DrainUntil::Requests
            || self.clients(&[]).iter().any(|names| !self.has_any(names, OF_LISTENER[0]))
    }

    /// The names of the statistics that a word of `ignore_listeners` may mean.
    pub(crate) fn statistics_of(&self, word: &str) -> Vec<String> {
        statistics_of(word, self.list)
    }

    /// Whether a word of `ignore_listeners` means a listener with statistics.
    pub(crate) fn has_listener(&self, word: &str) -> bool {
        self.has_any(&self.statistics_of(word), OF_LISTENER[0])
    }

    /// What the sums of the statistics leave out.
    pub(crate) fn uncounted(&self, scope: &Scope) -> Uncounted {
        let mut uncounted = self.left_out(scope);
        uncounted.hides_connections = !self.missing_of_listeners(&uncounted).is_empty();
        uncounted.hides_requests =
            scope.until == DrainUntil::Requests && !self.missing_of_managers(&uncounted).is_empty();
        uncounted
    }

    /// The statistics that the early end of the drain needs, and that do not exist.
    pub(crate) fn missing(&self, scope: &Scope) -> Vec<String> {
        let uncounted = self.left_out(scope);
        match scope.until {
            DrainUntil::Connections => self.missing_of_listeners(&uncounted),
            DrainUntil::Requests => self.missing_of_managers(&uncounted),
        }
    }

    fn left_out(&self, scope: &Scope) -> Uncounted {
        let ignored = scope.ignored.iter().flat_map(|word| self.statistics_of(word));
        let mut uncounted = Uncounted { listeners: ignored.collect(), ..Uncounted::default() };
        if scope.direction == Direction::Inbound {
            uncounted.only_inbound(self.listeners.as_deref().unwrap_or_default());
        }
        uncounted
    }

    /// For each listener that clients connect to, and that is not left out, the names that its
    /// statistics may have.
    fn clients(&self, left_out: &[String]) -> Vec<Vec<String>> {
        let clients = match &self.listeners {
            Some(listeners) => {
                let clients = listeners.iter().filter(|listener| listener.serves_clients);
                clients.map(|listener| listener.statistics.clone()).collect()
            }
            None => client_listeners(self.list),
        };
        let counts = |names: &Vec<String>| !names.iter().any(|name| left_out.contains(name));
        clients.into_iter().filter(counts).collect()
    }

    fn missing_of_listeners(&self, uncounted: &Uncounted) -> Vec<String> {
        let clients = self.clients(&uncounted.listeners);
        let missing = |stat: &'static str| {
            let mut without: Vec<_> =
                clients.iter().filter(|names| !self.has_any(names, stat)).collect();
            if self.listeners.is_none() && without.len() <= self.others(stat, uncounted) {
                // As far as is known these have a `stat_prefix`.
                without.clear();
            }
            let all = without.len() == clients.len();
            let names = without.into_iter().filter_map(|names| names.first());
            let names: Vec<_> = names.map(|name| format!("listener.{name}.{stat}")).collect();
            if all && !names.is_empty() { vec![format!("listener.*.{stat}")] } else { names }
        };
        OF_LISTENER.into_iter().flat_map(missing).collect()
    }

    /// How many listeners have this statistic under a name that is no address of `/listeners`.
    fn others(&self, stat: &str, uncounted: &Uncounted) -> usize {
        let known = client_listeners(self.list).concat();
        let names = stats::listeners(self.statistics.iter().map(String::as_str), stat);
        names.filter(|name| !known.contains(name) && !uncounted.listeners.contains(name)).count()
    }

    fn missing_of_managers(&self, uncounted: &Uncounted) -> Vec<String> {
        let managers: HashSet<_> = self
            .listeners
            .iter()
            .flatten()
            .filter(|listener| listener.serves_clients)
            .flat_map(|listener| &listener.managers)
            .filter(|manager| !uncounted.managers.contains(manager))
            .collect();
        let missing = |stat: &'static str| {
            let is_of = |name: &String| {
                name.starts_with("http.")
                    && !name.starts_with("http.admin.")
                    && name.ends_with(stat)
            };
            if !self.statistics.iter().any(is_of) {
                return vec![format!("http.*.{stat}")];
            }
            let names = managers.iter().map(|manager| format!("http.{manager}.{stat}"));
            let mut names: Vec<_> = names.filter(|name| !self.statistics.contains(name)).collect();
            names.sort_unstable();
            names
        };
        OF_MANAGER.into_iter().flat_map(missing).collect()
    }

    fn has_any(&self, names: &[String], stat: &str) -> bool {
        names.iter().any(|name| self.statistics.contains(&format!("listener.{name}.{stat}")))
    }
}

impl Uncounted {
    fn only_inbound(&mut self, listeners: &[Listener]) {
        let inbound: Vec<_> = listeners.iter().filter(|listener| listener.is_inbound).collect();
        for listener in listeners.iter().filter(|listener| !listener.is_inbound) {
            let shared = |name: &&String| inbound.iter().any(|it| it.statistics.contains(name));
            let own = listener.statistics.iter().filter(|name| !shared(name));
            self.listeners.extend(own.cloned());
            let shared = |name: &&String| inbound.iter().any(|it| it.managers.contains(name));
            self.managers.extend(listener.managers.iter().filter(|name| !shared(name)).cloned());
        }
    }
}

fn names(stats: &[u8]) -> HashSet<String> {
    let stats = stats::parse(stats).unwrap_or_default();
    stats.into_iter().map(|stat| statistic(&stat.name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::envoy::admin::uncounted;
    use crate::testing::http_server::Behaviour::*;
    use crate::testing::http_server::Server;

    const LIST: &str = "in::0.0.0.0:80\nprom::0.0.0.0:90\nprom::[::]:90\nmesh::envoy://mesh/\n";

    /// Whole statistics of these listeners and connection managers, but for one.
    fn body(listeners: &[&str], managers: &[&str], without: &str) -> Vec<u8> {
        let of = |group: &str, names: &[&str], stats: [&str; 3]| {
            let of = |name: &&str| stats.map(|stat| format!("{group}.{name}.{stat}"));
            names.iter().flat_map(of).collect::<Vec<_>>()
        };
        let mut names = of("listener", listeners, OF_LISTENER);
        names.extend(of("http", managers, OF_MANAGER));
        names.retain(|name| name != without);
        let stats = names.iter().map(|name| serde_json::json!({"name": name, "value": 0}));
        serde_json::json!({"stats": stats.collect::<Vec<_>>()}).to_string().into_bytes()
    }

    fn listener(name: &str, is_inbound: bool, statistic: &str, manager: &str) -> Listener {
        Listener {
            name: name.to_owned(),
            is_inbound,
            serves_clients: true,
            statistics: vec![statistic.to_owned()],
            managers: vec![manager.to_owned()],
        }
    }

    fn until(until: DrainUntil) -> Scope {
        Scope { until, ..Scope::default() }
    }

    fn ignoring(words: &[&str]) -> Scope {
        let ignored = words.iter().map(|word| (*word).to_owned()).collect();
        Scope { ignored, ..Scope::default() }
    }

    #[test]
    fn a_listener_without_statistics_makes_the_sums_unknown() {
        for (listeners, without, missing) in [
            (&["0.0.0.0_80", "0.0.0.0_90"][..], "", ""),
            (&["0.0.0.0_80", "[__]_90"], "", ""),
            (
                &["0.0.0.0_80", "[__]_90"],
                "listener.0.0.0.0_80.downstream_cx_total",
                "listener.0.0.0.0_80.downstream_cx_total",
            ),
            (
                &["0.0.0.0_90"],
                "",
                "listener.0.0.0.0_80.downstream_cx_active listener.0.0.0.0_80.downstream_cx_total \
                 listener.0.0.0.0_80.downstream_pre_cx_active",
            ),
            (
                &["admin", "envoy_internal_mesh"],
                "",
                "listener.*.downstream_cx_active listener.*.downstream_cx_total \
                 listener.*.downstream_pre_cx_active",
            ),
            // As long as the dump is unknown, one may have that as its `stat_prefix`.
            (&["0.0.0.0_80", "x"], "", ""),
        ] {
            let survey = Survey::new(&body(listeners, &["in"], without), LIST);
            let scope = Scope::default();
            assert_eq!(survey.missing(&scope).join(" "), missing, "{listeners:?}");
            assert_eq!(survey.uncounted(&scope).hides_connections, !missing.is_empty());
        }
        let survey = Survey::new(&body(&["0.0.0.0_80"], &["in"], ""), LIST);
        assert!(!survey.uncounted(&ignoring(&["prom"])).hides_connections, "it does not count");
    }

    #[test]
    fn a_connection_manager_without_statistics_makes_the_sum_of_requests_unknown() {
        for (managers, known, missing) in [
            (&["in", "a_b"][..], true, 0),
            (&["in"], true, 3),
            // Without the dump no manager is known.
            (&["in"], false, 0),
            (&["admin"], false, 3),
        ] {
            let mut survey = Survey::new(&body(&["0.0.0.0_80", "pre"], managers, ""), LIST);
            survey.listeners = known.then(|| {
                vec![listener("in", true, "0.0.0.0_80", "in"), listener("prom", true, "pre", "a_b")]
            });
            let scope = until(DrainUntil::Requests);
            assert_eq!(survey.missing(&scope).len(), missing, "{managers:?}");
            assert_eq!(survey.uncounted(&scope).hides_requests, missing > 0, "{managers:?}");
            assert!(survey.missing(&until(DrainUntil::Connections)).is_empty());
        }
        let survey = Survey::new(&body(&[], &["in"], "http.in.downstream_rq_total"), "");
        let missing = survey.missing(&until(DrainUntil::Requests));
        assert_eq!(missing, ["http.*.downstream_rq_total"]);
    }

    #[test]
    fn the_dump_is_read_only_where_it_matters() {
        let whole = body(&["0.0.0.0_80", "[__]_90"], &["in"], "");
        let survey = Survey::new(&whole, LIST);
        assert!(!survey.needs_dump(&Scope::default()));
        assert!(!survey.needs_dump(&ignoring(&["prom", "0.0.0.0:80"])));
        assert!(survey.needs_dump(&until(DrainUntil::Requests)));
        let inbound = Scope { direction: Direction::Inbound, ..Scope::default() };
        assert!(survey.needs_dump(&inbound));
        let half = body(&["0.0.0.0_80", "x"], &["in"], "");
        assert!(Survey::new(&half, LIST).needs_dump(&Scope::default()));
    }

    #[test]
    fn only_what_is_inbound_counts() {
        let mut survey = Survey::new(&body(&["a", "b", "both"], &["in", "out"], ""), "");
        survey.listeners = Some(vec![
            listener("a", true, "a", "in"),
            listener("b", false, "b", "out"),
            listener("c", true, "both", "in"),
            listener("d", false, "both", "in"),
        ]);
        let scope = Scope { direction: Direction::Inbound, ..Scope::default() };
        let expected = Uncounted {
            listeners: vec!["b".to_owned()],
            managers: vec!["out".to_owned()],
            ..Uncounted::default()
        };
        assert_eq!(survey.uncounted(&scope), expected, "what is shared is inbound, too");
    }

    #[test]
    fn a_listener_is_ignored_by_its_name_its_address_or_its_statistics() {
        let survey = Survey::new(&body(&["0.0.0.0_80", "[__]_90", "x"], &["in"], ""), LIST);
        for word in ["prom", "[::]:90", "[__]_90", "x", "in"] {
            assert!(survey.has_listener(word), "{word}");
        }
        assert!(!survey.has_listener("mesh") && !survey.has_listener("pro"));
        let uncounted = survey.uncounted(&ignoring(&["prom", "x"])).listeners;
        assert!(uncounted.iter().any(|it| it == "[__]_90") && uncounted.iter().any(|it| it == "x"));
        assert!(!uncounted.iter().any(|it| it.contains("80")), "{uncounted:?}");
    }

    #[tokio::test]
    async fn what_the_admin_refuses_to_tell_counts_and_without_an_answer_nothing_is_known() {
        let stats = body(&["in", "0.0.0.0_90"], &["in"], "");
        let scope = Scope { direction: Direction::Inbound, ..ignoring(&["prom"]) };
        for (answers, ignored) in [
            (
                vec![Answer(200, LIST), Answer(403, "")],
                &["prom", "prom", "0.0.0.0_90", "[__]_90"][..],
            ),
            (vec![Answer(403, "")], &["prom", "prom"]),
        ] {
            let server = Server::tcp(&answers);
            let mut client = Client::new(server.address.clone());
            let (found, told) = uncounted(&mut client, &scope, &stats).await.unwrap();
            assert!(told.is_err(), "{answers:?}");
            let expected = ignored.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(found, Uncounted { listeners: expected, ..Uncounted::default() });
        }
        let server = Server::tcp(&[CloseAtOnce]);
        let mut client = Client::new(server.address.clone());
        assert!(uncounted(&mut client, &scope, &stats).await.is_err());
    }
}
