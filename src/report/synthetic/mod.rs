//! Runs that never were, for the tests of everything that renders: a pod killed with a 1.2 s outage, one that passed, one that was
//! aborted, one whose undo is incomplete, and the awkward ones.

mod numbers;
mod script;

use serde_json::json;

use self::numbers::pod;
use self::script::{SECOND, Script, Trouble};
use crate::probe::StreamKind;
use crate::record::{
    Change, Displaced, Event, Impact, Injection, Micros, Phase, Replaced, RunVerdict, Stranded, Target, UndoOutcome,
    Verdict, What,
};

fn kill_step(targets: &[Target]) -> serde_json::Value {
    json!([{"name": "kill-one", "atMs": 0, "fault": "podKill", "of": 3, "pods": 1, "targets": targets,
            "calls": ["DELETE /api/v1/namespaces/shop/pods/web-7c9f-abcde"], "undo": ["none: deployment/web replaces it"]}])
}

fn standard(script: &mut Script) {
    let target = pod("web-7c9f-abcde");
    script.plan(&kill_step(&[target]), &json!([]), &json!([]));
    script.phases();
    script.killed_pod(20 * SECOND);
}

/// A zone was lost: what was predicted of its pods came out in all the ways that there are.
pub(crate) fn zone_lost() -> Vec<Event> {
    let mut s = Script::new("20261121-060000-zone-9c2f", "shop-survives-a-zone");
    standard(&mut s);
    s.probe("web", 1_400.0);
    let came = [
        ("deployment/web", 2, None, 2, 0, ""),
        (
            "deployment/search",
            1,
            Some("no node that is left is one that its node selector or affinity takes"),
            1,
            0,
            "",
        ),
        (
            "statefulset/db",
            1,
            Some("volume pv-7 can't be used from any node that is left"),
            0,
            0,
            "1 waiting: 0/4 nodes are available",
        ),
        ("deployment/<cart>", 3, None, 1, 0, "2 waiting: 0/4 nodes are available: 4 Insufficient cpu"),
        ("deployment/mail", 2, None, 0, 2, ""),
    ];
    for (workload, pods, why, placed, bound, detail) in came {
        let stranded = why.map(|why| Stranded { pods: 1, why: why.to_owned(), bound: false }).into_iter().collect();
        let (namespace, workload) = ("shop".to_owned(), workload.to_owned());
        let displaced = Displaced { namespace, workload, pods, others: 4, waiting: 0, stranded };
        s.add(
            25 * SECOND,
            What::Replaced(Replaced::of("lose-zone", displaced, placed, bound, false).saying(detail.to_owned())),
        );
    }
    s.finished(RunVerdict::Passed, 0, "every hypothesis held, and every fault bit", &[]);
    s.events()
}

/// One pod killed, 1.2 s of refused connections on the fresh stream, cut connections on the kept-alive one.
pub(crate) fn pod_kill() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-7k2m", "web-survives-pod-kill");
    standard(&mut s);
    let fresh = (20 * SECOND + 350_000, 21 * SECOND + 550_000);
    s.trouble.push(Trouble {
        stream: StreamKind::Fresh,
        from: fresh.0,
        to: fresh.1,
        share: 0.82,
        class: "connect-refused",
    });
    s.trouble.push(Trouble {
        stream: StreamKind::Fresh,
        from: fresh.0,
        to: fresh.1,
        share: 0.95,
        class: "response-reset",
    });
    s.trouble.push(Trouble {
        stream: StreamKind::KeptAlive,
        from: fresh.0,
        to: fresh.0 + 200_000,
        share: 0.7,
        class: "reused-closed",
    });
    s.probe("web", 1_400.0);
    s.outage(
        StreamKind::Fresh,
        fresh.0,
        Some(fresh.1),
        "connect-refused",
        228,
        Some("step `kill-one` (podKill) on pod/web-7c9f-abcde; pod/web-7c9f-abcde was terminating"),
    );
    s.outage(
        StreamKind::KeptAlive,
        fresh.0,
        Some(fresh.0 + 205_000),
        "reused-closed",
        28,
        Some("pod/web-7c9f-abcde was terminating"),
    );
    judge_pod_kill(&mut s);
    s.add(
        s.end + 150_000,
        What::Impact(Impact {
            step: "kill-one".to_owned(),
            injected: 20 * SECOND + 14_000,
            impact: Some(fresh.0),
            detected: Some(20 * SECOND + 90_000),
            detected_by: "its endpoint was no longer ready".to_owned(),
            mitigated: Some(fresh.1 - 5_000),
            healed: Some(26 * SECOND + 400_000),
            recovered: Some(fresh.1),
            bad: 256,
            judged: 24_000,
        }),
    );
    numbers::availability(&mut s);
    numbers::comparison(&mut s);
    s.add(
        3 * SECOND,
        What::Warning { text: "a deletion bypasses PodDisruptionBudgets; `podEvict` asks them".to_owned() },
    );
    s.finished(
        RunVerdict::Deviated,
        5,
        "probe web, fresh: an outage of 1.20 s is outside `outage <= 1s`, and success was 97.15 % during the fault",
        &[],
    );
    s.events()
}

fn judge_pod_kill(s: &mut Script) {
    for phase in Phase::ALL {
        let (verdict, measured) =
            if phase == Phase::During { (Verdict::Deviated, "97.15 %") } else { (Verdict::Held, "100 %") };
        s.judged(0, Some(StreamKind::Fresh), "success >= 99.9%", Some(phase), verdict, measured);
        s.judged(
            0,
            Some(StreamKind::KeptAlive),
            "success >= 99.9%",
            Some(phase),
            Verdict::Held,
            if phase == Phase::During { "99.94 %" } else { "100 %" },
        );
        s.judged(1, Some(StreamKind::Fresh), "p99 <= 100ms", Some(phase), Verdict::Held, "6.81 ms");
        s.judged(1, Some(StreamKind::KeptAlive), "p99 <= 100ms", Some(phase), Verdict::Held, "4.02 ms");
        s.judged(3, None, "status.availableReplicas >= 2", Some(phase), Verdict::Held, "2");
    }
    s.judged(2, Some(StreamKind::Fresh), "outage <= 1s", None, Verdict::Deviated, "1.20 s");
    s.judged(2, Some(StreamKind::KeptAlive), "outage <= 1s", None, Verdict::Held, "205 ms");
}

/// The same kill without a bad request.
pub(crate) fn passed() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-p4ss", "web-survives-pod-kill");
    standard(&mut s);
    s.probe("web", 1_400.0);
    for phase in Phase::ALL {
        for stream in [StreamKind::Fresh, StreamKind::KeptAlive] {
            s.judged(0, Some(stream), "success >= 99.9%", Some(phase), Verdict::Held, "100 %");
            s.judged(1, Some(stream), "p99 <= 100ms", Some(phase), Verdict::Held, "6.81 ms");
        }
        s.judged(3, None, "status.availableReplicas >= 2", Some(phase), Verdict::Held, "2");
    }
    s.judged(2, Some(StreamKind::Fresh), "outage <= 1s", None, Verdict::Held, "0 s");
    s.finished(RunVerdict::Passed, 0, "every hypothesis held, and the fault bit", &[]);
    s.events()
}

/// A stop condition ends it 12 s into the fault; the API server is out of sight for a while.
pub(crate) fn aborted() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-ab0r", "web-survives-pod-kill");
    s.phases = vec![(Phase::Before, 0), (Phase::During, 20 * SECOND)];
    s.end = 34 * SECOND;
    standard(&mut s);
    for stream in [StreamKind::Fresh, StreamKind::KeptAlive] {
        s.trouble.push(Trouble {
            stream,
            from: 20 * SECOND + 300_000,
            to: 60 * SECOND,
            share: 0.8,
            class: "connect-timeout",
        });
        s.trouble.push(Trouble { stream, from: 22 * SECOND, to: 60 * SECOND, share: 0.9, class: "status-503" });
    }
    s.probe("web", 1_400.0);
    s.outage(StreamKind::Fresh, 20 * SECOND + 300_000, None, "connect-timeout", 2_400, None);
    s.add(24 * SECOND, What::Blind { what: "watch of pods".to_owned(), from: 24 * SECOND, to: None });
    s.add(28 * SECOND, What::Blind { what: "watch of pods".to_owned(), from: 24 * SECOND, to: Some(28 * SECOND) });
    s.add(
        32 * SECOND,
        What::Aborting {
            by: "stop condition".to_owned(),
            detail: "`success < 50%` of probe web held for 10 s".to_owned(),
        },
    );
    s.judged(0, Some(StreamKind::Fresh), "success >= 99.9%", Some(Phase::Before), Verdict::Held, "100 %");
    s.judged(0, Some(StreamKind::Fresh), "success >= 99.9%", Some(Phase::During), Verdict::Deviated, "14.02 %");
    s.finished(
        RunVerdict::Aborted,
        6,
        "the stop condition `success < 50%` of probe web held for 10 s; everything is undone",
        &[],
    );
    s.events()
}

/// A scale-down that could not be taken back.
pub(crate) fn undo_incomplete() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-1eft", "web-without-replicas");
    let target = Target { kind: "deployment".to_owned(), name: "web".to_owned(), ..pod("web") };
    s.plan(
        &json!([{"name": "scale-down", "atMs": 0, "holdMs": 30_000, "fault": "scale", "of": 1, "targets": [target]}]),
        &json!([]),
        &json!([]),
    );
    s.phases();
    s.probe("web", 1_400.0);
    let step = "scale-down".to_owned();
    s.add(20 * SECOND, What::Prepared { step: step.clone(), target: target.clone() });
    s.add(
        20 * SECOND + 9_000,
        What::Injected {
            step: step.clone(),
            fault: "scale".to_owned(),
            target: target.clone(),
            outcome: Injection::Injected,
            sent: 20 * SECOND + 1_000,
            answered: 20 * SECOND + 9_000,
            detail: "replicas 3 → 1".to_owned(),
            expected: true,
        },
    );
    s.add(
        21 * SECOND,
        What::Effect {
            step: step.clone(),
            target: target.clone(),
            seen: false,
            detail: "3 of 3 replicas are still available".to_owned(),
        },
    );
    s.add(
        50 * SECOND,
        What::Undone {
            step,
            target,
            outcome: UndoOutcome::Failed,
            detail: "patch deployment/web: the server is currently unable to handle the request (503)".to_owned(),
        },
    );
    s.finished(
        RunVerdict::UndoIncomplete,
        7,
        "deployment/web still has 1 replica instead of 3",
        &["deployment/web in shop: `kubectl --namespace shop scale deployment/web --replicas=3`"],
    );
    s.events()
}

/// Refused by the limits: nothing was touched, no probe ever ran.
pub(crate) fn refused() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-n0pe", "web-survives-pod-kill");
    let refusals = json!([{"step": "kill-one", "message": "it takes 3 pods, and `limits.pods` is 1", "hint": "raise `limits.pods` to 3 or lower `count`"}]);
    s.plan(&kill_step(&[pod("web-7c9f-abcde")]), &json!([]), &refusals);
    s.end = 0;
    s.finished(RunVerdict::Refused, 3, "step `kill-one` takes 3 pods, and `limits.pods` is 1", &[]);
    s.events()
}

/// Too few samples for the quantile.
pub(crate) fn unproven() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-few0", "web-survives-pod-kill");
    s.rate = 2;
    let samples = json!([{"index": 1, "tolerance": "p99 <= 100ms", "phase": "before", "have": 40, "need": 370}]);
    s.plan(&kill_step(&[pod("web-7c9f-abcde")]), &samples, &json!([]));
    s.phases();
    s.killed_pod(20 * SECOND);
    s.probe("web", 1_400.0);
    let mut judged = |phase| s.judged(1, Some(StreamKind::Fresh), "p99 <= 100ms", Some(phase), Verdict::Unproven, "");
    judged(Phase::Before);
    if let Some((_, What::Judged(judgement))) = s.what.last_mut() {
        judgement.samples = 40;
        judgement.reason = "40 samples, 370 needed".to_owned();
    }
    s.finished(RunVerdict::Inconclusive, 8, "`p99 <= 100ms` of probe web is unproven: 40 samples, 370 needed", &[]);
    s.events()
}

/// The pod-kill run after `kill -9` in the middle of the fault.
pub(crate) fn killed() -> Vec<Event> {
    pod_kill().into_iter().take_while(|e| e.at < 23 * SECOND).collect()
}

/// Twenty probes with nasty names, nothing injected, and thousands of changes of objects.
pub(crate) fn crowded() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-many", "<script>alert(1)</script>");
    s.rate = 10;
    s.phases();
    for n in 0..20 {
        s.probe(&format!("p{n}\"><script>alert({n})</script>"), 900.0 + 300.0 * f64::from(n));
    }
    for n in 0..3_000 {
        let name = format!("pod-{:03}", n % 150);
        let ready = if n % 2 == 0 { "true" } else { "false" };
        s.object(
            Micros::from(n) * 25_000,
            Change::Changed,
            "pod",
            &name,
            "ready changed & <b>bold</b>",
            &[("ready", ready)],
        );
    }
    s.finished(RunVerdict::Passed, 0, "every hypothesis held & nothing was injected", &[]);
    s.events()
}

/// An hour of two probes with two streams each.
pub(crate) fn hour() -> Vec<Event> {
    let mut s = Script::new("20261121-020000-web-hour", "web-for-an-hour");
    s.phases = vec![(Phase::Before, 0), (Phase::During, 600 * SECOND), (Phase::After, 3_000 * SECOND)];
    s.end = 3_600 * SECOND;
    s.rate = 10;
    standard(&mut s);
    s.trouble.push(Trouble {
        stream: StreamKind::Fresh,
        from: 1_800 * SECOND,
        to: 1_803 * SECOND,
        share: 1.0,
        class: "status-503",
    });
    s.probe("web", 1_400.0);
    s.probe("cart", 5_200.0);
    s.finished(RunVerdict::Passed, 0, "every hypothesis held, and the fault bit", &[]);
    s.events()
}
