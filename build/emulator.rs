//! The kernels as C++17 for the CPU: each file unchanged, behind a forced header
//! that gives CUDA's words their meaning, followed by one trampoline a kernel.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use crate::scan::Source;

/// What the compiler checks at run time: a GPU stops at a misaligned access, and
/// silently accepts the rest. `src/device/emulator/sanitizer.rs` takes the reports.
const CHECKS: &str = "-fsanitize=alignment,bounds,shift,integer-divide-by-zero,signed-integer-overflow";

/// Compiles the library's kernels, linked into the library, and the tests' own, linked into tests alone.
pub fn compile(root: &Path, kernels: &[Source], tests: &[Source], out: &Path) {
    let target = env::var("TARGET").unwrap_or_default();
    assert!(
        target.contains("linux") && (target.contains("x86_64") || target.contains("aarch64")),
        "the feature `emulator` knows Linux on x86-64 and ARM64 alone; this is {target}"
    );
    library(root, kernels, "zfnet_kernels", out).compile("zfnet_kernels");
    fs::write(out.join("emulated.rs"), table(kernels)).expect("OUT_DIR is writable");

    // The deliberately wrong kernels must not reach the library.
    library(root, tests, "zfnet_test_kernels", out).cargo_metadata(false).compile("zfnet_test_kernels");
    println!("cargo:rustc-link-arg-tests={}", out.join("libzfnet_test_kernels.a").display());
    fs::write(out.join("emulated_tests.rs"), table(tests)).expect("OUT_DIR is writable");
}

fn library(root: &Path, sources: &[Source], name: &str, out: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").cpp_link_stdlib(None).warnings(true).extra_warnings(true).warnings_into_errors(true);
    let twins = root.join("kernels/emulator");
    build.include(&twins).include(root.join("kernels/include"));
    build.flag("-include").flag(twins.join("runtime.h"));
    // A frame larger than a stack must meet its guard page, not jump over it.
    build.flag_if_supported("-fstack-clash-protection");
    // No contraction: the same sums on every machine.
    build.flags(["-fno-exceptions", "-fno-rtti", "-ffp-contract=off", CHECKS, "-fno-sanitize-recover=all"]);
    // A struct's last array has its declared size too (GCC, clang).
    build.flag_if_supported("-fsanitize=bounds-strict").flag_if_supported("-fstrict-flex-arrays=3");
    build.flag_if_supported("-Wno-unknown-pragmas"); // #pragma unroll
    build.flag_if_supported("-Wno-psabi"); // GCC: tensor maps are passed otherwise than by its version 4.5.
    // Debug information for those who step through a kernel; it costs nothing at run time.
    build.debug(true);
    let folder = out.join(name);
    fs::create_dir_all(&folder).expect("OUT_DIR is writable");
    for source in sources {
        let file = folder.join(format!("{}.cpp", source.stem));
        fs::write(&file, unit(source)).expect("OUT_DIR is writable");
        build.file(file);
    }
    build
}

/// The translation unit: the kernel file and its trampolines.
fn unit(source: &Source) -> String {
    let mut text = format!("#include {:?}\n#include \"trampoline.h\"\n", source.path.display().to_string());
    for kernel in &source.kernels {
        let _ = writeln!(text, "ZFNET_TRAMPOLINE({kernel})");
    }
    text
}

/// The generated Rust: a declaration and an entry for each kernel.
fn table(sources: &[Source]) -> String {
    let kernels: Vec<_> = sources.iter().flat_map(|s| &s.kernels).collect();
    let mut text = "unsafe extern \"C\" {\n".to_owned();
    for kernel in &kernels {
        let _ = writeln!(text, "    static zfnet_emulated_{kernel}: Entry;");
    }
    text += "}\n";
    text += "/// Every kernel that was compiled for the emulator.\n";
    text += "pub fn emulated() -> Vec<Emulated> {\n    vec![\n";
    for kernel in &kernels {
        let _ = writeln!(
            text,
            "        // SAFETY: a constant that the C++ compiler laid out as `Entry`, never written.\n        \
             Emulated {{ name: {kernel:?}, entry: unsafe {{ &zfnet_emulated_{kernel} }} }},"
        );
    }
    text + "    ]\n}\n"
}
