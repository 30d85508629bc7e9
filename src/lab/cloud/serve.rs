//! The account on a real socket of this machine, for the AWS CLI, boto3 and what is built on them.

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::calls;
use crate::lab::Lab;
use crate::lab::serve::accept;
use crate::lab::world::Shared;

/// Largest request body: none of these calls needs a tenth of it.
const REQUEST_MAX: usize = 256 * 1024;

impl Lab {
    /// Serves EC2, Auto Scaling, STS and IAM, told apart by what is asked, until the future is dropped.
    pub async fn serve_aws(&self, listener: TcpListener) {
        let serve = |tcp: TcpStream| {
            let shared = self.shared.clone();
            async move {
                let answer = service_fn(move |request: Request<Incoming>| answer(shared.clone(), request));
                // A client that goes away in the middle of an answer is none of our business.
                drop(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(tcp), answer).await);
            }
        };
        accept(listener, serve).await;
    }
}

async fn answer(shared: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, REQUEST_MAX).collect().await;
    let body = body.map_err(|e| io::Error::other(e.to_string()))?.to_bytes();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (status, text) = calls::send(&shared, host, &body).await;
    let response = Response::builder().status(status).header(CONTENT_TYPE, "text/xml");
    response.body(Full::new(Bytes::from(text))).map_err(io::Error::other)
}
