//! Checks that the tables of keys in docs/config.md and docs/config/ say the same as the
//! declarations of the keys, and that the chart of a plan in docs/reference/shutdown.md is what
//! `drainit plan` prints. Checks, too, that docs/findings.md has the texts of `check --explain`.
//! `make reference` writes these tables, this chart and these texts.

use std::fs;

use crate::keys::key::{Key, Keys, Shape};
use crate::language::diagnostics::rule::{Rule, RuleText};
use crate::load::testing::load;
use crate::plan::Plan;
use crate::plan::mermaid::mermaid;
use crate::schema_tests::{root, tables};

/// The sets of keys that the reference does not list in a table, because a page explains these keys
/// in its text.
const IN_PROSE: &str = "HeaderFile ConnectionsDrain DrainKeys ElementKeys AdminKeys Ulimits LimitKeys Hook RunAsKeys \
    StderrKeys";

// holds: C17
#[test]
fn the_reference_matches_the_declarations() {
    let pages = pages();
    let headings: Vec<Heading> = pages.iter().flat_map(headings).collect();
    let mut left: Vec<&Keys> = Vec::new();
    for (keys, _) in tables() {
        let known = |left: &[&Keys], keys: &Keys| left.iter().any(|other| other.name == keys.name);
        for keys in keys.flat.iter().copied().chain([keys]) {
            if !known(&left, keys) && !IN_PROSE.split(' ').any(|name| name == keys.name) {
                left.push(keys);
            }
        }
    }
    for page in &pages {
        let mut parts = page.text.split("<!--keys: ");
        let mut written = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once("-->").unwrap();
            let (_, rest) = rest.split_once("<!--end-->").unwrap();
            let at = left.iter().position(|keys| keys.name == name);
            let at = at.unwrap_or_else(|| panic!("no table `{name}`, or it is there twice"));
            let table = table(left.remove(at), page, &headings);
            written += &format!("<!--keys: {name}-->\n{table}<!--end-->{rest}");
        }
        if std::env::var_os("DRAINIT_WRITE_REFERENCE").is_some() {
            fs::write(root().join("docs").join(&page.path), written).unwrap();
        } else {
            assert!(page.text == written, "docs/{} is not up to date: `make reference`", page.path);
        }
    }
    let missing: Vec<_> = left.iter().map(|keys| keys.name).collect();
    assert!(missing.is_empty(), "no page has `<!--keys: NAME-->` for {missing:?}");
}

// holds: S374
#[test]
fn the_chart_of_the_docs_is_the_plan_of_the_example() {
    let (name, page) = ("examples/gateway/drainit.yaml", root().join("docs/reference/shutdown.md"));
    let loaded = load(&[&fs::read_to_string(root().join(name)).unwrap()], &[]).unwrap();
    let chart = mermaid(&Plan::new(&loaded.config, &loaded.graph), name);
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("```mermaid\n").unwrap();
    let (_, after) = rest.split_once("```\n").unwrap();
    let written = format!("{before}```mermaid\n{chart}```\n{after}");
    if std::env::var_os("DRAINIT_WRITE_REFERENCE").is_some() {
        fs::write(page, written).unwrap();
    } else {
        assert!(text == written, "the chart is not up to date: `make reference`");
    }
}

// holds: C1245
#[test]
fn the_page_of_findings_says_what_explain_says() {
    let page = root().join("docs/findings.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!--findings-->\n").unwrap();
    let (_, after) = rest.split_once("<!--end-->").unwrap();
    let rules: String = Rule::ALL.iter().map(|rule| section(*rule)).collect();
    let written = format!("{before}<!--findings-->\n{rules}\n<!--end-->{after}");
    if std::env::var_os("DRAINIT_WRITE_REFERENCE").is_some() {
        fs::write(page, written).unwrap();
    } else {
        assert!(text == written, "docs/findings.md is not up to date: `make reference`");
    }
    for rule in Rule::ALL {
        let (text, explanation) = (rule.text(), rule.explanation());
        for part in [text.id, text.what, text.why, text.mend] {
            let is_sentence = part == text.id || part.ends_with('.');
            assert!(explanation.contains(part) && is_sentence, "{part}");
        }
        let comment = format!("# drainit: allow {}: REASON", text.id);
        assert_eq!(explanation.contains(&comment), rule.can_be_allowed(), "{explanation}");
        assert_eq!(Rule::parse(text.id), Ok(*rule));
    }
    assert_eq!(Rule::parse("undraned-server"), Err(Some("undrained-server")));
}

/// The section of a rule on the page.
fn section(rule: Rule) -> String {
    let RuleText { id, what, why, mend, .. } = rule.text();
    let mut levels = rule.levels();
    levels[..1].make_ascii_uppercase();
    let allowed = if rule.can_be_allowed() { "" } else { ", cannot be allowed" };
    format!("\n## {id}\n\n{levels}{allowed}: {what} {why}\n\n{mend}\n")
}

#[test]
fn every_rule_is_the_rule_of_some_finding() {
    let (mut code, mut paths) = (String::new(), vec![root().join("crates")]);
    while let Some(path) = paths.pop() {
        match path.is_dir() {
            true => paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false => code += &fs::read_to_string(path).unwrap_or_default(),
        }
    }
    for rule in Rule::ALL {
        let name = format!("Rule::{rule:?}");
        let is_whole = |(at, _): (usize, &str)| {
            !code[at + name.len()..].starts_with(|it: char| it.is_ascii_alphabetic())
        };
        assert!(code.match_indices(&name).any(is_whole), "nothing has the rule {}", rule.id());
    }
}

/// A page of the reference. Its path is relative to docs/.
struct Page {
    path: String,
    text: String,
}

fn pages() -> Vec<Page> {
    let docs = root().join("docs");
    let entries = fs::read_dir(docs.join("config")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<_> = names.map(|name| format!("config/{name}")).collect();
    paths.sort();
    paths.insert(0, "config.md".to_owned());
    let text = |path: &String| fs::read_to_string(docs.join(path)).unwrap();
    paths.into_iter().map(|path| Page { text: text(&path), path }).collect()
}

/// A heading of a page. If it is the title of the page, a link to it from another page has no
/// anchor.
struct Heading<'a> {
    page: &'a Page,
    is_title: bool,
    text: &'a str,
}

impl Heading<'_> {
    fn anchor(&self) -> String {
        self.text.to_lowercase().replace(' ', "-")
    }

    fn link(&self, from: &Page) -> String {
        match (self.page.path == from.path, self.is_title) {
            (true, _) => format!("#{}", self.anchor()),
            (false, true) => from.link(&self.page.path),
            (false, false) => format!("{}#{}", from.link(&self.page.path), self.anchor()),
        }
    }
}

fn headings(page: &Page) -> impl Iterator<Item = Heading<'_>> {
    let lines = page.text.lines().filter(|line| line.starts_with('#'));
    lines.map(move |line| Heading {
        page,
        is_title: line.starts_with("# "),
        text: line.trim_start_matches('#').trim(),
    })
}

impl Page {
    /// The link from this page to another page. The path `to` is relative to docs/.
    fn link(&self, to: &str) -> String {
        match (self.path.starts_with("config/"), to.strip_prefix("config/")) {
            (true, Some(sibling)) => sibling.to_owned(),
            (true, None) => format!("../{to}"),
            (false, _) => to.to_owned(),
        }
    }

    /// The text of a doc comment, with its links made relative to this page. In a doc comment,
    /// `#NAME` is a heading on any page of the reference, and `PAGE.md#NAME` is a heading on a page
    /// in docs/.
    fn with_links(&self, text: &str, headings: &[Heading]) -> String {
        let mut parts = text.split("](");
        let mut linked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (target, rest) = part.split_once(')').unwrap();
            let target = match target.strip_prefix('#') {
                Some(anchor) => {
                    let heading = headings.iter().find(|heading| heading.anchor() == anchor);
                    heading.unwrap_or_else(|| panic!("no heading `{anchor}`")).link(self)
                }
                None if target.contains("://") => target.to_owned(),
                None => self.link(target),
            };
            linked += &format!("]({target}){rest}");
        }
        linked
    }
}

fn table(keys: &Keys, page: &Page, headings: &[Heading]) -> String {
    let rows = keys.own.iter().map(|key| row(keys, key, page, headings));
    let heads = ["| Key | Type, default | Meaning | Example |\n|---|---|---|---|\n".to_owned()];
    heads.into_iter().chain(rows).collect()
}

fn row(keys: &Keys, key: &Key, page: &Page, headings: &[Heading]) -> String {
    let name = key.name;
    let is_own = |heading: &&Heading| match (keys.name, name) {
        ("Process", "hooks") => heading.text == "hooks of a process",
        ("Process" | "Config", _) => heading.text.split(" and ").any(|word| word == name),
        _ => false,
    };
    let cell = match headings.iter().find(is_own) {
        Some(heading) => format!("[`{name}`]({})", heading.link(page)),
        None => format!("`{name}`"),
    };
    let (meaning, example) = key.meaning.split_once("Example: ").unwrap_or((key.meaning, ""));
    let (meaning, what) = (page.with_links(meaning.trim(), headings), noun(&key.shape));
    let default = key.default.map(default).unwrap_or_default();
    format!("| {cell} | {what}{default} | {meaning} | {example} |\n")
}

fn default(text: &str) -> String {
    let is_words = ["none", "unset", "required", "inherit"].contains(&text)
        || text.contains(['\'', '`'])
        || (text.contains(' ') && !text.starts_with('['));
    if is_words { format!(", {text}") } else { format!(", `{text}`") }
}

/// The noun that the reference uses for a value of this shape.
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
        // A command is one string or a list of arguments; the reference calls both a command.
        Shape::Either([Shape::Filled("command"), Shape::List(_)]) => "command",
        Shape::Either(shapes) => {
            let mut nouns = Vec::new();
            shapes.iter().for_each(|shape| add_nouns(shape, &mut nouns));
            return alternatives(nouns);
        }
    };
    noun.to_owned()
}

fn add_nouns(shape: &Shape, nouns: &mut Vec<String>) {
    match shape {
        Shape::Either(shapes) if noun(shape) != "command" => {
            shapes.iter().for_each(|shape| add_nouns(shape, nouns));
        }
        Shape::Word(words) => nouns.extend(words.iter().map(|it| format!("`{it}`"))),
        shape => {
            let noun = noun(shape);
            nouns.extend(Some(noun.clone()).filter(|_| !nouns.contains(&noun)));
        }
    }
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
