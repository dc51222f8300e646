//! FlashCopy's semantics against a real `flashtrackd`: NBD reads and writes, commands and queries.
//!
//! One test or more per row of the white paper's tables and per statement beside them, named after its id, under each
//! profile that it speaks of. `engine/docs/semantics.md` says what each id means and which tests show it; the module
//! `document` compares the two. Volumes are written and read in letters, one a track.

mod asking;
#[path = "../common/commands.rs"]
mod commands;
#[path = "../common/disk.rs"]
mod disk;
mod document;
mod groups;
mod incremental;
#[path = "../common/process.rs"]
mod process;
mod refusals;
mod statements;
mod store;
mod table1;
mod table2;
mod table2_withdraw;
