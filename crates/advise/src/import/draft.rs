//! The draft of a config: keys, values and comments, which a person then reviews. Writes the draft
//! as YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::keys::values::duration;
use crate::pattern;
use crate::types::{escape_json, harmless};

/// The longest line of the draft. A longer comment is broken at a blank, and a longer list or
/// mapping is broken between two items. A line without such a place stays as long as it is.
const WIDTH: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Comments on the whole config.
    pub(super) notes: Vec<String>,
    pub(super) env: Map<String, Value>,
    /// The processes in file order.
    pub(super) processes: Vec<DraftedProcess>,
    /// Whether requests may arrive from outside of the container.
    pub(super) takes_requests: bool,
}

/// A process of the draft. In its texts, each `$` is already escaped by [`literal`] or belongs to a
/// converted variable.
#[derive(Debug, Default)]
pub(super) struct DraftedProcess {
    pub(super) name: String,
    notes: Vec<String>,
    /// Options of the imported file that have no counterpart in a config.
    lost: Vec<String>,
    entries: BTreeMap<&'static str, Value>,
    pub(super) order: Order,
    /// Whether the command ends the program that the imported file is for, such as supervisord.
    pub(super) ends_all: bool,
    /// The time that the other program gives the process to end; `None` if that is unknown, or if
    /// the imported file has its own time.
    pub(super) default_stop: Option<&'static str>,
}

/// The place of a process in the order of supervisord.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The name of the program in the imported file.
    pub(super) program: String,
    /// The priority of the group and that of the program. `None` if the process has no place among
    /// the priorities.
    pub(super) priority: Option<(i32, i32)>,
    /// The programs for which `dependent_startup` waits, and whether it waits for their end.
    pub(super) waits: Vec<(String, bool)>,
    /// Whether another process depends on it.
    pub(super) is_needed: bool,
    /// Whether another process that depends on it, directly or not, may need a drain before.
    pub(super) is_behind: bool,
}

/// The part of the config that is the same in each draft. The imported files do not say when the
/// container is killed, or how long requests still arrive after the stop signal.
const SHUTDOWN: &str = "
shutdown:
  # The time until the container is killed. Give the container this variable: see docs/shutdown.md.
";
/// The `grace_period` of a draft whose waits need no more, in seconds: that of Kubernetes.
const GRACE: u64 = 30;
/// The default of `reserve`, and the `readiness_delay` of [`DELAY`].
const RESERVE: Duration = Duration::from_secs(2);
const DELAYED: Duration = Duration::from_secs(5);
/// The time that a draft leaves to the drain of a server, with the last count.
const DRAINED: Duration = Duration::from_secs(16);
/// The time of a stop for which a draft has none, beside stops that have one.
const UNDECLARED: Duration = Duration::from_secs(10);
const LONG: &str = "The stops below may take so long, one after the other. Give the container this time, or write the time that it has.";
const DELAY: &str = "  # Requests arrive for some seconds after the stop signal, so all processes serve that long. Better
  # is a `drain` for each server: see docs/servers.md. Write 0s if nothing sends requests.
  readiness_delay: 5s
";

/// The keys of a process in the order in which the draft writes them.
const ORDER: &str = "type autostart command listen scale environment working_dir user umask depends_on drain hooks restart restart_max on_exit \
                     success_codes stop_signal stop_grace_period log";

/// The prefix of drainit's own lines in the log. A config refuses a process with this name.
const OWN: &str = "drainit";

/// Whether `scale` makes a copy of this name from an entry.
fn is_copy_of(entry: &str, name: &str) -> bool {
    let number = name.strip_prefix(entry).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Escapes each `$` of a text, so that drainit does not expand it.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Converts a text that is a number. Any other text, such as a variable, stays a text.
pub(super) fn number(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| text.into(), Value::from)
}

impl DraftedProcess {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The text of a key; `None` if the key is missing, or if its value is not a text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.entries.get(key)?.as_str()
    }

    /// Whether the value of a key is `false`, and not a variable.
    pub(super) fn is_false(&self, key: &str) -> bool {
        self.entries.get(key) == Some(&Value::Bool(false))
    }

    /// The words of the command.
    pub(super) fn command_words(&self) -> Vec<String> {
        let in_blanks = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        match self.entries.get("command") {
            Some(Value::String(text)) => shlex::split(text).unwrap_or_else(|| in_blanks(text)),
            Some(Value::Array(words)) => {
                words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Adds an option of the imported file that has no counterpart in a config. The last comment of
    /// the process lists these options.
    pub(super) fn lose(&mut self, option: impl Into<String>) {
        self.lost.push(option.into());
    }

    /// Sets a key. If the imported file repeats an option, its last value counts.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.entries.insert(key, value.into());
    }

    /// Adds variables to the `environment` of the process. A variable that the process already has
    /// keeps its value.
    pub(super) fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut all: Map<_, _> = variables.map(|(name, value)| (name, value.into())).collect();
        if let Some(Value::Object(own)) = self.entries.remove("environment") {
            all.extend(own);
        }
        if !all.is_empty() {
            self.set("environment", all);
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key)
    }

    /// Turns a key that a config would refuse into a comment. The name of the process replaces a
    /// refused command, because every process needs a command. Returns whether anything changed.
    pub(super) fn refuse(&mut self, name: &'static str) -> bool {
        let Some(value) = self.entries.remove(name) else { return false };
        let placeholder = Value::from(vec![self.name.clone()]);
        if name == "command" {
            self.set(name, placeholder.clone());
        }
        if name == "command" && value == placeholder {
            return false;
        }
        self.lose(format!("{name}: {}", flow(&value)));
        true
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Adds a process to `depends_on`.
    pub(super) fn need(&mut self, name: &str, terms: Value) {
        let needs = self.entries.entry("depends_on").or_insert_with(|| Map::new().into());
        needs[valid_name(name)] = terms;
    }

    /// Gives the log of the process its name as the prefix, if the prefix is that of drainit's own
    /// lines.
    fn own_prefix(&mut self) {
        if let Some(prefix) = self.entries.get_mut("log").and_then(|log| log.get_mut("prefix"))
            && prefix == OWN
        {
            *prefix = self.name.clone().into();
        }
    }

    /// The names in `depends_on`.
    pub(super) fn needs(&self) -> impl Iterator<Item = &str> {
        let needs = self.entries.get("depends_on").and_then(Value::as_object);
        needs.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// Removes a process from `depends_on`.
    pub(super) fn need_no_more(&mut self, name: &str) {
        if let Some(Value::Object(needs)) = self.entries.get_mut("depends_on") {
            needs.remove(name);
        }
    }

    /// The longest time from the drain of the process to its end. A time with a variable counts as
    /// zero.
    fn waits(&self) -> Duration {
        if self.has("type") {
            return Duration::ZERO;
        }
        let time = |value: Option<&Value>| {
            value.and_then(Value::as_str).and_then(|it| duration(it).ok()).unwrap_or_default()
        };
        let hook = time(self.entries.get("hooks").map(|it| &it["pre_stop"]["timeout"]));
        let stop = match self.entries.get("stop_grace_period") {
            None => UNDECLARED,
            written => time(written),
        };
        let all = match self.entries.get("drain") {
            None => stop,
            Some(Value::Object(drain)) => time(Some(&drain["signal"]["time"])),
            Some(_) => DRAINED.saturating_add(stop),
        };
        hook.saturating_add(all)
    }

    fn write(&self, out: &mut String) {
        comments(out, 2, &self.notes);
        if !self.lost.is_empty() {
            comments(out, 2, &[format!("not converted: {}", self.lost.join(", "))]);
        }
        let _ = writeln!(out, "  {}", key(2, &self.name));
        for (key, value) in self.entries() {
            write_entry(out, key, value);
        }
    }

    /// The keys with their values, in the order in which the draft has them.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        let keys = ORDER.split(' ').filter_map(|key| self.entries.get_key_value(key));
        keys.map(|(key, value)| (*key, value))
    }
}

impl Draft {
    /// Adds the draft of another file. A comment that both drafts have is kept once.
    pub(super) fn join(&mut self, other: Self) {
        let is_new = |note: &String| !self.notes.contains(note);
        let new: Vec<_> = other.notes.into_iter().filter(is_new).collect();
        self.notes.extend(new);
        self.env.extend(other.env);
        self.processes.extend(other.processes);
    }

    /// The number of comments in the draft.
    pub(super) fn notes(&self) -> usize {
        let of =
            |process: &DraftedProcess| process.notes.len() + usize::from(!process.lost.is_empty());
        self.notes.len() + self.processes.iter().map(of).sum::<usize>()
    }

    /// Changes the names of processes so that each is valid in a config, occurs only once, is not
    /// [`OWN`], and is not the name of a copy that `scale` makes.
    pub(super) fn fix_names(&mut self) {
        // The names so far, and whether the process has `scale`.
        let mut taken: BTreeMap<String, bool> = BTreeMap::new();
        for process in &mut self.processes {
            let (plain, is_scaled) = (valid_name(&process.name), process.has("scale"));
            let is_refused = |name: &str| {
                let is_copy = |(other, is_other_scaled): (&String, &bool)| {
                    *is_other_scaled && is_copy_of(other, name)
                        || is_scaled && is_copy_of(name, other)
                };
                name == OWN || taken.contains_key(name) || taken.iter().any(is_copy)
            };
            // Every `NAME-2` is a copy of an entry with `scale` of this name.
            let sign = if taken.get(&plain) == Some(&true) { '_' } else { '-' };
            let (mut name, mut number) = (plain.clone(), 1);
            while is_refused(&name) {
                number += 1;
                name = format!("{plain}{sign}{number}");
            }
            taken.insert(name.clone(), is_scaled);
            if name != process.name {
                process.note(format!("renamed from `{}`", process.name));
                process.name = name;
            }
            process.own_prefix();
        }
    }

    /// The index of each process, by its name.
    pub(super) fn places(&self) -> BTreeMap<&str, usize> {
        self.processes.iter().enumerate().map(|(index, it)| (&*it.name, index)).collect()
    }

    /// For each process: all processes on which it depends, directly or not.
    pub(super) fn below(&self) -> Vec<BTreeSet<usize>> {
        let places = self.places();
        let needs = |index: usize| {
            let names = self.processes[index].needs();
            names.filter_map(|name| places.get(name).copied()).collect::<Vec<_>>()
        };
        let below = |index: usize| {
            let (mut found, mut next) = (BTreeSet::new(), needs(index));
            while let Some(one) = next.pop() {
                if found.insert(one) {
                    next.extend(needs(one));
                }
            }
            found
        };
        (0..self.processes.len()).map(below).collect()
    }

    /// The `grace_period` in seconds in which the waits of the draft fit, at least [`GRACE`].
    fn grace(&self) -> u64 {
        let is_declared =
            self.processes.iter().any(|it| it.has("stop_grace_period") || it.has("hooks"));
        let (below, places) = (self.below(), self.places());
        // The processes on which a process depends have fewer below them than the process has.
        let mut order: Vec<_> = (0..self.processes.len()).collect();
        order.sort_by_key(|index| below[*index].len());
        let mut sums = vec![Duration::ZERO; order.len()];
        for index in order.into_iter().filter(|_| is_declared) {
            let process = &self.processes[index];
            let needs = process.needs().filter_map(|name| places.get(name));
            let longest = needs.map(|it| sums[*it]).max().unwrap_or_default();
            sums[index] = longest.saturating_add(process.waits());
        }
        let delay = if self.takes_requests { DELAYED } else { Duration::ZERO };
        let longest = sums.into_iter().max().unwrap_or_default();
        let all = longest.saturating_add(RESERVE + delay).as_secs();
        GRACE.max(all.div_ceil(5) * 5)
    }

    pub(super) fn to_yaml(&self, from: &str) -> String {
        let mut out = String::new();
        let made = format!("Made from {from} by `drainit import`.");
        let what = "Comments name what was not converted or needs a review.".to_owned();
        comments(&mut out, 0, &[made, what]);
        comments(&mut out, 0, &self.notes);
        out.push_str(SHUTDOWN);
        let grace = self.grace();
        if grace > GRACE {
            comments(&mut out, 2, &[LONG.to_owned()]);
        }
        let _ = writeln!(out, "  grace_period: ${{TERMINATION_GRACE_PERIOD_SECONDS:-{grace}}}");
        out.push_str(if self.takes_requests { DELAY } else { "" });
        if !self.env.is_empty() {
            out.push_str("\nenv:\n");
            for (name, value) in &self.env {
                let _ = writeln!(out, "  {} {}", key(2, name), flow(value));
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
    if name.is_empty() {
        return "unnamed".to_owned();
    }
    // A config ignores keys that begin with `x-`, so such a name is changed.
    name.strip_prefix("x-").map(|rest| format!("x_{rest}")).unwrap_or(name)
}

/// Writes each comment. The later lines of a long comment are indented further.
fn comments(out: &mut String, indent: usize, notes: &[String]) {
    for note in notes {
        let (mut start, mut line) = ("# ", String::new());
        // Control characters are replaced, because YAML forbids them even in comments.
        for word in harmless(note).split(' ') {
            if !line.is_empty() && indent + start.len() + line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(out, "{:indent$}{start}{line}", "");
                (start, line) = ("#   ", String::new());
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(out, "{:indent$}{start}{line}", "");
    }
}

/// Writes one key of a process: on one line if the value fits, otherwise on several.
fn write_entry(out: &mut String, name: &str, value: &Value) {
    let line = flow(value);
    let fits = 4 + name.len() + 2 + line.len() <= WIDTH;
    let entry = |(name, it): (&String, &Value)| format!("\n      {} {}", key(6, name), flow(it));
    let text: String = match value {
        Value::Array(all) if !fits => {
            all.iter().map(|it| format!("\n      - {}", flow(it))).collect()
        }
        Value::Object(all) if !fits => all.iter().map(entry).collect(),
        _ => format!(" {line}"),
    };
    let _ = writeln!(out, "    {name}:{text}");
}

/// Writes a key and its `:`. YAML requires a `?` before a key that is longer than 1024 characters.
fn key(indent: usize, name: &str) -> String {
    const LONGEST: usize = 1000;
    let key = scalar(name);
    if key.len() > LONGEST { format!("? {key}\n{:indent$}:", "") } else { key + ":" }
}

pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, it)| format!("{}: {}", scalar(key), flow(it)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Writes a text without quotes if every YAML parser then reads the same text. If not, writes the
/// text in double quotes with JSON's escapes, which YAML also has.
fn scalar(text: &str) -> String {
    /// Matches a word, a path or a duration.
    static PLAIN: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^([A-Za-z/_.][\w./+-]*|\d[A-Za-z0-9]*[a-z])$"));
    const RESERVED: &str = "true false yes no on off y n null .nan .inf";
    let is_reserved = RESERVED.split(' ').any(|word| word.eq_ignore_ascii_case(text));
    if PLAIN.is_match(text) && !is_reserved && text.parse::<f64>().is_err() {
        return text.to_owned();
    }
    // YAML, unlike JSON, requires escapes for DEL, the C1 control characters and noncharacters.
    escape_json(&Value::from(text).to_string()).into_owned()
}
