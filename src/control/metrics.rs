//! `/metrics`: the status in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;
use std::time::Duration;

use crate::control::measures::Measures;
use crate::control::status::{ContainerPhase, Part, ProcessState, ProcessStatus, Status};
use crate::types::EndKind;

pub(crate) fn render(status: &Status, measures: &Measures) -> String {
    let mut text = Metrics(String::new());
    text.family("drainit_info", "gauge", "The version of drainit.");
    text.sample("drainit_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("drainit_build_info", "gauge", "How drainit was built.");
    let tools = if cfg!(feature = "tools") { "true" } else { "false" };
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("arch", std::env::consts::ARCH),
        ("tools", tools),
    ];
    text.sample("drainit_build_info", &labels, 1);
    text.family("drainit_ready", "gauge", "1 while /readyz answers 200.");
    text.sample("drainit_ready", &[], status.ready);
    text.family("drainit_shutting_down", "gauge", "1 from the beginning of the shutdown.");
    // A drain on request stops nothing.
    let shutdown = status.shutdown.as_ref().filter(|shutdown| !shutdown.is_held);
    text.sample("drainit_shutting_down", &[], shutdown.is_some());
    if let Some(deadline_in) = shutdown.and_then(|shutdown| shutdown.deadline_in) {
        const NAME: &str = "drainit_shutdown_deadline_seconds";
        text.family(NAME, "gauge", "Time left for the shutdown.");
        text.sample(NAME, &[], deadline_in.as_secs_f64());
    }
    container(&mut text, measures);

    text.family("drainit_process_up", "gauge", "1 while the process runs.");
    for process in status.current() {
        let up = process.pid.is_some();
        text.sample("drainit_process_up", &[("process", &process.name)], up);
    }
    const RESTARTS: &str = "drainit_process_restarts_total";
    text.family(RESTARTS, "counter", "Restarts of the process.");
    for process in status.current() {
        text.sample(RESTARTS, &[("process", &process.name)], process.restarts);
    }
    text.family("drainit_process_state", "gauge", "1 for the current state of the process.");
    for process in status.current() {
        for state in ProcessState::ALL {
            let labels = [("process", process.name.as_str()), ("state", state.name())];
            text.sample("drainit_process_state", &labels, process.state == state);
        }
    }
    processes(&mut text, status, measures);
    drains(&mut text, status, measures);
    text.0
}

fn container(text: &mut Metrics, measures: &Measures) {
    text.family("drainit_phase", "gauge", "1 for the current phase of the container.");
    for phase in ContainerPhase::ALL {
        let is_current = measures.phase == Some(phase);
        text.sample("drainit_phase", &[("phase", phase.name())], is_current);
    }
    text.family("drainit_phase_seconds", "gauge", "Time in each phase until now.");
    for (phase, lasted) in &measures.phases {
        text.sample("drainit_phase_seconds", &[("phase", phase.name())], *lasted);
    }
    const LINES: &str = "drainit_dropped_log_lines_total";
    text.family(LINES, "counter", "Lines of output that were dropped because nobody read it.");
    for (stream, dropped) in &measures.dropped_lines {
        text.sample(LINES, &[("stream", stream.name())], *dropped);
    }
    if let Some(dropped) = measures.dropped_events {
        const EVENTS: &str = "drainit_dropped_events_total";
        text.family(EVENTS, "counter", "Events that could not be written to logging.events.");
        text.sample(EVENTS, &[], dropped);
    }
    const ORPHANS: &str = "drainit_reaped_orphans_total";
    text.family(ORPHANS, "counter", "Ended processes that drainit had not started itself.");
    text.sample(ORPHANS, &[], measures.reaped_orphans);
}

fn processes(text: &mut Metrics, status: &Status, measures: &Measures) {
    let both = || status.current().zip(&measures.processes);
    const INSTANCES: &str = "drainit_process_instances";
    text.family(INSTANCES, "gauge", "Running instances: 2 while one replaces another.");
    for process in status.current() {
        let is_same = |other: &&ProcessStatus| other.identity == process.identity;
        let instances = status.processes.iter().filter(is_same).filter(|one| one.pid.is_some());
        text.sample(INSTANCES, &[("process", &process.name)], instances.count() as u64);
    }
    const EPOCH: &str = "drainit_process_epoch";
    if status.current().any(|process| process.epoch.is_some()) {
        text.family(EPOCH, "gauge", "The number of an Envoy's start in its hot restarts.");
        // An old or new slot without a process is about to be free, or not started yet.
        let shown =
            status.processes.iter().filter(|one| one.part == Part::Current || one.pid.is_some());
        for (process, epoch) in shown.filter_map(|one| Some((one, one.epoch?))) {
            let labels = [("process", &*process.name), ("role", process.part.name())];
            text.sample(EPOCH, &labels, u64::from(epoch));
        }
    }
    const CODE: &str = "drainit_process_last_exit_code";
    text.family(CODE, "gauge", "Exit code of the last end, 128 + the signal after a signal.");
    for (process, of) in both() {
        if let Some(code) = of.last_exit_code {
            text.sample(CODE, &[("process", &process.name)], u32::from(code));
        }
    }
    const ENDS: &str = "drainit_process_ends_total";
    text.family(ENDS, "counter", "Ends of the process.");
    for (process, of) in both() {
        for (kind, count) in EndKind::ALL.iter().zip(of.ends) {
            text.sample(ENDS, &[("process", &process.name), ("reason", kind.name())], count);
        }
    }
    const FAILURES: &str = "drainit_process_probe_failures_total";
    text.family(FAILURES, "counter", "Failed attempts of a probe; some are usual in a start.");
    for (process, of) in both() {
        let probes = [("readiness", of.readiness_failures), ("liveness", of.liveness_failures)];
        for (probe, count) in probes {
            if let Some(count) = count {
                text.sample(FAILURES, &[("process", &process.name), ("probe", probe)], count);
            }
        }
    }
    const START: &str = "drainit_process_start_duration_seconds";
    text.family(START, "gauge", "Time from the last start until it was ready or complete.");
    for (process, of) in both() {
        if let Some(took) = of.start {
            text.sample(START, &[("process", &process.name)], took);
        }
    }
}

fn drains(text: &mut Metrics, status: &Status, measures: &Measures) {
    let both = || {
        let all = status.current().zip(&measures.processes);
        all.filter_map(|(process, of)| Some((process.name.as_str(), of.drain.as_ref()?)))
    };
    const OVER: &str = "drainit_process_drains_total";
    text.family(OVER, "counter", "Drains that are over, by the reason why they are.");
    for (process, drain) in both() {
        for (reason, count) in &drain.over {
            text.sample(OVER, &[("process", process), ("reason", reason)], *count);
        }
    }
    let last = || both().filter_map(|(process, drain)| Some((process, drain.last?)));
    const CONNECTIONS: &str = "drainit_drain_connections_active";
    text.family(CONNECTIONS, "gauge", "Open connections of a drained process, as last polled.");
    for (process, drain) in last() {
        text.optional(CONNECTIONS, process, drain.connections);
    }
    const REQUESTS: &str = "drainit_drain_requests_active";
    text.family(REQUESTS, "gauge", "Requests in flight in a drained process, as last polled.");
    for (process, drain) in last() {
        text.optional(REQUESTS, process, drain.requests);
    }
    const ELAPSED: &str = "drainit_drain_duration_seconds";
    text.family(ELAPSED, "gauge", "Time since the drain began, at most until it was over.");
    for (process, drain) in last() {
        text.sample(ELAPSED, &[("process", process)], drain.elapsed);
    }
    const LEFT: &str = "drainit_drain_left_seconds";
    text.family(LEFT, "gauge", "Time until the longest wait is over; 0 once the drain is over.");
    for (process, drain) in last() {
        text.sample(LEFT, &[("process", process)], drain.left);
    }
}

/// The value of a sample.
trait Value {
    fn value(self) -> f64;
}

impl Value for bool {
    fn value(self) -> f64 {
        f64::from(self)
    }
}

impl Value for u32 {
    fn value(self) -> f64 {
        f64::from(self)
    }
}

impl Value for i32 {
    fn value(self) -> f64 {
        f64::from(self)
    }
}

impl Value for f64 {
    fn value(self) -> f64 {
        self
    }
}

impl Value for Duration {
    fn value(self) -> f64 {
        self.as_secs_f64()
    }
}

impl Value for u64 {
    /// Prometheus keeps a sample as `f64`, too: exact up to 2^53.
    #[allow(clippy::cast_precision_loss)]
    fn value(self) -> f64 {
        self as f64
    }
}

struct Metrics(String);

impl Metrics {
    // Writing into a String cannot fail, so the results below are ignored.

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Value) {
        self.0.push_str(name);
        for (place, (label, content)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            self.escaped(content);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", value.value());
    }

    /// A sample of a process, unless its value is unknown.
    fn optional(&mut self, name: &str, process: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.sample(name, &[("process", process)], value);
        }
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
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::measures::{DrainMeasures, LastDrain, ProcessMeasures};
    use crate::control::status::{ShutdownStatus, example};
    use crate::core::note::DrainEnd;
    use crate::types::{ProcessId, Stream};

    fn nothing(process: u16) -> ProcessMeasures {
        ProcessMeasures {
            process: ProcessId(process),
            is_replaced: false,
            last_exit_code: None,
            ends: Default::default(),
            readiness_failures: None,
            liveness_failures: None,
            start: None,
            drain: None,
        }
    }

    /// The measures of [`example`], with every metric.
    fn measured() -> Measures {
        let drain = DrainMeasures {
            over: DrainEnd::ALL
                .iter()
                .map(|why| (why.name(), u64::from(*why == DrainEnd::Quiet)))
                .collect(),
            last: Some(LastDrain {
                connections: Some(3),
                requests: Some(1),
                elapsed: Duration::from_millis(1500),
                left: Duration::from_secs(8),
            }),
        };
        let router = ProcessMeasures {
            process: ProcessId(1),
            is_replaced: false,
            last_exit_code: Some(137),
            ends: [0, 0, 0, 2, 0],
            readiness_failures: Some(4),
            liveness_failures: Some(1),
            start: Some(Duration::from_millis(250)),
            drain: Some(drain),
        };
        Measures {
            phase: Some(ContainerPhase::Draining),
            phases: vec![(ContainerPhase::Starting, Duration::from_secs(2))],
            dropped_lines: vec![(Stream::Stdout, 7), (Stream::Stderr, 0)],
            dropped_events: Some(5),
            reaped_orphans: 9,
            processes: vec![nothing(0), router, nothing(2)],
        }
    }

    #[test]
    fn counts_and_drains_have_metrics() {
        let text = render(&example(), &measured());
        for line in [
            "drainit_phase{phase=\"draining\"} 1",
            "drainit_phase{phase=\"running\"} 0",
            "drainit_phase_seconds{phase=\"starting\"} 2",
            "drainit_dropped_log_lines_total{stream=\"stdout\"} 7",
            "drainit_dropped_events_total 5",
            "drainit_reaped_orphans_total 9",
            "drainit_process_last_exit_code{process=\"router\"} 137",
            "drainit_process_ends_total{process=\"router\",reason=\"killed\"} 2",
            "drainit_process_ends_total{process=\"migrate\",reason=\"oom_killed\"} 0",
            "drainit_process_probe_failures_total{process=\"router\",probe=\"readiness\"} 4",
            "drainit_process_probe_failures_total{process=\"router\",probe=\"liveness\"} 1",
            "drainit_process_start_duration_seconds{process=\"router\"} 0.25",
            "drainit_process_drains_total{process=\"router\",reason=\"quiet\"} 1",
            "drainit_process_drains_total{process=\"router\",reason=\"deadline\"} 0",
            "drainit_drain_connections_active{process=\"router\"} 3",
            "drainit_drain_requests_active{process=\"router\"} 1",
            "drainit_drain_duration_seconds{process=\"router\"} 1.5",
            "drainit_drain_left_seconds{process=\"router\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        // An unknown value is left out: 0 would be wrong.
        for absent in ["last_exit_code{process=\"migrate\"}", "drains_total{process=\"migrate\""] {
            assert!(!text.contains(absent), "{text}");
        }
    }

    #[test]
    fn each_epoch_of_a_process_has_a_sample() {
        let mut status = example();
        let router = status.processes.iter().position(|one| one.name == "router").unwrap();
        let epochs = |status: &Status| {
            let text = render(status, &measured());
            let lines = text.lines().filter(|line| line.starts_with("drainit_process_epoch{"));
            lines
                .map(|line| line["drainit_process_epoch{process=\"router\",".len()..].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(epochs(&status), ["role=\"current\"} 2"]);
        let new =
            ProcessStatus { part: Part::New, epoch: Some(3), ..status.processes[router].clone() };
        status.processes.insert(router + 1, new);
        assert_eq!(epochs(&status), ["role=\"current\"} 2", "role=\"new\"} 3"]);
        let old =
            ProcessStatus { part: Part::Old, epoch: Some(1), ..status.processes[router].clone() };
        status.processes[router + 1] = old;
        assert_eq!(epochs(&status), ["role=\"current\"} 2", "role=\"old\"} 1"]);
        status.processes[router + 1].pid = None;
        assert_eq!(epochs(&status), ["role=\"current\"} 2"], "it has ended");
    }

    #[test]
    fn every_metric_is_documented_with_its_type() {
        let mut status = example();
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::from_secs(1),
            deadline_in: Some(Duration::from_secs(26)),
            is_held: false,
        });
        let text = render(&status, &measured());
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
    fn the_container_and_every_process_have_metrics() {
        let text = render(&example(), &measured());
        for line in [
            "# TYPE drainit_process_restarts_total counter",
            "drainit_ready 1",
            "drainit_shutting_down 0",
            "drainit_process_up{process=\"router\"} 1",
            "drainit_process_up{process=\"migrate\"} 0",
            "drainit_process_restarts_total{process=\"policy-engine\"} 2",
            "drainit_process_state{process=\"migrate\",state=\"done\"} 1",
            "drainit_process_state{process=\"migrate\",state=\"ready\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("drainit_shutdown_deadline"));
    }

    #[test]
    fn a_shutdown_shows_the_time_left() {
        let mut status = example();
        status.ready = false;
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::from_secs(1),
            deadline_in: Some(Duration::from_millis(26_500)),
            is_held: false,
        });
        let text = render(&status, &measured());
        for line in
            ["drainit_ready 0", "drainit_shutting_down 1", "drainit_shutdown_deadline_seconds 26.5"]
        {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn names_are_escaped_and_families_are_not_torn_apart() {
        let mut status = example();
        status.processes[0].name = "a\"b\\c\nd".to_owned();
        let text = render(&status, &measured());
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
