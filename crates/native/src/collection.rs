//! A live copy of a datastore.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tidewire::protocol::EncodedValue;
use tokio::sync::watch;

use crate::{
    Error, Handle,
    subscription::{self, Decoded, Ended, Meta, Subscriber, Update},
};

#[derive(Debug)]
pub(crate) struct State<T> {
    rows: BTreeMap<String, Arc<T>>,
    meta: Meta,
    denial: Option<String>,
}

impl<T> State<T> {
    fn denial(&self) -> Option<&str> {
        self.denial.as_deref()
    }
}

struct Shown<T>(watch::Sender<State<T>>);

/// The two ends of a collection's state.
pub(crate) fn state<T>() -> (Arc<dyn Subscriber>, watch::Receiver<State<T>>)
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let state = State { rows: BTreeMap::new(), meta: Meta::default(), denial: None };
    let (sender, receiver) = watch::channel(state);
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
                    Update::Row(key, row) => {
                        if let Ok(row) = row.downcast() {
                            state.rows.insert(key, row);
                        }
                    }
                    Update::Gone(key) => {
                        state.rows.remove(&key);
                    }
                    Update::Meta(meta) => state.meta = meta,
                    Update::Denied(message) => state.denial = Some(message),
                    Update::Value(_) => {}
                }
            }
        });
    }
}

/// A live, read-only copy of a datastore. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Collection<T> {
    id: Arc<str>,
    state: watch::Receiver<State<T>>,
    handle: Handle,
}

/// The rows of a [`Collection`] at one moment, in the order of their keys. Changes wait while it is held.
#[derive(Debug)]
pub struct Rows<'c, T>(watch::Ref<'c, State<T>>);

impl<T> Deref for Rows<'_, T> {
    type Target = BTreeMap<String, Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0.rows
    }
}

impl<T> Collection<T> {
    pub(crate) const fn new(id: Arc<str>, state: watch::Receiver<State<T>>, handle: Handle) -> Self {
        Self { id, state, handle }
    }

    pub(crate) const fn client(&self) -> &crate::Client {
        &self.handle.client
    }

    /// The datastore's public id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// One record.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<T>> {
        self.state.borrow().rows.get(key).cloned()
    }

    /// All records. Let go of it before the next wait.
    #[must_use]
    pub fn rows(&self) -> Rows<'_, T> {
        Rows(self.state.borrow())
    }

    /// Where the rows stand.
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.state.borrow().meta
    }

    /// Waits for the first whole snapshot.
    ///
    /// # Errors
    /// If there will be none, as the datastore does not exist.
    pub async fn ready(&mut self) -> Result<(), Ended> {
        subscription::until(&mut self.state, State::denial, |state| state.meta.is_ready).await
    }

    /// Waits for the next change; see [`Object::changed`](crate::Object::changed).
    ///
    /// # Errors
    /// If there will be none.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        subscription::changed(&mut self.state, State::denial).await
    }

    /// Waits until the rows are as `is_wanted`.
    ///
    /// # Errors
    /// If they never will be.
    pub async fn wait_for(
        &mut self,
        is_wanted: impl Fn(&BTreeMap<String, Arc<T>>) -> bool,
    ) -> Result<(), Ended> {
        subscription::until(&mut self.state, State::denial, |state| is_wanted(&state.rows)).await
    }

    /// Inserts or replaces a record; see [`Client::set`](crate::Client::set).
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn set(&self, record: &T) -> Result<(), Error>
    where
        T: Serialize,
    {
        self.handle.client.set(&self.id, record).await
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// As [`Collection::set`].
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        self.handle.client.remove(&self.id, key).await
    }
}
