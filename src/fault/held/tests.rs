//! The patches of a held field, on objects that somebody else changes too.

use super::*;
use crate::fault::Ending;

const REPLICAS: Field = Field {
    fault: "hold",
    pointer: "/spec/replicas",
    missing: || json!(1),
    words: |value| format!("{value} replicas"),
    done: |before, after| format!("from {before} to {after}"),
    undone: |before, after| format!("back from {after} to {before}"),
    part: None,
};
const PAUSED: Field = Field {
    fault: "pause",
    pointer: "/spec/paused",
    missing: || json!(false),
    words: |value| format!("paused {value}"),
    ..REPLICAS
};

fn object(replicas: i64, note: Option<&str>) -> Value {
    let mut object = json!({
        "metadata": {"uid": "u", "resourceVersion": "7", "annotations": {"team": "shop"}},
        "spec": {"replicas": replicas},
    });
    if let Some(note) = note {
        object["metadata"]["annotations"][NOTE] = json!(note);
    }
    object
}

fn apply(object: &Value, patch: &Value) -> Result<Value, json_patch::PatchError> {
    let mut object = object.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
    json_patch::patch(&mut object, &patch).map(|()| object)
}

fn found(object: &Value) -> Found {
    Found(object.clone())
}

fn noted() -> HeldNote {
    HeldNote { previous: json!(3), injected: json!(0) }
}

fn with_acting(run: &str, check: impl FnOnce(&Acting<'_>)) {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
    });
    let client = kube::Client::new(service, "default");
    let cluster = Cluster::new(client, crate::record::ClusterId::default());
    check(&Acting { cluster: &cluster, run, state: "squall", step: "hold", ending: Ending::default() });
}

#[tokio::test]
async fn the_undo_puts_the_object_back_byte_by_byte() {
    with_acting("r1", |cx| {
        let before = object(3, None);
        let text = REPLICAS.text(cx, &noted());
        let harmed = apply(&before, &REPLICAS.injection(&found(&before), &json!(0), &text)).unwrap();
        assert_eq!(harmed["spec"]["replicas"], 0);
        assert_eq!(found(&harmed).note(), Some(text.as_str()));
        let Decision::Patch(patch, Undo::Undone(_)) = REPLICAS.decide(cx, &found(&harmed), &noted()).unwrap() else {
            panic!()
        };
        let after = apply(&harmed, &patch).unwrap();
        assert_eq!(after, before);
        let again = REPLICAS.decide(cx, &found(&after), &noted()).unwrap();
        assert!(matches!(again, Decision::Leave(Undo::Nothing(_))), "twice is once");
        assert!(apply(&after, &patch).is_err(), "the patch itself can't be applied twice");
    });
}

#[tokio::test]
async fn a_change_between_reading_and_patching_fails_the_patch() {
    with_acting("r1", |cx| {
        let text = REPLICAS.text(cx, &noted());
        let patch = REPLICAS.injection(&found(&object(3, None)), &json!(0), &text);
        assert!(apply(&object(4, None), &patch).is_err());
        let mut other = object(3, None);
        other["metadata"]["uid"] = json!("another");
        assert!(apply(&other, &patch).is_err());
    });
}

#[tokio::test]
async fn annotations_that_appear_meanwhile_are_not_wiped_out() {
    with_acting("r1", |cx| {
        let mut bare = object(3, None);
        bare["metadata"].as_object_mut().unwrap().remove("annotations");
        let text = REPLICAS.text(cx, &noted());
        let patch = REPLICAS.injection(&found(&bare), &json!(0), &text);
        assert_eq!(found(&apply(&bare, &patch).unwrap()).note(), Some(text.as_str()));
        let mut meanwhile = bare.clone();
        meanwhile["metadata"]["annotations"] = json!({"theirs": "1"});
        meanwhile["metadata"]["resourceVersion"] = json!("8");
        assert!(apply(&meanwhile, &patch).is_err());
    });
}

#[tokio::test]
async fn theirs_stays_and_our_note_goes() {
    with_acting("r1", |cx| {
        let ours = object(5, Some(&REPLICAS.text(cx, &noted())));
        let Decision::Patch(patch, Undo::Conflict(words)) = REPLICAS.decide(cx, &found(&ours), &noted()).unwrap()
        else {
            panic!()
        };
        assert_eq!(apply(&ours, &patch).unwrap(), object(5, None));
        assert!(words.contains("set it to 5 replicas") && words.contains("to 0 replicas from 3"), "{words}");
    });
}

#[tokio::test]
async fn the_note_of_another_run_is_left_alone() {
    let mut text = String::new();
    with_acting("r2", |cx| text = REPLICAS.text(cx, &noted()));
    let refused = |note: &str| found(&object(3, Some(note))).refuse_held(&"it").unwrap_err();
    assert_eq!(refused(&text).message, "it carries the undo note of another run: `r2`");
    assert!(refused("not ours").message.ends_with("`not ours`"));
    with_acting("r1", |cx| {
        let theirs = REPLICAS.decide(cx, &found(&object(0, Some(&text))), &noted()).unwrap();
        assert!(matches!(theirs, Decision::Leave(Undo::Conflict(_))));
        let broken = REPLICAS.decide(cx, &found(&object(0, Some("not ours"))), &noted()).unwrap();
        assert!(matches!(broken, Decision::Leave(Undo::Conflict(_))));
    });
}

#[tokio::test]
async fn without_a_note_nothing_is_written() {
    with_acting("r1", |cx| {
        let decided = |replicas| REPLICAS.decide(cx, &found(&object(replicas, None)), &noted()).unwrap();
        assert!(matches!(decided(3), Decision::Leave(Undo::Nothing(_))));
        assert!(matches!(decided(5), Decision::Leave(Undo::Conflict(_))));
    });
}

#[tokio::test]
async fn a_missing_field_is_tested_by_the_objects_version() {
    with_acting("r1", |cx| {
        let note = HeldNote { previous: json!(false), injected: json!(true) };
        let before = object(3, None);
        let patch = PAUSED.injection(&found(&before), &json!(true), &PAUSED.text(cx, &note));
        let mut meanwhile = before.clone();
        meanwhile["metadata"]["resourceVersion"] = json!("8");
        assert!(apply(&meanwhile, &patch).is_err(), "it may have got the field since");
        let harmed = apply(&before, &patch).unwrap();
        assert_eq!(harmed["spec"]["paused"], true);
        let Decision::Patch(patch, Undo::Undone(_)) = PAUSED.decide(cx, &found(&harmed), &note).unwrap() else {
            panic!()
        };
        assert_eq!(apply(&harmed, &patch).unwrap()["spec"]["paused"], false);
        let mut theirs = harmed;
        theirs["spec"].as_object_mut().unwrap().remove("paused");
        let Decision::Patch(patch, Undo::Conflict(_)) = PAUSED.decide(cx, &found(&theirs), &note).unwrap() else {
            panic!()
        };
        assert_eq!(apply(&theirs, &patch).unwrap(), before);
    });
}

#[tokio::test]
async fn what_was_so_before_is_noted_and_stays_so() {
    with_acting("r1", |cx| {
        let note = HeldNote { previous: json!(3), injected: json!(3) };
        let before = object(3, None);
        let harmed =
            apply(&before, &REPLICAS.injection(&found(&before), &json!(3), &REPLICAS.text(cx, &note))).unwrap();
        assert!(found(&harmed).note().is_some());
        let Decision::Patch(patch, Undo::Undone(_)) = REPLICAS.decide(cx, &found(&harmed), &note).unwrap() else {
            panic!()
        };
        assert_eq!(apply(&harmed, &patch).unwrap(), before);
    });
}

#[test]
fn a_note_on_an_object_is_enough_to_take_it_back_and_that_of_another_fault_is_not_ours() {
    let text = r#"{"run":"r9","state":"squall","step":"s","fault":"hold","previous":2,"injected":0}"#;
    let meta = |text: &str| -> ObjectMeta {
        let meta = json!({"name": "web", "namespace": "shop", "uid": "u", "annotations": {NOTE: text}});
        serde_json::from_value(meta).unwrap()
    };
    let left = REPLICAS.note_on(&meta(text), "deployment").unwrap();
    assert_eq!((left.run.as_str(), left.target.to_string().as_str()), ("r9", "deployment/web"));
    assert_eq!(
        serde_json::from_value::<HeldNote>(left.note).unwrap(),
        HeldNote { previous: json!(2), injected: json!(0) }
    );
    assert!(PAUSED.note_on(&meta(text), "deployment").is_none(), "another fault's");
    assert!(REPLICAS.note_on(&meta("not ours"), "deployment").is_none());
}
