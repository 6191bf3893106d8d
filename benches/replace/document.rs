//! The results in `docs/measured/replace.md`: the table, and the picture.

use std::fmt::Write;
use std::time::Duration;

use benches::bars::{Column, Picture};
use benches::result::head;
use testkit::envoy;

use crate::cell::{Cell, Outcome, Traffic};
use crate::mode::Mode;

/// Returns the results as Markdown, and says which ways were not measured, and why.
pub(crate) fn markdown(outcomes: &[Outcome], missing: &[(Mode, String)], took: Duration) -> String {
    let mut text = head(&[envoy::DEFAULT], took);
    for (mode, why) in missing {
        let _ = writeln!(text, "Not measured: {} ({why}).\n", mode.name());
    }
    let clean = Mode::ALL.into_iter().filter(|mode| mode.is_clean()).map(Mode::name);
    let promised = || outcomes.iter().filter(|outcome| outcome.cell.mode.is_clean());
    let _ = writeln!(
        text,
        "The columns in which drainit promises to lose nothing ({}): {} requests, {} replacements, \
         **{} lost**.\n",
        clean.collect::<Vec<_>>().join("; "),
        promised().map(Outcome::requests).sum::<u64>(),
        promised().map(|outcome| u64::from(outcome.replacements)).sum::<u64>(),
        promised().map(Outcome::lost).sum::<u64>()
    );
    let modes = measured(outcomes);
    text.push_str("Each cell shows the failed and the refused requests (failed/refused), and the time of the slowest answer in seconds:\n\n| traffic |");
    for mode in &modes {
        let _ = write!(text, " {} |", mode.name());
    }
    let _ = writeln!(text, "\n|---|{}", "--:|".repeat(modes.len()));
    for traffic in Traffic::all() {
        let _ = write!(text, "| {traffic} |");
        for mode in &modes {
            let Some(outcome) = find(outcomes, *mode, traffic) else {
                text.push_str(" |");
                continue;
            };
            let bold = if mode.is_clean() { "**" } else { "" };
            let (failed, refused) = (outcome.failed(), outcome.refused);
            let slowest = outcome.report.slowest.as_secs_f64();
            let _ = write!(text, " {bold}{failed}/{refused}{bold}, {slowest:.2} |");
        }
        text.push('\n');
    }
    text
}

/// Returns the modes that were measured, in the order of the table.
fn measured(outcomes: &[Outcome]) -> Vec<Mode> {
    let is_there = |mode: &Mode| outcomes.iter().any(|outcome| outcome.cell.mode == *mode);
    Mode::ALL.into_iter().filter(is_there).collect()
}

fn find(outcomes: &[Outcome], mode: Mode, traffic: Traffic) -> Option<&Outcome> {
    outcomes.iter().find(|outcome| outcome.cell == Cell { mode, traffic })
}

/// Returns a picture of all cells: the losses of each way for every kind of traffic.
pub(crate) fn picture(outcomes: &[Outcome]) -> Picture {
    let modes = measured(outcomes);
    let row = |traffic: Traffic| {
        let lost = |mode: &Mode| find(outcomes, *mode, traffic).map(Outcome::lost);
        (traffic.to_string(), modes.iter().map(lost).collect())
    };
    Picture {
        title: "Requests lost while a process is replaced, by kind of traffic and by what replaces it",
        heading: ["Requests lost", "failed and refused, logarithmic,", "in two restarts or more"]
            .map(str::to_owned),
        widths: (200.0, 112.0),
        columns: modes.iter().map(|mode| column(*mode)).collect(),
        rows: Traffic::all().map(row).collect(),
    }
}

fn column(mode: Mode) -> Column {
    let (name, what, colour) = match mode {
        Mode::StopFirst => ("stop-first", "the default", "#c9a227"),
        Mode::Listen => ("listen", "held sockets", "#1f9d72"),
        Mode::StartFirst => ("start-first", "held sockets", "#1f9d72"),
        Mode::Supervisor => ("supervisorctl", "restart", "#d64550"),
        Mode::Docker => ("docker", "restart", "#d64550"),
        Mode::S6 => ("s6-svc", "-r", "#d64550"),
        Mode::EnvoyStopFirst => ("stop-first", "Envoy", "#c9a227"),
        Mode::HotRestart => ("hot-restart", "Envoy", "#1f9d72"),
        Mode::HotRestarter => ("restarter.py", "Envoy's own", "#737b85"),
    };
    let is_drainit = mode.is_drainit();
    let below = [what, if is_drainit { "drainit" } else { "" }].map(str::to_owned);
    Column { name, below, colour, is_drainit }
}
