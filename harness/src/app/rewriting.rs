//! What the actors' statements become on their way to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use driftlock_wire::Unit;

/// The most bytes of texts that are remembered; others are looked at again each time, and are not counted.
const KNOWN_BYTES_MAX: usize = 4 << 20;

type Anew = dyn Fn(&str) -> Result<Option<String>, String> + Send + Sync;
type Followed = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Texts that have been looked at.
#[derive(Default)]
struct Known {
    /// What each became; nothing where it stayed.
    texts: BTreeMap<String, Option<String>>,
    /// All that has come of them.
    made: BTreeSet<String>,
    /// All that was run after something else.
    following: BTreeSet<String>,
    bytes: usize,
    /// The first that should have become something else and could not, and why.
    left: Option<String>,
}

/// Has other SQL asked in the place of what actors send. Its clones are one.
#[derive(Clone)]
pub struct Rewriter {
    anew: Arc<Anew>,
    followed: Option<Arc<Followed>>,
    known: Arc<Mutex<Known>>,
}

impl fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewriter").finish_non_exhaustive()
    }
}

impl Rewriter {
    /// By a rule: the new text, nothing where the text stays as it should, or why it must stay although it should not.
    /// It must answer the same of the same text.
    pub fn new(anew: impl Fn(&str) -> Result<Option<String>, String> + Send + Sync + 'static) -> Self {
        Self { anew: Arc::new(anew), followed: None, known: Arc::default() }
    }

    /// Has a statement run right after others, of which programs see nothing: by a rule, of the text as it is sent. There
    /// are to be few such statements.
    #[must_use]
    pub fn followed_by(self, followed: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { followed: Some(Arc::new(followed)), ..self }
    }

    /// What is run right after a text, if anything is.
    pub fn followed(&self, text: &str) -> Option<String> {
        let following = self.followed.as_ref()?(text)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.following.contains(&following) {
            known.following.insert(following.clone());
        }
        Some(following)
    }

    /// What a text becomes, if it does not stay.
    pub fn rewritten(&self, text: &str) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(anew) = known.texts.get(text) {
            return anew.clone();
        }
        let anew = match (self.anew)(text) {
            Ok(anew) => anew.filter(|anew| anew != text),
            Err(why) => {
                known.left.get_or_insert(why);
                None
            }
        };
        if known.bytes + text.len() <= KNOWN_BYTES_MAX {
            known.bytes += text.len();
            known.texts.insert(text.to_owned(), anew.clone());
            known.made.extend(anew.clone());
        }
        anew
    }

    /// Of the first text that was met and had to stay although it should not: why.
    pub fn left(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).left.clone()
    }

    /// Whether a unit runs something that was written anew, or put after something else. What was prepared so counts each time that it is run.
    pub fn has_rewritten(&self, unit: &Unit) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // What follows a simple query is the end of its text.
        let is_new = |text: &str| {
            known.made.contains(text) || known.following.iter().any(|following| text.ends_with(following.as_str()))
        };
        unit.statements().any(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_looked_at_once_and_what_stays_is_no_rewriting() {
        let looked = Arc::new(Mutex::new(0));
        let counts = looked.clone();
        let rewriter = Rewriter::new(move |text| {
            *counts.lock().unwrap() += 1;
            match text {
                "LOCK" => Err("no other word for it".to_owned()),
                _ => Ok(Some(text.replace(" FOR UPDATE", ""))),
            }
        });
        for _ in 0..3 {
            assert_eq!(rewriter.rewritten("SELECT 1 FOR UPDATE").as_deref(), Some("SELECT 1"));
            assert_eq!(rewriter.rewritten("COMMIT"), None);
        }
        assert_eq!((*looked.lock().unwrap(), rewriter.left()), (2, None));
        assert_eq!(rewriter.rewritten("LOCK"), None);
        assert_eq!(rewriter.left().as_deref(), Some("no other word for it"));
    }
}
