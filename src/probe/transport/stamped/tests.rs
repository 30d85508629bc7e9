//! Stamps of real sockets.

use std::net::UdpSocket;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (Stamped, TcpStream, Rc<Times>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let times = Rc::new(Times::default());
    (Stamped::new(near.unwrap(), Rc::clone(&times)), far.unwrap().0, times)
}

/// The kernel begins to stamp a little after it was asked to for the first time, and goes on while one such socket is open.
async fn stamping() -> Option<UdpSocket> {
    let kept = keep_stamping();
    loop {
        let (mut near, mut far, times) = pair().await;
        far.write_all(b"?").await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
        if times.arrived().is_some() {
            return kept;
        }
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "being away is what is tested")]
async fn what_is_read_late_is_known_to_have_come_in_time() {
    let _kept = stamping().await;
    let (mut near, mut far, times) = pair().await;
    let before = Instant::now();
    far.write_all(b"answer").await.unwrap();
    let after = Instant::now();
    // The reader is away for longer than any doubt about the clocks.
    std::thread::sleep(Duration::from_millis(50));
    let mut bytes = [0; 6];
    near.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"answer");
    let arrived = times.arrived().expect("the kernel's stamp");
    // Two clocks are set against each other, each by looks that a busy machine may tear apart.
    let doubt = Duration::from_millis(5);
    assert!(before - doubt < arrived && arrived < after + doubt, "{:?} of {:?}", arrived - before, after - before);
}

#[tokio::test]
async fn a_request_begins_without_times_and_an_end_has_none() {
    let _kept = stamping().await;
    let (mut near, mut far, times) = pair().await;
    near.write_all(b"question").await.unwrap();
    far.write_all(b"answer").await.unwrap();
    near.read_exact(&mut [0; 6]).await.unwrap();
    assert!(times.written() < times.arrived() && times.written().is_some());
    times.begin();
    assert_eq!((times.written(), times.arrived()), (None, None));
    drop(far);
    assert_eq!(near.read(&mut [0; 6]).await.unwrap_or(0), 0);
    assert_eq!(times.arrived(), None);
}
