//! The paper's tables as data, and ours beside them.
//!
//! | module | what it does |
//! |---|---|
//! | [`net`] | the twelve networks of Table 2, at the paper's size and in miniature |
//! | [`table`] | the rows of the tables: which networks, and what the paper reports |
//! | [`runs`] | the runs that a table needs: finished, begun or missing, and what they will cost |
//! | [`errors`] | errors of finished runs, single and as ensembles; stored, for they take long |
//! | [`transfer`] | Tables 3, 4 and 6 and Figure 7: rows, and what is to be found out for them |
//! | [`voc`] | Table 5: average precision of each class |
//! | [`comparison`] | a table filled in: as cells, as CSV and as JSON |
//!
//! Runs belong to networks, not to tables, so that tables share them:
//!
//! ```text
//! OUT/runs/zfnet-fc2048-1/      the run of network zfnet-fc2048 with seed 1, a folder as `zfnet train` makes it
//! OUT/errors/....json           the errors of one run, or of an ensemble, on one split
//! OUT/table2.csv, table2.json   the table
//! ```

pub mod comparison;
pub mod errors;
pub mod net;
pub mod runs;
pub mod table;
pub mod transfer;
pub mod voc;
