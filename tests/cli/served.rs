//! The served lab, to programs that know nothing of Squall.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// One request over a connection of its own; its status line and its body.
fn get(address: &str, path: &str) -> std::io::Result<(String, String)> {
    use std::io::{Read as _, Write as _};
    let mut tcp = std::net::TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    write!(tcp, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// The same lab for other programs: its API, and its Services, whose answers come once their pods are ready.
#[test]
fn the_lab_serves_its_api_and_its_services_on_loopback() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["lab", "serve", "--kubeconfig-out", "lab.kubeconfig"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(lab.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = |line: &str| line.split("http://").nth(1).unwrap().split(['/', ',']).next().unwrap().to_owned();
    let (mut api, mut web) = (None, None);
    for line in lines {
        if line.contains("API listens") {
            api = Some(address(&line));
        } else if line.contains("web.shop.svc:80") {
            web = Some(address(&line));
            break;
        }
    }
    let (api, web) = (api.unwrap(), web.unwrap());
    let pods = get(&api, "/api/v1/namespaces/shop/pods");
    let kubeconfig = std::fs::read_to_string(folder.path().join("lab.kubeconfig")).unwrap();
    let mut served = None;
    for _ in 0..300 {
        match get(&web, "/") {
            Ok((status, body)) if status.contains("200") => served = Some(body),
            _ => std::thread::park_timeout(std::time::Duration::from_millis(100)),
        }
        if served.is_some() {
            break;
        }
    }
    lab.kill().unwrap();
    lab.wait().unwrap();
    let (status, body) = pods.unwrap();
    assert!(status.contains("200") && body.contains("PodList"), "{status}");
    assert!(kubeconfig.contains(&api), "{kubeconfig}");
    assert!(served.unwrap().starts_with("shop/web-"), "a pod says who it is");
}

/// For programs that wait for it: where it listens as JSON, its Services by their names through a proxy, and an orderly end.
#[test]
fn the_lab_tells_programs_where_it_listens_and_ends_when_told_to() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["lab", "serve", "--json", "--kubeconfig-out", "lab.kubeconfig"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap()).unwrap() };
    let first = next();
    let api = first["api"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    assert_eq!(first["kubeconfig"], "lab.kubeconfig");
    let mut services = Vec::new();
    while !services.iter().any(|service| service == "web.shop.svc:80") {
        let line = next();
        assert!(line["listens"].as_str().unwrap().starts_with("127.96."), "{line}");
        services.push(line["service"].as_str().unwrap().to_owned());
    }
    let mut served = (String::new(), String::new());
    for _ in 0..300 {
        // Until its rules are written nothing comes back.
        if let Ok(answer) = get(&api, "http://web.shop.svc.cluster.local/") {
            served = answer;
        }
        if served.0.contains("200") {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    let nobody = get(&api, "http://none.shop.svc/").unwrap();
    let taken = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["lab", "serve", "--port", api.rsplit(':').next().unwrap()])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let ended = Command::new("kill").arg(lab.id().to_string()).status().unwrap();
    let status = lab.wait().unwrap();
    assert!(served.1.starts_with("shop/web-"), "{served:?}");
    assert!(nobody.0.contains("404") && nobody.1.contains("the lab has no Service none.shop.svc:80"), "{nobody:?}");
    assert_eq!(taken.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("can't listen on port"), "{taken:?}");
    assert!(ended.success() && status.code() == Some(0), "{status}");
}

/// The kubectl of the test bed where that is built, or of this machine.
fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SQUALL_KUBECTL") {
        return Some(named.into());
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let builds = std::fs::read_dir(cache.join("squall/testbed/builds")).into_iter().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = builds.filter_map(|build| Some(build.ok()?.path().join("bin"))).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join("kubectl")).find(|file| file.is_file())
}

/// What people do with kubectl, by the real one: see tests/lab/kubectl.sh.
#[test]
#[expect(clippy::print_stderr, reason = "who runs the tests must see what was not tested")]
fn the_lab_is_a_cluster_to_kubectl() {
    let Some(kubectl) = kubectl() else {
        eprintln!("skipped: there is no kubectl; `make testbed` builds one, SQUALL_KUBECTL names one");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/kubectl.sh");
    let mut command = Command::new("bash");
    command.arg(script).arg(env!("CARGO_BIN_EXE_squall")).arg(kubectl).env_remove("KUBECONFIG");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" checks, 0 failed"), "{text}");
}
