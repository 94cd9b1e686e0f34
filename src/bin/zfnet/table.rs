//! Tables and numbers for people.

/// Rows of equal columns; the first `left` are text, the others numbers, flush right.
pub fn aligned<R: AsRef<[String]>>(rows: &[R], left: usize) -> String {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let width = |column: usize| rows.iter().map(|row| row.as_ref()[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Digits in threes: `62,357,608`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let threes: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|d| std::str::from_utf8(d).ok()).collect();
    threes.join(",")
}

/// `1.4 GiB`.
pub fn bytes(n: u64) -> String {
    let (mut size, mut unit) = (n as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "B" { format!("{n} B") } else { format!("{size:.1} {unit}") }
}

/// `1:02:03`, hours first.
pub fn duration(seconds: f64) -> String {
    let s = seconds.ceil() as u64;
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}
