//! A long and sound history, to measure the checks with.

use std::time::Duration;

use drift_engine::lock::LockStrategy;
use drift_engine::op::{Op, Reply};
use drift_engine::session::ErrorClass;

use super::Build;
use crate::history::{ActorId, History, Seen, TaskId, Tick};

/// The number of customers.
const CUSTOMERS: u32 = 50;
/// The number of workers of each customer: one in its critical section, one waiting.
const WORKERS: u32 = 2;

/// Makes a sound history of at least `entries` operations: for each of many customers tasks that
/// always wait for one another, and claims that arrive meanwhile, so that almost no two reads show
/// the same. The strategy is one of PostgreSQL's: SQLite's lock has one holder, whatever the customer.
pub fn busy(strategy: LockStrategy, entries: usize) -> History {
    let mut build = Build::new(strategy, CUSTOMERS * WORKERS, CUSTOMERS);
    let mut waiting: Vec<(TaskId, Option<usize>)> = (0..CUSTOMERS)
        .map(|customer| {
            let task = build.task(customer * WORKERS, i64::from(customer));
            build.enter(task);
            (task, None)
        })
        .collect();
    for turn in 1.. {
        for customer in 0..CUSTOMERS {
            let (task, asked) = waiting[customer as usize];
            build.grant(asked);
            if build.history.entries.len() >= entries {
                build.work(task);
                build.commit(task);
                waiting[customer as usize].1 = None;
                continue;
            }
            let next = build.task(customer * WORKERS + turn % WORKERS, i64::from(customer));
            if turn == 2 {
                refused_once(&mut build, next);
            }
            let asked = build.ask(next);
            build.open(task);
            build.insert(customer, i64::from(customer));
            build.read(task);
            build.write(task);
            let from = Tick(build.now);
            build.insert(customer, i64::from(customer));
            let (holder, waiter) = (build.record(task).actor.0, build.record(next).actor.0);
            if turn == 1 {
                build.see_waits(&[(waiter, &[holder])]);
                let (asked, answered) = (build.tick(), build.tick());
                let (key, holder) = (build.customer(task), ActorId(holder));
                build.see(Seen::Probe { from: asked, until: answered, key, holder, held: true });
                build.see_hold(task, from);
            }
            build.commit(task);
            waiting[customer as usize] = (next, asked);
        }
        if build.history.entries.len() >= entries {
            break;
        }
    }
    // The last task of each customer, so that nothing is left to do.
    for (customer, (task, asked)) in (0..CUSTOMERS).zip(waiting) {
        if build.record(task).result.is_err() {
            build.grant(asked);
            build.work(task);
            build.commit(task);
        }
        debug_assert_eq!(build.customer(task).0, i64::from(customer));
    }
    build.finish()
}

/// Lets a task's first attempt fail, for a reason that a retry mends.
fn refused_once(build: &mut Build, task: TaskId) {
    if let Some(asked) = build.ask(task) {
        build.refuse(asked, ErrorClass::Deadlock);
        build.call(task, Op::Rollback, Reply::RolledBack);
        build.call(task, Op::Pause(Duration::from_millis(1)), Reply::Done);
    }
}
