//! Tests the examples for Prometheus and Grafana: the rules pass their own tests, and drainit has
//! every metric that the examples name.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use regex_lite::Regex;
use testkit::envoy::checkout;

use crate::support::example::is_installed;

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
