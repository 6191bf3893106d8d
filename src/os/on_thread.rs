//! Uses a separate thread, with a time limit, for work that may hang: a file system or a socket
//! that does not answer must not keep the event loop from handling signals. drainit gives up work
//! that has not finished in time; the thread of the work stays until its system call returns.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::os::signal::mask;
use crate::trusted_path::Peer;
use crate::types::human;

/// At most this many of these threads run at once, so that a file system that hangs cannot use up
/// the threads that the container may have.
const MOST: usize = 256;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The time limit for finding a socket in the file system.
const LONGEST_WAY: Duration = Duration::from_secs(5);

/// [`wait_unless`] checks at this interval whether a stop signal has arrived. Work that does not
/// hang is done before the first check.
const LOOK: Duration = Duration::from_millis(500);

/// The reason why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unanswered {
    #[error(
        "there is no free thread: {MOST} threads already wait for file systems, or the container \
         has reached its pids limit"
    )]
    NoThread,
    #[error("a file system or a socket has not answered within {}", human(*.0))]
    Late(Duration),
}

/// Starts a thread that blocks all signals, so that drainit's signals do not go to this thread.
fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let run = || {
        mask::block_here();
        work();
    };
    thread::Builder::new().name("files".to_owned()).spawn(run).map(drop)
}

/// Begins the work. A caller that does not need the result drops the receiver.
///
/// # Errors
/// Fails with `NoThread` if no thread can be started. In this case, the work is dropped.
pub(crate) fn begin<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Unanswered> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        // The send fails only if nobody waits for the result any more.
        let _ = sender.send(work());
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    };
    if RUNNING.fetch_add(1, Ordering::Relaxed) >= MOST || start(run).is_err() {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return Err(Unanswered::NoThread);
    }
    Ok(receiver)
}

/// Does the work, and waits at most `limit` for its result. Dropping the future gives up the work,
/// too.
pub(crate) async fn on_thread<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unanswered> {
    match timeout(limit, begin(work)?).await {
        Ok(answer) => answer.map_err(|_| Unanswered::NoThread),
        Err(_) => Err(Unanswered::Late(limit)),
    }
}

/// As [`Peer::at`], on a thread of its own and with a time limit.
///
/// # Errors
/// As for [`Peer::at`]; also fails if the file system does not answer.
pub(crate) async fn peer_at(path: PathBuf) -> io::Result<Peer> {
    on_thread(LONGEST_WAY, move || Peer::at(&path)).await.map_err(io::Error::other)?
}

/// Does the work, and blocks until the work is done. drainit calls this before it has started
/// anything and at its exit, and otherwise only with a short `within`.
///
/// # Errors
/// Returns the errors of the work, and `TimedOut` if the work takes longer than `within`.
pub(crate) fn wait_for<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    wait_unless(within, || false, work)
}

/// As [`wait_for`], but gives up early if a stop signal has arrived.
///
/// # Errors
/// As for [`wait_for`], and `Interrupted` after a stop signal.
pub(crate) fn wait_unless<T: Send + 'static>(
    within: Duration,
    is_stopped: impl Fn() -> bool,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    start(move || {
        // The send fails only if nobody waits for the result any more.
        let _ = sender.send(work());
    })?;
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(LOOK)) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if is_stopped() => {
                let why = "it had not answered when a stop signal arrived";
                return Err(io::Error::new(io::ErrorKind::Interrupted, why));
            }
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::descendants::status_field;
    use crate::os::signal::mask::{ALL, BlockedSignals, only};
    use crate::testing::isolated::in_own_process;
    use crate::types::Signal;

    #[test]
    fn a_wait_ends_at_the_limit_or_with_a_stop() {
        let within = LOOK + Duration::from_millis(100);
        for (is_stopped, kind) in
            [(false, io::ErrorKind::TimedOut), (true, io::ErrorKind::Interrupted)]
        {
            let (_open, hangs) = mpsc::channel::<()>();
            let began = Instant::now();
            let error = wait_unless(within, || is_stopped, move || Ok(hangs.recv())).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(is_stopped || began.elapsed() >= within, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn threads_take_no_signal_from_drainit() {
        in_own_process("os::on_thread::tests::threads_take_no_signal_from_drainit", || {
            let _blocked = BlockedSignals::block().unwrap();
            let blocked = || status_field(nix::unistd::gettid().as_raw(), "SigBlk:").unwrap();
            let waited = wait_for(Duration::from_secs(10), move || Ok(blocked())).unwrap();
            let begun = begin(blocked).unwrap().blocking_recv().unwrap();
            let all_but_two = ALL & !only(Signal::KILL) & !only(Signal::STOP);
            assert_eq!(
                [waited, begun],
                [format!("{all_but_two:016x}"), format!("{all_but_two:016x}")]
            );
        });
    }
}
