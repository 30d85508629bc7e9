//! What the fault's arguments may say, what it may call, and what a plan makes of it. Reads only.

use std::net::SocketAddr;
use std::time::Duration as Time;

use futures::future::join_all;

use super::ask::{Questions, code_of};
use super::corefile::{Corefile, is_under};
use super::held::corefile;
use super::mode::{DELAY_PORT, Mode, blocks, tries};
use super::{CoreDns, DELAYS, MOUNTED_WITHIN, NAMES_MAX, Share, observe, site};
use crate::cluster::Cluster;
use crate::fault::contract::{Complaint, Fault as _, Permission, Planning, Refusal, Resolution};
use crate::fault::copies;
use crate::fault::held::{Found, path};
use crate::fault::scale::replicas;
use crate::scalar::Percent;

pub(super) fn check(fault: &CoreDns) -> Vec<Complaint> {
    let mode = fault.mode.word();
    let mut complaints = Vec::new();
    let mut complain = |key, message: String, hint: &str| complaints.push(Complaint::new(&[key], message, hint));
    if fault.mode.edits() {
        if fault.replicas.is_some() {
            complain(
                "replicas",
                format!("all replicas share the Corefile, which `mode: {mode}` edits: `replicas` can't choose some"),
                "remove `replicas`; `queries: 50%` meets every second query instead",
            );
        }
    } else {
        for (key, is_there) in [("names", !fault.names.is_empty()), ("queries", fault.queries.is_some())] {
            if is_there {
                complain(
                    key,
                    format!("`mode: {mode}` knows no names and no queries: it takes pods away"),
                    "remove it, or choose a mode that breaks answers, such as `nxdomain`",
                );
            }
        }
    }
    match (fault.mode, fault.delay) {
        (Mode::Delay, None) => complain("delay", "nothing says how late answers come".to_owned(), "add `delay: 2s`"),
        (Mode::Delay, Some(delay)) if delay.get() < DELAYS.0 || delay.get() > DELAYS.1 => complain(
            "delay",
            format!("CoreDNS's own plugins can't make a delay of {delay}"),
            "write `1s` to `3900ms`; `mode: drop` gives no answer at all",
        ),
        (Mode::Delay, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            complain("delay", format!("`mode: {mode}` delays nothing"), "remove `delay`, or write `mode: delay`");
        }
    }
    if fault.replicas.is_some_and(Share::is_none) {
        complain("replicas", "this is no replica".to_owned(), "write `1`, `50%` or `all`");
    }
    if fault.queries.is_some_and(Percent::is_zero) {
        complain("queries", "`0%` meets no query".to_owned(), "write a percentage above zero, or leave it out for all");
    }
    if fault.names.len() > NAMES_MAX {
        complain("names", format!("these are more than {NAMES_MAX} names"), "name a domain above them");
    }
    complaints
}

pub(super) fn permissions(fault: &CoreDns) -> Vec<Permission> {
    let rule = |group, resource, verb, why| Permission {
        group,
        resource,
        verb,
        namespace: Some(fault.namespace.to_string()),
        why,
        kind: None,
    };
    let mut rules = vec![
        rule("apps", "deployments", "get", "find CoreDNS, and see whether it has all its replicas"),
        rule("apps", "daemonsets", "get", "see whether NodeLocal DNSCache stands before it"),
        rule("", "services", "get", "find the address at which pods ask"),
    ];
    match fault.mode {
        Mode::Kill => rules.extend([
            rule("", "pods", "list", "choose the targets"),
            rule("", "pods", "get", "see whether a target is still there"),
            rule("", "pods", "delete", "kill the targets"),
            rule("apps", "replicasets", "list", "find the workload that owns a pod"),
        ]),
        Mode::ScaleToZero => rules.extend(copies::permissions(fault.namespace.as_str()).into_iter().chain([
            rule("apps", "deployments", "list", "see whether an autoscaler owns the number of replicas"),
            rule("apps", "deployments", "patch", "scale CoreDNS, and give it its replicas back"),
            rule(
                "autoscaling",
                "horizontalpodautoscalers",
                "list",
                "see whether an autoscaler owns the number of replicas",
            ),
        ])),
        _ => rules.extend([
            rule("", "pods", "list", "ask each pod of CoreDNS"),
            rule("", "configmaps", "get", "read the Corefile"),
            rule("", "configmaps", "patch", "put our server block into the Corefile, and take it out"),
        ]),
    }
    rules
}

/// CoreDNS's objects, as they are now.
pub(super) struct Site {
    deployment: Found,
    selector: String,
    service: Option<SocketAddr>,
    config_map: Option<Found>,
    corefile: Corefile,
    warnings: Vec<String>,
}

impl Site {
    pub(super) async fn read(fault: &CoreDns, cluster: &Cluster) -> Result<Self, Refusal> {
        let (namespace, name) = (fault.namespace.as_str(), fault.deployment.as_str());
        let deployment = site::must(cluster, "deployment", namespace, name).await?;
        site::refuse_other(&deployment, name)?;
        let service = site::must(cluster, "service", namespace, fault.service.as_str()).await?;
        let mut warnings = Vec::new();
        let cached = site::node_local(cluster, namespace, &mut warnings).await?;
        let config_map = if fault.mode.edits() {
            let name = fault.config_map.as_str();
            let found = site::must(cluster, "configmap", namespace, name).await?;
            if !site::mounts(&deployment, name) {
                return Err(Refusal::new(format!("deployment/{} mounts no configmap/{name}", fault.deployment))
                    .hint("name the one with its Corefile with `configMap`"));
            }
            Some(found)
        } else {
            None
        };
        Ok(Self {
            selector: site::selector(&deployment),
            // What NodeLocal DNSCache answers in its place says nothing of CoreDNS.
            service: site::address(&service).filter(|_| !cached || !fault.mode.edits()),
            corefile: Corefile::read(config_map.as_ref().map_or("", corefile)),
            deployment,
            config_map,
            warnings,
        })
    }

    pub(super) fn selector(&self) -> &str {
        &self.selector
    }

    /// The server blocks to put in.
    pub(super) fn blocks(&self, fault: &CoreDns) -> Result<String, Refusal> {
        let names: Vec<String> = fault.names.iter().map(|name| name.as_str().to_owned()).collect();
        let places = self.corefile.places(&names).map_err(|why| {
            Refusal::new(format!("configmap/{}: {why}", fault.config_map))
                .hint("`kill` and `scaleToZero` leave the Corefile alone")
        })?;
        Ok(blocks(fault.mode, &places, fault.queries, fault.delay, self.corefile.metrics().as_deref()))
    }

    /// How long an edit of the Corefile takes at most until every pod has read it.
    pub(super) fn bites_within(&self) -> Time {
        MOUNTED_WITHIN + self.corefile.reload().unwrap_or_default()
    }

    /// What is asked, with what is answered now.
    pub(super) async fn questions(&self, fault: &CoreDns, cluster: &Cluster) -> Result<Questions, Refusal> {
        let mut questions = Questions {
            service: self.service,
            port: self.corefile.places(&[]).ok().and_then(|places| Some(places.first()?.port)).unwrap_or(53),
            selector: self.selector.clone(),
            bite: fault.mode.bite(fault.delay),
            tries: tries(fault.queries),
            ..Questions::default()
        };
        let names: Vec<String> = if fault.names.is_empty() {
            vec![format!("kubernetes.default.svc.{}.", self.corefile.domain())]
        } else {
            fault.names.iter().map(|name| format!("{name}.")).collect()
        };
        let server = if fault.mode.edits() {
            let pods = observe::pods(cluster, fault.namespace.as_str(), &questions).await;
            pods.map_err(|e| Refusal::new(e.to_string()))?.first().copied()
        } else {
            self.service
        };
        let Some(server) = server else { return Ok(questions) };
        let codes = join_all(names.iter().map(|name| code_of(cluster.datagrams(), server, name))).await;
        let known: Option<Vec<String>> = codes.into_iter().collect();
        questions.before = names.into_iter().zip(known.into_iter().flatten()).collect();
        Ok(questions)
    }
}

pub(super) async fn resolve(fault: &CoreDns, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
    let site = Site::read(fault, cx.cluster).await?;
    let mut resolution = match fault.mode {
        Mode::Kill => fault.kill(&site.selector)?.resolve(cx).await?,
        Mode::ScaleToZero => scaled(fault, cx, &site).await?,
        _ => edited(fault, &site)?,
    };
    let names: Vec<&str> = fault.names.iter().map(super::Domain::as_str).collect();
    let broken = |host: &str| names.is_empty() || names.iter().any(|name| is_under(host, name));
    if fault.mode != Mode::Kill
        && let Some(service) = site.service
    {
        site::own_way_out(cx.cluster, service, broken)?;
    }
    let questions = site.questions(fault, cx.cluster).await?;
    if !questions.can_be_asked() {
        let unproven = if fault.mode.edits() {
            "nothing will prove the effect: the run can't pass"
        } else {
            "the API alone proves the effect"
        };
        resolution.warnings.push(format!("no answer comes from CoreDNS to where this runs: {unproven}"));
    }
    if let Some(super::ask::Bite::Code(code)) = &questions.bite
        && let Some((name, _)) = questions.before.iter().find(|(_, before)| *before == code)
    {
        return Err(Refusal::new(format!("`{name}` is answered with {code} already: nothing would change"))
            .hint("choose other `names`, or another `mode`"));
    }
    resolution.warnings.extend(site.warnings);
    Ok(resolution)
}

async fn scaled(fault: &CoreDns, cx: &Planning<'_>, site: &Site) -> Result<Resolution, Refusal> {
    let (namespace, name) = (fault.namespace.as_str(), fault.deployment.as_str());
    let found = &site.deployment;
    let target = site::target("deployment", namespace, name, found, None);
    found.refuse_held(&target)?;
    let now = replicas(found);
    let wanted = fault.left_of(now);
    let most = usize::try_from(now).unwrap_or(0);
    if fault.replicas.is_some_and(|share| share.of(most) > most) || now == wanted {
        return Err(Refusal::new(format!("{target} has {now} replicas: so many can't be scaled away"))
            .hint("choose another number in `replicas`"));
    }
    let mut resolution = Resolution {
        of: 1,
        pods: usize::try_from(now - wanted).unwrap_or(0),
        pods_of: Some(most),
        ..Resolution::default()
    };
    resolution.warnings.push(format!(
        "scaling {target} from {now} to {wanted} bypasses PodDisruptionBudgets: the controller asks none before it deletes pods"
    ));
    site::autoscalers(fault, cx, found, &mut resolution.warnings).await?;
    site::add_on(found, &target.to_string(), &mut resolution.warnings);
    resolution.calls.push(format!(
        "PATCH {} (uid {}, /spec/replicas {now} → {wanted}, undo note in the same patch)",
        path("deployment", namespace, name),
        target.uid
    ));
    resolution.undo.push(format!("put {target} back to {now} replicas, unless somebody else changed them"));
    resolution.targets.push(target);
    Ok(resolution)
}

fn edited(fault: &CoreDns, site: &Site) -> Result<Resolution, Refusal> {
    let Some(found) = &site.config_map else { return Err(Refusal::new("there is no ConfigMap to edit")) };
    let (namespace, name) = (fault.namespace.as_str(), fault.config_map.as_str());
    let owner = format!("deployment/{}", fault.deployment);
    let target = site::target("configmap", namespace, name, found, Some(owner));
    found.refuse_held(&target)?;
    let blocks = site.blocks(fault)?;
    refuse_corefile(fault, site, found)?;
    let mut resolution = Resolution { of: 1, ..Resolution::default() };
    let needed = match (fault.mode, fault.queries) {
        (_, Some(_)) => (1, 11, 1),
        (Mode::Delay, None) => (1, 10, 1),
        _ => (1, 10, 0),
    };
    site::old(&site.deployment, needed, &mut resolution.warnings)?;
    site::add_on(found, &target.to_string(), &mut resolution.warnings);
    let within = site.bites_within().as_secs();
    let reload = site.corefile.reload().unwrap_or_default().as_secs_f64().ceil();
    resolution.warnings.push(format!(
        "an edited Corefile bites within {within} s, and its undo too: the kubelet brings it to the pods within {} s, `reload` looks every {reload} s at \
         the latest; a shorter `for` proves nothing, a shorter `timing.heal` sees no end",
        MOUNTED_WITHIN.as_secs()
    ));
    resolution
        .warnings
        .push("clients that cache answers go on with them for their TTL; CoreDNS's own cache is emptied".to_owned());
    let imports = site.corefile.imports();
    resolution.warnings.extend((!imports.is_empty()).then(|| {
        format!(
            "the Corefile imports {}: names that server blocks in there serve by a longer zone are not touched",
            imports.join(" and ")
        )
    }));
    let keys = blocks.lines().next().unwrap_or_default().trim_end_matches(" {");
    resolution.calls.push(format!(
        "PATCH {} (uid {}, a server block for {keys} first in /data/Corefile, undo note in the same patch)",
        path("configmap", namespace, name),
        target.uid
    ));
    resolution.undo.push(format!("take our server block out of {target}, and nothing else"));
    resolution.targets.push(target);
    Ok(resolution)
}

fn refuse_corefile(fault: &CoreDns, site: &Site, found: &Found) -> Result<(), Refusal> {
    let what = format!("configmap/{}", fault.config_map);
    let text = corefile(found);
    if found.0.pointer("/immutable").is_some_and(|immutable| *immutable == true) {
        return Err(Refusal::new(format!("{what} is immutable")));
    }
    if text.contains("squall.dev/undo") {
        return Err(Refusal::new(format!("the Corefile in {what} holds a server block of another run"))
            .hint("its comment names the run: `squall recover RUN` takes it out"));
    }
    if site.corefile.reload().is_none() {
        return Err(Refusal::new(format!("the Corefile in {what} has no `reload`: CoreDNS would not read a change"))
            .hint("add `reload` to a server block, and restart CoreDNS once"));
    }
    if fault.mode == Mode::Delay && text.contains(&DELAY_PORT.to_string()) {
        return Err(Refusal::new(format!("the Corefile in {what} uses port {DELAY_PORT}, which `mode: delay` needs")));
    }
    Ok(())
}
