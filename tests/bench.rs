//! `zfnet bench` as a program meets it, and the README's tables.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fixture;

fn bench(args: &[&str]) -> Output {
    assert_cmd::Command::cargo_bin("zfnet").unwrap().arg("bench").args(args).output().unwrap()
}

fn json(args: &[&str]) -> serde_json::Value {
    let output = bench(args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Multiply-adds of `small` with 5 classes, forward and without conv1's data gradient, two operations each.
fn small_flops() -> (f64, f64) {
    let output = assert_cmd::Command::cargo_bin("zfnet")
        .unwrap()
        .args(["info", "small", "--classes", "5", "--json"])
        .output()
        .unwrap();
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let total = info["total_macs"].as_f64().unwrap();
    (2.0 * total, 2.0 * (3.0 * total - info["layers"][0]["macs"].as_f64().unwrap()))
}

#[test]
fn step_reports_rates_that_agree() {
    let answer = json(&[
        "step",
        "--preset",
        "small",
        "--classes",
        "5",
        "--batch",
        "3",
        "--steps",
        "1",
        "--json",
        "--device",
        "cpu",
    ]);
    let number = |key: &str| answer[key].as_f64().unwrap_or_else(|| panic!("{key} in {answer}"));
    assert_eq!((&answer["preset"], &answer["batch"], &answer["classes"]), (&"small".into(), &3.into(), &5.into()));
    assert!(answer["device"].as_str().unwrap().starts_with("cpu, f32"), "{answer}");
    assert!(number("threads") >= 1.0 && number("peak_gflops") > 0.0);
    let (forward, train) = small_flops();
    for (pass, flops) in [("forward", forward), ("train", train)] {
        let rate = number(&format!("{pass}_images_per_s"));
        assert!(rate > 0.0 && rate.is_finite(), "{answer}");
        approx::assert_relative_eq!(rate, 3e3 / number(&format!("{pass}_ms")), max_relative = 1e-9);
        approx::assert_relative_eq!(number(&format!("{pass}_gflops")), rate * flops / 1e9, max_relative = 1e-9);
    }
    if cfg!(target_os = "linux") {
        assert!(number("forward_cpu_s") >= 0.0 && number("train_cpu_s") >= 0.0);
        // The parameters with gradients and momentum must have been resident.
        assert!(number("peak_bytes") > 3.0 * 4.0 * 500_000.0, "{answer}");
    }
    assert!(number("loss").is_finite());
}

#[test]
fn ops_take_the_whole_step_apart() {
    let answer = json(&["ops", "--preset", "small", "--classes", "5", "--batch", "3", "--steps", "1", "--json"]);
    let ops = answer["ops"].as_array().unwrap();
    let of = |key: &'static str| ops.iter().map(move |op| op[key].as_f64().unwrap());
    // With one step, medians are what they are: the parts cannot take longer than the whole.
    let parts: f64 = of("ms").sum();
    let whole = answer["train_ms"].as_f64().unwrap();
    assert!(parts > 0.0 && parts <= whole, "{parts} of {whole} ms");
    assert_eq!(of("flops").sum::<f64>(), 3.0 * small_flops().1);
    let rows: Vec<_> = ops.iter().map(|op| (op["layer"].as_str().unwrap(), op["op"].as_str().unwrap())).collect();
    let convs = ["conv1", "conv2", "conv3", "conv4"];
    let mut expected = vec![("input", "crop"), ("loss", "softmax"), ("all", "sgd")];
    expected.extend(convs.iter().flat_map(|l| ["fprop", "wgrad", "relu backward"].map(|op| (*l, op))));
    expected.extend(convs[1..].iter().map(|l| (*l, "dgrad")));
    expected.extend(["fc5", "fc6"].iter().flat_map(|l| ["fprop", "dgrad", "wgrad"].map(|op| (*l, op))));
    expected.extend(
        ["pool1", "lrn1", "pool2", "lrn2", "pool4"].iter().flat_map(|l| ["forward", "backward"].map(|op| (*l, op))),
    );
    expected.extend([("fc5", "relu backward"), ("fc5", "dropout")]);
    let sorted = |mut rows: Vec<_>| {
        rows.sort_unstable();
        rows
    };
    assert_eq!(sorted(rows), sorted(expected));
}

#[test]
fn unknown_devices_and_presets_are_refused() {
    let output = bench(&["step", "--preset", "smal"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("did you mean `small`?"));
    assert_eq!(bench(&["step", "--device", "abacus"]).status.code(), Some(2));
}

/// README's tables are those of the stored measurements, and a changed figure is noticed.
#[test]
fn readme_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = |args: &[&str]| Command::new("python3").arg(root.join("scripts/readme-tables")).args(args).output();
    let Ok(output) = check(&["--check"]) else {
        println!("SKIP: no python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let drifted = folder.path().join("README.md");
    std::fs::write(&drifted, readme.replacen("<!-- /bench:cpu -->", "drift\n<!-- /bench:cpu -->", 1)).unwrap();
    let drifted = drifted.to_str().unwrap();
    assert_eq!(check(&["--check", "--readme", drifted]).unwrap().status.code(), Some(1));
    assert!(check(&["--readme", drifted]).unwrap().status.success());
    assert_eq!(std::fs::read_to_string(drifted).unwrap(), readme);
}

/// On the emulator without a rival; a layer's wrong kernel would stop it, and the CPU has another command.
#[test]
fn convs_are_verified_and_timed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    let layers = [
        "[net]\nname = \"two\"\ninput = 13",
        "[[layer]]\nconv = \"conv1\"\nfilters = 8\nkernel = 5\nstride = 2\npad = 1",
        "[[layer]]\nconv = \"conv2\"\nfilters = 16\nkernel = 3\npad = 1",
        "[[layer]]\nlinear = \"fc3\"",
    ];
    std::fs::write(&file, layers.join("\n")).unwrap();
    for precision in ["f32", "bf16"] {
        let mut command =
            fixture::zfnet(["bench", "convs", "--device", "emulator", "--precision", precision, "--json"]);
        command.args(["--batch", "2", "--steps", "1", "--classes", "5", "--preset"]).arg(&file);
        let (status, stdout, stderr) = fixture::outcome(&mut command);
        assert_eq!(status, Some(0), "{stderr}");
        assert!(stderr.contains("without cuDNN: the emulator"), "{stderr}");
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        let of = |t: &Value| [&t["layer"], &t["direction"]].map(|v| v.as_str().unwrap().to_owned()).join(" ");
        let times = answer["convs"].as_array().unwrap();
        assert!(times.iter().all(|t| t["ms"].as_f64().unwrap() > 0.0 && t["cudnn_ms"].is_null()), "{stdout}");
        let names: Vec<String> = times.iter().map(of).collect();
        assert_eq!(names, ["conv1 fprop", "conv1 wgrad", "conv2 fprop", "conv2 dgrad", "conv2 wgrad"]);
    }
    let (status, _, stderr) = fixture::outcome(&mut fixture::zfnet(["bench", "convs", "--device", "cpu"]));
    assert!(status == Some(2) && stderr.contains("bench ops"), "{stderr}");
}
