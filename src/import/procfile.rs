//! Reads a Procfile as Foreman, Honcho, Overmind and Heroku do: `NAME: COMMAND`, run by a shell.

use crate::import::draft::{Draft, Process, Value, literal, plain_dollars};
use crate::import::input::InputFile;
use crate::import::shell_words;
use crate::import::shell_words::Line;
use crate::load::Diagnostic;

/// Foreman's PORT for the first process.
const PORT: usize = 5000;
/// Heroku runs this process alone, before a deployment.
const RELEASE: &str = "release";

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let mut draft = Draft::default();
    for (index, line) in file.text().lines().enumerate() {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((name, command)) = entry(text) else {
            let span = file.line(index + 1);
            let help = "write `NAME: COMMAND`, like `web: gunicorn app`";
            return Err(file.fail(span, "not a line of a Procfile", help));
        };
        let mut process = Process::new(name);
        set_command(&mut process, command);
        // Foreman numbers the ports by the place of the process. The platform's PORT is for the first
        // one that stays.
        if draft.processes.iter().any(|before| before.name != RELEASE) {
            let port = (PORT + 100 * draft.processes.len()).to_string();
            process.with_environment(vec![("PORT".to_owned(), Value::Text(port))]);
        }
        if name == RELEASE {
            process.set("type", "oneshot".into());
            process.note(
                "Heroku runs it once per deployment; here every container runs it at its start",
            );
        }
        process.set("log", Value::Map(vec![("prefix".to_owned(), name.into())]));
        draft.processes.push(process);
    }
    if draft.processes.is_empty() {
        let span = file.line(1);
        return Err(file.fail(
            span,
            "the file has no process",
            "write `NAME: COMMAND`, like `web: gunicorn app`",
        ));
    }
    if draft.processes.iter().any(|process| process.name == RELEASE) {
        let others = draft.processes.iter_mut().filter(|process| process.name != RELEASE);
        others.for_each(|process| process.set("depends_on", Value::List(vec![RELEASE.to_owned()])));
    }
    draft.env.push(("PORT".to_owned(), PORT.to_string()));
    draft.notes.push(
        "A Procfile has no order: all processes start and stop at once. Add `depends_on` where one needs another. \
         No .env is read: add it as `env_file` where it is needed. PORT is numbered as by Foreman; the container's \
         PORT counts for the first process but `release` only."
            .to_owned(),
    );
    draft.fix_names();
    Ok(draft)
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let (name, command) = (name.trim(), command.trim());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!name.is_empty() && name.chars().all(allowed) && !command.is_empty())
        .then_some((name, command))
}

/// Sets the command, without a shell where that makes no difference: a shell forwards no signals.
pub(super) fn set_command(process: &mut Process, command: &str) {
    match shell_words::read(command) {
        Line::Simple(env, words) => {
            let plain = |text: &String| plain_dollars(&literal(text));
            process.set("command", Value::List(words.iter().map(plain).collect()));
            if !env.is_empty() {
                let entry =
                    |(name, value): &(String, String)| (name.clone(), Value::Text(plain(value)));
                process.set("environment", Value::Map(env.iter().map(entry).collect()));
            }
        }
        Line::Expanded => {
            let exec = if command.starts_with("exec ") { "" } else { "exec " };
            let script = literal(&format!("{exec}{command}"));
            process.set("command", Value::List(vec!["sh".into(), "-c".into(), script]));
        }
        Line::Script => {
            process.set_with_note(
                "command",
                Value::List(vec!["sh".into(), "-c".into(), literal(command)]),
                "the shell gets the signals, not its child: start its last command with `exec`",
            );
        }
    }
}
