//! Who may come in and do what: every question and write is held against the caller's grant, until it ends.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::time::Duration;

use server_rig::{Inbox, Rig, START, datastore, number, record};
use tidewire::{
    protocol::{
        ClientMessage, CloseCode, EncodedValue, ErrorCode, KvChange, Open, OpenPool, Operation, Query,
        QueryId, ServerMessage, Target, Timestamp, limits::MAX_TOKEN_BYTES,
    },
    server::{
        Admission, ConnectionId, EVERYONE, Grant, Options, Permissions, Projection, Refusal, Residue, Rule,
        Rules, storage::Memory,
    },
};

const FORBIDDEN: u16 = ErrorCode::Forbidden.number();
const UNAUTHORIZED: u16 = CloseCode::Unauthorized.number();
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A token in clear: `user;seconds it lives since the start, or nothing;read;write`, patterns with commas.
fn check(_now: Timestamp, token: Option<&str>) -> Result<Grant, Refusal> {
    let token = token.ok_or_else(|| Refusal("no token".to_owned()))?;
    let mut parts = token.split(';');
    let mut next = || parts.next().unwrap_or_default();
    let (user, life) = (next(), next());
    let mut permissions = || {
        let patterns = next().split(',').filter(|pattern| !pattern.is_empty());
        Permissions::parse(patterns).map_err(|error| Refusal(error.to_string()))
    };
    let expires = life.parse().ok().map(|seconds| START + Duration::from_secs(seconds));
    Ok(Grant { user: user.into(), expires, read: permissions()?, write: permissions()? })
}

fn rig() -> Rig<Memory> {
    let mut options = Options::new([1; 32]);
    options.admission = Admission::checked(check);
    Rig::configured(Memory::new(), options)
}

fn hello(rig: &mut Rig<Memory>, client: &str, token: Option<&str>) -> (ConnectionId, Inbox) {
    let connection = rig.connect();
    rig.send(connection, &ClientMessage::Hello { client, token });
    (connection, rig.take(connection))
}

fn welcomed(rig: &mut Rig<Memory>, token: &str) -> ConnectionId {
    let (connection, inbox) = hello(rig, "c", Some(token));
    assert!(matches!(inbox.one(), ServerMessage::Welcome { .. }));
    connection
}

#[track_caller]
fn closed(inbox: &Inbox, reason: &str) {
    let (code, said) = inbox.closed.clone().expect("the connection is closed");
    assert_eq!(code, UNAUTHORIZED);
    assert!(said.contains(reason), "{said}");
}

fn ask(rig: &mut Rig<Memory>, connection: ConnectionId, query: QueryId, about: Query<'_>) -> Option<u16> {
    rig.send(connection, &ClientMessage::Query { query, about });
    match rig.take(connection).one() {
        ServerMessage::Result { outcome, .. } => outcome.err().map(|(code, _)| code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hello_whose_token_is_refused_is_closed_as_unauthorized_with_the_reason() {
    let mut rig = rig();
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    for (token, reason) in [
        (None, "no token"),
        (Some(""), "1 to 1024"),
        (Some("alice;;nonsense"), "is no pattern"),
        (Some("alice;0"), "expired"),
        (Some("server"), "server"),
        (Some(&*long), "8192"),
    ] {
        let (_, inbox) = hello(&mut rig, "c", token);
        closed(&inbox, reason);
    }
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn what_no_pattern_names_is_forbidden_to_subscribe_and_nothing_is_opened() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;;object:mine:*,datastore:open,pool:open,kv:mine;");
    let open = Some(Open { permanent: true, primary: "id" });
    for target in [
        Target::Object("yours:1"),
        Target::Datastore { id: "other", open },
        Target::Pool { id: "other", open: Some(OpenPool { presence: false }) },
        Target::Watch { group: "yours", key: "*" },
        Target::Watch { group: "*", key: "*" },
    ] {
        let inbox = rig.subscribe(alice, 1, target, None);
        assert_eq!(inbox.codes(), [FORBIDDEN], "{target:?}");
        assert_eq!(inbox.messages().len(), 1);
    }
    assert_eq!(rig.server.datastore(rig.now, "other").unwrap(), None);
    // Of what she may read but not write she opens nothing either.
    for target in [
        Target::Datastore { id: "open", open },
        Target::Pool { id: "open", open: Some(OpenPool { presence: false }) },
    ] {
        assert_eq!(rig.subscribe(alice, 1, target, None).codes(), [ErrorCode::NotFound.number()]);
    }
    assert_eq!(rig.server.datastore(rig.now, "open").unwrap(), None);
    assert_eq!(rig.subscribe(alice, 1, Target::Object("mine:1"), None).codes(), [0; 0]);
    let watch = Target::Watch { group: "mine", key: "*" };
    assert_eq!(rig.subscribe(alice, 2, watch, None).one(), ServerMessage::Following { subscription: 2 });
    assert_eq!(
        rig.subscribe(alice, 3, Target::Mailbox, None).one(),
        ServerMessage::Following { subscription: 3 },
        "a user's own mailbox needs no permission"
    );
}

#[test]
fn what_no_pattern_names_is_forbidden_to_write_whole_and_changes_nothing() {
    let mut rig = rig();
    rig.open("store");
    rig.set("store", "r", 1);
    let may = "object:mine:*,kv:mine,mailbox:bob";
    let alice = welcomed(&mut rig, &format!("alice;;*;{may}"));
    let (one, row) = (number(1), record("r", 2));
    let (value, row) = (EncodedValue::check(&one).unwrap(), EncodedValue::check(&row).unwrap());
    let set = |group| KvChange::Set { group, key: "k", value, ttl: None };
    let forbidden = [
        Operation::Put { key: "yours:1", value },
        Operation::Delete { key: "yours:1" },
        Operation::Set { datastore: "store", value: row },
        Operation::Remove { datastore: "store", key: "r" },
        Operation::Merge { pool: "p", fields: value },
        Operation::Notify { to: "carol", pack: value, suit: false, ttl: None },
        Operation::Kv(vec![set("mine"), set("yours")]),
        Operation::Kv(vec![set("mine"), KvChange::Delete { group: "yours", key: "k" }]),
        Operation::Kv(vec![KvChange::DeleteGroup { group: "yours" }]),
    ];
    for (request, operation) in (1..).zip(forbidden) {
        let about = format!("{operation:?}");
        assert_eq!(rig.write(alice, request, operation).codes(), [FORBIDDEN], "{about}");
    }
    assert_eq!(rig.server.object("yours:1").unwrap(), None);
    assert_eq!(rig.server.snapshot(rig.now, "store").unwrap().unwrap().position.sequence.get(), 1);
    assert_eq!(rig.server.pending_notifications("carol").unwrap(), 0);
    assert_eq!(rig.server.kv(rig.now).count("mine").unwrap(), 0);
    let allowed = [
        Operation::Put { key: "mine:1", value },
        Operation::Notify { to: "bob", pack: value, suit: false, ttl: None },
        Operation::Kv(vec![set("mine")]),
    ];
    for (request, operation) in (20..).zip(allowed) {
        let about = format!("{operation:?}");
        assert_eq!(rig.write(alice, request, operation).codes(), [0; 0], "{about}");
    }
}

#[test]
fn a_question_is_held_against_what_it_reads_and_a_prefix_against_all_groups_that_begin_so() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;;kv:mine,kv:app:*;");
    let cases = [
        (Query::KvGet { group: "mine", key: "k" }, None),
        (Query::KvGetAll { group: "app:x" }, None),
        (Query::KvCount { group: "mine" }, None),
        (Query::KvGroups { prefix: "app:" }, None),
        (Query::KvCountAll { prefix: "app:x" }, None),
        (Query::KvGet { group: "yours", key: "k" }, Some(FORBIDDEN)),
        (Query::KvGetAll { group: "mine2" }, Some(FORBIDDEN)),
        (Query::KvCount { group: "*" }, Some(FORBIDDEN)),
        (Query::KvGroups { prefix: "" }, Some(FORBIDDEN)),
        (Query::KvGroups { prefix: "mine" }, Some(FORBIDDEN)),
        (Query::KvCountAll { prefix: "app" }, Some(FORBIDDEN)),
        (Query::KvRender { template: "", group: "yours" }, Some(FORBIDDEN)),
    ];
    for (query, (about, expected)) in (1..).zip(cases) {
        assert_eq!(ask(&mut rig, alice, query, about), expected, "{about:?}");
    }
}

#[test]
fn a_reply_needs_no_permission_but_to_be_the_target() {
    let mut rig = rig();
    let bob = welcomed(&mut rig, "bob;;;");
    let one = number(1);
    let value = EncodedValue::check(&one).unwrap();
    let trace = rig.server.notify(rig.now, "bob", value, true, None).unwrap().trace.to_string();
    rig.commit().unwrap();
    assert_eq!(rig.write(bob, 1, Operation::Reply { trace: &trace, reply: value }).codes(), [0; 0]);
    let (carol, _) = hello(&mut rig, "d", Some("carol;;*;*"));
    let inbox = rig.write(carol, 1, Operation::Reply { trace: &trace, reply: value });
    assert_eq!(inbox.codes(), [ErrorCode::NotFound.number()]);
}

#[test]
fn a_connection_is_closed_when_its_token_expires_and_not_a_moment_before() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;25;*;*");
    for _ in 0..24 {
        rig.advance(SECOND);
        rig.send(alice, &ClientMessage::Ping);
        assert_eq!(rig.take(alice).closed, None);
    }
    rig.advance(SECOND - Duration::from_millis(1));
    assert_eq!(rig.take(alice).closed, None);
    rig.advance(Duration::from_millis(1));
    closed(&rig.take(alice), "expired");
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn a_write_that_comes_after_the_end_of_the_token_and_before_the_timer_is_not_done() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;25;*;*");
    rig.now = rig.now + 25 * SECOND;
    let one = number(1);
    let value = EncodedValue::check(&one).unwrap();
    let inbox = rig.write(alice, 1, Operation::Put { key: "k", value });
    closed(&inbox, "expired");
    assert_eq!(rig.server.object("k").unwrap(), None);
}

#[test]
fn a_client_is_asked_once_for_another_token_a_minute_before_the_end_and_lives_on_with_it() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;3600;*;*");
    let asked = |inbox: &Inbox| {
        let renewals = inbox.messages().into_iter().filter_map(|message| match message {
            ServerMessage::Renew { left } => Some(left),
            _ => None,
        });
        renewals.collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    while rig.now < START + 3_599 * SECOND {
        rig.advance(SECOND);
        rig.send(alice, &ClientMessage::Ping);
        seen.extend(asked(&rig.take(alice)).into_iter().map(|left| (rig.now, left)));
    }
    assert_eq!(seen, [(START + 59 * MINUTE, 60_000)]);
    rig.send(alice, &ClientMessage::Token("alice;7200;*;*"));
    for _ in 0..60 {
        rig.advance(SECOND);
        rig.send(alice, &ClientMessage::Ping);
        let inbox = rig.take(alice);
        assert_eq!((inbox.closed.clone(), asked(&inbox)), (None, vec![]));
    }
}

#[test]
fn a_token_that_ends_earlier_than_the_one_before_counts_from_now_on() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;;*;*");
    rig.send(alice, &ClientMessage::Token("alice;3;*;*"));
    rig.advance(3 * SECOND - Duration::from_millis(1));
    assert_eq!(rig.take(alice).closed, None);
    rig.advance(Duration::from_millis(1));
    closed(&rig.take(alice), "expired");
}

#[test]
fn a_token_of_another_user_or_one_that_is_refused_ends_the_session() {
    for (token, reason) in
        [("bob;;*;*", "another user"), ("alice;0;*;*", "expired"), ("alice;;what", "is no pattern")]
    {
        let mut rig = rig();
        let alice = welcomed(&mut rig, "alice;;*;*");
        rig.send(alice, &ClientMessage::Token(token));
        closed(&rig.take(alice), reason);
        assert_eq!(rig.server.residue(), Residue::default());
    }
    let mut rig = rig();
    let early = rig.connect();
    rig.send(early, &ClientMessage::Token("alice;;*;*"));
    assert_eq!(rig.take(early).closed.unwrap().0, CloseCode::Unexpected.number());
}

#[test]
fn subscriptions_that_a_new_token_does_not_cover_end_and_the_others_go_on() {
    let mut rig = rig();
    rig.open("kept");
    rig.open("lost");
    let alice = welcomed(&mut rig, "alice;;*;*");
    rig.subscribe(alice, 1, datastore("kept"), None);
    rig.subscribe(alice, 2, datastore("lost"), None);
    rig.subscribe(alice, 3, Target::Watch { group: "kept", key: "*" }, None);
    rig.subscribe(alice, 4, Target::Watch { group: "lost", key: "*" }, None);
    rig.subscribe(alice, 5, Target::Watch { group: "*", key: "*" }, None);
    rig.subscribe(alice, 6, Target::Mailbox, None);
    rig.subscribe(alice, 7, Target::Object("lost"), None);
    rig.send(alice, &ClientMessage::Token("alice;;datastore:kept,kv:kept;"));
    let inbox = rig.take(alice);
    let denied = |message: ServerMessage<'_>| match message {
        ServerMessage::Denied { subscription, attempt: 0, code: FORBIDDEN, .. } => subscription,
        other => panic!("{other:?}"),
    };
    assert_eq!(inbox.messages().into_iter().map(denied).collect::<Vec<_>>(), [2, 4, 5, 7]);
    rig.set("lost", "r", 1);
    assert!(rig.take(alice).messages().is_empty());
    rig.set("kept", "r", 1);
    assert_eq!(rig.take(alice).envelopes().len(), 1);
    // What is asked about one that has ended is answered as about one that never was.
    rig.send(alice, &ClientMessage::Refetch { subscription: 2, attempt: 1, position: None });
    assert_eq!(rig.take(alice).codes(), [ErrorCode::NotFound.number()]);
    let one = number(1);
    let value = EncodedValue::check(&one).unwrap();
    assert_eq!(rig.write(alice, 1, Operation::Put { key: "k", value }).codes(), [FORBIDDEN]);
}

#[test]
fn two_users_with_one_client_id_neither_see_each_others_replies_nor_end_each_others_connections() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;;*;object:a");
    let mallory = welcomed(&mut rig, "mallory;;*;object:m");
    assert_eq!(rig.take(alice).closed, None);
    let one = number(1);
    let value = EncodedValue::check(&one).unwrap();
    let put = |key| Operation::Put { key, value };
    let first = rig.write(alice, 1, put("a")).ack();
    assert!(first.is_some());
    assert_eq!(rig.write(mallory, 1, put("a")).codes(), [FORBIDDEN], "not alice's acknowledgement");
    assert!(rig.write(mallory, 2, put("m")).ack().is_some());
    assert_eq!(rig.write(alice, 1, put("a")).ack(), first, "her own is repeated");
}

#[test]
fn a_write_that_ran_is_acknowledged_again_under_a_token_that_no_longer_allows_it() {
    let mut rig = rig();
    let alice = welcomed(&mut rig, "alice;;*;*");
    let one = number(1);
    let value = EncodedValue::check(&one).unwrap();
    let done = rig.write(alice, 1, Operation::Put { key: "k", value }).ack();
    let again = welcomed(&mut rig, "alice;;*;");
    assert_eq!(rig.write(again, 1, Operation::Put { key: "k", value }).ack(), done);
    assert_eq!(rig.write(again, 2, Operation::Put { key: "k", value }).codes(), [FORBIDDEN]);
}

#[test]
fn a_viewer_is_the_user_of_the_token_and_not_the_client() {
    let mut options = Options::new([1; 32]);
    options.admission = Admission::checked(check);
    options.rules = Rules::new()
        .viewer("self", |view| Ok(view.key == view.viewer))
        .object("*", Rule::new().projection(Projection::new().field("n", "self").others(EVERYONE)));
    let mut rig = Rig::configured(Memory::new(), options);
    let row = record("r", 7);
    rig.server.put(rig.now, "alice", EncodedValue::check(&row).unwrap()).unwrap();
    rig.commit().unwrap();
    let length = |inbox: &Inbox| match inbox.answer().2 {
        tidewire::protocol::Answer::Snapshot { value, .. } => value.fields().unwrap().count(),
        other => panic!("{other:?}"),
    };
    let (alice, _) = hello(&mut rig, "c1", Some("alice;;*;"));
    let (bob, _) = hello(&mut rig, "alice", Some("bob;;*;"));
    assert_eq!(length(&rig.subscribe(alice, 1, Target::Object("alice"), None)), 2);
    assert_eq!(length(&rig.subscribe(bob, 1, Target::Object("alice"), None)), 1);
}
