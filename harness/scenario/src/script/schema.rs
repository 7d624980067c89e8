//! The format as a JSON schema, for editors, and the test that it says what the parser takes.

/// The JSON schema of a script file, draft 2020-12. It says of which shape a file is; that names are known, and each is
/// there once, only the parser sees.
///
/// ```
/// let schema: serde_json::Value = serde_json::from_str(driftlock_scenario::script::SCHEMA)?;
/// assert_eq!(schema["title"], "driftlock script");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use std::path::Path;

    use boon::{Compiler, SchemaIndex, Schemas};
    use serde_json::{Map, Value};

    use super::*;
    use crate::script::Script;
    use crate::shipped::SCRIPTS;

    /// A script that has every key there is.
    const COMPLETE: &str = r#"
name = "complete"
summary = "It has every key."
setup = "CREATE TABLE t (v integer)"
refusals = ["40001"]
timeouts = "never"
faults = ["lost-after", "40001"]
allows-no-effect = true
step-seconds = 60

[[actor]]
name = "one"
goes-on = false
retry = 2
retry-on = ["40001", "08006"]
last = false
steps = [
  "{begin}",
  { sql = "SELECT v FROM t", name = "read", capture = ["v"], rows = "all", affected = "n", stdin = "", errors = ["55P03"], on-error = { 23505 = "retry", 55P03 = ["ROLLBACK"], "*" = "go-on" }, if = "{n} IS NULL", end = false, only = ["first"], lock = true },
  { if = "{n} = 0", steps = ["SELECT 1"], else = ["SELECT 2"] },
  { repeat = 3, until = "{v} = 1", steps = [{ sql = "SELECT {lock}", capture = "v" }] },
  "COMMIT",
]

[[actor]]
name = "two"
steps = ["DELETE FROM t"]

[[invariant]]
name = "few"
sql = "SELECT {one.v}"

[[serial]]
name = "rows"
sql = "SELECT v FROM t"

[[overlap]]
steps = ["one.read", "two.1"]
tries = 5

[[case]]
name = "first"
backend = "postgres"
begin = "BEGIN ISOLATION LEVEL SERIALIZABLE"
violates = "few"
set = { lock = "FOR UPDATE" }
"#;

    struct Checked {
        schemas: Schemas,
        index: SchemaIndex,
    }

    impl Checked {
        fn new() -> Self {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource("script.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
            let index = compiler.compile("script.json", &mut schemas).unwrap();
            Self { schemas, index }
        }

        fn takes(&self, document: &Value) -> bool {
            self.schemas.validate(document, self.index).is_ok()
        }
    }

    fn parses(document: &Value) -> Result<(), String> {
        let text = toml::to_string(document).map_err(|error| error.to_string())?;
        Script::parse(Path::new("x.toml"), text.as_bytes())
            .map(drop)
            .map_err(|problems| format!("{problems:?}\n{text}"))
    }

    /// Every place of a document.
    fn places(document: &Value) -> Vec<String> {
        let mut all = vec![String::new()];
        let inside: Vec<(String, &Value)> = match document {
            Value::Object(table) => table.iter().map(|(key, value)| (key.replace('~', "~0"), value)).collect(),
            Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        for (key, value) in inside {
            all.extend(places(value).into_iter().map(|place| format!("/{key}{place}")));
        }
        all
    }

    /// The keys of every kind of table that the schema describes.
    fn properties(schema: &Value) -> Vec<String> {
        let defined = schema["$defs"].as_object().unwrap().values().chain([schema]);
        let of = |one: &Value| one["properties"].as_object().map(|keys| keys.keys().cloned().collect::<Vec<_>>());
        defined.filter_map(of).flatten().collect()
    }

    #[test]
    fn every_script_of_our_own_is_one_by_the_schema_too() {
        let schema = Checked::new();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/patterns");
        let patterns = std::fs::read_dir(directory).unwrap();
        let patterns = patterns.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let all: Vec<String> = SCRIPTS
            .map(|script| script.text.to_owned())
            .into_iter()
            .chain(patterns)
            .chain([COMPLETE.to_owned()])
            .collect();
        assert!(all.len() > SCRIPTS.len() + 5);
        for text in all {
            let document: Value = toml::from_str(&text).unwrap();
            assert!(schema.takes(&document), "{text}");
            Script::parse(Path::new("x.toml"), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
        }
    }

    /// Whatever the schema refuses the parser refuses, so that no editor complains of a sound file; and a key that the
    /// parser does not know is none of the schema's.
    #[test]
    fn schema_and_parser_agree_on_every_key_and_on_every_wrong_value() {
        let (schema, complete): (_, Value) = (Checked::new(), toml::from_str(COMPLETE).unwrap());
        parses(&complete).unwrap();
        let all = places(&complete);
        for key in properties(&serde_json::from_str(SCHEMA).unwrap()) {
            assert!(all.iter().any(|place| place.ends_with(&format!("/{key}"))), "no test has the key {key}");
        }
        let wrong = [Value::from(-1), Value::from(true), Value::from(""), Value::from(" "), Value::from(10_000_000)];
        let wrong = wrong.into_iter().chain([Value::from(vec![Value::from(1)]), Value::Object(Map::new())]);
        let wrong: Vec<Value> = wrong.chain([Value::from("X y\u{1}"), Value::from(Vec::<Value>::new())]).collect();
        let mut refused = 0;
        for place in all.iter().filter(|place| !place.is_empty()) {
            for value in &wrong {
                let mut changed = complete.clone();
                *changed.pointer_mut(place).unwrap() = value.clone();
                if !schema.takes(&changed) {
                    refused += 1;
                    assert!(parses(&changed).is_err(), "the parser takes {value} at {place}");
                }
            }
            let (parent, key) = place.rsplit_once('/').unwrap();
            let mut changed = complete.clone();
            if let Value::Object(table) = changed.pointer_mut(parent).unwrap() {
                let value = table.remove(key).unwrap();
                let without = changed.clone();
                assert!(schema.takes(&without) || parses(&without).is_err(), "the parser needs no {place}");
                // Codes and names are keys of the user's own.
                if !["on-error", "set"].iter().any(|free| parent.ends_with(free)) {
                    let Value::Object(table) = changed.pointer_mut(parent).unwrap() else { unreachable!() };
                    table.insert("of-no-meaning".to_owned(), value);
                    assert!(!schema.takes(&changed), "the schema takes an unknown key in {parent}");
                    assert!(parses(&changed).is_err(), "the parser takes an unknown key in {parent}");
                }
            }
        }
        assert!(refused > 200, "{refused}");
    }

    /// What the parser says that it knows is what the schema lists.
    #[test]
    fn the_parser_knows_no_key_that_the_schema_does_not() {
        let listed = properties(&serde_json::from_str(SCHEMA).unwrap());
        let complete: Value = toml::from_str(COMPLETE).unwrap();
        for parent in [
            "",
            "/actor/0",
            "/actor/0/steps/1",
            "/actor/0/steps/2",
            "/actor/0/steps/3",
            "/invariant/0",
            "/serial/0",
            "/overlap/0",
            "/case/0",
        ] {
            let mut changed = complete.clone();
            let Value::Object(table) = changed.pointer_mut(parent).unwrap() else { unreachable!() };
            table.insert("of-no-meaning".to_owned(), Value::from(1));
            let said = parses(&changed).unwrap_err();
            let known = said.split("Known keys: ").nth(1).unwrap().split('.').next().unwrap();
            for key in known.split([',', ';']).map(|key| key.trim().trim_start_matches("or ")) {
                assert!(listed.iter().any(|one| one == key), "{key} of {parent} is not in the schema");
            }
        }
    }
}
