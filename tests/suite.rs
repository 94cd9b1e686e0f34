//! The integration tests: one module for each stem of `src/`.
#![allow(non_snake_case)]

mod common;

mod conv;
mod crop;
mod dropout;
mod linear;
mod lrn;
mod philox;
mod pool;
mod preset;
mod relu;
mod sgd;
mod softmax;
