//! The output of the processes: drainit's own writer, the log files, and the captures whose pipes may
//! still contain output.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::keys::{LogFile, LogFormat, LogMode};
use crate::logging::Output;
use crate::logging::capture::OutputCapture;
use crate::logging::file::{LogFiles, OpenLogFile};
use crate::os::clock;

/// While fewer logs than this are open, drainit does not look for ended logs to drop.
const MIN_OPEN_LOGS: usize = 16;

pub(crate) struct Logs {
    pub(super) output: Arc<Output>,
    files: LogFiles,
    /// The captures whose pipes may still contain output.
    open: Vec<Rc<OutputCapture>>,
    /// When `open` has this length, drainit drops the ended captures from it.
    max_open: usize,
}

impl Logs {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self { output, files: LogFiles::default(), open: Vec::new(), max_open: 0 }
    }

    /// Keeps a log so that its last lines can be read at the end. If many logs are open, drops the
    /// logs that have ended, and their pipes.
    pub(super) fn keep_open(&mut self, log: Option<&Rc<OutputCapture>>) {
        if self.open.len() >= self.max_open {
            self.open.retain(|log| !log.is_finished());
            self.max_open = MIN_OPEN_LOGS + 2 * self.open.len();
        }
        self.open.extend(log.cloned());
    }

    /// The writer for the output of a process, or for the container's hooks (`None`).
    pub(super) fn writer(&self, mode: Option<&LogMode>) -> Arc<Output> {
        let writer = match mode {
            // The log file was opened for the start, on another thread. If a reload has dropped the
            // file since then, drainit does not open the file again, because the event loop's
            // thread opens no files.
            Some(LogMode::File(LogFile { path, stderr, .. })) => {
                let stdout = match path {
                    Some(path) => self.files.get(path),
                    None => Some(&self.output),
                };
                match stderr {
                    None => stdout.map(Arc::clone),
                    Some(stderr) => stdout
                        .zip(self.files.get(stderr))
                        .map(|(stdout, stderr)| Output::split(stdout, stderr)),
                }
            }
            _ => None,
        };
        writer.unwrap_or_else(|| Arc::clone(&self.output))
    }

    /// Whether drainit still has to open a log file.
    pub(super) fn opens(&self, mode: &LogMode) -> bool {
        matches!(mode, LogMode::File(file) if file.paths().any(|path| self.files.get(path).is_none()))
    }

    pub(super) fn add(&mut self, file: OpenLogFile, format: LogFormat) {
        self.files.add(file, format);
    }

    /// The open log files of a process.
    pub(super) fn files_of(&self, mode: &LogMode) -> Vec<(PathBuf, Arc<Output>)> {
        let LogMode::File(file) = mode else { return Vec::new() };
        let open = |path: &PathBuf| Some((path.clone(), Arc::clone(self.files.get(path)?)));
        file.paths().filter_map(open).collect()
    }

    /// Drops the log files that are not `wanted`. A file is kept while somebody may still write to
    /// the file: an instance that is ending, or a process that such an instance has left behind.
    pub(super) fn keep_files(&mut self, wanted: &BTreeSet<&Path>) {
        self.open.retain(|log| !log.is_finished());
        let open = &self.open;
        self.files.keep(|path, output| {
            wanted.contains(path) || open.iter().any(|log| log.writes_to(output))
        });
    }

    /// From now on, a process whose output nobody reads is blocked for at most `patience`.
    pub(super) fn stop_waiting(&self, patience: Duration) {
        self.output.stop_waiting(patience);
        self.files.stop_waiting(patience);
    }

    /// Takes the captures, for [`last_lines`].
    pub(crate) fn take_open(&mut self) -> Vec<Rc<OutputCapture>> {
        std::mem::take(&mut self.open)
    }

    /// Writes the queued lines to the log files, for at most `within`.
    pub(crate) fn finish_files(&self, within: Duration) {
        self.files.finish(within);
    }
}

/// Reads the last lines of these logs from all pipes. Waits at most `within` for the ends of the
/// pipes. Then reads the rest from the pipes that have not ended, again for at most `within`.
pub(crate) async fn last_lines(logs: Vec<Rc<OutputCapture>>, within: &dyn Fn() -> Duration) {
    let all = async {
        for log in &logs {
            log.finished().await;
        }
    };
    let _ = timeout(within(), all).await;
    let until = clock::now() + within();
    for log in logs {
        log.finish(|| clock::now() < until);
    }
}
