//! How long a scenario file takes to read: a sound one, and one in which everything is wrong.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use driftlock::scenario::Scenario;
use driftlock::scenario::shipped::SHIPPED;

fn scenario(c: &mut Criterion) {
    let mut group = c.benchmark_group("a scenario file");
    for shipped in SHIPPED {
        let path = Path::new(shipped.path);
        group.bench_function(shipped.path, |b| b.iter(|| Scenario::parse(path, black_box(shipped.text.as_bytes()))));
    }
    let path = Path::new("wrong.toml");
    let wrong: String = (0..1_000).map(|n| format!("unknown-{n} = {n}\n")).collect();
    assert!(Scenario::parse(path, wrong.as_bytes()).is_err(), "what is measured is a refusal");
    group.bench_function("a thousand mistakes", |b| b.iter(|| Scenario::parse(path, black_box(wrong.as_bytes()))));
    group.finish();
}

criterion_group!(benches, scenario);
criterion_main!(benches);
