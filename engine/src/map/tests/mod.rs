//! Every structure against a naive twin, after each step of random operation sequences.

mod cover;
mod slot_map;
mod track_bitmap;
