//! A Rust function as what an actor does: no file can say it, a test can.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// What a call comes to: what is answered, or what has failed.
pub type Done = Pin<Box<dyn Future<Output = Result<String, String>>>>;

/// A function that is called with the URL of its database, and whose future is awaited on a thread of its own.
#[derive(Clone)]
pub struct Code(Arc<dyn Fn(String) -> Done + Send + Sync>);

impl Code {
    /// A function. Its answer is compared with those of serial orders by its `Debug` form; `()` is none.
    ///
    /// ```
    /// # use driftlock_scenario::application::Code;
    /// let code = Code::new(async |url: String| if url.is_empty() { Err("no URL") } else { Ok(url.len()) });
    /// let _done = code.call("postgres://localhost/".to_owned());
    /// ```
    pub fn new<F, T, E>(function: F) -> Self
    where
        F: AsyncFn(String) -> Result<T, E> + Send + Sync + 'static,
        T: fmt::Debug,
        E: fmt::Display,
    {
        let function = Arc::new(function);
        Self(Arc::new(move |url| {
            let function = function.clone();
            Box::pin(async move {
                let answered = function(url).await.map_err(|error| error.to_string())?;
                Ok(Some(format!("{answered:?}")).filter(|answer| answer != "()").unwrap_or_default())
            })
        }))
    }

    /// Calls it. Nothing happens before the future is awaited.
    pub fn call(&self, url: String) -> Done {
        (self.0)(url)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

impl PartialEq for Code {
    /// Whether both are the same function, and not two that do the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Code {}
