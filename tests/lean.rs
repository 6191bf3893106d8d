//! A binary without the feature `tools` reports which commands it was built without, and does the
//! rest.

use std::process::Command;

use testkit::envoy::checkout;

use crate::support::Rig;
use crate::support::namespace::skip_unless;

#[test]
fn a_lean_binary_says_what_it_was_built_without() {
    // `make test` builds it.
    let lean = checkout().join("target/lean/drainit");
    if !skip_unless(lean.exists().then_some(()).ok_or(format!("no {}", lean.display()))) {
        return;
    }
    let rig = Rig::not_init();
    rig.write("drainit.yaml", "processes: {a: {command: [\"true\"]}}\n");
    let config = rig.fill("DIR/drainit.yaml");
    let run = |args: &str| {
        let args = args.replace("CONFIG", &config);
        let output = Command::new(&lean).args(args.split(' ')).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let formats = "the formats of `plan` other than `text`";
    for (args, left_out) in [
        ("import --format procfile Procfile", "`import`"),
        ("import --help", "`import`"),
        ("schema", "`schema`"),
        ("completions bash", "`completions`"),
        ("man", "`man`"),
        ("report report.json", "`report`"),
        ("check -c CONFIG --pod pod.yaml --container a", "`check --pod`"),
        ("plan -c CONFIG --format json", formats),
        ("plan -c CONFIG --format svg", formats),
    ] {
        let (code, text) = run(args);
        let message =
            format!("error: this binary was built without {left_out}; use one with the tools");
        assert!(code == Some(2) && text.contains(&message), "{args}: {code:?}, {text}");
    }
    for args in ["check -c CONFIG", "plan -c CONFIG", "plan -c CONFIG --format text"] {
        let (code, text) = run(args);
        assert_eq!(code, Some(0), "{args}: {text}");
    }
    for (args, hidden) in [
        ("help", "import"),
        ("help", "completions"),
        ("help", "report"),
        ("check --help", "--pod"),
        ("plan --help", "svg"),
    ] {
        let (_, text) = run(args);
        assert!(!text.contains(hidden), "{args}: {text}");
    }
}
