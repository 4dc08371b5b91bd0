//! Thread pools, one for each number of threads that was asked for; never rayon's global one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// By process and number of threads: the threads of a pool do not follow a fork.
type Pools = HashMap<(u32, usize), Arc<ThreadPool>>;

static POOLS: LazyLock<Mutex<Pools>> = LazyLock::new(Mutex::default);

/// The pool of `threads` threads.
pub(crate) fn pool(threads: usize) -> PyResult<Arc<ThreadPool>> {
    if threads == 0 {
        return Err(PyValueError::new_err("threads is 0, not a positive number"));
    }
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (std::process::id(), threads);
    if let Some(pool) = pools.get(&key) {
        return Ok(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("samu-{number}"))
        .build()
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(Arc::clone(pools.entry(key).or_insert(Arc::new(pool))))
}
