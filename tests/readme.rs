//! README's commands do what it says: every `zfnet` line of its `sh` blocks runs, in order.

use std::fs;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../README.md");

/// The lines of all fenced blocks of `language`.
fn fenced(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}");
    let mut inside = false;
    let mut lines = Vec::new();
    for line in README.lines() {
        match line.starts_with("```") {
            true => inside = line == fence,
            false if inside => lines.push(line),
            false => {}
        }
    }
    lines
}

/// Two classes that colour tells apart, 20 JPEGs each.
fn photographs(folder: &Path) {
    for (class, tint) in [("daisy", [230u8, 210, 40]), ("violet", [90, 40, 200])] {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..20u32 {
            let picture = image::RgbImage::from_fn(97 + i, 81, |x, y| {
                let shade = (x * (i + 3) + y * 7) % 50;
                image::Rgb(tint.map(|v| v.saturating_sub(shade as u8)))
            });
            picture.save(folder.join(class).join(format!("{i:02}.jpg"))).unwrap();
        }
    }
}

#[test]
fn its_commands_run() {
    let scratch = tempfile::tempdir().unwrap();
    photographs(&scratch.path().join("photos"));
    fs::write(scratch.path().join("wider.toml"), fenced("toml").join("\n")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_zfnet")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let commands: Vec<&str> = fenced("sh").into_iter().filter(|line| line.starts_with("zfnet ")).collect();
    assert!(commands.len() >= 6, "README lost its commands: {commands:?}");
    for command in commands {
        let run = Command::new("sh").args(["-c", command]).current_dir(&scratch).env("PATH", &path).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{command}\n{out}\n{err}");
        assert!(!out.trim().is_empty(), "{command}: nothing on stdout");
    }
}

#[test]
fn it_names_every_preset_and_file() {
    for name in zfnet::net::preset::names() {
        assert!(README.contains(&format!("`{name}`")), "README does not name the preset {name}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for word in README.split('`').skip(1).step_by(2) {
        let is_path = ["src/", "scripts/", "benches/"].iter().any(|folder| word.starts_with(folder));
        if is_path && !word.contains('{') {
            assert!(root.join(word).exists(), "README names {word}, which is not there");
        }
    }
}
