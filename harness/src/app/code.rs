//! A Rust function as an actor: each call has a thread and a runtime of its own, so that the kernel can be asked whether it
//! computes or sleeps, and so that its connections end with it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::work::{ANSWER_CHARS_MAX, Outcome};
use crate::scenario::application::Code;

/// How long what was left to other threads of the call's may take once its function has ended.
const REST_MAX: Duration = Duration::from_secs(1);
/// The code of a function that has failed, and of one that panicked: as programs have it.
const FAILED: u32 = 1;
const PANICKED: u32 = 101;

/// The calls so far: no two threads have the same name.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A call under way. Dropping it cancels the function at its next await.
#[derive(Debug)]
pub struct Call {
    outcome: oneshot::Receiver<Outcome>,
    _cancels: DropGuard,
}

/// Resolves once a call's thread, and with it every connection that its function has made, has ended.
pub type Gone = oneshot::Receiver<()>;

/// Calls a function with a database's URL; answers the call, the name of its threads, and when they are gone.
///
/// # Errors
/// There is no thread for it.
pub fn call(code: &Code, url: String) -> io::Result<(Call, String, Gone)> {
    // At most fifteen bytes are kept of a thread's name.
    let threads = format!("call-{:x}", CALLS.fetch_add(1, Ordering::Relaxed) & 0xff_ffff_ffff);
    let cancel = CancellationToken::new();
    let ((done, outcome), (gone, is_gone)) = (oneshot::channel(), oneshot::channel());
    let runtime = Builder::new_current_thread().enable_all().thread_name(&threads).build()?;
    let (code, cancelled) = (code.clone(), cancel.clone());
    std::thread::Builder::new().name(threads.clone()).spawn(move || {
        let called = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async { cancelled.run_until_cancelled(code.call(url)).await })
        }));
        // Its connections must have ended before anybody hears that it has.
        runtime.shutdown_timeout(REST_MAX);
        if let Some(outcome) = came_to(called) {
            let _ = done.send(outcome);
        }
        drop(gone);
    })?;
    Ok((Call { outcome, _cancels: cancel.drop_guard() }, threads, is_gone))
}

impl Call {
    /// What it comes to.
    pub async fn ended(self) -> Outcome {
        let lost = || Outcome::gone(PANICKED, "it was cancelled".to_owned());
        self.outcome.await.unwrap_or_else(|_| lost())
    }
}

/// What a call came to; nothing if it was cancelled.
fn came_to(called: Result<Option<Result<String, String>>, Box<dyn Any + Send>>) -> Option<Outcome> {
    let failed = |code, why| Outcome { code, answer: String::new(), met: false, why, gone: false };
    Some(match called {
        Ok(None) => return None,
        Ok(Some(Ok(answer))) => {
            let answer = answer.chars().take(ANSWER_CHARS_MAX).collect();
            Outcome { code: 0, answer, met: true, why: String::new(), gone: false }
        }
        Ok(Some(Err(why))) => failed(FAILED, why),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            failed(PANICKED, format!("it panicked: {}", text.as_deref().unwrap_or("with something that is no text")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(code: Code) -> Outcome {
        let (call, _, gone) = call(&code, "postgres://here".to_owned()).expect("a thread");
        let outcome = call.ended().await;
        assert!(gone.await.is_err(), "nothing is ever sent");
        outcome
    }

    #[tokio::test]
    async fn an_answer_a_failure_and_a_panic_are_told_apart() {
        let answered = outcome(Code::new(async |url: String| Ok::<_, String>(url.len()))).await;
        assert_eq!((answered.code, answered.answer.as_str(), answered.met), (0, "15", true));
        let nothing = outcome(Code::new(async |_| Ok::<_, String>(()))).await;
        assert_eq!((nothing.code, nothing.answer.as_str()), (0, ""));
        let failed = outcome(Code::new(async |_| Err::<(), _>("sold out"))).await;
        assert_eq!((failed.code, failed.why.as_str(), failed.met), (1, "sold out", false));
        let panicked = outcome(Code::new(async |_| -> Result<(), String> { panic!("seat {}", 1) })).await;
        assert_eq!((panicked.code, panicked.why.as_str()), (101, "it panicked: seat 1"));
    }

    #[tokio::test]
    async fn who_is_dropped_is_cancelled_and_gone() {
        let code = Code::new(async |_| -> Result<(), String> { std::future::pending().await });
        let (call, threads, gone) = call(&code, String::new()).expect("a thread");
        assert!(threads.len() <= 15, "{threads}");
        drop(call);
        tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it ends").unwrap_err();
    }
}
