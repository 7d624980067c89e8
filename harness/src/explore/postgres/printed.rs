//! What a step really did, as the server itself prints it: `debug_print_rewritten` and `debug_print_plan`
//! have it send the tree of every statement that it analyses and plans, also of those that functions,
//! triggers, `DO` blocks and dynamic SQL run (postgresql.org/docs/15/runtime-config-logging.html).
//!
//! So the server's own parser says which functions are called and which relations are used, whatever the
//! text looks like. Plans are made anew before an observed step (`DISCARD PLANS`), for a cached one is not
//! printed. What the trees cannot show is looked for in the catalog ([`super::hazards`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::explore::footprint::Touch;

/// What has the server print trees, as options of a session: for everybody.
pub(in crate::explore) const PRINTS: &str = "-c client_min_messages=log -c debug_print_plan=on \
     -c debug_print_rewritten=on -c debug_pretty_print=off";

/// What keeps the trees out of the server's log: for superusers.
pub(in crate::explore) const NOT_LOGGED: &str = "-c log_min_messages=fatal";

/// What the printed trees of one message come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::explore) struct Printed {
    /// How many statements were analysed, utility statements among them.
    pub analysed: usize,
    /// How many statements were planned.
    pub planned: usize,
    /// How many of the analysed ones were utility statements: whatever is neither a query nor changes rows.
    pub utilities: usize,
    /// The relations in them, and how strongly they are locked; sequences among them.
    pub relations: BTreeMap<u32, Touch>,
    /// The functions that are called.
    pub functions: BTreeSet<u32>,
    /// Those of them that were called, somewhere, with anything but a constant as their first argument.
    pub computed: BTreeSet<u32>,
    /// A column is used that shows more than committed rows do: `xmin`, `ctid` and their like. Or the tree
    /// could not be read.
    pub unclear: bool,
}

/// A server prints at most this much of one message before it is not looked at any more: bytes.
pub(in crate::explore) const PRINTED_MAX: usize = 16 << 20;

impl Printed {
    /// Of these trees.
    pub fn of(trees: &[String]) -> Self {
        let mut printed = Self::default();
        for tree in trees {
            printed.add(tree);
        }
        printed
    }

    /// Adds a tree, or a part of one: an expression as the catalog keeps it.
    pub fn add(&mut self, tree: &str) {
        let is_plan = tree.contains("{PLANNEDSTMT");
        self.planned += usize::from(is_plan);
        if !is_plan && tree.contains("{QUERY") {
            self.analysed += 1;
        }
        let mut tokens = Tokens(tree);
        let mut relation = None;
        while let Some(token) = tokens.next() {
            match token {
                ":funcid" | ":opfuncid" | ":aggfnoid" | ":winfnoid" => {
                    let function = self.number(tokens.next());
                    self.functions.extend(Some(function).filter(|function| *function != 0));
                    if token != ":funcid" || !tokens.begin_with_constant() {
                        self.computed.insert(function);
                    }
                }
                ":relid" => relation = tokens.next().and_then(|text| text.parse().ok()),
                // A foreign table's rows are no rows of this database.
                ":relkind" => self.unclear |= tokens.next() == Some("f"),
                ":rellockmode" => {
                    let mode = self.number(tokens.next());
                    match relation.take() {
                        Some(relation) => self.touch(relation, touch_of(mode)),
                        None => self.unclear = true,
                    }
                }
                ":seqid" => {
                    let sequence = self.number(tokens.next());
                    self.touch(sequence, Touch::Write);
                }
                // Whatever the plan depends on: the sequences of nextval('…') among them.
                ":relationOids" => self.add_listed(&mut tokens),
                ":utilityStmt" => {
                    let is_utility = tokens.next() != Some("<>");
                    self.utilities += usize::from(is_utility && !is_plan);
                }
                // Plans fetch ctid for their own use; xmin, cmin, xmax and cmax are fetched for nobody else.
                ":varattno" => match tokens.next().and_then(|text| text.parse::<i32>().ok()) {
                    Some(-5..=-2) => self.unclear = true,
                    Some(-1) => self.unclear |= !is_plan,
                    Some(_) => {}
                    None => self.unclear = true,
                },
                _ => {}
            }
        }
    }

    /// Adds the relations of a list: `(o 16385 16390)`, or nothing.
    fn add_listed(&mut self, tokens: &mut Tokens<'_>) {
        if tokens.next() == Some("(") && tokens.next() == Some("o") {
            while let Some(oid) = tokens.next().and_then(|token| token.parse().ok()) {
                self.relations.entry(oid).or_insert(Touch::Read);
            }
        }
    }

    fn number(&mut self, token: Option<&str>) -> u32 {
        let number = token.and_then(|text| text.parse().ok());
        self.unclear |= number.is_none();
        number.unwrap_or(0)
    }

    fn touch(&mut self, relation: u32, touch: Touch) {
        let known = self.relations.entry(relation).or_insert(touch);
        *known = (*known).max(touch);
    }
}

/// From the number of a lock's mode (src/include/storage/lockdefs.h).
fn touch_of(mode: u32) -> Touch {
    match mode {
        0 | 1 => Touch::Read,
        2 => Touch::Lock,
        8 => Touch::Exclusive,
        _ => Touch::Write,
    }
}

/// The tokens of a tree: words, and each bracket by itself. A backslash takes a character's meaning away
/// (`outToken` in src/backend/nodes/outfuncs.c).
struct Tokens<'t>(&'t str);

impl Tokens<'_> {
    /// Whether the arguments of the call whose function has just been read begin with a constant. A call has six members
    /// between its function and them (src/include/nodes/primnodes.h, `FuncExpr`).
    fn begin_with_constant(&self) -> bool {
        let mut rest = Tokens(self.0);
        rest.by_ref().take(13).any(|token| token == ":args") && rest.take(3).eq(["(", "{", "CONST"])
    }
}

impl<'t> Iterator for Tokens<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.0.trim_ascii_start();
        let bytes = text.as_bytes();
        let first = *bytes.first()?;
        let mut end = 1;
        if !is_bracket(first) {
            let mut escaped = first == b'\\';
            while end < bytes.len() && (escaped || !(bytes[end].is_ascii_whitespace() || is_bracket(bytes[end]))) {
                escaped = !escaped && bytes[end] == b'\\';
                end += 1;
            }
        }
        // What ends a token is one byte long, and so is what is looked at; a character is never cut.
        let (token, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        self.0 = rest;
        Some(token)
    }
}

fn is_bracket(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'{' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = "{PLANNEDSTMT :commandType 2 :planTree {MODIFYTABLE :targetlist ({TARGETENTRY :expr {OPEXPR \
        :opno 551 :opfuncid 177 :args ({VAR :varno 1 :varattno 2} {VAR :varno 1 :varattno -1})}})} :rtable \
        ({RANGETBLENTRY :eref {ALIAS :aliasname t\\ :relid :colnames (\"id\" \"v\")} :rtekind 0 :relid 16385 :relkind \
        r :rellockmode 3}) :relationOids (o 16385 16390) :utilityStmt <>}";

    #[test]
    fn a_plan_names_its_relations_and_functions() {
        let printed = Printed::of(&[UPDATE.to_owned()]);
        assert_eq!(printed.relations, [(16385, Touch::Write), (16390, Touch::Read)].into());
        assert_eq!(printed.functions, [177].into());
        assert_eq!((printed.analysed, printed.utilities, printed.unclear), (0, 0, false));
    }

    #[test]
    fn utility_statements_and_columns_of_the_system_are_noticed() {
        let query = |utility: &str, column: &str| {
            let text = format!("({{QUERY :commandType 6 :utilityStmt {utility} :quals {{VAR :varattno {column}}}}})");
            Printed::of(&[text])
        };
        assert_eq!(query("?", "1").utilities, 1);
        assert_eq!(query("{CREATESTMT :relation x}", "1").utilities, 1);
        assert_eq!(query("<>", "1"), Printed { analysed: 1, ..Printed::default() });
        // ctid and xmin are; a whole row and tableoid are not.
        assert!(query("<>", "-1").unclear && query("<>", "-2").unclear && query("<>", "-5").unclear);
        assert!(!query("<>", "0").unclear && !query("<>", "-6").unclear);
        let foreign = "{PLANNEDSTMT :rtable ({RTE :relid 1 :relkind f :rellockmode 1})}".to_owned();
        assert!(Printed::of(&[foreign]).unclear);
    }

    #[test]
    fn a_call_with_a_computed_argument_is_known_from_one_with_a_constant() {
        let call = |function: u32, arguments: &str| {
            format!(
                "{{FUNCEXPR :funcid {function} :funcresulttype 20 :funcretset false :funcvariadic false :funcformat 0 \
                 :funccollid 0 :inputcollid 0 :args {arguments} :location 7}}"
            )
        };
        let constant = call(1, "({CONST :consttype 2205 :constvalue 4 [ 1 0 0 0 ]})");
        let computed = call(2, "({FUNCEXPR :funcid 3 :args ({CONST})})");
        let both = [constant.clone(), call(1, "({PARAM :paramid 1})")].concat();
        let of = |tree: String| Printed::of(&[tree]).computed;
        assert_eq!(of(constant), BTreeSet::new());
        assert_eq!(of(computed), [2].into());
        assert_eq!(of(both), [1].into());
        assert_eq!(of(call(4, "<>")), [4].into());
        assert_eq!(of("{OPEXPR :opfuncid 5 :args ({CONST})}".to_owned()), [5].into());
    }

    #[test]
    fn tokens_end_with_what_is_not_escaped() {
        let tokens: Vec<&str> = Tokens("{A :b c\\ d (x\\)y ä)}").collect();
        assert_eq!(tokens, ["{", "A", ":b", "c\\ d", "(", "x\\)y", "ä", ")", "}"]);
        for broken in ["", " ", "\\", "ä", "(", "{QUERY :funcid", ":funcid x", ":relationOids (o 1"] {
            let _ = Printed::of(&[broken.to_owned()]);
        }
    }
}
