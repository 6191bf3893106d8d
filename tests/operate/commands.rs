//! Tests `drainit stop`, `start` and `restart`.

use crate::support::Rig;

#[test]
fn a_pattern_selects_processes_by_the_beginning_of_the_name() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "
        processes:
          app:
            command: [CHILD, 'app-${SCALE_INDEX}', print=serving, 'on=USR1:print:heard-${SCALE_INDEX}']
            scale: 3
            readiness: {log: ^serving$}
          app-migrate: {command: [CHILD, migrate, print=migrated, exit=0], type: oneshot}
          app-off: {command: [CHILD, off], only_if: {path_exists: DIR/nothing}}
          other: {command: [CHILD, other, print=up], update: start-first, readiness: {log: ^up$}}
        ",
    );
    let copies = || ["app-1", "app-2", "app-3"].map(|copy| drainit.state(copy));
    let before = copies();
    let shown = drainit.exec(&["status", "app-*"]).stdout;
    assert!(
        shown.contains("app-1") && shown.contains("app-3") && !shown.contains("other"),
        "{shown}"
    );
    drainit.exec(&["restart", "app"]).assert(1, "there is no process `app`; did you mean `app-*`?");
    drainit.exec(&["kill", "-s", "USR1", "app-*"]).assert(0, "");
    drainit.wait_for_line("heard-3");
    // A pattern skips processes that have completed or are left out.
    drainit.exec(&["restart", "app-*"]).assert(0, "");
    drainit
        .exec(&["restart", "app-o*"])
        .assert(1, "these processes are left out or have completed");
    drainit.exec(&["restart", "app-off"]).assert(1, "app-off is left out");
    assert_eq!(drainit.state("app-migrate").0, "done");
    for (before, after) in before.iter().zip(copies()) {
        assert!(after.0 == "ready" && after.1 != before.1, "{after:?}");
    }
    // A process that is named twice is restarted once.
    drainit.exec(&["restart", "other", "app-1", "other", "app*"]).assert(0, "");
    drainit.wait_for_line("restart of other, app-1, app-2, app-3 requested");
    drainit.exec(&["restart", "app-*", "other"]).assert(0, "");
    drainit.wait_for_line(r"restart of app-1, app-2, app-3, other requested by pid \d+ \(uid 0\)");
    drainit.exec(&["stop", "app-*"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "stopped"));
    drainit.exec(&["start", "app-*"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "ready"));
    let ended = drainit.stop();
    ended.assert_code(0).assert_order(&[
        "app-1 got SIGTERM",
        "app-2 got SIGTERM alive:app-1",
        "app-3 got SIGTERM alive:app-1+app-2",
    ]);
}
