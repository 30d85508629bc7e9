//! Defaults, and what is refused as invalid.

use super::*;

impl Quiet {
    /// Why an object can't be created.
    async fn refused(&self, path: &str, body: &Value) -> String {
        let status = self.post(path, body).await.unwrap_err();
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{}", status.message);
        status.message
    }
}

/// A body with a part of it changed.
fn with(mut body: Value, pointer: &str, value: &Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value.clone();
    body
}

#[tokio::test(start_paused = true)]
async fn a_deployment_gets_the_defaults_that_controllers_count_on() {
    let lab = quiet();
    let made = lab.post(DEPLOYMENTS, &with(deployment(1), "/spec/replicas", &Value::Null)).await.unwrap();
    let spec = &made["spec"];
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    let rolling = json!({"maxUnavailable": "25%", "maxSurge": "25%"});
    assert_eq!(spec["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
    let template = &spec["template"]["spec"];
    assert_eq!(
        (&template["restartPolicy"], &template["terminationGracePeriodSeconds"]),
        (&json!("Always"), &json!(30))
    );
    let container = &template["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    let probe = json!({
        "httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 1, "timeoutSeconds": 1,
        "successThreshold": 1, "failureThreshold": 3,
    });
    assert_eq!(container["readinessProbe"], probe);
    assert!(template.get("tolerations").is_none(), "admission looks at pods alone");
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_what_admission_gives_it() {
    let lab = quiet();
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000,
    });
    lab.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.unwrap();
    let made = lab.post(PODS, &pod("a")).await.unwrap();
    assert_eq!((&made["status"]["phase"], &made["status"]["qosClass"]), (&json!("Pending"), &json!("BestEffort")));
    let seconds: Vec<_> =
        made["spec"]["tolerations"].as_array().unwrap().iter().map(|t| (&t["key"], &t["tolerationSeconds"])).collect();
    let (not_ready, unreachable) = (json!("node.kubernetes.io/not-ready"), json!("node.kubernetes.io/unreachable"));
    assert_eq!(seconds, [(&not_ready, &json!(300)), (&unreachable, &json!(300))]);
    assert_eq!((&made["spec"]["serviceAccountName"], &made["spec"]["priority"]), (&json!("default"), &json!(0)));
    let mut other = with(pod("b"), "/spec/priorityClassName", &json!("high"));
    other["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    other["spec"]["containers"][0]["image"] = "web".into();
    other["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    let made = lab.post(PODS, &other).await.unwrap();
    assert_eq!((&made["spec"]["priority"], &made["status"]["qosClass"]), (&json!(1000), &json!("Guaranteed")));
    assert_eq!(made["spec"]["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(made["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
}

#[tokio::test(start_paused = true)]
async fn other_kinds_get_theirs() {
    let lab = quiet();
    let namespace = lab.post("/api/v1/namespaces", &json!({"metadata": {"name": "new"}})).await.unwrap();
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "new");
    assert_eq!(
        (&namespace["status"]["phase"], &namespace["spec"]["finalizers"][0]),
        (&json!("Active"), &json!("kubernetes"))
    );
    let secret = json!({"metadata": {"name": "a"}, "stringData": {"k": "hi"}});
    let secret = lab.post("/api/v1/namespaces/shop/secrets", &secret).await.unwrap();
    assert_eq!((&secret["type"], &secret["data"]), (&json!("Opaque"), &json!({"k": "aGk="})));
    let (selector, template) = (&deployment(1)["spec"]["selector"], &deployment(1)["spec"]["template"]);
    let set =
        json!({"metadata": {"name": "s"}, "spec": {"selector": selector, "template": template, "serviceName": "s"}});
    let set = lab.post("/apis/apps/v1/namespaces/shop/statefulsets", &set).await.unwrap();
    let update = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    assert_eq!(
        (&set["spec"]["podManagementPolicy"], &set["spec"]["updateStrategy"]),
        (&json!("OrderedReady"), &update)
    );
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template}});
    let set = lab.post("/apis/apps/v1/namespaces/shop/daemonsets", &set).await.unwrap();
    assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": 0}));
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}});
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
    let job = lab.post("/apis/batch/v1/namespaces/shop/jobs", &job).await.unwrap();
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
}

#[tokio::test(start_paused = true)]
async fn services_have_addresses_of_their_own_that_stay() {
    let lab = quiet();
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let a = lab.post(SERVICES, &service("a")).await.unwrap();
    let b = lab.post(SERVICES, &service("b")).await.unwrap();
    let address = a["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("10.96."), "{address}");
    assert_ne!(a["spec"]["clusterIP"], b["spec"]["clusterIP"]);
    assert_eq!(a["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    assert_eq!((&a["spec"]["type"], &a["spec"]["sessionAffinity"]), (&json!("ClusterIP"), &json!("None")));
    let replaced = lab.put(&format!("{SERVICES}/a"), &service("a")).await.unwrap();
    assert_eq!(replaced["spec"]["clusterIP"], address);
    let refused = lab.merge(&format!("{SERVICES}/a"), &json!({"spec": {"clusterIP": "10.96.9.9"}})).await.unwrap_err();
    assert!(refused.message.contains("may not change once set"), "{}", refused.message);
    let taken = with(service("c"), "/spec/clusterIP", &json!(address));
    assert!(lab.refused(SERVICES, &taken).await.ends_with("provided IP is already allocated"));
    let headless = with(service("d"), "/spec/clusterIP", &json!("None"));
    assert_eq!(lab.post(SERVICES, &headless).await.unwrap()["spec"]["clusterIPs"], json!(["None"]));
    let outside = lab.post(SERVICES, &with(service("e"), "/spec/type", &json!("NodePort"))).await.unwrap();
    assert_eq!(outside["spec"]["ports"][0]["nodePort"], 30_000);
    let none = with(service("f"), "/spec/ports", &json!([]));
    assert_eq!(lab.refused(SERVICES, &none).await, "Service \"f\" is invalid: spec.ports: Required value");
}

#[tokio::test(start_paused = true)]
async fn invalid_objects_are_refused_with_every_cause() {
    let lab = quiet();
    let refused = lab.refused(MAPS, &map("Web_1")).await;
    let words = "ConfigMap \"Web_1\" is invalid: metadata.name: Invalid value: \"Web_1\": a lowercase RFC 1123 subdomain must consist of";
    assert!(refused.starts_with(words), "{refused}");
    let nameless = json!({"metadata": {}});
    let words = "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required";
    assert_eq!(lab.refused(MAPS, &nameless).await, words);
    assert!(
        lab.refused(MAPS, &labelled("a", "a b")).await.contains("a valid label must be an empty string or consist of")
    );
    let empty = with(pod("a"), "/spec/containers", &json!([]));
    assert_eq!(lab.refused(PODS, &empty).await, "Pod \"a\" is invalid: spec.containers: Required value");
    let mut wrong = pod("a");
    wrong["spec"]["containers"] = json!([
        {"name": "web", "ports": [{"containerPort": 70_000}], "livenessProbe": {"periodSeconds": -1}},
        {"name": "web", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
    ]);
    let status = lab.post(PODS, &wrong).await.unwrap_err();
    let details = status.details.unwrap();
    let causes: Vec<_> = details.causes.iter().map(|cause| (cause.field.as_str(), cause.reason.as_str())).collect();
    let wanted = [
        ("spec.containers[0].image", "FieldValueRequired"),
        ("spec.containers[0].ports[0].containerPort", "FieldValueInvalid"),
        ("spec.containers[0].livenessProbe", "FieldValueRequired"),
        ("spec.containers[0].livenessProbe.periodSeconds", "FieldValueInvalid"),
        ("spec.containers[1].volumeMounts[0].name", "FieldValueNotFound"),
        ("spec.containers[1].name", "FieldValueDuplicate"),
    ];
    assert_eq!(causes, wanted);
    assert!(
        status.message.contains("Invalid value: 70000: must be between 1 and 65535, inclusive"),
        "{}",
        status.message
    );
}

#[tokio::test(start_paused = true)]
async fn workloads_must_select_what_they_make() {
    let lab = quiet();
    let other = with(deployment(1), "/spec/template/metadata/labels", &json!({"app": "db"}));
    let words = "Deployment.apps \"web\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not \
                 match template `labels`";
    assert_eq!(lab.refused(DEPLOYMENTS, &other).await, words);
    let negative = with(deployment(1), "/spec/replicas", &json!(-1));
    let words =
        "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(lab.refused(DEPLOYMENTS, &negative).await, words);
    let never = with(deployment(1), "/spec/template/spec/restartPolicy", &json!("Never"));
    assert!(
        lab.refused(DEPLOYMENTS, &never).await.ends_with("Unsupported value: \"Never\": supported values: \"Always\"")
    );
    let stuck = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}});
    let stuck = with(deployment(1), "/spec/strategy", &stuck);
    assert!(lab.refused(DEPLOYMENTS, &stuck).await.ends_with("may not be 0 when `maxSurge` is 0"));
    lab.post(DEPLOYMENTS, &deployment(1)).await.unwrap();
    let changed = json!({"spec": {
        "selector": {"matchLabels": {"app": "db"}}, "template": {"metadata": {"labels": {"app": "db"}}},
    }});
    let refused = lab.merge(&format!("{DEPLOYMENTS}/web"), &changed).await.unwrap_err();
    assert!(refused.message.ends_with("field is immutable"), "{}", refused.message);
}

#[tokio::test(start_paused = true)]
async fn of_a_pod_next_to_nothing_may_change() {
    let lab = quiet();
    lab.post(PODS, &pod("a")).await.unwrap();
    let path = format!("{PODS}/a");
    let strategic = "application/strategic-merge-patch+json";
    let image = json!({"spec": {"containers": [{"name": "web", "image": "web:2"}]}});
    lab.send(Method::PATCH, &path, strategic, &image).await.unwrap();
    lab.merge(&path, &json!({"metadata": {"labels": {"b": "c"}}, "spec": {"activeDeadlineSeconds": 5}})).await.unwrap();
    for change in [json!({"hostname": "x"}), json!({"nodeName": "node1"}), json!({"terminationGracePeriodSeconds": 1})]
    {
        let refused = lab.merge(&path, &json!({"spec": change})).await.unwrap_err();
        assert!(refused.code == 422 && refused.message.contains("pod updates may not change fields other than"));
    }
    let fewer = lab.merge(&path, &json!({"spec": {"tolerations": []}})).await;
    assert_eq!(fewer.unwrap()["spec"]["tolerations"].as_array().unwrap().len(), 2, "admission puts them back");
    let more = json!({"spec": {"containers": [{"name": "web", "image": "web:2"}, {"name": "b", "image": "b"}]}});
    let refused = lab.send(Method::PATCH, &path, strategic, &more).await.unwrap_err();
    assert!(refused.message.ends_with("pod updates may not add or remove containers"), "{}", refused.message);
}

#[tokio::test(start_paused = true)]
async fn budgets_autoscalers_and_frozen_maps_have_rules_too() {
    let lab = quiet();
    let path = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": 1, "maxUnavailable": 1}});
    assert!(lab.refused(path, &budget).await.ends_with("minAvailable and maxUnavailable cannot be both set"));
    let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": "120%"}});
    assert!(lab.refused(path, &budget).await.ends_with("must not be greater than 100%"));
    let target = json!({"kind": "Deployment", "name": "web"});
    let scaler =
        json!({"metadata": {"name": "a"}, "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 2}});
    let path = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
    assert!(lab.refused(path, &scaler).await.ends_with("must be greater than or equal to `minReplicas`"));
    let mut frozen = map("a");
    frozen["immutable"] = true.into();
    lab.post(MAPS, &frozen).await.unwrap();
    let refused = lab.merge(&format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await.unwrap_err();
    let words = "ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set";
    assert_eq!(refused.message, words);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_lacks_defaults_is_changed_only_where_it_is_written() {
    let lab = quiet();
    let before = create(&lab.shared, deployment(1));
    let path = format!("{DEPLOYMENTS}/web");
    let labelled = lab.merge(&path, &json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let scaled = lab.merge(&path, &json!({"spec": {"replicas": 3}})).await.unwrap();
    assert_eq!(scaled["spec"]["template"], before.json()["spec"]["template"], "or it would roll out");
    assert_eq!(scaled["metadata"]["generation"], 2);
}
