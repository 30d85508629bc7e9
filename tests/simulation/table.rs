//! What the seeds came to, for people: on the terminal, and into a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::methods::METHODS;
use crate::scenario::{Foul, Outcome};

/// Where a page takes the table.
const MARKS: (&str, &str) = ("<!-- simulate:begin -->", "<!-- simulate:end -->");

#[derive(Default)]
struct Row {
    cases: usize,
    died: usize,
    followed: usize,
    left: usize,
    took: Vec<Duration>,
}

impl Row {
    fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        self.died += usize::from(outcome.died);
        self.followed += usize::from(outcome.followed);
        match &outcome.whole {
            // Without a log nothing had to be taken back; what time it took says nothing of a recovery.
            Ok(took) if outcome.followed => self.took.push(*took),
            Ok(_) => {}
            Err(_) => self.left += 1,
        }
    }

    fn line(&mut self, name: &str) -> String {
        self.took.sort_unstable();
        let shown = |at: Option<&Duration>| at.map_or_else(|| "–".to_owned(), |at| format!("{} s", at.as_secs()));
        let (median, most) = (shown(self.took.get(self.took.len() / 2)), shown(self.took.last()));
        let Self { cases, died, followed, left, .. } = self;
        format!("| {name} | {cases} | {died} | {followed} | **{left}** | {median} | {most} |\n")
    }
}

fn table(title: &str, rows: Vec<(String, Row)>) -> String {
    let mut text = format!(
        "| {title} | cases | runner died | left a log | left behind | whole again, median | at most |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for (name, mut row) in rows {
        text.push_str(&row.line(&name));
    }
    text
}

/// The tables of these outcomes, which took so long on so many threads.
pub(crate) fn tables(outcomes: &[Outcome], took: Duration, threads: usize) -> String {
    let mut whole = Row::default();
    let (mut by_method, mut by_weather) = (BTreeMap::<usize, Row>::new(), BTreeMap::<Foul, Row>::new());
    for outcome in outcomes {
        whole.add(outcome);
        by_method.entry(outcome.method).or_default().add(outcome);
        by_weather.entry(outcome.foul).or_default().add(outcome);
    }
    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    let mut text = String::new();
    let seconds = took.as_secs_f64();
    let each = seconds * 1e3 * float(threads) / float(outcomes.len().max(1));
    let _ = writeln!(
        text,
        "{} seeds in {seconds:.0} s on {threads} threads: {each:.1} ms of a thread each, {profile} profile.\n",
        outcomes.len()
    );
    let methods = by_method.into_iter().map(|(method, row)| {
        let method = &METHODS[method];
        (format!("{} ({})", method.name, method.faults.join(", ")), row)
    });
    text.push_str(&table("what is done", methods.chain([("all".to_owned(), whole)]).collect()));
    text.push('\n');
    let weathers = by_weather.into_iter().map(|(foul, row)| (foul.name().to_owned(), row));
    text.push_str(&table("what is the matter meanwhile", weathers.collect()));
    text
}

#[expect(clippy::cast_precision_loss, reason = "counts of cases lie far below 2^53")]
const fn float(n: usize) -> f64 {
    n as f64
}

/// Puts a text between the marks of a page.
pub(crate) fn into_page(page: &str, text: &str) -> Result<String, String> {
    let (begin, end) = MARKS;
    let (head, rest) = page.split_once(begin).ok_or_else(|| format!("the page has no `{begin}`"))?;
    let (_, tail) = rest.split_once(end).ok_or_else(|| format!("the page has no `{end}`"))?;
    Ok(format!("{head}{begin}\n{text}{end}{tail}"))
}

#[test]
fn a_page_takes_a_table_between_its_marks_and_nowhere_else() {
    let page = format!("before\n{}\nold\n{}\nafter\n", MARKS.0, MARKS.1);
    let new = into_page(&page, "new\n").unwrap();
    assert_eq!(new, format!("before\n{}\nnew\n{}\nafter\n", MARKS.0, MARKS.1));
    assert!(into_page("nothing", "new").is_err());
}
