//! Maps and sets over block and track numbers, sized for a 15 TiB volume of 4 G blocks.

pub mod cover;
mod slot_leaf;
pub mod slot_map;
#[cfg(test)]
mod tests;
pub mod track_bitmap;
