//! `drainit schema`: makes a JSON Schema from the tables of keys. Editors use it to check and
//! complete a config.
//!
//! The schema uses draft 7, which all editors know. An editor applies the schema to one file, but
//! this file may be only a part of the config, merged over another file. Therefore the schema
//! requires no key. The schema checks only the form of values; `check` checks everything else.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::keys::key::{self, Key, Keys, Shape};
use crate::types::Signal;

/// Matches text that contains a variable. Only `check` knows the value of the variable.
const VARIABLE: &str = r"\$\{";

/// Returns the JSON Schema of a config.
pub fn schema() -> Value {
    let mut schema = Schema::default();
    let mut root = schema.table(key::root());
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("A config of drainit"));
    root.insert("definitions".to_owned(), Value::Object(schema.definitions));
    Value::Object(root)
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
    fn table(&mut self, keys: &Keys) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys.all() {
            properties.insert(key.name.to_owned(), self.property(key));
        }
        let mut table = mapping();
        table.insert("properties".to_owned(), Value::Object(properties));
        table.insert("patternProperties".to_owned(), json!({"^x-": {}}));
        table.insert("additionalProperties".to_owned(), json!(false));
        if keys.exclusive().nth(1).is_some() {
            // Only one of these keys may be set. The rule is written as a dependency between the
            // keys, because an editor then marks the surplus key.
            let mut dependencies = Map::new();
            for key in keys.exclusive() {
                let mut others = Map::new();
                for other in keys.exclusive().filter(|other| other.name != key.name) {
                    others.insert(other.name.to_owned(), json!(false));
                }
                dependencies.insert(key.name.to_owned(), json!({"properties": others}));
            }
            table.insert("dependencies".to_owned(), Value::Object(dependencies));
        }
        table
    }

    /// The schema for the value of a key. The schema also accepts an empty value, which counts as
    /// if the key were absent.
    fn property(&mut self, key: &Key) -> Value {
        let mut value = self.value(&key.shape, true);
        if let Value::Object(value) = &mut value {
            value.insert("description".to_owned(), json!(description(key)));
        }
        value
    }

    fn value(&mut self, shape: &Shape, may_be_empty: bool) -> Value {
        let mut accepted = AcceptedText::default();
        self.accept(shape, &mut accepted);
        accepted.into_schema(may_be_empty)
    }

    fn accept(&mut self, shape: &Shape, accepted: &mut AcceptedText) {
        match shape {
            Shape::Text => accepted.types(&["string", "number", "boolean"]),
            Shape::Filled(_) => {
                accepted.types(&["string", "number", "boolean"]);
                accepted.keyword("minLength", json!(1));
            }
            Shape::Duration | Shape::PositiveDuration => {
                accepted.types(&["number"]);
                let least =
                    if let Shape::Duration = shape { "minimum" } else { "exclusiveMinimum" };
                accepted.keyword(least, json!(0));
                let number = r"([0-9]+\.?[0-9]*|\.[0-9]+)";
                accepted.pattern(format!(r"^\s*({number}|({number}\s*(us|ms|s|m|h|d)\s*)+)\s*$"));
            }
            Shape::Count => {
                accepted.types(&["integer"]);
                accepted.keyword("minimum", json!(0));
                accepted.pattern(r"^\s*\+?[0-9]+\s*$");
            }
            Shape::Bool => {
                accepted.types(&["boolean"]);
                accepted.pattern("^(true|True|TRUE|false|False|FALSE)$");
            }
            Shape::True => {
                accepted.words.push(json!(true));
                accepted.pattern("^(true|True|TRUE)$");
            }
            Shape::Signal(parse) => {
                let is_taken = |name: &str| parse(name).is_ok();
                let numbers: Vec<i32> =
                    (1..=64).filter(|number| is_taken(&number.to_string())).collect();
                accepted
                    .words
                    .extend(Signal::names().filter(|name| is_taken(name)).map(Value::from));
                accepted.words.extend(numbers.iter().copied().map(Value::from));
                let names = Signal::all_names().filter(|name| is_taken(name));
                let real_time =
                    [r"[Rr][Tt][Mm][Ii][Nn](\+[0-9]+)?", r"[Rr][Tt][Mm][Aa][Xx](-[0-9]+)?"];
                let words = names.map(any_case).chain(real_time.map(str::to_owned));
                accepted.pattern(format!(
                    r"^\s*({}|({})?({}))\s*$",
                    alternatives(numbers.iter().map(i32::to_string)),
                    any_case("SIG"),
                    alternatives(words)
                ));
            }
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
                accepted.types(&["number"]);
                accepted.pattern(*pattern);
            }
            Shape::List(item) => {
                accepted.types(&["array"]);
                let item = self.value(item, false);
                accepted.keyword("items", item);
            }
            Shape::Map(of) => {
                let of = self.value(of, true);
                accepted.object(mapping());
                accepted.keyword("additionalProperties", of);
            }
            Shape::Processes(of) => {
                let of = self.value(of, true);
                accepted.object(mapping());
                accepted.keyword("additionalProperties", of);
                accepted.keyword("patternProperties", json!({"^x-": {}}));
                accepted.keyword("propertyNames", json!({"pattern": "^(x-|[A-Za-z0-9_.-]+$)"}));
            }
            Shape::Table(keys) => {
                let table = self.table(keys);
                accepted.object(table);
            }
            Shape::Either(shapes) => shapes.iter().for_each(|shape| self.accept(shape, accepted)),
            Shape::Named(name, keys) => {
                if !self.definitions.contains_key(*name) {
                    self.definitions.insert((*name).to_owned(), Value::Null);
                    let table = self.table(keys);
                    self.definitions.insert((*name).to_owned(), Value::Object(table));
                }
                accepted.references.push(json!({"$ref": format!("#/definitions/{name}")}));
            }
        }
    }
}

impl AcceptedText {
    fn types(&mut self, types: &[&'static str]) {
        self.types.extend(types);
    }

    fn keyword(&mut self, name: &str, value: Value) {
        self.keywords.insert(name.to_owned(), value);
    }

    fn pattern(&mut self, pattern: impl Into<String>) {
        self.types(&["string"]);
        self.patterns.push(pattern.into());
    }

    fn object(&mut self, mut table: Map<String, Value>) {
        table.remove("type");
        self.types(&["object"]);
        self.keywords.append(&mut table);
    }

    fn into_schema(mut self, may_be_empty: bool) -> Value {
        if may_be_empty {
            self.types(&["null"]);
        }
        if !self.patterns.is_empty() {
            if !self.patterns.iter().any(|pattern| pattern == VARIABLE) {
                self.patterns.push(VARIABLE.to_owned());
            }
            self.keyword("pattern", json!(self.patterns.join("|")));
        }
        let types: Vec<_> = self.types.into_iter().collect();
        let has_no_type = types.is_empty();
        let types = match types.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        self.keywords.insert("type".to_owned(), types);
        let rest = Value::Object(self.keywords);
        if self.words.is_empty() && self.references.is_empty() {
            return rest;
        }
        let mut alternatives = Vec::new();
        if !self.words.is_empty() {
            alternatives.push(json!({"enum": self.words}));
        }
        if !has_no_type {
            alternatives.push(rest);
        }
        alternatives.extend(self.references);
        json!({"anyOf": alternatives})
    }
}

/// The explanation of a key for an editor: its meaning without links, anchors and example, and then
/// its default.
fn description(key: &Key) -> String {
    let mut text = String::new();
    let mut rest = key.meaning.split_once(" Example: ").map_or(key.meaning, |(meaning, _)| meaning);
    while let Some((before, after)) = rest.split_once("<!--") {
        text.push_str(before.trim_end());
        rest = after.split_once("-->").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    while let Some((before, after)) = text.split_once("](") {
        let Some((start, words)) = before.rsplit_once('[') else { break };
        let rest = after.split_once(')').map_or("", |(_, rest)| rest);
        text = format!("{start}{words}{rest}");
    }
    match key.default {
        Some(default) if default != "required" => format!("{text} Default: {default}."),
        _ => text,
    }
}

fn mapping() -> Map<String, Value> {
    let mut mapping = Map::new();
    mapping.insert("type".to_owned(), json!("object"));
    mapping
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
