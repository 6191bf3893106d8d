//! The report lists each drain and each stop twice: at its process and as a step. Both entries begin
//! at the same time, and the process ends within its step. No step lies outside of the shutdown. The
//! report counts only the processes that were killed in the shutdown.
//!
//! No state. Checked at the end of a run.

use super::*;

// holds: S149, S154, S161, S214
pub(super) fn holds_steps(run: &History<'_>, report: &Option<Value>) {
    let Some(report) = report else { return run.fail("there is no report") };
    let list = |name: &str| report[name].as_array().unwrap().iter();
    for process in list("processes") {
        let step = |kind: &str| {
            let steps = list("steps").filter(|step| !step["begins"].is_null());
            let mut steps = steps.filter(|step| step["process"] == process["name"]);
            steps.find(|step| step["step"] == kind)
        };
        let (drain, stop) = (&process["drain"], &process["stop"]);
        if !drain.is_null() {
            let is_same = step("drain").is_some_and(|step| {
                step["begins"] == drain["begins"] && step["ends"] == drain["ends"]
            });
            run.hold(is_same, "a drain of the report is not one of its steps");
        }
        if !stop["begins"].is_null() {
            let is_same = step("stop").is_some_and(|step| {
                let ends = step["ends"].as_f64().unwrap_or(f64::MAX);
                let end = process["end"]["at"].as_f64();
                step["begins"] == stop["begins"] && end.is_none_or(|at| at <= ends)
            });
            run.hold(is_same, "a stop of the report is not one of its steps");
            // holds: S240
            let is_same = stop["ends"].is_null()
                || step("stop").is_some_and(|step| step["ends"] == stop["ends"]);
            run.hold(is_same, "a stop of the report ends before its process group");
        }
    }
    let took = report["took"].as_f64().unwrap_or_default();
    for step in list("steps") {
        let begins = step["begins"].as_f64().unwrap_or_default();
        let ends = step["ends"].as_f64().unwrap_or(took);
        run.hold(begins <= ends && ends <= took, "a step outside of the shutdown");
    }
    let phases = list("phases").map(|phase| phase["begins"].as_f64());
    // holds: S151
    run.hold(phases.is_sorted(), "the phases are not in order");
}

// holds: S150
pub(super) fn holds_kills(run: &History<'_>, killed: usize) {
    let really = run.at.iter().filter(|seen| seen.killed_in_shutdown).count();
    run.hold(killed == really, "the report counts the wrong number of kills");
}
