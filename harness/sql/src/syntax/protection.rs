//! The parts of a text by which it protects what it does, and the same text without them.

use std::collections::BTreeSet;
use std::ops::Range;

use squawk_syntax::{SyntaxElement, SyntaxKind as Kind, SyntaxNode};

use super::{AdvisoryCall, Tree, child, range};
use crate::one_line;

/// The tokens that are values.
const VALUES: [Kind; 9] = [
    Kind::INT_NUMBER,
    Kind::NUMERIC_NUMBER,
    Kind::STRING,
    Kind::ESC_STRING,
    Kind::DOLLAR_QUOTED_STRING,
    Kind::UNICODE_ESC_STRING,
    Kind::NATIONAL_STRING,
    Kind::BIT_STRING,
    Kind::BYTE_STRING,
];

/// Who asks for a text without its protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A step of a script, which looks at no more of an answer than it captures.
    Captured,
    /// A program that goes on with what it is answered: names and types of columns stay, and so do parameters.
    Read,
}

/// What a part of a text does for it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sort {
    /// A clause that can be left out.
    Clause,
    /// An ON CONFLICT clause.
    OnConflict,
    /// LOCK TABLE.
    TableLock,
    /// `ISOLATION LEVEL …`.
    Level,
    /// The value of a setting that says the isolation level.
    Setting,
    /// The call of a function for an advisory lock, by its name.
    Advisory(String),
}

/// A part of a text by which it protects what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// What it is, in the same words wherever it is the same: `FOR UPDATE on seats`.
    pub name: String,
    /// The same, with a place for each value: a driver may put others into the text each time.
    pub alike: String,
    /// Where it stands.
    pub range: Range<usize>,
    sort: Sort,
}

impl Protection {
    /// Whether it is an ON CONFLICT clause.
    pub fn is_on_conflict(&self) -> bool {
        self.sort == Sort::OnConflict
    }
}

impl Tree {
    /// All of them, in the order in which they stand.
    pub fn protections(&self) -> Vec<Protection> {
        let mut found = Vec::new();
        let mut add = |name: String, range: Range<usize>, sort| {
            found.push(Protection { alike: name.clone(), name, range, sort });
        };
        for node in self.all(&[Kind::LOCKING_CLAUSE]) {
            let part = self.with_space_before(&node);
            // Those of different tables protect different things, whatever their words are.
            let tables = self.locked_tables(&node);
            let tables = if tables.is_empty() { String::new() } else { format!(" on {}", tables.join(", ")) };
            add(format!("{}{tables}", one_line(&self.text[part.clone()])), part, Sort::Clause);
        }
        for part in self.table_locks() {
            add(one_line(&self.text[part.clone()]), part, Sort::TableLock);
        }
        for part in self.isolation_levels() {
            add(one_line(&self.text[part.clone()]), part, Sort::Level);
        }
        for (name, part) in self.isolation_settings() {
            add(name, part, Sort::Setting);
        }
        for node in self.all(&[Kind::ON_CONFLICT_CLAUSE]) {
            let range = self.with_space_before(&node);
            let insert = node.ancestors().find(|node| node.kind() == Kind::INSERT);
            let table = insert.and_then(|insert| self.relation(&insert)).map(|table| format!(" into {table}"));
            let table = table.unwrap_or_default();
            let name = format!("{}{table}", one_line(&self.text[range.clone()]));
            let alike = format!("{}{table}", self.without_values(&range));
            found.push(Protection { name, alike, range, sort: Sort::OnConflict });
        }
        for AdvisoryCall { name: function, range, arguments } in self.advisory_calls() {
            let (start, end) = (range.start, range.end);
            let inside = self.text[start..end].find('(').map_or(start, |at| start + at + 1)..end.saturating_sub(1);
            let name = format!("advisory lock {arguments}");
            let alike = format!("advisory lock {}", self.without_values(&inside));
            found.push(Protection { name, alike, range, sort: Sort::Advisory(function) });
        }
        found.sort_by_key(|one| (one.range.start, std::cmp::Reverse(one.range.end)));
        found
    }

    /// What stands in the place of a part that is taken away.
    pub fn in_place_of(&self, one: &Protection, answers: Answers) -> String {
        let call = &self.text[one.range.clone()];
        match (&one.sort, answers) {
            (Sort::Clause | Sort::OnConflict, _) => String::new(),
            (Sort::TableLock, Answers::Captured) => "SELECT 1".to_owned(),
            // Like LOCK TABLE it returns no rows, and it ends with the transaction.
            (Sort::TableLock, Answers::Read) => "SET LOCAL driftlock.unlocked TO on".to_owned(),
            (Sort::Level, _) => "ISOLATION LEVEL READ COMMITTED".to_owned(),
            (Sort::Setting, _) => "'read committed'".to_owned(),
            // Whoever does not lock does not unlock; whoever tries is let in.
            (Sort::Advisory(name), Answers::Captured) => if lets_in(name) { "true" } else { "NULL" }.to_owned(),
            // The server leaves a branch out that is never taken, and takes names and types from it all the same.
            (Sort::Advisory(name), Answers::Read) => {
                let value = if lets_in(name) { "true" } else { "''" };
                format!("CASE WHEN true THEN {value} ELSE {call} END")
            }
        }
    }

    /// The text for a program, without these parts. `types` are those of the parameters, as casts name them; a parameter
    /// that nothing asks for any more is still bound, so that it must still have a type.
    ///
    /// # Errors
    /// Why there is no such text.
    pub fn without_protections(&self, parts: &[&Protection], types: Option<&[String]>) -> Result<String, &'static str> {
        let mut taken: Vec<(Range<usize>, String)> = Vec::new();
        for one in parts {
            // What stands inside of another part goes with it.
            if taken.iter().all(|(range, _)| range.end <= one.range.start || one.range.end <= range.start) {
                taken.push((one.range.clone(), self.in_place_of(one, Answers::Read)));
            }
        }
        let text = self.with(taken);
        let before = self.parameters();
        let after = Tree::of(&text).ok_or("nothing can stand in its place there")?.parameters();
        let missing: Vec<usize> = before.difference(&after).copied().collect();
        if missing.is_empty() {
            return Ok(text);
        }
        let cast = |number: &usize| Some(format!("${number}::{}", types?.get(number.checked_sub(1)?)?));
        let casts: Option<Vec<String>> = missing.iter().map(cast).collect();
        let casts = casts.ok_or("the type of a parameter that it alone asks for is not known")?;
        let statement = self.only_statement().filter(|node| child(node, Kind::WITH_CLAUSE).is_none());
        let statement = statement.ok_or("a parameter that it alone asks for has no other place")?;
        let begin = range(&statement).start;
        // What nobody reads is not computed.
        Ok(format!("{}WITH driftlock_kept AS (SELECT {}) {}", &text[..begin], casts.join(", "), &text[begin..]))
    }

    /// A part of it in one line, with a place for each value.
    fn without_values(&self, part: &Range<usize>) -> String {
        let mut said = String::new();
        for token in self.root.descendants_with_tokens().filter_map(SyntaxElement::into_token) {
            let at = token.text_range();
            if usize::from(at.start()) < part.start || part.end < usize::from(at.end()) {
                continue;
            }
            if !VALUES.contains(&token.kind()) {
                said.push_str(&self.text[usize::from(at.start())..usize::from(at.end())]);
                continue;
            }
            // A value below zero is one value; what is subtracted follows something else.
            let before = said.trim_end().strip_suffix('-').map(str::trim_end);
            let negative = before.filter(|before| before.is_empty() || before.ends_with(['(', ',', '=']));
            if let Some(before) = negative.map(str::len) {
                said.truncate(before);
                said.push(' ');
            }
            said.push('?');
        }
        // However many spaces a driver puts before a value.
        one_line(&said).replace(", ", ",").replace("( ", "(").replace("= ", "=")
    }

    /// The numbers of its parameters.
    fn parameters(&self) -> BTreeSet<usize> {
        let tokens = self.root.descendants_with_tokens().filter_map(SyntaxElement::into_token);
        let parameters = tokens.filter(|token| token.kind() == Kind::POSITIONAL_PARAM);
        parameters.filter_map(|token| token.text().trim_start_matches('$').parse().ok()).collect()
    }

    /// The tables of the SELECT that a locking clause belongs to.
    fn locked_tables(&self, clause: &SyntaxNode) -> Vec<String> {
        let from = clause.ancestors().find_map(|node| child(&node, Kind::FROM_CLAUSE));
        let items = from.into_iter().flat_map(|from| {
            from.descendants().filter(|node| node.kind() == Kind::RELATION_FROM_ITEM).collect::<Vec<_>>()
        });
        items.filter_map(|item| self.relation(&item)).collect()
    }

    /// The values above READ COMMITTED that statements give to the settings for the isolation level.
    fn isolation_settings(&self) -> Vec<(String, Range<usize>)> {
        let is_setting = |node: &SyntaxNode| {
            let text = self.text[range(node)].to_ascii_lowercase();
            let sets = node.kind() == Kind::SET || node.kind() == Kind::SELECT && text.contains("set_config");
            sets && text.contains("transaction_isolation")
        };
        let mut found = Vec::new();
        for statement in self.statements().filter(is_setting) {
            for token in statement.descendants_with_tokens().filter_map(SyntaxElement::into_token) {
                let value = token.text().trim_matches(['\'', '"']).to_ascii_lowercase();
                if matches!(value.as_str(), "serializable" | "repeatable read") {
                    let at = token.text_range();
                    found.push((format!("transaction_isolation {value}"), at.start().into()..at.end().into()));
                }
            }
        }
        found
    }

    /// Whether it calls `set_config` so that a parameter may say the isolation level.
    pub fn hides_a_level(&self) -> bool {
        let hides = |call: SyntaxNode| {
            let arguments = child(&call, Kind::ARG_LIST)?;
            let name = self.text[range(&call).start..range(&arguments).start].trim().to_ascii_lowercase();
            let mut arguments = arguments.children().map(|node| self.text[range(&node)].to_ascii_lowercase());
            let (setting, value) = (arguments.next()?, arguments.next()?);
            let is_isolation = setting.contains("transaction_isolation");
            // Whoever leaves both open may ask for anything.
            Some(name.ends_with("set_config") && value.contains('$') && (is_isolation || setting.contains('$')))
        };
        self.all(&[Kind::CALL_EXPR]).any(|call| hides(call) == Some(true))
    }

    /// Whether a WITH stands in it.
    pub fn has_with(&self) -> bool {
        self.all(&[Kind::WITH_CLAUSE]).next().is_some()
    }
}

/// Whether whoever calls a function is told that it may go on.
fn lets_in(function: &str) -> bool {
    // `pg_advisory_unlock_all` tells nothing.
    function.contains("try") || function.contains("unlock") && !function.ends_with("_all")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without(sql: &str, types: Option<&[String]>) -> Option<String> {
        let tree = Tree::of(sql).unwrap_or_else(|| panic!("{sql}"));
        let parts = tree.protections();
        tree.without_protections(&parts.iter().collect::<Vec<_>>(), types).ok()
    }

    fn names(sql: &str) -> Vec<String> {
        let tree = Tree::of(sql).unwrap_or_else(|| panic!("{sql}"));
        tree.protections().into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn what_drivers_send_is_found_by_name_and_taken_away() {
        for (sql, name, anew) in [
            (
                "SELECT \"seat\".\"id\" FROM \"seat\" WHERE \"seat\".\"id\" = $1 LIMIT 21 FOR UPDATE",
                "FOR UPDATE on \"seat\"",
                "SELECT \"seat\".\"id\" FROM \"seat\" WHERE \"seat\".\"id\" = $1 LIMIT 21",
            ),
            (
                "DECLARE c CURSOR FOR SELECT v FROM t FOR NO KEY UPDATE",
                "FOR NO KEY UPDATE on t",
                "DECLARE c CURSOR FOR SELECT v FROM t",
            ),
            (
                "BEGIN; LOCK TABLE t IN SHARE MODE",
                "LOCK TABLE t IN SHARE MODE",
                "BEGIN; SET LOCAL driftlock.unlocked TO on",
            ),
            (
                "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                "ISOLATION LEVEL SERIALIZABLE",
                "START TRANSACTION ISOLATION LEVEL READ COMMITTED",
            ),
            (
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "ISOLATION LEVEL REPEATABLE READ",
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            ),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                "ISOLATION LEVEL SERIALIZABLE",
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
            ),
            (
                "SET default_transaction_isolation TO 'repeatable read'",
                "transaction_isolation repeatable read",
                "SET default_transaction_isolation TO 'read committed'",
            ),
            (
                "SET SESSION default_transaction_isolation = serializable",
                "transaction_isolation serializable",
                "SET SESSION default_transaction_isolation = 'read committed'",
            ),
            (
                "SELECT set_config('default_transaction_isolation', 'serializable', false)",
                "transaction_isolation serializable",
                "SELECT set_config('default_transaction_isolation', 'read committed', false)",
            ),
            (
                "SELECT pg_advisory_xact_lock($1, $2)",
                "advisory lock $1, $2",
                "SELECT CASE WHEN true THEN '' ELSE pg_advisory_xact_lock($1, $2) END",
            ),
            (
                "SELECT pg_try_advisory_lock(7)",
                "advisory lock 7",
                "SELECT CASE WHEN true THEN true ELSE pg_try_advisory_lock(7) END",
            ),
            (
                "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET n = t.n + 1 RETURNING n",
                "ON CONFLICT (a) DO UPDATE SET n = t.n + 1 into t",
                "INSERT INTO t (a) VALUES ($1) RETURNING n",
            ),
        ] {
            assert_eq!(names(sql), [name], "{sql}");
            assert_eq!(without(sql, None).as_deref(), Some(anew), "{sql}");
        }
        for sql in ["BEGIN", "SELECT 'FOR UPDATE', 'serializable'", "SHOW transaction_isolation", "UPDATE t SET a = 1"]
        {
            assert!(names(sql).is_empty(), "{sql}");
        }
    }

    #[test]
    fn what_a_driver_has_put_other_values_into_is_alike() {
        let alike = |sql: &str| Tree::of(sql).unwrap_or_else(|| panic!("{sql}")).protections().remove(0).alike;
        for (one, other, is_alike) in [
            ("SELECT pg_advisory_xact_lock(17)", "SELECT pg_advisory_xact_lock( -18)", true),
            ("SELECT pg_advisory_lock(1, hashtext('a'))", "SELECT pg_advisory_lock(1, hashtext(E'b\\n'))", true),
            ("SELECT pg_advisory_lock(hashtext('a'))", "SELECT pg_advisory_lock(7)", false),
            ("SELECT pg_advisory_lock(seat - 1)", "SELECT pg_advisory_lock(seat - 20)", true),
            (
                "INSERT INTO t1 VALUES (1) ON CONFLICT (a) DO UPDATE SET n = 5, at = '2026-01-01'::date",
                "INSERT INTO t1 VALUES (2) ON CONFLICT (a) DO UPDATE SET n =  -6, at = '2027-01-01'::date",
                true,
            ),
            (
                "INSERT INTO t1 VALUES (1) ON CONFLICT (a) DO NOTHING",
                "INSERT INTO t2 VALUES (1) ON CONFLICT (a) DO NOTHING",
                false,
            ),
            ("SELECT 1 FROM t1 FOR UPDATE", "SELECT 1 FROM t2 FOR UPDATE", false),
        ] {
            assert_eq!(alike(one) == alike(other), is_alike, "{} {}", alike(one), alike(other));
        }
    }

    #[test]
    fn an_isolation_level_that_is_a_parameter_is_told() {
        for (sql, hides) in [
            ("SELECT set_config('default_transaction_isolation', $1, false)", true),
            ("SELECT pg_catalog.set_config( 'transaction_isolation', $1::text, true )", true),
            ("SELECT set_config($1, $2, true)", true),
            ("SELECT set_config('default_transaction_isolation', 'serializable', $1)", false),
            ("SELECT set_config('role', $1, true)", false),
            ("SELECT f('default_transaction_isolation', $1)", false),
        ] {
            assert_eq!(Tree::of(sql).unwrap_or_else(|| panic!("{sql}")).hides_a_level(), hides, "{sql}");
        }
    }

    #[test]
    fn a_parameter_that_nothing_asks_for_any_more_keeps_its_number_and_its_type() {
        let sql = "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET n = $2";
        let types = ["pg_catalog.int4".to_owned(), "pg_catalog.int8".to_owned()];
        let expected = "WITH driftlock_kept AS (SELECT $2::pg_catalog.int8) INSERT INTO t (a) VALUES ($1)";
        assert_eq!(without(sql, Some(&types)).as_deref(), Some(expected));
        // Of unknown type, or where there is no place for it, the text stays.
        assert_eq!(without(sql, None), None);
        assert_eq!(without(&format!("WITH x AS (SELECT 1) {sql}"), Some(&types)), None);
        let from = Tree::of("SELECT * FROM pg_advisory_lock(7)").unwrap();
        let parts = from.protections();
        assert_eq!(from.without_protections(&[&parts[0]], None), Err("nothing can stand in its place there"));
        let used = "INSERT INTO t (a, n) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET n = $2";
        assert_eq!(without(used, None).as_deref(), Some("INSERT INTO t (a, n) VALUES ($1, $2)"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_left_has_nothing_to_take_away(words in prop::collection::vec(
            prop::sample::select(vec!["SELECT", "FROM", "t", "WHERE", "a = $1", "FOR UPDATE", "FOR SHARE", "(", ")", ";",
                "INSERT INTO t (a) VALUES ($2)", "ON CONFLICT (a) DO UPDATE SET n = $3", "DO NOTHING", "ON CONFLICT",
                "BEGIN", "ISOLATION LEVEL SERIALIZABLE", "LOCK TABLE t", "pg_advisory_lock($4)", "'", "--", ",", "1"]), 0..14)) {
            let sql = words.join(" ");
            if let Some(tree) = Tree::of(&sql) {
                let types = vec!["int4".to_owned(); 4];
                let parts = tree.protections();
                if let Ok(anew) = tree.without_protections(&parts.iter().collect::<Vec<_>>(), Some(&types)) {
                    let left = Tree::of(&anew).map(|tree| tree.protections()).unwrap_or_default();
                    prop_assert!(left.iter().all(|one| matches!(one.sort, Sort::Advisory(_))), "{} of {}", anew, sql);
                    let (before, after) = (tree.parameters(), Tree::of(&anew).unwrap().parameters());
                    prop_assert_eq!(before, after);
                }
            }
        }
    }
}
