use std::sync::{Arc, Mutex};

use kube::client::Body;

use super::*;
use crate::cluster::Cluster;
use crate::fault::contract::{Acting, Ending, Injected};
use crate::record::Target;

const STOCK: &str = ".:53 {\n    errors\n    reload\n}\n";

/// A small API server that holds one object, applies JSON patches, and counts up the resource version.
#[derive(Clone)]
struct Server {
    object: Arc<Mutex<Value>>,
    /// How many answers to patches are lost on their way.
    lost: Arc<Mutex<u32>>,
}

impl Server {
    fn of(pointer: &str, value: &Value) -> Self {
        let (first, second) = pointer.trim_start_matches('/').split_once('/').unwrap();
        let object = json!({"metadata": {"uid": "u", "resourceVersion": "1"}, first: {second: value}});
        Self { object: Arc::new(Mutex::new(object)), lost: Arc::default() }
    }

    fn corefile(text: &str) -> Self {
        Self::of("/data/Corefile", &text.into())
    }

    fn object(&self) -> Value {
        self.object.lock().unwrap().clone()
    }

    fn edit(&self, pointer: &str, edit: impl FnOnce(&mut Value)) {
        edit(self.object.lock().unwrap().pointer_mut(pointer).unwrap());
    }

    fn edit_corefile(&self, edit: impl FnOnce(&str) -> String) {
        self.edit("/data/Corefile", |text| *text = edit(text.as_str().unwrap()).into());
    }

    async fn answer(self, request: http::Request<Body>) -> Result<http::Response<Body>, std::io::Error> {
        let method = request.method().clone();
        let of_sets = request.uri().path().ends_with("/replicasets");
        let body = request.into_body().collect_bytes().await.map_err(std::io::Error::other)?;
        let respond = |code: u16, body: &Value| {
            let body = Body::from(body.to_string().into_bytes());
            http::Response::builder().status(code).body(body).map_err(std::io::Error::other)
        };
        if of_sets {
            let none = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": []});
            return respond(200, &none);
        }
        let mut object = self.object.lock().unwrap();
        if method == http::Method::GET {
            return respond(200, &object);
        }
        let patch: json_patch::Patch = serde_json::from_slice(&body)?;
        if json_patch::patch(&mut object, &patch).is_err() {
            return respond(422, &json!({"status": "Failure", "reason": "Invalid", "code": 422}));
        }
        let mut lost = self.lost.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return Err(std::io::Error::other("the connection broke"));
        }
        respond(200, &object)
    }

    /// Injects (unless the change is a dead run's), lets somebody act, and takes it back.
    async fn run(&self, inject_it: bool, meanwhile: impl FnOnce(&Self)) -> Result<Undo, FaultError> {
        let server = self.clone();
        let service = tower::service_fn(move |request| server.clone().answer(request));
        let cluster = Cluster::new(kube::Client::new(service, "kube-system"), crate::record::ClusterId::default());
        let cx = Acting { cluster: &cluster, run: "r1", state: "squall", step: "break", ending: Ending::default() };
        let is_corefile = self.object().get("data").is_some();
        let target = Target {
            kind: if is_corefile { "configmap" } else { "deployment" }.into(),
            namespace: "kube-system".into(),
            name: "coredns".into(),
            uid: "u".into(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        };
        let found = Found(self.object());
        let piece = super::super::corefile::marked(cx.run, cx.step, "a:53 {\n    view squall\n}\n");
        let held = field(&target.kind);
        let note = held.note(&target, &found, if is_corefile { piece.into() } else { json!(0) }).unwrap();
        if inject_it {
            assert!(matches!(held.hold(&cx, &target, &note).await.unwrap(), Injected::Done(_)));
            assert!(Found(self.object()).note().is_some_and(|note| note.contains("\"coreDns\"")));
            assert_ne!(self.object(), found.0);
        }
        meanwhile(self);
        held.give_back(&cx, &target, &note).await
    }
}

#[tokio::test(start_paused = true)]
async fn gives_back_the_corefile_to_the_byte() {
    let server = Server::corefile("\u{feff}.:53 {\r\n\treload  # \"\n}");
    let before = server.object();
    assert!(matches!(server.run(true, |_| ()).await.unwrap(), Undo::Undone(_)));
    assert_eq!(server.object()["data"], before["data"]);
    assert_eq!(server.object()["metadata"]["annotations"], json!({}));
    assert!(
        matches!(server.run(false, |_| ()).await.unwrap(), Undo::Nothing(_)),
        "harmless where nothing was injected"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_neither_a_second_fault_nor_a_failure() {
    let server = Server::corefile(STOCK);
    *server.lost.lock().unwrap() = 1;
    assert!(matches!(server.run(true, |_| ()).await.unwrap(), Undo::Undone(_)));
    assert_eq!(server.object()["data"]["Corefile"], STOCK);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_undo_is_not_a_conflict() {
    let server = Server::corefile(STOCK);
    let undone = server.run(true, |server| *server.lost.lock().unwrap() = 1).await.unwrap();
    assert!(matches!(undone, Undo::Nothing(_)), "{undone:?}");
    assert_eq!(server.object()["data"]["Corefile"], STOCK);
}

#[tokio::test(start_paused = true)]
async fn our_block_goes_and_the_note_of_another_run_stays() {
    let server = Server::corefile(STOCK);
    let theirs = r#"{"run":"r2","state":"squall","step":"s","fault":"coreDns","previous":"","injected":""}"#;
    let note = json!({"squall.dev/undo": theirs});
    let undone = server.run(true, |server| server.edit("/metadata/annotations", |notes| *notes = note.clone())).await;
    assert!(matches!(undone.unwrap(), Undo::Undone(_)));
    assert_eq!(server.object()["data"]["Corefile"], STOCK);
    assert_eq!(server.object()["metadata"]["annotations"], note);
}

#[test]
fn a_corefile_that_changed_since_it_was_read_gets_no_block() {
    let note = HeldNote { previous: sha256(STOCK).into(), injected: "a:53 {\n}\n".into() };
    assert!(put_in(&note, &json!(STOCK)).is_some());
    assert!(put_in(&note, &json!(format!("{STOCK}# theirs\n"))).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_wrote_stays_and_our_block_goes() {
    let server = Server::corefile(STOCK);
    let undone = server.run(true, |s| s.edit_corefile(|text| text.replace("errors", "errors\n    log"))).await.unwrap();
    assert!(matches!(&undone, Undo::Conflict(words) if words.contains("theirs stays")), "{undone:?}");
    assert_eq!(server.object()["data"]["Corefile"], STOCK.replace("errors", "errors\n    log"));
    assert_eq!(server.object()["metadata"]["annotations"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_block_that_lost_its_note_is_still_ours() {
    let server = Server::corefile(STOCK);
    let undone = server.run(true, |s| s.edit("/metadata/annotations", |notes| *notes = json!({"theirs": "1"}))).await;
    assert!(matches!(undone.unwrap(), Undo::Undone(_)));
    assert_eq!(server.object()["data"]["Corefile"], STOCK);
    assert_eq!(server.object()["metadata"]["annotations"], json!({"theirs": "1"}));
}

#[tokio::test(start_paused = true)]
async fn a_corefile_that_was_put_back_by_somebody_else_is_theirs() {
    let server = Server::corefile(STOCK);
    let undone = server.run(true, |s| s.edit_corefile(|_| "theirs".to_owned())).await.unwrap();
    assert!(matches!(undone, Undo::Conflict(_)));
    assert_eq!(server.object()["data"]["Corefile"], "theirs");
    assert_eq!(server.object()["metadata"]["annotations"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_torn_block_is_left_for_a_person_and_said_so() {
    let server = Server::corefile(STOCK);
    let failed = server.run(true, |s| s.edit_corefile(|text| text.replace("view", "# view"))).await.unwrap_err();
    assert!(failed.to_string().contains("from line 1 on") && !failed.is_transient(), "{failed}");
    assert!(server.object()["data"]["Corefile"].as_str().unwrap().contains("# view squall"));
    assert!(Found(server.object()).note().is_some(), "the note stays as long as the block does");
}

#[tokio::test(start_paused = true)]
async fn gives_back_the_replicas_unless_somebody_changed_them() {
    let server = Server::of("/spec/replicas", &2.into());
    assert_eq!(server.run(true, |_| ()).await.unwrap(), Undo::Undone("scaled back from 0 to 2".into()));
    let undone = server.run(true, |s| s.edit("/spec/replicas", |replicas| *replicas = 5.into())).await.unwrap();
    assert!(matches!(&undone, Undo::Conflict(words) if words.contains("somebody set it to 5")), "{undone:?}");
    assert_eq!(server.object()["spec"]["replicas"], 5);
    assert_eq!(server.object()["metadata"]["annotations"], json!({}));
    assert!(matches!(server.run(false, |_| ()).await.unwrap(), Undo::Nothing(_)));
}
