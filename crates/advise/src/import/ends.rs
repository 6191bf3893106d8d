//! Programs that end supervisord: by its PID file, by `supervisorctl shutdown`, or by its name.

use std::sync::LazyLock;

use regex_lite::Regex;

use crate::import::ini::Section;
use crate::pattern;

/// The comment on such a program.
pub(super) const NOTE: &str = "this ends supervisord, which is drainit here: the end of the process ends the container, since it has no `restart` \
                               and no `on_exit: ignore`. Remove the command that ends supervisord, or write `kill 1`";

/// Matches a command that ends supervisord, whatever its PID file is.
static ENDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s)\bsupervisorctl\b.*\s(shutdown)\b|\bkill\b.*supervisord\.pid|kill(all)?\s(-\S+\s+)*supervisord\b",
    )
});
/// Matches a signal at which supervisord does not end.
static STAYS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\bkill\s+(-s\s+|--signal[\s=]|-)(SIG)?(HUP|USR2|CHLD|[01]\s)"));
static KILL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bkill\b"));
/// Matches a PID file that is a single variable of the container.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^%\(ENV_(\w+)\)s$"));

/// Whether the program ends supervisord. `whole` is the section `[supervisord]`.
pub(super) fn supervisord(program: &Section, whole: &Section) -> bool {
    let command = program.get("command").unwrap_or_default();
    if STAYS.is_match(command) {
        return false;
    }
    let file = whole.get("pidfile").unwrap_or_default().trim_matches(['"', '\'']);
    let variable = VARIABLE.captures(file).map(|found| found[1].to_owned());
    let names_file = match variable {
        _ if file.is_empty() => false,
        None => command.contains(file),
        Some(name) => {
            let names = [format!("%(ENV_{name})s"), format!("${{{name}}}"), format!("${name}")];
            names.iter().any(|name| command.contains(name))
        }
    };
    ENDS.is_match(command) || (names_file && KILL.is_match(command))
}
