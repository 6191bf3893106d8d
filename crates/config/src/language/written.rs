//! Shows a text of the config as the file has it. A line of the log, a status or an answer may
//! contain a path, a program or a URL of the config, but not the values of variables in it, because
//! these values may be secret.
//!
//! The texts are kept for the whole program, because lines come from every thread.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use crate::types::harmless;

/// A message keeps a shorter value, unless it is a whole text of the config in backquotes. Any path
/// may contain such a value by chance.
const LEAST: usize = 4;
/// The number of readings that are kept. While a reload replaces a process, drainit still tells of
/// the old definition. The reload may also have failed and been repeated.
const READINGS: usize = 4;

static READ: RwLock<VecDeque<Written>> = RwLock::new(VecDeque::new());

/// The texts of one reading of the config.
#[derive(Debug, Default)]
struct Written {
    /// The name of the variable that has the value.
    names: BTreeMap<String, String>,
    /// The text of the file for a text into which values were inserted.
    texts: BTreeMap<String, String>,
    processes: BTreeSet<String>,
}

/// Keeps the values and the texts of a reading, for [`as_written`].
pub(crate) fn keep<'a>(
    names: &BTreeMap<String, String>,
    texts: &BTreeMap<String, String>,
    processes: impl Iterator<Item = &'a str>,
) {
    let shown = |(value, text): (&String, &String)| (harmless(value).into_owned(), text.to_owned());
    let is_secret = |(value, _): &(&String, &String)| value.len() >= LEAST && !is_address(value);
    let new = Written {
        names: names.iter().filter(is_secret).map(shown).collect(),
        texts: texts.iter().map(shown).collect(),
        processes: processes.map(str::to_owned).collect(),
    };
    let mut read = READ.write().unwrap_or_else(PoisonError::into_inner);
    read.push_front(new);
    read.truncate(READINGS);
}

/// Whether the value is a port or an address: an operator needs to see it.
pub(super) fn is_address(value: &str) -> bool {
    let address = value.trim_start_matches("http://").trim_end_matches('/');
    value.parse::<u16>().is_ok()
        || address.parse::<IpAddr>().is_ok()
        || address.parse::<SocketAddr>().is_ok()
}

/// Replaces the values of variables in the paths and URLs of a message, and in its texts in
/// backquotes, by `${NAME}` or by the text of the config.
pub fn as_written(message: &str) -> Cow<'_, str> {
    let read = READ.read().unwrap_or_else(PoisonError::into_inner);
    let replace = |message, one: &Written| one.replace_in(message);
    read.iter().filter(|one| !one.texts.is_empty()).fold(Cow::Borrowed(message), replace)
}

impl Written {
    fn replace_in<'m>(&self, message: Cow<'m, str>) -> Cow<'m, str> {
        let is_found = |value: &String| message.contains(value.as_str());
        if !self.names.keys().any(is_found) && !self.texts.keys().any(is_found) {
            return message;
        }
        let parts = message.split('`').enumerate().map(|(place, part)| match place % 2 == 1 {
            true if self.processes.contains(part) => part.to_owned(),
            true => self.texts.get(part).cloned().unwrap_or_else(|| self.replace(part, true)),
            false => self.replace(part, false),
        });
        Cow::Owned(parts.collect::<Vec<_>>().join("`"))
    }

    /// Replaces each value that is part of a path or a URL. If the text `is_quoted`, replaces every
    /// value.
    fn replace(&self, text: &str, is_quoted: bool) -> String {
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
            let rest = text.get(at..).unwrap_or_default();
            let here = self.names.iter().filter(|(value, _)| rest.starts_with(value.as_str()));
            match here.max_by_key(|(value, _)| value.len()) {
                Some((value, name)) if is_quoted || is_in_path(text, at, at + value.len()) => {
                    out.push_str(&format!("${{{name}}}"));
                    at += value.len();
                }
                _ => {
                    out.push(next);
                    at += next.len_utf8();
                }
            }
        }
        out
    }
}

/// Whether the words to which these bytes belong have a slash.
fn is_in_path(text: &str, from: usize, to: usize) -> bool {
    let before = text.get(..from).and_then(|before| before.rsplit(char::is_whitespace).next());
    let after = text.get(to..).and_then(|after| after.split(char::is_whitespace).next());
    [before, text.get(from..to), after].iter().flatten().any(|part| part.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C771
    #[test]
    fn values_are_replaced_in_paths_and_in_backquotes() {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(value, name)| ((*value).to_owned(), (*name).to_owned())).collect()
        };
        let names = pairs(&[
            ("g3heim", "TOKEN"),
            ("g3heim wort", "WORDS"),
            ("complete", "MODE"),
            ("/srv/app", "DIR"),
            ("127.0.0.1", "HOST"),
            ("http://127.0.0.1:8080", "URL"),
            ("8080", "PORT"),
            ("ab", "SHORT"),
        ]);
        let texts = pairs(&[("ab", "${SHORT}"), ("x-ab-y", "x-${SHORT}-y"), ("web", "${NAME}")]);
        keep(&names, &texts, ["web", "complete"].into_iter());
        for (message, expected) in [
            ("a: complete", "a: complete"),
            ("`complete` is not running", "`complete` is not running"),
            ("`complete/g3heim` is", "`${MODE}/${TOKEN}` is"),
            ("there is no process `web`", "there is no process `web`"),
            ("`ab` and `x-ab-y`: abc", "`${SHORT}` and `x-${SHORT}-y`: abc"),
            ("http://127.0.0.1:8080/g3heim: x", "http://127.0.0.1:8080/${TOKEN}: x"),
            ("a: /g3heim wort/b: x", "a: /${WORDS}/b: x"),
            ("/srv/app/g3heim\n/srv/app", "${DIR}/${TOKEN}\n${DIR}"),
            ("its g3heim", "its g3heim"),
        ] {
            assert_eq!(as_written(message), expected);
        }
    }
}
