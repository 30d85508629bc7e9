//! Reading as a whole: that good documents come back as they were written, and that bad ones neither crash nor cost.
//!
//! What is said of each kind of mistake is in `tests/documents`.

use proptest::prelude::*;

use super::*;

const GOOD: &str = include_str!("../../experiments/pod-kill.yaml");

fn loaded(text: &str) -> Loaded {
    load("x.yaml", text.as_bytes(), &[]).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn errors(text: &str) -> Vec<(&'static str, usize, usize, String)> {
    let diagnostics = load("x.yaml", text.as_bytes(), &[]).expect_err("a mistake");
    let place = |d: &Diagnostic| diagnostics.location(d).map_or((0, 0), |place| (place.line, place.column));
    diagnostics.list().iter().map(|d| (d.code.number(), place(d).0, place(d).1, d.message.clone())).collect()
}

fn set(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_example_reads_without_a_warning() {
    let loaded = loaded(GOOD);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.experiment.metadata.name.as_str(), "web-survives-pod-kill");
    assert_eq!(loaded.experiment.spec.method[0].fault.about().key, "podKill");
    assert_eq!(loaded.sha256.len(), 64);
    assert_eq!(loaded.sha256, super::load("other", GOOD.as_bytes(), &[]).unwrap().sha256);
}

#[test]
fn an_experiment_comes_back_from_json_and_yaml() {
    let experiment = loaded(GOOD).experiment;
    let json = serde_json::to_string(&experiment).unwrap();
    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
    assert_eq!(serde_json::from_value::<Experiment>(serde_json::to_value(&experiment).unwrap()).unwrap(), experiment);
    assert_eq!(loaded(&json).experiment, experiment);
    let yaml = serde_yaml::to_string(&experiment).unwrap();
    assert_eq!(loaded(&yaml).experiment, experiment, "{yaml}");
}

#[test]
fn every_form_comes_back() {
    let text = r#"
apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {name: all, annotations: {note: "see #12"}}
spec:
  probes:
    - name: web
      rate: 30/m
      timeout: 1.5s
      http:
        url: "https://[::1]:8443/x?y=1"
        connection: keepAlive
        method: POST
        headers: {authorization: {valueFrom: {env: TOKEN}}, x-count: 5, accept: text/plain}
        body: |
          {"a": "$${b}"}
        expect: {status: [200, 204], bodyContains: "true", headers: {etag: "1"}}
        caFile: ca.pem
    - name: two
      rate: 1/s
      timeout: 1s
      http: {url: "https://web/", version: 2, connection: {reuse: 10}, expect: {certificateValidFor: 36h}}
    - {name: health, rate: 1/s, timeout: 1s, grpc: {address: "pay:50051"}}
    - name: payments
      rate: 1/s
      timeout: 1s
      grpc:
        address: "[::1]:443"
        service: shop.Pay
        tls: true
        connection: fresh
        headers: {authorization: {valueFrom: {env: TOKEN}}}
        expect: {status: SERVICE_UNKNOWN, certificateValidFor: 14d}
        caFile: ca.pem
    - {name: port, rate: 1/s, timeout: 1s, tcp: {address: "[::1]:80"}}
    - name: name
      rate: 1/s
      timeout: 1s
      dns: {name: web.shop.svc., type: AAAA, server: "[::1]:54", over: tcp, socket: pinned, expect: {rcode: NOERROR, addresses: ["::1"]}}
    - {name: gone, rate: 1/s, timeout: 1s, dns: {name: gone, server: 10.96.0.10, expect: {rcode: NXDOMAIN}}}
  steadyState:
    - {probe: web, tolerance: "success >= 99.90% over 10s", when: [during]}
    - {object: poddisruptionbudget/web, namespace: shop, tolerance: 'metadata.labels["a.b/c"] == "x y"', when: [before]}
  method:
    - name: a
      at: 90s
      podKill: {pods: {namespace: shop, names: [web-0, web-1]}, gracePeriod: 0s, force: true}
    - name: b
      podKill: {pods: {namespace: shop, owner: deployment/web, node: n1, zone: eu-west-1a, percent: 12.50%}}
    - name: c
      podKill: {pods: {namespace: shop, all: true}}
  timing: {before: 10s, after: 10s, heal: 5m}
  stopWhen: [{probe: web, tolerance: "outage > 30s", for: 5s}]
  limits: {pods: "50%", nodes: 0, groups: "0%", requestsPerSecond: 100}
"#;
    let experiment = loaded(text).experiment;
    let Protocol::Http(http) = &experiment.spec.probes[0].protocol else { panic!() };
    assert_eq!(http.body.as_deref(), Some("{\"a\": \"${b}\"}\n"));
    let json = serde_json::to_value(&experiment).unwrap();
    assert_eq!(json.pointer("/spec/method/1/podKill/pods/percent").unwrap(), "12.50%");
    assert_eq!(json.pointer("/spec/method/0/at").unwrap(), "1m30s");
    assert_eq!(serde_json::from_value::<Experiment>(json).unwrap(), experiment);
}

#[test]
fn a_second_fault_is_refused_in_other_formats_too() {
    let step = r#"{"name": "a", "podKill": {"pods": {"namespace": "x", "all": true}}, "podKill": {"pods": {"namespace": "x", "all": true}}}"#;
    let error = serde_json::from_str::<Step>(step).unwrap_err().to_string();
    assert!(error.starts_with("a step has one fault, this one has `podKill` and `podKill`"), "{error}");
}

#[test]
fn variables_are_replaced_in_quotes_and_may_be_numbers() {
    let text = GOOD
        .replace("spec:\n", "spec:\n  variables: {ns: {default: shop}, n: {}, d: {default: 60s}}\n")
        .replace("selector: \"app=web\", count: 1", "selector: 'app in (${n},b$${c)', count: \"${n}\"")
        .replace("b$${c", "b")
        .replace("namespaces: [shop]", "namespaces: [\"${ns}\"]")
        .replace("during: 60s", "during: \"${d}\"");
    let loaded = load("x", text.as_bytes(), &[set("n", "1"), set("n", "2")]).unwrap_or_else(|e| panic!("{e}"));
    let arguments = loaded.experiment.spec.method[0].fault.arguments().unwrap();
    assert_eq!(arguments.pointer("/pods/count").unwrap(), 2);
    assert_eq!(arguments.pointer("/pods/selector").unwrap(), "app in (2,b)");
    assert_eq!(
        loaded.variables.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["d=60s", "n=2", "ns=shop"]
    );
    assert!(loaded.experiment.spec.variables.is_empty());
}

#[test]
fn a_value_can_t_change_what_the_document_is() {
    let text = GOOD
        .replace("spec:\n", "spec:\n  variables: {path: {}}\n")
        .replace("http://web.shop.svc/healthz\"", "http://web.shop.svc/${path}\"");
    let sets = [set("path", "\"}, method: []")];
    let diagnostics = load("x", text.as_bytes(), &sets).unwrap_err();
    assert_eq!(diagnostics.list()[0].code, Code::BadValue, "{diagnostics}");
}

#[test]
fn sets_of_undeclared_variables_are_errors_without_a_place() {
    let diagnostics = load("x", GOOD.as_bytes(), &[set("zone", "a")]).unwrap_err();
    assert_eq!(
        diagnostics.to_string(),
        "x: error[E030]: `--set zone=…` names a variable that the document does not declare\nhelp: declare it: `spec: {variables: {zone: {}}}`\n"
    );
}

#[test]
fn mistakes_in_different_parts_are_all_found() {
    let text = GOOD
        .replace("rate: 200/s", "rate: 200")
        .replace("\"p99 <= 100ms\"", "\"p99 <= 100\"")
        .replace("at: 0s", "at: 0")
        .replace("count: 1", "count: one")
        .replace("for: 10s", "for: ten")
        .replace("pods: 1", "pods: -1");
    // Lines count from `apiVersion`: the comments above it may grow.
    let above = text.lines().take_while(|line| line.starts_with('#')).count() - 1;
    let codes: Vec<_> = errors(&text).iter().map(|(code, line, ..)| format!("{code}:{}", line - above)).collect();
    assert_eq!(codes, ["E023:8", "E023:13", "E023:19", "E022:20", "E023:23", "E023:24"]);
}

#[test]
fn checks_run_on_what_could_be_read() {
    let text = GOOD
        .replace("name: web-survives-pod-kill", "name: Web")
        .replace("{probe: web, tolerance: \"outage", "{probe: wbe, tolerance: \"outage");
    let codes: Vec<_> = errors(&text).iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes, ["E023", "E041"]);
}

#[test]
fn an_alias_repeats_a_value() {
    let text = GOOD
        .replace("- name: web", "- name: &name web")
        .replace("{probe: web, tolerance: \"outage", "{probe: *name, tolerance: \"outage");
    assert_eq!(loaded(&text).experiment, loaded(GOOD).experiment);
}

#[test]
fn a_byte_order_mark_and_crlf_are_accepted() {
    let text = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    assert_eq!(loaded(&text).experiment, loaded(GOOD).experiment);
}

#[test]
fn huge_inputs_are_refused_at_once() {
    let bomb: String = (1..12).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
        text + &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","))
    });
    let deep: String = (0..100).fold(String::new(), |text, i| text + &" ".repeat(i) + "a:\n");
    let start = tokio::time::Instant::now();
    for (what, text) in [
        ("brackets", "[".repeat(100_000)),
        ("braces", "{a: ".repeat(100_000)),
        ("dashes", "- ".repeat(100_000)),
        ("bomb", bomb),
        ("deep", deep),
        ("aliases", format!("a: &a 1\nb: [{}]\n", vec!["*a"; 101].join(","))),
        ("values", format!("a: [{}]\n", "1,".repeat(200_000))),
        ("anchors", format!("{}{}{}", "&a [".repeat(60), "1,".repeat(1_000), "]".repeat(60))),
        ("large", "x".repeat(50_000_000)),
    ] {
        let diagnostics = load("x", text.as_bytes(), &[]).unwrap_err();
        assert_eq!(diagnostics.list()[0].code, Code::TooLarge, "{what}: {diagnostics}");
    }
    // Without the limits, any one of them takes minutes.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn a_mistake_in_every_line_costs_little() {
    let items = "    - {name: X, rate: 1, timeout: 1, http: {url: x, foo: 1}}\n".repeat(1_000);
    let text = GOOD.replace("  steadyState:", &format!("{items}  steadyState:"));
    let diagnostics = load("x", text.as_bytes(), &[]).unwrap_err();
    assert_eq!(diagnostics.list().len(), 100);
}

#[test]
fn files_that_can_t_be_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let first = |path: &str| read(path, &[]).unwrap_err().list()[0].clone();
    assert_eq!(first(&path("none.yaml")).message, "can't read the file: there is no such file");
    assert_eq!(first(&path("")).message, "can't read the file: it is a directory");
    let large = std::fs::File::create(path("large.yaml")).unwrap();
    large.set_len(50 << 20).unwrap();
    assert_eq!(first(&path("large.yaml")).code, Code::TooLarge);
    std::fs::write(path("good.yaml"), GOOD).unwrap();
    assert!(read(&path("good.yaml"), &[]).is_ok());
}

/// Every place lies within the file and on the bounds of characters.
fn places_are_inside(text: &[u8]) -> Result<(), TestCaseError> {
    let sets = [set("zone", "a")];
    let (Ok(Loaded { warnings: diagnostics, .. }) | Err(diagnostics)) = load("x", text, &sets);
    for diagnostic in diagnostics.list() {
        let source = &diagnostics.source.text;
        for span in diagnostic.span.into_iter().chain(diagnostic.related.as_ref().map(|(span, _)| *span)) {
            prop_assert!(span.start <= span.end && source.get(span.range()).is_some(), "{diagnostic:?}");
        }
        prop_assert!(!diagnostic.message.is_empty());
    }
    let rendered = diagnostics.render(false);
    prop_assert!(!rendered.contains('\u{1b}'), "{rendered}");
    Ok(())
}

/// The good document with a piece put into it, or taken out.
fn damaged() -> impl Strategy<Value = String> {
    let piece = "[\\[\\]{}:,&*!|>'\"%@`#~<\t\n -]{1,4}|\\$\\{zone\\}|\u{1b}|é|- |\\*a|&a |<<: |true|12|'";
    (0..GOOD.len(), 0..12_usize, piece).prop_map(|(at, remove, piece)| {
        let mut text: Vec<char> = GOOD.chars().collect();
        let at = at.min(text.len());
        let end = (at + remove).min(text.len());
        text.splice(at..end, piece.chars());
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        places_are_inside(&bytes)?;
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "([a-c]: |- |\\[|\\]|\\{|\\}|\"|'|\n|\n  |\n\t|&a |\\*a|!x |#|,|\\||>|%|---|é|spec:|~|1){0,40}") {
        places_are_inside(text.as_bytes())?;
    }

    #[test]
    fn damaged_documents_never_panic(text in damaged()) {
        places_are_inside(text.as_bytes())?;
    }

    #[test]
    fn what_is_written_reads_back(
        name in "[a-z]([-a-z0-9]{0,8}[a-z0-9])?",
        text in "\\PC{0,20}",
        rate in 1..1000_u32,
        millis in 1..100_000_u64,
        count in 1..9_u32,
    ) {
        let mut experiment = loaded(GOOD).experiment;
        experiment.metadata.name = name.parse().unwrap();
        experiment.metadata.annotations.insert("note".to_owned(), text);
        experiment.spec.probes[0].rate = format!("{rate}/s").parse().unwrap();
        experiment.spec.probes[0].timeout = crate::scalar::Duration::new(std::time::Duration::from_millis(millis));
        experiment.spec.limits.pods = Some(CountOrPercent::Count(count));
        let json = serde_json::to_string(&experiment).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Experiment>(&json).unwrap(), &experiment);
        // A note that looks like a reference to a variable is one, when the text is read as a document.
        if !json.contains("${") {
            prop_assert_eq!(&load("x", json.as_bytes(), &[]).unwrap().experiment, &experiment);
        }
    }
}
