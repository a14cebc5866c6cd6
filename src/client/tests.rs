//! The client against frames that a server would not send every day.

use core::time::Duration;

use super::*;
use crate::protocol::{Answer, ErrorCode, Row, ServerMessage};
use crate::value::Tape;

const NOW: Timestamp = Timestamp::from_millis(0);
const EPOCH: Epoch = Epoch::from_bytes([9; 16]);

fn frame(messages: &[ServerMessage<'_>]) -> Vec<u8> {
    let mut writer = Writer::new();
    for message in messages {
        message.encode(&mut writer);
    }
    writer.into_bytes()
}

fn outputs(client: &mut Client) -> Vec<Output> {
    std::iter::from_fn(|| client.poll_output()).collect()
}

fn changes(client: &mut Client) -> Vec<Change> {
    let mut changes = Vec::new();
    client.poll_changes(&mut changes);
    changes
}

/// A client that was welcomed, and its link.
fn live() -> (Client, Generation) {
    let mut client = Client::new([1; 16], None);
    client.start(NOW);
    let [Output::Dial(link)] = outputs(&mut client)[..] else { panic!("expected a dial") };
    client.handle_opened(NOW, link);
    client.handle_frame(NOW, link, &frame(&[ServerMessage::Welcome { session: 1, heartbeat: 10_000 }]));
    outputs(&mut client);
    changes(&mut client);
    (client, link)
}

fn page<'a>(slot: SlotId, sequence: u64, rows: Vec<Row<'a>>, next: Option<&'a str>) -> ServerMessage<'a> {
    let sequence = Sequence::new(sequence).unwrap();
    let answer = Answer::Page { sequence, rows, next, lineage: Default::default() };
    ServerMessage::Answer { subscription: slot.number(), attempt: 0, topic: 1, epoch: EPOCH, answer }
}

fn row(key: &str, sequence: u64) -> Row<'_> {
    Row {
        sequence: Sequence::new(sequence).unwrap(),
        key,
        value: EncodedValue::trusted(&[0x01]),
        version: None,
    }
}

fn envelope(sequence: u64, key: &str) -> ServerMessage<'_> {
    ServerMessage::Envelope {
        topic: 1,
        sequence: Sequence::new(sequence).unwrap(),
        prev: None,
        version: None,
        key: Some(key),
        value: Some(EncodedValue::trusted(&[0x02])),
    }
}

#[test]
fn a_message_of_a_kind_from_a_later_version_is_passed_over_and_those_after_it_count() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", false).unwrap();
    let mut writer = Writer::new();
    writer.array(2);
    writer.u64(120);
    writer.str("whatever it says");
    ServerMessage::Following { subscription: slot.number() }.encode(&mut writer);
    page(slot, 2, vec![row("a", 1)], None).encode(&mut writer);
    client.handle_frame(NOW, link, &writer.into_bytes());
    assert_eq!((client.phase(), client.row_count(slot)), (Phase::Live, 1));
}

#[test]
fn a_cut_message_of_an_unknown_kind_ends_the_link_all_the_same() {
    let (mut client, link) = live();
    client.handle_frame(NOW, link, &[0x92, 120]);
    assert_ne!(client.phase(), Phase::Live);
}

#[test]
fn nothing_is_shown_of_a_snapshot_before_its_last_page_and_then_all_at_once() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", false).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(slot, 2, vec![row("a", 1)], Some("a")), envelope(3, "c")]));
    assert_eq!(client.row_count(slot), 0);
    assert!(!changes(&mut client).iter().any(|change| matches!(change, Change::Row { .. })));
    client.handle_frame(NOW, link, &frame(&[page(slot, 2, vec![row("b", 2)], None)]));
    assert_eq!(client.row_count(slot), 3);
    assert_eq!(client.sequence(slot), Some(3));
}

#[test]
fn a_late_page_of_a_snapshot_that_is_over_is_not_taken_for_the_first_of_a_new_one() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", false).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(slot, 2, vec![row("a", 1)], Some("a"))]));
    client.handle_timeout(Timestamp::from_millis(10_000));
    // The line is clear, so nothing is on its way.
    let late = Timestamp::from_millis(11_000);
    client.handle_frame(late, link, &frame(&[ServerMessage::Pong]));
    client.handle_timeout(late);
    // The refetch that is asked by now answers with a snapshot at the same position.
    client.handle_frame(late, link, &frame(&[page(slot, 2, vec![row("b", 2)], None)]));
    assert!(!client.is_ready(slot), "half of a snapshot is shown");
    let sequence = Sequence::new(2).unwrap();
    let rows = vec![row("a", 1), row("b", 2)];
    let answer = Answer::Page { sequence, rows, next: None, lineage: Default::default() };
    let subscription = slot.number();
    let whole = ServerMessage::Answer { subscription, attempt: 1, topic: 1, epoch: EPOCH, answer };
    client.handle_frame(late, link, &frame(&[whole]));
    assert_eq!(client.row_count(slot), 2);
}

/// Answers what the client asks its gate with `verdict`.
fn judge(client: &mut Client, verdict: Verdict) {
    for change in changes(client) {
        if let Change::Judge { ticket, .. } = change {
            client.judged(NOW, ticket, verdict);
        }
    }
}

#[test]
fn a_row_refused_in_a_snapshot_of_another_epoch_takes_the_values_that_follow() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", true).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(slot, 16, vec![row("a", 16)], None)]));
    judge(&mut client, Verdict::Accepted);
    let shown = client.row(slot, "a");
    let sequence = Sequence::new(2).unwrap();
    let rows = vec![Row { value: EncodedValue::trusted(&[0x03]), ..row("a", 2) }];
    let answer = Answer::Page { sequence, rows, next: None, lineage: Default::default() };
    let (subscription, epoch) = (slot.number(), Epoch::from_bytes([8; 16]));
    let next = ServerMessage::Answer { subscription, attempt: 0, topic: 1, epoch, answer };
    client.handle_frame(NOW, link, &frame(&[next]));
    judge(&mut client, Verdict::Refused);
    assert_eq!(client.row(slot, "a"), shown, "the last good value stays");
    client.handle_frame(NOW, link, &frame(&[envelope(3, "a")]));
    judge(&mut client, Verdict::Accepted);
    assert_eq!(client.value(client.row(slot, "a").unwrap()).unwrap().as_bytes(), [0x02]);
}

#[test]
fn a_write_beyond_its_time_that_only_its_link_could_have_carried_ends_with_the_link() {
    let (mut client, link) = live();
    let request = client.put(NOW, "k", EncodedValue::trusted(&[0x02])).unwrap();
    while client.poll_output().is_some() {}
    let late = Timestamp::from_millis(31_000);
    // A beacon is heard, and no ping answered: the line may be slow towards the server.
    client.handle_frame(late, link, &frame(&[ServerMessage::Beacon { number: 1, heads: Vec::new() }]));
    client.handle_timeout(late);
    assert!(!changes(&mut client).iter().any(|change| matches!(change, Change::Settled { .. })));
    client.handle_closed(late, link, 1006, "");
    assert!(
        changes(&mut client).contains(&Change::Settled { request, code: u16::MAX }),
        "nobody knows whether it ran"
    );
}

#[test]
fn a_client_that_was_closed_asks_nobody_any_more_for_what_was_refused() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", true).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(slot, 16, vec![row("a", 16)], None)]));
    judge(&mut client, Verdict::Accepted);
    client.handle_frame(NOW, link, &frame(&[envelope(17, "a")]));
    judge(&mut client, Verdict::Refused);
    assert!(client.poll_timeout().is_some(), "what was refused is asked for again");
    client.close(NOW);
    assert_eq!(client.poll_timeout(), None, "a program that has nothing else to do ends");
}

#[test]
fn a_row_refused_in_a_snapshot_and_deleted_before_its_last_page_is_gone() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", true).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(slot, 1, vec![row("a", 1)], None)]));
    judge(&mut client, Verdict::Accepted);
    let rows = vec![Row { value: EncodedValue::trusted(&[0x03]), ..row("a", 2) }];
    client.handle_frame(NOW, link, &frame(&[page(slot, 2, rows, Some("a"))]));
    judge(&mut client, Verdict::Refused);
    let gone = ServerMessage::Envelope {
        topic: 1,
        sequence: Sequence::new(3).unwrap(),
        prev: None,
        version: None,
        key: Some("a"),
        value: None,
    };
    client.handle_frame(NOW, link, &frame(&[gone, page(slot, 2, vec![row("b", 2)], None)]));
    judge(&mut client, Verdict::Accepted);
    assert_eq!(client.row(slot, "a"), None);
    assert!(client.row(slot, "b").is_some());
}

#[test]
fn a_row_that_is_newer_than_its_snapshot_is_not_undone_by_the_operation_before_it() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", false).unwrap();
    // The record changed twice between the pages, so the second page has it as it is by then.
    let first = page(slot, 2, vec![row("b", 2)], Some("b"));
    let second = page(slot, 2, vec![row("a", 4)], None);
    client.handle_frame(NOW, link, &frame(&[first, second, envelope(3, "a")]));
    assert_eq!(client.row_count(slot), 0, "the operations up to the newest row are not all here");
    client.handle_frame(NOW, link, &frame(&[envelope(4, "a")]));
    let cell = client.row(slot, "a").expect("the row");
    assert_eq!(client.cell_sequence(cell), 4);
    assert_eq!(client.sequence(slot), Some(4));
}

#[test]
fn the_next_value_of_a_row_that_the_host_holds_is_patched_by_what_was_noted_as_it_came() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", false).unwrap();
    // { "a": [1, "x"] }, and the same with an element more.
    let [first, second] =
        [&[0x81, 0xa1, b'a', 0x92, 1, 0xa1, b'x'][..], &[0x81, 0xa1, b'a', 0x93, 1, 0xa1, b'x', 0xc3]];
    let shown = Row { value: EncodedValue::check(first).unwrap(), ..row("r", 1) };
    // The first change of a session goes the long way.
    client.handle_frame(NOW, link, &frame(&[page(slot, 1, vec![shown], None), envelope(2, "other")]));
    changes(&mut client);
    let before = client.row(slot, "r").expect("the row");
    let mut tape = Tape::new();
    client.write_value(&mut tape, before, Want::Kept { base: None });
    let ServerMessage::Envelope { topic, sequence, prev, version, key, .. } = envelope(3, "r") else {
        panic!("it is an envelope")
    };
    let value = Some(EncodedValue::check(second).unwrap());
    let next = ServerMessage::Envelope { topic, sequence, prev, version, key, value };
    client.handle_frame(NOW, link, &frame(&[next]));
    let after = client.row(slot, "r").expect("the row");
    let told = Change::Row { slot, cell: after, previous: Some(before), ticket: 0 };
    assert_eq!(changes(&mut client).first(), Some(&told));
    assert!(!client.notes.edits.is_empty(), "nothing was noted");
    let expected = {
        let mut tape = Tape::new();
        tape.whole(EncodedValue::check(first).unwrap());
        tape.clear();
        tape.patch(EncodedValue::check(first).unwrap(), EncodedValue::check(second).unwrap());
        tape.words().to_vec()
    };
    tape.clear();
    client.write_value(&mut tape, after, Want::Kept { base: Some(before) });
    assert_eq!(tape.words(), expected);
    assert_eq!(client.key(after), Some("r"));
}

#[test]
fn a_subscription_that_the_server_lost_through_no_fault_of_its_own_is_made_again() {
    let (mut client, link) = live();
    let slot = client.subscribe_object("k", false).unwrap();
    let denied =
        |code| ServerMessage::Denied { subscription: slot.number(), attempt: 0, code, message: "no" };
    client.handle_frame(NOW, link, &frame(&[denied(ErrorCode::NotFound.number())]));
    assert_eq!(client.denial(slot), Some("no"));
    assert_eq!(client.phase(), Phase::Live);
    let absent = Answer::Absent { sequence: Sequence::ZERO };
    let subscription = slot.number();
    let answer = ServerMessage::Answer { subscription, attempt: 0, topic: 1, epoch: EPOCH, answer: absent };
    client.handle_frame(NOW, link, &frame(&[answer]));
    assert_eq!(client.denial(slot), None, "a later session was not denied");
    client.handle_frame(NOW, link, &frame(&[denied(ErrorCode::StorageFailed.number())]));
    assert!(matches!(client.phase(), Phase::Reconnecting { .. }));
}

#[test]
fn frames_of_a_link_that_was_given_up_are_not_heard() {
    let (mut client, old) = live();
    client.handle_closed(NOW, old, 1006, "");
    client.nudge(NOW);
    changes(&mut client);
    client.handle_frame(NOW, old, &frame(&[ServerMessage::Pong]));
    client.handle_frame(NOW, old, &[0xc1]);
    assert_eq!(client.phase(), Phase::Connecting);
    assert_eq!(changes(&mut client), []);
}

#[test]
fn a_number_of_a_freed_cell_is_given_again_only_after_the_host_was_told() {
    let (mut client, link) = live();
    let slot = client.subscribe_datastore("d", None, "id", false).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(slot, 1, vec![row("a", 1)], None)]));
    changes(&mut client);
    let first = client.row(slot, "a").unwrap();
    client.handle_frame(NOW, link, &frame(&[envelope(2, "a"), envelope(3, "b")]));
    assert!(changes(&mut client).contains(&Change::Freed { cell: first }));
    assert_ne!(client.row(slot, "b"), Some(first));
    changes(&mut client);
    client.handle_frame(NOW, link, &frame(&[envelope(4, "c")]));
    assert_eq!(client.row(slot, "c"), Some(first));
}

#[test]
fn a_released_replica_gives_all_its_cells_back() {
    let (mut client, link) = live();
    for _ in 0..3 {
        let slot = client.subscribe_datastore("d", None, "id", true).unwrap();
        let rows = vec![row("a", 1), row("b", 2)];
        client.handle_frame(NOW, link, &frame(&[envelope(3, "c"), page(slot, 2, rows, Some("b"))]));
        client.release(slot);
        changes(&mut client);
        changes(&mut client);
        assert!(client.cells.are_all_free(), "{:?}", client.cells);
    }
}

#[test]
fn a_history_that_no_replica_follows_any_more_is_forgotten() {
    let (mut client, link) = live();
    let absent = |subscription, topic| {
        let answer = Answer::Absent { sequence: Sequence::ZERO };
        ServerMessage::Answer { subscription, attempt: 0, topic, epoch: EPOCH, answer }
    };
    let (one, other) =
        (client.subscribe_object("a", false).unwrap(), client.subscribe_object("a", false).unwrap());
    for topic in 1..=3 {
        let answers = [absent(one.number(), topic), absent(other.number(), topic)];
        client.handle_frame(NOW, link, &frame(&answers));
        assert_eq!(client.topics.len(), 1);
    }
    client.release(one);
    assert_eq!(client.topics.len(), 1);
    client.release(other);
    assert_eq!(client.topics.len(), 0);
}

#[test]
fn writes_over_their_limits_are_refused_before_they_are_sent() {
    let (mut client, _) = live();
    let long = "k".repeat(1_025);
    let large = vec![0; limits::MAX_VALUE_BYTES + 1];
    assert_eq!(client.put(NOW, &long, EncodedValue::NIL), Err(WriteError::Key(1_025)));
    assert_eq!(client.put(NOW, "", EncodedValue::NIL), Err(WriteError::Key(0)));
    assert_eq!(client.put(NOW, "k", EncodedValue::trusted(&large)), Err(WriteError::Value(large.len())));
    assert_eq!(outputs(&mut client), []);
}

/// The requests in the frames that the host is to send.
fn sent(client: &mut Client) -> Vec<RequestId> {
    client.flush();
    let frames = outputs(client).into_iter().filter_map(|output| match output {
        Output::Transmit(_, frame) => Some(frame),
        Output::Fetch(..) | Output::Dial(_) | Output::Hang { .. } => None,
    });
    let mut requests = Vec::new();
    for frame in frames {
        let mut reader = crate::protocol::Reader::new(&frame);
        while !reader.is_empty() {
            if let ClientMessage::Write { request, .. } = ClientMessage::decode(&mut reader).unwrap() {
                requests.push(request);
            }
        }
    }
    requests
}

fn ack(request: RequestId) -> ServerMessage<'static> {
    ServerMessage::Ack { request, position: None, result: None }
}

/// The authority remembers its replies to the last 1,000 requests: an older one, sent again, it would refuse.
#[test]
fn no_more_writes_are_on_their_way_than_the_authority_remembers_replies_to() {
    let (mut client, link) = live();
    for _ in 0..2_000 {
        client.put(NOW, "k", EncodedValue::NIL).unwrap();
    }
    assert_eq!(sent(&mut client), (1..=500).collect::<Vec<_>>());
    // Answers in the middle do not move the window: the oldest is still out.
    client.handle_frame(NOW, link, &frame(&[ack(2), ack(500)]));
    assert_eq!(sent(&mut client), [0_u64; 0]);
    client.handle_frame(NOW, link, &frame(&[ack(1), ack(3)]));
    assert_eq!(sent(&mut client), [501, 502, 503]);

    client.handle_closed(NOW, link, 1006, "");
    let later = client.poll_timeout().unwrap();
    client.handle_timeout(later);
    let [Output::Dial(link)] = outputs(&mut client)[..] else { panic!("expected a dial") };
    client.handle_opened(later, link);
    let welcome = ServerMessage::Welcome { session: 2, heartbeat: 10_000 };
    client.handle_frame(later, link, &frame(&[welcome]));
    let again: Vec<_> = (4..=503).filter(|request| *request != 500).collect();
    assert_eq!(sent(&mut client), again, "all that is unanswered, in order, and nothing else");
    for request in 4..=2_000 {
        client.handle_frame(later, link, &frame(&[ack(request)]));
    }
    assert_eq!(client.writes.requests(&|_| true), [0_u64; 0]);
}

#[test]
fn a_client_that_cannot_send_takes_so_many_writes_and_says_then_what_to_do() {
    let mut client = Client::new([1; 16], None);
    for _ in 0..writes::MAX_WRITES {
        client.put(NOW, "k", EncodedValue::NIL).unwrap();
    }
    let refused = client.put(NOW, "k", EncodedValue::NIL);
    assert_eq!(refused, Err(WriteError::Waiting(writes::MAX_WRITES)));
    client.handle_timeout(NOW + Duration::from_secs(30));
    assert!(client.put(NOW, "k", EncodedValue::NIL).is_ok(), "those before it were given up");

    let mut client = Client::new([1; 16], None);
    let large = vec![0xc0; limits::MAX_VALUE_BYTES];
    let taken =
        (0..1_000).take_while(|_| client.put(NOW, "k", EncodedValue::trusted(&large)).is_ok()).count();
    assert_eq!(taken, 64, "16 MiB of them");
}

fn fed(client: &mut Client) -> Vec<(SlotId, Vec<u8>)> {
    let changes = changes(client);
    let told = changes.iter().filter_map(|change| match *change {
        Change::Fed { slot, cell } => Some((slot, client.value(cell).unwrap().as_bytes().to_vec())),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_message_of_a_feed_is_handed_on_byte_for_byte_and_goes_to_no_other_kind_of_slot() {
    let (mut client, link) = live();
    let watch = client.watch("g", "*");
    let object = client.subscribe_object("k", false).unwrap();
    changes(&mut client);
    let dropped = |slot: SlotId| frame(&[ServerMessage::Dropped { subscription: slot.number(), count: 5 }]);
    let mut both = dropped(watch);
    both.extend(dropped(object));
    client.handle_frame(NOW, link, &both);
    assert_eq!(fed(&mut client), [(watch, dropped(watch))]);
    assert!(fed(&mut client).is_empty());
}

#[test]
fn what_a_feed_cannot_be_told_changes_nothing() {
    let (mut client, link) = live();
    let feed = client.follow_mailbox();
    outputs(&mut client);
    let answer = Answer::Absent { sequence: Sequence::new(3).unwrap() };
    let answer =
        ServerMessage::Answer { subscription: feed.number(), attempt: 0, topic: 1, epoch: EPOCH, answer };
    let head = Sequence::new(9).unwrap();
    let beacon = ServerMessage::Beacon { number: 1, heads: vec![(1, head)] };
    client.handle_frame(NOW, link, &frame(&[answer, envelope(4, "a"), beacon, page(feed, 4, vec![], None)]));
    client.refresh(NOW, feed);
    client.handle_timeout(NOW + Duration::from_secs(5));
    assert!(outputs(&mut client).is_empty(), "it asks nothing");
    assert_eq!(client.topics.len(), 0);
    assert_eq!((client.sequence(feed), client.is_ready(feed)), (None, false));
    client.release(feed);
    assert!(client.cells.are_all_free());
}

#[test]
fn answers_to_questions_that_were_not_asked_and_second_ones_are_passed_over() {
    let (mut client, link) = live();
    let query = client.query(NOW, crate::protocol::Query::KvCount { group: "g" }).unwrap();
    let result = |query| ServerMessage::Result { query, outcome: Ok(Some(EncodedValue::NIL)) };
    client.handle_frame(NOW, link, &frame(&[result(query + 1), result(query), result(query)]));
    let answered: Vec<_> =
        changes(&mut client).into_iter().filter(|change| matches!(change, Change::Answered { .. })).collect();
    assert!(
        matches!(answered[..], [Change::Answered { query: answered, cell: Some(_) }] if answered == query)
    );
}

#[test]
fn a_flood_of_notifications_is_remembered_up_to_a_mailbox_full() {
    let (mut client, link) = live();
    let feed = client.follow_mailbox();
    let traces: Vec<_> = (0..3_000).map(|n| format!("{n:032x}")).collect();
    let notify = |trace| ServerMessage::Notification {
        subscription: feed.number(),
        trace,
        from: "a",
        pack: EncodedValue::NIL,
        suit: false,
        created: 0,
        expires: 1,
    };
    for trace in &traces {
        client.handle_frame(NOW, link, &frame(&[notify(trace)]));
        client.taken(&[trace], true);
    }
    assert_eq!(fed(&mut client).len(), 3_000);
    outputs(&mut client);
    client.handle_frame(NOW, link, &frame(&[notify(&traces[2_999]), notify(&traces[0])]));
    let told = fed(&mut client);
    assert_eq!(told.len(), 1, "the newest are known; what is older than a mailbox holds cannot come");
}

/// The positions that replicas are subscribed from in the frames that the host is to send.
fn subscribed(client: &mut Client) -> Vec<(SlotId, Option<Position>)> {
    client.flush();
    let mut positions = Vec::new();
    for output in outputs(client) {
        let Output::Transmit(_, frame) = output else { continue };
        let mut reader = crate::protocol::Reader::new(&frame);
        while !reader.is_empty() {
            if let ClientMessage::Subscribe(subscriptions) = ClientMessage::decode(&mut reader).unwrap() {
                let each = subscriptions.iter();
                positions.extend(each.map(|each| (SlotId::from_number(each.id), each.position)));
            }
        }
    }
    positions
}

fn at(sequence: u64) -> Position {
    Position { epoch: EPOCH, sequence: Sequence::new(sequence).unwrap() }
}

#[test]
fn a_seeded_replica_shows_its_value_before_the_server_has_spoken_and_is_subscribed_from_there() {
    for is_live in [true, false] {
        let (mut client, link) =
            if is_live { live() } else { (Client::new([1; 16], None), Generation::from_number(1)) };
        client.hold_subscriptions();
        let object = client.subscribe_object("k", false).unwrap();
        let rows = client.subscribe_datastore("d", None, "id", false).unwrap();
        let value = Some(EncodedValue::trusted(&[0x07]));
        client.seed(NOW, object, at(4), Seed::Object { version: Some("1.2"), value });
        client.seed(NOW, rows, at(9), Seed::Rows(&[row("a", 3), row("b", 9)]));
        client.send_subscribed();
        let shown = client.object(object).and_then(|cell| client.value(cell)).unwrap();
        assert_eq!(shown.as_bytes(), [0x07]);
        assert_eq!(client.schema_version(object), Some("1.2"));
        assert_eq!((client.row_count(rows), client.sequence(rows)), (2, Some(9)));
        if !is_live {
            client.start(NOW);
            client.handle_opened(NOW, link);
            outputs(&mut client);
            let welcome = ServerMessage::Welcome { session: 1, heartbeat: 10_000 };
            client.handle_frame(NOW, link, &frame(&[welcome]));
        }
        assert_eq!(subscribed(&mut client), [(object, Some(at(4))), (rows, Some(at(9)))]);
        let subscription = rows.number();
        let answer = ServerMessage::Answer {
            subscription,
            attempt: 0,
            topic: 1,
            epoch: EPOCH,
            answer: Answer::Tail { count: 1 },
        };
        client.handle_frame(NOW, link, &frame(&[answer, envelope(10, "a")]));
        assert_eq!((client.sequence(rows), client.status(rows)), (Some(10), Status::Ok));
    }
}

#[test]
fn a_seed_crosses_the_gate_and_one_that_is_refused_is_asked_for_anew() {
    for (verdict, position) in [(Verdict::Accepted, Some(at(4))), (Verdict::Refused, None)] {
        let (mut client, _) = live();
        client.hold_subscriptions();
        let object = client.subscribe_object("k", true).unwrap();
        let value = Some(EncodedValue::trusted(&[0x07]));
        client.seed(NOW, object, at(4), Seed::Object { version: None, value });
        judge(&mut client, verdict);
        client.send_subscribed();
        assert_eq!(subscribed(&mut client), [(object, position)]);
        assert_eq!(client.object(object).is_some(), position.is_some());
    }
}

#[test]
fn a_seed_with_rows_beyond_its_position_is_no_snapshot() {
    let (mut client, _) = live();
    client.hold_subscriptions();
    let rows = client.subscribe_datastore("d", None, "id", false).unwrap();
    client.seed(NOW, rows, at(2), Seed::Rows(&[row("a", 3)]));
    client.send_subscribed();
    assert_eq!(subscribed(&mut client), [(rows, None)]);
    assert_eq!(client.row_count(rows), 0);
}

#[test]
fn a_seed_that_is_older_than_what_is_shown_changes_nothing() {
    let (mut client, link) = live();
    let rows = client.subscribe_datastore("d", None, "id", false).unwrap();
    client.handle_frame(NOW, link, &frame(&[page(rows, 5, vec![row("a", 5)], None)]));
    client.seed(NOW, rows, at(3), Seed::Rows(&[row("b", 3)]));
    assert_eq!((client.sequence(rows), client.row(rows, "b")), (Some(5), None));
}
