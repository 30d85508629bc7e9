//! The page of every kind of run: whole, closed, escaped and small enough. What it looks like is for eyes: set `SQUALL_PAGES` to a
//! directory and the pages are written there.

use super::html;
use crate::record::Event;
use crate::report::{Report, synthetic};

fn page(name: &str, events: &[Event]) -> String {
    let page = html(&Report::from_events(events), events);
    if let Some(dir) = std::env::var_os("SQUALL_PAGES") {
        std::fs::write(std::path::Path::new(&dir).join(format!("{name}.html")), &page).unwrap();
    }
    page
}

/// Every kind of run with its page.
fn pages() -> Vec<(&'static str, String)> {
    let runs: [(&str, Vec<Event>); 9] = [
        ("deviated", synthetic::pod_kill()),
        ("passed", synthetic::passed()),
        ("aborted", synthetic::aborted()),
        ("undo-incomplete", synthetic::undo_incomplete()),
        ("refused", synthetic::refused()),
        ("unproven", synthetic::unproven()),
        ("killed", synthetic::killed()),
        ("crowded", synthetic::crowded()),
        ("empty", Vec::new()),
    ];
    runs.into_iter().map(|(name, events)| (name, page(name, &events))).collect()
}

/// Walks the tags: each is closed in its order, and each attribute is quoted. Style and script are text.
fn check_closed(name: &str, page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = &page[page.find("<html").unwrap()..];
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "{name}: a bare `>` near {:?}", &rest[..at.min(80)]);
        let end = at + rest[at..].find('>').unwrap_or_else(|| panic!("{name}: an unclosed tag"));
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let word = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(word), "{name}: `{tag}` closes another element");
        } else if !tag.ends_with('/') {
            assert_eq!(tag.matches('"').count() % 2, 0, "{name}: {tag}");
            open.push(word);
            if word == "style" || word == "script" {
                rest = &rest[rest.find(&format!("</{word}>")).unwrap()..];
            }
        }
    }
    assert!(open.is_empty(), "{name}: {open:?} stay open");
}

#[test]
fn every_page_is_well_formed_and_asks_for_nothing() {
    for (name, page) in pages() {
        check_closed(name, &page);
        assert!(page.contains("default-src 'none'"), "{name}");
        // The API server's address is told, not linked.
        for asks in
            ["src=", "href=", "url(http", "@import", "fetch(", "XMLHttpRequest", " style=", " onload=", "javascript:"]
        {
            assert!(!page.contains(asks), "{name} has `{asks}`");
        }
        assert!(!page.contains("NaN") && !page.contains("inf "), "{name} draws what is no number");
        assert!(page.len() < 2 * 1024 * 1024, "{name} has {} bytes", page.len());
    }
}

#[test]
fn the_policy_knows_the_pages_own_script_and_style() {
    let page = page("deviated", &synthetic::pod_kill());
    for (tag, text) in [("style", super::STYLE), ("script", super::SCRIPT)] {
        assert!(page.contains(&format!("<{tag}>{text}</{tag}>")));
        assert!(page.contains(&format!("{tag}-src 'sha256-{}'", super::digest(text))));
        assert!(!text.contains("</"), "{tag} would end early");
    }
}

#[test]
fn a_name_can_not_become_markup() {
    let page = page("crowded", &synthetic::crowded());
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script>alert"));
    assert!(!page.contains("<b>bold"));
}

#[test]
fn displaced_pods_stand_with_their_prediction_those_first_that_came_out_otherwise() {
    let page = page("zone", &synthetic::zone_lost());
    let order = [
        "<h2>Displaced pods</h2>",
        "deployment/&lt;cart&gt;",
        "fewer than the 3 that were predicted",
        "4 Insufficient cpu",
        "deployment/search",
        "where none was predicted to be",
        "deployment/mail",
        "nothing can be said yet: 2 still bound to lost nodes",
        "statefulset/db",
        "predicted without a place: 1, volume pv-7",
        "deployment/web",
        "as predicted",
        "<h2>Steps and targets</h2>",
    ];
    let mut rest = page.as_str();
    for text in order {
        rest = rest.split_once(text).unwrap_or_else(|| panic!("{text} is not where it should be")).1;
    }
}

#[test]
fn the_page_begins_with_the_verdict_and_tells_in_order() {
    let page = page("deviated", &synthetic::pod_kill());
    let order = [
        "✕</span>Deviated",
        "exit code 5",
        "an outage of 1.20 s is outside <code>outage &lt;= 1s</code>",
        "<h2>Hypotheses</h2>",
        "<h2>What happened</h2>",
        "kill-one: podKill injected",
        "<h2>Outages</h2>",
        "pod/web-7c9f-abcde was terminating",
        "<h2>Availability</h2>",
        "580 ms</span><small>575 ms … 585 ms</small>",
        "0.04 % of what 99.90 %<br/>allows in 30 days",
        "not all, but no failure: 4.80 s",
        "<h2>Impact</h2>",
        "Time to mitigation",
        "<h2>Latency before, during and after</h2>",
        "<h2>After against before</h2>",
        "✕ worse",
        "[−0.10 pp, +0.10 pp]",
        "too few seconds hold its slowest requests",
        "<h2>Steps and targets</h2>",
        "<h2>Every planned request</h2>",
        "<h2>Timeline</h2>",
        "<h2>What to do next</h2>",
        "preStop",
        "<h2>Environment</h2>",
        "squall run experiments/web-survives-pod-kill.yaml --seed 20261121",
    ];
    let mut from = 0;
    for part in order {
        let at = page[from..].find(part).unwrap_or_else(|| panic!("`{part}` is missing or too early"));
        from += at;
    }
}

#[test]
fn a_record_without_the_newer_numbers_has_no_section_for_them() {
    let page = page("passed", &synthetic::passed());
    assert!(!page.contains("<h2>Availability</h2>") && !page.contains("<h2>After against before</h2>"));
}

#[test]
fn what_was_predicted_stands_beside_what_was_observed() {
    let mut events = synthetic::pod_kill();
    let mut outlook = crate::report::beside::outlook(&Report::from_events(&events));
    (outlook.lab, outlook.verdict) = ("lab --manifest <a>.yaml".to_owned(), Some(crate::record::RunVerdict::Passed));
    for measure in &mut outlook.measures {
        measure.value = None;
    }
    for span in &mut outlook.spans {
        (span.least_us, span.median_us, span.most_us) = (0, 0, 0);
    }
    let notes = vec!["`spec.probes.0.http.url` was <another>".to_owned()];
    let what = crate::record::What::Predicted(crate::record::Predicted { rehearsals: vec![outlook], notes });
    let first = events[0].clone();
    events.insert(1, Event { what, ..first });
    let page = page("predicted", &events);
    check_closed("predicted", &page);
    for part in
        ["Predicted beside observed", "was not predicted", "Assumed wrongly", "&lt;another&gt;", "✕ another one"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_rehearsal_says_first_that_it_is_one() {
    let mut events = synthetic::passed();
    if let crate::record::What::RunStarted { engine, .. } = &mut events[0].what {
        *engine = crate::scalar::EngineKind::Lab;
    }
    let page = page("rehearsal", &events);
    check_closed("rehearsal", &page);
    assert!(page.find("A rehearsal").unwrap() < page.find("<h1>").unwrap());
    assert!(!super::html(&Report::from_events(&synthetic::passed()), &[]).contains("A rehearsal"));
}

#[test]
fn an_hour_of_four_streams_stays_small_and_gets_a_closer_look() {
    let page = page("hour", &synthetic::hour());
    check_closed("hour", &page);
    assert!(page.len() < 2 * 1024 * 1024, "{} bytes", page.len());
    assert!(page.contains("Each point is the worst of 9 seconds"));
    assert!(page.contains("Around the fault"));
}

#[test]
fn many_objects_and_events_are_cut_with_a_note() {
    let page = page("crowded", &synthetic::crowded());
    assert!(page.contains("further from the fault"));
    assert!(page.contains("Shortened to"));
    assert!(page.contains("34 streams without a bad request are left out"));
}
