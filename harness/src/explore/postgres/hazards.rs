//! What a database holds that no printed tree shows: which of the server's functions look past committed
//! rows, and whether code of the script's own could run unseen.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::printed::Printed;
use super::said;
use crate::explore::world::Lost;

/// The functions that come with the server, by what they do beside computing.
///
/// Asked of the server: everything that is not immutable (`pg_proc.provolatile`), less what depends on the
/// clock, on chance, on the session or on the catalog only. What changes the catalog touches everything
/// anyway, so who reads it is safe.
const OF_THE_SERVER: &str = r"
    SELECT oid, CASE WHEN proname ~ '^pg_(try_)?advisory_' THEN 'advisory'
                     WHEN proname = 'set_config' THEN 'setting'
                     WHEN proname IN ('nextval', 'setval', 'currval', 'lastval', 'pg_sequence_last_value') THEN 'sequence'
                     ELSE 'other' END
    FROM pg_catalog.pg_proc
    WHERE oid < 16384 AND provolatile <> 'i'
      AND (proname ~ '^(pg_|txid_|lo_|lo(read|write|import|export)|binary_upgrade|brin_|gin_|currtid)'
           OR proname IN ('age', 'mxid_age', 'set_config', 'nextval', 'setval', 'currval', 'lastval'))
      AND proname !~ '^pg_.*_is_visible$'
      AND proname NOT IN ('pg_typeof', 'pg_sleep', 'pg_sleep_for', 'pg_sleep_until', 'pg_backend_pid',
                          'pg_client_encoding', 'pg_column_size', 'pg_trigger_depth', 'pg_get_expr',
                          'pg_get_constraintdef', 'pg_get_indexdef', 'pg_get_viewdef', 'pg_get_functiondef',
                          'pg_get_serial_sequence', 'pg_get_userbyid', 'pg_get_triggerdef', 'pg_get_keywords',
                          'pg_encoding_to_char', 'pg_char_to_encoding', 'pg_has_role', 'pg_my_temp_schema',
                          'pg_timezone_names', 'pg_timezone_abbrevs', 'pg_input_is_valid')";

/// Whether code may run that prints nothing: a trigger in a language that does not go through the planner, a
/// function that turns the printing off.
const UNSEEN: &str = r"
    SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
                   JOIN pg_catalog.pg_language l ON l.oid = p.prolang
                   WHERE NOT t.tgisinternal AND l.lanname <> 'plpgsql')
        OR EXISTS (SELECT FROM pg_catalog.pg_proc, pg_catalog.unnest(proconfig) AS setting
                   WHERE oid >= 16384 AND setting ~* '^(client_min_messages|debug_)')";

/// Whether a function of the script's own may set a timeout: in its body, or by a `SET` of its own.
const NAMES_TIMEOUT: &str = r"
    SELECT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384
                   AND CASE WHEN prokind IN ('f', 'p') THEN pg_catalog.pg_get_functiondef(oid)
                            ~* '(lock|statement|session|transaction)_timeout' END)";

/// The expressions that are computed without being planned: those of constraints, of triggers' conditions,
/// of indexes.
const EXPRESSIONS: &str = r"
    SELECT conbin::pg_catalog.text FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL AND oid >= 16384
    UNION ALL SELECT tgqual::pg_catalog.text FROM pg_catalog.pg_trigger WHERE tgqual IS NOT NULL AND oid >= 16384
    UNION ALL SELECT pg_catalog.concat(indexprs::pg_catalog.text, indpred::pg_catalog.text)
              FROM pg_catalog.pg_index WHERE indexrelid >= 16384 AND (indexprs IS NOT NULL OR indpred IS NOT NULL)";

/// Functions of the script's own in SQL: they are put in place of their calls without being planned.
const IN_SQL: &str = r"
    SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND l.lanname = 'sql'";

/// What the database's functions may do, and whether something in it cannot be observed.
#[derive(Clone, Debug, Default)]
pub(in crate::explore) struct Hazards {
    /// Functions that have to do with advisory locks.
    advisory: BTreeSet<u32>,
    /// Functions that read or advance sequences.
    sequence: BTreeSet<u32>,
    /// Functions that change a setting of the session.
    setting: BTreeSet<u32>,
    /// Functions that look past committed rows, or change what is no row.
    other: BTreeSet<u32>,
    /// Any step may do what nobody sees.
    pub unseen: bool,
    /// A function of the script's own names a timeout, in its text or in what it sets for itself.
    names_timeout: bool,
    /// An expression that is computed without being planned calls a function of the script's own.
    pub expressions_call: bool,
}

impl Hazards {
    /// Asks the server.
    pub async fn ask(control: &Client) -> Result<Self, Lost> {
        let asking = |error| said("ask which functions there are", &error);
        let mut hazards = Self::default();
        for row in control.query(OF_THE_SERVER, &[]).await.map_err(asking)? {
            let (oid, kind): (u32, &str) = (row.get(0), row.get(1));
            let set = match kind {
                "advisory" => &mut hazards.advisory,
                "sequence" => &mut hazards.sequence,
                "setting" => &mut hazards.setting,
                _ => &mut hazards.other,
            };
            set.insert(oid);
        }
        hazards.look(control).await?;
        Ok(hazards)
    }

    /// Looks again for what cannot be observed: the schema may have changed.
    pub async fn look(&mut self, control: &Client) -> Result<(), Lost> {
        let asking = |error| said("ask what the schema runs", &error);
        self.unseen = control.query_one(UNSEEN, &[]).await.map_err(asking)?.get(0);
        self.names_timeout = control.query_one(NAMES_TIMEOUT, &[]).await.map_err(asking)?.get(0);
        let in_sql: BTreeSet<u32> =
            control.query(IN_SQL, &[]).await.map_err(asking)?.iter().map(|row| row.get(0)).collect();
        let mut printed = Printed::default();
        for row in control.query(EXPRESSIONS, &[]).await.map_err(asking)? {
            printed.add(row.get(0));
        }
        self.expressions_call = printed.functions.iter().any(|oid| *oid >= 16_384);
        let mut unseen = [&self.advisory, &self.sequence, &self.setting, &self.other, &in_sql].into_iter();
        self.unseen |= unseen.any(|set| !set.is_disjoint(&printed.functions));
        Ok(())
    }

    /// Whether advisory locks are taken, let go or asked for.
    pub fn advisory(&self, functions: &BTreeSet<u32>) -> bool {
        !self.advisory.is_disjoint(functions)
    }

    /// Whether a sequence is read or advanced of which no plan says which one it is: a plan names those that are constants
    /// in it, and that one is named says nothing of another.
    pub fn hides_sequence(&self, printed: &Printed) -> bool {
        !self.sequence.is_disjoint(&printed.computed)
    }

    /// Whether a statement may change, while it is run, how long it waits: a function says so, or sets what nobody knows.
    pub fn may_set_timeout(&self, printed: &Printed) -> bool {
        self.names_timeout || !self.setting.is_disjoint(&printed.computed)
    }

    /// Whether something is read or changed that is neither a row nor the catalog.
    pub fn other(&self, functions: &BTreeSet<u32>) -> bool {
        !self.setting.is_disjoint(functions) || self.other_than_settings(functions)
    }

    /// The same, where it is observed elsewhere what the session's settings are.
    pub fn other_than_settings(&self, functions: &BTreeSet<u32>) -> bool {
        !self.other.is_disjoint(functions)
    }
}
