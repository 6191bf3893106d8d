//! Tests that processes start in the order of the graph without delay, and tests failed starts.

use crate::support::Rig;

#[test]
fn a_failed_start_ends_the_others_in_order_and_gives_the_exit_code() {
    let Some(rig) = Rig::new() else { return };
    let ended = rig.run(
        "
        processes:
          base:
            command: [CHILD, base, unix=DIR/base.sock]
            readiness: {unix: DIR/base.sock}
          side:
            command: [CHILD, side, touch=DIR/side]
            depends_on: [base]
            readiness: {file: DIR/side}
          broken:
            command: [CHILD, broken, 'lines=15,out', 'elines=15,err', exit=3]
            depends_on: [side]
            readiness: {unix: DIR/broken.sock}
            log: {file: DIR/brk.log}
          never: {command: [CHILD, never], depends_on: [broken]}
        ",
    );
    ended
        .assert_code(3)
        .assert_line(r"^\[drainit\].*broken: exited with code 3")
        .assert_line(r"^\[drainit\].*broken exited with code 3 before it was ready")
        .assert_stopped_in_order(&["side", "base"])
        .assert_no_event("never", "start");
    // The lines go to a file, so drainit repeats the last 20 lines in its own log.
    let is_repeated =
        |line: &str| ended.record.line(&format!(r"^\[drainit\] .* {line}$")).is_some();
    assert!(is_repeated("out 14") && is_repeated("err 14"), "{}", ended.record);
    let number = |line: &&str| is_repeated(line);
    let all: Vec<String> = (0..15).flat_map(|n| [format!("out {n}"), format!("err {n}")]).collect();
    assert_eq!(all.iter().map(String::as_str).filter(number).count(), 20, "{}", ended.record);
    // drainit does not repeat lines that it has just logged.
    let Some(rig) = Rig::new() else { return };
    let ended =
        rig.run("processes: {a: {command: [CHILD, a, 'lines=3,out', exit=3], log: {prefix: a}}}");
    ended.assert_line(r"^\[a\] out 2").assert_no_line(r"^\[drainit\].*out 2|last lines");
}
