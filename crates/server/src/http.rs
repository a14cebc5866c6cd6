//! Objects and datastores over plain HTTP: for the first paint of a page, for refetches and for scripts.
//!
//! `GET /v1/objects/{key}`, `PUT` and `DELETE` of the same, `GET /v1/datastores/{id}`. A body is JSON with the escapes
//! of the JSON codec or, where `Accept` or `Content-Type` says `application/msgpack`, MessagePack. A position is an
//! `ETag`: with `If-None-Match` an unchanged value is not sent again, with `If-Match` a write happens only if nobody
//! else wrote meanwhile. `Authorization: Bearer` has the token of who asks.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::StreamExt;
use tidewire::{
    protocol::{
        EncodedValue, ErrorCode, Lineage, Position, Writer, frame_value_from_json, frame_value_to_json,
        limits::{MAX_VALUE_BYTES, SLOWEST_LINE},
    },
    server::{Object, Record},
};
use tokio::time::{Instant, timeout, timeout_at};
use tower_http::{
    cors::{AllowOrigin, CorsLayer},
    timeout::TimeoutLayer,
};

use crate::{
    host::{Call, CallError, Condition},
    web::{Web, text},
};

const MSGPACK: &str = "application/msgpack";
const JSON: &str = "application/json";

/// How long a request may take; one with a body has as long again as the slowest line takes for what has come of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// JSON takes up to six bytes for one of a value, where every character is an escape.
const BODY_BYTES: usize = 6 * MAX_VALUE_BYTES;

/// The routes under `/v1` beside the WebSocket's.
pub(crate) fn router(web: &Arc<Web>) -> Router<Arc<Web>> {
    let origins = web.clone();
    let is_allowed = move |origin: &HeaderValue, parts: &Parts| {
        origins.origins.is_allowed(origin.to_str().ok(), text(&parts.headers, header::HOST))
    };
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::PUT, Method::DELETE])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
        ])
        .expose_headers([header::ETAG]);
    Router::new()
        .route("/v1/objects/{*key}", get(object).delete(delete).layer(in_time()).put(put))
        .route("/v1/datastores/{*id}", get(datastore).layer(in_time()))
        .layer(cors)
        .layer(from_fn_with_state(web.clone(), door))
}

fn in_time() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, PATIENCE)
}

/// The body of a request, as slowly as the slowest line brings it. It may not come more slowly, nor be larger than any
/// value.
async fn whole(body: Body) -> Result<Vec<u8>, Response> {
    let began = Instant::now();
    let mut pieces = body.into_data_stream();
    let mut whole = Vec::new();
    loop {
        let carrying = Duration::from_secs((whole.len() / SLOWEST_LINE) as u64);
        match timeout_at(began + PATIENCE + carrying, pieces.next()).await {
            Ok(Some(Ok(piece))) if whole.len() + piece.len() <= BODY_BYTES => whole.extend_from_slice(&piece),
            Ok(Some(Ok(_))) => return Err(too_large()),
            Ok(Some(Err(error))) => return Err(Failure::invalid(error.to_string()).into_response()),
            Ok(None) => return Ok(whole),
            Err(_elapsed) => return Err(StatusCode::REQUEST_TIMEOUT.into_response()),
        }
    }
}

fn too_large() -> Response {
    let message = format!("a value is at most {MAX_VALUE_BYTES} bytes");
    Failure::new(ErrorCode::LimitExceeded, message).into_response()
}

/// Turns pages away whose origin may not connect, names that a foreign page has pointed here, and bodies that say
/// themselves that they are too large.
async fn door(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST);
    if !web.origins.is_allowed(text(headers, header::ORIGIN), host) || !web.origins.is_known(host) {
        let message = "this origin may not connect; start the server with --allow-origin to allow it";
        return Failure::new(ErrorCode::Forbidden, message).into_response();
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES as u64) {
        return too_large();
    }
    next.run(request).await
}

/// What a request is refused with.
struct Failure {
    status: StatusCode,
    code: ErrorCode,
    message: String,
}

impl Failure {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = match code {
            ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::InvalidValue => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::LimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::RequestExpired | ErrorCode::Conflict => StatusCode::CONFLICT,
            code if code.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unauthorized(refusal) => Self {
                status: StatusCode::UNAUTHORIZED,
                ..Self::new(ErrorCode::Forbidden, refusal.to_string())
            },
            CallError::Refused(error) => Self::new(error.code(), error.to_string()),
            CallError::Changed => Self {
                status: StatusCode::PRECONDITION_FAILED,
                ..Self::new(ErrorCode::Conflict, error.to_string())
            },
            CallError::Undone | CallError::Unknown | CallError::Ended => {
                Self::new(ErrorCode::Unavailable, error.to_string())
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": {
            "code": self.code.number(),
            "name": self.code.name(),
            "retryable": self.code.is_retryable(),
            "message": self.message,
        }});
        let mut response = (self.status, [(header::CONTENT_TYPE, JSON)], format!("{body}\n")).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"tidewire\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// The token of `Authorization: Bearer`. Another scheme is none of this server's.
fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

async fn object(
    State(web): State<Arc<Web>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (object, lineage) = web.host.call(token(&headers), |answer| Call::Object(key, answer)).await?;
    let Some(Object { position, version, value: Some(value) }) = object else {
        return Err(Failure::new(ErrorCode::NotFound, "there is no such object"));
    };
    Ok(respond(&headers, position, |writer| {
        writer.map(5);
        writer.str("value");
        writer.value(EncodedValue::trusted(&value));
        writer.str("schema_version");
        writer.optional(version.as_deref(), Writer::str);
        write_position(writer, position);
        write_lineage(writer, &lineage);
    }))
}

async fn datastore(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = web.host.call(token(&headers), |answer| Call::Datastore(id, answer)).await?;
    let Some((datastore, snapshot)) = found else {
        return Err(Failure::new(ErrorCode::NotFound, "there is no such datastore, or it has expired"));
    };
    Ok(respond(&headers, snapshot.position, |writer| {
        writer.map(5);
        writer.str("primary");
        writer.str(&datastore.primary);
        writer.str("records");
        writer.array(snapshot.records.len());
        for Record { key, sequence, version, value } in &snapshot.records {
            writer.map(4);
            writer.str("key");
            writer.str(key);
            writer.str("sequence");
            writer.u64(sequence.get());
            writer.str("schema_version");
            writer.optional(version.as_deref(), Writer::str);
            writer.str("value");
            writer.value(EncodedValue::trusted(value));
        }
        write_position(writer, snapshot.position);
        write_lineage(writer, &snapshot.lineage);
    }))
}

async fn put(
    State(web): State<Arc<Web>>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let body = whole(body).await?;
    let writing = put_whole(&web, &headers, key, &body);
    let written =
        timeout(PATIENCE, writing).await.map_err(|_elapsed| StatusCode::REQUEST_TIMEOUT.into_response())?;
    written.map_err(Failure::into_response)
}

async fn put_whole(web: &Web, headers: &HeaderMap, key: String, body: &[u8]) -> Result<Response, Failure> {
    let value = match text(headers, header::CONTENT_TYPE).map(|kind| kind.split(';').next().unwrap_or(kind)) {
        Some(MSGPACK) => EncodedValue::check(body)
            .map(|value| value.as_bytes().to_vec())
            .map_err(|error| Failure::invalid(error.to_string()))?,
        Some(JSON) => {
            let text = str::from_utf8(body).map_err(|_| Failure::invalid("the body is not UTF-8"))?;
            frame_value_from_json(text).map_err(|error| Failure::invalid(error.to_string()))?
        }
        _ => return Err(Failure::invalid(format!("the Content-Type of a value is {JSON} or {MSGPACK}"))),
    };
    write(web, headers, key, Some(value)).await
}

async fn delete(
    State(web): State<Arc<Web>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    write(&web, &headers, key, None).await
}

async fn write(
    web: &Web,
    headers: &HeaderMap,
    key: String,
    value: Option<Vec<u8>>,
) -> Result<Response, Failure> {
    let condition = condition(headers)?;
    let write = |answer| Call::Write { key, value, condition, answer };
    let Some(position) = web.host.call(token(headers), write).await? else {
        return Err(Failure::new(ErrorCode::NotFound, "there is no such object"));
    };
    let body = serde_json::json!({ "epoch": position.epoch.text(), "sequence": position.sequence.get() });
    let headers = [(header::ETAG, tag(position)), (header::CONTENT_TYPE, JSON.to_owned())];
    Ok((headers, format!("{body}\n")).into_response())
}

fn tag(position: Position) -> String {
    format!("\"{}-{}\"", position.epoch.text(), position.sequence.get())
}

/// When a write may happen, by `If-Match` and `If-None-Match`.
fn condition(headers: &HeaderMap) -> Result<Condition, Failure> {
    match (text(headers, header::IF_MATCH), text(headers, header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::Always),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some(tag), None) => position(tag)
            .map(Condition::At)
            .ok_or_else(|| Failure::invalid("If-Match takes the ETag of a GET or PUT, as it is")),
        _ => Err(Failure::invalid("a write takes If-Match with an ETag, or If-None-Match: *")),
    }
}

fn position(tag: &str) -> Option<Position> {
    let (epoch, sequence) = tag.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
    let sequence = sequence.parse().ok().and_then(tidewire::protocol::Sequence::new)?;
    Some(Position { epoch: epoch.parse().ok()?, sequence })
}

fn respond(headers: &HeaderMap, position: Position, write: impl FnOnce(&mut Writer)) -> Response {
    let tag = tag(position);
    let vary = (header::VARY, "accept, authorization".to_owned());
    let is_known = text(headers, header::IF_NONE_MATCH).is_some_and(|known| {
        known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
    });
    if is_known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag), vary]).into_response();
    }
    let mut writer = Writer::new();
    write(&mut writer);
    let bytes = writer.into_bytes();
    let wants_msgpack = text(headers, header::ACCEPT).is_some_and(|accept| accept.contains(MSGPACK));
    let (kind, body) = if wants_msgpack {
        (MSGPACK, bytes)
    } else {
        (JSON, frame_value_to_json(EncodedValue::trusted(&bytes)).into_bytes())
    };
    let cache = (header::CACHE_CONTROL, "private, no-cache".to_owned());
    ([(header::ETAG, tag), vary, cache, (header::CONTENT_TYPE, kind.to_owned())], body).into_response()
}

fn write_position(writer: &mut Writer, position: Position) {
    writer.str("epoch");
    writer.str(&position.epoch.text());
    writer.str("sequence");
    writer.u64(position.sequence.get());
}

fn write_lineage(writer: &mut Writer, lineage: &Lineage) {
    writer.str("lineage");
    writer.array(lineage.entries().len());
    for entry in lineage.entries() {
        writer.map(2);
        write_position(writer, *entry);
    }
}
