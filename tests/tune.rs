//! `zfnet bench tune` on the emulator, whose times mean nothing: what it does with them is what counts.

use std::fs;

use serde_json::Value;
use zfnet::ops::tile_table::TileTable;

use crate::fixture;

/// Two convolutions and a linear layer, all products of which are smaller than a tile.
const NET: &str = r#"
[net]
name = "two"
input = 13
[[layer]]
conv = "conv1"
filters = 8
kernel = 5
stride = 2
pad = 1
[[layer]]
conv = "conv2"
filters = 16
kernel = 3
pad = 1
[[layer]]
linear = "fc3"
"#;

/// Another GPU's entry, and one for conv2 that was measured before: 2 images, outputs 6 x 6 x 16, windows 3 x 3 x 8.
const BEFORE: &str = r#"
tile = [
  { gpu = "sm_80 x 108", precision = "bf16", product = "conv_fprop", rows = 72, columns = 16, depth = 72, parts = 1, kernel = "conv_fprop_3_bf16", us = 1.5, formula_us = 2, measured = "long ago" },
  { gpu = "sm_90 x 3", precision = "bf16", product = "conv_fprop", rows = 72, columns = 16, depth = 72, parts = 1, kernel = "conv_fprop_0", us = 1, formula_us = 2, measured = "long ago" },
]
"#;

#[test]
fn entries_are_measured_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let [net, tiles] = ["two.toml", "tiles.toml"].map(|name| folder.path().join(name));
    fs::write(&net, NET).unwrap();
    fs::write(&tiles, BEFORE).unwrap();
    let tune = || {
        let mut command = fixture::zfnet(["bench", "tune", "--device", "emulator", "--precision", "bf16", "--json"]);
        command.args(["--batch", "2", "--steps", "1", "--classes", "5", "--preset"]).arg(&net);
        command.arg("--write").arg(&tiles);
        fixture::outcome(&mut command)
    };
    let (status, stdout, stderr) = tune();
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let products = answer["products"].as_array().unwrap();
    let text = |v: &Value, key: &str| v[key].as_str().unwrap().to_owned();
    let names: Vec<_> = products.iter().map(|p| [text(p, "layer"), text(p, "direction")].join(" ")).collect();
    let all = ["fprop", "dgrad", "wgrad"];
    let expected: Vec<_> = ["conv1", "conv2", "fc3"].iter().flat_map(|l| all.map(|d| format!("{l} {d}"))).collect();
    assert_eq!(names, expected.into_iter().filter(|n| n != "conv1 dgrad").collect::<Vec<_>>());

    let before = TileTable::parse("before", BEFORE).unwrap();
    let table = TileTable::parse("after", &fs::read_to_string(&tiles).unwrap()).unwrap();
    assert_eq!(table.entries().count(), products.len() + 1, "one more: the other GPU's");
    let (foreign, kept) = before.entries().next().unwrap();
    assert_eq!(table.find(foreign), Some(kept));
    for product in products {
        let (candidates, taken) = (product["candidates"].as_array().unwrap(), product["taken"].as_u64().unwrap());
        let direction = text(product, "product");
        for kernel in ["3_bf16", "4_bf16_n96", "4_bf16_n128", "4_bf16_n192", "4_bf16_n256"] {
            let is_it = |c: &&Value| text(c, "kernel") == format!("{direction}_{kernel}");
            assert!(candidates.iter().any(|c| is_it(&c)), "{kernel} of {product}");
        }
        // Where hardware can copy them, and nowhere else: a row of conv2's dw is no whole piece.
        let bulk = candidates.iter().any(|c| text(c, "kernel").contains("_5_bf16_n"));
        assert_eq!(bulk, text(product, "layer") == "conv2" && direction != "conv_wgrad", "{product}");
        assert!(candidates.iter().all(|c| c["us"].as_f64().unwrap() > 0.0), "{product}");
        let size = ["rows", "columns", "depth", "parts"].map(|key| product[key].as_u64().unwrap() as usize);
        let is_it = |k: &zfnet::ops::tile_table::TileKey| {
            let of = [k.size.rows, k.size.columns, k.size.depth, k.size.parts];
            k.product == direction && of == size && k.gpu.to_string() == text(product, "gpu")
        };
        let (_, tile) = table.entries().find(|(key, _)| is_it(key)).unwrap();
        let best = &candidates[taken as usize];
        assert_eq!(tile.kernel, text(best, "kernel"));
        assert_eq!(tile.splits, best["splits"].as_u64().map(|n| n as usize));
        approx::assert_abs_diff_eq!(tile.us, best["us"].as_f64().unwrap(), epsilon = 0.006);
        assert!(tile.measured.ends_with(", no driver") && tile.measured.starts_with("20"), "{tile:?}");
    }

    fs::write(&tiles, BEFORE.replace("depth = 72", "depth = \"deep\"")).unwrap();
    let (status, _, stderr) = tune();
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("tiles.toml, line 3: tile.depth: must be a whole number"), "{stderr}");
    assert!(fs::read_to_string(&tiles).unwrap().contains("deep"), "what is broken is not overwritten");
}

#[test]
fn the_cpu_has_nothing_to_choose() {
    let (status, _, stderr) = fixture::outcome(&mut fixture::zfnet(["bench", "tune", "--device", "cpu"]));
    assert!(status == Some(2) && stderr.contains("bench tune chooses among kernels"), "{stderr}");
}
