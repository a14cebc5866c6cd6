//! Numbers about the server, as Prometheus reads them. `docs/operating.md` says what each one means.
//!
//! What the host's thread does is counted by the server module in plain numbers, and asked for when somebody looks
//! ([`Observation`]); what the connections do is counted by atomics. So no envelope pays for being counted.

use std::{fmt, time::Duration};

use ::metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tidewire::{
    protocol::{CloseCode, ErrorCode},
    server::{Answers, Census, Counters},
};

use crate::{cluster, door::Full, health::Condition};

/// Seconds: a memory disk, a good disk, a disk that syncs slowly, trouble.
const COMMIT_SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// Inputs of a batch, up to all that one may have.
const BATCH_INPUTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// Why a WebSocket is refused before it is one.
const REFUSALS: [&str; 4] = ["origin", "subprotocol", Full::All.name(), Full::Address.name()];

/// Samples of histograms gather in memory until they are sorted into their buckets: so often, if nobody looks.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

/// What the host's thread tells when it is asked.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// What the server module has done.
    pub counters: Counters,
    /// Who is connected to it.
    pub census: Census,
    /// Bytes that wait for connections, in all.
    pub backlog: usize,
    /// How the node is in its cluster, if it is in one.
    pub cluster: Option<cluster::Observation>,
}

/// Everything that is counted.
pub struct Metrics {
    recorder: PrometheusRecorder,
    printer: PrometheusHandle,
    received_bytes: Counter,
    received_frames: Counter,
    sent_bytes: Counter,
    sent_frames: Counter,
    opened: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the host's thread notes each commit. By default it notes nothing.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Seconds that a batch took to commit, if it wrote to the disk.
    pub commit_seconds: Histogram,
    /// Inputs of a batch.
    pub batch_inputs: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self { commit_seconds: Histogram::noop(), batch_inputs: Histogram::noop() }
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let buckets = |builder: PrometheusBuilder, name: &str, buckets: &[f64]| {
            let matcher = Matcher::Full(name.to_owned());
            builder.set_buckets_for_metric(matcher, buckets).expect("there are buckets")
        };
        let builder = PrometheusBuilder::new();
        let builder = buckets(builder, "tidewire_commit_seconds", &COMMIT_SECONDS);
        let builder = buckets(builder, "tidewire_batch_inputs", &BATCH_INPUTS);
        let recorder = builder.build_recorder();
        let printer = recorder.handle();
        with_local_recorder(&recorder, || {
            describe();
            // What has not happened is 0, not missing: or the first time would raise no alert.
            for reason in CloseCode::ALL.map(CloseCode::name).into_iter().chain(["client"]) {
                counter!("tidewire_connections_closed_total", "reason" => reason).absolute(0);
            }
            for reason in REFUSALS {
                counter!("tidewire_connections_refused_total", "reason" => reason).absolute(0);
            }
            gauge!("tidewire_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        });
        let [received_bytes, received_frames, sent_bytes, sent_frames, opened] = [
            "tidewire_received_bytes_total",
            "tidewire_received_frames_total",
            "tidewire_sent_bytes_total",
            "tidewire_sent_frames_total",
            "tidewire_connections_opened_total",
        ]
        .map(|name| {
            with_local_recorder(&recorder, || {
                let counter = counter!(name);
                counter.absolute(0);
                counter
            })
        });
        Self { recorder, printer, received_bytes, received_frames, sent_bytes, sent_frames, opened }
    }

    /// For the host's thread.
    #[must_use]
    pub fn meter(&self) -> Meter {
        with_local_recorder(&self.recorder, || Meter {
            commit_seconds: histogram!("tidewire_commit_seconds"),
            batch_inputs: histogram!("tidewire_batch_inputs"),
        })
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.increment(bytes as u64);
        self.received_frames.increment(1);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.increment(bytes as u64);
        self.sent_frames.increment(1);
    }

    pub(crate) fn opened(&self) {
        self.opened.increment(1);
    }

    /// A connection has ended: by the server with a close code, or by its client.
    pub(crate) fn closed(&self, code: Option<u16>) {
        let reason =
            code.map_or("client", |code| CloseCode::from_number(code).map_or("other", CloseCode::name));
        with_local_recorder(&self.recorder, || {
            counter!("tidewire_connections_closed_total", "reason" => reason).increment(1);
        });
    }

    /// Somebody was turned away at the door.
    pub(crate) fn turned_away(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("tidewire_connections_refused_total", "reason" => reason).increment(1);
        });
    }

    /// Sorts samples into their buckets.
    pub(crate) fn upkeep(&self) {
        self.printer.run_upkeep();
    }

    /// All of it, as text.
    #[must_use]
    pub fn render(&self, condition: Condition, seen: &Observation) -> String {
        with_local_recorder(&self.recorder, || note(condition, seen));
        self.printer.render()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact in a float")]
fn note(condition: Condition, seen: &Observation) {
    let Observation { counters, census, backlog, cluster } = seen;
    if let Some(cluster) = cluster {
        gauge!("tidewire_log_position").set(cluster.position as f64);
        gauge!("tidewire_log_members").set(cluster.members as f64);
        gauge!("tidewire_log_records_under_way").set(cluster.under_way as f64);
        gauge!("tidewire_log_waiting_bytes").set(cluster.waiting_bytes as f64);
    }
    let is_ready = condition == Condition::Ready;
    gauge!("tidewire_ready").set(f64::from(u8::from(is_ready)));
    gauge!("tidewire_connections").set((census.greeting + census.sessions) as f64);
    gauge!("tidewire_sessions").set(census.sessions as f64);
    gauge!("tidewire_subscriptions").set(census.subscriptions as f64);
    gauge!("tidewire_topics").set(census.topics as f64);
    gauge!("tidewire_backlog_bytes").set(*backlog as f64);
    counter!("tidewire_received_messages_total").absolute(counters.messages);
    counter!("tidewire_sent_envelopes_total").absolute(counters.envelopes);
    counter!("tidewire_relayed_envelopes_total").absolute(counters.relayed);
    counter!("tidewire_writes_total", "outcome" => "done").absolute(counters.acknowledged);
    for code in ErrorCode::ALL {
        let (refused, denied) = (counters.refused.of(code.number()), counters.denied.of(code.number()));
        counter!("tidewire_writes_total", "outcome" => code.name()).absolute(refused);
        counter!("tidewire_denials_total", "code" => code.name()).absolute(denied);
    }
    for (asked, answers) in [("subscribe", &counters.subscribed), ("refetch", &counters.refetched)] {
        let Answers { current, tail, snapshot, page, absent } = *answers;
        for (kind, count) in
            [("current", current), ("tail", tail), ("snapshot", snapshot), ("page", page), ("absent", absent)]
        {
            counter!("tidewire_answers_total", "asked" => asked, "answer" => kind).absolute(count);
        }
    }
    counter!("tidewire_commits_total").absolute(counters.commits);
    counter!("tidewire_storage_failures_total").absolute(counters.undone);
}

fn describe() {
    describe_gauge!("tidewire_build_info", "The version that runs.");
    describe_gauge!("tidewire_ready", "1 while /readyz says so.");
    describe_gauge!("tidewire_connections", "WebSockets that are open.");
    describe_gauge!("tidewire_sessions", "WebSockets that have said hello.");
    describe_gauge!("tidewire_subscriptions", "Subscriptions of all sessions.");
    describe_gauge!("tidewire_topics", "Histories that somebody follows.");
    describe_gauge!("tidewire_backlog_bytes", Unit::Bytes, "Bytes that wait to be sent.");
    describe_counter!("tidewire_connections_opened_total", "WebSockets that were opened.");
    describe_counter!("tidewire_connections_closed_total", "WebSockets that have ended, by why.");
    describe_counter!("tidewire_connections_refused_total", "WebSockets that were refused, by why.");
    describe_counter!("tidewire_received_bytes_total", Unit::Bytes, "Bytes of frames from clients.");
    describe_counter!("tidewire_received_frames_total", "Frames from clients.");
    describe_counter!("tidewire_received_messages_total", "Messages from clients that could be read.");
    describe_counter!("tidewire_sent_bytes_total", Unit::Bytes, "Bytes of frames to clients.");
    describe_counter!("tidewire_sent_frames_total", "Frames to clients.");
    describe_counter!("tidewire_sent_envelopes_total", "Changes to clients, once per receiver.");
    describe_counter!(
        "tidewire_relayed_envelopes_total",
        "Envelopes of clients to clients, once per receiver."
    );
    describe_counter!("tidewire_writes_total", "Writes of clients, by what came of them.");
    describe_counter!("tidewire_answers_total", "Answers to subscriptions and refetches, by kind.");
    describe_counter!("tidewire_denials_total", "Subscriptions and refetches denied, by why.");
    describe_gauge!("tidewire_log_position", "How far the log of the cluster is applied.");
    describe_gauge!("tidewire_log_members", "Nodes that are members of the cluster.");
    describe_gauge!("tidewire_log_records_under_way", "Records on their way to the log.");
    describe_gauge!("tidewire_log_waiting_bytes", Unit::Bytes, "Bytes that wait to go to the log.");
    describe_counter!("tidewire_commits_total", "Batches written to the disk.");
    describe_counter!("tidewire_storage_failures_total", "Batches undone, as the storage failed.");
    describe_histogram!("tidewire_commit_seconds", Unit::Seconds, "How long a commit to the disk took.");
    describe_histogram!("tidewire_batch_inputs", "Inputs that shared a batch.");
}
