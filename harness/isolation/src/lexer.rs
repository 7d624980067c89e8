//! The words of a specification, each with its place.
//!
//! Bytes, not characters: a name may hold any byte above 127, and SQL is passed on as it stands.

use std::ops::Range;

/// What a word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Keyword(Keyword),
    /// A name, without its quotes.
    Name(String),
    /// What stands between braces, without the blanks at its ends. Line ends are kept.
    Sql(String),
    Number(u32),
    /// One of `,`, `(`, `)` and `*`.
    Sign(char),
    End,
}

/// The words that are never names. They are written in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Notices,
    Permutation,
    Session,
    Setup,
    Step,
    Teardown,
}

impl Keyword {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Notices => "notices",
            Self::Permutation => "permutation",
            Self::Session => "session",
            Self::Setup => "setup",
            Self::Step => "step",
            Self::Teardown => "teardown",
        }
    }

    fn of(text: &str) -> Option<Self> {
        let all = [Self::Notices, Self::Permutation, Self::Session, Self::Setup, Self::Step, Self::Teardown];
        all.into_iter().find(|keyword| keyword.as_str() == text)
    }
}

/// A word and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub word: Word,
    pub at: Range<usize>,
}

/// Why a text cannot be split into words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LexError {
    #[error("there is no place for the character `{0}` here")]
    Character(char),
    #[error("a quoted name ends on the line on which it begins")]
    LineEndInName,
    #[error("this quoted name does not end")]
    NameWithoutEnd,
    #[error("this SQL block does not end")]
    SqlWithoutEnd,
    #[error("this number is too large")]
    Number,
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\u{c}'];

/// Splits a specification into words; the last one is [`Word::End`].
pub(super) fn words(text: &str) -> Result<Vec<Token>, (LexError, Range<usize>)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = skip(rest);
        let start = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { word: Word::End, at: start..start });
            return Ok(tokens);
        };
        let (word, length) = word(rest, first).map_err(|(error, length)| (error, start..start + length))?;
        tokens.push(Token { word, at: start..start + length });
        rest = &rest[length..];
    }
}

/// Skips blanks, line ends and comments.
fn skip(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(['\n', ' ', '\t', '\r', '\u{c}']);
        match rest.strip_prefix('#') {
            Some(comment) => rest = &comment[comment.find(['\n', '\r']).unwrap_or(comment.len())..],
            None => return rest,
        }
    }
}

/// The word at the start of a text, and its length in bytes.
fn word(text: &str, first: char) -> Result<(Word, usize), (LexError, usize)> {
    match first {
        '"' => quoted(text),
        '{' => sql(text),
        ',' | '(' | ')' | '*' => Ok((Word::Sign(first), 1)),
        '0'..='9' => {
            let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number = text[..length].parse().map_err(|_| (LexError::Number, length))?;
            Ok((Word::Number(number), length))
        }
        _ if starts_name(first) => {
            let ends = |c: char| !(starts_name(c) || c.is_ascii_digit() || c == '$');
            let length = text.find(ends).unwrap_or(text.len());
            let name = &text[..length];
            Ok((Keyword::of(name).map_or_else(|| Word::Name(name.to_owned()), Word::Keyword), length))
        }
        _ => Err((LexError::Character(first), first.len_utf8())),
    }
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// A quoted name; a doubled quote in it stands for one.
fn quoted(text: &str) -> Result<(Word, usize), (LexError, usize)> {
    let mut name = String::new();
    let mut inside = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = inside.next() {
        match c {
            '\n' => return Err((LexError::LineEndInName, at)),
            '"' if inside.next_if(|(_, next)| *next == '"').is_none() => return Ok((Word::Name(name), at + 1)),
            _ => name.push(c),
        }
    }
    Err((LexError::NameWithoutEnd, 1))
}

/// SQL between braces. The first closing brace ends it: there is no way to write one inside.
fn sql(text: &str) -> Result<(Word, usize), (LexError, usize)> {
    let end = text.find('}').ok_or((LexError::SqlWithoutEnd, 1))?;
    Ok((Word::Sql(text[1..end].trim_matches(BLANKS).to_owned()), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Word> {
        words(text).unwrap().into_iter().map(|token| token.word).collect()
    }

    #[test]
    fn sql_keeps_its_line_ends_and_loses_the_blanks_at_its_ends() {
        let words = split("setup {  \n SELECT 1;\n\t }");
        assert_eq!(words[1], Word::Sql("\n SELECT 1;\n".to_owned()));
    }

    #[test]
    fn a_doubled_quote_in_a_quoted_name_stands_for_one() {
        assert_eq!(split(r#""a""b" "step""#)[..2], [Word::Name("a\"b".to_owned()), Word::Name("step".to_owned())]);
    }

    #[test]
    fn a_comment_ends_with_its_line_and_is_none_inside_sql() {
        assert_eq!(split("# session {\n{ a # b }"), [Word::Sql("a # b".to_owned()), Word::End]);
    }

    #[test]
    fn a_word_that_is_not_one_is_named_with_its_place() {
        assert_eq!(words("step é;"), Err((LexError::Character(';'), 7..8)));
        assert_eq!(words("\"a\nb\""), Err((LexError::LineEndInName, 0..2)));
        assert_eq!(words(" {"), Err((LexError::SqlWithoutEnd, 1..2)));
    }
}
