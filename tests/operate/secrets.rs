//! Tests that no output contains a secret: the content of secret files, and the values of an
//! `env_file` and of the container's environment.

use std::fs::File;
use std::os::unix::fs::{FileExt, lchown, symlink};

use nix::unistd::Pid;

use crate::support::*;

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
        drainit.write(name, content);
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

/// Processes that fail, each with the lines or messages that name the text of the config. `${P}`
/// stands for the secret value of a variable.
const FAILING: &str = r#"
program    command: ['/none/${P}']
in-path    command: ['${P}']
script     command: ['DIR/${P}.script']
dir        command: [CHILD, dir], working_dir: '/none/${P}'
user       command: [CHILD, user], user: '${P}'
file       command: [CHILD, file], environment: {A: {file: '/none/${P}'}}
env-file   command: [CHILD, env-file], env_file: [{path: '/none/${P}', read: start}]
template   command: [CHILD, template], render: [{from: '/none/${P}', to: /none/a}]
rendered   command: [CHILD, rendered], render: [{from: DIR/tmpl, to: '/none/${P}'}]
log-file   command: [CHILD, log-file], log: {file: '/none/${P}'}
log-full   command: [CHILD, log-full, print=x], log: {file: 'DIR/${P}.full'}
hook       command: [CHILD, hook], hooks: {pre_start: ['/none/${P}']}
hook-user  command: [CHILD, hook-user], hooks: {pre_start: {command: ['true'], user: '${P}'}}
sockets    command: [CHILD, sockets], sockets: ['DIR/${P}.script']
path       command: [CHILD, path], environment: {PATH: '/none/${P}'}, readiness: {exec: [none]}
unix       command: [CHILD, unix], readiness: {unix: '/none/${P}'}
exists     command: [CHILD, exists], readiness: {file: '/none/${P}', timeout: 200ms}
http       command: [CHILD, http], readiness: {http: 'http://127.0.0.1:1/a/${P}/b?t=${P}'}
query      command: [CHILD, query], readiness: {http: 'unix:/none:/a?t=${P}'}
invalid    command: [CHILD, invalid], readiness: {http: 'http://127.0.0.1:1/<${P}'}
grpc       command: [CHILD, grpc], readiness: {grpc: 'unix:/none/${P}'}
envoy      command: [CHILD, envoy], readiness: {envoy: 'unix:/none/${P}'}
exec       command: [CHILD, exec], readiness: {exec: ['/none/${P}']}
pattern    command: [CHILD, pattern], readiness: {log: 'x${P}'}
alive-unix command: [CHILD, alive-unix], liveness: {unix: '/none/${P}', PACE}
alive-http command: [CHILD, alive-http], liveness: {http: 'http://127.0.0.1:1/${P}?${P}', PACE}
alive-exec command: [CHILD, alive-exec], liveness: {exec: ['/none/${P}'], PACE}
drain-http command: [CHILD, drain-http], drain: {http: {url: 'http://127.0.0.1:1/<${P}', TIME}}
drain-exec command: [CHILD, drain-exec], drain: {exec: {command: ['/none/${P}'], TIME}}
drain-call command: [CHILD, drain-call], drain: {envoy: {admin: 'unix:/none/${P}', TIME}}
header     command: [CHILD, header], drain: {http: {url: 'http://127.0.0.1:1/', headers: {A: {file: '/none/${P}'}}, TIME}}
pre-stop   command: [CHILD, pre-stop], hooks: {pre_stop: ['/none/${P}']}
post-stop  command: [CHILD, post-stop], hooks: {post_stop: ['/none/${P}']}
only-if    command: [CHILD, only-if], only_if: {path_missing: 'DIR/link/${P}'}
watched    command: [CHILD, watched], watch: [{path: 'DIR/${P}.file', action: USR1}]
"#;

/// Processes whose lines do not name the text of the config.
const UNNAMED: [&str; 3] = ["query", "drain-http", "drain-call"];

/// Runs drainit with processes that fail in all ways, and looks for the value in every output.
// holds: C772
#[test]
fn no_output_shows_a_value_that_a_failing_part_of_the_config_contains() {
    let random = std::process::id();
    for (format, secret) in [("text", format!("geheim-{random}")), ("json", "xqzj".to_owned())] {
        let Some(rig) = Rig::new() else { return };
        let address = free_address();
        let mut config = format!(
            "
logging: {{format: {format}}}
control: {{listen: '{address}'}}
shutdown: {{report: '/none/${{P}}', grace_period: 8s}}
hooks: {{pre_stop: ['/none/${{P}}'], post_stop: ['${{P}}']}}
processes:
  base: {{command: [CHILD, base]}}
"
        );
        let mut names = Vec::new();
        for line in FAILING.trim().lines() {
            let (name, keys) = line.split_once(' ').unwrap();
            let keys =
                keys.replace("PACE", "interval: 20ms, retries: 1000").replace("TIME", "time: 1s");
            let more =
                if keys.contains("only_if") { "" } else { ", required: false, on_exit: ignore" };
            config += &format!("  {name}: {{{}{more}}}\n", keys.trim());
            names.push(name);
        }
        rig.write("tmpl", "x");
        rig.write(&format!("{secret}.file"), "x");
        rig.write_program(&format!("{secret}.script"), "#!/none/interpreter\n");
        symlink("/dev/full", rig.path(&format!("{secret}.full"))).unwrap();
        symlink("/", rig.path("link")).unwrap();
        if is_root_for("a link of another user") {
            lchown(rig.path("link"), Some(10_001), None).unwrap();
        }
        let drainit = rig.env("P", &secret).env("DRAINIT_LOG_LEVEL", "debug").start(&config);
        drainit.wait_for_start(&["base", "watched", "alive-unix"]);
        drainit.write(&format!("{secret}.file"), "y");
        drainit.wait_for_line("watched: .* changed");
        drainit.wait_until("told of all", || {
            let now = get(address, "/status").unwrap().1;
            ["unix", "exec", "envoy", "pattern", "alive-exec"].iter().all(|name| {
                let text = now.split(&format!("\"name\":\"{name}\"")).nth(1).unwrap();
                text.split("\"name\"").next().unwrap().contains("\"message\"")
            })
        });
        let mut shown = Vec::new();
        for path in ["/status", "/metrics", "/readyz"] {
            shown.push((path.to_owned(), get(address, path).unwrap().1));
        }
        let mut commands = vec!["status", "status --format json", "plan --reload", "health"];
        let of_one: Vec<_> = names.iter().map(|name| format!("status {name}")).collect();
        commands.extend(of_one.iter().map(String::as_str));
        commands.extend(["restart program", "restart in-path", "restart hook", "restart exists"]);
        commands.extend(["plan", "plan --format json", "check", "check --image"]);
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            let mut command_line = drainit.exec_as(None, &words);
            let said = Said::of(command_line.env("P", &secret).output().unwrap());
            shown.push((command.to_owned(), format!("{said:?}")));
        }
        // A socket that cannot be opened makes the reload fail.
        drainit.edit("base]", "base], listen: ['unix:/none/${P}']");
        shown.push(("reload".to_owned(), format!("{:?}", drainit.exec(&["reload"]))));
        let ended = drainit.stop();
        for (what, text) in &shown {
            assert!(text.len() > 2 && !text.contains(&secret), "{what}: {text}");
        }
        let leak = ended.record.lines.iter().find(|line| line.text.contains(&secret));
        assert!(leak.is_none(), "{leak:?}");
        // Each process has failed, and a line says so by the text of the config.
        for name in names.iter().filter(|name| !UNNAMED.contains(name)) {
            let status = shown.iter().find(|(what, _)| *what == format!("status {name}"));
            let is_in_status = status.is_some_and(|(_, text)| text.contains("${P}"));
            let is_in_log = ended.record.line(&format!(r"\b{name}: .*\$\{{P\}}")).is_some();
            assert!(is_in_status || is_in_log, "{}\n{name}: {status:?}", ended.record);
        }
    }
}

/// Processes that fail, and whose children and peers print the values `$P` (of the container), `$T`
/// (of a secret file) and `$E` (of an `env_file`). `SAY` is a shell command that prints them.
const TELLTALE: &str = r#"
ready      command: [CHILD, ready], readiness: {exec: [sh, -c, 'SAY; exit 1'], timeout: 60s}
late       command: [CHILD, late], readiness: {exec: [sh, -c, 'SAY; exit 1'], timeout: 500ms}
log        command: [sh, -c, 'SAY; exec CHILD log'], readiness: {log: never, timeout: 500ms}
alive      command: [CHILD, alive], liveness: {exec: [sh, -c, 'SAY; exit 1'], PACE, retries: 100000}
ill        command: [CHILD, ill], liveness: {exec: [sh, -c, 'SAY; exit 1'], PACE, retries: 3}
says       command: [sh, -c, 'exec CHILD says "notify=STATUS=said $P $T $E"'], readiness: {notify: true, timeout: 60s}
said       command: [sh, -c, 'exec CHILD said notify=READY=1 "notify=STATUS=said $P $T $E"'], readiness: {notify: true}
crash      command: [sh, -c, 'SAY; exit 3'], log: {file: DIR/crash.log}
crashes    command: [sh, -c, 'SAY >&2; exit 3'], restart: on-failure, restart_max: 1, restart_delay: 10ms
hook       command: [CHILD, hook], hooks: {pre_start: [sh, -c, 'SAY >&2; exit 1']}
pre-stop   command: [CHILD, pre-stop], hooks: {pre_stop: [sh, -c, 'SAY; exit 1']}
post-stop  command: [CHILD, post-stop], hooks: {post_stop: [sh, -c, 'SAY; exit 1']}
template   command: [CHILD, template], render: [{from: DIR/tmpl, to: DIR/rendered}]
http       command: [CHILD, http], readiness: {http: 'http://PEER/a', timeout: 60s}
grpc       command: [CHILD, grpc], readiness: {grpc: 'PEER', timeout: 60s}
envoy      command: [CHILD, envoy], readiness: {envoy: 'http://PEER', timeout: 60s}
drain-exec command: [CHILD, drain-exec], drain: {exec: {command: [sh, -c, 'SAY; exit 1'], TIME}}
drain-http command: [CHILD, drain-http], drain: {http: {url: 'http://PEER/d', TIME}}
drain-call command: [CHILD, drain-call], drain: {envoy: {admin: 'http://PEER', TIME}}
refused    command: [DIR/envoy, -c, DIR/rendered, --base-id, '1'], update: hot-restart, readiness: {envoy: 'http://ADMIN'}, drain: {envoy: {admin: 'http://ADMIN', TIME}}
"#;

/// Processes whose status shows what a child or a peer wrote, with the values hidden.
const TOLD: [&str; 5] = ["ready", "late", "alive", "says", "said"];

/// A random password of 6 to 69 characters.
fn password(random: &mut impl FnMut() -> usize) -> String {
    const CHARACTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789/+=@:.%\"";
    let length = 6 + random() % 64;
    // The first letters keep a short password from being a part of a word by chance.
    let some = (0..length - 2).map(|_| char::from(CHARACTERS[random() % CHARACTERS.len()]));
    "Qx".chars().chain(some).collect()
}

/// Answers every request with a status that is not a success, or with `OK`, and with these texts in
/// its head and its body.
fn leaky_server(texts: String) -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let status = if line.starts_with("POST") && !line.contains("/d") { 200 } else { 503 };
            let text = format!(
                "HTTP/1.1 {status} {texts}\r\nx-text: {texts}\r\ncontent-length: {}\r\n\r\n{texts}",
                texts.len()
            );
            let _ = stream.write_all(text.as_bytes());
        }
    });
    address
}

/// Runs drainit with children and peers that print the values, and looks for the values in every
/// output of drainit itself. Without login, nobody sees any text of a child.
// holds: C1070, C1072
#[test]
fn no_own_line_shows_a_value_that_a_child_has_printed() {
    for format in ["text", "json"] {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), format);
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(state >> 33).unwrap()
        };
        let values: [String; 3] = std::array::from_fn(|_| password(&mut random));
        let [given, token, in_file] = &values;
        let Some(rig) = Rig::new() else { return };
        let (address, peer) = (free_address(), leaky_server(values.join(" ")));
        let admin = Admin::tcp(0).address().to_string();
        let mut config = format!(
            "
logging: {{format: {format}}}
control: {{listen: '{address}'}}
shutdown: {{report: DIR/report.json, grace_period: 10s}}
hooks: {{pre_stop: [sh, -c, 'echo $P; exit 1']}}
processes:
  base: {{command: [CHILD, base]}}
"
        );
        let mut names = Vec::new();
        for line in TELLTALE.trim().lines() {
            let (name, keys) = line.split_once(' ').unwrap();
            let keys = keys
                .replace("SAY", r#"echo "cannot dial $P with $T, $E""#)
                .replace("PACE", "interval: 200ms")
                .replace("TIME", "time: 1s")
                .replace("ADMIN", &admin)
                .replace("PEER", &peer.to_string());
            config += &format!(
                "  {name}: {{{}, environment: {{T: {{file: DIR/token}}}}, \
                 env_file: [{{path: DIR/env, read: start}}], required: false, on_exit: ignore}}\n",
                keys.trim()
            );
            names.push(name);
        }
        rig.write("token", format!("{token}\n"));
        rig.write("env", format!("E='{in_file}'\n"));
        rig.write("tmpl", "${P} ${T} ${E} ${NONE:?no $P ${T}}\n");
        let refuses = "echo \"[1][critical][a] [b.cc:4] cannot dial $P with $T,\" >&2; echo \"$E\" >&2; exit 1";
        rig.write_program(
            "envoy",
            format!("#!/bin/sh\ncase \"$*\" in *validate*) {refuses};; esac\nexec sleep 1000\n"),
        );
        let drainit = rig.env("P", given).env("DRAINIT_LOG_LEVEL", "debug").start(&config);
        drainit.wait_for_start(&["base", "alive"]);
        for line in [
            "refused: ready",
            "late: not ready",
            "ill: .*failed its liveness",
            "hook: .*exited",
            "template: ",
        ] {
            drainit.wait_for_line(line);
        }
        let refused = drainit.exec(&["restart", "refused"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        drainit.wait_until("told of all", || {
            TOLD.iter().all(|name| {
                let said = drainit.exec(&["status", name]).stdout;
                said.contains("cannot dial ${P} with ${T}, ${E}")
                    || said.contains("said ${P} ${T} ${E}")
            })
        });
        let mut shown = vec![("restart".to_owned(), format!("{refused:?}"))];
        for path in ["/status", "/metrics", "/readyz"] {
            let text = get(address, path).unwrap().1;
            assert!(!text.contains("dial") && !text.contains("said $"), "{path}: {text}");
            shown.push((path.to_owned(), text));
        }
        let mut commands = vec!["status", "status --format json", "health"];
        let of_one: Vec<_> = names.iter().map(|name| format!("status {name}")).collect();
        commands.extend(of_one.iter().map(String::as_str));
        commands.extend(["restart late", "restart hook", "restart ill"]);
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            shown.push((command.to_owned(), format!("{:?}", drainit.exec(&words))));
        }
        let ended = drainit.stop();
        shown.push(("report".to_owned(), fs::read_to_string(ended.path("report.json")).unwrap()));
        // In JSON, only drainit's own lines have a level.
        let is_own = |text: &str| text.contains("[drainit]") || text.contains("\"level\":");
        let own = ended.record.lines.iter().filter(|line| is_own(&line.text));
        shown.extend(own.map(|line| ("log".to_owned(), line.text.clone())));
        for (what, text) in &shown {
            for value in &values {
                // A value may also stand in the text as in JSON, or as Rust's `Debug` writes it.
                let escaped = serde_json::to_string(value).unwrap();
                let escaped = &escaped[1..escaped.len() - 1];
                let twice = escaped.replace('\\', r"\\").replace('"', "\\\"");
                let is_there = [value, escaped, &twice].iter().any(|form| text.contains(*form));
                assert!(!is_there, "seed {seed}: {value} in {what}: {text}");
            }
        }
        // Each child did print the values, and drainit's lines say so.
        let all: String = shown.iter().map(|(_, text)| text.as_str()).collect();
        for part in [
            "late: not ready after",
            "ill: failed its liveness",
            "Envoy's check of its config failed",
        ] {
            let hidden = format!("{part}.*cannot dial \\$\\{{P\\}} with \\$\\{{T\\}},");
            assert!(regex_lite::Regex::new(&hidden).unwrap().is_match(&all), "{part}: {all}");
        }
    }
}

/// Runs drainit with a config that cannot start, and looks for the value in its lines.
#[test]
fn no_refused_start_shows_a_value() {
    for keys in ["control: {socket: '/none/${P}/a'}", "control: {socket: '/dev/${P}/a'}", "x-a: 1"]
    {
        for listen in ["/none/${P}", "DIR/${P}"] {
            let Some(rig) = Rig::new() else { return };
            rig.write(SECRET, "");
            let config = format!(
                "{keys}\nprocesses:\n  a: {{command: [CHILD, a], listen: ['unix:{listen}']}}\n"
            );
            rig.env("P", SECRET)
                .run(&config)
                .assert_code(78)
                .assert_no_line(SECRET)
                .assert_line(r"\$\{P\}");
        }
    }
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
    // A short secret could remain on a stack by chance. A long secret is too large for a stack.
    for secret in ["kurz-97531".to_owned(), "lang-86420-".repeat(2000)] {
        let Some(rig) = Rig::as_root("another process's memory") else { return };
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
