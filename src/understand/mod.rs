//! What a trained network has learned, seen through its own activations.
//!
//! | module | what it does |
//! |---|---|
//! | [`diagnose`] | dominance, dead maps, frequencies, aliasing |
//! | [`maps`] | which maps of a layer are looked at |
//! | [`top`] | the strongest activations of every map, kept while images go by |
//! | [`score`] | projections and occlusion maps against the part that tells the class |
//! | [`search`] | the pass over a split that finds them; saved, resumed, merged |
//! | [`spectrum`] | which frequencies a small picture is made of |
//! | [`occlusion`] | what the network says while a square hides part of the image |
//! | [`projection`] | units projected to pixels, cut to their receptive fields |
//! | [`evolution`] | the strongest activation of a map through the epochs of a run |
//! | [`correspondence`] | whether the same part of different images is the same to the network |
//! | [`invariance`] | what translation, scale and rotation do to features |

pub mod correspondence;
pub mod diagnose;
pub mod evolution;
pub mod invariance;
pub mod maps;
pub mod occlusion;
pub mod projection;
pub mod score;
pub mod search;
pub mod spectrum;
pub mod top;

pub use maps::Maps;
pub use projection::Projection;
pub use search::Search;
pub use top::{Peak, Top};
