//! `drainit import`: converts the file of another program to a draft of a config.

use drainit_commands::{Format, ImportArgs};

use crate::import::input::is_stdin;
use crate::import::{format_of, import};
use crate::keys::neighbours::{COMPOSE, IMPORT, foreign};
use crate::types::exit_code;
use crate::{Refused, Shown};

/// Converts the files. Returns the config, and a note about the next step.
pub(crate) fn run(args: &ImportArgs) -> Result<Shown, Refused> {
    let mut files = Vec::with_capacity(args.files.len());
    for file in &args.files {
        // If the file is missing, any format will do, because reading the file then fails.
        let is_missing = !is_stdin(file) && !file.exists();
        let of_missing = || is_missing.then_some(Format::Procfile);
        let Some(format) = args.format.or_else(|| format_of(file)).or_else(of_missing) else {
            let name = match is_stdin(file) {
                true => "standard input".to_owned(),
                false => file.display().to_string(),
            };
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let is_compose = text.lines().any(|line| line.starts_with("services:"));
            let compose = is_compose.then_some((0, "a Compose file", COMPOSE));
            let known = foreign(&text).filter(|(_, _, help)| *help != IMPORT).or(compose);
            if let Some((_, what, help)) = known {
                let why = format!("error: {name} is {what}\n  = help: {help}");
                return Err(Refused { why, code: exit_code::USAGE });
            }
            let why = format!(
                "error: the name of {name} does not tell its format\n  = help: add --format procfile or supervisord; docs/migrating.md#a-bash-entrypoint translates a shell script"
            );
            return Err(Refused { why, code: exit_code::USAGE });
        };
        files.push((file.clone(), format));
    }
    match import(&files) {
        Ok(imported) => {
            let comments = match imported.notes {
                1 => "1 comment".to_owned(),
                many => format!("{many} comments"),
            };
            let note = format!("{comments} to be read; then try it with `drainit check -c FILE`\n");
            Ok(Shown { text: imported.text, note })
        }
        Err(problems) => {
            let why = problems.iter().map(|problem| format!("{problem}\n")).collect();
            Err(Refused { why, code: exit_code::CONFIG })
        }
    }
}
