//! Buffers that are used again: the first touch of fresh memory costs more than the work done in it.

use std::sync::{Mutex, PoisonError};

/// A free list of buffers, one per thread that asks at the same time.
#[derive(Debug, Default)]
pub(crate) struct Spares<T>(Mutex<Vec<T>>);

impl<T: Default> Spares<T> {
    pub(crate) fn take(&self) -> T {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    pub(crate) fn give(&self, buffer: T) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
    }

    /// Every buffer, once nobody uses them.
    pub(crate) fn into_all(self) -> Vec<T> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Run `work` with a buffer.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut buffer = self.take();
        let result = work(&mut buffer);
        self.give(buffer);
        result
    }
}

/// The first `length` values of `buffer`, which grows if it must. Their values are whatever was there.
pub(crate) fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        // Fresh zeroed memory rather than a resize, which would copy and touch every page twice.
        *buffer = vec![0.0; length];
    }
    &mut buffer[..length]
}

/// Give `buffer` exactly `length` values, whatever was there among them.
pub(crate) fn fitted(buffer: &mut Vec<f32>, length: usize) {
    if buffer.capacity() < length {
        *buffer = vec![0.0; length];
    } else {
        buffer.resize(length, 0.0);
    }
}
