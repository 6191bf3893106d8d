//! Tests the docs: links lead somewhere, the summary lists every page, configs pass `check`, and a
//! test holds every promise.

use std::collections::BTreeSet;

use regex_lite::Regex;

use crate::support::*;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file that is written by hand or by a bench.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages = sources(&["docs", "examples"]);
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    pages.sort();
    pages
}

/// The text without its code blocks, and the blocks with their language.
pub(crate) fn split(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut block, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => block = Some((language.to_owned(), String::new())),
            (None, None) => prose += &format!("{line}\n"),
            (Some(_), Some(_)) => blocks.extend(block.take()),
            (Some((_, code)), None) => *code += &format!("{line}\n"),
        }
    }
    (prose, blocks)
}

/// The ids of the headings, as GitHub makes them.
fn anchors(prose: &str) -> Vec<String> {
    let heading =
        |line: &str| Some(line.strip_prefix('#')?.trim_start_matches('#').trim().to_owned());
    let slug = |title: String| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    prose.lines().filter_map(heading).map(slug).collect()
}

/// The targets of all links and images, including those broken over two lines.
fn links(prose: &str) -> Vec<String> {
    let without_code: String = prose.split('`').step_by(2).collect();
    let targets = without_code.split("](").skip(1);
    targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Whether the file exists, and has a heading with this id, unless the id is empty.
fn exists(file: &Path, id: &str) -> bool {
    let has_id = |text: String| anchors(&split(&text).0).iter().any(|anchor| anchor == id);
    if id.is_empty() { file.exists() } else { fs::read_to_string(file).is_ok_and(has_id) }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let (prose, _) = split(&fs::read_to_string(&page).unwrap());
        for link in links(&prose).iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (path, id) = link.split_once('#').unwrap_or((link, ""));
            let directory = page.parent().unwrap();
            let target = if path.is_empty() { page.clone() } else { directory.join(path) };
            if !exists(&target, id) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// Sources and messages of the program name a page as `docs/PAGE` or `docs/PAGE#HEADING`.
#[test]
fn every_page_that_a_source_names_exists() {
    let name = Regex::new(r"(docs/[a-z0-9/_-]+\.(?:md|svg|json))(?:#([a-z0-9-]+))?").unwrap();
    let folders =
        ["src", "crates", "tests", "benches", "examples", "packaging", "probe", ".github"];
    let mut seen = 0;
    for source in sources(&folders) {
        for found in name.captures_iter(&fs::read_to_string(&source).unwrap_or_default()) {
            seen += 1;
            let id = found.get(2).map_or("", |id| id.as_str());
            assert!(exists(&root().join(&found[1]), id), "{}: {}", source.display(), &found[0]);
        }
    }
    assert!(seen > 40, "only {seen} names of pages were found");
}

#[test]
fn the_summary_lists_every_page() {
    let summary = root().join("docs/SUMMARY.md");
    let links = links(&fs::read_to_string(&summary).unwrap());
    let listed: Vec<_> =
        links.iter().map(|link| root().join("docs").join(link).canonicalize().unwrap()).collect();
    for page in pages().into_iter().filter(|page| *page != summary) {
        let page = page.canonicalize().unwrap();
        assert!(listed.contains(&page), "docs/SUMMARY.md does not list {}", page.display());
    }
}

#[test]
fn every_page_of_measurements_begins_with_a_target() {
    let targets = fs::read_to_string(root().join("Makefile")).unwrap();
    let first = Regex::new(r"^# .+\n\n`make ([a-z-0-9]+)` .*(writes?|prints?) the ").unwrap();
    let measured = |page: &PathBuf| page.parent().unwrap().ends_with("docs/measured");
    let pages: Vec<_> = pages().into_iter().filter(measured).collect();
    assert!(pages.len() > 5, "only {pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let found =
            first.captures(&text).unwrap_or_else(|| panic!("{} names no target", page.display()));
        let rule = format!("\n{}:", &found[1]);
        assert!(targets.contains(&rule), "{} names make {}", page.display(), &found[1]);
    }
}

// holds: C334
#[test]
fn the_configs_of_the_docs_pass_check() {
    let mut seen = 0;
    for page in pages().into_iter() {
        let (_, blocks) = split(&fs::read_to_string(&page).unwrap());
        for (_, code) in blocks.iter().filter(|(language, code)| {
            language == "yaml" && code.lines().any(|line| line.starts_with("processes:"))
        }) {
            seen += 1;
            let rig = Rig::not_init();
            rig.write("drainit.yaml", code);
            let ended = rig.run_with(&["check", "--image=false", "-c", "DIR/drainit.yaml"]);
            // The files of an image are missing here, and an overlay may lack a command.
            let is_expected =
                |text: &str| text.ends_with("does not exist") || text.ends_with("has no `command`");
            let lines = ended.record.lines.iter().map(|line| &line.text);
            let errors = lines.filter(|text| text.starts_with("error:") && !is_expected(text));
            assert_eq!(errors.count(), 0, "{}:\n{code}\n{}", page.display(), ended.record);
        }
    }
    assert!(seen > 20, "only {seen} configs were found");
}

/// `<!-- S31, S32 -->` behind a sentence is the anchor of its promises. `// holds: S31` marks a
/// test that fails if the promise is broken, and `# holds: S31` marks a row of the fault matrix
/// that does so.
#[test]
fn every_promise_is_held_by_a_test() {
    let mut anchors = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for names in text.split("<!-- ").skip(1).filter_map(|rest| rest.split(" -->").next()) {
            for name in names.split(", ").filter(|name| is_promise(name)) {
                assert!(anchors.insert(name.to_owned()), "{} has {name} again", page.display());
            }
        }
    }
    let mut marks = BTreeSet::new();
    for source in sources(&["src", "crates", "tests"]) {
        let text = fs::read_to_string(&source).unwrap();
        let holds = text.lines().filter_map(|line| {
            line.trim_start().trim_start_matches(['/', '#']).strip_prefix(" holds: ")
        });
        marks.extend(holds.flat_map(|names| names.split(", ")).map(str::to_owned));
    }
    let without = |a: &BTreeSet<_>, b| a.difference(b).cloned().collect::<Vec<String>>();
    assert!(anchors.len() > 100, "only {} promises were found", anchors.len());
    assert!(anchors.is_subset(&marks), "nothing holds {:?}", without(&anchors, &marks));
    assert!(marks.is_subset(&anchors), "no page has {:?}", without(&marks, &anchors));
}

/// Whether this is the name of a promise: `S31` of the shutdown, or `C31` of the config. The
/// benches use other names to mark their tables.
fn is_promise(name: &str) -> bool {
    let number = name.strip_prefix(['S', 'C']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every text file below these directories whose language the project uses.
fn sources(directories: &[&str]) -> Vec<PathBuf> {
    let mut paths: Vec<_> = directories.iter().map(|name| root().join(name)).collect();
    let mut sources = Vec::new();
    while let Some(path) = paths.pop() {
        let kinds = ["rs", "py", "sh", "yaml", "yml", "md"];
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kinds.iter().any(|it| kind == *it)) {
            sources.push(path);
        }
    }
    sources
}

/// White text on amber has a contrast of 2.5, and a reader needs 4.5 (WCAG 2.2, 1.4.3).
#[test]
fn text_on_amber_is_dark() {
    let chart = fs::read_to_string(root().join("docs/shutdown.svg")).unwrap();
    let lines: Vec<_> = chart.lines().collect();
    let amber = lines.windows(2).filter(|pair| pair[0].contains("class=\"drains\""));
    let texts: Vec<_> = amber.map(|pair| pair[1]).collect();
    assert!(texts.len() > 1, "{chart}");
    assert!(texts.iter().all(|text| text.contains("class=\"dark\"")), "{texts:?}");
    assert!(chart.contains(".dark { fill: #24292f }"), "{chart}");
}
