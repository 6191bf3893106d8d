//! The variables that `${…}` in a config can use.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use crate::language::deadline_share::DeadlineShare;
use crate::language::text::Text;

/// The variables that configure drainit itself.
pub const OWN: [&str; 4] =
    ["DRAINIT_CONFIG", "DRAINIT_LOG_FORMAT", "DRAINIT_LOG_LEVEL", "DRAINIT_PROFILES"];

/// The name of the variable with the number of a copy. The key `scale` makes the copies.
pub(crate) const SCALE_INDEX: &str = "SCALE_INDEX";

/// A snapshot of the container's environment. A variable whose name is not UTF-8 is left out,
/// because no text of a config can name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    texts: BTreeMap<String, String>,
    /// The variables whose values are not UTF-8. A text of the config cannot have such a value, but
    /// the processes inherit it. The variables in [`OWN`] are never here, but in `texts`, so that
    /// drainit reports their wrong values.
    not_text: BTreeSet<String>,
}

impl Environment {
    pub fn from_process() -> Self {
        Self::of(std::env::vars_os())
    }

    /// A snapshot of these variables. A later value replaces an earlier one.
    pub fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            environment.texts.remove(&name);
            environment.not_text.remove(&name);
            match value.into_string() {
                Ok(value) => _ = environment.texts.insert(name, value),
                Err(value) if OWN.contains(&&*name) => {
                    environment.texts.insert(name, value.to_string_lossy().into_owned());
                }
                Err(_) => _ = environment.not_text.insert(name),
            }
        }
        environment
    }

    /// The variables with their values, without those that are not UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a variable. Returns `None` if the variable is unset, or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Whether the variable has a value. An empty variable counts as unset.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get_non_empty(name).is_some() || self.is_not_text(name)
    }

    /// Whether the variable has a value that is not UTF-8.
    pub(crate) fn is_not_text(&self, name: &str) -> bool {
        self.not_text.contains(name)
    }

    /// The enabled profiles: the elements of `DRAINIT_PROFILES`, which have commas between them.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = &str> {
        let list = self.get("DRAINIT_PROFILES").unwrap_or_default();
        list.split(',').map(str::trim).filter(|profile| !profile.is_empty())
    }

    /// The value of a variable. Returns `None` if the variable is unset or empty, because an empty
    /// variable counts as unset.
    pub fn get_non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            environment.texts.insert(name.into(), value.into());
        }
        environment
    }
}

/// Where the value of a variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Container,
    /// The mapping `env:` of the config.
    Env,
    /// An earlier line of the `env_file` that is being read.
    File,
    /// drainit itself: `scale` sets `SCALE_INDEX` to the number of a copy.
    Scale,
}

impl Origin {
    /// Whether no message may contain the value, because it may be secret and is not in the config.
    pub(crate) fn is_hidden(self) -> bool {
        matches!(self, Self::Container | Self::File)
    }
}

/// How a value gets a variable that is known only later: a share of the deadline, or a
/// limit of the container.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Later {
    /// The value belongs to no process, so it cannot use a share. It keeps the limits that drainit
    /// has read first.
    #[default]
    Unmarked,
    /// The value belongs to a process whose config is read. Each start puts in the limits.
    Marked {
        /// `None` before the plan of the whole config gives the share, which gets a mark.
        share: Option<DeadlineShare>,
    },
    /// The value is read at a start, and gets the limits that drainit has read first.
    AtStart(DeadlineShare),
}

impl Later {
    /// The share of the deadline; `None` if it is not known now.
    pub(crate) fn share(self) -> Option<DeadlineShare> {
        match self {
            Self::Unmarked => None,
            Self::Marked { share } => share,
            Self::AtStart(share) => Some(share),
        }
    }

    pub(crate) fn is_marked(self) -> bool {
        matches!(self, Self::Marked { .. })
    }
}

/// The variables that `${…}` can use, from three sources: the container, the `env_file` that is
/// being read, and `env:`. If several sources have a variable, the first in this order counts; an
/// empty value does not count.
#[derive(Debug)]
pub struct Variables<'a> {
    container: &'a Environment,
    env: BTreeMap<String, String>,
    file: BTreeMap<String, Text>,
    /// If the entry that drainit reads or starts now has `scale`: the number of the copy.
    /// `${SCALE_INDEX}` is this number, whatever value the three sources have.
    number: Option<String>,
    pub(crate) later: Later,
    /// Whether a value waits for a share of the deadline.
    pub(crate) uses_share: Cell<bool>,
    /// Whether a value of a process has used `${stop_seconds}`.
    pub(crate) uses_stop_seconds: Cell<bool>,
    /// Whether no message may contain the text being read, because it is the value of a variable.
    pub(crate) is_secret: bool,
}

impl<'a> Variables<'a> {
    pub fn new(container: &'a Environment) -> Self {
        let (env, file) = (BTreeMap::new(), BTreeMap::new());
        Self {
            container,
            env,
            file,
            number: None,
            later: Later::default(),
            uses_share: Cell::new(false),
            uses_stop_seconds: Cell::new(false),
            is_secret: false,
        }
    }

    pub(crate) fn container(&self) -> &'a Environment {
        self.container
    }

    /// Adds a variable of `env:`, which counts if no other source has it.
    pub fn set_default(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Adds a variable from the `env_file` that is being read.
    pub(crate) fn set_in_file(&mut self, name: &str, value: &Text) {
        self.file.insert(name.to_owned(), value.clone());
    }

    /// Forgets the variables of the `env_file`, which has been read to its end.
    pub(crate) fn end_of_file(&mut self) {
        self.file.clear();
    }

    /// Sets the number of the copy that is being read; `None` for an entry without `scale`.
    pub fn set_number(&mut self, number: Option<String>) {
        self.number = number;
    }

    /// The number of the copy that is being read; `None` for an entry without `scale`.
    pub(crate) fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }

    /// The value with its marks, if the `env_file` that is being read sets the variable.
    pub(crate) fn in_file(&self, name: &str) -> Option<&Text> {
        self.file.get(name)
    }

    /// The value of a variable and its source; `None` if the variable is unset or empty.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<(&str, Origin)> {
        if let Some(number) = self.number.as_deref().filter(|_| name == SCALE_INDEX) {
            return Some((number, Origin::Scale));
        }
        let container = self.container.get_non_empty(name).map(|value| (value, Origin::Container));
        let (file, env) = (|| Some(&**self.file.get(name)?), || Some(&**self.env.get(name)?));
        let file = || file().map(|value| (value, Origin::File)).filter(is_filled);
        let env = || env().map(|value| (value, Origin::Env)).filter(is_filled);
        container.or_else(file).or_else(env)
    }

    /// Whether any source sets the variable, even to an empty value.
    pub(crate) fn is_defined(&self, name: &str) -> bool {
        self.get_non_empty(name).is_some()
            || self.container.get(name).is_some()
            || self.file.contains_key(name)
            || self.env.contains_key(name)
    }
}

fn is_filled((value, _): &(&str, Origin)) -> bool {
    !value.is_empty()
}
