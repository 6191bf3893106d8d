//! Tests that `drainit plan` prints the figures of a config without starting anything.

use crate::support::*;

const CONFIG: &str = "
processes:
  engine: {command: [CHILD, engine], stop_grace_period: 4s}
  router:
    command: [CHILD, router]
    depends_on: [engine]
    drain: {exec: {command: [CHILD, drain], time: 12s}}
";

// holds: S91
#[test]
fn the_plan_is_shown_and_nothing_is_started() {
    let rig = Rig::not_init();
    rig.write("drainit.yaml", CONFIG);
    rig.run_with(&["plan", "-c", "DIR/drainit.yaml"])
        .assert_code(0)
        .assert_line(r"^  router +when engine is ready +ready as soon as it runs$")
        .assert_line(r"^  drain router +12s  #+$")
        .assert_line(r"^  stop engine +4s +#+$")
        .assert_no_event("router", "start");
}

// holds: S98, C473
#[test]
fn variables_do_not_set_a_grace_period_that_the_config_leaves_out() {
    let rig = Rig::not_init();
    rig.write("drainit.yaml", "processes: {a: {command: [a]}}");
    let names = ["TERMINATION_GRACE_PERIOD_SECONDS", "GRACE_PERIOD", "DRAINIT_GRACE_PERIOD"];
    let rig = names.into_iter().fold(rig, |rig, name| rig.env(name, "7"));
    let ended = rig.run_with(&["plan", "-c", "DIR/drainit.yaml", "--format", "json"]);
    let text: Vec<_> = ended.record.lines.iter().map(|line| line.text.as_str()).collect();
    let plan: serde_json::Value = serde_json::from_str(&text.concat()).unwrap();
    assert_eq!(plan["shutdown"]["deadline"], 28.0);
}
