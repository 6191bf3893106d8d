//! Reads a supervisord.conf.

use crate::import::draft::{Draft, Process, Value, plain_dollars};
use crate::import::ini;
use crate::import::ini::Section;
use crate::import::input::InputFile;
use crate::import::shell_words;
use crate::import::shell_words::Split;
use crate::import::supervisord_log;
use crate::import::supervisord_values::{
    TRUTHS, expand, expand_with, int, number, placeholders, truth, unknown_placeholders, variables,
};
use crate::load::Diagnostic;
use crate::load::values;

/// The default priority; a lower one starts earlier.
const PRIORITY: i64 = 999;

/// Keys of a program that are read outside [`process`].
const KNOWN: [&str; 9] = [
    "command",
    "process_name",
    "priority",
    "autostart",
    "autorestart",
    "startretries",
    "stdout_logfile",
    "stderr_logfile",
    "redirect_stderr",
];
/// Keys in which `%(ENV_NAME)s` is first of all a variable of the program's own `environment`.
const OWN_VARIABLES: [&str; 4] = ["command", "directory", "stdout_logfile", "stderr_logfile"];
/// Keys of [supervisord] that are read outside [`global_section`].
const KNOWN_GLOBAL: [&str; 4] = ["directory", "environment", "umask", "user"];
/// Keys of [supervisord] that only concern supervisord itself.
const SUPERVISOR_KEYS: [&str; 7] =
    ["pidfile", "nodaemon", "loglevel", "childlogdir", "identifier", "nocleanup", "silent"];
/// Keys of [supervisord] that raise limits of all programs.
const LIMIT_KEYS: [&str; 2] = ["minfds", "minprocs"];
/// Suffixes of keys about log rotation.
const LOG_KEYS: [&str; 2] = ["logfile_maxbytes", "logfile_backups"];
/// At most this many copies of `numprocs` are written.
const MOST_COPIES: i64 = 1000;

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let sections = match ini::read(&file.text()) {
        Ok(sections) => sections,
        Err(bad) => {
            let span = file.line(bad.line);
            return Err(file.fail(span, bad.message, bad.help));
        }
    };
    let mut draft = Draft::default();
    let (mut starts, mut log_keys) = (Vec::new(), Vec::new());
    let section = |name: &str| sections.iter().find(|section| section.name == name);
    let whole = section("supervisord");
    for section in &sections {
        let (kind, name) = section.name.split_once(':').unwrap_or((&section.name, ""));
        let name = name.trim();
        match kind {
            "program" | "fcgi-program" => {
                if section.get("command").is_none() {
                    let span = file.line(section.line);
                    let message = format!("[{}] has no command", section.name);
                    return Err(file.fail(span, &message, "add `command=`: supervisord refuses it too"));
                }
                for mut process in programs(section, name) {
                    in_directory(&mut process, whole);
                    with_umask(&mut process, whole);
                    with_environment(&mut process, whole);
                    starts.push(Start {
                        priority: number(section, "priority").unwrap_or(PRIORITY),
                        on_request: section.get("autostart").and_then(truth) == Some(false),
                    });
                    draft.processes.push(process);
                }
                let is_log_key =
                    |key: &&str| LOG_KEYS.iter().any(|end| key.ends_with(end));
                let keys = section.entries.iter().map(|(key, _)| key.as_str());
                for key in keys.filter(is_log_key) {
                    if !log_keys.contains(&key) {
                        log_keys.push(key);
                    }
                }
            }
            "supervisord" => {
                let is_used = |name: &str| {
                    let mention = format!("%(ENV_{name})");
                    sections.iter().any(|it| {
                        it.name != "supervisord"
                            && it.entries.iter().any(|(_, value)| value.contains(&mention))
                    })
                };
                global_section(&mut draft, section, is_used);
            }
            "eventlistener" => draft.notes.push(format!(
                "[{}] is not converted. If it stops the container when a program has died: remove `on_exit: ignore` \
                 instead.",
                section.name
            )),
            "include" => draft.notes.push(format!(
                "[include] files = {}: import these too, and add their processes here or with another -c.",
                section.get("files").unwrap_or_default()
            )),
            "group" => draft.notes.push(format!("[{}] is not converted: drainit has no groups.", section.name)),
            "unix_http_server" | "inet_http_server" | "supervisorctl" | "rpcinterface" => draft.notes.push(format!(
                "[{}] is not converted; see `control` in docs/config.md for drainit's endpoints.",
                section.name
            )),
            _ => draft.notes.push(format!("[{}] is not converted.", section.name)),
        }
    }
    if draft.processes.is_empty() {
        let Some(include) = section("include") else {
            let help = "add a section [program:NAME] with a `command`";
            let span = file.line(1);
            return Err(file.fail(span, "the file has no [program:…]", help));
        };
        let files = include.get("files").unwrap_or_default();
        let help = format!("import each of the files that it includes: {files}");
        let span = file.line(include.line);
        return Err(file.fail(span, "the file has no [program:…]", &help));
    }
    if !log_keys.is_empty() {
        draft.notes.push(format!(
            "{}: drainit does not rotate log files; they are made anew after a program such as logrotate has moved them.",
            log_keys.join(", ")
        ));
    }
    draft.notes.push(crate::import::ON_EXIT.to_owned());
    draft.fix_names();
    order(&mut draft, &starts);
    Ok(draft)
}

/// `is_used` tells whether a program has the variable as `%(ENV_NAME)s`.
fn global_section(draft: &mut Draft, section: &Section, is_used: impl Fn(&str) -> bool) {
    let (variables, odd) = variables(section.get("environment").unwrap_or_default());
    // A `${…}` does not see the `environment` of a process, so these are defaults, too.
    for (name, value) in variables.into_iter().filter(|(name, _)| is_used(name)) {
        draft.notes.push(format!(
            "[supervisord] environment: where the container has {name}, its value counts in the `%(ENV_{name})s` of a program."
        ));
        draft.env.push((name, expand(&value, "", 0)));
    }
    if !odd.is_empty() {
        draft
            .notes
            .push(format!("[supervisord] environment: {}: not `NAME=VALUE`.", odd.join(", ")));
    }
    for (key, value) in &section.entries {
        let notes = unknown_placeholders(key, value).into_iter();
        draft.notes.extend(notes.map(|note| format!("[supervisord] {note}.")));
    }
    if let Some(user) = section.get("user").filter(|user| !matches!(*user, "root" | "0")) {
        draft.notes.push(format!("supervisord runs as {user}: set USER in the Dockerfile."));
    }
    let is_supervisor_key =
        |key: &&str| SUPERVISOR_KEYS.contains(key) || key.starts_with("logfile");
    let keys = section.entries.iter().map(|(key, _)| key.as_str());
    let (own, lost): (Vec<_>, Vec<_>) =
        keys.filter(|key| !KNOWN_GLOBAL.contains(key)).partition(is_supervisor_key);
    let (limits, lost): (Vec<_>, Vec<_>) =
        lost.into_iter().partition(|key| LIMIT_KEYS.contains(key));
    if !limits.is_empty() {
        draft.notes.push(format!(
            "[supervisord]: not converted: {}; give the programs that need it `ulimits`, such as `{{nofile: max}}`.",
            limits.join(", ")
        ));
    }
    if !lost.is_empty() {
        draft.notes.push(format!("[supervisord]: not converted: {}.", lost.join(", ")));
    }
    if !own.is_empty() {
        draft.notes.push(format!("[supervisord]: not needed here: {}.", own.join(", ")));
    }
}

/// A program without its own directory inherits that of supervisord.
fn in_directory(process: &mut Process, whole: Option<&Section>) {
    let directory = whole.and_then(|section| section.get("directory"));
    if let Some(directory) = directory
        && process.get("working_dir").is_none()
    {
        process.set("working_dir", Value::Text(expand(directory, "", 0)));
    }
}

/// A program without its own umask inherits that of supervisord.
fn with_umask(process: &mut Process, whole: Option<&Section>) {
    let umask = whole.and_then(|section| section.get("umask"));
    if let Some(umask) = umask
        && process.get("umask").is_none()
    {
        process.set("umask", Value::Text(expand(umask, "", 0)));
    }
}

/// A program gets the variables of supervisord before its own. They override the container's, which
/// the config's `env` would not.
fn with_environment(process: &mut Process, whole: Option<&Section>) {
    let raw = whole.and_then(|section| section.get("environment")).unwrap_or_default();
    process.with_environment(entries(environment(raw, "", 0).0));
}

/// Reads `environment`. Also returns the parts that are not `NAME=VALUE`.
fn environment(raw: &str, program: &str, number: i64) -> (Vec<(String, String)>, Vec<String>) {
    let (variables, odd) = variables(raw);
    let entry = |(name, value): (String, String)| (name, expand(&value, program, number));
    (variables.into_iter().map(entry).collect(), odd)
}

fn entries(variables: Vec<(String, String)>) -> Vec<(String, Value)> {
    let entry = |(name, value): (String, String)| (name, Value::Text(plain_dollars(&value)));
    variables.into_iter().map(entry).collect()
}

/// When supervisord starts a program.
struct Start {
    priority: i64,
    on_request: bool,
}

/// supervisord starts a lower priority first, without waiting, and stops it last. What it starts by
/// itself comes before what it starts on request, which another program may ask for.
fn order(draft: &mut Draft, starts: &[Start]) {
    let names: Vec<_> = draft.processes.iter().map(|process| process.name.clone()).collect();
    for (process, Start { priority, on_request }) in draft.processes.iter_mut().zip(starts) {
        let is_before =
            |other: &&Start| other.priority < *priority && (*on_request || !other.on_request);
        let Some(before) = starts.iter().filter(is_before).map(|other| other.priority).max() else {
            continue;
        };
        let started = Value::Map(vec![("condition".to_owned(), "started".into())]);
        let is_needed = |other: &Start| other.priority == before && is_before(&other);
        let needs = names.iter().zip(starts).filter(|(_, other)| is_needed(other));
        let needs = needs.map(|(name, _)| (name.clone(), started.clone())).collect();
        process.set_with_note(
            "depends_on",
            Value::Map(needs),
            format!("by priority ({before} before {priority}); replace these by what it really needs, each with a `readiness`"),
        );
    }
}

/// The `numprocs` copies of a program: one entry with `scale`, or an entry for each if they differ
/// by more than their names.
fn programs(section: &Section, program: &str) -> Vec<Process> {
    let count = number(section, "numprocs").unwrap_or(1).clamp(1, MOST_COPIES);
    let first = number(section, "numprocs_start").unwrap_or(0);
    let is_numbered =
        |(key, value): &(String, String)| key != "process_name" && value.contains("%(process_num)");
    if let (Ok(copies @ 2..), false) =
        (u32::try_from(count), section.entries.iter().any(is_numbered))
    {
        let mut process = process(section, program, program, first);
        process.set("scale", Value::Number(copies));
        return vec![process];
    }
    let pattern = section.get("process_name").unwrap_or("%(program_name)s");
    let make = |number: i64| {
        let name = expand(pattern, program, number);
        let name = if count > 1 && !pattern.contains("process_num") {
            format!("{name}-{number}")
        } else {
            name
        };
        process(section, &name, program, number)
    };
    (first..first + count).map(make).collect()
}

fn process(section: &Section, name: &str, program: &str, number: i64) -> Process {
    let mut process = Process::new(name);
    let (own, odd) = environment(section.get("environment").unwrap_or_default(), program, number);
    // supervisord expands `environment` before these, and the other keys without it.
    let get = |key: &str| {
        let own = if OWN_VARIABLES.contains(&key) { &own[..] } else { &[] };
        section.get(key).map(|value| expand_with(value, program, number, own))
    };
    let line = get("command").unwrap_or_default();
    command(&mut process, section.get("command").unwrap_or_default(), &line);
    autostart(&mut process, &get("autostart").unwrap_or_default());
    let mut lost = Vec::new();
    for (key, raw) in &section.entries {
        let value = get(key).unwrap_or_default();
        placeholders(&mut process, key, raw);
        match key.as_str() {
            "directory" => process.set("working_dir", Value::Text(plain_dollars(&value))),
            "user" => process.set("user", Value::Text(value)),
            "stopsignal" => process.set("stop_signal", Value::Text(value)),
            "stopwaitsecs" => process.set("stop_grace_period", Value::Text(format!("{value}s"))),
            "environment" => {
                process.set("environment", Value::Map(entries(own.clone())));
                if !odd.is_empty() {
                    process.note(format!("environment: {}: not `NAME=VALUE`", odd.join(", ")));
                }
            }
            "umask" if values::umask(&value).is_ok() || value.contains("${") => {
                process.set("umask", Value::Text(value));
            }
            "exitcodes" => exit_codes(&mut process, &value),
            "numprocs" if (1..=MOST_COPIES).contains(&int(raw).unwrap_or(0)) => {}
            "numprocs" => process.note(format!(
                "numprocs={raw}: not a number that can be converted; copy the process as often as needed"
            )),
            "numprocs_start" if int(raw).is_some() => {}
            "numprocs_start" => process.note(format!("numprocs_start={raw}: it is 0 here")),
            "startsecs" if ["0", "1"].contains(&value.as_str()) => {}
            "startsecs" => process.note(format!(
                "startsecs={value}: supervisord counts it as started after this many seconds; add a `readiness` here"
            )),
            "stopasgroup" if truth(&value) == Some(false) => {}
            "stopasgroup" => process.note(
                "stopasgroup: the signal goes to the process here, and after its exit to the rest of its group",
            ),
            "killasgroup" if truth(&value) == Some(true) => {}
            "killasgroup" => process.note("killasgroup: KILL goes to the whole group here"),
            key if KNOWN.contains(&key) || LOG_KEYS.iter().any(|end| key.ends_with(end)) => {}
            key => lost.push(key.to_owned()),
        }
    }
    if let Some(priority) = section.get("priority")
        && int(priority).is_none()
    {
        process.note(format!(
            "priority={priority}: not a number; add `depends_on` with what it needs"
        ));
    }
    restart(&mut process, section, get("startretries"));
    supervisord_log::log(&mut process, name, get);
    if !lost.is_empty() {
        process.note(format!("not converted: {}", lost.join(", ")));
    }
    process
}

/// Neither program uses a shell; supervisord splits the line after it has expanded variables.
fn command(process: &mut Process, command: &str, line: &str) {
    let words = match shell_words::split(line) {
        Split::OnlyVariable => {
            let words = ["sh", "-c", &format!("exec {line}")].map(str::to_owned);
            process.set_with_note(
                "command",
                Value::List(words.to_vec()),
                shell_words::ONLY_VARIABLE,
            );
            return;
        }
        Split::Variable(words) => {
            process.note(shell_words::ONE_ARGUMENT);
            words
        }
        Split::Words(words) => words,
    };
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    if command.contains("supervisorctl") {
        process.note(
            "supervisorctl has nobody to ask here: make this a `type: oneshot` that what it starts depends on, or use \
             `drainit start`",
        );
    }
    if words.first().is_some_and(|word| name(word) == "pidproxy") {
        process.note(
            "pidproxy is part of supervisord: replace it by its program, run in the foreground",
        );
    }
    let script = match words.as_slice() {
        [shell, options @ .., _] if ["sh", "bash", "dash"].contains(&name(shell).as_str()) => {
            let at = options.iter().position(|o| o.starts_with('-') && o.ends_with('c'));
            at.and_then(|at| words.get(at + 2)).cloned()
        }
        _ => None,
    };
    match script {
        Some(script) if !script.contains("exec ") => process.set_with_note(
            "command",
            Value::List(words),
            "the shell gets the signals, not its child: start its last command with `exec`",
        ),
        Some(_) => process.set("command", Value::List(words)),
        None => {
            let words = words.iter().map(|word| plain_dollars(word)).collect();
            process.set("command", Value::List(words));
        }
    }
}

fn exit_codes(process: &mut Process, value: &str) {
    let codes: Vec<_> = value.split(',').map(|code| code.trim().to_owned()).collect();
    if codes.iter().any(|code| values::exit_code(code).is_err()) {
        process.note(format!(
            "exitcodes={value}: not converted; write them as `success_codes: [0, …]`"
        ));
    } else if codes != ["0"] {
        process.set("success_codes", Value::List(codes));
    }
}

fn autostart(process: &mut Process, value: &str) {
    match truth(value) {
        Some(false) => process.note(format!(
            "autostart={value}: supervisord starts it only on request; here it starts with the others, unless it \
             depends on what requests it there"
        )),
        None if value.contains("${") => {
            let words = TRUTHS.map(str::to_owned).to_vec();
            let condition = [("value", value.into()), ("is", Value::List(words))];
            let condition = condition.map(|(key, value)| (key.to_owned(), value));
            process.set("only_if", Value::Map(condition.to_vec()));
        }
        None if !value.is_empty() => process.note(format!(
            "autostart={value}: neither true nor false; it starts with the others"
        )),
        _ => {}
    }
}

fn restart(process: &mut Process, section: &Section, retries: Option<String>) {
    let wanted = section.get("autorestart").unwrap_or("unexpected");
    let policy = match truth(wanted) {
        Some(true) => "always",
        Some(false) => "no",
        None => "on-failure",
    };
    if policy == "on-failure" && !wanted.eq_ignore_ascii_case("unexpected") {
        let note = format!("autorestart={wanted}: true is `always` here, and false is `no`");
        process.set_with_note("restart", policy.into(), note);
    } else {
        process.set("restart", policy.into());
    }
    match retries {
        Some(retries) if policy == "no" => process.note(format!(
            "startretries={retries}: supervisord always retries a failed start; here only `restart` does"
        )),
        Some(retries) => {
            let note = "startretries counts failed starts only; this counts every consecutive restart";
            let max = retries.parse().map_or(Value::Text(retries), Value::Number);
            process.set_with_note("restart_max", max, note);
        }
        None => {}
    }
    process.set("on_exit", "ignore".into());
}
