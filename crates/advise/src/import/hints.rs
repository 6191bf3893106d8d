//! Comments on commands that need an explanation in the draft, although every key of the process
//! was converted.

use crate::import::draft::{Draft, DraftedProcess};
use crate::known::{self, short};
use crate::pattern;
use crate::types::Signal;

const SUPERVISORCTL: &str = "there is no supervisord that supervisorctl could ask: write `drainit start`, or make this a `type: oneshot` \
                             that what it starts depends on, without `autostart`";
const PID: &str = "this stops supervisord, and here drainit is PID 1: write `kill 1`, or leave it out: without `on_exit: ignore` the \
                   end of a process ends the container";
const PIDPROXY: &str = "pidproxy passes signals to the process of a PID file: start the program in the foreground without it; \
                        if it must fork, it can send `MAINPID=`";

/// Patterns of commands, each with its comment.
const HINTS: [(&str, &str); 3] = [
    ("supervisorctl", SUPERVISORCTL),
    (r"supervisord\.pid|kill supervisord", PID),
    (r"^(\S+\s+){0,2}\S*pidproxy(\.py)*(\s|$)", PIDPROXY),
];

/// Adds the comments, and the stop signals that known programs need.
pub(super) fn add(draft: &mut Draft) {
    for process in &mut draft.processes {
        let words = process.command_words();
        let command = words.join(" ");
        for (part, hint) in HINTS {
            if pattern(part).is_match(&command) {
                process.hint(hint);
            }
        }
        known_program(process, &words);
    }
}

/// Sets the `stop_signal` at which a known program finishes its work. If the imported file has
/// another signal, this signal stays, and the draft has a comment.
fn known_program(process: &mut DraftedProcess, words: &[String]) {
    let Some(known) = known::find(words.iter().map(String::as_str)) else { return };
    let written = process.text("stop_signal").map(Signal::parse);
    let more = known.program.more;
    let Some((why, remedy)) = known.advice(written.flatten().unwrap_or(Signal::TERM)) else {
        // The signal of the file is the best one, but does not suffice.
        if !more.is_empty() {
            process.hint(&format!("{}: {more}", known.name));
        }
        return;
    };
    match known.program.signals.first().filter(|_| written.is_none()) {
        Some(best) => {
            process.set("stop_signal", short(*best));
            let more = if more.is_empty() { "" } else { &format!("; {more}") };
            process.hint(&format!("`stop_signal`: {why}{more}"));
        }
        None => process.hint(&format!("{why}: {remedy}")),
    }
}
