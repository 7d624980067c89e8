//! What protects an application, by the texts that were seen of it.

use super::*;

fn observed(texts: &[&str]) -> Observed {
    let mut seen = Observed { default_isolation: "read committed".to_owned(), ..Observed::default() };
    for (number, text) in texts.iter().enumerate() {
        seen.sent.texts.insert((*text).to_owned(), [("ann".to_owned(), number + 1)].into());
    }
    seen
}

fn without(text: &str, part: &Edit) -> Result<Option<String>, String> {
    let Edit::Part(alike) = part else { panic!("{part:?}") };
    anew(text, &[alike.clone()].into(), &[], &BTreeMap::new())
}

#[test]
fn what_differs_in_its_values_only_is_one_defence_and_is_found_again_with_others() {
    let locks = ["SELECT pg_advisory_xact_lock(17)", "SELECT pg_advisory_xact_lock(18)"];
    let defences = observed(&locks).defences();
    assert_eq!(defences.len(), 1, "{defences:?}");
    assert_eq!(defences[0].name, "advisory lock 17 (ann.1)");
    let expected = "SELECT CASE WHEN true THEN '' ELSE pg_advisory_xact_lock(19) END";
    assert_eq!(without("SELECT pg_advisory_xact_lock(19)", &defences[0].edit), Ok(Some(expected.to_owned())));
}

#[test]
fn a_text_that_cannot_lose_what_another_can_says_so() {
    let insert = "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET n = $2";
    let edit = observed(&[insert]).defences().remove(0).edit;
    let left = without(insert, &edit).unwrap_err();
    assert!(left.starts_with(insert) && left.ends_with("is not known"), "{left}");
    assert_eq!(without("SELECT a FROM t", &edit), Ok(None));
}
