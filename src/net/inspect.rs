//! Looking into a network: blobs, and where a value stopped being finite.

use crate::error::Result;
use crate::net::net::Net;
use crate::ops::Backend;

impl<B: Backend> Net<B> {
    /// The blob of layer `name` for the batch in hand: (N, P, Q, K).
    pub fn blob(&mut self, name: &str) -> Result<Vec<f32>> {
        let i = self.plan.layer_index(name)?;
        let mut out = vec![0f32; self.N * self.plan.layers[i].output.len()];
        self.backend.download(&self.blobs[i].y, &mut out)?;
        Ok(out)
    }

    /// The input crops of the batch in hand: (N, H, W, C).
    pub fn input(&mut self) -> Result<Vec<f32>> {
        let mut out = vec![0f32; self.N * self.plan.input.len()];
        self.backend.download(&self.input, &mut out)?;
        Ok(out)
    }

    /// Where the first value that is not finite stands, from the input up: in the
    /// input, in a layer's parameters, in its output. `None` if all are finite.
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
            if !finite(&self.blob(&name)?) {
                return Ok(Some(format!("the output of {name}")));
            }
        }
        Ok(None)
    }
}
