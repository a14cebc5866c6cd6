//! Who may come in, and what they may do: tokens become grants, and every question and write is held against one.
//!
//! The server reads no token itself. [`Admission`] is a function of the host that makes a [`Grant`] of one, and a grant
//! says what may be read and written, by patterns. It fails closed: what no pattern names is forbidden. A grant may
//! expire; its client is asked for another token a while before ([`ServerMessage::Renew`]), and its connection is
//! closed when none came. Not here: keys and signatures, which are the host's.

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    sync::Arc,
};
use core::{fmt, time::Duration};

use thiserror::Error;

use super::{
    ConnectionId, Server, WriteError,
    hub::{Session, Subject},
    kv::EVERY,
    mailbox::SERVER,
    rules::{Hosted, Patterns},
    storage::Storage,
};
use crate::protocol::{
    CloseCode, ErrorCode, KvChange, Operation, Query, ServerMessage, Timestamp,
    limits::{MAX_KEY_BYTES, MAX_TOKEN_BYTES},
};

/// How long before its end a grant is to be renewed, at most: several attempts of a client to fetch a token.
const RENEWAL: Duration = Duration::from_secs(60);

/// A client is not asked for another token more often than this, even if it only ever has one that is about to end.
const SHORTEST_RENEWAL: Duration = Duration::from_millis(500);

/// What is said when a grant ends.
const EXPIRED: &str = "the token has expired; come back with a fresh one";

/// Makes a grant of a token, or says why it is none.
#[cfg(not(target_arch = "wasm32"))]
pub type Check = dyn Fn(Timestamp, Option<&str>) -> Result<Grant, Refusal> + Send + Sync;
/// Makes a grant of a token, or says why it is none.
#[cfg(target_arch = "wasm32")]
pub type Check = dyn Fn(Timestamp, Option<&str>) -> Result<Grant, Refusal>;

/// Who may come in.
#[derive(Clone, Default)]
pub enum Admission {
    /// Everybody, and they may do everything. A client is who its token says, unchecked, or else a user of its own.
    #[default]
    Open,
    /// Those whose token this function takes, to do what it says. It is asked at every `hello`, whenever a client
    /// renews its token, and for every HTTP request; it neither waits nor calls the server.
    Checked(Arc<Check>),
}

/// A token, or its absence, is refused. The reason is told to the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Who somebody is, and what they may do until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose mailbox it reads, and as whom it sees values: 1 to 1,024 bytes, and not `server`.
    pub user: Arc<str>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// What may be read. A user's own mailbox always may.
    pub read: Permissions,
    /// What may be written. A notification of one's own mailbox may always be replied to.
    pub write: Permissions,
}

/// Something that a permission is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// An object, by key.
    Object(&'a str),
    /// A datastore, by public id.
    Datastore(&'a str),
    /// A merge pool, by public id.
    Pool(&'a str),
    /// A group of the kv store.
    Kv(&'a str),
    /// All groups of the kv store whose names begin so.
    KvGroups(&'a str),
    /// The mailbox of a user.
    Mailbox(&'a str),
    /// What clients relay on a key.
    Relay(&'a str),
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(key) => write!(formatter, "object:{key}"),
            Self::Datastore(id) => write!(formatter, "datastore:{id}"),
            Self::Pool(id) => write!(formatter, "pool:{id}"),
            Self::Kv(group) => write!(formatter, "kv:{group}"),
            Self::KvGroups(prefix) => write!(formatter, "kv:{prefix}*"),
            Self::Mailbox(user) => write!(formatter, "mailbox:{user}"),
            Self::Relay(key) => write!(formatter, "relay:{key}"),
        }
    }
}

/// A text is no pattern of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no pattern; one looks like object:user:*, datastore:todos, pool:*, kv:settings, mailbox:*, relay:*, or * for \
     everything"
)]
pub struct PatternError(String);

/// What may be read, or what may be written: a list of patterns.
///
/// A pattern is a kind of target and a name, as in `object:user:1`, or the beginning of one followed by `*`, as in
/// `object:user:*`; a star anywhere else is an ordinary character. The kinds are `object`, `datastore`, `pool`, `kv`
/// (by group: `kv:settings` is one group, `kv:settings:*` the groups of the namespace `settings`), `mailbox` (by user) and
/// `relay` (by key). `*` alone is everything. No pattern takes away what another gives.
///
/// ```
/// use tidewire::server::{Permissions, Resource};
///
/// let permissions = Permissions::parse(["object:user:*", "kv:settings"])?;
/// assert!(permissions.allow(Resource::Object("user:1")));
/// assert!(!permissions.allow(Resource::Object("order:1")));
/// assert!(!permissions.allow(Resource::Datastore("user:1")));
/// assert!(!permissions.allow(Resource::KvGroups("settings")));
/// # Ok::<(), tidewire::server::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions(Reach);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Reach {
    #[default]
    Nothing,
    Everything,
    /// Many connections may share it.
    Listed(Arc<Lists>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Lists {
    objects: Patterns<()>,
    datastores: Patterns<()>,
    pools: Patterns<()>,
    kv: Patterns<()>,
    mailboxes: Patterns<()>,
    relays: Patterns<()>,
}

impl Permissions {
    /// None.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// All.
    #[must_use]
    pub const fn everything() -> Self {
        Self(Reach::Everything)
    }

    /// Those that the patterns give.
    ///
    /// # Errors
    /// If one of them is no pattern. Whoever wrote it meant something, so it is not passed over.
    pub fn parse<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, PatternError> {
        let mut lists = Lists::default();
        let mut is_everything = false;
        for pattern in patterns {
            if pattern == "*" {
                is_everything = true;
                continue;
            }
            let (kind, name) = pattern.split_once(':').ok_or_else(|| PatternError(pattern.to_owned()))?;
            let list = match kind {
                "object" => &mut lists.objects,
                "datastore" => &mut lists.datastores,
                "pool" => &mut lists.pools,
                "kv" => &mut lists.kv,
                "mailbox" => &mut lists.mailboxes,
                "relay" => &mut lists.relays,
                _ => return Err(PatternError(pattern.to_owned())),
            };
            list.insert(name, ());
        }
        Ok(if is_everything { Self::everything() } else { Self(Reach::Listed(lists.into())) })
    }

    /// Whether a pattern gives this.
    #[must_use]
    pub fn allow(&self, resource: Resource<'_>) -> bool {
        let lists = match &self.0 {
            Reach::Nothing => return false,
            Reach::Everything => return true,
            Reach::Listed(lists) => lists,
        };
        match resource {
            Resource::Object(key) => lists.objects.find(key).is_some(),
            Resource::Datastore(id) => lists.datastores.find(id).is_some(),
            Resource::Pool(id) => lists.pools.find(id).is_some(),
            Resource::Kv(group) => lists.kv.find(group).is_some(),
            Resource::KvGroups(prefix) => lists.kv.covers(prefix),
            Resource::Mailbox(user) => lists.mailboxes.find(user).is_some(),
            Resource::Relay(key) => lists.relays.find(key).is_some(),
        }
    }
}

impl Grant {
    /// A grant for everything, for ever.
    #[must_use]
    pub fn everything(user: &str) -> Self {
        let (read, write) = (Permissions::everything(), Permissions::everything());
        Self { user: user.into(), expires: None, read, write }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Holds a read against the grant.
    ///
    /// # Errors
    /// If it is forbidden.
    pub fn check_read(&self, resource: Resource<'_>) -> Result<(), WriteError> {
        check(&self.read, "read", resource)
    }

    /// Holds a write against the grant.
    ///
    /// # Errors
    /// If it is forbidden.
    pub fn check_write(&self, resource: Resource<'_>) -> Result<(), WriteError> {
        check(&self.write, "write", resource)
    }

    /// Holds all that an operation would write against the grant.
    pub(super) fn check_operation(&self, operation: &Operation<'_>) -> Result<(), WriteError> {
        match operation {
            Operation::Put { key, .. } | Operation::Delete { key } => self.check_write(Resource::Object(key)),
            Operation::Set { datastore, .. } | Operation::Remove { datastore, .. } => {
                self.check_write(Resource::Datastore(datastore))
            }
            Operation::Merge { pool, .. } => self.check_write(Resource::Pool(pool)),
            Operation::Notify { to, .. } => self.check_write(Resource::Mailbox(to)),
            Operation::Relay(envelope) => self.check_write(Resource::Relay(envelope.key)),
            // The mailbox that it is in is the caller's, or there is no such notification.
            Operation::Reply { .. } => Ok(()),
            Operation::Kv(changes) => changes.iter().try_for_each(|change| match change {
                KvChange::Set { group, .. }
                | KvChange::Delete { group, .. }
                | KvChange::DeleteGroup { group } => self.check_write(Resource::Kv(group)),
            }),
        }
    }

    /// Holds a question against the grant.
    pub(super) fn check_query(&self, query: &Query<'_>) -> Result<(), WriteError> {
        match query {
            // It does not exist for others than its sender and its target.
            Query::Notification { .. } => Ok(()),
            Query::KvGet { group, .. }
            | Query::KvGetAll { group }
            | Query::KvCount { group }
            | Query::KvRender { group, .. } => self.check_read(Resource::Kv(group)),
            Query::KvCountAll { prefix } | Query::KvGroups { prefix } => {
                self.check_read(Resource::KvGroups(prefix))
            }
        }
    }
}

fn check(permissions: &Permissions, verb: &'static str, resource: Resource<'_>) -> Result<(), WriteError> {
    if permissions.allow(resource) {
        return Ok(());
    }
    Err(WriteError::Forbidden { verb, resource: resource.to_string().into() })
}

impl Admission {
    /// A door that `check` keeps.
    #[must_use]
    pub fn checked(check: impl Fn(Timestamp, Option<&str>) -> Result<Grant, Refusal> + Hosted) -> Self {
        Self::Checked(Arc::new(check))
    }

    /// Makes a grant of a token; `anonymous` is who comes without one where everybody may.
    fn admit(&self, now: Timestamp, token: Option<&str>, anonymous: &str) -> Result<Grant, Refusal> {
        if token.is_some_and(|token| token.len() > MAX_TOKEN_BYTES) {
            return Err(Refusal(format!("a token has at most {MAX_TOKEN_BYTES} bytes")));
        }
        let grant = match self {
            Self::Open => Grant::everything(token.unwrap_or(anonymous)),
            Self::Checked(check) => check(now, token)?,
        };
        let is_named = (1..=MAX_KEY_BYTES).contains(&grant.user.len());
        if !is_named && (token.is_some() || matches!(self, Self::Checked(_))) {
            return Err(Refusal(format!("the name of a user has 1 to {MAX_KEY_BYTES} bytes")));
        }
        if &*grant.user == SERVER {
            return Err(Refusal("the name `server` is the server's own".to_owned()));
        }
        if grant.has_expired(now) {
            return Err(Refusal(EXPIRED.to_owned()));
        }
        Ok(grant)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open => "Open",
            Self::Checked(_) => "Checked(a function)",
        })
    }
}

/// When to ask for another token in the place of one that ends then.
pub(super) fn renewal(now: Timestamp, expires: Option<Timestamp>) -> Option<Timestamp> {
    let left = expires?.since(now);
    let before = (left / 2).min(RENEWAL);
    (before >= SHORTEST_RENEWAL).then(|| now + (left - before))
}

impl Subject {
    pub(super) fn resource(&self) -> Resource<'_> {
        match self {
            Self::Object(key) => Resource::Object(key),
            Self::Datastore(id) => Resource::Datastore(id),
            Self::Pool(id) => Resource::Pool(id),
        }
    }
}

impl<S: Storage> Server<S> {
    /// Makes a grant of a token that came outside of a connection, such as that of an HTTP request. Where everybody may
    /// come in, whoever has no token is nobody: a user without a name.
    ///
    /// # Errors
    /// Why the token, or its absence, is refused.
    pub fn admit(&self, now: Timestamp, token: Option<&str>) -> Result<Grant, Refusal> {
        self.options.admission.admit(now, token, "")
    }

    /// The grant of a client that says hello.
    pub(super) fn admit_client(
        &self,
        now: Timestamp,
        client: &str,
        token: Option<&str>,
    ) -> Result<Grant, Refusal> {
        self.options.admission.admit(now, token, client)
    }

    /// Closes a connection whose grant has ended; `true` if it did.
    pub(super) fn close_expired(&mut self, now: Timestamp, connection: ConnectionId) -> bool {
        let has_expired = self.hub.session(connection).is_some_and(|session| session.grant.has_expired(now));
        if has_expired {
            self.close(connection, CloseCode::Unauthorized, EXPIRED, None);
        }
        has_expired
    }

    /// Asks a client for another token, if its own is about to end.
    pub(super) fn ask_for_token(&mut self, now: Timestamp, connection: ConnectionId) {
        if let Some(session) = self.hub.session(connection)
            && session.renewal.take_if(|due| *due <= now).is_some()
        {
            let left = session.grant.expires.map_or(0, |expires| expires.since(now).as_millis());
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            self.outbox.send(connection, &ServerMessage::Renew { left });
        }
    }

    /// A client sends another token in the place of its own.
    pub(super) fn renew(&mut self, now: Timestamp, connection: ConnectionId, token: &str) {
        let admitted = self.options.admission.admit(now, Some(token), "");
        let Some(session) = self.hub.session(connection) else {
            return;
        };
        let grant = match admitted {
            Ok(grant) if grant.user == session.grant.user => grant,
            Ok(_) => {
                let reason = "the token is of another user; end this session and begin one with it";
                return self.close(connection, CloseCode::Unauthorized, reason, None);
            }
            Err(Refusal(reason)) => {
                return self.close(connection, CloseCode::Unauthorized, &reason, None);
            }
        };
        session.admit(now, grant);
        let grant = session.grant.clone();
        self.hub.reschedule(connection);
        for (subscription, resource) in self.hub.read_by(connection) {
            if let Err(error) = grant.check_read(resource.resource()) {
                self.hub.unsubscribe(connection, subscription);
                self.deny(connection, subscription, 0, ErrorCode::Forbidden, &error.to_string());
            }
        }
    }
}

impl Session {
    /// Takes a grant in the place of the one before.
    pub(super) fn admit(&mut self, now: Timestamp, grant: Grant) {
        self.renewal = renewal(now, grant.expires);
        self.grant = grant.into();
    }

    /// When the session is due: at `due`, unless its grant wants something earlier.
    pub(super) fn due_by(&self, due: Timestamp) -> Timestamp {
        due.min(self.renewal.unwrap_or(due)).min(self.grant.expires.unwrap_or(due))
    }
}

/// What a subscription reads.
#[derive(Debug)]
pub(super) enum Reading {
    History(Subject),
    /// A group of the kv store, or `EVERY`.
    Watch(Box<str>),
    /// What clients relay on a key.
    Relay(Arc<str>),
}

impl Reading {
    fn resource(&self) -> Resource<'_> {
        match self {
            Self::History(subject) => subject.resource(),
            Self::Watch(group) => watched(group),
            Self::Relay(key) => Resource::Relay(key),
        }
    }
}

/// What a watch of `group` reads.
pub(super) fn watched(group: &str) -> Resource<'_> {
    if group == EVERY { Resource::KvGroups("") } else { Resource::Kv(group) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_its_own_kind_and_names_alone() {
        let patterns =
            ["object:user:*", "datastore:todos", "pool:*", "kv:settings:*", "mailbox:bob", "object:a*b"];
        let permissions = Permissions::parse(patterns).unwrap();
        for (resource, is_allowed) in [
            (Resource::Object("user:1"), true),
            (Resource::Object("user:"), true),
            (Resource::Object("user"), false),
            (Resource::Object("users:1"), false),
            (Resource::Object("a*b"), true),
            (Resource::Object("aXb"), false),
            (Resource::Object("todos"), false),
            (Resource::Datastore("todos"), true),
            (Resource::Datastore("todos2"), false),
            (Resource::Pool("anything"), true),
            (Resource::Kv("settings:ui"), true),
            (Resource::Kv("settings"), false),
            (Resource::Kv("*"), false),
            (Resource::KvGroups("settings:u"), true),
            (Resource::KvGroups("settings:"), true),
            (Resource::KvGroups("settings"), false),
            (Resource::KvGroups(""), false),
            (Resource::Mailbox("bob"), true),
            (Resource::Mailbox("alice"), false),
        ] {
            assert_eq!(permissions.allow(resource), is_allowed, "{resource}");
            assert!(!Permissions::nothing().allow(resource), "{resource}");
            assert!(Permissions::everything().allow(resource), "{resource}");
        }
    }

    #[test]
    fn one_group_by_name_is_not_all_groups_that_begin_so() {
        let one = Permissions::parse(["kv:settings"]).unwrap();
        assert!(one.allow(Resource::Kv("settings")));
        assert!(!one.allow(Resource::KvGroups("settings")));
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_not_passed_over() {
        for text in ["", "object", "user:1", "Object:user:1", "objects:*", "**"] {
            assert_eq!(Permissions::parse([text]), Err(PatternError(text.to_owned())));
        }
        assert_eq!(Permissions::parse(["*"]), Ok(Permissions::everything()));
        assert!(!Permissions::parse([]).unwrap().allow(Resource::Object("")));
    }

    #[test]
    fn a_grant_is_renewed_a_minute_before_its_end_or_halfway_and_a_dying_one_not_at_all() {
        let at = Timestamp::from_millis;
        assert_eq!(renewal(at(0), None), None);
        assert_eq!(renewal(at(0), Some(at(3_600_000))), Some(at(3_540_000)));
        assert_eq!(renewal(at(1_000), Some(at(11_000))), Some(at(6_000)));
        assert_eq!(renewal(at(0), Some(at(999))), None);
    }
}
