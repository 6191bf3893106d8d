//! Comments on commands that need an explanation in the draft, although every key of the process
//! was converted.

use std::sync::LazyLock;

use regex_lite::Regex;

use crate::import::draft::{Draft, DraftedProcess};
use crate::import::pattern;

/// Programs for which another stop signal is better than SIGTERM, each with that signal and the
/// comment. The draft keeps the signal of the imported file.
const SIGNALS: [(&str, &str, &str); 4] = [
    (
        "nginx",
        "QUIT",
        "nginx cuts its requests at SIGTERM: `stop_signal: QUIT` lets it finish them",
    ),
    (
        "php-fpm",
        "QUIT",
        "php-fpm cuts its requests at SIGTERM: `stop_signal: QUIT` lets it finish them",
    ),
    (
        "postgres",
        "INT",
        "postgres waits at SIGTERM until the last client has left: `stop_signal: INT` ends the connections and stops cleanly",
    ),
    (
        "apache",
        "WINCH",
        "Apache cuts its requests at SIGTERM: `stop_signal: WINCH` lets it finish them",
    ),
];
const SUPERVISORCTL: &str = "there is no supervisord that supervisorctl could ask: write `drainit start`, or make this a `type: oneshot` \
                             that what it starts depends on, without `autostart`";
const PID: &str = "this stops supervisord, and here drainit is PID 1: write `kill 1`, or leave it out: without `on_exit: ignore` the \
                   end of a process ends the container";
const PIDPROXY: &str = "pidproxy passes signals to the process of a PID file: start the program in the foreground without it; \
                        if it must fork, it can send `MAINPID=`";

/// Matches programs that start another program, together with the options that stand before the
/// name of the other program.
const WRAPPERS: &str = r"(?:(?:\S*/)?(?:docker-entrypoint\.sh|docker-php-entrypoint|tini|dumb-init|env|sudo|nice|stdbuf|python[0-9.]*|pidproxy(?:\.py)?\s+\S+|(?:gosu|su-exec)\s+\S+)\s+(?:-[un]\s+\S+\s+|-(?:[^un\s]\S*|[un]\S+)\s+|\w+=\S*\s+)*)*";

/// Matches a program of [`SIGNALS`] in a command: as the first word, as the first word that a shell
/// runs, or as the program that one of the [`WRAPPERS`] starts.
static PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?:^|[;&|(]|\bexec\s|\bdo\s|\bthen\s|-c\s|sh\s+(?:-\S+\s+)*-\w+c\s)\s*["']?{WRAPPERS}["']?(?:\S*/)?(nginx|php-fpm|postgres|postmaster|apache2|httpd|apache)(?:[0-9.]*|-foreground|ctl)(?:[\s"';&|)]|$)"#,
    ))
});

/// Adds the comments.
pub(super) fn add(draft: &mut Draft) {
    for process in &mut draft.processes {
        let command = process.command_line();
        for note in of(&command, process) {
            process.hint(note);
        }
    }
}

fn of(command: &str, process: &DraftedProcess) -> Vec<&'static str> {
    let mut notes = Vec::new();
    let found = PROGRAM.captures(command);
    let program = found.as_ref().and_then(|found| found.get(1));
    if let Some(program) = program {
        let name = match program.as_str() {
            "apache2" | "httpd" | "apache" => "apache",
            "postmaster" => "postgres",
            name => name,
        };
        let signal = process.text("stop_signal").unwrap_or_default();
        let signal = signal.trim_start_matches("SIG");
        let hint =
            SIGNALS.iter().find(|(program, better, _)| *program == name && signal != *better);
        notes.extend(hint.map(|(.., note)| *note));
    }
    if command.contains("supervisorctl") {
        notes.push(SUPERVISORCTL);
    }
    if command.contains("supervisord.pid") || command.contains("kill supervisord") {
        notes.push(PID);
    }
    let is_pidproxy = |word: &str| word.trim_end_matches(".py").ends_with("pidproxy");
    if command.split_whitespace().take(3).any(is_pidproxy) {
        notes.push(PIDPROXY);
    }
    notes
}
