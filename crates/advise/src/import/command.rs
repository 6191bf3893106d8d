//! `drainit import`: converts the file of another program to a draft of a config.

use std::path::{Path, PathBuf};

use drainit_commands::{Format, ImportArgs};

use crate::import::input::is_stdin;
use crate::import::{format_of, import};
use crate::keys::neighbours::{COMPOSE, IMPORT, foreign};
use crate::types::exit_code;
use crate::{Refused, Shown};

/// Converts the files. Without a `--format`, the name of each file shows its format.
pub(crate) fn run(args: &ImportArgs) -> Result<Shown, Refused> {
    let with_format = |file: &PathBuf| {
        // If the file is missing, any format will do, because reading the file then fails.
        let is_missing = !is_stdin(file) && !file.exists();
        let of_missing = || is_missing.then_some(Format::Procfile);
        let format = args.format.or_else(|| format_of(file)).or_else(of_missing);
        Ok((file.clone(), format.ok_or_else(|| no_format(file))?))
    };
    let files = args.files.iter().map(with_format).collect::<Result<Vec<_>, _>>()?;
    import(&files).map_err(|problems| Refused {
        why: problems.iter().map(|problem| format!("{problem}\n")).collect(),
        code: exit_code::CONFIG,
    })
}

/// Says what the file is, or that nothing shows its format.
fn no_format(file: &Path) -> Refused {
    let name = match is_stdin(file) {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let is_compose = text.lines().any(|line| line.starts_with("services:"));
    let compose = is_compose.then_some((0, "a Compose file", COMPOSE));
    let (what, help) = match foreign(&text).filter(|(_, _, help)| *help != IMPORT).or(compose) {
        Some((_, what, help)) => (format!("{name} is {what}"), help),
        None => (
            format!("the name of {name} does not tell its format"),
            "add --format procfile or supervisord; docs/migrating.md#a-bash-entrypoint translates a shell script",
        ),
    };
    Refused { why: format!("error: {what}\n  = help: {help}"), code: exit_code::USAGE }
}
