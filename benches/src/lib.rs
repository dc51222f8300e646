//! Measurements of Flashtrack.
