//! The files that a start needs: the values of the process, its user, its rendered files, its
//! working directory, its log file, and the paths of its sockets. A thread gathers them.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::keys::{ListenSocket, LogMode, Process};
use crate::logging::file::OpenLogFile;
use crate::os::held_sockets::HeldSocket;
use crate::os::same_path::is_same;
use crate::os::spawn::open_directory;
use crate::os::stale_socket;
use crate::supervisor::launch::{self, LONGEST_START, StartError};
use crate::supervisor::sockets;

/// Says which files a start or a hook needs.
#[derive(Default)]
pub(crate) struct Preparation {
    /// drainit's own socket, which must not be removed.
    pub(crate) own_socket: Option<PathBuf>,
    /// Whether this is the first start. The first start fails if another program listens on one of
    /// the `sockets` of the process.
    pub(crate) is_first: bool,
    /// Whether the process itself starts, and not a hook. The process may create its `sockets`, so
    /// any removal of old sockets at these paths has to be over before the start.
    pub(crate) uses_sockets: bool,
    /// The paths in the `sockets` of the process at which old sockets must be removed.
    pub(crate) stale: Vec<PathBuf>,
    /// The `env` of the config, if the values of the process are to be read: limits of the
    /// container, and files with variables.
    pub(crate) values: Option<Vec<(String, String)>>,
    /// The environment that all processes have in common, if the files of `render` are to be
    /// written.
    pub(crate) renders: Option<Vec<(OsString, OsString)>>,
    /// Whether the log file of the process is to be opened.
    pub(crate) opens_log: bool,
    /// The sockets of `listen` that have to be opened again, each with its position.
    pub(crate) shut: Vec<(usize, ListenSocket)>,
    /// Refers to nothing once drainit has given up the start or the hook. The thread checks this
    /// before it removes or gathers anything.
    pub(crate) is_wanted: Weak<()>,
}

/// The files that were gathered.
#[derive(Default)]
pub(crate) struct PreparedFiles {
    pub(crate) with_values: Option<Process>,
    pub(crate) directory: Option<File>,
    pub(crate) logs: Vec<OpenLogFile>,
    /// The sockets of `listen` that were opened again, each with its position.
    pub(crate) sockets: Vec<(usize, Arc<HeldSocket>)>,
}

impl Preparation {
    /// Whether the preparation has to use the file system.
    pub(crate) fn is_needed(&self, process: &Process) -> bool {
        self.uses_sockets && !process.sockets.is_empty()
            || self.values.is_some() && process.has_values_at_start()
            || launch::needs_user(process)
            || self.renders.is_some()
            || self.opens_log
            || !self.shut.is_empty()
            || process.working_dir.is_some()
    }

    /// Gathers the files.
    pub(crate) fn run(self, process: &Process) -> Result<PreparedFiles, StartError> {
        let own = self.own_socket.as_deref();
        let is_own = |path: &PathBuf| process.sockets.iter().any(|socket| is_same(socket, path));
        if self.uses_sockets {
            stale_socket::wait_for_removals(LONGEST_START, is_own);
        }
        // If drainit has given up this start, a later start may have created these sockets, so they
        // must stay.
        if self.is_wanted.strong_count() == 0 {
            return Ok(PreparedFiles::default());
        }
        if self.is_first {
            launch::check_sockets(process, own)?;
        }
        launch::remove_sockets(&process.name, &self.stale, own);
        let (with_values, templates) =
            launch::with_values(process, self.values.as_deref(), self.renders.is_some())?;
        let wanted = with_values.as_ref().unwrap_or(process);
        if let Some(base) = self.renders {
            launch::render(wanted, &templates, &base)?;
        }
        let mut logs = Vec::new();
        if let (LogMode::File(wanted), true) = (&process.log.mode, self.opens_log) {
            for path in wanted.paths() {
                let no_file = |error| StartError::LogFile { path: path.clone(), error };
                logs.push(OpenLogFile::open(path).map_err(no_file)?);
            }
        }
        let open = |(place, wanted): &(usize, ListenSocket)| {
            let socket = sockets::open_again(&process.name, wanted);
            Ok((*place, socket.map_err(StartError::Unprepared)?))
        };
        let sockets = self.shut.iter().map(open).collect::<Result<_, StartError>>()?;
        let directory = process.working_dir.as_deref().map(open_directory).transpose()?;
        Ok(PreparedFiles { with_values, directory, logs, sockets })
    }
}
