//! The findings of several rehearsals as one SARIF document: code scanning takes one run of a tool.

use serde_json::Value;

/// Puts the results of all documents into the first one; nothing where there is none.
///
/// The rules are the same in all of them: every one lists all kinds of findings.
pub fn merged(documents: impl IntoIterator<Item = Value>) -> Option<Value> {
    let mut documents = documents.into_iter();
    let mut whole = documents.next()?;
    let results = whole.pointer_mut("/runs/0/results")?.as_array_mut()?;
    for document in documents {
        results.extend(document.pointer("/runs/0/results").and_then(Value::as_array).into_iter().flatten().cloned());
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_results_of_all_are_in_one_run() {
        let of = |name: &str| json!({ "version": "2.1.0", "runs": [{ "results": [{ "ruleId": name }] }] });
        let whole = merged([of("a"), json!({ "runs": [] }), of("b")]).unwrap();
        assert_eq!(whole["runs"][0]["results"], json!([{ "ruleId": "a" }, { "ruleId": "b" }]));
        assert_eq!(whole["runs"].as_array().unwrap().len(), 1);
        assert_eq!(merged([]), None);
    }
}
