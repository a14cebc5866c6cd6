//! A replica that keeps its values: the machine with a host for Rust applications.
//!
//! [`Typed`] owns what [`Replica`] only names. It asks the gate, holds values back, and hands on what concerns the
//! application and the link to the authority. It has no rule of its own. Objects only: a collection's rows are its
//! host's tables.

use alloc::{boxed::Box, collections::VecDeque, string::String, vec::Vec};
use core::fmt;

use crate::protocol::Timestamp;

use super::{
    Effect, EpochId, Header, Kind, Mark, Offer, Options, Reason, Replica, Source, Stats, Status, Ticket,
    Token, Verdict, epochs::Lineage,
};

/// What [`Typed`] asks about every value: the value to show, or why it is refused.
type Gate<T, V, E> = Box<dyn FnMut(&V) -> Result<T, E> + Send>;

/// The read-only copy of one key as a `T`.
///
/// `V` is a value as it arrives, `E` why the gate refuses one. What is shown is the gate's output.
///
/// Methods come in the four kinds of [`Replica`]. After each input or command, call [`poll_output`](Self::poll_output)
/// until it gives `None`; then set one timer for [`poll_timeout`](Self::poll_timeout). By then
/// [`get`](Self::get) and [`meta`](Self::meta) agree, whatever is left to poll. When the link is lost, fail the
/// attempt in flight; when a session begins, say so first ([`handle_session`](Self::handle_session)).
///
/// ```
/// use tidewire::{protocol::Timestamp, replica::{Header, Options, Output, Typed}};
///
/// let now = Timestamp::from_millis(0);
/// let gate = |text: &&str| text.parse::<u32>().map_err(|error| error.to_string());
/// let mut age: Typed<u32, &str> = Typed::new(Options::default(), 7, gate);
///
/// age.receive(now, Header::plain(1), "41", 0);
/// age.receive(now, Header::plain(2), "42", 0);
/// assert_eq!(age.get(), Some(&42));
///
/// // Sequence 3 is lost: 4 is held back, and the authority is asked.
/// age.receive(now, Header::plain(4), "44", 0);
/// assert_eq!(age.get(), Some(&42));
/// let Some(Output::Refetch { attempt, .. }) = std::iter::from_fn(|| age.poll_output()).last() else {
///     panic!("a gap asks");
/// };
/// age.handle_snapshot(now, attempt, Header::plain(3), "43", &[]);
/// assert_eq!(age.get(), Some(&44));
/// ```
pub struct Typed<T, V = Vec<u8>, E = String> {
    machine: Replica,
    gate: Gate<T, V, E>,
    kept: Kept<T, V, E>,
    shown: Option<Token>,
    outputs: VecDeque<Output>,
}

/// What the application, or its link, does about an input. In this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Another value is shown. Comes once, however many values applied since it was polled last.
    Changed,
    /// The first value is there.
    Ready,
    /// A value is in quarantine.
    Quarantined,
    /// The authority went back: it kept less than was shown.
    Rollback {
        /// Where the replica stood.
        from: Mark,
        /// The last sequence of that history which the authority vouches for.
        kept: u64,
    },
    /// Ask the authority. Answer with `handle_snapshot`, `handle_current`, `handle_null` or `handle_failure`.
    Refetch {
        /// The attempt's number; the answer carries it.
        attempt: u32,
        /// Where the replica stands; `None` asks for a snapshot.
        position: Option<Mark>,
    },
    /// Abort this attempt's request. An answer to it would be dropped.
    Abort {
        /// The attempt.
        attempt: u32,
    },
}

/// What is known of the shown value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Where it stands. `None` before the first value and behind a fence.
    pub position: Option<Mark>,
    /// The sequence up to which order is settled; above the position where values were refused.
    pub cursor: Option<u64>,
    /// Its epoch, also behind a fence.
    pub epoch: Option<EpochId>,
    /// The host's number of its schema version.
    pub version: u32,
    /// Whether it is up to date.
    pub status: Status,
}

/// The newest value that the gate refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a, V, E> {
    /// As it arrived.
    pub value: &'a V,
    /// What the gate said.
    pub reason: &'a E,
    /// Where it would have stood.
    pub at: Mark,
}

impl<T, V, E> Typed<T, V, E> {
    /// A replica to which nothing was applied yet. `seed` feeds the jitter of its backoff. Of the options, `kind` and
    /// `trusted` do not count: this is an object, and its gate makes the `T`.
    #[must_use]
    pub fn new(options: Options, seed: u64, gate: impl FnMut(&V) -> Result<T, E> + Send + 'static) -> Self {
        Self {
            machine: Replica::new(Options { kind: Kind::Object, trusted: false, ..options }, seed),
            gate: Box::new(gate),
            kept: Kept { entries: Vec::new(), free: Vec::new() },
            shown: None,
            outputs: VecDeque::new(),
        }
    }

    // Inputs.

    /// An envelope arrived. `weight` is what it costs to hold it back, in bytes. Gives the reason where its header
    /// alone decided that it is dropped.
    pub fn receive(&mut self, now: Timestamp, header: Header, value: V, weight: u32) -> Option<Reason> {
        let token = self.kept.insert(value);
        let Self { machine, gate, kept, .. } = self;
        let offer = machine.receive(now, header, token, weight, || kept.judge(token, gate));
        self.take(now, token, offer)
    }

    /// A snapshot that nobody asked for: a seed, the answer to a subscription. `lineage` is what it carried, newest
    /// first. Gives the reason where its header alone decided that it is dropped.
    pub fn hydrate(&mut self, now: Timestamp, header: Header, value: V, lineage: &Lineage) -> Option<Reason> {
        self.offer(now, Source::Hydration, header, value, lineage)
    }

    /// The attempt's answer: a snapshot. Gives the reason where its header alone decided that it is dropped.
    pub fn handle_snapshot(
        &mut self,
        now: Timestamp,
        attempt: u32,
        header: Header,
        value: V,
        lineage: &Lineage,
    ) -> Option<Reason> {
        self.offer(now, Source::Refetch { attempt }, header, value, lineage)
    }

    /// The attempt's answer: with what was sent before it the replica stands at `head` (an empty or finished tail).
    pub fn handle_current(&mut self, now: Timestamp, attempt: u32, epoch: EpochId, head: u64) {
        self.machine.handle_current(now, attempt, epoch, head);
        self.carry_out(now);
    }

    /// The attempt's answer: the authority has no value.
    pub fn handle_null(&mut self, now: Timestamp, attempt: u32) {
        self.machine.handle_null(now, attempt);
        self.carry_out(now);
    }

    /// The attempt failed: an error, or the link was lost.
    pub fn handle_failure(&mut self, now: Timestamp, attempt: u32) {
        self.machine.handle_failure(now, attempt);
        self.carry_out(now);
    }

    /// A beacon: the `n`th of `session`, which has sent this subscriber everything up to `head`.
    pub fn handle_beacon(&mut self, now: Timestamp, session: u64, n: u64, epoch: EpochId, head: u64) {
        self.machine.handle_beacon(now, session, n, epoch, head);
        self.carry_out(now);
    }

    /// The hello of a session, before anything that it brings, and the epoch that it speaks for, where it says so.
    pub fn handle_session(&mut self, now: Timestamp, session: u64, epoch: Option<EpochId>) {
        self.machine.handle_session(now, session, epoch);
        self.carry_out(now);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.machine.handle_timeout(now);
        self.carry_out(now);
    }

    // Commands.

    /// Asks the authority, whatever is known.
    pub fn refresh(&mut self, now: Timestamp) {
        self.machine.refresh(now);
        self.carry_out(now);
    }

    /// Ends this replica: the request in flight is aborted, and nothing else comes out. The shown value stays readable;
    /// every other one is dropped.
    pub fn dispose(&mut self, now: Timestamp) {
        self.machine.dispose();
        self.outputs.clear();
        self.carry_out(now);
        self.kept.retain(self.shown);
    }

    // Outputs.

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.machine.poll_timeout()
    }

    // Getters.

    /// The shown value.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self.kept.get(self.shown?)? {
            Entry::Good(value) => Some(value),
            Entry::Raw(_) | Entry::Bad(..) => None,
        }
    }

    /// What is known of the shown value.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta {
            position: self.machine.position(),
            cursor: self.machine.cursor(),
            epoch: self.machine.epoch(),
            version: self.machine.version(),
            status: self.machine.status(),
        }
    }

    /// The newest value that the gate refused, until a good one takes its place.
    #[must_use]
    pub fn quarantined(&self) -> Option<Refused<'_, V, E>> {
        let slot = self.machine.quarantined()?;
        match self.kept.get(slot.token)? {
            Entry::Bad(value, reason) => {
                Some(Refused { value, reason, at: Mark { epoch: slot.epoch, sequence: slot.sequence } })
            }
            Entry::Raw(_) | Entry::Good(_) => None,
        }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.machine.stats()
    }

    /// The machine, for everything else that can be asked of it.
    #[must_use]
    pub fn machine(&self) -> &Replica {
        &self.machine
    }

    // The way of every value.

    fn offer(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        value: V,
        lineage: &Lineage,
    ) -> Option<Reason> {
        let token = self.kept.insert(value);
        let offer = self.machine.offer(now, source, header, token, 0, lineage);
        self.take(now, token, offer)
    }

    fn take(&mut self, now: Timestamp, token: Token, offer: Offer) -> Option<Reason> {
        let mut dropped = None;
        match offer {
            Offer::Drop(reason) => {
                self.kept.free(token);
                dropped = Some(reason);
            }
            Offer::Judge(ticket) => self.judge(now, ticket, token),
            Offer::Installed { previous } => self.show(token, previous),
            Offer::Held | Offer::Settled => {}
        }
        self.carry_out(now);
        dropped
    }

    fn judge(&mut self, now: Timestamp, ticket: Ticket, token: Token) {
        let verdict = self.kept.judge(token, &mut self.gate);
        self.machine.judged(now, ticket, verdict);
    }

    fn show(&mut self, token: Token, previous: Option<Token>) {
        self.shown = Some(token);
        self.free(previous);
        if !self.outputs.contains(&Output::Changed) {
            self.outputs.push_back(Output::Changed);
        }
    }

    fn free(&mut self, previous: Option<Token>) {
        if let Some(token) = previous {
            self.kept.free(token);
        }
    }

    fn carry_out(&mut self, now: Timestamp) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Judge { ticket, token } => self.judge(now, ticket, token),
                Effect::Install { token, previous, .. } => self.show(token, previous),
                Effect::Quarantine { previous, .. } => {
                    self.free(previous);
                    self.outputs.push_back(Output::Quarantined);
                }
                Effect::Discard { token } => self.kept.free(token),
                Effect::Refetch { attempt, position, .. } => {
                    self.outputs.push_back(Output::Refetch { attempt, position });
                }
                Effect::Abort { attempt } => self.outputs.push_back(Output::Abort { attempt }),
                Effect::Rollback { from, kept } => self.outputs.push_back(Output::Rollback { from, kept }),
                Effect::Ready => self.outputs.push_back(Output::Ready),
                // Of collections only.
                Effect::Stage | Effect::Page { .. } | Effect::Swap | Effect::Unstage => {}
            }
        }
    }
}

impl<T: fmt::Debug, V, E> fmt::Debug for Typed<T, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed")
            .field("value", &self.get())
            .field("meta", &self.meta())
            .finish_non_exhaustive()
    }
}

/// A value on its way.
enum Entry<T, V, E> {
    /// As it arrived; the gate was not asked.
    Raw(V),
    /// What the gate made of it.
    Good(T),
    /// Refused.
    Bad(V, E),
}

/// The values that the machine names. A token is an index.
struct Kept<T, V, E> {
    entries: Vec<Option<Entry<T, V, E>>>,
    free: Vec<Token>,
}

impl<T, V, E> Kept<T, V, E> {
    fn insert(&mut self, value: V) -> Token {
        let token = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            let last = self.entries.len() - 1;
            Token(u32::try_from(last).expect("the hold-back is bounded far below 2^32 values"))
        });
        if let Some(entry) = self.entries.get_mut(index(token)) {
            *entry = Some(Entry::Raw(value));
        }
        token
    }

    fn get(&self, token: Token) -> Option<&Entry<T, V, E>> {
        self.entries.get(index(token))?.as_ref()
    }

    fn free(&mut self, token: Token) {
        if self.entries.get_mut(index(token)).and_then(Option::take).is_some() {
            self.free.push(token);
        }
    }

    fn judge(&mut self, token: Token, gate: &mut Gate<T, V, E>) -> Verdict {
        let entry = self.entries.get_mut(index(token));
        let Some((entry, Entry::Raw(value))) = entry.and_then(|entry| entry.take().map(|raw| (entry, raw)))
        else {
            return Verdict::Refused;
        };
        let (judged, verdict) = match gate(&value) {
            Ok(output) => (Entry::Good(output), Verdict::Accepted),
            Err(reason) => (Entry::Bad(value, reason), Verdict::Refused),
        };
        *entry = Some(judged);
        verdict
    }

    fn retain(&mut self, only: Option<Token>) {
        for token in (0..).map(Token).take(self.entries.len()) {
            if Some(token) != only {
                self.free(token);
            }
        }
    }
}

const fn index(token: Token) -> usize {
    token.0 as usize
}
