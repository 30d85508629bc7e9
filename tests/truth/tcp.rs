//! TCP: a connection that opens is all there is to it, whatever becomes of it then.

use squall::probe::{Ask, Class, StreamKind, TcpAsk};

use crate::matrix::Want::{Bad, Good, GoodOr};
use crate::matrix::{Faults, NATIVE, Row, Strikes, both, hold};
use crate::script::Protocol;

const NO_CONNECTION: &[Row] =
    &[both("refused", Bad(Class::ConnectRefused, 0)), both("backlog-full", Bad(Class::ConnectTimeout, 0))];

const CONNECTION: &[Row] = &[
    both("ok", Good),
    both("never-accepts", Good),
    both("accept-fin", Good),
    // It opens, and may be gone before the engine looks.
    both("accept-rst", GoodOr(Class::ConnectReset)),
    both("accept-hang", Good),
    // Nothing ever arrives.
    both("rst-unread", Good),
];

const TCP: Faults = Faults {
    name: "tcp",
    protocol: Protocol::Tcp,
    tables: &[(Strikes::Connect, NO_CONNECTION), (Strikes::Connection, CONNECTION)],
};

#[tokio::test]
async fn tcp_faults_have_their_classes_and_no_connection_is_opened_twice() {
    let ask = |port| Ask::Tcp(TcpAsk { host: "127.0.0.1".to_owned(), port });
    hold(&NATIVE, &TCP, &[StreamKind::Fresh], ask).await;
}
