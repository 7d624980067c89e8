//! Conditions over captured values: what decides whether a step is sent.
//!
//! They are looked at by driftlock, not by the database: a question would be a statement of its own, in whatever
//! transaction is open, and touch what it touches. The language is that of SQL's WHERE without functions: names,
//! numbers, texts, `NULL`, `TRUE`, `FALSE`; `=`, `<>`, `<`, `<=`, `>`, `>=`, `IS [NOT] NULL`; `NOT`, `AND`, `OR`,
//! parentheses. It is three-valued as there: a comparison with NULL is neither true nor false, and a condition
//! holds only where it is true. Two values that both look like numbers are compared as numbers, others as texts, by
//! their bytes. A value by itself is true if it is `t`, `true`, or a number other than 0.

use std::fmt;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    text: String,
    term: Term,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Value(Value),
    Compares(Value, Comparison, Value),
    IsNull(Value),
    Not(Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Name(String),
    /// `None` is NULL.
    Given(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Name(String),
    Text(String),
    Sign(&'static str),
}

/// How deep parentheses and NOTs may be nested.
const DEPTH_MAX: usize = 32;

const SIGNS: [(&str, Option<Comparison>); 10] = [
    ("<>", Some(Comparison::Unequal)),
    ("!=", Some(Comparison::Unequal)),
    ("<=", Some(Comparison::LessOrEqual)),
    (">=", Some(Comparison::GreaterOrEqual)),
    ("=", Some(Comparison::Equal)),
    ("<", Some(Comparison::Less)),
    (">", Some(Comparison::Greater)),
    ("(", None),
    (")", None),
    ("-", None),
];

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it, to be put after its name: "must be …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut reader = Reader { tokens: &tokens, depth: 0 };
        let term = reader.any()?;
        match reader.tokens.first() {
            None => Ok(Self { text: text.trim().to_owned(), term }),
            Some(token) => Err(format!("must be a condition, and goes on after its end: {token}")),
        }
    }

    /// The names of the captured values in it.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.term.names(&mut names);
        names
    }

    /// Whether it holds with these values: by name, `None` for NULL.
    pub fn holds<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.term.truth(&value) == Some(true)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Term {
    fn names<'t>(&'t self, names: &mut Vec<&'t str>) {
        let mut add = |value: &'t Value| {
            if let Value::Name(name) = value {
                names.push(name);
            }
        };
        match self {
            Self::Value(value) | Self::IsNull(value) => add(value),
            Self::Compares(left, _, right) => {
                add(left);
                add(right);
            }
            Self::Not(term) => term.names(names),
            Self::And(left, right) | Self::Or(left, right) => {
                left.names(names);
                right.names(names);
            }
        }
    }

    fn truth<'v>(&self, value: &impl Fn(&str) -> Option<&'v str>) -> Option<bool> {
        match self {
            Self::Value(one) => one.get(value).map(|text| match number(text) {
                Some(number) => number != 0.0,
                None => text.eq_ignore_ascii_case("t") || text.eq_ignore_ascii_case("true"),
            }),
            Self::Compares(left, how, right) => {
                let (left, right) = (left.get(value)?, right.get(value)?);
                let whole = |text: &str| text.parse::<i128>().ok();
                let order = match (whole(left).zip(whole(right)), number(left).zip(number(right))) {
                    // Whole numbers exactly: keys may have more digits than a float.
                    (Some((left, right)), _) => left.cmp(&right),
                    (None, Some((left, right))) => left.total_cmp(&right),
                    (None, None) => left.cmp(right),
                };
                Some(match how {
                    Comparison::Equal => order.is_eq(),
                    Comparison::Unequal => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                })
            }
            Self::IsNull(one) => Some(one.get(value).is_none()),
            Self::Not(term) => term.truth(value).map(|truth| !truth),
            Self::And(left, right) => match (left.truth(value), right.truth(value)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.truth(value), right.truth(value)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

impl Value {
    fn get<'a, 'v: 'a>(&'a self, value: &impl Fn(&str) -> Option<&'v str>) -> Option<&'a str> {
        match self {
            Self::Name(name) => value(name),
            Self::Given(given) => given.as_deref(),
        }
    }
}

/// What looks like a number, and is finite.
fn number(text: &str) -> Option<f64> {
    let begins = text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|number: &f64| begins && number.is_finite())
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let length = if first == '{' {
            let end = rest.find('}').ok_or("must be a condition, and has a { without its }")?;
            tokens.push(Token::Name(rest[1..end].to_owned()));
            end + 1
        } else if first == '\'' {
            let (text, length) = quoted(rest).ok_or("must be a condition, and has a ' without its end")?;
            tokens.push(Token::Text(text));
            length
        } else if let Some((sign, _)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else if is_of_word(first) {
            let length = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else {
            return Err(format!("must be a condition, and has {first:?} in it"));
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in single quotes, and how much of the beginning it takes.
fn quoted(from: &str) -> Option<(String, usize)> {
    let (mut text, mut at) = (String::new(), 1);
    loop {
        let end = at + from[at..].find('\'')?;
        text.push_str(&from[at..end]);
        if !from[end + 1..].starts_with('\'') {
            return Some((text, end + 1));
        }
        text.push('\'');
        at = end + 2;
    }
}

struct Reader<'t> {
    tokens: &'t [Token],
    depth: usize,
}

impl Reader<'_> {
    /// Terms joined by OR.
    fn any(&mut self) -> Result<Term, String> {
        let mut term = self.all()?;
        while self.word("or") {
            term = Term::Or(Box::new(term), Box::new(self.all()?));
        }
        Ok(term)
    }

    /// Terms joined by AND.
    fn all(&mut self) -> Result<Term, String> {
        let mut term = self.one()?;
        while self.word("and") {
            term = Term::And(Box::new(term), Box::new(self.one()?));
        }
        Ok(term)
    }

    fn one(&mut self) -> Result<Term, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("must be a condition that is nested at most {DEPTH_MAX} times"));
        }
        let term = if self.word("not") {
            Term::Not(Box::new(self.one()?))
        } else if self.sign("(") {
            let term = self.any()?;
            if !self.sign(")") {
                return Err("must be a condition, and has a ( without its )".to_owned());
            }
            term
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn comparison(&mut self) -> Result<Term, String> {
        let left = self.value()?;
        if self.word("is") {
            let not = self.word("not");
            if !self.word("null") {
                return Err("must be a condition, and has IS without NULL".to_owned());
            }
            let term = Term::IsNull(left);
            return Ok(if not { Term::Not(Box::new(term)) } else { term });
        }
        let how = match self.tokens.first() {
            Some(Token::Sign(sign)) => SIGNS.iter().find(|(known, _)| known == sign).and_then(|(_, how)| *how),
            _ => None,
        };
        let Some(how) = how else { return Ok(Term::Value(left)) };
        self.tokens = &self.tokens[1..];
        Ok(Term::Compares(left, how, self.value()?))
    }

    fn value(&mut self) -> Result<Value, String> {
        let negative = self.sign("-");
        let (first, rest) = self.tokens.split_first().ok_or("must be a condition, and ends too early")?;
        self.tokens = rest;
        let value = match first {
            Token::Word(word) if number(word).is_some() => {
                return Ok(Value::Given(Some(if negative { format!("-{word}") } else { word.clone() })));
            }
            Token::Name(name) => Value::Name(name.clone()),
            Token::Text(text) => Value::Given(Some(text.clone())),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Value::Given(None),
            Token::Word(word) if ["true", "false"].iter().any(|known| word.eq_ignore_ascii_case(known)) => {
                // As PostgreSQL writes them.
                Value::Given(Some(word[..1].to_ascii_lowercase()))
            }
            token => {
                return Err(format!("must be a condition; {token} is neither a {{name}}, a number nor a 'text'"));
            }
        };
        if negative { Err("must be a condition, and has a - before what is no number".to_owned()) } else { Ok(value) }
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.tokens.first(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.tokens = &self.tokens[usize::from(is)..];
        is
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.tokens.first(), Some(Token::Sign(found)) if *found == sign);
        self.tokens = &self.tokens[usize::from(is)..];
        is
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => f.write_str(text),
            Self::Name(name) => write!(f, "{{{name}}}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Sign(sign) => f.write_str(sign),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(text: &str) -> bool {
        let value = |name: &str| match name {
            "n" => Some("10"),
            "small" => Some("9"),
            "word" => Some("it's"),
            "yes" => Some("t"),
            "no" => Some("f"),
            _ => None,
        };
        Condition::parse(text).unwrap_or_else(|why| panic!("{text}: {why}")).holds(value)
    }

    #[test]
    fn conditions_mean_what_they_mean_in_sql() {
        for text in [
            "{n} > {small}",
            "{n} = 10 and {small} <> 10",
            "{n} = '10.0'",
            "{word} = 'it''s'",
            "{yes}",
            "NOT {no}",
            "{none} IS NULL",
            "{n} is not null",
            "{none} = 1 OR {n} >= 10",
            "({none} = 1 OR {n} < 11) AND not ({n} <= 9)",
            "{n} > -1",
            "{yes} = TRUE",
            "9007199254740993 > 9007199254740992",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in ["{none} = 1", "NOT {none} = 1", "{none}", "{no}", "0", "{n} < 9", "{word} > 'z'", "{none} <> 1"] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "ends too early"),
            ("{n} =", "ends too early"),
            ("{n", "a { without its }"),
            ("'a", "a ' without its end"),
            ("({n} = 1", "a ( without its )"),
            ("{n} = 1)", "goes on after its end: )"),
            ("n = 1", "n is neither a {name}, a number nor a 'text'"),
            ("{n} IS 1", "IS without NULL"),
            ("{n} + 1 = 2", "'+' in it"),
            ("-{n} = 1", "a - before what is no number"),
        ] {
            let said = Condition::parse(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(Condition::parse(&"(".repeat(100_000)).unwrap_err().contains("at most 32 times"));
        assert_eq!(Condition::parse("{a} = {b} or not {c}").unwrap().names(), ["a", "b", "c"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ {}()a-c0-9'=<>!-]{0,40}|\\PC{0,20}") {
            let _ = Condition::parse(&text).map(|condition| condition.holds(|_| Some("1")));
        }
    }
}
