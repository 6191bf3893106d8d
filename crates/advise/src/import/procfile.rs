//! Reads a Procfile as Foreman, Honcho, Overmind and Heroku do. Each line is `NAME: COMMAND`, and a
//! shell runs the command.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Value, json};

use crate::import::draft::{Draft, DraftedProcess, literal};
use crate::import::input::InputFile;
use crate::language::script::{commands, is_of_shell};
use crate::load::Diagnostic;
use crate::pattern;

/// The PORT that Foreman gives the first process.
const PORT: usize = 5000;
/// Before a deployment, Heroku runs the process of this name alone.
const RELEASE: &str = "release";
const HELP: &str = "write `NAME: COMMAND`, like `web: gunicorn app`";
const NOTE: &str = "A Procfile has no order, so processes without `depends_on` start and stop at once. Add it to a process that needs another. \
                    No .env is read: add it as `env_file` to a process that needs it. PORT has Foreman's numbers, but the first process \
                    that is not `release` gets the container's PORT if there is one.";

/// Matches a command that needs no shell, because no shell would change its words.
static PLAIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[\w./:@%+,-]+([ \t]+[\w./:@%+,=-]+)*$"));
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z_]\w*="));
pub(super) fn read(mut file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let mut draft = Draft { notes: vec![NOTE.to_owned()], ..Draft::default() };
    // Foreman and Honcho skip each other line, and count no PORT for such a line.
    let entry = pattern(r"^([A-Za-z0-9_-]+):\s*(.+)$");
    for (index, line) in file.text.lines().enumerate() {
        let Some(found) = entry.captures(line.trim_end()) else {
            if !line.trim().is_empty() && !line.trim().starts_with('#') {
                draft.notes.push(format!(
                    "Line {}, `{}`, is skipped, as by Foreman: it is not `NAME: COMMAND`.",
                    index + 1,
                    line.trim()
                ));
            }
            continue;
        };
        let mut process = DraftedProcess::new(&found[1]);
        set_command(&mut process, &found[2]);
        // Foreman gives each process a PORT by its place in the file. In the draft, the first
        // process other than `release` keeps the container's PORT.
        if draft.processes.iter().any(|before| before.name != RELEASE) {
            let port = (PORT + 100 * draft.processes.len()).to_string();
            process.set("environment", json!({ "PORT": port }));
        }
        if process.name == RELEASE {
            process.set("type", "oneshot");
            process.note(
                "Heroku runs it once per deployment; here every container runs it at its start",
            );
        }
        process.set("log", json!({ "prefix": found[1] }));
        draft.processes.push(process);
    }
    if draft.processes.is_empty() {
        return Err(file.fail(file.line(1), "the file has no process", HELP));
    }
    draft.fix_names();
    let releases = draft.processes.iter().filter(|it| it.has("type")).map(|it| it.name.clone());
    for release in releases.collect::<Vec<_>>() {
        for process in draft.processes.iter_mut().filter(|process| !process.has("type")) {
            process.need(&release, json!({ "condition": "completed" }));
        }
    }
    draft.env.insert("PORT".to_owned(), PORT.to_string().into());
    Ok(draft)
}

/// Sets the command. Uses no shell if a shell would not change the command. A command that needs a
/// shell uses `exec` if possible. The program then replaces the shell, which would not forward
/// signals to the program.
fn set_command(process: &mut DraftedProcess, command: &str) {
    let program = command.strip_prefix("exec ").unwrap_or(command).trim_start();
    let all = commands(program);
    let is_single = matches!(&*all, [only] if only.end.is_empty() && !only.is_copy);
    let is_own = all.first().is_none_or(|it| is_of_shell(&it.words[0]));
    if PLAIN.is_match(program) && !is_own {
        let words: Vec<Value> = program.split_whitespace().map(Value::from).collect();
        return process.set("command", words);
    }
    let script = match is_single && !is_own {
        true if ASSIGNMENT.is_match(program) => format!("exec env {program}"),
        true => format!("exec {program}"),
        false => command.to_owned(),
    };
    process.set("command", json!(["sh", "-c", literal(&script)]));
}
