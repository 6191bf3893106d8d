//! Writes `docs/rollout.md`: the measurements, the method and the results.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use testkit::{envoy, measured};

use crate::pod::Mode;
use crate::rows::Row;
use crate::schedule::Result;
use crate::table;

const HEAD: &str = "\
# What a rollout loses

<!-- Written by `make bench-rollout`: change benches/rollout/document.rs, not this file. -->

![Requests lost while a gateway is replaced](rollout.svg)

`make bench-rollout` replaces a pod under traffic, once for every line of the table below, and counts the requests without an
answer. `make bench-rollout QUICK=1` runs a few lines in a minute. It exits with 1 if drainit loses a request where the protocol
lets a server announce that it closes a connection.

## How it is measured

- A pod is one real Envoy with two workers, in a network namespace of its own, on a bridge. The old and the new one run
  all the time. The namespace of the old one outlives its Envoy, as a Kubernetes sandbox does for a while: new connections are
  then refused.
- The service in front is built as kube-proxy does: an address of its own, which nftables translates to that of a pod when a
  connection begins, in a map that is changed in one transaction. conntrack keeps existing connections. Clients know this
  address only.
- Everything is inside a namespace of the bench, without name resolution and without a route to other networks. However the bench
  ends, also by Ctrl-C, the kernel removes it.
- 100 clients (20 for \"a new connection every 50 ms\" and the row below it), each with one connection. They honour
  `Connection: close` and GOAWAY, and never retry. HTTP/1.1 clients notice that an idle connection was closed
  when they use it, as blocking clients do, unless the row says otherwise; HTTP/2 clients always read. An answer takes 20 ms.
  Clients without a rate, which send when they have the last answer, wait 1 s after a failure.
- The old pod gets SIGTERM at least 2 s after the clients began. 1 s later, unless the row says otherwise, the service sends new
  connections to the new pod. Traffic continues until 2 s after the old pod has ended, and long enough for every client to use
  its connection once more.
- *New connections, drain time 1 s*: a new connection every 50 ms, Envoy runs with `--drain-time-s 1` in all four ways,
  and the service changes 4 s after SIGTERM. `make bench-rollout ROW=\"drain time\"` measures this row alone.
- *failed*: sent, without a complete answer of status 200. *refused*: the connection was refused. *seconds*: from SIGTERM until the
  pod had ended. A WebSocket or TCP session counts as one request, and is lost if it is cut before its client ends it.
- *At full speed* is [wrk](https://github.com/wg/wrk) with 100 connections and its own counts, whose meaning was measured with a
  server that misbehaves. *failed* are its `read` and `write` errors, one for each connection that ended before the complete
  answer, by FIN or by RST, and answers with a status of 400 and above or that took more than 10 s. wrk does not count requests
  without any answer. It honours `Connection: close`, which is no error. It cannot distinguish refused connections from cut ones,
  so *refused* is the kernel's count (`AttemptFails`), and is subtracted from wrk's errors. After an error wrk reconnects at once,
  thousands of times a second while no pod listens.

The four ways to stop the pod:

| name | on SIGTERM |
|---|---|
| SIGTERM | Envoy gets the signal |
| recipe | a script: `POST /drain_listeners?graceful`, 15 s of sleep, then SIGTERM for Envoy |
| recipe+time | the same, and Envoy has `--drain-time-s 15` |
| drainit | `drain: {envoy: {time: 15s, min: 5s}}`, and Envoy has no flags for the drain |

";

/// Measured by `make rollout-swarm`, which prints the table.
const SWARM: &str = include_str!("swarm.md");

/// Returns the whole document.
pub(crate) fn markdown(rows: &[Row], results: &[Result], took: Duration) -> String {
    let mut text = HEAD.to_owned();
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let _ = writeln!(
        text,
        "## Results\n\n{}, drainit {}, Envoy {}, on {}. The bench took {} minutes.\n",
        date.split('T').next().unwrap_or_default(),
        measured::version(&envoy::checkout().join("target/release/drainit")),
        envoy::TESTED.join(", "),
        measured::machine(),
        took.as_secs().div_ceil(60)
    );
    summary(&mut text, rows, results);
    notes(&mut text, rows, results);
    let _ = write!(text, "\n{SWARM}");
    let _ = writeln!(text, "\n## Every rollout\n\n```\n{}```", table::text(rows, results));
    text
}

/// Returns the losses, with one line for each kind of traffic.
fn summary(text: &mut String, rows: &[Row], results: &[Result]) {
    text.push_str(
        "Lost requests (failed and refused), and the seconds until drainit had exited:\n\n",
    );
    text.push_str("| Envoy | traffic |");
    for mode in Mode::ALL {
        let _ = write!(text, " {} |", mode.name());
    }
    text.push_str(" seconds |\n|---|---|--:|--:|--:|--:|--:|\n");
    for (place, row) in rows.iter().enumerate() {
        let is_slow = results.iter().any(|it| it.row == place && it.outcome.too_slow().is_some());
        let mark = match row.impolite {
            Some(_) => " *",
            None if is_slow => " †",
            None => "",
        };
        let _ = write!(text, "| {} | {}{mark} |", row.envoy, row.name);
        let mut seconds = 0.0;
        for Result { mode, outcome, .. } in results.iter().filter(|result| result.row == place) {
            let bold = if *mode == Mode::Drainit { "**" } else { "" };
            let _ = write!(text, " {bold}{}{bold} |", outcome.lost());
            seconds = outcome.stop.as_secs_f64();
        }
        let _ = writeln!(text, " {seconds:.1} |");
    }
}

/// Returns the rows in which clients cannot be notified in time, and drainit's report on each.
fn notes(text: &mut String, rows: &[Row], results: &[Result]) {
    if results.iter().any(|result| result.outcome.too_slow().is_some()) {
        text.push_str(
            "\n† The machine was too busy for this rate: the table below says by how much.\n",
        );
    }
    text.push_str("\n\\* Here the close cannot be announced in time; drainit waits for its whole `time`, and its report counts what it cut:\n");
    for result in results.iter().filter(|result| result.mode == Mode::Drainit) {
        let Some(why) = rows[result.row].impolite else { continue };
        let _ = writeln!(text, "\n- {}: {why}.", rows[result.row].name);
        for line in result.outcome.lines.iter().filter(|(_, line)| line.contains("drain envoy: ")) {
            let said = line.1.split_once("drain envoy: ").map_or("", |(_, said)| said);
            let _ = writeln!(text, "  `drain envoy: {said}`");
        }
    }
}
