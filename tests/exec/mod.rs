//! `drainit exec`, also under the names `tini` and `dumb-init`.

mod drains;
mod dumb_init;
mod options;
pub(crate) mod signals;
mod terminal;
mod tini;
