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
        assert_eq!((report.exit_code, &report.cause.text), (exit, &cause), "{text}");
        assert_eq!((report.started.clone(), report.t0.clone()), (stamp(record.began), stamp(t0)));
        let span = |from: Time, to: Time| {
            if to >= from { in_seconds(to.since(from)) } else { -in_seconds(from.since(to)) }
        };
        assert_eq!((report.took, report.deadline), (span(t0, now), span(t0, deadline)), "{text}");
        let ready = record.all_ready.map(|at| span(record.began, at));
        assert_eq!(report.start.ready, ready, "the time of the start");
        let killed = record.slots.values().filter(|slot| slot.killed_in_shutdown).count();
        assert_eq!(report.killed, killed, "the killed processes in {text}");
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
        let ShutdownReport { processes, phases, steps, warnings, .. } = &report;
        let (took, window) = (human(now.since(t0)), human(deadline.since(t0)));
        let head = format!("stopped in {took} of {window}, exit code {exit}: {cause}");
        assert_eq!(text.lines().next(), Some(head.as_str()), "{text}");
        for (kind, count) in [
            ("drain", report.processes.iter().filter(|one| one.drain.is_some()).count()),
            ("stop", report.processes.iter().filter(|one| one.stop.is_some()).count()),
        ] {
            let begin = format!("  {kind} ");
            let is_step =
                |line: &&str| line.starts_with(&begin) && !warnings.contains(&line[2..].to_owned());
            let lines = text.lines().filter(is_step).count();
            assert_eq!(lines, count, "the lines of each {kind} in {text}");
        }
        let spans = phases.iter().map(|phase| (phase.begins, phase.ends));
        let steps = steps.iter().filter_map(|step| Some((step.begins?, step.ends?)));
        for (begins, ends) in spans.chain(steps) {
            assert!(begins <= ends && ends <= report.took, "{begins} to {ends} in {text}");
        }
        assert!(warnings.iter().all(|line| text.contains(line)), "{warnings:?} in {text}");
        let state = machine.state();
        let in_use = record.slots.iter().filter(|(id, _)| state.role(**id) != Role::Retired);
        let in_use: Vec<_> = in_use.collect();
        assert_eq!(processes.len(), in_use.len(), "{text}");
        for (process, (id, slot)) in processes.iter().zip(in_use) {
            let (name, counts) = (&slot.name, &record.of[&slot.name]);
            assert_eq!(&process.name, name);
            let is_current = record.current[name] == *id;
            assert!(!is_current || process.restarts == counts.restarts, "restarts of {name}");
            assert_eq!(process.oom_kills, counts.ends[4], "the OOM kills of {name} in the report");
            // The time until a process has ended is that of its drain or that of its stop.
            let line = format!("  stop {name}: ");
            let stop = text.lines().find_map(|it| it.strip_prefix(&line));
            let is_timed =
                stop.is_some_and(|stop| stop.starts_with(|it: char| it.is_ascii_digit()));
            // holds: S851
            assert!(!is_timed || slot.asked.is_some() || slot.has_rest || slot.killed, "{text}");
            let after = |at: Option<Time>| at.map(|at| span(record.began, at));
            assert_eq!(process.started, after(slot.first_start), "{name}: first start");
            assert_eq!(process.ready, after(slot.first_ready), "{name}: first ready");
            let shown = process.end.as_ref().map(|end| (end.at, end.code, end.signal.clone()));
            let end = slot.end.map(|(at, end)| {
                let code = if let End::Code(code) = end { Some(code) } else { None };
                (span(t0, at), code, end.signal().map(|signal| signal.to_string()))
            });
            assert_eq!(shown, end, "the end of {name} in the report");
            if let Some(stop) = &process.stop {
                assert_eq!(stop.killed, slot.killed_in_shutdown, "whether {name} was killed");
                let asked = slot.asked.map(|(at, signal)| (span(t0, at), signal.to_string()));
                assert_eq!(stop.begins.zip(stop.signal.clone()), asked, "the stop of {name}");
            }
            if let (Some(shown), Some(drain)) = (&process.drain, &slot.drain) {
                let over = drain.over.map(|(at, why)| (span(t0, at), why.name()));
                let shown_over = shown.ends.zip(shown.why);
                assert_eq!(shown.begins, span(t0, drain.began), "the drain of {name}");
                assert_eq!(shown_over, over, "the drain of {name}");
                let first = drain.first.unwrap_or_default();
                let last = drain.last.unwrap_or_default();
                let more = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
                let counted = first.connections.or(last.connections).is_some();
                let connections = counted.then(|| {
                    (first.connections, last.connections, more(first.accepted, last.accepted))
                });
                let requests = last.requests.filter(|_| counted);
                let completed = more(first.completed, last.completed);
                let upgrades = more(first.upgrades, last.upgrades);
                let requests = requests.map(|cut| (first.requests, completed, upgrades, cut));
                let of = shown.connections.map(|one| (one.start, one.end, one.new));
                assert_eq!(of, connections, "the connections of {name} in {text}");
                let of = shown.requests;
                let of = of.map(|one| {
                    // The journal does not know how the connections have ended.
                    let last = one.cut.or(one.in_flight).unwrap_or_default();
                    (one.start, one.completed, one.upgrades_ended, last)
                });
                assert_eq!(of, requests, "the requests of {name} in {text}");
            }
        }
    }
}
