//! What stands in front of the nodes: it sends each connection to a node that is ready, and ends those of one that is not.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

/// How often a node is asked, and how long it may take to answer.
const LOOK: Duration = Duration::from_millis(300);

/// Where a node is, as its number and address; `None`: it is down.
type Place = Arc<Mutex<Vec<Option<String>>>>;

/// A load balancer.
#[derive(Clone)]
pub(crate) struct Balancer {
    pub(crate) address: String,
    places: Place,
    ready: Vec<watch::Sender<bool>>,
}

impl Balancer {
    pub(crate) async fn start(nodes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let places = Arc::new(Mutex::new(vec![None; nodes]));
        let ready: Vec<_> = (0..nodes).map(|_| watch::channel(false).0).collect();
        let balancer = Self { address, places, ready };
        for node in 0..nodes {
            tokio::spawn(balancer.clone().look(node));
        }
        tokio::spawn(balancer.clone().accept(listener));
        balancer
    }

    /// Says where a node is.
    pub(crate) fn place(&self, node: usize, address: Option<String>) {
        self.places.lock().unwrap()[node] = address;
    }

    /// The addresses of the nodes that are up.
    pub(crate) fn up(&self) -> Vec<String> {
        self.places.lock().unwrap().iter().flatten().cloned().collect()
    }

    fn address(&self, node: usize) -> Option<String> {
        self.places.lock().unwrap()[node].clone()
    }

    async fn look(self, node: usize) {
        loop {
            let is_ready = match self.address(node) {
                Some(address) => timeout(LOOK, is_ready(&address)).await.unwrap_or(false),
                None => false,
            };
            self.ready[node].send_if_modified(|known| std::mem::replace(known, is_ready) != is_ready);
            sleep(LOOK).await;
        }
    }

    async fn accept(self, listener: TcpListener) {
        let next = AtomicUsize::new(0);
        while let Ok((mut client, _)) = listener.accept().await {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let nodes = (0..self.ready.len()).map(|node| (node + turn) % self.ready.len());
            let Some(node) = nodes.into_iter().find(|node| *self.ready[*node].borrow()) else {
                continue;
            };
            let Some(address) = self.address(node) else { continue };
            let mut ready = self.ready[node].subscribe();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(address).await else { return };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = ready.wait_for(|is_ready| !is_ready) => {}
                }
            });
        }
    }
}

async fn is_ready(address: &str) -> bool {
    matches!(request(address, "GET", "/readyz", None, "").await, Some(response) if response.status == 200)
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) tag: Option<String>,
    pub(crate) body: String,
}

/// A request, with what it is conditional on; `None`: there was no answer, and nobody knows what came of it.
pub(crate) async fn request(
    address: &str,
    method: &str,
    path: &str,
    condition: Option<&str>,
    body: &str,
) -> Option<Response> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let condition = condition.map_or_else(String::new, |line| format!("{line}\r\n"));
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {condition}content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let tag = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("etag").then(|| value.to_owned())
    });
    Some(Response { status, tag, body: body.to_owned() })
}
