//! Questions and answers over one connection to a service processor, which is opened anew where the processor closes it.
//!
//! The task of a connection ends with it; nothing is sent twice by itself.

use std::{io, sync::Arc};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{Pinned, Pins, PowerError, Redfish, tls};

/// More than any answer has. In octets.
const LARGEST: usize = 1 << 20;

/// How we prove who we are.
pub(crate) enum Login {
    Nobody,
    /// a session's
    Token(Zeroizing<String>),
    /// the value of `Authorization`
    Basic(Zeroizing<String>),
}

/// One question.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a Value>,
    /// only if it is still what it was
    pub(crate) if_match: Option<&'a str>,
}

/// An answer; a body that is no JSON is none.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    headers: header::HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The way to one processor.
pub(crate) struct Http<'a> {
    redfish: &'a Redfish,
    pins: &'a Pins,
    pub(crate) address: String,
    pub(crate) login: Login,
    /// its certificate was not known before
    pub(crate) first_seen: Option<String>,
    line: Option<(SendRequest<Full<Bytes>>, JoinHandle<()>)>,
}

impl<'a> Http<'a> {
    pub(crate) fn new(redfish: &'a Redfish, pins: &'a Pins) -> Self {
        let address = match redfish.host.contains(':') {
            true => format!("[{}]:{}", redfish.host, redfish.port),
            false => format!("{}:{}", redfish.host, redfish.port),
        };
        Self { redfish, pins, address, login: Login::Nobody, first_seen: None, line: None }
    }

    /// Asks once.
    pub(crate) async fn ask(&mut self, question: &Question<'_>) -> Result<Answer, PowerError> {
        let usable = match &mut self.line {
            Some((line, _)) => line.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.close();
            self.line = Some(self.connect().await?);
        }
        let Some((line, _)) = &mut self.line else { return Err(self.odd("the connection is gone")) };
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(question.path)
            .header(header::HOST, &self.address)
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0");
        request = match &self.login {
            Login::Nobody => request,
            Login::Token(token) => request.header("X-Auth-Token", token.as_str()),
            Login::Basic(value) => request.header(header::AUTHORIZATION, value.as_str()),
        };
        if let Some(tag) = question.if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        let body = match question.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| odd(&self.address, &format!("no request: {error}")))?;
        let failed = |error: &dyn std::fmt::Display| odd(&self.address, &format!("no answer: {error}"));
        let answer = line.send_request(request).await.map_err(|error| failed(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(|error| failed(&error))?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status: parts.status.as_u16(), body, headers: parts.headers })
    }

    async fn connect(&mut self) -> Result<(SendRequest<Full<Bytes>>, JoinHandle<()>), PowerError> {
        let at = |source: io::Error| PowerError::Connect { address: self.address.clone(), source };
        let no_tls = |reason: String| PowerError::Tls { address: self.address.clone(), reason };
        let host = self.redfish.host.clone();
        let stream = TcpStream::connect((host.as_str(), self.redfish.port)).await.map_err(at)?;
        let (config, seen) = tls::config().map_err(|error| no_tls(error.to_string()))?;
        let name = ServerName::try_from(host).map_err(|error| no_tls(error.to_string()))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| no_tls(error.to_string()))?;
        let certificate = seen.certificate().ok_or_else(|| no_tls("it showed no certificate".to_owned()))?;
        let pinned = self.pins.judge(&self.address, certificate, self.redfish.certificate)?;
        if pinned == Pinned::First {
            self.first_seen = Some(hex::encode(certificate));
        }
        let opened = handshake(TokioIo::new(stream)).await;
        let (line, connection) = opened.map_err(|error| odd(&self.address, &error.to_string()))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a service processor ended early");
            }
        });
        Ok((line, task))
    }

    fn close(&mut self) {
        if let Some((_, task)) = self.line.take() {
            task.abort();
        }
    }

    pub(crate) fn odd(&self, reason: &str) -> PowerError {
        odd(&self.address, reason)
    }
}

impl Drop for Http<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

fn odd(address: &str, reason: &str) -> PowerError {
    PowerError::Odd { address: address.to_owned(), reason: reason.to_owned() }
}
