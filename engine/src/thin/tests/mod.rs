//! Every structure against a naive twin, after each step of random operation sequences.

mod chain;
mod slots;
