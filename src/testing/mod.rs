//! Helpers of the unit tests.

#[cfg(test)]
pub(crate) mod http_server;
#[cfg(test)]
pub(crate) mod isolated;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod messages_page;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod promises_page;
#[cfg(test)]
pub(crate) mod rust_source;
#[cfg(test)]
pub(crate) mod temp_dir;
