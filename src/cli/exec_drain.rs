//! The drain options of `drainit exec`: one for each key of `drain:` in a config.

use std::time::Duration;

use clap::Args;

use crate::cli::values::{duration, explain};
use crate::config::{Direction, DrainMethod, DrainStrategy, DrainUntil, HttpMethod};
use crate::exec::with_drain::DrainOptions;
use crate::load::{shell_split, values};

/// The options of `exec` about its drain.
// An option of one kind has `requires` and `conflicts_with_all`: if another kind is given, clap
// does not insist on the required one, because the two conflict.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drain before the stop")]
pub(super) struct DrainArgs {
    #[command(flatten)]
    kind: Kind,
    /// Envoy is drained when it has no more connections, or no more requests, for clients that
    /// never close their connection [default: connections]
    #[arg(long, value_name = "WHAT", value_parser = until, requires = "drain_envoy")]
    #[arg(conflicts_with_all = ["drain_http", "drain_exec", "drain_signal", "drain_notify"])]
    drain_until: Option<DrainUntil>,
    /// Envoy is drained when no more than N connections, or requests, are left [default: 0]
    #[arg(long, value_name = "N", value_parser = number, requires = "drain_envoy")]
    #[arg(conflicts_with_all = ["drain_http", "drain_exec", "drain_signal", "drain_notify"])]
    drain_exit_at: Option<u32>,
    /// Drain only Envoy's listeners with the traffic_direction INBOUND, so that the egress of a
    /// sidecar goes on: all or inbound [default: all]
    #[arg(long, value_name = "DIRECTION", value_parser = direction, requires = "drain_envoy")]
    #[arg(conflicts_with_all = ["drain_http", "drain_exec", "drain_signal", "drain_notify"])]
    drain_direction: Option<Direction>,
    /// Do not count the connections of Envoy's listener NAME, given by name, address or
    /// stat_prefix; may be repeated
    #[arg(long, value_name = "NAME", value_parser = listener, requires = "drain_envoy")]
    #[arg(conflicts_with_all = ["drain_http", "drain_exec", "drain_signal", "drain_notify"])]
    drain_ignore_listener: Vec<String>,
    /// Do not fail Envoy's health checks, although that makes it close connections
    #[arg(long, requires = "drain_envoy")]
    #[arg(conflicts_with_all = ["drain_http", "drain_exec", "drain_signal", "drain_notify"])]
    no_fail_healthcheck: bool,
    /// When Envoy's health checks are failed, so that every response closes its connection: immediate
    /// or gradual, after --drain-min [default: immediate]
    #[arg(long, value_name = "STRATEGY", value_parser = strategy, requires = "drain_envoy")]
    #[arg(conflicts_with_all = ["drain_http", "drain_exec", "drain_signal", "drain_notify", "no_fail_healthcheck"])]
    drain_strategy: Option<DrainStrategy>,
    /// Method of the --drain-http request: POST, PUT, GET or DELETE [default: POST]
    #[arg(long, value_name = "METHOD", value_parser = method, requires = "drain_http")]
    #[arg(conflicts_with_all = ["drain_envoy", "drain_exec", "drain_signal", "drain_notify"])]
    drain_method: Option<HttpMethod>,
    /// Longest drain; 0 turns it off [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "drain")]
    drain_time: Option<Duration>,
    /// Shortest drain, while clients learn that this instance goes away [default: 5s for an Envoy,
    /// at most --drain-time; else 0]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "drain")]
    drain_min: Option<Duration>,
}

/// How the command is drained; at most one.
#[derive(Debug, Args)]
#[group(id = "drain", multiple = false, conflicts_with_all = ["group", "wait_all", "no_subreaper"])]
struct Kind {
    /// Drain an Envoy with its admin at ADMIN: http://127.0.0.1:9901 or unix:/path
    #[arg(long, value_name = "ADMIN", value_parser = envoy)]
    drain_envoy: Option<DrainMethod>,
    /// Drain by a request to URL: http://127.0.0.1:8080/drain or unix:/path.sock:/drain. The
    /// command is drained when it answers with 2xx
    #[arg(long, value_name = "URL", value_parser = http)]
    drain_http: Option<DrainMethod>,
    /// Drain by another command, such as '/app/drain --wait'. The command is drained when it exits
    /// with 0. Split into words like in a shell, but run without one
    #[arg(long, value_name = "COMMAND", value_parser = program)]
    drain_exec: Option<DrainMethod>,
    /// Drain by SIG to the command, which is drained when it exits
    #[arg(long, value_name = "SIG", value_parser = told)]
    drain_signal: Option<DrainMethod>,
    /// Drain by SIG to the command, which sends DRAINED=1 to NOTIFY_SOCKET when it is drained, as
    /// sd_notify(3) does
    #[arg(long, value_name = "SIG", value_parser = asked)]
    drain_notify: Option<DrainMethod>,
}

impl DrainArgs {
    /// `None` without a drain.
    pub(super) fn options(self) -> Option<DrainOptions> {
        let kind = self.kind;
        let kinds = [
            kind.drain_envoy,
            kind.drain_http,
            kind.drain_exec,
            kind.drain_signal,
            kind.drain_notify,
        ];
        let mut method = kinds.into_iter().flatten().next()?;
        match &mut method {
            DrainMethod::Envoy {
                fail_healthcheck,
                strategy,
                until,
                exit_at,
                direction,
                ignore_listeners,
                ..
            } => {
                *direction = self.drain_direction;
                *ignore_listeners = Some(self.drain_ignore_listener);
                *exit_at = self.drain_exit_at;
                *fail_healthcheck =
                    !self.no_fail_healthcheck && *direction != Some(Direction::Inbound);
                *strategy = self.drain_strategy.unwrap_or_default();
                *until = self.drain_until.unwrap_or_default();
            }
            DrainMethod::Http { method, .. } => *method = self.drain_method.unwrap_or_default(),
            DrainMethod::Exec(_) | DrainMethod::Signal(_) | DrainMethod::Notify(_) => {}
        }
        Some(DrainOptions { method, time: self.drain_time, min: self.drain_min })
    }
}

fn envoy(text: &str) -> Result<DrainMethod, String> {
    let admin = values::server(text).map_err(explain)?;
    Ok(DrainMethod::Envoy {
        admin,
        fail_healthcheck: true,
        strategy: DrainStrategy::default(),
        until: DrainUntil::default(),
        exit_at: None,
        direction: None,
        ignore_listeners: None,
    })
}

fn http(text: &str) -> Result<DrainMethod, String> {
    let target = values::http(text).map_err(explain)?;
    Ok(DrainMethod::Http { method: HttpMethod::default(), target })
}

fn method(text: &str) -> Result<HttpMethod, String> {
    values::http_method(text).map_err(explain)
}

fn until(text: &str) -> Result<DrainUntil, String> {
    values::drain_until(text).map_err(explain)
}

fn strategy(text: &str) -> Result<DrainStrategy, String> {
    values::drain_strategy(text).map_err(explain)
}

fn direction(text: &str) -> Result<Direction, String> {
    values::direction(text).map_err(explain)
}

fn listener(text: &str) -> Result<String, String> {
    values::listener(text).map_err(explain)
}

fn number(text: &str) -> Result<u32, String> {
    values::number(text).map_err(explain)
}

fn program(text: &str) -> Result<DrainMethod, String> {
    shell_split::program(text).map(DrainMethod::Exec).map_err(explain)
}

fn told(text: &str) -> Result<DrainMethod, String> {
    values::catchable_signal(text).map(DrainMethod::Signal).map_err(explain)
}

fn asked(text: &str) -> Result<DrainMethod, String> {
    values::catchable_signal(text).map(DrainMethod::Notify).map_err(explain)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;
    use crate::load::read::drain::{DRAINS, ENVOY, EXEC, HTTP, SIGNAL};

    #[test]
    fn each_key_of_a_drain_has_an_option() {
        let command = DrainArgs::augment_args(Command::new("exec"));
        let options: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let mut keys: Vec<_> = DRAINS.iter().map(|key| key.name).collect();
        // The option of the kind has the value of its main key.
        for (table, main) in
            [(&ENVOY, "admin"), (&HTTP, "url"), (&EXEC, "command"), (&SIGNAL, "signal")]
        {
            keys.extend(table.names().filter(|key| *key != main));
        }
        for key in keys {
            // An option of a list is given once for each item.
            let word = key.replace('_', "-").trim_end_matches('s').to_owned();
            let is_there = [format!("drain-{word}"), format!("no-{word}")]
                .iter()
                .any(|option| options.contains(&option.as_str()));
            assert!(is_there, "{key}: {options:?}");
        }
    }
}
