//! A long and sound history, to measure the checks with.

use std::time::Duration;

use drift_engine::lock::LockStrategy;
use drift_engine::op::{Op, Reply};
use drift_engine::session::ErrorClass;

use super::Build;
use crate::history::{History, Seen, TaskId, Tick};

/// The number of customers.
const CUSTOMERS: u32 = 50;
/// The number of workers of each customer: one in its critical section, one waiting.
const WORKERS: u32 = 2;

/// The number of payers, each with four cells of claims.
const PAYERS: u32 = 6;

/// Makes a sound history of at least `entries` operations: for each of many customers tasks that
/// always wait for one another, and claims that arrive meanwhile, so that almost no two reads show
/// the same. The strategy is one of PostgreSQL's: SQLite's lock has one holder, whatever the customer.
pub fn busy(strategy: LockStrategy, entries: usize) -> History {
    let mut build = Build::new(strategy, CUSTOMERS * WORKERS, CUSTOMERS).payers(PAYERS);
    let mut tasks: Vec<(TaskId, Option<usize>)> = (0..CUSTOMERS)
        .map(|customer| {
            let task = build.task(customer * WORKERS, i64::from(customer));
            (task, build.ask(task))
        })
        .collect();
    for turn in 1.. {
        let last = build.history.entries.len() >= entries;
        // Every customer's task is in its critical section before any commits.
        for &(task, asked) in &tasks {
            build.grant(asked);
            build.open(task);
        }
        for customer in 0..CUSTOMERS {
            let (task, _) = tasks[customer as usize];
            let next = (!last).then(|| build.task(customer * WORKERS + turn % WORKERS, i64::from(customer)));
            let waiting = next.map(|next| {
                if turn == 2 {
                    refused_once(&mut build, next);
                }
                (next, build.ask(next))
            });
            work(&mut build, task, next, turn == 1);
            build.commit(task);
            if let Some(waiting) = waiting {
                tasks[customer as usize] = waiting;
            }
        }
        if last {
            break;
        }
    }
    build.finish()
}

/// What a task does between opening its run and COMMIT. Claims arrive meanwhile, except for the
/// last task of a customer, so that nothing is left to do.
fn work(build: &mut Build, task: TaskId, next: Option<TaskId>, watched: bool) {
    let customer = build.customer(task).0;
    let bystander = u32::try_from(customer).expect("customers are numbered from 0");
    if next.is_some() {
        build.insert(bystander, customer);
    }
    build.read(task);
    build.write(task);
    let Some(next) = next else { return };
    let from = Tick(build.now);
    build.insert(bystander, customer);
    if watched {
        let (holder, waiter) = (build.record(task).actor, build.record(next).actor);
        build.see_waits(&[(waiter.0, &[holder.0])]);
        let (asked, answered) = (build.tick(), build.tick());
        let key = build.customer(task);
        build.see(Seen::Probe { from: asked, until: answered, key, holder, held: true });
        build.see_hold(task, from);
    }
}

/// Lets a task's first attempt fail, for a reason that a retry mends.
fn refused_once(build: &mut Build, task: TaskId) {
    let refused = build.ask(task).unwrap_or_else(|| build.open(task));
    build.refuse(refused, ErrorClass::Deadlock);
    build.call(task, Op::Rollback, Reply::RolledBack);
    build.call(task, Op::Pause(Duration::from_millis(1)), Reply::Done);
}
