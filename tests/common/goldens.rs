//! Golden vectors: results that PyTorch computed in f64 and rounded once to f32.
//!
//! They stand in `../shared/goldens` (its README has the conventions) or where
//! `ZFNET_GOLDENS` says. Tensors there are NCHW and OIHW.

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use zfnet::ops::Real;

use super::compare::{Tolerance, roundoff};
use super::layout::nchw_to_nhwc;
use super::values::cast;

/// One case, e.g. `conv/3`: its parameters and its tensors.
pub struct Case {
    pub name: String,
    parameters: Value,
    tensors: BTreeMap<String, Golden>,
}

/// One tensor. f64 holds every value that the files' types can.
pub struct Golden {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// All cases of a family (`conv`, `maxpool`, `ce`, ...), in order. None, with a
/// word on it, if the folder is not there; asked for by `ZFNET_GOLDENS`, it must be.
pub fn cases(family: &str) -> Option<Vec<Case>> {
    let asked = std::env::var_os("ZFNET_GOLDENS").map(PathBuf::from);
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/goldens"));
    let folder = asked.clone().unwrap_or_else(default);
    if asked.is_none() && !folder.is_dir() {
        println!("SKIP: {family}: no golden vectors in {}; set ZFNET_GOLDENS", folder.display());
        return None;
    }
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
    };
    let meta: Value = serde_json::from_slice(&read("meta.json")).unwrap();
    let all = meta["cases"].as_object().unwrap();
    let mut files = BTreeMap::new();
    let cases: Vec<Case> = (0..)
        .map(|i| format!("{family}/{i}"))
        .map_while(|name| all.get(&name).map(|parameters| (name, parameters)))
        .map(|(name, parameters)| {
            let file = parameters["file"].as_str().unwrap();
            let bytes = files.entry(file).or_insert_with(|| read(file));
            Case { tensors: tensors_of(&name, bytes), parameters: parameters.clone(), name }
        })
        .collect();
    assert!(!cases.is_empty(), "meta.json lists no case of {family}");
    Some(cases)
}

fn tensors_of(case: &str, file: &[u8]) -> BTreeMap<String, Golden> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let own = tensors.iter().filter_map(|(name, view)| Some((name.strip_prefix(case)?.strip_prefix('/')?, view)));
    let widened = own.map(|(name, view)| {
        let words = || view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        let values = match view.dtype() {
            Dtype::F32 => words().map(|b| f64::from(f32::from_le_bytes(b))).collect(),
            Dtype::I32 => words().map(|b| f64::from(i32::from_le_bytes(b))).collect(),
            Dtype::U8 => view.data().iter().map(|b| f64::from(*b)).collect(),
            other => panic!("{case}/{name}: unexpected type {other:?}"),
        };
        (name.to_owned(), Golden { shape: view.shape().to_vec(), values })
    });
    widened.collect()
}

impl Case {
    pub fn tensor(&self, name: &str) -> &Golden {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name))
    }

    /// The largest magnitude in tensor `name`.
    pub fn largest(&self, name: &str) -> f64 {
        self.tensor(name).values.iter().fold(0.0_f64, |m, v| m.max(v.abs()))
    }

    /// The values of tensor `name`, in T.
    pub fn values<T: Real>(&self, name: &str) -> Vec<T> {
        cast(&self.tensor(name).values)
    }

    /// Tensor `name` with its channels last, in T: NCHW becomes NHWC, OIHW becomes KRSC.
    pub fn channels_last<T: Real>(&self, name: &str) -> Vec<T> {
        let golden = self.tensor(name);
        cast(&nchw_to_nhwc(&golden.values, golden.shape4()))
    }

    /// The largest error of PyTorch's own f32 in tensor or group `name`.
    pub fn f32_error(&self, name: &str) -> f64 {
        self.parameters["f32_err"][name].as_f64().unwrap_or_else(|| panic!("{}: no f32_err of {name}", self.name))
    }

    pub fn number(&self, key: &str) -> f64 {
        self.parameters[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }

    pub fn count(&self, key: &str) -> usize {
        self.parameters[key].as_u64().unwrap_or_else(|| panic!("{}: no count {key}", self.name)) as usize
    }

    pub fn flag(&self, key: &str) -> bool {
        self.parameters[key].as_bool().unwrap_or_else(|| panic!("{}: no flag {key}", self.name))
    }

    /// The entries of an object, name by name.
    pub fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Value)> {
        let object = self.parameters[key].as_object().unwrap_or_else(|| panic!("{}: no object {key}", self.name));
        object.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A list of numbers.
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        let list = self.parameters[key].as_array().unwrap_or_else(|| panic!("{}: no list {key}", self.name));
        list.iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// How far a result in T may be from tensor `name`.
    ///
    /// The golden was rounded once to f32 (2^-24 relative, 2^-149 at the least),
    /// and sums of order 1 were taken in f64. In f32 four further roundings are
    /// allowed, and four times the largest error that PyTorch's own f32 made.
    pub fn tolerance<T: Real>(&self, name: &str) -> Tolerance {
        let (once, smallest) = (roundoff::<f32>(), 2.0_f64.powi(-149));
        if size_of::<T>() == 4 {
            let torch = self.parameters["f32_err"][name].as_f64().unwrap_or(0.0);
            Tolerance { rel: 5.0 * once, abs: 4.0 * torch + smallest }
        } else {
            Tolerance { rel: once, abs: 64.0 * roundoff::<f64>() * self.largest(name) + smallest }
        }
    }
}

impl Golden {
    pub fn shape4(&self) -> [usize; 4] {
        self.shape.as_slice().try_into().expect("a tensor of four dimensions")
    }
}
