//! The report.

use super::*;

fn of_restarts(counts: &Counts) -> u64 {
    u64::from(counts.restarts)
}

fn of_ooms(counts: &Counts) -> u64 {
    counts.ends[4]
}

impl Play {
    /// Checks that the report says what the record says.
    pub(super) fn check_report(&self) {
        let (board, record, now) = (&self.processes, &self.record, self.now);
        let (machine, journal) = (board.machine(), &board.journal);
        let exit = self.exit.unwrap();
        let stamp = |at: Time| format!("{:?}", at.0);
        let report = journal.data(now, exit, machine.state(), ProcessId::index, stamp).unwrap();
        let text = journal.text(now, exit);
        let (t0, deadline, cause, _) = record.shutdown.clone().unwrap();
        let span = |from: Time, to: Time| {
            if to >= from { in_seconds(to.since(from)) } else { -in_seconds(from.since(to)) }
        };
        let killed = record.slots.values().filter(|slot| slot.killed_in_shutdown).count();
        for (name, expected) in [
            ("exit_code", json!(exit)),
            ("started", json!(stamp(record.began))),
            ("t0", json!(stamp(t0))),
            ("took", json!(span(t0, now))),
            ("deadline", json!(span(t0, deadline))),
            ("start", json!({"ready": record.all_ready.map(|at| span(record.began, at))})),
            ("killed", json!(killed)),
        ] {
            assert_eq!(report[name], expected, "{name} in {text}");
        }
        assert_eq!(report["cause"]["text"], *cause, "{text}");
        assert_eq!(text.contains("\n  killed: "), killed > 0, "{text}");
        for (what, of) in [("restarts", of_restarts as fn(&Counts) -> u64), ("OOM kills", of_ooms)]
        {
            let counts = record.of.iter().map(|(name, counts)| (name, of(counts)));
            let counts = counts.filter(|(_, count)| *count > 0);
            let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
            let begin = format!("  {what}: ");
            let line = text.lines().find_map(|line| line.strip_prefix(&begin));
            // holds: S850
            assert_eq!(line.unwrap_or_default(), counts.join(", "), "the {what} in {text}");
        }
        let list = |name: &str| report[name].as_array().unwrap();
        let (processes, took) = (list("processes"), span(t0, now));
        let warnings: Vec<_> = list("warnings").iter().map(|line| line.as_str().unwrap()).collect();
        let (all, window) = (human(now.since(t0)), human(deadline.since(t0)));
        let head = format!("stopped in {all} of {window}, exit code {exit}: {cause}");
        assert_eq!(text.lines().next(), Some(head.as_str()), "{text}");
        for kind in ["drain", "stop"] {
            let count = processes.iter().filter(|one| !one[kind].is_null()).count();
            let begin = format!("  {kind} ");
            let is_step = |line: &&str| line.starts_with(&begin) && !warnings.contains(&&line[2..]);
            let lines = text.lines().filter(is_step).count();
            assert_eq!(lines, count, "the lines of each {kind} in {text}");
        }
        let phases = list("phases").iter();
        let phases =
            phases.map(|one| [&one["begins"], &one["ends"]].map(|at| at.as_f64().unwrap()));
        let steps = list("steps").iter();
        let steps = steps.filter_map(|one| Some([one["begins"].as_f64()?, one["ends"].as_f64()?]));
        for [begins, ends] in phases.chain(steps) {
            assert!(begins <= ends && ends <= took, "{begins} to {ends} in {text}");
        }
        assert!(warnings.iter().all(|line| text.contains(line)), "{warnings:?} in {text}");
        self.check_totals(&text, &report);
        let state = machine.state();
        let in_use = record.slots.iter().filter(|(id, _)| state.role(**id) != Role::Retired);
        let in_use: Vec<_> = in_use.collect();
        assert_eq!(processes.len(), in_use.len(), "{text}");
        for (process, (id, slot)) in processes.iter().zip(in_use) {
            let (name, counts) = (&slot.name, &record.of[&slot.name]);
            assert_eq!(process["name"], json!(name));
            let is_current = record.current[name] == *id;
            assert!(!is_current || process["restarts"] == counts.restarts, "restarts of {name}");
            assert_eq!(process["oom_kills"], counts.ends[4], "the OOM kills of {name}");
            // The time until a process has ended is that of its drain or that of its stop.
            let line = format!("  stop {name}: ");
            let stop = text.lines().find_map(|it| it.strip_prefix(&line));
            // The other instance of the process may have a line of its own.
            let stop = stop.filter(|_| !process["stop"].is_null());
            let is_timed =
                stop.is_some_and(|stop| stop.starts_with(|it: char| it.is_ascii_digit()));
            // holds: S851
            assert!(!is_timed || slot.asked.is_some() || slot.has_rest || slot.killed, "{text}");
            let after = |at: Option<Time>| json!(at.map(|at| span(record.began, at)));
            assert_eq!(process["started"], after(slot.first_start), "{name}: first start");
            assert_eq!(process["ready"], after(slot.first_ready), "{name}: first ready");
            let end = slot.end.map_or(json!([null, null, null]), |(at, end)| {
                let code = if let End::Code(code) = end { Some(code) } else { None };
                json!([span(t0, at), code, end.signal().map(|signal| signal.to_string())])
            });
            let (shown, stop, drained) = (&process["end"], &process["stop"], &process["drain"]);
            let shown = json!([shown["at"], shown["code"], shown["signal"]]);
            assert_eq!(shown, end, "the end of {name} in the report");
            if !stop.is_null() {
                assert_eq!(stop["killed"], slot.killed_in_shutdown, "whether {name} was killed");
                let asked = slot.asked.map_or(json!([null, null]), |(at, signal)| {
                    json!([span(t0, at), signal.to_string()])
                });
                assert_eq!(json!([stop["begins"], stop["signal"]]), asked, "the stop of {name}");
            }
            if let (false, Some(drain)) = (drained.is_null(), &slot.drain) {
                let over = drain
                    .over
                    .map_or(json!([null, null]), |(at, why)| json!([span(t0, at), why.name()]));
                assert_eq!(drained["begins"], span(t0, drain.began), "the drain of {name}");
                assert_eq!(json!([drained["ends"], drained["why"]]), over, "the drain of {name}");
                let first = drain.first.unwrap_or_default();
                let last = drain.last.unwrap_or_default();
                let more = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
                let counted = first.connections.or(last.connections).is_some();
                let connections = counted.then(|| {
                    let new = more(first.accepted, last.accepted);
                    json!({"start": first.connections, "end": last.connections, "new": new})
                });
                assert_eq!(drained["connections"], json!(connections), "{name} in {text}");
                let requests = last.requests.filter(|_| counted);
                let completed = more(first.completed, last.completed);
                let upgrades = more(first.upgrades, last.upgrades);
                let requests =
                    requests.map(|cut| json!([first.requests, completed, upgrades, cut]));
                let of = drained["requests"].as_object();
                let of = of.map(|of| {
                    // The journal does not know how the connections have ended.
                    let in_flight = of.get("in_flight").and_then(Value::as_u64);
                    let last = of["cut"].as_u64().or(in_flight).unwrap_or_default();
                    json!([of["start"], of["completed"], of["upgrades_ended"], last])
                });
                assert_eq!(of, requests, "the requests of {name} in {text}");
            }
        }
    }
}
