//! `drainit check`: reports all errors and warnings of a config, and of the pod that runs it.

mod json;
mod sarif;

use std::io::{self, Write};

use drainit_advise::image::{Image, Surroundings};
use drainit_advise::kubernetes::{self, Asked};

use crate::cli::config_files;
use crate::cli::{fail, print, say};
use crate::commands::{CheckArgs, CheckFormat};
use crate::language::written::as_written;
use crate::load::at_start;
use crate::load::{Diagnostic, Environment, Severity};
use crate::types::suggest::shortened;
use crate::types::{counted, exit_code, harmless};

/// The variables of `--env-file` and `--env`. A later variable overrides an earlier one of the same
/// name.
fn variables_of(args: &CheckArgs, here: &Environment) -> Result<Environment, String> {
    let mut of_files = Vec::new();
    for path in &args.env_file {
        of_files.extend(at_start::variables_of(path, here)?);
    }
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), here.get(text)?.to_owned())),
    };
    Ok(of_files.into_iter().chain(args.env.iter().filter_map(pair)).collect())
}

/// The result of a check.
struct Checked {
    problems: Vec<Diagnostic>,
    /// The parts that were checked: the processes, or the containers of the manifest.
    parts: Vec<String>,
    /// Whether files of the image were looked at.
    is_image: bool,
    /// The files, programs and users that could not be looked at.
    unchecked: Vec<String>,
}

/// Prints the problems. Returns 0 if there are no errors. With `--strict`, warnings count as
/// errors, and notes do not.
pub(super) fn check(args: &CheckArgs) -> u8 {
    if let Some(rule) = args.explain {
        print(rule.explanation().as_bytes());
        return exit_code::OK;
    }
    let (paths, here) = (config_files::paths(&args.files), Environment::from_process());
    let env = match variables_of(args, &here) {
        Ok(env) => env,
        Err(why) => return fail(&why, exit_code::CONFIG),
    };
    let of = |all: [&Environment; 2]| -> Environment {
        all.into_iter().flat_map(Environment::iter).collect()
    };
    let environment = of([&here, &env]);
    let image = Image::new(args.image, config_files::is_default(&args.files));
    let (problems, parts, audit) = match &args.pod {
        Some(pod) => {
            // If this command does not run in the image, the command's environment lacks the
            // variables that the image sets.
            let none = Environment::default();
            let of_image = of([if image.is_image() { &here } else { &none }, &env]);
            let container = args.container.as_deref();
            let is_audit = container.is_none() && config_files::control(&args.files).is_none();
            let (configs, here, of_image, image) = (&*paths, &environment, &of_image, &image);
            let asked = Asked { configs, image, container, is_audit, here, of_image };
            let checked = kubernetes::check(pod, &asked);
            (checked.diagnostics, checked.containers, checked.audit)
        }
        None => match image.load(&paths, &Surroundings::of(&environment)) {
            Ok(mut loaded) => {
                let processes = counted(loaded.config.processes.len(), "process", "processes");
                let warnings = std::mem::take(&mut loaded.warnings);
                // Freeing the memory would only take time before the exit.
                std::mem::forget(loaded);
                (warnings, vec![processes], None)
            }
            Err(problems) => (problems, Vec::new(), None),
        },
    };
    let is_image = image.is_image();
    let unchecked = image.into_unchecked().into_iter().collect();
    let checked = Checked { problems, parts, is_image, unchecked };
    match (args.format, &audit) {
        (CheckFormat::Json, _) => print(json::json(&checked, audit.as_ref()).as_bytes()),
        (CheckFormat::Sarif, _) => print(sarif::sarif(&checked).as_bytes()),
        (CheckFormat::Text, Some(audit)) => {
            // A failed write is ignored, as for the config alone.
            let _ = io::stdout().write_all(audit.text(&checked.allowed()).as_bytes());
            // The text of the audit has its own verdicts.
            let further = checked.shown().filter(|problem| !problem.rule.is_of_audit());
            further.for_each(|problem| say(&format!("{problem}\n")));
        }
        (CheckFormat::Text, None) => {
            // If the command line names no config, the output names the file that was read. A pod
            // that runs `drainit exec` needs none.
            let read = match (&*args.files.config, &*paths) {
                ([], [path]) if path.exists() => {
                    format!("{}: ", harmless(&path.to_string_lossy()))
                }
                _ => String::new(),
            };
            write(&checked, &read);
        }
    }
    let has = |severity| checked.shown().any(|problem| problem.severity == severity);
    let is_wrong = has(Severity::Error) || args.strict && has(Severity::Warning);
    if is_wrong { exit_code::CONFIG } else { exit_code::OK }
}

impl Checked {
    /// The problems that no comment silences.
    fn shown(&self) -> impl Iterator<Item = &Diagnostic> {
        self.problems.iter().filter(|problem| problem.allowed.is_none())
    }

    /// The number of the findings that comments silence, for the last line.
    fn allowed(&self) -> String {
        match self.problems.len() - self.shown().count() {
            0 => String::new(),
            allowed => format!("; {} allowed", counted(allowed, "finding", "findings")),
        }
    }
}

/// Writes the problems and their number, or what was checked if there is no problem. `read` names
/// the config.
fn write(checked: &Checked, read: &str) {
    checked.shown().for_each(|problem| say(&format!("{problem}\n")));
    let count = |severity| checked.shown().filter(|it| it.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let warnings_text = counted(warnings, "warning", "warnings");
    // Files of the image were not checked, because this command does not run in the image.
    let is_elsewhere = !checked.unchecked.is_empty() && !checked.is_image;
    let rest = match is_elsewhere {
        true => "; files of the image were not checked (see `--image`)",
        false => "",
    };
    let allowed = checked.allowed();
    match (errors, warnings) {
        // A failed write is ignored, because stdout may have no reader. The exit code shows the
        // result.
        (0, 0) => {
            let fine = checked.parts.join("; ");
            drop(writeln!(io::stdout(), "ok: {read}{fine}{allowed}{rest}"));
        }
        (0, _) => say(&format!("{warnings_text}{allowed}{rest}\n")),
        _ => say(&format!("{}, {warnings_text}{allowed}\n", counted(errors, "error", "errors"))),
    }
    // Volumes are mounted over these paths, or over the files that list the users.
    if errors == 0 && checked.is_image && !checked.unchecked.is_empty() {
        let quoted = checked.unchecked.iter().map(|name| format!("`{name}`"));
        let names = shortened(&Vec::from_iter(quoted));
        say(&format!("not looked at: {} (volumes are mounted there)\n", as_written(&names)));
    }
}
