//! Who calls, and what they may: everything.

use super::form::Form;
use super::xml::Xml;
use super::{Refused, unknown};
use crate::lab::world::World;

pub(super) fn sts(world: &World, form: &Form) -> Result<Xml, Refused> {
    match (form.text("Action"), &world.aws) {
        ("GetCallerIdentity", Some(aws)) => Ok(Xml::default()
            .text("Arn", aws.site.caller())
            .text("UserId", "AROALAB:lab")
            .text("Account", &aws.site.account)),
        (other, _) => Err(unknown(other)),
    }
}

pub(super) fn iam(form: &Form) -> Result<Xml, Refused> {
    let action = form.text("Action");
    if action != "SimulatePrincipalPolicy" {
        return Err(unknown(action));
    }
    let resources = form.list("ResourceArns");
    let resources = if resources.is_empty() { vec!["*".to_owned()] } else { resources };
    let results = form.list("ActionNames").into_iter().flat_map(|action| {
        let one = move |resource: &String| {
            Xml::default()
                .text("EvalActionName", &action)
                .text("EvalResourceName", resource)
                .text("EvalDecision", "allowed")
                .node("MissingContextValues", Xml::default())
        };
        resources.iter().map(one).collect::<Vec<_>>()
    });
    Ok(Xml::default().list("EvaluationResults", "member", results).text("IsTruncated", false))
}
