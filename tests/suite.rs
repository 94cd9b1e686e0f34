//! The integration tests: one module for each stem of `src/`.
#![allow(non_snake_case)]

mod decode;
mod loader;
mod pack;
mod packed;
mod synthetic;
