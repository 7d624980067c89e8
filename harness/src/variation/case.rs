//! A case of a script that is varied, and what its set-up makes.

use std::sync::Arc;

use super::catalog::Catalog;
use super::{Explorer, Refused};
use crate::scenario::script::{Script, ScriptCase};

/// A case of a script, with who explores it.
pub(super) struct OfScript<'e, E> {
    pub explorer: &'e mut E,
    pub script: &'e Arc<Script>,
    pub case: &'e ScriptCase,
    /// What the set-up makes, once it was asked for.
    catalog: Option<Catalog>,
}

impl<'e, E: Explorer> OfScript<'e, E> {
    pub fn new(explorer: &'e mut E, script: &'e Arc<Script>, case: &'e ScriptCase) -> Self {
        Self { explorer, script, case, catalog: None }
    }

    /// What the set-up makes. It is asked for once.
    pub async fn catalog(&mut self) -> Result<Result<Catalog, Refused>, E::Error> {
        if self.catalog.is_none() {
            self.catalog = match self.explorer.catalog(self.script, self.case).await? {
                Ok(catalog) => Some(catalog),
                Err(refused) => return Ok(Err(refused)),
            };
        }
        Ok(Ok(self.catalog.clone().unwrap_or_default()))
    }
}
