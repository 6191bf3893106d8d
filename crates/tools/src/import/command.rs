//! `drainit import`: converts the file of another program to a draft of a config.

use std::path::PathBuf;

use clap::Args;

use crate::import::input::is_stdin;
use crate::import::{Format, import};
use crate::keys::neighbours::{COMPOSE, IMPORT, foreign};
use crate::types::exit_code;
use crate::{Refused, Shown};

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A Procfile or a supervisord.conf; several become one config. `-` reads standard input, and
    /// needs --format
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Format of the files [default: known by their names]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Converts the files. Returns the config, and a note about the next step.
pub(crate) fn run(args: &ImportArgs) -> Result<Shown, Refused> {
    let mut files = Vec::with_capacity(args.files.len());
    for file in &args.files {
        // If the file is missing, any format will do, because reading the file then fails.
        let is_missing = !is_stdin(file) && !file.exists();
        let of_missing = || is_missing.then_some(Format::Procfile);
        let Some(format) = args.format.or_else(|| Format::of(file)).or_else(of_missing) else {
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
