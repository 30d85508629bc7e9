//! Tables: the columns of `kubectl get`. What stands in them was compared with Kubernetes 1.34's own server.

use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _};

use super::*;

/// As kubectl asks.
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// The header of a table, those of `-o wide` in parentheses, and its rows.
async fn table(lab: &Quiet, path: &str) -> (String, Vec<String>) {
    shown(&lab.get_as(path, TABLE).await.unwrap())
}

fn shown(table: &Value) -> (String, Vec<String>) {
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")), "{table}");
    let column = |column: &Value| {
        let name = column["name"].as_str().unwrap();
        if column["priority"] == 0 { name.to_owned() } else { format!("({name})") }
    };
    let header: Vec<String> = table["columnDefinitions"].as_array().into_iter().flatten().map(column).collect();
    let cell = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), ToOwned::to_owned);
    let row = |row: &Value| row["cells"].as_array().unwrap().iter().map(cell).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = table["rows"].as_array().unwrap().iter().map(row).collect();
    for row in rows.iter().filter(|_| !header.is_empty()) {
        assert_eq!(row.len(), header.len(), "a cell for each column: {row:?}");
    }
    (header.join(" "), rows.iter().map(|row| row.join(" ")).collect())
}

/// The cells of one object that is created as it is.
async fn row(object: Value) -> String {
    let lab = quiet();
    let kind = &crate::lab::store::KINDS
        [crate::lab::store::named(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap()];
    let made = create(&lab.shared, object);
    let api = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    let place = if kind.namespaced { "/namespaces/shop" } else { "" };
    let (_, rows) = table(&lab, &format!("{api}{place}/{}/{}", kind.plural, made.key.name)).await;
    assert_eq!(rows.len(), 1);
    rows.into_iter().next().unwrap()
}

fn with_status(mut pod: Value, status: Value) -> Value {
    pod["status"] = status;
    pod
}

#[tokio::test(start_paused = true)]
async fn pods_are_shown_with_what_their_containers_come_to() {
    let lab = quiet();
    create(&lab.shared, pod("new"));
    let mut pod = running("old");
    pod["status"] = json!({"phase": "Running", "podIP": "10.244.1.2", "podIPs": [{"ip": "10.244.1.2"}], "containerStatuses": [{
        "name": "web", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2027-01-15T08:00:05Z"}},
    }]});
    create(&lab.shared, pod);
    tokio::time::sleep(Duration::from_secs(125)).await;
    let (header, rows) = table(&lab, PODS).await;
    assert_eq!(header, "Name Ready Status Restarts Age (IP) (Node) (Nominated Node) (Readiness Gates)");
    assert_eq!(
        rows,
        [
            "new 0/1  0 2m5s <none> <none> <none> <none>",
            "old 1/1 Running 2 (2m ago) 2m5s 10.244.1.2 node1 <none> <none>",
        ]
    );
    lab.pods().delete("old", &kube::api::DeleteParams::default()).await.unwrap();
    assert!(table(&lab, PODS).await.1[1].starts_with("old 1/1 Terminating 2 (2m ago)"));
}

#[tokio::test(start_paused = true)]
async fn a_pods_status_is_that_of_the_container_that_is_in_the_way() {
    let container = |name: &str, state: Value, ready: bool| json!({"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": 1, "state": state});
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let ended = |reason: &str, code: i32| json!({"terminated": {"reason": reason, "exitCode": code}});
    let mut two = pod("a");
    two["spec"]["containers"] = json!([{"name": "web", "image": "web"}, {"name": "log", "image": "log"}]);
    let mut begun = pod("a");
    begun["spec"]["initContainers"] = json!([{"name": "one", "image": "one"}, {"name": "two", "image": "two"}]);
    let mut beside = pod("a");
    beside["spec"]["initContainers"] = json!([{"name": "mesh", "image": "mesh", "restartPolicy": "Always"}]);
    let mut started = container("mesh", json!({"running": {}}), true);
    started["started"] = true.into();
    let up = json!([container("web", json!({"running": {}}), true)]);
    for (pod, status, wanted) in [
        (
            pod("a"),
            json!({"phase": "Pending", "containerStatuses": [container("web", waiting("ImagePullBackOff"), false)]}),
            "0/1 ImagePullBackOff 1",
        ),
        (
            pod("a"),
            json!({"phase": "Running", "containerStatuses": [container("web", ended("", 137), false)]}),
            "0/1 ExitCode:137 1",
        ),
        (
            pod("a"),
            json!({"phase": "Succeeded", "containerStatuses": [container("web", ended("Completed", 0), false)]}),
            "0/1 Completed 1",
        ),
        (pod("a"), json!({"phase": "Failed", "reason": "Evicted"}), "0/1 Evicted 0"),
        (
            two,
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
                container("web", ended("Completed", 0), false), container("log", json!({"running": {}}), true),
            ]}),
            "1/2 NotReady 2",
        ),
        (
            begun,
            json!({"phase": "Pending", "initContainerStatuses": [
                container("one", ended("Completed", 0), true), container("two", json!({"running": {}}), false),
            ]}),
            "0/1 Init:1/2 2",
        ),
        (
            beside,
            json!({"phase": "Running", "initContainerStatuses": [started], "containerStatuses": up}),
            "2/2 Running 2",
        ),
        (
            pod("a"),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            "0/1 SchedulingGated 0",
        ),
    ] {
        let row = row(with_status(pod, status)).await;
        assert!(row.starts_with(&format!("a {wanted} 0s")), "{row}, not {wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn workloads_are_shown_by_their_counts() {
    let mut web = deployment(3);
    web["status"] = json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2});
    assert_eq!(row(web.clone()).await, "web 2/3 3 2 0s web web:1 app=web");
    web["kind"] = "ReplicaSet".into();
    web["spec"]["selector"] = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]});
    assert_eq!(row(web.clone()).await, "web 3 3 2 0s web web:1 app in (api,web)");
    web["kind"] = "StatefulSet".into();
    assert_eq!(row(web.clone()).await, "web 2/3 0s web web:1");
    web["kind"] = "DaemonSet".into();
    web["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd", "arch": "arm64"});
    web["status"] = json!({
        "desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2,
        "numberAvailable": 1, "numberMisscheduled": 0,
    });
    assert_eq!(row(web).await, "web 5 4 3 2 1 arch=arm64,disk=ssd 0s web web:1 app in (api,web)");
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": "shop"},
        "spec": {"completions": 2, "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}},
        "status": {
            "succeeded": 2, "startTime": "2027-01-15T08:00:00Z", "completionTime": "2027-01-15T08:03:05Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        },
    });
    assert_eq!(row(job.clone()).await, "job Complete 2/2 3m5s 0s a b <none>");
    job["spec"] = json!({"parallelism": 3, "template": {"spec": {"containers": []}}});
    job["status"] = json!({});
    assert_eq!(row(job).await, "job Running 0/1 of 3  0s   <none>");
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"maxUnavailable": "25%"}, "status": {
            "disruptionsAllowed": 1, "currentHealthy": 4, "desiredHealthy": 3, "expectedPods": 4,
        },
    });
    assert_eq!(row(budget).await, "web N/A 25% 1 0s");
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
        "status": {"currentReplicas": 3, "desiredReplicas": 3, "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "5m", "averageUtilization": 7}}},
        ]},
    });
    assert_eq!(row(scaler).await, "web Deployment/web cpu: 7%/80% 2 9 3 0s");
}

#[tokio::test(start_paused = true)]
async fn what_lies_around_the_workloads_is_shown_too() {
    let mut cordoned = node("n", "a");
    cordoned["spec"] = json!({"unschedulable": true});
    cordoned["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "".into();
    cordoned["status"]["nodeInfo"] = json!({
        "kubeletVersion": "v1.34.0", "osImage": "linux", "architecture": "", "bootID": "", "containerRuntimeVersion": "",
        "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "systemUUID": "",
    });
    cordoned["status"]["addresses"] = json!([{"type": "InternalIP", "address": "192.168.0.9"}]);
    let wanted = "n Ready,SchedulingDisabled control-plane 0s v1.34.0 192.168.0.9 <none> linux <unknown> <unknown>";
    assert_eq!(row(cordoned).await, wanted);
    let service = |spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
        })
    };
    let ports =
        json!([{"port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]);
    let plain = json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "ports": ports, "selector": {"app": "web"}});
    assert_eq!(row(service(plain)).await, "web ClusterIP 10.96.0.9 <none> 80/TCP,53:30053/UDP 0s app=web");
    assert_eq!(
        row(service(json!({"type": "LoadBalancer", "clusterIP": "None"}))).await,
        "web LoadBalancer None <pending> <none> 0s <none>"
    );
    let endpoints: Vec<Value> = (1..=5).map(|number| json!({"addresses": [format!("10.0.0.{number}")]})).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web-1", "namespace": "shop"},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    });
    assert_eq!(row(slice).await, "web-1 IPv4 8080 10.0.0.1,10.0.0.2,10.0.0.3 + 2 more... 0s");
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1", "namespace": "shop"}, "type": "Warning", "reason": "BackOff",
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"}, "message": "again\n", "count": 3,
        "source": {"component": "kubelet", "host": "node1"},
        "firstTimestamp": "2027-01-15T07:59:00Z", "lastTimestamp": "2027-01-15T07:59:58Z",
    });
    let wanted = "2s Warning BackOff pod/web spec.containers{web} kubelet, node1 again 60s 3 web.1";
    assert_eq!(row(event).await, wanted);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
        "spec": {"volumeName": "pv", "storageClassName": "fast", "volumeMode": "Filesystem"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany", "ReadWriteOnce"]},
    });
    assert_eq!(row(claim).await, "data Bound pv 1Gi RWO,ROX fast <unset> 0s Filesystem");
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "lab",
        "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    });
    assert_eq!(row(class).await, "fast (default) lab Delete Immediate false 0s");
    assert_eq!(row(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"}, "data": {"a": "", "b": ""},
    })).await, "m 2 0s");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_rows_is_paged_and_brings_as_much_of_its_objects_as_is_asked_for() {
    let lab = quiet();
    for name in ["a", "b"] {
        create(&lab.shared, map(name));
    }
    let page = lab.get_as(&format!("{MAPS}?limit=1"), TABLE).await.unwrap();
    assert_eq!(shown(&page).1, ["a 0 0s"]);
    assert_eq!(page["metadata"]["remainingItemCount"], 1);
    assert_eq!(page["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let rest = format!("{MAPS}?limit=1&continue={}", page["metadata"]["continue"].as_str().unwrap());
    assert_eq!(table(&lab, &rest).await.1, ["b 0 0s"]);
    let with = async |include: &str| lab.get_as(&format!("{MAPS}/a?includeObject={include}"), TABLE).await;
    assert_eq!(with("Object").await.unwrap()["rows"][0]["object"]["kind"], "ConfigMap");
    assert_eq!(with("None").await.unwrap()["rows"][0]["object"], Value::Null);
    let refused = with("Some").await.unwrap_err();
    assert_eq!(refused.code, 400);
    assert!(refused.message.contains("must be 'Metadata', 'Object', 'None', or empty"), "{}", refused.message);
    assert_eq!(lab.get_as(&format!("{MAPS}/none"), TABLE).await.unwrap_err().code, 404, "what is refused is no table");
    let unknown = lab.get_as(MAPS, "application/json;as=Table;v=v9;g=meta.k8s.io").await;
    assert_eq!(unknown.unwrap_err().code, 406);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_rows_and_the_columns_once() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let request = Request::builder().uri(format!("{MAPS}?watch=1")).header("accept", TABLE).body(Vec::new()).unwrap();
    let mut lines = Box::pin(lab.client.request_stream(request).await.unwrap().lines());
    let mut next = async || -> (Value, (String, Vec<String>)) {
        let event: Value = serde_json::from_str(&lines.next().await.unwrap().unwrap()).unwrap();
        let shown = shown(&event["object"]);
        (event["type"].clone(), shown)
    };
    assert_eq!(next().await, (json!("ADDED"), ("Name Data Age".to_owned(), vec!["a 0 0s".to_owned()])));
    tokio::time::sleep(Duration::from_secs(7)).await;
    lab.merge(&format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await.unwrap();
    assert_eq!(next().await, (json!("MODIFIED"), (String::new(), vec!["a 1 7s".to_owned()])));
    lab.delete(&format!("{MAPS}/a"), &Value::Null).await.unwrap();
    assert_eq!(next().await, (json!("DELETED"), (String::new(), vec!["a 1 7s".to_owned()])));
}
