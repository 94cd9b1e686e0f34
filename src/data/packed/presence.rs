//! What is known of a class in an image that may show several: absent,
//! present, or there but hard to make out, so that an evaluation counts it
//! neither way.

/// The class is not in the image.
pub const ABSENT: u8 = 0;
/// The class is in the image.
pub const PRESENT: u8 = 1;
/// Only objects of the class that are marked as difficult are in the image.
pub const DIFFICULT: u8 = 2;

/// Classes that an image may be said to show: those present, or where there
/// are none, the difficult ones.
fn candidates(presence: &[u8], // (C)
) -> impl Iterator<Item = usize> + '_ {
    let value = if presence.contains(&PRESENT) { PRESENT } else { DIFFICULT };
    presence.iter().enumerate().filter(move |(_, p)| **p == value).map(|(c, _)| c)
}

/// The one label of an image: the first class that is present, or where there
/// is none, the first difficult one. None if the image shows no class.
pub fn label(presence: &[u8], // (C)
) -> Option<usize> {
    candidates(presence).next()
}

/// One of the classes that [`label`] chooses from, each as likely as the
/// others if `word` is uniform.
pub fn draw(
    presence: &[u8], // (C)
    word: u32,
) -> Option<usize> {
    let count = candidates(presence).count() as u64;
    candidates(presence).nth(((u64::from(word) * count) >> 32) as usize)
}
