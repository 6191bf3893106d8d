//! Runs a session on a pseudoterminal. The test waits for text on the screen before it types.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, tcgetpgrp};

use super::namespace::UNSHARE;
use super::{LONG, ms};

/// The prompt of the shell.
pub(crate) const PROMPT: &str = "prompt> ";

pub(crate) struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// The slave side, which is held open so that the terminal outlives its session.
    _slave: OwnedFd,
    path: PathBuf,
    session: Child,
}

impl Terminal {
    /// Starts a program as the leader of a session on a new terminal, like a login or `docker exec
    /// -t`.
    pub(crate) fn session(words: &[&str]) -> Self {
        Self::start(&["setsid", "--ctty"], words)
    }

    /// Starts a program like [`Self::session`], but as PID 1, like `docker run -t`.
    pub(crate) fn init(words: &[&str]) -> Self {
        Self::start(&[&UNSHARE[..], &["setsid", "--ctty"]].concat(), words)
    }

    fn start(how: &[&str], words: &[&str]) -> Self {
        let pty = openpty(None, None).unwrap();
        let path = nix::unistd::ttyname(&pty.slave).unwrap();
        let end = || File::from(pty.slave.try_clone().unwrap());
        // Resets SIGINT, which the tests ignore if a shell has started them in the background.
        let session = Command::new("env")
            .arg("--default-signal")
            .args(how)
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "dumb")
            .env("PS1", PROMPT)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let keyboard = File::from(pty.master);
        let (mut from, onto) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error means that the terminal was closed.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                onto.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { keyboard, screen, _slave: pty.slave, path, session }
    }

    /// Types keys.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Returns the text on the screen.
    pub(crate) fn screen(&self) -> String {
        self.screen.lock().unwrap().replace('\r', "")
    }

    /// Counts the occurrences of a text on the screen.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.screen().matches(text).count()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + LONG;
        while !is_so() {
            let front = self.foreground();
            assert!(Instant::now() < until, "no {what}; in front {front:?}:\n{}", self.screen());
            thread::sleep(ms(5));
        }
    }

    /// Waits for a text on the screen.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_for_count(text, 1);
    }

    /// Waits until a text appears this many times on the screen.
    #[track_caller]
    pub(crate) fn wait_for_count(&self, text: &str, count: usize) {
        self.wait_until(&format!("{count} times `{text}`"), || self.count(text) >= count);
    }

    /// Waits for the shell's prompt.
    #[track_caller]
    pub(crate) fn wait_for_prompt(&self) {
        self.wait_until("prompt", || self.screen().ends_with(PROMPT));
    }

    /// Returns the name of the process that leads the foreground process group.
    pub(crate) fn foreground(&self) -> Option<String> {
        let group = tcgetpgrp(self.keyboard.as_fd()).ok()?;
        let name = fs::read_to_string(format!("/proc/{group}/comm")).ok()?;
        Some(name.trim_end().to_owned())
    }

    /// Waits until this program is in the foreground and asleep, which means that it waits for
    /// input or signals.
    #[track_caller]
    pub(crate) fn wait_for_foreground(&self, name: &str) {
        self.wait_until(&format!("`{name}` in front"), || {
            let asleep = || -> Option<bool> {
                let group = tcgetpgrp(self.keyboard.as_fd()).ok()?;
                let stat = fs::read_to_string(format!("/proc/{group}/stat")).ok()?;
                Some(stat.rsplit_once(") ")?.1.starts_with('S'))
            };
            self.foreground().as_deref() == Some(name) && asleep() == Some(true)
        });
    }

    /// Resizes the terminal.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = ["rows", &rows.to_string(), "cols", &columns.to_string()];
        let status = Command::new("stty").arg("-F").arg(&self.path).args(size).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end of the session and returns its exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> i32 {
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = self.session.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            let front = self.foreground();
            assert!(Instant::now() < until, "no end; in front {front:?}:\n{}", self.screen());
            thread::sleep(ms(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.session.try_wait(), Ok(None)) {
            // A stopped job outlives its shell, so everything in the session ends.
            let session = self.session.id().to_string();
            for at in fs::read_dir("/proc").into_iter().flatten().flatten() {
                let stat = fs::read_to_string(at.path().join("stat")).unwrap_or_default();
                let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(3));
                if of == Some(&session)
                    && let Ok(pid) = at.file_name().to_string_lossy().parse()
                {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            let _ = self.session.kill();
            let _ = self.session.wait();
        }
    }
}
