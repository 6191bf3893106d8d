//! Lets an Envoy check its config before a hot restart. A new epoch with a bad config would do
//! damage before its end: it would close the admin of the old epoch, or make a further hot restart
//! impossible. Envoy's `--mode validate` does neither.

use std::io::{self, PipeWriter};
use std::time::Duration;

use crate::language::mask;
use crate::os::spawn::SpawnRequest;
use crate::supervisor::children::{Rest, Starter};
use crate::supervisor::tasks::run_command::{AttemptFailure, run_captured};
use crate::types::{ChildText, Reason};

/// The time limit of the check. The core aborts the check earlier, at the time limit of a hook.
const LIMIT: Duration = Duration::from_secs(3600);
const FAILED: &str = "Envoy's check of its config failed";
/// The mark of a log line that has Envoy's highest level.
const CRITICAL: &str = "[critical]";

/// Runs the check. The error is Envoy's own reason, or how the command failed if Envoy has written
/// nothing. `request` makes the request for the command, with the given pipe as its stderr.
pub(super) async fn validate(
    request: impl FnOnce(PipeWriter) -> io::Result<SpawnRequest>,
    starter: Starter,
) -> Result<(), Reason> {
    let explain = |failure: AttemptFailure, output: &ChildText| match output.select(reason) {
        Some(said) => mask::reason(FAILED, &said).into(),
        None => AttemptFailure { why: failure.why.behind(FAILED), ..failure },
    };
    let checked = run_captured(request, starter, Rest::Killed, LIMIT, explain).await;
    checked.map_err(|failure| failure.why)
}

/// The last critical line with its continuation lines, without Envoy's prefix; the last line if no
/// line is critical; `None` without output.
fn reason(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let text = match lines.iter().rposition(|line| line.contains(CRITICAL)) {
        Some(first) => {
            let more = lines[first + 1..].iter().take_while(|line| !line.starts_with('['));
            let begin = match lines[first].split_once(".cc:") {
                Some((_, rest)) => rest.split_once("] ").map_or(rest, |(_, text)| text),
                None => lines[first],
            };
            let words: Vec<_> = std::iter::once(begin).chain(more.copied()).collect();
            words.join(" ")
        }
        None => (*lines.last()?).to_owned(),
    };
    Some(mask::shortened(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_critical_line_is_the_reason() {
        let found = reason(
            "[2026-11-21 04:33:34.6][1][info][main] [source/server/server.cc:4] initializing\n\
             [2026-11-21 04:33:34.6][1][critical][main] [source/server/config_validation/server.cc:76] error \
             initializing configuration '/a.json': route: unknown cluster\n  'nope'\n\
             [2026-11-21 04:33:34.6][1][info][main] [source/server/server.cc:9] exiting\n",
        );
        let why = "error initializing configuration '/a.json': route: unknown cluster   'nope'";
        assert_eq!(found.as_deref(), Some(why));
        assert_eq!(reason("a\n[critical] b\n").as_deref(), Some("[critical] b"));
        assert_eq!(reason("PARSE ERROR\n  Brief USAGE\n\n").as_deref(), Some("  Brief USAGE"));
        assert_eq!(reason("\n"), None);
    }
}
