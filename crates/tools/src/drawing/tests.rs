//! Tests the drawings of plans and reports, and the reader of reports.

use serde_json::Value;

use crate::drawing::{plan, read, report};
use crate::journal::data::ShutdownReport;
use crate::load::testing::load;
use crate::plan::Plan;

/// The report of a gateway whose engine ignores its stop signal.
const REPORT: &str = include_str!("report.json");

const CONFIG: &str = "
shutdown: {grace_period: 20s, readiness_delay: 2s}
processes:
  engine: {command: [a], stop_grace_period: 5s}
  router:
    command: [a]
    depends_on: [engine]
    drain: {envoy: {admin: 'unix:/run/c.sock', time: 15s, min: 4s}}
  logger: {command: [a], stop_grace_period: 1s}
";

fn drawn_plan(config: &str) -> String {
    let loaded = load(&[config], &[]).unwrap();
    plan::svg(&Plan::new(&loaded.config, &loaded.graph), "gateway.yaml")
}

fn gateway() -> ShutdownReport {
    serde_json::from_str(REPORT).unwrap()
}

/// The JSON of the report, in which one value is replaced.
fn changed(pointer: &str, value: Value) -> String {
    let mut json: Value = serde_json::from_str(REPORT).unwrap();
    *json.pointer_mut(pointer).unwrap() = value;
    json.to_string()
}

/// The number of bars with these classes, without the legend.
fn bars(picture: &str, class: &str) -> usize {
    let of_class = format!("<rect class=\"{class}\" ");
    let is_bar = |line: &&str| line.starts_with(&of_class) && !line.contains("width=\"12\"");
    picture.lines().filter(is_bar).count()
}

// holds: S105, S373
#[test]
fn the_drawing_of_a_plan_has_a_bar_for_each_step() {
    let picture = drawn_plan(CONFIG);
    // Each of the two shutdowns has a drain and the close of the listeners after it. The first
    // shutdown cuts the drain.
    let counts = ["drain", "drain short", "stop", "stop aside", "wait", "start", "reserve"];
    let counts = counts.map(|class| bars(&picture, class));
    assert_eq!(counts, [3, 1, 4, 2, 2, 3, 2], "{picture}");
    // The `readiness_delay` takes 2 s of 20 s.
    let tenth = format!("width=\"{:.1}\"", crate::drawing::BARS / 10.0);
    let delay = picture.lines().find(|line| line.starts_with("<rect class=\"wait\"")).unwrap();
    assert!(delay.contains("x=\"340.0\"") && delay.contains(&tenth), "{delay}");
    assert!(picture.contains(" of 15s</text>"), "{picture}");
    // The image has the axis, the legend and the name of the config.
    for text in
        [">10s</text>", ">cut: gets less than declared<", ">drain<", ">Start of gateway.yaml<"]
    {
        assert!(picture.contains(text), "{text}: {picture}");
    }
    assert!(!picture.contains(">killed<") && picture.contains("prefers-color-scheme: dark"));
}

// holds: S373
#[test]
fn texts_fit_with_any_font() {
    let long = "a-process-with-a-name-as-long-as-any";
    let picture = drawn_plan(&format!("processes: {{{long}: {{command: [a]}}}}"));
    let label = picture.lines().find(|line| line.contains(&format!(">{long}<"))).unwrap();
    assert!(label.contains("textLength=\"200\""), "{label}");
}

#[test]
fn the_drawing_of_a_plan_names_the_oneshot_that_makes_the_stop_longer() {
    let picture = drawn_plan(
        "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  migrate: {command: [a], type: oneshot, stop_grace_period: 8s}
  app: {command: [a], depends_on: {migrate: {condition: completed}}, stop_grace_period: 4s}
",
    );
    assert!(picture.contains(", while migrate runs 16s; the deadline "), "{picture}");
}

// holds: S142, S374
#[test]
fn the_pictures_of_the_docs_are_drawn_by_this_code() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let name = "examples/gateway/drainit.yaml";
    let config = std::fs::read_to_string(format!("{root}/{name}")).unwrap();
    let loaded = load(&[&config], &[]).unwrap();
    let plan = plan::svg(&Plan::new(&loaded.config, &loaded.graph), name);
    for (file, drawn) in [("plan.svg", plan), ("report.svg", report::svg(&gateway()))] {
        let file = format!("{root}/docs/{file}");
        if std::env::var_os("DRAINIT_WRITE_REFERENCE").is_some() {
            std::fs::write(&file, &drawn).unwrap();
        }
        let shown = std::fs::read_to_string(&file).unwrap();
        assert!(
            shown == drawn,
            "{file} is old: `DRAINIT_WRITE_REFERENCE=1 cargo test -p drainit-tools` draws it"
        );
    }
}

#[test]
fn a_report_is_found_in_a_file_and_in_a_log() {
    let report = gateway();
    let (json, mut value) = (report.json(), serde_json::to_value(&report).unwrap());
    let line = |json: &str| format!("{{\"time\":\"t\",\"message\":\"m\",\"report\":{json}}}");
    value["exit_code"] = 3.into();
    for text in [
        json.clone(),
        format!("{json}\n"),
        format!("{value:#}").replace("\"exit_code\": 3", "\"exit_code\": 137"),
        line(&json),
        format!("{:#}\n", serde_json::from_str::<serde_json::Value>(&line(&json)).unwrap()),
        // If a log has several reports, the last one counts. Other lines may follow the report.
        format!(
            "starting\n{}\ngw-1  | {}\n{{\"message\":\"bye\"}}\n{{\"report\":7\n",
            line(&value.to_string()),
            line(&json)
        ),
    ] {
        assert_eq!(read::find(&text).as_ref(), Ok(&report), "{text}");
    }
    // A report of a later version of drainit may have more fields.
    value["exit_code"] = 137.into();
    value["more"] = serde_json::json!({"a": [1]});
    assert_eq!(read::find(&value.to_string()), Ok(report));
}

// holds: S144, S206
#[test]
fn other_input_than_a_report_is_refused_with_the_reason() {
    let deep = "[".repeat(100_000);
    for (text, reason) in [
        (String::new(), "it has no report: pass the file of `shutdown: {report: FILE}`"),
        ("a log\nin text\n".to_owned(), "it has no report"),
        ("{\"message\":\"a\"}\n{\"message\":\"b\"}\n".to_owned(), "it has no report"),
        (deep, "it has no report"),
        ("{\"version\": 1,".to_owned(), "not JSON: EOF"),
        ("{}".to_owned(), "it has no `version`"),
        ("{\"report\": {}}".to_owned(), "it has no `version`"),
        ("{\"version\": 1}".to_owned(), "missing field `drainit`"),
        (changed("/version", 2.into()), "version 2, and this drainit reads version 1"),
        (changed("/version", "1".into()), "it has no `version`"),
        (changed("/took", "long".into()), "invalid type: string \"long\""),
    ] {
        let error = read::find(&text).unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn names_in_a_drawing_are_escaped() {
    let mut report = gateway();
    let name = "</text><script>\u{1b}[31m\u{202e}&amp;".repeat(20);
    for process in &mut report.processes {
        process.name.clone_from(&name);
    }
    report.steps[1].name.clone_from(&name);
    report.warnings.push(name.clone());
    report.cause.text.clone_from(&name);
    report.t0.clone_from(&name);
    let shown = report::svg(&report);
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    assert!(!shown.contains("<script") && !shown.contains("</text></text>"), "{shown}");
}

#[test]
fn strange_reports_are_drawn() {
    let empty = ShutdownReport {
        processes: Vec::new(),
        steps: Vec::new(),
        phases: Vec::new(),
        took: 0.0,
        deadline: 0.0,
        grace_period: 0.0,
        ..gateway()
    };
    let mut backwards = gateway();
    backwards.deadline = 20.0;
    for step in &mut backwards.steps {
        (step.begins, step.ends) = (step.ends, step.begins.map(|begins| begins - 100.0));
        step.planned = None;
    }
    let mut unfinished = gateway();
    unfinished.start.ready = None;
    for (step, process) in unfinished.steps.iter_mut().zip(&mut unfinished.processes) {
        (step.ends, process.ready, process.end) = (None, None, None);
    }
    let endless = ShutdownReport { took: 1e300, deadline: -1e300, ..gateway() };
    for report in [empty, backwards, unfinished, endless] {
        let svg = report::svg(&report);
        assert!(svg.starts_with("<svg ") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.contains("width=\"-"), "{svg}");
    }
}
