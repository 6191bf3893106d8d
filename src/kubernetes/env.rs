//! The environment that a manifest gives a container, as far as it can be known here.

use std::collections::BTreeMap;

use crate::kubernetes::manifest::{Word, get, items, key, text};
use crate::load::diagnostics::problems::Problems;
use crate::load::environment::Environment;
use crate::load::yaml::node::{Kind, Node, Span};

/// Variables by their names.
#[derive(Debug, Default)]
pub(super) struct PodEnv {
    known: BTreeMap<String, Word>,
    /// Those with `valueFrom`.
    unknown: BTreeMap<String, Span>,
    /// Where `envFrom` stands.
    pub(super) from: Option<Span>,
}

/// What a manifest says of a variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Known(&'a Word),
    /// It is set, and to what is not known here.
    Unknown(Span),
    Missing,
}

impl PodEnv {
    /// Reads `env` and `envFrom` of a container. `here` is the environment of this command: it can tell values that the
    /// manifest leaves open.
    pub(super) fn read(problems: &mut Problems, container: &Node, here: &Environment) -> Self {
        let mut env = Self { from: key(container, "envFrom"), ..Self::default() };
        for item in items(container, &["env"]) {
            let Some(name) = text(item, &["name"]) else { continue };
            if let Some(span) = key(item, "valueFrom") {
                match here.get_non_empty(&name.text) {
                    Some(value) => {
                        env.known.insert(name.text, Word { text: value.to_owned(), span });
                    }
                    None => {
                        env.unknown.insert(name.text, span);
                    }
                }
                continue;
            }
            let value = get(item, &["value"]);
            if let Some(Kind::Scalar { text, quoted: false }) = value.map(|value| &value.kind)
                && is_not_string(text)
                && let Some(span) = value.map(|value| value.span)
            {
                let message =
                    format!("the value of `{}` is no text, and Kubernetes refuses that", name.text);
                problems
                    .error(span, message)
                    .help(format!("put it into quotes: `value: \"{text}\"`"));
            }
            let word = text_or_empty(item, name.span);
            match env.substitute(&word.text) {
                Some(text) => {
                    env.known.insert(name.text, Word { text, ..word });
                }
                None => {
                    env.unknown.insert(name.text, word.span);
                }
            }
        }
        env
    }

    /// What `${…}` in the config sees.
    pub(super) fn environment(&self) -> Environment {
        self.known.iter().map(|(name, word)| (name.clone(), word.text.clone())).collect()
    }

    pub(super) fn get(&self, name: &str) -> Value<'_> {
        match (self.known.get(name), self.unknown.get(name)) {
            (Some(word), _) => Value::Known(word),
            (None, Some(span)) => Value::Unknown(*span),
            (None, None) => Value::Missing,
        }
    }

    /// Every variable that is set.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().chain(self.unknown.keys()).map(String::as_str)
    }

    /// The variables whose values are not known.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, Span)> {
        self.unknown.iter().map(|(name, span)| (name.as_str(), *span))
    }

    /// Puts values in for `$(NAME)`, as Kubernetes does in `value`, `command` and `args`; a name that does not exist stays
    /// as it is. `None`: a value is needed that is not known.
    pub(super) fn substitute(&self, text: &str) -> Option<String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(more) = rest.strip_prefix('$') {
                out.push('$');
                rest = more;
                continue;
            }
            let name = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            match name.map(|(name, more)| (self.get(name), more)) {
                Some((Value::Known(word), more)) => {
                    out.push_str(&word.text);
                    rest = more;
                }
                Some((Value::Unknown(_), _)) => return None,
                _ => out.push('$'),
            }
        }
        out.push_str(rest);
        Some(out)
    }
}

fn text_or_empty(item: &Node, otherwise: Span) -> Word {
    text(item, &["value"]).unwrap_or(Word { text: String::new(), span: otherwise })
}

/// Whether YAML takes this, without quotes, for a number or a boolean.
fn is_not_string(text: &str) -> bool {
    matches!(text, "true" | "false" | "True" | "False" | "yes" | "no" | "on" | "off")
        || text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
            && text.parse::<f64>().is_ok()
}
