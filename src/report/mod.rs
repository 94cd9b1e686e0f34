//! Figures, drawn for people, and beside each the numbers that it shows.
//!
//! | module | what it does |
//! |---|---|
//! | [`grid`] | image tiles in rows and columns, as PNG |
//! | [`contrast`] | signed projections as colours |
//! | `digits` | numbers on pictures |
//! | `csv`, `json` | the numbers beside the figures |
//! | [`plot`] | heat maps, label maps, line charts |
//! | [`duplicates`] | pictures that two data sets share |
//! | [`diagnose`] | the frequencies of layer-1 filters |
//! | [`filters`] | Fig 5: layer-1 filters |
//! | [`occlusion`] | Fig 6: a square that hides part of the image |
//! | [`top9`] | Fig 2: the strongest activations, projected, beside their image patches |
//! | [`evolution`] | Fig 4: the strongest activation of a map through the epochs |
//! | [`invariance`] | distances of features under translation, scale and rotation |
//! | [`correspondence`] | the same part on different images, against random places |
//! | [`probe`] | Fig 7: accuracy of classifiers on frozen features |
//! | [`occluder`] | what a movable occluder needs |
//! | [`page`] | the HTML page of a run |

pub mod contrast;
pub mod correspondence;
pub(crate) mod csv;
pub mod diagnose;
mod digits;
pub mod duplicates;
pub mod evolution;
pub mod filters;
pub mod grid;
pub mod invariance;
mod json;
pub mod occluder;
pub mod occlusion;
pub mod page;
pub mod plot;
pub mod probe;
pub mod top9;
