//! Images on their way into the network: decoding, packed data sets, loader, augmentation.
//!
//! | module | what it does |
//! |---|---|
//! | [`decode`] | an image file's bytes to upright RGB, or the reason why not |
//! | [`resize`] | the centred square of an image, antialiased, at the records' size |
//! | [`packed`] | the packed data set on disk: shards, labels, mean image; written whole or not at all |
//! | [`sources`] | the data sets that can be packed, each read as it is distributed |
//! | [`synthetic`] | a drawn data set whose discriminating part has a known place |
//! | [`report`] | what a pack tells while it runs, and its sum at the end |
//! | [`permutation`] | the order of an epoch, computed and not stored |
//! | [`augment`] | crop windows: random, centred, the ten fixed ones |
//! | [`loader`] | batches, filled by background threads in an order that does not depend on them |

pub mod augment;
pub mod decode;
pub mod loader;
pub mod packed;
pub mod permutation;
pub mod report;
pub mod resize;
pub mod sources;
pub mod synthetic;
