//! The integration tests: one module for each stem of `src/`.

mod config;
mod info;
mod preset;
mod schedule;
