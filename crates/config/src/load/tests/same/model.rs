//! Makes random configs from the tables of keys. Therefore the configs contain a new key without a
//! change of this file.

use std::fmt::Write as _;

use crate::keys::key::{self, Key, Keys, Merge, Shape};
use crate::testing::random::Random;
use crate::testing::temp_dir::TempDir;

/// A value of a config.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Empty,
    /// A single value in the syntax of a config, in which `$$` stands for `$`.
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
    /// A value behind `!reset` or `!override`.
    Tagged(&'static str, Box<Tree>),
}

impl Tree {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        if let Self::Map(entries) = self { entries } else { &[] }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The items of a list, the values of a mapping, or the value behind a tag.
    pub(super) fn parts(&mut self) -> Box<dyn Iterator<Item = &mut Self> + '_> {
        match self {
            Self::Empty | Self::Text(_) => Box::new(std::iter::empty()),
            Self::List(items) => Box::new(items.iter_mut()),
            Self::Map(entries) => Box::new(entries.iter_mut().map(|(_, value)| value)),
            Self::Tagged(_, value) => Box::new(std::iter::once(&mut **value)),
        }
    }

    /// The part by which an overlay recognizes an item of a list.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Text(text) => text.split('=').next().unwrap_or_default().to_owned(),
            _ => format!("{:?}", self.get("path").or(self.get("to")).unwrap_or(self)),
        }
    }

    /// Sets a key of a mapping. Any other value becomes a mapping.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        self.remove(key);
        if let Self::Map(entries) = self {
            entries.push((key.to_owned(), value));
        } else {
            *self = Self::Map(vec![(key.to_owned(), value)]);
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Self::Map(entries) = self {
            entries.retain(|(name, _)| name != key);
        }
    }

    /// The value as YAML, each text in quotes or, at random, without them.
    pub(super) fn yaml(&self, random: &mut Random) -> String {
        let all = |parts: Vec<String>| parts.join(", ");
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => scalar(text, random),
            Self::List(items) => {
                format!("[{}]", all(items.iter().map(|item| item.yaml(random)).collect()))
            }
            Self::Map(entries) => {
                let entry = |(key, value): &(String, Self)| {
                    format!("{}: {}", scalar(key, random), value.yaml(random))
                };
                format!("{{{}}}", all(entries.iter().map(entry).collect()))
            }
            Self::Tagged(tag, value) => format!("{tag} {}", value.yaml(random)),
        }
    }

    /// A whole config, with a line for each key and each process.
    pub(super) fn config(&self, random: &mut Random) -> String {
        let mut text = String::new();
        for (key, value) in self.entries() {
            if key == "processes" && !value.entries().is_empty() {
                text += "processes:\n";
                for (name, process) in value.entries() {
                    let _ = writeln!(text, "  {name}: {}", process.yaml(random));
                }
            } else {
                let _ = writeln!(text, "{key}: {}", value.yaml(random));
            }
        }
        text
    }
}

fn scalar(text: &str, random: &mut Random) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = !["null", "-", ""].contains(&text) && text.chars().all(is_plain);
    match random.below(3) {
        0 if fits => text.to_owned(),
        1 if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', "''")),
        _ => serde_json::Value::from(text).to_string(),
    }
}

/// The variables of the container in which the configs are read.
pub(super) const CONTAINER: [(&str, &str); 2] = [("SET", "set value"), ("EMPTY", "")];
/// Names of variables, one of which the container has.
const NAMES: [&str; 5] = ["A", "B", "TOKEN", "SET", "Z"];
const TEXTS: &str = "a¦b-c¦/d/e¦two words¦ blanks \t ¦end ¦it's¦\"q\"¦x #y¦é\u{a0}¦$$HOME$$¦{a: b}¦*a¦\
    null¦no¦007¦1.50¦back\\slash\\n¦${A:-d}¦${TOKEN:-none}¦-${SET}-¦${EMPTY:-e${B:-f}}";
/// Groups of texts with the same meaning: durations, signals, and `true` or `false`.
pub(super) const EQUAL: [&[&str]; 11] = [
    &["0", "0s", "0ms"],
    &["1ms", "0.001", "1000us"],
    &["250ms", "0.25", ".25"],
    &["1s", "1", "1000ms"],
    &["1500ms", "1.5", "1s 500ms", "1s500ms"],
    &["1d", "24h", "1440m", "86400", "23h 60m"],
    &["TERM", "SIGTERM", "term", "15"],
    &["USR1", "SIGUSR1", "10"],
    &["WINCH", "sigwinch", "28"],
    &["true", "True", "TRUE"],
    &["false", "False", "FALSE"],
];

/// Makes values of keys. The values have the right form, but may break other rules.
pub(super) struct Maker<'d> {
    pub(super) random: Random,
    pub(super) dir: &'d TempDir,
    made: u32,
    processes: Vec<String>,
    /// The processes before the process that gets a key. That process may depend on them.
    before: Vec<String>,
}

impl<'d> Maker<'d> {
    pub(super) fn new(seed: u64, dir: &'d TempDir) -> Self {
        dir.write("0.env", b"TOKEN=one\nA=\"${TOKEN}\"\n");
        dir.write("1.env", b"B=${TOKEN:-none}\nZ=${A:-none}-${SCALE_INDEX:-0}\n");
        Self { random: Random(seed), dir, made: 0, processes: Vec::new(), before: Vec::new() }
    }

    /// A config for which `is_right` returns true, with about `keys` random keys.
    pub(super) fn config(&mut self, keys: usize, is_right: impl Fn(&str) -> bool) -> Tree {
        let count = 1 + self.random.below(4);
        self.processes = (0..count).map(|number| format!("p{number}")).collect();
        let process = |name: &String| (name.clone(), command(name));
        let processes = self.processes.iter().map(process).collect();
        let mut config = Tree::Map(vec![("processes".to_owned(), Tree::Map(processes))]);
        for _ in 0..keys {
            let mut with = config.clone();
            self.add_key(&mut with);
            if is_right(&with.config(&mut self.random)) {
                config = with;
            }
        }
        config
    }

    /// Sets a random key of the container or of a process.
    pub(super) fn add_key(&mut self, config: &mut Tree) {
        let root = key::root();
        let of_process = root.all().find(|key| key.name == "processes").and_then(|key| key.keys);
        let (keys, name) = match self.random.one_in(4) {
            true => (root, None),
            false => (of_process.unwrap_or(root), Some(self.random.pick(&self.processes))),
        };
        // Most rules concern mappings, lists and the relations between processes, so these keys are
        // set more often than keys with a text.
        let kind = self.random.below(if name.is_some() { 4 } else { 2 });
        let is_wanted = |key: &&Key| match kind {
            _ if ["processes", "command"].contains(&key.name) => false,
            0 => true,
            1 | 2 => key.keys.is_some() || key.merge != Merge::ByKind,
            _ => ["depends_on", "scale"].contains(&key.name),
        };
        let keys_of: Vec<_> = keys.all().filter(is_wanted).collect();
        let key = keys_of[self.random.index(keys_of.len())];
        let is_before = |other: &&String| name.as_ref() != Some(*other);
        self.before = self.processes.iter().take_while(is_before).cloned().collect();
        let value = self.value(keys, key.name, &key.shape);
        let Some(name) = name else { return config.set(key.name, value) };
        let mut processes = config.get("processes").cloned().unwrap_or(Tree::Empty);
        let mut process = processes.get(&name).cloned().unwrap_or(Tree::Empty);
        process.set(key.name, value);
        processes.set(&name, process);
        config.set("processes", processes);
    }

    /// A value for a key of this table.
    pub(super) fn value(&mut self, keys: &Keys, key: &str, shape: &Shape) -> Tree {
        if let ("EnvFileKeys", "path") | ("PartKeys", "file") = (keys.name, key) {
            let name = format!("{}.env", self.random.below(2));
            return Tree::text(self.dir.path(&name).to_string_lossy());
        }
        let text = match shape {
            Shape::Text => self.random.part(TEXTS).to_owned(),
            Shape::Filled("command") => "prog -a 'b c'".to_owned(),
            Shape::Filled(noun) if noun.starts_with("path") => self.path(),
            Shape::Filled("name") => self.name(),
            Shape::Filled("`NAME=VALUE`") => {
                let (name, value) = (self.random.pick(&NAMES), self.random.part(TEXTS));
                if self.random.one_in(4) { name.to_owned() } else { format!("{name}={value}") }
            }
            Shape::Filled(_) => self.random.part("a¦b-c¦/d/e¦two words").to_owned(),
            Shape::Duration => self.random.pick(&EQUAL[..6])[0].to_owned(),
            Shape::PositiveDuration => self.random.pick(&EQUAL[1..6])[0].to_owned(),
            Shape::Signal(_) => self.random.pick(&EQUAL[6..9])[0].to_owned(),
            Shape::Bool => self.random.pick(&EQUAL[9..])[0].to_owned(),
            Shape::True => "true".to_owned(),
            Shape::Count => self.random.below(4).to_string(),
            Shape::HostPort => format!("127.0.0.1:{}", self.unique()),
            Shape::Url => match self.random.below(3) {
                0 => format!("http://127.0.0.1:{}", self.unique()),
                1 => format!("http://127.0.0.1:{}/a", self.unique()),
                _ => format!("unix:{}", self.path()),
            },
            Shape::Word(words) => self.random.pick(words).to_owned(),
            Shape::Pattern(..) | Shape::Number(..) => match self.random.below(7) {
                0 => format!("tcp://127.0.0.1:{}", self.unique()),
                _ => self.random.part("0640¦027¦204¦max¦7¦on-failure:3").to_owned(),
            },
            Shape::Either(shapes) => {
                let at = self.random.index(shapes.len());
                return self.value(keys, key, &shapes[at]);
            }
            Shape::List(item) => {
                let mut items: Vec<Tree> = Vec::new();
                for _ in 0..=self.random.below(3) {
                    let item = self.value(keys, key, item);
                    if items.iter().all(|other| other.name() != item.name()) {
                        items.push(item);
                    }
                }
                return Tree::List(items);
            }
            Shape::Map(of) => {
                let names = NAMES.into_iter().map(str::to_owned).collect();
                return self.map(names, keys, key, of);
            }
            Shape::Processes(of) => {
                let names = vec![self.name(), self.name()];
                return self.map(names, keys, key, of);
            }
            Shape::Table(keys) | Shape::Named(_, keys) => return self.table(keys),
        };
        Tree::Text(text)
    }

    /// The name of an earlier process, or of any process if none is earlier.
    fn name(&mut self) -> String {
        let names = if self.before.is_empty() { &self.processes } else { &self.before };
        self.random.pick(names)
    }

    fn map(&mut self, mut names: Vec<String>, keys: &Keys, key: &str, of: &Shape) -> Tree {
        self.random.shuffle(&mut names);
        names.dedup();
        names.truncate(1 + self.random.index(3));
        Tree::Map(names.into_iter().map(|name| (name, self.value(keys, key, of))).collect())
    }

    /// A mapping with the required keys, one of the keys that exclude each other, and some other
    /// keys.
    pub(super) fn table(&mut self, keys: &'static Keys) -> Tree {
        let choice: Vec<_> = keys.exclusive().map(|key| key.name).collect();
        let chosen = (!choice.is_empty()).then(|| self.random.pick(&choice));
        let rarely = (keys.all().count() as u64).clamp(2, 4);
        let mut entries = Vec::new();
        for key in keys.all() {
            let is_wanted = match key.exclusive {
                true => chosen == Some(key.name),
                false => key.default == Some("required") || self.random.one_in(rarely),
            };
            if is_wanted {
                entries.push((key.name.to_owned(), self.value(keys, key.name, &key.shape)));
            }
        }
        Tree::Map(entries)
    }

    /// A path that no other key has. In half of the cases, each copy of the process has a path of
    /// its own.
    fn path(&mut self) -> String {
        let copy = if self.random.one_in(2) { "-${SCALE_INDEX:-0}" } else { "" };
        format!("/t/{}{copy}", self.unique())
    }

    /// A number that no other value has; it fits into a port.
    pub(super) fn unique(&mut self) -> u32 {
        self.made += 1;
        1000 + self.made % 60000
    }
}

/// A process that has only a command.
fn command(name: &str) -> Tree {
    Tree::Map(vec![("command".to_owned(), Tree::List(vec![Tree::text(name)]))])
}
