//! Which step holds what: two steps of a run must not hold the same target at once.
//!
//! A fault leaves a note on what it holds, and refuses what carries one. That is not enough where the target knows no preconditions, as the
//! groups and subnets of a cloud: two steps that begin together would both find it free, and the later note would take the place of the
//! earlier, whose harm nobody would take back then. Other runs are kept out by the lease.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::record::Target;

type Key = (String, String);

/// What the steps of a run hold: by kind and uid of the target, the step.
#[derive(Debug, Default)]
pub(super) struct Claims(RefCell<BTreeMap<Key, String>>);

/// What one step holds, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    step: &'a str,
}

fn key(target: &Target) -> Key {
    (target.kind.clone(), target.uid.clone())
}

impl Claims {
    /// Begins a claim of a step, to nothing yet.
    pub(super) const fn of<'a>(&'a self, step: &'a str) -> Claim<'a> {
        Claim { claims: self, step }
    }
}

impl Claim<'_> {
    /// Takes a target; `Err`: the step that holds it.
    pub(super) fn take(&self, target: &Target) -> Result<(), String> {
        let mut held = self.claims.0.borrow_mut();
        match held.get(&key(target)) {
            Some(other) if other != self.step => Err(other.clone()),
            _ => {
                held.insert(key(target), self.step.to_owned());
                Ok(())
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.0.borrow_mut().retain(|_, step| step != self.step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(uid: &str) -> Target {
        Target {
            kind: "group".to_owned(),
            namespace: String::new(),
            name: "workers".to_owned(),
            uid: uid.to_owned(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        }
    }

    #[test]
    fn a_target_is_held_by_one_step_until_that_lets_go_of_it() {
        let claims = Claims::default();
        let (one, other) = (claims.of("one"), claims.of("other"));
        assert_eq!(one.take(&group("a")), Ok(()));
        assert_eq!(one.take(&group("a")), Ok(()), "it is its own");
        assert_eq!(other.take(&group("a")), Err("one".to_owned()));
        assert_eq!(other.take(&group("b")), Ok(()));
        drop(one);
        assert_eq!(other.take(&group("a")), Ok(()));
    }
}
