//! What the database refused the traffic, sorted: the same code with the same message is one thing that went wrong.

use std::collections::BTreeSet;

use super::operation::Operation;
use crate::history::Tick;

/// How many messages are told apart under all codes together; further ones count with the first of their code.
const GROUPS_MAX: usize = 12;

/// Operations that were refused in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The SQLSTATE, or what stands for it.
    pub code: String,
    /// What the database said.
    pub message: String,
    /// The number of the first of them.
    pub first: usize,
    /// When the last of them came back.
    pub until: Tick,
    /// How many there are.
    pub count: u64,
}

/// The groups of a record's operations, without the codes that the traffic may see, in the order of their first.
pub fn groups(operations: &[Operation], allowed: &BTreeSet<String>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let Some((code, message)) = operation.refused.as_ref().filter(|(code, _)| !allowed.contains(&**code)) else {
            continue;
        };
        let is_full = groups.len() >= GROUPS_MAX;
        let same = |group: &&mut Group| group.code == **code && (group.message == **message || is_full);
        match groups.iter_mut().find(same) {
            Some(group) => {
                group.count += 1;
                group.until = group.until.max(operation.returned);
            }
            // A code of its own is never left out.
            None => groups.push(Group {
                code: code.to_string(),
                message: message.to_string(),
                first: index,
                until: operation.returned,
                count: 1,
            }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ActorId;

    #[test]
    fn a_message_is_a_group_and_no_code_is_lost_among_many_messages() {
        let refused = |n: u64, code: &str, message: String| Operation {
            actor: ActorId(0),
            invoked: Tick(n),
            returned: Tick(n + 1),
            class: None,
            what: "x".into(),
            refused: Some((code.into(), message.as_str().into())),
            sql: None,
        };
        let mut operations: Vec<Operation> =
            (0..50).map(|n| refused(n, "22P02", format!("invalid: {}", n / 2))).collect();
        operations.push(refused(60, "42P01", "not there".to_owned()));
        operations.push(refused(61, "40001", "again".to_owned()));
        let groups = groups(&operations, &BTreeSet::from(["40001".to_owned()]));
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        assert_eq!((groups[1].count, groups[1].first), (2, 2));
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 51);
        assert_eq!(groups.last().map(|group| group.code.as_str()), Some("42P01"));
    }
}
