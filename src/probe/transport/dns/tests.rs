//! Queries over real sockets: each thing that a server can do has its class, and each name goes out once.

use std::cell::RefCell;
use std::time::Duration;

use hickory_resolver::proto::op::{MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::LocalSet;

use super::super::attempt::exchange;
use super::super::stamped::keep_stamping;
use super::super::{Exchange, Slot};
use super::*;

/// No test waits for this long unless it is broken.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// What the server does with a question.
#[derive(Clone, Copy, Debug)]
enum Say {
    Nothing,
    Code(ResponseCode),
    Address(&'static str),
    /// TC=1, and no record.
    Truncated,
    /// Another number first, then the answer.
    WrongNumberFirst(&'static str),
    /// The number, and bytes that are no message.
    Garbage,
    /// The answer to another question.
    WrongQuestion,
    /// TCP: a length, and less than that.
    Cut,
    /// TCP: closes at once.
    Close,
    /// TCP: answers and closes.
    AnswerAndClose,
}

fn answer(asked: &Message, say: Say) -> Vec<u8> {
    let mut answer = Message::new(asked.metadata.id, MessageType::Response, asked.metadata.op_code);
    answer.add_queries(asked.queries.clone());
    let name = asked.queries[0].name().clone();
    match say {
        Say::Code(code) => answer.metadata.response_code = code,
        Say::Truncated => answer.metadata.truncation = true,
        Say::WrongQuestion => {
            answer.queries[0].set_name("elsewhere.".parse().unwrap());
        }
        _ => {}
    }
    let address = match say {
        Say::Address(text) | Say::WrongNumberFirst(text) => Some(text),
        Say::WrongQuestion | Say::AnswerAndClose => Some("10.0.0.1"),
        _ => None,
    };
    if let Some(text) = address {
        answer.add_answer(Record::from_rdata(name, 5, RData::A(text.parse().unwrap())));
    }
    match say {
        Say::Garbage => {
            let mut bytes = asked.metadata.id.to_be_bytes().to_vec();
            bytes.extend([0xff; 7]);
            bytes
        }
        _ => answer.to_vec().unwrap(),
    }
}

/// What the server saw: the peer's port and the question.
type Seen = Rc<RefCell<Vec<(u16, String)>>>;

fn note(seen: &Seen, from: SocketAddr, asked: &Message) -> String {
    let question = asked.queries[0].name().to_string();
    seen.borrow_mut().push((from.port(), question.clone()));
    question
}

async fn udp(say: impl Fn(&str) -> Say + 'static) -> (SocketAddr, Seen) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (socket.local_addr().unwrap(), Seen::default());
    let out = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let say = say(&note(&seen, from, &asked));
            if let Say::WrongNumberFirst(_) = say {
                let mut other = answer(&asked, say);
                other[0] ^= 1;
                socket.send_to(&other, from).await.unwrap();
            }
            if !matches!(say, Say::Nothing) {
                socket.send_to(&answer(&asked, say), from).await.unwrap();
            }
        }
    });
    (address, out)
}

async fn tcp(say: impl Fn(&str) -> Say + 'static) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let (out, say) = (Rc::clone(&seen), Rc::new(say));
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, from)) = listener.accept().await {
            let (seen, say) = (Rc::clone(&seen), Rc::clone(&say));
            tokio::task::spawn_local(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; length.into()];
                    stream.read_exact(&mut bytes).await.unwrap();
                    let asked = Message::from_vec(&bytes).unwrap();
                    let say = say(&note(&seen, from, &asked));
                    let reply = framed(&answer(&asked, say)).unwrap();
                    match say {
                        Say::Nothing => continue,
                        Say::Close => return,
                        Say::Cut => return stream.write_all(&reply[..9]).await.unwrap(),
                        _ => stream.write_all(&reply).await.unwrap(),
                    }
                    if let Say::AnswerAndClose = say {
                        return;
                    }
                }
            });
        }
    });
    (address, out)
}

fn target(server: SocketAddr, over: DnsOver, names: &[&str], expect: DnsExpectation) -> Arc<DnsTarget> {
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    DnsTarget { server, names, record: RecordType::A, over, expect }.into()
}

fn noerror() -> DnsExpectation {
    DnsExpectation { rcode: ResponseCode::NoError, addresses: Vec::new() }
}

async fn ask(transport: &DnsTransport, timeout: Duration) -> Exchange {
    let planned = Instant::now();
    exchange(transport.clone(), Slot { number: 0, planned, deadline: planned + timeout }).await
}

fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

const CASES: [(Say, Answer); 11] = [
    (Say::Address("10.0.0.1"), Answer::Good),
    (Say::Code(ResponseCode::NXDomain), bad(Class::DnsNxdomain)),
    (Say::Code(ResponseCode::NoError), bad(Class::DnsNodata)),
    (Say::Code(ResponseCode::ServFail), bad(Class::DnsServfail)),
    (Say::Code(ResponseCode::Refused), bad(Class::DnsRefused)),
    (Say::Code(ResponseCode::FormErr), bad(Class::DnsFormerr)),
    (Say::Code(ResponseCode::NotImp), bad(Class::DnsNotimp)),
    (Say::Code(ResponseCode::NotAuth), bad(Class::DnsOther)),
    (Say::Garbage, bad(Class::DnsMalformed)),
    (Say::WrongQuestion, bad(Class::DnsMalformed)),
    (Say::Nothing, bad(Class::DnsTimeout)),
];

#[test]
fn over_datagrams_each_answer_has_its_class_and_each_query_goes_out_once() {
    let own = [(Say::Truncated, bad(Class::DnsTruncated)), (Say::WrongNumberFirst("10.0.0.1"), Answer::Good)];
    for stream in [StreamKind::PerQuery, StreamKind::Pinned] {
        for (say, expected) in CASES.into_iter().chain(own) {
            local(async {
                let (server, seen) = udp(move |_| say).await;
                let transport = DnsTransport::new(target(server, DnsOver::Udp, &["web.shop."], noerror()), stream);
                let timeout = if matches!(say, Say::Nothing) { SHORT } else { LONG };
                let got = ask(&transport, timeout).await;
                assert_eq!((got.answer, got.remote, got.reused), (expected, Some(server), false), "{say:?} {stream:?}");
                assert_eq!(seen.borrow().len(), 1, "{say:?}");
            });
        }
    }
}

#[test]
fn over_tcp_each_answer_has_its_class_and_each_query_goes_out_once() {
    let own = [(Say::Cut, bad(Class::DnsMalformed)), (Say::Close, bad(Class::DnsMalformed))];
    for stream in [StreamKind::PerQuery, StreamKind::Pinned] {
        for (say, expected) in CASES.into_iter().chain(own) {
            local(async {
                let (server, seen) = tcp(move |_| say).await;
                let transport = DnsTransport::new(target(server, DnsOver::Tcp, &["web.shop."], noerror()), stream);
                let timeout = if matches!(say, Say::Nothing) { SHORT } else { LONG };
                assert_eq!(ask(&transport, timeout).await.answer, expected, "{say:?} {stream:?}");
                assert_eq!(seen.borrow().len(), 1, "{say:?}");
            });
        }
    }
}

#[test]
fn an_answer_is_dated_by_the_kernel_whatever_carried_it() {
    for over in [DnsOver::Udp, DnsOver::Tcp] {
        for stream in [StreamKind::PerQuery, StreamKind::Pinned] {
            local(async {
                let _kept = keep_stamping();
                let say = |_: &str| Say::Address("10.0.0.1");
                let (server, _) = if over == DnsOver::Udp { udp(say).await } else { tcp(say).await };
                let transport = DnsTransport::new(target(server, over, &["web.shop."], noerror()), stream);
                // The kernel begins to stamp a little after it was asked to.
                while ask(&transport, LONG).await.acted.is_none() {}
                let got = ask(&transport, LONG).await;
                let acted = got.acted.expect("it goes on");
                assert!(got.answer == Answer::Good && got.sent <= acted && acted <= got.done, "{got:?}");
            });
        }
    }
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    for (over, stream) in [DnsOver::Udp, DnsOver::Tcp]
        .into_iter()
        .flat_map(|over| [StreamKind::PerQuery, StreamKind::Pinned].map(|stream| (over, stream)))
    {
        local(async {
            let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let transport = DnsTransport::new(target(free, over, &["web."], noerror()), stream);
            assert_eq!(ask(&transport, LONG).await.answer, bad(Class::DnsUnreachable), "{over:?} {stream:?}");
        });
    }
}

#[test]
fn a_query_has_a_port_of_its_own_or_the_streams() {
    for (stream, distinct, reused) in [(StreamKind::PerQuery, 5, 0), (StreamKind::Pinned, 1, 4)] {
        local(async {
            let (server, seen) = udp(|_| Say::Address("10.0.0.1")).await;
            let transport = DnsTransport::new(target(server, DnsOver::Udp, &["web."], noerror()), stream);
            let mut count = 0;
            for _ in 0..5 {
                count += usize::from(ask(&transport, LONG).await.reused);
            }
            let ports: std::collections::BTreeSet<u16> = seen.borrow().iter().map(|(port, _)| *port).collect();
            // A port that was given back may be taken again; five times in a row it is not.
            assert!(if distinct == 1 { ports.len() == 1 } else { ports.len() > 1 }, "{ports:?}");
            assert_eq!(count, reused);
        });
    }
}

#[test]
fn answers_on_one_socket_reach_their_questions_whatever_their_order() {
    local(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let transport = DnsTransport::new(target(server, DnsOver::Udp, &["web."], noerror()), StreamKind::Pinned);
        let both = futures::future::join(ask(&transport, LONG), ask(&transport, LONG));
        let serve = async {
            let mut asked = Vec::new();
            let mut buffer = [0; 512];
            while asked.len() < 2 {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                asked.push((Message::from_vec(&buffer[..length]).unwrap(), from));
            }
            // The second question's answer is a failure, and comes first.
            for ((asked, from), say) in
                asked.iter().rev().zip([Say::Code(ResponseCode::ServFail), Say::Address("10.0.0.1")])
            {
                socket.send_to(&answer(asked, say), from).await.unwrap();
            }
        };
        let ((first, second), ()) = futures::future::join(both, serve).await;
        assert_eq!((first.answer, second.answer), (Answer::Good, bad(Class::DnsServfail)));
    });
}

#[test]
fn the_search_list_is_walked_until_a_name_exists() {
    let names = ["web.shop.default.svc.cluster.local.", "web.shop.svc.cluster.local.", "web.shop.cluster.local."];
    local(async {
        let (server, seen) = udp(|name| match name {
            "web.shop.svc.cluster.local." => Say::Address("10.0.0.1"),
            _ => Say::Code(ResponseCode::NXDomain),
        })
        .await;
        let transport = DnsTransport::new(target(server, DnsOver::Udp, &names, noerror()), StreamKind::PerQuery);
        assert_eq!(ask(&transport, LONG).await.answer, Answer::Good);
        assert_eq!(seen.borrow().iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), names[..2]);
    });
    local(async {
        let (server, seen) = udp(|name| match name {
            "web.shop.default.svc.cluster.local." => Say::Code(ResponseCode::ServFail),
            _ => Say::Code(ResponseCode::NXDomain),
        })
        .await;
        let transport = DnsTransport::new(target(server, DnsOver::Udp, &names, noerror()), StreamKind::PerQuery);
        assert_eq!(ask(&transport, LONG).await.answer, bad(Class::DnsServfail), "the failure that matters");
        assert_eq!(seen.borrow().len(), 3);
    });
}

#[test]
fn what_is_expected_is_what_is_good() {
    let expect = |rcode, addresses: &[&str]| DnsExpectation {
        rcode,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let cases = [
        (Say::Code(ResponseCode::NXDomain), expect(ResponseCode::NXDomain, &[]), Answer::Good),
        (Say::Code(ResponseCode::ServFail), expect(ResponseCode::NXDomain, &[]), bad(Class::DnsServfail)),
        (Say::Address("10.0.0.1"), expect(ResponseCode::NXDomain, &[]), bad(Class::DnsMismatch)),
        (Say::Address("10.0.0.1"), expect(ResponseCode::NoError, &["10.0.0.1"]), Answer::Good),
        (Say::Address("10.0.0.1"), expect(ResponseCode::NoError, &["10.0.0.2"]), bad(Class::DnsMismatch)),
    ];
    for (say, expect, expected) in cases {
        local(async {
            let (server, _seen) = udp(move |_| say).await;
            let transport = DnsTransport::new(target(server, DnsOver::Udp, &["web."], expect), StreamKind::PerQuery);
            assert_eq!(ask(&transport, LONG).await.answer, expected, "{say:?}");
        });
    }
}

#[test]
fn a_kept_connection_that_closes_is_told_from_a_fresh_one() {
    local(async {
        // Closed while idle: noticed before anything is written, and a new one is opened.
        let (server, seen) = tcp(|_| Say::AnswerAndClose).await;
        let transport = DnsTransport::new(target(server, DnsOver::Tcp, &["web."], noerror()), StreamKind::Pinned);
        assert_eq!(ask(&transport, LONG).await.answer, Answer::Good);
        while transport.0.idle.borrow().iter().any(is_open) {
            tokio::task::yield_now().await;
        }
        let second = ask(&transport, LONG).await;
        assert_eq!((second.answer, second.reused), (Answer::Good, false));
        assert_eq!(seen.borrow().len(), 2);
    });
    local(async {
        // Closed in answer to the second question.
        let count = Cell::new(0);
        let (server, seen) = tcp(move |_| {
            count.set(count.get() + 1);
            if count.get() == 1 { Say::Address("10.0.0.1") } else { Say::Close }
        })
        .await;
        let transport = DnsTransport::new(target(server, DnsOver::Tcp, &["web."], noerror()), StreamKind::Pinned);
        assert_eq!(ask(&transport, LONG).await.answer, Answer::Good);
        let second = ask(&transport, LONG).await;
        assert_eq!((second.answer, second.reused), (bad(Class::ReusedClosed), true));
        assert_eq!(seen.borrow().len(), 2, "no second try");
    });
}
