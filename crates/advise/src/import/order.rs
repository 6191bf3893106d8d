//! The order in which supervisord starts and stops programs, as `depends_on`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::import::draft::Draft;
use crate::import::hints::kind_of;
use crate::known::Kind;

const NOTHING_STARTS: &str = "Nothing starts by itself: every process has `autostart: false`. Remove this key where nobody runs `drainit start`.";

/// Adds `depends_on`. A process waits for the processes of the next lower priority, and thus for all
/// lower ones. A process with `waits` waits only for these.
pub(super) fn add(draft: &mut Draft) {
    let mut levels = BTreeMap::<_, BTreeSet<_>>::new();
    for (index, process) in draft.processes.iter().enumerate() {
        if let (Some(priority), true) = (process.order.priority, !process.has("autostart")) {
            levels.entry(priority).or_default().insert(index);
        }
    }
    let levels: Vec<_> = levels.into_values().collect();
    for pair in levels.windows(2) {
        for (before, after) in
            pair[0].iter().flat_map(|it| pair[1].iter().map(move |to| (*it, *to)))
        {
            need(draft, after, before, false);
        }
    }
    // These get no drain, and are only later in the order.
    let plain = [Some(Kind::Store), Some(Kind::Other)];
    let mut is_behind = false;
    for level in levels.iter().rev() {
        level.iter().for_each(|it| draft.processes[*it].order.is_behind = is_behind);
        is_behind |= level.iter().any(|it| !plain.contains(&kind_of(&draft.processes[*it])));
    }
    for index in 0..draft.processes.len() {
        for (program, is_end) in std::mem::take(&mut draft.processes[index].order.waits) {
            match draft.processes.iter().position(|it| it.order.program == program) {
                Some(before) => need(draft, index, before, is_end),
                None => draft.processes[index].lose(format!("the wait for {program}")),
            }
        }
    }
    if draft.processes.iter().all(|process| process.is_false("autostart")) {
        draft.notes.push(NOTHING_STARTS.to_owned());
    }
}

/// Lets a process depend on another one, perhaps on its end.
pub(super) fn need(draft: &mut Draft, process: usize, on: usize, is_end: bool) {
    // A oneshot is not restarted after each end.
    let is_oneshot = is_end && draft.processes[on].text("restart") != Some("always");
    if is_oneshot {
        draft.processes[on].set("type", "oneshot");
    }
    let condition = if is_oneshot { "completed" } else { "started" };
    let order = &mut draft.processes[on].order;
    (order.is_needed, order.is_behind) = (true, true);
    let name = draft.processes[on].name.clone();
    draft.processes[process].need(&name, json!({ "condition": condition }));
}
