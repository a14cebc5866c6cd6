//! The way in: a frame's messages, each to its replica; then what the replica wants done with the values.

use alloc::{borrow::ToOwned, boxed::Box, vec::Vec};
use core::time::Duration;

use super::{
    Change, Client, HostTicket, Pending,
    cells::{Cell, CellId, Cells},
    collection::{Diff, Page, PagePlace, Staging},
    slot::{About, Collection, SlotId, Tail},
    writes::Outcome,
};
use crate::{
    protocol::{
        Announced, Answer, ClientMessage, EncodedValue, Epoch, ErrorCode, Heard, Lineage, Position, Reader,
        RequestId, Row, Sequence, ServerMessage, Timestamp, TopicId,
    },
    replica::{self, Compact, Effect, EpochId, Header, Offer, Place, Source, Token, Verdict},
    session::{Generation, Phase},
    value::advance,
};

/// An envelope of an object or a record, `None` for a deletion.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) header: Header,
    pub(super) key: Option<&'a str>,
    pub(super) value: Option<EncodedValue<'a>>,
}

/// A page of a datastore's snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) source: Source,
    pub(super) header: Header,
    pub(super) rows: &'a [Row<'a>],
    pub(super) next: Option<&'a str>,
    pub(super) attempt: u32,
}

impl Client {
    /// A frame of the server came in on `link`. Bytes that are no protocol end the link.
    pub fn handle_frame(&mut self, now: Timestamp, link: Generation, frame: &[u8]) {
        if !self.session.is_current(link) {
            return;
        }
        self.session.handle_heard(now);
        let mut reader = Reader::new(frame);
        // An empty frame is none of the protocol either, so the first message is read in any case.
        loop {
            let start = reader.offset();
            if self.advance(now, &mut reader) {
                if reader.is_empty() {
                    break;
                }
                continue;
            }
            match Heard::decode(&mut reader) {
                Ok(Heard::Message(message)) => self.receive(now, message),
                Ok(heard) => self.hear(&heard, &frame[start..reader.offset()]),
                Err(_) => {
                    self.session.reject(now, "the server sent a frame that is no protocol");
                    break;
                }
            }
            if reader.is_empty() {
                break;
            }
        }
        self.settle_session(now);
    }

    fn receive(&mut self, now: Timestamp, message: ServerMessage<'_>) {
        match message {
            ServerMessage::Envelope { topic, sequence, prev, version, key, value } => {
                let Some(epoch) = self.topics.get(topic).map(|topic| topic.epoch) else { return };
                let header = self.header(epoch, sequence, prev, version);
                let envelope = Envelope { header, key, value };
                self.for_followers(topic, |client, slot| {
                    client.receive_value(now, slot, Source::Receipt, envelope, &[]);
                    client.advance_tail(now, slot, epoch, sequence.get());
                });
            }
            ServerMessage::Answer { subscription, attempt, topic, epoch, answer } => {
                self.session.handle_useful();
                self.receive_answer(now, SlotId::from_number(subscription), attempt, topic, epoch, answer);
            }
            ServerMessage::Denied { subscription, attempt, code, message } => {
                self.receive_denied(now, SlotId::from_number(subscription), attempt, code, message);
            }
            ServerMessage::Beacon { number, heads } => {
                let session = self.session_number;
                for (topic, head) in heads {
                    let Some(epoch) = self.topics.get(topic).map(|topic| topic.epoch) else { continue };
                    self.for_followers(topic, |client, slot| {
                        client.with_replica(now, slot, |replica| {
                            replica.handle_beacon(now, session, number, epoch, head.get());
                        });
                        if let Some(entry) = client.slots.get_mut(slot.number()) {
                            entry.rest();
                        }
                    });
                }
            }
            ServerMessage::Ack { request, position, result } => {
                self.receive_ack(now, request, position, result);
            }
            ServerMessage::Refusal { request, code, message } => {
                self.session.handle_useful();
                self.writes.note_answer(now);
                if self.writes.stage(request).is_some() {
                    self.settle(request, Outcome::Refused { code, message: message.to_owned() });
                }
            }
            ServerMessage::Welcome { session, heartbeat } => {
                let heartbeat = Duration::from_millis(u64::from(heartbeat.max(1)));
                if self.session.handle_welcome(now, heartbeat) {
                    self.session_number = session;
                    self.phase = Phase::Live;
                    self.changes.push(Change::Link);
                    self.resume(now);
                }
            }
            ServerMessage::Pong => self.session.handle_pong(),
            // Handed on as they came: see `feeds.rs`.
            ServerMessage::Result { .. }
            | ServerMessage::Following { .. }
            | ServerMessage::Notification { .. }
            | ServerMessage::Reply { .. }
            | ServerMessage::Event { .. }
            | ServerMessage::Dropped { .. }
            | ServerMessage::Relayed(_) => {}
            ServerMessage::Renew { .. } => self.session.handle_renew(),
            ServerMessage::Goodbye { retry_after, .. } => {
                self.session
                    .handle_goodbye(retry_after.map(|millis| Duration::from_millis(u64::from(millis))));
            }
        }
    }

    fn receive_denied(&mut self, now: Timestamp, slot: SlotId, attempt: u32, code: u16, message: &str) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        if let About::Collection(collection) = &mut entry.about {
            collection.asked.retain(|asked| asked.attempt != attempt);
        }
        if attempt > 0 {
            self.with_replica(now, slot, |replica| replica.handle_failure(now, attempt));
        } else if ErrorCode::is_retryable_number(code) {
            // The subscription is over through no fault of its own: a new session subscribes again, after a backoff.
            self.session.reject(now, message);
        } else {
            entry.aside().denial = Some(message.into());
            self.changes.push(Change::Denied { slot });
        }
    }

    /// Does something for every replica that follows a topic.
    fn for_followers(&mut self, topic: TopicId, mut each: impl FnMut(&mut Self, SlotId)) {
        let mut index = 0;
        while let Some(slot) = self.topics.get(topic).and_then(|topic| topic.follower(index)) {
            each(self, slot);
            index += 1;
        }
    }

    pub(super) fn header(
        &mut self,
        epoch: EpochId,
        sequence: Sequence,
        prev: Option<Sequence>,
        version: Option<&str>,
    ) -> Header {
        let version =
            version.map(|text| self.versions.number(text)).map(|id| self.version(id)).unwrap_or_default();
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
        let entry = self.slots.get_mut(slot.number()).filter(|entry| entry.is_replica());
        let Some(entry) = entry else { return };
        if let Some(aside) = entry.aside_mut() {
            aside.denial = None;
        }
        let position = entry.replica.position();
        if let Some(before) = entry.topic.replace(topic).filter(|before| *before != topic) {
            self.topics.leave(before, slot);
        }
        let epoch = EpochId(self.epochs.number(&epoch.text()));
        self.topics.follow(topic, epoch, slot);
        let source = if attempt == 0 { Source::Hydration } else { Source::Refetch { attempt } };
        let session = self.session_number;
        self.with_replica(now, slot, |replica| replica.handle_session(now, session, Some(epoch)));
        match answer {
            Answer::Current => {
                let head = position.map_or(0, |mark| mark.sequence);
                self.with_replica(now, slot, |replica| replica.handle_current(now, attempt, epoch, head));
            }
            Answer::Tail { count } => {
                if let Some(entry) = self.slots.get_mut(slot.number()) {
                    entry.aside().tail = Some(Tail { attempt, left: count });
                }
            }
            Answer::Snapshot { sequence, version, value, lineage } => {
                let header = self.header(epoch, sequence, None, version);
                let lineage = self.lineage(&lineage);
                let envelope = Envelope { header, key: None, value: Some(value) };
                self.receive_value(now, slot, source, envelope, &lineage);
            }
            Answer::Absent { sequence } if sequence > Sequence::ZERO => {
                let header = self.header(epoch, sequence, None, None);
                let envelope = Envelope { header, key: None, value: None };
                self.receive_value(now, slot, source, envelope, &[]);
            }
            Answer::Absent { .. } => {
                self.with_replica(now, slot, |replica| replica.handle_null(now, attempt));
            }
            Answer::Page { sequence, rows, next, lineage } => {
                let header = self.header(epoch, sequence, None, None);
                let lineage = self.lineage(&lineage);
                let page = Incoming { source, header, rows: &rows, next, attempt };
                self.receive_page(now, slot, &page, &lineage);
            }
        }
        if let Some(entry) = self.slots.get_mut(slot.number()) {
            entry.rest();
        }
    }

    fn lineage(&mut self, lineage: &Lineage) -> Vec<(EpochId, u64)> {
        let entries = lineage.entries().iter();
        entries
            .map(|entry| (EpochId(self.epochs.number(&entry.epoch.text())), entry.sequence.get()))
            .collect()
    }

    /// An announced tail answers its attempt with its last envelope.
    fn advance_tail(&mut self, now: Timestamp, slot: SlotId, epoch: EpochId, sequence: u64) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        let Some(Tail { attempt, left }) = entry.tail() else { return };
        let left = left.saturating_sub(1);
        entry.aside().tail = (left > 0).then_some(Tail { attempt, left });
        if left == 0 {
            self.with_replica(now, slot, |replica| replica.handle_current(now, attempt, epoch, sequence));
        }
    }

    fn receive_ack(
        &mut self,
        now: Timestamp,
        request: RequestId,
        position: Option<Position>,
        result: Option<EncodedValue<'_>>,
    ) {
        self.session.handle_useful();
        self.writes.note_answer(now);
        if self.writes.stage(request).is_none() {
            return;
        }
        // The one result that there is: the trace of a notification.
        if let Some(trace) = result.and_then(|result| Reader::new(result.as_bytes()).str().ok()) {
            self.settlements.push((request, trace.to_owned()));
        }
        match position {
            Some(position) => {
                self.writes.acknowledge(request, position);
                self.settle_acknowledged();
                self.send_writes();
            }
            None => self.settle(request, Outcome::Done),
        }
    }

    pub(super) fn receive_value(
        &mut self,
        now: Timestamp,
        slot: SlotId,
        source: Source,
        envelope: Envelope<'_>,
        lineage: &[(EpochId, u64)],
    ) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        if envelope.key.is_some() != matches!(entry.about, About::Collection(_)) {
            return;
        }
        let bytes: Box<[u8]> = envelope.value.map(|value| value.as_bytes().into()).unwrap_or_default();
        let weight = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let sequence = envelope.header.sequence;
        let cell = self.cells.put(Cell::new(bytes, envelope.key.map(Into::into), sequence, 0));
        let token = Token(cell.number());
        match entry.replica.offer(now, source, envelope.header, token, weight, lineage) {
            Offer::Drop(_) => self.cells.discard(cell),
            Offer::Judge(ticket) => {
                entry.aside().owned.push(cell);
                self.ask(now, slot, ticket, token);
            }
            Offer::Held | Offer::Settled => entry.aside().owned.push(cell),
            Offer::Installed { previous } => self.install(slot, token, previous, Place::Live),
        }
        self.settle_replica(now, slot);
    }

    /// The short way of the next value of an object or a row, with nothing else going on: it is read, judged and compared
    /// with what is shown in one go, and takes its place. Says whether that was possible; if not, nothing has happened.
    fn advance(&mut self, now: Timestamp, reader: &mut Reader<'_>) -> bool {
        let mut ahead = reader.clone();
        let Some(announced) = Announced::decode(&mut ahead) else { return false };
        let Some(topic) = self.topics.get(announced.topic) else { return false };
        let (Some(slot), None, epoch) = (topic.follower(0), topic.follower(1), topic.epoch) else {
            return false;
        };
        let Announced { sequence, prev, version, key, .. } = announced;
        let header = self.header(epoch, sequence, prev, version);
        let Some(entry) = self.slots.get_mut(slot.number()) else { return false };
        if entry.tail().is_some() || !entry.replica.is_next(&header) {
            return false;
        }
        let is_gated = entry.is_gated();
        let shown = match (&mut entry.about, key) {
            (About::Object { shown, .. }, None) => shown.as_mut(),
            (About::Collection(collection), Some(key)) if collection.staging.is_none() => {
                collection.rows.get_mut(&self.cells, key)
            }
            _ => None,
        };
        let Some(shown) = shown else { return false };
        let before = *shown;
        let gate = entry.gate.filter(|_| is_gated).and_then(|gate| self.gates.get(gate));
        let sequence = header.sequence;
        // A row that is newer stays, wherever it comes from.
        let is_usual =
            |cell: &&Cell| cell.sequence <= sequence && (!is_gated || (gate.is_some() && cell.ticket == 0));
        let Some(old) = self.cells.get(before).filter(is_usual) else { return false };
        let is_held = old.is_held();
        let mut marks = self.cells.take_marks(before);
        let Some(old) = self.cells.get(before).and_then(Cell::value) else { return false };
        let start = self.notes.begin(self.list);
        let notes = is_held.then_some(&mut self.notes.edits);
        let Some(value) = advance(old, &mut ahead, gate, notes, marks.as_mut()) else {
            self.notes.edits.truncate(start);
            return false;
        };
        // Nobody hears of a value that another one followed before the list was read.
        let is_unheard = entry.told_in == self.list && self.cells.overwrite(before, value, sequence);
        if !is_unheard {
            let cell = self.cells.put(Cell::new(value.as_bytes().into(), key.map(Into::into), sequence, 0));
            *shown = cell;
            if is_held {
                self.notes.end(cell, before, sequence, start);
            }
            self.cells.retire(before);
            self.changes.push(match key {
                None => {
                    entry.told_in = self.list;
                    Change::Value { slot, cell: Some(cell), ticket: 0 }
                }
                Some(_) => Change::Row { slot, cell, previous: Some(before), ticket: 0 },
            });
            self.changes.push(Change::Meta { slot });
        }
        if let Some(marks) = marks {
            self.cells.keep_marks(*shown, marks.moved(value));
        }
        let token = Token(shown.number());
        entry.replica.receive(now, header, token, 0, || Verdict::Accepted);
        self.settle_acknowledged();
        *reader = ahead;
        true
    }

    // ---- what replicas want done

    /// Carries out what a replica asked for.
    pub(super) fn settle_replica(&mut self, now: Timestamp, slot: SlotId) {
        while let Some(effect) = self.replica_mut(slot).and_then(Compact::poll_effect) {
            match effect {
                Effect::Judge { ticket, token } => self.ask(now, slot, ticket, token),
                Effect::Install { token, previous, place } => {
                    self.disown(slot, token);
                    self.install(slot, token, previous, place);
                }
                Effect::Quarantine { token, previous, .. } => self.quarantine(slot, token, previous),
                Effect::Discard { token } => {
                    self.disown(slot, token);
                    self.forget(slot, token);
                }
                Effect::Refetch { attempt, position, .. } => self.refetch(now, slot, attempt, position),
                Effect::Abort { attempt } => {
                    if self.is_own(slot) {
                        self.changes.push(Change::Abort { slot, attempt });
                    }
                }
                Effect::Stage => self.stage(slot),
                Effect::Page { token } => self.fold_page(slot, token),
                Effect::Swap => {
                    if let Some(staging) = self.staging(slot) {
                        staging.is_swapping = true;
                    }
                    self.swap(slot);
                }
                Effect::Unstage => self.unstage(slot),
                Effect::Rollback { .. } => self.changes.push(Change::RolledBack { slot }),
                Effect::Ready => {}
            }
        }
        self.set_timer(slot);
        self.rest(slot);
        if self.changes.last() != Some(&Change::Meta { slot }) {
            self.changes.push(Change::Meta { slot });
        }
        self.settle_acknowledged();
    }

    /// Lets a replica rest. Those that the host judges are not let before the next answer: of each value it is asked, and
    /// the question would wake them.
    fn rest(&mut self, slot: SlotId) {
        let entry = self.slots.get_mut(slot.number());
        if let Some(entry) =
            entry.filter(|entry| !entry.is_gated() || entry.gate.is_some() || !entry.is_remote())
        {
            entry.rest();
        }
    }

    /// Has the value judged, by the slot's gate or by the host; a deletion needs no verdict.
    fn ask(&mut self, now: Timestamp, slot: SlotId, ticket: replica::Ticket, token: Token) {
        let cell = CellId::from_number(token.0);
        let is_deletion = self.cells.get(cell).is_some_and(|cell| cell.value().is_none());
        if self.is_own(slot) {
            let ticket = self.owe(Pending::Value { slot, ticket, token });
            self.changes.push(Change::JudgeOwn { slot, token, ticket });
            return;
        }
        let verdict = if is_deletion { Some(Verdict::Accepted) } else { self.judge(slot, cell) };
        if let Some(verdict) = verdict {
            if let Some(replica) = self.replica_mut(slot) {
                replica.judged(now, ticket, verdict);
            }
        } else {
            let ticket = self.owe(Pending::Value { slot, ticket, token });
            self.changes.push(Change::Judge { slot, cell, ticket });
        }
    }

    fn disown(&mut self, slot: SlotId, token: Token) {
        if let Some(entry) = self.slots.get_mut(slot.number()) {
            entry.disown(CellId::from_number(token.0));
        }
    }

    /// A value that no replica needs any more.
    fn forget(&mut self, slot: SlotId, token: Token) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        match &mut entry.about {
            About::Own { judged } => {
                judged.retain(|(kept, _)| *kept != token);
                self.changes.push(Change::Discard { slot, token });
            }
            About::Object { .. } | About::Collection(_) | About::Feed(_) => {
                self.cells.retire(CellId::from_number(token.0));
            }
        }
    }

    /// A value is to be shown, or an operation to be folded in.
    pub(super) fn install(&mut self, slot: SlotId, token: Token, previous: Option<Token>, place: Place) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        let cell = CellId::from_number(token.0);
        match &mut entry.about {
            About::Object { shown, .. } => {
                let has_value = self.cells.get(cell).is_some_and(|cell| cell.value().is_some());
                *shown = has_value.then_some(cell);
                let ticket = self.cells.get(cell).map_or(0, |cell| cell.ticket);
                entry.told_in = self.list;
                self.changes.push(Change::Value { slot, cell: has_value.then_some(cell), ticket });
                if let Some(previous) = previous {
                    self.cells.retire(CellId::from_number(previous.0));
                }
            }
            About::Own { judged } => {
                let kept = judged.iter().position(|(kept, _)| *kept == token);
                let ticket = kept.map_or(0, |index| judged.swap_remove(index).1);
                self.changes.push(Change::Install { slot, token, ticket });
                if let Some(token) = previous {
                    self.changes.push(Change::Discard { slot, token });
                }
            }
            About::Collection(collection) => {
                let diff = fold_operation(collection, &mut self.cells, cell, place);
                self.announce(slot, diff);
            }
            About::Feed(_) => self.cells.retire(cell),
        }
    }

    /// A value was refused: an object's goes into the quarantine slot, a row's is forgotten and its last good stays.
    fn quarantine(&mut self, slot: SlotId, token: Token, previous: Option<Token>) {
        self.tell_quarantined(slot);
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        if matches!(entry.about, About::Collection(_)) {
            self.disown(slot, token);
            self.forget(slot, token);
        }
        if let Some(previous) = previous {
            self.disown(slot, previous);
            self.forget(slot, previous);
        }
    }

    fn tell_quarantined(&mut self, slot: SlotId) {
        let fault = self.slots.get_mut(slot.number()).and_then(|entry| entry.aside_mut()?.fault.take());
        let fault = self.gates.report(fault);
        self.changes.push(Change::Quarantined { slot, fault });
    }

    // ---- collections

    pub(super) fn collection(&mut self, slot: SlotId) -> Option<&mut Collection> {
        match &mut self.slots.get_mut(slot.number())?.about {
            About::Collection(collection) => Some(collection),
            About::Object { .. } | About::Feed(_) | About::Own { .. } => None,
        }
    }

    fn staging(&mut self, slot: SlotId) -> Option<&mut Staging> {
        self.collection(slot)?.staging.as_mut()
    }

    pub(super) fn receive_page(
        &mut self,
        now: Timestamp,
        slot: SlotId,
        page: &Incoming<'_>,
        lineage: &[(EpochId, u64)],
    ) {
        let Incoming { source, header, rows, next, attempt } = *page;
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        let About::Collection(collection) = &mut entry.about else { return };
        self.last_page = self.last_page.wrapping_add(1);
        let token = Token(self.last_page);
        let head = rows.iter().map(|row| row.sequence.get()).max().unwrap_or(0);
        let begin = PagePlace { attempt, epoch: header.epoch, sequence: header.sequence, number: 0 };
        let asked = collection.asked.iter().position(|asked| PagePlace { number: 0, ..*asked } == begin);
        let place = asked.map_or(begin, |index| collection.asked.remove(index));
        let page = replica::Page { token, number: place.number, head, is_last: next.is_none() };
        let cells = rows.iter().map(|row| {
            // Bytes that were accepted before need no second verdict.
            let shown = collection.rows.get(&self.cells, row.key).and_then(|shown| self.cells.get(shown));
            let ticket =
                shown.filter(|shown| *shown.bytes == *row.value.as_bytes()).map(|shown| shown.ticket);
            let bytes = row.value.as_bytes().into();
            let sequence = row.sequence.get();
            let ticket = ticket.unwrap_or(UNJUDGED);
            self.cells.put(Cell::new(bytes, Some(row.key.into()), sequence, ticket))
        });
        let rows = cells.collect();
        collection.pages.push((token, Page { rows, place, next: next.map(Into::into) }));
        if let Offer::Drop(_) = entry.replica.wake().offer_page(now, source, header, page, lineage)
            && let Some(page) = take_page(collection, token)
        {
            page.abandon(&mut self.cells);
        }
        self.settle_replica(now, slot);
    }

    fn stage(&mut self, slot: SlotId) {
        self.unstage(slot);
        if let Some(collection) = self.collection(slot) {
            collection.staging = Some(Staging::new(&collection.rows));
        }
    }

    fn unstage(&mut self, slot: SlotId) {
        if let Some(staging) = self.collection(slot).and_then(|collection| collection.staging.take()) {
            staging.abandon(&mut self.cells);
        }
    }

    /// A page is let in: asks for its rows' verdicts and for the next page.
    fn fold_page(&mut self, slot: SlotId, token: Token) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        let is_gated = entry.is_gated();
        let About::Collection(collection) = &mut entry.about else { return };
        let Some(page) = take_page(collection, token) else { return };
        let Some(staging) = &mut collection.staging else { return page.abandon(&mut self.cells) };
        let mut asked = Vec::new();
        for row in page.rows {
            let Some(cell) = self.cells.get_mut(row) else { continue };
            if cell.ticket == UNJUDGED {
                cell.ticket = 0;
                if is_gated {
                    asked.push(row);
                }
            }
            staging.fold(&mut self.cells, row);
        }
        let next = page.next.as_ref().map(|_| PagePlace { number: page.place.number + 1, ..page.place });
        collection.asked.extend(next);
        for cell in asked {
            match self.judge(slot, cell) {
                Some(Verdict::Accepted) => {}
                Some(Verdict::Refused) => self.refuse_row(slot, cell),
                None => {
                    if let Some(staging) = self.staging(slot) {
                        staging.unjudged += 1;
                    }
                    let ticket = self.owe(Pending::Row { slot, cell });
                    self.changes.push(Change::Judge { slot, cell, ticket });
                }
            }
        }
        if let Some(cursor) = &page.next {
            let attempt = page.place.attempt;
            self.send(&ClientMessage::Page { subscription: slot.number(), attempt, cursor });
        }
    }

    /// A row of a snapshot did not pass.
    fn refuse_row(&mut self, slot: SlotId, cell: CellId) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        let About::Collection(collection) = &mut entry.about else { return };
        let Some(staging) = &mut collection.staging else { return };
        staging.refuse(&mut self.cells, cell);
        entry.replica.wake().count_refused_row();
        self.tell_quarantined(slot);
    }

    /// Puts the staged rows in the place of the shown ones, once the last verdict is here.
    fn swap(&mut self, slot: SlotId) {
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        let About::Collection(collection) = &mut entry.about else { return };
        let Some(mut staging) =
            collection.staging.take_if(|staging| staging.is_swapping && staging.unjudged == 0)
        else {
            return;
        };
        let after = core::mem::take(&mut staging.after);
        let mut diff = collection.rows.replace(&mut self.cells, staging);
        diff.extend(after.into_iter().filter_map(|cell| collection.rows.show(&mut self.cells, cell)));
        self.announce(slot, diff);
    }

    fn announce(&mut self, slot: SlotId, diff: impl IntoIterator<Item = Diff>) {
        for diff in diff {
            self.changes.push(match diff {
                Diff::Shown { cell, previous } => {
                    let ticket = self.cells.get(cell).map_or(0, |cell| cell.ticket);
                    Change::Row { slot, cell, previous, ticket }
                }
                Diff::Gone(cell) => Change::Gone { slot, cell },
                Diff::All => Change::Table { slot },
            });
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
            Pending::Value { slot, ticket, token } => {
                let Some(entry) = self.slots.get_mut(slot.number()) else { return };
                match &mut entry.about {
                    About::Own { judged } if verdict == Verdict::Accepted => {
                        judged.push((token, host_ticket));
                    }
                    About::Feed(_) | About::Own { .. } => {}
                    About::Object { .. } | About::Collection(_) => {
                        if let Some(cell) = self.cells.get_mut(CellId::from_number(token.0)) {
                            cell.ticket = host_ticket;
                        }
                    }
                }
                entry.replica.judged(now, ticket, verdict);
                self.settle_replica(now, slot);
            }
            Pending::Row { slot, cell } => {
                let Some(entry) = self.slots.get_mut(slot.number()) else { return };
                let About::Collection(collection) = &mut entry.about else { return };
                let Some(staging) = &mut collection.staging else { return };
                staging.unjudged = staging.unjudged.saturating_sub(1);
                match verdict {
                    Verdict::Accepted => {
                        if let Some(cell) = self.cells.get_mut(cell) {
                            cell.ticket = host_ticket;
                        }
                    }
                    Verdict::Refused => self.refuse_row(slot, cell),
                }
                self.swap(slot);
                self.changes.push(Change::Meta { slot });
            }
        }
    }
}

/// The ticket of a row that no gate has judged yet. Tickets that the client gives are below.
const UNJUDGED: HostTicket = HostTicket::MAX;

fn take_page(collection: &mut Collection, token: Token) -> Option<Page> {
    let index = collection.pages.iter().position(|(offered, _)| *offered == token)?;
    Some(collection.pages.swap_remove(index).1)
}

/// Folds an operation into the staged table, the shown one, or both. Returns what changed of the shown one.
fn fold_operation(
    collection: &mut Collection,
    cells: &mut Cells,
    cell: CellId,
    place: Place,
) -> Option<Diff> {
    match (&mut collection.staging, place) {
        (Some(staging), Place::Live) if staging.is_swapping => {
            staging.after.push(cell);
            None
        }
        (Some(staging), Place::Staging) => {
            staging.fold(cells, cell);
            None
        }
        (Some(staging), Place::Both) => {
            if let Some(copy) = cells.copy(cell) {
                staging.fold(cells, copy);
            }
            collection.rows.show(cells, cell)
        }
        (Some(_), Place::Live) | (None, _) => collection.rows.show(cells, cell),
    }
}
