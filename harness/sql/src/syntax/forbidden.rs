//! What a query says of rows that must not be there: the invariants from which a constraint can be read.

use std::collections::BTreeSet;

use squawk_syntax::{SyntaxKind as Kind, SyntaxNode};

use super::{Tree, child, range};

/// A query that returns groups of more than one row: no two rows may agree in these columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouped {
    /// The table, as written.
    pub table: String,
    /// What rows are grouped by, as written.
    pub columns: Vec<String>,
    /// Which rows it looks at, if not at all.
    pub condition: Option<String>,
}

/// A query that returns pairs of rows of one table that overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlapping {
    /// The table, as written.
    pub table: String,
    /// What must be equal in both, without the table's alias.
    pub equal: Vec<String>,
    /// What must not overlap, without the table's alias.
    pub range: String,
}

impl Tree {
    /// `SELECT … FROM t [WHERE …] GROUP BY … HAVING count(…) > 1`, if it is one.
    pub fn grouped(&self) -> Option<Grouped> {
        let read = self.read()?;
        let select = self.only_statement()?;
        let [table] = &read.tables[..] else { return None };
        let having = child(&select, Kind::HAVING_CLAUSE)?;
        let having: String = self.text[range(&having)].split_whitespace().collect::<String>().to_ascii_lowercase();
        if having.contains("distinct") || !having.starts_with("havingcount(") || !having.ends_with(")>1") {
            return None;
        }
        let by = child(&select, Kind::GROUP_BY_CLAUSE)?;
        // In an index a column has no table.
        let names = [read.aliases.first()?.as_str(), table];
        let targets: Vec<SyntaxNode> =
            child(&select, Kind::SELECT_CLAUSE)?.descendants().filter(|node| node.kind() == Kind::TARGET).collect();
        let column = |node: SyntaxNode| match self.text[range(&node)].parse::<usize>() {
            // A number names a column of the result.
            Ok(number) => {
                let target = targets.get(number.checked_sub(1)?)?;
                Some(self.bare(&target.first_child()?, &names))
            }
            Err(_) => Some(self.bare(&node, &names)),
        };
        let columns = by.descendants().filter(|node| node.kind() == Kind::GROUPING_EXPR);
        let condition = child(&select, Kind::WHERE_CLAUSE).and_then(|node| node.first_child());
        Some(Grouped {
            table: table.clone(),
            columns: columns.map(column).collect::<Option<Vec<String>>>()?,
            condition: condition.map(|node| self.bare(&node, &names)),
        })
    }

    /// `SELECT … FROM t a JOIN t b ON … a.x && b.x …`, if it is one.
    pub fn overlapping(&self) -> Option<Overlapping> {
        let read = self.read()?;
        let [table, other] = &read.tables[..] else { return None };
        if table != other {
            return None;
        }
        let select = self.only_statement()?;
        let aliases = select.descendants().filter(|node| node.kind() == Kind::TABLE_ALIAS);
        let aliases: Vec<String> = aliases.map(|node| self.text[range(&node)].to_owned()).collect();
        let [first, second] = &aliases[..] else { return None };
        let bare = |node: &SyntaxNode| self.bare(node, &[first, second]);
        let (mut equal, mut overlaps) = (BTreeSet::new(), None);
        for node in select.descendants().filter(|node| node.kind() == Kind::BIN_EXPR) {
            let sides: Vec<SyntaxNode> = node.children().filter(|side| side.kind() != Kind::CUSTOM_OP).collect();
            let [left, right] = &sides[..] else { continue };
            let between = self.text[range(left).end..range(right).start].trim();
            let (left_text, right_text) = (bare(left), bare(right));
            let is_of_both = left_text == right_text && self.text[range(left)] != self.text[range(right)];
            match between {
                "=" if is_of_both => drop(equal.insert(left_text)),
                "&&" if is_of_both => overlaps = Some(left_text),
                // That it is another row, and that all of it must hold.
                "<" | ">" | "<>" | "!=" if is_of_both => {}
                _ if between.eq_ignore_ascii_case("and") => {}
                // A condition that no constraint would know.
                _ => return None,
            }
        }
        let unary = [Kind::PREFIX_EXPR, Kind::POSTFIX_EXPR, Kind::GROUP_BY_CLAUSE];
        if select.descendants().any(|node| unary.contains(&node.kind())) {
            return None;
        }
        Some(Overlapping { table: table.clone(), equal: equal.into_iter().collect(), range: overlaps? })
    }

    /// An expression whose columns are named without these tables.
    fn bare(&self, node: &SyntaxNode, tables: &[&str]) -> String {
        let start = range(node).start;
        let mut text = self.text[range(node)].to_owned();
        let fields = node.descendants().filter(|node| node.kind() == Kind::FIELD_EXPR);
        let mut prefixes: Vec<std::ops::Range<usize>> = fields
            .filter_map(|field| {
                let column = field.children().last()?;
                let prefix = range(&field).start..range(&column).start;
                let table = self.text[prefix.clone()].trim_end().strip_suffix('.')?.trim_end();
                tables.contains(&table).then(|| prefix.start - start..prefix.end - start)
            })
            .collect();
        prefixes.sort_by_key(|prefix| prefix.start);
        prefixes.into_iter().rev().for_each(|prefix| text.replace_range(prefix, ""));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_for_duplicates_says_what_must_differ() {
        let sql =
            "SELECT room, day, count(*) FROM bookings WHERE deleted_at IS NULL GROUP BY room, day HAVING count(*) > 1";
        let grouped = Tree::of(sql).and_then(|tree| tree.grouped()).expect("it is one");
        assert_eq!((grouped.table.as_str(), grouped.columns), ("bookings", vec!["room".to_owned(), "day".to_owned()]));
        assert_eq!(grouped.condition.as_deref(), Some("deleted_at IS NULL"));
        let sql =
            "SELECT b.room, date(b.at) AS day FROM bookings b WHERE b.live GROUP BY b.room, 2 HAVING count(*) > 1";
        let grouped = Tree::of(sql).and_then(|tree| tree.grouped()).expect("it is one");
        assert_eq!((grouped.columns, grouped.condition), (vec!["room".into(), "date(at)".into()], Some("live".into())));
        for sql in [
            "SELECT a FROM t GROUP BY 2 HAVING count(*) > 1",
            "SELECT a FROM t GROUP BY a HAVING count(*) > 2",
            "SELECT a FROM t",
            "SELECT a FROM t GROUP BY a",
        ] {
            assert_eq!(Tree::of(sql).and_then(|tree| tree.grouped()), None, "{sql}");
        }
    }

    #[test]
    fn a_query_for_overlaps_says_what_must_not_overlap() {
        let sql =
            "SELECT a.id FROM bookings a JOIN bookings b ON a.room = b.room AND a.id < b.id AND a.during && b.during";
        let found = Tree::of(sql).and_then(|tree| tree.overlapping()).expect("it is one");
        assert_eq!((found.equal, found.range), (vec!["room".to_owned()], "during".to_owned()));
        let sql = "SELECT 1 FROM t a, t b WHERE a.id <> b.id AND tsrange(a.s, a.e) && tsrange(b.s, b.e)";
        let found = Tree::of(sql).and_then(|tree| tree.overlapping()).expect("it is one");
        assert_eq!((found.equal.len(), found.range.as_str()), (0, "tsrange(s, e)"));
        let sql = "SELECT 1 FROM t a, t b WHERE a.id < b.id AND a.x && b.x AND NOT a.cancelled AND NOT b.cancelled";
        assert_eq!(Tree::of(sql).and_then(|tree| tree.overlapping()), None);
        assert_eq!(Tree::of("SELECT 1 FROM t a, u b WHERE a.x && b.x").and_then(|tree| tree.overlapping()), None);
    }
}
