//! The layers whose output is a feature.
//!
//! Layer i of the paper is the i-th convolution or linear layer together with the pooling and
//! normalisation behind it, and its feature is what it hands to the next layer. The last layer
//! is the classifier that a probe replaces, so it is none of them: ZFNet has layers 1 to 7.

use crate::error::{Error, Result};
use crate::net::{LayerOp, Plan};

/// A layer whose output is a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// 1 for the layer next to the image.
    pub number: usize,
    /// Its convolution or linear layer: `conv1`.
    pub name: String,
    /// The blob that it hands on, after ReLU, pooling and normalisation: `lrn1`.
    pub blob: String,
    /// Values of that blob for one image, in the order (H, W, C).
    pub d: usize,
}

impl Retained {
    /// Every such layer of a network, from the image up.
    pub fn all(plan: &Plan) -> Vec<Retained> {
        let mut layers: Vec<Retained> = Vec::new();
        for layer in &plan.layers {
            let (blob, d) = (layer.name.clone(), layer.output.len());
            match layer.op {
                LayerOp::Conv { .. } | LayerOp::Linear { .. } => {
                    layers.push(Retained { number: layers.len() + 1, name: layer.name.clone(), blob, d });
                }
                // What stands below the first convolution has learned nothing.
                LayerOp::Pool(_) | LayerOp::Lrn(_) => {
                    if let Some(last) = layers.last_mut() {
                        (last.blob, last.d) = (blob, d);
                    }
                }
            }
        }
        layers.pop();
        layers
    }

    /// Those that `asked` names: `1..7` with both ends, `1,5,7`, or `all`.
    ///
    /// # Errors
    /// [`Error::Usage`] that lists the layers, if one is not there or there is none.
    pub fn choose(plan: &Plan, asked: &str) -> Result<Vec<Retained>> {
        let layers = Retained::all(plan);
        let refuse = |reason: String| {
            let there: Vec<String> = layers.iter().map(|l| format!("{} ({})", l.number, l.name)).collect();
            Err(Error::Usage(format!("--layers {asked}: {reason}; {} has {}", plan.name, there.join(", "))))
        };
        if asked == "all" && !layers.is_empty() {
            return Ok(layers);
        }
        let number = |digits: &str| digits.trim().parse::<usize>().ok();
        let numbers = match asked.split_once("..") {
            Some((first, last)) => number(first).zip(number(last)).map(|(first, last)| (first..=last).collect()),
            None => asked.split(',').map(number).collect::<Option<Vec<usize>>>(),
        };
        let Some(mut numbers) = numbers.filter(|numbers| !numbers.is_empty()) else {
            return refuse("expected all, 1..7 or 1,5,7".into());
        };
        numbers.sort_unstable();
        numbers.dedup();
        if let Some(missing) = numbers.iter().find(|&&n| n == 0 || n > layers.len()) {
            return refuse(format!("there is no layer {missing} below the classifier"));
        }
        Ok(numbers.into_iter().map(|n| layers[n - 1].clone()).collect())
    }
}
