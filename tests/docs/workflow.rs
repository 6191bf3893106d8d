//! The reusable workflow that rehearses a stop: it is YAML, and runs the documented command.

use std::collections::BTreeSet;

use crate::support::*;

// holds: S442
#[test]
fn the_workflow_runs_the_documented_script_with_known_variables() {
    let Some(tool) = python_tool("kubernetes-validate") else { return };
    let path = checkout().join(".github/workflows/rehearse.yml");
    let read =
        "import json, sys, yaml; print(json.dumps(yaml.load(open(sys.argv[1]), yaml.BaseLoader)))";
    let mut python = Command::new("python3");
    python.args(["-c", read]).arg(path).env("PYTHONPATH", tool);
    let workflow: Value = serde_json::from_slice(&python.output().unwrap().stdout).unwrap();
    let inputs = workflow["on"]["workflow_call"]["inputs"].as_object().unwrap();
    let steps = workflow["jobs"]["rehearse"]["steps"].as_array().unwrap();
    let text = serde_json::to_string(steps).unwrap();
    for name in inputs.keys() {
        assert!(text.contains(&format!("inputs.{name} ")), "nothing uses {name}: {text}");
    }
    let run = steps.last().unwrap();
    let command = run["run"].as_str().unwrap().strip_prefix(".drainit/").unwrap();
    let (script, arguments) = command.split_once(' ').unwrap();
    assert_eq!(arguments, r#""$IMAGE" "$PORT" "$REQUEST_PATH""#);
    let page = fs::read_to_string(checkout().join("docs/docker.md")).unwrap();
    assert!(page.contains(&format!("\n{script} my-gateway 8080 /health\n")), "{page}");
    // Each variable of the step is an argument, or a variable that the script reads.
    let text = fs::read_to_string(checkout().join(script)).unwrap();
    let documented = text.lines().filter_map(|line| line.strip_prefix("#   ")?.split_once('='));
    let documented: BTreeSet<_> = documented.map(|(name, _)| name).collect();
    for name in run["env"].as_object().unwrap().keys() {
        let is_known =
            documented.contains(name.as_str()) || arguments.contains(&format!("${name}"));
        assert!(is_known, "{name} is not one of {documented:?}");
    }
}
