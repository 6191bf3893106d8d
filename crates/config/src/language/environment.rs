//! The variables that `${…}` in a config can use.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::Duration;

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

/// The times that a shutdown leaves for the stop and the drain of a process. The process can use
/// these times for limits of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadlineShare {
    /// The shortest time from the process's `stop_signal` to SIGKILL.
    pub stop: Duration,
    /// From the beginning of the drain to its end; 0 without a drain.
    pub drain: Duration,
}

impl DeadlineShare {
    /// The names by which a config uses these times.
    pub(crate) const NAMES: [&str; 4] = ["stop_seconds", "stop_ms", "drain_seconds", "drain_ms"];

    /// The number with this name, rounded down; `None` if the name is not in [`Self::NAMES`].
    pub(crate) fn number(self, name: &str) -> Option<u128> {
        match name {
            "stop_seconds" => Some(self.stop.as_secs().into()),
            "stop_ms" => Some(self.stop.as_millis()),
            "drain_seconds" => Some(self.drain.as_secs().into()),
            "drain_ms" => Some(self.drain.as_millis()),
            _ => None,
        }
    }
}

/// The variables that `${…}` can use, from three sources: the container, the `env_file` that is
/// being read, and `env:`. If several sources have a variable, the first in this order counts; an
/// empty value does not count.
#[derive(Debug)]
pub struct Variables<'a> {
    container: &'a Environment,
    env: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    /// If the entry that drainit reads or starts now has `scale`: the number of the copy.
    /// `${SCALE_INDEX}` is this number, whatever value the three sources have.
    number: Option<String>,
    /// The part of the grace period that belongs to one process: the process that drainit reads or
    /// starts now. `None` while drainit reads a value that cannot use this part.
    share: Option<DeadlineShare>,
    /// Whether a value has asked for a time of `share`, such as `${stop_seconds}`.
    pub(crate) uses_share: Cell<bool>,
    /// Whether a value has used `${stop_seconds}` although `${stop_seconds}` was 0.
    pub(crate) is_share_zero: Cell<bool>,
    /// Whether a value has used a limit of the container that each start must read again.
    pub(crate) uses_limits: Cell<bool>,
    /// Whether a value gets a mark in place of a limit of the container. Each start replaces the
    /// mark by the limit of that moment.
    pub(crate) marks_limits: bool,
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
            share: None,
            uses_share: Cell::new(false),
            is_share_zero: Cell::new(false),
            uses_limits: Cell::new(false),
            marks_limits: false,
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
    pub(crate) fn set_in_file(&mut self, name: &str, value: &str) {
        self.file.insert(name.to_owned(), value.to_owned());
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

    /// Sets the share of the deadline that values can use, and returns the earlier share.
    pub(crate) fn set_share(&mut self, share: Option<DeadlineShare>) -> Option<DeadlineShare> {
        std::mem::replace(&mut self.share, share)
    }

    /// Whether the text being read gets a mark in place of a limit of the container. For a value
    /// that can use the share of the deadline, also sets `uses_limits`, because each start of the
    /// process must read the limit again.
    pub(crate) fn marks_limit(&self) -> bool {
        if self.share.is_some() {
            self.uses_limits.set(true);
        }
        self.share.is_some() && self.marks_limits
    }

    /// The number with this name in the share. `None` if the share has no such number, or if the
    /// value being read cannot use the share.
    pub(crate) fn share(&self, name: &str) -> Option<u128> {
        self.uses_share.set(true);
        let number = self.share.and_then(|share| share.number(name));
        if name == "stop_seconds" && number == Some(0) {
            self.is_share_zero.set(true);
        }
        number
    }

    /// The value of a variable and its source; `None` if the variable is unset or empty.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<(&str, Origin)> {
        if let Some(number) = self.number.as_deref().filter(|_| name == SCALE_INDEX) {
            return Some((number, Origin::Scale));
        }
        let container = self.container.get_non_empty(name).map(|value| (value, Origin::Container));
        let file = || non_empty(&self.file, name).map(|value| (value, Origin::File));
        let env = || non_empty(&self.env, name).map(|value| (value, Origin::Env));
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

fn non_empty<'m>(map: &'m BTreeMap<String, String>, name: &str) -> Option<&'m str> {
    map.get(name).map(String::as_str).filter(|value| !value.is_empty())
}
