//! Tests the plans of whole configs, as text, as JSON and as a chart.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::testing::load;
use crate::plan::{Plan, json, mermaid, text};

const GATEWAY: &str = "
shutdown: {grace_period: '${GRACE:-30}', readiness_delay: 2s}
hooks: {pre_stop: {command: [x], timeout: 1s}}
processes:
  migrate: {command: [a], type: oneshot, hooks: {pre_start: [b]}}
  executor:
    command: [a]
    only_if: {path_exists: /app/plugin}
    readiness: {unix: /run/a.sock, timeout: 15s}
  engine:
    command: [a]
    depends_on: {executor: {condition: ready}, migrate: {condition: completed}}
    readiness: {unix: /run/b.sock, timeout: 10s}
    stop_grace_period: 5s
  router:
    command: [a]
    depends_on: [engine]
    hooks: {post_stop: {command: [b], timeout: 500ms}}
    drain: {envoy: {admin: 'unix:/run/c.sock', time: 15s, min: 4s}}
  logger: {command: [a], stop_grace_period: 1s}
";

fn plan(text: &str, environment: &[(&str, &str)]) -> Plan<'static> {
    let loaded = Box::leak(Box::new(load(&[text], environment).unwrap()));
    Plan::new(&loaded.config, &loaded.graph)
}

#[test]
fn the_longest_drain_leaves_the_times_of_later_steps() {
    let longest = |gateway: &str, app: &str| {
        let config = format!(
            "shutdown: {{grace_period: 30s, reserve: 2s}}
processes:
  app: {{command: [app], stop_grace_period: 6s, drain: {{signal: {{signal: TERM{app}}}}}}}
  gateway: {{command: [gateway], stop_grace_period: 4s, depends_on: [app], drain: {{signal: {{signal: TERM{gateway}}}}}}}
  other: {{command: [other], depends_on: []}}
"
        );
        plan(&config, &[]).longest_drain().as_secs()
    };
    // The drain of the gateway leaves 4 s and 6 s for both stops, and that of the app leaves 6 s.
    assert_eq!(longest("", ", time: 3s"), 18);
    assert_eq!(longest(", time: 3s", ""), 22);
    assert_eq!(longest(", time: 3s", ", time: 5s"), 5);
    assert_eq!(longest(", time: 0s", ", time: 0s"), 0);
}

// holds: S94, S863, C149
#[test]
fn the_text_fits_on_a_terminal() {
    let shown = text::text(&plan(GATEWAY, &[]));
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let expected = "\
Start

  migrate   at once                                      pre_start within 10s; must complete
  executor  at once, if /app/plugin exists               ready (unix) within 15s
  engine    when executor is ready, migrate is complete  ready (unix) within 10s
  router    when engine is ready                         ready as soon as it runs
  logger    at once                                      ready as soon as it runs

  No latest time: a oneshot may take any time.

Shutdown after a stop signal

  At most 28s; the deadline is at 28s: grace_period 30s less reserve 2s.

";
    assert!(shown.starts_with(expected), "{shown}");
    let bars = "
  readiness_delay                          2s  ####
  pre_stop of the container                1s  --
  drain router                            15s      ##########################
  close router                          1.38s                                ##
  stop logger                              1s                                  --
  stop router                           3.13s                                  ######
  post_stop router                      500ms                                        #
  stop engine                              5s                                         #########
  stop executor                            1s                                                  #
  reserve                                  2s                                                   ....

  Critical path (#): readiness_delay 2s + drain router 15s + close router 1.38s +
    stop router 3.13s + post_stop router 500ms + stop engine 5s + stop executor 1s

  At the latest, drainit begins to stop logger at 18.38s, stop router at 18.38s, stop engine at 22s,
    stop executor at 27s

Shutdown after a process ends unexpectedly, where a drain waits at most `min`

";
    assert!(shown.contains(bars), "{shown}");
}

/// The bars of the plan show the longest shutdown without the oneshot. A line below the bars gives
/// the longest shutdown while the oneshot runs.
// holds: S103, S173
#[test]
fn a_oneshot_that_still_runs_makes_the_shutdown_longer() {
    let config = "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  migrate: {type: oneshot, command: [a], stop_grace_period: 8s}
  seed: {type: oneshot, command: [a], stop_grace_period: 1s, depends_on: [migrate]}
  logger: {command: [a], stop_grace_period: 500ms}
  app: {command: [a], stop_grace_period: 1s, depends_on: [seed], drain: {exec: {command: [x], time: 3s}}}
";
    let plan = plan(config, &[]);
    let shown = text::text(&plan);
    let first = "
  At most 16s; the deadline is at 19s: grace_period 20s less reserve 1s. Nobody uses 3s.
  Once every oneshot is complete, as drawn here, at most 12s.

  drain app ";
    let last = "\n  While migrate runs, up to 16s: stop migrate 8s + leftover processes 8s\n";
    assert!(shown.contains(first) && shown.contains(last), "{shown}");
    assert_eq!(plan.longest().as_secs(), 8);
    let value: Value = serde_json::from_str(&json::json(&plan)).unwrap();
    let case = &value["shutdown"]["after_signal"];
    assert_eq!(case["total"], 12.0);
    let path = json!(["stop migrate", "leftover processes"]);
    let expected = json!({"process": "migrate", "total": 16.0, "critical_path": path});
    assert_eq!(case["in_oneshot"], expected);
    // The stop of the logger now takes longer than the oneshot, and the logger does not wait for
    // the oneshot. Therefore the oneshot does not make the shutdown longer.
    let config = config.replace("500ms", "9s");
    let plan = self::plan(&config, &[]);
    assert!(plan.signal_in_oneshot.is_none(), "{}", text::text(&plan));
}

// holds: S92
#[test]
fn a_oneshot_completes_in_the_plan_with_any_success_codes() {
    let longest = |codes: &str| {
        let oneshot = format!("a: {{command: [a], type: oneshot, success_codes: {codes}}}");
        let app = "b: {command: [b], drain: {envoy: {admin: 'unix:/a'}}}";
        plan(&format!("processes: {{{oneshot}, {app}}}"), &[]).after_signal.total
    };
    assert_eq!(longest("[0]"), longest("[3]"));
}

/// drainit makes a plan at each start, so a long wait for leftovers must not take more steps.
#[test]
fn a_plan_costs_the_same_with_a_long_grace_period() {
    let text =
        "shutdown: {grace_period: '${GRACE}'}\nprocesses: {a: {command: [a], type: oneshot}}";
    let cost = |grace: &str| {
        let runs = (0..3).map(|_| {
            let began = Instant::now();
            drop(plan(text, &[("GRACE", grace)]));
            began.elapsed()
        });
        runs.min().unwrap()
    };
    let (short, long) = (cost("30s"), cost("1d"));
    assert!(long < 20 * short.max(Duration::from_millis(2)), "{short:?}, {long:?}");
}

// holds: S95, S96, C657
#[test]
fn cuts_are_reported() {
    let shown = text::text(&plan(GATEWAY, &[("GRACE", "20")]));
    // The stop of the router gets 3.82 s of 10 s, but the plan does not list it as cut, because the
    // config does not set the 10 s.
    let cuts = "\n  Cut, because the waits do not fit: drain router gets 8.25s of 15s\n\n";
    for cut in ["\n  drain router                   8.25s of 15s  ", cuts] {
        assert!(shown.contains(cut), "{shown}");
    }
}

/// A config whose plan has every kind of step, and every word with which the plan describes a
/// start.
const WHOLE: &str = "
shutdown: {grace_period: 12s, reserve: 2s, readiness_delay: 1s}
hooks:
  pre_start: {command: [x], timeout: 3s}
  pre_stop: {command: [x], timeout: 500ms}
  post_stop: {command: [x], timeout: 1s}
processes:
  router:
    command: [a]
    depends_on: {engine: {condition: started}}
    hooks: {pre_stop: {command: [b], timeout: 500ms}, post_stop: {command: [b], timeout: 250ms}}
    drain: {envoy: {admin: 'unix:/run/c.sock', time: 4s, min: 1s}}
    readiness: {tcp: '127.0.0.1:1', timeout: 2s}
  side:
    command: [a]
    depends_on: [engine, migrate]
    drain: {envoy: {admin: 'unix:/run/d.sock', time: 2s}}
    stop_grace_period: 1s
  engine:
    command: [a]
    only_if: {path_exists: /app/plugin}
    hooks: {pre_start: {command: [b], timeout: 1s}}
    stop_grace_period: 1s
  debug: {command: [a], only_if: {value: x, is: y}}
  migrate: {command: [a], type: oneshot}
";

// holds: S97, S99, S100, S101, S102, S103, S104, C195
#[test]
fn the_json_has_every_word_of_the_start_and_every_step() {
    let value: Value = serde_json::from_str(&json::json(&plan(WHOLE, &[]))).unwrap();
    let expected: Value = serde_json::from_str(include_str!("whole.json")).unwrap();
    let lines = |value: &Value| format!("{value:#}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (found, expected) = (lines(&value), lines(&expected));
    let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!((differ, found.len()), (None, expected.len()), "{value:#}");
    // If no process is a oneshot, there is a time by which all processes are ready at the latest.
    let services = plan(&WHOLE.replace(", type: oneshot", ""), &[]);
    let value: Value = serde_json::from_str(&json::json(&services)).unwrap();
    assert_eq!(value["start"]["ready_by"], 6.0);
    let shown = text::text(&services);
    assert!(shown.contains("  ready (tcp) within 2s, by 6s\n"), "{shown}");
}

// holds: C684
#[test]
fn autostart_false_has_no_ready_by() {
    let plan = plan(
        "processes: {a: {command: [a]}, b: {command: [b], depends_on: [a], autostart: false},
                     c: {command: [c], depends_on: [b], profiles: [p], autostart: false}}",
        &[],
    );
    let shown = text::text(&plan);
    let expected = "
  a  at once                              ready as soon as it runs
  b  by `drainit start`                   ready as soon as it runs
  c  left out by `only_if` or `profiles`

  Everything is ready at once.
";
    assert!(shown.contains(expected) && shown.contains("stop b"), "{shown}");
    let json: Value = serde_json::from_str(&json::json(&plan)).unwrap();
    assert_eq!(json["start"]["processes"][1]["ready_by"], Value::Null);
}

// holds: S105
#[test]
fn the_chart_has_a_row_for_each_step() {
    let shown = mermaid::mermaid(&plan(GATEWAY, &[]), "a: #1;");
    let expected = "\
gantt
    title a   1 
    dateFormat x
    axisFormat %ss
    todayMarker off
    section Start
    start migrate at any time :milestone, 0, 0
    start executor by 15s :0, 15000
";
    assert!(shown.starts_with(expected), "{shown}");
    // The drain is on the critical path, and the hook of the container is not.
    for row in [
        "    pre_stop of the container 1s :done, 0, 1000\n",
        "    drain router 15s :active, 2000, 17000\n",
        "    reserve 2s :done, 28000, 30000\n",
    ] {
        assert!(shown.contains(row), "{row}{shown}");
    }
    let cut = mermaid::mermaid(&plan(GATEWAY, &[("GRACE", "20")]), "a");
    assert!(cut.contains(" of 15s :crit, active, "), "{cut}");
    let slow = "processes: {a: {command: [a], readiness: {unix: /a, timeout: 5s}}, b: {command: [b], \
                depends_on: {a: {condition: started}}, readiness: {unix: /b, timeout: 3s}}}";
    assert!(mermaid::mermaid(&plan(slow, &[]), "a").contains("    start b by 3s :0, 3000\n"));
}
