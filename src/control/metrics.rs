//! `/metrics`: the status in the text format of Prometheus, version 0.0.4.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::iter::once;

use crate::control::status::{ProcessStatus, Status, TrafficStatus};
use crate::core::note::DrainEnd;
use crate::journal::state::{ContainerPhase, Part, ProcessState};
use crate::types::EndKind;

pub(crate) fn render(status: &Status) -> String {
    let mut text = Metrics { status, text: String::new() };
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)];
    text.family("drainit_build_info", "How drainit was built.", once((labels, 1)));
    text.value("drainit_ready", "1 while /readyz answers 200.", u8::from(status.ready));
    // A drain that was requested without a stop is not a shutdown.
    let shutdown = status.shutdown.as_ref().filter(|shutdown| !shutdown.is_held);
    let help = "1 from the beginning of the shutdown.";
    text.value("drainit_shutting_down", help, u8::from(shutdown.is_some()));
    if let Some(left) = shutdown.and_then(|shutdown| shutdown.deadline_in) {
        let help = "Time left for the shutdown.";
        text.value("drainit_shutdown_deadline_seconds", help, left.as_secs_f64());
    }
    container(&mut text, status);

    let help = "1 while the process runs.";
    text.each("drainit_process_up", help, |it| Some(u8::from(it.start.pid.is_some())));
    text.each("drainit_process_restarts_total", "Restarts of the process.", |it| Some(it.restarts));
    let help = "1 for the current state of the process.";
    text.split("drainit_process_state", help, "state", |it| {
        ProcessState::ALL.map(|state| (state.name(), u8::from(it.state == state)))
    });
    processes(&mut text, status);
    drains(&mut text);
    text.text
}

fn container(text: &mut Metrics<'_>, status: &Status) {
    let help = "1 for the current phase of the container.";
    let phases = ContainerPhase::ALL.into_iter();
    let phases = phases.map(|phase| ([("phase", phase.name())], u8::from(status.phase == phase)));
    text.family("drainit_phase", help, phases);
    let lasted = status.phases.iter();
    let lasted = lasted.map(|(phase, lasted)| ([("phase", phase.name())], lasted.as_secs_f64()));
    text.family("drainit_phase_seconds", "Time in each phase until now.", lasted);
    let help =
        "Lines of output that were dropped, because nobody read them or they could not be written.";
    let dropped = status.dropped_lines.iter();
    let dropped = dropped.map(|(stream, dropped)| ([("stream", &**stream)], dropped));
    text.family("drainit_dropped_log_lines_total", help, dropped);
    let help = "Ended processes that drainit had not started itself, and reaped.";
    text.value("drainit_reaped_orphans_total", help, status.reaped_orphans);
}

fn processes(text: &mut Metrics<'_>, status: &Status) {
    let mut running: BTreeMap<&str, u32> = BTreeMap::new();
    for process in &status.processes {
        *running.entry(&process.name).or_default() += u32::from(process.start.pid.is_some());
    }
    let help = "Running instances: 2 while one replaces another.";
    text.each("drainit_process_instances", help, |it| running.get(&*it.name));
    if status.current().any(|process| process.start.epoch.is_some()) {
        // An old or new instance without a pid gets no sample. An old instance without a pid has
        // ended and is about to be removed from the status. A new instance without a pid is not
        // started yet.
        let shown = status
            .processes
            .iter()
            .filter(|one| one.part() == Part::Current || one.start.pid.is_some());
        let epochs = shown.filter_map(|process| {
            Some((
                [("process", &*process.name), ("role", process.part().name())],
                process.start.epoch?,
            ))
        });
        text.family("drainit_process_epoch", "The restart epoch of an Envoy.", epochs);
    }
    let help = "Exit code of the last end, 128 + the signal after a signal.";
    text.each("drainit_process_last_exit_code", help, |it| it.inner.tally.last_exit_code);
    text.split("drainit_process_ends_total", "Ends of the process, by reason.", "reason", |it| {
        EndKind::NAMES.into_iter().zip(it.inner.tally.ends)
    });
    let help = "Failed attempts of a probe; some are normal during a start.";
    text.split("drainit_process_probe_failures_total", help, "probe", |it| {
        let liveness = it.inner.has_liveness.then_some(it.probe_failures);
        let both = [("readiness", it.inner.tally.readiness_failures), ("liveness", liveness)];
        both.into_iter().filter_map(|(probe, failures)| Some((probe, failures?)))
    });
    let help = "Time from the last start until it was ready or complete.";
    text.each("drainit_process_start_duration_seconds", help, |it| {
        Some(it.inner.tally.start?.as_secs_f64())
    });
}

fn drains(text: &mut Metrics<'_>) {
    let help = "Reasons why the drain of a ready process will not work as it should.";
    text.each("drainit_process_drain_warnings", help, |it| {
        Some(it.inner.drain_warnings.as_ref()?.len())
    });
    text.split("drainit_process_drains_total", "Completed drains, by reason.", "reason", |it| {
        DrainEnd::NAMES.into_iter().zip(it.inner.tally.drains).filter(move |_| it.inner.has_drain)
    });
    let help = "Open connections of a drained or stopped process, as last counted.";
    text.each("drainit_drain_connections_active", help, traffic(|it| it.connections));
    let help = "Requests that may be in flight in such a process, as last counted.";
    text.each("drainit_drain_requests_active", help, traffic(|it| it.requests));
    let help = "Those of which the kernel cannot tell whether they are in flight.";
    text.each("drainit_drain_requests_unsure", help, traffic(|it| it.unsure));
    let help = "Requests that the stop has cut.";
    text.each("drainit_drain_requests_cut", help, traffic(|it| it.cut));
    let help = "Clients that have left before the stop, without an answer to their last data.";
    text.each("drainit_drain_requests_left", help, traffic(|it| it.left));
    let help = "Time since the drain began, or the whole time of a completed drain.";
    text.each("drainit_drain_duration_seconds", help, |it| {
        Some(it.inner.last_drain.as_ref()?.elapsed.as_secs_f64())
    });
    let help = "Time that the drain may still take; 0 once it is over.";
    text.each("drainit_drain_left_seconds", help, |it| {
        Some(it.inner.last_drain.as_ref()?.left.as_secs_f64())
    });
}

/// A count of the last drain of a process, or else of its stop.
fn traffic(of: fn(&TrafficStatus) -> Option<u64>) -> impl Fn(&ProcessStatus) -> Option<u64> {
    move |process| {
        let drained = process.inner.last_drain.as_ref().and_then(|drain| of(&drain.traffic));
        drained.or_else(|| of(process.stop.as_ref()?))
    }
}

struct Metrics<'a> {
    status: &'a Status,
    text: String,
}

impl<'a> Metrics<'a> {
    // Writing into a String cannot fail, so the results below are ignored.

    /// Writes a metric with its samples, each with its labels. The name of a counter, and of no
    /// other metric, ends with `_total`.
    fn family<'b, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = ([(&'b str, &'b str); N], impl Display)>,
    ) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            self.text.push_str(name);
            for (place, (label, content)) in labels.iter().enumerate() {
                let before = if place == 0 { '{' } else { ',' };
                let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(content));
            }
            let end = if labels.is_empty() { "" } else { "}" };
            let _ = writeln!(self.text, "{end} {value}");
        }
    }

    /// Writes a metric with one sample and no label.
    fn value(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, once(([], value)));
    }

    /// Writes a metric with one sample for each process for which `of` returns a value.
    fn each<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&'a ProcessStatus) -> Option<V>,
    ) {
        let values = self.status.current();
        let values = values.filter_map(|it| Some(([("process", &*it.name)], of(it)?)));
        self.family(name, help, values);
    }

    /// Writes a metric with several samples for each process. `of` returns the samples of a process,
    /// each with the content of its second label.
    fn split<V: Display, S: IntoIterator<Item = (&'static str, V)>>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        of: impl Fn(&'a ProcessStatus) -> S,
    ) {
        let samples = self.status.current().flat_map(|it| {
            let named = move |(one, value)| ([("process", &*it.name), (label, one)], value);
            of(it).into_iter().map(named)
        });
        self.family(name, help, samples);
    }
}

fn escaped(content: &str) -> Cow<'_, str> {
    match content.contains(['\\', '"', '\n']) {
        true => content.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n").into(),
        false => content.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::control::status::{DrainStatus, example, shutdown_of};
    use crate::journal::history::StartHistory;

    /// [`example`] with a value for every metric.
    fn measured() -> Status {
        let mut status = example();
        status.phase = ContainerPhase::Draining;
        status.phases = vec![(ContainerPhase::Starting, Duration::from_secs(2))];
        status.dropped_lines = vec![("stdout".to_owned(), 7), ("/log/\"a\"".to_owned(), 0)];
        status.reaped_orphans = 9;
        let router = &mut status.processes[1];
        router.probe_failures = 1;
        let inner = &mut router.inner;
        (inner.has_drain, inner.has_liveness) = (true, true);
        let [connections, requests, unsure, cut] = [3, 1, 0, 1].map(Some);
        let traffic = TrafficStatus { connections, requests, unsure, cut, left: None };
        inner.last_drain = Some(DrainStatus {
            traffic,
            elapsed: Duration::from_millis(1500),
            over: None,
            left: Duration::from_secs(8),
        });
        let tally = &mut inner.tally;
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
            let start = StartHistory { epoch, pid, ..StartHistory::default() };
            let other = ProcessStatus { replaces, replaced, start, ..router };
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
        let (cut, left) = (Some(2), Some(3));
        let traffic = |requests| TrafficStatus { requests, cut, left, ..Default::default() };
        status.processes[1].stop = Some(traffic(Some(9)));
        status.processes[0].stop = Some(traffic(Some(4)));
        status.processes[0].inner.last_drain = Some(DrainStatus::default());
        let text = render(&status);
        for line in [
            "active{process=\"policy-engine\"} 4",
            "active{process=\"router\"} 1",
            "cut{process=\"policy-engine\"} 2",
            "left{process=\"policy-engine\"} 3",
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
