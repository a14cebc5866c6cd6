//! One client with its application: what it does, what it is shown, and what must hold after every step.

use std::collections::BTreeMap;

use tidewire::{
    client::{Change, Client, Output, SlotId},
    protocol::{
        ClientMessage, EncodedValue, Epoch, Reader, RequestId, ServerMessage, SubscriptionId, Timestamp,
        Writer,
    },
    replica::{Status, Verdict},
    session::{Generation, Phase as SessionPhase},
};

use super::{
    mix::Phase,
    oracle::{Name, OBJECTS, Oracle, PRIMARY, ROWS, STORES, Shot, Table, is_bad},
};
use crate::{
    random::Random,
    rig::{Fault, Summary},
};

/// How long a refetch may be unanswered before the next one, in milliseconds: the replica's deadline.
const ATTEMPT_MILLIS: u64 = 10_000;
/// How long a write may be under way, in milliseconds: the client's deadline, ...
const WRITE_MILLIS: u64 = 30_000;
/// ... and how much longer while a link lives that may be carrying it (H5): the longest silence after which a link is none (H1), and a
/// look at it.
const CARRIED_MILLIS: u64 = WRITE_MILLIS + 250_000 + 5_000;
/// More than the longest way there and back over a link that nothing happens to.
const ROUND_TRIP_MILLIS: u64 = 6_000;
/// The longest that a client may wait for anything: a backoff, and what a closing server asked for.
const WAIT_MILLIS: u64 = 32_000;
/// Most replicas of a client.
pub(super) const MAX_SLOTS: usize = 5;
/// The code of a write whose outcome nobody knows.
const UNKNOWN: u16 = u16::MAX;
/// `request_expired`: it may have run.
const EXPIRED: u16 = 6;

/// A page that is gone is one that never wakes.
const NEVER: u64 = u64::MAX;

/// A replica, and what was last seen of it.
#[derive(Debug)]
struct View {
    slot: SlotId,
    name: Name,
    is_gated: bool,
    /// How manieth epoch, and the sequence.
    position: Option<(u64, u64)>,
    has_rolled_back: bool,
    is_denied: bool,
    /// The end of the last tail it was sent, and its epoch. A tail names each record once, at its last change: on the
    /// way there, a record that changes again is not what it was.
    tail: Option<(Epoch, u64)>,
    /// The refetch that the server has not answered, and since when.
    asked: Option<(u32, Timestamp)>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client: Client,
    pub(super) number: usize,
    /// The present link.
    pub(super) link: Option<(Generation, usize)>,
    pub(super) wakes: Option<u64>,
    /// Whether nothing has happened to the present link.
    pub(super) is_link_sound: bool,
    /// Since when it is live, and awake.
    live_since: Option<Timestamp>,
    views: Vec<View>,
    /// Those that have not ended, and since when.
    writes: BTreeMap<RequestId, Timestamp>,
    changes: Vec<Change>,
}

impl Peer {
    pub(super) fn new(number: usize, seed: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = u8::try_from(number).unwrap_or(0);
        Self {
            client: Client::new(bytes, None),
            number,
            link: None,
            wakes: None,
            is_link_sound: true,
            live_since: None,
            views: Vec::new(),
            writes: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Something happens to a link.
    pub(super) fn trouble_link(&mut self, number: usize) {
        self.is_link_sound &= self.link.is_none_or(|(_, present)| present != number);
    }

    pub(super) fn wake_up(&mut self, now: Timestamp) {
        self.wakes = None;
        self.live_since = self.live_since.map(|_| now);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.wakes == Some(NEVER)
    }

    /// The page goes; gives what its client still asks of the host. Its writes end now, whatever became of them.
    pub(super) fn leave(&mut self, now: Timestamp, oracle: &mut Oracle) -> Result<Vec<Output>, Fault> {
        self.client.close(now);
        let outputs = std::iter::from_fn(|| self.client.poll_output()).collect();
        let mut changes = Vec::new();
        self.client.poll_changes(&mut changes);
        for change in changes {
            self.hear(now, change, oracle)?;
        }
        if !self.writes.is_empty() {
            return Err(format!("closed, and the writes {:?} have not ended", self.writes));
        }
        self.wakes = Some(NEVER);
        Ok(outputs)
    }

    pub(super) fn phase(&self) -> Phase {
        if self.wakes.is_some() {
            return Phase::Asleep;
        }
        match self.client.phase() {
            SessionPhase::Idle | SessionPhase::Connecting => Phase::Connecting,
            SessionPhase::Reconnecting { .. } | SessionPhase::Closed => Phase::Waiting,
            SessionPhase::Live if self.views.iter().any(|view| !self.client.is_ready(view.slot)) => {
                Phase::Empty
            }
            SessionPhase::Live
                if self.views.iter().any(|view| self.client.status(view.slot) != Status::Ok) =>
            {
                Phase::Behind
            }
            SessionPhase::Live if !self.writes.is_empty() => Phase::Writing,
            SessionPhase::Live => Phase::Live,
        }
    }

    // ---- what the application does

    pub(super) fn subscribe(&mut self, random: &mut Random) -> Result<(), Fault> {
        if self.views.len() >= MAX_SLOTS {
            return Ok(());
        }
        let is_gated = random.below(2) == 0;
        let (name, slot) = if random.below(2) == 0 {
            let key = pick(random, &OBJECTS);
            (key, self.client.subscribe_object(key, is_gated))
        } else {
            let (id, is_permanent) = pick(random, &STORES);
            let open = (random.below(8) > 0).then_some(is_permanent);
            (id, self.client.subscribe_datastore(id, open, PRIMARY, is_gated))
        };
        let slot = slot.map_err(|error| error.to_string())?;
        self.views.push(View {
            slot,
            name,
            is_gated,
            position: None,
            has_rolled_back: false,
            is_denied: false,
            tail: None,
            asked: None,
        });
        Ok(())
    }

    pub(super) fn release(&mut self, random: &mut Random) {
        if !self.views.is_empty() {
            let view = self.views.swap_remove(index(random, self.views.len()));
            self.client.release(view.slot);
        }
    }

    /// What an application does whose subscription was denied: it tries again.
    pub(super) fn resubscribe_denied(&mut self, random: &mut Random) -> Result<(), Fault> {
        let denied = self.views.iter().filter(|view| view.is_denied).count();
        for view in self.views.extract_if(.., |view| view.is_denied) {
            self.client.release(view.slot);
        }
        (0..denied).try_for_each(|_| self.subscribe(random))
    }

    pub(super) fn write(
        &mut self,
        now: Timestamp,
        random: &mut Random,
        number: u64,
        is_poison: bool,
        filler: usize,
    ) -> Result<(), Fault> {
        let (row, key) = (pick(random, &ROWS), pick(random, &OBJECTS));
        let (id, _) = pick(random, &STORES);
        let is_nameless = random.below(24) == 0;
        let bytes = value(if is_nameless { None } else { Some(row) }, number, is_poison, filler);
        let value = EncodedValue::check(&bytes).map_err(|error| error.to_string())?;
        let request = match random.below(8) {
            0 | 1 => self.client.put(now, key, value),
            2 => self.client.delete(now, key),
            3 => self.client.remove(now, id, row),
            _ => self.client.set(now, id, value),
        };
        self.writes.insert(request.map_err(|error| error.to_string())?, now);
        Ok(())
    }

    // ---- what it is told

    /// Drains the client; gives what the host has to do.
    pub(super) fn drain(&mut self, now: Timestamp, oracle: &mut Oracle) -> Result<Vec<Output>, Fault> {
        let mut outputs = Vec::new();
        loop {
            let before = outputs.len();
            outputs.extend(std::iter::from_fn(|| self.client.poll_output()));
            let mut changes = std::mem::take(&mut self.changes);
            self.client.poll_changes(&mut changes);
            for change in &changes {
                self.hear(now, *change, oracle)?;
            }
            let is_quiet = changes.is_empty() && outputs.len() == before;
            self.changes = changes;
            if is_quiet {
                break;
            }
        }
        for output in &outputs {
            if let Output::Transmit(_, frame) = output {
                self.check_requests(now, frame)?;
            }
        }
        self.check_waits(now)?;
        self.check(oracle)?;
        Ok(outputs)
    }

    fn hear(&mut self, now: Timestamp, change: Change, oracle: &mut Oracle) -> Result<(), Fault> {
        match change {
            Change::Judge { cell, ticket, .. } => {
                let is_refused = self.client.value(cell).is_some_and(|value| is_bad(value.as_bytes()));
                let verdict = if is_refused { Verdict::Refused } else { Verdict::Accepted };
                self.client.judged(now, ticket, verdict);
            }
            Change::Settled { request, code } => {
                if self.writes.remove(&request).is_none() {
                    return Err(format!("the write {request} ended twice"));
                }
                match code {
                    0 => oracle.acknowledged((self.number, request))?,
                    UNKNOWN if self.has_sound_link(now) => {
                        return Err(format!("the write {request} was never answered, over a sound link"));
                    }
                    UNKNOWN | EXPIRED => {}
                    code => {
                        if self.client.settlement(request).is_none() {
                            return Err(format!("the write {request} was refused without a reason"));
                        }
                        oracle.declined((self.number, request), code)?;
                    }
                }
            }
            Change::RolledBack { slot } => {
                if let Some(view) = self.view(slot) {
                    view.has_rolled_back = true;
                    view.asked = None;
                }
            }
            Change::Denied { slot } => {
                if let Some(view) = self.view(slot) {
                    view.is_denied = true;
                }
            }
            Change::Link => {
                let is_live = self.client.phase() == SessionPhase::Live;
                self.live_since = is_live.then_some(now);
                for view in &mut self.views {
                    view.asked = None;
                }
            }
            Change::Value { .. }
            | Change::Table { .. }
            | Change::Row { .. }
            | Change::Gone { .. }
            | Change::Meta { .. }
            | Change::Install { .. }
            | Change::Discard { .. }
            | Change::Refetch { .. }
            | Change::JudgeOwn { .. }
            | Change::Abort { .. }
            | Change::Quarantined { .. }
            // Nothing here asks, nor follows what has no history.
            | Change::Answered { .. }
            | Change::Fed { .. }
            | Change::Freed { .. } => {}
        }
        Ok(())
    }

    /// Whether whatever was asked must have been answered by now.
    fn has_sound_link(&self, now: Timestamp) -> bool {
        let is_long = |since: Timestamp| now.since(since).as_millis() > u128::from(ROUND_TRIP_MILLIS);
        self.is_link_sound
            && self.client.phase() == SessionPhase::Live
            && self.live_since.is_some_and(is_long)
    }

    fn view(&mut self, slot: SlotId) -> Option<&mut View> {
        self.views.iter_mut().find(|view| view.slot == slot)
    }

    /// Notes the server's answers to refetches.
    pub(super) fn note_answers(&mut self, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        while !reader.is_empty() {
            match ServerMessage::decode(&mut reader) {
                Ok(
                    ServerMessage::Answer { subscription, attempt, .. }
                    | ServerMessage::Denied { subscription, attempt, .. },
                ) => {
                    if let Some(view) = self.view(SlotId::from_number(subscription))
                        && view.asked.is_some_and(|(asked, _)| asked == attempt || attempt == 0)
                    {
                        view.asked = None;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// The server has sent a tail that leads at most to `end`.
    pub(super) fn note_tail(&mut self, subscription: SubscriptionId, epoch: Epoch, oracle: &Oracle) {
        if let Some(view) = self.view(SlotId::from_number(subscription)) {
            view.tail = oracle.committed_head(view.name).map(|head| (epoch, head));
        }
    }

    // ---- what must hold

    /// At most one refetch of a replica is in flight.
    fn check_requests(&mut self, now: Timestamp, frame: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(frame);
        while !reader.is_empty() {
            let message = ClientMessage::decode(&mut reader).map_err(|error| error.to_string())?;
            if let ClientMessage::Refetch { subscription, attempt, .. } = message
                && let Some(view) = self.view(SlotId::from_number(subscription))
            {
                if let Some((other, since)) = view.asked
                    && now.since(since).as_millis() < u128::from(ATTEMPT_MILLIS)
                {
                    return Err(format!("{}: attempt {attempt} while {other} is in flight", view.name));
                }
                view.asked = Some((attempt, now));
            }
        }
        Ok(())
    }

    /// Nobody waits for ever, for anything.
    fn check_waits(&self, now: Timestamp) -> Result<(), Fault> {
        let phase = self.client.phase();
        if phase == SessionPhase::Closed {
            return Err(format!("ended for good: {}", self.client.reason()));
        }
        let due = self.client.poll_timeout();
        let is_silent = due.is_none_or(|due| due.since(now).as_millis() > u128::from(WAIT_MILLIS));
        if phase != SessionPhase::Idle && is_silent {
            return Err(format!("silent for ever: {phase:?}, until {due:?}"));
        }
        let limit = if phase == SessionPhase::Live { CARRIED_MILLIS } else { WRITE_MILLIS };
        let is_overdue = |made: &Timestamp| now.since(*made).as_millis() > u128::from(limit);
        match self.writes.iter().find(|(_, made)| is_overdue(made)) {
            // Its timer is due right now, if the client has slept.
            Some((request, _)) if due.is_none_or(|due| due > now) => {
                Err(format!("the write {request} never ends"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What is shown must have been there, wherever the client is drained.
    fn check(&mut self, oracle: &Oracle) -> Result<(), Fault> {
        for view in &mut self.views {
            let sequence = self.client.sequence(view.slot);
            let (Some(sequence), Some(epoch)) = (sequence, self.client.epoch(view.slot)) else {
                if view.position.is_some() && !view.has_rolled_back {
                    return Err(format!("{}: lost its position", view.name));
                }
                view.position = None;
                continue;
            };
            let epoch: Epoch = epoch.parse().map_err(|error| format!("{}: {error}", view.name))?;
            let (ordinal, shot) = oracle.shot(view.name, epoch, sequence)?;
            if let Some((before, at)) = view.position
                && before < ordinal
                && oracle.kept(view.name, before).is_some_and(|kept| kept < at)
                && !view.has_rolled_back
            {
                return Err(format!("{}: a restored server took changes back, silently", view.name));
            }
            if let Some((before, at)) = view.position
                && (ordinal < before || ordinal == before && sequence < at)
                && !view.has_rolled_back
            {
                let name = view.name;
                return Err(format!("{name}: went back from {before}:{at} to {ordinal}:{sequence}"));
            }
            view.position = Some((ordinal, sequence));
            view.has_rolled_back = false;
            match shot {
                Shot::Object(value) => {
                    let shown = self.client.object(view.slot).and_then(|cell| self.client.value(cell));
                    if shown.map(EncodedValue::as_bytes) != value.as_deref() {
                        return Err(format!(
                            "{}: shows what was not there at {epoch:?} {sequence}",
                            view.name
                        ));
                    }
                }
                Shot::Table(table) => compare(&self.client, view, table, |key| {
                    view.tail.is_some_and(|(tail, end)| {
                        tail == epoch && oracle.has_changed(view.name, epoch, sequence..end, key)
                    })
                })
                .map_err(|fault| format!("{} at {epoch:?} {sequence}: {fault}", view.name))?,
            }
        }
        Ok(())
    }

    /// Whether all is as the server has it, once the faults have stopped.
    pub(super) fn judge(&self, server: Timestamp, oracle: &Oracle) -> Result<(), Fault> {
        if self.client.phase() != SessionPhase::Live {
            return Err(format!("not live: {:?}, {}", self.client.phase(), self.client.reason()));
        }
        if !self.writes.is_empty() {
            return Err(format!("the writes {:?} never ended", self.writes));
        }
        for view in &self.views {
            let Some((epoch, head)) = oracle.head(server, view.name) else { continue };
            let at = self.client.sequence(view.slot);
            let is_refused = match oracle.shot(view.name, epoch, head)?.1 {
                Shot::Object(value) => view.is_gated && value.as_deref().is_some_and(is_bad),
                Shot::Table(_) => false,
            };
            if is_refused {
                continue;
            }
            let status = self.client.status(view.slot);
            let is_there = self.client.epoch(view.slot) == Some(&*epoch.text()) && at == Some(head);
            if !is_there || status != Status::Ok || view.is_denied {
                return Err(format!(
                    "{} at {:?} {at:?}, {status:?}, denied {:?}, the server at {epoch:?} {head}",
                    view.name,
                    self.client.epoch(view.slot),
                    self.client.denial(view.slot),
                ));
            }
            if self.client.denial(view.slot).is_some() {
                return Err(format!("{} is live, and still says why it was denied", view.name));
            }
        }
        Ok(())
    }

    /// Adds what its replicas did to the summary.
    pub(super) fn sum(&self, summary: &mut Summary) {
        for view in &self.views {
            let stats = self.client.stats(view.slot);
            summary.applied += stats.applied;
            summary.refetches += stats.refetches;
        }
    }
}

/// A row whose present value the gate refuses may show any older one, or none.
fn compare(
    client: &Client,
    view: &View,
    table: &Table,
    changes_again: impl Fn(Name) -> bool,
) -> Result<(), Fault> {
    let mut shown = 0;
    for key in ROWS {
        let cell = client.row(view.slot, key);
        let ours = cell.and_then(|cell| client.value(cell)).map(EncodedValue::as_bytes);
        let theirs = table.get(key).map(|value| &**value);
        shown += usize::from(ours.is_some());
        let is_refused = view.is_gated && theirs.is_some_and(is_bad);
        if ours != theirs && !is_refused && !changes_again(key) {
            let of = cell.map(|cell| client.cell_sequence(cell));
            let (has, had) = (ours.is_some(), theirs.is_some());
            return Err(format!("{key} is not what it was (shown {has} of {of:?}, there {had})"));
        }
    }
    if shown == client.row_count(view.slot) { Ok(()) } else { Err("rows are shown that nobody wrote".into()) }
}

fn value(row: Option<Name>, number: u64, is_bad: bool, filler: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(1 + usize::from(row.is_some()) + usize::from(is_bad) + usize::from(filler > 0));
    if let Some(row) = row {
        writer.str(PRIMARY);
        writer.str(row);
    }
    if is_bad {
        writer.str("bad");
        writer.str("yes");
    }
    writer.str("number");
    writer.u64(number);
    if filler > 0 {
        writer.str("filler");
        writer.str(&"~".repeat(filler));
    }
    writer.into_bytes()
}

pub(super) fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).unwrap_or(0)
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[index(random, from.len())]
}
