//! `log:` of a process.

use std::fmt::Display;
use std::path::PathBuf;

use crate::config::{LogFile, LogMode};
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;
use crate::types::Stream;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Inherit,
    Prefix,
    None,
}

pub(crate) static KEYS: Keys = Keys {
    exclusive: &[
        Key::new(
            "mode",
            Shape::Word(&MODES),
            "`prefix`: its output passes through drainit, line by line. `inherit`: untouched. `none`: dropped.",
        ),
        Key::new("file", Shape::Path, "The file that its output is appended to."),
    ],
    others: &[
        Key::new(
            "prefix",
            Shape::Path,
            "Precedes each line, in brackets. Unset: the name of the process, or nothing with `file`.",
        ),
        Key::new(
            "stderr",
            Shape::Word(&STDERR),
            "`stdout`: its stderr goes where its stdout goes.",
        ),
    ],
};

const MODES: &[(&str, Mode)] =
    &[("inherit", Mode::Inherit), ("prefix", Mode::Prefix), ("none", Mode::None)];

const STDERR: &[(&str, Stream)] = &[("stdout", Stream::Stdout)];

/// Reads `log:` of the process `name`: where its output goes, and whether its stderr goes to its
/// stdout.
pub(crate) fn log(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    name: &str,
) -> (LogMode, bool) {
    let Some(fields) = reader.fields(node, what, &KEYS) else {
        return (LogMode::Inherit, false);
    };
    let mode = reader.field(&fields, "mode", |text| values::choice(text, MODES));
    let prefix = reader.field(&fields, "prefix", prefix);
    let file = reader.field(&fields, "file", file);
    let stderr = reader.field(&fields, "stderr", |text| values::choice(text, STDERR));
    if let (Some(span), Some(mode)) = (fields.key("file").filter(|_| file.is_some()), mode) {
        let help = match mode {
            Mode::Prefix => "remove the `mode`; a `prefix` may stand beside `file`",
            Mode::Inherit | Mode::None => "remove one of the two",
        };
        reader.problems.error(span, "output goes to a `file` or by a `mode`, not both").help(help);
    }
    if let (Some(span), Some(mode)) = (fields.key("prefix").filter(|_| prefix.is_some()), mode) {
        let message = match mode {
            Mode::Inherit => "with `mode: inherit` drainit cannot prefix the lines",
            Mode::None => "with `mode: none` there are no lines to prefix",
            Mode::Prefix => "",
        };
        if !message.is_empty() {
            reader.problems.error(span, message).help("remove the `prefix`, or the `mode`");
        }
    }
    // Only the redirection is written, so everything else stays as it is without `log`.
    let is_redirection = mode.is_none() && prefix.is_none() && fields.get("stderr").is_some();
    let target = match (mode, file) {
        (_, Some(path)) => LogMode::File(LogFile { path, prefix }),
        (Some(Mode::None), None) => LogMode::None,
        (Some(Mode::Inherit), None) => LogMode::Inherit,
        (None, None) if is_redirection => LogMode::Inherit,
        (Some(Mode::Prefix) | None, None) => {
            LogMode::Prefix(prefix.unwrap_or_else(|| name.to_owned()))
        }
    };
    (target, stderr.is_some())
}

/// The path of a log file. In an image for supervisord it is often no file but a stream.
fn file(text: &str) -> Result<PathBuf, Invalid> {
    match text {
        "/dev/stdout" | "/dev/stderr" | "/dev/fd/1" | "/dev/fd/2" => Err(Invalid::new(
            "an output of drainit, where lines go without a `file`",
            "remove the `file`; `stderr: stdout` sends both streams to stdout",
        )),
        "/dev/null" => Err(Invalid::new("no file", "write `mode: none` in its place")),
        text => values::path(text),
    }
}

/// The prefix of drainit's own lines: those of a process must not look like them.
pub(crate) const OWN: &str = "drainit";

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
