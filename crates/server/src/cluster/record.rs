//! What one message of the log says.
//!
//! A record names its member and counts that member's records, so that a record which came twice, or after one that was
//! lost on the way, is known for what it is wherever the log is read. It also says how far its member had come and what
//! it had made of that: members that no longer agree find out.

use tidewire::protocol::{DecodeError, Epoch, Reader, Writer};

/// The version of records. A log holds those of one version only.
const FORMAT: u64 = 1;

/// A member, as it names itself: at random, anew at each start.
pub(super) type MemberId = [u8; 16];

/// How far a log was read, and what was made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The sequence of the last record, 0 before the first.
    pub(super) position: u64,
    /// A number that is the same wherever the same came of it.
    pub(super) digest: u64,
}

/// The state that a log goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// The log before.
    pub(super) generation: Epoch,
    /// How far that one was read.
    pub(super) seen: Seen,
}

/// What a record does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// A log begins here, from a state that every member has or gets.
    Found {
        /// The log, as its founder names it.
        generation: Epoch,
        /// Where the state comes from; `None`: it is empty.
        base: Option<Base>,
    },
    /// A node becomes a member. One of the same name is none any more.
    Join {
        /// The node.
        name: &'a str,
    },
    /// Entries, in order. Without any: the member is alive.
    Batch {
        /// Where their randomness comes from.
        seed: [u8; 32],
        /// Each as the server module wrote it.
        entries: Vec<&'a [u8]>,
    },
    /// The member is none any more.
    Leave,
}

/// One message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Whose it is.
    pub(super) member: MemberId,
    /// How many its member had written before it since it joined.
    pub(super) number: u64,
    /// How far its member had come.
    pub(super) seen: Seen,
    /// What it does.
    pub(super) body: Body<'a>,
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(FORMAT);
        writer.bin(&self.member);
        writer.u64(self.number);
        write_seen(&mut writer, self.seen);
        match &self.body {
            Body::Found { generation, base } => {
                writer.u64(0);
                writer.bin(generation.as_bytes());
                writer.optional(*base, |writer, base| {
                    writer.bin(base.generation.as_bytes());
                    write_seen(writer, base.seen);
                });
            }
            Body::Join { name } => {
                writer.u64(1);
                writer.str(name);
            }
            Body::Batch { seed, entries } => {
                writer.u64(2);
                writer.bin(seed);
                writer.array(entries.len());
                for entry in entries {
                    writer.bin(entry);
                }
            }
            Body::Leave => writer.u64(3),
        }
        writer.into_bytes()
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let format = reader.u64()?;
        if format != FORMAT {
            return Err(DecodeError::UnknownKind(format));
        }
        let (member, number, seen) = (array(reader)?, reader.u64()?, read_seen(reader)?);
        let body = match reader.u64()? {
            0 => Body::Found {
                generation: reader.epoch()?,
                base: reader
                    .optional(|reader| Ok(Base { generation: reader.epoch()?, seen: read_seen(reader)? }))?,
            },
            1 => Body::Join { name: reader.str()? },
            2 => {
                let seed = array(reader)?;
                let count = reader.array()?;
                let entries = (0..count).map(|_| reader.bin()).collect::<Result<_, _>>()?;
                Body::Batch { seed, entries }
            }
            3 => Body::Leave,
            other => return Err(DecodeError::UnknownKind(other)),
        };
        Ok(Self { member, number, seen, body })
    }
}

pub(super) fn write_seen(writer: &mut Writer, seen: Seen) {
    writer.u64(seen.position);
    writer.u64(seen.digest);
}

pub(super) fn read_seen(reader: &mut Reader<'_>) -> Result<Seen, DecodeError> {
    Ok(Seen { position: reader.u64()?, digest: reader.u64()? })
}

pub(super) fn array<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], DecodeError> {
    let bytes = reader.bin()?;
    bytes.try_into().map_err(|_| DecodeError::UnknownKind(bytes.len() as u64))
}

/// A number that differs where bytes do: FNV-1a, folded into one before it.
pub(super) fn fold(before: u64, bytes: &[u8]) -> u64 {
    let start = before ^ 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let seen = Seen { position: 7, digest: u64::MAX };
        let epoch = Epoch::from_bytes([1; 16]);
        for body in [
            Body::Found { generation: epoch, base: None },
            Body::Found { generation: epoch, base: Some(Base { generation: epoch, seen }) },
            Body::Join { name: "a" },
            Body::Batch { seed: [3; 32], entries: vec![b"one", b""] },
            Body::Leave,
        ] {
            let record = Record { member: [9; 16], number: 4, seen, body };
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let mut bytes =
            Record { member: [9; 16], number: 4, seen: Seen::default(), body: Body::Leave }.encode();
        bytes[0] = 2;
        assert_eq!(Record::decode(&bytes), Err(DecodeError::UnknownKind(2)));
    }
}
