//! Machines that commands of the user's own switch off and on.
//!
//! What the commands are made of comes from the document and from the node's object, and a node writes a part of that object itself. So
//! a value goes into one argument as it is, never through a shell, and never as what a program would take for an option.

use std::time::Duration as Time;

use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::contract::{Acting, Complaint, FaultError, Heal, Injected, Planning, Refusal, Resolution, Undo};
use super::super::nodes::NodeTargets;
use super::power::{self, Before};
use crate::cluster::CommandLine;
use crate::record::Target;
use crate::scalar::{Duration, nearest};

/// What stands for something of the node.
const PLACEHOLDERS: [&str; 3] = ["node", "providerID", "address"];
/// The longest that a command may take: as long as an undo is tried, so that one try fits.
const MOST: Time = Time::from_mins(2);

/// The commands that switch a node's machine off and on: a program and its arguments each, without a shell. `{node}`, `{providerID}` and
/// `{address}` in an argument stand for the node's name, its `spec.providerID` and its internal address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Exec {
    /// Cuts the power; over when the power is off.
    pub off: Vec<String>,
    /// Gives the power back. Run wherever `off` may have run, so harmless where the power is on.
    pub on: Vec<String>,
    /// The longest that either may take; then it is ended with everything that it started.
    #[serde(default = "one_minute")]
    pub timeout: Duration,
}

const fn one_minute() -> Duration {
    Duration::seconds(60)
}

/// What undo and healing need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecNote {
    off: CommandLine,
    on: CommandLine,
    before: Before,
}

impl Exec {
    pub(super) fn check(&self, nodes: &NodeTargets) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for (key, argv) in [("off", &self.off), ("on", &self.on)] {
            let mut complain = |message: String, hint: &str| {
                complaints.push(Complaint::new(&["exec", key], message, hint));
            };
            let Some((program, arguments)) = argv.split_first().filter(|(program, _)| !program.is_empty()) else {
                complain(format!("`{key}` names no program"), "write it as a list: `[virsh, destroy, \"{node}\"]`");
                continue;
            };
            if parts(program).any(|part| matches!(part, Part::Placeholder(_))) {
                let hint = "name the program itself; placeholders stand in its arguments";
                complain(format!("the program of `{key}` would be chosen by the node"), hint);
            }
            let named: Vec<&str> = arguments.iter().flat_map(|argument| placeholders(argument)).collect();
            for name in named.iter().filter(|name| !PLACEHOLDERS.contains(*name)) {
                let hint = match nearest(name, PLACEHOLDERS) {
                    Some(near) => format!("did you mean `{{{near}}}`?"),
                    None => "there are `{node}`, `{providerID}` and `{address}`".to_owned(),
                };
                complain(format!("nothing stands for `{{{name}}}`"), &hint);
            }
            if named.is_empty() && nodes.names.len() != 1 {
                complain(
                    format!("nothing in `{key}` says which node, and more than one may be chosen"),
                    "add `\"{node}\"`, `\"{providerID}\"` or `\"{address}\"` as an argument, or name the one node under `nodes.names`",
                );
            }
        }
        let mut timeout = |message: &str, hint: &str| {
            complaints.push(Complaint::new(&["exec", "timeout"], message, hint));
        };
        if self.timeout.is_zero() {
            timeout("`timeout: 0s` gives no command the time to do anything", "write `timeout: 60s`, or leave it out");
        } else if self.timeout.get() > MOST {
            timeout("a command that takes longer than 2m can't be tried again in time", "write `timeout: 2m` or less");
        }
        complaints
    }

    pub(super) async fn resolve(&self, nodes: &NodeTargets, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let (chosen, mut resolution) = power::choose(nodes, cx).await?;
        for chosen in chosen {
            let target = chosen.target;
            let (off, on) = self.of(&chosen.node).map_err(|why| Refusal::new(format!("{target}: {why}")))?;
            let most = self.timeout;
            resolution.calls.push(format!("run `{off}` in {} ({target}, at most {most})", off.directory.display()));
            resolution.undo.push(format!("run `{on}` in {} ({target}, at most {most})", on.directory.display()));
            resolution.commands.push(off);
            resolution.undo_commands.push(on);
            resolution.targets.push(target);
        }
        Ok(resolution)
    }

    pub(super) async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<ExecNote>, FaultError> {
        let Some((node, before)) = power::before(cx, target).await? else { return Ok(None) };
        let (off, on) = self.of(&node).map_err(FaultError::State)?;
        // What cuts the power must have its way back before it is announced.
        for command in [&off, &on] {
            if !cx.cluster.commands().may_run(command) {
                return Err(FaultError::State(format!(
                    "the plan names another command than what it is now: `{command}`"
                )));
            }
        }
        Ok(Some(ExecNote { off, on, before }))
    }

    /// Both commands for a node.
    fn of(&self, node: &Node) -> Result<(CommandLine, CommandLine), String> {
        let command = |argv: &[String]| {
            let filled = argv.iter().map(|argument| filled(argument, node)).collect::<Result<Vec<_>, _>>()?;
            CommandLine::find(&filled, self.timeout.get())
        };
        Ok((command(&self.off)?, command(&self.on)?))
    }
}

impl ExecNote {
    pub(super) async fn inject(&self, cx: &Acting<'_>, target: &Target) -> Result<Injected, FaultError> {
        let output = cx.cluster.commands().run(&self.off, cx.ending.come()).await?;
        Ok(Injected::Done(format!("`{}` for {target} succeeded{output}", self.off)))
    }

    pub(super) async fn undo(&self, cx: &Acting<'_>, target: &Target) -> Result<Undo, FaultError> {
        if !cx.cluster.commands().may_run(&self.on) {
            // Somebody may have typed it since.
            if let Heal::Healed(words) = power::healed(cx, target, &self.before).await? {
                return Ok(Undo::Undone(words));
            }
            return Ok(Undo::ByHand(format!(
                "`recover` runs commands only with `--allow-exec`, and only those in `plan.json` of the run's record on this machine; by hand: {}",
                self.on.by_hand()
            )));
        }
        // An undo is not hurried: it goes on when the run ends early.
        let output = cx.cluster.commands().run(&self.on, std::future::pending()).await?;
        Ok(Undo::Undone(format!("`{}` succeeded{output}", self.on)))
    }

    pub(super) fn undo_commands(&self) -> Vec<CommandLine> {
        vec![self.on.clone()]
    }

    pub(super) async fn healed(&self, cx: &Acting<'_>, target: &Target) -> Result<Heal, FaultError> {
        power::healed(cx, target, &self.before).await
    }
}

/// A part of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// The parts of an argument. What stands in braces is a placeholder where it is one word; anything else, such as JSON, is text.
fn parts(argument: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = argument;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let word = |text: &str| {
            let end = text.find('}')?;
            let word = &text[..end];
            (!word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric())).then_some(end)
        };
        if let Some(end) = rest.strip_prefix('{').and_then(word) {
            let name = &rest[1..=end];
            rest = &rest[end + 2..];
            return Some(Part::Placeholder(name));
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let (text, after) = rest.split_at(rest[first..].find('{').map_or(rest.len(), |at| first + at));
        rest = after;
        Some(Part::Text(text))
    })
}

fn placeholders(argument: &str) -> impl Iterator<Item = &str> {
    parts(argument).filter_map(|part| match part {
        Part::Placeholder(name) => Some(name),
        Part::Text(_) => None,
    })
}

/// An argument with the node's values in it.
fn filled(argument: &str, node: &Node) -> Result<String, String> {
    parts(argument)
        .map(|part| match part {
            Part::Text(text) => Ok(text.to_owned()),
            Part::Placeholder(name) => value(name, node),
        })
        .collect()
}

/// What a placeholder stands for. A value that a program could take for something else than it is, an option above all, is refused: the
/// kubelet of the node says its own address.
fn value(name: &str, node: &Node) -> Result<String, String> {
    let (what, value) = match name {
        "node" => ("name", node.metadata.name.clone()),
        "providerID" => ("`spec.providerID`", node.spec.as_ref().and_then(|spec| spec.provider_id.clone())),
        "address" => ("internal address", internal_address(node)),
        _ => return Err(format!("nothing stands for `{{{name}}}`")),
    };
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| format!("it has no {what} for `{{{name}}}`"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
    if value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':') && value.chars().all(plain) {
        Ok(value)
    } else {
        Err(format!("its {what} `{}` is none that may stand in a command", value.escape_default()))
    }
}

fn internal_address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(address: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1"}, "spec": {"providerID": "kind://docker/a/n1"},
            "status": {"addresses": [{"type": "Hostname", "address": "x"}, {"type": "InternalIP", "address": address}]},
        }))
        .unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let filled = |argument: &str| filled(argument, &node("10.0.0.7"));
        assert_eq!(filled("vm-{node}@{address}").unwrap(), "vm-n1@10.0.0.7");
        assert_eq!(filled("{providerID}").unwrap(), "kind://docker/a/n1");
        for same in ["{}", "{\"a\": 1}", "{{.State}}", "a{", "}", "{a b}", "ü{", "\u{fc}"] {
            assert_eq!(filled(same).unwrap(), same);
        }
        assert_eq!(filled("{{node}}").unwrap(), "{n1}");
    }

    #[test]
    fn what_a_node_says_of_itself_is_never_an_option_nor_anything_else() {
        assert_eq!(value("address", &node("fd00::1")).unwrap(), "fd00::1");
        for evil in ["-oProxyCommand=reboot", "--help", "10.0.0.7 -l root", "$(reboot)", "a\nb", ""] {
            assert!(value("address", &node(evil)).is_err(), "{evil}");
        }
        assert_eq!(value("address", &Node::default()).unwrap_err(), "it has no internal address for `{address}`");
    }

    #[test]
    fn commands_that_can_only_go_wrong_are_complained_of() {
        let complaints = |nodes: serde_json::Value, exec: serde_json::Value| {
            let (nodes, exec): (NodeTargets, Exec) =
                (serde_json::from_value(nodes).unwrap(), serde_json::from_value(exec).unwrap());
            let said = exec.check(&nodes).into_iter();
            said.map(|c| (c.path[1], format!("{} / {}", c.message, c.hint))).collect::<Vec<_>>()
        };
        let (one, some) = (json!({"names": ["n1"]}), json!({"zone": "a"}));
        let good = json!({"off": ["off", "{node}"], "on": ["on", "{address}"]});
        assert_eq!(complaints(some.clone(), good), []);
        assert_eq!(complaints(one.clone(), json!({"off": ["off"], "on": ["on"]})), [], "the one node is known");
        let found = complaints(some, json!({"off": ["off", "n1"], "on": [], "timeout": "3m"}));
        assert_eq!(found.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["off", "on", "timeout"]);
        assert!(found[0].1.starts_with("nothing in `off` says which node"), "{found:?}");
        let found = complaints(one, json!({"off": ["{node}"], "on": ["on", "{nod}"], "timeout": "0s"}));
        assert_eq!(found[0].1.split(" / ").next(), Some("the program of `off` would be chosen by the node"));
        assert_eq!(found[1].1, "nothing stands for `{nod}` / did you mean `{node}`?");
        assert_eq!(found[2].0, "timeout");
    }
}
