//! A statement as a tree: what it locks, what it reads and writes, and where in its text that stands.
//!
//! [The crate](crate) says where statements end; this says what they are made of. It reads PostgreSQL's SQL, and of SQLite's
//! whatever is written alike. What it cannot read has no tree: whoever asks does nothing then.
//!
//! ```
//! use driftlock_sql::syntax::Tree;
//! let tree = Tree::of("SELECT v FROM t WHERE id = {id} FOR UPDATE").unwrap();
//! assert_eq!(tree.without(&tree.locking_clauses()), "SELECT v FROM t WHERE id = {id}");
//! ```

mod forbidden;
mod protection;

use std::ops::Range;

use squawk_syntax::{SourceFile, SyntaxElement, SyntaxKind as Kind, SyntaxNode};

pub use self::forbidden::{Grouped, Overlapping};
pub use self::protection::{Answers, Protection};

/// The longest text that is read, in bytes.
const BYTES_MAX: usize = 256 * 1024;

/// How deep parentheses may be nested.
const DEPTH_MAX: usize = 100;

/// Functions over rows: what they return is no row that could be locked.
const AGGREGATES: [&str; 12] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "bool_and",
    "bool_or",
    "every",
];

/// Functions that do nothing but compute.
const HARMLESS: [&str; 12] = [
    "coalesce", "now", "lower", "upper", "length", "greatest", "least", "nullif", "concat", "abs", "round", "hashtext",
];

/// The tree of a text that holds one statement or several.
#[derive(Clone, Debug)]
pub struct Tree {
    /// As it was given, with its holes.
    text: String,
    root: SyntaxNode,
}

/// A call of a function for advisory locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvisoryCall {
    /// Its name in lower case, without a schema.
    pub name: String,
    /// Where it stands.
    pub range: Range<usize>,
    /// Its arguments, as written.
    pub arguments: String,
}

/// `column = value`, as one of several conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equality {
    /// The column, without its table.
    pub column: String,
    /// The value, as written.
    pub value: String,
}

/// A SELECT from tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The tables, as written.
    pub tables: Vec<String>,
    /// How each of them is called in the statement.
    pub aliases: Vec<String>,
    /// It returns rows of its tables, each once, so that they can be locked: no aggregate, no DISTINCT, no set operation.
    pub can_lock: bool,
    /// What it returns, as written, column by column.
    pub columns: Vec<String>,
    /// FROM and what follows until ORDER BY, LIMIT or a locking clause: the rows that it looks at.
    pub from: String,
    /// What must all hold, where it is `column = value`.
    pub equalities: Vec<Equality>,
    /// It looks at the rows of which these hold, and asks nothing else of them.
    pub is_by_key: bool,
    /// It takes the first rows only.
    pub has_limit: bool,
    /// Where a locking clause would be put.
    pub end: usize,
}

/// A statement that changes rows of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it does.
    pub does: Does,
    /// The table, as written.
    pub table: String,
    /// What its WHERE asks, where that is `column = value`.
    pub equalities: Vec<Equality>,
    /// What is set or inserted: column and value, as written; of several rows, the first one's.
    pub values: Vec<(String, String, Range<usize>)>,
    /// WHERE's condition.
    pub condition: Option<Range<usize>>,
    /// Where an ON CONFLICT clause of an INSERT would be put: before RETURNING.
    pub before_returning: usize,
}

/// What a statement does to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

impl Tree {
    /// Reads a text. Holes (`{name}`) stand for values, `{begin}` for BEGIN.
    pub fn of(text: &str) -> Option<Self> {
        // The parser goes down with what is nested, as far as its stack goes.
        let depth = text.bytes().fold((0_usize, 0_usize), |(now, most), byte| match byte {
            b'(' | b'[' => (now + 1, most.max(now + 1)),
            b')' | b']' => (now.saturating_sub(1), most),
            _ => (now, most),
        });
        if text.len() > BYTES_MAX || depth.1 > DEPTH_MAX {
            return None;
        }
        let parsed = SourceFile::parse(&plugged(text));
        if !parsed.errors().is_empty() {
            return None;
        }
        Some(Self { text: text.to_owned(), root: parsed.syntax_node() })
    }

    /// The clauses that lock the rows of a SELECT, wherever it stands, each with the space before it.
    pub fn locking_clauses(&self) -> Vec<Range<usize>> {
        self.all(&[Kind::LOCKING_CLAUSE]).map(|node| self.with_space_before(&node)).collect()
    }

    /// The ON CONFLICT clauses, each with the space before it.
    pub fn on_conflicts(&self) -> Vec<Range<usize>> {
        self.all(&[Kind::ON_CONFLICT_CLAUSE]).map(|node| self.with_space_before(&node)).collect()
    }

    /// The words that ask for an isolation level above READ COMMITTED.
    pub fn isolation_levels(&self) -> Vec<Range<usize>> {
        self.all(&[Kind::REPEATABLE_READ, Kind::SERIALIZABLE]).map(|node| range(&node)).collect()
    }

    /// The statements that lock tables by name, and nothing else.
    pub fn table_locks(&self) -> Vec<Range<usize>> {
        self.statements().filter(|node| node.kind() == Kind::LOCK).map(|node| body(&node)).collect()
    }

    /// The calls of functions for advisory locks.
    pub fn advisory_calls(&self) -> Vec<AdvisoryCall> {
        let call = |node: SyntaxNode| {
            let arguments = child(&node, Kind::ARG_LIST)?;
            let name = &self.text[range(&node).start..range(&arguments).start];
            let name = name.rsplit('.').next().unwrap_or_default().trim().to_ascii_lowercase();
            let is_advisory = name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_");
            let inside = &self.text[range(&arguments)];
            let inside = inside.strip_prefix('(').and_then(|inside| inside.strip_suffix(')')).unwrap_or(inside);
            let inside = inside.trim().to_owned();
            is_advisory.then(|| AdvisoryCall { name, range: range(&node), arguments: inside })
        };
        self.all(&[Kind::CALL_EXPR]).filter_map(call).collect()
    }

    /// The statement, if it is a single SELECT from tables.
    pub fn read(&self) -> Option<Read> {
        let statement = self.only_statement()?;
        let select = match statement.kind() {
            Kind::SELECT => statement,
            Kind::COMPOUND_SELECT => return self.compound(&statement),
            _ => return None,
        };
        let from = child(&select, Kind::FROM_CLAUSE)?;
        let items: Vec<SyntaxNode> =
            from.descendants().filter(|node| node.kind() == Kind::RELATION_FROM_ITEM).collect();
        let tables: Vec<String> = items.iter().filter_map(|item| self.relation(item)).collect();
        items.first()?;
        let alias = |item: &SyntaxNode| {
            let alias = item.descendants().find(|node| node.kind() == Kind::TABLE_ALIAS);
            let own = || self.relation(item).map(|table| table.rsplit('.').next().unwrap_or(&table).to_owned());
            alias.map(|node| self.text[range(&node)].to_owned()).or_else(own)
        };
        let clause = child(&select, Kind::SELECT_CLAUSE)?;
        let grouped = [Kind::GROUP_BY_CLAUSE, Kind::HAVING_CLAUSE, Kind::WITH_CLAUSE, Kind::WINDOW_CLAUSE];
        let is_plain = grouped.iter().all(|kind| child(&select, *kind).is_none())
            && child(&clause, Kind::DISTINCT_CLAUSE).is_none();
        let aggregates = clause.descendants().filter(|node| node.kind() == Kind::CALL_EXPR).any(|call| {
            let name = call.first_child().map(|name| self.text[range(&name)].to_ascii_lowercase());
            name.is_some_and(|name| AGGREGATES.contains(&name.as_str()))
        });
        let targets = clause.descendants().filter(|node| node.kind() == Kind::TARGET);
        let condition = child(&select, Kind::WHERE_CLAUSE);
        let after = condition.as_ref().map_or(range(&from).end, |node| range(node).end);
        let limits = [Kind::LIMIT_CLAUSE, Kind::FETCH_CLAUSE];
        Some(Read {
            aliases: items.iter().filter_map(alias).collect(),
            tables,
            can_lock: is_plain && !aggregates,
            columns: targets.map(|node| self.text[range(&node)].to_owned()).collect(),
            from: self.text[range(&from).start..after].to_owned(),
            is_by_key: condition.as_ref().is_some_and(|node| self.asks_only_equalities(node)),
            equalities: condition.map(|node| self.equalities(&node)).unwrap_or_default(),
            has_limit: limits.iter().any(|kind| child(&select, *kind).is_some()),
            end: body(&select).end,
        })
    }

    /// Of several SELECTs: what they read, and that no row of it can be locked.
    fn compound(&self, node: &SyntaxNode) -> Option<Read> {
        let items = node.descendants().filter(|node| node.kind() == Kind::RELATION_FROM_ITEM);
        let tables: Vec<String> = items.filter_map(|item| self.relation(&item)).collect();
        (!tables.is_empty()).then(|| Read { tables, end: body(node).end, ..Read::default() })
    }

    /// The statement, if it is a single one that changes rows.
    pub fn change(&self) -> Option<Change> {
        let node = self.only_statement()?;
        let does = match node.kind() {
            Kind::INSERT => Does::Insert,
            Kind::UPDATE => Does::Update,
            Kind::DELETE => Does::Delete,
            _ => return None,
        };
        let target =
            node.children().find(|child| matches!(child.kind(), Kind::RELATION_NAME | Kind::RELATION_NAME_REF))?;
        let table = self.relation(&target)?;
        let condition = match does {
            Does::Insert => None,
            Does::Update | Does::Delete => child(&node, Kind::WHERE_CLAUSE),
        };
        let equalities = condition.as_ref().map(|node| self.equalities(node)).unwrap_or_default();
        let condition = condition.and_then(|node| node.first_child()).map(|node| range(&node));
        // Not behind a comment, which would swallow what is put there.
        let returning = child(&node, Kind::RETURNING_CLAUSE).and_then(|node| Some(range(&node.prev_sibling()?).end));
        Some(Change {
            does,
            table,
            equalities,
            values: self.values(&node, does),
            condition,
            before_returning: returning.unwrap_or(body(&node).end),
        })
    }

    /// What is set or inserted.
    fn values(&self, node: &SyntaxNode, does: Does) -> Vec<(String, String, Range<usize>)> {
        let of = |column: &SyntaxNode, value: &SyntaxNode| {
            let at = range(value);
            (self.text[range(column)].trim().to_owned(), self.text[at.clone()].trim().to_owned(), at)
        };
        match does {
            Does::Delete => Vec::new(),
            Does::Update => {
                let single = node.descendants().filter(|node| node.kind() == Kind::SET_SINGLE_COLUMN);
                let pair =
                    |node: SyntaxNode| Some(of(&child(&node, Kind::COLUMN_TARGET)?, &child(&node, Kind::SET_EXPR)?));
                single.filter_map(pair).collect()
            }
            Does::Insert => {
                let columns: Vec<SyntaxNode> = child(node, Kind::COLUMN_TARGET_LIST)
                    .map(|list| list.children().filter(|node| node.kind() == Kind::COLUMN_TARGET).collect())
                    .unwrap_or_default();
                let row = node.descendants().find(|node| node.kind() == Kind::ROW);
                let selected = || {
                    let select = child(node, Kind::SELECT)?;
                    let targets = child(&child(&select, Kind::SELECT_CLAUSE)?, Kind::TARGET_LIST)?;
                    Some(targets.children().filter(|node| node.kind() == Kind::TARGET).collect())
                };
                let values: Vec<SyntaxNode> = match row {
                    Some(row) => row.children().collect(),
                    None => selected().unwrap_or_default(),
                };
                columns.iter().zip(&values).map(|(column, value)| of(column, value)).collect()
            }
        }
    }

    /// Whether it does more than its shape says: several statements, a WITH, or a function of which nothing is known.
    pub fn is_opaque(&self) -> bool {
        let Some(statement) = self.only_statement() else { return true };
        let known = |name: &str| {
            let bare = name.rsplit('.').next().unwrap_or(name).trim().to_ascii_lowercase();
            AGGREGATES.contains(&bare.as_str()) || HARMLESS.contains(&bare.as_str()) || bare.contains("advisory")
        };
        statement.descendants().any(|node| match node.kind() {
            Kind::WITH_CLAUSE => true,
            Kind::CALL_EXPR => {
                let arguments = child(&node, Kind::ARG_LIST).map(|arguments| range(&arguments).start);
                // EXISTS and its like have none.
                arguments.is_some_and(|end| !known(&self.text[range(&node).start..end]))
            }
            _ => false,
        })
    }

    /// The text without these parts.
    pub fn without(&self, parts: &[Range<usize>]) -> String {
        self.with(parts.iter().map(|part| (part.clone(), String::new())))
    }

    /// The text with these parts replaced, which must not overlap.
    pub fn with(&self, parts: impl IntoIterator<Item = (Range<usize>, String)>) -> String {
        let mut parts: Vec<(Range<usize>, String)> = parts.into_iter().collect();
        parts.sort_by_key(|(range, _)| range.start);
        let mut text = self.text.clone();
        for (range, new) in parts.into_iter().rev() {
            text.replace_range(range, &new);
        }
        text
    }

    fn statements(&self) -> impl Iterator<Item = SyntaxNode> + use<> {
        self.root.children()
    }

    fn only_statement(&self) -> Option<SyntaxNode> {
        let mut statements = self.statements();
        statements.next().filter(|_| statements.next().is_none())
    }

    fn all<'k>(&self, kinds: &'k [Kind]) -> impl Iterator<Item = SyntaxNode> + use<'k> {
        self.root.descendants().filter(move |node| kinds.contains(&node.kind()))
    }

    fn with_space_before(&self, node: &SyntaxNode) -> Range<usize> {
        let Range { start, end } = range(node);
        self.text[..start].trim_end().len()..end
    }

    /// The first relation that a node names.
    fn relation(&self, node: &SyntaxNode) -> Option<String> {
        let name = node.descendants().find(|node| node.kind() == Kind::RELATION_NAME_REF)?;
        Some(self.text[range(&name)].to_owned())
    }

    /// What a WHERE asks, where that is `column = value` and must hold.
    fn equalities(&self, condition: &SyntaxNode) -> Vec<Equality> {
        let mut found = Vec::new();
        let mut open: Vec<SyntaxNode> = condition.children().collect();
        while let Some(node) = open.pop() {
            if node.kind() == Kind::PAREN_EXPR {
                open.extend(node.children());
                continue;
            }
            if node.kind() != Kind::BIN_EXPR {
                continue;
            }
            let sides: Vec<SyntaxNode> = node.children().collect();
            let operator = node.children_with_tokens().filter_map(|part| part.into_token());
            let operators: Vec<Kind> =
                operator.map(|token| token.kind()).filter(|kind| *kind != Kind::WHITESPACE).collect();
            match (operators.as_slice(), sides.as_slice()) {
                ([Kind::AND_KW], _) => open.extend(sides),
                ([Kind::EQ], [left, right]) => {
                    let pair = match (is_column(left), is_column(right)) {
                        (true, false) => Some((left, right)),
                        (false, true) => Some((right, left)),
                        // Two columns say nothing of a row by itself.
                        _ => None,
                    };
                    found.extend(pair.map(|(column, value)| {
                        let column = &self.text[range(column)];
                        let column = column.rsplit('.').next().unwrap_or(column).trim().to_owned();
                        Equality { column, value: self.text[range(value)].to_owned() }
                    }));
                }
                _ => {}
            }
        }
        found.reverse();
        found
    }
}

impl Tree {
    /// Whether a WHERE is `column = value AND …`, and nothing else.
    fn asks_only_equalities(&self, condition: &SyntaxNode) -> bool {
        let ands = condition.descendants_with_tokens().filter(|part| part.kind() == Kind::AND_KW).count();
        self.equalities(condition).len() == ands + 1
    }
}

/// Whether an expression names a column.
fn is_column(node: &SyntaxNode) -> bool {
    matches!(node.kind(), Kind::NAME_REF | Kind::FIELD_EXPR)
}

fn child(node: &SyntaxNode, kind: Kind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

fn range(node: &SyntaxNode) -> Range<usize> {
    let range = node.text_range();
    range.start().into()..range.end().into()
}

/// Where a statement stands, without its semicolon and what is said after it.
fn body(node: &SyntaxNode) -> Range<usize> {
    let is_part = |part: &SyntaxElement| !matches!(part.kind(), Kind::SEMICOLON | Kind::WHITESPACE | Kind::COMMENT);
    let end = node.children_with_tokens().filter(is_part).last().map(|part| part.text_range().end());
    range(node).start..end.map_or(range(node).end, Into::into)
}

/// The text with something that can be read where its holes are, of the same length, so that places are the same.
fn plugged(text: &str) -> String {
    let mut plugged = text.replace("{begin}", "BEGIN  ");
    let mut at = 0;
    while let Some(begin) = plugged[at..].find('{').map(|found| at + found) {
        let Some(length) = plugged[begin..].find('}') else { break };
        let name = &plugged[begin + 1..begin + length];
        let is_hole = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.'));
        if is_hole {
            plugged.replace_range(begin..=begin + length, &format!("${}", "0".repeat(length)));
        }
        at = begin + 1;
    }
    plugged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(sql: &str) -> Tree {
        Tree::of(sql).unwrap_or_else(|| panic!("{sql}"))
    }

    #[test]
    fn clauses_that_protect_are_found_and_can_be_taken_away() {
        for (sql, without) in [
            ("SELECT v FROM t FOR UPDATE", "SELECT v FROM t"),
            ("SELECT v FROM t\n  FOR NO KEY UPDATE OF t SKIP LOCKED -- all", "SELECT v FROM t -- all"),
            ("WITH x AS (SELECT 1 FROM t FOR SHARE) SELECT * FROM x", "WITH x AS (SELECT 1 FROM t) SELECT * FROM x"),
            ("SELECT 'FOR UPDATE' FROM t WHERE id = {id}", "SELECT 'FOR UPDATE' FROM t WHERE id = {id}"),
        ] {
            let tree = tree(sql);
            assert_eq!(tree.without(&tree.locking_clauses()), without);
        }
        let insert = tree("INSERT INTO t (a) VALUES ({a}) ON CONFLICT (a) DO UPDATE SET b = 1 RETURNING id");
        assert_eq!(insert.without(&insert.on_conflicts()), "INSERT INTO t (a) VALUES ({a}) RETURNING id");
        let begin = tree("BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE");
        assert_eq!(begin.without(&begin.isolation_levels()), "BEGIN , READ WRITE");
        assert!(tree("{begin}").isolation_levels().is_empty());
        let lock = tree("LOCK TABLE t IN SHARE MODE; SELECT 1");
        assert_eq!(lock.without(&lock.table_locks()), "; SELECT 1");
    }

    #[test]
    fn advisory_calls_have_their_arguments() {
        let sql = "SELECT pg_catalog.pg_advisory_xact_lock({id}, hashtext('a')), pg_try_advisory_lock( 7 ), f(1)";
        let calls = tree(sql).advisory_calls();
        let found: Vec<(&str, &str)> = calls.iter().map(|call| (&*call.name, &*call.arguments)).collect();
        assert_eq!(found, [("pg_advisory_xact_lock", "{id}, hashtext('a')"), ("pg_try_advisory_lock", "7")]);
    }

    #[test]
    fn a_read_says_which_rows_it_looks_at_and_whether_they_can_be_locked() {
        let read = tree("SELECT a.v, 1 FROM s.t AS a WHERE a.id = {id} AND (v > 0 OR w = 1) ORDER BY v LIMIT 1").read();
        let read = read.expect("it is a read");
        assert_eq!((read.tables, read.aliases), (vec!["s.t".to_owned()], vec!["a".to_owned()]));
        assert_eq!(read.from, "FROM s.t AS a WHERE a.id = {id} AND (v > 0 OR w = 1)");
        assert_eq!(read.equalities, [Equality { column: "id".to_owned(), value: "{id}".to_owned() }]);
        assert!(read.can_lock && read.has_limit && !read.is_by_key);
        assert!(tree("SELECT 1 FROM t WHERE a = 1 AND b = {b}").read().is_some_and(|read| read.is_by_key));
        for (sql, can_lock) in [
            ("SELECT count(*) FROM t", false),
            ("SELECT DISTINCT v FROM t", false),
            ("SELECT v FROM t GROUP BY v", false),
            ("SELECT v FROM t UNION SELECT 1", false),
            ("SELECT lower(v) FROM t", true),
        ] {
            assert_eq!(tree(sql).read().map(|read| read.can_lock), Some(can_lock), "{sql}");
        }
        let ended = tree("SELECT v FROM t ; -- all").read().expect("it is a read");
        assert_eq!(ended.end, 15);
        assert_eq!(tree("SELECT 1").read(), None);
        assert_eq!(tree("SELECT v FROM t; SELECT 1").read(), None);
    }

    #[test]
    fn a_change_says_what_it_sets_and_where() {
        let update = tree("UPDATE t SET v = {v} + 1, w = 2 WHERE id = 1 AND {n} > 0").change().expect("it is one");
        assert_eq!((update.does, update.table.as_str()), (Does::Update, "t"));
        let values: Vec<(&str, &str)> = update.values.iter().map(|(column, value, _)| (&**column, &**value)).collect();
        assert_eq!(values, [("v", "{v} + 1"), ("w", "2")]);
        assert_eq!(update.equalities, [Equality { column: "id".to_owned(), value: "1".to_owned() }]);
        let insert = tree("INSERT INTO s.t (a, b) VALUES (1, {b}), (2, 3) RETURNING id").change().expect("it is one");
        let values: Vec<(&str, &str)> = insert.values.iter().map(|(column, value, _)| (&**column, &**value)).collect();
        assert_eq!((insert.table.as_str(), values), ("s.t", vec![("a", "1"), ("b", "{b}")]));
        let selected = tree("INSERT INTO t (a) SELECT 7 WHERE {n} = 0").change().expect("it is one");
        assert_eq!(selected.values[0].1, "7");
    }

    #[test]
    fn what_cannot_be_read_has_no_tree() {
        let deep = format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000));
        for sql in [deep.as_str(), "BEGIN IMMEDIATE", "INSERT OR IGNORE INTO t VALUES (1)", "SELEC 1", "{"] {
            assert!(Tree::of(sql).is_none(), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_an_edit_leaves_the_rest(sql in "[ -~äß\\n]{0,60}", words in prop::collection::vec(
            prop::sample::select(vec!["SELECT", "FROM", "t", "WHERE", "a", "=", "{x}", "FOR", "UPDATE", "(", ")", ";",
                "INSERT", "INTO", "ON", "CONFLICT", "DO", "NOTHING", "VALUES", "1", ",", "'", "$$", "--", "\n", "BEGIN"]), 0..24)) {
            for text in [sql, words.join(" ")] {
                if let Some(tree) = Tree::of(&text) {
                    prop_assert_eq!(tree.without(&[]), text.clone());
                    let removed = tree.without(&tree.locking_clauses());
                    prop_assert!(removed.len() <= text.len());
                    let _ = (tree.read(), tree.change(), tree.advisory_calls(), tree.isolation_levels(), tree.on_conflicts());
                }
            }
        }
    }
}
