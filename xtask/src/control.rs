//! A loopback address at which a test kills the server and starts it again.
//!
//! `POST /kill` ends the server as a crash would; `POST /start` starts it on the same port and data and answers when
//! it is healthy. 200 means done; anything else has the reason as its body.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context;

use crate::server::Server;

/// A server that the endpoint and its owner share.
pub(crate) type Shared = Arc<Mutex<Option<Server>>>;

/// Serves the endpoint until the process ends, and returns its address.
pub(crate) fn serve(server: Shared) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for the check")?;
    let address = listener.local_addr().context("cannot listen for the check")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away takes only its own answer with it.
            let _ = answer(&stream, &server);
        }
    });
    Ok(format!("http://{address}"))
}

fn answer(mut stream: &TcpStream, server: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The head has to be read whole, or closing the socket would reset the connection before the answer arrives.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut held = server.lock().unwrap_or_else(PoisonError::into_inner);
    let done = match (request.split(" HTTP/").next().unwrap_or_default(), held.as_mut()) {
        ("POST /kill", Some(server)) => server.kill(),
        ("POST /start", Some(server)) => server.start_again(),
        ("POST /kill" | "POST /start", None) => Err(anyhow::anyhow!("the check is over")),
        (other, _) => Err(anyhow::anyhow!("no such request: {other}; there are POST /kill and POST /start")),
    };
    let (status, body) = match done {
        Ok(()) => ("200 OK", String::new()),
        Err(error) => ("500 Internal Server Error", format!("{error:#}\n")),
    };
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn request(line: &str) -> String {
        let address = serve(Shared::default()).unwrap();
        let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn an_unknown_request_is_told_which_ones_there_are() {
        let answer = request("GET /kill");
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
        assert!(answer.contains("POST /kill and POST /start"), "{answer}");
    }

    #[test]
    fn after_the_check_there_is_no_server_to_kill() {
        assert!(request("POST /kill").contains("the check is over"));
    }
}
