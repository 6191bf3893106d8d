//! `shutdown:`: the time for the shutdown, and the signals that begin it.

use std::path::PathBuf;
use std::time::Duration;

use crate::keys::forms::SignalList;
use crate::keys::key::Table;
use crate::keys::reader::{Fields, Reader};
use crate::language::diagnostics::rule::Rule;
use crate::types::{Signal, human};

/// `shutdown:`.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(settle = Self, default)]
pub struct Shutdown {
    /// The time from the stop signal until the container is killed from outside. <!-- C81 -->
    /// drainit fits the shutdown into this time. <!-- C602 --> Example: `grace_period: 60s`
    #[key(default = "30s")]
    pub grace_period: Duration,
    /// The part of `grace_period` that is kept free at the end, for SIGKILL, the last output and
    /// the report. <!-- C82 --> `reserve` must be shorter than `grace_period`. <!-- C603 --> With a
    /// `reserve` under 1 s, drainit can exit up to 1 s after the grace period, if a process
    /// survives SIGKILL or nobody reads the output. <!-- C604 --> Example: `reserve: 1s`
    #[key(default = "2s")]
    pub reserve: Duration,
    /// How long `/readyz` answers 503 before the drain begins. <!-- C83 --> drainit skips the delay
    /// if `/readyz` never answered 200, or no process is left. <!-- C605 --> Example:
    /// `readiness_delay: 3s`
    #[key(default = "0s")]
    pub readiness_delay: Duration,
    /// How long `/readyz` and Envoy's own health check still succeed after the stop signal: [first
    /// the drain, then unready](reference/shutdown.md#ready-during-the-drain). <!-- C84 -->
    /// `unready_delay` cannot be combined with `readiness_delay`. <!-- C606 --> Example:
    /// `unready_delay: 10s`
    #[key(default = "0s")]
    pub unready_delay: Duration,
    /// The signals that stop the container. <!-- C85 --> Example: `signals: [TERM]`
    #[key(form = SignalList, default = "[TERM, INT, QUIT]", value = vec![Signal::TERM, Signal::INT, Signal::QUIT])]
    pub signals: Vec<Signal>,
    /// The file to which drainit writes [the report](json.md#report) at the end, as
    /// JSON. <!-- C86 --> The report replaces a regular file atomically, so the directory must
    /// exist and be writable. If drainit cannot write the file, it only warns. <!-- C607 -->
    /// Example: `report: /var/log/gw/report.json`
    #[key(default = "none")]
    pub report: Option<PathBuf>,
}

impl Shutdown {
    /// The time from the beginning of the shutdown to the deadline.
    pub fn window(&self) -> Duration {
        self.grace_period.saturating_sub(self.reserve)
    }

    /// Says that `unready_delay` does not fit before the deadline. `None` if it fits.
    pub fn too_long_ready(&self) -> Option<String> {
        let (delay, window) = (self.unready_delay, self.window());
        (delay >= window && !delay.is_zero()).then(|| {
            let (delay, window) = (human(delay), human(window));
            format!("({delay}) leaves nothing of the {window} until the deadline")
        })
    }
}

impl Shutdown {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        let Self { grace_period, reserve, readiness_delay, unready_delay, .. } = self;
        let problems = &mut *reader.problems;
        if !readiness_delay.is_zero() && !unready_delay.is_zero() {
            let message = "`readiness_delay` and `unready_delay` exclude each other: the first \
                           waits unready before the drain, the second stays ready during the drain";
            problems
                .error(Rule::ConflictingKeys, fields.value("unready_delay"), message)
                .help("keep one of them");
        }
        if reserve >= grace_period && reader.durations_known {
            let written = fields.get("reserve").or(fields.get("grace_period"));
            let (reserve, grace) = (human(reserve), human(grace_period));
            let message =
                format!("`reserve` ({reserve}) is not shorter than `grace_period` ({grace})");
            problems
                .error(Rule::InvalidValue, written.map_or(fields.span, |node| node.span), message)
                .help("make `reserve` shorter, or `grace_period` longer");
            reader.durations_known = false;
        }
        let too_long = self.too_long_ready().filter(|_| reader.durations_known);
        if let Some(why) = too_long {
            let message = format!("`unready_delay` {why}");
            let problem =
                problems.error(Rule::InvalidValue, fields.value("unready_delay"), message);
            problem.help("make it shorter, or `grace_period` (and the pod's) longer");
        }
        if let Some(node) = fields.get("signals").filter(|node| node.is_empty_list()) {
            let problem = problems.error(
                Rule::InvalidValue,
                node.span,
                "without `signals` the container cannot be stopped",
            );
            problem.help("write `[TERM, INT, QUIT]`, or remove the key");
        }
        Some(self)
    }
}
