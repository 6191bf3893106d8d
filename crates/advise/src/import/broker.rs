//! The order of a worker, a server and their broker, if all of them are in the draft. The server
//! stops first, then the worker when its queue is empty, then the broker, with which the jobs that
//! are left end.

use serde_json::json;

use crate::import::draft::Draft;
use crate::import::hints::kind_of;
use crate::import::order::need;
use crate::known::{Kind, Known, find};

const WHY: &str = "jobs that are left end with the broker, so the servers stop first, then this worker when its queue is empty: see \
                   docs/workers.md";
const NAMES: &str = "`hooks`: name each queue that the worker reads";
const HOOK: &str = "write a `hooks.pre_stop` that waits until the queue is empty";

/// Lets servers depend on a known worker, and the worker on its broker.
pub(super) fn add(draft: &mut Draft) {
    let mut has_changed = false;
    for worker in 0..draft.processes.len() {
        let of = |index: usize, kind: Kind| {
            let process = &draft.processes[index];
            let is_service = !process.has("type") && !process.has("autostart");
            find(&process.command_words()).filter(|it| is_service && it.kind == kind)
        };
        let Some(known) = of(worker, Kind::Worker) else { continue };
        let holds = |it: &Known| it.may_hold_jobs_of(Some(&known));
        let broker = (0..draft.processes.len())
            .find_map(|at| Some((at, of(at, Kind::Store).filter(holds)?)));
        let Some((broker, store)) = broker else { continue };
        let below = draft.below();
        let servers = (0..draft.processes.len()).filter(|at| {
            let process = &draft.processes[*at];
            // An unknown program may enqueue jobs, too.
            let plain = [Some(Kind::Store), Some(Kind::Worker), Some(Kind::Other)];
            let is_server = !process.has("type") && !plain.contains(&kind_of(process));
            is_server && !below[broker].contains(at)
        });
        let servers: Vec<_> = servers.collect();
        if servers.is_empty() || below[broker].contains(&worker) {
            continue;
        }
        has_changed = true;
        // An order by priority, in which the worker stops first, would lose jobs.
        let leads =
            |at: usize| servers.contains(&at) || below[at].iter().any(|it| servers.contains(it));
        let before =
            (0..draft.processes.len()).filter(|at| below[worker].contains(at) && leads(*at));
        for at in before.collect::<Vec<_>>() {
            let name = draft.processes[at].name.clone();
            draft.processes[worker].need_no_more(&name);
        }
        need(draft, worker, broker, false);
        servers.iter().for_each(|server| need(draft, *server, worker, false));
        let words = |at: usize| draft.processes[at].command_words();
        let script = script((&known, &words(worker)), (&store, &words(broker)));
        let process = &mut draft.processes[worker];
        process.note(WHY);
        match script {
            Some(script) => {
                process.note(NAMES);
                let hook = json!({ "command": ["sh", "-c", script], "timeout": "20s" });
                process.set("hooks", json!({ "pre_stop": hook }));
            }
            None => process.note(HOOK),
        }
    }
    if has_changed {
        look_who_is_behind(draft);
    }
}

/// Finds the processes of which a dependent may need a drain before.
fn look_who_is_behind(draft: &mut Draft) {
    let plain = [Some(Kind::Store), Some(Kind::Other)];
    let needs_none: Vec<_> =
        draft.processes.iter().map(|it| plain.contains(&kind_of(it))).collect();
    let below = draft.below();
    for (at, process) in draft.processes.iter_mut().enumerate() {
        let is_above = |above: usize| below[above].contains(&at) && !needs_none[above];
        process.order.is_behind = (0..below.len()).any(is_above);
    }
}

/// A script that waits until the queue of Celery is empty, and no prefetched job is left; `None` for
/// other workers, whose queues have names of the user.
fn script(
    (worker, words): (&Known, &[String]),
    (store, of_store): (&Known, &[String]),
) -> Option<String> {
    let is_redis = ["redis", "valkey", "keydb"].iter().find(|it| store.name.starts_with(**it));
    let cli = is_redis.filter(|_| worker.name == "celery")?;
    let port = of_store.windows(2).find(|it| it[0] == "--port" && it[1] != "6379");
    let port = port.map(|it| format!(" -p {}", it[1])).unwrap_or_default();
    let queues = words.iter().enumerate().find_map(|(at, it)| match it.strip_prefix("--queues=") {
        Some(names) => Some(names),
        None if it == "-Q" || it == "--queues" => words.get(at + 1).map(String::as_str),
        None => None,
    });
    let queues = queues.unwrap_or("celery").replace(',', " ");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.: ".contains(c);
    let is_safe = queues.chars().all(is_plain) && port.chars().all(is_plain);
    let ask = format!("{cli}-cli{port} -r 2 -i 0.2 exists {queues} unacked");
    is_safe.then(|| format!("while {ask} | grep -q \"[1-9]\"; do :; done"))
}
