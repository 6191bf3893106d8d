//! Writes the report of the shutdown.

use std::time::{Duration, SystemTime};

use crate::core::cause::{Cause, Failure};
use crate::journal::event;
use crate::keys::LogFormat;
use crate::logging::format::stamp;
use crate::os::replace_file::replace_within;
use crate::os::termination_log;
use crate::supervisor::executor::Executor;
use crate::supervisor::processes::Processes;
use crate::types::{Time, escape_json, harmless};

/// The permissions of the file with the shutdown report. Everybody may read the file, like a log.
const REPORT_MODE: u32 = 0o644;

impl Executor {
    /// Whether the container stops because a process could not be started.
    pub(crate) fn has_failed_to_start(&self) -> bool {
        let cause = self.processes.journal.stopped_by();
        matches!(cause, Some(Cause::Failed { why: Failure::Spawn { .. }, .. }))
    }

    /// Writes the report of the shutdown at the end of the log, and to the termination log. If the
    /// log has the format JSON, its last line also contains the report as JSON. If the config sets
    /// `shutdown.report`, drainit writes this JSON to the file of `shutdown.report`, too. Writing
    /// this file takes at most `within`, and so does writing the termination log.
    pub(crate) fn report(&mut self, now: Time, code: u8, within: &dyn Fn() -> Duration) {
        self.traffic.record_last(&mut self.processes.journal);
        let (file, format) = (&self.config.shutdown.report, self.config.logging.format);
        let is_json = format == LogFormat::Json;
        let wall = SystemTime::now();
        let at = |time: Time| stamp(wall.checked_sub(now.since(time)).unwrap_or(wall));
        let Processes { journal: report, slots, .. } = &self.processes;
        let machine = self.processes.machine();
        let place = |slot| slots[slot].place;
        let data =
            (is_json || file.is_some()).then(|| report.data(now, code, machine.state(), place, at));
        let json = data.flatten().map(|data| escape_json(&data.to_string()).into_owned());
        if let (Some(file), Some(json)) = (file, &json)
            && let Err(error) =
                replace_within(within(), file.clone(), format!("{json}\n"), REPORT_MODE)
        {
            let file = file.display().to_string();
            tracing::warn!("the report cannot be written to {}: {error}", harmless(&file));
        }
        let text = report.text(now, code);
        let ledger = report.ledger(&text);
        self.requests.answer_shutdown(code, &text);
        let mut members = event::exit(code, report.took(now)).members();
        if let Some(json) = json {
            members = format!("{members},\"report\":{json}");
        }
        tracing::info!(members, "{text}");
        termination_log::write(&ledger, within());
    }
}
