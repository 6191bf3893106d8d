//! The report lists each drain and each stop twice: at its process and as a step. Both entries begin
//! at the same time, and the process ends within its step. No step lies outside of the shutdown. The
//! report counts only the processes that were killed in the shutdown.
//!
//! No state. Checked at the end of a run.

use super::*;

// holds: S149, S154, S161, S214
pub(super) fn holds_steps(run: &History<'_>, report: &Option<ShutdownReport>) {
    let Some(report) = report else { return run.fail("there is no report") };
    for process in &report.processes {
        let step = |kind: &str| {
            let steps = report.steps.iter().filter(|step| step.begins.is_some());
            steps
                .filter(|step| step.process.as_ref() == Some(&process.name))
                .find(|step| step.step == kind)
        };
        if let Some(drain) = &process.drain {
            let is_same = step("drain")
                .is_some_and(|step| step.begins == Some(drain.begins) && step.ends == drain.ends);
            run.hold(is_same, "a drain of the report is not one of its steps");
        }
        let asked = process.stop.as_ref().and_then(|stop| stop.begins);
        if let (Some(asked), end) = (asked, &process.end) {
            let is_same = step("stop").is_some_and(|step| {
                let ends = step.ends.unwrap_or(f64::MAX);
                step.begins == Some(asked) && end.as_ref().is_none_or(|end| end.at <= ends)
            });
            run.hold(is_same, "a stop of the report is not one of its steps");
            let ends = process.stop.as_ref().and_then(|stop| stop.ends);
            // holds: S240
            let is_same = ends.is_none() || step("stop").is_some_and(|step| step.ends == ends);
            run.hold(is_same, "a stop of the report ends before its process group");
        }
    }
    for step in &report.steps {
        let (begins, ends) = (step.begins.unwrap_or_default(), step.ends.unwrap_or(report.took));
        run.hold(begins <= ends && ends <= report.took, "a step outside of the shutdown");
    }
    let phases = report.phases.iter();
    // holds: S151
    run.hold(phases.is_sorted_by_key(|phase| phase.begins), "the phases are not in order");
}

// holds: S150
pub(super) fn holds_kills(run: &History<'_>, killed: usize) {
    let really = run.at.iter().filter(|seen| seen.killed_in_shutdown).count();
    run.hold(killed == really, "the report counts the wrong number of kills");
}
