//! CUDA C++ to fatbins: one a source file, each with machine code for every
//! architecture in [`ARCHS`] and PTX for what comes later.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt::Write as _, fs, thread};

use crate::scan::Source;

/// Ampere, Hopper with its own instructions, and PTX that the driver compiles for
/// anything newer. `ZFNET_CUDA_ARCHS` replaces the list.
const ARCHS: &str = "sm_80,sm_90a,compute_80";

/// Compiles `sources`; the text of the table that `src/device/image.rs` includes.
pub fn compile(root: &Path, sources: &[Source], out: &Path) -> String {
    for variable in ["ZFNET_NVCC", "ZFNET_CUDA_ARCHS", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PATH"]
    {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let Some(nvcc) = find(root) else {
        return table(None, "", &[], &[]);
    };
    // Only what exists may be watched: cargo takes a missing file for a changed one.
    println!("cargo:rerun-if-changed={}", nvcc.display());

    let archs = env::var("ZFNET_CUDA_ARCHS").unwrap_or_else(|_| ARCHS.into());
    let sources: Vec<&Source> = sources.iter().filter(|s| !wanted(&archs, s).is_empty()).collect();
    let results: Vec<_> = thread::scope(|scope| {
        let (nvcc, archs) = (&nvcc, &archs);
        let compile = |source| move || fatbin(nvcc, &wanted(archs, source), root, source, out);
        let jobs: Vec<_> = sources.iter().map(|&source| scope.spawn(compile(source))).collect();
        jobs.into_iter().map(|job| job.join().expect("a compiling thread does not panic")).collect()
    });
    let mut usage = vec![];
    for (source, result) in sources.iter().zip(results) {
        match result {
            Ok(log) => {
                refuse_serialised(source, &log);
                usage.extend(resources(source, &log));
            }
            Err(log) => panic!("\n{log}\n"),
        }
    }
    refuse_spills(&usage);
    table(Some(&nvcc), &archs, &sources, &usage)
}

/// The compiler: the first of the places that the README names.
fn find(root: &Path) -> Option<PathBuf> {
    if let Some(path) = env::var_os("ZFNET_NVCC") {
        if path.is_empty() {
            return None; // Said on purpose: build without CUDA kernels.
        }
        let path = PathBuf::from(path);
        assert!(path.is_file(), "ZFNET_NVCC={} is not a file; unset it, or let it name nvcc", path.display());
        return Some(path);
    }
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(env::var_os).map(|t| PathBuf::from(t).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from);
    let wheels = environments.chain([root.join(".venv")]).flat_map(|e| wheels(&e));
    let mut folders =
        toolkits.chain(env::split_paths(&path)).chain([PathBuf::from("/usr/local/cuda/bin")]).chain(wheels);
    folders.find_map(|folder| Some(folder.join("nvcc")).filter(|nvcc| nvcc.is_file()))
}

/// Where the wheels of nvcc 13 lie in a Python environment: lib/python3.*/site-packages/nvidia/cu13/bin.
fn wheels(environment: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    versions.map(|v| v.path().join("site-packages/nvidia/cu13/bin")).collect()
}

/// Those of `archs` that a file is for.
fn wanted<'a>(archs: &'a str, source: &Source) -> Vec<&'a str> {
    let is_for = |arch: &&str| source.archs.is_empty() || source.archs.iter().any(|a| a == arch);
    archs.split(',').map(str::trim).filter(is_for).collect()
}

/// Compiles one file; what the compiler said, either way.
fn fatbin(nvcc: &Path, archs: &[&str], root: &Path, source: &Source, out: &Path) -> Result<String, String> {
    let mut command = Command::new(nvcc);
    command.args(["-fatbin", "-std=c++17", "-O3", "-lineinfo", "-Werror=all-warnings", "-Xptxas=-v"]);
    for arch in archs {
        command.args(["-gencode", &gencode(arch)]);
    }
    let include = root.join("kernels/include");
    command.arg("-I").arg(include.join("ptx")).arg("-I").arg(&include);
    command.arg("-o").arg(image(out, source)).arg(&source.path);
    // nvcc from a wheel finds its own headers; a foreign CPATH must not come before them.
    command.env_remove("CPATH");
    let line = format!("{command:?}");
    let output = command.output().map_err(|e| format!("cannot run {}: {e}", nvcc.display()))?;
    let text = [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat();
    if output.status.success() { Ok(text) } else { Err(format!("{line}\n{text}{}", output.status)) }
}

fn gencode(arch: &str) -> String {
    match (arch.strip_prefix("sm_"), arch.strip_prefix("compute_")) {
        (Some(version), _) => format!("arch=compute_{version},code=sm_{version}"),
        (_, Some(version)) => format!("arch=compute_{version},code=compute_{version}"),
        _ => panic!("ZFNET_CUDA_ARCHS holds `{arch}`; write for instance sm_80,sm_90a,compute_80"),
    }
}

fn image(out: &Path, source: &Source) -> PathBuf {
    out.join(format!("{}.fatbin", source.stem))
}

/// What one kernel takes on one architecture.
struct Usage {
    kernel: String,
    arch: String,
    registers: u32,
    spilled: u32,
    stack: u32,
    shared: u32,
}

/// Reads the report of `ptxas -v`.
fn resources(source: &Source, log: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = vec![];
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut quoted = rest.split('\'');
            let (kernel, arch) = (quoted.next().unwrap_or(""), quoted.nth(1).unwrap_or(""));
            let (kernel, arch) = (kernel.to_owned(), arch.to_owned());
            all.push(Usage { kernel, arch, registers: 0, spilled: 0, stack: 0, shared: 0 });
        }
        let Some(usage) = all.last_mut() else { continue };
        let count = |what| number_before(line, what).unwrap_or(0);
        usage.stack += count(" bytes stack frame");
        usage.spilled += count(" bytes spill stores") + count(" bytes spill loads");
        usage.registers += count(" registers");
        usage.shared += count(" bytes smem");
    }
    for kernel in &source.kernels {
        let found = all.iter().any(|u| u.kernel == *kernel);
        assert!(found || all.is_empty(), "{}: ptxas reports nothing about {kernel}", source.path.display());
    }
    all
}

fn number_before(line: &str, what: &str) -> Option<u32> {
    let at = line.find(what)?;
    line[..at].rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Products of warpgroups that wait for each other: ptxas mentions them, and does not call it a warning.
fn refuse_serialised(source: &Source, log: &str) {
    let remarks: Vec<_> = log.lines().filter(|line| line.contains("wgmma") && line.contains("serialized")).collect();
    assert!(remarks.is_empty(), "\n{}: products that do not overlap:\n{}\n", source.path.display(), remarks.join("\n"));
}

fn refuse_spills(usage: &[Usage]) {
    let spilling: Vec<_> = usage
        .iter()
        .filter(|u| u.spilled > 0)
        .map(|u| format!("{} for {}: {} bytes spilled, {} registers", u.kernel, u.arch, u.spilled, u.registers))
        .collect();
    assert!(spilling.is_empty(), "\nkernels whose registers spill into memory:\n{}\n", spilling.join("\n"));
}

/// The generated Rust: images, and what each kernel takes.
fn table(nvcc: Option<&Path>, archs: &str, sources: &[&Source], usage: &[Usage]) -> String {
    let mut text = String::new();
    let images = if nvcc.is_some() { sources } else { &[] };
    let _ =
        writeln!(text, "/// The architectures compiled for; empty without nvcc.\npub const ARCHS: &str = {archs:?};");
    let _ = writeln!(text, "/// One image a file of `kernels/`; none without nvcc.\npub static IMAGES: &[Image] = &[");
    for source in images {
        let Source { stem, kernels, archs, .. } = source;
        let file = format!("/{stem}.fatbin");
        let bytes = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), {file:?}))");
        let _ = writeln!(
            text,
            "    Image {{ stem: {stem:?}, kernels: &{kernels:?}, archs: &{archs:?}, fatbin: {bytes} }},"
        );
    }
    let _ = writeln!(
        text,
        "];\n/// Registers and memory of each kernel on each architecture.\npub static USAGE: &[Usage] = &["
    );
    for Usage { kernel, arch, registers, stack, shared, .. } in usage {
        let _ = writeln!(
            text,
            "    Usage {{ kernel: {kernel:?}, arch: {arch:?}, registers: {registers}, stack: {stack}, shared: {shared} }},"
        );
    }
    text + "];\n"
}
