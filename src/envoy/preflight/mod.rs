//! Checks, while an Envoy is healthy, whether its drain will work, and warns of each fault. Without
//! this check, a mistake in the configuration would show only when a shutdown fails.
//!
//! Every request is a `GET`. Envoy (1.36.4 to 1.40.0) answers a `GET` of a `POST` call with 405, or
//! with 403 if `admin.allow_paths` does not match the path with its query. Therefore drainit can
//! test a call without making it. Envoy logs each 405 as an error, so drainit tests the calls only
//! if the admin has an `allow_paths`. Before these tests, drainit asks for an unknown path: the
//! answer is 403 if the admin has an `allow_paths`, and otherwise 404.

pub mod findings;

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use crate::core::envoy::Call;
use crate::core::envoy::sample::Sample;
use crate::envoy::admin::sample;
use crate::envoy::listeners::{INTERNAL, LISTENERS, ListenerList, dump, statistics_of};
use crate::envoy::preflight::findings::{Facts, STATS, unusable};
use crate::envoy::server_info::ServerInfo;
use crate::envoy::stats::{STATS_PATH, listener_names};
use crate::http::{Client, HttpError, Response};
use crate::keys::{Address, Direction, DrainMethod, DrainUntil, Process, Variable};
use crate::types::{harmless, human};

/// The longest wait until the admin answers and Envoy is initialized. If the drain may last longer,
/// the wait may last as long as the drain. The supervisor does not wait for the preflight.
const PATIENCE: Duration = Duration::from_secs(20);
/// The first pause between attempts. The pause doubles after each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Every stop has this time, so the log does not name a shorter end.
const SHORT_END: Duration = Duration::from_secs(1);
/// The largest answer, in bytes. Lists of listeners and their statistics may be long.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Envoy needs 3 to 5 times the processor time of a list of its statistics to end, because it
/// deletes all clusters one by one (1.36.4 and 1.40.0, with 1,000 to 10,000 clusters, see
/// docs/measured/drains.md). The rest is for a machine that is busier at the end than now.
const END_PER_LIST: u32 = 6;

const UNKNOWN_PATH: &str = "/drainit";
/// The drain to check.
#[derive(Clone, Debug)]
struct PreflightTarget {
    /// The name of the process.
    name: String,
    admin: Address,
    fail_healthcheck: bool,
    direction: Direction,
    ignored: Vec<String>,
    until: DrainUntil,
    /// The longest duration of the drain.
    wait: Duration,
    /// The longest drain for which the grace period has room.
    most: Duration,
    /// Whether `drainit exec` made the drain from variables or options.
    is_exec: bool,
}

impl PreflightTarget {
    /// The name of a key of `drain.envoy`. For `drainit exec`, the name of the variable that sets
    /// the key.
    fn key(&self, key: &str) -> String {
        match self.is_exec {
            true => format!("DRAINIT_DRAIN_{}", key.to_uppercase()),
            false => key.to_owned(),
        }
    }

    /// The advice to make the drain longer and, if necessary, the grace period.
    fn with_time(&self, time: Duration) -> String {
        let set = format!("set `{}: {}`", self.key("time"), human(time));
        match time.saturating_sub(self.most) {
            Duration::ZERO => set,
            more => format!("{set} (with a grace period that is longer by {})", human(more)),
        }
    }
}

/// `drainit exec` removes this variable from the environment of its command. A config has no reason
/// to remove this variable. Therefore the process is the command of `drainit exec` if the variable
/// is removed.
const OF_EXEC: &str = "DRAINIT_DRAIN_ENVOY";

/// The result of [`check`].
pub(crate) struct Checked {
    /// The faults in the drain.
    pub(crate) findings: Vec<String>,
    /// The time that Envoy will probably need to end; `None` if nothing shows it.
    pub(crate) to_end: Option<Duration>,
}

/// Finds the faults in the drain of a process; `None` if the process has no Envoy drain. `times` returns
/// the longest time of the drain in a shutdown, and the longest for which the grace period has room.
pub(crate) fn check(
    process: &Process,
    times: &dyn Fn() -> (Duration, Duration),
) -> Option<impl Future<Output = Checked> + use<>> {
    let drain = process.drain.as_ref()?;
    let DrainMethod::Envoy(envoy) = &drain.method else { return None };
    let (wait, most) = times();
    let target = PreflightTarget {
        name: process.name.clone(),
        admin: envoy.admin.clone(),
        fail_healthcheck: envoy.fail_healthcheck,
        direction: envoy.direction.unwrap_or_default(),
        ignored: envoy.ignore_listeners.clone(),
        until: envoy.until,
        wait,
        most,
        is_exec: process.environment.contains(&Variable::Removed(OF_EXEC.to_owned())),
    };
    Some(async move {
        let facts = ask(&target, PATIENCE.max(target.wait)).await;
        let to_end = facts.as_ref().ok().and_then(Facts::to_end);
        let findings = judge(facts, &target);
        if findings.is_empty() {
            tracing::debug!("{}: nothing speaks against its drain", target.name);
        }
        for finding in &findings {
            tracing::warn!("{}: {}", target.name, harmless(finding));
        }
        Checked { findings, to_end }
    })
}

/// Returns one sentence for each finding, with its remedy.
fn judge(facts: Result<Facts, String>, target: &PreflightTarget) -> Vec<String> {
    facts.map_or_else(|why| vec![why], |facts| facts.findings(target))
}

/// Asks the admin for all facts. The error is the only finding.
async fn ask(target: &PreflightTarget, patience: Duration) -> Result<Facts, String> {
    let mut client = Client::new(target.admin.clone());
    let mut facts = Facts::default();
    let refused = |error: &HttpError| {
        tracing::warn!(
            "{}: its admin at {} cannot be reached yet, so it could not be drained now: {error}",
            target.name,
            target.admin
        );
    };
    match until_initialized(&mut client, patience, &refused).await {
        Ok(server) => {
            facts.closes_idle = server.closes_idle();
            facts.options = Some(server.command_line_options);
        }
        // The admin refuses `/server_info`, but may allow the paths that the drain needs.
        Err(HttpError::Status(StatusCode::FORBIDDEN)) => {}
        Err(error) => return Err(unusable(target, &error, patience)),
    }
    if status(&mut client, UNKNOWN_PATH, patience).await == Some(StatusCode::FORBIDDEN) {
        let (begin, close) = Call::of(target.direction == Direction::Inbound);
        for call in [begin, Call::FailHealthcheck, close] {
            let is_needed = target.fail_healthcheck || call != Call::FailHealthcheck;
            // If no answer arrives, the call counts as allowed.
            if is_needed
                && status(&mut client, call.path(), patience).await == Some(StatusCode::FORBIDDEN)
            {
                facts.refused.push(call.path());
            }
        }
    }
    let began = Instant::now();
    match sample(&mut client, &Rc::default(), true, patience).await {
        Ok(found) => {
            let took = began.elapsed();
            facts.sample = Some((found, took));
            let list = format!("Envoy lists its statistics in {}", human(took));
            match facts.to_end().filter(|time| *time > SHORT_END) {
                Some(time) => {
                    let time = human(time);
                    tracing::info!("{}: {list}, so it may need {time} to end", target.name);
                }
                None => tracing::info!("{}: {list}", target.name),
            }
        }
        Err(HttpError::Status(StatusCode::FORBIDDEN)) => facts.refused.push(STATS),
        Err(_) => {}
    }
    let list = ok_text(&mut client, LISTENERS, patience).await;
    facts.serves = list.as_deref().map(serves_clients);
    let list = ListenerList::new(list.as_deref().unwrap_or_default());
    let is_inbound = target.direction == Direction::Inbound;
    if is_inbound || target.until == DrainUntil::Requests || facts.closes_idle {
        match dump(&mut client, &list, patience).await {
            Ok(listeners) => facts.listeners = Some(listeners),
            Err(HttpError::Status(StatusCode::FORBIDDEN)) if is_inbound => {
                facts.refused.push("/config_dump");
            }
            Err(_) => {}
        }
        let of = |word: &String| statistics_of(word, &list);
        facts.ignored = target.ignored.iter().flat_map(of).collect();
    }
    if !target.ignored.is_empty() && facts.serves == Some(true) {
        let stats = ok_text(&mut client, STATS_PATH, patience).await;
        facts.counted = stats.map(|stats| listener_names(&stats)).unwrap_or_default();
        let is_there = |word: &String| {
            statistics_of(word, &list).iter().any(|name| facts.counted.contains(name))
        };
        facts.not_there = target.ignored.iter().filter(|word| !is_there(word)).cloned().collect();
    }
    if let Some(advice) = facts.advice(target) {
        tracing::info!("{}: {advice}", target.name);
    }
    Ok(facts)
}

/// Polls until Envoy is initialized, or the admin answers with a 4xx status. After `patience`,
/// returns the last answer, whatever it is. Calls `refused` once if nobody listens at the address
/// when the pauses have become long: a shutdown may begin before `patience` is over.
async fn until_initialized(
    client: &mut Client,
    patience: Duration,
    refused: &dyn Fn(&HttpError),
) -> Result<ServerInfo, HttpError> {
    let mut is_said = false;
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let result = ServerInfo::ask(client, left).await;
        let is_final = match &result {
            Ok(info) => !info.is_initializing(),
            Err(HttpError::Status(status)) => status.is_client_error(),
            Err(_) => false,
        };
        if is_final || Instant::now() + pause >= deadline {
            return result;
        }
        if let Err(error @ HttpError::Io(io)) = &result
            && pause == LONGEST_PAUSE
            && !is_said
            && matches!(io.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound)
        {
            refused(error);
            is_said = true;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn status(client: &mut Client, path: &str, limit: Duration) -> Option<StatusCode> {
    client.get(path, limit, MAX_ANSWER).await.ok().map(|answer| answer.status)
}

async fn ok_text(client: &mut Client, path: &str, limit: Duration) -> Option<String> {
    let answer = client.get(path, limit, MAX_ANSWER).await.and_then(Response::into_ok_body);
    let body = answer.ok()?;
    String::from_utf8(body).ok()
}

/// The findings for an answer of `/server_info`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn of_server_info(body: &[u8]) -> Vec<String> {
    let target = PreflightTarget {
        name: "x".to_owned(),
        admin: Address::Unix("/x".into()),
        fail_healthcheck: false,
        direction: Direction::Inbound,
        ignored: Vec::new(),
        until: DrainUntil::Connections,
        wait: Duration::from_secs(1),
        most: Duration::from_secs(28),
        is_exec: false,
    };
    let options = serde_json::from_slice(body).map(|info: ServerInfo| info.command_line_options);
    Facts { options: options.ok(), ..Facts::default() }.findings(&target)
}

/// Whether the list has a listener to which clients can connect. A line of `listeners` is
/// `NAME::ADDRESS`.
pub(crate) fn serves_clients(listeners: &str) -> bool {
    listeners.lines().any(|line| !line.contains(&format!("::{INTERNAL}")))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::testing::http_server::{Behaviour, Behaviour::*, Server};

    const SHORT: Duration = Duration::from_millis(300);

    async fn verify(target: &PreflightTarget, patience: Duration) -> Vec<String> {
        judge(ask(target, patience).await, target)
    }

    pub(super) fn target(admin: &Address) -> PreflightTarget {
        PreflightTarget {
            name: "router".to_owned(),
            admin: admin.clone(),
            fail_healthcheck: true,
            direction: Direction::All,
            ignored: Vec::new(),
            until: DrainUntil::Connections,
            wait: Duration::from_secs(15),
            most: Duration::from_secs(28),
            is_exec: false,
        }
    }

    #[tokio::test]
    async fn silent_admin_is_retried_and_reported() {
        for behaviour in
            [CloseAtOnce, CloseHalfWay, NotHttp, EndlessHead, Answer(500, ""), Oversized]
        {
            let server = Server::tcp(&[behaviour, Answer(404, "")]);
            let findings = verify(&target(&server.address), PATIENCE).await;
            assert!(findings[0].contains("answered 404"), "{behaviour:?}: {findings:?}");
            let server = Server::tcp(&[behaviour]);
            let findings = verify(&target(&server.address), SHORT).await;
            assert!(findings[0].contains("its admin at http://127.0.0.1:"), "{findings:?}");
            assert_eq!(findings.len(), 1);
        }
        let findings = verify(&target(&Server::tcp_refusing()), SHORT).await;
        assert!(findings[0].contains("connection refused"), "{findings:?}");
    }

    #[tokio::test]
    async fn check_waits_until_envoy_is_initialized() {
        let server = Server::unix(&[
            Answer(503, ""),
            Answer(200, r#"{"state":"INITIALIZING"}"#),
            Answer(200, r#"{"state":"LIVE"}"#),
        ]);
        let mut client = Client::new(server.address.clone());
        let found = until_initialized(&mut client, PATIENCE, &|error| panic!("{error}"));
        assert_eq!(found.await.unwrap().state, "LIVE");
        assert_eq!(server.connections(), 3);
    }

    // holds: C1108
    #[tokio::test]
    async fn an_admin_that_refuses_is_named_long_before_the_patience_is_over() {
        let mut client = Client::new(Server::tcp_refusing());
        let said = RefCell::new(Vec::new());
        let refused = |error: &HttpError| said.borrow_mut().push(error.to_string());
        let began = Instant::now();
        let patience = Duration::from_secs(5);
        assert!(until_initialized(&mut client, patience, &refused).await.is_err());
        assert!(began.elapsed() > Duration::from_secs(2));
        assert_eq!(*said.borrow(), ["connection refused"]);
    }

    #[tokio::test]
    async fn forbidding_admin_gets_a_request_per_path() {
        let server = Server::unix(&[Answer(403, "")]);
        let findings = verify(&target(&server.address), SHORT).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        let refused = "/drain_listeners?graceful&skip_exit, /healthcheck/fail";
        assert!(findings[0].contains(refused), "{findings:?}");
        let asked = format!(
            "/server_info /drainit /drain_listeners?graceful&skip_exit /healthcheck/fail \
             /drain_listeners {STATS_PATH} /listeners"
        );
        assert_eq!(server.seen().join(" ").replace("GET ", ""), asked);

        // Only paths that the drain needs are tried.
        let server = Server::unix(&[Answer(403, "")]);
        let target = PreflightTarget { fail_healthcheck: false, ..target(&server.address) };
        let findings = verify(&target, SHORT).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(!server.seen().contains(&"GET /healthcheck/fail".to_owned()), "{findings:?}");
        let refused = "not allow /drain_listeners?graceful&skip_exit, /drain_listeners, /stats";
        assert!(findings[0].contains(refused), "{findings:?}");
        let inbound = PreflightTarget { direction: Direction::Inbound, ..target };
        let findings = verify(&inbound, SHORT).await;
        assert!(findings[0].contains(", /config_dump; extend"), "{findings:?}");
    }

    /// The answers of an Envoy that serves on one port, and spreads its drain over ten minutes.
    const SERVES: [Behaviour; 5] = [
        Answer(200, LIVE),
        Answer(404, ""),
        Answer(200, COUNTED),
        Answer(200, "gateway::0.0.0.0:8080\n"),
        Answer(200, COUNTED),
    ];
    const LIVE: &str = r#"{"state":"LIVE",
        "command_line_options":{"drain_time":"600s","drain_strategy":"Gradual"}}"#;
    const COUNTED: &str = r#"{"stats":[{"name":"listener.0.0.0.0_8080.downstream_cx_active","value":0},
        {"name":"listener.0.0.0.0_8080.downstream_pre_cx_active","value":0},
        {"name":"listener.0.0.0.0_8080.downstream_cx_total","value":0}]}"#;

    #[tokio::test]
    async fn unknown_ignored_listeners_are_reported() {
        let [info, paths, stats, listed, counted] = SERVES;
        for (ignored, listed, counted, is_found) in [
            ("", listed, counted, false),
            ("other", listed, counted, true),
            // Without statistics, a word of `ignore_listeners` excludes nothing from the count,
            // which is a finding. Without listeners, a later listener may match the word.
            ("gateway", listed, Answer(200, r#"{"stats":[]}"#), true),
            ("other", Answer(200, ""), counted, false),
        ] {
            let server = Server::unix(&[info, paths, stats, listed, counted]);
            let words = ignored.split_whitespace().map(str::to_owned).collect();
            let target = PreflightTarget { ignored: words, ..target(&server.address) };
            let findings = verify(&target, SHORT).await;
            assert_eq!(findings.len(), usize::from(is_found), "{ignored}: {findings:?}");
            let found = format!("`ignore_listeners` has {ignored}, but Envoy has no such listener");
            assert!(findings.iter().all(|one| one.starts_with(&found)), "{findings:?}");
        }
    }

    #[tokio::test]
    async fn tcp_connections_are_cut_unless_their_listener_is_ignored() {
        let proxy = r#"{"configs":[{"listener":{"name":"gateway","filter_chains":[{"filters":[
            {"typed_config":{"@type":"a.TcpProxy"}}]}]}}]}"#;
        for (ignored, is_cut) in [(&[][..], true), (&["gateway"], false)] {
            let [.., listeners, counted] = SERVES;
            let dumps = [Answer(200, proxy), Answer(200, "{}")];
            let answers = [&SERVES[..3], &[listeners], &dumps, &[counted]].concat();
            let server = Server::unix(&answers);
            let ignored = ignored.iter().map(|&word| word.to_owned()).collect();
            let until = DrainUntil::Requests;
            let target = PreflightTarget { ignored, until, ..target(&server.address) };
            let findings = verify(&target, SHORT).await;
            let says = |found: &String| found.contains("its drain cuts TCP connections");
            assert_eq!(findings.iter().any(says), is_cut, "{findings:?}");
        }
    }
}
