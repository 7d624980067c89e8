//! What can be seen of a statement in its text. Only ever used to be careful: what is not recognised
//! counts as touching everything.

/// What a message does to its transaction, by its text alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Begins a transaction, and nothing else; on SQLite, without taking a lock.
    Begin,
    /// Ends a transaction, and nothing else.
    End,
    /// A single SELECT without a word that could write or lock.
    Select,
    /// Anything else.
    Other,
}

/// Words that change what a later execution finds, beyond the rows of tables.
const CHANGES_SCHEMA: [&str; 12] = [
    "ALTER", "CREATE", "DROP", "TRUNCATE", "GRANT", "REVOKE", "COMMENT", "REINDEX", "VACUUM", "CLUSTER", "REFRESH",
    "IMPORT",
];

/// Words that leave something in the session, beyond its transaction.
const LEAVES_IN_SESSION: [&str; 10] =
    ["SET", "RESET", "PREPARE", "LISTEN", "DECLARE", "TEMP", "TEMPORARY", "LOAD", "PRAGMA", "ATTACH"];

/// The words of SQL, upper case, outside of texts, quoted names and comments; `;` counts as one.
pub fn words(sql: &str) -> Vec<String> {
    let bytes = sql.as_bytes();
    let (mut words, mut word, mut at) = (Vec::new(), String::new(), 0);
    while at < bytes.len() {
        let rest = &sql[at..];
        let c = rest.chars().next().expect("not at the end");
        if c.is_alphanumeric() || c == '_' {
            word.extend(c.to_uppercase());
            at += c.len_utf8();
            continue;
        }
        if c == '$'
            && word.is_empty()
            && let Some(tag) = dollar_tag(rest)
        {
            at += rest[tag.len()..].find(tag).map_or(rest.len(), |end| end + 2 * tag.len());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        at += match c {
            '\'' | '"' | '`' => 1 + rest[1..].find(c).map_or(rest.len() - 1, |end| end + 1),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            ';' => {
                words.push(";".to_owned());
                1
            }
            _ => c.len_utf8(),
        };
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The opening tag of a dollar-quoted text.
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 2;
    rest[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_').then(|| &rest[..end])
}

/// What a message does, by its text.
pub fn class(sql: &str) -> Class {
    let mut words = words(sql);
    while words.last().is_some_and(|word| word == ";") {
        words.pop();
    }
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if has(&[";"]) {
        return Class::Other;
    }
    match words.first().map(String::as_str) {
        Some("BEGIN") if !has(&["IMMEDIATE", "EXCLUSIVE"]) => Class::Begin,
        Some("START") if words.get(1).is_some_and(|word| word == "TRANSACTION") => Class::Begin,
        Some("COMMIT" | "END" | "ABORT") if !has(&["PREPARED", "CHAIN"]) => Class::End,
        Some("ROLLBACK") if !has(&["TO", "PREPARED", "CHAIN"]) => Class::End,
        Some("SELECT" | "VALUES") if !has(&["INTO", "FOR", "INSERT", "UPDATE", "DELETE"]) => Class::Select,
        _ => Class::Other,
    }
}

/// Whether the SQL may change more than rows.
pub fn changes_schema(sql: &str) -> bool {
    words(sql).iter().any(|word| CHANGES_SCHEMA.contains(&word.as_str()))
}

/// Whether the SQL may leave something in its session. `UPDATE … SET` is not meant.
pub fn leaves_in_session(sql: &str) -> bool {
    let words = words(sql);
    let updates = words.iter().any(|word| word == "UPDATE");
    let left = |word: &&String| LEAVES_IN_SESSION.contains(&word.as_str()) && !(updates && *word == "SET");
    words.iter().any(|word| left(&word)) || mentions(sql, "ADVISORY")
}

/// Whether a text has this word in it, anywhere: for texts that hold functions' bodies, which are texts
/// themselves.
pub fn holds(text: &str, upper: &str) -> bool {
    text.to_ascii_uppercase().contains(upper)
}

/// Whether a word of the SQL has this in it.
pub fn mentions(sql: &str, upper: &str) -> bool {
    words(sql).iter().any(|word| word.contains(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_names_and_comments_are_no_words() {
        let sql = "SELECT 'a;UPDATE', \"FOR\" -- INTO\n, /* FOR */ $x$ ; INSERT $x$, $1 FROM t";
        assert_eq!(words(sql), ["SELECT", "1", "FROM", "T"]);
        assert_eq!(class(sql), Class::Select);
    }

    #[test]
    fn what_is_not_recognised_is_other() {
        for (sql, expected) in [
            ("begin isolation level serializable;", Class::Begin),
            ("BEGIN IMMEDIATE", Class::Other),
            ("start transaction", Class::Begin),
            ("COMMIT;", Class::End),
            ("ROLLBACK TO s", Class::Other),
            ("COMMIT AND CHAIN", Class::Other),
            ("COMMIT; BEGIN", Class::Other),
            ("SELECT 1 FROM t FOR UPDATE", Class::Other),
            ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", Class::Other),
            ("", Class::Other),
        ] {
            assert_eq!(class(sql), expected, "{sql}");
        }
    }

    #[test]
    fn unterminated_quotes_end_with_the_text() {
        for sql in ["'abc", "\"", "/* x", "$a$ b", "-- x", "$", "ä'"] {
            let _ = words(sql);
        }
    }

    #[test]
    fn set_in_an_update_stays_in_the_transaction() {
        assert!(!leaves_in_session("UPDATE t SET x = 1"));
        assert!(leaves_in_session("SET lock_timeout = 1"));
        assert!(leaves_in_session("SELECT pg_advisory_lock(1)"));
        assert!(changes_schema("CREATE TABLE t()"));
    }
}
