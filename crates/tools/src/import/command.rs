//! `drainit import`: converts the file of another program to a draft of a config.

use std::path::PathBuf;

use clap::Args;

use crate::import::{Format, import};
use crate::types::exit_code;
use crate::{Refused, Shown};

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A Procfile, a Compose file or a supervisord.conf
    file: PathBuf,
    /// Format of the file [default: known by its name]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Converts the file. Returns the config, and a note about the next step.
pub(crate) fn run(args: &ImportArgs) -> Result<Shown, Refused> {
    // If the file is missing, the format does not matter, because reading the file reports that.
    let of_missing = || (!args.file.exists()).then_some(Format::Procfile);
    let format = args.format.or_else(|| Format::of(&args.file)).or_else(of_missing);
    let Some(format) = format else {
        let why = format!(
            "error: the name of {} does not tell its format\n  = help: add --format procfile, compose or supervisord",
            args.file.display()
        );
        return Err(Refused { why, code: exit_code::USAGE });
    };
    match import(&args.file, format) {
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
