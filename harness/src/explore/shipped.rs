//! The scripts that the program carries.

use std::path::Path;

use crate::scenario::script::Script;

/// A script of the program's own.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Where it is in the checkout, and how a schedule names it.
    pub path: &'static str,
    /// What it says.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped {
            path: concat!("scenarios/explore/", $name, ".toml"),
            text: include_str!(concat!("../../../scenarios/explore/", $name, ".toml")),
        }),+]
    };
}

/// Every script of the program's own.
pub const SHIPPED: &[Shipped] = shipped![
    "dirty-write",
    "lost-update",
    "read-skew",
    "write-skew",
    "phantom",
    "lock-protocol",
    "deadlock",
    "no-lock",
    "early-snapshot",
];

/// What `driftlock init` writes.
pub const TEMPLATE: Shipped = SHIPPED[5];

impl Shipped {
    /// The script.
    ///
    /// # Panics
    /// Never in a program whose tests have passed.
    pub fn script(&self) -> Script {
        match Script::parse(Path::new(self.path), self.text.as_bytes()) {
            Ok(script) => script,
            Err(problems) => panic!("a shipped script is sound: {:?}", miette::Report::from(*problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn the_program_carries_the_directory_and_nothing_else() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/explore");
        let on_disk: BTreeSet<String> =
            fs::read_dir(directory).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        let carried: BTreeSet<String> = SHIPPED.iter().map(|shipped| shipped.text.to_owned()).collect();
        assert_eq!(carried, on_disk);
        for shipped in SHIPPED {
            let name = shipped.script().name;
            assert_eq!(shipped.path, format!("scenarios/explore/{name}.toml"));
        }
        assert_eq!(TEMPLATE.script().name, "lock-protocol");
    }
}
