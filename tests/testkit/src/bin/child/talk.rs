//! Writes output. A closed pipe is ignored.

use std::io::{self, Write};

use super::Me;

pub(crate) fn stdout(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

pub(crate) fn stderr(bytes: &[u8]) {
    let _ = io::stderr().write_all(bytes);
}

/// `N,TEXT`: writes each line in two pieces, as unbuffered programs do.
pub(crate) fn lines(what: &str, write: fn(&[u8])) {
    let (count, text) = what.split_once(',').unwrap();
    let count: u32 = count.parse().unwrap();
    for number in 0..count {
        write(text.as_bytes());
        write(format!(" {number}\n").as_bytes());
    }
}

/// Writes forever. Records an event once it has written a mebibyte, which is more than a pipe
/// holds.
pub(crate) fn flood(me: &Me) {
    let line = [&[b'y'; 999][..], b"\n"].concat();
    for number in 0_u64.. {
        stdout(&line);
        if number == 1024 {
            me.note("mebibyte");
        }
    }
}
