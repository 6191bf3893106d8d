//! Helpers of the unit tests.

#[cfg(test)]
pub(crate) mod http_server;

#[cfg(test)]
pub(crate) use drainit_config::testing::{random, temp_dir};
#[cfg(test)]
pub(crate) use drainit_os::testing::isolated;
