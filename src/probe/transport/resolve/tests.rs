use std::sync::{Arc, Mutex};

use hickory_resolver::proto::rr::{RData, Record};

use super::*;

/// What a scripted DNS server says to one question.
#[derive(Debug, Clone, Copy)]
enum Say {
    Addresses(&'static [&'static str]),
    Code(ResponseCode),
    /// Too long for UDP; over TCP, these addresses.
    Truncated(&'static [&'static str]),
    Nothing,
}

/// The questions that a server was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Starts a DNS server. `script` gets `name type`, such as `web.shop. A`.
async fn server(script: impl Fn(&str) -> Say + Send + Sync + 'static) -> (SocketAddr, Asked) {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let (asked, script) = (Asked::default(), Arc::new(script));
    let (seen, over_tcp) = (Arc::clone(&asked), Arc::clone(&script));
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let text = text(&question);
            seen.lock().unwrap().push(text.clone());
            if let Some(answer) = answer(&question, script(&text), false) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer).unwrap();
            if let Some(answer) = answer(&question, over_tcp(&text(&question)), true) {
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    (address, asked)
}

fn text(question: &Message) -> String {
    let query = &question.queries[0];
    format!("{} {}", query.name(), query.query_type())
}

fn answer(question: &Message, say: Say, over_tcp: bool) -> Option<Vec<u8>> {
    let mut answer = question.clone().into_response();
    let addresses = match say {
        Say::Nothing => return None,
        Say::Code(code) => {
            answer.metadata.response_code = code;
            &[]
        }
        Say::Truncated(_) if !over_tcp => {
            answer.metadata.truncation = true;
            &[]
        }
        Say::Addresses(addresses) | Say::Truncated(addresses) => addresses,
    };
    let name = question.queries[0].name();
    answer.add_answers(addresses.iter().map(|text| {
        let data = match text.parse().unwrap() {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        };
        Record::from_rdata(name.clone(), 5, data)
    }));
    Some(answer.to_vec().unwrap())
}

fn resolver(servers: &[SocketAddr], search: &[&str], ndots: usize) -> Resolver {
    let search = search.iter().map(|name| name.parse().unwrap()).collect();
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(&b"192.0.2.9 static\n2001:db8::9 static6\n"[..]).unwrap();
    Resolver::new(hosts, servers.to_vec(), search, ndots, Duration::from_millis(300))
}

async fn look_up(resolver: &Resolver, host: &str) -> Result<Vec<String>, Answer> {
    let found = resolver.addresses(&Name::from_str_relaxed(host).unwrap()).await;
    found.map(|found| found.iter().map(ToString::to_string).collect()).map_err(|failed| failed.answer)
}

#[tokio::test]
async fn a_cluster_name_is_searched_for_as_the_c_library_does() {
    let (address, asked) = server(|question| match question {
        "web.shop.svc.cluster.local. A" => Say::Addresses(&["10.0.0.2", "10.0.0.1"]),
        _ => Say::Code(ResponseCode::NXDomain),
    })
    .await;
    let resolver = resolver(&[address], &["default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."], 5);
    assert_eq!(look_up(&resolver, "web.shop").await.unwrap(), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(look_up(&resolver, "web.shop.svc.cluster.local.").await.unwrap(), ["10.0.0.1", "10.0.0.2"]);
    let expected =
        ["web.shop.default.svc.cluster.local. A", "web.shop.svc.cluster.local. A", "web.shop.svc.cluster.local. A"];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn each_question_goes_out_once() {
    for say in [Say::Nothing, Say::Code(ResponseCode::ServFail), Say::Code(ResponseCode::Refused)] {
        let (address, asked) = server(move |_| say).await;
        look_up(&resolver(&[address], &[], 1), "web.example").await.unwrap_err();
        assert_eq!(*asked.lock().unwrap(), ["web.example. A"], "{say:?}");
    }
}

#[tokio::test]
async fn every_failure_has_its_class() {
    let cases = [
        (Say::Code(ResponseCode::NXDomain), Class::DnsNxdomain),
        (Say::Addresses(&[]), Class::DnsNodata),
        (Say::Code(ResponseCode::ServFail), Class::DnsServfail),
        (Say::Code(ResponseCode::Refused), Class::DnsRefused),
        (Say::Code(ResponseCode::FormErr), Class::DnsFormerr),
        (Say::Code(ResponseCode::NotImp), Class::DnsNotimp),
        (Say::Code(ResponseCode::YXDomain), Class::DnsOther),
        (Say::Nothing, Class::DnsTimeout),
    ];
    for (say, class) in cases {
        let (address, _) = server(move |_| say).await;
        assert_eq!(look_up(&resolver(&[address], &[], 1), "web.example").await, Err(bad(class)), "{say:?}");
    }
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let got = look_up(&resolver(&[closed], &[], 1), "web.example").await;
    assert_eq!(got, Err(bad(Class::DnsUnreachable)));
}

#[tokio::test]
async fn a_broken_search_domain_is_not_hidden_by_the_names_behind_it() {
    let (address, _) = server(|question| match question {
        "web.shop.svc.cluster.local. A" => Say::Code(ResponseCode::ServFail),
        _ => Say::Code(ResponseCode::NXDomain),
    })
    .await;
    let got = look_up(&resolver(&[address], &["svc.cluster.local.", "cluster.local."], 5), "web.shop").await;
    assert_eq!(got, Err(bad(Class::DnsServfail)));
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_but_not_when_it_says_no() {
    let (broken, _) = server(|_| Say::Code(ResponseCode::ServFail)).await;
    let (silent, _) = server(|_| Say::Nothing).await;
    let (sound, asked) = server(|_| Say::Addresses(&["192.0.2.1"])).await;
    let (denying, _) = server(|_| Say::Code(ResponseCode::NXDomain)).await;
    assert_eq!(look_up(&resolver(&[broken, silent, sound], &[], 1), "a.example").await.unwrap(), ["192.0.2.1"]);
    let denied = look_up(&resolver(&[denying, sound], &[], 1), "b.example").await;
    assert_eq!(denied, Err(bad(Class::DnsNxdomain)));
    assert_eq!(*asked.lock().unwrap(), ["a.example. A"]);
}

#[tokio::test]
async fn addresses_of_the_other_family_static_names_and_long_answers_are_found() {
    let (address, asked) = server(|question| match question {
        "six.example. AAAA" => Say::Addresses(&["2001:db8::1"]),
        "long.example. A" => Say::Truncated(&["192.0.2.1", "192.0.2.2"]),
        _ => Say::Addresses(&[]),
    })
    .await;
    let resolver = resolver(&[address], &[], 1);
    assert_eq!(look_up(&resolver, "six.example").await.unwrap(), ["2001:db8::1"]);
    assert_eq!(look_up(&resolver, "long.example").await.unwrap(), ["192.0.2.1", "192.0.2.2"]);
    let before = asked.lock().unwrap().len();
    assert_eq!(look_up(&resolver, "static").await.unwrap(), ["192.0.2.9"]);
    assert_eq!(look_up(&resolver, "static6").await.unwrap(), ["2001:db8::9"]);
    assert_eq!(asked.lock().unwrap().len(), before, "static names need no server");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp_once() {
    for listens in [false, true] {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = tokio::net::TcpSocket::new_v4().unwrap();
        tcp.bind(address).unwrap();
        // A port that is held and not listened on refuses.
        let (held, tcp) = if listens { (None, Some(tcp.listen(8).unwrap())) } else { (Some(tcp), None) };
        let serve = async {
            let mut buffer = [0; 512];
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            udp.send_to(&answer(&question, Say::Truncated(&[]), false).unwrap(), from).await.unwrap();
            if let Some(tcp) = &tcp {
                drop(timeout(Duration::from_secs(5), tcp.accept()).await.expect("nobody came over TCP"));
            }
        };
        let resolver = resolver(&[address], &[], 1);
        let (got, ()) = tokio::join!(look_up(&resolver, "web.example"), serve);
        assert_eq!(got, Err(bad(Class::DnsUnreachable)), "listens: {listens}");
        let again = udp.into_std().unwrap().recv_from(&mut [0; 512]).unwrap_err().kind();
        assert_eq!(again, io::ErrorKind::WouldBlock, "a second question over UDP");
        let again = tcp.map(|tcp| tcp.into_std().unwrap().accept().unwrap_err().kind());
        assert_eq!(again, listens.then_some(io::ErrorKind::WouldBlock), "a second connection");
        drop(held);
    }
}
