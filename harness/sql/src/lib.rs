//! Takes an SQL file apart into its statements, each with its place, as psql and sqlite3 do: quotes, `E''`, dollar
//! quotes, comments, parentheses, and the bodies of functions and triggers.
//!
//! It knows where a statement ends, and nothing of what it means; [`syntax`] does. What only a shell understands is refused
//! by name.
//!
//! ```
//! let statements = driftlock_sql::split("SELECT E'\\';'; /* ; /* ; */ */ SELECT 2;").unwrap();
//! assert_eq!(statements[1].text, "SELECT 2");
//! ```

pub mod syntax;

use std::ops::Range;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's: comments nest, texts may be dollar-quoted, a trigger has no body.
    Postgres,
    /// SQLite's: comments do not nest, `[a]` and `` `a` `` are names, a trigger ends with `; END`.
    Sqlite,
    /// That of a script which may be for either: PostgreSQL's, with SQLite's triggers.
    Either,
}

/// One statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text, from its first word, without the semicolon.
    pub text: String,
    /// The line of its first word, from 1.
    pub line: u32,
    /// The column of its first word, in characters, from 1.
    pub column: u32,
    /// Its words outside of quotes and comments, in upper case, the first few.
    pub words: Vec<String>,
    /// The lines that follow a `COPY … FROM STDIN`, without the `\.` that ends them.
    pub data: Option<String>,
}

impl Statement {
    /// Whether it begins with these words.
    pub fn begins(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len() && self.words.iter().zip(words).all(|(word, wanted)| word == wanted)
    }

    /// Whether it has this word outside of quotes and comments.
    pub fn has(&self, wanted: &str) -> bool {
        self.words.iter().any(|word| word == wanted)
    }

    /// Whether it is a `COPY … FROM STDIN`, whose data does not come as SQL.
    pub fn reads_stdin(&self) -> bool {
        self.begins(&["COPY"]) && self.has("STDIN") && self.has("FROM")
    }

    /// Its text in one line, shortened to `characters`.
    pub fn in_short(&self, characters: usize) -> String {
        in_short(&self.text, characters)
    }
}

/// A text in one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text, shortened to `characters`.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A text in one line, shortened to `characters`.
pub fn in_short(text: &str, characters: usize) -> String {
    shortened(&one_line(text), characters)
}

/// A name as an identifier that is taken as it is.
pub fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What is wrong with a file's text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The line, from 1.
    pub line: u32,
    /// The column, in characters, from 1.
    pub column: u32,
    /// What it is: lower case, no full stop.
    pub message: String,
}

/// How many characters of a shell's command are shown.
const COMMAND_CHARACTERS: usize = 20;
/// How many words of a statement are kept.
const WORDS_MAX: usize = 400;

/// Takes a text apart that may be for either database.
///
/// # Errors
/// Everything in it that is not SQL for a server, each with its place.
pub fn split(text: &str) -> Result<Vec<Statement>, Vec<Flaw>> {
    split_as(text, Dialect::Either)
}

/// Takes a text apart. In PostgreSQL's, the lines after a `COPY … FROM STDIN` are its data.
///
/// # Errors
/// Everything in it that is not SQL for a server, each with its place.
pub fn split_as(text: &str, dialect: Dialect) -> Result<Vec<Statement>, Vec<Flaw>> {
    let mut splitter = Splitter::new(text, dialect);
    splitter.takes_data = dialect == Dialect::Postgres;
    splitter.run();
    if splitter.flaws.is_empty() { Ok(splitter.statements) } else { Err(splitter.flaws) }
}

/// What a text that may go on begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// A statement, and where what follows its semicolon begins.
    Statement(Statement, usize),
    /// A command of psql's, and where its backslash is; whether a statement had begun before it.
    Psql(usize, bool),
    /// Nothing that has an end in this text; whether anything has begun.
    Unfinished(bool),
}

/// The first statement of PostgreSQL's in a text that may go on. Its place is that within the text.
pub fn first(text: &str) -> First {
    let mut splitter = Splitter::new(text, Dialect::Postgres);
    loop {
        let before = splitter.at;
        let goes_on = splitter.step();
        if let Some(statement) = splitter.statements.pop() {
            return First::Statement(statement, splitter.at);
        }
        if !splitter.flaws.is_empty() {
            return match text[before..].starts_with('\\') {
                true => First::Psql(before, splitter.open.is_some()),
                false => First::Unfinished(true),
            };
        }
        if !goes_on {
            return First::Unfinished(splitter.open.is_some());
        }
    }
}

/// The line and the column of a place in a text, both from 1.
pub fn place(text: &str, at: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.rsplit('\n').next().unwrap_or_default();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (count(before.matches('\n').count() + 1), count(line.chars().count() + 1))
}

/// The statement that is being read.
#[derive(Default)]
struct Open {
    start: usize,
    words: Vec<String>,
    parentheses: u32,
    /// How many `BEGIN ATOMIC` and, within them, `CASE` have not been ended, in the definition of a function.
    bodies: u32,
    /// What the last token was, as far as that matters.
    last: Last,
    /// Whether a trigger's event has named its table: a `BEGIN` before that is a column's name.
    has_table: bool,
    /// Whether a trigger calls a function, and so has no body.
    calls: bool,
}

/// The last token of a statement.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Other,
    Begin,
    On,
    Of,
    Semicolon,
}

impl Open {
    /// Whether its first words define one of these: psql looks at the first four words too.
    fn defines(&self, what: &[&str]) -> bool {
        self.words.first().is_some_and(|word| word == "CREATE")
            && self.words.iter().take(4).any(|word| what.contains(&word.as_str()))
    }

    /// Follows the bodies that a word opens and ends.
    fn follow(&mut self, word: &str, dialect: Dialect) {
        let last = self.last;
        self.last = match word {
            "BEGIN" => Last::Begin,
            "ON" => Last::On,
            "OF" => Last::Of,
            _ => Last::Other,
        };
        if self.parentheses > 0 {
            return;
        }
        if dialect != Dialect::Sqlite && self.defines(&["FUNCTION", "PROCEDURE"]) {
            match word {
                "ATOMIC" if last == Last::Begin => self.bodies += 1,
                "CASE" if self.bodies > 0 => self.bodies += 1,
                "END" => self.bodies = self.bodies.saturating_sub(1),
                _ => {}
            }
        } else if dialect != Dialect::Postgres && self.defines(&["TRIGGER"]) {
            match word {
                "ON" => self.has_table = true,
                "EXECUTE" => self.calls = true,
                "BEGIN" if self.has_table && !self.calls && !matches!(last, Last::On | Last::Of) => self.bodies = 1,
                // As in sqlite3_complete: only an END of its own ends it, and CASE has none after a semicolon.
                "END" if last == Last::Semicolon => self.bodies = 0,
                _ => {}
            }
        }
    }
}

struct Splitter<'a> {
    text: &'a str,
    dialect: Dialect,
    /// Whether the lines after a `COPY … FROM STDIN` are its data.
    takes_data: bool,
    at: usize,
    statements: Vec<Statement>,
    flaws: Vec<Flaw>,
    open: Option<Open>,
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || !c.is_ascii() && !c.is_whitespace()
}

fn continues_word(c: char) -> bool {
    begins_word(c) || c.is_ascii_digit() || c == '$'
}

impl<'a> Splitter<'a> {
    fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { text, dialect, takes_data: false, at: 0, statements: Vec::new(), flaws: Vec::new(), open: None }
    }
}

impl Splitter<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn run(&mut self) {
        while self.step() {}
        // What the text ends with has no data.
        self.takes_data = false;
        self.end();
    }

    /// Goes one token further; answers whether there was one.
    fn step(&mut self) -> bool {
        if let Some(c) = self.rest().chars().next() {
            if c.is_whitespace() || (c == '\u{feff}' && self.at == 0) {
                self.at += c.len_utf8();
            } else if self.rest().starts_with("--") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                self.comment();
            } else if c == '\\' && !self.inside() && self.dialect != Dialect::Sqlite {
                self.command("psql");
            } else if self.is_dot_command() {
                self.command("sqlite3");
            } else {
                self.token(c);
            }
            return true;
        }
        false
    }

    /// Refuses a command of a shell's by its name, to the end of its line.
    fn command(&mut self, shell: &str) {
        let line = self.rest().lines().next().unwrap_or_default();
        let name: String = line.split_whitespace().next().unwrap_or(line).chars().take(COMMAND_CHARACTERS).collect();
        let length = line.len();
        self.flaw(self.at, format!("{name} is a command of {shell}, which no server understands"));
        self.at += length;
    }

    /// Whether a line begins here with a dot, where no statement has begun.
    fn is_dot_command(&self) -> bool {
        let mut characters = self.rest().chars();
        self.dialect == Dialect::Sqlite
            && self.open.is_none()
            && characters.next() == Some('.')
            && characters.next().is_some_and(char::is_alphabetic)
            && self.text[..self.at].chars().next_back().is_none_or(|before| before == '\n')
    }

    /// Whether a statement has begun that psql would not send at a backslash: then it is the server's to refuse.
    fn inside(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.parentheses > 0)
    }

    fn token(&mut self, c: char) {
        if c == ';' && self.open.as_ref().is_none_or(|open| open.parentheses == 0 && open.bodies == 0) {
            self.end();
            self.at += 1;
            self.data();
            return;
        }
        let (start, is_sqlite) = (self.at, self.dialect == Dialect::Sqlite);
        let open = self.open.get_or_insert_with(|| Open { start, ..Open::default() });
        if !begins_word(c) {
            open.last = if c == ';' { Last::Semicolon } else { Last::Other };
        }
        match c {
            '(' => open.parentheses += 1,
            ')' => open.parentheses = open.parentheses.saturating_sub(1),
            '\'' => return self.quoted('\'', false),
            '"' => return self.quoted('"', false),
            '`' if is_sqlite => return self.quoted('`', false),
            '[' if is_sqlite => return self.bracketed(),
            '$' if !is_sqlite => {
                if let Some(tag) = dollar_tag(self.rest()).map(str::to_owned) {
                    return self.dollar_quoted(&tag);
                }
            }
            _ if begins_word(c) => return self.word(),
            _ if c.is_ascii_digit() => {
                // So that the letters of 1e5 are no word.
                let end = self.rest().find(|c: char| !continues_word(c) && c != '.').unwrap_or(self.rest().len());
                self.at += end;
                return;
            }
            _ => {}
        }
        self.at += c.len_utf8();
    }

    fn word(&mut self) {
        let end = self.rest().find(|c: char| !continues_word(c)).unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_uppercase();
        self.at += end;
        if word == "E" && self.rest().starts_with('\'') && self.dialect != Dialect::Sqlite {
            return self.quoted('\'', true);
        }
        let Some(open) = self.open.as_mut() else { return };
        open.follow(&word, self.dialect);
        if open.words.len() < WORDS_MAX {
            open.words.push(word);
        }
    }

    fn quoted(&mut self, quote: char, escapes: bool) {
        let start = self.at;
        let mut characters = self.text[start + 1..].char_indices().peekable();
        while let Some((index, c)) = characters.next() {
            if c == '\\' && escapes {
                characters.next();
            } else if c == quote {
                if characters.peek().is_some_and(|(_, next)| *next == quote) {
                    characters.next();
                    continue;
                }
                self.at = start + 1 + index + 1;
                return;
            }
        }
        self.unended(start, if quote == '\'' { "a text" } else { "a quoted name" });
    }

    /// A name of SQLite's in brackets: it ends at the first one that closes.
    fn bracketed(&mut self) {
        match self.rest().find(']') {
            Some(end) => self.at += end + 1,
            None => self.unended(self.at, "a quoted name"),
        }
    }

    fn dollar_quoted(&mut self, tag: &str) {
        let body = self.at + tag.len();
        match self.text[body..].find(tag) {
            Some(end) => self.at = body + end + tag.len(),
            None => self.unended(self.at, &format!("a text that {tag} begins")),
        }
    }

    fn comment(&mut self) {
        let (start, mut depth) = (self.at, 0_u32);
        if self.dialect == Dialect::Sqlite {
            // It does not nest, and the end of the text ends it too.
            self.at = self.text[start + 2..].find("*/").map_or(self.text.len(), |end| start + 2 + end + 2);
            return;
        }
        while self.at < self.text.len() {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            }
        }
        self.unended(start, "a comment");
    }

    fn unended(&mut self, start: usize, what: &str) {
        self.flaw(start, format!("{what} has no end"));
        self.at = self.text.len();
    }

    fn flaw(&mut self, at: usize, message: String) {
        let (line, column) = place(self.text, at);
        self.flaws.push(Flaw { line, column, message });
    }

    fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        let range: Range<usize> = open.start..self.at;
        let (line, column) = place(self.text, open.start);
        let text = self.text[range].trim_end().to_owned();
        let statement = Statement { text, line, column, words: open.words, data: None };
        if statement.reads_stdin() && !self.takes_data && self.dialect != Dialect::Sqlite {
            self.flaw(open.start, "COPY FROM STDIN, whose data only psql would send".to_owned());
        }
        self.statements.push(statement);
    }

    /// Takes the data after a `COPY … FROM STDIN`, up to a line that is `\.`, as psql does.
    fn data(&mut self) {
        let reads = self.takes_data && self.statements.last().is_some_and(Statement::reads_stdin);
        if !reads {
            return;
        }
        let line_end = self.rest().find('\n').map_or(self.text.len(), |end| self.at + end + 1);
        if !self.text[self.at..line_end].trim().is_empty() {
            self.flaw(self.at, "data of COPY begins on the next line".to_owned());
        }
        let (mut at, mut ended) = (line_end, None);
        for line in self.text[line_end..].split_inclusive('\n') {
            if line.trim_end_matches(['\n', '\r']) == "\\." {
                ended = Some(at);
                self.at = at + line.len();
                break;
            }
            at += line.len();
        }
        let Some(end) = ended else {
            self.unended(line_end.min(self.text.len()), "the data of COPY");
            return;
        };
        if let Some(statement) = self.statements.last_mut() {
            statement.data = Some(self.text[line_end..end].to_owned());
        }
    }
}

/// The opening tag of a dollar-quoted text, at the dollar sign that `rest` begins with: `$$`, `$body$`; not `$1`.
pub fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest.get(1..)?.find('$')? + 2;
    let name = &rest[1..end - 1];
    let sound = name.chars().all(|c| begins_word(c) || c.is_ascii_digit());
    (sound && !name.starts_with(|c: char| c.is_ascii_digit())).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        split_as(sql, Dialect::Either).unwrap().into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_semicolon_within_quotes_comments_and_parentheses_ends_nothing() {
        for whole in [
            "SELECT 'a;b'",
            "SELECT 'it''s; here'",
            r"SELECT E'\';' || 'x'",
            r"SELECT e'\\'",
            r#"SELECT ";" FROM "a"";b""#,
            "SELECT $$ ; ' $$",
            "DO $body$ BEGIN x; $$ ; $$ y; END $body$",
            "SELECT 1 /* ; /* nested; */ ; */ + 2",
            "SELECT 1 -- ; not yet\n + 2",
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)",
            "SELECT a$b, $1",
            "SELECT U&'d\\0061t\\+000061;'",
        ] {
            assert_eq!(texts(&format!("{whole};\n;SELECT 2")), [whole, "SELECT 2"], "{whole}");
        }
        // A standard text has no escapes: it ends at the second quote.
        assert_eq!(texts(r"SELECT 'a\'; SELECT 2"), [r"SELECT 'a\'", "SELECT 2"]);
        // e and the quote belong together only where the word is e alone.
        assert_eq!(texts(r"SELECT name'\'; SELECT 2"), [r"SELECT name'\'", "SELECT 2"]);
    }

    #[test]
    fn the_body_of_a_function_is_one_statement_and_a_transaction_is_none() {
        let function = "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC \
                        SELECT CASE WHEN a > 1 THEN 2 ELSE 3 END; SELECT 4; END";
        assert_eq!(texts(&format!("{function}; SELECT 1;")), [function, "SELECT 1"]);
        let trigger = "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; SELECT CASE WHEN 1 THEN 2 END; END";
        assert_eq!(texts(&format!("{trigger}; SELECT 1;")), [trigger, "SELECT 1"]);
        let procedure = "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END";
        assert_eq!(texts(&format!("{procedure};")), [procedure]);
        assert_eq!(texts("BEGIN; SELECT 1; END; CREATE TABLE \"begin\" (a int); SELECT 2").len(), 5);
    }

    #[test]
    fn places_are_those_of_the_first_word_and_count_characters() {
        let found = split_as("-- ä\n/* x */ SELECT 1;\n\n  é(';'); SELECT 2", Dialect::Postgres).unwrap();
        let places: Vec<_> = found.iter().map(|statement| (statement.line, statement.column)).collect();
        assert_eq!(places, [(2, 9), (4, 3), (4, 11)]);
        assert_eq!(found[0].words, ["SELECT"]);
        assert!(found[0].begins(&["SELECT"]) && !found[0].begins(&["SELECT", "1"]));
    }

    #[test]
    fn a_word_that_is_a_name_opens_no_body() {
        let of = |sql: &str, dialect| -> Vec<String> {
            split_as(sql, dialect).unwrap().into_iter().map(|statement| statement.text).collect()
        };
        let theirs = "CREATE TRIGGER t BEFORE UPDATE OF begin ON a FOR EACH ROW EXECUTE FUNCTION f()";
        for dialect in [Dialect::Postgres, Dialect::Either] {
            assert_eq!(of(&format!("{theirs}; SELECT 1;"), dialect), [theirs, "SELECT 1"]);
        }
        let function = "CREATE FUNCTION begin(begin int) RETURNS int LANGUAGE sql RETURN 1";
        assert_eq!(of(&format!("{function}; SELECT 1;"), Dialect::Postgres), [function, "SELECT 1"]);
        let ours = "CREATE TRIGGER t AFTER UPDATE OF begin ON a BEGIN UPDATE a SET x = CASE WHEN 1 THEN 2 END; END";
        for dialect in [Dialect::Sqlite, Dialect::Either] {
            assert_eq!(of(&format!("{ours}; SELECT 1;"), dialect), [ours, "SELECT 1"]);
        }
    }

    #[test]
    fn sqlites_comments_do_not_nest_and_its_brackets_are_names() {
        let of = |sql: &str| -> Vec<String> {
            split_as(sql, Dialect::Sqlite).unwrap().into_iter().map(|statement| statement.text).collect()
        };
        assert_eq!(of("SELECT 1 /* /* */; SELECT 2"), ["SELECT 1 /* /* */", "SELECT 2"]);
        assert_eq!(of("CREATE TABLE [it's;] (`a;` int); SELECT $$; SELECT 2").len(), 3);
        assert_eq!(of(r"SELECT E'\'; SELECT 2").len(), 2);
        assert_eq!(of("SELECT 1; /* goes on"), ["SELECT 1"]);
        let flaws = split_as("SELECT 1;\n.mode csv\nSELECT .5;", Dialect::Sqlite).unwrap_err();
        assert_eq!(
            (flaws[0].line, flaws[0].message.as_str()),
            (2, ".mode is a command of sqlite3, which no server understands")
        );
        assert_eq!(flaws.len(), 1);
    }

    #[test]
    fn the_data_of_copy_belongs_to_its_statement() {
        let found =
            split_as("COPY t (a) FROM stdin;\n1\n'\n\\.\nSELECT 2;\nCOPY t TO STDOUT", Dialect::Postgres).unwrap();
        assert_eq!(found.iter().map(|one| one.data.as_deref()).collect::<Vec<_>>(), [Some("1\n'\n"), None, None]);
        assert_eq!((found[1].text.as_str(), found[1].line), ("SELECT 2", 5));
    }

    #[test]
    fn nothing_but_comments_is_no_statement() {
        assert_eq!(texts("-- x\n/* y */ ;;; \u{feff}".trim_end_matches('\u{feff}')), [""; 0]);
        assert_eq!(texts("\u{feff}SELECT 1"), ["SELECT 1"]);
    }

    #[test]
    fn what_only_psql_understands_and_what_has_no_end_is_named_with_its_place() {
        let flaws = |sql: &str| -> Vec<_> {
            let flaws = split_as(sql, Dialect::Postgres).unwrap_err().into_iter();
            flaws.map(|flaw| (flaw.line, flaw.column, flaw.message)).collect()
        };
        let psql = |name: &str| format!("{name} is a command of psql, which no server understands");
        assert_eq!(flaws("SELECT 1;\n  \\d t\nSELECT 2 \\g\n"), [(2, 3, psql("\\d")), (3, 10, psql("\\g"))]);
        assert_eq!(flaws("\\i other.sql\nSELECT 1;"), [(1, 1, psql("\\i"))]);
        let copy = "COPY FROM STDIN, whose data only psql would send";
        assert_eq!(flaws("SELECT 1; COPY t FROM stdin"), [(1, 11, copy.into())]);
        assert_eq!(flaws("COPY t FROM stdin;\n1\n"), [(2, 1, "the data of COPY has no end".into())]);
        assert_eq!(flaws("SELECT\n 'abc;"), [(2, 2, "a text has no end".into())]);
        assert_eq!(flaws("SELECT \"abc;"), [(1, 8, "a quoted name has no end".into())]);
        assert_eq!(flaws("/* /* */ SELECT 1"), [(1, 1, "a comment has no end".into())]);
        assert_eq!(flaws("DO $x$ ; $$"), [(1, 4, "a text that $x$ begins has no end".into())]);
    }

    #[test]
    fn the_first_statement_of_a_text_that_goes_on_is_told_from_what_has_no_end_yet() {
        let First::Statement(statement, rest) = first("-- x\nSELECT ';';SELECT") else { panic!() };
        assert_eq!((statement.text.as_str(), statement.line, rest), ("SELECT ';'", 2, 16));
        let First::Statement(copy, _) = first("COPY t FROM stdin;\n1") else { panic!() };
        assert!(copy.begins(&["COPY"]) && copy.has("STDIN"));
        for text in ["SELECT 1", "SELECT 'a;", "SELECT $a$;", "/* ;", "(;", "x \""] {
            assert_eq!(first(text), First::Unfinished(true), "{text}");
        }
        assert_eq!(first(" \n-- x;"), First::Unfinished(false));
        assert_eq!((first("\n\\restrict x"), first("SELECT 1 \\g")), (First::Psql(1, false), First::Psql(9, true)));
    }

    #[test]
    fn any_text_comes_to_an_end() {
        for text in ["$", "'", "E'\\", "\"", "$a", "/*", "--", "\\", "ä$ä$", "(;", "\u{0}", "1e5;$1$2", "😀;😀"] {
            for dialect in [Dialect::Postgres, Dialect::Sqlite, Dialect::Either] {
                let _ = split_as(text, dialect);
            }
        }
    }
}
