//! What a library's caller relies on: each file that is cut off has a session of its own, and no session outlives its use.

use std::time::Duration;

use driftlock::clock::Clock;
use driftlock::database::postgres::PgDatabase;
use driftlock::rehearse::case::Case;
use driftlock::rehearse::companion::{Companion, ReplicaLock};
use driftlock::rehearse::failures::After;
use driftlock::rehearse::migrations::Version;
use driftlock::rehearse::progress::Progress;
use driftlock::rehearse::rehearsal::{Found, Options, Targets, rehearse};
use driftlock::rehearse::sampler::Sampling;
use driftlock::rehearse::subject::Subject;
use driftlock::rehearse::target::postgres::beside::Beside;
use driftlock::rehearse::target::postgres::sampler::Sampler;

use crate::given::{only, options};
use crate::ground::Ground;
use crate::holding;

#[tokio::test]
async fn what_a_file_sets_for_its_session_holds_for_no_other_file() {
    let ground = Ground::start("given_session").await;
    let careless = "SET statement_timeout = 0; SET search_path = ''; CREATE TABLE public.b (id int)";
    let bounded = "DO $$ BEGIN IF current_setting('statement_timeout') = '0' THEN RAISE 'no bound'; END IF; END $$; \
                   CREATE TABLE c (id int)";
    let at = holding(&[
        ("0001_a.up.sql", "CREATE TABLE a (id int)"),
        ("0002_b.up.sql", careless),
        ("0003_c.up.sql", bounded),
    ]);
    let mut subject = Subject::read(&at.path().join("m"), None, None).unwrap();
    subject.settings.from = Some(Version::named("1"));
    let mut targets = Targets::new(Some(&ground.server), None, 1);
    let failures = Case { failures: true, ..only(&subject) };
    let cut_off = rehearse(&mut targets, &failures, &options(), &Progress::default()).await.unwrap();
    let Found::Cuts { cuts, .. } = cut_off.found else { panic!("it was about cuts") };
    assert!(cuts.iter().any(|cut| cut.after == After::Recovered), "{cuts:?}");
    assert!(cuts.iter().all(|cut| matches!(cut.after, After::Recovered | After::NotReached)), "{cuts:?}");
    let alone = only(&subject);
    let measured = Options { wal: true, ..options() };
    let course = rehearse(&mut targets, &alone, &measured, &Progress::default()).await.unwrap();
    let Found::Course(course) = course.found else { panic!("it was a course") };
    assert_eq!(course.wal.len(), 2, "{:?}", course.wal);
    drop(targets);
    ground.stop().await;
}

#[tokio::test]
async fn whoever_looks_and_whoever_stands_beside_ends_when_it_is_dropped() {
    let ground = Ground::start("given_dropped").await;
    let database = PgDatabase::new(ground.server.connect_options(&ground.database), None);
    let mut asking = ground.session().await;
    let sampler = Sampler::start(database.plain().await.unwrap(), Clock::start(), Sampling::default());
    let hold = Duration::from_secs(600);
    let stands = Beside::stand(Companion::IdleSnapshot, &database, ReplicaLock::Polled, hold).await.unwrap();
    drop((sampler, stands));
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let gone = async {
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut asking).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("their sessions end");
    ground.stop().await;
}
