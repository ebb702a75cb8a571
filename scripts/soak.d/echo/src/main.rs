//! An echo server and its clients, over TCP and over a socket of the file system. Every client sends messages of many
//! sizes and wants every byte back; one that waits for half a minute hangs. Prints `case NAME: OUTCOME`.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const CLIENTS: usize = 16;
const ROUNDS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends back what comes, until the other end closes.
async fn serve(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut from, mut to) = split(stream);
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// One client: how many messages came back whole.
async fn ask(stream: impl AsyncRead + AsyncWrite, seed: usize) -> io::Result<usize> {
    let (mut from, mut to) = split(stream);
    let mut whole = 0;
    for round in 0..ROUNDS {
        let size = 1 + (seed * 7919 + round * 104_729) % 70_000;
        let message: Vec<u8> = (0..size).map(|at| (at * 31 + round + seed) as u8).collect();
        let mut back = vec![0; size];
        let exchange = async { tokio::try_join!(to.write_all(&message), from.read_exact(&mut back)).map(drop) };
        timeout(PATIENCE, exchange).await.map_err(|_| io::Error::other("hangs"))??;
        whole += usize::from(back == message);
    }
    to.shutdown().await?;
    let rest = timeout(PATIENCE, from.read(&mut [0; 1])).await.map_err(|_| io::Error::other("hangs at the end"))??;
    Ok(if rest == 0 { whole } else { 0 })
}

/// Waits for all clients: what they say.
async fn outcome(mut clients: JoinSet<io::Result<usize>>) -> String {
    let (mut whole, mut troubles) = (0, String::new());
    while let Some(ended) = clients.join_next().await {
        match ended.map_err(io::Error::other).flatten() {
            Ok(count) => whole += count,
            Err(error) => troubles += &format!(", {error}"),
        }
    }
    format!("{whole} of {}{troubles}", CLIENTS * ROUNDS)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(async move { ask(TcpStream::connect(place).await?, seed).await });
    }
    println!("case tcp: {}", outcome(clients).await);

    let listener = UnixListener::bind("echo.socket")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(async move { ask(UnixStream::connect("echo.socket").await?, seed).await });
    }
    println!("case unix: {}", outcome(clients).await);
    Ok(())
}
