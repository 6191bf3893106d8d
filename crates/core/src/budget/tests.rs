use super::*;

// holds: S75, S76, S77, S78, S218
#[test]
fn a_step_gets_what_later_steps_do_not_keep() {
    let s = Duration::from_secs;
    for (steps, kept, limit, keeps, left, granted) in [
        (1, 5, 10, 10, 20, 10),
        (1, 5, 10, 10, 12, 7),
        (1, 10, 28, 10, 28, 18),
        (1, 20, 28, 10, 28, 8),
        (1, 3600, 28, 10, 28, 10),
        (1, 10, 10, 10, 10, 5),
        (2, 20, 20, 20, 12, 4),
        (1, 10, 10, 10, 0, 0),
        (0, 0, 3600, 3600, 28, 28),
    ] {
        let times = Times { kept: s(kept), ..Times::default() };
        let later = Path { steps, times };
        let is = later.grants(s(limit), s(keeps), Some(s(left)));
        assert_eq!(is, s(granted), "{later:?} {limit} {keeps} {left}");
    }
}
