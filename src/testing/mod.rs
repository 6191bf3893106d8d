//! Helpers of the unit tests.

#[cfg(test)]
pub(crate) mod http_server;

#[cfg(test)]
pub(crate) use drainit_config::testing::{random, temp_dir};
#[cfg(test)]
pub(crate) use drainit_os::testing::isolated;

/// Runs a future, which may spawn local tasks, to its end. Fails if that takes half a minute.
#[cfg(test)]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(std::time::Duration::from_secs(30), future).await };
    tokio::task::LocalSet::new().block_on(&runtime, limited).expect("it hangs")
}
