//! Drafts a traffic script from a schema: rows to begin with, inserts, updates by key and reads by index, on the tables
//! that migrations touch. Every statement is run once before it is written; what the database refuses is left out, and
//! the script says so.

mod columns;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, ErrorClass, Kind};
use sqlx::{AssertSqlSafe, PgConnection};

use self::columns::{Column, Table, tables};
use super::migrations::Migration;

/// How many rows the set-up gives each table.
pub const ROWS: u32 = 10_000;
/// How many tables get actors; further ones are named.
const TABLES_MAX: usize = 8;
/// How many indexes of a table are read by.
const READS_MAX: usize = 3;
/// How many bytes of a summary list tables; of more it says how many there are.
const SUMMARY_MAX: usize = 400;
/// How long one statement may take when it is tried.
const TRIED_MAX_MS: u64 = 30_000;

/// A script, and what is to be known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The file's text.
    pub text: String,
    /// The tables that have actors.
    pub tables: Vec<String>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
}

/// What a schema and its migrations come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drafted {
    /// A script.
    Script(Draft),
    /// The migrations touch no table that is there already.
    Untouched,
    /// They touch some, and no statement on them worked: why.
    Nothing(Vec<String>),
}

/// Drafts a script for the migrations that are to be rehearsed, on a database that stands at the version before them.
///
/// Cancellation: the database must then be dropped.
///
/// # Errors
/// The database cannot be asked.
pub async fn draft(connection: &mut PgConnection, name: &str, migrations: &[&Migration]) -> Result<Drafted, DbError> {
    send(connection, &format!("SET statement_timeout = {TRIED_MAX_MS}")).await?;
    let all = tables(connection).await?;
    let texts = texts(migrations);
    let touched = touched(&all, &texts);
    if touched.is_empty() {
        return Ok(Drafted::Untouched);
    }
    let mut drafting = Drafting {
        connection,
        all: &all,
        setup: Vec::new(),
        filled: BTreeMap::new(),
        words: BTreeSet::new(),
        left_out: Vec::new(),
    };
    let (mut actors, mut invariants, mut with_actors) = (String::new(), String::new(), Vec::new());
    for table in touched {
        if with_actors.len() == TABLES_MAX {
            drafting.left_out.push(format!("{}: only {TABLES_MAX} tables get actors", table.name));
            continue;
        }
        drafting.fill(table, 0).await?;
        let word = drafting.own_word(table);
        let of_table = drafting.actors(table, &word).await?;
        if of_table.is_empty() {
            continue;
        }
        with_actors.push(table.name.clone());
        actors.push_str(&of_table);
        if let Some(rows) = drafting.filled.get(&table.name) {
            let query = format!("SELECT 1 WHERE (SELECT count(*) FROM {}) < {rows}", table.name);
            let _ = write!(
                invariants,
                "\n[[invariant]]\nname = {}\nsql = {}\n",
                quoted(&format!("{word}-are-kept")),
                quoted(&braced(&query))
            );
        }
    }
    let Drafting { setup, left_out, .. } = drafting;
    if with_actors.is_empty() {
        return Ok(Drafted::Nothing(left_out));
    }
    if invariants.is_empty() {
        // A script without a question is refused.
        invariants.push_str(
            "\n# Nothing was filled of which the rows could be counted: say what must be true at the end.\n\
             [[invariant]]\nname = \"nothing-is-known\"\nsql = \"SELECT 1 WHERE false\"\n",
        );
    }
    let mut text = String::from(
        "# Traffic for `driftlock rehearse --traffic`, drafted from the schema. Each statement was run once. Make it what your\n\
         # application does: its own statements, its own transactions, and what must be true at the end.\n",
    );
    for one in &left_out {
        let _ = writeln!(text, "# Left out: {}", one.replace(char::is_control, " "));
    }
    let setup: String = setup.iter().map(|statement| format!("{statement};\n")).collect();
    let on = with_actors.join(", ");
    let is_short = on.len() <= SUMMARY_MAX && !on.contains(char::is_control);
    let on = if is_short { on } else { format!("{} tables", with_actors.len()) };
    let summary = format!("Inserts, updates by key and reads by index on {on}.");
    let _ = write!(text, "\nname = {}\nsummary = {}\n", quoted(&format!("{}-traffic", word(name))), quoted(&summary));
    let _ = write!(text, "setup = \"\"\"\n{}\"\"\"\n{actors}{invariants}", escaped(&setup, true));
    Ok(Drafted::Script(Draft { text, tables: with_actors, left_out }))
}

struct Drafting<'d> {
    connection: &'d mut PgConnection,
    all: &'d [Table],
    setup: Vec<String>,
    /// How many rows each table has that is filled.
    filled: BTreeMap<String, i64>,
    /// What actors are called by, each once.
    words: BTreeSet<String>,
    left_out: Vec<String>,
}

impl Drafting<'_> {
    /// Fills a table, and before it those that it refers to.
    async fn fill(&mut self, table: &Table, depth: usize) -> Result<(), DbError> {
        if self.filled.contains_key(&table.name) || depth > self.all.len() {
            return Ok(());
        }
        let all = self.all;
        for parent in table.columns.iter().filter_map(|column| column.refers.as_ref()) {
            if let Some(parent) = all.iter().find(|one| one.name == parent.table && one.name != table.name) {
                Box::pin(self.fill(parent, depth + 1)).await?;
            }
        }
        if self.filled.contains_key(&table.name) {
            return Ok(());
        }
        let Some((columns, values)) = row(table, "n") else {
            self.left_out
                .push(format!("{} is not filled: a column has a type for which no value is known", table.name));
            return Ok(());
        };
        let insert = match columns.is_empty() {
            true => format!("INSERT INTO {} SELECT FROM generate_series(1, {ROWS}) AS n", table.name),
            false => format!(
                "INSERT INTO {} ({columns}) SELECT {values} FROM generate_series(1, {ROWS}) AS n ON CONFLICT DO NOTHING",
                table.name
            ),
        };
        match self.tried(&insert, true).await? {
            None => {
                self.setup.push(insert);
                let count = format!("SELECT count(*) FROM {}", table.name);
                let asked = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *self.connection).await;
                self.filled.insert(table.name.clone(), asked.map_err(|error| classify(error, Kind::Read))?);
            }
            Some(why) => self.left_out.push(format!("{} is not filled: {why}", table.name)),
        }
        Ok(())
    }

    /// What a table's actors are called by: of several tables that come to the same word, the later ones are numbered.
    fn own_word(&mut self, table: &Table) -> String {
        let word = word(&table.plain);
        let numbered = (2..).map(|number| format!("{word}-{number}"));
        let own = std::iter::once(word.clone()).chain(numbered).find(|one| !self.words.contains(one));
        let own = own.unwrap_or(word);
        self.words.insert(own.clone());
        own
    }

    /// The actors of a table: who inserts, who updates, who reads.
    async fn actors(&mut self, table: &Table, word: &str) -> Result<String, DbError> {
        let new = "(SELECT 1000000 + floor(random() * 1000000000))::int";
        let insert = row(table, new).map(|(columns, values)| match columns.is_empty() {
            true => format!("INSERT INTO {} DEFAULT VALUES ON CONFLICT DO NOTHING", table.name),
            false => format!("INSERT INTO {} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING", table.name),
        });
        if insert.is_none() {
            self.left_out.push(format!("{}: no inserts: a column has a type for which no value is known", table.name));
        }
        let some = format!("(SELECT 1 + floor(random() * {ROWS}))::int");
        let near = |column: &Column| {
            let from = column.value(&some)?;
            Some(format!("{0} >= (SELECT {from}) ORDER BY {0}", column.name))
        };
        let key = table.key.as_ref().and_then(|key| table.columns.iter().find(|column| column.name == *key));
        let update = key.and_then(|key| {
            let free = table.columns.iter().filter(|one| one.is_free());
            let (column, value) = free.filter_map(|column| Some((column, column.value(&some)?))).next()?;
            let near = near(key)?;
            Some(format!(
                "UPDATE {0} SET {1} = {value} WHERE {2} = (SELECT {2} FROM {0} WHERE {near} LIMIT 1)",
                table.name, column.name, key.name
            ))
        });
        if update.is_none() {
            let why = match key {
                None => "there is no primary key of one column",
                Some(_) => "there is no column of a known type outside of all indexes, or the key's type is not known",
            };
            self.left_out.push(format!("{}: no updates: {why}", table.name));
        }
        let mut reads = Vec::new();
        for column in table.columns.iter().filter(|column| table.indexed.contains(&column.name)) {
            let why = match near(column) {
                _ if reads.len() == READS_MAX => format!("only {READS_MAX} indexes of a table are read by"),
                None => "no value of its type is known".to_owned(),
                Some(near) => {
                    reads.push(format!("SELECT {} FROM {} WHERE {near} LIMIT 20", column.name, table.name));
                    continue;
                }
            };
            self.left_out.push(format!("{}: no reads by {}: {why}", table.name, column.name));
        }
        let mut written = String::new();
        for (does, steps) in [("insert", Vec::from_iter(insert)), ("update", Vec::from_iter(update)), ("read", reads)] {
            let mut working = Vec::new();
            for step in steps {
                match self.tried(&step, false).await? {
                    None => working.push(quoted(&braced(&step))),
                    Some(why) => self.left_out.push(format!("{step}: {why}")),
                }
            }
            if !working.is_empty() {
                let actor = quoted(&format!("{does}-{word}"));
                let _ = write!(written, "\n[[actor]]\nname = {actor}\nsteps = [\n");
                for step in working {
                    let _ = writeln!(written, "  {step},");
                }
                written.push_str("]\n");
            }
        }
        Ok(written)
    }

    /// Runs a statement once, and keeps what it did or not; answers how it was refused, if it was. What is only checked
    /// at the end of a transaction is checked too.
    async fn tried(&mut self, sql: &str, keep: bool) -> Result<Option<String>, DbError> {
        send(self.connection, "BEGIN").await?;
        let mut sent = send(self.connection, sql).await;
        if sent.is_ok() {
            sent = send(self.connection, "SET CONSTRAINTS ALL IMMEDIATE").await;
        }
        let ended = send(self.connection, if keep && sent.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
        match sent.and(ended) {
            Err(error) if error.class == ErrorClass::Lost => Err(error),
            sent => Ok(sent.err().map(|error| error.message)),
        }
    }
}

/// The columns and values of a new row, each made of `n`; none where one must have a value and none is known.
fn row(table: &Table, n: &str) -> Option<(String, String)> {
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for column in table.columns.iter().filter(|column| !column.comes_by_itself) {
        match column.reference(n).or_else(|| column.value(n)) {
            Some(value) => {
                columns.push(column.name.clone());
                values.push(value);
            }
            None if column.not_null => return None,
            None => {}
        }
    }
    Some((columns.join(", "), values.join(", ")))
}

/// The statements of the migrations, in lower case.
fn texts(migrations: &[&Migration]) -> Vec<String> {
    let scripts = migrations.iter().flat_map(|one| std::iter::once(&one.up).chain(one.down.as_ref()));
    scripts.flat_map(|script| &script.statements).map(|statement| statement.text.to_lowercase()).collect()
}

/// The tables that texts name, and after them those of which they name only an index or the type of a column.
fn touched<'t>(all: &'t [Table], texts: &[String]) -> Vec<&'t Table> {
    let is_named = |name: &String| texts.iter().any(|text| names(text, name));
    let (mut named, others): (Vec<&Table>, Vec<&Table>) = all.iter().partition(|table| is_named(&table.plain));
    named.extend(others.into_iter().filter(|table| table.also.iter().any(is_named)));
    named
}

/// Whether a text has a name that is not a part of a longer one.
fn names(text: &str, name: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name)
        .any(|(at, _)| !goes_on(text[..at].chars().next_back()) && !goes_on(text[at + name.len()..].chars().next()))
}

async fn send(connection: &mut PgConnection, sql: &str) -> Result<(), DbError> {
    let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    sent.map(drop).map_err(|error| classify(error, Kind::Write))
}

/// As a text of TOML's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, false))
}

/// Within quotes of TOML's, which have no control characters in them; between three of them lines may end.
fn escaped(text: &str, keeps_lines: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '"' => escaped.extend(['\\', c]),
            '\n' if keeps_lines => escaped.push(c),
            c if c.is_control() => {
                let _ = write!(escaped, "\\u{:04X}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// With braces as a script wants them.
fn braced(sql: &str) -> String {
    sql.replace('{', "{{").replace('}', "}}")
}

/// A name as scripts want them: lower-case words, joined by hyphens.
fn word(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let joined = words.join("-");
    let short: String = joined.chars().take(40).collect();
    if short.is_empty() { "table".to_owned() } else { short.trim_end_matches('-').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_come_out_as_a_script_wants_them() {
        assert_eq!((word("Order_Items"), word("\"ß\"")), ("order-items".to_owned(), "table".to_owned()));
        assert_eq!(quoted("a\"\\"), "\"a\\\"\\\\\"");
        assert_eq!(
            (quoted("a\n\u{7f}"), escaped("a\n\"\r", true)),
            ("\"a\\u000A\\u007F\"".to_owned(), "a\n\\\"\\u000D".to_owned())
        );
        assert_eq!(braced("'{a}'"), "'{{a}}'");
        assert!(names("alter table \"order lines\" add x", "order lines") && names("drop table app.t", "t"));
        assert!(!names("alter table orders add x", "order") && !names("alter table my_t", "t"));
    }

    #[test]
    fn a_table_is_touched_by_its_name_or_by_that_of_an_index_or_a_type_and_comes_first_by_its_own() {
        let table = |plain: &str, also: &str| Table {
            name: plain.to_owned(),
            plain: plain.to_owned(),
            also: vec![also.to_owned()],
            columns: Vec::new(),
            key: None,
            indexed: Vec::new(),
        };
        let all = [table("a", "a_i"), table("b", "mood"), table("c", "c_i")];
        let of = |text: &str| touched(&all, &[text.to_owned()]).iter().map(|one| one.name.as_str()).collect::<Vec<_>>();
        assert_eq!(of("drop index concurrently a_i"), ["a"]);
        assert_eq!(of("alter type mood add value 'x'"), ["b"]);
        assert_eq!(of("alter table c add x mood; alter index public.a_i rename to z"), ["c", "a", "b"]);
        assert_eq!(of("create table d ()"), [""; 0]);
    }
}
