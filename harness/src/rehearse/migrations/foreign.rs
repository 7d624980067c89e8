//! Marks of other tools in a file: what stands behind them would be run as a part of the way up.

use super::part::{after_word, line};

/// A mark of a way down: how it begins, in lower case and behind the comment's dashes, and whose it is.
const MARKS: [(&str, &str); 9] = [
    ("+goose", "goose"),
    ("+migrate", "sql-migrate"),
    ("migrate:down", "dbmate"),
    ("-- create above / drop below", "tern"),
    ("down migration", "node-pg-migrate"),
    ("liquibase formatted sql", "Liquibase"),
    ("//@undo", "MyBatis Migrations"),
    ("@undo", "MyBatis Migrations"),
    ("!downs", "Play"),
];

/// The first line of a way up that another tool would take for the beginning of the way down: its number, and whose.
pub(super) fn mark(text: &str) -> Option<(u32, &'static str)> {
    text.lines().enumerate().find_map(|(number, said)| {
        let said = said.trim();
        let bare = said.strip_prefix("--").or_else(|| said.strip_prefix('#').map(str::trim_start))?;
        let bare = bare.trim_start().trim_start_matches("--- ").to_lowercase();
        let whose = MARKS.iter().find(|(begins, whose)| match *whose {
            "goose" | "sql-migrate" => after_word(&bare, begins).is_some_and(|rest| after_word(rest, "down").is_some()),
            // Anything behind it would be a remark of the author's.
            "node-pg-migrate" => bare == *begins,
            _ => bare.starts_with(begins),
        });
        whose.map(|(_, whose)| (line(number), *whose))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_seen_and_remarks_are_none() {
        for (text, whose) in [
            ("-- +goose Down", "goose"),
            ("--+migrate down", "sql-migrate"),
            ("-- migrate:down", "dbmate"),
            ("---- create above / drop below ----", "tern"),
            ("-- Down Migration", "node-pg-migrate"),
            ("--liquibase formatted sql", "Liquibase"),
            ("-- //@UNDO", "MyBatis Migrations"),
            ("# --- !Downs", "Play"),
            ("-- !Downs", "Play"),
        ] {
            assert_eq!(mark(&format!("SELECT 1;\n{text}\nSELECT 2;")), Some((2, whose)), "{text}");
        }
        for text in
            ["-- +goose Up", "-- the down migration drops it", "-- down migration: see the other file", "SELECT 1"]
        {
            assert_eq!(mark(text), None, "{text}");
        }
    }
}
