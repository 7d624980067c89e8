//! How long the drift of one customer takes to compute: by the number of claims that are aggregated,
//! and by the number of groups that are compared.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift::{Cell, aggregate, signals};
use drift_engine::policy::{Policy, Windows};
use driftlock::scenario::data;
use jiff::civil::date;

/// The claims behind each number of groups.
const CLAIMS: u32 = 100_000;

fn windows(policy: &Policy) -> Windows {
    policy.windows(date(2026, 4, 15)).expect("in the calendar")
}

fn claims(windows: Windows, count: u32) -> Vec<Claim> {
    data::claims(1, windows, CustomerId(1), count).collect()
}

/// The same claims, dealt out to this many payers.
fn dealt(claims: &[Claim], payers: usize) -> Vec<Claim> {
    let of =
        |(index, claim): (usize, &Claim)| Claim { payer: format!("payer-{}", index % payers).into(), ..claim.clone() };
    claims.iter().enumerate().map(of).collect()
}

fn by_claims(c: &mut Criterion) {
    let policy = Policy::default();
    let windows = windows(&policy);
    let mut group = c.benchmark_group("claims to cells");
    for count in [1_000, 10_000, 100_000] {
        let claims = claims(windows, count);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| aggregate(black_box(&claims), &windows));
        });
    }
    group.finish();
}

fn by_groups(c: &mut Criterion) {
    let policy = Policy::default();
    let windows = windows(&policy);
    let claims = claims(windows, CLAIMS);
    let mut group = c.benchmark_group("cells to signals");
    for payers in [1, 10, 100, 1_000] {
        let cells: Vec<Cell> = aggregate(&dealt(&claims, payers), &windows);
        group.throughput(Throughput::Elements(cells.len() as u64));
        group.bench_function(BenchmarkId::new("payers", payers), |b| b.iter(|| signals(black_box(&cells), &policy)));
    }
    group.finish();
}

criterion_group!(benches, by_claims, by_groups);
criterion_main!(benches);
