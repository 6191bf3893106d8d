//! `drainit check`: reports all errors and warnings of a config, and of the pod that runs it.

use std::io::{self, Write};

use drainit_advise::image::{Image, Surroundings};
use drainit_advise::kubernetes::{self, Asked};

use crate::cli::config_files;
use crate::cli::{fail, say};
use crate::commands::CheckArgs;
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

/// Prints the problems. Returns 0 if there are no errors. With `--strict`, warnings count as
/// errors, and notes do not.
pub(super) fn check(args: &CheckArgs) -> u8 {
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
    let (problems, fine) = match &args.pod {
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
            if let Some(audit) = checked.audit {
                // A failed write is ignored, as for the config alone.
                let _ = io::stdout().write_all(audit.text.as_bytes());
                checked.diagnostics.iter().for_each(|problem| say(&format!("{problem}\n")));
                let has = |severity| checked.diagnostics.iter().any(|it| it.severity == severity);
                let is_strict = audit.is_any_lost || has(Severity::Warning);
                let is_bad = has(Severity::Error) || audit.is_cut || args.strict && is_strict;
                return if is_bad { exit_code::CONFIG } else { exit_code::OK };
            }
            (checked.diagnostics, checked.containers.join("; "))
        }
        None => match image.load(&paths, &Surroundings::of(&environment)) {
            Ok(mut loaded) => {
                let processes = counted(loaded.config.processes.len(), "process", "processes");
                let warnings = std::mem::take(&mut loaded.warnings);
                // Freeing the memory would only take time before the exit.
                std::mem::forget(loaded);
                (warnings, processes)
            }
            Err(problems) => (problems, String::new()),
        },
    };
    let is_image = image.is_image();
    let unchecked = image.into_unchecked();
    let elsewhere = !unchecked.is_empty() && !is_image;
    // If the command line names no config, the output names the file that was read. There may be no
    // file, because a pod that runs `drainit exec` needs none.
    let read = match (&*args.files.config, &*paths) {
        ([], [path]) if path.exists() => format!("{}: ", harmless(&path.to_string_lossy())),
        _ => String::new(),
    };
    write(&problems, &format!("{read}{fine}"), elsewhere);
    // Volumes are mounted over these paths, or over the files that list the users.
    if !problems.iter().any(Diagnostic::is_error) && is_image && !unchecked.is_empty() {
        let names = shortened(&Vec::from_iter(unchecked.iter().map(|name| format!("`{name}`"))));
        say(&format!("not looked at: {} (volumes are mounted there)\n", as_written(&names)));
    }
    let fails = |of: &Diagnostic| of.is_error() || args.strict && of.severity == Severity::Warning;
    if problems.iter().any(fails) { exit_code::CONFIG } else { exit_code::OK }
}

/// Writes the problems and their number, or what was checked if there is no problem. `elsewhere`
/// means that files of the image were not checked, because this command does not run in the image.
fn write(problems: &[Diagnostic], fine: &str, elsewhere: bool) {
    for problem in problems {
        say(&format!("{problem}\n"));
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let warnings_text = counted(warnings, "warning", "warnings");
    let rest = if elsewhere { "; files of the image were not checked (see `--image`)" } else { "" };
    match (errors, warnings) {
        // A failed write is ignored, because stdout may have no reader. The exit code shows the
        // result.
        (0, 0) => drop(writeln!(io::stdout(), "ok: {fine}{rest}")),
        (0, _) => say(&format!("{warnings_text}{rest}\n")),
        _ => say(&format!("{}, {warnings_text}\n", counted(errors, "error", "errors"))),
    }
}
