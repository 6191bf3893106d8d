//! The variables that `${…}` in a config can use.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::config::CopyOf;

/// The variables of drainit itself.
const OWN: [&str; 3] = ["DRAINIT_CONFIG", "DRAINIT_LOG_FORMAT", "DRAINIT_LOG_LEVEL"];

/// A snapshot of the container's environment, without variables that are not UTF-8. [`OWN`] ones are
/// there nevertheless: such a value is wrong, and not missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn from_process() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok()?;
            match value.into_string() {
                Err(value) if OWN.contains(&&*name) => {
                    Some((name, value.to_string_lossy().into_owned()))
                }
                value => Some((name, value.ok()?)),
            }
        };
        std::env::vars_os().filter_map(text).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets or removes a variable.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.0.insert(name.to_owned(), value.to_owned()),
            None => self.0.remove(name),
        };
    }

    /// The value, unless it is empty: a set but empty variable counts as unset.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            environment.0.insert(name.into(), value.into());
        }
        environment
    }
}

/// The source of a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Container,
    /// `env:` of the config.
    Env,
    /// The `env_file` that is being read.
    File,
    /// `scale`: the number of the copy.
    Copy,
}

/// The variables of `${…}`: the container's, then those of the `env_file` being read, then `env:`.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    container: &'a Environment,
    env: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    /// The number of the copy that is being read.
    copy: Option<String>,
    /// Whether their values must not be in a message.
    pub(crate) are_secret: bool,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(container: &'a Environment) -> Self {
        let (env, file) = (BTreeMap::new(), BTreeMap::new());
        Self { container, env, file, copy: None, are_secret: false }
    }

    pub(crate) fn container(&self) -> &'a Environment {
        self.container
    }

    /// Adds an entry of `env:`.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Adds an entry of the `env_file` that is being read.
    pub(crate) fn set_in_file(&mut self, name: &str, value: &str) {
        self.file.insert(name.to_owned(), value.to_owned());
    }

    /// Forgets the entries of the `env_file`.
    pub(crate) fn end_of_file(&mut self) {
        self.file.clear();
    }

    /// Sets the number of the copy that is being read, or that none is.
    pub(crate) fn set_copy(&mut self, index: Option<u32>) {
        self.copy = index.map(|index| index.to_string());
    }

    /// The value, unless it is empty, and its source.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<(&str, Origin)> {
        if let Some(index) = self.copy.as_deref().filter(|_| name == CopyOf::VARIABLE) {
            return Some((index, Origin::Copy));
        }
        let container = self.container.get_non_empty(name).map(|value| (value, Origin::Container));
        let file = || non_empty(&self.file, name).map(|value| (value, Origin::File));
        let env = || non_empty(&self.env, name).map(|value| (value, Origin::Env));
        container.or_else(file).or_else(env)
    }

    /// Whether any source sets it, even to an empty value.
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
