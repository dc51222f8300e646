//! Metrics for Prometheus: what the worker and the engine count, rendered when it is asked for.
//!
//! - Nothing is kept between two scrapes: each is rendered from one observation, so a series is there as long as
//!   its volume, pool or relationship is, and no longer.
//! - `families` is the one table of names; `observe` fetches, `render` writes, `http` serves.
//! - A scrape costs the worker a few commands. Relationships have series of their own only up to
//!   `observe::RELATIONSHIP_SERIES_MAX` of them; beyond that only their number is told.

mod families;
mod http;
mod observe;
mod render;
#[cfg(test)]
mod tests;

pub use http::serve;
