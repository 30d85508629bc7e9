//! How many of those that match: what `count`, `percent`, `all` and `names` mean, and the seeded choice, whatever is chosen.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

use super::{Complaint, Planning, Refusal};
use crate::scalar::Percent;

/// What a step says of how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    /// The key under which the others stand, which is the plural of what is chosen: `pods`.
    pub key: &'static str,
    pub names: &'a [String],
    pub count: Option<u32>,
    pub percent: Option<Percent>,
    pub all: bool,
}

impl Choice<'_> {
    /// What contradicts itself, or chooses nothing.
    pub(super) fn check(&self) -> Vec<Complaint> {
        let (many, one) = (self.key, self.key.trim_end_matches('s'));
        let mut complaints = Vec::new();
        let mut complain = |key, message: String, hint: &str| {
            complaints.push(Complaint::new(&[self.key, key], message, hint));
        };
        if self.count.is_some() && self.percent.is_some() {
            complain("percent", format!("`count` and `percent` both say how many {many}"), "keep one of them");
        }
        if self.all && (self.count.is_some() || self.percent.is_some()) {
            complain(
                "all",
                format!("`all: true` and a number of {many} contradict each other"),
                "keep `all`, or `count` or `percent`",
            );
        }
        if !self.names.is_empty() && (self.count.is_some() || self.percent.is_some()) {
            complain(
                "names",
                format!("`names` already says how many {many}"),
                "remove `count` and `percent`, or choose with a `selector`",
            );
        }
        if self.count == Some(0) {
            complain("count", format!("`count: 0` chooses no {one}"), "write `count: 1`, or leave it out");
        }
        if self.percent.is_some_and(Percent::is_zero) {
            let hint = format!("write a percentage above zero; it rounds down, but to at least one {one}");
            complain("percent", format!("`0%` chooses no {one}"), &hint);
        }
        complaints
    }

    /// Takes that many of those that match, by the seed; those that no step before has taken come first.
    pub(super) fn take<T>(
        &self,
        cx: &Planning<'_>,
        mut matching: Vec<T>,
        uid: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>, Refusal> {
        let count = self.how_many(matching.len())?;
        matching.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(cx.seed));
        matching.sort_by_key(|one| cx.taken.contains(uid(one)));
        matching.truncate(count);
        Ok(matching)
    }

    fn how_many(&self, of: usize) -> Result<usize, Refusal> {
        if self.all || !self.names.is_empty() {
            return Ok(of);
        }
        if let Some(percent) = self.percent {
            return Ok(percent.of_rounded_down(of).max(1));
        }
        let count = self.count.unwrap_or(1) as usize;
        if count > of {
            return Err(Refusal::new(format!("`count: {count}` asks for more {} than the {of} that match", self.key))
                .hint("lower `count`, or write `all: true`"));
        }
        Ok(count)
    }
}

/// Whether a text can be the name of an object or, in lower case, a kind.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Choice<'_> = Choice { key: "nodes", names: &[], count: None, percent: None, all: false };

    #[test]
    fn a_share_rounds_down_to_at_least_one_and_a_number_has_to_be_there() {
        let percent = |text: &str| Choice { percent: Some(text.parse().unwrap()), ..ONE };
        assert_eq!(ONE.how_many(3), Ok(1));
        assert_eq!(percent("50%").how_many(3), Ok(1));
        assert_eq!(percent("10%").how_many(3), Ok(1));
        assert_eq!(Choice { all: true, ..ONE }.how_many(3), Ok(3));
        let refusal = Choice { count: Some(4), ..ONE }.how_many(3).unwrap_err();
        assert_eq!(refusal.message, "`count: 4` asks for more nodes than the 3 that match");
    }

    #[test]
    fn two_answers_to_one_question_are_a_mistake() {
        let names = ["n1".to_owned()];
        let wrong = Choice { names: &names, count: Some(0), all: true, ..ONE }.check();
        let said: Vec<_> = wrong.iter().map(|c| (c.path[1], c.message.as_str())).collect();
        assert_eq!(
            said,
            [
                ("all", "`all: true` and a number of nodes contradict each other"),
                ("names", "`names` already says how many nodes"),
                ("count", "`count: 0` chooses no node"),
            ]
        );
    }
}
