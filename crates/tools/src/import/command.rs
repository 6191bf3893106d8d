//! `drainit import`: converts the file of another program to a draft of a config.

use std::path::PathBuf;

use clap::Args;

use crate::import::input::is_stdin;
use crate::import::{Format, import};
use crate::keys::neighbours::{IMPORT, foreign};
use crate::types::exit_code;
use crate::{Refused, Shown};

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A Procfile, a Compose file or a supervisord.conf; several become one config. `-` reads
    /// standard input, and needs --format
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
            if let Some((_, what, help)) = foreign(&text).filter(|(_, _, help)| *help != IMPORT) {
                let why = format!("error: {name} is {what}\n  = help: {help}");
                return Err(Refused { why, code: exit_code::USAGE });
            }
            let why = format!(
                "error: the name of {name} does not tell its format\n  = help: add --format procfile, compose or supervisord; docs/migrating.md#a-bash-entrypoint translates a shell script"
            );
            return Err(Refused { why, code: exit_code::USAGE });
        };
        files.push((file.clone(), format));
    }
    if files.iter().filter(|(_, format)| *format == Format::Compose).count() > 1 {
        let why = "error: several Compose files overlay each other\n  = help: import the output of `docker compose -f A -f B config`";
        return Err(Refused { why: why.to_owned(), code: exit_code::USAGE });
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
