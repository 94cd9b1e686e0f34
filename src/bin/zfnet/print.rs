//! Printing that does not panic when nobody listens any more (`zfnet eval .. | head`).

/// A line to stdout. A closed pipe comes back as an error, for `?`.
macro_rules! answer {
    ($($text:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout(), $($text)*)
    }};
}

/// A line to stderr. That nobody listens is no reason to stop.
macro_rules! talk {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use {answer, talk};
