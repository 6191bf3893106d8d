//! What must stay secret is in no way out: the content of secret files, the values of an `env_file`
//! and those of the container's environment.

use std::fs;

use crate::support::http::{free_address, get, get_unix};
use crate::support::{LONG, Rig, Said, Signal};

const SECRET: &str = "geheim-1234";

#[test]
fn no_way_out_shows_a_value() {
    // A file of the process with this name, and a content that does not work.
    let broken = [
        ("quote", format!("P='{SECRET}\n")),
        ("name", format!("{SECRET} x=1\n")),
        ("brace", format!("P=${{{SECRET}\n")),
        ("message", format!("A={SECRET}\nB=${{NONE:?$A ${{A}} ${{GIVEN}}}}\n")),
        ("template", format!("{SECRET} ${{{SECRET}\n")),
        ("refused", "${NONE:?${TOKEN} ${GIVEN}}\n".to_owned()),
        ("binary", format!("{SECRET}\0")),
    ];
    let Some(rig) = Rig::new() else { return };
    let address = free_address();
    let mut config = format!(
        "
logging: {{format: json, events: DIR/events}}
control: {{socket: DIR/control.sock, listen: '{address}'}}
shutdown: {{report: DIR/report.json}}
processes:
  app:
    command: [CHILD, app, report=DIR/app.json]
    environment: {{TOKEN: {{file: DIR/token}}, GIVEN: '${{GIVEN}}', LATER: '${{GIVEN}}'}}
    env_file: [{{path: DIR/app.env, read: start}}]
    render: [{{from: DIR/app.tmpl, to: DIR/app.conf}}]
"
    );
    for (name, _) in &broken {
        let keys = match *name {
            "binary" => "environment: {TOKEN: {file: DIR/binary}}".to_owned(),
            "template" | "refused" => format!(
                "environment: {{TOKEN: {{file: DIR/token}}}}, render: [{{from: DIR/{name}, to: DIR/{name}.out}}]"
            ),
            _ => format!("env_file: [{{path: DIR/{name}, read: start}}]"),
        };
        config += &format!("  {name}: {{command: [CHILD, {name}], {keys}}}\n");
        rig.write(name, "A=1\n");
    }
    rig.write("token", SECRET);
    rig.write("app.env", format!("PASSWORD={SECRET}\n"));
    rig.write("app.tmpl", "${TOKEN} ${PASSWORD} ${GIVEN}\n");
    let changed = config.replace("LATER: '${GIVEN}'", "LATER: 'x ${GIVEN}'");
    rig.write("changed.yaml", rig.fill(&changed));
    let drainit = rig.env("GIVEN", SECRET).env("DRAINIT_LOG_LEVEL", "debug").start(&config);
    drainit.wait_for_line("everything is ready");

    let mut shown = Vec::new();
    let (control, config) = (drainit.path("control.sock"), drainit.path("drainit.yaml"));
    let mut ask = |command: &[&str]| {
        let socket = control.display().to_string();
        let said = drainit.exec(&[command, &["--socket", &socket]].concat());
        shown.push((command.join(" "), format!("{said:?}")));
        said.code
    };
    for (name, content) in &broken {
        fs::write(drainit.path(name), content).unwrap();
        assert_eq!(ask(&["restart", name]), 1, "{name}");
    }
    // A reload compares the values.
    fs::copy(drainit.path("changed.yaml"), config).unwrap();
    for command in ["status", "status --format json", "logs", "plan --reload"] {
        assert_eq!(ask(&command.split(' ').collect::<Vec<_>>()), 0, "{command}");
    }
    ask(&["reload"]);
    // These read the config and its files themselves. The text of a template is shown as that of the config is.
    fs::write(drainit.path("template"), "${GIVEN ${TOKEN}").unwrap();
    for (command, code) in [
        ("check", 78),
        ("plan", 0),
        ("plan --format json", 0),
        ("simulate --seed 1", 0),
        ("simulate --runs 10", 0),
    ] {
        let words: Vec<_> = command.split(' ').collect();
        let said = Said::of(drainit.exec_as(None, &words).env("GIVEN", SECRET).output().unwrap());
        assert_eq!(said.code, code, "{command}: {said:?}");
        shown.push((command.to_owned(), format!("{said:?}")));
    }
    for path in ["/status", "/metrics", "/readyz"] {
        shown.push((path.to_owned(), get(address, path).unwrap().1));
        shown.push((format!("socket {path}"), get_unix(&control, path).unwrap().1));
    }
    let words = fs::read(format!("/proc/{}/cmdline", drainit.pid())).unwrap();
    shown.push(("ps".to_owned(), String::from_utf8(words).unwrap()));
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    for file in ["events", "report.json"] {
        shown.push((file.to_owned(), fs::read_to_string(ended.path(file)).unwrap()));
    }
    for (what, text) in shown {
        assert!(text.len() > 2 && !text.contains(SECRET), "{what}: {text}");
    }
    ended.assert_no_line(SECRET);
    // They were there.
    let all = format!("{SECRET} {SECRET} {SECRET}\n");
    assert_eq!(fs::read_to_string(ended.path("app.conf")).unwrap(), all);
    assert_eq!(ended.report("app.json")["env"]["LATER"], format!("x {SECRET}"));
}

#[test]
fn no_signal_makes_it_dump_its_core() {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ};
    // PID 1 would be spared by the kernel.
    let drainit = Rig::not_init().start("processes: {a: {command: [CHILD, a]}}");
    drainit.wait_for_line("everything is ready");
    for signal in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ] {
        drainit.signal(signal);
        drainit.wait_for_line(&format!("{signal} has no effect"));
    }
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}
