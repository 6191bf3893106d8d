//! The workflows: they are YAML, and do what the docs say.

use crate::support::*;

// holds: S442
#[test]
fn the_workflows_run_the_documented_script_and_keep_the_promised_days() {
    let Some(tool) = python_tool("kubernetes-validate") else { return };
    for name in ["rehearse", "rebuild"] {
        super::script(&tool, "workflow.py", &[name.into()]);
    }
}
