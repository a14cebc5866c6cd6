//! Where tokens come from: a function of the program, asked before each connection.

use std::{fmt, pin::Pin};

use tidewire::session::TokenReason;

type Fetching = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Fetches tokens.
pub(crate) struct Tokens(Box<dyn Fn(TokenReason) -> Fetching + Send + Sync>);

impl Tokens {
    pub(crate) fn new<F, E>(fetch: impl Fn(TokenReason) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self(Box::new(move |reason| {
            let fetching = fetch(reason);
            Box::pin(async move { fetching.await.map_err(|error| format!("no token came: {error}")) })
        }))
    }

    pub(crate) fn fetch(&self, reason: TokenReason) -> Fetching {
        (self.0)(reason)
    }
}
