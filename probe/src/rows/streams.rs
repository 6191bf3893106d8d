//! The rows about descriptors, the environment and the directory.

use std::io::Write;

use super::{furnished, ordinary};
use crate::room::{Init, SOON, Setup, Streams, VARIABLE};
use crate::verdict::{Outcome, check, fail};

/// Words that nothing but the probe writes.
const WORDS: [&str; 2] = ["probe-words-to-stdout", "probe-words-to-stderr"];

pub(super) fn stdin(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    if let Some(stdin) = &mut room.stdin {
        stdin.write_all(b"probe-words\n")?;
    }
    puppet.ask("read");
    // A child that waits for words forever is judged as one without.
    let read = puppet.hear_any(&["read".to_owned()], SOON).unwrap_or_default();
    check(read == "read probe-words", || {
        "the child did not read what the init has on stdin".to_owned()
    })
}

pub(super) fn output(init: &Init) -> Outcome {
    let (room, mut puppet) = ordinary(init)?;
    for (fd, words) in [(1, WORDS[0]), (2, WORDS[1])] {
        puppet.ask(&format!("write {fd} 0 {words}"));
    }
    check(room.stdout.says(WORDS[0], SOON), || {
        "stdout of the child does not reach stdout of the init".to_owned()
    })?;
    check(room.stderr.says(WORDS[1], SOON), || {
        "stderr of the child does not reach stderr of the init".to_owned()
    })
}

pub(super) fn last_output(init: &Init) -> Outcome {
    let (mut room, mut puppet) = ordinary(init)?;
    puppet.ask(&format!("write 1 3000 {}", WORDS[0]));
    puppet.ask("exit 0");
    room.must_end(SOON, "the end of its child")?;
    if !room.stdout.says(WORDS[0], SOON) {
        let kept = room.stdout.text().len();
        return fail(format!("{kept} of 240,000 bytes arrived, without the last words"));
    }
    Ok(())
}

pub(super) fn closed_descriptors(init: &Init) -> Outcome {
    let setup = Setup { streams: Streams::Closed, ..Setup::default() };
    let (_room, mut puppet) = furnished(init, setup)?;
    let said = puppet.answer("descriptors")?;
    let own = |target: &&str| {
        ["anon_inode:", "socket:", "/proc"].iter().any(|kind| target[2..].starts_with(kind))
    };
    let wrong: Vec<_> = said.split(' ').filter(|word| word.len() > 2).filter(own).collect();
    check(wrong.is_empty(), || format!("the child got {}", wrong.join(", ")))
}

pub(super) fn environment(init: &Init) -> Outcome {
    let (_room, mut puppet) = ordinary(init)?;
    let said = puppet.answer("environment")?;
    let (value, place) = said.rsplit_once('|').unwrap_or_default();
    check(value == VARIABLE.1, || format!("the child does not have the variable {}", VARIABLE.0))?;
    let own = std::env::current_dir()?.display().to_string();
    check(place == own, || format!("the child runs in {place}, in place of {own}"))
}
