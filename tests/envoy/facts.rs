//! Measures again those facts of the page about Envoy that take only seconds to measure.

use testkit::envoy::{TESTED, binary};

use crate::support::*;

// holds: S441
#[test]
fn the_cheap_rows_of_the_facts_are_as_the_page_says() {
    let page = fs::read_to_string(checkout().join("docs/measured/envoy-facts.md")).unwrap();
    assert!(page.contains(&format!("| | {} |", TESTED.join(" | "))), "a version has no column");
    let versions = [TESTED[0], TESTED[TESTED.len() - 1]];
    let are_there = versions.iter().try_for_each(|version| binary(version).map(drop));
    if !skip_unless(are_there.map_err(|error| error.to_string())) {
        return;
    }
    let mut facts = Command::new("python3");
    facts.arg("-B").arg(checkout().join("benches/facts/main.py"));
    let output = facts.args(["--check", "--versions", &versions.join(",")]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
