//! Short scripts: the engine on the simulated disk, with operations of one's choice held back until the script lets
//! them end. What a random run found only once in very many seeds is told here step by step.

mod incremental;
mod joined_moves;
mod meanwhile;
mod sharing;
mod single_blocks;
mod slots;
mod small_journal;
mod store;
mod turns;
mod two_batches;
