//! Work that may hang gets a separate thread and a time limit. The event loop can thus handle
//! signals even if a file system or a socket does not answer. drainit gives up work that has not
//! finished in time; the thread of the work stays until its system call returns.
//!
//! Each process has its own few threads for each purpose ([`Share`]). A file system that hangs
//! therefore delays only the processes that use it. One thread is kept ready for a stop, because no
//! thread can be started once the pids limit is reached.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc::{self, RecvTimeoutError, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::signal::mask;
use crate::trusted_path::PeerSocket;
use drainit_core::types::{ProcessId, human};

/// The most threads of one [`Share`]. With two threads, one call that hangs does not delay the next
/// call, which may concern another file system.
const OF_ONE: usize = 2;
/// At most this many threads remove drainit's own sockets. Each thread removes one socket.
const OF_OWN_SOCKETS: usize = 256;

/// The time limit for finding a socket in the file system.
pub const LONGEST_WAY: Duration = Duration::from_secs(5);

/// [`wait_unless`] checks at this interval whether a stop signal has arrived. Work that does not
/// hang is done before the first check.
const LOOK: Duration = Duration::from_millis(500);

/// The reason why work on a thread has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unanswered {
    #[error("no thread can be started: the container has reached its pids limit, or lacks memory")]
    NoThread,
    #[error("a file system that has not answered before still does not answer")]
    Hangs,
    #[error("a file system or a socket has not answered within {}", human(*.0))]
    Late(Duration),
}

/// A share of the threads: the purpose of some work, and the process. Each share has threads of its
/// own, so work that hangs delays only later work of the same share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// The work for the whole container, such as a reload.
    Container,
    /// The start of a process: its `only_if`, its files, its `pre_start` hook.
    Start(ProcessId),
    /// The probes of a process.
    Probes(ProcessId),
    /// The drain and the hooks when a process (or with `None` the container) is stopped.
    Stop(Option<ProcessId>),
    /// The look for leftovers of a process before it starts again.
    Leftovers(ProcessId),
    /// The search for the sockets of all processes.
    Search,
    /// The removal of the sockets of a process, or of drainit's own sockets.
    Sockets(Option<ProcessId>),
}

tokio::task_local! {
    /// The share of the current task; [`Share::Container`] in a task without a share.
    static SHARE: Share;
}

type Job = Box<dyn FnOnce() + Send>;

/// The number of free threads of each share.
static FREE: Mutex<BTreeMap<Share, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// At most this many jobs wait for the thread that is kept ready.
const MOST_JOBS: usize = 64;

/// The jobs of the thread that is kept ready.
static RESERVE: Mutex<Option<mpsc::SyncSender<Job>>> = Mutex::new(None);

/// Locks data that several threads share. After a panic of a thread, the data is as good as before.
pub fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Share {
    /// Runs a task whose work takes the threads of this share.
    pub async fn scope<T>(self, task: impl Future<Output = T>) -> T {
        SHARE.scope(self, task).await
    }

    fn of_task() -> Self {
        SHARE.try_with(|share| *share).unwrap_or(Self::Container)
    }

    fn free(self) -> Arc<Semaphore> {
        let mut free = locked(&FREE);
        let threads = if self == Self::Sockets(None) { OF_OWN_SOCKETS } else { OF_ONE };
        Arc::clone(free.entry(self).or_insert_with(|| Arc::new(Semaphore::new(threads))))
    }

    /// Whether work of this share may use the thread that is kept ready.
    fn has_reserve(self) -> bool {
        matches!(self, Self::Stop(_) | Self::Sockets(_) | Self::Search)
    }
}

/// Starts the thread that is kept ready for a stop. Call it before the first process starts.
///
/// # Errors
/// Fails if the pids limit is reached.
pub fn keep_reserve() -> io::Result<()> {
    let (sender, jobs) = mpsc::sync_channel::<Job>(MOST_JOBS);
    spawn(move || jobs.into_iter().for_each(|job| job()))?;
    *locked(&RESERVE) = Some(sender);
    Ok(())
}

/// Starts a thread that blocks all signals, so that drainit's signals do not go to this thread.
fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let run = || {
        mask::block_here();
        work();
    };
    thread::Builder::new().name("files".to_owned()).spawn(run).map(drop)
}

/// Like [`spawn`]. If no thread can be started, gives the work to the thread that is kept ready.
fn spawn_or_reserve(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let kept = Arc::new(Mutex::new(Some(Box::new(work) as Job)));
    let take = |kept: &Mutex<Option<Job>>| locked(kept).take();
    let own = Arc::clone(&kept);
    let refused = match spawn(move || take(&own).into_iter().for_each(|job| job())) {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    let reserve = locked(&RESERVE);
    let (Some(reserve), Some(job)) = (&*reserve, take(&kept)) else { return Err(refused) };
    reserve.try_send(job).map_err(|_| refused)
}

/// Gives the work to the thread that is kept ready, which saves the time to start another thread.
/// If the queue of that thread is full, or there is no such thread, starts another thread.
fn reserve_or_spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut job = Box::new(work) as Job;
    if let Some(reserve) = &*locked(&RESERVE) {
        match reserve.try_send(job) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
        }
    }
    spawn(job)
}

/// Like [`begin`], for work that cannot hang and must begin at once, even if all threads of a share
/// are in use.
///
/// # Errors
/// Fails if no thread can be started.
pub fn begin_at_once<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Unanswered> {
    let (sender, receiver) = oneshot::channel();
    let begun = reserve_or_spawn(move || drop(sender.send(work())));
    begun.map(|()| receiver).map_err(|_| Unanswered::NoThread)
}

fn begin_with<T: Send + 'static>(
    share: Share,
    thread: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Unanswered> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        // The send fails only if nobody waits for the result any more.
        let _ = sender.send(work());
        drop(thread);
    };
    let begun = if share.has_reserve() { spawn_or_reserve(run) } else { spawn(run) };
    begun.map(|()| receiver).map_err(|_| Unanswered::NoThread)
}

/// Begins the work, without a wait for a free thread. A caller that does not need the result drops
/// the receiver.
///
/// # Errors
/// Fails if no thread can be started, or if earlier work still has all threads of the share. In
/// these cases, the new work is dropped.
pub fn begin<T: Send + 'static>(
    share: Share,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Unanswered> {
    let thread = share.free().try_acquire_owned().map_err(|_| Unanswered::Hangs)?;
    begin_with(share, thread, work)
}

/// Does the work on one of the threads that the current task may use. Gives the work up after
/// `limit`, or if the future is dropped. `limit` includes the wait for a free thread.
pub async fn on_thread<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unanswered> {
    on_busy_thread(limit, || false, work).await
}

/// Like [`on_thread`]. If `is_busy` holds after `limit`, the work computes, and so waits for no file
/// system: it gets the same time again.
pub async fn on_busy_thread<T: Send + 'static>(
    limit: Duration,
    is_busy: impl Fn() -> bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unanswered> {
    let share = Share::of_task();
    let mut done = pin!(async {
        let thread = share.free().acquire_owned().await.map_err(|_| Unanswered::NoThread)?;
        begin_with(share, thread, work)?.await.map_err(|_| Unanswered::NoThread)
    });
    loop {
        match timeout(limit, &mut done).await {
            Ok(done) => return done,
            Err(_) if is_busy() => {}
            Err(_) => return Err(Unanswered::Late(limit)),
        }
    }
}

/// Like [`PeerSocket::at`], on a thread of its own and with a time limit.
///
/// # Errors
/// As for [`PeerSocket::at`]; also fails if the file system does not answer.
pub async fn peer_at(path: PathBuf) -> io::Result<PeerSocket> {
    on_thread(LONGEST_WAY, move || PeerSocket::at(&path)).await.map_err(io::Error::other)?
}

/// Does the work, and blocks until the work is done, for at most `within`. drainit calls this
/// function before it has started anything, and at its exit. At other times, drainit calls it only
/// with a short `within`.
///
/// # Errors
/// Returns the errors of the work, and `TimedOut` if the work takes longer than `within`.
pub fn wait_for<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    wait_unless(within, || false, work)
}

/// Like [`wait_for`], but gives up early if a stop signal has arrived.
///
/// # Errors
/// As for [`wait_for`], and `Interrupted` after a stop signal.
pub fn wait_unless<T: Send + 'static>(
    within: Duration,
    is_stopped: impl Fn() -> bool,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    spawn_or_reserve(move || {
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
mod tests {
    use nix::sys::resource::{Resource, setrlimit};
    use nix::unistd::{Uid, geteuid, setuid};

    use super::*;
    use crate::descendants::status_field;
    use crate::signal::mask::{ALL, BlockedSignals, only};
    use crate::testing::isolated::in_own_process;
    use drainit_core::types::Signal;

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

    // holds: S253
    #[test]
    fn a_stop_has_a_thread_at_the_limit_on_tasks() {
        in_own_process(|| {
            keep_reserve().unwrap();
            // The limit does not apply to root.
            if geteuid().is_root() {
                setuid(Uid::from_raw(65_534)).unwrap();
            }
            setrlimit(Resource::RLIMIT_NPROC, 1, 1).unwrap();
            let start = begin(Share::Start(ProcessId(0)), || ());
            assert_eq!(start.unwrap_err(), Unanswered::NoThread);
            let error = wait_for(Duration::from_secs(10), || Ok("written"));
            assert_eq!(error.unwrap(), "written");
            assert_eq!(begin(Share::Stop(None), || 2).unwrap().blocking_recv(), Ok(2));
        });
    }

    // holds: S252
    #[tokio::test]
    async fn hanging_work_takes_no_threads_of_other_shares() {
        let (open, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        let hang = |share: Share| {
            let hangs = Arc::clone(&hangs);
            let hang = move || drop(hangs.lock().map(|hangs| hangs.recv()));
            share.scope(on_thread(Duration::from_millis(20), hang))
        };
        let [ill, well] = [900, 901].map(|slot| Share::Probes(ProcessId(slot)));
        // If there were one limit for all processes together, this work would use up all threads.
        for _ in 0..300 {
            let late = Unanswered::Late(Duration::from_millis(20));
            assert_eq!(hang(ill).await, Err(late));
        }
        assert_eq!(begin(ill, || ()).unwrap_err(), Unanswered::Hangs);
        let within = Duration::from_secs(10);
        assert_eq!(well.scope(on_thread(within, || 1)).await, Ok(1));
        // Once the file system answers, the threads are free again.
        drop(open);
        assert_eq!(ill.scope(on_thread(within, || 2)).await, Ok(2));
    }

    #[tokio::test]
    async fn work_that_computes_may_outlast_the_limit() {
        let limit = Duration::from_millis(20);
        let (go, hangs) = mpsc::channel();
        let is_busy = move || go.send(()).is_ok();
        // The work ends only after the limit.
        assert_eq!(on_busy_thread(limit, is_busy, move || hangs.recv()).await, Ok(Ok(())));
        let (_open, hangs) = mpsc::channel::<()>();
        let late = Err(Unanswered::Late(limit));
        assert_eq!(on_busy_thread(limit, || false, move || hangs.recv()).await, late);
    }

    #[test]
    fn threads_take_no_signal_from_drainit() {
        in_own_process(|| {
            let _blocked = BlockedSignals::block().unwrap();
            let blocked = || status_field(nix::unistd::gettid().as_raw(), "SigBlk:").unwrap();
            let waited = wait_for(Duration::from_secs(10), move || Ok(blocked())).unwrap();
            let begun = begin(Share::Container, blocked).unwrap().blocking_recv().unwrap();
            let all_but_two = ALL & !only(Signal::KILL) & !only(Signal::STOP);
            let expected = format!("{all_but_two:016x}");
            assert_eq!([waited, begun], [expected.clone(), expected]);
        });
    }
}
