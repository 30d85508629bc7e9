//! DNS over datagrams and over TCP: what each fault has to come to.

use std::net::{IpAddr, Ipv4Addr};

use squall::probe::{Ask, Class, DnsAsk, DnsExpectation, DnsOver, RecordType, ResponseCode, StreamKind};

use crate::matrix::Want::{Bad, Good, OneOf};
use crate::matrix::{Faults, NATIVE, Row, Strikes, Want, both, hold};
use crate::script::Protocol;

const SILENT: Want = Bad(Class::DnsTimeout, 0);
const MALFORMED: Want = Bad(Class::DnsMalformed, 0);
const UNREACHABLE: Want = Bad(Class::DnsUnreachable, 0);
const NODATA: Want = Bad(Class::DnsNodata, 0);
const REUSED: Want = Bad(Class::ReusedClosed, 0);

/// What is said in a message, whatever carries it.
const MESSAGE: &[Row] = &[
    both("ok", Good),
    both("ok-chain", Good),
    both("ok-late", Good),
    both("address-other", Bad(Class::DnsMismatch, 0)),
    both("alias-loop", NODATA),
    both("nodata", NODATA),
    both("code-formerr", Bad(Class::DnsFormerr, 0)),
    both("code-servfail", Bad(Class::DnsServfail, 0)),
    both("code-nxdomain", Bad(Class::DnsNxdomain, 0)),
    both("code-notimp", Bad(Class::DnsNotimp, 0)),
    both("code-refused", Bad(Class::DnsRefused, 0)),
    both("code-notauth", Bad(Class::DnsOther, 0)),
    both("question-other", MALFORMED),
    both("question-none", MALFORMED),
    both("garbage", MALFORMED),
    both("cut", MALFORMED),
    both("short", MALFORMED),
    both("truncated", Bad(Class::DnsTruncated, 0)),
    both("hang", SILENT),
];

const NOBODY: &[Row] = &[both("nobody", UNREACHABLE)];

const DATAGRAM: &[Row] = &[
    both("ok-twice", Good),
    both("ok-after-other-id", Good),
    // Whoever sends what nobody asked for is not heard: nothing is proved by it.
    both("id-other", SILENT),
    both("elsewhere", SILENT),
    both("empty", SILENT),
    both("echo", MALFORMED),
];

const NO_CONNECTION: &[Row] = &[both("refused", UNREACHABLE), both("backlog-full", SILENT)];

const CONNECTION: &[Row] = &[
    both("never-accepts", SILENT),
    both("accept-fin", MALFORMED),
    // It may be gone before the engine sees it open.
    both("accept-rst", OneOf(&[Class::DnsUnreachable, Class::DnsMalformed])),
    both("accept-hang", SILENT),
];

const OVER_TCP: &[Row] = &[
    both("ok-drip", Good),
    both("id-other", MALFORMED),
    both("echo", MALFORMED),
    ("rst-unread", MALFORMED, REUSED),
    ("fin", MALFORMED, REUSED),
    ("rst", MALFORMED, REUSED),
    both("length-fin", MALFORMED),
    both("length-rst", MALFORMED),
    both("length-none", MALFORMED),
    both("message-fin", MALFORMED),
    both("message-rst", MALFORMED),
    both("message-hang", SILENT),
];

const STREAMS: [StreamKind; 2] = [StreamKind::PerQuery, StreamKind::Pinned];

/// Asks for the name and expects the address that the server's right answer has.
fn ask(over: DnsOver) -> impl Fn(u16) -> Ask {
    move |port| {
        let expect =
            DnsExpectation { rcode: ResponseCode::NoError, addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()] };
        let server = Some((IpAddr::from(Ipv4Addr::LOCALHOST), port).into());
        Ask::Dns(DnsAsk { name: "truth.example.".to_owned(), record: RecordType::A, server, over, expect })
    }
}

const UDP: Faults = Faults {
    name: "dns-udp",
    protocol: Protocol::DnsUdp,
    tables: &[(Strikes::Connect, NOBODY), (Strikes::Datagram, MESSAGE), (Strikes::Datagram, DATAGRAM)],
};

const TCP: Faults = Faults {
    name: "dns-tcp",
    protocol: Protocol::DnsTcp,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, CONNECTION),
        (Strikes::Request, MESSAGE),
        (Strikes::Request, OVER_TCP),
    ],
};

#[tokio::test]
async fn dns_faults_over_datagrams_have_their_classes_and_no_question_is_sent_twice() {
    hold(&NATIVE, &UDP, &STREAMS, ask(DnsOver::Udp)).await;
}

#[tokio::test]
async fn dns_faults_over_tcp_have_their_classes_and_no_question_is_sent_twice() {
    hold(&NATIVE, &TCP, &STREAMS, ask(DnsOver::Tcp)).await;
}
