//! A live copy of one object.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tidewire::protocol::EncodedValue;
use tokio::sync::watch;

use crate::{
    Error, Handle,
    subscription::{self, Decoded, Ended, Meta, Subscriber, Update},
};

#[derive(Debug)]
pub(crate) struct State<T> {
    value: Option<Arc<T>>,
    meta: Meta,
    denial: Option<String>,
}

impl<T> State<T> {
    fn denial(&self) -> Option<&str> {
        self.denial.as_deref()
    }
}

struct Shown<T>(watch::Sender<State<T>>);

/// The two ends of an object's state.
pub(crate) fn state<T>() -> (Arc<dyn Subscriber>, watch::Receiver<State<T>>)
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(State { value: None, meta: Meta::default(), denial: None });
    (Arc::new(Shown(sender)), receiver)
}

impl<T> Subscriber for Shown<T>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    fn decode(&self, value: EncodedValue<'_>) -> Option<Decoded> {
        subscription::decode::<T>(value)
    }

    fn apply(&self, updates: Vec<Update>) {
        self.0.send_modify(|state| {
            for update in updates {
                match update {
                    Update::Value(value) => state.value = value.and_then(|value| value.downcast().ok()),
                    Update::Meta(meta) => state.meta = meta,
                    Update::Denied(message) => state.denial = Some(message),
                    Update::Row(..) | Update::Gone(_) => {}
                }
            }
        });
    }
}

/// A live, read-only copy of one object. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Object<T> {
    key: Arc<str>,
    state: watch::Receiver<State<T>>,
    handle: Handle,
}

impl<T> Object<T> {
    pub(crate) const fn new(key: Arc<str>, state: watch::Receiver<State<T>>, handle: Handle) -> Self {
        Self { key, state, handle }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value; `None` before the first one, and after a deletion.
    #[must_use]
    pub fn get(&self) -> Option<Arc<T>> {
        self.state.borrow().value.clone()
    }

    /// Where the value stands.
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.state.borrow().meta
    }

    /// Waits for the first value.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn ready(&mut self) -> Result<(), Ended> {
        subscription::until(&mut self.state, State::denial, |state| state.meta.is_ready).await
    }

    /// Waits for the next change of the value or of what is known about it. Changes that come while nobody waits are
    /// not queued: one wait tells of all of them.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        subscription::changed(&mut self.state, State::denial).await
    }

    /// Waits until the value is as `is_wanted`.
    ///
    /// # Errors
    /// If it never will be.
    pub async fn wait_for(&mut self, is_wanted: impl Fn(Option<&T>) -> bool) -> Result<(), Ended> {
        subscription::until(&mut self.state, State::denial, |state| is_wanted(state.value.as_deref())).await
    }

    /// Sets the value; see [`Client::put`](crate::Client::put).
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn put(&self, value: &T) -> Result<(), Error>
    where
        T: Serialize,
    {
        self.handle.client.put(&self.key, value).await
    }
}
