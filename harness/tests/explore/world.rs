//! Databases for the tests, and what a search finds on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use drift_engine::lock::Backend;
use driftlock::explore::case::Options;
use driftlock::explore::fault::Fault;
use driftlock::explore::footprint::Rule;
use driftlock::explore::postgres::PgWorld;
use driftlock::explore::postgres::site::Site;
use driftlock::explore::rules::queries;
use driftlock::explore::search::{Coverage, Execution, Go, Searched, Strategy, Visitor, search_by};
use driftlock::explore::sqlite::SqliteWorld;
use driftlock::explore::volatile::Volatile;
use driftlock::explore::world::{Lost, World};
use driftlock::provision::{Journal, PostgresChoice, Profile, RunName, Server, SqliteFiles, StartOptions};
use driftlock::scenario::script::{NamedQuery, Script, ScriptCase};
use driftlock::variation::catalog::{Catalog, catalog};
use driftlock::variation::{Explorer, Refused, Seen, Serially, refused, see, serial_runs, with_rows};
use tokio_util::sync::CancellationToken;

/// Where scripts run.
pub struct Hosts {
    server: Server,
    files: SqliteFiles,
    made: u32,
}

/// What a search found.
pub struct Found {
    pub searched: Searched,
    pub outcomes: BTreeSet<String>,
    /// How many failures executions had.
    pub faults: BTreeSet<usize>,
}

impl Hosts {
    pub async fn start() -> Self {
        let choice = PostgresChoice::Local;
        let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: false };
        let server = Server::start(&options, &RunName::new("explore").unwrap(), &CancellationToken::new()).await;
        Self { server: server.unwrap(), files: SqliteFiles::create(Journal::Wal).await.unwrap(), made: 0 }
    }

    pub async fn stop(self) {
        self.server.stop().await.unwrap();
    }

    /// Searches the orders of a script's first case with each of these strategies, each in a database of its own.
    pub async fn search(&mut self, script: &Arc<Script>, strategies: &[Strategy]) -> Vec<Found> {
        let searches: Vec<_> = strategies.iter().map(|strategy| (*strategy, Rule::ALL.to_vec())).collect();
        self.search_by(script, &searches).await
    }

    /// Searches with fewer rules than there are for what may be exchanged.
    pub async fn search_by(&mut self, script: &Arc<Script>, searches: &[(Strategy, Vec<Rule>)]) -> Vec<Found> {
        self.search_failing(script, None, searches).await
    }

    /// Searches with something that fails in each execution.
    pub async fn search_failing(
        &mut self,
        script: &Arc<Script>,
        fault: Option<Fault>,
        searches: &[(Strategy, Vec<Rule>)],
    ) -> Vec<Found> {
        let mut all = Vec::new();
        for (strategy, rules) in searches {
            self.made += 1;
            let (made, case) = (self.made, script.cases[0].clone());
            let found = match case.backend {
                Backend::Postgres => {
                    let site = Site::make(&self.server, &format!("explore_{made}")).await.unwrap();
                    let mut world = PgWorld::new(site, script.clone(), case).await.unwrap();
                    world.inject(fault);
                    let found = outcomes(&mut world, script, *strategy, rules).await;
                    world.close().await.unwrap();
                    found
                }
                Backend::Sqlite => {
                    let database = self.files.create_database(&format!("explore_{made}"), None).await.unwrap();
                    let keep = self.files.create_database(&format!("start_{made}"), None).await.unwrap();
                    let (options, keep) = (self.files.connect_options(&database), keep.path().display().to_string());
                    let mut world = SqliteWorld::new(options, &keep, script.clone(), case).await.unwrap();
                    world.inject(fault);
                    outcomes(&mut world, script, *strategy, rules).await
                }
            };
            all.push(found);
        }
        all
    }
}

/// Does something in a world that is made for a script.
macro_rules! in_a_world {
    ($hosts:expr, $script:expr, $case:expr, |$world:ident| $body:expr) => {{
        $hosts.made += 1;
        let made = $hosts.made;
        let done = match $case.backend {
            Backend::Postgres => {
                let site = Site::make(&$hosts.server, &format!("explore_{made}")).await.unwrap();
                match PgWorld::new(site, $script.clone(), $case.clone()).await {
                    Ok(mut $world) => {
                        let done = $body;
                        $world.close().await?;
                        done
                    }
                    Err(lost) => Err(lost),
                }
            }
            Backend::Sqlite => {
                let database = $hosts.files.create_database(&format!("explore_{made}"), None).await.unwrap();
                let keep = $hosts.files.create_database(&format!("start_{made}"), None).await.unwrap();
                let (options, keep) = ($hosts.files.connect_options(&database), keep.path().display().to_string());
                match SqliteWorld::new(options, &keep, $script.clone(), $case.clone()).await {
                    Ok(mut $world) => $body,
                    Err(lost) => Err(lost),
                }
            }
        };
        refused(done)
    }};
}

impl Explorer for Hosts {
    type Error = Lost;

    async fn explore(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        options: &Options,
    ) -> Result<Result<Seen, Refused>, Lost> {
        in_a_world!(self, script, case, |world| see(&mut world, script, case, options).await)
    }

    async fn serially(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        rows: &[NamedQuery],
    ) -> Result<Result<Vec<Serially>, Refused>, Lost> {
        let script = &with_rows(script, rows);
        in_a_world!(self, script, case, |world| serial_runs(&mut world, script, case).await)
    }

    async fn catalog(&mut self, script: &Arc<Script>, case: &ScriptCase) -> Result<Result<Catalog, Refused>, Lost> {
        in_a_world!(self, script, case, |world| catalog(&mut world, case.backend).await)
    }
}

async fn outcomes<W: World>(world: &mut W, script: &Script, strategy: Strategy, rules: &[Rule]) -> Found {
    let mut collect = Collect { outcomes: BTreeSet::new(), faults: BTreeSet::new() };
    let searched = search_by(world, strategy, 1, &queries(script), &mut collect, rules).await;
    let searched = searched.unwrap_or_else(|lost| panic!("{lost}\n{script:#?}"));
    assert!(!matches!(searched.coverage, Coverage::Stopped(_)));
    Found { searched, outcomes: collect.outcomes, faults: collect.faults }
}

struct Collect {
    outcomes: BTreeSet<String>,
    faults: BTreeSet<usize>,
}

impl<W: World> Visitor<W> for Collect {
    async fn visit(&mut self, _: &mut W, execution: Execution) -> Result<Go, Lost> {
        self.faults.insert(execution.events().filter(|event| event.fault.is_some()).count());
        self.outcomes.insert(execution.outcome(&Volatile::default()));
        Ok(Go::On)
    }

    fn is_over(&self, _: u64) -> Option<String> {
        None
    }
}
