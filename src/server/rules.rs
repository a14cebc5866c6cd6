//! What the application says about its values: which are good, how they come to be, and who may see what of them.
//!
//! A [`Rule`] holds for the objects, or for the datastores, that its pattern matches. A pattern is a name, or the
//! beginning of one followed by `*`; a star anywhere else is an ordinary character. The most specific pattern wins, and
//! it alone: the name itself before any beginning, a longer beginning before a shorter one.
//!
//! The rules are functions of the application, called while an input is handled: they decide from what they are given,
//! and neither wait nor call the server. Not here: schemas. A compiled one is a gate.

#![cfg_attr(
    target_arch = "wasm32",
    expect(clippy::arc_with_non_send_sync, reason = "a page has one thread; elsewhere they are shared")
)]

use alloc::{borrow::ToOwned, format, string::String, sync::Arc, vec::Vec};
use core::fmt;

use crate::protocol::{EncodedValue, Timestamp, Writer};
use crate::server::ordered::OrderedMap;

pub use hosted::{Gate, Hosted, Resolver, ViewerRule};

/// Where there are threads, an application's function may be called from any of them.
#[cfg(not(target_arch = "wasm32"))]
mod hosted {
    use super::{EncodedValue, String, Timestamp, Vec, View};

    /// What every function of an application is.
    pub trait Hosted: Send + Sync + 'static {}
    impl<T: Send + Sync + 'static> Hosted for T {}

    /// Says whether a value may be stored, or why not, in words for whoever wrote it.
    pub type Gate = dyn Fn(EncodedValue<'_>) -> Result<(), String> + Send + Sync;

    /// Computes the first value of an object: an encoded value, or `None` where there is none. An error means that it
    /// is not known now; what it says is not told to clients.
    pub type Resolver = dyn Fn(Timestamp, &str) -> Result<Option<Vec<u8>>, String> + Send + Sync;

    /// Says whether somebody may see a field. An error means no.
    pub type ViewerRule = dyn Fn(&View<'_>) -> Result<bool, String> + Send + Sync;
}

/// A page has one thread, and functions of JavaScript stay there.
#[cfg(target_arch = "wasm32")]
mod hosted {
    use super::{EncodedValue, String, Timestamp, Vec, View};

    /// What every function of an application is.
    pub trait Hosted: 'static {}
    impl<T: 'static> Hosted for T {}

    /// Says whether a value may be stored, or why not, in words for whoever wrote it.
    pub type Gate = dyn Fn(EncodedValue<'_>) -> Result<(), String>;

    /// Computes the first value of an object: an encoded value, or `None` where there is none. An error means that it
    /// is not known now; what it says is not told to clients.
    pub type Resolver = dyn Fn(Timestamp, &str) -> Result<Option<Vec<u8>>, String>;

    /// Says whether somebody may see a field. An error means no.
    pub type ViewerRule = dyn Fn(&View<'_>) -> Result<bool, String>;
}

/// Somebody looks at a value.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct View<'a> {
    /// Who: the user of its token. Where tokens are not checked, the client id of whoever has none; over HTTP, nobody: `""`.
    pub viewer: &'a str,
    /// At which object or record.
    pub key: &'a str,
    /// The whole value.
    pub value: EncodedValue<'a>,
}

/// The name of the rule that lets everybody see a field.
pub const EVERYONE: &str = "everyone";

/// What holds for the values of some objects or datastores.
#[derive(Clone, Default)]
pub struct Rule {
    gate: Option<Arc<Gate>>,
    version: Option<Arc<str>>,
    projection: Option<Arc<Projection>>,
}

impl Rule {
    /// A rule that asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every value pass `gate` before it is stored; a bad one is refused with `invalid_value` and its reason.
    #[must_use]
    pub fn gate(mut self, gate: impl Fn(EncodedValue<'_>) -> Result<(), String> + Hosted) -> Self {
        self.gate = Some(Arc::new(gate));
        self
    }

    /// Stamps what is written from now on with this schema version, as in `"3.1"`.
    #[must_use]
    pub fn schema_version(mut self, version: &str) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Shows every viewer its part of a value.
    #[must_use]
    pub fn projection(mut self, projection: Projection) -> Self {
        self.projection = Some(Arc::new(projection));
        self
    }

    pub(super) fn check(&self, value: EncodedValue<'_>) -> Result<(), String> {
        self.gate.as_ref().map_or(Ok(()), |gate| gate(value))
    }

    pub(super) fn version(&self) -> Option<Arc<str>> {
        self.version.clone()
    }

    pub(super) fn projected(&self) -> Option<Arc<Projection>> {
        self.projection.clone()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, version, projection } = self;
        let gate = gate.as_ref().map(|_| "a function");
        let mut debug = formatter.debug_struct("Rule");
        debug.field("gate", &gate).field("version", version).field("projection", projection).finish()
    }
}

/// Which fields of a map are seen by whom: those whose rule says so.
///
/// It fails closed. A field that is not named here, whose rule does not exist or fails, is not shown, and a value that
/// is no map is shown as nil. A change of what a viewer cannot see reaches it as an envelope with the same fields as
/// before, so that its sequences have no gaps; that something changed is no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    fields: OrderedMap<String, String>,
    others: Option<String>,
}

impl Projection {
    /// A projection that shows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows `field` to those whom the rule of this name lets see it.
    #[must_use]
    pub fn field(mut self, field: &str, rule: &str) -> Self {
        self.fields.insert(field.to_owned(), rule.to_owned());
        self
    }

    /// Shows the fields that are not named to those whom the rule of this name lets see them.
    #[must_use]
    pub fn others(mut self, rule: &str) -> Self {
        self.others = Some(rule.to_owned());
        self
    }
}

/// The rules of a server.
///
/// ```
/// use tidewire::{protocol::EncodedValue, server::{EVERYONE, Projection, Rule, Rules}};
///
/// let named = |value: EncodedValue<'_>| value.string_field("name").map(drop).ok_or("name: missing".to_owned());
/// let private = Projection::new().field("email", "self").others(EVERYONE);
/// let rules = Rules::new()
///     .viewer("self", |view| Ok(view.key.strip_prefix("user:") == Some(view.viewer)))
///     .object("user:*", Rule::new().gate(named).schema_version("1.0").projection(private))
///     .resolver("time:*", |now, _key| Ok(Some(tidewire::protocol::from_json(&now.as_millis().to_string())
///         .map_err(|error| error.to_string())?)));
/// # let _ = rules;
/// ```
#[derive(Clone, Default)]
pub struct Rules {
    objects: Patterns<Arc<Rule>>,
    datastores: Patterns<Arc<Rule>>,
    resolvers: Patterns<Arc<Resolver>>,
    viewers: OrderedMap<String, Arc<ViewerRule>>,
}

impl Rules {
    /// No rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the rule of the objects whose keys match, in the place of one for the same pattern.
    #[must_use]
    pub fn object(mut self, pattern: &str, rule: Rule) -> Self {
        self.objects.insert(pattern, Arc::new(rule));
        self
    }

    /// Sets the rule of the datastores whose ids match, in the place of one for the same pattern.
    #[must_use]
    pub fn datastore(mut self, pattern: &str, rule: Rule) -> Self {
        self.datastores.insert(pattern, Arc::new(rule));
        self
    }

    /// Sets what computes the objects whose keys match.
    ///
    /// It is asked when somebody first subscribes to, fetches or reads an object that was never written, and what it
    /// says is stored as that object's sequence 1: it is the beginning of a history, and from then on a write is what
    /// changes it. Where it says `None` there is no value, and it is asked again the next time; within one batch it is
    /// asked once per key. Where it fails, or its value does not pass the gate, the question is denied as
    /// `unavailable`.
    #[must_use]
    pub fn resolver(
        mut self,
        pattern: &str,
        resolver: impl Fn(Timestamp, &str) -> Result<Option<Vec<u8>>, String> + Hosted,
    ) -> Self {
        self.resolvers.insert(pattern, Arc::new(resolver));
        self
    }

    /// Names a rule for projections. [`EVERYONE`] need not be named.
    ///
    /// It is asked again for every change and every viewer. When it would answer differently for another reason than
    /// a change of the value, viewers see that at the next change, or when they subscribe anew.
    #[must_use]
    pub fn viewer(mut self, name: &str, rule: impl Fn(&View<'_>) -> Result<bool, String> + Hosted) -> Self {
        self.viewers.insert(name.to_owned(), Arc::new(rule));
        self
    }

    pub(super) fn of_object(&self, key: &str) -> Option<Arc<Rule>> {
        self.objects.find(key).cloned()
    }

    pub(super) fn of_datastore(&self, id: &str) -> Option<Arc<Rule>> {
        self.datastores.find(id).cloned()
    }

    pub(super) fn resolver_of(&self, key: &str) -> Option<Arc<Resolver>> {
        self.resolvers.find(key).cloned()
    }

    /// What a viewer sees, per field of the value; `None` where the value has no fields. Viewers who see the same
    /// fields see the same bytes.
    pub(super) fn visible(&self, projection: &Projection, view: &View<'_>) -> Option<Vec<bool>> {
        let mut verdicts: Vec<(&str, bool)> = Vec::new();
        let visible = view.value.fields()?.map(|(field, _)| {
            let Some(rule) = projection.fields.get(field).or(projection.others.as_ref()) else {
                return false;
            };
            if let Some((_, verdict)) = verdicts.iter().find(|(name, _)| name == rule) {
                return *verdict;
            }
            let verdict = match self.viewers.get(rule) {
                Some(may_see) => may_see(view) == Ok(true),
                None => rule == EVERYONE,
            };
            verdicts.push((rule, verdict));
            verdict
        });
        Some(visible.collect())
    }

    /// The bytes that a viewer sees of a value.
    pub(super) fn project(&self, projection: &Projection, view: &View<'_>) -> Vec<u8> {
        strip(view.value, self.visible(projection, view).as_deref())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let viewers: Vec<_> = self.viewers.keys().collect();
        let mut debug = formatter.debug_struct("Rules");
        debug.field("objects", &self.objects.names()).field("datastores", &self.datastores.names());
        debug.field("resolvers", &self.resolvers.names()).field("viewers", &viewers).finish()
    }
}

/// A value with its visible fields only.
pub(super) fn strip(value: EncodedValue<'_>, visible: Option<&[bool]>) -> Vec<u8> {
    let mut writer = Writer::new();
    match (value.fields(), visible) {
        (Some(fields), Some(visible)) => {
            writer.map(visible.iter().filter(|visible| **visible).count());
            for (field, value) in fields.zip(visible).filter(|(_, visible)| **visible).map(|(field, _)| field)
            {
                writer.str(field);
                writer.value(value);
            }
        }
        (None, _) | (_, None) => writer.nil(),
    }
    writer.into_bytes()
}

/// Things by pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patterns<T> {
    names: OrderedMap<String, T>,
    /// Longest first.
    beginnings: Vec<(String, T)>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { names: OrderedMap::default(), beginnings: Vec::new() }
    }
}

impl<T> Patterns<T> {
    pub(super) fn insert(&mut self, pattern: &str, thing: T) {
        let Some(beginning) = pattern.strip_suffix('*') else {
            self.names.insert(pattern.to_owned(), thing);
            return;
        };
        self.beginnings.retain(|(other, _)| other != beginning);
        let longer = self.beginnings.partition_point(|(other, _)| other.len() > beginning.len());
        self.beginnings.insert(longer, (beginning.to_owned(), thing));
    }

    pub(super) fn find(&self, name: &str) -> Option<&T> {
        if !self.names.is_empty()
            && let Some(thing) = self.names.get(name)
        {
            return Some(thing);
        }
        let found = self.beginnings.iter().find(|(beginning, _)| name.starts_with(beginning.as_str()));
        found.map(|(_, thing)| thing)
    }

    /// Whether one pattern matches every name that begins so.
    pub(super) fn covers(&self, prefix: &str) -> bool {
        self.beginnings.iter().any(|(beginning, _)| prefix.starts_with(beginning.as_str()))
    }

    fn names(&self) -> Vec<String> {
        let beginnings = self.beginnings.iter().map(|(beginning, _)| format!("{beginning}*"));
        self.names.keys().cloned().chain(beginnings).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_pattern_wins_whatever_the_order() {
        let mut patterns = Patterns::default();
        for pattern in ["user:*", "*", "user:admin:*", "user:admin:1", "a*b", "user:*"] {
            patterns.insert(pattern, pattern.len());
        }
        let found = |name: &str| patterns.find(name).copied();
        assert_eq!(found("user:1"), Some(6));
        assert_eq!(found("user:"), Some(6));
        assert_eq!(found("user:admin:2"), Some(12));
        assert_eq!(found("user:admin:1"), Some("user:admin:1".len()));
        assert_eq!(found("other"), Some(1));
        assert_eq!(found(""), Some(1));
        assert_eq!(found("a*b"), Some(3));
        assert_eq!(patterns.beginnings.len(), 3);
        assert_eq!(Patterns::<u8>::default().find("a"), None);
    }
}
