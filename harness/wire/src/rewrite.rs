//! Puts another text into a message, and leaves everything else of it: a Parse keeps its name and its parameters' types.

use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::bounds::UNDERSTOOD_BYTES_MAX;
use crate::fields::Fields;

/// What is to be asked in the place of a text, and what right after it, if anything is.
pub(crate) struct Rewrite<'a> {
    pub(crate) anew: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) followed: &'a dyn Fn(&str) -> Option<String>,
}

/// The statement and the portal of what is run after another one.
const FOLLOWING: &str = "driftlock_following";
/// How many messages that is.
pub(crate) const FOLLOWING_MESSAGES: u32 = 6;

/// The messages that run a text within a batch and leave nothing behind; `None` for a text that no message can hold. What
/// an error has left of an earlier time goes first.
pub(crate) fn following(text: &str) -> Option<Vec<u8>> {
    let mut bytes = bytes::BytesMut::new();
    frontend::close(b'S', FOLLOWING, &mut bytes).ok()?;
    frontend::parse(FOLLOWING, text, [], &mut bytes).ok()?;
    let no_values = std::iter::empty::<()>();
    frontend::bind(FOLLOWING, FOLLOWING, [], no_values, |(), _| Ok(IsNull::Yes), [], &mut bytes).ok()?;
    frontend::execute(FOLLOWING, 0, &mut bytes).ok()?;
    frontend::close(b'P', FOLLOWING, &mut bytes).ok()?;
    frontend::close(b'S', FOLLOWING, &mut bytes).ok()?;
    Some(bytes.to_vec())
}

/// A message as it goes to the server in the place of another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Anew {
    pub(crate) bytes: Vec<u8>,
    /// There is a statement behind the client's own.
    pub(crate) is_followed: bool,
}

/// A tag and a length.
const HEADER_BYTES: usize = 5;

/// The message with another text, or with one more; `None` where it goes on as it came. It is whole, with its header.
pub(crate) fn message(message: &[u8], rewrite: &Rewrite<'_>) -> Option<Anew> {
    let (header, body) = message.split_at_checked(HEADER_BYTES)?;
    let mut fields = Fields(body);
    let name = match header[0] {
        b'Q' => None,
        b'P' => Some(fields.string()?),
        _ => return None,
    };
    // The text is behind what is looked at.
    if body.len() > UNDERSTOOD_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(fields.string()?).ok()?;
    let holds_no_zero = |text: &String| !text.as_bytes().contains(&0);
    let new = (rewrite.anew)(text).filter(holds_no_zero);
    // What is prepared is followed when it is run.
    let sent = new.as_deref().unwrap_or(text);
    let following = name.is_none().then(|| (rewrite.followed)(sent)).flatten().filter(holds_no_zero);
    let is_followed = following.is_some();
    let new = match following {
        // The client's text may end with a comment.
        Some(following) => format!("{sent}\n; {following}"),
        None => new?,
    };
    let rest = fields.0;
    let mut body = Vec::new();
    if let Some(name) = name {
        body.extend(name);
        body.push(0);
    }
    body.extend(new.as_bytes());
    body.push(0);
    body.extend(rest);
    // A text that is not looked at whole would be described as one that goes on.
    let bytes = (body.len() <= UNDERSTOOD_BYTES_MAX).then(|| crate::reply::message(header[0], &body))?;
    Some(Anew { bytes, is_followed })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rewrite, following};
    use crate::bounds::UNDERSTOOD_BYTES_MAX;
    use crate::reply::message as made;

    fn message(bytes: &[u8], anew: &dyn Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
        super::message(bytes, &Rewrite { anew, followed: &|_| None }).map(|anew| anew.bytes)
    }

    #[test]
    fn a_simple_query_is_followed_at_once_and_what_is_prepared_is_not() {
        let followed = |text: &str| (text == "BEGIN").then(|| "SELECT 1".to_owned());
        let rewrite = Rewrite { anew: &|_| None, followed: &followed };
        let query = super::message(&made(b'Q', b"BEGIN\0"), &rewrite).unwrap();
        assert_eq!((query.bytes, query.is_followed), (made(b'Q', b"BEGIN\n; SELECT 1\0"), true));
        assert_eq!(super::message(&made(b'Q', b"COMMIT\0"), &rewrite), None);
        assert_eq!(super::message(&made(b'P', b"s\0BEGIN\0\0\0"), &rewrite), None);
        assert_eq!(following("SELECT 1\0"), None);
    }

    #[test]
    fn a_text_is_exchanged_and_its_name_and_types_stay() {
        let other = |text: &str| Some(text.replace(" FOR UPDATE", ""));
        let query = message(&made(b'Q', b"SELECT 1 FROM t FOR UPDATE\0"), &other);
        assert_eq!(query, Some(made(b'Q', b"SELECT 1 FROM t\0")));
        let parse = message(&made(b'P', b"s1\0SELECT $1 FROM t FOR UPDATE\0\0\x01\0\0\0\x17"), &other);
        assert_eq!(parse, Some(made(b'P', b"s1\0SELECT $1 FROM t\0\0\x01\0\0\0\x17")));
    }

    #[test]
    fn what_is_no_text_or_would_not_fit_goes_on_as_it_came() {
        let other = |_: &str| Some("x".to_owned());
        for as_it_is in [
            made(b'B', b"\0s1\0"),
            made(b'Q', b"no end"),
            made(b'P', b"name alone\0"),
            made(b'Q', b"\xff\xfe\0"),
            b"Q\0".to_vec(),
        ] {
            assert_eq!(message(&as_it_is, &other), None);
        }
        assert_eq!(message(&made(b'Q', b"SELECT 1\0"), &|_| Some("a\0b".to_owned())), None);
        assert_eq!(message(&made(b'Q', b"SELECT 1\0"), &|_| Some("x".repeat(UNDERSTOOD_BYTES_MAX))), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_the_length_is_right_and_nothing_but_the_text_has_changed(
            tag in prop::sample::select(b"QPBDX".to_vec()),
            name in "[a-z]{0,4}",
            text in "[ -~ß]{0,30}",
            rest in prop::collection::vec(any::<u8>(), 0..20),
            new in "[ -~ß]{0,60}",
        ) {
            let named = if tag == b'P' { format!("{name}\0") } else { String::new() };
            let body = [named.as_bytes(), text.as_bytes(), b"\0", &*rest].concat();
            let Some(anew) = message(&made(tag, &body), &|_| Some(new.clone())) else {
                prop_assert!(!b"QP".contains(&tag));
                return Ok(());
            };
            let length = u32::from_be_bytes([anew[1], anew[2], anew[3], anew[4]]) as usize;
            prop_assert_eq!((anew[0], length), (tag, anew.len() - 1));
            prop_assert_eq!(&anew[5..], &[named.as_bytes(), new.as_bytes(), b"\0", &*rest].concat());
        }
    }
}
