//! Looking into a network: blobs, what a layer does in words, and where a value stopped being finite.

use crate::error::Result;
use crate::net::net::Net;
use crate::net::plan::{Layer, LayerOp};
use crate::ops::Backend;

impl<B: Backend> Net<B> {
    /// The blob of layer `name` for the batch in hand: (N, P, Q, K).
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) if there is no such layer, or if a fused
    /// training step walked up last and did not keep its output.
    pub fn blob(&mut self, name: &str) -> Result<Vec<f32>> {
        let i = self.plan.layer_index(name)?;
        let layer = &self.plan.layers[i];
        let mut out = vec![0f32; self.N * layer.output.len()];
        self.backend.download(self.blobs[i].kept(layer)?, &mut out)?;
        Ok(out)
    }

    /// The input crops of the batch in hand: (N, H, W, C).
    pub fn input(&mut self) -> Result<Vec<f32>> {
        let mut out = vec![0f32; self.N * self.plan.input.len()];
        self.backend.download(&self.input, &mut out)?;
        Ok(out)
    }

    /// Where the first value that is not finite stands, from the input up: in the
    /// input, in a layer's parameters, in its output as far as the last walk kept it. `None` if
    /// all are finite.
    pub fn first_non_finite(&mut self) -> Result<Option<String>> {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if !finite(&self.input()?) {
            return Ok(Some("the input".into()));
        }
        for i in 0..self.plan.layers.len() {
            for p in 0..self.params.len() {
                let param = &self.params[p];
                if param.layer == i {
                    let mut data = vec![0f32; param.len()];
                    self.backend.download(&param.value, &mut data)?;
                    if !finite(&data) {
                        return Ok(Some(format!("parameter {}", param.name)));
                    }
                }
            }
            let name = self.plan.layers[i].name.clone();
            if self.blobs[i].kept && !finite(&self.blob(&name)?) {
                return Ok(Some(format!("the output of {name}")));
            }
        }
        Ok(None)
    }
}

impl Layer {
    /// What the layer does, in a few words: `conv 7x7, stride 2, pad 1, ReLU`.
    pub fn definition(&self) -> String {
        let relu = if self.relu() { ", ReLU" } else { "" };
        match &self.op {
            LayerOp::Conv { conv, .. } => {
                let groups = if conv.groups == 1 { String::new() } else { format!(", {} groups", conv.groups) };
                format!("conv {}x{}, stride {}, pad {}{groups}{relu}", conv.R, conv.S, conv.stride, conv.pad)
            }
            LayerOp::Pool(pool) => format!("max {0}x{0}, stride {1}", pool.R, pool.stride),
            LayerOp::Lrn(lrn) => {
                let alpha = if lrn.divide_alpha { "alpha/n" } else { "alpha" };
                format!("LRN n {}, k {}, {alpha} {:e}, beta {}", lrn.n, lrn.k, lrn.scale(), lrn.beta)
            }
            LayerOp::Linear { dropout, .. } => {
                let dropout = if *dropout == 0.0 { String::new() } else { format!(", dropout {dropout}") };
                format!("linear{relu}{dropout}")
            }
        }
    }
}
