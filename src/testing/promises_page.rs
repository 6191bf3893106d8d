//! Compares docs/promises.md with the two pages whose sentences it numbers, and with the tests that
//! it names.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use regex_lite::Regex;

use crate::testing::messages_page::{files, root};

/// Each page, and the letter of its numbers.
const PAGES: &[(&str, char)] = &[("shutdown.md", 'S'), ("config.md", 'C')];

/// Tells a writer what to do about a sentence that is on neither list.
const ADVICE: &str = "write a test or an invariant that fails without it, and add a row with the \
                      whole sentence and the next free number to docs/promises.md, or some words of \
                      it to \"Sentences that promise nothing\" if it is a definition, an example, a \
                      reason or a fact about other programs";

#[test]
fn every_promise_of_the_pages_is_held_by_a_test() {
    let page = read("docs/promises.md");
    let known = Known::of_sources();
    let mut wrong = String::new();
    for (name, letter) in PAGES {
        let part = page.split("\n## ").find(|part| part.starts_with(name)).unwrap();
        let (table, others) = part.split_once("### Sentences that promise nothing").unwrap();
        let sentences = sentences(&read(&format!("docs/{name}")));
        let mut numbers = BTreeSet::new();
        let mut quotes = Vec::new();
        for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| No"))
        {
            let mut cells = row.trim_matches('|').splitn(2, " | ").map(str::trim);
            let (number, rest) = (cells.next().unwrap(), cells.next().unwrap_or_default());
            let Some((quote, holds)) = rest.rsplit_once(" | ") else {
                let _ = writeln!(wrong, "these are not three cells: {row}");
                continue;
            };
            let is_number = number.strip_prefix(*letter).is_some_and(|n| n.parse::<u16>().is_ok());
            if !is_number || !numbers.insert(number) {
                let _ = writeln!(wrong, "{number} is no number of {name}, or is there twice");
            }
            let names: Vec<_> = holds.split('`').skip(1).step_by(2).collect();
            if names.is_empty() {
                let _ = writeln!(wrong, "{number} names nothing that holds it");
            }
            for held_by in names.iter().filter(|held_by| !known.has(held_by)) {
                let _ = writeln!(wrong, "{number} is held by what does not exist: {held_by}");
            }
            quotes.push(quote.replace("\\|", "|"));
        }
        let mut is_listed = vec![false; sentences.len()];
        let parts = others.lines().filter_map(|line| line.strip_prefix("- "));
        let parts = parts.map(|part| (part.trim_end_matches('…'), true));
        for (quote, is_part) in quotes.iter().map(|quote| (quote.as_str(), false)).chain(parts) {
            let is_it = |sentence: &String| match is_part {
                true => sentence.contains(quote),
                false => sentence == quote,
            };
            let found: Vec<_> = (0..sentences.len()).filter(|at| is_it(&sentences[*at])).collect();
            if found.is_empty() {
                let _ = writeln!(wrong, "docs/{name} no longer says: {quote}");
            }
            if found.iter().any(|at| sentences[*at] != sentences[found[0]]) {
                let _ = writeln!(wrong, "in several sentences of docs/{name}: {quote}");
            }
            found.iter().for_each(|at| is_listed[*at] = true);
        }
        for (sentence, _) in sentences.iter().zip(is_listed).filter(|(_, is_listed)| !is_listed) {
            let _ = writeln!(wrong, "docs/{name} says: {sentence}\n    {ADVICE}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn sentences_are_found() {
    let page = "# A\n\n- [Two](#b)\n\nOne `x.y` is\nhere. [Two](#b), e.g. 2.5 s?\n\n```sh\nNo.\n```\n\n- A: b.\n  `C` too.\n\n\
                | Head | Of it |\n|---|---|\n| a | B. C. |\n| d | E. |\n\n## B\n\nIn.\n";
    let mut expected = vec!["One `x.y` is here.", "Two, e.g. 2.5 s?", "A: b.", "`C` too."];
    expected.extend(["B.", "C.", "| d | E. |", "In."]);
    assert_eq!(sentences(page), expected);
}

/// The sentences of the paragraphs and of the tables, with the text of links only. A table
/// of contents is left out.
fn sentences(page: &str) -> Vec<String> {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let contents = Regex::new(r"^\[[^\]]*\]\([^)]*\)$").unwrap();
    let (mut blocks, mut is_code) = (vec![String::new()], false);
    for line in page.lines().chain([""]) {
        let is_fence = line.trim_start().starts_with("```");
        let is_heading = line.starts_with('#');
        let item = line.trim_start().strip_prefix("- ");
        let is_end = line.trim().is_empty() || is_fence || is_heading || line.starts_with('|');
        if is_end || item.is_some() {
            blocks.push(String::new());
        }
        let is_text = !is_code && !is_fence && !is_heading;
        if let Some(block) = blocks.last_mut().filter(|_| is_text) {
            *block += item.unwrap_or(line).trim();
            *block += " ";
        }
        is_code ^= is_fence;
    }
    let is_rule = |block: &str| block.starts_with("|--");
    let mut found = Vec::new();
    for (place, block) in blocks.iter().enumerate() {
        if contents.is_match(block.trim()) {
            continue;
        }
        let block = link.replace_all(block.trim(), "$1").into_owned();
        let is_head = blocks.get(place + 1).is_some_and(|next| is_rule(next));
        match block.starts_with('|') {
            true if is_rule(&block) || is_head => {}
            true => found.extend(split_row(block)),
            false => found.extend(split(&block)),
        }
    }
    found
}

/// The sentences of the cells of a row; a row with less than two is one sentence as a whole.
fn split_row(row: String) -> Vec<String> {
    let cells = row.trim_matches('|').split(" | ").map(split);
    let is_text = |cell: &Vec<String>| cell.len() > 1 || cell.iter().any(|it| it.ends_with('.'));
    let found: Vec<_> = cells.filter(is_text).flatten().collect();
    if found.len() < 2 { vec![row] } else { found }
}

/// The sentences of a paragraph.
fn split(paragraph: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let sentence = found.last_mut().unwrap();
        *sentence += if sentence.is_empty() { "" } else { " " };
        *sentence += word;
        let end = word.trim_end_matches([')', '*', '"']);
        if end.ends_with(['.', '?']) && end != "e.g." {
            found.push(String::new());
        }
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// Everything that can hold a promise.
struct Known {
    /// Tests and invariants, with the path of their module: `simulation::cases::a_test`.
    names: Vec<String>,
    /// The reasons with which the simulation fails.
    reasons: String,
}

impl Known {
    fn of_sources() -> Self {
        let mut names = Vec::new();
        for path in files(&root().join("src")).into_iter().chain(files(&root().join("tests"))) {
            let text = fs::read_to_string(&path).unwrap();
            let module = path.strip_prefix(root()).unwrap().with_extension("");
            let module = module.to_str().unwrap().trim_end_matches("/mod").replace('/', "::");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= matches!(line, "#[test]" | "#[tokio::test]");
                let Some((_, name)) = line.split_once("fn ") else { continue };
                let name = name.split(['(', '<']).next().unwrap_or_default();
                if std::mem::take(&mut is_test) || name.starts_with("holds_") {
                    names.push(format!("{module}::{name}"));
                }
            }
        }
        Self { names, reasons: read("src/simulation/invariants.rs") }
    }

    /// Whether there is this test or invariant, by the end of its path, or, as `invariant: reason`,
    /// an invariant that fails with this reason.
    fn has(&self, name: &str) -> bool {
        match name.strip_prefix("invariant: ") {
            Some(reason) => self.reasons.contains(&format!("\"{reason}\"")),
            None => {
                let end = format!("::{name}");
                self.names.iter().any(|known| format!("::{known}").ends_with(&end))
            }
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}
