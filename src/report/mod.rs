//! Figures, drawn for people, and beside each the numbers that it shows.
//!
//! | module | what it does |
//! |---|---|
//! | [`grid`] | image tiles in rows and columns, as PNG |
//! | [`contrast`] | signed projections as colours |
//! | `digits` | numbers on pictures |
//! | [`top9`] | Fig 2: the strongest activations, projected, beside their image patches |

pub mod contrast;
mod digits;
pub mod grid;
pub mod top9;
