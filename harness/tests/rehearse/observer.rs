//! What looking costs is measured, and a sampler that costs much is noticed.

use std::time::Duration;

use driftlock::rehearse::companion::ReplicaLock;
use driftlock::rehearse::course::{self, Plan};
use driftlock::rehearse::crowd::Crowd;
use driftlock::rehearse::judge::{Judged, judge};
use driftlock::rehearse::migrations::Version;
use driftlock::rehearse::progress::Progress;
use driftlock::rehearse::sampler::Sampling;
use driftlock::rehearse::shipped::SHIPPED;
use driftlock::rehearse::site::Site;
use driftlock::rehearse::target::postgres::Postgres;
use driftlock::rehearse::traffic::Cast;

use crate::ground::Ground;

/// Rehearses the last of our own migrations with such a sampler.
async fn looked_at(site: &mut Site<Postgres<'_>>, sampling: Sampling) -> Judged {
    let mut subject = SHIPPED[0].subject();
    subject.settings.from = Some(Version::named("3"));
    // What grows with the table is another question.
    subject.settings.budget.rows.insert("drift_events".to_owned(), 1_000);
    let place = site.place(&subject, 1_000).await.unwrap();
    let (from, to) = subject.range().unwrap();
    let plan = Plan {
        from: from.clone(),
        migrations: subject.migrations.between(&from, &to).collect(),
        traffic: Some(Crowd::Engine(Cast { workers: 4, writers: 1, readers: 0 }, place.application.unwrap())),
        companion: None,
        lock: ReplicaLock::Polled,
        runner: None,
        stock: None,
        is_early: false,
        allowed: subject.settings.budget.errors.clone(),
        seed: 1,
        window: Duration::from_millis(100),
        sampling,
        progress: Progress::default(),
    };
    let record = course::run(&plan, &place).await.unwrap();
    let judged = judge(&plan, &record, &subject.settings.budget);
    site.leave(place).await.unwrap();
    judged
}

#[test]
fn a_heavy_sampler_is_told_from_ours() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let ground = Ground::start("observer").await;
        let mut site = Site::new(Postgres::new(&ground.server, None), 1);
        let ours = looked_at(&mut site, Sampling::default()).await.observer.unwrap();
        // Longer than a task takes, on a slow machine too.
        let also = Some("LOCK TABLE drift_runs IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.3);");
        let heavy = looked_at(&mut site, Sampling { also, every: Duration::from_millis(1) }).await;
        // It is the observer's fault, and none of the migration's.
        assert!(heavy.findings.is_empty(), "{heavy:?}");
        let heavy = heavy.observer.unwrap();
        assert!(heavy.is_heavy(), "{heavy}");
        assert!(ours.at_least < heavy.at_least && ours.share < heavy.share, "{ours}");
        // Recording is timed, and is next to nothing.
        assert!(ours.recording_us > 0.0 && ours.recording_share < 0.05, "{ours}");
        ground.stop().await;
    });
}
