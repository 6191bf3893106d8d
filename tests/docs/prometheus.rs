//! Tests the examples for Prometheus and Grafana: the rules pass their own tests, and drainit has
//! every metric that the examples name.

use std::collections::BTreeSet;

use regex_lite::Regex;

use crate::support::*;

fn examples() -> PathBuf {
    checkout().join("examples/prometheus")
}

#[test]
fn rules_and_their_tests_are_right() {
    if !is_installed("promtool") {
        return;
    }
    for args in [
        ["check", "config", "prometheus.yaml"],
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ] {
        let output = Command::new("promtool").args(args).current_dir(examples()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "promtool {args:?}:\n{said}");
    }
}

#[test]
fn rules_and_dashboard_name_metrics_of_drainit_only() {
    let source = fs::read_to_string(checkout().join("src/control/metrics.rs")).unwrap();
    let name = Regex::new(r"\bdrainit_[a-z_]+").unwrap();
    let mut names = BTreeSet::new();
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = fs::read_to_string(examples().join(file)).unwrap();
        names.extend(name.find_iter(&text).map(|found| found.as_str().to_owned()));
    }
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "no metric {name}");
    }
}

// holds: S375
#[test]
fn the_dashboard_names_every_state_of_a_process() {
    let source = fs::read_to_string(checkout().join("src/control/status.rs")).unwrap();
    let states = Regex::new(r#""(waiting starting [a-z ]+)""#).unwrap();
    let states = states.captures(&source).unwrap().get(1).unwrap().as_str();
    let mut states: Vec<_> = states.split(' ').collect();
    assert_eq!(states.len(), 10);
    let text = fs::read_to_string(examples().join("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut panels = dashboard["panels"].as_array().unwrap().iter();
    let panel = panels.find(|panel| panel["title"] == "State of each process").unwrap();
    let query = panel["targets"][0]["expr"].as_str().unwrap();
    let shown = &panel["fieldConfig"]["defaults"]["mappings"][0]["options"];
    let number = Regex::new(r#"(\d+) \* drainit_process_state\{[^}]*state="([a-z]+)"\}"#).unwrap();
    let mut of_query = Vec::new();
    for [number, state] in number.captures_iter(query).map(|it| it.extract().1) {
        assert_eq!(shown[number]["text"], state, "{number}");
        assert!(number != "0" && shown[number]["color"].is_string(), "{state}");
        of_query.push(state);
    }
    states.sort_unstable();
    of_query.sort_unstable();
    assert_eq!(of_query, states);
}
