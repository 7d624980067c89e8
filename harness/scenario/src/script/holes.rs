//! What stands in braces in a script's SQL.

/// The names in braces in a step's SQL: words only, so that JSON and arrays are left alone. A doubled brace is a
/// brace: `{{a}}` is the text `{a}`.
pub fn holes(sql: &str) -> Vec<&str> {
    pieces(sql, is_name).filter_map(|piece| if let Piece::Hole(name) = piece { Some(name) } else { None }).collect()
}

/// A step's SQL with its holes filled.
pub fn fill(sql: &str, value: impl Fn(&str) -> String) -> String {
    pieces(sql, is_name)
        .map(|piece| match piece {
            Piece::Text(text) | Piece::Brace(text) => text.to_owned(),
            Piece::Hole(name) => value(name),
        })
        .collect()
}

enum Piece<'s> {
    Text(&'s str),
    /// A doubled brace, which stands for this one.
    Brace(&'static str),
    Hole(&'s str),
}

/// Whether it can be the name of a captured value.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The actor and the name of `actor.name`.
fn of_actor(name: &str) -> Option<(&str, &str)> {
    name.split_once('.').filter(|(actor, name)| !actor.is_empty() && is_name(name))
}

fn pieces(sql: &str, is_name: fn(&str) -> bool) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        for (doubled, one) in [("{{", "{"), ("}}", "}")] {
            if let Some(after) = rest.strip_prefix(doubled) {
                rest = after;
                return Some(Piece::Brace(one));
            }
        }
        if let Some((name, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            && is_name(name)
        {
            rest = after;
            return Some(Piece::Hole(name));
        }
        // At least one character, and as many as cannot begin something else.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find(['{', '}']).map_or(rest.len(), |at| first + at);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text))
    })
}

/// SQL with the holes of these names filled, and all others left as they are.
pub fn fill_some(sql: &str, value: impl Fn(&str) -> Option<String>) -> String {
    fill_known(sql, is_name, value)
}

/// Fills what is known, and leaves the rest to whoever looks at it later: doubled braces too.
fn fill_known(sql: &str, is_name: fn(&str) -> bool, value: impl Fn(&str) -> Option<String>) -> String {
    pieces(sql, is_name)
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Brace(brace) => brace.repeat(2),
            Piece::Hole(name) => value(name).unwrap_or_else(|| format!("{{{name}}}")),
        })
        .collect()
}

/// The actors and names in a query: `{actor.name}` stands for what an actor has captured.
pub fn answers(query: &str) -> Vec<(&str, &str)> {
    let of = |piece| if let Piece::Hole(name) = piece { of_actor(name) } else { None };
    pieces(query, |name| of_actor(name).is_some()).filter_map(of).collect()
}

/// A query with what actors have captured put in. All else is left as it is: nothing is escaped in a query, and an array of
/// arrays has doubled braces.
pub fn fill_answers(query: &str, value: impl Fn(&str, &str) -> Option<String>) -> String {
    let of = |hole: &str| of_actor(hole).and_then(|(actor, name)| value(actor, name));
    fill_known(query, |hole| of_actor(hole).is_some(), of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_words_and_doubled_braces_are_braces() {
        assert_eq!(holes("{a} '{1,2}' {{b}} {c_1} {D} {"), ["a", "c_1"]);
        assert_eq!(fill("{a} '{1,2}' {{b}} {", |name| format!("<{name}>")), "<a> '{1,2}' {b} {");
        let some = fill_some("{a} {{b}} {c} '{x y}'", |name| (name == "a").then(|| "1".to_owned()));
        assert_eq!(some, "1 {{b}} {c} '{x y}'");
        // A single brace stays one, also at the end.
        assert_eq!(fill_some("{ } '{1,2}' {a.b}", |_| None), "{ } '{1,2}' {a.b}");
        // What is put in is not looked at again.
        assert_eq!(fill("{a}{b}", |_| "{b}".to_owned()), "{b}{b}");
    }

    #[test]
    fn what_an_actor_captured_is_named_with_the_actor() {
        assert_eq!(answers("SELECT {a-1.id}, {b} '{1.2}' {c.d}"), [("a-1", "id"), ("c", "d")]);
        let filled =
            fill_answers("{a.id} {b} {c.d} '{{1}}'", |actor, name| (actor == "a").then(|| format!("<{name}>")));
        assert_eq!(filled, "<id> {b} {c.d} '{{1}}'");
    }
}
