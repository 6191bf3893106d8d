//! Compares the schema with the reader of the config, and with the schema file in the repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

use serde_json::{Map, Value, json};

use crate::import::same::output_of;
use crate::keys::key::{Keys, Shape, root as keys_of_root};
use crate::language::diagnostics::problems::Problems;
use crate::language::source::Source;
use crate::language::yaml::node::{Kind, Node};
use crate::load::testing::checked;
use crate::load::{Diagnostic, parse_source};
use crate::schema::schema;
use drainit_config::testing::rust_source::string_literals;
use drainit_config::testing::temp_dir::TempDir;

/// Parts of the reader's messages for errors that a schema can find, too. The schema must refuse
/// every config that has one of these errors.
const FORM: &str = "unknown key¦must be a mapping¦must be a list¦must be a single value¦\
    must be a command¦cannot be the name of a process¦not both¦not a known value¦\
    neither true nor false¦not a duration¦a negative duration¦not a whole number¦not a signal¦\
    a signal that no process can catch¦a port without an address¦the port is missing¦\
    a URL instead of an address and a port¦not a URL";

/// A Python program. The first line of its file is a schema, and each further line is a value that
/// the program validates.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft7Validator
schema, *instances = map(json.loads, open(sys.argv[1]))
Draft7Validator.check_schema(schema)
validator = Draft7Validator(schema)
for instance in instances:
    errors = ['/'.join(map(str, e.path)) + ': ' + e.message[:200] for e in validator.iter_errors(instance)]
    print(json.dumps(errors[:3]))
";

// holds: C18, C19
#[test]
fn check_and_the_schema_agree() {
    let corpus = corpus();
    let instances: Vec<Option<Value>> = corpus.iter().map(|text| instance(text)).collect();
    let Some(verdicts) = validate(instances.iter().flatten()) else { return };
    let parsed = corpus.iter().zip(&instances).filter(|(_, instance)| instance.is_some());
    let (mut wrong, mut right, mut refused) = (String::new(), 0, 0);
    for ((text, _), schema) in parsed.zip(&verdicts) {
        let errors: Vec<_> = checked(text, &[]).into_iter().filter(|d| d.is_error()).collect();
        let is_of_form = |it: &&Diagnostic| FORM.split('¦').any(|form| it.message.contains(form));
        let of_form = errors.iter().find(is_of_form);
        match (of_form, schema.first()) {
            // The value has a variable that is not set in this test. `check` therefore sees another
            // value than the schema, so the two may disagree.
            (Some(error), None) if error.message.contains(", from ") => {}
            (Some(error), None) => {
                let _ = writeln!(wrong, "only check refuses ({}):\n{text}", error.message);
            }
            (None, Some(why)) if errors.is_empty() => {
                let _ = writeln!(wrong, "only the schema refuses ({why}):\n{text}");
            }
            (_, why) => {
                right += usize::from(errors.is_empty());
                refused += usize::from(why.is_some());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(right > 300 && refused > 300, "{right} are right, {refused} refused");
}

/// The schema must not require a key, because a file may be merged over another file that has the
/// key.
// holds: C18
#[test]
fn the_schema_requires_no_key() {
    fn requires_a_key(schema: &Value) -> bool {
        match schema {
            Value::Object(keys) => {
                keys.get("required").is_some_and(Value::is_array)
                    || keys.contains_key("minProperties")
                    || keys.values().any(requires_a_key)
            }
            Value::Array(items) => items.iter().any(requires_a_key),
            _ => false,
        }
    }
    assert!(!requires_a_key(&schema()));
}

/// Editors load the schema from the repository, and each example has the path of the schema.
// holds: C17
#[test]
fn the_committed_schema_is_up_to_date() {
    let written = fs::read_to_string(root().join("docs/drainit.schema.json")).unwrap_or_default();
    let schema = format!("{:#}\n", schema());
    assert!(written == schema, "docs/drainit.schema.json is not up to date: `make schema`");
    for example in files(&root().join("examples"), "yaml") {
        let text = fs::read_to_string(&example).unwrap();
        if !text.contains("\nprocesses:") {
            continue;
        }
        let up = "../".repeat(example.strip_prefix(root()).unwrap().components().count() - 1);
        let line = format!("# yaml-language-server: $schema={up}docs/drainit.schema.json");
        assert_eq!(text.lines().next(), Some(&*line), "the first line of {}", example.display());
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The configs with which the schema and the reader are compared: the examples, the configs in the
/// docs, the inputs of other tests, and configs made from the tables of keys.
fn corpus() -> Vec<String> {
    let root = root();
    let mut corpus = Vec::new();
    for path in files(&root.join("examples"), "yaml") {
        let text = fs::read_to_string(path).unwrap();
        corpus.extend(text.contains("\nprocesses:").then_some(text));
    }
    for path in files(&root.join("docs"), "md") {
        let text = fs::read_to_string(path).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        corpus.extend(blocks.filter(|block| block.contains("processes:")).map(str::to_owned));
    }
    for path in files(&root.join("crates/config/src"), "rs") {
        for literal in string_literals(&fs::read_to_string(path).unwrap()) {
            let is_config =
                keys_of_root().names().any(|name| literal.contains(&format!("{name}:")));
            corpus.extend(is_config.then_some(literal.clone()));
            // Many tests insert such a text into the config of a process, so this test does, too.
            corpus.push(format!("processes:\n  a:\n    command: [a]\n    {literal}\n"));
        }
    }
    for place in places() {
        let words = words(place.shape);
        for value in VALUES.split(" | ").chain(words.iter().map(String::as_str)) {
            corpus.push(place.config(value));
        }
        let mut unknown = place.clone();
        *unknown.path.last_mut().unwrap() = "unknown".to_owned();
        corpus.push(unknown.config("a"));
        *unknown.path.last_mut().unwrap() = "x-known".to_owned();
        corpus.push(unknown.config("[a]"));
    }
    corpus
}

/// Values of every form, right and wrong.
const VALUES: &str = "\
    5s | 1m 30s | 0.5 | 0 | -1 | 3 | \"3\" | 5x | TERM | sigterm | RTMIN+3 | 15 | KILL | \
    TREM | true | \"true\" | yes | word | /a | 127.0.0.1:80 | localhost:80 | 80 | \
    http://127.0.0.1:80 | http://127.0.0.1:80/a | unix:/a | on-failure:3 | on-failure:x | \
    ${A:-} | \"${A:-1}\" | ~ | {} | [] | [a] | [TERM] | [[a]] | {a: b} | {a: [b]} | \
    {a: } | [{a: b}] | [{text: a}] | [{text: a, file: b}]";

/// A key, and where it is in a config.
#[derive(Clone)]
struct KeyPlace {
    /// The keys that lead to this key from the root of the config. `*` stands for an item of a
    /// list.
    path: Vec<String>,
    shape: &'static Shape,
}

impl KeyPlace {
    /// A config in which the key has this value. If the key belongs to a process, the process also
    /// has a command.
    fn config(&self, value: &str) -> String {
        let mut text = value.to_owned();
        for (depth, key) in self.path.iter().enumerate().rev() {
            text = match (key.as_str(), depth) {
                ("*", _) => format!("[{text}]"),
                (key, 2) if self.path[0] == "processes" && key != "command" => {
                    format!("{{command: [a], {key}: {text}}}")
                }
                (key, _) => format!("{{{key}: {text}}}"),
            };
        }
        match self.path[0].as_str() {
            "processes" => format!("processes: {}\n", &text["{processes: ".len()..text.len() - 1]),
            _ => format!("{}\nprocesses: {{a: {{command: [a]}}}}\n", &text[1..text.len() - 1]),
        }
    }
}

/// Every key of every table. If a table can stand in several places of a config, only the first
/// place is used.
fn places() -> Vec<KeyPlace> {
    let of_table = |(keys, place): (&'static Keys, Vec<String>)| {
        keys.all().map(move |key| KeyPlace {
            path: [&place[..], &[key.name.to_owned()]].concat(),
            shape: &key.shape,
        })
    };
    tables().into_iter().flat_map(of_table).collect()
}

/// Every table of keys, each with the first place in a config where it can stand.
pub(crate) fn tables() -> Vec<(&'static Keys, Vec<String>)> {
    let mut tables = vec![(keys_of_root(), Vec::new())];
    let mut next = 0;
    while let Some((keys, place)) = tables.get(next).cloned() {
        for key in keys.all() {
            tables_of(&key.shape, &[&place[..], &[key.name.to_owned()]].concat(), &mut tables);
        }
        next += 1;
    }
    tables
}

fn tables_of(shape: &Shape, place: &[String], out: &mut Vec<(&'static Keys, Vec<String>)>) {
    let inner = |name: &str| [place, &[name.to_owned()]].concat();
    match shape {
        Shape::Table(keys) | Shape::Named(_, keys)
            if out.iter().all(|(known, _)| known.name != keys.name) =>
        {
            out.push((keys, place.to_vec()));
        }
        Shape::List(item) => tables_of(item, &inner("*"), out),
        Shape::Map(of) | Shape::Processes(of) => tables_of(of, &inner("a"), out),
        Shape::Either(shapes) => shapes.iter().for_each(|of| tables_of(of, place, out)),
        _ => {}
    }
}

fn words(shape: &Shape) -> Vec<String> {
    match shape {
        Shape::Word(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Shape::Either(shapes) => shapes.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

/// The JSON value that an editor makes from a YAML text. A plain scalar has the type that YAML
/// 1.2's core schema gives it. Returns `None` if the text is not YAML.
fn instance(text: &str) -> Option<Value> {
    let mut problems = Problems::default();
    let root = parse_source(&mut problems, Source::new("0.yaml", text.to_owned()))?;
    Some(json_of(&root))
}

fn json_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar { text, quoted: true } => json!(text),
        Kind::Scalar { text, .. } => match text.as_str() {
            "True" | "TRUE" => json!(true),
            "False" | "FALSE" => json!(false),
            text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        },
        Kind::Sequence(items) => items.iter().map(|item| json_of(item)).collect(),
        Kind::Mapping(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.text.to_string(), json_of(node)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// For each value, the errors that a validator of JSON Schema finds. `None` if no validator is
/// installed.
fn validate<'i>(instances: impl Iterator<Item = &'i Value>) -> Option<Vec<Vec<String>>> {
    let dir = TempDir::new();
    let values = iter::once(schema().to_string()).chain(instances.map(Value::to_string));
    let values: Vec<_> = values.collect();
    let path = dir.write("values", values.join("\n").as_bytes());
    // python3-jsonschema is a Debian package, which only Debian's own Python finds.
    let mut python = Command::new("/usr/bin/python3");
    let output = output_of(python.args(["-c", VALIDATE]).arg(path))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}
