//! What a pack has to say at its end.

use serde_json::json;
use zfnet::data::packed::Manifest;
use zfnet::data::report::Summary;

use super::Target;
use crate::print::answer;

/// One JSON object.
pub(super) fn print_json(target: &Target, summary: &Summary) -> anyhow::Result<()> {
    let Manifest { classes, size, train, val, .. } = &summary.manifest;
    let split = |images, per_class| json!({ "images": images, "per_class": per_class });
    let object = json!({
        "out": target.out,
        "classes": classes,
        "size": size,
        "train": split(train.images, &train.per_class),
        "val": split(val.images, &val.per_class),
        "skipped": summary.skipped(),
        "skipped_for": summary.skipped,
        "excluded": summary.excluded,
        "continued": summary.continued,
        "bytes": summary.bytes(),
        "seconds": summary.time.as_secs_f64(),
        "images_per_s": summary.images_per_s(),
    });
    answer!("{object}")?;
    Ok(())
}

/// Classes to list one by one.
const LISTED: usize = 40;

/// A table of classes, and a line of sums.
pub(super) fn print_table(target: &Target, summary: &Summary) -> anyhow::Result<()> {
    let Manifest { classes, size, train, val, .. } = &summary.manifest;
    let width = classes.iter().take(LISTED).map(|class| class.chars().count()).max().unwrap_or(0).max(10);
    answer!("{:width$}  {:>8}  {:>8}", "class", "train", "val")?;
    for (c, class) in classes.iter().enumerate().take(LISTED) {
        answer!("{class:width$}  {:>8}  {:>8}", train.per_class[c], val.per_class[c])?;
    }
    if classes.len() > LISTED {
        answer!("... and {} classes more", classes.len() - LISTED)?;
    }
    answer!("{:width$}  {:>8}  {:>8}", "all", train.images, val.images)?;
    for (reason, count) in &summary.skipped {
        answer!("left out {count}: {reason}")?;
    }
    if summary.excluded > 0 {
        answer!("left out {}: on the list of exclusions", summary.excluded)?;
    }
    if summary.continued > 0 {
        answer!("{} images stood there from an unfinished pack", summary.continued)?;
    }
    answer!(
        "{} images of {size} x {size} px, {:.1} MB, {:.1} s, {:.0} images/s, {} left out",
        summary.images(),
        summary.bytes() as f64 / 1e6,
        summary.time.as_secs_f64(),
        summary.images_per_s(),
        summary.skipped() + summary.excluded
    )?;
    answer!("{}", target.out.display())?;
    Ok(())
}
