//! Reads Envoy's statistics into the few numbers that a drain needs.
//!
//! The names were checked with Envoy 1.36.4, 1.37.0, 1.38.3, 1.39.3 and 1.40.0 (the fixtures of the
//! tests). The names leave two facts open. First, a connection manager may be behind an internal
//! listener, and a request then counts once for each connection manager that it passes. Second, a
//! listener with a `stat_prefix` may be internal.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::core::envoy::sample::Sample;
use crate::envoy::listeners::Uncounted;
use crate::http::HttpError;

/// The path of exactly the statistics that [`sample`] reads. The filter is the percent-encoded form
/// of
/// `^(listener\..*\.downstream_((pre_)?cx_active|cx_total)|http\..*\.downstream_(rq_active|rq_total|cx_active|cx_drain_close|cx_tx_bytes_buffered|cx_upgrades_(active|total)))$`.
pub const STATS_PATH: &str = "/stats?filter=%5E(listener%5C..*%5C.downstream_((pre_)%3Fcx_active%7Ccx_total)%7C\
http%5C..*%5C.downstream_(rq_active%7Crq_total%7Ccx_active%7Ccx_drain_close%7Ccx_tx_bytes_buffered%7Ccx_upgrades_(active%7Ctotal)))%24&format=json";
/// The parameter that limits the answer to gauges. Envoy has ten counters for each gauge, and
/// searches all statistics of the requested types: with 10,000 clusters, Envoy 1.40.0 needs 0.12 s
/// for the gauges, and 0.42 s for all types. An Envoy that does not know `type` answers with
/// everything.
pub(crate) const ONLY_GAUGES: &str = "&type=Gauges";

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Statistic>,
}

/// One statistic. Histograms have other fields, and text readouts have texts as values, but their
/// names do not match the filter.
#[derive(Deserialize)]
pub(super) struct Statistic {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: Value,
}

/// Reads an answer of `/stats?format=json`.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Statistic>, HttpError> {
    serde_json::from_slice(body)
        .map(|stats: Stats| stats.stats)
        .map_err(|error| HttpError::malformed(format!("not Envoy statistics: {error}")))
}

/// Adds up the statistics in an answer of `/stats?format=json`.
///
/// # Errors
/// Fails with [`HttpError::Malformed`] if `body` is not such an answer, or if a value is not a
/// count: a sum without this value would be too low.
pub fn sample(body: &[u8], uncounted: &Uncounted) -> Result<Sample, HttpError> {
    let mut sample = Sample::default();
    let (mut with_active, mut with_filters) = (0_usize, 0_usize);
    let statistics = parse(body)?;
    let all = Names::of(&statistics);
    for Statistic { name, value } in &statistics {
        let Some(sum) = sum_for(&mut sample, name, uncounted, &all) else { continue };
        let value = value.as_u64().ok_or_else(|| {
            HttpError::malformed(format!("the statistic {name} is not a count: {value}"))
        })?;
        let value = value.saturating_sub(all.of_admin(name).unwrap_or_default());
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
        with_active += usize::from(name.ends_with(".downstream_cx_active"));
        with_filters += usize::from(name.ends_with(".downstream_pre_cx_active"));
    }
    // If Envoy's `stats_config` hides `downstream_cx_active` or `downstream_pre_cx_active` of some
    // listener, their sum would be too low, so there is no sum.
    let (active, in_filters) = (sample.active.take(), sample.in_filters);
    if with_active == with_filters && !all.hides_admin_listener() {
        sample.active = active.zip(in_filters).map(|(active, more)| active.saturating_add(more));
    }
    if all.may_hide_requests() && !uncounted.managers.contains(ADMIN) {
        (sample.requests_active, sample.requests_total) = (None, None);
    }
    Ok(sample)
}

/// The `stat_prefix` of the admin's listener and of its connection manager. Others may use it, too.
pub(super) const ADMIN: &str = "admin";

/// The values of all statistics, by name. A `stat_prefix` is free text, so a name alone does not
/// tell whose statistics these are. The other statistics of the same name tell.
struct Names<'a>(BTreeMap<&'a str, Option<u64>>);

impl<'a> Names<'a> {
    fn of(statistics: &'a [Statistic]) -> Self {
        Self(statistics.iter().map(|it| (it.name.as_str(), it.value.as_u64())).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether this is the share of a thread in the totals of a listener. Only the totals have
    /// `downstream_pre_cx_active`.
    fn is_thread_share(&self, listener: &str) -> bool {
        is_thread(listener) && !self.has(&format!("listener.{listener}.downstream_pre_cx_active"))
    }

    /// Whether this is `<prefix>.user_agent.<agent>`, which repeats some totals of `<prefix>`. Only
    /// a connection manager has `downstream_rq_active`.
    fn is_user_agent_copy(&self, prefix: &str) -> bool {
        is_user_agent_copy(prefix) && !self.has(&format!("http.{prefix}.downstream_rq_active"))
    }

    /// Whether a listener for clients shares its statistics with the admin. The admin has only the
    /// main thread, and a listener for clients has workers.
    fn is_admin_shared(&self) -> bool {
        let (first, mut from) =
            ("listener.admin.worker_", self.0.range("listener.admin.worker_"..));
        from.next().is_some_and(|(name, _)| name.starts_with(first))
    }

    /// The share of the admin in this statistic of a listener that shares its name.
    fn of_admin(&self, name: &str) -> Option<u64> {
        let stat = name.strip_prefix("listener.admin.")?;
        *self.0.get(format!("listener.admin.main_thread.{stat}").as_str())?
    }

    /// Whether nothing shows who is connected to the listeners of this name.
    fn hides_admin_listener(&self) -> bool {
        let active = "listener.admin.downstream_cx_active";
        self.has(active) && self.of_admin(active).is_none()
    }

    /// Whether a client may be connected to a connection manager that shares its statistics with the
    /// admin. Its requests cannot be distinguished from those of the admin, so they are unknown.
    fn may_hide_requests(&self) -> bool {
        let connected = self.0.get("http.admin.downstream_cx_active").copied().flatten();
        let of_admin = self.of_admin("listener.admin.downstream_cx_active");
        let is_known = connected.zip(of_admin).is_some_and(|(all, of_admin)| all <= of_admin);
        self.has("http.admin.downstream_rq_active") && !is_known
    }
}

/// The sum to which a statistic with this name is added, if any.
fn sum_for<'a>(
    sample: &'a mut Sample,
    name: &str,
    uncounted: &Uncounted,
    all: &Names<'_>,
) -> Option<&'a mut Option<u64>> {
    if let Some(rest) = name.strip_prefix("listener.") {
        let (listener, stat) = rest.rsplit_once('.')?;
        let serves = match listener {
            ADMIN => all.is_admin_shared(),
            _ => !uncounted.is_internal(listener) && !all.is_thread_share(listener),
        };
        if !serves || uncounted.listeners.contains(listener) {
            return None;
        }
        match stat {
            "downstream_cx_active" => Some(&mut sample.active),
            "downstream_pre_cx_active" => Some(&mut sample.in_filters),
            "downstream_cx_total" => Some(&mut sample.accepted_total),
            _ => None,
        }
    } else {
        let (prefix, stat) = name.strip_prefix("http.")?.rsplit_once('.')?;
        let is_left_out = uncounted.managers.contains(prefix);
        if prefix == ADMIN || all.is_user_agent_copy(prefix) || is_left_out {
            return None;
        }
        match stat {
            "downstream_rq_active" => Some(&mut sample.requests_active),
            "downstream_rq_total" => Some(&mut sample.requests_total),
            "downstream_cx_drain_close" => Some(&mut sample.drain_close),
            "downstream_cx_tx_bytes_buffered" => Some(&mut sample.unsent),
            "downstream_cx_upgrades_active" => Some(&mut sample.upgrades_active),
            "downstream_cx_upgrades_total" => Some(&mut sample.upgrades_total),
            _ => None,
        }
    }
}

/// The names of the listeners for clients, as the statistics in an answer of `/stats?format=json`
/// show them.
pub(crate) fn listener_names(body: &str) -> Vec<String> {
    let stats = parse(body.as_bytes()).unwrap_or_default();
    let all = Names::of(&stats);
    let (uncounted, mut sample) = (Uncounted::default(), Sample::default());
    let name = |stat: &Statistic| {
        let name = stat.name.strip_prefix("listener.")?.strip_suffix(".downstream_cx_active")?;
        sum_for(&mut sample, &stat.name, &uncounted, &all).map(|_| name.to_owned())
    };
    stats.iter().filter_map(name).collect()
}

/// Whether this name ends like the share of a single thread.
fn is_thread(listener: &str) -> bool {
    listener.rsplit_once('.').is_some_and(|(_, last)| {
        last == "main_thread"
            || last
                .strip_prefix("worker_")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Whether this name looks like `<prefix>.user_agent.<agent>`.
fn is_user_agent_copy(prefix: &str) -> bool {
    prefix.rsplit('.').nth(1) == Some("user_agent")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixtures come from real Envoys with two workers. The fixtures have 6 accepted client
    /// connections. 5 of these are open: two on 127.0.0.1:18080, and one each on `[::1]`, a Unix
    /// socket and a listener with a `stat_prefix`. One `stat_prefix` contains a dot. Three things
    /// in the fixtures must not count: an internal listener with 2 or 3 connections, copies of
    /// statistics under `user_agent`, and the connection of the admin.
    // holds: S47
    #[test]
    fn statistics_of_real_envoys_are_parsed() {
        for (version, body) in [
            ("1.36.4", include_str!("../../tests/fixtures/envoy-stats-1.36.4.json")),
            ("1.37.0", include_str!("../../tests/fixtures/envoy-stats-1.37.0.json")),
            ("1.38.3", include_str!("../../tests/fixtures/envoy-stats-1.38.3.json")),
            ("1.39.3", include_str!("../../tests/fixtures/envoy-stats-1.39.3.json")),
            ("1.40.0", include_str!("../../tests/fixtures/envoy-stats-1.40.0.json")),
        ] {
            let sample = sample(body.as_bytes(), &Uncounted::default()).unwrap();
            let [active, accepted_total, requests_total] = [5, 6, 9].map(Some);
            let expected = Sample { active, accepted_total, requests_total, ..Sample::NOTHING };
            assert_eq!(sample, expected, "{version}");
        }
    }

    fn stats(entries: &[(&str, &str)]) -> String {
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, value)| format!(r#"{{"name":"{name}","value":{value}}}"#))
            .collect();
        format!(r#"{{"stats":[{}]}}"#, entries.join(","))
    }

    /// The sample of these statistics, all of which count.
    fn counted(entries: &[(&str, &str)]) -> Sample {
        sample(stats(entries).as_bytes(), &Uncounted::default()).unwrap()
    }

    // holds: S47
    #[test]
    fn only_whole_listeners_of_clients_count() {
        for (name, counts) in [
            ("listener.0.0.0.0_8080.downstream_cx_active", true),
            ("listener.[__]_8080.downstream_cx_active", true),
            ("listener./run/a.sock.downstream_cx_active", true),
            ("listener.worker_1.downstream_cx_active", true), // a stat_prefix
            ("listener.administrators.downstream_cx_active", true),
            ("listener.a.worker_.downstream_cx_active", true),
            ("listener.a.worker_x.downstream_cx_active", true),
            ("listener.0.0.0.0_8080.worker_0.downstream_cx_active", false),
            ("listener.0.0.0.0_8080.worker_12.downstream_cx_active", false),
            ("listener.admin.downstream_cx_active", false),
            ("listener.admin.main_thread.downstream_cx_active", false),
            ("listener.envoy_internal_mesh.downstream_cx_active", false),
            ("listener.downstream_cx_active", false),
            ("listener.0.0.0.0_8080.downstream_pre_cx_active", false), // only added to cx_active
            ("listener.admin.downstream_pre_cx_active", false),
            ("listener_manager.downstream_cx_active", false),
        ] {
            let in_filters = name.replace("downstream_cx_", "downstream_pre_cx_");
            // The counters of a thread have no such statistic.
            let all = [(name, "7"), (&*in_filters, "0")];
            let is_part = name.contains("8080.worker_") || name.contains(".main_thread");
            let entries = if is_part { &all[..1] } else { &all[..] };
            let sample = counted(entries);
            assert_eq!(sample.active, counts.then_some(7), "{name}");
        }
    }

    // holds: S933
    #[test]
    fn names_of_the_admin_and_of_copies_that_a_client_listener_has_chosen_count() {
        let of = |name: &str, stat: &str, value: u64| (format!("{name}.downstream_{stat}"), value);
        let sampled = |entries: &[(String, u64)], uncounted: &Uncounted| {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, value)| serde_json::json!({"name": name, "value": value}))
                .collect();
            let body = serde_json::json!({ "stats": entries }).to_string();
            let sample = sample(body.as_bytes(), uncounted).unwrap();
            (sample.active, sample.accepted_total, sample.requests_active)
        };
        let whole = |name: &str, active: u64| {
            let name = format!("listener.{name}");
            [of(&name, "cx_active", active), of(&name, "pre_cx_active", 0)].to_vec()
        };
        let web = || [whole("web", 0), [of("http.web", "rq_active", 0)].to_vec()].concat();
        let main = || of("listener.admin.main_thread", "cx_active", 2);
        let worker = || of("listener.admin.worker_0", "cx_active", 3);
        let managed = |connected| {
            [of("http.admin", "rq_active", 1), of("http.admin", "cx_active", connected)].to_vec()
        };
        let internal = |known: &[&str]| Uncounted {
            internal: Some(known.iter().map(|&name| name.to_owned()).collect()),
            ..Uncounted::default()
        };
        let none = Uncounted::default();
        for (more, uncounted, active, requests) in [
            ([whole("admin", 2), [main()].to_vec(), managed(2)].concat(), &none, Some(0), Some(0)),
            // A listener for clients is called `admin`.
            ([whole("admin", 5), [main(), worker()].to_vec()].concat(), &none, Some(3), Some(0)),
            // Nothing tells who is connected to it.
            (whole("admin", 5), &none, None, Some(0)),
            // A connection manager for clients is called `admin`.
            ([whole("admin", 2), [main()].to_vec(), managed(3)].concat(), &none, Some(0), None),
            (managed(3), &none, Some(0), None),
            // A `stat_prefix` that looks like a thread's share, and a copy of a connection manager.
            (whole("a.worker_0", 4), &none, Some(4), Some(0)),
            ([of("http.a.user_agent.b", "rq_active", 6)].to_vec(), &none, Some(0), Some(6)),
            // A `stat_prefix` that looks like an internal listener.
            (whole("envoy_internal_a", 4), &internal(&["envoy_internal_b"]), Some(4), Some(0)),
            (whole("envoy_internal_a", 4), &internal(&["envoy_internal_a"]), Some(0), Some(0)),
            (whole("envoy_internal_a", 4), &none, Some(0), Some(0)),
        ] {
            let all = [web(), more].concat();
            assert_eq!(sampled(&all, uncounted), (active, None, requests), "{all:?}");
        }
    }

    #[test]
    fn has_accepted_none_until_a_count_is_positive() {
        for (active, accepted_total, expected) in [
            (None, None, true),
            (Some(0), Some(0), true),
            (None, Some(0), true),
            (Some(0), Some(1), false),
            (Some(1), None, false),
        ] {
            let sample = Sample { active, accepted_total, ..Sample::default() };
            assert_eq!(sample.has_accepted_none(), expected, "{sample:?}");
        }
    }

    #[test]
    fn connection_in_listener_filters_counts_as_open() {
        let active = ("listener.a.downstream_cx_active", "0");
        let in_filters = |count| ("listener.a.downstream_pre_cx_active", count);
        assert_eq!(counted(&[active, in_filters("1")]).active, Some(1));
        // Listener `b` lacks the second statistic.
        let other = ("listener.b.downstream_cx_active", "0");
        assert_eq!(counted(&[active, in_filters("0"), other]).active, None);
    }

    // holds: S177
    #[test]
    fn request_counts_until_response_is_sent() {
        for (active, unsent, left) in [
            (Some(0), Some(0), Some(0)),
            (Some(0), Some(70_000), Some(1)),
            (Some(3), Some(70_000), Some(3)),
            (Some(3), None, Some(3)),
            (None, Some(70_000), None),
        ] {
            let sample = Sample { requests_active: active, unsent, ..Sample::default() };
            assert_eq!(sample.requests_left(), left, "{sample:?}");
        }
        let unsent = counted(&[("http.a.downstream_cx_tx_bytes_buffered", "7")]).unsent;
        assert_eq!(unsent, Some(7));
    }

    // holds: S136
    #[test]
    fn only_whole_connection_managers_of_clients_count() {
        for (name, counts) in [
            ("http.ingress.downstream_rq_total", true),
            ("http.a.b.downstream_rq_total", true),
            ("http.admin.downstream_rq_total", false),
            ("http.ingress.user_agent.ios.downstream_rq_total", false),
            ("http.ingress.downstream_rq_2xx", false),
            ("cluster.http.ingress.downstream_rq_total", false),
        ] {
            let total = counted(&[(name, "7")]).requests_total;
            assert_eq!(total, counts.then_some(7), "{name}");
        }
    }

    #[test]
    fn uncounted_listeners_and_managers_are_left_out() {
        let body = stats(&[
            ("listener.a.downstream_cx_active", "2"),
            ("listener.a.downstream_pre_cx_active", "0"),
            ("listener.prom.x.downstream_cx_active", "3"),
            ("listener.prom.x.downstream_pre_cx_active", "1"),
            ("http.in.downstream_rq_active", "5"),
            ("http.out.downstream_rq_active", "7"),
            ("http.in.downstream_cx_upgrades_active", "2"),
            ("http.also.downstream_cx_upgrades_active", "1"),
            ("http.out.downstream_cx_upgrades_active", "9"),
            ("http.in.downstream_cx_upgrades_total", "8"),
            ("http.also.downstream_cx_upgrades_total", "4"),
        ]);
        let uncounted = Uncounted {
            listeners: ["prom.x".to_owned()].into(),
            managers: ["out".to_owned()].into(),
            ..Uncounted::default()
        };
        let sample = sample(body.as_bytes(), &uncounted).unwrap();
        assert_eq!((sample.active, sample.requests_active), (Some(2), Some(5)));
        assert_eq!(sample.traffic().upgrades, Some(12 - 3));
        assert_eq!(listener_names(&body), ["a", "prom.x"]);
        assert!(listener_names("no").is_empty());
    }

    #[test]
    fn histograms_and_texts_are_ignored() {
        let body = br#"{"stats":[{"name":"x.y","value":"text"},{"histograms":{"supported_quantiles":[0]}}]}"#;
        assert_eq!(sample(body, &Uncounted::default()).unwrap(), Sample::default());
    }

    #[test]
    fn incomplete_answer_is_an_error() {
        let whole = stats(&[("listener.a.downstream_cx_active", "3")]);
        for length in 0..whole.len() {
            let cut = &whole[..length];
            assert!(sample(cut.as_bytes(), &Uncounted::default()).is_err(), "{cut}");
        }
        for body in ["[]", "{}", "null", "OK\n", r#"{"stats":{}}"#, r#"{"stats":[7]}"#] {
            assert!(sample(body.as_bytes(), &Uncounted::default()).is_err(), "{body}");
        }
        for value in ["-1", "1.5", "\"3\"", "null"] {
            let other = ("listener.b.downstream_cx_active", value);
            let body = stats(&[("listener.a.downstream_cx_active", "3"), other]);
            let error = sample(body.as_bytes(), &Uncounted::default()).unwrap_err().to_string();
            assert!(error.contains("listener.b.downstream_cx_active is not a count"), "{error}");
        }
    }
}
