use super::*;
use crate::api::GrpcProbe;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::HeaderMap;

fn check_of(service: &str) -> Probe {
    Probe::Grpc(GrpcProbe {
        tls: None,
        service: service.into(),
        authority: None,
    })
}

/// What a server says.
#[derive(Clone, Copy)]
enum Says {
    /// A frame, and that all went well.
    Frame(&'static [u8]),
    /// That the call failed, in the head of the answer.
    Failed(&'static str),
    /// The same after the answer.
    FailedAfter(&'static str),
    Flood,
}

/// Tells what was asked as well.
async fn says(
    says: Says,
) -> (
    Server,
    tokio::sync::mpsc::UnboundedReceiver<(String, Vec<u8>)>,
) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(move |stream| {
        let tell = tell.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut calls = JoinSet::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let tell = tell.clone();
                calls.spawn(async move {
                    let uri = request.uri().to_string();
                    let mut body = request.into_body();
                    let mut read = Vec::new();
                    while let Some(Ok(piece)) = body.data().await {
                        read.extend_from_slice(&piece);
                    }
                    let _ = tell.send((uri, read));
                    let answer = Response::builder().header("content-type", "application/grpc");
                    let trailers = |status: &str| {
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", status.parse().unwrap());
                        trailers
                    };
                    match says {
                        Says::Failed(status) => {
                            let answer = answer.header("grpc-status", status);
                            respond
                                .send_response(answer.body(()).unwrap(), true)
                                .unwrap();
                        }
                        Says::Frame(frame) => {
                            let answer = answer.body(()).unwrap();
                            let mut body = respond.send_response(answer, false).unwrap();
                            body.send_data(Bytes::from_static(frame), false).unwrap();
                            body.send_trailers(trailers("0")).unwrap();
                        }
                        Says::FailedAfter(status) => {
                            let answer = answer.body(()).unwrap();
                            let mut body = respond.send_response(answer, false).unwrap();
                            body.send_trailers(trailers(status)).unwrap();
                        }
                        Says::Flood => {
                            let answer = answer.body(()).unwrap();
                            let mut body = respond.send_response(answer, false).unwrap();
                            while body
                                .send_data(Bytes::from_static(&[0; 1000]), false)
                                .is_ok()
                            {
                                tokio::time::sleep(Duration::from_millis(1)).await;
                            }
                        }
                    }
                });
            }
        }
    })
    .await;
    (server, told)
}

async fn asks(what: Says) -> Outcome {
    let (server, _told) = says(what).await;
    probe(server.at, check_of("")).await
}

#[tokio::test]
async fn the_call_is_that_of_the_protocol() {
    let (server, mut told) = says(Says::Frame(&[0, 0, 0, 0, 2, 8, 1])).await;
    assert_eq!(probe(server.at, check_of("shop")).await, up("SERVING"));
    let (uri, body) = told.recv().await.unwrap();
    let expected = format!("http://{}/grpc.health.v1.Health/Check", server.at);
    assert_eq!(uri, expected);
    assert_eq!(body, b"\0\0\0\0\x06\x0a\x04shop");
    let long = "s".repeat(300);
    assert_eq!(probe(server.at, check_of(&long)).await, up("SERVING"));
    let (_, body) = told.recv().await.unwrap();
    assert_eq!(body[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    assert_eq!(body.len(), 5 + 303);
}

#[tokio::test]
async fn only_serving_is_healthy() {
    assert_eq!(
        asks(Says::Frame(&[0, 0, 0, 0, 2, 8, 2])).await,
        down("NOT_SERVING")
    );
    assert_eq!(asks(Says::Frame(&[0, 0, 0, 0, 0])).await, down("UNKNOWN"));
    assert_eq!(
        asks(Says::Frame(&[0, 0, 0, 0, 2, 8, 3])).await,
        down("SERVICE_UNKNOWN")
    );
    // A field that we do not know is no reason to fail.
    let newer = Says::Frame(&[0, 0, 0, 0, 5, 0x12, 1, 7, 8, 1]);
    assert_eq!(asks(newer).await, up("SERVING"));
}

#[tokio::test]
async fn calls_that_fail() {
    let unknown = down("the server knows no service ``");
    assert_eq!(asks(Says::Failed("5")).await, unknown);
    let other = down("the server does not know the health protocol");
    assert_eq!(asks(Says::FailedAfter("12")).await, other);
    let no_message = down("the answer is not that of the health protocol");
    assert_eq!(asks(Says::Frame(&[1, 0, 0, 0, 2, 8, 1])).await, no_message);
    assert_eq!(asks(Says::Flood).await, down("the answer is too long"));

    let silent = serve(|stream| async move {
        hang().await;
        drop(stream);
    })
    .await;
    let outcome = probe_within(SHORT, silent.at, check_of("")).await;
    assert_eq!(outcome, down("no answer within 300 ms"));
    let other = serve(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        hang().await;
    })
    .await;
    let outcome = probe(other.at, check_of("")).await;
    assert!(
        outcome.reason.starts_with("no answer over HTTP/2"),
        "{outcome:?}"
    );
}
