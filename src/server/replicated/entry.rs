//! What goes through the log: an input as its node took it in, with everything decided that the node alone can decide.
//!
//! Permission, gate and schema version are the node's verdict, since they rest on tokens and settings that the others
//! need not have; what rests on the state is decided where the entry is applied, the same everywhere. Entries travel
//! between servers of one version, so they carry no optional fields for later ones.

use alloc::vec::Vec;

use crate::{
    protocol::{ClientMessage, DecodeError, EncodedValue, Operation, Position, Reader, RequestId, Writer},
    server::Condition,
};

/// What the node says to a write before the log has ordered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It may run; what it writes is stamped with this schema version.
    Permitted { version: Option<&'a str> },
    /// It may not, unless it ran before: then it is answered as it was.
    Refused { code: u16, message: &'a str },
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A client said hello on a connection. Every connection of it that greeted before is over.
    Greeted { connection: u64, client: &'a str },
    /// A client's write.
    Write {
        connection: u64,
        client: &'a str,
        user: &'a str,
        verdict: Verdict<'a>,
        request: RequestId,
        operation: Operation<'a>,
    },
    /// A datastore is to exist.
    OpenDatastore { id: &'a str, is_permanent: bool, primary: &'a str },
    /// A pool is to exist.
    OpenPool { id: &'a str, presence: bool },
    /// A client has its user's notifications.
    Delivered { user: &'a str, traces: Vec<&'a str> },
    /// A connection is gone.
    Departed { connection: u64 },
    /// A write that came without a connection.
    Call {
        number: u64,
        key: &'a str,
        version: Option<&'a str>,
        value: Option<EncodedValue<'a>>,
        condition: Condition,
    },
    /// The first value of an object, as a node's resolver computed it.
    Resolved { key: &'a str, version: Option<&'a str>, value: EncodedValue<'a> },
}

impl<'a> Entry<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match *self {
            Self::Greeted { connection, client } => {
                writer.u64(0);
                writer.u64(connection);
                writer.str(client);
            }
            Self::Write { connection, client, user, ref verdict, request, ref operation } => {
                writer.u64(1);
                writer.u64(connection);
                writer.str(client);
                writer.str(user);
                match *verdict {
                    Verdict::Permitted { version } => {
                        writer.bool(true);
                        writer.optional(version, Writer::str);
                    }
                    Verdict::Refused { code, message } => {
                        writer.bool(false);
                        writer.u64(code.into());
                        writer.str(message);
                    }
                }
                ClientMessage::Write { request, operation: operation.clone() }.encode(&mut writer);
            }
            Self::OpenDatastore { id, is_permanent, primary } => {
                writer.u64(2);
                writer.str(id);
                writer.bool(is_permanent);
                writer.str(primary);
            }
            Self::OpenPool { id, presence } => {
                writer.u64(3);
                writer.str(id);
                writer.bool(presence);
            }
            Self::Delivered { user, ref traces } => {
                writer.u64(4);
                writer.str(user);
                writer.array(traces.len());
                for trace in traces {
                    writer.str(trace);
                }
            }
            Self::Departed { connection } => {
                writer.u64(5);
                writer.u64(connection);
            }
            Self::Call { number, key, version, value, condition } => {
                writer.u64(6);
                writer.u64(number);
                writer.str(key);
                writer.optional(version, Writer::str);
                // A value may be nil, so its absence needs a mark of its own.
                writer.bool(value.is_some());
                if let Some(value) = value {
                    writer.value(value);
                }
                write_condition(&mut writer, condition);
            }
            Self::Resolved { key, version, value } => {
                writer.u64(7);
                writer.str(key);
                writer.optional(version, Writer::str);
                writer.value(value);
            }
        }
        writer.into_bytes()
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u64()? {
            0 => Self::Greeted { connection: reader.u64()?, client: reader.str()? },
            1 => {
                let (connection, client, user) = (reader.u64()?, reader.str()?, reader.str()?);
                let verdict = if reader.bool()? {
                    Verdict::Permitted { version: reader.optional(Reader::str)? }
                } else {
                    let code = reader.u64()?;
                    let code = u16::try_from(code).map_err(|_| DecodeError::UnknownKind(code))?;
                    Verdict::Refused { code, message: reader.str()? }
                };
                let ClientMessage::Write { request, operation } = ClientMessage::decode(reader)? else {
                    return Err(DecodeError::UnknownKind(1));
                };
                Self::Write { connection, client, user, verdict, request, operation }
            }
            2 => Self::OpenDatastore {
                id: reader.str()?,
                is_permanent: reader.bool()?,
                primary: reader.str()?,
            },
            3 => Self::OpenPool { id: reader.str()?, presence: reader.bool()? },
            4 => {
                let user = reader.str()?;
                let count = reader.array()?;
                let traces = (0..count).map(|_| reader.str()).collect::<Result<_, _>>()?;
                Self::Delivered { user, traces }
            }
            5 => Self::Departed { connection: reader.u64()? },
            6 => {
                let (number, key) = (reader.u64()?, reader.str()?);
                let version = reader.optional(Reader::str)?;
                let value = if reader.bool()? { Some(reader.value()?) } else { None };
                Self::Call { number, key, version, value, condition: read_condition(reader)? }
            }
            7 => Self::Resolved {
                key: reader.str()?,
                version: reader.optional(Reader::str)?,
                value: reader.value()?,
            },
            other => return Err(DecodeError::UnknownKind(other)),
        })
    }
}

fn write_condition(writer: &mut Writer, condition: Condition) {
    match condition {
        Condition::Always => writer.u64(0),
        Condition::At(position) => {
            writer.u64(1);
            writer.bin(position.epoch.as_bytes());
            writer.u64(position.sequence.get());
        }
        Condition::Absent => writer.u64(2),
    }
}

fn read_condition(reader: &mut Reader<'_>) -> Result<Condition, DecodeError> {
    Ok(match reader.u64()? {
        0 => Condition::Always,
        1 => Condition::At(Position { epoch: reader.epoch()?, sequence: reader.sequence()? }),
        2 => Condition::Absent,
        other => return Err(DecodeError::UnknownKind(other)),
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::protocol::{Epoch, Sequence};

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let value = EncodedValue::NIL;
        let position = Position { epoch: Epoch::from_bytes([3; 16]), sequence: Sequence::MAX };
        let operation = Operation::Set { datastore: "todos", value };
        let write = |verdict| Entry::Write {
            connection: 1,
            client: "1:ux",
            user: "u",
            verdict,
            request: 9,
            operation: operation.clone(),
        };
        let call = |value, condition| Entry::Call { number: 4, key: "k", version: None, value, condition };
        for entry in [
            Entry::Greeted { connection: 1, client: "c" },
            write(Verdict::Permitted { version: Some("1.0") }),
            write(Verdict::Refused { code: 3, message: "no" }),
            Entry::OpenDatastore { id: "d", is_permanent: true, primary: "" },
            Entry::OpenPool { id: "p", presence: true },
            Entry::Delivered { user: "u", traces: vec!["a", "b"] },
            Entry::Departed { connection: u64::MAX },
            call(Some(value), Condition::At(position)),
            call(None, Condition::Absent),
            call(None, Condition::Always),
            Entry::Resolved { key: "k", version: Some("2.1"), value },
        ] {
            let bytes = entry.encode();
            let mut reader = Reader::new(&bytes);
            assert_eq!(Entry::decode(&mut reader), Ok(entry));
            assert!(reader.is_empty());
        }
    }
}
