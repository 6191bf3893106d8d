//! The status.

use super::*;

impl Play {
    pub(super) fn check_status(&mut self, shown: &Value) {
        let now = self.now;
        let since = |from: Time| in_seconds(now.since(from));
        let record = &mut self.record;
        assert_eq!(shown["uptime_seconds"].as_f64(), Some(since(record.began)));
        let startup = record.all_ready.map(|at| in_seconds(at.since(record.began)));
        assert_eq!(shown["startup"]["seconds"].as_f64(), startup, "the time of the start");
        let shutdown = &shown["shutdown"];
        let known = record.shutdown.as_ref();
        assert_eq!(shutdown["elapsed_seconds"].as_f64(), record.elapsed_from.map(since));
        assert_eq!(shutdown["cause"].as_str(), known.map(|(_, _, cause, _)| cause.as_str()));
        if let Some((_, deadline, ..)) = known.filter(|(.., is_held)| !is_held) {
            let left = in_seconds(deadline.since(now));
            assert_eq!(shutdown["deadline_in_seconds"].as_f64(), Some(left), "the deadline");
        }
        let machine = self.processes.machine();
        let mut rows: Vec<_> = shown["processes"].as_array().unwrap().iter().collect();
        let expected: Vec<_> = record
            .slots
            .iter_mut()
            .filter(|(id, _)| machine.state().role(**id) != Role::Retired)
            .collect();
        assert_eq!(rows.len(), expected.len(), "{shown}");
        for (id, slot) in expected {
            let role = machine.state().role(*id);
            let place = rows.iter().position(|row| {
                let part = (row["replaces"] == true, row["replaced"] == true);
                row["name"] == slot.name
                    && part == (matches!(role, Role::New { .. }), role == Role::Leaving)
            });
            let row = rows.remove(place.unwrap_or_else(|| panic!("no row of {slot:?}")));
            let name = &slot.name;
            let state =
                ProcessState::ALL.into_iter().find(|one| row["state"] == one.name()).unwrap();
            let is_up = [ProcessState::Starting, ProcessState::Ready, ProcessState::Draining]
                .contains(&state);
            match slot.state {
                Some(known) if slot.pid.is_some() => {
                    assert_eq!(state, known, "the state of {name}")
                }
                _ => assert!(!is_up, "{name} does not run, and is {state:?}"),
            }
            if let Some(Note::Ended { next, .. } | Note::Failed { next, .. }) = slot.verdict
                && matches!(next, AfterEnd::GivesUp | AfterEnd::StaysDown)
                && machine.state().life(*id) == Lifecycle::Done
            {
                assert_eq!(state, ProcessState::Failed, "{name} has failed");
            }
            if slot.shown.is_none_or(|(shown, _)| shown != state) {
                slot.shown = Some((state, now));
            }
            let after = |at: Option<Time>| at.map(|at| in_seconds(at.since(record.began)));
            let counts = &record.of[name];
            let known = [
                ("pid", json!(slot.pid)),
                ("ready", json!(state == ProcessState::Ready)),
                ("since_seconds", json!(since(slot.shown.unwrap().1))),
                ("started_after_seconds", json!(after(slot.first_start))),
                ("ready_after_seconds", json!(after(slot.first_ready))),
                ("last_exit", json!(slot.last_end.map(|end| end.to_string()))),
                ("last_exit_asked", json!(slot.is_last_asked.then_some(true))),
                ("warnings", json!(slot.warnings.as_deref())),
                ("restarts", json!(counts.restarts)),
                ("probe_failures", json!(counts.liveness_failures)),
            ];
            // The last two values are counts of the process. Only the row of its current instance
            // has them.
            let count = if role == Role::Current { known.len() } else { known.len() - 2 };
            for (key, known) in &known[..count] {
                assert_eq!(row[key], *known, "`{key}` of {name} in {row}");
            }
            let message = row["message"].as_str().unwrap_or_default();
            let why = message.strip_prefix("liveness: ").unwrap_or(message);
            let told_by = why.strip_prefix("told by ");
            if let Some(pid) = told_by.and_then(|rest| rest.split(';').next()) {
                assert_eq!(Some(pid), slot.pid.map(|pid| pid.to_string()).as_deref(), "{row}");
            }
            let (is_last, runs) = (record.of[name].drained == Some(*id), slot.pid.is_some());
            let is_held = record.shutdown.as_ref().is_some_and(|(.., is_held)| *is_held);
            let is_told = |one: &&DrainRecord| is_last && (runs || is_held && !one.is_past);
            let drain = slot.drain.as_ref().filter(is_told);
            assert_eq!(row["drain"].is_object(), drain.is_some(), "whether {name} has a drain");
            // A process that has ended has no connections any more.
            let drain = drain.filter(|_| runs).cloned().unwrap_or_default();
            let counts = [("connections", drain.connections), ("requests", drain.requests)];
            for (key, known) in counts {
                assert_eq!(row["drain"][key].as_u64(), known, "the {key} of {name} in {row}");
            }
        }
    }
}
