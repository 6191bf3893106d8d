//! `drainit schema`: makes a JSON Schema from the tables of keys. Editors use it to check and
//! complete a config.
//!
//! The schema uses draft 7, which all editors know. An editor applies the schema to one file, but
//! this file may be only a part of the config, merged over another file. Therefore the schema
//! requires no key. The schema checks only the form of values; `check` checks everything else.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Map, Value, json};

use crate::keys::key::{self, Key, Keys, Shape};
use crate::pattern;
use crate::types::Signal;

/// Matches text that contains a variable. Only `check` knows the value of the variable.
const VARIABLE: &str = r"\$\{";
/// The types of a single value.
const SINGLE: [&str; 3] = ["string", "number", "boolean"];

/// Returns the JSON Schema of a config.
pub fn schema() -> Value {
    let mut schema = Schema::default();
    let mut root = schema.table(key::root());
    root["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    root["title"] = "A config of drainit".into();
    root["definitions"] = schema.definitions.into();
    root
}

#[derive(Default)]
struct Schema {
    /// The schemas of the tables that several keys use, by name.
    definitions: Map<String, Value>,
}

/// The JSON values that are accepted for a shape, or for any of several shapes. The JSON Schema
/// keywords of these shapes do not conflict, because each keyword concerns only one type of values.
#[derive(Default)]
struct AcceptedText {
    types: BTreeSet<&'static str>,
    /// Regular expressions. If the list is not empty, accepted text must match one of the
    /// expressions.
    patterns: Vec<String>,
    keywords: Map<String, Value>,
    /// The words that an editor suggests for the value.
    words: Vec<Value>,
    references: Vec<Value>,
}

impl Schema {
    /// The schema for a mapping with these keys.
    fn table(&mut self, keys: &Keys) -> Value {
        let properties = keys.all().map(|key| (key.name.to_owned(), self.property(key)));
        let mut table = json!({
            "type": "object",
            "properties": properties.collect::<Map<_, _>>(),
            "patternProperties": {"^x-": {}},
            "additionalProperties": false,
        });
        if keys.exclusive().nth(1).is_some() {
            // Only one of these keys may be set. The rule is written as a dependency between the
            // keys, because an editor then marks the surplus key.
            let alone = |key: &Key| {
                let others = keys.exclusive().filter(|other| other.name != key.name);
                let others: Map<_, _> =
                    others.map(|other| (other.name.to_owned(), json!(false))).collect();
                (key.name.to_owned(), json!({ "properties": others }))
            };
            table["dependencies"] = keys.exclusive().map(alone).collect::<Map<_, _>>().into();
        }
        table
    }

    /// The schema for the value of a key. The schema also accepts an empty value, which counts as
    /// if the key were absent.
    fn property(&mut self, key: &Key) -> Value {
        let mut value = self.value(&key.shape, true);
        value["description"] = description(key).into();
        value
    }

    fn value(&mut self, shape: &Shape, may_be_empty: bool) -> Value {
        let mut accepted = AcceptedText::default();
        self.accept(shape, &mut accepted);
        accepted.into_schema(may_be_empty)
    }

    fn accept(&mut self, shape: &Shape, accepted: &mut AcceptedText) {
        match shape {
            Shape::Text => accepted.of(&SINGLE, json!({})),
            Shape::Filled(_) => accepted.of(&SINGLE, json!({"minLength": 1})),
            Shape::Duration | Shape::PositiveDuration => {
                let least =
                    if let Shape::Duration = shape { "minimum" } else { "exclusiveMinimum" };
                accepted.of(&["number"], json!({ least: 0 }));
                let number = r"([0-9]+\.?[0-9]*|\.[0-9]+)";
                accepted.pattern(format!(r"^\s*({number}|({number}\s*(us|ms|s|m|h|d)\s*)+)\s*$"));
            }
            Shape::Count => {
                accepted.of(&["integer"], json!({"minimum": 0}));
                accepted.pattern(r"^\s*\+?[0-9]+\s*$");
            }
            Shape::Bool => {
                accepted.of(&["boolean"], json!({}));
                accepted.pattern("^(true|True|TRUE|false|False|FALSE)$");
            }
            Shape::True => {
                accepted.words.push(json!(true));
                accepted.pattern("^(true|True|TRUE)$");
            }
            Shape::Signal(parse) => accepted.signal(|name| parse(name).is_ok()),
            Shape::HostPort => {
                accepted.pattern(r"^(localhost|[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$");
            }
            Shape::Url => accepted.pattern(r"^(http://|unix:)\S+$"),
            Shape::Word(words) => {
                accepted.words.extend(words.iter().copied().map(Value::from));
                accepted.pattern(VARIABLE);
            }
            Shape::Pattern(_, pattern) => accepted.pattern(*pattern),
            Shape::Number(_, pattern) => {
                accepted.of(&["number"], json!({}));
                accepted.pattern(*pattern);
            }
            Shape::List(item) => {
                accepted.of(&["array"], json!({"items": self.value(item, false)}));
            }
            Shape::Map(of) => {
                accepted.of(&["object"], json!({"additionalProperties": self.value(of, true)}));
            }
            Shape::Processes(of) => accepted.of(
                &["object"],
                json!({
                    "additionalProperties": self.value(of, true),
                    "patternProperties": {"^x-": {}},
                    "propertyNames": {"pattern": "^(x-|[A-Za-z0-9_.-]+$)"},
                }),
            ),
            Shape::Table(keys) => accepted.of(&["object"], self.table(keys)),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| self.accept(shape, accepted)),
            Shape::Named(name, keys) => {
                if !self.definitions.contains_key(*name) {
                    self.definitions.insert((*name).to_owned(), Value::Null);
                    let table = self.table(keys);
                    self.definitions.insert((*name).to_owned(), table);
                }
                accepted.references.push(json!({"$ref": format!("#/definitions/{name}")}));
            }
        }
    }
}

impl AcceptedText {
    /// Accepts values of these types, with these keywords.
    fn of(&mut self, types: &[&'static str], keywords: Value) {
        self.types.extend(types);
        if let Value::Object(mut keywords) = keywords {
            self.keywords.append(&mut keywords);
        }
    }

    fn pattern(&mut self, pattern: impl Into<String>) {
        self.types.insert("string");
        self.patterns.push(pattern.into());
    }

    /// Accepts the names and the numbers of these signals.
    fn signal(&mut self, is_taken: impl Fn(&str) -> bool) {
        let numbers: Vec<i32> = (1..=64).filter(|it| is_taken(&it.to_string())).collect();
        self.words.extend(Signal::names().filter(|name| is_taken(name)).map(Value::from));
        self.words.extend(numbers.iter().copied().map(Value::from));
        let names = Signal::all_names().filter(|name| is_taken(name)).map(any_case);
        let real_time = [r"[Rr][Tt][Mm][Ii][Nn](\+[0-9]+)?", r"[Rr][Tt][Mm][Aa][Xx](-[0-9]+)?"];
        let names = alternatives(names.chain(real_time.map(str::to_owned)));
        let (numbers, sig) = (alternatives(numbers.iter().map(i32::to_string)), any_case("SIG"));
        self.pattern(format!(r"^\s*({numbers}|({sig})?({names}))\s*$"));
    }

    fn into_schema(mut self, may_be_empty: bool) -> Value {
        if may_be_empty {
            self.types.insert("null");
        }
        if !self.patterns.is_empty() {
            if !self.patterns.iter().any(|pattern| pattern == VARIABLE) {
                self.patterns.push(VARIABLE.to_owned());
            }
            self.keywords.insert("pattern".to_owned(), self.patterns.join("|").into());
        }
        let types: Vec<_> = self.types.into_iter().collect();
        let of_types = (!types.is_empty()).then(|| {
            let types = if let [one] = types[..] { json!(one) } else { json!(types) };
            self.keywords.insert("type".to_owned(), types);
            Value::Object(self.keywords)
        });
        let of_words = (!self.words.is_empty()).then(|| json!({"enum": self.words}));
        if let (Some(of_types), None, []) = (&of_types, &of_words, &*self.references) {
            return of_types.clone();
        }
        let alternatives = of_words.into_iter().chain(of_types).chain(self.references);
        json!({"anyOf": alternatives.collect::<Vec<_>>()})
    }
}

/// The explanation of a key for an editor: its meaning without links, anchors and example, and then
/// its default.
fn description(key: &Key) -> String {
    static COMMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s*<!--.*?-->"));
    static LINK: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[([^\[\]]*)\]\([^)]*\)"));
    let meaning = key.meaning.split(" Example: ").next().unwrap_or_default();
    let text = COMMENT.replace_all(meaning, "");
    let text = LINK.replace_all(&text, "$1");
    match key.default {
        Some(default) if default != "required" => format!("{text} Default: {default}."),
        _ => text.into_owned(),
    }
}

fn alternatives(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join("|")
}

/// A regular expression that matches a word in upper, lower or mixed case.
fn any_case(word: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    word.chars().map(letter).collect()
}
