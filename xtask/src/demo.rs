//! The demo: the real server, real data, the built page.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{anyhow, bail};

use crate::{
    build, check,
    server::{self, Server},
    setup,
    shell::{self, Interrupted, Shell},
};

/// `cargo xtask demo`: runs until Ctrl-C.
pub(crate) fn serve(shell: &Shell, port: u16, data: &Path) -> anyhow::Result<()> {
    // Before minutes of building, not after.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        anyhow!("port {port} cannot be used ({error}); stop what listens there or choose another with --port")
    })?;
    setup::for_build(shell)?;
    build::everything(shell)?;
    server::build(shell)?;
    let data = std::path::absolute(data)?;
    shell.step("countries", "cargo xtask demo", || server::import_countries(shell, &data))?;
    let mut server = match Server::start(shell, port, &data, None) {
        Err(error) if error.is::<Interrupted>() => return Ok(()),
        started => started?,
    };
    println!("demo: {}", server.url());
    while !shell::is_interrupted() {
        if let Some(status) = server.ended()? {
            bail!("the server ended with {status}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    println!("stopping the server");
    server.stop()
}

/// `cargo xtask demo --check`.
pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    let browser = setup::for_check(shell)?;
    build::everything(shell)?;
    server::build(shell)?;
    check::run(shell, &browser)
}
