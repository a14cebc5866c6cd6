//! A host for one reconciler: keeps the values that it names, runs the gate, and carries its effects out as words.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a step that is not as described fails the test")]

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tidewire::{
    protocol::Timestamp,
    replica::{
        Effect, EpochId, Header, Kind, Mark, Offer, OnGap, Options, Page, Place, Replica, Source, Status,
        Ticket, Token, Verdict, Version,
    },
};

/// One row of a table: sequence, value (`None`: deleted), whether the gate refuses it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) sequence: u64,
    pub(crate) value: Option<Value>,
    pub(crate) is_bad: bool,
}

/// What a token names.
#[derive(Debug, Clone)]
enum Kept {
    Value { value: Value, is_bad: bool, key: Option<String>, sequence: u64 },
    Page(Vec<(String, Row)>),
}

/// The machine, its host, and a clock.
pub(crate) struct Rig {
    pub(crate) replica: Replica,
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<String>,
    pub(crate) shown: Option<Value>,
    pub(crate) rows: BTreeMap<String, Row>,
    staging: Option<BTreeMap<String, Row>>,
    kept: BTreeMap<Token, Kept>,
    tokens: u32,
    /// The number of the next page, where a step does not say it.
    pages: u32,
    epochs: Vec<String>,
    pub(crate) in_flight: Option<u32>,
    pub(crate) last_offer: String,
    /// Steps to feed while the gate runs.
    during: Vec<Value>,
}

fn number(step: &Value, name: &str) -> Option<u64> {
    step.get(name).and_then(Value::as_u64)
}

impl Rig {
    pub(crate) fn new(options: &Value) -> Self {
        let flag = |name: &str, default: bool| options.get(name).and_then(Value::as_bool).unwrap_or(default);
        let millis =
            |name: &str, default: u64| Duration::from_millis(number(options, name).unwrap_or(default));
        let options = Options {
            kind: match options.get("kind").and_then(Value::as_str) {
                Some("collection") => Kind::Collection,
                _ => Kind::Object,
            },
            declared_major: number(options, "major").map(|major| u32::try_from(major).unwrap()),
            on_gap: match options.get("onGap").and_then(Value::as_str) {
                Some("commit") => OnGap::Commit,
                _ => OnGap::Refetch,
            },
            retry: flag("retry", true),
            has_refetch: flag("refetch", true),
            ordered_transport: flag("ordered", true),
            trusted: flag("trusted", false),
            attempt_deadline: millis("deadline", 10_000),
            beacon_period: millis("beaconPeriod", 10_000),
        };
        Self {
            replica: Replica::new(options, 1),
            now: Timestamp::from_millis(1_000_000),
            effects: Vec::new(),
            shown: None,
            rows: BTreeMap::new(),
            staging: None,
            kept: BTreeMap::new(),
            tokens: 0,
            pages: 0,
            epochs: Vec::new(),
            in_flight: None,
            last_offer: String::new(),
            during: Vec::new(),
        }
    }

    fn epoch(&mut self, name: Option<&str>) -> EpochId {
        let Some(name) = name else { return EpochId::NONE };
        let index = self.epochs.iter().position(|known| known == name).unwrap_or_else(|| {
            self.epochs.push(name.to_owned());
            self.epochs.len() - 1
        });
        EpochId(u32::try_from(index + 1).unwrap())
    }

    pub(crate) fn epoch_name(&self, epoch: EpochId) -> Option<&str> {
        let index = usize::try_from(epoch.0).unwrap().checked_sub(1)?;
        self.epochs.get(index).map(String::as_str)
    }

    fn mark(&self, mark: Mark) -> String {
        match self.epoch_name(mark.epoch) {
            Some(epoch) => format!("{epoch}:{}", mark.sequence),
            None => mark.sequence.to_string(),
        }
    }

    fn keep(&mut self, kept: Kept) -> Token {
        self.tokens += 1;
        self.kept.insert(Token(self.tokens), kept);
        Token(self.tokens)
    }

    fn header(&mut self, step: &Value) -> Header {
        let epoch = self.epoch(step.get("epoch").and_then(Value::as_str));
        let version = step.get("version").and_then(Value::as_str);
        let major = version.and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            minor.parse::<u32>().ok()?;
            major.parse().ok()
        });
        Header {
            epoch,
            // What is no integer in range is what the edge hands over as no sequence.
            sequence: number(step, "sequence").unwrap_or(Header::NO_SEQUENCE),
            prev: number(step, "prev"),
            version: Version { id: major.unwrap_or(0), major },
        }
    }

    fn lineage(&mut self, step: &Value) -> Vec<(EpochId, u64)> {
        let entries = step.get("lineage").and_then(Value::as_array).cloned().unwrap_or_default();
        entries.iter().map(|entry| (self.epoch(entry[0].as_str()), entry[1].as_u64().unwrap())).collect()
    }

    fn source(&self, name: &str, step: &Value) -> Source {
        match name {
            "receipt" => Source::Receipt,
            "seed" => Source::Hydration,
            _ => Source::Refetch { attempt: self.attempt(step) },
        }
    }

    fn attempt(&self, step: &Value) -> u32 {
        number(step, "attempt").map_or(self.in_flight.unwrap_or(0), |attempt| u32::try_from(attempt).unwrap())
    }

    /// Feeds one input; a question that it raises is answered, and all effects are carried out.
    pub(crate) fn step(&mut self, step: &Value) {
        self.effects.clear();
        self.last_offer.clear();
        self.during = step.get("during").and_then(Value::as_array).cloned().unwrap_or_default();
        let question = self.feed(step);
        self.settle(question);
    }

    fn feed(&mut self, step: &Value) -> Option<(Ticket, Token)> {
        let object = step.as_object().expect("a step is an object");
        let name = object
            .keys()
            .map(String::as_str)
            .find(|name| !["expect", "during", "note"].contains(name))
            .expect("a step names its input");
        let body = &step[name];
        let now = self.now;
        match name {
            "receipt" | "seed" | "answer" => {
                let header = self.header(body);
                let lineage = self.lineage(body);
                let source = self.source(name, body);
                let kept = Kept::Value {
                    value: body.get("value").cloned().unwrap_or(Value::Null),
                    is_bad: body.get("bad").and_then(Value::as_bool).unwrap_or(false),
                    key: body.get("key").and_then(Value::as_str).map(str::to_owned),
                    sequence: header.sequence,
                };
                let weight = number(body, "weight").map_or(0, |weight| u32::try_from(weight).unwrap());
                let token = self.keep(kept);
                if matches!(source, Source::Refetch { attempt } if self.in_flight == Some(attempt)) {
                    self.in_flight = None;
                }
                let offer = self.replica.offer(now, source, header, token, weight, &lineage);
                return self.take_offer(token, offer);
            }
            "page" => {
                let header = self.header(body);
                let lineage = self.lineage(body);
                let source = match body.get("hydration") {
                    Some(_) => Source::Hydration,
                    None => self.source("answer", body),
                };
                let rows: Vec<_> = body["rows"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| {
                        let row_value = Row {
                            sequence: row[0].as_u64().unwrap(),
                            value: Some(row[2].clone()),
                            is_bad: row.get(3).is_some(),
                        };
                        (row[1].as_str().unwrap().to_owned(), row_value)
                    })
                    .collect();
                let largest = rows.iter().map(|(_, row)| row.sequence).max().unwrap_or(0);
                let head = number(body, "head").unwrap_or(largest);
                let is_last = body.get("last").is_some();
                let token = self.keep(Kept::Page(rows));
                let number =
                    number(body, "number").map_or(self.pages, |number| u32::try_from(number).unwrap());
                self.pages = if is_last { 0 } else { number + 1 };
                let page = Page { token, number, head, is_last };
                let offer = self.replica.offer_page(now, source, header, page, &lineage);
                self.in_flight = self.in_flight.filter(|attempt| self.replica.attempt() == Some(*attempt));
                return self.take_offer(token, offer);
            }
            "receipts" => {
                for sequence in number(body, "from").unwrap()..=number(body, "to").unwrap() {
                    let mut one = body.clone();
                    one["sequence"] = sequence.into();
                    one["value"] = format!("v{sequence}").into();
                    let question = self.feed(&serde_json::json!({ "receipt": one }));
                    self.settle(question);
                }
            }
            "current" => {
                let (attempt, epoch) =
                    (self.attempt(body), self.epoch(body.get("epoch").and_then(Value::as_str)));
                self.end(attempt);
                self.replica.handle_current(now, attempt, epoch, number(body, "head").unwrap());
            }
            "null" => {
                let attempt = self.attempt(body);
                self.end(attempt);
                self.replica.handle_null(now, attempt);
            }
            "fail" => {
                let attempt = self.attempt(body);
                self.end(attempt);
                self.replica.handle_failure(now, attempt);
            }
            "beacon" => {
                let epoch = self.epoch(body.get("epoch").and_then(Value::as_str));
                let (session, n) = (number(body, "session").unwrap_or(1), number(body, "n").unwrap());
                self.replica.handle_beacon(now, session, n, epoch, number(body, "head").unwrap());
            }
            "session" => {
                let epoch = body.get("epoch").and_then(Value::as_str).map(|name| self.epoch(Some(name)));
                self.replica.handle_session(now, number(body, "session").unwrap(), epoch);
            }
            "timeout" => {
                if let Some(due) = self.replica.poll_timeout() {
                    self.now = self.now.max(due);
                    self.replica.handle_timeout(self.now);
                }
            }
            "advance" => self.advance(body.as_u64().unwrap()),
            "refresh" => self.replica.refresh(now),
            "dispose" => self.replica.dispose(),
            other => panic!("unknown step `{other}`"),
        }
        None
    }

    fn end(&mut self, attempt: u32) {
        if self.in_flight == Some(attempt) {
            self.in_flight = None;
        }
    }

    fn advance(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(due) = self.replica.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.replica.handle_timeout(self.now);
            self.settle(None);
        }
        self.now = until;
    }

    fn take_offer(&mut self, token: Token, offer: Offer) -> Option<(Ticket, Token)> {
        if self.last_offer.is_empty() {
            self.last_offer = match offer {
                Offer::Drop(reason) => format!("drop {reason:?}").to_lowercase(),
                Offer::Judge(_) => "judge".into(),
                Offer::Held => "held".into(),
                Offer::Settled => "settled".into(),
                Offer::Installed { .. } => "installed".into(),
            };
        }
        match offer {
            Offer::Judge(ticket) => return Some((ticket, token)),
            Offer::Drop(_) => {
                self.kept.remove(&token);
            }
            Offer::Held | Offer::Settled => {}
            Offer::Installed { previous } => {
                let line = format!("install {}", self.name(token));
                self.effects.push(line);
                self.install(token, previous, Place::Live);
            }
        }
        None
    }

    fn settle(&mut self, mut question: Option<(Ticket, Token)>) {
        loop {
            if let Some((ticket, token)) = question.take() {
                for step in std::mem::take(&mut self.during) {
                    assert_eq!(self.feed(&step), None, "one question at a time");
                }
                let verdict = match self.kept.get(&token) {
                    Some(Kept::Value { is_bad: false, .. }) => Verdict::Accepted,
                    _ => Verdict::Refused,
                };
                self.replica.judged(self.now, ticket, verdict);
            }
            let Some(effect) = self.replica.poll_effect() else { return };
            if let Effect::Judge { ticket, token } = effect {
                question = Some((ticket, token));
            }
            self.carry_out(effect);
        }
    }

    fn name(&self, token: Token) -> String {
        match &self.kept[&token] {
            Kept::Value { value: Value::String(text), .. } => text.clone(),
            Kept::Value { value, .. } => value.to_string(),
            Kept::Page(rows) => {
                let keys: Vec<_> = rows.iter().map(|(key, _)| key.as_str()).collect();
                format!("[{}]", keys.join(" "))
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let line = match effect {
            Effect::Judge { token, .. } => format!("judge {}", self.name(token)),
            Effect::Install { token, previous, place } => {
                let line = match (place, self.replica.options().kind) {
                    (Place::Live, _) | (_, Kind::Object) => format!("install {}", self.name(token)),
                    (Place::Staging, _) => format!("stage {}", self.name(token)),
                    (Place::Both, _) => format!("install and stage {}", self.name(token)),
                };
                self.install(token, previous, place);
                line
            }
            Effect::Quarantine { token, sequence, previous, .. } => {
                if let Some(previous) = previous {
                    self.kept.remove(&previous);
                }
                format!("quarantine {} at {sequence}", self.name(token))
            }
            Effect::Discard { token } => {
                let name = self.name(token);
                self.kept.remove(&token);
                format!("discard {name}")
            }
            Effect::Refetch { attempt, position, withhold } => {
                assert_eq!(self.in_flight.replace(attempt), None, "one request at a time");
                let at = position.map_or_else(|| "nothing".to_owned(), |mark| self.mark(mark));
                format!("refetch {attempt} at {at}{}", if withhold { ", withholding" } else { "" })
            }
            Effect::Abort { attempt } => {
                self.end(attempt);
                format!("abort {attempt}")
            }
            Effect::Stage => {
                self.staging = Some(BTreeMap::new());
                "begin staging".into()
            }
            Effect::Page { token } => {
                let line = format!("page {}", self.name(token));
                if let Some(Kept::Page(rows)) = self.kept.remove(&token) {
                    for (key, row) in rows {
                        self.fold_row(key, row);
                    }
                }
                line
            }
            Effect::Swap => {
                self.rows = self.staging.take().expect("a staging table to swap in");
                self.rows.retain(|_, row| row.value.is_some());
                "swap".into()
            }
            Effect::Unstage => {
                self.staging = None;
                self.pages = 0;
                "drop staging".into()
            }
            Effect::Rollback { from, kept } => format!("rollback from {} kept {kept}", self.mark(from)),
            Effect::Ready => "ready".into(),
        };
        self.effects.push(line);
    }

    fn install(&mut self, token: Token, previous: Option<Token>, place: Place) {
        let Kept::Value { value, key, sequence, is_bad } = self.kept[&token].clone() else {
            panic!("a page is no value")
        };
        assert!(!is_bad, "a refused value is shown");
        if self.replica.options().kind == Kind::Object {
            if let Some(previous) = previous {
                assert!(self.kept.remove(&previous).is_some(), "what was shown is given back once");
            }
            self.shown = Some(value);
            return;
        }
        self.kept.remove(&token);
        let key = key.expect("an operation names its row");
        let row = Row { sequence, value: (!value.is_null()).then_some(value), is_bad: false };
        if place != Place::Live {
            fold(self.staging.as_mut().expect("a staging table"), key.clone(), row.clone());
        }
        if place != Place::Staging {
            fold(&mut self.rows, key.clone(), row);
            self.rows.retain(|_, row| row.value.is_some());
        }
    }

    fn fold_row(&mut self, key: String, row: Row) {
        let row = if row.is_bad {
            self.replica.count_refused_row();
            // The last good value stays.
            match self.rows.get(&key) {
                Some(good) => Row { sequence: row.sequence, ..good.clone() },
                None => return,
            }
        } else {
            row
        };
        fold(self.staging.as_mut().expect("a staging table"), key, row);
    }

    pub(crate) fn status(&self) -> &'static str {
        match self.replica.status() {
            Status::Ok => "ok",
            Status::Stale => "stale",
            Status::Skew => "skew",
            Status::Refetching => "refetching",
        }
    }

    /// How many values the host keeps: each must be named by the machine.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }
}

/// Rule R16.5: by key and sequence, the newer wins, a deletion too.
fn fold(table: &mut BTreeMap<String, Row>, key: String, row: Row) {
    match table.get(&key) {
        Some(present) if present.sequence > row.sequence => {}
        _ => {
            table.insert(key, row);
        }
    }
}
