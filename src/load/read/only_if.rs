//! `only_if:` of a process, of a drain, and of an element of a command.

use std::fmt::Display;
use std::path::PathBuf;

use crate::config::OnlyIf;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::yaml::node::{Kind, Node};

/// The name of the key.
pub(crate) const KEY: &str = "only_if";

/// The row of the key.
pub(crate) const ROW: Key = Key::new(
    KEY,
    Shape::Named(KEY, &KEYS),
    "Left out where one of these conditions does not hold.",
);

/// One text, or a list of them.
const TEXTS: Shape = Shape::Either(&[Shape::Text, Shape::List(&Shape::Text)]);

static KEYS: Keys = Keys {
    exclusive: &[
        Key::new("is", TEXTS, "The `value` must equal this text, or one of these."),
        Key::new("is_not", TEXTS, "The `value` must equal none of these."),
    ],
    others: &[
        Key::new("path_exists", Shape::Path, "Something must exist at this path."),
        Key::new("value", Shape::Text, "The text to compare, such as `${VAR:-}`."),
    ],
};

/// All parts must hold. Variables do not change while drainit runs, so the value is compared now.
pub(crate) struct Condition {
    value_holds: bool,
    path: Option<PathBuf>,
}

impl Condition {
    pub(crate) fn holds_now(&self) -> bool {
        self.value_holds && self.path.as_ref().is_none_or(|path| path.exists())
    }

    /// The part to check when a process is to start; `None` where the condition always holds.
    pub(crate) fn at_start(self) -> Option<OnlyIf> {
        if self.value_holds { self.path.map(OnlyIf::PathExists) } else { Some(OnlyIf::Never) }
    }
}

/// Reads a condition. `what` names it: `processes.router.only_if`.
pub(crate) fn condition(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
) -> Option<Condition> {
    let fields = reader.fields(node, what, &KEYS)?;
    let path = reader.field(&fields, "path_exists", values::path);
    let wanted = match (fields.get("is"), fields.get("is_not")) {
        (Some(node), None) => Some((alternatives(reader, node, "is"), true)),
        (None, Some(node)) => Some((alternatives(reader, node, "is_not"), false)),
        (None, None) => None,
        (Some(_), Some(node)) => {
            let message = format!("`{what}` can have `is` or `is_not`, not both");
            reader.problems.error(node.span, message).help("keep one of them");
            return None;
        }
    };
    let value = fields.get("value");
    let (message, help) = match (value, &wanted) {
        (Some(_), None) => {
            ("has `value` without `is` or `is_not`", "add `is: TEXT`, or `is_not: TEXT`")
        }
        (None, Some(_)) => ("has no `value` to compare", "add `value: \"${VAR}\"`"),
        (None, None) if fields.get("path_exists").is_none() => {
            ("has no condition", "write `{path_exists: PATH}`, or `{value: \"${VAR}\", is: TEXT}`")
        }
        _ => ("", ""),
    };
    if !message.is_empty() {
        if !fields.has_unknown {
            reader.problems.error(fields.span, format!("`{what}` {message}")).help(help);
        }
        return None;
    }
    let value = value.map(|node| reader.text(node, "value"));
    let value_holds = match (value, wanted) {
        (Some(value), Some((texts, must))) => texts?.contains(&value?.text) == must,
        _ => true,
    };
    Some(Condition { value_holds, path })
}

/// One text, or a list of them.
fn alternatives(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Vec<String>> {
    let Kind::Sequence(items) = &node.kind else {
        return Some(vec![reader.text(node, what)?.text]);
    };
    if items.is_empty() {
        let problem = reader.problems.error(node.span, format!("`{what}` is empty"));
        problem.help("write a text, or a list of texts");
        return None;
    }
    items.iter().map(|item| Some(reader.text(item, what)?.text)).collect()
}
