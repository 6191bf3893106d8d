//! Comments on commands that need an explanation in the draft, although every key of the process
//! was converted.

use serde_json::json;

use crate::import::draft::{Draft, DraftedProcess};
use crate::known::{self, Kind, Known, short};
use crate::pattern;
use crate::types::Signal;

const SUPERVISORCTL: &str = "there is no supervisord that supervisorctl could ask: write `drainit start`, or make this a `type: oneshot` \
                             that what it starts depends on, without `autostart`";
const PID: &str = "there is no supervisord that this signal could reach: `drainit reload` and `drainit restart` do what SIGHUP did";
const PIDPROXY: &str = "pidproxy passes signals to the process of a PID file: start the program in the foreground without it; \
                        if it must fork, it can send `MAINPID=`";

/// The `time` of a worker's drain for which a draft has room: its `grace_period`, less the `reserve`,
/// the `readiness_delay` of 5 s if there is one, and 1 s to stop what the worker needs. Some workers
/// kill their jobs at the second signal, which comes after this time.
const TIMES: [&str; 2] = ["26s", "21s"];

/// Patterns of commands, each with its comment.
const HINTS: [(&str, &str); 3] = [
    ("supervisorctl", SUPERVISORCTL),
    (r"supervisord\.pid", PID),
    (r"^(\S+\s+){0,2}\S*pidproxy(\.py)*(\s|$)", PIDPROXY),
];

/// Adds the comments, and the keys that known programs need for a good stop.
pub(super) fn add(draft: &mut Draft) {
    let is_alone = draft.processes.len() == 1;
    draft.takes_requests = !draft.processes.iter().all(is_quiet);
    let time = TIMES[usize::from(draft.takes_requests)];
    for process in &mut draft.processes {
        add_to(process, time, is_alone);
        // The work of a process with a drain ends in the drain.
        let has_work = !process.has("drain") && !process.has("type");
        if let Some(stop) = process.default_stop.filter(|_| has_work) {
            process.set("stop_grace_period", stop);
        }
    }
}

/// Adds the comments and the keys of one process. `time` is the longest drain of a worker.
fn add_to(process: &mut DraftedProcess, time: &str, is_alone: bool) {
    let command = process.command_words().join(" ");
    // The comment on such a command already says how drainit ends.
    let is_said = |hint: &str| process.ends_all && [SUPERVISORCTL, PID].contains(&hint);
    let hints =
        HINTS.iter().filter(|(part, hint)| !is_said(hint) && pattern(part).is_match(&command));
    let hints: Vec<_> = hints.collect();
    hints.iter().for_each(|(_, hint)| process.note(*hint));
    let Some(known) = known::find(&process.command_words()) else { return };
    stop_signal(process, &known);
    let signal = process.text("stop_signal").unwrap_or("TERM").to_owned();
    let is_good = Signal::parse(&signal).is_some_and(|it| known.program.signals.contains(&it));
    let (drain, why) = match known.kind {
        _ if process.order.is_behind || process.has("type") => return,
        Kind::Drained => (json!("connections"), "its stop would lose requests"),
        Kind::Worker if is_good && process.text("stop_grace_period") != Some("0s") => {
            let time = process.remove("stop_grace_period").unwrap_or_else(|| json!(time));
            let drain = json!({ "signal": signal, "time": time, "min": "0s" });
            (json!({ "signal": drain }), "it takes jobs until its signal")
        }
        Kind::Maybe if known.program.kind == Kind::Maybe => {
            process.note("if requests arrive from outside, write `drain: connections`");
            return;
        }
        _ => return,
    };
    process.set("drain", drain);
    process.note(format!("`drain`: {why}; name in `depends_on` what it then still needs"));
    if !is_alone && !process.has("depends_on") {
        process.set("depends_on", json!([]));
    }
}

pub(super) fn kind_of(process: &DraftedProcess) -> Option<Kind> {
    known::find(&process.command_words()).map(|known| known.kind)
}

/// Whether no requests arrive at a process from outside of the container.
fn is_quiet(process: &DraftedProcess) -> bool {
    let kind = kind_of(process);
    let is_store = kind == Some(Kind::Store) && process.order.is_needed;
    is_store || process.has("type") || matches!(kind, Some(Kind::Worker | Kind::Other))
}

/// Sets the `stop_signal` at which a known program finishes its work. If the imported file has
/// another signal, this signal stays, and the draft has a comment.
fn stop_signal(process: &mut DraftedProcess, known: &Known) {
    let written = process.text("stop_signal").map(Signal::parse);
    let more = known.more().unwrap_or_default();
    let is_sure = known.kind == known.program.kind;
    let signal = written.flatten().unwrap_or(Signal::TERM);
    let Some((why, remedy)) = known.advice(signal, "stop_signal") else {
        // The signal of the file is the best one, but does not suffice.
        if !more.is_empty() && known.program.signals.contains(&signal) {
            process.note(format!("{}: {more}", known.name));
        }
        return;
    };
    match known.program.signals.first().filter(|_| written.is_none() && is_sure) {
        Some(best) => {
            process.set("stop_signal", short(*best));
            let more = if more.is_empty() { "" } else { &format!("; {more}") };
            process.note(format!("`stop_signal`: {why}{more}"));
        }
        None => process.note(format!("{why}: {remedy}")),
    }
}
