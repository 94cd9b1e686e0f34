//! Figures, drawn for people, and beside each the numbers that it shows.
//!
//! | module | what it does |
//! |---|---|
//! | [`grid`] | image tiles in rows and columns, as PNG |
//! | [`contrast`] | signed projections as colours |
//! | `digits` | numbers on pictures |
//! | `csv`, `json` | the numbers beside the figures |
//! | [`top9`] | Fig 2: the strongest activations, projected, beside their image patches |
//! | [`evolution`] | Fig 4: the strongest activation of a map through the epochs |

pub mod contrast;
mod csv;
mod digits;
pub mod evolution;
pub mod grid;
mod json;
pub mod top9;
