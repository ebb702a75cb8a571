//! The web server that the programs under test talk to.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Serves the same page over HTTP on loopback for as long as the test runs; gives its `address:port`.
pub fn serve(page: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // A client that goes away in the middle is what these tests are about.
            let _ = answer(&mut stream, page);
        }
    });
    address
}

fn answer(stream: &mut std::net::TcpStream, page: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        request.push(byte[0]);
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len())?;
    stream.write_all(page)
}

/// A port for a server that the test starts: free, and none of those that the kernel gives to clients, or to others who
/// let it choose.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 8_000) as u16;
    let ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let is_free =
        |port: &u16| ["127.0.0.1", "::1"].iter().all(|host| std::net::TcpListener::bind((*host, *port)).is_ok());
    ports.take(4_000).find(is_free).expect("a free port")
}

/// Says a word to everybody who connects, on loopback, for as long as the test runs; gives its port.
pub fn greet(word: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // As above.
            let _ = stream.and_then(|mut stream| stream.write_all(word));
        }
    });
    port
}
