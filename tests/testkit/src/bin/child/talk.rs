//! Output. A reader that is gone is noted by nobody, and no reason to end.

use std::io::{self, Write};

use super::Me;

pub(crate) fn stdout(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

pub(crate) fn stderr(bytes: &[u8]) {
    let _ = io::stderr().write_all(bytes);
}

/// `N,TEXT`: each line in two pieces, as programs without a buffer write.
pub(crate) fn lines(what: &str, write: fn(&[u8])) {
    let (count, text) = what.split_once(',').unwrap();
    let count: u32 = count.parse().unwrap();
    for number in 0..count {
        write(text.as_bytes());
        write(format!(" {number}\n").as_bytes());
    }
}

pub(crate) fn huge(length: usize) {
    let mut line = vec![b'x'; length];
    line.push(b'\n');
    stdout(&line);
}

/// Writes until it blocks, and then on. Notes when the first mebibyte is through, which no pipe holds.
pub(crate) fn flood(me: &Me) {
    let line = [&[b'y'; 999][..], b"\n"].concat();
    for number in 0_u64.. {
        stdout(&line);
        if number == 1024 {
            me.note("mebibyte");
        }
    }
}
