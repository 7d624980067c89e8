//! Requests to a server of the user's on this machine.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::scenario::application::Request;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Sends a request, and reads the answer to its end.
///
/// Cancellation: the connection is closed.
///
/// # Errors
/// Why there is no answer, in words.
pub async fn send(port: u16, request: &Request) -> Result<Answer, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| format!("connect: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("connect: {error}"))?;
    // It ends with this, however this ends.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut built = hyper::Request::builder().method(request.method.as_str()).uri(&request.path);
    built = built.header("host", format!("127.0.0.1:{port}")).header("connection", "close");
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    let body = request.body.as_ref().map(|(kind, body)| (kind.as_str(), body.clone()));
    if let Some((kind, _)) = body
        && !request.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"))
    {
        built = built.header("content-type", kind);
    }
    let body = Full::new(Bytes::from(body.map(|(_, body)| body).unwrap_or_default()));
    let built = built.body(body).map_err(|error| format!("make the request: {error}"))?;
    let answer = sender.send_request(built).await.map_err(|error| format!("no answer: {error}"))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("read the answer: {error}"))?.to_bytes();
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Waits until a path is answered with less than 500; `false` if it is not in time.
pub async fn is_ready(port: u16, path: &str, within: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    let (method, path, body) = ("GET".to_owned(), path.to_owned(), None);
    let request = Request { method, path, body, headers: Default::default(), expect: Vec::new() };
    let asking = async {
        while !send(port, &request).await.is_ok_and(|answer| answer.status < 500) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(within, asking).await.is_ok()
}

/// A port on which nobody listens.
///
/// # Errors
/// The system has none.
pub fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
