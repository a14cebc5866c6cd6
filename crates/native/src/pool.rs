//! A live copy of a merge pool.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use serde::Serialize;

use crate::{
    Error,
    collection::{Collection, Rows},
    subscription::{Ended, Meta},
};

/// A live, read-only copy of a merge pool: its fields, each a `T`. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Pool<T>(Collection<T>);

/// The fields of a [`Pool`] at one moment, in the order of their names. Changes wait while it is held.
#[derive(Debug)]
pub struct Fields<'p, T>(Rows<'p, T>);

impl<T> Deref for Fields<'_, T> {
    type Target = BTreeMap<String, Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Pool<T> {
    pub(crate) const fn new(collection: Collection<T>) -> Self {
        Self(collection)
    }

    /// The pool's public id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// One field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<Arc<T>> {
        self.0.get(field)
    }

    /// All fields. Let go of it before the next wait.
    #[must_use]
    pub fn fields(&self) -> Fields<'_, T> {
        Fields(self.0.rows())
    }

    /// Where the fields stand.
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.0.meta()
    }

    /// Waits until all fields are here.
    ///
    /// # Errors
    /// If they never will be, as the pool does not exist.
    pub async fn ready(&mut self) -> Result<(), Ended> {
        self.0.ready().await
    }

    /// Waits for the next change; see [`Object::changed`](crate::Object::changed).
    ///
    /// # Errors
    /// If there will be none.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        self.0.changed().await
    }

    /// Waits until the fields are as `is_wanted`.
    ///
    /// # Errors
    /// If they never will be.
    pub async fn wait_for(
        &mut self,
        is_wanted: impl Fn(&BTreeMap<String, Arc<T>>) -> bool,
    ) -> Result<(), Ended> {
        self.0.wait_for(is_wanted).await
    }

    /// Merges a map of fields; see [`Client::merge`](crate::Client::merge).
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn merge<F: Serialize>(&self, fields: &F) -> Result<(), Error> {
        self.0.client().merge(self.id(), fields).await
    }
}
