//! Draws configs.

use super::*;

/// Draws a config with up to four processes, each of any kind.
pub(super) fn draw(random: &mut Random) -> String {
    let mut text = "shutdown: {grace_period: 40s}\nprocesses:\n".to_owned();
    for number in 0..1 + random.below(4) {
        let mut keys = vec!["command: [x]".to_owned()];
        let is_oneshot = random.one_in(5);
        if is_oneshot {
            keys.push("type: oneshot".to_owned());
        } else {
            if random.one_in(2) {
                keys.push("readiness: {tcp: '127.0.0.1:1', timeout: 5s}".to_owned());
            }
            if random.one_in(3) {
                keys.push("liveness: {tcp: '127.0.0.1:1', retries: 2}".to_owned());
            }
            let drains = [
                "",
                "drain: {exec: {command: [d], time: 6s}}",
                "drain: {envoy: {admin: 'unix:/run/admin', time: 6s, min: 1s}}",
                "drain: {envoy: {admin: 'unix:/run/admin', time: 6s, min: 1s, until: requests}}",
            ];
            keys.extend([drains[random.below(4) as usize]].map(str::to_owned));
            if random.one_in(2) {
                keys.push("update: start-first".to_owned());
            }
        }
        let codes = ["", "", "success_codes: [3]", "success_codes: [9, 0, 3]"];
        keys.push(codes[random.below(4) as usize].to_owned());
        let restarts = ["", "restart: on-failure", "restart: always", "restart: always"];
        let restart = restarts[random.below(if is_oneshot { 2 } else { 4 }) as usize];
        keys.push(restart.to_owned());
        if !restart.is_empty() && random.one_in(2) {
            keys.push("restart_max: 1".to_owned());
        }
        keys.push(["", "on_exit: ignore", "on_exit: ignore"][random.below(3) as usize].to_owned());
        keys.push(["", "required: false"][random.below(2) as usize].to_owned());
        keys.push(["", "only_if: {path_exists: /x}"][usize::from(random.one_in(8))].to_owned());
        if random.one_in(4) {
            keys.push("hooks: {pre_stop: [h], post_stop: [h]}".to_owned());
        }
        if number > 0 {
            keys.push(["depends_on: []", "depends_on: [p0]"][random.below(2) as usize].to_owned());
        }
        keys.retain(|key| !key.is_empty());
        let _ = writeln!(text, "  p{number}: {{{}}}", keys.join(", "));
    }
    text
}
