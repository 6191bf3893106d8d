//! Tests the container's arguments: each goes to the process that claims it, and an argument that
//! no process claims is an error.

use serde_json::json;

use crate::support::{Ended, Rig};

const CONFIG: &str = r#"
processes:
  py:
    command: [CHILD, py, report=DIR/py.json]
    args: {prefix: "--py.", refuse: [socket, listen]}
  rtr:
    command: [CHILD, rtr, report=DIR/rtr.json]
    args: {prefix: "--rtr."}
"#;

fn refused(args: &[&str]) -> Option<Ended> {
    let ended = Rig::new()?.args(args).run(CONFIG);
    ended.assert_code(2).assert_no_event("py", "start").assert_no_event("rtr", "start");
    Some(ended)
}

// holds: C151, C173, C176
#[test]
fn arguments_are_routed_by_prefix_with_or_without_leading_dashes() {
    for dashes in [&["--"][..], &[]] {
        let Some(rig) = Rig::new() else { return };
        let args = ["--rtr.concurrency", "4", "--py.workers=2", "--rtr.flag", "--rtr.x", "-1"];
        let drainit = rig.args(dashes).args(&args).start(CONFIG);
        drainit.wait_for_event("py", "report");
        drainit.wait_for_event("rtr", "report");
        let ended = drainit.stop();
        ended.assert_code(0);
        let args = |name: &str| ended.report(name)["args"].as_array().unwrap()[1..].to_vec();
        assert_eq!(args("py.json"), [json!("--workers=2")]);
        let expected = ["--concurrency", "4", "--flag", "--x", "-1"].map(|arg| json!(arg));
        assert_eq!(args("rtr.json"), expected);
    }
}

// holds: S123, C178
#[test]
fn an_unclaimed_argument_is_wrong_usage() {
    let Some(ended) = refused(&["--", "--rt.concurrency", "4"]) else { return };
    ended.assert_line(r"--rt\.concurrency.*did you mean `--rtr\.concurrency");
    for args in [&["--", "stray"][..], &["--", "--rtr.a", "1", "stray"]] {
        let Some(ended) = refused(args) else { return };
        ended.assert_line("stray");
    }
}

// holds: C682
#[test]
fn arguments_exec_runs_a_command_in_place_of_the_processes() {
    let Some(rig) = Rig::new() else { return };
    let config = format!("arguments: exec\n{CONFIG}");
    let ended = rig.args(&["--", "sh", "-c", "echo it is $$; sleep 0.1 & exit 7"]).run(&config);
    ended.assert_code(7).assert_line("it is ").assert_no_event("py", "start");
    let Some(rig) = Rig::new() else { return };
    rig.args(&["--", "--help"]).run(&config).assert_code(2).assert_line("--help");
}

// holds: S123
#[test]
fn an_unknown_option_or_command_is_wrong_usage() {
    for args in [&["check", "--no-such-option"][..], &["no-such-command"], &[]] {
        let ended = Rig::not_init().run_with(args);
        assert_eq!(ended.code, 2, "{args:?}:\n{}", ended.record);
    }
    Rig::not_init().run_with(&["--help"]).assert_code(0).assert_line("run");
    Rig::not_init().run_with(&["--version"]).assert_code(0).assert_line(env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_config_without_the_option_is_named_with_the_option() {
    for (command, word, code) in [
        ("check", "DIR/my.yaml", 2),
        ("run", "DIR/my.yaml", 78),
        ("run", "-cDIR/my.yaml", 78),
        ("run", "-c=DIR/my.yaml", 78),
    ] {
        let rig = Rig::not_init();
        rig.write("my.yaml", "processes: {a: {command: [sleep, '1']}}");
        let directory = rig.path("");
        let ended = rig.cwd(directory).run_with(&[command, word]);
        ended.assert_code(code).assert_line("write `-c /.*my.yaml` to name a config");
    }
}

// holds: C692
#[test]
fn pid_1_says_that_an_entrypoint_without_dashes_takes_options_of_the_processes() {
    let remedy = "write `ENTRYPOINT \\[\"drainit\", \"run\", \"--\"\\]` in the image";
    for (args, code) in [
        (&["--config", "DIR/app.yaml"][..], 78),
        (&["--config=DIR/app.yaml"], 78),
        (&["--help"], 2),
        (&["--version"], 2),
        (&["-c"], 2),
        (&["--config"], 2),
    ] {
        let Some(rig) = Rig::new() else { return };
        rig.write("app.yaml", "server: {port: 8080}");
        rig.run_with(&[&["run"], args].concat()).assert_code(code).assert_line(remedy);
    }
    Rig::not_init().run_with(&["run", "--help"]).assert_code(0).assert_no_line("ENTRYPOINT");
    for text in ["processes: {a: {comand: [a]}}", "proceses: {}", "processes: 5"] {
        let Some(rig) = Rig::new() else { return };
        rig.run(text).assert_code(78).assert_no_line("ENTRYPOINT");
    }
    let Some(rig) = Rig::new() else { return };
    let ended = rig.args(&["--", "--help"]).run(CONFIG);
    ended.assert_code(2).assert_no_line("ENTRYPOINT");
}

// holds: C899
#[test]
fn a_command_in_place_of_arguments_gets_the_two_ways_to_run() {
    let rig = Rig::not_init();
    rig.write("drainit.yaml", "processes: {a: {command: [CHILD, a]}}");
    let ended = rig.run_with(&["run", "-c", "DIR/drainit.yaml", "--", "sh"]);
    ended
        .assert_code(2)
        .assert_line("`docker run --entrypoint sh IMAGE`, or `arguments: exec` in the config$");
}
