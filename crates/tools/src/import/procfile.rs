//! Reads a Procfile as Foreman, Honcho, Overmind and Heroku do: `NAME: COMMAND`, run by a shell.

use crate::import::draft::{Draft, Need, Process, Value, literal, plain_dollars};
use crate::import::input::InputFile;
use crate::import::pattern;
use crate::import::shell_words;
use crate::import::shell_words::Line;
use crate::load::Diagnostic;

/// Foreman's PORT for the first process.
const PORT: usize = 5000;
/// Heroku runs this process alone, before a deployment.
const RELEASE: &str = "release";
const HELP: &str = "write `NAME: COMMAND`, like `web: gunicorn app`";
const NOTE: &str = "A Procfile has no order: all processes start and stop at once. Add `depends_on` where one needs another. \
                    No .env is read: add it as `env_file` where it is needed. PORT is numbered as by Foreman; the container's \
                    PORT counts for the first process but `release` only.";

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let mut draft = Draft { notes: vec![NOTE.to_owned()], ..Draft::default() };
    let entry = pattern(r"^([\w.-]+)\s*:\s*(.+)$");
    for (index, line) in file.text().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(found) = entry.captures(line) else {
            return Err(file.fail(index + 1, "not a line of a Procfile", HELP));
        };
        let mut process = Process::new(&found[1]);
        set_command(&mut process, &found[2]);
        // Foreman numbers the ports by the place of the process. The platform's PORT is for the first
        // one that stays.
        if draft.processes.iter().any(|before| before.name != RELEASE) {
            let port = (PORT + 100 * draft.processes.len()).to_string();
            process.with_environment(vec![("PORT".to_owned(), port.into())]);
        }
        if process.name == RELEASE {
            process.set("type", "oneshot");
            process.note(
                "Heroku runs it once per deployment; here every container runs it at its start",
            );
        }
        process.set("log", Value::map([("prefix", found[1].into())]));
        draft.processes.push(process);
    }
    if draft.processes.is_empty() {
        return Err(file.fail(1, "the file has no process", HELP));
    }
    if draft.processes.iter().any(|process| process.name == RELEASE) {
        for process in draft.processes.iter_mut().filter(|process| process.name != RELEASE) {
            process.needs.push(Need { name: RELEASE.to_owned(), ..Need::default() });
        }
    }
    draft.env.push(("PORT".to_owned(), PORT.to_string()));
    draft.fix_names();
    Ok(draft)
}

/// Sets the command, without a shell where that makes no difference: a shell forwards no signals.
fn set_command(process: &mut Process, command: &str) {
    let in_shell = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), literal(script)];
    match shell_words::read(command) {
        Line::Simple(env, words) => {
            let plain = |text: &String| plain_dollars(&literal(text));
            process.set("command", words.iter().map(plain).collect::<Vec<_>>());
            let env = env.iter().map(|(name, value)| (name.clone(), plain(value).into()));
            process.with_environment(env.collect());
        }
        Line::Expanded if command.starts_with("exec ") => {
            process.set("command", in_shell(command));
        }
        Line::Expanded => process.set("command", in_shell(&format!("exec {command}"))),
        Line::Script => {
            process.set("command", in_shell(command));
            process.note_at("command", shell_words::START_WITH_EXEC);
        }
    }
}
