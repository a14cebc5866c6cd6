//! What all members know of each other, from the log alone.
//!
//! [`State`] is kept in the database, in the transaction of what the log did up to there. It decides whether a record
//! counts, the same on every node that has read the same: who is a member, whose record is a repetition, who has been
//! silent for too long. Time is that of the log's messages.

use std::{collections::VecDeque, time::Duration};

use tidewire::{
    protocol::{DecodeError, Epoch, Reader, Timestamp, Writer},
    server::Origin,
};

use super::record::{MemberId, Seen, array, fold, read_seen, write_seen};

/// How long a member may be silent while others write: five of its signs of life.
pub(super) const LEASE: Duration = Duration::from_secs(10);

/// How often a member gives a sign of life.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// How much of a pause between two records counts as silence: while the log is out of reach, nobody can be heard, and
/// nobody is taken for dead.
const LONGEST_PAUSE: Duration = BEAT;

/// A step of the log's time that is no passing of time, and how long nobody's silence is trusted after it.
const LEAP: Duration = Duration::from_secs(24 * 60 * 60);
const SPARE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Of how many former members it is remembered that they were some: records of theirs may be on their way for as long as a
/// server of the log is paused.
const KEPT_FORMER: usize = 64;

/// Of how many records the digests are remembered: more than can be under way at a time.
const KEPT_DIGESTS: usize = 1_024;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) origin: Origin,
    pub(super) name: String,
    /// How many of its records count.
    number: u64,
    /// When it was last heard, in milliseconds of listening.
    heard: u64,
}

/// What is known at a position of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Which log; `None`: none yet.
    pub(super) generation: Option<Epoch>,
    pub(super) seen: Seen,
    /// A number made of the bytes of the last record: another log has another one at this position.
    pub(super) mark: u64,
    /// The log's time. It never goes back.
    pub(super) clock: Timestamp,
    /// Milliseconds for which the log has been listened to, pauses not counted in full.
    listened: u64,
    /// Until when nobody's silence is trusted.
    spare_until: Timestamp,
    last_origin: u32,
    pub(super) members: Vec<Member>,
    /// The last who were members and are none any more, the newest last: none of them joins again.
    former: VecDeque<MemberId>,
    /// The newest digests, up to the present one. Not kept.
    digests: VecDeque<Seen>,
}

/// How the log's time went on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) before: Timestamp,
    pub(super) has_leapt: bool,
}

impl State {
    /// Of a database that was never part of a cluster, as the base of a log to come.
    pub(super) fn based(generation: Epoch, seen: Seen) -> Self {
        Self { generation: Some(generation), seen, ..Self::default() }
    }

    /// At the beginning of a log.
    pub(super) fn founded(generation: Epoch, seen: Seen, mark: u64, clock: Timestamp, before: Self) -> Self {
        // Members of the log before go when they are not heard in this one.
        Self { generation: Some(generation), seen, mark, clock: clock.max(before.clock), ..before }
    }

    /// Moves the time on to that of a record.
    pub(super) fn tick(&mut self, at: Timestamp) -> Tick {
        let before = self.clock;
        let pause = at.since(before);
        self.clock = before.max(at);
        self.listened += u64::try_from(pause.min(LONGEST_PAUSE).as_millis()).unwrap_or_default();
        if pause > LEAP && before != Timestamp::default() {
            self.spare_until = self.clock + SPARE;
        }
        Tick { before, has_leapt: self.clock < self.spare_until }
    }

    /// Makes a node a member. One of the same name is returned; it is none any more. A record that comes again, however late,
    /// changes nothing: it must not take the place of who has followed.
    pub(super) fn join(&mut self, id: MemberId, name: &str) -> Option<Member> {
        if self.member(id).is_some() || self.former.contains(&id) {
            return None;
        }
        let former = self.members.iter().position(|member| member.name == name);
        let former = former.map(|index| self.members.remove(index));
        self.retire(former.iter());
        self.last_origin += 1;
        let origin = Origin(self.last_origin);
        self.members.push(Member { id, origin, name: name.to_owned(), number: 0, heard: self.listened });
        former
    }

    /// Counts a record of a member: its origin, or `None` if the record does not count.
    pub(super) fn admit(&mut self, id: MemberId, number: u64) -> Option<Origin> {
        let listened = self.listened;
        let member = self.members.iter_mut().find(|member| member.id == id)?;
        if number != member.number + 1 {
            return None;
        }
        member.number = number;
        member.heard = listened;
        Some(member.origin)
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, id: MemberId) -> Option<Member> {
        let index = self.members.iter().position(|member| member.id == id)?;
        let member = self.members.remove(index);
        self.retire([&member]);
        Some(member)
    }

    fn retire<'a>(&mut self, members: impl IntoIterator<Item = &'a Member>) {
        self.former.extend(members.into_iter().map(|member| member.id));
        let over = self.former.len().saturating_sub(KEPT_FORMER);
        self.former.drain(..over);
    }

    /// Takes those out who have been silent for too long.
    pub(super) fn expire(&mut self) -> Vec<Member> {
        let limit = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let listened = self.listened;
        let silent: Vec<_> = self.members.extract_if(.., |member| listened - member.heard > limit).collect();
        self.retire(&silent);
        silent
    }

    pub(super) fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Ends a record: it was at this position, had these bytes, and came to this.
    pub(super) fn advance(&mut self, position: u64, mark: u64, came_to: u64) {
        let digest = fold(self.seen.digest, &came_to.to_be_bytes());
        self.seen = Seen { position, digest };
        self.mark = mark;
        self.digests.push_back(self.seen);
        if self.digests.len() > KEPT_DIGESTS {
            self.digests.pop_front();
        }
    }

    /// Whether what another member made of the log is what this one did, as far as that is remembered.
    pub(super) fn agrees(&self, other: Seen) -> bool {
        if other.position > self.seen.position {
            return false;
        }
        let known = self.digests.binary_search_by_key(&other.position, |seen| seen.position);
        known.map_or(true, |index| self.digests[index].digest == other.digest)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.optional(self.generation, |writer, generation| writer.bin(generation.as_bytes()));
        write_seen(&mut writer, self.seen);
        for number in [
            self.mark,
            self.clock.as_millis(),
            self.listened,
            self.spare_until.as_millis(),
            self.last_origin.into(),
        ] {
            writer.u64(number);
        }
        writer.array(self.members.len());
        for Member { id, origin, name, number, heard } in &self.members {
            writer.bin(id);
            writer.u64(origin.0.into());
            writer.str(name);
            writer.u64(*number);
            writer.u64(*heard);
        }
        writer.array(self.former.len());
        for id in &self.former {
            writer.bin(id);
        }
        writer.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let generation = reader.optional(Reader::epoch)?;
        let (seen, mark) = (read_seen(reader)?, reader.u64()?);
        let clock = Timestamp::from_millis(reader.u64()?);
        let listened = reader.u64()?;
        let spare_until = Timestamp::from_millis(reader.u64()?);
        let last_origin = reader.u32()?;
        let count = reader.array()?;
        let mut member = || {
            Ok(Member {
                id: array(reader)?,
                origin: Origin(reader.u32()?),
                name: reader.str()?.to_owned(),
                number: reader.u64()?,
                heard: reader.u64()?,
            })
        };
        let members = (0..count).map(|_| member()).collect::<Result<_, DecodeError>>()?;
        // A database of an earlier version has none.
        let count = if reader.is_empty() { 0 } else { reader.array()? };
        let former = (0..count).map(|_| array(reader)).collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            generation,
            seen,
            mark,
            clock,
            listened,
            spare_until,
            last_origin,
            members,
            former,
            digests: VecDeque::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: MemberId = [1; 16];
    const OTHER: MemberId = [2; 16];

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn a_record_counts_once_and_in_order() {
        let mut state = State::default();
        assert_eq!(state.admit(ONE, 1), None, "nobody has joined");
        state.join(ONE, "one");
        assert_eq!(state.admit(ONE, 2), None, "the first one is missing");
        assert_eq!(state.admit(ONE, 1), Some(Origin(1)));
        assert_eq!(state.admit(ONE, 1), None, "it came twice");
        assert_eq!(state.admit(ONE, 2), Some(Origin(1)));
    }

    #[test]
    fn who_joins_again_takes_the_place_of_its_former_self() {
        let mut state = State::default();
        assert_eq!(state.join(ONE, "one"), None);
        assert_eq!(state.join(ONE, "one"), None, "the same record twice");
        let former = state.join(OTHER, "one").unwrap();
        assert_eq!((former.id, former.origin), (ONE, Origin(1)));
        assert_eq!(state.admit(ONE, 1), None);
        assert_eq!(state.admit(OTHER, 1), Some(Origin(2)));
    }

    #[test]
    fn a_joining_that_comes_again_after_its_member_was_replaced_or_expelled_changes_nothing() {
        let mut state = State::default();
        state.join(ONE, "one");
        state.join(OTHER, "one");
        assert_eq!(state.join(ONE, "one"), None, "a copy of it was on its way for long");
        assert_eq!(state.members.iter().map(|member| member.id).collect::<Vec<_>>(), [OTHER]);
        state.remove(OTHER);
        let mut state = State::decode(&state.encode()).unwrap();
        assert_eq!(state.join(OTHER, "one"), None);
        assert_eq!(state.members, [], "remembered over a restart");
        for number in 0..100 {
            state.join([number; 16], "one");
        }
        assert_eq!(state.former.len(), KEPT_FORMER);
    }

    #[test]
    fn who_is_silent_while_others_write_is_out_and_who_cannot_be_heard_is_not() {
        let mut state = State::default();
        state.tick(at(0));
        state.join(ONE, "one");
        state.join(OTHER, "other");
        // Nobody could write for an hour.
        state.tick(at(3_600_000));
        assert_eq!(state.expire(), []);
        for number in 1..=5 {
            state.tick(at(3_600_000 + number * 2_000));
            assert_eq!(state.admit(OTHER, number), Some(Origin(2)));
        }
        let out = state.expire();
        assert_eq!(out.iter().map(|member| member.id).collect::<Vec<_>>(), [ONE]);
        assert_eq!(state.members.len(), 1);
    }

    #[test]
    fn the_time_of_the_log_never_goes_back() {
        let mut state = State::default();
        state.tick(at(5_000));
        let tick = state.tick(at(1_000));
        assert_eq!((tick.before, state.clock), (at(5_000), at(5_000)));
        assert!(state.tick(at(5_000 + 2 * 24 * 60 * 60 * 1_000)).has_leapt);
    }

    #[test]
    fn members_that_made_different_things_of_the_log_do_not_agree() {
        let mut state = State::default();
        for position in 1..=3 {
            state.advance(position, 0, position * 10);
        }
        assert!(state.agrees(state.seen));
        assert!(!state.agrees(Seen { position: 2, digest: 1 }));
        assert!(!state.agrees(Seen { position: 4, digest: 1 }), "ahead of the record that says so");
        // Forgotten, or never known.
        assert!(state.agrees(Seen { position: 0, digest: 1 }));
    }

    #[test]
    fn the_state_is_read_as_it_was_written() {
        let mut state = State { generation: Some(Epoch::from_bytes([7; 16])), ..State::default() };
        state.tick(at(1));
        state.join(ONE, "one");
        state.admit(ONE, 1);
        state.join(OTHER, "other");
        state.remove(OTHER);
        state.advance(12, 5, 6);
        state.digests.clear();
        assert_eq!(State::decode(&state.encode()), Ok(state));
    }
}
