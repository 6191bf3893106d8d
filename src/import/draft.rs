//! The draft of a config, for a person to review: keys, values and comments, and their YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

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
    /// Comments before its name.
    notes: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: &'static str,
    value: Value,
    note: Option<String>,
}

/// The value of a key. Text is already escaped, see [`literal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u32),
    List(Vec<String>),
    Items(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// The order of the keys in the output.
const ORDER: [&str; 21] = [
    "type",
    "timeout",
    "only_if",
    "command",
    "scale",
    "environment",
    "env_file",
    "working_dir",
    "user",
    "umask",
    "ulimits",
    "depends_on",
    "readiness",
    "restart",
    "restart_max",
    "on_exit",
    "required",
    "success_codes",
    "stop_signal",
    "stop_grace_period",
    "log",
];

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Escapes `${` and `$$`, so that a config does not expand them.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        if c == '$' && matches!(rest.peek(), Some('{' | '$')) {
            out.push('$');
        }
    }
    out
}

/// Escapes each `$NAME` of an escaped text, which `check` would take for a variable that no shell
/// expands.
pub(super) fn plain_dollars(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        let next = rest.peek().copied();
        if c == '$' && next == Some('$') {
            out.extend(rest.next());
        } else if c == '$' && next.is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
            out.push('$');
        }
    }
    out
}

impl Process {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Sets a key. As in supervisord, the last one counts where an option is repeated.
    pub(super) fn set(&mut self, key: &'static str, value: Value) {
        self.remove(key);
        self.entries.push(Entry { key, value, note: None });
    }

    pub(super) fn set_with_note(
        &mut self,
        key: &'static str,
        value: Value,
        note: impl Into<String>,
    ) {
        self.remove(key);
        self.entries.push(Entry { key, value, note: Some(note.into()) });
    }

    /// Adds variables before its own, which override them.
    pub(super) fn with_environment(&mut self, mut variables: Vec<(String, Value)>) {
        if let Some(Value::Map(own)) = self.get("environment") {
            variables.extend_from_slice(own);
        }
        if !variables.is_empty() {
            self.set("environment", Value::Map(variables));
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }

    fn rename_needs(&mut self, renamed: &BTreeMap<String, String>) {
        for entry in self.entries.iter_mut().filter(|entry| entry.key == "depends_on") {
            let names: Vec<&mut String> = match &mut entry.value {
                Value::List(names) => names.iter_mut().collect(),
                Value::Map(needs) => needs.iter_mut().map(|(name, _)| name).collect(),
                Value::Text(_) | Value::Number(_) | Value::Items(_) => Vec::new(),
            };
            for name in names {
                if let Some(new) = renamed.get(name) {
                    name.clone_from(new);
                }
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

impl Draft {
    /// The number of comments.
    pub(super) fn notes(&self) -> usize {
        let of = |process: &Process| {
            process.notes.len() + process.entries.iter().filter(|e| e.note.is_some()).count()
        };
        self.notes.len() + self.processes.iter().map(of).sum::<usize>()
    }

    /// Keeps a comment that several processes share only at the first, with the others' names.
    pub(super) fn merge_repeated_notes(&mut self) {
        let mut seen: Vec<(String, Vec<String>)> = Vec::new();
        for process in &mut self.processes {
            let (name, notes, entries) = (&process.name, &mut process.notes, &mut process.entries);
            let mut is_new = |note: &String| match seen.iter_mut().find(|(other, _)| other == note)
            {
                Some((_, others)) => {
                    if !others.contains(name) {
                        others.push(name.clone());
                    }
                    false
                }
                None => {
                    seen.push((note.clone(), Vec::new()));
                    true
                }
            };
            notes.retain(&mut is_new);
            for entry in entries {
                entry.note.take_if(|note| !is_new(note));
            }
        }
        let notes = |process: &mut Process| {
            let of_keys = process.entries.iter_mut().filter_map(|entry| entry.note.as_mut());
            process.notes.iter_mut().chain(of_keys).for_each(|note| {
                let others = seen.iter().find(|(other, _)| other == note).map(|(_, others)| others);
                if let Some(others) = others.filter(|others| !others.is_empty()) {
                    note.push_str(&format!("; also {}", and_more(others)));
                }
            });
        };
        self.processes.iter_mut().for_each(notes);
    }

    /// Makes every name valid in a config, and unique. Names that are valid stay.
    pub(super) fn fix_names(&mut self) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let valid = |name: &str| {
            let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
            // A config ignores keys with this prefix.
            name.strip_prefix("x-").map(|rest| format!("x_{rest}")).unwrap_or(name)
        };
        let names = self.processes.iter().map(|process| &process.name);
        let mut kept = BTreeSet::new();
        kept.extend(names.filter(|name| valid(name) == **name).cloned());
        // The number that each name has got last.
        let mut numbers = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let mut renamed = BTreeMap::new();
        for process in &mut self.processes {
            let old = process.name.clone();
            let plain = valid(&old);
            let mut name = plain.clone();
            let number = numbers.entry(plain.clone()).or_insert(1);
            while name != old && kept.contains(&name) || !taken.insert(name.clone()) {
                *number += 1;
                name = format!("{plain}-{number}");
            }
            if name != old {
                process.note(format!("renamed from `{old}`"));
                process.name.clone_from(&name);
            }
            // Of several with one name, the first is meant.
            renamed.entry(old).or_insert(name);
        }
        self.processes.iter_mut().for_each(|process| process.rename_needs(&renamed));
    }

    pub(super) fn to_yaml(&self, from: &str) -> String {
        let mut out = format!(
            "# Made from {} by `drainit import`. Comments name what was not converted or needs a review.\n\
             # None of this drains traffic before the stop: see `drain` in docs/config.md.\n",
            harmless(from)
        );
        comment(&mut out, 0, &self.notes);
        out.push('\n');
        if !self.env.is_empty() {
            out.push_str("env:\n");
            for (name, value) in last_of_each(&self.env) {
                let _ = writeln!(out, "  {} {}", key(2, name), scalar(value));
            }
            out.push('\n');
        }
        out.push_str("processes:\n");
        for (index, process) in self.processes.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            comment(&mut out, 2, &process.notes);
            let _ = writeln!(out, "  {}", key(2, &process.name));
            let mut entries: Vec<_> = process.entries.iter().collect();
            entries.sort_by_key(|entry| ORDER.iter().position(|key| *key == entry.key));
            for Entry { key, value, note } in entries {
                comment(&mut out, 4, note.as_slice());
                write_entry(&mut out, 4, key, value);
            }
        }
        out
    }
}

/// Lists the first names and the number of the others.
fn and_more(names: &[String]) -> String {
    const SHOWN: usize = 4;
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [others @ .., last] if names.len() <= SHOWN => format!("{} and {last}", others.join(", ")),
        _ => format!("{} and {} more", names[..SHOWN - 1].join(", "), names.len() + 1 - SHOWN),
    }
}

/// The last entry of each name: that is the value which a shell, supervisord and Compose take.
fn last_of_each<V>(entries: &[(String, V)]) -> impl Iterator<Item = &(String, V)> {
    let is_last = |place: usize| entries[place + 1..].iter().all(|it| it.0 != entries[place].0);
    (0..entries.len()).filter(move |place| is_last(*place)).map(|place| &entries[place])
}

/// Writes wrapped comments.
fn comment(out: &mut String, indent: usize, notes: &[String]) {
    for note in notes {
        let mut line = String::new();
        // YAML forbids control characters in comments, too.
        for word in harmless(note).split_whitespace() {
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

/// Writes an entry, on one line if it fits.
fn write_entry(out: &mut String, indent: usize, name: &str, value: &Value) {
    let flow = flow(value);
    let fits = indent + name.len() + 2 + flow.len() <= WIDTH && !flow.contains('\n');
    let key = key(indent, name);
    match value {
        Value::List(items) if !fits => {
            let _ = writeln!(out, "{:indent$}{key}", "");
            for item in items {
                let _ = writeln!(out, "{:indent$}  - {}", "", scalar(item));
            }
        }
        Value::Items(items) if !fits => {
            let _ = writeln!(out, "{:indent$}{key}", "");
            for item in items {
                let _ = writeln!(out, "{:indent$}  - {}", "", self::flow(item));
            }
        }
        Value::Map(entries) if !fits => {
            let _ = writeln!(out, "{:indent$}{key}", "");
            for (key, value) in last_of_each(entries) {
                write_entry(out, indent + 2, key, value);
            }
        }
        _ => {
            let _ = writeln!(out, "{:indent$}{key} {flow}", "");
        }
    }
}

/// A key with its `:`. YAML wants a `?` before one of more than 1024 characters.
fn key(indent: usize, name: &str) -> String {
    const LONGEST: usize = 1000;
    let key = scalar(name);
    if key.len() > LONGEST { format!("? {key}\n{:indent$}:", "") } else { key + ":" }
}

fn flow(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Text(text) => scalar(text),
        Value::Number(number) => number.to_string(),
        Value::List(items) => {
            format!("[{}]", join(items.iter().map(|item| scalar(item)).collect()))
        }
        Value::Items(items) => format!("[{}]", join(items.iter().map(flow).collect())),
        Value::Map(entries) => {
            let entry =
                |(key, value): &(String, Value)| format!("{}: {}", scalar(key), flow(value));
            format!("{{{}}}", join(last_of_each(entries).map(entry).collect()))
        }
    }
}

/// Plain where every YAML parser reads it as this text, else in double quotes with JSON's escapes,
/// which are valid in YAML.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+');
    let begins =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '.'));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null" | ".nan" | ".inf"
    );
    let duration = text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric());
    let number = text.parse::<f64>().is_ok();
    if !text.is_empty() && text.chars().all(plain) && (begins || duration) && !word && !number {
        return text.to_owned();
    }
    // JSON escapes less than YAML wants: DEL, C1 and what is no character.
    let unprintable =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    let json = serde_json::Value::from(text).to_string();
    json.chars().fold(String::new(), |mut out, c| {
        match c {
            c if unprintable(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}
