//! The way in: a frame's messages, each to its slot; then the verdicts of gates.

use std::time::Duration;

use super::{
    Change, Client, HostTicket, Pending,
    cells::{Cell, CellId},
    collection::{Diff, Staging, Waiting},
    slot::{Queued, Slot, SlotId},
    writes::{Outcome, Stage},
};
use crate::{
    protocol::{
        Answer, ClientMessage, EncodedValue, Epoch, Position, Reader, RequestId, Row, Sequence,
        ServerMessage, Timestamp, TopicId,
    },
    replica::{EpochId, Header, Offer, Source, Token, Verdict},
    session::{Generation, Phase},
};

/// An answer's place: which subscription, which attempt, which history.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: SlotId,
    attempt: u32,
    epoch: EpochId,
}

impl Place {
    const fn source(self) -> Source {
        if self.attempt == 0 { Source::Hydration } else { Source::Refetch { attempt: self.attempt } }
    }
}

impl Client {
    /// A frame of the server came in on `link`. Bytes that are no protocol end the link.
    pub fn handle_frame(&mut self, now: Timestamp, link: Generation, frame: &[u8]) {
        if !self.session.is_current(link) {
            return;
        }
        self.session.handle_heard(now);
        let mut reader = Reader::new(frame);
        while !reader.is_empty() {
            let Ok(message) = ServerMessage::decode(&mut reader) else {
                self.session.reject(now, "the server sent a frame that is no protocol");
                break;
            };
            self.receive(now, message);
        }
        self.settle_session(now);
    }

    fn receive(&mut self, now: Timestamp, message: ServerMessage<'_>) {
        match message {
            ServerMessage::Envelope { topic, sequence, prev, version, key, value } => {
                let Some((slot, epoch)) = self.topics.get(&topic).copied() else { return };
                let header = self.header(epoch, sequence, prev, version);
                match key {
                    None => self.receive_value(now, slot, Source::Receipt, header, value.map(copied)),
                    Some(key) => {
                        let change = Waiting { header, key: key.into(), value: value.map(copied) };
                        self.receive_change(now, slot, change);
                    }
                }
            }
            ServerMessage::Answer { subscription, attempt, topic, epoch, answer } => {
                self.session.handle_useful();
                self.receive_answer(now, SlotId::from_number(subscription), attempt, topic, epoch, answer);
            }
            ServerMessage::Denied { subscription, attempt, message, .. } => {
                let slot = SlotId::from_number(subscription);
                if let Some(entry) = self.slots.get_mut(slot.number()) {
                    entry.deny(message);
                    self.changes.push(Change::Denied { slot });
                    self.with_replica(now, slot, |replica| replica.handle_failure(now, attempt));
                }
            }
            ServerMessage::Beacon { heads, .. } => {
                for (topic, head) in heads {
                    if let Some((slot, epoch)) = self.topics.get(&topic).copied() {
                        self.with_replica(now, slot, |replica| replica.handle_beacon(now, epoch, head.get()));
                    }
                }
            }
            ServerMessage::Ack { request, position } => self.receive_ack(request, position),
            ServerMessage::Refusal { request, code, message } => {
                self.session.handle_useful();
                if self.writes.get_mut(request).is_some() {
                    self.settle(request, Outcome::Refused { code, message: message.to_owned() });
                }
            }
            ServerMessage::Welcome { heartbeat, .. } => {
                let heartbeat = Duration::from_millis(u64::from(heartbeat.max(1)));
                if self.session.handle_welcome(now, heartbeat) {
                    self.phase = Phase::Live;
                    self.changes.push(Change::Link);
                    self.resume();
                }
            }
            ServerMessage::Pong => {}
            ServerMessage::Goodbye { retry_after, .. } => {
                self.session
                    .handle_goodbye(retry_after.map(|millis| Duration::from_millis(u64::from(millis))));
            }
        }
    }

    fn header(
        &mut self,
        epoch: EpochId,
        sequence: Sequence,
        prev: Option<Sequence>,
        version: Option<&str>,
    ) -> Header {
        let version = version
            .map(|text| self.versions.number(text))
            .map_or_else(Default::default, |id| self.version(id));
        Header { epoch, sequence: sequence.get(), prev: prev.map(Sequence::get), version }
    }

    fn receive_answer(
        &mut self,
        now: Timestamp,
        slot: SlotId,
        attempt: u32,
        topic: TopicId,
        epoch: Epoch,
        answer: Answer<'_>,
    ) {
        if self.slots.get(slot.number()).is_none() {
            return;
        }
        let epoch = EpochId(self.epochs.number(&epoch.text()));
        self.topics.insert(topic, (slot, epoch));
        let place = Place { slot, attempt, epoch };
        match answer {
            // The envelopes of a tail follow as receipts; either way the attempt has its answer.
            Answer::Current | Answer::Tail { .. } => {
                self.with_replica(now, slot, |replica| replica.handle_current(attempt));
            }
            Answer::Snapshot { sequence, version, value, .. } => {
                let header = self.header(epoch, sequence, None, version);
                self.receive_value(now, slot, place.source(), header, Some(copied(value)));
            }
            Answer::Absent { sequence } if sequence > Sequence::ZERO => {
                let header = self.header(epoch, sequence, None, None);
                self.receive_value(now, slot, place.source(), header, None);
            }
            Answer::Absent { .. } => self.with_replica(now, slot, |replica| replica.handle_null(attempt)),
            Answer::Page { sequence, rows, next, .. } => self.receive_page(now, place, sequence, &rows, next),
        }
    }

    fn receive_ack(&mut self, request: RequestId, position: Option<Position>) {
        self.session.handle_useful();
        let Some(write) = self.writes.get_mut(request) else { return };
        match position {
            Some(position) => {
                write.stage = Stage::Acknowledged(position);
                self.settle_acknowledged();
            }
            None => self.settle(request, Outcome::Done),
        }
    }

    // ---- objects

    /// A value of an object, `None` for its deletion.
    fn receive_value(
        &mut self,
        now: Timestamp,
        slot: SlotId,
        source: Source,
        header: Header,
        value: Option<Box<[u8]>>,
    ) {
        let Some(Slot::Object(object)) = self.slots.get_mut(slot.number()) else { return };
        if object.is_judging {
            object.queue.push_back(Queued { source, header, value });
            return;
        }
        let is_gated = object.is_gated && value.is_some();
        let bytes = value.unwrap_or_default();
        let cell = self.cells.put(Cell { bytes, key: None, sequence: header.sequence, ticket: 0 });
        match object.replica.offer(now, source, header, Token(cell.number())) {
            Offer::Dropped => self.cells.discard(cell),
            Offer::Judge(ticket) if is_gated => {
                object.is_judging = true;
                let ticket = self.owe(Pending::Object { slot, ticket });
                self.changes.push(Change::Judge { slot, cell, ticket });
            }
            Offer::Judge(ticket) => object.replica.judged(now, ticket, Verdict::Accepted),
        }
        self.settle_replica(now, slot, 0);
    }

    /// The replica shows a value.
    pub(super) fn install(&mut self, slot: SlotId, token: Token, ticket: HostTicket) {
        match self.slots.get_mut(slot.number()) {
            Some(Slot::Object(object)) => {
                let cell = CellId::from_number(token.0);
                let shown = self.cells.get(cell).is_some_and(|cell| cell.value().is_some()).then_some(cell);
                if let Some(previous) = std::mem::replace(&mut object.value, shown) {
                    self.cells.retire(previous);
                }
                if shown.is_none() {
                    self.cells.discard(cell);
                }
                self.changes.push(Change::Value { slot, cell: shown, ticket });
            }
            Some(Slot::Own(_)) => self.changes.push(Change::Install { slot, token, ticket }),
            // A collection's rows are installed by the client itself; the replica only keeps order.
            Some(Slot::Collection(_)) | None => {}
        }
    }

    /// The replica does not want a value any more.
    pub(super) fn discard(&mut self, slot: SlotId, token: Token) {
        match self.slots.get(slot.number()) {
            Some(Slot::Object(_)) => self.cells.retire(CellId::from_number(token.0)),
            Some(Slot::Own(_)) => self.changes.push(Change::Discard { slot, token }),
            Some(Slot::Collection(_)) | None => {}
        }
    }

    // ---- collections

    /// A change of a record.
    fn receive_change(&mut self, now: Timestamp, slot: SlotId, change: Waiting) {
        let Some(Slot::Collection(collection)) = self.slots.get_mut(slot.number()) else { return };
        if let Some(staging) = &mut collection.staging {
            staging.waiting.push(change);
            return;
        }
        let is_gated = collection.is_gated;
        let Waiting { header, key, value } = change;
        if let Offer::Judge(ticket) = collection.replica.offer(now, Source::Receipt, header, Token(0)) {
            // Order is settled by the header alone: a bad row is quarantined and holds nothing up.
            collection.replica.judged(now, ticket, Verdict::Accepted);
            match value {
                None => {
                    let diff = collection.rows.remove(&mut self.cells, &key, header.sequence);
                    self.announce(slot, diff);
                }
                Some(bytes) => {
                    let cell =
                        self.cells.put(Cell { bytes, key: Some(key), sequence: header.sequence, ticket: 0 });
                    if is_gated {
                        let ticket = self.owe(Pending::Change { slot, cell });
                        self.changes.push(Change::Judge { slot, cell, ticket });
                    } else {
                        self.show_row(slot, cell);
                    }
                }
            }
        }
        self.settle_replica(now, slot, 0);
    }

    fn show_row(&mut self, slot: SlotId, cell: CellId) {
        if let Some(Slot::Collection(collection)) = self.slots.get_mut(slot.number()) {
            let diff = collection.rows.show(&mut self.cells, cell);
            self.announce(slot, diff);
        } else {
            self.cells.retire(cell);
        }
    }

    fn announce(&mut self, slot: SlotId, diff: impl IntoIterator<Item = Diff>) {
        for diff in diff {
            self.changes.push(match diff {
                Diff::Shown(cell) => {
                    let ticket = self.cells.get(cell).map_or(0, |cell| cell.ticket);
                    Change::Row { slot, cell, ticket }
                }
                Diff::Gone(cell) => Change::Gone { slot, cell },
            });
        }
    }

    fn receive_page(
        &mut self,
        now: Timestamp,
        place: Place,
        sequence: Sequence,
        rows: &[Row<'_>],
        next: Option<&str>,
    ) {
        let slot = place.slot;
        let Some(Slot::Collection(collection)) = self.slots.get_mut(slot.number()) else { return };
        let is_gated = collection.is_gated;
        let continues = collection.staging.as_ref().is_some_and(|staging| {
            staging.attempt == place.attempt
                && staging.epoch == place.epoch
                && staging.sequence == sequence.get()
        });
        if !continues {
            let mut staging = Staging::new(place.attempt, place.epoch, sequence.get(), &collection.rows);
            if let Some(mut dropped) = collection.staging.take() {
                // The live changes since are in order whichever snapshot they follow.
                staging.waiting = std::mem::take(&mut dropped.waiting);
                dropped.abandon(&mut self.cells);
            }
            collection.staging = Some(staging);
        }
        let Some(staging) = &mut collection.staging else { return };
        let mut asked = Vec::new();
        for row in rows {
            // Bytes that were accepted before need no second verdict.
            let accepted = collection
                .rows
                .get(row.key)
                .and_then(|shown| self.cells.get(shown))
                .filter(|shown| *shown.bytes == *row.value.as_bytes());
            let is_known = accepted.is_some();
            let ticket = accepted.map_or(0, |shown| shown.ticket);
            let cell = Cell {
                bytes: copied(row.value),
                key: Some(row.key.into()),
                sequence: row.sequence.get(),
                ticket,
            };
            let cell = staging.add(&mut self.cells, cell);
            if is_gated && !is_known {
                asked.push(cell);
            }
        }
        staging.unjudged += u32::try_from(asked.len()).unwrap_or(u32::MAX);
        staging.is_complete = next.is_none();
        for cell in asked {
            let ticket = self.owe(Pending::Staged { slot, cell, sequence: sequence.get() });
            self.changes.push(Change::Judge { slot, cell, ticket });
        }
        if let Some(cursor) = next {
            self.send(&ClientMessage::Page { subscription: slot.number(), attempt: place.attempt, cursor });
        }
        self.install_snapshot(now, slot);
    }

    /// Replaces the rows by the staged ones, once the last page and the last verdict are here.
    fn install_snapshot(&mut self, now: Timestamp, slot: SlotId) {
        let Some(Slot::Collection(collection)) = self.slots.get_mut(slot.number()) else { return };
        if !collection.staging.as_ref().is_some_and(|staging| staging.is_complete && staging.unjudged == 0) {
            return;
        }
        let Some(mut staging) = collection.staging.take() else { return };
        let place = Place { slot, attempt: staging.attempt, epoch: staging.epoch };
        let header = Header {
            epoch: staging.epoch,
            sequence: staging.sequence,
            prev: None,
            version: Default::default(),
        };
        let waiting = std::mem::take(&mut staging.waiting);
        match collection.replica.offer(now, place.source(), header, Token(0)) {
            Offer::Dropped => staging.abandon(&mut self.cells),
            Offer::Judge(ticket) => {
                collection.replica.judged(now, ticket, Verdict::Accepted);
                let diff = collection.rows.replace(&mut self.cells, staging);
                self.announce(slot, diff);
            }
        }
        self.settle_replica(now, slot, 0);
        for change in waiting {
            self.receive_change(now, slot, change);
        }
    }

    // ---- verdicts

    pub(super) fn receive_verdict(
        &mut self,
        now: Timestamp,
        host_ticket: HostTicket,
        pending: Pending,
        verdict: Verdict,
    ) {
        match pending {
            Pending::Own { slot, ticket } => {
                if let Some(replica) = self.replica_mut(slot) {
                    replica.judged(now, ticket, verdict);
                }
                self.settle_replica(now, slot, host_ticket);
            }
            Pending::Object { slot, ticket } => {
                let Some(Slot::Object(object)) = self.slots.get_mut(slot.number()) else { return };
                object.is_judging = false;
                object.replica.judged(now, ticket, verdict);
                self.settle_replica(now, slot, host_ticket);
                self.receive_queued(now, slot);
            }
            Pending::Change { slot, cell } => {
                if let Some(entry) = self.cells.get_mut(cell) {
                    entry.ticket = host_ticket;
                }
                match verdict {
                    Verdict::Accepted => self.show_row(slot, cell),
                    Verdict::Refused => self.cells.retire(cell),
                }
                self.changes.push(Change::Meta { slot });
            }
            Pending::Staged { slot, cell, sequence } => {
                let Some(Slot::Collection(collection)) = self.slots.get_mut(slot.number()) else { return };
                let Some(staging) =
                    collection.staging.as_mut().filter(|staging| staging.sequence == sequence)
                else {
                    return;
                };
                staging.unjudged = staging.unjudged.saturating_sub(1);
                match verdict {
                    Verdict::Accepted => {
                        if let Some(entry) = self.cells.get_mut(cell) {
                            entry.ticket = host_ticket;
                        }
                    }
                    Verdict::Refused => staging.refuse(&mut self.cells, cell),
                }
                self.install_snapshot(now, slot);
            }
        }
    }

    /// Takes up the inputs of an object that waited for a verdict.
    fn receive_queued(&mut self, now: Timestamp, slot: SlotId) {
        while let Some(Slot::Object(object)) = self.slots.get_mut(slot.number())
            && !object.is_judging
            && let Some(Queued { source, header, value }) = object.queue.pop_front()
        {
            self.receive_value(now, slot, source, header, value);
        }
    }
}

fn copied(value: EncodedValue<'_>) -> Box<[u8]> {
    value.as_bytes().into()
}
