//! The client and the server module, joined by hand in one process.

use tidewire::client::{Client, Output};
use tidewire::protocol::{EncodedValue, Timestamp, from_json, to_json};
use tidewire::server::{Action, ConnectionId, Options, Server, Transmit, storage::Memory};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (now, here) = (Timestamp::from_millis(0), ConnectionId(1));
    let mut server = Server::open(Memory::new(), Options::new([7; 32]))?; // seeds: random bytes in a real program
    let mut client = Client::new([1; 16], None);
    let countries = client.subscribe_datastore("countries", Some(true), "cca3", false)?;
    let italy = from_json(r#"{"cca3":"ITA","capital":["Rome"]}"#)?;
    client.set(now, "countries", EncodedValue::check(&italy)?)?;
    client.start(now);

    let mut link = None;
    loop {
        while let Some(output) = client.poll_output() {
            match output {
                Output::Dial(dialed) => {
                    link = Some(dialed);
                    server.handle_connect(now, here);
                    client.handle_opened(now, dialed);
                }
                Output::Transmit(_, frame) => server.handle_frame(now, here, &frame),
                Output::Hang { .. } => server.handle_disconnect(now, here),
                Output::Fetch(..) => {} // only where tokens are asked for
            }
        }
        server.commit(now)?; // nothing is answered before it is committed
        let Some(Transmit { action: Action::Frame(frame), .. }) = server.poll_transmit() else { break };
        client.handle_frame(now, link.ok_or("no link was dialed")?, &frame);
    }

    let shown = client.row(countries, "ITA").and_then(|cell| client.value(cell)).ok_or("nothing arrived")?;
    assert_eq!(to_json(shown)?, r#"{"cca3":"ITA","capital":["Rome"]}"#);
    Ok(())
}
