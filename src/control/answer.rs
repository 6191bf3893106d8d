//! The answers to requests of operators that start or stop processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::SupervisorHandle;
use crate::control::status::{ProcessStatus, Status};
use crate::core::event::Request;
use crate::journal::state::ProcessState;
use crate::language::written::as_written;
use crate::types::Time;
use crate::types::suggest::shortened;

/// The answer to `/v1/stop`, `/v1/start`, `/v1/restart` or `/v1/reload`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// A line for each process that has changed or was named, in the words of the log.
    pub(crate) lines: Vec<String>,
    /// The warnings of the new config, and of the request itself, one a line.
    pub(crate) warnings: String,
    /// Why the request has failed. The lines before the last line are problems of the new config.
    pub(crate) error: Option<String>,
}

/// A request that is under way.
#[derive(Default)]
pub(crate) struct Asked {
    /// `None` for a reload.
    pub(crate) request: Option<Request>,
    /// The named processes.
    pub(crate) names: Vec<String>,
    pub(crate) began: Time,
    /// The processes that restart after the answer, each with the process that it follows.
    pub(crate) followers: BTreeMap<String, String>,
    /// Whether the files of the config have changed since drainit read them.
    pub(crate) is_config_changed: bool,
}

/// The warning of a start or restart that does not use the config in the files.
const CONFIG_CHANGED: &str =
    "warning: the config has changed since it was read; `drainit reload` applies the change\n";

impl Asked {
    /// The answer at the end of the request.
    pub(crate) fn answer(
        &self,
        results: Vec<Result<String, String>>,
        supervisor: &dyn SupervisorHandle,
    ) -> Answer {
        let (mut warnings, mut failures) = (String::new(), Vec::new());
        for result in results {
            match result {
                // The requests of several processes share a look, and so its warning.
                Ok(text) if warnings.contains(&*text) => {}
                Ok(text) => warnings.push_str(&as_written(&text)),
                Err(why) => failures.push(as_written(&why).into_owned()),
            }
        }
        if self.is_config_changed {
            warnings.push_str(CONFIG_CHANGED);
        }
        // If several processes wait for the same process, their failures have equal texts.
        failures.dedup();
        let error = (!failures.is_empty()).then(|| failures.join("; "));
        let told = supervisor.told(self.began);
        let lines = self.lines(&supervisor.status().with_full_texts(), &told, error.is_none());
        let lines = lines.iter().map(|line| as_written(line).into_owned()).collect();
        Answer { lines, warnings, error }
    }

    fn lines(
        &self,
        now: &Status,
        told: &BTreeMap<String, Vec<String>>,
        is_done: bool,
    ) -> Vec<String> {
        let current = now.current().filter_map(|process| {
            self.line(process, told.get(&process.name).map_or(&[], Vec::as_slice), is_done)
        });
        let is_gone = |name: &str| now.current().all(|process| process.name != name);
        let gone = told.iter().filter(|(name, _)| is_gone(name));
        let gone = gone.map(|(name, told)| format!("{name}: removed; {}", told.join("; ")));
        let mut lines: Vec<_> = current.chain(gone).collect();
        if is_done && lines.is_empty() {
            lines.push("no process has changed".to_owned());
        }
        let is_stopped = |process: &&ProcessStatus| process.state == ProcessState::Stopped;
        let stopped: Vec<_> =
            now.current().filter(is_stopped).map(|one| one.name.as_str()).collect();
        if is_done && self.request == Some(Request::Start) && !stopped.is_empty() {
            lines.push(format!("still stopped: {}", stopped.join(", ")));
        }
        lines
    }

    /// The line of a process; `None` if the process was not named and has not changed.
    fn line(&self, process: &ProcessStatus, told: &[String], is_done: bool) -> Option<String> {
        let ProcessStatus { name, state, start, message, inner, .. } = process;
        if let Some(on) = self.followers.get(name) {
            return Some(format!("{name}: follows {on} (`restart: true`)"));
        }
        let is_named = self.names.contains(name);
        let mut line = format!("{name}: {}", state.name());
        if told.is_empty() {
            return (is_named && is_done).then(|| line + ", as before");
        }
        line.extend(start.pid.map(|pid| format!(", pid {pid}")));
        if self.request == Some(Request::Stop) && *state == ProcessState::Stopped && !is_named {
            line.push_str(&format!(", because it depends on {}", shortened(&self.names)));
        }
        // The message may repeat a note, or say more than the note.
        let message = message.as_ref().filter(|why| told.iter().all(|it| !it.starts_with(*why)));
        let told = told.iter().filter(|it| message.is_none_or(|why| !why.starts_with(*it)));
        let texts = message.into_iter().chain(told).chain(&inner.tally.cost);
        line.extend(texts.flat_map(|text| ["; ", text]));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::example;
    use crate::control::testing::CountingSupervisor;

    // holds: C809, S790, S864
    #[test]
    fn each_process_that_has_changed_or_was_named_has_a_line() {
        let mut now = example();
        let stopped = |process: &mut ProcessStatus, message: &str| {
            (process.state, process.start.pid) = (ProcessState::Stopped, None);
            process.message = Some(message.to_owned());
            process.inner.tally.cost = Some("requests 2 cut".to_owned());
        };
        stopped(&mut now.processes[0], "exited with code 0");
        let told = |name: &str, all: &[&str]| {
            (name.to_owned(), all.iter().map(|&text| text.to_owned()).collect())
        };
        let all = BTreeMap::from([
            told("old", &["exited with code 0"]),
            told("policy-engine", &["exited with code 0, 40ms after it was asked to stop"]),
            told("router", &["was ended by SIGKILL", "started", "ready after 70ms; down for 90ms"]),
        ]);
        let names = vec!["migrate".to_owned(), "router".to_owned()];
        let asked =
            |request| Asked { request: Some(request), names: names.clone(), ..Asked::default() };
        let expected = [
            "policy-engine: stopped, because it depends on migrate, router; exited with code 0, \
             40ms after it was asked to stop; requests 2 cut",
            "router: ready, pid 18; was ended by SIGKILL; started; ready after 70ms; down for 90ms",
            "migrate: done, as before",
            "old: removed; exited with code 0",
        ];
        assert_eq!(asked(Request::Stop).lines(&now, &all, true), expected);
        let followers = BTreeMap::from([("router".to_owned(), "migrate".to_owned())]);
        let restart = Asked { followers, ..asked(Request::Restart) };
        let followed = restart.lines(&now, &BTreeMap::new(), false);
        assert_eq!(followed, ["router: follows migrate (`restart: true`)"]);
        let start = asked(Request::Start).lines(&now, &BTreeMap::new(), true);
        assert_eq!(start[..2], ["router: ready, as before", "migrate: done, as before"]);
        assert_eq!(start[2..], ["still stopped: policy-engine"]);
        let mut stopped_too = now.clone();
        stopped(&mut stopped_too.processes[1], "exited with code 1");
        let start = asked(Request::Start).lines(&stopped_too, &BTreeMap::new(), true);
        let both = [&now, &stopped_too].map(|now| {
            let stopped = now.current().filter(|one| one.state == ProcessState::Stopped);
            stopped.map(|one| one.name.as_str()).collect::<Vec<_>>()
        });
        assert_eq!((both[0].len(), both[1].len()), (1, 2));
        let still = format!("still stopped: {}, {}", both[1][0], both[1][1]);
        assert_eq!(start.last(), Some(&still));
        let nothing = Asked::default().lines(&now, &BTreeMap::new(), true);
        assert_eq!(nothing, ["no process has changed"]);
        let supervisor = CountingSupervisor::new();
        for is_config_changed in [false, true] {
            let asked = Asked { is_config_changed, ..Asked::default() };
            let warnings = asked.answer(vec![Ok("a warning\n".to_owned())], &supervisor).warnings;
            let expected = if is_config_changed { CONFIG_CHANGED } else { "" };
            assert_eq!(warnings, format!("a warning\n{expected}"));
        }
        // The answer lists equal failures once, and all others.
        let failed = |why: &[&str]| {
            let results = why.iter().map(|why| Err((*why).to_owned())).collect();
            Asked::default().answer(results, &supervisor).error.unwrap_or_default()
        };
        assert_eq!(failed(&["db failed", "web failed"]), "db failed; web failed");
        assert_eq!(failed(&["db failed", "db failed", "web failed"]), "db failed; web failed");
        assert_eq!(failed(&["web failed", "db failed", "db failed"]), "web failed; db failed");
        // A message that says more than a note stands in for the note.
        now.processes[0].message = Some("could not be started: no such file".to_owned());
        let failed =
            BTreeMap::from([told("policy-engine", &["could not be started", "tried again"])]);
        let line = Asked::default().lines(&now, &failed, false);
        let why = "could not be started: no such file; tried again; requests 2 cut";
        assert_eq!(line, [format!("policy-engine: stopped; {why}")]);
    }
}
