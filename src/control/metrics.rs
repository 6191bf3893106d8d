//! `/metrics`: the status in the text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::iter::once;

use crate::control::status::{ProcessStatus, Status, TrafficStatus};
use crate::core::note::DrainEnd;
use crate::journal::state::{ContainerPhase, Part, ProcessState};
use crate::types::EndKind;

pub(crate) fn render(status: &Status) -> String {
    let mut text = Metrics(String::new());
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)];
    let build = once((labels, 1));
    text.family("drainit_build_info", "gauge", "How drainit was built.", build);
    text.value("drainit_ready", "gauge", "1 while /readyz answers 200.", status.ready);
    // A drain that was requested without a stop is not a shutdown.
    let shutdown = status.shutdown.as_ref().filter(|shutdown| !shutdown.is_held);
    let help = "1 from the beginning of the shutdown.";
    text.value("drainit_shutting_down", "gauge", help, shutdown.is_some());
    if let Some(left) = shutdown.and_then(|shutdown| shutdown.deadline_in) {
        let help = "Time left for the shutdown.";
        text.value("drainit_shutdown_deadline_seconds", "gauge", help, left.as_secs_f64());
    }
    container(&mut text, status);

    let up = status.current().map(|process| (process.name.as_str(), process.pid.is_some()));
    text.processes("drainit_process_up", "gauge", "1 while the process runs.", up);
    let restarts = status.current().map(|process| (process.name.as_str(), process.restarts));
    let help = "Restarts of the process.";
    text.processes("drainit_process_restarts_total", "counter", help, restarts);
    let states = status.current().flat_map(|process| {
        ProcessState::ALL.map(|state| {
            let labels = [("process", process.name.as_str()), ("state", state.name())];
            (labels, process.state == state)
        })
    });
    let help = "1 for the current state of the process.";
    text.family("drainit_process_state", "gauge", help, states);
    processes(&mut text, status);
    drains(&mut text, status);
    text.0
}

fn container(text: &mut Metrics, status: &Status) {
    let phases = ContainerPhase::ALL.into_iter();
    let phases = phases.map(|phase| ([("phase", phase.name())], status.phase == phase));
    text.family("drainit_phase", "gauge", "1 for the current phase of the container.", phases);
    let lasted = status.phases.iter();
    let lasted = lasted.map(|(phase, lasted)| ([("phase", phase.name())], lasted.as_secs_f64()));
    text.family("drainit_phase_seconds", "gauge", "Time in each phase until now.", lasted);
    let dropped = status.dropped_lines.iter();
    let dropped = dropped.map(|(stream, dropped)| ([("stream", &**stream)], count(*dropped)));
    let help =
        "Lines of output that were dropped, because nobody read them or they could not be written.";
    text.family("drainit_dropped_log_lines_total", "counter", help, dropped);
    let help = "Ended processes that drainit had not started itself, and reaped.";
    text.value("drainit_reaped_orphans_total", "counter", help, count(status.reaped_orphans));
}

fn processes(text: &mut Metrics, status: &Status) {
    let both = || status.current().map(|process| (process.name.as_str(), &process.tally));
    let mut running: BTreeMap<&str, u32> = BTreeMap::new();
    for process in &status.processes {
        *running.entry(&process.name).or_default() += u32::from(process.pid.is_some());
    }
    let instances = status.current().map(|process| {
        let name = process.name.as_str();
        (name, running.get(name).copied().unwrap_or_default())
    });
    let help = "Running instances: 2 while one replaces another.";
    text.processes("drainit_process_instances", "gauge", help, instances);
    if status.current().any(|process| process.epoch.is_some()) {
        // An old or new instance without a pid gets no sample. An old instance without a pid has
        // ended and is about to be removed from the status. A new instance without a pid is not
        // started yet.
        let shown =
            status.processes.iter().filter(|one| one.part() == Part::Current || one.pid.is_some());
        let epochs = shown.filter_map(|process| {
            Some(([("process", &*process.name), ("role", process.part().name())], process.epoch?))
        });
        text.family("drainit_process_epoch", "gauge", "The restart epoch of an Envoy.", epochs);
    }
    let codes = both().filter_map(|(process, of)| Some((process, of.last_exit_code?)));
    let help = "Exit code of the last end, 128 + the signal after a signal.";
    text.processes("drainit_process_last_exit_code", "gauge", help, codes);
    let ends = both().flat_map(|(process, of)| {
        let ends = EndKind::ALL.iter().zip(of.ends);
        ends.map(move |(kind, ends)| ([("process", process), ("reason", kind.name())], count(ends)))
    });
    text.family("drainit_process_ends_total", "counter", "Ends of the process, by reason.", ends);
    let failures = status.current().flat_map(|process| {
        let readiness = process.tally.readiness_failures;
        let liveness = process.has_liveness.then_some(process.probe_failures);
        let both = [("readiness", readiness), ("liveness", liveness)];
        both.into_iter().filter_map(move |(probe, failures)| {
            Some(([("process", &*process.name), ("probe", probe)], count(failures?)))
        })
    });
    let help = "Failed attempts of a probe; some are normal during a start.";
    text.family("drainit_process_probe_failures_total", "counter", help, failures);
    let starts = both().filter_map(|(process, of)| Some((process, of.start?.as_secs_f64())));
    let help = "Time from the last start until it was ready or complete.";
    text.processes("drainit_process_start_duration_seconds", "gauge", help, starts);
}

fn drains(text: &mut Metrics, status: &Status) {
    let warnings = status.current().filter_map(|process| {
        Some((process.name.as_str(), count(process.drain_warnings.as_ref()?.len() as u64)))
    });
    let help = "Reasons why the drain of a ready process will not work as it should.";
    text.processes("drainit_process_drain_warnings", "gauge", help, warnings);
    let drained = status.current().filter(|process| process.has_drain);
    let over = drained.flat_map(|process| {
        let drains = DrainEnd::ALL.iter().zip(process.tally.drains);
        drains.map(move |(why, over)| {
            ([("process", &*process.name), ("reason", why.name())], count(over))
        })
    });
    text.family("drainit_process_drains_total", "counter", "Completed drains, by reason.", over);
    let last = || {
        status
            .current()
            .filter_map(|process| Some((process.name.as_str(), process.last_drain.as_ref()?)))
    };
    for (name, help, of) in [
        (
            "drainit_drain_connections_active",
            "Open connections of a drained or stopped process, as last counted.",
            (|it| it.connections) as fn(&TrafficStatus) -> Option<u64>,
        ),
        (
            "drainit_drain_requests_active",
            "Requests that may be in flight in such a process, as last counted.",
            |it| it.requests,
        ),
        (
            "drainit_drain_requests_unsure",
            "Those of which the kernel cannot tell whether they are in flight.",
            |it| it.unsure,
        ),
        ("drainit_drain_requests_cut", "Requests that the stop has cut.", |it| it.cut),
    ] {
        let number = |process: &ProcessStatus| {
            let drained = process.last_drain.as_ref().and_then(|drain| of(&drain.traffic));
            drained.or_else(|| of(process.stop.as_ref()?))
        };
        let numbers = status.current();
        let numbers = numbers.filter_map(|it| Some((it.name.as_str(), count(number(it)?))));
        text.processes(name, "gauge", help, numbers);
    }
    let elapsed = last().map(|(process, drain)| (process, drain.elapsed.as_secs_f64()));
    let help = "Time since the drain began, or the whole time of a completed drain.";
    text.processes("drainit_drain_duration_seconds", "gauge", help, elapsed);
    let left = last().map(|(process, drain)| (process, drain.left.as_secs_f64()));
    let help = "Time that the drain may still take; 0 once it is over.";
    text.processes("drainit_drain_left_seconds", "gauge", help, left);
}

/// Converts a count to an `f64`, as Prometheus does. An `f64` is exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn count(number: u64) -> f64 {
    number as f64
}

struct Metrics(String);

impl Metrics {
    // Writing into a String cannot fail, so the results below are ignored.

    /// Writes a metric with its samples, each with its labels.
    fn family<'a, const N: usize, V: Into<f64>>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl Iterator<Item = ([(&'a str, &'a str); N], V)>,
    ) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            self.0.push_str(name);
            for (place, (label, content)) in labels.iter().enumerate() {
                self.0.push(if place == 0 { '{' } else { ',' });
                let _ = write!(self.0, "{label}=\"");
                self.escaped(content);
                self.0.push('"');
            }
            let end = if labels.is_empty() { "" } else { "}" };
            let _ = writeln!(self.0, "{end} {}", value.into());
        }
    }

    /// Writes a metric with one sample and no label.
    fn value(&mut self, name: &str, kind: &str, help: &str, value: impl Into<f64>) {
        self.family(name, kind, help, once(([], value)));
    }

    /// Writes a metric with one sample for each process in `values`.
    fn processes<'a, V: Into<f64>>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl Iterator<Item = (&'a str, V)>,
    ) {
        self.family(name, kind, help, values.map(|(of, value)| ([("process", of)], value)));
    }

    fn escaped(&mut self, content: &str) {
        for character in content.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::control::status::{DrainStatus, example, shutdown_of};

    /// [`example`] with a value for every metric.
    fn measured() -> Status {
        let mut status = example();
        status.phase = ContainerPhase::Draining;
        status.phases = vec![(ContainerPhase::Starting, Duration::from_secs(2))];
        status.dropped_lines = vec![("stdout".to_owned(), 7), ("/log/\"a\"".to_owned(), 0)];
        status.reaped_orphans = 9;
        let router = &mut status.processes[1];
        (router.has_drain, router.has_liveness, router.probe_failures) = (true, true, 1);
        let [connections, requests, unsure, cut] = [3, 1, 0, 1].map(Some);
        let traffic = TrafficStatus { connections, requests, unsure, cut };
        router.last_drain = Some(DrainStatus {
            traffic,
            elapsed: Duration::from_millis(1500),
            over: None,
            left: Duration::from_secs(8),
        });
        let tally = &mut router.tally;
        tally.last_exit_code = Some(137);
        tally.ends = [0, 0, 0, 2, 0];
        tally.readiness_failures = Some(4);
        tally.start = Some(Duration::from_millis(250));
        tally.drains[DrainEnd::Quiet as usize] = 1;
        status
    }

    #[test]
    fn each_epoch_of_a_process_has_a_sample() {
        let epochs = |part, epoch, pid| {
            let mut status = measured();
            let (replaces, replaced) = (part == Part::New, part == Part::Old);
            let router = status.processes[1].clone();
            let other = ProcessStatus { replaces, replaced, epoch, pid, ..router };
            status.processes.insert(2, other);
            let text = render(&status);
            let begin = "drainit_process_epoch{process=\"router\",";
            let lines = text.lines().filter_map(|line| line.strip_prefix(begin));
            lines.collect::<Vec<_>>().join(" ")
        };
        let current = "role=\"current\"} 2";
        assert_eq!(epochs(Part::New, None, Some(7)), current);
        assert_eq!(epochs(Part::New, Some(3), Some(7)), format!("{current} role=\"new\"}} 3"));
        assert_eq!(epochs(Part::Old, Some(1), Some(7)), format!("{current} role=\"old\"}} 1"));
        assert_eq!(epochs(Part::Old, Some(1), None), current, "the old epoch has ended");
    }

    // holds: S470
    #[test]
    fn counts_of_a_stop_stand_in_where_the_drain_has_none() {
        let mut status = measured();
        let traffic = |requests| TrafficStatus { requests, cut: Some(2), ..Default::default() };
        status.processes[1].stop = Some(traffic(Some(9)));
        status.processes[0].stop = Some(traffic(Some(4)));
        status.processes[0].last_drain = Some(DrainStatus::default());
        let text = render(&status);
        for line in [
            "active{process=\"policy-engine\"} 4",
            "active{process=\"router\"} 1",
            "cut{process=\"policy-engine\"} 2",
        ] {
            assert!(text.contains(&format!("drainit_drain_requests_{line}\n")), "{line}: {text}");
        }
    }

    // holds: C98, C104
    #[test]
    fn metrics_and_types_are_documented() {
        let mut status = measured();
        let [elapsed, left] = [1, 26].map(Duration::from_secs);
        status.shutdown = Some(shutdown_of(elapsed, Some(left)));
        let text = render(&status);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let rendered: Vec<_> = types.map(|line| line.split_once(' ').unwrap()).collect();
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `drainit_"));
        let documented: Vec<_> = rows
            .map(|row| {
                let mut cells = row.split(" | ");
                let name = cells.next().unwrap().split(['`', '{']).next().unwrap();
                (format!("drainit_{name}"), cells.next().unwrap().trim().to_owned())
            })
            .collect();
        let documented: BTreeSet<_> =
            documented.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        assert_eq!(rendered.iter().copied().collect::<BTreeSet<_>>(), documented);
    }

    #[test]
    fn names_are_escaped_and_families_are_contiguous() {
        let mut status = measured();
        status.processes[0].name = "a\"b\\c\nd".to_owned();
        let text = render(&status);
        assert!(text.contains("drainit_process_up{process=\"a\\\"b\\\\c\\nd\"} 1\n"), "{text}");
        let mut families = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let family = line.split(['{', ' ']).next().unwrap();
            if families.last() != Some(&family) {
                assert!(!families.contains(&family), "{family} comes twice");
                families.push(family);
            }
        }
    }
}
