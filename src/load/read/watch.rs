//! `watch:` of a process.

use std::fmt::Display;

use crate::config::{Watch, WatchAction};
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;
use crate::types::Signal;
use crate::types::suggest::nearest;

/// An entry of `watch:`.
pub(crate) static KEYS: Keys = Keys::new(&[
    Key::new("path", Shape::Path, "A file, or a directory with files; it need not exist yet."),
    Key::new(
        "action",
        Shape::Either(&[Shape::Word(&ACTIONS), Shape::Signal(values::catchable_signal)]),
        "What happens when its content has changed: `restart`, `reload`, or a signal such as `HUP`.",
    ),
]);

const ACTIONS: &[(&str, WatchAction)] =
    &[("restart", WatchAction::Restart), ("reload", WatchAction::Reload)];

pub(crate) fn watch(reader: &mut Reader<'_>, node: &Node, what: &dyn Display) -> Vec<Watch> {
    let what = format!("{what}.watch");
    let mut out = Vec::new();
    for item in reader.items(node, "watch").unwrap_or_default() {
        let Some(fields) = reader.fields(item, &what, &KEYS) else { continue };
        for key in ["path", "action"] {
            let help =
                "write `{path: PATH, action: restart}`, or `reload`, or a signal such as `HUP`";
            reader.required(&fields, &what, key, help);
        }
        let path = reader.field(&fields, "path", values::path);
        let action = reader.field(&fields, "action", action);
        if let (Some(path), Some(action)) = (path, action) {
            out.push(Watch { path, action });
        }
    }
    out
}

/// `restart`, `reload`, or a signal that a process can handle.
fn action(text: &str) -> Result<WatchAction, Invalid> {
    if let Ok(action) = values::choice(text, ACTIONS) {
        return Ok(action);
    }
    if Signal::parse(text).is_some() {
        return values::catchable_signal(text).map(WatchAction::Signal);
    }
    let words = ACTIONS.iter().map(|(word, _)| *word).chain(Signal::names());
    let help = match nearest(text.trim().trim_start_matches("SIG"), words) {
        Some(word) => format!("did you mean `{word}`?"),
        None => "write `restart`, `reload`, or a signal such as `HUP`".to_owned(),
    };
    Err(Invalid::new("neither `restart`, `reload` nor a signal", help))
}
