//! Tests of the API server through the real client. No controller works here: what changes is what the tests change.

mod access;
mod applies;
mod deletions;
mod evictions;
mod objects;
mod patches;
mod tables;
mod validation;
mod watches;

use http::{Method, Request};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Server;
use crate::lab::testing::{WALL, create, deployment, node};
use crate::lab::world::Shared;

const PODS: &str = "/api/v1/namespaces/shop/pods";
const MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const SERVICES: &str = "/api/v1/namespaces/shop/services";

/// A server, its client and its world, in which nothing happens by itself.
struct Quiet {
    shared: Shared,
    server: Server,
    client: Client,
}

fn quiet() -> Quiet {
    let shared = Shared::new(1, Timestamp::from_second(WALL).unwrap());
    for namespace in ["default", "shop", "other"] {
        create(&shared, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    }
    create(&shared, node("node1", "a"));
    let server = Server::new(shared.clone());
    let client = Client::new(server.clone(), "default");
    Quiet { shared, server, client }
}

impl Quiet {
    /// Lets the controllers work from now on.
    fn controllers(&self) {
        tokio::spawn(self.shared.clone().keep_going());
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "shop")
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "shop")
    }

    /// Sends a request as it is.
    async fn send(&self, method: Method, path: &str, content: &str, body: &Value) -> Result<Value, Status> {
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        match self.client.request::<Value>(request.body(body).unwrap()).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(*status),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// What is there, in another form.
    async fn get_as(&self, path: &str, accept: &str) -> Result<Value, Status> {
        let request = Request::builder().uri(path).header("accept", accept).body(Vec::new()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(*status),
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, Status> {
        self.send(Method::GET, path, "", &Value::Null).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Status> {
        self.send(Method::POST, path, "application/json", body).await
    }

    async fn put(&self, path: &str, body: &Value) -> Result<Value, Status> {
        self.send(Method::PUT, path, "application/json", body).await
    }

    async fn merge(&self, path: &str, body: &Value) -> Result<Value, Status> {
        self.send(Method::PATCH, path, "application/merge-patch+json", body).await
    }

    async fn delete(&self, path: &str, options: &Value) -> Result<Value, Status> {
        self.send(Method::DELETE, path, "application/json", options).await
    }
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}})
}

fn labelled(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "shop", "labels": {"app": app},
    }})
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    })
}

/// A pod that runs on a node, and is ready.
fn running(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = "node1".into();
    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    pod
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}
