//! What the server is told: by flags, by the environment and by a file, in this order.
//!
//! A setting is one field of [`Settings`], which is flag, variable and key at once, so that none can have a way that the
//! others lack. The file also has the table of objects and datastores, which no flag could hold.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use serde::Deserialize;
use thiserror::Error;
use tidewire::server::{self, EVERYONE, Projection, Rate, Rule, Rules, View};

use toml::Spanned;

use crate::{Builder, Limits, cluster::Cluster, gate::schema_gate, keys::Sources};

/// Where the database is, if nothing says otherwise.
const DATA: &str = "data";

/// What a service is called, if nothing says otherwise.
const SERVICE: &str = "tidewire";

/// What `serve` is told.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:4400].
    #[arg(long, env = "TIDEWIRE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Directory of the database; made if it is not there [default: data].
    #[arg(long, env = "TIDEWIRE_DATA", value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
    /// Directory of files to serve beside the API.
    #[arg(long, env = "TIDEWIRE_WWW", value_name = "DIRECTORY")]
    pub www: Option<PathBuf>,
    /// Origin whose pages may connect, such as `https://app.example.com`; may be repeated, or separated by commas.
    #[arg(long, env = "TIDEWIRE_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<String>,
    /// Address of a proxy whose X-Forwarded-For is believed; may be repeated, or separated by commas.
    #[arg(long, env = "TIDEWIRE_TRUST_PROXY", value_name = "IP", value_delimiter = ',')]
    pub trust_proxy: Vec<IpAddr>,
    /// Lets everybody who can reach the server read and write everything, not only programs on this machine.
    #[arg(
        long, env = "TIDEWIRE_OPEN", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(),
    )]
    pub open: Option<bool>,
    /// File with the secret that tokens are signed with (HS256). Where it is not given, TIDEWIRE_JWT_SECRET in the
    /// environment is the secret itself, if it is set.
    #[arg(long, env = "TIDEWIRE_JWT_SECRET_FILE", value_name = "FILE")]
    pub jwt_secret: Option<PathBuf>,
    /// File with the public keys that tokens are signed with (a JSON Web Key Set: RS256, ES256, EdDSA).
    #[arg(long, env = "TIDEWIRE_JWKS", value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Takes only tokens with this audience in `aud`. Without it, tokens that name an audience are refused.
    #[arg(long, env = "TIDEWIRE_JWT_AUDIENCE", value_name = "NAME")]
    pub jwt_audience: Option<String>,
    /// Address of its own for /metrics, /healthz and /readyz, for everybody who reaches it. Without it /metrics answers
    /// programs of this machine only.
    #[arg(long, env = "TIDEWIRE_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Address of nats-server, such as `nats://127.0.0.1:4222`; may be repeated, or separated by commas. Servers with the
    /// same ones are one service.
    #[arg(long, env = "TIDEWIRE_NATS", value_name = "URL", value_delimiter = ',')]
    pub nats: Vec<String>,
    /// Name of the service, where NATS has several [default: tidewire].
    #[arg(long, env = "TIDEWIRE_NATS_SERVICE", value_name = "NAME", value_parser = service_name)]
    pub nats_service: Option<String>,
    /// How many servers of NATS keep the log, if this node makes it [default: 3, or 1 where there are fewer].
    #[arg(long, env = "TIDEWIRE_NATS_REPLICAS", value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: Option<u8>,
    /// File with the credentials for NATS.
    #[arg(long, env = "TIDEWIRE_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,
    /// Name of this node, which no other one has [default: made at random and kept in the data directory].
    #[arg(long, env = "TIDEWIRE_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// How logs are written [default: text].
    #[arg(long, env = "TIDEWIRE_LOG", value_name = "FORMAT")]
    pub log: Option<LogFormat>,
    /// Logs every connection.
    #[arg(
        long, env = "TIDEWIRE_VERBOSE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(),
    )]
    pub verbose: Option<bool>,
    /// How much is let in.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// What holds for the objects whose keys match a pattern.
    #[arg(skip)]
    pub objects: BTreeMap<String, RuleSettings>,
    /// What holds for the datastores whose ids match a pattern.
    #[arg(skip)]
    pub datastores: BTreeMap<String, RuleSettings>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// How much is let in: the table `limits` of the file. A rate of 0 is none.
#[derive(Debug, Clone, Copy, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// WebSockets at a time [default: 20000].
    #[arg(long, env = "TIDEWIRE_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<usize>,
    /// WebSockets from one address, or one /64 of version 6; this machine's are not counted [default: 1000].
    #[arg(long, env = "TIDEWIRE_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_connections_per_address: Option<usize>,
    /// Subscriptions of a connection [default and most: 10000].
    #[arg(long, env = "TIDEWIRE_MAX_SUBSCRIPTIONS", value_name = "COUNT")]
    pub max_subscriptions: Option<usize>,
    /// Bytes of a frame [default and most: 1048576].
    #[arg(long, env = "TIDEWIRE_MAX_FRAME_BYTES", value_name = "BYTES")]
    pub max_frame_bytes: Option<usize>,
    /// Bytes that may wait for a connection that reads slowly [default: 1048576].
    #[arg(long, env = "TIDEWIRE_MAX_BACKLOG_BYTES", value_name = "BYTES")]
    pub max_backlog_bytes: Option<usize>,
    /// Messages a second that one connection may send, 0 for any number [default: 5000].
    #[arg(long, env = "TIDEWIRE_MESSAGE_RATE", value_name = "COUNT")]
    pub message_rate: Option<u32>,
    /// Messages that one connection may send at once [default: 50000].
    #[arg(long, env = "TIDEWIRE_MESSAGE_BURST", value_name = "COUNT")]
    pub message_burst: Option<u32>,
    /// Writes a second that one connection may send, 0 for any number [default: 2000].
    #[arg(long, env = "TIDEWIRE_WRITE_RATE", value_name = "COUNT")]
    pub write_rate: Option<u32>,
    /// Writes that one connection may send at once [default: 20000].
    #[arg(long, env = "TIDEWIRE_WRITE_BURST", value_name = "COUNT")]
    pub write_burst: Option<u32>,
}

/// What holds for some objects or datastores.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSettings {
    /// What values must be: a JSON Schema, or the file that has it.
    schema: Option<Spanned<toml::Value>>,
    #[serde(skip)]
    compiled: Option<Compiled>,
    /// The version that is stamped on what is written.
    schema_version: Option<SchemaVersion>,
    /// Who sees which field, `*` for those that are not named. Without it everybody sees all.
    project: Option<BTreeMap<String, Viewer>>,
}

/// A schema as the gate that it was made into.
#[derive(Clone)]
struct Compiled(Arc<server::Gate>);

impl fmt::Debug for Compiled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a gate")
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct SchemaVersion(String);

impl TryFrom<String> for SchemaVersion {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_version =
            text.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor));
        if is_version { Ok(Self(text)) } else { Err("a schema version is two numbers, as in \"1.0\"") }
    }
}

/// Who sees a field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Viewer {
    /// Everybody who may read.
    Everyone,
    /// The user that the key names: where the pattern has its star, or the record's whole key.
    InKey,
    /// The user that this field of the value names.
    InField(String),
}

impl TryFrom<String> for Viewer {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (text.as_str(), text.strip_prefix("user-in-field:")) {
            (EVERYONE, _) => Ok(Self::Everyone),
            ("user-in-key", _) => Ok(Self::InKey),
            (_, Some(field)) if !field.is_empty() => Ok(Self::InField(field.to_owned())),
            _ => Err("a field is seen by \"everyone\", \"user-in-key\" or \"user-in-field:NAME\""),
        }
    }
}

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {} ({source}); name the file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that is none.
    #[error("{}, line {line}: {key}{reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key on that line and a colon, where there is one.
        key: String,
        /// Why.
        reason: String,
    },
}

impl Settings {
    /// What a file says, or nothing where there is none.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let settings: Self = toml::from_str(&text).map_err(|error| {
            let reason = error.message().lines().collect::<Vec<_>>().join("; ");
            invalid(path, &text, error.span(), reason)
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        settings
            .under(directory)
            .compile(directory)
            .map_err(|(span, reason)| invalid(path, &text, Some(span), reason))
    }

    /// Makes gates of the schemas.
    fn compile(mut self, directory: &Path) -> Result<Self, (Range<usize>, String)> {
        for rule in self.objects.values_mut().chain(self.datastores.values_mut()) {
            let Some(schema) = &rule.schema else { continue };
            let compiled = compile(schema.get_ref(), directory);
            rule.compiled = Some(compiled.map_err(|reason| (schema.span(), reason))?);
        }
        Ok(self)
    }

    /// What a file names is beside that file.
    fn under(mut self, directory: &Path) -> Self {
        for path in
            [&mut self.data, &mut self.www, &mut self.jwt_secret, &mut self.jwks, &mut self.nats_credentials]
                .into_iter()
                .flatten()
        {
            *path = directory.join(&*path);
        }
        self
    }

    /// These, and what they do not say as the file says it.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            data: self.data.or(file.data),
            www: self.www.or(file.www),
            allow_origin: if self.allow_origin.is_empty() { file.allow_origin } else { self.allow_origin },
            trust_proxy: if self.trust_proxy.is_empty() { file.trust_proxy } else { self.trust_proxy },
            open: self.open.or(file.open),
            jwt_secret: self.jwt_secret.or(file.jwt_secret),
            jwks: self.jwks.or(file.jwks),
            jwt_audience: self.jwt_audience.or(file.jwt_audience),
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            nats: if self.nats.is_empty() { file.nats } else { self.nats },
            nats_service: self.nats_service.or(file.nats_service),
            nats_replicas: self.nats_replicas.or(file.nats_replicas),
            nats_credentials: self.nats_credentials.or(file.nats_credentials),
            node: self.node.or(file.node),
            log: self.log.or(file.log),
            verbose: self.verbose.or(file.verbose),
            limits: self.limits.over(file.limits),
            objects: file.objects,
            datastores: file.datastores,
        }
    }

    /// The directory of the database.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| DATA.into())
    }

    /// The server that is meant. `secret` is that of tokens, where no file has it.
    #[must_use]
    pub fn into_builder(self, secret: Option<Vec<u8>>) -> Builder {
        let mut builder = Builder::new(self.data())
            .open(self.open.unwrap_or_default())
            .limits(self.limits.limits())
            .rules(self.rules())
            .keys(Sources {
                secret_file: self.jwt_secret,
                secret,
                jwks: self.jwks,
                audience: self.jwt_audience,
            });
        if !self.nats.is_empty() {
            builder = builder.cluster(Cluster {
                servers: self.nats,
                service: self.nats_service.unwrap_or_else(|| SERVICE.to_owned()),
                node: self.node,
                replicas: self.nats_replicas.map(usize::from),
                credentials: self.nats_credentials,
            });
        }
        if let Some(address) = self.listen {
            builder = builder.listen(address);
        }
        if let Some(address) = self.metrics_listen {
            builder = builder.metrics_listen(address);
        }
        if let Some(directory) = self.www {
            builder = builder.www(directory);
        }
        let builder = self.allow_origin.into_iter().fold(builder, Builder::allow_origin);
        self.trust_proxy.into_iter().fold(builder, Builder::trust_proxy)
    }

    /// The table of objects and datastores.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let mut rules = Rules::new();
        for (pattern, settings) in &self.objects {
            let rule;
            (rule, rules) = settings.rule(rules, pattern.strip_suffix('*').unwrap_or(pattern));
            rules = rules.object(pattern, rule);
        }
        for (pattern, settings) in &self.datastores {
            let rule;
            (rule, rules) = settings.rule(rules, "");
            rules = rules.datastore(pattern, rule);
        }
        rules
    }
}

impl RuleSettings {
    /// The rule, and the rules with its viewers. `before` is what comes before a user's name in a key.
    fn rule(&self, mut rules: Rules, before: &str) -> (Rule, Rules) {
        let mut rule = Rule::new();
        if let Some(schema) = self.compiled.clone() {
            rule = rule.gate(move |value| (schema.0)(value));
        }
        if let Some(SchemaVersion(version)) = &self.schema_version {
            rule = rule.schema_version(version);
        }
        if let Some(fields) = &self.project {
            let mut projection = Projection::new();
            for (field, viewer) in fields {
                let name;
                (name, rules) = viewer.name(rules, before);
                projection = match field.as_str() {
                    "*" => projection.others(&name),
                    field => projection.field(field, &name),
                };
            }
            rule = rule.projection(projection);
        }
        (rule, rules)
    }
}

impl Viewer {
    /// The name of the viewer rule, and the rules with it.
    fn name(&self, rules: Rules, before: &str) -> (String, Rules) {
        match self {
            Self::Everyone => (EVERYONE.to_owned(), rules),
            Self::InKey => {
                let name = format!("user-in-key:{before}");
                let before = before.to_owned();
                let is_seen = move |view: &View<'_>| {
                    Ok(!view.viewer.is_empty() && view.key.strip_prefix(&*before) == Some(view.viewer))
                };
                let rules = rules.viewer(&name, is_seen);
                (name, rules)
            }
            Self::InField(field) => {
                let name = format!("user-in-field:{field}");
                let field = field.clone();
                let is_seen = move |view: &View<'_>| {
                    Ok(!view.viewer.is_empty() && view.value.string_field(&field) == Some(view.viewer))
                };
                let rules = rules.viewer(&name, is_seen);
                (name, rules)
            }
        }
    }
}

impl LimitSettings {
    fn over(self, file: Self) -> Self {
        Self {
            max_connections: self.max_connections.or(file.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .or(file.max_connections_per_address),
            max_subscriptions: self.max_subscriptions.or(file.max_subscriptions),
            max_frame_bytes: self.max_frame_bytes.or(file.max_frame_bytes),
            max_backlog_bytes: self.max_backlog_bytes.or(file.max_backlog_bytes),
            message_rate: self.message_rate.or(file.message_rate),
            message_burst: self.message_burst.or(file.message_burst),
            write_rate: self.write_rate.or(file.write_rate),
            write_burst: self.write_burst.or(file.write_burst),
        }
    }

    fn limits(self) -> Limits {
        let defaults = Limits::default();
        let connection = defaults.connection;
        let rate = |rate: Option<u32>, burst: Option<u32>, default: Option<Rate>| {
            let per_second = rate.or(default.map(|rate| rate.per_second)).filter(|rate| *rate > 0)?;
            // A burst below a second's worth would refuse what the rate allows.
            let burst = burst.or(default.map(|rate| rate.burst)).unwrap_or_default().max(per_second);
            Some(Rate { per_second, burst })
        };
        let mut limits = defaults;
        limits.connections = self.max_connections.unwrap_or(defaults.connections);
        limits.connections_per_address =
            self.max_connections_per_address.unwrap_or(defaults.connections_per_address);
        limits.backlog_bytes = self.max_backlog_bytes.unwrap_or(defaults.backlog_bytes);
        limits.connection = server::Limits {
            frame_bytes: self.max_frame_bytes.unwrap_or(connection.frame_bytes),
            subscriptions: self.max_subscriptions.unwrap_or(connection.subscriptions),
            messages: rate(self.message_rate, self.message_burst, connection.messages),
            writes: rate(self.write_rate, self.write_burst, connection.writes),
        };
        limits
    }
}

/// Compiles a schema, or the one in the file that is named.
fn compile(schema: &toml::Value, directory: &Path) -> Result<Compiled, String> {
    let text = match schema {
        toml::Value::String(file) => {
            let file = directory.join(file);
            fs::read_to_string(&file).map_err(|error| format!("cannot read {} ({error})", file.display()))?
        }
        inline => serde_json::to_string(inline).map_err(|error| error.to_string())?,
    };
    let gate = schema_gate(&text).map_err(|error| error.to_string())?;
    Ok(Compiled(Arc::new(gate)))
}

/// A name that may be part of a subject and of a stream's name.
fn service_name(name: &str) -> Result<String, &'static str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        Ok(name.to_owned())
    } else {
        Err("a service's name is up to 64 letters, digits, `-` and `_`")
    }
}

fn invalid(path: &Path, text: &str, span: Option<Range<usize>>, reason: String) -> ConfigError {
    let at = span.map_or(0, |span| text.floor_char_boundary(span.start));
    let before = &text[..at];
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let written = text[begin..].lines().next().unwrap_or_default();
    let key = written.split_once('=').map_or("", |(key, _)| key.trim());
    ConfigError::Invalid {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        key: if key.is_empty() { String::new() } else { format!("`{key}`: ") },
        reason,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        settings: Settings,
    }

    fn file(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tidewire.toml");
        fs::write(&path, text).unwrap();
        Settings::read(Some(&path)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_flag_is_a_variable_and_a_key_of_the_file() {
        let command = Command::command();
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            let flag = argument.get_long().unwrap();
            let key = flag.replace('-', "_");
            let variable = argument.get_env().and_then(|name| name.to_str()).unwrap();
            let expected = format!("TIDEWIRE_{}", key.to_uppercase());
            assert_eq!(variable.strip_suffix("_FILE").unwrap_or(variable), expected, "--{flag}");
            // What is known complains about the value, what is not about the key.
            let of_table = if argument.get_help_heading().is_some() { "[limits]\n" } else { "" };
            let complaint = file(&format!("{of_table}{key} = {{ no = 1 }}")).unwrap_err();
            assert!(!complaint.contains("unknown field"), "{complaint}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let told = file("listen = '127.0.0.1:1'\nopen = true\n[limits]\nwrite_rate = 7\nmax_connections = 3")
            .unwrap();
        let flags =
            Command::parse_from(["x", "--listen", "127.0.0.1:2", "--open=false", "--max-connections", "9"]);
        let settings = flags.settings.over(told);
        assert_eq!(settings.listen, Some("127.0.0.1:2".parse().unwrap()));
        assert_eq!(settings.open, Some(false));
        let limits = settings.limits.limits();
        assert_eq!(limits.connections, 9);
        assert_eq!(limits.connection.writes, Some(Rate { per_second: 7, burst: 20_000 }));
        assert_eq!(limits.connection.messages, Limits::default().connection.messages);
        assert_eq!(limits.connections_per_address, Limits::default().connections_per_address);
    }

    #[test]
    fn a_rate_of_zero_is_none_and_a_burst_is_a_second_at_least() {
        let limits = |text: &str| file(&format!("[limits]\n{text}")).unwrap().limits.limits().connection;
        assert_eq!(limits("write_rate = 0").writes, None);
        assert_eq!(
            limits("message_rate = 9\nmessage_burst = 1").messages,
            Some(Rate { per_second: 9, burst: 9 })
        );
    }

    #[test]
    fn a_mistake_is_told_with_file_line_and_key() {
        for (text, hints) in [
            ("listen = '127.0.0.1:1'\nlisten_on = 1", &["tidewire.toml, line 2", "listen_on", "unknown"][..]),
            ("\n\nopen = 'perhaps'", &["line 3: `open`:", "boolean"]),
            ("[limits]\nwrite_rate = -1", &["line 2: `write_rate`:"]),
            ("[objects.'user:*']\nproject = { email = 'self' }", &["line 2", "user-in-key"]),
            ("[objects.'user:*']\nschema_version = '1'", &["line 2: `schema_version`:", "1.0"]),
            ("[objekts.x]", &["line 1", "objekts"]),
            ("listen = ", &["line 1: `listen`:"]),
            ("[objects.a]\n[objects.b]\nschema = 'none.json'", &["line 3: `schema`:", "none.json"]),
            ("[objects.a]\nschema = { tipe = 'string' }", &["line 2: `schema`:", "tipe"]),
        ] {
            let complaint = file(text).unwrap_err();
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
            for hint in hints {
                assert!(complaint.contains(hint), "{complaint:?} does not say {hint:?}");
            }
        }
    }

    #[test]
    fn the_file_in_the_docs_is_one() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let page = fs::read_to_string(docs).unwrap();
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("schemas")).unwrap();
        fs::write(directory.path().join("schemas/user.json"), "true").unwrap();
        fs::write(directory.path().join("tidewire.toml"), text).unwrap();
        let settings = Settings::read(Some(&directory.path().join("tidewire.toml"))).unwrap();
        assert_eq!(settings.limits.write_rate, Some(500));
        assert_eq!((settings.objects.len(), settings.datastores.len()), (1, 1));
    }

    #[test]
    fn what_a_file_names_is_beside_it() {
        let settings = file("data = 'd'\njwks = '/etc/jwks.json'").unwrap();
        let data = settings.data();
        assert!(data.is_absolute() && data.ends_with("d"), "{}", data.display());
        assert_eq!(settings.jwks, Some("/etc/jwks.json".into()));
    }
}
