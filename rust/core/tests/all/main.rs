//! All tests that see the crate from outside, in one program: each is optimised across all crates anew.

mod geometry;
mod volume;
