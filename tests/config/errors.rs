//! Wrong configs: drainit quickly reports every problem with its place, exits with 78 and starts
//! nothing.

use std::os::unix::fs::symlink;

use crate::support::*;

/// A config with three problems and a warning, each on its own line.
const WRONG: &str = r#"
processes:
  python:
    comand: [CHILD, python]
    command: [CHILD, python]
  policy:
    command: [CHILD, policy]
    depends_on: [pyton]
  router:
    command: [CHILD, router]
    stop_grace_period: soon
"#;

// holds: S125, C15, C141
#[test]
fn every_problem_is_reported_at_once_with_a_place() {
    let Some(rig) = Rig::new() else { return };
    rig.run(WRONG)
        .assert_code(78)
        .assert_line("error: .*comand")
        .assert_line(r"--> .*drainit\.yaml:4:5$")
        .assert_line("did you mean `command`")
        .assert_line("error: .*pyton")
        .assert_line(r"--> .*drainit\.yaml:8:18$")
        .assert_line("error: .*soon.*not a duration")
        .assert_line(r"--> .*drainit\.yaml:11:24$")
        .assert_no_event("python", "start")
        .assert_no_event("router", "start");
    let ended = Rig::not_init().env("DRAINIT_LOG_FORMAT", "json").run(WRONG);
    for line in ended.assert_code(78).text(Stream::Stderr).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "error", "{line}");
    }
}

// holds: C4
#[test]
fn a_warning_stops_nothing_unless_check_is_strict() {
    let config = "
        shutdown: {grace_period: 10s}
        processes:
          a: {command: [CHILD, a], stop_grace_period: 20s}
        ";
    let warning = "warning: .*do not fit";
    let drainit = Rig::not_init().start(config);
    drainit.wait_for_start(&["a"]);
    drainit.stop().assert_code(0).assert_line(warning).assert_line(r"drainit\.yaml:4:");

    for (args, code) in [(&["check"][..], 0), (&["check", "--strict"], 78)] {
        let rig = Rig::not_init();
        rig.write("drainit.yaml", rig.fill(config));
        let args: Vec<_> = args.iter().chain(&["-c", "DIR/drainit.yaml"]).copied().collect();
        rig.run_with(&args).assert_code(code).assert_line(warning).assert_no_event("a", "start");
    }
    // A note never counts as an error.
    let rig = Rig::not_init();
    let drained =
        "a: {command: [sleep], depends_on: [], drain: {exec: {command: [true], time: 1s}}}";
    rig.write("drainit.yaml", format!("processes:\n  {drained}\n  b: {{command: [sleep]}}\n"));
    let ended = rig.run_with(&["check", "--strict", "-c", "DIR/drainit.yaml"]);
    ended.assert_code(0).assert_line("note: `b` has no dependents").assert_line("^ok: 2 processes");
}

// holds: C30, C31, C32
#[test]
fn check_looks_at_the_image_only_inside_and_says_so() {
    const CONFIG: &str = "processes: {a: {command: [no-such-program]}}";
    const MISSING: &str = "`a` cannot be started: `no-such-program` is in none of the directories";
    const UNCHECKED: &str =
        r"^ok: 1 process; files of the image were not checked \(see `--image`\)$";
    let init = || Rig::new().inspect(|rig| rig.write("drainit.yaml", CONFIG));
    let check = |rig: Rig, options: &[&str], is_image: bool| {
        rig.write("drainit.yaml", CONFIG);
        let ended = rig.run_with(&[&["check", "-c", "DIR/drainit.yaml"], options].concat());
        match is_image {
            true => ended.assert_code(78).assert_line(MISSING),
            false => ended.assert_code(0).assert_line(UNCHECKED),
        };
    };
    check(Rig::not_init(), &["--strict"], false);
    check(Rig::not_init(), &["--image"], true);
    let Some(rig) = init() else { return };
    check(rig, &["--image=false"], false);

    // A drainit that is PID 1 assumes that it runs in the image, whatever its binary is called. If
    // `PATH` has only drainit, drainit assumes that it runs outside the image.
    let link = |link: &Path| symlink(env!("CARGO_BIN_EXE_drainit"), link).unwrap();
    let Some(other_name) = init() else { return };
    let path = other_name.path("init");
    link(&path);
    check(other_name.drainit(&path), &[], true);
    let Some(bare) = init() else { return };
    fs::create_dir(bare.path("bin")).unwrap();
    link(&bare.path("bin/drainit"));
    let path = bare.fill("PATH=DIR/bin");
    check(bare.wrapper(&["env", &path]), &[], false);

    // drainit is the child of an init. Here the init is a second drainit under the name tini.
    let Some(child) = init() else { return };
    let tini = child.path("tini");
    link(&tini);
    check(child.wrapper(&[tini.to_str().unwrap(), "--"]), &[], true);

    // PID 1 is another drainit.
    let Some(beside) = init() else { return };
    let drainit = beside.start_ready("processes: {a: {command: [CHILD, a]}}");
    let other = drainit.path("other.yaml");
    fs::write(&other, CONFIG).unwrap();
    drainit.exec(&["check", "-c", other.to_str().unwrap()]).assert(78, MISSING);
    drainit.stop().assert_code(0);

    // A variable shows that drainit runs in a container. drainit takes this container for the image
    // only if the config is at its default path.
    for (config, code, says) in
        [("/etc/drainit.yaml", 78, MISSING), ("DIR/drainit.yaml", 0, UNCHECKED)]
    {
        let Some(rig) = init() else { return };
        let script =
            rig.fill("mount -t tmpfs none /etc && cp DIR/drainit.yaml /etc && \"$@\"; exit $?");
        let rig = rig.wrapper(&["sh", "-c", &script, "sh"]);
        let rig = rig.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        rig.run_with(&["check", "-c", config]).assert_code(code).assert_line(says);
    }
}

// holds: C1, C2, C469, C472
#[test]
fn the_config_comes_from_the_variable_if_no_option_names_a_file() {
    let rig = Rig::not_init();
    rig.write("other.yaml", rig.fill("processes: {a: {command: [CHILD, a, exit=3]}}"));
    rig.env("DRAINIT_CONFIG", "DIR/other.yaml").run_with(&["run"]).assert_code(3);
    // The variable may name a directory.
    let rig = Rig::not_init();
    fs::create_dir(rig.path("conf.d")).unwrap();
    rig.write("conf.d/a.yaml", rig.fill("processes: {a: {command: [CHILD, a, exit=5]}}"));
    rig.env("DRAINIT_CONFIG", "DIR/conf.d").run_with(&["run"]).assert_code(5);
    // An empty variable counts as unset.
    let rig = Rig::not_init();
    rig.write("drainit.yaml", rig.fill("processes: {a: {command: [CHILD, a, exit=4]}}"));
    let directory = rig.path("");
    let names = ["DRAINIT_CONFIG", "DRAINIT_LOG_FORMAT", "DRAINIT_LOG_LEVEL"];
    let rig = names.into_iter().fold(rig, |rig, name| rig.env(name, ""));
    rig.cwd(directory).run_with(&["run"]).assert_code(4).assert_no_line("DRAINIT_");
}

/// Asserts that drainit refuses the config with code 78, within 300 MB of address space, and
/// quickly. Expanding an alias bomb would take minutes.
#[track_caller]
fn refuses_quickly(rig: Rig, path: &str, message: &str) {
    let rig = rig.after("ulimit -v 300000");
    let ended = rig.run_with(&["run", "-c", path]);
    ended
        .assert_code(78)
        .assert_line(&format!("error: .*{message}"))
        .assert_took(ended.record.started, ms(0)..LONG);
    let written: usize = ended.record.lines.iter().map(|line| line.text.len()).sum();
    assert!(written < 64 * 1024, "{written} bytes of complaints");
}

// holds: C1030, C1031
#[test]
fn a_value_that_is_not_text_is_an_error_only_where_the_config_uses_the_variable() {
    let with = |config: &str| {
        let rig = Rig::not_init().after(r"export PW=$(printf 'a\377')");
        rig.run(config)
    };
    for config in [
        "processes: {a: {command: [CHILD, a, '${PW:-changeme}']}}",
        "processes: {a: {command: [CHILD, a], only_if: {value: '${PW:-}', is_not: ''}}}",
    ] {
        with(config)
            .assert_code(78)
            .assert_line("error: .*the value of `PW` is not UTF-8")
            .assert_line("set PW to UTF-8 text");
    }
    // The process inherits the bytes, and `env` sets only an unset variable.
    let is_same = r#"[ "$PW" = "$(printf 'a\377')" ] && exit 3"#;
    let config = "env: {PW: x}\nprocesses:\n  a:\n    command:\n      - sh\n      - -c\n      - '";
    with(&format!("{config}{}'\n", is_same.replace('\'', "''").replace('$', "$$"))).assert_code(3);
}

// holds: S125, C453
#[test]
fn paths_that_are_not_config_files_are_refused_quickly() {
    refuses_quickly(Rig::not_init(), "DIR/none.yaml", "none.yaml` does not exist");
    refuses_quickly(Rig::not_init(), "DIR", "directory");
    refuses_quickly(Rig::not_init(), "/dev/zero", "");
    refuses_quickly(Rig::not_init(), "/dev/null", "");
    let rig = Rig::not_init();
    nix::unistd::mkfifo(&rig.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    rig.run_with(&["run", "-c", "DIR/pipe"]).assert_code(78);
}

// holds: C5
#[test]
fn content_that_is_not_a_config_is_refused_quickly() {
    let tenfold = |of: usize| vec![format!("*x{of}"); 10].join(", ");
    let level = |at: usize| format!("x-a{at}: &x{at} [{}]\n", tenfold(at - 1));
    let levels: String = (1..30).map(level).collect();
    let bomb = format!("x-a: &x0 [a, a, a]\n{levels}processes: {{a: {{command: *x29}}}}\n");
    let ten_megabytes = |line: &str| line.repeat(10_000_000 / line.len() + 1).into();
    for (content, message) in [
        (Vec::new(), "empty"),
        ("# nothing\n".into(), "empty"),
        (ten_megabytes("# nothing but a comment\n"), "a.yaml"),
        (ten_megabytes("- [1, 2, 3, {a: b}]\n"), "a.yaml"),
        (ten_megabytes("a: &a [*a]\n"), "a.yaml"),
        (bomb.into(), ""),
        ("[".repeat(100_000).into(), ""),
        (fs::read("/proc/self/exe").unwrap(), "a.yaml"),
    ] {
        let rig = Rig::not_init();
        fs::write(rig.path("a.yaml"), content).unwrap();
        refuses_quickly(rig, "DIR/a.yaml", message);
    }
}

// holds: C970
#[test]
fn only_a_terminal_without_no_color_shows_colour() {
    let command = format!("{} check -c none.yaml", env!("CARGO_BIN_EXE_drainit"));
    for (how, is_painted) in [
        (format!("TERM=xterm {command}"), true),
        (format!("TERM=xterm NO_COLOR=1 {command}"), false),
        (format!("TERM=dumb {command}"), false),
        (format!("{{ TERM=xterm {command}; }} 2>&1 | cat"), false),
    ] {
        let mut script = Command::new("script");
        script.args(["-qec", &how, "/dev/null"]).stdin(Stdio::null()).env_remove("NO_COLOR");
        let text = String::from_utf8(script.output().unwrap().stdout).unwrap();
        let painted = "\u{1b}[31merror:\u{1b}[0m ";
        assert!(text.contains("error:") && text.contains(painted) == is_painted, "{how}: {text:?}");
    }
}

// holds: C894
#[test]
fn check_and_plan_read_a_config_from_stdin() {
    let rig = Rig::not_init();
    rig.write("drainit.yaml", "processes: {a: {comand: [b]}}");
    rig.write("right.yaml", "processes: {a: {command: [b]}}");
    for (command, code, says) in [
        ("cat DIR/drainit.yaml | $D check -c -", 78, "--> /dev/stdin:1:17"),
        ("$D check --image=false -c - <DIR/right.yaml", 0, "ok: 1 process"),
        // Without -c, the output names the file that drainit has read.
        ("cd DIR/; DRAINIT_CONFIG=right.yaml $D check", 0, "ok: right.yaml: 1 process"),
        ("cat DIR/right.yaml | $D plan -c - --json", 0, "after_signal"),
    ] {
        let script = format!("D={}; {}", env!("CARGO_BIN_EXE_drainit"), rig.fill(command));
        Said::of(Command::new("sh").args(["-c", &script]).output().unwrap()).assert(code, says);
    }
}
