//! What can be said of a unit's texts by themselves.

use driftlock_wire::Unit;

use crate::sql::{Statement, dollar_tag, split};

/// A text with each literal and each run of hexadecimal digits that has a decimal one replaced, and without comments.
pub fn plain(text: &str) -> String {
    let (mut plain, mut at, mut in_name) = (String::new(), 0, false);
    while let Some(c) = text[at..].chars().next() {
        // In a quoted name nothing else begins; its closing quote twice is a name that ends and goes on.
        in_name ^= c == '"';
        if !in_name && let Some((end, shown)) = hidden(text, at) {
            plain.push_str(if plain.ends_with(' ') { shown.trim() } else { shown });
            at = end;
        } else if c.is_ascii_hexdigit() {
            let run = &text[at..][..length(&text[at..], |c| c.is_ascii_hexdigit())];
            plain.push_str(if run.contains(|c: char| c.is_ascii_digit()) { "?" } else { run });
            at += run.len();
        } else {
            if !c.is_whitespace() {
                plain.push(c);
            } else if !plain.ends_with(' ') {
                plain.push(' ');
            }
            at += c.len_utf8();
        }
    }
    plain
}

/// How many bytes the characters of a sort have that a text begins with.
fn length(text: &str, is_one: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_one(c)).unwrap_or(text.len())
}

/// Where a literal or a comment ends that begins here, and what is shown instead; what has no end takes all the rest.
fn hidden(text: &str, at: usize) -> Option<(usize, &'static str)> {
    let (before, rest) = (&text[..at], &text[at..]);
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    if rest.starts_with('\'') {
        let word = before.strip_suffix(['e', 'E']);
        let escapes = word.is_some_and(|before| !before.ends_with(is_word));
        return Some((at + quoted(rest, escapes), "?"));
    }
    if rest.starts_with('$') && !before.ends_with(is_word) {
        let tag = dollar_tag(rest)?;
        let body = at + tag.len();
        return Some((text[body..].find(tag).map_or(text.len(), |end| body + end + tag.len()), "?"));
    }
    let comment = if rest.starts_with("--") { length(rest, |c| c != '\n') } else { commented(rest)? };
    Some((at + comment, " "))
}

/// How many bytes a text in single quotes has, both included.
fn quoted(rest: &str, escapes: bool) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = characters.next() {
        if c == '\\' && escapes {
            characters.next();
        } else if c == '\'' && characters.next_if(|(_, next)| *next == '\'').is_none() {
            return index + 1;
        }
    }
    rest.len()
}

/// How many bytes a comment between /* and */ has, with those in it.
fn commented(rest: &str) -> Option<usize> {
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut at, mut depth) = (2, 1_usize);
    while depth > 0 {
        let Some(next) = rest[at..].find(['/', '*']) else { return Some(rest.len()) };
        at += next;
        let mark = ["/*", "*/"].into_iter().find(|mark| rest[at..].starts_with(mark));
        depth = match mark {
            Some("/*") => depth + 1,
            Some(_) => depth - 1,
            None => depth,
        };
        at += mark.map_or(1, str::len);
    }
    Some(at)
}

/// A message of the server's without digits, and without what it quotes: from the first quote to the last one, since a value
/// may have quotes in it.
pub fn unquoted(message: &str) -> String {
    let is_quote = |c: char| matches!(c, '"' | '«' | '»' | '„' | '“' | '”');
    let quoted = message.find(is_quote).zip(message.rfind(is_quote)).filter(|(from, to)| from < to);
    let shown = match quoted {
        Some((from, to)) => format!("{}\"?{}", &message[..from], message[to..].replacen(is_quote, "\"", 1)),
        None => message.to_owned(),
    };
    let mut digits = false;
    let kept = |c: char| {
        let before = std::mem::replace(&mut digits, c.is_ascii_digit());
        if !digits { Some(c) } else { (!before).then_some('?') }
    };
    shown.chars().filter_map(kept).collect()
}

/// Whether a unit is to keep what its transaction did, and nothing in it is to take that back.
pub fn keeps(unit: &Unit) -> bool {
    let statements: Vec<_> = unit.statements().flat_map(|text| split(text).unwrap_or_default()).collect();
    statements.iter().any(commits) && !statements.iter().any(takes_back)
}

/// Whether a statement is to keep what its transaction did, at once.
pub fn commits(statement: &Statement) -> bool {
    (statement.begins(&["COMMIT"]) || statement.begins(&["END"])) && !statement.has("PREPARED")
}

/// Whether a statement takes back all that its transaction did.
pub fn takes_back(statement: &Statement) -> bool {
    (statement.begins(&["ROLLBACK"]) || statement.begins(&["ABORT"])) && !statement.has("TO")
}

/// How many rows a command's tag tells of, where it tells of any.
pub fn rows_of_tag(tag: &str) -> Option<u64> {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_makes_no_other_shape() {
        assert_eq!(plain("SAVEPOINT \"s140735_x1\""), plain("SAVEPOINT \"s99_x2\""));
        assert_eq!(plain("INSERT INTO t VALUES ('it''s', 12)"), "INSERT INTO t VALUES (?, ?)");
        assert_eq!(plain("DELETE  FROM\n t"), "DELETE FROM t");
        assert_ne!(plain("SELECT a FROM t"), plain("SELECT b FROM t"));
    }

    #[test]
    fn no_literal_is_shown_however_it_is_written() {
        for (text, shown) in [
            ("ALTER ROLE app PASSWORD $$hunter$$", "ALTER ROLE app PASSWORD ?"),
            ("SELECT $tag$hunter $$ hunter$tag$, $1", "SELECT ?, $?"),
            (r"SELECT E'it\'s hunter', e'\\', 'x'", "SELECT E?, e?, ?"),
            (r"SELECT note'\', 'hunter'", "SELECT note?, ?"),
            ("SELECT a$b, c$b FROM t", "SELECT a$b, c$b FROM t"),
            (r#"SELECT "it's" , 'hunter', "a""b's", 'hunter'"#, r#"SELECT "it's" , ?, "a""b's", ?"#),
            ("SELECT /* don't /* nest */ 'hunter' */ 'hunter' -- isn't\n, 'hunter'", "SELECT ? , ?"),
            ("SELECT 4/2 * 3 - -1 'hunter", "SELECT ?/? * ? - -? ?"),
            ("SELECT $$hunter", "SELECT ?"),
            ("SELECT 1 /* hunter", "SELECT ? "),
            ("$", "$"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn a_message_shows_no_value() {
        for (message, shown) in [
            ("invalid input syntax for type integer: \"41\"11-x\"", "invalid input syntax for type integer: \"?\""),
            ("ungültige Eingabe: »hunter«", "ungültige Eingabe: \"?\""),
            ("card 4111-22 is \"blocked", "card ?-? is \"blocked"),
            ("division by zero", "division by zero"),
        ] {
            assert_eq!(unquoted(message), shown);
        }
    }
}
