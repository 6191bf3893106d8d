//! Keeps the last lines of drainit and of every process in memory, for `drainit logs`.
//!
//! Each has a ring of its own, so that a chatty process does not push out the lines of a quiet one.
//! A follower of the lines has a bounded queue, and loses lines that it does not read: it never
//! holds up a process, nor the other outputs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use memchr::{memchr, memchr_iter, memrchr, memrchr_iter};

use crate::types::ProcessId;

/// The most that is kept for one process, in bytes. With many processes it is less: together at
/// most [`TOTAL`], but at least [`LEAST`] each.
const RING: usize = 16 * 1024;
const LEAST: usize = 1024;
const TOTAL: usize = 1024 * 1024;

/// The most that waits for a follower.
const FOLLOWER: usize = 256 * 1024;

/// The writer of a line; `None` is drainit itself.
pub(crate) type Owner = Option<ProcessId>;

/// The last lines of all; shared between threads.
pub struct Recent {
    /// Off until somebody can ask: `exec`, and `control: {socket: off}`, keep nothing.
    is_kept: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rings: BTreeMap<Owner, Ring>,
    /// The limit of each ring.
    limit: usize,
    /// The number of the next block.
    next: u64,
    /// The writer of the last block.
    last: Option<Owner>,
    followers: BTreeMap<u64, Queue>,
    /// The number of the next follower.
    next_follower: u64,
}

/// The last lines of one owner.
#[derive(Default)]
struct Ring {
    /// Whole lines.
    bytes: VecDeque<u8>,
    /// The number and the length of each run of lines with no lines of others between them. By
    /// their numbers the lines of several rings are put into the order in which they came.
    blocks: VecDeque<(u64, usize)>,
}

impl Ring {
    /// Appends lines, and drops whole lines at the front beyond `limit`.
    fn push(&mut self, block: u64, lines: &[u8], limit: usize) {
        let (all, lines) = (lines, tail(lines, limit));
        if lines.len() < all.len() {
            // Otherwise older lines would seem to stand directly before the new ones.
            self.bytes.clear();
            self.blocks.clear();
        }
        if lines.is_empty() {
            return self.push_cut(block, all, limit);
        }
        let excess = (self.bytes.len() + lines.len()).saturating_sub(limit);
        if excess > 0 {
            self.drop_front(excess);
        }
        // Not more than the limit, where doubling would go beyond it.
        let needed = self.bytes.len() + lines.len();
        if needed > self.bytes.capacity() {
            let wanted = needed.next_power_of_two().min(limit);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend(lines);
        match self.blocks.back_mut() {
            Some((number, length)) if *number == block => *length += lines.len(),
            _ => self.blocks.push_back((block, lines.len())),
        }
    }

    /// Keeps the beginning of a last line that is longer than the ring.
    fn push_cut(&mut self, block: u64, lines: &[u8], limit: usize) {
        let whole = lines.strip_suffix(b"\n").unwrap_or(lines);
        let begin = memrchr(b'\n', whole).map_or(0, |end| end + 1);
        let cut = &whole[begin..][..(whole.len() - begin).min(limit - 1)];
        self.bytes.extend(cut.iter().chain(b"\n"));
        self.blocks.push_back((block, cut.len() + 1));
    }

    /// Drops whole lines of at least `excess` bytes, or everything.
    fn drop_front(&mut self, excess: usize) {
        let (front, back) = self.bytes.as_slices();
        let from = excess - 1;
        let end = match front.get(from..).and_then(|rest| memchr(b'\n', rest)) {
            Some(at) => Some(from + at),
            None => {
                let from = from.saturating_sub(front.len());
                back.get(from..)
                    .and_then(|rest| memchr(b'\n', rest))
                    .map(|at| front.len() + from + at)
            }
        };
        let mut dropped = end.map_or(self.bytes.len(), |end| end + 1);
        self.bytes.drain(..dropped);
        while let Some((_, length)) = self.blocks.front_mut() {
            if *length > dropped {
                *length -= dropped;
                break;
            }
            dropped -= *length;
            self.blocks.pop_front();
        }
    }
}

/// The lines that wait for one follower.
struct Queue {
    /// `None` follows all.
    owners: Option<Vec<Owner>>,
    /// Of processes, which may be new owners later.
    names: Vec<String>,
    bytes: Vec<u8>,
    /// Lines that had no room since the last read.
    dropped: u64,
    waker: Option<Waker>,
}

/// A piece of the lines for a follower.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Whole lines.
    pub(crate) lines: Vec<u8>,
    /// The number of lines that came after them and were dropped.
    pub(crate) dropped: u64,
}

/// Receives lines until it is dropped.
pub(crate) struct Follower {
    recent: Arc<Recent>,
    number: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { is_kept: AtomicBool::new(false), state: Mutex::default() }
    }
}

impl Recent {
    /// Keeps lines from now on, of drainit and at most this many processes.
    pub(crate) fn keep(&self, processes: usize) {
        self.lock().limit = (TOTAL / (processes + 1)).clamp(LEAST, RING);
        self.is_kept.store(true, Relaxed);
    }

    /// Keeps nothing from now on, and drops what is there.
    pub(crate) fn forget(&self) {
        self.is_kept.store(false, Relaxed);
        *self.lock() = State::default();
    }

    /// Changes the number of processes, for a new config, if lines are kept.
    pub(crate) fn resize(&self, processes: usize) {
        if self.is_kept.load(Relaxed) {
            self.keep(processes);
        }
    }

    /// The number of an owner goes to another process, which has these names: the lines are dropped,
    /// and those who follow one of the names follow it.
    pub(crate) fn reassign(&self, owner: Owner, names: &[&str]) {
        let mut state = self.lock();
        state.rings.remove(&owner);
        for queue in state.followers.values_mut() {
            let is_asked = queue.names.iter().any(|name| names.contains(&name.as_str()));
            if let Some(owners) = &mut queue.owners {
                owners.retain(|one| *one != owner);
                owners.extend(is_asked.then_some(owner));
            }
        }
    }

    /// Takes whole, formatted lines. Never blocks for longer than a copy takes.
    pub(crate) fn push(&self, owner: Owner, lines: &[u8]) {
        if !self.is_kept.load(Relaxed) || lines.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.last != Some(owner) {
            state.last = Some(owner);
            state.next += 1;
        }
        let (block, limit) = (state.next, state.limit);
        state.rings.entry(owner).or_default().push(block, lines, limit);
        let followers = state.followers.values_mut();
        let concerned = followers
            .filter(|queue| queue.owners.as_ref().is_none_or(|owners| owners.contains(&owner)));
        let wakers: Vec<_> = concerned.filter_map(|queue| queue.push(lines)).collect();
        // Otherwise a waker would wait for this lock.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The last lines of these owners (`None`: of all), at most `count`, in the order in which they
    /// came.
    pub(crate) fn last(&self, owners: Option<&[Owner]>, count: Option<usize>) -> Vec<u8> {
        self.lock().last(owners, count)
    }

    /// Like [`Self::last`], and what follows, also of later processes with one of these names.
    pub(crate) fn follow(
        self: &Arc<Self>,
        owners: Option<Vec<Owner>>,
        names: Vec<String>,
        count: Option<usize>,
    ) -> Follower {
        let mut state = self.lock();
        let bytes = state.last(owners.as_deref(), count);
        let number = state.next_follower;
        state.next_follower += 1;
        state.followers.insert(number, Queue { owners, names, bytes, dropped: 0, waker: None });
        Follower { recent: Arc::clone(self), number }
    }

    /// Whether lines wait for a follower.
    pub(crate) fn has_unread(&self) -> bool {
        self.lock().followers.values().any(|queue| !queue.bytes.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn last(&self, owners: Option<&[Owner]>, count: Option<usize>) -> Vec<u8> {
        let mut blocks = Vec::new();
        for (owner, ring) in &self.rings {
            if owners.is_some_and(|owners| !owners.contains(owner)) {
                continue;
            }
            let mut begin = 0;
            for (number, length) in &ring.blocks {
                blocks.push((*number, ring, begin..begin + length));
                begin += length;
            }
        }
        blocks.sort_unstable_by_key(|(number, ..)| *number);
        let mut all = Vec::with_capacity(blocks.iter().map(|(.., range)| range.len()).sum());
        for (_, ring, range) in blocks {
            all.extend(ring.bytes.range(range));
        }
        if let Some(count) = count {
            // The newline of the last line is not the end of the line before.
            let mut ends = memrchr_iter(b'\n', &all);
            let begin = ends.nth(count).map_or(0, |end| end + 1);
            all.drain(..begin);
        }
        all
    }
}

impl Queue {
    /// Queues lines, and returns whom to wake.
    fn push(&mut self, lines: &[u8]) -> Option<Waker> {
        // Nothing comes after lines that are missing, until they are reported.
        if self.dropped > 0 || self.bytes.len() + lines.len() > FOLLOWER {
            self.dropped += memchr_iter(b'\n', lines).count() as u64;
        } else {
            self.bytes.extend_from_slice(lines);
        }
        self.waker.take()
    }
}

impl Follower {
    /// The lines that have come since the last call.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Piece> {
        let mut state = self.recent.lock();
        // Missing only after `forget`.
        let Some(queue) = state.followers.get_mut(&self.number) else { return Poll::Pending };
        if queue.bytes.is_empty() && queue.dropped == 0 {
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let lines = std::mem::take(&mut queue.bytes);
        Poll::Ready(Piece { lines, dropped: std::mem::take(&mut queue.dropped) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.recent.lock().followers.remove(&self.number);
    }
}

/// The last whole lines of at most `limit` bytes.
fn tail(lines: &[u8], limit: usize) -> &[u8] {
    let Some(excess) = lines.len().checked_sub(limit).filter(|excess| *excess > 0) else {
        return lines;
    };
    let end = memchr(b'\n', &lines[excess - 1..]);
    end.map_or(&[], |at| &lines[excess + at..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::task::Waker;

    use super::*;

    const A: Owner = Some(ProcessId(0));
    const B: Owner = Some(ProcessId(1));

    fn recent() -> Arc<Recent> {
        let recent = Arc::new(Recent::default());
        recent.keep(2);
        recent
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn next(follower: &Follower) -> Option<Piece> {
        match follower.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(piece) => Some(piece),
            Poll::Pending => None,
        }
    }

    #[test]
    fn lines_come_in_their_order_and_of_whom_is_asked() {
        let recent = recent();
        for (owner, lines) in
            [(A, "a1\n"), (A, "a2\na3\n"), (B, "b1\n"), (None, "own\n"), (A, "a4\n")]
        {
            recent.push(owner, lines.as_bytes());
        }
        assert_eq!(text(recent.last(None, None)), "a1\na2\na3\nb1\nown\na4\n");
        assert_eq!(text(recent.last(Some(&[A]), None)), "a1\na2\na3\na4\n");
        assert_eq!(text(recent.last(Some(&[B, None]), Some(1))), "own\n");
        assert_eq!(text(recent.last(None, Some(2))), "own\na4\n");
        assert_eq!(text(recent.last(None, Some(0))), "");
        assert_eq!(text(recent.last(None, Some(100))), "a1\na2\na3\nb1\nown\na4\n");
    }

    #[test]
    fn a_chatty_process_pushes_out_only_its_own_lines() {
        let recent = recent();
        recent.push(B, b"quiet\n");
        for number in 0..10_000 {
            recent.push(A, format!("line {number}\n").as_bytes());
        }
        let all = text(recent.last(None, None));
        assert!(all.starts_with("quiet\nline ") && all.ends_with("\nline 9999\n"), "{all}");
        assert!(all.len() > RING - 100 && all.len() <= RING + 6, "{}", all.len());
        assert!(all.lines().skip(1).all(|line| line.starts_with("line ")));
        let state = recent.lock();
        assert!(state.rings[&A].bytes.capacity() <= RING);
        let in_blocks: usize = state.rings[&A].blocks.iter().map(|(_, length)| length).sum();
        assert_eq!(in_blocks, state.rings[&A].bytes.len());
    }

    #[test]
    fn a_read_longer_than_the_ring_leaves_its_last_lines() {
        let recent = recent();
        recent.push(A, b"first\n");
        let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        recent.push(A, lines.as_bytes());
        let kept = text(recent.last(None, None));
        assert!(lines.ends_with(&format!("\n{kept}")) && kept.len() <= RING, "{}", kept.len());
        recent.push(A, &[&[b'x'; RING][..], b"\n"].concat());
        let cut = [&[b'x'; RING - 1][..], b"\n"].concat();
        assert!(recent.last(None, None) == cut, "the beginning of the line, and nothing before it");
        recent.push(A, b"next\n");
        assert_eq!(text(recent.last(None, None)), "next\n");
    }

    #[test]
    fn many_processes_share_the_memory() {
        let recent = Recent::default();
        recent.keep(500);
        for process in 0..500 {
            for _ in 0..1000 {
                recent.push(Some(ProcessId(process)), b"a line of some length\n");
            }
        }
        assert!(recent.last(None, None).len() <= TOTAL);
    }

    #[test]
    fn a_follower_gets_what_is_there_and_what_comes() {
        let recent = recent();
        recent.push(A, b"before\n");
        let follower = recent.follow(Some(vec![A]), Vec::new(), None);
        recent.push(B, b"of another\n");
        recent.push(A, b"after\n");
        assert_eq!(next(&follower).unwrap().lines, b"before\nafter\n");
        assert!(next(&follower).is_none());
        drop(follower);
        assert!(recent.lock().followers.is_empty());
    }

    #[test]
    fn a_follower_of_a_name_follows_whoever_has_it() {
        let recent = recent();
        let follower = recent.follow(Some(vec![A]), vec!["app".to_owned()], None);
        recent.reassign(A, &["other"]);
        recent.push(A, b"of another\n");
        recent.push(B, b"of a third\n");
        assert!(next(&follower).is_none());
        for (names, lines) in [(&["app"][..], b"again\n"), (&["app", "app-3"], b"copy!\n")] {
            recent.reassign(B, names);
            recent.push(B, lines);
            assert_eq!(next(&follower).unwrap().lines, lines);
        }
    }

    #[test]
    fn a_follower_that_does_not_read_loses_lines_and_hears_of_it() {
        let recent = recent();
        let follower = recent.follow(None, Vec::new(), None);
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..1000 {
            recent.push(A, &line);
        }
        let piece = next(&follower).unwrap();
        assert!(piece.lines.len() <= FOLLOWER);
        assert_eq!(piece.lines.len() as u64 / 1000 + piece.dropped, 1000);
        recent.push(A, b"again\n");
        assert_eq!(next(&follower).unwrap(), Piece { lines: b"again\n".to_vec(), dropped: 0 });
    }

    #[test]
    fn nothing_is_kept_unless_somebody_can_ask() {
        let recent = Recent::default();
        recent.push(A, b"line\n");
        assert!(recent.lock().rings.is_empty());
        recent.keep(1);
        recent.push(A, b"line\n");
        recent.forget();
        recent.push(A, b"line\n");
        assert!(recent.lock().rings.is_empty());
    }
}
