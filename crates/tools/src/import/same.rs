//! Converts random files. From each draft, drainit must read the same as supervisord or Compose
//! reads from the file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output};

use crate::config::{LogMode, Process, Variable};
use crate::import::input::InputFile;
use crate::import::{Format, convert};
use crate::keys::values::{duration, signal};
use crate::language::yaml::node::{Node, get};
use crate::load::testing;
use drainit_config::testing::random::Random;
use drainit_config::testing::temp_dir::TempDir;
use serde_json::{Value, json};

/// The variables of the container.
const VARIABLES: [(&str, &str); 2] = [("X", "env x"), ("Y", "why")];

/// Prints the list of programs that supervisord reads from each file, as one line of JSON.
const SUPERVISORD: &str = r#"
import json, shlex, sys
from supervisor.datatypes import RestartUnconditionally, RestartWhenExitUnexpected
from supervisor.options import ServerOptions
RESTART = {RestartUnconditionally: "Always", RestartWhenExitUnexpected: "OnFailure", False: "No"}
def words(command):
    try: return shlex.split(command)
    except ValueError: return None
for path in sys.argv[1:]:
    options = ServerOptions()
    options.realize(["-n", "-c", path])
    print(json.dumps([{
        "group": group.name, "name": program.name, "command": words(program.command), "directory": program.directory or options.directory,
        "environment": program.environment, "umask": options.umask if program.umask is None else program.umask, "uid": program.uid,
        "stopsignal": int(program.stopsignal), "stopwaitsecs": program.stopwaitsecs,
        "startretries": program.startretries, "exitcodes": list(program.exitcodes),
        "autostart": bool(program.autostart), "stdout_logfile": str(program.stdout_logfile),
        "autorestart": RESTART[program.autorestart],
        "redirect_stderr": bool(program.redirect_stderr),
    } for group in options.process_group_configs for program in group.process_configs]))
"#;

/// Runs a program with the variables of the container, and returns its output. `None` if the
/// program is not installed; in CI, a missing program is a failure.
pub(crate) fn output_of(command: &mut Command) -> Option<Output> {
    let output = command.env_clear().envs(VARIABLES).env("PATH", "/usr/bin:/bin").output();
    let output = output.ok().filter(|it| it.status.success() || !it.stderr.is_empty());
    let is_there = output
        .as_ref()
        .is_some_and(|it| !String::from_utf8_lossy(&it.stderr).contains("ModuleNotFoundError"));
    if is_there {
        return output;
    }
    assert!(std::env::var_os("CI").is_none(), "{command:?} is missing, and this is CI");
    let _ = writeln!(std::io::stderr(), "skipped: {command:?} is not installed");
    None
}

/// Loads the draft of a file.
fn processes(format: Format, text: &str) -> Vec<std::sync::Arc<Process>> {
    let draft = convert(InputFile::new("F", text), "F", format).unwrap().text;
    let loaded = testing::load(&[&draft], &VARIABLES);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{text}\n{draft}\n{}", problems[0]));
    loaded.config.processes
}

fn environment(process: &Process) -> BTreeMap<String, String> {
    let variables = process.environment.iter().filter_map(|variable| match variable {
        Variable::Set { name, value } => Some((name.clone(), value.clone())),
        _ => None,
    });
    variables.filter(|(name, _)| name != "SCALE_INDEX").collect()
}

fn pick<'t>(random: &mut Random, texts: &[&'t str]) -> &'t str {
    random.pick(texts)
}

/// Words of a command in a supervisord.conf.
const WORDS: &str = "-x¦'a b'¦\"c  d\"¦e\\ f¦it\\'s¦a\"b c\"d¦$HOME¦a$¦$$H$1¦100%%¦%(ENV_X)s¦'%(ENV_Y)s'¦\
    \"q\\\"q\\n\"¦k=v¦*¦${Y}¦%(program_name)s¦%(ENV_A)s";
/// Values of variables in a supervisord.conf; `A` is a variable of `[supervisord]`.
const VALUES: [&str; 7] =
    ["one", "\"t w o\"", "'it is'", "\"it's\"", "%(ENV_Y)s", "\"$Y!\"", "/a/b.c"];
/// The options of a program, each with its values.
const OPTIONS: [(&str, &[&str]); 12] = [
    ("directory", &["/", "/usr", "/$H-%(program_name)s"]),
    ("user", &["root"]),
    ("umask", &["022", "077"]),
    ("stopsignal", &["TERM", "QUIT", "int", "USR1", "15"]),
    ("stopwaitsecs", &["0", "7"]),
    ("startretries", &["0", "3", "5"]),
    ("exitcodes", &["0", "2", "0,2", "0, 3"]),
    ("autostart", &["true", "false", "off", "Yes"]),
    ("autorestart", &["true", "false", "unexpected", "no", "1"]),
    ("redirect_stderr", &["true", "false"]),
    ("stdout_logfile", &["/tmp/%(ENV_Y)s.log", "/dev/stdout", "NONE"]),
    ("numprocs", &["1", "3"]),
];

/// A line of a supervisord.conf, in one of the forms that it can have.
fn option(random: &mut Random, name: &str, value: &str) -> String {
    let before = pick(random, &["", "; no=1\n", "# no=1\n\n"]);
    let sign = pick(random, &["=", " = ", ":", "= "]);
    let after = pick(random, &["", "", " ; why", " ;", "\t# why"]);
    format!("{before}{name}{sign}{value}{after}\n")
}

fn supervisord_conf(random: &mut Random) -> String {
    let mut text = "[supervisord]\nuser=root\nnodaemon=true\nenvironment=A=global".to_owned();
    let variables = |random: &mut Random| {
        let names = ["A", "B", "C"].into_iter().filter(|_| random.one_in(2)).collect::<Vec<_>>();
        let all = names.iter().map(|name| format!("{name}={}", pick(random, &VALUES)));
        all.collect::<Vec<_>>().join(",")
    };
    text += &format!(",{}\n", variables(random));
    for (name, values) in [OPTIONS[0], OPTIONS[2]] {
        if random.one_in(2) {
            let value = pick(random, &values[..2]);
            text += &option(random, name, value);
        }
    }
    for program in ["web", "job"] {
        let words: Vec<_> = (0..random.below(4)).map(|_| random.part(WORDS)).collect();
        let command = format!("/bin/prog {}", words.join(pick(random, &[" ", "  ", "\n  "])));
        text += &format!("[program:{program}]\n{}", option(random, "command", command.trim()));
        for (name, values) in OPTIONS {
            if !random.one_in(3) {
                continue;
            }
            let value = pick(random, values);
            text += &option(random, name, value);
            if name == "numprocs" {
                text += "process_name=%(program_name)s_%(process_num)d ; why\n";
            }
        }
        if random.one_in(2) {
            let variables = variables(random);
            text += &option(random, "environment", &variables);
        }
    }
    text
}

#[test]
fn supervisord_and_the_draft_agree() {
    let (dir, mut random) = (TempDir::new(), Random(1));
    let texts: Vec<_> = (0..150).map(|_| supervisord_conf(&mut random)).collect();
    let path =
        |(number, text): (usize, &String)| dir.write(&format!("{number}.conf"), text.as_bytes());
    let paths: Vec<_> = texts.iter().enumerate().map(path).collect();
    let mut python = Command::new("/usr/bin/python3");
    let Some(output) = output_of(python.args(["-c", SUPERVISORD]).args(&paths)) else { return };
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().count(), texts.len(), "{}", String::from_utf8_lossy(&output.stderr));
    for (text, line) in texts.iter().zip(printed.lines()) {
        let programs: Vec<Value> = serde_json::from_str(line).unwrap();
        let mut drafted = processes(Format::Supervisord, text);
        drafted.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(drafted.len(), programs.len(), "{text}");
        for (process, program) in drafted.iter().zip(&programs) {
            let group = program["group"].as_str().unwrap();
            let (_, section) = text.split_once(&format!("[program:{group}]")).unwrap();
            let section = section.split("[program:").next().unwrap();
            let has = |key: &str| section.lines().any(|line| line.starts_with(key));
            let restarts = program["autorestart"] != "No";
            let of_all = text.split("[program").next().unwrap();
            let found = json!({
                "name": process.name,
                "command": process.command,
                "environment": environment(process),
                "directory": process.working_dir,
                "umask": process.umask,
                "stopsignal": process.stop_signal.number(),
                "stopwaitsecs": process.stop_grace_period.map(|it| it.as_secs()),
                "startretries": process.restart_max,
                "exitcodes": process.success_codes,
                "autostart": process.autostart,
                "autorestart": format!("{:?}", process.restart),
                "redirect_stderr": process.log.stderr_to_stdout,
            });
            for (key, found) in found.as_object().unwrap() {
                let is_written = match &**key {
                    "name" => !process.name.contains('-'),
                    "command" => !program["command"].is_null(),
                    "umask" => has("umask") || of_all.contains("umask"),
                    "stopsignal" | "stopwaitsecs" => has(key),
                    "startretries" => has(key) && restarts,
                    "redirect_stderr" => process.log.mode != LogMode::None,
                    _ => true,
                };
                let read = &program[key];
                assert!(!is_written || read == found, "{key} is {read}, not {found}\n{text}");
            }
            assert_eq!(has("user"), process.user.is_some(), "{text}");
            if let LogMode::File(file) = &process.log.mode {
                assert_eq!(program["stdout_logfile"], json!(file.path), "{text}");
            }
        }
    }
}

/// Parts of a command or a value in a Compose file.
const PARTS: &str = "-x¦'a b'¦\"c  d\"¦e\\ f¦$X¦${Y}¦\"$X\"¦$$HOME¦${N:-d e}¦${N-q}¦'${Y:-z}'¦k=v";
/// The keys of a service, each with its values.
const KEYS: [(&str, &str); 9] = [
    ("stop_signal", "INT¦SIGQUIT¦USR1"),
    ("stop_grace_period", "1m30s¦0s¦500ms"),
    ("user", "root¦\"1:2\"¦\"${N:-7}\""),
    ("working_dir", "/a/${Y}¦/¦\"/$$b $X\""),
    ("restart", "always¦unless-stopped¦on-failure¦on-failure:3¦on-failure:0¦\"no\""),
    ("scale", "1¦2"),
    ("healthcheck", PROBES),
    ("ulimits", "{nofile: 5, core: {soft: 1, hard: 2}}"),
    (
        "depends_on",
        "[last]¦{last: {condition: service_started}}¦{last: {condition: service_healthy}}",
    ),
];
const PROBES: &str = "{test: [CMD, probe, $Y], interval: 5s}¦\
    {test: probe $$x $X, retries: 4, start_period: 7s}¦{disable: true}";

fn service(random: &mut Random) -> String {
    let mut text = String::new();
    for (place, key) in ["entrypoint", "command"].into_iter().enumerate() {
        if place == 0 && random.one_in(2) {
            continue;
        }
        let words: Vec<_> = (0..=random.below(3)).map(|_| random.part(PARTS)).collect();
        let quoted: Vec<_> = words.iter().map(|word| json!(word).to_string()).collect();
        let value = match random.one_in(2) {
            true => format!("[{}]", quoted.join(", ")),
            false => json!(format!("prog {}", words.join(" "))).to_string(),
        };
        text += &format!("    {key}: {value}\n");
    }
    let variables = ["A", "B", "C"].into_iter().filter(|_| random.one_in(2)).collect::<Vec<_>>();
    let variables: Vec<_> = variables
        .into_iter()
        .map(|name| (name, if random.one_in(6) { "" } else { random.part(PARTS) }))
        .collect();
    let list = variables.iter().map(|(name, value)| json!(format!("{name}={value}")).to_string());
    let map = variables.iter().map(|(name, value)| format!("{name}: {}", json!(value)));
    text += &match random.one_in(2) {
        true => format!("    environment: [{}]\n", list.collect::<Vec<_>>().join(", ")),
        false => format!("    environment: {{{}}}\n", map.collect::<Vec<_>>().join(", ")),
    };
    for (key, values) in KEYS {
        if random.one_in(3) {
            text += &format!("    {key}: {}\n", random.part(values));
        }
    }
    text
}

/// The words of a command in the output of Compose, in which `$$` stands for `$`.
fn words(node: Option<&Node>) -> Vec<String> {
    let text = |node: &Node| node.scalar().unwrap_or_default().replace("$$", "$");
    match node {
        Some(node) if node.scalar().is_some() => shlex::split(&text(node)).unwrap(),
        Some(node) => node.items().iter().map(|item| text(item)).collect(),
        None => Vec::new(),
    }
}

#[test]
fn compose_and_the_draft_agree() {
    let (dir, mut random) = (TempDir::new(), Random(1));
    let mut text =
        "services:\n  last: {image: x, command: [x], healthcheck: {test: [CMD, x]}}\n".to_owned();
    for number in 0..150 {
        text += &format!("  s{number}:\n    image: x\n{}", service(&mut random));
    }
    let path = dir.write("compose.yaml", text.as_bytes());
    let mut compose = Command::new("/usr/bin/docker-compose");
    let Some(output) = output_of(compose.arg("-f").arg(&path).arg("config")) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, root) = InputFile::new("F", &String::from_utf8(output.stdout).unwrap()).tree().unwrap();
    let drafted = processes(Format::Compose, &text);
    for (name, service) in get(&root, &["services"]).unwrap().entries() {
        let copies: Vec<_> =
            drafted.iter().filter(|it| it.name.split('-').next() == Some(&name.text)).collect();
        let value = |key: &str| Some(&**get(service, &key.split('.').collect::<Vec<_>>())?);
        let plain =
            |key: &str| value(key).and_then(Node::scalar).map(|text| text.replace("$$", "$"));
        let count = plain("scale").map_or(1, |scale| scale.parse().unwrap());
        assert_eq!(copies.len(), count, "{}", name.text);
        let process = copies[0];
        let section = text.split(&format!("  {}:\n", name.text)).nth(1).unwrap_or_default();
        let section = section.split("    image: x").nth(1);
        let variables = value("environment").map(|node| node.entries()).unwrap_or_default();
        let variable =
            |(key, value): &(crate::language::yaml::node::NodeKey, std::rc::Rc<Node>)| {
                (key.text.to_string(), value.scalar().unwrap().replace("$$", "$"))
            };
        let probe = process.readiness.as_ref().map(|readiness| format!("{:?}", readiness.probe));
        let test = words(value("healthcheck.test"));
        let test = match &test.first().map(String::as_str) {
            Some("CMD") => Some(test[1..].to_vec()),
            Some("CMD-SHELL") => Some(vec!["sh".to_owned(), "-c".to_owned(), test[1].clone()]),
            None | Some("NONE") => None,
            _ => Some(vec!["sh".to_owned(), "-c".to_owned(), plain("healthcheck.test").unwrap()]),
        };
        let time = |key: &str, otherwise: &str| {
            duration(plain(key).as_deref().unwrap_or(otherwise)).unwrap()
        };
        // The time after which Compose calls the service unhealthy.
        let retries = plain("healthcheck.retries").map_or(3, |retries| retries.parse().unwrap());
        let unhealthy =
            time("healthcheck.interval", "30s") * retries + time("healthcheck.start_period", "0s");
        let restart = plain("restart").unwrap_or_else(|| "no".to_owned());
        let (policy, max) = restart.split_once(':').unwrap_or((&restart, ""));
        let policy = match policy {
            "no" => "No",
            "on-failure" => "OnFailure",
            _ => "Always",
        };
        let found = json!({
            "command": process.command,
            "environment": environment(process),
            "working_dir": process.working_dir,
            "restart": (format!("{:?}", process.restart), process.restart_max),
            "healthcheck": (probe, process.readiness.as_ref().map(|it| it.timeout)),
            "stop_grace_period": process.stop_grace_period,
            "stop_signal": process.stop_signal.number(),
            "user": process.user.is_some(),
            "ulimits": process.ulimits.len(),
            "depends_on": process.depends_on.len(),
        });
        let command = [words(value("entrypoint")), words(value("command"))].concat();
        let max = max.parse::<u32>().ok().filter(|max| *max > 0);
        let is_probed = test.as_ref().map(|_| unhealthy);
        let expected = json!({
            "command": command,
            "environment": variables.iter().map(variable).collect::<BTreeMap<_, _>>(),
            "working_dir": plain("working_dir"),
            "restart": (policy, max),
            "healthcheck": (test.map(|test| format!("Exec({test:?})")), is_probed),
            "stop_grace_period": plain("stop_grace_period").map(|text| duration(&text).unwrap()),
            "stop_signal": signal(plain("stop_signal").as_deref().unwrap_or("TERM")).unwrap().number(),
            "user": value("user").is_some(),
            "ulimits": value("ulimits").map_or(0, |node| node.entries().len()),
            "depends_on": value("depends_on").map_or(0, |node| node.inner().count()),
        });
        assert_eq!(found, expected, "{}\n{section:?}", name.text);
    }
}
