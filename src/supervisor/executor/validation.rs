//! Lets an Envoy check its config before a hot restart. A new epoch with a bad config would do
//! damage: before it ends, it closes the admin of the old epoch, or makes a further hot restart
//! impossible. Envoy's `--mode validate` does neither.

use std::io::{self, pipe};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use crate::os::spawn::SpawnRequest;
use crate::supervisor::message::SharedChildren;
use crate::supervisor::run_command;
use crate::types::harmless;

/// The number of bytes of Envoy's output that are kept.
const KEPT: usize = 64 * 1024;
/// The limit for reading the last lines after Envoy's end.
const LAST_LINES: Duration = Duration::from_millis(100);
/// The time limit of the check. The core aborts the check earlier, as it aborts a hook.
const LIMIT: Duration = Duration::from_secs(3600);
/// The longest reason that is reported, in characters.
const LONGEST: usize = 500;
/// The mark of a log line that has Envoy's highest level.
const CRITICAL: &str = "[critical]";

/// Runs the check. The error is Envoy's own reason. `request` makes the command, with the given
/// pipe as its stderr.
pub(super) async fn validate(
    request: impl FnOnce(OwnedFd) -> SpawnRequest,
    children: SharedChildren,
) -> Result<(), String> {
    let failed = |error: io::Error| harmless(&error.to_string()).into_owned();
    let (reader, writer) = pipe().map_err(failed)?;
    let mut reader = Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    let mut run = pin!(run_command::run(request(writer.into()), children, LIMIT));
    let (mut output, mut chunk) = (Vec::new(), [0; 4096]);
    let mut is_open = true;
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            count = reader.read(&mut chunk), if is_open => match count {
                Ok(count) if count > 0 => keep(&mut output, &chunk[..count]),
                _ => is_open = false,
            },
        }
    };
    while is_open {
        match timeout(LAST_LINES, reader.read(&mut chunk)).await {
            Ok(Ok(count)) if count > 0 => keep(&mut output, &chunk[..count]),
            _ => is_open = false,
        }
    }
    result.map_err(|failure| {
        let output = String::from_utf8_lossy(&output);
        reason(&output).map_or(failure.why, |reason| harmless(&reason).into_owned())
    })
}

fn keep(output: &mut Vec<u8>, chunk: &[u8]) {
    output.extend(chunk);
    output.drain(..output.len().saturating_sub(KEPT));
}

/// The last critical line with its continuation lines, without Envoy's prefix. If the output has no
/// critical line, this is the last line.
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
    Some(text.chars().take(LONGEST).collect())
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
        assert_eq!(
            found.as_deref(),
            Some("error initializing configuration '/a.json': route: unknown cluster   'nope'")
        );
        assert_eq!(reason("a\n[critical] b\n").as_deref(), Some("[critical] b"));
        assert_eq!(reason("PARSE ERROR\n  Brief USAGE\n\n").as_deref(), Some("  Brief USAGE"));
        assert_eq!(reason("\n"), None);
        assert_eq!(reason(&"a".repeat(1000)).map(|text| text.len()), Some(LONGEST));
    }
}
