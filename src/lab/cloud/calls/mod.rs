//! The calls of EC2, Auto Scaling, STS and IAM that Squall makes, and a few more by which a person turns what it finds: the query protocol, a
//! form in and XML out.

mod form;
mod groups;
mod identity;
mod instances;
mod members;
mod network;
mod xml;

use tokio::time::sleep;

use self::form::Form;
use self::xml::Xml;
use crate::lab::world::{Shared, World};

/// An answer: its HTTP status, and its text.
pub(super) type Answer = (u16, String);

/// One of the services that speak this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Ec2,
    Scaling,
    Sts,
    Iam,
}

impl Service {
    /// By the version of its API, which every form carries.
    fn of(form: &Form) -> Option<Self> {
        match form.text("Version") {
            "2016-11-15" => Some(Self::Ec2),
            "2011-01-01" => Some(Self::Scaling),
            "2011-06-15" => Some(Self::Sts),
            "2010-05-08" => Some(Self::Iam),
            _ => None,
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// Auto Scaling's one code for what is wrong with a request.
    fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

/// Carries a request out, with the way to the service and back. `host` is the one that it was sent to: it names the region.
pub(super) async fn send(shared: &Shared, host: &str, body: &[u8]) -> Answer {
    let way = shared.read(|world| world.settings.cloud.answer) / 2;
    sleep(way).await;
    let answer = shared.with(|world| answer(world, host, body));
    sleep(way).await;
    answer
}

/// The same at once.
pub(super) fn answer(world: &mut World, host: &str, body: &[u8]) -> Answer {
    let form = Form::read(body);
    let Some(service) = Service::of(&form) else {
        let refused = Refused::new("InvalidAction", "The action or operation requested is invalid.");
        return refusal(Service::Ec2, &refused);
    };
    match carry_out(world, service, host, &form) {
        Ok(xml) => (200, xml.whole(form.text("Action"), service == Service::Ec2)),
        Err(refused) => refusal(service, &refused),
    }
}

fn carry_out(world: &mut World, service: Service, host: &str, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else {
        let why = "The security token included in the request is invalid.";
        return Err(Refused::new("InvalidClientTokenId", why).with_status(403));
    };
    // As in a region that the account has not been opened in. On loopback addresses no host says one.
    let is_regional = matches!(service, Service::Ec2 | Service::Scaling) && host.ends_with(".amazonaws.com");
    if is_regional && !host.split('.').any(|label| label == aws.site.region) {
        let why = "AWS was not able to validate the provided access credentials";
        return Err(Refused::new("AuthFailure", why).with_status(401));
    }
    match service {
        Service::Ec2 => ec2(world, form),
        Service::Scaling => scaling(world, form),
        Service::Sts => identity::sts(world, form),
        Service::Iam => identity::iam(form),
    }
}

fn ec2(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    match form.text("Action") {
        "DescribeInstances" => instances::describe(world, form),
        "DescribeInstanceAttribute" => instances::attribute(world, form),
        "ModifyInstanceAttribute" => instances::modify(world, form),
        "TerminateInstances" => instances::terminate(world, form),
        "DescribeSubnets" => network::subnets(world, form),
        "DescribeNetworkInterfaces" => network::interfaces(world, form),
        "DescribeNetworkAcls" => network::acls(world, form),
        "CreateNetworkAcl" => network::create(world, form),
        "ReplaceNetworkAclAssociation" => network::replace(world, form),
        "DeleteNetworkAcl" => network::delete(world, form),
        other => Err(unknown(other)),
    }
}

fn scaling(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    match form.text("Action") {
        "DescribeAutoScalingGroups" => groups::describe(world, form),
        "SuspendProcesses" => groups::suspend(world, form),
        "ResumeProcesses" => groups::resume(world, form),
        "DescribeScalingProcessTypes" => Ok(groups::process_types()),
        "UpdateAutoScalingGroup" => groups::update(world, form),
        "SetDesiredCapacity" => groups::set_desired(world, form),
        "CreateOrUpdateTags" => groups::tag(world, form),
        "DeleteTags" => groups::untag(world, form),
        "DescribeScalingActivities" => members::activities(world, form),
        "DescribeInstanceRefreshes" => members::refreshes(world, form),
        "TerminateInstanceInAutoScalingGroup" => members::terminate(world, form),
        "SetInstanceHealth" => members::set_health(world, form),
        "SetInstanceProtection" => members::protect(world, form),
        other => Err(unknown(other)),
    }
}

fn unknown(action: &str) -> Refused {
    Refused::new("InvalidAction", format!("The lab has no model of the action {action}."))
}

/// EC2 answers a call that was only to be tried with an error of its own.
fn dry_run(form: &Form) -> Result<(), Refused> {
    let would = || Refused::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.");
    if form.flag("DryRun") { Err(would().with_status(412)) } else { Ok(()) }
}

fn refusal(service: Service, refused: &Refused) -> Answer {
    let error = Xml::default().text("Code", refused.code).text("Message", &refused.message);
    let text = match service {
        Service::Ec2 => {
            Xml::default().node("Response", Xml::default().node("Errors", Xml::default().node("Error", error)))
        }
        _ => Xml::default()
            .node("ErrorResponse", Xml::default().node("Error", Xml::default().text("Type", "Sender").add(error))),
    };
    (refused.status, text.into_text())
}

/// A call's name beside those to Kubernetes: `GET DescribeInstances` where it only looks, `POST TerminateInstances` where it does not.
#[cfg(feature = "aws")]
pub(super) fn named(body: &[u8]) -> String {
    let form = Form::read(body);
    let action = form.text("Action");
    let looks =
        ["Describe", "Get", "List", "Simulate"].iter().any(|verb| action.starts_with(verb)) || form.flag("DryRun");
    format!("{} {action}", if looks { "GET" } else { "POST" })
}

/// What passes for the weather: a service that throttles, or breaks, or takes no session that has expired.
#[cfg(feature = "aws")]
pub(super) fn bad_weather(body: &[u8], status: u16) -> Answer {
    let service = Service::of(&Form::read(body)).unwrap_or(Service::Ec2);
    let refused = match (status, service) {
        (401, Service::Ec2) => Refused::new("RequestExpired", "Request has expired."),
        (401, _) => {
            let why = "The security token included in the request is expired";
            Refused::new("ExpiredToken", why).with_status(403)
        }
        (429, Service::Ec2) => Refused::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
        (429, _) => Refused::new("Throttling", "Rate exceeded"),
        (503, Service::Ec2) => {
            let why = "The server is overloaded and can't handle the request.";
            Refused::new("Unavailable", why).with_status(503)
        }
        (503, _) => {
            let why = "The request has failed due to a temporary failure of the server.";
            Refused::new("ServiceUnavailable", why).with_status(503)
        }
        (_, Service::Ec2) => Refused::new("InternalError", "An internal error has occurred").with_status(500),
        (..) => {
            let why = "The request processing has failed because of an unknown error, exception or failure.";
            Refused::new("InternalFailure", why).with_status(500)
        }
    };
    refusal(service, &refused)
}
