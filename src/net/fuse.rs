//! Fused layers: where a training step merges operations that [`Net::forward`], [`Net::backward`]
//! and [`Net::update`] do one after the other.
//!
//! A large array that one operation writes and the next one reads costs two trips through memory.
//! Where nobody else wants it, [`Net::train_step`] spares them:
//!
//! | fused | spared |
//! |---|---|
//! | convolution, pool and normalisation behind it ([`conv_pool_lrn`](crate::ops::conv_pool_lrn)) | writing and reading the convolution's output |
//! | ReLU's mask before unpooling, by the pooled values | a pass over the convolution's output and its gradient |
//! | weight gradient and update of linear layers ([`linear_sgd`](crate::ops::linear_sgd)) | writing and reading the gradient |
//!
//! Walks that others look into (blobs, projections, gradients) are never fused. [`Net::set_fused`] turns all
//! of it off. Results are the same bits, with one exception: a fused convolution that would by itself take a
//! kernel which adds up in another order is within the roundings of that order.
//!
//! **The mask before unpooling.** Where a pool lies on a rectified convolution with output y, pooled
//! to a, back-propagation unpools da and then lets pass what has y > 0. Every window that sends
//! its da to a place chose that place, so its a *is* the y there: masking da by a > 0 first lets the
//! same terms pass, and stops the same ones, a NaN passing both ways. Where y is not positive, or no
//! window chose the place, the sum is one of zeros instead of a zero put in its place: +0 both ways.
//! The arrays masked are those of the pooled map, a quarter of y with windows at stride 2.
//!
//! [`Net::forward`]: crate::net::Net::forward
//! [`Net::backward`]: crate::net::Net::backward
//! [`Net::update`]: crate::net::Net::update
//! [`Net::train_step`]: crate::net::Net::train_step
//! [`Net::set_fused`]: crate::net::Net::set_fused

use crate::net::plan::{Layer, LayerOp};
use crate::ops::conv_pool_lrn::ConvPoolLrn;

/// Whether layer `i` is a pool that lies directly on a rectified convolution.
pub(super) fn pools_rectified(layers: &[Layer], i: usize) -> bool {
    let on_conv = i > 0 && matches!(layers[i - 1].op, LayerOp::Conv { relu: true, .. });
    on_conv && matches!(layers[i].op, LayerOp::Pool(_))
}

/// The first three of `layers` as one operation, if they are a convolution, a pool and a normalisation.
pub(super) fn conv_pool_lrn(layers: &[Layer]) -> Option<ConvPoolLrn> {
    let [conv, pool, lrn, ..] = layers else { return None };
    match (&conv.op, &pool.op, &lrn.op) {
        (&LayerOp::Conv { conv, relu }, &LayerOp::Pool(pool), &LayerOp::Lrn(lrn)) => {
            Some(ConvPoolLrn { conv, relu, pool, lrn })
        }
        _ => None,
    }
}
