//! `zfnet info` as a program or a person meets it.

use std::process::Output;

fn info(args: &[&str]) -> Output {
    assert_cmd::Command::cargo_bin("zfnet").unwrap().arg("info").args(args).output().unwrap()
}

fn json(args: &[&str]) -> serde_json::Value {
    let output = info(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn json_has_the_paper_s_numbers() {
    let info = json(&["zfnet", "--classes", "1000", "--batch", "2"]);
    assert_eq!(info["total_params"], 62_357_608);
    assert_eq!(info["total_macs"], 1_168_032_896);
    assert_eq!(info["input"], serde_json::json!([224, 224, 3]));
    let layers = info["layers"].as_array().unwrap();
    let sides: Vec<u64> = layers.iter().map(|l| l["output"][0].as_u64().unwrap()).collect();
    assert_eq!(sides, [110, 55, 55, 26, 13, 13, 13, 13, 13, 6, 1, 1, 1]);
    let conv2 = &layers[3];
    assert_eq!((conv2["name"].as_str(), conv2["kind"].as_str()), (Some("conv2"), Some("conv")));
    assert_eq!(conv2["output"], serde_json::json!([26, 26, 256]));
    assert_eq!((&conv2["params"], &conv2["macs"]), (&614_656.into(), &415_334_400.into()));
    assert_eq!((&conv2["receptive_field"], &conv2["jump"]), (&27.into(), &8.into()));
    assert_eq!(conv2["memory_bytes"], 4 * (2 * 26 * 26 * 256 + 3 * 614_656));
    let sum = |key: &str| layers.iter().map(|l| l[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("params"), sum("macs")), (62_357_608, 1_168_032_896));
    let memory = info["memory"].as_object().unwrap();
    assert_eq!(memory["parameters"], 4 * 62_357_608u64);
    assert_eq!(info["total_memory_bytes"], memory.values().map(|v| v.as_u64().unwrap()).sum::<u64>());
}

#[test]
fn text_is_an_aligned_table() {
    let output = info(&["zfnet"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let rows: Vec<&str> = text.lines().skip(2).take(16).collect();
    assert!(rows[0].starts_with("layer ") && rows[0].ends_with("memory"), "{text}");
    assert!(rows[2].starts_with("conv1  110 x 110 x 96  conv 7x7, stride 2, pad 1, ReLU"), "{text}");
    assert!(rows[15].contains("62,357,608") && rows[15].contains("1,168,032,896"), "{text}");
    let end = |row: &str, cell: &str| row.find(cell).map(|at| at + cell.len());
    assert_eq!(end(rows[2], "170,755,200"), end(rows[15], "1,168,032,896"), "{text}");
    assert!(rows.iter().all(|row| row.len() <= rows[0].len()), "{text}");
}

#[test]
fn classes_come_from_the_option_or_the_description() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "base = \"small\"\n[net]\nname = \"mine\"\n[change.fc6]\noutputs = 17\n").unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(json(&[path])["classes"], 17);
    assert_eq!(json(&["small"])["classes"], 1000);
    assert_eq!(json(&["small", "--classes", "5"])["layers"][10]["output"], serde_json::json!([1, 1, 5]));
    let refused = info(&[path, "--classes", "5"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("mine.toml, line 5: fc6.outputs: 17 outputs cannot score 5 classes"), "{message}");
}

#[test]
fn what_does_not_exist_is_bad_usage_and_lists_what_does() {
    for (args, expected) in [
        (&["zfnit"][..], "did you mean `zfnet`?"),
        (&["vgg"], "alexnet-no3467"),
        (&["small", "--classes", "0"], "--classes"),
        (&["small", "--batch", "many"], "--batch"),
        (&[], "PRESET|FILE|RUN"),
    ] {
        let output = info(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(output.stdout.is_empty());
    }
    let missing = info(&["no/such/file.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("cannot read no/such/file.toml"));
}

#[test]
fn help_shows_an_example_and_the_presets() {
    let text = String::from_utf8(info(&["--help"]).stdout).unwrap();
    assert!(text.contains("zfnet info small --classes 5") && text.contains("zfnet-wide-fc8192"), "{text}");
}
