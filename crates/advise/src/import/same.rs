//! Converts random files. From each draft, drainit must read the same as supervisord reads
//! from the file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output};

use crate::import::input::InputFile;
use crate::import::{Format, convert};
use crate::keys::{LogMode, Process, Variable};
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
        "group": group.name, "name": program.name, "command": words(program.command), "directory": program.directory,
        "environment": program.environment, "umask": program.umask, "uid": program.uid,
        "stopsignal": int(program.stopsignal), "stopwaitsecs": program.stopwaitsecs,
        "exitcodes": list(program.exitcodes),
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
        Variable::Set { name, value } => Some((name.to_string(), value.to_string())),
        _ => None,
    });
    variables.filter(|(name, _)| name != "SCALE_INDEX").collect()
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
    let before = random.pick(&["", "; no=1\n", "# no=1\n\n"]);
    let sign = random.pick(&["=", " = ", ":", "= "]);
    let after = random.pick(&["", "", " ; why", " ;", "\t# why"]);
    format!("{before}{name}{sign}{value}{after}\n")
}

fn supervisord_conf(random: &mut Random) -> String {
    let mut text = "[supervisord]\nuser=root\nnodaemon=true\nenvironment=A=global".to_owned();
    let variables = |random: &mut Random| {
        let names = ["A", "B", "C"].into_iter().filter(|_| random.one_in(2)).collect::<Vec<_>>();
        let all = names.iter().map(|name| format!("{name}={}", random.pick(&VALUES)));
        all.collect::<Vec<_>>().join(",")
    };
    text += &format!(",{}\n", variables(random));
    for (name, values) in [OPTIONS[0], OPTIONS[2]] {
        if random.one_in(2) {
            let value = random.pick(&values[..2]);
            text += &option(random, name, value);
        }
    }
    for program in ["web", "job"] {
        let words: Vec<_> = (0..random.below(4)).map(|_| random.part(WORDS)).collect();
        let command = format!("/bin/prog {}", words.join(random.pick(&[" ", "  ", "\n  "])));
        text += &format!("[program:{program}]\n{}", option(random, "command", command.trim()));
        for (name, values) in OPTIONS {
            if !random.one_in(3) {
                continue;
            }
            let value = random.pick(values);
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
            let found = json!({
                "name": process.name,
                "command": process.command[..],
                "environment": environment(process),
                "directory": process.working_dir,
                "umask": process.umask,
                "stopsignal": process.stop_signal.number(),
                "stopwaitsecs": process.stop_grace_period.map(|it| it.as_secs()),
                "exitcodes": process.success_codes,
                "autostart": process.autostart,
                "autorestart": format!("{:?}", process.restart),
                "redirect_stderr": process.log.stderr_to_stdout,
            });
            for (key, found) in found.as_object().unwrap() {
                let is_written = match &**key {
                    "name" => !process.name.contains('-'),
                    "command" => !program["command"].is_null(),
                    "umask" => has("umask"),
                    "stopsignal" => has(key),
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
