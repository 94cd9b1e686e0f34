//! Compiles `kernels/*.cu`: with nvcc into fatbins that the library embeds, and,
//! with the feature `emulator`, as C++ into a static library that runs on the CPU.
//!
//! Nothing here looks at a GPU. Without nvcc the library is built without CUDA
//! kernels, and `device::cuda` says so, and how to get them, when it is asked for.

use std::path::PathBuf;
use std::{env, fs};

#[cfg(feature = "emulator")]
#[path = "build/emulator.rs"]
mod emulator;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/scan.rs"]
mod scan;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for watched in ["build.rs", "build", "kernels"] {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }

    let sources = scan::sources(&root.join("kernels"));
    let images = nvcc::compile(&root, &sources, &out);
    fs::write(out.join("images.rs"), images).expect("OUT_DIR is writable");

    #[cfg(feature = "emulator")]
    {
        println!("cargo:rerun-if-changed={}", root.join("tests/kernels").display());
        let tests = scan::sources(&root.join("tests/kernels"));
        let images = nvcc::compile(&root, &tests, &out);
        fs::write(out.join("test_images.rs"), images).expect("OUT_DIR is writable");
        emulator::compile(&root, &sources, &tests, &out);
    }
}
