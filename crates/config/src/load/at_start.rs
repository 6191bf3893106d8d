//! Reads, at each start of a process, the files that are not read together with the config:
//! secrets, an `env_file` that another process has written, and templates. The parsers and limits
//! are the same as for a config.
//!
//! Every error or warning is one line of text, and never contains a value.

use std::path::Path;

use crate::keys::Accounts;
use crate::keys::scale;
use crate::keys::{
    Account, DeadlineShare, Header, HeaderValue, Process, Render, ValueFile, Variable,
};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::env_file;
use crate::language::environment::{Environment, Later, Variables};
use crate::language::expand::{LONGEST, Malformed, expand_up_to};
use crate::language::mask::{self, Kind};
use crate::language::moment::{Reads, of_one_moment};
use crate::language::source::{AT_START, NO_VARIABLE, Source, Unreadable, VARIABLE};

/// All variables of one `env_file` together may have at most this many bytes, because the kernel
/// accepts at most 6 MiB of arguments and variables (execve(2)).
const MOST_VARIABLES: usize = 6 * 1024 * 1024;
/// A rendered file may have at most this many bytes.
const MOST_RENDERED: usize = 4 * 1024 * 1024;
/// For one template, at most this many unset variables are reported.
const MAX_UNSET: usize = 10;

/// Returns the variables and the templates of a process. Reads their files again and again, until
/// all contents are of one moment.
///
/// # Errors
/// Says why a file cannot be read.
pub fn values(
    process: &Process,
    env: &[(String, String)],
    container: &Environment,
    templates: &[Render],
) -> Result<(Vec<Variable>, Vec<Source>), String> {
    let template = |render: &Render, reads: &Reads| {
        reads.read(&render.from, &AT_START).map_err(|why| {
            let missing = "let one of its dependencies write the file";
            unreadable("template", &render.from, why, missing)
        })
    };
    together(|reads| {
        let variables = variables(process, env, container, reads)?;
        let all = templates.iter().map(|render| template(render, reads)).collect::<Result<_, _>>();
        Ok((variables, all?))
    })
}

/// The process with the container's current limits in its command and its variables; `None` if the
/// command and the variables use no limit.
///
/// # Errors
/// Says which limit is not known.
pub fn with_limits(process: &Process) -> Result<Option<Process>, String> {
    if !process.has_limits() {
        return Ok(None);
    }
    let command = process.command.with_limits()?;
    let environment = process.environment.iter().map(Variable::with_limits);
    let environment = environment.collect::<Result<_, _>>()?;
    Ok(Some(Process { command, environment, ..process.clone() }))
}

/// Calls `read` until all files that `read` reads are of one moment. For example, a password must
/// belong to the user name in the file beside it.
fn together<T>(read: impl FnMut(&Reads) -> Result<T, String>) -> Result<T, String> {
    let read = of_one_moment(read).map(|(read, _)| read);
    read.unwrap_or_else(|(path, why)| Err(unreadable("", &path, why, "")))
}

/// Whether a variable with a value of this length, in bytes, is too long for the kernel. The
/// kernel's limit includes the `=` between the name and the value, and a NUL at the end.
pub fn is_too_long(name: &str, length: u64) -> bool {
    name.len() as u64 + length + 2 > LONGEST as u64
}

fn variables(
    process: &Process,
    env: &[(String, String)],
    container: &Environment,
    reads: &Reads,
) -> Result<Vec<Variable>, String> {
    let mut defaults = Variables::new(container);
    env.iter().for_each(|(name, value)| defaults.set_default(name, value));
    defaults.set_number(scale::number_of(process));
    defaults.later = Later::AtStart(process.share);
    let mut out = Vec::with_capacity(process.environment.len());
    for variable in &process.environment {
        match variable {
            Variable::Set { .. } | Variable::Removed(_) => out.push(variable.clone()),
            Variable::FromFile { name, file } => {
                let what = || format!("variable {}", quote(name));
                let read = reads.read(&file.path, &VARIABLE);
                if let Some(source) = present(read, file, what)? {
                    let value = source.text.trim_end_matches(['\n', '\r']).to_owned();
                    if is_too_long(name, value.len() as u64) {
                        let path = quote_path(&file.path);
                        return Err(format!(
                            "{}: {path} is larger than 128 KiB with the name; {NO_VARIABLE}",
                            what()
                        ));
                    }
                    mask::hide(Kind::Secret, name, &value);
                    out.push(Variable::Set { name: name.as_str().into(), value: value.into() });
                }
            }
            Variable::EnvFile(file) => {
                let read = reads.read(&file.path, &AT_START);
                if let Some(source) = present(read, file, || "`env_file`".to_owned())? {
                    env_file(&source, &mut defaults, &mut out)?;
                }
            }
        }
    }
    Ok(out)
}

/// Reads the variables of a container from a file that has the format of an `env_file`.
///
/// # Errors
/// Says why the variables cannot be read.
pub fn variables_of(path: &Path, container: &Environment) -> Result<Vec<(String, String)>, String> {
    let source = Source::read_within(path, &AT_START)
        .map_err(|why| unreadable("`--env-file`", path, why, "correct the path"))?;
    let mut found = Vec::new();
    env_file(&source, &mut Variables::new(container), &mut found)?;
    let pair = |variable| match variable {
        Variable::Set { name, value } => Some((name.into_now(), value.into_now())),
        _ => None,
    };
    Ok(found.into_iter().filter_map(pair).collect())
}

/// Looks up the user of a process.
///
/// # Errors
/// Says why the user is not found.
pub fn account(wanted: &Account) -> Result<Account, String> {
    match wanted {
        Account::Written(text) => Accounts::default()
            .find(text)
            .map_err(|bad| format!("`user` is {}: {}; {}", quote(text), bad.why, bad.help)),
        Account::Found { .. } => Ok(wanted.clone()),
    }
}

/// Returns the file that was read; `None` if the file is missing and the entry does not require it.
fn present(
    read: Result<Source, Unreadable>,
    file: &ValueFile,
    what: impl Fn() -> String,
) -> Result<Option<Source>, String> {
    match read {
        Ok(source) => Ok(Some(source)),
        Err(why) if why.is_missing && !file.required => Ok(None),
        Err(why) => {
            let missing = "let one of its dependencies write the file, or set `required: false`";
            Err(unreadable(&format!("{}:", what()), &file.path, why, missing))
        }
    }
}

/// The message for a file that cannot be used. If `why` has no help text, `missing` is the help.
fn unreadable(what: &str, path: &Path, why: Unreadable, missing: &str) -> String {
    let line = if why.line > 0 { format!(", line {},", why.line) } else { String::new() };
    let what = if what.is_empty() { String::new() } else { format!("{what} ") };
    let message = format!("{what}{}{line} {}", quote_path(path), why.message);
    format!("{message}; {}", why.help_or(|| missing.to_owned()))
}

pub fn env_file(
    source: &Source,
    variables: &mut Variables<'_>,
    out: &mut Vec<Variable>,
) -> Result<(), String> {
    let mut left = MOST_VARIABLES;
    for entry in env_file::parse(&source.text) {
        let line = entry.line;
        let at = |message: &str, help: &str| {
            format!("`env_file` {}, line {line}: {message}; {help}", quote_path(&source.path))
        };
        let read = entry.variable(variables).map_err(|bad| at(&bad.why, &bad.help))?;
        let Some((name, value)) = read else { continue };
        left = left.checked_sub(name.len() + value.len()).ok_or_else(|| {
            let message = format!("more than {} MiB of variables", MOST_VARIABLES / 1024 / 1024);
            at(&message, "make it shorter: no process can have that many")
        })?;
        variables.set_in_file(name, &value);
        out.push(Variable::Set { name: name.into(), value });
    }
    variables.end_of_file();
    Ok(())
}

/// Reads the values of the header fields of a drain's request. Returns each value with the name of
/// its field.
///
/// # Errors
/// Says why a value cannot be read, without quoting the value.
pub fn headers(headers: &[Header]) -> Result<Vec<(String, String)>, String> {
    let read = |header: &Header, reads: &Reads| {
        let name = header.name.clone();
        let path = match &header.value {
            HeaderValue::Text(text) => return Ok((name, text.clone())),
            HeaderValue::File(path) => path,
        };
        let what = format!("header field {}:", quote(&name));
        let source = reads
            .read(path, &VARIABLE)
            .map_err(|why| unreadable(&what, path, why, "correct the path, or write the file"))?;
        let value = source.text.trim_end_matches(['\n', '\r']);
        match HeaderValue::is_valid(value) {
            true => {
                mask::hide(Kind::Secret, &name, value);
                Ok((name, value.to_owned()))
            }
            false => Err(format!("{what} {} has a character that HTTP forbids", quote_path(path))),
        }
    };
    together(|reads| headers.iter().map(|header| read(header, reads)).collect())
}

/// A template after its variables were replaced by their values.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    /// A warning for each unset variable of the template, but at most `MAX_UNSET` warnings.
    pub warnings: Vec<String>,
}

/// Replaces the variables of a template by their values.
///
/// # Errors
/// Says why the template cannot be expanded.
pub fn render(
    source: &Source,
    share: DeadlineShare,
    environment: &Environment,
) -> Result<Rendered, String> {
    let from = &source.path;
    let mut variables = Variables::new(environment);
    variables.later = Later::AtStart(share);
    let at = |at: usize| {
        let place = source.place(0, at);
        format!("template {}, line {}", quote_path(from), place.line())
    };
    let expanded = expand_template(source, &variables).map_err(|malformed| {
        format!("{}: {}; {}", at(malformed.at), malformed.message, malformed.help)
    })?;
    let unset = expanded.unset.iter().take(MAX_UNSET);
    let warnings = unset
        .map(|(name, byte)| {
            format!(
                "{}: `{name}` is not set and becomes empty; write `${{{name}:-}}` if it may be",
                at(*byte)
            )
        })
        .collect();
    Ok(Rendered { text: expanded.text.into_now(), warnings })
}

/// Replaces the variables of a template by their values.
pub fn expand_template(
    source: &Source,
    variables: &Variables<'_>,
) -> Result<crate::language::expand::Expanded, Malformed> {
    let help = "is this the right template?";
    expand_up_to(&source.text, variables, (MOST_RENDERED, help))
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}
