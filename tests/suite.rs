//! The integration tests: one module for each stem of `src/`.
#![allow(non_snake_case)]

mod loader;
mod packed;
