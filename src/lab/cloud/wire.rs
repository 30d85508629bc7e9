//! What stands in the place of the network between the SDK and AWS: each request is answered by the model, after a while of the lab's time.

use std::io::{Error, ErrorKind};
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use tokio::time::sleep;

use super::calls::{self, Answer};
use crate::cluster::Endpoint;
use crate::lab::weather::{Deed, Fate, Sky};
use crate::lab::world::Shared;

/// The lab's account as the SDK's clients reach it, in this weather.
pub(in crate::lab) fn endpoint(shared: &Shared, sky: Option<Arc<Sky>>) -> Endpoint {
    Endpoint::new("the lab", Wire { shared: shared.clone(), sky })
}

#[derive(Debug, Clone)]
struct Wire {
    shared: Shared,
    sky: Option<Arc<Sky>>,
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.send(&request).await })
    }
}

impl Wire {
    async fn send(self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let broken = || ConnectorError::io(Box::new(Error::from(ErrorKind::ConnectionReset)));
        let Some(sky) = &self.sky else { return response(self.carry_out(request).await) };
        let body = request.body().bytes().unwrap_or_default();
        let deed =
            Deed { call: calls::named(body), query: String::new(), body: Bytes::copy_from_slice(body), arrived: false };
        match sky.fate(deed, false) {
            Fate::Fair { late } => {
                sleep(late).await;
                response(self.carry_out(request).await)
            }
            Fate::Refused { status, .. } => response(calls::bad_weather(body, status)),
            Fate::Unsent => Err(broken()),
            Fate::Lost => {
                self.carry_out(request).await;
                Err(broken())
            }
            Fate::Death { carried_out } => {
                if carried_out {
                    self.carry_out(request).await;
                }
                sky.die();
                std::future::pending().await
            }
        }
    }

    async fn carry_out(&self, request: &HttpRequest) -> Answer {
        let host = request.uri().split("://").last().unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        calls::send(&self.shared, host, body).await
    }
}

fn response((status, text): Answer) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|e| ConnectorError::other(Box::new(e), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(text)))
}
