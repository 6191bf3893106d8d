//! Checks whether an Envoy can serve: it is live, has a listener, and its control plane has
//! answered.
//!
//! `/ready` alone is not enough: after `initial_fetch_timeout` (15 s), Envoy is `LIVE` even without
//! its control plane. `control_plane.connected_state` is not enough either: it is 1 as soon as the
//! connection is open, even if the server never answers. Both were seen with Envoy 1.37.0 and
//! 1.40.0.

use std::io::ErrorKind;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::time::timeout;

use crate::envoy::listeners::LISTENERS;
use crate::envoy::preflight::serves_clients;
use crate::envoy::server_info::{SERVER_INFO, ServerInfo};
use crate::envoy::stats::{self, Statistic};
use crate::http::{Client, HttpError, Response};
use crate::keys::Address;
use crate::language::mask::masked;
use crate::types::{ChildText, Reason, human};

const READY: &str = "/ready";
/// The path of the statistics of the control plane. The filter is the percent-encoded form of
/// `(^|\.)control_plane\.connected_state$|\.[cl]ds\.update_(attempt|success|rejected)$`.
const XDS_STATS: &str = "/stats?filter=(%5E%7C%5C.)control_plane%5C.connected_state%24%7C\
%5C.%5Bcl%5Dds%5C.update_(attempt%7Csuccess%7Crejected)%24&format=json";
/// The largest answer, in bytes. A state, a list of listeners, and these statistics are far
/// shorter.
const MAX_ANSWER: usize = 1024 * 1024;

/// Checks once, within `limit`, whether Envoy can serve.
///
/// # Errors
/// Says why Envoy cannot serve, as text for people.
pub(crate) async fn check_ready(admin: &Address, limit: Duration) -> Result<(), Reason> {
    let late = || format!("no answer within {}", human(limit)).into();
    timeout(limit, can_serve(admin, limit)).await.unwrap_or_else(|_| Err(late()))
}

/// Checks that the admin answers within `limit`, which shows that Envoy's main thread works. The
/// status of the answer does not matter, because an Envoy that has lost its control plane serves
/// with its last configuration.
///
/// # Errors
/// Says why there is no answer.
pub(crate) async fn check_alive(admin: &Address, limit: Duration) -> Result<(), HttpError> {
    crate::http::status(admin, Method::GET, READY, limit).await.map(drop)
}

/// Whether nobody answers at the address of the admin. An admin that has not answered within
/// `limit` is not closed.
pub(crate) async fn is_closed(admin: &Address, limit: Duration) -> bool {
    let answer = crate::http::status(admin, Method::GET, READY, limit).await;
    matches!(answer, Err(HttpError::Io(error))
        if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
}

/// Checks once, within `limit`, that this epoch of an Envoy has taken over. Until the takeover, the
/// older epoch has the admin's address, and answers there that it is ready.
///
/// # Errors
/// Says why the epoch has not taken over, as text for people.
pub(crate) async fn check_epoch(
    admin: &Address,
    epoch: u32,
    limit: Duration,
) -> Result<(), Reason> {
    let ask = async {
        let info = ServerInfo::ask(&mut Client::new(admin.clone()), limit).await;
        let info = info.map_err(|error| error.reason().behind(&format!("GET {SERVER_INFO}")))?;
        let found = info.command_line_options.restart_epoch;
        if found != epoch {
            Err(format!("epoch {found} still answers in place of epoch {epoch}").into())
        } else if info.is_initializing() {
            Err(not_live(info.state.as_bytes()))
        } else {
            Ok(())
        }
    };
    let late = || format!("no answer within {}", human(limit)).into();
    timeout(limit, ask).await.unwrap_or_else(|_| Err(late()))
}

/// Envoy's states before it is live, and while it is draining.
const STATES: [&str; 3] = ["PRE_INITIALIZING", "INITIALIZING", "DRAINING"];

/// The reason of an Envoy that is not live. Whoever answers at the address of the admin may write
/// anything in place of a state.
fn not_live(state: &[u8]) -> Reason {
    let known = STATES.iter().find(|known| known.as_bytes() == state.trim_ascii());
    match known {
        Some(known) => format!("Envoy is {known}").into(),
        None => {
            let said = masked(&ChildText::new(state.trim_ascii()));
            Reason::with_full("Envoy is not live", format!("Envoy is {said}"))
        }
    }
}

async fn can_serve(admin: &Address, limit: Duration) -> Result<(), Reason> {
    let mut client = Client::new(admin.clone());
    let ready = get(&mut client, READY, limit).await.map_err(|error| error.reason())?;
    let state = match ready.status {
        StatusCode::OK => None,
        // The body contains Envoy's state.
        StatusCode::SERVICE_UNAVAILABLE => Some(not_live(&ready.body)),
        status => return Err(format!("GET {READY} answered {status}").into()),
    };
    let of =
        |path: &'static str| move |error: HttpError| error.reason().behind(&format!("GET {path}"));
    let stats = get(&mut client, XDS_STATS, limit).await.and_then(Response::into_ok_body);
    let stats = stats.and_then(|body| XdsStats::parse(&body)).map_err(of("/stats"));
    match (state, stats.map(|stats| stats.missing())) {
        (Some(state), Ok(Some(missing))) => return Err(state.before(&missing)),
        (Some(state), _) => return Err(state),
        (None, Ok(Some(missing))) => return Err(missing),
        (None, Err(error)) => return Err(error),
        (None, Ok(None)) => {}
    }
    let list = get(&mut client, LISTENERS, limit).await.and_then(Response::into_ok_body);
    match serves_clients(&String::from_utf8_lossy(&list.map_err(of(LISTENERS))?)) {
        true => Ok(()),
        false => Err("Envoy has no listener".into()),
    }
}

async fn get(
    client: &mut Client,
    path: &'static str,
    limit: Duration,
) -> Result<Response, HttpError> {
    client.get(path, limit, MAX_ANSWER).await
}

/// The statistics of the control plane. If a statistic is missing, Envoy has no control plane, or
/// `stats_config` hides the statistic.
pub(crate) struct XdsStats(Vec<Statistic>);

impl XdsStats {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, HttpError> {
        stats::parse(body).map(Self)
    }

    fn value(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|stat| stat.name == name)?.value.as_u64()
    }

    /// Says which part of the control plane has not answered yet; `None` if the statistics show no
    /// such part.
    pub(crate) fn missing(&self) -> Option<Reason> {
        let is_down = |stat: &&Statistic| {
            stat.name.ends_with("control_plane.connected_state") && stat.value.as_u64() == Some(0)
        };
        if let Some(stat) = self.0.iter().find(is_down) {
            let (own, name) = ("xDS is not connected", masked(&ChildText::new(&*stat.name)));
            return Some(Reason::with_full(own, format!("{own} ({name} is 0)")));
        }
        let silent = ["cluster_manager.cds", "listener_manager.lds"].into_iter().find(|api| {
            let count = |of| self.value(&format!("{api}.update_{of}"));
            let answers = count("success").zip(count("rejected"));
            count("attempt") > Some(0) && answers == Some((0, 0))
        })?;
        Some(format!("xDS has not answered ({silent}.update_success is 0)").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::http_server::{Behaviour::*, Server};

    const LIMIT: Duration = Duration::from_secs(5);
    const NO_XDS: &str = r#"{"stats":[]}"#;
    const DOWN: &str =
        r#"{"stats":[{"name":"listener_manager.lds.control_plane.connected_state","value":0}]}"#;
    const SILENT: &str = r#"{"stats":[
        {"name":"control_plane.connected_state","value":1},
        {"name":"cluster_manager.cds.update_attempt","value":1},
        {"name":"cluster_manager.cds.update_rejected","value":0},
        {"name":"cluster_manager.cds.update_success","value":0}]}"#;
    const REJECTED: &str = r#"{"stats":[
        {"name":"listener_manager.lds.update_attempt","value":2},
        {"name":"listener_manager.lds.update_rejected","value":1},
        {"name":"listener_manager.lds.update_success","value":0}]}"#;
    const UP: &str = r#"{"stats":[
        {"name":"control_plane.connected_state","value":1},
        {"name":"cluster_manager.cds.update_attempt","value":2},
        {"name":"cluster_manager.cds.update_rejected","value":0},
        {"name":"cluster_manager.cds.update_success","value":1},
        {"name":"listener_manager.lds.update_attempt","value":0},
        {"name":"listener_manager.lds.update_rejected","value":0},
        {"name":"listener_manager.lds.update_success","value":0}]}"#;

    // holds: C213, C223, C224, C225
    #[tokio::test]
    async fn ready_is_live_connected_and_listening() {
        let live = Answer(200, "LIVE\n");
        let listener = Answer(200, "gateway::0.0.0.0:80\n");
        let down = "xDS is not connected (listener_manager.lds.control_plane.connected_state is 0)";
        let silent = "xDS has not answered (cluster_manager.cds.update_success is 0)";
        let initializing = format!("Envoy is INITIALIZING: {down}");
        for (answers, expected) in [
            (vec![live, Answer(200, NO_XDS), listener], ""),
            (vec![live, Answer(200, UP), listener], ""),
            (vec![live, Answer(200, REJECTED), listener], ""),
            (vec![live, Answer(200, NO_XDS), Answer(200, "")], "Envoy has no listener"),
            (vec![live, Answer(200, NO_XDS), Answer(200, "i::envoy://i/\n")], "Envoy has no"),
            (vec![live, Answer(200, DOWN)], down),
            (vec![live, Answer(200, SILENT)], silent),
            (vec![Answer(503, "INITIALIZING\n"), Answer(200, DOWN)], &initializing),
            (vec![Answer(503, "DRAINING\n"), Answer(200, NO_XDS)], "Envoy is DRAINING"),
            (vec![Answer(403, "")], "GET /ready answered 403 Forbidden"),
            (vec![live, Answer(403, "")], "GET /stats: answered 403 Forbidden"),
            (vec![live, Answer(200, "OK")], "GET /stats: answered something else than"),
            (vec![live, Answer(200, NO_XDS), Answer(403, "")], "GET /listeners: answered 403"),
        ] {
            let server = Server::unix(&answers);
            assert_says(check_ready(&server.address, LIMIT).await, expected);
        }
    }

    /// Asserts that the error begins with this text, or that there is no error if the text is empty.
    #[track_caller]
    fn assert_says(result: Result<(), Reason>, expected: &str) {
        let why = result.err().unwrap_or_default();
        let why = why.full();
        assert!(why.starts_with(expected) && why.is_empty() == expected.is_empty(), "{why}");
    }

    #[tokio::test]
    async fn initialized_epoch_that_answers_has_taken_over() {
        let info = |epoch: &str, state: &str| {
            let body = format!(r#"{{"state":"{state}","command_line_options":{{{epoch}}}}}"#);
            Answer(200, body.leak())
        };
        let old = info(r#""restart_epoch":1"#, "LIVE");
        for (answer, expected) in [
            (info(r#""restart_epoch":2"#, "LIVE"), ""),
            (old, "epoch 1 still answers in place of epoch 2"),
            // Envoy leaves out the field for epoch 0.
            (info("", "LIVE"), "epoch 0 still answers in place of epoch 2"),
            (info(r#""restart_epoch":2"#, "PRE_INITIALIZING"), "Envoy is PRE_INITIALIZING"),
            (Answer(403, ""), "GET /server_info: answered 403 Forbidden"),
            (Answer(200, "{}"), "GET /server_info: answered something else"),
        ] {
            let server = Server::unix(&[answer]);
            assert_says(check_epoch(&server.address, 2, LIMIT).await, expected);
        }
    }

    // holds: C231
    #[tokio::test]
    async fn any_answer_counts_as_alive() {
        for status in [200, 403, 503] {
            let server = Server::unix(&[Answer(status, "")]);
            assert!(check_alive(&server.address, LIMIT).await.is_ok());
        }
        assert!(check_alive(&Server::tcp_refusing(), LIMIT).await.is_err());
    }
}
