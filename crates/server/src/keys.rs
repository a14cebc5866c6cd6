//! The keys that tokens are signed with: JSON Web Tokens become grants of the server module.
//!
//! A key is good for one algorithm, which its file decides and no token: a public key never checks an HMAC, and `none`
//! is no algorithm. A token names its user in `sub` and its end in `exp`, and says in `tidewire` what the user may do:
//! `{ "read": ["object:user:*"], "write": ["datastore:todos"] }`. What it does not say is forbidden.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use thiserror::Error;
use tidewire::{
    protocol::Timestamp,
    server::{Admission, Grant, Permissions, Refusal},
};

/// How far the clock of whoever signs may be from this one: a grant ends so much after its token.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// A shorter secret can be guessed from one token (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Where the keys come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// A file with the secret of HS256.
    pub secret_file: Option<PathBuf>,
    /// The secret of HS256, where no file has it.
    pub secret: Option<Vec<u8>>,
    /// A JSON Web Key Set with public keys.
    pub jwks: Option<PathBuf>,
    /// Who this server is in the `aud` of tokens.
    pub audience: Option<String>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret_file, secret, jwks, audience } = self;
        let secret = secret.as_ref().map(|_| "a secret");
        let mut debug = formatter.debug_struct("Sources");
        debug.field("secret_file", secret_file).field("secret", &secret).field("jwks", jwks);
        debug.field("audience", audience).finish()
    }
}

/// The keys cannot be used.
#[derive(Debug, Error)]
pub enum KeysError {
    /// A file cannot be read.
    #[error("cannot read {} ({source}); give the file that has the keys", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret is too short.
    #[error(
        "the secret for tokens has {0} bytes and could be guessed; make one of at least {MIN_SECRET_BYTES}, for \
         instance with `openssl rand -hex 32`"
    )]
    ShortSecret(usize),
    /// The file is no key set.
    #[error("{} is no JSON Web Key Set ({source}); it looks like {{\"keys\": [...]}}", path.display())]
    NoKeySet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// No key of the file checks tokens.
    #[error("{} has no public key for RS256, ES256 or EdDSA; ask who signs the tokens for their key set", .0.display())]
    NoKey(PathBuf),
    /// An audience, and nothing that could be for it.
    #[error("--jwt-audience needs keys to check tokens with; add --jwt-secret or --jwks")]
    AudienceAlone,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
    algorithm: Algorithm,
}

/// Keys that tokens are checked with.
pub struct Keys {
    keys: Vec<Key>,
    audience: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (key.algorithm, &key.id));
        formatter.debug_list().entries(keys).finish()
    }
}

/// What a token says.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    aud: Option<Audience>,
    #[serde(default)]
    tidewire: Scopes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Some(Vec<String>),
}

impl Audience {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Some(some) => some.iter().any(|one| one == name),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scopes {
    read: Vec<String>,
    write: Vec<String>,
}

impl Keys {
    /// Reads the keys; `None` where there are no sources.
    ///
    /// # Errors
    /// If a source is of no use.
    pub fn load(sources: &Sources) -> Result<Option<Self>, KeysError> {
        let mut keys = Vec::new();
        let secret = match (&sources.secret_file, &sources.secret) {
            (Some(path), _) => Some(read(path)?),
            (None, Some(secret)) => Some(secret.clone()),
            (None, None) => None,
        };
        if let Some(secret) = secret {
            let secret = secret.trim_ascii();
            if secret.len() < MIN_SECRET_BYTES {
                return Err(KeysError::ShortSecret(secret.len()));
            }
            keys.push(Key::new(None, DecodingKey::from_secret(secret), Algorithm::HS256));
        }
        if let Some(path) = &sources.jwks {
            let set: JwkSet = serde_json::from_slice(&read(path)?)
                .map_err(|source| KeysError::NoKeySet { path: path.clone(), source })?;
            let before = keys.len();
            keys.extend(set.keys.iter().filter_map(Key::of_set));
            if keys.len() == before {
                return Err(KeysError::NoKey(path.clone()));
            }
        }
        match (keys.is_empty(), &sources.audience) {
            (true, None) => Ok(None),
            (true, Some(_)) => Err(KeysError::AudienceAlone),
            (false, audience) => Ok(Some(Self { keys, audience: audience.clone() })),
        }
    }

    /// Lets in whoever has a token that these keys have signed.
    #[must_use]
    pub fn into_admission(self) -> Admission {
        Admission::checked(move |now, token| self.check(now, token))
    }

    fn check(&self, now: Timestamp, token: Option<&str>) -> Result<Grant, Refusal> {
        let refused = |reason: &str| Refusal(reason.to_owned());
        let token = token.ok_or_else(|| refused("a token is needed; connect with one"))?;
        let header = decode_header(token).map_err(|_| refused("the token is no signed JSON Web Token"))?;
        if header.crit.is_some() {
            return Err(refused("the token has critical extensions, which this server does not know"));
        }
        let mut candidates = self.keys.iter().filter(|key| key.may_have_signed(&header)).peekable();
        if candidates.peek().is_none() {
            return Err(refused(
                "the token is signed with an algorithm or key that this server does not take",
            ));
        }
        let signed =
            candidates.find_map(|key| decode::<serde_json::Value>(token, &key.key, &key.validation).ok());
        let signed = signed.ok_or_else(|| refused("the token's signature does not fit"))?;
        let claims = Claims::deserialize(signed.claims)
            .map_err(|error| Refusal(format!("the token's claims cannot be read: {error}")))?;
        self.grant(now, claims)
    }

    fn grant(&self, now: Timestamp, claims: Claims) -> Result<Grant, Refusal> {
        let refused = |reason: &str| Err(Refusal(reason.to_owned()));
        let expires = time(claims.exp) + LEEWAY;
        if expires <= now {
            return refused("the token has expired; come back with a fresh one");
        }
        if claims.nbf.is_some_and(|nbf| now + LEEWAY < time(nbf)) {
            return refused("the token is not valid yet; check the clocks of both machines");
        }
        let is_meant = match (&claims.aud, &self.audience) {
            (None, None) => true,
            (Some(token), Some(server)) => token.has(server),
            // One that is for somebody must not be good for whoever else has the same keys (RFC 7519, 4.1.3).
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_meant {
            return refused("the token is meant for another audience; see --jwt-audience");
        }
        let permissions = |patterns: &[String]| {
            Permissions::parse(patterns.iter().map(String::as_str))
                .map_err(|error| Refusal(error.to_string()))
        };
        let (read, write) = (permissions(&claims.tidewire.read)?, permissions(&claims.tidewire.write)?);
        Ok(Grant { user: claims.sub.into(), expires: Some(expires), read, write })
    }
}

impl Key {
    fn new(id: Option<String>, key: DecodingKey, algorithm: Algorithm) -> Self {
        // Signature and algorithm only: the times are held against the clock of the server module, and the audience
        // may have to be there.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { id, key, validation, algorithm }
    }

    /// A key of a set that is good for checking; sets hold others too, such as those for encryption.
    fn of_set(key: &Jwk) -> Option<Self> {
        let (algorithm, name) = match &key.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            // A secret in what is published is none, whatever it says.
            _ => return None,
        };
        let is_for_signatures =
            key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        if !is_for_signatures || key.common.key_algorithm.is_some_and(|other| other != name) {
            return None;
        }
        Some(Self::new(key.common.key_id.clone(), DecodingKey::from_jwk(key).ok()?, algorithm))
    }

    fn may_have_signed(&self, header: &Header) -> bool {
        let is_named = match (&self.id, &header.kid) {
            (Some(id), Some(named)) => id == named,
            (None, _) | (_, None) => true,
        };
        is_named && header.alg == self.algorithm
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeysError> {
    fs::read(path).map_err(|source| KeysError::Unreadable { path: path.to_owned(), source })
}

/// Seconds since 1970, as tokens have them.
fn time(seconds: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates; what is no time is 1970"
    )]
    let millis = (seconds * 1_000.0) as u64;
    Timestamp::from_millis(millis)
}
