//! The kv store beyond one key of one group: changes that are made together, and questions about all groups.

use std::time::Duration;

use serde::Serialize;
use tidewire::protocol::{EncodedValue, KvChange, Operation, Query};

use crate::{Client, Error, Kv, driver::Driver, encoded, services::millis};

#[derive(Debug, Clone)]
enum Change {
    Set { group: String, key: String, value: Vec<u8>, ttl: Option<u64> },
    Delete { group: String, key: String },
    DeleteGroup { group: String },
}

impl Change {
    fn as_operation(&self) -> KvChange<'_> {
        match self {
            Self::Set { group, key, value, ttl } => {
                KvChange::Set { group, key, value: EncodedValue::trusted(value), ttl: *ttl }
            }
            Self::Delete { group, key } => KvChange::Delete { group, key },
            Self::DeleteGroup { group } => KvChange::DeleteGroup { group },
        }
    }
}

/// Changes of the kv store that are made together, in their order, or not at all: [`Client::change_kv`] makes them.
#[derive(Debug, Clone, Default)]
pub struct KvChanges(Vec<Change>);

impl KvChanges {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key, for `ttl` or for ever.
    ///
    /// # Errors
    /// If the value cannot be encoded.
    pub fn set<T: Serialize>(
        &mut self,
        group: &str,
        key: &str,
        value: &T,
        ttl: Option<Duration>,
    ) -> Result<&mut Self, Error> {
        let (group, key, value) = (group.to_owned(), key.to_owned(), encoded(value)?);
        self.0.push(Change::Set { group, key, value, ttl: ttl.map(millis) });
        Ok(self)
    }

    /// Deletes a key.
    pub fn delete(&mut self, group: &str, key: &str) -> &mut Self {
        self.0.push(Change::Delete { group: group.to_owned(), key: key.to_owned() });
        self
    }

    /// Deletes a group with all its keys.
    pub fn delete_group(&mut self, group: &str) -> &mut Self {
        self.0.push(Change::DeleteGroup { group: group.to_owned() });
        self
    }
}

impl Kv {
    /// `template` with the values of the group in the places of their keys, where the authority renders for clients.
    ///
    /// # Errors
    /// Why there is no answer: a mistake of the template is told with its line.
    pub async fn render(&self, template: &str) -> Result<String, Error> {
        let (template, group) = (template.to_owned(), self.group.clone());
        let ask = move |driver: &mut Driver, done| {
            driver.ask(Query::KvRender { template: &template, group: &group }, done);
        };
        self.client.answer(ask).await
    }
}

impl Client {
    /// Makes all these changes of the kv store, or none of them. Resolves when that is durable.
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn change_kv(&self, changes: KvChanges) -> Result<(), Error> {
        if changes.0.is_empty() {
            return Ok(());
        }
        let write = move |driver: &mut Driver, done| {
            driver.write(Operation::Kv(changes.0.iter().map(Change::as_operation).collect()), done);
        };
        self.request(write).await.map(drop)
    }

    /// The names of all groups of the kv store that begin with `prefix`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn kv_groups(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let prefix = prefix.to_owned();
        self.answer(move |driver, done| driver.ask(Query::KvGroups { prefix: &prefix }, done)).await
    }

    /// How many keys all groups of the kv store have whose names begin with `prefix`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn kv_count(&self, prefix: &str) -> Result<u64, Error> {
        let prefix = prefix.to_owned();
        self.answer(move |driver, done| driver.ask(Query::KvCountAll { prefix: &prefix }, done)).await
    }
}
