//! Templates over a group's values.
//!
//! The engine is `minijinja`, in builds with the feature `render`: it is larger than all the rest of a page's server.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use thiserror::Error;

use crate::{
    protocol::{ErrorCode, limits::MAX_VALUE_BYTES},
    server::storage::{StorageError, Value},
};

/// A template cannot be rendered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RenderError {
    /// There is nothing to render it with.
    #[error("no group `{group}`; set a key in it first")]
    NoGroup {
        /// The group.
        group: Box<str>,
    },
    /// It is not well-formed.
    #[error("line {line} of the template: {detail}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        detail: String,
    },
    /// It uses a variable that the group does not have.
    #[error("line {line} of the template: no value for `{name}`; set it, or give it a default")]
    Missing {
        /// The variable, as the template names it.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// It does something that cannot be done, or for too long.
    #[error("line {line} of the template: {detail}")]
    Failed {
        /// The line, from 1.
        line: usize,
        /// What went wrong there.
        detail: String,
    },
    /// Its result is too large to be a value.
    #[error("the rendered template has more than {MAX_VALUE_BYTES} bytes")]
    TooLarge,
    /// This build has no templates.
    #[error("this server was built without templates; render on one with the feature `render`")]
    Unsupported,
    /// The storage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl RenderError {
    /// The error's number on the wire.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoGroup { .. } => ErrorCode::NotFound,
            Self::Syntax { .. } | Self::Missing { .. } | Self::Failed { .. } | Self::Unsupported => {
                ErrorCode::InvalidRequest
            }
            Self::TooLarge => ErrorCode::LimitExceeded,
            Self::Storage(_) => ErrorCode::StorageFailed,
        }
    }
}

/// A group's keys and values.
type Entries = Vec<(Arc<str>, Value)>;

/// Renders a template with what `read` finds in a group.
#[cfg(feature = "render")]
pub(super) fn render(
    template: &str,
    group: &str,
    read: impl FnOnce() -> Result<Entries, StorageError>,
) -> Result<String, RenderError> {
    let entries = read()?;
    if entries.is_empty() {
        return Err(RenderError::NoGroup { group: group.into() });
    }
    engine::render(template, entries)
}

/// Says that there are no templates here.
#[cfg(not(feature = "render"))]
pub(super) fn render(
    _template: &str,
    _group: &str,
    _read: impl FnOnce() -> Result<Entries, StorageError>,
) -> Result<String, RenderError> {
    Err(RenderError::Unsupported)
}

#[cfg(feature = "render")]
mod engine {
    use alloc::{
        borrow::ToOwned,
        collections::BTreeMap,
        format,
        string::{String, ToString},
        vec::Vec,
    };
    use std::io;

    use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Item};
    use rmp::Marker;

    use super::{Arc, Entries, MAX_VALUE_BYTES, RenderError};
    use crate::protocol::{DecodeError, Reader};

    /// Steps that a template may take: a page of text takes some hundreds, a second some millions.
    const STEPS: u64 = 200_000;

    /// The name of all values together, for keys that are no names of variables.
    const ALL: &str = "kv";

    pub(super) fn render(template: &str, entries: Entries) -> Result<String, RenderError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_debug(true);
        environment.set_fuel(Some(STEPS));
        let compiled = environment.template_from_str(template).map_err(|error| told(template, &error))?;
        let mut result = Limited(Vec::new());
        match compiled.render_captured_to(variables(entries), &mut result) {
            Ok(_) => {}
            Err(_) if result.is_full() => return Err(RenderError::TooLarge),
            Err(error) => return Err(told(template, &error)),
        }
        // The engine writes text only.
        Ok(String::from_utf8_lossy(&result.0).into_owned())
    }

    /// Each key as a variable, and all of them under one name, unless a key has it.
    fn variables(entries: Entries) -> Item {
        let items = entries.into_iter().map(|(key, value)| {
            // Only checked values are stored.
            let item = item(&mut Reader::new(&value)).unwrap_or(Item::UNDEFINED);
            (key, item)
        });
        let mut items: BTreeMap<Arc<str>, Item> = items.collect();
        if !items.contains_key(ALL) {
            let all = Item::from_pairs(items.iter().map(|(key, item)| (key, item.clone())));
            items.insert(ALL.into(), all);
        }
        Item::from_pairs(items)
    }

    fn item(reader: &mut Reader<'_>) -> Result<Item, DecodeError> {
        Ok(match Marker::from_u8(reader.marker()?) {
            Marker::Null => {
                reader.optional(Reader::bool)?;
                Item::from(())
            }
            Marker::True | Marker::False => Item::from(reader.bool()?),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => Item::from(reader.str()?),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Item::from_bytes(reader.bin()?.to_vec()),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let items: Result<Vec<Item>, _> = (0..reader.array()?).map(|_| item(reader)).collect();
                Item::from(items?)
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                let entries = (0..reader.map()?).map(|_| Ok((reader.str()?, item(reader)?)));
                Item::from_pairs(entries.collect::<Result<Vec<_>, DecodeError>>()?)
            }
            Marker::F32 | Marker::F64 => Item::from(reader.float()?),
            Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
                Item::from(reader.i64()?)
            }
            _ => Item::from(reader.u64()?),
        })
    }

    fn told(template: &str, error: &Error) -> RenderError {
        let line = error.line().unwrap_or(1);
        let detail = || error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        match error.kind() {
            ErrorKind::SyntaxError => RenderError::Syntax { line, detail: detail() },
            ErrorKind::UndefinedError => {
                // The engine names it where it can, else shows where it stands.
                let named = error.detail().and_then(|detail| detail.strip_suffix(" is undefined"));
                let name = named.map(|name| name.trim_matches('`'));
                let name = name.or_else(|| template.get(error.range()?));
                RenderError::Missing { name: name.unwrap_or_default().to_owned(), line }
            }
            ErrorKind::OutOfFuel => {
                RenderError::Failed { line, detail: format!("it takes more than {STEPS} steps") }
            }
            _ => RenderError::Failed { line, detail: detail() },
        }
    }

    /// Text up to the size of a value; refuses more.
    struct Limited(Vec<u8>);

    impl Limited {
        /// Whether more was written than there is room for.
        fn is_full(&self) -> bool {
            self.0.len() > MAX_VALUE_BYTES
        }
    }

    impl io::Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = (MAX_VALUE_BYTES + 1).saturating_sub(self.0.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(room);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
