//! Judges the drain of a healthy Envoy from the answers of Envoy's admin. Each finding has a
//! remedy. This module does no I/O.

use std::time::Duration;

use crate::envoy::listeners::EnvoyListener;
use crate::envoy::preflight::{END_PER_LIST, OF_EXEC, PreflightTarget, Sample};
use crate::envoy::server_info::EnvoyOptions;
use crate::envoy::stats::ADMIN;
use crate::http::HttpError;
use crate::keys::{Direction, DrainUntil};
use crate::language::mask::masked;
use crate::types::{ChildText, human};

/// The path of the statistics, as a finding shows it.
pub(super) const STATS: &str = "/stats?filter=…";

/// The facts about an Envoy. An unknown fact (`None`) leads to no finding.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) options: Option<EnvoyOptions>,
    /// Whether this version closes idle connections and WebSockets late in its drain.
    pub(super) closes_idle: bool,
    /// The paths that the drain needs, but that Envoy's admin interface is configured to refuse.
    pub(super) refused: Vec<&'static str>,
    /// A sample of the statistics, and the time that Envoy took to answer.
    pub(super) sample: Option<(Sample, Duration)>,
    /// Whether Envoy has a listener for clients.
    pub(super) serves: Option<bool>,
    /// All listeners. Only three kinds of drains need this list: a drain of the inbound listeners
    /// only, a drain that counts requests, and the drain of an Envoy that [closes idle
    /// connections](Self::closes_idle).
    pub(super) listeners: Option<Vec<EnvoyListener>>,
    /// The listeners of `ignore_listeners`, by their names in the statistics. Only the finding
    /// about TCP connections needs this list.
    pub(super) ignored: Vec<String>,
    /// The words of `ignore_listeners` that match no listener.
    pub(super) not_there: Vec<String>,
    /// The names of the listeners in Envoy's statistics. The finding about `not_there` lists these
    /// names.
    pub(super) counted: Vec<String>,
}

/// The time that Envoy needs to close idle connections after its drain time (0.0 to 1.0 s), plus
/// one second for a busy machine.
const LATE_CLOSE: Duration = Duration::from_secs(2);

/// The finding if nothing at the address of the admin has answered like an Envoy within `patience`.
pub(super) fn unusable(target: &PreflightTarget, error: &HttpError, patience: Duration) -> String {
    let what = match error {
        HttpError::Status(status) if status.is_client_error() => error.to_string(),
        _ => {
            let why = error.reason();
            let why = why.own().unwrap_or_default();
            format!("has not answered for {}: {why}", human(patience))
        }
    };
    format!(
        "it cannot be drained: its admin at {} {what}; set `{}` to the `admin.address` of its \
         config",
        target.admin,
        if target.is_exec { OF_EXEC } else { "drain.envoy.admin" }
    )
}

impl Facts {
    /// The time of Envoy's own drain; `None` if it is unknown.
    fn drain_time(&self) -> Option<Duration> {
        let seconds: f64 = self.options.as_ref()?.drain_time.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The time over which Envoy spreads its drain; `None` if the drain is immediate, or if the
    /// time is unknown.
    fn gradual(&self) -> Option<Duration> {
        let options = self.options.as_ref()?;
        self.drain_time().filter(|_| options.drain_strategy != "Immediate")
    }

    /// The time that Envoy will probably need to end; `None` if it has not listed its statistics.
    pub(super) fn to_end(&self) -> Option<Duration> {
        self.sample.as_ref().map(|(_, took)| took.saturating_mul(END_PER_LIST))
    }

    /// Returns one sentence for each finding.
    pub(super) fn findings(&self, target: &PreflightTarget) -> Vec<String> {
        let all = [
            self.refusal(),
            self.slowness(target),
            self.nothing_inbound(target),
            self.tcp_connections(target),
            self.requests_like_those_of_the_admin(target),
            self.unknown_ignored_listeners(target),
            self.missing_statistics(target),
            self.uncounted_requests(),
            self.late_answers(target),
        ];
        all.into_iter().flatten().collect()
    }

    fn refusal(&self) -> Option<String> {
        (!self.refused.is_empty()).then(|| {
            format!(
                "its drain will fail: its admin does not allow {}; extend `admin.allow_paths` so \
                 that it matches them with their queries: {{prefix: /drain_listeners}}, {{exact: \
                 /healthcheck/fail}}, {{prefix: \"/stats?filter=\"}}",
                self.refused.join(", ")
            )
        })
    }

    fn slowness(&self, target: &PreflightTarget) -> Option<String> {
        let time = self.gradual().filter(|time| *time > target.wait && !target.fail_healthcheck)?;
        // `fail_healthcheck` is not a remedy for a drain of the inbound listeners, because it would
        // also close the connections of all other listeners.
        let at_once = match target.direction {
            Direction::All => format!("set `{}: true`, or ", target.key("fail_healthcheck")),
            Direction::Inbound => String::new(),
        };
        Some(format!(
            "its drain is too slow: Envoy spreads it over {} (--drain-time-s), so at most {:.1} % of the responses close \
             their connection within the {} of the drain; {at_once}start Envoy with `--drain-strategy immediate`, or with \
             a --drain-time-s of {} or less, which then holds for the old listeners of an update, too",
            human(time),
            target.wait.as_secs_f64() / time.as_secs_f64() * 100.0,
            human(target.wait),
            target.wait.as_secs()
        ))
    }

    /// The advice to set a `--drain-time-s` with which Envoy closes idle connections and WebSockets
    /// before the drain is over. This value is longer than three times `drain_timeout`, and a
    /// little shorter than the drain.
    ///
    /// `None` if Envoy has such a value already or cannot close these connections, or if a fact is
    /// unknown.
    pub(super) fn advice(&self, target: &PreflightTarget) -> Option<String> {
        let time = self.drain_time().filter(|_| self.closes_idle)?;
        let is_drained =
            |listener: &&EnvoyListener| target.direction == Direction::All || listener.is_inbound;
        let listeners = self.listeners.iter().flatten().filter(is_drained);
        let timeout = listeners.filter_map(|listener| listener.drain_timeout).max()?;
        let shortest = (timeout * 3).as_secs() + 1;
        let best = target.wait.saturating_sub(LATE_CLOSE).as_secs();
        if time > timeout * 3 && time + LATE_CLOSE <= target.wait {
            return None;
        }
        let remedy = if best >= shortest {
            format!("{best} closes them")
        } else {
            let wait = Duration::from_secs(shortest) + LATE_CLOSE;
            let set = target.with_time(wait);
            format!("to close them in time, {set} and run Envoy with `--drain-time-s {shortest}`",)
        };
        Some(format!(
            "its --drain-time-s of {} leaves idle connections and WebSockets open for the {} of its \
             drain; {remedy}",
            time.as_secs(),
            human(target.wait)
        ))
    }

    /// The finding that the drain waits only for requests, and therefore cuts the connections of a
    /// TCP proxy.
    fn tcp_connections(&self, target: &PreflightTarget) -> Option<String> {
        let is_cut = |listener: &&EnvoyListener| {
            let names = [&listener.name].into_iter().chain(&listener.statistics);
            let is_drained = target.direction == Direction::All || listener.is_inbound;
            listener.is_tcp && is_drained && !names.into_iter().any(|it| self.ignored.contains(it))
        };
        let listeners = self.listeners.iter().flatten().filter(is_cut);
        let names: Vec<_> = listeners.map(|listener| named(&listener.name)).collect();
        (target.until == DrainUntil::Requests && !names.is_empty()).then(|| {
            format!(
                "its drain cuts TCP connections: `until: requests` counts HTTP requests only, and a \
                 TCP proxy has listeners ({}); remove `{}`, or name them in `{}` if their connections may \
                 be cut",
                names.join(", "),
                target.key("until"),
                target.key("ignore_listeners")
            )
        })
    }

    /// The finding that Envoy adds the requests of clients to those of its admin.
    fn requests_like_those_of_the_admin(&self, target: &PreflightTarget) -> Option<String> {
        let is_shared = |listener: &&EnvoyListener| {
            listener.drain_timeout.is_some() && listener.managers.iter().any(|name| name == ADMIN)
        };
        let listeners = self.listeners.iter().flatten().filter(is_shared);
        let names: Vec<_> = listeners.map(|listener| named(&listener.name)).collect();
        (target.until == DrainUntil::Requests && !names.is_empty()).then(|| {
            format!(
                "its drain cannot end early while clients are connected to {}: a connection manager \
                 has `stat_prefix: admin`, so Envoy adds its requests to those of the admin; choose \
                 another `stat_prefix`",
                names.join(", ")
            )
        })
    }

    fn nothing_inbound(&self, target: &PreflightTarget) -> Option<String> {
        let is_moot = self.serves != Some(true) || target.direction == Direction::All;
        let listeners = self.listeners.as_ref().filter(|_| !is_moot)?;
        let is_moot = listeners.is_empty() || listeners.iter().any(|listener| listener.is_inbound);
        (!is_moot).then(|| {
            let names = listeners.iter().map(|listener| named(&listener.name));
            format!(
                "`direction: inbound` drains nothing: none of its listeners ({}) has \
                 `traffic_direction: INBOUND`; set that on the listeners for clients, or remove \
                 `{}`",
                names.collect::<Vec<_>>().join(", "),
                target.key("direction")
            )
        })
    }

    fn unknown_ignored_listeners(&self, target: &PreflightTarget) -> Option<String> {
        (!self.not_there.is_empty()).then(|| {
            format!(
                "`{}` has {}, but Envoy has no such listener; write the name, the \
                 address or the `stat_prefix` of a listener: Envoy's statistics have {}",
                target.key("ignore_listeners"),
                self.not_there.join(", "),
                self.counted.iter().map(|name| named(name)).collect::<Vec<_>>().join(", ")
            )
        })
    }

    fn missing_statistics(&self, target: &PreflightTarget) -> Option<String> {
        let (sample, _) = self.sample.as_ref().filter(|_| self.serves == Some(true))?;
        let missing: Vec<_> = match target.until {
            DrainUntil::Connections => vec![
                (sample.active, "listener.*.downstream_cx_active and downstream_pre_cx_active"),
                (sample.accepted_total, "listener.*.downstream_cx_total"),
            ],
            DrainUntil::Requests => vec![
                (sample.requests_active, "http.*.downstream_rq_active"),
                (sample.unsent, "http.*.downstream_cx_tx_bytes_buffered"),
                (sample.requests_total, "http.*.downstream_rq_total"),
            ],
        };
        let always = format!("its drain cannot end early and always takes {}", human(target.wait));
        hidden(&missing, &always)
    }

    fn uncounted_requests(&self) -> Option<String> {
        let (sample, _) = self.sample.as_ref().filter(|_| self.serves == Some(true))?;
        sample.requests_active?;
        let needed = [
            (sample.requests_total, "http.*.downstream_rq_total"),
            (sample.upgrades_active, "http.*.downstream_cx_upgrades_active"),
            (sample.upgrades_total, "http.*.downstream_cx_upgrades_total"),
        ];
        hidden(&needed, "its reports do not say how many requests were completed")
    }

    /// The finding that the admin answers too late. A drain asks for the statistics at least three
    /// times: at its beginning, and twice at its end.
    fn late_answers(&self, target: &PreflightTarget) -> Option<String> {
        let took = self.sample.as_ref().map(|(_, took)| *took)?;
        (took * 3 > target.wait).then(|| {
            format!(
                "its admin takes {} to list its statistics, so a drain of {} may not see its end; \
                 {}, or let `stats_config` exclude statistics of \
                 clusters",
                human(took),
                human(target.wait),
                target.with_time(Duration::from_secs((took * 3).as_secs() + 1))
            )
        })
    }
}

/// Says which of the `needed` statistics Envoy's `stats_config` hides, and what the effect is.
/// `None` if none of the `needed` statistics is hidden.
fn hidden(needed: &[(Option<u64>, &str)], effect: &str) -> Option<String> {
    let missing = needed.iter().filter_map(|(value, name)| value.is_none().then_some(*name));
    let missing: Vec<_> = missing.collect();
    (!missing.is_empty()).then(|| {
        format!(
            "Envoy has no statistic {}, so {effect}; let `stats_config.stats_matcher` include it",
            missing.join(", ")
        )
    })
}

/// A name that Envoy tells, without the values that drainit has given to processes.
fn named(listener: &str) -> String {
    match listener.is_empty() {
        true => "without a name".to_owned(),
        false => masked(&ChildText::new(listener)).into_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::preflight::tests;
    use crate::keys::Address;

    fn target(fail_healthcheck: bool) -> PreflightTarget {
        let admin = Address::Unix("/run/admin.sock".into());
        PreflightTarget { fail_healthcheck, ..tests::target(&admin) }
    }

    fn options(drain_time: &str, drain_strategy: &str) -> Option<EnvoyOptions> {
        let (drain_time, drain_strategy) = (drain_time.to_owned(), drain_strategy.to_owned());
        Some(EnvoyOptions { drain_time, drain_strategy, restart_epoch: 0 })
    }

    fn listener(name: &str, is_inbound: bool) -> EnvoyListener {
        EnvoyListener { name: name.to_owned(), is_inbound, ..EnvoyListener::default() }
    }

    /// An Envoy with default flags.
    fn healthy() -> Facts {
        Facts {
            options: options("600s", "Gradual"),
            sample: Some((Sample::NOTHING, Duration::ZERO)),
            serves: Some(true),
            ..Facts::default()
        }
    }

    #[test]
    fn a_finding_about_several_listeners_paths_or_statistics_names_each() {
        let names = ["a", "b", "c"];
        let all = |of: fn(EnvoyListener) -> EnvoyListener| Facts {
            listeners: Some(names.map(|name| of(listener(name, false))).into()),
            ..healthy()
        };
        let words = || names.map(str::to_owned).to_vec();
        let requests = PreflightTarget { until: DrainUntil::Requests, ..target(true) };
        let inbound = PreflightTarget { direction: Direction::Inbound, ..target(true) };
        let no_sample = Facts { sample: Some((Sample::default(), Duration::ZERO)), ..healthy() };
        for (facts, target, said) in [
            (all(|it| EnvoyListener { is_tcp: true, ..it }), &requests, "listeners (a, b, c); "),
            (all(|it| it), &inbound, "none of its listeners (a, b, c) has "),
            (
                all(|it| EnvoyListener {
                    managers: vec!["admin".to_owned()],
                    drain_timeout: Some(Duration::ZERO),
                    ..it
                }),
                &requests,
                "are connected to a, b, c: a connection manager",
            ),
            (
                Facts { not_there: words(), counted: words(), ..healthy() },
                &requests,
                "has a, b, c, but Envoy has no such listener; write the name, the address or the \
                 `stat_prefix` of a listener: Envoy's statistics have a, b, c",
            ),
            (
                Facts { refused: vec!["/a", "/b", "/c"], ..healthy() },
                &requests,
                "does not allow /a, /b, /c; extend",
            ),
            (
                no_sample,
                &requests,
                "no statistic http.*.downstream_rq_active, http.*.downstream_cx_tx_bytes_buffered, \
                 http.*.downstream_rq_total, so its drain cannot end early",
            ),
        ] {
            let findings = facts.findings(target);
            assert!(findings.iter().any(|found| found.contains(said)), "{said}: {findings:?}");
        }
    }

    // holds: S934
    #[test]
    fn a_connection_manager_with_the_name_of_the_admin_is_a_finding() {
        let managed = |name: &str, managers: &[&str]| EnvoyListener {
            managers: managers.iter().map(|&prefix| prefix.to_owned()).collect(),
            drain_timeout: Some(Duration::from_secs(5)),
            ..listener(name, true)
        };
        let internal = EnvoyListener { drain_timeout: None, ..managed("i", &["admin"]) };
        let (web, site) = (managed("web", &["web"]), managed("site", &["a", "admin"]));
        for (listeners, until, is_found) in [
            (vec![web.clone(), site.clone()], DrainUntil::Requests, true),
            (vec![site.clone(), web.clone()], DrainUntil::Requests, true),
            (vec![site], DrainUntil::Connections, false),
            (vec![web, internal], DrainUntil::Requests, false),
        ] {
            let facts = Facts { listeners: Some(listeners), ..healthy() };
            let findings = facts.findings(&PreflightTarget { until, ..target(true) });
            let says = |found: &String| found.contains("are connected to site: a connection");
            assert_eq!(findings.iter().any(says), is_found, "{findings:?}");
        }
    }

    #[test]
    fn a_gradual_drain_must_fit_into_the_wait() {
        for (time, strategy, finding) in [
            ("600s", "Gradual", true),
            ("15.5s", "Gradual", true),
            ("15s", "Gradual", false),
            ("600s", "Immediate", false),
            ("", "", false),
        ] {
            let facts = Facts { options: options(time, strategy), ..healthy() };
            let findings = facts.findings(&target(false));
            assert_eq!(!findings.is_empty(), finding, "{time} {strategy}: {findings:?}");
        }
        let findings = healthy().findings(&target(false));
        assert!(findings[0].contains("spreads it over 10m"), "{findings:?}");
        assert!(findings[0].contains("at most 2.5 % of the responses"), "{findings:?}");
        // drainit asks Envoy to drain with `skip_exit`. The listeners then stay open after Envoy's
        // drain time, so this time may be shorter than `min`.
        assert!(findings[0].contains("a --drain-time-s of 15 or less"), "{findings:?}");
    }

    // holds: S440
    #[test]
    fn the_best_drain_time_is_named() {
        let with_timeout = |is_inbound, seconds| {
            let drain_timeout = Some(Duration::from_secs(seconds));
            EnvoyListener { drain_timeout, ..listener("", is_inbound) }
        };
        let said = |time: &str, wait, direction| {
            let wait = Duration::from_secs(wait);
            let mut all =
                vec![with_timeout(true, 5), with_timeout(false, 10), EnvoyListener::default()];
            let mut advice = |_| {
                all.rotate_left(1);
                let facts = Facts {
                    options: options(time, "Gradual"),
                    closes_idle: true,
                    listeners: Some(all.clone()),
                    ..healthy()
                };
                let target = PreflightTarget { wait, direction, ..target(true) };
                facts.advice(&target).unwrap_or_default()
            };
            // The order of the listeners changes nothing.
            let [first, second, third] = [0, 1, 2].map(&mut advice);
            assert!(first == second && second == third, "{first} {second} {third}");
            first
        };
        let (all, inbound) = (Direction::All, Direction::Inbound);
        for (time, wait, direction, part) in [
            ("600s", 40, all, "of 600 leaves idle connections and WebSockets open for the 40s of"),
            ("600s", 40, all, "; 38 closes them"),
            ("38s", 40, all, ""),
            ("31s", 40, all, ""),
            ("30s", 40, all, "; 38 closes them"),
            ("39s", 40, all, "; 38 closes them"),
            ("600s", 27, all, "set `time: 33s` (with a grace period that is longer by 5s) and run"),
            ("600s", 27, all, "and run Envoy with `--drain-time-s 31`"),
            ("600s", 18, inbound, "; 16 closes them"),
            ("600s", 15, inbound, "set `time: 18s` and run Envoy with `--drain-time-s 16`"),
        ] {
            let said = said(time, wait, direction);
            assert!(said.contains(part) && said.is_empty() == part.is_empty(), "{time}: {said}");
        }
        // For `drainit exec`, the findings name variables, not keys.
        let of_exec = Facts {
            options: options("600s", "Gradual"),
            closes_idle: true,
            listeners: Some(vec![with_timeout(true, 5)]),
            ..healthy()
        };
        let of_exec = of_exec.advice(&PreflightTarget { is_exec: true, ..target(true) });
        let said = of_exec.unwrap_or_default();
        assert!(said.contains("set `DRAINIT_DRAIN_TIME: 18s` and run Envoy with"), "{said}");
        // There is no advice if the listeners are unknown, or if this version of Envoy closes no
        // idle connections.
        assert_eq!(Facts { closes_idle: true, ..healthy() }.advice(&target(true)), None);
        let listeners = Some(vec![with_timeout(true, 5)]);
        assert_eq!(Facts { listeners, ..healthy() }.advice(&target(true)), None);
    }

    #[test]
    fn inbound_drain_needs_inbound_listener_and_short_time() {
        let target = PreflightTarget { direction: Direction::Inbound, ..target(false) };
        let with = |time, listeners| Facts {
            options: options(time, "Gradual"),
            listeners: Some(listeners),
            ..healthy()
        };
        let both = vec![listener("in", true), listener("out", false)];
        assert!(with("15s", both.clone()).findings(&target).is_empty());
        let slow = with("600s", both).findings(&target);
        assert!(slow[0].contains("a --drain-time-s of 15 or less"), "{slow:?}");
        assert!(!slow[0].contains("fail_healthcheck"), "it would also close egress: {slow:?}");
        let none = with("15s", vec![listener("out", false), listener("", false)]);
        let internal = Facts { serves: Some(false), ..with("15s", vec![listener("out", false)]) };
        assert!(internal.findings(&target).is_empty(), "there is no listener for clients yet");
        let none = none.findings(&target);
        let expected =
            "`direction: inbound` drains nothing: none of its listeners (out, without a name) has";
        assert!(none[0].starts_with(expected), "{none:?}");
        assert!(with("15s", Vec::new()).findings(&target).is_empty(), "no listener yet");
    }

    // holds: C790
    #[test]
    fn tcp_proxy_beside_a_count_of_requests_is_found() {
        let target = PreflightTarget { until: DrainUntil::Requests, ..target(true) };
        let tcp = |name: &str, is_inbound| {
            let statistics = vec!["0.0.0.0_5432".to_owned()];
            EnvoyListener { is_tcp: true, statistics, ..listener(name, is_inbound) }
        };
        let listeners = Some(vec![tcp("db", false), listener("web", false), tcp("", true)]);
        let facts = Facts { listeners, sample: None, ..healthy() };
        let found = facts.findings(&target);
        assert!(found[0].contains("TCP proxy has listeners (db, without a name); "), "{found:?}");
        let inbound = PreflightTarget { direction: Direction::Inbound, ..target.clone() };
        let found = facts.findings(&PreflightTarget { fail_healthcheck: true, ..inbound });
        assert!(found[0].contains("has listeners (without a name); "), "{found:?}");
        let of_connections = PreflightTarget { until: DrainUntil::Connections, ..target.clone() };
        assert!(facts.findings(&of_connections).is_empty());
        let ignored = Facts { ignored: vec!["0.0.0.0_5432".to_owned()], ..facts };
        assert!(ignored.findings(&target).is_empty());
    }

    #[test]
    fn every_finding_names_a_remedy() {
        let sample = Sample { accepted_total: None, upgrades_total: None, ..Sample::NOTHING };
        let facts = Facts {
            refused: vec!["/healthcheck/fail", STATS],
            sample: Some((sample, Duration::from_secs(6))),
            not_there: vec!["prom".to_owned()],
            counted: vec!["0.0.0.0_8080".to_owned(), "x".to_owned()],
            ..healthy()
        };
        let findings = facts.findings(&target(true));
        let expected = [
            "its drain will fail: its admin does not allow /healthcheck/fail, /stats?filter=…; extend `admin.allow_paths`",
            "`ignore_listeners` has prom, but Envoy has no such listener; write the name, the address or the \
             `stat_prefix` of a listener: Envoy's statistics have 0.0.0.0_8080, x",
            "Envoy has no statistic listener.*.downstream_cx_total, so its drain cannot end early and always takes 15s",
            "Envoy has no statistic http.*.downstream_cx_upgrades_total, so its reports do not say how many requests were \
             completed; let `stats_config.stats_matcher` include it",
            "its admin takes 6s to list its statistics, so a drain of 15s may not see its end; set `time: 19s`",
        ];
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, begin) in findings.iter().zip(expected) {
            assert!(finding.starts_with(begin), "{finding}");
        }
    }
}
