//! Reads a supervisord.conf.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};
use serde_json::{Value, json};

use crate::import::draft::{Draft, DraftedProcess, literal, number};
use crate::import::ini::Section;
use crate::import::input::InputFile;
use crate::import::{ends, fcgi, glob, ini};
use crate::keys::values;
use crate::load::Diagnostic;
use crate::pattern;

/// drainit makes at most this many processes from one entry with `scale`.
const MOST_COPIES: u32 = 1000;
/// supervisord's default of `stopwaitsecs`.
const STOP_WAIT: &str = "10s";
/// supervisord's default of `startretries`.
const START_RETRIES: &str = "3";
/// Log files that are the output of the container.
const CONTAINER: &str = "/dev/stdout /dev/stderr /dev/tty /dev/console /dev/fd/1 /dev/fd/2 /proc/1/fd/1 /proc/1/fd/2 /proc/self/fd/1 \
                         /proc/self/fd/2";
/// Words for a log file that supervisord chooses, and for syslog.
const NO_FILE: [&str; 2] = ["auto", "syslog"];
/// The priority of a program or a group that has none.
const PRIORITY: i32 = 999;
const PRIORITIES: &str = "supervisord starts programs by priority, without waiting, and stops them in reverse order: so does the `depends_on` \
                          of this draft. Give a process that others need a `readiness`, and the others `condition: ready`.";
/// Matches a placeholder such as `%(NAME)s` or `%(NAME)02d`.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| pattern(r"%(?:%|\(([^)]*)\)([^sd]*)[sd])"));
/// Matches one `NAME=VALUE` of a text such as `A="b",C=d`.
static PART: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?:"[^"]*"|'[^']*'|[^,\n"'])+"#));
/// Matches a part of a command that keeps its line breaks, or a line break.
static KEPT_OR_BREAK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?s)(\\.|"(?:\\.|[^"\\])*(?:"|$)|'[^']*(?:'|$))|\n"#));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| pattern(r#""([^"]*)"|'([^']*)'"#));

/// The reaction of the event listeners to the end of a program. If they differ, the last counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Listens {
    Not,
    /// A listener ends supervisord when a program cannot be started.
    ToFatal,
    /// A listener ends supervisord when a program exits.
    ToExits,
}

/// Reads the file and the files that it includes. Also returns the patterns that match no file.
/// Ignores the `[include]` of an included file, as supervisord does.
fn sections(file: &mut InputFile) -> Result<(Vec<Section>, Vec<String>), Vec<Diagnostic>> {
    let (mut sections, mut unmatched) = (Vec::new(), Vec::new());
    let text = Rc::clone(&file.text);
    ini::read(&mut sections, file, &text)?;
    let included = sections.iter().find(|section| section.name == "include");
    let patterns = included.and_then(|section| section.get("files")).unwrap_or_default().to_owned();
    for pattern in patterns.split_whitespace() {
        // `%(here)s` is the directory of the file, at which a relative pattern begins anyway.
        let relative = pattern.strip_prefix("%(here)s/").unwrap_or(pattern);
        let files = file.directory.iter().flat_map(|directory| glob::files(directory, relative));
        let files: Vec<_> = files.collect();
        if files.is_empty() {
            unmatched.push(pattern.to_owned());
        }
        for path in files {
            file.go_on(&path)?;
            let text = file.text.replace("%(here)s", &here(file.directory.as_deref(), &path));
            ini::read(&mut sections, file, &text)?;
        }
    }
    Ok((sections, unmatched))
}

/// The directory of an included file, if possible as a directory below that of the file that
/// includes it.
fn here(of_whole: Option<&Path>, included: &Path) -> String {
    let own = included.parent().unwrap_or(included);
    match of_whole.and_then(|whole| own.strip_prefix(whole).ok()) {
        Some(below) if below.as_os_str().is_empty() => "%(here)s".to_owned(),
        Some(below) => format!("%(here)s/{}", below.display()),
        None => own.display().to_string(),
    }
}

pub(super) fn read(mut file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let (sections, unmatched) = sections(&mut file)?;
    let mut draft = Draft::default();
    let mut others = Vec::new();
    let find = |name: &str| sections.iter().find(|section| section.name == name);
    let mut whole = find("supervisord").cloned().unwrap_or_default();
    // Only a supervisord that becomes a daemon uses them.
    if truth(whole.get("nodaemon")) == Some(true) {
        whole.entries.retain(|(key, _)| key != "directory" && key != "umask");
    }
    let mut listens = Listens::Not;
    let is_dependent = sections.iter().any(is_dependent_startup);
    let listeners = sections.iter().filter(|section| section.name.starts_with("eventlistener:"));
    for section in listeners.filter(|section| !is_dependent_startup(section)) {
        let (found, note) = listener(section);
        draft.notes.extend(note);
        listens = listens.max(found);
    }
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program" | "fcgi-program", name)) => {
                if section.get("command").is_none() {
                    let message = format!("[{}] has no command", section.name);
                    let help = "add `command=`: supervisord refuses it too";
                    return Err(file.fail(section.at, &message, help));
                }
                let mut process = process(section, name.trim(), &whole, listens);
                process.order.priority = priority(section, name.trim(), &sections);
                if is_dependent && truth(section.get("dependent_startup")) == Some(true) {
                    wait(&mut process, section);
                }
                draft.processes.push(process);
            }
            _ if section.name == "supervisord" || is_dependent_startup(section) => {}
            _ if section.name == "include" => {
                others.extend(unmatched.iter().map(|pattern| {
                    format!("[include] files = {pattern}, which matches no file here")
                }));
            }
            _ => others.push(format!("[{}]", section.name)),
        }
    }
    if draft.processes.is_empty() {
        let included = find("include");
        let help = match unmatched.is_empty() {
            false => &format!(
                "no file matches {}: run `drainit import` in the image, or import each of the included files",
                unmatched.join(", ")
            ),
            true => "add a section [program:NAME] with a `command`",
        };
        let at = included.map_or(file.line(1), |section| section.at);
        return Err(file.fail(at, "the file has no [program:…]", help));
    }
    let used = ["directory", "environment", "umask"];
    let keys = whole.entries.iter().filter(|(key, _)| !used.contains(&key.as_str()));
    others.extend(keys.map(|(key, value)| format!("{key}={value}")));
    let programs = sections.iter().filter(|section| section.name.contains("program:"));
    let options = programs.flat_map(|section| &section.entries);
    let sizes = options.filter(|(key, value)| is_log_size(key) && value != "0");
    let sizes: BTreeSet<_> = sizes.map(|(key, value)| format!("{key}={value}")).collect();
    for (lost, why) in [
        (others, "See docs/migrating.md#supervisord."),
        (Vec::from_iter(sizes), "drainit does not rotate log files."),
    ] {
        if !lost.is_empty() {
            draft.notes.push(format!("Not converted: {}. {why}", lost.join(", ")));
        }
    }
    draft.notes.push(PRIORITIES.to_owned());
    if draft.processes.iter().any(|process| process.has("on_exit")) {
        draft.notes.push(crate::import::ON_EXIT.to_owned());
    }
    draft.fix_names();
    Ok(draft)
}

/// Whether this is the event listener that starts the programs with `dependent_startup`.
fn is_dependent_startup(section: &Section) -> bool {
    let starts = |command: &str| command.contains("dependent_startup");
    section.name.starts_with("eventlistener:") && section.get("command").is_some_and(starts)
}

/// The priority of the program's group and of the program, as numbers. supervisord compares the
/// priority of a program without a group with those of groups.
fn priority(section: &Section, program: &str, all: &[Section]) -> Option<(i32, i32)> {
    let number =
        |section: &Section| section.get("priority").map_or(Some(PRIORITY), |it| it.parse().ok());
    let is_of = |group: &&Section| {
        let programs = group.get("programs").unwrap_or_default();
        group.name.starts_with("group:") && programs.split(',').any(|it| it.trim() == program)
    };
    let own = number(section)?;
    Some((all.iter().find(is_of).map_or(Some(own), number)?, own))
}

/// Lets the process start by itself after the programs for which `dependent_startup` waits.
fn wait(process: &mut DraftedProcess, section: &Section) {
    process.remove("autostart");
    let waits = section.get("dependent_startup_wait_for").unwrap_or_default();
    for wait in waits.split_whitespace() {
        let (program, state) = wait.split_once(':').unwrap_or((wait, "running"));
        process.order.waits.push((program.to_owned(), state.eq_ignore_ascii_case("exited")));
        process.order.priority = None;
    }
}

/// Whether an event listener ends supervisord when a program ends. Also returns a comment about the
/// listener, if the draft needs one. Only the name and the command of the listener can show what it
/// does.
fn listener(section: &Section) -> (Listens, Option<String>) {
    static ENDS: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)kill|stop|quit|exit|shutdown|terminate"));
    let events = section.get("events").unwrap_or_default().to_ascii_uppercase();
    let has = |name: &str| events.split(',').any(|event| event.trim() == name);
    let listens = match has("PROCESS_STATE") || has("PROCESS_STATE_EXITED") {
        true => Listens::ToExits,
        false if has("PROCESS_STATE_FATAL") => Listens::ToFatal,
        false => return (Listens::Not, None),
    };
    let (name, command) = (&section.name, section.get("command").unwrap_or_default());
    if !ENDS.is_match(name) && !ENDS.is_match(command) {
        let note = format!(
            "[{name}] is told when a program ends: if it then ends supervisord, remove `on_exit: ignore`, and `restart` \
             where no restart comes first"
        );
        return (Listens::Not, Some(note));
    }
    let note = match listens {
        Listens::ToExits => {
            "ends supervisord when a program exits: without `restart` and `on_exit`, drainit does the same, even if a start fails"
        }
        _ => {
            "ends supervisord when a program cannot be started: `restart_max` without `on_exit: ignore` does the same, but counts \
             each restart until the process has run for 60 s"
        }
    };
    (listens, Some(format!("[{name}] {note}. If it does something else, add `on_exit: ignore`.")))
}

fn process(section: &Section, program: &str, whole: &Section, listens: Listens) -> DraftedProcess {
    let mut section = section.clone();
    for key in ["directory", "umask"] {
        if let (None, Some(inherited)) = (section.get(key), whole.get(key)) {
            section.entries.push((key.to_owned(), inherited.to_owned()));
        }
    }
    let copies = section.get("numprocs").and_then(|copies| copies.trim().parse::<u32>().ok());
    let copies = copies.filter(|copies| (1..=MOST_COPIES).contains(copies));
    // The container's environment may have the number of copies.
    let is_scaled = copies.map_or_else(
        || section.get("numprocs").is_some_and(is_environment_variable),
        |copies| copies > 1,
    );
    let mut names = Expansions { program, is_scaled, variables: Vec::new() };
    let mut process = DraftedProcess::new(program);
    process.order.program = program.to_owned();
    process.default_stop = section.get("stopwaitsecs").is_none().then_some(STOP_WAIT);
    // supervisord expands the environment of [supervisord] twice.
    let of_all = whole.get("environment").map(|text| text.replace("%%", "%"));
    let own = section.get("environment").map(str::to_owned);
    for text in [of_all, own] {
        let (variables, odd) = names.variables(&text.unwrap_or_default());
        names.variables.extend(variables);
        odd.iter().for_each(|part| process.lose(format!("environment: `{part}`")));
    }
    process.add_environment(names.variables.iter().cloned());
    let get = |key: &str| section.get(key).map(|value| names.expand(value));
    if let Some(name) = get("process_name").filter(|_| !is_scaled) {
        process.name = name;
    }
    let log = log(&process.name, get);
    let ends = ends::supervisord(&section, whole);
    let restarts = truth(section.get("autorestart")) != Some(false);
    let is_limited = restarts && !ends && listens == Listens::ToFatal;
    if is_limited {
        let retries = get("startretries");
        process.set("restart_max", number(retries.as_deref().unwrap_or(START_RETRIES)));
    }
    let is_fcgi = section.name.starts_with("fcgi-program:");
    for (key, raw) in &section.entries {
        let value = get(key).unwrap_or_default();
        match key.as_str() {
            "command" => process.set("command", in_one_line(&value)),
            "directory" => process.set("working_dir", value),
            "user" => process.set("user", value),
            "stopsignal" => process.set("stop_signal", value),
            "stopwaitsecs" => process.set("stop_grace_period", format!("{value}s")),
            "umask" if values::umask(&value).is_ok() => process.set("umask", value),
            "exitcodes" if value == "0" => {}
            "exitcodes" if value.split(',').all(|it| values::exit_code(it.trim()).is_ok()) => {
                process.set("success_codes", value.split(',').map(str::trim).collect::<Vec<_>>());
            }
            "numprocs" if copies == Some(1) => {}
            "numprocs" if is_scaled => process.set("scale", number(&value)),
            "startretries" if is_limited || !restarts || value == START_RETRIES => {}
            "startretries" => process
                .lose(format!("{key}={raw} (`restart_max` also counts ends after `startsecs`)")),
            // Other lines of this function have already read these keys.
            "environment" | "process_name" | "dependent_startup" | "dependent_startup_wait_for" => {
            }
            "priority" if value.parse::<i32>().is_ok() => {}
            "autorestart" if value == "unexpected" || truth(Some(&value)).is_some() => {}
            "redirect_stderr" if truth(Some(&value)).is_some() => {}
            "stdout_logfile" | "stderr_logfile"
                if !is_variable(&value) && (!is_nowhere(&value) || log["mode"] == "none") => {}
            "numprocs_start" | "startsecs" if value == "0" => {}
            key if is_log_size(key) => {}
            "autostart" if truth(Some(&value)) == Some(false) => process.set("autostart", false),
            "autostart" if is_environment_variable(raw) => {
                process.note(format!("`autostart`: `{value}` must be `true` or `false`"));
                process.set("autostart", value);
            }
            key if is_fcgi && fcgi::converts(key, get) => {}
            "autostart" | "killasgroup" if truth(Some(&value)) == Some(true) => {}
            "stopasgroup" if truth(Some(&value)) == Some(false) => {}
            _ => process.lose(format!("{key}={raw}")),
        }
        if raw.contains("%(here)s") {
            const HERE: &str = "`.` stands for `%(here)s`, the directory of supervisord.conf";
            process.note(format!("{key}: {HERE}: write its path"));
        }
        if is_scaled && raw.contains("%(process_num)") && key != "process_name" {
            process.note(format!("{key}: `${{SCALE_INDEX}}` begins with 1 and has no zeros"));
        }
    }
    if is_fcgi {
        fcgi::add(&mut process, get);
    }
    let retries = get("startretries").unwrap_or_else(|| START_RETRIES.to_owned());
    if !restarts && retries != "0" && section.get("startsecs") != Some("0") {
        process.lose(format!("startretries={retries} (after ends within `startsecs`)"));
    }
    let restart = match truth(section.get("autorestart")) {
        Some(true) => "always",
        Some(false) => "no",
        None => "on-failure",
    };
    process.ends_all = ends;
    if ends {
        process.note(ends::NOTE);
    } else if listens != Listens::ToExits {
        process.set("restart", restart);
    }
    match (listens, restart) {
        _ if ends => {}
        (Listens::ToExits, _) | (Listens::ToFatal, "always") => {}
        (Listens::ToFatal, "on-failure") => process.set("on_exit", json!({"success": "ignore"})),
        _ => process.set("on_exit", "ignore"),
    }
    if log != json!({}) {
        process.set("log", log);
    }
    process
}

/// Makes the key `log` of a process. Without the key, the output of the process is that of the
/// container.
fn log(name: &str, get: impl Fn(&str) -> Option<String>) -> Value {
    let stdout = get("stdout_logfile").unwrap_or_else(|| "AUTO".to_owned());
    let is_joined = truth(get("redirect_stderr").as_deref()) == Some(true);
    let is_silent = is_joined || get("stderr_logfile").is_some_and(|stderr| is_nowhere(&stderr));
    let mut log = match () {
        () if is_nowhere(&stdout) && is_silent => return json!({"mode": "none"}),
        () if is_container(&stdout) => json!({}),
        () if is_file(&stdout) => json!({ "file": stdout }),
        () => json!({ "prefix": name }),
    };
    let stderr = get("stderr_logfile").filter(|it| is_file(it) && log["file"] != it.as_str());
    match (is_joined, stderr) {
        (true, _) => log["stderr"] = "stdout".into(),
        (false, Some(file)) => log["stderr"] = json!({ "file": file }),
        (false, None) => {}
    }
    log
}

/// Replaces each line break between two words of a command by a blank.
fn in_one_line(command: &str) -> String {
    let kept = |found: &Captures| found.get(1).map_or(" ", |it| it.as_str()).to_owned();
    KEPT_OR_BREAK.replace_all(command.trim_start(), kept).into_owned()
}

/// Whether an option limits the size or the number of log files. One comment on the whole draft
/// mentions all such options.
fn is_log_size(key: &str) -> bool {
    key.ends_with("_logfile_maxbytes") || key.ends_with("_logfile_backups")
}

fn is_nowhere(file: &str) -> bool {
    ["none", "off", "/dev/null"].iter().any(|it| file.eq_ignore_ascii_case(it))
}

/// Whether the output goes to the container. A variable is mostly `/dev/stdout` there, and a path
/// elsewhere.
fn is_container(file: &str) -> bool {
    is_variable(file) || file.starts_with("/dev/pts/") || CONTAINER.split(' ').any(|it| it == file)
}

fn is_variable(file: &str) -> bool {
    file.starts_with("${") && file.find('}') == Some(file.len() - 1)
}

/// Whether a value of the file is a single variable of the container, such as `%(ENV_X)s`.
fn is_environment_variable(raw: &str) -> bool {
    let found = PLACEHOLDER.captures(raw).filter(|found| found[0].len() == raw.len());
    found.and_then(|it| it.get(1)).is_some_and(|name| name.as_str().starts_with("ENV_"))
}

fn is_file(file: &str) -> bool {
    let is_word = NO_FILE.iter().any(|it| file.eq_ignore_ascii_case(it));
    !is_word && !is_nowhere(file) && !is_container(file)
}

/// Parses a boolean as supervisord does. Returns `None` for any other value, such as `unexpected`
/// or a variable, and if there is no value.
fn truth(value: Option<&str>) -> Option<bool> {
    match value?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Writes a number in a format of Python, such as the `03` of `%03d`: flags, and the least width.
fn in_format(number: &str, format: &str) -> String {
    let flags = format.trim_end_matches(|c: char| c.is_ascii_digit() && c != '0');
    let width = format.trim_start_matches(['0', '-', '+', ' ', '#']).parse().unwrap_or(0);
    match (flags.contains('-'), flags.contains('0')) {
        (true, _) => format!("{number:<width$}"),
        (false, true) => format!("{number:0>width$}"),
        (false, false) => format!("{number:>width$}"),
    }
}

/// The values that placeholders stand for.
struct Expansions<'a> {
    program: &'a str,
    /// Whether the program has several processes, of which only drainit knows the numbers.
    is_scaled: bool,
    /// The variables with their values, in which placeholders are already expanded. If a name
    /// occurs twice, the last value counts.
    variables: Vec<(String, String)>,
}

impl Expansions<'_> {
    /// Replaces each placeholder `%(…)s` by its value, or by `${…}` if only the container's
    /// environment has the value.
    fn expand(&self, text: &str) -> String {
        let expand = |found: &Captures| match found.get(1).map(|name| name.as_str()) {
            None => "%".to_owned(),
            // `group_name` equals `program_name`, unless the program is part of a `[group:…]`.
            Some("program_name" | "group_name") => self.program.to_owned(),
            Some("process_num") if self.is_scaled => "${SCALE_INDEX}".to_owned(),
            Some("process_num") => in_format("0", &found[2]),
            Some("here") => ".".to_owned(),
            Some("host_node_name") => "${HOSTNAME}".to_owned(),
            Some(name) => match name.strip_prefix("ENV_") {
                Some(name) => {
                    let own = self.variables.iter().rev().find(|(own, _)| own == name);
                    own.map_or_else(|| format!("${{{name}}}"), |(_, value)| value.clone())
                }
                None => found[0].to_owned(),
            },
        };
        PLACEHOLDER.replace_all(&literal(text), expand).into_owned()
    }

    /// Parses a text such as `A="b",C=d`, and expands the placeholders in the values. Also returns
    /// the parts that are not `NAME=VALUE`.
    fn variables(&self, text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let (mut variables, mut odd) = (Vec::new(), Vec::new());
        for part in PART.find_iter(text) {
            let part = QUOTED.replace_all(part.as_str(), "$1$2");
            match part.split_once('=') {
                Some((name, value)) => {
                    variables.push((name.trim().to_owned(), self.expand(value.trim())));
                }
                None if part.trim().is_empty() => {}
                None => odd.push(part.trim().to_owned()),
            }
        }
        (variables, odd)
    }
}
