use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A path of this number of steps that keep `kept` seconds.
fn path(steps: u32, kept: u64) -> Path {
    Path { steps, kept: s(kept), ..Path::default() }
}

// holds: S75, S76, S77, S78, S218
#[test]
fn a_step_gets_what_later_steps_do_not_keep() {
    for (later, limit, keeps, left, granted) in [
        (path(1, 5), 10, 10, 20, 10),
        (path(1, 5), 10, 10, 12, 7),
        (path(1, 10), 28, 10, 28, 18),
        (path(1, 20), 28, 10, 28, 8),
        (path(1, 3600), 28, 10, 28, 10),
        (path(1, 10), 10, 10, 10, 5),
        (path(2, 20), 20, 20, 12, 4),
        (path(1, 10), 10, 10, 0, 0),
        (path(0, 0), 3600, 3600, 28, 28),
    ] {
        let is = later.grants(s(limit), s(keeps), s(left));
        assert_eq!(is, s(granted), "{later:?} {limit} {keeps} {left}");
    }
}
