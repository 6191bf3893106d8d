//! The events of the log.

use super::*;

impl Play {
    /// Writes the line of a note, and checks what its event says.
    pub(super) fn note(&mut self, note: Note) {
        let now = self.now;
        let entry = self.processes.note(now, &note, None);
        let event: Value = serde_json::from_str(&format!("{{{}}}", entry.event.members())).unwrap();
        if let Some(slot) = entry.instance {
            let slot = &self.record.slots[&slot];
            assert_eq!(event["name"], json!(slot.name), "the name in {event}");
            assert_eq!(event["pid"].as_i64(), slot.last_pid.map(i64::from), "the pid in {event}");
            assert!(entry.line().starts_with(&slot.name), "{}", entry.line());
        }
        let record = &mut self.record;
        // If the command of a restart cannot be executed, the exit code of this failed start counts
        // as the end of the process.
        if matches!(note, Note::Ended { .. })
            && let Some((process, code)) = record.failed_start.take()
        {
            let (slot, end) = (record.slot(process), End::Code(code));
            (slot.end, slot.last_end) = (Some((now, end)), Some(end));
            record.unreported.push((process, None, code, "error"));
            let counts = record.counts(process);
            counts.ends[EndKind::Error as usize] += 1;
            counts.last_code = Some(code);
        }
        let ends =
            matches!(note, Note::Ended { .. } | Note::Stopped { .. } | Note::Completed { .. });
        if ends {
            let of = entry.instance.unwrap();
            let place = record.unreported.iter().position(|one| one.0 == of);
            let (_, pid, code, reason) =
                record.unreported.remove(place.expect("nothing has ended"));
            let shown =
                (event["pid"].as_i64(), event["exit_code"].as_u64(), event["reason"].as_str());
            let code = Some(u64::from(code));
            assert_eq!(shown, (pid.map(i64::from), code, Some(reason)), "the end in {event}");
        }
        match note {
            Note::Ended { process, next, .. } | Note::Failed { process, next, .. } => {
                let slot = record.slot(process);
                (slot.verdict, slot.is_last_asked) = (Some(note), false);
                let restarts = matches!(next, AfterEnd::Restart { .. });
                record.counts(process).restarts += u32::from(restarts);
                assert_eq!(event["next"] == "restart", restarts, "{event}");
                let is_error =
                    matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted | AfterEnd::GivesUp);
                assert_eq!(entry.level == Level::Error, is_error, "{}", entry.line());
            }
            Note::Overdue { process, .. } => record.slot(process).has_failed = true,
            Note::Stopped { process, took, killed, .. } => {
                let slot = record.slot(process);
                slot.verdict = Some(note);
                slot.is_last_asked = took.is_some() && !killed && !slot.has_failed;
                let asked = record.slots[&process].asked.map(|(at, _)| in_seconds(now.since(at)));
                assert_eq!(event["seconds"].as_f64(), asked, "the time of the stop in {event}");
            }
            Note::Ready { process, .. } | Note::Completed { process, .. } => {
                let slot = record.slot(process);
                slot.first_ready.get_or_insert(now);
                slot.is_last_asked &= matches!(note, Note::Ready { .. });
                let start = now.since(slot.spawned);
                record.counts(process).start = Some(start);
                let took = record.counts(process).start.map(in_seconds);
                assert_eq!(event["seconds"].as_f64(), took, "the time of the start in {event}");
            }
            // From now on, the status of a process that is down may be that the process is stopped
            // or left out, and not how the process ended.
            Note::RequestBegan { .. } | Note::Skipped(_) => {
                record.slots.values_mut().for_each(|slot| slot.verdict = None);
            }
            Note::RequestDone { process, request } => {
                *self.clients.done.entry((process, request.name())).or_default() += 1;
            }
            Note::AllReady => record.all_ready = record.all_ready.or(Some(now)),
            Note::TakesOver { process, .. } => {
                let name = record.slots[&process].name.clone();
                record.current.insert(name, process);
            }
            Note::DrainRequested => {
                record.elapsed_from = Some(now);
                record.shutdown = Some((now, now, "drain requested".to_owned(), true));
                for drain in record.slots.values_mut().filter_map(|slot| slot.drain.as_mut()) {
                    drain.is_past = drain.over.is_some();
                }
            }
            Note::ShutdownBegan { window, drained_for, .. } => {
                let cause = event["cause"].as_str().unwrap().to_owned();
                // A `preStop` hook that requests the drain already uses the kubelet's grace period.
                // Therefore the elapsed time counts from the request.
                let from = record.elapsed_from.filter(|_| drained_for.is_some());
                record.elapsed_from = from.or(Some(now));
                record.shutdown = Some((now, now + window, cause, false));
            }
            Note::DrainBegan { process, longest, .. } => {
                let drain = DrainRecord { began: now, ..DrainRecord::default() };
                record.slot(process).drain = Some(drain);
                let counts = record.counts(process);
                counts.drained = Some(process);
                counts.drained_by.insert(process, now + longest);
                record.slot(process).state = Some(ProcessState::Draining);
            }
            Note::OpenAgain { process, longest, .. } => {
                record.counts(process).drained_by.insert(process, now + longest);
                record.slot(process).state = Some(ProcessState::Draining);
            }
            Note::DrainOver { process, why, .. } => {
                let slot = record.slot(process);
                if slot.state == Some(ProcessState::Draining) {
                    slot.state = Some(ProcessState::Ready);
                }
                let counts = record.counts(process);
                counts.drains[why as usize] += 1;
                counts.drained_by.remove(&process);
                if let Some(drain) = &mut record.slot(process).drain {
                    drain.over = Some((now, why));
                    let took = in_seconds(now.since(drain.began));
                    assert_eq!(event["seconds"].as_f64(), Some(took), "the drain in {event}");
                }
            }
            _ => {}
        }
    }
}
