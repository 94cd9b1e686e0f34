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
fn a_profile_takes_the_whole_step_apart() {
    let args = ["step", "--profile", "--device", "cpu", "--preset", "small", "--classes", "5", "--batch", "3"];
    let answer = json(&[&args[..], &["--steps", "1", "--json"]].concat());
    let profile = &answer["profile"];
    let ops = profile["ops"].as_array().unwrap();
    let of = |key: &'static str| ops.iter().map(move |op| op[key].as_f64().unwrap());
    let sum = profile["sum_ms"].as_f64().unwrap();
    assert!(of("ms").all(|ms| ms > 0.0) && answer["train_ms"].as_f64().unwrap() > 0.0, "{answer}");
    approx::assert_relative_eq!(of("ms").sum::<f64>(), sum, max_relative = 1e-9);
    approx::assert_relative_eq!(of("share_of_sum").sum::<f64>(), 1.0, max_relative = 1e-9);
    let floors: f64 = of("floor_ms").sum();
    approx::assert_relative_eq!(floors, profile["floor_ms"].as_f64().unwrap(), max_relative = 1e-9);
    assert!(ops.iter().all(|op| op["kernels"].as_array().unwrap().is_empty()), "the CPU has no kernels: {answer}");
    assert_eq!(of("flops").sum::<f64>(), 3.0 * small_flops().1);
    let rows: Vec<_> = ops.iter().map(|op| (op["layer"].as_str().unwrap(), op["op"].as_str().unwrap())).collect();
    let convs = ["conv1", "conv2", "conv3", "conv4"];
    let mut expected = vec![("input", "crop"), ("loss", "softmax"), ("all", "sgd")];
    expected.extend(convs.iter().flat_map(|l| ["fprop", "wgrad", "relu backward"].map(|op| (*l, op))));
    expected.extend(convs[1..].iter().map(|l| (*l, "dgrad")));
    expected.extend(["fc5", "fc6"].iter().flat_map(|l| ["fprop", "dgrad", "wgrad + sgd"].map(|op| (*l, op))));
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

/// Three pools, the first with the normalisation behind it in one launch: layers keep their names.
const POOLS: &str = r#"
[net]
name = "pools"
input = 28
[[layer]]
conv = "conv1"
filters = 8
kernel = 3
[[layer]]
pool = "pool1"
kernel = 3
stride = 2
[[layer]]
lrn = "lrn1"
[[layer]]
pool = "pool2"
kernel = 3
stride = 2
[[layer]]
linear = "fc3"
"#;

/// On the emulator each operation names the kernels it launched, and a fused one is one.
#[test]
fn a_profile_names_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.toml");
    std::fs::write(&file, POOLS).unwrap();
    let args = ["step", "--profile", "--device", "emulator", "--precision", "bf16", "--batch", "2", "--steps", "1"];
    let args = [&args[..], &["--classes", "3", "--preset", file.to_str().unwrap()]].concat();
    let answer = json(&[&args[..], &["--unfused", "--json"]].concat());
    assert_eq!(answer["fused"], false);
    let ops = answer["profile"]["ops"].as_array().unwrap();
    let text = |op: &Value, key: &str| op[key].as_str().unwrap().to_owned();
    let kernels = |layer: &str, name: &str| {
        let op = ops.iter().find(|op| text(op, "layer") == layer && text(op, "op") == name);
        let op = op.unwrap_or_else(|| panic!("{layer} {name} in {answer}"));
        op["kernels"].as_array().unwrap().iter().map(|k| k.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kernels("pool1, lrn1", "forward"), ["pool_lrn_forward_2_bf16"]);
    assert_eq!(kernels("pool2", "forward"), ["pool_forward_2_bf16"]);
    assert_eq!(kernels("pool1", "backward"), ["pool_unpool_2_bf16"]);
    assert_eq!(kernels("lrn1", "backward"), ["lrn_backward_2_bf16"]);
    let fprop = kernels("conv1", "fprop");
    assert_eq!(fprop[0], "conv_pad_filters_1_bf16", "images lie padded");
    assert!(fprop[1].starts_with("conv_fprop_4_bf16_n"), "{fprop:?}");
    assert_eq!(kernels("conv1", "wgrad")[1..], ["conv_wgrad_sum_2"], "its sum is cut");
    assert_eq!(kernels("all", "sgd"), ["sgd_step_2"]);
    assert!(ops.iter().all(|op| !op["kernels"].as_array().unwrap().is_empty()), "{answer}");

    // A fused step has rows of its own, and the other layers keep their names.
    let printed = String::from_utf8(bench(&args).stdout).unwrap();
    let has = |words: &[&str]| printed.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["conv1, pool1, lrn1", "forward", "conv_pool_lrn_forward_4_bf16_n96"]), "{printed}");
    assert!(has(&["pool2", "forward", "pool_forward_2_bf16"]), "{printed}");
    assert!(has(&["fc3", "wgrad + sgd", "linear_sgd_wgrad_4_bf16_n"]), "{printed}");
    assert!(printed.contains("kernels") && !printed.contains(" pool_lrn_forward_2_bf16"), "{printed}");
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
    assert!(status == Some(2) && stderr.contains("bench step --profile"), "{stderr}");
}
