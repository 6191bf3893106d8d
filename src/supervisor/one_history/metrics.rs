//! The metrics.

use super::*;

impl Play {
    /// The samples that the metrics must have.
    pub(super) fn metrics(
        &self,
        shown: &Value,
        states: &BTreeMap<String, ProcessState>,
    ) -> BTreeMap<String, f64> {
        let record = &self.record;
        let (now, version) = (self.now, env!("CARGO_PKG_VERSION"));
        let mut all = BTreeMap::new();
        let mut add = |name: String, value: f64| {
            all.insert(format!("drainit_{name}"), value);
        };
        let truth = |holds: bool| f64::from(u8::from(holds));
        let arch = std::env::consts::ARCH;
        add(format!("build_info{{version=\"{version}\",arch=\"{arch}\"}}"), 1.0);
        add("ready".to_owned(), truth(shown["ready"] == true));
        let stop = record.shutdown.as_ref().filter(|(.., is_held)| !is_held);
        add("shutting_down".to_owned(), truth(stop.is_some()));
        if let Some((_, deadline, ..)) = stop {
            add("shutdown_deadline_seconds".to_owned(), deadline.since(now).as_secs_f64());
        }
        for phase in ContainerPhase::ALL {
            let name = phase.name();
            add(format!("phase{{phase=\"{name}\"}}"), truth(shown["phase"] == name));
            let lasted = record.phases.iter().find(|(known, _)| *known == phase);
            let lasted = lasted.map(|(_, lasted)| lasted.as_secs_f64());
            if let Some(lasted) = lasted.or((shown["phase"] == name).then_some(0.0)) {
                add(format!("phase_seconds{{phase=\"{name}\"}}"), lasted);
            }
        }
        let orphans = record.orphans as f64;
        add("reaped_orphans_total".to_owned(), orphans);
        // The record has no dropped lines, so `check` sets their number to the number of the
        // orphans.
        add("dropped_log_lines_total{stream=\"/log/\\\"a\\\"\"}".to_owned(), orphans);
        let machine = self.processes.machine();
        for (name, current) in &record.current {
            let (slot, counts) = (&record.slots[current], &record.of[name]);
            let spec = machine.state().process(*current);
            let mut add = |metric: &str, labels: &str, value: f64| {
                add(format!("{metric}{{process=\"{name}\"{labels}}}"), value);
            };
            let instances =
                record.slots.values().filter(|one| &one.name == name && one.pid.is_some());
            add("process_instances", "", instances.count() as f64);
            add("process_up", "", truth(slot.pid.is_some()));
            for state in ProcessState::ALL {
                let label = format!(",state=\"{}\"", state.name());
                add("process_state", &label, truth(states[name] == state));
            }
            add("process_restarts_total", "", f64::from(counts.restarts));
            for (reason, ends) in EndKind::ALL.iter().zip(counts.ends) {
                add("process_ends_total", &format!(",reason=\"{}\"", reason.name()), ends as f64);
            }
            if let Some(code) = counts.last_code {
                add("process_last_exit_code", "", f64::from(code));
            }
            if let Some(failures) = counts.readiness_failures {
                add("process_probe_failures_total", ",probe=\"readiness\"", failures as f64);
            }
            if spec.liveness_retries.is_some() {
                let failures = counts.liveness_failures as f64;
                add("process_probe_failures_total", ",probe=\"liveness\"", failures);
            }
            if let Some(start) = counts.start {
                add("process_start_duration_seconds", "", start.as_secs_f64());
            }
            if let Some(warnings) = &slot.warnings {
                add("process_drain_warnings", "", warnings.len() as f64);
            }
            for (why, drains) in DrainEnd::ALL.iter().zip(counts.drains) {
                if spec.drain.is_some() {
                    let label = format!(",reason=\"{}\"", why.name());
                    add("process_drains_total", &label, drains as f64);
                }
            }
            if let Some(drain) = record.drain(name) {
                if let Some(connections) = drain.connections {
                    add("drain_connections_active", "", connections as f64);
                }
                if let Some(requests) = drain.requests {
                    add("drain_requests_active", "", requests as f64);
                }
                let end = drain.over.map_or(now, |(at, _)| at);
                add("drain_duration_seconds", "", end.since(drain.began).as_secs_f64());
            }
            for (metric, count) in self.metrics_of_stop(*current) {
                add(metric, "", count as f64);
            }
        }
        all
    }
}
