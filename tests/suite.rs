//! The integration tests: one module for each stem of `src/`.
#![allow(non_snake_case)]

mod common;

mod bench;
mod config;
mod conv;
mod crop;
mod decode;
mod dropout;
mod info;
mod linear;
mod loader;
mod lrn;
mod pack;
mod packed;
mod philox;
mod pool;
mod preset;
mod relu;
mod schedule;
mod sgd;
mod softmax;
mod synthetic;
