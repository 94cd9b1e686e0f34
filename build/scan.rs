//! Finds the kernels of a source file, so that no kernel has to be registered by hand.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A source file and the kernels it defines.
pub struct Source {
    pub path: PathBuf,
    /// Its name without `.cu`.
    pub stem: String,
    pub kernels: Vec<String>,
    /// The architectures it is for, from a line `// architectures: sm_90a`; none for all.
    pub archs: Vec<String>,
}

/// The `.cu` files of `folder`, by name.
pub fn sources(folder: &Path) -> Vec<Source> {
    let mut paths = entries(folder).unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
    paths.retain(|path| path.extension().is_some_and(|e| e == "cu"));
    paths.sort();
    paths.into_iter().map(source).collect()
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect()
}

fn source(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let kernels = kernels(&text);
    assert!(
        !kernels.is_empty(),
        "{} defines no kernel; one looks like: extern \"C\" __global__ void name(",
        path.display()
    );
    let stem = path.file_stem().expect("a .cu file has a name").to_string_lossy().into_owned();
    let named = text.lines().find_map(|line| line.strip_prefix("// architectures: "));
    let archs = named.into_iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect();
    Source { path, stem, kernels, archs }
}

/// Names in `extern "C" __global__ void [__launch_bounds__(..)] name(`.
fn kernels(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join(" ");
    let mut names = vec![];
    for declaration in code.split("extern \"C\" __global__").skip(1) {
        let words = without_launch_bounds(declaration);
        let head = words.split('(').next().unwrap_or("");
        let name = head.split_whitespace().last().unwrap_or("");
        assert!(
            head.split_whitespace().next() == Some("void") && !name.is_empty(),
            "cannot read the kernel's name in: extern \"C\" __global__{}",
            declaration.chars().take(60).collect::<String>()
        );
        names.push(name.to_owned());
    }
    names
}

fn without_launch_bounds(declaration: &str) -> String {
    let Some(at) = declaration.find("__launch_bounds__").filter(|at| !declaration[..*at].contains('{')) else {
        return declaration.to_owned();
    };
    let (mut depth, mut end) = (0, at);
    for (i, c) in declaration[at..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => {
                end = at + i + 1;
                break;
            }
            ')' => depth -= 1,
            _ => {}
        }
    }
    format!("{} {}", &declaration[..at], &declaration[end..])
}
