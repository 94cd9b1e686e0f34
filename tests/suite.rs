//! The integration tests: one module for each stem of `src/`.

mod preset;
