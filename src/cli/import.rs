//! `drainit import`: converts the file of another program to a draft of a config.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::print;
use crate::cli::values::plural;
use crate::import::{Format, import};
use crate::types::exit_code;

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A Procfile, a Compose file or a supervisord.conf
    file: PathBuf,
    /// Format of the file [default: by its name]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Prints the config, and the next step on stderr.
pub(super) fn run(args: &ImportArgs) -> u8 {
    let mut err = io::stderr().lock();
    let file = args.file.display();
    // A missing file has any format: that it is missing is reported when it is read.
    let of_missing = || (!args.file.exists()).then_some(Format::Procfile);
    let format = args.format.or_else(|| Format::of(&args.file)).or_else(of_missing);
    let Some(format) = format else {
        let _ = writeln!(
            err,
            "error: the name of {file} does not tell its format\n  = help: add --format procfile, compose or supervisord"
        );
        return exit_code::USAGE;
    };
    match import(&args.file, format) {
        Ok(imported) => {
            print(imported.text.as_bytes());
            let _ = writeln!(
                err,
                "{} to be read; then try it with `drainit check -c FILE`",
                plural(imported.notes, "comment", "comments")
            );
            exit_code::OK
        }
        Err(problems) => {
            problems.iter().for_each(|problem| drop(writeln!(err, "{problem}")));
            exit_code::CONFIG
        }
    }
}
