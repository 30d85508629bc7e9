//! Documents and experiments: what they point at is there, and they say what they are.

use std::path::Path;

use crate::tree::{File, Tree, Violation};

/// Relative links in Markdown lead to a file or folder of the tree, and to a heading that is there.
pub(crate) fn check_links(tree: &Tree) -> Vec<Violation> {
    let documents = tree.files.iter().filter(|file| file.extension() == "md");
    documents.flat_map(|file| links(file).into_iter().filter_map(|(at, link)| broken(tree, file, at, link))).collect()
}

/// The targets of `[text](target)`, outside code blocks.
fn links(file: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut in_code) = (0, false);
    for line in file.text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        for (at, _) in line.match_indices("](").filter(|_| !in_code) {
            let target = &line[at + 2..];
            if let Some(end) = target.find(')') {
                found.push((start + at, &target[..end]));
            }
        }
        start += line.len();
    }
    found
}

fn broken(tree: &Tree, file: &File, at: usize, link: &str) -> Option<Violation> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { file.path.clone() } else { join(&file.path, path) };
    // The sample record is no source: the tree leaves it out, and the rules with it.
    let record = target.starts_with("reports/sample/") && Path::new(env!("CARGO_MANIFEST_DIR")).join(&target).is_file();
    if !target.is_empty() && !tree.has(&target) && !record {
        return Some(file.violation(at, format!("`{link}` leads nowhere: there is no {target}")));
    }
    let headings = tree.get(&target).filter(|_| !anchor.is_empty())?;
    let found = headings.text.lines().filter(|l| l.starts_with('#')).any(|l| slug(l) == anchor);
    (!found).then(|| file.violation(at, format!("`{link}` leads nowhere: {target} has no such heading")))
}

/// A path from the root, for a path as a document writes it.
fn join(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What is not released yet has its place.
pub(crate) fn check_changelog(tree: &Tree) -> Vec<Violation> {
    let changelog = "CHANGELOG.md";
    let found = tree.get(changelog).is_some_and(|f| f.text.lines().any(|line| line.trim() == "## [Unreleased]"));
    if found { Vec::new() } else { vec![Violation::at_line(changelog, 1, "no section `## [Unreleased]`")] }
}

/// Each experiment opens with a comment that says what it shows.
pub(crate) fn check_experiments(tree: &Tree) -> Vec<Violation> {
    let experiments = tree.files.iter().filter(|f| f.path.starts_with("experiments/") && f.extension() == "yaml");
    let says = |file: &&File| {
        let mut head = file.text.lines().take_while(|line| line.starts_with('#'));
        head.any(|line| line.len() > 1 && !line.contains("yaml-language-server"))
    };
    let message = "no comment at the top that says what the experiment shows";
    experiments.filter(|file| !says(file)).map(|file| file.violation(0, message)).collect()
}

#[test]
fn broken_links_are_found() {
    let tree = Tree::of(&[
        (
            "README.md",
            "# A `b` c\n[x](docs/a.md) [y](docs) [z](https://none.example/) [s](#a-b-c)\n```\n[no](no)\n```\n[no](gone.md)\n",
        ),
        ("docs/a.md", "[up](../README.md#a-b-c) [no](../README.md#no) [no](README.md)\n"),
    ]);
    let found: Vec<String> = check_links(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "README.md:6: `gone.md` leads nowhere: there is no gone.md",
            "docs/a.md:1: `../README.md#no` leads nowhere: README.md has no such heading",
            "docs/a.md:1: `README.md` leads nowhere: there is no docs/README.md",
        ]
    );
}

#[test]
fn a_changelog_without_unreleased_and_an_experiment_without_a_comment_are_found() {
    assert_eq!(check_changelog(&Tree::of(&[("CHANGELOG.md", "# Changelog\n\n## 0.1.0\n")])).len(), 1);
    assert_eq!(check_changelog(&Tree::of(&[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")])), []);
    let tree = Tree::of(&[
        ("experiments/a.yaml", "# yaml-language-server: $schema=x\nkind: Experiment\n"),
        ("experiments/b.yaml", "# yaml-language-server: $schema=x\n# What it shows.\nkind: Experiment\n"),
    ]);
    let found: Vec<String> = check_experiments(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["experiments/a.yaml:1: no comment at the top that says what the experiment shows"]);
}
