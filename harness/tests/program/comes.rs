//! Waits for what a program that was called is to do.

use std::time::Duration;

/// Waits for a condition; answers whether it came about in time.
pub async fn comes(at_most: Duration, condition: impl Fn() -> bool) -> bool {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(at_most, poll).await.is_ok()
}
