//! Says every message again: what a suite of tests for WebSockets wants to talk to. The WebSocket is the server's own,
//! but for the size of a frame, as the suite sends some of 16 MiB.

use std::{future::pending, io, net::Ipv4Addr};

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::get,
};
use tidewire_server::{listen, web};
use tokio::net::TcpListener;

const FRAME_BYTES: usize = 32 * 1024 * 1024;

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_said = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message).await.is_ok(),
            // The library answers the others by itself.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => true,
        };
        if !is_said {
            return;
        }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let upgrade =
        async |upgrade: WebSocketUpgrade| web::tuned(upgrade, FRAME_BYTES, FRAME_BYTES).on_upgrade(echo);
    listen::serve(listener, Router::new().route("/", get(upgrade)), pending()).await
}
