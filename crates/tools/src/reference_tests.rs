//! The tables of keys in docs/config.md are made of the declarations. `make reference` writes them
//! anew.

use std::fs;

use crate::load::key::{Key, Keys, Shape};
use crate::schema_tests::{root, tables};

/// The tables of values that the text explains.
const IN_PROSE: [&str; 7] =
    ["HeaderFile", "DrainKeys", "ElementKeys", "AdminKeys", "Ulimits", "LimitKeys", "Hook"];

// holds: C17
#[test]
fn the_reference_has_the_keys_of_today() {
    let path = root().join("docs/config.md");
    let page = fs::read_to_string(&path).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("##"));
    let headings: Vec<_> = headings.map(|text| text.trim_start_matches('#').trim()).collect();
    let mut left: Vec<&Keys> = Vec::new();
    for (keys, _) in tables() {
        let known = |left: &[&Keys], keys: &Keys| left.iter().any(|other| other.name == keys.name);
        for keys in keys.flat.iter().copied().chain([keys]) {
            if !known(&left, keys) && !IN_PROSE.contains(&keys.name) {
                left.push(keys);
            }
        }
    }
    let mut parts = page.split("<!--keys: ");
    let mut written = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("-->").unwrap();
        let (_, rest) = rest.split_once("<!--end-->").unwrap();
        let at = left.iter().position(|keys| keys.name == name);
        let at = at.unwrap_or_else(|| panic!("no table `{name}`, or it is in the page twice"));
        let table = table(left.remove(at), &headings);
        written += &format!("<!--keys: {name}-->\n{table}<!--end-->{rest}");
    }
    let missing: Vec<_> = left.iter().map(|keys| keys.name).collect();
    assert!(missing.is_empty(), "docs/config.md has no `<!--keys: NAME-->` for {missing:?}");
    if std::env::var_os("DRAINIT_WRITE_REFERENCE").is_some() {
        fs::write(path, written).unwrap();
    } else {
        assert!(page == written, "docs/config.md is not what the keys say: `make reference`");
    }
}

fn table(keys: &Keys, headings: &[&str]) -> String {
    let rows = keys.own.iter().map(|key| row(keys, key, headings));
    let heads = ["| Key | Type, default | Meaning | Example |\n|---|---|---|---|\n".to_owned()];
    heads.into_iter().chain(rows).collect()
}

fn row(keys: &Keys, key: &Key, headings: &[&str]) -> String {
    let name = key.name;
    let is_own = |heading: &&&str| match (keys.name, name) {
        ("Process", "hooks") => **heading == "hooks of a process",
        ("Process" | "Config", _) => heading.split(" and ").any(|word| word == name),
        _ => false,
    };
    let cell = match headings.iter().find(is_own) {
        Some(heading) => format!("[`{name}`](#{})", heading.replace(' ', "-")),
        None => format!("`{name}`"),
    };
    let (meaning, example) = key.meaning.split_once("Example: ").unwrap_or((key.meaning, ""));
    let (meaning, what) = (meaning.trim(), noun(&key.shape));
    let default = key.default.map(default).unwrap_or_default();
    format!("| {cell} | {what}{default} | {meaning} | {example} |\n")
}

fn default(text: &str) -> String {
    let is_words = ["none", "unset", "required", "inherit"].contains(&text)
        || text.contains(['\'', '`'])
        || (text.contains(' ') && !text.starts_with('['));
    if is_words { format!(", {text}") } else { format!(", `{text}`") }
}

/// What a value is called.
fn noun(shape: &Shape) -> String {
    let noun = match shape {
        Shape::Text => "text",
        Shape::Filled(noun) | Shape::Pattern(noun, _) | Shape::Number(noun, _) => noun,
        Shape::Duration | Shape::PositiveDuration => "duration",
        Shape::Count => "number",
        Shape::Bool => "`true` or `false`",
        Shape::True => "`true`",
        Shape::Signal(_) => "signal",
        Shape::HostPort => "`HOST:PORT`",
        Shape::Url => "URL",
        Shape::Word(words) => {
            return alternatives(words.iter().map(|it| format!("`{it}`")).collect());
        }
        Shape::List(item) => return list(item),
        Shape::Map(_) | Shape::Processes(_) | Shape::Table(_) | Shape::Named(..) => "mapping",
        // A list of arguments is one way to write a command.
        Shape::Either([Shape::Filled("command"), Shape::List(_)]) => "command",
        Shape::Either(shapes) => {
            let mut nouns: Vec<String> = Vec::new();
            for noun in shapes.iter().map(noun) {
                if !nouns.contains(&noun) {
                    nouns.push(noun);
                }
            }
            return alternatives(nouns);
        }
    };
    noun.to_owned()
}

fn list(item: &Shape) -> String {
    match item {
        Shape::Either(_) => "list".to_owned(),
        item => match noun(item) {
            code if code.ends_with('`') => format!("list of {code}"),
            noun => format!("list of {noun}s"),
        },
    }
}

fn alternatives(mut nouns: Vec<String>) -> String {
    let last = nouns.pop().unwrap_or_default();
    if nouns.is_empty() { last } else { format!("{} or {last}", nouns.join(", ")) }
}
