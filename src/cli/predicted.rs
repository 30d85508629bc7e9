//! Predictions: what rehearsals of an experiment came to, on their way from `rehearse` to the `run` that is held against them.
//!
//! One rehearsal's prediction is its run record; that of many is a file of its own, as no record is kept of those that passed. A
//! prediction fits an experiment that is the same once its variables are replaced, wherever its probes ask: in the lab a Service is
//! asked by its name in the cluster, and from outside it is often not.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sets;
use crate::cluster::CommandLine;
use crate::record::{Predicted, RunDir, RunVerdict, What};
use crate::report::Report;
use crate::report::beside::outlook;
use crate::report::format::run_verdict;
use crate::scalar::EngineKind;
use crate::spec::{Experiment, Loaded};

/// Version of the file's format.
const VERSION: u32 = 1;
/// What may differ: where a probe asks.
const PLACES: [&str; 4] = ["http.url", "tcp.address", "grpc.address", "dns.server"];
/// Most differences that are named.
const NAMED: usize = 3;

/// See the module's documentation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Prediction {
    /// [`VERSION`].
    version: u32,
    /// Name of the experiment.
    experiment: String,
    /// SHA-256 of its file, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_sha256: Option<String>,
    /// The experiment after its variables were replaced.
    document: Value,
    /// What its rehearsals came to.
    predicted: Predicted,
}

/// Why a prediction can't be used: what is wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Unfit {
    pub message: String,
    pub hint: Option<String>,
}

impl Prediction {
    /// That of rehearsals of one experiment. `None`: none of them says anything.
    pub(super) fn of(loaded: &Loaded, reports: &[Report]) -> Option<Self> {
        let rehearsals: Vec<_> = reports.iter().filter(|report| tells(report)).map(outlook).collect();
        (!rehearsals.is_empty()).then(|| Self {
            version: VERSION,
            experiment: loaded.experiment.metadata.name.to_string(),
            source_sha256: Some(loaded.sha256.clone()),
            document: serde_json::to_value(&loaded.experiment).unwrap_or_default(),
            predicted: Predicted { rehearsals, notes: Vec::new() },
        })
    }

    /// Writes it beside the records of runs, by the name of its first rehearsal.
    pub(super) fn write(&self, reports: &Path) -> Result<PathBuf, String> {
        let first = self.predicted.rehearsals.first().map_or("", |rehearsal| rehearsal.run.as_str());
        let path = reports.join(format!("{first}.prediction.json"));
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        let written = std::fs::create_dir_all(reports).and_then(|()| std::fs::write(&path, text + "\n"));
        written.map(|()| path.clone()).map_err(|e| format!("can't write {}: {e}", path.display()))
    }

    /// Reads a prediction's file, or the record of a rehearsal: its folder, or a file in it.
    fn read(path: &Path) -> Result<Self, Unfit> {
        let shown = path.display();
        let fail = |message: String| Unfit { message, hint: Some(HOW.to_owned()) };
        if path.is_dir() {
            return Self::of_record(&RunDir::at(path));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| fail(format!("can't read the prediction {shown}: {e}")))?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        if value.get("predicted").is_none() {
            return Self::of_record(&RunDir::at(path.parent().unwrap_or(Path::new("."))));
        }
        let prediction: Self =
            serde_json::from_value(value).map_err(|e| fail(format!("{shown} is no prediction: {e}")))?;
        if prediction.version != VERSION {
            return Err(fail(format!("{shown} is a prediction of another version of Squall")));
        }
        Ok(prediction)
    }

    fn of_record(dir: &RunDir) -> Result<Self, Unfit> {
        let shown = dir.path().display();
        let fail = |message: String| Unfit { message, hint: Some(HOW.to_owned()) };
        let events = dir.events().map_err(|e| fail(format!("{shown} is not the record of a rehearsal: {e}")))?;
        let report = Report::from_events(&events);
        if report.engine != EngineKind::Lab {
            let context = &report.cluster.context;
            return Err(fail(format!("{shown} is the record of a run on `{context}`, not of a rehearsal")));
        }
        if !tells(&report) {
            let verdict = run_verdict(report.verdict);
            return Err(fail(format!("{shown} predicts nothing: that rehearsal's verdict is {verdict}")));
        }
        let plan =
            events.iter().find_map(|event| if let What::Planned { plan } = &event.what { Some(plan) } else { None });
        let plan = plan.ok_or_else(|| fail(format!("{shown} does not say what was rehearsed")))?;
        Ok(Self {
            version: VERSION,
            experiment: report.experiment.clone(),
            source_sha256: plan.get("sourceSha256").and_then(Value::as_str).map(str::to_owned),
            document: plan.get("document").cloned().unwrap_or_default(),
            predicted: Predicted { rehearsals: vec![outlook(&report)], notes: Vec::new() },
        })
    }

    /// Whether it is of this experiment: gives in what it may differ, in words.
    fn fits(&self, path: &Path, document: &Value, sha256: Option<&str>) -> Result<Vec<String>, Unfit> {
        let mut found = Vec::new();
        differences(&self.document, document, "", &mut found);
        let (places, differs): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(at, _)| at.starts_with("spec.probes.") && PLACES.iter().any(|p| at.ends_with(p)));
        if differs.is_empty() {
            return Ok(places.into_iter().map(|(at, what)| format!("`{at}` {what}")).collect());
        }
        let named: Vec<String> = differs.iter().take(NAMED).map(|(at, what)| format!("`{at}` {what}")).collect();
        let more = differs.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        let message = format!("{} is a rehearsal of another experiment: {}{more}", path.display(), named.join(", "));
        let hint = if sha256.is_some() && self.source_sha256.as_deref() == sha256 {
            "the file is the same, so its variables differ: give both the same `--set`"
        } else {
            "the file has changed since: rehearse it again"
        };
        Err(Unfit { message, hint: Some(hint.to_owned()) })
    }
}

const HOW: &str = "`squall rehearse FILE` writes a record, and says how to run beside it";

/// Whether a rehearsal went far enough to predict anything.
fn tells(report: &Report) -> bool {
    !matches!(report.verdict, None | Some(RunVerdict::Refused | RunVerdict::Unsteady | RunVerdict::Errored))
}

/// The predictions that were given, each for the experiment whose name it has.
#[derive(Debug, Default)]
pub(super) struct Predictions(Vec<(PathBuf, Prediction)>);

impl Predictions {
    /// Reads them all. Each has to be of one of these experiments.
    pub(super) fn read(paths: &[PathBuf], names: &[String]) -> Result<Self, Unfit> {
        let mut all = Vec::new();
        for path in paths {
            let prediction = Prediction::read(path)?;
            if !names.contains(&prediction.experiment) {
                let message = format!(
                    "{} is a rehearsal of another experiment: `{}`, and not `{}`",
                    path.display(),
                    prediction.experiment,
                    names.join("`, `")
                );
                return Err(Unfit { message, hint: Some("rehearse the one that is to be run".to_owned()) });
            }
            all.push((path.clone(), prediction));
        }
        Ok(Self(all))
    }

    /// What is predicted of an experiment: all of its rehearsals together, which have to be of one lab.
    pub(super) fn of(&self, experiment: &Experiment, sha256: Option<&str>) -> Result<Option<Predicted>, Unfit> {
        let document = serde_json::to_value(experiment).unwrap_or_default();
        let mut together = Predicted::default();
        for (path, prediction) in self.0.iter().filter(|(_, p)| p.experiment == experiment.metadata.name.as_str()) {
            for note in prediction.fits(path, &document, sha256)? {
                if !together.notes.contains(&note) {
                    together.notes.push(note);
                }
            }
            for rehearsal in &prediction.predicted.rehearsals {
                if let Some(first) = together.rehearsals.first().filter(|first| first.lab != rehearsal.lab) {
                    let message = format!(
                        "{} was rehearsed on `{}`, and what stands before it on `{}`",
                        path.display(),
                        rehearsal.lab,
                        first.lab
                    );
                    let hint = "a range is of rehearsals on one lab, with several seeds: `--seeds N` makes one";
                    return Err(Unfit { message, hint: Some(hint.to_owned()) });
                }
                together.rehearsals.push(rehearsal.clone());
            }
        }
        Ok((!together.rehearsals.is_empty()).then_some(together))
    }
}

/// Every place at which two documents differ, with what stands there.
fn differences(then: &Value, now: &Value, at: &str, found: &mut Vec<(String, String)>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match (then, now) {
        (Value::Object(one), Value::Object(other)) => {
            let more = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(more) {
                let [one, other] = [one, other].map(|map| map.get(key).unwrap_or(&Value::Null));
                differences(one, other, &below(key), found);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for index in 0..one.len().max(other.len()) {
                let [one, other] = [one, other].map(|list| list.get(index).unwrap_or(&Value::Null));
                differences(one, other, &below(&index.to_string()), found);
            }
        }
        _ if then == now => {}
        _ => found.push((at.to_owned(), format!("was {} in rehearsal and is {}", written(then), written(now)))),
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => "absent".to_owned(),
        Value::Object(_) | Value::Array(_) => "something else".to_owned(),
        other => other.to_string(),
    }
}

/// The command that runs the experiment beside its prediction.
pub(super) fn command(source: &str, sets: &Sets, prediction: &Path) -> String {
    let sets = sets.sets.iter().flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
    let argv = ["squall", "run", source].map(str::to_owned).into_iter().chain(sets);
    let argv = argv.chain(["--predicted".to_owned(), prediction.display().to_string()]).collect();
    CommandLine { argv, directory: PathBuf::new(), timeout_ms: 0 }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Clock, Outlook, Recorder};
    use crate::spec;

    const FILE: &str = "
apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {name: web}
spec:
  variables: {count: {default: '1'}, url: {default: 'http://web.shop.svc/'}}
  probes: [{name: web, rate: 200/s, timeout: 500ms, http: {url: '${url}'}}]
  steadyState: [{probe: web, tolerance: 'outage <= 1s'}]
  method: [{name: kill, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, count: '${count}'}}}]
  timing: {before: 1s, during: 20s, after: 1s}
";

    fn loaded(sets: &[(&str, &str)]) -> Loaded {
        let sets: Vec<_> = sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        spec::load("web.yaml", FILE.as_bytes(), &sets).unwrap_or_else(|e| panic!("{e:?}"))
    }

    fn prediction(loaded: &Loaded, lab: &str) -> Prediction {
        let outlook = Outlook { run: "r".to_owned(), lab: lab.to_owned(), ..Outlook::default() };
        Prediction {
            version: VERSION,
            experiment: "web".to_owned(),
            source_sha256: Some(loaded.sha256.clone()),
            document: serde_json::to_value(&loaded.experiment).unwrap(),
            predicted: Predicted { rehearsals: vec![outlook], notes: Vec::new() },
        }
    }

    fn fits(predictions: Vec<Prediction>, run: &Loaded) -> Result<Option<Predicted>, Unfit> {
        let all = predictions.into_iter().map(|prediction| (PathBuf::from("reports/r"), prediction)).collect();
        Predictions(all).of(&run.experiment, Some(&run.sha256))
    }

    #[test]
    fn the_same_experiment_fits_and_another_one_says_what_differs() {
        let one = loaded(&[]);
        assert_eq!(
            fits(vec![prediction(&one, "a"), prediction(&one, "a")], &one).unwrap().unwrap().rehearsals.len(),
            2
        );
        assert!(fits(Vec::new(), &one).unwrap().is_none());
        let two = loaded(&[("count", "2")]);
        let unfit = fits(vec![prediction(&one, "a")], &two).unwrap_err();
        assert!(unfit.message.contains("`spec.method.0.podKill.pods.count` was 1 in rehearsal and is 2"), "{unfit:?}");
        assert!(unfit.hint.unwrap().contains("--set"));
        let mut changed = prediction(&one, "a");
        changed.source_sha256 = Some("0".to_owned());
        assert!(fits(vec![changed], &two).unwrap_err().hint.unwrap().contains("has changed"));
        let unfit = fits(vec![prediction(&one, "a"), prediction(&one, "b")], &one).unwrap_err();
        assert!(unfit.message.contains("on `b`, and what stands before it on `a`"), "{unfit:?}");
    }

    #[test]
    fn a_probe_may_ask_elsewhere_and_the_report_says_so() {
        let elsewhere = loaded(&[("url", "http://127.0.0.1:8080/")]);
        let predicted = fits(vec![prediction(&loaded(&[]), "a")], &elsewhere).unwrap().unwrap();
        assert_eq!(
            predicted.notes,
            ["`spec.probes.0.http.url` was \"http://web.shop.svc/\" in rehearsal and is \"http://127.0.0.1:8080/\""]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_rehearsal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Predictions::read(&[folder.path().join("none")], &[]).unwrap_err();
        assert!(missing.message.contains("can't read the prediction"), "{missing:?}");
        let empty = Predictions::read(&[folder.path().to_owned()], &[]).unwrap_err();
        assert!(empty.message.contains("is not the record of a rehearsal"), "{empty:?}");
        let dir = RunDir::of(folder.path(), "r");
        let mut recorder = Recorder::create(&dir, Clock::start(jiff::Timestamp::UNIX_EPOCH)).unwrap();
        recorder.record(What::Warning { text: "nothing else".to_owned() });
        let other = Predictions::read(&[dir.path().to_owned()], &[]).unwrap_err();
        assert!(other.message.contains("not of a rehearsal"), "{other:?}");
    }

    #[test]
    fn a_prediction_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let one = loaded(&[]);
        let path = prediction(&one, "a").write(folder.path()).unwrap();
        let read = Predictions::read(&[path], &["web".to_owned()]).unwrap();
        assert_eq!(read.of(&one.experiment, Some(&one.sha256)).unwrap().unwrap().rehearsals.len(), 1);
        let other = Predictions::read(&[folder.path().join("r.prediction.json")], &["shop".to_owned()]).unwrap_err();
        assert!(other.message.contains("`web`, and not `shop`"), "{other:?}");
    }

    #[test]
    fn the_command_can_be_copied() {
        let sets = Sets { sets: vec![("what".to_owned(), "two words".to_owned())] };
        let command = command("web.yaml", &sets, Path::new("reports/r"));
        assert_eq!(command, "squall run web.yaml --set 'what=two words' --predicted reports/r");
    }
}
