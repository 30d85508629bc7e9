//! Where every request to AWS passes: written into the ledger of calls, and stopped by the leash when nobody let it through.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::time::Instant;

use super::super::form;
use crate::cluster::{Leash, Ledger, Made, OffLeash};

/// A client whose connectors are watched.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) inner: SharedHttpClient,
    pub(super) ledger: Ledger,
    pub(super) leash: Leash,
}

impl HttpClient for Wire {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Watched {
            inner: self.inner.http_connector(settings, parts),
            ledger: self.ledger.clone(),
            leash: self.leash.clone(),
        })
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    ledger: Ledger,
    leash: Leash,
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // A body that can't be read names nothing, so that the leash refuses it.
        let calls = form::read(request.body().bytes().unwrap_or_default());
        if let Some(call) = calls.iter().find(|call| !self.leash.allows(call)) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(Box::new(OffLeash(call.clone())))));
        }
        let (ledger, sent) = (self.ledger.clone(), Instant::now());
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|response| response.status().as_u16());
            for call in calls {
                ledger.record(Made { call, sent, ended: Instant::now(), status });
            }
            answer
        })
    }
}
