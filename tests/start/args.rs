//! Tests the container's arguments: each goes to the process that claims it, and an argument that
//! no process claims is an error.

use crate::support::*;

const CONFIG: &str = r#"
processes:
  py:
    command: [CHILD, py, report=DIR/py.json]
    args: {prefix: "--py.", refuse: [socket, listen]}
  rtr:
    command: [CHILD, rtr, report=DIR/rtr.json]
    args: {prefix: "--rtr."}
"#;

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

// holds: C178, C893, C899, S123
#[test]
fn a_wrong_command_line_is_refused_with_a_remedy() {
    let run = |args: &'static str| format!("run -c DIR/config.yaml -- {args}");
    let named = "write `-c /.*my.yaml` to name a config";
    for (line, code, says) in [
        (&*run("--rt.concurrency 4"), 2, r"--rt\.concurrency.*did you mean `--rtr\.concurrency"),
        (&*run("--rtr.a 1 stray"), 2, "stray"),
        (&*run("sh"), 2, "`docker run --entrypoint sh IMAGE`, or `arguments: exec` in the config$"),
        ("check --no-such-option", 2, "unexpected argument"),
        ("no-such-command", 2, "error: drainit has no command `no-such-command`; `drainit --help`"),
        ("", 2, "Usage: "),
        ("check DIR/my.yaml", 2, named),
        ("check Dockerfile", 2, "`Dockerfile` is a Dockerfile, and not a config of drainit; w"),
        ("check -c Dockerfile", 78, "`Dockerfile` is a Dockerfile, and not a config of drainit"),
        ("check -c Procfile", 78, "`Procfile` is a Procfile, and not a config of drainit"),
        ("check Procfile", 2, "`Procfile` is a Procfile, .*; `drainit import Procfile` makes a"),
        (
            "plan compose.yaml",
            2,
            "services of Compose become `processes:`; docs/migrating.md#compose",
        ),
        ("run DIR/s.conf", 78, "s.conf` is a supervisord.conf, .*; `drainit import /.*s.conf` m"),
        ("run DIR/list.txt", 78, "nothing was started$"),
        ("plan list.txt", 2, "write `-c list.txt` to name a config"),
        ("reload --dry-run", 2, "`drainit plan --reload` shows what a reload would change"),
        ("run DIR/my.yaml", 78, named),
        ("run -cDIR/my.yaml", 78, named),
        ("run -c=DIR/my.yaml", 78, named),
        // Words of other programs.
        ("statuss", 2, "did you mean `drainit status`"),
        ("ps", 2, "use `drainit status`"),
        ("undrain", 2, "only a restart of the container undoes it"),
        ("logs web", 2, "`drainit status NAME` has the last lines"),
        ("up", 2, "use `drainit run`"),
        ("version", 2, "use `drainit --version`"),
        ("validate", 2, "use `drainit check`"),
        ("status --formt json", 2, "did you mean `--format`"),
        ("import DIR/Procfile", 78, "Procfile:1:1"),
        ("import DIR/list.txt", 2, "--format"),
        ("import -", 2, "the name of standard input does not tell its format"),
        ("import DIR/nosuch", 78, "nosuch` does not exist"),
        ("import compose.yaml", 2, "is a Compose file"),
        ("--help", 0, "run"),
        ("man", 0, r"^\.TH DRAINIT 1 "),
        ("--version", 0, env!("CARGO_PKG_VERSION")),
    ] {
        let rig = Rig::not_init();
        rig.write("my.yaml", "processes: {a: {command: [sleep, '1']}}");
        rig.write("config.yaml", rig.fill(CONFIG));
        rig.write("Procfile", "web\n");
        rig.write("list.txt", "web: a\n");
        rig.write("Dockerfile", "FROM a\n");
        rig.write("compose.yaml", "services: {}\n");
        rig.write("s.conf", "[supervisord]\n");
        let directory = rig.path("");
        let ended = rig.cwd(directory).run_with(&line.split_whitespace().collect::<Vec<_>>());
        ended.assert_code(code).assert_line(says).assert_no_event("py", "start");
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
    rig.args(&["--", "--help"]).run(CONFIG).assert_code(2).assert_no_line("ENTRYPOINT");
}
