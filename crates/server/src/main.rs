//! The command line of the native server.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tidewire_server::{
    backup,
    check::{self, CheckError},
    import::{self, ImportError},
    keys::Sources,
    serve::{self, ServeError},
};
use tokio::runtime;

/// Keeps server-authoritative records live in browsers.
#[derive(Debug, Parser)]
#[command(name = "tidewire-server", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server.
    Serve(Serve),
    /// Fills a permanent datastore from a JSON file. Records that are stored already, exactly so, are left alone.
    Import(Import),
    /// Reads the whole database and says what is wrong with it; the server may run.
    Check(Data),
    /// Copies the database into a file; the server may run.
    Backup {
        /// The file to write; it must not exist.
        file: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// Puts a backup in the database's place. Clients notice, and those who saw changes made after the backup are told.
    Restore {
        /// What `backup` wrote.
        file: PathBuf,
        #[command(flatten)]
        data: Data,
        /// Puts aside the database that is there.
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Args)]
struct Data {
    /// Directory of the database.
    #[arg(long, default_value = "data")]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4400")]
    listen: SocketAddr,
    /// Directory of the database; made if it is not there.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// Directory of files to serve beside the API.
    #[arg(long)]
    www: Option<PathBuf>,
    /// Origin whose pages may connect, such as https://app.example.com; may be repeated.
    #[arg(long)]
    allow_origin: Vec<String>,
    /// Lets everybody who can reach the server read and write everything, not only programs on this machine.
    #[arg(long)]
    open: bool,
    /// File with the secret that tokens are signed with (HS256). Where it is not given, TIDEWIRE_JWT_SECRET in the
    /// environment is the secret itself, if it is set.
    #[arg(long, value_name = "FILE")]
    jwt_secret: Option<PathBuf>,
    /// File with the public keys that tokens are signed with (a JSON Web Key Set: RS256, ES256, EdDSA).
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Takes only tokens with this audience in `aud`. Without it, tokens that name an audience are refused.
    #[arg(long, value_name = "NAME")]
    jwt_audience: Option<String>,
    /// Logs every connection.
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct Import {
    /// A JSON array of objects, or one object per line.
    file: PathBuf,
    /// The datastore to fill.
    #[arg(long)]
    datastore: String,
    /// The field that names a record.
    #[arg(long, default_value = "id")]
    primary: String,
    /// Directory of the database; made if it is not there.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// Does nothing if the datastore holds any record.
    #[arg(long)]
    if_empty: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => run_serve(options).map_err(|error| error.to_string()),
        Command::Import(options) => run_import(options).map_err(|error| error.to_string()),
        Command::Check(Data { data }) => run_check(&data).map_err(|error| error.to_string()),
        Command::Backup { file, data: Data { data } } => backup::backup(&data, &file)
            .map(|size| println!("{}: {size} bytes", file.display()))
            .map_err(|error| error.to_string()),
        Command::Restore { file, data: Data { data }, replace } => backup::restore(&file, &data, replace)
            .map(|report| println!("{}: {report}", data.display()))
            .map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run_serve(options: Serve) -> Result<(), ServeError> {
    let level = if options.verbose { tracing::Level::DEBUG } else { tracing::Level::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(io::stderr).init();
    let config = serve::Config {
        listen: options.listen,
        data: options.data,
        www: options.www,
        allow_origin: options.allow_origin,
        open: options.open,
        keys: Sources {
            secret_file: options.jwt_secret,
            secret: env::var_os("TIDEWIRE_JWT_SECRET").map(OsString::into_encoded_bytes),
            jwks: options.jwks,
            audience: options.jwt_audience,
        },
    };
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::System)?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(ServeError::System)?;
        serve::serve(config, announce, stop).await
    })
}

fn announce(address: SocketAddr) {
    // Whoever started the server may have closed its output; that is no reason to end.
    let _ = writeln!(io::stdout(), "listening on http://{address}/");
}

/// Ends with the first Ctrl-C or request to terminate.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}

fn run_check(data: &Path) -> Result<(), CheckError> {
    println!("{}: {}", data.display(), check::check(data)?);
    Ok(())
}

fn run_import(options: Import) -> Result<(), ImportError> {
    let config = import::Config {
        file: options.file,
        datastore: options.datastore,
        primary: options.primary,
        data: options.data,
        if_empty: options.if_empty,
    };
    let name = config.datastore.clone();
    let report =
        import::import(&config, |written, total| eprintln!("{name}: {written} of {total} records written"))?;
    println!("{name}: {report}");
    Ok(())
}
