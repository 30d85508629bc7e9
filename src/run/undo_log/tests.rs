//! The fold, the chain of hashes, and torn files.

use std::io;

use super::*;
use crate::record::RunDir;

fn prepared(act: ActId) -> Record {
    Record::Prepared {
        act,
        step: "kill".to_owned(),
        fault: "podKill".to_owned(),
        target: Target {
            kind: "pod".to_owned(),
            namespace: "shop".to_owned(),
            name: format!("web-{act}"),
            uid: format!("uid-{act}"),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        },
        note: serde_json::json!({ "replicas": 3 }),
    }
}

fn undone(act: ActId) -> Record {
    Record::Undone { act, outcome: UndoOutcome::Undone, detail: String::new() }
}

fn log(records: Vec<Record>) -> io::Result<UndoLog> {
    let folder = tempfile::tempdir()?;
    let mut log = UndoLog::create(&RunDir::at(folder.path()), "r1")?;
    for record in records {
        log.append(jiff::Timestamp::UNIX_EPOCH, vec![record])?;
    }
    Ok(log)
}

fn pending(log: &UndoLog) -> Vec<ActId> {
    log.acts().pending().iter().map(|act| act.id).collect()
}

#[test]
fn a_record_without_an_outcome_is_pending_and_the_newest_comes_first() {
    let log = log(vec![prepared(0), prepared(1), Record::Injected { act: 1 }]).unwrap();
    assert_eq!(pending(&log), [1, 0]);
}

#[test]
fn what_was_taken_back_or_never_done_is_not_pending() {
    let records = vec![
        prepared(0),
        prepared(1),
        Record::Injected { act: 0 },
        Record::NotInjected { act: 1, why: "refused".to_owned() },
        Record::Undoing { act: 0 },
        undone(0),
    ];
    assert_eq!(pending(&log(records).unwrap()), [0; 0]);
}

#[test]
fn a_failed_undo_stays_pending_with_its_reason_and_can_be_tried_again() {
    let failed = Record::UndoFailed { act: 0, why: "forbidden".to_owned() };
    let mut log = log(vec![
        prepared(0),
        Record::InjectFailed { act: 0, why: "timeout".to_owned() },
        Record::Undoing { act: 0 },
        failed,
    ])
    .unwrap();
    assert_eq!(log.acts().pending()[0].why, "forbidden");
    log.append(jiff::Timestamp::UNIX_EPOCH, vec![Record::Undoing { act: 0 }, undone(0)]).unwrap();
    assert_eq!(pending(&log), [0; 0]);
}

#[test]
fn illegal_transitions_are_refused_and_not_written() {
    for records in [
        vec![prepared(0), prepared(0)],
        vec![Record::Injected { act: 7 }],
        vec![prepared(0), undone(0)],
        vec![prepared(0), Record::Undoing { act: 0 }, undone(0), Record::Undoing { act: 0 }],
        vec![prepared(0), Record::Injected { act: 0 }, Record::NotInjected { act: 0, why: String::new() }],
    ] {
        assert!(log(records.clone()).is_err(), "{records:?}");
    }
}

/// Whatever the byte at which a crash tears the file, reading gives a prefix of what was written, and never an error.
#[test]
fn torn_at_any_byte_the_log_reads_as_a_prefix() {
    let whole = log(vec![prepared(0), Record::Injected { act: 0 }, Record::Undoing { act: 0 }, undone(0)]).unwrap();
    let text = whole.text();
    for end in 0..=text.len() {
        let acts = read(&text[..end]).unwrap();
        let lines = text[..end].matches('\n').count();
        assert_eq!(acts.len(), lines as u64);
    }
}

#[test]
fn an_edited_line_is_corruption() {
    let whole = log(vec![prepared(0), Record::Injected { act: 0 }, Record::Undoing { act: 0 }]).unwrap();
    let edited = whole.text().replacen("\"replicas\":3", "\"replicas\":9", 1);
    assert_eq!(read(&edited).unwrap_err().line, 2);
    let without_first = whole.text().split_once('\n').unwrap().1;
    assert_eq!(read(without_first).unwrap_err().line, 1);
}

#[test]
fn a_resumed_log_goes_on_where_the_copy_ended() {
    let folder = tempfile::tempdir().unwrap();
    let copy = log(vec![prepared(0), Record::Injected { act: 0 }]).unwrap().text().to_owned() + "{\"v\":1,";
    let dir = RunDir::at(folder.path());
    let mut resumed = UndoLog::resume(&dir, "r1", &copy).unwrap();
    resumed.append(jiff::Timestamp::UNIX_EPOCH, vec![Record::Undoing { act: 0 }, undone(0), Record::Closed]).unwrap();
    let acts = read(&std::fs::read_to_string(dir.file(UNDO_LOG)).unwrap()).unwrap();
    assert!(acts.closed() && acts.pending().is_empty());
}
