//! The draft of a config, for a person to review: keys, values and comments, and their YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use crate::import::pattern;
use crate::types::harmless;

/// Lines are wrapped at this column.
const WIDTH: usize = 110;

#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Comments on the whole config.
    pub(super) notes: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// In file order.
    pub(super) processes: Vec<Process>,
}

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) needs: Vec<Need>,
    /// Comments, each before a key or before the name of the process.
    notes: Vec<(Option<&'static str>, String)>,
    /// Options without a counterpart.
    lost: Vec<String>,
    entries: Vec<(&'static str, Value)>,
}

/// An entry of `depends_on`.
#[derive(Debug, Default)]
pub(super) struct Need {
    pub(super) name: String,
    /// `None` in a list of names.
    pub(super) condition: Option<&'static str>,
    pub(super) restart: Option<String>,
}

/// The value of a key. Text is already escaped, see [`literal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u32),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// The order of the keys in the output.
const ORDER: &str = "type only_if profiles command scale environment env_file working_dir user umask ulimits depends_on readiness \
                     restart restart_max on_exit required success_codes stop_signal stop_grace_period log";

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Value {
    fn from(words: Vec<String>) -> Self {
        Self::List(words.into_iter().map(Self::Text).collect())
    }
}

impl Value {
    pub(super) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// A number, or a text with a variable that holds one.
    pub(super) fn number(text: String) -> Self {
        text.parse().map_or(Self::Text(text), Self::Number)
    }
}

/// Escapes `${` and `$$`, so that a config does not expand them.
pub(super) fn literal(text: &str) -> String {
    static DOLLARS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\$*)(\$\{?)"));
    DOLLARS
        .replace_all(text, |found: &Captures| {
            // All but the last one before something else than a brace.
            let last = if &found[2] == "${" { "$${" } else { "$" };
            found[1].replace('$', "$$") + last
        })
        .into_owned()
}

/// Escapes each `$NAME` of an escaped text, which `check` would take for a variable that no shell
/// expands.
pub(super) fn plain_dollars(text: &str) -> String {
    static DOLLAR: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$\$|\$[A-Za-z_]"));
    let escape = |found: &Captures| {
        if &found[0] == "$$" { "$$".to_owned() } else { format!("${}", &found[0]) }
    };
    DOLLAR.replace_all(text, escape).into_owned()
}

impl Process {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push((None, note.into()));
    }

    pub(super) fn note_at(&mut self, key: &'static str, note: impl Into<String>) {
        self.notes.push((Some(key), note.into()));
    }

    /// Adds an option without a counterpart, for [`Self::note_lost`].
    pub(super) fn lose(&mut self, option: impl Into<String>) {
        self.lost.push(option.into());
    }

    pub(super) fn note_lost(&mut self) {
        if !self.lost.is_empty() {
            self.note(format!("not converted: {}", self.lost.join(", ")));
        }
    }

    /// Sets a key. As in supervisord, the last one counts where an option is repeated.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.entries.retain(|entry| entry.0 != key);
        self.entries.push((key, value.into()));
    }

    /// Adds variables before its own, which override them.
    pub(super) fn with_environment(&mut self, mut variables: Vec<(String, Value)>) {
        if let Some((_, Value::Map(own))) = self.entries.iter().find(|it| it.0 == "environment") {
            variables.extend_from_slice(own);
        }
        if !variables.is_empty() {
            self.set("environment", Value::Map(variables));
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.0 != key);
        self.notes.retain(|note| note.0 != Some(key));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.0 == key)
    }

    fn write(&self, out: &mut String) {
        let notes = |of: Option<&str>| {
            let found = self.notes.iter().filter(move |(key, _)| *key == of);
            found.map(|(_, note)| note.as_str()).collect::<Vec<_>>()
        };
        comments(out, 2, &notes(None));
        let _ = writeln!(out, "  {}", key(2, &self.name));
        let needs = (!self.needs.is_empty()).then(|| ("depends_on", needs(&self.needs)));
        let mut entries: Vec<_> = self.entries.iter().chain(&needs).collect();
        entries.sort_by_key(|entry| ORDER.split(' ').position(|key| key == entry.0));
        for (key, value) in entries {
            comments(out, 4, &notes(Some(key)));
            write_entry(out, key, value);
        }
    }
}

fn needs(needs: &[Need]) -> Value {
    if needs.iter().all(|need| need.condition.is_none()) {
        return needs.iter().map(|need| need.name.clone()).collect::<Vec<_>>().into();
    }
    let terms = |need: &Need| {
        let condition = need.condition.unwrap_or("started").into();
        let mut terms = vec![("condition".to_owned(), condition)];
        terms.extend(need.restart.clone().map(|restart| ("restart".to_owned(), restart.into())));
        (need.name.clone(), Value::Map(terms))
    };
    Value::Map(needs.iter().map(terms).collect())
}

impl Draft {
    /// The number of comments.
    pub(super) fn notes(&self) -> usize {
        self.notes.len() + self.processes.iter().map(|process| process.notes.len()).sum::<usize>()
    }

    /// Keeps a comment that several processes share only at the first, with the others' names.
    pub(super) fn merge_repeated_notes(&mut self) {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Process { name, notes, .. } in &self.processes {
            for (_, note) in notes {
                let names = users.entry(note.clone()).or_default();
                if names.last() != Some(name) {
                    names.push(name.clone());
                }
            }
        }
        for process in &mut self.processes {
            process.notes.retain_mut(|(_, note)| {
                let Some(names) = users.remove(note) else { return false };
                if names.len() > 1 {
                    note.push_str(&format!("; also {}", and_more(&names[1..])));
                }
                true
            });
        }
    }

    /// Makes every name valid in a config, and unique. Names that are valid stay.
    pub(super) fn fix_names(&mut self) {
        let names = self.processes.iter().map(|process| &process.name);
        let mut taken: BTreeSet<_> =
            names.filter(|name| valid_name(name) == **name).cloned().collect();
        // The number that each name has got last.
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut renamed = BTreeMap::new();
        for process in &mut self.processes {
            let old = process.name.clone();
            let plain = valid_name(&old);
            let number = numbers.entry(plain.clone()).or_default();
            // A name that is valid belongs to the first that has it.
            while process.name != plain || renamed.contains_key(&plain) {
                *number += 1;
                let name = if *number == 1 { plain.clone() } else { format!("{plain}-{number}") };
                if taken.insert(name.clone()) {
                    process.note(format!("renamed from `{old}`"));
                    process.name = name;
                    break;
                }
            }
            // Of several with one name, the first is meant.
            renamed.entry(old).or_insert_with(|| process.name.clone());
        }
        for need in self.processes.iter_mut().flat_map(|process| &mut process.needs) {
            if let Some(new) = renamed.get(&need.name) {
                need.name.clone_from(new);
            }
        }
    }

    pub(super) fn to_yaml(&self, from: &str) -> String {
        let mut out = format!(
            "# Made from {} by `drainit import`. Comments name what was not converted or needs a review.\n\
             # None of this drains traffic before the stop: see `drain` in docs/config.md.\n",
            harmless(from)
        );
        comments(&mut out, 0, &self.notes);
        if !self.env.is_empty() {
            out.push_str("\nenv:\n");
            for (name, value) in &self.env {
                let _ = writeln!(out, "  {} {}", key(2, name), scalar(value));
            }
        }
        out.push_str("\nprocesses:\n");
        for (index, process) in self.processes.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            process.write(&mut out);
        }
        out
    }
}

fn valid_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    // A config ignores keys with this prefix.
    name.strip_prefix("x-").map(|rest| format!("x_{rest}")).unwrap_or(name)
}

/// Lists the first names and the number of the others.
fn and_more(names: &[String]) -> String {
    let (shown, more) = names.split_at(names.len().min(3));
    match more.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The last entry of each name: that is the value which a shell, supervisord and Compose take.
fn last_of_each(entries: &[(String, Value)]) -> impl Iterator<Item = &(String, Value)> {
    let is_last = |place: usize| entries[place + 1..].iter().all(|it| it.0 != entries[place].0);
    (0..entries.len()).filter(move |place| is_last(*place)).map(|place| &entries[place])
}

/// Writes wrapped comments.
fn comments(out: &mut String, indent: usize, notes: &[impl AsRef<str>]) {
    for note in notes {
        let mut line = String::new();
        // YAML forbids control characters in comments, too.
        for word in harmless(note.as_ref()).split_whitespace() {
            if !line.is_empty() && indent + 3 + line.len() + word.len() > WIDTH {
                let _ = writeln!(out, "{:indent$}# {line}", "");
                line = "  ".to_owned();
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(out, "{:indent$}# {line}", "");
    }
}

/// Writes an entry of a process, on one line if it fits.
fn write_entry(out: &mut String, name: &str, value: &Value) {
    let line = flow(value);
    let fits = 4 + name.len() + 2 + line.len() <= WIDTH && !line.contains('\n');
    let lines: Vec<String> = match value {
        Value::List(items) if !fits => items.iter().map(|it| format!("- {}", flow(it))).collect(),
        Value::Map(entries) if !fits => last_of_each(entries)
            .map(|(name, it)| format!("{} {}", key(6, name), flow(it)))
            .collect(),
        _ => {
            let _ = writeln!(out, "    {name}: {line}");
            return;
        }
    };
    let _ = writeln!(out, "    {name}:");
    for line in lines {
        let _ = writeln!(out, "      {line}");
    }
}

/// A key with its `:`. YAML wants a `?` before one of more than 1024 characters.
fn key(indent: usize, name: &str) -> String {
    const LONGEST: usize = 1000;
    let key = scalar(name);
    if key.len() > LONGEST { format!("? {key}\n{:indent$}:", "") } else { key + ":" }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Text(text) => scalar(text),
        Value::Number(number) => number.to_string(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let entries = last_of_each(entries)
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Plain where every YAML parser reads it as this text, else in double quotes with JSON's escapes,
/// which are valid in YAML.
fn scalar(text: &str) -> String {
    /// A word, a path or a duration.
    static PLAIN: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^([A-Za-z/_.][\w./+-]*|\d[A-Za-z0-9]*[a-z])$"));
    const RESERVED: &str = "true false yes no on off y n null .nan .inf";
    let is_reserved = RESERVED.split(' ').any(|word| word.eq_ignore_ascii_case(text));
    if PLAIN.is_match(text) && !is_reserved && text.parse::<f64>().is_err() {
        return text.to_owned();
    }
    // JSON escapes less than YAML wants: DEL, C1 and what is no character.
    let escape = |c: char| match c {
        '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
            format!("\\u{:04x}", u32::from(c))
        }
        c => c.to_string(),
    };
    serde_json::Value::from(text).to_string().chars().map(escape).collect()
}
