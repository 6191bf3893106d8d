//! Tests the checks of `update: hot-restart`.

use super::*;
use crate::load::Severity;

const RIGHT: &str = "--base-id 1 --drain-strategy immediate --parent-shutdown-time-s 20";
const READY: &str = "readiness: {envoy: 'unix:/run/admin${SCALE_INDEX:-0}.sock'}";
const DRAIN: &str = "drain: {envoy: {admin: 'unix:/run/admin${SCALE_INDEX:-0}.sock', time: 15s}}";

// holds: C334
#[test]
fn each_mistake_has_a_correction() {
    let (all, copies) = (&[READY, DRAIN][..], [READY, DRAIN, "scale: 2"]);
    let path = format!("{RIGHT} --base-id-path /run/id");
    for (flags, keys, message, remedy) in [
        (RIGHT, all, "", ""),
        (RIGHT, &[READY], "5:`update: hot-restart` is for an Envoy", "`update: start-first`"),
        (RIGHT, &[DRAIN], "`router` needs a `readiness` that asks Envoy", "add `readiness"),
        ("--disable-hot-restart", all, "4:`--disable-hot-restart` of `router`", "`--base-id 1`"),
        ("", all, "4:`router` has no `--base-id`", "add `--base-id 1`"),
        (
            "--base-id 1 --restart-epoch 3",
            all,
            "4:`--restart-epoch` of `router` is set by drainit",
            "remove it",
        ),
        // Times that cut connections or last too long.
        (
            "--base-id 1",
            all,
            "lives for 15m (`--parent-shutdown-time-s`), and until then nothing else replaces it; a shutdown keeps at \
             most 28s for it",
            "set `--parent-shutdown-time-s 15`",
        ),
        (
            "--base-id 1 --parent-shutdown-time-s 20",
            all,
            "is ended after 20s (`--parent-shutdown-time-s`), but Envoy spreads the closing of its connections over 10m",
            "add `--drain-strategy immediate`",
        ),
        (&path, &copies, "`router-2` has the `--base-id 1` of `router-1`", "${SCALE_INDEX}"),
    ] {
        let words: Vec<_> = flags.split_whitespace().collect();
        let text = format!(
            "shutdown: {{grace_period: 30s, readiness_delay: 0s}}\nprocesses:\n  router:\n    command: [envoy, -c, /envoy.yaml, {}]\n    update: hot-restart\n    {}\n",
            words.join(", "),
            keys.join("\n    ")
        );
        let mut found = checked(&text, &[]);
        found.retain(|one| one.severity != Severity::Note);
        assert_eq!(found.len(), usize::from(!message.is_empty()), "{text}{found:#?}");
        for one in found {
            let line = format!("{}:{}", one.line, one.message);
            assert!(line.contains(message), "{text}{line}");
            assert!(one.help.as_ref().is_some_and(|help| help.contains(remedy)), "{text}{one}");
        }
    }
}
