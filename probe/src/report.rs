//! The output: TAP 14, or JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rows::Row;
use crate::verdict::{Outcome, Verdict};

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// The Test Anything Protocol, version 14.
    Tap,
    /// One object.
    Json,
}

/// The result of one row.
pub struct Judged {
    /// The number of the row.
    pub number: usize,
    /// The row.
    pub row: &'static Row,
    /// Whether the row holds.
    pub outcome: Outcome,
    /// How long this took.
    pub took: Duration,
}

/// The first lines of TAP.
pub fn tap_head(count: usize) -> String {
    format!("TAP version 14\n1..{count}\n")
}

/// The lines of a row. TAP numbers the lines of one output, so the row's own number is in the block
/// below a failure.
pub fn tap(place: usize, judged: &Judged) -> String {
    let (row, name) = (judged.row, judged.row.name);
    match &judged.outcome {
        Ok(()) => format!("ok {place} - {name}\n"),
        // TAP reads `#` as the beginning of a directive.
        Err(Verdict::Skip(why)) => {
            format!("ok {place} - {name} # SKIP {}\n", one_line(why).replace('#', "\\#"))
        }
        Err(Verdict::Fail(found)) => {
            let fields = [
                ("level", row.level.word()),
                ("owes", row.owes),
                ("source", row.source),
                ("found", found),
            ];
            let lines =
                fields.map(|(field, text)| format!("  {field}: {}\n", json!(one_line(text))));
            format!(
                "not ok {place} - {name}\n  ---\n  row: {}\n{}  ...\n",
                judged.number,
                lines.concat()
            )
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// The object of all rows.
pub fn json(init: &[String], rows: &[Judged]) -> String {
    let each = rows.iter().map(|judged| {
        let (result, found) = match &judged.outcome {
            Ok(()) => ("pass", Value::Null),
            Err(Verdict::Fail(found)) => ("fail", json!(found)),
            Err(Verdict::Skip(why)) => ("skip", json!(why)),
        };
        let row = judged.row;
        json!({
            "number": judged.number, "name": row.name, "level": row.level.word(), "result": result, "found": found,
            "owes": row.owes, "source": row.source, "seconds": (judged.took.as_secs_f64() * 1000.0).round() / 1000.0,
        })
    });
    let all = json!({
        "program": "pid1-probe", "version": env!("CARGO_PKG_VERSION"), "init": init,
        "passed": count(rows, |outcome| outcome.is_ok()), "failed": count(rows, is_failure),
        "skipped": count(rows, |outcome| matches!(outcome, Err(Verdict::Skip(_)))), "rows": each.collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn is_failure(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Verdict::Fail(_)))
}

fn count(rows: &[Judged], fits: impl Fn(&Outcome) -> bool) -> usize {
    rows.iter().filter(|judged| fits(&judged.outcome)).count()
}

/// 0 if no row failed and at least one was judged, 1 if a row failed, and 2 if nothing could be
/// judged.
pub fn code(rows: &[Judged]) -> i32 {
    match (count(rows, is_failure), count(rows, Outcome::is_ok)) {
        (0, 0) => 2,
        (0, _) => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ROWS;
    use crate::verdict::{fail, skip};

    fn judged(outcome: Outcome) -> Judged {
        Judged { number: 4, row: &ROWS[3], outcome, took: Duration::from_millis(12) }
    }

    #[test]
    fn tap_has_a_line_for_each_result() {
        assert_eq!(tap(1, &judged(Ok(()))), "ok 1 - term-child\n");
        assert_eq!(tap(2, &judged(skip("no #1\nroot"))), "ok 2 - term-child # SKIP no \\#1 root\n");
        let failed = tap(3, &judged(fail("a \"word\"")));
        assert!(
            failed
                .starts_with("not ok 3 - term-child\n  ---\n  row: 4\n  level: \"must\"\n  owes: "),
            "{failed}"
        );
        assert!(failed.ends_with("  found: \"a \\\"word\\\"\"\n  ...\n"), "{failed}");
    }

    #[test]
    fn json_counts_the_results() {
        let rows = [judged(Ok(())), judged(fail("x")), judged(skip("y")), judged(fail("z"))];
        let object: Value = serde_json::from_str(&json(&["tini".to_owned()], &rows)).unwrap();
        assert_eq!(
            (&object["passed"], &object["failed"], &object["skipped"]),
            (&json!(1), &json!(2), &json!(1))
        );
        assert_eq!(object["rows"][3]["found"], "z");
        assert_eq!(object["rows"][0]["seconds"], 0.012);
    }

    #[test]
    fn the_exit_code_says_whether_a_row_failed_or_none_was_judged() {
        let of =
            |outcomes: Vec<Outcome>| code(&outcomes.into_iter().map(judged).collect::<Vec<_>>());
        assert_eq!(of(vec![Ok(()), skip("x")]), 0);
        assert_eq!(of(vec![Ok(()), fail("x"), skip("x")]), 1);
        assert_eq!(of(vec![skip("x"), skip("x")]), 2);
    }
}
