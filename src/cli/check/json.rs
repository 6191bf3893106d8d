//! The findings of `check` as JSON. docs/json.md describes the object.

use drainit_advise::kubernetes::audit::{Audit, Judged};
use serde_json::{Value, json};

use crate::cli::check::Checked;
use crate::load::{Diagnostic, Severity};
use crate::types::{escape_json, seconds};

pub(super) fn json(checked: &Checked, audit: Option<&Audit>) -> String {
    let is_allowed = |problem: &&Diagnostic| problem.allowed.is_some();
    let (allowed, findings): (Vec<_>, Vec<_>) = checked.problems.iter().partition(is_allowed);
    let count = |level: Severity| findings.iter().filter(|it| it.severity == level).count();
    let values =
        |problems: &[&Diagnostic]| problems.iter().map(|it| finding(it)).collect::<Vec<_>>();
    let mut object = json!({
        "version": 1,
        "drainit": env!("CARGO_PKG_VERSION"),
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "notes": count(Severity::Note),
        "findings": values(&findings),
        "allowed": values(&allowed),
        "checked": checked.parts,
        "image": checked.is_image,
        "unchecked": checked.unchecked,
    });
    if let Some(audit) = audit {
        object["workloads"] = audit.workloads.iter().map(workload).collect();
    }
    escape_json(&format!("{object:#}\n")).into_owned()
}

fn workload(judged: &Judged) -> Value {
    json!({
        "kind": judged.kind,
        "name": judged.name,
        "verdict": judged.effect.name(),
        "reason": judged.reason,
        "remedy": judged.remedy,
        "allowed": judged.allowed,
        "grace_period": seconds(judged.grace_period),
        "pre_stop": judged.pre_stop,
        "programs": judged.programs,
        "line": (judged.line > 0).then_some(judged.line),
    })
}

fn finding(problem: &Diagnostic) -> Value {
    let place = |number: usize| (problem.line > 0).then_some(number);
    let mut object = json!({
        "id": problem.rule.id(),
        "level": problem.severity.name(),
        "message": problem.message,
        "help": problem.help,
        "file": problem.file.to_string_lossy(),
        "line": place(problem.line),
        "column": place(problem.column),
    });
    if let Some(reason) = &problem.allowed {
        object["reason"] = json!(reason);
    }
    object
}
