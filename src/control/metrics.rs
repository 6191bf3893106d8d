//! `/metrics`: the status in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use crate::control::status::{ProcessState, Status};

pub(crate) fn render(status: &Status) -> String {
    let mut text = Metrics(String::new());
    text.family("drainit_info", "gauge", "The version of drainit.");
    text.sample("drainit_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("drainit_ready", "gauge", "1 while /readyz answers 200.");
    text.sample("drainit_ready", &[], status.ready);
    text.family("drainit_shutting_down", "gauge", "1 from the beginning of the shutdown.");
    text.sample("drainit_shutting_down", &[], status.shutdown.is_some());
    if let Some(shutdown) = &status.shutdown {
        const NAME: &str = "drainit_shutdown_deadline_seconds";
        text.family(NAME, "gauge", "Time left for the shutdown.");
        text.sample(NAME, &[], shutdown.deadline_in.as_secs_f64());
    }

    text.family("drainit_process_up", "gauge", "1 while the process runs.");
    for process in &status.processes {
        let up = process.pid.is_some();
        text.sample("drainit_process_up", &[("process", &process.name)], up);
    }
    const RESTARTS: &str = "drainit_process_restarts_total";
    text.family(RESTARTS, "counter", "Restarts of the process.");
    for process in &status.processes {
        text.sample(RESTARTS, &[("process", &process.name)], process.restarts);
    }
    text.family("drainit_process_state", "gauge", "1 for the current state of the process.");
    for process in &status.processes {
        for state in ProcessState::ALL {
            let labels = [("process", process.name.as_str()), ("state", state.name())];
            text.sample("drainit_process_state", &labels, process.state == state);
        }
    }
    text.0
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
    use std::time::Duration;

    use super::*;
    use crate::control::status::{ShutdownStatus, example};

    #[test]
    fn the_container_and_every_process_have_metrics() {
        let text = render(&example());
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
        assert!(!text.contains("deadline"));
    }

    #[test]
    fn a_shutdown_shows_the_time_left() {
        let mut status = example();
        status.ready = false;
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::from_secs(1),
            deadline_in: Duration::from_millis(26_500),
        });
        let text = render(&status);
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
