//! Looks at a store without a server: nothing is ever written, and a store in use is refused.

pub(crate) mod check;
pub(crate) mod dump;
mod dump_text;

use std::path::Path;

use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::{Examination, examine};

use crate::failure::Failure;

/// What an opening of the store would find. The store is locked only while it is looked at.
fn look_at(path: &Path) -> Result<Examination, Failure> {
    let mut storage =
        LocalStorage::open(path, Access::ReadOnly).map_err(Failure::StoreUnavailable)?;
    examine(&mut storage)
        .map_err(|source| Failure::StoreUnreadable { path: path.to_owned(), source })
}
