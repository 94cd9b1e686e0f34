//! Parameters: their values, gradients and momentum, and their way to the host and back.

use crate::error::{Error, Result};
use crate::net::net::Net;
use crate::ops::Backend;
use crate::ops::linear_sgd::Trained;
use crate::tensor::NamedTensor;

/// One trainable tensor.
pub struct Param<B: Backend> {
    /// `<layer>.weight` or `<layer>.bias`.
    pub name: String,
    /// (K, R, S, C/groups), (out, in), or (K).
    pub shape: Vec<usize>,
    /// Index of the layer it belongs to.
    pub layer: usize,
    /// Current value.
    pub value: B::Buf,
    /// What training adds to it; `None` in a network built for evaluation alone.
    pub training: Option<Training<B>>,
}

/// What training keeps beside each parameter, in the parameter's shape.
pub struct Training<B: Backend> {
    /// Gradient of the mean loss, from the last backward pass.
    pub grad: B::Buf,
    /// Momentum.
    pub momentum: B::Buf,
}

impl<B: Backend> Param<B> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if it has no element (never, in a planned network).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weights have two axes or more, biases one.
    pub fn is_bias(&self) -> bool {
        self.shape.len() == 1
    }

    /// Inputs that one output sums over: elements of one filter.
    pub fn fan_in(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

impl<B: Backend> Param<B> {
    pub(super) fn training_mut(&mut self) -> Result<&mut Training<B>> {
        self.training.as_mut().ok_or_else(not_for_training)
    }

    /// It with what an update of it needs.
    pub(super) fn trained(&mut self, decays: bool) -> Result<Trained<'_, B::Buf>> {
        let Training { grad, momentum } = self.training.as_mut().ok_or_else(not_for_training)?;
        Ok(Trained { decays, g: grad, v: momentum, w: &mut self.value })
    }
}

pub(super) fn not_for_training() -> Error {
    Error::Usage("this network was built for evaluation: it has no gradients or momentum".into())
}

/// Which of a parameter's tensors is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The parameter itself.
    Value,
    /// Its gradient from the last backward pass.
    Grad,
    /// Its momentum.
    Momentum,
}

impl<B: Backend> Net<B> {
    /// Every parameter's value, gradient or momentum, on the host.
    pub fn export(&mut self, part: Part) -> Result<Vec<NamedTensor>> {
        let mut tensors = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let mut data = vec![0f32; param.len()];
            let buffer = match part {
                Part::Value => &param.value,
                Part::Grad => &param.training.as_ref().ok_or_else(not_for_training)?.grad,
                Part::Momentum => &param.training.as_ref().ok_or_else(not_for_training)?.momentum,
            };
            self.backend.download(buffer, &mut data)?;
            tensors.push(NamedTensor { name: param.name.clone(), shape: param.shape.clone(), data });
        }
        Ok(tensors)
    }

    /// Sets every parameter's value or momentum. All must be there, in the right shape.
    pub fn import(&mut self, part: Part, tensors: &[NamedTensor]) -> Result<()> {
        for param in &mut self.params {
            let tensor = tensors.iter().find(|t| t.name == param.name).ok_or_else(|| {
                Error::Usage(format!("the weights have no {}: they belong to another network", param.name))
            })?;
            if tensor.shape != param.shape || tensor.data.len() != param.len() {
                return Err(Error::Usage(format!(
                    "{} is {:?} in the weights, {:?} in this network",
                    param.name, tensor.shape, param.shape
                )));
            }
            let buffer = match part {
                Part::Value => &mut param.value,
                Part::Grad => &mut param.training.as_mut().ok_or_else(not_for_training)?.grad,
                Part::Momentum => &mut param.training.as_mut().ok_or_else(not_for_training)?.momentum,
            };
            self.backend.upload(&tensor.data, buffer)?;
        }
        Ok(())
    }
}

pub(super) fn weight_and_bias<B: Backend>(params: &[Param<B>], layer: usize) -> Result<[&Param<B>; 2]> {
    match params.iter().position(|p| p.layer == layer) {
        Some(i) => Ok([&params[i], &params[i + 1]]),
        None => Err(Error::Usage(format!("layer {layer} has no parameters"))),
    }
}

pub(super) fn weight_and_bias_mut<B: Backend>(params: &mut [Param<B>], layer: usize) -> Result<[&mut Param<B>; 2]> {
    let at = params.iter().position(|p| p.layer == layer);
    match at.and_then(|i| params[i..].split_first_mut()) {
        Some((weight, [bias, ..])) => Ok([weight, bias]),
        _ => Err(Error::Usage(format!("layer {layer} has no parameters"))),
    }
}
