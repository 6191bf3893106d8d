//! The config files, for every command that reads one.

use std::path::PathBuf;

use clap::Args;

use crate::load::Environment;
use crate::load::control;
use crate::load::control::Found;

/// The variable that names the file without `-c`.
pub(super) const VARIABLE: &str = "DRAINIT_CONFIG";
/// The file without `-c` and without the variable.
const DEFAULT: &str = "/etc/drainit.yaml";

/// `-c FILE`.
#[derive(Debug, Args)]
pub(super) struct ConfigFiles {
    /// Config file; may be repeated, a later one overlays the earlier [default: $DRAINIT_CONFIG,
    /// then /etc/drainit.yaml]
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
}

impl ConfigFiles {
    /// The files to read, at least one.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        if !self.config.is_empty() {
            return self.config.clone();
        }
        let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        vec![named.map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from)]
    }

    /// The control address of the supervisor that runs this config.
    pub(super) fn control(&self) -> Found {
        control::find(&self.paths(), &Environment::from_process())
    }

    /// Whether it is the default file.
    pub(super) fn is_default(&self) -> bool {
        self.paths() == [PathBuf::from(DEFAULT)]
    }
}
