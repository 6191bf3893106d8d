//! `log:` of a process: where its output goes.

use std::path::PathBuf;

use drainit_derive::Named;

use crate::keys::forms::{leaf, words};
use crate::keys::key::{At, Form, Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::keys::scale;
use crate::keys::values;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::SCALE_INDEX;
use crate::language::invalid::Invalid;
use crate::language::yaml::node::{Kind, Node};

/// Where the output of a process goes, as `log:` defines it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Log {
    pub mode: LogMode,
    /// Whether the process writes stderr to the same place as stdout.
    pub stderr_to_stdout: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LogMode {
    /// The process gets drainit's own stdout and stderr.
    #[default]
    Inherit,
    /// The output passes through drainit, which writes `[prefix] ` before each line.
    Prefix(String),
    /// The output is dropped.
    None,
    /// drainit appends the output to files.
    File(LogFile),
}

/// The log files of a process. drainit opens and writes the files, so drainit's user needs the
/// permission to do so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file of stdout, and also of stderr if stderr has no file of its own. `None` if only
    /// stderr has a file: stdout then goes to drainit's own stdout.
    pub path: Option<PathBuf>,
    /// The text in brackets that drainit writes before each line, if there is one.
    pub prefix: Option<String>,
    /// The file of stderr, if stderr has a file of its own.
    pub stderr: Option<PathBuf>,
}

impl LogFile {
    /// The files of both streams.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.path.iter().chain(&self.stderr)
    }
}

/// The keys of `log:`.
#[derive(Table)]
#[table(settle = Log)]
pub(crate) struct LogKeys {
    /// `prefix`: the output passes through drainit, line by line. `inherit`: untouched. `none`:
    /// dropped.
    #[key(exclusive)]
    mode: Option<Mode>,
    /// The file to which the output is appended.
    #[key(form = FilePath, exclusive)]
    file: Option<PathBuf>,
    /// The text in brackets before each line. Unset: the name of the process, or with `file`,
    /// nothing.
    #[key(form = Prefix)]
    prefix: Option<String>,
    /// `stdout`: stderr goes where stdout goes. `{file: PATH}`: stderr is appended to a
    /// file of its own. <!-- C886 -->
    #[key(form = StderrForm)]
    stderr: Option<StderrTo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Named)]
enum Mode {
    Inherit,
    Prefix,
    None,
}

#[derive(Clone, Copy, Named)]
enum Stderr {
    Stdout,
}

enum StderrTo {
    Stdout,
    File(PathBuf),
}

/// `stdout`, or `{file: PATH}`.
struct StderrForm;

impl Form for StderrForm {
    type Out = StderrTo;
    const SHAPE: Shape = Shape::Either(&[Stderr::SHAPE, StderrKeys::SHAPE]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<StderrTo> {
        match node.kind {
            Kind::Mapping(_) => {
                StderrKeys::read(reader, at, node).map(|StderrKeys { file }| StderrTo::File(file))
            }
            _ => Stderr::read(reader, at, node).map(|Stderr::Stdout| StderrTo::Stdout),
        }
    }
}

#[derive(Table)]
#[table(shared = "stderr")]
struct StderrKeys {
    /// The file that stderr is appended to.
    #[key(form = FilePath, required = "write `{file: PATH}`")]
    file: PathBuf,
}

words! {
    Mode Stderr
}

leaf! {
    /// The path of a log file. Configs for supervisord often have `/dev/stdout` here, which drainit
    /// refuses.
    struct FilePath => PathBuf: Shape::Filled("path"), file;
    struct Prefix => String: Shape::Filled("text"), prefix;
}

/// The prefix of drainit's own lines. A process must not have the same prefix.
pub(crate) const OWN: &str = "drainit";

impl LogKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Log> {
        let Self { mode, file, prefix, stderr } = self;
        if let (Some(_), Some(mode)) = (&file, mode) {
            let help = match mode {
                Mode::Prefix => "remove the `mode`; a `prefix` may stand beside `file`",
                Mode::Inherit | Mode::None => "remove one of the two",
            };
            let message = "output goes to a `file` or by a `mode`, not both";
            reader.problems.error(Rule::ConflictingKeys, fields.key("file"), message).help(help);
        }
        // If the config has only `stderr`, stdout still goes to drainit's own stdout, as without
        // `log`.
        let is_redirection = mode.is_none() && prefix.is_none() && fields.get("stderr").is_some();
        // In a copy of an entry with `scale`, the number of the copy follows the prefix. If the
        // prefix in the config already contains `SCALE_INDEX`, drainit adds no number.
        let prefix = prefix.map(|prefix| {
            let written = fields.get("prefix").and_then(|node| node.scalar());
            let is_numbered = written.is_some_and(|text| text.contains(SCALE_INDEX));
            match reader.variables.number().filter(|_| !is_numbered) {
                Some(number) => scale::name_of(&prefix, number),
                None => prefix,
            }
        });
        let (stderr_to_stdout, stderr) = match stderr {
            None => (false, None),
            Some(StderrTo::Stdout) => (true, None),
            Some(StderrTo::File(path)) => (false, Some(path)),
        };
        let problem = match (&stderr, mode) {
            (Some(_), _) if stderr == file => Some("both streams have the same file"),
            (Some(_), Some(Mode::Inherit | Mode::None)) => {
                Some("a file of stderr goes with `file` or `mode: prefix`")
            }
            _ => None,
        };
        if let Some(message) = problem {
            reader.problems.error(Rule::ConflictingKeys, fields.key("stderr"), message).help(
                "write `{stderr: {file: PATH}}`, `{file: PATH, stderr: {file: OTHER}}`, or \
                 `stderr: stdout` for one file",
            );
        }
        let name = || reader.process.clone();
        let mode = match mode {
            Some(Mode::None) => LogMode::None,
            _ if file.is_some() || stderr.is_some() => {
                let prefix = prefix.or_else(|| (mode == Some(Mode::Prefix)).then(name));
                LogMode::File(LogFile { path: file, prefix, stderr })
            }
            Some(Mode::Inherit) => LogMode::Inherit,
            None if is_redirection => LogMode::Inherit,
            Some(Mode::Prefix) | None => LogMode::Prefix(prefix.unwrap_or_else(name)),
        };
        Some(Log { mode, stderr_to_stdout })
    }
}

fn file(text: &str) -> Result<PathBuf, Invalid> {
    match text {
        "/dev/stdout" | "/dev/stderr" | "/dev/fd/1" | "/dev/fd/2" => Err(Invalid::new(
            "drainit's own output, to which lines go without a `file`",
            "remove the `file`; `stderr: stdout` sends both streams to stdout",
        )),
        "/dev/null" => Err(Invalid::new("not a file", "write `mode: none` instead")),
        text => values::path(text),
    }
}

fn prefix(text: &str) -> Result<String, Invalid> {
    if text == OWN {
        return Err(Invalid::new("the prefix of drainit's own lines", "write another word"));
    }
    if text.is_empty() {
        return Err(Invalid::new("not a prefix", "remove it to use the name of the process"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(
            "it has a line break or a control character",
            "write a short word",
        ));
    }
    Ok(text.to_owned())
}
