//! Writes `docs/replace.md`: the method, the results, and what was left out.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use testkit::envoy;
use testkit::measured::{machine, version};

use crate::Result;
use crate::mode::{self, DRAIN_SECONDS, Mode, PARENT_SECONDS, START_MILLISECONDS};
use crate::protocol::{Pace, Protocol};
use crate::table;

const HEAD: &str = "\
# What a restart loses

<!-- Written by `make bench-replace`: change benches/replace/document.rs, not this file. -->

![Requests lost while a process is replaced](replace.svg)

`make bench-replace` replaces a process under traffic, in every way and with every kind of traffic, and counts the requests
without an answer. `make bench-replace QUICK=1` runs a few cells of the table in a minute, `CELL=\"listen, TCP\"` those whose name
contains this text. It exits with 1 if drainit loses a request in a way that promises to lose none.

## How it is measured

- One machine, the loopback interface, 50 clients in each cell, each with one connection and one request at a time: one or ten
  requests a second for each client, or the next one as soon as the last is answered.
- *HTTP/1.1* and *HTTP/2* are requests without a body. *gRPC streams*, *WebSocket* and *TCP* are messages that come back; each
  counts as a request. A client ends its gRPC stream and its TCP connection after 1.5 s and opens the next one, and through Envoy its
  WebSocket, too. A stream or session that is cut while no message is on its way counts as one that failed.
- The process is replaced twice, with 1.5 s of traffic before, between and after. Cells at full speed that promise to lose
  nothing go on longer, and so does their count of replacements.
- *failed*: sent, without a complete and correct answer within 10 s. *refused*: nobody listened. *slowest*: from when a request
  was due until its answer was complete, connection included. After a loss a client waits 100 ms.
- Cells at full speed run alone, the others sixteen at a time.

The clients are as good as their protocol permits, and repeat a request only where it says that the server has not processed it:

| | the server says goodbye | a client repeats a request |
|---|---|---|
| HTTP/1.1 | `Connection: close` with an answer | never; it opens a new connection if the old one had ended before the request was written |
| HTTP/2, gRPC | GOAWAY | if GOAWAY names a lower stream, or with `REFUSED_STREAM` (RFC 9113, 6.8 and 8.7) |
| WebSocket | Close frame 1001 | if the Close frame crossed the message: a server answers nothing after it (RFC 6455, 5.5.1) |
| TCP | nothing | never |

They are counted as *repeated*. A client never repeats a request because a connection broke.

### What is replaced
";

const READING: &str = "
- With *stop-first* new connections are refused from SIGTERM until the new server listens. The drain before it keeps what was
  sent from failing, but for a connection that arrives in the very moment in which the listener closes. The peers differ in how
  long nobody listens.
- With *listen* the same connections wait in the kernel's queue. The slowest answer is the wait for the old server's last
  session, and for the start of the new one.
- With *start-first* the new server takes them at once.
- *Envoy, stop-first* cuts sessions, because clients that return during the drain find no other Envoy and begin new ones.
- A hot restart loses no stream if `--parent-shutdown-time-s` is longer than the drain time and twice the longest stream: Envoy
  says GOAWAY with the head of a response, so a client hears it with its next stream.
- *hot-restarter.py* does the same with the sockets. But if the new Envoy ends with an error, for example because its config is
  wrong, it kills the old one, too; `drainit restart` has the config checked before, and leaves the old one alone.
";

/// Returns the whole document.
pub(crate) fn markdown(results: &[Result], missing: &[(Mode, String)], took: Duration) -> String {
    let mut text = HEAD.to_owned();
    ways(&mut text, missing);
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let _ = writeln!(
        text,
        "\n## Results\n\n{}, drainit {}, Envoy {}, on {}. The bench took {} minutes.\n",
        date.split('T').next().unwrap_or_default(),
        version(&mode::drainit()),
        envoy::DEFAULT,
        machine(),
        took.as_secs().div_ceil(60)
    );
    let promised = || results.iter().filter(|result| result.cell.mode.is_clean());
    let _ = writeln!(
        text,
        "Where drainit promises to lose nothing ({}): {} requests, {} replacements, **{} lost**.\n",
        Mode::ALL
            .into_iter()
            .filter(|mode| mode.is_clean())
            .map(Mode::name)
            .collect::<Vec<_>>()
            .join("; "),
        promised().map(|result| result.outcome.requests()).sum::<u64>(),
        promised().map(|result| u64::from(result.outcome.replacements)).sum::<u64>(),
        promised().map(|result| result.outcome.lost()).sum::<u64>()
    );
    summary(&mut text, results);
    text.push_str(READING);
    let _ = writeln!(text, "\n## Every cell\n\n```\n{}```", table::text(results));
    text
}

/// Describes the ways to replace a process, with the reason of each that was not measured.
fn ways(text: &mut String, missing: &[(Mode, String)]) {
    let _ = write!(
        text,
        "
A server that takes {START_MILLISECONDS} ms to start ([benches/replace/server](../benches/replace/server)). On SIGTERM it closes its
listeners, says goodbye to every connection as above, and ends when its clients have gone. On USR1, the signal of its `drain`, it
only says goodbye.

| name | command | config |
|---|---|---|
| stop-first | `drainit restart` | the default: drained, stopped, started |
| listen | `drainit restart` | the same, and drainit holds the sockets: [`listen`](config.md#listen) |
| start-first | `drainit restart` | the same sockets, `update: start-first` |
| supervisorctl | `supervisorctl restart` | SIGTERM, then a new process |
| docker | `docker restart` | the server is the container's only process, on the network of the host |
| s6 | `s6-svc -r` | SIGTERM, then a new process, at least 1 s after the start of the last |

An Envoy with two workers, which answers HTTP/1.1 and HTTP/2 itself and forwards the rest to such a server:

| name | command | config |
|---|---|---|
| Envoy, stop-first | `drainit restart` | the default: drained by its admin for at most 4 s, stopped, started |
| Envoy, hot-restart | `drainit restart` | `update: hot-restart`, `--drain-time-s {DRAIN_SECONDS}`, `--parent-shutdown-time-s {PARENT_SECONDS}` |
| hot-restarter.py | HUP | [Envoy's own restarter](https://github.com/envoyproxy/envoy/blob/main/restarter/hot-restarter.py), the same times |
"
    );
    for (mode, why) in missing {
        let _ = writeln!(text, "\nNot measured: {} ({why}).", mode.name());
    }
}

/// Returns the modes that were measured, in the order of the table.
pub(crate) fn measured(results: &[Result]) -> Vec<Mode> {
    let is_there = |mode: &Mode| results.iter().any(|result| result.cell.mode == *mode);
    Mode::ALL.into_iter().filter(is_there).collect()
}

/// Returns the result of a cell.
pub(crate) fn find(
    results: &[Result],
    mode: Mode,
    protocol: Protocol,
    pace: Pace,
) -> Option<&Result> {
    results.iter().find(|Result { cell, .. }| {
        cell.mode == mode && cell.protocol == protocol && cell.pace == pace
    })
}

/// Writes one line for each kind of traffic, with a column for each way.
fn summary(text: &mut String, results: &[Result]) {
    let modes = measured(results);
    text.push_str("Failed / refused, and the slowest answer in seconds:\n\n| traffic |");
    for mode in &modes {
        let _ = write!(text, " {} |", mode.name());
    }
    let _ = writeln!(text, "\n|---|{}", "--:|".repeat(modes.len()));
    for protocol in Protocol::ALL {
        for pace in Pace::ALL {
            let _ = write!(text, "| {protocol}, {pace} |");
            for mode in &modes {
                let Some(Result { outcome, .. }) = find(results, *mode, protocol, pace) else {
                    text.push_str(" |");
                    continue;
                };
                let bold = if mode.is_clean() { "**" } else { "" };
                let counts = &outcome.counts;
                let _ = write!(
                    text,
                    " {bold}{} / {}{bold}, {:.2} |",
                    counts.failed,
                    counts.refused,
                    counts.slowest.as_secs_f64()
                );
            }
            text.push('\n');
        }
    }
}
