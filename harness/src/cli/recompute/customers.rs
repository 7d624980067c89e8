//! Which customers are recomputed: the one that was asked for, or all of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use drift_engine::claim::CustomerId;

/// How many names a message suggests, or lists.
const NAMES_MAX: usize = 3;
/// How similar a name must be to be suggested, from 0 to 1 (Damerau–Levenshtein, normalized).
const SIMILARITY_MIN: f64 = 0.7;

/// The choice cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum CustomerError {
    /// There is no customer of that name.
    #[error("there is no customer {asked:?} in {}", file.display())]
    Unknown {
        /// The name asked for.
        asked: String,
        /// The file.
        file: PathBuf,
        /// What to try.
        #[help]
        help: String,
    },
    /// One name for several runs.
    #[error("a run id names the run of one customer, and {} has {customers}", file.display())]
    #[diagnostic(help("choose one with --customer, or leave --run-id out"))]
    RunIdForSeveral {
        /// The file.
        file: PathBuf,
        /// How many it has.
        customers: usize,
    },
}

/// Chooses from the customers of a file, in the order of their names.
///
/// # Errors
/// There is no such customer, or there are several and `named` asks for a run with a name.
pub fn choose(
    customers: &BTreeMap<Arc<str>, CustomerId>,
    asked: Option<&str>,
    named: bool,
    file: impl Fn() -> PathBuf,
) -> Result<Vec<(Arc<str>, CustomerId)>, CustomerError> {
    match asked {
        Some(asked) => match customers.get_key_value(asked) {
            Some((name, id)) => Ok(vec![(name.clone(), *id)]),
            None => Err(CustomerError::Unknown {
                asked: asked.to_owned(),
                file: file(),
                help: suggestion(customers, asked),
            }),
        },
        None if named && customers.len() > 1 => {
            Err(CustomerError::RunIdForSeveral { file: file(), customers: customers.len() })
        }
        None => Ok(customers.iter().map(|(name, id)| (name.clone(), *id)).collect()),
    }
}

fn suggestion(customers: &BTreeMap<Arc<str>, CustomerId>, asked: &str) -> String {
    let wanted = asked.trim().to_lowercase();
    let similarity = |name: &str| strsim::normalized_damerau_levenshtein(&name.trim().to_lowercase(), &wanted);
    let mut near: Vec<_> = customers.keys().map(|name| (similarity(name), name)).collect();
    near.retain(|(similarity, _)| *similarity >= SIMILARITY_MIN);
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let listed = |names: &mut dyn Iterator<Item = &Arc<str>>| {
        names.take(NAMES_MAX).map(|name| format!("{name:?}")).collect::<Vec<_>>()
    };
    if !near.is_empty() {
        return format!("did you mean {}?", listed(&mut near.into_iter().map(|(_, name)| name)).join(" or "));
    }
    let names = listed(&mut customers.keys());
    match customers.len() - names.len() {
        0 if names.is_empty() => "the file holds no claims".to_owned(),
        0 => format!("its customers are {}", names.join(", ")),
        more => format!("its customers are {} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(asked: Option<&str>, named: bool) -> Result<Vec<String>, CustomerError> {
        let names = ["Acme Health", "acme Dental", "Zenith"];
        let customers = names.iter().zip(1..).map(|(name, id)| ((*name).into(), CustomerId(id))).collect();
        let chosen = choose(&customers, asked, named, || PathBuf::from("f.csv"))?;
        Ok(chosen.into_iter().map(|(name, id)| format!("{id} {name}")).collect())
    }

    fn help(asked: &str) -> String {
        match chosen(Some(asked), false) {
            Err(CustomerError::Unknown { help, .. }) => help,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_is_chosen_by_its_exact_name_and_else_all_in_the_order_of_names() {
        assert_eq!(chosen(Some("Zenith"), true).unwrap(), ["3 Zenith"]);
        assert_eq!(chosen(None, false).unwrap(), ["1 Acme Health", "3 Zenith", "2 acme Dental"]);
        let several = CustomerError::RunIdForSeveral { file: "f.csv".into(), customers: 3 };
        assert_eq!(chosen(None, true), Err(several));
    }

    #[test]
    fn a_near_miss_is_suggested_and_else_the_names_are_listed() {
        assert_eq!(help("zenith "), "did you mean \"Zenith\"?");
        assert_eq!(help("Acme Helth"), "did you mean \"Acme Health\"?");
        assert_eq!(help("Quux"), "its customers are \"Acme Health\", \"Zenith\", \"acme Dental\"");
        assert_eq!(suggestion(&BTreeMap::new(), "x"), "the file holds no claims");
    }
}
