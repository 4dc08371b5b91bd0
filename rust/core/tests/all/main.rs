//! All tests that see the crate from outside, in one program: linking one, optimised across crates, takes a minute.

mod geometry;
mod volume;
