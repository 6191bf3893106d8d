//! Reads a supervisord.conf.

use crate::import::draft::{Draft, Need, Process, Value, plain_dollars};
use crate::import::ini;
use crate::import::ini::Section;
use crate::import::input::InputFile;
use crate::import::shell_words;
use crate::import::supervisord_log;
use crate::import::supervisord_values::{Names, TRUTHS, int, truth, unknown_placeholders};
use crate::load::Diagnostic;
use crate::load::values;

/// The default priority; a lower one starts earlier.
const PRIORITY: i64 = 999;
/// The largest `scale`.
const MOST_COPIES: i64 = 1000;
/// Keys in which `%(ENV_NAME)s` is first of all a variable of the program's own `environment`.
const OWN_VARIABLES: [&str; 4] = ["command", "directory", "stdout_logfile", "stderr_logfile"];
const SUPERVISORCTL: &str = "supervisorctl has nobody to ask here: make this a `type: oneshot` that what it starts depends \
                             on, or use `drainit start`";
const PIDPROXY: &str =
    "pidproxy is part of supervisord: replace it by its program, run in the foreground";

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let sections = match ini::read(&file.text()) {
        Ok(sections) => sections,
        Err(bad) => return Err(file.fail(bad.line, bad.message, bad.help)),
    };
    let mut draft = Draft::default();
    let mut starts = Vec::new();
    let find = |name: &str| sections.iter().find(|section| section.name == name);
    let whole = find("supervisord").cloned().unwrap_or_default();
    for section in &sections {
        let (kind, name) = section.name.split_once(':').unwrap_or((&section.name, ""));
        let difference = match kind {
            "program" | "fcgi-program" => {
                if section.get("command").is_none() {
                    let message = format!("[{}] has no command", section.name);
                    return Err(file.fail(
                        section.line,
                        &message,
                        "add `command=`: supervisord refuses it too",
                    ));
                }
                draft.processes.push(process(section, name.trim(), &whole));
                starts.push(Start {
                    priority: section.get("priority").and_then(int).unwrap_or(PRIORITY),
                    on_request: section.get("autostart").and_then(truth) == Some(false),
                });
                continue;
            }
            "supervisord" => {
                note_whole(&mut draft, section);
                continue;
            }
            "eventlistener" => {
                ". If it stops the container when a program has died: remove `on_exit: ignore` instead"
            }
            "include" => ": import its files too, and add their processes here or with another -c",
            "unix_http_server" | "inet_http_server" | "supervisorctl" | "rpcinterface" => {
                "; see `control` in docs/config.md for drainit's endpoints"
            }
            _ => "",
        };
        let files =
            section.get("files").map(|files| format!(" files = {files}")).unwrap_or_default();
        draft.notes.push(format!("[{}]{files} is not converted{difference}.", section.name));
    }
    if draft.processes.is_empty() {
        let included = find("include");
        let help = match included.and_then(|section| section.get("files")) {
            Some(files) => &format!("import each of the files that it includes: {files}"),
            None => "add a section [program:NAME] with a `command`",
        };
        let line = included.map_or(1, |section| section.line);
        return Err(file.fail(line, "the file has no [program:…]", help));
    }
    draft.notes.push(crate::import::ON_EXIT.to_owned());
    draft.fix_names();
    order(&mut draft, &starts);
    Ok(draft)
}

/// Adds the comments on [supervisord], whose `directory`, `environment` and `umask` each program inherits.
fn note_whole(draft: &mut Draft, section: &Section) {
    let (_, odd) = Names::default().variables(section.get("environment"));
    let mut notes = odd;
    for (key, value) in &section.entries {
        notes.extend(unknown_placeholders(key, value));
    }
    if let Some(user) = section.get("user").filter(|user| !matches!(*user, "root" | "0")) {
        notes.push(format!("supervisord runs as {user}: set USER in the Dockerfile"));
    }
    let keys = section.entries.iter().map(|(key, _)| key.as_str());
    let used = ["directory", "environment", "umask", "user"];
    let lost: Vec<_> = keys.filter(|key| !used.contains(key)).collect();
    if !lost.is_empty() {
        notes.push(format!(
            "not converted: {}; most only concern supervisord itself. In place of minfds and minprocs, give the programs \
             that need it `ulimits`, such as `{{nofile: max}}`",
            lost.join(", ")
        ));
    }
    draft.notes.extend(notes.iter().map(|note| format!("[supervisord] {note}.")));
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
        let is_needed = |other: &Start| other.priority == before && is_before(&other);
        let needs = names.iter().zip(starts).filter(|(_, other)| is_needed(other));
        let condition = Some("started");
        process.needs =
            needs.map(|(name, _)| Need { name: name.clone(), condition, restart: None }).collect();
        process.note_at(
            "depends_on",
            format!("by priority ({before} before {priority}); replace these by what it really needs, each with a `readiness`"),
        );
    }
}

fn process(section: &Section, program: &str, whole: &Section) -> Process {
    let mut section = section.clone();
    for key in ["directory", "umask"] {
        if let (None, Some(inherited)) = (section.get(key), whole.get(key)) {
            section.entries.push((key.to_owned(), inherited.to_owned()));
        }
    }
    let copies = section.get("numprocs").and_then(int).filter(|n| (1..=MOST_COPIES).contains(n));
    let is_scaled = copies.is_some_and(|copies| copies > 1);
    let number = if is_scaled { "${SCALE_INDEX}" } else { "0" };
    let variables = Names::default().variables(whole.get("environment")).0;
    let names = Names { program, number, variables };
    let (own, odd) = names.variables(section.get("environment"));
    let own_names = Names { variables: [&names.variables[..], &own].concat(), ..names };
    // supervisord expands `environment` before these, and the other keys without it.
    let get = |key: &str| {
        let names = if OWN_VARIABLES.contains(&key) { &own_names } else { &names };
        section.get(key).map(|value| names.expand(value))
    };
    let name = match section.get("process_name") {
        Some(pattern) if !is_scaled => names.expand(pattern),
        _ => program.to_owned(),
    };
    let mut process = Process::new(&name);
    let variables = own_names.variables.iter();
    let variables = variables.map(|(name, value)| (name.clone(), plain_dollars(value).into()));
    process.with_environment(variables.collect());
    for (key, raw) in &section.entries {
        let value = get(key).unwrap_or_default();
        match key.as_str() {
            "command" => command(&mut process, &value),
            "directory" => process.set("working_dir", plain_dollars(&value)),
            "user" => process.set("user", value),
            "stopsignal" => process.set("stop_signal", value),
            "stopwaitsecs" => process.set("stop_grace_period", format!("{value}s")),
            "umask" if values::umask(&value).is_ok() || value.contains("${") => {
                process.set("umask", value);
            }
            "autostart" => autostart(&mut process, value),
            "exitcodes" => exit_codes(&mut process, &value),
            "numprocs" => match copies {
                Some(1) => {}
                Some(copies) => process.set("scale", Value::number(copies.to_string())),
                None => process.lose(format!("numprocs={raw}")),
            },
            "priority" if int(raw).is_some() => {}
            // Read with others, below and above.
            "autorestart" | "environment" | "process_name" | "redirect_stderr" | "startretries"
            | "stderr_logfile" | "stdout_logfile" => {}
            "stdout_logfile_maxbytes" | "stdout_logfile_backups" | "stderr_logfile_maxbytes"
            | "stderr_logfile_backups" | "numprocs_start" | "startsecs" if value == "0" => {}
            "stopasgroup" if truth(&value) == Some(false) => {}
            "killasgroup" if truth(&value) == Some(true) => {}
            "startsecs" if value == "1" => {}
            "startsecs" => process.note(format!(
                "startsecs={value}: supervisord counts it as started after this many seconds; add a `readiness` here"
            )),
            _ => process.lose(format!("{key}={raw}")),
        }
    }
    let is_numbered = |entry: &&(String, String)| entry.1.contains("%(process_num)");
    let mut numbered = section.entries.iter().filter(is_numbered);
    if is_scaled && numbered.any(|(key, _)| key != "process_name") {
        process.note("`%(process_num)…` is ${SCALE_INDEX} here: it begins with 1, and has no zeros before it");
    }
    let unknown = section.entries.iter().flat_map(|(key, raw)| unknown_placeholders(key, raw));
    odd.into_iter().chain(unknown).for_each(|note| process.note(note));
    restart(&mut process, section.get("autorestart"), get("startretries"));
    supervisord_log::log(&mut process, get);
    process.note_lost();
    process
}

/// Neither program uses a shell; supervisord splits the line after it has expanded variables.
fn command(process: &mut Process, line: &str) {
    let (words, note) = shell_words::split(line);
    note.into_iter().for_each(|note| process.note(note));
    for (program, note) in [("supervisorctl", SUPERVISORCTL), ("pidproxy", PIDPROXY)] {
        if line.contains(program) {
            process.note(note);
        }
    }
    let script = match words.as_slice() {
        [shell, .., option, script]
            if shell.ends_with("sh") && option.starts_with('-') && option.ends_with('c') =>
        {
            Some(script)
        }
        _ => None,
    };
    let Some(script) = script else {
        process.set("command", words.iter().map(|word| plain_dollars(word)).collect::<Vec<_>>());
        return;
    };
    if !script.contains("exec ") {
        process.note_at("command", shell_words::START_WITH_EXEC);
    }
    process.set("command", words);
}

fn exit_codes(process: &mut Process, value: &str) {
    let codes: Vec<_> = value.split(',').map(|code| code.trim().to_owned()).collect();
    if codes.iter().any(|code| values::exit_code(code).is_err()) {
        process.lose(format!("exitcodes={value}"));
    } else if codes != ["0"] {
        process.set("success_codes", codes);
    }
}

fn autostart(process: &mut Process, value: String) {
    match truth(&value) {
        Some(true) => {}
        Some(false) => process.note(format!(
            "autostart={value}: supervisord starts it only on request; here it starts with the others, unless it \
             depends on what requests it there"
        )),
        None if value.contains("${") => {
            let words = TRUTHS.map(str::to_owned).to_vec();
            process.set("only_if", Value::map([("value", value.into()), ("is", words.into())]));
        }
        None => process.lose(format!("autostart={value}")),
    }
}

fn restart(process: &mut Process, wanted: Option<&str>, retries: Option<String>) {
    let wanted = wanted.unwrap_or("unexpected");
    let policy = match truth(wanted) {
        Some(true) => "always",
        Some(false) => "no",
        None => "on-failure",
    };
    process.set("restart", policy);
    if policy == "on-failure" && !wanted.eq_ignore_ascii_case("unexpected") {
        let note = format!("autorestart={wanted}: true is `always` here, and false is `no`");
        process.note_at("restart", note);
    }
    match retries {
        // supervisord always retries a failed start; here only `restart` does.
        Some(retries) if policy == "no" => process.lose(format!("startretries={retries}")),
        Some(retries) => {
            process.set("restart_max", Value::number(retries));
            process.note_at(
                "restart_max",
                "startretries counts failed starts only; this counts every consecutive restart",
            );
        }
        None => {}
    }
    process.set("on_exit", "ignore");
}
