//! The JSON schema of `driftlock.toml`: its keys, and of each option what the command's own help says.

use clap::CommandFactory;
use serde_json::{Map, Value, json};

use crate::cli::Cli;
use crate::scenario::project::{CommandName, OptionKind, options_of};

/// The schema, draft 2020-12. It says of which shape a file is; that files are there and names known only the reader sees.
pub(super) fn of_project() -> Value {
    let runs: Vec<Value> = CommandName::ALL.map(run).into();
    let overrides = CommandName::ALL.map(|command| (command.as_str().to_owned(), table(options(command), &[])));
    let mut profile = everywhere();
    profile.extend(overrides);
    profile.insert(
        "only".to_owned(),
        described(list(&json!({ "type": "string" })), "The runs that it has; without it all."),
    );
    let mut file = everywhere();
    file.insert(
        "regressions".to_owned(),
        text("The directory of the schedules that are replayed first [driftlock/regressions]."),
    );
    file.insert(
        "run".to_owned(),
        json!({ "description": "What is run, in this order.", "type": "array", "minItems": 1, "maxItems": 200, "items": { "oneOf": runs } }),
    );
    file.insert(
        "profile".to_owned(),
        json!({
            "description": "What is otherwise with --profile NAME; default is the one without.",
            "type": "object",
            "additionalProperties": table(profile, &[]),
        }),
    );
    file.insert(
        "accepted".to_owned(),
        described(list(&accepted()), "Violations that are known, and fail no run until the day after their date."),
    );
    let mut schema = table(file, &["run"]);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "driftlock project".into();
    schema
}

fn run(command: CommandName) -> Value {
    let mut keys = options(command);
    keys.extend(everywhere());
    keys.insert(
        "name".to_owned(),
        json!({ "description": "Lower-case words and digits, joined by single hyphens.", "type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64 }),
    );
    keys.insert("command".to_owned(), json!({ "const": command.as_str() }));
    let files = list(&json!({ "type": "string", "minLength": 1 }));
    keys.insert(
        "files".to_owned(),
        described(files, "Files, directories and patterns, from this file's directory on."),
    );
    keys.insert(
        "built-in".to_owned(),
        json!({ "description": "In place of files: what driftlock itself brings.", "type": "boolean" }),
    );
    table(keys, &["name", "command"])
}

fn accepted() -> Value {
    let keys = [
        ("name", text("The case's name, as reports show it.")),
        ("check", text("Only of this check, or finding.")),
        ("backend", json!({ "enum": ["postgres", "sqlite"] })),
        ("file", text("Only in this file, of findings about migrations.")),
        ("reason", text("Why it is accepted.")),
        // A day of TOML's, which editors hand on in one form or another.
        ("until", json!({ "description": "The last day on which it is, as in 2026-12-31, unquoted." })),
    ];
    table(keys.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(), &["name", "reason", "until"])
}

/// Where PostgreSQL comes from.
fn everywhere() -> Map<String, Value> {
    let postgres = json!({ "description": "Where PostgreSQL comes from. A URL is DRIFTLOCK_POSTGRES_URL's.", "enum": ["auto", "local", "docker"] });
    let pg_bin = text("The directory that holds initdb and postgres.");
    [("postgres".to_owned(), postgres), ("pg-bin".to_owned(), pg_bin)].into_iter().collect()
}

/// The options of a command, with what its help says.
fn options(command: CommandName) -> Map<String, Value> {
    let cli = Cli::command();
    let of_command = cli.find_subcommand(command.as_str());
    let help = |name: &str| {
        let mut arguments = of_command.into_iter().flat_map(clap::Command::get_arguments);
        arguments
            .find(|argument| argument.get_long() == Some(name))
            .and_then(clap::Arg::get_help)
            .map(ToString::to_string)
    };
    let option = |(name, kind): &(&str, OptionKind)| {
        let one = json!({ "type": ["string", "integer"] });
        let value = match kind {
            OptionKind::Flag => json!({ "type": "boolean" }),
            OptionKind::Value | OptionKind::File | OptionKind::Traffic => one,
            OptionKind::Values | OptionKind::Apps => {
                json!({ "oneOf": [one, { "type": "array", "minItems": 1, "items": one }] })
            }
        };
        ((*name).to_owned(), described(value, &help(name).unwrap_or_default()))
    };
    options_of(command).iter().map(option).collect()
}

fn text(description: &str) -> Value {
    json!({ "description": description, "type": "string", "minLength": 1 })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn described(mut value: Value, description: &str) -> Value {
    value["description"] = description.into();
    value
}

fn table(keys: Map<String, Value>, required: &[&str]) -> Value {
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": keys })
}

#[cfg(test)]
mod tests {
    use boon::{Compiler, Schemas};

    use super::*;
    use crate::scenario::project::TEMPLATE;

    fn takes(text: &str) -> bool {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("project.json", of_project()).unwrap();
        let index = compiler.compile("project.json", &mut schemas).unwrap();
        let document: Value = toml::from_str(text).unwrap();
        schemas.validate(&document, index).is_ok()
    }

    #[test]
    fn the_schema_takes_the_template_and_no_key_that_there_is_not() {
        let lines = TEMPLATE.lines().map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with("[[") || code.contains(" = ") => code,
            _ => line,
        });
        let whole = lines.collect::<Vec<_>>().join("\n");
        assert!(takes(&whole) && takes(TEMPLATE));
        for (key, wrong) in [
            ("budget", "bugdet"),
            ("[profile.nightly.explore]", "[profile.nightly.explain]"),
            ("command = \"explore\"", "command = \"explain\""),
            ("reason = ", "because = "),
            ("only = ", "just = "),
        ] {
            assert!(whole.contains(key) && !takes(&whole.replace(key, wrong)), "{wrong}");
        }
        // An option is its command's.
        assert!(!takes("[[run]]\nname = 'a'\ncommand = 'mutate'\nrounds = 1") && !takes(""));
    }

    #[test]
    fn every_option_has_the_words_of_its_commands_help() {
        for command in CommandName::ALL {
            for (name, option) in options(command) {
                let said = option["description"].as_str().unwrap_or_default();
                assert!(said.len() > 10, "{name} of {command:?}: {said}");
            }
        }
    }
}
