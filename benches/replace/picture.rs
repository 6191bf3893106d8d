//! The picture: the losses of each way for every kind of traffic.

use crate::Result;
use crate::bars::{Column, Picture};
use crate::document::{find, measured};
use crate::mode::Mode;
use crate::protocol::{Pace, Protocol};

fn colour(mode: Mode) -> &'static str {
    match mode {
        Mode::Listen | Mode::StartFirst | Mode::HotRestart => "#1f9d72",
        Mode::StopFirst | Mode::EnvoyStopFirst => "#c9a227",
        Mode::HotRestarter => "#737b85",
        Mode::Supervisor | Mode::Docker | Mode::S6 => "#d64550",
    }
}

fn heading(mode: Mode) -> (&'static str, &'static str) {
    match mode {
        Mode::StopFirst => ("stop-first", "the default"),
        Mode::Listen => ("listen", "held sockets"),
        Mode::StartFirst => ("start-first", "held sockets"),
        Mode::Supervisor => ("supervisorctl", "restart"),
        Mode::Docker => ("docker", "restart"),
        Mode::S6 => ("s6-svc", "-r"),
        Mode::EnvoyStopFirst => ("stop-first", "Envoy"),
        Mode::HotRestart => ("hot-restart", "Envoy"),
        Mode::HotRestarter => ("restarter.py", "Envoy's own"),
    }
}

/// Returns an SVG of all cells.
pub(crate) fn svg(results: &[Result]) -> String {
    let modes = measured(results);
    let column = |mode: &Mode| {
        let ((name, what), is_drainit) = (heading(*mode), mode.is_drainit());
        let below = [what, if is_drainit { "drainit" } else { "" }].map(str::to_owned);
        Column { name, below, colour: colour(*mode), is_drainit }
    };
    let rows = Protocol::ALL.into_iter().flat_map(|it| Pace::ALL.map(|pace| (it, pace)));
    let row = |(protocol, pace)| {
        let lost =
            |mode: &Mode| find(results, *mode, protocol, pace).map(|result| result.outcome.lost());
        (format!("{protocol}, {pace}"), modes.iter().map(lost).collect())
    };
    let picture = Picture {
        title: "Requests lost while a process is replaced, by kind of traffic and by what replaces it",
        heading: ["Requests lost", "failed and refused, logarithmic,", "in two restarts or more"]
            .map(str::to_owned),
        widths: (200.0, 112.0),
        columns: modes.iter().map(column).collect(),
        rows: rows.map(row).collect(),
    };
    picture.svg()
}
