//! `zfnet gradcheck`: it passes where the gradients are right, and can fail.

use serde_json::Value;
use zfnet::check::{self, Tolerance};
use zfnet::ops::Cpu;

use crate::fixture;

#[test]
fn the_cpu_is_right() {
    let mut command = fixture::zfnet(["gradcheck", "--device", "cpu", "--json"]);
    let (status, stdout, stderr) = fixture::outcome(&mut command);
    assert_eq!(status, Some(0), "{stderr}{stdout}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let rows = answer["gradients"].as_array().unwrap();
    assert_eq!((answer["failed"].as_u64(), rows.iter().all(|row| row["passed"] == true)), (Some(0), true));
    // Every operation that has a gradient, and every parameter of the network.
    for op in ["conv", "linear", "pool", "lrn", "relu", "dropout", "softmax", "net"] {
        assert!(rows.iter().any(|row| row["case"].as_str().unwrap().starts_with(op)), "{op} is not checked");
    }
    for name in ["conv1.weight", "conv2.bias", "fc4.weight"] {
        assert!(rows.iter().any(|row| row["by"] == name), "{name} is not checked");
    }
}

/// The kernels, in every precision.
#[test]
fn the_emulator_is_right() {
    for precision in ["f32", "tf32", "bf16"] {
        let mut command = fixture::zfnet(["gradcheck", "--device", "emulator", "--precision", precision]);
        let (status, stdout, stderr) = fixture::outcome(&mut command);
        assert_eq!(status, Some(0), "{stderr}{stdout}");
        assert!(stdout.contains(&format!("thread by thread), {precision}.")) && stdout.contains("gradients are right"));
    }
}

/// f32 is not f64: with nothing allowed the rows of f32 fail, those of f64 do not.
#[test]
fn a_distance_is_noticed() {
    let nothing = Tolerance { op: 0.0, net: 0.0 };
    let f32_rows = check::ops(&mut Cpu::<f32>::new(), nothing).unwrap();
    assert!(f32_rows.iter().any(|row| !row.passed() && row.backend > 0.0), "{f32_rows:?}");
    let f64_rows = check::ops(&mut Cpu::<f64>::new(), nothing).unwrap();
    assert!(f64_rows.iter().all(|row| row.passed()), "{f64_rows:?}");
}
