//! Tests that the load client counts correctly: one that always reports 0 failures would pass every
//! other test.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use testkit::gateway::free_address;
use testkit::load::{Counts, Failure, IdleClose, Load, Plan, Report, Service};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf";

/// A server that sends these answers on each connection, one per request, and then closes it.
async fn server(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, answers));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, answers: &[&str]) {
    for answer in answers {
        let mut request = [0; 1024];
        if stream.read(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Runs one client that sends four requests, 40 ms apart.
fn four_requests(service: &std::sync::Arc<Service>, idle_close: IdleClose) -> Load {
    let length = Duration::from_millis(150);
    Load::start(service, Plan { clients: 1, rate: 25.0, length, idle_close })
}

async fn report(answers: &'static [&'static str], idle_close: IdleClose) -> Report {
    four_requests(&Service::new(&[server(answers).await]), idle_close).finish().await
}

fn failures(report: &Report) -> Vec<Failure> {
    report.failures.iter().map(|(_, failure)| *failure).collect()
}

#[tokio::test]
async fn a_kept_connection_serves_all_requests() {
    let report = report(&[OK; 9], IdleClose::Noticed).await;
    assert_eq!(report.total, Counts { ok: 4, opened: 1, ..Counts::default() });
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let report = report(&[OK, OK_CLOSE], IdleClose::Unnoticed).await;
    let expected = Counts { ok: 4, opened: 2, told_to_close: 2, ..Counts::default() };
    assert_eq!(report.total, expected);
}

#[tokio::test]
async fn a_connection_closed_while_idle_fails_only_clients_that_do_not_notice() {
    let looking = report(&[OK, OK], IdleClose::Noticed).await;
    assert_eq!((looking.total.ok, looking.total.failed), (4, 0));
    assert_eq!((looking.total.opened, looking.total.idle_closed), (2, 1));

    let blind = report(&[OK, OK], IdleClose::Unnoticed).await;
    assert_eq!((blind.total.ok, blind.total.failed), (3, 1));
    assert!(matches!(failures(&blind)[..], [Failure::EndOfFile | Failure::Reset]));
}

#[tokio::test]
async fn every_kind_of_failure_is_distinguished() {
    assert_eq!(failures(&report(&[BUSY], IdleClose::Noticed).await), [Failure::Status(503); 4]);
    assert_eq!(failures(&report(&[HALF], IdleClose::Noticed).await), [Failure::EndOfFile; 4]);
    assert_eq!(
        failures(&report(&["no\r\n\r\n"], IdleClose::Noticed).await),
        [Failure::Nonsense; 4]
    );

    let nobody = free_address().unwrap();
    let service = Service::new(&[nobody]);
    let report = four_requests(&service, IdleClose::Noticed).finish().await;
    assert_eq!(failures(&report), [Failure::Refused; 4]);
}

#[tokio::test]
async fn only_new_connections_learn_of_a_new_endpoint() {
    let (old, new) = (server(&[OK, OK, OK_CLOSE]).await, server(&[BUSY]).await);
    let service = Service::new(&[old]);
    let load = four_requests(&service, IdleClose::Noticed);
    while load.report().total.ok == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    service.set(&[new]);
    let report = load.finish().await;
    assert_eq!(report.total.ok, 3, "the kept connection moved");
    assert_eq!(failures(&report), [Failure::Status(503)], "the new connection went to the old one");
}
