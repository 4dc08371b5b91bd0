//! The one place where an error of samu-core becomes an exception of `samu_batch.errors`.

use std::io;
use std::path::Path;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, import_exception};
use samu_core::Error;

import_exception!(samu_batch.errors, EmptyMapError);
import_exception!(samu_batch.errors, NotFoundError);
import_exception!(samu_batch.errors, StoreError);
import_exception!(samu_batch.errors, TruncatedError);
import_exception!(samu_batch.errors, UnreadableError);

const ENOENT: i32 = 2;

/// Result of a function that Python calls.
pub(crate) trait IntoPyResult<T> {
    /// The same, with Python's exception.
    fn or_raise(self) -> PyResult<T>;
}

impl<T> IntoPyResult<T> for samu_core::Result<T> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(|error| raised(&error))
    }
}

fn raised(error: &Error) -> PyErr {
    match error {
        Error::NotFound { path } => {
            let missing = io::Error::from_raw_os_error(ENOENT);
            os_error::<NotFoundError>(path, &missing)
        }
        Error::Unreadable { path, source } => os_error::<UnreadableError>(path, source),
        Error::Store { path, source } => os_error::<StoreError>(path, source),
        Error::Layout { .. } => StoreError::new_err(error.to_string()),
        Error::Truncated { .. } => TruncatedError::new_err(error.to_string()),
        Error::Empty { .. } => EmptyMapError::new_err(error.to_string()),
        Error::Grid { .. }
        | Error::Shape { .. }
        | Error::Mismatch { .. }
        | Error::Axes { .. }
        | Error::Dtype { .. }
        | Error::Padding { .. }
        | Error::Range { .. } => PyValueError::new_err(error.to_string()),
    }
}

/// A subclass of `OSError`, with errno, strerror and filename where the operating system gave a number.
fn os_error<E: PyTypeInfo>(path: &Path, error: &io::Error) -> PyErr {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let suffix = format!(" (os error {number})");
            let text = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
            PyErr::new::<E, _>((number, text, path.display().to_string()))
        }
        None => PyErr::new::<E, _>(format!("{}: {text}", path.display())),
    }
}
