//! The command line of the native server.

use std::{
    env,
    error::Error,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use tidewire_server::{
    Limits, backup, check,
    config::{ConfigError, LogFormat, Settings},
    export::{self, Report, Source},
    import::{self, Destination},
    serve::ServeError,
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
    Serve(Box<Serve>),
    /// Fills a permanent datastore from a JSON file, or sets objects. What is stored already, exactly so, is left alone.
    Import(Import),
    /// Writes the records of a permanent datastore, or all objects, as lines of JSON; the server may run.
    Export(Export),
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
    /// Directory of the database [default: data].
    #[arg(long, env = "TIDEWIRE_DATA", value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// TOML file that says what no flag and no variable does; `docs/operating.md` describes it.
    #[arg(long, env = "TIDEWIRE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn read(&self) -> Result<Settings, ConfigError> {
        Settings::read(self.config.as_deref())
    }
}

impl Data {
    /// What is told to a command that only needs to know where the database is.
    fn settings(self) -> Result<Settings, ConfigError> {
        let file = self.file.read()?;
        Ok(Settings { data: self.data, ..Settings::default() }.over(file))
    }
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    settings: Box<Settings>,
}

#[derive(Debug, Args)]
struct Import {
    /// A JSON array of objects, or one object per line.
    file: PathBuf,
    #[command(flatten)]
    what: What,
    /// The field that names a record.
    #[arg(long, default_value = "id", conflicts_with = "objects")]
    primary: String,
    #[command(flatten)]
    data: Data,
    /// Does nothing if the datastore holds any record.
    #[arg(long, conflicts_with = "objects")]
    if_empty: bool,
}

/// What is imported or exported.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The records of this datastore.
    #[arg(long, value_name = "ID")]
    datastore: Option<String>,
    /// All objects, each as {"key": ..., "value": ...}.
    #[arg(long)]
    objects: bool,
}

#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    what: What,
    /// The file to write; it must not exist. Without it, the lines go to the standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

/// Whatever went wrong; each error is the sentence that the user is told.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => run_serve(*options),
        Command::Import(options) => run_import(options),
        Command::Export(options) => run_export(options),
        Command::Check(data) => run_check(data),
        Command::Backup { file, data } => run_backup(&file, data),
        Command::Restore { file, data, replace } => run_restore(&file, data, replace),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_serve(Serve { file, settings }: Serve) -> Result<(), Failure> {
    let has_secret_file = settings.jwt_secret.is_some();
    let mut settings = settings.over(file.read()?);
    log(settings.log.unwrap_or_default(), settings.verbose.unwrap_or_default());
    let secret = env::var_os("TIDEWIRE_JWT_SECRET").map(OsString::into_encoded_bytes);
    if secret.is_some() && !has_secret_file {
        // The environment goes before the file.
        settings.jwt_secret = None;
    }
    let connections = settings.limits.max_connections;
    let server = settings.into_builder(secret);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::System)?;
    let served = runtime.block_on(async {
        let stop = stop_signal().map_err(ServeError::System)?;
        let ready = |address| {
            raise_open_files(connections);
            announce(address);
        };
        server.serve(ready, stop).await
    });
    // A database that was still being opened is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

/// Files that the server has open beside its connections: the database, the listeners, and those it serves.
const OTHER_FILES: u64 = 256;

/// Takes as many open files as the system gives: what a shell gives is less than a server's connections.
fn raise_open_files(connections: Option<usize>) {
    // Where the system says nothing, it has no such limit.
    let Ok(limit) = rlimit::increase_nofile_limit(u64::MAX) else { return };
    let needed = connections.unwrap_or(Limits::default().connections) as u64 + OTHER_FILES;
    if limit >= needed {
        return;
    }
    let hint = "the system allows fewer open files than connections; raise it (LimitNOFILE=, ulimit -n) or lower \
                --max-connections";
    // Whoever left the default did not ask for so many.
    match connections {
        Some(_) => tracing::warn!(limit, needed, "{hint}"),
        None => tracing::debug!(limit, needed, "{hint}"),
    }
}

/// Logs to the standard error output.
fn log(format: LogFormat, is_verbose: bool) {
    let level = if is_verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let logs = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).with_span_list(false).init(),
    }
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

fn run_check(data: Data) -> Result<(), Failure> {
    let data = data.settings()?.data();
    println!("{}: {}", data.display(), check::check(&data)?);
    Ok(())
}

fn run_backup(file: &Path, data: Data) -> Result<(), Failure> {
    let size = backup::backup(&data.settings()?.data(), file)?;
    println!("{}: {size} bytes", file.display());
    Ok(())
}

fn run_restore(file: &Path, data: Data, replace: bool) -> Result<(), Failure> {
    let data = data.settings()?.data();
    let report = backup::restore(file, &data, replace)?;
    println!("{}: {report}", data.display());
    Ok(())
}

fn run_import(options: Import) -> Result<(), Failure> {
    let settings = options.data.settings()?;
    let name = options.what.datastore.clone().unwrap_or_else(|| "objects".to_owned());
    let destination = match options.what.datastore {
        Some(id) => Destination::Datastore { id, primary: options.primary },
        None => Destination::Objects,
    };
    let config = import::Config {
        file: options.file,
        destination,
        data: settings.data(),
        if_empty: options.if_empty,
        rules: settings.rules(),
    };
    let report =
        import::import(&config, |written, total| eprintln!("{name}: {written} of {total} records written"))?;
    println!("{name}: {report}");
    Ok(())
}

fn run_export(options: Export) -> Result<(), Failure> {
    let name = options.what.datastore.clone().unwrap_or_else(|| "objects".to_owned());
    let source = options.what.datastore.map_or(Source::Objects, Source::Datastore);
    let data = options.data.settings()?.data();
    let Report { count, primary } =
        export::export(&data, &source, options.output.as_deref(), io::stdout().lock())?;
    match primary {
        Some(primary) => eprintln!("{name}: {count} records, named by --primary {primary}"),
        None => eprintln!("{name}: {count} exported"),
    }
    Ok(())
}
