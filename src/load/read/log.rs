//! `log:` of a process.

use std::fmt::Display;

use crate::config::LogMode;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Inherit,
    Prefix,
}

pub(crate) static KEYS: Keys = Keys::new(&[
    Key::new(
        "mode",
        Shape::Word(&MODES),
        "`prefix`: its output passes through drainit, line by line. `inherit`: untouched.",
    ),
    Key::new(
        "prefix",
        Shape::Path,
        "Precedes each line, in brackets. Unset: the name of the process.",
    ),
]);

const MODES: &[(&str, Mode)] = &[("inherit", Mode::Inherit), ("prefix", Mode::Prefix)];

/// Reads `log:` of the process `name`.
pub(crate) fn log(reader: &mut Reader<'_>, node: &Node, what: &dyn Display, name: &str) -> LogMode {
    let Some(fields) = reader.fields(node, what, &KEYS) else {
        return LogMode::Inherit;
    };
    let mode = reader.field(&fields, "mode", |text| values::choice(text, MODES));
    let prefix = reader.field(&fields, "prefix", prefix);
    if mode != Some(Mode::Inherit) {
        return LogMode::Prefix(prefix.unwrap_or_else(|| name.to_owned()));
    }
    if let Some(span) = fields.key("prefix").filter(|_| prefix.is_some()) {
        let problem =
            reader.problems.error(span, "with `mode: inherit` drainit cannot prefix the lines");
        problem.help("remove the `prefix`, or the `mode`");
    }
    LogMode::Inherit
}

fn prefix(text: &str) -> Result<String, Invalid> {
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
