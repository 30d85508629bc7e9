//! The rules of the tree that no compiler checks: sizes, layers, the catalogue, words, documents.
//!
//! Each rule is a function from a [`Tree`] to its violations, so that it is tried on small bad trees too: a rule that finds
//! nothing anywhere would be worth nothing.

mod catalogue;
mod documents;
mod layers;
mod lexer;
mod modules;
mod sizes;
mod tree;
mod words;

use tree::{Tree, Violation};

/// Fails with every violation, one `file:line: message` each.
fn assert_none(violations: &[Violation]) {
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} violations:\n  {}", list.len(), list.join("\n  "));
}

#[test]
fn files_and_functions_are_short() {
    assert_none(&sizes::check(&Tree::read()));
}

#[test]
fn folders_use_only_what_the_table_allows() {
    assert_none(&layers::check(&Tree::read()));
}

#[test]
fn every_source_file_is_reached_by_a_mod() {
    assert_none(&modules::check(&Tree::read()));
}

#[test]
fn only_term_prints() {
    assert_none(&words::check_printing(&Tree::read()));
}

#[test]
fn the_catalogue_is_complete_and_the_only_place_that_names_faults() {
    assert_none(&catalogue::check(&Tree::read()));
}

#[test]
fn no_file_has_a_banned_word() {
    assert_none(&words::check_banned(&Tree::read()));
}

#[test]
fn links_in_documents_resolve() {
    assert_none(&documents::check_links(&Tree::read()));
}

#[test]
fn the_changelog_has_an_unreleased_section() {
    assert_none(&documents::check_changelog(&Tree::read()));
}

#[test]
fn experiments_say_what_they_are_for() {
    assert_none(&documents::check_experiments(&Tree::read()));
}
