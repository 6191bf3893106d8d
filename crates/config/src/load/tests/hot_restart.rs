//! Tests the checks of `update: hot-restart`.

use crate::load::testing::checked;

const RIGHT: &str = "--base-id 1 --drain-strategy immediate --parent-shutdown-time-s 20";
const READY: &str = "readiness: {envoy: 'unix:/run/admin${SCALE_INDEX:-0}.sock'}";
const DRAIN: &str = "drain: {envoy: {admin: 'unix:/run/admin${SCALE_INDEX:-0}.sock', time: 15s}}";

/// The problems that `check` finds in an Envoy with these flags and these keys, each as
/// `line:message; help`.
fn problems(flags: &str, keys: &[&str]) -> Vec<String> {
    let words: Vec<_> = flags.split_whitespace().collect();
    let text = format!(
        "shutdown: {{grace_period: 30s, readiness_delay: 0s}}\nprocesses:\n  router:\n    command: [envoy, -c, /envoy.yaml, {}]\n    update: hot-restart\n    {}\n",
        words.join(", "),
        keys.join("\n    ")
    );
    let found = checked(&text, &[]);
    let text = |help: &Option<String>| help.clone().unwrap_or_default();
    found.iter().map(|one| format!("{}:{}; {}", one.line, one.message, text(&one.help))).collect()
}

#[test]
fn an_envoy_with_all_flags_and_keys_is_accepted() {
    assert_eq!(problems(RIGHT, &[READY, DRAIN]), [""; 0]);
}

// holds: C334
#[test]
fn each_error_has_a_correction() {
    for (flags, keys, message, remedy) in [
        (RIGHT, &[READY][..], "5:`update: hot-restart` is for an Envoy", "`update: start-first`"),
        (
            RIGHT,
            &[DRAIN],
            "5:`update: hot-restart` of `router` needs a `readiness` that asks Envoy",
            "add `readiness",
        ),
        (
            "--disable-hot-restart",
            &[READY, DRAIN],
            "4:`--disable-hot-restart` of `router` excludes",
            "write `--base-id 1`",
        ),
        ("", &[READY, DRAIN], "4:`router` has no `--base-id`", "add `--base-id 1`"),
        (
            "--base-id 1 --restart-epoch 3",
            &[READY, DRAIN],
            "4:`--restart-epoch` of `router` is set by drainit",
            "remove it",
        ),
    ] {
        let found = problems(flags, keys);
        assert_eq!(found.len(), 1, "{flags} {keys:?}: {found:#?}");
        assert!(found[0].starts_with(message) && found[0].contains(remedy), "{found:#?}");
    }
}

#[test]
fn times_that_cut_connections_or_last_too_long_get_a_warning() {
    for (flags, message, remedy) in [
        (
            "--base-id 1",
            "lives for 15m (`--parent-shutdown-time-s`), and until then nothing else replaces it; a shutdown keeps at \
             most 28s for it",
            "set `--parent-shutdown-time-s 15`",
        ),
        (
            "--base-id 1 --parent-shutdown-time-s 20",
            "is ended after 20s (`--parent-shutdown-time-s`), but Envoy spreads the closing of its connections over 10m",
            "add `--drain-strategy immediate`",
        ),
    ] {
        let found = problems(flags, &[READY, DRAIN]);
        assert_eq!(found.len(), 1, "{flags}: {found:#?}");
        assert!(found[0].contains(message) && found[0].contains(remedy), "{found:#?}");
    }
}

#[test]
fn each_envoy_needs_a_separate_base_id() {
    let flags = format!("{RIGHT} --base-id-path /run/id");
    let found = problems(&flags, &[READY, DRAIN, "scale: 2"]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("`router-2` has the `--base-id 1` of `router-1`"), "{found:#?}");
    assert!(found[0].contains("${SCALE_INDEX}"), "{found:#?}");
}
