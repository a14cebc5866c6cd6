//! A loopback address at which a page or a test asks for what only the owner of processes can do.
//!
//! A request is one line, such as `POST /kill`. 200 has what was asked for as its body; anything else has the reason.
//! Pages of this machine may ask; a page from elsewhere that runs in a browser here may not.

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

/// Answers requests by `handle` until the process ends, and returns the address.
pub(crate) fn serve(
    handle: impl Fn(&str) -> anyhow::Result<String> + Send + 'static,
) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for requests")?;
    let address = listener.local_addr().context("cannot listen for requests")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away takes only its own answer with it.
            let _ = answer(&stream, &handle);
        }
    });
    Ok(format!("http://{address}"))
}

/// What a check may do to its server: `POST /kill` ends it as a crash would; `POST /start` starts it on the same port and
/// data, and answers when it is healthy.
pub(crate) fn of_server(server: Shared) -> impl Fn(&str) -> anyhow::Result<String> + Send {
    move |request| {
        let mut held = server.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match (request, held.as_mut()) {
            ("POST /kill", Some(server)) => server.kill(),
            ("POST /start", Some(server)) => server.start_again(),
            ("POST /kill" | "POST /start", None) => Err(anyhow::anyhow!("the check is over")),
            (other, _) => {
                Err(anyhow::anyhow!("no such request: {other}; there are POST /kill and POST /start"))
            }
        };
        done.map(|()| String::new())
    }
}

fn answer(mut stream: &TcpStream, handle: impl Fn(&str) -> anyhow::Result<String>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut origin = None;
    // The head has to be read whole, or closing the socket would reset the connection before the answer arrives.
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("origin")
        {
            origin = Some(value.trim().to_owned());
        }
    }
    let (status, body) = if origin.as_deref().is_some_and(|origin| !is_of_this_machine(origin)) {
        ("403 Forbidden", "pages of this machine may ask\n".to_owned())
    } else {
        match handle(request.split(" HTTP/").next().unwrap_or_default()) {
            Ok(body) => ("200 OK", body),
            Err(error) => ("500 Internal Server Error", format!("{error:#}\n")),
        }
    };
    let allowed = origin
        .filter(|origin| is_of_this_machine(origin))
        .map_or_else(String::new, |origin| format!("Access-Control-Allow-Origin: {origin}\r\n"));
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{allowed}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn is_of_this_machine(origin: &str) -> bool {
    ["127.0.0.1", "localhost"].iter().any(|host| {
        origin
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_prefix(host))
            .is_some_and(|port| port.is_empty() || port.starts_with(':'))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn request(head: &str) -> String {
        let address = serve(of_server(Shared::default())).unwrap();
        let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_page_from_elsewhere_may_not_kill_anything() {
        for origin in ["https://example.org", "http://127.0.0.1.example.org", "null"] {
            let answer = request(&format!("POST /kill\nOrigin: {origin}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("Access-Control"), "{answer}");
        }
        let answer = request("POST /kill\norigin: http://127.0.0.1:4400\r\n");
        assert!(answer.contains("Access-Control-Allow-Origin: http://127.0.0.1:4400\r\n"), "{answer}");
        assert!(answer.contains("the check is over"), "{answer}");
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
