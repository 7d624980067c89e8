//! How long the checks take for a million operations: all together, and each alone.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use drift_engine::lock::LockStrategy;
use driftlock::check::{CHECKS, CheckName, judge};
use driftlock::history::build::busy;
use driftlock::history::view::View;

/// The length of the history, in operations.
const ENTRIES: usize = 1_000_000;

fn checks(c: &mut Criterion) {
    let history = busy(LockStrategy::RowNoKey, ENTRIES);
    let mut group = c.benchmark_group("a million operations");
    group.sample_size(10);
    group.bench_function("all checks", |b| b.iter(|| judge(black_box(&history), &CheckName::ALL, None)));
    group.bench_function("the view alone", |b| b.iter(|| View::of(black_box(&history))));
    for check in CHECKS {
        let view = View::of(&history);
        // What is derived on demand is derived here, and measured by "all checks".
        check.verdict(&view);
        group.bench_function(check.name.as_str(), |b| b.iter(|| check.verdict(black_box(&view))));
    }
    group.finish();
}

criterion_group!(benches, checks);
criterion_main!(benches);
