//! What objects and collections have in common.

use std::{any::Any, sync::Arc};

use serde::de::DeserializeOwned;
use thiserror::Error;
use tidewire::{
    protocol::{EncodedValue, Epoch},
    replica::{Stats, Status},
};
use tokio::sync::watch;

/// A decoded value on its way from the gate to the state that shows it.
pub(crate) type Decoded = Arc<dyn Any + Send + Sync>;

/// What is known about a copy beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The sequence of what is shown; `None` before the first value.
    pub sequence: Option<u64>,
    /// The history that the sequence counts in.
    pub epoch: Option<Epoch>,
    /// The one word for its state.
    pub status: Status,
    /// Its counters.
    pub stats: Stats,
    /// Whether the first value, or the first whole snapshot, is here.
    pub is_ready: bool,
    /// How often the authority was found to have lost what this copy had shown, as after the restore of a backup. The
    /// copy shows what the authority has.
    pub rollbacks: u32,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            sequence: None,
            epoch: None,
            status: Status::Stale,
            stats: Stats::default(),
            is_ready: false,
            rollbacks: 0,
        }
    }
}

/// A copy is followed no more. What it shows stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Ended {
    /// The authority denies it.
    #[error("the authority denies the subscription: {0}")]
    Denied(String),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// One change of what a copy shows.
#[derive(Debug)]
pub(crate) enum Update {
    Value(Option<Decoded>),
    Row(String, Decoded),
    Gone(String),
    Meta(Meta),
    Denied(String),
}

/// The driver's side of an object or collection.
pub(crate) trait Subscriber: Send + Sync {
    /// Decodes a value; `None` refuses it.
    fn decode(&self, value: EncodedValue<'_>) -> Option<Decoded>;

    /// Shows the updates of one round together.
    fn apply(&self, updates: Vec<Update>);
}

/// Decodes a value as `T`.
pub(crate) fn decode<T>(value: EncodedValue<'_>) -> Option<Decoded>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    rmp_serde::from_slice::<T>(value.as_bytes()).ok().map(|value| Arc::new(value) as Decoded)
}

/// Waits until `is_true` of a state, or until it can never be.
pub(crate) async fn until<S>(
    state: &mut watch::Receiver<S>,
    denial: impl Fn(&S) -> Option<&str>,
    is_true: impl Fn(&S) -> bool,
) -> Result<(), Ended> {
    let reached = state.wait_for(|state| is_true(state) || denial(state).is_some()).await;
    let state = reached.map_err(|_| Ended::Closed)?;
    denial(&state).map_or(Ok(()), |denial| Err(Ended::Denied(denial.to_owned())))
}

/// Waits for the next change of a state.
pub(crate) async fn changed<S>(
    state: &mut watch::Receiver<S>,
    denial: impl Fn(&S) -> Option<&str>,
) -> Result<(), Ended> {
    state.changed().await.map_err(|_| Ended::Closed)?;
    denial(&state.borrow()).map_or(Ok(()), |denial| Err(Ended::Denied(denial.to_owned())))
}
