//! Tests plans of whole configs in every format.

use serde_json::json;

use crate::load::testing::load;
use crate::plan::{Plan, json, mermaid, svg, text};

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
    let mut lines = shown.lines().skip_while(|line| !line.starts_with("  At most")).skip(2);
    for expected in [
        "  readiness_delay                          2s  ####",
        "  pre_stop of the container                1s  --",
        "  drain router                            15s      ##########################",
        "  close router                          250ms                                |",
        "  stop logger                              1s                                --",
        "  stop router                           4.25s                                ########",
        "  post_stop router                      500ms                                        #",
        "  stop engine                              5s                                         #########",
        "  stop executor                            1s                                                  #",
        "  reserve                                  2s                                                   ....",
        "",
        "  Critical path (#): readiness_delay 2s + drain router 15s + close router 250ms +",
        "    stop router 4.25s + post_stop router 500ms + stop engine 5s + stop executor 1s",
        "",
        "Shutdown after an unasked end, with `min` as the longest wait of a drain",
        "",
    ] {
        assert_eq!(lines.next(), Some(expected), "{shown}");
    }
}

#[test]
fn cuts_are_reported() {
    let shown = text::text(&plan(GATEWAY, &[("GRACE", "20")]));
    let cut = "  drain router                    8.5s of 15s  ";
    assert!(shown.lines().any(|line| line.starts_with(cut)), "{shown}");
    let cut = "  Cut, because the waits do not fit: drain router gets 8.5s of 15s,";
    assert!(shown.lines().any(|line| line.starts_with(cut)), "{shown}");
}

#[test]
fn the_json_has_every_time() {
    let plan = plan(GATEWAY, &[("GRACE", "20")]);
    let value: serde_json::Value = serde_json::from_str(&json::json(&plan)).unwrap();
    let start = &value["start"];
    assert_eq!((&start["ready_by"], &start["pre_start"]), (&json!(null), &json!(null)));
    assert_eq!(
        start["processes"][2],
        json!({
            "name": "engine", "type": "service", "only_if_path_exists": null, "left_out": false, "pre_start": null,
            "waits_for": [
                {"process": "executor", "condition": "ready"},
                {"process": "migrate", "condition": "completed"},
            ],
            "readiness": "unix", "ready_within": 10.0, "ready_by": null,
        })
    );
    let shutdown = &value["shutdown"];
    assert_eq!(shutdown["grace_period"], 20.0);
    assert_eq!(shutdown["deadline"], 18.0);
    let case = &shutdown["after_signal"];
    assert_eq!((&case["total"], &case["fits"]), (&json!(18.0), &json!(false)));
    assert_eq!(case["critical_path"][1], "drain router");
    assert_eq!(
        case["steps"][2],
        json!({
            "name": "drain router", "step": "drain", "process": "router", "begins": 2.0, "ends": 10.5,
            "takes": 8.5, "wanted": 15.0, "declared": true, "cut": true, "critical": true, "min": 4.0,
        })
    );
    assert_eq!(shutdown["after_unasked_end"]["fits"], true);
    assert_eq!(shutdown["after_unasked_end"]["steps"][2]["takes"], 4.0);
}

#[test]
fn the_latest_start_adds_up_along_the_longest_path() {
    let text = "
hooks: {pre_start: {command: [x], timeout: 3s}}
processes:
  base: {command: [a], readiness: {tcp: '127.0.0.1:1', timeout: 4s}}
  side: {command: [a], readiness: {tcp: '127.0.0.1:2', timeout: 9s}}
  top:
    command: [a]
    depends_on: {base: {condition: ready}, side: {condition: started}}
    hooks: {pre_start: {command: [x], timeout: 1s}}
    readiness: {tcp: '127.0.0.1:3', timeout: 2s}
";
    let plan = plan(text, &[]);
    let by: Vec<_> = plan.start.iter().map(|start| start.ready_by.unwrap().as_secs()).collect();
    assert_eq!(by, [7, 12, 10]);
    assert_eq!(plan.ready_by().unwrap().as_secs(), 12);
}

#[test]
fn the_mermaid_chart_has_every_step_with_its_times() {
    let chart = mermaid::mermaid(&plan(GATEWAY, &[]));
    assert!(
        chart.starts_with("gantt\n    title Shutdown within 30s less 2s\n    dateFormat x\n"),
        "{chart}"
    );
    for line in [
        "    section After a stop signal",
        "    drain router 15s :crit, 2000, 17000",
        "    pre_stop of the container 1s :0, 1000",
        "    section After an unasked end",
        "    drain router 4s :crit, 2000, 6000",
        "    reserve :done, 28000, 30000",
    ] {
        assert!(chart.lines().any(|found| found == line), "{line}\n{chart}");
    }
}

#[test]
fn the_svg_has_a_bar_for_each_step() {
    let plan = plan(GATEWAY, &[("GRACE", "20")]);
    let picture = svg::svg(&plan);
    let bars = |colour: &str| picture.matches(&format!("fill=\"{colour}\"/>")).count();
    // The counts are those of the cut steps, the rest of the critical path, and all other steps.
    assert_eq!((bars("#e07b39"), bars("#1f9d72"), bars("#9aa3ad")), (3, 11, 4), "{picture}");
    // 2 s of 20 s are a tenth of the 570 pixels of the bars.
    assert!(picture.contains("<rect x=\"300.0\" y=\"60\" width=\"57.0\" "), "{picture}");
    assert!(picture.contains(">8.5s of 15s</text>"), "{picture}");
}

#[test]
fn a_process_that_is_left_out_takes_no_time() {
    let config = "
shutdown: {grace_period: 30s, reserve: 2s}
processes:
  debug: {command: [a], only_if: {value: x, is: y}, stop_grace_period: 20s, readiness: {tcp: '127.0.0.1:1'}}
  app: {command: [b], depends_on: [debug], stop_grace_period: 3s}
";
    let plan = plan(config, &[]);
    assert!(plan.start[0].left_out && !plan.start[1].left_out);
    assert_eq!(plan.ready_by(), Some(std::time::Duration::ZERO));
    let said = text::text(&plan);
    assert!(
        said.contains("\n  Critical path (#): stop app 3s + leftover processes 2s\n"),
        "{said}"
    );
    assert!(said.contains("left out") && !said.contains("stop debug"), "{said}");
}

#[test]
fn long_entries_take_several_lines() {
    let path = format!("/app/{}", "x".repeat(60));
    let config = format!(
        "processes:\n  app: {{command: [a], only_if: {{path_exists: {path}}}, readiness: {{file: /a, timeout: 5s}}}}"
    );
    let shown = text::text(&plan(&config, &[]));
    let expected =
        format!("  app  at once,\n       if {path} exists\n       ready (file) within 5s\n");
    assert!(shown.contains(&expected), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
}

#[test]
fn copies_stand_under_their_name() {
    let text = "processes: {a: {command: [a], scale: 3}, b: {command: [b], depends_on: [a]}}";
    let plan = plan(text, &[]);
    let shown = super::text::text(&plan);
    assert!(shown.contains("b    when a is ready  ready as soon"), "{shown}");
    assert!(shown.contains("a-3  at once"), "{shown}");
}
