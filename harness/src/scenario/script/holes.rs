//! What stands in braces in a script's SQL.

/// The names in braces in a step's SQL: words only, so that JSON and arrays are left alone. A doubled brace is a
/// brace: `{{a}}` is the text `{a}`.
pub fn holes(sql: &str) -> Vec<&str> {
    pieces(sql).filter_map(|piece| if let Piece::Hole(name) = piece { Some(name) } else { None }).collect()
}

/// A step's SQL with its holes filled.
pub fn fill(sql: &str, value: impl Fn(&str) -> String) -> String {
    pieces(sql)
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Hole(name) => value(name),
        })
        .collect()
}

enum Piece<'s> {
    Text(&'s str),
    Hole(&'s str),
}

fn pieces(sql: &str) -> impl Iterator<Item = Piece<'_>> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let mut rest = sql;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        for (doubled, one) in [("{{", "{"), ("}}", "}")] {
            if let Some(after) = rest.strip_prefix(doubled) {
                rest = after;
                return Some(Piece::Text(one));
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
pub fn fill_some<'v>(sql: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut filled = String::new();
    for piece in pieces(sql) {
        match piece {
            Piece::Text(brace @ ("{" | "}")) => filled.push_str(&brace.repeat(2)),
            Piece::Text(text) => filled.push_str(text),
            Piece::Hole(name) => match value(name) {
                Some(value) => filled.push_str(value),
                None => filled.push_str(&format!("{{{name}}}")),
            },
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_words_and_doubled_braces_are_braces() {
        assert_eq!(holes("{a} '{1,2}' {{b}} {c_1} {D} {"), ["a", "c_1"]);
        assert_eq!(fill("{a} '{1,2}' {{b}} {", |name| format!("<{name}>")), "<a> '{1,2}' {b} {");
        let some = fill_some("{a} {{b}} {c} '{x y}'", |name| (name == "a").then_some("1"));
        assert_eq!(some, "1 {{b}} {c} '{x y}'");
        // What is put in is not looked at again.
        assert_eq!(fill("{a}{b}", |_| "{b}".to_owned()), "{b}{b}");
    }
}
