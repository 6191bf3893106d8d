//! An Envoy's report about itself: its state, and the flags that it runs with.

use std::time::Duration;

use serde::Deserialize;

use crate::http::{Client, HttpError, Response};

/// The path of the report.
pub(crate) const SERVER_INFO: &str = "/server_info";
/// The largest answer, in bytes. The answer contains Envoy's command line, which may contain a
/// whole config.
const MAX_ANSWER: usize = 1024 * 1024;

/// The fields of `/server_info` that drainit uses.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServerInfo {
    pub(crate) state: String,
    /// For example, `46b0…/1.40.0/Clean/RELEASE/BoringSSL`.
    #[serde(default)]
    version: String,
    #[serde(default)]
    pub(crate) command_line_options: EnvoyOptions,
}

/// The flags that Envoy runs with.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EnvoyOptions {
    #[serde(default)]
    pub(crate) drain_time: String,
    #[serde(default)]
    pub(crate) drain_strategy: String,
    #[serde(default)]
    pub(crate) restart_epoch: u32,
}

impl ServerInfo {
    /// Asks the admin for the report, within `limit`.
    ///
    /// # Errors
    /// Says why there is no answer, or why the answer is not from an Envoy.
    pub(crate) async fn ask(client: &mut Client, limit: Duration) -> Result<Self, HttpError> {
        let answer = client.get(SERVER_INFO, limit, MAX_ANSWER).await;
        let body = answer.and_then(Response::into_ok_body)?;
        serde_json::from_slice(&body)
            .map_err(|error| HttpError::malformed(format!("not Envoy's state: {error}")))
    }

    /// Whether this version closes idle connections and WebSockets late in its drain, as Envoy does
    /// since 1.40 (docs/measured/envoy-facts.md).
    pub(crate) fn closes_idle(&self) -> bool {
        let mut numbers = self.version.split('/').nth(1).unwrap_or_default().split('.');
        let mut number = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        (number(), number()) >= (1, 40)
    }

    /// Whether Envoy is not live yet (`PRE_INITIALIZING` or `INITIALIZING`). The workers of such an
    /// Envoy accept no connections, but the older epoch may accept some.
    pub(crate) fn is_initializing(&self) -> bool {
        self.state.ends_with("INITIALIZING")
    }

    /// Whether no connection can be open: Envoy is not live yet, and there is no older epoch.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_initializing() && self.command_line_options.restart_epoch == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_first_epoch_can_be_unused() {
        for (state, epoch, is_initializing, is_unused) in [
            ("PRE_INITIALIZING", 0, true, true),
            ("INITIALIZING", 0, true, true),
            ("INITIALIZING", 1, true, false),
            ("LIVE", 0, false, false),
            ("DRAINING", 1, false, false),
        ] {
            let text = format!(
                r#"{{"state":"{state}","command_line_options":{{"restart_epoch":{epoch}}}}}"#
            );
            let info: ServerInfo = serde_json::from_str(&text).unwrap();
            assert_eq!((info.is_initializing(), info.is_unused()), (is_initializing, is_unused));
        }
    }

    #[test]
    fn envoys_since_1_40_close_idle_connections() {
        for (version, closes) in [
            ("a1/1.40.0/Clean/RELEASE/BoringSSL", true),
            ("a1/1.41.0-dev/Modified/RELEASE/BoringSSL", true),
            ("a1/2.0.0/Clean/RELEASE/BoringSSL", true),
            ("a1/1.39.3/Clean/RELEASE/BoringSSL", false),
            ("1.40.0", false),
            ("", false),
        ] {
            let text = format!(r#"{{"state":"LIVE","version":"{version}"}}"#);
            let info: ServerInfo = serde_json::from_str(&text).unwrap();
            assert_eq!(info.closes_idle(), closes, "{version}");
        }
    }
}
