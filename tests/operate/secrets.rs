//! Tests that no output contains a secret: the content of secret files, and the values of an
//! `env_file` and of the container's environment.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

use crate::support::http::{free_address, get, get_unix};
use crate::support::namespace::is_root_for;
use crate::support::{Rig, Said};

const SECRET: &str = "geheim-1234";

// holds: C270, C274
#[test]
fn no_output_shows_a_secret() {
    // For each process, its name, and the content of its file, which is wrong.
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
logging: {{format: json}}
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
    let drainit = rig.env("GIVEN", SECRET).env("DRAINIT_LOG_LEVEL", "debug").start_ready(&config);

    let mut shown = Vec::new();
    let (control, config) = (drainit.path("control.sock"), drainit.path("drainit.yaml"));
    let mut ask = |command: &[&str]| {
        let said = drainit.exec(command);
        shown.push((command.join(" "), format!("{said:?}")));
        said.code
    };
    for (name, content) in &broken {
        fs::write(drainit.path(name), content).unwrap();
        assert_eq!(ask(&["restart", name]), 1, "{name}");
    }
    // A reload compares the new secrets with the old ones.
    fs::copy(drainit.path("changed.yaml"), config).unwrap();
    for command in ["status", "status --format json", "plan --reload"] {
        assert_eq!(ask(&command.split(' ').collect::<Vec<_>>()), 0, "{command}");
    }
    ask(&["reload"]);
    // These commands read the config and its files themselves.
    for command in ["check", "plan", "plan --format json"] {
        let words: Vec<_> = command.split(' ').collect();
        let said = Said::of(drainit.exec_as(None, &words).env("GIVEN", SECRET).output().unwrap());
        assert_eq!(said.code, 0, "{command}: {said:?}");
        shown.push((command.to_owned(), format!("{said:?}")));
    }
    for path in ["/status", "/metrics", "/readyz"] {
        shown.push((path.to_owned(), get(address, path).unwrap().1));
        shown.push((format!("socket {path}"), get_unix(&control, path).unwrap().1));
    }
    let words = fs::read(format!("/proc/{}/cmdline", drainit.pid())).unwrap();
    shown.push(("ps".to_owned(), String::from_utf8(words).unwrap()));
    let ended = drainit.stop();
    shown.push(("report".to_owned(), fs::read_to_string(ended.path("report.json")).unwrap()));
    for (what, text) in shown {
        assert!(text.len() > 2 && !text.contains(SECRET), "{what}: {text}");
    }
    ended.assert_no_line(SECRET);
    // The processes did get the values.
    let all = format!("{SECRET} {SECRET} {SECRET}\n");
    assert_eq!(fs::read_to_string(ended.path("app.conf")).unwrap(), all);
    assert_eq!(ended.report("app.json")["env"]["LATER"], format!("x {SECRET}"));
}

/// Whether a text is in the memory of a process.
fn is_in_memory(pid: Pid, text: &str) -> bool {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let range = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [range.0, range.1].map(|end| u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A guard page cannot be read.
        let is_read = memory.read_exact_at(&mut bytes, from).is_ok();
        is_read && bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn no_secret_stays_in_memory_after_the_start() {
    if !is_root_for("another process's memory") {
        return;
    }
    // A short secret could remain on a stack by chance. A long secret is too large for a stack.
    for secret in ["kurz-97531".to_owned(), "lang-86420-".repeat(2000)] {
        let Some(rig) = Rig::new() else { return };
        for (name, text) in [
            ("token", format!("{secret}\n")),
            ("app.env", format!("B='{secret}'\n")),
            ("app.tmpl", "is ${A} and $$B ${B}\n".to_owned()),
        ] {
            rig.write(name, text);
        }
        let keys = |name: &str| {
            format!(
                "environment: {{A: {{file: DIR/token}}}}, env_file: [{{path: DIR/app.env, read: start}}], \
                 render: [{{from: DIR/app.tmpl, to: DIR/{name}.conf}}]"
            )
        };
        let [app, forked, asked, hooked] = ["app", "forked", "asked", "hooked"].map(keys);
        let drainit = rig.start_ready(&format!(
            "
processes:
  app:
    {{command: [CHILD, server, unix=DIR/app.sock], {app}, readiness: {{unix: DIR/app.sock}},
    liveness: {{unix: DIR/app.sock, interval: 10ms}}, hooks: {{pre_start: ['true']}}}}
  forked: {{command: [CHILD, forked], {forked}, umask: '022', restart: always}}
  asked: {{command: [CHILD, asked], {asked}, hooks: {{post_stop: ['true']}}, on_exit: ignore}}
  hooked: {{command: [CHILD, hooked], {hooked}, hooks: {{pre_stop: ['true']}}, on_exit: ignore}}
"
        ));
        let pid = drainit.pid();
        assert!(is_in_memory(pid, &secret), "a hook needs it");
        for [command, name] in [["stop", "asked"], ["stop", "hooked"], ["restart", "forked"]] {
            drainit.exec(&[command, name]).assert(0, "");
        }
        assert!(!is_in_memory(pid, &secret), "{} bytes", secret.len());
        let ended = drainit.stop();
        ended.assert_code(0);
        let rendered = fs::read_to_string(ended.path("app.conf")).unwrap();
        assert_eq!(rendered, format!("is {secret} and $B {secret}\n"));
    }
}
